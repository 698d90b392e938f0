/* scheduler/task_get.c: the verb `get`: one HTTP request, its records, one PostgreSQL transaction.
 * The response stays in one buffer; each record is a view into it until the rows are sent. */
#include "scheduler/run.h"

#include <stdio.h>
#include <stdlib.h>

#include "http/http.h"
#include "json/json.h"

enum { RESERVE_PERCENT = 5, SPACE_LOOK_US = 1000000, ADDRESS_WAIT_US = 200000 };

struct get {
    struct scheduler_task *task;
    struct http_call *call;
    struct postgres_conn *conn; /* set while rows are on their way */
    struct mr_timer timer;      /* waits for room on the disk, or for PostgreSQL */
    struct mr_bytes *body;
    struct mr_arena arena;
    const struct json_value *records; /* an array, or one record */
    bool is_list;
    bool waiting_said;
};

/* The driver's memory goes first, so that the run may start the next try at once. */
static void finish(struct get *get, mr_err err)
{
    struct scheduler_task *task = get->task;
    mr_timer_stop(&get->timer);
    mr_bytes_unref(get->body);
    mr_arena_fini(&get->arena);
    mr_free(get);
    task->state = NULL;
    scheduler_task_end(task, err);
}

/* A pipeline's answer may come after the task was cancelled: it then finds no task and only frees. */
static void cancel(struct scheduler_task *task)
{
    struct get *get = task->state;
    http_cancel(get->call);
    get->call = NULL;
    mr_timer_stop(&get->timer);
    task->state = NULL;
    get->task = NULL;
    if (get->conn != NULL)
        return; /* stored() frees it */
    mr_bytes_unref(get->body);
    mr_arena_fini(&get->arena);
    mr_free(get);
}

static void stored(void *owner, mr_err err, const struct postgres_rows *rows, int64_t affected)
{
    struct get *get = owner;
    (void)rows;
    get->conn = NULL;
    if (get->task == NULL) {
        mr_bytes_unref(get->body);
        mr_arena_fini(&get->arena);
        mr_free(get);
        return;
    }
    if (err == MR_OK) {
        get->task->rows = affected;
        mr_counter_add(get->task->written, affected);
    }
    finish(get, err);
}

/* ---- rows ---- */

static void statement(struct mr_buf *sql, mr_str table, bool key)
{
    mr_buf_cstr(sql, "INSERT INTO ");
    postgres_quote_table(sql, table);
    if (!key) {
        mr_buf_cstr(sql, " (key, body) VALUES (gen_random_uuid()::text, $1::jsonb)");
        return;
    }
    mr_buf_cstr(sql, " AS t (key, body) VALUES ($1, $2::jsonb) ON CONFLICT (key) DO UPDATE SET "
                     "body = excluded.body, "
                     "fetched_at = now() WHERE t.body IS DISTINCT FROM excluded.body");
}

/* Rows with a key go in the order of their keys: two runs that overlap cannot block each other. */
struct row {
    mr_str key, body;
};

static int row_compare(const void *a, const void *b)
{
    return mr_str_compare(((const struct row *)a)->key, ((const struct row *)b)->key);
}

static mr_err rows_of(struct get *get, struct row **out, size_t *count)
{
    const struct scheduler_step_spec *step = get->task->step;
    size_t total = get->is_list ? get->records->count : 1;
    struct row *rows = mr_arena_array(&get->arena, struct row, total + 1);
    for (size_t i = 0; i < total; i++) {
        const struct json_value *record = get->is_list ? json_at(get->records, (uint32_t)i)
                                                       : get->records;
        rows[i].body = record->raw;
        if (step->key.length == 0)
            continue;
        rows[i].key = json_scalar(json_find(record, step->key));
        if (rows[i].key.length == 0)
            return mr_fail(MR_INVALID, "record %zu has no `%.*s`, which is its key", i + 1,
                           MR_STR_ARG(step->key));
    }
    if (step->key.length > 0)
        qsort(rows, total, sizeof rows[0], row_compare);
    *out = rows;
    *count = total;
    return MR_OK;
}

static void wait_more(struct get *get, int64_t delay_us, const char *why)
{
    if (!get->waiting_said) {
        scheduler_task_say(get->task, "waiting: %s", why);
        mr_log(MR_LOG_WARN, "scheduler", "step %.*s waits: %s", MR_STR_ARG(get->task->step->name),
               why);
    }
    get->waiting_said = true;
    snprintf(get->task->waits, sizeof get->task->waits, "%s", why);
    mr_timer_start(get->task->loop, &get->timer, delay_us);
}

/* Under 5 % of free space PostgreSQL itself would soon be hurt: rows wait, and so does the step. */
static bool disk_is_short(struct get *get)
{
    mr_str folder = scheduler_options(get->task->scheduler)->space_folder;
    uint64_t space, total;
    char why[512];
    if (folder.length == 0 ||
        mr_file_space(mr_arena_cstr(&get->arena, folder), &space, &total) != MR_OK ||
        space >= total / 100 * RESERVE_PERCENT)
        return false;
    snprintf(
        why, sizeof why,
        "the disk of %.*s has %llu MB free, under %d %%; rows are written again when there is room",
        MR_STR_ARG(folder), (unsigned long long)(space >> 20), RESERVE_PERCENT);
    wait_more(get, SPACE_LOOK_US, why);
    return true;
}

static void store(struct mr_timer *timer)
{
    struct get *get = mr_container(timer, struct get, timer);
    const struct scheduler_step_spec *step = get->task->step;
    struct row *rows = NULL;
    size_t count = 0;
    struct mr_buf sql = {0};
    if (disk_is_short(get))
        return;
    struct postgres_conn *conn = scheduler_postgres(get->task->scheduler);
    if (conn == NULL) {
        wait_more(get, ADDRESS_WAIT_US, mr_why());
        return;
    }
    get->task->waits[0] = '\0';
    mr_err err = rows_of(get, &rows, &count);
    if (err != MR_OK) {
        finish(get, err);
        return;
    }
    bool key = step->key.length > 0;
    statement(&sql, step->table, key);
    get->conn = conn;
    postgres_batch_begin(conn, stored, get);
    postgres_batch_add_raw_table(conn, step->table);
    postgres_batch_add_run(conn, mr_str_from(get->task->run));
    for (size_t i = 0; i < count; i++)
        postgres_batch_add(conn, mr_buf_as_str(&sql),
                           key ? (mr_str[]){rows[i].key, rows[i].body} : &rows[i].body,
                           key ? 2 : 1);
    postgres_batch_end(conn);
    mr_buf_fini(&sql);
}

/* ---- the response ---- */

static mr_err read_records(struct get *get, const struct http_response *response)
{
    const struct scheduler_step_spec *step = get->task->step;
    const struct json_value *whole;
    mr_str body = mr_str_of(response->body->data, response->body->length);
    if (response->status < 200 || response->status > 299) {
        int64_t ms = http_retry_after_ms(response,
                                         mr_clock_wall_us(mr_loop_clock(get->task->loop)));
        get->task->retry_after_us = ms > 0 ? ms * 1000 : 0;
        return mr_fail(MR_UNREACHABLE, "%.*s answered with status %d: %.*s", MR_STR_ARG(step->work),
                       response->status, MR_STR_ARG(mr_str_slice(body, 0, 200)));
    }
    get->body = mr_bytes_ref(response->body);
    mr_err err = json_parse(&get->arena, body, &whole);
    if (err != MR_OK)
        return mr_fail(err, "%.*s answered with text that is no JSON: %s", MR_STR_ARG(step->work),
                       mr_why());
    get->records = step->each.length == 0 ? whole : json_find(whole, step->each);
    get->is_list = get->records != NULL && get->records->kind == JSON_ARRAY;
    if (get->records == NULL || (step->each.length > 0 && !get->is_list)) {
        mr_str error = json_str(json_get(whole, MR_STR("error")), mr_str_slice(body, 0, 200));
        return mr_fail(MR_INVALID, "%.*s: the response has no list `%.*s` (`each:`): %.*s",
                       MR_STR_ARG(step->work), MR_STR_ARG(step->each), MR_STR_ARG(error));
    }
    return MR_OK;
}

static void answered(void *context, mr_err err, const struct http_response *response)
{
    struct get *get = context;
    struct scheduler_task *task = get->task;
    get->call = NULL;
    if (err == MR_OK)
        err = read_records(get, response);
    if (err != MR_OK) {
        finish(get, err);
        return;
    }
    task->records = get->is_list ? get->records->count : 1;
    mr_counter_add(task->fetched, task->records);
    scheduler_task_say(task, "status %d, %zu bytes, %lld records", response->status,
                       response->body->length, (long long)task->records);
    if (task->step->table.length == 0 || task->records == 0)
        finish(get, MR_OK);
    else
        store(&get->timer);
}

static void start(struct scheduler_task *task)
{
    struct get *get = mr_new(struct get);
    get->task = task;
    get->timer.run = store;
    mr_arena_init(&get->arena);
    task->state = get;
    struct http_request request = {
        .url = mr_arena_cstr(&get->arena, task->step->work),
        .timeout_ms = HTTP_NO_TIMEOUT, /* the step's own timer (run.c) is the only one */
    };
    get->call = http_start(scheduler_http_client(task->scheduler), &request, answered, get);
}

const struct scheduler_task_driver scheduler_task_get = {"get", start, cancel};
