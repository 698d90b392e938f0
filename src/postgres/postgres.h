/* postgres/postgres.h: the private PostgreSQL that Millrace looks after, and libpq on a loop.
 * No type of libpq leaves this room. */
#ifndef POSTGRES_POSTGRES_H
#define POSTGRES_POSTGRES_H

#include "base/base.h"

/* ---- where a server is ---- */
struct postgres_address {
    mr_str host;           /* name or IP address; default 127.0.0.1 */
    uint16_t port;         /* default 5432 */
    mr_str user, password; /* password empty: none is sent */
    mr_str database;
    mr_str sslmode; /* libpq's words; empty: disable on loopback, else prefer */
};
/* Reads "host:port", "host", or "postgres://user:password@host:port/database?sslmode=require"
 * (percent-encoding allowed); what is not said comes from `defaults` (may be NULL: postgres@127.0.0.1:5432/postgres).
 * Everything is copied into `arena`. Errors: MR_INVALID. */
mr_err postgres_address_parse(struct mr_arena *arena, mr_str text,
                              const struct postgres_address *defaults,
                              struct postgres_address *out);
void postgres_address_copy(struct mr_arena *arena, const struct postgres_address *from,
                           struct postgres_address *to);
/* "host:port", as a person reads it; never with the password. */
void postgres_address_print(struct mr_buf *out, const struct postgres_address *address);

/* ---- the private server ----
 * All of these block: a disk job, a thread of its own, or before the loops run; never on a loop.
 * One thread at a time may use a server. */
struct postgres_server;
struct postgres_server_options {
    const char *folder;   /* the data folder DIR: makes DIR/postgres, .password, .log */
    uint16_t port;        /* on 127.0.0.1; 0: a free one is chosen */
    const char *programs; /* folder with initdb and postgres; NULL: looked for */
};
/* The folder with `initdb` and `postgres` of the newest version installed.
 * Errors: MR_NOT_FOUND, with the package to install in the sentence. */
mr_err postgres_server_programs(struct mr_arena *arena, const char **folder);
/* Makes the cluster on first use, adopts one that outlived us, or starts it; returns once it
 * answers queries as user and database `millrace`.
 * Errors: MR_NOT_FOUND (no programs), MR_DENIED (a folder that its user cannot enter), MR_BUSY (the
 * port, or the folder, is taken), MR_FULL, MR_IO. */
mr_err postgres_server_start(const struct postgres_server_options *options,
                             struct postgres_server **out);
/* Starts it again when it has died since; MR_OK at once while it lives. */
mr_err postgres_server_check(struct postgres_server *server);
/* Fast shutdown: waits until it has ended (then it is freed). Accepts NULL. */
void postgres_server_stop(struct postgres_server *server);
/* Frees only our end; PostgreSQL goes on, and the next start adopts it. Accepts NULL. */
void postgres_server_leave(struct postgres_server *server);
/* Views that live as long as the server. */
const struct postgres_address *postgres_server_address(const struct postgres_server *server);
uint16_t postgres_server_port(const struct postgres_server *server);
bool postgres_server_adopted(const struct postgres_server *server);
int postgres_server_pid(const struct postgres_server *server);

/* ---- a connection on a loop ----
 * Requests are answered in order. A request is one or more statements in one implicit transaction;
 * all requests go out at once (pipeline mode), nothing waits for the answer before it. After the
 * connection is lost every open request is answered with MR_CLOSED or MR_UNREACHABLE, `closed` runs
 * last, and the caller opens a new one (with his own back-off). Thread: the owning loop. */
struct postgres_conn;
struct postgres_rows; /* one statement's result; valid during the callback */

struct postgres_conn_handlers {
    /* Connected and ready. Requests made before are sent then; may be NULL. */
    void (*ready)(void *owner);
    /* Could not connect, or the connection broke: why is in the sentence (mr_why). The connection
     * is to be freed by postgres_conn_close(), here or later. Never called after a close. */
    void (*closed)(void *owner, mr_err err);
};
enum postgres_conn_kind {
    POSTGRES_CONN_SQL,
    POSTGRES_CONN_REPLICATION, /* logical; one stream instead of requests */
};
/* Begins to connect and returns at once. Sessions have UTC, ISO dates, hex bytea.
 * Errors: MR_INVALID; all others come by `closed`. */
mr_err postgres_conn_open(struct mr_loop *loop, const struct postgres_address *address,
                          enum postgres_conn_kind kind, const char *application_name,
                          const struct postgres_conn_handlers *handlers, void *owner,
                          struct postgres_conn **out);
/* Open requests are dropped without an answer. Accepts NULL. May be called in any callback. */
void postgres_conn_close(struct postgres_conn *conn);
bool postgres_conn_is_ready(const struct postgres_conn *conn);
/* 150004 for 15.4; 0 before it is ready. */
int postgres_conn_version(const struct postgres_conn *conn);
size_t postgres_conn_waiting(const struct postgres_conn *conn); /* requests not yet answered */

/* The answer of a request: `rows` is its last statement's result (NULL on errors), `affected` the
 * sum of the
 * rows that its statements inserted, updated or deleted. On errors nothing of the request has happened; mr_why() has the server's
 * sentence. Codes: FULL (53100), CONFLICT (23xxx, 40xxx; the latter with MR_AGAIN), NOT_FOUND
 * (undefined table ...), EXISTS, DENIED, AUTH, INVALID (the rest of 22xxx and 42xxx), BUSY (55006),
 * UNREACHABLE (57P0x), CANCELLED (57014). */
typedef void postgres_done(void *owner, mr_err err, const struct postgres_rows *rows,
                           int64_t affected);
/* One statement with parameters $1... as text ({NULL, 0} is NULL). Everything is copied. */
void postgres_conn_query(struct postgres_conn *conn, mr_str sql, const mr_str *params,
                         size_t param_count, postgres_done *done, void *owner);
/* Several statements in one transaction: begin, add..., end. Between begin and end no other request
 * may be made on this connection. A statement repeated in a row is parsed once. */
void postgres_batch_begin(struct postgres_conn *conn, postgres_done *done, void *owner);
void postgres_batch_add(struct postgres_conn *conn, mr_str sql, const mr_str *params,
                        size_t param_count);
void postgres_batch_end(struct postgres_conn *conn);
/* The SQLSTATE of the latest failed request on this connection, "" when it had none. */
const char *postgres_conn_sqlstate(const struct postgres_conn *conn);

uint32_t postgres_rows_count(const struct postgres_rows *rows);
uint32_t postgres_rows_columns(const struct postgres_rows *rows);
mr_str postgres_rows_name(const struct postgres_rows *rows, uint32_t column);
uint32_t postgres_rows_type(const struct postgres_rows *rows, uint32_t column); /* type oid */
/* Text; {NULL, 0} is NULL. A view that lives as long as the rows. */
mr_str postgres_rows_get(const struct postgres_rows *rows, uint32_t row, uint32_t column);
/* Keeps the result beyond its callback; free with postgres_rows_free(). */
const struct postgres_rows *postgres_rows_keep(const struct postgres_rows *rows);
void postgres_rows_free(const struct postgres_rows *rows); /* accepts NULL; kept ones only */

/* "name" quoted as an identifier; 'text' as a literal; `table` "schema.name" or "name" (public). */
void postgres_quote_name(struct mr_buf *out, mr_str name);
void postgres_quote_text(struct mr_buf *out, mr_str text);
void postgres_quote_table(struct mr_buf *out, mr_str table);
void postgres_table_split(mr_str table, mr_str *schema, mr_str *name);

/* Adds to the open batch what makes the table that a step fetches into, when it is missing:
 * id bigint identity primary key, key text unique not null, body jsonb not null, fetched_at
 * timestamptz not null default now(); REPLICA IDENTITY FULL. Harmless when it is there. */
void postgres_batch_add_raw_table(struct postgres_conn *conn, mr_str table);

/* Adds a message to the open batch that tells a capture which run its rows are of (header mr.run). */
void postgres_batch_add_run(struct postgres_conn *conn, mr_str run);

/* ---- a stream on a replication connection (COPY BOTH) ---- */
/* Each message of the server, without its framing; a view. Return false to pause: the rest comes
 * after postgres_stream_resume(), which may also have been called just before: then with the turn's end. */
typedef bool postgres_stream_data(void *owner, mr_str message);
/* After all messages that were there have been given: the moment to flush what they made. */
typedef void postgres_stream_idle(void *owner);
/* Sends START_REPLICATION ... once the connection is ready. Its end comes by `closed`. */
void postgres_stream_start(struct postgres_conn *conn, mr_str command, postgres_stream_data *data,
                           postgres_stream_idle *idle);
void postgres_stream_send(struct postgres_conn *conn, mr_str message);
void postgres_stream_pause(struct postgres_conn *conn);
void postgres_stream_resume(struct postgres_conn *conn);

#endif
