/* broker/share_partition.h: one partition as one share group reads it (KIP-932): what became of each
 * record between the group's start and the first record that nobody was given yet.
 *
 *                acquire()                    acknowledge(): accept
 *   AVAILABLE -------------> ACQUIRED ------------------------------------> ACKNOWLEDGED
 *    ^    |                   |  |  |
 *    |    |                   |  |  +--- acknowledge(): reject, gap ------> ARCHIVED
 *    |    |                   |  |                                             ^
 *    |    |                   |  +--- release, or the lock's end, and it was --+
 *    |    |                   |       delivered as often as it may be          |
 *    |    |                   |                                                |
 *    +----|--- release, or the lock's end, or the member's session goes        |
 *         +--- no record there, a marker, or aborted ---- acquire(), cut() ----+
 *
 * Records of one state lie together as runs; the runs cover [start, end) without holes. Runs of what is
 * over are taken off the front: the start is where the first record stands that is not done with.
 * Knows of no log, no socket and no file. Thread: the loop's. */
#ifndef BROKER_SHARE_PARTITION_H
#define BROKER_SHARE_PARTITION_H

#include "broker/places.h"
#include "kafka/messages.h"

enum { BROKER_SHARE_NOWHERE = -1 }; /* a start that is not known before the first fetch */
/* Numbered as in the records. */
enum broker_share_state {
    BROKER_SHARE_AVAILABLE = 0,
    BROKER_SHARE_ACQUIRED = 1,
    BROKER_SHARE_ACKNOWLEDGED = 2,
    BROKER_SHARE_ARCHIVED = 4,
};
/* Numbered as in the protocol. */
enum broker_share_verdict {
    BROKER_SHARE_GAP = 0,
    BROKER_SHARE_ACCEPT = 1,
    BROKER_SHARE_RELEASE = 2,
    BROKER_SHARE_REJECT = 3,
    BROKER_SHARE_RENEW = 4,
};
struct broker_share_run {
    int64_t first, last;
    enum broker_share_state state;
    int16_t deliveries;
    uint64_t owner;  /* of what is acquired: the session's number */
    int64_t lock_us; /* and until when, monotonic */
};
struct broker_share_group;
struct broker_share_partition {
    struct broker_share_group *group;
    struct broker_place place;
    int64_t start; /* or BROKER_SHARE_NOWHERE, without runs */
    struct broker_share_run *items;
    size_t count, capacity;
    struct mr_timer lock; /* the earliest lock's end; its owner sets what it runs */
    int32_t snapshot_epoch, state_epoch;
    int64_t created_ms;
    bool looking; /* for the record to start with, on a disk thread */
};

/* What a member asks for, and what it gets. */
struct broker_share_take {
    uint64_t owner;
    int64_t lock_us;
    int64_t records_max;   /* that are left to take; falls to 0 */
    int64_t batch_size;    /* records that are told as one where their batches allow it */
    int64_t in_flight_max; /* records between start and end, from which none is given out anew */
    bool strict;           /* no more than records_max, though a batch is cut */
    bool full;             /* set when as much is in flight as may be: no more of this partition */
    int64_t at;            /* offset up to which the log was read; rises */
    MR_ARRAY(struct kafka_share_acquired) acquired; /* the caller's */
};

void broker_share_partition_fini(struct broker_share_partition *partition);
/* Forgets everything, and goes on at `start`. */
void broker_share_partition_begin(struct broker_share_partition *partition, int64_t start);
static inline int64_t broker_share_partition_end(const struct broker_share_partition *partition)
{
    return partition->count == 0 ? partition->start
                                 : partition->items[partition->count - 1].last + 1;
}
/* The first offset that may be given out. */
int64_t broker_share_partition_next(const struct broker_share_partition *partition);
/* Whether any may be: what comes back always, new ones while there are not too many in flight. */
bool broker_share_partition_gives(const struct broker_share_partition *partition,
                                  int64_t in_flight_max);
/* Records before `start` are gone from the log. */
void broker_share_partition_cut(struct broker_share_partition *partition, int64_t start);
/* The log ends here: records behind it went with the power, and others will come in their place. Whether
 * there were any. */
bool broker_share_partition_trim(struct broker_share_partition *partition, int64_t end);
/* The next batch of the log, behind the last one that was shown, has the offsets [first, last]; offsets
 * between the two have no records. `skip`: nobody is to see it. How many records of it were taken. */
int64_t broker_share_partition_acquire(struct broker_share_partition *partition,
                                       struct broker_share_take *take, int64_t first, int64_t last,
                                       bool skip);
/* All of it or, with a code of errors.def, nothing. `lock_us`: until when renewed locks hold. */
int16_t broker_share_partition_acknowledge(struct broker_share_partition *partition, uint64_t owner,
                                           const struct kafka_share_acknowledgement *batches,
                                           int32_t count, int16_t deliveries_max, int64_t lock_us);
/* What was acquired just now does not go out: it is as if it had not been delivered. */
void broker_share_partition_undo(struct broker_share_partition *partition, uint64_t owner,
                                 const struct kafka_share_acquired *acquired, int32_t count);
/* The owner is gone: what it has not been seen to handle comes back as if it had not been delivered.
 * Whether there was any. */
bool broker_share_partition_release(struct broker_share_partition *partition, uint64_t owner,
                                    int16_t deliveries_max);
/* Locks that ended by now. Whether there were any. */
bool broker_share_partition_expire(struct broker_share_partition *partition, int64_t now_us,
                                   int16_t deliveries_max);
/* When the first lock ends; INT64_MAX: there is none. */
int64_t broker_share_partition_lock_us(const struct broker_share_partition *partition);
/* Records of [start, end) that are done with. */
int64_t broker_share_partition_done(const struct broker_share_partition *partition);
/* A run of a snapshot, in rising order, while loading. False: it does not fit behind the others. */
bool broker_share_partition_restore(struct broker_share_partition *partition, int64_t first,
                                    int64_t last, enum broker_share_state state,
                                    int16_t deliveries);

#endif
