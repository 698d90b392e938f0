/* broker/storage.h: what all logs of a broker share: its loop and disk threads, the budget for batches
 * kept in memory, the list of logs with something to write, and the rounds of upkeep.
 * Thread: the loop's. */
#ifndef BROKER_STORAGE_H
#define BROKER_STORAGE_H

#include "broker/log.h"

struct broker_storage {
    struct mr_loop *loop;
    struct mr_disk *disk;
    char *folder;
    bool page_cache, no_reserve, low_space, closing;
    MR_ARRAY(struct broker_log *) logs;
    size_t recent_bytes, recent_bytes_max;
    size_t ahead_bytes;         /* read ahead of readers, or about to be */
    struct broker_log **recent; /* whose batch comes next, oldest first: a ring */
    size_t recent_head, recent_count, recent_capacity;
    struct broker_log *dirty;
    struct mr_task turn_end;
    struct mr_timer tick;
    int64_t producer_expiry_ms; /* how long a silent producer is remembered */
    int64_t retained_us, space_us, appended_us;
    int64_t free_bytes, total_bytes; /* of the disk, as last looked at; -1: not yet */
    bool space_checking, settled;    /* settled: nothing is held for the next append */
    int compactions;
    bool held;       /* nothing is removed meanwhile */
    int removals;    /* under way */
    int64_t removed; /* so many are through */
    /* ---- what a start would read: the sum over all logs, and what checkpoints under way cover of it */
    int64_t unsaved_bytes, unsaved_bytes_saving;
    int checkpoints;              /* under way */
    bool writes_wait;             /* for one of them to end */
    size_t save_next, save_count; /* where the round looks next for a log to save; so many to go */
    MR_ARRAY(struct mr_job *) removals_held;
    struct mr_task *held_task; /* waits for those under way */
    struct mr_counter *log_bytes, *bytes_in, *bytes_out, *records_in, *errors, *connections;
};
void broker_storage_init(struct broker_storage *storage, struct mr_loop *loop, struct mr_disk *disk,
                         mr_str folder);
/* All logs are freed. */
void broker_storage_fini(struct broker_storage *storage);
/* From now on: space, retention, compaction, idle files. */
void broker_storage_start(struct broker_storage *storage);
/* Writes this log's queue at the end of the turn. */
void broker_storage_dirty(struct broker_storage *storage, struct broker_log *log);
/* A batch went into memory; pushes older ones out. */
void broker_storage_remember(struct broker_storage *storage, struct broker_log *log, size_t bytes);
void broker_storage_forget(struct broker_storage *storage, struct broker_log *log);
/* So much was appended to the log, or read at the start, that no checkpoint covers. */
void broker_storage_unsaved(struct broker_storage *storage, struct broker_log *log, int64_t bytes);
/* No further checkpoint of this log will come. */
void broker_storage_disregard(struct broker_storage *storage, struct broker_log *log);
/* Begins the checkpoints that are due, few at a time. */
void broker_storage_save(struct broker_storage *storage);
/* One is through, whether it was written or not. */
void broker_storage_checkpoint_ended(struct broker_storage *storage);
/* Whether the log's next write has to wait for a checkpoint, lest a start read too much; it is flushed then. */
bool broker_storage_holds(struct broker_storage *storage, const struct broker_log *log);
/* Drops this log's batches before `end` from memory: the files say something else now. */
void broker_storage_trim(struct broker_storage *storage, struct broker_log *log, int64_t end);
/* ---- holding the files ----
 * What takes a segment's file away or gives its name to another (a drop, the last step of a compaction, the
 * removal of a topic) is submitted here; its `done` says first that it is through. While the files are held such jobs
 * wait. Appends, reads and checkpoints go on. */
void broker_storage_remove(struct broker_storage *storage, struct mr_job *job);
void broker_storage_removed(struct broker_storage *storage);
/* Runs `task` once nothing is under way any more. One at a time. */
void broker_storage_hold(struct broker_storage *storage, struct mr_task *task);
void broker_storage_release(struct broker_storage *storage);

int64_t broker_storage_now_ms(const struct broker_storage *storage);
/* Disk use of a batch in memory, for the budget. */
size_t broker_storage_cost(size_t batch_bytes);
/* One round of upkeep, as the timer runs it. */
void broker_storage_round(struct broker_storage *storage);

#endif
