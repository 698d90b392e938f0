/* postgres/stream.c: a replication stream (COPY BOTH) on a connection of its own.
 *
 * Messages are given out as long as there are any, in the socket too; only then `idle` runs, so the
 * owner can group what came together without any timer. A paused stream reads nothing, and
 * PostgreSQL feels it as a full socket. libpq hands each message out in memory of its own. */
#include "postgres/conn.h"

#include <poll.h>

void postgres_stream_begin(struct postgres_conn *conn)
{
    if (PQsendQuery(conn->pg, conn->command) != 1) {
        postgres_conn_fail(conn, MR_CLOSED, PQerrorMessage(conn->pg));
        return;
    }
    conn->streaming = true;
    postgres_conn_flush(conn);
}

void postgres_stream_start(struct postgres_conn *conn, mr_str command, postgres_stream_data *data,
                           postgres_stream_idle *idle)
{
    mr_assert(conn->kind == POSTGRES_CONN_REPLICATION && conn->command == NULL);
    conn->command = mr_copy_cstr(command);
    conn->stream_data = data;
    conn->stream_idle = idle;
    if (conn->state == POSTGRES_CONN_READY && conn->depth == 0)
        postgres_stream_begin(conn);
}

/* The server's answer to START_REPLICATION, or the end of the stream. */
static void take_answer(struct postgres_conn *conn)
{
    PGresult *result = PQgetResult(conn->pg);
    ExecStatusType status = PQresultStatus(result);
    if (status == PGRES_COPY_BOTH) {
        conn->copying = true;
        PQclear(result);
        return;
    }
    mr_err err = MR_CLOSED;
    if (result != NULL && status == PGRES_FATAL_ERROR)
        err = postgres_conn_result_error(conn, result);
    else
        mr_fail(err, "PostgreSQL: the replication stream has ended");
    PQclear(result);
    postgres_conn_fail(conn, err, mr_why());
}

/* True while the socket has more to read. */
static bool more_there(struct postgres_conn *conn)
{
    struct pollfd entry = {.fd = PQsocket(conn->pg), .events = POLLIN};
    return poll(&entry, 1, 0) > 0;
}

/* Gives out what libpq holds. False when paused, ended or freed. */
static bool give_messages(struct postgres_conn *conn)
{
    char *data = NULL;
    int length;
    while ((length = PQgetCopyData(conn->pg, &data, 1)) > 0) {
        bool go_on = conn->stream_data(conn->owner, mr_str_of(data, (size_t)length));
        PQfreemem(data);
        if (conn->dead || conn->state == POSTGRES_CONN_CLOSED)
            return false;
        if (!go_on && !conn->resume.queued)
            conn->paused = true;
        if (!go_on || conn->paused)
            return false;
    }
    if (length == -2) {
        postgres_conn_fail(conn, MR_CLOSED, PQerrorMessage(conn->pg));
        return false;
    }
    conn->copying = length == 0;
    return true;
}

/* What has been read so far. False when paused, ended or freed. */
static bool take_input(struct postgres_conn *conn)
{
    if (PQconsumeInput(conn->pg) != 1) {
        postgres_conn_fail(conn, MR_CLOSED, PQerrorMessage(conn->pg));
        return false;
    }
    if (conn->copying && !give_messages(conn))
        return false;
    if (!conn->copying && PQisBusy(conn->pg) == 0) {
        take_answer(conn);
        return conn->state == POSTGRES_CONN_READY && give_messages(conn);
    }
    return true;
}

void postgres_stream_readable(struct postgres_conn *conn)
{
    postgres_conn_enter(conn);
    bool good = true;
    do
        good = take_input(conn);
    while (good && more_there(conn));
    if (good && conn->copying)
        conn->stream_idle(conn->owner);
    if (!conn->dead && conn->state == POSTGRES_CONN_READY)
        postgres_conn_flush(conn);
    postgres_conn_leave(conn);
}

void postgres_stream_send(struct postgres_conn *conn, mr_str message)
{
    if (!conn->streaming || conn->dead || conn->state != POSTGRES_CONN_READY)
        return;
    /* An error here shows on the next read as well, with the server's reason. */
    if (PQputCopyData(conn->pg, message.data, (int)message.length) == 1 && conn->depth == 0)
        mr_loop_at_turn_end(conn->loop, &conn->resume);
}

void postgres_stream_pause(struct postgres_conn *conn)
{
    if (conn->dead || conn->state != POSTGRES_CONN_READY)
        return;
    conn->paused = true;
    if (conn->depth == 0)
        postgres_conn_flush(conn);
}

void postgres_stream_resume(struct postgres_conn *conn)
{
    if (conn->dead || conn->state != POSTGRES_CONN_READY || !conn->paused)
        return;
    conn->paused = false;
    mr_loop_at_turn_end(conn->loop, &conn->resume); /* what libpq holds makes no event */
}
