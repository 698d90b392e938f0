/* store/turn.c: group commit. Operands of one turn of the loop go into one batch, written at its end;
 * a disk thread makes the log durable once for all who wait, and then they are answered.
 *
 *   open --turn_end--> written --durable--> answered
 *     \--MR_AGAIN--> a disk thread writes it --/        (memtables are full: everybody else waits) */
#include "store/server.h"

enum { BATCH_BYTES_MAX = 16 << 20 };

static void turn_free(struct store_turn *turn)
{
    kv_batch_free(turn->batch);
    for (size_t i = 0; i < turn->batches.count; i++)
        kv_batch_free(turn->batches.items[i]);
    mr_array_fini(&turn->batches);
    mr_array_fini(&turn->answers);
    mr_free(turn);
}

/* ---- answering ---- */
static void send_event(struct store_server *server, const struct mr_buf *event)
{
    struct net_conn *conn = server->listener == NULL ? NULL /* closing */
                                                     : net_listener_next(server->listener, NULL);
    for (; conn != NULL; conn = net_listener_next(server->listener, conn)) {
        struct store_session *session = net_context(conn);
        if (session == NULL || session->conn == NULL || !(session->events & STORE_EVENT_SCHEMA))
            continue;
        struct store_reply reply = {.session = session, .stream = -1};
        mr_buf_str(store_reply_begin(&reply), mr_buf_as_str(event));
        store_reply_send(&reply, CQL_OPCODE_EVENT);
    }
}

static void answer(struct store_turn *turn, struct store_answer *one)
{
    if (turn->err != MR_OK) {
        store_reply_error(&one->reply,
                          mr_err_retriable(turn->err) ? CQL_ERROR_OVERLOADED : CQL_ERROR_SERVER,
                          mr_str_from(turn->why), NULL);
    } else if (one->body.length == 0) {
        store_reply_void(&one->reply);
    } else {
        mr_buf_str(store_reply_begin(&one->reply), mr_buf_as_str(&one->body));
        store_reply_send(&one->reply, CQL_OPCODE_RESULT);
    }
    if (turn->err == MR_OK && one->event.length > 0)
        send_event(turn->server, &one->event);
    mr_buf_fini(&one->body);
    mr_buf_fini(&one->event);
    store_session_unref(one->reply.session);
}

static void turn_finish(struct store_turn *turn)
{
    struct store_server *server = turn->server;
    for (size_t i = 0; i < turn->answers.count; i++)
        answer(turn, &turn->answers.items[i]);
    turn_free(turn);
    server->pending--;
    store_server_settle(server);
}

static void turn_fail(struct store_turn *turn, mr_err err)
{
    turn->err = err;
    const char *why = mr_why();
    size_t length = strlen(why) < sizeof(turn->why) - 1 ? strlen(why) : sizeof(turn->why) - 1;
    memcpy(turn->why, why, length);
    turn->why[length] = '\0';
    mr_log(MR_LOG_ERROR, "store", "%zu writes failed: %s", turn->answers.count, turn->why);
    if (err == MR_FULL || err == MR_IO)
        store_server_suspend(turn->server);
}

static void turn_durable(struct kv_commit *commit, mr_err err)
{
    struct store_turn *turn = mr_container(commit, struct store_turn, commit);
    if (err != MR_OK)
        turn_fail(turn, err);
    turn_finish(turn);
}

/* ---- writing ---- */
static mr_err write_all(struct store_turn *turn, int flags)
{
    struct kv_db *db = turn->server->db.kv;
    mr_err err = MR_OK;
    if (turn->batch != NULL && kv_batch_count(turn->batch) > 0)
        err = kv_write(db, turn->batch, flags);
    if (err != MR_OK)
        return err;
    kv_batch_free(turn->batch);
    turn->batch = NULL;
    while (err == MR_OK && turn->batches.count > 0) {
        err = kv_write(db, turn->batches.items[0], flags);
        if (err != MR_OK)
            break;
        kv_batch_free(turn->batches.items[0]);
        turn->batches.count--;
        memmove(turn->batches.items, turn->batches.items + 1,
                turn->batches.count * sizeof(*turn->batches.items));
    }
    return err;
}

static void turn_written(struct store_turn *turn, mr_err err)
{
    if (err != MR_OK) {
        turn_fail(turn, err);
        turn_finish(turn);
        return;
    }
    turn->commit.done = turn_durable;
    kv_commits_wait(turn->server->commits, &turn->commit);
}

static void slow_write(struct mr_job *job)
{
    struct store_turn *turn = mr_container(job, struct store_turn, job);
    turn->err = write_all(turn, 0);
    if (turn->err != MR_OK) {
        size_t length = strlen(mr_why()) < sizeof(turn->why) - 1 ? strlen(mr_why())
                                                                 : sizeof(turn->why) - 1;
        memcpy(turn->why, mr_why(), length);
        turn->why[length] = '\0';
    }
}

static void resume_readers(struct store_server *server)
{
    struct net_conn *conn = server->listener == NULL ? NULL /* closing */
                                                     : net_listener_next(server->listener, NULL);
    for (; conn != NULL; conn = net_listener_next(server->listener, conn)) {
        struct store_session *session = net_context(conn);
        if (session != NULL && session->conn != NULL && session->paused) {
            session->paused = false;
            net_resume(conn);
        }
    }
}

static void slow_written(struct mr_job *job)
{
    struct store_turn *turn = mr_container(job, struct store_turn, job);
    struct store_server *server = turn->server;
    mr_err err = turn->err;
    turn->err = MR_OK;
    server->writing = false;
    if (err != MR_OK)
        err = mr_fail(err, "%s", turn->why);
    turn_written(turn, err);
    if (server->turn != NULL)
        mr_loop_at_turn_end(server->loop, &server->turn_end);
    resume_readers(server);
}

mr_err store_turn_flush(struct store_server *server)
{
    struct store_turn *turn = server->turn;
    if (server->writing)
        return MR_AGAIN;
    if (turn == NULL)
        return MR_OK;
    server->turn = NULL;
    mr_err err = server->suspended
                     ? mr_fail(MR_FULL, "the store takes no writes until its disk has room again")
                     : write_all(turn, KV_NO_SLOWDOWN);
    if (err == MR_AGAIN) {
        server->writing = true;
        turn->job = (struct mr_job){.work = slow_write, .done = slow_written, .loop = server->loop};
        mr_disk_submit(server->disk, &turn->job);
        return MR_AGAIN;
    }
    turn_written(turn, err);
    return MR_OK;
}

static void turn_end(struct mr_task *task)
{
    (void)store_turn_flush(mr_container(task, struct store_server, turn_end));
}

struct store_turn *store_turn_open(struct store_server *server)
{
    if (server->turn == NULL) {
        server->turn = mr_new(struct store_turn);
        server->turn->server = server;
        server->turn->batch = kv_batch_new();
        server->pending++;
    }
    server->turn_end.run = turn_end;
    mr_loop_at_turn_end(server->loop, &server->turn_end);
    return server->turn;
}

bool store_turn_is_full(const struct store_server *server)
{
    return server->writing && server->turn != NULL && server->turn->batch != NULL &&
           (kv_batch_bytes(server->turn->batch) > BATCH_BYTES_MAX ||
            server->turn->answers.count > 65536);
}

struct store_answer *store_turn_answer(struct store_turn *turn, const struct store_reply *reply)
{
    struct store_answer *one = mr_array_add(&turn->answers);
    memset(one, 0, sizeof(*one));
    one->reply = *reply;
    (void)store_session_ref(reply->session);
    return one;
}
