/* scheduler/scheduler.c: when runs are made. A pipeline's timer waits for its next due time; a run is
 * recorded, then started. Invariant: a run in state RUNNING has a record in the log that says so. */
#include "scheduler/run.h"

#include <stdio.h>

#include "http/http.h"
#include "json/json.h"
#include "scheduler/history.h"

enum { WAIT_US_MAX = 30000000, POSTGRES_PAUSE_US = 500000 };

struct scheduler {
    struct mr_loop *loop;
    struct mr_disk *disk;
    struct mr_arena arena;
    struct scheduler_options options;
    struct http_client *http;
    struct scheduler_history *history;
    struct postgres_conn *postgres;
    bool postgres_lost;        /* closed itself; freed by the next who asks */
    int64_t postgres_again_us; /* monotonic: not before */
    char postgres_why[512];
    bool ready;
    bool closing;
    struct mr_task history_closed;
    struct mr_task *closed;
    MR_ARRAY(struct scheduler_pipeline *) pipelines;
    struct mr_map stored_runs;     /* run id -> json text, until its pipeline is added */
    struct mr_map stored_states;   /* pipeline name -> json text */
    MR_ARRAY(char *) stored_order; /* run ids, oldest first */
};

/* ---- small questions ---- */

struct mr_loop *scheduler_loop(struct scheduler *scheduler)
{
    return scheduler->loop;
}

struct mr_disk *scheduler_disk(struct scheduler *scheduler)
{
    return scheduler->disk;
}

const struct scheduler_options *scheduler_options(const struct scheduler *scheduler)
{
    return &scheduler->options;
}

struct http_client *scheduler_http_client(struct scheduler *scheduler)
{
    return scheduler->http;
}

bool scheduler_ready(const struct scheduler *scheduler)
{
    return scheduler->ready;
}

struct scheduler_pipeline *scheduler_first(const struct scheduler *scheduler, size_t index)
{
    return index < scheduler->pipelines.count ? scheduler->pipelines.items[index] : NULL;
}

struct scheduler_pipeline *scheduler_find(const struct scheduler *scheduler, mr_str name)
{
    for (size_t i = 0; i < scheduler->pipelines.count; i++)
        if (mr_str_equal(scheduler->pipelines.items[i]->spec.name, name))
            return scheduler->pipelines.items[i];
    mr_fail(MR_NOT_FOUND, "there is no pipeline `%.*s`", MR_STR_ARG(name));
    return NULL;
}

struct scheduler_run *scheduler_run_find(const struct scheduler_pipeline *pipeline, mr_str id)
{
    for (struct scheduler_run *run = pipeline->runs; run != NULL; run = run->next)
        if (mr_str_equal(mr_str_from(run->id), id))
            return run;
    mr_fail(MR_NOT_FOUND, "pipeline `%.*s` has no run `%.*s`", MR_STR_ARG(pipeline->spec.name),
            MR_STR_ARG(id));
    return NULL;
}

static int64_t wall_us(const struct scheduler *scheduler)
{
    return mr_clock_wall_us(mr_loop_clock(scheduler->loop));
}

/* ---- PostgreSQL for steps ---- */

static void postgres_closed(void *owner, mr_err err)
{
    struct scheduler *scheduler = owner;
    (void)err;
    snprintf(scheduler->postgres_why, sizeof scheduler->postgres_why, "%s", mr_why());
    scheduler->postgres_lost = true;
    scheduler->postgres_again_us = mr_loop_now_us(scheduler->loop) + POSTGRES_PAUSE_US;
}

struct postgres_conn *scheduler_postgres(struct scheduler *scheduler)
{
    static const struct postgres_conn_handlers handlers = {.closed = postgres_closed};
    if (scheduler->postgres_lost) {
        postgres_conn_close(scheduler->postgres);
        scheduler->postgres = NULL;
        scheduler->postgres_lost = false;
    }
    if (scheduler->postgres == NULL) {
        if (mr_loop_now_us(scheduler->loop) < scheduler->postgres_again_us) {
            mr_fail(MR_UNREACHABLE, "%s", scheduler->postgres_why);
            return NULL;
        }
        if (postgres_conn_open(scheduler->loop, &scheduler->options.postgres, POSTGRES_CONN_SQL,
                               "millrace scheduler", &handlers, scheduler,
                               &scheduler->postgres) != MR_OK)
            return NULL;
    }
    return scheduler->postgres;
}

/* ---- records ---- */

static void put_run(struct scheduler_run *run, struct mr_task *written)
{
    struct mr_buf record = {0}, key = {0};
    mr_buf_printf(&key, "%.*s/%s", MR_STR_ARG(run->pipeline->spec.name), run->id);
    scheduler_run_print(run, &record);
    scheduler_history_put_run(run->pipeline->scheduler->history, mr_buf_as_str(&key),
                              mr_buf_as_str(&record), written);
    mr_buf_fini(&record);
    mr_buf_fini(&key);
}

static void put_state(struct scheduler_pipeline *pipeline)
{
    struct mr_buf record = {0};
    mr_buf_printf(&record,
                  "{\"paused\":%s,\"last_due_us\":%lld,\"next_due_us\":%lld,\"definition\":",
                  pipeline->paused ? "true" : "false", (long long)pipeline->last_due_us,
                  (long long)(pipeline->due_us == INT64_MAX ? 0 : pipeline->due_us));
    mr_buf_json(&record, pipeline->spec.text);
    mr_buf_u8(&record, '}');
    scheduler_history_put_state(pipeline->scheduler->history, pipeline->spec.name,
                                mr_buf_as_str(&record), NULL);
    mr_buf_fini(&record);
}

void scheduler_run_changed(struct scheduler_run *run)
{
    put_run(run, NULL);
}

/* ---- runs ---- */

struct starting {
    struct mr_task written;
    struct scheduler_run *run;
};

/* The record is on disk: now the work may begin. */
static void run_written(struct mr_task *task)
{
    struct starting *starting = mr_container(task, struct starting, written);
    struct scheduler_run *run = starting->run;
    mr_free(starting);
    if (!run->pipeline->scheduler->closing)
        scheduler_run_go(run);
}

static void run_start(struct scheduler_run *run)
{
    struct starting *starting = mr_new(struct starting);
    starting->run = run;
    starting->written.run = run_written;
    run->state = SCHEDULER_RUN_RUNNING;
    if (run->started_us == 0)
        run->started_us = wall_us(run->pipeline->scheduler);
    run->pipeline->active++;
    put_run(run, &starting->written);
}

/* Old runs are forgotten here; their records go when the topic's 30 days are over. */
static void run_list(struct scheduler_pipeline *pipeline, struct scheduler_run *run)
{
    struct scheduler_run **link = &pipeline->runs;
    size_t kept = 0;
    run->next = pipeline->runs;
    pipeline->runs = run;
    while (*link != NULL) {
        struct scheduler_run *old = *link;
        bool over = old->state == SCHEDULER_RUN_SUCCESS || old->state == SCHEDULER_RUN_FAILED;
        if (++kept > SCHEDULER_RUNS_KEPT && over) {
            *link = old->next;
            scheduler_run_free(old);
            continue;
        }
        link = &old->next;
    }
    pipeline->run_count++;
}

static struct scheduler_run *run_make(struct scheduler_pipeline *pipeline, bool manual,
                                      int64_t due_us)
{
    char when[32], id[64];
    mr_time_format(due_us, manual ? 6 : 3, when);
    snprintf(id, sizeof id, "%s__%s", manual ? "manual" : "scheduled", when);
    struct scheduler_run *run = scheduler_run_new(pipeline, id, manual, due_us);
    run_list(pipeline, run);
    return run;
}

/* The oldest run that waits for its turn. */
static struct scheduler_run *run_queued(struct scheduler_pipeline *pipeline)
{
    struct scheduler_run *found = NULL;
    for (struct scheduler_run *run = pipeline->runs; run != NULL; run = run->next)
        if (run->state == SCHEDULER_RUN_QUEUED)
            found = run;
    return found;
}

void scheduler_run_ended(struct scheduler_run *run)
{
    struct scheduler_pipeline *pipeline = run->pipeline;
    put_run(run, NULL);
    pipeline->active--;
    struct scheduler_run *next = pipeline->active == 0 ? run_queued(pipeline) : NULL;
    if (next != NULL)
        run_start(next);
}

/* ---- due times ---- */

static int64_t due_after(const struct scheduler_pipeline *pipeline, int64_t after_us)
{
    if (pipeline->spec.every_us > 0) {
        if (pipeline->last_due_us == 0)
            return after_us;
        int64_t missed = after_us > pipeline->last_due_us
                             ? (after_us - pipeline->last_due_us) / pipeline->spec.every_us
                             : 0;
        return pipeline->last_due_us + (missed + 1) * pipeline->spec.every_us;
    }
    return pipeline->spec.at.length > 0
               ? scheduler_cron_next(&pipeline->cron, pipeline->zone, after_us)
               : INT64_MAX;
}

static void pipeline_wait(struct scheduler_pipeline *pipeline)
{
    int64_t wait = pipeline->due_us - wall_us(pipeline->scheduler);
    if (pipeline->paused || pipeline->due_us == INT64_MAX) {
        mr_timer_stop(&pipeline->timer);
        return;
    }
    /* Looked at again within half a minute, whatever happens to the wall clock. */
    if (wait > WAIT_US_MAX)
        wait = WAIT_US_MAX;
    mr_timer_start(pipeline->scheduler->loop, &pipeline->timer, wait > 0 ? wait : 0);
}

static void pipeline_due(struct scheduler_pipeline *pipeline, int64_t due_us)
{
    pipeline->last_due_us = due_us;
    if (pipeline->active > 0 && pipeline->spec.overlap == SCHEDULER_SKIP) {
        mr_log(MR_LOG_INFO, "scheduler",
               "%.*s: the run before is not over; this one is left out (`overlap: skip`)",
               MR_STR_ARG(pipeline->spec.name));
        return;
    }
    bool waits = pipeline->active > 0 && pipeline->spec.overlap == SCHEDULER_QUEUE;
    struct scheduler_run *run = run_make(pipeline, false, due_us);
    if (waits)
        put_run(run, NULL);
    else
        run_start(run);
}

static void timer_due(struct mr_timer *timer)
{
    struct scheduler_pipeline *pipeline = mr_container(timer, struct scheduler_pipeline, timer);
    int64_t now = wall_us(pipeline->scheduler);
    if (pipeline->due_us <= now) {
        int64_t due = pipeline->due_us;
        pipeline_due(pipeline, due);
        pipeline->due_us = due_after(pipeline, pipeline->spec.catchup ? due : now);
        put_state(pipeline);
    }
    pipeline_wait(pipeline);
}

/* The first due time after a start: the one that was missed, all of them, or none. */
static void pipeline_begin(struct scheduler_pipeline *pipeline)
{
    int64_t now = wall_us(pipeline->scheduler);
    if (pipeline->spec.every_us > 0 && pipeline->last_due_us > 0 && !pipeline->spec.catchup) {
        int64_t next = pipeline->last_due_us + pipeline->spec.every_us;
        pipeline->due_us = next < now ? now : next; /* what was missed is made up for once */
    } else if (pipeline->spec.catchup && pipeline->last_due_us > 0) {
        pipeline->due_us = due_after(pipeline, pipeline->last_due_us);
    } else {
        pipeline->due_us = due_after(pipeline, now);
    }
    put_state(pipeline);
    pipeline_wait(pipeline);
}

/* ---- the history ---- */

static void stored_run(void *owner, mr_str key, mr_str value)
{
    struct scheduler *scheduler = owner;
    if (value.data == NULL) {
        mr_free(mr_map_remove(&scheduler->stored_runs, key));
        return;
    }
    char *old = mr_map_put(&scheduler->stored_runs, key, mr_copy_cstr(value));
    if (old == NULL)
        *mr_array_add(&scheduler->stored_order) = mr_copy_cstr(key);
    mr_free(old);
}

static void stored_state(void *owner, mr_str key, mr_str value)
{
    struct scheduler *scheduler = owner;
    if (value.data == NULL)
        mr_free(mr_map_remove(&scheduler->stored_states, key));
    else
        mr_free(mr_map_put(&scheduler->stored_states, key, mr_copy_cstr(value)));
}

/* Takes the pipeline's runs out of what was stored; those that were cut off go on. */
static void pipeline_restore(struct scheduler_pipeline *pipeline)
{
    struct scheduler *scheduler = pipeline->scheduler;
    const struct json_value *record;
    struct mr_arena arena;
    mr_arena_init(&arena);
    const char *state = mr_map_get(&scheduler->stored_states, pipeline->spec.name);
    if (state != NULL && json_parse(&arena, mr_str_from(state), &record) == MR_OK) {
        pipeline->paused = json_bool(json_get(record, MR_STR("paused")), false);
        pipeline->last_due_us = json_i64(json_get(record, MR_STR("last_due_us")), 0);
    }
    for (size_t i = 0; i < scheduler->stored_order.count; i++) {
        const char *text = mr_map_get(&scheduler->stored_runs,
                                      mr_str_from(scheduler->stored_order.items[i]));
        struct scheduler_run *run = NULL;
        if (text == NULL || json_parse(&arena, mr_str_from(text), &record) != MR_OK ||
            !mr_str_equal(json_str(json_get(record, MR_STR("pipeline")), MR_STR_NULL),
                          pipeline->spec.name) ||
            scheduler_run_restore(pipeline, record, &run) != MR_OK)
            continue;
        run_list(pipeline, run);
        if (!run->manual && run->due_us > pipeline->last_due_us)
            pipeline->last_due_us = run->due_us;
        mr_arena_reset(&arena);
    }
    for (struct scheduler_run *run = pipeline->runs; run != NULL; run = run->next)
        if (run->state == SCHEDULER_RUN_RUNNING)
            run_start(run);
    if (pipeline->active == 0 && run_queued(pipeline) != NULL)
        run_start(run_queued(pipeline));
    mr_arena_fini(&arena);
}

static void history_ready(void *owner)
{
    struct scheduler *scheduler = owner;
    scheduler->ready = true;
    for (size_t i = 0; i < scheduler->pipelines.count; i++) {
        pipeline_restore(scheduler->pipelines.items[i]);
        pipeline_begin(scheduler->pipelines.items[i]);
    }
}

/* ---- calls ---- */

mr_err scheduler_open(struct mr_loop *loop, struct mr_disk *disk,
                      const struct scheduler_options *options, struct scheduler **out)
{
    static const struct scheduler_history_events events = {stored_run, stored_state, history_ready};
    struct scheduler *scheduler = mr_new(struct scheduler);
    scheduler->loop = loop;
    scheduler->disk = disk;
    mr_arena_init(&scheduler->arena);
    scheduler->options = (struct scheduler_options){
        .kafka = mr_arena_str(&scheduler->arena, options->kafka),
        .kafka_security = kafka_security_copy(&scheduler->arena, &options->kafka_security),
        .folder = mr_arena_str(&scheduler->arena, options->folder),
        .space_folder = mr_arena_str(&scheduler->arena, options->space_folder),
    };
    postgres_address_copy(&scheduler->arena, &options->postgres, &scheduler->options.postgres);
    scheduler->http = http_client_new(loop);
    mr_err err = scheduler_history_open(loop, scheduler->options.kafka,
                                        &scheduler->options.kafka_security, &events, scheduler,
                                        &scheduler->history);
    if (err != MR_OK) {
        http_client_free(scheduler->http);
        mr_arena_fini(&scheduler->arena);
        mr_free(scheduler);
        return err;
    }
    *out = scheduler;
    return MR_OK;
}

static void spec_copy(struct mr_arena *arena, const struct scheduler_pipeline_spec *from,
                      struct scheduler_pipeline_spec *to)
{
    struct scheduler_step_spec *steps = mr_arena_array(arena, struct scheduler_step_spec,
                                                       from->step_count + 1);
    *to = *from;
    to->name = mr_arena_str(arena, from->name);
    to->about = mr_arena_str(arena, from->about);
    to->text = mr_arena_str(arena, from->text);
    to->at = mr_arena_str(arena, from->at);
    to->timezone = mr_arena_str(arena, from->timezone);
    to->steps = steps;
    for (size_t i = 0; i < from->step_count; i++) {
        size_t *after = mr_arena_array(arena, size_t, from->steps[i].after_count + 1);
        for (size_t j = 0; j < from->steps[i].after_count; j++) {
            mr_assert(from->steps[i].after[j] < i);
            after[j] = from->steps[i].after[j];
        }
        steps[i] = from->steps[i];
        steps[i].name = mr_arena_str(arena, from->steps[i].name);
        steps[i].work = mr_arena_str(arena, from->steps[i].work);
        steps[i].each = mr_arena_str(arena, from->steps[i].each);
        steps[i].table = mr_arena_str(arena, from->steps[i].table);
        steps[i].key = mr_arena_str(arena, from->steps[i].key);
        steps[i].after = after;
    }
}

static void pipeline_free(struct scheduler_pipeline *pipeline)
{
    while (pipeline->runs != NULL) {
        struct scheduler_run *run = pipeline->runs;
        pipeline->runs = run->next;
        scheduler_run_free(run);
    }
    mr_timer_stop(&pipeline->timer);
    scheduler_zone_close(pipeline->zone);
    mr_arena_fini(&pipeline->arena);
    mr_free(pipeline);
}

mr_err scheduler_add(struct scheduler *scheduler, const struct scheduler_pipeline_spec *spec)
{
    mr_err err = MR_OK;
    if (scheduler_find(scheduler, spec->name) != NULL)
        return mr_fail(MR_EXISTS, "pipeline `%.*s` is there already", MR_STR_ARG(spec->name));
    struct scheduler_pipeline *pipeline = mr_new(struct scheduler_pipeline);
    pipeline->scheduler = scheduler;
    pipeline->timer.run = timer_due;
    pipeline->due_us = INT64_MAX;
    mr_arena_init(&pipeline->arena);
    spec_copy(&pipeline->arena, spec, &pipeline->spec);
    if (spec->at.length > 0) {
        err = scheduler_cron_parse(spec->at, &pipeline->cron);
        if (err == MR_OK)
            err = scheduler_zone_open(spec->timezone, &pipeline->zone);
    }
    if (err != MR_OK) {
        pipeline_free(pipeline);
        return err;
    }
    *mr_array_add(&scheduler->pipelines) = pipeline;
    if (scheduler->ready) {
        pipeline_restore(pipeline);
        pipeline_begin(pipeline);
    }
    return MR_OK;
}

static void free_values(struct mr_map *map)
{
    struct mr_map_entry *entry;
    for (size_t i = 0; (entry = mr_map_next(map, &i)) != NULL;)
        mr_free(entry->value);
    mr_map_fini(map);
}

static void closed(struct mr_task *task)
{
    struct scheduler *scheduler = mr_container(task, struct scheduler, history_closed);
    struct mr_task *done = scheduler->closed;
    struct mr_loop *loop = scheduler->loop;
    for (size_t i = 0; i < scheduler->pipelines.count; i++)
        pipeline_free(scheduler->pipelines.items[i]);
    mr_array_fini(&scheduler->pipelines);
    for (size_t i = 0; i < scheduler->stored_order.count; i++)
        mr_free(scheduler->stored_order.items[i]);
    mr_array_fini(&scheduler->stored_order);
    free_values(&scheduler->stored_runs);
    free_values(&scheduler->stored_states);
    http_client_free(scheduler->http);
    postgres_conn_close(scheduler->postgres);
    mr_arena_fini(&scheduler->arena);
    mr_free(scheduler);
    if (done != NULL)
        mr_loop_post(loop, done);
}

void scheduler_close(struct scheduler *scheduler, struct mr_task *done)
{
    scheduler->closing = true;
    scheduler->closed = done;
    scheduler->history_closed.run = closed;
    for (size_t i = 0; i < scheduler->pipelines.count; i++) {
        struct scheduler_pipeline *pipeline = scheduler->pipelines.items[i];
        mr_timer_stop(&pipeline->timer);
        for (struct scheduler_run *run = pipeline->runs; run != NULL; run = run->next)
            scheduler_run_cancel(run);
    }
    scheduler_history_close(scheduler->history, &scheduler->history_closed);
}

mr_err scheduler_trigger(struct scheduler *scheduler, mr_str name, char run_id[64])
{
    struct scheduler_pipeline *pipeline = scheduler_find(scheduler, name);
    if (pipeline == NULL)
        return MR_NOT_FOUND;
    if (!scheduler->ready)
        return mr_fail(MR_AGAIN, "the scheduler is still reading its history");
    struct scheduler_run *run = run_make(pipeline, true, wall_us(scheduler));
    snprintf(run_id, 64, "%s", run->id);
    run_start(run);
    return MR_OK;
}

mr_err scheduler_pause(struct scheduler *scheduler, mr_str name, bool paused)
{
    struct scheduler_pipeline *pipeline = scheduler_find(scheduler, name);
    if (pipeline == NULL)
        return MR_NOT_FOUND;
    if (pipeline->paused != paused) {
        pipeline->paused = paused;
        if (!paused && pipeline->due_us != INT64_MAX && !pipeline->spec.catchup)
            pipeline->due_us = due_after(pipeline, wall_us(scheduler));
        put_state(pipeline);
        pipeline_wait(pipeline);
    }
    return MR_OK;
}

/* ---- views ---- */

mr_err scheduler_runs(const struct scheduler *scheduler, mr_str name, size_t count_max,
                      struct mr_arena *arena, struct scheduler_run_view **out, size_t *count)
{
    struct scheduler_pipeline *pipeline = scheduler_find(scheduler, name);
    if (pipeline == NULL)
        return MR_NOT_FOUND;
    struct scheduler_run_view *views = mr_arena_array(arena, struct scheduler_run_view,
                                                      count_max + 1);
    *count = 0;
    for (struct scheduler_run *run = pipeline->runs; run != NULL && *count < count_max;
         run = run->next) {
        struct scheduler_step_view *steps = mr_arena_array(arena, struct scheduler_step_view,
                                                           run->step_count + 1);
        for (size_t i = 0; i < run->step_count; i++)
            steps[i] = run->steps[i].view;
        views[(*count)++] = (struct scheduler_run_view){mr_str_from(run->id),
                                                        run->state,
                                                        run->manual ? "manual" : "scheduled",
                                                        run->due_us,
                                                        run->started_us,
                                                        run->ended_us,
                                                        steps,
                                                        run->step_count};
    }
    *out = views;
    return MR_OK;
}

mr_str scheduler_trouble(const struct scheduler *scheduler, mr_str name, mr_str step_name)
{
    const struct scheduler_pipeline *pipeline = scheduler_find(scheduler, name);
    for (struct scheduler_run *run = pipeline == NULL ? NULL : pipeline->runs; run != NULL;
         run = run->next)
        for (size_t i = 0; i < run->step_count; i++) {
            const struct scheduler_run_step *step = &run->steps[i];
            if (mr_str_equal(step->view.name, step_name) && step->task.waits[0] != '\0')
                return mr_str_from(step->task.waits);
            if (mr_str_equal(step->view.name, step_name) &&
                (step->view.state == SCHEDULER_STEP_SUCCESS || step->view.error.length > 0))
                return step->view.error;
        }
    return MR_STR_NULL;
}

mr_err scheduler_next(const struct scheduler *scheduler, mr_str name, int64_t *due_us, bool *paused)
{
    struct scheduler_pipeline *pipeline = scheduler_find(scheduler, name);
    if (pipeline == NULL)
        return MR_NOT_FOUND;
    *due_us = pipeline->due_us;
    *paused = pipeline->paused;
    return MR_OK;
}

mr_err scheduler_log(struct scheduler *scheduler, mr_str name, mr_str run_id, mr_str step_name,
                     int try, struct mr_buf *out)
{
    struct scheduler_pipeline *pipeline = scheduler_find(scheduler, name);
    struct scheduler_run *run = pipeline == NULL ? NULL : scheduler_run_find(pipeline, run_id);
    struct mr_arena arena;
    if (run == NULL)
        return MR_NOT_FOUND;
    for (size_t i = 0; i < run->step_count; i++) {
        struct scheduler_run_step *step = &run->steps[i];
        if (!mr_str_equal(step->view.name, step_name))
            continue;
        if (step->running && (try <= 0 || try == step->view.tries)) {
            mr_buf_str(out, mr_buf_as_str(&step->task.log));
            return MR_OK;
        }
        mr_arena_init(&arena);
        mr_str path = scheduler_run_log_path(&arena, scheduler->options.folder, name, run_id,
                                             step_name, try > 0 ? try : step->view.tries);
        mr_err err = mr_file_read(mr_arena_cstr(&arena, path), 2 * SCHEDULER_LOG_BYTES_MAX, out);
        mr_arena_fini(&arena);
        return err;
    }
    return mr_fail(MR_NOT_FOUND, "run `%.*s` has no step `%.*s`", MR_STR_ARG(run_id),
                   MR_STR_ARG(step_name));
}
