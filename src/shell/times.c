/* shell/times.c: hides ISO 8601. */
#include "shell/times.h"

/* A number of exactly `digits` digits off the front. */
static bool take(mr_str *rest, size_t digits, int64_t *out)
{
    if (rest->length < digits || mr_str_find_byte(mr_str_slice(*rest, 0, digits), '-') >= 0 ||
        mr_str_find_byte(mr_str_slice(*rest, 0, digits), '+') >= 0 ||
        mr_str_to_i64(mr_str_slice(*rest, 0, digits), out) != MR_OK)
        return false;
    *rest = mr_str_slice(*rest, digits, rest->length);
    return true;
}

static bool take_byte(mr_str *rest, char byte)
{
    if (rest->length == 0 || rest->data[0] != byte)
        return false;
    *rest = mr_str_slice(*rest, 1, rest->length);
    return true;
}

static bool take_fraction(mr_str *rest, int64_t *ms)
{
    int64_t scale = 100;
    *ms = 0;
    if (!take_byte(rest, '.'))
        return true;
    if (rest->length == 0)
        return false;
    while (rest->length > 0 && rest->data[0] >= '0' && rest->data[0] <= '9') {
        *ms += scale * (rest->data[0] - '0');
        scale /= 10;
        *rest = mr_str_slice(*rest, 1, rest->length);
    }
    return true;
}

static bool take_zone(mr_str *rest, int64_t *ms)
{
    int64_t hours, minutes = 0;
    *ms = 0;
    if (rest->length == 0 || take_byte(rest, 'Z'))
        return rest->length == 0;
    bool back = take_byte(rest, '-');
    if (!back && !take_byte(rest, '+'))
        return false;
    if (!take(rest, 2, &hours) || hours > 18)
        return false;
    take_byte(rest, ':');
    if (rest->length > 0 && (!take(rest, 2, &minutes) || minutes > 59))
        return false;
    *ms = (hours * 60 + minutes) * 60000 * (back ? -1 : 1);
    return rest->length == 0;
}

mr_err shell_time_parse(mr_str text, int64_t *ms)
{
    int64_t year, month, day, hour, minute, second, fraction, zone, check_year;
    int check_month, check_day;
    mr_str rest = text;
    bool good = take(&rest, 4, &year) && take_byte(&rest, '-') && take(&rest, 2, &month) &&
                take_byte(&rest, '-') && take(&rest, 2, &day) && take_byte(&rest, 'T') &&
                take(&rest, 2, &hour) && take_byte(&rest, ':') && take(&rest, 2, &minute) &&
                take_byte(&rest, ':') && take(&rest, 2, &second) &&
                take_fraction(&rest, &fraction) && take_zone(&rest, &zone) && month >= 1 &&
                month <= 12 && day >= 1 && day <= 31 && hour < 24 && minute < 60 && second < 60;
    if (good) {
        int64_t days = mr_days_from_civil(year, (int)month, (int)day);
        mr_civil_from_days(days, &check_year, &check_month, &check_day);
        good = check_day == day;
        *ms = ((days * 24 + hour) * 60 + minute) * 60000 + second * 1000 + fraction - zone;
    }
    return good ? MR_OK
                : mr_fail(MR_INVALID, "`%.*s` is no time; expected such as 2026-01-31T23:59:59Z",
                          MR_STR_ARG(text));
}

mr_err shell_duration_parse(mr_str text, int64_t *ms)
{
    static const struct {
        char letter;
        int64_t ms;
    } dates[] = {{'D', 86400000}}, times[] = {{'H', 3600000}, {'M', 60000}, {'S', 1000}};
    mr_str rest = text;
    bool good = take_byte(&rest, 'P') && rest.length > 0;
    bool in_time = false;
    *ms = 0;
    for (size_t at = 0; good && rest.length > 0;) {
        if (!in_time && take_byte(&rest, 'T')) {
            in_time = true;
            at = 0;
            good = rest.length > 0;
            continue;
        }
        size_t digits = 0;
        int64_t number = 0;
        while (digits < rest.length && rest.data[digits] >= '0' && rest.data[digits] <= '9')
            digits++;
        size_t count = in_time ? mr_count_of(times) : mr_count_of(dates);
        good = digits > 0 && digits <= 9 && take(&rest, digits, &number) && rest.length > 0;
        while (good && at < count && (in_time ? times : dates)[at].letter != rest.data[0])
            at++;
        good = good && at < count;
        if (good)
            *ms += number * (in_time ? times : dates)[at++].ms;
        rest = mr_str_slice(rest, 1, rest.length);
    }
    return good ? MR_OK
                : mr_fail(MR_INVALID, "`%.*s` is no duration; expected such as P1DT12H or PT30M",
                          MR_STR_ARG(text));
}
