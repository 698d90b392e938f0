/* scheduler/task_sql.c: the verbs `sql` (a statement on PostgreSQL) and `require` (a query whose first
 * value must be true). */
#include "scheduler/run.h"

enum { ADDRESS_WAIT_US = 200000 };

struct query {
    struct scheduler_task *task; /* NULL once cancelled: the answer then only frees */
    struct mr_timer timer;
    bool asked;
    bool must_be_true;
};

static void finish(struct query *query, mr_err err)
{
    struct scheduler_task *task = query->task;
    mr_timer_stop(&query->timer);
    mr_free(query);
    if (task == NULL)
        return;
    task->state = NULL;
    scheduler_task_end(task, err);
}

static void cancel(struct scheduler_task *task)
{
    struct query *query = task->state;
    task->state = NULL;
    query->task = NULL;
    mr_timer_stop(&query->timer);
    if (!query->asked)
        mr_free(query);
}

static mr_err must_be_true(const struct postgres_rows *rows)
{
    mr_str value = rows == NULL || postgres_rows_count(rows) == 0 ||
                           postgres_rows_columns(rows) == 0
                       ? MR_STR_NULL
                       : postgres_rows_get(rows, 0, 0);
    if (mr_str_equal(value, MR_STR("t")) || mr_str_equal(value, MR_STR("true")))
        return MR_OK;
    return mr_fail(MR_INVALID, "the check does not hold: expected true, found %.*s",
                   MR_STR_ARG(value.data == NULL ? MR_STR("nothing") : value));
}

static void answered(void *owner, mr_err err, const struct postgres_rows *rows, int64_t affected)
{
    struct query *query = owner;
    if (query->task != NULL && err == MR_OK) {
        query->task->rows = affected;
        if (query->must_be_true)
            err = must_be_true(rows);
        else
            mr_counter_add(query->task->written, affected);
    }
    finish(query, err);
}

static void ask(struct mr_timer *timer)
{
    struct query *query = mr_container(timer, struct query, timer);
    struct postgres_conn *conn = scheduler_postgres(query->task->scheduler);
    if (conn == NULL) {
        mr_timer_start(query->task->loop, &query->timer, ADDRESS_WAIT_US);
        return;
    }
    query->asked = true;
    postgres_conn_query(conn, query->task->step->work, NULL, 0, answered, query);
}

static void begin(struct scheduler_task *task, bool true_wanted)
{
    struct query *query = mr_new(struct query);
    query->task = task;
    query->must_be_true = true_wanted;
    query->timer.run = ask;
    task->state = query;
    ask(&query->timer);
}

static void start_sql(struct scheduler_task *task)
{
    begin(task, false);
}

static void start_require(struct scheduler_task *task)
{
    begin(task, true);
}

const struct scheduler_task_driver scheduler_task_sql = {"sql", start_sql, cancel};
const struct scheduler_task_driver scheduler_task_require = {"require", start_require, cancel};
