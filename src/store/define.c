/* store/define.c: CREATE, ALTER, DROP, TRUNCATE: each changes the schema in memory and on disk at once. */
#include "store/server.h"

/* ---- what the client hears ---- */
static void write_change(struct mr_buf *out, const char *change, mr_str keyspace, mr_str table)
{
    cql_write_string(out, mr_str_from(change));
    cql_write_string(out, table.length > 0 ? MR_STR("TABLE") : MR_STR("KEYSPACE"));
    cql_write_string(out, keyspace);
    if (table.length > 0)
        cql_write_string(out, table);
}

static void tell(struct mr_buf *body, struct mr_buf *event, const char *change, mr_str keyspace,
                 mr_str table)
{
    mr_buf_be32(body, CQL_RESULT_SCHEMA_CHANGE);
    write_change(body, change, keyspace, table);
    cql_write_string(event, MR_STR("SCHEMA_CHANGE"));
    write_change(event, change, keyspace, table);
}

static void tell_nothing(struct mr_buf *body)
{
    mr_buf_be32(body, CQL_RESULT_VOID);
}

/* ---- batches: a definition is all or nothing ---- */
static struct kv_batch *own_batch(struct store_server *server)
{
    struct store_turn *turn = store_turn_open(server);
    struct kv_batch *batch = kv_batch_new();
    *mr_array_add(&turn->batches) = batch;
    return batch;
}

static mr_err refuse_system(const struct store_keyspace *keyspace, struct store_fault *fault)
{
    if (keyspace == NULL || !keyspace->is_system)
        return MR_OK;
    return store_fail(fault, CQL_ERROR_UNAUTHORIZED, "%.*s keyspace is not user-modifiable.",
                      MR_STR_ARG(keyspace->name));
}

/* ---- keyspaces ---- */
static mr_err create_keyspace(struct store_server *server, const struct store_statement *statement,
                              struct store_fault *fault, struct mr_buf *body, struct mr_buf *event)
{
    mr_str name = statement->target.name;
    struct store_keyspace *keyspace = store_schema_keyspace(&server->schema, name);
    if (keyspace != NULL && statement->if_not_exists) {
        tell_nothing(body);
        return MR_OK;
    }
    if (keyspace != NULL) {
        fault->keyspace = name;
        return store_fail(fault, CQL_ERROR_ALREADY_EXISTS, "Keyspace '%.*s' already exists",
                          MR_STR_ARG(name));
    }
    mr_err err = store_keyspace_define(&server->schema, statement, fault, &keyspace);
    if (err != MR_OK)
        return err;
    store_db_put_keyspace(&server->db, own_batch(server), keyspace);
    tell(body, event, "CREATED", name, MR_STR_NULL);
    return MR_OK;
}

static mr_err missing_keyspace(mr_str name, struct store_fault *fault)
{
    return store_fail(fault, CQL_ERROR_INVALID, "Keyspace '%.*s' doesn't exist", MR_STR_ARG(name));
}

static mr_err alter_keyspace(struct store_server *server, const struct store_statement *statement,
                             struct store_fault *fault, struct mr_buf *body, struct mr_buf *event)
{
    struct store_keyspace *keyspace = store_schema_keyspace(&server->schema,
                                                            statement->target.name);
    if (keyspace == NULL && statement->if_exists) {
        tell_nothing(body);
        return MR_OK;
    }
    if (keyspace == NULL)
        return missing_keyspace(statement->target.name, fault);
    mr_err err = refuse_system(keyspace, fault);
    if (err == MR_OK)
        err = store_keyspace_change(keyspace, statement, fault);
    if (err != MR_OK)
        return err;
    store_db_put_keyspace(&server->db, own_batch(server), keyspace);
    tell(body, event, "UPDATED", keyspace->name, MR_STR_NULL);
    return MR_OK;
}

static void remember_dropped(struct store_server *server, const struct store_table *table)
{
    char name[128];
    size_t length = 0;
    memcpy(name, table->keyspace.data, table->keyspace.length);
    length = table->keyspace.length;
    name[length++] = '.';
    memcpy(name + length, table->name.data, table->name.length);
    length += table->name.length;
    mr_map_put(&server->forgotten, mr_str_of(name, length), server);
}

static bool was_dropped(const struct store_server *server, mr_str keyspace, mr_str table)
{
    char name[128];
    if (keyspace.length + table.length + 1 > sizeof(name))
        return false;
    memcpy(name, keyspace.data, keyspace.length);
    name[keyspace.length] = '.';
    memcpy(name + keyspace.length + 1, table.data, table.length);
    return mr_map_get(&server->forgotten, mr_str_of(name, keyspace.length + 1 + table.length)) !=
           NULL;
}

static mr_err drop_keyspace(struct store_server *server, const struct store_statement *statement,
                            struct store_fault *fault, struct mr_buf *body, struct mr_buf *event)
{
    mr_str name = statement->target.name;
    struct store_keyspace *keyspace = store_schema_keyspace(&server->schema, name);
    if (keyspace == NULL && statement->if_exists) {
        tell_nothing(body);
        return MR_OK;
    }
    if (keyspace == NULL)
        return missing_keyspace(name, fault);
    mr_err err = refuse_system(keyspace, fault);
    if (err == MR_OK && store_turn_flush(server) == MR_AGAIN)
        err = mr_fail(MR_AGAIN, "the store is busy writing; try again");
    if (err != MR_OK)
        return err;
    struct mr_map_entry *entry;
    for (size_t i = 0; (entry = mr_map_next(&keyspace->tables, &i)) != NULL;)
        remember_dropped(server, entry->value);
    store_db_drop_keyspace(&server->db, own_batch(server), keyspace);
    (void)mr_map_remove(&server->schema.keyspaces, name);
    store_keyspace_free(keyspace);
    tell(body, event, "DROPPED", name, MR_STR_NULL);
    return MR_OK;
}

/* ---- tables ---- */
static mr_err find_keyspace(struct store_server *server, mr_str session_keyspace,
                            const struct store_name *target, struct store_fault *fault,
                            struct store_keyspace **out)
{
    mr_str name = target->keyspace.data != NULL ? target->keyspace : session_keyspace;
    if (name.length == 0)
        return store_fail(fault, CQL_ERROR_INVALID,
                          "No keyspace has been specified. USE a keyspace, or explicitly specify "
                          "keyspace.tablename");
    *out = store_schema_keyspace(&server->schema, name);
    if (*out == NULL)
        return missing_keyspace(name, fault);
    return refuse_system(*out, fault);
}

static mr_err create_table(struct store_server *server, struct store_keyspace *keyspace,
                           const struct store_statement *statement, struct store_fault *fault,
                           struct mr_buf *body, struct mr_buf *event)
{
    mr_str name = statement->target.name;
    struct store_table *table = mr_map_get(&keyspace->tables, name);
    if (table != NULL && statement->if_not_exists) {
        tell_nothing(body);
        return MR_OK;
    }
    if (table != NULL) {
        fault->keyspace = keyspace->name;
        fault->table = name;
        return store_fail(fault, CQL_ERROR_ALREADY_EXISTS, "Table '%.*s.%.*s' already exists",
                          MR_STR_ARG(keyspace->name), MR_STR_ARG(name));
    }
    mr_err err = store_table_define(statement, keyspace->name, server->schema.table_id_next, fault,
                                    &table);
    if (err != MR_OK)
        return err;
    uint64_t chance = mr_random_u64(mr_loop_random(server->loop));
    store_timeuuid(mr_clock_wall_us(mr_loop_clock(server->loop)), chance, table->uuid.bytes);
    if (was_dropped(server, keyspace->name, name))
        table->version = 1; /* somebody may hold the old one's metadata */
    server->schema.table_id_next++;
    struct kv_batch *batch = own_batch(server);
    store_db_put_next_id(&server->db, batch, server->schema.table_id_next);
    store_db_put_table(&server->db, batch, table);
    store_keyspace_put(keyspace, table);
    tell(body, event, "CREATED", keyspace->name, name);
    return MR_OK;
}

static mr_err alter_table(struct store_server *server, struct store_keyspace *keyspace,
                          struct store_table *table, const struct store_statement *statement,
                          struct store_fault *fault, struct mr_buf *body, struct mr_buf *event)
{
    struct store_table *changed = NULL;
    mr_err err = store_table_change(table, statement, fault, &changed);
    if (err != MR_OK)
        return err;
    store_db_put_table(&server->db, own_batch(server), changed);
    tell(body, event, "UPDATED", keyspace->name, changed->name);
    store_keyspace_put(keyspace, changed);
    return MR_OK;
}

/* Rows go by a range deletion, which must come after everything that was written before. */
static mr_err clear_table(struct store_server *server, struct store_keyspace *keyspace,
                          struct store_table *table, const struct store_statement *statement,
                          struct mr_buf *body, struct mr_buf *event)
{
    if (store_turn_flush(server) == MR_AGAIN)
        return mr_fail(MR_AGAIN, "the store is busy writing; try again");
    struct kv_batch *batch = own_batch(server);
    if (statement->kind == STORE_STATEMENT_TRUNCATE) {
        store_db_clear_table(&server->db, batch, table->id);
        tell_nothing(body);
        return MR_OK;
    }
    store_db_drop_table(&server->db, batch, table);
    remember_dropped(server, table);
    tell(body, event, "DROPPED", keyspace->name, statement->target.name);
    store_keyspace_remove(keyspace, statement->target.name);
    return MR_OK;
}

static mr_err define_table(struct store_server *server, mr_str session_keyspace,
                           const struct store_statement *statement, struct store_fault *fault,
                           struct mr_buf *body, struct mr_buf *event)
{
    struct store_keyspace *keyspace = NULL;
    const struct store_name *target = &statement->target;
    mr_err err = find_keyspace(server, session_keyspace, target, fault, &keyspace);
    if (err != MR_OK && statement->if_exists && keyspace == NULL && target->keyspace.data != NULL) {
        tell_nothing(body);
        return MR_OK;
    }
    if (err != MR_OK)
        return err;
    if (statement->kind == STORE_STATEMENT_CREATE_TABLE)
        return create_table(server, keyspace, statement, fault, body, event);
    struct store_table *table = mr_map_get(&keyspace->tables, target->name);
    if (table == NULL && statement->if_exists) {
        tell_nothing(body);
        return MR_OK;
    }
    if (table == NULL && statement->kind == STORE_STATEMENT_TRUNCATE)
        return store_fail(fault, CQL_ERROR_INVALID, "table %.*s does not exist",
                          MR_STR_ARG(target->name));
    if (table == NULL)
        return store_fail(fault, CQL_ERROR_INVALID, "Table '%.*s.%.*s' doesn't exist",
                          MR_STR_ARG(keyspace->name), MR_STR_ARG(target->name));
    if (statement->kind == STORE_STATEMENT_ALTER_TABLE)
        return alter_table(server, keyspace, table, statement, fault, body, event);
    return clear_table(server, keyspace, table, statement, body, event);
}

mr_err store_define(struct store_server *server, mr_str keyspace,
                    const struct store_statement *statement, struct store_fault *fault,
                    struct mr_buf *body, struct mr_buf *event)
{
    mr_err err = MR_OK;
    switch ((int)statement->kind) {
    case STORE_STATEMENT_CREATE_KEYSPACE:
        err = create_keyspace(server, statement, fault, body, event);
        break;
    case STORE_STATEMENT_ALTER_KEYSPACE:
        err = alter_keyspace(server, statement, fault, body, event);
        break;
    case STORE_STATEMENT_DROP_KEYSPACE:
        err = drop_keyspace(server, statement, fault, body, event);
        break;
    default:
        err = define_table(server, keyspace, statement, fault, body, event);
        break;
    }
    if (err == MR_OK && event->length > 0)
        store_schema_stamp(&server->schema);
    return err;
}
