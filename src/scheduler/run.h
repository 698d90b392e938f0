/* scheduler/run.h: the room's own view of runs and tasks. */
#ifndef SCHEDULER_RUN_H
#define SCHEDULER_RUN_H

#include "scheduler/cron.h"
#include "scheduler/scheduler.h"

enum { SCHEDULER_LOG_BYTES_MAX = 256 * 1024, SCHEDULER_RUNS_KEPT = 200 };

/* ---- one try of one step ---- */
struct scheduler_task;
/* A kind of work. `start` begins and returns; the task ends by scheduler_task_end(), at once or later,
 * exactly once, and never after `cancel`, which frees what the driver holds. */
struct scheduler_task_driver {
    const char *word;
    void (*start)(struct scheduler_task *task);
    void (*cancel)(struct scheduler_task *task);
};
extern const struct scheduler_task_driver scheduler_task_get, scheduler_task_run,
    scheduler_task_sql, scheduler_task_require;

struct scheduler_task {
    const struct scheduler_task_driver *driver;
    struct scheduler *scheduler;
    struct mr_loop *loop;
    const struct scheduler_step_spec *step;
    const char *run;        /* its id */
    struct mr_buf log;      /* what the try says; bounded */
    int64_t records, rows;  /* fetched, written */
    int64_t retry_after_us; /* what the server asked for; 0: nothing */
    char waits[512];        /* for what, while it waits */
    void *state;            /* the driver's; NULL when nothing is open */
    struct mr_counter *fetched, *written;
    void (*ended)(struct scheduler_task *task, mr_err err); /* the run's; mr_why() says why */
};
void scheduler_task_say(struct scheduler_task *task, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void scheduler_task_end(struct scheduler_task *task, mr_err err);

/* ---- runs ---- */
struct scheduler_run_step {
    struct scheduler_step_view view;
    struct scheduler_task task;
    struct mr_timer timer; /* the try's time-out, or the pause before the next try */
    struct scheduler_run *run;
    size_t index;
    char error[512];
    bool running;
};
struct scheduler_run {
    struct scheduler_pipeline *pipeline;
    char id[64];
    enum scheduler_run_state state;
    bool manual;
    int64_t due_us, started_us, ended_us;
    size_t step_count;
    struct scheduler_run_step *steps;
    struct scheduler_run *next; /* older */
};
struct scheduler_pipeline {
    struct scheduler *scheduler;
    struct mr_arena arena; /* the spec's copy */
    struct scheduler_pipeline_spec spec;
    struct scheduler_cron cron;
    struct scheduler_zone *zone;
    struct mr_timer timer; /* the next due time */
    int64_t due_us;        /* wall; INT64_MAX: never */
    int64_t last_due_us;   /* of the last scheduled run made or skipped */
    bool paused;
    struct scheduler_run *runs; /* newest first */
    size_t run_count, active;
};

/* scheduler.c, for run.c: something about the run has changed and is to be recorded; it ended. */
void scheduler_run_changed(struct scheduler_run *run);
void scheduler_run_ended(struct scheduler_run *run);

/* run.c */
struct scheduler_run *scheduler_run_new(struct scheduler_pipeline *pipeline, const char *id,
                                        bool manual, int64_t due_us);
void scheduler_run_free(struct scheduler_run *run); /* not running; accepts NULL */
/* Starts every step whose turn it is. Steps that have ended already stay so. */
void scheduler_run_go(struct scheduler_run *run);
void scheduler_run_cancel(struct scheduler_run *run); /* stops its tasks, keeps its states */
void scheduler_run_print(const struct scheduler_run *run,
                         struct mr_buf *out); /* the record of _millrace_runs */
/* Reads such a record back; MR_INVALID when it does not fit the pipeline. */
struct json_value;
mr_err scheduler_run_restore(struct scheduler_pipeline *pipeline, const struct json_value *record,
                             struct scheduler_run **out);
/* "DIR/<pipeline>/<run>/<step>.<try>.log" */
mr_str scheduler_run_log_path(struct mr_arena *arena, mr_str folder, mr_str pipeline, mr_str run_id,
                              mr_str step, int try);

/* scheduler.c, for everyone in the room */
struct mr_loop *scheduler_loop(struct scheduler *scheduler);
struct mr_disk *scheduler_disk(struct scheduler *scheduler);
const struct scheduler_options *scheduler_options(const struct scheduler *scheduler);
struct scheduler_pipeline *scheduler_find(const struct scheduler *scheduler, mr_str name);
struct scheduler_pipeline *scheduler_first(const struct scheduler *scheduler,
                                           size_t index); /* NULL at the end */
struct scheduler_run *scheduler_run_find(const struct scheduler_pipeline *pipeline, mr_str id);
struct http_client *scheduler_http_client(struct scheduler *scheduler);
/* A shared connection for steps, opened when needed; NULL and mr_why() while it cannot be. */
struct postgres_conn *scheduler_postgres(struct scheduler *scheduler);

#endif
