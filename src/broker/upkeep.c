/* broker/upkeep.c: segments come and go. The newest one is closed by size or age and its index saved;
 * closed ones go when they are too old, too many, or before the log's start. A dropped segment leaves
 * the list at once, its file a little later on a disk thread; whoever reads it still has it open. */
#include "broker/storage.h"

#include <stdio.h>
#include <unistd.h>

struct close_job {
    struct mr_job job;
    struct broker_log *log;
    struct broker_segment_facts facts;
    struct broker_index index;
    char folder[BROKER_PATH_BYTES];
};

static void close_work(struct mr_job *job)
{
    struct close_job *close = mr_container(job, struct close_job, job);
    mr_err err = mr_folder_make(close->folder, 0755); /* the first write may be still to come */
    if (err == MR_OK)
        err = broker_segment_save(mr_str_from(close->folder), &close->facts, &close->index);
    if (err != MR_OK)
        mr_log(MR_LOG_WARN, "broker", "index not saved, reads will scan: %s", mr_why());
}

static void close_done(struct mr_job *job)
{
    struct close_job *close = mr_container(job, struct close_job, job);
    broker_index_fini(&close->index);
    broker_log_unuse(close->log);
    mr_free(close);
}

void broker_upkeep_roll(struct broker_log *log)
{
    struct broker_segment *active = broker_log_active(log);
    struct close_job *close;

    if (active->facts.bytes == 0)
        return;
    close = mr_new(struct close_job);
    close->job = (struct mr_job){close_work, close_done, log->storage->loop, {0}};
    close->log = log;
    close->facts = active->facts;
    close->index = active->index;
    broker_index_init(&active->index, 0);
    snprintf(close->folder, sizeof(close->folder), "%s", log->folder);
    log->users++;
    mr_disk_submit(log->storage->disk, &close->job);
    broker_log_segment_new(log, log->end, broker_storage_now_ms(log->storage));
    log->checkpoint_wanted = true;
}

struct drop_job {
    struct mr_job job;
    struct broker_log *log;
    char file[BROKER_PATH_BYTES], index[BROKER_PATH_BYTES];
};

static void drop_work(struct mr_job *job)
{
    struct drop_job *drop = mr_container(job, struct drop_job, job);
    unlink(drop->file);
    unlink(drop->index);
}

static void drop_done(struct mr_job *job)
{
    struct drop_job *drop = mr_container(job, struct drop_job, job);
    broker_storage_removed(drop->log->storage);
    broker_log_unuse(drop->log);
    mr_free(drop);
}

void broker_upkeep_drop(struct broker_log *log, size_t at)
{
    struct broker_segment *segment = log->segments.items[at];
    struct drop_job *drop = mr_new(struct drop_job);

    mr_assert(segment != broker_log_active(log));
    drop->job = (struct mr_job){drop_work, drop_done, log->storage->loop, {0}};
    drop->log = log;
    broker_segment_path(mr_str_from(log->folder), segment->facts.base, ".log", drop->file);
    broker_segment_path(mr_str_from(log->folder), segment->facts.base, ".index", drop->index);
    log->users++;
    log->bytes -= segment->facts.bytes;
    mr_counter_add(log->storage->log_bytes, -(int64_t)segment->facts.bytes);
    log->segments.count--;
    memmove(&log->segments.items[at], &log->segments.items[at + 1],
            (log->segments.count - at) * sizeof(log->segments.items[0]));
    segment->gone = true;
    if (segment->users == 0)
        broker_log_segment_free(segment);
    broker_storage_remove(log->storage, &drop->job);
}

/* Whether the checkpoint on the disk knows that it was closed: only such a segment may go. */
static bool is_settled(const struct broker_log *log, const struct broker_segment *segment)
{
    return segment != broker_log_active(log) && segment->facts.end <= log->written &&
           segment->facts.base < log->checkpointed;
}

/* While a compaction works on the segments they wait for the next round. */
static void drop_before_start(struct broker_log *log)
{
    while (!log->compacting && log->segments.count > 1 && is_settled(log, log->segments.items[0]) &&
           log->segments.items[0]->facts.end <= log->start)
        broker_upkeep_drop(log, 0);
}

void broker_upkeep_settle(struct broker_log *log)
{
    drop_before_start(log);
}

void broker_upkeep_cut(struct broker_log *log, int64_t start)
{
    if (start <= log->start)
        return;
    mr_assert(start <= log->end);
    log->start = start;
    broker_plan_forget_ahead(log, INT64_MAX);
    broker_producers_cut(&log->producers, start);
    drop_before_start(log);
    log->checkpoint_wanted = true;
    broker_log_changed(log);
}

/* How much earlier than at its age a segment is closed: another part of the jitter for each, and the same after a start. */
static int64_t jitter_ms(const struct broker_log *log, int64_t base, int64_t most_ms)
{
    uint32_t hash = mr_crc32c(0, log->name, strlen(log->name));

    hash = mr_crc32c(hash, &base, sizeof(base));
    return most_ms <= 0 ? 0 : (int64_t)(hash % (uint64_t)most_ms);
}

bool broker_upkeep_is_aged(const struct broker_log *log, int64_t now_ms)
{
    const struct broker_segment_facts *active = &broker_log_active(log)->facts;
    const struct broker_config *config = log->config;
    int64_t age_ms = config->segment_ms, most_ms = config->segment_jitter_ms;

    if (active->bytes == 0)
        return false;
    if (config->compacts && config->max_compaction_lag_ms < age_ms)
        age_ms = config->max_compaction_lag_ms; /* only what is closed can be compacted */
    most_ms = most_ms < age_ms ? most_ms : age_ms;
    return now_ms - active->made_ms >= age_ms - jitter_ms(log, active->base, most_ms);
}

void broker_upkeep_age(struct broker_log *log, int64_t now_ms)
{
    if (!log->gone && log->failed == MR_OK && broker_upkeep_is_aged(log, now_ms))
        broker_upkeep_roll(log);
}

/* The age of a segment is that of its newest record, or of its file when records have no time. */
static int64_t segment_time(const struct broker_segment *segment)
{
    return segment->facts.time_max >= 0 ? segment->facts.time_max : segment->facts.made_ms;
}

static bool is_expired(const struct broker_log *log, const struct broker_segment *segment,
                       int64_t now_ms)
{
    return log->config->retention_ms >= 0 &&
           now_ms - segment_time(segment) > log->config->retention_ms;
}

void broker_upkeep_retain(struct broker_log *log, int64_t now_ms)
{
    struct broker_segment *active = broker_log_active(log);
    size_t gone = 0;
    int64_t bytes = log->bytes;

    if (log->gone || log->failed != MR_OK)
        return;
    if (active->facts.bytes > 0 && log->config->deletes && is_expired(log, active, now_ms))
        broker_upkeep_roll(log);
    drop_before_start(log);
    if (!log->config->deletes || log->compacting)
        return;
    for (; gone + 1 < log->segments.count; gone++) {
        const struct broker_segment *segment = log->segments.items[gone];
        bool too_many = log->config->retention_bytes >= 0 &&
                        bytes - segment->facts.bytes >= log->config->retention_bytes;
        if (segment->facts.end > log->written || (!too_many && !is_expired(log, segment, now_ms)))
            break;
        bytes -= segment->facts.bytes;
    }
    if (gone > 0)
        broker_upkeep_cut(log, log->segments.items[gone]->facts.base);
}

void broker_upkeep_idle(struct broker_log *log, int64_t before_us)
{
    broker_plan_forget_ahead(log, before_us);
    for (size_t i = 0; i < log->segments.count; i++) {
        struct broker_segment *segment = log->segments.items[i];
        if ((segment->fd < 0 && segment->fd_direct < 0) || segment->users > 0 ||
            segment->used_us >= before_us)
            continue;
        mr_fd_close(segment->fd);
        mr_fd_close(segment->fd_direct);
        segment->fd = segment->fd_direct = -1;
    }
}
