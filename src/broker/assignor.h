/* broker/assignor.h: which member of a group reads which partition, the server-side assignors of
 * KIP-848. A pure function of who reads what and of what each had before. Thread: any. */
#ifndef BROKER_ASSIGNOR_H
#define BROKER_ASSIGNOR_H

#include "broker/places.h"

struct broker_assign_topic {
    mr_uuid id;
    int32_t partitions;
};
struct broker_assign_member {
    mr_str id, instance_id; /* instance_id.data NULL: dynamic */
    const uint32_t *topics; /* rising indexes into the topics */
    size_t topic_count;
    const struct broker_places *before;
    struct broker_places *after; /* written: what the member is to read */
};
struct broker_assign {
    const struct broker_assign_topic *topics; /* sorted by id */
    size_t topic_count;
    struct broker_assign_member *members; /* the assignor may reorder them */
    size_t member_count;
    struct mr_arena *arena;
};
struct broker_assignor {
    const char *name;
    void (*assign)(struct broker_assign *assign);
};
/* uniform: loads differ by at most one where subscriptions allow it, and as little as possible moves.
 * range: each topic is cut into runs in the members' order, so that partition n of topics that are
 * alike goes to one member. */
extern const struct broker_assignor broker_assignor_uniform, broker_assignor_range;
/* Of share groups: a partition may be several members'. Nobody can wish for it. */
extern const struct broker_assignor broker_assignor_simple;
const struct broker_assignor *broker_assignor_find(mr_str name); /* NULL: unknown */

#endif
