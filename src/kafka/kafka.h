/* kafka/kafka.h: our client of a Kafka log: metadata, admin, producers (plain, idempotent and
 * transactional), fetchers by hand, members of groups and their offsets. The tables of the protocol come along.
 *
 * Everything belongs to one loop and is called on its thread; nothing blocks. An answer is a call
 * of the given function with the given context, once, never from inside the call that asked for
 * it; with an error the sentence is in mr_why() during that call. What a callback is given is a
 * loan until it returns, unless it says otherwise. Retriable trouble (a broker that is away or
 * loading, a leader that moved) is retried with back-off until the time-out (30 s unless an option
 * says otherwise).
 *
 * Close in this order: fetchers, members and producers, then the client. Closing ends what is pending with
 * MR_CANCELLED, told later on the loop; a fetcher or producer tells nothing more after its close.
 */
#ifndef KAFKA_KAFKA_H
#define KAFKA_KAFKA_H

#include "kafka/messages.h"
#include "kafka/records.h"
#include "kafka/walk.h"
#include "net/net.h"

struct kafka_client;
struct kafka_producer;
struct kafka_fetcher;
struct kafka_member;

typedef void kafka_done(void *context, mr_err err);

enum {
    KAFKA_OFFSET_LATEST = -1, /* as an offset to read from, and as a time in a query */
    KAFKA_OFFSET_EARLIEST = -2,
    KAFKA_TIMEOUT_MS = 30000,
};

/* ---- the client: one connection per broker, pipelined, answers in order ---- */

/* "host:port,host2:port2"; port 9092 when left out. Connects on first use and again after a loss.
 * Errors: MR_INVALID (not addresses). */
mr_err kafka_client_open(struct mr_loop *loop, mr_str addresses, mr_str client_id,
                         struct kafka_client **out);
/* How its connections are made; {0}: plain TCP, nobody signs in. Everything is copied. */
struct kafka_security {
    bool tls;
    struct net_tls_client files; /* with tls: whom to trust, our own certificate (mTLS); {0}: the
                                  * system's authorities, and none of ours */
    mr_str mechanism;            /* SASL: "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"; empty: none */
    mr_str user, password;       /* with a mechanism */
};
struct kafka_security kafka_security_copy(struct mr_arena *arena,
                                          const struct kafka_security *security);
/* Requests of a client that may not come in (a wrong password, a certificate that a side does not
 * trust) end at once with MR_AUTH; the sentence has the address, the mechanism and the user, never
 * the password. Errors besides: MR_UNSUPPORTED (a mechanism), MR_INVALID, MR_NOT_FOUND, MR_DENIED (a
 * file of TLS). Reads those files: may block for that. */
mr_err kafka_client_open_secure(struct mr_loop *loop, mr_str addresses, mr_str client_id,
                                const struct kafka_security *security, struct kafka_client **out);
void kafka_client_close(struct kafka_client *client); /* accepts NULL */
/* What stands in the way of a request that is being retried now, its sentence in mr_why(); MR_OK: nothing. */
mr_err kafka_client_trouble(const struct kafka_client *client);
struct mr_loop *kafka_client_loop(const struct kafka_client *client);
/* The partition of a key, as the Java client chooses it. */
int32_t kafka_client_partition(mr_str key, int32_t partition_count);

/* Who answers a request. */
enum kafka_target_kind {
    KAFKA_TARGET_ANY, /* any broker */
    KAFKA_TARGET_CONTROLLER,
    KAFKA_TARGET_LEADER,      /* of name/partition */
    KAFKA_TARGET_GROUP,       /* coordinator of the group `name` */
    KAFKA_TARGET_TRANSACTION, /* coordinator of the transactional id `name` */
    KAFKA_TARGET_NODE,        /* the node of this id; MR_NOT_FOUND when the cluster has none */
};
struct kafka_target {
    enum kafka_target_kind kind;
    mr_str name;
    int32_t partition; /* or the node id */
};
/* One request of apis.def by its structs. `fill` writes it when the version is known (the newest
 * that both sides speak, at most `version_max`; -1: ours), again for a retry; it begins with
 * defaults, and its arrays go into the arena. `done` gets the response; the error codes in it are
 * the caller's matter. Errors: MR_UNSUPPORTED when the broker lacks the API, MR_TIMEOUT,
 * MR_UNREACHABLE. */
typedef void kafka_fill(void *context, int16_t version, struct mr_arena *arena, void *request);
typedef void kafka_answer(void *context, mr_err err, int16_t version, const void *response);
void kafka_client_request(struct kafka_client *client, struct kafka_target target, int16_t api_key,
                          int16_t version_max, kafka_fill *fill, kafka_answer *done, void *context);

/* ---- admin ---- */
struct kafka_new_topic {
    mr_str name;
    int32_t partitions;                 /* 0: the broker's default */
    int16_t replication;                /* 0: the broker's default */
    const struct kafka_header *configs; /* name and value, e.g. cleanup.policy, compact */
    size_t config_count;
};
/* Makes what is not there; a topic that exists is fine. Ends when every topic has leaders. */
void kafka_admin_create_topics(struct kafka_client *client, const struct kafka_new_topic *topics,
                               size_t count, kafka_done *done, void *context);
/* An absent topic gives MR_NOT_FOUND. */
void kafka_admin_delete_topic(struct kafka_client *client, mr_str topic, kafka_done *done,
                              void *context);
/* Number of partitions; MR_NOT_FOUND when absent (never makes the topic). */
void kafka_admin_partitions(struct kafka_client *client, mr_str topic,
                            void (*done)(void *context, mr_err err, int32_t partitions),
                            void *context);
/* All topics, from any broker. */
void kafka_admin_topics(struct kafka_client *client,
                        void (*done)(void *context, mr_err err,
                                     const struct kafka_metadata_response *metadata),
                        void *context);
/* Settings of one topic. */
void kafka_admin_configs(struct kafka_client *client, mr_str topic,
                         void (*done)(void *context, mr_err err,
                                      const struct kafka_describe_configs_result *configs),
                         void *context);

/* An offset of a partition: asked by time, answered, committed. */
struct kafka_offset {
    mr_str topic;
    int32_t partition;
    int64_t offset;    /* answers: -1 none (no commit; no record at or after the time) */
    int64_t timestamp; /* ms; or KAFKA_OFFSET_LATEST, KAFKA_OFFSET_EARLIEST */
};
typedef void kafka_offsets(void *context, mr_err err, const struct kafka_offset *offsets,
                           size_t count);
/* Offsets by time; read_committed: latest is the last stable offset. Answers in the order asked. */
void kafka_admin_offsets(struct kafka_client *client, const struct kafka_offset *asked,
                         size_t count, bool read_committed, kafka_offsets *done, void *context);
/* Committed offsets of a group; count 0: all it has. Waits for open transactions (require stable).
 */
void kafka_group_offsets(struct kafka_client *client, mr_str group,
                         const struct kafka_offset *asked, size_t count, kafka_offsets *done,
                         void *context);
/* Commits outside of a transaction, for a group without members. */
void kafka_group_commit(struct kafka_client *client, mr_str group,
                        const struct kafka_offset *offsets, size_t count, kafka_done *done,
                        void *context);
/* ---- member: of a consumer group, for one topic; the classic protocol, strategy `range` ----
 *
 *    joining --assigned--> holding --revoked--> (its owner commits) --kafka_member_rejoin()--> joining
 *
 * It says by itself that it is alive. Trouble with the way to the coordinator passes, once it has held something. */
struct kafka_member_options {
    mr_str group, topic;  /* copied */
    int32_t session_ms;   /* 0: 45000: silence after which the group goes on without it */
    int32_t rebalance_ms; /* 0: 60000: how long its owner may take to commit and rejoin */
    /* These are its own now, until `revoked`; perhaps none. */
    void (*assigned)(void *context, const int32_t *partitions, size_t count);
    /* The group shares anew, or has gone on without this member (then a commit is refused). */
    void (*revoked)(void *context);
    /* The group does not take it, or the coordinator cannot be reached; only a close is left. */
    void (*failed)(void *context, mr_err err);
    void *context;
};
mr_err kafka_member_open(struct kafka_client *client, const struct kafka_member_options *options,
                         struct kafka_member **out);
void kafka_member_rejoin(struct kafka_member *member); /* after `revoked` */
/* Offsets of what it holds. Errors: MR_AGAIN, MR_CONFLICT, MR_NOT_FOUND (it is another's by now). */
void kafka_member_commit(struct kafka_member *member, const struct kafka_offset *offsets,
                         size_t count, kafka_done *done, void *context);
/* Others get what it held at once, not after its session. Then only a close is left. */
void kafka_member_leave(struct kafka_member *member, kafka_done *done, void *context);
void kafka_member_close(struct kafka_member *member); /* accepts NULL */

/* ---- producer: acks=all, idempotent; transactional when it has an id ----
 *
 *    new --init--> ready --begin--> open --commit/abort--> ending --> ready
 *
 * Records go straight into the open batch of their partition. A batch is sealed when full, when the
 * turn of the loop ends and the broker has room for another request, or by flush and commit.
 * Sequences and order hold through retries. A plain producer needs no init and no begin. */
struct kafka_producer_options {
    mr_str transactional_id;        /* data NULL: plain */
    int32_t transaction_timeout_ms; /* 0: 60000 */
    enum kafka_codec codec;
    size_t batch_bytes_max; /* 0: 1,000,000; at most what the topic takes */
    size_t bytes_max;       /* 0: 32 MiB in open and unacknowledged batches */
    int32_t timeout_ms;     /* 0: 120000: to have a batch acknowledged */
    /* There is room again after kafka_producer_has_room() was false. May be NULL. */
    void (*room)(void *context);
    /* A plain producer lost records for good, outside of any flush; transactional ones say so at
     * commit. May be NULL. */
    void (*failed)(void *context, mr_err err);
    void *context;
};
mr_err kafka_producer_open(struct kafka_client *client,
                           const struct kafka_producer_options *options,
                           struct kafka_producer **out);
void kafka_producer_close(
    struct kafka_producer *producer); /* what is unsent is lost; accepts NULL */
/* Takes the transactional id over: fences the previous holder, ends its transaction. */
void kafka_producer_init(struct kafka_producer *producer, kafka_done *done, void *context);

struct kafka_producer_topic;
/* A topic to write to, kept until the producer is closed; the same one for the same name. `done`
 * has it once its partitions are known; MR_NOT_FOUND when it is absent (it is never made). */
void kafka_producer_topic(struct kafka_producer *producer, mr_str name,
                          void (*done)(void *context, mr_err err,
                                       struct kafka_producer_topic *topic),
                          void *context);
int32_t kafka_producer_partitions(const struct kafka_producer_topic *topic);
/* False: stop appending until `room` is called. A producer that is not asked goes on taking
 * records. */
bool kafka_producer_has_room(const struct kafka_producer *producer);
/* Adds a record to the open batch: the only copy. `partition` -1: by key (no key: partition of the
 * turn). Data NULL: null. Errors: MR_LIMIT (larger than a batch may be), MR_CONFLICT
 * (transactional and no transaction open), MR_FENCED or what has broken the producer or its
 * transaction. */
mr_err kafka_producer_append(struct kafka_producer_topic *topic, int32_t partition,
                             int64_t timestamp_ms, mr_str key, mr_str value,
                             const struct kafka_header *headers, size_t header_count);
/* Sends what is there; `done` when all records appended before are acknowledged, or some are lost
 * (then err says why the first one was). */
void kafka_producer_flush(struct kafka_producer *producer, kafka_done *done, void *context);

/* Transactions. MR_FENCED anywhere: another producer has the id now; close this one. */
mr_err kafka_producer_begin(struct kafka_producer *producer);
/* Makes offsets of a group part of the transaction; they are copied. Goes out with the commit. */
mr_err kafka_producer_send_offsets(struct kafka_producer *producer, mr_str group,
                                   const struct kafka_offset *offsets, size_t count);
/* Flushes, sends the offsets, commits. On an error the transaction is not committed (abort it),
 * except for MR_TIMEOUT and MR_CLOSED in the very commit, when nobody knows: init again and look.
 * A broker may answer before committed readers see the records; after the next init of the same id
 * they do. */
void kafka_producer_commit(struct kafka_producer *producer, kafka_done *done, void *context);
/* Drops what is unsent and aborts. Afterwards the producer is ready, unless it is fenced. */
void kafka_producer_abort(struct kafka_producer *producer, kafka_done *done, void *context);

/* ---- fetcher: partitions by hand, long polls, bounded prefetch ---- */

/* Records of one partition, as the broker sent them. It keeps its bytes until freed, and the
 * fetcher stops fetching ahead once the bytes that were told and not freed pass
 * prefetch_bytes_max. */
struct kafka_fetched {
    mr_str topic;
    int32_t partition;
    void *tag; /* as given to kafka_fetcher_assign() */
    struct mr_bytes *owner;
    mr_str bytes; /* whole batches, CRC checked */
    int64_t from; /* first offset wanted: earlier records of the first batch are skipped */
    int64_t next; /* where the next fetch goes on */
    int64_t high_watermark, stable, start;
    struct kafka_fetch_aborted_transaction *aborted; /* by first offset; read_committed only */
    int32_t aborted_count;
    struct kafka_fetcher *fetcher;
    size_t charged; /* bytes counted against the prefetch */
};
void kafka_fetched_free(struct kafka_fetched *fetched); /* accepts NULL; also after the close */

/* Reads records in order, without those of aborted transactions and control batches. Compressed
 * batches are unpacked into `arena` (one after the other: reset it between fetched sets). */
struct kafka_reader {
    const struct kafka_fetched *fetched;
    struct mr_arena *arena;
    mr_str left; /* batches to come */
    struct kafka_records records;
    bool inside;  /* records is open */
    int64_t next; /* offset behind what was read or skipped */
    mr_err err;
    MR_ARRAY(int64_t) aborted; /* producers whose open transaction was aborted */
    int32_t aborted_at;        /* of fetched->aborted: those from here on begin later */
};
void kafka_reader_init(struct kafka_reader *reader, const struct kafka_fetched *fetched,
                       struct mr_arena *arena);
/* False at the end and at an error (reader->err, MR_CORRUPT or MR_UNSUPPORTED). */
bool kafka_reader_next(struct kafka_reader *reader, struct kafka_record *record);
void kafka_reader_fini(struct kafka_reader *reader);

struct kafka_fetcher_options {
    bool read_committed;
    int32_t wait_ms_max;         /* 0: 500: how long the broker holds an empty answer */
    int32_t partition_bytes_max; /* 0: 1 MiB */
    int32_t bytes_max;           /* 0: 16 MiB an answer */
    size_t prefetch_bytes_max;   /* 0: 32 MiB told and not freed */
    /* Records; ownership moves to the callee (kafka_fetched_free). */
    void (*records)(void *context, struct kafka_fetched *fetched);
    /* The end of a partition became known, or moved, without records: kafka_fetcher_position() says
     * something else now. NULL: nobody cares. */
    void (*moved)(void *context);
    /* The offset is gone (retention) or not there yet. Returns where to go on: an offset,
     * KAFKA_OFFSET_EARLIEST or KAFKA_OFFSET_LATEST. NULL: earliest. */
    int64_t (*reset)(void *context, mr_str topic, int32_t partition, int64_t offset);
    /* A partition cannot be read (deleted topic, no right, corrupt batch); it is no longer
     * assigned. */
    void (*failed)(void *context, mr_str topic, int32_t partition, mr_err err);
    void *context;
};
mr_err kafka_fetcher_open(struct kafka_client *client, const struct kafka_fetcher_options *options,
                          struct kafka_fetcher **out);
void kafka_fetcher_close(struct kafka_fetcher *fetcher); /* accepts NULL */
/* Reads from `offset` (or KAFKA_OFFSET_EARLIEST, _LATEST) on; assigned again: goes there. */
void kafka_fetcher_assign(struct kafka_fetcher *fetcher, mr_str topic, int32_t partition,
                          int64_t offset, void *tag);
void kafka_fetcher_unassign(struct kafka_fetcher *fetcher, mr_str topic, int32_t partition);
/* While paused nothing is told of the partition; what is under way comes after the resume. */
void kafka_fetcher_pause(struct kafka_fetcher *fetcher, mr_str topic, int32_t partition);
void kafka_fetcher_resume(struct kafka_fetcher *fetcher, mr_str topic, int32_t partition);
struct kafka_position {
    int64_t next;           /* offset of the next fetch; -1: not known yet */
    int64_t high_watermark; /* as of the latest answer; -1: none yet */
    int64_t stable;         /* last stable offset; a read_committed reader's end */
};
/* Errors: MR_NOT_FOUND (not assigned). */
mr_err kafka_fetcher_position(const struct kafka_fetcher *fetcher, mr_str topic, int32_t partition,
                              struct kafka_position *out);

/* Reads a topic from its start to the end that it has now (committed records), then calls on_end.
 * Records behind an open transaction are waited for. Within a partition in order. An absent topic
 * ends with MR_NOT_FOUND. */
void kafka_read_all(struct kafka_client *client, mr_str topic,
                    void (*on_record)(void *context, int32_t partition,
                                      const struct kafka_record *record),
                    kafka_done *on_end, void *context);

#endif
