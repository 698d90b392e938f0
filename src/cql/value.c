/* cql/value.c: what the bytes of a value mean: checks, order, text, JSON, elements. */
#include "cql/cql.h"

#include <arpa/inet.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { DEPTH_MAX = 16 };

static uint64_t be_bytes(const uint8_t *data, int length)
{
    uint64_t value = 0;
    for (int i = 0; i < length; i++)
        value = value << 8 | data[i];
    return value;
}

/* Cassandra's own variable-length integer: leading ones of the first byte count the bytes behind. */
static int64_t read_vint(struct mr_in *in)
{
    uint8_t first = mr_in_u8(in);
    int extra = 0;
    while (extra < 8 && (first & (0x80 >> extra)))
        extra++;
    uint64_t value = extra >= 8 ? 0 : first & (0xffu >> extra);
    for (int i = 0; i < extra; i++)
        value = value << 8 | mr_in_u8(in);
    return (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
}

/* ---- elements ---- */
struct cql_elements cql_elements_of(const struct cql_type *type, struct cql_value value)
{
    struct cql_elements elements = {.in = mr_in_str(cql_value_str(value)), .left = 0};
    if (value.length < 0)
        return elements;
    if (type->id == CQL_TYPE_TUPLE || type->id == CQL_TYPE_UDT) {
        elements.left = type->arg_count;
        return elements;
    }
    int32_t count = (int32_t)mr_in_be32(&elements.in);
    uint32_t factor = type->id == CQL_TYPE_MAP ? 2 : 1;
    if (count < 0 || (uint32_t)count > mr_in_left(&elements.in) / 4)
        mr_in_fail(&elements.in);
    else
        elements.left = (uint32_t)count * factor;
    return elements;
}

bool cql_elements_next(struct cql_elements *elements, struct cql_value *out)
{
    if (elements->left == 0 || elements->in.err != MR_OK)
        return false;
    elements->left--;
    *out = cql_read_value(&elements->in);
    return elements->in.err == MR_OK;
}

/* ---- checks ---- */
static mr_err check_value(const struct cql_type *type, struct cql_value value, int depth);

static mr_err check_elements(const struct cql_type *type, struct cql_value value, int depth)
{
    struct cql_elements elements = cql_elements_of(type, value);
    struct cql_value element;
    bool tuple = type->id == CQL_TYPE_TUPLE || type->id == CQL_TYPE_UDT;
    for (uint32_t i = 0; cql_elements_next(&elements, &element); i++) {
        if (!tuple && element.length < 0)
            return mr_fail(MR_INVALID, "null is not supported inside collections");
        mr_err err = check_value(type->args[type->id == CQL_TYPE_MAP ? i % 2
                                            : tuple                  ? i
                                                                     : 0],
                                 element, depth + 1);
        if (err != MR_OK)
            return err;
        if (tuple && mr_in_left(&elements.in) == 0)
            return MR_OK; /* trailing fields left out are null */
    }
    if (elements.in.err != MR_OK)
        return mr_fail(MR_INVALID, "Not enough bytes to read a %s",
                       tuple                      ? "tuple"
                       : type->id == CQL_TYPE_MAP ? "map"
                                                  : "collection");
    if (mr_in_left(&elements.in) > 0)
        return mr_fail(MR_INVALID, "Unexpected extraneous bytes after %s value",
                       tuple                      ? "tuple"
                       : type->id == CQL_TYPE_MAP ? "map"
                                                  : "list or set");
    return MR_OK;
}

static mr_err check_length(struct cql_value value, int length, const char *format)
{
    if (value.length == length || value.length == 0)
        return MR_OK;
    return mr_fail(MR_INVALID, "Expected %s (%d)", format, (int)value.length);
}

static mr_err check_duration(struct cql_value value)
{
    struct mr_in in = mr_in_str(cql_value_str(value));
    int64_t months = read_vint(&in), days = read_vint(&in), nanos = read_vint(&in);
    if (in.err != MR_OK || mr_in_left(&in) > 0)
        return mr_fail(MR_INVALID, "Expected at least 3 bytes for a duration (%d)",
                       (int)value.length);
    bool negative = months < 0 || days < 0 || nanos < 0;
    if (negative && (months > 0 || days > 0 || nanos > 0))
        return mr_fail(MR_INVALID,
                       "The duration months, days and nanoseconds must be all of the same "
                       "sign (%lld, %lld, %lld)",
                       (long long)months, (long long)days, (long long)nanos);
    return MR_OK;
}

static mr_err check_value(const struct cql_type *type, struct cql_value value, int depth)
{
    if (value.length < 0)
        return MR_OK;
    if (depth > DEPTH_MAX)
        return mr_fail(MR_LIMIT, "a value is nested deeper than %d", DEPTH_MAX);
    switch (type->id) {
    case CQL_TYPE_INT:
        return check_length(value, 4, "4 or 0 byte int");
    case CQL_TYPE_BIGINT:
    case CQL_TYPE_COUNTER:
        return check_length(value, 8, "8 or 0 byte long");
    case CQL_TYPE_TIMESTAMP:
        return check_length(value, 8, "8 or 0 byte long for date");
    case CQL_TYPE_SMALLINT:
        return check_length(value, 2, "2 bytes for a smallint");
    case CQL_TYPE_TINYINT:
        return check_length(value, 1, "1 byte for a tinyint");
    case CQL_TYPE_BOOLEAN:
        return check_length(value, 1, "1 or 0 byte value");
    case CQL_TYPE_FLOAT:
        return check_length(value, 4, "4 or 0 byte value for a float");
    case CQL_TYPE_DOUBLE:
        return check_length(value, 8, "8 or 0 byte value for a double");
    case CQL_TYPE_DATE:
        return value.length == 4 ? MR_OK : check_length(value, -9, "4 byte long for date");
    case CQL_TYPE_TIME:
        if (value.length == 8 && be_bytes(value.data, 8) >= UINT64_C(86400000000000))
            return mr_fail(MR_INVALID, "Input long out of bounds for time");
        return value.length == 8 ? MR_OK : check_length(value, -9, "8 byte long for time");
    case CQL_TYPE_UUID:
    case CQL_TYPE_TIMEUUID:
        if (value.length != 16 && value.length != 0)
            return mr_fail(MR_INVALID, "UUID should be 16 or 0 bytes (%d)", (int)value.length);
        if (type->id == CQL_TYPE_TIMEUUID && value.length == 16 && value.data[6] >> 4 != 1)
            return mr_fail(MR_INVALID, "Invalid version for TimeUUID type.");
        return MR_OK;
    case CQL_TYPE_INET:
        if (value.length != 4 && value.length != 16 && value.length != 0)
            return mr_fail(MR_INVALID, "Expected 4 or 16 byte inetaddress; got %d",
                           (int)value.length);
        return MR_OK;
    case CQL_TYPE_DECIMAL:
        if (value.length != 0 && value.length < 5)
            return mr_fail(MR_INVALID, "Expected 0 or at least 4 bytes (%d)", (int)value.length);
        return MR_OK;
    case CQL_TYPE_TEXT:
        if (!mr_str_is_utf8(cql_value_str(value)))
            return mr_fail(MR_INVALID, "String didn't validate.");
        return MR_OK;
    case CQL_TYPE_ASCII:
        for (int32_t i = 0; i < value.length; i++)
            if (value.data[i] >= 0x80)
                return mr_fail(MR_INVALID, "Invalid byte for ascii: %u", value.data[i]);
        return MR_OK;
    case CQL_TYPE_DURATION:
        return check_duration(value);
    case CQL_TYPE_BLOB:
    case CQL_TYPE_VARINT:
    case CQL_TYPE_CUSTOM:
        return MR_OK;
    case CQL_TYPE_LIST:
    case CQL_TYPE_SET:
    case CQL_TYPE_MAP:
    case CQL_TYPE_TUPLE:
    case CQL_TYPE_UDT:
        return check_elements(type, value, depth);
    }
    return MR_OK;
}

mr_err cql_value_check(const struct cql_type *type, struct cql_value value)
{
    return check_value(type, value, 0);
}

/* ---- order ---- */
static int compare_u64(uint64_t a, uint64_t b)
{
    return a < b ? -1 : a > b;
}

static int compare_i64(int64_t a, int64_t b)
{
    return a < b ? -1 : a > b;
}

/* The time of a version 1 uuid with its high bits first. */
static uint64_t uuid_time(const uint8_t *uuid)
{
    uint64_t high = be_bytes(uuid, 8);
    return high << 48 | (high << 16 & UINT64_C(0xffff00000000)) | high >> 32;
}

static int compare_uuid(const uint8_t *a, const uint8_t *b, bool timed)
{
    const uint64_t flip = timed ? UINT64_C(0x8080808080808080) : 0; /* signed bytes */
    int order = timed ? 0 : (a[6] >> 4) - (b[6] >> 4);
    if (order == 0)
        order = a[6] >> 4 == 1 || timed ? compare_u64(uuid_time(a), uuid_time(b))
                                        : compare_u64(be_bytes(a, 8), be_bytes(b, 8));
    return order != 0 ? order : compare_u64(be_bytes(a + 8, 8) ^ flip, be_bytes(b + 8, 8) ^ flip);
}

/* Java's order: -0.0 below 0.0, NaN above all. */
static int compare_double(double a, double b)
{
    if (isnan(a) || isnan(b))
        return isnan(a) - isnan(b);
    if (a < b || a > b)
        return a < b ? -1 : 1;
    return (signbit(b) != 0) - (signbit(a) != 0);
}

static double value_double(enum cql_type_id id, struct cql_value value)
{
    double wide;
    float narrow;
    uint64_t bits = be_bytes(value.data, value.length);
    uint32_t low = (uint32_t)bits;
    if (id == CQL_TYPE_FLOAT) {
        memcpy(&narrow, &low, 4);
        return (double)narrow;
    }
    memcpy(&wide, &bits, 8);
    return wide;
}

static int compare_varint(const uint8_t *a, int a_length, const uint8_t *b, int b_length)
{
    bool a_minus = a_length > 0 && a[0] >= 0x80, b_minus = b_length > 0 && b[0] >= 0x80;
    if (a_minus != b_minus)
        return a_minus ? -1 : 1;
    uint8_t fill = a_minus ? 0xff : 0;
    int length = a_length > b_length ? a_length : b_length;
    for (int i = 0; i < length; i++) {
        int at_a = i - (length - a_length), at_b = i - (length - b_length);
        int x = at_a < 0 ? fill : a[at_a], y = at_b < 0 ? fill : b[at_b];
        if (x != y)
            return x - y;
    }
    return 0;
}

/* By digits, so that 1.0 equals 1.00 whatever the scales. */
static int compare_decimal(struct cql_value a, struct cql_value b)
{
    struct mr_buf left = {0}, right = {0};
    cql_varint_print(&left, mr_str_of(a.data + 4, (size_t)a.length - 4));
    cql_varint_print(&right, mr_str_of(b.data + 4, (size_t)b.length - 4));
    mr_str x = mr_buf_as_str(&left), y = mr_buf_as_str(&right);
    bool x_minus = x.data[0] == '-', y_minus = y.data[0] == '-';
    bool x_zero = mr_str_equal(x, MR_STR("0")), y_zero = mr_str_equal(y, MR_STR("0"));
    int x_sign = x_zero ? 0 : x_minus ? -1 : 1, y_sign = y_zero ? 0 : y_minus ? -1 : 1;
    int order = x_sign - y_sign;
    if (order == 0 && x_sign != 0) {
        x = mr_str_slice(x, x_minus, x.length);
        y = mr_str_slice(y, y_minus, y.length);
        int64_t x_top = (int64_t)x.length - (int32_t)be_bytes(a.data, 4);
        int64_t y_top = (int64_t)y.length - (int32_t)be_bytes(b.data, 4);
        order = compare_i64(x_top, y_top);
        for (size_t i = 0; order == 0 && (i < x.length || i < y.length); i++)
            order = (i < x.length ? x.data[i] : '0') - (i < y.length ? y.data[i] : '0');
        order *= x_sign;
    }
    mr_buf_fini(&left);
    mr_buf_fini(&right);
    return order;
}

static int compare_elements(const struct cql_type *type, struct cql_value a, struct cql_value b)
{
    struct cql_elements left = cql_elements_of(type, a), right = cql_elements_of(type, b);
    struct cql_value x, y;
    for (uint32_t i = 0;; i++) {
        bool more_left = cql_elements_next(&left, &x), more_right = cql_elements_next(&right, &y);
        if (!more_left || !more_right)
            return more_left - more_right;
        uint32_t arg = type->id == CQL_TYPE_MAP ? i % 2 : type->arg_count > 1 ? i : 0;
        int order = cql_value_compare(type->args[arg], x, y);
        if (order != 0)
            return order;
    }
}

int cql_value_compare(const struct cql_type *type, struct cql_value a, struct cql_value b)
{
    if (a.length < 0 || b.length < 0)
        return (a.length >= 0) - (b.length >= 0);
    int fixed = cql_type_bytes(type);
    bool short_of = fixed > 0 ? a.length != fixed || b.length != fixed
                              : type->id == CQL_TYPE_DECIMAL && (a.length < 5 || b.length < 5);
    if (short_of && type->id != CQL_TYPE_BLOB)
        return a.length - b.length; /* the empty value comes first */
    switch (type->id) {
    case CQL_TYPE_TINYINT:
        return (int8_t)a.data[0] - (int8_t)b.data[0];
    case CQL_TYPE_SMALLINT:
        return (int16_t)be_bytes(a.data, 2) - (int16_t)be_bytes(b.data, 2);
    case CQL_TYPE_INT:
        return compare_i64((int32_t)be_bytes(a.data, 4), (int32_t)be_bytes(b.data, 4));
    case CQL_TYPE_BIGINT:
    case CQL_TYPE_COUNTER:
    case CQL_TYPE_TIMESTAMP:
    case CQL_TYPE_TIME:
        return compare_i64((int64_t)be_bytes(a.data, 8), (int64_t)be_bytes(b.data, 8));
    case CQL_TYPE_FLOAT:
    case CQL_TYPE_DOUBLE:
        return compare_double(value_double(type->id, a), value_double(type->id, b));
    case CQL_TYPE_UUID:
    case CQL_TYPE_TIMEUUID:
        return compare_uuid(a.data, b.data, type->id == CQL_TYPE_TIMEUUID);
    case CQL_TYPE_VARINT:
        return compare_varint(a.data, a.length, b.data, b.length);
    case CQL_TYPE_DECIMAL:
        return compare_decimal(a, b);
    case CQL_TYPE_LIST:
    case CQL_TYPE_SET:
    case CQL_TYPE_MAP:
    case CQL_TYPE_TUPLE:
    case CQL_TYPE_UDT:
        return compare_elements(type, a, b);
    case CQL_TYPE_BOOLEAN:
        return (a.data[0] != 0) - (b.data[0] != 0);
    case CQL_TYPE_DATE:
    case CQL_TYPE_ASCII:
    case CQL_TYPE_TEXT:
    case CQL_TYPE_BLOB:
    case CQL_TYPE_INET:
    case CQL_TYPE_DURATION:
    case CQL_TYPE_CUSTOM:
        break;
    }
    return mr_str_compare(cql_value_str(a), cql_value_str(b));
}

/* ---- text ---- */
/* The shortest digits that read back as the same number, in Java's form: 1.0, 1.5E10. */
static void print_double(struct mr_buf *out, double value, bool narrow)
{
    char text[40];
    if (isnan(value) || isinf(value)) {
        mr_buf_cstr(out, isnan(value) ? "NaN" : value < 0 ? "-Infinity" : "Infinity");
        return;
    }
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*e", digits - 1, value);
        if (narrow ? strtof(text, NULL) == (float)value : strtod(text, NULL) == value)
            break;
    }
    char *e = strchr(text, 'e');
    int exponent = (int)strtol(e + 1, NULL, 10);
    *e = '\0';
    const char *at = text;
    if (*at == '-')
        mr_buf_u8(out, (uint8_t)*at++);
    char digits[32];
    size_t count = 0;
    for (; *at != '\0'; at++)
        if (*at != '.')
            digits[count++] = *at;
    if (value == 0 || (exponent >= -3 && exponent < 7)) {
        int whole = exponent + 1;
        if (whole <= 0)
            mr_buf_cstr(out, "0.");
        for (int i = whole; i < 0; i++)
            mr_buf_u8(out, '0');
        for (int i = 0; i < (int)count || i < whole + 1; i++) {
            if (i == whole && whole > 0)
                mr_buf_u8(out, '.');
            if (i < (int)count || i < whole || (i == whole && whole > 0))
                mr_buf_u8(out, (uint8_t)(i < (int)count ? digits[i] : '0'));
        }
    } else {
        mr_buf_u8(out, (uint8_t)digits[0]);
        mr_buf_u8(out, '.');
        mr_buf_str(out, count > 1 ? mr_str_of(digits + 1, count - 1) : MR_STR("0"));
        mr_buf_printf(out, "E%d", exponent);
    }
}

static void print_quoted(struct mr_buf *out, mr_str text, bool bare)
{
    if (bare) {
        mr_buf_str(out, text);
        return;
    }
    mr_buf_u8(out, '\'');
    for (size_t i = 0; i < text.length; i++) {
        if (text.data[i] == '\'')
            mr_buf_u8(out, '\'');
        mr_buf_u8(out, (uint8_t)text.data[i]);
    }
    mr_buf_u8(out, '\'');
}

static void print_date(struct mr_buf *out, int64_t days)
{
    int64_t year = 0;
    int month = 0, day = 0;
    mr_civil_from_days(days, &year, &month, &day);
    mr_buf_printf(out, "%04lld-%02d-%02d", (long long)year, month, day);
}

static void print_timestamp(struct mr_buf *out, int64_t ms, char between)
{
    int64_t days = ms / 86400000 - (ms % 86400000 < 0), rest = ms - days * 86400000;
    print_date(out, days);
    mr_buf_printf(out, "%c%02d:%02d:%02d.%03dZ", between, (int)(rest / 3600000),
                  (int)(rest / 60000 % 60), (int)(rest / 1000 % 60), (int)(rest % 1000));
}

static void print_time(struct mr_buf *out, int64_t nanos)
{
    int64_t seconds = nanos / 1000000000;
    mr_buf_printf(out, "%02d:%02d:%02d.%09d", (int)(seconds / 3600 % 24), (int)(seconds / 60 % 60),
                  (int)(seconds % 60), (int)(nanos % 1000000000));
}

static void print_duration(struct mr_buf *out, struct cql_value value)
{
    static const struct {
        const char *unit;
        int part;
        uint64_t size;
    } units[] = {
        {"y", 0, 12},          {"mo", 0, 1},         {"d", 1, 1},        {"h", 2, 3600000000000},
        {"m", 2, 60000000000}, {"s", 2, 1000000000}, {"ms", 2, 1000000}, {"us", 2, 1000},
        {"ns", 2, 1}};
    struct mr_in in = mr_in_str(cql_value_str(value));
    int64_t signs[3];
    uint64_t parts[3];
    size_t begin = out->length;
    for (int i = 0; i < 3; i++) {
        signs[i] = read_vint(&in);
        parts[i] = signs[i] < 0 ? 0 - (uint64_t)signs[i] : (uint64_t)signs[i];
    }
    if (signs[0] < 0 || signs[1] < 0 || signs[2] < 0)
        mr_buf_u8(out, '-');
    for (size_t i = 0; i < mr_count_of(units); i++) {
        uint64_t whole = parts[units[i].part] / units[i].size;
        parts[units[i].part] %= units[i].size;
        if (whole > 0)
            mr_buf_printf(out, "%llu%s", (unsigned long long)whole, units[i].unit);
    }
    if (out->length == begin)
        mr_buf_cstr(out, "0s");
}

static void print_inet(struct mr_buf *out, struct cql_value value)
{
    char text[INET6_ADDRSTRLEN] = "";
    inet_ntop(value.length == 4 ? AF_INET : AF_INET6, value.data, text, sizeof(text));
    mr_buf_cstr(out, text);
}

static void print_uuid(struct mr_buf *out, struct cql_value value)
{
    mr_uuid uuid;
    char text[37];
    memcpy(uuid.bytes, value.data, 16);
    mr_uuid_format(&uuid, text);
    mr_buf_cstr(out, text);
}

static void print_elements(struct mr_buf *out, const struct cql_type *type, struct cql_value value)
{
    bool list = type->id == CQL_TYPE_LIST, tuple = type->id == CQL_TYPE_TUPLE;
    struct cql_elements elements = cql_elements_of(type, value);
    struct cql_value element;
    mr_buf_u8(out, list ? '[' : tuple ? '(' : '{');
    for (uint32_t i = 0; cql_elements_next(&elements, &element); i++) {
        bool pair = type->id == CQL_TYPE_MAP && i % 2 == 1;
        if (i > 0)
            mr_buf_cstr(out, pair ? ": " : ", ");
        if (type->id == CQL_TYPE_UDT)
            mr_buf_printf(out, "%.*s: ", MR_STR_ARG(type->fields[i]));
        uint32_t arg = type->id == CQL_TYPE_MAP ? i % 2 : type->arg_count > 1 ? i : 0;
        cql_value_print(out, type->args[arg], element, false);
    }
    mr_buf_u8(out, list ? ']' : tuple ? ')' : '}');
}

static bool fits(const struct cql_type *type, struct cql_value value)
{
    int fixed = cql_type_bytes(type);
    if (type->id == CQL_TYPE_INET)
        return value.length == 4 || value.length == 16;
    return fixed == 0 || value.length == fixed;
}

static void print_scalar(struct mr_buf *out, const struct cql_type *type, struct cql_value value,
                         bool bare)
{
    struct mr_buf text = {0};
    switch ((int)type->id) {
    case CQL_TYPE_DATE:
        print_date(&text, (int64_t)be_bytes(value.data, 4) - INT64_C(0x80000000));
        break;
    case CQL_TYPE_TIMESTAMP:
        print_timestamp(&text, (int64_t)be_bytes(value.data, 8), 'T');
        break;
    case CQL_TYPE_TIME:
        print_time(&text, (int64_t)be_bytes(value.data, 8));
        break;
    case CQL_TYPE_INET:
        print_inet(&text, value);
        break;
    default:
        mr_buf_str(&text, cql_value_str(value));
        break;
    }
    print_quoted(out, mr_buf_as_str(&text), bare);
    mr_buf_fini(&text);
}

void cql_value_print(struct mr_buf *out, const struct cql_type *type, struct cql_value value,
                     bool bare)
{
    if (value.length < 0 || !fits(type, value)) {
        mr_buf_cstr(out, value.length < 0 ? "null" : bare ? "" : "''");
        return;
    }
    switch (type->id) {
    case CQL_TYPE_TINYINT:
        mr_buf_printf(out, "%d", (int8_t)value.data[0]);
        return;
    case CQL_TYPE_SMALLINT:
        mr_buf_printf(out, "%d", (int16_t)be_bytes(value.data, 2));
        return;
    case CQL_TYPE_INT:
        mr_buf_printf(out, "%d", (int32_t)be_bytes(value.data, 4));
        return;
    case CQL_TYPE_BIGINT:
    case CQL_TYPE_COUNTER:
        mr_buf_printf(out, "%lld", (long long)be_bytes(value.data, 8));
        return;
    case CQL_TYPE_VARINT:
        cql_varint_print(out, cql_value_str(value));
        return;
    case CQL_TYPE_DECIMAL:
        cql_decimal_print(out, cql_value_str(value));
        return;
    case CQL_TYPE_FLOAT:
    case CQL_TYPE_DOUBLE:
        print_double(out, value_double(type->id, value), type->id == CQL_TYPE_FLOAT);
        return;
    case CQL_TYPE_BOOLEAN:
        mr_buf_cstr(out, value.data[0] != 0 ? "true" : "false");
        return;
    case CQL_TYPE_UUID:
    case CQL_TYPE_TIMEUUID:
        print_uuid(out, value);
        return;
    case CQL_TYPE_DURATION:
        print_duration(out, value);
        return;
    case CQL_TYPE_BLOB:
    case CQL_TYPE_CUSTOM:
        mr_buf_cstr(out, "0x");
        for (int32_t i = 0; i < value.length; i++)
            mr_buf_printf(out, "%02x", value.data[i]);
        return;
    case CQL_TYPE_LIST:
    case CQL_TYPE_SET:
    case CQL_TYPE_MAP:
    case CQL_TYPE_TUPLE:
    case CQL_TYPE_UDT:
        print_elements(out, type, value);
        return;
    case CQL_TYPE_DATE:
    case CQL_TYPE_TIMESTAMP:
    case CQL_TYPE_TIME:
    case CQL_TYPE_INET:
    case CQL_TYPE_ASCII:
    case CQL_TYPE_TEXT:
        print_scalar(out, type, value, bare);
        return;
    }
}

/* ---- JSON ---- */
static void json_key(struct mr_buf *out, const struct cql_type *type, struct cql_value value)
{
    struct mr_buf text = {0};
    cql_value_print(&text, type, value, true);
    mr_buf_json(out, mr_buf_as_str(&text));
    mr_buf_fini(&text);
}

static void json_elements(struct mr_buf *out, const struct cql_type *type, struct cql_value value)
{
    bool braces = type->id == CQL_TYPE_MAP || type->id == CQL_TYPE_UDT;
    struct cql_elements elements = cql_elements_of(type, value);
    struct cql_value element;
    mr_buf_u8(out, braces ? '{' : '[');
    for (uint32_t i = 0; cql_elements_next(&elements, &element); i++) {
        bool pair = type->id == CQL_TYPE_MAP && i % 2 == 1;
        if (i > 0)
            mr_buf_cstr(out, pair ? ": " : ", ");
        if (type->id == CQL_TYPE_UDT) {
            mr_buf_json(out, type->fields[i]);
            mr_buf_cstr(out, ": ");
        }
        uint32_t arg = type->id == CQL_TYPE_MAP ? i % 2 : type->arg_count > 1 ? i : 0;
        if (type->id == CQL_TYPE_MAP && i % 2 == 0)
            json_key(out, type->args[0], element);
        else
            cql_value_json(out, type->args[arg], element);
    }
    mr_buf_u8(out, braces ? '}' : ']');
}

void cql_value_json(struct mr_buf *out, const struct cql_type *type, struct cql_value value)
{
    if (value.length < 0) {
        mr_buf_cstr(out, "null");
        return;
    }
    switch ((int)type->id) {
    case CQL_TYPE_TINYINT:
    case CQL_TYPE_SMALLINT:
    case CQL_TYPE_INT:
    case CQL_TYPE_BIGINT:
    case CQL_TYPE_COUNTER:
    case CQL_TYPE_VARINT:
    case CQL_TYPE_DECIMAL:
    case CQL_TYPE_BOOLEAN:
        cql_value_print(out, type, value, false);
        return;
    case CQL_TYPE_FLOAT:
    case CQL_TYPE_DOUBLE:
        if (fits(type, value) && isfinite(value_double(type->id, value)))
            cql_value_print(out, type, value, false);
        else
            mr_buf_cstr(out, "null");
        return;
    case CQL_TYPE_TIMESTAMP: {
        struct mr_buf text = {0};
        if (fits(type, value))
            print_timestamp(&text, (int64_t)be_bytes(value.data, 8), ' ');
        mr_buf_json(out, mr_buf_as_str(&text));
        mr_buf_fini(&text);
        return;
    }
    case CQL_TYPE_LIST:
    case CQL_TYPE_SET:
    case CQL_TYPE_MAP:
    case CQL_TYPE_TUPLE:
    case CQL_TYPE_UDT:
        json_elements(out, type, value);
        return;
    default:
        json_key(out, type, value);
        return;
    }
}
