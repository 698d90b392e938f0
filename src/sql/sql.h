/* sql/sql.h: Spark SQL text to a typed plan. The dialect is Spark 3.5's, ANSI mode off by default.
 *
 * A plan is a chain of nodes from a scan to the last projection; every expression in it is bound:
 * columns by index into the rows of the node's input, functions by their row of functions.def, and
 * every implicit cast of Spark written out. Plans are immutable and live in the arena they were
 * made in; texts inside them are copies. */
#ifndef SQL_SQL_H
#define SQL_SQL_H

#include "data/data.h"

/* ---- expressions ---- */
enum sql_function {
#define FUNCTION(id, name, args, result, nulls, about) SQL_FN_##id,
#define ALIAS(name, id)
#include "sql/functions.def"
    SQL_FN_COUNT
};

enum sql_expr_kind {
    SQL_EXPR_LITERAL, /* `literal`, a column of one row */
    SQL_EXPR_COLUMN,  /* column `index` of the rows that the node reads */
    SQL_EXPR_FIELD, /* field `index` of the struct args[0], or of each struct in the array args[0] */
    SQL_EXPR_CALL,  /* `function` of args */
    SQL_EXPR_CAST,  /* args[0] as `type`; with `safe` it is TRY_CAST */
    SQL_EXPR_AND, /* two or more args, three-valued, left to right; a decided row goes no further */
    SQL_EXPR_OR,
    SQL_EXPR_CASE,     /* args: condition, value, condition, value, ..., and the default when odd */
    SQL_EXPR_COALESCE, /* the first arg that is not NULL; later ones are looked at only where needed */
};

struct sql_expr {
    enum sql_expr_kind kind;
    const struct data_type *type;
    bool nullable;
    bool safe;      /* CAST: TRY_CAST */
    uint32_t index; /* COLUMN, FIELD */
    enum sql_function function;
    uint32_t arg_count;
    struct sql_expr **args;
    const struct data_column *literal;
    uint32_t line, column; /* of the text, from 1 */
};

/* ---- aggregates ---- */
enum sql_aggregate_kind {
    SQL_AGGREGATE_COUNT, /* rows where all args are not NULL; no args: all rows */
    SQL_AGGREGATE_SUM,   /* of long, double or decimal; the arg is cast already */
    SQL_AGGREGATE_AVG,
    SQL_AGGREGATE_MIN,
    SQL_AGGREGATE_MAX,
    SQL_AGGREGATE_FIRST,
    SQL_AGGREGATE_LAST,
    SQL_AGGREGATE_BOOL_AND,
    SQL_AGGREGATE_BOOL_OR,
};
struct sql_aggregate {
    enum sql_aggregate_kind kind;
    bool ignore_nulls;            /* FIRST, LAST; all others do anyway */
    const struct data_type *type; /* of the result */
    uint32_t arg_count;
    struct sql_expr **args;
    struct sql_expr *filter; /* FILTER (WHERE ...), or NULL */
};

/* ---- nodes ---- */
enum sql_node_kind {
    SQL_NODE_SCAN,    /* a table; no input */
    SQL_NODE_VALUES,  /* rows of constants; no input. Never in a plan made with `streaming` */
    SQL_NODE_FILTER,  /* the rows for which `predicate` is true; columns as in the input */
    SQL_NODE_PROJECT, /* one column an expression */
    SQL_NODE_GENERATE, /* the input's columns, then [pos,] the elements (array) or key, value (map) */
    SQL_NODE_AGGREGATE, /* one column a key (in order), then one an aggregate */
};

/* window(time, size[, slide[, start]]) as a grouping key: a struct<start: timestamp, end: timestamp>.
 * Windows begin at k * slide + start since 1970, half open; a row belongs to size/slide of them, and
 * to none when its time is NULL. */
struct sql_window {
    uint32_t key;          /* which of the keys it is */
    struct sql_expr *time; /* TIMESTAMP, of the input's rows */
    int64_t size_us, slide_us, start_us;
    int32_t scan_column; /* the scan's column that the time is, or -1: for the watermark */
};

struct sql_node {
    enum sql_node_kind kind;
    struct sql_node *input;      /* NULL for SCAN and VALUES */
    const struct data_type *row; /* a struct: the names and types of the columns that come out */
    uint32_t line, column;
    union {
        struct {
            mr_str table; /* as written, parts joined by '.' */
            const struct data_type
                *full;  /* what the catalog said; same columns in the same order */
            bool *used; /* one a column: unused columns may be NULL in the chunk */
            /* `row` holds the pruned types: of a struct column only the fields that the plan reads */
        } scan;
        struct {
            struct sql_expr ***rows; /* row_count rows of row->field_count constant expressions */
            uint32_t row_count;
        } values;
        struct {
            struct sql_expr *predicate;
        } filter;
        struct {
            struct sql_expr **exprs; /* row->field_count of them */
        } project;
        struct {
            struct sql_expr *list; /* an ARRAY or MAP */
            bool outer;            /* NULL or empty gives one row of NULLs */
            bool position;         /* a column `pos`, INT from 0, before the element */
        } generate;
        struct {
            uint32_t key_count, aggregate_count;
            struct sql_expr **keys; /* the window's entry is NULL */
            struct sql_aggregate *aggregates;
            struct sql_window *window; /* NULL: none */
            bool global;               /* no GROUP BY: one row comes out even when none goes in */
        } aggregate;
    };
};

struct sql_plan {
    struct sql_node *root;
    struct sql_node *scan; /* the SCAN at the bottom, or NULL */
    bool aggregates;       /* there is an AGGREGATE node */
    bool deterministic;    /* false: reads the clock (current_timestamp) */
};

struct sql_settings {
    bool ansi;      /* spark.sql.ansi.enabled */
    bool streaming; /* refuse what has no meaning on a stream without an end */
};
struct sql_catalog {
    /* The columns of the table as a struct, or NULL when there is none of that name. `name` is as
     * written, parts joined by '.'; Spark compares without case. */
    const struct data_type *(*table)(void *self, mr_str name);
    /* The index-th table's name for "did you mean", {NULL, 0} at the end; may be NULL. */
    mr_str (*name)(void *self, uint32_t index);
    void *self;
};

/* Parses and binds one SELECT. The plan lives in `arena`. Errors: MR_INVALID (syntax, names, types)
 * and MR_UNSUPPORTED (what streams or Millrace do not do), with "line L, column C: " first. */
mr_err sql_bind(struct mr_arena *arena, mr_str text, const struct sql_catalog *catalog,
                const struct sql_settings *settings, struct sql_plan **out);
/* One expression over the columns of `row` (a struct), e.g. a `require:` condition or a key. */
mr_err sql_bind_expr(struct mr_arena *arena, mr_str text, const struct data_type *row,
                     const struct sql_settings *settings, struct sql_expr **out);
/* The tables that the statement reads, without a catalog: names in the arena, each once. */
mr_err sql_tables(struct mr_arena *arena, mr_str text, mr_str **names, size_t *count);

/* The plan for people (EXPLAIN), a line a node. */
void sql_plan_print(struct mr_buf *out, const struct sql_plan *plan);
/* docs/reference/sql.md, from functions.def. */
void sql_print_docs(struct mr_buf *out);
/* The function's name as in functions.def. */
mr_str sql_function_name(enum sql_function function);

#endif
