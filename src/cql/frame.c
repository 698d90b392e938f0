/* cql/frame.c: frame headers, compressed bodies and the primitives of section 3. */
#include "cql/cql.h"

#include <lz4.h>

/* ---- tables ---- */
const char *cql_opcode_name(unsigned opcode)
{
    switch (opcode) {
#define OPCODE(name, code, from, about) \
    case code:                          \
        return #name;
#include "cql/opcodes.def"
    default:
        return "?";
    }
}

const char *cql_consistency_name(unsigned consistency)
{
    switch (consistency) {
#define CONSISTENCY(name, code) \
    case code:                  \
        return #name;
#include "cql/consistency.def"
    default:
        return "?";
    }
}

const char *cql_error_text(unsigned code)
{
    switch (code) {
#define CQL_ERROR_ROW(name, code, text) \
    case code:                          \
        return text;
#include "cql/errors.def"
    default:
        return "?";
    }
}

bool cql_consistency_find(mr_str name, enum cql_consistency *out)
{
#define CONSISTENCY(word, code)                     \
    if (mr_str_equal_nocase(name, MR_STR(#word))) { \
        *out = CQL_CONSISTENCY_##word;              \
        return true;                                \
    }
#include "cql/consistency.def"
    return false;
}

/* ---- headers ---- */
void cql_header_read(struct mr_in *in, struct cql_header *out)
{
    out->version = mr_in_u8(in);
    out->flags = mr_in_u8(in);
    out->stream = (int16_t)mr_in_be16(in);
    out->opcode = mr_in_u8(in);
    out->length = mr_in_be32(in);
}

size_t cql_frame_begin(struct mr_buf *out, uint8_t version, uint8_t flags, int16_t stream,
                       enum cql_opcode opcode)
{
    size_t begin = out->length;
    uint8_t *at = mr_buf_grow(out, CQL_HEADER_BYTES);
    if (at == NULL)
        return begin;
    at[0] = version;
    at[1] = flags;
    at[2] = (uint8_t)((uint16_t)stream >> 8);
    at[3] = (uint8_t)stream;
    at[4] = (uint8_t)opcode;
    memset(at + 5, 0, 4);
    return begin;
}

void cql_frame_end(struct mr_buf *out, size_t begin)
{
    if (out->err == MR_OK)
        mr_buf_patch_be32(out, begin + 5, (uint32_t)(out->length - begin - CQL_HEADER_BYTES));
}

/* ---- compression (section 5) ---- */
void cql_lz4_pack(struct mr_buf *out, mr_str body)
{
    if (body.length > LZ4_MAX_INPUT_SIZE) {
        out->err = mr_fail(MR_LIMIT, "a body of %zu bytes is too long for LZ4", body.length);
        return;
    }
    int bound = LZ4_compressBound((int)body.length);
    mr_buf_be32(out, (uint32_t)body.length);
    uint8_t *at = mr_buf_grow(out, (size_t)bound);
    if (at == NULL)
        return;
    int packed = LZ4_compress_default(body.data, (char *)at, (int)body.length, bound);
    mr_assert(packed > 0 || body.length == 0);
    out->length -= (size_t)(bound - packed);
}

mr_err cql_lz4_unpack(struct mr_buf *out, mr_str body, size_t bytes_max)
{
    struct mr_in in = mr_in_str(body);
    uint32_t plain = mr_in_be32(&in);
    if (in.err != MR_OK)
        return mr_fail(MR_CORRUPT, "a compressed body of %zu bytes has no length", body.length);
    if (plain > bytes_max)
        return mr_fail(MR_LIMIT, "a compressed body opens to %u bytes, at most %zu are taken",
                       plain, bytes_max);
    if (plain == 0)
        return MR_OK;
    uint8_t *at = mr_buf_grow(out, plain);
    if (at == NULL)
        return out->err;
    int got = LZ4_decompress_safe((const char *)in.at, (char *)at, (int)mr_in_left(&in),
                                  (int)plain);
    if (got != (int)plain)
        return mr_fail(MR_CORRUPT, "a compressed body is damaged: expected %u bytes, found %d",
                       plain, got);
    return MR_OK;
}

/* ---- primitives ---- */
mr_str cql_read_string(struct mr_in *in)
{
    return mr_in_take(in, mr_in_be16(in));
}

mr_str cql_read_long_string(struct mr_in *in)
{
    int32_t length = (int32_t)mr_in_be32(in);
    if (length < 0) {
        mr_in_fail(in);
        return MR_STR_NULL;
    }
    return mr_in_take(in, (size_t)length);
}

mr_str cql_read_short_bytes(struct mr_in *in)
{
    return mr_in_take(in, mr_in_be16(in));
}

struct cql_value cql_read_value(struct mr_in *in)
{
    int32_t length = (int32_t)mr_in_be32(in);
    if (in->err != MR_OK)
        return CQL_VALUE_NULL;
    if (length < 0)
        return length == CQL_UNSET ? CQL_VALUE_UNSET : CQL_VALUE_NULL;
    mr_str bytes = mr_in_take(in, (size_t)length);
    return in->err != MR_OK ? CQL_VALUE_NULL : cql_value_of(bytes.data, bytes.length);
}

static void write_short(struct mr_buf *out, mr_str bytes)
{
    if (bytes.length > UINT16_MAX) {
        if (out->err == MR_OK)
            out->err = mr_fail(MR_LIMIT, "a string of %zu bytes, at most 65535 fit", bytes.length);
        return;
    }
    mr_buf_be16(out, (uint16_t)bytes.length);
    mr_buf_str(out, bytes);
}

void cql_write_string(struct mr_buf *out, mr_str text)
{
    write_short(out, text);
}

void cql_write_short_bytes(struct mr_buf *out, mr_str bytes)
{
    write_short(out, bytes);
}

void cql_write_long_string(struct mr_buf *out, mr_str text)
{
    mr_buf_be32(out, (uint32_t)text.length);
    mr_buf_str(out, text);
}

void cql_write_value(struct mr_buf *out, struct cql_value value)
{
    mr_buf_be32(out, (uint32_t)value.length);
    if (value.length > 0)
        mr_buf_add(out, value.data, (size_t)value.length);
}

struct cql_pairs cql_read_string_map(struct mr_in *in, struct mr_arena *arena)
{
    uint16_t count = mr_in_be16(in);
    struct cql_pairs pairs = {NULL, 0};
    if (count > mr_in_left(in) / 4) { /* a pair has at least two lengths */
        mr_in_fail(in);
        return pairs;
    }
    struct cql_pair *items = mr_arena_array(arena, struct cql_pair, count);
    for (uint16_t i = 0; i < count; i++) {
        items[i].key = cql_read_string(in);
        items[i].value = cql_read_string(in);
    }
    if (in->err == MR_OK)
        pairs = (struct cql_pairs){items, count};
    return pairs;
}

mr_str cql_pairs_get(struct cql_pairs pairs, mr_str key)
{
    for (size_t i = 0; i < pairs.count; i++)
        if (mr_str_equal(pairs.items[i].key, key))
            return pairs.items[i].value;
    return MR_STR_NULL;
}
