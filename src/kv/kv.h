/* kv/kv.h: ordered keys and values on a disk, the only room that knows RocksDB. One kv_db is one
 * folder with named families; keys compare as bytes.
 *
 * Writes are atomic by batch and go to the write-ahead log's buffer in memory: they are visible at once
 * and durable after kv_flush_wal(). What "may block" belongs on a disk thread; everything else is fit
 * for a loop. A kv_db may be used by several threads at once; an iterator or batch by one at a time. */
#ifndef KV_KV_H
#define KV_KV_H

#include "base/base.h"

struct kv_memory;
struct kv_db;
struct kv_family;
struct kv_batch;
struct kv_iter;
struct kv_snapshot;

/* ---- memory: one block cache for every kv_db of the process ---- */
struct kv_memory *
kv_memory_new(size_t cache_bytes);             /* about 32 MiB is plenty for a small machine */
void kv_memory_free(struct kv_memory *memory); /* after the last kv_db; accepts NULL */

/* ---- what a family does on RocksDB's threads: pure functions of their arguments ---- */

/* Folds operands, oldest first, onto a value (`base.data` NULL: there is none) into `out`. false: the
 * data are corrupt, and the read or compaction fails. With `partial`, `base` is always NULL and the
 * result is an operand again; set `kv_merge.partial` only when that gives the same final value. */
typedef bool kv_merge_fn(void *context, mr_str key, mr_str base, const mr_str *operands,
                         size_t count, struct mr_buf *out);
struct kv_merge {
    kv_merge_fn *full;
    kv_merge_fn *partial; /* NULL: operands are kept apart until a base is met */
    void *context;
};
/* What a compaction does with a value (never with merge operands): keep it, drop it, or replace it by
 * `changed`. `wall_us` is the clock at the compaction's start. */
enum kv_verdict { KV_KEEP, KV_DROP, KV_CHANGE };
typedef enum kv_verdict kv_filter_fn(void *context, int64_t wall_us, mr_str key, mr_str value,
                                     struct mr_buf *changed);
struct kv_filter {
    kv_filter_fn *judge;
    void *context;
};

struct kv_family_options {
    const char *name;               /* "default" always exists and need not be listed */
    const struct kv_merge *merge;   /* NULL: no merges. Must live as long as the kv_db */
    const struct kv_filter *filter; /* NULL: none. Must live as long as the kv_db */
    size_t write_buffer_bytes;      /* 0: 8 MiB */
};
struct kv_options {
    const char *folder; /* made when missing */
    struct kv_memory *memory;
    const struct kv_family_options
        *families; /* families on disk that are not listed are opened plain */
    size_t family_count;
    size_t write_buffers_bytes;   /* of all families together, before a flush; 0: 32 MiB */
    const struct mr_clock *clock; /* for filters; NULL: the real one */
};

/* Blocks. Errors: MR_BUSY (another process has it open), MR_CORRUPT, MR_FULL, MR_DENIED, MR_IO. */
mr_err kv_open(const struct kv_options *options, struct kv_db **out);
/* Blocks: flushes the log. Iterators and snapshots are closed before. Accepts NULL. */
void kv_close(struct kv_db *db);
struct kv_family *kv_family(struct kv_db *db, const char *name); /* NULL: there is none */
/* May block. Makes a family, or finds it. Not while another thread uses kv_family(). */
mr_err kv_family_make(struct kv_db *db, const struct kv_family_options *options,
                      struct kv_family **out);
mr_err kv_family_drop(struct kv_db *db, struct kv_family *family); /* may block; with all in it */

/* ---- reading ---- */
enum {
    KV_CACHED = 1,      /* only what is in memory: MR_AGAIN when the disk is needed */
    KV_NO_SLOWDOWN = 2, /* writes: MR_AGAIN instead of waiting for a flush or compaction */
    KV_NO_FILL = 4,     /* a long scan: leave the cache as it is */
};
/* A value in RocksDB's memory, until kv_slice_fini(). */
struct kv_slice {
    mr_str value;
    void *pin; /* NULL: empty */
};
void kv_slice_fini(struct kv_slice *slice); /* accepts an empty one */
/* Errors: MR_NOT_FOUND and MR_AGAIN (both without a sentence), MR_CORRUPT, MR_IO. */
mr_err kv_get(struct kv_db *db, struct kv_family *family, mr_str key, int flags,
              const struct kv_snapshot *snapshot, struct kv_slice *out);
/* Many keys of one family at once: errs[i] as kv_get()'s, out[i] where MR_OK. `sorted`: keys ascend. */
void kv_get_many(struct kv_db *db, struct kv_family *family, const mr_str *keys, size_t count,
                 int flags, const struct kv_snapshot *snapshot, bool sorted, struct kv_slice *out,
                 mr_err *errs);

/* May block. About how many bytes the keys in [lower, upper) have on the disk; what is in memory only counts 0. */
uint64_t kv_range_bytes(struct kv_db *db, struct kv_family *family, mr_str lower, mr_str upper);
/* Keys in [lower, upper); `data` NULL: unbounded. The bounds are copied. */
struct kv_iter *kv_iter_open(struct kv_db *db, struct kv_family *family, mr_str lower, mr_str upper,
                             int flags, const struct kv_snapshot *snapshot);
void kv_iter_close(struct kv_iter *iter); /* accepts NULL */
void kv_iter_first(struct kv_iter *iter);
void kv_iter_last(struct kv_iter *iter);
void kv_iter_seek(struct kv_iter *iter, mr_str key);      /* the first at or after `key` */
void kv_iter_seek_back(struct kv_iter *iter, mr_str key); /* the last at or before `key` */
void kv_iter_next(struct kv_iter *iter);                  /* only while valid */
void kv_iter_prev(struct kv_iter *iter);
bool kv_iter_valid(const struct kv_iter *iter); /* false: the end, or an error */
/* Once not valid: MR_OK at the end; MR_AGAIN when KV_CACHED met the disk; MR_CORRUPT, MR_IO. */
mr_err kv_iter_err(const struct kv_iter *iter);
mr_str kv_iter_key(const struct kv_iter *iter); /* views, until the iterator moves */
mr_str kv_iter_value(const struct kv_iter *iter);

struct kv_snapshot *kv_snapshot_take(struct kv_db *db);
void kv_snapshot_release(struct kv_db *db, struct kv_snapshot *snapshot); /* accepts NULL */

/* ---- writing ---- */
struct kv_batch *kv_batch_new(void);
void kv_batch_free(struct kv_batch *batch); /* accepts NULL */
void kv_batch_clear(struct kv_batch *batch);
void kv_batch_put(struct kv_batch *batch, struct kv_family *family, mr_str key, mr_str value);
void kv_batch_delete(struct kv_batch *batch, struct kv_family *family, mr_str key);
void kv_batch_delete_range(struct kv_batch *batch, struct kv_family *family, mr_str from,
                           mr_str to);
void kv_batch_merge(struct kv_batch *batch, struct kv_family *family, mr_str key, mr_str operand);
size_t kv_batch_count(const struct kv_batch *batch);
size_t kv_batch_bytes(const struct kv_batch *batch);
/* Visible at once, all or nothing. Errors: MR_AGAIN with KV_NO_SLOWDOWN; MR_FULL (no space: stays so
 * until kv_resume()), MR_IO. */
mr_err kv_write(struct kv_db *db, struct kv_batch *batch, int flags);
/* Blocks: writes the log's buffer to the file; with `sync` to the disk. */
mr_err kv_flush_wal(struct kv_db *db, bool sync);

/* Group commit: all that wait share one kv_flush_wal() on a disk thread; the next begins when it is
 * done. Belongs to `loop`. */
struct kv_commits;
struct kv_commits *kv_commits_new(struct mr_loop *loop, struct mr_disk *disk, struct kv_db *db,
                                  bool sync);
/* Nobody may wait any more (kv_commits_idle()). Accepts NULL. */
void kv_commits_free(struct kv_commits *commits);
bool kv_commits_idle(const struct kv_commits *commits);
struct kv_commit {
    void (*done)(struct kv_commit *commit, mr_err err); /* mr_why() has the sentence */
    struct kv_commit *next;                             /* the queue's */
};
/* `done` runs on the loop once everything written before this call is durable. */
void kv_commits_wait(struct kv_commits *commits, struct kv_commit *commit);

/* ---- upkeep: all of it blocks ---- */
/* After MR_FULL: tries to write again. The database is closed and opened in place: no iterator,
 * snapshot, slice or other call may be alive. What was acknowledged is kept; what was only in the log's
 * buffer is lost. Families keep their addresses. */
mr_err kv_resume(struct kv_db *db);
mr_err kv_flush(struct kv_db *db);                             /* memory to tables */
mr_err kv_compact(struct kv_db *db, struct kv_family *family); /* everything in it */
/* A consistent copy in a new folder, by hard links where it can. */
mr_err kv_checkpoint(struct kv_db *db, const char *folder);
/* Estimates. */
uint64_t kv_key_count(struct kv_db *db, struct kv_family *family);
uint64_t kv_memory_bytes(struct kv_db *db);
uint64_t kv_disk_bytes(struct kv_db *db);

#endif
