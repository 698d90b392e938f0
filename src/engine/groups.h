/* engine/groups.h: the open groups of one aggregation, in memory, and what a batch has changed in them.
 *
 * All open groups are in memory; their truth is the compacted topic `<stream>.state`, and RocksDB holds
 * a local copy for a quick start. A change is a pair of bytes: key, and value or tombstone. */
#ifndef ENGINE_GROUPS_H
#define ENGINE_GROUPS_H

#include "engine/eval.h"

struct engine_group {
    struct engine_group *next, *previous; /* of the same window's end */
    uint64_t hash;
    int64_t window_end; /* INT64_MIN: no window */
    /* What makes its write time: the latest record's time plus how many rows were folded in. A function
     * of the set of rows alone, and rising with it, whatever the batches were. */
    int64_t time_us_max, row_count;
    bool dirty;
    uint32_t key_bytes;
    struct engine_fold folds[]; /* then the key */
};
struct engine_groups;
struct engine_groups *engine_groups_new(uint32_t fold_count);
void engine_groups_free(struct engine_groups *groups); /* accepts NULL */
mr_str engine_groups_key(const struct engine_groups *groups, const struct engine_group *group);
size_t engine_groups_count(const struct engine_groups *groups);
/* Finds the group or makes it. MR_LIMIT when there are too many. */
mr_err engine_groups_find(struct engine_groups *groups, mr_str key, int64_t window_end,
                          struct engine_group **out);
/* The group has changed in this batch. */
void engine_groups_touch(struct engine_groups *groups, struct engine_group *group);
/* Every group, as if the batch had changed it. */
void engine_groups_touch_all(struct engine_groups *groups);
/* Whether engine_groups_close() would take any. */
bool engine_groups_closes(const struct engine_groups *groups, int64_t watermark_us);
/* Takes up to `max` groups out whose window ends at or before the watermark, earliest first, and notes
 * their tombstones. The caller frees them. */
size_t engine_groups_close(struct engine_groups *groups, int64_t watermark_us,
                           struct engine_group **out, size_t max);
void engine_groups_release(const struct engine_groups *groups, struct engine_group *group);

/* ---- the batch's changes ---- */
struct engine_groups_change {
    mr_str key, value; /* value.data NULL: a tombstone */
};
/* The groups that were touched since the last engine_groups_settle(), in the order of touching. */
struct engine_group *const *engine_groups_dirty(const struct engine_groups *groups, size_t *count);
/* Tombstones and touched groups as bytes; they live until engine_groups_settle(). */
const struct engine_groups_change *engine_groups_changes(struct engine_groups *groups,
                                                         size_t *count);
/* The batch is committed: nothing is dirty. */
void engine_groups_settle(struct engine_groups *groups);

/* ---- restoring ---- */
/* One change as engine_groups_changes() gave it. MR_CORRUPT; MR_LIMIT. */
mr_err engine_groups_load(struct engine_groups *groups, mr_str key, mr_str value);
/* Forgets every group. With `tombstones` the forgetting is a change of the batch. */
void engine_groups_clear(struct engine_groups *groups, bool tombstones);

/* ---- keys of groups (key.c) ---- */
/* Appends one value of a key; NaNs and zeros become one each, as Spark groups them. */
void engine_key_write(struct mr_buf *out, const struct data_column *column, uint32_t row);
/* Reads it back into a column of the type; text goes to the arena. The reader is sticky. */
void engine_key_read(struct mr_in *in, struct mr_arena *arena, struct data_column *column,
                     uint32_t row);

#endif
