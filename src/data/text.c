/* data/text.c: values as text, the way that Spark's CAST writes and reads them: Java's floating
 * point, dates, timestamps (session zone UTC) and day-time intervals. */
#include "data/data.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { DAY_SECONDS = 86400 };
static const int64_t second_us = 1000000, day_us = (int64_t)DAY_SECONDS * 1000000;

/* ---- numbers ---- */
size_t data_long_format(int64_t value, char *out)
{
    char digits[24];
    size_t count = 0, length = 0;
    uint64_t rest = value < 0 ? -(uint64_t)value : (uint64_t)value;
    do {
        digits[count++] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (value < 0)
        out[length++] = '-';
    while (count > 0)
        out[length++] = digits[--count];
    return length;
}

static size_t put(char *out, const char *text)
{
    size_t length = strlen(text);
    memcpy(out, text, length);
    return length;
}

/* Lays out the shortest digits as Java's Double.toString does: plain from 1e-3 to 1e7, else with E.
 * `scientific` is printf's %e form. */
static size_t java_layout(const char *scientific, char *out)
{
    char digits[40];
    int count = 0;
    size_t length = 0;
    const char *at = scientific;
    if (*at == '-') {
        out[length++] = '-';
        at++;
    }
    for (; *at != 'e'; at++)
        if (*at != '.')
            digits[count++] = *at;
    int exponent = (int)strtol(at + 1, NULL, 10);
    while (count > 1 && digits[count - 1] == '0')
        count--;
    if (exponent >= -3 && exponent < 7) {
        if (exponent < 0) {
            length += put(out + length, "0.");
            for (int i = -1; i > exponent; i--)
                out[length++] = '0';
        }
        for (int i = 0; i < count || i <= exponent; i++) {
            out[length++] = i < count ? digits[i] : '0';
            if (i == exponent)
                out[length++] = '.';
        }
        if (out[length - 1] == '.')
            out[length++] = '0';
        return length;
    }
    out[length++] = digits[0];
    out[length++] = '.';
    if (count == 1)
        out[length++] = '0';
    for (int i = 1; i < count; i++)
        out[length++] = digits[i];
    out[length++] = 'E';
    return length + data_long_format(exponent, out + length);
}

static size_t not_finite(double value, char *out)
{
    return put(out, isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity");
}

size_t data_double_format(double value, char out[DATA_TEXT_BYTES])
{
    char text[40];
    if (!isfinite(value))
        return not_finite(value, out);
    if (fabs(value) < 1e7 && value == (double)(int32_t)value && !(value == 0 && signbit(value))) {
        size_t length = data_long_format((int64_t)value, out);
        return length + put(out + length, ".0");
    }
    /* Subnormal numbers have fewer digits; Java shows two at the least. */
    for (int digits = fabs(value) < DBL_MIN ? 1 : 14; digits <= 16; digits++) {
        snprintf(text, sizeof text, "%.*e", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    return java_layout(text, out);
}

size_t data_float_format(float value, char out[DATA_TEXT_BYTES])
{
    char text[40];
    if (!isfinite(value))
        return not_finite((double)value, out);
    for (int digits = fabsf(value) < FLT_MIN ? 1 : 5; digits <= 8; digits++) {
        snprintf(text, sizeof text, "%.*e", digits, (double)value);
        if (strtof(text, NULL) == value)
            break;
    }
    return java_layout(text, out);
}

/* ---- time to text ---- */
static size_t put_padded(char *out, int64_t value, int width)
{
    char digits[DATA_TEXT_BYTES];
    size_t length = data_long_format(value, digits), at = 0;
    for (; (size_t)width > length + at; at++)
        out[at] = '0';
    memcpy(out + at, digits, length);
    return at + length;
}

size_t data_date_format(int32_t days, char out[DATA_TEXT_BYTES])
{
    int64_t year;
    int month, day;
    size_t length = 0;
    mr_civil_from_days(days, &year, &month, &day);
    if (year < 0 || year > 9999)
        out[length++] = year < 0 ? '-' : '+';
    length += put_padded(out + length, year < 0 ? -year : year, 4);
    out[length++] = '-';
    length += put_padded(out + length, month, 2);
    out[length++] = '-';
    return length + put_padded(out + length, day, 2);
}

static int64_t floor_divide(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

/* ".5" for 500000 µs: without the zeros at the end; nothing for 0. */
static size_t put_fraction(char *out, int64_t us)
{
    size_t length = 0;
    if (us == 0)
        return 0;
    out[length++] = '.';
    length += put_padded(out + length, us, 6);
    while (out[length - 1] == '0')
        length--;
    return length;
}

static size_t put_clock(char *out, int64_t seconds)
{
    size_t length = put_padded(out, seconds / 3600, 2);
    out[length++] = ':';
    length += put_padded(out + length, seconds / 60 % 60, 2);
    out[length++] = ':';
    return length + put_padded(out + length, seconds % 60, 2);
}

size_t data_timestamp_format(int64_t us, char out[DATA_TEXT_BYTES])
{
    int64_t days = floor_divide(us, day_us);
    int64_t rest = us - days * day_us;
    size_t length = data_date_format((int32_t)days, out);
    out[length++] = ' ';
    length += put_clock(out + length, rest / second_us);
    return length + put_fraction(out + length, rest % second_us);
}

size_t data_interval_format(int64_t us, char out[DATA_TEXT_BYTES])
{
    uint64_t size = us < 0 ? -(uint64_t)us : (uint64_t)us;
    int64_t seconds = (int64_t)(size / (uint64_t)second_us);
    size_t length = put(out, us < 0 ? "INTERVAL '-" : "INTERVAL '");
    length += data_long_format(seconds / DAY_SECONDS, out + length);
    out[length++] = ' ';
    length += put_clock(out + length, seconds % DAY_SECONDS);
    length += put_fraction(out + length, (int64_t)(size % (uint64_t)second_us));
    return length + put(out + length, "' DAY TO SECOND");
}

/* ---- text to time ---- */
/* Digits from `*at` on; their count, or -1 when there are more than `max`. */
static int take_digits(mr_str text, size_t *at, int max, int64_t *value)
{
    int count = 0;
    *value = 0;
    while (*at < text.length && text.data[*at] >= '0' && text.data[*at] <= '9') {
        if (++count > max)
            return -1;
        *value = *value * 10 + (text.data[(*at)++] - '0');
    }
    return count;
}

static mr_str trim_all(mr_str text)
{
    while (text.length > 0 && (unsigned char)text.data[0] <= ' ')
        text = mr_str_slice(text, 1, text.length);
    while (text.length > 0 && (unsigned char)text.data[text.length - 1] <= ' ')
        text.length--;
    return text;
}

/* [+-]yyyy[-[m]m[-[d]d]] at the start; `*parts` says how many of them there were. */
static bool parse_day(mr_str text, size_t *at, int year_digits_max, int *parts, int64_t *days)
{
    int64_t year, month = 1, day = 1;
    bool minus = false;
    *at = 0;
    *parts = 1;
    if (text.length > 0 && (text.data[0] == '-' || text.data[0] == '+'))
        minus = text.data[(*at)++] == '-';
    if (take_digits(text, at, year_digits_max, &year) < 4)
        return false;
    if (*at < text.length && text.data[*at] == '-') {
        ++*at;
        ++*parts;
        if (take_digits(text, at, 2, &month) < 1)
            return false;
        if (*at < text.length && text.data[*at] == '-') {
            ++*at;
            ++*parts;
            if (take_digits(text, at, 2, &day) < 1)
                return false;
        }
    }
    if (month < 1 || month > 12 || day < 1 || day > 31)
        return false;
    *days = mr_days_from_civil(minus ? -year : year, (int)month, (int)day);
    int64_t back_year;
    int back_month, back_day;
    mr_civil_from_days(*days, &back_year, &back_month, &back_day);
    return back_day == day; /* else it was a day like February 30 */
}

bool data_date_parse(mr_str text, int32_t *days)
{
    size_t at;
    int parts;
    int64_t wide;
    text = trim_all(text);
    if (!parse_day(text, &at, 7, &parts, &wide) || wide < INT32_MIN || wide > INT32_MAX)
        return false;
    if (at < text.length && (parts < 3 || (text.data[at] != ' ' && text.data[at] != 'T')))
        return false;
    *days = (int32_t)wide;
    return true;
}

/* Z, UTC, GMT, UT, [UTC|GMT|UT](+|-)h[h][:mm[:ss]], +hhmm. */
static bool parse_zone(mr_str text, int64_t *offset_us)
{
    static const char *const names[] = {"UTC", "GMT", "UT"};
    size_t at = 0;
    int64_t hours, minutes = 0, seconds = 0;
    text = trim_all(text);
    *offset_us = 0;
    if (mr_str_equal(text, MR_STR("Z")) || mr_str_equal(text, MR_STR("Etc/UTC")))
        return true;
    for (size_t i = 0; i < mr_count_of(names); i++)
        if (mr_str_starts(text, mr_str_from(names[i]))) {
            text = mr_str_slice(text, strlen(names[i]), text.length);
            if (text.length == 0)
                return true;
            break;
        }
    if (text.length < 2 || (text.data[0] != '+' && text.data[0] != '-'))
        return false;
    bool minus = text.data[at++] == '-';
    int digits = take_digits(text, &at, 6, &hours);
    if (digits == 4 || digits == 6) {
        seconds = digits == 6 ? hours % 100 : 0;
        hours = digits == 6 ? hours / 100 : hours;
        minutes = hours % 100;
        hours /= 100;
    } else if (digits < 1 || digits > 2) {
        return false;
    } else if (at < text.length && text.data[at] == ':') {
        at++;
        if (take_digits(text, &at, 2, &minutes) < 1)
            return false;
        if (at < text.length && text.data[at] == ':' &&
            (at++, take_digits(text, &at, 2, &seconds) != 2))
            return false;
    }
    if (at != text.length || hours > 18 || minutes > 59 || seconds > 59)
        return false;
    *offset_us = (hours * 3600 + minutes * 60 + seconds) * second_us * (minus ? -1 : 1);
    return true;
}

/* [h]h[:[m]m[:[s]s[.f...]]] from `*at` on; only the full form may have more behind it. */
static bool parse_clock(mr_str text, size_t *at, int64_t *us)
{
    int64_t part[3] = {0, 0, 0}, fraction = 0;
    for (int i = 0; i < 3; i++) {
        if (i > 0) {
            if (*at >= text.length)
                break;
            if (text.data[*at] != ':')
                return false;
            ++*at;
        }
        if (take_digits(text, at, 2, &part[i]) < 1)
            return false;
    }
    if (*at < text.length && text.data[*at] == '.') {
        int64_t unit = 100000;
        for (++*at; *at < text.length && text.data[*at] >= '0' && text.data[*at] <= '9'; ++*at) {
            fraction += unit * (text.data[*at] - '0');
            unit /= 10;
        }
    }
    if (part[0] > 23 || part[1] > 59 || part[2] > 59)
        return false;
    *us = (part[0] * 3600 + part[1] * 60 + part[2]) * second_us + fraction;
    return true;
}

bool data_timestamp_parse(mr_str text, int64_t *us, bool *zoned)
{
    size_t at;
    int parts;
    int64_t days, clock = 0, offset = 0;
    bool zone = false;
    text = trim_all(text);
    if (!parse_day(text, &at, 6, &parts, &days))
        return false;
    if (at < text.length) {
        if (parts < 3 || (text.data[at] != ' ' && text.data[at] != 'T'))
            return false;
        at++;
        if (!parse_clock(text, &at, &clock))
            return false;
        zone = at < text.length;
        if (zone && !parse_zone(mr_str_slice(text, at, text.length), &offset))
            return false;
    }
    int64_t result;
    if (__builtin_mul_overflow(days, day_us, &result) ||
        __builtin_add_overflow(result, clock - offset, &result))
        return false;
    *us = result;
    if (zoned != NULL)
        *zoned = zone;
    return true;
}
