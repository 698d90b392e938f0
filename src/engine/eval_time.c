/* engine/eval_time.c: dates and timestamps. The session's zone is UTC; patterns are Java's letters, as
 * Spark takes them since 3.0. */
#include "engine/eval_call.h"

#include <stdio.h>

static const int64_t second_us = 1000000, minute_us = 60000000, hour_us = 3600000000,
                     day_us = 86400000000;

static int64_t floor_divide(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

static int64_t floor_rest(int64_t a, int64_t b)
{
    return a - floor_divide(a, b) * b;
}

struct civil {
    int64_t year;
    int month, day;
};

static struct civil civil_of(int64_t days)
{
    struct civil civil;
    mr_civil_from_days(days, &civil.year, &civil.month, &civil.day);
    return civil;
}

static int month_days(int64_t year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap);
}

/* 0 is Monday. */
static int weekday_of(int64_t days)
{
    return (int)floor_rest(days + 3, 7);
}

/* ---- fields ---- */
#define DATE_FIELD(name, expression)                      \
    void engine_kernel_##name(struct engine_call *call)   \
    {                                                     \
        EACH_ROW(call, row)                               \
        {                                                 \
            int32_t days = call->args[0]->ints[row];      \
            struct civil civil = civil_of(days);          \
            (void)civil;                                  \
            call->out->ints[row] = (int32_t)(expression); \
        }                                                 \
    }
/* The Thursday of its week tells a day's ISO year and week. */
#define THURSDAY (days - weekday_of(days) + 3)
DATE_FIELD(year, civil.year)
DATE_FIELD(quarter, (civil.month + 2) / 3)
DATE_FIELD(month, civil.month)
DATE_FIELD(day, civil.day)
DATE_FIELD(dayofweek, (weekday_of(days) + 1) % 7 + 1)
DATE_FIELD(weekday, weekday_of(days))
DATE_FIELD(dayofyear, days - mr_days_from_civil(civil.year, 1, 1) + 1)
DATE_FIELD(weekofyear, (THURSDAY - mr_days_from_civil(civil_of(THURSDAY).year, 1, 1)) / 7 + 1)
DATE_FIELD(year_of_week, civil_of(THURSDAY).year)
DATE_FIELD(last_day, days - civil.day + month_days(civil.year, civil.month))
DATE_FIELD(unix_date, days)
DATE_FIELD(date_from_unix_date, days)

#define TIME_FIELD(name, expression)                                    \
    void engine_kernel_##name(struct engine_call *call)                 \
    {                                                                   \
        EACH_ROW(call, row)                                             \
        {                                                               \
            int64_t us = floor_rest(call->args[0]->longs[row], day_us); \
            call->out->ints[row] = (int32_t)(expression);               \
        }                                                               \
    }
TIME_FIELD(hour, us / hour_us)
TIME_FIELD(minute, us / minute_us % 60)
TIME_FIELD(second, us / second_us % 60)

void engine_kernel_second_fraction(struct engine_call *call)
{
    EACH_ROW(call, row)
    call->out->decimals[row] = floor_rest(call->args[0]->longs[row], minute_us);
}

/* ---- now ---- */
void engine_kernel_current_timestamp(struct engine_call *call)
{
    EACH_ROW(call, row)
    call->out->longs[row] = call->bad->now_us;
}

void engine_kernel_current_date(struct engine_call *call)
{
    EACH_ROW(call, row)
    call->out->ints[row] = (int32_t)floor_divide(call->bad->now_us, day_us);
}

/* ---- sums ---- */
void engine_kernel_date_add(struct engine_call *call)
{
    EACH_ROW(call, row)
    call->out->ints[row] = (int32_t)((uint32_t)call->args[0]->ints[row] +
                                     (uint32_t)call->args[1]->ints[row]);
}

void engine_kernel_date_sub(struct engine_call *call)
{
    EACH_ROW(call, row)
    call->out->ints[row] = (int32_t)((uint32_t)call->args[0]->ints[row] -
                                     (uint32_t)call->args[1]->ints[row]);
}

void engine_kernel_datediff(struct engine_call *call)
{
    EACH_ROW(call, row)
    call->out->ints[row] = (int32_t)((uint32_t)call->args[0]->ints[row] -
                                     (uint32_t)call->args[1]->ints[row]);
}

static int64_t months_later(int64_t days, int32_t months)
{
    struct civil civil = civil_of(days);
    int64_t month = civil.year * 12 + civil.month - 1 + months;
    int64_t year = floor_divide(month, 12);
    int in_year = (int)floor_rest(month, 12) + 1;
    int last = month_days(year, in_year);
    return mr_days_from_civil(year, in_year, civil.day < last ? civil.day : last);
}

void engine_kernel_add_months(struct engine_call *call)
{
    EACH_ROW(call, row)
    call->out->ints[row] = (int32_t)months_later(call->args[0]->ints[row],
                                                 call->args[1]->ints[row]);
}

void engine_kernel_timestamp_add_months(struct engine_call *call)
{
    EACH_ROW(call, row)
    {
        int64_t us = call->args[0]->longs[row];
        call->out->longs[row] = months_later(floor_divide(us, day_us), call->args[1]->ints[row]) *
                                    day_us +
                                floor_rest(us, day_us);
    }
}

/* Whole months when the days agree or both are the last; else 31 days count as a month. */
void engine_kernel_months_between(struct engine_call *call)
{
    EACH_ROW(call, row)
    {
        int64_t a = call->args[0]->longs[row], b = call->args[1]->longs[row];
        struct civil x = civil_of(floor_divide(a, day_us)), y = civil_of(floor_divide(b, day_us));
        double months = (double)((x.year - y.year) * 12 + x.month - y.month);
        bool last = x.day == month_days(x.year, x.month) && y.day == month_days(y.year, y.month);
        if (x.day == y.day || last) {
            call->out->doubles[row] = months;
            continue;
        }
        int64_t seconds = (int64_t)(x.day - y.day) * 86400 + floor_rest(a, day_us) / second_us -
                          floor_rest(b, day_us) / second_us;
        double value = months + (double)seconds / (31.0 * 86400);
        if (call->arg_count < 3 || call->args[2]->bools[row]) {
            data_decimal rounded = 0;
            if (data_decimal_from_double(value, 8, 38, &rounded))
                value = data_decimal_to_double(rounded, 8);
        }
        call->out->doubles[row] = value;
    }
}

static int day_name(mr_str name)
{
    static const char *const names[] = {"monday", "tuesday",  "wednesday", "thursday",
                                        "friday", "saturday", "sunday"};
    for (int i = 0; i < 7; i++) {
        mr_str full = mr_str_from(names[i]);
        if ((name.length == 2 || name.length == 3 || name.length == full.length) &&
            mr_str_equal_nocase(name, mr_str_slice(full, 0, name.length)))
            return i;
    }
    return -1;
}

void engine_kernel_next_day(struct engine_call *call)
{
    EACH_ROW(call, row)
    {
        int wanted = call->args[1]->valid[row] ? day_name(mr_str_trim(call->args[1]->strs[row]))
                                               : -1;
        int32_t days = call->args[0]->ints[row];
        bool valid = call->args[0]->valid[row] && wanted >= 0;
        if (!valid && call->ansi && call->args[0]->valid[row] && call->args[1]->valid[row])
            engine_call_fail(call, row, "[ILLEGAL_DAY_OF_WEEK] expected a day such as MON");
        call->out->valid[row] = valid;
        if (valid)
            call->out->ints[row] = days + 7 - (int32_t)floor_rest(days + 3 - wanted + 0, 7);
    }
}

/* ---- cutting down ---- */
enum unit {
    UNIT_NONE,
    UNIT_YEAR,
    UNIT_QUARTER,
    UNIT_MONTH,
    UNIT_WEEK,
    UNIT_DAY,
    UNIT_HOUR,
    UNIT_MINUTE,
    UNIT_SECOND,
    UNIT_MILLISECOND,
    UNIT_MICROSECOND,
};

static enum unit unit_of(mr_str name)
{
    static const struct {
        const char *name;
        enum unit unit;
    } units[] = {{"year", UNIT_YEAR},
                 {"yyyy", UNIT_YEAR},
                 {"yy", UNIT_YEAR},
                 {"quarter", UNIT_QUARTER},
                 {"month", UNIT_MONTH},
                 {"mm", UNIT_MONTH},
                 {"mon", UNIT_MONTH},
                 {"week", UNIT_WEEK},
                 {"day", UNIT_DAY},
                 {"dd", UNIT_DAY},
                 {"hour", UNIT_HOUR},
                 {"minute", UNIT_MINUTE},
                 {"second", UNIT_SECOND},
                 {"millisecond", UNIT_MILLISECOND},
                 {"microsecond", UNIT_MICROSECOND}};
    for (size_t i = 0; i < mr_count_of(units); i++)
        if (mr_str_equal_nocase(name, mr_str_from(units[i].name)))
            return units[i].unit;
    return UNIT_NONE;
}

static int64_t cut_days(int64_t days, enum unit unit)
{
    struct civil civil = civil_of(days);
    if (unit == UNIT_WEEK)
        return days - weekday_of(days);
    if (unit >= UNIT_DAY)
        return days;
    int month = unit == UNIT_YEAR      ? 1
                : unit == UNIT_QUARTER ? (civil.month - 1) / 3 * 3 + 1
                                       : civil.month;
    return mr_days_from_civil(civil.year, month, 1);
}

void engine_kernel_date_trunc(struct engine_call *call)
{
    EACH_ROW(call, row)
    {
        static const int64_t sizes[] = {[UNIT_HOUR] = 3600000000,
                                        [UNIT_MINUTE] = 60000000,
                                        [UNIT_SECOND] = 1000000,
                                        [UNIT_MILLISECOND] = 1000,
                                        [UNIT_MICROSECOND] = 1};
        bool valid = call->args[0]->valid[row] && call->args[1]->valid[row];
        enum unit unit = valid ? unit_of(call->args[0]->strs[row]) : UNIT_NONE;
        int64_t us = call->args[1]->longs[row];
        call->out->valid[row] = unit != UNIT_NONE;
        if (unit >= UNIT_HOUR)
            call->out->longs[row] = us - floor_rest(us, sizes[unit]);
        else if (unit != UNIT_NONE)
            call->out->longs[row] = cut_days(floor_divide(us, day_us), unit) * day_us;
    }
}

void engine_kernel_trunc(struct engine_call *call)
{
    EACH_ROW(call, row)
    {
        bool valid = call->args[0]->valid[row] && call->args[1]->valid[row];
        enum unit unit = valid ? unit_of(call->args[1]->strs[row]) : UNIT_NONE;
        call->out->valid[row] = unit != UNIT_NONE && unit <= UNIT_WEEK;
        if (call->out->valid[row])
            call->out->ints[row] = (int32_t)cut_days(call->args[0]->ints[row], unit);
    }
}

/* ---- patterns ---- */
static const char *const month_names[] = {"January",   "February", "March",    "April",
                                          "May",       "June",     "July",     "August",
                                          "September", "October",  "November", "December"};
static const char *const day_names[] = {"Monday", "Tuesday",  "Wednesday", "Thursday",
                                        "Friday", "Saturday", "Sunday"};

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* One element of a pattern: a run of one letter, a literal text, or a bracket. */
struct element {
    char letter; /* '\'' for a literal, '[' and ']' for optional parts */
    int width;
    mr_str text; /* of a literal */
};

static bool next_element(mr_str pattern, size_t *at, struct element *element)
{
    if (*at >= pattern.length)
        return false;
    char c = pattern.data[*at];
    size_t from = *at;
    element->letter = '\'';
    element->width = 1;
    if (c == '[' || c == ']') {
        element->letter = c;
        ++*at;
    } else if (c == '\'') {
        ++*at;
        size_t start = *at;
        while (*at < pattern.length && pattern.data[*at] != '\'')
            ++*at;
        element->text = *at == start ? MR_STR("'") : mr_str_slice(pattern, start, *at);
        ++*at;
    } else if (is_letter(c)) {
        while (*at < pattern.length && pattern.data[*at] == c)
            ++*at;
        element->letter = c;
        element->width = (int)(*at - from);
    } else {
        ++*at;
        element->text = mr_str_slice(pattern, from, *at);
    }
    return true;
}

static bool known_letter(char letter)
{
    return letter != '\0' && strchr("GyuMLdDEeaHhkKmsSVzOXxZQqF'[]n", letter) != NULL;
}

/* ---- writing by a pattern ---- */
static void put_name(struct mr_buf *out, const char *name, int width)
{
    mr_buf_add(out, name, width < 4 ? 3 : strlen(name));
}

static void put_zone(struct mr_buf *out, char letter, int width)
{
    if (letter == 'V' || (letter == 'z' && width < 4))
        mr_buf_cstr(out, "UTC");
    else if (letter == 'z')
        mr_buf_cstr(out, "Coordinated Universal Time");
    else if (letter == 'X')
        mr_buf_cstr(out, "Z");
    else if (letter == 'O' || (letter == 'Z' && width == 4))
        mr_buf_cstr(out, "GMT");
    else if (letter == 'x')
        mr_buf_cstr(out, width == 1 ? "+00" : width % 2 == 0 ? "+0000" : "+00:00");
    else
        mr_buf_cstr(out, width == 5 ? "Z" : "+0000");
}

static void put_quarter(struct mr_buf *out, int quarter, int width)
{
    static const char *const names[] = {"1st", "2nd", "3rd", "4th"};
    if (width <= 2)
        mr_buf_printf(out, "%0*d", width, quarter);
    else if (width == 3)
        mr_buf_printf(out, "Q%d", quarter);
    else
        mr_buf_printf(out, "%s quarter", names[quarter - 1]);
}

static void put_element(struct mr_buf *out, const struct element *element, int64_t us)
{
    int64_t days = floor_divide(us, day_us), rest = us - days * day_us;
    struct civil civil = civil_of(days);
    int width = element->width, hour = (int)(rest / hour_us);
    int64_t era_year = civil.year > 0 ? civil.year : 1 - civil.year;
    switch (element->letter) {
    case '\'':
        mr_buf_str(out, element->text);
        return;
    case '[':
    case ']':
        return;
    case 'G':
        mr_buf_cstr(out, civil.year > 0 ? (width == 4 ? "Anno Domini" : "AD")
                                        : (width == 4 ? "Before Christ" : "BC"));
        return;
    case 'y':
    case 'u': {
        int64_t year = element->letter == 'u' ? civil.year : era_year;
        if (width == 2)
            mr_buf_printf(out, "%02d", (int)floor_rest(year, 100));
        else
            mr_buf_printf(out, "%s%0*lld", width >= 4 && year > 9999 ? "+" : "", width,
                          (long long)year);
        return;
    }
    case 'M':
    case 'L':
        if (width >= 3)
            put_name(out, month_names[civil.month - 1], width);
        else
            mr_buf_printf(out, "%0*d", width, civil.month);
        return;
    case 'Q':
    case 'q':
        put_quarter(out, (civil.month + 2) / 3, width);
        return;
    case 'd':
        mr_buf_printf(out, "%0*d", width, civil.day);
        return;
    case 'D':
        mr_buf_printf(out, "%0*d", width, (int)(days - mr_days_from_civil(civil.year, 1, 1)) + 1);
        return;
    case 'E':
        put_name(out, day_names[weekday_of(days)], width);
        return;
    case 'F':
        mr_buf_printf(out, "%d", (civil.day - 1) % 7 + 1);
        return;
    case 'a':
        mr_buf_cstr(out, hour < 12 ? "AM" : "PM");
        return;
    case 'H':
        mr_buf_printf(out, "%0*d", width, hour);
        return;
    case 'k':
        mr_buf_printf(out, "%0*d", width, hour == 0 ? 24 : hour);
        return;
    case 'K':
        mr_buf_printf(out, "%0*d", width, hour % 12);
        return;
    case 'h':
        mr_buf_printf(out, "%0*d", width, hour % 12 == 0 ? 12 : hour % 12);
        return;
    case 'm':
        mr_buf_printf(out, "%0*d", width, (int)(rest / minute_us % 60));
        return;
    case 's':
        mr_buf_printf(out, "%0*d", width, (int)(rest / second_us % 60));
        return;
    case 'S': {
        char digits[16];
        snprintf(digits, sizeof digits, "%06d000", (int)(rest % second_us));
        mr_buf_add(out, digits, (size_t)(width > 9 ? 9 : width));
        return;
    }
    default:
        put_zone(out, element->letter, width);
    }
}

static bool format_time(struct mr_buf *out, mr_str pattern, int64_t us)
{
    struct element element = {0};
    mr_buf_clear(out);
    for (size_t at = 0; next_element(pattern, &at, &element);) {
        if (!known_letter(element.letter))
            return false;
        put_element(out, &element, us);
    }
    return true;
}

static void format_rows(struct engine_call *call, int64_t unit, const char *standard)
{
    struct mr_buf text = {0};
    EACH_ROW(call, row)
    {
        mr_str pattern = call->arg_count == 2 ? call->args[1]->strs[row] : mr_str_from(standard);
        if (!format_time(&text, pattern, call->args[0]->longs[row] * unit))
            engine_call_fail(call, row, "[INVALID_DATETIME_PATTERN] the pattern '%.*s'",
                             MR_STR_ARG(mr_str_slice(pattern, 0, 100)));
        else
            call->out->strs[row] = engine_call_copy(call, mr_buf_as_str(&text));
    }
    mr_buf_fini(&text);
}

void engine_kernel_date_format(struct engine_call *call)
{
    format_rows(call, 1, "");
}

void engine_kernel_from_unixtime(struct engine_call *call)
{
    format_rows(call, second_us, "yyyy-MM-dd HH:mm:ss");
}

/* ---- reading by a pattern ---- */
struct parts {
    int64_t year, fraction_us, offset_us;
    int month, day, day_of_year, hour, minute, second;
    bool year_of_era, before, afternoon, half_day;
};

static bool digits_between(mr_str text, size_t *at, int least, int most, int64_t *value)
{
    int count = 0;
    *value = 0;
    while (*at < text.length && count < most && text.data[*at] >= '0' && text.data[*at] <= '9') {
        *value = *value * 10 + (text.data[(*at)++] - '0');
        count++;
    }
    return count >= least;
}

static bool starts_at(mr_str text, size_t at, mr_str what)
{
    return mr_str_equal_nocase(mr_str_slice(text, at, at + what.length), what) &&
           at + what.length <= text.length;
}

static bool take_name(mr_str text, size_t *at, const char *const *names, int count, int width,
                      int *found)
{
    for (int i = 0; i < count; i++) {
        mr_str name = mr_str_from(names[i]);
        name = width < 4 ? mr_str_slice(name, 0, 3) : name;
        if (starts_at(text, *at, name)) {
            *at += name.length;
            *found = i;
            return true;
        }
    }
    return false;
}

/* Z, +01:00, +0100, +01, UTC, GMT+1. */
static bool take_zone(mr_str text, size_t *at, int64_t *offset_us)
{
    char whole[96];
    int64_t us;
    bool zoned;
    mr_str rest = mr_str_slice(text, *at, text.length);
    size_t length = 0;
    while (length < rest.length &&
           (is_letter(rest.data[length]) || strchr("+-:/_0123456789", rest.data[length]) != NULL))
        length++;
    int written = snprintf(whole, sizeof whole, "1970-01-01 00:00:00%.*s", (int)length, rest.data);
    if (length == 0 || written >= (int)sizeof whole ||
        !data_timestamp_parse(mr_str_from(whole), &us, &zoned))
        return false;
    *at += length;
    *offset_us = -us;
    return true;
}

/* A number of two digits, or with one letter of one or two; more where the next is no number. */
static bool take_number(mr_str text, size_t *at, int width, int *out)
{
    int64_t value;
    if (!digits_between(text, at, width, width == 1 ? 3 : width, &value))
        return false;
    *out = (int)value;
    return true;
}

static bool take_year(mr_str text, size_t *at, const struct element *element, bool number_follows,
                      struct parts *parts)
{
    int width = element->width;
    bool minus = element->letter == 'u' && *at < text.length && text.data[*at] == '-';
    *at += minus;
    if (width != 2 && *at < text.length && text.data[*at] == '+')
        ++*at;
    int most = width == 2 || number_follows ? width : 9;
    if (!digits_between(text, at, width, most, &parts->year))
        return false;
    if (width == 2)
        parts->year += 2000;
    parts->year = minus ? -parts->year : parts->year;
    return true;
}

static bool take_element(mr_str text, size_t *at, const struct element *element,
                         bool number_follows, struct parts *parts)
{
    int found = 0, width = element->width;
    int64_t value;
    switch (element->letter) {
    case '\'':
        if (!starts_at(text, *at, element->text))
            return false;
        *at += element->text.length;
        return true;
    case 'G':
        parts->before = starts_at(text, *at, MR_STR("BC"));
        *at += 2;
        return parts->before || starts_at(text, *at - 2, MR_STR("AD"));
    case 'y':
    case 'u':
        return take_year(text, at, element, number_follows, parts);
    case 'M':
    case 'L':
        if (width >= 3) {
            bool good = take_name(text, at, month_names, 12, width, &found);
            parts->month = found + 1;
            return good;
        }
        return take_number(text, at, width, &parts->month);
    case 'd':
        return take_number(text, at, width, &parts->day);
    case 'D':
        return take_number(text, at, width, &parts->day_of_year);
    case 'E':
        return take_name(text, at, day_names, 7, width, &found);
    case 'a':
        parts->half_day = true;
        parts->afternoon = starts_at(text, *at, MR_STR("PM"));
        *at += 2;
        return parts->afternoon || starts_at(text, *at - 2, MR_STR("AM"));
    case 'H':
    case 'h':
    case 'K':
    case 'k':
        if (!take_number(text, at, width, &parts->hour))
            return false;
        if ((element->letter == 'h' && parts->hour == 12) ||
            (element->letter == 'k' && parts->hour == 24))
            parts->hour = 0;
        return true;
    case 'm':
        return take_number(text, at, width, &parts->minute);
    case 's':
        return take_number(text, at, width, &parts->second);
    case 'S': {
        size_t from = *at;
        if (!digits_between(text, at, width, width, &value))
            return false;
        for (size_t digits = *at - from; digits < 6; digits++)
            value *= 10;
        for (size_t digits = *at - from; digits > 6; digits--)
            value /= 10;
        parts->fraction_us = value;
        return true;
    }
    default:
        return take_zone(text, at, &parts->offset_us);
    }
}

/* Skips to behind the bracket that closes the optional part. */
static void skip_optional(mr_str pattern, size_t *at)
{
    struct element element = {0};
    int depth = 1;
    while (depth > 0 && next_element(pattern, at, &element))
        depth += element.letter == '[' ? 1 : element.letter == ']' ? -1 : 0;
}

static bool is_number_next(mr_str pattern, size_t at)
{
    struct element element = {0};
    return next_element(pattern, &at, &element) &&
           strchr("yuMLdDHhKkmsS", element.letter) != NULL &&
           !(element.letter == 'M' && element.width > 2);
}

static bool parts_time(struct parts *parts, int64_t *us)
{
    int64_t days;
    if (parts->before)
        parts->year = 1 - parts->year;
    if (parts->half_day && parts->hour < 12 && parts->afternoon)
        parts->hour += 12;
    if (parts->month < 1 || parts->month > 12 || parts->day < 1 || parts->hour > 23 ||
        parts->minute > 59 || parts->second > 59 || parts->year > 290000 || parts->year < -290000 ||
        parts->day > month_days(parts->year, parts->month))
        return false;
    days = mr_days_from_civil(parts->year, parts->month, parts->day);
    if (parts->day_of_year > 0)
        days = mr_days_from_civil(parts->year, 1, 1) + parts->day_of_year - 1;
    *us = days * day_us + parts->hour * hour_us + parts->minute * minute_us +
          parts->second * second_us + parts->fraction_us - parts->offset_us;
    return true;
}

/* 1 when it fits, 0 when it does not, -1 for a pattern with an unknown letter. */
static int parse_time(mr_str pattern, mr_str text, int64_t *us)
{
    struct parts parts = {.year = 1970, .month = 1, .day = 1}, before = parts;
    struct element element = {0};
    size_t at = 0, optional_text = SIZE_MAX, optional_pattern = 0;
    for (size_t in = 0; next_element(pattern, &in, &element);) {
        if (!known_letter(element.letter))
            return -1;
        if (element.letter == '[') {
            optional_text = at;
            optional_pattern = in;
            before = parts;
        } else if (element.letter == ']') {
            optional_text = SIZE_MAX;
        } else if (!take_element(text, &at, &element, is_number_next(pattern, in), &parts)) {
            if (optional_text == SIZE_MAX)
                return 0;
            at = optional_text;
            in = optional_pattern;
            parts = before;
            optional_text = SIZE_MAX;
            skip_optional(pattern, &in);
        }
    }
    return at == text.length && parts_time(&parts, us);
}

/* Parses args[0] by args[1] (or the standard pattern); false: the row is NULL or has failed. */
static bool parse_row(struct engine_call *call, uint32_t row, const char *standard, int64_t *us)
{
    bool pattern_given = call->arg_count == 2;
    if (!call->args[0]->valid[row] || (pattern_given && !call->args[1]->valid[row]))
        return false;
    mr_str pattern = pattern_given ? call->args[1]->strs[row] : mr_str_from(standard);
    mr_str text = call->args[0]->strs[row];
    int found = parse_time(pattern, text, us);
    if (found > 0)
        return true;
    if (found < 0)
        engine_call_fail(call, row, "[INVALID_DATETIME_PATTERN] the pattern '%.*s'",
                         MR_STR_ARG(mr_str_slice(pattern, 0, 100)));
    else if (call->ansi)
        engine_call_fail(
            call, row, "[CANNOT_PARSE_TIMESTAMP] '%.*s' does not fit the pattern '%.*s'",
            MR_STR_ARG(mr_str_slice(text, 0, 100)), MR_STR_ARG(mr_str_slice(pattern, 0, 100)));
    return false;
}

static void from_text(struct engine_call *call, bool date)
{
    bool parse = call->arg_count == 2 && call->args[0]->type->kind == DATA_STRING;
    EACH_ROW(call, row)
    {
        int64_t us = 0;
        if (!parse) {
            data_column_set(call->out, row, call->args[0], row);
            continue;
        }
        if (!parse_row(call, row, "", &us))
            continue;
        call->out->valid[row] = 1;
        if (date)
            call->out->ints[row] = (int32_t)floor_divide(us, day_us);
        else
            call->out->longs[row] = us;
    }
}

void engine_kernel_to_timestamp(struct engine_call *call)
{
    from_text(call, false);
}

void engine_kernel_to_date(struct engine_call *call)
{
    from_text(call, true);
}

void engine_kernel_unix_timestamp(struct engine_call *call)
{
    EACH_ROW(call, row)
    {
        int64_t us = call->bad->now_us;
        if (call->arg_count > 0 && call->args[0]->type->kind == DATA_TIMESTAMP) {
            if (!call->args[0]->valid[row])
                continue;
            us = call->args[0]->longs[row];
        } else if (call->arg_count > 0 && !parse_row(call, row, "yyyy-MM-dd HH:mm:ss", &us)) {
            continue;
        }
        call->out->valid[row] = 1;
        call->out->longs[row] = floor_divide(us, second_us);
    }
}

/* ---- numbers and times ---- */
static void scale_up(struct engine_call *call, int64_t unit)
{
    EACH_ROW(call, row)
    if (__builtin_mul_overflow(call->args[0]->longs[row], unit, &call->out->longs[row]))
        engine_call_fail(call, row, "[ARITHMETIC_OVERFLOW] long overflow");
}

void engine_kernel_timestamp_millis(struct engine_call *call)
{
    scale_up(call, 1000);
}

void engine_kernel_timestamp_micros(struct engine_call *call)
{
    scale_up(call, 1);
}

void engine_kernel_timestamp_seconds(struct engine_call *call)
{
    const struct data_column *from = call->args[0];
    if (from->type->kind == DATA_LONG) {
        scale_up(call, second_us);
        return;
    }
    EACH_ROW(call, row)
    {
        data_decimal us = 0;
        if (from->type->kind == DATA_DECIMAL)
            call->out->valid[row] = data_decimal_rescale(from->decimals[row], from->type->scale, 6,
                                                         24, &us);
        else if (from->doubles[row] > -9e12 && from->doubles[row] < 9e12)
            us = (data_decimal)(from->doubles[row] * 1e6);
        else
            call->out->valid[row] = 0;
        call->out->longs[row] = (int64_t)us;
    }
}

#define UNIX(name, unit)                                                       \
    void engine_kernel_##name(struct engine_call *call)                        \
    {                                                                          \
        EACH_ROW(call, row)                                                    \
        call->out->longs[row] = floor_divide(call->args[0]->longs[row], unit); \
    }
UNIX(unix_seconds, second_us)
UNIX(unix_millis, 1000)
UNIX(unix_micros, 1)

static bool is_date(int64_t year, int month, int day)
{
    return month >= 1 && month <= 12 && day >= 1 && day <= month_days(year, month) &&
           year >= -290000 && year <= 290000;
}

void engine_kernel_make_date(struct engine_call *call)
{
    EACH_ROW(call, row)
    {
        int year = call->args[0]->ints[row], month = call->args[1]->ints[row];
        int day = call->args[2]->ints[row];
        if (is_date(year, month, day))
            call->out->ints[row] = (int32_t)mr_days_from_civil(year, month, day);
        else if (call->ansi)
            engine_call_fail(call, row, "[DATETIME_FIELD_OUT_OF_BOUNDS] there is no date %d-%d-%d",
                             year, month, day);
        else
            call->out->valid[row] = 0;
    }
}

void engine_kernel_make_timestamp(struct engine_call *call)
{
    EACH_ROW(call, row)
    {
        int part[5];
        for (int i = 0; i < 5; i++)
            part[i] = call->args[i]->ints[row];
        data_decimal us = call->args[5]->decimals[row];
        bool good = is_date(part[0], part[1], part[2]) && part[3] >= 0 && part[3] <= 23 &&
                    part[4] >= 0 && part[4] <= 59 && us >= 0 && us <= minute_us;
        if (good)
            call->out->longs[row] = mr_days_from_civil(part[0], part[1], part[2]) * day_us +
                                    part[3] * hour_us + part[4] * minute_us + (int64_t)us;
        else if (call->ansi)
            engine_call_fail(call, row, "[DATETIME_FIELD_OUT_OF_BOUNDS] there is no such time");
        else
            call->out->valid[row] = 0;
    }
}

static void shift_zone(struct engine_call *call, int sign)
{
    EACH_ROW(call, row)
    {
        mr_str zone = call->args[1]->strs[row];
        size_t at = 0;
        int64_t offset = 0;
        if (!take_zone(zone, &at, &offset) || at != zone.length)
            engine_call_fail(call, row,
                             "time zone '%.*s': only UTC and offsets such as +01:00 are there",
                             MR_STR_ARG(mr_str_slice(zone, 0, 60)));
        else
            call->out->longs[row] = call->args[0]->longs[row] + sign * offset;
    }
}

void engine_kernel_from_utc_timestamp(struct engine_call *call)
{
    shift_zone(call, 1);
}

void engine_kernel_to_utc_timestamp(struct engine_call *call)
{
    shift_zone(call, -1);
}

void engine_kernel_window_time(struct engine_call *call)
{
    EACH_ROW(call, row)
    call->out->longs[row] = call->args[0]->fields[1]->longs[row] - 1;
}
