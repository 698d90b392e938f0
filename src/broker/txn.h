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
    int64_t producer_id, previous_id,
        next_id; /* of the producer before, and after the end; -1: none */
    int16_t epoch;
    int16_t last_epoch; /* what `epoch` followed at its producer's own wish, or -1 (KIP-360) */
    bool raises;        /* this transaction's end raises the epoch (KIP-890) */
    int32_t timeout_ms;
    int32_t sequence; /* number of the latest transaction; its markers carry it */
    enum broker_txn_state state;
    MR_ARRAY(struct broker_txn_partition) partitions;
    struct mr_map known;            /* the same, to be found: "topic/index" */
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
    bool raise_wanted;                   /* and then the epoch goes up */
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
    bool locking; /* every producer out of a log that was put back */
    bool locked;  /* and that is kept */
    struct broker_log_wait locks;
    struct mr_timer expiry;
};
void broker_txns_init(struct broker_txns *txns, struct broker_server *server);
/* Reads __transaction_state. Thread: disk. */
mr_err broker_txns_load(struct broker_txns *txns, struct broker_log *log);
/* Ends what a crash left between prepare and complete, aborts what nobody can end any more, then calls
 * `recovered`. In a log that was put back from a backup every producer is locked out, for it may have got further than
 * the log: what it had begun is aborted, since a part of it may be lost. */
void broker_txns_recover(struct broker_txns *txns);
/* Syncs all markers now, for an orderly stop. */
void broker_txns_settle(struct broker_txns *txns);
void broker_txns_fini(struct broker_txns *txns);
/* txn_admin.c: the answer to a WriteTxnMarkers with this code in every partition; how many there are. */
size_t broker_txn_markers_lay_out(struct broker_request *request, int16_t code);
/* Whether a transactional batch may go to this partition, by what its client knows of transactions: a
 * code of errors.def. */
enum broker_txn_rule {
    BROKER_TXN_ASKED,     /* the partition was added before, else INVALID_TXN_STATE */
    BROKER_TXN_ABORTABLE, /* or else TRANSACTION_ABORTABLE */
    BROKER_TXN_JOINS,     /* it is added now (KIP-890) */
};
struct broker_txn_append {
    mr_str id; /* of the transaction */
    int64_t producer_id;
    int32_t sequence;
    int16_t epoch;
    enum broker_txn_rule rule;
};
int16_t broker_txn_check_append(struct broker_txns *txns, const struct broker_txn_append *append,
                                struct broker_log *log, mr_str topic, int32_t partition);

/* ---- of txn.c, for txn_records.c ---- */
struct broker_txn *broker_txn_make(struct broker_txns *txns, mr_str id);
void broker_txn_forget(struct broker_txn *txn);
void broker_txn_producer_set(struct broker_txn *txn, int64_t producer_id, int16_t epoch);
bool broker_txn_partition_add(struct broker_txn *txn, mr_str topic,
                              int32_t index); /* false: it was there */
void broker_txn_partitions_clear(struct broker_txn *txn);
bool broker_txn_is_open(enum broker_txn_state state);

/* ---- txn_records.c ---- */
/* Notes the transaction in this state in __transaction_state. */
mr_err broker_txn_write(struct broker_txn *txn, enum broker_txn_state state, int64_t *end);
/* Notes that nobody knows this id any more. */
mr_err broker_txn_write_gone(struct broker_txns *txns, const char *id);

#endif
