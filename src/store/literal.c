/* store/literal.c: numbers, times, addresses and uuids from CQL text. */
#include "store/literal.h"

#include <arpa/inet.h>

const char *store_literal_name(enum store_term_kind kind)
{
    switch ((int)kind) {
    case STORE_TERM_STRING:
        return "STRING";
    case STORE_TERM_INTEGER:
        return "INTEGER";
    case STORE_TERM_FLOAT:
        return "FLOAT";
    case STORE_TERM_BOOLEAN:
        return "BOOLEAN";
    case STORE_TERM_UUID:
        return "UUID";
    case STORE_TERM_HEX:
        return "HEX";
    case STORE_TERM_DURATION:
        return "DURATION";
    default:
        return "literal";
    }
}

/* ---- readers of digits ---- */
/* So many digits (at most `most`, at least one) from the front; -1 when there are none. */
static int64_t take_digits(mr_str *text, size_t most)
{
    int64_t value = 0;
    size_t count = 0;
    while (count < most && count < text->length && text->data[count] >= '0' &&
           text->data[count] <= '9')
        value = value * 10 + (text->data[count++] - '0');
    *text = mr_str_slice(*text, count, text->length);
    return count == 0 ? -1 : value;
}

static bool take_char(mr_str *text, char c)
{
    if (text->length == 0 || text->data[0] != c)
        return false;
    *text = mr_str_slice(*text, 1, text->length);
    return true;
}

static bool take_date(mr_str *text, int64_t *days)
{
    bool negative = take_char(text, '-');
    int64_t year = take_digits(text, 7);
    if (year < 0 || !take_char(text, '-'))
        return false;
    int64_t month = take_digits(text, 2);
    if (month < 1 || month > 12 || !take_char(text, '-'))
        return false;
    int64_t day = take_digits(text, 2), back_year = 0;
    int back_month = 0, back_day = 0;
    if (day < 1 || day > 31)
        return false;
    year = negative ? -year : year;
    *days = mr_days_from_civil(year, (int)month, (int)day);
    mr_civil_from_days(*days, &back_year, &back_month, &back_day);
    return back_month == month && back_day == day;
}

/* HH:MM[:SS[.fraction]] as nanoseconds. */
static bool take_time(mr_str *text, int64_t *nanos)
{
    int64_t hour = take_digits(text, 2), second = 0, fraction = 0;
    if (hour < 0 || hour > 23 || !take_char(text, ':'))
        return false;
    int64_t minute = take_digits(text, 2);
    if (minute < 0 || minute > 59)
        return false;
    if (take_char(text, ':')) {
        second = take_digits(text, 2);
        if (second < 0 || second > 59)
            return false;
        if (take_char(text, '.')) {
            size_t before = text->length;
            fraction = take_digits(text, 9);
            if (fraction < 0)
                return false;
            for (size_t digits = before - text->length; digits < 9; digits++)
                fraction *= 10;
        }
    }
    *nanos = ((hour * 60 + minute) * 60 + second) * 1000000000 + fraction;
    return true;
}

static bool take_zone(mr_str *text, int64_t *minutes)
{
    *minutes = 0;
    (void)take_char(text, ' ');
    if (text->length == 0 || mr_str_equal_nocase(*text, MR_STR("Z")) ||
        mr_str_equal_nocase(*text, MR_STR("UTC")) || mr_str_equal_nocase(*text, MR_STR("GMT"))) {
        *text = MR_STR_NULL;
        return true;
    }
    bool minus = text->data[0] == '-';
    if (!take_char(text, minus ? '-' : '+'))
        return false;
    int64_t hours = take_digits(text, 2), rest = 0;
    if (hours < 0 || hours > 18)
        return false;
    (void)take_char(text, ':');
    if (text->length > 0)
        rest = take_digits(text, 2);
    if (rest < 0 || rest > 59 || text->length > 0)
        return false;
    *minutes = minus ? -(hours * 60 + rest) : hours * 60 + rest;
    return true;
}

mr_err store_parse_timestamp(mr_str text, int64_t *ms)
{
    mr_str rest = mr_str_trim(text);
    int64_t days = 0, nanos = 0, zone = 0;
    if (mr_str_to_i64(rest, ms) == MR_OK)
        return MR_OK;
    bool ok = take_date(&rest, &days);
    if (ok && rest.length > 0 &&
        (rest.data[0] == 'T' || rest.data[0] == 't' ||
         (rest.data[0] == ' ' && rest.length > 1 && rest.data[1] >= '0' && rest.data[1] <= '9'))) {
        rest = mr_str_slice(rest, 1, rest.length);
        ok = take_time(&rest, &nanos);
    }
    if (!ok || !take_zone(&rest, &zone))
        return mr_fail(MR_INVALID, "Unable to parse a date/time from '%.*s'", MR_STR_ARG(text));
    *ms = days * 86400000 + nanos / 1000000 - zone * 60000;
    return MR_OK;
}

/* ---- durations ---- */
void store_write_vint(struct mr_buf *out, int64_t value)
{
    uint64_t bits = ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
    int extra = 0;
    while (extra < 8 && bits >> (7 * (extra + 1)) != 0)
        extra++;
    uint8_t mark = (uint8_t)(0xff00 >> extra);
    if (extra == 8) {
        mr_buf_u8(out, 0xff);
        mr_buf_be64(out, bits);
        return;
    }
    mr_buf_u8(out, (uint8_t)(mark | (bits >> (8 * extra))));
    for (int i = extra - 1; i >= 0; i--)
        mr_buf_u8(out, (uint8_t)(bits >> (8 * i)));
}

static const struct {
    const char *unit;
    int part; /* 0 months, 1 days, 2 nanoseconds */
    int64_t size;
} duration_units[] = {{"mo", 0, 1},
                      {"ms", 2, 1000000},
                      {"us", 2, 1000},
                      {"\xc2\xb5s", 2, 1000},
                      {"ns", 2, 1},
                      {"y", 0, 12},
                      {"w", 1, 7},
                      {"d", 1, 1},
                      {"h", 2, 3600000000000},
                      {"m", 2, 60000000000},
                      {"s", 2, 1000000000}};

static bool add_part(int64_t parts[3], size_t unit, int64_t count)
{
    int64_t product = 0;
    return !__builtin_mul_overflow(count, duration_units[unit].size, &product) &&
           !__builtin_add_overflow(parts[duration_units[unit].part], product,
                                   &parts[duration_units[unit].part]);
}

static bool take_units(mr_str text, int64_t parts[3])
{
    while (text.length > 0) {
        int64_t count = take_digits(&text, 18);
        size_t unit = 0;
        while (unit < mr_count_of(duration_units) &&
               !mr_str_equal_nocase(mr_str_slice(text, 0, strlen(duration_units[unit].unit)),
                                    mr_str_from(duration_units[unit].unit)))
            unit++;
        if (count < 0 || unit == mr_count_of(duration_units) || !add_part(parts, unit, count))
            return false;
        text = mr_str_slice(text, strlen(duration_units[unit].unit), text.length);
    }
    return true;
}

/* P1Y2M3DT4H5M6S and P2W. */
static bool take_iso_units(mr_str text, int64_t parts[3])
{
    bool time = false;
    while (text.length > 0) {
        if (take_char(&text, 'T') || take_char(&text, 't')) {
            time = true;
            continue;
        }
        int64_t count = take_digits(&text, 18);
        if (count < 0 || text.length == 0)
            return false;
        static const char letters[] = "ymwdhs";
        static const size_t units[] = {5, 0, 6, 7, 8, 10};
        char c = (char)(text.data[0] | 0x20);
        const char *found = strchr(letters, c);
        if (found == NULL || !add_part(parts, time && c == 'm' ? 9 : units[found - letters], count))
            return false;
        text = mr_str_slice(text, 1, text.length);
    }
    return true;
}

static mr_err write_duration(struct mr_buf *out, mr_str text)
{
    int64_t parts[3] = {0, 0, 0};
    mr_str rest = text;
    bool negative = take_char(&rest, '-');
    bool iso = take_char(&rest, 'P') || take_char(&rest, 'p');
    bool ok = rest.length > 0 && (iso ? take_iso_units(rest, parts) : take_units(rest, parts));
    if (!ok || parts[0] > INT32_MAX || parts[1] > INT32_MAX)
        return mr_fail(MR_INVALID, "Unable to convert '%.*s' to a duration", MR_STR_ARG(text));
    for (int i = 0; i < 3; i++)
        store_write_vint(out, negative ? -parts[i] : parts[i]);
    return MR_OK;
}

/* ---- numbers ---- */
static void write_be(struct mr_buf *out, uint64_t value, int bytes)
{
    for (int i = bytes - 1; i >= 0; i--)
        mr_buf_u8(out, (uint8_t)(value >> (i * 8)));
}

static mr_err write_integer(struct mr_buf *out, const struct cql_type *type, mr_str text)
{
    int bytes = cql_type_bytes(type);
    int64_t value = 0, most = bytes == 8 ? INT64_MAX : (INT64_C(1) << (bytes * 8 - 1)) - 1;
    struct mr_buf name = {0};
    cql_type_print(&name, type);
    mr_err err = mr_str_to_i64(text, &value);
    if (err != MR_OK || value > most || value < -most - 1)
        err = mr_fail(MR_INVALID, "Unable to make %.*s from '%.*s'",
                      MR_STR_ARG(mr_buf_as_str(&name)), MR_STR_ARG(text));
    else
        write_be(out, (uint64_t)value, bytes);
    mr_buf_fini(&name);
    return err;
}

static mr_err write_float(struct mr_buf *out, const struct cql_type *type, mr_str text)
{
    double wide = 0;
    bool nan = mr_str_equal_nocase(text, MR_STR("nan")) ||
               mr_str_equal_nocase(text, MR_STR("-nan"));
    bool minus = text.length > 0 && text.data[0] == '-';
    if (nan)
        wide = __builtin_nan("");
    else if (mr_str_equal_nocase(mr_str_slice(text, minus, text.length), MR_STR("infinity")))
        wide = minus ? -__builtin_inf() : __builtin_inf();
    else if (mr_str_to_f64(text, &wide) != MR_OK)
        return mr_fail(MR_INVALID, "Unable to make float from '%.*s'", MR_STR_ARG(text));
    if (type->id == CQL_TYPE_DOUBLE) {
        uint64_t bits;
        memcpy(&bits, &wide, 8);
        mr_buf_be64(out, bits);
    } else {
        float narrow = (float)wide;
        uint32_t bits;
        memcpy(&bits, &narrow, 4);
        mr_buf_be32(out, bits);
    }
    return MR_OK;
}

/* ---- texts that mean something ---- */
static mr_err write_inet(struct mr_buf *out, mr_str text)
{
    char name[INET6_ADDRSTRLEN + 1];
    uint8_t address[16];
    if (text.length < sizeof(name)) {
        memcpy(name, text.data, text.length);
        name[text.length] = '\0';
        if (inet_pton(AF_INET, name, address) == 1) {
            mr_buf_add(out, address, 4);
            return MR_OK;
        }
        if (inet_pton(AF_INET6, name, address) == 1) {
            mr_buf_add(out, address, 16);
            return MR_OK;
        }
    }
    return mr_fail(MR_INVALID, "Unable to make inet address from '%.*s'", MR_STR_ARG(text));
}

static mr_err write_date(struct mr_buf *out, mr_str text, bool integer)
{
    int64_t days = 0;
    mr_str rest = text;
    if (integer) {
        if (mr_str_to_i64(text, &days) != MR_OK || days < 0 || days > UINT32_MAX)
            return mr_fail(MR_INVALID, "Unable to make unsigned int (for date) from: '%.*s'",
                           MR_STR_ARG(text));
        mr_buf_be32(out, (uint32_t)days);
        return MR_OK;
    }
    if (!take_date(&rest, &days) || rest.length > 0)
        return mr_fail(MR_INVALID, "Unable to coerce '%.*s' to a formatted date (long)",
                       MR_STR_ARG(text));
    mr_buf_be32(out, (uint32_t)(days + INT64_C(0x80000000)));
    return MR_OK;
}

static mr_err write_time(struct mr_buf *out, mr_str text)
{
    int64_t nanos = 0;
    mr_str rest = text;
    if (mr_str_to_i64(text, &nanos) == MR_OK) {
        if (nanos < 0 || nanos >= INT64_C(86400000000000))
            return mr_fail(MR_INVALID, "Input long out of bounds: %lld", (long long)nanos);
    } else if (!take_time(&rest, &nanos) || rest.length > 0) {
        return mr_fail(MR_INVALID, "(TimeType) Unable to coerce '%.*s' to a formatted time (long)",
                       MR_STR_ARG(text));
    }
    mr_buf_be64(out, (uint64_t)nanos);
    return MR_OK;
}

static mr_err write_timestamp(struct mr_buf *out, mr_str text)
{
    int64_t ms = 0;
    mr_err err = store_parse_timestamp(text, &ms);
    if (err == MR_OK)
        mr_buf_be64(out, (uint64_t)ms);
    return err;
}

static mr_err write_uuid(struct mr_buf *out, const struct cql_type *type, mr_str text)
{
    mr_uuid uuid;
    if (mr_uuid_parse(text, &uuid) != MR_OK)
        return mr_fail(MR_INVALID, "Unable to make UUID from '%.*s'", MR_STR_ARG(text));
    if (type->id == CQL_TYPE_TIMEUUID && uuid.bytes[6] >> 4 != 1)
        return mr_fail(MR_INVALID, "TimeUUID supports only version 1 UUIDs");
    mr_buf_add(out, uuid.bytes, sizeof(uuid.bytes));
    return MR_OK;
}

static mr_err write_blob(struct mr_buf *out, mr_str text)
{
    if (text.length % 2 != 0)
        return mr_fail(MR_INVALID, "An hex string representing bytes must have an even length");
    for (size_t i = 2; i < text.length; i += 2)
        mr_buf_u8(out, (uint8_t)(mr_hex_digit(text.data[i]) << 4 | mr_hex_digit(text.data[i + 1])));
    return MR_OK;
}

static mr_err write_text(struct mr_buf *out, const struct cql_type *type, mr_str text)
{
    mr_err err = cql_value_check(type, cql_value_of(text.data, text.length));
    if (err == MR_OK)
        mr_buf_str(out, text);
    return err;
}

/* Which constants fit which type, as bits of store_term_kind. */
static unsigned fitting_kinds(const struct cql_type *type)
{
    const unsigned string = 1u << STORE_TERM_STRING, integer = 1u << STORE_TERM_INTEGER;
    const unsigned real = 1u << STORE_TERM_FLOAT;
    switch ((int)type->id) {
    case CQL_TYPE_TEXT:
    case CQL_TYPE_ASCII:
    case CQL_TYPE_INET:
        return string;
    case CQL_TYPE_TINYINT:
    case CQL_TYPE_SMALLINT:
    case CQL_TYPE_INT:
    case CQL_TYPE_BIGINT:
    case CQL_TYPE_COUNTER:
    case CQL_TYPE_VARINT:
        return integer;
    case CQL_TYPE_FLOAT:
    case CQL_TYPE_DOUBLE:
    case CQL_TYPE_DECIMAL:
        return integer | real;
    case CQL_TYPE_DATE:
    case CQL_TYPE_TIME:
    case CQL_TYPE_TIMESTAMP:
        return integer | string;
    case CQL_TYPE_BOOLEAN:
        return 1u << STORE_TERM_BOOLEAN;
    case CQL_TYPE_UUID:
    case CQL_TYPE_TIMEUUID:
        return 1u << STORE_TERM_UUID;
    case CQL_TYPE_BLOB:
        return 1u << STORE_TERM_HEX;
    case CQL_TYPE_DURATION:
        return 1u << STORE_TERM_DURATION;
    default:
        return 0;
    }
}

mr_err store_literal_write(struct mr_buf *out, const struct cql_type *type,
                           enum store_term_kind kind, mr_str text, bool *compatible)
{
    *compatible = (fitting_kinds(type) & 1u << kind) != 0;
    if (!*compatible)
        return MR_INVALID;
    switch ((int)type->id) {
    case CQL_TYPE_TEXT:
    case CQL_TYPE_ASCII:
        return write_text(out, type, text);
    case CQL_TYPE_INET:
        return write_inet(out, text);
    case CQL_TYPE_FLOAT:
    case CQL_TYPE_DOUBLE:
        return write_float(out, type, text);
    case CQL_TYPE_VARINT:
        return cql_varint_parse(out, text)
                   ? MR_OK
                   : mr_fail(MR_INVALID, "unable to make BigInteger from '%.*s'", MR_STR_ARG(text));
    case CQL_TYPE_DECIMAL:
        return cql_decimal_parse(out, text)
                   ? MR_OK
                   : mr_fail(MR_INVALID, "unable to make BigDecimal from '%.*s'", MR_STR_ARG(text));
    case CQL_TYPE_DATE:
        return write_date(out, text, kind == STORE_TERM_INTEGER);
    case CQL_TYPE_TIME:
        return write_time(out, text);
    case CQL_TYPE_TIMESTAMP:
        return write_timestamp(out, text);
    case CQL_TYPE_BOOLEAN:
        mr_buf_u8(out, mr_str_equal(text, MR_STR("true")));
        return MR_OK;
    case CQL_TYPE_UUID:
    case CQL_TYPE_TIMEUUID:
        return write_uuid(out, type, text);
    case CQL_TYPE_BLOB:
        return write_blob(out, text);
    case CQL_TYPE_DURATION:
        return write_duration(out, text);
    default:
        return write_integer(out, type, text);
    }
}
