/* store/term.h: terms given types (binding, once a statement) and values (once an execution). */
#ifndef STORE_TERM_H
#define STORE_TERM_H

#include "store/schema.h"

enum { STORE_AGGREGATES_MAX = 256 };

/* ---- binding ---- */
struct store_binder {
    struct mr_arena *arena;
    const struct store_table *table; /* NULL: columns are not allowed */
    bool columns_allowed;
    struct store_fault *fault;
    struct cql_column *markers; /* one a marker: filled as they are met */
    /* Calls of aggregates, in the order met; their place is term->marker. */
    struct store_term *aggregates[STORE_AGGREGATES_MAX];
    uint32_t aggregate_count;
};
/* Gives the term its type, which must fit `expected` (NULL: whatever it is); constants get their
 * bytes. `receiver` names the column in errors and names an unnamed marker. */
mr_err store_term_bind(struct store_binder *binder, struct store_term *term,
                       const struct cql_type *expected, mr_str receiver);
bool store_term_is_aggregate(const struct store_term *term);  /* itself */
bool store_term_has_aggregate(const struct store_term *term); /* anywhere within */
/* A constant set or map, or one that a client bound: its elements in order, each once. */
struct cql_value store_sort_elements(struct mr_arena *arena, const struct cql_type *type,
                                     struct cql_value value);

/* ---- evaluating ---- */
struct store_row_view {
    struct cql_value *values; /* one a column of the table; null when absent */
    int64_t *timestamps;      /* of cells; INT64_MIN: none */
    uint32_t *expiries_s;     /* 0: none */
};
struct store_scope {
    struct mr_arena *arena; /* results may live there */
    const struct store_table *table;
    const struct cql_value *values; /* bound to the markers */
    int64_t now_us;
    const struct store_row_view *row;   /* NULL outside of rows */
    const struct cql_value *aggregates; /* results, by term->marker; NULL outside of groups */
    struct store_fault *fault;
};
mr_err store_term_value(const struct store_scope *scope, const struct store_term *term,
                        struct cql_value *out);

/* ---- functions ---- */
enum store_aggregate {
    STORE_AGGREGATE_NONE,
    STORE_AGGREGATE_COUNT,
    STORE_AGGREGATE_MIN,
    STORE_AGGREGATE_MAX,
    STORE_AGGREGATE_SUM,
    STORE_AGGREGATE_AVG
};
struct store_function {
    const char *name, *args, *result;
    mr_err (*call)(const struct store_scope *scope, const struct store_term *term,
                   const struct cql_value *args, struct cql_value *out);
    enum store_aggregate aggregate;
};
/* Finds the function for a call whose arguments are bound; sets term->function and term->type. */
mr_err store_function_bind(struct store_binder *binder, struct store_term *call);
/* blobAsInt and its family; false when the name is none of them. `arg` gets the argument's type. */
bool store_function_blob(mr_str name, const struct cql_type **arg, const struct cql_type **result);
/* What the first argument of a call should be when it has no type of its own; NULL: no idea. */
const struct cql_type *store_function_arg(mr_str name, size_t index);

/* CAST(value AS type). */
bool store_cast_allowed(const struct cql_type *from, const struct cql_type *to);
mr_err store_cast(const struct store_scope *scope, const struct cql_type *from,
                  struct cql_value value, const struct cql_type *to, struct cql_value *out);
/* a op b of numbers; the result's type is store_arithmetic_type(). */
const struct cql_type *store_arithmetic_type(const struct cql_type *a, const struct cql_type *b);
mr_err store_arithmetic(const struct store_scope *scope, char op, const struct cql_type *type,
                        const struct cql_type *a_type, struct cql_value a,
                        const struct cql_type *b_type, struct cql_value b, struct cql_value *out);

/* ---- aggregates ---- */
struct store_fold {
    int64_t count;
    int64_t whole; /* sum of integers */
    double real;
    bool overflow;
    struct mr_buf value; /* of min and max */
};
void store_fold_add(struct store_fold *fold, const struct store_term *call, struct cql_value value);
struct cql_value store_fold_result(struct store_fold *fold, const struct store_term *call,
                                   struct mr_arena *arena);
void store_fold_reset(struct store_fold *fold);
void store_fold_fini(struct store_fold *fold);

/* ---- small values in an arena ---- */
struct cql_value store_value_i64(struct mr_arena *arena, int64_t value);
struct cql_value store_value_i32(struct mr_arena *arena, int32_t value);
struct cql_value store_value_text(struct mr_arena *arena, mr_str text);
int64_t store_value_integer(struct cql_value value); /* of 1, 2, 4 or 8 bytes, signed */
/* A version 1 uuid of a moment; `node` and sequence come from the caller's chance. */
void store_timeuuid(int64_t wall_us, uint64_t chance, uint8_t out[16]);

#endif
