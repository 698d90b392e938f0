/* engine/engine.h: SQL on streams. A stream reads topics, evaluates one SELECT, and keeps its result
 * as a topic and in tables, exactly once.
 *
 * The words are Spark Connect's: start a stream from a SQL text, ask its status, pause it, stop it.
 * All calls but engine_open() and the two pure functions may come from any thread: they travel to the
 * engine's loop as mail, their arguments copied, and the reply runs on the caller's loop. */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "kafka/kafka.h"
#include "schemas/schemas.h"
#include "sql/sql.h"

struct engine;
struct kv_memory;

struct engine_options {
    mr_str kafka;                         /* "host:port[,host:port]" */
    struct kafka_security kafka_security; /* how one comes in there; {0}: as one is */
    struct schemas_client_options registry;
    mr_str cassandra; /* "host:port[,host:port]"; empty when no stream needs it */
    mr_str cassandra_user, cassandra_password; /* empty: none */
    bool cassandra_uses_tls, cassandra_lz4;
    struct net_tls_client cassandra_tls;
    mr_str cassandra_consistency; /* empty: LOCAL_QUORUM */
    mr_str cassandra_replication; /* of a keyspace that we make; empty: up to 3 copies */
    mr_str folder;                /* for the local copy of the streams' state; made when missing */
    struct kv_memory *memory;     /* RocksDB's block cache, shared with others; NULL: a small one */
    mr_str group_prefix;          /* of the groups that mirror the offsets; empty: "millrace." */
};

/* Opens the engine on its loop; connections are made when the first stream needs them. Errors: MR_IO,
 * MR_CORRUPT (the folder). Thread: the loop's own, or any before the loop runs. May block shortly. */
mr_err engine_open(struct mr_loop *loop, struct mr_disk *disk, const struct engine_options *options,
                   struct engine **out);
/* Stops every stream at the end of its checkpoint, then frees the engine and runs `done` on its loop.
 * Thread: the loop's own, or any by a posted task. */
void engine_close(struct engine *engine, struct mr_task *done);

/* ---- what a stream is ---- */
struct engine_pair {
    mr_str name, value;
};
/* One topic that the SQL reads. */
struct engine_input {
    mr_str topic; /* also the table's name in SQL */
    bool json;    /* values are JSON text; else Avro in Confluent's wire format */
    /* The columns as Spark's DDL ("id BIGINT, body STRING"). Needed for JSON; for Avro it serves until the
     * registry knows a schema of the topic, and from then on the registry's latest. May be empty. */
    mr_str schema;
    const struct engine_pair
        *types; /* column -> Spark DDL: a text column, read exactly as from_json */
    size_t type_count;
    const mr_str *keys; /* the columns whose text is the record's key; may be unknown (0) */
    size_t key_count;
    mr_str watermark_column; /* empty: none */
    int64_t watermark_delay_us;
};
/* A target besides the stream's own topic. */
struct engine_target {
    mr_str driver; /* "cassandra", "topic" */
    mr_str place;  /* "keyspace.table"; a topic's name */
};
enum engine_mode {
    ENGINE_APPEND, /* a window is emitted once, when the watermark passes its end */
    ENGINE_UPDATE, /* each checkpoint emits the groups that it changed */
};
struct engine_stream_spec {
    mr_str name; /* its topic, transactional id and place in every table */
    mr_str sql;
    const struct engine_input *inputs; /* what the SQL may read; the one it names is used */
    size_t input_count;
    const struct engine_target *targets;
    size_t target_count;
    const mr_str *keys; /* columns of the result; empty: records keep their input's key */
    size_t key_count;
    const struct engine_pair *types; /* result column -> the target's own type ("uuid") */
    size_t type_count;
    const struct engine_pair *require; /* result column -> "not_null", or a condition in SQL */
    size_t require_count;
    int64_t partitions; /* of the topic; 0: 4 */
    enum engine_mode mode;
    bool json;       /* the topic's values as JSON; else Avro */
    bool compact;    /* the topic keeps only the last record of a key */
    bool topic_none; /* no topic of its own */
    bool ansi;
};

/* ---- pure: no server, no loop, any thread ---- */
struct engine_mistake {
    enum engine_mistake_part {
        ENGINE_MISTAKE_SQL, /* line and column are of the SQL text, from 1 */
        ENGINE_MISTAKE_KEY,
        ENGINE_MISTAKE_TYPE,
        ENGINE_MISTAKE_REQUIRE,
        ENGINE_MISTAKE_TARGET,
        ENGINE_MISTAKE_INPUT, /* an input's schema, types or watermark */
        ENGINE_MISTAKE_MODE,
    } part;
    size_t index;          /* which key, type, rule, target or input */
    uint32_t line, column; /* of ENGINE_MISTAKE_SQL; 0: none */
    mr_str text;
};
struct engine_checked {
    const struct data_type *row; /* the result's columns */
    bool aggregates;
    mr_str input;                      /* the topic that it reads */
    const struct data_type *input_row; /* its columns as the SQL sees them */
    struct engine_mistake *mistakes;   /* all that were found */
    size_t mistake_count;
};
/* Binds the SQL against the inputs' schemas and looks at every other part. MR_INVALID when there are
 * mistakes (`out` tells them); `out->row` is NULL when the SQL does not bind. All in the arena. */
mr_err engine_check(struct mr_arena *arena, const struct engine_stream_spec *spec,
                    struct engine_checked *out);

struct engine_bounded {
    mr_str *rows; /* result rows as JSON objects, in the order they came */
    size_t row_count;
    mr_str *dead; /* {"row": N, "place": "...", "reason": "..."}: the N-th given row */
    size_t dead_count;
};
/* Runs the stream's operators over rows given as JSON objects, in memory, as one batch with an end:
 * no row is late, every group comes out. `now_us` is what current_timestamp() says. All in the arena.
 * Errors: MR_INVALID (mistakes in the spec: the first one's sentence). */
mr_err engine_run_bounded(struct mr_arena *arena, const struct engine_stream_spec *spec,
                          const mr_str *rows, size_t row_count, int64_t now_us,
                          struct engine_bounded *out);

/* ---- control ---- */
enum engine_state {
#define STATE(id, word, about) ENGINE_##id,
#include "engine/states.def"
    ENGINE_STATE_COUNT
};
const char *engine_state_word(enum engine_state state);

struct engine_position {
    int32_t partition;
    int64_t offset; /* the next record to read, as committed */
    int64_t end;    /* the topic's end as last seen; -1: unknown */
};
/* Plain values of their own; nothing points into the engine. */
struct engine_status {
    mr_str name, input;
    enum engine_state state;
    mr_str error; /* why it waits or failed; empty when all is well */
    struct engine_position *positions;
    size_t position_count;
    int64_t lag; /* records not yet committed; -1: unknown */
    int64_t records_in, records_out, rows, dead,
        late;              /* committed, since the stream's first start */
    int64_t groups;        /* open groups of an aggregation */
    int64_t watermark_us;  /* INT64_MIN: none yet */
    int64_t checkpoints;   /* since this start */
    int64_t checkpoint_us; /* how long the last one took */
};
/* Embedded in its asker; moves to the engine until `done` runs on `loop`. */
struct engine_reply {
    struct mr_loop *loop; /* where `done` runs */
    void (*done)(struct engine_reply *reply);
    mr_err err;
    char why[512];
    struct mr_arena arena;          /* holds the statuses; mr_arena_fini by the asker */
    struct engine_status *statuses; /* of engine_status_get() */
    size_t status_count;
    struct mr_task task; /* the way back */
};
/* Starts a stream; replies once it is accepted (its SQL may still wait for a schema: see its status).
 * Errors: MR_EXISTS, MR_INVALID. The spec is copied before the call returns. Thread: any, all below. */
void engine_start(struct engine *engine, const struct engine_stream_spec *spec,
                  struct engine_reply *reply);
/* Every stream, or the one of this name (MR_NOT_FOUND). */
void engine_status_get(struct engine *engine, mr_str name, struct engine_reply *reply);
/* A paused stream has finished its checkpoint and reads nothing. Replies when it stands still. */
void engine_pause(struct engine *engine, mr_str name, struct engine_reply *reply);
/* Goes on; also starts a failed stream again from its last checkpoint. */
void engine_resume(struct engine *engine, mr_str name, struct engine_reply *reply);
/* Finishes its checkpoint and forgets the stream. Its topics and its position stay. */
void engine_stop(struct engine *engine, mr_str name, struct engine_reply *reply);

#endif
