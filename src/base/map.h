/* base/map.h: a hash map from text to pointers (owner: whoever made it; keys are copied), and a
 * typed growing array. Iteration order of a map is insertion order. */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include "base/memory.h"

struct mr_map_entry {
    mr_str key;  /* owned by the map; valid until removed */
    void *value; /* NULL: a hole left by a removal, skip it */
    uint64_t hash;
};
struct mr_map {
    struct mr_map_entry *entries; /* [0, used): insertion order, with holes */
    uint32_t *slots;              /* open addressing: entry index + 1, or 0 */
    size_t used, capacity, slot_count;
    size_t count; /* live entries */
};
void mr_map_init(struct mr_map *map);                   /* {0} is the same */
void mr_map_fini(struct mr_map *map);                   /* frees keys, not values */
void *mr_map_get(const struct mr_map *map, mr_str key); /* NULL when absent */
void *mr_map_put(struct mr_map *map, mr_str key,
                 void *value);                       /* value != NULL; returns the old one */
void *mr_map_remove(struct mr_map *map, mr_str key); /* returns the old value or NULL */
/* for (size_t i = 0; (entry = mr_map_next(&map, &i)) != NULL;) ; removing the current one is allowed */
struct mr_map_entry *mr_map_next(const struct mr_map *map, size_t *index);

/* ---- arrays: struct { T *items; size_t count, capacity; } ---- */
#define MR_ARRAY(type)          \
    struct {                    \
        type *items;            \
        size_t count, capacity; \
    }
void *mr_array_room(void *items, size_t count, size_t *capacity, size_t item_bytes);
/* Room for one more at the end: *mr_array_add(&list) = x; */
#define mr_array_add(array)                                                             \
    ((array)->items = mr_array_room((array)->items, (array)->count, &(array)->capacity, \
                                    sizeof(*(array)->items)),                           \
     &(array)->items[(array)->count++])
#define mr_array_fini(array) \
    (mr_free((array)->items), (array)->items = NULL, (array)->count = (array)->capacity = 0)

#endif
