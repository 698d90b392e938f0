/* capture/capture.h: one PostgreSQL table's rows and changes as Avro records in a Kafka topic, by
 * logical replication: snapshot and stream at once, exactly once, resumable at any instruction. */
#ifndef CAPTURE_CAPTURE_H
#define CAPTURE_CAPTURE_H

#include "base/base.h"
#include "data/data.h"
#include "kafka/kafka.h"
#include "postgres/postgres.h"
#include "schemas/schemas.h"

/* ---- the shape of a table ---- */
/* Two views of one row type: what the SQL engine sees, and what the registry keeps. */
struct capture_shape {
    const struct data_type *spark; /* a struct, one field a column */
    mr_str avro;                   /* the schema's JSON text */
    mr_str *key;                   /* names of the key columns */
    uint32_t key_count;
    bool exists; /* false: the table that a step would make */
};
/* The shape of a table that a step makes (see postgres_batch_add_raw_table()). */
void capture_shape_raw(struct mr_arena *arena, mr_str table, struct capture_shape *out);
/* Asks the server for a table's shape. When the table is missing, gives the raw one with `exists`
 * false. `done` runs on the loop, err MR_OK or why not (mr_why). The arena must outlive the call.
 * Errors: UNREACHABLE, AUTH ..., UNSUPPORTED (no primary key). Thread: the loop. */
typedef void capture_described(void *owner, mr_err err, const struct capture_shape *shape);
void capture_describe(struct mr_loop *loop, const struct postgres_address *address, mr_str table,
                      struct mr_arena *arena, capture_described *done, void *owner);

/* ---- a running capture ---- */
struct capture;
struct capture_spec {
    mr_str name; /* of the stream; slot, publication, transactional id, key of the position */
    mr_str topic;
    struct postgres_address postgres;
    mr_str table;                         /* "schema.name" */
    bool create;                          /* make the raw table when it is missing */
    mr_str kafka;                         /* "host:port,..." */
    struct kafka_security kafka_security; /* how one comes in there; {0}: as one is */
    struct schemas_client_options registry;
    uint32_t partitions; /* of the topic when it is missing; 0: 4 */
    mr_str positions;    /* topic of the positions; empty: _millrace_positions */
};
enum capture_state {
    CAPTURE_CONNECTING,
    CAPTURE_PREPARING,
    CAPTURE_SNAPSHOT,
    CAPTURE_STREAMING,
    CAPTURE_WAITING, /* a peer is away or refuses; tries again with back-off */
    CAPTURE_STOPPED,
};
struct capture_status {
    enum capture_state state;
    char sentence[512];     /* why it waits; else empty */
    uint64_t changes;       /* read from the log or a snapshot since the start */
    uint64_t events;        /* committed to the topic since the start */
    uint64_t commit_lsn;    /* the position: last transaction in the topic ... */
    uint64_t index;         /* ... and how many of its changes are */
    int64_t slot_lag_bytes; /* log that PostgreSQL keeps for us; -1 not known yet */
    uint64_t snapshot_rows; /* read by this or earlier runs */
    bool snapshot_done;
};
const char *capture_state_name(enum capture_state state); /* "snapshot" */
/* Copies the spec and begins; every trouble after that is a state, not an error.
 * Errors: MR_INVALID (a spec that can never work). Thread: the loop, or before it runs. */
mr_err capture_open(struct mr_loop *loop, const struct capture_spec *spec, struct capture **out);
void capture_status(const struct capture *capture, struct capture_status *out);
/* Ends after the present transaction; then frees it and posts `done` (may be NULL). Slot and
 * publication stay, so that the next capture_open() goes on where this one stopped. */
void capture_close(struct capture *capture, struct mr_task *done);
/* Drops slot and publication of a capture that does not run; `done` gets how it went. The position
 * record is the caller's to delete. */
void capture_drop(struct mr_loop *loop, const struct postgres_address *address, mr_str name,
                  void (*done)(void *owner, mr_err err), void *owner);

#endif
