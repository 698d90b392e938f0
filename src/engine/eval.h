/* engine/eval.h: evaluates bound expressions, a column of a chunk at a time, and folds rows into
 * aggregates. An evaluation knows which rows are alive: only their results mean anything, and only
 * they raise errors. Errors are per row: the row is marked bad, its value is NULL, the rest goes on. */
#ifndef ENGINE_EVAL_H
#define ENGINE_EVAL_H

#include "sql/sql.h"

/* What one chunk's evaluations share. Zeroed and given `now_us` by the caller before the chunk's
 * first expression; the texts of `why` live in the chunk's arena. */
struct engine_rows_bad {
    int64_t now_us;               /* in: current_timestamp() of this batch, UTC */
    uint32_t count;               /* out: how many rows are bad */
    uint8_t bad[DATA_CHUNK_ROWS]; /* by row number of the chunk */
    mr_str why[DATA_CHUNK_ROWS];  /* the first error of the row, e.g. "[DIVIDE_BY_ZERO] ..." */
};
/* Cheap to begin: clears what the last chunk has set. */
void engine_rows_bad_begin(struct engine_rows_bad *bad, int64_t now_us);
/* Takes the bad rows out of the chunk's live rows. */
void engine_rows_bad_drop(const struct engine_rows_bad *bad, struct data_chunk *chunk);

/* An expression made ready: constants folded, patterns compiled, kernels chosen by type. One loop
 * uses it for chunk after chunk. The sql_expr must outlive it. */
struct engine_eval;
/* Errors: MR_INVALID (a constant pattern or schema that does not parse). Owner: the caller. */
mr_err engine_eval_new(const struct sql_expr *expr, const struct sql_settings *settings,
                       struct engine_eval **out);
void engine_eval_free(struct engine_eval *eval); /* accepts NULL */
/* The expression's column for the chunk's live rows; chunk->count rows long (a constant's may be
 * longer). It may be a column of the chunk itself: never written to afterwards. It lives as long as
 * the chunk and the eval. */
const struct data_column *engine_eval(struct engine_eval *eval, const struct data_chunk *chunk,
                                      struct engine_rows_bad *bad);

/* ---- unfolding (SQL_NODE_GENERATE) ---- */
/* Where an unfolding stands: zeroed before the first call for a chunk. */
struct engine_unfold {
    uint32_t live;    /* index into chunk->rows */
    uint32_t element; /* of that row */
};
/* The next piece of at most DATA_CHUNK_ROWS rows: a chunk in the same arena whose columns are the
 * input's columns gathered, then [pos,] the element or key and value. NULL when all is out. */
struct data_chunk *engine_unfold_next(struct engine_unfold *at, const struct data_chunk *chunk,
                                      const struct data_column *list, bool outer, bool position);

/* ---- aggregates ---- */
/* One aggregate of one group: plain memory, no pointers to heap except `text` (heap, owned). */
struct engine_fold {
    int64_t count; /* values seen */
    union {
        int64_t i;
        double d;
        data_decimal decimal;
    };
    bool overflow; /* a decimal sum past 38 digits: the result is NULL */
    uint8_t *text; /* MIN, MAX, FIRST, LAST: the value, by engine_fold_save's form */
    uint32_t text_bytes, text_capacity;
};
void engine_fold_init(struct engine_fold *fold); /* {0} is the same */
void engine_fold_fini(struct engine_fold *fold);
/* Folds row `row` of the evaluated args in (the filter was looked at by the caller). */
void engine_fold_add(struct engine_fold *fold, const struct sql_aggregate *aggregate,
                     const struct data_column *const *args, uint32_t row, bool ansi);
/* Writes the result to out[row]; `out` is of aggregate->type. Text lives in the arena. */
void engine_fold_result(const struct engine_fold *fold, const struct sql_aggregate *aggregate,
                        struct mr_arena *arena, struct data_column *out, uint32_t row);
/* State to bytes and back (own form, begins with a version byte). Load: MR_CORRUPT. */
void engine_fold_save(struct mr_buf *out, const struct engine_fold *fold);
mr_err engine_fold_load(struct mr_in *in, struct engine_fold *fold);

#endif
