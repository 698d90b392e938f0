/* engine/flow.h: the dataflow of one stream, without any server: a chain of operators from the scan's
 * chunks to an outlet. Everything here is synchronous and lives on one loop (or in one test).
 *
 * A batch is: engine_flow_begin(), pushes, engine_flow_end(). The watermark moves only between batches,
 * so that which windows a batch emits follows from the last checkpoint alone and a replay of the batch
 * emits the same rows. */
#ifndef ENGINE_FLOW_H
#define ENGINE_FLOW_H

#include "engine/bind.h"
#include "engine/eval.h"

#define ENGINE_NO_TIME INT64_MIN

/* ---- rows on their way ---- */
/* A record as it was read; its bytes live as long as the chunk. */
struct engine_record {
    int64_t offset;
    int64_t time_us;   /* the record's own time */
    int64_t source_us; /* header mr.ts_us: when its source committed it; 0: unknown */
    mr_str key, value; /* data NULL: null */
    mr_str headers;    /* as encoded in the record; may be empty */
    int32_t partition;
    int32_t slot; /* index of the partition among the stream's positions */
};
struct engine_rows {
    struct data_chunk *chunk;
    const struct engine_record *records; /* NULL: rows that an aggregation has made */
    const uint16_t *origins;             /* row -> record; NULL: row i is of record i */
    int64_t *times;     /* row -> write time in us; NULL until the outlet knows it */
    const mr_str *keys; /* row -> text of the result's key; NULL before the outlet */
    bool deletes;       /* the rows are keys only, to be deleted */
};
/* The record of a row, or NULL. */
static inline const struct engine_record *engine_rows_record(const struct engine_rows *rows,
                                                             uint32_t row)
{
    if (rows->records == NULL)
        return NULL;
    return &rows->records[rows->origins == NULL ? row : rows->origins[row]];
}

/* ---- operators ---- */
struct engine_op;
struct engine_op_type {
    const char *name;
    mr_err (*push)(struct engine_op *op, struct engine_rows *rows);
    /* A batch begins with this watermark: emit and forget what it closes. */
    mr_err (*watermark)(struct engine_op *op, int64_t watermark_us);
    /* The batch ends: emit what only a batch's end emits. */
    mr_err (*checkpoint)(struct engine_op *op);
    void (*free)(struct engine_op *op);
};
struct engine_op {
    const struct engine_op_type *type;
    struct engine_op *next; /* NULL: the flow's outlet comes next */
    struct engine_flow *flow;
};
extern const struct engine_op_type engine_filter, engine_project, engine_generate, engine_aggregate;
mr_err engine_filter_new(const struct engine_flow *flow, const struct sql_node *node,
                         struct engine_op **out);
mr_err engine_project_new(const struct engine_flow *flow, const struct sql_node *node,
                          struct engine_op **out);
mr_err engine_generate_new(const struct engine_flow *flow, const struct sql_node *node,
                           struct engine_op **out);
mr_err engine_aggregate_new(struct engine_flow *flow, const struct sql_node *node,
                            struct engine_op **out);
/* For operators without a part in watermarks or checkpoints: pass the word on. */
mr_err engine_pass_watermark(struct engine_op *op, int64_t watermark_us);
mr_err engine_no_state(struct engine_op *op);
/* To the next operator, or out. */
mr_err engine_emit(struct engine_op *op, struct engine_rows *rows);
/* Sends the rows that the evaluations have marked to the dead letters and takes them out. */
void engine_flow_bury(struct engine_flow *flow, struct engine_rows *rows);

/* ---- the flow ---- */
/* Who takes what comes out. */
struct engine_outlet {
    mr_err (*rows)(void *self, struct engine_rows *rows);
    /* One row of `rows` goes to the dead letters. `place` is a literal. */
    void (*dead)(void *self, const struct engine_rows *rows, uint32_t row, const char *place,
                 mr_str why);
    void *self;
};
struct engine_flow {
    const struct engine_bound *bound;
    struct engine_outlet outlet;
    struct engine_op *first;      /* NULL: rows go straight out */
    struct engine_groups *groups; /* of the aggregation; NULL: none */
    /* Updates of groups that a watermark closes: which rows are late depends on the batches, so a batch
     * that is killed may have counted rows that its replay finds late. Tables learn of such a group only
     * after the commit, and of all open groups again after a restart (engine_flow_again). */
    bool tables_after;
    struct engine_rows_bad bad; /* of the chunk under evaluation */
    int64_t now_us;             /* current_timestamp() of the batch */
    int64_t watermark_us;       /* of the batch; ENGINE_NO_TIME: none */
    int64_t event_us_max;       /* largest event time of the latest chunk, or ENGINE_NO_TIME */
    int64_t late;               /* rows dropped because they were late, in all */
};
mr_err engine_flow_new(const struct engine_bound *bound, const struct engine_outlet *outlet,
                       struct engine_flow **out);
void engine_flow_free(struct engine_flow *flow); /* accepts NULL */
/* A batch begins; `watermark_us` is what the last batch left behind. */
mr_err engine_flow_begin(struct engine_flow *flow, int64_t now_us, int64_t watermark_us);
/* A chunk with the scan's columns. Notes the largest event time. */
mr_err engine_flow_push(struct engine_flow *flow, struct engine_rows *rows);
mr_err engine_flow_end(struct engine_flow *flow);
/* Emits the batch's changed groups once more, or with `all` every open group. */
mr_err engine_flow_again(struct engine_flow *flow, bool all);
/* The watermark for the next batch: this event time less the delay, never back. */
int64_t engine_flow_watermark_next(const struct engine_flow *flow, int64_t event_us);

#endif
