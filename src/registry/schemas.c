/* registry/schemas.c: the endpoints under /schemas and the few that stand alone. */
#include "registry/call.h"

#include <stdlib.h>

static const struct registry_schema *find_id(struct registry_call *call, int *status)
{
    const struct registry_schema *schema = NULL;
    int64_t id = 0;

    if (mr_str_to_i64(call->number, &id) == MR_OK && id > 0 && id <= INT32_MAX)
        schema = registry_store_id(call->store, (int32_t)id);
    if (schema == NULL)
        *status = registry_call_fail(call, REGISTRY_ERROR_SCHEMA_NOT_FOUND, "Schema %.*s not found",
                                     MR_STR_ARG(call->number));
    return schema;
}

int registry_id(struct registry_call *call)
{
    int status = 200;
    const struct registry_schema *schema = find_id(call, &status);

    if (schema == NULL)
        return status;
    mr_buf_cstr(&call->out, "{\"schema\":");
    mr_buf_json(&call->out, schema->text);
    registry_schema_extras(&call->out, schema);
    if (registry_call_flag(call, "fetchMaxId"))
        mr_buf_printf(&call->out, ",\"maxId\":%d", call->store->id_max);
    mr_buf_u8(&call->out, '}');
    return 200;
}

int registry_id_text(struct registry_call *call)
{
    int status = 200;
    const struct registry_schema *schema = find_id(call, &status);

    if (schema != NULL)
        mr_buf_str(&call->out, schema->text);
    return status;
}

static int by_name(const void *a, const void *b)
{
    const struct registry_subject *const *x = a, *const *y = b;
    return mr_str_compare((*x)->name, (*y)->name);
}

static const struct registry_subject **sorted_subjects(struct registry_call *call, size_t *count)
{
    const struct registry_subject **list = mr_arena_array(
        &call->arena, const struct registry_subject *, call->store->subjects.count);
    struct mr_map_entry *entry;

    *count = 0;
    for (size_t i = 0; (entry = mr_map_next(&call->store->subjects, &i)) != NULL;)
        list[(*count)++] = entry->value;
    qsort(list, *count, sizeof *list, by_name);
    return list;
}

/* Where an id is used: subjects, or subjects with their versions. */
static int print_uses(struct registry_call *call, bool versions)
{
    int status = 200;
    const struct registry_schema *schema = find_id(call, &status);
    bool deleted = registry_call_flag(call, "deleted");
    mr_str only = net_http_param(call->request, "subject");
    size_t count, found = 0;

    if (schema == NULL)
        return status;
    const struct registry_subject **subjects = sorted_subjects(call, &count);
    mr_buf_u8(&call->out, '[');
    for (size_t i = 0; i < count; i++) {
        if (only.data != NULL && !mr_str_equal(only, subjects[i]->name))
            continue;
        for (size_t j = 0; j < subjects[i]->versions.count; j++) {
            const struct registry_version *version = &subjects[i]->versions.items[j];
            if (version->schema->id != schema->id || (version->deleted && !deleted))
                continue;
            if (registry_call_page(call, found++)) {
                mr_buf_cstr(&call->out, call->out.length > 1 ? "," : "");
                mr_buf_cstr(&call->out, versions ? "{\"subject\":" : "");
                mr_buf_json(&call->out, subjects[i]->name);
                if (versions)
                    mr_buf_printf(&call->out, ",\"version\":%d}", version->version);
            }
            if (!versions)
                break;
        }
    }
    mr_buf_u8(&call->out, ']');
    return 200;
}

int registry_id_subjects(struct registry_call *call)
{
    return print_uses(call, false);
}

int registry_id_versions(struct registry_call *call)
{
    return print_uses(call, true);
}

int registry_schemas(struct registry_call *call)
{
    bool deleted = registry_call_flag(call, "deleted"),
         latest = registry_call_flag(call, "latestOnly");
    mr_str prefix = net_http_param(call->request, "subjectPrefix");
    size_t count, found = 0;
    const struct registry_subject **subjects = sorted_subjects(call, &count);

    if (mr_str_starts(prefix, MR_STR(":*:")))
        prefix = mr_str_slice(prefix, 3, prefix.length);
    mr_buf_u8(&call->out, '[');
    for (size_t i = 0; i < count; i++) {
        const struct registry_version *last = registry_store_version(subjects[i], -1, deleted);
        for (size_t j = 0; j < subjects[i]->versions.count; j++) {
            const struct registry_version *version = &subjects[i]->versions.items[j];
            if ((version->deleted && !deleted) || (latest && version != last) ||
                !mr_str_starts(subjects[i]->name, prefix) || !registry_call_page(call, found++))
                continue;
            mr_buf_cstr(&call->out, call->out.length > 1 ? "," : "");
            registry_version_print(&call->out, subjects[i]->name, version);
        }
    }
    mr_buf_u8(&call->out, ']');
    return 200;
}

int registry_types(struct registry_call *call)
{
    mr_buf_cstr(&call->out, "[\"AVRO\"]");
    return 200;
}

/* The contexts that subjects of the form ":.context:name" name, and the default one. */
int registry_contexts(struct registry_call *call)
{
    size_t count;
    const struct registry_subject **subjects = sorted_subjects(call, &count);
    mr_str previous = MR_STR(".");

    mr_buf_cstr(&call->out, "[\".\"");
    for (size_t i = 0; i < count; i++) {
        mr_str name = subjects[i]->name;
        if (!mr_str_starts(name, MR_STR(":.")) || subjects[i]->versions.count == 0)
            continue;
        ptrdiff_t end = mr_str_find_byte(mr_str_slice(name, 1, name.length), ':');
        if (end < 0)
            continue;
        name = mr_str_slice(name, 1, (size_t)end + 1);
        if (!mr_str_equal(name, previous)) {
            mr_buf_u8(&call->out, ',');
            mr_buf_json(&call->out, name);
        }
        previous = name;
    }
    mr_buf_u8(&call->out, ']');
    return 200;
}

int registry_root(struct registry_call *call)
{
    mr_buf_cstr(&call->out, "{}");
    return 200;
}

int registry_cluster(struct registry_call *call)
{
    mr_buf_cstr(&call->out, "{\"scope\":{\"path\":[],\"clusters\":{\"kafka-cluster\":");
    mr_buf_json(&call->out, call->kafka);
    mr_buf_cstr(&call->out, ",\"schema-registry-cluster\":\"schema-registry\"}}}");
    return 200;
}

int registry_release(struct registry_call *call)
{
    mr_buf_cstr(&call->out, "{\"version\":\"7.9.0\",\"commitId\":\"millrace\"}");
    return 200;
}
