/* registry/subjects.c: the endpoints under /subjects. */
#include "registry/call.h"

#include <stdlib.h>

static int no_subject(struct registry_call *call)
{
    return registry_call_fail(call, REGISTRY_ERROR_SUBJECT_NOT_FOUND, "Subject '%.*s' not found.",
                              MR_STR_ARG(call->subject));
}

static int not_writable(struct registry_call *call)
{
    enum registry_mode mode = registry_call_mode(call);

    if (mode != REGISTRY_MODE_READONLY && mode != REGISTRY_MODE_READONLY_OVERRIDE)
        return 0;
    return registry_call_fail(call, REGISTRY_ERROR_NOT_PERMITTED,
                              "Subject %.*s is in read-only mode", MR_STR_ARG(call->subject));
}

/* ---- reading ---- */
static int by_name(const void *a, const void *b)
{
    const struct registry_subject *const *x = a, *const *y = b;
    return mr_str_compare((*x)->name, (*y)->name);
}

/* "a", ":.ctx:", ":*:" (every context). */
static bool has_prefix(mr_str name, mr_str prefix)
{
    if (mr_str_starts(prefix, MR_STR(":*:")))
        prefix = mr_str_slice(prefix, 3, prefix.length);
    return mr_str_starts(name, prefix);
}

int registry_subjects(struct registry_call *call)
{
    mr_str prefix = net_http_param(call->request, "subjectPrefix");
    bool deleted = registry_call_flag(call, "deleted"),
         deleted_only = registry_call_flag(call, "deletedOnly");
    const struct registry_subject **found = mr_arena_array(
        &call->arena, const struct registry_subject *, call->store->subjects.count);
    struct mr_map_entry *entry;
    size_t count = 0;

    for (size_t i = 0; (entry = mr_map_next(&call->store->subjects, &i)) != NULL;) {
        const struct registry_subject *subject = entry->value;
        bool alive = registry_store_alive(subject);
        if (subject->versions.count > 0 && (deleted_only ? !alive : alive || deleted) &&
            has_prefix(subject->name, prefix))
            found[count++] = subject;
    }
    qsort(found, count, sizeof *found, by_name);
    mr_buf_u8(&call->out, '[');
    for (size_t i = 0; i < count; i++) {
        if (!registry_call_page(call, i))
            continue;
        mr_buf_cstr(&call->out, call->out.length > 1 ? "," : "");
        mr_buf_json(&call->out, found[i]->name);
    }
    mr_buf_u8(&call->out, ']');
    return 200;
}

int registry_versions(struct registry_call *call)
{
    const struct registry_subject *subject = registry_store_subject(call->store, call->subject);
    bool deleted = registry_call_flag(call, "deleted"),
         deleted_only = registry_call_flag(call, "deletedOnly");
    size_t count = 0;

    mr_buf_u8(&call->out, '[');
    for (size_t i = 0; subject != NULL && i < subject->versions.count; i++) {
        const struct registry_version *version = &subject->versions.items[i];
        if (deleted_only ? !version->deleted : version->deleted && !deleted)
            continue;
        if (registry_call_page(call, count++))
            mr_buf_printf(&call->out, call->out.length > 1 ? ",%d" : "%d", version->version);
    }
    mr_buf_u8(&call->out, ']');
    return count > 0 ? 200 : no_subject(call);
}

/* The version in the path, or NULL and the answer's status. */
static const struct registry_version *find_version(struct registry_call *call, bool deleted,
                                                   int *status)
{
    const struct registry_subject *subject = registry_store_subject(call->store, call->subject);
    int64_t number = registry_call_version(call, status);

    if (number == 0)
        return NULL;
    const struct registry_version *version = registry_store_version(subject, number, deleted);
    if (version == NULL && registry_store_version(subject, -1, deleted) == NULL)
        *status = no_subject(call);
    else if (version == NULL)
        *status = registry_call_fail(call, REGISTRY_ERROR_VERSION_NOT_FOUND,
                                     "Version %lld not found.", (long long)number);
    return version;
}

int registry_version(struct registry_call *call)
{
    int status = 200;
    const struct registry_version *version = find_version(call, registry_call_flag(call, "deleted"),
                                                          &status);

    if (version != NULL)
        registry_version_print(&call->out, call->subject, version);
    return status;
}

int registry_version_text(struct registry_call *call)
{
    int status = 200;
    const struct registry_version *version = find_version(call, registry_call_flag(call, "deleted"),
                                                          &status);

    if (version != NULL)
        mr_buf_str(&call->out, version->schema->text);
    return status;
}

/* Ids of the schemas that name this version. */
int registry_version_users(struct registry_call *call)
{
    int status = 200;
    const struct registry_version *version = find_version(call, registry_call_flag(call, "deleted"),
                                                          &status);
    struct mr_map_entry *entry;

    if (version == NULL)
        return status;
    mr_buf_u8(&call->out, '[');
    for (size_t i = 0; (entry = mr_map_next(&call->store->ids, &i)) != NULL;) {
        const struct registry_schema *schema = entry->value;
        if (registry_store_names(schema, call->subject, version->version))
            mr_buf_printf(&call->out, call->out.length > 1 ? ",%d" : "%d", schema->id);
    }
    mr_buf_u8(&call->out, ']');
    return 200;
}

int registry_subject_metadata(struct registry_call *call)
{
    const struct registry_subject *subject = registry_store_subject(call->store, call->subject);
    mr_str key = net_http_param(call->request, "key"),
           value = net_http_param(call->request, "value");

    if (!registry_store_alive(subject))
        return no_subject(call);
    for (size_t i = subject->versions.count; i > 0; i--) {
        const struct registry_version *version = &subject->versions.items[i - 1];
        const struct json_value *metadata = NULL;
        if (version->deleted)
            continue;
        if (version->schema->metadata.length > 0 &&
            json_parse(&call->arena, version->schema->metadata, &metadata) != MR_OK)
            metadata = NULL;
        mr_str found = json_str(json_get(json_get(metadata, MR_STR("properties")), key),
                                MR_STR_NULL);
        if (key.data != NULL && (found.data == NULL || !mr_str_equal(found, value)))
            continue;
        registry_version_print(&call->out, call->subject, version);
        return 200;
    }
    return registry_call_fail(call, REGISTRY_ERROR_SCHEMA_NOT_FOUND, "Schema not found");
}

static const struct registry_version *find_same(const struct registry_subject *subject,
                                                mr_str identity, bool deleted)
{
    for (size_t i = subject == NULL ? 0 : subject->versions.count; i > 0; i--) {
        const struct registry_version *version = &subject->versions.items[i - 1];
        if ((deleted || !version->deleted) && mr_str_equal(version->schema->identity, identity))
            return version;
    }
    return NULL;
}

int registry_subject_lookup(struct registry_call *call)
{
    const struct registry_subject *subject = registry_store_subject(call->store, call->subject);
    bool deleted = registry_call_flag(call, "deleted");
    struct registry_candidate candidate;
    int status = registry_candidate_read(call, &candidate);

    if (status != 0)
        return status;
    if (registry_store_version(subject, -1, deleted) == NULL)
        return no_subject(call);
    const struct registry_version *version = find_same(subject, candidate.identity, deleted);
    if (version == NULL)
        return registry_call_fail(call, REGISTRY_ERROR_SCHEMA_NOT_FOUND, "Schema not found");
    registry_version_print(&call->out, call->subject, version);
    return 200;
}

/* ---- registering ---- */
static void print_record(struct mr_buf *out, mr_str subject, int64_t number, int64_t id,
                         const struct registry_schema *schema, bool deleted)
{
    mr_buf_cstr(out, "{\"subject\":");
    mr_buf_json(out, subject);
    mr_buf_printf(out, ",\"version\":%lld,\"id\":%lld", (long long)number, (long long)id);
    registry_schema_extras(out, schema);
    mr_buf_cstr(out, ",\"schema\":");
    mr_buf_json(out, schema->text);
    mr_buf_printf(out, ",\"deleted\":%s}", deleted ? "true" : "false");
}

static void schema_key(struct mr_buf *out, mr_str subject, int64_t number)
{
    mr_buf_cstr(out, "{\"keytype\":\"SCHEMA\",\"subject\":");
    mr_buf_json(out, subject);
    mr_buf_printf(out, ",\"version\":%lld,\"magic\":1}", (long long)number);
}

static int write_version(struct registry_call *call, const struct registry_candidate *candidate,
                         int64_t number, int64_t id)
{
    struct registry_schema schema = {
        .type = candidate->type,
        .text = candidate->text,
        .references = candidate->references,
        .metadata = candidate->metadata,
        .rules = candidate->rules,
    };
    struct mr_buf key = {0}, value = {0};

    schema_key(&key, call->subject, number);
    print_record(&value, call->subject, number, id, &schema, false);
    registry_call_record(call, &key, &value);
    mr_buf_printf(&call->out, "{\"id\":%lld}", (long long)id);
    return 200;
}

static int64_t next_version(const struct registry_subject *subject)
{
    const struct registry_version *last = registry_store_version(subject, -1, true);
    return last == NULL ? 1 : last->version + 1;
}

/* In mode IMPORT the client says the id and, if it likes, the version; nothing is compared. */
static int import(struct registry_call *call, const struct registry_candidate *candidate)
{
    const struct registry_subject *subject = registry_store_subject(call->store, call->subject);
    const struct registry_schema *known;

    if (candidate->id < 1 || candidate->id > INT32_MAX || candidate->version > INT32_MAX)
        return registry_call_fail(call, REGISTRY_ERROR_NOT_PERMITTED,
                                  "Subject %.*s is in import mode: expected an id",
                                  MR_STR_ARG(call->subject));
    known = registry_store_id(call->store, (int32_t)candidate->id);
    if (known != NULL && !mr_str_equal(known->identity, candidate->identity))
        return registry_call_fail(call, REGISTRY_ERROR_NOT_PERMITTED,
                                  "Overwrite new schema with id %lld is not permitted.",
                                  (long long)candidate->id);
    return write_version(call, candidate,
                         candidate->version > 0 ? candidate->version : next_version(subject),
                         candidate->id);
}

static int incompatible(struct registry_call *call, const struct mr_buf *messages)
{
    mr_str list = mr_arena_printf(&call->arena, "[%.*s]", MR_STR_ARG(mr_buf_as_str(messages)));
    const struct json_value *value;
    struct mr_buf text = {0};

    if (json_parse(&call->arena, list, &value) == MR_OK) {
        for (uint32_t i = 0; i < value->count; i++) {
            mr_buf_cstr(&text, i > 0 ? ", " : "");
            mr_buf_str(&text, value->items[i].text);
        }
    }
    int status = registry_call_fail(
        call, REGISTRY_ERROR_INCOMPATIBLE,
        "Schema being registered is incompatible with an earlier schema for subject "
        "\"%.*s\", details: [%.*s]",
        MR_STR_ARG(call->subject), MR_STR_ARG(mr_buf_as_str(&text)));
    mr_buf_fini(&text);
    return status;
}

static int register_new(struct registry_call *call, const struct registry_candidate *candidate)
{
    const struct registry_subject *subject = registry_store_subject(call->store, call->subject);
    const struct registry_schema *known = mr_map_get(&call->store->identities, candidate->identity);
    size_t count = 0, total = subject == NULL ? 0 : subject->versions.count;
    struct registry_version **versions = mr_arena_array(&call->arena, struct registry_version *,
                                                        total);
    struct mr_buf messages = {0};

    if (avro_schema_check_defaults(candidate->avro) != MR_OK)
        return registry_call_fail(call, REGISTRY_ERROR_INVALID_SCHEMA,
                                  "Invalid schema of type AVRO, details: %s", mr_why());
    for (size_t i = 0; i < total; i++) {
        if (!subject->versions.items[i].deleted)
            versions[count++] = &subject->versions.items[i];
    }
    bool good = registry_candidate_fits(call, candidate, registry_call_level(call), versions, count,
                                        &messages);
    int status = good ? 0 : incompatible(call, &messages);
    mr_buf_fini(&messages);
    if (status != 0)
        return status;
    return write_version(call, candidate, next_version(subject),
                         known != NULL ? known->id : call->store->id_max + 1);
}

int registry_version_register(struct registry_call *call)
{
    const struct registry_subject *subject = registry_store_subject(call->store, call->subject);
    struct registry_candidate candidate;
    int status = not_writable(call);

    if (status == 0 &&
        (call->subject.length == 0 || mr_str_equal(call->subject, MR_STR("__GLOBAL"))))
        status = registry_call_fail(call, REGISTRY_ERROR_INVALID_SUBJECT,
                                    "The specified subject '%.*s' is not valid",
                                    MR_STR_ARG(call->subject));
    if (status == 0)
        status = registry_candidate_read(call, &candidate);
    if (status != 0)
        return status;
    if (registry_call_mode(call) == REGISTRY_MODE_IMPORT)
        return import(call, &candidate);
    const struct registry_version *same = find_same(subject, candidate.identity, false);
    if (same != NULL) {
        mr_buf_printf(&call->out, "{\"id\":%d}", same->schema->id);
        return 200;
    }
    if (candidate.id >= 0)
        return registry_call_fail(call, REGISTRY_ERROR_NOT_PERMITTED,
                                  "Subject %.*s is not in import mode", MR_STR_ARG(call->subject));
    return register_new(call, &candidate);
}

/* ---- deleting ---- */
static int referenced(struct registry_call *call, int32_t version)
{
    return registry_call_fail(
        call, REGISTRY_ERROR_REFERENCE_EXISTS,
        "One or more references exist to the schema {magic=1,keytype=SCHEMA,subject=%.*s,"
        "version=%d}.",
        MR_STR_ARG(call->subject), version);
}

int registry_version_delete(struct registry_call *call)
{
    bool permanent = registry_call_flag(call, "permanent");
    struct mr_buf key = {0}, value = {0};
    int status = not_writable(call);

    if (status != 0)
        return status;
    bool latest = mr_str_equal(call->version, MR_STR("latest")) ||
                  mr_str_equal(call->version, MR_STR("-1"));
    const struct registry_version *version = find_version(call, !latest || permanent, &status);
    if (version == NULL)
        return status;
    if (!permanent && version->deleted)
        return registry_call_fail(
            call, REGISTRY_ERROR_VERSION_SOFT_DELETED,
            "Subject '%.*s' Version %d was soft deleted. Set permanent=true to delete permanently",
            MR_STR_ARG(call->subject), version->version);
    if (permanent && !version->deleted)
        return registry_call_fail(
            call, REGISTRY_ERROR_VERSION_NOT_SOFT_DELETED,
            "Subject '%.*s' Version %d was not deleted first before being permanently deleted",
            MR_STR_ARG(call->subject), version->version);
    if (registry_store_referenced(call->store, call->subject, version->version, permanent))
        return referenced(call, version->version);
    schema_key(&key, call->subject, version->version);
    if (!permanent)
        print_record(&value, call->subject, version->version, version->schema->id, version->schema,
                     true);
    registry_call_record(call, &key, permanent ? NULL : &value);
    mr_buf_printf(&call->out, "%d", version->version);
    return 200;
}

/* A subject's own level and mode go with it. */
static void forget_settings(struct registry_call *call, const struct registry_subject *subject)
{
    struct mr_buf key = {0};

    if (subject->level != REGISTRY_LEVEL_UNSET) {
        registry_call_key(&key, "CONFIG", call->subject, 0);
        registry_call_record(call, &key, NULL);
    }
    if (subject->mode != REGISTRY_MODE_UNSET) {
        registry_call_key(&key, "MODE", call->subject, 0);
        registry_call_record(call, &key, NULL);
    }
}

static int delete_softly(struct registry_call *call, const struct registry_subject *subject)
{
    struct mr_buf key = {0}, value = {0};
    int32_t last = 0;

    mr_buf_u8(&call->out, '[');
    for (size_t i = 0; i < subject->versions.count; i++) {
        const struct registry_version *version = &subject->versions.items[i];
        if (version->deleted)
            continue;
        if (registry_store_referenced(call->store, call->subject, version->version, false))
            return referenced(call, version->version);
        mr_buf_printf(&call->out, call->out.length > 1 ? ",%d" : "%d", version->version);
        last = version->version;
    }
    mr_buf_u8(&call->out, ']');
    registry_call_key(&key, "DELETE_SUBJECT", call->subject, 0);
    mr_buf_cstr(&value, "{\"subject\":");
    mr_buf_json(&value, call->subject);
    mr_buf_printf(&value, ",\"version\":%d}", last);
    registry_call_record(call, &key, &value);
    forget_settings(call, subject);
    return 200;
}

static int delete_for_good(struct registry_call *call, const struct registry_subject *subject)
{
    struct mr_buf key = {0};

    mr_buf_u8(&call->out, '[');
    for (size_t i = 0; i < subject->versions.count; i++) {
        const struct registry_version *version = &subject->versions.items[i];
        if (registry_store_referenced(call->store, call->subject, version->version, true))
            return referenced(call, version->version);
        mr_buf_printf(&call->out, call->out.length > 1 ? ",%d" : "%d", version->version);
        schema_key(&key, call->subject, version->version);
        registry_call_record(call, &key, NULL);
    }
    mr_buf_u8(&call->out, ']');
    forget_settings(call, subject);
    return 200;
}

int registry_subject_delete(struct registry_call *call)
{
    const struct registry_subject *subject = registry_store_subject(call->store, call->subject);
    bool permanent = registry_call_flag(call, "permanent");
    int status = not_writable(call);

    if (status != 0)
        return status;
    if (subject == NULL || subject->versions.count == 0)
        return no_subject(call);
    bool alive = registry_store_alive(subject);
    if (!permanent && !alive)
        return registry_call_fail(
            call, REGISTRY_ERROR_SUBJECT_SOFT_DELETED,
            "Subject '%.*s' was soft deleted. Set permanent=true to delete permanently",
            MR_STR_ARG(call->subject));
    if (permanent && alive)
        return registry_call_fail(
            call, REGISTRY_ERROR_SUBJECT_NOT_SOFT_DELETED,
            "Subject '%.*s' was not deleted first before being permanently deleted",
            MR_STR_ARG(call->subject));
    return permanent ? delete_for_good(call, subject) : delete_softly(call, subject);
}
