/* up/stages.c: the life of everything behind the listeners, on the work loop.
 *
 *   begin: log, tables and PostgreSQL get ready side by side
 *      --log, registry, PostgreSQL ready--> captures
 *      --log, registry, tables ready-----> streams
 *      --log, PostgreSQL ready-----------> scheduler
 *   stop: scheduler -> captures -> engine -> console, registry, randomuser -> store -> broker -> PostgreSQL
 *
 * Until all is ready a timer looks every few milliseconds; afterwards it refreshes the status. */
#include "up/run.h"

#include <stdio.h>

enum { LOOK_US = 4000, REFRESH_US = 500000, POSTGRES_LOOK_US = 2000000 };

/* ---- servers on other loops ---- */

static void fail(struct up *up, const char *why)
{
    if (up->stopping != 0) /* the first trouble is the one to tell */
        return;
    fprintf(stderr, "millrace up: %s\n", why);
    mr_log(MR_LOG_ERROR, "up", "%s", why);
    up->exit_status = 1;
    up_stages_stop(up);
}

static void broker_is_ready(struct mr_task *task)
{
    mr_container(task, struct up, broker_ready)->broker_is_ready = true;
}

static void broker_says(struct mr_task *task) /* on the log's loop */
{
    struct up *up = mr_container(task, struct up, broker_ask);
    mr_loop_post(up->work, &up->broker_ready);
}

static void broker_ask(struct mr_task *task) /* on the log's loop */
{
    struct up *up = mr_container(task, struct up, broker_ask);
    task->run = broker_says;
    broker_server_when_ready(up->broker, task);
}

static void store_is_ready(struct mr_task *task)
{
    struct up *up = mr_container(task, struct up, store_ready);
    up->store_is_ready = up->store_why[0] == '\0';
    if (!up->store_is_ready)
        fail(up, up->store_why);
}

/* On the store's loop: looks again until its folder is read. */
static void store_look(struct mr_timer *timer)
{
    struct up *up = mr_container(timer, struct up, store_timer);
    mr_err err = store_server_ready(up->store);
    if (err == MR_AGAIN) {
        mr_timer_start(up->tables, timer, LOOK_US);
        return;
    }
    if (err != MR_OK)
        snprintf(up->store_why, sizeof up->store_why, "%s", store_server_why(up->store));
    mr_loop_post(up->work, &up->store_ready);
}

static void store_ask(struct mr_task *task)
{
    store_look(&mr_container(task, struct up, store_ask)->store_timer);
}

/* ---- PostgreSQL, on a thread of its own ---- */

static void postgres_work(struct mr_job *job) /* on the PostgreSQL thread */
{
    struct up *up = mr_container(job, struct up, postgres_job);
    struct postgres_server_options options = {.folder = up->folder};
    if (up->postgres != NULL) {
        up->postgres_err = postgres_server_check(up->postgres);
    } else {
        up->postgres_err = up_options_port(&up->options, UP_PORT_POSTGRES, false, &options.port);
        if (up->postgres_err == MR_OK)
            up->postgres_err = postgres_server_start(&options, &up->postgres);
    }
    if (up->postgres_err != MR_OK)
        snprintf(up->postgres_why, sizeof up->postgres_why, "%s", mr_why());
}

static void postgres_looked(struct mr_job *job)
{
    struct up *up = mr_container(job, struct up, postgres_job);
    struct up_seam *seam = &up->seams[UP_POSTGRES];
    struct mr_buf shown = {0};
    up->postgres_busy = false;
    if (up->stopping != 0)
        return;
    if (up->postgres_err != MR_OK) {
        if (up->postgres == NULL)
            fail(up, up->postgres_why);
        else
            mr_log(MR_LOG_ERROR, "up", "PostgreSQL: %s", up->postgres_why);
        return;
    }
    if (up->postgres_is_ready)
        return;
    up->postgres_is_ready = true;
    postgres_address_copy(&up->arena, postgres_server_address(up->postgres), &up->postgres_address);
    postgres_address_print(&shown, &up->postgres_address);
    seam->shown = seam->address = mr_arena_str(&up->arena, mr_buf_as_str(&shown));
    mr_buf_fini(&shown);
}

static void postgres_submit(struct up *up)
{
    if (up->postgres_busy)
        return;
    up->postgres_busy = true;
    up->postgres_job = (struct mr_job){
        .work = postgres_work, .done = postgres_looked, .loop = up->work};
    mr_disk_submit(up->postgres_disk, &up->postgres_job);
}

/* ---- stages ---- */

static bool step_makes(const struct up *up, const struct pipeline_target *table)
{
    for (int f = 0; f < up->file_count; f++)
        for (size_t i = 0; i < up->files[f].pipeline->step_count; i++) {
            const struct pipeline_target *into = &up->files[f].pipeline->steps[i].into;
            if (mr_str_equal(into->container, table->container) &&
                mr_str_equal(into->name, table->name))
                return true;
        }
    return false;
}

static void capture_begin(struct up *up, struct up_stage *stage)
{
    const struct pipeline_stream *stream = &stage->file->pipeline->streams[stage->stream];
    struct capture_spec spec = {
        .name = stream->name,
        .topic = stream->name,
        .postgres = up->postgres_address,
        .table = mr_arena_printf(&up->arena, "%.*s.%.*s", MR_STR_ARG(stream->capture.container),
                                 MR_STR_ARG(stream->capture.name)),
        .create = step_makes(up, &stream->capture),
        .kafka = up->seams[UP_KAFKA].address,
        .kafka_security = up->kafka_security,
        .registry = up_seams_registry(up),
        .partitions = (uint32_t)stream->partitions,
    };
    if (capture_open(up->work, &spec, &stage->capture) != MR_OK)
        fail(up, mr_why());
    stage->started = true;
}

static void captures_begin(struct up *up)
{
    up->stages_begun = true;
    for (size_t i = 0; i < up->stage_count; i++) {
        struct up_stage *stage = &up->stages[i];
        if (stage->file->pipeline->streams[stage->stream].sql.text.length == 0)
            capture_begin(up, stage);
    }
}

struct accepted {
    struct engine_reply reply;
    struct up *up;
};

static void stream_accepted(struct engine_reply *reply)
{
    struct accepted *accepted = mr_container(reply, struct accepted, reply);
    struct up *up = accepted->up;
    if (reply->err != MR_OK)
        fail(up, reply->why);
    mr_arena_fini(&reply->arena);
    mr_free(accepted);
}

static void streams_begin(struct up *up)
{
    up->engine_begun = true;
    for (size_t i = 0; i < up->stage_count; i++) {
        struct up_stage *stage = &up->stages[i];
        if (stage->file->pipeline->streams[stage->stream].sql.text.length == 0)
            continue;
        struct accepted *accepted = mr_new(struct accepted);
        accepted->up = up;
        accepted->reply.loop = up->work;
        accepted->reply.done = stream_accepted;
        engine_start(up->engine, &stage->file->plan->streams[stage->stream].spec, &accepted->reply);
        stage->started = true;
    }
}

static mr_err scheduler_add_file(struct up *up, const struct up_file *file)
{
    const struct pipeline *pipeline = file->pipeline;
    struct scheduler_step_spec *steps = mr_arena_array(&up->arena, struct scheduler_step_spec,
                                                       pipeline->step_count + 1);
    struct scheduler_pipeline_spec spec = {
        .name = pipeline->name,
        .about = pipeline->about,
        .text = pipeline->text,
        .every_us = pipeline->every_us,
        .at = pipeline->at.text,
        .timezone = pipeline->timezone.text,
        .overlap = (enum scheduler_overlap)pipeline->overlap,
        .catchup = pipeline->catchup,
        .steps = steps,
        .step_count = pipeline->step_count,
    };
    for (size_t i = 0; i < pipeline->step_count; i++) {
        const struct pipeline_step *step = &pipeline->steps[i];
        steps[i] = (struct scheduler_step_spec){
            .name = step->name,
            .verb = (enum scheduler_verb)step->verb,
            .work = step->verb == PIPELINE_GET
                        ? pipeline_url(&up->arena, step->work.text, MR_STR("randomuser"),
                                       up->seams[UP_RANDOMUSER].address)
                        : step->work.text,
            .each = step->each.text,
            .table = step->into.connection.length == 0
                         ? MR_STR_NULL
                         : mr_arena_printf(&up->arena, "%.*s.%.*s",
                                           MR_STR_ARG(step->into.container),
                                           MR_STR_ARG(step->into.name)),
            .key = step->key,
            .timeout_us = step->timeout_us,
            .retries = step->retry.times,
            .delay_us = step->retry.delay_us,
            .delay_us_max = step->retry.delay_us_max,
            .after = step->after,
            .after_count = step->after_count,
        };
    }
    return pipeline->step_count == 0 ? MR_OK : scheduler_add(up->scheduler, &spec);
}

static void scheduler_begin(struct up *up)
{
    struct scheduler_options options = {
        .kafka = up->seams[UP_KAFKA].address,
        .kafka_security = up->kafka_security,
        .postgres = up->postgres_address,
        .folder = mr_arena_printf(&up->arena, "%s/runs", up->folder),
        .space_folder = up->seams[UP_POSTGRES].embedded ? mr_str_from(up->folder) : MR_STR_NULL,
    };
    up->scheduler_begun = true;
    mr_err err = scheduler_open(up->work, up->disk, &options, &up->scheduler);
    for (int f = 0; f < up->file_count && err == MR_OK; f++)
        err = scheduler_add_file(up, &up->files[f]);
    if (err != MR_OK)
        fail(up, mr_why());
}

/* ---- what is ready ---- */

static void stage_reason(struct up *up, const struct up_stage *stage, struct mr_buf *out)
{
    const struct pipeline_stream *stream = &stage->file->pipeline->streams[stage->stream];
    if (stream->sql.text.length == 0) {
        struct capture_status status = {.state = CAPTURE_CONNECTING};
        if (stage->capture != NULL)
            capture_status(stage->capture, &status);
        if (status.state != CAPTURE_STREAMING && status.state != CAPTURE_SNAPSHOT)
            mr_buf_printf(out, "capture %.*s: %s%s%s\n", MR_STR_ARG(stream->name),
                          capture_state_name(status.state), status.sentence[0] != '\0' ? ": " : "",
                          status.sentence);
        return;
    }
    const struct engine_status *status = up_status_stream(up, stream->name);
    if (status == NULL)
        mr_buf_printf(out, "stream %.*s: starting\n", MR_STR_ARG(stream->name));
    else if (status->state != ENGINE_RUNNING && status->state != ENGINE_CHECKPOINTING &&
             status->state != ENGINE_PAUSED)
        mr_buf_printf(out, "stream %.*s: %s%s%.*s\n", MR_STR_ARG(stream->name),
                      engine_state_word(status->state), status->error.length > 0 ? ": " : "",
                      MR_STR_ARG(status->error));
}

void up_stages_reasons(struct up *up, struct mr_buf *out)
{
    for (int id = 0; id < UP_SEAM_COUNT; id++) {
        const char *why = id == UP_REGISTRY && up->registry != NULL
                              ? registry_server_why(up->registry)
                              : "";
        if (!up->seams[id].ready)
            mr_buf_printf(out, "%s: starting%s%s\n", up->seams[id].word,
                          why[0] != '\0' ? ", waits: " : "", why);
    }
    if (!up->scheduler_begun || !scheduler_ready(up->scheduler))
        mr_buf_cstr(out, "scheduler: starting\n");
    for (size_t i = 0; i < up->stage_count; i++)
        stage_reason(up, &up->stages[i], out);
}

static void look_at_seams(struct up *up)
{
    struct up_seam *seams = up->seams;
    if (up->broker != NULL)
        seams[UP_KAFKA].ready = up->broker_is_ready;
    if (up->registry != NULL)
        seams[UP_REGISTRY].ready = registry_server_ready(up->registry);
    if (up->store != NULL)
        seams[UP_CASSANDRA].ready = up->store_is_ready;
    if (seams[UP_POSTGRES].needed)
        seams[UP_POSTGRES].ready = up->postgres_is_ready;
    if (up->randomuser != NULL)
        seams[UP_RANDOMUSER].ready = true;
}

static void say_ready(struct up *up)
{
    struct mr_buf reasons = {0};
    up_stages_reasons(up, &reasons);
    if (reasons.length == 0) {
        up->ready = true;
        up->ready_us = mr_clock_wall_us(mr_loop_clock(up->work));
        mr_log(MR_LOG_INFO, "up", "ready after %lld ms",
               (long long)((up->ready_us - up->started_us) / 1000));
    }
    mr_buf_fini(&reasons);
}

static void look(struct mr_timer *timer)
{
    struct up *up = mr_container(timer, struct up, look);
    struct up_seam *seams = up->seams;
    if (up->stopping != 0)
        return;
    look_at_seams(up);
    bool log_ready = seams[UP_KAFKA].ready && seams[UP_REGISTRY].ready;
    if (!up->stages_begun && log_ready && seams[UP_POSTGRES].ready)
        captures_begin(up);
    if (!up->engine_begun && log_ready && seams[UP_CASSANDRA].ready)
        streams_begin(up);
    if (!up->scheduler_begun && seams[UP_KAFKA].ready && seams[UP_POSTGRES].ready)
        scheduler_begin(up);
    if (up->stopping != 0)
        return;
    if (up->engine_begun && up->engine != NULL)
        up_status_ask(up);
    if (!up->ready && up->stages_begun && up->engine_begun && up->scheduler_begun)
        say_ready(up);
    if (up->ready && up->postgres != NULL &&
        mr_loop_now_us(up->work) % POSTGRES_LOOK_US < REFRESH_US)
        postgres_submit(up);
    mr_timer_start(up->work, timer, up->ready ? REFRESH_US : LOOK_US);
}

void up_stages_begin(struct up *up)
{
    size_t count = 0;
    for (int f = 0; f < up->file_count; f++)
        count += up->files[f].pipeline->stream_count;
    up->stages = mr_arena_array(&up->arena, struct up_stage, count + 1);
    for (int f = 0; f < up->file_count; f++)
        for (size_t i = 0; i < up->files[f].plan->count; i++)
            up->stages[up->stage_count++] = (struct up_stage){
                .file = &up->files[f], .stream = up->files[f].plan->order[i]};
    up->broker_ready.run = broker_is_ready;
    up->broker_ask.run = broker_ask;
    up->store_ready.run = store_is_ready;
    up->store_ask.run = store_ask;
    up->store_timer.run = store_look;
    if (up->broker != NULL)
        mr_loop_post(up->log, &up->broker_ask);
    if (up->store != NULL)
        mr_loop_post(up->tables, &up->store_ask);
    if (up->seams[UP_POSTGRES].embedded && up->seams[UP_POSTGRES].needed && !up->postgres_is_ready)
        postgres_submit(up);
    up->look.run = look;
    mr_timer_start(up->work, &up->look, 0);
}

/* ---- the stop: one part after the other, each tells when it is done ---- */

static void stop_next(struct up *up);

static void part_stopped(struct mr_task *task)
{
    stop_next(mr_container(task, struct up, step_done));
}

/* From another loop: the next part is stopped on ours. */
static void part_stopped_there(struct mr_task *task)
{
    struct up *up = mr_container(task, struct up, step_done);
    task->run = part_stopped;
    mr_loop_post(up->work, task);
}

struct closing {
    struct mr_task task;
    struct up *up;
};

static void engine_close_there(struct mr_task *task)
{
    struct closing *closing = mr_container(task, struct closing, task);
    engine_close(closing->up->engine, &closing->up->step_done);
    mr_free(closing);
}

static void store_close_there(struct mr_task *task)
{
    struct closing *closing = mr_container(task, struct closing, task);
    mr_timer_stop(&closing->up->store_timer);
    store_server_close(closing->up->store, &closing->up->step_done);
    mr_free(closing);
}

static void broker_close_there(struct mr_task *task)
{
    struct closing *closing = mr_container(task, struct closing, task);
    broker_server_close(closing->up->broker, &closing->up->step_done);
    mr_free(closing);
}

static void close_there(struct up *up, struct mr_loop *loop, void (*run)(struct mr_task *task))
{
    struct closing *closing = mr_new(struct closing);
    closing->task.run = run;
    closing->up = up;
    up->step_done.run = part_stopped_there;
    mr_loop_post(loop, &closing->task);
}

static void postgres_stop(struct mr_job *job)
{
    struct up *up = mr_container(job, struct up, postgres_stop_job);
    postgres_server_stop(up->postgres);
    up->postgres = NULL;
}

static void postgres_stopped(struct mr_job *job)
{
    stop_next(mr_container(job, struct up, postgres_stop_job));
}

static bool stop_captures(struct up *up)
{
    while (up->stopping_stage < up->stage_count) {
        struct up_stage *stage = &up->stages[up->stopping_stage++];
        if (stage->capture != NULL) {
            struct capture *capture = stage->capture;
            stage->capture = NULL;
            up->stopping--; /* come back for the next one */
            capture_close(capture, &up->step_done);
            return true;
        }
    }
    return false;
}

static void stop_small_parts(struct up *up)
{
    net_http_close(up->http);
    console_close(up->console);
    randomuser_server_close(up->randomuser);
    up->http = NULL;
    up->console = NULL;
    up->randomuser = NULL;
}

/* Begins to stop part number `part`; true when it will tell. */
static bool stop_part(struct up *up, int part)
{
    switch (part) {
    case 1:
        if (up->scheduler == NULL)
            return false;
        scheduler_close(up->scheduler, &up->step_done);
        up->scheduler = NULL;
        return true;
    case 2:
        return stop_captures(up);
    case 3:
        if (up->engine != NULL)
            close_there(up, up->sql, engine_close_there);
        return up->engine != NULL;
    case 4:
        stop_small_parts(up);
        if (up->registry == NULL)
            return false;
        registry_server_close(up->registry, &up->step_done);
        return true;
    case 5:
        if (up->store != NULL)
            close_there(up, up->tables, store_close_there);
        return up->store != NULL;
    case 6:
        if (up->broker != NULL)
            close_there(up, up->log, broker_close_there);
        return up->broker != NULL;
    case 7:
        if (up->postgres == NULL && !up->postgres_busy)
            return false;
        /* Behind whatever the PostgreSQL thread does now; a second job, as the first may still run. */
        up->postgres_stop_job = (struct mr_job){
            .work = postgres_stop, .done = postgres_stopped, .loop = up->work};
        mr_disk_submit(up->postgres_disk, &up->postgres_stop_job);
        return true;
    default:
        mr_loop_post(up->front, &up->front_stop);
        return true;
    }
}

static void stop_next(struct up *up)
{
    do {
        up->step_done.run = part_stopped;
        up->stopping++;
    } while (!stop_part(up, up->stopping));
}

void up_stages_stop(struct up *up)
{
    if (up->stopping != 0)
        return;
    mr_timer_stop(&up->look);
    stop_next(up);
}
