/* engine/stream.h: a stream at work. Private to the room.
 *
 * A stream is what the user named: it lives until it is stopped. A run is one life of its machinery,
 * from connecting to the next trouble; it holds everything that a failure throws away. Nothing of an
 * uncommitted batch outlives its run: the next one begins at the last checkpoint. */
#ifndef ENGINE_STREAM_H
#define ENGINE_STREAM_H

#include "engine/finish.h"
#include "engine/position.h"
#include "engine/scan.h"
#include "engine/sink.h"
#include "engine/groups.h"
#include "kv/kv.h"

enum {
    ENGINE_BATCH_ROWS = 20000,     /* a batch ends after so many records, */
    ENGINE_BATCH_BYTES = 16 << 20, /* or so many bytes of them, or when no more are there */
};
struct engine_run;

struct engine_stream {
    struct engine *engine;
    struct engine_stream *next;
    struct mr_arena arena; /* of the spec */
    const struct engine_stream_spec *spec;
    enum engine_state state;
    bool pause, stop;                      /* asked for */
    struct engine_reply *paused, *stopped; /* who waits for it */
    struct engine_run *run;                /* NULL while waiting, paused or failed */
    struct mr_timer retry;
    int64_t backoff_us;
    int64_t fenced_us; /* when it was fenced last; 0: never */
    char error[600];
    /* as committed, for the status */
    struct engine_position *positions;
    size_t position_count;
    struct engine_totals totals;
    int64_t groups, watermark_us, checkpoints, checkpoint_us, lag;
    int64_t state_us;               /* since when it is in its state */
    struct mr_counter *counters[7]; /* by enum below */
};
enum engine_counter {
    ENGINE_COUNTER_IN,
    ENGINE_COUNTER_OUT,
    ENGINE_COUNTER_ROWS,
    ENGINE_COUNTER_DEAD,
    ENGINE_COUNTER_LATE,
    ENGINE_COUNTER_LAG,
    ENGINE_COUNTER_LATENCY,
};

/* ---- one run ---- */
struct engine_run {
    struct engine_stream *stream; /* NULL: closed, waits for `pending` answers to be freed */
    struct engine *engine;
    struct mr_loop *loop;
    int pending;           /* answers under way that name this run, and will come */
    size_t step;           /* of the start */
    struct mr_arena arena; /* the plan, names */

    struct kafka_client *kafka;
    struct kafka_producer *producer;
    struct kafka_fetcher *fetcher;
    struct kafka_producer_topic *positions_topic, *dead_topic, *state_topic;
    struct schemas_request request;

    const struct data_type *wire; /* the input's type by the registry, or NULL */
    struct engine_bound *bound;
    struct engine_flow *flow;
    struct engine_scan *scan;
    struct engine_finish *finish;
    struct engine_outlet outlet;
    struct engine_sink **sinks;
    size_t sink_count, sinks_open;
    struct engine_restore *restore;

    struct engine_place place;     /* as of the open batch */
    struct engine_place committed; /* as of the last checkpoint; also what a restart would read */

    /* fetched, oldest first; the first one is open in `reader` */
    MR_ARRAY(struct kafka_fetched *) fetched;
    size_t fetched_at;
    bool reading, held; /* `reader` is open; `record` waits for the next chunk */
    struct kafka_reader reader;
    struct kafka_record record;
    struct mr_arena unpacked; /* of `reader` */
    struct mr_arena chunk;
    struct engine_record *records; /* DATA_CHUNK_ROWS of them */
    mr_str *values;
    int32_t dead_partition; /* the latest dead letter: a record has one at most */
    int64_t dead_offset;
    bool asking;               /* the registry, for a schema */
    MR_ARRAY(int32_t) unknown; /* schema ids that the registry does not know */
    int64_t unknown_us;        /* when they were asked for */

    mr_err err;   /* what ends this run; the pump sees to it */
    bool quiet;   /* the same trouble as last time: logged then */
    bool ready;   /* started: the pump may run */
    bool batch;   /* a transaction is open */
    bool closing; /* the batch is being flushed and committed */
    bool after;   /* tables only: what is committed already (flow->tables_after) */
    int64_t batch_rows, batch_bytes, batch_us, source_us_max;
    size_t sinks_flushing;
    void (*flushed)(struct engine_run *run);
    struct engine_rows_bad bad; /* of the sinks */
    struct mr_task pump;
    struct mr_timer partitions; /* looks whether the input has got more of them */
};

/* start.c: connects and so on, step by step, then sets run->ready and pumps. */
void engine_start_run(struct engine_run *run);
/* What the present step waits for, as a person says it. */
const char *engine_start_word(const struct engine_run *run);
/* batch.c */
void engine_batch_pump(struct engine_run *run); /* soon, from a turn of its own */
void engine_batch_records(void *context, struct kafka_fetched *fetched);
void engine_batch_moved(void *context);
mr_err engine_batch_open(struct engine_run *run);
void engine_batch_drop(struct engine_run *run);                /* frees what is fetched */
mr_err engine_batch_rows(void *run, struct engine_rows *rows); /* the flow's outlet */
/* checkpoint.c: ends the open batch. */
void engine_checkpoint_begin(struct engine_run *run);
/* The watermark as a checkpoint would write it now. */
int64_t engine_checkpoint_watermark(struct engine_run *run);
/* After a restart: tables may lack what the last commit has changed. */
void engine_checkpoint_repeat(struct engine_run *run, void (*done)(struct engine_run *run));
/* dead.c */
void engine_dead_record(struct engine_run *run, const struct engine_record *record,
                        const char *place, mr_str why);
void engine_dead_row(void *run, const struct engine_rows *rows, uint32_t row, const char *place,
                     mr_str why);
/* restore.c */
/* The stream's position into run->place; none: the beginning. */
void engine_restore_position(struct engine_run *run,
                             void (*done)(struct engine_run *run, mr_err err));
/* What the bytes of the state mean: changes with the types of keys and aggregates. 0: no state. */
uint64_t engine_restore_shape(const struct engine_run *run);
/* The state from its local copy and the changelog; `done` once it is as committed. */
void engine_restore_begin(struct engine_run *run, void (*done)(struct engine_run *run, mr_err err));
void engine_restore_free(struct engine_restore *restore);
/* The committed changes into the local copy, with the changelog's offset behind them. */
void engine_restore_keep(struct engine_run *run, const struct engine_groups_change *changes,
                         size_t count);
/* The run ends. */
void engine_restore_close(struct engine_run *run);

/* stream.c */
/* An answer came: forgets it; false when the run is closed (and perhaps freed): return at once. */
bool engine_run_answer(struct engine_run *run);
/* Trouble, told by mr_why(): the pump's next turn ends the run. */
void engine_run_fail(struct engine_run *run, mr_err err);
/* Ends a run that has failed; the stream waits and tries again, or has failed. The pump's part. */
void engine_run_end(struct engine_run *run);
void engine_stream_set(struct engine_stream *stream, enum engine_state state);
/* The run stands still at a checkpoint: pauses or stops if someone asked for it. True: it did, and the
 * run is gone. The pump's part. */
bool engine_run_rest(struct engine_run *run);
void engine_stream_publish(struct engine_stream *stream);
void engine_stream_go(struct engine_stream *stream);
void engine_stream_close(struct engine_stream *stream);
const char *engine_topic_positions(void);

/* engine.c */
struct engine {
    struct mr_loop *loop;
    struct mr_disk *disk;
    struct mr_arena arena;
    struct engine_options options;
    struct schemas_client *schemas;   /* made for the first stream that needs it */
    struct kv_memory *memory;         /* its own, when none was given */
    struct kv_db *kv;                 /* opened for the first stream with state */
    struct engine_restore *restoring; /* who waits for the disk, the first has it */
    struct mr_job flush;              /* the copy's log to its file */
    bool flushing;
    int64_t flushed_us;
    int runs; /* alive, closed ones too */
    struct engine_stream *streams;
    struct mr_task *closed;   /* who waits for the end */
    struct mr_timer patience; /* for the last checkpoints */
    struct mr_job last;       /* closes the database */
};
/* Something has ended: frees the engine if it is closed and this was the last thing. */
void engine_release(struct engine *engine);
void engine_forget(struct engine *engine, struct engine_stream *stream);

#endif
