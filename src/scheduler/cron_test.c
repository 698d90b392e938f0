/* scheduler/cron_test.c: due times, by the clock on the wall. */
#include "scheduler/cron.h"

#include "story.h"

#include <stdio.h>

static void expect_next(const char *expression, const char *zone_name, const char *after,
                        const char *next)
{
    struct scheduler_cron cron;
    struct scheduler_zone *zone;
    char text[32];
    long long year, month, day, hour, minute;
    expect_ok(scheduler_cron_parse(mr_str_from(expression), &cron));
    expect_ok(scheduler_zone_open(mr_str_from(zone_name), &zone));
    expect(sscanf(after, "%lld-%lld-%lldT%lld:%lld", &year, &month, &day, &hour, &minute) == 5);
    int64_t at = (mr_days_from_civil(year, (int)month, (int)day) * 86400 + hour * 3600 +
                  minute * 60) *
                 1000000;
    mr_time_format(scheduler_cron_next(&cron, zone, at), 0, text);
    expect_str(mr_str_from(text), mr_str_from(next));
    scheduler_zone_close(zone);
}

STORY("a schedule is due at the minutes that its fields name")
{
    expect_next("0 6 * * *", "UTC", "2026-11-21T06:00", "2026-11-22T06:00:00Z");
    expect_next("*/15 * * * *", "UTC", "2026-11-21T06:01", "2026-11-21T06:15:00Z");
    expect_next("30 9 * * mon-fri", "UTC", "2026-11-21T00:00", "2026-11-23T09:30:00Z");
    expect_next("0 0 29 feb *", "UTC", "2026-01-01T00:00", "2028-02-29T00:00:00Z");
    expect_next("@monthly", "UTC", "2026-12-15T00:00", "2027-01-01T00:00:00Z");
    expect_next("0 12 13 * 5", "UTC", "2026-11-21T00:00", "2026-11-27T12:00:00Z");
    expect_next("0 0 * * 7", "UTC", "2026-11-21T00:00", "2026-11-22T00:00:00Z");
}

STORY("a schedule goes by its zone's clock, summer and winter")
{
    expect_next("0 6 * * *", "Europe/Berlin", "2026-07-01T00:00", "2026-07-01T04:00:00Z");
    expect_next("0 6 * * *", "Europe/Berlin", "2026-12-01T00:00", "2026-12-01T05:00:00Z");
    expect_next("0 6 * * *", "Asia/Kolkata", "2026-12-01T00:00", "2026-12-01T00:30:00Z");
    expect_next("0 6 * * *", "Europe/Berlin", "2060-07-01T00:00", "2060-07-01T04:00:00Z");
    expect_next("0 6 * * *", "Australia/Sydney", "2060-01-01T00:00", "2060-01-01T19:00:00Z");
}

STORY("a time that the clock jumps over is due right after the jump, one that comes twice is due "
      "once")
{
    expect_next("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", "2026-03-29T01:00:00Z");
    expect_next("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00", "2026-10-25T00:30:00Z");
    expect_next("30 2 * * *", "Europe/Berlin", "2026-10-25T00:30", "2026-10-26T01:30:00Z");
}

STORY("a wrong expression or zone is told in one sentence")
{
    struct scheduler_cron cron;
    struct scheduler_zone *zone;
    expect_err(scheduler_cron_parse(MR_STR("0 6 * *"), &cron), MR_INVALID);
    expect_err(scheduler_cron_parse(MR_STR("61 6 * * *"), &cron), MR_INVALID);
    expect_err(scheduler_cron_parse(MR_STR("5-1 6 * * *"), &cron), MR_INVALID);
    expect_err(scheduler_zone_open(MR_STR("Europe/Atlantis"), &zone), MR_NOT_FOUND);
    expect_err(scheduler_zone_open(MR_STR("../../etc/passwd"), &zone), MR_NOT_FOUND);
    expect_ok(scheduler_cron_parse(MR_STR("0 0 30 2 *"), &cron));
    expect(scheduler_cron_next(&cron, NULL, 0) == INT64_MAX);
}
