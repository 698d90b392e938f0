/* kafka/reader.c: the records that a reader of committed data sees. Batches of a producer are
 * hidden from the first offset that the broker's list of aborted transactions names for it, up to
 * its abort marker; control batches and records before the offset that was asked for are always
 * hidden. */
#include "kafka/kafka.h"

void kafka_reader_init(struct kafka_reader *reader, const struct kafka_fetched *fetched,
                       struct mr_arena *arena)
{
    *reader = (struct kafka_reader){
        .fetched = fetched, .arena = arena, .left = fetched->bytes, .next = fetched->from};
}

void kafka_reader_fini(struct kafka_reader *reader)
{
    mr_array_fini(&reader->aborted);
}

static bool is_aborted(const struct kafka_reader *reader, int64_t producer_id)
{
    for (size_t i = 0; i < reader->aborted.count; i++) {
        if (reader->aborted.items[i] == producer_id)
            return true;
    }
    return false;
}

static void aborted_remove(struct kafka_reader *reader, int64_t producer_id)
{
    for (size_t i = 0; i < reader->aborted.count; i++) {
        if (reader->aborted.items[i] == producer_id) {
            reader->aborted.items[i] = reader->aborted.items[--reader->aborted.count];
            return;
        }
    }
}

/* Whether the records of this batch are to be seen; keeps the books of aborted transactions. */
static bool batch_is_seen(struct kafka_reader *reader, const struct kafka_batch *batch)
{
    const struct kafka_fetched *fetched = reader->fetched;
    int64_t last = kafka_batch_last_offset(batch);
    while (reader->aborted_at < fetched->aborted_count &&
           fetched->aborted[reader->aborted_at].first_offset <= last) {
        int64_t producer_id = fetched->aborted[reader->aborted_at++].producer_id;
        if (!is_aborted(reader, producer_id))
            *mr_array_add(&reader->aborted) = producer_id;
    }
    if (kafka_batch_is_control(batch)) {
        enum kafka_marker marker = KAFKA_MARKER_COMMIT;
        int32_t epoch = 0;
        if (kafka_records_marker_read(batch, &marker, &epoch) == MR_OK &&
            marker == KAFKA_MARKER_ABORT)
            aborted_remove(reader, batch->producer_id);
        return false;
    }
    return last >= fetched->from && batch->count > 0 &&
           !(kafka_batch_is_transactional(batch) && is_aborted(reader, batch->producer_id));
}

/* Opens the next batch that has something to see. False at the end and at an error. */
static bool batch_open(struct kafka_reader *reader)
{
    struct kafka_batch batch;
    while (kafka_records_next(&reader->left, &batch, &reader->err)) {
        if (!batch_is_seen(reader, &batch)) {
            if (kafka_batch_last_offset(&batch) >= reader->next)
                reader->next = kafka_batch_last_offset(&batch) + 1;
            continue;
        }
        reader->err = kafka_records_open(&batch, reader->arena, &reader->records);
        return reader->err == MR_OK;
    }
    return false;
}

bool kafka_reader_next(struct kafka_reader *reader, struct kafka_record *record)
{
    while (reader->err == MR_OK) {
        if (!reader->inside) {
            reader->inside = batch_open(reader);
            if (!reader->inside)
                return false;
        }
        while (kafka_records_read(&reader->records, record)) {
            if (record->offset < reader->fetched->from)
                continue;
            reader->next = record->offset + 1;
            return true;
        }
        reader->inside = false;
        if (reader->records.in.err != MR_OK)
            reader->err = mr_fail(MR_CORRUPT, "record batch at offset %lld: a record does not fit",
                                  (long long)reader->records.batch.base_offset);
        else if (kafka_batch_last_offset(&reader->records.batch) >= reader->next)
            reader->next = kafka_batch_last_offset(&reader->records.batch) + 1;
    }
    return false;
}
