/* broker/migration_test.c: groups that change their protocol while they have members, on a test's clock over a
 * socket. */
#include "broker_peer.h"

#include <sys/stat.h>

enum { CLASSIC_SESSION_MS = 10000, CLASSIC_REBALANCE_MS = 30000, MODERN_REBALANCE_MS = 20000 };

/* A member of either protocol; what it owns is of one topic. */
struct member {
    struct peer *peer;
    const char *topic, *instance;
    mr_str id;
    int32_t epoch; /* or its generation */
    int16_t code;
    int32_t has[16];
    size_t count;
    mr_uuid topic_id; /* of the consumer protocol: as it was told */
};

static struct member *given_member(struct broker *b, const char *id)
{
    struct member *member = mr_new(struct member);
    member->peer = given_peer(b);
    member->topic = "orders";
    member->id = mr_str_from(id);
    return member;
}

/* ---- the classic protocol ---- */

static void puts_places(struct mr_buf *buf, const struct member *member)
{
    mr_buf_be32(buf, 1);
    mr_buf_be16(buf, (uint16_t)strlen(member->topic));
    mr_buf_str(buf, mr_str_from(member->topic));
    mr_buf_be32(buf, (uint32_t)member->count);
    for (size_t i = 0; i < member->count; i++)
        mr_buf_be32(buf, (uint32_t)member->has[i]);
}

static int16_t joins(struct member *member)
{
    struct mr_buf said = {0};
    struct kafka_join_group_protocol protocol = {.name = MR_STR("cooperative-sticky")};
    struct kafka_join_group_request request = {.group_id = MR_STR("billing"),
                                               .session_timeout_ms = CLASSIC_SESSION_MS,
                                               .rebalance_timeout_ms = CLASSIC_REBALANCE_MS,
                                               .member_id = member->id,
                                               .group_instance_id = mr_str_from(member->instance),
                                               .protocol_type = MR_STR("consumer"),
                                               .protocols = {&protocol, 1}};
    struct kafka_join_group_response response;

    mr_buf_be16(&said, 1);
    mr_buf_be32(&said, 1);
    mr_buf_be16(&said, (uint16_t)strlen(member->topic));
    mr_buf_str(&said, mr_str_from(member->topic));
    mr_buf_be32(&said, UINT32_MAX);
    puts_places(&said, member);
    protocol.metadata = mr_buf_as_str(&said);
    calls(member->peer, join_group, 5, &request, &response);
    member->code = response.error_code;
    if (response.error_code == KAFKA_ERROR_NONE ||
        response.error_code == KAFKA_ERROR_MEMBER_ID_REQUIRED)
        member->id = response.member_id;
    if (response.error_code == KAFKA_ERROR_NONE)
        member->epoch = response.generation_id;
    mr_buf_fini(&said);
    return response.error_code == KAFKA_ERROR_MEMBER_ID_REQUIRED ? joins(member)
                                                                 : response.error_code;
}

/* As a leader, it gives itself all `partitions`; 0: it does not lead. */
static int16_t syncs(struct member *member, int32_t partitions)
{
    struct mr_buf share = {0};
    struct kafka_sync_group_assignment row = {.member_id = member->id};
    struct kafka_sync_group_request request = {.group_id = MR_STR("billing"),
                                               .generation_id = member->epoch,
                                               .member_id = member->id,
                                               .group_instance_id = mr_str_from(member->instance),
                                               .assignments = {&row, partitions > 0 ? 1 : 0}};
    struct kafka_sync_group_response response;
    struct mr_in in;

    for (int32_t i = 0; i < partitions; i++)
        member->has[i] = i;
    if (partitions > 0)
        member->count = (size_t)partitions;
    mr_buf_be16(&share, 1);
    puts_places(&share, member);
    mr_buf_be32(&share, UINT32_MAX);
    row.assignment = mr_buf_as_str(&share);
    calls(member->peer, sync_group, 3, &request, &response);
    mr_buf_fini(&share);
    if (response.error_code != KAFKA_ERROR_NONE)
        return response.error_code;
    in = mr_in_str(response.assignment);
    expect_int(mr_in_be16(&in), 1);
    member->count = 0;
    for (uint32_t topics = mr_in_be32(&in); topics > 0; topics--) {
        expect_str(mr_in_take(&in, mr_in_be16(&in)), mr_str_from(member->topic));
        for (uint32_t left = mr_in_be32(&in); left > 0; left--)
            member->has[member->count++] = (int32_t)mr_in_be32(&in);
    }
    expect_ok(in.err);
    return KAFKA_ERROR_NONE;
}

static int16_t speaks(struct member *member)
{
    struct kafka_heartbeat_request request = {.group_id = MR_STR("billing"),
                                              .generation_id = member->epoch,
                                              .member_id = member->id,
                                              .group_instance_id = mr_str_from(member->instance)};
    struct kafka_heartbeat_response response;
    calls(member->peer, heartbeat, 3, &request, &response);
    return response.error_code;
}

static int16_t goes(struct member *member)
{
    struct kafka_leave_group_request_member row = {member->id, mr_str_from(member->instance),
                                                   MR_STR_NULL};
    struct kafka_leave_group_request request = {.group_id = MR_STR("billing"),
                                                .members = {&row, 1}};
    struct kafka_leave_group_response response;
    calls(member->peer, leave_group, 3, &request, &response);
    expect_int(response.error_code, 0);
    return response.members.items[0].error_code;
}

static int16_t commits(struct member *member)
{
    struct kafka_offset_commit_request_partition place = {.committed_offset = 3,
                                                          .committed_leader_epoch = -1};
    struct kafka_offset_commit_request_topic topic = {.name = mr_str_from(member->topic),
                                                      .partitions = {&place, 1}};
    struct kafka_offset_commit_request request = {
        .group_id = MR_STR("billing"),
        .generation_id_or_member_epoch = member->epoch,
        .member_id = member->id,
        .group_instance_id = mr_str_from(member->instance),
        .topics = {&topic, 1}};
    struct kafka_offset_commit_response response;
    calls(member->peer, offset_commit, 7, &request, &response);
    return response.topics.items[0].partitions.items[0].error_code;
}

/* A classic group of one, which has all of it. */
static struct member *given_classic(struct broker *b, const char *instance, int32_t partitions)
{
    struct member *ann = given_member(b, "");
    ann->instance = instance;
    has_topic(ann->peer, "orders", partitions);
    expect_int(joins(ann), 0);
    expect_int(syncs(ann, partitions), 0);
    expect_int((int64_t)ann->count, partitions);
    return ann;
}

/* ---- the consumer protocol ---- */

static int16_t beats(struct member *member, int32_t epoch)
{
    bool enters = epoch == BROKER_CONSUMER_JOINS;
    mr_str topic = mr_str_from(member->topic);
    struct kafka_consumer_group_partitions places = {member->topic_id,
                                                     {member->has, (int32_t)member->count}};
    struct kafka_consumer_group_heartbeat_request request = {
        .group_id = MR_STR("billing"),
        .member_id = member->id,
        .instance_id = mr_str_from(member->instance),
        .member_epoch = epoch,
        .rebalance_timeout_ms = enters ? MODERN_REBALANCE_MS : -1,
        .subscribed_topic_names = {enters ? &topic : NULL, enters ? 1 : -1},
        .topic_partitions = {&places, enters || member->count == 0 ? 0 : 1}};
    struct kafka_consumer_group_heartbeat_response response;

    calls(member->peer, consumer_group_heartbeat, 1, &request, &response);
    member->code = response.error_code;
    if (response.error_code != KAFKA_ERROR_NONE)
        return response.error_code;
    member->epoch = response.member_epoch;
    if (response.assignment == NULL)
        return KAFKA_ERROR_NONE;
    member->count = 0;
    for (int32_t i = 0; i < response.assignment->topic_partitions.count; i++) {
        const struct kafka_consumer_group_partitions *row =
            &response.assignment->topic_partitions.items[i];
        member->topic_id = row->topic_id;
        for (int32_t j = 0; j < row->partitions.count; j++)
            member->has[member->count++] = row->partitions.items[j];
    }
    return KAFKA_ERROR_NONE;
}

static int16_t keeps_on(struct member *member)
{
    return beats(member, member->epoch);
}

/* Both go on until the classic one has one half and the other the other. */
static void settle(struct member *classic, struct member *modern)
{
    for (int i = 0; i < 8; i++) {
        if (speaks(classic) != KAFKA_ERROR_NONE) {
            expect_int(joins(classic), 0);
            expect_int(syncs(classic, 0), 0);
        }
        expect_int(keeps_on(modern), 0);
    }
    expect_int(speaks(classic), 0);
    expect_int(classic->epoch, modern->epoch);
}

static const char *type_of(struct broker *b)
{
    const struct broker_group *group = broker_group_find(&b->server->groups, MR_STR("billing"));
    return group == NULL ? "none" : group->consumer != NULL ? "consumer" : "classic";
}

static const char *state_of(struct broker *b)
{
    return broker_group_state_name(broker_group_find(&b->server->groups, MR_STR("billing")));
}

/* Records of the group that are appended are in its file. */
static void is_written(struct broker *b)
{
    struct broker_topic *topic = mr_map_get(&b->server->topics.by_name,
                                            MR_STR("__consumer_offsets"));
    struct broker_log *log = topic->partitions.items[0]->log;
    while (log->written < log->end)
        mr_loop_turn(b->loop, 1000);
}

/* The members turn to what a kill has left. */
static void is_killed_under(struct broker *b, struct member *ann, struct member *bob)
{
    is_written(b);
    is_killed(b);
    ann->peer = given_peer(b);
    bob->peer = given_peer(b);
}

/* ---- stories ---- */

STORY("a consumer joins a classic group, which goes on as one group: nothing is read twice or by "
      "nobody")
{
    struct broker b;
    given_broker(t, &b);
    struct member *ann = given_classic(&b, NULL, 4), *bob = given_member(&b, "bob");
    expect_str(mr_str_from(type_of(&b)), MR_STR("classic"));
    expect_int(beats(bob, 0), 0);
    expect_str(mr_str_from(type_of(&b)), MR_STR("consumer"));
    expect_int(bob->epoch, 2);
    expect_int((int64_t)bob->count, 0); /* all of it is still ann's */
    expect_int(commits(ann), 0);        /* in the generation that it knows */
    expect_int(speaks(ann), KAFKA_ERROR_REBALANCE_IN_PROGRESS);
    expect_int(syncs(ann, 0), KAFKA_ERROR_REBALANCE_IN_PROGRESS);
    expect_int(joins(ann), 0);
    expect_int(ann->epoch, 1); /* it has something to give back first */
    expect_int(syncs(ann, 0), 0);
    expect_int((int64_t)ann->count, 2);
    expect_int(keeps_on(bob), 0);
    expect_int((int64_t)bob->count, 0);
    expect_int(speaks(ann), KAFKA_ERROR_REBALANCE_IN_PROGRESS);
    expect_int(joins(ann), 0); /* says that it owns two */
    expect_int(ann->epoch, 2);
    expect_int(syncs(ann, 0), 0);
    expect_int((int64_t)ann->count, 2);
    expect_int(keeps_on(bob), 0);
    expect_int((int64_t)bob->count, 2);
    expect_int(speaks(ann), 0);
    expect_str(mr_str_from(state_of(&b)), MR_STR("Stable"));
    int32_t generation = ann->epoch;
    ann->epoch = generation - 1;
    expect_int(commits(ann), KAFKA_ERROR_ILLEGAL_GENERATION);
    expect_int(speaks(ann), KAFKA_ERROR_ILLEGAL_GENERATION);
    expect_int(syncs(ann, 0), KAFKA_ERROR_ILLEGAL_GENERATION);
    ann->epoch = generation;
    mr_str id = ann->id;
    ann->id = bob->id; /* speaks the other protocol */
    expect_int(speaks(ann), KAFKA_ERROR_UNKNOWN_MEMBER_ID);
    expect_int(syncs(ann, 0), KAFKA_ERROR_UNKNOWN_MEMBER_ID);
    ann->id = id;
    expect_int(goes(ann), 0);
    expect_int(keeps_on(bob), 0);
    expect_int((int64_t)bob->count, 4);
    stops(&b);
}

STORY("a mixed group is a classic one again when its last consumer leaves, and goes on from its "
      "generation")
{
    struct broker b;
    given_broker(t, &b);
    struct member *ann = given_classic(&b, NULL, 4), *bob = given_member(&b, "bob");
    beats(bob, 0);
    settle(ann, bob);
    expect_int((int64_t)bob->count, 2);
    expect_int(beats(bob, BROKER_CONSUMER_LEAVES), 0);
    expect_str(mr_str_from(type_of(&b)), MR_STR("classic"));
    expect_str(mr_str_from(state_of(&b)), MR_STR("PreparingRebalance"));
    expect_int(speaks(ann), KAFKA_ERROR_REBALANCE_IN_PROGRESS);
    int32_t generation = ann->epoch;
    expect_int(joins(ann), 0);
    expect_int(ann->epoch, generation + 1);
    expect_int(syncs(ann, 4), 0);
    expect_int((int64_t)ann->count, 4);
    expect_int(beats(bob, 0), 0); /* and up again */
    expect_int(bob->epoch, generation + 2);
    settle(ann, bob);
    expect_int((int64_t)ann->count, 2);
    for (int i = 0; i < 12; i++) { /* bob falls silent */
        passes(&b, 4000);
        speaks(ann);
    }
    expect_str(mr_str_from(type_of(&b)), MR_STR("classic"));
    expect_int(joins(ann), 0);
    expect_int(syncs(ann, 4), 0);
    expect_int(goes(ann), 0);
    expect_str(mr_str_from(state_of(&b)), MR_STR("Empty"));
    stops(&b);
}

STORY("a classic member of a mixed group that is silent, or late to join or to sync, is left out")
{
    struct broker b;
    given_broker(t, &b);
    struct member *ann = given_classic(&b, NULL, 4), *bob = given_member(&b, "bob");
    beats(bob, 0);
    passes(&b, CLASSIC_SESSION_MS + 1000); /* its own session, not that of consumers */
    expect_int(speaks(ann), KAFKA_ERROR_UNKNOWN_MEMBER_ID);
    expect_int(keeps_on(bob), 0);
    expect_int((int64_t)bob->count, 4);
    ann->id = MR_STR("");
    ann->count = 0;
    expect_int(joins(ann), 0);
    for (int i = 0; i < 8; i++) { /* beats, but never syncs */
        passes(&b, 4000);
        speaks(ann);
        keeps_on(bob);
    }
    expect_int(speaks(ann), KAFKA_ERROR_UNKNOWN_MEMBER_ID);
    ann->id = MR_STR("");
    ann->count = 0;
    expect_int(joins(ann), 0);
    expect_int(syncs(ann, 0), 0);
    settle(ann, bob);
    struct member *cat = given_member(&b, "cat");
    beats(cat, 0);
    for (int i = 0; i < 8; i++) { /* is told to join, and does not */
        expect_int(speaks(ann), KAFKA_ERROR_REBALANCE_IN_PROGRESS);
        passes(&b, 4000);
        keeps_on(bob);
        keeps_on(cat);
    }
    expect_int(speaks(ann), KAFKA_ERROR_UNKNOWN_MEMBER_ID);
    keeps_on(bob);
    keeps_on(cat);
    keeps_on(cat);
    expect_int((int64_t)(bob->count + cat->count), 4);
    stops(&b);
}

STORY("a mixed group is there again after a kill, whatever it was about to do")
{
    struct broker b;
    given_broker(t, &b);
    struct member *ann = given_classic(&b, "desk", 4), *bob = given_member(&b, "bob");
    commits(ann);
    beats(bob, 0);
    is_killed_under(&b, ann, bob); /* just converted */
    expect_str(mr_str_from(type_of(&b)), MR_STR("consumer"));
    expect_int(speaks(ann), KAFKA_ERROR_REBALANCE_IN_PROGRESS);
    expect_int(joins(ann), 0);
    is_killed_under(&b, ann, bob); /* ann has to give two back, and has not heard it */
    expect_int(syncs(ann, 0), 0);
    expect_int((int64_t)ann->count, 2);
    settle(ann, bob);
    is_killed_under(&b, ann, bob);
    settle(ann, bob);
    expect_int((int64_t)ann->count, 2);
    expect_int((int64_t)bob->count, 2);
    passes(&b, CLASSIC_SESSION_MS - 1000); /* sessions begin anew */
    expect_int(speaks(ann), 0);
    expect_int(keeps_on(bob), 0);
    expect_int(beats(bob, BROKER_CONSUMER_LEAVES), 0);
    int32_t generation = ann->epoch;
    is_killed_under(
        &b, ann, bob); /* just converted back: the rebalance is forgotten, what all have is not */
    expect_str(mr_str_from(type_of(&b)), MR_STR("classic"));
    expect_int(speaks(ann), 0);
    expect_int(joins(ann), 0);
    expect_int(ann->epoch, generation + 1);
    expect_int(syncs(ann, 4), 0);
    is_killed_under(&b, ann, bob);
    expect_str(mr_str_from(state_of(&b)), MR_STR("Stable"));
    const struct broker_group *group = broker_group_find(&b.server->groups, MR_STR("billing"));
    expect_int((int64_t)group->offsets.count, 1);
    stops(&b);
}

STORY("the policy decides which way a group with members may go")
{
    static const char *const policies[] = {"disabled", "Upgrade", "downgrade"};
    for (int i = 0; i < 3; i++) {
        struct broker b;
        char settings[100];
        snprintf(settings, sizeof(settings), "group.consumer.migration.policy=%s\n", policies[i]);
        struct story inner = *t;
        snprintf(inner.folder, sizeof(inner.folder), "%.200s/%d", t->folder, i);
        expect(mkdir(inner.folder, 0700) == 0);
        given_broker_with(&inner, &b, settings);
        struct member *ann = given_classic(&b, NULL, 4), *bob = given_member(&b, "bob");
        bool up = i == 1;
        expect_int(beats(bob, 0), up ? 0 : KAFKA_ERROR_GROUP_ID_NOT_FOUND);
        expect_int(speaks(ann), up ? KAFKA_ERROR_REBALANCE_IN_PROGRESS : 0);
        if (!up) { /* an empty group may, and a classic member may join what it is then */
            expect_int(goes(ann), 0);
            expect_int(beats(bob, 0), 0);
            ann->id = MR_STR("");
            ann->count = 0;
            expect_int(joins(ann), 0);
            expect_int(syncs(ann, 0), 0);
        }
        settle(ann, bob);
        expect_int(beats(bob, BROKER_CONSUMER_LEAVES), 0);
        expect_str(mr_str_from(type_of(&b)), mr_str_from(i == 2 ? "classic" : "consumer"));
        stops(&b);
    }
}

STORY("classic members alone in a consumer group hear of new partitions")
{
    struct broker b;
    given_broker_with(t, &b, "group.consumer.migration.policy=upgrade\n");
    struct member *ann = given_classic(&b, NULL, 2), *bob = given_member(&b, "bob");
    beats(bob, 0);
    settle(ann, bob);
    expect_int(beats(bob, BROKER_CONSUMER_LEAVES), 0);
    expect_int(speaks(ann), KAFKA_ERROR_REBALANCE_IN_PROGRESS);
    expect_int(joins(ann), 0);
    expect_int(syncs(ann, 0), 0);
    expect_int((int64_t)ann->count, 2);
    struct kafka_create_partitions_topic more = {
        .name = MR_STR("orders"), .count = 4, .assignments.count = -1};
    struct kafka_create_partitions_request grow = {.topics = {&more, 1}, .timeout_ms = 1000};
    struct kafka_create_partitions_response grown;
    calls(ann->peer, create_partitions, 1, &grow, &grown);
    expect_int(speaks(ann), KAFKA_ERROR_REBALANCE_IN_PROGRESS);
    expect_int(joins(ann), 0);
    expect_int(syncs(ann, 0), 0);
    expect_int((int64_t)ann->count, 4);
    stops(&b);
}

STORY("static members take each other's place across the protocols")
{
    struct broker b;
    given_broker(t, &b);
    struct member *ann = given_classic(&b, "desk", 4), *bob = given_member(&b, "bob"),
                  *cat = given_member(&b, "");
    bob->instance = cat->instance = "desk";
    expect_int(beats(bob, 0), 0); /* takes what ann had, at once */
    expect_int((int64_t)bob->count, 4);
    expect_int(bob->epoch, 1);
    expect_int(speaks(ann), KAFKA_ERROR_FENCED_INSTANCE_ID);
    expect_str(mr_str_from(state_of(&b)), MR_STR("Stable"));
    expect_int(joins(cat), 0); /* the last consumer's place: the group is a classic one */
    expect_str(mr_str_from(type_of(&b)), MR_STR("classic"));
    expect_str(mr_str_from(state_of(&b)), MR_STR("Stable"));
    expect_int(cat->epoch, 1);
    expect_int(syncs(cat, 0), 0);
    expect_int((int64_t)cat->count, 4);
    expect_int(speaks(cat), 0);
    expect_int(keeps_on(bob), KAFKA_ERROR_GROUP_ID_NOT_FOUND);
    stops(&b);
}

STORY("a static member that takes the last consumer's place and wants other topics starts a "
      "rebalance")
{
    struct broker b;
    given_broker(t, &b);
    struct member *ann = given_member(&b, ""), *bob = given_member(&b, "bob"),
                  *cat = given_member(&b, "");
    has_topic(ann->peer, "orders", 4);
    has_topic(ann->peer, "bills", 2);
    bob->instance = cat->instance = "desk";
    beats(bob, 0);
    expect_int(joins(ann), 0);
    expect_int(syncs(ann, 0), 0);
    settle(ann, bob);
    cat->topic = "bills";
    expect_int(joins(cat), 0);
    expect_str(mr_str_from(type_of(&b)), MR_STR("classic"));
    expect_int(syncs(cat, 0), KAFKA_ERROR_REBALANCE_IN_PROGRESS);
    expect_int(goes(ann), 0);
    expect_int(joins(cat), 0);
    expect_int(syncs(cat, 2), 0);
    expect_int(speaks(cat), 0);
    stops(&b);
}
