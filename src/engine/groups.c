/* engine/groups.c: hides how open groups are found: by key in an open-addressing table, and by window's
 * end in lists under a sorted array, since there are few different ends and many groups.
 *
 * Invariants: a group in the table is in exactly one list; `dirty` names each touched group once; a
 * group that was closed is in neither, and its tombstone is noted. */
#include "engine/groups.h"

enum { FORM = 1, SLOTS_MIN = 64 };

struct bucket {
    int64_t end;
    struct engine_group *first;
};
struct range {
    size_t key, key_bytes, value, value_bytes;
    bool tombstone;
};
struct engine_groups {
    uint32_t fold_count;
    struct engine_group **slots; /* NULL: free */
    size_t slot_count, group_count;
    MR_ARRAY(struct bucket) buckets; /* by rising end */
    MR_ARRAY(struct engine_group *) dirty;
    MR_ARRAY(struct range) ranges; /* of `bytes`: the batch's changes */
    size_t saved;                  /* how many of `dirty` are in `ranges` */
    struct mr_buf bytes;
    MR_ARRAY(struct engine_groups_change) changes;
};

/* ---- groups ---- */
static size_t key_place(const struct engine_groups *groups)
{
    return sizeof(struct engine_group) + sizeof(struct engine_fold) * groups->fold_count;
}
mr_str engine_groups_key(const struct engine_groups *groups, const struct engine_group *group)
{
    return mr_str_of((const char *)group + key_place(groups), group->key_bytes);
}
static struct engine_group *group_new(const struct engine_groups *groups, mr_str key, uint64_t hash,
                                      int64_t window_end)
{
    struct engine_group *group = mr_alloc(key_place(groups) + key.length);
    memset(group, 0, key_place(groups));
    group->hash = hash;
    group->window_end = window_end;
    group->time_us_max = INT64_MIN;
    group->key_bytes = (uint32_t)key.length;
    memcpy((char *)group + key_place(groups), key.data, key.length);
    for (uint32_t i = 0; i < groups->fold_count; i++)
        engine_fold_init(&group->folds[i]);
    return group;
}
void engine_groups_release(const struct engine_groups *groups, struct engine_group *group)
{
    for (uint32_t i = 0; i < groups->fold_count; i++)
        engine_fold_fini(&group->folds[i]);
    mr_free(group);
}

/* ---- by key ---- */
static size_t slot_of(const struct engine_groups *groups, mr_str key, uint64_t hash)
{
    size_t slot = hash & (groups->slot_count - 1);
    for (struct engine_group *group; (group = groups->slots[slot]) != NULL;) {
        if (group->hash == hash && mr_str_equal(engine_groups_key(groups, group), key))
            break;
        slot = (slot + 1) & (groups->slot_count - 1);
    }
    return slot;
}
static void slots_grow(struct engine_groups *groups)
{
    struct engine_group **old = groups->slots;
    size_t old_count = groups->slot_count;
    groups->slot_count = old_count * 2;
    groups->slots = mr_new_array(struct engine_group *, groups->slot_count);
    for (size_t i = 0; i < old_count; i++) {
        if (old[i] == NULL)
            continue;
        size_t slot = old[i]->hash & (groups->slot_count - 1);
        while (groups->slots[slot] != NULL)
            slot = (slot + 1) & (groups->slot_count - 1);
        groups->slots[slot] = old[i];
    }
    mr_free(old);
}
/* Frees the slot and moves later groups of the same run up, so that no search breaks off early. */
static void slot_clear(struct engine_groups *groups, size_t hole)
{
    size_t mask = groups->slot_count - 1;
    groups->slots[hole] = NULL;
    for (size_t at = (hole + 1) & mask; groups->slots[at] != NULL; at = (at + 1) & mask) {
        size_t home = groups->slots[at]->hash & mask;
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            groups->slots[hole] = groups->slots[at];
            groups->slots[at] = NULL;
            hole = at;
        }
    }
}

/* ---- by window's end ---- */
static size_t bucket_place(const struct engine_groups *groups, int64_t end)
{
    size_t low = 0, high = groups->buckets.count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (groups->buckets.items[middle].end < end)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}
static void bucket_remove(struct engine_groups *groups, size_t place)
{
    struct bucket *bucket = &groups->buckets.items[place];
    memmove(bucket, bucket + 1, sizeof(*bucket) * (groups->buckets.count - place - 1));
    groups->buckets.count--;
}
static void link_group(struct engine_groups *groups, struct engine_group *group)
{
    size_t place = bucket_place(groups, group->window_end);
    if (place == groups->buckets.count || groups->buckets.items[place].end != group->window_end) {
        (void)mr_array_add(&groups->buckets);
        struct bucket *bucket = &groups->buckets.items[place];
        memmove(bucket + 1, bucket, sizeof(*bucket) * (groups->buckets.count - place - 1));
        *bucket = (struct bucket){group->window_end, NULL};
    }
    struct bucket *bucket = &groups->buckets.items[place];
    group->next = bucket->first;
    if (group->next != NULL)
        group->next->previous = group;
    bucket->first = group;
}
static void unlink_group(struct engine_groups *groups, struct engine_group *group)
{
    if (group->next != NULL)
        group->next->previous = group->previous;
    if (group->previous != NULL) {
        group->previous->next = group->next;
        return;
    }
    size_t place = bucket_place(groups, group->window_end);
    mr_assert(groups->buckets.items[place].first == group);
    groups->buckets.items[place].first = group->next;
    if (group->next == NULL)
        bucket_remove(groups, place);
}
static void take_group(struct engine_groups *groups, struct engine_group *group)
{
    slot_clear(groups, slot_of(groups, engine_groups_key(groups, group), group->hash));
    unlink_group(groups, group);
    group->next = group->previous = NULL;
    groups->group_count--;
}

/* ---- the whole ---- */
struct engine_groups *engine_groups_new(uint32_t fold_count)
{
    struct engine_groups *groups = mr_new(struct engine_groups);
    groups->fold_count = fold_count;
    groups->slot_count = SLOTS_MIN;
    groups->slots = mr_new_array(struct engine_group *, groups->slot_count);
    return groups;
}
void engine_groups_free(struct engine_groups *groups)
{
    if (groups == NULL)
        return;
    for (size_t i = 0; i < groups->slot_count; i++)
        if (groups->slots[i] != NULL)
            engine_groups_release(groups, groups->slots[i]);
    mr_free(groups->slots);
    mr_array_fini(&groups->buckets);
    mr_array_fini(&groups->dirty);
    mr_array_fini(&groups->ranges);
    mr_array_fini(&groups->changes);
    mr_buf_fini(&groups->bytes);
    mr_free(groups);
}
size_t engine_groups_count(const struct engine_groups *groups)
{
    return groups->group_count;
}
mr_err engine_groups_find(struct engine_groups *groups, mr_str key, int64_t window_end,
                          struct engine_group **out)
{
    uint64_t hash = mr_hash(key.data, key.length);
    size_t slot = slot_of(groups, key, hash);
    if (groups->slots[slot] != NULL) {
        *out = groups->slots[slot];
        return MR_OK;
    }
    if (groups->group_count >= MR_LIMIT_STREAM_GROUPS)
        return mr_fail(MR_LIMIT, "more than %d open groups: group by fewer keys or shorter windows",
                       MR_LIMIT_STREAM_GROUPS);
    *out = groups->slots[slot] = group_new(groups, key, hash, window_end);
    groups->group_count++;
    link_group(groups, *out);
    if (groups->group_count * 2 > groups->slot_count)
        slots_grow(groups);
    return MR_OK;
}
void engine_groups_touch(struct engine_groups *groups, struct engine_group *group)
{
    if (group->dirty)
        return;
    group->dirty = true;
    *mr_array_add(&groups->dirty) = group;
}
void engine_groups_touch_all(struct engine_groups *groups)
{
    for (size_t i = 0; i < groups->slot_count; i++)
        if (groups->slots[i] != NULL)
            engine_groups_touch(groups, groups->slots[i]);
}
static void note_tombstone(struct engine_groups *groups, mr_str key)
{
    struct range range = {.key = groups->bytes.length, .key_bytes = key.length, .tombstone = true};
    mr_buf_str(&groups->bytes, key);
    *mr_array_add(&groups->ranges) = range;
}
/* Groups without a window lie under the smallest end there is, and never close. */
static size_t first_window(const struct engine_groups *groups)
{
    return groups->buckets.count > 0 && groups->buckets.items[0].end == INT64_MIN ? 1 : 0;
}
bool engine_groups_closes(const struct engine_groups *groups, int64_t watermark_us)
{
    size_t first = first_window(groups);
    return first < groups->buckets.count && groups->buckets.items[first].end <= watermark_us;
}
size_t engine_groups_close(struct engine_groups *groups, int64_t watermark_us,
                           struct engine_group **out, size_t max)
{
    size_t count = 0;
    while (count < max && engine_groups_closes(groups, watermark_us)) {
        struct engine_group *group = groups->buckets.items[first_window(groups)].first;
        mr_assert(!group->dirty); /* the watermark moves between batches only */
        take_group(groups, group);
        note_tombstone(groups, engine_groups_key(groups, group));
        out[count++] = group;
    }
    return count;
}

/* ---- changes ---- */
struct engine_group *const *engine_groups_dirty(const struct engine_groups *groups, size_t *count)
{
    *count = groups->dirty.count;
    return groups->dirty.items;
}
static void save_group(struct engine_groups *groups, const struct engine_group *group)
{
    struct range range = {.key = groups->bytes.length, .key_bytes = group->key_bytes};
    mr_buf_str(&groups->bytes, engine_groups_key(groups, group));
    range.value = groups->bytes.length;
    mr_buf_u8(&groups->bytes, FORM);
    mr_buf_le64(&groups->bytes, (uint64_t)group->window_end);
    mr_buf_le64(&groups->bytes, (uint64_t)group->time_us_max);
    mr_buf_uvarint(&groups->bytes, (uint64_t)group->row_count);
    mr_buf_uvarint(&groups->bytes, groups->fold_count);
    for (uint32_t i = 0; i < groups->fold_count; i++)
        engine_fold_save(&groups->bytes, &group->folds[i]);
    range.value_bytes = groups->bytes.length - range.value;
    *mr_array_add(&groups->ranges) = range;
}
const struct engine_groups_change *engine_groups_changes(struct engine_groups *groups,
                                                         size_t *count)
{
    for (; groups->saved < groups->dirty.count; groups->saved++)
        save_group(groups, groups->dirty.items[groups->saved]);
    groups->changes.count = 0;
    for (size_t i = 0; i < groups->ranges.count; i++) {
        const struct range *range = &groups->ranges.items[i];
        struct engine_groups_change change = {
            .key = mr_str_of(groups->bytes.data + range->key, range->key_bytes)};
        if (!range->tombstone)
            change.value = mr_str_of(groups->bytes.data + range->value, range->value_bytes);
        *mr_array_add(&groups->changes) = change;
    }
    *count = groups->changes.count;
    return groups->changes.items;
}
void engine_groups_settle(struct engine_groups *groups)
{
    for (size_t i = 0; i < groups->dirty.count; i++)
        groups->dirty.items[i]->dirty = false;
    groups->dirty.count = groups->ranges.count = groups->changes.count = groups->saved = 0;
    mr_buf_clear(&groups->bytes);
}

/* ---- restoring ---- */
static mr_err load_group(struct engine_groups *groups, mr_str key, mr_str value)
{
    struct mr_in in = mr_in_str(value);
    uint8_t form = mr_in_u8(&in);
    int64_t window_end = (int64_t)mr_in_le64(&in);
    struct engine_group *group = NULL;
    if (form != FORM)
        return mr_fail(MR_CORRUPT, "state of a group: expected form %d, found %u", FORM, form);
    mr_err err = engine_groups_find(groups, key, window_end, &group);
    if (err != MR_OK)
        return err;
    group->time_us_max = (int64_t)mr_in_le64(&in);
    group->row_count = (int64_t)mr_in_uvarint(&in);
    if (mr_in_uvarint(&in) != groups->fold_count)
        mr_in_fail(&in);
    for (uint32_t i = 0; i < groups->fold_count; i++) {
        engine_fold_fini(&group->folds[i]);
        engine_fold_init(&group->folds[i]);
        if (in.err == MR_OK && engine_fold_load(&in, &group->folds[i]) != MR_OK)
            mr_in_fail(&in);
    }
    if (in.err != MR_OK || mr_in_left(&in) != 0)
        return mr_fail(MR_CORRUPT, "state of a group: the bytes are of another query");
    return MR_OK;
}
mr_err engine_groups_load(struct engine_groups *groups, mr_str key, mr_str value)
{
    if (value.data != NULL)
        return load_group(groups, key, value);
    struct engine_group *group = groups->slots[slot_of(groups, key, mr_hash(key.data, key.length))];
    if (group != NULL) {
        take_group(groups, group);
        engine_groups_release(groups, group);
    }
    return MR_OK;
}
void engine_groups_clear(struct engine_groups *groups, bool tombstones)
{
    engine_groups_settle(groups);
    for (size_t i = 0; i < groups->slot_count; i++) {
        if (groups->slots[i] == NULL)
            continue;
        if (tombstones)
            note_tombstone(groups, engine_groups_key(groups, groups->slots[i]));
        engine_groups_release(groups, groups->slots[i]);
        groups->slots[i] = NULL;
    }
    groups->group_count = groups->buckets.count = 0;
}
