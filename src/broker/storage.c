/* broker/storage.c: what the logs share. Batches that were appended lately stay in memory, first in,
 * first out over all logs, within one budget; a batch that is not written yet cannot go, so a slow
 * disk may hold more for a while (connections bound that). Rounds of upkeep come once a second. */
#include "broker/storage.h"

#include "broker/compact.h"

enum {
    RECENT_BYTES = 32 << 20,
    RECENT_OVERHEAD = 160, /* bookkeeping of one batch */
    ROUND_US = 1000 * 1000,
    RETAIN_US = 60 * 1000 * 1000,
    SPACE_US = 5 * 1000 * 1000,
    IDLE_FILE_US = 60 * 1000 * 1000,
    QUIET_US = 60 * 1000 * 1000, /* without an append: memory is given back */
    /* Behind checkpoints a start reads at most 64 MB of a partition and 256 MB of all. So much is there when
     * one begins; and so much when writes wait for its end, in which those under way are to find room. */
    SAVE_LOG_BYTES = 24 << 20,
    SAVE_BYTES = 128 << 20,
    HOLD_LOG_BYTES = 24 << 20, /* since it began */
    HOLD_BYTES = 192 << 20,
    SAVE_US = 60 * 1000 * 1000, /* and nothing waits longer for one */
    SAVES_MAX = 4,              /* under way at once: each is a sync or three */
};
static const uint64_t reserve_bytes_max = 4ull << 30;

int64_t broker_storage_now_ms(const struct broker_storage *storage)
{
    return mr_clock_wall_us(mr_loop_clock(storage->loop)) / 1000;
}

size_t broker_storage_cost(size_t batch_bytes)
{
    return batch_bytes + RECENT_OVERHEAD;
}

/* ---- the group commit of a turn ---- */

static void turn_end(struct mr_task *task)
{
    struct broker_storage *storage = mr_container(task, struct broker_storage, turn_end);
    struct broker_log *log = storage->dirty;

    storage->dirty = NULL;
    while (log != NULL) {
        struct broker_log *next = log->dirty_next;
        log->dirty_listed = false;
        broker_log_flush(log);
        if (log->checkpoint_bytes >= SAVE_LOG_BYTES && log->failed == MR_OK)
            broker_checkpoint_begin(log);
        log = next;
    }
    broker_storage_save(storage);
}

void broker_storage_dirty(struct broker_storage *storage, struct broker_log *log)
{
    if (log->dirty_listed)
        return;
    log->dirty_listed = true;
    log->dirty_next = storage->dirty;
    storage->dirty = log;
    mr_loop_at_turn_end(storage->loop, &storage->turn_end);
}

/* ---- what a start would read ---- */

void broker_storage_unsaved(struct broker_storage *storage, struct broker_log *log, int64_t bytes)
{
    if (log->checkpoint_bytes == 0)
        log->checkpoint_since_us = mr_loop_now_us(storage->loop);
    log->checkpoint_bytes += bytes;
    storage->unsaved_bytes += bytes;
}

void broker_storage_disregard(struct broker_storage *storage, struct broker_log *log)
{
    storage->unsaved_bytes -= log->checkpoint_bytes;
    log->checkpoint_bytes = 0;
    mr_assert(storage->unsaved_bytes >= storage->unsaved_bytes_saving);
}

static bool may_save(const struct broker_log *log, int64_t now_us)
{
    return !log->checkpointing && !log->gone && log->failed == MR_OK &&
           now_us >= log->checkpoint_after_us;
}

/* Those with most go first: they are the fewest that bring the sum down. */
static struct broker_log *most_unsaved(const struct broker_storage *storage, int64_t now_us)
{
    struct broker_log *most = NULL;

    for (size_t i = 0; i < storage->logs.count; i++) {
        struct broker_log *log = storage->logs.items[i];
        if (log->checkpoint_bytes > (most == NULL ? 0 : most->checkpoint_bytes) &&
            may_save(log, now_us))
            most = log;
    }
    return most;
}

/* The next one of the round that is wanted, or has waited long. */
static struct broker_log *next_unsaved(struct broker_storage *storage, int64_t now_us)
{
    while (storage->save_count > 0 && storage->logs.count > 0) {
        struct broker_log *log = storage->logs.items[storage->save_next++ % storage->logs.count];
        bool waited = log->checkpoint_bytes > 0 && now_us - log->checkpoint_since_us >= SAVE_US;
        storage->save_count--;
        if ((log->checkpoint_wanted || waited) && may_save(log, now_us))
            return log;
    }
    return NULL;
}

bool broker_storage_holds(struct broker_storage *storage, const struct broker_log *log)
{
    /* What the checkpoint itself waits for goes on, and all goes on when none can be written. */
    bool needed = log->checkpointing && log->written < log->checkpoint_wait.end;
    bool much = storage->unsaved_bytes >= HOLD_BYTES ||
                (log->checkpointing && log->checkpoint_bytes >= HOLD_LOG_BYTES);
    bool holds = much && !needed && storage->checkpoints > 0;

    storage->writes_wait = storage->writes_wait || holds;
    return holds;
}

void broker_storage_save(struct broker_storage *storage)
{
    int64_t now_us = mr_loop_now_us(storage->loop);

    while (storage->checkpoints < SAVES_MAX) {
        bool much = storage->unsaved_bytes - storage->unsaved_bytes_saving >= SAVE_BYTES;
        struct broker_log *log = much ? most_unsaved(storage, now_us) : NULL;
        if (log == NULL)
            log = next_unsaved(storage, now_us);
        if (log == NULL)
            break;
        broker_checkpoint_begin(log);
    }
}

void broker_storage_checkpoint_ended(struct broker_storage *storage)
{
    storage->checkpoints--;
    broker_storage_save(storage);
    if (!storage->writes_wait)
        return;
    storage->writes_wait = false;
    for (size_t i = 0; i < storage->logs.count; i++)
        broker_log_flush(storage->logs.items[i]);
}

/* ---- batches in memory ---- */

static void recent_push(struct broker_storage *storage, struct broker_log *log)
{
    if (storage->recent_count == storage->recent_capacity) {
        size_t capacity = storage->recent_capacity == 0 ? 64 : storage->recent_capacity * 2;
        struct broker_log **grown = mr_new_array(struct broker_log *, capacity);
        for (size_t i = 0; i < storage->recent_count; i++)
            grown[i] = storage->recent[(storage->recent_head + i) & (storage->recent_capacity - 1)];
        mr_free(storage->recent);
        storage->recent = grown;
        storage->recent_capacity = capacity;
        storage->recent_head = 0;
    }
    storage->recent[(storage->recent_head + storage->recent_count++) &
                    (storage->recent_capacity - 1)] = log;
}

static void recent_pop(struct broker_storage *storage)
{
    storage->recent_head = (storage->recent_head + 1) & (storage->recent_capacity - 1);
    storage->recent_count--;
}

void broker_storage_remember(struct broker_storage *storage, struct broker_log *log, size_t bytes)
{
    if (bytes > 0) {
        recent_push(storage, log);
        storage->recent_bytes += broker_storage_cost(bytes);
        storage->appended_us = mr_loop_now_us(storage->loop);
        storage->settled = false;
    }
    while (storage->recent_bytes > storage->recent_bytes_max && storage->recent_count > 0) {
        struct broker_log *oldest = storage->recent[storage->recent_head];
        if (oldest != NULL) {
            if (oldest->recent_written == 0)
                break;
            storage->recent_bytes -= broker_storage_cost(oldest->recent[oldest->recent_head].bytes);
            broker_log_evict(oldest);
        }
        recent_pop(storage);
    }
}

void broker_storage_forget(struct broker_storage *storage, struct broker_log *log)
{
    struct broker_log **link = &storage->dirty;

    for (; *link != NULL; link = &(*link)->dirty_next) {
        if (*link == log) {
            *link = log->dirty_next;
            log->dirty_listed = false;
            break;
        }
    }
    for (size_t i = 0; i < storage->recent_count; i++) {
        size_t at = (storage->recent_head + i) & (storage->recent_capacity - 1);
        if (storage->recent[at] == log)
            storage->recent[at] = NULL;
    }
    for (uint32_t i = 0; i < log->recent_count; i++)
        storage->recent_bytes -= broker_storage_cost(
            log->recent[(log->recent_head + i) & (log->recent_capacity - 1)].bytes);
    broker_storage_disregard(storage, log);
}

void broker_storage_trim(struct broker_storage *storage, struct broker_log *log, int64_t end)
{
    for (size_t i = 0; i < storage->recent_count && log->recent_written > 0; i++) {
        size_t at = (storage->recent_head + i) & (storage->recent_capacity - 1);
        if (storage->recent[at] != log)
            continue;
        if (log->recent[log->recent_head].base >= end)
            break;
        storage->recent_bytes -= broker_storage_cost(log->recent[log->recent_head].bytes);
        storage->recent[at] = NULL;
        broker_log_evict(log);
    }
}

/* ---- holding the files ---- */

void broker_storage_remove(struct broker_storage *storage, struct mr_job *job)
{
    if (storage->held) {
        *mr_array_add(&storage->removals_held) = job;
        return;
    }
    storage->removals++;
    mr_disk_submit(storage->disk, job);
}

static void hold_step(struct broker_storage *storage)
{
    struct mr_task *task = storage->held_task;

    if (task == NULL || storage->removals > 0)
        return;
    storage->held_task = NULL;
    mr_loop_at_turn_end(storage->loop, task);
}

void broker_storage_removed(struct broker_storage *storage)
{
    mr_assert(storage->removals > 0);
    storage->removals--;
    storage->removed++;
    hold_step(storage);
}

void broker_storage_hold(struct broker_storage *storage, struct mr_task *task)
{
    mr_assert(!storage->held);
    storage->held = true;
    storage->held_task = task;
    hold_step(storage);
}

void broker_storage_release(struct broker_storage *storage)
{
    mr_assert(storage->held);
    storage->held = false;
    storage->held_task = NULL;
    for (size_t i = 0; i < storage->removals_held.count; i++)
        broker_storage_remove(storage, storage->removals_held.items[i]);
    storage->removals_held.count = 0;
}

/* ---- rounds ---- */

struct space_job {
    struct mr_job job;
    struct broker_storage *storage;
    char *folder;
    uint64_t free_bytes, total_bytes;
    mr_err err;
};

static void space_work(struct mr_job *job)
{
    struct space_job *space = mr_container(job, struct space_job, job);
    space->err = mr_file_space(space->folder, &space->free_bytes, &space->total_bytes);
}

static void space_done(struct mr_job *job)
{
    struct space_job *space = mr_container(job, struct space_job, job);
    struct broker_storage *storage = space->storage;
    uint64_t reserve = space->total_bytes / 20;
    bool low;

    storage->space_checking = false;
    reserve = reserve > reserve_bytes_max ? reserve_bytes_max : reserve;
    low = space->err == MR_OK && space->free_bytes < reserve && !storage->no_reserve;
    if (low != storage->low_space)
        mr_log(low ? MR_LOG_ERROR : MR_LOG_INFO, "broker",
               low ? "%s: %llu MB free, less than the reserve of %llu MB: records are refused"
                   : "%s: %llu MB free, reserve %llu MB: records are taken again",
               space->folder, (unsigned long long)(space->free_bytes >> 20),
               (unsigned long long)(reserve >> 20));
    storage->low_space = low;
    if (space->err == MR_OK) {
        storage->free_bytes = (int64_t)space->free_bytes;
        storage->total_bytes = (int64_t)space->total_bytes;
    }
    mr_free(space->folder);
    mr_free(space);
}

static void space_check(struct broker_storage *storage)
{
    struct space_job *space = mr_new(struct space_job);

    storage->space_checking = true;
    space->job = (struct mr_job){space_work, space_done, storage->loop, {0}};
    space->storage = storage;
    space->folder = mr_copy_cstr(mr_str_from(storage->folder));
    mr_disk_submit(storage->disk, &space->job);
}

static void settle_work(struct mr_job *job)
{
    (void)job;
    mr_memory_settle();
}

static void settle_done(struct mr_job *job)
{
    mr_free(job);
}

/* Lets go of what is kept for readers of the latest and for the next append. */
static void settle(struct broker_storage *storage)
{
    struct mr_job *job = mr_new(struct mr_job);
    size_t bytes_max = storage->recent_bytes_max;

    storage->recent_bytes_max = 0;
    broker_storage_remember(storage, NULL, 0);
    storage->recent_bytes_max = bytes_max;
    storage->settled = true;
    *job = (struct mr_job){settle_work, settle_done, storage->loop, {0}};
    mr_disk_submit(storage->disk, job);
}

void broker_storage_round(struct broker_storage *storage)
{
    int64_t now_us = mr_loop_now_us(storage->loop), now_ms = broker_storage_now_ms(storage);
    bool retain = now_us - storage->retained_us >= RETAIN_US;

    if (now_us - storage->space_us >= SPACE_US && !storage->space_checking) {
        storage->space_us = now_us;
        space_check(storage);
    }
    if (retain)
        storage->retained_us = now_us;
    for (size_t i = 0; i < storage->logs.count; i++) {
        struct broker_log *log = storage->logs.items[i];
        broker_log_retry(log);
        broker_log_flush_plan(log); /* the setting may be younger than the records */
        broker_upkeep_age(log, now_ms);
        if (!retain)
            continue;
        broker_upkeep_retain(log, now_ms);
        broker_upkeep_idle(log, now_us - IDLE_FILE_US);
        broker_producers_expire(&log->producers, now_ms - storage->producer_expiry_ms);
    }
    storage->save_count = storage->logs.count;
    broker_storage_save(storage);
    broker_compact_round(storage);
    if (!storage->settled && now_us - storage->appended_us >= QUIET_US)
        settle(storage);
}

static void tick(struct mr_timer *timer)
{
    struct broker_storage *storage = mr_container(timer, struct broker_storage, tick);
    broker_storage_round(storage);
    mr_timer_start(storage->loop, &storage->tick, ROUND_US);
}

void broker_storage_start(struct broker_storage *storage)
{
    storage->tick.run = tick;
    settle(storage);
    storage->retained_us = mr_loop_now_us(storage->loop) - RETAIN_US + 5 * ROUND_US;
    space_check(storage);
    mr_timer_start(storage->loop, &storage->tick, ROUND_US);
}

void broker_storage_init(struct broker_storage *storage, struct mr_loop *loop, struct mr_disk *disk,
                         mr_str folder)
{
    *storage = (struct broker_storage){
        .loop = loop, .disk = disk, .free_bytes = -1, .total_bytes = -1};
    storage->folder = mr_copy_cstr(folder);
    storage->recent_bytes_max = RECENT_BYTES;
    storage->turn_end.run = turn_end;
    storage->log_bytes = mr_counter_get(MR_METRIC_BROKER_LOG_BYTES, MR_STR_NULL);
    storage->bytes_in = mr_counter_get(MR_METRIC_BROKER_BYTES_IN, MR_STR_NULL);
    storage->bytes_out = mr_counter_get(MR_METRIC_BROKER_BYTES_OUT, MR_STR_NULL);
    storage->records_in = mr_counter_get(MR_METRIC_BROKER_RECORDS_IN, MR_STR_NULL);
    storage->errors = mr_counter_get(MR_METRIC_BROKER_ERRORS, MR_STR_NULL);
    storage->connections = mr_counter_get(MR_METRIC_BROKER_CONNECTIONS, MR_STR_NULL);
}

void broker_storage_fini(struct broker_storage *storage)
{
    mr_timer_stop(&storage->tick);
    mr_assert(storage->removals_held.count == 0);
    mr_array_fini(&storage->removals_held);
    mr_array_fini(&storage->logs);
    mr_free(storage->recent);
    mr_free(storage->folder);
}
