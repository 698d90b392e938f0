/* cql/session.h: what the files of the client share; nobody else includes it.
 *
 * A node is a server with its links and the window of requests that it is given at once. Contact links go
 * round the addresses that the user named, and the first of them that is open is asked about the cluster;
 * when that has several nodes, each gets links of its own, and the contact links serve while none of
 * those is open. */
#ifndef CQL_SESSION_H
#define CQL_SESSION_H

#include "cql/client.h"
#include "cql/cluster.h"
#include "net/net.h"

enum {
    CQL_STREAMS = 2048,       /* under way on one connection */
    CQL_LINKS_MAX = 16,       /* of one node */
    CQL_BACKOFF_MS_MIN = 100, /* of a connection */
    CQL_BACKOFF_MS_MAX = 10000,
    CQL_BURST = 64,         /* calls in a row on one link */
    CQL_WINDOW_FIRST = 128, /* requests that a node is given at once, at first */
};
/* A call's flags, beside those of a request. */
enum {
    CQL_CALL_OWN =
        0x100, /* the client's own: not counted as pending, and sent before all is known */
    CQL_CALL_ROUTED = 0x200, /* `token` is the row's */
    CQL_CALL_MOVED = 0x400,  /* it may not be repeated, and has gone to another node once */
};

struct cql_call {
    struct cql_call *next, *previous;
    struct mr_bytes *chunk;
    size_t offset, length; /* of the frame in the chunk */
    int64_t since_us;      /* sent, or begun to wait */
    int64_t token;
    cql_done *done;
    void *context;
    struct cql_prepared *prepared; /* of EXECUTE, and of PREPARE */
    struct cql_link *wish;         /* the link that must have it, if it is open */
    unsigned flags, tries;
    enum cql_opcode opcode;
    int16_t stream;
};
struct cql_call_list {
    struct cql_call *first, *last;
};
/* A chunk's open end: [sent, at) is encoded and not yet given to the connection. */
struct cql_chunk_end {
    struct mr_bytes *chunk;
    size_t at, sent;
};
enum cql_link_state { CQL_LINK_RESTING, CQL_LINK_CONNECTING, CQL_LINK_STARTING, CQL_LINK_OPEN };

struct cql_link {
    struct cql_client *client;
    struct cql_node *node;
    struct net_conn *conn;
    enum cql_link_state state;
    struct mr_timer timer;
    int64_t backoff_ms, heard_us;
    size_t address_at;     /* of a contact link, in client->addresses */
    bool segmented;        /* version 5, after the handshake's first answer */
    bool stepping_down;    /* is closed to come again with version 4 */
    struct mr_buf partial; /* the parts so far of a frame that came in several segments */
    struct cql_chunk_end out;
    struct cql_call *streams[CQL_STREAMS];
    int16_t free_streams[CQL_STREAMS];
    size_t free_count;
    struct cql_call_list sent; /* oldest first */
};
/* The window grows and shrinks as TCP's does: topology.c has the rules. */
struct cql_node {
    struct net_address address; /* host empty: the contact links' */
    struct cql_link *links[CQL_LINKS_MAX];
    size_t link_count, link_at, burst_left, under_way;
    double window, slow_start; /* requests at once; below slow_start it doubles each round */
    int64_t shrunk_us;
    bool listed;     /* in the latest news of the cluster */
    bool complained; /* its trouble is in the log already */
    bool old;        /* speaks version 4 at most */
};
struct cql_prepare_wait {
    cql_prepare_done *done;
    void *context;
};
struct cql_prepared {
    struct cql_client *client;
    mr_str statement, id; /* id empty: not prepared yet */
    mr_str columns_id;    /* of the result's metadata; empty: no node of version 5 has told it */
    struct mr_arena arena;
    struct cql_metadata variables;
    bool asking;
    struct cql_call_list waiting;                    /* until it is prepared again */
    MR_ARRAY(struct cql_prepare_wait) prepare_waits; /* until it is prepared at all */
};
struct cql_cluster_wait {
    cql_cluster_done *done;
    void *context;
};
/* What is known of the cluster, and the questions about it that are under way: topology.c. */
struct cql_topology {
    struct cql_cluster cluster, news; /* in force; being read */
    struct cql_link *control;         /* is asked, and tells of changes; NULL: none is open */
    struct mr_timer timer;            /* the next refresh */
    bool known, asking;               /* told once; `news` is being read */
    MR_ARRAY(struct cql_cluster_wait) waits;
    struct cql_agreement *agreements;
};
struct cql_refusal;

struct cql_client {
    struct mr_loop *loop;
    struct cql_client_options options;
    struct net_tls *tls;  /* NULL: plain TCP */
    struct mr_buf plain;  /* the answer that came compressed */
    struct mr_buf frames; /* a segment's, on their way out */
    char *user, *password;
    struct net_address addresses[CQL_LINKS_MAX];
    size_t address_count;
    struct cql_node contact;
    MR_ARRAY(struct cql_node *) nodes; /* those of the cluster, when it has several */
    size_t node_at;                    /* whose turn it is, without a token */
    struct cql_topology topology;
    struct cql_call_list waiting, resting;
    struct cql_chunk_end waiting_end;
    struct mr_timer sweep, rest;
    int64_t rest_ms;
    struct mr_task turn_end;
    struct cql_refusal *refusals;
    bool prepared_waits;    /* somebody asked for what is prepared already */
    bool cluster_waits;     /* or for what is known already */
    struct mr_map prepared; /* by statement */
    struct mr_arena arena;  /* of one result's metadata */
    struct mr_buf scratch;  /* values whose place is not known before their token */
    struct mr_buf key;      /* a routing key of several values */
    struct cql_call *spare; /* calls to use again */
    struct cql_call orphan; /* holds a stream whose call has been given up */
    size_t pending, bytes_pending, under_way;
    bool room_wanted, freed;
    mr_err last_err;
    char *last_why;
};

/* ---- client.c ---- */
/* A request of the client's own, on this link. */
void cql_client_ask(struct cql_link *link, enum cql_opcode opcode, mr_str statement, cql_done *done,
                    void *context);
void cql_client_pump(struct cql_client *client); /* sends what waits, as far as there is room */
/* The end of a call that stands in no list. With an error the sentence is mr_why()'s. */
void cql_client_tell(struct cql_client *client, struct cql_call *call, mr_err err,
                     const struct cql_result *result);
void cql_client_links_new(struct cql_client *client, struct cql_node *node, size_t count);
/* Frees a node's links; what they had under way waits for others, or is told. */
void cql_client_links_free(struct cql_node *node);
/* Where a link is connected, or tries to be. */
const struct net_address *cql_client_link_address(const struct cql_link *link);

/* ---- framing.c ---- */
void cql_framing_flush(struct cql_link *link); /* gives what is encoded to the connection */
/* A frame of the handshake, in the link's version. */
void cql_framing_send(struct cql_link *link, mr_str frame);
/* net_handler's `frame` and `message`: `told` has each frame, its body plain. */
typedef mr_err cql_framing_told(struct cql_link *link, const struct cql_header *header,
                                struct mr_in *body);
mr_err cql_framing_length(const struct cql_link *link, mr_str seen, size_t *total);
mr_err cql_framing_message(struct net_conn *conn, struct cql_link *link, mr_str message,
                           cql_framing_told *told);

/* ---- topology.c ---- */
/* A link that may have the call: nearest to its row first. NULL: none has room. */
struct cql_link *cql_topology_pick(struct cql_client *client, const struct cql_call *call);
void cql_topology_opened(struct cql_link *link);
void cql_topology_closed(struct cql_link *link);
void cql_topology_event(struct cql_link *link, struct mr_in *in);
/* An answer came after `took_us`; or the node is overwhelmed. */
void cql_topology_answered(struct cql_node *node, int64_t took_us, int64_t now_us);
void cql_topology_overwhelmed(struct cql_node *node, int64_t now_us);
/* A statement has changed the schema: the call is told once all nodes have the change. */
void cql_topology_agree(struct cql_link *link, struct cql_call *call);
/* At a turn's end: those who asked for what was known already. */
void cql_topology_tell(struct cql_client *client);
void cql_topology_fini(struct cql_client *client);
/* The partition key's token out of bound values. False: some value is missing. */
bool cql_topology_token(const struct cql_prepared *prepared, mr_str values, struct mr_buf *scratch,
                        int64_t *out);

#endif
