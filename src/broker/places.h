/* broker/places.h: sets of partitions, by topic id. Sorted, each once. Thread: any. */
#ifndef BROKER_PLACES_H
#define BROKER_PLACES_H

#include "base/base.h"

struct broker_place {
    mr_uuid topic;
    int32_t partition;
};
/* {0}: no partitions. */
struct broker_places {
    struct broker_place *items;
    size_t count, capacity;
};
void broker_places_fini(struct broker_places *places);
int broker_places_compare(const void *a, const void *b); /* for qsort and bsearch */
/* Behind the others, in any order; then broker_places_sort(). */
void broker_places_add(struct broker_places *places, const mr_uuid *topic, int32_t partition);
void broker_places_sort(struct broker_places *places);
void broker_places_copy(struct broker_places *into, const struct broker_places *from);
bool broker_places_has(const struct broker_places *places, const struct broker_place *place);
bool broker_places_equal(const struct broker_places *a, const struct broker_places *b);
bool broker_places_overlap(const struct broker_places *a, const struct broker_places *b);
bool broker_places_within(const struct broker_places *a, const struct broker_places *b);
/* Splits `from`: what `in` has too, and what it lacks. Either may be NULL; both are replaced. */
void broker_places_split(const struct broker_places *from, const struct broker_places *in,
                         struct broker_places *common, struct broker_places *rest);

#endif
