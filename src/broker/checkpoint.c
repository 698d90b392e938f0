/* broker/checkpoint.c: what saves a start from reading the log: a file per partition that says how far
 * the log is on the disk for certain, and what follows from the batches up to there. A start reads it,
 * and then only the batches behind. The file is replaced as a whole; one that is missing or damaged
 * costs a scan of the whole log and nothing else. */
#include "broker/storage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    CHECKPOINT_MAGIC = 0x4d524350, /* "MRCP" */
    CHECKPOINT_FORMAT = 1,
    CHECKPOINT_BYTES_MAX = 256 << 20,
    RETRY_US = 10 * 1000 * 1000,
};

/* ---- writing ---- */

static void write_segment(const struct broker_segment *segment, struct mr_buf *out)
{
    mr_buf_be64(out, (uint64_t)segment->facts.base);
    mr_buf_be64(out, (uint64_t)segment->facts.end);
    mr_buf_be64(out, (uint64_t)segment->facts.time_max);
    mr_buf_be64(out, (uint64_t)segment->facts.time_max_offset);
    mr_buf_be64(out, (uint64_t)segment->facts.made_ms);
    mr_buf_be32(out, segment->facts.bytes);
    mr_buf_u8(out, segment->cleaned);
}

void broker_checkpoint_print(const struct broker_log *log, struct mr_buf *out)
{
    size_t from = out->length;

    mr_buf_be32(out, CHECKPOINT_MAGIC);
    mr_buf_be32(out, CHECKPOINT_FORMAT);
    mr_buf_be64(out, (uint64_t)log->start);
    mr_buf_be64(out, (uint64_t)log->end);
    mr_buf_be64(out, (uint64_t)log->compacted);
    mr_buf_be32(out, (uint32_t)log->epoch);
    mr_buf_be32(out, (uint32_t)log->epochs.count);
    for (size_t i = 0; i < log->epochs.count; i++) {
        mr_buf_be32(out, (uint32_t)log->epochs.items[i].epoch);
        mr_buf_be64(out, (uint64_t)log->epochs.items[i].start);
    }
    mr_buf_be32(out, (uint32_t)log->segments.count);
    for (size_t i = 0; i < log->segments.count; i++)
        write_segment(log->segments.items[i], out);
    broker_index_write(&broker_log_active(log)->index, out);
    broker_producers_write(&log->producers, out);
    mr_buf_be32(out, mr_crc32c(0, out->data + from, out->length - from));
}

struct checkpoint_job {
    struct mr_job job;
    struct broker_log *log;
    struct mr_buf content;
    int64_t newest; /* base of the newest segment that the content knows */
    mr_err err;
    char path[BROKER_PATH_BYTES];
};

static void checkpoint_work(struct mr_job *job)
{
    struct checkpoint_job *write = mr_container(job, struct checkpoint_job, job);
    mr_err err = mr_folder_make(write->log->folder, 0755);

    if (err == MR_OK)
        err = mr_file_write(write->path, mr_buf_as_str(&write->content), 0644);
    write->err = err;
    if (err != MR_OK)
        mr_log(MR_LOG_WARN, "broker", "checkpoint not written: %s", mr_why());
}

/* What was not saved is to be saved still, though not at once: what stood in the way may stay there. */
static void checkpoint_end(struct broker_log *log, bool saved)
{
    struct broker_storage *storage = log->storage;

    log->checkpointing = false;
    storage->unsaved_bytes_saving -= log->checkpoint_bytes_saving;
    if (saved || log->gone || log->failed == MR_IO) {
        storage->unsaved_bytes -= log->checkpoint_bytes_saving;
    } else {
        log->checkpoint_bytes += log->checkpoint_bytes_saving;
        log->checkpoint_wanted = true;
        log->checkpoint_after_us = mr_loop_now_us(storage->loop) + RETRY_US;
    }
    log->checkpoint_bytes_saving = 0;
    broker_storage_checkpoint_ended(storage);
    broker_log_unuse(log);
}

static void checkpoint_done(struct mr_job *job)
{
    struct checkpoint_job *write = mr_container(job, struct checkpoint_job, job);
    if (write->err == MR_OK) {
        write->log->checkpointed = write->newest;
        if (!write->log->gone)
            broker_upkeep_settle(write->log);
    }
    checkpoint_end(write->log, write->err == MR_OK);
    mr_buf_fini(&write->content);
    mr_free(write);
}

/* What the content tells of is on the disk now, so the file may be written. */
static void checkpoint_flushed(struct broker_log_wait *wait, mr_err err)
{
    struct broker_log *log = mr_container(wait, struct broker_log, checkpoint_wait);
    struct checkpoint_job *write;

    if (err != MR_OK) {
        mr_buf_clear(&log->checkpoint_content);
        checkpoint_end(log, false);
        return;
    }
    write = mr_new(struct checkpoint_job);
    write->job = (struct mr_job){checkpoint_work, checkpoint_done, log->storage->loop, {0}};
    write->log = log;
    write->content = log->checkpoint_content;
    write->newest = log->checkpoint_newest;
    mr_buf_init(&log->checkpoint_content);
    snprintf(write->path, sizeof(write->path), "%s/checkpoint", log->folder);
    mr_disk_submit(log->storage->disk, &write->job);
}

void broker_checkpoint_begin(struct broker_log *log)
{
    if (log->checkpointing || log->gone ||
        (log->checkpoint_bytes == 0 && !log->checkpoint_wanted) ||
        mr_loop_now_us(log->storage->loop) < log->checkpoint_after_us)
        return;
    log->checkpointing = true;
    log->checkpoint_wanted = false;
    log->checkpoint_bytes_saving = log->checkpoint_bytes;
    log->checkpoint_bytes = 0;
    log->storage->unsaved_bytes_saving += log->checkpoint_bytes_saving;
    log->storage->checkpoints++;
    log->users++;
    mr_buf_clear(&log->checkpoint_content);
    broker_checkpoint_print(log, &log->checkpoint_content);
    log->checkpoint_newest = broker_log_active(log)->facts.base;
    log->checkpoint_wait.run = checkpoint_flushed;
    broker_log_wait_flushed(log, &log->checkpoint_wait, log->end);
}

mr_err broker_checkpoint_save(struct broker_log *log)
{
    struct mr_buf content = {0};
    char path[BROKER_PATH_BYTES];
    mr_err err;

    broker_checkpoint_print(log, &content);
    snprintf(path, sizeof(path), "%s/checkpoint", log->folder);
    err = mr_file_write(path, mr_buf_as_str(&content), 0644);
    mr_buf_fini(&content);
    return err;
}

/* ---- reading ---- */

struct loading {
    struct broker_log *log;
    struct broker_checkpoint known;
    struct broker_segment_visit visit;
    int64_t now_ms;
};

static mr_err read_body(struct mr_in *in, struct broker_log *log, struct broker_checkpoint *known)
{
    uint32_t count;

    log->start = (int64_t)mr_in_be64(in);
    known->end = (int64_t)mr_in_be64(in);
    log->compacted = (int64_t)mr_in_be64(in);
    log->epoch = (int32_t)mr_in_be32(in);
    count = mr_in_be32(in);
    for (uint32_t i = 0; i < count && in->err == MR_OK; i++) {
        int32_t epoch = (int32_t)mr_in_be32(in);
        *mr_array_add(&log->epochs) = (struct broker_epoch){epoch, (int64_t)mr_in_be64(in)};
    }
    count = mr_in_be32(in);
    for (uint32_t i = 0; i < count && in->err == MR_OK; i++) {
        struct broker_segment_facts facts = {.base = (int64_t)mr_in_be64(in)};
        facts.end = (int64_t)mr_in_be64(in);
        facts.time_max = (int64_t)mr_in_be64(in);
        facts.time_max_offset = (int64_t)mr_in_be64(in);
        facts.made_ms = (int64_t)mr_in_be64(in);
        facts.bytes = mr_in_be32(in);
        *mr_array_add(&known->facts) = facts;
        *mr_array_add(&known->cleaned) = mr_in_u8(in) != 0;
    }
    if (in->err == MR_OK && broker_index_read(in, &known->index) != MR_OK)
        return MR_CORRUPT;
    return broker_producers_read(in, &log->producers);
}

static void known_forget(struct broker_log *log, struct broker_checkpoint *known)
{
    broker_producers_fini(&log->producers);
    mr_array_fini(&log->epochs);
    known->facts.count = known->cleaned.count = 0;
    known->index.rows.count = 0;
    known->end = known->newest = -1;
    log->start = -1;
    log->epoch = 0;
    log->compacted = 0;
}

mr_err broker_checkpoint_read(struct broker_log *log, struct broker_checkpoint *known)
{
    struct mr_buf file = {0};
    struct mr_in in;
    char path[BROKER_PATH_BYTES];
    mr_err err;

    known_forget(log, known);
    snprintf(path, sizeof(path), "%s/checkpoint", log->folder);
    err = mr_file_read(path, CHECKPOINT_BYTES_MAX, &file);
    if (err == MR_NOT_FOUND)
        goto out;
    if (err == MR_OK && (file.length < 12 || broker_batch_be32(file.data + file.length - 4) !=
                                                 mr_crc32c(0, file.data, file.length - 4)))
        err = mr_fail(MR_CORRUPT, "%s: its checksum does not match", path);
    if (err == MR_OK) {
        in = mr_in_of(file.data, file.length - 4);
        if (mr_in_be32(&in) != CHECKPOINT_MAGIC || mr_in_be32(&in) != CHECKPOINT_FORMAT ||
            read_body(&in, log, known) != MR_OK)
            err = mr_fail(MR_CORRUPT, "%s: expected a checkpoint, found something else", path);
    }
    if (err != MR_OK)
        known_forget(log, known);
    else if (known->facts.count > 0)
        known->newest = known->facts.items[known->facts.count - 1].base;
out:
    mr_buf_fini(&file);
    return err;
}

void broker_checkpoint_fini(struct broker_checkpoint *known)
{
    mr_array_fini(&known->facts);
    mr_array_fini(&known->cleaned);
    broker_index_fini(&known->index);
}

static mr_err visit_batch(struct broker_segment_visit *visit, const struct broker_batch *batch,
                          const uint8_t *data, uint32_t position)
{
    struct loading *loading = mr_container(visit, struct loading, visit);
    struct broker_log *log = loading->log;

    (void)position;
    broker_producers_note(&log->producers, batch, data, loading->now_ms);
    if (log->epochs.count == 0 ||
        batch->leader_epoch > log->epochs.items[log->epochs.count - 1].epoch)
        *mr_array_add(&log->epochs) = (struct broker_epoch){batch->leader_epoch, batch->base};
    if (batch->leader_epoch > log->epoch)
        log->epoch = batch->leader_epoch;
    return MR_OK;
}

static const struct broker_segment_facts *known_facts(const struct loading *loading, int64_t base,
                                                      bool *cleaned)
{
    for (size_t i = 0; i < loading->known.facts.count; i++) {
        if (loading->known.facts.items[i].base == base) {
            *cleaned = loading->known.cleaned.items[i];
            return &loading->known.facts.items[i];
        }
    }
    return NULL;
}

static void cut_tail(int fd, const char *path, uint32_t bytes, uint64_t torn)
{
    mr_log(MR_LOG_WARN, "broker", "%s: %llu bytes behind the last whole batch were cut off", path,
           (unsigned long long)torn);
    if (ftruncate(fd, bytes) != 0 || fdatasync(fd) != 0)
        mr_log(MR_LOG_ERROR, "broker", "%s: %s", path, strerror(errno));
}

/* A segment that was closed before the checkpoint: its facts are known, or a scan tells them. What a compaction may
 * have replaced since can be as long as it was by chance, and only its own index knows it then. */
static mr_err load_closed(struct loading *loading, struct broker_segment *segment, int fd,
                          const char *path, uint64_t file_bytes)
{
    struct broker_log *log = loading->log;
    const struct broker_segment_facts *facts = known_facts(loading, segment->facts.base,
                                                           &segment->cleaned);
    struct broker_segment_facts saved;
    uint64_t torn = 0;
    mr_err err;

    if (facts != NULL && facts->bytes == file_bytes && !log->config->compacts) {
        segment->facts = *facts;
        return MR_OK;
    }
    err = broker_segment_load(mr_str_from(log->folder), segment->facts.base, &saved,
                              &segment->index);
    if (err == MR_OK && saved.bytes == file_bytes) {
        segment->facts = saved;
        goto out;
    }
    segment->index.rows.count = 0;
    log->load_bytes += (int64_t)file_bytes;
    err = broker_segment_scan(fd, path, &segment->facts, &segment->index, false, NULL, &torn);
    if (err != MR_OK)
        return err;
    if (torn > 0)
        mr_log(MR_LOG_ERROR, "broker", "%s: damaged at byte %u, %llu bytes cannot be read", path,
               segment->facts.bytes, (unsigned long long)torn);
    err = broker_segment_save(mr_str_from(log->folder), &segment->facts, &segment->index);
out:
    broker_index_fini(&segment->index);
    broker_index_init(&segment->index, 0);
    return err;
}

/* A segment that may have grown since the checkpoint. */
static mr_err load_tail(struct loading *loading, struct broker_segment *segment, int fd,
                        const char *path, uint64_t file_bytes, bool last, bool *cut)
{
    struct broker_log *log = loading->log;
    const struct broker_segment_facts *facts = known_facts(loading, segment->facts.base,
                                                           &segment->cleaned);
    /* Behind a checkpoint nothing was compacted. Without one even the last file may be: the newest segment has no file
     * while it is empty. */
    bool contiguous = loading->known.end >= 0 || (last && !log->config->compacts);
    uint64_t torn = 0;
    mr_err err;

    if (facts != NULL && facts->bytes <= file_bytes) {
        segment->facts = *facts;
        for (size_t i = 0; i < loading->known.index.rows.count; i++)
            *mr_array_add(&segment->index.rows) = loading->known.index.rows.items[i];
        segment->index.interval = loading->known.index.interval;
    }
    log->load_bytes += (int64_t)(file_bytes - segment->facts.bytes);
    err = broker_segment_scan(fd, path, &segment->facts, &segment->index, contiguous,
                              &loading->visit, &torn);
    if (err != MR_OK)
        return err;
    if (torn > 0)
        cut_tail(fd, path, segment->facts.bytes, torn);
    *cut = torn > 0;
    if (last)
        return MR_OK;
    err = broker_segment_save(mr_str_from(log->folder), &segment->facts, &segment->index);
    broker_index_fini(&segment->index);
    broker_index_init(&segment->index, 0);
    return err;
}

/* Behind a cut nothing was acknowledged; what lies there is put aside. */
static void put_aside(const char *path)
{
    char lost[BROKER_PATH_BYTES + 8];
    snprintf(lost, sizeof(lost), "%s.lost", path);
    mr_log(MR_LOG_WARN, "broker", "%s: behind a torn segment, put aside as .lost", path);
    if (rename(path, lost) != 0)
        mr_log(MR_LOG_ERROR, "broker", "%s: %s", path, strerror(errno));
}

static mr_err load_segment(struct loading *loading, int64_t base, bool closed, bool last, bool *cut)
{
    struct broker_log *log = loading->log;
    struct broker_segment *segment;
    struct stat status;
    char path[BROKER_PATH_BYTES];
    mr_err err;
    int fd;

    broker_segment_path(mr_str_from(log->folder), base, ".cleaned", path);
    unlink(path); /* of a compaction that a crash ended */
    broker_segment_path(mr_str_from(log->folder), base, ".log", path);
    if (log->segments.count > 0 && broker_log_active(log)->facts.end > base) {
        unlink(path); /* a compaction had merged it into the one before */
        return MR_OK;
    }
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) != 0) {
        err = mr_fail(mr_err_from_errno(errno), "%s: %s", path, strerror(errno));
        goto out;
    }
    segment = broker_log_segment_new(log, base, (int64_t)status.st_mtim.tv_sec * 1000);
    err = closed ? load_closed(loading, segment, fd, path, (uint64_t)status.st_size)
                 : load_tail(loading, segment, fd, path, (uint64_t)status.st_size, last, cut);
    segment->written = segment->facts.bytes;
    log->bytes += segment->facts.bytes;
out:
    mr_fd_close(fd);
    return err;
}

static mr_err load_segments(struct loading *loading)
{
    struct broker_log *log = loading->log;
    int64_t *bases = NULL;
    size_t count = 0;
    bool cut = false;
    char path[BROKER_PATH_BYTES];
    mr_err err = broker_segment_list(mr_str_from(log->folder), &bases, &count);

    for (size_t i = 0; i < count && err == MR_OK; i++) {
        bool closed = loading->known.end >= 0 && bases[i] < loading->known.newest;
        /* Begun after the checkpoint: it must go on where the one before ends. */
        cut = cut || (loading->known.end >= 0 && bases[i] > loading->known.newest &&
                      log->segments.count > 0 && broker_log_active(log)->facts.end < bases[i]);
        if (cut) {
            broker_segment_path(mr_str_from(log->folder), bases[i], ".log", path);
            put_aside(path);
            continue;
        }
        err = load_segment(loading, bases[i], closed, i + 1 == count, &cut);
    }
    mr_free(bases);
    return err;
}

static void settle_bounds(struct loading *loading, bool clean)
{
    struct broker_log *log = loading->log;

    if (log->segments.count == 0)
        broker_log_segment_new(log, loading->known.end > 0 ? loading->known.end : 0,
                               loading->now_ms);
    if (log->start < log->segments.items[0]->facts.base)
        log->start = log->segments.items[0]->facts.base;
    log->end = broker_log_active(log)->facts.end;
    if (log->start > log->end)
        log->start = log->end;
    log->written = log->end;
    log->flushed = loading->known.end >= 0 && loading->known.end < log->end ? loading->known.end
                                                                            : log->end;
    if (loading->known.end < 0)
        log->flushed = log->start;
    log->checkpointed = loading->known.newest;
    log->clean = clean;
    if (!clean && (log->end > 0 || loading->known.end >= 0)) {
        log->epoch++;
        log->checkpoint_wanted = log->end != loading->known.end;
    }
    broker_producers_cut(&log->producers, log->start);
}

mr_err broker_checkpoint_load(struct broker_log *log, bool clean)
{
    struct loading loading = {.log = log, .known.end = -1};
    mr_err err = MR_OK;

    loading.visit.batch = visit_batch;
    loading.now_ms = broker_storage_now_ms(log->storage);
    broker_index_init(&loading.known.index, 0);
    err = broker_checkpoint_read(log, &loading.known);
    if (err != MR_OK && err != MR_NOT_FOUND)
        mr_log(MR_LOG_WARN, "broker", "%s; the whole log is read", mr_why());
    err = MR_OK;
    if (access(log->folder, F_OK) == 0) /* else nothing was ever appended */
        err = load_segments(&loading);
    if (err == MR_OK)
        settle_bounds(&loading, clean);
    broker_checkpoint_fini(&loading.known);
    return err;
}
