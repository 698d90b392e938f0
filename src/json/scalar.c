/* json/scalar.c: one JSON scalar into a column of any kind, by the rules of Spark's from_json: whole
 * types take integers only, text is never a number, a STRING takes everything. */
#include "json/reader.h"

#include <math.h>
#include <stdlib.h>

static bool put_long(const struct json_node *node, uint32_t row, int64_t value, int64_t low,
                     int64_t high)
{
    struct data_column *column = node->column;

    if (value < low || value > high)
        return false;
    switch (data_kind_bytes(node->kind)) {
    case 1:
        column->bytes[row] = (int8_t)value;
        break;
    case 2:
        column->shorts[row] = (int16_t)value;
        break;
    case 4:
        column->ints[row] = (int32_t)value;
        break;
    default:
        column->longs[row] = value;
        break;
    }
    column->valid[row] = 1;
    return true;
}

static bool put_text(const struct json_node *node, uint32_t row, mr_str text)
{
    node->column->strs[row] = text;
    node->column->valid[row] = 1;
    return true;
}

static bool put_double(const struct json_node *node, uint32_t row, double value)
{
    node->column->doubles[row] = value;
    node->column->valid[row] = 1;
    return true;
}

static bool put_float(const struct json_node *node, uint32_t row, float value)
{
    node->column->floats[row] = value;
    node->column->valid[row] = 1;
    return true;
}

/* ---- numbers ---- */
static double to_double(struct json_reader *reader, mr_str raw)
{
    double value;

    if (mr_str_to_f64(raw, &value) == MR_OK)
        return value;
    return strtod(mr_arena_cstr(reader->arena, raw), NULL); /* beyond the range: infinite or 0 */
}

static bool put_decimal(const struct json_node *node, uint32_t row, mr_str text)
{
    data_decimal value;
    int scale;

    if (data_decimal_parse(text, &value, &scale) != MR_OK ||
        !data_decimal_rescale(value, scale, node->type->scale, node->type->precision, &value))
        return false;
    node->column->decimals[row] = value;
    node->column->valid[row] = 1;
    return true;
}

/* Seconds since 1970. The multiplication wraps, as Java's does. */
static bool put_seconds(const struct json_node *node, uint32_t row, int64_t seconds)
{
    int64_t us = (int64_t)((uint64_t)seconds * 1000000u);

    return put_long(node, row, us, INT64_MIN, INT64_MAX);
}

bool json_scalar_integer(struct json_reader *reader, const struct json_node *node, uint32_t row,
                         mr_str raw)
{
    int64_t value = 0;

    switch (node->kind) {
    case DATA_STRING:
        return put_text(node, row,
                        raw.length == 2 && raw.data[0] == '-' && raw.data[1] == '0' ? MR_STR("0")
                                                                                    : raw);
    case DATA_BYTE: /* up to 255, wrapped: Jackson's getByteValue */
        return mr_str_to_i64(raw, &value) == MR_OK && put_long(node, row, value, -128, 255);
    case DATA_SHORT:
        return mr_str_to_i64(raw, &value) == MR_OK &&
               put_long(node, row, value, INT16_MIN, INT16_MAX);
    case DATA_INT:
        return mr_str_to_i64(raw, &value) == MR_OK &&
               put_long(node, row, value, INT32_MIN, INT32_MAX);
    case DATA_LONG:
        return mr_str_to_i64(raw, &value) == MR_OK &&
               put_long(node, row, value, INT64_MIN, INT64_MAX);
    case DATA_TIMESTAMP:
        return mr_str_to_i64(raw, &value) == MR_OK && put_seconds(node, row, value);
    case DATA_DOUBLE:
        if (raw.length == 2 && raw.data[0] == '-' && raw.data[1] == '0')
            return put_double(node, row, 0);
        return put_double(node, row, to_double(reader, raw));
    case DATA_FLOAT:
        if (raw.length == 2 && raw.data[0] == '-' && raw.data[1] == '0')
            return put_float(node, row, 0);
        return put_float(node, row, strtof(mr_arena_cstr(reader->arena, raw), NULL));
    case DATA_DECIMAL:
        return put_decimal(node, row, raw);
    case DATA_NULL:
    case DATA_BOOLEAN:
    case DATA_BINARY:
    case DATA_DATE:
    case DATA_TIMESTAMP_NTZ:
    case DATA_INTERVAL:
    case DATA_ARRAY:
    case DATA_MAP:
    case DATA_STRUCT:
        break;
    }
    return false;
}

/* A fraction as text is what Java prints for its double; one without digits is quoted, too. */
static mr_str fraction_text(struct json_reader *reader, double value)
{
    char text[DATA_TEXT_BYTES];
    size_t length = data_double_format(value, text);

    if (!isfinite(value))
        return mr_arena_printf(reader->arena, "\"%.*s\"", (int)length, text);
    return mr_arena_str(reader->arena, mr_str_of(text, length));
}

bool json_scalar_fraction(struct json_reader *reader, const struct json_node *node, uint32_t row,
                          mr_str raw, double special)
{
    bool finite = raw.data != NULL;

    if (node->kind == DATA_STRING)
        return put_text(node, row,
                        fraction_text(reader, finite ? to_double(reader, raw) : special));
    if (node->kind == DATA_DOUBLE)
        return put_double(node, row, finite ? to_double(reader, raw) : special);
    if (node->kind == DATA_FLOAT)
        return put_float(node, row,
                         finite ? strtof(mr_arena_cstr(reader->arena, raw), NULL) : (float)special);
    return node->kind == DATA_DECIMAL && finite && put_decimal(node, row, raw);
}

bool json_scalar_boolean(const struct json_node *node, uint32_t row, bool value)
{
    if (node->kind == DATA_STRING)
        return put_text(node, row, value ? MR_STR("true") : MR_STR("false"));
    if (node->kind != DATA_BOOLEAN)
        return false;
    node->column->bools[row] = value;
    node->column->valid[row] = 1;
    return true;
}

/* ---- strings ---- */
static bool named_number(mr_str text, double *out)
{
    if (mr_str_equal(text, MR_STR("NaN")))
        *out = (double)NAN;
    else if (mr_str_equal(text, MR_STR("Infinity")) || mr_str_equal(text, MR_STR("+Infinity")) ||
             mr_str_equal(text, MR_STR("+INF")))
        *out = INFINITY;
    else if (mr_str_equal(text, MR_STR("-Infinity")) || mr_str_equal(text, MR_STR("-INF")))
        *out = -INFINITY;
    else
        return false;
    return true;
}

/* RFC 4648 base64 with padding; white space between groups is skipped. */
static bool decode_base64(struct mr_arena *arena, mr_str text, mr_str *out)
{
    uint8_t *bytes = mr_arena_alloc(arena, text.length / 4 * 3 + 3);
    size_t length = 0;
    uint32_t group = 0;
    int digits = 0, pads = 0;

    for (size_t i = 0; i < text.length; i++) {
        char c = text.data[i];
        int value = c >= 'A' && c <= 'Z'   ? c - 'A'
                    : c >= 'a' && c <= 'z' ? c - 'a' + 26
                    : c >= '0' && c <= '9' ? c - '0' + 52
                    : c == '+'             ? 62
                    : c == '/'             ? 63
                                           : -1;
        if ((unsigned char)c <= ' ' && digits == 0 && pads == 0)
            continue;
        if (c == '=' && digits + pads >= 2) {
            pads++;
            value = 0;
        } else if (value < 0 || pads > 0) {
            return false;
        } else {
            digits++;
        }
        group = group << 6 | (uint32_t)value;
        if (digits + pads == 4) {
            for (int b = 0; b < 3 - pads; b++)
                bytes[length++] = (uint8_t)(group >> (16 - 8 * b));
            digits = 0;
            group = 0;
            pads = pads > 0 ? -1 : 0; /* nothing may follow */
            if (pads < 0 && mr_str_trim(mr_str_slice(text, i + 1, text.length)).length > 0)
                return false;
            if (pads < 0)
                break;
        }
    }
    *out = mr_str_of(bytes, length);
    return digits == 0 && pads <= 0;
}

static bool take_digits(mr_str *text, size_t digits_max, int64_t *out)
{
    size_t count = 0;

    *out = 0;
    while (count < text->length && count < digits_max && text->data[count] >= '0' &&
           text->data[count] <= '9')
        *out = *out * 10 + (text->data[count++] - '0');
    *text = mr_str_slice(*text, count, text->length);
    return count > 0;
}

static bool take_char(mr_str *text, char c)
{
    if (text->length == 0 || text->data[0] != c)
        return false;
    *text = mr_str_slice(*text, 1, text->length);
    return true;
}

/* "[INTERVAL ']D HH:MM:SS[.ffffff][' DAY TO SECOND]", signed. */
static bool parse_interval(mr_str text, int64_t *us)
{
    int64_t days, hours, minutes, seconds, fraction = 0, sign = 1;

    text = mr_str_trim(text);
    if (mr_str_starts(text, MR_STR("INTERVAL '"))) {
        if (!mr_str_ends(text, MR_STR("' DAY TO SECOND")))
            return false;
        text = mr_str_slice(text, 10, text.length - 15);
    }
    if (take_char(&text, '-'))
        sign = -1;
    else
        (void)take_char(&text, '+');
    if (!take_digits(&text, 9, &days) || !take_char(&text, ' ') || !take_digits(&text, 2, &hours) ||
        !take_char(&text, ':') || !take_digits(&text, 2, &minutes) || !take_char(&text, ':') ||
        !take_digits(&text, 2, &seconds) || hours > 23 || minutes > 59 || seconds > 59 ||
        days > 106751991)
        return false;
    if (take_char(&text, '.')) {
        size_t before = text.length;
        if (!take_digits(&text, 9, &fraction))
            return false;
        for (size_t digits = before - text.length; digits < 9; digits++)
            fraction *= 10;
    }
    /* The largest day's hours may pass what 64 bits hold. */
    int64_t whole = ((days * 24 + hours) * 60 + minutes) * 60 + seconds;
    if (text.length > 0 || whole > 9223372036853)
        return false;
    *us = sign * (whole * 1000000 + fraction / 1000);
    return true;
}

/* A day count as text, as the earliest Sparks kept dates. */
static bool day_count(mr_str text, int32_t *days)
{
    int64_t value;

    if (text.length > 1 && text.data[0] == '+')
        text = mr_str_slice(text, 1, text.length);
    if (mr_str_to_i64(text, &value) != MR_OK || value < INT32_MIN || value > INT32_MAX)
        return false;
    *days = (int32_t)value;
    return true;
}

/* The text without each "GMT", which old times carried. */
static mr_str without_gmt(struct mr_arena *arena, mr_str text)
{
    char *out = mr_arena_alloc(arena, text.length + 1);
    size_t length = 0;

    for (size_t i = 0; i < text.length;) {
        if (mr_str_starts(mr_str_slice(text, i, text.length), MR_STR("GMT")))
            i += 3;
        else
            out[length++] = text.data[i++];
    }
    return mr_str_of(out, length);
}

static bool put_date(struct json_reader *reader, const struct json_node *node, uint32_t row,
                     mr_str text)
{
    int32_t days = 0;

    if (!data_date_parse(text, &days) && !day_count(text, &days) &&
        (mr_str_find(text, MR_STR("GMT")) < 0 ||
         !data_date_parse(without_gmt(reader->arena, text), &days)))
        return false;
    return put_long(node, row, days, INT32_MIN, INT32_MAX);
}

static bool put_timestamp(struct json_reader *reader, const struct json_node *node, uint32_t row,
                          mr_str text)
{
    int64_t us = 0;
    bool zoned = false;

    if (node->kind == DATA_TIMESTAMP_NTZ) {
        if (!data_timestamp_parse(text, &us, &zoned) || zoned)
            return false;
    } else if (!data_timestamp_parse(text, &us, &zoned) &&
               (mr_str_find(text, MR_STR("GMT")) < 0 ||
                !data_timestamp_parse(without_gmt(reader->arena, text), &us, &zoned))) {
        return false;
    }
    return put_long(node, row, us, INT64_MIN, INT64_MAX);
}

static bool put_decimal_text(struct json_reader *reader, const struct json_node *node, uint32_t row,
                             mr_str text)
{
    char *out = mr_arena_alloc(reader->arena, text.length + 1);
    size_t length = 0;

    for (size_t i = 0; i < text.length; i++) {
        if ((unsigned char)text.data[i] <= ' ')
            return false;
        if (text.data[i] != ',')
            out[length++] = text.data[i];
    }
    return put_decimal(node, row, mr_str_of(out, length));
}

bool json_scalar_string(struct json_reader *reader, const struct json_node *node, uint32_t row,
                        mr_str text)
{
    double number;
    int64_t us;
    mr_str bytes;

    switch (node->kind) {
    case DATA_STRING:
        return put_text(node, row, text);
    case DATA_BINARY:
        return decode_base64(reader->arena, text, &bytes) && put_text(node, row, bytes);
    case DATA_DOUBLE:
        return named_number(text, &number) && put_double(node, row, number);
    case DATA_FLOAT:
        return named_number(text, &number) && put_float(node, row, (float)number);
    case DATA_DECIMAL:
        return put_decimal_text(reader, node, row, text);
    case DATA_DATE:
        return put_date(reader, node, row, text);
    case DATA_TIMESTAMP:
    case DATA_TIMESTAMP_NTZ:
        return put_timestamp(reader, node, row, text);
    case DATA_INTERVAL:
        return parse_interval(text, &us) && put_long(node, row, us, INT64_MIN, INT64_MAX);
    case DATA_NULL:
    case DATA_BOOLEAN:
    case DATA_BYTE:
    case DATA_SHORT:
    case DATA_INT:
    case DATA_LONG:
    case DATA_ARRAY:
    case DATA_MAP:
    case DATA_STRUCT:
        break;
    }
    return false;
}
