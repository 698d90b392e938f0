/* capture/table.c: what a table looks like, out of PostgreSQL's catalogue and out of relation
 * messages, and its rows as keys and Avro values. */
#include "capture/table.h"

#include <stdio.h>

/* One row a column: name, declared type, base type, modifier, may be null, place in the key or -1,
 * whether the collation orders by code point, table's oid, replica identity, kind of relation, the
 * declared modifier. */
const char capture_table_sql[] =
    "SELECT a.attname, a.atttypid::int8, CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE "
    "a.atttypid "
    "END::int8, CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END, NOT (a.attnotnull "
    "OR "
    "t.typnotnull), coalesce(array_position(i.indkey::int2[], a.attnum), -1), CASE WHEN co.oid IS "
    "NULL "
    "THEN false WHEN co.collprovider = 'd' THEN (SELECT datcollate FROM pg_database WHERE datname "
    "= "
    "current_database()) ~* '^(C|POSIX|C[.]utf-?8)$' ELSE coalesce(co.collcollate, 'x') ~* "
    "'^(C|POSIX|C[.]utf-?8)$' END, c.oid::int8, c.relreplident, c.relkind, a.atttypmod "
    "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND "
    "a.attgenerated = '' JOIN pg_type t ON t.oid = a.atttypid "
    "LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary "
    "LEFT JOIN pg_collation co ON co.oid = a.attcollation "
    "WHERE n.nspname = $1 AND c.relname = $2 ORDER BY a.attnum";

enum {
    AT_NAME,
    AT_TYPE,
    AT_BASE,
    AT_MODIFIER,
    AT_NULLABLE,
    AT_KEY,
    AT_BYTES_ORDER,
    AT_OID,
    AT_IDENTITY,
    AT_KIND,
    AT_DECLARED_MODIFIER,
};

static struct capture_table *table_new(mr_str schema, mr_str name, size_t column_count)
{
    struct capture_table *table = mr_new(struct capture_table);
    mr_arena_init(&table->arena);
    table->schema = mr_arena_str(&table->arena, schema);
    table->name = mr_arena_str(&table->arena, name);
    table->columns = mr_arena_array(&table->arena, struct capture_column, column_count + 1);
    table->column_count = (uint16_t)column_count;
    return table;
}

void capture_table_free(struct capture_table *table)
{
    if (table == NULL)
        return;
    mr_arena_fini(&table->arena);
    mr_free(table);
}

/* ---- names and the schema ---- */
/* Avro's names are letters, digits and _; anything else becomes _. */
static void avro_name(struct mr_buf *out, mr_str name)
{
    for (size_t i = 0; i < name.length; i++) {
        char c = name.data[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        bool digit = c >= '0' && c <= '9';
        if (digit && i == 0)
            mr_buf_u8(out, '_');
        mr_buf_u8(out, letter || digit ? (uint8_t)c : '_');
    }
    if (name.length == 0)
        mr_buf_u8(out, '_');
}

/* Gives each column its name in Avro; a clash gets the column's number behind it. */
static void name_fields(struct capture_table *table)
{
    struct mr_buf name = {0};
    for (uint16_t i = 0; i < table->column_count; i++) {
        mr_buf_clear(&name);
        avro_name(&name, table->columns[i].name);
        for (uint16_t j = 0; j < i; j++) {
            if (!mr_str_equal_nocase(table->columns[j].field, mr_buf_as_str(&name)))
                continue;
            mr_buf_printf(&name, "_%u", i + 1);
            break;
        }
        table->columns[i].field = mr_arena_str(&table->arena, mr_buf_as_str(&name));
    }
    mr_buf_fini(&name);
}

static void print_schema(struct capture_table *table)
{
    struct mr_buf text = {0};
    mr_buf_cstr(&text, "{\"type\":\"record\",\"name\":\"");
    avro_name(&text, table->name);
    mr_buf_cstr(&text, "\",\"namespace\":\"");
    avro_name(&text, table->schema);
    mr_buf_cstr(&text, "\",\"fields\":[");
    for (uint16_t i = 0; i < table->column_count; i++) {
        const struct capture_column *column = &table->columns[i];
        mr_buf_printf(&text, "%s{\"name\":\"%.*s\",\"type\":", i == 0 ? "" : ",",
                      MR_STR_ARG(column->field));
        capture_types_avro(&text, column);
        mr_buf_cstr(&text, column->nullable ? ",\"default\":null}" : "}");
    }
    mr_buf_cstr(&text, "]}");
    table->avro = mr_arena_str(&table->arena, mr_buf_as_str(&text));
    mr_buf_fini(&text);
}

/* What follows from the columns and the key. */
static void table_finish(struct capture_table *table)
{
    table->ordered = true;
    for (uint16_t i = 0; i < table->key_count; i++) {
        struct capture_column *column = &table->columns[table->key[i]];
        table->ordered = table->ordered && capture_types_order(column) != CAPTURE_ORDER_NONE;
    }
    name_fields(table);
    print_schema(table);
}

/* ---- from the catalogue ---- */
static int64_t get_i64(const struct postgres_rows *rows, uint32_t row, uint32_t column)
{
    int64_t value = 0;
    mr_str_to_i64(postgres_rows_get(rows, row, column), &value);
    return value;
}

static bool get_bool(const struct postgres_rows *rows, uint32_t row, uint32_t column)
{
    return mr_str_equal(postgres_rows_get(rows, row, column), MR_STR("t"));
}

static mr_err read_column(struct capture_table *table, const struct postgres_rows *rows,
                          uint16_t row)
{
    struct capture_column *column = &table->columns[row];
    int64_t place = get_i64(rows, row, AT_KEY);
    column->name = mr_arena_str(&table->arena, postgres_rows_get(rows, row, AT_NAME));
    column->type_oid = (uint32_t)get_i64(rows, row, AT_TYPE);
    column->nullable = get_bool(rows, row, AT_NULLABLE);
    column->bytes_order = get_bool(rows, row, AT_BYTES_ORDER);
    capture_types_set(column, (uint32_t)get_i64(rows, row, AT_BASE),
                      (int32_t)get_i64(rows, row, AT_MODIFIER));
    column->type_modifier = (int32_t)get_i64(rows, row, AT_DECLARED_MODIFIER);
    if (place < 0)
        return MR_OK;
    if (place >= CAPTURE_KEY_MAX)
        return mr_fail(MR_UNSUPPORTED, "table %.*s.%.*s: expected at most %d key columns",
                       MR_STR_ARG(table->schema), MR_STR_ARG(table->name), CAPTURE_KEY_MAX);
    table->key[place] = row;
    if (table->key_count < place + 1)
        table->key_count = (uint16_t)(place + 1);
    return MR_OK;
}

mr_err capture_table_new(const struct postgres_rows *rows, mr_str table_name,
                         struct capture_table **out)
{
    mr_str schema, name, kind;
    uint32_t count = postgres_rows_count(rows);
    mr_err err = MR_OK;
    postgres_table_split(table_name, &schema, &name);
    if (count == 0)
        return mr_fail(MR_NOT_FOUND, "table %.*s: expected to find it in PostgreSQL, found none",
                       MR_STR_ARG(table_name));
    kind = postgres_rows_get(rows, 0, AT_KIND);
    if (!mr_str_equal(kind, MR_STR("r")))
        return mr_fail(MR_UNSUPPORTED, "%.*s: expected a table, found a %s", MR_STR_ARG(table_name),
                       mr_str_equal(kind, MR_STR("v"))   ? "view"
                       : mr_str_equal(kind, MR_STR("m")) ? "materialized view"
                       : mr_str_equal(kind, MR_STR("p")) ? "partitioned table"
                       : mr_str_equal(kind, MR_STR("f")) ? "foreign table"
                                                         : "relation of another kind");
    struct capture_table *table = table_new(schema, name, count);
    table->oid = (uint32_t)get_i64(rows, 0, AT_OID);
    table->identity = postgres_rows_get(rows, 0, AT_IDENTITY).data[0];
    for (uint16_t row = 0; row < count && err == MR_OK; row++)
        err = read_column(table, rows, row);
    if (err == MR_OK && table->key_count == 0)
        err = mr_fail(
            MR_UNSUPPORTED,
            "table %.*s: expected a primary key, found none: records need a "
            "key, and a snapshot needs an order; add one with ALTER TABLE ... ADD PRIMARY KEY",
            MR_STR_ARG(table_name));
    if (err != MR_OK) {
        capture_table_free(table);
        return err;
    }
    table_finish(table);
    *out = table;
    return MR_OK;
}

struct capture_table *capture_table_new_raw(mr_str table_name)
{
    static const struct {
        const char *name;
        uint32_t oid;
    } columns[] = {{"id", 20}, {"key", 25}, {"body", 3802}, {"fetched_at", 1184}};
    mr_str schema, name;
    postgres_table_split(table_name, &schema, &name);
    struct capture_table *table = table_new(schema, name, mr_count_of(columns));
    for (size_t i = 0; i < mr_count_of(columns); i++) {
        table->columns[i].name = mr_str_from(columns[i].name);
        table->columns[i].type_oid = columns[i].oid;
        table->columns[i].type_modifier = -1;
        capture_types_set(&table->columns[i], columns[i].oid, -1);
    }
    table->identity = 'f';
    table->key_count = 1;
    table_finish(table);
    return table;
}

/* ---- from a relation message ---- */
static const struct capture_column *find_column(const struct capture_table *table, mr_str name)
{
    for (uint16_t i = 0; i < table->column_count; i++)
        if (mr_str_equal(table->columns[i].name, name))
            return &table->columns[i];
    return NULL;
}

static bool same_column(const struct capture_column *column,
                        const struct capture_relation_column *told)
{
    return mr_str_equal(column->name, told->name) && column->type_oid == told->type_oid &&
           column->type_modifier == told->type_modifier;
}

bool capture_table_is_version(const struct capture_table *table,
                              const struct capture_message *relation)
{
    if (table->oid != relation->relation || table->column_count != relation->column_count ||
        table->identity != relation->identity || !mr_str_equal(table->name, relation->name) ||
        !mr_str_equal(table->schema, relation->schema))
        return false;
    for (uint16_t i = 0; i < table->column_count; i++)
        if (!same_column(&table->columns[i], &relation->columns[i]))
            return false;
    return true;
}

static mr_err copy_key(const struct capture_table *before, struct capture_table *table)
{
    table->key_count = before->key_count;
    for (uint16_t i = 0; i < before->key_count; i++) {
        const struct capture_column *old = &before->columns[before->key[i]];
        const struct capture_column *column = find_column(table, old->name);
        if (column == NULL)
            return mr_fail(MR_UNSUPPORTED, "table %.*s.%.*s: key column %.*s is gone",
                           MR_STR_ARG(table->schema), MR_STR_ARG(table->name),
                           MR_STR_ARG(old->name));
        table->key[i] = (uint16_t)(column - table->columns);
    }
    return MR_OK;
}

mr_err capture_table_new_version(const struct capture_table *before,
                                 const struct capture_message *relation, struct capture_table **out)
{
    struct capture_table *table = table_new(relation->schema, relation->name,
                                            relation->column_count);
    table->oid = relation->relation;
    table->identity = relation->identity;
    for (uint16_t i = 0; i < table->column_count; i++) {
        const struct capture_relation_column *told = &relation->columns[i];
        const struct capture_column *old = find_column(before, told->name);
        struct capture_column *column = &table->columns[i];
        if (old != NULL && same_column(old, told)) {
            *column = *old;
        } else {
            column->nullable = true; /* a relation message does not tell */
            column->type_oid = told->type_oid;
            column->bytes_order = old != NULL && old->bytes_order;
            column->type_modifier = told->type_modifier;
            capture_types_set(column, told->type_oid, told->type_modifier);
        }
        column->name = mr_arena_str(&table->arena, told->name);
    }
    mr_err err = copy_key(before, table);
    if (err != MR_OK) {
        capture_table_free(table);
        return err;
    }
    table_finish(table);
    *out = table;
    return MR_OK;
}

struct capture_table *capture_table_new_lenient(const struct capture_table *from)
{
    struct capture_table *table = table_new(from->schema, from->name, from->column_count);
    table->oid = from->oid;
    table->identity = from->identity;
    table->lenient = true;
    for (uint16_t i = 0; i < from->column_count; i++) {
        table->columns[i] = from->columns[i];
        table->columns[i].name = mr_arena_str(&table->arena, from->columns[i].name);
        table->columns[i].nullable = true;
    }
    table->key_count = from->key_count;
    memcpy(table->key, from->key, sizeof table->key);
    for (uint16_t i = 0; i < from->key_count; i++)
        table->columns[from->key[i]].nullable = from->columns[from->key[i]].nullable;
    table_finish(table);
    return table;
}

/* ---- rows ---- */
void capture_table_key(const struct capture_table *table, const mr_str *row, struct mr_buf *out)
{
    if (table->key_count == 1) {
        mr_buf_str(out, row[table->key[0]]);
        return;
    }
    for (uint16_t i = 0; i < table->key_count; i++) {
        mr_buf_u8(out, i == 0 ? '[' : ',');
        mr_buf_json(out, row[table->key[i]]);
    }
    mr_buf_u8(out, ']');
}

void capture_table_value(const struct capture_table *table, const mr_str *row, int32_t schema_id,
                         struct mr_buf *out)
{
    mr_buf_u8(out, 0);
    mr_buf_be32(out, (uint32_t)schema_id);
    for (uint16_t i = 0; i < table->column_count; i++)
        capture_types_write(out, &table->columns[i], row[i]);
}

static int compare_integers(mr_str a, mr_str b)
{
    int64_t left = 0, right = 0;
    mr_str_to_i64(a, &left);
    mr_str_to_i64(b, &right);
    return (left > right) - (left < right);
}

int capture_table_compare(const struct capture_table *table, const mr_str *row, const mr_str *key)
{
    int order = 0;
    mr_assert(table->ordered);
    for (uint16_t i = 0; i < table->key_count && order == 0; i++) {
        uint16_t at = table->key[i];
        order = capture_types_order(&table->columns[at]) == CAPTURE_ORDER_INTEGER
                    ? compare_integers(row[at], key[i])
                    : mr_str_compare(row[at], key[i]);
    }
    return order;
}

/* ---- SQL ---- */
static void print_columns(const struct capture_table *table, struct mr_buf *out)
{
    mr_buf_cstr(out, "SELECT ");
    for (uint16_t i = 0; i < table->column_count; i++) {
        mr_buf_cstr(out, i == 0 ? "" : ", ");
        postgres_quote_name(out, table->columns[i].name);
    }
    mr_buf_cstr(out, " FROM ONLY ");
    postgres_quote_name(out, table->schema);
    mr_buf_u8(out, '.');
    postgres_quote_name(out, table->name);
}

static void print_key(const struct capture_table *table, struct mr_buf *out)
{
    for (uint16_t i = 0; i < table->key_count; i++) {
        mr_buf_cstr(out, i == 0 ? "" : ", ");
        postgres_quote_name(out, table->columns[table->key[i]].name);
    }
}

static void print_condition(const struct capture_table *table, const char *operator_text,
                            struct mr_buf *out)
{
    mr_buf_cstr(out, " WHERE (");
    print_key(table, out);
    mr_buf_printf(out, ") %s (", operator_text);
    for (uint16_t i = 0; i < table->key_count; i++)
        mr_buf_printf(out, "%s$%u", i == 0 ? "" : ", ", i + 1);
    mr_buf_u8(out, ')');
}

void capture_table_chunk_sql(const struct capture_table *table, bool from_start, uint32_t limit,
                             struct mr_buf *out)
{
    print_columns(table, out);
    if (!from_start)
        print_condition(table, ">", out);
    mr_buf_cstr(out, " ORDER BY ");
    print_key(table, out);
    mr_buf_printf(out, " LIMIT %u", limit);
}

void capture_table_lookup_sql(const struct capture_table *table, struct mr_buf *out)
{
    print_columns(table, out);
    print_condition(table, "=", out);
}

/* ---- the shape that others see ---- */
void capture_table_shape(const struct capture_table *table, struct mr_arena *arena,
                         struct capture_shape *out)
{
    struct data_field *fields = mr_arena_array(arena, struct data_field, table->column_count + 1);
    for (uint16_t i = 0; i < table->column_count; i++)
        fields[i] = (struct data_field){
            .name = table->columns[i].field,
            .type = capture_types_spark(arena, &table->columns[i]),
            .nullable = table->columns[i].nullable,
        };
    out->spark = data_type_struct(arena, fields, table->column_count);
    out->avro = mr_arena_str(arena, table->avro);
    out->key_count = table->key_count;
    out->key = mr_arena_array(arena, mr_str, table->key_count + 1);
    for (uint16_t i = 0; i < table->key_count; i++)
        out->key[i] = mr_arena_str(arena, table->columns[table->key[i]].name);
    out->exists = true;
}

void capture_shape_raw(struct mr_arena *arena, mr_str table, struct capture_shape *out)
{
    struct capture_table *raw = capture_table_new_raw(table);
    capture_table_shape(raw, arena, out);
    out->exists = false;
    capture_table_free(raw);
}
