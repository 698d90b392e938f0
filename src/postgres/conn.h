/* postgres/conn.h: private: what conn.c (requests) and stream.c (replication) share. */
#ifndef POSTGRES_CONN_H
#define POSTGRES_CONN_H

#include <libpq-fe.h>

#include "postgres/postgres.h"

enum postgres_conn_state {
    POSTGRES_CONN_RESOLVING,
    POSTGRES_CONN_CONNECTING,
    POSTGRES_CONN_READY,
    POSTGRES_CONN_CLOSED,
};
struct postgres_request;
struct postgres_resolve;

struct postgres_conn {
    struct mr_loop *loop;
    struct mr_arena arena; /* address and name */
    struct postgres_address address;
    enum postgres_conn_kind kind;
    const char *application_name;
    const struct postgres_conn_handlers *handlers;
    void *owner;
    enum postgres_conn_state state;
    PGconn *pg;
    struct mr_watch watch;
    struct mr_timer timer; /* of connecting */
    struct postgres_resolve *resolve;
    int depth; /* callbacks under way */
    bool dead; /* closed inside one of them: freed after it */
    char sqlstate[6];

    struct postgres_request *first, *last; /* not yet answered, in order */
    struct postgres_request *open;         /* between begin and end */
    size_t waiting;

    char *command; /* of the stream */
    postgres_stream_data *stream_data;
    postgres_stream_idle *stream_idle;
    bool streaming, paused; /* the command is sent; nothing is read */
    bool copying;           /* the server has agreed */
    struct mr_task resume;
};

/* Ends the connection and tells its owner; all open requests are answered first. */
void postgres_conn_fail(struct postgres_conn *conn, mr_err err, const char *why);
/* What a failed result means; its sentence is recorded. */
mr_err postgres_conn_result_error(struct postgres_conn *conn, const PGresult *result);
/* Sends what waits and watches for what is needed. False when the connection has ended. */
bool postgres_conn_flush(struct postgres_conn *conn);
/* Around every call of the owner; leave() is false when the connection is gone. */
void postgres_conn_enter(struct postgres_conn *conn);
bool postgres_conn_leave(struct postgres_conn *conn);

void postgres_stream_begin(struct postgres_conn *conn); /* the connection is ready */
void postgres_stream_readable(struct postgres_conn *conn);

#endif
