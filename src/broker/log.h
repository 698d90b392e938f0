/* broker/log.h: the append-only log of one partition: a folder of segments, the newest of which grows.
 *
 * An append gives offsets at once and puts the batch, as it was received, at the end of a queue in
 * memory; disk threads write the queue in order, and sync when someone waits for it. What is written
 * is visible to readers; what was appended lately stays in memory for them until the broker's budget
 * pushes it out. Offsets: start <= flushed <= written <= end, stable <= written.
 * Thread: the owning loop, unless a function says otherwise. */
#ifndef BROKER_LOG_H
#define BROKER_LOG_H

#include "broker/config.h"
#include "broker/producers.h"
#include "broker/segment.h"
#include "wire/wire.h"

struct broker_storage;
struct broker_log;

struct broker_segment {
    struct broker_segment_facts facts;
    struct broker_index index; /* of the newest; a closed segment's is in its file */
    int fd;                    /* -1: not open */
    int fd_direct;             /* past the page cache; -1: not open */
    uint32_t written;          /* bytes in the file */
    int users;                 /* jobs that work on it */
    bool gone;                 /* freed with its last user */
    bool cleaned;              /* went through a compaction */
    int64_t serial;            /* given by the first snapshot that sees it; 0: none yet */
    int64_t used_us;           /* for closing idle files */
};
/* A batch in memory: at the end of the log, oldest first. */
struct broker_recent {
    struct mr_bytes *owner;
    const uint8_t *data;
    struct broker_segment *segment;
    int64_t base, last;
    uint32_t bytes, position;
};
struct broker_epoch {
    int32_t epoch;
    int64_t start;
};
/* Waits until the log is written (or synced) up to `end`. One use; its owner keeps it until run. */
struct broker_log_wait {
    void (*run)(struct broker_log_wait *wait,
                mr_err err); /* MR_OK; else the log failed or is gone */
    int64_t end;
    struct broker_log_wait *next;
};
/* Called once when more can be read (written or stable rose, or the log is gone). */
struct broker_log_watch {
    void (*changed)(struct broker_log_watch *watch);
    struct broker_log_watch **link, *next; /* link NULL: not in a list */
};
struct broker_log_waits {
    struct broker_log_wait *first, **last;
};
struct broker_hint {
    int64_t offset, segment_base;
    uint32_t position;
};
struct broker_log {
    struct broker_storage *storage;
    const struct broker_config *config;
    char *folder, *name;                        /* name: "topic-0", for sentences */
    MR_ARRAY(struct broker_segment *) segments; /* by base; the last one grows */
    MR_ARRAY(struct broker_epoch) epochs;       /* rising */
    struct broker_producers producers;
    int64_t start, flushed, written, end;
    int64_t flush_end;           /* synced up to there though nobody waits for it */
    struct mr_timer flush_timer; /* for flush.ms */
    int64_t told_bytes_in, told_records_in, told_bytes_out; /* since it was opened (metrics.c) */
    int64_t compacted;        /* offsets before it went through compaction */
    int64_t compact_after_us; /* not before then: the last compaction failed */
    int64_t checkpointed;     /* base of the newest segment that the checkpoint on the disk knows;
                               * -1: there is none. Only segments before it may be compacted or
                               * dropped: a start can then tell a hole of a power loss from ours */
    int64_t bytes;            /* of all segments */
    /* What a start would read: appended since the last checkpoint began, and covered by one under way. */
    int64_t checkpoint_bytes, checkpoint_bytes_saving;
    int64_t checkpoint_since_us; /* when the first of checkpoint_bytes was appended */
    int64_t checkpoint_after_us; /* not before then: the last one failed */
    int64_t load_bytes;          /* read behind the checkpoint by the start */
    int32_t epoch;
    /* what is in memory: a ring */
    struct broker_recent *recent;
    uint32_t recent_head, recent_count, recent_capacity;
    uint32_t recent_submitted, recent_written; /* so many from the head */
    struct broker_log_waits wait_written, wait_flushed;
    struct broker_log_watch *watches;
    struct broker_hint hints[4];
    uint32_t hint_next;
    struct broker_ahead *ahead; /* the piece that a reader is about to want, or NULL */
    mr_err failed;              /* MR_OK, MR_FULL (tried again), MR_IO (until restart) */
    int users;
    bool writing, syncing, checkpointing, compacting, checkpoint_wanted;
    bool dirty_listed, gone;
    struct broker_log *dirty_next;
    size_t storage_index;
    struct mr_task *drained; /* runs when gone or closing and the last user left */
    struct broker_log_wait checkpoint_wait;
    struct mr_buf checkpoint_content;
    int64_t checkpoint_newest;
    bool internal; /* may use the disk's reserve */
    bool clean;    /* loaded after an orderly stop */
};

struct broker_log *broker_log_new(struct broker_storage *storage, mr_str folder, mr_str name,
                                  const struct broker_config *config);
/* Nobody uses it any more; files stay. Accepts NULL. */
void broker_log_free(struct broker_log *log);
/* Enters the loaded log into the storage's rounds. */
void broker_log_start(struct broker_log *log);
struct broker_segment *broker_log_segment_new(struct broker_log *log, int64_t base,
                                              int64_t made_ms);
void broker_log_segment_free(struct broker_segment *segment);
void broker_log_segment_unuse(
    struct broker_segment *segment); /* gives back one of segment->users */
static inline struct broker_segment *broker_log_active(const struct broker_log *log)
{
    return log->segments.items[log->segments.count - 1];
}

/* Places the batch at the end: patches `data` (writable, held by `owner`), notes its producer, and
 * queues it for the disk. `batch` gets its offsets. Checks nothing but room.
 * Errors: MR_FULL, MR_IO (the log is read-only), MR_NOT_FOUND (it is gone). */
mr_err broker_log_append(struct broker_log *log, struct mr_bytes *owner, uint8_t *data,
                         struct broker_batch *batch);
/* Whether it takes anything now; the errors of broker_log_append(). */
mr_err broker_log_state(const struct broker_log *log);
/* `wait` runs with MR_OK, or MR_IO or MR_NOT_FOUND; while there is no room it waits on. */
void broker_log_wait_written(struct broker_log *log, struct broker_log_wait *wait, int64_t end);
void broker_log_wait_flushed(struct broker_log *log, struct broker_log_wait *wait, int64_t end);
/* Until what acks=all promises: on disk, or written when the broker runs on the page cache. */
void broker_log_wait_kept(struct broker_log *log, struct broker_log_wait *wait, int64_t end);
void broker_log_watch(struct broker_log *log, struct broker_log_watch *watch);
void broker_log_unwatch(struct broker_log_watch *watch);
void broker_log_changed(struct broker_log *log); /* wakes the watchers */
/* What readers may see: end of the written part, and where the oldest open transaction begins. */
static inline int64_t broker_log_high(const struct broker_log *log)
{
    return log->written;
}
static inline int64_t broker_log_stable(const struct broker_log *log)
{
    int64_t stable = broker_producers_stable(&log->producers, log->written);
    return stable > log->start ? stable : log->start; /* what was deleted holds nobody back */
}

/* ---- reading ---- */
typedef MR_ARRAY(struct wire_ref) broker_refs;
/* Whether `offset` lies in memory (the end counts). */
bool broker_log_is_recent(const struct broker_log *log, int64_t offset);
/* Adds references to batches from the one that holds `offset`, those that begin before `until`, up to
 * bytes_max but at least one when `one` is set. Each reference is counted. Returns the bytes added;
 * *next is then the offset behind them. */
size_t broker_log_read_recent(struct broker_log *log, int64_t offset, int64_t until,
                              size_t bytes_max, bool one, broker_refs *refs, int64_t *next);
/* Bytes between `offset` and `until` when they lie in memory; UINT32_MAX when on disk. Stops to count
 * at `enough`. */
size_t broker_log_bytes_ready(const struct broker_log *log, int64_t offset, int64_t until,
                              size_t enough);
/* ---- plan.c: a read from the disk, made on the loop, run on a disk thread, finished on the loop ---- */
struct broker_plan {
    struct broker_log *log;
    struct broker_segment *segment;
    int64_t offset, until, time; /* time: look for this timestamp instead of the offset */
    uint32_t position, limit;
    bool indexed; /* position is as good as an index gives */
    bool goes_on; /* where a reader before it stopped */
    bool whole;   /* the limit is the file's end, and it grows no more */
    bool by_time;
    size_t bytes_max;
    int fd, fd_direct;
    bool opened, opened_direct;
    char path[BROKER_PATH_BYTES];
    struct mr_job job;
    void (*done)(struct broker_plan *plan);
    /* results */
    mr_err err;
    struct wire_ref piece; /* whole batches; owner NULL: none */
    uint32_t next_position;
    int64_t next_offset;
};
/* False: there is no segment with such an offset. */
bool broker_plan_offset(struct broker_log *log, int64_t offset, int64_t until, size_t bytes_max,
                        struct broker_plan *plan);
/* Plans to find the batches around the first record at or after `time`. */
bool broker_plan_time(struct broker_log *log, int64_t time, int64_t until,
                      struct broker_plan *plan);
/* Reads on a disk thread, or takes what was read ahead. `done` runs on the loop, perhaps at once, and
 * finishes the plan. */
void broker_plan_start(struct broker_plan *plan, void (*done)(struct broker_plan *plan));
void broker_plan_run(struct broker_plan *plan);    /* Thread: disk */
void broker_plan_finish(struct broker_plan *plan); /* then the caller owns the piece */
/* Forgets what was read ahead before then. */
void broker_plan_forget_ahead(struct broker_log *log, int64_t before_us);

/* ---- upkeep ---- */
/* Whether flush.messages wants a sync of what is at the end now. */
static inline bool broker_log_flush_due(const struct broker_log *log)
{
    return log->end - log->flushed >= log->config->flush_messages;
}
/* Looks at flush.messages and flush.ms, once records were appended or the settings changed. */
void broker_log_flush_plan(struct broker_log *log);
void broker_log_flush(struct broker_log *log); /* submits what is to be written or synced */
void broker_log_retry(struct broker_log *log); /* after MR_FULL */
/* Before a stop: who waits for room is told MR_IO. */
void broker_log_give_up(struct broker_log *log);
/* No appends from here on; waiters get MR_NOT_FOUND. `drained` runs when no job works on it. */
void broker_log_stop(struct broker_log *log, struct mr_task *drained);
void broker_log_unuse(struct broker_log *log); /* gives back one of log->users */
void broker_log_evict(struct broker_log *log); /* the oldest recent batch */
/* End offset of the last epoch at or before `epoch` (OffsetForLeaderEpoch); false: unknown. */
bool broker_log_epoch_end(const struct broker_log *log, int32_t epoch, int32_t *found,
                          int64_t *end);

/* ---- upkeep.c: segments come and go ---- */
void broker_upkeep_roll(struct broker_log *log); /* closes the newest segment, if not empty */
/* Raises the start; segments wholly before it go. */
void broker_upkeep_cut(struct broker_log *log, int64_t start);
/* Whether the newest segment is to be closed for its age; that counts from its first record. */
bool broker_upkeep_is_aged(const struct broker_log *log, int64_t now_ms);
void broker_upkeep_age(struct broker_log *log, int64_t now_ms);    /* closes it then */
void broker_upkeep_retain(struct broker_log *log, int64_t now_ms); /* drops by age and size */
void broker_upkeep_settle(struct broker_log *log); /* drops what a checkpoint has let go */
/* Takes segments[at] out and drops its files; jobs that read it keep it until they end. */
void broker_upkeep_drop(struct broker_log *log, size_t at);
/* Closes files that nobody used since `before_us`. */
void broker_upkeep_idle(struct broker_log *log, int64_t before_us);

/* ---- checkpoint.c: what saves a start from reading the log ---- */
/* Syncs the log and leaves what is known of it beside the segments; nothing when that is so already,
 * or under way. */
void broker_checkpoint_begin(struct broker_log *log);
/* Adds what the checkpoint would say now; it holds once the log is written up to its present end. */
void broker_checkpoint_print(const struct broker_log *log, struct mr_buf *out);
/* Reads the folder: checkpoint, then the batches behind it. A tail torn by a crash is cut off. Without
 * a checkpoint everything is read. `clean`: the broker was stopped in order.
 * Errors: MR_IO, MR_DENIED. Thread: disk; the log is nobody else's yet. */
mr_err broker_checkpoint_load(struct broker_log *log, bool clean);
/* What a checkpoint says besides what belongs to the log. */
struct broker_checkpoint {
    MR_ARRAY(struct broker_segment_facts) facts;
    MR_ARRAY(bool) cleaned;
    struct broker_index index; /* of the segment that was the newest */
    int64_t end;               /* offset up to which all is known; -1: no checkpoint */
    int64_t newest;            /* base of that segment, or -1 */
};
/* Reads the file into the log (start, epochs, producers) and *known, which begins as zeros.
 * Errors: MR_NOT_FOUND, MR_IO, MR_CORRUPT; both are then as without a checkpoint. Thread: disk. */
mr_err broker_checkpoint_read(struct broker_log *log, struct broker_checkpoint *known);
void broker_checkpoint_fini(struct broker_checkpoint *known);
/* Writes the checkpoint of a log that is on the disk and nobody appends to. Thread: disk. */
mr_err broker_checkpoint_save(struct broker_log *log);

#endif
