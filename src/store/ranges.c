/* store/ranges.c: from values to ranges of storage keys. */
#include "store/select.h"

#include <stdlib.h>

enum { PRODUCT_MAX = 10000 }; /* keys that the INs of one statement may multiply to */

/* ---- values of choices ---- */
static mr_err list_values(const struct store_scope *scope, const struct store_term *term,
                          const struct store_column *column, struct cql_value **values,
                          uint32_t *count)
{
    struct cql_value list, element;
    mr_err err = store_term_value(scope, term, &list);
    if (err != MR_OK)
        return err;
    if (list.length < 0)
        return store_fail(scope->fault, CQL_ERROR_INVALID, "Invalid %s value for column %.*s",
                          list.length == CQL_UNSET ? "unset" : "null", MR_STR_ARG(column->name));
    struct cql_elements elements = cql_elements_of(term->type, list);
    *values = mr_arena_array(scope->arena, struct cql_value, elements.left + 1u);
    *count = 0;
    while (cql_elements_next(&elements, &element))
        (*values)[(*count)++] = element;
    return MR_OK;
}

static mr_err term_values(const struct store_scope *scope, struct store_term *const *terms,
                          uint32_t term_count, bool in_marker, const struct store_column *column,
                          struct cql_value **values, uint32_t *count)
{
    if (in_marker)
        return list_values(scope, terms[0], column, values, count);
    *values = mr_arena_array(scope->arena, struct cql_value, term_count + 1u);
    *count = term_count;
    for (uint32_t i = 0; i < term_count; i++) {
        mr_err err = store_term_value(scope, terms[i], &(*values)[i]);
        if (err != MR_OK)
            return err;
        if ((*values)[i].length == CQL_UNSET)
            return store_fail(scope->fault, CQL_ERROR_INVALID,
                              "Invalid unset value for column %.*s", MR_STR_ARG(column->name));
    }
    return MR_OK;
}

mr_err store_choice_values(const struct store_scope *scope, const struct store_choice *choice,
                           const struct store_column *column, struct cql_value **values,
                           uint32_t *count)
{
    mr_err err = term_values(scope, choice->values, choice->value_count, choice->in_marker, column,
                             values, count);
    for (uint32_t i = 0; err == MR_OK && i < *count; i++)
        if ((*values)[i].length < 0)
            err = store_fail(scope->fault, CQL_ERROR_INVALID,
                             "Invalid null value in condition for column %.*s",
                             MR_STR_ARG(column->name));
    return err;
}

mr_err store_filter_values(const struct store_scope *scope, const struct store_filter *filter,
                           struct cql_value **values, uint32_t *count, struct cql_value *element)
{
    *element = CQL_VALUE_NULL;
    if (filter->element != NULL) {
        mr_err err = store_term_value(scope, filter->element, element);
        if (err != MR_OK)
            return err;
    }
    return term_values(scope, filter->values, filter->value_count, filter->in_marker,
                       filter->columns[0], values, count);
}

/* ---- products ---- */
static int by_bytes(const void *a, const void *b)
{
    return mr_str_compare(*(const mr_str *)a, *(const mr_str *)b);
}

static void sort_once(mr_str *list, uint32_t *count)
{
    uint32_t kept = 0;
    qsort(list, *count, sizeof(*list), by_bytes);
    for (uint32_t i = 0; i < *count; i++)
        if (kept == 0 || !mr_str_equal(list[kept - 1], list[i]))
            list[kept++] = list[i];
    *count = kept;
}

struct product {
    struct cql_value **values;
    uint32_t *counts;
    uint32_t column_count;
    uint64_t total;
};

static mr_err take_product(const struct store_scope *scope, const struct store_choice *choices,
                           const struct store_column *columns, uint32_t column_count,
                           struct product *out)
{
    out->values = mr_arena_array(scope->arena, struct cql_value *, column_count + 1);
    out->counts = mr_arena_array(scope->arena, uint32_t, column_count + 1);
    out->column_count = column_count;
    out->total = 1;
    for (uint32_t i = 0; i < column_count; i++) {
        mr_err err = store_choice_values(scope, &choices[i], &columns[i], &out->values[i],
                                         &out->counts[i]);
        if (err != MR_OK)
            return err;
        out->total *= out->counts[i];
        if (out->total > PRODUCT_MAX)
            return store_fail(scope->fault, CQL_ERROR_INVALID,
                              "the IN restrictions give more than %d keys", PRODUCT_MAX);
    }
    return MR_OK;
}

/* The values of combination `index`. */
static void pick(const struct product *product, uint64_t index, struct cql_value *out)
{
    for (uint32_t i = product->column_count; i-- > 0;) {
        out[i] = product->values[i][index % product->counts[i]];
        index /= product->counts[i];
    }
}

static mr_err write_prefix(const struct store_scope *scope, const struct store_table *table,
                           const struct cql_value *values, mr_str *out)
{
    struct mr_buf key = {0}, prefix = {0};
    mr_err err = MR_OK;
    store_partition_write(&key, table, values);
    if (key.err != MR_OK || key.length > MR_LIMIT_CQL_KEY_BYTES)
        err = store_fail(scope->fault, CQL_ERROR_INVALID,
                         "Key length of %zu is longer than maximum of 65535", key.length);
    else if (key.length == 0)
        err = store_fail(scope->fault, CQL_ERROR_INVALID, "Key may not be empty");
    if (err == MR_OK) {
        store_key_partition(&prefix, table->id, mr_buf_as_str(&key));
        *out = mr_arena_str(scope->arena, mr_buf_as_str(&prefix));
    }
    mr_buf_fini(&key);
    mr_buf_fini(&prefix);
    return err;
}

mr_err store_partition_prefixes(const struct store_scope *scope, const struct store_table *table,
                                const struct store_keys *keys, mr_str **prefixes, uint32_t *count)
{
    struct product product;
    mr_err err = take_product(scope, keys->partition, table->columns, table->partition_count,
                              &product);
    if (err != MR_OK)
        return err;
    struct cql_value *values = mr_arena_array(scope->arena, struct cql_value,
                                              table->partition_count);
    *prefixes = mr_arena_array(scope->arena, mr_str, (size_t)product.total + 1);
    *count = 0;
    for (uint64_t i = 0; i < product.total; i++) {
        pick(&product, i, values);
        err = write_prefix(scope, table, values, &(*prefixes)[(*count)++]);
        if (err != MR_OK)
            return err;
    }
    if (*count > 1)
        sort_once(*prefixes, count);
    return MR_OK;
}

mr_err store_clustering_prefixes(const struct store_scope *scope, const struct store_table *table,
                                 const struct store_keys *keys, mr_str **prefixes, uint32_t *count)
{
    struct product product;
    const struct store_column *columns = table->columns + table->partition_count;
    mr_err err = take_product(scope, keys->clustering, columns, keys->clustering_count, &product);
    if (err != MR_OK)
        return err;
    struct cql_value *values = mr_arena_array(scope->arena, struct cql_value,
                                              keys->clustering_count + 1u);
    *prefixes = mr_arena_array(scope->arena, mr_str, (size_t)product.total + 1);
    *count = 0;
    for (uint64_t i = 0; i < product.total; i++) {
        struct mr_buf key = {0};
        pick(&product, i, values);
        for (uint16_t j = 0; j < keys->clustering_count; j++)
            store_key_component(&key, columns[j].type, columns[j].descending, values[j]);
        (*prefixes)[(*count)++] = mr_arena_str(scope->arena, mr_buf_as_str(&key));
        if (key.length > MR_LIMIT_CQL_KEY_BYTES)
            err = store_fail(scope->fault, CQL_ERROR_INVALID,
                             "Key length of %zu is longer than maximum of 65535", key.length);
        mr_buf_fini(&key);
        if (err != MR_OK)
            return err;
    }
    if (*count > 1)
        sort_once(*prefixes, count);
    return MR_OK;
}

/* ---- slices ---- */
/* The bytes at which a bound begins or ends; `after`: above everything that begins so. */
static mr_err bound_bytes(const struct store_scope *scope, const struct store_column *column,
                          const struct store_bound *bound, mr_str prefix, bool after, mr_str *out)
{
    struct cql_value value;
    struct mr_buf key = {0};
    mr_err err = store_term_value(scope, bound->value, &value);
    if (err != MR_OK)
        return err;
    if (value.length < 0)
        return store_fail(scope->fault, CQL_ERROR_INVALID,
                          "Invalid %s value in condition for column %.*s",
                          value.length == CQL_UNSET ? "unset" : "null", MR_STR_ARG(column->name));
    mr_buf_str(&key, prefix);
    store_key_component(&key, column->type, column->descending, value);
    if (after && !store_key_after(&key, 0))
        mr_buf_clear(&key);
    *out = mr_arena_str(scope->arena, mr_buf_as_str(&key));
    mr_buf_fini(&key);
    return MR_OK;
}

mr_err store_slice_bounds(const struct store_scope *scope, const struct store_table *table,
                          const struct store_keys *keys, mr_str prefix, mr_str *start, mr_str *end)
{
    mr_err err = MR_OK;
    struct mr_buf key = {0};
    *start = prefix;
    mr_buf_str(&key, prefix);
    if (!store_key_after(&key, 0))
        mr_buf_clear(&key);
    *end = mr_arena_str(scope->arena, mr_buf_as_str(&key));
    mr_buf_fini(&key);
    if (!keys->has_slice)
        return MR_OK;
    const struct store_column *column =
        &table->columns[table->partition_count + keys->clustering_count];
    const struct store_bound *first = column->descending ? &keys->upper : &keys->lower;
    const struct store_bound *last = column->descending ? &keys->lower : &keys->upper;
    if (first->value != NULL)
        err = bound_bytes(scope, column, first, prefix, !first->inclusive, start);
    if (err == MR_OK && last->value != NULL)
        err = bound_bytes(scope, column, last, prefix, last->inclusive, end);
    return err;
}
