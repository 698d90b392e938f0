/* postgres/conn.c: libpq on a loop: connects without blocking, then sends requests through its
 * pipeline mode, each closed by a Sync, so that one request is one implicit transaction.
 *
 *   RESOLVING --> CONNECTING --> READY --> CLOSED        any --trouble--> CLOSED
 *
 * Invariants: requests are answered in the order made, each exactly once while the connection is not
 * closed by its owner. A request made before READY is kept as text and sent then. An owner may close
 * the connection in any callback, so each call to him stands between enter() and leave(). */
#include "postgres/conn.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>

enum { CONNECT_SECONDS_MAX = 15, PARAMS_MAX = 64 };

struct statement {
    struct statement *next;
    mr_str sql;
    mr_str *params;
    size_t param_count;
};
struct postgres_request {
    struct postgres_request *next;
    postgres_done *done;
    void *owner;
    struct mr_arena arena; /* of statements not yet sent */
    struct statement *statements, *last_statement;
    char *sent_sql;   /* parsed last in this request */
    PGresult *result; /* of the last statement */
    int64_t affected;
    mr_err err;
    char *why;
};
struct postgres_rows {
    PGresult *result;
    bool *kept; /* set when the result has got another owner */
};

/* ---- errors ---- */
static mr_err sqlstate_error(const char *state)
{
    static const struct {
        const char *prefix;
        mr_err err;
    } rows[] = {
#define SQLSTATE(prefix, error) {prefix, MR_##error},
#include "postgres/sqlstates.def"
    };
    size_t row = 0;
    while (!mr_str_starts(mr_str_from(state), mr_str_from(rows[row].prefix)))
        row++; /* the last row fits everything */
    return rows[row].err;
}

mr_err postgres_conn_result_error(struct postgres_conn *conn, const PGresult *result)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    const char *detail = PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL);
    struct mr_buf place = {0};
    if (message == NULL)
        message = PQresultErrorMessage(result);
    snprintf(conn->sqlstate, sizeof conn->sqlstate, "%s", state == NULL ? "" : state);
    postgres_address_print(&place, &conn->address);
    mr_str why = mr_str_trim(mr_str_from(message));
    mr_err err = mr_fail(state == NULL ? MR_CLOSED : sqlstate_error(state),
                         "PostgreSQL %.*s: %.*s%s%s%s", MR_STR_ARG(mr_buf_as_str(&place)),
                         MR_STR_ARG(why), detail == NULL ? "" : " (", detail == NULL ? "" : detail,
                         detail == NULL ? "" : ")");
    mr_buf_fini(&place);
    return err;
}

/* libpq's text in one line: our sentences have no second one. */
static mr_str one_line(struct mr_buf *out, mr_str text)
{
    mr_str line;
    while (text.length > 0 && mr_str_split(&text, '\n', &line)) {
        line = mr_str_trim(line);
        if (line.length > 0)
            mr_buf_printf(out, "%s%.*s", out->length > 0 ? " " : "", MR_STR_ARG(line));
    }
    return mr_buf_as_str(out);
}

/* What libpq says about a connection that could not be made or broke. */
static mr_err connection_error(const struct postgres_conn *conn, mr_err fallback)
{
    struct mr_buf place = {0}, line = {0};
    mr_str why = one_line(&line, mr_str_from(conn->pg == NULL ? "" : PQerrorMessage(conn->pg)));
    if (mr_str_find(why, MR_STR("authentication failed")) >= 0 ||
        mr_str_find(why, MR_STR("no password supplied")) >= 0 ||
        mr_str_find(why, MR_STR("no pg_hba.conf entry")) >= 0)
        fallback = MR_AUTH;
    else if (mr_str_find(why, MR_STR("database \"")) >= 0 &&
             mr_str_find(why, MR_STR("does not exist")) >= 0)
        fallback = MR_NOT_FOUND;
    postgres_address_print(&place, &conn->address);
    fallback = mr_fail(fallback, "PostgreSQL %.*s: %.*s", MR_STR_ARG(mr_buf_as_str(&place)),
                       MR_STR_ARG(why.length > 0 ? why : MR_STR("connection closed")));
    mr_buf_fini(&place);
    mr_buf_fini(&line);
    return fallback;
}

/* ---- requests ---- */
static void request_free(struct postgres_request *request)
{
    if (request == NULL)
        return;
    PQclear(request->result);
    mr_arena_fini(&request->arena);
    mr_free(request->sent_sql);
    mr_free(request->why);
    mr_free(request);
}

static void request_fail(struct postgres_request *request, mr_err err)
{
    if (request->err != MR_OK)
        return;
    request->err = err;
    request->why = mr_copy_cstr(mr_str_from(mr_why()));
}

/* Takes the first request off the list and answers it. */
static void request_answer(struct postgres_conn *conn)
{
    struct postgres_request *request = conn->first;
    conn->first = request->next;
    if (conn->first == NULL)
        conn->last = NULL;
    conn->waiting--;
    if (request->done != NULL) {
        bool kept = false;
        struct postgres_rows rows = {request->result, &kept};
        if (request->err != MR_OK)
            mr_fail(request->err, "%s", request->why);
        request->done(request->owner, request->err,
                      request->err == MR_OK && request->result != NULL ? &rows : NULL,
                      request->affected);
        if (kept)
            request->result = NULL;
    }
    request_free(request);
}

/* ---- the life of a connection ---- */
static void conn_free(struct postgres_conn *conn)
{
    while (conn->first != NULL) {
        struct postgres_request *request = conn->first;
        conn->first = request->next;
        request_free(request);
    }
    request_free(conn->open);
    mr_free(conn->command);
    mr_arena_fini(&conn->arena);
    mr_free(conn);
}

/* Lets go of descriptor and libpq; the struct stays. */
static void conn_release(struct postgres_conn *conn)
{
    mr_timer_stop(&conn->timer);
    if (conn->watch.events != 0)
        mr_watch_set(conn->loop, &conn->watch, 0);
    PQfinish(conn->pg);
    conn->pg = NULL;
    conn->streaming = false;
    conn->state = POSTGRES_CONN_CLOSED;
}

void postgres_conn_enter(struct postgres_conn *conn)
{
    conn->depth++;
}

bool postgres_conn_leave(struct postgres_conn *conn)
{
    bool alive = !conn->dead && conn->state != POSTGRES_CONN_CLOSED;
    conn->depth--;
    if (conn->dead && conn->depth == 0 && !conn->resume.queued)
        conn_free(conn);
    return alive;
}

void postgres_conn_fail(struct postgres_conn *conn, mr_err err, const char *why)
{
    if (conn->state == POSTGRES_CONN_CLOSED)
        return;
    char *kept = mr_copy_cstr(mr_str_from(why)); /* `why` may be the thread's present sentence */
    conn_release(conn);
    postgres_conn_enter(conn);
    if (conn->open != NULL) {
        mr_fail(err, "%s", kept);
        request_fail(conn->open, err); /* answered when it ends */
    }
    while (conn->first != NULL && !conn->dead) {
        mr_fail(err, "%s", kept);
        request_fail(conn->first, err);
        request_answer(conn);
    }
    if (!conn->dead && conn->handlers->closed != NULL) {
        mr_fail(err, "%s", kept);
        conn->handlers->closed(conn->owner, err);
    }
    mr_free(kept);
    postgres_conn_leave(conn);
}

static void fail_now(struct postgres_conn *conn, mr_err fallback)
{
    mr_err err = connection_error(conn, fallback);
    postgres_conn_fail(conn, err, mr_why());
}

static void watch(struct postgres_conn *conn, uint32_t events)
{
    conn->watch.fd = PQsocket(conn->pg);
    if (conn->watch.events == events)
        return;
    if (mr_watch_set(conn->loop, &conn->watch, events) != MR_OK)
        postgres_conn_fail(conn, MR_IO, mr_why());
}

bool postgres_conn_flush(struct postgres_conn *conn)
{
    int left = PQflush(conn->pg);
    if (left < 0) {
        /* What the server said before it hung up may still wait to be read. */
        PQconsumeInput(conn->pg);
        fail_now(conn, MR_CLOSED);
        return false;
    }
    watch(conn, (conn->paused ? 0u : EPOLLIN) | (left > 0 ? EPOLLOUT : 0u));
    return conn->state != POSTGRES_CONN_CLOSED;
}

/* ---- sending ---- */
/* libpq wants parameters as C strings; they are copied into `scratch` for the call. */
static bool send_statement(struct postgres_conn *conn, struct postgres_request *request, mr_str sql,
                           const mr_str *params, size_t count)
{
    struct mr_arena scratch;
    const char *values[PARAMS_MAX];
    int sent;
    mr_arena_init(&scratch);
    mr_assert(count <= PARAMS_MAX);
    for (size_t i = 0; i < count; i++)
        values[i] = params[i].data == NULL ? NULL : mr_arena_cstr(&scratch, params[i]);
    if (request->sent_sql != NULL && mr_str_equal(mr_str_from(request->sent_sql), sql)) {
        sent = PQsendQueryPrepared(conn->pg, "", (int)count, values, NULL, NULL, 0);
    } else {
        mr_free(request->sent_sql);
        request->sent_sql = mr_copy_cstr(sql);
        sent = PQsendQueryParams(conn->pg, request->sent_sql, (int)count, NULL, values, NULL, NULL,
                                 0);
    }
    mr_arena_fini(&scratch);
    return sent == 1;
}

/* All statements of one request that was made too early, and its end. */
static bool send_kept(struct postgres_conn *conn, struct postgres_request *request)
{
    for (struct statement *at = request->statements; at != NULL; at = at->next)
        if (!send_statement(conn, request, at->sql, at->params, at->param_count))
            return false;
    request->statements = NULL;
    return true;
}

void postgres_batch_begin(struct postgres_conn *conn, postgres_done *done, void *owner)
{
    mr_assert(conn->open == NULL && conn->kind == POSTGRES_CONN_SQL);
    struct postgres_request *request = mr_new(struct postgres_request);
    request->done = done;
    request->owner = owner;
    mr_arena_init(&request->arena);
    conn->open = request;
}

void postgres_batch_add(struct postgres_conn *conn, mr_str sql, const mr_str *params,
                        size_t param_count)
{
    struct postgres_request *request = conn->open;
    mr_assert(request != NULL);
    if (conn->state == POSTGRES_CONN_CLOSED || request->err != MR_OK)
        return;
    if (conn->state == POSTGRES_CONN_READY) {
        if (!send_statement(conn, request, sql, params, param_count))
            request_fail(request, connection_error(conn, MR_CLOSED));
        return;
    }
    struct mr_arena *arena = &request->arena;
    struct statement *statement = mr_arena_new(arena, struct statement);
    statement->sql = mr_arena_str(arena, sql);
    statement->params = mr_arena_array(arena, mr_str, param_count + 1);
    statement->param_count = param_count;
    for (size_t i = 0; i < param_count; i++)
        statement->params[i] = params[i].data == NULL ? MR_STR_NULL
                                                      : mr_arena_str(arena, params[i]);
    if (request->last_statement == NULL)
        request->statements = statement;
    else
        request->last_statement->next = statement;
    request->last_statement = statement;
}

static void answer_soon(struct mr_task *task)
{
    struct postgres_conn *conn = mr_container(task, struct postgres_conn, resume);
    postgres_conn_enter(conn);
    while (!conn->dead && conn->state == POSTGRES_CONN_CLOSED && conn->first != NULL)
        request_answer(conn);
    if (!conn->dead && conn->streaming && !conn->paused)
        postgres_stream_readable(conn);
    else if (!conn->dead && conn->state == POSTGRES_CONN_READY && !conn->streaming)
        postgres_conn_flush(conn);
    postgres_conn_leave(conn);
}

void postgres_batch_end(struct postgres_conn *conn)
{
    struct postgres_request *request = conn->open;
    mr_assert(request != NULL);
    conn->open = NULL;
    if (conn->last == NULL)
        conn->first = request;
    else
        conn->last->next = request;
    conn->last = request;
    conn->waiting++;
    if (conn->state == POSTGRES_CONN_CLOSED) {
        mr_fail(MR_CLOSED, "PostgreSQL: the connection is closed");
        request_fail(request, MR_CLOSED);
    } else if (conn->state == POSTGRES_CONN_READY && PQpipelineSync(conn->pg) != 1) {
        request_fail(request, connection_error(conn, MR_CLOSED));
    }
    /* Requests of one turn leave in one write; and no answer ever comes inside the call. */
    if (conn->state == POSTGRES_CONN_READY || conn->state == POSTGRES_CONN_CLOSED)
        mr_loop_at_turn_end(conn->loop, &conn->resume);
}

void postgres_conn_query(struct postgres_conn *conn, mr_str sql, const mr_str *params,
                         size_t param_count, postgres_done *done, void *owner)
{
    postgres_batch_begin(conn, done, owner);
    postgres_batch_add(conn, sql, params, param_count);
    postgres_batch_end(conn);
}

/* ---- receiving ---- */
static void take_result(struct postgres_conn *conn, PGresult *result)
{
    struct postgres_request *request = conn->first;
    int64_t count = 0;
    switch (PQresultStatus(result)) {
    case PGRES_COMMAND_OK:
    case PGRES_TUPLES_OK:
        /* What was read does not count as affected. */
        if (!mr_str_starts(mr_str_from(PQcmdStatus(result)), MR_STR("SELECT")) &&
            mr_str_to_i64(mr_str_from(PQcmdTuples(result)), &count) == MR_OK)
            request->affected += count;
        PQclear(request->result);
        request->result = result;
        return;
    case PGRES_PIPELINE_SYNC:
        PQclear(result);
        request_answer(conn);
        return;
    case PGRES_PIPELINE_ABORTED: /* after the one that failed */
    case PGRES_EMPTY_QUERY:
        break;
    case PGRES_BAD_RESPONSE:
    case PGRES_NONFATAL_ERROR:
    case PGRES_FATAL_ERROR:
    case PGRES_COPY_OUT:
    case PGRES_COPY_IN:
    case PGRES_COPY_BOTH:
    case PGRES_SINGLE_TUPLE:
    default:
        request_fail(request, postgres_conn_result_error(conn, result));
        break;
    }
    PQclear(result);
}

static void read_answers(struct postgres_conn *conn)
{
    int empty = 0;
    postgres_conn_enter(conn);
    if (PQconsumeInput(conn->pg) != 1) {
        fail_now(conn, MR_CLOSED);
        postgres_conn_leave(conn);
        return;
    }
    /* NULL ends one statement's results; twice in a row there is nothing under way. */
    while (!conn->dead && conn->state == POSTGRES_CONN_READY && conn->first != NULL && empty < 2 &&
           !PQisBusy(conn->pg)) {
        PGresult *result = PQgetResult(conn->pg);
        empty = result == NULL ? empty + 1 : 0;
        if (result != NULL)
            take_result(conn, result);
    }
    if (!conn->dead && conn->state == POSTGRES_CONN_READY) {
        if (PQstatus(conn->pg) == CONNECTION_BAD)
            fail_now(conn, MR_CLOSED);
        else
            postgres_conn_flush(conn);
    }
    postgres_conn_leave(conn);
}

/* ---- connecting ---- */
static void became_ready(struct postgres_conn *conn)
{
    mr_timer_stop(&conn->timer);
    conn->state = POSTGRES_CONN_READY;
    PQsetnonblocking(conn->pg, 1);
    if (conn->kind == POSTGRES_CONN_SQL) {
        if (PQenterPipelineMode(conn->pg) != 1) {
            fail_now(conn, MR_CLOSED);
            return;
        }
        bool sent = conn->open == NULL || send_kept(conn, conn->open);
        for (struct postgres_request *at = conn->first; at != NULL && sent; at = at->next)
            sent = send_kept(conn, at) && PQpipelineSync(conn->pg) == 1;
        if (!sent) {
            fail_now(conn, MR_CLOSED);
            return;
        }
    }
    postgres_conn_enter(conn);
    if (postgres_conn_flush(conn) && conn->handlers->ready != NULL)
        conn->handlers->ready(conn->owner);
    if (!conn->dead && conn->state == POSTGRES_CONN_READY && conn->command != NULL)
        postgres_stream_begin(conn);
    postgres_conn_leave(conn);
}

static void connect_step(struct postgres_conn *conn)
{
    /* libpq may close its socket and open another one with the same number. */
    if (conn->watch.events != 0)
        mr_watch_set(conn->loop, &conn->watch, 0);
    switch (PQconnectPoll(conn->pg)) {
    case PGRES_POLLING_READING:
        watch(conn, EPOLLIN);
        break;
    case PGRES_POLLING_WRITING:
        watch(conn, EPOLLOUT);
        break;
    case PGRES_POLLING_OK:
        became_ready(conn);
        break;
    case PGRES_POLLING_FAILED:
    case PGRES_POLLING_ACTIVE:
    default:
        fail_now(conn, MR_UNREACHABLE);
        break;
    }
}

static void conn_event(struct mr_watch *watch, uint32_t events)
{
    struct postgres_conn *conn = mr_container(watch, struct postgres_conn, watch);
    if (conn->state == POSTGRES_CONN_CONNECTING)
        connect_step(conn);
    else if (conn->streaming)
        postgres_stream_readable(conn);
    else if (conn->state == POSTGRES_CONN_READY && (events & ~(uint32_t)EPOLLOUT) == 0)
        postgres_conn_flush(conn);
    else if (conn->state == POSTGRES_CONN_READY)
        read_answers(conn);
}

static void conn_timeout(struct mr_timer *timer)
{
    struct postgres_conn *conn = mr_container(timer, struct postgres_conn, timer);
    struct mr_buf place = {0};
    postgres_address_print(&place, &conn->address);
    mr_fail(MR_TIMEOUT, "PostgreSQL %.*s: no answer within %d s", MR_STR_ARG(mr_buf_as_str(&place)),
            CONNECT_SECONDS_MAX);
    mr_buf_fini(&place);
    postgres_conn_fail(conn, MR_TIMEOUT, mr_why());
}

static const char *cstr(struct postgres_conn *conn, mr_str text)
{
    return text.length == 0 ? NULL : mr_arena_cstr(&conn->arena, text);
}

/* `ip` is the numeric address; the host's name stays for certificates. */
static void connect_to(struct postgres_conn *conn, const char *ip, bool loopback)
{
    static const char OPTIONS[] = "-c datestyle=ISO -c timezone=UTC -c intervalstyle=iso_8601 "
                                  "-c bytea_output=hex -c extra_float_digits=3 "
                                  "-c standard_conforming_strings=on";
    char port[8];
    snprintf(port, sizeof port, "%u", conn->address.port);
    const char *sslmode = cstr(conn, conn->address.sslmode);
    const char *const keys[] = {"host",
                                "hostaddr",
                                "port",
                                "user",
                                "password",
                                "dbname",
                                "sslmode",
                                "gssencmode",
                                "client_encoding",
                                "application_name",
                                "options",
                                "replication",
                                NULL};
    const char *const values[] = {cstr(conn, conn->address.host),
                                  ip,
                                  port,
                                  cstr(conn, conn->address.user),
                                  cstr(conn, conn->address.password),
                                  cstr(conn, conn->address.database),
                                  sslmode != NULL ? sslmode
                                  : loopback      ? "disable"
                                                  : "prefer",
                                  "disable",
                                  "UTF8",
                                  conn->application_name,
                                  OPTIONS,
                                  conn->kind == POSTGRES_CONN_REPLICATION ? "database" : NULL,
                                  NULL};
    conn->state = POSTGRES_CONN_CONNECTING;
    conn->pg = PQconnectStartParams(keys, values, 0);
    if (conn->pg == NULL || PQstatus(conn->pg) == CONNECTION_BAD) {
        fail_now(conn, MR_UNREACHABLE);
        return;
    }
    watch(conn, EPOLLOUT);
}

/* ---- names to addresses, on a thread of their own, as getaddrinfo may wait for a peer ---- */
struct postgres_resolve {
    struct mr_task task;
    struct mr_loop *loop;
    struct postgres_conn *conn; /* the loop's; NULL: given up */
    char *host;
    char ip[INET6_ADDRSTRLEN];
    char why[200];
};

static void resolved(struct mr_task *task)
{
    struct postgres_resolve *resolve = mr_container(task, struct postgres_resolve, task);
    struct postgres_conn *conn = resolve->conn;
    if (conn != NULL) {
        conn->resolve = NULL;
        if (resolve->ip[0] != 0) {
            connect_to(conn, resolve->ip, false);
        } else {
            mr_fail(MR_UNREACHABLE, "PostgreSQL %s: %s", resolve->host, resolve->why);
            postgres_conn_fail(conn, MR_UNREACHABLE, mr_why());
        }
    }
    mr_free(resolve->host);
    mr_free(resolve);
}

static void *resolve_run(void *argument)
{
    struct postgres_resolve *resolve = argument;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    int status = getaddrinfo(resolve->host, NULL, &hints, &list);
    if (status == 0)
        status = getnameinfo(list->ai_addr, list->ai_addrlen, resolve->ip, sizeof resolve->ip, NULL,
                             0, NI_NUMERICHOST);
    if (status != 0) {
        resolve->ip[0] = 0;
        snprintf(resolve->why, sizeof resolve->why, "%s", gai_strerror(status));
    }
    if (list != NULL)
        freeaddrinfo(list);
    mr_loop_post(resolve->loop, &resolve->task);
    return NULL;
}

static void begin_connect(struct postgres_conn *conn)
{
    const char *host = mr_arena_cstr(&conn->arena, conn->address.host);
    uint8_t binary[16];
    pthread_t thread;
    if (strcmp(host, "localhost") == 0) {
        connect_to(conn, "127.0.0.1", true);
        return;
    }
    if (inet_pton(AF_INET, host, binary) == 1 || inet_pton(AF_INET6, host, binary) == 1) {
        connect_to(conn, host,
                   mr_str_starts(conn->address.host, MR_STR("127.")) || strcmp(host, "::1") == 0);
        return;
    }
    struct postgres_resolve *resolve = mr_new(struct postgres_resolve);
    resolve->task.run = resolved;
    resolve->loop = conn->loop;
    resolve->conn = conn;
    resolve->host = mr_copy_cstr(conn->address.host);
    conn->resolve = resolve;
    if (pthread_create(&thread, NULL, resolve_run, resolve) != 0)
        resolve_run(resolve);
    else
        pthread_detach(thread);
}

static void connect_first(struct mr_timer *timer)
{
    struct postgres_conn *conn = mr_container(timer, struct postgres_conn, timer);
    conn->timer.run = conn_timeout;
    mr_timer_start(conn->loop, &conn->timer, CONNECT_SECONDS_MAX * INT64_C(1000000));
    begin_connect(conn);
}

mr_err postgres_conn_open(struct mr_loop *loop, const struct postgres_address *address,
                          enum postgres_conn_kind kind, const char *application_name,
                          const struct postgres_conn_handlers *handlers, void *owner,
                          struct postgres_conn **out)
{
    if (address->host.length == 0 || address->port == 0)
        return mr_fail(MR_INVALID, "PostgreSQL: expected a host and a port, found none");
    struct postgres_conn *conn = mr_new(struct postgres_conn);
    mr_arena_init(&conn->arena);
    conn->loop = loop;
    conn->kind = kind;
    postgres_address_copy(&conn->arena, address, &conn->address);
    conn->application_name = mr_arena_cstr(&conn->arena, mr_str_from(application_name));
    conn->handlers = handlers;
    conn->owner = owner;
    conn->watch.ready = conn_event;
    conn->watch.fd = -1;
    conn->resume.run = answer_soon;
    /* The first step is taken by the loop, so that no handler runs inside this call. */
    conn->timer.run = connect_first;
    mr_timer_start(loop, &conn->timer, 0);
    *out = conn;
    return MR_OK;
}

void postgres_conn_close(struct postgres_conn *conn)
{
    if (conn == NULL || conn->dead)
        return;
    if (conn->resolve != NULL)
        conn->resolve->conn = NULL;
    if (conn->state != POSTGRES_CONN_CLOSED)
        conn_release(conn);
    conn->dead = true;
    if (conn->depth == 0 && !conn->resume.queued)
        conn_free(conn);
}

bool postgres_conn_is_ready(const struct postgres_conn *conn)
{
    return conn->state == POSTGRES_CONN_READY;
}

int postgres_conn_version(const struct postgres_conn *conn)
{
    return conn->state == POSTGRES_CONN_READY ? PQserverVersion(conn->pg) : 0;
}

size_t postgres_conn_waiting(const struct postgres_conn *conn)
{
    return conn->waiting;
}

const char *postgres_conn_sqlstate(const struct postgres_conn *conn)
{
    return conn->sqlstate;
}

/* ---- rows ---- */
uint32_t postgres_rows_count(const struct postgres_rows *rows)
{
    return (uint32_t)PQntuples(rows->result);
}

uint32_t postgres_rows_columns(const struct postgres_rows *rows)
{
    return (uint32_t)PQnfields(rows->result);
}

mr_str postgres_rows_name(const struct postgres_rows *rows, uint32_t column)
{
    return mr_str_from(PQfname(rows->result, (int)column));
}

uint32_t postgres_rows_type(const struct postgres_rows *rows, uint32_t column)
{
    return PQftype(rows->result, (int)column);
}

mr_str postgres_rows_get(const struct postgres_rows *rows, uint32_t row, uint32_t column)
{
    if (PQgetisnull(rows->result, (int)row, (int)column))
        return MR_STR_NULL;
    return mr_str_of(PQgetvalue(rows->result, (int)row, (int)column),
                     (size_t)PQgetlength(rows->result, (int)row, (int)column));
}

const struct postgres_rows *postgres_rows_keep(const struct postgres_rows *rows)
{
    struct postgres_rows *kept = mr_new(struct postgres_rows);
    kept->result = rows->result;
    *rows->kept = true;
    return kept;
}

void postgres_rows_free(const struct postgres_rows *rows)
{
    if (rows == NULL)
        return;
    PQclear(rows->result);
    mr_free((struct postgres_rows *)(uintptr_t)rows);
}
