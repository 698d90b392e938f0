/* engine/bind.h: a stream's spec against the schema of its input: the plan and everything else that a
 * stream needs to know before its first row. Pure; all in one arena. */
#ifndef ENGINE_BIND_H
#define ENGINE_BIND_H

#include "engine/engine.h"

struct engine_require {
    uint32_t column;                  /* of the result, for "not_null" */
    const struct sql_expr *condition; /* over the result's columns; NULL: not_null */
    mr_str rule;                      /* as a person reads it */
};
struct engine_bound {
    const struct engine_stream_spec *spec;
    const struct engine_input *input; /* the one that the SQL reads */
    struct sql_settings settings;
    struct sql_plan *plan;
    const struct data_type *wire;     /* the input's columns as they lie in the records */
    const struct data_type *seen;     /* the same with `types:` applied: what the SQL sees */
    const struct data_type *row;      /* the result's columns */
    const struct sql_node *aggregate; /* the plan's aggregation, or NULL */
    int32_t watermark_column;         /* of the scan; -1: none */
    uint32_t *keys;                   /* result columns */
    uint32_t key_count;
    /* Whether a null value's key is a key of the result: known to be, or not known to be otherwise. */
    bool deletes;
    struct engine_require *require;
    uint32_t require_count;
};
struct engine_mistakes {
    struct mr_arena *arena;
    MR_ARRAY(struct engine_mistake) list;
};
/* Adds a mistake; `index` as in struct engine_mistake. */
void engine_bind_mistake(struct engine_mistakes *mistakes, enum engine_mistake_part part,
                         size_t index, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Deep copies, so that the caller's values may go away. */
struct engine_stream_spec *engine_bind_copy(struct mr_arena *arena,
                                            const struct engine_stream_spec *spec);
/* Binds `spec`, which outlives the result. `wire` is the input's type as the registry has it, or NULL:
 * the input's own `schema`. MR_INVALID with all mistakes in the list; the sentence is the first one's. */
mr_err engine_bind(struct mr_arena *arena, const struct engine_stream_spec *spec,
                   const struct data_type *wire, struct engine_mistakes *mistakes,
                   struct engine_bound **out);
/* The input that the SQL names; MR_INVALID when it is not one of the spec's. */
mr_err engine_bind_input(struct mr_arena *arena, const struct engine_stream_spec *spec,
                         const struct engine_input **out);

#endif
