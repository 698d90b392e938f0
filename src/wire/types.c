/* wire/types.c: the plain types: numbers, text, bytes and payload. Hides how each of them lies on
 * the wire; a length that a stranger sends is only ever used to cut a view out of what is there. */
#include "wire/wire.h"

#include <inttypes.h>

/* ---- numbers ---- */

/* A number type: how it is read (get), written (put) and printed. All are fixed width. */
#define WIRE_NUMBER(word, size, get, put, text)                                                    \
    static void word##_read(struct wire_in *in, const struct wire_field *field, void *into)        \
    {                                                                                              \
        (void)field;                                                                               \
        *(wire_##word *)into = (wire_##word)get(&in->in);                                          \
    }                                                                                              \
    static void word##_write(struct wire_out *out, const struct wire_field *field,                 \
                             const void *from)                                                     \
    {                                                                                              \
        (void)field;                                                                               \
        put(out->buf, *(const wire_##word *)from);                                                 \
    }                                                                                              \
    static void word##_print(struct mr_buf *out, const struct wire_field *field, const void *from, \
                             int16_t version)                                                      \
    {                                                                                              \
        (void)field;                                                                               \
        (void)version;                                                                             \
        text(out, *(const wire_##word *)from);                                                     \
    }                                                                                              \
    static bool word##_equal(const struct wire_field *field, const void *a, const void *b)         \
    {                                                                                              \
        (void)field;                                                                               \
        return memcmp(a, b, sizeof(wire_##word)) == 0;                                             \
    }                                                                                              \
    static void word##_invent(struct mr_random *random, struct mr_arena *arena,                    \
                              const struct wire_field *field, int16_t version, void *into)         \
    {                                                                                              \
        (void)arena;                                                                               \
        (void)version;                                                                             \
        *(wire_##word *)into = (wire_##word)number_invent(random, field);                          \
    }                                                                                              \
    static void word##_reset(const struct wire_field *field, void *into)                           \
    {                                                                                              \
        *(wire_##word *)into = (wire_##word)field->fallback;                                       \
    }                                                                                              \
    static bool word##_is_default(const struct wire_field *field, const void *from)                \
    {                                                                                              \
        wire_##word fallback = (wire_##word)field->fallback;                                       \
        return memcmp(&fallback, from, sizeof fallback) == 0;                                      \
    }                                                                                              \
    const struct wire_type wire_type_##word = {                                                    \
        #word,        sizeof(wire_##word), size,                                                   \
        size,         word##_read,         word##_write,                                           \
        word##_print, word##_equal,        word##_invent,                                          \
        word##_reset, word##_is_default,                                                           \
    };

/* Small, border and wild numbers alike. */
static int64_t number_invent(struct mr_random *random, const struct wire_field *field)
{
    uint64_t any = mr_random_u64(random);
    switch (any & 7) {
    case 0:
        return 0;
    case 1:
        return -1;
    case 2:
        return field->fallback;
    case 3:
        return (int64_t)(any >> 57);
    default:
        return (int64_t)mr_random_u64(random);
    }
}

static bool bool_get(struct mr_in *in)
{
    return mr_in_u8(in) != 0;
}
static void bool_put(struct mr_buf *buf, bool value)
{
    mr_buf_u8(buf, value ? 1 : 0);
}
static double f64_get(struct mr_in *in)
{
    uint64_t bits = mr_in_be64(in);
    double value = 0;
    memcpy(&value, &bits, sizeof value);
    return value;
}
static void f64_put(struct mr_buf *buf, double value)
{
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof bits);
    mr_buf_be64(buf, bits);
}
static void i8_put(struct mr_buf *buf, int8_t value)
{
    mr_buf_u8(buf, (uint8_t)value);
}
static void i16_put(struct mr_buf *buf, int16_t value)
{
    mr_buf_be16(buf, (uint16_t)value);
}
static void i32_put(struct mr_buf *buf, int32_t value)
{
    mr_buf_be32(buf, (uint32_t)value);
}
static void i64_put(struct mr_buf *buf, int64_t value)
{
    mr_buf_be64(buf, (uint64_t)value);
}

static void text_integer(struct mr_buf *out, int64_t value)
{
    mr_buf_printf(out, "%" PRId64, value);
}
static void text_f64(struct mr_buf *out, double value)
{
    mr_buf_printf(out, "%.17g", value);
}
static void text_bool(struct mr_buf *out, bool value)
{
    mr_buf_cstr(out, value ? "true" : "false");
}

WIRE_NUMBER(i8, 1, mr_in_u8, i8_put, text_integer)
WIRE_NUMBER(i16, 2, mr_in_be16, i16_put, text_integer)
WIRE_NUMBER(i32, 4, mr_in_be32, i32_put, text_integer)
WIRE_NUMBER(i64, 8, mr_in_be64, i64_put, text_integer)
WIRE_NUMBER(u16, 2, mr_in_be16, mr_buf_be16, text_integer)
WIRE_NUMBER(u32, 4, mr_in_be32, mr_buf_be32, text_integer)
WIRE_NUMBER(f64, 8, f64_get, f64_put, text_f64)
WIRE_NUMBER(bool, 1, bool_get, bool_put, text_bool)
#undef WIRE_NUMBER

/* ---- uuid ---- */

static void uuid_read(struct wire_in *in, const struct wire_field *field, void *into)
{
    (void)field;
    mr_str bytes = mr_in_take(&in->in, sizeof(mr_uuid));
    if (bytes.data != NULL)
        memcpy(into, bytes.data, sizeof(mr_uuid));
    else
        memset(into, 0, sizeof(mr_uuid));
}
static void uuid_write(struct wire_out *out, const struct wire_field *field, const void *from)
{
    (void)field;
    mr_buf_add(out->buf, from, sizeof(mr_uuid));
}
static void uuid_print(struct mr_buf *out, const struct wire_field *field, const void *from,
                       int16_t version)
{
    (void)field;
    (void)version;
    char text[37];
    mr_uuid_format(from, text);
    mr_buf_printf(out, "\"%s\"", text);
}
static bool uuid_equal(const struct wire_field *field, const void *a, const void *b)
{
    (void)field;
    return memcmp(a, b, sizeof(mr_uuid)) == 0;
}
static void uuid_invent(struct mr_random *random, struct mr_arena *arena,
                        const struct wire_field *field, int16_t version, void *into)
{
    (void)arena;
    (void)field;
    (void)version;
    mr_uuid *uuid = into;
    for (size_t i = 0; i < sizeof uuid->bytes; i++)
        uuid->bytes[i] = (uint8_t)mr_random_u64(random);
}
static void uuid_reset(const struct wire_field *field, void *into)
{
    (void)field;
    memset(into, 0, sizeof(mr_uuid));
}
static bool uuid_is_default(const struct wire_field *field, const void *from)
{
    (void)field;
    static const mr_uuid zero;
    return memcmp(from, &zero, sizeof zero) == 0;
}
const struct wire_type wire_type_uuid = {
    "uuid",     sizeof(mr_uuid), 16,          16,         uuid_read,       uuid_write,
    uuid_print, uuid_equal,      uuid_invent, uuid_reset, uuid_is_default,
};

/* ---- text and bytes: a length, then a view ---- */

/* The length in front: classic (16 or 32 bits; -1 null) or compact (varint of length + 1; 0 null).
 * Returns -1 for null; a length that passes the end fails the reader and gives 0. */
static int64_t length_read(struct wire_in *in, bool compact, int bits)
{
    int64_t length = 0;
    if (compact) {
        uint64_t plus = mr_in_uvarint(&in->in);
        length = plus > (uint64_t)INT32_MAX ? INT64_MAX : (int64_t)plus - 1;
    } else {
        length = bits == 16 ? (int16_t)mr_in_be16(&in->in) : (int32_t)mr_in_be32(&in->in);
    }
    if (in->in.err != MR_OK)
        return 0;
    if (length < -1 || length > (int64_t)mr_in_left(&in->in)) {
        mr_in_fail(&in->in);
        return 0;
    }
    return length;
}

static void length_write(struct wire_out *out, bool compact, int bits, int64_t length)
{
    if (compact)
        mr_buf_uvarint(out->buf, (uint64_t)(length + 1));
    else if (bits == 16)
        mr_buf_be16(out->buf, (uint16_t)length);
    else
        mr_buf_be32(out->buf, (uint32_t)length);
    if (length > (compact || bits == 32 ? INT32_MAX : INT16_MAX))
        out->buf->err = MR_LIMIT;
}

static mr_str view_read(struct wire_in *in, bool compact, int bits, bool nullable)
{
    int64_t length = length_read(in, compact, bits);
    if (length < 0) {
        if (!nullable)
            mr_in_fail(&in->in);
        return MR_STR_NULL;
    }
    mr_str view = mr_in_take(&in->in, (size_t)length);
    if (in->in.err == MR_OK && view.data == NULL)
        view.data = ""; /* empty is not null */
    return view;
}

static void view_write(struct wire_out *out, bool compact, int bits, bool nullable, mr_str view)
{
    if (view.data == NULL && nullable) {
        length_write(out, compact, bits, -1);
        return;
    }
    length_write(out, compact, bits, (int64_t)view.length);
    mr_buf_str(out->buf, view);
}

static mr_str view_invent(struct mr_random *random, struct mr_arena *arena, bool nullable,
                          bool text)
{
    if (nullable && mr_random_below(random, 4) == 0)
        return MR_STR_NULL;
    size_t length = (size_t)mr_random_below(random, mr_random_below(random, 16) == 0 ? 300 : 12);
    char *data = mr_arena_alloc(arena, length + 1);
    for (size_t i = 0; i < length; i++)
        data[i] = text ? (char)('a' + mr_random_below(random, 26)) : (char)mr_random_u64(random);
    return mr_str_of(data, length);
}

static void hex_print(struct mr_buf *out, mr_str bytes)
{
    static const char digits[] = "0123456789abcdef";
    mr_buf_u8(out, '"');
    for (size_t i = 0; i < bytes.length; i++) {
        mr_buf_u8(out, (uint8_t)digits[(uint8_t)bytes.data[i] >> 4]);
        mr_buf_u8(out, (uint8_t)digits[(uint8_t)bytes.data[i] & 15]);
    }
    mr_buf_u8(out, '"');
}

static void view_print(struct mr_buf *out, mr_str view, bool nullable, bool text)
{
    if (view.data == NULL && nullable)
        mr_buf_cstr(out, "null");
    else if (text)
        mr_buf_json(out, view);
    else
        hex_print(out, view);
}

static bool view_equal(mr_str a, mr_str b, bool nullable)
{
    return mr_str_equal(a, b) && (!nullable || (a.data == NULL) == (b.data == NULL));
}

/* A view type: name, bits of its classic length, smallest sizes, whether flexible versions shorten
 * the length, whether it may be null, whether it is text. */
#define WIRE_VIEW(word, bits, least, least_flexible, shortens, nullable, text)                     \
    static void word##_read(struct wire_in *in, const struct wire_field *field, void *into)        \
    {                                                                                              \
        (void)field;                                                                               \
        *(mr_str *)into = view_read(in, in->flexible && shortens, bits, nullable);                 \
    }                                                                                              \
    static void word##_write(struct wire_out *out, const struct wire_field *field,                 \
                             const void *from)                                                     \
    {                                                                                              \
        (void)field;                                                                               \
        view_write(out, out->flexible &&shortens, bits, nullable, *(const mr_str *)from);          \
    }                                                                                              \
    static void word##_print(struct mr_buf *out, const struct wire_field *field, const void *from, \
                             int16_t version)                                                      \
    {                                                                                              \
        (void)field;                                                                               \
        (void)version;                                                                             \
        view_print(out, *(const mr_str *)from, nullable, text);                                    \
    }                                                                                              \
    static bool word##_equal(const struct wire_field *field, const void *a, const void *b)         \
    {                                                                                              \
        (void)field;                                                                               \
        return view_equal(*(const mr_str *)a, *(const mr_str *)b, nullable);                       \
    }                                                                                              \
    static void word##_invent(struct mr_random *random, struct mr_arena *arena,                    \
                              const struct wire_field *field, int16_t version, void *into)         \
    {                                                                                              \
        (void)field;                                                                               \
        (void)version;                                                                             \
        *(mr_str *)into = view_invent(random, arena, nullable, text);                              \
    }                                                                                              \
    static void word##_reset(const struct wire_field *field, void *into)                           \
    {                                                                                              \
        (void)field;                                                                               \
        *(mr_str *)into = MR_STR_NULL;                                                             \
    }                                                                                              \
    static bool word##_is_default(const struct wire_field *field, const void *from)                \
    {                                                                                              \
        (void)field;                                                                               \
        const mr_str *view = from;                                                                 \
        return nullable ? view->data == NULL : view->length == 0;                                  \
    }                                                                                              \
    const struct wire_type wire_type_##word = {                                                    \
        #word,          sizeof(mr_str),    least,                                                  \
        least_flexible, word##_read,       word##_write,                                           \
        word##_print,   word##_equal,      word##_invent,                                          \
        word##_reset,   word##_is_default,                                                         \
    };

WIRE_VIEW(string, 16, 2, 1, true, false, true)
WIRE_VIEW(nstring, 16, 2, 1, true, true, true)
WIRE_VIEW(nstring16, 16, 2, 2, false, true, true)
WIRE_VIEW(bytes, 32, 4, 1, true, false, false)
WIRE_VIEW(nbytes, 32, 4, 1, true, true, false)
#undef WIRE_VIEW

/* ---- payload ---- */

static size_t payload_bytes(const wire_records *payload)
{
    size_t bytes = payload->ref_count > 0 ? 0 : payload->bytes.length;
    for (uint32_t i = 0; i < payload->ref_count; i++)
        bytes += payload->refs[i].length;
    return bytes;
}

static bool payload_is_null(const wire_records *payload)
{
    return payload->bytes.data == NULL && payload->ref_count == 0;
}

static void records_read(struct wire_in *in, const struct wire_field *field, void *into)
{
    (void)field;
    *(wire_records *)into = (wire_records){.bytes = view_read(in, in->flexible, 32, true)};
}

static void splice_add(struct wire_out *out, struct wire_ref ref)
{
    if (ref.length == 0)
        return;
    *mr_array_add(&out->splices) = (struct wire_splice){out->buf->length, ref};
    out->splice_bytes += ref.length;
}

static void records_write(struct wire_out *out, const struct wire_field *field, const void *from)
{
    (void)field;
    const wire_records *payload = from;
    if (payload_is_null(payload)) {
        length_write(out, out->flexible, 32, -1);
        return;
    }
    length_write(out, out->flexible, 32, (int64_t)payload_bytes(payload));
    for (uint32_t i = 0; i < payload->ref_count; i++)
        splice_add(out, payload->refs[i]);
    if (payload->ref_count > 0)
        return;
    if (payload->owner != NULL)
        splice_add(out, (struct wire_ref){payload->owner, (const uint8_t *)payload->bytes.data,
                                          payload->bytes.length});
    else
        mr_buf_str(out->buf, payload->bytes);
}

static void records_print(struct mr_buf *out, const struct wire_field *field, const void *from,
                          int16_t version)
{
    (void)field;
    (void)version;
    if (payload_is_null(from))
        mr_buf_cstr(out, "null");
    else
        mr_buf_printf(out, "\"%zu bytes\"", payload_bytes(from));
}

/* Byte `at` of the payload, wherever it lies. Only tests compare payload: clear before fast. */
static uint8_t payload_byte(const wire_records *payload, size_t at)
{
    if (payload->ref_count == 0)
        return (uint8_t)payload->bytes.data[at];
    uint32_t i = 0;
    while (at >= payload->refs[i].length)
        at -= payload->refs[i++].length;
    return payload->refs[i].data[at];
}

static bool records_equal(const struct wire_field *field, const void *a, const void *b)
{
    (void)field;
    size_t bytes = payload_bytes(a);
    if (payload_is_null(a) != payload_is_null(b) || bytes != payload_bytes(b))
        return false;
    for (size_t i = 0; i < bytes; i++) {
        if (payload_byte(a, i) != payload_byte(b, i))
            return false;
    }
    return true;
}

static void records_invent(struct mr_random *random, struct mr_arena *arena,
                           const struct wire_field *field, int16_t version, void *into)
{
    (void)field;
    (void)version;
    *(wire_records *)into = (wire_records){.bytes = view_invent(random, arena, true, false)};
}

static void records_reset(const struct wire_field *field, void *into)
{
    (void)field;
    *(wire_records *)into = (wire_records){.bytes = MR_STR_NULL};
}

static bool records_is_default(const struct wire_field *field, const void *from)
{
    (void)field;
    return payload_is_null(from);
}

const struct wire_type wire_type_records = {
    "records",
    sizeof(wire_records),
    4,
    1,
    records_read,
    records_write,
    records_print,
    records_equal,
    records_invent,
    records_reset,
    records_is_default,
};
