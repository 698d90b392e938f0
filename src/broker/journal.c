/* broker/journal.c: batches that the broker writes itself, and reads again when it starts. */
#include "broker/journal.h"

#include <errno.h>
#include <fcntl.h>

void broker_journal_begin(struct broker_journal *journal, struct broker_log *log)
{
    *journal = (struct broker_journal){.log = log};
    kafka_records_begin(&journal->builder, &journal->buf);
}

void broker_journal_add(struct broker_journal *journal, mr_str key, mr_str value)
{
    kafka_records_append(&journal->builder, broker_storage_now_ms(journal->log->storage), key,
                         value, NULL, 0);
}

static mr_err append_bytes(struct broker_log *log, const struct mr_buf *buf, int64_t *end)
{
    struct mr_bytes *bytes = mr_bytes_copy(buf->data, buf->length);
    struct broker_batch batch;
    mr_err err = broker_batch_read(bytes->data, bytes->length, &batch);

    mr_assert(err == MR_OK && batch.bytes == bytes->length);
    err = broker_log_append(log, bytes, bytes->data, &batch);
    if (err == MR_OK)
        *end = batch.last + 1;
    mr_bytes_unref(bytes);
    return err;
}

mr_err broker_journal_append(struct broker_journal *journal, int64_t producer_id,
                             int16_t producer_epoch, int64_t *end)
{
    mr_err err = MR_OK;

    *end = journal->log->end;
    if (journal->builder.count == 0)
        goto out;
    err = kafka_records_finish(&journal->builder, KAFKA_CODEC_NONE, 0, producer_id, producer_epoch,
                               -1, producer_id >= 0);
    if (err == MR_OK)
        err = append_bytes(journal->log, &journal->buf, end);
out:
    mr_buf_fini(&journal->buf);
    return err;
}

mr_err broker_journal_marker(struct broker_log *log, bool commit, int64_t producer_id,
                             int16_t producer_epoch, int32_t coordinator_epoch, int64_t *end)
{
    struct mr_buf buf = {0};
    mr_err err;

    kafka_records_marker(&buf, commit ? KAFKA_MARKER_COMMIT : KAFKA_MARKER_ABORT, producer_id,
                         producer_epoch, coordinator_epoch, 0, broker_storage_now_ms(log->storage));
    err = append_bytes(log, &buf, end);
    mr_buf_fini(&buf);
    return err;
}

/* ---- reading back ---- */

struct replay_visit {
    struct broker_segment_visit visit;
    struct broker_replay *replay;
    struct broker_log *log;
};

static mr_err replay_batch(struct broker_segment_visit *visit, const struct broker_batch *batch,
                           const uint8_t *data, uint32_t position)
{
    struct replay_visit *replaying = mr_container(visit, struct replay_visit, visit);
    struct broker_replay *replay = replaying->replay;
    struct kafka_records records;
    struct kafka_record record;
    struct kafka_batch opened;
    struct mr_arena arena;
    mr_err err;

    (void)position;
    if ((batch->attributes & BROKER_BATCH_CONTROL) != 0) {
        int32_t epoch = -1;
        int kind = broker_producers_marker(batch, data, &epoch);
        if (kind >= 0)
            replay->marker(replay, batch, kind == 1);
        return MR_OK;
    }
    mr_arena_init(&arena);
    err = kafka_records_batch(mr_str_of(data, batch->bytes), &opened);
    if (err == MR_OK)
        err = kafka_records_open(&opened, &arena, &records);
    while (err == MR_OK && kafka_records_read(&records, &record))
        replay->record(replay, batch, &record);
    if (err != MR_OK) {
        mr_log(MR_LOG_ERROR, "broker", "%s: the batch at offset %lld is skipped: %s",
               replaying->log->name, (long long)batch->base, mr_why());
        err = MR_OK;
    }
    mr_arena_fini(&arena);
    return err;
}

mr_err broker_journal_replay(struct broker_log *log, struct broker_replay *replay)
{
    struct replay_visit visit = {{replay_batch}, replay, log};
    mr_err err = MR_OK;

    for (size_t i = 0; i < log->segments.count && err == MR_OK; i++) {
        const struct broker_segment *segment = log->segments.items[i];
        struct broker_segment_facts facts = {
            .base = segment->facts.base, .end = segment->facts.base, .time_max = -1};
        struct broker_index index;
        char path[BROKER_PATH_BYTES];
        uint64_t torn = 0;
        int fd;

        if (segment->written == 0)
            continue;
        broker_segment_path(mr_str_from(log->folder), facts.base, ".log", path);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            return mr_fail(mr_err_from_errno(errno), "%s: %s", path, strerror(errno));
        broker_index_init(&index, UINT32_MAX / 4);
        err = broker_segment_scan(fd, path, &facts, &index, false, &visit.visit, &torn);
        broker_index_fini(&index);
        mr_fd_close(fd);
    }
    return err;
}
