/* broker/assignor.c: the assignors `uniform` and `range`, and `simple` of share groups.
 *
 * Uniform numbers all partitions through, topic by topic, and keeps an owner for each. Members first
 * keep what they had and may still read. When all read the same topics, everyone's share is known
 * beforehand: what is above it is given up, the rest is dealt out. When they differ, a partition goes
 * to the member with the least, and moves on, over others where it must, as long as somebody has two
 * more than somebody else. */
#include "broker/assignor.h"

#include <stdlib.h>

enum { NOBODY = -1 };

struct uniform {
    const struct broker_assign *assign;
    size_t *first; /* number of each topic's partition 0; one more: the count of all */
    int32_t *owners, *loads;
};

/* ---- what both share ---- */

static int by_id(const void *a, const void *b)
{
    return mr_str_compare(((const struct broker_assign_member *)a)->id,
                          ((const struct broker_assign_member *)b)->id);
}

/* Static members first, by their lasting names: then a restart moves nothing. */
static int by_instance(const void *a, const void *b)
{
    const struct broker_assign_member *left = a, *right = b;

    if (left->instance_id.data != NULL && right->instance_id.data != NULL)
        return mr_str_compare(left->instance_id, right->instance_id);
    if (left->instance_id.data != NULL || right->instance_id.data != NULL)
        return left->instance_id.data != NULL ? -1 : 1;
    return by_id(a, b);
}

static void members_sort(struct broker_assign *assign, int (*order)(const void *, const void *))
{
    if (assign->member_count > 0)
        qsort(assign->members, assign->member_count, sizeof(assign->members[0]), order);
}

static bool reads(const struct broker_assign_member *member, uint32_t topic)
{
    size_t low = 0, high = member->topic_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (member->topics[middle] == topic)
            return true;
        if (member->topics[middle] < topic)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

/* Index of the topic, or topic_count. */
static size_t topic_find(const struct broker_assign *assign, const mr_uuid *id)
{
    size_t low = 0, high = assign->topic_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = memcmp(assign->topics[middle].id.bytes, id->bytes, sizeof(id->bytes));
        if (order == 0)
            return middle;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return assign->topic_count;
}

/* ---- uniform ---- */

static void own(struct uniform *uniform, size_t at, int32_t member)
{
    if (uniform->owners[at] != NOBODY)
        uniform->loads[uniform->owners[at]]--;
    uniform->owners[at] = member;
    if (member != NOBODY)
        uniform->loads[member]++;
}

static void keep_before(struct uniform *uniform)
{
    const struct broker_assign *assign = uniform->assign;

    for (size_t m = 0; m < assign->member_count; m++) {
        const struct broker_places *before = assign->members[m].before;
        for (size_t i = 0; i < before->count; i++) {
            size_t topic = topic_find(assign, &before->items[i].topic);
            int32_t partition = before->items[i].partition;
            if (topic == assign->topic_count || partition < 0 ||
                partition >= assign->topics[topic].partitions ||
                !reads(&assign->members[m], (uint32_t)topic) ||
                uniform->owners[uniform->first[topic] + (size_t)partition] != NOBODY)
                continue;
            own(uniform, uniform->first[topic] + (size_t)partition, (int32_t)m);
        }
    }
}

static bool all_read_the_same(const struct broker_assign *assign)
{
    const struct broker_assign_member *first = &assign->members[0];

    for (size_t m = 1; m < assign->member_count; m++) {
        const struct broker_assign_member *member = &assign->members[m];
        if (member->topic_count != first->topic_count ||
            (first->topic_count > 0 && memcmp(member->topics, first->topics,
                                              first->topic_count * sizeof(first->topics[0])) != 0))
            return false;
    }
    return true;
}

/* Who has more than a plain share keeps one of the shares that are larger, while there are any; the
 * others get what is left of those in their order. */
static int32_t *shares_of(const struct uniform *uniform, size_t total)
{
    const struct broker_assign *assign = uniform->assign;
    size_t larger = total % assign->member_count;
    int32_t plain = (int32_t)(total / assign->member_count);
    int32_t *shares = mr_arena_array(assign->arena, int32_t, assign->member_count);

    for (size_t m = 0; m < assign->member_count; m++) {
        shares[m] = plain + (larger > 0 && uniform->loads[m] > plain);
        larger -= shares[m] > plain;
    }
    for (size_t m = 0; m < assign->member_count && larger > 0; m++) {
        if (shares[m] == plain) {
            shares[m]++;
            larger--;
        }
    }
    return shares;
}

static void deal_evenly(struct uniform *uniform)
{
    const struct broker_assign *assign = uniform->assign;
    const struct broker_assign_member *any = &assign->members[0];
    size_t total = 0, next = 0;
    int32_t *shares;

    for (size_t i = 0; i < any->topic_count; i++)
        total += (size_t)assign->topics[any->topics[i]].partitions;
    shares = shares_of(uniform, total);
    for (size_t i = uniform->first[assign->topic_count]; i > 0; i--) {
        int32_t owner = uniform->owners[i - 1];
        if (owner != NOBODY && uniform->loads[owner] > shares[owner])
            own(uniform, i - 1, NOBODY);
    }
    for (size_t t = 0; t < any->topic_count; t++) {
        size_t topic = any->topics[t];
        for (size_t i = uniform->first[topic]; i < uniform->first[topic + 1]; i++) {
            if (uniform->owners[i] != NOBODY)
                continue;
            while (uniform->loads[next] >= shares[next])
                next = (next + 1) % assign->member_count;
            own(uniform, i, (int32_t)next);
            next = (next + 1) % assign->member_count;
        }
    }
}

struct readers {
    uint32_t topic;
    int32_t *members;
    size_t count;
};

static int by_reader_count(const void *a, const void *b)
{
    const struct readers *left = a, *right = b;

    if (left->count != right->count)
        return left->count < right->count ? -1 : 1;
    return (left->topic > right->topic) - (left->topic < right->topic);
}

static int by_topic(const void *a, const void *b)
{
    const struct readers *left = a, *right = b;
    return (left->topic > right->topic) - (left->topic < right->topic);
}

static struct readers *readers_of(const struct broker_assign *assign)
{
    struct readers *all = mr_arena_array(assign->arena, struct readers, assign->topic_count);

    for (size_t m = 0; m < assign->member_count; m++)
        for (size_t i = 0; i < assign->members[m].topic_count; i++)
            all[assign->members[m].topics[i]].count++;
    for (size_t t = 0; t < assign->topic_count; t++) {
        all[t].topic = (uint32_t)t;
        all[t].members = mr_arena_array(assign->arena, int32_t, all[t].count);
        all[t].count = 0;
    }
    for (size_t m = 0; m < assign->member_count; m++) {
        for (size_t i = 0; i < assign->members[m].topic_count; i++) {
            struct readers *readers = &all[assign->members[m].topics[i]];
            readers->members[readers->count++] = (int32_t)m;
        }
    }
    if (assign->topic_count > 0)
        qsort(all, assign->topic_count, sizeof(all[0]), by_reader_count);
    return all;
}

static int32_t least_loaded(const struct uniform *uniform, const struct readers *readers)
{
    int32_t least = readers->members[0];

    for (size_t i = 1; i < readers->count; i++)
        if (uniform->loads[readers->members[i]] < uniform->loads[least])
            least = readers->members[i];
    return least;
}

/* Finds a row of members from `from` to one with two partitions less, each of whom has a partition
 * that the next one reads. Whom an earlier search has seen is no way to anybody with so little: the
 * searches begin with the largest loads. */
struct search {
    int32_t *queue, *parents; /* parents: by member; NOBODY: not seen */
    uint32_t *over;           /* the topic of the step to this member */
    bool *topics;             /* whose readers have been seen */
};

static int32_t search_from(const struct uniform *uniform, const struct readers *readers,
                           struct search *search, int32_t from, const bool *owned)
{
    const struct broker_assign *assign = uniform->assign;
    size_t head = 0, tail = 0;

    search->parents[from] = from;
    search->queue[tail++] = from;
    while (head < tail) {
        int32_t member = search->queue[head++];
        const struct broker_assign_member *row = &assign->members[member];
        for (size_t i = 0; i < row->topic_count; i++) {
            uint32_t topic = row->topics[i];
            if (search->topics[topic] || !owned[(size_t)member * assign->topic_count + topic])
                continue;
            search->topics[topic] = true;
            for (size_t j = 0; j < readers[topic].count; j++) {
                int32_t next = readers[topic].members[j];
                if (search->parents[next] != NOBODY)
                    continue;
                search->parents[next] = member;
                search->over[next] = topic;
                if (uniform->loads[next] + 2 <= uniform->loads[from])
                    return next;
                search->queue[tail++] = next;
            }
        }
    }
    return NOBODY;
}

/* Each member of the row hands one partition on. */
static void hand_on(struct uniform *uniform, const struct search *search, int32_t to)
{
    while (search->parents[to] != to) {
        uint32_t topic = search->over[to];
        size_t i = uniform->first[topic];
        while (uniform->owners[i] != search->parents[to])
            i++;
        own(uniform, i, to);
        to = search->parents[to];
    }
}

static bool balance_once(struct uniform *uniform, const struct readers *readers,
                         struct search *search, bool *owned)
{
    const struct broker_assign *assign = uniform->assign;
    int32_t most = 0;

    for (size_t m = 0; m < assign->member_count; m++) {
        search->parents[m] = NOBODY;
        most = uniform->loads[m] > most ? uniform->loads[m] : most;
    }
    memset(search->topics, 0, assign->topic_count);
    memset(owned, 0, assign->member_count * assign->topic_count);
    for (size_t t = 0; t < assign->topic_count; t++)
        for (size_t i = uniform->first[t]; i < uniform->first[t + 1]; i++)
            if (uniform->owners[i] != NOBODY)
                owned[(size_t)uniform->owners[i] * assign->topic_count + t] = true;
    for (int32_t load = most; load >= 2; load--) {
        for (size_t m = 0; m < assign->member_count; m++) {
            if (uniform->loads[m] != load || search->parents[m] != NOBODY)
                continue;
            int32_t to = search_from(uniform, readers, search, (int32_t)m, owned);
            if (to == NOBODY)
                continue;
            hand_on(uniform, search, to);
            return true;
        }
    }
    return false;
}

/* Each step makes the sum of the loads' squares smaller, so there is an end. */
static void deal_by_load(struct uniform *uniform)
{
    const struct broker_assign *assign = uniform->assign;
    struct readers *all = readers_of(assign);
    struct search search = {
        .queue = mr_arena_array(assign->arena, int32_t, assign->member_count),
        .parents = mr_arena_array(assign->arena, int32_t, assign->member_count),
        .over = mr_arena_array(assign->arena, uint32_t, assign->member_count),
        .topics = mr_arena_array(assign->arena, bool, assign->topic_count),
    };
    bool *owned = mr_arena_array(assign->arena, bool, assign->member_count * assign->topic_count);

    for (size_t t = 0; t < assign->topic_count; t++) { /* topics with few readers choose first */
        const struct readers *readers = &all[t];
        for (size_t i = uniform->first[readers->topic];
             readers->count > 0 && i < uniform->first[readers->topic + 1]; i++)
            if (uniform->owners[i] == NOBODY)
                own(uniform, i, least_loaded(uniform, readers));
    }
    if (assign->topic_count > 0)
        qsort(all, assign->topic_count, sizeof(all[0]), by_topic);
    while (balance_once(uniform, all, &search, owned)) {
    }
}

static void uniform_assign(struct broker_assign *assign)
{
    struct uniform uniform = {.assign = assign};
    size_t total = 0;

    if (assign->member_count == 0)
        return;
    members_sort(assign, by_id);
    uniform.first = mr_arena_array(assign->arena, size_t, assign->topic_count + 1);
    for (size_t t = 0; t < assign->topic_count; t++) {
        uniform.first[t] = total;
        total += (size_t)assign->topics[t].partitions;
    }
    uniform.first[assign->topic_count] = total;
    uniform.owners = mr_arena_array(assign->arena, int32_t, total);
    uniform.loads = mr_arena_array(assign->arena, int32_t, assign->member_count);
    for (size_t i = 0; i < total; i++)
        uniform.owners[i] = NOBODY;
    keep_before(&uniform);
    if (all_read_the_same(assign))
        deal_evenly(&uniform);
    else
        deal_by_load(&uniform);
    for (size_t m = 0; m < assign->member_count; m++)
        assign->members[m].after->count = 0;
    for (size_t t = 0; t < assign->topic_count; t++)
        for (size_t i = uniform.first[t]; i < uniform.first[t + 1]; i++)
            if (uniform.owners[i] != NOBODY)
                broker_places_add(assign->members[uniform.owners[i]].after, &assign->topics[t].id,
                                  (int32_t)(i - uniform.first[t]));
}

/* ---- range ---- */

static void range_topic(struct broker_assign *assign, uint32_t topic)
{
    int32_t partitions = assign->topics[topic].partitions, readers = 0, at = 0, next = 0;

    for (size_t m = 0; m < assign->member_count; m++)
        readers += reads(&assign->members[m], topic);
    for (size_t m = 0; m < assign->member_count; m++) {
        if (!reads(&assign->members[m], topic))
            continue;
        int32_t share = partitions / readers + (at < partitions % readers);
        for (int32_t i = 0; i < share; i++)
            broker_places_add(assign->members[m].after, &assign->topics[topic].id, next++);
        at++;
    }
}

static void range_assign(struct broker_assign *assign)
{
    members_sort(assign, by_instance);
    for (size_t m = 0; m < assign->member_count; m++)
        assign->members[m].after->count = 0;
    for (uint32_t t = 0; t < assign->topic_count; t++)
        range_topic(assign, t);
}

const struct broker_assignor broker_assignor_uniform = {"uniform", uniform_assign};
const struct broker_assignor broker_assignor_range = {"range", range_assign};

/* ---- simple ---- */

/* Partitions and members are dealt to each other in turns: of a topic everyone gets some, and no partition
 * is nobody's. Where the last topic stopped the next one goes on. */
static void simple_assign(struct broker_assign *assign)
{
    size_t turn = 0;

    members_sort(assign, by_id);
    for (uint32_t topic = 0; topic < assign->topic_count; topic++) {
        size_t partitions = (size_t)assign->topics[topic].partitions, count = 0, dealt;
        struct broker_assign_member **readers = mr_arena_array(
            assign->arena, struct broker_assign_member *, assign->member_count);
        for (size_t i = 0; i < assign->member_count; i++)
            if (reads(&assign->members[i], topic))
                readers[count++] = &assign->members[i];
        if (count == 0 || partitions == 0)
            continue;
        dealt = count > partitions ? count : partitions;
        for (size_t i = 0; i < dealt; i++)
            broker_places_add(readers[(turn + i) % count]->after, &assign->topics[topic].id,
                              (int32_t)(i % partitions));
        turn += dealt;
    }
    for (size_t i = 0; i < assign->member_count; i++)
        broker_places_sort(assign->members[i].after);
}

const struct broker_assignor broker_assignor_simple = {"simple", simple_assign};

const struct broker_assignor *broker_assignor_find(mr_str name)
{
    static const struct broker_assignor *const all[] = {&broker_assignor_uniform,
                                                        &broker_assignor_range};
    for (size_t i = 0; i < mr_count_of(all); i++)
        if (mr_str_equal(name, mr_str_from(all[i]->name)))
            return all[i];
    return NULL;
}
