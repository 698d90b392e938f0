/* store/describe.c: the schema as CQL text, as Cassandra 5.0 writes it. */
#include "store/schema.h"

static void print_quoted(struct mr_buf *out, mr_str text)
{
    mr_buf_u8(out, '\'');
    for (size_t i = 0; i < text.length; i++) {
        if (text.data[i] == '\'')
            mr_buf_u8(out, '\'');
        mr_buf_u8(out, (uint8_t)text.data[i]);
    }
    mr_buf_u8(out, '\'');
}

static void print_pairs(struct mr_buf *out, struct cql_pairs pairs, bool short_first)
{
    mr_buf_u8(out, '{');
    for (size_t i = 0; i < pairs.count; i++) {
        if (i > 0)
            mr_buf_cstr(out, ", ");
        print_quoted(out, pairs.items[i].key);
        mr_buf_cstr(out, ": ");
        print_quoted(out, short_first && i == 0 ? store_short_class(pairs.items[i].value)
                                                : pairs.items[i].value);
    }
    mr_buf_u8(out, '}');
}

void store_keyspace_print(struct mr_buf *out, const struct store_keyspace *keyspace)
{
    mr_buf_cstr(out, "CREATE KEYSPACE ");
    store_print_name(out, keyspace->name);
    mr_buf_cstr(out, " WITH replication = ");
    print_pairs(out, keyspace->replication, true);
    mr_buf_printf(out, "  AND durable_writes = %s;", keyspace->durable_writes ? "true" : "false");
}

static void print_key_names(struct mr_buf *out, const struct store_column *columns, uint16_t count)
{
    for (uint16_t i = 0; i < count; i++) {
        if (i > 0)
            mr_buf_cstr(out, ", ");
        store_print_name(out, columns[i].name);
    }
}

static void print_columns(struct mr_buf *out, const struct store_table *table)
{
    bool single = table->partition_count == 1 && table->clustering_count == 0;
    for (uint16_t i = 0; i < table->column_count; i++) {
        const struct store_column *column = &table->columns[i];
        mr_buf_cstr(out, "    ");
        store_print_name(out, column->name);
        mr_buf_u8(out, ' ');
        cql_type_print(out, column->type);
        if (column->kind == STORE_COLUMN_STATIC)
            mr_buf_cstr(out, " static");
        if (single && i == 0)
            mr_buf_cstr(out, " PRIMARY KEY");
        mr_buf_cstr(out, single && i + 1 == table->column_count ? "\n" : ",\n");
    }
    if (single)
        return;
    mr_buf_cstr(out, "    PRIMARY KEY (");
    if (table->partition_count > 1)
        mr_buf_u8(out, '(');
    print_key_names(out, table->columns, table->partition_count);
    if (table->partition_count > 1)
        mr_buf_u8(out, ')');
    if (table->clustering_count > 0)
        mr_buf_cstr(out, ", ");
    print_key_names(out, table->columns + table->partition_count, table->clustering_count);
    mr_buf_cstr(out, ")\n");
}

static void print_order(struct mr_buf *out, const struct store_table *table)
{
    mr_buf_cstr(out, "CLUSTERING ORDER BY (");
    for (uint16_t i = 0; i < table->clustering_count; i++) {
        const struct store_column *column = &table->columns[table->partition_count + i];
        if (i > 0)
            mr_buf_cstr(out, ", ");
        store_print_name(out, column->name);
        mr_buf_cstr(out, column->descending ? " DESC" : " ASC");
    }
    mr_buf_cstr(out, ")\n    AND ");
}

void store_table_print(struct mr_buf *out, const struct store_table *table, bool internals)
{
    mr_buf_cstr(out, "CREATE TABLE ");
    store_print_name(out, table->keyspace);
    mr_buf_u8(out, '.');
    store_print_name(out, table->name);
    mr_buf_cstr(out, " (\n");
    print_columns(out, table);
    mr_buf_cstr(out, ") WITH ");
    if (internals) {
        char uuid[37];
        mr_uuid_format(&table->uuid, uuid);
        mr_buf_printf(out, "ID = %s\n    AND ", uuid);
    }
    if (table->clustering_count > 0)
        print_order(out, table);
    for (size_t i = 0; i < STORE_OPTION_COUNT; i++) {
        const struct store_option *option = &table->options[i];
        mr_buf_printf(out, "%s%.*s = ", i == 0 ? "" : "\n    AND ", MR_STR_ARG(option->name));
        if (option->kind == STORE_TERM_MAP)
            print_pairs(out, option->pairs, false);
        else if (option->kind == STORE_TERM_STRING)
            print_quoted(out, option->text);
        else
            mr_buf_str(out, option->text);
    }
    mr_buf_u8(out, ';');
}
