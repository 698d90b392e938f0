/* broker/guards_test.c: what one client asks costs what it asks for, so that no other waits. Nothing here
 * looks at a clock: each of these requests is large enough to take minutes when its work grows with the square
 * of what it names. */
#include "broker_peer.h"

/* A request that is larger than a socket's buffers. */
static void asks_much(struct peer *peer, int16_t key, int16_t version, const void *request)
{
    const struct kafka_api *api = kafka_api_find(key);
    struct mr_buf buf = {0};
    struct wire_out out = kafka_api_out(&buf, api, version);
    size_t sent = 0;

    kafka_api_write_request(&out, api, ++peer->correlation, MR_STR("story"), request);
    expect_ok(buf.err);
    while (sent < buf.length) {
        ssize_t put = send(peer->fd, buf.data + sent, buf.length - sent, MSG_DONTWAIT);
        expect(put > 0 || errno == EAGAIN);
        sent += put > 0 ? (size_t)put : 0;
        mr_loop_turn(peer->broker->loop, 0);
    }
    wire_out_fini(&out);
    mr_buf_fini(&buf);
}

#define calls_much(peer, name, version, request, response)      \
    (asks_much((peer), KAFKA_API_##name, (version), (request)), \
     hears((peer), KAFKA_API_##name, (version), (response)))

static mr_str name_of(struct peer *peer, const char *word, int number)
{
    return mr_arena_printf(&peer->arena, "%s-%d", word, number);
}

STORY("a request to make very many topics is checked in one pass")
{
    enum { NAMES = 200000 };
    struct broker b;
    given_broker(t, &b);
    struct peer *peer = given_peer(&b);
    struct kafka_create_topics_request request = {.timeout_ms = 1000, .validate_only = true};
    struct kafka_create_topics_response response;

    request.topics.items = mr_arena_array(&peer->arena, struct kafka_create_topics_request_topic,
                                          NAMES);
    request.topics.count = NAMES;
    for (int i = 0; i < NAMES; i++)
        request.topics.items[i] = (struct kafka_create_topics_request_topic){
            .name = name_of(peer, "orders", i == 7 ? NAMES - 1 : i),
            .num_partitions = i == 9 ? MR_LIMIT_BROKER_PARTITIONS + 1 : 1,
            .replication_factor = 1};
    calls_much(peer, create_topics, 4, &request, &response);
    expect_int(response.topics.count, NAMES);
    expect_int(response.topics.items[0].error_code, 0);
    expect_int(response.topics.items[7].error_code, KAFKA_ERROR_INVALID_REQUEST);
    expect_int(response.topics.items[NAMES - 1].error_code, KAFKA_ERROR_INVALID_REQUEST);
    expect_int(response.topics.items[9].error_code, KAFKA_ERROR_INVALID_PARTITIONS);
    /* so many partitions are made by one request, and no more */
    expect_int(response.topics.items[9000].error_code, 0);
    expect_int(response.topics.items[11000].error_code, KAFKA_ERROR_POLICY_VIOLATION);
    expect_int(response.topics.items[NAMES - 2].error_code, KAFKA_ERROR_POLICY_VIOLATION);
    stops(&b);
}

STORY("very many names in a question about log folders cost nothing")
{
    enum { NAMES = 300000 };
    struct broker b;
    given_broker(t, &b);
    struct peer *peer = given_peer(&b);
    struct kafka_describe_log_dirs_request request = {0};
    struct kafka_describe_log_dirs_response response;
    int32_t one = 1, two[] = {2, 2, 7000};

    has_topic(peer, "orders", 2000);
    request.topics.items = mr_arena_array(&peer->arena,
                                          struct kafka_describe_log_dirs_request_topic, NAMES);
    request.topics.count = NAMES;
    for (int i = 0; i < NAMES; i++)
        request.topics.items[i] = (struct kafka_describe_log_dirs_request_topic){
            name_of(peer, "o", i), {0}};
    request.topics.items[5] = (struct kafka_describe_log_dirs_request_topic){MR_STR("orders"),
                                                                             {&one, 1}};
    request.topics.items[9] = (struct kafka_describe_log_dirs_request_topic){MR_STR("orders"),
                                                                             {two, 3}};
    calls_much(peer, describe_log_dirs, 1, &request, &response);
    expect_int(response.results.items[0].topics.count, 1);
    expect_int(response.results.items[0].topics.items[0].partitions.count, 2);
    expect_int(response.results.items[0].topics.items[0].partitions.items[0].partition_index, 1);
    expect_int(response.results.items[0].topics.items[0].partitions.items[1].partition_index, 2);
    stops(&b);
}

static int16_t appends(struct peer *peer, int count, mr_str value)
{
    struct kafka_incremental_alter_configs_resource resource = {.resource_type = 2,
                                                                .resource_name = MR_STR("orders")};
    struct kafka_incremental_alter_configs_request request = {.resources = {&resource, 1}};
    struct kafka_incremental_alter_configs_response response;

    resource.configs.items = mr_arena_array(
        &peer->arena, struct kafka_incremental_alter_configs_config, (size_t)count);
    resource.configs.count = count;
    for (int i = 0; i < count; i++)
        resource.configs.items[i] = (struct kafka_incremental_alter_configs_config){
            MR_STR("leader.replication.throttled.replicas"), 2,
            value.length > 0 ? value : name_of(peer, "1", i)};
    calls_much(peer, incremental_alter_configs, 1, &request, &response);
    return response.responses.items[0].error_code;
}

STORY("a list of settings grows by one step of a request, and to a length")
{
    struct broker b;
    given_broker(t, &b);
    struct peer *peer = given_peer(&b);
    struct mr_buf list = {0};

    has_topic(peer, "orders", 1);
    expect_int(appends(peer, 100000, MR_STR("")), KAFKA_ERROR_INVALID_REQUEST);
    for (int i = 0; list.length < 30000; i++)
        mr_buf_printf(&list, "%s%d:1", i > 0 ? "," : "", i);
    for (int i = 0; i < 100; i++) /* what is there already is not added */
        expect_int(appends(peer, 1, mr_buf_as_str(&list)), 0);
    expect_int(appends(peer, 1, MR_STR("1:2")), 0);
    for (int i = 0; i < 3000; i++)
        mr_buf_printf(&list, ",x%d:1", i);
    expect_int(appends(peer, 1, mr_buf_as_str(&list)), KAFKA_ERROR_INVALID_CONFIG);
    mr_buf_fini(&list);
    stops(&b);
}

/* ---- groups ---- */

static struct kafka_join_group_request a_join(struct peer *peer, int protocols)
{
    struct kafka_join_group_request request = {.group_id = MR_STR("billing"),
                                               .session_timeout_ms = 60000,
                                               .rebalance_timeout_ms = 60000,
                                               .member_id = MR_STR(""),
                                               .protocol_type = MR_STR("consumer")};

    request.protocols.items = mr_arena_array(&peer->arena, struct kafka_join_group_protocol,
                                             (size_t)protocols);
    request.protocols.count = protocols;
    for (int i = 0; i < protocols; i++)
        request.protocols.items[i] = (struct kafka_join_group_protocol){name_of(peer, "p", i),
                                                                        MR_STR("")};
    return request;
}

STORY("a member of a group has so many protocols and no more")
{
    struct broker b;
    given_broker(t, &b);
    struct peer *peer = given_peer(&b);
    struct kafka_join_group_request request = a_join(peer, 100000);
    struct kafka_join_group_response response;

    calls_much(peer, join_group, 3, &request, &response);
    expect_int(response.error_code, KAFKA_ERROR_INVALID_REQUEST);
    stops(&b);
}

STORY("a group with many members, protocols and assignments goes on as one with few")
{
    enum { MEMBERS = 900, PROTOCOLS = 100, ROWS = 400000 };
    struct broker b;
    given_broker(t, &b);
    struct peer *first = given_peer(&b), *others = given_peer(&b), *last = given_peer(&b);
    struct kafka_join_group_request join = a_join(first, PROTOCOLS), odd = a_join(first, PROTOCOLS);
    struct kafka_join_group_response joined, second;
    struct kafka_sync_group_request sync = {.group_id = MR_STR("billing")};
    struct kafka_sync_group_response synced;
    struct kafka_leave_group_request leave = {.group_id = MR_STR("billing")};
    struct kafka_leave_group_response left;

    calls(first, join_group, 3, &join, &joined);
    expect_int(joined.error_code, 0);
    for (int i = 0; i < MEMBERS; i++)
        asks(others, KAFKA_API_join_group, 3, &join);
    for (int i = 0; i + 1 < PROTOCOLS; i++) /* it has the last one in common with the rest */
        odd.protocols.items[i].name = name_of(first, "q", i);
    asks(last, KAFKA_API_join_group, 3, &odd);
    passes(&b, 61000); /* the first one does not come back */
    hears(others, KAFKA_API_join_group, 3, &joined);
    expect_int(joined.error_code, 0);
    expect_str(joined.protocol_name, name_of(first, "p", PROTOCOLS - 1));
    expect_int(joined.members.count, MEMBERS + 1);
    hears(others, KAFKA_API_join_group, 3, &second);

    sync.generation_id = joined.generation_id;
    sync.member_id = joined.member_id;
    sync.assignments.items = mr_arena_array(&first->arena, struct kafka_sync_group_assignment,
                                            ROWS);
    sync.assignments.count = ROWS;
    for (int i = 0; i < ROWS; i++)
        sync.assignments.items[i] = (struct kafka_sync_group_assignment){
            name_of(first, "nobody", i), MR_STR("x")};
    sync.assignments.items[ROWS - 2] = (struct kafka_sync_group_assignment){joined.member_id,
                                                                            MR_STR("mine")};
    sync.assignments.items[ROWS - 1] = (struct kafka_sync_group_assignment){joined.member_id,
                                                                            MR_STR("late")};
    for (int i = 2; i < MEMBERS; i++)
        hears(others, KAFKA_API_join_group, 3, &second);
    calls_much(others, sync_group, 2, &sync, &synced);
    expect_int(synced.error_code, 0);
    expect_str(synced.assignment, MR_STR("mine"));

    leave.members.items = mr_arena_array(&first->arena, struct kafka_leave_group_request_member,
                                         ROWS);
    leave.members.count = ROWS;
    for (int i = 0; i < ROWS; i++)
        leave.members.items[i] = (struct kafka_leave_group_request_member){
            name_of(first, "nobody", i), i % 2 == 0 ? MR_STR_NULL : MR_STR("none"), MR_STR_NULL};
    leave.members.items[ROWS - 1] = (struct kafka_leave_group_request_member){
        second.member_id, MR_STR_NULL, MR_STR_NULL};
    calls_much(first, leave_group, 3, &leave, &left);
    expect_int(left.members.items[0].error_code, KAFKA_ERROR_UNKNOWN_MEMBER_ID);
    expect_int(left.members.items[ROWS - 1].error_code, 0);
    stops(&b);
}

/* ---- connections ---- */

STORY("a client that says nothing for long is let go, one that waits for records is not")
{
    struct broker b;
    given_broker_with(t, &b, "connections.max.idle.ms=60000\n");
    struct peer *quiet = given_peer(&b), *waits = given_peer(&b), *speaks = given_peer(&b);
    struct kafka_fetch_request_partition row = {
        .current_leader_epoch = -1, .log_start_offset = -1, .partition_max_bytes = 1000};
    struct kafka_fetch_request_topic rows = {.topic = MR_STR("orders"), .partitions = {&row, 1}};
    struct kafka_fetch_request request = {.replica_id = -1,
                                          .max_wait_ms = 600000,
                                          .min_bytes = 1,
                                          .max_bytes = 1000,
                                          .session_epoch = -1,
                                          .topics = {&rows, 1}};
    struct kafka_fetch_response response;
    char byte;

    has_topic(quiet, "orders", 1);
    asks(waits, KAFKA_API_fetch, 11, &request);
    for (int i = 0; i < 14; i++) {
        passes(&b, 5000);
        struct kafka_heartbeat_request beat = {.group_id = MR_STR("billing")};
        struct kafka_heartbeat_response beaten;
        calls(speaks, heartbeat, 3, &beat, &beaten);
    }
    expect_int(read(quiet->fd, &byte, 1), 0);
    puts_records(speaks, "orders", 0, "apple", 1);
    hears(waits, KAFKA_API_fetch, 11, &response);
    expect_int(response.responses.items[0].partitions.items[0].high_watermark, 1);
    stops(&b);
}

/* ---- the same thing again and again ---- */

STORY("a question that names one topic very often is answered once")
{
    enum { TIMES = 300000 };
    struct broker b;
    given_broker(t, &b);
    struct peer *peer = given_peer(&b);
    struct kafka_metadata_request request = {.allow_auto_topic_creation = false};
    struct kafka_metadata_response response;
    struct kafka_list_offsets_request_partition rows[] = {
        {.current_leader_epoch = -1, .timestamp = 5}, {.current_leader_epoch = -1, .timestamp = 5}};
    struct kafka_list_offsets_request_topic topic = {MR_STR("orders"), {rows, 2}};
    struct kafka_list_offsets_request offsets = {.replica_id = -1, .topics = {&topic, 1}};
    struct kafka_list_offsets_response told;

    has_topic(peer, "orders", 2000);
    request.topics.items = mr_arena_array(&peer->arena, struct kafka_metadata_request_topic, TIMES);
    request.topics.count = TIMES;
    for (int i = 0; i < TIMES; i++)
        request.topics.items[i].name = MR_STR("orders");
    request.topics.items[TIMES - 1].name = MR_STR("nothing");
    calls_much(peer, metadata, 8, &request, &response);
    expect_int(response.topics.count, 2);
    expect_int(response.topics.items[0].partitions.count, 2000);
    expect_int(response.topics.items[1].error_code, KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION);
    calls(peer, list_offsets, 4, &offsets, &told);
    expect_int(told.topics.items[0].partitions.items[0].error_code, 0);
    expect_int(told.topics.items[0].partitions.items[1].error_code, KAFKA_ERROR_INVALID_REQUEST);
    stops(&b);
}

STORY("offsets of very many groups, and very many rows to delete, are looked at once")
{
    enum { TIMES = 200000, PARTITIONS = 3000 };
    struct broker b;
    given_broker(t, &b);
    struct peer *peer = given_peer(&b);
    struct kafka_offset_commit_request_topic topic = {.name = MR_STR("orders")};
    struct kafka_offset_commit_request commit = {.group_id = MR_STR("billing"),
                                                 .generation_id_or_member_epoch = -1,
                                                 .member_id = MR_STR(""),
                                                 .topics = {&topic, 1}};
    struct kafka_offset_commit_response committed;
    struct kafka_offset_fetch_request fetch = {.require_stable = false};
    struct kafka_offset_fetch_response fetched;
    struct kafka_offset_delete_request_topic gone = {.name = MR_STR("orders")};
    struct kafka_offset_delete_request erase = {.group_id = MR_STR("billing"),
                                                .topics = {&gone, 1}};
    struct kafka_offset_delete_response erased;

    has_topic(peer, "orders", PARTITIONS);
    topic.partitions.items = mr_arena_array(
        &peer->arena, struct kafka_offset_commit_request_partition, PARTITIONS);
    topic.partitions.count = PARTITIONS;
    for (int i = 0; i < PARTITIONS; i++)
        topic.partitions.items[i] = (struct kafka_offset_commit_request_partition){
            .partition_index = i, .committed_offset = i, .committed_leader_epoch = -1};
    calls_much(peer, offset_commit, 6, &commit, &committed);
    expect_int(committed.topics.items[0].partitions.items[PARTITIONS - 1].error_code, 0);

    fetch.groups.items = mr_arena_array(&peer->arena, struct kafka_offset_fetch_request_group,
                                        TIMES);
    fetch.groups.count = TIMES;
    for (int i = 0; i < TIMES; i++)
        fetch.groups.items[i] = (struct kafka_offset_fetch_request_group){
            .group_id = i % 100 == 0 ? MR_STR("billing") : name_of(peer, "group", i),
            .member_epoch = -1,
            .topics = {NULL, -1}};
    calls_much(peer, offset_fetch, 8, &fetch, &fetched);
    expect_int(fetched.groups.count, TIMES - TIMES / 100 + 1);
    expect_int(fetched.groups.items[0].topics.items[0].partitions.count, PARTITIONS);
    expect_int(fetched.groups.items[0].topics.items[0].partitions.items[7].committed_offset, 7);

    gone.partitions.items = mr_arena_array(&peer->arena,
                                           struct kafka_offset_delete_request_partition, TIMES);
    gone.partitions.count = TIMES;
    for (int i = 0; i < TIMES; i++)
        gone.partitions.items[i].partition_index = i % 2 == 0 ? 7 : i % PARTITIONS;
    calls_much(peer, offset_delete, 0, &erase, &erased);
    expect_int(erased.topics.items[0].partitions.items[TIMES - 1].error_code, 0);
    stops(&b);
}

STORY("a transaction finds its partitions however many it has")
{
    enum { PARTITIONS = 20000, TIMES = 400000 };
    struct broker b;
    given_broker(t, &b);
    struct peer *peer = given_peer(&b);
    struct kafka_init_producer_id_request begin = {.transactional_id = MR_STR("mover"),
                                                   .transaction_timeout_ms = 60000,
                                                   .producer_id = -1,
                                                   .producer_epoch = -1};
    struct kafka_init_producer_id_response begun;
    struct kafka_add_partitions_to_txn_request_topic topic = {.name = MR_STR("orders")};
    struct kafka_add_partitions_to_txn_request add = {.transactional_id = MR_STR("mover"),
                                                      .topics = {&topic, 1}};
    struct kafka_add_partitions_to_txn_response added;

    has_topic(peer, "orders", PARTITIONS);
    calls(peer, init_producer_id, 3, &begin, &begun);
    expect_int(begun.error_code, 0);
    add.producer_id = begun.producer_id;
    add.producer_epoch = begun.producer_epoch;
    topic.partitions.items = mr_arena_array(&peer->arena, int32_t, TIMES);
    topic.partitions.count = TIMES;
    for (int i = 0; i < TIMES; i++)
        topic.partitions.items[i] = i % PARTITIONS;
    calls_much(peer, add_partitions_to_txn, 1, &add, &added);
    expect_int(
        added.results_by_topic.items[0].results_by_partition.items[TIMES - 1].partition_error_code,
        0);
    stops(&b);
}
