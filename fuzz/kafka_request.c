/* fuzz/kafka_request.c: every request and response in every version. Whatever can be read can be written
 * and is read back the same. */
#include "kafka/messages.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void goes_round(const struct wire_shape *shape, struct mr_arena *arena, mr_str body,
                       int16_t version, bool flexible)
{
    struct mr_buf buf = {0};
    void *first = mr_arena_alloc_zero(arena, shape->bytes);
    void *second = mr_arena_alloc_zero(arena, shape->bytes);
    struct wire_in in = wire_in_of(body, arena, version, flexible);
    wire_read(&in, shape, first);
    if (wire_in_finish(&in, shape) == MR_OK) {
        struct wire_out out = wire_out_of(&buf, version, flexible);
        wire_write(&out, shape, first);
        wire_out_fini(&out);
        mr_assert(buf.err == MR_OK);
        in = wire_in_of(mr_buf_as_str(&buf), arena, version, flexible);
        wire_read(&in, shape, second);
        mr_assert(wire_in_finish(&in, shape) == MR_OK);
        mr_assert(wire_equal(shape, first, second));
        mr_buf_clear(&buf);
        wire_print(&buf, shape, first, version);
    }
    mr_buf_fini(&buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mr_arena arena = {0};
    struct kafka_request_header header;
    mr_str body;
    if (kafka_api_read_header(mr_str_of(data, size), &arena, &header, &body) == MR_OK) {
        const struct kafka_api *api = kafka_api_find(header.request_api_key);
        int16_t version = header.request_api_version;
        if (api != NULL && version >= api->oldest && version <= api->newest) {
            bool flexible = kafka_api_is_flexible(api, version);
            goes_round(api->request(), &arena, body, version, flexible);
            goes_round(api->response(), &arena, body, version, flexible);
        }
    }
    mr_arena_fini(&arena);
    return 0;
}
