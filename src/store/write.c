/* store/write.c: packs rows into the batch. Cells go in by column id, then path, as row.h wants them. */
#include "store/write.h"

#include <stdlib.h>

enum { TTL_MAX = 630720000, VALUE_BYTES_MAX = 64 << 20 };

struct writer {
    struct store_write_job *job;
    const struct store_table *table;
    const struct store_write_plan *write;
    struct store_scope scope;
    struct store_row_head head;
    uint32_t ttl_s, expiry_s; /* 0: none */
    MR_ARRAY(struct store_cell) cells;
};

/* ---- USING ---- */
static mr_err take_timestamp(struct writer *writer)
{
    struct cql_value value;
    writer->head.timestamp = writer->job->timestamp_us;
    if (writer->write->timestamp == NULL)
        return MR_OK;
    mr_err err = store_term_value(&writer->scope, writer->write->timestamp, &value);
    if (err != MR_OK || value.length == CQL_UNSET)
        return err;
    if (value.length != 8)
        return store_fail(writer->scope.fault, CQL_ERROR_INVALID,
                          "Invalid null value of timestamp");
    writer->head.timestamp = store_value_integer(value);
    if (writer->head.timestamp == INT64_MIN)
        return store_fail(writer->scope.fault, CQL_ERROR_INVALID,
                          "Out of bound timestamp, must be in [%lld, %lld]",
                          (long long)INT64_MIN + 1, (long long)INT64_MAX);
    return MR_OK;
}

static mr_err take_ttl(struct writer *writer)
{
    struct cql_value value;
    int64_t ttl = writer->table->default_ttl_s;
    if (writer->write->ttl != NULL) {
        mr_err err = store_term_value(&writer->scope, writer->write->ttl, &value);
        if (err != MR_OK)
            return err;
        if (value.length == 4)
            ttl = store_value_integer(value);
        else if (value.length != CQL_UNSET)
            ttl = 0;
    }
    if (ttl < 0)
        return store_fail(writer->scope.fault, CQL_ERROR_INVALID,
                          "A TTL must be greater or equal to 0, but was %lld", (long long)ttl);
    if (ttl > TTL_MAX)
        return store_fail(writer->scope.fault, CQL_ERROR_INVALID,
                          "ttl is too large. requested (%lld) maximum (%d)", (long long)ttl,
                          TTL_MAX);
    writer->ttl_s = (uint32_t)ttl;
    writer->expiry_s = ttl == 0 ? 0 : (uint32_t)(writer->job->now_us / 1000000 + ttl);
    return MR_OK;
}

/* ---- cells ---- */
static struct store_cell *add_cell(struct writer *writer, const struct store_column *column)
{
    struct store_cell *cell = mr_array_add(&writer->cells);
    memset(cell, 0, sizeof(*cell));
    cell->column = column->id;
    cell->timestamp = writer->head.timestamp;
    return cell;
}

static void add_value(struct writer *writer, const struct store_column *column, bool has_path,
                      mr_str path, mr_str value)
{
    struct store_cell *cell = add_cell(writer, column);
    cell->value = value;
    if (has_path) {
        cell->flags |= STORE_CELL_PATH;
        cell->path = path;
    }
    if (writer->ttl_s > 0) {
        cell->flags |= STORE_CELL_EXPIRING;
        cell->ttl_s = writer->ttl_s;
        cell->expiry_s = writer->expiry_s;
    }
}

static void mark_grace(struct writer *writer)
{
    writer->head.flags |= STORE_ROW_GRACE;
    writer->head.grace_s = (uint32_t)(writer->table->gc_grace_s > UINT32_MAX
                                          ? UINT32_MAX
                                          : writer->table->gc_grace_s);
}

static void add_tombstone(struct writer *writer, const struct store_column *column, bool has_path,
                          mr_str path)
{
    struct store_cell *cell = add_cell(writer, column);
    cell->flags = STORE_CELL_TOMBSTONE | (has_path ? STORE_CELL_PATH : 0);
    cell->path = path;
    cell->expiry_s = (uint32_t)(writer->job->now_us / 1000000);
    mark_grace(writer);
}

/* Everything in the collection before now; a new content has the write's own, later timestamp. */
static void add_cleared(struct writer *writer, const struct store_column *column, bool before)
{
    struct store_cell *cell = add_cell(writer, column);
    cell->flags = STORE_CELL_CLEARED;
    cell->timestamp -= before ? 1 : 0;
    cell->expiry_s = (uint32_t)(writer->job->now_us / 1000000);
    mark_grace(writer);
}

/* Where an element of a list lies: appended ones by time, prepended ones before all, by time backwards. */
static mr_str list_path(struct writer *writer, bool prepend, uint32_t place, uint32_t count)
{
    uint8_t *path = mr_arena_alloc(writer->scope.arena, 16);
    uint64_t time = (uint64_t)writer->head.timestamp;
    uint64_t sequence = prepend ? UINT32_MAX - (uint64_t)(count - place) : place;
    uint64_t turn = *writer->job->sequence;
    time = (prepend ? 0 - time : time) ^ UINT64_C(0x8000000000000000);
    turn = prepend ? UINT32_MAX - turn : turn;
    uint64_t low = (turn & UINT32_MAX) << 32 | (sequence & UINT32_MAX);
    for (int i = 0; i < 8; i++) {
        path[i] = (uint8_t)(time >> (56 - i * 8));
        path[8 + i] = (uint8_t)(low >> (56 - i * 8));
    }
    return mr_str_of(path, 16);
}

static void add_elements(struct writer *writer, const struct store_column *column,
                         struct cql_value value, bool prepend)
{
    struct cql_elements elements = cql_elements_of(column->type, value);
    struct cql_value element, second;
    uint32_t count = elements.left;
    (*writer->job->sequence)++;
    for (uint32_t i = 0; cql_elements_next(&elements, &element); i++) {
        if (column->type->id == CQL_TYPE_LIST)
            add_value(writer, column, true, list_path(writer, prepend, i, count),
                      cql_value_str(element));
        else if (column->type->id == CQL_TYPE_SET)
            add_value(writer, column, true, cql_value_str(element), MR_STR_NULL);
        else if (cql_elements_next(&elements, &second))
            add_value(writer, column, true, cql_value_str(element), cql_value_str(second));
    }
}

static void remove_elements(struct writer *writer, const struct store_column *column,
                            struct cql_value value)
{
    struct cql_type keys = *column->type;
    struct cql_value element;
    keys.id = CQL_TYPE_SET; /* a map loses keys */
    struct cql_elements elements = cql_elements_of(&keys, value);
    while (cql_elements_next(&elements, &element))
        add_tombstone(writer, column, true, cql_value_str(element));
}

static mr_err count_up(struct writer *writer, const struct store_write_change *change,
                       struct cql_value value)
{
    if (value.length != 8)
        return store_fail(writer->scope.fault, CQL_ERROR_INVALID,
                          "Invalid null value for counter increment");
    int64_t delta = store_value_integer(value);
    if (change->kind == STORE_CHANGE_SUBTRACT)
        delta = (int64_t)(0 - (uint64_t)delta);
    struct store_cell *cell = add_cell(writer, change->column);
    cell->flags = STORE_CELL_COUNTER;
    cell->value = cql_value_str(store_value_i64(writer->scope.arena, delta));
    return MR_OK;
}

static mr_err change_element(struct writer *writer, const struct store_write_change *change)
{
    struct cql_value key, value = CQL_VALUE_NULL;
    mr_err err = store_term_value(&writer->scope, change->element, &key);
    if (err == MR_OK && change->value != NULL)
        err = store_term_value(&writer->scope, change->value, &value);
    if (err != MR_OK || value.length == CQL_UNSET)
        return err;
    if (key.length < 0)
        return store_fail(writer->scope.fault, CQL_ERROR_INVALID, "Invalid %s map key",
                          key.length == CQL_UNSET ? "unset" : "null");
    if (value.length < 0)
        add_tombstone(writer, change->column, true, cql_value_str(key));
    else
        add_value(writer, change->column, true, cql_value_str(key), cql_value_str(value));
    return MR_OK;
}

static mr_err change_column(struct writer *writer, const struct store_write_change *change)
{
    const struct store_column *column = change->column;
    bool many = cql_type_is_collection(column->type) && !column->type->frozen;
    struct cql_value value = CQL_VALUE_NULL;
    if (change->kind == STORE_CHANGE_SET_ELEMENT)
        return change_element(writer, change);
    mr_err err = change->value == NULL ? MR_OK
                                       : store_term_value(&writer->scope, change->value, &value);
    if (err != MR_OK || value.length == CQL_UNSET)
        return err;
    if (value.length > VALUE_BYTES_MAX)
        return store_fail(writer->scope.fault, CQL_ERROR_INVALID,
                          "a value of %d bytes, at most %d are taken", (int)value.length,
                          VALUE_BYTES_MAX);
    if (column->type->id == CQL_TYPE_COUNTER && change->value != NULL)
        return count_up(writer, change, value);
    switch (change->kind) {
    case STORE_CHANGE_SET:
        if (many)
            add_cleared(writer, column, value.length >= 0);
        if (many && value.length >= 0)
            add_elements(writer, column, value, false);
        else if (!many && value.length < 0)
            add_tombstone(writer, column, false, MR_STR_NULL);
        else if (!many)
            add_value(writer, column, false, MR_STR_NULL, cql_value_str(value));
        return MR_OK;
    case STORE_CHANGE_ADD:
    case STORE_CHANGE_PREPEND:
        add_elements(writer, column, value, change->kind == STORE_CHANGE_PREPEND);
        return MR_OK;
    case STORE_CHANGE_SUBTRACT:
        remove_elements(writer, column, value);
        return MR_OK;
    case STORE_CHANGE_SET_ELEMENT:
        break;
    }
    return MR_OK;
}

static int by_place(const void *a, const void *b)
{
    const struct store_cell *x = a, *y = b;
    if (x->column != y->column)
        return x->column < y->column ? -1 : 1;
    bool x_cleared = (x->flags & STORE_CELL_CLEARED) != 0,
         y_cleared = (y->flags & STORE_CELL_CLEARED) != 0;
    if (x_cleared != y_cleared)
        return x_cleared ? -1 : 1;
    return mr_str_compare(x->path, y->path);
}

/* Paths have an order of their own; two changes of one place keep the latter. */
static void sort_cells(struct writer *writer)
{
    size_t kept = 0;
    bool paths = false;
    for (size_t i = 0; i < writer->cells.count; i++)
        paths |= (writer->cells.items[i].flags & STORE_CELL_PATH) != 0;
    if (!paths)
        return;
    struct store_cell *cells = writer->cells.items;
    for (size_t i = 1; i < writer->cells.count; i++) { /* stable: few cells, mostly sorted */
        struct store_cell cell = cells[i];
        size_t j = i;
        for (; j > 0 && by_place(&cells[j - 1], &cell) > 0; j--)
            cells[j] = cells[j - 1];
        cells[j] = cell;
    }
    for (size_t i = 0; i < writer->cells.count; i++) {
        if (kept > 0 && by_place(&cells[kept - 1], &cells[i]) == 0)
            kept--;
        cells[kept++] = cells[i];
    }
    writer->cells.count = kept;
}

/* The operand for these changes, in job->row. */
static mr_err pack(struct writer *writer, const struct store_write_change *changes, uint32_t count,
                   bool liveness)
{
    writer->head.flags = 0;
    writer->head.grace_s = 0;
    writer->cells.count = 0;
    for (uint32_t i = 0; i < count; i++) {
        mr_err err = change_column(writer, &changes[i]);
        if (err != MR_OK)
            return err;
    }
    sort_cells(writer);
    if (liveness)
        writer->head.flags |= STORE_ROW_LIVE;
    if (liveness && writer->ttl_s > 0) {
        writer->head.flags |= STORE_ROW_EXPIRING;
        writer->head.ttl_s = writer->ttl_s;
        writer->head.expiry_s = writer->expiry_s;
    }
    if (writer->ttl_s > 0)
        mark_grace(writer);
    struct mr_buf *row = writer->job->row;
    mr_buf_clear(row);
    store_row_begin(row, &writer->head);
    for (size_t i = 0; i < writer->cells.count; i++)
        store_row_cell(row, &writer->head, &writer->cells.items[i]);
    return row->err;
}

static void pack_deletion(struct writer *writer)
{
    struct mr_buf *row = writer->job->row;
    struct store_row_head head = {.flags = STORE_ROW_DELETED, .timestamp = writer->head.timestamp};
    writer->head = head;
    head.deletion = head.timestamp;
    head.deleted_at_s = (uint32_t)(writer->job->now_us / 1000000);
    writer->head.flags = head.flags;
    mark_grace(writer);
    head.flags = writer->head.flags;
    head.grace_s = writer->head.grace_s;
    mr_buf_clear(row);
    store_row_begin(row, &head);
}

/* ---- keys ---- */
static void put(struct writer *writer)
{
    struct store_write_job *job = writer->job;
    kv_batch_merge(job->batch, job->db->rows, mr_buf_as_str(job->key), mr_buf_as_str(job->row));
    job->rows++;
}

static void set_key(struct writer *writer, mr_str prefix, enum store_key_kind kind,
                    mr_str clustering)
{
    struct mr_buf *key = writer->job->key;
    mr_buf_clear(key);
    mr_buf_str(key, prefix);
    mr_buf_u8(key, (uint8_t)kind);
    mr_buf_str(key, clustering);
}

static void delete_range(struct writer *writer, mr_str prefix, mr_str start, mr_str end)
{
    struct mr_buf *row = writer->job->row;
    struct store_range range = {
        .timestamp = writer->head.timestamp,
        .deleted_at_s = (uint32_t)(writer->job->now_us / 1000000),
        .grace_s = (uint32_t)writer->table->gc_grace_s,
    };
    set_key(writer, prefix, STORE_KEY_RANGE, MR_STR_NULL);
    cql_write_short_bytes(writer->job->key, start);
    mr_buf_str(writer->job->key, end);
    mr_buf_clear(row);
    store_range_write(row, &range);
    put(writer);
    writer->job->deletes_range = true;
}

static mr_err delete_rows(struct writer *writer, mr_str prefix, const mr_str *clusterings,
                          uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        mr_str start, end;
        if (writer->write->names_row) {
            set_key(writer, prefix, STORE_KEY_ROW, clusterings[i]);
            pack_deletion(writer);
            put(writer);
            continue;
        }
        mr_err err = store_slice_bounds(&writer->scope, writer->table, &writer->write->keys,
                                        clusterings[i], &start, &end);
        if (err != MR_OK)
            return err;
        bool whole = clusterings[i].length == 0 && !writer->write->keys.has_slice;
        if (end.length == 0 && !whole && start.length == 0)
            end = MR_STR("\xff"); /* every row, but not the static one: bounds were open */
        delete_range(writer, prefix, start, end);
    }
    return MR_OK;
}

static mr_err write_partition(struct writer *writer, mr_str prefix, const mr_str *clusterings,
                              uint32_t count, bool insert)
{
    const struct store_write_plan *write = writer->write;
    mr_err err = MR_OK;
    if (write->whole_row)
        return delete_rows(writer, prefix, clusterings, count);
    if (write->static_count > 0) {
        err = pack(writer, write->statics, write->static_count, false);
        if (err == MR_OK && writer->cells.count > 0) {
            set_key(writer, prefix, STORE_KEY_STATIC, MR_STR_NULL);
            put(writer);
        }
    }
    if (err != MR_OK || !write->names_row)
        return err;
    err = pack(writer, write->changes, write->change_count, insert);
    bool says = insert || writer->cells.count > 0;
    for (uint32_t i = 0; err == MR_OK && says && i < count; i++) {
        set_key(writer, prefix, STORE_KEY_ROW, clusterings[i]);
        put(writer);
    }
    return err;
}

/* The everyday case: one row, every key column a single value. */
static mr_err write_single(struct writer *writer, bool insert)
{
    const struct store_table *table = writer->table;
    const struct store_keys *keys = &writer->write->keys;
    struct mr_buf *key = writer->job->key;
    struct cql_value values[8];
    for (uint16_t i = 0; i < table->partition_count; i++) {
        mr_err err = store_term_value(&writer->scope, keys->partition[i].values[0], &values[i]);
        if (err != MR_OK)
            return err;
        if (values[i].length < 0)
            return store_fail(writer->scope.fault, CQL_ERROR_INVALID,
                              "Invalid %s value in condition for column %.*s",
                              values[i].length == CQL_UNSET ? "unset" : "null",
                              MR_STR_ARG(table->columns[i].name));
    }
    mr_err err = pack(writer, writer->write->changes, writer->write->change_count, insert);
    if (err != MR_OK || (!insert && writer->cells.count == 0))
        return err;
    struct mr_buf partition = {0};
    if (table->partition_count > 1)
        store_partition_write(&partition, table, values);
    mr_str partition_key = table->partition_count > 1 ? mr_buf_as_str(&partition)
                                                      : cql_value_str(values[0]);
    if (partition_key.length == 0 || partition_key.length > MR_LIMIT_CQL_KEY_BYTES ||
        partition.err != MR_OK)
        err = store_fail(writer->scope.fault, CQL_ERROR_INVALID,
                         partition_key.length == 0
                             ? "Key may not be empty"
                             : "Key length of %zu is longer than maximum of 65535",
                         partition_key.length);
    mr_buf_clear(key);
    if (err == MR_OK)
        store_key_partition(key, table->id, partition_key);
    mr_buf_u8(key, STORE_KEY_ROW);
    mr_buf_fini(&partition);
    for (uint16_t i = 0; err == MR_OK && i < table->clustering_count; i++) {
        const struct store_column *column = &table->columns[table->partition_count + i];
        struct cql_value value;
        err = store_term_value(&writer->scope, keys->clustering[i].values[0], &value);
        if (err == MR_OK && value.length < 0)
            err = store_fail(writer->scope.fault, CQL_ERROR_INVALID,
                             "Invalid %s value in condition for column %.*s",
                             value.length == CQL_UNSET ? "unset" : "null",
                             MR_STR_ARG(column->name));
        if (err == MR_OK)
            store_key_component(key, column->type, column->descending, value);
    }
    if (err == MR_OK && key->length > MR_LIMIT_CQL_KEY_BYTES * 2)
        err = store_fail(writer->scope.fault, CQL_ERROR_INVALID,
                         "a clustering key of %zu bytes is too long", key->length);
    if (err == MR_OK)
        put(writer);
    return err;
}

static bool is_plain(const struct store_write_plan *write, const struct store_table *table)
{
    bool plain = write->names_row && !write->whole_row && write->static_count == 0 &&
                 table->partition_count <= 8;
    for (uint16_t i = 0; plain && i < table->partition_count; i++)
        plain = !write->keys.partition[i].many;
    for (uint16_t i = 0; plain && i < table->clustering_count; i++)
        plain = !write->keys.clustering[i].many;
    return plain;
}

mr_err store_write_run(struct store_write_job *job)
{
    struct writer writer = {.job = job, .table = job->plan->table, .write = job->plan->write};
    bool insert = job->plan->statement->kind == STORE_STATEMENT_INSERT;
    mr_str *partitions, *clusterings;
    uint32_t partition_count = 0, clustering_count = 0;
    writer.scope = (struct store_scope){.arena = job->arena,
                                        .table = writer.table,
                                        .values = job->values,
                                        .now_us = job->now_us,
                                        .fault = job->fault};
    mr_err err = take_timestamp(&writer);
    if (err == MR_OK)
        err = take_ttl(&writer);
    if (err == MR_OK && is_plain(writer.write, writer.table)) {
        err = write_single(&writer, insert);
        mr_array_fini(&writer.cells);
        return err;
    }
    if (err == MR_OK)
        err = store_partition_prefixes(&writer.scope, writer.table, &writer.write->keys,
                                       &partitions, &partition_count);
    if (err == MR_OK)
        err = store_clustering_prefixes(&writer.scope, writer.table, &writer.write->keys,
                                        &clusterings, &clustering_count);
    for (uint32_t i = 0; err == MR_OK && i < partition_count; i++)
        err = write_partition(&writer, partitions[i], clusterings, clustering_count, insert);
    mr_array_fini(&writer.cells);
    return err;
}
