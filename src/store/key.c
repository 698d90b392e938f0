/* store/key.c: order-preserving encodings. For each type: a < b exactly when its bytes are less. */
#include "store/key.h"

/* ---- the partition key ---- */
void store_partition_write(struct mr_buf *out, const struct store_table *table,
                           const struct cql_value *values)
{
    if (table->partition_count == 1) {
        mr_buf_str(out, cql_value_str(values[0]));
        return;
    }
    for (uint16_t i = 0; i < table->partition_count; i++) {
        cql_write_short_bytes(out, cql_value_str(values[i]));
        mr_buf_u8(out, 0);
    }
}

bool store_partition_read(const struct store_table *table, mr_str key, struct cql_value *values)
{
    if (table->partition_count == 1) {
        values[0] = cql_value_of(key.data, key.length);
        return true;
    }
    struct mr_in in = mr_in_str(key);
    for (uint16_t i = 0; i < table->partition_count; i++) {
        mr_str part = cql_read_short_bytes(&in);
        values[i] = cql_value_of(part.data, part.length);
        (void)mr_in_u8(&in);
    }
    return in.err == MR_OK;
}

void store_key_table(struct mr_buf *out, uint32_t table_id)
{
    mr_buf_be32(out, table_id);
}

void store_key_token(struct mr_buf *out, uint32_t table_id, int64_t token)
{
    mr_buf_be32(out, table_id);
    mr_buf_be64(out, (uint64_t)token ^ UINT64_C(0x8000000000000000));
}

void store_key_partition(struct mr_buf *out, uint32_t table_id, mr_str partition_key)
{
    store_key_token(out, table_id, mr_murmur3_token(partition_key.data, partition_key.length));
    mr_buf_be16(out, (uint16_t)partition_key.length);
    mr_buf_str(out, partition_key);
}

bool store_key_split(mr_str key, struct store_key_parts *out)
{
    struct mr_in in = mr_in_str(key);
    out->table_id = mr_in_be32(&in);
    out->token = (int64_t)(mr_in_be64(&in) ^ UINT64_C(0x8000000000000000));
    out->partition = mr_in_take(&in, mr_in_be16(&in));
    out->prefix = mr_str_of(key.data, (size_t)((const char *)in.at - key.data));
    out->kind = mr_in_u8(&in);
    out->clustering = mr_str_of(in.at, mr_in_left(&in));
    return in.err == MR_OK;
}

bool store_key_after(struct mr_buf *key, size_t begin)
{
    while (key->length > begin && key->data[key->length - 1] == 0xff)
        key->length--;
    if (key->length == begin)
        return false;
    key->data[key->length - 1]++;
    return true;
}

/* ---- writing components, ascending ---- */
static uint64_t be_bytes(const uint8_t *data, int length)
{
    uint64_t value = 0;
    for (int i = 0; i < length; i++)
        value = value << 8 | data[i];
    return value;
}

/* Text of any length: 00 inside becomes 00 ff, 00 00 ends it. */
static void write_text(struct mr_buf *out, mr_str text)
{
    mr_str rest = text;
    for (;;) {
        ptrdiff_t zero = mr_str_find_byte(rest, '\0');
        mr_buf_str(out, zero < 0 ? rest : mr_str_slice(rest, 0, (size_t)zero));
        mr_buf_be16(out, zero < 0 ? 0x0000 : 0x00ff);
        if (zero < 0)
            return;
        rest = mr_str_slice(rest, (size_t)zero + 1, rest.length);
    }
}

static bool read_text(struct mr_in *in, struct mr_buf *out)
{
    for (;;) {
        uint8_t byte = mr_in_u8(in);
        if (in->err != MR_OK)
            return false;
        if (byte != 0) {
            mr_buf_u8(out, byte);
            continue;
        }
        byte = mr_in_u8(in);
        if (byte != 0xff)
            return in->err == MR_OK && byte == 0;
        mr_buf_u8(out, 0);
    }
}

/* IEEE bits so that they compare unsigned; every NaN becomes one, above infinity. */
static uint64_t order_float(uint64_t bits, int bytes)
{
    uint64_t sign = bytes == 8 ? UINT64_C(1) << 63 : UINT64_C(1) << 31;
    uint64_t infinity = bytes == 8 ? UINT64_C(0x7ff0000000000000) : UINT64_C(0x7f800000);
    uint64_t quiet = bytes == 8 ? UINT64_C(0x7ff8000000000000) : UINT64_C(0x7fc00000);
    uint64_t all = bytes == 8 ? UINT64_MAX : UINT32_MAX;
    if ((bits & ~sign & all) > infinity)
        bits = quiet;
    return bits & sign ? ~bits & all : bits | sign;
}

static uint64_t restore_float(uint64_t order, int bytes)
{
    uint64_t sign = bytes == 8 ? UINT64_C(1) << 63 : UINT64_C(1) << 31;
    uint64_t all = bytes == 8 ? UINT64_MAX : UINT32_MAX;
    return order & sign ? order ^ sign : ~order & all;
}

static void write_fixed(struct mr_buf *out, uint64_t value, int bytes)
{
    for (int i = bytes - 1; i >= 0; i--)
        mr_buf_u8(out, (uint8_t)(value >> (i * 8)));
}

/* The time of a version 1 uuid, high bits first, so that bytes order as times. */
static uint64_t order_time(uint64_t high)
{
    return high << 48 | (high << 16 & UINT64_C(0xffff00000000)) | high >> 32;
}

static uint64_t restore_time(uint64_t order)
{
    return order << 32 | (order >> 16 & UINT64_C(0xffff0000)) | order >> 48;
}

static void write_uuid(struct mr_buf *out, const uint8_t *uuid, bool timed)
{
    uint64_t high = be_bytes(uuid, 8), low = be_bytes(uuid + 8, 8);
    uint8_t version = (uint8_t)(uuid[6] >> 4);
    if (!timed)
        mr_buf_u8(out, version);
    mr_buf_be64(out, timed || version == 1 ? order_time(high) : high);
    mr_buf_be64(out, timed ? low ^ UINT64_C(0x8080808080808080) : low);
}

/* Sign, then the count of bytes, then the bytes; of negative numbers the count falls. */
static void write_varint(struct mr_buf *out, mr_str bytes)
{
    const uint8_t *data = (const uint8_t *)bytes.data;
    size_t length = bytes.length;
    while (length > 1 &&
           ((data[0] == 0 && data[1] < 0x80) || (data[0] == 0xff && data[1] >= 0x80))) {
        data++;
        length--;
    }
    bool negative = length > 0 && data[0] >= 0x80;
    mr_buf_u8(out, negative ? 0x00 : 0x01);
    mr_buf_be32(out, negative ? ~(uint32_t)length : (uint32_t)length);
    mr_buf_add(out, data, length);
}

/* Sign, then where the point stands, then the digits without zeros at the end, one a byte; all
 * complemented when negative. 1.0 and 1.00 are one key, as they are in Cassandra. */
static void write_decimal(struct mr_buf *out, struct cql_value value)
{
    struct mr_buf digits = {0};
    int32_t scale = (int32_t)be_bytes(value.data, 4);
    cql_varint_print(&digits, mr_str_of(value.data + 4, (size_t)value.length - 4));
    mr_str text = mr_buf_as_str(&digits);
    bool negative = text.length > 0 && text.data[0] == '-';
    text = mr_str_slice(text, negative, text.length);
    int64_t top = (int64_t)text.length - scale;
    while (text.length > 0 && text.data[text.length - 1] == '0')
        text.length--;
    if (text.length == 0) {
        mr_buf_u8(out, 0x80);
    } else {
        uint8_t flip = negative ? 0xff : 0x00;
        mr_buf_u8(out, negative ? 0x40 : 0xc0);
        write_fixed(
            out, ((uint64_t)top ^ UINT64_C(0x8000000000000000)) ^ (negative ? UINT64_MAX : 0), 8);
        for (size_t i = 0; i < text.length; i++)
            mr_buf_u8(out, (uint8_t)((uint8_t)(text.data[i] - '0' + 1) ^ flip));
        mr_buf_u8(out, flip);
    }
    mr_buf_fini(&digits);
}

static void write_ascending(struct mr_buf *out, const struct cql_type *type,
                            struct cql_value value);

static void write_elements(struct mr_buf *out, const struct cql_type *type, struct cql_value value)
{
    struct cql_elements elements = cql_elements_of(type, value);
    struct cql_value element;
    for (uint32_t i = 0; cql_elements_next(&elements, &element); i++) {
        uint32_t arg = type->id == CQL_TYPE_MAP ? i % 2 : type->arg_count > 1 ? i : 0;
        mr_buf_u8(out, element.length < 0 ? 1 : 2);
        if (element.length >= 0)
            write_ascending(out, type->args[arg], element);
    }
    mr_buf_u8(out, 0);
}

static void write_ascending(struct mr_buf *out, const struct cql_type *type, struct cql_value value)
{
    int bytes = cql_type_bytes(type);
    bool empty = (bytes > 0 && value.length != bytes) ||
                 (type->id == CQL_TYPE_DECIMAL && value.length < 5);
    if (bytes > 0 || type->id == CQL_TYPE_DECIMAL) {
        mr_buf_u8(out, empty ? 0 : 1); /* the empty value comes first */
        if (empty)
            return;
    }
    switch (type->id) {
    case CQL_TYPE_TINYINT:
    case CQL_TYPE_SMALLINT:
    case CQL_TYPE_INT:
    case CQL_TYPE_BIGINT:
    case CQL_TYPE_COUNTER:
    case CQL_TYPE_TIMESTAMP:
    case CQL_TYPE_TIME:
        write_fixed(out, be_bytes(value.data, bytes) ^ (UINT64_C(1) << (bytes * 8 - 1)), bytes);
        return;
    case CQL_TYPE_BOOLEAN:
        mr_buf_u8(out, value.data[0] != 0);
        return;
    case CQL_TYPE_DATE:
        mr_buf_add(out, value.data, 4);
        return;
    case CQL_TYPE_FLOAT:
    case CQL_TYPE_DOUBLE:
        write_fixed(out, order_float(be_bytes(value.data, bytes), bytes), bytes);
        return;
    case CQL_TYPE_UUID:
    case CQL_TYPE_TIMEUUID:
        write_uuid(out, value.data, type->id == CQL_TYPE_TIMEUUID);
        return;
    case CQL_TYPE_VARINT:
        write_varint(out, cql_value_str(value));
        return;
    case CQL_TYPE_DECIMAL:
        write_decimal(out, value);
        return;
    case CQL_TYPE_LIST:
    case CQL_TYPE_SET:
    case CQL_TYPE_MAP:
    case CQL_TYPE_TUPLE:
    case CQL_TYPE_UDT:
        write_elements(out, type, value);
        return;
    case CQL_TYPE_ASCII:
    case CQL_TYPE_TEXT:
    case CQL_TYPE_BLOB:
    case CQL_TYPE_INET:
    case CQL_TYPE_DURATION:
    case CQL_TYPE_CUSTOM:
        write_text(out, cql_value_str(value));
        return;
    }
}

void store_key_component(struct mr_buf *out, const struct cql_type *type, bool descending,
                         struct cql_value value)
{
    size_t begin = out->length;
    write_ascending(out, type, value);
    for (size_t i = begin; descending && out->err == MR_OK && i < out->length; i++)
        out->data[i] = (uint8_t)~out->data[i];
}

/* ---- reading components back ---- */
static bool read_ascending(struct mr_in *in, const struct cql_type *type, struct mr_buf *out);

static bool read_decimal(struct mr_in *in, struct mr_buf *out)
{
    uint8_t sign = mr_in_u8(in), flip = sign == 0x40 ? 0xff : 0x00;
    struct mr_buf text = {0};
    if (sign == 0x80)
        mr_buf_u8(&text, '0');
    if (sign == 0x40)
        mr_buf_u8(&text, '-');
    size_t begin = text.length;
    if (sign != 0x80) {
        uint64_t bits = mr_in_be64(in) ^ (flip ? UINT64_MAX : 0) ^ UINT64_C(0x8000000000000000);
        int64_t top = (int64_t)bits;
        for (uint8_t byte; (byte = (uint8_t)(mr_in_u8(in) ^ flip)) != 0 && in->err == MR_OK;)
            mr_buf_u8(&text, (uint8_t)('0' + byte - 1));
        if (top > INT64_C(1) << 40 || top < -(INT64_C(1) << 40))
            mr_in_fail(in);
        int64_t scale = in->err != MR_OK ? 0 : (int64_t)(text.length - begin) - top;
        while (scale < 0 && scale > -64) { /* 1E+1 reads better as 10 */
            mr_buf_u8(&text, '0');
            scale++;
        }
        mr_buf_printf(&text, "E%lld", (long long)-scale);
    }
    bool ok = in->err == MR_OK && cql_decimal_parse(out, mr_buf_as_str(&text));
    mr_buf_fini(&text);
    return ok;
}

static bool read_elements(struct mr_in *in, const struct cql_type *type, struct mr_buf *out)
{
    bool tuple = type->id == CQL_TYPE_TUPLE || type->id == CQL_TYPE_UDT;
    size_t begin = out->length;
    uint32_t count = 0;
    if (!tuple)
        mr_buf_be32(out, 0);
    for (uint8_t mark; (mark = mr_in_u8(in)) != 0 && in->err == MR_OK; count++) {
        uint32_t arg = type->id == CQL_TYPE_MAP ? count % 2 : type->arg_count > 1 ? count : 0;
        size_t at = out->length;
        if (arg >= type->arg_count)
            return false;
        mr_buf_be32(out, UINT32_MAX);
        if (mark == 1)
            continue;
        if (!read_ascending(in, type->args[arg], out))
            return false;
        mr_buf_patch_be32(out, at, (uint32_t)(out->length - at - 4));
    }
    if (!tuple)
        mr_buf_patch_be32(out, begin, type->id == CQL_TYPE_MAP ? count / 2 : count);
    return in->err == MR_OK;
}

static bool read_varint(struct mr_in *in, struct mr_buf *out)
{
    bool negative = mr_in_u8(in) == 0x00;
    uint32_t length = mr_in_be32(in);
    mr_buf_str(out, mr_in_take(in, negative ? ~length : length));
    return in->err == MR_OK;
}

static bool read_uuid(struct mr_in *in, struct mr_buf *out, bool timed)
{
    bool ordered = timed || mr_in_u8(in) == 1;
    uint64_t high = mr_in_be64(in), low = mr_in_be64(in);
    mr_buf_be64(out, ordered ? restore_time(high) : high);
    mr_buf_be64(out, timed ? low ^ UINT64_C(0x8080808080808080) : low);
    return in->err == MR_OK;
}

static uint64_t in_fixed(struct mr_in *in, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++)
        value = value << 8 | mr_in_u8(in);
    return value;
}

static bool read_ascending(struct mr_in *in, const struct cql_type *type, struct mr_buf *out)
{
    int bytes = cql_type_bytes(type);
    if ((bytes > 0 || type->id == CQL_TYPE_DECIMAL) && mr_in_u8(in) == 0)
        return in->err == MR_OK;
    switch (type->id) {
    case CQL_TYPE_TINYINT:
    case CQL_TYPE_SMALLINT:
    case CQL_TYPE_INT:
    case CQL_TYPE_BIGINT:
    case CQL_TYPE_COUNTER:
    case CQL_TYPE_TIMESTAMP:
    case CQL_TYPE_TIME:
        write_fixed(out, in_fixed(in, bytes) ^ (UINT64_C(1) << (bytes * 8 - 1)), bytes);
        break;
    case CQL_TYPE_BOOLEAN:
    case CQL_TYPE_DATE:
        write_fixed(out, in_fixed(in, bytes), bytes);
        break;
    case CQL_TYPE_FLOAT:
    case CQL_TYPE_DOUBLE:
        write_fixed(out, restore_float(in_fixed(in, bytes), bytes), bytes);
        break;
    case CQL_TYPE_UUID:
    case CQL_TYPE_TIMEUUID:
        return read_uuid(in, out, type->id == CQL_TYPE_TIMEUUID);
    case CQL_TYPE_VARINT:
        return read_varint(in, out);
    case CQL_TYPE_DECIMAL:
        return read_decimal(in, out);
    case CQL_TYPE_LIST:
    case CQL_TYPE_SET:
    case CQL_TYPE_MAP:
    case CQL_TYPE_TUPLE:
    case CQL_TYPE_UDT:
        return read_elements(in, type, out);
    case CQL_TYPE_ASCII:
    case CQL_TYPE_TEXT:
    case CQL_TYPE_BLOB:
    case CQL_TYPE_INET:
    case CQL_TYPE_DURATION:
    case CQL_TYPE_CUSTOM:
        return read_text(in, out);
    }
    return in->err == MR_OK;
}

bool store_key_component_read(struct mr_in *in, const struct cql_type *type, bool descending,
                              struct mr_arena *arena, struct cql_value *out)
{
    struct mr_buf plain = {0};
    struct mr_in from = *in;
    uint8_t *flipped = NULL;
    if (descending) {
        size_t left = mr_in_left(in);
        flipped = mr_arena_alloc(arena, left + 1);
        for (size_t i = 0; i < left; i++)
            flipped[i] = (uint8_t)~in->at[i];
        from = mr_in_of(flipped, left);
    }
    const uint8_t *begin = from.at;
    bool ok = read_ascending(&from, type, &plain) && plain.err == MR_OK;
    in->at += from.at - begin;
    if (ok) {
        mr_str copy = mr_arena_str(arena, mr_buf_as_str(&plain));
        *out = cql_value_of(copy.data, copy.length);
    } else {
        mr_in_fail(in);
    }
    mr_buf_fini(&plain);
    return ok;
}
