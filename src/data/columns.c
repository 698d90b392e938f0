/* data/columns.c: columns and chunks: making them, gathering rows, growing row by row. */
#include "data/data.h"

size_t data_kind_bytes(enum data_kind kind)
{
    switch (kind) {
    case DATA_BOOLEAN:
    case DATA_BYTE:
        return 1;
    case DATA_SHORT:
        return 2;
    case DATA_INT:
    case DATA_FLOAT:
    case DATA_DATE:
        return 4;
    case DATA_LONG:
    case DATA_DOUBLE:
    case DATA_TIMESTAMP:
    case DATA_TIMESTAMP_NTZ:
    case DATA_INTERVAL:
        return 8;
    case DATA_DECIMAL:
        return sizeof(data_decimal);
    case DATA_STRING:
    case DATA_BINARY:
        return sizeof(mr_str);
    case DATA_NULL:
    case DATA_ARRAY:
    case DATA_MAP:
    case DATA_STRUCT:
        break;
    }
    return 0;
}

struct data_column *data_column_new(struct mr_arena *arena, const struct data_type *type,
                                    uint32_t count)
{
    struct data_column *column = mr_arena_new(arena, struct data_column);
    size_t bytes = data_kind_bytes(type->kind);
    column->type = type;
    column->count = count;
    column->valid = mr_arena_array(arena, uint8_t, count);
    if (type->kind == DATA_STRUCT) {
        column->fields = mr_arena_array(arena, struct data_column *, type->field_count);
        for (uint32_t i = 0; i < type->field_count; i++)
            column->fields[i] = data_column_new(arena, type->fields[i].type, count);
    } else if (type->kind == DATA_ARRAY || type->kind == DATA_MAP) {
        column->starts = mr_arena_array(arena, uint32_t, count);
        column->lengths = mr_arena_array(arena, uint32_t, count);
    } else if (bytes > 0) {
        column->values = mr_arena_alloc_zero(arena, mr_size_product(count, bytes));
    }
    return column;
}

static void *grown(struct mr_arena *arena, const void *from, uint32_t old, uint32_t new,
                   size_t bytes)
{
    char *to = mr_arena_alloc(arena, mr_size_product(new, bytes));
    if (old > 0)
        memcpy(to, from, old * bytes);
    memset(to + old * bytes, 0, (new - old) * bytes);
    return to;
}

void data_column_grow(struct mr_arena *arena, struct data_column *column, uint32_t count)
{
    uint32_t old = column->count;
    size_t bytes = data_kind_bytes(column->type->kind);
    mr_assert(count >= old);
    column->valid = grown(arena, column->valid, old, count, 1);
    if (column->type->kind == DATA_STRUCT) {
        for (uint32_t i = 0; i < column->type->field_count; i++)
            data_column_grow(arena, column->fields[i], count);
    } else if (column->type->kind == DATA_ARRAY || column->type->kind == DATA_MAP) {
        column->starts = grown(arena, column->starts, old, count, sizeof(uint32_t));
        column->lengths = grown(arena, column->lengths, old, count, sizeof(uint32_t));
    } else if (bytes > 0) {
        column->values = grown(arena, column->values, old, count, bytes);
    }
    column->count = count;
}

void data_column_clear(struct data_column *column, uint32_t from, uint32_t to)
{
    size_t bytes = data_kind_bytes(column->type->kind);
    mr_assert(from <= to && to <= column->count);
    memset(column->valid + from, 0, to - from);
    if (column->type->kind == DATA_STRUCT) {
        for (uint32_t i = 0; i < column->type->field_count; i++)
            data_column_clear(column->fields[i], from, to);
    } else if (column->type->kind == DATA_ARRAY || column->type->kind == DATA_MAP) {
        memset(column->lengths + from, 0, (to - from) * sizeof(uint32_t));
    } else if (bytes > 0) {
        memset((char *)column->values + from * bytes, 0, (to - from) * bytes);
    }
}

/* ---- values from one column to another ---- */
void data_column_set(struct data_column *out, uint32_t row, const struct data_column *from,
                     uint32_t from_row)
{
    size_t bytes = data_kind_bytes(out->type->kind);
    out->valid[row] = from->valid[from_row];
    if (out->type->kind == DATA_STRUCT)
        for (uint32_t i = 0; i < out->type->field_count; i++)
            data_column_set(out->fields[i], row, from->fields[i], from_row);
    else if (bytes > 0 && from->values != NULL)
        memcpy((char *)out->values + row * bytes, (const char *)from->values + from_row * bytes,
               bytes);
}

/* An array's or map's elements need not move: new slices of the same elements. */
struct data_column *data_column_gather(struct mr_arena *arena, const struct data_column *column,
                                       const uint32_t *rows, uint32_t count)
{
    struct data_column *out = mr_arena_new(arena, struct data_column);
    size_t bytes = data_kind_bytes(column->type->kind);
    *out = *column;
    out->count = count;
    out->valid = mr_arena_alloc(arena, count);
    for (uint32_t i = 0; i < count; i++)
        out->valid[i] = column->valid[rows[i]];
    if (column->type->kind == DATA_STRUCT) {
        out->fields = mr_arena_array(arena, struct data_column *, column->type->field_count);
        for (uint32_t i = 0; i < column->type->field_count; i++)
            out->fields[i] = data_column_gather(arena, column->fields[i], rows, count);
    } else if (column->type->kind == DATA_ARRAY || column->type->kind == DATA_MAP) {
        out->starts = mr_arena_array(arena, uint32_t, count);
        out->lengths = mr_arena_array(arena, uint32_t, count);
        for (uint32_t i = 0; i < count; i++) {
            out->starts[i] = column->starts[rows[i]];
            out->lengths[i] = column->lengths[rows[i]];
        }
    } else if (bytes > 0) {
        out->values = mr_arena_alloc(arena, mr_size_product(count, bytes));
        for (uint32_t i = 0; i < count; i++)
            memcpy((char *)out->values + i * bytes, (const char *)column->values + rows[i] * bytes,
                   bytes);
    }
    return out;
}

/* ---- growing columns ---- */
struct data_builder *data_builder_new(struct mr_arena *arena, const struct data_type *type)
{
    struct data_builder *builder = mr_arena_new(arena, struct data_builder);
    builder->arena = arena;
    builder->column = mr_arena_new(arena, struct data_column);
    builder->column->type = type;
    if (type->kind == DATA_STRUCT) {
        builder->fields = mr_arena_array(arena, struct data_builder *, type->field_count);
        builder->column->fields = mr_arena_array(arena, struct data_column *, type->field_count);
        for (uint32_t i = 0; i < type->field_count; i++) {
            builder->fields[i] = data_builder_new(arena, type->fields[i].type);
            builder->column->fields[i] = builder->fields[i]->column;
        }
    } else if (type->kind == DATA_ARRAY || type->kind == DATA_MAP) {
        builder->elements = data_builder_new(arena, type->element);
        builder->column->elements = builder->elements->column;
        if (type->kind == DATA_MAP) {
            builder->keys = data_builder_new(arena, type->key);
            builder->column->keys = builder->keys->column;
        }
    }
    return builder;
}

static void *moved(struct mr_arena *arena, const void *from, size_t old, size_t new, size_t bytes)
{
    void *to = mr_arena_alloc(arena, mr_size_product(new, bytes));
    if (old > 0)
        memcpy(to, from, old * bytes);
    return to;
}

static void builder_room(struct data_builder *builder)
{
    struct data_column *column = builder->column;
    uint32_t old = builder->capacity, new = old == 0 ? 16 : old * 2;
    if (column->count < old)
        return;
    mr_assert(new > old);
    size_t bytes = data_kind_bytes(column->type->kind);
    column->valid = moved(builder->arena, column->valid, old, new, 1);
    if (bytes > 0)
        column->values = moved(builder->arena, column->values, old, new, bytes);
    if (builder->elements != NULL) {
        column->starts = moved(builder->arena, column->starts, old, new, sizeof(uint32_t));
        column->lengths = moved(builder->arena, column->lengths, old, new, sizeof(uint32_t));
    }
    builder->capacity = new;
}

uint32_t data_builder_row(struct data_builder *builder)
{
    struct data_column *column = builder->column;
    builder_room(builder);
    uint32_t row = column->count++;
    size_t bytes = data_kind_bytes(column->type->kind);
    column->valid[row] = 1;
    if (bytes > 0)
        memset((char *)column->values + row * bytes, 0, bytes);
    if (builder->elements != NULL) {
        column->starts[row] = builder->elements->column->count;
        column->lengths[row] = 0;
    }
    return row;
}

void data_builder_null(struct data_builder *builder)
{
    uint32_t row = data_builder_row(builder);
    builder->column->valid[row] = 0;
    if (builder->fields != NULL)
        for (uint32_t i = 0; i < builder->column->type->field_count; i++)
            data_builder_null(builder->fields[i]);
}

void data_builder_end(struct data_builder *builder)
{
    struct data_column *column = builder->column;
    uint32_t row = column->count - 1;
    column->lengths[row] = builder->elements->column->count - column->starts[row];
}

void data_builder_copy(struct data_builder *builder, const struct data_column *from, uint32_t row)
{
    if (!from->valid[row]) {
        data_builder_null(builder);
        return;
    }
    uint32_t new = data_builder_row(builder);
    if (builder->fields != NULL) {
        for (uint32_t i = 0; i < builder->column->type->field_count; i++)
            data_builder_copy(builder->fields[i], from->fields[i], row);
    } else if (builder->elements != NULL) {
        for (uint32_t i = 0; i < from->lengths[row]; i++) {
            data_builder_copy(builder->elements, from->elements, from->starts[row] + i);
            if (builder->keys != NULL)
                data_builder_copy(builder->keys, from->keys, from->starts[row] + i);
        }
        data_builder_end(builder);
    } else {
        size_t bytes = data_kind_bytes(builder->column->type->kind);
        if (bytes > 0)
            memcpy((char *)builder->column->values + new *bytes,
                   (const char *)from->values + row * bytes, bytes);
    }
}

struct data_column *data_builder_take(struct data_builder *builder)
{
    return builder->column;
}

/* ---- chunks ---- */
struct data_chunk *data_chunk_new(struct mr_arena *arena, uint32_t column_count)
{
    struct data_chunk *chunk = mr_arena_new(arena, struct data_chunk);
    chunk->arena = arena;
    chunk->column_count = column_count;
    chunk->columns = mr_arena_array(arena, struct data_column *, column_count);
    chunk->rows = mr_arena_array(arena, uint16_t, DATA_CHUNK_ROWS);
    return chunk;
}

void data_chunk_all_rows(struct data_chunk *chunk, uint32_t count)
{
    mr_assert(count <= DATA_CHUNK_ROWS);
    for (uint32_t i = 0; i < count; i++)
        chunk->rows[i] = (uint16_t)i;
    chunk->count = count;
    chunk->row_count = (uint16_t)count;
}
