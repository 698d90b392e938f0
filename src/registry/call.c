/* registry/call.c: what handlers need of a request, and the words of answers. */
#include "registry/call.h"

#include <stdarg.h>
#include <stdio.h>

int registry_call_fail(struct registry_call *call, enum registry_error error, const char *format,
                       ...)
{
    static const struct {
        int status, code;
    } table[] = {
#define ERROR_CODE(name, status, code) {status, code},
#include "registry/errors.def"
    };
    char text[4096];
    va_list list;

    va_start(list, format);
    (void)vsnprintf(text, sizeof text, format, list);
    va_end(list);
    mr_array_fini(&call->records);
    mr_buf_clear(&call->out);
    mr_buf_printf(&call->out, "{\"error_code\":%d,\"message\":", table[error].code);
    mr_buf_json(&call->out, mr_str_from(text));
    mr_buf_u8(&call->out, '}');
    return table[error].status;
}

bool registry_call_flag(const struct registry_call *call, const char *name)
{
    return mr_str_equal_nocase(net_http_param(call->request, name), MR_STR("true"));
}

bool registry_call_page(const struct registry_call *call, size_t index)
{
    int64_t offset = 0, limit = -1;

    (void)mr_str_to_i64(net_http_param(call->request, "offset"), &offset);
    (void)mr_str_to_i64(net_http_param(call->request, "limit"), &limit);
    if (offset < 0)
        offset = 0;
    return (int64_t)index >= offset && (limit < 0 || (int64_t)index - offset < limit);
}

int64_t registry_call_version(struct registry_call *call, int *status)
{
    int64_t version = 0;

    if (mr_str_equal(call->version, MR_STR("latest")))
        return -1;
    if (mr_str_to_i64(call->version, &version) == MR_OK &&
        (version == -1 || (version > 0 && version <= INT32_MAX)))
        return version;
    *status = registry_call_fail(
        call, REGISTRY_ERROR_INVALID_VERSION,
        "The specified version '%.*s' is not a valid version id. Allowed values are "
        "between [1, 2^31-1] and the string \"latest\"",
        MR_STR_ARG(call->version));
    return 0;
}

enum registry_mode registry_call_mode(const struct registry_call *call)
{
    const struct registry_subject *subject = registry_store_subject(call->store, call->subject);

    if (subject != NULL && subject->mode != REGISTRY_MODE_UNSET)
        return subject->mode;
    return call->store->mode != REGISTRY_MODE_UNSET ? call->store->mode : REGISTRY_MODE_READWRITE;
}

enum registry_level registry_call_level(const struct registry_call *call)
{
    const struct registry_subject *subject = registry_store_subject(call->store, call->subject);

    if (subject != NULL && subject->level != REGISTRY_LEVEL_UNSET)
        return subject->level;
    return call->store->level != REGISTRY_LEVEL_UNSET ? call->store->level
                                                      : REGISTRY_LEVEL_BACKWARD;
}

void registry_call_key(struct mr_buf *out, const char *type, mr_str subject, int magic)
{
    mr_buf_printf(out, "{\"keytype\":\"%s\",\"subject\":", type);
    if (subject.data == NULL)
        mr_buf_cstr(out, "null");
    else
        mr_buf_json(out, subject);
    mr_buf_printf(out, ",\"magic\":%d}", magic);
}

void registry_call_record(struct registry_call *call, struct mr_buf *key, struct mr_buf *value)
{
    struct registry_record record = {mr_arena_str(&call->arena, mr_buf_as_str(key)), MR_STR_NULL};

    if (value != NULL)
        record.value = mr_arena_str(&call->arena, mr_buf_as_str(value));
    *mr_array_add(&call->records) = record;
    mr_buf_fini(key);
    if (value != NULL)
        mr_buf_fini(value);
}

void registry_schema_extras(struct mr_buf *out, const struct registry_schema *schema)
{
    if (!mr_str_equal(schema->type, MR_STR("AVRO")))
        mr_buf_printf(out, ",\"schemaType\":\"%.*s\"", MR_STR_ARG(schema->type));
    if (schema->references.length > 0) {
        mr_buf_cstr(out, ",\"references\":");
        mr_buf_str(out, schema->references);
    }
    if (schema->metadata.length > 0) {
        mr_buf_cstr(out, ",\"metadata\":");
        mr_buf_str(out, schema->metadata);
    }
    if (schema->rules.length > 0) {
        mr_buf_cstr(out, ",\"ruleSet\":");
        mr_buf_str(out, schema->rules);
    }
}

void registry_version_print(struct mr_buf *out, mr_str subject,
                            const struct registry_version *version)
{
    mr_buf_cstr(out, "{\"subject\":");
    mr_buf_json(out, subject);
    mr_buf_printf(out, ",\"version\":%d,\"id\":%d", version->version, version->schema->id);
    registry_schema_extras(out, version->schema);
    mr_buf_cstr(out, ",\"schema\":");
    mr_buf_json(out, version->schema->text);
    mr_buf_u8(out, '}');
}
