/* store/session.c: one connection: frames in, requests out.
 *
 *   accepted -> (OPTIONS)* -> STARTUP -> anything, pipelined by stream ids */
#include "store/server.h"

#include <stdio.h>

/* ---- life ---- */
struct store_session *store_session_ref(struct store_session *session)
{
    session->refs++;
    return session;
}

void store_session_unref(struct store_session *session)
{
    struct store_server *server = session->server;
    if (--session->refs > 0)
        return;
    mr_free(session);
    server->pending--;
    store_server_settle(server);
}

static void opened(struct net_conn *conn)
{
    struct store_server *server = net_context(conn);
    struct store_session *session = mr_new(struct store_session);
    session->server = server;
    session->conn = conn;
    session->refs = 1;
    server->pending++;
    mr_counter_add(server->connections, 1);
    net_context_set(conn, session);
}

static void closed(struct net_conn *conn, mr_err why)
{
    (void)why;
    struct store_session *session = net_context(conn);
    session->conn = NULL;
    mr_counter_add(session->server->connections, -1);
    store_session_unref(session);
}

/* ---- frames ---- */
static mr_err frame(struct net_conn *conn, mr_str seen, size_t *total)
{
    (void)conn;
    struct mr_in in = mr_in_str(seen);
    struct cql_header header;
    uint8_t version = (uint8_t)seen.data[0] & 0x7f;
    if (version < 3) { /* headers of 8 bytes: told once which version we speak */
        *total = seen.length;
        return MR_OK;
    }
    cql_header_read(&in, &header);
    *total = in.err != MR_OK ? 0 : CQL_HEADER_BYTES + (size_t)header.length;
    if (in.err == MR_OK && header.length > MR_LIMIT_FRAME_BYTES)
        return mr_fail(MR_LIMIT, "a CQL frame of %u bytes, at most %d are taken", header.length,
                       MR_LIMIT_FRAME_BYTES);
    return MR_OK;
}

static void refuse_version(struct store_session *session, const struct cql_header *header)
{
    char text[128];
    struct store_reply reply = {.session = session, .stream = header->stream};
    snprintf(text, sizeof(text),
             "Invalid or unsupported protocol version (%u); supported versions are (4/v4)",
             header->version & 0x7fu);
    store_reply_error(&reply, CQL_ERROR_PROTOCOL, mr_str_from(text), NULL);
}

/* ---- small messages ---- */
static void answer_options(const struct store_reply *reply)
{
    struct mr_buf *body = store_reply_begin(reply);
    static const char *const rows[][2] = {
        {"PROTOCOL_VERSIONS", "4/v4"}, {"COMPRESSION", "lz4"}, {"CQL_VERSION", "3.4.7"}};
    mr_buf_be16(body, mr_count_of(rows));
    for (size_t i = 0; i < mr_count_of(rows); i++) {
        cql_write_string(body, mr_str_from(rows[i][0]));
        mr_buf_be16(body, 1);
        cql_write_string(body, mr_str_from(rows[i][1]));
    }
    store_reply_send(reply, CQL_OPCODE_SUPPORTED);
}

static void copy_text(char *out, size_t size, mr_str text)
{
    size_t length = text.length < size - 1 ? text.length : size - 1;
    if (length > 0)
        memcpy(out, text.data, length);
    out[length] = '\0';
}

static mr_err start(const struct store_reply *reply, struct mr_in *in, struct mr_arena *arena,
                    struct store_fault *fault)
{
    struct store_session *session = reply->session;
    struct cql_pairs options = cql_read_string_map(in, arena);
    mr_str compression = cql_pairs_get(options, MR_STR("COMPRESSION"));
    if (in->err != MR_OK)
        return store_fail(fault, CQL_ERROR_PROTOCOL, "a STARTUP message cannot be read");
    if (cql_pairs_get(options, MR_STR("CQL_VERSION")).length == 0)
        return store_fail(fault, CQL_ERROR_PROTOCOL,
                          "Missing value CQL_VERSION in STARTUP message");
    bool lz4 = mr_str_equal_nocase(compression, MR_STR("lz4"));
    if (compression.length > 0 && !lz4)
        return store_fail(fault, CQL_ERROR_PROTOCOL, "Unknown compression algorithm: %.*s",
                          MR_STR_ARG(compression));
    copy_text(session->driver_name, sizeof(session->driver_name),
              cql_pairs_get(options, MR_STR("DRIVER_NAME")));
    copy_text(session->driver_version, sizeof(session->driver_version),
              cql_pairs_get(options, MR_STR("DRIVER_VERSION")));
    (void)store_reply_begin(reply);
    store_reply_send(reply, CQL_OPCODE_READY);
    session->started = true;
    session->lz4 = lz4; /* READY itself goes plain */
    return MR_OK;
}

static mr_err listen_for(const struct store_reply *reply, struct mr_in *in,
                         struct store_fault *fault)
{
    uint16_t count = mr_in_be16(in);
    uint8_t events = 0;
    for (uint16_t i = 0; i < count && in->err == MR_OK; i++) {
        mr_str name = cql_read_string(in);
        if (mr_str_equal(name, MR_STR("SCHEMA_CHANGE")))
            events |= STORE_EVENT_SCHEMA;
        else if (mr_str_equal(name, MR_STR("STATUS_CHANGE")))
            events |= STORE_EVENT_STATUS;
        else if (mr_str_equal(name, MR_STR("TOPOLOGY_CHANGE")))
            events |= STORE_EVENT_TOPOLOGY;
        else if (in->err == MR_OK)
            return store_fail(fault, CQL_ERROR_PROTOCOL, "Invalid value '%.*s' for Type",
                              MR_STR_ARG(name));
    }
    if (in->err != MR_OK)
        return store_fail(fault, CQL_ERROR_PROTOCOL, "a REGISTER message cannot be read");
    reply->session->events |= events;
    (void)store_reply_begin(reply);
    store_reply_send(reply, CQL_OPCODE_READY);
    return MR_OK;
}

/* ---- prepared statements ---- */
/* MD5 of keyspace and text, as Cassandra's: drivers expect that preparing again gives the same id. That
 * a table has changed is told by UNPREPARED, and by always giving its columns from then on. */
static void statement_id(mr_str keyspace, mr_str text, uint8_t id[16])
{
    struct mr_buf both = {0};
    mr_buf_str(&both, keyspace);
    mr_buf_str(&both, text);
    mr_md5(both.data, both.length, id);
    mr_buf_fini(&both);
}

static mr_str id_of(const uint8_t id[16])
{
    return mr_str_of(id, 16);
}

static bool is_current(const struct store_server *server, const struct store_plan *plan)
{
    if (plan->table == NULL)
        return plan->child_count == 0; /* a batch in text is bound anew each time */
    return store_schema_table(&server->schema, plan->table->keyspace, plan->table->name) ==
           plan->table;
}

/* NULL when the id is not known, or what it was bound to is no more. */
static struct store_plan *find_plan(struct store_server *server, mr_str id)
{
    struct store_plan *plan = mr_map_get(&server->prepared, id);
    if (plan == NULL)
        return NULL;
    if (is_current(server, plan))
        return plan;
    if (plan->child_count > 0) {
        bool current = true;
        for (uint32_t i = 0; current && i < plan->child_count; i++)
            current = is_current(server, &plan->children[i]);
        if (current)
            return plan;
    }
    (void)mr_map_remove(&server->prepared, id);
    store_plan_unref(plan);
    return NULL;
}

static void forget_oldest(struct store_server *server)
{
    struct mr_map_entry *entry;
    size_t i = 0;
    if (server->prepared.count < MR_LIMIT_CQL_PREPARED ||
        (entry = mr_map_next(&server->prepared, &i)) == NULL)
        return;
    uint8_t id[16];
    memcpy(id, entry->key.data, sizeof(id));
    store_plan_unref(mr_map_remove(&server->prepared, id_of(id)));
}

static void answer_prepared(const struct store_reply *reply, const struct store_plan *plan)
{
    struct mr_buf *body = store_reply_begin(reply);
    struct cql_metadata variables = {.column_count = plan->marker_count,
                                     .columns = plan->markers,
                                     .paging_state = CQL_VALUE_NULL,
                                     .key_count = plan->key_count,
                                     .key_indices = plan->key_indices};
    struct cql_metadata result = {.flags = CQL_ROWS_NO_METADATA, .paging_state = CQL_VALUE_NULL};
    if (plan->select != NULL) {
        result.flags = 0;
        result.column_count = plan->select->json_names != NULL ? 1 : plan->select->selector_count;
        result.columns = plan->select->columns;
    }
    mr_buf_be32(body, CQL_RESULT_PREPARED);
    cql_write_short_bytes(body, id_of(plan->id));
    cql_metadata_write(body, &variables, true);
    cql_metadata_write(body, &result, false);
    store_reply_send(reply, CQL_OPCODE_RESULT);
}

static mr_err prepare(const struct store_reply *reply, struct mr_in *in, struct store_fault *fault)
{
    struct store_server *server = reply->session->server;
    mr_str text = cql_read_long_string(in), keyspace = mr_str_from(reply->session->keyspace);
    struct store_plan *plan = NULL;
    uint8_t id[16];
    if (in->err != MR_OK)
        return store_fail(fault, CQL_ERROR_PROTOCOL, "a PREPARE message cannot be read");
    statement_id(keyspace, text, id);
    plan = find_plan(server, id_of(id));
    if (plan == NULL) {
        mr_err err = store_plan_make(&server->schema, keyspace, text, fault, &plan);
        if (err != MR_OK)
            return err;
        memcpy(plan->id, id, sizeof(id));
        forget_oldest(server);
        mr_map_put(&server->prepared, id_of(id), plan);
    }
    answer_prepared(reply, plan);
    return MR_OK;
}

/* ---- values ---- */
/* By name into the order of the markers. */
static mr_err order_values(const struct store_plan *plan, struct cql_query *query,
                           struct mr_arena *arena, struct store_fault *fault)
{
    if (query->names == NULL && query->value_count != plan->marker_count)
        return store_fail(fault, CQL_ERROR_INVALID,
                          "Invalid amount of bind variables: expected %u, found %u",
                          plan->marker_count, (unsigned)query->value_count);
    if (query->names == NULL)
        return MR_OK;
    struct cql_value *values = mr_arena_array(arena, struct cql_value, plan->marker_count + 1);
    for (uint32_t i = 0; i < plan->marker_count; i++) {
        bool found = false;
        for (uint16_t j = 0; j < query->value_count; j++)
            if (mr_str_equal(plan->markers[i].name, query->names[j])) {
                values[i] = query->values[j];
                found = true;
            }
        if (!found)
            return store_fail(fault, CQL_ERROR_INVALID, "Missing value for bind marker %.*s",
                              MR_STR_ARG(plan->markers[i].name));
    }
    query->values = values;
    query->value_count = (uint16_t)plan->marker_count;
    query->names = NULL;
    return MR_OK;
}

/* ---- QUERY and EXECUTE ---- */
static mr_err refuse_unprepared(mr_str id, struct store_fault *fault)
{
    char hex[129];
    id = mr_str_slice(id, 0, 64);
    mr_hex(id.data, id.length, hex);
    fault->unprepared = id;
    return store_fail(fault, CQL_ERROR_UNPREPARED,
                      "Prepared query with ID %s not found (either the query was not prepared on "
                      "this host (maybe "
                      "the host has been restarted?) or you have prepared too many queries and it "
                      "has been evicted "
                      "from the internal cache)",
                      hex);
}

/* A plain prepared write needs no request of its own: its operands go straight into the turn. */
static bool is_plain_write(const struct store_plan *plan)
{
    return plan->write != NULL && !plan->write->conditional && !plan->write->whole_row &&
           plan->write->names_row && plan->write->static_count == 0 &&
           plan->statement->kind == STORE_STATEMENT_INSERT;
}

static mr_err run_plain(const struct store_reply *reply, struct store_plan *plan,
                        const struct cql_query *query, struct store_fault *fault)
{
    struct store_server *server = reply->session->server;
    struct store_turn *turn = store_turn_open(server);
    struct store_write_job job = {
        .db = &server->db,
        .batch = turn->batch,
        .arena = &server->arena,
        .plan = plan,
        .values = query->values,
        .timestamp_us = query->flags & CQL_QUERY_TIMESTAMP ? query->timestamp_us
                                                           : store_server_timestamp(server),
        .now_us = mr_clock_wall_us(mr_loop_clock(server->loop)),
        .fault = fault,
        .sequence = &server->sequence,
        .key = &server->key,
        .row = &server->row,
    };
    mr_err err = store_write_run(&job);
    if (err == MR_OK) {
        mr_counter_add(server->rows_written, job.rows);
        (void)store_turn_answer(turn, reply);
    }
    return err;
}

static mr_err execute(const struct store_reply *reply, struct mr_in *in, struct mr_bytes *owner,
                      struct store_fault *fault)
{
    struct store_server *server = reply->session->server;
    struct cql_query query;
    mr_str id = cql_read_short_bytes(in);
    struct store_plan *plan = in->err == MR_OK ? find_plan(server, id) : NULL;
    if (in->err == MR_OK && plan == NULL)
        return refuse_unprepared(id, fault);
    bool plain = plan != NULL && is_plain_write(plan) && !reply->traced;
    struct store_request *request = plain || plan == NULL ? NULL : store_request_new(reply, owner);
    struct mr_arena *arena = request != NULL ? &request->arena : &server->arena;
    cql_query_read(in, arena, &query);
    mr_err err = in->err != MR_OK
                     ? store_fail(fault, CQL_ERROR_PROTOCOL, "an EXECUTE message cannot be read")
                     : order_values(plan, &query, arena, fault);
    if (request == NULL)
        return err == MR_OK ? run_plain(reply, plan, &query, fault) : err;
    if (err != MR_OK) {
        store_request_free(request);
        return err;
    }
    request->plan = store_plan_ref(plan);
    request->query = query;
    request->prepared = true;
    store_request_run(request);
    return MR_OK;
}

static mr_err query_text(const struct store_reply *reply, struct mr_in *in, struct mr_bytes *owner,
                         struct store_fault *fault)
{
    struct store_request *request = store_request_new(reply, owner);
    struct store_session *session = reply->session;
    mr_str text = cql_read_long_string(in);
    cql_query_read(in, &request->arena, &request->query);
    mr_err err = in->err != MR_OK
                     ? store_fail(fault, CQL_ERROR_PROTOCOL, "a QUERY message cannot be read")
                     : store_plan_make(&session->server->schema, mr_str_from(session->keyspace),
                                       text, fault, &request->plan);
    if (err == MR_OK)
        err = order_values(request->plan, &request->query, &request->arena, fault);
    if (err != MR_OK) {
        store_request_free(request);
        return err;
    }
    store_request_run(request);
    return MR_OK;
}

/* ---- BATCH (section 4.1.7) ---- */
struct batch_child {
    struct store_plan *plan; /* referenced */
    const struct cql_value *values;
};

static mr_err read_child(const struct store_reply *reply, struct mr_in *in, struct mr_arena *arena,
                         struct store_fault *fault, struct batch_child *child)
{
    struct store_server *server = reply->session->server;
    uint8_t kind = mr_in_u8(in);
    mr_err err = MR_OK;
    if (kind == 0) {
        mr_str text = cql_read_long_string(in);
        if (in->err == MR_OK)
            err = store_plan_make(&server->schema, mr_str_from(reply->session->keyspace), text,
                                  fault, &child->plan);
    } else {
        mr_str id = cql_read_short_bytes(in);
        struct store_plan *plan = in->err == MR_OK ? find_plan(server, id) : NULL;
        if (in->err == MR_OK && plan == NULL)
            err = refuse_unprepared(id, fault);
        else if (plan != NULL)
            child->plan = store_plan_ref(plan);
    }
    if (err != MR_OK)
        return err;
    uint16_t count = mr_in_be16(in);
    if (in->err != MR_OK || count > mr_in_left(in) / 4 + 1 || kind > 1)
        return store_fail(fault, CQL_ERROR_PROTOCOL, "a BATCH message cannot be read");
    struct cql_value *values = mr_arena_array(arena, struct cql_value, count + 1u);
    for (uint16_t i = 0; i < count; i++)
        values[i] = cql_read_value(in);
    child->values = values;
    if (child->plan->write == NULL)
        return store_fail(
            fault, CQL_ERROR_INVALID,
            "Invalid statement in batch: only UPDATE, INSERT and DELETE statements are allowed.");
    if (child->plan->write->conditional)
        return store_fail(fault, CQL_ERROR_INVALID,
                          "conditional statements in a BATCH are not supported");
    if (count != child->plan->marker_count)
        return store_fail(fault, CQL_ERROR_INVALID,
                          "There were %u markers(?) in CQL but %u bound variables",
                          child->plan->marker_count, (unsigned)count);
    return MR_OK;
}

static mr_err check_counters(uint8_t type, const struct batch_child *children, uint16_t count,
                             struct store_fault *fault)
{
    for (uint16_t i = 0; i < count; i++) {
        bool counter = children[i].plan->table->is_counter;
        if (counter && type != CQL_BATCH_COUNTER && type != CQL_BATCH_UNLOGGED)
            return store_fail(fault, CQL_ERROR_INVALID,
                              "Cannot include a counter statement in a logged batch");
        if (!counter && type == CQL_BATCH_COUNTER)
            return store_fail(fault, CQL_ERROR_INVALID,
                              "Cannot include non-counter statement in a counter batch");
    }
    return MR_OK;
}

static mr_err run_batch(const struct store_reply *reply, const struct batch_child *children,
                        uint16_t count, int64_t timestamp_us, struct store_fault *fault)
{
    struct store_server *server = reply->session->server;
    struct kv_batch *batch = kv_batch_new();
    struct store_turn *turn = store_turn_open(server);
    mr_err err = MR_OK;
    int64_t rows = 0;
    for (uint16_t i = 0; err == MR_OK && i < count; i++) {
        struct store_write_job job = {
            .db = &server->db,
            .batch = batch,
            .arena = &server->arena,
            .plan = children[i].plan,
            .values = children[i].values,
            .timestamp_us = timestamp_us,
            .now_us = mr_clock_wall_us(mr_loop_clock(server->loop)),
            .fault = fault,
            .sequence = &server->sequence,
            .key = &server->key,
            .row = &server->row,
        };
        err = store_write_run(&job);
        rows += job.rows;
        if (err == MR_OK && job.deletes_range && !children[i].plan->table->has_ranges) {
            children[i].plan->table->has_ranges = true;
            store_db_put_table(&server->db, batch, children[i].plan->table);
        }
    }
    if (err != MR_OK) {
        kv_batch_free(batch);
        return err;
    }
    *mr_array_add(&turn->batches) = batch;
    mr_counter_add(server->rows_written, rows);
    (void)store_turn_answer(turn, reply);
    return MR_OK;
}

static mr_err batch(const struct store_reply *reply, struct mr_in *in, struct store_fault *fault)
{
    struct store_server *server = reply->session->server;
    uint8_t type = mr_in_u8(in);
    uint16_t count = mr_in_be16(in), read = 0;
    if (in->err != MR_OK || type > CQL_BATCH_COUNTER || count > mr_in_left(in) / 5)
        return store_fail(fault, CQL_ERROR_PROTOCOL, "a BATCH message cannot be read");
    struct batch_child *children = mr_arena_array(&server->arena, struct batch_child, count + 1u);
    mr_err err = MR_OK;
    while (err == MR_OK && read < count)
        err = read_child(reply, in, &server->arena, fault, &children[read++]);
    (void)mr_in_be16(in); /* consistency */
    uint8_t flags = mr_in_u8(in);
    if (err == MR_OK && (flags & CQL_QUERY_SERIAL_CONSISTENCY))
        (void)mr_in_be16(in);
    int64_t timestamp_us = err == MR_OK && (flags & CQL_QUERY_TIMESTAMP)
                               ? (int64_t)mr_in_be64(in)
                               : store_server_timestamp(server);
    if (err == MR_OK && in->err != MR_OK)
        err = store_fail(fault, CQL_ERROR_PROTOCOL, "a BATCH message cannot be read");
    if (err == MR_OK)
        err = check_counters(type, children, count, fault);
    if (err == MR_OK)
        err = run_batch(reply, children, count, timestamp_us, fault);
    for (uint16_t i = 0; i < read; i++)
        store_plan_unref(children[i].plan);
    return err;
}

/* ---- tracing ---- */
static void begin_trace(struct store_reply *reply, const struct cql_header *header, mr_str body)
{
    struct store_server *server = reply->session->server;
    struct store_trace *trace = &server->traces[server->trace_next++ % STORE_TRACES];
    struct net_address peer;
    struct mr_in in = mr_in_str(body);
    uint64_t chance = mr_random_u64(mr_loop_random(server->loop));
    memset(trace, 0, sizeof(*trace));
    trace->started_us = mr_clock_wall_us(mr_loop_clock(server->loop));
    trace->duration_us = 1;
    store_timeuuid(trace->started_us, chance, trace->id.bytes);
    store_timeuuid(trace->started_us, chance + 1, trace->event.bytes);
    net_peer(reply->session->conn, &peer);
    copy_text(trace->client, sizeof(trace->client), mr_str_from(peer.host));
    copy_text(trace->request, sizeof(trace->request),
              header->opcode == CQL_OPCODE_QUERY     ? MR_STR("Execute CQL3 query")
              : header->opcode == CQL_OPCODE_EXECUTE ? MR_STR("Execute prepared CQL3 query")
                                                     : MR_STR("Execute batch"));
    if (header->opcode == CQL_OPCODE_QUERY)
        copy_text(trace->query, sizeof(trace->query), cql_read_long_string(&in));
    reply->traced = true;
    reply->trace = trace->id;
}

/* ---- dispatch ---- */
static mr_err dispatch(struct store_reply *reply, const struct cql_header *header,
                       struct mr_bytes *owner, mr_str body, struct store_fault *fault)
{
    struct store_session *session = reply->session;
    struct store_server *server = session->server;
    struct mr_in in = mr_in_str(body);
    bool runs = header->opcode == CQL_OPCODE_QUERY || header->opcode == CQL_OPCODE_EXECUTE ||
                header->opcode == CQL_OPCODE_BATCH;
    if (header->opcode == CQL_OPCODE_OPTIONS) {
        answer_options(reply);
        return MR_OK;
    }
    if (server->state != STORE_SERVING)
        return server->state == STORE_FAILED
                   ? store_fail(fault, CQL_ERROR_SERVER, "the store cannot serve: %s", server->why)
                   : store_fail(fault, CQL_ERROR_IS_BOOTSTRAPPING,
                                "the store is still starting; try again");
    if (header->opcode == CQL_OPCODE_STARTUP)
        return start(reply, &in, &server->arena, fault);
    if (!session->started)
        return store_fail(fault, CQL_ERROR_PROTOCOL,
                          "Unexpected message %s, expecting STARTUP or OPTIONS",
                          cql_opcode_name(header->opcode));
    if (runs && server->resuming)
        return mr_fail(MR_FULL, "the store comes back from a full disk; try again");
    if (runs && (header->flags & CQL_FRAME_TRACING))
        begin_trace(reply, header, body);
    if (header->flags & CQL_FRAME_CUSTOM_PAYLOAD) { /* a map of bytes: read over */
        uint16_t count = mr_in_be16(&in);
        for (uint16_t i = 0; i < count && in.err == MR_OK; i++) {
            (void)cql_read_string(&in);
            (void)cql_read_value(&in);
        }
    }
    switch (header->opcode) {
    case CQL_OPCODE_QUERY:
        return query_text(reply, &in, owner, fault);
    case CQL_OPCODE_EXECUTE:
        return execute(reply, &in, owner, fault);
    case CQL_OPCODE_PREPARE:
        return prepare(reply, &in, fault);
    case CQL_OPCODE_BATCH:
        return batch(reply, &in, fault);
    case CQL_OPCODE_REGISTER:
        return listen_for(reply, &in, fault);
    case CQL_OPCODE_AUTH_RESPONSE:
        return store_fail(fault, CQL_ERROR_PROTOCOL, "no authentication is asked for here");
    default:
        return store_fail(fault, CQL_ERROR_PROTOCOL, "Unknown opcode %u", header->opcode);
    }
}

static void hold_back(struct store_session *session)
{
    if (!store_turn_is_full(session->server) || session->paused || session->conn == NULL)
        return;
    session->paused = true;
    net_pause(session->conn);
}

static mr_err message(struct net_conn *conn, struct mr_bytes *owner, mr_str bytes)
{
    struct store_session *session = net_context(conn);
    struct store_server *server = session->server;
    struct mr_in in = mr_in_str(bytes);
    struct cql_header header;
    struct store_fault fault = {0};
    struct mr_bytes *opened_body = NULL;
    cql_header_read(&in, &header);
    if (header.version != CQL_VERSION) {
        refuse_version(session, &header);
        if ((header.version & 0x7f) < 3)
            net_close(conn);
        return MR_OK;
    }
    struct store_reply reply = {.session = session, .stream = header.stream};
    mr_str body = mr_str_of(in.at, mr_in_left(&in));
    mr_err err = MR_OK;
    if (header.flags & CQL_FRAME_COMPRESSED) {
        struct mr_buf plain = {0};
        err = session->lz4
                  ? cql_lz4_unpack(&plain, body, MR_LIMIT_FRAME_BYTES)
                  : mr_fail(MR_CORRUPT, "a compressed frame, but no compression was agreed on");
        if (err == MR_OK) {
            opened_body = mr_bytes_copy(plain.data, plain.length);
            body = mr_str_of(opened_body->data, opened_body->length);
            owner = opened_body;
        } else {
            err = store_fail(&fault, CQL_ERROR_PROTOCOL, "%s", mr_why());
        }
        mr_buf_fini(&plain);
    }
    session->requests++;
    mr_counter_add(server->requests, 1);
    if (err == MR_OK)
        err = dispatch(&reply, &header, owner, body, &fault);
    if (err != MR_OK)
        store_reply_failure(&reply, err, &fault);
    mr_bytes_unref(opened_body);
    mr_arena_reset(&server->arena);
    hold_back(session);
    return MR_OK;
}

const struct net_handler store_session_handler = {
    .opened = opened, .frame = frame, .message = message, .drained = net_nothing, .closed = closed};
