/* engine/stream.c: the states of a stream, and the end of every run.
 *
 *               engine_stream_go                     start.c, all steps done
 *   (accepted) ───────────────────► STARTING ──────────────────────────────────► RUNNING
 *                                    ▲    │                                       │  ▲
 *                   retry timer fires│    │engine_run_fail                        │  │ committed
 *                                    │    ▼                   engine_checkpoint_begin │
 *                                  WAITING ◄── engine_run_fail ── CHECKPOINTING ◄─┘  │
 *                                                    │                  └────────────┘
 *       engine_run_end, nothing that passes by itself                  │ engine_run_rest
 *                                    FAILED ◄────────┘                  ├──► PAUSED ── go ──► STARTING
 *                                                                       └──► STOPPED, forgotten
 *
 * A run is thrown away whole, from a turn of its own and never from inside an answer: its producer is closed with the transaction open, and the next run's
 * InitProducerId aborts it and fences whoever still holds it. Answers that are under way then still
 * name the run, so it is freed with the last of them. */
#include <stdio.h>

#include "engine/stream.h"

enum {
    BACKOFF_US_MIN = 100000,
    BACKOFF_US_MAX = 2000000,
    FENCED_AGAIN_US = 60000000, /* fenced twice within: someone else really has the name */
};

const char *engine_topic_positions(void)
{
    return "_millrace_positions";
}

/* ---- a run's end ---- */
static void run_free(struct engine_run *run)
{
    engine_restore_free(run->restore);
    engine_flow_free(run->flow);
    engine_scan_free(run->scan);
    if (run->bound != NULL)
        engine_finish_free(run->finish);
    mr_array_fini(&run->fetched);
    mr_array_fini(&run->unknown);
    engine_place_fini(&run->place);
    engine_place_fini(&run->committed);
    mr_arena_fini(&run->unpacked);
    mr_arena_fini(&run->chunk);
    mr_arena_fini(&run->arena);
    mr_free(run->sinks);
    struct engine *engine = run->engine;
    mr_free(run);
    engine->runs--;
    engine_release(engine);
}
static void run_close(struct engine_run *run)
{
    mr_timer_stop(&run->partitions);
    engine_batch_drop(run);
    engine_restore_close(run);
    for (size_t i = 0; i < run->sink_count; i++)
        run->sinks[i]->driver->close(run->sinks[i]);
    run->sink_count = 0;
    schemas_client_cancel(&run->request);
    kafka_fetcher_close(run->fetcher);
    kafka_producer_close(run->producer);
    run->fetcher = NULL;
    run->producer = NULL;
    kafka_client_close(run->kafka);
    run->stream->run = NULL;
    run->stream = NULL;
    if (run->pending == 0 && !run->pump.queued) /* a queued pump frees it */
        run_free(run);
}
bool engine_run_answer(struct engine_run *run)
{
    run->pending--;
    if (run->stream != NULL)
        return true;
    if (run->pending == 0 && !run->pump.queued)
        run_free(run);
    return false;
}

/* ---- states ---- */
static void reply(struct engine_reply **waiting, mr_err err)
{
    struct engine_reply *reply = *waiting;
    *waiting = NULL;
    if (reply == NULL)
        return;
    reply->err = err;
    mr_loop_post(reply->loop, &reply->task);
}
void engine_stream_set(struct engine_stream *stream, enum engine_state state)
{
    if (stream->state == state)
        return;
    stream->state = state;
    stream->state_us = mr_loop_now_us(stream->engine->loop);
}
static void settle(struct engine_stream *stream, enum engine_state state)
{
    engine_stream_set(stream, state);
    engine_stream_publish(stream);
    if (state == ENGINE_PAUSED || state == ENGINE_FAILED)
        reply(&stream->paused, MR_OK);
}
static void on_retry(struct mr_timer *timer)
{
    struct engine_stream *stream = mr_container(timer, struct engine_stream, retry);
    engine_stream_go(stream);
}
/* Trouble that no waiting ends: the stream itself has to change first. A right or a password is given elsewhere,
 * so that is waited for. */
static bool is_final(mr_err err)
{
    return err == MR_INVALID || err == MR_UNSUPPORTED || err == MR_LIMIT || err == MR_CORRUPT;
}
/* A broker fences a producer whose transaction it has timed out, too: so the first time is tried again. */
static bool is_taken_over(struct engine_stream *stream, mr_err err)
{
    int64_t now = mr_clock_mono_us(mr_loop_clock(stream->engine->loop)), last = stream->fenced_us;
    if (err != MR_FENCED)
        return false;
    stream->fenced_us = now;
    return last != 0 && now - last < FENCED_AGAIN_US;
}
void engine_run_fail(struct engine_run *run, mr_err err)
{
    if (run->err != MR_OK || run->stream == NULL)
        return; /* the first trouble counts */
    run->err = err;
    run->quiet = strcmp(run->stream->error, mr_why()) == 0;
    snprintf(run->stream->error, sizeof(run->stream->error), "%s", mr_why());
    engine_batch_pump(run);
}
void engine_run_end(struct engine_run *run)
{
    struct engine_stream *stream = run->stream;
    mr_err err = run->err;
    bool final = is_final(err) || is_taken_over(stream, err);
    if (!run->quiet || final)
        mr_log(final ? MR_LOG_ERROR : MR_LOG_WARN, "engine", "stream %.*s: %s: %s",
               MR_STR_ARG(stream->spec->name), final ? "failed" : "waits", stream->error);
    run_close(run);
    if (stream->stop) {
        engine_forget(stream->engine, stream);
        return;
    }
    if (stream->pause || final) {
        settle(stream, final ? ENGINE_FAILED : ENGINE_PAUSED);
        return;
    }
    settle(stream, ENGINE_WAITING);
    stream->retry.run = on_retry;
    mr_timer_start(stream->engine->loop, &stream->retry, stream->backoff_us);
    stream->backoff_us *= 2;
    if (stream->backoff_us > BACKOFF_US_MAX)
        stream->backoff_us = BACKOFF_US_MAX;
}
bool engine_run_rest(struct engine_run *run)
{
    struct engine_stream *stream = run->stream;
    if (!stream->pause && !stream->stop)
        return false;
    run_close(run);
    if (stream->stop)
        engine_forget(stream->engine, stream);
    else
        settle(stream, ENGINE_PAUSED);
    return true;
}
void engine_stream_go(struct engine_stream *stream)
{
    struct engine *engine = stream->engine;
    mr_assert(stream->run == NULL);
    mr_timer_stop(&stream->retry);
    if (stream->backoff_us < BACKOFF_US_MIN)
        stream->backoff_us = BACKOFF_US_MIN;
    struct engine_run *run = mr_new(struct engine_run);
    run->stream = stream;
    run->engine = engine;
    engine->runs++;
    run->loop = engine->loop;
    run->dead_partition = -1;
    mr_arena_init(&run->arena);
    mr_arena_init(&run->chunk);
    mr_arena_init(&run->unpacked);
    engine_place_init(&run->place);
    engine_place_init(&run->committed);
    run->records = mr_arena_array(&run->arena, struct engine_record, DATA_CHUNK_ROWS);
    run->values = mr_arena_array(&run->arena, mr_str, DATA_CHUNK_ROWS);
    stream->run = run;
    engine_stream_set(stream, ENGINE_STARTING);
    stream->state_us = mr_loop_now_us(engine->loop);
    engine_start_run(run);
}
/* Ends it where it stands, without a checkpoint. */
void engine_stream_close(struct engine_stream *stream)
{
    mr_timer_stop(&stream->retry);
    if (stream->run != NULL)
        run_close(stream->run);
    reply(&stream->paused, MR_CANCELLED);
    stream->state = ENGINE_STOPPED;
    reply(&stream->stopped, MR_OK);
    mr_free(stream->positions);
    mr_arena_fini(&stream->arena);
    mr_free(stream);
}

/* ---- what the world sees ---- */
static int64_t lag_of(struct engine_stream *stream)
{
    struct engine_run *run = stream->run;
    int64_t lag = 0;
    for (size_t i = 0; i < stream->position_count; i++) {
        struct engine_position *position = &stream->positions[i];
        struct kafka_position at;
        if (run != NULL && run->fetcher != NULL &&
            kafka_fetcher_position(run->fetcher, run->bound->input->topic, position->partition,
                                   &at) == MR_OK &&
            at.stable >= 0)
            position->end = at.stable;
        if (position->end < 0)
            return -1;
        if (position->end > position->offset)
            lag += position->end - position->offset;
    }
    return lag;
}
/* Takes over what is committed, for statuses and counters. */
void engine_stream_publish(struct engine_stream *stream)
{
    struct engine_run *run = stream->run;
    if (run != NULL && run->ready) {
        const struct engine_place *place = &run->committed;
        if (stream->position_count != place->slot_count) {
            stream->positions = mr_realloc(stream->positions, sizeof(struct engine_position) *
                                                                  (place->slot_count + 1));
            for (size_t i = 0; i < place->slot_count; i++)
                stream->positions[i].end = -1;
        }
        stream->position_count = place->slot_count;
        for (size_t i = 0; i < place->slot_count; i++) {
            stream->positions[i].partition = place->slots[i].partition;
            stream->positions[i].offset = place->slots[i].offset < 0 ? 0 : place->slots[i].offset;
        }
        stream->totals = place->totals;
        stream->watermark_us = place->watermark_us;
        stream->groups = run->flow->groups == NULL
                             ? 0
                             : (int64_t)engine_groups_count(run->flow->groups);
    }
    mr_counter_set(stream->counters[ENGINE_COUNTER_IN], stream->totals.records_in);
    mr_counter_set(stream->counters[ENGINE_COUNTER_OUT], stream->totals.records_out);
    mr_counter_set(stream->counters[ENGINE_COUNTER_ROWS], stream->totals.rows);
    mr_counter_set(stream->counters[ENGINE_COUNTER_DEAD], stream->totals.dead);
    mr_counter_set(stream->counters[ENGINE_COUNTER_LATE], stream->totals.late);
    stream->lag = lag_of(stream);
    mr_counter_set(stream->counters[ENGINE_COUNTER_LAG], stream->lag < 0 ? 0 : stream->lag);
}
