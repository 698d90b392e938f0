/* scheduler/cron.c: hides what a cron expression means and how the clocks of a zone go. */
#include "scheduler/cron.h"

#include <limits.h>
#include <stdio.h>

enum { DAY_S = 86400, ZONE_FILE_BYTES_MAX = 1 << 20, YEARS_AHEAD_MAX = 9 };

/* ---- zones ---- */

/* One end of a year's daylight saving: "M3.5.0/2", "J60", "59" (RFC 8536, 3.3.1; POSIX TZ). */
struct change {
    char kind; /* 'M', 'J' (leap days not counted) or '0' */
    int month, week, day;
    int64_t at_s; /* local seconds after midnight, -167 to 167 hours */
};
struct scheduler_zone {
    int64_t *transitions; /* ascending */
    uint8_t *kinds;       /* of each transition */
    int32_t offsets[256];
    uint32_t transition_count, kind_count;
    bool rule; /* the footer's rule holds after the last transition */
    bool daylight;
    int64_t standard_s, daylight_s;
    struct change start, end;
};

static int64_t rule_number(const char **at)
{
    int64_t sign = 1, number = 0;
    if (**at == '-' || **at == '+')
        sign = *(*at)++ == '-' ? -1 : 1;
    while (**at >= '0' && **at <= '9' && number < 100000)
        number = number * 10 + (*(*at)++ - '0');
    return sign * number;
}

/* [+-]hh[:mm[:ss]] in seconds. */
static int64_t rule_time(const char **at)
{
    bool negative = **at == '-';
    int64_t seconds = rule_number(at) * 3600, unit = 60;
    for (; **at == ':' && unit > 0; unit /= 60) {
        (*at)++;
        int64_t part = rule_number(at) * unit;
        seconds += negative ? -part : part;
    }
    return seconds;
}

static void rule_name(const char **at)
{
    if (**at == '<') {
        while (**at != '\0' && **at != '>')
            (*at)++;
        if (**at == '>')
            (*at)++;
        return;
    }
    while ((**at >= 'a' && **at <= 'z') || (**at >= 'A' && **at <= 'Z'))
        (*at)++;
}

static bool rule_change(const char **at, struct change *change)
{
    if (*(*at)++ != ',')
        return false;
    *change = (struct change){.kind = '0', .at_s = 7200};
    if (**at == 'M') {
        (*at)++;
        change->kind = 'M';
        change->month = (int)rule_number(at);
        change->week = **at == '.' ? ((*at)++, (int)rule_number(at)) : 0;
        change->day = **at == '.' ? ((*at)++, (int)rule_number(at)) : -1;
        if (change->month < 1 || change->month > 12 || change->week < 1 || change->week > 5 ||
            change->day < 0 || change->day > 6)
            return false;
    } else {
        if (**at == 'J') {
            (*at)++;
            change->kind = 'J';
        }
        change->day = (int)rule_number(at);
        if (change->day < 0 || change->day > 365)
            return false;
    }
    if (**at == '/') {
        (*at)++;
        change->at_s = rule_time(at);
    }
    return true;
}

/* "CET-1CEST,M3.5.0,M10.5.0/3": POSIX counts west, we count east. */
static bool rule_parse(const char *at, struct scheduler_zone *zone)
{
    rule_name(&at);
    zone->standard_s = -rule_time(&at);
    if (*at == '\0')
        return true;
    rule_name(&at);
    zone->daylight = true;
    zone->daylight_s = *at == ',' || *at == '\0' ? zone->standard_s + 3600 : -rule_time(&at);
    return rule_change(&at, &zone->start) && rule_change(&at, &zone->end);
}

static int weekday_of(int64_t days)
{
    return (int)(((days + 4) % 7 + 7) % 7); /* 1970-01-01 was a Thursday */
}

static bool is_leap(int64_t year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

/* The change's moment in a year, in local seconds since 1970. */
static int64_t change_at(const struct change *change, int64_t year)
{
    int64_t days;
    if (change->kind == 'M') {
        int64_t first = mr_days_from_civil(year, change->month, 1);
        int64_t next = change->month == 12 ? mr_days_from_civil(year + 1, 1, 1)
                                           : mr_days_from_civil(year, change->month + 1, 1);
        days = first + (change->day - weekday_of(first) + 7) % 7 + 7 * (change->week - 1);
        while (days >= next)
            days -= 7;
    } else {
        days = mr_days_from_civil(year, 1, 1) + change->day;
        if (change->kind == 'J')
            days += is_leap(year) && change->day >= 60 ? 0 : -1;
    }
    return days * DAY_S + change->at_s;
}

static int64_t rule_offset(const struct scheduler_zone *zone, int64_t unix_s)
{
    int64_t year, days = (unix_s + zone->standard_s) / DAY_S;
    int month, day;
    if (!zone->daylight)
        return zone->standard_s;
    mr_civil_from_days(days, &year, &month, &day);
    int64_t start = change_at(&zone->start, year) - zone->standard_s;
    int64_t end = change_at(&zone->end, year) - zone->daylight_s;
    bool inside = start < end ? unix_s >= start && unix_s < end : unix_s >= start || unix_s < end;
    return inside ? zone->daylight_s : zone->standard_s;
}

int64_t scheduler_zone_offset(const struct scheduler_zone *zone, int64_t unix_s)
{
    uint32_t low = 0, high;
    if (zone == NULL)
        return 0;
    high = zone->transition_count;
    if (zone->rule && (high == 0 || unix_s >= zone->transitions[high - 1]))
        return rule_offset(zone, unix_s);
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (zone->transitions[middle] <= unix_s)
            low = middle + 1;
        else
            high = middle;
    }
    return low == 0 ? zone->offsets[0] : zone->offsets[zone->kinds[low - 1]];
}

struct zone_counts {
    uint32_t isut, isstd, leap, time, type, chars;
};

static bool zone_header(struct mr_in *in, struct zone_counts *counts)
{
    bool magic = mr_str_equal(mr_in_take(in, 4), MR_STR("TZif"));
    mr_in_take(in, 16);
    counts->isut = mr_in_be32(in);
    counts->isstd = mr_in_be32(in);
    counts->leap = mr_in_be32(in);
    counts->time = mr_in_be32(in);
    counts->type = mr_in_be32(in);
    counts->chars = mr_in_be32(in);
    return magic && in->err == MR_OK && counts->time < 100000 && counts->type <= 256 &&
           counts->type > 0 && counts->chars < 10000 && counts->leap < 10000 &&
           counts->isut <= 256 && counts->isstd <= 256;
}

/* The 64-bit block behind the 32-bit one, then the rule (RFC 8536, 3). */
static bool zone_read(struct mr_in *in, struct scheduler_zone *zone)
{
    struct zone_counts counts;
    char rule[256];
    if (!zone_header(in, &counts))
        return false;
    mr_in_take(in, counts.time * 5 + counts.type * 6 + counts.chars + counts.leap * 8 +
                       counts.isstd + counts.isut);
    if (!zone_header(in, &counts) || mr_in_left(in) < counts.time * 9 + counts.type * 6)
        return false;
    zone->transition_count = counts.time;
    zone->kind_count = counts.type;
    zone->transitions = mr_new_array(int64_t, counts.time + 1);
    zone->kinds = mr_new_array(uint8_t, counts.time + 1);
    for (uint32_t i = 0; i < counts.time; i++)
        zone->transitions[i] = (int64_t)mr_in_be64(in);
    for (uint32_t i = 0; i < counts.time; i++) {
        zone->kinds[i] = mr_in_u8(in);
        if (zone->kinds[i] >= counts.type)
            return false;
    }
    for (uint32_t i = 0; i < counts.type; i++) {
        zone->offsets[i] = (int32_t)mr_in_be32(in);
        mr_in_take(in, 2);
    }
    mr_in_take(in, counts.chars + counts.leap * 12 + counts.isstd + counts.isut);
    mr_str footer = mr_str_trim(mr_in_take(in, mr_in_left(in)));
    if (in->err != MR_OK || footer.length >= sizeof rule)
        return false;
    memcpy(rule, footer.data, footer.length);
    rule[footer.length] = '\0';
    zone->rule = footer.length > 0;
    return !zone->rule || rule_parse(rule, zone);
}

mr_err scheduler_zone_open(mr_str name, struct scheduler_zone **out)
{
    static const char *const roots[] = {"/usr/share/zoneinfo", "/usr/lib/zoneinfo"};
    struct mr_buf file = {0};
    char path[512];
    mr_err err = MR_NOT_FOUND;
    if (name.length == 0 || mr_str_equal(name, MR_STR("UTC"))) {
        *out = NULL;
        return MR_OK;
    }
    if (name.length > 100 || name.data[0] == '/' || name.data[0] == '.' ||
        mr_str_find(name, MR_STR("..")) >= 0)
        return mr_fail(MR_NOT_FOUND,
                       "`%.*s` is no time zone; expected a name such as Europe/Berlin",
                       MR_STR_ARG(name));
    for (size_t i = 0; i < mr_count_of(roots) && err != MR_OK; i++) {
        snprintf(path, sizeof path, "%s/%.*s", roots[i], MR_STR_ARG(name));
        err = mr_file_read(path, ZONE_FILE_BYTES_MAX, &file);
    }
    if (err != MR_OK) {
        mr_buf_fini(&file);
        return mr_fail(MR_NOT_FOUND,
                       "`%.*s` is no time zone; expected a name such as Europe/Berlin",
                       MR_STR_ARG(name));
    }
    struct scheduler_zone *zone = mr_new(struct scheduler_zone);
    struct mr_in in = mr_in_str(mr_buf_as_str(&file));
    if (zone_read(&in, zone)) {
        *out = zone;
        zone = NULL;
    } else {
        err = mr_fail(MR_CORRUPT, "%s is no time zone file that can be read", path);
    }
    scheduler_zone_close(zone);
    mr_buf_fini(&file);
    return err;
}

void scheduler_zone_close(struct scheduler_zone *zone)
{
    if (zone == NULL)
        return;
    mr_free(zone->transitions);
    mr_free(zone->kinds);
    mr_free(zone);
}

/* ---- expressions ---- */

static const struct field {
    const char *word;
    int low, high;
    const char *names; /* three letters each, from `low` */
} fields[] = {
    {"minute", 0, 59, ""},
    {"hour", 0, 23, ""},
    {"day of month", 1, 31, ""},
    {"month", 1, 12, "janfebmaraprmayjunjulaugsepoctnovdec"},
    {"day of week", 0, 7, "sunmontuewedthufrisat"},
};

static bool field_value(const struct field *field, mr_str text, int64_t *value)
{
    for (int i = 0; text.length == 3 && field->names[i * 3] != '\0'; i++) {
        if (mr_str_equal_nocase(text, mr_str_of(field->names + i * 3, 3))) {
            *value = field->low + i;
            return true;
        }
    }
    return mr_str_to_i64(text, value) == MR_OK && *value >= field->low && *value <= field->high;
}

/* "*", "5", "1-5", each with "/step". */
static bool field_part(const struct field *field, mr_str part, uint64_t *bits)
{
    int64_t low = field->low, high = field->high, step = 1;
    ptrdiff_t slash = mr_str_find_byte(part, '/'), dash;
    mr_str range = slash < 0 ? part : mr_str_slice(part, 0, (size_t)slash);
    if (slash >= 0 &&
        (mr_str_to_i64(mr_str_slice(part, (size_t)slash + 1, part.length), &step) != MR_OK ||
         step < 1 || step > 60))
        return false;
    dash = mr_str_find_byte(range, '-');
    if (!mr_str_equal(range, MR_STR("*"))) {
        mr_str first = dash < 0 ? range : mr_str_slice(range, 0, (size_t)dash);
        if (!field_value(field, first, &low))
            return false;
        if (dash >= 0 &&
            !field_value(field, mr_str_slice(range, (size_t)dash + 1, range.length), &high))
            return false;
        if (dash < 0 && slash < 0)
            high = low;
    }
    if (low > high)
        return false;
    for (int64_t i = low; i <= high; i += step)
        *bits |= (uint64_t)1 << i;
    return true;
}

mr_err scheduler_cron_parse(mr_str text, struct scheduler_cron *out)
{
    static const struct {
        const char *word, *meaning;
    } words[] = {{"@yearly", "0 0 1 1 *"}, {"@monthly", "0 0 1 * *"},  {"@weekly", "0 0 * * 0"},
                 {"@daily", "0 0 * * *"},  {"@midnight", "0 0 * * *"}, {"@hourly", "0 * * * *"}};
    uint64_t bits[5] = {0};
    bool any[5] = {false};
    size_t count = 0;
    mr_str rest = mr_str_trim(text), token, part;
    for (size_t i = 0; i < mr_count_of(words); i++)
        if (mr_str_equal_nocase(rest, mr_str_from(words[i].word)))
            rest = mr_str_from(words[i].meaning);
    while (mr_str_split(&rest, ' ', &token)) {
        token = mr_str_trim(token);
        if (token.length == 0)
            continue;
        if (count == 5)
            return mr_fail(MR_INVALID, "`%.*s` has more than the five fields of a cron expression",
                           MR_STR_ARG(text));
        any[count] = token.data[0] == '*';
        mr_str list = token;
        while (mr_str_split(&list, ',', &part))
            if (!field_part(&fields[count], part, &bits[count]))
                return mr_fail(MR_INVALID,
                               "`%.*s` is no %s of a cron expression; expected numbers from %d to "
                               "%d, `*`, `a-b`, `a,b` or `*/n`",
                               MR_STR_ARG(token), fields[count].word, fields[count].low,
                               fields[count].high);
        count++;
    }
    if (count != 5)
        return mr_fail(
            MR_INVALID,
            "`%.*s` has %zu fields; a cron expression has five: minute hour day month weekday",
            MR_STR_ARG(text), count);
    *out = (struct scheduler_cron){bits[0],
                                   (uint32_t)bits[1],
                                   (uint32_t)bits[2],
                                   (uint32_t)bits[3],
                                   (uint32_t)((bits[4] | bits[4] >> 7) & 0x7f),
                                   any[2],
                                   any[4]};
    return MR_OK;
}

static bool day_fits(const struct scheduler_cron *cron, int64_t days)
{
    int64_t year;
    int month, day;
    mr_civil_from_days(days, &year, &month, &day);
    if (!(cron->months >> month & 1))
        return false;
    bool by_day = cron->days >> day & 1, by_weekday = cron->weekdays >> weekday_of(days) & 1;
    return cron->any_day || cron->any_weekday ? by_day && by_weekday : by_day || by_weekday;
}

/* The moment at which the zone's clock first shows `local_s`, or has jumped over it. */
static int64_t moment_of(const struct scheduler_zone *zone, int64_t local_s)
{
    int64_t before = scheduler_zone_offset(zone, local_s - DAY_S),
            after = scheduler_zone_offset(zone, local_s + DAY_S);
    int64_t larger = before > after ? before : after, smaller = before > after ? after : before;
    int64_t early = local_s - larger, late = local_s - smaller;
    if (early + scheduler_zone_offset(zone, early) == local_s)
        return early;
    if (late + scheduler_zone_offset(zone, late) == local_s)
        return late;
    /* Left out: the clock jumps somewhere in [early, late]; find the first moment past it. */
    int64_t low = early, high = late;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (middle + scheduler_zone_offset(zone, middle) >= local_s)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

int64_t scheduler_cron_next(const struct scheduler_cron *cron, const struct scheduler_zone *zone,
                            int64_t after_us)
{
    int64_t after_s = after_us >= 0 ? after_us / 1000000 : (after_us - 999999) / 1000000;
    int64_t local = after_s + scheduler_zone_offset(zone, after_s);
    int64_t first = (local >= 0 ? local : local - DAY_S + 1) / DAY_S - 1;
    for (int64_t days = first; days < first + 366 * YEARS_AHEAD_MAX; days++) {
        if (!day_fits(cron, days))
            continue;
        for (int64_t minute = 0; minute < 1440; minute++) {
            if (!(cron->hours >> (minute / 60) & 1) || !(cron->minutes >> (minute % 60) & 1))
                continue;
            int64_t moment = moment_of(zone, days * DAY_S + minute * 60);
            if (moment > after_s)
                return moment * 1000000;
        }
    }
    return INT64_MAX;
}
