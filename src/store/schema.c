/* store/schema.c: the schema in memory: finding, making, changing, and records on disk. */
#include "store/schema.h"

#include <stdlib.h>

static const struct {
    const char *name, *value;
    enum store_term_kind kind;
} option_rows[] = {
#define TABLE_OPTION(name, kind, value) {#name, value, STORE_TERM_##kind},
#include "store/table_options.def"
};

/* ---- finding ---- */
void store_schema_init(struct store_schema *schema)
{
    memset(schema, 0, sizeof(*schema));
    schema->table_id_next = 1;
}

void store_keyspace_free(struct store_keyspace *keyspace)
{
    struct mr_map_entry *entry;
    for (size_t i = 0; (entry = mr_map_next(&keyspace->tables, &i)) != NULL;)
        store_table_unref(entry->value);
    mr_map_fini(&keyspace->tables);
    mr_arena_fini(&keyspace->arena);
    mr_free(keyspace);
}

void store_schema_fini(struct store_schema *schema)
{
    struct mr_map_entry *entry;
    for (size_t i = 0; (entry = mr_map_next(&schema->keyspaces, &i)) != NULL;)
        store_keyspace_free(entry->value);
    mr_map_fini(&schema->keyspaces);
}

struct store_keyspace *store_schema_keyspace(const struct store_schema *schema, mr_str name)
{
    return mr_map_get(&schema->keyspaces, name);
}

struct store_table *store_schema_table(const struct store_schema *schema, mr_str keyspace,
                                       mr_str name)
{
    struct store_keyspace *found = store_schema_keyspace(schema, keyspace);
    return found == NULL ? NULL : mr_map_get(&found->tables, name);
}

const struct store_column *store_table_column(const struct store_table *table, mr_str name)
{
    for (uint16_t i = 0; i < table->column_count; i++)
        if (mr_str_equal(table->columns[i].name, name))
            return &table->columns[i];
    return NULL;
}

struct store_table *store_table_ref(struct store_table *table)
{
    table->refs++;
    return table;
}

void store_table_unref(struct store_table *table)
{
    if (table == NULL || --table->refs > 0)
        return;
    struct mr_arena arena = table->arena; /* the table itself lies in it */
    mr_arena_fini(&arena);
}

static int by_table_name(const void *a, const void *b)
{
    return mr_str_compare((*(struct store_table *const *)a)->name,
                          (*(struct store_table *const *)b)->name);
}

static int by_keyspace_name(const void *a, const void *b)
{
    return mr_str_compare((*(struct store_keyspace *const *)a)->name,
                          (*(struct store_keyspace *const *)b)->name);
}

struct store_keyspace **store_schema_sorted(const struct store_schema *schema,
                                            struct mr_arena *arena, size_t *count)
{
    struct store_keyspace **list = mr_arena_array(arena, struct store_keyspace *,
                                                  schema->keyspaces.count);
    struct mr_map_entry *entry;
    *count = 0;
    for (size_t i = 0; (entry = mr_map_next(&schema->keyspaces, &i)) != NULL;)
        list[(*count)++] = entry->value;
    qsort(list, *count, sizeof(*list), by_keyspace_name);
    return list;
}

struct store_table **store_keyspace_sorted(const struct store_keyspace *keyspace,
                                           struct mr_arena *arena, size_t *count)
{
    struct store_table **list = mr_arena_array(arena, struct store_table *, keyspace->tables.count);
    struct mr_map_entry *entry;
    *count = 0;
    for (size_t i = 0; (entry = mr_map_next(&keyspace->tables, &i)) != NULL;)
        list[(*count)++] = entry->value;
    qsort(list, *count, sizeof(*list), by_table_name);
    return list;
}

void store_schema_stamp(struct store_schema *schema)
{
    struct mr_arena arena;
    struct mr_buf text = {0};
    size_t keyspace_count = 0, table_count = 0;
    mr_arena_init(&arena);
    struct store_keyspace **keyspaces = store_schema_sorted(schema, &arena, &keyspace_count);
    for (size_t i = 0; i < keyspace_count; i++) {
        if (keyspaces[i]->is_system)
            continue;
        mr_buf_str(&text, keyspaces[i]->name);
        store_keyspace_write(&text, keyspaces[i]);
        struct store_table **tables = store_keyspace_sorted(keyspaces[i], &arena, &table_count);
        for (size_t j = 0; j < table_count; j++)
            store_table_write(&text, tables[j]);
    }
    mr_md5(text.data, text.length, schema->version.bytes);
    schema->version.bytes[6] = (uint8_t)((schema->version.bytes[6] & 0x0f) | 0x30); /* version 3 */
    schema->version.bytes[8] = (uint8_t)((schema->version.bytes[8] & 0x3f) | 0x80);
    mr_buf_fini(&text);
    mr_arena_fini(&arena);
}

/* ---- keyspaces ---- */
static int by_key(const void *a, const void *b)
{
    return mr_str_compare(((const struct cql_pair *)a)->key, ((const struct cql_pair *)b)->key);
}

static mr_str full_class(struct mr_arena *arena, const char *package, mr_str name)
{
    return mr_str_find_byte(name, '.') >= 0
               ? mr_arena_str(arena, name)
               : mr_arena_printf(arena, "%s.%.*s", package, MR_STR_ARG(name));
}

mr_str store_short_class(mr_str class_name)
{
    size_t at = class_name.length;
    while (at > 0 && class_name.data[at - 1] != '.')
        at--;
    return mr_str_slice(class_name, at, class_name.length);
}

static mr_err set_replication(struct store_keyspace *keyspace, struct cql_pairs given,
                              struct store_fault *fault)
{
    mr_str name = store_short_class(cql_pairs_get(given, MR_STR("class")));
    bool simple = mr_str_equal(name, MR_STR("SimpleStrategy"));
    bool topology = mr_str_equal(name, MR_STR("NetworkTopologyStrategy"));
    if (name.length == 0)
        return store_fail(fault, CQL_ERROR_CONFIG, "Missing replication strategy class");
    if (!simple && !topology && !mr_str_equal(name, MR_STR("LocalStrategy")))
        return store_fail(
            fault, CQL_ERROR_CONFIG,
            "Unable to find replication strategy class 'org.apache.cassandra.locator.%.*s'",
            MR_STR_ARG(name));
    if (simple && cql_pairs_get(given, MR_STR("replication_factor")).data == NULL)
        return store_fail(fault, CQL_ERROR_CONFIG,
                          "SimpleStrategy requires a replication_factor strategy option.");
    struct cql_pair *pairs = mr_arena_array(&keyspace->arena, struct cql_pair, given.count);
    size_t count = 1;
    pairs[0] = (struct cql_pair){
        MR_STR("class"), full_class(&keyspace->arena, "org.apache.cassandra.locator", name)};
    for (size_t i = 0; i < given.count; i++) {
        int64_t factor = 0;
        mr_str key = given.items[i].key;
        if (mr_str_equal(key, MR_STR("class")))
            continue;
        if (mr_str_to_i64(given.items[i].value, &factor) != MR_OK || factor < 0)
            return store_fail(fault, CQL_ERROR_CONFIG,
                              "Replication factor must be numeric; found %.*s",
                              MR_STR_ARG(given.items[i].value));
        if (topology && mr_str_equal(key, MR_STR("replication_factor")))
            key = MR_STR("datacenter1");
        pairs[count].key = mr_arena_str(&keyspace->arena, key);
        pairs[count++].value = mr_arena_str(&keyspace->arena, given.items[i].value);
    }
    qsort(pairs + 1, count - 1, sizeof(*pairs), by_key);
    keyspace->replication = (struct cql_pairs){pairs, count};
    return MR_OK;
}

mr_err store_keyspace_change(struct store_keyspace *keyspace,
                             const struct store_statement *statement, struct store_fault *fault)
{
    for (uint32_t i = 0; i < statement->option_count; i++) {
        const struct store_option *option = &statement->options[i];
        if (mr_str_equal(option->name, MR_STR("replication")) && option->kind == STORE_TERM_MAP) {
            mr_err err = set_replication(keyspace, option->pairs, fault);
            if (err != MR_OK)
                return err;
        } else if (mr_str_equal(option->name, MR_STR("durable_writes")) &&
                   option->kind == STORE_TERM_BOOLEAN) {
            keyspace->durable_writes = mr_str_equal(option->text, MR_STR("true"));
        } else if (!mr_str_equal(option->name, MR_STR("tablets"))) {
            return store_fail(fault, CQL_ERROR_SYNTAX, "Unknown property '%.*s'",
                              MR_STR_ARG(option->name));
        }
    }
    return MR_OK;
}

static struct store_keyspace *keyspace_new(mr_str name)
{
    struct store_keyspace *keyspace = mr_new(struct store_keyspace);
    mr_arena_init(&keyspace->arena);
    keyspace->name = mr_arena_str(&keyspace->arena, name);
    keyspace->durable_writes = true;
    return keyspace;
}

static bool is_plain_name(mr_str name)
{
    for (size_t i = 0; i < name.length; i++) {
        char c = name.data[i];
        if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') &&
            c != '_')
            return false;
    }
    return name.length > 0 && name.length <= 48;
}

mr_err store_keyspace_define(struct store_schema *schema, const struct store_statement *statement,
                             struct store_fault *fault, struct store_keyspace **out)
{
    mr_str name = statement->target.name;
    if (!is_plain_name(name))
        return store_fail(
            fault, CQL_ERROR_INVALID,
            "Keyspace name must not be empty, more than 48 characters long, or contain "
            "non-alphanumeric-underscore characters (got \"%.*s\")",
            MR_STR_ARG(name));
    struct store_keyspace *keyspace = keyspace_new(name);
    mr_err err = store_keyspace_change(keyspace, statement, fault);
    if (err == MR_OK && keyspace->replication.count == 0)
        err = store_fail(fault, CQL_ERROR_CONFIG, "Missing mandatory option 'replication'");
    if (err == MR_OK) {
        mr_map_put(&schema->keyspaces, keyspace->name, keyspace);
        *out = keyspace;
        keyspace = NULL;
    }
    if (keyspace != NULL)
        store_keyspace_free(keyspace);
    return err;
}

void store_keyspace_put(struct store_keyspace *keyspace, struct store_table *table_taken)
{
    store_table_unref(mr_map_put(&keyspace->tables, table_taken->name, table_taken));
}

void store_keyspace_remove(struct store_keyspace *keyspace, mr_str table)
{
    store_table_unref(mr_map_remove(&keyspace->tables, table));
}

/* ---- options of tables ---- */
static struct cql_pairs pairs_of_text(struct mr_arena *arena, mr_str text)
{
    struct cql_pair *pairs = mr_arena_array(arena, struct cql_pair, 8);
    size_t count = 0;
    mr_str part;
    while (text.length > 0 && count < 8 && mr_str_split(&text, ';', &part)) {
        ptrdiff_t sign = mr_str_find_byte(part, '=');
        pairs[count].key = mr_arena_str(arena, mr_str_slice(part, 0, (size_t)sign));
        pairs[count++].value = mr_arena_str(arena,
                                            mr_str_slice(part, (size_t)sign + 1, part.length));
    }
    return (struct cql_pairs){pairs, count};
}

static struct cql_pairs copy_pairs(struct mr_arena *arena, struct cql_pairs pairs)
{
    struct cql_pair *copy = mr_arena_array(arena, struct cql_pair, pairs.count);
    for (size_t i = 0; i < pairs.count; i++) {
        copy[i].key = mr_arena_str(arena, pairs.items[i].key);
        copy[i].value = mr_arena_str(arena, pairs.items[i].value);
    }
    qsort(copy, pairs.count, sizeof(*copy), by_key);
    return (struct cql_pairs){copy, pairs.count};
}

static void default_options(struct store_table *table)
{
    for (size_t i = 0; i < STORE_OPTION_COUNT; i++) {
        struct store_option *option = &table->options[i];
        option->name = mr_str_from(option_rows[i].name);
        option->kind = option_rows[i].kind;
        option->text = mr_str_from(option_rows[i].value);
        if (option->kind == STORE_TERM_MAP)
            option->pairs = pairs_of_text(&table->arena, option->text);
    }
}

static mr_err settle_options(struct store_table *table, struct store_fault *fault)
{
    (void)mr_str_to_i64(table->options[STORE_OPTION_default_time_to_live].text,
                        &table->default_ttl_s);
    (void)mr_str_to_i64(table->options[STORE_OPTION_gc_grace_seconds].text, &table->gc_grace_s);
    if (table->default_ttl_s < 0)
        return store_fail(fault, CQL_ERROR_CONFIG,
                          "default_time_to_live must be greater than or equal to 0 (got %lld)",
                          (long long)table->default_ttl_s);
    if (table->default_ttl_s > 630720000)
        return store_fail(fault, CQL_ERROR_CONFIG,
                          "default_time_to_live must be less than or equal to 630720000 (got %lld)",
                          (long long)table->default_ttl_s);
    if (table->gc_grace_s < 0)
        return store_fail(fault, CQL_ERROR_CONFIG,
                          "gc_grace_seconds must be greater than or equal to 0 (got %lld)",
                          (long long)table->gc_grace_s);
    if (table->is_counter && table->default_ttl_s > 0)
        return store_fail(fault, CQL_ERROR_INVALID,
                          "Cannot set default_time_to_live on a table with counters");
    return MR_OK;
}

/* The classes that compaction and compression may name; the names are kept and shown, no more. */
static mr_err complete_classes(struct store_table *table, size_t id, struct cql_pair *pairs,
                               size_t count, struct store_fault *fault)
{
    static const char *const known[] = {"SizeTieredCompactionStrategy",
                                        "LeveledCompactionStrategy",
                                        "TimeWindowCompactionStrategy",
                                        "UnifiedCompactionStrategy",
                                        "LZ4Compressor",
                                        "SnappyCompressor",
                                        "DeflateCompressor",
                                        "ZstdCompressor",
                                        "NoopCompressor"};
    bool compaction = id == STORE_OPTION_compaction;
    bool disabled = false, named = false;
    for (size_t i = 0; i < count; i++) {
        bool found = false;
        disabled |= mr_str_equal(pairs[i].key, MR_STR("enabled")) &&
                    mr_str_equal(pairs[i].value, MR_STR("false"));
        if (mr_str_equal(pairs[i].key, MR_STR("sstable_compression")))
            pairs[i].key = MR_STR("class");
        if (!mr_str_equal(pairs[i].key, MR_STR("class")))
            continue;
        named = true;
        mr_str name = store_short_class(pairs[i].value);
        for (size_t j = 0; j < mr_count_of(known); j++)
            found |= mr_str_equal(name, mr_str_from(known[j])) && (j < 4) == compaction;
        if (!found && name.length > 0)
            return store_fail(fault, CQL_ERROR_CONFIG, "Unable to find %s class '%.*s'",
                              compaction ? "compaction strategy" : "compression",
                              MR_STR_ARG(pairs[i].value));
        pairs[i].value = full_class(&table->arena,
                                    compaction ? "org.apache.cassandra.db.compaction"
                                               : "org.apache.cassandra.io.compress",
                                    pairs[i].value);
    }
    if (compaction && !named)
        return store_fail(fault, CQL_ERROR_CONFIG,
                          "Missing sub-option 'class' for the 'compaction' option.");
    if (!compaction && !named && !disabled && count > 0)
        return store_fail(fault, CQL_ERROR_CONFIG,
                          "Missing sub-option 'class' for the 'compression' option.");
    return MR_OK;
}

static mr_err set_option(struct store_table *table, const struct store_option *given,
                         struct store_fault *fault)
{
    size_t id = 0;
    while (id < STORE_OPTION_COUNT && !mr_str_equal(given->name, mr_str_from(option_rows[id].name)))
        id++;
    if (id == STORE_OPTION_COUNT && mr_str_equal(given->name, MR_STR("id")))
        return MR_OK; /* what DESCRIBE ... WITH INTERNALS writes */
    if (id == STORE_OPTION_COUNT)
        return store_fail(fault, CQL_ERROR_SYNTAX, "Unknown property '%.*s'",
                          MR_STR_ARG(given->name));
    struct store_option *option = &table->options[id];
    bool number = option->kind == STORE_TERM_INTEGER || option->kind == STORE_TERM_FLOAT;
    double value = 0;
    if (option->kind == STORE_TERM_MAP) {
        if (given->kind != STORE_TERM_MAP)
            return store_fail(fault, CQL_ERROR_SYNTAX,
                              "Invalid value for property '%.*s'. It should be a map.",
                              MR_STR_ARG(given->name));
        option->pairs = copy_pairs(&table->arena, given->pairs);
        if (id == STORE_OPTION_compaction || id == STORE_OPTION_compression)
            return complete_classes(table, id, (struct cql_pair *)(uintptr_t)option->pairs.items,
                                    option->pairs.count, fault);
        return MR_OK;
    }
    if (given->kind == STORE_TERM_MAP)
        return store_fail(fault, CQL_ERROR_SYNTAX,
                          "Invalid value for property '%.*s'. It should be a string.",
                          MR_STR_ARG(given->name));
    if (number && (mr_str_to_f64(given->text, &value) != MR_OK ||
                   (option->kind == STORE_TERM_INTEGER && mr_str_find_byte(given->text, '.') >= 0)))
        return store_fail(fault, CQL_ERROR_SYNTAX, "Invalid %s value %.*s for '%.*s'",
                          option->kind == STORE_TERM_INTEGER ? "integer" : "double",
                          MR_STR_ARG(given->text), MR_STR_ARG(given->name));
    option->text = mr_arena_str(&table->arena, given->text);
    return MR_OK;
}

static mr_err set_options(struct store_table *table, const struct store_statement *statement,
                          struct store_fault *fault)
{
    for (uint32_t i = 0; i < statement->option_count; i++) {
        mr_err err = statement->options[i].kind == STORE_TERM_LIST
                         ? MR_OK
                         : set_option(table, &statement->options[i], fault);
        if (err != MR_OK)
            return err;
    }
    return settle_options(table, fault);
}

/* ---- making tables ---- */
static struct store_table *table_new(mr_str keyspace, mr_str name, uint32_t id)
{
    struct mr_arena arena;
    mr_arena_init(&arena);
    struct store_table *table = mr_arena_new(&arena, struct store_table);
    table->arena = arena;
    table->refs = 1;
    table->keyspace = mr_arena_str(&table->arena, keyspace);
    table->name = mr_arena_str(&table->arena, name);
    table->id = id;
    default_options(table);
    return table;
}

static int by_column(const void *a, const void *b)
{
    const struct store_column *x = a, *y = b;
    if (x->kind != y->kind)
        return x->kind < y->kind ? -1 : 1;
    if (x->kind <= STORE_COLUMN_CLUSTERING)
        return (int)x->position - (int)y->position;
    return mr_str_compare(x->name, y->name);
}

/* Orders the columns and fills what follows from them. */
static void settle_columns(struct store_table *table)
{
    uint16_t counts[4] = {0};
    qsort(table->columns, table->column_count, sizeof(*table->columns), by_column);
    table->by_id = mr_arena_array(&table->arena, const struct store_column *,
                                  table->column_id_next);
    table->is_counter = false;
    for (uint16_t i = 0; i < table->column_count; i++) {
        struct store_column *column = &table->columns[i];
        column->index = i;
        counts[column->kind]++;
        table->by_id[column->id] = column;
        table->is_counter |= column->type->id == CQL_TYPE_COUNTER;
    }
    table->partition_count = counts[STORE_COLUMN_PARTITION];
    table->clustering_count = counts[STORE_COLUMN_CLUSTERING];
    table->static_count = counts[STORE_COLUMN_STATIC];
}

static bool name_position(mr_str *names, uint32_t count, mr_str name, uint16_t *position)
{
    for (uint32_t i = 0; i < count; i++)
        if (mr_str_equal(names[i], name)) {
            *position = (uint16_t)i;
            return true;
        }
    return false;
}

static mr_err check_key_type(const struct store_column *column, struct store_fault *fault)
{
    if (cql_type_is_collection(column->type) && !column->type->frozen)
        return store_fail(fault, CQL_ERROR_INVALID,
                          "Invalid non-frozen collection type for PRIMARY KEY column '%.*s'",
                          MR_STR_ARG(column->name));
    if (column->type->id == CQL_TYPE_COUNTER)
        return store_fail(fault, CQL_ERROR_INVALID,
                          "counter type is not supported for PRIMARY KEY column '%.*s'",
                          MR_STR_ARG(column->name));
    if (column->type->id == CQL_TYPE_DURATION)
        return store_fail(fault, CQL_ERROR_INVALID,
                          "duration type is not supported for PRIMARY KEY column '%.*s'",
                          MR_STR_ARG(column->name));
    return MR_OK;
}

static mr_err check_inner_types(const struct cql_type *type, bool inside, struct store_fault *fault)
{
    if (inside && type->id == CQL_TYPE_COUNTER)
        return store_fail(fault, CQL_ERROR_INVALID, "Counters are not allowed inside collections");
    if (inside && cql_type_is_collection(type) && !type->frozen)
        return store_fail(
            fault, CQL_ERROR_INVALID,
            "Non-frozen collections are not allowed inside collections: use frozen<...>");
    for (uint16_t i = 0; i < type->arg_count; i++) {
        mr_err err = check_inner_types(type->args[i], !type->frozen, fault);
        if (err != MR_OK)
            return err;
    }
    return MR_OK;
}

static mr_err define_column(struct store_table *table, const struct store_statement *statement,
                            const struct store_column_text *text, struct store_fault *fault)
{
    struct store_column *column = &table->columns[table->column_count];
    for (uint16_t i = 0; i < table->column_count; i++)
        if (mr_str_equal(table->columns[i].name, text->name))
            return store_fail(fault, CQL_ERROR_INVALID,
                              "Duplicate column '%.*s' declaration for table '%.*s'",
                              MR_STR_ARG(text->name), MR_STR_ARG(table->name));
    memset(column, 0, sizeof(*column));
    column->name = mr_arena_str(&table->arena, text->name);
    column->type = cql_type_copy(&table->arena, text->type);
    column->id = table->column_id_next++;
    column->kind = text->is_static ? STORE_COLUMN_STATIC : STORE_COLUMN_REGULAR;
    table->column_count++;
    bool partition = name_position(statement->partition, statement->partition_count, text->name,
                                   &column->position);
    bool clustering = !partition &&
                      name_position(statement->clustering, statement->clustering_count, text->name,
                                    &column->position);
    if (!partition && !clustering)
        return check_inner_types(column->type, false, fault);
    if (text->is_static)
        return store_fail(fault, CQL_ERROR_INVALID,
                          "Static column '%.*s' cannot be part of the PRIMARY KEY",
                          MR_STR_ARG(text->name));
    column->kind = partition ? STORE_COLUMN_PARTITION : STORE_COLUMN_CLUSTERING;
    return check_key_type(column, fault);
}

static mr_err check_keys(const struct store_table *table, const struct store_statement *statement,
                         struct store_fault *fault)
{
    if (statement->partition_count == 0)
        return store_fail(fault, CQL_ERROR_INVALID,
                          "No PRIMARY KEY specifed for table '%.*s' (exactly one required)",
                          MR_STR_ARG(table->name));
    for (uint32_t pass = 0; pass < 2; pass++) {
        mr_str *names = pass == 0 ? statement->partition : statement->clustering;
        uint32_t count = pass == 0 ? statement->partition_count : statement->clustering_count;
        for (uint32_t i = 0; i < count; i++) {
            uint16_t position = 0;
            if (store_table_column(table, names[i]) == NULL)
                return store_fail(
                    fault, CQL_ERROR_INVALID,
                    "Unknown column '%.*s' referenced in PRIMARY KEY for table '%.*s'",
                    MR_STR_ARG(names[i]), MR_STR_ARG(table->name));
            bool twice = name_position(names, i, names[i], &position) ||
                         (pass == 1 &&
                          name_position(statement->partition, statement->partition_count, names[i],
                                        &position));
            if (twice)
                return store_fail(fault, CQL_ERROR_INVALID,
                                  "Duplicate column '%.*s' in PRIMARY KEY clause for table '%.*s'",
                                  MR_STR_ARG(names[i]), MR_STR_ARG(table->name));
        }
    }
    return MR_OK;
}

static mr_err check_mixture(const struct store_table *table, struct store_fault *fault)
{
    for (uint16_t i = 0; i < table->column_count; i++) {
        const struct store_column *column = &table->columns[i];
        if (column->kind == STORE_COLUMN_STATIC && table->clustering_count == 0)
            return store_fail(
                fault, CQL_ERROR_INVALID,
                "Static columns are only useful (and thus allowed) if the table has at least "
                "one clustering column");
        if (table->is_counter && column->kind >= STORE_COLUMN_STATIC &&
            column->type->id != CQL_TYPE_COUNTER)
            return store_fail(fault, CQL_ERROR_INVALID,
                              "Cannot mix counter and non counter columns in the same table");
    }
    return MR_OK;
}

mr_err store_table_define(const struct store_statement *statement, mr_str keyspace, uint32_t id,
                          struct store_fault *fault, struct store_table **out)
{
    mr_str name = statement->target.name;
    if (!is_plain_name(name))
        return store_fail(fault, CQL_ERROR_INVALID,
                          "Table name must not be empty, more than 48 characters long, or contain "
                          "non-alphanumeric-underscore characters (got \"%.*s\")",
                          MR_STR_ARG(name));
    if (statement->column_count > MR_LIMIT_CQL_COLUMNS)
        return store_fail(fault, CQL_ERROR_INVALID, "a table has at most %d columns, found %u",
                          MR_LIMIT_CQL_COLUMNS, statement->column_count);
    struct store_table *table = table_new(keyspace, name, id);
    table->columns = mr_arena_array(&table->arena, struct store_column, statement->column_count);
    mr_err err = MR_OK;
    for (uint32_t i = 0; err == MR_OK && i < statement->column_count; i++)
        err = define_column(table, statement, &statement->columns[i], fault);
    if (err == MR_OK)
        err = check_keys(table, statement, fault);
    for (uint32_t i = 0; err == MR_OK && i < statement->option_count; i++)
        for (size_t j = 0;
             statement->options[i].kind == STORE_TERM_LIST && j < statement->options[i].pairs.count;
             j++) {
            const struct cql_pair *pair = &statement->options[i].pairs.items[j];
            ((struct store_column *)(uintptr_t)store_table_column(table, pair->key))->descending =
                mr_str_equal(pair->value, MR_STR("desc"));
        }
    if (err == MR_OK) {
        settle_columns(table);
        err = check_mixture(table, fault);
    }
    if (err == MR_OK)
        err = set_options(table, statement, fault);
    if (err == MR_OK) {
        *out = table;
        table = NULL;
    }
    store_table_unref(table);
    return err;
}

/* ---- changing tables ---- */
static struct store_table *table_copy(const struct store_table *from, uint32_t more_columns)
{
    struct store_table *table = table_new(from->keyspace, from->name, from->id);
    table->uuid = from->uuid;
    table->version = from->version + 1;
    table->column_id_next = from->column_id_next;
    table->has_ranges = from->has_ranges;
    table->virtual_rows = from->virtual_rows;
    table->columns = mr_arena_array(&table->arena, struct store_column,
                                    from->column_count + more_columns);
    table->column_count = from->column_count;
    for (uint16_t i = 0; i < from->column_count; i++) {
        table->columns[i] = from->columns[i];
        table->columns[i].name = mr_arena_str(&table->arena, from->columns[i].name);
        table->columns[i].type = cql_type_copy(&table->arena, from->columns[i].type);
    }
    for (size_t i = 0; i < STORE_OPTION_COUNT; i++) {
        table->options[i].text = mr_arena_str(&table->arena, from->options[i].text);
        table->options[i].pairs = copy_pairs(&table->arena, from->options[i].pairs);
    }
    table->default_ttl_s = from->default_ttl_s;
    table->gc_grace_s = from->gc_grace_s;
    return table;
}

static mr_err add_column(struct store_table *table, const struct store_statement *statement,
                         const struct store_column_text *text, struct store_fault *fault)
{
    if (store_table_column(table, text->name) != NULL) {
        if (statement->if_not_exists)
            return MR_OK;
        return store_fail(fault, CQL_ERROR_INVALID, "Column with name '%.*s' already exists",
                          MR_STR_ARG(text->name));
    }
    if (text->is_primary)
        return store_fail(fault, CQL_ERROR_INVALID, "PRIMARY KEY columns cannot be added");
    return define_column(table, statement, text, fault);
}

static mr_err drop_column(struct store_table *table, const struct store_statement *statement,
                          mr_str name, struct store_fault *fault)
{
    const struct store_column *column = store_table_column(table, name);
    if (column == NULL && statement->if_not_exists)
        return MR_OK;
    if (column == NULL)
        return store_fail(fault, CQL_ERROR_INVALID,
                          "Column %.*s was not found in table '%.*s.%.*s'", MR_STR_ARG(name),
                          MR_STR_ARG(table->keyspace), MR_STR_ARG(table->name));
    if (column->kind <= STORE_COLUMN_CLUSTERING)
        return store_fail(fault, CQL_ERROR_INVALID, "Cannot drop PRIMARY KEY column %.*s",
                          MR_STR_ARG(name));
    size_t at = (size_t)(column - table->columns);
    memmove(&table->columns[at], &table->columns[at + 1],
            (table->column_count - at - 1) * sizeof(*table->columns));
    table->column_count--;
    return MR_OK;
}

static mr_err rename_column(struct store_table *table, const struct store_statement *statement,
                            mr_str from, mr_str to, struct store_fault *fault)
{
    const struct store_column *column = store_table_column(table, from);
    if (column == NULL && statement->if_not_exists)
        return MR_OK;
    if (column == NULL)
        return store_fail(fault, CQL_ERROR_INVALID, "Column %.*s was not found in table %.*s.%.*s",
                          MR_STR_ARG(from), MR_STR_ARG(table->keyspace), MR_STR_ARG(table->name));
    if (column->kind > STORE_COLUMN_CLUSTERING)
        return store_fail(fault, CQL_ERROR_INVALID, "Cannot rename non PRIMARY KEY column %.*s",
                          MR_STR_ARG(from));
    if (store_table_column(table, to) != NULL)
        return store_fail(
            fault, CQL_ERROR_INVALID,
            "Cannot rename column %.*s to %.*s in table '%.*s.%.*s'; another column with that "
            "name already exists",
            MR_STR_ARG(from), MR_STR_ARG(to), MR_STR_ARG(table->keyspace), MR_STR_ARG(table->name));
    ((struct store_column *)(uintptr_t)column)->name = mr_arena_str(&table->arena, to);
    return MR_OK;
}

mr_err store_table_change(const struct store_table *from, const struct store_statement *statement,
                          struct store_fault *fault, struct store_table **out)
{
    bool add = statement->alter == STORE_ALTER_ADD;
    struct store_table *table = table_copy(from, add ? statement->column_count : 0);
    mr_err err = MR_OK;
    if (add && from->column_count + statement->column_count > MR_LIMIT_CQL_COLUMNS)
        err = store_fail(fault, CQL_ERROR_INVALID, "a table has at most %d columns",
                         MR_LIMIT_CQL_COLUMNS);
    for (uint32_t i = 0; err == MR_OK && i < statement->column_count; i++) {
        if (add)
            err = add_column(table, statement, &statement->columns[i], fault);
        else if (statement->alter == STORE_ALTER_DROP)
            err = drop_column(table, statement, statement->columns[i].name, fault);
        else if (statement->alter == STORE_ALTER_RENAME && i % 2 == 0)
            err = rename_column(table, statement, statement->columns[i].name,
                                statement->columns[i + 1].name, fault);
    }
    if (err == MR_OK) {
        settle_columns(table);
        err = check_mixture(table, fault);
    }
    if (err == MR_OK)
        err = set_options(table, statement, fault);
    if (err == MR_OK) {
        *out = table;
        table = NULL;
    }
    store_table_unref(table);
    return err;
}

/* ---- records on disk: format 1 ---- */
static void write_pairs(struct mr_buf *out, struct cql_pairs pairs)
{
    mr_buf_be16(out, (uint16_t)pairs.count);
    for (size_t i = 0; i < pairs.count; i++) {
        cql_write_long_string(out, pairs.items[i].key);
        cql_write_long_string(out, pairs.items[i].value);
    }
}

static struct cql_pairs read_pairs(struct mr_in *in, struct mr_arena *arena)
{
    uint16_t count = mr_in_be16(in);
    struct cql_pair *pairs = mr_arena_array(arena, struct cql_pair, count);
    for (uint16_t i = 0; i < count; i++) {
        pairs[i].key = mr_arena_str(arena, cql_read_long_string(in));
        pairs[i].value = mr_arena_str(arena, cql_read_long_string(in));
    }
    return (struct cql_pairs){pairs, count};
}

void store_keyspace_write(struct mr_buf *out, const struct store_keyspace *keyspace)
{
    mr_buf_u8(out, 1);
    mr_buf_u8(out, keyspace->durable_writes);
    write_pairs(out, keyspace->replication);
}

mr_err store_keyspace_read(mr_str name, mr_str record, struct store_keyspace **out)
{
    struct mr_in in = mr_in_str(record);
    struct store_keyspace *keyspace = keyspace_new(name);
    uint8_t format = mr_in_u8(&in);
    keyspace->durable_writes = mr_in_u8(&in) != 0;
    keyspace->replication = read_pairs(&in, &keyspace->arena);
    if (in.err != MR_OK || format != 1) {
        store_keyspace_free(keyspace);
        return mr_fail(MR_CORRUPT, "the record of keyspace %.*s cannot be read", MR_STR_ARG(name));
    }
    *out = keyspace;
    return MR_OK;
}

void store_table_write(struct mr_buf *out, const struct store_table *table)
{
    mr_buf_u8(out, 1);
    cql_write_string(out, table->keyspace);
    cql_write_string(out, table->name);
    mr_buf_be32(out, table->id);
    mr_buf_add(out, table->uuid.bytes, sizeof(table->uuid.bytes));
    mr_buf_be32(out, table->version);
    mr_buf_be32(out, table->column_id_next);
    mr_buf_u8(out, table->has_ranges);
    mr_buf_be16(out, STORE_OPTION_COUNT);
    for (size_t i = 0; i < STORE_OPTION_COUNT; i++) {
        cql_write_string(out, table->options[i].name);
        cql_write_long_string(out, table->options[i].text);
        write_pairs(out, table->options[i].pairs);
    }
    mr_buf_be16(out, table->column_count);
    for (uint16_t i = 0; i < table->column_count; i++) {
        const struct store_column *column = &table->columns[i];
        struct mr_buf type = {0};
        cql_type_print(&type, column->type);
        cql_write_string(out, column->name);
        cql_write_string(out, mr_buf_as_str(&type));
        mr_buf_u8(out, (uint8_t)column->kind);
        mr_buf_be32(out, column->id);
        mr_buf_be16(out, column->position);
        mr_buf_u8(out, column->descending);
        mr_buf_fini(&type);
    }
}

static void read_options(struct mr_in *in, struct store_table *table)
{
    uint16_t count = mr_in_be16(in);
    for (uint16_t i = 0; i < count && in->err == MR_OK; i++) {
        mr_str name = cql_read_string(in);
        mr_str text = cql_read_long_string(in);
        struct cql_pairs pairs = read_pairs(in, &table->arena);
        for (size_t id = 0; id < STORE_OPTION_COUNT; id++)
            if (mr_str_equal(name, mr_str_from(option_rows[id].name))) {
                table->options[id].text = mr_arena_str(&table->arena, text);
                table->options[id].pairs = pairs;
            }
    }
}

static void read_columns(struct mr_in *in, struct store_table *table)
{
    table->column_count = mr_in_be16(in);
    table->columns = mr_arena_array(&table->arena, struct store_column, table->column_count);
    for (uint16_t i = 0; i < table->column_count && in->err == MR_OK; i++) {
        struct store_column *column = &table->columns[i];
        column->name = mr_arena_str(&table->arena, cql_read_string(in));
        if (cql_type_parse(&table->arena, cql_read_string(in), &column->type) != MR_OK)
            mr_in_fail(in);
        column->kind = mr_in_u8(in) & 3;
        column->id = mr_in_be32(in);
        column->position = mr_in_be16(in);
        column->descending = mr_in_u8(in) != 0;
        if (column->id >= table->column_id_next)
            mr_in_fail(in);
    }
}

mr_err store_table_read(mr_str record, struct store_table **out)
{
    struct mr_in in = mr_in_str(record);
    struct store_fault fault = {0};
    uint8_t format = mr_in_u8(&in);
    mr_str keyspace = cql_read_string(&in), name = cql_read_string(&in);
    struct store_table *table = table_new(keyspace, name, mr_in_be32(&in));
    mr_str uuid = mr_in_take(&in, sizeof(table->uuid.bytes));
    if (uuid.data != NULL)
        memcpy(table->uuid.bytes, uuid.data, sizeof(table->uuid.bytes));
    table->version = mr_in_be32(&in);
    table->column_id_next = mr_in_be32(&in);
    table->has_ranges = mr_in_u8(&in) != 0;
    read_options(&in, table);
    read_columns(&in, table);
    if (in.err != MR_OK || format != 1) {
        store_table_unref(table);
        return mr_fail(MR_CORRUPT, "a table's record of %zu bytes cannot be read", record.length);
    }
    settle_columns(table);
    mr_err err = settle_options(table, &fault);
    if (err != MR_OK)
        store_table_unref(table);
    else
        *out = table;
    return err;
}
