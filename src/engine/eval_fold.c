/* engine/eval_fold.c: rows into one: aggregates' states, and one row into several: unfolding. */
#include "engine/eval_call.h"

#include <math.h>

enum { FOLD_VERSION = 1 };

void engine_fold_init(struct engine_fold *fold)
{
    *fold = (struct engine_fold){0};
}

void engine_fold_fini(struct engine_fold *fold)
{
    mr_free(fold->text);
    engine_fold_init(fold);
}

/* ---- kept values: MIN, MAX, FIRST, LAST hold one value as bytes of its array's item ---- */
static void keep(struct engine_fold *fold, const void *data, size_t bytes)
{
    if (bytes > fold->text_capacity) {
        fold->text = mr_realloc(fold->text, bytes);
        fold->text_capacity = (uint32_t)bytes;
    }
    if (bytes > 0)
        memcpy(fold->text, data, bytes);
    fold->text_bytes = (uint32_t)bytes;
}

static bool is_text(const struct data_type *type)
{
    return type->kind == DATA_STRING || type->kind == DATA_BINARY;
}

static void keep_row(struct engine_fold *fold, const struct data_column *arg, uint32_t row)
{
    size_t bytes = data_kind_bytes(arg->type->kind);
    if (is_text(arg->type))
        keep(fold, arg->strs[row].data, arg->strs[row].length);
    else if (bytes > 0)
        keep(fold, (const char *)arg->values + row * bytes, bytes);
}

/* The kept value against a row's, by a column of one row laid over it. */
static int compare_kept(const struct engine_fold *fold, const struct data_column *arg, uint32_t row)
{
    uint8_t valid = 1;
    _Alignas(16) uint8_t value[sizeof(data_decimal)];
    struct data_column one = {.type = arg->type, .count = 1, .valid = &valid};
    mr_str text = mr_str_of(fold->text, fold->text_bytes);
    if (is_text(arg->type)) {
        one.strs = &text;
    } else {
        mr_assert(fold->text_bytes <= sizeof value);
        memcpy(value, fold->text, fold->text_bytes);
        one.values = value;
    }
    return data_value_compare(&one, 0, arg, row);
}

/* ---- adding ---- */
static void add_sum(struct engine_fold *fold, const struct data_column *arg, uint32_t row)
{
    switch ((int)arg->type->kind) {
    case DATA_LONG:
        fold->overflow = __builtin_add_overflow(fold->i, arg->longs[row], &fold->i) ||
                         fold->overflow;
        break;
    case DATA_DECIMAL:
        fold->overflow = __builtin_add_overflow(fold->decimal, arg->decimals[row],
                                                &fold->decimal) ||
                         fold->overflow;
        break;
    default:
        fold->d += arg->doubles[row];
    }
}

/* avg of whole numbers adds doubles, as Spark does. */
static void add_average(struct engine_fold *fold, const struct data_column *arg, uint32_t row)
{
    if (arg->type->kind == DATA_LONG)
        fold->d += (double)arg->longs[row];
    else
        add_sum(fold, arg, row);
}

static void add_kept(struct engine_fold *fold, const struct sql_aggregate *aggregate,
                     const struct data_column *arg, uint32_t row)
{
    bool first = fold->count == 0, take = first;
    if (aggregate->kind == SQL_AGGREGATE_LAST)
        take = true;
    else if (!first && aggregate->kind == SQL_AGGREGATE_MIN)
        take = compare_kept(fold, arg, row) > 0;
    else if (!first && aggregate->kind == SQL_AGGREGATE_MAX)
        take = compare_kept(fold, arg, row) < 0;
    if (!take)
        return;
    fold->i = arg->valid[row]; /* FIRST and LAST may keep a NULL */
    if (arg->valid[row])
        keep_row(fold, arg, row);
}

void engine_fold_add(struct engine_fold *fold, const struct sql_aggregate *aggregate,
                     const struct data_column *const *args, uint32_t row, bool ansi)
{
    (void)ansi; /* an overflow is remembered; the result decides */
    bool keeps_null = (aggregate->kind == SQL_AGGREGATE_FIRST ||
                       aggregate->kind == SQL_AGGREGATE_LAST) &&
                      !aggregate->ignore_nulls;
    for (uint32_t i = 0; i < aggregate->arg_count && !keeps_null; i++)
        if (!args[i]->valid[row])
            return;
    switch (aggregate->kind) {
    case SQL_AGGREGATE_COUNT:
        break;
    case SQL_AGGREGATE_SUM:
        add_sum(fold, args[0], row);
        break;
    case SQL_AGGREGATE_AVG:
        add_average(fold, args[0], row);
        break;
    case SQL_AGGREGATE_MIN:
    case SQL_AGGREGATE_MAX:
    case SQL_AGGREGATE_FIRST:
    case SQL_AGGREGATE_LAST:
        add_kept(fold, aggregate, args[0], row);
        break;
    case SQL_AGGREGATE_BOOL_AND:
        fold->i = (fold->count == 0 || fold->i) && args[0]->bools[row];
        break;
    case SQL_AGGREGATE_BOOL_OR:
        fold->i = fold->i || args[0]->bools[row];
        break;
    }
    fold->count++;
}

/* ---- results ---- */
static void result_sum(const struct engine_fold *fold, struct data_column *out, uint32_t row)
{
    if (out->type->kind == DATA_LONG) {
        out->longs[row] = fold->i;
    } else if (out->type->kind == DATA_DOUBLE) {
        out->doubles[row] = fold->d;
    } else {
        data_decimal limit = data_decimal_power(out->type->precision);
        if (fold->overflow || fold->decimal >= limit || fold->decimal <= -limit)
            out->valid[row] = 0;
        else
            out->decimals[row] = fold->decimal;
    }
}

static void result_average(const struct engine_fold *fold, const struct sql_aggregate *aggregate,
                           struct data_column *out, uint32_t row)
{
    if (out->type->kind == DATA_DOUBLE)
        out->doubles[row] = fold->d / (double)fold->count;
    else if (fold->overflow ||
             !data_decimal_divide(fold->decimal, aggregate->args[0]->type->scale, fold->count, 0,
                                  out->type->scale, out->type->precision, &out->decimals[row]))
        out->valid[row] = 0;
}

static void result_kept(const struct engine_fold *fold, struct mr_arena *arena,
                        struct data_column *out, uint32_t row)
{
    size_t bytes = data_kind_bytes(out->type->kind);
    out->valid[row] = fold->i != 0;
    if (!out->valid[row])
        return;
    if (is_text(out->type))
        out->strs[row] = mr_arena_str(arena, mr_str_of(fold->text, fold->text_bytes));
    else if (bytes == fold->text_bytes && bytes > 0)
        memcpy((char *)out->values + row * bytes, fold->text, bytes);
    else
        out->valid[row] = 0;
}

void engine_fold_result(const struct engine_fold *fold, const struct sql_aggregate *aggregate,
                        struct mr_arena *arena, struct data_column *out, uint32_t row)
{
    out->valid[row] = fold->count > 0 || aggregate->kind == SQL_AGGREGATE_COUNT;
    if (!out->valid[row])
        return;
    switch (aggregate->kind) {
    case SQL_AGGREGATE_COUNT:
        out->longs[row] = fold->count;
        break;
    case SQL_AGGREGATE_SUM:
        result_sum(fold, out, row);
        break;
    case SQL_AGGREGATE_AVG:
        result_average(fold, aggregate, out, row);
        break;
    case SQL_AGGREGATE_MIN:
    case SQL_AGGREGATE_MAX:
    case SQL_AGGREGATE_FIRST:
    case SQL_AGGREGATE_LAST:
        result_kept(fold, arena, out, row);
        break;
    case SQL_AGGREGATE_BOOL_AND:
    case SQL_AGGREGATE_BOOL_OR:
        out->bools[row] = fold->i != 0;
        break;
    }
}

/* ---- state to bytes and back ---- */
void engine_fold_save(struct mr_buf *out, const struct engine_fold *fold)
{
    mr_buf_u8(out, FOLD_VERSION);
    mr_buf_u8(out, fold->overflow);
    mr_buf_varint(out, fold->count);
    mr_buf_le64(out, (uint64_t)fold->decimal);
    mr_buf_le64(out, (uint64_t)((unsigned __int128)fold->decimal >> 64));
    mr_buf_uvarint(out, fold->text_bytes);
    mr_buf_add(out, fold->text, fold->text_bytes);
}

mr_err engine_fold_load(struct mr_in *in, struct engine_fold *fold)
{
    struct engine_fold loaded = {0};
    uint8_t version = mr_in_u8(in);
    loaded.overflow = mr_in_u8(in) != 0;
    loaded.count = mr_in_varint(in);
    unsigned __int128 low = mr_in_le64(in);
    loaded.decimal = (data_decimal)(low | (unsigned __int128)mr_in_le64(in) << 64);
    uint64_t bytes = mr_in_uvarint(in);
    if (in->err == MR_OK && (version != FOLD_VERSION || bytes > mr_in_left(in)))
        mr_in_fail(in);
    if (in->err != MR_OK)
        return mr_fail(MR_CORRUPT,
                       "an aggregate's state: expected version %d and whole, found version %u",
                       FOLD_VERSION, version);
    mr_str text = mr_in_take(in, (size_t)bytes);
    keep(&loaded, text.data, text.length);
    engine_fold_fini(fold);
    *fold = loaded;
    return MR_OK;
}

/* ---- unfolding ---- */
static struct data_column *gather_elements(struct mr_arena *arena, const struct data_column *from,
                                           const struct data_type *type, const uint32_t *places,
                                           const uint8_t *real, uint32_t count)
{
    bool any = false;
    for (uint32_t i = 0; i < count; i++)
        any = any || real[i];
    if (!any)
        return data_column_new(arena, type, count);
    struct data_builder *builder = NULL;
    if (data_type_has_lists(type) || type->kind == DATA_STRUCT) {
        builder = data_builder_new(arena, type);
        for (uint32_t i = 0; i < count; i++) {
            if (real[i])
                data_builder_copy(builder, from, places[i]);
            else
                data_builder_null(builder);
        }
        return data_builder_take(builder);
    }
    struct data_column *out = data_column_new(arena, type, count);
    for (uint32_t i = 0; i < count; i++)
        if (real[i])
            data_column_set(out, i, from, places[i]);
    return out;
}

struct data_chunk *engine_unfold_next(struct engine_unfold *at, const struct data_chunk *chunk,
                                      const struct data_column *list, bool outer, bool position)
{
    struct mr_arena *arena = chunk->arena;
    uint32_t *sources = mr_arena_array(arena, uint32_t, DATA_CHUNK_ROWS);
    uint32_t *places = mr_arena_array(arena, uint32_t, DATA_CHUNK_ROWS);
    int32_t *positions = mr_arena_array(arena, int32_t, DATA_CHUNK_ROWS);
    uint8_t *real = mr_arena_array(arena, uint8_t, DATA_CHUNK_ROWS);
    bool map = list->type->kind == DATA_MAP;
    uint32_t count = 0, old = chunk->column_count;
    for (; at->live < chunk->row_count && count < DATA_CHUNK_ROWS; at->live++, at->element = 0) {
        uint16_t row = chunk->rows[at->live];
        uint32_t length = list->valid[row] ? list->lengths[row] : 0;
        if (length == 0 && outer)
            sources[count++] = row;
        for (; at->element < length && count < DATA_CHUNK_ROWS; at->element++) {
            sources[count] = row;
            positions[count] = (int32_t)at->element;
            places[count] = list->starts[row] + at->element;
            real[count++] = 1;
        }
        if (at->element < length)
            break;
    }
    if (count == 0)
        return NULL;
    struct data_chunk *out = data_chunk_new(arena, old + position + map + 1);
    for (uint32_t c = 0; c < old; c++)
        if (chunk->columns[c] != NULL)
            out->columns[c] = data_column_gather(arena, chunk->columns[c], sources, count);
    if (position) {
        out->columns[old] = data_column_new(arena, &data_type_int, count);
        memcpy(out->columns[old]->ints, positions, count * sizeof *positions);
        memcpy(out->columns[old]->valid, real, count);
    }
    if (map)
        out->columns[old + position] = gather_elements(arena, list->keys, list->type->key, places,
                                                       real, count);
    out->columns[old + position + map] = gather_elements(arena, list->elements, list->type->element,
                                                         places, real, count);
    data_chunk_all_rows(out, count);
    return out;
}
