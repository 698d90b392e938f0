/* registry/store.c: records of `_schemas` folded into subjects, versions and schemas. The records are
 * Confluent's: a JSON key with a keytype, a JSON value, null for what is deleted for good. */
#include "registry/store.h"

/* ---- words ---- */
const char *registry_level_name(enum registry_level level)
{
    static const char *const names[] = {
        "",
#define LEVEL(name, backward, forward, all) #name,
#include "registry/levels.def"
    };
    return names[level];
}

const char *registry_mode_name(enum registry_mode mode)
{
    static const char *const names[] = {
        "",
#define MODE(name) #name,
#include "registry/levels.def"
    };
    return names[mode];
}

enum registry_level registry_level_find(mr_str name)
{
    for (enum registry_level level = REGISTRY_LEVEL_NONE; level <= REGISTRY_LEVEL_FULL_TRANSITIVE;
         level++) {
        if (mr_str_equal_nocase(name, mr_str_from(registry_level_name(level))))
            return level;
    }
    return REGISTRY_LEVEL_UNSET;
}

enum registry_mode registry_mode_find(mr_str name)
{
    for (enum registry_mode mode = REGISTRY_MODE_READWRITE; mode <= REGISTRY_MODE_IMPORT; mode++) {
        if (mr_str_equal_nocase(name, mr_str_from(registry_mode_name(mode))))
            return mode;
    }
    return REGISTRY_MODE_UNSET;
}

/* ---- schemas ---- */
mr_str registry_store_identity(struct mr_arena *arena, mr_str type, mr_str text, mr_str references,
                               mr_str metadata, mr_str rules)
{
    return mr_arena_printf(arena, "%.*s\x01%.*s\x01%.*s\x01%.*s\x01%.*s", MR_STR_ARG(type),
                           MR_STR_ARG(text), MR_STR_ARG(references), MR_STR_ARG(metadata),
                           MR_STR_ARG(rules));
}

static mr_str id_key(int32_t id, char out[16])
{
    char text[DATA_TEXT_BYTES];
    size_t length = data_long_format(id, text);

    memcpy(out, text, length);
    return mr_str_of(out, length);
}

struct registry_schema *registry_store_id(const struct registry_store *store, int32_t id)
{
    char text[16];

    return mr_map_get(&store->ids, id_key(id, text));
}

static void schema_free(struct registry_schema *schema)
{
    avro_schema_free(schema->avro);
    mr_arena_fini(&schema->arena);
    mr_free(schema);
}

static void schema_unuse(struct registry_store *store, struct registry_schema *schema)
{
    char text[16];

    if (--schema->uses > 0)
        return;
    if (registry_store_id(store, schema->id) == schema)
        (void)mr_map_remove(&store->ids, id_key(schema->id, text));
    if (mr_map_get(&store->identities, schema->identity) == schema)
        (void)mr_map_remove(&store->identities, schema->identity);
    schema_free(schema);
}

static mr_str printed(struct mr_arena *arena, const struct json_value *value)
{
    struct mr_buf text = {0};

    if (value == NULL || value->kind == JSON_NULL || value->count == 0)
        return MR_STR("");
    json_print(&text, value);
    mr_str copy = mr_arena_str(arena, mr_buf_as_str(&text));
    mr_buf_fini(&text);
    return copy;
}

/* The schema of a record, the known one when it says the same. Not counted as used yet. */
static struct registry_schema *schema_of(struct registry_store *store, int32_t id,
                                         const struct json_value *value)
{
    struct registry_schema *schema = mr_new(struct registry_schema),
                           *known = registry_store_id(store, id);
    struct mr_arena *arena = &schema->arena;
    char text[16];

    schema->id = id;
    schema->type = mr_arena_str(arena,
                                json_str(json_get(value, MR_STR("schemaType")), MR_STR("AVRO")));
    schema->text = mr_arena_str(arena, json_str(json_get(value, MR_STR("schema")), MR_STR("")));
    schema->references = printed(arena, json_get(value, MR_STR("references")));
    schema->metadata = printed(arena, json_get(value, MR_STR("metadata")));
    schema->rules = printed(arena, json_get(value, MR_STR("ruleSet")));
    schema->identity = registry_store_identity(arena, schema->type, schema->text,
                                               schema->references, schema->metadata, schema->rules);
    if (known != NULL && mr_str_equal(known->identity, schema->identity)) {
        schema_free(schema);
        return known;
    }
    (void)mr_map_put(&store->ids, id_key(id, text), schema);
    if (mr_map_get(&store->identities, schema->identity) == NULL)
        (void)mr_map_put(&store->identities, schema->identity, schema);
    return schema;
}

/* ---- subjects ---- */
struct registry_subject *registry_store_subject(const struct registry_store *store, mr_str name)
{
    return mr_map_get(&store->subjects, name);
}

static struct registry_subject *make_subject(struct registry_store *store, mr_str name)
{
    struct registry_subject *subject = mr_map_get(&store->subjects, name);

    if (subject == NULL) {
        subject = mr_new(struct registry_subject);
        subject->name = mr_str_of(mr_copy_cstr(name), name.length);
        (void)mr_map_put(&store->subjects, name, subject);
    }
    return subject;
}

struct registry_version *registry_store_version(const struct registry_subject *subject,
                                                int64_t version, bool deleted)
{
    for (size_t i = subject == NULL ? 0 : subject->versions.count; i > 0; i--) {
        struct registry_version *item = &subject->versions.items[i - 1];
        if ((version == -1 || item->version == version) && (deleted || !item->deleted))
            return item;
    }
    return NULL;
}

bool registry_store_alive(const struct registry_subject *subject)
{
    return registry_store_version(subject, -1, false) != NULL;
}

static void put_version(struct registry_store *store, struct registry_subject *subject,
                        struct registry_version version)
{
    struct registry_version *known = registry_store_version(subject, version.version, true);

    version.schema->uses++;
    if (known != NULL) {
        struct registry_schema *old = known->schema;
        *known = version;
        schema_unuse(store, old);
        return;
    }
    *mr_array_add(&subject->versions) = version;
    for (size_t i = subject->versions.count - 1; i > 0; i--) {
        struct registry_version *items = subject->versions.items;
        if (items[i - 1].version < items[i].version)
            break;
        struct registry_version other = items[i - 1];
        items[i - 1] = items[i];
        items[i] = other;
    }
}

static void remove_version(struct registry_store *store, struct registry_subject *subject,
                           int64_t number)
{
    struct registry_version *version = registry_store_version(subject, number, true);

    if (version == NULL)
        return;
    schema_unuse(store, version->schema);
    size_t index = (size_t)(version - subject->versions.items);
    memmove(version, version + 1, (subject->versions.count - index - 1) * sizeof *version);
    subject->versions.count--;
}

/* ---- records ---- */
static mr_err apply_schema(struct registry_store *store, const struct json_value *key,
                           const struct json_value *value)
{
    mr_str name = json_str(json_get(key, MR_STR("subject")), MR_STR_NULL);
    int64_t number = json_i64(json_get(key, MR_STR("version")), 0);
    int64_t id = json_i64(json_get(value, MR_STR("id")), 0);

    if (name.data == NULL || number < 1 || number > INT32_MAX)
        return mr_fail(MR_INVALID, "record of _schemas: expected a subject and a version");
    if (value == NULL) {
        remove_version(store, registry_store_subject(store, name), number);
        return MR_OK;
    }
    if (id < 1 || id > INT32_MAX)
        return mr_fail(MR_INVALID, "record of _schemas: expected an id");
    struct registry_version version = {
        .version = (int32_t)number,
        .deleted = json_bool(json_get(value, MR_STR("deleted")), false),
        .schema = schema_of(store, (int32_t)id, value),
    };
    put_version(store, make_subject(store, name), version);
    if (id > store->id_max)
        store->id_max = (int32_t)id;
    return MR_OK;
}

static void apply_delete(struct registry_store *store, mr_str name, const struct json_value *value)
{
    struct registry_subject *subject = registry_store_subject(store, name);
    int64_t last = json_i64(json_get(value, MR_STR("version")), 0);

    for (size_t i = 0; subject != NULL && i < subject->versions.count; i++) {
        if (subject->versions.items[i].version <= last)
            subject->versions.items[i].deleted = true;
    }
}

static void apply_clear(struct registry_store *store, mr_str name)
{
    struct registry_subject *subject = registry_store_subject(store, name);

    for (size_t i = subject == NULL ? 0 : subject->versions.count; i > 0; i--) {
        if (subject->versions.items[i - 1].deleted)
            remove_version(store, subject, subject->versions.items[i - 1].version);
    }
}

mr_err registry_store_apply(struct registry_store *store, mr_str key_text, mr_str value_text)
{
    struct mr_arena arena = {0};
    const struct json_value *key, *value = NULL;
    mr_err err = json_parse(&arena, key_text, &key);

    if (err == MR_OK && value_text.data != NULL)
        err = json_parse(&arena, value_text, &value);
    if (err != MR_OK)
        goto out;
    mr_str type = json_str(json_get(key, MR_STR("keytype")), MR_STR(""));
    mr_str name = json_str(json_get(key, MR_STR("subject")), MR_STR_NULL);
    if (mr_str_equal(type, MR_STR("SCHEMA"))) {
        err = apply_schema(store, key, value);
    } else if (mr_str_equal(type, MR_STR("CONFIG"))) {
        enum registry_level level = registry_level_find(
            json_str(json_get(value, MR_STR("compatibilityLevel")), MR_STR("")));
        *(name.data != NULL ? &make_subject(store, name)->level : &store->level) = level;
    } else if (mr_str_equal(type, MR_STR("MODE"))) {
        enum registry_mode mode = registry_mode_find(
            json_str(json_get(value, MR_STR("mode")), MR_STR("")));
        *(name.data != NULL ? &make_subject(store, name)->mode : &store->mode) = mode;
    } else if (mr_str_equal(type, MR_STR("DELETE_SUBJECT"))) {
        apply_delete(store, name, value);
    } else if (mr_str_equal(type, MR_STR("CLEAR_SUBJECT"))) {
        apply_clear(store, name);
    } else if (!mr_str_equal(type, MR_STR("NOOP"))) {
        err = mr_fail(MR_INVALID, "record of _schemas: unknown keytype \"%.*s\"", MR_STR_ARG(type));
    }
out:
    mr_arena_fini(&arena);
    return err;
}

/* ---- references ---- */
enum { REFERENCES_MAX = 256 };
struct gather {
    const struct registry_store *store;
    struct mr_arena *arena;
    const struct registry_schema *seen[REFERENCES_MAX];
    mr_str *texts;
    size_t seen_count, count;
};

static mr_err gather(struct gather *all, const struct json_value *list)
{
    for (uint32_t i = 0; list != NULL && i < list->count; i++) {
        const struct json_value *item = &list->items[i], *inner = NULL;
        mr_str name = json_str(json_get(item, MR_STR("subject")), MR_STR(""));
        int64_t number = json_i64(json_get(item, MR_STR("version")), 0);
        const struct registry_version *version = registry_store_version(
            registry_store_subject(all->store, name), number, true);
        bool known = false;
        if (version == NULL)
            return mr_fail(MR_NOT_FOUND,
                           "No schema reference found for subject \"%.*s\" and version %lld",
                           MR_STR_ARG(name), (long long)number);
        for (size_t j = 0; j < all->seen_count; j++)
            known |= all->seen[j] == version->schema;
        if (known)
            continue;
        if (all->seen_count == REFERENCES_MAX)
            return mr_fail(MR_LIMIT, "more than %d references", REFERENCES_MAX);
        all->seen[all->seen_count++] = version->schema;
        mr_err err = MR_OK;
        if (version->schema->references.length > 0)
            err = json_parse(all->arena, version->schema->references, &inner);
        if (err == MR_OK)
            err = gather(all, inner);
        if (err != MR_OK)
            return err;
        all->texts[all->count++] = version->schema->text;
    }
    return MR_OK;
}

mr_err registry_store_references(const struct registry_store *store, struct mr_arena *arena,
                                 const struct json_value *list, mr_str **texts, size_t *count)
{
    struct gather *all = mr_arena_new(arena, struct gather);

    all->store = store;
    all->arena = arena;
    all->texts = mr_arena_array(arena, mr_str, REFERENCES_MAX);
    mr_err err = gather(all, list);
    *texts = all->texts;
    *count = all->count;
    return err;
}

mr_err registry_store_avro(const struct registry_store *store, struct registry_schema *schema,
                           const struct avro_schema **out)
{
    struct mr_arena arena = {0};
    const struct json_value *list = NULL;
    mr_str *texts = NULL;
    size_t count = 0;
    mr_err err = MR_OK;

    if (schema->avro == NULL) {
        if (schema->references.length > 0)
            err = json_parse(&arena, schema->references, &list);
        if (err == MR_OK)
            err = registry_store_references(store, &arena, list, &texts, &count);
        if (err == MR_OK)
            err = avro_schema_parse(schema->text, texts, count, &schema->avro);
        mr_arena_fini(&arena);
    }
    if (err == MR_OK)
        *out = schema->avro;
    return err;
}

bool registry_store_names(const struct registry_schema *schema, mr_str subject, int32_t version)
{
    struct mr_arena arena = {0};
    const struct json_value *list = NULL;
    bool found = false;

    if (schema->references.length == 0 || json_parse(&arena, schema->references, &list) != MR_OK) {
        mr_arena_fini(&arena);
        return false;
    }
    for (uint32_t i = 0; i < list->count; i++) {
        found |= json_i64(json_get(&list->items[i], MR_STR("version")), 0) == version &&
                 mr_str_equal(json_str(json_get(&list->items[i], MR_STR("subject")), MR_STR("")),
                              subject);
    }
    mr_arena_fini(&arena);
    return found;
}

bool registry_store_referenced(const struct registry_store *store, mr_str name, int32_t version,
                               bool deleted)
{
    struct mr_map_entry *entry;

    for (size_t i = 0; (entry = mr_map_next(&store->subjects, &i)) != NULL;) {
        const struct registry_subject *subject = entry->value;
        for (size_t j = 0; j < subject->versions.count; j++) {
            if ((deleted || !subject->versions.items[j].deleted) &&
                registry_store_names(subject->versions.items[j].schema, name, version))
                return true;
        }
    }
    return false;
}

void registry_store_fini(struct registry_store *store)
{
    struct mr_map_entry *entry;

    for (size_t i = 0; (entry = mr_map_next(&store->subjects, &i)) != NULL;) {
        struct registry_subject *subject = entry->value;
        while (subject->versions.count > 0)
            remove_version(store, subject,
                           subject->versions.items[subject->versions.count - 1].version);
        mr_array_fini(&subject->versions);
        mr_free((char *)(uintptr_t)subject->name.data);
        mr_free(subject);
    }
    mr_map_fini(&store->subjects);
    mr_map_fini(&store->ids);
    mr_map_fini(&store->identities);
    *store = (struct registry_store){0};
}
