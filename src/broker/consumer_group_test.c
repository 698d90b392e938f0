/* broker/consumer_group_test.c: groups of the consumer protocol, on a test's clock over a socket;
 * assignors and patterns of topics alone. */
#include "broker/assignor.h"
#include "broker/topic_regex.h"
#include "broker_peer.h"

#include <stdio.h>

enum { MEMBERS_MAX = 64, TOPICS_MAX = 16 };

/* Who reads what, and what each was given last. */
struct crew {
    struct broker_assign_topic topics[TOPICS_MAX];
    size_t topic_count, member_count;
    uint32_t reads[MEMBERS_MAX][TOPICS_MAX];
    size_t read_count[MEMBERS_MAX];
    struct broker_places has[MEMBERS_MAX];
    char names[MEMBERS_MAX][16];
    const char *instances[MEMBERS_MAX];
};

static void of_topic(struct crew *crew, int32_t partitions)
{
    struct broker_assign_topic *topic = &crew->topics[crew->topic_count++];
    memset(topic->id.bytes, 0, 16);
    topic->id.bytes[0] = (uint8_t)crew->topic_count;
    topic->partitions = partitions;
}

static size_t joins(struct crew *crew, uint32_t topics)
{
    size_t at = crew->member_count++;
    snprintf(crew->names[at], sizeof(crew->names[at]), "member-%02zu", at);
    crew->read_count[at] = 0;
    for (uint32_t topic = 0; topic < crew->topic_count; topic++)
        if ((topics >> topic & 1) != 0)
            crew->reads[at][crew->read_count[at]++] = topic;
    return at;
}

/* Partitions that changed hands. */
static size_t is_assigned(struct crew *crew, const struct broker_assignor *assignor)
{
    struct broker_assign_member members[MEMBERS_MAX] = {0};
    struct broker_places after[MEMBERS_MAX] = {0};
    struct mr_arena arena;
    struct broker_assign assign = {crew->topics, crew->topic_count, members, crew->member_count,
                                   &arena};
    size_t moved = 0;

    mr_arena_init(&arena);
    for (size_t m = 0; m < crew->member_count; m++) {
        members[m].id = mr_str_from(crew->names[m]);
        members[m].instance_id = mr_str_from(crew->instances[m]);
        members[m].topics = crew->reads[m];
        members[m].topic_count = crew->read_count[m];
        members[m].before = &crew->has[m];
        members[m].after = &after[m];
    }
    assignor->assign(&assign);
    for (size_t m = 0; m < crew->member_count; m++) {
        for (size_t i = 0; i < crew->has[m].count; i++)
            moved += !broker_places_has(&after[m], &crew->has[m].items[i]);
        broker_places_fini(&crew->has[m]);
        crew->has[m] = after[m];
    }
    mr_arena_fini(&arena);
    return moved;
}

/* Everything that somebody reads is somebody's, once, and nobody has what it does not read. */
static void expect_whole(const struct crew *crew)
{
    for (uint32_t topic = 0; topic < crew->topic_count; topic++) {
        bool wanted = false;
        for (size_t m = 0; m < crew->member_count; m++)
            for (size_t i = 0; i < crew->read_count[m]; i++)
                wanted = wanted || crew->reads[m][i] == topic;
        for (int32_t p = 0; p < crew->topics[topic].partitions; p++) {
            struct broker_place place = {crew->topics[topic].id, p};
            size_t owners = 0;
            for (size_t m = 0; m < crew->member_count; m++) {
                bool may = false;
                for (size_t i = 0; i < crew->read_count[m]; i++)
                    may = may || crew->reads[m][i] == topic;
                if (!broker_places_has(&crew->has[m], &place))
                    continue;
                expect(may);
                owners++;
            }
            expect_int((int64_t)owners, wanted ? 1 : 0);
        }
    }
}

static void expect_even(const struct crew *crew)
{
    size_t least = SIZE_MAX, most = 0;
    for (size_t m = 0; m < crew->member_count; m++) {
        least = crew->has[m].count < least ? crew->has[m].count : least;
        most = crew->has[m].count > most ? crew->has[m].count : most;
    }
    expect(most - least <= 1);
}

STORY("uniform deals evenly, and a newcomer takes no more than its share")
{
    struct crew crew = {0};
    of_topic(&crew, 7);
    of_topic(&crew, 5);
    joins(&crew, 3);
    is_assigned(&crew, &broker_assignor_uniform);
    expect_int((int64_t)crew.has[0].count, 12);
    for (size_t members = 2; members <= 13; members++) {
        joins(&crew, 3);
        size_t moved = is_assigned(&crew, &broker_assignor_uniform);
        expect_whole(&crew);
        expect_even(&crew);
        expect_int((int64_t)moved, (int64_t)(12 / members)); /* what the newcomer gets */
        expect_int((int64_t)is_assigned(&crew, &broker_assignor_uniform), 0);
    }
}

STORY("uniform moves nothing but what a member that left had")
{
    struct crew crew = {0};
    of_topic(&crew, 12);
    for (int i = 0; i < 4; i++)
        joins(&crew, 1);
    is_assigned(&crew, &broker_assignor_uniform);
    broker_places_fini(&crew.has[3]);
    crew.member_count = 3;
    expect_int((int64_t)is_assigned(&crew, &broker_assignor_uniform), 0);
    expect_whole(&crew);
    expect_even(&crew);
    crew.topics[0].partitions = 20; /* it grew */
    expect_int((int64_t)is_assigned(&crew, &broker_assignor_uniform), 0);
    expect_whole(&crew);
    expect_even(&crew);
}

STORY("uniform is as even as different subscriptions allow")
{
    struct crew crew = {0};
    of_topic(&crew, 6);
    of_topic(&crew, 6);
    joins(&crew, 1);
    joins(&crew, 2);
    joins(&crew, 3);
    is_assigned(&crew, &broker_assignor_uniform);
    expect_whole(&crew);
    expect_even(&crew);
    joins(&crew, 0); /* reads nothing */
    is_assigned(&crew, &broker_assignor_uniform);
    expect_whole(&crew);
    expect_int((int64_t)crew.has[3].count, 0);
}

STORY("whatever members and topics there are, both assignors give each partition to one reader")
{
    struct mr_random random;
    mr_random_init(&random, 7);
    for (int round = 0; round < 300; round++) {
        struct crew crew = {0};
        size_t topics = 1 + mr_random_below(&random, 8), members = 1 + mr_random_below(&random, 12);
        for (size_t i = 0; i < topics; i++)
            of_topic(&crew, (int32_t)mr_random_below(&random, 20));
        for (size_t m = 0; m < members; m++)
            joins(&crew, (uint32_t)mr_random_below(&random, 1u << topics));
        for (int again = 0; again < 3; again++) {
            is_assigned(&crew, &broker_assignor_uniform);
            expect_whole(&crew);
            expect_int((int64_t)is_assigned(&crew, &broker_assignor_uniform), 0);
            crew.topics[0].partitions = (int32_t)mr_random_below(&random, 20);
        }
        is_assigned(&crew, &broker_assignor_range);
        expect_whole(&crew);
        for (size_t m = 0; m < crew.member_count; m++)
            broker_places_fini(&crew.has[m]);
    }
}

STORY("range gives partitions of one number to one member, static members first")
{
    struct crew crew = {0};
    of_topic(&crew, 5);
    of_topic(&crew, 5);
    joins(&crew, 3);
    joins(&crew, 3);
    crew.instances[1] = "a";
    is_assigned(&crew, &broker_assignor_range);
    expect_whole(&crew);
    for (size_t m = 0; m < 2; m++) {
        expect_int((int64_t)crew.has[m].count, m == 1 ? 6 : 4);
        for (size_t i = 0; i < crew.has[m].count; i++)
            expect(m == 1 ? crew.has[m].items[i].partition < 3
                          : crew.has[m].items[i].partition >= 3);
    }
    expect(broker_assignor_find(MR_STR("range")) == &broker_assignor_range);
    expect(broker_assignor_find(MR_STR("sticky")) == NULL);
}

static bool matches(const char *pattern, const char *name)
{
    struct broker_topic_regex *regex = NULL;
    expect_ok(broker_topic_regex_new(mr_str_from(pattern), &regex));
    bool match = broker_topic_regex_matches(regex, mr_str_from(name));
    broker_topic_regex_free(regex);
    return match;
}

STORY("a pattern means to the broker what it means to RE2")
{
    static const char *const refused[] = {"(",       "[a",     "a**",   "a++",  "(?=a)b",
                                          "(?<!a)b", "(a)\\1", "(?>a)", "\\Ka", "(*FAIL)",
                                          "*a",      "(?R)",   "\\"};
    struct broker_topic_regex *regex = NULL;
    expect(matches("orders.*", "orders-eu"));
    expect(!matches("orders", "orders-eu")); /* the whole name */
    expect(!matches("rders.*", "orders"));
    expect(matches("(?i)ORDERS|bills", "orders"));
    expect(matches("[[:alpha:]_.-]+[0-9]{2,3}?", "a_b.c-12"));
    expect(matches("(?P<x>a|ab)(?:c|bcd)", "abcd"));
    expect(matches("\\Qa.b\\E", "a.b"));
    expect(!matches("\\Qa.b\\E", "axb"));
    expect(matches("^orders$", "orders"));
    expect(!matches("(a*)*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac"));
    for (size_t i = 0; i < mr_count_of(refused); i++) {
        expect_err(broker_topic_regex_new(mr_str_from(refused[i]), &regex), MR_INVALID);
        expect(mr_str_find(mr_str_from(mr_why()), MR_STR("not a valid regular expression")) > 0);
    }
}

/* ---- groups over a socket ---- */

enum { REBALANCE_MS = 20000 };

struct consumer {
    struct peer *peer;
    const char *group, *instance;
    mr_str id;
    int32_t epoch;
    int16_t code;
    struct broker_places has; /* what it was given last */
};

static struct consumer *is_consumer(struct broker *b, const char *id)
{
    struct consumer *consumer = mr_new(struct consumer);
    consumer->peer = given_peer(b);
    consumer->group = "billing";
    consumer->id = mr_str_from(id);
    return consumer;
}

/* Takes the answer, and what is assigned by it. True when something was. */
static bool beats(struct consumer *consumer, struct kafka_consumer_group_heartbeat_request *request)
{
    struct kafka_consumer_group_heartbeat_response response;

    request->group_id = mr_str_from(consumer->group);
    request->member_id = consumer->id;
    request->instance_id = mr_str_from(consumer->instance);
    calls(consumer->peer, consumer_group_heartbeat, 1, request, &response);
    consumer->code = response.error_code;
    if (response.error_code != 0)
        return false;
    expect_str(response.member_id, consumer->id);
    consumer->epoch = response.member_epoch;
    if (response.assignment == NULL)
        return false;
    broker_consumer_places(response.assignment->topic_partitions.items,
                           response.assignment->topic_partitions.count, &consumer->has);
    return true;
}

static bool enters(struct consumer *consumer, const char *topic)
{
    mr_str name = mr_str_from(topic);
    struct kafka_consumer_group_heartbeat_request request = {
        .rebalance_timeout_ms = REBALANCE_MS,
        .subscribed_topic_names = {&name, 1},
    };
    return beats(consumer, &request);
}

/* Says what it owns: that which it was given last. */
static bool reports(struct consumer *consumer)
{
    struct kafka_consumer_group_heartbeat_request request = {.member_epoch = consumer->epoch,
                                                             .rebalance_timeout_ms = -1,
                                                             .subscribed_topic_names.count = -1};
    request.topic_partitions.items = broker_consumer_partitions(
        &consumer->peer->arena, &consumer->has, &request.topic_partitions.count);
    return beats(consumer, &request);
}

static bool keeps(struct consumer *consumer)
{
    struct kafka_consumer_group_heartbeat_request request = {.member_epoch = consumer->epoch,
                                                             .rebalance_timeout_ms = -1,
                                                             .subscribed_topic_names.count = -1,
                                                             .topic_partitions.count = -1};
    return beats(consumer, &request);
}

static int16_t quits(struct consumer *consumer, int32_t epoch)
{
    consumer->epoch = epoch;
    keeps(consumer);
    return consumer->code;
}

static void expect_state(struct consumer *consumer, const char *state, int32_t members)
{
    mr_str id = mr_str_from(consumer->group);
    struct kafka_consumer_group_describe_request request = {.group_ids = {&id, 1}};
    struct kafka_consumer_group_describe_response response;
    calls(consumer->peer, consumer_group_describe, 1, &request, &response);
    expect_int(response.groups.items[0].error_code, 0);
    expect_str(response.groups.items[0].group_state, mr_str_from(state));
    expect_int(response.groups.items[0].members.count, members);
}

STORY("a second member gets its half once the first has given it back")
{
    struct broker b;
    given_broker(t, &b);
    struct consumer *ann = is_consumer(&b, "ann"), *bob = is_consumer(&b, "bob");
    has_topic(ann->peer, "orders", 4);
    expect(enters(ann, "orders"));
    expect_int(ann->epoch, 1);
    expect_int((int64_t)ann->has.count, 4);
    expect(enters(bob, "orders")); /* gets nothing yet, at the newest epoch */
    expect_int(bob->epoch, 2);
    expect_int((int64_t)bob->has.count, 0);
    expect_state(bob, "Reconciling", 2);
    struct broker_places all = {0};
    broker_places_copy(&all, &ann->has);
    expect(keeps(ann)); /* is told what it may keep, at its old epoch */
    expect_int(ann->epoch, 1);
    expect_int((int64_t)ann->has.count, 2);
    expect(!keeps(bob));
    struct broker_places kept = {0};
    broker_places_copy(&kept, &ann->has);
    broker_places_copy(&ann->has, &all);
    expect(!reports(ann)); /* still has all four */
    expect(!keeps(bob));
    broker_places_copy(&ann->has, &kept);
    reports(ann);
    expect_int(ann->epoch, 2);
    expect(keeps(bob));
    expect_int((int64_t)bob->has.count, 2);
    expect(!broker_places_overlap(&ann->has, &bob->has));
    expect_state(bob, "Stable", 2);
    expect_int(quits(bob, -1), 0);
    keeps(bob);
    expect_int(bob->code, KAFKA_ERROR_UNKNOWN_MEMBER_ID);
    ann->epoch = 2;
    expect(keeps(ann));
    expect_int((int64_t)ann->has.count, 4);
    expect_int(ann->epoch, 3);
    stops(&b);
}

STORY("a consumer that falls silent, or keeps what it has to give back, is left out")
{
    struct broker b;
    given_broker(t, &b);
    struct consumer *ann = is_consumer(&b, "ann"), *bob = is_consumer(&b, "bob");
    has_topic(ann->peer, "orders", 4);
    enters(ann, "orders");
    enters(bob, "orders");
    keeps(ann);
    for (int i = 0; i < 6; i++) { /* beats on, but never says that it gave them back */
        passes(&b, 4000);
        keeps(ann);
        keeps(bob);
    }
    expect_int(ann->code, KAFKA_ERROR_UNKNOWN_MEMBER_ID);
    expect_int(bob->code, 0);
    expect_int((int64_t)bob->has.count, 4);
    enters(ann, "orders");
    expect_int(ann->code, 0);
    passes(&b, BROKER_CONSUMER_SESSION_MS + 1000);
    keeps(bob);
    expect_int(bob->code, KAFKA_ERROR_UNKNOWN_MEMBER_ID);
    expect_state(bob, "Empty", 0);
    keeps(ann);
    expect_int(ann->code, KAFKA_ERROR_UNKNOWN_MEMBER_ID);
    stops(&b);
}

STORY("epochs that do not fit are fenced, but for one that missed its answer")
{
    struct broker b;
    given_broker(t, &b);
    struct consumer *ann = is_consumer(&b, "ann");
    has_topic(ann->peer, "orders", 2);
    keeps(ann);
    expect_int(ann->code, KAFKA_ERROR_INVALID_REQUEST); /* no time-out in the first one */
    ann->epoch = 5;
    keeps(ann);
    expect_int(ann->code, KAFKA_ERROR_GROUP_ID_NOT_FOUND);
    enters(ann, "orders");
    ann->epoch = 9;
    reports(ann);
    expect_int(ann->code, KAFKA_ERROR_FENCED_MEMBER_EPOCH);
    has_topic(ann->peer, "bills", 1);
    ann->epoch = 1;
    mr_str both[] = {MR_STR("orders"), MR_STR("bills")};
    struct kafka_consumer_group_heartbeat_request more = {.member_epoch = 1,
                                                          .rebalance_timeout_ms = -1,
                                                          .subscribed_topic_names = {both, 2},
                                                          .topic_partitions.count = -1};
    expect(beats(ann, &more));
    expect_int(ann->epoch, 2);
    expect_int((int64_t)ann->has.count, 3);
    ann->epoch = 1; /* as if the answer had been lost */
    reports(ann);
    expect_int(ann->code, 0);
    expect_int(ann->epoch, 2);
    ann->epoch = 1;
    keeps(ann);
    expect_int(ann->code, KAFKA_ERROR_FENCED_MEMBER_EPOCH); /* does not say what it owns */
    more.member_epoch = 2;
    more.server_assignor = MR_STR("sticky");
    beats(ann, &more);
    expect_int(ann->code, KAFKA_ERROR_UNSUPPORTED_ASSIGNOR);
    more.server_assignor = MR_STR_NULL;
    more.subscribed_topic_regex = MR_STR("(a");
    beats(ann, &more);
    expect_int(ann->code, KAFKA_ERROR_INVALID_REGULAR_EXPRESSION);
    stops(&b);
}

STORY("a static consumer comes back under its name to what it had, and nobody else may meanwhile")
{
    struct broker b;
    given_broker(t, &b);
    struct consumer *ann = is_consumer(&b, "ann"), *two = is_consumer(&b, "ann-2"),
                    *bob = is_consumer(&b, "bob");
    ann->instance = two->instance = "desk";
    has_topic(ann->peer, "orders", 4);
    enters(ann, "orders");
    enters(two, "orders");
    expect_int(two->code, KAFKA_ERROR_UNRELEASED_INSTANCE_ID);
    enters(bob, "orders");
    keeps(ann);
    reports(ann);
    keeps(bob);
    expect_int((int64_t)bob->has.count, 2);
    expect_int(quits(ann, -2), 0);
    expect(!keeps(bob)); /* nothing moves */
    expect(enters(two, "orders"));
    expect_int(two->code, 0);
    expect_int(two->epoch, bob->epoch);
    expect(broker_places_equal(&two->has, &ann->has));
    ann->epoch = 2;
    keeps(ann);
    expect_int(ann->code, KAFKA_ERROR_FENCED_INSTANCE_ID);
    expect_int(quits(two, -2), 0);
    passes(&b, BROKER_CONSUMER_SESSION_MS / 2);
    keeps(bob);
    passes(&b, BROKER_CONSUMER_SESSION_MS / 2 + 1000);
    expect(keeps(bob)); /* it did not come back in time */
    expect_int((int64_t)bob->has.count, 4);
    stops(&b);
}

STORY("topics that come, grow and go reach the members, also those of a pattern")
{
    struct broker b;
    given_broker(t, &b);
    struct consumer *ann = is_consumer(&b, "ann");
    has_topic(ann->peer, "orders-eu", 2);
    has_topic(ann->peer, "bills", 2);
    struct kafka_consumer_group_heartbeat_request request = {
        .rebalance_timeout_ms = REBALANCE_MS, .subscribed_topic_regex = MR_STR("orders-.*")};
    expect(beats(ann, &request));
    expect_int((int64_t)ann->has.count, 2);
    has_topic(ann->peer, "orders-us", 3);
    expect(keeps(ann));
    expect_int((int64_t)ann->has.count, 5);
    struct kafka_create_partitions_topic more = {
        .name = MR_STR("orders-eu"), .count = 4, .assignments.count = -1};
    struct kafka_create_partitions_request grow = {.topics = {&more, 1}, .timeout_ms = 1000};
    struct kafka_create_partitions_response grown;
    calls(ann->peer, create_partitions, 1, &grow, &grown);
    expect(keeps(ann));
    expect_int((int64_t)ann->has.count, 7);
    mr_str name = MR_STR("orders-us");
    struct kafka_delete_topics_request delete = {.topic_names = {&name, 1}, .timeout_ms = 1000};
    struct kafka_delete_topics_response deleted;
    calls(ann->peer, delete_topics, 4, &delete, &deleted);
    expect(keeps(ann));
    expect_int((int64_t)ann->has.count, 4);
    expect(!reports(ann));
    expect_state(ann, "Stable", 1);
    expect(!keeps(ann));
    stops(&b);
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

STORY("a consumer group is there again after a restart and after a kill, in the middle of handing "
      "over")
{
    struct broker b;
    given_broker(t, &b);
    struct consumer *ann = is_consumer(&b, "ann"), *bob = is_consumer(&b, "bob");
    ann->instance = "desk";
    has_topic(ann->peer, "orders", 4);
    enters(ann, "orders");
    enters(bob, "orders");
    keeps(ann);
    stops(&b);
    starts(&b);
    ann->peer = given_peer(&b);
    bob->peer = given_peer(&b);
    expect_state(ann, "Reconciling", 2);
    expect(!keeps(bob));
    expect_int(bob->code, 0);
    reports(ann);
    expect_int(ann->epoch, 2);
    expect_int((int64_t)ann->has.count, 2);
    passes(&b, 10);
    is_written(&b);
    is_killed(&b);
    ann->peer = given_peer(&b);
    bob->peer = given_peer(&b);
    expect(keeps(bob));
    expect_int((int64_t)bob->has.count, 2);
    expect_state(ann, "Stable", 2);
    expect(!keeps(ann));
    expect_int(ann->code, 0);
    passes(&b, BROKER_CONSUMER_SESSION_MS + 1000);
    expect_state(ann, "Empty", 0);
    stops(&b);
}

/* Version 10 when `id` is given, else 9. */
static int16_t commits(struct consumer *consumer, int32_t epoch, const mr_uuid *id, int64_t offset)
{
    struct kafka_offset_commit_request_partition row = {.committed_offset = offset,
                                                        .committed_leader_epoch = -1,
                                                        .committed_metadata = MR_STR("note")};
    struct kafka_offset_commit_request_topic topic = {.name = MR_STR("orders"),
                                                      .partitions = {&row, 1}};
    struct kafka_offset_commit_request request = {.group_id = mr_str_from(consumer->group),
                                                  .generation_id_or_member_epoch = epoch,
                                                  .member_id = consumer->id,
                                                  .topics = {&topic, 1}};
    struct kafka_offset_commit_response response;
    if (id != NULL)
        topic.topic_id = *id;
    if (epoch < 0)
        request.member_id = MR_STR("");
    calls(consumer->peer, offset_commit, id != NULL ? 10 : 9, &request, &response);
    return response.topics.items[0].partitions.items[0].error_code;
}

static int64_t fetches(struct consumer *consumer, int32_t epoch, const mr_uuid *id, int16_t *code)
{
    int32_t partition = 0;
    struct kafka_offset_fetch_request_group_topic topic = {.name = MR_STR("orders"),
                                                           .partition_indexes = {&partition, 1}};
    struct kafka_offset_fetch_request_group group = {.group_id = mr_str_from(consumer->group),
                                                     .member_id = consumer->id,
                                                     .member_epoch = epoch,
                                                     .topics = {&topic, 1}};
    struct kafka_offset_fetch_request request = {.groups = {&group, 1}};
    struct kafka_offset_fetch_response response;
    if (id != NULL)
        topic.topic_id = *id;
    if (epoch < 0)
        group.member_id = MR_STR_NULL;
    calls(consumer->peer, offset_fetch, id != NULL ? 10 : 9, &request, &response);
    *code = response.groups.items[0].error_code;
    if (*code != 0)
        return -1;
    struct kafka_offset_fetch_response_group_partition *row =
        &response.groups.items[0].topics.items[0].partitions.items[0];
    *code = row->error_code;
    if (row->committed_offset >= 0)
        expect_str(row->metadata, MR_STR("note"));
    return row->committed_offset;
}

STORY("members commit and fetch at their epoch, by name or by id")
{
    struct broker b;
    int16_t code;
    given_broker(t, &b);
    struct consumer *ann = is_consumer(&b, "ann");
    has_topic(ann->peer, "orders", 1);
    expect_int(commits(ann, 1, NULL, 5), KAFKA_ERROR_GROUP_ID_NOT_FOUND);
    fetches(ann, 1, NULL, &code);
    expect_int(code, KAFKA_ERROR_GROUP_ID_NOT_FOUND);
    enters(ann, "orders");
    mr_uuid id = ann->has.items[0].topic, other = {{1}};
    expect_int(commits(ann, 1, NULL, 5), 0);
    expect_int(commits(ann, 1, &id, 6), 0);
    expect_int(commits(ann, 1, &other, 7), KAFKA_ERROR_UNKNOWN_TOPIC_ID);
    expect_int(commits(ann, 2, NULL, 7), KAFKA_ERROR_STALE_MEMBER_EPOCH);
    expect_int(commits(ann, -1, NULL, 7), KAFKA_ERROR_UNKNOWN_MEMBER_ID);
    expect_int(fetches(ann, 1, &id, &code), 6);
    expect_int(fetches(ann, -1, NULL, &code), 6);
    expect_int(code, 0);
    fetches(ann, 1, &other, &code);
    expect_int(code, KAFKA_ERROR_UNKNOWN_TOPIC_ID);
    fetches(ann, 4, NULL, &code);
    expect_int(code, KAFKA_ERROR_STALE_MEMBER_EPOCH);
    expect_int(quits(ann, -1), 0);
    expect_int(commits(ann, -1, NULL, 8), 0); /* nobody is there */
    expect_int(fetches(ann, -1, NULL, &code), 8);
    stops(&b);
}

static int16_t joins_classic(struct consumer *consumer, int32_t *generation)
{
    struct kafka_join_group_protocol protocol = {MR_STR("range"), MR_STR("topics")};
    struct kafka_join_group_request request = {.group_id = mr_str_from(consumer->group),
                                               .session_timeout_ms = 10000,
                                               .rebalance_timeout_ms = 10000,
                                               .protocol_type = MR_STR("consumer"),
                                               .protocols = {&protocol, 1}};
    struct kafka_join_group_response response;
    calls(consumer->peer, join_group, 3, &request, &response);
    *generation = response.generation_id;
    consumer->id = response.member_id;
    return response.error_code;
}

STORY("an empty group changes its protocol and keeps its offsets, also over a restart")
{
    struct broker b;
    int32_t generation;
    int16_t code;
    given_broker(t, &b);
    struct consumer *ann = is_consumer(&b, "ann"), *old = is_consumer(&b, "");
    has_topic(ann->peer, "orders", 1);
    expect_int(joins_classic(old, &generation), 0);
    enters(ann, "orders");
    expect_int(ann->code, KAFKA_ERROR_GROUP_ID_NOT_FOUND); /* members of the other protocol */
    struct kafka_leave_group_request leave = {.group_id = MR_STR("billing"), .member_id = old->id};
    struct kafka_leave_group_response left;
    calls(old->peer, leave_group, 1, &leave, &left);
    expect_int(commits(ann, -1, NULL, 5), 0);
    enters(ann, "orders");
    expect_int(ann->code, 0);
    expect(ann->epoch > generation); /* epochs go on from the generation */
    expect_int(joins_classic(old, &generation), KAFKA_ERROR_INCONSISTENT_GROUP_PROTOCOL);
    stops(&b);
    starts(&b);
    ann->peer = given_peer(&b);
    old->peer = given_peer(&b);
    expect_int(fetches(ann, ann->epoch, NULL, &code), 5);
    int32_t epoch = ann->epoch;
    expect_int(quits(ann, -1), 0);
    expect_int(joins_classic(old, &generation), 0);
    expect(generation > epoch);
    stops(&b);
    starts(&b);
    ann->peer = given_peer(&b);
    expect_int(fetches(ann, -1, NULL, &code), 5);
    mr_str name = MR_STR("billing");
    struct kafka_describe_groups_request describe = {.groups = {&name, 1}};
    struct kafka_describe_groups_response described;
    calls(ann->peer, describe_groups, 6, &describe, &described);
    expect_int(described.groups.items[0].error_code, 0);
    stops(&b);
}

STORY("a consumer group that is deleted stays deleted")
{
    struct broker b;
    int16_t code;
    given_broker(t, &b);
    struct consumer *ann = is_consumer(&b, "ann");
    has_topic(ann->peer, "orders", 1);
    enters(ann, "orders");
    commits(ann, ann->epoch, NULL, 5);
    mr_str name = MR_STR("billing");
    struct kafka_delete_groups_request request = {{&name, 1}};
    struct kafka_delete_groups_response response;
    calls(ann->peer, delete_groups, 1, &request, &response);
    expect_int(response.results.items[0].error_code, KAFKA_ERROR_NON_EMPTY_GROUP);
    quits(ann, -1);
    calls(ann->peer, delete_groups, 1, &request, &response);
    expect_int(response.results.items[0].error_code, 0);
    stops(&b);
    starts(&b);
    ann->peer = given_peer(&b);
    fetches(ann, 1, NULL, &code);
    expect_int(code, KAFKA_ERROR_GROUP_ID_NOT_FOUND);
    stops(&b);
}
