/* engine/start.c: the steps from nothing to a running stream. Each is one question to the outside; its
 * answer takes the next step. The order matters in one place: the transactional id is taken over before
 * the position and the state are read, so nobody else can move them any more. */
#include "engine/stream.h"

#include "avro/avro.h"

enum { PARTITIONS_US = 30000000 }; /* how often the input's partitions are counted */

static void step_next(struct engine_run *run);

/* ---- answers ---- */
/* The usual one: on to the next step. */
static void on_step(void *context, mr_err err)
{
    struct engine_run *run = context;
    if (!engine_run_answer(run))
        return;
    if (err != MR_OK)
        engine_run_fail(run, err);
    else
        step_next(run);
}

/* The same for what a closed producer or sink never answers, so that it is not `pending`. */
static void on_own_step(void *context, mr_err err)
{
    struct engine_run *run = context;
    if (err != MR_OK)
        engine_run_fail(run, err);
    else
        step_next(run);
}

/* ---- connect ---- */
static void connect_kafka(struct engine_run *run)
{
    const struct engine_options *options = &run->engine->options;
    mr_str name = run->stream->spec->name;
    mr_err err = kafka_client_open_secure(run->loop, options->kafka, name, &options->kafka_security,
                                          &run->kafka);
    if (err == MR_OK && run->engine->schemas == NULL)
        err = schemas_client_new(run->loop, &options->registry, &run->engine->schemas);
    if (err != MR_OK)
        engine_run_fail(run, err);
    else
        step_next(run);
}

/* ---- the input's schema, and the plan ---- */
static void on_schema(struct schemas_request *request)
{
    struct engine_run *run = mr_container(request, struct engine_run, request);
    const struct engine_input *input = run->bound->input;
    bool nullable;
    mr_err err = request->err;
    if (err == MR_OK && request->schema->avro == NULL)
        err = mr_fail(MR_INVALID, "schema of %.*s: expected Avro, found %.*s",
                      MR_STR_ARG(input->topic), MR_STR_ARG(request->schema->type));
    else if (err == MR_OK)
        err = avro_type_of(avro_schema_root(request->schema->avro), &run->arena, &run->wire,
                           &nullable);
    else if (err == MR_NOT_FOUND && input->schema.length > 0)
        err = MR_OK; /* the topic is still empty: the schema that the spec knows will do */
    else if (err == MR_NOT_FOUND)
        err = mr_fail(MR_NOT_FOUND, "topic %.*s has no schema yet", MR_STR_ARG(input->topic));
    else
        err = mr_fail(err, "schema of %.*s: %s", MR_STR_ARG(input->topic), request->why);
    if (err != MR_OK)
        engine_run_fail(run, err);
    else
        step_next(run);
}
static void ask_schema(struct engine_run *run)
{
    const struct engine_input *input;
    mr_err err = engine_bind_input(&run->arena, run->stream->spec, &input);
    if (err != MR_OK) {
        engine_run_fail(run, err);
        return;
    }
    run->bound = mr_arena_new(&run->arena, struct engine_bound); /* until it is bound for good */
    run->bound->input = input;
    if (input->json) {
        step_next(run);
        return;
    }
    mr_str subject = mr_arena_printf(&run->arena, "%.*s-value", MR_STR_ARG(input->topic));
    run->request.done = on_schema;
    schemas_client_latest(run->engine->schemas, subject, &run->request);
}
static mr_err make_flow(struct engine_run *run)
{
    struct engine_mistakes mistakes = {.arena = &run->arena};
    struct engine_bound *bound;
    mr_err err = engine_bind(&run->arena, run->stream->spec, run->wire, &mistakes, &bound);
    mr_array_fini(&mistakes.list);
    if (err != MR_OK)
        return err;
    run->bound = bound;
    run->outlet.dead = engine_dead_row;
    run->outlet.rows = engine_batch_rows;
    run->outlet.self = run;
    err = engine_flow_new(bound, &run->outlet, &run->flow);
    if (err == MR_OK)
        err = engine_scan_new(bound, &run->scan);
    if (err == MR_OK)
        err = engine_finish_new(bound, &run->finish);
    return err;
}
static void bind_plan(struct engine_run *run)
{
    mr_err err = make_flow(run);
    if (err != MR_OK)
        engine_run_fail(run, err);
    else
        step_next(run);
}

/* ---- topics ---- */
static void make_topics(struct engine_run *run)
{
    static const struct kafka_header compact = {{"cleanup.policy", 14}, {"compact", 7}};
    mr_str name = run->stream->spec->name;
    struct kafka_new_topic topics[3] = {
        {.name = mr_str_from(engine_topic_positions()),
         .partitions = 1,
         .configs = &compact,
         .config_count = 1},
        {.name = mr_arena_printf(&run->arena, "%.*s.dead", MR_STR_ARG(name)), .partitions = 1},
        {.name = mr_arena_printf(&run->arena, "%.*s.state", MR_STR_ARG(name)),
         .partitions = 1,
         .configs = &compact,
         .config_count = 1},
    };
    run->pending++;
    kafka_admin_create_topics(run->kafka, topics, run->bound->aggregate == NULL ? 2 : 3, on_step,
                              run);
}

/* ---- the producer ---- */
static void on_room(void *context)
{
    engine_batch_pump(context);
}
static void take_over(struct engine_run *run)
{
    struct kafka_producer_options options = {.transactional_id = run->stream->spec->name,
                                             .room = on_room,
                                             .bytes_max = 16 << 20,
                                             .context = run};
    mr_err err = kafka_producer_open(run->kafka, &options, &run->producer);
    if (err != MR_OK) {
        engine_run_fail(run, err);
        return;
    }
    kafka_producer_init(run->producer, on_own_step, run);
}
static void on_positions_topic(void *context, mr_err err, struct kafka_producer_topic *topic)
{
    struct engine_run *run = context;
    run->positions_topic = topic;
    on_own_step(run, err);
}
static void on_dead_topic(void *context, mr_err err, struct kafka_producer_topic *topic)
{
    struct engine_run *run = context;
    run->dead_topic = topic;
    on_own_step(run, err);
}
static void on_state_topic(void *context, mr_err err, struct kafka_producer_topic *topic)
{
    struct engine_run *run = context;
    run->state_topic = topic;
    on_own_step(run, err);
}
static void ask_positions_topic(struct engine_run *run)
{
    kafka_producer_topic(run->producer, mr_str_from(engine_topic_positions()), on_positions_topic,
                         run);
}
static void ask_dead_topic(struct engine_run *run)
{
    mr_str name = mr_arena_printf(&run->arena, "%.*s.dead", MR_STR_ARG(run->stream->spec->name));
    kafka_producer_topic(run->producer, name, on_dead_topic, run);
}
static void ask_state_topic(struct engine_run *run)
{
    if (run->flow->groups == NULL) {
        step_next(run);
        return;
    }
    mr_str name = mr_arena_printf(&run->arena, "%.*s.state", MR_STR_ARG(run->stream->spec->name));
    kafka_producer_topic(run->producer, name, on_state_topic, run);
}

/* ---- sinks: all at once ---- */
static void on_sink(void *context, mr_err err)
{
    struct engine_run *run = context;
    if (err != MR_OK)
        engine_run_fail(run, err);
    else if (++run->sinks_open == run->sink_count && run->err == MR_OK)
        step_next(run);
}
static void open_sinks(struct engine_run *run)
{
    const struct engine_stream_spec *spec = run->stream->spec;
    struct engine_sink_host host = {.loop = run->loop,
                                    .options = &run->engine->options,
                                    .bound = run->bound,
                                    .kafka = run->kafka,
                                    .producer = run->producer,
                                    .schemas = run->engine->schemas,
                                    .room = on_room,
                                    .context = run};
    size_t own = spec->topic_none ? 0 : 1, count = own + spec->target_count;
    run->sinks = mr_new_array(struct engine_sink *, count);
    run->sink_count = count;
    for (size_t i = 0; i < count; i++) {
        size_t target = i < own ? ENGINE_SINK_OWN : i - own;
        const struct engine_sink_driver *driver = i < own ? &engine_sink_topic
                                                          : engine_sink_find(
                                                                spec->targets[target].driver);
        driver->open(&host, target, &run->sinks[i], on_sink, run);
    }
}

/* ---- where it stands ---- */
static void on_position(struct engine_run *run, mr_err err)
{
    if (err != MR_OK) {
        engine_run_fail(run, err);
        return;
    }
    uint64_t shape = engine_restore_shape(run);
    if (run->place.shape != 0 && run->place.shape != shape) {
        engine_run_fail(run,
                        mr_fail(MR_INVALID,
                                "%.*s.state was kept for another GROUP BY: give the stream a "
                                "new name, or delete that topic and `stream.%.*s` in %s",
                                MR_STR_ARG(run->stream->spec->name),
                                MR_STR_ARG(run->stream->spec->name), engine_topic_positions()));
        return;
    }
    run->place.shape = shape;
    step_next(run);
}
static void read_position(struct engine_run *run)
{
    engine_restore_position(run, on_position);
}
static void on_restored(struct engine_run *run, mr_err err)
{
    if (err != MR_OK)
        engine_run_fail(run, err);
    else
        step_next(run);
}
static void restore_state(struct engine_run *run)
{
    if (run->flow->groups == NULL)
        step_next(run);
    else
        engine_restore_begin(run, on_restored);
}

/* ---- reading ---- */
static void on_fetch_failed(void *context, mr_str topic, int32_t partition, mr_err err)
{
    (void)topic, (void)partition;
    engine_run_fail(context, err);
}
/* Retention has removed what was not read yet: on from the oldest record, and said aloud. */
static int64_t on_reset(void *context, mr_str topic, int32_t partition, int64_t offset)
{
    struct engine_run *run = context;
    mr_log(MR_LOG_WARN, "engine",
           "stream %.*s: %.*s/%d no longer has offset %lld; goes on at its start",
           MR_STR_ARG(run->stream->spec->name), MR_STR_ARG(topic), partition, (long long)offset);
    return KAFKA_OFFSET_EARLIEST;
}
/* Partitions that are not read yet are read from their start. */
static void assign(struct engine_run *run, int32_t partitions)
{
    mr_str topic = run->bound->input->topic;
    for (int32_t i = 0; i < partitions; i++) {
        struct kafka_position at;
        if (kafka_fetcher_position(run->fetcher, topic, i, &at) == MR_OK)
            continue;
        const struct engine_slot *slot = engine_place_slot(&run->place, i);
        kafka_fetcher_assign(run->fetcher, topic, i,
                             slot->offset < 0 ? KAFKA_OFFSET_EARLIEST : slot->offset, NULL);
    }
}
static void on_more_partitions(void *context, mr_err err, int32_t partitions)
{
    struct engine_run *run = context;
    if (!engine_run_answer(run))
        return;
    if (err == MR_OK)
        assign(run, partitions);
    mr_timer_start(run->loop, &run->partitions, PARTITIONS_US);
}
static void look_for_partitions(struct mr_timer *timer)
{
    struct engine_run *run = mr_container(timer, struct engine_run, partitions);
    run->pending++;
    kafka_admin_partitions(run->kafka, run->bound->input->topic, on_more_partitions, run);
}
static void on_partitions(void *context, mr_err err, int32_t partitions)
{
    struct engine_run *run = context;
    if (!engine_run_answer(run))
        return;
    if (err == MR_NOT_FOUND)
        err = mr_fail(MR_NOT_FOUND, "topic %.*s does not exist yet",
                      MR_STR_ARG(run->bound->input->topic));
    struct kafka_fetcher_options options = {.read_committed = true,
                                            .partition_bytes_max = 1 << 20,
                                            .bytes_max = 4 << 20,
                                            .prefetch_bytes_max = 8 << 20,
                                            .records = engine_batch_records,
                                            .moved = engine_batch_moved,
                                            .reset = on_reset,
                                            .failed = on_fetch_failed,
                                            .context = run};
    if (err == MR_OK)
        err = kafka_fetcher_open(run->kafka, &options, &run->fetcher);
    if (err != MR_OK) {
        engine_run_fail(run, err);
        return;
    }
    assign(run, partitions);
    run->partitions.run = look_for_partitions;
    mr_timer_start(run->loop, &run->partitions, PARTITIONS_US);
    step_next(run);
}
static void open_fetcher(struct engine_run *run)
{
    run->pending++;
    kafka_admin_partitions(run->kafka, run->bound->input->topic, on_partitions, run);
}
static void repeated(struct engine_run *run)
{
    run->after = false;
    step_next(run);
}
static void repeat_tables(struct engine_run *run)
{
    engine_checkpoint_repeat(run, repeated);
}
static void go(struct engine_run *run)
{
    engine_place_copy(&run->committed, &run->place);
    run->flow->late = run->place.totals.late;
    run->ready = true;
    engine_stream_set(run->stream, ENGINE_RUNNING);
    run->stream->error[0] = 0;
    run->stream->backoff_us = 0;
    engine_stream_publish(run->stream);
    mr_log(MR_LOG_INFO, "engine", "stream %.*s runs", MR_STR_ARG(run->stream->spec->name));
    engine_batch_pump(run);
}

/* ---- the list ---- */
static const struct {
    void (*take)(struct engine_run *run);
    const char *word;
} steps[] = {
    {connect_kafka, "the log"},
    {ask_schema, "the registry"},
    {bind_plan, "its plan"},
    {make_topics, "the log to make its topics"},
    {take_over, "the log to fence older instances"},
    {ask_positions_topic, "the log"},
    {ask_dead_topic, "the log"},
    {ask_state_topic, "the log"},
    {open_sinks, "its targets"},
    {read_position, "its position"},
    {restore_state, "its state"},
    {repeat_tables, "its targets"},
    {open_fetcher, "its input"},
    {go, "nothing"},
};
static void step_next(struct engine_run *run)
{
    if (run->err != MR_OK)
        return;
    mr_assert(run->step < mr_count_of(steps));
    steps[run->step++].take(run);
}
const char *engine_start_word(const struct engine_run *run)
{
    return steps[run->step == 0 ? 0 : run->step - 1].word;
}
void engine_start_run(struct engine_run *run)
{
    step_next(run);
}
