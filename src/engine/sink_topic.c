/* engine/sink_topic.c: rows as records of a topic, inside the stream's transaction. Hides how the
 * schema comes to the registry before the first record needs it, and what a record carries.
 *
 * The stream's own topic is the target of index ENGINE_SINK_OWN; another topic is written in the same
 * form. The key is the text of the result's key, the value Avro in Confluent's frame (subject
 * `<topic>-value`) or JSON, null for a delete; the headers are those of the record that the row came
 * from. The producer acknowledges with the commit, so flush() has nothing to wait for. */
#include "engine/sink.h"

enum { HEADERS_MAX = 32 };

struct topic_sink {
    struct engine_sink sink;
    struct engine_sink_host host;
    mr_str name;
    struct kafka_producer_topic *topic;
    struct avro_encoder *encoder; /* NULL: JSON */
    int32_t schema_id;
    struct mr_buf value;
    struct schemas_request request;
    engine_sink_done *opened;
    void *context;
    bool closed, waiting; /* the admin's answer is under way: it frees then */
    struct mr_task flushed;
    engine_sink_done *flush_done;
    void *flush_context;
};

/* ---- opening ---- */
static mr_str place_of(const struct engine_bound *bound, size_t target)
{
    return target == ENGINE_SINK_OWN ? bound->spec->name : bound->spec->targets[target].place;
}
static void topic_bind(const struct engine_bound *bound, size_t target,
                       struct engine_mistakes *mistakes)
{
    mr_str place = place_of(bound, target);
    if (place.length == 0)
        engine_bind_mistake(mistakes, ENGINE_MISTAKE_TARGET, target, "topic: expected a name");
    else if (mr_str_equal(place, bound->input->topic))
        engine_bind_mistake(mistakes, ENGINE_MISTAKE_TARGET, target,
                            "topic %.*s is the stream's own input", MR_STR_ARG(place));
}
static void topic_free(struct topic_sink *self)
{
    avro_encoder_free(self->encoder);
    mr_buf_fini(&self->value);
    mr_free(self);
}
static void on_topic(void *context, mr_err err, struct kafka_producer_topic *topic)
{
    struct topic_sink *self = context; /* not closed: a closed producer tells nothing */
    self->topic = topic;
    self->opened(self->context, err);
}
static void on_made(void *context, mr_err err)
{
    struct topic_sink *self = context;
    self->waiting = false;
    if (self->closed)
        topic_free(self);
    else if (err != MR_OK)
        self->opened(self->context, err);
    else
        kafka_producer_topic(self->host.producer, self->name, on_topic, self);
}
static void make_topic(struct topic_sink *self)
{
    const struct engine_stream_spec *spec = self->host.bound->spec;
    struct kafka_header compact = {MR_STR("cleanup.policy"), MR_STR("compact")};
    struct kafka_new_topic topic = {
        .name = self->name,
        .partitions = spec->partitions > 0 ? (int32_t)spec->partitions : ENGINE_PARTITIONS,
        .configs = &compact,
        .config_count = spec->compact ? 1 : 0,
    };
    self->waiting = true;
    kafka_admin_create_topics(self->host.kafka, &topic, 1, on_made, self);
}
static void on_schema(struct schemas_request *request)
{
    struct topic_sink *self = mr_container(request, struct topic_sink, request);
    mr_err err = request->err;
    if (err != MR_OK)
        err = mr_fail(err, "schema of %.*s: %s", MR_STR_ARG(self->name), request->why);
    else if (request->schema->avro == NULL)
        err = mr_fail(MR_INVALID, "schema of %.*s: expected an Avro schema",
                      MR_STR_ARG(self->name));
    else
        err = avro_encoder_new(avro_schema_root(request->schema->avro), self->host.bound->row,
                               &self->encoder);
    if (err != MR_OK) {
        self->opened(self->context, err);
        return;
    }
    self->schema_id = request->schema->id;
    make_topic(self);
}
static void topic_open(const struct engine_sink_host *host, size_t target, struct engine_sink **out,
                       engine_sink_done *done, void *context)
{
    struct topic_sink *self = mr_new(struct topic_sink);
    self->sink.driver = &engine_sink_topic;
    self->host = *host;
    self->name = place_of(host->bound, target);
    self->opened = done;
    self->context = context;
    *out = &self->sink;
    if (host->bound->spec->json) {
        make_topic(self);
        return;
    }
    struct mr_buf text = {0}, full = {0};
    mr_buf_printf(&full, "millrace.%.*s", MR_STR_ARG(self->name));
    mr_err err = avro_type_schema(host->bound->row, mr_buf_as_str(&full), &text);
    mr_buf_clear(&full);
    mr_buf_printf(&full, "%.*s-value", MR_STR_ARG(self->name));
    self->request.done = on_schema;
    if (err == MR_OK)
        schemas_client_register(host->schemas, mr_buf_as_str(&full), mr_buf_as_str(&text),
                                MR_STR("AVRO"), &self->request);
    mr_buf_fini(&text);
    mr_buf_fini(&full);
    if (err != MR_OK)
        done(context, err);
}
static void topic_close(struct engine_sink *sink)
{
    struct topic_sink *self = mr_container(sink, struct topic_sink, sink);
    schemas_client_cancel(&self->request);
    self->closed = true;
    if (!self->waiting && !self->flushed.queued)
        topic_free(self);
}

/* ---- writing ---- */
static void topic_check(struct engine_sink *sink, const struct engine_rows *rows,
                        struct engine_rows_bad *bad)
{
    (void)sink, (void)rows,
        (void)bad; /* any row of our own type can be a record; size: see write */
}
static size_t headers_of(const struct engine_record *record, struct kafka_header *headers)
{
    size_t count = 0;
    if (record == NULL)
        return 0;
    mr_str left = record->headers;
    while (count < HEADERS_MAX && left.length > 0 &&
           kafka_records_header(&left, &headers[count].key, &headers[count].value))
        count++;
    return count;
}
static mr_err encode(struct topic_sink *self, const struct engine_rows *rows, uint16_t row)
{
    const struct data_type *type = self->host.bound->row;
    mr_buf_clear(&self->value);
    if (self->encoder != NULL) {
        avro_put_frame(&self->value, self->schema_id);
        return avro_encoder_write_row(self->encoder, rows->chunk->columns, row, &self->value);
    }
    for (uint32_t i = 0; i < type->field_count; i++) {
        mr_buf_u8(&self->value, i == 0 ? '{' : ',');
        mr_buf_json(&self->value, type->fields[i].name);
        mr_buf_u8(&self->value, ':');
        data_value_json(&self->value, rows->chunk->columns[i], row);
    }
    mr_buf_u8(&self->value, '}');
    return self->value.err;
}
static mr_err topic_write(struct engine_sink *sink, const struct engine_rows *rows,
                          struct engine_rows_bad *bad)
{
    struct topic_sink *self = mr_container(sink, struct topic_sink, sink);
    struct kafka_header headers[HEADERS_MAX];
    for (uint16_t i = 0; i < rows->chunk->row_count; i++) {
        uint16_t row = rows->chunk->rows[i];
        if (bad->bad[row])
            continue;
        mr_str value = MR_STR_NULL;
        if (!rows->deletes) {
            if (encode(self, rows, row) != MR_OK) {
                engine_sink_refuse(bad, row,
                                   mr_arena_str(rows->chunk->arena, mr_str_from(mr_why())));
                continue;
            }
            value = mr_buf_as_str(&self->value);
        }
        size_t count = headers_of(engine_rows_record(rows, row), headers);
        mr_err err = kafka_producer_append(self->topic, -1, rows->times[row] / 1000,
                                           rows->keys[row], value, headers, count);
        if (err == MR_LIMIT)
            engine_sink_refuse(bad, row, mr_arena_str(rows->chunk->arena, mr_str_from(mr_why())));
        else if (err != MR_OK)
            return err;
    }
    return MR_OK;
}
static void run_flushed(struct mr_task *task)
{
    struct topic_sink *self = mr_container(task, struct topic_sink, flushed);
    if (self->closed && !self->waiting)
        topic_free(self);
    else if (!self->closed)
        self->flush_done(self->flush_context, MR_OK);
}
static void topic_flush(struct engine_sink *sink, engine_sink_done *done, void *context)
{
    struct topic_sink *self = mr_container(sink, struct topic_sink, sink);
    self->flush_done = done;
    self->flush_context = context;
    self->flushed.run = run_flushed;
    mr_loop_post(self->host.loop, &self->flushed);
}
const struct engine_sink_driver engine_sink_topic = {
    .word = "topic",
    .bind = topic_bind,
    .open = topic_open,
    .check = topic_check,
    .write = topic_write,
    .flush = topic_flush,
    .close = topic_close,
};
const struct engine_sink_driver *engine_sink_find(mr_str word)
{
    static const struct engine_sink_driver *const drivers[] = {&engine_sink_topic,
                                                               &engine_sink_cassandra};
    for (size_t i = 0; i < mr_count_of(drivers); i++)
        if (mr_str_equal_nocase(word, mr_str_from(drivers[i]->word)))
            return drivers[i];
    return NULL;
}
