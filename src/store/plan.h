/* store/plan.h: a statement bound to its table: what is left to do at each execution is to take values
 * and run. A plan is immutable; prepared statements and running jobs hold references. All on the loop. */
#ifndef STORE_PLAN_H
#define STORE_PLAN_H

#include "store/term.h"

/* ---- conditions on columns, as WHERE and IF give them ---- */
struct store_filter {
    enum store_operator op;
    uint32_t column_count; /* more than one: (a, b) op (x, y) */
    const struct store_column **columns;
    struct store_term *element; /* column[element] op value */
    uint32_t value_count;       /* of IN (...): a list; else 1; 0: IN with an empty list */
    struct store_term **values; /* a marker of IN ? has a list type and value_count 1 */
    bool in_marker;
};

/* Which rows of the key: a list of choices for each column in turn, then at most one slice. */
struct store_choice {
    uint32_t value_count;
    struct store_term **values;
    bool in_marker; /* IN ?: values[0] is a list */
    bool many;      /* came as IN */
};
struct store_bound {
    struct store_term *value; /* NULL: open */
    bool inclusive;
};
struct store_keys {
    bool by_partition;              /* every partition column has its choice */
    struct store_choice *partition; /* one a partition column */
    uint16_t clustering_count;      /* leading clustering columns that have choices */
    struct store_choice *clustering;
    bool has_slice; /* on the column after them */
    struct store_bound lower, upper;
    bool has_token;
    struct store_bound token_lower, token_upper;
};

/* ---- SELECT ---- */
struct store_select_plan {
    struct store_keys keys;
    uint32_t filter_count;
    struct store_filter *filters;
    uint32_t selector_count;
    struct store_term **selectors;
    struct cql_column *columns; /* of the result */
    mr_str *json_names;         /* SELECT JSON: one a selector; the result has one column */
    bool reversed, distinct, has_statics, clustering_restricted;
    uint32_t group_count; /* leading key columns that make a group */
    uint32_t aggregate_count;
    struct store_term **aggregates;
    struct store_term *limit, *partition_limit;
};

/* ---- INSERT, UPDATE, DELETE ---- */
struct store_write_change {
    enum store_change_kind kind;
    const struct store_column *column;
    struct store_term *element, *value; /* value NULL: DELETE */
};
struct store_write_plan {
    struct store_keys keys;
    uint32_t change_count; /* by column id, statics apart */
    struct store_write_change *changes;
    uint32_t static_count;
    struct store_write_change *statics;
    bool whole_row; /* DELETE of rows or ranges */
    bool names_row; /* every clustering column has its choice */
    struct store_term *timestamp, *ttl;
    uint32_t condition_count;
    struct store_filter *conditions;
    bool conditional;
    struct store_plan *read; /* conditional: the SELECT of the row, in the same arena */
};

struct store_plan {
    struct mr_arena arena; /* owns all of it */
    uint32_t refs;
    mr_str text, keyspace; /* as prepared */
    uint8_t id[16];
    struct store_statement *statement;
    struct store_table *table; /* referenced; NULL for definitions */
    uint32_t marker_count;
    struct cql_column *markers;
    uint16_t key_count;
    uint16_t *key_indices;
    struct store_select_plan *select;
    struct store_write_plan *write;
    uint32_t child_count; /* BATCH; the children share this arena and the markers */
    struct store_plan *children;
};
/* Parses and binds. Errors: MR_INVALID with a fault. */
mr_err store_plan_make(const struct store_schema *schema, mr_str keyspace, mr_str text,
                       struct store_fault *fault, struct store_plan **out);
struct store_plan *store_plan_ref(struct store_plan *plan);
void store_plan_unref(struct store_plan *plan); /* accepts NULL */

/* ---- the pieces ---- */
mr_err store_plan_select(struct store_plan *plan, struct store_binder *binder);
mr_err store_plan_write(struct store_plan *plan, struct store_binder *binder);
mr_err store_bind_filter(struct store_binder *binder, const struct store_relation *relation,
                         struct store_filter *out);
/* Sorts relations into key choices and filters. `writes`: nothing may be left over. */
mr_err store_bind_keys(struct store_binder *binder, const struct store_statement *statement,
                       bool writes, struct store_keys *keys, struct store_filter **filters,
                       uint32_t *filter_count);
extern const char store_filtering_text[];

#endif
