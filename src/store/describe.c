/* store/describe.c: the schema as CQL text, as Cassandra 5.0 writes it. */
#include "store/system.h"

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

/* ---- the DESCRIBE statement ---- */
static const char *const element_names[] = {"keyspace_name", "type", "name", "create_statement"};
static const char *const cluster_names[] = {"cluster", "partitioner", "snitch", "range_ownership"};

static bool lists_names(mr_str what)
{
    static const char *const lists[] = {"keyspaces", "tables",    "columnfamilies",
                                        "types",     "functions", "aggregates"};
    for (size_t i = 0; i < mr_count_of(lists); i++)
        if (mr_str_equal(what, mr_str_from(lists[i])))
            return true;
    return false;
}

static uint32_t fill_columns(struct mr_arena *arena, const struct store_statement *statement,
                             bool has_keyspace, struct cql_column *columns)
{
    bool cluster = mr_str_equal(statement->describe, MR_STR("cluster"));
    uint32_t count = cluster ? (has_keyspace ? 4 : 3) : lists_names(statement->describe) ? 3 : 4;
    const struct cql_type *text = cql_type_scalar(CQL_TYPE_TEXT);
    for (uint32_t i = 0; i < count; i++) {
        columns[i].keyspace = MR_STR("system");
        columns[i].table = MR_STR("describe");
        columns[i].name = mr_str_from(cluster ? cluster_names[i] : element_names[i]);
        columns[i].type = cluster && i == 3 ? cql_type_map(arena, text, cql_type_list(arena, text))
                                            : text;
    }
    return count;
}

struct describer {
    struct mr_buf *out;
    uint32_t rows;
    bool names_only, internals;
};

static void add_row(struct describer *describer, mr_str keyspace, const char *type, mr_str name,
                    mr_str text)
{
    struct mr_buf quoted = {0};
    store_print_name(&quoted, keyspace);
    cql_write_long_string(describer->out, mr_buf_as_str(&quoted));
    cql_write_long_string(describer->out, mr_str_from(type));
    mr_buf_clear(&quoted);
    store_print_name(&quoted, name);
    cql_write_long_string(describer->out, mr_buf_as_str(&quoted));
    if (!describer->names_only)
        cql_write_long_string(describer->out, text);
    describer->rows++;
    mr_buf_fini(&quoted);
}

static void add_table(struct describer *describer, const struct store_table *table)
{
    struct mr_buf text = {0};
    if (!describer->names_only)
        store_table_print(&text, table, describer->internals);
    add_row(describer, table->keyspace, "table", table->name, mr_buf_as_str(&text));
    mr_buf_fini(&text);
}

static void add_keyspace(struct describer *describer, struct mr_arena *arena,
                         const struct store_keyspace *keyspace, bool itself, bool tables)
{
    struct mr_buf text = {0};
    size_t count = 0;
    store_keyspace_print(&text, keyspace);
    if (itself)
        add_row(describer, keyspace->name, "keyspace", keyspace->name, mr_buf_as_str(&text));
    struct store_table **list = store_keyspace_sorted(keyspace, arena, &count);
    for (size_t i = 0; tables && i < count; i++)
        add_table(describer, list[i]);
    mr_buf_fini(&text);
}

static void describe_all(struct describer *describer, const struct store_system *system,
                         struct mr_arena *arena, mr_str keyspace,
                         const struct store_statement *statement)
{
    size_t count = 0;
    struct store_keyspace **list = store_schema_sorted(system->schema, arena, &count);
    mr_str what = statement->describe;
    bool schema = mr_str_equal(what, MR_STR("schema")),
         names = mr_str_equal(what, MR_STR("keyspaces"));
    bool tables = mr_str_equal(what, MR_STR("tables")) ||
                  mr_str_equal(what, MR_STR("columnfamilies"));
    for (size_t i = 0; i < count; i++) {
        if (schema && list[i]->is_system && !statement->describe_full)
            continue;
        if (!schema && !names && keyspace.length > 0 && !mr_str_equal(list[i]->name, keyspace))
            continue;
        add_keyspace(describer, arena, list[i], schema || names, schema || tables);
    }
}

static mr_err describe_one(struct describer *describer, const struct store_system *system,
                           struct mr_arena *arena, mr_str keyspace,
                           const struct store_statement *statement, struct store_fault *fault)
{
    const struct store_name *name = &statement->target;
    mr_str what = statement->describe;
    bool table_only = mr_str_equal(what, MR_STR("table")) ||
                      mr_str_equal(what, MR_STR("columnfamily"));
    bool keyspace_only = mr_str_equal(what, MR_STR("keyspace"));
    struct store_keyspace *found = NULL;
    if (keyspace_only && name->name.length == 0 && keyspace.length == 0)
        return store_fail(fault, CQL_ERROR_INVALID,
                          "No keyspace specified and no current keyspace");
    mr_str wanted = name->name.length == 0 ? keyspace : name->name;
    if (!table_only && name->keyspace.data == NULL)
        found = store_schema_keyspace(system->schema, wanted);
    if (found != NULL) {
        add_keyspace(describer, arena, found, true, true);
        return MR_OK;
    }
    if (keyspace_only)
        return store_fail(fault, CQL_ERROR_INVALID, "'%.*s' not found in keyspaces",
                          MR_STR_ARG(wanted));
    mr_str of = name->keyspace.data != NULL ? name->keyspace : keyspace;
    if (of.length == 0)
        return table_only ? store_fail(fault, CQL_ERROR_INVALID,
                                       "No keyspace specified and no current keyspace")
                          : store_fail(fault, CQL_ERROR_INVALID, "'%.*s' not found in keyspaces",
                                       MR_STR_ARG(wanted));
    if (store_schema_keyspace(system->schema, of) == NULL)
        return store_fail(fault, CQL_ERROR_INVALID, "'%.*s' not found in keyspaces",
                          MR_STR_ARG(of));
    const struct store_table *table = store_schema_table(system->schema, of, wanted);
    if (table != NULL && (table_only || what.length == 0)) {
        add_table(describer, table);
        return MR_OK;
    }
    return store_fail(fault, CQL_ERROR_INVALID,
                      table_only ? "Table '%.*s' not found in keyspace '%.*s'"
                                 : "'%.*s' not found in keyspace '%.*s'",
                      MR_STR_ARG(wanted), MR_STR_ARG(of));
}

static void describe_cluster(struct describer *describer, const struct store_system *system,
                             bool has_keyspace)
{
    struct mr_buf owners = {0}, list = {0};
    cql_write_long_string(describer->out, MR_STR("Millrace"));
    cql_write_long_string(describer->out, MR_STR("Murmur3Partitioner"));
    cql_write_long_string(describer->out, MR_STR("DynamicEndpointSnitch"));
    describer->rows = 1;
    if (!has_keyspace)
        return;
    mr_buf_be32(&list, 1);
    struct mr_buf owner = {0};
    mr_buf_printf(&owner, "/%s:7000", system->address);
    cql_write_long_string(&list, mr_buf_as_str(&owner));
    mr_buf_be32(&owners, STORE_TOKENS);
    for (int i = 0; i < STORE_TOKENS; i++) {
        mr_buf_clear(&owner);
        mr_buf_printf(&owner, "%lld", (long long)store_token(i));
        cql_write_long_string(&owners, mr_buf_as_str(&owner));
        cql_write_long_string(&owners, mr_buf_as_str(&list));
    }
    cql_write_long_string(describer->out, mr_buf_as_str(&owners));
    mr_buf_fini(&owner);
    mr_buf_fini(&owners);
    mr_buf_fini(&list);
}

mr_err store_describe(const struct store_system *system, struct mr_arena *arena, mr_str keyspace,
                      const struct store_statement *statement, struct store_fault *fault,
                      struct mr_buf *out)
{
    struct cql_column columns[4];
    struct mr_buf rows = {0};
    struct describer describer = {.out = &rows,
                                  .names_only = lists_names(statement->describe),
                                  .internals = statement->describe_internals};
    struct cql_metadata metadata = {.columns = columns, .paging_state = CQL_VALUE_NULL};
    mr_err err = MR_OK;
    metadata.column_count = fill_columns(arena, statement, keyspace.length > 0, columns);
    if (mr_str_equal(statement->describe, MR_STR("cluster")))
        describe_cluster(&describer, system, keyspace.length > 0);
    else if (describer.names_only || mr_str_equal(statement->describe, MR_STR("schema")))
        describe_all(&describer, system, arena, keyspace, statement);
    else
        err = describe_one(&describer, system, arena, keyspace, statement, fault);
    if (err == MR_OK) {
        mr_buf_be32(out, CQL_RESULT_ROWS);
        cql_metadata_write(out, &metadata, false);
        mr_buf_be32(out, describer.rows);
        mr_buf_str(out, mr_buf_as_str(&rows));
    }
    mr_buf_fini(&rows);
    return err;
}
