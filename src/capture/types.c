/* capture/types.c: the table of types at work: texts as PostgreSQL prints them (ISO dates, UTC, hex
 * bytea) become Avro's binary encoding, without any value in between. */
#include "capture/types.h"

typedef mr_err capture_read(struct mr_buf *out, const struct capture_column *column, mr_str text);

struct capture_type {
    uint32_t oid;
    const char *word;
    const char *avro; /* NULL: numeric */
    const struct data_type *spark;
    const char *cql;
    capture_read *read;
    enum capture_order order;
};

static const int64_t DAY_US = INT64_C(86400000000);

/* ---- readers: one value each ---- */
static mr_err read_text(struct mr_buf *out, const struct capture_column *column, mr_str text)
{
    (void)column;
    mr_buf_varint(out, (int64_t)text.length);
    mr_buf_str(out, text);
    return MR_OK;
}

static mr_err read_boolean(struct mr_buf *out, const struct capture_column *column, mr_str text)
{
    (void)column;
    if (text.length != 1 || (text.data[0] != 't' && text.data[0] != 'f'))
        return MR_INVALID;
    mr_buf_u8(out, text.data[0] == 't');
    return MR_OK;
}

static mr_err read_integer(struct mr_buf *out, const struct capture_column *column, mr_str text)
{
    int64_t value = 0;
    mr_err err = mr_str_to_i64(text, &value);
    (void)column;
    if (err == MR_OK)
        mr_buf_varint(out, value);
    return err;
}

static mr_err to_double(mr_str text, double *value)
{
    if (mr_str_equal(text, MR_STR("NaN")))
        *value = __builtin_nan("");
    else if (mr_str_equal(text, MR_STR("Infinity")))
        *value = __builtin_inf();
    else if (mr_str_equal(text, MR_STR("-Infinity")))
        *value = -__builtin_inf();
    else
        return mr_str_to_f64(text, value);
    return MR_OK;
}

static mr_err read_twice(struct mr_buf *out, const struct capture_column *column, mr_str text)
{
    double value = 0;
    uint64_t bits;
    mr_err err = to_double(text, &value);
    (void)column;
    memcpy(&bits, &value, sizeof bits);
    if (err == MR_OK)
        mr_buf_le64(out, bits);
    return err;
}

static mr_err read_single(struct mr_buf *out, const struct capture_column *column, mr_str text)
{
    double value = 0;
    mr_err err = to_double(text, &value);
    float narrow = (float)value;
    uint32_t bits;
    (void)column;
    memcpy(&bits, &narrow, sizeof bits);
    if (err == MR_OK)
        mr_buf_le32(out, bits);
    return err;
}

/* A decimal is its unscaled value in two's complement, big endian, as short as it goes. */
static mr_err read_numeric(struct mr_buf *out, const struct capture_column *column, mr_str text)
{
    data_decimal value = 0;
    int scale = 0;
    uint8_t bytes[16];
    size_t from = 0;
    if (column->precision == 0)
        return read_text(out, column, text);
    if (data_decimal_parse(text, &value, &scale) != MR_OK || scale > column->scale)
        return MR_INVALID;
    for (; scale < column->scale; scale++)
        if (__builtin_mul_overflow(value, 10, &value))
            return MR_INVALID;
    for (int i = 0; i < 16; i++)
        bytes[i] = (uint8_t)((unsigned __int128)value >> (120 - 8 * i));
    while (from < 15 && ((bytes[from] == 0 && bytes[from + 1] < 0x80) ||
                         (bytes[from] == 0xff && bytes[from + 1] >= 0x80)))
        from++;
    return read_text(out, column, mr_str_of(bytes + from, 16 - from));
}

static mr_err read_bytea(struct mr_buf *out, const struct capture_column *column, mr_str text)
{
    (void)column;
    if (text.length < 2 || text.length % 2 != 0 || text.data[0] != '\\' || text.data[1] != 'x')
        return MR_INVALID;
    size_t count = text.length / 2 - 1;
    mr_buf_varint(out, (int64_t)count);
    uint8_t *at = mr_buf_grow(out, count);
    for (size_t i = 0; at != NULL && i < count; i++) {
        int high = mr_hex_digit(text.data[2 + 2 * i]), low = mr_hex_digit(text.data[3 + 2 * i]);
        if (high < 0 || low < 0)
            return MR_INVALID;
        at[i] = (uint8_t)(high << 4 | low);
    }
    return MR_OK;
}

/* ---- dates and times ---- */
/* Digits off the front, at least `least`; -1 when there are not so many. */
static int64_t digits(mr_str *text, size_t least, size_t most)
{
    int64_t value = 0;
    size_t count = 0;
    while (count < text->length && count < most && text->data[count] >= '0' &&
           text->data[count] <= '9')
        value = value * 10 + (text->data[count++] - '0');
    *text = mr_str_slice(*text, count, text->length);
    return count < least ? -1 : value;
}

static bool skip(mr_str *text, char byte)
{
    if (text->length == 0 || text->data[0] != byte)
        return false;
    *text = mr_str_slice(*text, 1, text->length);
    return true;
}

/* "2026-11-21" off the front; a " BC" at the very end belongs to the year. */
static bool take_date(mr_str *text, int64_t *days)
{
    bool before = mr_str_ends(*text, MR_STR(" BC"));
    if (before)
        *text = mr_str_slice(*text, 0, text->length - 3);
    int64_t year = digits(text, 4, 7);
    int64_t month = skip(text, '-') ? digits(text, 2, 2) : -1;
    int64_t day = skip(text, '-') ? digits(text, 2, 2) : -1;
    if (year < 0 || month < 1 || month > 12 || day < 1 || day > 31)
        return false;
    *days = mr_days_from_civil(before ? 1 - year : year, (int)month, (int)day);
    return true;
}

/* Infinity has no number in Avro: the first and the last day of the years 1 to 9999 stand for it. */
static bool is_infinite(mr_str text, int64_t *days)
{
    if (mr_str_equal(text, MR_STR("infinity")))
        *days = mr_days_from_civil(9999, 12, 31);
    else if (mr_str_equal(text, MR_STR("-infinity")))
        *days = mr_days_from_civil(1, 1, 1);
    else
        return false;
    return true;
}

static mr_err read_date(struct mr_buf *out, const struct capture_column *column, mr_str text)
{
    int64_t days = 0;
    (void)column;
    if (!is_infinite(text, &days) && (!take_date(&text, &days) || text.length != 0))
        return MR_INVALID;
    mr_buf_varint(out, days);
    return MR_OK;
}

/* "06:26:00.123456" off the front, in microseconds. */
static int64_t take_clock(mr_str *text)
{
    int64_t hour = digits(text, 2, 2);
    int64_t minute = skip(text, ':') ? digits(text, 2, 2) : -1;
    int64_t second = skip(text, ':') ? digits(text, 2, 2) : -1;
    int64_t us = 0;
    if (hour < 0 || minute < 0 || second < 0)
        return -1;
    if (skip(text, '.')) {
        size_t before = text->length;
        us = digits(text, 1, 6);
        for (size_t count = before - text->length; us >= 0 && count < 6; count++)
            us *= 10;
        if (us < 0)
            return -1;
    }
    return ((hour * 60 + minute) * 60 + second) * 1000000 + us;
}

/* "+05:30" off the front; our sessions are in UTC, so it is "+00" or nothing. */
static int64_t take_zone(mr_str *text)
{
    bool minus = skip(text, '-');
    if (!minus && !skip(text, '+'))
        return 0;
    int64_t hour = digits(text, 2, 2);
    int64_t minute = skip(text, ':') ? digits(text, 2, 2) : 0;
    int64_t second = skip(text, ':') ? digits(text, 2, 2) : 0;
    int64_t us = ((hour * 60 + minute) * 60 + second) * 1000000;
    return minus ? -us : us;
}

static mr_err read_timestamp(struct mr_buf *out, const struct capture_column *column, mr_str text)
{
    int64_t days = 0, us = 0;
    (void)column;
    if (is_infinite(text, &days)) {
        us = text.data[0] == '-' ? 0 : DAY_US - 1;
    } else {
        if (!take_date(&text, &days) || !skip(&text, ' '))
            return MR_INVALID;
        us = take_clock(&text);
        if (us < 0)
            return MR_INVALID;
        us -= take_zone(&text);
        if (text.length != 0)
            return MR_INVALID;
    }
    mr_buf_varint(out, days * DAY_US + us);
    return MR_OK;
}

/* ---- the table ---- */
static const struct capture_type types[] = {
#define NUMERIC NULL
#define TYPE(oid, word, avro, spark, cql, read, order) \
    {oid, #word, avro, &data_type_##spark, cql, read_##read, CAPTURE_ORDER_##order},
#include "capture/types.def"
#undef NUMERIC
};

const struct capture_type *capture_types_find(uint32_t oid)
{
    size_t row = 0;
    while (row + 1 < mr_count_of(types) && types[row].oid != oid)
        row++;
    return &types[row];
}

const char *capture_types_word(const struct capture_type *type)
{
    return type->word;
}

const char *capture_types_cql(const struct capture_type *type)
{
    return type->cql;
}

/* numeric(p,s) has ((p << 16) | s) + 4 as its modifier (PostgreSQL's numeric.h). */
void capture_types_set(struct capture_column *column, uint32_t base_oid, int32_t modifier)
{
    column->type = capture_types_find(base_oid);
    column->precision = column->scale = 0;
    if (column->type->avro != NULL || modifier < 4)
        return;
    int32_t precision = (modifier - 4) >> 16 & 0xffff, scale = (modifier - 4) & 0x7ff;
    if (precision >= 1 && precision <= 38 && scale <= precision) {
        column->precision = (uint8_t)precision;
        column->scale = (uint8_t)scale;
        column->nullable = true; /* NaN is a numeric, and no decimal: it becomes null */
    }
}

enum capture_order capture_types_order(const struct capture_column *column)
{
    if (column->type->order != CAPTURE_ORDER_COLLATED)
        return column->type->order;
    return column->bytes_order ? CAPTURE_ORDER_BYTES : CAPTURE_ORDER_NONE;
}

void capture_types_avro(struct mr_buf *out, const struct capture_column *column)
{
    if (column->nullable)
        mr_buf_cstr(out, "[\"null\",");
    if (column->type->avro != NULL)
        mr_buf_cstr(out, column->type->avro);
    else if (column->precision == 0)
        mr_buf_cstr(out, "\"string\"");
    else
        mr_buf_printf(out,
                      "{\"type\":\"bytes\",\"logicalType\":\"decimal\",\"precision\":%u,"
                      "\"scale\":%u}",
                      column->precision, column->scale);
    if (column->nullable)
        mr_buf_cstr(out, "]");
}

const struct data_type *capture_types_spark(struct mr_arena *arena,
                                            const struct capture_column *column)
{
    if (column->type->avro == NULL && column->precision > 0)
        return data_type_decimal(arena, column->precision, column->scale);
    return column->type->spark;
}

void capture_types_write(struct mr_buf *out, const struct capture_column *column, mr_str text)
{
    if (column->precision > 0 && mr_str_equal(text, MR_STR("NaN")))
        text = MR_STR_NULL;
    if (text.data == NULL && column->nullable) {
        mr_buf_varint(out, 0);
        return;
    }
    if (column->nullable)
        mr_buf_varint(out, 1);
    if (text.data != NULL && column->type->read(out, column, text) == MR_OK)
        return;
    if (out->err == MR_OK)
        out->err = mr_fail(
            MR_CORRUPT, "column %.*s: expected %s, found %.*s", MR_STR_ARG(column->name),
            column->type->word,
            MR_STR_ARG(text.data == NULL ? MR_STR("NULL") : mr_str_slice(text, 0, 80)));
}
