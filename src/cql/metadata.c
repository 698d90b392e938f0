/* cql/metadata.c: column metadata of results and prepared statements, and query parameters. */
#include "cql/cql.h"

/* ---- metadata (section 4.2.5.2) ---- */
static bool one_table(const struct cql_metadata *metadata)
{
    for (uint32_t i = 1; i < metadata->column_count; i++)
        if (!mr_str_equal(metadata->columns[i].keyspace, metadata->columns[0].keyspace) ||
            !mr_str_equal(metadata->columns[i].table, metadata->columns[0].table))
            return false;
    return metadata->column_count > 0;
}

void cql_metadata_write(struct mr_buf *out, const struct cql_metadata *metadata, bool prepared)
{
    bool without = (metadata->flags & CQL_ROWS_NO_METADATA) != 0;
    bool global = !without && one_table(metadata);
    uint32_t flags = without ? CQL_ROWS_NO_METADATA : 0;
    if (global)
        flags |= CQL_ROWS_GLOBAL_TABLE;
    if (!prepared && metadata->paging_state.length >= 0)
        flags |= CQL_ROWS_MORE_PAGES;
    mr_buf_be32(out, flags);
    mr_buf_be32(out, metadata->column_count);
    if (prepared) {
        mr_buf_be32(out, metadata->key_count);
        for (uint16_t i = 0; i < metadata->key_count; i++)
            mr_buf_be16(out, metadata->key_indices[i]);
    }
    if (flags & CQL_ROWS_MORE_PAGES)
        cql_write_value(out, metadata->paging_state);
    if (without)
        return;
    if (global) {
        cql_write_string(out, metadata->columns[0].keyspace);
        cql_write_string(out, metadata->columns[0].table);
    }
    for (uint32_t i = 0; i < metadata->column_count; i++) {
        const struct cql_column *column = &metadata->columns[i];
        if (!global) {
            cql_write_string(out, column->keyspace);
            cql_write_string(out, column->table);
        }
        cql_write_string(out, column->name);
        cql_type_write(out, column->type);
    }
}

static void read_columns(struct mr_in *in, struct mr_arena *arena, struct cql_metadata *out)
{
    bool global = (out->flags & CQL_ROWS_GLOBAL_TABLE) != 0;
    mr_str keyspace = global ? mr_arena_str(arena, cql_read_string(in)) : MR_STR_NULL;
    mr_str table = global ? mr_arena_str(arena, cql_read_string(in)) : MR_STR_NULL;
    if (out->column_count > mr_in_left(in) / 4) /* a name's length and a type id */
        mr_in_fail(in);
    if (in->err != MR_OK)
        return;
    struct cql_column *columns = mr_arena_array(arena, struct cql_column, out->column_count);
    for (uint32_t i = 0; i < out->column_count; i++) {
        columns[i].keyspace = global ? keyspace : mr_arena_str(arena, cql_read_string(in));
        columns[i].table = global ? table : mr_arena_str(arena, cql_read_string(in));
        columns[i].name = mr_arena_str(arena, cql_read_string(in));
        columns[i].type = cql_type_read(in, arena);
    }
    out->columns = columns;
}

void cql_metadata_read(struct mr_in *in, struct mr_arena *arena, bool prepared,
                       struct cql_metadata *out)
{
    memset(out, 0, sizeof(*out));
    out->paging_state = CQL_VALUE_NULL;
    out->flags = mr_in_be32(in);
    out->column_count = mr_in_be32(in);
    if (prepared) {
        uint32_t keys = mr_in_be32(in);
        if (keys > mr_in_left(in) / 2 || keys > UINT16_MAX)
            mr_in_fail(in);
        uint16_t *indices = mr_arena_array(arena, uint16_t, in->err == MR_OK ? keys : 0);
        for (uint32_t i = 0; in->err == MR_OK && i < keys; i++)
            indices[i] = mr_in_be16(in);
        out->key_count = in->err == MR_OK ? (uint16_t)keys : 0;
        out->key_indices = indices;
    }
    if (!prepared && (out->flags & CQL_ROWS_MORE_PAGES))
        out->paging_state = cql_read_value(in);
    if (!prepared && (out->flags & CQL_ROWS_METADATA_CHANGED))
        cql_read_short_bytes(in);
    if (!(out->flags & CQL_ROWS_NO_METADATA))
        read_columns(in, arena, out);
    if (in->err != MR_OK)
        out->column_count = 0;
}

/* ---- query parameters (section 4.1.4) ---- */
static void read_values(struct mr_in *in, struct mr_arena *arena, struct cql_query *out)
{
    bool named = (out->flags & CQL_QUERY_NAMES) != 0;
    uint16_t count = mr_in_be16(in);
    if (count > mr_in_left(in) / (named ? 6 : 4)) {
        mr_in_fail(in);
        return;
    }
    struct cql_value *values = mr_arena_alloc(arena,
                                              sizeof(struct cql_value) * ((size_t)count + 1));
    mr_str *names = named ? mr_arena_array(arena, mr_str, count) : NULL;
    for (uint16_t i = 0; i < count; i++) {
        if (named)
            names[i] = cql_read_string(in);
        values[i] = cql_read_value(in);
    }
    out->value_count = count;
    out->values = values;
    out->names = names;
}

void cql_query_read(struct mr_in *in, struct mr_arena *arena, struct cql_query *out)
{
    memset(out, 0, sizeof(*out));
    out->paging_state = CQL_VALUE_NULL;
    out->consistency = mr_in_be16(in);
    out->flags = mr_in_u8(in);
    if (out->flags & CQL_QUERY_VALUES)
        read_values(in, arena, out);
    if (out->flags & CQL_QUERY_PAGE_SIZE)
        out->page_size = (int32_t)mr_in_be32(in);
    if (out->flags & CQL_QUERY_PAGING_STATE)
        out->paging_state = cql_read_value(in);
    if (out->flags & CQL_QUERY_SERIAL_CONSISTENCY)
        out->serial_consistency = mr_in_be16(in);
    if (out->flags & CQL_QUERY_TIMESTAMP)
        out->timestamp_us = (int64_t)mr_in_be64(in);
}

void cql_query_write(struct mr_buf *out, const struct cql_query *query)
{
    mr_buf_be16(out, query->consistency);
    mr_buf_u8(out, query->flags);
    if (query->flags & CQL_QUERY_VALUES) {
        mr_buf_be16(out, query->value_count);
        for (uint16_t i = 0; i < query->value_count; i++) {
            if (query->flags & CQL_QUERY_NAMES)
                cql_write_string(out, query->names[i]);
            cql_write_value(out, query->values[i]);
        }
    }
    if (query->flags & CQL_QUERY_PAGE_SIZE)
        mr_buf_be32(out, (uint32_t)query->page_size);
    if (query->flags & CQL_QUERY_PAGING_STATE)
        cql_write_value(out, query->paging_state);
    if (query->flags & CQL_QUERY_SERIAL_CONSISTENCY)
        mr_buf_be16(out, query->serial_consistency);
    if (query->flags & CQL_QUERY_TIMESTAMP)
        mr_buf_be64(out, (uint64_t)query->timestamp_us);
}
