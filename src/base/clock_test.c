/* base/clock_test.c: the promises of base/clock.h. */
#include "story.h"

STORY("days and dates agree over all of the calendar")
{
    int64_t year = 0;
    int month = 0, day = 0;
    expect_int(mr_days_from_civil(1970, 1, 1), 0);
    expect_int(mr_days_from_civil(2000, 2, 29), 11016);
    expect_int(mr_days_from_civil(1, 1, 1), -719162);
    for (int64_t days = -800000; days < 3000000; days += 13) {
        mr_civil_from_days(days, &year, &month, &day);
        expect(month >= 1 && month <= 12 && day >= 1 && day <= 31);
        expect_int(mr_days_from_civil(year, month, day), days);
    }
    mr_civil_from_days(-1, &year, &month, &day);
    expect_int(year * 10000 + month * 100 + day, 19691231);
}

static void expect_time(int64_t us, int digits, const char *expected)
{
    char text[32];
    mr_time_format(us, digits, text);
    expect_str(mr_str_from(text), mr_str_from(expected));
}

STORY("times print in ISO 8601, also before 1970")
{
    expect_time(0, 0, "1970-01-01T00:00:00Z");
    expect_time(1795242360123456, 6, "2026-11-21T06:26:00.123456Z");
    expect_time(1795242360123456, 3, "2026-11-21T06:26:00.123Z");
    expect_time(-1, 6, "1969-12-31T23:59:59.999999Z");
}

STORY("a test's clock stands still until time is let pass")
{
    struct mr_clock clock;
    mr_clock_init_manual(&clock, 5000000);
    int64_t mono = mr_clock_mono_us(&clock);
    expect_int(mr_clock_wall_us(&clock), 5000000);
    mr_clock_pass(&clock, 7);
    expect_int(mr_clock_wall_us(&clock), 5000007);
    expect_int(mr_clock_mono_us(&clock) - mono, 7);
}

STORY("chance can be replayed, and is fair")
{
    struct mr_random a, b;
    int buckets[10] = {0};
    mr_random_init(&a, 42);
    mr_random_init(&b, 42);
    for (int i = 0; i < 100; i++)
        expect(mr_random_u64(&a) == mr_random_u64(&b));
    for (int i = 0; i < 100000; i++)
        buckets[mr_random_below(&a, 10)]++;
    for (int i = 0; i < 10; i++)
        expect(buckets[i] > 9500 && buckets[i] < 10500);
    for (int i = 0; i < 1000; i++) {
        double unit = mr_random_unit(&a);
        expect(unit >= 0 && unit < 1);
    }
    uint8_t one[32] = {0}, two[32] = {0};
    mr_entropy(one, sizeof one);
    mr_entropy(two, sizeof two);
    expect(memcmp(one, two, sizeof one) != 0);
}
