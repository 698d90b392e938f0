/* broker/server_test.c: groups and transactions over real sockets, on a test's clock: a session's
 * half minute passes in no time, and a kill comes at the point that the story wants. */
#include "broker_peer.h"

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
    int32_t generation;
    bool leads;
};

static void joins_begin(struct member *member)
{
    static struct kafka_join_group_protocol protocol = {MR_STR("range"), MR_STR("topics")};
    struct kafka_join_group_request request = {
        .group_id = MR_STR("billing"),
        .session_timeout_ms = SESSION_MS,
        .rebalance_timeout_ms = 30000,
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

/* ---- transactions ---- */

struct txn_peer {
    struct peer *peer;
    int64_t id;
    int16_t epoch;
    int32_t sequence[4];
};

static int16_t begins(struct broker *b, struct txn_peer *txn)
{
    struct kafka_init_producer_id_request request = {.transactional_id = MR_STR("mover"),
                                                     .transaction_timeout_ms = 60000,
                                                     .producer_id = -1,
                                                     .producer_epoch = -1};
    struct kafka_init_producer_id_response response;

    *txn = (struct txn_peer){.peer = given_peer(b)};
    calls(txn->peer, init_producer_id, 3, &request, &response);
    txn->id = response.producer_id;
    txn->epoch = response.producer_epoch;
    return response.error_code;
}

static int16_t adds(struct txn_peer *txn, int32_t partition)
{
    struct kafka_add_partitions_to_txn_request_topic topic = {.name = MR_STR("money"),
                                                              .partitions = {&partition, 1}};
    struct kafka_add_partitions_to_txn_request request = {
        MR_STR("mover"), txn->id, txn->epoch, {&topic, 1}};
    struct kafka_add_partitions_to_txn_response response;

    calls(txn->peer, add_partitions_to_txn, 2, &request, &response);
    return response.results_by_topic.items[0].results_by_partition.items[0].partition_error_code;
}

static int16_t puts_value(struct txn_peer *txn, int32_t partition, const char *value)
{
    struct kafka_produce_request_partition row = {.index = partition};
    struct kafka_produce_request_topic topic = {.name = MR_STR("money"),
                                                .partition_data = {&row, 1}};
    struct kafka_produce_request request = {MR_STR("mover"), -1, 1000, {&topic, 1}};
    struct kafka_produce_response response;
    struct kafka_builder builder;
    struct mr_buf buf = {0};

    kafka_records_begin(&builder, &buf);
    kafka_records_append(&builder, 1700000000000, MR_STR("k"), mr_str_from(value), NULL, 0);
    expect_ok(kafka_records_finish(&builder, KAFKA_CODEC_NONE, 0, txn->id, txn->epoch,
                                   txn->sequence[partition]++, true));
    row.records.bytes = mr_buf_as_str(&buf);
    calls(txn->peer, produce, 7, &request, &response);
    mr_buf_fini(&buf);
    return response.responses.items[0].partition_responses.items[0].error_code;
}

static void ends_begin(struct txn_peer *txn, bool commit)
{
    struct kafka_end_txn_request request = {MR_STR("mover"), txn->id, txn->epoch, commit};
    asks(txn->peer, KAFKA_API_end_txn, 1, &request);
}

static int16_t ends(struct txn_peer *txn, bool commit)
{
    struct kafka_end_txn_response response;
    ends_begin(txn, commit);
    hears(txn->peer, KAFKA_API_end_txn, 1, &response);
    return response.error_code;
}

/* The committed values of a partition, as a reader sees them who leaves out what was aborted. */
static mr_str committed(struct broker *b, int32_t partition)
{
    struct peer *peer = given_peer(b);
    struct kafka_fetch_request_partition row = {
        .partition = partition, .current_leader_epoch = -1, .partition_max_bytes = 1 << 20};
    struct kafka_fetch_request_topic topic = {.topic = MR_STR("money"), .partitions = {&row, 1}};
    struct kafka_fetch_request request = {.replica_id = -1,
                                          .max_bytes = 1 << 20,
                                          .isolation_level = 1,
                                          .session_epoch = -1,
                                          .topics = {&topic, 1}};
    struct kafka_fetch_response response;
    struct kafka_fetch_response_partition *answer;
    struct kafka_batch batch;
    struct mr_buf text = {0};
    mr_err err = MR_OK;
    mr_str bytes;

    calls(peer, fetch, 11, &request, &response);
    answer = &response.responses.items[0].partitions.items[0];
    expect_int(answer->error_code, 0);
    bytes = answer->records.bytes;
    while (kafka_records_next(&bytes, &batch, &err)) {
        struct kafka_records records;
        struct kafka_record record;
        bool gone = kafka_batch_is_control(&batch);
        for (int32_t i = 0; i < answer->aborted_transactions.count; i++)
            gone = gone ||
                   (answer->aborted_transactions.items[i].producer_id == batch.producer_id &&
                    answer->aborted_transactions.items[i].first_offset == batch.base_offset);
        expect_ok(kafka_records_open(&batch, &peer->arena, &records));
        while (!gone && kafka_records_read(&records, &record))
            mr_buf_printf(&text, "%.*s ", MR_STR_ARG(record.value));
    }
    expect_ok(err);
    leaves(peer);
    return mr_arena_str(&peer->arena, mr_buf_as_str(&text));
}

STORY("a committed transaction is seen by readers as soon as its producer is told")
{
    struct broker b;
    struct txn_peer mover;
    given_broker(t, &b);
    has_topic(given_peer(&b), "money", 2);
    expect_int(begins(&b, &mover), 0);
    expect_int(puts_value(&mover, 0, "early"), KAFKA_ERROR_INVALID_TXN_STATE);
    mover.sequence[0] = 0;
    for (int i = 0; i < 3; i++) {
        expect_int(adds(&mover, 0), 0);
        expect_int(adds(&mover, 1), 0);
        expect_int(puts_value(&mover, 0, "minus"), 0);
        expect_int(puts_value(&mover, 1, "plus"), 0);
        expect_int(ends(&mover, i != 1), 0);
        expect_int(ends(&mover, i != 1), 0); /* a repeat changes nothing */
        expect_int(ends(&mover, i == 1), KAFKA_ERROR_INVALID_TXN_STATE);
        if (i == 0)
            expect_str(committed(&b, 0), MR_STR("minus "));
    }
    expect_str(committed(&b, 0), MR_STR("minus minus "));
    expect_str(committed(&b, 1), MR_STR("plus plus "));
    stops(&b);
}

STORY(
    "a transaction that was open at a kill goes on, and one of a lost producer is aborted in time")
{
    struct broker b;
    struct txn_peer mover;
    given_broker(t, &b);
    has_topic(given_peer(&b), "money", 2);
    expect_int(begins(&b, &mover), 0);
    expect_int(adds(&mover, 0), 0);
    expect_int(puts_value(&mover, 0, "one"), 0);
    is_killed(&b);
    mover.peer = given_peer(&b);
    expect_str(committed(&b, 0), MR_STR(""));
    expect_int(puts_value(&mover, 0, "two"), 0);
    expect_int(ends(&mover, true), 0);
    expect_str(committed(&b, 0), MR_STR("one two "));
    expect_int(adds(&mover, 1), 0);
    expect_int(puts_value(&mover, 1, "lost"), 0);
    passes(&b, 61000);
    for (int i = 0; i < 50; i++)
        mr_loop_turn(b.loop, 1000);
    expect_int(puts_value(&mover, 1, "late"), KAFKA_ERROR_INVALID_PRODUCER_EPOCH);
    expect_int(ends(&mover, true), KAFKA_ERROR_INVALID_PRODUCER_EPOCH);
    expect_str(committed(&b, 1), MR_STR(""));
    stops(&b);
}

/* Runs the end of a transaction to its n-th turn, kills, starts again: all or nothing. */
static bool is_killed_while_ending(struct story *t, int turns)
{
    struct broker b;
    struct txn_peer mover;
    struct kafka_end_txn_request request;
    mr_str first, second;

    given_broker(t, &b);
    has_topic(given_peer(&b), "money", 2);
    expect_int(begins(&b, &mover), 0);
    for (int i = 0; i < 2; i++) {
        expect_int(adds(&mover, i), 0);
        expect_int(puts_value(&mover, i, "x"), 0);
    }
    request = (struct kafka_end_txn_request){MR_STR("mover"), mover.id, mover.epoch, true};
    const struct kafka_api *api = kafka_api_find(KAFKA_API_end_txn);
    struct mr_buf buf = {0};
    struct wire_out out = kafka_api_out(&buf, api, 1);
    kafka_api_write_request(&out, api, 99, MR_STR("story"), &request);
    expect(write(mover.peer->fd, buf.data, buf.length) == (ssize_t)buf.length);
    for (int i = 0; i < turns; i++)
        mr_loop_turn(b.loop, i % 2 == 0 ? 0 : 300);
    struct pollfd ready = {.fd = mover.peer->fd, .events = POLLIN};
    bool told = poll(&ready, 1, 0) == 1;
    is_killed(&b);
    expect_int(begins(&b, &mover), 0); /* ends what was open */
    first = committed(&b, 0);
    second = committed(&b, 1);
    expect_str(first, second);
    if (told)
        expect_str(first, MR_STR("x "));
    expect_int(adds(&mover, 0), 0);
    expect_int(puts_value(&mover, 0, "next"), 0);
    expect_int(ends(&mover, true), 0);
    expect(mr_str_ends(committed(&b, 0), MR_STR("next ")));
    stops(&b);
    snprintf(b.folder, sizeof(b.folder), "rm -rf %s/broker*", t->folder);
    expect(system(b.folder) == 0);
    return told;
}

STORY("a kill at any moment of a commit leaves all of it or nothing")
{
    int told = 0;
    for (int turns = 0; turns < 24; turns++)
        told += is_killed_while_ending(t, turns);
    expect(told > 0 && told < 24);
}

STORY("a transaction that the coordinator forgot is aborted at the start, and its producer locked "
      "out")
{
    struct broker b;
    struct txn_peer mover;
    char command[1200];
    given_broker(t, &b);
    has_topic(given_peer(&b), "money", 1);
    expect_int(begins(&b, &mover), 0);
    expect_int(adds(&mover, 0), 0);
    expect_int(puts_value(&mover, 0, "orphan"), 0);
    /* As after a loss of power: the data is on the disk, the coordinator's note of it is not. */
    snprintf(command, sizeof(command),
             "f=%s/topics/__transaction_state-0/00000000000000000000.log; "
             "truncate -s $(($(stat -c %%s $f) - 1)) $f",
             b.folder);
    expect(system(command) == 0);
    is_killed(&b);
    expect_str(committed(&b, 0), MR_STR(""));
    mover.peer = given_peer(&b);
    expect(ends(&mover, true) != 0);
    expect(puts_value(&mover, 0, "more") != 0);
    expect_int(begins(&b, &mover), 0);
    expect_int(adds(&mover, 0), 0);
    expect_int(puts_value(&mover, 0, "kept"), 0);
    expect_int(ends(&mover, true), 0);
    expect_str(committed(&b, 0), MR_STR("kept "));
    stops(&b);
}

static void sleeps(struct mr_job *job)
{
    (void)job;
    usleep(50000);
}

STORY("whoever takes a transactional id over may hang up before it is told")
{
    struct broker b;
    struct txn_peer mover;
    struct kafka_init_producer_id_request request = {.transactional_id = MR_STR("mover"),
                                                     .transaction_timeout_ms = 60000,
                                                     .producer_id = -1,
                                                     .producer_epoch = -1};
    struct mr_job slow[2] = {{.work = sleeps}, {.work = sleeps}};
    given_broker(t, &b);
    has_topic(given_peer(&b), "money", 1);
    expect_int(begins(&b, &mover), 0);
    expect_int(adds(&mover, 0), 0);
    expect_int(puts_value(&mover, 0, "cut"), 0);
    const struct broker_txn *txn = mr_map_get(&b.server->txns.by_id, MR_STR("mover"));
    struct peer *next = given_peer(&b);
    asks(next, KAFKA_API_init_producer_id, 3, &request);
    for (int i = 0; i < 3000 && txn->state != BROKER_TXN_COMPLETE_ABORT; i++)
        mr_loop_turn(b.loop, 0);
    mr_disk_submit(b.disk, &slow[0]); /* so that the new epoch takes a while to be on the disk */
    mr_disk_submit(b.disk, &slow[1]);
    for (int i = 0; i < 3000 && txn->state != BROKER_TXN_EMPTY; i++)
        mr_loop_turn(b.loop, 1000);
    leaves(next);
    expect_int(begins(&b, &mover), 0);
    expect_int(adds(&mover, 0), 0);
    expect_int(puts_value(&mover, 0, "kept"), 0);
    expect_int(ends(&mover, true), 0);
    expect_str(committed(&b, 0), MR_STR("kept "));
    stops(&b);
}

STORY("what a producer begins while another takes its id over is aborted")
{
    struct broker b;
    struct txn_peer mover, next;
    struct kafka_init_producer_id_request request = {.transactional_id = MR_STR("mover"),
                                                     .transaction_timeout_ms = 60000,
                                                     .producer_id = -1,
                                                     .producer_epoch = -1};
    struct kafka_init_producer_id_response response;
    struct mr_job slow[2] = {{.work = sleeps}, {.work = sleeps}};
    given_broker(t, &b);
    has_topic(given_peer(&b), "money", 1);
    expect_int(begins(&b, &mover), 0);
    expect_int(adds(&mover, 0), 0);
    expect_int(puts_value(&mover, 0, "first"), 0);
    expect_int(ends(&mover, true), 0);
    next = (struct txn_peer){.peer = given_peer(&b)};
    mr_disk_submit(b.disk, &slow[0]); /* the marker is not on the disk yet: the other has to wait */
    mr_disk_submit(b.disk, &slow[1]);
    asks(next.peer, KAFKA_API_init_producer_id, 3, &request);
    expect_int(adds(&mover, 0), 0);
    expect_int(puts_value(&mover, 0, "late"), 0);
    hears(next.peer, KAFKA_API_init_producer_id, 3, &response);
    expect_int(response.error_code, 0);
    next.id = response.producer_id;
    next.epoch = response.producer_epoch;
    expect_int(adds(&next, 0), 0);
    expect_int(puts_value(&next, 0, "kept"), 0);
    expect_int(ends(&next, true), 0);
    expect_str(committed(&b, 0), MR_STR("first kept "));
    stops(&b);
}

/* ---- transactions as operators look at them ---- */

static mr_str listed(struct peer *peer, mr_str state, int64_t longer_ms, mr_str pattern)
{
    struct kafka_list_transactions_request request = {.state_filters = {&state, state.length > 0},
                                                      .duration_filter = longer_ms,
                                                      .transactional_id_pattern = pattern};
    struct kafka_list_transactions_response response;
    struct mr_buf text = {0};

    calls(peer, list_transactions, 2, &request, &response);
    if (response.error_code != 0)
        mr_buf_printf(&text, "error %d", response.error_code);
    for (int32_t i = 0; i < response.unknown_state_filters.count; i++)
        mr_buf_printf(&text, "?%.*s ", MR_STR_ARG(response.unknown_state_filters.items[i]));
    for (int32_t i = 0; i < response.transaction_states.count; i++)
        mr_buf_printf(&text, "%.*s:%.*s ",
                      MR_STR_ARG(response.transaction_states.items[i].transactional_id),
                      MR_STR_ARG(response.transaction_states.items[i].transaction_state));
    return mr_arena_str(&peer->arena, mr_buf_as_str(&text));
}

static struct kafka_describe_transactions_response_state described(struct peer *peer, mr_str id)
{
    struct kafka_describe_transactions_request request = {.transactional_ids = {&id, 1}};
    struct kafka_describe_transactions_response response;

    calls(peer, describe_transactions, 0, &request, &response);
    return response.transaction_states.items[0];
}

static struct kafka_describe_producers_response_partition producers_of(struct peer *peer,
                                                                       int32_t partition)
{
    struct kafka_describe_producers_request_topic topic = {.name = MR_STR("money"),
                                                           .partition_indexes = {&partition, 1}};
    struct kafka_describe_producers_request request = {.topics = {&topic, 1}};
    struct kafka_describe_producers_response response;

    calls(peer, describe_producers, 0, &request, &response);
    return response.topics.items[0].partitions.items[0];
}

static int16_t marks(struct peer *peer, const struct txn_peer *txn, int16_t epoch)
{
    int32_t partition = 0;
    struct kafka_write_txn_markers_request_topic topic = {.name = MR_STR("money"),
                                                          .partition_indexes = {&partition, 1}};
    struct kafka_write_txn_markers_request_marker marker = {
        .producer_id = txn->id, .producer_epoch = epoch, .topics = {&topic, 1}};
    struct kafka_write_txn_markers_request request = {.markers = {&marker, 1}};
    struct kafka_write_txn_markers_response response;

    calls(peer, write_txn_markers, 1, &request, &response);
    return response.markers.items[0].topics.items[0].partitions.items[0].error_code;
}

STORY("transactions and their producers are listed and described, and an open one is ended by hand")
{
    struct broker b;
    struct txn_peer mover;
    given_broker(t, &b);
    struct peer *peer = given_peer(&b);
    has_topic(peer, "money", 2);
    expect_int(described(peer, MR_STR("mover")).error_code, KAFKA_ERROR_TRANSACTIONAL_ID_NOT_FOUND);
    expect_int(begins(&b, &mover), 0);
    expect_int(described(peer, MR_STR("mover")).transaction_start_time_ms, -1);
    expect_str(listed(peer, MR_STR(""), -1, MR_STR_NULL), MR_STR("mover:Empty "));
    expect_int(adds(&mover, 0), 0);
    expect_int(adds(&mover, 1), 0);
    expect_int(puts_value(&mover, 0, "open"), 0);
    struct kafka_describe_transactions_response_state state = described(peer, MR_STR("mover"));
    expect_str(state.transaction_state, MR_STR("Ongoing"));
    expect_int(state.producer_id, mover.id);
    expect_int(state.transaction_timeout_ms, 60000);
    expect_int(state.topics.count, 1);
    expect_int(state.topics.items[0].partitions.count, 2);
    expect_int(producers_of(peer, 1).active_producers.count, 0);
    struct kafka_describe_producers_response_partition told = producers_of(peer, 0);
    expect_int(told.active_producers.count, 1);
    expect_int(told.active_producers.items[0].producer_id, mover.id);
    expect_int(told.active_producers.items[0].current_txn_start_offset, 0);
    expect_int(producers_of(peer, 9).error_code, KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION);
    passes(&b, 5000);
    expect_str(listed(peer, MR_STR("Ongoing"), 4000, MR_STR("mo.*")), MR_STR("mover:Ongoing "));
    expect_str(listed(peer, MR_STR("Ongoing"), 6000, MR_STR_NULL), MR_STR(""));
    expect_str(listed(peer, MR_STR("Empty"), -1, MR_STR_NULL), MR_STR(""));
    expect_str(listed(peer, MR_STR("Strange"), -1, MR_STR_NULL), MR_STR("?Strange "));
    expect_str(listed(peer, MR_STR(""), -1, MR_STR("mov")), MR_STR(""));
    expect_str(listed(peer, MR_STR(""), -1, MR_STR("(")), MR_STR("error 128"));
    expect_int(marks(peer, &mover, (int16_t)(mover.epoch - 1)), KAFKA_ERROR_INVALID_PRODUCER_EPOCH);
    expect_int(marks(peer, &mover, mover.epoch), 0);
    expect_int(producers_of(peer, 0).active_producers.items[0].current_txn_start_offset, -1);
    expect_int(ends(&mover, true), 0); /* what was ended by hand stays so */
    expect_str(committed(&b, 0), MR_STR(""));
    stops(&b);
}

STORY("a transactional id that nobody uses for a week is forgotten, also by the next start")
{
    struct broker b;
    struct txn_peer mover;
    given_broker(t, &b);
    struct peer *peer = given_peer(&b);
    has_topic(peer, "money", 1);
    expect_int(begins(&b, &mover), 0);
    expect_int(adds(&mover, 0), 0);
    expect_int(puts_value(&mover, 0, "once"), 0);
    expect_int(ends(&mover, true), 0);
    const struct broker_txn *txn = mr_map_get(&b.server->txns.by_id, MR_STR("mover"));
    passes(&b, 2000);
    for (int i = 0; i < 5000 && txn->unsettled; i++) /* its marker is being synced */
        mr_loop_turn(b.loop, 1000);
    expect(!txn->unsettled);
    for (int day = 0; day < 6; day++) {
        mr_clock_pass(&b.clock, 24LL * 3600 * 1000000);
        passes(&b, 1000);
    }
    expect_str(listed(given_peer(&b), MR_STR(""), -1, MR_STR_NULL),
               MR_STR("mover:CompleteCommit "));
    mr_clock_pass(&b.clock, 26LL * 3600 * 1000000);
    passes(&b, 1000);
    expect_str(listed(given_peer(&b), MR_STR(""), -1, MR_STR_NULL), MR_STR(""));
    for (int i = 0; i < 50; i++)
        mr_loop_turn(b.loop, 1000);
    is_killed(&b);
    expect_int(b.server->txns.by_id.count, 0);
    expect_int(b.server->txns.by_producer.count, 0);
    expect_int(begins(&b, &mover), 0);
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
