/* broker/journal.h: the coordinators' own records in their internal topics: written as batches of key
 * and value, read back at a start. */
#ifndef BROKER_JOURNAL_H
#define BROKER_JOURNAL_H

#include "broker/storage.h"
#include "kafka/records.h"

/* One batch of the broker's own. Begin, add records, append. Thread: the loop's. */
struct broker_journal {
    struct broker_log *log;
    struct mr_buf buf;
    struct kafka_builder builder;
};
void broker_journal_begin(struct broker_journal *journal, struct broker_log *log);
void broker_journal_add(struct broker_journal *journal, mr_str key,
                        mr_str value); /* value.data NULL: tombstone */
/* Appends what was added (nothing: *end is the log's end) and frees the journal. producer_id -1: not
 * transactional. */
mr_err broker_journal_append(struct broker_journal *journal, int64_t producer_id,
                             int16_t producer_epoch, int64_t *end);
/* Appends a transaction's marker. */
mr_err broker_journal_marker(struct broker_log *log, bool commit, int64_t producer_id,
                             int16_t producer_epoch, int32_t coordinator_epoch, int64_t *end);

/* Reads all records of a log in order. Thread: disk, or the loop's while nobody appends. */
struct broker_replay {
    void (*record)(struct broker_replay *replay, const struct broker_batch *batch,
                   const struct kafka_record *record);
    void (*marker)(struct broker_replay *replay, const struct broker_batch *batch, bool commit);
};
mr_err broker_journal_replay(struct broker_log *log, struct broker_replay *replay);

#endif
