/* capture/follow.c: the stream of changes to records, and their commits.
 *
 * All messages that are there go into one Kafka transaction; when the stream is idle between two
 * PostgreSQL transactions, or 8 MB have gathered, it is committed together with the position. While a
 * commit is under way the stream is not read, and what PostgreSQL sends meanwhile makes the next
 * one: groups grow by themselves when busy, and nothing waits when idle.
 *
 * Exactly once: a change counts as done when the position in the same Kafka transaction covers it. A
 * new attempt fences the old producer first, then reads the position, then skips what is done. The slot
 * is confirmed only behind a commit, or when nothing is pending. */
#include "capture/session.h"

#include <stdio.h>

/* ---- the stream, stopped and going ---- */
void capture_follow_pause(struct capture_session *session, enum capture_pause why)
{
    session->pauses |= why;
    if (session->stream != NULL)
        postgres_stream_pause(session->stream);
}

void capture_follow_resume(struct capture_session *session, enum capture_pause why)
{
    if ((session->pauses & why) == 0)
        return;
    session->pauses &= ~(unsigned)why;
    if (session->pauses == 0 && session->stream != NULL)
        postgres_stream_resume(session->stream);
}

static void send_status(struct capture_session *session)
{
    struct mr_clock *clock = mr_loop_clock(session->capture->loop);
    mr_buf_clear(&session->out);
    capture_pgoutput_status(&session->out, session->confirmed_lsn, mr_clock_wall_us(clock));
    postgres_stream_send(session->stream, mr_buf_as_str(&session->out));
}

void capture_follow_confirm(struct capture_session *session, uint64_t lsn)
{
    if (lsn <= session->confirmed_lsn)
        return;
    session->confirmed_lsn = lsn;
    send_status(session);
}

/* ---- commits ---- */
static void committed(void *context, mr_err err)
{
    struct capture_session *session = context;
    struct capture *capture = session->capture;
    if (err != MR_OK) {
        capture_session_fail(session, err);
        return;
    }
    capture->events += session->commit_records;
    mr_counter_add(capture->events_counter, (int64_t)session->commit_records);
    session->commit_records = 0;
    capture->retry_us = 0;
    if (capture->closing) {
        capture_session_free(session);
        return;
    }
    capture_follow_confirm(session, session->commit_end_lsn);
    capture_follow_resume(session, CAPTURE_PAUSE_COMMIT);
    capture_snapshot_next(session);
}

static mr_err begin(struct capture_session *session)
{
    if (session->begun)
        return MR_OK;
    mr_err err = kafka_producer_begin(session->producer);
    session->begun = err == MR_OK;
    return err;
}

void capture_follow_commit(struct capture_session *session)
{
    struct capture *capture = session->capture;
    struct capture_transaction *transaction = &session->transaction;
    struct capture_position *position = &session->position;
    if (transaction->commit_lsn > position->commit_lsn) {
        position->commit_lsn = transaction->commit_lsn;
        position->index = transaction->index;
    } else if (transaction->commit_lsn == position->commit_lsn &&
               transaction->index > position->index) {
        position->index = transaction->index;
    }
    mr_err err = begin(session);
    if (err == MR_OK) {
        mr_buf_clear(&session->out);
        capture_position_print(&session->out, position);
        err = kafka_producer_append(session->positions, -1,
                                    mr_clock_wall_us(mr_loop_clock(capture->loop)) / 1000,
                                    capture->position_key, mr_buf_as_str(&session->out), NULL, 0);
    }
    if (err != MR_OK) {
        capture_session_fail(session, err);
        return;
    }
    session->begun = false;
    session->pending_bytes = 0;
    session->commit_records = session->pending_records;
    session->pending_records = 0;
    session->commit_end_lsn = session->end_lsn;
    capture->position.commit_lsn = position->commit_lsn;
    capture->position.index = position->index;
    capture->position.snapshot_done = position->snapshot_done;
    capture->position.snapshot_rows = position->snapshot_rows;
    capture_follow_pause(session, CAPTURE_PAUSE_COMMIT);
    kafka_producer_commit(session->producer, committed, session);
}

/* ---- records ---- */
static void set_header(struct capture_headers *headers, const char *key, const char *value)
{
    headers->list[headers->count++] = (struct kafka_header){.key = mr_str_from(key),
                                                            .value = mr_str_from(value)};
}

void capture_follow_headers(struct capture_session *session, uint64_t lsn, int64_t time_us)
{
    struct capture_headers *headers = &session->headers;
    capture_position_lsn_print(lsn, headers->lsn);
    snprintf(headers->ts_us, sizeof headers->ts_us, "%lld", (long long)time_us);
    headers->time_us = time_us;
    headers->count = 0;
    set_header(headers, "mr.lsn", headers->lsn);
    set_header(headers, "mr.op", "?");
    set_header(headers, "mr.ts_us", headers->ts_us);
    headers->list[1].value = mr_str_of(headers->op, 1);
    if (headers->run[0] != 0)
        set_header(headers, "mr.run", headers->run);
}

bool capture_follow_append(struct capture_session *session, char op, mr_str key, mr_str value)
{
    session->headers.op[0] = op;
    mr_err err = begin(session);
    if (err == MR_OK)
        err = kafka_producer_append(session->topic, -1, session->headers.time_us / 1000, key, value,
                                    session->headers.list, session->headers.count);
    if (err != MR_OK) {
        capture_session_fail(session, err);
        return false;
    }
    session->pending_records++;
    session->pending_bytes += key.length + value.length + 64;
    return true;
}

/* One row's new state, `row` NULL when it is deleted; its key is in `key_row`. */
static bool put(struct capture_session *session, char op, const mr_str *key_row, const mr_str *row)
{
    const struct capture_table *table = session->table;
    mr_str value = MR_STR_NULL;
    mr_buf_clear(&session->key);
    mr_buf_clear(&session->value);
    capture_table_key(table, key_row, &session->key);
    if (row != NULL) {
        capture_table_value(table, row, session->schema_id, &session->value);
        value = mr_buf_as_str(&session->value);
    }
    if (session->value.err != MR_OK) {
        capture_session_fail(session, session->value.err);
        return false;
    }
    mr_str key = mr_buf_as_str(&session->key);
    if (!session->position.snapshot_done && !capture_snapshot_route(session, key_row, key, value))
        return !session->dead;
    return capture_follow_append(session, op, key, value);
}

/* ---- changes ---- */
static bool corrupt(struct capture_session *session, const char *what)
{
    mr_fail(MR_CORRUPT, "replication stream of %.*s: expected %s",
            MR_STR_ARG(session->capture->spec.table), what);
    capture_session_fail(session, MR_CORRUPT);
    return false;
}

static bool same_key(const struct capture_table *table, const mr_str *a, const mr_str *b)
{
    for (uint16_t i = 0; i < table->key_count; i++)
        if (!mr_str_equal(a[table->key[i]], b[table->key[i]]))
            return false;
    return true;
}

/* The texts of a tuple. Returns how many values the stream left out. */
static int row_texts(const struct capture_tuple *tuple, mr_str *row)
{
    int missing = 0;
    for (uint16_t i = 0; i < tuple->count; i++) {
        row[i] = tuple->values[i].text;
        missing += tuple->values[i].kind == CAPTURE_VALUE_UNCHANGED;
    }
    return missing;
}

static void looked_up(void *owner, mr_err err, const struct postgres_rows *rows, int64_t affected);

/* Asks the table itself for values that are stored out of line and were not touched: the latest
 * known ones, never a placeholder. With REPLICA IDENTITY FULL the old row in the log has them. */
static void look_up(struct capture_session *session, mr_str bytes)
{
    const struct capture_table *table = session->table;
    mr_str params[CAPTURE_KEY_MAX];
    struct mr_buf sql = {0};
    for (uint16_t i = 0; i < table->key_count; i++)
        params[i] = session->row[table->key[i]];
    capture_table_lookup_sql(table, &sql);
    mr_assert(session->held == NULL);
    session->held = mr_bytes_copy(bytes.data, bytes.length);
    capture_follow_pause(session, CAPTURE_PAUSE_LOOKUP);
    postgres_conn_query(session->sql, mr_buf_as_str(&sql), params, table->key_count, looked_up,
                        session);
    mr_buf_fini(&sql);
}

/* The new row's key is in session->row. A row that moved to another key leaves the old one. */
static bool put_moved(struct capture_session *session, const struct capture_message *message)
{
    if (message->old_kind == 0)
        return true;
    row_texts(&message->old, session->key_row);
    return same_key(session->table, session->key_row, session->row) ||
           put(session, 'd', session->key_row, NULL);
}

/* The new row is in session->row, whole. */
static bool put_update(struct capture_session *session, const struct capture_message *message)
{
    if (!put_moved(session, message))
        return false;
    return put(session, message->kind == CAPTURE_MESSAGE_INSERT ? 'c' : 'u', session->row,
               session->row);
}

static void looked_up(void *owner, mr_err err, const struct postgres_rows *rows, int64_t affected)
{
    struct capture_session *session = owner;
    struct capture_message message;
    (void)affected;
    if (err != MR_OK) {
        capture_session_fail(session, err);
        return;
    }
    mr_arena_reset(&session->scratch);
    err = capture_pgoutput_read(mr_str_of(session->held->data, session->held->length),
                                &session->scratch, &message);
    mr_assert(err == MR_OK);
    row_texts(&message.row, session->row);
    bool there = postgres_rows_count(rows) == 1;
    for (uint16_t i = 0; there && i < message.row.count; i++)
        if (message.row.values[i].kind == CAPTURE_VALUE_UNCHANGED)
            session->row[i] = postgres_rows_get(rows, 0, i);
    /* A row that has gone since needs no value: its delete follows in the stream. */
    bool good = there ? put_update(session, &message) : put_moved(session, &message);
    if (!good)
        return;
    mr_bytes_unref(session->held);
    session->held = NULL;
    capture_follow_resume(session, CAPTURE_PAUSE_LOOKUP);
}

static bool take_row(struct capture_session *session, const struct capture_message *message,
                     mr_str bytes)
{
    if (message->row.count != session->table->column_count ||
        (message->old_kind != 0 && message->old.count != session->table->column_count))
        return corrupt(session, "as many values as the table has columns");
    int missing = row_texts(&message->row, session->row);
    for (uint16_t i = 0; missing > 0 && message->old_kind == 'O' && i < message->row.count; i++) {
        if (message->row.values[i].kind != CAPTURE_VALUE_UNCHANGED)
            continue;
        session->row[i] = message->old.values[i].text;
        missing--;
    }
    if (missing > 0) {
        look_up(session, bytes);
        return true;
    }
    return put_update(session, message);
}

static bool take_delete(struct capture_session *session, const struct capture_message *message)
{
    if (message->old.count != session->table->column_count)
        return corrupt(session, "the deleted row's key");
    row_texts(&message->old, session->key_row);
    return put(session, 'd', session->key_row, NULL);
}

static bool take_change(struct capture_session *session, const struct capture_message *message,
                        mr_str bytes)
{
    struct capture_transaction *transaction = &session->transaction;
    if (message->relation != session->table->oid)
        return true;
    if (!transaction->inside)
        return corrupt(session, "a transaction around each change");
    transaction->index++;
    if (transaction->index <= transaction->done)
        return true;
    session->capture->changes++;
    mr_counter_add(session->capture->changes_counter, 1);
    return message->kind == CAPTURE_MESSAGE_DELETE ? take_delete(session, message)
                                                   : take_row(session, message, bytes);
}

/* A truncated table's keys are not known here, so nothing can be told of them one by one. */
static bool take_truncate(struct capture_session *session, const struct capture_message *message)
{
    for (uint32_t i = 0; i < message->relation_count; i++) {
        if (message->relations[i] != session->table->oid)
            continue;
        session->transaction.index++;
        mr_log(MR_LOG_WARN, "capture",
               "%.*s: table %.*s was truncated; records of its rows stay in topic "
               "%.*s",
               MR_STR_ARG(session->capture->spec.name), MR_STR_ARG(session->capture->spec.table),
               MR_STR_ARG(session->capture->spec.topic));
        capture_snapshot_abandon(session);
    }
    return !session->dead;
}

/* ---- versions of the table ---- */
static void version_registered(struct schemas_request *request)
{
    struct capture_session *session = mr_container(request, struct capture_session, request);
    if (capture_prepare_schema_answer(session, version_registered))
        capture_follow_resume(session, CAPTURE_PAUSE_SCHEMA);
}

static bool take_relation(struct capture_session *session, const struct capture_message *message)
{
    struct capture_table *next = NULL;
    mr_str schema = session->table->schema, name = session->table->name;
    if ((message->relation != session->table->oid &&
         !(mr_str_equal(message->schema, schema) && mr_str_equal(message->name, name))) ||
        capture_table_is_version(session->table, message))
        return true;
    mr_err err = capture_table_new_version(session->table, message, &next);
    if (err == MR_OK && session->table->lenient) {
        struct capture_table *lenient = capture_table_new_lenient(next);
        capture_table_free(next);
        next = lenient;
    }
    if (err != MR_OK) {
        capture_session_fail(session, err);
        return false;
    }
    capture_snapshot_abandon(session);
    session->next_table = next;
    capture_follow_pause(session, CAPTURE_PAUSE_SCHEMA);
    capture_prepare_schema(session, version_registered);
    return true;
}

/* ---- messages ---- */
static bool take_begin(struct capture_session *session, const struct capture_message *message)
{
    struct capture_transaction *transaction = &session->transaction;
    if (transaction->inside)
        return corrupt(session, "the end of a transaction before the next one");
    capture_snapshot_reached(session, message->lsn);
    if (session->dead)
        return false;
    *transaction = (struct capture_transaction){
        .inside = true,
        .commit_lsn = message->lsn,
        .time_us = message->time_us,
        .xid = message->xid,
        .done = capture_position_done(&session->position, message->lsn),
    };
    session->headers.run[0] = 0;
    capture_follow_headers(session, transaction->commit_lsn, transaction->time_us);
    return true;
}

static bool take_commit(struct capture_session *session, const struct capture_message *message)
{
    if (!session->transaction.inside || session->transaction.commit_lsn != message->lsn)
        return corrupt(session, "the commit of the transaction that was begun");
    session->transaction.inside = false;
    session->end_lsn = message->end_lsn;
    return true;
}

/* A step writes its run as a message into the transaction of its rows. */
static bool take_message(struct capture_session *session, const struct capture_message *message)
{
    if (message->transactional && mr_str_equal(message->name, MR_STR("millrace.run"))) {
        snprintf(session->headers.run, sizeof session->headers.run, "%.*s",
                 MR_STR_ARG(message->content));
        capture_follow_headers(session, session->transaction.commit_lsn,
                               session->transaction.time_us);
    }
    return true;
}

static bool take_payload(struct capture_session *session, mr_str payload)
{
    struct capture_message message;
    mr_arena_reset(&session->scratch);
    mr_err err = capture_pgoutput_read(payload, &session->scratch, &message);
    if (err != MR_OK) {
        capture_session_fail(session, err);
        return false;
    }
    switch (message.kind) {
    case CAPTURE_MESSAGE_BEGIN:
        return take_begin(session, &message);
    case CAPTURE_MESSAGE_COMMIT:
        return take_commit(session, &message);
    case CAPTURE_MESSAGE_RELATION:
        return take_relation(session, &message);
    case CAPTURE_MESSAGE_INSERT:
    case CAPTURE_MESSAGE_UPDATE:
    case CAPTURE_MESSAGE_DELETE:
        return take_change(session, &message, payload);
    case CAPTURE_MESSAGE_TRUNCATE:
        return take_truncate(session, &message);
    case CAPTURE_MESSAGE_MESSAGE:
        return take_message(session, &message);
    case CAPTURE_MESSAGE_ORIGIN:
    case CAPTURE_MESSAGE_TYPE:
        return true;
    }
    return true;
}

/* ---- the stream's callbacks ---- */
/* Nothing that PostgreSQL might forget would be missing after a crash: all is committed, and no change was
 * left to a snapshot whose position does not name it yet. */
static bool is_safe(const struct capture_session *session)
{
    const struct capture_position *position = &session->position;
    return !session->transaction.inside && !session->begun &&
           (session->pauses & CAPTURE_PAUSE_COMMIT) == 0 &&
           (position->snapshot_done || (position->unseen.count == 0 && !position->unseen.many));
}

static void keep_alive(struct capture_session *session, const struct capture_frame *frame)
{
    if (!session->transaction.inside)
        capture_snapshot_reached(session, frame->end_lsn);
    if (session->dead)
        return;
    if (is_safe(session))
        capture_follow_confirm(session, frame->end_lsn);
    if (frame->reply)
        send_status(session);
}

static bool on_data(void *owner, mr_str bytes)
{
    struct capture_session *session = owner;
    struct capture_frame frame;
    mr_err err = capture_pgoutput_frame(bytes, &frame);
    if (err != MR_OK) {
        capture_session_fail(session, err);
        return false;
    }
    if (frame.kind == 'k')
        keep_alive(session, &frame);
    else if (!take_payload(session, frame.payload))
        return false;
    if (session->dead)
        return false;
    if (session->pending_bytes >= CAPTURE_COMMIT_BYTES && session->pauses == 0)
        capture_follow_commit(session);
    if (session->dead)
        return false;
    if (!kafka_producer_has_room(session->producer))
        capture_follow_pause(session, CAPTURE_PAUSE_ROOM);
    session->turn_bytes += bytes.length;
    if (session->pauses == 0 && session->turn_bytes >= CAPTURE_TURN_BYTES) {
        session->turn_bytes = 0;
        postgres_stream_pause(session->stream);
        postgres_stream_resume(session->stream); /* goes on at the end of the turn */
        return false;
    }
    return session->pauses == 0;
}

static void on_idle(void *owner)
{
    struct capture_session *session = owner;
    session->turn_bytes = 0;
    if (session->pauses != 0 || session->transaction.inside)
        return;
    if (session->begun)
        capture_follow_commit(session);
    else if (is_safe(session))
        capture_follow_confirm(session, session->end_lsn);
}

static void on_stream_closed(void *owner, mr_err err)
{
    capture_session_fail(owner, err);
}

/* ---- every ten seconds: how much log the slot holds back ---- */
static void lag_known(void *owner, mr_err err, const struct postgres_rows *rows, int64_t affected)
{
    struct capture_session *session = owner;
    struct capture *capture = session->capture;
    int64_t lag = 0;
    (void)affected;
    if (err != MR_OK || postgres_rows_count(rows) != 1 ||
        mr_str_to_i64(postgres_rows_get(rows, 0, 0), &lag) != MR_OK)
        return;
    if (lag > INT64_C(1) << 30 && capture->slot_lag_bytes <= INT64_C(1) << 30)
        mr_log(MR_LOG_WARN, "capture", "%.*s: PostgreSQL keeps %lld MB of log for slot %s",
               MR_STR_ARG(capture->spec.name), (long long)(lag >> 20), capture->slot);
    capture->slot_lag_bytes = lag;
    mr_counter_set(capture->lag_counter, lag);
    /* A quiet table in a busy server: a message of our own moves the slot on. */
    if (lag > 1 << 20 && !session->begun && session->pauses == 0)
        postgres_conn_query(session->sql,
                            MR_STR("SELECT pg_logical_emit_message(false, "
                                   "'millrace.heartbeat', '')"),
                            NULL, 0, NULL, NULL);
}

static void tick(struct mr_timer *timer)
{
    struct capture_session *session = mr_container(timer, struct capture_session, tick);
    mr_str slot = mr_str_from(session->capture->slot);
    mr_timer_start(session->capture->loop, timer, CAPTURE_TICK_US);
    send_status(session);
    if (postgres_conn_waiting(session->sql) == 0)
        postgres_conn_query(
            session->sql,
            MR_STR("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), "
                   "confirmed_flush_lsn)::int8 FROM pg_replication_slots WHERE slot_name = $1"),
            &slot, 1, lag_known, session);
}

/* ---- start ---- */
void capture_follow_start(struct capture_session *session)
{
    static const struct postgres_conn_handlers handlers = {NULL, on_stream_closed};
    struct capture *capture = session->capture;
    struct mr_buf command = {0};
    mr_err err = postgres_conn_open(capture->loop, &capture->spec.postgres,
                                    POSTGRES_CONN_REPLICATION, "millrace capture", &handlers,
                                    session, &session->stream);
    if (err != MR_OK) {
        capture_session_fail(session, err);
        return;
    }
    session->row = mr_new_array(mr_str, UINT16_MAX + 1);
    session->key_row = mr_new_array(mr_str, UINT16_MAX + 1);
    mr_buf_printf(&command,
                  "START_REPLICATION SLOT \"%s\" LOGICAL 0/0 (proto_version '1', "
                  "publication_names '\"%s\"'%s)",
                  capture->slot, capture->slot,
                  postgres_conn_version(session->sql) >= 140000 ? ", messages 'true'" : "");
    postgres_stream_start(session->stream, mr_buf_as_str(&command), on_data, on_idle);
    mr_buf_fini(&command);
    session->tick.run = tick;
    mr_timer_start(capture->loop, &session->tick, 1000000);
    capture_session_state(session,
                          session->position.snapshot_done ? CAPTURE_STREAMING : CAPTURE_SNAPSHOT);
    capture_snapshot_next(session);
}
