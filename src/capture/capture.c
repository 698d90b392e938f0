/* capture/capture.c: the life of a capture: one attempt (session) after another.
 *
 *   CONNECTING --the log answers--> PREPARING --slot, schema--> SNAPSHOT --last range--> STREAMING
 *       ^                               |                          |                        |
 *       +------ retry timer ------ WAITING <------ any trouble -----+------------------------+
 *
 *   any --capture_close()--> STOPPED
 *
 * Whatever goes wrong ends the whole attempt: connections, producer and all. The next one fences the
 * old producer and reads the committed position, so there is one way on for every kind of trouble, and
 * a SIGKILL is one of them. */
#include "capture/session.h"

#include <stdio.h>

enum { RETRY_FIRST_US = 100000, RETRY_MAX_US = 5000000 };

static void begin_session(struct capture *capture);

const char *capture_state_name(enum capture_state state)
{
    static const char *const names[] = {
        [CAPTURE_CONNECTING] = "connecting", [CAPTURE_PREPARING] = "preparing",
        [CAPTURE_SNAPSHOT] = "snapshot",     [CAPTURE_STREAMING] = "streaming",
        [CAPTURE_WAITING] = "waiting",       [CAPTURE_STOPPED] = "stopped",
    };
    return names[state];
}

void capture_session_slot(mr_str name, char out[64])
{
    size_t length = (size_t)snprintf(out, 64, "millrace_");
    bool same = true;
    for (size_t i = 0; i < name.length; i++) {
        char c = name.data[i];
        bool good = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
        same = same && good && length < 50;
        if (length < 50)
            out[length++] = good ? c : '_';
    }
    out[length] = 0;
    if (same)
        return;
    /* Two names that look the same now stay two. */
    uint8_t hash[32];
    mr_sha256(name.data, name.length, hash);
    out[length++] = '_';
    mr_hex(hash, 4, out + length);
}

/* ---- sessions ---- */
void capture_session_call(struct capture_session *session)
{
    session->calls++;
}

static void session_release(struct mr_task *task);

static void release_soon(struct capture_session *session)
{
    session->release.run = session_release;
    mr_loop_at_turn_end(session->capture->loop, &session->release);
}

bool capture_session_answer(struct capture_session *session)
{
    session->calls--;
    if (session->dead && session->calls == 0)
        release_soon(session);
    return !session->dead;
}

void capture_session_state(struct capture_session *session, enum capture_state state)
{
    session->capture->state = state;
    if (state == CAPTURE_SNAPSHOT || state == CAPTURE_STREAMING)
        session->capture->sentence[0] = 0;
}

static void capture_free(struct capture *capture)
{
    struct mr_task *done = capture->done;
    struct mr_loop *loop = capture->loop;
    mr_arena_fini(&capture->arena);
    mr_free(capture);
    if (done != NULL)
        mr_loop_post(loop, done);
}

/* Closing the clients ends what is open with an answer; then nothing keeps a session. */
static void close_clients(struct capture *capture)
{
    kafka_client_close(capture->kafka);
    schemas_client_free(capture->schemas);
    capture->kafka = NULL;
    capture->schemas = NULL;
}

/* The memory goes when no answer can come any more. */
static void session_release(struct mr_task *task)
{
    struct capture_session *session = mr_container(task, struct capture_session, release);
    struct capture *capture = session->capture;
    if (capture->closing)
        close_clients(capture);
    if (session->calls > 0)
        return;
    mr_free(session->row);
    mr_free(session->key_row);
    mr_arena_fini(&session->arena);
    mr_arena_fini(&session->key_arena);
    mr_arena_fini(&session->scratch);
    mr_free(session);
    capture->session_count--;
    if (capture->closing && capture->session_count == 0)
        capture_free(capture);
}

void capture_session_free(struct capture_session *session)
{
    struct capture *capture = session->capture;
    if (session->dead)
        return;
    session->dead = true;
    mr_timer_stop(&session->tick);
    capture_snapshot_fini(session);
    schemas_client_cancel(&session->request);
    kafka_producer_close(session->producer);
    postgres_conn_close(session->stream);
    postgres_conn_close(session->sql);
    session->producer = NULL;
    session->stream = session->sql = NULL;
    capture_table_free(session->table);
    capture_table_free(session->next_table);
    session->table = session->next_table = NULL;
    mr_buf_fini(&session->key);
    mr_buf_fini(&session->value);
    mr_buf_fini(&session->out);
    mr_bytes_unref(session->held);
    session->held = NULL;
    capture->session = NULL;
    if (capture->closing)
        capture->state = CAPTURE_STOPPED;
    release_soon(session);
}

static void retry(struct mr_timer *timer)
{
    begin_session(mr_container(timer, struct capture, retry));
}

void capture_session_fail(struct capture_session *session, mr_err err)
{
    struct capture *capture = session->capture;
    if (session->dead)
        return;
    char before[sizeof capture->sentence];
    snprintf(before, sizeof before, "%s", capture->sentence);
    snprintf(capture->sentence, sizeof capture->sentence, "%s", mr_why());
    if (strcmp(before, capture->sentence) != 0)
        mr_log(mr_err_retriable(err) ? MR_LOG_WARN : MR_LOG_ERROR, "capture", "%.*s: %s",
               MR_STR_ARG(capture->spec.name), capture->sentence);
    capture->state = CAPTURE_WAITING;
    capture_session_free(session);
    if (capture->closing)
        return;
    capture->retry_us = capture->retry_us == 0 ? RETRY_FIRST_US : 2 * capture->retry_us;
    if (capture->retry_us > RETRY_MAX_US)
        capture->retry_us = RETRY_MAX_US;
    /* Up to a quarter more, so that many do not come back in step. */
    uint64_t spread = mr_random_below(mr_loop_random(capture->loop),
                                      (uint64_t)capture->retry_us / 4);
    mr_timer_start(capture->loop, &capture->retry, capture->retry_us + (int64_t)spread);
}

static void begin_session(struct capture *capture)
{
    struct capture_session *session = mr_new(struct capture_session);
    session->capture = capture;
    mr_arena_init(&session->arena);
    mr_arena_init(&session->key_arena);
    mr_arena_init(&session->scratch);
    capture_snapshot_init(session);
    capture->session = session;
    capture->session_count++;
    capture_prepare_begin(session);
}

/* ---- what the world sees ---- */
static void copy_spec(struct capture *capture, const struct capture_spec *spec)
{
    struct mr_arena *arena = &capture->arena;
    struct capture_spec *copy = &capture->spec;
    copy->name = mr_arena_str(arena, spec->name);
    copy->topic = mr_arena_str(arena, spec->topic);
    postgres_address_copy(arena, &spec->postgres, &copy->postgres);
    copy->table = mr_arena_str(arena, spec->table);
    copy->create = spec->create;
    copy->kafka = mr_arena_str(arena, spec->kafka);
    copy->kafka_security = kafka_security_copy(arena, &spec->kafka_security);
    copy->registry = schemas_client_options_copy(arena, &spec->registry);
    copy->partitions = spec->partitions == 0 ? 4 : spec->partitions;
    copy->positions = spec->positions.length == 0 ? MR_STR("_millrace_positions")
                                                  : mr_arena_str(arena, spec->positions);
    capture->position_key = mr_arena_printf(arena, "capture.%.*s", MR_STR_ARG(spec->name));
    capture_session_slot(spec->name, capture->slot);
}

static void make_counters(struct capture *capture)
{
    mr_str labels = mr_arena_printf(&capture->arena, "stream=\"%.*s\"",
                                    MR_STR_ARG(capture->spec.name));
    capture->changes_counter = mr_counter_get(MR_METRIC_CHANGES, labels);
    capture->events_counter = mr_counter_get(MR_METRIC_EVENTS, labels);
    capture->lag_counter = mr_counter_get(MR_METRIC_SLOT_LAG, labels);
}

mr_err capture_open(struct mr_loop *loop, const struct capture_spec *spec, struct capture **out)
{
    if (spec->name.length == 0 || spec->topic.length == 0 || spec->table.length == 0)
        return mr_fail(MR_INVALID, "capture: expected a name, a topic and a table");
    struct capture *capture = mr_new(struct capture);
    mr_arena_init(&capture->arena);
    capture->loop = loop;
    capture->slot_lag_bytes = -1;
    capture->retry.run = retry;
    copy_spec(capture, spec);
    make_counters(capture);
    mr_err err = kafka_client_open_secure(loop, capture->spec.kafka, MR_STR("millrace-capture"),
                                          &capture->spec.kafka_security, &capture->kafka);
    if (err == MR_OK)
        err = schemas_client_new(loop, &capture->spec.registry, &capture->schemas);
    if (err != MR_OK) {
        kafka_client_close(capture->kafka);
        mr_arena_fini(&capture->arena);
        mr_free(capture);
        return err;
    }
    mr_timer_start(loop, &capture->retry, 0); /* the first attempt, on the loop */
    *out = capture;
    return MR_OK;
}

void capture_status(const struct capture *capture, struct capture_status *out)
{
    *out = (struct capture_status){
        .state = capture->state,
        .changes = capture->changes,
        .events = capture->events,
        .commit_lsn = capture->position.commit_lsn,
        .index = capture->position.index,
        .slot_lag_bytes = capture->slot_lag_bytes,
        .snapshot_rows = capture->position.snapshot_rows,
        .snapshot_done = capture->position.snapshot_done,
    };
    if (capture->state == CAPTURE_WAITING)
        snprintf(out->sentence, sizeof out->sentence, "%s", capture->sentence);
}

void capture_close(struct capture *capture, struct mr_task *done)
{
    mr_assert(!capture->closing);
    capture->closing = true;
    capture->done = done;
    mr_timer_stop(&capture->retry);
    if (capture->session == NULL) {
        close_clients(capture);
        capture->state = CAPTURE_STOPPED;
        if (capture->session_count == 0)
            capture_free(capture);
    } else if ((capture->session->pauses & CAPTURE_PAUSE_COMMIT) == 0) {
        capture_session_free(capture->session);
    }
}

/* ---- describing ---- */
struct description {
    struct mr_arena *arena;
    mr_str table;
    struct postgres_conn *conn;
    capture_described *done;
    void *owner;
};

static void describe_end(struct description *description, mr_err err,
                         const struct capture_shape *shape)
{
    postgres_conn_close(description->conn);
    description->done(description->owner, err, shape);
    mr_free(description);
}

static void describe_closed(void *owner, mr_err err)
{
    describe_end(owner, err, NULL);
}

static void describe_answer(void *owner, mr_err err, const struct postgres_rows *rows,
                            int64_t affected)
{
    struct description *description = owner;
    struct capture_table *table = NULL;
    struct capture_shape shape;
    (void)affected;
    if (err != MR_OK && !postgres_conn_is_ready(description->conn))
        return; /* `closed` follows */
    if (err != MR_OK) {
        describe_end(description, err, NULL);
        return;
    }
    err = capture_table_new(rows, description->table, &table);
    if (err == MR_NOT_FOUND) {
        capture_shape_raw(description->arena, description->table, &shape);
        err = MR_OK;
    } else if (err == MR_OK) {
        capture_table_shape(table, description->arena, &shape);
    }
    capture_table_free(table);
    describe_end(description, err, err == MR_OK ? &shape : NULL);
}

void capture_describe(struct mr_loop *loop, const struct postgres_address *address, mr_str table,
                      struct mr_arena *arena, capture_described *done, void *owner)
{
    static const struct postgres_conn_handlers handlers = {NULL, describe_closed};
    struct description *description = mr_new(struct description);
    mr_str params[2];
    *description = (struct description){
        .arena = arena, .table = mr_arena_str(arena, table), .done = done, .owner = owner};
    mr_err err = postgres_conn_open(loop, address, POSTGRES_CONN_SQL, "millrace check", &handlers,
                                    description, &description->conn);
    if (err != MR_OK) {
        describe_end(description, err, NULL);
        return;
    }
    postgres_table_split(description->table, &params[0], &params[1]);
    postgres_conn_query(description->conn, mr_str_from(capture_table_sql), params, 2,
                        describe_answer, description);
}

/* ---- dropping ---- */
struct drop {
    struct postgres_conn *conn;
    void (*done)(void *owner, mr_err err);
    void *owner;
};

static void drop_end(struct drop *drop, mr_err err)
{
    postgres_conn_close(drop->conn);
    drop->done(drop->owner, err);
    mr_free(drop);
}

static void drop_closed(void *owner, mr_err err)
{
    drop_end(owner, err);
}

static void drop_answer(void *owner, mr_err err, const struct postgres_rows *rows, int64_t affected)
{
    struct drop *drop = owner;
    (void)rows;
    (void)affected;
    if (postgres_conn_is_ready(drop->conn))
        drop_end(drop, err);
}

void capture_drop(struct mr_loop *loop, const struct postgres_address *address, mr_str name,
                  void (*done)(void *owner, mr_err err), void *owner)
{
    static const struct postgres_conn_handlers handlers = {NULL, drop_closed};
    struct drop *drop = mr_new(struct drop);
    struct mr_buf sql = {0};
    char slot[64];
    *drop = (struct drop){.done = done, .owner = owner};
    capture_session_slot(name, slot);
    mr_err err = postgres_conn_open(loop, address, POSTGRES_CONN_SQL, "millrace", &handlers, drop,
                                    &drop->conn);
    if (err != MR_OK) {
        drop_end(drop, err);
        return;
    }
    mr_str param = mr_str_from(slot);
    mr_buf_printf(&sql, "DROP PUBLICATION IF EXISTS \"%s\"", slot);
    postgres_conn_query(drop->conn, mr_buf_as_str(&sql), NULL, 0, NULL, NULL);
    postgres_conn_query(drop->conn,
                        MR_STR("SELECT pg_drop_replication_slot(slot_name) FROM "
                               "pg_replication_slots WHERE slot_name = $1"),
                        &param, 1, drop_answer, drop);
    mr_buf_fini(&sql);
}
