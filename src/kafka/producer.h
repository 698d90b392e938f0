/* kafka/producer.h: what producer.c (records to batches to acknowledgements) and transaction.c
 * (when may they go, and how does it end) share. One loop. */
#ifndef KAFKA_PRODUCER_H
#define KAFKA_PRODUCER_H

#include "kafka/client.h"

enum kafka_membership { KAFKA_MEMBER_ABSENT, KAFKA_MEMBER_ADDING, KAFKA_MEMBER_ADDED };

struct kafka_producer_batch {
    struct kafka_producer_batch *next;
    struct kafka_producer_partition *partition;
    struct mr_bytes *bytes;
    struct mr_buf buf; /* a view on `bytes`: it is grown by hand, so that it can be sent */
    struct kafka_builder builder;
    uint64_t serial; /* rises in the order of opening */
    int32_t sequence;
    int32_t attempts;
    bool finished; /* packed, with header */
    bool sent;     /* under way */
    int64_t deadline_us;
    size_t charged; /* of producer->bytes */
};
struct kafka_producer_partition {
    struct kafka_producer_topic *topic;
    int32_t index;
    struct kafka_producer_batch *open;
    struct kafka_producer_batch *first, **last; /* sealed and not acknowledged, in order */
    int32_t in_flight;                          /* of those: sent */
    bool backing_off; /* nothing is sent until in_flight is 0 and resume_us is there */
    int64_t resume_us;
    int32_t next_sequence;
    enum kafka_membership membership;
    bool listed; /* in producer->busy */
};
struct kafka_producer_waiter {
    struct kafka_producer_waiter *next;
    uint64_t serial; /* batches up to this one */
    size_t left;
    mr_err err; /* of the first that was lost */
    char *why;
    kafka_done *done;
    void *context;
};
struct kafka_producer_asker { /* waits for a topic's partitions */
    struct kafka_producer_asker *next;
    void (*done)(void *context, mr_err err, struct kafka_producer_topic *topic);
    void *context;
    int64_t deadline_us;
};
struct kafka_producer_topic {
    struct kafka_producer *producer;
    struct kafka_topic *meta;
    struct kafka_producer_partition **partitions;
    int32_t partition_count;
    int32_t sticky; /* partition of records without a key, until its batch is sealed */
    struct kafka_producer_asker *askers;
};
struct kafka_producer_tell { /* a callback that is due */
    struct kafka_producer_tell *next;
    kafka_done *done;
    void *context;
    mr_err err;
    char *why;
};
struct kafka_produce;
struct kafka_producer_offsets { /* of one group, in the open transaction */
    struct kafka_producer *producer;
    mr_str group;
    struct kafka_offset *offsets;
    size_t count;
    bool started, added, done;
    bool committing;
};

enum kafka_producer_state {
    KAFKA_PRODUCER_NEW,      /* without a producer id */
    KAFKA_PRODUCER_STARTING, /* InitProducerId is under way */
    KAFKA_PRODUCER_READY,
    KAFKA_PRODUCER_OPEN,       /* a transaction is open */
    KAFKA_PRODUCER_COMMITTING, /* waits for acknowledgements, then for EndTxn */
    KAFKA_PRODUCER_ABORTING,
    KAFKA_PRODUCER_BROKEN, /* fenced, or no right to the id: for good */
};
struct kafka_producer {
    struct kafka_client *client;
    struct kafka_producer_options options;
    mr_str transactional_id; /* owned; data NULL: plain */
    enum kafka_producer_state state;
    int64_t producer_id; /* -1: none */
    int16_t producer_epoch;
    struct mr_map topics;
    MR_ARRAY(struct kafka_producer_partition *) busy; /* have batches that are not acknowledged */
    size_t bytes;                                     /* in all batches */
    size_t live;                                      /* batches */
    size_t in_flight;                                 /* sent batches */
    uint64_t serial;
    uint64_t flush_serial; /* batches up to here are sealed without waiting for company */
    bool full;             /* has_room() was false */
    bool gap;              /* sequences are broken: a new epoch is needed before the next send */
    bool closed;
    int64_t refresh_us; /* metadata is not asked for before */
    struct kafka_producer_waiter *waiters;
    struct kafka_producer_tell *tells;
    struct kafka_produce *produces; /* requests under way */
    struct kafka_listener listener;
    struct mr_task task;
    struct mr_timer timer;
    mr_err err; /* why it is broken, or why the transaction cannot commit */
    char *why;
    /* transaction.c */
    struct mr_arena arena; /* of the transaction */
    MR_ARRAY(struct kafka_producer_partition *) members;
    MR_ARRAY(struct kafka_producer_offsets *) offsets;
    bool raising;        /* this transaction's end raises the epoch, and its records add their
                          * partitions by themselves: seen at its begin */
    bool asked;          /* the coordinator may know of this transaction */
    bool adding;         /* AddPartitionsToTxn is under way */
    bool ending;         /* EndTxn is under way */
    size_t offset_calls; /* under way */
    kafka_done *done;    /* of init, commit or abort */
    void *done_context;
};

/* producer.c */
void kafka_producer_wake(
    struct kafka_producer *producer); /* the turn's end looks what can be done */
void kafka_producer_wake_in(struct kafka_producer *producer, int64_t delay_us);
void kafka_producer_fail(struct kafka_producer *producer,
                         mr_err err); /* keeps the present sentence */
void kafka_producer_later(struct kafka_producer *producer, kafka_done *done, void *context,
                          mr_err err);
void kafka_producer_drop_unsent(struct kafka_producer *producer);
/* New id or epoch: sequences begin at 0, batches that wait are claimed anew. */
void kafka_producer_renumber(struct kafka_producer *producer);
/* transaction.c */
void kafka_transaction_start(struct kafka_producer *producer);           /* InitProducerId */
void kafka_transaction_join(struct kafka_producer_partition *partition); /* has records now */
void kafka_transaction_add(
    struct kafka_producer *producer); /* AddPartitionsToTxn for the new ones */
void kafka_transaction_step(struct kafka_producer *producer); /* on with commit or abort */
void kafka_transaction_fini(struct kafka_producer *producer);

#endif
