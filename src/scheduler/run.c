/* scheduler/run.c: one run: its steps in order, each tried until it succeeds or has no tries left.
 *
 *   WAITING --step_start--> RUNNING --step_ended--> SUCCESS
 *      |                      |  ^
 *      |                      |  `--retry_due-- UP_FOR_RETRY   (tries are left)
 *      |                      `--------------> FAILED          (none are left)
 *      `--step_skip--> UPSTREAM_FAILED          (one that it comes after has not succeeded)
 *
 * A run is over when no step can move; it has succeeded when all its steps have. */
#include "scheduler/run.h"

#include <stdarg.h>
#include <stdio.h>

#include "json/json.h"

static const char *const run_words[] = {
#define RUN(id, word, final) word,
#define STEP(id, word, final)
#include "scheduler/states.def"
};
static const char *const step_words[] = {
#define RUN(id, word, final)
#define STEP(id, word, final) word,
#include "scheduler/states.def"
};
static const bool step_final[] = {
#define RUN(id, word, final)
#define STEP(id, word, final) final,
#include "scheduler/states.def"
};

const char *scheduler_run_word(enum scheduler_run_state state)
{
    return run_words[state];
}

const char *scheduler_step_word(enum scheduler_step_state state)
{
    return step_words[state];
}

/* ---- tasks ---- */

void scheduler_task_say(struct scheduler_task *task, const char *format, ...)
{
    char line[2048], when[32];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (task->log.length > SCHEDULER_LOG_BYTES_MAX)
        return;
    mr_time_format(mr_clock_wall_us(mr_loop_clock(task->loop)), 3, when);
    mr_buf_printf(&task->log, "%s %s\n", when, line);
    if (task->log.length > SCHEDULER_LOG_BYTES_MAX)
        mr_buf_printf(&task->log, "%s the rest of this log is left out\n", when);
}

void scheduler_task_end(struct scheduler_task *task, mr_err err)
{
    mr_assert(task->state == NULL);
    task->ended(task, err);
}

/* ---- the log of a try: kept in memory while it runs, a file afterwards ---- */

struct log_job {
    struct mr_job job;
    char *folder, *path;
    struct mr_buf text;
};

static void log_write(struct mr_job *job)
{
    struct log_job *log = mr_container(job, struct log_job, job);
    if (mr_folder_make(log->folder, 0700) != MR_OK ||
        mr_file_write(log->path, mr_buf_as_str(&log->text), 0600) != MR_OK)
        mr_log(MR_LOG_WARN, "scheduler", "the log of a step is lost: %s", mr_why());
}

static void log_written(struct mr_job *job)
{
    struct log_job *log = mr_container(job, struct log_job, job);
    mr_free(log->folder);
    mr_free(log->path);
    mr_buf_fini(&log->text);
    mr_free(log);
}

/* Names become file names: all but letters, digits and a few signs turn into `_`. */
static void path_part(struct mr_buf *out, mr_str name)
{
    for (size_t i = 0; i < name.length; i++) {
        char c = name.data[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     c == '-' || c == '_' || (c == '.' && i > 0);
        mr_buf_u8(out, plain ? (uint8_t)c : '_');
    }
}

mr_str scheduler_run_log_path(struct mr_arena *arena, mr_str folder, mr_str pipeline, mr_str run_id,
                              mr_str step, int try)
{
    struct mr_buf path = {0};
    mr_buf_str(&path, folder);
    mr_buf_u8(&path, '/');
    path_part(&path, pipeline);
    mr_buf_u8(&path, '/');
    path_part(&path, run_id);
    mr_buf_u8(&path, '/');
    path_part(&path, step);
    mr_buf_printf(&path, ".%d.log", try);
    mr_str copy = mr_arena_str(arena, mr_buf_as_str(&path));
    mr_buf_fini(&path);
    return copy;
}

static void step_keep_log(struct scheduler_run_step *step)
{
    struct scheduler *scheduler = step->run->pipeline->scheduler;
    struct log_job *log = mr_new(struct log_job);
    struct mr_arena arena;
    mr_arena_init(&arena);
    mr_str path = scheduler_run_log_path(&arena, scheduler_options(scheduler)->folder,
                                         step->run->pipeline->spec.name, mr_str_from(step->run->id),
                                         step->view.name, step->view.tries);
    size_t slash = path.length;
    while (slash > 0 && path.data[slash - 1] != '/')
        slash--;
    log->path = mr_copy_cstr(path);
    log->folder = mr_copy_cstr(mr_str_slice(path, 0, slash - 1));
    log->text = step->task.log;
    step->task.log = (struct mr_buf){0};
    log->job = (struct mr_job){
        .work = log_write, .done = log_written, .loop = scheduler_loop(scheduler)};
    mr_disk_submit(scheduler_disk(scheduler), &log->job);
    mr_arena_fini(&arena);
}

/* ---- steps ---- */

static int64_t now_us(const struct scheduler_run *run)
{
    return mr_clock_wall_us(mr_loop_clock(scheduler_loop(run->pipeline->scheduler)));
}

static void step_timed_out(struct mr_timer *timer)
{
    struct scheduler_run_step *step = mr_container(timer, struct scheduler_run_step, timer);
    step->task.driver->cancel(&step->task);
    mr_assert(step->task.state == NULL);
    step->task.ended(&step->task, mr_fail(MR_TIMEOUT, "not done within %lld ms (`timeout:`)",
                                          (long long)(step->task.step->timeout_us / 1000)));
}

static void step_start(struct scheduler_run_step *step)
{
    static const struct scheduler_task_driver *const drivers[] = {
        [SCHEDULER_GET] = &scheduler_task_get,
        [SCHEDULER_RUN] = &scheduler_task_run,
        [SCHEDULER_SQL] = &scheduler_task_sql,
        [SCHEDULER_REQUIRE] = &scheduler_task_require,
    };
    struct scheduler_task *task = &step->task;
    struct mr_loop *loop = scheduler_loop(step->run->pipeline->scheduler);
    step->view.state = SCHEDULER_STEP_RUNNING;
    step->view.tries++;
    step->running = true;
    if (step->view.started_us == 0)
        step->view.started_us = now_us(step->run);
    task->driver = drivers[task->step->verb];
    task->records = task->rows = task->retry_after_us = 0;
    scheduler_task_say(task, "step %.*s, try %d of %lld: %s %.*s", MR_STR_ARG(step->view.name),
                       step->view.tries, (long long)task->step->retries + 1, task->driver->word,
                       MR_STR_ARG(task->step->work));
    step->timer.run = step_timed_out;
    mr_timer_start(loop, &step->timer, task->step->timeout_us);
    task->driver->start(task);
}

static void retry_due(struct mr_timer *timer)
{
    step_start(mr_container(timer, struct scheduler_run_step, timer));
}

/* The pause doubles with each try, up to its limit, a tenth more or less by chance. */
static int64_t retry_pause(struct scheduler_run_step *step)
{
    const struct scheduler_step_spec *spec = step->task.step;
    int64_t pause = spec->delay_us;
    for (int i = 1; i < step->view.tries && pause < spec->delay_us_max; i++)
        pause *= 2;
    if (pause > spec->delay_us_max)
        pause = spec->delay_us_max;
    uint64_t spread = (uint64_t)pause / 5 + 1;
    pause += (int64_t)mr_random_below(mr_loop_random(step->task.loop), spread) -
             (int64_t)spread / 2;
    return pause > step->task.retry_after_us ? pause : step->task.retry_after_us;
}

static void step_ended(struct scheduler_task *task, mr_err err)
{
    struct scheduler_run_step *step = mr_container(task, struct scheduler_run_step, task);
    mr_timer_stop(&step->timer);
    step->running = false;
    task->waits[0] = '\0';
    step->view.records = task->records;
    step->view.rows = task->rows;
    step->error[0] = '\0';
    if (err == MR_OK) {
        scheduler_task_say(task, "succeeded: %lld records, %lld rows", (long long)task->records,
                           (long long)task->rows);
        step->view.state = SCHEDULER_STEP_SUCCESS;
    } else {
        snprintf(step->error, sizeof step->error, "%s", mr_why());
        bool again = step->view.tries <= task->step->retries;
        scheduler_task_say(task, "failed: %s%s", step->error, again ? "" : " (no tries are left)");
        step->view.state = again ? SCHEDULER_STEP_UP_FOR_RETRY : SCHEDULER_STEP_FAILED;
        mr_log(MR_LOG_WARN, "scheduler", "%.*s, step %.*s, try %d: %s",
               MR_STR_ARG(step->run->pipeline->spec.name), MR_STR_ARG(step->view.name),
               step->view.tries, step->error);
    }
    step->view.error = mr_str_from(step->error);
    step_keep_log(step);
    if (step->view.state == SCHEDULER_STEP_UP_FOR_RETRY) {
        step->timer.run = retry_due;
        mr_timer_start(task->loop, &step->timer, retry_pause(step));
        scheduler_run_changed(step->run);
        return;
    }
    step->view.ended_us = now_us(step->run);
    scheduler_run_go(step->run);
}

/* Whether a waiting step's turn has come, is not yet, or never comes. */
static enum { TURN_NOW, TURN_LATER, TURN_NEVER } step_turn(const struct scheduler_run_step *step)
{
    const struct scheduler_step_spec *spec = step->task.step;
    bool later = false;
    for (size_t i = 0; i < spec->after_count; i++) {
        enum scheduler_step_state state = step->run->steps[spec->after[i]].view.state;
        if (state == SCHEDULER_STEP_FAILED || state == SCHEDULER_STEP_UPSTREAM_FAILED)
            return TURN_NEVER;
        later = later || state != SCHEDULER_STEP_SUCCESS;
    }
    return later ? TURN_LATER : TURN_NOW;
}

void scheduler_run_go(struct scheduler_run *run)
{
    bool open = false, failed = false;
    for (size_t i = 0; i < run->step_count; i++) {
        struct scheduler_run_step *step = &run->steps[i];
        if (step->view.state == SCHEDULER_STEP_WAITING && step_turn(step) == TURN_NEVER)
            step->view.state = SCHEDULER_STEP_UPSTREAM_FAILED;
    }
    /* Steps only start here, so one that ends inside its start comes back through step_ended(). */
    for (size_t i = 0; i < run->step_count && run->state == SCHEDULER_RUN_RUNNING; i++) {
        struct scheduler_run_step *step = &run->steps[i];
        if (step->view.state == SCHEDULER_STEP_WAITING && step_turn(step) == TURN_NOW)
            step_start(step);
    }
    if (run->state != SCHEDULER_RUN_RUNNING)
        return;
    for (size_t i = 0; i < run->step_count; i++) {
        enum scheduler_step_state state = run->steps[i].view.state;
        open = open || !step_final[state];
        failed = failed || (step_final[state] && state != SCHEDULER_STEP_SUCCESS);
    }
    if (!open) {
        run->state = failed ? SCHEDULER_RUN_FAILED : SCHEDULER_RUN_SUCCESS;
        run->ended_us = now_us(run);
        scheduler_run_ended(run);
        return;
    }
    scheduler_run_changed(run);
}

void scheduler_run_cancel(struct scheduler_run *run)
{
    for (size_t i = 0; i < run->step_count; i++) {
        struct scheduler_run_step *step = &run->steps[i];
        mr_timer_stop(&step->timer);
        if (step->running)
            step->task.driver->cancel(&step->task);
        step->running = false;
    }
}

/* ---- life ---- */

struct scheduler_run *scheduler_run_new(struct scheduler_pipeline *pipeline, const char *id,
                                        bool manual, int64_t due_us)
{
    struct scheduler_run *run = mr_new(struct scheduler_run);
    run->pipeline = pipeline;
    snprintf(run->id, sizeof run->id, "%s", id);
    run->manual = manual;
    run->due_us = due_us;
    run->step_count = pipeline->spec.step_count;
    run->steps = mr_new_array(struct scheduler_run_step, run->step_count + 1);
    for (size_t i = 0; i < run->step_count; i++) {
        struct scheduler_run_step *step = &run->steps[i];
        char labels[512];
        snprintf(labels, sizeof labels, "pipeline=\"%.*s\",step=\"%.*s\"",
                 MR_STR_ARG(pipeline->spec.name), MR_STR_ARG(pipeline->spec.steps[i].name));
        step->run = run;
        step->index = i;
        step->view.name = pipeline->spec.steps[i].name;
        step->task = (struct scheduler_task){
            .scheduler = pipeline->scheduler,
            .loop = scheduler_loop(pipeline->scheduler),
            .step = &pipeline->spec.steps[i],
            .run = run->id,
            .fetched = mr_counter_get(MR_METRIC_FETCHED, mr_str_from(labels)),
            .written = mr_counter_get(MR_METRIC_ROWS, mr_str_from(labels)),
            .ended = step_ended,
        };
    }
    return run;
}

void scheduler_run_free(struct scheduler_run *run)
{
    if (run == NULL)
        return;
    for (size_t i = 0; i < run->step_count; i++) {
        mr_assert(run->steps[i].task.state == NULL);
        mr_timer_stop(&run->steps[i].timer);
        mr_buf_fini(&run->steps[i].task.log);
    }
    mr_free(run->steps);
    mr_free(run);
}

/* ---- the record ---- */

static void print_time(struct mr_buf *out, const char *name, int64_t us)
{
    char when[32];
    if (us == 0) {
        mr_buf_printf(out, ",\"%s\":null", name);
        return;
    }
    mr_time_format(us, 6, when);
    mr_buf_printf(out, ",\"%s\":\"%s\",\"%s_us\":%lld", name, when, name, (long long)us);
}

void scheduler_run_print(const struct scheduler_run *run, struct mr_buf *out)
{
    mr_buf_cstr(out, "{\"run_id\":");
    mr_buf_json(out, mr_str_from(run->id));
    mr_buf_cstr(out, ",\"pipeline\":");
    mr_buf_json(out, run->pipeline->spec.name);
    mr_buf_printf(out, ",\"state\":\"%s\",\"run_type\":\"%s\"", run_words[run->state],
                  run->manual ? "manual" : "scheduled");
    print_time(out, "due", run->due_us);
    print_time(out, "start", run->started_us);
    print_time(out, "end", run->ended_us);
    mr_buf_cstr(out, ",\"steps\":[");
    for (size_t i = 0; i < run->step_count; i++) {
        const struct scheduler_step_view *view = &run->steps[i].view;
        mr_buf_printf(out, "%s{\"name\":", i == 0 ? "" : ",");
        mr_buf_json(out, view->name);
        mr_buf_printf(out, ",\"state\":\"%s\",\"tries\":%d,\"records\":%lld,\"rows\":%lld",
                      step_words[view->state], view->tries, (long long)view->records,
                      (long long)view->rows);
        print_time(out, "start", view->started_us);
        print_time(out, "end", view->ended_us);
        mr_buf_cstr(out, ",\"error\":");
        mr_buf_json(out, view->error);
        mr_buf_u8(out, '}');
    }
    mr_buf_cstr(out, "]}");
}

static int word_index(const char *const *words, size_t count, mr_str word)
{
    for (size_t i = 0; i < count; i++)
        if (mr_str_equal(word, mr_str_from(words[i])))
            return (int)i;
    return -1;
}

static void restore_step(struct scheduler_run *run, const struct json_value *record)
{
    for (size_t i = 0; i < run->step_count; i++) {
        struct scheduler_run_step *step = &run->steps[i];
        int state = word_index(step_words, mr_count_of(step_words),
                               json_str(json_get(record, MR_STR("state")), MR_STR_NULL));
        if (state < 0 ||
            !mr_str_equal(step->view.name, json_str(json_get(record, MR_STR("name")), MR_STR_NULL)))
            continue;
        mr_str error = json_str(json_get(record, MR_STR("error")), MR_STR_NULL);
        step->view.state = (enum scheduler_step_state)state;
        step->view.tries = (int)json_i64(json_get(record, MR_STR("tries")), 0);
        step->view.records = json_i64(json_get(record, MR_STR("records")), 0);
        step->view.rows = json_i64(json_get(record, MR_STR("rows")), 0);
        step->view.started_us = json_i64(json_get(record, MR_STR("start_us")), 0);
        step->view.ended_us = json_i64(json_get(record, MR_STR("end_us")), 0);
        snprintf(step->error, sizeof step->error, "%.*s", MR_STR_ARG(error));
        step->view.error = mr_str_from(step->error);
        /* A try that a kill interrupted is made again and does not count. */
        if (!step_final[state]) {
            if (state == SCHEDULER_STEP_RUNNING && step->view.tries > 0)
                step->view.tries--;
            step->view.state = SCHEDULER_STEP_WAITING;
        }
    }
}

mr_err scheduler_run_restore(struct scheduler_pipeline *pipeline, const struct json_value *record,
                             struct scheduler_run **out)
{
    const struct json_value *steps = json_get(record, MR_STR("steps"));
    mr_str id = json_str(json_get(record, MR_STR("run_id")), MR_STR_NULL);
    int state = word_index(run_words, mr_count_of(run_words),
                           json_str(json_get(record, MR_STR("state")), MR_STR_NULL));
    char text[64];
    if (id.length == 0 || id.length >= sizeof text || state < 0)
        return mr_fail(MR_INVALID, "a record of _millrace_runs is no run");
    snprintf(text, sizeof text, "%.*s", MR_STR_ARG(id));
    bool manual = mr_str_equal(json_str(json_get(record, MR_STR("run_type")), MR_STR_NULL),
                               MR_STR("manual"));
    struct scheduler_run *run = scheduler_run_new(pipeline, text, manual,
                                                  json_i64(json_get(record, MR_STR("due_us")), 0));
    run->state = (enum scheduler_run_state)state;
    run->started_us = json_i64(json_get(record, MR_STR("start_us")), 0);
    run->ended_us = json_i64(json_get(record, MR_STR("end_us")), 0);
    for (uint32_t i = 0; json_at(steps, i) != NULL; i++)
        restore_step(run, json_at(steps, i));
    *out = run;
    return MR_OK;
}
