/* store/system.c: the system tables: definitions from system_tables.def, rows by the functions here. */
#include "store/system.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

struct maker {
    const struct store_system *system;
    struct mr_arena *arena;
    const struct store_table *table;
    MR_ARRAY(struct cql_value) values;
    struct cql_value *row;
    uint32_t count;
};
struct store_virtual {
    const char *keyspace, *table;
    void (*make)(struct maker *maker);
};

/* ---- making a row ---- */
static void new_row(struct maker *maker)
{
    for (uint16_t i = 0; i < maker->table->column_count; i++)
        *mr_array_add(&maker->values) = CQL_VALUE_NULL;
    maker->row = maker->values.items + maker->values.count - maker->table->column_count;
    maker->count++;
}

static void set(struct maker *maker, const char *name, struct cql_value value)
{
    const struct store_column *column = store_table_column(maker->table, mr_str_from(name));
    mr_assert(column != NULL);
    maker->row[column->index] = value;
}

static void set_text(struct maker *maker, const char *name, mr_str text)
{
    set(maker, name, store_value_text(maker->arena, text));
}

static void set_cstr(struct maker *maker, const char *name, const char *text)
{
    set_text(maker, name, mr_str_from(text));
}

static void set_int(struct maker *maker, const char *name, int32_t value)
{
    set(maker, name, store_value_i32(maker->arena, value));
}

static void set_long(struct maker *maker, const char *name, int64_t value)
{
    set(maker, name, store_value_i64(maker->arena, value));
}

static void set_double(struct maker *maker, const char *name, double value)
{
    int64_t bits;
    memcpy(&bits, &value, 8);
    set_long(maker, name, bits);
}

static void set_bool(struct maker *maker, const char *name, bool value)
{
    set_text(maker, name, value ? MR_STR("\x01") : mr_str_of("\0", 1));
}

static void set_uuid(struct maker *maker, const char *name, const mr_uuid *uuid)
{
    set_text(maker, name, mr_str_of(uuid->bytes, 16));
}

static void set_inet(struct maker *maker, const char *name, const char *address)
{
    uint8_t bytes[16];
    if (inet_pton(AF_INET, address, bytes) == 1)
        set_text(maker, name, mr_str_of(bytes, 4));
    else if (inet_pton(AF_INET6, address, bytes) == 1)
        set_text(maker, name, mr_str_of(bytes, 16));
}

static void set_pairs(struct maker *maker, const char *name, struct cql_pairs pairs)
{
    struct mr_buf bytes = {0};
    mr_buf_be32(&bytes, (uint32_t)pairs.count);
    for (size_t i = 0; i < pairs.count; i++) {
        cql_write_long_string(&bytes, pairs.items[i].key);
        cql_write_long_string(&bytes, pairs.items[i].value);
    }
    set_text(maker, name, mr_buf_as_str(&bytes));
    mr_buf_fini(&bytes);
}

static void set_list(struct maker *maker, const char *name, const mr_str *items, size_t count)
{
    struct mr_buf bytes = {0};
    mr_buf_be32(&bytes, (uint32_t)count);
    for (size_t i = 0; i < count; i++)
        cql_write_long_string(&bytes, items[i]);
    set_text(maker, name, mr_buf_as_str(&bytes));
    mr_buf_fini(&bytes);
}

/* ---- system ---- */
static int by_text(const void *a, const void *b)
{
    return mr_str_compare(*(const mr_str *)a, *(const mr_str *)b);
}

static void make_local(struct maker *maker)
{
    const struct store_system *system = maker->system;
    mr_str tokens[STORE_TOKENS];
    for (int i = 0; i < STORE_TOKENS; i++)
        tokens[i] = mr_arena_printf(maker->arena, "%lld", (long long)store_token(i));
    qsort(tokens, STORE_TOKENS, sizeof(*tokens), by_text);
    new_row(maker);
    set_cstr(maker, "key", "local");
    set_cstr(maker, "bootstrapped", "COMPLETED");
    set_inet(maker, "broadcast_address", system->address);
    set_int(maker, "broadcast_port", 7000);
    set_cstr(maker, "cluster_name", "Millrace");
    set_cstr(maker, "cql_version", "3.4.7");
    set_cstr(maker, "data_center", "datacenter1");
    set_int(maker, "gossip_generation", (int32_t)(system->started_us / 1000000));
    set_uuid(maker, "host_id", &system->host_id);
    set_inet(maker, "listen_address", system->address);
    set_int(maker, "listen_port", 7000);
    set_cstr(maker, "native_protocol_version", "4");
    set_cstr(maker, "partitioner", "org.apache.cassandra.dht.Murmur3Partitioner");
    set_cstr(maker, "rack", "rack1");
    set_cstr(maker, "release_version", "5.0.0");
    set_inet(maker, "rpc_address", system->address);
    set_int(maker, "rpc_port", system->port);
    set_uuid(maker, "schema_version", &system->schema->version);
    set_list(maker, "tokens", tokens, STORE_TOKENS);
}

static void make_nothing(struct maker *maker)
{
    (void)maker;
}

/* ---- system_schema ---- */
static struct store_keyspace **keyspaces(struct maker *maker, size_t *count)
{
    return store_schema_sorted(maker->system->schema, maker->arena, count);
}

static bool is_shown(const struct maker *maker, const struct store_keyspace *keyspace)
{
    bool virtual_schema = mr_str_equal(maker->table->keyspace, MR_STR("system_virtual_schema"));
    return keyspace->is_virtual == virtual_schema;
}

static void make_keyspaces(struct maker *maker)
{
    size_t count = 0;
    struct store_keyspace **list = keyspaces(maker, &count);
    for (size_t i = 0; i < count; i++) {
        if (!is_shown(maker, list[i]))
            continue;
        new_row(maker);
        set_text(maker, "keyspace_name", list[i]->name);
        if (list[i]->is_virtual)
            continue;
        set_bool(maker, "durable_writes", list[i]->durable_writes);
        set_pairs(maker, "replication", list[i]->replication);
    }
}

static void set_option(struct maker *maker, const struct store_option *option)
{
    const char *name = mr_arena_cstr(maker->arena, option->name);
    const struct store_column *column = store_table_column(maker->table, option->name);
    double real = 0;
    int64_t whole = 0;
    if (option->kind == STORE_TERM_MAP) {
        set_pairs(maker, name, option->pairs);
    } else if (column->type->id == CQL_TYPE_DOUBLE) {
        (void)mr_str_to_f64(option->text, &real);
        set_double(maker, name, real);
    } else if (column->type->id == CQL_TYPE_INT) {
        (void)mr_str_to_i64(option->text, &whole);
        set_int(maker, name, (int32_t)whole);
    } else if (column->type->id == CQL_TYPE_BOOLEAN) {
        bool usual = !mr_str_equal(option->name, MR_STR("cdc"));
        bool said = mr_str_equal(option->text, MR_STR("true"));
        if (said != usual)
            set_bool(maker, name, said); /* null is the default, as it is there */
    } else if (!mr_str_equal(option->name, MR_STR("memtable")) ||
               !mr_str_equal(option->text, MR_STR("default"))) {
        set_text(maker, name, option->text);
    }
}

static void make_table(struct maker *maker, const struct store_table *table)
{
    static const mr_str compound[] = {{"compound", 8}},
                        counter[] = {{"compound", 8}, {"counter", 7}};
    new_row(maker);
    set_text(maker, "keyspace_name", table->keyspace);
    set_text(maker, "table_name", table->name);
    if (mr_str_equal(maker->table->keyspace, MR_STR("system_virtual_schema"))) {
        set_text(maker, "comment", table->options[STORE_OPTION_comment].text);
        return;
    }
    for (size_t i = 0; i < STORE_OPTION_COUNT; i++)
        set_option(maker, &table->options[i]);
    set_double(maker, "dclocal_read_repair_chance", 0);
    set_double(maker, "read_repair_chance", 0);
    set_list(maker, "flags", table->is_counter ? counter : compound, table->is_counter ? 2 : 1);
    set_uuid(maker, "id", &table->uuid);
}

static void make_column(struct maker *maker, const struct store_table *table,
                        const struct store_column *column)
{
    static const char *const kinds[] = {"partition_key", "clustering", "static", "regular"};
    struct mr_buf type = {0};
    bool key = column->kind <= STORE_COLUMN_CLUSTERING;
    new_row(maker);
    set_text(maker, "keyspace_name", table->keyspace);
    set_text(maker, "table_name", table->name);
    set_text(maker, "column_name", column->name);
    set_cstr(maker, "clustering_order",
             column->kind != STORE_COLUMN_CLUSTERING ? "none"
             : column->descending                    ? "desc"
                                                     : "asc");
    set_text(maker, "column_name_bytes", column->name);
    set_cstr(maker, "kind", kinds[column->kind]);
    set_int(maker, "position", key ? column->position : -1);
    cql_type_print(&type, column->type);
    set_text(maker, "type", mr_buf_as_str(&type));
    mr_buf_fini(&type);
}

static int by_name(const void *a, const void *b)
{
    return mr_str_compare((*(const struct store_column *const *)a)->name,
                          (*(const struct store_column *const *)b)->name);
}

static void make_columns_of(struct maker *maker, const struct store_table *table)
{
    const struct store_column **list = mr_arena_array(maker->arena, const struct store_column *,
                                                      table->column_count);
    for (uint16_t i = 0; i < table->column_count; i++)
        list[i] = &table->columns[i];
    qsort(list, table->column_count, sizeof(*list), by_name);
    for (uint16_t i = 0; i < table->column_count; i++)
        make_column(maker, table, list[i]);
}

static void each_table(struct maker *maker,
                       void (*make)(struct maker *maker, const struct store_table *table))
{
    size_t count = 0, table_count = 0;
    struct store_keyspace **list = keyspaces(maker, &count);
    for (size_t i = 0; i < count; i++) {
        if (!is_shown(maker, list[i]))
            continue;
        struct store_table **tables = store_keyspace_sorted(list[i], maker->arena, &table_count);
        for (size_t j = 0; j < table_count; j++)
            make(maker, tables[j]);
    }
}

static void make_tables(struct maker *maker)
{
    each_table(maker, make_table);
}

static void make_columns(struct maker *maker)
{
    each_table(maker, make_columns_of);
}

/* ---- sizes ---- */
static void make_estimate(struct maker *maker, const struct store_table *table, const char *type)
{
    const struct store_estimate *found = NULL;
    for (size_t i = 0; i < maker->system->estimate_count && found == NULL; i++)
        if (maker->system->estimates[i].table_id == table->id)
            found = &maker->system->estimates[i];
    for (int i = 0; found != NULL && i < STORE_RANGES; i++) {
        int64_t start, end;
        store_token_range(i, &start, &end);
        new_row(maker);
        set_text(maker, "keyspace_name", table->keyspace);
        set_text(maker, "table_name", table->name);
        if (type != NULL)
            set_cstr(maker, "range_type", type);
        set_text(maker, "range_start", mr_arena_printf(maker->arena, "%lld", (long long)start));
        set_text(maker, "range_end", mr_arena_printf(maker->arena, "%lld", (long long)end));
        set_long(maker, "mean_partition_size", found->ranges[i].partition_bytes);
        set_long(maker, "partitions_count", found->ranges[i].partitions);
    }
}

static void make_size_estimate(struct maker *maker, const struct store_table *table)
{
    make_estimate(maker, table, NULL);
}

static void make_table_estimate(struct maker *maker, const struct store_table *table)
{
    make_estimate(maker, table, "local_primary");
    make_estimate(maker, table, "primary");
}

static void make_size_estimates(struct maker *maker)
{
    each_table(maker, make_size_estimate);
}

static void make_table_estimates(struct maker *maker)
{
    each_table(maker, make_table_estimate);
}

/* ---- the rest ---- */
static void make_roles(struct maker *maker)
{
    new_row(maker);
    set_cstr(maker, "role", "cassandra");
    set_bool(maker, "can_login", true);
    set_bool(maker, "is_superuser", true);
}

static void make_sessions(struct maker *maker)
{
    for (size_t i = 0; maker->system->traces != NULL && i < STORE_TRACES; i++) {
        const struct store_trace *trace = &maker->system->traces[i];
        if (trace->started_us == 0)
            continue;
        struct cql_pair query[] = {{MR_STR("query"), mr_str_from(trace->query)}};
        new_row(maker);
        set_uuid(maker, "session_id", &trace->id);
        set_inet(maker, "client", trace->client);
        set_cstr(maker, "command", "QUERY");
        set_inet(maker, "coordinator", maker->system->address);
        set_int(maker, "coordinator_port", maker->system->port);
        set_int(maker, "duration", (int32_t)trace->duration_us);
        set_cstr(maker, "request", trace->request);
        set_long(maker, "started_at", trace->started_us / 1000);
        set_pairs(maker, "parameters", (struct cql_pairs){query, 1});
    }
}

static void make_events(struct maker *maker)
{
    for (size_t i = 0; maker->system->traces != NULL && i < STORE_TRACES; i++) {
        const struct store_trace *trace = &maker->system->traces[i];
        if (trace->started_us == 0)
            continue;
        new_row(maker);
        set_uuid(maker, "session_id", &trace->id);
        set_uuid(maker, "event_id", &trace->event);
        set_cstr(maker, "activity", "Answered");
        set_inet(maker, "source", maker->system->address);
        set_int(maker, "source_elapsed", (int32_t)trace->duration_us);
        set_int(maker, "source_port", maker->system->port);
        set_cstr(maker, "thread", "store");
    }
}

static void make_clients(struct maker *maker)
{
    for (size_t i = 0; i < maker->system->client_count; i++) {
        const struct store_client *client = &maker->system->clients[i];
        new_row(maker);
        set_inet(maker, "address", client->address);
        set_int(maker, "port", client->port);
        set_cstr(maker, "connection_stage", "ready");
        if (client->driver_name[0] != '\0')
            set_cstr(maker, "driver_name", client->driver_name);
        if (client->driver_version[0] != '\0')
            set_cstr(maker, "driver_version", client->driver_version);
        set_cstr(maker, "hostname", client->address);
        if (client->keyspace[0] != '\0')
            set_cstr(maker, "keyspace_name", client->keyspace);
        set_int(maker, "protocol_version", CQL_VERSION);
        set_long(maker, "request_count", client->request_count);
        set_bool(maker, "ssl_enabled", false);
        set_cstr(maker, "username", "anonymous");
    }
}

static void make_settings(struct maker *maker)
{
    static const char *const rows[][2] = {
        {"cluster_name", "Millrace"},
        {"commitlog_sync", "group"},
        {"partitioner", "org.apache.cassandra.dht.Murmur3Partitioner"},
        {"num_tokens", "16"},
        {"authenticator", "AllowAllAuthenticator"},
        {"authorizer", "AllowAllAuthorizer"}};
    for (size_t i = 0; i < mr_count_of(rows); i++) {
        new_row(maker);
        set_cstr(maker, "name", rows[i][0]);
        set_cstr(maker, "value", rows[i][1]);
    }
}

/* Tables that are not here have no rows. */
static const struct store_virtual generators[] = {
    {"system", "local", make_local},
    {"system", "size_estimates", make_size_estimates},
    {"system", "table_estimates", make_table_estimates},
    {"system_schema", "keyspaces", make_keyspaces},
    {"system_schema", "tables", make_tables},
    {"system_schema", "columns", make_columns},
    {"system_virtual_schema", "keyspaces", make_keyspaces},
    {"system_virtual_schema", "tables", make_tables},
    {"system_virtual_schema", "columns", make_columns},
    {"system_auth", "roles", make_roles},
    {"system_traces", "sessions", make_sessions},
    {"system_traces", "events", make_events},
    {"system_views", "clients", make_clients},
    {"system_views", "settings", make_settings},
};
static const struct store_virtual no_rows = {"", "", make_nothing};

const struct store_virtual_rows *store_system_rows(const struct store_system *system,
                                                   struct mr_arena *arena,
                                                   const struct store_table *table)
{
    struct maker maker = {.system = system, .arena = arena, .table = table};
    table->virtual_rows->make(&maker);
    struct store_virtual_rows *rows = mr_arena_new(arena, struct store_virtual_rows);
    struct cql_value *values = mr_arena_array(arena, struct cql_value, maker.values.count + 1);
    if (maker.values.count > 0)
        memcpy(values, maker.values.items, maker.values.count * sizeof(*values));
    rows->values = values;
    rows->count = maker.count;
    mr_array_fini(&maker.values);
    return rows;
}

/* ---- definitions ---- */
static struct store_keyspace *system_keyspace(struct store_schema *schema, mr_str name)
{
    struct store_keyspace *keyspace = store_schema_keyspace(schema, name);
    struct store_statement statement = {.target = {MR_STR_NULL, name}};
    struct store_fault fault = {0};
    bool shared = mr_str_equal(name, MR_STR("system_traces")) ||
                  mr_str_equal(name, MR_STR("system_auth"));
    struct cql_pair pairs[] = {
        {MR_STR("class"), shared ? MR_STR("SimpleStrategy") : MR_STR("LocalStrategy")},
        {MR_STR("replication_factor"),
         mr_str_equal(name, MR_STR("system_traces")) ? MR_STR("2") : MR_STR("1")}};
    struct store_option option = {
        .name = MR_STR("replication"), .kind = STORE_TERM_MAP, .pairs = {pairs, shared ? 2 : 1}};
    if (keyspace != NULL)
        return keyspace;
    statement.options = &option;
    statement.option_count = 1;
    mr_err err = store_keyspace_define(schema, &statement, &fault, &keyspace);
    mr_assert(err == MR_OK);
    keyspace->is_system = true;
    keyspace->is_virtual = mr_str_equal(name, MR_STR("system_virtual_schema")) ||
                           mr_str_equal(name, MR_STR("system_views"));
    return keyspace;
}

static void define_table(struct store_schema *schema, mr_str keyspace, mr_str name, mr_str columns,
                         mr_str comment)
{
    struct mr_arena arena;
    struct store_fault fault = {0};
    struct store_statement *statement = NULL;
    struct store_table *table = NULL;
    mr_arena_init(&arena);
    mr_str text = mr_arena_printf(
        &arena, "CREATE TABLE \"%.*s\".\"%.*s\" (%.*s) WITH comment = '%.*s'", MR_STR_ARG(keyspace),
        MR_STR_ARG(name), MR_STR_ARG(columns), MR_STR_ARG(comment));
    mr_err err = store_parse(&arena, text, &fault, &statement);
    if (err == MR_OK)
        err = store_table_define(statement, keyspace, 0, &fault, &table);
    mr_assert(err == MR_OK);
    table->virtual_rows = &no_rows;
    for (size_t i = 0; i < mr_count_of(generators); i++)
        if (mr_str_equal(keyspace, mr_str_from(generators[i].keyspace)) &&
            mr_str_equal(name, mr_str_from(generators[i].table)))
            table->virtual_rows = &generators[i];
    mr_str id = mr_arena_printf(&arena, "%.*s.%.*s", MR_STR_ARG(keyspace), MR_STR_ARG(name));
    mr_md5(id.data, id.length, table->uuid.bytes);
    table->uuid.bytes[6] = (uint8_t)((table->uuid.bytes[6] & 0x0f) | 0x30);
    table->uuid.bytes[8] = (uint8_t)((table->uuid.bytes[8] & 0x3f) | 0x80);
    store_keyspace_put(system_keyspace(schema, keyspace), table);
    mr_arena_fini(&arena);
}

void store_system_define(struct store_schema *schema)
{
#define SYSTEM_TABLE(keyspace, name, columns, comment) \
    define_table(schema, MR_STR(#keyspace), MR_STR(#name), MR_STR(columns), MR_STR(comment));
#include "store/system_tables.def"
}
