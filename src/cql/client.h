/* cql/client.h: a client of any CQL server or cluster (native protocol v5, or v4 where that is all) on a
 * loop: it finds the nodes,
 * answers in time, and repeats what may be repeated, with back-off.
 * Everything is called on the loop's own thread; a `done` never comes from inside the call that asked. */
#ifndef CQL_CLIENT_H
#define CQL_CLIENT_H

#include "cql/cql.h"

struct cql_client;
struct cql_prepared;

struct cql_client_options {
    const char
        *addresses; /* contact points, "host:port,host" (port 9042); they tell the other nodes */
    const char *user, *password; /* NULL: the server must not ask (SASL PLAIN) */
    bool lz4;                    /* bodies go compressed both ways: less on the wire, more CPU */
    const struct net_tls_client *tls; /* NULL: plain TCP; read in cql_client_new() */
    enum cql_consistency consistency; /* ANY (0): LOCAL_QUORUM */
    int connection_count;             /* to each node; 0: 2 */
    size_t bytes_max;                 /* of requests under way before room ends; 0: 4 MiB */
    int64_t timeout_ms;               /* of one attempt; 0: 10 s */
    /* There is room again, after cql_client_room() had said no. NULL: nobody asks. */
    void (*room)(void *context);
    void *context;
};
/* Begins to connect, and goes on trying with back-off (0.1 s to 10 s) until it is freed.
 * Errors: MR_INVALID (an address), those of net_tls_client_new(). */
mr_err cql_client_new(struct mr_loop *loop, const struct cql_client_options *options,
                      struct cql_client **out);
/* Requests under way are not told any more. Not from inside a `done`. Accepts NULL. */
void cql_client_free(struct cql_client *client);
/* Whether a connection is open; if not, `*err` and mr_why() say what failed last (MR_AGAIN: nothing
 * has failed yet). `err` may be NULL. */
bool cql_client_connected(const struct cql_client *client, mr_err *err);
/* Whether another request should be given now; if not, options.room will be told. Requests are taken
 * in any case, so the caller decides where to stop. */
bool cql_client_room(struct cql_client *client);
/* Told once the cluster is known: the data centre of the server that was asked (empty: it told none) and
 * how many nodes are in it. */
typedef void cql_cluster_done(void *context, mr_str data_center, size_t node_count);
void cql_client_cluster(struct cql_client *client, cql_cluster_done *done, void *context);
size_t cql_client_pending(const struct cql_client *client); /* requests not told yet */

/* ---- results ---- */
struct cql_result {
    enum cql_result_kind kind;
    struct cql_metadata metadata; /* of CQL_RESULT_ROWS; paging_state asks for the next page */
    uint32_t row_count;
    struct mr_in rows; /* row by row, metadata.column_count times cql_read_value() each */
};
/* Told once. Without an error `result` is valid during the call. With one it is NULL, and mr_why() has
 * the server's words: MR_INVALID (syntax, unknown table, a value that does not fit), MR_EXISTS,
 * MR_DENIED, MR_AUTH, MR_IO, MR_UNSUPPORTED, or a retriable one: MR_AGAIN (overloaded), MR_TIMEOUT,
 * MR_UNREACHABLE, MR_CLOSED. */
typedef void cql_done(void *context, mr_err err, const struct cql_result *result);

/* ---- requests ---- */
enum {
    CQL_RETRY = 1, /* after a retriable error go on trying, for ever: only what may be done twice */
    CQL_TIMESTAMP = 2, /* timestamp_us is given */
    CQL_SCHEMA =
        4, /* a statement on the schema: told once all nodes have it, though it found it so */
};
/* Writes the values with cql_write_value(), all of them, in order. May be called twice for one request
 * (when the buffer was too small), and only during the call that asks. */
typedef void cql_encode(const void *row, struct mr_buf *out);
struct cql_request {
    unsigned flags;
    uint16_t value_count;
    cql_encode *encode; /* with `row`; or NULL: `values` */
    const void *row;
    const struct cql_value *values;
    int64_t timestamp_us;
    int32_t page_size;             /* 0: the server's */
    struct cql_value paging_state; /* data NULL: the first page */
};
/* `request` NULL: no values, no flags. */
void cql_client_query(struct cql_client *client, mr_str statement,
                      const struct cql_request *request, cql_done *done, void *context);
/* Parses a statement at the server; tried again after retriable errors. `prepared` lives as long as
 * the client; with an error it is NULL. The same text twice gives the same one. */
typedef void cql_prepare_done(void *context, mr_err err, struct cql_prepared *prepared);
void cql_client_prepare(struct cql_client *client, mr_str statement, cql_prepare_done *done,
                        void *context);
void cql_client_execute(struct cql_client *client, struct cql_prepared *prepared,
                        const struct cql_request *request, cql_done *done, void *context);
const struct cql_metadata *cql_client_variables(const struct cql_prepared *prepared);

/* ---- groups: one callback for many requests ---- */
struct cql_group {
    size_t pending;                        /* the caller adds one before each request */
    mr_err err;                            /* the first that failed */
    char *why;                             /* its sentence; mr_free() */
    void (*done)(struct cql_group *group); /* when `pending` has fallen to 0 */
};
/* As a `done`, with the group as its context. */
void cql_client_group_done(void *context, mr_err err, const struct cql_result *result);

#endif
