/* broker/server.h: connections and requests. A request is read into its arena, handed to the handler
 * that apis.def names, and answered by broker_server_answer() at once or later; answers leave in the
 * order in which the requests came. Thread: the loop's. */
#ifndef BROKER_SERVER_H
#define BROKER_SERVER_H

#include "broker/broker.h"
#include "broker/consumer_group.h"
#include "broker/group.h"
#include "broker/journal.h"
#include "broker/migration.h"
#include "broker/node.h"
#include "broker/security.h"
#include "broker/sessions.h"
#include "broker/share_group.h"
#include "broker/snapshot.h"
#include "broker/topics.h"
#include "broker/txn.h"
#include "kafka/messages.h"
#include "kafka/records.h"
#include "net/net.h"

enum { BROKER_NODE_ID = 1 };

struct broker_answers;
struct broker_request;
/* A request of a connection waits for a thread, and those that came behind it for their turn: what they do
 * must not overtake it. Outlives the connection: what a producer sent before it left is still taken. */
struct broker_stall {
    struct broker_server *server;
    struct broker_conn *conn; /* NULL once it is gone */
    struct broker_request *first, **last;
    bool waits;
};
struct broker_conn {
    struct broker_server *server;
    struct net_conn *net;
    struct broker_request *first, **last; /* by arrival */
    size_t request_count, request_bytes, fetch_count;
    struct broker_stall *stall; /* NULL: none */
    bool paused, flushing;
    bool held_back, turned_away; /* by a quota; turned away: closed when that ends */
    struct mr_timer hold_timer;
    struct net_address peer;
    struct broker_login login;
};
struct broker_request {
    struct broker_server *server;
    struct broker_conn *conn;    /* NULL once the connection is gone */
    struct broker_request *next; /* the connection's, or the list of free ones */
    struct broker_request *held_next;
    struct broker_stall *stall; /* it waited in; then its rights have been looked at */
    const struct kafka_api *api;
    struct kafka_request_header header;
    struct mr_arena arena;
    struct mr_bytes *owner; /* of the frame */
    mr_str frame, body;
    void *in, *out;                 /* structs of the API; `out` begins with its defaults */
    broker_refs refs;               /* counted; given back once the answer is queued */
    void *work;                     /* the handler's own, while it waits */
    struct broker_refused *refused; /* rows that it does not see (rights.c) */
    void (*abandon)(struct broker_request *request); /* the connection went; NULL: carry on */
    int64_t came_us;                                 /* when the loop's turn began that read it */
    int64_t spent_us;                                /* by its handler, when that is counted */
    int32_t throttle_ms;                             /* how long its client has to wait */
    bool answered, silent, held;
    bool refusal_told; /* why (a part of) it is refused is in the log, or counted there */
    bool time_counted; /* in a quota, before its answer was */
    bool raw;          /* a SASL token without a header: so is its answer */
};
struct broker_server {
    struct mr_loop *loop;
    struct mr_disk *disk;
    struct broker_storage storage;
    struct broker_topics topics;
    struct broker_groups groups;
    struct broker_txns txns;
    struct broker_sessions sessions;
    struct broker_share_sessions share_sessions;
    struct broker_security security;
    struct broker_node node;
    struct broker_snapshots snapshots;
    struct mr_disk *lookers; /* threads that unpack what producers send (produce.c) */
    size_t stall_count;
    size_t hashing;                         /* passwords on disk threads */
    struct net_listener *listener, *inside; /* inside: NULL when there is none */
    uint16_t port, inside_port;
    bool ready, closing;
    char advertise_host[256]; /* empty: that of the connection */
    uint16_t advertise_port;
    size_t conn_count;
    struct net_budget *receiving; /* large requests on their way in */
    struct mr_counter
        *requests[KAFKA_API_KEY_MAX + 1]; /* answered ones, by API; made on first use */
    struct broker_answers *answers[KAFKA_API_KEY_MAX + 1]; /* the same */
    int64_t refused_us; /* the present time in which so many refusals are logged began */
    size_t refused_told, refused_more;
    struct broker_request *held, **held_last; /* came before the server was ready */
    struct mr_timer held_timer;
    struct mr_task *ready_tasks;
    struct broker_request *spare; /* freed requests, to be used again */
    size_t spare_count;
    struct broker_request *running; /* whose time is counted, since `running_us` */
    int64_t running_us;
    struct mr_timer close_timer;
    struct mr_task *closed;
    struct mr_job clean_job, restored_job;
    bool restored_clearing; /* what says that the log was put back is on its way out */
    struct mr_task open_task;
};

/* The answer is complete in request->out; the request is gone when this returns. */
void broker_server_answer(struct broker_request *request);
/* Nothing is sent (acks=0). */
void broker_server_answer_nothing(struct broker_request *request);
/* A handler that gives its request to a thread: later ones of the connection wait until it goes on. */
struct broker_stall *broker_server_stall(struct broker_request *request);
/* The handler has done the rest, and its request may be gone: those behind it run. */
void broker_server_go_on(struct broker_stall *stall);
/* Logs and counts that (a part of) a request is refused with this code: who asked what, and why. So many
 * a while and no more: who asks in vain all the time must not fill the disk. */
void broker_server_refused(const struct broker_request *request, int16_t code, mr_str why);
/* answers.c: how long it took, and the errors of its answer, which is complete. */
void broker_answers_count(struct broker_request *request);
void broker_answers_print(struct broker_server *server, const char *name, struct mr_buf *out);
void broker_answers_fini(struct broker_server *server);
/* Reads no more from this client for so long (KIP-219). */
void broker_server_hold_back(struct broker_conn *conn, int32_t ms);
/* So many connections as the settings say. */
void broker_server_limit_conns(struct broker_server *server);
/* The partition, or an error code. */
int16_t broker_server_partition(struct broker_server *server, mr_str topic, int32_t index,
                                struct broker_partition **out);
/* The protocol's code for what went wrong with a log or a file. */
int16_t broker_server_error(mr_err err);
/* Where this client finds us. */
void broker_server_address(const struct broker_request *request, mr_str *host, int32_t *port);
/* Makes a topic as a first use does; `wait` may be NULL. A code of errors.def. */
int16_t broker_server_auto_create(struct broker_server *server, mr_str name,
                                  struct broker_catalog_wait *wait);
/* The internal topic of this name, made when it is missing. */
struct broker_log *broker_server_internal(struct broker_server *server, mr_str name);
/* replicas.c: the answer to an AlterReplicaLogDirs, with this code in every partition; 0: with each one's own. */
void broker_replicas_log_dirs_lay_out(struct broker_request *request, int16_t code);
/* repeats.c: takes out of a question what it names again. Of a partition: how often it was named, with this time. */
void broker_repeats_drop(struct broker_request *request);
size_t broker_repeats_count(struct mr_map *seen, mr_str topic, int32_t partition);
/* A setting of the broker that is in force. */
static inline int64_t broker_server_number(const struct broker_server *server,
                                           enum broker_node_id id)
{
    return server->node.numbers[id];
}
static inline int16_t broker_share_deliveries_max(const struct broker_server *server)
{
    return (int16_t)broker_server_number(server, BROKER_NODE_group_share_delivery_count_limit);
}
static inline mr_str broker_server_text(struct broker_request *request, const char *text)
{
    return mr_arena_str(&request->arena, mr_str_from(text));
}

#define API(key, name, file, oldest, newest, flexible) \
    void broker_##file##_##name(struct broker_request *request);
#include "kafka/apis.def"

#endif
