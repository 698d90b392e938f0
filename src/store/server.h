/* store/server.h: what the server's files share. Everything lives on the store's loop.
 *
 *   message -> request -> (rows at once | slices of a select | operands in the turn's batch)
 *   turn: open -> written (visible) -> durable -> its answers are sent */
#ifndef STORE_SERVER_H
#define STORE_SERVER_H

#include "kv/kv.h"
#include "net/net.h"
#include "store/db.h"
#include "store/plan.h"
#include "store/select.h"
#include "store/store.h"
#include "store/system.h"
#include "store/write.h"

/* ---- connections ---- */
enum store_event { STORE_EVENT_SCHEMA = 1, STORE_EVENT_STATUS = 2, STORE_EVENT_TOPOLOGY = 4 };
struct store_session {
    struct store_server *server;
    struct net_conn *conn; /* NULL once it is closed */
    uint32_t refs;         /* the connection, and each request that is not answered */
    char keyspace[64];     /* of USE */
    uint8_t events;        /* of REGISTER */
    bool lz4, started, paused;
    char driver_name[64], driver_version[64];
    int64_t requests;
};
struct store_session *store_session_ref(struct store_session *session);
void store_session_unref(struct store_session *session);

/* ---- answers ---- */
/* Where a RESULT, ERROR, ... goes; `trace` of zeros: none. */
struct store_reply {
    struct store_session *session;
    int16_t stream;
    bool traced;
    mr_uuid trace;
};
/* Begins a body; add to the buffer, then send it. One at a time. */
struct mr_buf *store_reply_begin(const struct store_reply *reply);
void store_reply_send(const struct store_reply *reply, enum cql_opcode opcode);
void store_reply_void(const struct store_reply *reply);
void store_reply_error(const struct store_reply *reply, enum cql_error code, mr_str text,
                       const struct store_fault *fault);
/* By an error and its sentence (mr_why()); `fault` tells the code where it has one. */
void store_reply_failure(const struct store_reply *reply, mr_err err,
                         const struct store_fault *fault);

/* ---- turns: what is written together ---- */
struct store_answer {
    struct store_reply reply;
    struct mr_buf body;  /* empty: RESULT Void */
    struct mr_buf event; /* of a definition: body of the EVENT */
};
struct store_turn {
    struct store_server *server;
    struct kv_batch *batch;              /* of plain writes */
    MR_ARRAY(struct kv_batch *) batches; /* each all or nothing, after `batch` */
    MR_ARRAY(struct store_answer) answers;
    struct kv_commit commit;
    struct mr_job job;
    mr_err err;
    char why[256];
};
/* The open turn. */
struct store_turn *store_turn_open(struct store_server *server);
/* An answer for when the turn is durable; holds the session. */
struct store_answer *store_turn_answer(struct store_turn *turn, const struct store_reply *reply);
/* Makes the open turn's writes visible now. MR_AGAIN: they wait for the disk. */
mr_err store_turn_flush(struct store_server *server);
/* Whether so much waits to be written that no more should be read. */
bool store_turn_is_full(const struct store_server *server);

/* ---- requests ---- */
struct store_request {
    struct store_reply reply;
    struct mr_arena arena;
    struct mr_bytes *owner; /* of the frame; referenced once the request outlives its message */
    bool owns;
    struct store_plan *plan; /* referenced */
    struct cql_query query;
    struct store_fault fault;
    int64_t started_us; /* monotonic */
    bool prepared;      /* EXECUTE: metadata may be left out */
    struct store_select_job job;
    bool selecting;
    bool deciding; /* the select is the read of a conditional write */
    struct mr_job disk;
    struct mr_task task;
    enum store_select_state state;
};
/* Runs the plan; the request is answered and freed, now or later. Takes the request. */
void store_request_run(struct store_request *request);
struct store_request *store_request_new(const struct store_reply *reply, struct mr_bytes *owner);
void store_request_free(struct store_request *request);

/* ---- definitions ---- */
/* Runs CREATE, ALTER, DROP, TRUNCATE: changes the schema, adds to the turn, and writes the body of the
 * answer and of the event (empty: nothing changed). */
mr_err store_define(struct store_server *server, mr_str keyspace,
                    const struct store_statement *statement, struct store_fault *fault,
                    struct mr_buf *body, struct mr_buf *event);

/* ---- the server ---- */
enum store_server_state { STORE_STARTING, STORE_SERVING, STORE_FAILED, STORE_CLOSING };
struct store_server {
    struct mr_loop *loop;
    struct mr_disk *disk;
    char *folder;
    struct kv_memory *memory;
    struct net_listener *listener;
    enum store_server_state state;
    mr_err err;
    char why[512];
    struct store_schema schema;
    struct store_db db;
    bool has_db;
    struct kv_commits *commits;
    struct mr_job open_job, close_job, resume_job;
    struct mr_timer patience; /* of clients while starting */
    struct mr_timer resume;   /* tries again after a full disk */
    bool suspended, resuming, reopened;
    struct mr_timer estimate; /* when sizes are looked at again */
    struct mr_job estimate_job;
    struct store_estimate *estimates, *new_estimates; /* new: the disk thread's */
    size_t estimate_count, new_estimate_count;
    int64_t estimated_at; /* rows that had been written; -1: never looked */
    struct mr_task *closed;
    uint32_t pending; /* sessions, requests and turns that are not over */
    /* turns */
    struct store_turn *turn;
    struct mr_task turn_end;
    bool writing; /* a turn waits for the disk to take it */
    /* prepared statements: id -> plan, oldest first */
    struct mr_map prepared;
    struct mr_map forgotten; /* names of tables that were dropped: their ids may be known */
    /* room that requests share */
    struct mr_arena arena;
    struct mr_buf body, key, row, packed;
    uint64_t sequence;
    int64_t last_timestamp_us, started_us;
    mr_uuid host_id;
    struct store_trace traces[STORE_TRACES];
    uint32_t trace_next;
    struct mr_counter *requests, *rows_written, *rows_read, *errors, *connections;
};
int64_t
store_server_timestamp(struct store_server *server); /* rises by at least 1 with each call */
void store_server_system(struct store_session *session, struct mr_arena *arena,
                         struct store_system *out);
void store_server_settle(struct store_server *server);  /* goes on closing when nothing is left */
void store_server_suspend(struct store_server *server); /* the disk is full */
extern const struct net_handler store_session_handler;

#endif
