/* up/run.h: one `millrace up`, seen from inside the room. */
#ifndef UP_RUN_H
#define UP_RUN_H

#include "broker/broker.h"
#include "capture/capture.h"
#include "console/console.h"
#include "cql/client.h"
#include "engine/engine.h"
#include "net/net.h"
#include "pipeline/pipeline.h"
#include "postgres/postgres.h"
#include "randomuser/randomuser.h"
#include "registry/registry.h"
#include "scheduler/scheduler.h"
#include "store/store.h"
#include "up/options.h"

/* The seams, in the order in which they are shown. */
enum up_seam_id { UP_RANDOMUSER, UP_POSTGRES, UP_KAFKA, UP_REGISTRY, UP_CASSANDRA, UP_SEAM_COUNT };
struct up_seam {
    const char *word; /* in `connections:` and on the command line */
    bool embedded;
    bool needed; /* by a pipeline */
    bool ready;
    mr_str address; /* as its clients are told */
    mr_str shown;   /* the same without a password */
};
struct up_file {
    const char *path;
    struct pipeline *pipeline;
    struct pipeline_plan *plan;
};
/* A capture or a stream that runs. */
struct up_stage {
    const struct up_file *file;
    size_t stream;           /* index in its pipeline */
    struct capture *capture; /* NULL: a stream of the engine */
    bool started;
};
/* Copies of what the stages last told; read on the work loop. */
struct up_status {
    struct mr_arena arena;
    struct engine_status *streams;
    size_t stream_count;
};

struct up {
    struct up_options options;
    struct mr_arena arena;
    const char *folder, *host;
    struct up_seam seams[UP_SEAM_COUNT];
    mr_str settings[PIPELINE_SETTING_COUNT]; /* of connections; empty: not said */
    struct up_file files[UP_FILES_MAX];
    int file_count;
    int64_t started_us; /* wall */

    struct mr_loop *front; /* the main thread: signals and the terminal */
    struct mr_loop *log, *tables, *sql, *work;
    struct mr_disk *disk, *postgres_disk;

    struct broker_server *broker;     /* on log */
    struct store_server *store;       /* on tables */
    struct engine *engine;            /* on sql; NULL without streams */
    struct registry_server *registry; /* on work, as all below */
    struct randomuser_server *randomuser;
    struct postgres_server *postgres;
    struct net_http *http;
    struct console *console;
    struct scheduler *scheduler;
    uint16_t console_port;
    struct postgres_address postgres_address;
    struct kafka_security kafka_security; /* {0} with our own log */
    bool cassandra_uses_tls, cassandra_lz4;
    struct net_tls_client cassandra_tls;

    struct mr_task broker_ask, broker_ready, store_ask, store_ready;
    struct mr_timer store_timer; /* on tables */
    bool broker_is_ready, store_is_ready;
    char store_why[512];
    struct mr_job postgres_job; /* starts it; later looks after it */
    struct mr_job postgres_stop_job;
    bool postgres_is_ready, postgres_busy;
    mr_err postgres_err;
    char postgres_why[512];
    struct mr_timer look; /* what is ready now; then the refresh of the status */
    struct up_stage *stages;
    size_t stage_count;
    bool stages_begun, engine_begun, scheduler_begun;
    bool ready;       /* every seam and stage answered once */
    int64_t ready_us; /* wall */
    struct engine_reply status_reply;
    bool status_asked;
    struct up_status status;

    struct mr_task stop_task;  /* from the front: begins the stop */
    struct mr_task front_stop; /* to the front: all is stopped */
    struct mr_task step_done;  /* one part has stopped */
    int stopping;              /* which part is being stopped; 0: none */
    size_t stopping_stage;
    int exit_status;
};

/* seams.c: where everything is, and the listeners. Thread: main, before the loops run. */
mr_err up_seams_resolve(struct up *up);
mr_err up_seams_open(struct up *up);
/* How a client of the registry is opened. */
struct schemas_client_options up_seams_registry(const struct up *up);
/* The same for Cassandra; the texts live as long as `up`. */
void up_seams_cassandra(struct up *up, struct cql_client_options *out);

/* probe.c: tries every connection that is not embedded, prints a line each (failures on stderr), and
 * returns how many failed. Blocks up to 5 s. Thread: main, before any loop runs. */
size_t up_probe_connections(struct up *up);

/* stages.c: from the first turn of the work loop to the last. */
void up_stages_begin(struct up *up);
void up_stages_stop(struct up *up);
/* Why it is not ready, a line each; empty when it is. Thread: work. */
void up_stages_reasons(struct up *up, struct mr_buf *out);

/* status.c: the state as JSON (/status.json) and as the lines of the terminal. Thread: work. */
void up_status_ask(struct up *up);
/* What a stream last told; NULL: nothing yet. */
const struct engine_status *up_status_stream(const struct up *up, mr_str name);
void up_status_json(struct up *up, struct mr_buf *out);
void up_status_text(struct up *up, bool color, struct mr_buf *out);

/* web.c: port 8080. */
mr_err up_web_open(struct up *up);

#endif
