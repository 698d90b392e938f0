/* cql/client_test.c: the promises of cql/client.h, told against a server made here that answers as a
 * story wishes. With PEER=host:port the last stories run against a real server. */
#include "story.h"

#include <stdlib.h>

#include "cql/client.h"
#include "net/net.h"

/* ---- a server that does what it is told ---- */

static uint8_t server_version = CQL_VERSION_5; /* it speaks at most this */
static bool server_lz4, damages; /* the second: a bit of each segment flips on the way */
static uint32_t rows_total = 3;
static struct mr_buf reply_frame;
static const char columns_id[] = "COLUMNS-ID-16-by";

static struct mr_loop *loop;
static struct net_listener *listener;
static struct cql_client *client;
static struct net_conn *conns[8];
static size_t conn_count;
static bool wants_password, knows_statement = true, mute, closes, hides_columns;
static unsigned fails_with; /* an error code for the next `fails_count` executes */
static int fails_count, startups, prepares, executes;
static mr_str last_body; /* of the latest EXECUTE or QUERY, copied */
static char prepared_id[17] = "0123456789abcdef";

static void server_opened(struct net_conn *conn)
{
    expect(conn_count < mr_count_of(conns));
    conns[conn_count++] = conn;
}

static mr_err server_frame(struct net_conn *conn, mr_str seen, size_t *total)
{
    struct mr_in in = mr_in_str(seen);
    struct cql_header header;
    if (net_context(conn) != NULL) /* segments, after the handshake's first answer */
        return cql_segment_length(seen, server_lz4, total);
    *total = 0;
    if (seen.length < CQL_HEADER_BYTES)
        return MR_OK;
    cql_header_read(&in, &header);
    *total = CQL_HEADER_BYTES + (size_t)header.length;
    return MR_OK;
}

static size_t reply_begin(uint8_t flags, int16_t stream, enum cql_opcode opcode)
{
    mr_buf_clear(&reply_frame);
    return cql_frame_begin(&reply_frame, server_version | CQL_DIRECTION, flags, stream, opcode);
}

static void reply_end(struct net_conn *conn, size_t begin)
{
    cql_frame_end(&reply_frame, begin);
    mr_str left = mr_buf_as_str(&reply_frame);
    struct mr_buf *out = net_out(conn);
    if (net_context(conn) == NULL) {
        net_send(conn, left.data, left.length);
        return;
    }
    bool whole = left.length <= CQL_SEGMENT_PAYLOAD_MAX;
    while (left.length > 0) {
        size_t part = whole ? left.length : left.length < 100000 ? left.length : 100000;
        cql_segment_write(out, mr_str_of(left.data, part), whole, server_lz4);
        left = mr_str_of(left.data + part, left.length - part);
    }
    if (damages)
        out->data[out->length - 6] ^= 1;
}

static void reply_error(struct net_conn *conn, int16_t stream, unsigned code, const char *text)
{
    struct mr_buf *out = &reply_frame;
    size_t begin = reply_begin(0, stream, CQL_OPCODE_ERROR);
    mr_buf_be32(out, code);
    cql_write_string(out, mr_str_from(text));
    if (code == CQL_ERROR_UNPREPARED)
        cql_write_short_bytes(out, mr_str_of(prepared_id, 16));
    reply_end(conn, begin);
}

static void reply_void(struct net_conn *conn, int16_t stream)
{
    struct mr_buf *out = &reply_frame;
    size_t begin = reply_begin(CQL_FRAME_WARNING, stream, CQL_OPCODE_RESULT);
    mr_buf_be16(out, 1); /* a warning, which the client reads past */
    cql_write_string(out, MR_STR("careful"));
    mr_buf_be32(out, CQL_RESULT_VOID);
    reply_end(conn, begin);
}

/* lz4: what the server has been sent so, and whether it answers rows so. */
static int packed_requests;
static bool packs;

/* The frame that has just been written again, with its body packed. */
static void pack_frame(struct mr_buf *out, size_t begin, int16_t stream)
{
    mr_str body = mr_str_of(out->data + begin + CQL_HEADER_BYTES,
                            out->length - begin - CQL_HEADER_BYTES);
    char *copy = mr_copy_cstr(body);
    out->length = begin;
    begin = cql_frame_begin(out, server_version | CQL_DIRECTION, CQL_FRAME_COMPRESSED, stream,
                            CQL_OPCODE_RESULT);
    cql_lz4_pack(out, mr_str_of(copy, body.length));
    cql_frame_end(out, begin);
    mr_free(copy);
}

static void reply_rows(struct net_conn *conn, int16_t stream)
{
    const struct cql_column column = {MR_STR("ks"), MR_STR("t"), MR_STR("n"),
                                      cql_type_scalar(CQL_TYPE_INT)};
    struct cql_metadata metadata = {
        .column_count = 1, .columns = &column, .paging_state = cql_value_of("more", 4)};
    struct mr_buf *out = &reply_frame;
    size_t begin = reply_begin(0, stream, CQL_OPCODE_RESULT);
    mr_buf_be32(out, CQL_RESULT_ROWS);
    cql_metadata_write(out, &metadata, false);
    mr_buf_be32(out, rows_total);
    for (uint32_t i = 0; i < rows_total; i++) {
        uint32_t value = htobe32(i * 7);
        cql_write_value(out, cql_value_of(&value, 4));
    }
    cql_frame_end(out, begin);
    if (packs && net_context(conn) == NULL)
        pack_frame(out, begin, stream);
    reply_end(conn, begin);
}

static void reply_prepared(struct net_conn *conn, int16_t stream)
{
    const struct cql_column columns[] = {
        {MR_STR("ks"), MR_STR("t"), MR_STR("id"), cql_type_scalar(CQL_TYPE_INT)},
        {MR_STR("ks"), MR_STR("t"), MR_STR("name"), cql_type_scalar(CQL_TYPE_TEXT)}};
    const uint16_t key = 0;
    struct cql_metadata variables = {.column_count = 2,
                                     .columns = columns,
                                     .key_count = 1,
                                     .key_indices = &key,
                                     .paging_state = CQL_VALUE_NULL};
    variables.flags = hides_columns ? CQL_ROWS_NO_METADATA : 0;
    struct cql_metadata none = {.flags = CQL_ROWS_NO_METADATA, .paging_state = CQL_VALUE_NULL};
    struct mr_buf *out = &reply_frame;
    size_t begin = reply_begin(0, stream, CQL_OPCODE_RESULT);
    mr_buf_be32(out, CQL_RESULT_PREPARED);
    cql_write_short_bytes(out, mr_str_of(prepared_id, 16));
    if (server_version == CQL_VERSION_5)
        cql_write_short_bytes(out, mr_str_of(columns_id, 16));
    cql_metadata_write(out, &variables, true);
    cql_metadata_write(out, &none, false);
    reply_end(conn, begin);
}

static void reply_plain(struct net_conn *conn, int16_t stream, enum cql_opcode opcode,
                        const char *text)
{
    struct mr_buf *out = &reply_frame;
    size_t begin = reply_begin(0, stream, opcode);
    if (text != NULL)
        cql_write_string(out, mr_str_from(text));
    if (opcode == CQL_OPCODE_AUTH_SUCCESS)
        cql_write_value(out, CQL_VALUE_NULL);
    reply_end(conn, begin);
}

/* The body of a QUERY or EXECUTE in version 4's words, which the stories read. */
static void body_keep(const struct cql_header *header, struct mr_in in)
{
    struct mr_buf body = {0};
    if (server_version == CQL_VERSION_5) {
        if (header->opcode == CQL_OPCODE_QUERY) {
            cql_write_long_string(&body, cql_read_long_string(&in));
        } else {
            cql_write_short_bytes(&body, cql_read_short_bytes(&in));
            expect_str(cql_read_short_bytes(&in), mr_str_of(columns_id, 16));
        }
        mr_buf_be16(&body, mr_in_be16(&in));
        uint32_t flags = mr_in_be32(&in);
        expect(flags < 256);
        mr_buf_u8(&body, (uint8_t)flags);
    }
    mr_buf_str(&body, mr_str_of(in.at, mr_in_left(&in)));
    expect_int(in.err, MR_OK);
    mr_free((char *)(uintptr_t)last_body.data);
    last_body = mr_buf_as_str(&body);
}

static void serve_statement(struct net_conn *conn, const struct cql_header *header,
                            struct mr_in *in)
{
    executes++;
    body_keep(header, *in);
    if (mute)
        return;
    if (closes) {
        net_abort(conn);
    } else if (fails_count > 0) {
        fails_count--;
        reply_error(conn, header->stream, fails_with, "as you wish");
    } else if (header->opcode == CQL_OPCODE_QUERY) {
        reply_rows(conn, header->stream);
    } else if (!knows_statement ||
               !mr_str_equal(cql_read_short_bytes(in), mr_str_of(prepared_id, 16))) {
        reply_error(conn, header->stream, CQL_ERROR_UNPREPARED, "what is that?");
    } else {
        reply_void(conn, header->stream);
    }
}

/* A server that stands alone, and whose system tables nobody can read. */
static void serve_system(struct net_conn *conn, int16_t stream)
{
    if (!mute)
        reply_error(conn, stream, CQL_ERROR_INVALID, "no such table");
}

static void serve_startup(struct net_conn *conn, const struct cql_header *header)
{
    if (header->version > server_version) {
        reply_error(conn, header->stream, CQL_ERROR_PROTOCOL, "at most version 4");
        return;
    }
    startups++;
    if (mute)
        return;
    if (wants_password)
        reply_plain(conn, header->stream, CQL_OPCODE_AUTHENTICATE, "PasswordAuthenticator");
    else
        reply_plain(conn, header->stream, CQL_OPCODE_READY, NULL);
    if (server_version == CQL_VERSION_5)
        net_context_set(conn, &server_version);
}

static mr_err serve_frame(struct net_conn *conn, mr_str frame)
{
    struct mr_in in = mr_in_str(frame);
    struct cql_header header;
    cql_header_read(&in, &header);
    expect(header.version == server_version || header.opcode == CQL_OPCODE_STARTUP);
    static struct mr_buf plain;
    if ((header.flags & CQL_FRAME_COMPRESSED) != 0) {
        packed_requests++;
        mr_buf_clear(&plain);
        expect_ok(cql_lz4_unpack(&plain, mr_str_of(in.at, mr_in_left(&in)), 1 << 20));
        in = mr_in_str(mr_buf_as_str(&plain));
    }
    switch (header.opcode) {
    case CQL_OPCODE_STARTUP:
        serve_startup(conn, &header);
        break;
    case CQL_OPCODE_AUTH_RESPONSE:
        if (mr_str_equal(cql_value_str(cql_read_value(&in)), MR_STR("\0ann\0secret")))
            reply_plain(conn, header.stream, CQL_OPCODE_AUTH_SUCCESS, NULL);
        else
            reply_error(conn, header.stream, CQL_ERROR_BAD_CREDENTIALS, "wrong password");
        break;
    case CQL_OPCODE_PREPARE:
        prepares++;
        knows_statement = true;
        if (mr_str_find(frame, MR_STR("SELEKT")) >= 0)
            reply_error(conn, header.stream, CQL_ERROR_SYNTAX, "no viable alternative");
        else
            reply_prepared(conn, header.stream);
        break;
    case CQL_OPCODE_REGISTER:
        if (!mute)
            reply_plain(conn, header.stream, CQL_OPCODE_READY, NULL);
        break;
    default:
        if (mr_str_find(frame, MR_STR("FROM system.")) >= 0)
            serve_system(conn, header.stream);
        else
            serve_statement(conn, &header, &in);
    }
    return MR_OK;
}

static int segments, frames_told;

static mr_err server_message(struct net_conn *conn, struct mr_bytes *owner, mr_str message)
{
    static struct mr_buf plain, partial;
    bool whole = true;
    mr_str payload = message;
    expect(owner != NULL);
    if (net_context(conn) == NULL)
        return serve_frame(conn, message);
    segments++;
    expect_ok(cql_segment_read(message, server_lz4, &plain, &payload, &whole));
    if (!whole) {
        mr_buf_str(&partial, payload);
        payload = mr_buf_as_str(&partial);
    }
    while (payload.length > 0) {
        struct mr_in in = mr_in_str(payload);
        struct cql_header header;
        cql_header_read(&in, &header);
        size_t length = CQL_HEADER_BYTES + (size_t)header.length;
        if (payload.length < length) {
            expect(!whole);
            return MR_OK;
        }
        frames_told++;
        serve_frame(conn, mr_str_of(payload.data, length));
        payload = mr_str_of(payload.data + length, payload.length - length);
    }
    mr_buf_clear(&partial);
    return MR_OK;
}

static void server_closed(struct net_conn *conn, mr_err why)
{
    expect(why != MR_OK);
    for (size_t i = 0; i < conn_count; i++)
        if (conns[i] == conn)
            conns[i] = conns[--conn_count];
}

static const struct net_handler server_handler = {server_opened, server_frame, server_message,
                                                  net_nothing, server_closed};

/* ---- what the stories say ---- */

static void given_client(struct cql_client_options options)
{
    struct mr_buf address = {0};
    mr_log_level_set(MR_LOG_ERROR);
    loop = mr_loop_new("test", NULL);
    expect_ok(net_listen(loop, "127.0.0.1", 0, &server_handler, NULL, &listener));
    mr_buf_printf(&address, "localhost:%u", net_listener_port(listener));
    options.addresses = mr_buf_take_cstr(&address);
    options.connection_count = options.connection_count == 0 ? 1 : options.connection_count;
    expect_ok(cql_client_new(loop, &options, &client));
}

static void ends(void)
{
    cql_client_free(client);
    for (int i = 0; i < 3; i++)
        mr_loop_turn(loop, 1000);
    net_listener_close(listener);
    for (int i = 0; i < 3; i++)
        mr_loop_turn(loop, 1000);
    mr_loop_free(loop);
}

struct outcome {
    int told;
    mr_err err;
    char why[300];
    uint32_t rows;
    int64_t sum;
    mr_str paging; /* copied */
    struct cql_prepared *prepared;
};

static void outcome_err(struct outcome *outcome, mr_err err)
{
    outcome->told++;
    outcome->err = err;
    if (err != MR_OK)
        strncpy(outcome->why, mr_why(), sizeof outcome->why - 1);
}

static void on_done(void *context, mr_err err, const struct cql_result *result)
{
    struct outcome *outcome = context;
    outcome_err(outcome, err);
    if (err != MR_OK || result->kind != CQL_RESULT_ROWS)
        return;
    struct mr_in rows = result->rows;
    outcome->rows = result->row_count;
    for (uint32_t i = 0; i < result->row_count * result->metadata.column_count; i++) {
        struct cql_value value = cql_read_value(&rows);
        struct mr_in in = mr_in_str(cql_value_str(value));
        outcome->sum += value.length == 4 ? mr_in_be32(&in) : 0;
    }
    expect_int(rows.err, MR_OK);
    mr_str paging = cql_value_str(result->metadata.paging_state);
    outcome->paging = mr_str_of(mr_copy_cstr(paging), paging.length);
}

static void on_prepared(void *context, mr_err err, struct cql_prepared *prepared)
{
    struct outcome *outcome = context;
    outcome_err(outcome, err);
    outcome->prepared = prepared;
}

static void wait_for(const struct outcome *outcome)
{
    for (int i = 0; i < 20000 && outcome->told == 0; i++)
        mr_loop_turn(loop, 1000);
    expect_int(outcome->told, 1);
}

static struct cql_prepared *given_statement(void)
{
    struct outcome outcome = {0};
    cql_client_prepare(client, MR_STR("INSERT INTO ks.t (id, name) VALUES (?, ?)"), on_prepared,
                       &outcome);
    expect_int(outcome.told, 0);
    wait_for(&outcome);
    expect_int(outcome.err, MR_OK);
    return outcome.prepared;
}

static void encode_row(const void *row, struct mr_buf *out)
{
    uint32_t id = htobe32(*(const uint32_t *)row);
    cql_write_value(out, cql_value_of(&id, 4));
    cql_write_value(out, cql_value_of("ann", 3));
}

static struct outcome executes_one(struct cql_prepared *prepared, unsigned flags)
{
    struct outcome outcome = {0};
    uint32_t id = 7;
    struct cql_request request = {
        .flags = flags, .value_count = 2, .encode = encode_row, .row = &id, .timestamp_us = 5};
    cql_client_execute(client, prepared, &request, on_done, &outcome);
    expect_int(outcome.told, 0);
    wait_for(&outcome);
    return outcome;
}

STORY("a query asked before the connection is there brings its rows")
{
    struct outcome outcome = {0};
    given_client((struct cql_client_options){0});
    expect(!cql_client_connected(client, NULL));
    cql_client_query(client, MR_STR("SELECT n FROM ks.t"), NULL, on_done, &outcome);
    expect_int(cql_client_pending(client), 1);
    wait_for(&outcome);
    expect_int(outcome.err, MR_OK);
    expect_int(outcome.rows, 3);
    expect_int(outcome.sum, 21);
    expect_str(outcome.paging, MR_STR("more"));
    expect(cql_client_connected(client, NULL));
    expect_int(cql_client_pending(client), 0);
    struct mr_in in = mr_in_str(last_body);
    expect_str(cql_read_long_string(&in), MR_STR("SELECT n FROM ks.t"));
    expect_int(mr_in_be16(&in), CQL_CONSISTENCY_LOCAL_QUORUM);
    ends();
}

STORY("an execute carries id, values and write time as the protocol says")
{
    given_client((struct cql_client_options){0});
    struct cql_prepared *prepared = given_statement();
    expect_int(cql_client_variables(prepared)->column_count, 2);
    expect_str(cql_client_variables(prepared)->columns[1].name, MR_STR("name"));
    expect_int(executes_one(prepared, CQL_TIMESTAMP).err, MR_OK);
    struct mr_in in = mr_in_str(last_body);
    struct mr_arena arena = {0};
    struct cql_query query;
    expect_str(cql_read_short_bytes(&in), MR_STR("0123456789abcdef"));
    cql_query_read(&in, &arena, &query);
    expect_int(in.err, MR_OK);
    expect_int(mr_in_left(&in), 0);
    expect_int(query.value_count, 2);
    expect_str(cql_value_str(query.values[1]), MR_STR("ann"));
    expect_int(query.timestamp_us, 5);
    mr_arena_fini(&arena);
    expect(given_statement() == prepared); /* the same text is the same statement */
    expect_int(prepares, 1);
    ends();
}

static int group_ends;

static void group_end(struct cql_group *group)
{
    expect_int(group->pending, 0);
    group_ends++;
}

STORY("thousands of executes are under way at once, and a group ends once")
{
    struct cql_group group = {.done = group_end};
    given_client((struct cql_client_options){.connection_count = 2});
    struct cql_prepared *prepared = given_statement();
    for (uint32_t i = 0; i < 20000; i++) {
        struct cql_request request = {.value_count = 2, .encode = encode_row, .row = &i};
        group.pending++;
        cql_client_execute(client, prepared, &request, cql_client_group_done, &group);
    }
    expect_int(cql_client_pending(client), 20000);
    for (int i = 0; i < 20000 && group_ends == 0; i++)
        mr_loop_turn(loop, 1000);
    expect_int(group_ends, 1);
    expect_int(group.err, MR_OK);
    expect_int(executes, 20000);
    ends();
}

static int room_told;

static void on_room(void *context)
{
    expect(context == &room_told);
    room_told++;
}

STORY("room ends at the bytes given, and comes back")
{
    struct outcome outcome = {0};
    given_client(
        (struct cql_client_options){.bytes_max = 100000, .room = on_room, .context = &room_told});
    char *large = mr_alloc_zero(1, 60000);
    struct cql_value value = cql_value_of(large, 60000);
    struct cql_request request = {.value_count = 1, .values = &value};
    expect(cql_client_room(client));
    cql_client_query(client, MR_STR("A"), &request, on_done, &outcome);
    expect(cql_client_room(client));
    cql_client_query(client, MR_STR("A"), &request, on_done, &outcome);
    expect(!cql_client_room(client));
    for (int i = 0; i < 1000 && room_told == 0; i++)
        mr_loop_turn(loop, 1000);
    expect_int(room_told, 1);
    expect(cql_client_room(client));
    ends();
}

STORY("a request larger than a chunk goes out whole")
{
    struct outcome outcome = {0};
    given_client((struct cql_client_options){0});
    given_statement();
    char *large = mr_alloc_zero(1, 3000000);
    struct cql_value value = cql_value_of(large, 3000000);
    struct cql_request request = {.value_count = 1, .values = &value};
    cql_client_query(client, MR_STR("A"), &request, on_done, &outcome);
    wait_for(&outcome);
    expect_int(outcome.err, MR_OK);
    expect(last_body.length > 3000000);
    ends();
}

STORY("a server that has forgotten a statement is told it again")
{
    given_client((struct cql_client_options){0});
    struct cql_prepared *prepared = given_statement();
    knows_statement = false;
    expect_int(executes_one(prepared, 0).err, MR_OK);
    expect_int(prepares, 2);
    prepared_id[0] = 'X'; /* as after a change of the table: another id */
    expect_int(executes_one(prepared, CQL_TIMESTAMP).err, MR_OK);
    expect_int(prepares, 3);
    struct mr_in in = mr_in_str(last_body);
    expect_str(cql_read_short_bytes(&in), MR_STR("X123456789abcdef"));
    ends();
}

STORY("an overloaded server is asked again, if the request may be done twice")
{
    given_client((struct cql_client_options){0});
    struct cql_prepared *prepared = given_statement();
    fails_with = CQL_ERROR_OVERLOADED;
    fails_count = 1;
    struct outcome outcome = executes_one(prepared, 0);
    expect_int(outcome.err, MR_AGAIN);
    expect(strstr(outcome.why, "Overloaded: as you wish") != NULL);
    fails_count = 3;
    executes = 0;
    expect_int(executes_one(prepared, CQL_RETRY).err, MR_OK);
    expect_int(executes, 4);
    fails_with = CQL_ERROR_INVALID;
    fails_count = 1;
    expect_int(executes_one(prepared, CQL_RETRY).err, MR_INVALID); /* never better by itself */
    ends();
}

STORY("a statement that the server refuses is told with the server's words")
{
    struct outcome outcome = {0};
    given_client((struct cql_client_options){0});
    cql_client_prepare(client, MR_STR("SELEKT 1"), on_prepared, &outcome);
    wait_for(&outcome);
    expect_int(outcome.err, MR_INVALID);
    expect(outcome.prepared == NULL);
    expect(strstr(outcome.why, "Syntax error: no viable alternative") != NULL);
    ends();
}

STORY("an answer to PREPARE that hides its columns is corrupt, not believed")
{
    struct outcome outcome = {0};
    given_client((struct cql_client_options){0});
    hides_columns = true;
    cql_client_prepare(client, MR_STR("SELECT 2"), on_prepared, &outcome);
    wait_for(&outcome);
    expect_int(outcome.err, MR_CORRUPT);
    ends();
}

STORY("a closed connection is opened again, and what may be repeated is")
{
    struct outcome once = {0}, again = {0};
    given_client((struct cql_client_options){0});
    struct cql_prepared *prepared = given_statement();
    uint32_t id = 1;
    struct cql_request request = {.value_count = 2, .encode = encode_row, .row = &id};
    closes = true;
    cql_client_execute(client, prepared, &request, on_done, &once);
    request.flags = CQL_RETRY;
    cql_client_execute(client, prepared, &request, on_done, &again);
    wait_for(&once);
    expect_int(once.err, MR_CLOSED);
    expect_int(again.told, 0);
    closes = false;
    wait_for(&again);
    expect_int(again.err, MR_OK);
    expect_int(startups, 2);
    ends();
}

STORY("a silent server is given up after the time-out")
{
    given_client((struct cql_client_options){.timeout_ms = 100});
    struct cql_prepared *prepared = given_statement();
    mute = true;
    struct outcome outcome = executes_one(prepared, 0);
    expect(outcome.err == MR_TIMEOUT || outcome.err == MR_CLOSED);
    expect(strstr(outcome.why, "no answer from localhost:") != NULL);
    mute = false;
    expect_int(executes_one(prepared, CQL_RETRY).err, MR_OK);
    expect_int(startups, 2);
    ends();
}

STORY("large bodies go packed both ways when that was agreed on, small ones never")
{
    struct outcome outcome = {0}, second = {0};
    char text[2000] = "SELECT 1 -- ";
    memset(text + 12, 'x', sizeof text - 13);
    packs = true;
    packed_requests = 0;
    server_version = CQL_VERSION; /* version 5 packs segments, not bodies */
    given_client((struct cql_client_options){.lz4 = true});
    cql_client_query(client, MR_STR("SELECT 1"), NULL, on_done, &outcome);
    wait_for(&outcome);
    expect_int(packed_requests, 0);
    expect_int(outcome.sum, 21);
    cql_client_query(client, mr_str_from(text), NULL, on_done, &second);
    wait_for(&second);
    expect_int(packed_requests, 1);
    expect_int(second.sum, 21);
    expect(mr_str_find(last_body, mr_str_from(text)) >= 0);
    ends();
    outcome = (struct outcome){0};
    given_client((struct cql_client_options){.timeout_ms = 300}); /* nobody agreed on anything */
    cql_client_query(client, MR_STR("SELECT 1"), NULL, on_done, &outcome);
    wait_for(&outcome);
    expect(outcome.err != MR_OK);
    ends();
    packs = false;
    server_version = CQL_VERSION_5;
}

STORY("a server of version 4 is asked again in its own version, and that is no trouble")
{
    struct outcome outcome = {0};
    server_version = CQL_VERSION;
    startups = 0;
    given_client((struct cql_client_options){0});
    cql_client_query(client, MR_STR("SELECT 1"), NULL, on_done, &outcome);
    wait_for(&outcome);
    expect_int(outcome.sum, 21);
    struct cql_prepared *prepared = given_statement();
    expect_int(executes_one(prepared, CQL_TIMESTAMP).err, MR_OK);
    expect_int(startups, 1);
    ends();
    server_version = CQL_VERSION_5;
}

STORY("frames share segments, and a frame that is too long for one goes in several, both ways")
{
    for (int lz4 = 0; lz4 < 2; lz4++) {
        struct cql_group group = {.done = group_end};
        struct outcome outcome = {0};
        server_lz4 = lz4 == 1;
        given_client((struct cql_client_options){.lz4 = server_lz4});
        struct cql_prepared *prepared = given_statement();
        segments = frames_told = group_ends = 0;
        for (uint32_t i = 0; i < 1000; i++) {
            struct cql_request request = {.value_count = 2, .encode = encode_row, .row = &i};
            group.pending++;
            cql_client_execute(client, prepared, &request, cql_client_group_done, &group);
        }
        for (int i = 0; i < 20000 && group_ends == 0; i++)
            mr_loop_turn(loop, 1000);
        expect_int(group.err, MR_OK);
        expect_int(frames_told, 1000);
        expect(segments < 100);
        char *large = mr_alloc_zero(1, 700000);
        struct cql_value value = cql_value_of(large, 700000);
        struct cql_request request = {.value_count = 1, .values = &value};
        rows_total = 40000;
        cql_client_query(client, MR_STR("A"), &request, on_done, &outcome);
        wait_for(&outcome);
        expect_int(outcome.err, MR_OK);
        expect_int(outcome.rows, 40000);
        expect_int(outcome.sum, 7LL * 39999 * 40000 / 2);
        expect(last_body.length > 700000);
        mr_free(large);
        rows_total = 3;
        ends();
    }
    server_lz4 = false;
}

STORY("a segment that was damaged on the way is never believed: the connection is opened anew")
{
    given_client((struct cql_client_options){0});
    struct cql_prepared *prepared = given_statement();
    startups = 0;
    damages = true;
    struct outcome outcome = executes_one(prepared, 0);
    expect_int(outcome.err, MR_CLOSED);
    expect(strstr(outcome.why, "does not match its checksum") != NULL);
    damages = false;
    expect_int(executes_one(prepared, CQL_RETRY).err, MR_OK);
    expect_int(startups, 1);
    ends();
}

STORY("a password is asked for, given, and refused")
{
    struct outcome outcome = {0};
    wants_password = true;
    given_client((struct cql_client_options){.user = "ann", .password = "secret"});
    cql_client_query(client, MR_STR("SELECT 1"), NULL, on_done, &outcome);
    wait_for(&outcome);
    expect_int(outcome.err, MR_OK);
    ends();
    static const char *const users[] = {"bob", NULL};
    for (size_t i = 0; i < 2; i++) {
        mr_err err = MR_OK;
        outcome = (struct outcome){0};
        given_client(
            (struct cql_client_options){.user = users[i], .password = "x", .timeout_ms = 300});
        cql_client_query(client, MR_STR("SELECT 1"), NULL, on_done, &outcome);
        wait_for(&outcome);
        expect_int(outcome.err, MR_AUTH);
        expect(!cql_client_connected(client, &err));
        expect_int(err, MR_AUTH);
        expect(strstr(mr_why(), i == 0 ? "wrong password" : "asks for a user") != NULL);
        ends();
    }
}

STORY("nobody listening is unreachable, in words, once the time is over")
{
    struct outcome outcome = {0};
    given_client((struct cql_client_options){.timeout_ms = 300});
    cql_client_free(client);
    struct cql_client_options options = {.addresses = "127.0.0.1:1, 127.0.0.1:2",
                                         .timeout_ms = 300};
    expect_ok(cql_client_new(loop, &options, &client));
    cql_client_query(client, MR_STR("SELECT 1"), NULL, on_done, &outcome);
    wait_for(&outcome);
    expect_int(outcome.err, MR_UNREACHABLE);
    expect(strstr(outcome.why, "connecting to 127.0.0.1:") != NULL);
    options.addresses = "no port:x";
    struct cql_client *none = NULL;
    expect_err(cql_client_new(loop, &options, &none), MR_INVALID);
    ends();
}

STORY("freeing a client tells nothing more")
{
    struct outcome outcomes[3] = {{0}};
    given_client((struct cql_client_options){0});
    struct cql_prepared *prepared = given_statement();
    uint32_t id = 1;
    struct cql_request request = {.value_count = 2, .encode = encode_row, .row = &id};
    mute = true;
    cql_client_execute(client, prepared, &request, on_done, &outcomes[0]);
    mr_loop_turn(loop, 1000);
    cql_client_query(client, MR_STR("SELECT 1"), NULL, on_done, &outcomes[1]);
    cql_client_prepare(client, MR_STR("SELECT 2"), on_prepared, &outcomes[2]);
    ends();
    for (int i = 0; i < 3; i++)
        expect_int(outcomes[i].told, 0);
}

/* ---- a real server, with PEER=host:port ---- */

static struct outcome asks(const char *statement, const struct cql_request *request)
{
    struct outcome outcome = {0};
    cql_client_query(client, mr_str_from(statement), request, on_done, &outcome);
    wait_for(&outcome);
    if (outcome.err != MR_OK)
        mr_log(MR_LOG_ERROR, "test", "%s: %s", statement, outcome.why);
    return outcome;
}

STORY("a real server takes 20000 prepared rows and gives them back in pages")
{
    const char *peer = getenv("PEER");
    struct cql_client_options options = {.addresses = peer};
    struct cql_group group = {.done = group_end};
    struct outcome prepared = {0}, page = {0};
    if (peer == NULL)
        return;
    loop = mr_loop_new("test", NULL);
    expect_ok(cql_client_new(loop, &options, &client));
    expect_int(asks("CREATE KEYSPACE IF NOT EXISTS client_story WITH replication = "
                    "{'class': 'SimpleStrategy', 'replication_factor': 1}",
                    NULL)
                   .err,
               MR_OK);
    expect_int(asks("DROP TABLE IF EXISTS client_story.t", NULL).err, MR_OK);
    expect_int(asks("CREATE TABLE client_story.t (id int PRIMARY KEY, name text)", NULL).err,
               MR_OK);
    expect_int(asks("CREATE TABLE client_story.t (id int PRIMARY KEY)", NULL).err, MR_EXISTS);
    cql_client_prepare(client, MR_STR("INSERT INTO client_story.t (id, name) VALUES (?, ?)"),
                       on_prepared, &prepared);
    wait_for(&prepared);
    expect_int(prepared.err, MR_OK);
    for (uint32_t i = 0; i < 20000; i++) {
        struct cql_request request = {.flags = CQL_RETRY | CQL_TIMESTAMP,
                                      .value_count = 2,
                                      .encode = encode_row,
                                      .row = &i,
                                      .timestamp_us = 1000 + i};
        group.pending++;
        cql_client_execute(client, prepared.prepared, &request, cql_client_group_done, &group);
    }
    for (int i = 0; i < 60000 && group_ends == 0; i++)
        mr_loop_turn(loop, 1000);
    expect_int(group_ends, 1);
    expect_int(group.err, MR_OK);
    int64_t sum = 0, rows = 0, pages = 0;
    do {
        struct cql_request request = {
            .page_size = 3000,
            .paging_state = page.paging.length == 0
                                ? (struct cql_value){0}
                                : cql_value_of(page.paging.data, page.paging.length)};
        page = asks("SELECT id FROM client_story.t", &request);
        expect_int(page.err, MR_OK);
        sum += page.sum;
        rows += page.rows;
        pages++;
    } while (page.paging.length > 0);
    expect_int(rows, 20000);
    expect_int(sum, 19999LL * 20000 / 2);
    expect(pages >= 7);
    struct cql_value bad = cql_value_of("xx", 2);
    struct cql_request wrong = {.value_count = 1, .values = &bad};
    expect_int(asks("SELECT name FROM client_story.t WHERE id = ?", &wrong).err, MR_INVALID);
    expect_int(asks("SELEKT", NULL).err, MR_INVALID);
    cql_client_free(client);
    mr_loop_turn(loop, 0);
    mr_loop_free(loop);
}
