/* base/clock.h: time and chance. They belong to a loop, so a test makes a week pass in a millisecond
 * and replays any seed. Units: microseconds unless a name says otherwise. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

struct mr_clock {
    bool manual;              /* a test's clock: stands still until mr_clock_pass() */
    int64_t wall_us, mono_us; /* of a manual clock */
};
void mr_clock_init(struct mr_clock *clock); /* the real one */
void mr_clock_init_manual(struct mr_clock *clock, int64_t wall_us);
void mr_clock_pass(struct mr_clock *clock, int64_t us); /* manual clocks only */
int64_t mr_clock_wall_us(const struct mr_clock *clock); /* since 1970, UTC */
int64_t mr_clock_mono_us(const struct mr_clock *clock); /* never goes back */

/* "2026-11-21T06:26:00.123456Z", NUL-ended; digits 0, 3 or 6. */
void mr_time_format(int64_t wall_us, int digits, char out[32]);
/* Days since 1970-01-01, proleptic Gregorian, and back. month 1..12, day 1..31. */
int64_t mr_days_from_civil(int64_t year, int month, int day);
void mr_civil_from_days(int64_t days, int64_t *year, int *month, int *day);

struct mr_random {
    uint64_t state[4];
};
void mr_random_init(struct mr_random *random, uint64_t seed); /* xoshiro256** by splitmix64 */
uint64_t mr_random_u64(struct mr_random *random);
uint64_t mr_random_below(struct mr_random *random, uint64_t bound); /* [0, bound), bound > 0 */
double mr_random_unit(struct mr_random *random);                    /* [0, 1) */
/* Not replayable: bytes of the system's generator (getrandom), for ids and passwords. */
void mr_entropy(void *out, uint32_t length);

#endif
