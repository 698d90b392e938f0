/* kafka/client_test.c: the client's stories, told to a real broker: PEER=host:port. Without one
 * they say so and pass. Topics are named after the story's time, so the same broker may hear them
 * again. */
#include "kafka/kafka.h"
#include "story.h"

#include <stdio.h>
#include <stdlib.h>

enum { PATIENCE_MS = 60000 };

/* ---- the stage ---- */

struct stage {
    struct mr_loop *loop;
    struct kafka_client *client;
    char topic[64];
    /* the latest answer */
    bool told;
    mr_err err;
    struct kafka_producer_topic *producer_topic;
    int32_t partitions;
    struct kafka_offset offsets[16];
    size_t offset_count;
    /* what was read */
    struct mr_arena arena;
    MR_ARRAY(struct kafka_record) records;
    MR_ARRAY(struct kafka_fetched *) fetched;
    size_t batch_bytes_max;
    bool keep; /* fetched sets are not freed */
    int32_t room_calls;
};

static bool has_peer(void)
{
    if (getenv("PEER") != NULL)
        return true;
    fprintf(stderr, "    skipped: PEER=host:port names no broker\n");
    return false;
}

static void waits(struct stage *stage)
{
    for (int i = 0; i < PATIENCE_MS / 10 && !stage->told; i++)
        mr_loop_turn(stage->loop, 10000);
    if (!stage->told)
        story_fail(__FILE__, __LINE__, "no answer in %d ms", PATIENCE_MS);
    stage->told = false;
}

static void tells(void *context, mr_err err)
{
    struct stage *stage = context;
    stage->told = true;
    stage->err = err;
    if (err != MR_OK)
        fprintf(stderr, "    told: %s: %s\n", mr_err_name(err), mr_why());
}

static mr_err answer(struct stage *stage)
{
    waits(stage);
    return stage->err;
}

static void makes_topic(struct stage *stage, const char *word, int32_t partitions)
{
    struct kafka_header configs[] = {{MR_STR("retention.ms"), MR_STR("-1")}};
    snprintf(stage->topic, sizeof stage->topic, "story-%s-%lld", word,
             (long long)mr_clock_wall_us(mr_loop_clock(stage->loop)));
    struct kafka_new_topic topic = {mr_str_from(stage->topic), partitions, 1, configs, 1};
    kafka_admin_create_topics(stage->client, &topic, 1, tells, stage);
    expect_ok(answer(stage));
}

static void opens(struct stage *stage)
{
    memset(stage, 0, sizeof *stage);
    stage->loop = mr_loop_new("story", NULL);
    expect_ok(kafka_client_open(stage->loop, mr_str_from(getenv("PEER")), MR_STR("story"),
                                &stage->client));
}

static void closes(struct stage *stage)
{
    kafka_client_close(stage->client);
    for (int i = 0; i < 5; i++)
        mr_loop_turn(stage->loop, 1000);
    mr_loop_free(stage->loop);
    mr_array_fini(&stage->records);
    mr_array_fini(&stage->fetched);
    mr_arena_fini(&stage->arena);
}

/* ---- producing ---- */

static void tells_topic(void *context, mr_err err, struct kafka_producer_topic *topic)
{
    struct stage *stage = context;
    stage->producer_topic = topic;
    tells(context, err);
}

static void tells_room(void *context)
{
    struct stage *stage = context;
    stage->room_calls++;
}

static struct kafka_producer *opens_producer(struct stage *stage, const char *transactional_id,
                                             enum kafka_codec codec)
{
    struct kafka_producer *producer = NULL;
    struct kafka_producer_options options = {
        .transactional_id = mr_str_from(transactional_id),
        .codec = codec,
        .batch_bytes_max = stage->batch_bytes_max,
        .room = tells_room,
        .failed = tells,
        .context = stage,
    };
    expect_ok(kafka_producer_open(stage->client, &options, &producer));
    if (transactional_id != NULL) {
        kafka_producer_init(producer, tells, stage);
        expect_ok(answer(stage));
    }
    kafka_producer_topic(producer, mr_str_from(stage->topic), tells_topic, stage);
    expect_ok(answer(stage));
    return producer;
}

static mr_err appends(struct stage *stage, int32_t partition, const char *format, int number)
{
    char text[128];
    struct kafka_header header = {MR_STR("mr.op"), MR_STR("c")};
    snprintf(text, sizeof text, format, number);
    return kafka_producer_append(stage->producer_topic, partition, 1700000000000 + number,
                                 mr_str_from(text), mr_str_from(text), &header, 1);
}

static mr_err flushes(struct stage *stage, struct kafka_producer *producer)
{
    kafka_producer_flush(producer, tells, stage);
    return answer(stage);
}

static mr_err commits(struct stage *stage, struct kafka_producer *producer)
{
    kafka_producer_commit(producer, tells, stage);
    return answer(stage);
}

static mr_err aborts(struct stage *stage, struct kafka_producer *producer)
{
    kafka_producer_abort(producer, tells, stage);
    return answer(stage);
}

/* ---- reading ---- */

static void keeps_record(void *context, int32_t partition, const struct kafka_record *record)
{
    struct stage *stage = context;
    struct kafka_record copy = *record;
    (void)partition;
    copy.key = record->key.data == NULL ? MR_STR_NULL : mr_arena_str(&stage->arena, record->key);
    copy.value = record->value.data == NULL ? MR_STR_NULL
                                            : mr_arena_str(&stage->arena, record->value);
    copy.headers = mr_arena_str(&stage->arena, record->headers);
    *mr_array_add(&stage->records) = copy;
}

static void passes(struct stage *stage, int ms)
{
    int64_t end = mr_loop_now_us(stage->loop) + ms * 1000LL;
    while (mr_loop_now_us(stage->loop) < end)
        mr_loop_turn(stage->loop, 10000);
}

/* A commit is answered before its marker stands in every partition: some turns may be needed. */
static void reads_all(struct stage *stage, size_t count)
{
    for (int turn = 0; turn < 50; turn++) {
        stage->records.count = 0;
        kafka_read_all(stage->client, mr_str_from(stage->topic), keeps_record, tells, stage);
        expect_ok(answer(stage));
        if (stage->records.count >= count)
            break;
        passes(stage, 50);
    }
    expect_int(stage->records.count, count);
}

static void keeps_fetched(void *context, struct kafka_fetched *fetched)
{
    struct stage *stage = context;
    struct kafka_reader reader;
    struct kafka_record record;
    struct mr_arena arena = {0};
    kafka_reader_init(&reader, fetched, &arena);
    while (kafka_reader_next(&reader, &record))
        keeps_record(stage, fetched->partition, &record);
    expect_int(reader.err, MR_OK);
    expect_int(reader.next, fetched->next);
    kafka_reader_fini(&reader);
    mr_arena_fini(&arena);
    if (stage->keep)
        *mr_array_add(&stage->fetched) = fetched;
    else
        kafka_fetched_free(fetched);
}

static void tells_failed(void *context, mr_str topic, int32_t partition, mr_err err)
{
    (void)topic;
    (void)partition;
    tells(context, err);
}

static struct kafka_fetcher *opens_fetcher(struct stage *stage, bool committed, size_t prefetch)
{
    struct kafka_fetcher *fetcher = NULL;
    struct kafka_fetcher_options options = {
        .read_committed = committed,
        .partition_bytes_max = 65536,
        .prefetch_bytes_max = prefetch,
        .records = keeps_fetched,
        .failed = tells_failed,
        .context = stage,
    };
    expect_ok(kafka_fetcher_open(stage->client, &options, &fetcher));
    return fetcher;
}

static bool passes_until(struct stage *stage, size_t records, int ms)
{
    for (int i = 0; i < ms / 10 && stage->records.count < records; i++)
        mr_loop_turn(stage->loop, 10000);
    return stage->records.count >= records;
}

static void keeps_offsets(void *context, mr_err err, const struct kafka_offset *offsets,
                          size_t count)
{
    struct stage *stage = context;
    stage->offset_count = count;
    for (size_t i = 0; i < count && i < mr_count_of(stage->offsets); i++)
        stage->offsets[i] = offsets[i];
    tells(context, err);
}

static void keeps_partitions(void *context, mr_err err, int32_t partitions)
{
    struct stage *stage = context;
    stage->partitions = partitions;
    tells(context, err);
}

/* ---- stories ---- */

STORY("a topic is made once, known, described and deleted")
{
    struct stage stage;
    if (!has_peer())
        return;
    opens(&stage);
    makes_topic(&stage, "admin", 3);
    struct kafka_new_topic again = {mr_str_from(stage.topic), 3, 1, NULL, 0};
    kafka_admin_create_topics(stage.client, &again, 1, tells, &stage);
    expect_ok(answer(&stage));
    kafka_admin_partitions(stage.client, mr_str_from(stage.topic), keeps_partitions, &stage);
    expect_ok(answer(&stage));
    expect_int(stage.partitions, 3);
    kafka_admin_delete_topic(stage.client, mr_str_from(stage.topic), tells, &stage);
    expect_ok(answer(&stage));
    passes(&stage, 500);
    kafka_admin_partitions(stage.client, mr_str_from(stage.topic), keeps_partitions, &stage);
    expect_err(answer(&stage), MR_NOT_FOUND);
    kafka_admin_delete_topic(stage.client, mr_str_from(stage.topic), tells, &stage);
    expect_err(answer(&stage), MR_NOT_FOUND);
    closes(&stage);
}

static void keeps_configs(void *context, mr_err err,
                          const struct kafka_describe_configs_result *configs)
{
    struct stage *stage = context;
    for (int32_t i = 0; err == MR_OK && i < configs->configs.count; i++) {
        if (mr_str_equal(configs->configs.items[i].name, MR_STR("retention.ms")))
            expect_str(configs->configs.items[i].value, MR_STR("-1"));
    }
    stage->partitions = err == MR_OK ? configs->configs.count : 0;
    tells(context, err);
}

static void keeps_topics(void *context, mr_err err, const struct kafka_metadata_response *metadata)
{
    struct stage *stage = context;
    stage->partitions = 0;
    for (int32_t i = 0; err == MR_OK && i < metadata->topics.count; i++) {
        if (mr_str_equal(metadata->topics.items[i].name, mr_str_from(stage->topic)))
            stage->partitions = metadata->topics.items[i].partitions.count;
    }
    tells(context, err);
}

STORY("settings and the list of topics are told")
{
    struct stage stage;
    if (!has_peer())
        return;
    opens(&stage);
    makes_topic(&stage, "configs", 2);
    kafka_admin_configs(stage.client, mr_str_from(stage.topic), keeps_configs, &stage);
    expect_ok(answer(&stage));
    expect(stage.partitions > 5);
    kafka_admin_topics(stage.client, keeps_topics, &stage);
    expect_ok(answer(&stage));
    expect_int(stage.partitions, 2);
    closes(&stage);
}

STORY("records of every codec come back whole and in order")
{
    struct stage stage;
    if (!has_peer())
        return;
    opens(&stage);
    for (int codec = KAFKA_CODEC_NONE; codec <= KAFKA_CODEC_ZSTD; codec++) {
        makes_topic(&stage, kafka_records_codec_name(codec), 1);
        struct kafka_producer *producer = opens_producer(&stage, NULL, (enum kafka_codec)codec);
        for (int i = 0; i < 1000; i++)
            expect_ok(appends(&stage, 0, "record number %d of a story that is told again", i));
        expect_ok(flushes(&stage, producer));
        expect_ok(kafka_producer_append(stage.producer_topic, 0, 1700000000000, MR_STR_NULL,
                                        MR_STR_NULL, NULL, 0));
        expect_ok(flushes(&stage, producer));
        kafka_producer_close(producer);
        reads_all(&stage, 1001);
        for (int i = 0; i < 1000; i++) {
            char text[128];
            struct kafka_record *record = &stage.records.items[i];
            snprintf(text, sizeof text, "record number %d of a story that is told again", i);
            expect_int(record->offset, i);
            expect_int(record->timestamp, 1700000000000 + i);
            expect_str(record->value, mr_str_from(text));
            expect_str(kafka_records_header_find(record, MR_STR("mr.op")), MR_STR("c"));
        }
        expect(stage.records.items[1000].key.data == NULL &&
               stage.records.items[1000].value.data == NULL);
    }
    closes(&stage);
}

STORY("records go to the partition of their key, and many go fast")
{
    struct stage stage;
    enum { MANY = 200000 };
    if (!has_peer())
        return;
    opens(&stage);
    makes_topic(&stage, "many", 4);
    struct kafka_producer *producer = opens_producer(&stage, NULL, KAFKA_CODEC_NONE);
    expect_int(kafka_producer_partitions(stage.producer_topic), 4);
    for (int i = 0; i < MANY; i++) {
        while (!kafka_producer_has_room(producer))
            mr_loop_turn(stage.loop, 10000);
        expect_ok(appends(&stage, -1, "key %d", i));
        if (i % 1000 == 0)
            mr_loop_turn(stage.loop, 0);
    }
    expect_ok(flushes(&stage, producer));
    kafka_producer_close(producer);
    reads_all(&stage, MANY);
    bool *seen = mr_new_array(bool, MANY);
    for (int i = 0; i < MANY; i++) {
        int64_t number = stage.records.items[i].timestamp - 1700000000000;
        expect(number >= 0 && number < MANY && !seen[number]);
        seen[number] = true;
    }
    mr_free(seen);
    closes(&stage);
}

STORY("a committed transaction is read, an aborted one is not, and offsets go with it")
{
    struct stage stage;
    if (!has_peer())
        return;
    opens(&stage);
    makes_topic(&stage, "txn", 2);
    struct kafka_producer *producer = opens_producer(&stage, stage.topic, KAFKA_CODEC_LZ4);
    expect_err(appends(&stage, 0, "outside %d", 0), MR_CONFLICT);
    char group[96];
    snprintf(group, sizeof group, "group-%s", stage.topic);
    for (int turn = 0; turn < 10; turn++) {
        struct kafka_offset offset = {mr_str_from(stage.topic), 1, 100 + turn, 0};
        bool commit = turn % 3 != 1;
        expect_ok(kafka_producer_begin(producer));
        for (int i = 0; i < 100; i++)
            expect_ok(appends(&stage, i % 2, commit ? "good %d" : "bad %d", turn * 100 + i));
        if (turn == 4)
            passes(&stage, 50); /* some is on the broker already */
        expect_ok(kafka_producer_send_offsets(producer, mr_str_from(group), &offset, 1));
        expect_ok(commit ? commits(&stage, producer) : aborts(&stage, producer));
    }
    expect_ok(kafka_producer_begin(producer));
    expect_ok(commits(&stage, producer)); /* an empty one costs nothing */
    reads_all(&stage, 700);
    for (size_t i = 0; i < stage.records.count; i++)
        expect(mr_str_starts(stage.records.items[i].value, MR_STR("good")));
    struct kafka_offset asked = {mr_str_from(stage.topic), 1, 0, 0};
    kafka_group_offsets(stage.client, mr_str_from(group), &asked, 1, keeps_offsets, &stage);
    expect_ok(answer(&stage));
    expect_int(stage.offset_count, 1);
    expect_int(stage.offsets[0].offset, 109);
    kafka_producer_close(producer);
    closes(&stage);
}

STORY("what is sent and then aborted is hidden from committed readers only")
{
    struct stage stage;
    if (!has_peer())
        return;
    opens(&stage);
    makes_topic(&stage, "hidden", 1);
    struct kafka_producer *producer = opens_producer(&stage, stage.topic, KAFKA_CODEC_NONE);
    for (int turn = 0; turn < 6; turn++) {
        expect_ok(kafka_producer_begin(producer));
        for (int i = 0; i < 10; i++)
            expect_ok(appends(&stage, 0, turn % 2 == 0 ? "bad %d" : "good %d", i));
        expect_ok(flushes(&stage, producer)); /* it is on the broker now */
        expect_ok(turn % 2 == 0 ? aborts(&stage, producer) : commits(&stage, producer));
    }
    reads_all(&stage, 30);
    for (size_t i = 0; i < stage.records.count; i++)
        expect(mr_str_starts(stage.records.items[i].value, MR_STR("good")));
    stage.records.count = 0;
    struct kafka_fetcher *fetcher = opens_fetcher(&stage, false, 0);
    kafka_fetcher_assign(fetcher, mr_str_from(stage.topic), 0, KAFKA_OFFSET_EARLIEST, NULL);
    expect(passes_until(&stage, 60, 10000));
    expect_int(stage.records.count, 60);
    kafka_fetcher_close(fetcher);
    kafka_producer_close(producer);
    closes(&stage);
}

STORY("the younger of two producers of one name fences the older")
{
    struct stage stage;
    if (!has_peer())
        return;
    opens(&stage);
    makes_topic(&stage, "fence", 1);
    struct kafka_producer *old = opens_producer(&stage, stage.topic, KAFKA_CODEC_NONE);
    struct kafka_producer_topic *old_topic = stage.producer_topic;
    expect_ok(kafka_producer_begin(old));
    expect_ok(appends(&stage, 0, "old %d", 1));
    expect_ok(flushes(&stage, old));
    struct kafka_producer *young = opens_producer(&stage, stage.topic, KAFKA_CODEC_NONE);
    struct kafka_producer_topic *young_topic = stage.producer_topic;
    stage.producer_topic = old_topic;
    expect_ok(appends(&stage, 0, "old %d", 2));
    expect_err(commits(&stage, old), MR_FENCED);
    expect_err(kafka_producer_begin(old), MR_FENCED);
    stage.producer_topic = young_topic;
    expect_ok(kafka_producer_begin(young));
    expect_ok(appends(&stage, 0, "young %d", 1));
    expect_ok(commits(&stage, young));
    reads_all(&stage, 1);
    expect_str(stage.records.items[0].value, MR_STR("young 1"));
    kafka_producer_close(old);
    kafka_producer_close(young);
    closes(&stage);
}

STORY("a fetcher follows, pauses, goes on, and stops ahead of its bound")
{
    struct stage stage;
    struct kafka_position position;
    if (!has_peer())
        return;
    opens(&stage);
    makes_topic(&stage, "follow", 1);
    stage.batch_bytes_max = 20000;
    mr_str topic = mr_str_from(stage.topic);
    struct kafka_fetcher *fetcher = opens_fetcher(&stage, true, 100000);
    kafka_fetcher_assign(fetcher, topic, 0, KAFKA_OFFSET_LATEST, NULL);
    passes(&stage, 300);
    expect_ok(kafka_fetcher_position(fetcher, topic, 0, &position));
    expect_int(position.next, 0);
    struct kafka_producer *producer = opens_producer(&stage, NULL, KAFKA_CODEC_NONE);
    expect_ok(appends(&stage, 0, "live %d", 1));
    expect(passes_until(&stage, 1, 5000));
    kafka_fetcher_pause(fetcher, topic, 0);
    expect_ok(appends(&stage, 0, "live %d", 2));
    expect_ok(flushes(&stage, producer));
    passes(&stage, 700);
    expect_int(stage.records.count, 1);
    kafka_fetcher_resume(fetcher, topic, 0);
    expect(passes_until(&stage, 2, 5000));
    stage.keep = true;
    for (int i = 0; i < 20000; i++)
        expect_ok(appends(&stage, 0, "much %d", i));
    expect_ok(flushes(&stage, producer));
    passes(&stage, 1500);
    size_t held = 0;
    for (size_t i = 0; i < stage.fetched.count; i++)
        held += stage.fetched.items[i]->bytes.length;
    expect(held > 0 && stage.records.count < 20000);
    stage.keep = false;
    for (size_t i = 0; i < stage.fetched.count; i++)
        kafka_fetched_free(stage.fetched.items[i]);
    stage.fetched.count = 0;
    expect(passes_until(&stage, 20002, 10000));
    expect_int(stage.records.count, 20002);
    expect_ok(kafka_fetcher_position(fetcher, topic, 0, &position));
    expect_int(position.next, 20002);
    kafka_fetcher_close(fetcher);
    kafka_producer_close(producer);
    closes(&stage);
}

STORY("an offset out of range starts again from the earliest; an absent topic fails")
{
    struct stage stage;
    if (!has_peer())
        return;
    opens(&stage);
    makes_topic(&stage, "range", 1);
    struct kafka_producer *producer = opens_producer(&stage, NULL, KAFKA_CODEC_NONE);
    expect_ok(appends(&stage, 0, "only %d", 1));
    expect_ok(flushes(&stage, producer));
    struct kafka_fetcher *fetcher = opens_fetcher(&stage, true, 0);
    kafka_fetcher_assign(fetcher, mr_str_from(stage.topic), 0, 999, NULL);
    expect(passes_until(&stage, 1, 10000));
    kafka_fetcher_assign(fetcher, MR_STR("no-such-topic-here"), 0, 0, NULL);
    expect_err(answer(&stage), MR_NOT_FOUND);
    kafka_producer_topic(producer, MR_STR("no-such-topic-here"), tells_topic, &stage);
    expect_err(answer(&stage), MR_NOT_FOUND);
    kafka_fetcher_close(fetcher);
    kafka_producer_close(producer);
    closes(&stage);
}

STORY("offsets are found by time, and kept for a group")
{
    struct stage stage;
    if (!has_peer())
        return;
    opens(&stage);
    makes_topic(&stage, "times", 2);
    mr_str topic = mr_str_from(stage.topic);
    struct kafka_producer *producer = opens_producer(&stage, NULL, KAFKA_CODEC_NONE);
    for (int i = 0; i < 10; i++)
        expect_ok(appends(&stage, 0, "at %d", i * 1000));
    expect_ok(flushes(&stage, producer));
    struct kafka_offset asked[] = {
        {topic, 0, 0, KAFKA_OFFSET_EARLIEST}, {topic, 0, 0, KAFKA_OFFSET_LATEST},
        {topic, 0, 0, 1700000003500},         {topic, 0, 0, 1800000000000},
        {topic, 1, 0, KAFKA_OFFSET_LATEST},
    };
    kafka_admin_offsets(stage.client, asked, 5, false, keeps_offsets, &stage);
    expect_ok(answer(&stage));
    expect_int(stage.offset_count, 5);
    expect_int(stage.offsets[0].offset, 0);
    expect_int(stage.offsets[1].offset, 10);
    expect_int(stage.offsets[2].offset, 4);
    expect_int(stage.offsets[3].offset, -1);
    expect_int(stage.offsets[4].offset, 0);
    struct kafka_offset commit[] = {{topic, 0, 7, 0}, {topic, 1, 9, 0}};
    kafka_group_commit(stage.client, topic, commit, 2, tells, &stage);
    expect_ok(answer(&stage));
    struct kafka_offset wanted[] = {{topic, 1, 0, 0}, {topic, 0, 0, 0}, {topic, 5, 0, 0}};
    kafka_group_offsets(stage.client, topic, wanted, 3, keeps_offsets, &stage);
    expect_ok(answer(&stage));
    expect_int(stage.offsets[0].offset, 9);
    expect_int(stage.offsets[1].offset, 7);
    expect_int(stage.offsets[2].offset, -1);
    kafka_group_offsets(stage.client, topic, NULL, 0, keeps_offsets, &stage);
    expect_ok(answer(&stage));
    expect_int(stage.offset_count, 2);
    kafka_producer_close(producer);
    closes(&stage);
}

STORY("a broker that is not there is a time-out or unreachable, and closing ends what waits")
{
    struct stage stage;
    memset(&stage, 0, sizeof stage);
    stage.loop = mr_loop_new("story", NULL);
    expect_err(kafka_client_open(stage.loop, MR_STR(""), MR_STR("story"), &stage.client),
               MR_INVALID);
    expect_ok(kafka_client_open(stage.loop, MR_STR("127.0.0.1:1"), MR_STR("story"), &stage.client));
    kafka_admin_partitions(stage.client, MR_STR("x"), keeps_partitions, &stage);
    passes(&stage, 200);
    expect(!stage.told);
    kafka_client_close(stage.client);
    expect_err(answer(&stage), MR_CANCELLED);
    passes(&stage, 20);
    mr_loop_free(stage.loop);
}
