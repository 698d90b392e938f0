/* scheduler/scheduler.h: pipelines' steps at their times: due times, runs, steps, tries.
 *
 * Everything is called on the scheduler's loop. What must survive a kill is written to the log before
 * it is acted on: a run's record to `_millrace_runs` before its first step, pauses and the last due time
 * to `_millrace_state`. A run that a kill interrupted goes on with its unfinished steps. */
#ifndef SCHEDULER_SCHEDULER_H
#define SCHEDULER_SCHEDULER_H

#include "base/base.h"
#include "kafka/kafka.h"
#include "net/net.h"
#include "postgres/postgres.h"
#include "scheduler/cron.h"

struct scheduler;

struct scheduler_options {
    mr_str kafka;                         /* "host:port,..." */
    struct kafka_security kafka_security; /* how one comes in there; {0}: as one is */
    struct postgres_address postgres;
    mr_str folder; /* for the logs of steps; made when missing */
    mr_str
        space_folder; /* steps that insert wait while its disk has under 5 % free; empty: no look */
};

enum scheduler_verb { SCHEDULER_GET, SCHEDULER_RUN, SCHEDULER_SQL, SCHEDULER_REQUIRE };
struct scheduler_step_spec {
    mr_str name;
    enum scheduler_verb verb;
    mr_str work;  /* URL, shell command, statement or query */
    mr_str each;  /* GET: path of the list of records; empty: the response is one */
    mr_str table; /* GET: "schema.table"; empty: nowhere */
    mr_str key;   /* GET: path of the record's identity; empty: a plain insert */
    int64_t timeout_us;
    int64_t retries, delay_us, delay_us_max;
    const size_t *after; /* indexes of steps that must have succeeded */
    size_t after_count;
};
enum scheduler_overlap { SCHEDULER_SKIP, SCHEDULER_QUEUE, SCHEDULER_ALLOW };
struct scheduler_pipeline_spec {
    mr_str name, about, text; /* text: the file, for GET /dagSources */
    int64_t every_us;         /* 0: none */
    mr_str at, timezone;      /* cron; empty: none. With neither, runs are only made by hand */
    enum scheduler_overlap overlap;
    bool catchup;
    const struct scheduler_step_spec *steps;
    size_t step_count;
};

enum scheduler_run_state {
#define RUN(id, word, final) SCHEDULER_RUN_##id,
#define STEP(id, word, final)
#include "scheduler/states.def"
};
enum scheduler_step_state {
#define RUN(id, word, final)
#define STEP(id, word, final) SCHEDULER_STEP_##id,
#include "scheduler/states.def"
};
const char *scheduler_run_word(enum scheduler_run_state state);
const char *scheduler_step_word(enum scheduler_step_state state);

/* Connects and reads the history; pipelines added before that is done begin then. */
mr_err scheduler_open(struct mr_loop *loop, struct mr_disk *disk,
                      const struct scheduler_options *options, struct scheduler **out);
/* Whether the history is read and the schedules run. */
bool scheduler_ready(const struct scheduler *scheduler);
/* The spec is copied. Errors: MR_INVALID (cron, time zone), MR_EXISTS. */
mr_err scheduler_add(struct scheduler *scheduler, const struct scheduler_pipeline_spec *spec);
/* Cancels what runs (it goes on at the next start), frees it, posts `done` (may be NULL). */
void scheduler_close(struct scheduler *scheduler, struct mr_task *done);

/* Starts a run by hand, whatever the overlap rule; writes its id. Errors: MR_NOT_FOUND, MR_AGAIN. */
mr_err scheduler_trigger(struct scheduler *scheduler, mr_str pipeline, char run_id[64]);
mr_err scheduler_pause(struct scheduler *scheduler, mr_str pipeline, bool paused);

/* ---- for the console and the terminal: views that live until the loop's next turn ---- */
struct scheduler_step_view {
    mr_str name, error;
    enum scheduler_step_state state;
    int tries;
    int64_t started_us, ended_us; /* wall; 0: not yet */
    int64_t records, rows;
};
struct scheduler_run_view {
    mr_str id;
    enum scheduler_run_state state;
    const char *type; /* "scheduled" or "manual" */
    int64_t due_us, started_us, ended_us;
    const struct scheduler_step_view *steps;
    size_t step_count;
};
/* The newest runs of a pipeline, newest first, in the arena. */
mr_err scheduler_runs(const struct scheduler *scheduler, mr_str pipeline, size_t count_max,
                      struct mr_arena *arena, struct scheduler_run_view **out, size_t *count);
/* What a step waits for, or why its last try failed; empty: neither. */
mr_str scheduler_trouble(const struct scheduler *scheduler, mr_str pipeline, mr_str step);
/* When the next run is due (wall; INT64_MAX: never), and whether it is paused. */
mr_err scheduler_next(const struct scheduler *scheduler, mr_str pipeline, int64_t *due_us,
                      bool *paused);
/* The log of a step's try (from 1; 0: the last), appended to `out`. MR_NOT_FOUND. May read a small file. */
mr_err scheduler_log(struct scheduler *scheduler, mr_str pipeline, mr_str run_id, mr_str step,
                     int try, struct mr_buf *out);

/* Serves Airflow's REST paths (/api/v1/...); false when the path is none of them. */
bool scheduler_http(struct scheduler *scheduler, struct net_http_exchange *exchange);

#endif
