/* capture/snapshot.c: the rows that were there before the stream, in ranges of the key, while the
 * stream goes on.
 *
 *   NONE --next()--> READING --rows, watermark--> WINDOW --reached()--> NONE
 *                       ^                            |
 *                       +--------- abandon() --------+
 *
 * After the method of watermarks (Andreakis, Papapanagiotou: DBLog, 2020), made exact:
 * - While a range is READING the stream stands still, so each change comes before or after.
 * - A change to a row whose range has not been appended is never appended by the stream: before the
 *   reading the range will have it, and in the WINDOW, up to the high watermark, it goes into
 *   the range's overlay. So the range is the table as of the high watermark, each row is told once, and
 *   a crash at any point repeats nothing: the position knows the last key that was appended.
 * - "The range will have it" holds when its snapshot sees the transaction. A commit is in the log a
 *   moment before others see it, so the snapshot's own list of running transactions is compared with
 *   those whose changes were left to it; if one is missing, the range is read again. That list is the
 *   low watermark: exact, where a message in the log is not.
 * - The high watermark is a message in the log, so that it comes even when nobody else writes.
 * - Keys whose order only the server knows (a language's collation, numeric ...): the stream appends all
 *   changes, and rows that it told in the WINDOW are struck from the range. Nothing old overtakes
 *   something new, but a row changed during the snapshot may be told twice. */
#include "capture/session.h"

#include <stdio.h>

enum {
    ROWS_FIRST = 500,
    ROWS_MAX = 20000,
    RANGE_BYTES = 4 << 20,        /* aimed at */
    OVERLAY_BYTES_MAX = 32 << 20, /* above: the range is read again later */
    AGAIN_US = 3000,
};

/* What the stream said of a row of the present range. */
struct overlay {
    bool gone; /* deleted, or told by the stream itself */
    mr_str value;
};

static void again(struct mr_timer *timer);

void capture_snapshot_init(struct capture_session *session)
{
    mr_arena_init(&session->chunk.arena);
    session->chunk.limit = ROWS_FIRST;
    session->chunk.again.run = again;
}

static void chunk_clear(struct capture_chunk *chunk)
{
    postgres_rows_free(chunk->rows);
    chunk->rows = NULL;
    mr_map_fini(&chunk->overlay);
    mr_map_init(&chunk->overlay);
    chunk->overlay_bytes = 0;
    chunk->end = NULL;
    mr_arena_reset(&chunk->arena);
    chunk->state = CAPTURE_CHUNK_NONE;
}

void capture_snapshot_fini(struct capture_session *session)
{
    mr_timer_stop(&session->chunk.again);
    chunk_clear(&session->chunk);
    mr_arena_fini(&session->chunk.arena);
    mr_map_fini(&session->chunk.overlay);
}

/* ---- reading a range ---- */
static void again(struct mr_timer *timer)
{
    struct capture_chunk *chunk = mr_container(timer, struct capture_chunk, again);
    capture_snapshot_next(mr_container(chunk, struct capture_session, chunk));
}

static void read_again(struct capture_session *session)
{
    struct capture_chunk *chunk = &session->chunk;
    chunk_clear(chunk);
    mr_timer_start(session->capture->loop, &chunk->again, AGAIN_US);
    capture_follow_resume(session, CAPTURE_PAUSE_CHUNK);
}

void capture_snapshot_abandon(struct capture_session *session)
{
    if (session->chunk.state == CAPTURE_CHUNK_WINDOW)
        read_again(session);
}

static bool is_answered(struct capture_session *session, mr_err err)
{
    if (err != MR_OK)
        capture_session_fail(session, err);
    return err == MR_OK;
}

static void on_visible(void *owner, mr_err err, const struct postgres_rows *rows, int64_t affected)
{
    struct capture_session *session = owner;
    struct capture_chunk *chunk = &session->chunk;
    (void)affected;
    if (!is_answered(session, err))
        return;
    is_answered(session, capture_position_visible_parse(
                             &chunk->arena, postgres_rows_get(rows, 0, 0), &chunk->visible));
}

/* The next range is as many rows as make about 4 MB. */
static void choose_limit(struct capture_chunk *chunk)
{
    uint64_t bytes = 0;
    uint32_t count = postgres_rows_count(chunk->rows), columns = postgres_rows_columns(chunk->rows);
    uint32_t step = count / 64 + 1, looked = 0;
    for (uint32_t row = 0; row < count; row += step, looked++)
        for (uint32_t i = 0; i < columns; i++)
            bytes += postgres_rows_get(chunk->rows, row, i).length + 8;
    if (looked == 0)
        return;
    uint64_t limit = RANGE_BYTES * (uint64_t)looked / (bytes + 1) + 1;
    if (limit > 4 * (uint64_t)chunk->limit)
        limit = 4 * (uint64_t)chunk->limit; /* larger rows may follow: grow in steps */
    chunk->limit = limit > ROWS_MAX ? ROWS_MAX : (uint32_t)limit;
}

static void on_rows(void *owner, mr_err err, const struct postgres_rows *rows, int64_t affected)
{
    struct capture_session *session = owner;
    struct capture_chunk *chunk = &session->chunk;
    const struct capture_table *table = session->table;
    (void)affected;
    if (!is_answered(session, err) || chunk->version != session->version)
        return;
    chunk->rows = postgres_rows_keep(rows);
    uint32_t count = postgres_rows_count(rows);
    chunk->last = count < chunk->asked;
    chunk->end = NULL;
    if (count > 0) {
        chunk->end = mr_arena_array(&chunk->arena, mr_str, table->key_count);
        for (uint16_t i = 0; i < table->key_count; i++)
            chunk->end[i] = postgres_rows_get(chunk->rows, count - 1, table->key[i]);
    }
    choose_limit(chunk);
}

static void on_watermark(void *owner, mr_err err, const struct postgres_rows *rows,
                         int64_t affected)
{
    struct capture_session *session = owner;
    struct capture_chunk *chunk = &session->chunk;
    (void)affected;
    if (!is_answered(session, err) ||
        !is_answered(session,
                     capture_position_lsn_parse(postgres_rows_get(rows, 0, 0), &chunk->high_lsn)))
        return;
    if (chunk->rows == NULL ||
        !capture_position_sees_all(&chunk->visible, &session->position.unseen)) {
        read_again(session);
        return;
    }
    session->position.unseen = (struct capture_unseen){0};
    chunk->state = CAPTURE_CHUNK_WINDOW;
    capture_follow_resume(session, CAPTURE_PAUSE_CHUNK);
}

void capture_snapshot_next(struct capture_session *session)
{
    struct capture_chunk *chunk = &session->chunk;
    struct capture_position *position = &session->position;
    struct postgres_conn *sql = session->sql;
    if (position->snapshot_done || chunk->state != CAPTURE_CHUNK_NONE ||
        chunk->again.loop != NULL || session->capture->closing)
        return;
    chunk->state = CAPTURE_CHUNK_READING;
    chunk->asked = chunk->limit;
    chunk->version = session->version;
    capture_follow_pause(session, CAPTURE_PAUSE_CHUNK);

    postgres_batch_begin(sql, on_visible, session);
    postgres_batch_add(sql, MR_STR("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"), NULL, 0);
    /* Along the key's index, whatever the planner knows of a table that was filled just now. */
    postgres_batch_add(sql,
                       MR_STR("SELECT set_config(s, 'off', true) FROM unnest(ARRAY['enable_sort', "
                              "'enable_seqscan', 'enable_bitmapscan']) s"),
                       NULL, 0);
    postgres_batch_add(sql, MR_STR("SELECT txid_current_snapshot()"), NULL, 0);
    postgres_batch_end(sql);
    struct mr_buf text = {0};
    capture_table_chunk_sql(session->table, position->key_count == 0, chunk->asked, &text);
    postgres_conn_query(sql, mr_buf_as_str(&text), position->snapshot_key, position->key_count,
                        on_rows, session);
    mr_buf_fini(&text);
    postgres_conn_query(sql, MR_STR("COMMIT"), NULL, 0, NULL, NULL);
    postgres_conn_query(sql, MR_STR("SELECT pg_logical_emit_message(true, 'millrace.high', '')"),
                        NULL, 0, on_watermark, session);
}

/* ---- the window ---- */
static void overlay_put(struct capture_chunk *chunk, mr_str key, mr_str value, bool gone)
{
    struct overlay *entry = mr_map_get(&chunk->overlay, key);
    if (entry == NULL) {
        entry = mr_arena_new(&chunk->arena, struct overlay);
        mr_map_put(&chunk->overlay, key, entry);
        chunk->overlay_bytes += key.length + 64;
    }
    entry->gone = gone;
    entry->value = gone ? MR_STR_NULL : mr_arena_str(&chunk->arena, value);
    chunk->overlay_bytes += entry->value.length;
}

bool capture_snapshot_route(struct capture_session *session, const mr_str *key_row, mr_str key,
                            mr_str value)
{
    struct capture_chunk *chunk = &session->chunk;
    struct capture_position *position = &session->position;
    const struct capture_table *table = session->table;
    bool ordered = table->ordered;
    if (ordered && position->key_count > 0 &&
        capture_table_compare(table, key_row, position->snapshot_key) <= 0)
        return true; /* its range has been appended */
    capture_position_unseen_add(&position->unseen, session->transaction.xid);
    if (chunk->state == CAPTURE_CHUNK_WINDOW &&
        (!ordered || chunk->last || capture_table_compare(table, key_row, chunk->end) <= 0)) {
        overlay_put(chunk, key, value, !ordered || value.data == NULL);
        if (chunk->overlay_bytes > OVERLAY_BYTES_MAX)
            capture_snapshot_abandon(session);
    }
    return !ordered;
}

/* ---- appending a range ---- */
static bool append_row(struct capture_session *session, uint32_t row)
{
    const struct capture_table *table = session->table;
    const struct postgres_rows *rows = session->chunk.rows;
    for (uint16_t i = 0; i < table->column_count; i++)
        session->row[i] = postgres_rows_get(rows, row, i);
    mr_buf_clear(&session->key);
    capture_table_key(table, session->row, &session->key);
    mr_str key = mr_buf_as_str(&session->key);
    if (session->chunk.overlay.count > 0 && mr_map_get(&session->chunk.overlay, key) != NULL)
        return true;
    mr_buf_clear(&session->value);
    capture_table_value(table, session->row, session->schema_id, &session->value);
    if (session->value.err != MR_OK) {
        capture_session_fail(session, session->value.err);
        return false;
    }
    return capture_follow_append(session, 'r', key, mr_buf_as_str(&session->value));
}

static bool append_range(struct capture_session *session)
{
    struct capture_chunk *chunk = &session->chunk;
    uint32_t count = postgres_rows_count(chunk->rows);
    struct mr_map_entry *entry;
    uint64_t before = session->pending_records;
    for (uint32_t row = 0; row < count; row++)
        if (!append_row(session, row))
            return false;
    for (size_t i = 0; (entry = mr_map_next(&chunk->overlay, &i)) != NULL;) {
        const struct overlay *overlay = entry->value;
        if (!overlay->gone && !capture_follow_append(session, 'r', entry->key, overlay->value))
            return false;
    }
    uint64_t appended = session->pending_records - before;
    session->position.snapshot_rows += appended;
    session->capture->changes += appended;
    mr_counter_add(session->capture->changes_counter, (int64_t)appended);
    return true;
}

/* The position's key outlives the range. */
static void keep_key(struct capture_session *session)
{
    struct capture_chunk *chunk = &session->chunk;
    struct capture_position *position = &session->position;
    if (chunk->end == NULL)
        return;
    mr_arena_reset(&session->key_arena);
    position->key_count = session->table->key_count;
    position->snapshot_key = mr_arena_array(&session->key_arena, mr_str, position->key_count);
    for (uint32_t i = 0; i < position->key_count; i++)
        position->snapshot_key[i] = mr_arena_str(&session->key_arena, chunk->end[i]);
}

void capture_snapshot_reached(struct capture_session *session, uint64_t lsn)
{
    struct capture_chunk *chunk = &session->chunk;
    struct capture_position *position = &session->position;
    struct capture *capture = session->capture;
    if (chunk->state != CAPTURE_CHUNK_WINDOW || lsn < chunk->high_lsn)
        return;
    session->headers.run[0] = 0;
    capture_follow_headers(session, chunk->high_lsn,
                           mr_clock_wall_us(mr_loop_clock(capture->loop)));
    if (!append_range(session))
        return;
    keep_key(session);
    position->snapshot_done = chunk->last;
    chunk_clear(chunk);
    if (position->snapshot_done) {
        position->unseen = (struct capture_unseen){0};
        capture_session_state(session, CAPTURE_STREAMING);
        mr_log(MR_LOG_INFO, "capture", "%.*s: snapshot of %.*s is done, %llu rows",
               MR_STR_ARG(capture->spec.name), MR_STR_ARG(capture->spec.table),
               (unsigned long long)position->snapshot_rows);
    }
    capture_follow_commit(session);
    if (!session->dead)
        capture_snapshot_next(session);
}
