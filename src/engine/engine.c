/* engine/engine.c: the engine's own life and its control calls. A call is a message: its arguments are
 * copied by the caller's thread, the engine's loop carries it out, and the reply travels back as a task
 * of the asker's loop. */
#include <stdio.h>

#include "engine/stream.h"

enum {
    PATIENCE_US = 2000000, /* then a status says what is waited for */
    CLOSE_US = 10000000,   /* for the last checkpoints; then the streams end without */
};

const char *engine_state_word(enum engine_state state)
{
    static const char *const words[] = {
#define STATE(id, word, about) word,
#include "engine/states.def"
    };
    return state < ENGINE_STATE_COUNT ? words[state] : "?";
}

/* ---- replies ---- */
static void run_reply(struct mr_task *task)
{
    struct engine_reply *reply = mr_container(task, struct engine_reply, task);
    reply->done(reply);
}
static void answer(struct engine_reply *reply, mr_err err)
{
    reply->err = err;
    snprintf(reply->why, sizeof(reply->why), "%s", err == MR_OK ? "" : mr_why());
    mr_loop_post(reply->loop, &reply->task);
}

/* ---- calls ---- */
struct call {
    struct mr_task task;
    struct engine *engine;
    void (*carry_out)(struct call *call);
    struct mr_arena arena;
    const struct engine_stream_spec *spec;
    mr_str name;
    struct engine_reply *reply;
};
static void run_call(struct mr_task *task)
{
    struct call *call = mr_container(task, struct call, task);
    call->carry_out(call);
    mr_arena_fini(&call->arena);
    mr_free(call);
}
static struct call *call_new(struct engine *engine, mr_str name, struct engine_reply *reply,
                             void (*carry_out)(struct call *call))
{
    struct call *call = mr_new(struct call);
    mr_arena_init(&call->arena);
    call->engine = engine;
    call->name = mr_arena_str(&call->arena, name);
    call->reply = reply;
    call->carry_out = carry_out;
    call->task.run = run_call;
    mr_arena_init(&reply->arena);
    reply->statuses = NULL;
    reply->status_count = 0;
    reply->task = (struct mr_task){.run = run_reply};
    return call;
}
static struct engine_stream *find(struct engine *engine, mr_str name)
{
    for (struct engine_stream *stream = engine->streams; stream != NULL; stream = stream->next)
        if (mr_str_equal(stream->spec->name, name))
            return stream;
    return NULL;
}
/* The stream that the call names; NULL: answered already. */
static struct engine_stream *find_or_answer(struct call *call)
{
    struct engine_stream *stream = find(call->engine, call->name);
    if (stream == NULL)
        answer(call->reply,
               mr_fail(MR_NOT_FOUND, "there is no stream %.*s", MR_STR_ARG(call->name)));
    return stream;
}

/* ---- start ---- */
static void make_counters(struct engine_stream *stream)
{
    static const enum mr_metric metrics[] = {
        [ENGINE_COUNTER_IN] = MR_METRIC_STREAM_IN,
        [ENGINE_COUNTER_OUT] = MR_METRIC_STREAM_OUT,
        [ENGINE_COUNTER_ROWS] = MR_METRIC_STREAM_ROWS,
        [ENGINE_COUNTER_DEAD] = MR_METRIC_STREAM_DEAD,
        [ENGINE_COUNTER_LATE] = MR_METRIC_STREAM_LATE,
        [ENGINE_COUNTER_LAG] = MR_METRIC_STREAM_LAG,
        [ENGINE_COUNTER_LATENCY] = MR_METRIC_STREAM_LATENCY,
    };
    mr_str labels = mr_arena_printf(&stream->arena, "stream=\"%.*s\"",
                                    MR_STR_ARG(stream->spec->name));
    for (size_t i = 0; i < mr_count_of(metrics); i++)
        stream->counters[i] = mr_counter_get(metrics[i], labels);
}
static void carry_start(struct call *call)
{
    struct engine *engine = call->engine;
    if (engine->closed != NULL) {
        answer(call->reply, mr_fail(MR_CLOSED, "the engine is closing"));
        return;
    }
    if (find(engine, call->spec->name) != NULL) {
        answer(call->reply,
               mr_fail(MR_EXISTS, "stream %.*s runs already", MR_STR_ARG(call->spec->name)));
        return;
    }
    struct engine_stream *stream = mr_new(struct engine_stream);
    stream->engine = engine;
    stream->arena = call->arena; /* with the spec in it */
    mr_arena_init(&call->arena);
    stream->spec = call->spec;
    stream->watermark_us = INT64_MIN;
    make_counters(stream);
    stream->next = engine->streams;
    engine->streams = stream;
    engine_stream_go(stream);
    answer(call->reply, MR_OK);
}
static mr_err check_spec(const struct engine_stream_spec *spec)
{
    if (spec->name.length == 0 || spec->name.length > 200)
        return mr_fail(MR_INVALID, "a stream's name: expected 1 to 200 characters, found %zu",
                       spec->name.length);
    if (spec->partitions < 0 || spec->partitions > 10000)
        return mr_fail(MR_INVALID, "%.*s: partitions: expected 1 to 10000", MR_STR_ARG(spec->name));
    return MR_OK;
}
void engine_start(struct engine *engine, const struct engine_stream_spec *spec,
                  struct engine_reply *reply)
{
    struct call *call = call_new(engine, spec->name, reply, carry_start);
    mr_err err = check_spec(spec);
    if (err != MR_OK) {
        answer(reply, err);
        mr_arena_fini(&call->arena);
        mr_free(call);
        return;
    }
    call->spec = engine_bind_copy(&call->arena, spec);
    mr_loop_post(engine->loop, &call->task);
}

/* ---- status ---- */
/* What a stream says of itself: its last trouble, or what keeps it longer than usual. */
static mr_str trouble_of(struct engine_stream *stream, struct mr_arena *arena)
{
    int64_t age_us = mr_loop_now_us(stream->engine->loop) - stream->state_us;
    if (stream->error[0] != 0 || age_us < PATIENCE_US || stream->run == NULL)
        return mr_arena_str(arena, mr_str_from(stream->error));
    if (stream->state == ENGINE_STARTING)
        return mr_arena_printf(arena, "has waited %lld s for %s", (long long)(age_us / 1000000),
                               engine_start_word(stream->run));
    if (stream->state == ENGINE_CHECKPOINTING)
        return mr_arena_printf(arena, "has waited %lld s for its checkpoint",
                               (long long)(age_us / 1000000));
    return MR_STR("");
}
static void fill_status(struct engine_stream *stream, struct mr_arena *arena,
                        struct engine_status *out)
{
    engine_stream_publish(stream);
    *out = (struct engine_status){
        .name = mr_arena_str(arena, stream->spec->name),
        .state = stream->state,
        .error = trouble_of(stream, arena),
        .position_count = stream->position_count,
        .lag = stream->lag,
        .records_in = stream->totals.records_in,
        .records_out = stream->totals.records_out,
        .rows = stream->totals.rows,
        .dead = stream->totals.dead,
        .late = stream->totals.late,
        .groups = stream->groups,
        .watermark_us = stream->watermark_us,
        .checkpoints = stream->checkpoints,
        .checkpoint_us = stream->checkpoint_us,
    };
    if (stream->run != NULL && stream->run->bound != NULL && stream->run->bound->input != NULL)
        out->input = mr_arena_str(arena, stream->run->bound->input->topic);
    out->positions = mr_arena_array(arena, struct engine_position, stream->position_count);
    if (stream->position_count > 0)
        memcpy(out->positions, stream->positions,
               sizeof(struct engine_position) * stream->position_count);
}
static void carry_status(struct call *call)
{
    struct engine_reply *reply = call->reply;
    size_t count = 0;
    if (call->name.length > 0) {
        struct engine_stream *stream = find_or_answer(call);
        if (stream == NULL)
            return;
        reply->statuses = mr_arena_new(&reply->arena, struct engine_status);
        fill_status(stream, &reply->arena, reply->statuses);
        reply->status_count = 1;
        answer(reply, MR_OK);
        return;
    }
    for (struct engine_stream *stream = call->engine->streams; stream != NULL;
         stream = stream->next)
        count++;
    reply->statuses = mr_arena_array(&reply->arena, struct engine_status, count);
    reply->status_count = count;
    for (struct engine_stream *stream = call->engine->streams; stream != NULL;
         stream = stream->next)
        fill_status(stream, &reply->arena, &reply->statuses[--count]); /* the oldest first */
    answer(reply, MR_OK);
}
void engine_status_get(struct engine *engine, mr_str name, struct engine_reply *reply)
{
    mr_loop_post(engine->loop, &call_new(engine, name, reply, carry_status)->task);
}

/* ---- pause, resume, stop ---- */
static void carry_pause(struct call *call)
{
    struct engine_stream *stream = find_or_answer(call);
    if (stream == NULL)
        return;
    if (stream->paused != NULL) {
        answer(call->reply,
               mr_fail(MR_CONFLICT, "stream %.*s is being paused", MR_STR_ARG(call->name)));
        return;
    }
    stream->pause = true;
    if (stream->run != NULL) {
        stream->paused = call->reply;
        engine_batch_pump(stream->run);
        return;
    }
    mr_timer_stop(&stream->retry);
    if (stream->state == ENGINE_WAITING)
        engine_stream_set(stream, ENGINE_PAUSED);
    answer(call->reply, MR_OK);
}
static void carry_resume(struct call *call)
{
    struct engine_stream *stream = find_or_answer(call);
    if (stream == NULL)
        return;
    stream->pause = false;
    if (stream->paused != NULL) {
        answer(stream->paused, mr_fail(MR_CANCELLED, "resumed"));
        stream->paused = NULL;
    }
    if (stream->run == NULL) {
        stream->fenced_us = 0;
        engine_stream_go(stream);
    }
    answer(call->reply, MR_OK);
}
static void carry_stop(struct call *call)
{
    struct engine_stream *stream = find_or_answer(call);
    if (stream == NULL)
        return;
    if (stream->stopped != NULL) {
        answer(call->reply,
               mr_fail(MR_CONFLICT, "stream %.*s is being stopped", MR_STR_ARG(call->name)));
        return;
    }
    stream->stop = true;
    stream->stopped = call->reply;
    if (stream->run == NULL)
        engine_forget(call->engine, stream);
    else
        engine_batch_pump(stream->run);
}
void engine_pause(struct engine *engine, mr_str name, struct engine_reply *reply)
{
    mr_loop_post(engine->loop, &call_new(engine, name, reply, carry_pause)->task);
}
void engine_resume(struct engine *engine, mr_str name, struct engine_reply *reply)
{
    mr_loop_post(engine->loop, &call_new(engine, name, reply, carry_resume)->task);
}
void engine_stop(struct engine *engine, mr_str name, struct engine_reply *reply)
{
    mr_loop_post(engine->loop, &call_new(engine, name, reply, carry_stop)->task);
}

/* ---- the engine's life ---- */
mr_err engine_open(struct mr_loop *loop, struct mr_disk *disk, const struct engine_options *options,
                   struct engine **out)
{
    if (options->kafka.length == 0 || options->registry.url.length == 0 ||
        options->folder.length == 0)
        return mr_fail(MR_INVALID,
                       "the engine needs the addresses of Kafka and a registry, and a folder");
    struct engine *engine = mr_new(struct engine);
    struct mr_arena *arena = &engine->arena;
    mr_arena_init(arena);
    engine->loop = loop;
    engine->disk = disk;
    engine->options = *options;
    engine->options.kafka = mr_arena_str(arena, options->kafka);
    engine->options.kafka_security = kafka_security_copy(arena, &options->kafka_security);
    engine->options.cassandra_tls = net_tls_client_copy(arena, &options->cassandra_tls);
    engine->options.registry = schemas_client_options_copy(arena, &options->registry);
    engine->options.cassandra = mr_arena_str(arena, options->cassandra);
    engine->options.cassandra_consistency = mr_arena_str(arena, options->cassandra_consistency);
    engine->options.cassandra_replication = mr_arena_str(arena, options->cassandra_replication);
    engine->options.cassandra_user = mr_arena_str(arena, options->cassandra_user);
    engine->options.cassandra_password = mr_arena_str(arena, options->cassandra_password);
    engine->options.folder = mr_arena_str(arena, options->folder);
    engine->options.group_prefix = options->group_prefix.length > 0
                                       ? mr_arena_str(arena, options->group_prefix)
                                       : MR_STR("millrace.");
    *out = engine;
    return MR_OK;
}
static void close_work(struct mr_job *job)
{
    struct engine *engine = mr_container(job, struct engine, last);
    kv_close(engine->kv);
    kv_memory_free(engine->memory);
}
static void close_done(struct mr_job *job)
{
    struct engine *engine = mr_container(job, struct engine, last);
    struct mr_task *done = engine->closed;
    mr_arena_fini(&engine->arena);
    mr_free(engine);
    if (done != NULL)
        done->run(done);
}
void engine_release(struct engine *engine)
{
    if (engine->closed == NULL || engine->streams != NULL || engine->runs > 0 ||
        engine->restoring != NULL || engine->flushing || engine->last.work != NULL)
        return;
    mr_timer_stop(&engine->patience);
    schemas_client_free(engine->schemas);
    engine->last = (struct mr_job){.work = close_work, .done = close_done, .loop = engine->loop};
    mr_disk_submit(engine->disk, &engine->last);
}
void engine_forget(struct engine *engine, struct engine_stream *stream)
{
    struct engine_stream **link = &engine->streams;
    while (*link != stream)
        link = &(*link)->next;
    *link = stream->next;
    engine_stream_close(stream);
    engine_release(engine);
}
static void on_patience(struct mr_timer *timer)
{
    struct engine *engine = mr_container(timer, struct engine, patience);
    for (struct engine_stream *stream = engine->streams, *next; stream != NULL; stream = next) {
        next = stream->next;
        mr_log(MR_LOG_WARN, "engine",
               "stream %.*s ends without its last checkpoint; the next start "
               "goes on from the one before",
               MR_STR_ARG(stream->spec->name));
        engine_forget(engine, stream);
    }
}
void engine_close(struct engine *engine, struct mr_task *done)
{
    struct engine_stream *next;
    mr_assert(engine->closed == NULL);
    engine->closed = done;
    engine->patience.run = on_patience;
    mr_timer_start(engine->loop, &engine->patience, CLOSE_US);
    for (struct engine_stream *stream = engine->streams; stream != NULL; stream = next) {
        next = stream->next;
        stream->stop = true;
        if (stream->run == NULL)
            engine_forget(engine, stream);
        else
            engine_batch_pump(stream->run);
    }
    engine_release(engine);
}
