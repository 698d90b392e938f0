/* store/estimates.h: about how many partitions of what size each range of tokens has, table by table: what
 * system.size_estimates shows, and bulk readers (Spark's connector) cut their work by. */
#ifndef STORE_ESTIMATES_H
#define STORE_ESTIMATES_H

#include "store/db.h"

enum {
    STORE_TOKENS = 16, /* of the one node there is */
    STORE_RANGES = STORE_TOKENS +
                   1, /* between them; the one over the end of the ring counts twice */
};
int64_t store_token(int index); /* of STORE_TOKENS, evenly spread, rising */
/* The tokens of a range: above `start`, up to and with `end`. INT64_MIN as a start: from the first; as an
 * end: to the last. */
void store_token_range(int index, int64_t *start, int64_t *end);

struct store_estimate {
    uint32_t table_id;
    struct store_range_estimate {
        int64_t partitions, partition_bytes; /* how many; each about */
    } ranges[STORE_RANGES];
};
/* Blocks: looks at the beginning of each range, and at how much lies behind it. */
void store_estimate_table(struct store_db *db, uint32_t table_id, struct store_estimate *out);

#endif
