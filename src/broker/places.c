/* broker/places.c: sets of partitions as sorted arrays; every operation is one walk over both. */
#include "broker/places.h"

#include <stdlib.h>

void broker_places_fini(struct broker_places *places)
{
    mr_array_fini(places);
}

int broker_places_compare(const void *a, const void *b)
{
    const struct broker_place *left = a, *right = b;
    int order = memcmp(left->topic.bytes, right->topic.bytes, sizeof(left->topic.bytes));

    if (order != 0)
        return order;
    return (left->partition > right->partition) - (left->partition < right->partition);
}

void broker_places_add(struct broker_places *places, const mr_uuid *topic, int32_t partition)
{
    *mr_array_add(places) = (struct broker_place){*topic, partition};
}

void broker_places_sort(struct broker_places *places)
{
    size_t kept = 0;

    if (places->count == 0)
        return;
    qsort(places->items, places->count, sizeof(places->items[0]), broker_places_compare);
    for (size_t i = 1; i < places->count; i++)
        if (broker_places_compare(&places->items[kept], &places->items[i]) != 0)
            places->items[++kept] = places->items[i];
    places->count = kept + 1;
}

void broker_places_copy(struct broker_places *into, const struct broker_places *from)
{
    into->count = 0;
    for (size_t i = 0; i < from->count; i++)
        *mr_array_add(into) = from->items[i];
}

bool broker_places_has(const struct broker_places *places, const struct broker_place *place)
{
    return places->count > 0 && bsearch(place, places->items, places->count, sizeof(*place),
                                        broker_places_compare) != NULL;
}

bool broker_places_equal(const struct broker_places *a, const struct broker_places *b)
{
    return a->count == b->count && broker_places_within(a, b);
}

bool broker_places_overlap(const struct broker_places *a, const struct broker_places *b)
{
    for (size_t i = 0; i < a->count; i++)
        if (broker_places_has(b, &a->items[i]))
            return true;
    return false;
}

bool broker_places_within(const struct broker_places *a, const struct broker_places *b)
{
    for (size_t i = 0; i < a->count; i++)
        if (!broker_places_has(b, &a->items[i]))
            return false;
    return true;
}

void broker_places_split(const struct broker_places *from, const struct broker_places *in,
                         struct broker_places *common, struct broker_places *rest)
{
    struct broker_places both = {0}, lone = {0};

    for (size_t i = 0; i < from->count; i++)
        *mr_array_add(broker_places_has(in, &from->items[i]) ? &both : &lone) = from->items[i];
    if (common != NULL) {
        broker_places_fini(common);
        *common = both;
    } else {
        broker_places_fini(&both);
    }
    if (rest != NULL) {
        broker_places_fini(rest);
        *rest = lone;
    } else {
        broker_places_fini(&lone);
    }
}
