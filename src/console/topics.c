/* console/topics.c: topics and their last records, decoded. One ask goes: partitions -> first and last
 * offsets -> fetch the tail of each -> schemas of the ids found -> answer. */
#include "console/room.h"

#include <stdio.h>
#include <stdlib.h>

#include "avro/avro.h"
#include "kafka/kafka.h"
#include "schemas/schemas.h"

enum { PARTITIONS_MAX = 64, FETCH_US_MAX = 1500000, VALUE_BYTES_MAX = 16384, SCHEMAS_MAX = 32 };

/* ---- the list ---- */

static void list_end(struct console_ask *ask)
{
    mr_free(ask);
}

static int topic_compare(const void *a, const void *b)
{
    const struct kafka_metadata_topic *x = a, *y = b;
    return mr_str_compare(x->name, y->name);
}

static void topics_told(void *context, mr_err err, const struct kafka_metadata_response *metadata)
{
    struct console_ask *ask = context;
    struct mr_buf out = {0};
    if (console_ask_back(ask))
        return;
    if (err != MR_OK) {
        console_ask_fail(ask, err);
        console_ask_done(ask);
        return;
    }
    struct kafka_metadata_topic *topics = mr_arena_array(&ask->arena, struct kafka_metadata_topic,
                                                         (size_t)metadata->topics.count + 1);
    if (metadata->topics.count > 0)
        memcpy(topics, metadata->topics.items, (size_t)metadata->topics.count * sizeof topics[0]);
    qsort(topics, (size_t)metadata->topics.count, sizeof topics[0], topic_compare);
    mr_buf_cstr(&out, "{\"topics\":[");
    for (int32_t i = 0; i < metadata->topics.count; i++) {
        bool internal = topics[i].is_internal || mr_str_starts(topics[i].name, MR_STR("_"));
        mr_buf_printf(&out, "%s{\"name\":", i == 0 ? "" : ",");
        mr_buf_json(&out, topics[i].name);
        mr_buf_printf(&out, ",\"partitions\":%d,\"internal\":%s}", topics[i].partitions.count,
                      internal ? "true" : "false");
    }
    mr_buf_cstr(&out, "]}");
    console_ask_reply(ask, 200, mr_buf_as_str(&out));
    mr_buf_fini(&out);
    console_ask_done(ask);
}

void console_topics_list(struct console *console, struct net_http_exchange *exchange)
{
    struct console_ask *ask = mr_new(struct console_ask);
    struct kafka_client *kafka;
    console_ask_init(ask, console, exchange, list_end);
    mr_err err = console_kafka(console, &kafka);
    if (err != MR_OK) {
        console_ask_fail(ask, err);
        console_ask_done(ask);
        return;
    }
    ask->under_way++;
    kafka_admin_topics(kafka, topics_told, ask);
}

/* ---- the last records of one topic ---- */

struct record {
    int32_t partition;
    struct kafka_record record; /* copied into the ask's arena */
};
struct tail {
    struct console_ask ask;
    mr_str topic;
    int64_t count;
    int32_t partitions;
    struct kafka_offset *ends; /* by partition: latest, then earliest */
    int64_t from[PARTITIONS_MAX];
    bool whole[PARTITIONS_MAX]; /* read to the end that it had */
    struct kafka_fetcher *fetcher;
    struct mr_timer timer; /* a partition that says nothing is not waited for */
    MR_ARRAY(struct record) records;
    struct wanted {
        struct schemas_request request;
        struct tail *tail;
        int32_t id;
        bool asked;
        const struct schemas_schema *schema;
    } schemas[SCHEMAS_MAX];
    size_t schema_count;
};

static void tail_end(struct console_ask *ask)
{
    struct tail *tail = mr_container(ask, struct tail, ask);
    mr_timer_stop(&tail->timer);
    kafka_fetcher_close(tail->fetcher);
    mr_array_fini(&tail->records);
    mr_free(tail);
}

static void tail_fail(struct tail *tail, mr_err err)
{
    console_ask_fail(&tail->ask, err);
    console_ask_done(&tail->ask);
}

static int record_compare(const void *a, const void *b)
{
    const struct record *x = a, *y = b;
    if (x->record.timestamp != y->record.timestamp)
        return x->record.timestamp < y->record.timestamp ? 1 : -1;
    if (x->partition != y->partition)
        return x->partition < y->partition ? -1 : 1;
    return x->record.offset < y->record.offset ? 1 : -1;
}

static struct wanted *wanted_schema(struct tail *tail, int32_t id)
{
    for (size_t i = 0; i < tail->schema_count; i++)
        if (tail->schemas[i].id == id)
            return &tail->schemas[i];
    if (tail->schema_count == SCHEMAS_MAX)
        return NULL;
    struct wanted *wanted = &tail->schemas[tail->schema_count++];
    wanted->tail = tail;
    wanted->id = id;
    return wanted;
}

/* The value as JSON, and the word of how it was read. */
static const char *print_value(struct tail *tail, mr_str value, struct mr_buf *out,
                               int32_t *schema_id)
{
    mr_str body = value;
    *schema_id = -1;
    if (value.data == NULL) {
        mr_buf_cstr(out, "null");
        return "null";
    }
    if (value.length > 5 && value.data[0] == 0 && avro_take_frame(&body, schema_id) == MR_OK) {
        struct wanted *wanted = wanted_schema(tail, *schema_id);
        size_t start = out->length;
        if (wanted != NULL && wanted->schema != NULL && wanted->schema->avro != NULL &&
            avro_print_json(avro_schema_root(wanted->schema->avro), body, out) == MR_OK)
            return "avro";
        out->length = start;
    }
    mr_str cut = mr_str_slice(value, 0, VALUE_BYTES_MAX);
    if (mr_str_is_utf8(cut)) {
        mr_buf_json(out, cut);
        return "text";
    }
    char *hex = mr_arena_alloc(&tail->ask.arena, 2 * cut.length + 1);
    mr_hex(cut.data, cut.length, hex);
    mr_buf_json(out, mr_str_from(hex));
    return "bytes";
}

static void print_headers(struct mr_buf *out, const struct kafka_record *record)
{
    mr_str rest = record->headers, key, value;
    bool first = true;
    mr_buf_cstr(out, ",\"headers\":{");
    while (kafka_records_header(&rest, &key, &value)) {
        mr_buf_cstr(out, first ? "" : ",");
        mr_buf_json(out, key);
        mr_buf_u8(out, ':');
        mr_buf_json(out, mr_str_slice(value, 0, 200));
        first = false;
    }
    mr_buf_u8(out, '}');
}

static void tail_reply(struct tail *tail)
{
    struct mr_buf out = {0};
    size_t shown = tail->records.count < (size_t)tail->count ? tail->records.count
                                                             : (size_t)tail->count;
    int64_t total = 0;
    for (int32_t i = 0; i < tail->partitions; i++)
        total += tail->ends[i].offset - tail->ends[tail->partitions + i].offset;
    mr_buf_cstr(&out, "{\"topic\":");
    mr_buf_json(&out, tail->topic);
    mr_buf_printf(&out, ",\"partitions\":%d,\"offsets\":%lld,\"records\":[", tail->partitions,
                  (long long)total);
    for (size_t i = 0; i < shown; i++) {
        const struct record *record = &tail->records.items[i];
        int32_t schema_id;
        mr_buf_printf(&out, "%s{\"partition\":%d,\"offset\":%lld,\"timestamp_ms\":%lld,\"key\":",
                      i == 0 ? "" : ",", record->partition, (long long)record->record.offset,
                      (long long)record->record.timestamp);
        if (record->record.key.data == NULL)
            mr_buf_cstr(&out, "null");
        else
            mr_buf_json(&out, mr_str_slice(record->record.key, 0, 400));
        mr_buf_cstr(&out, ",\"value\":");
        const char *format = print_value(tail, record->record.value, &out, &schema_id);
        mr_buf_printf(&out, ",\"format\":\"%s\",\"schema_id\":%d", format, schema_id);
        print_headers(&out, &record->record);
        mr_buf_u8(&out, '}');
    }
    mr_buf_cstr(&out, "]}");
    console_ask_reply(&tail->ask, 200, mr_buf_as_str(&out));
    mr_buf_fini(&out);
    console_ask_done(&tail->ask);
}

static void schema_came(struct schemas_request *request)
{
    struct wanted *wanted = mr_container(request, struct wanted, request);
    struct tail *tail = wanted->tail;
    if (request->err == MR_OK)
        wanted->schema = request->schema;
    if (console_ask_back(&tail->ask))
        return;
    if (tail->ask.under_way == 0)
        tail_reply(tail);
}

/* Every partition's tail is here, or the time is over. */
static void tail_decode(struct tail *tail)
{
    struct schemas_client *schemas = NULL;
    mr_timer_stop(&tail->timer);
    kafka_fetcher_close(tail->fetcher);
    tail->fetcher = NULL;
    qsort(tail->records.items, tail->records.count, sizeof(struct record), record_compare);
    if (tail->ask.console->options.registry.url.length > 0)
        console_schemas(tail->ask.console, &schemas);
    for (size_t i = 0; i < tail->records.count && i < (size_t)tail->count && schemas != NULL; i++) {
        mr_str body = tail->records.items[i].record.value;
        int32_t id;
        if (body.length <= 5 || body.data[0] != 0 || avro_take_frame(&body, &id) != MR_OK)
            continue;
        struct wanted *wanted = wanted_schema(tail, id);
        if (wanted == NULL || wanted->schema != NULL || wanted->asked)
            continue;
        wanted->schema = schemas_client_known(schemas, id);
        if (wanted->schema == NULL) {
            wanted->asked = true;
            wanted->request.done = schema_came;
            tail->ask.under_way++;
            schemas_client_get(schemas, id, &wanted->request);
        }
    }
    if (tail->ask.under_way == 0)
        tail_reply(tail);
}

static void time_is_over(struct mr_timer *timer)
{
    struct tail *tail = mr_container(timer, struct tail, timer);
    if (tail->ask.exchange != NULL)
        tail_decode(tail);
}

static mr_str copied(struct mr_arena *arena, mr_str text)
{
    return text.data == NULL ? text : mr_arena_str(arena, text);
}

static void tail_records(void *context, struct kafka_fetched *fetched)
{
    struct tail *tail = context;
    struct mr_arena unpacked;
    struct kafka_reader reader;
    struct kafka_record record;
    int32_t partition = fetched->partition;
    mr_arena_init(&unpacked);
    kafka_reader_init(&reader, fetched, &unpacked);
    while (kafka_reader_next(&reader, &record)) {
        if (record.offset < tail->from[partition] || record.offset >= tail->ends[partition].offset)
            continue;
        record.key = copied(&tail->ask.arena, record.key);
        record.value = copied(&tail->ask.arena, record.value);
        record.headers = copied(&tail->ask.arena, record.headers);
        *mr_array_add(&tail->records) = (struct record){partition, record};
    }
    tail->whole[partition] = tail->whole[partition] ||
                             fetched->next >= tail->ends[partition].offset;
    kafka_reader_fini(&reader);
    kafka_fetched_free(fetched);
    mr_arena_fini(&unpacked);
    bool whole = true;
    for (int32_t i = 0; i < tail->partitions; i++)
        whole = whole && tail->whole[i];
    if (whole && tail->ask.exchange != NULL)
        tail_decode(tail);
}

static void offsets_told(void *context, mr_err err, const struct kafka_offset *offsets,
                         size_t count)
{
    struct tail *tail = context;
    struct kafka_fetcher_options options = {
        .read_committed = true, .wait_ms_max = 100, .records = tail_records, .context = tail};
    bool any = false;
    if (console_ask_back(&tail->ask))
        return;
    if (err == MR_OK)
        err = kafka_fetcher_open(tail->ask.console->kafka, &options, &tail->fetcher);
    if (err != MR_OK) {
        tail_fail(tail, err);
        return;
    }
    mr_assert(count == 2 * (size_t)tail->partitions);
    for (int32_t i = 0; i < tail->partitions; i++) {
        int64_t end = offsets[i].offset, start = offsets[tail->partitions + i].offset;
        tail->ends[i].offset = end;
        tail->ends[tail->partitions + i].offset = start;
        /* Markers take offsets too, so a few more than asked for are read. */
        tail->from[i] = end - 2 * tail->count - 16 > start ? end - 2 * tail->count - 16 : start;
        tail->whole[i] = end <= start;
        any = any || end > start;
        if (end > start)
            kafka_fetcher_assign(tail->fetcher, tail->topic, i, tail->from[i], NULL);
    }
    tail->timer.run = time_is_over;
    mr_timer_start(tail->ask.console->loop, &tail->timer, any ? FETCH_US_MAX : 0);
}

static void partitions_told(void *context, mr_err err, int32_t partitions)
{
    struct tail *tail = context;
    if (console_ask_back(&tail->ask))
        return;
    if (err != MR_OK) {
        tail_fail(tail, err);
        return;
    }
    tail->partitions = partitions < PARTITIONS_MAX ? partitions : PARTITIONS_MAX;
    tail->ends = mr_arena_array(&tail->ask.arena, struct kafka_offset,
                                2 * (size_t)tail->partitions + 1);
    for (int32_t i = 0; i < tail->partitions; i++) {
        tail->ends[i] = (struct kafka_offset){
            .topic = tail->topic, .partition = i, .timestamp = KAFKA_OFFSET_LATEST};
        tail->ends[tail->partitions + i] = (struct kafka_offset){
            .topic = tail->topic, .partition = i, .timestamp = KAFKA_OFFSET_EARLIEST};
    }
    tail->ask.under_way++;
    kafka_admin_offsets(tail->ask.console->kafka, tail->ends, 2 * (size_t)tail->partitions, true,
                        offsets_told, tail);
}

void console_topics_records(struct console *console, struct net_http_exchange *exchange,
                            mr_str topic, int64_t count)
{
    struct tail *tail = mr_new(struct tail);
    struct kafka_client *kafka;
    console_ask_init(&tail->ask, console, exchange, tail_end);
    tail->topic = mr_arena_str(&tail->ask.arena, topic);
    tail->count = count;
    mr_err err = console_kafka(console, &kafka);
    if (err != MR_OK) {
        tail_fail(tail, err);
        return;
    }
    tail->ask.under_way++;
    kafka_admin_partitions(kafka, tail->topic, partitions_told, tail);
}
