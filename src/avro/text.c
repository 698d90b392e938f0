/* avro/text.c: one binary record as JSON for people: unions without their branch's name, times as
 * ISO 8601, decimals as numbers, bytes in base64. */
#include "avro/schema.h"

#include <math.h>

struct reader {
    struct mr_in in;
    struct mr_buf *out;
    uint32_t depth, items;
    const char *wrong;
};

static bool print(struct reader *r, const struct avro_node *node);

static bool wrong(struct reader *r, const char *what)
{
    if (r->wrong == NULL)
        r->wrong = what;
    return false;
}

static bool take_text(struct reader *r, mr_str *out)
{
    int64_t length = mr_in_varint(&r->in);

    if (length < 0 || (uint64_t)length > mr_in_left(&r->in))
        return wrong(r, "a length that fits the record");
    *out = mr_in_take(&r->in, (size_t)length);
    return true;
}

static void print_base64(struct mr_buf *out, mr_str bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    mr_buf_u8(out, '"');
    for (size_t i = 0; i < bytes.length; i += 3) {
        uint32_t group = 0;
        for (size_t j = 0; j < 3; j++)
            group = group << 8 | (i + j < bytes.length ? (uint8_t)bytes.data[i + j] : 0u);
        for (size_t j = 0; j < 4; j++)
            mr_buf_u8(out,
                      (uint8_t)(i + j <= bytes.length ? digits[group >> (18 - 6 * j) & 63] : '='));
    }
    mr_buf_u8(out, '"');
}

static bool print_bytes(struct reader *r, const struct avro_node *node, mr_str bytes)
{
    if (node->logical != AVRO_DECIMAL || bytes.length > 16) {
        print_base64(r->out, bytes);
        return true;
    }
    data_decimal value = bytes.length > 0 && (bytes.data[0] & 0x80) ? -1 : 0;
    for (size_t i = 0; i < bytes.length; i++)
        value = (data_decimal)((unsigned __int128)value << 8 | (uint8_t)bytes.data[i]);
    if (node->scale > DATA_DECIMAL_DIGITS)
        print_base64(r->out, bytes);
    else
        data_decimal_print(r->out, value, node->scale);
    return true;
}

/* Milliseconds or microseconds of a day. */
static void print_clock(struct mr_buf *out, int64_t value, int64_t second, int digits)
{
    int64_t seconds = value / second;

    mr_buf_printf(out, "\"%02lld:%02lld:%02lld.%0*lld\"", (long long)(seconds / 3600),
                  (long long)(seconds / 60 % 60), (long long)(seconds % 60), digits,
                  (long long)(value % second));
}

static void print_time(struct mr_buf *out, int64_t us, int digits, bool zone)
{
    int64_t days = us / 86400000000 - (us % 86400000000 < 0), left = us - days * 86400000000, year;
    int month, day;

    mr_civil_from_days(days, &year, &month, &day);
    mr_buf_printf(out, "\"%04lld-%02d-%02dT%02d:%02d:%02d.%0*lld%s\"", (long long)year, month, day,
                  (int)(left / 3600000000), (int)(left / 60000000 % 60), (int)(left / 1000000 % 60),
                  digits, (long long)(left % 1000000 / (digits == 3 ? 1000 : 1)), zone ? "Z" : "");
}

static bool print_whole(struct reader *r, const struct avro_node *node)
{
    int64_t value = mr_in_varint(&r->in), us;
    char text[DATA_TEXT_BYTES];
    bool overflow = __builtin_mul_overflow(value, (int64_t)1000, &us);

    switch (node->logical) {
    case AVRO_DATE:
        if (value < INT32_MIN || value > INT32_MAX)
            return wrong(r, "a date");
        mr_buf_printf(r->out, "\"%.*s\"", (int)data_date_format((int32_t)value, text), text);
        return true;
    case AVRO_TIME_MILLIS:
    case AVRO_TIME_MICROS:
        if (value >= 0 && value < INT64_C(86400000000)) {
            bool millis = node->logical == AVRO_TIME_MILLIS;
            print_clock(r->out, value, millis ? 1000 : 1000000, millis ? 3 : 6);
            return true;
        }
        break;
    case AVRO_TIMESTAMP_MILLIS:
    case AVRO_LOCAL_TIMESTAMP_MILLIS:
        if (!overflow) {
            print_time(r->out, us, 3, node->logical == AVRO_TIMESTAMP_MILLIS);
            return true;
        }
        break;
    case AVRO_TIMESTAMP_MICROS:
    case AVRO_LOCAL_TIMESTAMP_MICROS:
        print_time(r->out, value, 6, node->logical == AVRO_TIMESTAMP_MICROS);
        return true;
    case AVRO_PLAIN:
    case AVRO_DECIMAL:
    case AVRO_UUID:
    case AVRO_DURATION:
        break;
    }
    mr_buf_printf(r->out, "%lld", (long long)value);
    return true;
}

static bool print_real(struct reader *r, const struct avro_node *node)
{
    char text[DATA_TEXT_BYTES];
    bool finite;
    size_t length;

    if (node->kind == AVRO_FLOAT) {
        uint32_t bits = mr_in_le32(&r->in);
        float value;
        memcpy(&value, &bits, sizeof value);
        finite = isfinite(value);
        length = data_float_format(value, text);
    } else {
        uint64_t bits = mr_in_le64(&r->in);
        double value;
        memcpy(&value, &bits, sizeof value);
        finite = isfinite(value);
        length = data_double_format(value, text);
    }
    mr_buf_printf(r->out, finite ? "%.*s" : "\"%.*s\"", (int)length, text);
    return true;
}

static bool print_record(struct reader *r, const struct avro_node *node)
{
    mr_buf_u8(r->out, '{');
    for (uint32_t i = 0; i < node->field_count; i++) {
        mr_buf_cstr(r->out, i > 0 ? "," : "");
        mr_buf_json(r->out, node->fields[i].name);
        mr_buf_u8(r->out, ':');
        if (!print(r, node->fields[i].type))
            return false;
    }
    mr_buf_u8(r->out, '}');
    return true;
}

static bool print_items(struct reader *r, const struct avro_node *node)
{
    bool map = node->kind == AVRO_MAP, first = true;
    mr_str name;

    mr_buf_u8(r->out, map ? '{' : '[');
    for (;;) {
        int64_t count = mr_in_varint(&r->in);
        if (r->in.err != MR_OK || count == INT64_MIN)
            return wrong(r, "the number of a block's items");
        if (count == 0)
            break;
        if (count < 0) {
            (void)mr_in_varint(&r->in);
            count = -count;
        }
        for (int64_t i = 0; i < count; i++) {
            if (++r->items > MR_LIMIT_AVRO_ITEMS)
                return wrong(r, "fewer elements");
            mr_buf_cstr(r->out, first ? "" : ",");
            first = false;
            if (map && !take_text(r, &name))
                return false;
            if (map) {
                mr_buf_json(r->out, name);
                mr_buf_u8(r->out, ':');
            }
            if (!print(r, node->element))
                return false;
        }
    }
    mr_buf_u8(r->out, map ? '}' : ']');
    return true;
}

static bool print_choice(struct reader *r, const struct avro_node *node)
{
    int64_t index = mr_in_varint(&r->in);

    if (node->kind == AVRO_ENUM) {
        if (index < 0 || index >= node->symbol_count)
            return wrong(r, "the number of a symbol");
        mr_buf_json(r->out, node->symbols[index]);
        return true;
    }
    if (index < 0 || index >= node->branch_count)
        return wrong(r, "the number of a union's branch");
    return print(r, node->branches[index]);
}

static bool print_node(struct reader *r, const struct avro_node *node)
{
    mr_str text;

    switch (node->kind) {
    case AVRO_NULL:
        mr_buf_cstr(r->out, "null");
        return true;
    case AVRO_BOOLEAN:
        mr_buf_cstr(r->out, mr_in_u8(&r->in) != 0 ? "true" : "false");
        return true;
    case AVRO_INT:
    case AVRO_LONG:
        return print_whole(r, node);
    case AVRO_FLOAT:
    case AVRO_DOUBLE:
        return print_real(r, node);
    case AVRO_STRING:
        if (!take_text(r, &text))
            return false;
        mr_buf_json(r->out, text);
        return true;
    case AVRO_BYTES:
        return take_text(r, &text) && print_bytes(r, node, text);
    case AVRO_FIXED:
        if (node->size > mr_in_left(&r->in))
            return wrong(r, "more bytes");
        return print_bytes(r, node, mr_in_take(&r->in, node->size));
    case AVRO_RECORD:
        return print_record(r, node);
    case AVRO_ARRAY:
    case AVRO_MAP:
        return print_items(r, node);
    case AVRO_ENUM:
    case AVRO_UNION:
        return print_choice(r, node);
    }
    return false;
}

static bool print(struct reader *r, const struct avro_node *node)
{
    if (++r->depth > MR_LIMIT_AVRO_DEPTH)
        return wrong(r, "less nesting");
    bool good = print_node(r, node);
    r->depth--;
    return good && (r->in.err == MR_OK || wrong(r, "more bytes"));
}

mr_err avro_print_json(const struct avro_node *writer, mr_str bytes, struct mr_buf *out)
{
    struct reader reader = {.in = mr_in_str(bytes), .out = out};
    size_t length = out->length;

    if (print(&reader, writer)) {
        if (mr_in_left(&reader.in) == 0)
            return out->err;
        (void)wrong(&reader, "the record's end");
    }
    out->length = length;
    return mr_fail(MR_CORRUPT, "Avro record of %zu bytes: expected %s", bytes.length, reader.wrong);
}
