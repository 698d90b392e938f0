/* broker/producers.h: what one partition knows of its producers: epochs, the last five batches of
 * each (KIP-98), open transactions and those that were aborted. All of it follows from the batches in
 * the log, so a scan makes it anew; a checkpoint saves the scan. Thread: the log's loop, or the disk
 * thread that recovers the log. */
#ifndef BROKER_PRODUCERS_H
#define BROKER_PRODUCERS_H

#include "broker/batch.h"

enum { BROKER_PRODUCERS_BATCHES = 5 };
struct broker_producer {
    int64_t id;
    int64_t txn_first;         /* first offset of the open transaction, or -1 */
    int64_t last_ms;           /* wall clock of the last append */
    int32_t coordinator_epoch; /* of the last marker, or -1 */
    int16_t epoch;
    uint8_t batch_count;
    struct { /* oldest first */
        int64_t base;
        int32_t first, last; /* sequences */
    } batches[BROKER_PRODUCERS_BATCHES];
};
struct broker_aborted {
    int64_t producer_id;
    int64_t first, last; /* first record, and the marker */
};
struct broker_producers {
    struct mr_map by_id;                     /* key: the id's 8 bytes */
    struct broker_producer *latest;          /* the one looked up last, or NULL */
    MR_ARRAY(struct broker_producer *) open; /* by txn_first */
    MR_ARRAY(struct broker_aborted) aborted; /* by last */
};
void broker_producers_fini(struct broker_producers *producers);
struct broker_producer *broker_producers_find(struct broker_producers *producers, int64_t id);

/* Whether a producer's batch may be appended next: a code of kafka/errors.def, 0: yes. A batch that is
 * there already gives 0 and sets *duplicate to its offset, else to -1. */
int16_t broker_producers_check(struct broker_producers *producers, const struct broker_batch *batch,
                               int64_t *duplicate);
/* Notes a batch that is in the log, whoever wrote it. `data` is looked at for a control batch only. */
void broker_producers_note(struct broker_producers *producers, const struct broker_batch *batch,
                           const uint8_t *data, int64_t now_ms);
/* First offset of the oldest open transaction, or `otherwise`. */
int64_t broker_producers_stable(const struct broker_producers *producers, int64_t otherwise);
/* Index of the first aborted transaction whose marker is at or behind `offset`. */
size_t broker_producers_aborted_from(const struct broker_producers *producers, int64_t offset);
/* Forgets aborted transactions that lie wholly before `start`. */
void broker_producers_cut(struct broker_producers *producers, int64_t start);
/* Forgets producers without an open transaction that were silent since `before_ms`. */
void broker_producers_expire(struct broker_producers *producers, int64_t before_ms);
/* Kind of a control batch: 0 abort, 1 commit, -1 something else. */
int broker_producers_marker(const struct broker_batch *batch, const uint8_t *data,
                            int32_t *coordinator_epoch);

void broker_producers_write(const struct broker_producers *producers, struct mr_buf *out);
mr_err broker_producers_read(struct mr_in *in, struct broker_producers *producers); /* MR_CORRUPT */

#endif
