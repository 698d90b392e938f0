/* broker/log.c: appends, and the way of a batch from memory to the disk.
 *
 *   append -> [queue in memory] -write job-> written -sync job-> flushed
 *
 * One write job and one sync job work on a log at a time, so acknowledgements never pass each other.
 * A job that writes goes on to sync when someone waits for that and no other sync runs: then the
 * write is told to the loop in between. A batch that cannot be written for want of room stays queued and
 * is tried again, and nothing new is taken meanwhile; who waits for it waits on, since no error would be
 * true: clients take one for "it is not there" and send it again under other numbers. A sync that
 * failed is final until a restart, since the kernel may have dropped the pages. */
#include "broker/storage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    WRITE_BATCHES_MAX = 512,
    WRITE_BYTES_MAX = 16 << 20,
    PIECE_COPY_BYTES = 2048, /* smaller batches are sent as one copy */
    DIRECT_ALIGN = 4096,
    FLUSH_NEVER_MS = INT32_MAX,
    DIRECT_BYTES_MIN = 256 << 10, /* what a direct write costs pays from here on */
};

/* One visit of a disk thread: a write, a sync, or both. */
struct log_io {
    struct mr_job job;
    struct mr_task written_task;
    struct broker_log *log;
    struct broker_segment *segment;
    int fd, fd_direct;
    bool opened, opened_direct, made, write, sync, direct;
    uint32_t position, bytes, batches;
    int64_t write_end, sync_end; /* offsets reached */
    mr_err write_err, sync_err;
    char why[256];
    char path[BROKER_PATH_BYTES];
    char folder[BROKER_PATH_BYTES];
    int iov_count;
    struct iovec iov[];
};

/* ---- making and freeing ---- */

struct broker_segment *broker_log_segment_new(struct broker_log *log, int64_t base, int64_t made_ms)
{
    struct broker_segment *segment = mr_new(struct broker_segment);

    segment->facts = (struct broker_segment_facts){
        .base = base, .end = base, .time_max = -1, .time_max_offset = -1, .made_ms = made_ms};
    segment->fd = segment->fd_direct = -1;
    broker_index_init(&segment->index, (uint32_t)log->config->index_interval_bytes);
    *mr_array_add(&log->segments) = segment;
    return segment;
}

void broker_log_segment_free(struct broker_segment *segment)
{
    if (segment == NULL)
        return;
    mr_fd_close(segment->fd);
    mr_fd_close(segment->fd_direct);
    broker_index_fini(&segment->index);
    mr_free(segment);
}

static void waits_init(struct broker_log_waits *waits)
{
    waits->first = NULL;
    waits->last = &waits->first;
}

static void flush_late(struct mr_timer *timer)
{
    struct broker_log *log = mr_container(timer, struct broker_log, flush_timer);

    log->flush_end = log->end;
    broker_storage_dirty(log->storage, log);
}

void broker_log_flush_plan(struct broker_log *log)
{
    if (log->gone || log->flushed == log->end)
        return;
    if (broker_log_flush_due(log))
        log->flush_end = log->end;
    if (log->config->flush_ms < FLUSH_NEVER_MS && log->flush_timer.loop == NULL)
        mr_timer_start(log->storage->loop, &log->flush_timer, log->config->flush_ms * 1000);
}

struct broker_log *broker_log_new(struct broker_storage *storage, mr_str folder, mr_str name,
                                  const struct broker_config *config)
{
    struct broker_log *log = mr_new(struct broker_log);

    log->storage = storage;
    log->config = config;
    log->folder = mr_copy_cstr(folder);
    log->name = mr_copy_cstr(name);
    waits_init(&log->wait_written);
    waits_init(&log->wait_flushed);
    log->flush_timer.run = flush_late;
    for (size_t i = 0; i < mr_count_of(log->hints); i++)
        log->hints[i].offset = -1;
    return log;
}

static void recent_clear(struct broker_log *log)
{
    for (uint32_t i = 0; i < log->recent_count; i++)
        mr_bytes_unref(log->recent[(log->recent_head + i) & (log->recent_capacity - 1)].owner);
    log->recent_count = log->recent_submitted = log->recent_written = 0;
}

void broker_log_free(struct broker_log *log)
{
    if (log == NULL)
        return;
    mr_assert(log->users == 0 && !log->writing && !log->syncing);
    mr_timer_stop(&log->flush_timer);
    broker_plan_forget_ahead(log, INT64_MAX);
    recent_clear(log);
    mr_free(log->recent);
    for (size_t i = 0; i < log->segments.count; i++)
        broker_log_segment_free(log->segments.items[i]);
    mr_array_fini(&log->segments);
    mr_array_fini(&log->epochs);
    broker_producers_fini(&log->producers);
    mr_buf_fini(&log->checkpoint_content);
    mr_free(log->folder);
    mr_free(log->name);
    mr_free(log);
}

void broker_log_start(struct broker_log *log)
{
    log->storage_index = log->storage->logs.count;
    *mr_array_add(&log->storage->logs) = log;
    mr_counter_add(log->storage->log_bytes, log->bytes);
    broker_storage_unsaved(log->storage, log, log->load_bytes);
}

void broker_log_unuse(struct broker_log *log)
{
    mr_assert(log->users > 0);
    log->users--;
    if (log->users == 0 && log->drained != NULL) {
        struct mr_task *task = log->drained;
        log->drained = NULL;
        mr_loop_at_turn_end(log->storage->loop, task);
    }
}

/* ---- who waits ---- */

static void waits_add(struct broker_log_waits *waits, struct broker_log_wait *wait)
{
    wait->next = NULL;
    *waits->last = wait;
    waits->last = &wait->next;
}

/* Lets go those that wait for no more than `end`, or all of them with an error. */
static void waits_run(struct broker_log_waits *waits, int64_t end, mr_err err)
{
    while (waits->first != NULL && (err != MR_OK || waits->first->end <= end)) {
        struct broker_log_wait *wait = waits->first;
        waits->first = wait->next;
        if (waits->first == NULL)
            waits->last = &waits->first;
        wait->run(wait, err);
    }
}

mr_err broker_log_state(const struct broker_log *log)
{
    if (log->gone)
        return mr_fail(MR_NOT_FOUND, "%s: the partition was deleted", log->name);
    if (log->failed != MR_OK)
        return mr_fail(log->failed, "%s: the log is read-only after a write failed", log->name);
    return MR_OK;
}

/* Whether what was appended can still be written. */
static mr_err wait_state(const struct broker_log *log)
{
    return !log->gone && log->failed == MR_FULL ? MR_OK : broker_log_state(log);
}

void broker_log_wait_written(struct broker_log *log, struct broker_log_wait *wait, int64_t end)
{
    mr_err err = wait_state(log);

    wait->end = end;
    if (log->written >= end || err != MR_OK) {
        wait->run(wait, log->written >= end ? MR_OK : err);
        return;
    }
    waits_add(&log->wait_written, wait);
    broker_storage_dirty(log->storage, log);
}

void broker_log_wait_flushed(struct broker_log *log, struct broker_log_wait *wait, int64_t end)
{
    mr_err err = wait_state(log);

    wait->end = end;
    if (log->flushed >= end || err != MR_OK) {
        wait->run(wait, log->flushed >= end ? MR_OK : err);
        return;
    }
    waits_add(&log->wait_flushed, wait);
    broker_storage_dirty(log->storage, log);
}

void broker_log_wait_kept(struct broker_log *log, struct broker_log_wait *wait, int64_t end)
{
    if (log->storage->page_cache)
        broker_log_wait_written(log, wait, end);
    else
        broker_log_wait_flushed(log, wait, end);
}

void broker_log_watch(struct broker_log *log, struct broker_log_watch *watch)
{
    mr_assert(watch->link == NULL);
    watch->next = log->watches;
    watch->link = &log->watches;
    if (watch->next != NULL)
        watch->next->link = &watch->next;
    log->watches = watch;
}

void broker_log_unwatch(struct broker_log_watch *watch)
{
    if (watch->link == NULL)
        return;
    *watch->link = watch->next;
    if (watch->next != NULL)
        watch->next->link = watch->link;
    watch->link = NULL;
}

void broker_log_changed(struct broker_log *log)
{
    while (log->watches != NULL) {
        struct broker_log_watch *watch = log->watches;
        broker_log_unwatch(watch);
        watch->changed(watch);
    }
}

/* ---- appending ---- */

static struct broker_recent *recent_at(const struct broker_log *log, uint32_t i)
{
    return &log->recent[(log->recent_head + i) & (log->recent_capacity - 1)];
}

static struct broker_recent *recent_push(struct broker_log *log)
{
    if (log->recent_count == log->recent_capacity) {
        uint32_t capacity = log->recent_capacity == 0 ? 16 : log->recent_capacity * 2;
        struct broker_recent *grown = mr_new_array(struct broker_recent, capacity);
        for (uint32_t i = 0; i < log->recent_count; i++)
            grown[i] = *recent_at(log, i);
        mr_free(log->recent);
        log->recent = grown;
        log->recent_capacity = capacity;
        log->recent_head = 0;
    }
    return recent_at(log, log->recent_count++);
}

void broker_log_evict(struct broker_log *log)
{
    mr_assert(log->recent_count > 0 && log->recent_written > 0);
    mr_bytes_unref(recent_at(log, 0)->owner);
    log->recent_head = (log->recent_head + 1) & (log->recent_capacity - 1);
    log->recent_count--;
    log->recent_submitted--;
    log->recent_written--;
}

static bool needs_roll(const struct broker_log *log, const struct broker_batch *batch,
                       int64_t now_ms)
{
    const struct broker_segment *active = broker_log_active(log);
    if (active->facts.bytes == 0)
        return false;
    return (int64_t)active->facts.bytes + batch->bytes > log->config->segment_bytes ||
           batch->last - active->facts.base >= INT32_MAX || broker_upkeep_is_aged(log, now_ms);
}

static void epoch_note(struct broker_log *log, int64_t start)
{
    if (log->epochs.count > 0 && log->epochs.items[log->epochs.count - 1].epoch == log->epoch)
        return;
    *mr_array_add(&log->epochs) = (struct broker_epoch){log->epoch, start};
}

mr_err broker_log_append(struct broker_log *log, struct mr_bytes *owner, uint8_t *data,
                         struct broker_batch *batch)
{
    int64_t now_ms = broker_storage_now_ms(log->storage), count = batch->last - batch->base;
    struct broker_segment *active;
    mr_err err = broker_log_state(log);

    if (err != MR_OK)
        return err;
    if (log->end > INT64_MAX - count - 1)
        return mr_fail(MR_LIMIT, "%s: no offsets are left", log->name);
    batch->base = log->end;
    batch->last = log->end + count;
    if (needs_roll(log, batch, now_ms))
        broker_upkeep_roll(log);
    batch->leader_epoch = log->epoch;
    broker_batch_place(data, batch->base, log->epoch);
    epoch_note(log, batch->base);
    active = broker_log_active(log);
    if (active->facts.bytes == 0)
        active->facts.made_ms = now_ms; /* as its file is */
    *recent_push(log) = (struct broker_recent){mr_bytes_ref(owner), data,        active,
                                               batch->base,         batch->last, batch->bytes,
                                               active->facts.bytes};
    broker_index_add(&active->index, (uint32_t)(batch->base - active->facts.base),
                     active->facts.bytes, active->facts.time_max);
    active->facts.end = batch->last + 1;
    active->facts.bytes += batch->bytes;
    if (batch->time_max > active->facts.time_max) {
        active->facts.time_max = batch->time_max;
        active->facts.time_max_offset = batch->last;
    }
    broker_producers_note(&log->producers, batch, data, now_ms);
    log->end = batch->last + 1;
    log->bytes += batch->bytes;
    broker_storage_unsaved(log->storage, log, batch->bytes);
    mr_counter_add(log->storage->log_bytes, batch->bytes);
    broker_storage_remember(log->storage, log, batch->bytes);
    broker_log_flush_plan(log);
    broker_storage_dirty(log->storage, log);
    return MR_OK;
}

/* ---- jobs of the disk threads ---- */

static mr_err io_open(struct log_io *io)
{
    if (io->fd >= 0)
        return MR_OK;
    io->fd = open(io->path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (io->fd < 0 && errno == ENOENT) { /* a partition's folder is made with its first batch */
        mr_err err = mr_folder_make(io->folder, 0755);
        if (err != MR_OK)
            return err;
        io->fd = open(io->path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    }
    if (io->fd < 0)
        return mr_fail(mr_err_from_errno(errno), "%s: %s", io->path, strerror(errno));
    io->opened = true;
    return io->made ? mr_folder_sync(io->folder) : MR_OK;
}

static mr_err io_failed(const struct log_io *io)
{
    return mr_fail(mr_err_from_errno(errno), "%s: %s", io->path, strerror(errno));
}

/* Moves on by `bytes` in what is left to write. */
static void io_advance(struct iovec **iov, int *left, size_t bytes)
{
    for (; *left > 0 && bytes >= (*iov)->iov_len; (*iov)++, (*left)--)
        bytes -= (*iov)->iov_len;
    if (*left > 0) {
        (*iov)->iov_base = (char *)(*iov)->iov_base + bytes;
        (*iov)->iov_len -= bytes;
    }
}

static mr_err io_write_cached(struct log_io *io, struct iovec *iov, int left, off_t at)
{
    while (left > 0) {
        ssize_t put = pwritev(io->fd, iov, left, at);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return io_failed(io);
        at += put;
        io_advance(&iov, &left, (size_t)put);
    }
    return MR_OK;
}

/* Takes `bytes` off the front of what is left to write. */
static void io_gather(struct iovec **iov, int *left, uint8_t *into, size_t bytes)
{
    while (bytes > 0) {
        size_t part = bytes < (*iov)->iov_len ? bytes : (*iov)->iov_len;
        memcpy(into, (*iov)->iov_base, part);
        into += part;
        bytes -= part;
        io_advance(iov, left, part);
    }
}

/* Much that must be on the disk anyway passes by the page cache, where every new page would cost several
 * times what the rest of an append does. The ends that fill no whole block go through it: the file is never longer than what it
 * holds, and no byte is written by both ways without the other being told by the kernel. */
static mr_err io_write_direct(struct log_io *io)
{
    struct iovec *iov = io->iov;
    int left = io->iov_count;
    uint8_t *scratch = mr_disk_scratch();
    off_t at = io->position, end = at + io->bytes;
    size_t head = (size_t)(-at & (DIRECT_ALIGN - 1));

    if (head > 0) {
        io_gather(&iov, &left, scratch, head);
        mr_err err = mr_write_all(io->fd, scratch, head, at);
        if (err != MR_OK)
            return err;
        at += (off_t)head;
    }
    while (end - at >= DIRECT_ALIGN) {
        size_t bytes = (size_t)(end - at) & ~(size_t)(DIRECT_ALIGN - 1), put = 0;
        if (bytes > MR_DISK_SCRATCH_BYTES)
            bytes = MR_DISK_SCRATCH_BYTES;
        io_gather(&iov, &left, scratch, bytes);
        while (put < bytes) {
            ssize_t part = pwrite(io->fd_direct, scratch + put, bytes - put, at + (off_t)put);
            if (part < 0 && errno == EINTR)
                continue;
            if (part < 0 && errno == EINVAL) /* not on this file system, or not at such places */
                part = pwrite(io->fd, scratch + put, bytes - put, at + (off_t)put);
            if (part < 0)
                return io_failed(io);
            if (part < DIRECT_ALIGN)
                return mr_fail(MR_FULL, "%s: no room", io->path);
            put += (size_t)part & ~(size_t)(DIRECT_ALIGN - 1);
        }
        at += (off_t)bytes;
    }
    return io_write_cached(io, iov, left, at);
}

static mr_err io_write(struct log_io *io)
{
    if (io->direct && io->fd_direct < 0) {
        io->fd_direct = open(io->path, O_RDWR | O_DIRECT | O_CLOEXEC);
        io->opened_direct = io->fd_direct >= 0; /* a file system may refuse it */
    }
    if (io->direct && io->fd_direct >= 0)
        return io_write_direct(io);
    return io_write_cached(io, io->iov, io->iov_count, io->position);
}

static void io_note_why(struct log_io *io)
{
    snprintf(io->why, sizeof(io->why), "%s", mr_why());
}

static void io_work(struct mr_job *job)
{
    struct log_io *io = mr_container(job, struct log_io, job);
    mr_err err = io_open(io);

    if (err == MR_OK && io->write)
        err = io_write(io);
    io->write_err = err;
    if (err != MR_OK) {
        io_note_why(io);
        return;
    }
    if (!io->sync)
        return;
    if (io->write)
        mr_loop_post(job->loop, &io->written_task);
    if (fdatasync(io->fd) != 0) {
        io->sync_err = mr_fail(MR_IO, "%s: %s", io->path, strerror(errno));
        io_note_why(io);
    }
}

/* ---- what became of them ---- */

static void log_fail(struct broker_log *log, mr_err err, const char *why)
{
    if (log->failed == MR_IO)
        return;
    if (log->failed == MR_OK || err != MR_FULL)
        mr_log(MR_LOG_ERROR, "broker", "%s: read-only until %s: %s", log->name,
               err == MR_FULL ? "there is room" : "the next start", why);
    log->failed = err == MR_FULL ? MR_FULL : MR_IO;
    if (err == MR_FULL)
        return;
    broker_storage_disregard(log->storage, log);
    mr_fail(log->failed, "%s", why);
    waits_run(&log->wait_written, 0, log->failed);
    mr_fail(log->failed, "%s", why);
    waits_run(&log->wait_flushed, 0, log->failed);
}

/* Once the disk thread is through: a reader may have opened the file as well, and the sync that follows a
 * write still needs this one. */
static void io_adopt_fd(struct log_io *io)
{
    if (io->opened_direct && io->segment->fd_direct < 0)
        io->segment->fd_direct = io->fd_direct;
    else if (io->opened_direct)
        mr_fd_close(io->fd_direct);
    io->opened_direct = false;
    if (!io->opened)
        return;
    io->opened = false;
    if (io->segment->fd < 0)
        io->segment->fd = io->fd;
    else
        mr_fd_close(io->fd);
    io->fd = io->segment->fd;
}

static void io_written(struct log_io *io)
{
    struct broker_log *log = io->log;

    log->writing = false;
    io->write = false;
    if (io->write_err != MR_OK) {
        log->recent_submitted = log->recent_written; /* to be written again */
        log_fail(log, io->write_err, io->why);
        return;
    }
    if (log->failed == MR_FULL) {
        mr_log(MR_LOG_INFO, "broker", "%s: there is room again", log->name);
        log->failed = MR_OK;
    }
    log->recent_written += io->batches;
    io->segment->written = io->position + io->bytes;
    log->written = io->write_end;
    waits_run(&log->wait_written, log->written, MR_OK);
    broker_log_changed(log);
    broker_storage_remember(log->storage, log, 0);
}

static void io_written_run(struct mr_task *task)
{
    struct log_io *io = mr_container(task, struct log_io, written_task);
    io_written(io);
    broker_log_flush(io->log);
}

void broker_log_segment_unuse(struct broker_segment *segment)
{
    segment->users--;
    if (segment->gone && segment->users == 0)
        broker_log_segment_free(segment);
}

static void io_done(struct mr_job *job)
{
    struct log_io *io = mr_container(job, struct log_io, job);
    struct broker_log *log = io->log;

    if (io->write)
        io_written(io);
    io_adopt_fd(io);
    if (io->sync) {
        log->syncing = false;
        if (io->sync_err != MR_OK) {
            log_fail(log, MR_IO, io->why);
        } else if (io->write_err == MR_OK) {
            if (io->sync_end > log->flushed)
                log->flushed = io->sync_end;
            waits_run(&log->wait_flushed, log->flushed, MR_OK);
        }
    }
    broker_log_segment_unuse(io->segment);
    mr_free(io);
    broker_log_flush(log);
    broker_log_unuse(log);
}

static struct log_io *io_new(struct broker_log *log, struct broker_segment *segment, uint32_t room)
{
    struct log_io *io = mr_alloc(sizeof(struct log_io) + room * sizeof(struct iovec));

    memset(io, 0, sizeof(*io));
    io->job.work = io_work;
    io->job.done = io_done;
    io->job.loop = log->storage->loop;
    io->written_task.run = io_written_run;
    io->log = log;
    io->segment = segment;
    io->fd = segment->fd;
    io->fd_direct = segment->fd_direct;
    io->made = segment->written == 0;
    broker_segment_path(mr_str_from(log->folder), segment->facts.base, ".log", io->path);
    snprintf(io->folder, sizeof(io->folder), "%s", log->folder);
    segment->used_us = mr_loop_now_us(log->storage->loop);
    segment->users++;
    log->users++;
    return io;
}

/* The next run of queued batches that belong to one segment. */
static struct log_io *io_for_write(struct broker_log *log)
{
    uint32_t from = log->recent_submitted, count = 0;
    struct broker_segment *segment = recent_at(log, from)->segment;
    struct log_io *io;
    size_t bytes = 0;

    for (; from + count < log->recent_count && count < WRITE_BATCHES_MAX; count++) {
        const struct broker_recent *recent = recent_at(log, from + count);
        if (recent->segment != segment || (count > 0 && bytes + recent->bytes > WRITE_BYTES_MAX))
            break;
        bytes += recent->bytes;
    }
    io = io_new(log, segment, count);
    io->write = true;
    io->position = recent_at(log, from)->position;
    io->bytes = (uint32_t)bytes;
    io->batches = count;
    io->direct = bytes >= DIRECT_BYTES_MIN && !log->storage->page_cache;
    for (uint32_t i = 0; i < count; i++) {
        const struct broker_recent *recent = recent_at(log, from + i);
        struct iovec *last = io->iov_count > 0 ? &io->iov[io->iov_count - 1] : NULL;
        io->write_end = recent->last + 1;
        if (last != NULL && (const uint8_t *)last->iov_base + last->iov_len == recent->data)
            last->iov_len += recent->bytes;
        else
            io->iov[io->iov_count++] = (struct iovec){.iov_base = (void *)(uintptr_t)recent->data,
                                                      .iov_len = recent->bytes};
    }
    log->recent_submitted += count;
    return io;
}

/* The oldest segment with something unsynced. */
static struct broker_segment *unsynced(const struct broker_log *log)
{
    for (size_t i = 0; i < log->segments.count; i++)
        if (log->segments.items[i]->facts.end > log->flushed)
            return log->segments.items[i];
    return NULL;
}

static void log_submit(struct broker_log *log)
{
    struct broker_segment *behind = unsynced(log);
    struct log_io *io = NULL;
    bool wanted = log->wait_flushed.first != NULL || log->flushed < log->flush_end;
    bool sync = wanted && !log->syncing && behind != NULL;

    if (!log->writing && log->recent_submitted < log->recent_count &&
        !broker_storage_holds(log->storage, log)) {
        io = io_for_write(log);
        log->writing = true;
        if (sync && io->segment == behind) {
            io->sync = true;
            io->sync_end = io->write_end;
            log->syncing = true;
            sync = false;
        }
        mr_disk_submit(log->storage->disk, &io->job);
    }
    if (!sync || log->written <= log->flushed)
        return; /* with nothing written yet, the write that runs calls again */
    io = io_new(log, behind, 0);
    io->sync = true;
    io->sync_end = log->written < behind->facts.end ? log->written : behind->facts.end;
    log->syncing = true;
    mr_disk_submit(log->storage->disk, &io->job);
}

void broker_log_flush(struct broker_log *log)
{
    if (log->failed == MR_OK && !log->gone)
        log_submit(log);
}

void broker_log_retry(struct broker_log *log)
{
    if (log->failed == MR_FULL && !log->gone && !log->writing)
        log_submit(log);
}

void broker_log_give_up(struct broker_log *log)
{
    if (log->failed == MR_FULL && !log->gone && !log->writing)
        log_fail(log, MR_IO, "there was no room until the stop");
}

/* ---- reading ---- */

bool broker_log_is_recent(const struct broker_log *log, int64_t offset)
{
    return offset >= log->end || (log->recent_count > 0 && offset >= recent_at(log, 0)->base);
}

/* Place in the ring of the batch that holds `offset`, or the first behind it. */
static uint32_t recent_find(const struct broker_log *log, int64_t offset)
{
    uint32_t low = 0, high = log->recent_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (recent_at(log, middle)->last < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Small batches go as one copy: a reference each would cost more than their bytes. */
static void refs_add_copy(broker_refs *refs, const struct broker_log *log, uint32_t from,
                          uint32_t count, size_t bytes)
{
    struct mr_bytes *copy = mr_bytes_new(bytes);
    size_t at = 0;

    for (uint32_t i = from; i < from + count; i++) {
        const struct broker_recent *recent = recent_at(log, i);
        memcpy(copy->data + at, recent->data, recent->bytes);
        at += recent->bytes;
    }
    *mr_array_add(refs) = (struct wire_ref){copy, copy->data, bytes};
}

size_t broker_log_read_recent(struct broker_log *log, int64_t offset, int64_t until,
                              size_t bytes_max, bool one, broker_refs *refs, int64_t *next)
{
    uint32_t from = recent_find(log, offset), count = 0;
    size_t bytes = 0;

    for (; from + count < log->recent_count; count++) {
        const struct broker_recent *recent = recent_at(log, from + count);
        bool fits = bytes + recent->bytes <= bytes_max || (one && count == 0);
        if (recent->base >= until || !fits)
            break;
        bytes += recent->bytes;
    }
    if (count == 0)
        return 0;
    *next = recent_at(log, from + count - 1)->last + 1;
    if (count > 1 && bytes / count < PIECE_COPY_BYTES) {
        refs_add_copy(refs, log, from, count, bytes);
        return bytes;
    }
    for (uint32_t i = from; i < from + count; i++) {
        const struct broker_recent *recent = recent_at(log, i);
        struct wire_ref *last = refs->count > 0 ? &refs->items[refs->count - 1] : NULL;
        if (last != NULL && i > from && last->owner == recent->owner &&
            last->data + last->length == recent->data)
            last->length += recent->bytes;
        else
            *mr_array_add(refs) = (struct wire_ref){mr_bytes_ref(recent->owner), recent->data,
                                                    recent->bytes};
    }
    return bytes;
}

size_t broker_log_bytes_ready(const struct broker_log *log, int64_t offset, int64_t until,
                              size_t enough)
{
    size_t bytes = 0;

    if (offset >= until)
        return 0;
    if (!broker_log_is_recent(log, offset))
        return UINT32_MAX;
    for (uint32_t i = recent_find(log, offset); i < log->recent_count && bytes < enough; i++) {
        if (recent_at(log, i)->base >= until)
            break;
        bytes += recent_at(log, i)->bytes;
    }
    return bytes;
}

bool broker_log_epoch_end(const struct broker_log *log, int32_t epoch, int32_t *found, int64_t *end)
{
    *end = broker_log_high(log);
    if (epoch > log->epoch)
        return false;
    if (epoch == log->epoch) {
        *found = epoch;
        return true;
    }
    for (size_t i = log->epochs.count; i-- > 0;) {
        if (log->epochs.items[i].epoch <= epoch) {
            *found = log->epochs.items[i].epoch;
            if (i + 1 < log->epochs.count)
                *end = log->epochs.items[i + 1].start;
            return true;
        }
    }
    *found = epoch;
    *end = log->epochs.count > 0 ? log->epochs.items[0].start : log->start;
    return true;
}

/* ---- ending ---- */

void broker_log_stop(struct broker_log *log, struct mr_task *drained)
{
    struct broker_storage *storage = log->storage;

    mr_assert(!log->gone);
    log->gone = true;
    log->drained = drained;
    mr_timer_stop(&log->flush_timer);
    mr_fail(MR_NOT_FOUND, "%s: the partition was deleted", log->name);
    waits_run(&log->wait_written, 0, MR_NOT_FOUND);
    waits_run(&log->wait_flushed, 0, MR_NOT_FOUND);
    broker_log_changed(log);
    broker_plan_forget_ahead(log, INT64_MAX);
    broker_storage_forget(storage, log);
    mr_counter_add(storage->log_bytes, -log->bytes);
    storage->logs.items[log->storage_index] = storage->logs.items[--storage->logs.count];
    storage->logs.items[log->storage_index]->storage_index = log->storage_index;
    log->users++;
    broker_log_unuse(log);
}
