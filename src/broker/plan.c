/* broker/plan.c: reads from the disk: made on the loop, run on a disk thread, finished on the loop; and
 * what is read ahead of a reader of old data who goes on where it stopped. One piece a log:
 *
 *   none --such a reader was served--> READING --done--> READY --that reader comes back--> none
 *                                         \--it comes back meanwhile: it waits for the piece
 *
 * So the disk works while the piece before is on its way. Only readers past the page cache are read ahead
 * for: the kernel does it for the others. A piece whose files change meanwhile (a compaction, a new start)
 * is forgotten. */
#include "broker/storage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

enum {
    READ_DIRECT_FROM = 128 << 10, /* readers that want so much at once may go past the page cache */
    AHEAD_BYTES_MAX = 16 << 20,   /* of all logs */
};

struct broker_ahead {
    struct broker_plan plan;
    struct broker_plan *waiting; /* the reader, when it was faster */
    size_t bytes;                /* of the budget */
    int64_t made_us;
    bool ready, forgotten;
};

static void plan_begin(struct broker_log *log, struct broker_segment *segment,
                       struct broker_plan *plan)
{
    bool active = segment == broker_log_active(log);

    plan->log = log;
    plan->segment = segment;
    plan->limit = segment->written < segment->facts.bytes ? segment->written : segment->facts.bytes;
    plan->indexed = active;
    plan->whole = !active && plan->limit == segment->facts.bytes;
    plan->fd = segment->fd;
    plan->fd_direct = segment->fd_direct;
    plan->opened = plan->opened_direct = false;
    plan->piece = (struct wire_ref){NULL, NULL, 0};
    plan->err = MR_OK;
    snprintf(plan->path, sizeof(plan->path), "%s", log->folder);
    segment->used_us = mr_loop_now_us(log->storage->loop);
    segment->users++;
    log->users++;
}

bool broker_plan_offset(struct broker_log *log, int64_t offset, int64_t until, size_t bytes_max,
                        struct broker_plan *plan)
{
    struct broker_segment *segment = NULL;

    *plan = (struct broker_plan){.fd = -1, .fd_direct = -1};
    for (size_t i = log->segments.count; i-- > 0 && segment == NULL;)
        if (log->segments.items[i]->facts.base <= offset)
            segment = log->segments.items[i];
    if (segment == NULL && log->segments.count > 0)
        segment = log->segments.items[0];
    /* What compaction took away may leave nothing at or behind the offset in this segment. */
    for (size_t i = 0; i + 1 < log->segments.count; i++)
        if (segment == log->segments.items[i] && segment->facts.end <= offset)
            segment = log->segments.items[i + 1];
    if (segment == NULL)
        return false;
    plan_begin(log, segment, plan);
    plan->offset = offset;
    plan->until = until;
    plan->bytes_max = bytes_max;
    if (plan->indexed && offset >= segment->facts.base)
        plan->position = broker_index_by_offset(&segment->index,
                                                (uint32_t)(offset - segment->facts.base));
    for (size_t i = 0; i < mr_count_of(log->hints); i++) {
        if (log->hints[i].offset == offset && log->hints[i].segment_base == segment->facts.base) {
            plan->position = log->hints[i].position;
            plan->indexed = plan->goes_on = true;
        }
    }
    return true;
}

bool broker_plan_time(struct broker_log *log, int64_t time, int64_t until, struct broker_plan *plan)
{
    *plan = (struct broker_plan){.fd = -1, .fd_direct = -1};
    for (size_t i = 0; i < log->segments.count; i++) {
        struct broker_segment *segment = log->segments.items[i];
        if (segment->facts.time_max < time || segment->facts.end <= log->start)
            continue;
        plan_begin(log, segment, plan);
        plan->by_time = true;
        plan->time = time;
        plan->offset = log->start;
        plan->until = until;
        plan->bytes_max = 1;
        if (plan->indexed)
            plan->position = broker_index_by_time(&segment->index, time);
        return true;
    }
    return false;
}

static void plan_position(struct broker_plan *plan)
{
    struct broker_segment_facts facts;
    struct broker_index index;

    if (plan->indexed)
        return;
    broker_index_init(&index, 0);
    /* One that does not fit belongs to the file that a compaction is about to put in this one's place. */
    if (broker_segment_load(mr_str_from(plan->path), plan->segment->facts.base, &facts, &index) ==
            MR_OK &&
        facts.bytes == plan->limit) {
        if (plan->by_time)
            plan->position = broker_index_by_time(&index, plan->time);
        else if (plan->offset > facts.base)
            plan->position = broker_index_by_offset(&index, (uint32_t)(plan->offset - facts.base));
    }
    broker_index_fini(&index);
}

/* The file may have been compacted since the plan was made, perhaps with those behind it: it is another
 * one then, in which the position means nothing. */
static void plan_fit(struct broker_plan *plan)
{
    struct stat status;

    if (fstat(plan->fd, &status) != 0 ||
        (plan->whole ? status.st_size == (off_t)plan->limit : status.st_size >= (off_t)plan->limit))
        return;
    plan->limit = (uint32_t)status.st_size;
    plan->position = 0;
}

/* Moves on to the batch that has a timestamp at or after the one wanted. */
static void plan_seek_time(struct broker_plan *plan, const struct broker_segment_file *file)
{
    while (plan->err == MR_OK && plan->piece.owner != NULL) {
        struct broker_batch batch;
        if (broker_batch_read(plan->piece.data, plan->piece.length, &batch) != MR_OK ||
            batch.time_max >= plan->time)
            return;
        mr_bytes_unref(plan->piece.owner);
        plan->piece = (struct wire_ref){NULL, NULL, 0};
        plan->offset = batch.last + 1;
        plan->err = broker_segment_read(file, plan->next_position, plan->limit, plan->offset,
                                        plan->until, 1, &plan->piece, &plan->next_position);
    }
}

/* The offset behind what was read. */
static void plan_tell_next(struct broker_plan *plan)
{
    struct broker_batch batch;
    size_t at = 0;

    plan->next_offset = -1;
    while (plan->piece.owner != NULL &&
           broker_batch_read(plan->piece.data + at, plan->piece.length - at, &batch) == MR_OK) {
        at += batch.bytes;
        plan->next_offset = batch.last + 1;
    }
}

/* The same file once more, past the page cache; -1: it is not to be had, or not the same any more. */
static int open_direct(const char *path, int fd)
{
    struct stat known, found;
    int direct = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);

    if (direct >= 0 &&
        (fstat(fd, &known) != 0 || fstat(direct, &found) != 0 || known.st_ino != found.st_ino)) {
        mr_fd_close(direct);
        direct = -1;
    }
    return direct;
}

void broker_plan_run(struct broker_plan *plan)
{
    struct broker_segment_file file;
    char path[BROKER_PATH_BYTES];

    broker_segment_path(mr_str_from(plan->path), plan->segment->facts.base, ".log", path);
    plan_position(plan);
    if (plan->fd < 0) {
        plan->fd = open(path, O_RDWR | O_CLOEXEC);
        if (plan->fd < 0) {
            plan->err = mr_fail(mr_err_from_errno(errno), "%s: %s", path, strerror(errno));
            return;
        }
        plan->opened = true;
        plan_fit(plan);
    }
    if (plan->fd_direct < 0 && plan->bytes_max >= READ_DIRECT_FROM) {
        plan->fd_direct = open_direct(path, plan->fd);
        plan->opened_direct = plan->fd_direct >= 0;
    }
    if (plan->position > plan->limit)
        plan->position = 0;
    file = (struct broker_segment_file){plan->fd, plan->fd_direct, path};
    plan->err = broker_segment_read(&file, plan->position, plan->limit, plan->offset, plan->until,
                                    plan->bytes_max, &plan->piece, &plan->next_position);
    if (plan->by_time)
        plan_seek_time(plan, &file);
    plan_tell_next(plan);
}

static void ahead_begin(const struct broker_plan *plan);

void broker_plan_finish(struct broker_plan *plan)
{
    struct broker_log *log = plan->log;
    struct broker_segment *segment = plan->segment;

    if (plan->opened && segment->fd < 0 && !segment->gone)
        segment->fd = plan->fd;
    else if (plan->opened)
        mr_fd_close(plan->fd);
    if (plan->opened_direct && segment->fd_direct < 0 && !segment->gone)
        segment->fd_direct = plan->fd_direct;
    else if (plan->opened_direct)
        mr_fd_close(plan->fd_direct);
    if (plan->piece.owner != NULL && !plan->by_time && !segment->gone) {
        log->hints[log->hint_next] = (struct broker_hint){plan->next_offset, segment->facts.base,
                                                          plan->next_position};
        log->hint_next = (log->hint_next + 1) % (uint32_t)mr_count_of(log->hints);
        if (plan->goes_on)
            ahead_begin(plan);
    }
    broker_log_segment_unuse(segment);
    broker_log_unuse(log);
}

/* ---- read ahead ---- */

static void ahead_free(struct broker_ahead *ahead)
{
    struct broker_log *log = ahead->plan.log;

    if (log->ahead == ahead)
        log->ahead = NULL;
    log->storage->ahead_bytes -= ahead->bytes;
    mr_bytes_unref(ahead->plan.piece.owner);
    mr_free(ahead);
}

/* What is read becomes the reader's, as far as it may see and wants. False: nothing of it. */
static bool ahead_give(struct broker_ahead *ahead, struct broker_plan *plan)
{
    struct wire_ref *piece = &ahead->plan.piece;
    size_t whole;

    if (ahead->forgotten || ahead->plan.err != MR_OK || piece->owner == NULL)
        return false;
    whole = broker_segment_whole(piece->data, piece->length, plan->until, plan->bytes_max);
    if (whole == 0)
        return false;
    plan->next_position = ahead->plan.next_position - (uint32_t)(piece->length - whole);
    plan->piece = (struct wire_ref){piece->owner, piece->data, whole};
    piece->owner = NULL;
    plan_tell_next(plan);
    return true;
}

static void run_work(struct mr_job *job)
{
    broker_plan_run(mr_container(job, struct broker_plan, job));
}

static void run_done(struct mr_job *job)
{
    struct broker_plan *plan = mr_container(job, struct broker_plan, job);
    plan->done(plan);
}

static void plan_submit(struct broker_plan *plan, void (*done)(struct broker_plan *plan))
{
    struct broker_storage *storage = plan->log->storage;

    plan->done = done;
    plan->job = (struct mr_job){run_work, run_done, storage->loop, {0}};
    mr_disk_submit(storage->disk, &plan->job);
}

static void ahead_done(struct broker_plan *read)
{
    struct broker_ahead *ahead = mr_container(read, struct broker_ahead, plan);
    struct broker_plan *waiting = ahead->waiting;
    bool given = waiting != NULL && ahead_give(ahead, waiting);
    bool keep = waiting == NULL && !ahead->forgotten && read->err == MR_OK &&
                read->piece.owner != NULL;
    struct broker_log *log = read->log;

    ahead->ready = true;
    log->users++; /* so that it is there to the end of this */
    broker_plan_finish(read);
    if (!keep)
        ahead_free(ahead);
    if (given)
        waiting->done(waiting);
    else if (waiting != NULL)
        plan_submit(waiting, waiting->done);
    broker_log_unuse(log);
}

/* The piece behind what this reader got. */
static void ahead_begin(const struct broker_plan *plan)
{
    struct broker_log *log = plan->log;
    struct broker_storage *storage = log->storage;
    struct broker_ahead *ahead;

    if (storage->page_cache || storage->closing || log->gone || log->ahead != NULL ||
        plan->bytes_max < READ_DIRECT_FROM ||
        storage->ahead_bytes + plan->bytes_max > AHEAD_BYTES_MAX ||
        plan->next_offset >= log->written || broker_log_is_recent(log, plan->next_offset))
        return;
    ahead = mr_new(struct broker_ahead);
    if (!broker_plan_offset(log, plan->next_offset, log->written, plan->bytes_max, &ahead->plan)) {
        mr_free(ahead);
        return;
    }
    ahead->plan.goes_on = false; /* it is the reader who goes on */
    ahead->bytes = plan->bytes_max;
    ahead->made_us = mr_loop_now_us(storage->loop);
    storage->ahead_bytes += ahead->bytes;
    log->ahead = ahead;
    plan_submit(&ahead->plan, ahead_done);
}

void broker_plan_forget_ahead(struct broker_log *log, int64_t before_us)
{
    struct broker_ahead *ahead = log->ahead;

    if (ahead == NULL || ahead->made_us >= before_us)
        return;
    log->ahead = NULL;
    ahead->forgotten = true;
    if (ahead->ready)
        ahead_free(ahead);
}

void broker_plan_start(struct broker_plan *plan, void (*done)(struct broker_plan *plan))
{
    struct broker_ahead *ahead = plan->log->ahead;
    bool given;

    plan->done = done;
    if (ahead == NULL || ahead->plan.offset != plan->offset || ahead->waiting != NULL) {
        plan_submit(plan, done);
        return;
    }
    plan->goes_on = true;
    if (!ahead->ready) {
        ahead->waiting = plan;
        return;
    }
    given = ahead_give(ahead, plan);
    ahead_free(ahead);
    if (given)
        done(plan);
    else
        plan_submit(plan, done);
}
