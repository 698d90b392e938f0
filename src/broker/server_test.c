/* broker/server_test.c: groups and transactions over real sockets, on a test's clock: a session's
 * half minute passes in no time, and a kill comes at the point that the story wants. */
#include "broker_peer.h"
#include "json/json.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum { SESSION_MS = 10000 };

/* ---- groups ---- */

struct member {
    struct peer *peer;
    mr_str id, instance;
    int32_t generation, session_ms, rebalance_ms;
    bool leads;
};

static void joins_begin(struct member *member)
{
    static struct kafka_join_group_protocol protocol = {MR_STR("range"), MR_STR("topics")};
    struct kafka_join_group_request request = {
        .group_id = MR_STR("billing"),
        .session_timeout_ms = member->session_ms,
        .rebalance_timeout_ms = member->rebalance_ms,
        .member_id = member->id,
        .group_instance_id = member->instance,
        .protocol_type = MR_STR("consumer"),
        .protocols = {&protocol, 1},
    };
    asks(member->peer, KAFKA_API_join_group, 5, &request);
}

static int16_t joins_end(struct member *member, int32_t *count)
{
    struct kafka_join_group_response response;

    hears(member->peer, KAFKA_API_join_group, 5, &response);
    member->id = response.member_id;
    member->generation = response.generation_id;
    member->leads = mr_str_equal(response.leader, response.member_id);
    *count = response.members.count;
    return response.error_code;
}

static void syncs_begin(struct member *member, struct member *const *all, int32_t count)
{
    struct kafka_sync_group_assignment rows[4];
    struct kafka_sync_group_request request = {.group_id = MR_STR("billing"),
                                               .generation_id = member->generation,
                                               .member_id = member->id,
                                               .group_instance_id = member->instance};

    for (int32_t i = 0; i < count; i++)
        rows[i] = (struct kafka_sync_group_assignment){all[i]->id, all[i]->id};
    request.assignments.items = rows;
    request.assignments.count = member->leads ? count : 0;
    asks(member->peer, KAFKA_API_sync_group, 3, &request);
}

static int16_t syncs_end(struct member *member)
{
    struct kafka_sync_group_response response;

    hears(member->peer, KAFKA_API_sync_group, 3, &response);
    if (response.error_code == 0)
        expect_str(response.assignment, member->id);
    return response.error_code;
}

static int16_t heartbeats(struct member *member)
{
    struct kafka_heartbeat_request request = {.group_id = MR_STR("billing"),
                                              .generation_id = member->generation,
                                              .member_id = member->id,
                                              .group_instance_id = member->instance};
    struct kafka_heartbeat_response response;

    calls(member->peer, heartbeat, 3, &request, &response);
    return response.error_code;
}

/* Gets its id by a first, refused join, as clients do. */
static struct member *is_known(struct broker *b, const char *instance)
{
    struct member *member = mr_new(struct member);
    int32_t count;

    member->peer = given_peer(b);
    member->id = MR_STR("");
    member->instance = mr_str_from(instance);
    member->session_ms = SESSION_MS;
    member->rebalance_ms = 30000;
    if (instance == NULL) {
        joins_begin(member);
        expect_int(joins_end(member, &count), KAFKA_ERROR_MEMBER_ID_REQUIRED);
        expect(member->id.length > 0);
    }
    return member;
}

static void become_stable(struct member *const *all, int32_t count)
{
    int32_t told;

    for (int32_t i = 0; i < count; i++)
        joins_begin(all[i]);
    for (int32_t i = 0; i < count; i++) {
        expect_int(joins_end(all[i], &told), 0);
        expect_int(told, all[i]->leads ? count : 0);
    }
    for (int32_t i = 0; i < count; i++)
        syncs_begin(all[i], all, count);
    for (int32_t i = 0; i < count; i++)
        expect_int(syncs_end(all[i]), 0);
}

STORY("one member joins, leads, and gets what it assigned to itself")
{
    struct broker b;
    given_broker(t, &b);
    struct member *ann = is_known(&b, NULL);
    become_stable(&ann, 1);
    expect(ann->leads);
    expect_int(ann->generation, 1);
    expect_int(heartbeats(ann), 0);
    ann->generation = 7;
    expect_int(heartbeats(ann), KAFKA_ERROR_ILLEGAL_GENERATION);
    stops(&b);
}

STORY("a group goes on when one of its members falls silent")
{
    struct broker b;
    given_broker(t, &b);
    struct member *ann = is_known(&b, NULL), *bob = is_known(&b, NULL);
    struct member *both[] = {ann, bob};
    become_stable(both, 2);
    int32_t generation = ann->generation;
    for (int i = 0; i < 8; i++) {
        passes(&b, 2000);
        int16_t code = heartbeats(ann); /* bob says nothing */
        if (code == KAFKA_ERROR_REBALANCE_IN_PROGRESS)
            break;
        expect_int(code, 0);
    }
    expect_int(heartbeats(ann), KAFKA_ERROR_REBALANCE_IN_PROGRESS);
    expect_int(heartbeats(bob), KAFKA_ERROR_UNKNOWN_MEMBER_ID);
    become_stable(&ann, 1);
    expect_int(ann->generation, generation + 1);
    stops(&b);
}

STORY("a new member starts a rebalance, which waits for the old ones, but not for ever")
{
    struct broker b;
    int32_t count;
    given_broker(t, &b);
    struct member *ann = is_known(&b, NULL);
    become_stable(&ann, 1);
    struct member *bob = is_known(&b, NULL);
    joins_begin(bob);
    expect(!has_answer(bob->peer, 3));
    expect_int(heartbeats(ann), KAFKA_ERROR_REBALANCE_IN_PROGRESS);
    for (int i = 0; i < 20; i++) { /* ann is alive, but does not join: left out after 30 s */
        passes(&b, 2000);
        if (heartbeats(ann) == KAFKA_ERROR_UNKNOWN_MEMBER_ID)
            break;
    }
    expect_int(heartbeats(ann), KAFKA_ERROR_UNKNOWN_MEMBER_ID);
    expect_int(joins_end(bob, &count), 0);
    expect_int(count, 1);
    expect(bob->leads);
    stops(&b);
}

STORY("a static member returns under its name without a rebalance, and locks its old self out")
{
    struct broker b;
    int32_t count;
    given_broker(t, &b);
    struct member *ann = is_known(&b, "ann"), *bob = is_known(&b, "bob");
    joins_begin(ann);
    expect_int(joins_end(ann, &count), 0);
    joins_begin(bob);
    joins_begin(ann);
    expect_int(joins_end(ann, &count), 0);
    expect_int(joins_end(bob, &count), 0);
    struct member *both[] = {ann, bob};
    syncs_begin(ann, both, 2);
    syncs_begin(bob, both, 2);
    expect_int(syncs_end(ann), 0);
    expect_int(syncs_end(bob), 0);
    int32_t generation = bob->generation;
    struct member *again = is_known(&b, "bob");
    joins_begin(again);
    expect_int(joins_end(again, &count), 0);
    expect_int(again->generation, generation);
    expect(!mr_str_equal(again->id, bob->id));
    expect_int(heartbeats(ann), 0);
    expect_int(heartbeats(again), 0);
    expect_int(heartbeats(bob), KAFKA_ERROR_FENCED_INSTANCE_ID);
    struct kafka_sync_group_request sync = {.group_id = MR_STR("billing"),
                                            .generation_id = again->generation,
                                            .member_id = again->id,
                                            .group_instance_id = again->instance};
    struct kafka_sync_group_response synced;
    calls(again->peer, sync_group, 3, &sync, &synced);
    expect_int(synced.error_code, 0);
    expect_str(synced.assignment, bob->id); /* what the old self had */
    stops(&b);
}

STORY("a static leader that is away leaves the lead to who is there, and stays a member")
{
    struct broker b;
    int32_t count;
    given_broker(t, &b);
    struct member *ann = is_known(&b, "ann"), *bob = is_known(&b, "bob");
    struct member *both[] = {ann, bob};
    ann->session_ms = bob->session_ms = 40000;
    ann->rebalance_ms = bob->rebalance_ms = 2000;
    become_stable(&ann, 1);
    expect(ann->leads);
    joins_begin(bob);
    expect(!has_answer(bob->peer, 3));
    passes(&b, 2001); /* ann's session goes on, the rebalance does not wait for it */
    expect_int(joins_end(bob, &count), 0);
    expect(bob->leads);
    expect_int(count, 2);
    syncs_begin(bob, both, 2);
    expect_int(syncs_end(bob), 0);
    expect_int(heartbeats(bob), 0);
    expect_int(heartbeats(ann), KAFKA_ERROR_ILLEGAL_GENERATION); /* not: unknown */
    stops(&b);
}

STORY("a group is there again after a restart, with its members and their time to speak up")
{
    struct broker b;
    given_broker(t, &b);
    struct member *ann = is_known(&b, NULL);
    become_stable(&ann, 1);
    stops(&b);
    starts(&b);
    ann->peer = given_peer(&b);
    expect_int(heartbeats(ann), 0);
    passes(&b, SESSION_MS + 1);
    expect_int(heartbeats(ann), KAFKA_ERROR_UNKNOWN_MEMBER_ID);
    stops(&b);
}

STORY("who has no protocol in common with the group is refused")
{
    struct broker b;
    struct kafka_join_group_protocol protocol = {MR_STR("other"), MR_STR("x")};
    struct kafka_join_group_request request = {.group_id = MR_STR("billing"),
                                               .session_timeout_ms = SESSION_MS,
                                               .rebalance_timeout_ms = 1000,
                                               .protocol_type = MR_STR("consumer"),
                                               .protocols = {&protocol, 1}};
    struct kafka_join_group_response response;
    given_broker(t, &b);
    struct member *ann = is_known(&b, NULL);
    become_stable(&ann, 1);
    struct peer *peer = given_peer(&b);
    calls(peer, join_group, 5, &request, &response);
    expect_int(response.error_code, KAFKA_ERROR_INCONSISTENT_GROUP_PROTOCOL);
    request.protocol_type = MR_STR("connect");
    calls(peer, join_group, 5, &request, &response);
    expect_int(response.error_code, KAFKA_ERROR_INCONSISTENT_GROUP_PROTOCOL);
    request.session_timeout_ms = 1;
    calls(peer, join_group, 5, &request, &response);
    expect_int(response.error_code, KAFKA_ERROR_INVALID_SESSION_TIMEOUT);
    stops(&b);
}

STORY("a protocol that one member names twice does not stand for two members")
{
    struct broker b;
    struct kafka_join_group_protocol first[] = {
        {MR_STR("x"), MR_STR("1")}, {MR_STR("x"), MR_STR("2")}, {MR_STR("y"), MR_STR("3")}};
    struct kafka_join_group_request request = {.group_id = MR_STR("billing"),
                                               .session_timeout_ms = SESSION_MS,
                                               .rebalance_timeout_ms = 30000,
                                               .protocol_type = MR_STR("consumer"),
                                               .protocols = {first, 3}};
    struct kafka_join_group_response response;
    given_broker(t, &b);
    struct peer *ann = given_peer(&b), *bob = given_peer(&b), *cat = given_peer(&b);
    calls(ann, join_group, 3, &request, &response);
    expect_int(response.error_code, 0);
    request.protocols.items = &first[2];
    request.protocols.count = 1;
    asks(bob, KAFKA_API_join_group, 3, &request); /* waits for the first */
    request.protocols.items = first;
    calls(cat, join_group, 3, &request, &response);
    expect_int(response.error_code, KAFKA_ERROR_INCONSISTENT_GROUP_PROTOCOL);
    stops(&b);
}

/* ---- requests that are not as they should be ---- */

static bool is_closed(struct peer *peer)
{
    char byte;
    return has_answer(peer, 100) && read(peer->fd, &byte, 1) <= 0;
}

/* ---- no room ---- */

/* Asks for one record of producer 77 to be kept in money-0. */
static void asks_to_keep(struct peer *peer, int32_t sequence)
{
    struct kafka_produce_request_partition row = {.index = 0};
    struct kafka_produce_request_topic topic = {.name = MR_STR("money"),
                                                .partition_data = {&row, 1}};
    struct kafka_produce_request request = {MR_STR_NULL, -1, 1000, {&topic, 1}};
    struct kafka_builder builder;
    struct mr_buf buf = {0};

    kafka_records_begin(&builder, &buf);
    kafka_records_append(&builder, 1700000000000, MR_STR("k"), MR_STR("value"), NULL, 0);
    expect_ok(kafka_records_finish(&builder, KAFKA_CODEC_NONE, 0, 77, 0, sequence, false));
    row.records.bytes = mr_buf_as_str(&buf);
    asks(peer, KAFKA_API_produce, 7, &request);
    mr_buf_fini(&buf);
}

static struct kafka_produce_response_partition hears_of_it(struct peer *peer)
{
    struct kafka_produce_response response;
    hears(peer, KAFKA_API_produce, 7, &response);
    return response.responses.items[0].partition_responses.items[0];
}

static int16_t keeps(struct broker *b, int32_t sequence)
{
    struct peer *peer = given_peer(b);
    asks_to_keep(peer, sequence);
    return hears_of_it(peer).error_code;
}

/* Asks for a batch of one record of so many bytes, packed by gzip. */
static void asks_to_unpack(struct peer *peer, int32_t sequence, size_t bytes, int16_t acks)
{
    struct kafka_produce_request_partition row = {.index = 0};
    struct kafka_produce_request_topic topic = {.name = MR_STR("money"),
                                                .partition_data = {&row, 1}};
    struct kafka_produce_request request = {MR_STR_NULL, acks, 1000, {&topic, 1}};
    struct kafka_builder builder;
    struct mr_buf buf = {0};
    char *value = mr_alloc_zero(bytes, 1);

    kafka_records_begin(&builder, &buf);
    kafka_records_append(&builder, 1700000000000, MR_STR("k"), mr_str_of(value, bytes), NULL, 0);
    expect_ok(kafka_records_finish(&builder, KAFKA_CODEC_GZIP, 0, 77, 0, sequence, false));
    row.records.bytes = mr_buf_as_str(&buf);
    asks(peer, KAFKA_API_produce, 7, &request);
    mr_buf_fini(&buf);
    mr_free(value);
}

STORY("what comes behind a batch that a thread unpacks waits for it, and others do not")
{
    struct broker b;
    given_broker(t, &b);
    struct peer *first = given_peer(&b), *other = given_peer(&b);
    has_topic(first, "money", 1);
    asks_to_unpack(first, 0, 20 << 20, -1);
    asks_to_keep(first, 1);
    asks_to_unpack(first, 2, 20 << 20, -1);
    asks_to_keep(first, 3);
    has_topic(other, "orders", 1);
    for (int i = 0; i < 4; i++) {
        struct kafka_produce_response_partition got = hears_of_it(first);
        expect_int(got.error_code, 0);
        expect_int(got.base_offset, i);
    }
    stops(&b);
}

STORY("what a producer sent before it left is taken, in its order, though nobody waits for it")
{
    struct broker b;
    int16_t code = KAFKA_ERROR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    given_broker(t, &b);
    struct peer *first = given_peer(&b);
    has_topic(first, "money", 1);
    asks_to_unpack(first, 0, 20 << 20, 0);
    asks_to_keep(first, 1);
    leaves(first);
    for (int i = 0; i < 500 && code != 0; i++)
        code = keeps(&b, 2);
    expect_int(code, 0);
    stops(&b);
}

STORY("a topic that is deleted while a thread unpacks is told to be unknown")
{
    struct broker b;
    mr_str name = MR_STR("money");
    given_broker(t, &b);
    struct peer *first = given_peer(&b), *other = given_peer(&b);
    struct kafka_delete_topics_request deletion = {.topic_names = {&name, 1}, .timeout_ms = 1000};
    struct kafka_delete_topics_response deleted;
    has_topic(first, "money", 1);
    asks_to_unpack(first, 0, 200 << 20, -1);
    calls(other, delete_topics, 3, &deletion, &deleted);
    expect_int(deleted.responses.items[0].error_code, 0);
    int16_t code = hears_of_it(first).error_code;
    expect(code == KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION || code == 0); /* it was quicker */
    stops(&b);
}

STORY("a server that stops waits for the threads that unpack")
{
    struct broker b;
    given_broker(t, &b);
    struct peer *first = given_peer(&b);
    has_topic(first, "money", 1);
    asks_to_unpack(first, 0, 50 << 20, -1);
    asks_to_keep(first, 1);
    stops(&b);
}

STORY(
    "what was appended when there was no room is told of once it is kept; what comes behind it is "
    "refused, and never as out of order")
{
    struct broker b;
    struct rlimit limit, small = {100, RLIM_INFINITY};
    given_broker(t, &b);
    struct peer *first = given_peer(&b), *again = given_peer(&b);
    has_topic(first, "money", 1);
    expect_int(keeps(&b, 0), 0);
    expect(getrlimit(RLIMIT_FSIZE, &limit) == 0 && setrlimit(RLIMIT_FSIZE, &small) == 0);
    asks_to_keep(first, 1);
    expect(!has_answer(first, 100)); /* an error would say that it is not there */
    asks_to_keep(again, 1);
    expect(!has_answer(again, 100));
    expect_int(keeps(&b, 2), KAFKA_ERROR_KAFKA_STORAGE_ERROR);
    expect_int(keeps(&b, 3), KAFKA_ERROR_KAFKA_STORAGE_ERROR);
    expect(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    passes(&b, 2000);
    expect_int(hears_of_it(first).base_offset, 1);
    expect_int(hears_of_it(again).base_offset, 1);
    expect_int(keeps(&b, 2), 0);
    stops(&b);
}

STORY("a broker stops though there is no room")
{
    struct broker b;
    struct rlimit limit, small = {100, RLIM_INFINITY};
    given_broker(t, &b);
    struct peer *first = given_peer(&b);
    has_topic(first, "money", 1);
    expect_int(keeps(&b, 0), 0);
    expect(getrlimit(RLIMIT_FSIZE, &limit) == 0 && setrlimit(RLIMIT_FSIZE, &small) == 0);
    asks_to_keep(first, 1);
    expect(!has_answer(first, 100));
    stops(&b);
    expect(setrlimit(RLIMIT_FSIZE, &limit) == 0);
}

STORY("a request that cannot be read closes its connection and no other")
{
    struct broker b;
    given_broker(t, &b);
    struct peer *good = given_peer(&b), *bad = given_peer(&b), *worse = given_peer(&b);
    expect(write(bad->fd, "\x7f\xff\xff\xff garbage", 12) == 12);
    expect(is_closed(bad));
    expect(write(worse->fd, "\0\0\0\x0a\0\x03\0\x63\0\0\0\1\0\0", 14) == 14); /* Metadata 99 */
    expect(is_closed(worse));
    has_topic(good, "still", 1);
    stops(&b);
}

STORY("an ApiVersions request newer than ours is answered in version 0")
{
    struct broker b;
    struct kafka_api_versions_response response;
    given_broker(t, &b);
    struct peer *peer = given_peer(&b);
    expect(write(peer->fd, "\0\0\0\x0b\0\x12\0\x63\0\0\0\1\0\0\0", 15) == 15);
    hears(peer, KAFKA_API_api_versions, 0, &response);
    expect_int(response.error_code, KAFKA_ERROR_UNSUPPORTED_VERSION);
    expect(response.api_keys.count > 20);
    expect_int(response.api_keys.items[0].min_version, 0);
    stops(&b);
}

STORY("a damaged catalog is a sentence, not a fresh start")
{
    struct broker b;
    struct broker_options options;
    struct broker_server *server = NULL;
    char path[400];
    given_broker(t, &b);
    has_topic(given_peer(&b), "precious", 1);
    stops(&b);
    snprintf(path, sizeof(path), "%s/catalog", b.folder);
    expect(truncate(path, 60) == 0);
    options = (struct broker_options){.folder = mr_str_from(b.folder)};
    b.loop = mr_loop_new("log", &b.clock);
    b.disk = mr_disk_new(1);
    expect_err(broker_server_open(b.loop, b.disk, &options, &server), MR_CORRUPT);
    expect(strstr(mr_why(), "catalog") != NULL);
    mr_disk_free(b.disk);
    mr_loop_free(b.loop);
}

static void asks_invented(struct peer *peer, struct mr_random *random, const struct kafka_api *api)
{
    int16_t version = (int16_t)(api->oldest +
                                (int16_t)mr_random_below(
                                    random, (uint64_t)(api->newest - api->oldest + 1)));
    void *request = mr_arena_alloc_zero(&peer->arena, api->request()->bytes);
    struct mr_buf buf = {0};
    struct wire_out out = kafka_api_out(&buf, api, version);

    wire_invent(random, &peer->arena, api->request(), version, request);
    kafka_api_write_request(&out, api, ++peer->correlation, MR_STR("noise"), request);
    for (size_t at = 0, i = 0; i <= out.splices.count; i++) {
        size_t end = i < out.splices.count ? out.splices.items[i].at : buf.length;
        expect(write(peer->fd, buf.data + at, end - at) >= 0);
        at = end;
        if (i < out.splices.count)
            expect(write(peer->fd, out.splices.items[i].ref.data,
                         out.splices.items[i].ref.length) >= 0);
    }
    wire_out_fini(&out);
    mr_buf_fini(&buf);
}

STORY("requests of noise, well formed, of every API: each is answered or ends its connection")
{
    struct broker b;
    struct mr_random random;
    given_broker(t, &b);
    has_topic(given_peer(&b), "still", 1);
    mr_random_init(&random, 7);
    for (int round = 0; round < 40; round++) {
        for (size_t i = 0; i < kafka_api_count; i++) {
            struct peer *peer = given_peer(&b);
            if (kafka_api_rows[i].key == KAFKA_API_create_topics ||
                kafka_api_rows[i].key == KAFKA_API_create_partitions)
                continue;
            asks_invented(peer, &random, &kafka_api_rows[i]);
            for (int turn = 0; turn < 4; turn++)
                mr_loop_turn(b.loop, 0);
            mr_arena_fini(&peer->arena);
            leaves(peer);
            mr_free(peer);
        }
        passes(&b, 1000);
    }
    has_topic(given_peer(&b), "there", 1);
    stops(&b);
}

/* ---- quotas ---- */

static void is_limited(struct peer *peer, const char *key, double limit)
{
    struct kafka_alter_client_quotas_part part = {MR_STR("client-id"), MR_STR("story")};
    struct kafka_alter_client_quotas_op op = {mr_str_from(key), limit, limit == 0};
    struct kafka_alter_client_quotas_entry entry = {{&part, 1}, {&op, 1}};
    struct kafka_alter_client_quotas_request request = {.entries = {&entry, 1}};
    struct kafka_alter_client_quotas_response response;

    calls(peer, alter_client_quotas, 1, &request, &response);
    expect_int(response.entries.count, 1);
    expect_int(response.entries.items[0].error_code, 0);
}

static int16_t makes(struct peer *peer, int16_t version, const char *name, int32_t partitions,
                     int32_t *wait_ms)
{
    struct kafka_create_topics_request_topic topic = {
        .name = mr_str_from(name), .num_partitions = partitions, .replication_factor = 1};
    struct kafka_create_topics_request request = {.topics = {&topic, 1}, .timeout_ms = 1000};
    struct kafka_create_topics_response response;

    calls(peer, create_topics, version, &request, &response);
    *wait_ms = response.throttle_time_ms;
    return response.topics.items[0].error_code;
}

STORY("changes of partitions use up a quota, are refused or wait, and go on when time has passed")
{
    struct broker b;
    int32_t wait_ms;

    given_broker(t, &b);
    struct peer *peer = given_peer(&b);
    is_limited(peer, "controller_mutation_rate", 1);
    expect_int(makes(peer, 6, "first", 15, &wait_ms),
               0); /* of eleven: one more may begin than is there */
    expect_int(wait_ms, 0);
    expect_int(makes(peer, 6, "second", 1, &wait_ms), KAFKA_ERROR_THROTTLING_QUOTA_EXCEEDED);
    expect_int(wait_ms, 4000);
    asks(peer, KAFKA_API_api_versions, 0, NULL);
    expect(!has_answer(peer, 50)); /* it is not read from */
    passes(&b, 4500);
    expect(has_answer(peer, 1000));
    struct kafka_api_versions_response versions;
    hears(peer, KAFKA_API_api_versions, 0, &versions);
    expect_int(makes(peer, 6, "second", 1, &wait_ms), 0);
    expect_int(makes(peer, 5, "third", 2, &wait_ms), 0); /* too old to be refused: it waits */
    expect_int(wait_ms, 2500);
    passes(&b, 3000);
    is_limited(peer, "controller_mutation_rate", 0);
    expect_int(makes(peer, 6, "fourth", 50, &wait_ms), 0);
    expect_int(makes(peer, 6, "fifth", 1, &wait_ms), 0);
    expect_int(wait_ms, 0);
    leaves(peer);
    stops(&b);
}

/* ---- quotas ---- */

static void has_quota(struct broker *b, const char *row)
{
    const struct json_value *value;
    struct mr_arena arena;

    mr_arena_init(&arena);
    expect_ok(json_parse(&arena, mr_str_from(row), &value));
    expect_ok(broker_quotas_read(&b->server->security.quotas, value));
    mr_arena_fini(&arena);
}

/* How long it has to wait; 0: it is let in. */
static int32_t connects(struct broker *b, unsigned number)
{
    struct broker_conn conn = {.server = b->server};
    int32_t wait_ms = 0;

    snprintf(conn.peer.host, sizeof conn.peer.host, "10.%u.%u.%u", number >> 16, number >> 8 & 255,
             number & 255);
    return broker_throttle_connection(&conn, &wait_ms) ? wait_ms : 0;
}

STORY("strangers that fill the table of one quota crowd out nobody of another, and are forgotten")
{
    struct broker b;
    struct broker_request request = {.api = kafka_api_find(KAFKA_API_create_topics)};
    struct broker_conn conn = {0};
    given_broker(t, &b);
    struct mr_map *uses = b.server->security.quotas.uses;
    has_quota(&b, "{\"quota\":{\"ip\":null},\"connection_creation_rate\":1}");
    has_quota(&b, "{\"quota\":{\"user\":null},\"controller_mutation_rate\":1}");
    for (unsigned i = 0; i < MR_LIMIT_BROKER_QUOTA_USES + 100; i++)
        connects(&b, i);
    expect_int(uses[BROKER_QUOTA_CONNECTION].count, MR_LIMIT_BROKER_QUOTA_USES + 1);
    request.server = conn.server = b.server;
    request.conn = &conn;
    expect(broker_throttle_change(&request, 6, 1));
    expect_int(uses[BROKER_QUOTA_CHANGE].count, 1);
    expect_int(connects(&b, 0), 0); /* who was there before has its own */
    passes(&b, 23000);
    connects(&b, 1 << 20);
    expect(uses[BROKER_QUOTA_CONNECTION].count <= 2);
    stops(&b);
}
