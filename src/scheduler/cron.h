/* scheduler/cron.h: when a schedule is due. Times are microseconds since 1970, UTC. */
#ifndef SCHEDULER_CRON_H
#define SCHEDULER_CRON_H

#include "base/base.h"

/* ---- time zones: the system's tz database (RFC 8536, version 2 and later) ---- */
struct scheduler_zone;
/* "Europe/Berlin", "UTC". Errors: MR_NOT_FOUND (no such zone), MR_CORRUPT. Blocks (one small file). */
mr_err scheduler_zone_open(mr_str name, struct scheduler_zone **out);
void scheduler_zone_close(struct scheduler_zone *zone); /* accepts NULL: which is UTC */
/* Seconds east of UTC at this moment; NULL is UTC. */
int64_t scheduler_zone_offset(const struct scheduler_zone *zone, int64_t unix_s);

/* ---- cron: minute hour day-of-month month day-of-week ----
 * Lists, ranges, steps, names of months and days; 0 and 7 are Sunday; when both day fields are given
 * one of them is enough (as in Vixie cron). @hourly @daily @weekly @monthly @yearly too. */
struct scheduler_cron {
    uint64_t minutes; /* bit n: minute n */
    uint32_t hours, days, months, weekdays;
    bool any_day, any_weekday; /* the field is `*` */
};
mr_err scheduler_cron_parse(mr_str text, struct scheduler_cron *out);
/* The first due time after `after_us`, by the clock on the zone's walls: a time that a change of the
 * clock leaves out is due when the clock has jumped over it; one that comes twice is due the first time.
 * INT64_MAX: never (30 February). */
int64_t scheduler_cron_next(const struct scheduler_cron *cron, const struct scheduler_zone *zone,
                            int64_t after_us);

#endif
