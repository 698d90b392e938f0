/* fuzz/cql_client.c: a CQL server that answers our client with anything at all. The first byte says how:
 * version 4 or 5, with lz4 or without, in a segment that is right, in two, or as the bytes are. */
#include <stdio.h>

#include "cql/client.h"
#include "net/net.h"

static struct mr_loop *loop;
static struct net_listener *listener;
enum { VERSION_5 = 1, LZ4 = 2, RAW = 4, PARTS = 8 };
static mr_str answer;
static unsigned how;
static int frames;

/* A client's messages arrive alone: each turn sends one, and the answer waits for it. */
static mr_err server_frame(struct net_conn *conn, mr_str seen, size_t *total)
{
    mr_assert(conn != NULL);
    *total = seen.length;
    return MR_OK;
}

static void send_frames(struct net_conn *conn, mr_str bytes)
{
    bool lz4 = (how & LZ4) != 0;
    size_t half = bytes.length / 2;
    if ((how & VERSION_5) == 0 || ((how & RAW) != 0 && bytes.data == answer.data)) {
        net_send(conn, bytes.data, bytes.length);
    } else if ((how & PARTS) != 0 && bytes.data == answer.data && half > 0) {
        cql_segment_write(net_out(conn), mr_str_of(bytes.data, half), false, lz4);
        cql_segment_write(net_out(conn), mr_str_of(bytes.data + half, bytes.length - half), false,
                          lz4);
    } else {
        cql_segment_write(net_out(conn), bytes, true, lz4);
    }
}

/* Nobody knows what the client asks about the cluster, in two frames. */
static void answer_system(struct net_conn *conn)
{
    struct mr_buf out = {0};
    for (int16_t stream = 0; stream < 2; stream++) {
        size_t begin = cql_frame_begin(&out, CQL_VERSION | CQL_DIRECTION, 0, stream,
                                       CQL_OPCODE_ERROR);
        mr_buf_be32(&out, CQL_ERROR_SERVER);
        cql_write_string(&out, MR_STR("nobody knows"));
        cql_frame_end(&out, begin);
    }
    send_frames(conn, mr_buf_as_str(&out));
    mr_buf_fini(&out);
}

/* Whatever comes first is STARTUP: READY, or a refusal when it was of version 5 and may not be; then the
 * client asks about the cluster; whatever is next gets the input. */
static mr_err server_message(struct net_conn *conn, struct mr_bytes *owner, mr_str message)
{
    mr_assert(owner != NULL && message.length > 0);
    if (frames == 0 && message.data[0] == CQL_VERSION_5 && (how & VERSION_5) == 0) {
        struct mr_buf *out = net_out(conn);
        size_t begin = cql_frame_begin(out, CQL_VERSION | CQL_DIRECTION, 0, 0, CQL_OPCODE_ERROR);
        mr_buf_be32(out, CQL_ERROR_PROTOCOL);
        cql_write_string(out, MR_STR("version 4"));
        cql_frame_end(out, begin);
    } else if (frames++ == 0) {
        struct mr_buf *out = net_out(conn);
        cql_frame_end(out,
                      cql_frame_begin(out, CQL_VERSION | CQL_DIRECTION, 0, 0, CQL_OPCODE_READY));
    } else if (frames == 2) {
        answer_system(conn);
    } else if (answer.length > 0) {
        send_frames(conn, answer);
    }
    return MR_OK;
}

static void server_closed(struct net_conn *conn, mr_err why)
{
    mr_assert(conn != NULL && why != MR_OK);
}

static const struct net_handler handler = {net_nothing, server_frame, server_message, net_nothing,
                                           server_closed};

static void on_done(void *context, mr_err err, const struct cql_result *result)
{
    mr_assert(context == &frames);
    if (err != MR_OK || result->kind != CQL_RESULT_ROWS)
        return;
    struct mr_in rows = result->rows;
    struct mr_buf text = {.limit = 1 << 20};
    for (uint32_t row = 0; row < result->row_count && rows.err == MR_OK && row < 1000; row++)
        for (uint32_t i = 0; i < result->metadata.column_count && rows.err == MR_OK; i++) {
            struct cql_value value = cql_read_value(&rows);
            const struct cql_type *type = result->metadata.columns[i].type;
            if (rows.err == MR_OK && cql_value_check(type, value) == MR_OK)
                cql_value_json(&text, type, value);
        }
    mr_buf_fini(&text);
}

static void on_prepared(void *context, mr_err err, struct cql_prepared *prepared)
{
    mr_assert(context == &frames && (err == MR_OK) == (prepared != NULL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
    char address[64];
    struct cql_client *client = NULL;
    if (loop == NULL) {
        mr_log_level_set(MR_LOG_ERROR);
        loop = mr_loop_new("fuzz", NULL);
        mr_err err = net_listen(loop, "127.0.0.1", 0, &handler, NULL, &listener);
        mr_assert(err == MR_OK);
    }
    snprintf(address, sizeof address, "127.0.0.1:%u", net_listener_port(listener));
    struct cql_client_options options = {.addresses = address, .connection_count = 1};
    if (length == 0 || length > CQL_SEGMENT_PAYLOAD_MAX)
        return 0;
    how = data[0];
    answer = mr_str_of(data + 1, length - 1);
    options.lz4 = (how & LZ4) != 0;
    frames = 0;
    mr_err err = cql_client_new(loop, &options, &client);
    mr_assert(err == MR_OK);
    cql_client_query(client, MR_STR("SELECT 1"), NULL, on_done, &frames);
    cql_client_prepare(client, MR_STR("SELECT 2"), on_prepared, &frames);
    for (int i = 0, told = 0; i < 60 && told < 4; i++) {
        mr_loop_turn(loop, 0);
        told += frames >= 2;
    }
    cql_client_free(client);
    for (int i = 0; i < 3; i++)
        mr_loop_turn(loop, 0);
    return 0;
}
