/* kafka/retry_test.c: a broker of a few lines that fails on purpose: it drops connections before
 * and after it has done its work, moves away, and ends transactions late. Whatever it does, every
 * record is there once and in order, and no transaction is half there. */
#include "kafka/kafka.h"
#include "net/net.h"
#include "story.h"

#include <stdio.h>

enum { PARTITIONS = 3, PID = 77, PATIENCE_TURNS = 60000 };

enum mishap { FINE, DROP_BEFORE, DROP_AFTER, REFUSE };

struct written {
    int32_t partition;
    int number;
    bool in_transaction; /* of the open one: not committed yet */
};
struct fake {
    struct mr_loop *loop;
    struct net_listener *listener;
    struct mr_random random;
    int mishap_percent;
    int16_t epoch;
    int32_t expected[PARTITIONS]; /* next sequence */
    bool added[PARTITIONS];
    int busy;       /* answers CONCURRENT_TRANSACTIONS so often yet */
    bool ends_late; /* as Apache Kafka does */
    bool raises; /* transaction.version 2: an end raises the epoch, a record adds its partition */
    int ends;    /* EndTxn that came again counts */
    MR_ARRAY(struct written) log;
    int produces, mishaps, transactions;
    int creates, creates_wanted; /* the topic is there after so many; before, it is being deleted */
    int metadatas;
};

static enum mishap mishap(struct fake *fake)
{
    if ((int)mr_random_below(&fake->random, 100) >= fake->mishap_percent)
        return FINE;
    fake->mishaps++;
    return (enum mishap)(DROP_BEFORE + mr_random_below(&fake->random, 3));
}

/* ---- what the fake does with each request ---- */

static int16_t fake_write(struct fake *fake, int32_t partition, mr_str bytes, bool transactional)
{
    struct mr_arena arena = {0};
    struct kafka_batch batch;
    struct kafka_records records;
    struct kafka_record record;
    expect_ok(kafka_records_batch(bytes, &batch));
    expect_ok(kafka_records_check(&batch));
    expect_int(batch.producer_id, PID);
    expect_int(batch.producer_epoch, fake->epoch);
    if (transactional && fake->raises && fake->busy > 0) {
        fake->busy--;
        return KAFKA_ERROR_CONCURRENT_TRANSACTIONS;
    }
    /* no record goes ahead of that answer */
    expect(!transactional || fake->raises || fake->added[partition]);
    if (batch.base_sequence + batch.count == fake->expected[partition])
        return KAFKA_ERROR_DUPLICATE_SEQUENCE_NUMBER;
    if (batch.base_sequence + batch.count < fake->expected[partition])
        return KAFKA_ERROR_NONE; /* an older one of the five that a broker remembers */
    if (batch.base_sequence != fake->expected[partition])
        return KAFKA_ERROR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    fake->expected[partition] += batch.count;
    expect_ok(kafka_records_open(&batch, &arena, &records));
    while (kafka_records_read(&records, &record)) {
        int64_t number = 0;
        expect_ok(mr_str_to_i64(record.value, &number));
        *mr_array_add(&fake->log) = (struct written){partition, (int)number, transactional};
    }
    mr_arena_fini(&arena);
    return KAFKA_ERROR_NONE;
}

static void fake_produce(struct fake *fake, const struct kafka_produce_request *request,
                         struct kafka_produce_response *response, struct mr_arena *arena,
                         bool refuse)
{
    const struct kafka_produce_request_topic *topic = &request->topic_data.items[0];
    fake->produces++;
    expect_int(request->topic_data.count, 1);
    response->responses.items = mr_arena_new(arena, struct kafka_produce_response_topic);
    response->responses.count = 1;
    response->responses.items[0].name = topic->name;
    response->responses.items[0].partition_responses.items = mr_arena_array(
        arena, struct kafka_produce_response_partition, (size_t)topic->partition_data.count);
    response->responses.items[0].partition_responses.count = topic->partition_data.count;
    for (int32_t i = 0; i < topic->partition_data.count; i++) {
        struct kafka_produce_response_partition *answer =
            &response->responses.items[0].partition_responses.items[i];
        answer->index = topic->partition_data.items[i].index;
        answer->error_code = refuse ? KAFKA_ERROR_NOT_LEADER_OR_FOLLOWER
                                    : fake_write(fake, answer->index,
                                                 topic->partition_data.items[i].records.bytes,
                                                 request->transactional_id.data != NULL);
    }
}

static void fake_metadata(struct fake *fake, const struct kafka_metadata_request *request,
                          struct kafka_metadata_response *response, struct mr_arena *arena)
{
    bool known = fake->creates >= fake->creates_wanted;
    fake->metadatas++;
    response->brokers.items = mr_arena_new(arena, struct kafka_metadata_broker);
    response->brokers.items[0].node_id = 1;
    response->brokers.items[0].host = MR_STR("127.0.0.1");
    response->brokers.items[0].port = net_listener_port(fake->listener);
    response->brokers.count = 1;
    response->controller_id = 1;
    response->topics.items = mr_arena_new(arena, struct kafka_metadata_topic);
    response->topics.items[0].name = request->topics.count > 0 ? request->topics.items[0].name
                                                               : MR_STR("t");
    response->topics.count = 1;
    if (!known) {
        response->topics.items[0].error_code = KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION;
        return;
    }
    response->topics.items[0].partitions.items = mr_arena_array(
        arena, struct kafka_metadata_partition, PARTITIONS);
    response->topics.items[0].partitions.count = PARTITIONS;
    for (int32_t i = 0; i < PARTITIONS; i++) {
        response->topics.items[0].partitions.items[i].partition_index = i;
        response->topics.items[0].partitions.items[i].leader_id = 1;
    }
}

/* A topic that is being deleted exists, and yet nobody knows it. */
static void fake_create(struct fake *fake, struct kafka_create_topics_response *response,
                        struct mr_arena *arena)
{
    response->topics.items = mr_arena_new(arena, struct kafka_create_topics_response_topic);
    response->topics.count = 1;
    response->topics.items[0].name = MR_STR("t");
    response->topics.items[0].error_code = ++fake->creates < fake->creates_wanted
                                               ? KAFKA_ERROR_TOPIC_ALREADY_EXISTS
                                               : KAFKA_ERROR_NONE;
}

static void fake_versions(const struct fake *fake, struct kafka_api_versions_response *response,
                          struct mr_arena *arena)
{
    if (fake->raises) {
        response->finalized_features_epoch = 3;
        response->finalized_features.items = mr_arena_new(
            arena, struct kafka_api_versions_finalized_feature);
        response->finalized_features.count = 1;
        response->finalized_features.items[0] = (struct kafka_api_versions_finalized_feature){
            MR_STR("transaction.version"), .max_version_level = 2, .min_version_level = 0};
    }
    response->api_keys.items = mr_arena_array(arena, struct kafka_api_versions_api,
                                              kafka_api_count);
    response->api_keys.count = (int32_t)kafka_api_count;
    for (size_t i = 0; i < kafka_api_count; i++)
        response->api_keys.items[i] = (struct kafka_api_versions_api){
            kafka_api_rows[i].key, kafka_api_rows[i].oldest, kafka_api_rows[i].newest};
}

static void fake_add(struct fake *fake, const struct kafka_add_partitions_to_txn_request *request,
                     struct kafka_add_partitions_to_txn_response *response, struct mr_arena *arena)
{
    int32_t count = request->topics.items[0].partitions.count;
    expect(!fake->raises); /* a needless round trip */
    int16_t code = fake->busy > 0 ? KAFKA_ERROR_CONCURRENT_TRANSACTIONS : KAFKA_ERROR_NONE;
    fake->busy -= fake->busy > 0 ? 1 : 0;
    response->results_by_topic.items = mr_arena_new(
        arena, struct kafka_add_partitions_to_txn_response_topic);
    response->results_by_topic.count = 1;
    response->results_by_topic.items[0].name = MR_STR("t");
    response->results_by_topic.items[0].results_by_partition.items = mr_arena_array(
        arena, struct kafka_add_partitions_to_txn_response_partition, (size_t)count);
    response->results_by_topic.items[0].results_by_partition.count = count;
    for (int32_t i = 0; i < count; i++) {
        int32_t index = request->topics.items[0].partitions.items[i];
        response->results_by_topic.items[0].results_by_partition.items[i] =
            (struct kafka_add_partitions_to_txn_response_partition){index, code};
        fake->added[index] = fake->added[index] || code == KAFKA_ERROR_NONE;
    }
}

static void fake_end(struct fake *fake, bool committed)
{
    size_t kept = 0;
    for (size_t i = 0; i < fake->log.count; i++) {
        if (fake->log.items[i].in_transaction && !committed)
            continue;
        fake->log.items[kept] = fake->log.items[i];
        fake->log.items[kept++].in_transaction = false;
    }
    fake->log.count = kept;
    fake->transactions++;
    fake->busy = fake->ends_late ? 2 : 0;
    memset(fake->added, 0, sizeof fake->added);
}

/* EndTxn 5; one that comes again after a lost answer is told the same. */
static void fake_raise(struct fake *fake, const struct kafka_end_txn_request *request,
                       struct kafka_end_txn_response *response)
{
    fake->ends++;
    if (request->producer_epoch == fake->epoch) {
        fake_end(fake, request->committed);
        fake->epoch++;
        memset(fake->expected, 0, sizeof fake->expected);
    }
    expect_int(request->producer_epoch, fake->epoch - 1);
    response->producer_id = PID;
    response->producer_epoch = fake->epoch;
}

static void fake_init(struct fake *fake, struct kafka_init_producer_id_response *response)
{
    fake_end(fake, false);
    fake->epoch++;
    memset(fake->expected, 0, sizeof fake->expected);
    response->producer_id = PID;
    response->producer_epoch = fake->epoch;
}

static void fake_answer(struct fake *fake, int16_t key, const void *request, void *response,
                        struct mr_arena *arena, bool refuse)
{
    if (key == KAFKA_API_api_versions)
        fake_versions(fake, response, arena);
    else if (key == KAFKA_API_metadata)
        fake_metadata(fake, request, response, arena);
    else if (key == KAFKA_API_create_topics)
        fake_create(fake, response, arena);
    else if (key == KAFKA_API_init_producer_id)
        fake_init(fake, response);
    else if (key == KAFKA_API_produce)
        fake_produce(fake, request, response, arena, refuse);
    else if (key == KAFKA_API_add_partitions_to_txn)
        fake_add(fake, request, response, arena);
    else if (key == KAFKA_API_end_txn && fake->raises)
        fake_raise(fake, request, response);
    else if (key == KAFKA_API_end_txn)
        fake_end(fake, ((const struct kafka_end_txn_request *)request)->committed);
    else if (key == KAFKA_API_find_coordinator) {
        struct kafka_find_coordinator_response *found = response;
        found->coordinators.items = mr_arena_new(arena, struct kafka_find_coordinator_coordinator);
        found->coordinators.count = 1;
        found->coordinators.items[0].node_id = 1;
        found->coordinators.items[0].host = MR_STR("127.0.0.1");
        found->coordinators.items[0].port = net_listener_port(fake->listener);
    } else {
        story_fail(__FILE__, __LINE__, "the fake was asked for API %d", key);
    }
}

static bool may_fail(const struct fake *fake, int16_t key)
{
    return key == KAFKA_API_produce || key == KAFKA_API_add_partitions_to_txn ||
           (key == KAFKA_API_end_txn && fake->raises);
}

/* The version is what tells a broker how the transaction ends. */
static int version_of(const struct fake *fake, int16_t key)
{
    if (key == KAFKA_API_produce)
        return fake->raises ? 12 : 11;
    return fake->raises ? 5 : 4;
}

static mr_err on_message(struct net_conn *conn, struct mr_bytes *owner, mr_str frame)
{
    struct fake *fake = net_context(conn);
    struct mr_arena arena = {0};
    struct kafka_request_header header;
    mr_str body;
    (void)owner;
    expect_ok(kafka_api_read_header(mr_str_slice(frame, 4, frame.length), &arena, &header, &body));
    const struct kafka_api *api = kafka_api_find(header.request_api_key);
    void *request = mr_arena_alloc_zero(&arena, api->request()->bytes);
    void *response = mr_arena_alloc_zero(&arena, api->response()->bytes);
    expect_ok(kafka_api_read_request(body, &arena, api, header.request_api_version, request));
    wire_reset(api->response(), response);
    if (api->key == KAFKA_API_end_txn || api->key == KAFKA_API_produce)
        expect_int(header.request_api_version, version_of(fake, api->key));
    enum mishap what = may_fail(fake, api->key) ? mishap(fake) : FINE;
    if (what != DROP_BEFORE)
        fake_answer(fake, api->key, request, response, &arena, what == REFUSE);
    if (what == DROP_BEFORE || what == DROP_AFTER) {
        net_abort(conn);
    } else {
        struct wire_out out = kafka_api_out(net_out(conn), api, header.request_api_version);
        kafka_api_write_response(&out, api, header.correlation_id, response);
        wire_out_fini(&out);
    }
    mr_arena_fini(&arena);
    return MR_OK;
}

static mr_err on_frame(struct net_conn *conn, mr_str seen, size_t *total)
{
    (void)conn;
    return net_frame_be32(seen, MR_LIMIT_FRAME_BYTES, total);
}

static void on_closed(struct net_conn *conn, mr_err why)
{
    (void)conn;
    (void)why;
}

static const struct net_handler handler = {
    .opened = net_nothing,
    .frame = on_frame,
    .message = on_message,
    .drained = net_nothing,
    .closed = on_closed,
};

/* ---- the stage ---- */

struct stage {
    struct fake fake;
    struct kafka_client *client;
    struct kafka_producer *producer;
    struct kafka_producer_topic *topic;
    bool told;
    mr_err err;
};

static void tells(void *context, mr_err err)
{
    struct stage *stage = context;
    stage->told = true;
    stage->err = err;
}

static void tells_topic(void *context, mr_err err, struct kafka_producer_topic *topic)
{
    struct stage *stage = context;
    stage->topic = topic;
    tells(context, err);
}

static mr_err answer(struct stage *stage)
{
    for (int i = 0; i < PATIENCE_TURNS && !stage->told; i++)
        mr_loop_turn(stage->fake.loop, 1000);
    expect(stage->told);
    stage->told = false;
    return stage->err;
}

static void opens_at(struct stage *stage, uint64_t seed, int mishap_percent,
                     const char *transactional_id, bool raises)
{
    char address[64];
    memset(stage, 0, sizeof *stage);
    struct fake *fake = &stage->fake;
    fake->loop = mr_loop_new("story", NULL);
    fake->mishap_percent = mishap_percent;
    fake->raises = raises;
    mr_random_init(&fake->random, seed);
    expect_ok(net_listen(fake->loop, "127.0.0.1", 0, &handler, fake, &fake->listener));
    snprintf(address, sizeof address, "127.0.0.1:%u", net_listener_port(fake->listener));
    expect_ok(kafka_client_open(fake->loop, mr_str_from(address), MR_STR("story"), &stage->client));
    struct kafka_producer_options options = {
        .transactional_id = mr_str_from(transactional_id),
        .batch_bytes_max = 600,
        .context = stage,
    };
    expect_ok(kafka_producer_open(stage->client, &options, &stage->producer));
    kafka_producer_topic(stage->producer, MR_STR("t"), tells_topic, stage);
    expect_ok(answer(stage));
    if (transactional_id != NULL) {
        kafka_producer_init(stage->producer, tells, stage);
        expect_ok(answer(stage));
    }
}

static void opens(struct stage *stage, uint64_t seed, int mishap_percent,
                  const char *transactional_id)
{
    opens_at(stage, seed, mishap_percent, transactional_id, false);
}

static void closes(struct stage *stage)
{
    kafka_producer_close(stage->producer);
    kafka_client_close(stage->client);
    net_listener_close(stage->fake.listener);
    for (int i = 0; i < 5; i++)
        mr_loop_turn(stage->fake.loop, 1000);
    mr_loop_free(stage->fake.loop);
    mr_array_fini(&stage->fake.log);
}

static void appends(struct stage *stage, int number)
{
    char text[16];
    snprintf(text, sizeof text, "%d", number);
    expect_ok(kafka_producer_append(stage->topic, number % PARTITIONS, 1700000000000, MR_STR_NULL,
                                    mr_str_from(text), NULL, 0));
}

/* Each number up to `count` once, rising within its partition. */
static void expect_all(const struct fake *fake, int count)
{
    int last[PARTITIONS] = {-1, -1, -1};
    expect_int(fake->log.count, count);
    for (size_t i = 0; i < fake->log.count; i++) {
        const struct written *written = &fake->log.items[i];
        expect_int(written->partition, written->number % PARTITIONS);
        expect_int(written->number, last[written->partition] < 0
                                        ? written->partition
                                        : last[written->partition] + PARTITIONS);
        last[written->partition] = written->number;
    }
}

STORY("nothing is lost, doubled or out of order while a broker drops, refuses and comes back")
{
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct stage stage;
        int number = 0;
        opens(&stage, seed, 20, NULL);
        for (int burst = 0; burst < 60; burst++) {
            for (int i = 0; i < 90; i++)
                appends(&stage, number++);
            mr_loop_turn(stage.fake.loop, 300);
        }
        kafka_producer_flush(stage.producer, tells, &stage);
        expect_ok(answer(&stage));
        expect_all(&stage.fake, number);
        expect(stage.fake.mishaps > 3);
        closes(&stage);
    }
}

static void tells_transactions(bool raises)
{
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct stage stage;
        int number = 0;
        opens_at(&stage, seed, 15, "story", raises);
        stage.fake.ends_late = seed % 2 == 0;
        for (int turn = 0; turn < 25; turn++) {
            bool commit = turn % 4 != 3;
            int first = number;
            expect_ok(kafka_producer_begin(stage.producer));
            for (int i = 0; i < 60; i++) {
                appends(&stage, number++);
                if (i % 20 == 10)
                    mr_loop_turn(stage.fake.loop, 200);
            }
            if (commit)
                kafka_producer_commit(stage.producer, tells, &stage);
            else
                kafka_producer_abort(stage.producer, tells, &stage);
            expect_ok(answer(&stage));
            if (!commit)
                number = first;
            expect_int(stage.fake.log.count, number);
        }
        expect_all(&stage.fake, number);
        expect(stage.fake.mishaps > 3);
        closes(&stage);
    }
}

STORY("a transaction is there as a whole or not at all, whatever happens to its connections")
{
    tells_transactions(false);
}

STORY("the same where an end raises the epoch, and is itself asked again")
{
    tells_transactions(true);
}

static void expect_quiet(bool raises)
{
    struct stage stage;
    opens_at(&stage, 1, 0, "story", raises);
    for (int turn = 0; turn < 10; turn++) {
        expect_ok(kafka_producer_begin(stage.producer));
        for (int i = 0; i < 9; i++)
            appends(&stage, turn * 9 + i);
        kafka_producer_commit(stage.producer, tells, &stage);
        expect_ok(answer(&stage));
    }
    expect_int(stage.fake.produces, 10);
    expect_int(stage.fake.transactions, 11); /* and the one that init ended */
    expect_int(stage.fake.ends, raises ? 10 : 0);
    expect_all(&stage.fake, 90);
    closes(&stage);
}

STORY("a quiet broker gets one Produce a transaction")
{
    expect_quiet(false);
}

STORY("a quiet broker that raises epochs gets one Produce and one EndTxn")
{
    expect_quiet(true);
}

static void opens_client(struct stage *stage)
{
    char address[64];
    memset(stage, 0, sizeof *stage);
    struct fake *fake = &stage->fake;
    fake->loop = mr_loop_new("story", NULL);
    expect_ok(net_listen(fake->loop, "127.0.0.1", 0, &handler, fake, &fake->listener));
    snprintf(address, sizeof address, "127.0.0.1:%u", net_listener_port(fake->listener));
    expect_ok(kafka_client_open(fake->loop, mr_str_from(address), MR_STR("story"), &stage->client));
}

STORY("a topic that is still being deleted is made again once it is gone")
{
    struct stage stage;
    const struct kafka_new_topic topic = {.name = MR_STR("t"), .partitions = PARTITIONS};
    opens_client(&stage);
    stage.fake.creates_wanted = 3;
    kafka_admin_create_topics(stage.client, &topic, 1, tells, &stage);
    expect_ok(answer(&stage));
    expect_int(stage.fake.creates, 3);
    closes(&stage);
}

static int failed_count;

static void on_records(void *context, struct kafka_fetched *fetched)
{
    (void)context;
    kafka_fetched_free(fetched);
    story_fail(__FILE__, __LINE__, "records of a topic that is not there");
}

static void on_failed(void *context, mr_str topic, int32_t partition, mr_err err)
{
    (void)context;
    (void)partition;
    expect(topic.length == 1 && err == MR_NOT_FOUND);
    failed_count++;
}

STORY("a topic that is asked for while others are being looked up is looked up as well")
{
    struct stage stage;
    struct kafka_fetcher *fetcher = NULL;
    const struct kafka_fetcher_options options = {.failed = on_failed, .records = on_records};
    opens_client(&stage);
    stage.fake.creates_wanted = 1000; /* every topic is unknown */
    expect_ok(kafka_fetcher_open(stage.client, &options, &fetcher));
    kafka_fetcher_assign(fetcher, MR_STR("a"), 0, 0, NULL);
    mr_loop_turn(stage.fake.loop, 0); /* the question about `a` is on its way */
    kafka_fetcher_assign(fetcher, MR_STR("b"), 0, 0, NULL);
    for (int i = 0; i < PATIENCE_TURNS && failed_count < 2; i++)
        mr_loop_turn(stage.fake.loop, 1000);
    expect_int(failed_count, 2);
    kafka_fetcher_close(fetcher);
    closes(&stage);
}
