/* kafka/walk.h: one pass over the records of a batch, as a broker looks at what a producer sends: do they
 * fit the header, so that every reader can read them, and do they keep the topic's rules. It needs no
 * memory for a record, and a compressed batch is never there as a whole. Thread: any. */
#ifndef KAFKA_WALK_H
#define KAFKA_WALK_H

#include "kafka/records.h"

enum { KAFKA_WALK_FAULTS_MAX = 100 }; /* so many are named */

struct kafka_walk_rules {
    bool keys;                  /* each record needs one */
    int64_t time_min, time_max; /* ms; a time of -1 is none, and is always allowed */
};
struct kafka_walk_fault {
    int32_t index; /* of the record in its batch */
    bool no_key;   /* else its time is out of bounds */
    int64_t timestamp;
};
struct kafka_walk {
    struct kafka_walk_rules rules;
    int64_t base_timestamp;
    /* what was found */
    int64_t time_max;    /* of all records; -1: none */
    int32_t count;       /* of whole records */
    int32_t fault_count; /* of all; the first ones are kept */
    struct kafka_walk_fault faults[KAFKA_WALK_FAULTS_MAX];
    /* where in a record the last piece ended */
    int phase, shift;
    uint64_t value;  /* of the number that is being read */
    int64_t left;    /* bytes of the record */
    int64_t skip;    /* bytes of a key or a value */
    int64_t headers; /* to come */
    int64_t timestamp;
    bool no_key;
};
/* Walks all records of a batch whose header was read. `bytes_max`: unpacked. Errors: MR_INVALID (they do not
 * fit the header, or are none), MR_CORRUPT and MR_UNSUPPORTED (they do not unpack), MR_LIMIT. Records that
 * break a rule are no error: they are counted. */
mr_err kafka_walk_batch(struct kafka_walk *walk, const struct kafka_walk_rules *rules,
                        const struct kafka_batch *batch, size_t bytes_max);
/* The same by hand: any pieces, cut anywhere. */
void kafka_walk_begin(struct kafka_walk *walk, const struct kafka_walk_rules *rules,
                      int64_t base_timestamp);
mr_err kafka_walk_piece(struct kafka_walk *walk, mr_str piece);
mr_err kafka_walk_end(const struct kafka_walk *walk, int32_t count);

#endif
