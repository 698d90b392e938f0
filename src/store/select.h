/* store/select.h: one execution of a SELECT, in slices. A slice runs on the loop over what is in
 * memory; when the disk is needed the next slice runs on a disk thread, and the one after it on the
 * loop again. Between slices the job owns all it needs: nobody else touches it. */
#ifndef STORE_SELECT_H
#define STORE_SELECT_H

#include "store/db.h"
#include "store/view.h"

enum store_select_state {
    STORE_SELECT_DONE,   /* rows, row_count and paging are the result */
    STORE_SELECT_MORE,   /* the slice is used up; run again */
    STORE_SELECT_DISK,   /* run again without KV_CACHED, on a disk thread */
    STORE_SELECT_FAILED, /* fault and why tell */
};
/* Rows of a table that is generated: one cql_value a column, rows one after the other. */
struct store_virtual_rows {
    const struct cql_value *values;
    uint32_t count;
};
struct store_key_range {
    mr_str start, end;  /* half open; end empty: unbounded */
    bool exact;         /* one key: start */
    uint32_t partition; /* ranges of one partition share it */
};
struct store_deleted_range {
    mr_str start, end; /* of clustering bytes, half open; both empty: the whole partition */
    int64_t timestamp;
};
struct store_select_job {
    /* given */
    struct mr_arena arena;
    struct store_db *db;
    const struct store_plan *plan; /* whoever made the job holds a reference */
    const struct cql_value *values;
    int64_t now_us;
    int32_t page_size; /* <= 0: all at once */
    struct cql_value paging_state;
    bool has_ranges;
    const struct store_virtual_rows *generated;
    /* results */
    struct mr_buf rows; /* as RESULT has them after the row count */
    uint32_t row_count;
    struct mr_buf next_page; /* empty: the last one */
    struct store_fault fault;
    char why[512];
    /* the work */
    struct mr_arena scratch;         /* of one row */
    struct mr_arena partition_arena; /* of one partition */
    struct store_scope scope;
    struct store_row_view view;
    struct store_key_range *ranges;
    uint32_t range_count, range_index;
    struct mr_buf last_key; /* done up to here in this range */
    bool has_last;
    struct mr_buf prefix;  /* of the present partition */
    bool partition_seen;   /* a row of it was given: no static row of its own */
    bool partition_static; /* its static row lives */
    uint32_t partition_rows;
    struct store_deleted_range *deleted; /* ranges deleted in the partition */
    uint32_t deleted_count;
    int64_t limit, partition_limit; /* INT64_MAX: none */
    struct cql_value **filter_values;
    uint32_t *filter_counts;
    struct cql_value *filter_elements;
    struct store_fold *folds;       /* aggregates */
    struct cql_value *first_values; /* of a group: what the plain selectors give */
    struct mr_buf first_bytes, group_key;
    bool in_group;
    int64_t budget;
    bool finished;
};
/* Begins; the values must live as long as the job. Errors: MR_INVALID with job->fault. */
mr_err store_select_begin(struct store_select_job *job);
/* kv flags: KV_CACHED or 0. Thread: see above. */
enum store_select_state store_select_run(struct store_select_job *job, int flags);
void store_select_fini(struct store_select_job *job);

/* ---- shared with writes ---- */
/* The values of a choice: of IN ? the list's; each once, nulls refused. */
mr_err store_choice_values(const struct store_scope *scope, const struct store_choice *choice,
                           const struct store_column *column, struct cql_value **values,
                           uint32_t *count);
/* All partition keys that the choices give, as storage key prefixes, sorted, each once. */
mr_err store_partition_prefixes(const struct store_scope *scope, const struct store_table *table,
                                const struct store_keys *keys, mr_str **prefixes, uint32_t *count);
/* All leading parts of clustering keys that the choices give, encoded, sorted, each once. */
mr_err store_clustering_prefixes(const struct store_scope *scope, const struct store_table *table,
                                 const struct store_keys *keys, mr_str **prefixes, uint32_t *count);
/* The slice on the column behind `prefix`, as half-open bytes; `end` empty: unbounded. */
mr_err store_slice_bounds(const struct store_scope *scope, const struct store_table *table,
                          const struct store_keys *keys, mr_str prefix, mr_str *start, mr_str *end);
/* The values of a filter's terms. */
mr_err store_filter_values(const struct store_scope *scope, const struct store_filter *filter,
                           struct cql_value **values, uint32_t *count, struct cql_value *element);

#endif
