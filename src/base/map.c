/* base/map.c: text to pointers. Entries lie in insertion order in one array; a table of slots, at
 * most half full, finds them. A removal leaves a hole in the entries, which its slot keeps pointing
 * at until the next rebuild; a rebuild closes the holes. Nothing moves while entries are removed.
 * Keys are often a stranger's: the hash has a secret of this process, so nobody can choose keys that meet in
 * one slot. The order of entries does not depend on it. */
#include "base/map.h"

#include "base/clock.h"
#include "base/hash.h"

static uint64_t secret[2];

__attribute__((constructor(101))) static void secret_make(void)
{
    mr_entropy(secret, sizeof secret);
}

static uint64_t hash_of(mr_str key)
{
    return mr_hash_secret(secret, key.data, key.length);
}

void mr_map_init(struct mr_map *map)
{
    *map = (struct mr_map){0};
}

void mr_map_fini(struct mr_map *map)
{
    for (size_t i = 0; i < map->used; i++)
        mr_free((char *)(uintptr_t)map->entries[i].key.data);
    mr_free(map->entries);
    mr_free(map->slots);
    *map = (struct mr_map){0};
}

static struct mr_map_entry *find(const struct mr_map *map, mr_str key, uint64_t hash)
{
    if (map->count == 0)
        return NULL;
    for (size_t slot = hash & (map->slot_count - 1);; slot = (slot + 1) & (map->slot_count - 1)) {
        uint32_t index = map->slots[slot];
        if (index == 0)
            return NULL;
        struct mr_map_entry *entry = &map->entries[index - 1];
        if (entry->hash == hash && entry->value != NULL && mr_str_equal(entry->key, key))
            return entry;
    }
}

static void slot_fill(struct mr_map *map, uint64_t hash, size_t index)
{
    size_t slot = hash & (map->slot_count - 1);
    while (map->slots[slot] != 0)
        slot = (slot + 1) & (map->slot_count - 1);
    map->slots[slot] = (uint32_t)index + 1;
}

/* Closes the holes; doubles the room unless at least half of it were holes. */
static void rebuild(struct mr_map *map)
{
    size_t kept = 0;
    for (size_t i = 0; i < map->used; i++)
        if (map->entries[i].value != NULL)
            map->entries[kept++] = map->entries[i];
    mr_assert(kept == map->count);
    map->used = kept;
    if (map->capacity == 0 || map->count > map->capacity / 2) {
        map->capacity = map->capacity == 0 ? 8 : map->capacity * 2;
        mr_assert(map->capacity < UINT32_MAX / 2);
        map->entries = mr_realloc(map->entries,
                                  mr_size_product(map->capacity, sizeof *map->entries));
    }
    mr_free(map->slots);
    map->slot_count = map->capacity * 2;
    map->slots = mr_new_array(uint32_t, map->slot_count);
    for (size_t i = 0; i < kept; i++)
        slot_fill(map, map->entries[i].hash, i);
}

void *mr_map_get(const struct mr_map *map, mr_str key)
{
    if (map->count == 0)
        return NULL;
    struct mr_map_entry *entry = find(map, key, hash_of(key));
    return entry == NULL ? NULL : entry->value;
}

void *mr_map_put(struct mr_map *map, mr_str key, void *value)
{
    mr_assert(value != NULL);
    uint64_t hash = hash_of(key);
    struct mr_map_entry *entry = find(map, key, hash);
    if (entry != NULL) {
        void *old = entry->value;
        entry->value = value;
        return old;
    }
    if (map->used == map->capacity)
        rebuild(map);
    map->entries[map->used] = (struct mr_map_entry){{mr_copy_cstr(key), key.length}, value, hash};
    slot_fill(map, hash, map->used++);
    map->count++;
    return NULL;
}

void *mr_map_remove(struct mr_map *map, mr_str key)
{
    struct mr_map_entry *entry = map->count == 0 ? NULL : find(map, key, hash_of(key));
    if (entry == NULL)
        return NULL;
    void *old = entry->value;
    mr_free((char *)(uintptr_t)entry->key.data);
    entry->key = MR_STR_NULL;
    entry->value = NULL;
    map->count--;
    return old;
}

struct mr_map_entry *mr_map_next(const struct mr_map *map, size_t *index)
{
    while (*index < map->used) {
        struct mr_map_entry *entry = &map->entries[(*index)++];
        if (entry->value != NULL)
            return entry;
    }
    return NULL;
}

void *mr_array_room(void *items, size_t count, size_t *capacity, size_t item_bytes)
{
    if (count < *capacity)
        return items;
    *capacity = *capacity == 0 ? 8 : *capacity * 2;
    return mr_realloc(items, mr_size_product(*capacity, item_bytes));
}
