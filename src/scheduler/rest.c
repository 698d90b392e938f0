/* scheduler/rest.c: Airflow's stable REST API (v1, Airflow 2.x) as far as the scheduler knows things:
 * a pipeline is a DAG, a run a dagRun, a step a taskInstance. Paths and fields: the API's specification
 * of Airflow 2.10. What is not here answers 404 as a problem, never a made-up value. */
#include "scheduler/run.h"

#include <stdio.h>

#include "json/json.h"

static const char *const json_type = "application/json";

static void problem(struct net_http_exchange *exchange, int status, const char *title,
                    const char *detail)
{
    struct mr_buf out = {0};
    mr_buf_printf(&out, "{\"status\":%d,\"title\":", status);
    mr_buf_json(&out, mr_str_from(title));
    mr_buf_cstr(&out, ",\"detail\":");
    mr_buf_json(&out, mr_str_from(detail));
    mr_buf_cstr(&out, ",\"type\":\"about:blank\"}");
    net_http_respond(exchange, status, "application/problem+json", mr_buf_as_str(&out));
    mr_buf_fini(&out);
}

static void reply(struct net_http_exchange *exchange, struct mr_buf *out)
{
    net_http_respond(exchange, 200, json_type, mr_buf_as_str(out));
    mr_buf_fini(out);
}

static void time_or_null(struct mr_buf *out, const char *name, int64_t us)
{
    char when[32];
    mr_time_format(us, 6, when);
    if (us == 0 || us == INT64_MAX)
        mr_buf_printf(out, ",\"%s\":null", name);
    else
        mr_buf_printf(out, ",\"%s\":\"%s\"", name, when);
}

/* ---- objects ---- */

static void print_dag(struct mr_buf *out, const struct scheduler_pipeline *pipeline)
{
    const struct scheduler_pipeline_spec *spec = &pipeline->spec;
    mr_buf_cstr(out, "{\"dag_id\":");
    mr_buf_json(out, spec->name);
    mr_buf_cstr(out, ",\"dag_display_name\":");
    mr_buf_json(out, spec->name);
    mr_buf_cstr(out, ",\"description\":");
    mr_buf_json(out, spec->about);
    mr_buf_printf(out,
                  ",\"is_paused\":%s,\"is_active\":true,\"is_subdag\":false,\"owners\":["
                  "\"millrace\"],\"tags\":[]",
                  pipeline->paused ? "true" : "false");
    mr_buf_printf(out, ",\"has_import_errors\":false,\"max_active_runs\":%d,\"schedule_interval\":",
                  spec->overlap == SCHEDULER_ALLOW ? 16 : 1);
    if (spec->at.length > 0) {
        mr_buf_cstr(out, "{\"__type\":\"CronExpression\",\"value\":");
        mr_buf_json(out, spec->at);
        mr_buf_u8(out, '}');
    } else if (spec->every_us > 0) {
        mr_buf_printf(
            out, "{\"__type\":\"TimeDelta\",\"days\":%lld,\"seconds\":%lld,\"microseconds\":%lld}",
            (long long)(spec->every_us / 86400000000),
            (long long)(spec->every_us / 1000000 % 86400), (long long)(spec->every_us % 1000000));
    } else {
        mr_buf_cstr(out, "null");
    }
    time_or_null(out, "next_dagrun", pipeline->due_us);
    time_or_null(out, "next_dagrun_create_after", pipeline->due_us);
    mr_buf_cstr(out, ",\"file_token\":");
    mr_buf_json(out, spec->name);
    mr_buf_u8(out, '}');
}

static void print_run(struct mr_buf *out, const struct scheduler_run *run)
{
    mr_buf_cstr(out, "{\"dag_run_id\":");
    mr_buf_json(out, mr_str_from(run->id));
    mr_buf_cstr(out, ",\"dag_id\":");
    mr_buf_json(out, run->pipeline->spec.name);
    mr_buf_printf(
        out,
        ",\"state\":\"%s\",\"run_type\":\"%s\",\"external_trigger\":%s,\"conf\":{},\"note\":null",
        scheduler_run_word(run->state), run->manual ? "manual" : "scheduled",
        run->manual ? "true" : "false");
    time_or_null(out, "logical_date", run->due_us);
    time_or_null(out, "execution_date", run->due_us);
    time_or_null(out, "data_interval_start", run->due_us);
    time_or_null(out, "data_interval_end", run->due_us);
    time_or_null(out, "start_date", run->started_us);
    time_or_null(out, "end_date", run->ended_us);
    mr_buf_u8(out, '}');
}

static void print_task(struct mr_buf *out, const struct scheduler_run_step *step)
{
    const struct scheduler_step_view *view = &step->view;
    mr_buf_cstr(out, "{\"task_id\":");
    mr_buf_json(out, view->name);
    mr_buf_cstr(out, ",\"task_display_name\":");
    mr_buf_json(out, view->name);
    mr_buf_cstr(out, ",\"dag_id\":");
    mr_buf_json(out, step->run->pipeline->spec.name);
    mr_buf_cstr(out, ",\"dag_run_id\":");
    mr_buf_json(out, mr_str_from(step->run->id));
    mr_buf_printf(out,
                  ",\"state\":\"%s\",\"try_number\":%d,\"max_tries\":%lld,\"map_index\":-1,"
                  "\"operator\":\"%s\"",
                  scheduler_step_word(view->state), view->tries,
                  (long long)step->task.step->retries,
                  step->task.step->verb == SCHEDULER_GET       ? "get"
                  : step->task.step->verb == SCHEDULER_RUN     ? "run"
                  : step->task.step->verb == SCHEDULER_REQUIRE ? "require"
                                                               : "sql");
    mr_buf_cstr(out, ",\"pool\":\"default_pool\",\"pool_slots\":1,\"queue\":\"default\",\"priority_"
                     "weight\":1,\"executor_config\":\"{}\"");
    time_or_null(out, "execution_date", step->run->due_us);
    time_or_null(out, "start_date", view->started_us);
    time_or_null(out, "end_date", view->ended_us);
    if (view->started_us > 0 && view->ended_us > 0)
        mr_buf_printf(out, ",\"duration\":%.6f", (double)(view->ended_us - view->started_us) / 1e6);
    else
        mr_buf_cstr(out, ",\"duration\":null");
    mr_buf_cstr(out, ",\"note\":");
    if (view->error.length > 0)
        mr_buf_json(out, view->error);
    else
        mr_buf_cstr(out, "null");
    mr_buf_u8(out, '}');
}

/* ---- lists ---- */

static size_t number_param(const struct net_http_request *request, const char *name,
                           size_t otherwise)
{
    int64_t number;
    mr_str text = net_http_param(request, name);
    return text.data != NULL && mr_str_to_i64(text, &number) == MR_OK && number >= 0
               ? (size_t)number
               : otherwise;
}

static void list_dags(struct scheduler *scheduler, struct net_http_exchange *exchange,
                      const struct net_http_request *request)
{
    struct mr_buf out = {0};
    size_t limit = number_param(request, "limit", 100), offset = number_param(request, "offset", 0),
           count = 0;
    mr_buf_cstr(&out, "{\"dags\":[");
    for (; scheduler_first(scheduler, count) != NULL; count++) {
        if (count < offset || count - offset >= limit)
            continue;
        mr_buf_cstr(&out, count > offset ? "," : "");
        print_dag(&out, scheduler_first(scheduler, count));
    }
    mr_buf_printf(&out, "],\"total_entries\":%zu}", count);
    reply(exchange, &out);
}

static void list_runs(struct scheduler_pipeline *pipeline, struct net_http_exchange *exchange,
                      const struct net_http_request *request)
{
    struct mr_buf out = {0};
    size_t limit = number_param(request, "limit", 100), offset = number_param(request, "offset", 0),
           count = 0;
    mr_str state = net_http_param(request, "state");
    mr_buf_cstr(&out, "{\"dag_runs\":[");
    for (struct scheduler_run *run = pipeline->runs; run != NULL; run = run->next) {
        if (state.length > 0 && !mr_str_equal(state, mr_str_from(scheduler_run_word(run->state))))
            continue;
        if (count >= offset && count - offset < limit) {
            mr_buf_cstr(&out, count > offset ? "," : "");
            print_run(&out, run);
        }
        count++;
    }
    mr_buf_printf(&out, "],\"total_entries\":%zu}", count);
    reply(exchange, &out);
}

static void list_tasks(struct scheduler_run *run, struct net_http_exchange *exchange)
{
    struct mr_buf out = {0};
    mr_buf_cstr(&out, "{\"task_instances\":[");
    for (size_t i = 0; i < run->step_count; i++) {
        mr_buf_cstr(&out, i == 0 ? "" : ",");
        print_task(&out, &run->steps[i]);
    }
    mr_buf_printf(&out, "],\"total_entries\":%zu}", run->step_count);
    reply(exchange, &out);
}

/* ---- one thing ---- */

static void trigger(struct scheduler_pipeline *pipeline, struct net_http_exchange *exchange)
{
    char id[64];
    struct mr_buf out = {0};
    mr_err err = scheduler_trigger(pipeline->scheduler, pipeline->spec.name, id);
    if (err != MR_OK) {
        problem(exchange, err == MR_AGAIN ? 503 : 404, mr_err_text(err), mr_why());
        return;
    }
    print_run(&out, scheduler_run_find(pipeline, mr_str_from(id)));
    reply(exchange, &out);
}

static void patch_dag(struct scheduler_pipeline *pipeline, struct net_http_exchange *exchange,
                      const struct net_http_request *request)
{
    const struct json_value *body, *paused;
    struct mr_buf out = {0};
    if (json_parse(net_http_arena(exchange), request->body, &body) != MR_OK ||
        (paused = json_get(body, MR_STR("is_paused"))) == NULL || paused->kind != JSON_BOOLEAN) {
        problem(exchange, 400, "Bad Request", "expected a body {\"is_paused\": true or false}");
        return;
    }
    scheduler_pause(pipeline->scheduler, pipeline->spec.name, paused->boolean);
    print_dag(&out, pipeline);
    reply(exchange, &out);
}

static void task_log(struct scheduler_run *run, struct scheduler_run_step *step, mr_str try_text,
                     struct net_http_exchange *exchange, const struct net_http_request *request)
{
    int64_t try = 0;
    struct mr_buf text = {0}, out = {0};
    if (mr_str_to_i64(try_text, &try) != MR_OK || try < 0 || try > 100000 ||
        scheduler_log(run->pipeline->scheduler, run->pipeline->spec.name, mr_str_from(run->id),
                      step->view.name, (int)try, &text) != MR_OK) {
        problem(exchange, 404, "Not Found", "this step has no log of this try");
        mr_buf_fini(&text);
        return;
    }
    if (mr_str_find(net_http_header(request, "accept"), MR_STR("text/plain")) >= 0) {
        net_http_respond(exchange, 200, "text/plain; charset=utf-8", mr_buf_as_str(&text));
    } else {
        mr_buf_cstr(&out, "{\"content\":");
        mr_buf_json(&out, mr_buf_as_str(&text));
        mr_buf_cstr(&out, ",\"continuation_token\":null}");
        reply(exchange, &out);
    }
    mr_buf_fini(&text);
}

/* /dags/{dag}/dagRuns/{run}[/taskInstances[/{task}[/logs/{try}]]]: `at` is the segment of the run. */
static void serve_run(struct scheduler_pipeline *pipeline, struct net_http_exchange *exchange,
                      const struct net_http_request *request)
{
    const mr_str *at = request->segments + 5;
    size_t left = request->segment_count - 5;
    struct scheduler_run *run = scheduler_run_find(pipeline, at[0]);
    struct scheduler_run_step *step = NULL;
    struct mr_buf out = {0};
    if (run == NULL) {
        problem(exchange, 404, "DAGRun not found", mr_why());
        return;
    }
    if (left == 1) {
        print_run(&out, run);
        reply(exchange, &out);
        return;
    }
    if (left == 2 && mr_str_equal(at[1], MR_STR("taskInstances"))) {
        list_tasks(run, exchange);
        return;
    }
    for (size_t i = 0; left > 2 && i < run->step_count; i++)
        if (mr_str_equal(run->steps[i].view.name, at[2]))
            step = &run->steps[i];
    if (step == NULL || !mr_str_equal(at[1], MR_STR("taskInstances"))) {
        problem(exchange, 404, "Not Found", "there is no such task instance");
    } else if (left == 3) {
        print_task(&out, step);
        reply(exchange, &out);
    } else if (left == 5 && mr_str_equal(at[3], MR_STR("logs"))) {
        task_log(run, step, at[4], exchange, request);
    } else {
        problem(exchange, 404, "Not Found", "this path of Airflow's API is not served");
    }
}

static void serve_dag(struct scheduler *scheduler, struct net_http_exchange *exchange,
                      const struct net_http_request *request)
{
    struct scheduler_pipeline *pipeline = scheduler_find(scheduler, request->segments[3]);
    size_t count = request->segment_count;
    bool get = mr_str_equal(request->method, MR_STR("GET"));
    struct mr_buf out = {0};
    if (pipeline == NULL) {
        problem(exchange, 404, "DAG not found", mr_why());
    } else if (count == 4 && get) {
        print_dag(&out, pipeline);
        reply(exchange, &out);
    } else if (count == 4 && mr_str_equal(request->method, MR_STR("PATCH"))) {
        patch_dag(pipeline, exchange, request);
    } else if (count == 5 && mr_str_equal(request->segments[4], MR_STR("dagRuns")) && get) {
        list_runs(pipeline, exchange, request);
    } else if (count == 5 && mr_str_equal(request->segments[4], MR_STR("dagRuns")) &&
               mr_str_equal(request->method, MR_STR("POST"))) {
        trigger(pipeline, exchange);
    } else if (count > 5 && mr_str_equal(request->segments[4], MR_STR("dagRuns")) && get) {
        serve_run(pipeline, exchange, request);
    } else {
        problem(exchange, 404, "Not Found", "this path of Airflow's API is not served");
    }
}

static void health(struct scheduler *scheduler, struct net_http_exchange *exchange)
{
    char when[32];
    struct mr_buf out = {0};
    const char *word = scheduler_ready(scheduler) ? "healthy" : "unhealthy";
    mr_time_format(mr_clock_wall_us(mr_loop_clock(scheduler_loop(scheduler))), 6, when);
    mr_buf_printf(&out,
                  "{\"metadatabase\":{\"status\":\"%s\"},\"scheduler\":{\"status\":\"%s\",\"latest_"
                  "scheduler_heartbeat\":\"%s\"}}",
                  word, word, when);
    reply(exchange, &out);
}

bool scheduler_http(struct scheduler *scheduler, struct net_http_exchange *exchange)
{
    const struct net_http_request *request = net_http_request_of(exchange);
    const mr_str *segments = request->segments;
    size_t count = request->segment_count;
    if (count < 2 || !mr_str_equal(segments[0], MR_STR("api")) ||
        !mr_str_equal(segments[1], MR_STR("v1")))
        return false;
    if (count == 3 && mr_str_equal(segments[2], MR_STR("health")))
        health(scheduler, exchange);
    else if (count == 3 && mr_str_equal(segments[2], MR_STR("version")))
        net_http_respond(exchange, 200, json_type,
                         MR_STR("{\"version\":\"2.10.5\",\"git_version\":null}"));
    else if (count == 3 && mr_str_equal(segments[2], MR_STR("dags")) &&
             mr_str_equal(request->method, MR_STR("GET")))
        list_dags(scheduler, exchange, request);
    else if (count >= 4 && mr_str_equal(segments[2], MR_STR("dags")))
        serve_dag(scheduler, exchange, request);
    else
        problem(exchange, 404, "Not Found", "this path of Airflow's API is not served");
    return true;
}
