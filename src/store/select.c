/* store/select.c: walks the ranges of a SELECT and gives its rows.
 *
 *   begin -> [run: enter partition -> row* -> leave partition]* -> done
 *
 * A place in the walk is (range, last key), which is also all that a page leaves behind. */
#include "store/select.h"

#include <stdlib.h>

enum { SLICE_ROWS = 512, PAGE_VERSION = 1 };

/* ---- beginning ---- */
static mr_err limit_value(struct store_select_job *job, const struct store_term *term,
                          const char *name, int64_t *out)
{
    struct cql_value value;
    *out = INT64_MAX;
    if (term == NULL)
        return MR_OK;
    mr_err err = store_term_value(&job->scope, term, &value);
    if (err != MR_OK || value.length == CQL_UNSET)
        return err;
    if (value.length != 4)
        return store_fail(&job->fault, CQL_ERROR_INVALID, "Invalid null value of %s", name);
    *out = store_value_integer(value);
    if (*out <= 0)
        return store_fail(&job->fault, CQL_ERROR_INVALID, "%s must be strictly positive", name);
    return MR_OK;
}

static mr_str concat(struct mr_arena *arena, mr_str prefix, uint8_t kind, mr_str rest)
{
    char *text = mr_arena_alloc(arena, prefix.length + 1 + rest.length);
    memcpy(text, prefix.data, prefix.length);
    text[prefix.length] = (char)kind;
    if (rest.length > 0)
        memcpy(text + prefix.length + 1, rest.data, rest.length);
    return mr_str_of(text, prefix.length + 1 + rest.length);
}

static mr_err partition_ranges(struct store_select_job *job)
{
    const struct store_select_plan *select = job->plan->select;
    const struct store_table *table = job->plan->table;
    mr_str *partitions, *clusterings;
    uint32_t partition_count = 0, clustering_count = 0;
    mr_err err = store_partition_prefixes(&job->scope, table, &select->keys, &partitions,
                                          &partition_count);
    if (err == MR_OK)
        err = store_clustering_prefixes(&job->scope, table, &select->keys, &clusterings,
                                        &clustering_count);
    if (err != MR_OK)
        return err;
    bool exact = select->keys.clustering_count == table->clustering_count;
    if ((uint64_t)partition_count * clustering_count > UINT32_MAX / sizeof(struct store_key_range))
        return store_fail(&job->fault, CQL_ERROR_INVALID, "the IN restrictions give too many keys");
    job->ranges = mr_arena_array(&job->arena, struct store_key_range,
                                 (size_t)partition_count * clustering_count + 1);
    for (uint32_t i = 0; i < partition_count; i++)
        for (uint32_t j = 0; j < clustering_count; j++) {
            struct store_key_range *range = &job->ranges[job->range_count++];
            mr_str at = clusterings[select->reversed ? clustering_count - 1 - j : j], start, end;
            range->partition = i;
            range->exact = exact;
            err = store_slice_bounds(&job->scope, table, &select->keys, at, &start, &end);
            if (err != MR_OK)
                return err;
            range->start = concat(&job->arena, partitions[i], STORE_KEY_ROW, start);
            range->end = end.length > 0
                             ? concat(&job->arena, partitions[i], STORE_KEY_ROW, end)
                             : concat(&job->arena, partitions[i], STORE_KEY_KINDS_END, MR_STR_NULL);
        }
    return MR_OK;
}

static mr_err token_bytes(struct store_select_job *job, const struct store_bound *bound, bool after,
                          mr_str *out)
{
    struct cql_value value;
    struct mr_buf key = {0};
    mr_err err = store_term_value(&job->scope, bound->value, &value);
    if (err != MR_OK)
        return err;
    if (value.length != 8)
        return store_fail(&job->fault, CQL_ERROR_INVALID, "Invalid null token value");
    store_key_token(&key, job->plan->table->id, store_value_integer(value));
    if (after && !store_key_after(&key, 0))
        mr_buf_clear(&key);
    *out = mr_arena_str(&job->arena, mr_buf_as_str(&key));
    mr_buf_fini(&key);
    return MR_OK;
}

static mr_err scan_range(struct store_select_job *job)
{
    const struct store_keys *keys = &job->plan->select->keys;
    struct mr_buf from = {0}, to = {0};
    mr_err err = MR_OK;
    job->ranges = mr_arena_array(&job->arena, struct store_key_range, 1);
    job->range_count = 1;
    store_key_table(&from, job->plan->table->id);
    store_key_table(&to, job->plan->table->id + 1);
    job->ranges[0].start = mr_arena_str(&job->arena, mr_buf_as_str(&from));
    job->ranges[0].end = mr_arena_str(&job->arena, mr_buf_as_str(&to));
    mr_buf_fini(&from);
    mr_buf_fini(&to);
    if (keys->token_lower.value != NULL)
        err = token_bytes(job, &keys->token_lower, !keys->token_lower.inclusive,
                          &job->ranges[0].start);
    if (err == MR_OK && keys->token_upper.value != NULL)
        err = token_bytes(job, &keys->token_upper, keys->token_upper.inclusive,
                          &job->ranges[0].end);
    if (mr_str_compare(job->ranges[0].start, job->ranges[0].end) >= 0)
        job->range_count = 0;
    return err;
}

static mr_err evaluate_filters(struct store_select_job *job)
{
    const struct store_select_plan *select = job->plan->select;
    job->filter_values = mr_arena_array(&job->arena, struct cql_value *, select->filter_count + 1);
    job->filter_counts = mr_arena_array(&job->arena, uint32_t, select->filter_count + 1);
    job->filter_elements = mr_arena_array(&job->arena, struct cql_value, select->filter_count + 1);
    for (uint32_t i = 0; i < select->filter_count; i++) {
        mr_err err = store_filter_values(&job->scope, &select->filters[i], &job->filter_values[i],
                                         &job->filter_counts[i], &job->filter_elements[i]);
        if (err != MR_OK)
            return err;
    }
    return MR_OK;
}

/* ---- pages ---- */
static void save_page(struct store_select_job *job)
{
    mr_buf_u8(&job->next_page, PAGE_VERSION);
    mr_buf_be32(&job->next_page, job->range_index);
    mr_buf_be64(&job->next_page, (uint64_t)job->limit);
    mr_buf_be32(&job->next_page, job->partition_rows);
    mr_buf_str(&job->next_page, mr_buf_as_str(&job->last_key));
}

static void enter_partition_of_page(struct store_select_job *job, uint32_t rows)
{
    struct store_key_parts parts;
    if (!store_key_split(mr_buf_as_str(&job->last_key), &parts))
        return;
    job->partition_rows = rows;
    job->partition_seen = true;
}

static mr_err load_page(struct store_select_job *job)
{
    if (job->paging_state.length < 0)
        return MR_OK;
    struct mr_in in = mr_in_str(cql_value_str(job->paging_state));
    uint8_t version = mr_in_u8(&in);
    uint32_t range = mr_in_be32(&in);
    int64_t limit = (int64_t)mr_in_be64(&in);
    uint32_t rows = mr_in_be32(&in);
    if (in.err != MR_OK || version != PAGE_VERSION || limit <= 0 ||
        (job->generated == NULL && range > job->range_count))
        return store_fail(&job->fault, CQL_ERROR_PROTOCOL, "Invalid value for the paging state");
    job->range_index = range;
    job->limit = limit;
    mr_buf_add(&job->last_key, in.at, mr_in_left(&in));
    job->has_last = job->last_key.length > 0;
    enter_partition_of_page(job, rows);
    return MR_OK;
}

mr_err store_select_begin(struct store_select_job *job)
{
    const struct store_select_plan *select = job->plan->select;
    const struct store_table *table = job->plan->table;
    mr_arena_init(&job->scratch);
    mr_arena_init(&job->partition_arena);
    job->scope = (struct store_scope){.arena = &job->arena,
                                      .table = table,
                                      .values = job->values,
                                      .now_us = job->now_us,
                                      .fault = &job->fault};
    store_view_init(&job->view, &job->arena, table);
    mr_err err = limit_value(job, select->limit, "LIMIT", &job->limit);
    if (err == MR_OK)
        err = limit_value(job, select->partition_limit, "PER PARTITION LIMIT",
                          &job->partition_limit);
    if (err == MR_OK && job->generated == NULL)
        err = select->keys.by_partition ? partition_ranges(job) : scan_range(job);
    if (err == MR_OK)
        err = evaluate_filters(job);
    if (err == MR_OK)
        err = load_page(job);
    job->folds = mr_arena_array(&job->arena, struct store_fold, select->aggregate_count + 1);
    job->first_values = mr_arena_array(&job->arena, struct cql_value, select->selector_count + 1);
    job->scope.arena = &job->scratch;
    return err;
}

void store_select_fini(struct store_select_job *job)
{
    for (uint32_t i = 0; job->folds != NULL && i < job->plan->select->aggregate_count; i++)
        store_fold_fini(&job->folds[i]);
    mr_buf_fini(&job->rows);
    mr_buf_fini(&job->next_page);
    mr_buf_fini(&job->last_key);
    mr_buf_fini(&job->prefix);
    mr_buf_fini(&job->first_bytes);
    mr_buf_fini(&job->group_key);
    mr_arena_fini(&job->scratch);
    mr_arena_fini(&job->partition_arena);
    mr_arena_fini(&job->arena);
}

/* ---- giving rows ---- */
static mr_err write_json(struct store_select_job *job, const struct cql_value *values)
{
    const struct store_select_plan *select = job->plan->select;
    struct mr_buf text = {0};
    mr_buf_u8(&text, '{');
    for (uint32_t i = 0; i < select->selector_count; i++) {
        if (i > 0)
            mr_buf_cstr(&text, ", ");
        mr_buf_json(&text, select->json_names[i]);
        mr_buf_cstr(&text, ": ");
        cql_value_json(&text, select->selectors[i]->type, values[i]);
    }
    mr_buf_u8(&text, '}');
    cql_write_long_string(&job->rows, mr_buf_as_str(&text));
    mr_err err = text.err;
    mr_buf_fini(&text);
    return err;
}

static mr_err write_row(struct store_select_job *job, const struct cql_value *values)
{
    const struct store_select_plan *select = job->plan->select;
    job->row_count++;
    if (select->json_names != NULL)
        return write_json(job, values);
    for (uint32_t i = 0; i < select->selector_count; i++)
        cql_write_value(&job->rows, values[i]);
    return job->rows.err;
}

/* The plain case goes straight from the row to the result. */
static mr_err give_row(struct store_select_job *job)
{
    const struct store_select_plan *select = job->plan->select;
    struct cql_value *values = mr_arena_alloc(&job->scratch, sizeof(struct cql_value) *
                                                                 (select->selector_count + 1u));
    job->scope.row = &job->view;
    for (uint32_t i = 0; i < select->selector_count; i++) {
        const struct store_term *term = select->selectors[i];
        if (term->kind == STORE_TERM_COLUMN) {
            values[i] = job->view.values[term->column->index];
            continue;
        }
        mr_err err = store_term_value(&job->scope, term, &values[i]);
        if (err != MR_OK)
            return err;
    }
    job->limit--;
    return write_row(job, values);
}

/* ---- groups ---- */
static bool same_group(struct store_select_job *job)
{
    struct mr_in in = mr_in_str(mr_buf_as_str(&job->group_key));
    for (uint32_t i = 0; i < job->plan->select->group_count; i++) {
        struct cql_value held = cql_read_value(&in), now = job->view.values[i];
        if (held.length != now.length || !mr_str_equal(cql_value_str(held), cql_value_str(now)))
            return false;
    }
    return true;
}

/* What the selectors give outside of aggregates is that of a group's first row. */
static mr_err begin_group(struct store_select_job *job)
{
    const struct store_select_plan *select = job->plan->select;
    struct cql_value value;
    job->in_group = true;
    mr_buf_clear(&job->group_key);
    mr_buf_clear(&job->first_bytes);
    for (uint32_t i = 0; i < select->group_count; i++)
        cql_write_value(&job->group_key, job->view.values[i]);
    for (uint32_t i = 0; i < select->aggregate_count; i++)
        store_fold_reset(&job->folds[i]);
    for (uint32_t i = 0; i < select->selector_count; i++) {
        if (store_term_has_aggregate(select->selectors[i]))
            continue;
        mr_err err = store_term_value(&job->scope, select->selectors[i], &value);
        if (err != MR_OK)
            return err;
        cql_write_value(&job->first_bytes, value);
    }
    return MR_OK;
}

static mr_err end_group(struct store_select_job *job)
{
    const struct store_select_plan *select = job->plan->select;
    struct mr_in first = mr_in_str(mr_buf_as_str(&job->first_bytes));
    struct cql_value *values = mr_arena_array(&job->scratch, struct cql_value,
                                              select->selector_count + 1u);
    struct cql_value *results = mr_arena_array(&job->scratch, struct cql_value,
                                               select->aggregate_count + 1u);
    for (uint32_t i = 0; i < select->aggregate_count; i++)
        results[i] = store_fold_result(&job->folds[i], select->aggregates[i], &job->scratch);
    job->scope.aggregates = results;
    job->scope.row = NULL;
    mr_err err = MR_OK;
    for (uint32_t i = 0; err == MR_OK && i < select->selector_count; i++) {
        if (store_term_has_aggregate(select->selectors[i]))
            err = store_term_value(&job->scope, select->selectors[i], &values[i]);
        else
            values[i] = job->in_group ? cql_read_value(&first) : CQL_VALUE_NULL;
    }
    job->scope.aggregates = NULL;
    job->in_group = false;
    job->limit--;
    return err != MR_OK ? err : write_row(job, values);
}

static mr_err fold_row(struct store_select_job *job)
{
    const struct store_select_plan *select = job->plan->select;
    struct cql_value value;
    mr_err err = MR_OK;
    job->scope.row = &job->view;
    if (!job->in_group)
        err = begin_group(job);
    for (uint32_t i = 0; err == MR_OK && i < select->aggregate_count; i++) {
        const struct store_term *call = select->aggregates[i];
        value = CQL_VALUE_NULL;
        if (call->arg_count > 0 && call->args[0]->kind != STORE_TERM_STAR)
            err = store_term_value(&job->scope, call->args[0], &value);
        if (err == MR_OK)
            store_fold_add(&job->folds[i], call, value);
    }
    return err;
}

static bool folds(const struct store_select_job *job)
{
    return job->plan->select->aggregate_count > 0 || job->plan->select->group_count > 0;
}

static bool page_is_full(const struct store_select_job *job)
{
    return (job->page_size > 0 && job->row_count >= (uint32_t)job->page_size) ||
           job->rows.length >= MR_LIMIT_CQL_PAGE_BYTES;
}

/* Gives or folds the row in the view. *held: a new group begins and the page is full, so the row waits
 * for the next page. */
static mr_err take_row(struct store_select_job *job, bool *held)
{
    mr_err err = MR_OK;
    *held = false;
    job->partition_seen = true;
    if (!folds(job)) {
        job->partition_rows++;
        return give_row(job);
    }
    if (job->in_group && !same_group(job)) {
        err = end_group(job);
        if (err == MR_OK && (job->limit == 0 || page_is_full(job))) {
            *held = true;
            return MR_OK;
        }
    }
    job->partition_rows++;
    return err != MR_OK ? err : fold_row(job);
}

static bool passes_filters(struct store_select_job *job)
{
    const struct store_select_plan *select = job->plan->select;
    for (uint32_t i = 0; i < select->filter_count; i++)
        if (!store_filter_passes(&select->filters[i], job->filter_values[i], job->filter_counts[i],
                                 job->filter_elements[i], &job->view, false))
            return false;
    return true;
}

/* ---- partitions ---- */
static mr_err load_deleted(struct store_select_job *job, int flags)
{
    mr_err err = MR_OK;
    mr_str prefix = mr_buf_as_str(&job->prefix);
    MR_ARRAY(struct store_deleted_range) list = {NULL, 0, 0};
    mr_str from = concat(&job->partition_arena, prefix, STORE_KEY_RANGE, MR_STR_NULL);
    mr_str to = concat(&job->partition_arena, prefix, STORE_KEY_STATIC, MR_STR_NULL);
    struct kv_iter *iter = kv_iter_open(job->db->kv, job->db->rows, from, to, flags, NULL);
    for (kv_iter_first(iter); kv_iter_valid(iter); kv_iter_next(iter)) {
        struct store_range range;
        mr_str key = kv_iter_key(iter);
        struct mr_in in = mr_in_str(mr_str_slice(key, from.length, key.length));
        mr_str start = cql_read_short_bytes(&in);
        mr_str end = mr_str_of(in.at, mr_in_left(&in));
        if (in.err != MR_OK || !store_range_read(kv_iter_value(iter), &range))
            continue;
        *mr_array_add(&list) = (struct store_deleted_range){
            mr_arena_str(&job->partition_arena, start), mr_arena_str(&job->partition_arena, end),
            range.timestamp};
    }
    err = kv_iter_err(iter);
    kv_iter_close(iter);
    job->deleted = mr_arena_alloc(&job->partition_arena, list.count * sizeof(*job->deleted) + 1);
    job->deleted_count = (uint32_t)list.count;
    if (list.count > 0)
        memcpy(job->deleted, list.items, list.count * sizeof(*job->deleted));
    mr_array_fini(&list);
    return err;
}

/* The latest deletion that covers a clustering key; NULL: the static row, which only that of the whole
 * partition covers. */
static int64_t deletion_of(const struct store_select_job *job, const mr_str *clustering)
{
    int64_t deletion = INT64_MIN;
    for (uint32_t i = 0; i < job->deleted_count; i++) {
        mr_str start = job->deleted[i].start, end = job->deleted[i].end;
        bool covers = clustering == NULL
                          ? start.length == 0 && end.length == 0
                          : mr_str_compare(start, *clustering) <= 0 &&
                                (end.length == 0 || mr_str_compare(*clustering, end) < 0);
        if (covers && job->deleted[i].timestamp > deletion)
            deletion = job->deleted[i].timestamp;
    }
    return deletion;
}

static mr_err load_static(struct store_select_job *job, int flags)
{
    struct kv_slice slice = {MR_STR_NULL, NULL};
    mr_str key = concat(&job->partition_arena, mr_buf_as_str(&job->prefix), STORE_KEY_STATIC,
                        MR_STR_NULL);
    mr_err err = kv_get(job->db->kv, job->db->rows, key, flags, NULL, &slice);
    if (err == MR_OK) {
        mr_str copy = mr_arena_str(&job->partition_arena, slice.value);
        bool live = false;
        if (!store_view_load(&job->view, job->plan->table, copy, job->now_us / 1000000,
                             deletion_of(job, NULL), &job->partition_arena, &live))
            err = mr_fail(MR_CORRUPT, "a static row of %.*s is damaged",
                          MR_STR_ARG(job->plan->table->name));
        job->partition_static = live;
    }
    kv_slice_fini(&slice);
    return err == MR_NOT_FOUND ? MR_OK : err;
}

/* Everything that the rows of a partition share. */
static mr_err enter_partition(struct store_select_job *job, mr_str prefix, int flags)
{
    const struct store_table *table = job->plan->table;
    struct store_key_parts parts;
    mr_err err = MR_OK;
    bool resumed = job->prefix.length == 0 && job->partition_seen && job->has_last &&
                   mr_str_starts(mr_buf_as_str(&job->last_key), prefix);
    mr_buf_clear(&job->prefix);
    mr_buf_str(&job->prefix, prefix);
    mr_arena_reset(&job->partition_arena);
    store_view_clear(&job->view, table, STORE_COLUMN_PARTITION, STORE_COLUMN_STATIC);
    job->partition_static = false;
    job->deleted_count = 0;
    if (!resumed) {
        job->partition_seen = false;
        job->partition_rows = 0;
    }
    mr_str copy = mr_arena_str(&job->partition_arena, prefix);
    mr_str with_kind = concat(&job->partition_arena, copy, STORE_KEY_ROW, MR_STR_NULL);
    if (!store_key_split(with_kind, &parts) ||
        !store_partition_read(table, parts.partition, job->view.values))
        err = mr_fail(MR_CORRUPT, "a key of %.*s is damaged", MR_STR_ARG(table->name));
    if (err == MR_OK && job->has_ranges)
        err = load_deleted(job, flags);
    if (err == MR_OK && table->static_count > 0)
        err = load_static(job, flags);
    if (err != MR_OK)
        mr_buf_clear(&job->prefix); /* it will be entered anew */
    return err;
}

/* A partition with nothing but statics gives one row, unless rows were asked for by their keys. */
static mr_err leave_partition(struct store_select_job *job)
{
    bool held = false;
    if (job->prefix.length == 0)
        return MR_OK;
    if (!job->partition_static || job->partition_seen || job->plan->select->clustering_restricted ||
        job->limit == 0)
        return MR_OK;
    store_view_clear(&job->view, job->plan->table, STORE_COLUMN_CLUSTERING,
                     STORE_COLUMN_CLUSTERING);
    store_view_clear(&job->view, job->plan->table, STORE_COLUMN_REGULAR, STORE_COLUMN_REGULAR);
    return passes_filters(job) ? take_row(job, &held) : MR_OK;
}

/* ---- rows ---- */
static bool partition_is_full(const struct store_select_job *job)
{
    return job->partition_rows >= job->partition_limit ||
           (job->plan->select->distinct && job->partition_seen);
}

/* One stored row. *held as take_row(). */
static mr_err visit_row(struct store_select_job *job, mr_str clustering, mr_str packed, bool *held)
{
    const struct store_table *table = job->plan->table;
    bool live = false;
    *held = false;
    if (partition_is_full(job))
        return MR_OK;
    mr_arena_reset(&job->scratch);
    store_view_clear(&job->view, table, STORE_COLUMN_REGULAR, STORE_COLUMN_REGULAR);
    int64_t deletion = job->deleted_count > 0 ? deletion_of(job, &clustering) : INT64_MIN;
    if (!store_view_clustering(&job->view, table, clustering, &job->scratch) ||
        !store_view_load(&job->view, table, packed, job->now_us / 1000000, deletion, &job->scratch,
                         &live))
        return mr_fail(MR_CORRUPT, "a row of %.*s is damaged", MR_STR_ARG(table->name));
    if (!live || !passes_filters(job))
        return MR_OK;
    return take_row(job, held);
}

static bool is_satisfied(const struct store_select_job *job)
{
    return job->limit == 0 ||
           (page_is_full(job) && (!folds(job) || job->plan->select->group_count > 0));
}

static mr_err run_exact(struct store_select_job *job, const struct store_key_range *range,
                        int flags)
{
    struct store_key_parts parts;
    struct kv_slice slice = {MR_STR_NULL, NULL};
    bool held = false;
    mr_err err = MR_OK;
    (void)store_key_split(range->start, &parts);
    if (!mr_str_equal(parts.prefix, mr_buf_as_str(&job->prefix)))
        err = enter_partition(job, parts.prefix, flags);
    if (err == MR_OK)
        err = kv_get(job->db->kv, job->db->rows, range->start, flags, NULL, &slice);
    if (err == MR_OK)
        err = visit_row(job, parts.clustering, slice.value, &held);
    else if (err == MR_NOT_FOUND)
        err = MR_OK;
    kv_slice_fini(&slice);
    return err;
}

/* Where the walk of a range goes on. */
static void seek(struct store_select_job *job, struct kv_iter *iter)
{
    bool reversed = job->plan->select->reversed;
    mr_str last = mr_buf_as_str(&job->last_key);
    if (!job->has_last) {
        if (reversed)
            kv_iter_last(iter);
        else
            kv_iter_first(iter);
        return;
    }
    if (reversed)
        kv_iter_seek_back(iter, last);
    else
        kv_iter_seek(iter, last);
    if (kv_iter_valid(iter) && mr_str_equal(kv_iter_key(iter), last)) {
        if (reversed)
            kv_iter_prev(iter);
        else
            kv_iter_next(iter);
    }
}

/* Over the rest of a partition that has given all it may, when the range goes on behind it. */
static void skip_partition(struct store_select_job *job, struct kv_iter *iter)
{
    mr_str end = concat(&job->scratch, mr_buf_as_str(&job->prefix), STORE_KEY_KINDS_END,
                        MR_STR_NULL);
    kv_iter_seek(iter, end);
}

static mr_err run_scan(struct store_select_job *job, const struct store_key_range *range, int flags)
{
    bool reversed = job->plan->select->reversed, held = false;
    mr_err err = MR_OK;
    struct kv_iter *iter = kv_iter_open(job->db->kv, job->db->rows, range->start, range->end, flags,
                                        NULL);
    for (seek(job, iter); kv_iter_valid(iter);) {
        struct store_key_parts parts;
        mr_str key = kv_iter_key(iter);
        if (!store_key_split(key, &parts)) {
            err = mr_fail(MR_CORRUPT, "a key of %.*s is damaged",
                          MR_STR_ARG(job->plan->table->name));
            break;
        }
        if (!mr_str_equal(parts.prefix, mr_buf_as_str(&job->prefix))) {
            err = leave_partition(job);
            if (err == MR_OK && !is_satisfied(job))
                err = enter_partition(job, parts.prefix, flags);
        }
        if (err != MR_OK || is_satisfied(job))
            break;
        if (parts.kind == STORE_KEY_ROW)
            err = visit_row(job, parts.clustering, kv_iter_value(iter), &held);
        if (err != MR_OK || held)
            break;
        mr_buf_clear(&job->last_key);
        mr_buf_str(&job->last_key, key);
        job->has_last = true;
        if (is_satisfied(job) || --job->budget <= 0)
            break;
        if (partition_is_full(job) && !reversed)
            skip_partition(job, iter);
        else if (reversed)
            kv_iter_prev(iter);
        else
            kv_iter_next(iter);
    }
    bool ended = err == MR_OK && !kv_iter_valid(iter);
    if (ended)
        err = kv_iter_err(iter);
    kv_iter_close(iter);
    if (ended && err == MR_OK)
        job->finished = true; /* this range */
    return err;
}

static mr_err run_generated(struct store_select_job *job)
{
    uint32_t first = job->range_index;
    bool held = false;
    for (uint32_t i = first; i < job->generated->count && !is_satisfied(job); i++) {
        mr_arena_reset(&job->scratch);
        memcpy(job->view.values,
               job->generated->values + (size_t)i * job->plan->table->column_count,
               job->plan->table->column_count * sizeof(struct cql_value));
        job->range_index = i + 1;
        mr_err err = passes_filters(job) ? take_row(job, &held) : MR_OK;
        if (err != MR_OK)
            return err;
        if (held)
            job->range_index = i;
    }
    job->finished = job->range_index == job->generated->count;
    return MR_OK;
}

/* ---- generated tables serve keys by filters ---- */
static bool generated_matches(struct store_select_job *job, mr_err *err)
{
    const struct store_table *table = job->plan->table;
    const struct store_keys *keys = &job->plan->select->keys;
    for (uint16_t i = 0; keys->by_partition && i < table->partition_count + keys->clustering_count;
         i++) {
        const struct store_choice *choice = i < table->partition_count
                                                ? &keys->partition[i]
                                                : &keys->clustering[i - table->partition_count];
        struct cql_value *values;
        uint32_t count = 0;
        bool found = false;
        *err = store_choice_values(&job->scope, choice, &table->columns[i], &values, &count);
        for (uint32_t j = 0; *err == MR_OK && j < count; j++)
            found |= cql_value_compare(table->columns[i].type, job->view.values[i], values[j]) == 0;
        if (!found)
            return false;
    }
    return true;
}

/* Leaves only the rows that the key restrictions name. */
static mr_err narrow_generated(struct store_select_job *job)
{
    const struct store_table *table = job->plan->table;
    struct store_virtual_rows *kept = mr_arena_new(&job->arena, struct store_virtual_rows);
    struct cql_value *values = mr_arena_array(
        &job->arena, struct cql_value, (size_t)job->generated->count * table->column_count + 1);
    mr_err err = MR_OK;
    for (uint32_t i = 0; err == MR_OK && i < job->generated->count; i++) {
        const struct cql_value *row = job->generated->values + (size_t)i * table->column_count;
        memcpy(job->view.values, row, table->column_count * sizeof(*row));
        if (generated_matches(job, &err))
            memcpy(values + (size_t)kept->count++ * table->column_count, row,
                   table->column_count * sizeof(*row));
    }
    kept->values = values;
    job->generated = kept;
    return err;
}

/* ---- the walk ---- */
static mr_err finish(struct store_select_job *job)
{
    const struct store_select_plan *select = job->plan->select;
    mr_err err = job->limit > 0 ? leave_partition(job) : MR_OK;
    bool one = select->aggregate_count > 0 && select->group_count == 0;
    if (err == MR_OK && (job->in_group || one) && job->limit > 0)
        err = end_group(job);
    return err;
}

static mr_err run_ranges(struct store_select_job *job, int flags)
{
    while (job->range_index < job->range_count && !is_satisfied(job)) {
        const struct store_key_range *range = &job->ranges[job->range_index];
        bool other = job->range_index > 0 && !job->has_last &&
                     range->partition != job->ranges[job->range_index - 1].partition;
        mr_err err = MR_OK;
        job->finished = false;
        if (other && job->prefix.length > 0) {
            err = leave_partition(job);
            mr_buf_clear(&job->prefix);
        }
        if (err == MR_OK && job->plan->select->keys.by_partition && job->prefix.length == 0) {
            struct store_key_parts parts;
            (void)store_key_split(range->start, &parts);
            err = enter_partition(job, parts.prefix, flags);
        }
        if (err == MR_OK)
            err = range->exact ? run_exact(job, range, flags) : run_scan(job, range, flags);
        if (err != MR_OK)
            return err;
        if (!range->exact && !job->finished)
            return MR_OK;
        job->range_index++;
        job->has_last = false;
        mr_buf_clear(&job->last_key);
        if (--job->budget <= 0)
            return MR_OK;
    }
    return MR_OK;
}

static enum store_select_state failed(struct store_select_job *job, mr_err err)
{
    if (job->fault.code == CQL_ERROR_SERVER && err == MR_INVALID)
        job->fault.code = CQL_ERROR_INVALID;
    size_t length = strlen(mr_why());
    length = length < sizeof(job->why) - 1 ? length : sizeof(job->why) - 1;
    memcpy(job->why, mr_why(), length);
    job->why[length] = '\0';
    return STORE_SELECT_FAILED;
}

enum store_select_state store_select_run(struct store_select_job *job, int flags)
{
    mr_err err = MR_OK;
    job->budget = SLICE_ROWS;
    if (job->generated != NULL) {
        bool narrow = job->range_count == 0;
        job->range_count = 1;
        if (narrow)
            err = narrow_generated(job);
        if (err == MR_OK)
            err = run_generated(job);
    } else {
        err = run_ranges(job, flags);
    }
    if (err == MR_AGAIN)
        return STORE_SELECT_DISK;
    if (err != MR_OK)
        return failed(job, err);
    bool at_end = job->generated != NULL ? job->finished : job->range_index >= job->range_count;
    if (!at_end && !is_satisfied(job))
        return STORE_SELECT_MORE;
    if (at_end && !(is_satisfied(job) && folds(job) && job->limit == 0))
        err = finish(job);
    if (err != MR_OK)
        return failed(job, err);
    if (!at_end && job->limit > 0)
        save_page(job);
    return STORE_SELECT_DONE;
}
