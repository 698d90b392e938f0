/* capture/prepare.c: from nothing to a running stream, step by step; each step's answer takes the next:
 *
 *   topics -> fence -> position -> server -> table -> publication -> slot -> schema -> follow
 *
 * The fence comes before the position is read: from then on no earlier attempt can move it. The
 * publication comes before the slot, because the log is decoded with the catalogue of its time. */
#include "capture/session.h"

static void ask_table(struct capture_session *session);
static void ask_slot(struct capture_session *session);
static void register_schema(struct capture_session *session);

/* True when the answer is good; else the session ends. */
static bool is_good(struct capture_session *session, mr_err err)
{
    if (err != MR_OK)
        capture_session_fail(session, err);
    return err == MR_OK;
}

static void ask(struct capture_session *session, mr_str sql, const mr_str *params, size_t count,
                postgres_done *done)
{
    postgres_conn_query(session->sql, sql, params, count, done, session);
}

/* ---- the schema ---- */
void capture_prepare_schema(struct capture_session *session,
                            void (*done)(struct schemas_request *request))
{
    struct mr_buf subject = {0};
    mr_buf_printf(&subject, "%.*s-value", MR_STR_ARG(session->capture->spec.topic));
    session->request.done = done;
    schemas_client_register(session->capture->schemas, mr_buf_as_str(&subject),
                            session->next_table->avro, MR_STR("AVRO"), &session->request);
    mr_buf_fini(&subject);
}

bool capture_prepare_schema_answer(struct capture_session *session,
                                   void (*done)(struct schemas_request *request))
{
    struct schemas_request *request = &session->request;
    if (request->err == MR_CONFLICT && !session->next_table->lenient) {
        /* A column that was added as NOT NULL cannot follow the older versions: as one that may be
         * null it can. */
        struct capture_table *lenient = capture_table_new_lenient(session->next_table);
        capture_table_free(session->next_table);
        session->next_table = lenient;
        capture_prepare_schema(session, done);
        return false;
    }
    if (request->err != MR_OK) {
        mr_fail(request->err, "%s", request->why);
        capture_session_fail(session, request->err);
        return false;
    }
    capture_table_free(session->table);
    session->table = session->next_table;
    session->next_table = NULL;
    session->version++;
    session->schema_id = request->schema->id;
    return true;
}

static void schema_registered(struct schemas_request *request)
{
    struct capture_session *session = mr_container(request, struct capture_session, request);
    if (capture_prepare_schema_answer(session, schema_registered))
        capture_follow_start(session);
}

static void register_schema(struct capture_session *session)
{
    capture_prepare_schema(session, schema_registered);
}

/* ---- the slot ---- */
static void on_new_slot_snapshot(void *owner, mr_err err, const struct postgres_rows *rows,
                                 int64_t affected)
{
    struct capture_session *session = owner;
    struct capture_visible visible;
    (void)affected;
    if (!is_good(session, err) ||
        !is_good(session, capture_position_visible_parse(&session->arena,
                                                         postgres_rows_get(rows, 0, 0), &visible)))
        return;
    /* A commit that the slot does not tell any more may not be seen by others yet. */
    session->position = (struct capture_position){.slot = mr_str_from(session->capture->slot),
                                                  .system = session->system};
    for (size_t i = 0; i < visible.running_count; i++)
        capture_position_unseen_add(&session->position.unseen, (uint32_t)visible.running[i]);
    register_schema(session);
}

static void on_new_slot(void *owner, mr_err err, const struct postgres_rows *rows, int64_t affected)
{
    struct capture_session *session = owner;
    (void)rows;
    (void)affected;
    if (is_good(session, err))
        ask(session, MR_STR("SELECT txid_current_snapshot()"), NULL, 0, on_new_slot_snapshot);
}

static void make_slot(struct capture_session *session)
{
    mr_str slot = mr_str_from(session->capture->slot);
    ask(session, MR_STR("SELECT lsn FROM pg_create_logical_replication_slot($1, 'pgoutput')"),
        &slot, 1, on_new_slot);
}

static void on_slot_dropped(void *owner, mr_err err, const struct postgres_rows *rows,
                            int64_t affected)
{
    struct capture_session *session = owner;
    (void)rows;
    (void)affected;
    if (is_good(session, err))
        make_slot(session);
}

/* Slot and position belong together; one without the other means to begin with a new snapshot. */
static void on_slot(void *owner, mr_err err, const struct postgres_rows *rows, int64_t affected)
{
    struct capture_session *session = owner;
    struct capture *capture = session->capture;
    const struct capture_position *position = &session->position;
    mr_str slot = mr_str_from(capture->slot);
    (void)affected;
    if (!is_good(session, err))
        return;
    bool exists = postgres_rows_count(rows) > 0;
    bool lost = exists && mr_str_equal(postgres_rows_get(rows, 0, 0), MR_STR("lost"));
    bool fits = session->has_position && mr_str_equal(position->slot, slot) &&
                mr_str_equal(position->system, session->system);
    if (exists && !lost && fits) {
        register_schema(session);
        return;
    }
    if (session->has_position)
        mr_log(MR_LOG_WARN, "capture",
               "%.*s: %s; the table is read anew, and deletes made meanwhile are "
               "not told",
               MR_STR_ARG(capture->spec.name),
               !fits ? "the position is of another PostgreSQL"
               : lost
                   ? "the replication slot has lost its place in the log (max_slot_wal_keep_size)"
                   : "the replication slot is gone");
    if (exists)
        ask(session, MR_STR("SELECT pg_drop_replication_slot($1)"), &slot, 1, on_slot_dropped);
    else
        make_slot(session);
}

static void ask_slot(struct capture_session *session)
{
    mr_str slot = mr_str_from(session->capture->slot);
    /* wal_status came with version 13. */
    ask(session,
        postgres_conn_version(session->sql) >= 130000
            ? MR_STR("SELECT wal_status FROM pg_replication_slots WHERE slot_name = $1")
            : MR_STR("SELECT 'reserved' FROM pg_replication_slots WHERE slot_name = $1"),
        &slot, 1, on_slot);
}

/* ---- the publication ---- */
static void on_publication_made(void *owner, mr_err err, const struct postgres_rows *rows,
                                int64_t affected)
{
    struct capture_session *session = owner;
    (void)rows;
    (void)affected;
    if (is_good(session, err))
        ask_slot(session);
}

static void on_publication(void *owner, mr_err err, const struct postgres_rows *rows,
                           int64_t affected)
{
    struct capture_session *session = owner;
    struct mr_buf sql = {0};
    (void)affected;
    if (!is_good(session, err))
        return;
    bool exists = mr_str_equal(postgres_rows_get(rows, 0, 0), MR_STR("t"));
    bool has_table = mr_str_equal(postgres_rows_get(rows, 0, 1), MR_STR("t"));
    if (exists && has_table) {
        ask_slot(session);
        return;
    }
    mr_buf_printf(&sql,
                  exists ? "ALTER PUBLICATION \"%s\" SET TABLE ONLY "
                         : "CREATE PUBLICATION \"%s\" FOR TABLE ONLY ",
                  session->capture->slot);
    postgres_quote_table(&sql, session->capture->spec.table);
    ask(session, mr_buf_as_str(&sql), NULL, 0, on_publication_made);
    mr_buf_fini(&sql);
}

static void ask_publication(struct capture_session *session)
{
    mr_str params[3] = {mr_str_from(session->capture->slot)};
    postgres_table_split(session->capture->spec.table, &params[1], &params[2]);
    ask(session,
        MR_STR("SELECT EXISTS(SELECT 1 FROM pg_publication WHERE pubname = $1), EXISTS(SELECT 1 "
               "FROM pg_publication_tables WHERE pubname = $1 AND schemaname = $2 AND "
               "tablename = $3)"),
        params, 3, on_publication);
}

/* ---- the table ---- */
static void on_table_made(void *owner, mr_err err, const struct postgres_rows *rows,
                          int64_t affected)
{
    struct capture_session *session = owner;
    (void)rows;
    (void)affected;
    if (is_good(session, err))
        ask_table(session);
}

static void on_table(void *owner, mr_err err, const struct postgres_rows *rows, int64_t affected)
{
    struct capture_session *session = owner;
    struct capture *capture = session->capture;
    (void)affected;
    if (!is_good(session, err))
        return;
    err = capture_table_new(rows, capture->spec.table, &session->next_table);
    if (err == MR_NOT_FOUND && capture->spec.create) {
        postgres_batch_begin(session->sql, on_table_made, session);
        postgres_batch_add_raw_table(session->sql, capture->spec.table);
        postgres_batch_end(session->sql);
        return;
    }
    if (is_good(session, err))
        ask_publication(session);
}

static void ask_table(struct capture_session *session)
{
    mr_str params[2];
    postgres_table_split(session->capture->spec.table, &params[0], &params[1]);
    ask(session, mr_str_from(capture_table_sql), params, 2, on_table);
}

/* ---- the server ---- */
static void on_server(void *owner, mr_err err, const struct postgres_rows *rows, int64_t affected)
{
    struct capture_session *session = owner;
    (void)affected;
    if (!is_good(session, err))
        return;
    mr_str level = postgres_rows_get(rows, 0, 0);
    if (!mr_str_equal(level, MR_STR("logical"))) {
        struct mr_buf place = {0};
        postgres_address_print(&place, &session->capture->spec.postgres);
        err = mr_fail(MR_UNSUPPORTED,
                      "PostgreSQL %.*s: expected wal_level logical, found %.*s; set it in "
                      "postgresql.conf and restart that server",
                      MR_STR_ARG(mr_buf_as_str(&place)), MR_STR_ARG(level));
        mr_buf_fini(&place);
        is_good(session, err);
        return;
    }
    session->system = mr_arena_str(&session->arena, postgres_rows_get(rows, 0, 1));
    ask_table(session);
}

static void on_sql_closed(void *owner, mr_err err)
{
    capture_session_fail(owner, err);
}

static void ask_server(struct capture_session *session)
{
    capture_session_state(session, CAPTURE_PREPARING);
    /* The database is part of where a slot lives. */
    ask(session,
        MR_STR("SELECT current_setting('wal_level'), (SELECT system_identifier FROM "
               "pg_control_system()) || '/' || current_database()"),
        NULL, 0, on_server);
}

/* ---- the log: topics, fence, position ---- */
static void on_positions_topic(void *context, mr_err err, struct kafka_producer_topic *topic)
{
    struct capture_session *session = context;
    if (!is_good(session, err))
        return;
    session->positions = topic;
    ask_server(session);
}

static void on_topic(void *context, mr_err err, struct kafka_producer_topic *topic)
{
    struct capture_session *session = context;
    if (!is_good(session, err))
        return;
    session->topic = topic;
    kafka_producer_topic(session->producer, session->capture->spec.positions, on_positions_topic,
                         session);
}

static void on_position(void *context, int32_t partition, const struct kafka_record *record)
{
    struct capture_session *session = context;
    (void)partition;
    if (!session->dead && mr_str_equal(record->key, session->capture->position_key))
        session->position_text = record->value.data == NULL
                                     ? MR_STR_NULL
                                     : mr_arena_str(&session->arena, record->value);
}

static void on_positions_read(void *context, mr_err err)
{
    struct capture_session *session = context;
    if (!capture_session_answer(session) || !is_good(session, err))
        return;
    if (session->position_text.data != NULL) {
        err = capture_position_parse(&session->arena, session->position_text, &session->position);
        if (!is_good(session, err))
            return;
        session->has_position = true;
    }
    kafka_producer_topic(session->producer, session->capture->spec.topic, on_topic, session);
}

static void on_fenced(void *context, mr_err err)
{
    struct capture_session *session = context;
    if (!is_good(session, err))
        return;
    capture_session_call(session);
    kafka_read_all(session->capture->kafka, session->capture->spec.positions, on_position,
                   on_positions_read, session);
}

static void on_room(void *context)
{
    capture_follow_resume(context, CAPTURE_PAUSE_ROOM);
}

static void on_topics(void *context, mr_err err)
{
    struct capture_session *session = context;
    struct capture *capture = session->capture;
    if (!capture_session_answer(session) || !is_good(session, err))
        return;
    const struct kafka_producer_options options = {
        .transactional_id = capture->position_key,
        .batch_bytes_max = MR_LIMIT_CAPTURE_RECORD_BYTES,
        .bytes_max = 2 * (size_t)MR_LIMIT_CAPTURE_RECORD_BYTES,
        .room = on_room,
        .context = session,
    };
    if (is_good(session, kafka_producer_open(capture->kafka, &options, &session->producer)))
        kafka_producer_init(session->producer, on_fenced, session);
}

void capture_prepare_begin(struct capture_session *session)
{
    static const struct postgres_conn_handlers handlers = {NULL, on_sql_closed};
    struct capture *capture = session->capture;
    char bytes_max[24];
    struct mr_buf text = {0};
    mr_buf_printf(&text, "%d", MR_LIMIT_CAPTURE_RECORD_BYTES);
    size_t length = text.length < sizeof bytes_max ? text.length : 0;
    memcpy(bytes_max, text.data, length);
    mr_buf_fini(&text);
    const struct kafka_header large = {MR_STR("max.message.bytes"), mr_str_of(bytes_max, length)};
    const struct kafka_header compact = {MR_STR("cleanup.policy"), MR_STR("compact")};
    const struct kafka_new_topic topics[] = {
        {.name = capture->spec.topic,
         .partitions = (int32_t)capture->spec.partitions,
         .configs = &large,
         .config_count = 1},
        {.name = capture->spec.positions, .partitions = 1, .configs = &compact, .config_count = 1},
    };
    capture_session_state(session, CAPTURE_CONNECTING);
    /* PostgreSQL is reached while the log answers. */
    if (!is_good(session,
                 postgres_conn_open(capture->loop, &capture->spec.postgres, POSTGRES_CONN_SQL,
                                    "millrace capture", &handlers, session, &session->sql)))
        return;
    capture_session_call(session);
    kafka_admin_create_topics(capture->kafka, topics, mr_count_of(topics), on_topics, session);
}
