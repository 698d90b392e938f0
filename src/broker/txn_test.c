/* broker/txn_test.c: transactions over sockets, on a test's clock, with kills. */
#include "broker_peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct txn_peer {
    struct peer *peer;
    int64_t id;
    int16_t epoch;
    bool raises; /* speaks as KIP-890 has it */
    int32_t sequence[4];
};

static int16_t begins(struct broker *b, struct txn_peer *txn)
{
    struct kafka_init_producer_id_request request = {.transactional_id = MR_STR("mover"),
                                                     .transaction_timeout_ms = 60000,
                                                     .producer_id = -1,
                                                     .producer_epoch = -1};
    struct kafka_init_producer_id_response response;

    *txn = (struct txn_peer){.peer = given_peer(b), .raises = txn->raises};
    calls(txn->peer, init_producer_id, 3, &request, &response);
    txn->id = response.producer_id;
    txn->epoch = response.producer_epoch;
    return response.error_code;
}

static int16_t adds(struct txn_peer *txn, int32_t partition)
{
    struct kafka_add_partitions_to_txn_request_topic topic = {.name = MR_STR("money"),
                                                              .partitions = {&partition, 1}};
    struct kafka_add_partitions_to_txn_request request = {.transactional_id = MR_STR("mover"),
                                                          .producer_id = txn->id,
                                                          .producer_epoch = txn->epoch,
                                                          .topics = {&topic, 1}};
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
    int16_t version = txn->raises ? 12 : 7;
    struct kafka_builder builder;
    struct mr_buf buf = {0};

    kafka_records_begin(&builder, &buf);
    kafka_records_append(&builder, 1700000000000, MR_STR("k"), mr_str_from(value), NULL, 0);
    expect_ok(kafka_records_finish(&builder, KAFKA_CODEC_NONE, 0, txn->id, txn->epoch,
                                   txn->sequence[partition]++, true));
    row.records.bytes = mr_buf_as_str(&buf);
    calls(txn->peer, produce, version, &request, &response);
    mr_buf_fini(&buf);
    return response.responses.items[0].partition_responses.items[0].error_code;
}

static int16_t ends(struct txn_peer *txn, bool commit)
{
    struct kafka_end_txn_request request = {MR_STR("mover"), txn->id, txn->epoch, commit};
    struct kafka_end_txn_response response;
    int16_t version = txn->raises ? 5 : 1;

    calls(txn->peer, end_txn, version, &request, &response);
    if (txn->raises && response.error_code == 0) {
        txn->id = response.producer_id;
        txn->epoch = response.producer_epoch;
        memset(txn->sequence, 0, sizeof(txn->sequence));
    }
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
    struct txn_peer mover = {0};
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
    struct txn_peer mover = {0};
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

/* Until the coordinator has time for it. */
static int16_t ends_again(struct broker *b, struct txn_peer *txn)
{
    int16_t code = ends(txn, true);

    for (int i = 0; i < 100 && code == KAFKA_ERROR_CONCURRENT_TRANSACTIONS; i++) {
        passes(b, 10);
        code = ends(txn, true);
    }
    return code;
}

/* A transaction over two partitions, whose end runs to its n-th turn. Whether its producer was told. */
static bool is_ending(struct story *t, struct broker *b, struct txn_peer *mover, int turns)
{
    int16_t version = mover->raises ? 5 : 1;
    struct kafka_end_txn_request request;

    given_broker(t, b);
    has_topic(given_peer(b), "money", 2);
    expect_int(begins(b, mover), 0);
    for (int i = 0; i < 2; i++) {
        if (!mover->raises)
            expect_int(adds(mover, i), 0);
        expect_int(puts_value(mover, i, "x"), 0);
    }
    request = (struct kafka_end_txn_request){MR_STR("mover"), mover->id, mover->epoch, true};
    const struct kafka_api *api = kafka_api_find(KAFKA_API_end_txn);
    struct mr_buf buf = {0};
    struct wire_out out = kafka_api_out(&buf, api, version);
    kafka_api_write_request(&out, api, 99, MR_STR("story"), &request);
    expect(write(mover->peer->fd, buf.data, buf.length) == (ssize_t)buf.length);
    for (int i = 0; i < turns; i++)
        mr_loop_turn(b->loop, i % 2 == 0 ? 0 : 300);
    struct pollfd ready = {.fd = mover->peer->fd, .events = POLLIN};
    return poll(&ready, 1, 0) == 1;
}

static void forgets(struct story *t)
{
    char command[400];
    snprintf(command, sizeof(command), "rm -rf %s/broker*", t->folder);
    expect(system(command) == 0);
}

/* Runs the end of a transaction to its n-th turn, kills, starts again: all or nothing. */
static bool is_killed_while_ending(struct story *t, int turns, bool raises)
{
    struct broker b;
    struct txn_peer mover = {.raises = raises};
    mr_str first, second;

    bool told = is_ending(t, &b, &mover, turns);
    is_killed(&b);
    mover.peer = given_peer(&b);
    if (raises && turns % 2 == 1) /* the one that did not hear the answer asks again */
        expect_int(ends_again(&b, &mover), 0);
    else
        expect_int(begins(&b, &mover), 0); /* ends what was open */
    first = committed(&b, 0);
    second = committed(&b, 1);
    expect_str(first, second);
    if (told || (raises && turns % 2 == 1))
        expect_str(first, MR_STR("x "));
    if (!raises)
        expect_int(adds(&mover, 0), 0);
    expect_int(puts_value(&mover, 0, "next"), 0);
    expect_int(ends(&mover, true), 0);
    expect(mr_str_ends(committed(&b, 0), MR_STR("next ")));
    stops(&b);
    forgets(t);
    return told;
}

STORY("a kill at any moment of a commit leaves all of it or nothing")
{
    int told = 0;
    for (int turns = 0; turns < 24; turns++)
        told += is_killed_while_ending(t, turns, false);
    expect(told > 0 && told < 24);
    told = 0;
    for (int turns = 0; turns < 24; turns++)
        told += is_killed_while_ending(t, turns, true);
    expect(told > 0 && told < 24);
}

/* The same, but the log is put back from a backup: its producer may have got further, and is locked out. */
static bool is_put_back_while_ending(struct story *t, int turns, bool raises)
{
    struct broker b;
    struct txn_peer mover = {.raises = raises}, late;
    char command[700];
    mr_str first;

    bool told = is_ending(t, &b, &mover, turns);
    snprintf(command, sizeof(command), "touch %s/restored", b.folder);
    expect(system(command) == 0);
    is_killed(&b);
    first = committed(&b, 0);
    expect_str(first, committed(&b, 1));
    if (told)
        expect_str(first, MR_STR("x "));
    for (int16_t epoch = mover.epoch; epoch < mover.epoch + 3; epoch++) { /* each end raised it */
        late = mover;
        late.epoch = epoch;
        late.peer = given_peer(&b);
        if (!raises)
            expect(adds(&late, 0) != 0);
        expect(puts_value(&late, 0, "late") != 0);
        expect(ends(&late, true) != 0);
    }
    expect_str(committed(&b, 0), first);
    late = (struct txn_peer){.raises = raises};
    expect_int(begins(&b, &late), 0);
    expect(late.id >= mover.id + 1000000 && late.epoch == 0); /* nobody ever had it */
    for (int i = 0; i < 100 && b.server->restored_clearing; i++)
        mr_loop_turn(b.loop, 1000);
    is_killed(&b); /* it is as any other from here on */
    late.peer = given_peer(&b);
    if (!raises)
        expect_int(adds(&late, 0), 0);
    expect_int(puts_value(&late, 0, "next"), 0);
    expect_int(ends(&late, true), 0);
    expect(mr_str_ends(committed(&b, 0), MR_STR("next ")));
    stops(&b);
    forgets(t);
    return told;
}

STORY("a log that was put back from a backup ends what was decided, and lets nobody go on")
{
    int told = 0;
    for (int turns = 0; turns < 12; turns++)
        told += is_put_back_while_ending(t, turns, turns % 4 < 2);
    expect(told > 0 && told < 12);
}

STORY("a transaction that the coordinator forgot is aborted at the start, and its producer locked "
      "out")
{
    struct broker b;
    struct txn_peer mover = {0};
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
    struct txn_peer mover = {0};
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
    struct txn_peer mover = {0}, next;
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
    struct txn_peer mover = {0};
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
    struct txn_peer mover = {0};
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

STORY("how long a transactional id is remembered is a setting")
{
    struct broker b;
    struct txn_peer mover = {0};
    given_broker_with(t, &b,
                      "transactional.id.expiration.ms=60000\n"
                      "transaction.remove.expired.transaction.cleanup.interval.ms=1000\n"
                      "transaction.max.timeout.ms=5000\n");
    expect_int(begins(&b, &mover), KAFKA_ERROR_INVALID_TRANSACTION_TIMEOUT);
    stops(&b);
    b.settings = "transactional.id.expiration.ms=60000\n"
                 "transaction.remove.expired.transaction.cleanup.interval.ms=1000\n";
    starts(&b);
    expect_int(begins(&b, &mover), 0);
    passes(&b, 50000);
    expect_str(listed(given_peer(&b), MR_STR(""), -1, MR_STR_NULL), MR_STR("mover:Empty "));
    passes(&b, 12000);
    expect_str(listed(given_peer(&b), MR_STR(""), -1, MR_STR_NULL), MR_STR(""));
    stops(&b);
}

/* ---- ends that raise the epoch (KIP-890) ---- */

STORY("each end gives the next epoch, and one that was not heard is told again")
{
    struct broker b;
    struct txn_peer mover = {.raises = true}, deaf;
    given_broker(t, &b);
    has_topic(given_peer(&b), "money", 2);
    expect_int(begins(&b, &mover), 0);
    for (int i = 0; i < 4; i++) {
        expect_int(puts_value(&mover, 0, i % 2 == 0 ? "kept" : "cut"), 0);
        expect_int(puts_value(&mover, 1, "beside"), 0);
        deaf = mover;
        expect_int(ends(&mover, i % 2 == 0), 0);
        expect_int(mover.epoch, deaf.epoch + 1);
        expect_int(mover.id, deaf.id);
        expect_int(puts_value(&deaf, 0, "late"), KAFKA_ERROR_INVALID_PRODUCER_EPOCH);
        struct txn_peer again = deaf;
        expect_int(ends(&again, i % 2 != 0), KAFKA_ERROR_INVALID_TXN_STATE);
        expect_int(ends(&again, i % 2 == 0), 0);
        expect_int(again.epoch, mover.epoch);
    }
    expect_str(committed(&b, 0), MR_STR("kept kept "));
    expect_int(puts_value(&mover, 0, "open"), 0);
    expect_int(ends(&deaf, false),
               KAFKA_ERROR_PRODUCER_FENCED); /* no end of the one before ends it */
    expect_int(ends(&mover, true), 0);
    expect_str(committed(&b, 0), MR_STR("kept kept open "));
    stops(&b);
}

STORY("an end of nothing is an abort with the next epoch, and no commit")
{
    struct broker b;
    struct txn_peer mover = {.raises = true};
    given_broker(t, &b);
    has_topic(given_peer(&b), "money", 1);
    expect_int(begins(&b, &mover), 0);
    expect_int(ends(&mover, true), KAFKA_ERROR_INVALID_TXN_STATE);
    expect_int(ends(&mover, false), 0);
    expect_int(mover.epoch, 1);
    expect_int(ends(&mover, false), 0);
    expect_int(mover.epoch, 2);
    expect_int(puts_value(&mover, 0, "kept"), 0);
    expect_int(ends(&mover, true), 0);
    expect_int(ends(&mover, true), KAFKA_ERROR_INVALID_TXN_STATE);
    expect_int(ends(&mover, false), 0);
    expect_int(mover.epoch, 4);
    expect_str(committed(&b, 0), MR_STR("kept "));
    stops(&b);
}

STORY("the last epoch is followed by a new producer id, also over a kill")
{
    struct broker b;
    struct txn_peer mover = {.raises = true}, deaf;
    given_broker(t, &b);
    has_topic(given_peer(&b), "money", 1);
    expect_int(begins(&b, &mover), 0);
    struct broker_txn *txn = mr_map_get(&b.server->txns.by_id, MR_STR("mover"));
    txn->epoch = mover.epoch = INT16_MAX - 1;
    expect_int(puts_value(&mover, 0, "last"), 0);
    deaf = mover;
    expect_int(ends(&mover, true), 0);
    expect(mover.id != deaf.id);
    expect_int(mover.epoch, 0);
    struct txn_peer again = deaf;
    expect_int(ends(&again, true), 0);
    expect_int(again.id, mover.id);
    expect_int(puts_value(&deaf, 0, "late"), KAFKA_ERROR_INVALID_PRODUCER_ID_MAPPING);
    is_killed(&b);
    mover.peer = deaf.peer = given_peer(&b);
    again = deaf;
    expect_int(ends(&again, true), 0);
    expect_int(again.id, mover.id);
    expect_int(puts_value(&mover, 0, "first"), 0);
    expect_int(ends(&mover, true), 0);
    expect_int(mover.epoch, 1);
    expect_str(committed(&b, 0), MR_STR("last first "));
    stops(&b);
}

STORY("a producer whose transaction timed out aborts it and goes on with the epoch that it is told")
{
    struct broker b;
    struct txn_peer mover = {.raises = true};
    given_broker(t, &b);
    has_topic(given_peer(&b), "money", 1);
    expect_int(begins(&b, &mover), 0);
    expect_int(puts_value(&mover, 0, "slow"), 0);
    passes(&b, 61000);
    for (int i = 0; i < 50; i++)
        mr_loop_turn(b.loop, 1000);
    expect_int(puts_value(&mover, 0, "late"), KAFKA_ERROR_INVALID_PRODUCER_EPOCH);
    expect_int(ends(&mover, true), KAFKA_ERROR_INVALID_TXN_STATE);
    expect_int(ends(&mover, false), 0);
    expect_int(puts_value(&mover, 0, "again"), 0);
    expect_int(ends(&mover, true), 0);
    expect_str(committed(&b, 0), MR_STR("again "));
    stops(&b);
}

/* InitProducerId of a producer that has an id and an epoch (KIP-360). */
static int16_t begins_again(struct txn_peer *txn)
{
    struct kafka_init_producer_id_request request = {.transactional_id = MR_STR("mover"),
                                                     .transaction_timeout_ms = 60000,
                                                     .producer_id = txn->id,
                                                     .producer_epoch = txn->epoch};
    struct kafka_init_producer_id_response response;

    calls(txn->peer, init_producer_id, 4, &request, &response);
    if (response.error_code == 0) {
        txn->id = response.producer_id;
        txn->epoch = response.producer_epoch;
        memset(txn->sequence, 0, sizeof(txn->sequence));
    }
    return response.error_code;
}

STORY("a producer that did not hear its new epoch asks again and gets the same one")
{
    struct broker b;
    struct txn_peer mover = {0}, deaf, other = {0};
    given_broker(t, &b);
    has_topic(given_peer(&b), "money", 1);
    expect_int(begins(&b, &mover), 0);
    deaf = mover;
    expect_int(begins_again(&mover), 0);
    expect_int(mover.epoch, deaf.epoch + 1);
    struct txn_peer again = deaf;
    expect_int(begins_again(&again), 0);
    expect_int(again.epoch, mover.epoch);
    expect_int(adds(&mover, 0), 0);
    expect_int(puts_value(&mover, 0, "open"), 0);
    again = deaf; /* somebody late: the epoch is in use now */
    expect_int(begins_again(&again), KAFKA_ERROR_PRODUCER_FENCED);
    expect_int(ends(&mover, true), 0);
    deaf = mover;
    expect_int(begins(&b, &other), 0);
    expect_int(begins_again(&deaf), KAFKA_ERROR_PRODUCER_FENCED); /* it was another one's wish */
    expect_str(committed(&b, 0), MR_STR("open "));
    stops(&b);
}

static int16_t asks_whether_added(struct txn_peer *txn, int32_t partition, bool verify_only)
{
    struct kafka_add_partitions_to_txn_request_topic topic = {.name = MR_STR("money"),
                                                              .partitions = {&partition, 1}};
    struct kafka_add_partitions_to_txn_transaction row = {
        MR_STR("mover"), txn->id, txn->epoch, verify_only, {&topic, 1}};
    struct kafka_add_partitions_to_txn_request request = {.transactions = {&row, 1}};
    struct kafka_add_partitions_to_txn_response response;

    calls(txn->peer, add_partitions_to_txn, 5, &request, &response);
    expect_int(response.error_code, 0);
    expect_str(response.results_by_transaction.items[0].transactional_id, MR_STR("mover"));
    return response.results_by_transaction.items[0]
        .topic_results.items[0]
        .results_by_partition.items[0]
        .partition_error_code;
}

static int16_t commits_offset(struct txn_peer *txn, int16_t version)
{
    struct kafka_txn_offset_commit_request_partition row = {
        .partition_index = 0, .committed_offset = 7, .committed_leader_epoch = -1};
    struct kafka_txn_offset_commit_request_topic topic = {MR_STR("money"), {&row, 1}};
    struct kafka_txn_offset_commit_request request = {.transactional_id = MR_STR("mover"),
                                                      .group_id = MR_STR("till"),
                                                      .producer_id = txn->id,
                                                      .producer_epoch = txn->epoch,
                                                      .generation_id = -1,
                                                      .member_id = MR_STR(""),
                                                      .topics = {&topic, 1}};
    struct kafka_txn_offset_commit_response response;

    calls(txn->peer, txn_offset_commit, version, &request, &response);
    return response.topics.items[0].partitions.items[0].error_code;
}

static int64_t offset_of_till(struct broker *b)
{
    int32_t partition = 0;
    struct kafka_offset_fetch_request_topic topic = {.name = MR_STR("money"),
                                                     .partition_indexes = {&partition, 1}};
    struct kafka_offset_fetch_request request = {.group_id = MR_STR("till"), .topics = {&topic, 1}};
    struct kafka_offset_fetch_response response;
    struct peer *peer = given_peer(b);

    calls(peer, offset_fetch, 5, &request, &response);
    return response.topics.items[0].partitions.items[0].committed_offset;
}

STORY("what joins a transaction by itself, and what has to be added before")
{
    struct broker b;
    struct txn_peer mover = {.raises = true}, thief;
    given_broker(t, &b);
    has_topic(given_peer(&b), "money", 2);
    expect_int(begins(&b, &mover), 0);
    expect_int(commits_offset(&mover, 3), KAFKA_ERROR_INVALID_TXN_STATE);
    expect_int(commits_offset(&mover, 4), KAFKA_ERROR_TRANSACTION_ABORTABLE);
    expect_int(asks_whether_added(&mover, 0, true), KAFKA_ERROR_TRANSACTION_ABORTABLE);
    mover.sequence[0] = 5; /* what came before is not there */
    expect_int(puts_value(&mover, 0, "gap"), KAFKA_ERROR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    mover.sequence[0] = 0;
    expect_int(puts_value(&mover, 0, "kept"), 0);
    expect_int(asks_whether_added(&mover, 0, true), 0);
    expect_int(asks_whether_added(&mover, 1, true), KAFKA_ERROR_TRANSACTION_ABORTABLE);
    expect_int(asks_whether_added(&mover, 1, false), 0);
    expect_int(asks_whether_added(&mover, 1, true), 0);
    expect_int(commits_offset(&mover, 5), 0);
    expect_int(offset_of_till(&b), -1);
    expect_int(ends(&mover, true), 0);
    expect_int(offset_of_till(&b), 7);
    thief = mover;
    thief.id++;
    expect_int(puts_value(&thief, 0, "theirs"), KAFKA_ERROR_INVALID_PRODUCER_ID_MAPPING);
    expect_str(committed(&b, 0), MR_STR("kept "));
    stops(&b);
}
