/* kafka/api.c: the APIs as a table, and how a request or a response lies in its frame: four bytes
 * of length, a header whose version follows from the API's version, the body. */
#include "kafka/messages.h"

const struct kafka_api kafka_api_rows[] = {
#define API(key, name, file, oldest, newest, flexible) \
    {#name,                                            \
     key,                                              \
     oldest,                                           \
     newest,                                           \
     flexible,                                         \
     kafka_##name##_request_shape,                     \
     kafka_##name##_response_shape},
#include "kafka/apis.def"
};
const size_t kafka_api_count = mr_count_of(kafka_api_rows);

enum {
#define API(key, name, file, oldest, newest, flexible) ROW_##name,
#include "kafka/apis.def"
};

const struct kafka_api *kafka_api_find(int16_t key)
{
    switch (key) {
#define API(key, name, file, oldest, newest, flexible) \
    case key:                                          \
        return &kafka_api_rows[ROW_##name];
#include "kafka/apis.def"
    default:
        return NULL;
    }
}

int16_t kafka_api_request_header(const struct kafka_api *api, int16_t version)
{
    return kafka_api_is_flexible(api, version) ? 2 : 1;
}

int16_t kafka_api_response_header(const struct kafka_api *api, int16_t version)
{
    return kafka_api_is_flexible(api, version) && api->key != KAFKA_API_api_versions ? 1 : 0;
}

/* ---- writing ---- */

struct wire_out kafka_api_out(struct mr_buf *buf, const struct kafka_api *api, int16_t version)
{
    return wire_out_of(buf, version, kafka_api_is_flexible(api, version));
}

/* A header has a version of its own; its bytes go into the same buffer. */
static void header_write(struct wire_out *out, const struct wire_shape *shape, int16_t version,
                         int16_t first_flexible, const void *header)
{
    struct wire_out head = wire_out_of(out->buf, version, version >= first_flexible);
    wire_write(&head, shape, header);
    wire_out_fini(&head);
}

static void frame_end(struct wire_out *out, size_t start, size_t splices_before)
{
    if (out->buf->err == MR_OK)
        mr_buf_patch_be32(out->buf, start,
                          (uint32_t)(out->buf->length - start - sizeof(uint32_t) +
                                     out->splice_bytes - splices_before));
}

void kafka_api_write_request(struct wire_out *out, const struct kafka_api *api, int32_t correlation,
                             mr_str client_id, const void *request)
{
    size_t start = out->buf->length, splices_before = out->splice_bytes;
    struct kafka_request_header header = {.request_api_key = api->key,
                                          .request_api_version = out->version,
                                          .correlation_id = correlation,
                                          .client_id = client_id};
    mr_buf_be32(out->buf, 0);
    header_write(out, kafka_request_header_shape(), kafka_api_request_header(api, out->version), 2,
                 &header);
    wire_write(out, api->request(), request);
    frame_end(out, start, splices_before);
}

void kafka_api_write_response(struct wire_out *out, const struct kafka_api *api,
                              int32_t correlation, const void *response)
{
    size_t start = out->buf->length, splices_before = out->splice_bytes;
    struct kafka_response_header header = {.correlation_id = correlation};
    mr_buf_be32(out->buf, 0);
    header_write(out, kafka_response_header_shape(), kafka_api_response_header(api, out->version),
                 1, &header);
    wire_write(out, api->response(), response);
    frame_end(out, start, splices_before);
}

/* ---- reading ---- */

/* Key and version come first in every header version and say which one this is. An ApiVersions
 * request of a version that we lack still has the newest header (its client says so by the
 * version). */
static int16_t header_version(mr_str frame)
{
    struct mr_in in = mr_in_str(frame);
    int16_t key = (int16_t)mr_in_be16(&in);
    int16_t version = (int16_t)mr_in_be16(&in);
    const struct kafka_api *api = kafka_api_find(key);
    return api == NULL ? 1 : kafka_api_request_header(api, version);
}

mr_err kafka_api_read_header(mr_str frame, struct mr_arena *arena,
                             struct kafka_request_header *header, mr_str *body)
{
    const struct wire_shape *shape = kafka_request_header_shape();
    int16_t version = header_version(frame);
    struct wire_in in = wire_in_of(frame, arena, version, version >= 2);
    wire_read(&in, shape, header);
    mr_err err = wire_in_finish(&in, shape);
    if (err == MR_OK)
        *body = mr_str_of(in.in.at, mr_in_left(&in.in));
    return err;
}

mr_err kafka_api_read_request(mr_str body, struct mr_arena *arena, const struct kafka_api *api,
                              int16_t version, void *request)
{
    struct wire_in in = wire_in_of(body, arena, version, kafka_api_is_flexible(api, version));
    wire_read(&in, api->request(), request);
    return wire_in_finish(&in, api->request());
}

mr_err kafka_api_read_response(mr_str frame, struct mr_arena *arena, const struct kafka_api *api,
                               int16_t version, int32_t *correlation, void *response)
{
    struct kafka_response_header header;
    int16_t header_version = kafka_api_response_header(api, version);
    struct wire_in in = wire_in_of(frame, arena, header_version, header_version >= 1);
    wire_read(&in, kafka_response_header_shape(), &header);
    in.version = version;
    in.flexible = kafka_api_is_flexible(api, version);
    wire_read(&in, api->response(), response);
    if (in.in.err == MR_OK)
        *correlation = header.correlation_id;
    return wire_in_finish(&in, api->response());
}
