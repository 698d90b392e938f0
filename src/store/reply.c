/* store/reply.c: bodies into frames: headers, tracing ids, LZ4, errors. */
#include "store/server.h"

enum { PACK_BYTES = 512 }; /* smaller bodies are not worth compressing */

struct mr_buf *store_reply_begin(const struct store_reply *reply)
{
    struct mr_buf *body = &reply->session->server->body;
    mr_buf_clear(body);
    if (reply->traced)
        mr_buf_add(body, reply->trace.bytes, sizeof(reply->trace.bytes));
    return body;
}

void store_reply_send(const struct store_reply *reply, enum cql_opcode opcode)
{
    struct store_session *session = reply->session;
    struct store_server *server = session->server;
    struct mr_buf *body = &server->body;
    if (session->conn == NULL)
        return;
    uint8_t flags = reply->traced ? CQL_FRAME_TRACING : 0;
    mr_str bytes = mr_buf_as_str(body);
    if (session->lz4 && bytes.length >= PACK_BYTES) {
        mr_buf_clear(&server->packed);
        cql_lz4_pack(&server->packed, bytes);
        if (server->packed.err == MR_OK && server->packed.length < bytes.length) {
            bytes = mr_buf_as_str(&server->packed);
            flags |= CQL_FRAME_COMPRESSED;
        }
    }
    struct mr_buf *out = net_out(session->conn);
    size_t begin = cql_frame_begin(out, CQL_VERSION | CQL_DIRECTION, flags, reply->stream, opcode);
    mr_buf_str(out, bytes);
    cql_frame_end(out, begin);
}

void store_reply_void(const struct store_reply *reply)
{
    if (reply->traced) {
        mr_buf_be32(store_reply_begin(reply), CQL_RESULT_VOID);
        store_reply_send(reply, CQL_OPCODE_RESULT);
        return;
    }
    if (reply->session->conn == NULL)
        return;
    uint8_t *at = mr_buf_grow(net_out(reply->session->conn), CQL_HEADER_BYTES + 4);
    if (at == NULL)
        return;
    const uint8_t frame[] = {CQL_VERSION | CQL_DIRECTION,
                             0,
                             (uint8_t)((uint16_t)reply->stream >> 8),
                             (uint8_t)reply->stream,
                             CQL_OPCODE_RESULT,
                             0,
                             0,
                             0,
                             4,
                             0,
                             0,
                             0,
                             CQL_RESULT_VOID};
    memcpy(at, frame, sizeof(frame));
}

void store_reply_error(const struct store_reply *reply, enum cql_error code, mr_str text,
                       const struct store_fault *fault)
{
    struct mr_buf *body = store_reply_begin(reply);
    mr_counter_add(reply->session->server->errors, 1);
    mr_buf_be32(body, (uint32_t)code);
    cql_write_string(body, mr_str_slice(text, 0, 4000));
    if (code == CQL_ERROR_ALREADY_EXISTS) {
        cql_write_string(body, fault->keyspace);
        cql_write_string(body, fault->table);
    } else if (code == CQL_ERROR_UNPREPARED) {
        cql_write_short_bytes(body, fault->unprepared);
    } else if (code == CQL_ERROR_FUNCTION_FAILURE) {
        cql_write_string(body, MR_STR("system"));
        cql_write_string(body, MR_STR("operation"));
        mr_buf_be16(body, 0);
    }
    store_reply_send(reply, CQL_OPCODE_ERROR);
}

void store_reply_failure(const struct store_reply *reply, mr_err err,
                         const struct store_fault *fault)
{
    enum cql_error code = fault != NULL && err == MR_INVALID ? fault->code : CQL_ERROR_SERVER;
    if (err == MR_LIMIT || err == MR_UNSUPPORTED)
        code = CQL_ERROR_INVALID;
    if (mr_err_retriable(err))
        code = CQL_ERROR_OVERLOADED;
    if (code == CQL_ERROR_SERVER)
        mr_log(MR_LOG_ERROR, "store", "a request failed: %s: %s", mr_err_name(err), mr_why());
    store_reply_error(reply, code, mr_str_from(mr_why()), fault);
}
