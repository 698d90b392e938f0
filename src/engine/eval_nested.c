/* engine/eval_nested.c: arrays, maps, structs, JSON and what else looks into nested values. A kernel
 * that makes lists builds them row after row; rows that are not asked for become NULL. */
#include "engine/eval_call.h"

#include <stdlib.h>

#include "json/json.h"

/* ---- building lists ---- */
struct lists {
    struct engine_call *call;
    struct data_builder *builder;
    uint32_t live;
};

static struct lists lists_begin(struct engine_call *call)
{
    return (struct lists){.call = call, .builder = data_builder_new(call->arena, call->out->type)};
}

/* Whether the row is to be built; rows come in order, 0 to out->count - 1. */
static bool lists_next(struct lists *lists, uint32_t row)
{
    struct engine_call *call = lists->call;
    if (lists->live < call->count && call->rows[lists->live] == row) {
        lists->live++;
        return true;
    }
    data_builder_null(lists->builder);
    return false;
}

static void lists_end(struct lists *lists)
{
    struct engine_call *call = lists->call;
    for (uint32_t i = 0; i < call->count; i++)
        if (call->bad->bad[call->rows[i]])
            lists->builder->column->valid[call->rows[i]] = 0;
    call->out = data_builder_take(lists->builder);
}

/* for (each row that is asked for) with the builder's new row open. */
#define EACH_LIST(lists, row)                                     \
    for (uint32_t row = 0; row < (lists).call->out->count; row++) \
        if (lists_next(&(lists), row))

static bool too_many(struct engine_call *call, uint32_t row, int64_t count)
{
    if (count <= MR_LIMIT_SQL_ARRAY_ITEMS)
        return false;
    engine_call_fail(call, row, "an array of %lld elements, at most %d are allowed",
                     (long long)count, MR_LIMIT_SQL_ARRAY_ITEMS);
    return true;
}

static int compare_elements(const struct data_column *elements, uint32_t a, uint32_t b)
{
    return data_value_compare(elements, a, elements, b);
}

/* ---- constructors ---- */
void engine_kernel_array(struct engine_call *call)
{
    struct lists lists = lists_begin(call);
    EACH_LIST(lists, row)
    {
        data_builder_row(lists.builder);
        for (uint32_t i = 0; i < call->arg_count; i++)
            data_builder_copy(lists.builder->elements, call->args[i], row);
        data_builder_end(lists.builder);
    }
    lists_end(&lists);
}

/* Adds a pair to the open map; NULL keys and repeated ones fail the row. */
static void add_pair(struct lists *lists, uint32_t row, const struct data_column *keys,
                     uint32_t key, const struct data_column *values, uint32_t value)
{
    struct data_builder *map = lists->builder;
    uint32_t start = map->column->starts[map->column->count - 1];
    if (!keys->valid[key]) {
        engine_call_fail(lists->call, row, "[NULL_MAP_KEY] a map cannot have a NULL key");
        return;
    }
    for (uint32_t i = start; i < map->keys->column->count; i++)
        if (data_value_compare(map->keys->column, i, keys, key) == 0) {
            engine_call_fail(lists->call, row,
                             "[DUPLICATED_MAP_KEY] a map cannot have a key twice");
            return;
        }
    data_builder_copy(map->keys, keys, key);
    data_builder_copy(map->elements, values, value);
}

void engine_kernel_map(struct engine_call *call)
{
    struct lists lists = lists_begin(call);
    EACH_LIST(lists, row)
    {
        data_builder_row(lists.builder);
        for (uint32_t i = 0; i + 1 < call->arg_count; i += 2)
            add_pair(&lists, row, call->args[i], row, call->args[i + 1], row);
        data_builder_end(lists.builder);
    }
    lists_end(&lists);
}

void engine_kernel_map_from_arrays(struct engine_call *call)
{
    const struct data_column *keys = call->args[0], *values = call->args[1];
    struct lists lists = lists_begin(call);
    EACH_LIST(lists, row)
    {
        data_builder_row(lists.builder);
        if (keys->lengths[row] != values->lengths[row])
            engine_call_fail(call, row, "the array of keys and that of values differ in length");
        else
            for (uint32_t i = 0; i < keys->lengths[row]; i++)
                add_pair(&lists, row, keys->elements, keys->starts[row] + i, values->elements,
                         values->starts[row] + i);
        data_builder_end(lists.builder);
    }
    lists_end(&lists);
}

void engine_kernel_map_concat(struct engine_call *call)
{
    struct lists lists = lists_begin(call);
    EACH_LIST(lists, row)
    {
        data_builder_row(lists.builder);
        for (uint32_t a = 0; a < call->arg_count; a++) {
            const struct data_column *map = call->args[a];
            for (uint32_t i = 0; i < map->lengths[row]; i++)
                add_pair(&lists, row, map->keys, map->starts[row] + i, map->elements,
                         map->starts[row] + i);
        }
        data_builder_end(lists.builder);
    }
    lists_end(&lists);
}

/* The fields are the arguments' columns themselves: nothing is copied. */
void engine_kernel_struct_of(struct engine_call *call)
{
    struct data_column *out = mr_arena_new(call->arena, struct data_column);
    out->type = call->expr->type;
    out->count = call->out->count;
    out->valid = call->out->valid;
    out->fields = mr_arena_array(call->arena, struct data_column *, call->arg_count);
    for (uint32_t i = 0; i < call->arg_count; i++)
        out->fields[i] = (struct data_column *)call->args[i];
    EACH_ROW(call, row)
    out->valid[row] = 1;
    call->out = out;
}

void engine_kernel_named_struct(struct engine_call *call)
{
    engine_kernel_struct_of(call);
}

/* ---- single elements ---- */
/* Results with lists inside are built; all others are set in place. */
struct picks {
    struct engine_call *call;
    const struct data_column **from;
    uint32_t *at;
};

static struct picks picks_begin(struct engine_call *call)
{
    return (struct picks){call,
                          mr_arena_array(call->arena, const struct data_column *, call->out->count),
                          mr_arena_array(call->arena, uint32_t, call->out->count)};
}

static void pick(struct picks *picks, uint32_t row, const struct data_column *from, uint32_t at)
{
    picks->from[row] = from;
    picks->at[row] = at;
}

/* Rows without a pick are NULL. */
static void picks_end(struct picks *picks)
{
    struct engine_call *call = picks->call;
    if (data_type_has_lists(call->out->type)) {
        struct data_builder *builder = data_builder_new(call->arena, call->out->type);
        for (uint32_t row = 0; row < call->out->count; row++) {
            if (picks->from[row] == NULL)
                data_builder_null(builder);
            else
                data_builder_copy(builder, picks->from[row], picks->at[row]);
        }
        call->out = data_builder_take(builder);
        return;
    }
    EACH_ROW(call, row)
    {
        if (picks->from[row] != NULL)
            data_column_set(call->out, row, picks->from[row], picks->at[row]);
        else
            call->out->valid[row] = 0;
    }
}

/* The index of the key in a map's row, or -1. */
static int64_t find_key(const struct data_column *map, uint32_t row, const struct data_column *key)
{
    for (uint32_t i = 0; i < map->lengths[row]; i++)
        if (data_value_compare(map->keys, map->starts[row] + i, key, row) == 0)
            return (int64_t)map->starts[row] + i;
    return -1;
}

void engine_kernel_subscript(struct engine_call *call)
{
    const struct data_column *list = call->args[0];
    struct picks picks = picks_begin(call);
    EACH_ROW(call, row)
    {
        if (list->type->kind == DATA_MAP) {
            int64_t at = find_key(list, row, call->args[1]);
            if (at >= 0)
                pick(&picks, row, list->elements, (uint32_t)at);
            continue;
        }
        int64_t index = call->args[1]->ints[row];
        if (index >= 0 && index < list->lengths[row])
            pick(&picks, row, list->elements, list->starts[row] + (uint32_t)index);
        else if (call->ansi && call->expr->function == SQL_FN_subscript)
            engine_call_fail(call, row,
                             "[INVALID_ARRAY_INDEX] the index %lld is outside of the array of %u "
                             "elements",
                             (long long)index, list->lengths[row]);
    }
    picks_end(&picks);
}

void engine_kernel_get(struct engine_call *call)
{
    engine_kernel_subscript(call);
}

void engine_kernel_element_at(struct engine_call *call)
{
    const struct data_column *list = call->args[0];
    struct picks picks = picks_begin(call);
    bool safe = call->expr->function == SQL_FN_try_element_at;
    if (list->type->kind == DATA_MAP) {
        engine_kernel_subscript(call);
        return;
    }
    EACH_ROW(call, row)
    {
        int64_t index = call->args[1]->ints[row], count = list->lengths[row];
        int64_t at = index > 0 ? index - 1 : count + index;
        if (index == 0)
            engine_call_fail(call, row,
                             "[INVALID_INDEX_OF_ZERO] the index 0 is invalid; it begins at 1");
        else if (at >= 0 && at < count)
            pick(&picks, row, list->elements, list->starts[row] + (uint32_t)at);
        else if (call->ansi && !safe)
            engine_call_fail(
                call, row,
                "[INVALID_ARRAY_INDEX_IN_ELEMENT_AT] the index %lld is outside of the array "
                "of %lld elements",
                (long long)index, (long long)count);
    }
    picks_end(&picks);
}

void engine_kernel_try_element_at(struct engine_call *call)
{
    engine_kernel_element_at(call);
}

static void array_extreme(struct engine_call *call, int sign)
{
    const struct data_column *list = call->args[0];
    struct picks picks = picks_begin(call);
    EACH_ROW(call, row)
    for (uint32_t i = 0; i < list->lengths[row]; i++) {
        uint32_t at = list->starts[row] + i;
        if (list->elements->valid[at] &&
            (picks.from[row] == NULL ||
             compare_elements(list->elements, at, picks.at[row]) * sign > 0))
            pick(&picks, row, list->elements, at);
    }
    picks_end(&picks);
}

void engine_kernel_array_min(struct engine_call *call)
{
    array_extreme(call, -1);
}

void engine_kernel_array_max(struct engine_call *call)
{
    array_extreme(call, 1);
}

/* ---- asking ---- */
void engine_kernel_size(struct engine_call *call)
{
    EACH_ROW(call, row)
    {
        bool valid = call->args[0]->valid[row];
        call->out->valid[row] = valid || !call->ansi;
        call->out->ints[row] = valid ? (int32_t)call->args[0]->lengths[row] : -1;
    }
}

void engine_kernel_array_size(struct engine_call *call)
{
    EACH_ROW(call, row)
    call->out->ints[row] = (int32_t)call->args[0]->lengths[row];
}

/* Where the value is in the row's array, from 0; -1: nowhere. `*null` says whether it has NULLs. */
static int64_t find_element(const struct data_column *list, uint32_t row,
                            const struct data_column *value, uint32_t at, bool *null)
{
    *null = false;
    for (uint32_t i = 0; i < list->lengths[row]; i++) {
        uint32_t element = list->starts[row] + i;
        if (!list->elements->valid[element])
            *null = true;
        else if (data_value_compare(list->elements, element, value, at) == 0)
            return i;
    }
    return -1;
}

void engine_kernel_array_contains(struct engine_call *call)
{
    EACH_ROW(call, row)
    {
        bool null;
        if (!call->args[0]->valid[row] || !call->args[1]->valid[row])
            continue;
        bool found = find_element(call->args[0], row, call->args[1], row, &null) >= 0;
        call->out->valid[row] = found || !null;
        call->out->bools[row] = found;
    }
}

void engine_kernel_array_position(struct engine_call *call)
{
    bool null;
    EACH_ROW(call, row)
    call->out->longs[row] = find_element(call->args[0], row, call->args[1], row, &null) + 1;
}

void engine_kernel_map_contains_key(struct engine_call *call)
{
    EACH_ROW(call, row)
    call->out->bools[row] = find_key(call->args[0], row, call->args[1]) >= 0;
}

void engine_kernel_arrays_overlap(struct engine_call *call)
{
    const struct data_column *a = call->args[0], *b = call->args[1];
    EACH_ROW(call, row)
    {
        bool found = false, null = false, unknown = false;
        for (uint32_t i = 0; i < a->lengths[row] && !found; i++) {
            uint32_t at = a->starts[row] + i;
            if (!a->elements->valid[at])
                unknown = b->lengths[row] > 0;
            else
                found = find_element(b, row, a->elements, at, &null) >= 0;
            unknown = unknown || null;
        }
        call->out->valid[row] = found || !unknown;
        call->out->bools[row] = found;
    }
}

void engine_kernel_array_join(struct engine_call *call)
{
    const struct data_column *list = call->args[0];
    struct mr_buf text = {0};
    EACH_ROW(call, row)
    {
        bool first = true;
        mr_buf_clear(&text);
        for (uint32_t i = 0; i < list->lengths[row]; i++) {
            uint32_t at = list->starts[row] + i;
            bool valid = list->elements->valid[at];
            if (!valid && call->arg_count < 3)
                continue;
            if (!first)
                mr_buf_str(&text, call->args[1]->strs[row]);
            mr_buf_str(&text, valid ? list->elements->strs[at] : call->args[2]->strs[row]);
            first = false;
        }
        call->out->strs[row] = engine_call_copy(call, mr_buf_as_str(&text));
    }
    mr_buf_fini(&text);
}

/* ---- new arrays of old elements ---- */
void engine_kernel_array_remove(struct engine_call *call)
{
    const struct data_column *list = call->args[0];
    struct lists lists = lists_begin(call);
    EACH_LIST(lists, row)
    {
        data_builder_row(lists.builder);
        for (uint32_t i = 0; i < list->lengths[row]; i++)
            if (data_value_compare(list->elements, list->starts[row] + i, call->args[1], row) != 0)
                data_builder_copy(lists.builder->elements, list->elements, list->starts[row] + i);
        data_builder_end(lists.builder);
    }
    lists_end(&lists);
}

static void add_all(struct data_builder *elements, const struct data_column *list, uint32_t row)
{
    for (uint32_t i = 0; i < list->lengths[row]; i++)
        data_builder_copy(elements, list->elements, list->starts[row] + i);
}

static void array_add(struct engine_call *call, bool front)
{
    const struct data_column *list = call->args[0];
    struct lists lists = lists_begin(call);
    EACH_LIST(lists, row)
    {
        if (!list->valid[row]) {
            data_builder_null(lists.builder);
            continue;
        }
        data_builder_row(lists.builder);
        if (front)
            data_builder_copy(lists.builder->elements, call->args[1], row);
        add_all(lists.builder->elements, list, row);
        if (!front)
            data_builder_copy(lists.builder->elements, call->args[1], row);
        data_builder_end(lists.builder);
    }
    lists_end(&lists);
}

void engine_kernel_array_append(struct engine_call *call)
{
    array_add(call, false);
}

void engine_kernel_array_prepend(struct engine_call *call)
{
    array_add(call, true);
}

void engine_kernel_array_compact(struct engine_call *call)
{
    const struct data_column *list = call->args[0];
    struct lists lists = lists_begin(call);
    EACH_LIST(lists, row)
    {
        data_builder_row(lists.builder);
        for (uint32_t i = 0; i < list->lengths[row]; i++)
            if (list->elements->valid[list->starts[row] + i])
                data_builder_copy(lists.builder->elements, list->elements, list->starts[row] + i);
        data_builder_end(lists.builder);
    }
    lists_end(&lists);
}

/* ---- sorting ---- */
struct order {
    const struct data_column *elements;
    bool descending, nulls_last;
};

static int order_compare(const void *a, const void *b, void *context)
{
    const struct order *order = context;
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    bool null_x = !order->elements->valid[x], null_y = !order->elements->valid[y];
    if (null_x || null_y)
        return (null_x - null_y) * (order->nulls_last ? 1 : -1);
    int result = compare_elements(order->elements, x, y);
    return order->descending ? -result : result;
}

static void sort_lists(struct engine_call *call, bool nulls_last)
{
    const struct data_column *list = call->args[0];
    struct lists lists = lists_begin(call);
    EACH_LIST(lists, row)
    {
        struct order order = {.elements = list->elements, .nulls_last = nulls_last};
        uint32_t count = list->lengths[row];
        uint32_t *places = mr_arena_array(call->arena, uint32_t, count);
        if (call->arg_count == 2 && !call->args[1]->bools[row])
            order.descending = order.nulls_last = true;
        for (uint32_t i = 0; i < count; i++)
            places[i] = list->starts[row] + i;
        qsort_r(places, count, sizeof *places, order_compare, &order);
        data_builder_row(lists.builder);
        for (uint32_t i = 0; i < count; i++)
            data_builder_copy(lists.builder->elements, list->elements, places[i]);
        data_builder_end(lists.builder);
    }
    lists_end(&lists);
}

void engine_kernel_sort_array(struct engine_call *call)
{
    sort_lists(call, false);
}

void engine_kernel_array_sort(struct engine_call *call)
{
    sort_lists(call, true);
}

/* ---- sets ---- */
/* Whether the value is among the elements that the open row has so far. */
static bool is_added(const struct data_builder *builder, const struct data_column *from,
                     uint32_t at)
{
    const struct data_column *elements = builder->elements->column;
    for (uint32_t i = builder->column->starts[builder->column->count - 1]; i < elements->count; i++)
        if (data_value_compare(elements, i, from, at) == 0)
            return true;
    return false;
}

static bool has_value(const struct data_column *list, uint32_t row, const struct data_column *from,
                      uint32_t at)
{
    for (uint32_t i = 0; i < list->lengths[row]; i++)
        if (data_value_compare(list->elements, list->starts[row] + i, from, at) == 0)
            return true;
    return false;
}

/* Adds each element of the row once: those that `other` has (keep), or lacks (drop), or all. */
static void add_once(struct lists *lists, const struct data_column *list, uint32_t row,
                     const struct data_column *other, bool keep)
{
    for (uint32_t i = 0; i < list->lengths[row]; i++) {
        uint32_t at = list->starts[row] + i;
        if (is_added(lists->builder, list->elements, at) ||
            (other != NULL && has_value(other, row, list->elements, at) != keep))
            continue;
        data_builder_copy(lists->builder->elements, list->elements, at);
    }
}

static void array_set(struct engine_call *call)
{
    struct lists lists = lists_begin(call);
    bool pair = call->arg_count == 2, both = call->expr->function == SQL_FN_array_union;
    EACH_LIST(lists, row)
    {
        const struct data_column *other = pair && !both ? call->args[1] : NULL;
        int64_t work = (int64_t)call->args[0]->lengths[row] *
                       (pair ? call->args[1]->lengths[row] + 1 : 1);
        data_builder_row(lists.builder);
        if (!too_many(call, row, work / 100)) {
            add_once(&lists, call->args[0], row, other,
                     call->expr->function == SQL_FN_array_intersect);
            if (both)
                add_once(&lists, call->args[1], row, NULL, false);
        }
        data_builder_end(lists.builder);
    }
    lists_end(&lists);
}

void engine_kernel_array_distinct(struct engine_call *call)
{
    array_set(call);
}

void engine_kernel_array_union(struct engine_call *call)
{
    array_set(call);
}

void engine_kernel_array_intersect(struct engine_call *call)
{
    array_set(call);
}

void engine_kernel_array_except(struct engine_call *call)
{
    array_set(call);
}

/* ---- other arrays ---- */
void engine_kernel_array_repeat(struct engine_call *call)
{
    struct lists lists = lists_begin(call);
    EACH_LIST(lists, row)
    {
        int32_t count = call->args[1]->ints[row];
        if (!call->args[1]->valid[row]) {
            data_builder_null(lists.builder);
            continue;
        }
        data_builder_row(lists.builder);
        for (int32_t i = 0; !too_many(call, row, count) && i < count; i++)
            data_builder_copy(lists.builder->elements, call->args[0], row);
        data_builder_end(lists.builder);
    }
    lists_end(&lists);
}

static int64_t whole_at(const struct data_column *column, uint32_t row)
{
    switch ((int)column->type->kind) {
    case DATA_BYTE:
        return column->bytes[row];
    case DATA_SHORT:
        return column->shorts[row];
    case DATA_INT:
        return column->ints[row];
    default:
        return column->longs[row];
    }
}

static void set_whole(struct data_column *column, uint32_t row, int64_t value)
{
    if (column->type->kind == DATA_BYTE)
        column->bytes[row] = (int8_t)value;
    else if (column->type->kind == DATA_SHORT)
        column->shorts[row] = (int16_t)value;
    else if (column->type->kind == DATA_INT)
        column->ints[row] = (int32_t)value;
    else
        column->longs[row] = value;
}

void engine_kernel_sequence(struct engine_call *call)
{
    struct lists lists = lists_begin(call);
    EACH_LIST(lists, row)
    {
        int64_t from = whole_at(call->args[0], row), to = whole_at(call->args[1], row);
        int64_t by = call->arg_count == 3 ? whole_at(call->args[2], row) : to >= from ? 1 : -1;
        data_builder_row(lists.builder);
        data_decimal span = (data_decimal)to - from;
        if ((by == 0 && span != 0) || (span > 0 && by < 0) || (span < 0 && by > 0))
            engine_call_fail(call, row, "[ILLEGAL_SEQUENCE] from %lld to %lld by %lld",
                             (long long)from, (long long)to, (long long)by);
        else if (span / (by == 0 ? 1 : by) >= MR_LIMIT_SQL_ARRAY_ITEMS)
            too_many(call, row, INT64_MAX);
        else
            for (int64_t i = 0; i <= (int64_t)(span / (by == 0 ? 1 : by)); i++) {
                uint32_t at = data_builder_row(lists.builder->elements);
                set_whole(lists.builder->elements->column, at, from + i * by);
            }
        data_builder_end(lists.builder);
    }
    lists_end(&lists);
}

void engine_kernel_slice(struct engine_call *call)
{
    const struct data_column *list = call->args[0];
    struct lists lists = lists_begin(call);
    EACH_LIST(lists, row)
    {
        int64_t from = call->args[1]->ints[row], length = call->args[2]->ints[row];
        int64_t count = list->lengths[row], start = from > 0 ? from - 1 : count + from;
        data_builder_row(lists.builder);
        if (from == 0)
            engine_call_fail(call, row,
                             "[INVALID_PARAMETER_VALUE.START] slice begins at 1, not at 0");
        else if (length < 0)
            engine_call_fail(call, row, "[INVALID_PARAMETER_VALUE.LENGTH] the length is negative");
        else
            for (int64_t i = start; start >= 0 && i < start + length && i < count; i++)
                data_builder_copy(lists.builder->elements, list->elements,
                                  list->starts[row] + (uint32_t)i);
        data_builder_end(lists.builder);
    }
    lists_end(&lists);
}

void engine_kernel_flatten(struct engine_call *call)
{
    const struct data_column *list = call->args[0];
    struct lists lists = lists_begin(call);
    EACH_LIST(lists, row)
    {
        bool null = false;
        for (uint32_t i = 0; i < list->lengths[row]; i++)
            null = null || !list->elements->valid[list->starts[row] + i];
        if (null) {
            data_builder_null(lists.builder);
            continue;
        }
        data_builder_row(lists.builder);
        for (uint32_t i = 0; i < list->lengths[row]; i++)
            add_all(lists.builder->elements, list->elements, list->starts[row] + i);
        data_builder_end(lists.builder);
    }
    lists_end(&lists);
}

/* ---- parts of maps: the slices stay, only what they are slices of changes ---- */
static void map_part(struct engine_call *call, struct data_column *elements)
{
    struct data_column *out = mr_arena_new(call->arena, struct data_column);
    *out = *call->args[0];
    out->type = call->expr->type;
    out->valid = call->out->valid;
    out->elements = elements;
    out->keys = NULL;
    call->out = out;
}

void engine_kernel_map_keys(struct engine_call *call)
{
    map_part(call, call->args[0]->keys);
}

void engine_kernel_map_values(struct engine_call *call)
{
    map_part(call, call->args[0]->elements);
}

void engine_kernel_map_entries(struct engine_call *call)
{
    const struct data_column *map = call->args[0];
    struct data_column *entries = mr_arena_new(call->arena, struct data_column);
    entries->type = call->expr->type->element;
    if (map->elements != NULL) {
        entries->count = map->elements->count;
        entries->fields = mr_arena_array(call->arena, struct data_column *, 2);
        entries->fields[0] = map->keys;
        entries->fields[1] = map->elements;
        entries->valid = mr_arena_alloc(call->arena, entries->count + 1);
        memset(entries->valid, 1, entries->count);
    }
    map_part(call, entries);
}

/* ---- JSON ---- */
struct json_state {
    struct engine_state state;
    struct json_reader *reader;
    struct mr_arena arena; /* of the path */
    struct mr_buf path_text;
    const struct json_path *path;
    bool parsed;
};

static void json_state_free(struct engine_state *state)
{
    struct json_state *json = mr_container(state, struct json_state, state);
    json_reader_free(json->reader);
    mr_buf_fini(&json->path_text);
    mr_arena_fini(&json->arena);
    mr_free(json);
}

static struct json_state *json_state_of(struct engine_call *call)
{
    if (*call->state == NULL) {
        struct json_state *json = mr_new(struct json_state);
        mr_arena_init(&json->arena);
        json->state.free = json_state_free;
        *call->state = &json->state;
    }
    return mr_container(*call->state, struct json_state, state);
}

/* Whether the options map has mode FAILFAST. */
static bool is_fail_fast(const struct engine_call *call)
{
    if (call->arg_count < 3 || call->args[2]->type->kind != DATA_MAP || call->count == 0)
        return false;
    const struct data_column *map = call->args[2];
    uint32_t row = call->rows[0];
    for (uint32_t i = 0; i < map->lengths[row]; i++) {
        uint32_t at = map->starts[row] + i;
        if (mr_str_equal_nocase(map->keys->strs[at], MR_STR("mode")) && map->elements->valid[at])
            return mr_str_equal_nocase(map->elements->strs[at], MR_STR("failfast"));
    }
    return false;
}

void engine_kernel_from_json(struct engine_call *call)
{
    struct json_state *json = json_state_of(call);
    struct json_reader_options options = {.fail_fast = is_fail_fast(call)};
    if (json->reader == NULL &&
        json_reader_new(call->expr->type, &options, &json->reader) != MR_OK) {
        EACH_ROW(call, row)
        engine_call_fail(call, row, "from_json: %s", mr_why());
        return;
    }
    uint8_t *failed = mr_arena_array(call->arena, uint8_t, call->out->count);
    json_reader_begin(json->reader, call->arena, call->out->count);
    EACH_ROW(call, row)
    if (json_reader_read(json->reader, row, call->args[0]->strs[row]) != MR_OK) {
        engine_call_fail(call, row, "[MALFORMED_RECORD_IN_PARSING] from_json: %s", mr_why());
        failed[row] = 1;
    }
    call->out = json_reader_end(json->reader);
    EACH_ROW(call, row)
    if (failed[row])
        call->out->valid[row] = 0;
}

void engine_kernel_to_json(struct engine_call *call)
{
    struct mr_buf text = {0};
    EACH_ROW(call, row)
    {
        mr_buf_clear(&text);
        data_value_json(&text, call->args[0], row);
        call->out->strs[row] = engine_call_copy(call, mr_buf_as_str(&text));
    }
    mr_buf_fini(&text);
}

void engine_kernel_get_json_object(struct engine_call *call)
{
    struct json_state *json = json_state_of(call);
    EACH_ROW(call, row)
    {
        if (!call->args[0]->valid[row] || !call->args[1]->valid[row])
            continue;
        mr_str path = call->args[1]->strs[row];
        if (!json->parsed || !mr_str_equal(path, mr_buf_as_str(&json->path_text))) {
            mr_arena_reset(&json->arena);
            mr_buf_clear(&json->path_text);
            mr_buf_str(&json->path_text, path);
            json->parsed = true;
            if (json_path_parse(&json->arena, mr_buf_as_str(&json->path_text), &json->path) !=
                MR_OK)
                json->path = NULL;
        }
        call->out->valid[row] = json->path != NULL &&
                                json_path_eval(json->path, call->arena, call->args[0]->strs[row],
                                               &call->out->strs[row]);
    }
}

void engine_kernel_json_array_length(struct engine_call *call)
{
    EACH_ROW(call, row)
    {
        const struct json_value *value;
        if (!call->args[0]->valid[row] ||
            json_parse(call->arena, call->args[0]->strs[row], &value) != MR_OK ||
            value->kind != JSON_ARRAY)
            continue;
        call->out->valid[row] = 1;
        call->out->ints[row] = (int32_t)value->count;
    }
}

void engine_kernel_json_object_keys(struct engine_call *call)
{
    struct lists lists = lists_begin(call);
    EACH_LIST(lists, row)
    {
        const struct json_value *value;
        if (!call->args[0]->valid[row] ||
            json_parse(call->arena, call->args[0]->strs[row], &value) != MR_OK ||
            value->kind != JSON_OBJECT) {
            data_builder_null(lists.builder);
            continue;
        }
        data_builder_row(lists.builder);
        for (uint32_t i = 0; i < value->count; i++) {
            uint32_t at = data_builder_row(lists.builder->elements);
            lists.builder->elements->column->strs[at] = value->items[i].name;
        }
        data_builder_end(lists.builder);
    }
    lists_end(&lists);
}

/* ---- hashes ---- */
static uint32_t rotate32(uint32_t value, int by)
{
    return value << by | value >> (32 - by);
}

static uint32_t murmur_mix(uint32_t hash, uint32_t word)
{
    hash ^= rotate32(word * 0xcc9e2d51u, 15) * 0x1b873593u;
    return rotate32(hash, 13) * 5 + 0xe6546b64u;
}

static uint32_t murmur_end(uint32_t hash, uint32_t bytes)
{
    hash ^= bytes;
    hash = (hash ^ hash >> 16) * 0x85ebca6bu;
    hash = (hash ^ hash >> 13) * 0xc2b2ae35u;
    return hash ^ hash >> 16;
}

/* Spark's own way with the tail: each byte is a word of its own, with its sign. */
static uint64_t murmur_bytes(mr_str bytes, uint64_t seed)
{
    uint32_t hash = (uint32_t)seed;
    size_t at = 0;
    for (; at + 4 <= bytes.length; at += 4) {
        uint32_t word;
        memcpy(&word, bytes.data + at, sizeof word);
        hash = murmur_mix(hash, word);
    }
    for (; at < bytes.length; at++)
        hash = murmur_mix(hash, (uint32_t)(int32_t)(signed char)bytes.data[at]);
    return murmur_end(hash, (uint32_t)bytes.length);
}

static uint64_t murmur_int(int32_t value, uint64_t seed)
{
    return murmur_end(murmur_mix((uint32_t)seed, (uint32_t)value), 4);
}

static uint64_t murmur_long(int64_t value, uint64_t seed)
{
    uint32_t hash = murmur_mix((uint32_t)seed, (uint32_t)value);
    return murmur_end(murmur_mix(hash, (uint32_t)((uint64_t)value >> 32)), 8);
}

#define PRIME1 0x9E3779B185EBCA87u
#define PRIME2 0xC2B2AE3D27D4EB4Fu
#define PRIME3 0x165667B19E3779F9u
#define PRIME4 0x85EBCA77C2B2AE63u
#define PRIME5 0x27D4EB2F165667C5u

static uint64_t rotate64(uint64_t value, int by)
{
    return value << by | value >> (64 - by);
}

static uint64_t xx_end(uint64_t hash)
{
    hash = (hash ^ hash >> 33) * PRIME2;
    hash = (hash ^ hash >> 29) * PRIME3;
    return hash ^ hash >> 32;
}

static uint64_t xx_int(int32_t value, uint64_t seed)
{
    uint64_t hash = seed + PRIME5 + 4;
    hash ^= (uint64_t)(uint32_t)value * PRIME1;
    return xx_end(rotate64(hash, 23) * PRIME2 + PRIME3);
}

static uint64_t xx_round(uint64_t hash, uint64_t word)
{
    return rotate64(hash + word * PRIME2, 31) * PRIME1;
}

static uint64_t xx_word(uint64_t hash, uint64_t word)
{
    return rotate64(hash ^ xx_round(0, word), 27) * PRIME1 + PRIME4;
}

static uint64_t xx_long(int64_t value, uint64_t seed)
{
    return xx_end(xx_word(seed + PRIME5 + 8, (uint64_t)value));
}

static uint64_t load64(const char *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

static uint64_t xx_bytes(mr_str bytes, uint64_t seed)
{
    size_t at = 0;
    uint64_t hash = seed + PRIME5;
    if (bytes.length >= 32) {
        uint64_t lanes[4] = {seed + PRIME1 + PRIME2, seed + PRIME2, seed, seed - PRIME1};
        for (; at + 32 <= bytes.length; at += 32)
            for (size_t i = 0; i < 4; i++)
                lanes[i] = xx_round(lanes[i], load64(bytes.data + at + 8 * i));
        hash = rotate64(lanes[0], 1) + rotate64(lanes[1], 7) + rotate64(lanes[2], 12) +
               rotate64(lanes[3], 18);
        for (size_t i = 0; i < 4; i++)
            hash = (hash ^ xx_round(0, lanes[i])) * PRIME1 + PRIME4;
    }
    hash += bytes.length;
    for (; at + 8 <= bytes.length; at += 8)
        hash = xx_word(hash, load64(bytes.data + at));
    if (at + 4 <= bytes.length) {
        uint32_t word;
        memcpy(&word, bytes.data + at, sizeof word);
        hash = rotate64(hash ^ (uint64_t)word * PRIME1, 23) * PRIME2 + PRIME3;
        at += 4;
    }
    for (; at < bytes.length; at++)
        hash = rotate64(hash ^ (uint64_t)(uint8_t)bytes.data[at] * PRIME5, 11) * PRIME1;
    return xx_end(hash);
}

struct hasher {
    uint64_t (*of_int)(int32_t value, uint64_t seed);
    uint64_t (*of_long)(int64_t value, uint64_t seed);
    uint64_t (*of_bytes)(mr_str bytes, uint64_t seed);
};

/* A decimal of more than 18 digits is hashed as the bytes of Java's BigInteger: big endian, as few as
 * the sign needs. */
static uint64_t hash_decimal(const struct hasher *hasher, const struct data_column *column,
                             uint32_t row, uint64_t seed)
{
    data_decimal value = column->decimals[row];
    char bytes[16];
    size_t count = 16;
    if (column->type->precision <= 18)
        return hasher->of_long((int64_t)value, seed);
    while (count > 1 && value >> (8 * (count - 1) - 1) == (value < 0 ? -1 : 0))
        count--;
    for (size_t i = 0; i < count; i++)
        bytes[i] = (char)(value >> (8 * (count - 1 - i)));
    return hasher->of_bytes(mr_str_of(bytes, count), seed);
}

static uint64_t hash_value(const struct hasher *hasher, const struct data_column *column,
                           uint32_t row, uint64_t seed)
{
    int32_t word;
    int64_t wide;
    if (!column->valid[row])
        return seed;
    switch (column->type->kind) {
    case DATA_BOOLEAN:
        return hasher->of_int(column->bools[row], seed);
    case DATA_BYTE:
        return hasher->of_int(column->bytes[row], seed);
    case DATA_SHORT:
        return hasher->of_int(column->shorts[row], seed);
    case DATA_INT:
    case DATA_DATE:
        return hasher->of_int(column->ints[row], seed);
    case DATA_LONG:
    case DATA_TIMESTAMP:
    case DATA_TIMESTAMP_NTZ:
    case DATA_INTERVAL:
        return hasher->of_long(column->longs[row], seed);
    case DATA_FLOAT: {
        float value = column->floats[row] == 0 ? 0 : column->floats[row];
        memcpy(&word, &value, sizeof word);
        return hasher->of_int(word, seed);
    }
    case DATA_DOUBLE: {
        double value = column->doubles[row] == 0 ? 0 : column->doubles[row];
        memcpy(&wide, &value, sizeof wide);
        return hasher->of_long(wide, seed);
    }
    case DATA_DECIMAL:
        return hash_decimal(hasher, column, row, seed);
    case DATA_STRING:
    case DATA_BINARY:
        return hasher->of_bytes(column->strs[row], seed);
    case DATA_STRUCT:
        for (uint32_t i = 0; i < column->type->field_count; i++)
            seed = hash_value(hasher, column->fields[i], row, seed);
        return seed;
    case DATA_ARRAY:
    case DATA_MAP:
        for (uint32_t i = 0; i < column->lengths[row]; i++)
            seed = hash_value(hasher, column->elements, column->starts[row] + i, seed);
        return seed;
    case DATA_NULL:
        break;
    }
    return seed;
}

static void hash_rows(struct engine_call *call, const struct hasher *hasher)
{
    EACH_ROW(call, row)
    {
        uint64_t hash = 42;
        for (uint32_t i = 0; i < call->arg_count; i++)
            hash = hash_value(hasher, call->args[i], row, hash);
        call->out->valid[row] = 1;
        if (call->out->type->kind == DATA_INT)
            call->out->ints[row] = (int32_t)(uint32_t)hash;
        else
            call->out->longs[row] = (int64_t)hash;
    }
}

void engine_kernel_hash(struct engine_call *call)
{
    static const struct hasher murmur = {murmur_int, murmur_long, murmur_bytes};
    hash_rows(call, &murmur);
}

void engine_kernel_xxhash64(struct engine_call *call)
{
    static const struct hasher xx = {xx_int, xx_long, xx_bytes};
    hash_rows(call, &xx);
}

/* ---- others ---- */
void engine_kernel_typeof(struct engine_call *call)
{
    struct mr_buf name = {0};
    data_type_print(&name, call->args[0]->type);
    mr_str copy = mr_arena_str(call->arena, mr_buf_as_str(&name));
    mr_buf_fini(&name);
    EACH_ROW(call, row)
    {
        call->out->valid[row] = 1;
        call->out->strs[row] = copy;
    }
}

void engine_kernel_raise_error(struct engine_call *call)
{
    EACH_ROW(call, row)
    {
        mr_str text = call->args[0]->valid[row] ? call->args[0]->strs[row] : MR_STR("null");
        engine_call_fail(call, row, "[USER_RAISED_EXCEPTION] %.*s", MR_STR_ARG(text));
    }
}

void engine_kernel_assert_true(struct engine_call *call)
{
    EACH_ROW(call, row)
    {
        if (call->args[0]->valid[row] && call->args[0]->bools[row])
            continue;
        mr_str text = call->arg_count == 2 && call->args[1]->valid[row]
                          ? call->args[1]->strs[row]
                          : MR_STR("the condition is not true!");
        engine_call_fail(call, row, "[USER_RAISED_EXCEPTION] %.*s", MR_STR_ARG(text));
    }
}
