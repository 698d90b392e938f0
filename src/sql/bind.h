/* sql/bind.h: how names, types and functions get their meaning. Private to the room.
 *
 * The binder is sticky: after the first error everything returns something harmless at once. */
#ifndef SQL_BIND_H
#define SQL_BIND_H

#include "sql/ast.h"

/* Which parts of a scan's column are read: a tree beside the column's struct type. */
struct sql_use {
    const struct data_type *full;
    bool whole;                     /* the value itself is read, not only fields of it */
    struct sql_use **fields;        /* by field; NULL: not read */
    const struct data_type *pruned; /* after the binding */
    uint32_t *places;               /* by field of `full`: its index in `pruned` */
};

struct sql_column {
    mr_str name, qualifier;
    const struct data_type *type;
    bool nullable;
    struct sql_use *use; /* a scan's column, else NULL */
};
struct sql_scope {
    struct sql_column *columns;
    uint32_t count;
    mr_str about; /* for errors: the table's name */
};

/* The grouping of the query that is being bound; NULL outside of one. */
struct sql_groups {
    MR_ARRAY(struct sql_expr *) keys;         /* over the input's rows; the window's is NULL */
    MR_ARRAY(const struct data_type *) types; /* of the keys */
    MR_ARRAY(mr_str) names;
    MR_ARRAY(struct sql_aggregate) aggregates;
    struct sql_window *window;
};

struct sql_reference {
    struct sql_expr *expr; /* COLUMN or FIELD of a scan's column */
    struct sql_use *use;
    struct sql_use *parent; /* FIELD: of the struct */
};

struct sql_binder {
    struct mr_arena *arena;
    const struct sql_catalog *catalog;
    const struct sql_settings *settings;
    mr_err err;
    uint32_t bound; /* expressions so far, against a limit */
    int depth;      /* of queries */
    const struct sql_scope *scope;
    struct sql_groups *groups;
    struct sql_ast **items; /* aliases that later items may use */
    uint32_t item_count;
    MR_ARRAY(struct sql_reference) references;
    struct sql_node *scan;
    struct sql_scope scan_scope;
    bool aggregates, reads_clock;
};

void sql_binder_fail(struct sql_binder *b, mr_err code, uint32_t line, uint32_t column,
                     const char *format, ...) __attribute__((format(printf, 5, 6)));
/* "did you mean" among names; the nearest by edits, or no text. */
mr_str sql_binder_nearest(mr_str name, const mr_str *names, size_t count);
mr_str sql_binder_type_text(struct sql_binder *b, const struct data_type *type);

/* ---- expressions ---- */
struct sql_expr *sql_exprs_new(struct sql_binder *b, enum sql_expr_kind kind,
                               const struct data_type *type, uint32_t arg_count,
                               const struct sql_ast *place);
struct sql_expr *sql_exprs_bind(struct sql_binder *b, struct sql_ast *ast);
bool sql_exprs_equal(const struct sql_expr *a, const struct sql_expr *b);
struct sql_expr *sql_exprs_call(struct sql_binder *b, enum sql_function function,
                                const struct sql_ast *place, struct sql_expr **args,
                                uint32_t arg_count);
/* A literal of the type with one value, NULL until set. */
struct sql_expr *sql_exprs_literal(struct sql_binder *b, const struct data_type *type,
                                   const struct sql_ast *place, struct data_column **value);
bool sql_exprs_has_aggregate(const struct sql_ast *ast);
/* The text of a literal STRING, or false. */
bool sql_exprs_text(const struct sql_expr *expr, mr_str *out);
bool sql_exprs_whole(const struct sql_expr *expr, int64_t *out);

/* ---- functions ---- */
/* Decides the call's type and casts its args. `call->function` and args are set. */
void sql_rules_apply(struct sql_binder *b, struct sql_expr *call, const char *args,
                     const char *result);
struct sql_function_row {
    const char *name, *args, *result, *about;
    bool strict;
};
const struct sql_function_row *sql_rules_row(enum sql_function function);
/* The function of a lower-case name, or -1. */
int sql_rules_find(mr_str name);

/* ---- types ---- */
/* The expression as `type`: itself, a typed NULL, or an implicit cast. */
struct sql_expr *sql_coerce_to(struct sql_binder *b, struct sql_expr *expr,
                               const struct data_type *type);
/* Whether Spark casts implicitly for a function's argument. */
bool sql_coerce_implicit(const struct data_type *from, const struct data_type *to);
bool sql_coerce_castable(const struct data_type *from, const struct data_type *to);
/* The common type of two, or NULL. With `promote` a text and another atom become text. */
const struct data_type *sql_coerce_widest(struct sql_binder *b, const struct data_type *x,
                                          const struct data_type *y, bool promote);
/* Casts all to their common type and returns it; NULL (and the error) when there is none. */
const struct data_type *sql_coerce_all(struct sql_binder *b, const char *what,
                                       struct sql_expr **exprs, uint32_t count, uint32_t step,
                                       bool promote);
const struct data_type *sql_coerce_decimal_of(struct sql_binder *b, const struct data_type *type);
const struct data_type *sql_coerce_bounded(struct sql_binder *b, int precision, int scale);
void sql_coerce_compare(struct sql_binder *b, struct sql_expr *call);
void sql_coerce_arithmetic(struct sql_binder *b, struct sql_expr *call);

/* ---- queries ---- */
void sql_prune_run(struct sql_binder *b, struct sql_node *root);
struct sql_node *sql_binder_query(struct sql_binder *b, const struct sql_query *query,
                                  struct sql_scope *out);

#endif
