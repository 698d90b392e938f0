/* fuzz/cql_client.c: a CQL server that answers our client with anything at all. */
#include <stdio.h>

#include "cql/client.h"
#include "net/net.h"

static struct mr_loop *loop;
static struct net_listener *listener;
static mr_str answer;
static int frames;

static mr_err server_frame(struct net_conn *conn, mr_str seen, size_t *total)
{
    mr_assert(conn != NULL);
    *total = seen.length;
    return MR_OK;
}

/* Whatever comes first is STARTUP: READY; then the client asks about the cluster, in two frames, and is
 * told nothing; whatever is next gets the input. */
static mr_err server_message(struct net_conn *conn, struct mr_bytes *owner, mr_str frame)
{
    mr_assert(owner != NULL && frame.length > 0);
    if (frames++ == 0) {
        struct mr_buf *out = net_out(conn);
        cql_frame_end(out,
                      cql_frame_begin(out, CQL_VERSION | CQL_DIRECTION, 0, 0, CQL_OPCODE_READY));
    } else if (frames == 2) {
        struct mr_buf *out = net_out(conn);
        for (int16_t stream = 0; stream < 2; stream++) {
            size_t begin = cql_frame_begin(out, CQL_VERSION | CQL_DIRECTION, 0, stream,
                                           CQL_OPCODE_ERROR);
            mr_buf_be32(out, CQL_ERROR_SERVER);
            cql_write_string(out, MR_STR("nobody knows"));
            cql_frame_end(out, begin);
        }
    } else {
        net_send(conn, answer.data, answer.length);
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
    answer = mr_str_of(data, length);
    frames = 0;
    mr_err err = cql_client_new(loop, &options, &client);
    mr_assert(err == MR_OK);
    cql_client_query(client, MR_STR("SELECT 1"), NULL, on_done, &frames);
    cql_client_prepare(client, MR_STR("SELECT 2"), on_prepared, &frames);
    for (int i = 0, told = 0; i < 40 && told < 4; i++) {
        mr_loop_turn(loop, 0);
        told += frames >= 2;
    }
    cql_client_free(client);
    for (int i = 0; i < 3; i++)
        mr_loop_turn(loop, 0);
    return 0;
}
