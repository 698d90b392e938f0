/* base/clock.c: time, the calendar, and chance. */
#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/error.h"

static int64_t read_us(clockid_t which)
{
    struct timespec now;
    clock_gettime(which, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

void mr_clock_init(struct mr_clock *clock)
{
    *clock = (struct mr_clock){0};
}

void mr_clock_init_manual(struct mr_clock *clock, int64_t wall_us)
{
    *clock = (struct mr_clock){.manual = true, .wall_us = wall_us, .mono_us = 1000000};
}

void mr_clock_pass(struct mr_clock *clock, int64_t us)
{
    mr_assert(clock->manual && us >= 0);
    clock->wall_us += us;
    clock->mono_us += us;
}

int64_t mr_clock_wall_us(const struct mr_clock *clock)
{
    return clock->manual ? clock->wall_us : read_us(CLOCK_REALTIME);
}

int64_t mr_clock_mono_us(const struct mr_clock *clock)
{
    return clock->manual ? clock->mono_us : read_us(CLOCK_MONOTONIC);
}

/* ---- calendar: an era is 400 years of 146097 days; years here begin in March, so that the leap
 * day is a year's last ---- */

static int64_t floor_div(int64_t a, int64_t b)
{
    int64_t quotient = a / b;
    return a % b != 0 && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}

int64_t mr_days_from_civil(int64_t year, int month, int day)
{
    int64_t march_year = month <= 2 ? year - 1 : year;
    int64_t era = floor_div(march_year, 400);
    int64_t year_of_era = march_year - era * 400;
    int64_t march_month = (month + 9) % 12;
    int64_t day_of_year = (153 * march_month + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468; /* 719468: from 0000-03-01 to 1970-01-01 */
}

void mr_civil_from_days(int64_t days, int64_t *year, int *month, int *day)
{
    int64_t shifted = days + 719468;
    int64_t era = floor_div(shifted, 146097);
    int64_t day_of_era = shifted - era * 146097;
    int64_t leap_free = day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096;
    int64_t year_of_era = leap_free / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t march_month = (5 * day_of_year + 2) / 153;
    *day = (int)(day_of_year - (153 * march_month + 2) / 5 + 1);
    *month = (int)(march_month < 10 ? march_month + 3 : march_month - 9);
    *year = year_of_era + era * 400 + (*month <= 2);
}

void mr_time_format(int64_t wall_us, int digits, char out[32])
{
    int64_t days = floor_div(wall_us, 86400000000), year = 0;
    int64_t us = wall_us - days * 86400000000;
    int month = 0, day = 0;
    mr_civil_from_days(days, &year, &month, &day);
    int fraction = (int)(us % 1000000), seconds = (int)(us / 1000000);
    int at = snprintf(out, 32, "%04lld-%02d-%02dT%02d:%02d:%02d", (long long)year, month, day,
                      seconds / 3600, seconds / 60 % 60, seconds % 60);
    if (digits == 3)
        snprintf(out + at, (size_t)(32 - at), ".%03dZ", fraction / 1000);
    else if (digits == 6)
        snprintf(out + at, (size_t)(32 - at), ".%06dZ", fraction);
    else
        snprintf(out + at, (size_t)(32 - at), "Z");
}

/* ---- chance: xoshiro256** (Blackman and Vigna), its state filled by splitmix64 ---- */

void mr_random_init(struct mr_random *random, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        seed += 0x9E3779B97F4A7C15u;
        uint64_t mixed = (seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9u;
        mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EBu;
        random->state[i] = mixed ^ (mixed >> 31);
    }
}

static uint64_t rotate_left(uint64_t value, int bits)
{
    return value << bits | value >> (64 - bits);
}

uint64_t mr_random_u64(struct mr_random *random)
{
    uint64_t *s = random->state;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9, shifted = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = rotate_left(s[3], 45);
    return result;
}

uint64_t mr_random_below(struct mr_random *random, uint64_t bound)
{
    mr_assert(bound > 0);
    uint64_t unfair = (0 - bound) % bound; /* 2^64 mod bound: the values that would favour some */
    uint64_t value = mr_random_u64(random);
    while (value < unfair)
        value = mr_random_u64(random);
    return value % bound;
}

double mr_random_unit(struct mr_random *random)
{
    return (double)(mr_random_u64(random) >> 11) * 0x1.0p-53;
}

void mr_entropy(void *out, uint32_t length)
{
    uint32_t done = 0;
    while (done < length) {
        ssize_t got = getrandom((char *)out + done, length - done, 0);
        mr_assert(got > 0 || errno == EINTR);
        done += got > 0 ? (uint32_t)got : 0;
    }
}
