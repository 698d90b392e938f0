/* broker/txn.h: the transaction coordinator; its state is kept in __transaction_state in Kafka's own
 * record format. Thread: the loop's; loading runs on a disk thread before anything else. */
#ifndef BROKER_TXN_H
#define BROKER_TXN_H

#include "broker/storage.h"

struct broker_server;
struct broker_request;
struct broker_txns;

/* Numbered as in the records. */
enum broker_txn_state {
    BROKER_TXN_EMPTY = 0,
    BROKER_TXN_ONGOING = 1,
    BROKER_TXN_PREPARE_COMMIT = 2,
    BROKER_TXN_PREPARE_ABORT = 3,
    BROKER_TXN_COMPLETE_COMMIT = 4,
    BROKER_TXN_COMPLETE_ABORT = 5,
};
struct broker_txn_partition {
    char *topic;
    int32_t index;
};
struct broker_txn;
/* The end of a transaction in one partition: its marker, written and then synced. */
struct broker_txn_mark {
    struct broker_log_wait wait;
    struct broker_txn *txn;
    struct broker_log *log; /* in use until the mark is settled */
    int64_t end;
    bool failed;
};
struct broker_txn {
    struct broker_txns *txns;
    char *id;
    int64_t producer_id;
    int16_t epoch;
    int32_t timeout_ms;
    int32_t sequence; /* number of the latest transaction; its markers carry it */
    enum broker_txn_state state;
    MR_ARRAY(struct broker_txn_partition) partitions;
    int64_t started_ms, changed_ms; /* started_ms -1: none has begun since it was made */
    struct mr_timer timeout;
    struct broker_request *ending;   /* the EndTxn that waits for the end */
    struct broker_request *starting; /* the InitProducerId that waits for it */
    struct broker_log_wait prepared;
    struct broker_txn_mark *marks;
    size_t mark_count, marks_left;
    struct mr_timer settle;
    bool busy;                           /* from the prepare record to the last marker written */
    bool unsettled;                      /* markers are written, not all of them on the disk */
    bool settling;                       /* and are being synced */
    bool prepare_wanted, prepare_commit; /* as soon as it is settled */
    bool prepare_failed;                 /* its record could not be written, to be tried again */
    bool save_wanted;                    /* the state moved on while records had to wait */
    bool recovering;
    enum broker_txn_state marked; /* the outcome that the marks tell */
};
struct broker_txns {
    struct broker_server *server;
    struct mr_map by_id, by_producer; /* by_producer: 8 bytes */
    size_t recovering;                /* ends under way that began before the restart */
    bool recover_begun;
    void (*recovered)(struct broker_txns *txns);
    void (*recovered_all)(struct broker_txns *txns);
    struct mr_timer expiry;
};
void broker_txns_init(struct broker_txns *txns, struct broker_server *server);
/* Reads __transaction_state. Thread: disk. */
mr_err broker_txns_load(struct broker_txns *txns, struct broker_log *log);
/* Ends what a crash left between prepare and complete, aborts what nobody can end any more, then calls
 * `recovered`. */
void broker_txns_recover(struct broker_txns *txns);
/* Syncs all markers now, for an orderly stop. */
void broker_txns_settle(struct broker_txns *txns);
void broker_txns_fini(struct broker_txns *txns);
/* txn_admin.c: the answer to a WriteTxnMarkers with this code in every partition; how many there are. */
size_t broker_txn_markers_lay_out(struct broker_request *request, int16_t code);
/* Whether a transactional batch of this producer may go to this partition: a code of errors.def. */
int16_t broker_txn_check_append(struct broker_txns *txns, int64_t producer_id, int16_t epoch,
                                struct broker_log *log, mr_str topic, int32_t partition);

#endif
