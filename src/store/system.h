/* store/system.h: the tables that drivers read about the server and its schema. Their rows are made
 * when they are asked for. */
#ifndef STORE_SYSTEM_H
#define STORE_SYSTEM_H

#include "store/estimates.h"
#include "store/select.h"

enum { STORE_TRACES = 64 };

struct store_trace {
    mr_uuid id, event;
    char request[32], query[256], client[64];
    int64_t started_us, duration_us;
};
/* A connection, as system_views.clients shows it. */
struct store_client {
    char address[64];
    uint16_t port;
    char driver_name[64], driver_version[64], keyspace[64];
    int64_t request_count;
};
struct store_system {
    struct store_schema *schema;
    mr_uuid host_id;
    int64_t started_us;
    char address[64]; /* at which the asking client reached us */
    uint16_t port;
    const struct store_client *clients;
    size_t client_count;
    const struct store_trace *traces;       /* a ring; an id of zeros: empty */
    const struct store_estimate *estimates; /* of tables that may have been dropped since */
    size_t estimate_count;
};
/* Adds the system keyspaces to the schema. */
void store_system_define(struct store_schema *schema);
/* The rows of a table that has virtual_rows. */
const struct store_virtual_rows *store_system_rows(const struct store_system *system,
                                                   struct mr_arena *arena,
                                                   const struct store_table *table);

/* ---- DESCRIBE ---- */
/* Writes the body of a RESULT of kind Rows. */
mr_err store_describe(const struct store_system *system, struct mr_arena *arena, mr_str keyspace,
                      const struct store_statement *statement, struct store_fault *fault,
                      struct mr_buf *out);

#endif
