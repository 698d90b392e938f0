/* kafka/client.h: what the files of the client share: nodes, calls, metadata. One loop. */
#ifndef KAFKA_CLIENT_H
#define KAFKA_CLIENT_H

#include "kafka/kafka.h"
#include "net/net.h"

enum {
    KAFKA_BACKOFF_MIN_MS = 20,
    KAFKA_BACKOFF_MAX_MS = 1000,
    KAFKA_UNKNOWN_TRIES = 5, /* an unknown topic may be one whose news has not come round */
};

struct kafka_node;
struct kafka_call;
struct kafka_later;
struct kafka_listener;
struct kafka_broker {
    int32_t id; /* of the cluster; a bootstrap address has -1, -2, ... */
    struct net_address address;
};
/* A password after its hashing, for one salt and count. */
struct kafka_salted {
    int kind; /* enum kafka_scram_kind; 0: nothing yet */
    int32_t iterations;
    size_t salt_bytes;
    uint8_t salt[128], password[64];
};
struct kafka_client {
    struct mr_loop *loop;
    mr_str client_id;               /* owned */
    struct kafka_security security; /* owned texts; `files` is used up */
    struct net_tls *tls;            /* NULL: plain */
    struct kafka_salted salted;
    bool closing;        /* freed at the turn's end */
    struct mr_task task; /* turn's end: laters, failures, metadata to ask for */
    MR_ARRAY(struct kafka_broker) brokers;
    size_t bootstrap_count; /* the first ones are as the user gave them */
    size_t bootstrap_next;
    struct kafka_node *nodes;   /* node.c */
    struct kafka_node *dropped; /* freed at the turn's end */
    struct kafka_call *calls;   /* call.c: all that are under way */
    struct mr_map coordinators; /* "kind name" to struct kafka_coordinator */
    struct kafka_later *laters, **laters_end;
    struct kafka_listener *listeners;
    struct kafka_op *waiting;       /* admin.c: topics that are made and wait for leaders */
    struct kafka_reading *readings; /* kafka_read_all() under way */
    struct mr_map topics;           /* name to struct kafka_topic */
    struct kafka_call *asking;      /* for metadata */
    bool ask;                       /* for metadata, as soon as nothing is asked */
    int32_t controller;             /* -1: unknown */
    int64_t features_epoch;         /* of what is known of the cluster's features; -1: nothing */
    bool ends_raise; /* an EndTxn raises the epoch (KIP-890, transaction.version 2) */
    struct mr_arena response_arena; /* of the response that is told now */
    struct mr_arena request_arena;  /* of the request that is written now */
    struct mr_buf scratch;          /* the same */
};

/* ---- nodes: one connection to one broker on one lane (a lane is its user: requests of one do not
 * wait behind another's long poll). Answers come in the order of the requests. ---- */
struct kafka_node;
/* `owner` holds the frame that `response` has views into; keep those by mr_bytes_ref(). */
typedef void kafka_node_answer(void *context, mr_err err, int16_t version, const void *response,
                               struct mr_bytes *owner);
/* Finds or makes the node of this id on a lane; NULL when no address is known for the id. */
struct kafka_node *kafka_node_find(struct kafka_client *client, int32_t id, const void *lane);
int32_t kafka_node_id(const struct kafka_node *node);
/* Sends now, or as soon as the connection stands. A lost connection ends it with MR_CLOSED or
 * MR_UNREACHABLE, silence for timeout_ms with MR_TIMEOUT; nothing is retried here. */
void kafka_node_request(struct kafka_node *node, int16_t api_key, int16_t version_max,
                        int32_t timeout_ms, kafka_fill *fill, kafka_node_answer *done,
                        void *context);
/* Any broker: one whose connection stands, else the next address. */
struct kafka_node *kafka_node_any(struct kafka_client *client, const void *lane);
/* The broker `id` has this address: remembered; a connection to the same bootstrap address is its.
 */
void kafka_node_learn(struct kafka_client *client, int32_t id, mr_str host, int32_t port);
void kafka_node_free_dropped(struct kafka_client *client);
/* Ends every connection of a lane; what is pending there is forgotten, not told. */
void kafka_node_drop_lane(struct kafka_client *client, const void *lane);
void kafka_node_drop_all(struct kafka_client *client);

/* ---- calls: a request with a target, retried until its time is over ---- */
/* The code of a response that decides about a retry: 0 or a code that is not retriable ends the
 * call. */
typedef int16_t kafka_judge(void *context, const void *response);
struct kafka_call_options {
    struct kafka_target target;
    const void *lane;
    int16_t api_key, version_max;
    int32_t timeout_ms; /* 0: KAFKA_TIMEOUT_MS */
    kafka_fill *fill;
    kafka_judge *judge; /* NULL: no code is looked at */
    kafka_answer *done;
    void *context;
};
struct kafka_call;
struct kafka_call *kafka_call_start(struct kafka_client *client,
                                    const struct kafka_call_options *options);
/* Forgets all calls of a lane, whose nodes have been dropped before. */
void kafka_call_drop_lane(struct kafka_client *client, const void *lane);
/* Something was learned: calls that wait for a leader or coordinator look again. */
void kafka_call_wake(struct kafka_client *client);
/* Nobody lets us in: calls that look for a leader or coordinator end with the error, soon. */
void kafka_call_refuse(struct kafka_client *client, mr_err err);
/* Ends all with MR_CANCELLED, told at the turn's end. */
void kafka_call_cancel_all(struct kafka_client *client);

/* ---- metadata ---- */
struct kafka_topic_partition {
    int32_t leader, leader_epoch; /* leader -1: none now */
};
struct kafka_topic {
    mr_str name; /* the map's key */
    int16_t error;
    int32_t unknown_tries; /* in a row */
    int64_t updated_us;    /* monotonic; 0: never */
    bool wanted;           /* to be asked for */
    struct kafka_topic_partition *partitions;
    int32_t partition_count;
};
/* Cached; made empty and asked for when it is not. */
struct kafka_topic *kafka_client_topic(struct kafka_client *client, mr_str name);
void kafka_client_refresh(struct kafka_client *client, struct kafka_topic *topic);
/* -1 while unknown. */
int32_t kafka_client_leader(const struct kafka_topic *topic, int32_t partition);
/* Told after every answer about metadata, and when asking failed (err). */
struct kafka_listener {
    void (*changed)(struct kafka_listener *listener, mr_err err);
    struct kafka_listener *next;
};
void kafka_client_listen(struct kafka_client *client, struct kafka_listener *listener);
void kafka_client_unlisten(struct kafka_client *client, struct kafka_listener *listener);
/* The cluster's nodes and controller are asked for, too. */
void kafka_client_refresh_cluster(struct kafka_client *client);
void kafka_client_tell(struct kafka_client *client, mr_err err); /* all listeners */
/* admin.c: a member's commit; an empty id and generation -1: of a group without members. */
void kafka_group_commit_of(struct kafka_client *client, mr_str group, mr_str member_id,
                           int32_t generation, const struct kafka_offset *offsets, size_t count,
                           kafka_done *done, void *context);
/* admin.c, read_all.c: end what waits by itself with MR_CANCELLED, told later. */
void kafka_admin_cancel_waiting(struct kafka_client *client);
void kafka_read_cancel_all(struct kafka_client *client);
/* -1 while unknown; looks up in the background and wakes calls and listeners. */
int32_t kafka_call_coordinator(struct kafka_client *client, enum kafka_target_kind kind,
                               mr_str name);
void kafka_call_coordinator_forget(struct kafka_client *client, enum kafka_target_kind kind,
                                   mr_str name);
void kafka_call_fini(struct kafka_client *client);
/* Runs a callback with this error and the present sentence at the end of the turn. */
void kafka_client_later(struct kafka_client *client, kafka_done *done, void *context, mr_err err);
/* Grows with the attempts (0: the first), with chance in it. */
int64_t kafka_client_backoff_us(struct kafka_client *client, int32_t attempt);
/* The same after an answer with this code: a transaction that is ending has ended in a moment. */
int64_t kafka_client_pause_us(struct kafka_client *client, int32_t attempt, int16_t code);
void kafka_client_task(struct kafka_client *client); /* has the turn's end run the task */

#endif
