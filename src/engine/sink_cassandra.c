/* engine/sink_cassandra.c: rows as rows of a CQL table: upserts and deletes by key, each with its write
 * time, pipelined. Hides how the table comes to be and what its columns take.
 *
 * Opening: keyspace, table, prepared INSERT (and DELETE), one after the other; what exists is used as it
 * is, and the types of its columns decide how values are written. The first key column is the partition
 * key, the others cluster. A write that fails ends the batch, which is then repeated with the same
 * write times. */
#include <stdio.h>

#include "cql/client.h"
#include "engine/cassandra.h"
#include "engine/sink.h"

enum {
    CONNECT_US = 3000000,  /* not connected by then: the stream says so and waits */
    KEY_BYTES_MAX = 65535, /* of a key's component, as Cassandra has it */
};

struct target_column {
    uint32_t index; /* of the result */
    const struct cql_type *type;
    bool fallible; /* not every value fits */
    bool key;
};
struct cassandra_sink {
    struct engine_sink sink;
    struct engine_sink_host host;
    struct mr_arena arena;
    mr_str keyspace, table;
    struct cql_client *client;
    struct cql_prepared *insert, *erase;
    struct target_column *columns; /* of the INSERT: all of the result */
    struct target_column *keys;    /* of the DELETE: the key's */
    uint32_t column_count, key_count;
    size_t step;
    struct mr_timer patience;
    engine_sink_done *opened;
    void *context;
    struct cql_group group; /* what is under way */
    struct mr_task flushed;
    engine_sink_done *flush_done;
    void *flush_context;
    bool flushing, closed;
    struct mr_buf scratch;
};

/* ---- what can be said beforehand ---- */
static bool split_place(mr_str place, mr_str *keyspace, mr_str *table)
{
    ptrdiff_t dot = mr_str_find_byte(place, '.');
    if (dot <= 0 || (size_t)dot + 1 >= place.length)
        return false;
    *keyspace = mr_str_slice(place, 0, (size_t)dot);
    *table = mr_str_slice(place, (size_t)dot + 1, place.length);
    return mr_str_find_byte(*table, '.') < 0 && mr_str_find_byte(place, '"') < 0;
}
/* The type that the spec or the value's own type gives the column. */
static mr_err column_type(struct mr_arena *arena, const struct engine_bound *bound, uint32_t column,
                          const struct cql_type **out, size_t *override)
{
    const struct engine_stream_spec *spec = bound->spec;
    for (size_t i = 0; i < spec->type_count; i++) {
        if (!mr_str_equal_nocase(spec->types[i].name, bound->row->fields[column].name))
            continue;
        *override = i;
        return cql_type_parse(arena, spec->types[i].value, out);
    }
    *override = (size_t)-1;
    return engine_cassandra_type(arena, bound->row->fields[column].type, out);
}
static void bind_column(const struct engine_bound *bound, uint32_t column, size_t target,
                        struct engine_mistakes *mistakes)
{
    const struct data_field *field = &bound->row->fields[column];
    const struct cql_type *type;
    struct mr_buf from = {0}, to = {0};
    bool fallible = false;
    size_t override;
    mr_err err = column_type(mistakes->arena, bound, column, &type, &override);
    enum engine_mistake_part part = override == (size_t)-1 ? ENGINE_MISTAKE_TARGET
                                                           : ENGINE_MISTAKE_TYPE;
    size_t index = override == (size_t)-1 ? target : override;
    data_type_print(&from, field->type);
    if (err != MR_OK)
        engine_bind_mistake(mistakes, part, index, "column %.*s: %s", MR_STR_ARG(field->name),
                            mr_why());
    else if (!engine_cassandra_fits(field->type, type, &fallible)) {
        cql_type_print(&to, type);
        engine_bind_mistake(mistakes, part, index,
                            "column %.*s: a value of type %.*s cannot be written as %.*s",
                            MR_STR_ARG(field->name), MR_STR_ARG(mr_buf_as_str(&from)),
                            MR_STR_ARG(mr_buf_as_str(&to)));
    }
    mr_buf_fini(&from);
    mr_buf_fini(&to);
}
static void cassandra_bind(const struct engine_bound *bound, size_t target,
                           struct engine_mistakes *mistakes)
{
    mr_str keyspace, table, place = bound->spec->targets[target].place;
    if (!split_place(place, &keyspace, &table))
        engine_bind_mistake(mistakes, ENGINE_MISTAKE_TARGET, target,
                            "cassandra/%.*s: expected cassandra/keyspace.table", MR_STR_ARG(place));
    if (bound->spec->key_count == 0)
        engine_bind_mistake(mistakes, ENGINE_MISTAKE_TARGET, target,
                            "cassandra/%.*s: a table needs `key:`, the columns that identify a row",
                            MR_STR_ARG(place));
    for (uint32_t i = 0; i < bound->row->field_count; i++)
        bind_column(bound, i, target, mistakes);
}

/* ---- statements ---- */
static void put_name(struct mr_buf *out, mr_str name)
{
    mr_buf_u8(out, '"');
    for (size_t i = 0; i < name.length; i++) {
        mr_buf_u8(out, (uint8_t)name.data[i]);
        if (name.data[i] == '"')
            mr_buf_u8(out, '"');
    }
    mr_buf_u8(out, '"');
}
static void put_table(struct mr_buf *out, const struct cassandra_sink *self)
{
    put_name(out, self->keyspace);
    mr_buf_u8(out, '.');
    put_name(out, self->table);
}
static void put_column(struct mr_buf *out, const struct cassandra_sink *self, uint32_t column)
{
    put_name(out, self->host.bound->row->fields[column].name);
}
static mr_err make_keyspace_text(struct mr_buf *out, const struct cassandra_sink *self,
                                 mr_str data_center, size_t node_count)
{
    mr_buf_cstr(out, "CREATE KEYSPACE IF NOT EXISTS ");
    put_name(out, self->keyspace);
    mr_buf_cstr(out, " WITH replication = ");
    return engine_cassandra_replication(out, self->host.options->cassandra_replication, data_center,
                                        node_count);
}
static void make_table_text(struct mr_buf *out, const struct cassandra_sink *self)
{
    const struct engine_bound *bound = self->host.bound;
    struct mr_arena arena;
    mr_arena_init(&arena);
    mr_buf_cstr(out, "CREATE TABLE IF NOT EXISTS ");
    put_table(out, self);
    mr_buf_cstr(out, " (");
    for (uint32_t i = 0; i < bound->row->field_count; i++) {
        const struct cql_type *type;
        size_t override;
        if (column_type(&arena, bound, i, &type, &override) != MR_OK)
            continue; /* cassandra_bind() has refused it */
        put_column(out, self, i);
        mr_buf_u8(out, ' ');
        cql_type_print(out, type);
        mr_buf_cstr(out, ", ");
    }
    mr_buf_cstr(out, "PRIMARY KEY (");
    for (uint32_t i = 0; i < bound->key_count; i++) {
        mr_buf_cstr(out, i == 0 ? "" : ", ");
        put_column(out, self, bound->keys[i]);
    }
    mr_buf_cstr(out, "))");
    mr_arena_fini(&arena);
}
static void insert_text(struct mr_buf *out, const struct cassandra_sink *self)
{
    uint32_t count = self->host.bound->row->field_count;
    mr_buf_cstr(out, "INSERT INTO ");
    put_table(out, self);
    for (uint32_t i = 0; i < count; i++) {
        mr_buf_cstr(out, i == 0 ? " (" : ", ");
        put_column(out, self, i);
    }
    for (uint32_t i = 0; i < count; i++)
        mr_buf_cstr(out, i == 0 ? ") VALUES (?" : ", ?");
    mr_buf_cstr(out, ")");
}
static void erase_text(struct mr_buf *out, const struct cassandra_sink *self)
{
    const struct engine_bound *bound = self->host.bound;
    mr_buf_cstr(out, "DELETE FROM ");
    put_table(out, self);
    for (uint32_t i = 0; i < bound->key_count; i++) {
        mr_buf_cstr(out, i == 0 ? " WHERE " : " AND ");
        put_column(out, self, bound->keys[i]);
        mr_buf_cstr(out, " = ?");
    }
}

/* ---- opening ---- */
static void open_step(struct cassandra_sink *self);
static void opened(struct cassandra_sink *self, mr_err err)
{
    mr_timer_stop(&self->patience);
    if (self->opened == NULL)
        return;
    engine_sink_done *done = self->opened;
    self->opened = NULL;
    if (err != MR_OK)
        err = mr_fail(err, "cassandra/%.*s.%.*s: %s", MR_STR_ARG(self->keyspace),
                      MR_STR_ARG(self->table), mr_why());
    done(self->context, err);
}
/* Another stream may have made it a moment ago, on another node. */
static const struct cql_request schema = {.flags = CQL_SCHEMA};

static void on_made(void *context, mr_err err, const struct cql_result *result)
{
    struct cassandra_sink *self = context;
    (void)result;
    if (err == MR_DENIED || err == MR_EXISTS)
        err = MR_OK; /* no right to make things, but perhaps they are there: PREPARE will tell */
    if (err != MR_OK)
        opened(self, err);
    else
        open_step(self);
}
static void on_cluster(void *context, mr_str data_center, size_t node_count)
{
    struct cassandra_sink *self = context;
    struct mr_buf text = {0};
    mr_err err = make_keyspace_text(&text, self, data_center, node_count);
    if (err == MR_OK)
        cql_client_query(self->client, mr_buf_as_str(&text), &schema, on_made, self);
    else
        opened(self, err);
    mr_buf_fini(&text);
}
/* The prepared statement's variables against the result's columns. */
static mr_err take_columns(struct cassandra_sink *self, struct cql_prepared *prepared,
                           struct target_column *columns, uint32_t count, const uint32_t *indices)
{
    const struct engine_bound *bound = self->host.bound;
    const struct cql_metadata *variables = cql_client_variables(prepared);
    if (variables->column_count != count)
        return mr_fail(MR_INVALID, "expected %u variables, found %u", count,
                       variables->column_count);
    for (uint32_t i = 0; i < count; i++) {
        struct target_column *column = &columns[i];
        const struct data_field *field;
        column->index = indices == NULL ? i : indices[i];
        column->type = cql_type_copy(&self->arena, variables->columns[i].type);
        field = &bound->row->fields[column->index];
        for (uint32_t j = 0; j < bound->key_count; j++)
            column->key = column->key || bound->keys[j] == column->index;
        if (engine_cassandra_fits(field->type, column->type, &column->fallible))
            continue;
        struct mr_buf types = {0};
        cql_type_print(&types, column->type);
        mr_buf_cstr(&types, " takes no ");
        data_type_print(&types, field->type);
        mr_err err = mr_fail(MR_INVALID, "column %.*s of type %.*s", MR_STR_ARG(field->name),
                             MR_STR_ARG(mr_buf_as_str(&types)));
        mr_buf_fini(&types);
        return err;
    }
    return MR_OK;
}
static void on_insert(void *context, mr_err err, struct cql_prepared *prepared)
{
    struct cassandra_sink *self = context;
    self->insert = prepared;
    if (err == MR_OK)
        err = take_columns(self, prepared, self->columns, self->column_count, NULL);
    if (err != MR_OK)
        opened(self, err);
    else
        open_step(self);
}
static void on_erase(void *context, mr_err err, struct cql_prepared *prepared)
{
    struct cassandra_sink *self = context;
    self->erase = prepared;
    if (err == MR_OK)
        err = take_columns(self, prepared, self->keys, self->key_count, self->host.bound->keys);
    opened(self, err);
}
static void open_step(struct cassandra_sink *self)
{
    struct mr_buf text = {0};
    switch (self->step++) {
    case 0:
        cql_client_cluster(self->client, on_cluster, self);
        break;
    case 1:
        make_table_text(&text, self);
        cql_client_query(self->client, mr_buf_as_str(&text), &schema, on_made, self);
        break;
    case 2:
        insert_text(&text, self);
        cql_client_prepare(self->client, mr_buf_as_str(&text), on_insert, self);
        break;
    default:
        if (!self->host.bound->deletes) {
            opened(self, MR_OK);
            break;
        }
        erase_text(&text, self);
        cql_client_prepare(self->client, mr_buf_as_str(&text), on_erase, self);
    }
    mr_buf_fini(&text);
}
static void on_patience(struct mr_timer *timer)
{
    struct cassandra_sink *self = mr_container(timer, struct cassandra_sink, patience);
    mr_err err;
    if (cql_client_connected(self->client, &err))
        mr_timer_start(self->host.loop, timer, CONNECT_US); /* it works on it, or loses it again */
    else if (err == MR_AGAIN)
        opened(self, mr_fail(MR_UNREACHABLE, "no answer yet"));
    else
        opened(self, err);
}
static void on_room(void *context)
{
    struct cassandra_sink *self = context;
    self->sink.full = false;
    self->host.room(self->host.context);
}
static void on_group(struct cql_group *group);
static void cassandra_open(const struct engine_sink_host *host, size_t target,
                           struct engine_sink **out, engine_sink_done *done, void *context)
{
    struct cassandra_sink *self = mr_new(struct cassandra_sink);
    const struct engine_options *options = host->options;
    const struct engine_bound *bound = host->bound;
    mr_arena_init(&self->arena);
    self->sink.driver = &engine_sink_cassandra;
    self->sink.table = true;
    self->host = *host;
    self->opened = done;
    self->context = context;
    self->group.done = on_group;
    self->column_count = bound->row->field_count;
    self->key_count = bound->key_count;
    self->columns = mr_arena_array(&self->arena, struct target_column, self->column_count);
    self->keys = mr_arena_array(&self->arena, struct target_column, self->key_count);
    split_place(bound->spec->targets[target].place, &self->keyspace, &self->table);
    *out = &self->sink;
    struct cql_client_options client = {
        .addresses = mr_arena_cstr(&self->arena, options->cassandra),
        .tls = options->cassandra_uses_tls ? &options->cassandra_tls : NULL,
        .lz4 = options->cassandra_lz4,
        .room = on_room,
        .context = self,
    };
    if (options->cassandra_user.length > 0) {
        client.user = mr_arena_cstr(&self->arena, options->cassandra_user);
        client.password = mr_arena_cstr(&self->arena, options->cassandra_password);
    }
    mr_err err = options->cassandra.length == 0
                     ? mr_fail(MR_INVALID, "no address of Cassandra was given")
                     : MR_OK;
    if (options->cassandra_consistency.length > 0 &&
        !cql_consistency_find(options->cassandra_consistency, &client.consistency))
        err = mr_fail(MR_INVALID, "there is no consistency level %.*s",
                      MR_STR_ARG(options->cassandra_consistency));
    if (err == MR_OK)
        err = cql_client_new(host->loop, &client, &self->client);
    if (err != MR_OK) {
        opened(self, err);
        return;
    }
    self->patience.run = on_patience;
    mr_timer_start(host->loop, &self->patience, CONNECT_US);
    open_step(self);
}
static void cassandra_free(struct cassandra_sink *self)
{
    mr_buf_fini(&self->scratch);
    mr_free(self->group.why);
    mr_arena_fini(&self->arena);
    mr_free(self);
}
static void cassandra_close(struct engine_sink *sink)
{
    struct cassandra_sink *self = mr_container(sink, struct cassandra_sink, sink);
    mr_timer_stop(&self->patience);
    cql_client_free(self->client);
    self->client = NULL;
    self->closed = true;
    if (!self->flushed.queued)
        cassandra_free(self);
}

/* ---- checking ---- */
static mr_str refusal(const struct cassandra_sink *self, const struct engine_rows *rows,
                      const struct target_column *column, const char *why)
{
    return mr_arena_printf(rows->chunk->arena, "%.*s: %s",
                           MR_STR_ARG(self->host.bound->row->fields[column->index].name), why);
}
static bool is_null(const struct data_column *column, uint32_t row)
{
    return column->type->kind == DATA_NULL || !column->valid[row];
}
static void check_column(struct cassandra_sink *self, const struct engine_rows *rows,
                         const struct target_column *target, struct engine_rows_bad *bad)
{
    const struct data_column *column = rows->chunk->columns[target->index];
    bool single = self->key_count == 1;
    if (!target->fallible && !target->key)
        return;
    for (uint16_t i = 0; i < rows->chunk->row_count; i++) {
        uint16_t row = rows->chunk->rows[i];
        const char *why = NULL;
        if (is_null(column, row))
            continue;
        mr_buf_clear(&self->scratch);
        if (!engine_cassandra_value(&self->scratch, target->type, column, row, &why))
            engine_sink_refuse(bad, row, refusal(self, rows, target, why));
        else if (target->key && self->scratch.length > KEY_BYTES_MAX)
            engine_sink_refuse(bad, row,
                               refusal(self, rows, target, "a key of more than 65535 bytes"));
        else if (target->key && single && self->scratch.length == 0)
            engine_sink_refuse(bad, row, refusal(self, rows, target, "an empty key"));
    }
}
static void cassandra_check(struct engine_sink *sink, const struct engine_rows *rows,
                            struct engine_rows_bad *bad)
{
    struct cassandra_sink *self = mr_container(sink, struct cassandra_sink, sink);
    const struct target_column *columns = rows->deletes ? self->keys : self->columns;
    uint32_t count = rows->deletes ? self->key_count : self->column_count;
    for (uint32_t i = 0; i < count; i++)
        check_column(self, rows, &columns[i], bad);
}

/* ---- writing ---- */
struct encoding {
    const struct data_chunk *chunk;
    const struct target_column *columns;
    uint32_t count;
    uint16_t row;
};
static void encode(const void *context, struct mr_buf *out)
{
    const struct encoding *encoding = context;
    uint16_t row = encoding->row;
    for (uint32_t i = 0; i < encoding->count; i++) {
        const struct target_column *target = &encoding->columns[i];
        const struct data_column *column = encoding->chunk->columns[target->index];
        const char *why;
        size_t at = out->length;
        if (is_null(column, row)) {
            cql_write_value(out, CQL_VALUE_NULL);
            continue;
        }
        if (column->type->kind == DATA_STRING && target->type->id == CQL_TYPE_TEXT) {
            cql_write_value(out, cql_value_of(column->strs[row].data, column->strs[row].length));
            continue;
        }
        mr_buf_be32(out, 0);
        (void)engine_cassandra_value(out, target->type, column, row, &why); /* checked before */
        if (out->err == MR_OK)
            mr_buf_patch_be32(out, at, (uint32_t)(out->length - at - 4));
    }
}
static mr_err cassandra_write(struct engine_sink *sink, const struct engine_rows *rows,
                              struct engine_rows_bad *bad)
{
    struct cassandra_sink *self = mr_container(sink, struct cassandra_sink, sink);
    struct encoding encoding = {
        .chunk = rows->chunk,
        .columns = rows->deletes ? self->keys : self->columns,
        .count = rows->deletes ? self->key_count : self->column_count,
    };
    struct cql_request request = {.flags = CQL_TIMESTAMP,
                                  .value_count = (uint16_t)encoding.count,
                                  .encode = encode,
                                  .row = &encoding};
    for (uint16_t i = 0; i < rows->chunk->row_count; i++) {
        encoding.row = rows->chunk->rows[i];
        if (bad->bad[encoding.row])
            continue;
        request.timestamp_us = rows->times[encoding.row];
        self->group.pending++;
        cql_client_execute(self->client, rows->deletes ? self->erase : self->insert, &request,
                           cql_client_group_done, &self->group);
    }
    self->sink.full = !cql_client_room(self->client);
    return MR_OK;
}
static void finish_flush(struct cassandra_sink *self)
{
    mr_err err = self->group.err;
    if (!self->flushing)
        return;
    self->flushing = false;
    if (err != MR_OK) /* every value was checked: what it refuses now is the table, not the row */
        err = mr_fail(err == MR_INVALID ? MR_CONFLICT : err, "cassandra/%.*s.%.*s: %s",
                      MR_STR_ARG(self->keyspace), MR_STR_ARG(self->table),
                      self->group.why == NULL ? mr_err_text(err) : self->group.why);
    self->flush_done(self->flush_context, err);
}
static void on_group(struct cql_group *group)
{
    finish_flush(mr_container(group, struct cassandra_sink, group));
}
static void run_flushed(struct mr_task *task)
{
    struct cassandra_sink *self = mr_container(task, struct cassandra_sink, flushed);
    if (self->closed)
        cassandra_free(self);
    else if (self->group.pending == 0)
        finish_flush(self);
}
static void cassandra_flush(struct engine_sink *sink, engine_sink_done *done, void *context)
{
    struct cassandra_sink *self = mr_container(sink, struct cassandra_sink, sink);
    self->flush_done = done;
    self->flush_context = context;
    self->flushing = true;
    if (self->group.pending > 0)
        return; /* on_group() ends it */
    self->flushed.run = run_flushed;
    mr_loop_post(self->host.loop, &self->flushed);
}
const struct engine_sink_driver engine_sink_cassandra = {
    .word = "cassandra",
    .bind = cassandra_bind,
    .open = cassandra_open,
    .check = cassandra_check,
    .write = cassandra_write,
    .flush = cassandra_flush,
    .close = cassandra_close,
};
