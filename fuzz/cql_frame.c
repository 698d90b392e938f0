/* fuzz/cql_frame.c: whatever a peer may put into a frame: header, body readers, types, values, LZ4. */
#include "cql/cql.h"

static void read_values(struct mr_in *in, struct mr_arena *arena)
{
    struct mr_buf out = {0};
    const struct cql_type *type = cql_type_read(in, arena);
    struct cql_value value = cql_read_value(in), other = cql_read_value(in);
    if (in->err == MR_OK && value.length >= 0 && cql_value_check(type, value) == MR_OK) {
        cql_value_print(&out, type, value, false);
        cql_value_json(&out, type, value);
        if (other.length >= 0 && cql_value_check(type, other) == MR_OK) {
            int order = cql_value_compare(type, value, other);
            mr_assert((order < 0) == (cql_value_compare(type, other, value) > 0));
        }
    }
    mr_buf_clear(&out);
    if (in->err == MR_OK)
        cql_type_write(&out, type);
    mr_buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
    struct mr_arena arena;
    struct mr_buf plain = {0};
    struct cql_header header;
    struct cql_query query;
    struct cql_metadata metadata;
    mr_arena_init(&arena);
    struct mr_in in = mr_in_of(data, length);
    cql_header_read(&in, &header);
    struct mr_in body = in;
    switch (header.opcode % 6) {
    case 0:
        (void)cql_read_string_map(&body, &arena);
        break;
    case 1:
        (void)cql_read_long_string(&body);
        cql_query_read(&body, &arena, &query);
        break;
    case 2:
        cql_metadata_read(&body, &arena, false, &metadata);
        break;
    case 3:
        cql_metadata_read(&body, &arena, true, &metadata);
        break;
    case 4:
        (void)cql_lz4_unpack(&plain, mr_str_of(body.at, mr_in_left(&body)), 1 << 20);
        break;
    default:
        read_values(&body, &arena);
        break;
    }
    mr_buf_fini(&plain);
    mr_arena_fini(&arena);
    return 0;
}
