/* registry/candidate.c: a schema that a client brings: read, checked, compared with earlier versions. */
#include "registry/call.h"

static mr_str printed(struct mr_arena *arena, const struct json_value *value)
{
    struct mr_buf text = {0};

    if (value == NULL || value->count == 0)
        return MR_STR("");
    json_print(&text, value);
    mr_str copy = mr_arena_str(arena, mr_buf_as_str(&text));
    mr_buf_fini(&text);
    return copy;
}

static int read_avro(struct registry_call *call, const struct json_value *references,
                     struct registry_candidate *out)
{
    mr_str text = out->text, *texts;
    struct mr_buf printed_text = {0};
    size_t count;
    mr_err err = registry_store_references(call->store, &call->arena, references, &texts, &count);

    if (err == MR_OK)
        err = avro_schema_parse(text, texts, count, &call->avro);
    if (err != MR_OK)
        return registry_call_fail(call, REGISTRY_ERROR_INVALID_SCHEMA,
                                  "Invalid schema {schemaType=AVRO, schema=%.*s} with refs %.*s of "
                                  "type AVRO, details: %s",
                                  (int)(text.length < 1000 ? text.length : 1000), text.data,
                                  out->references.length > 0 ? (int)out->references.length : 2,
                                  out->references.length > 0 ? out->references.data : "[]",
                                  mr_why());
    avro_schema_print(call->avro, registry_call_flag(call, "normalize"), &printed_text);
    out->text = mr_arena_str(&call->arena, mr_buf_as_str(&printed_text));
    out->avro = call->avro;
    mr_buf_fini(&printed_text);
    return 0;
}

int registry_candidate_read(struct registry_call *call, struct registry_candidate *out)
{
    const struct json_value *references = json_get(call->body, MR_STR("references"));

    if (call->body == NULL || call->body->kind != JSON_OBJECT)
        return registry_call_fail(call, REGISTRY_ERROR_BAD_REQUEST,
                                  "expected a JSON object with a schema");
    out->type = json_str(json_get(call->body, MR_STR("schemaType")), MR_STR("AVRO"));
    out->text = json_str(json_get(call->body, MR_STR("schema")), MR_STR(""));
    out->references = printed(&call->arena, references);
    out->metadata = printed(&call->arena, json_get(call->body, MR_STR("metadata")));
    out->rules = printed(&call->arena, json_get(call->body, MR_STR("ruleSet")));
    out->id = json_i64(json_get(call->body, MR_STR("id")), -1);
    out->version = json_i64(json_get(call->body, MR_STR("version")), -1);
    if (!mr_str_equal(out->type, MR_STR("AVRO")))
        return registry_call_fail(call, REGISTRY_ERROR_INVALID_SCHEMA,
                                  "Invalid schema type %.*s: only AVRO is served yet",
                                  MR_STR_ARG(out->type));
    if (mr_str_trim(out->text).length == 0)
        return registry_call_fail(call, REGISTRY_ERROR_INVALID_SCHEMA, "Empty schema");
    int status = read_avro(call, references, out);
    if (status == 0)
        out->identity = registry_store_identity(&call->arena, out->type, out->text, out->references,
                                                out->metadata, out->rules);
    return status;
}

/* ---- compatibility ---- */
static void print_message(struct mr_buf *messages, mr_str text)
{
    mr_buf_cstr(messages, messages->length > 0 ? "," : "");
    mr_buf_json(messages, text);
}

static void print_problems(struct mr_buf *messages, const struct avro_problem *problem,
                           const char *reader, const char *writer)
{
    for (; problem != NULL; problem = problem->next) {
        struct mr_buf text = {0};
        avro_problem_print(problem, reader, writer, &text);
        print_message(messages, mr_buf_as_str(&text));
        mr_buf_fini(&text);
    }
}

static bool fits_one(struct registry_call *call, const struct registry_candidate *candidate,
                     bool backward, bool forward, const struct registry_version *version,
                     const char *level, struct mr_buf *messages)
{
    const struct avro_schema *old;
    const struct avro_problem *problems = NULL;

    if (registry_store_avro(call->store, version->schema, &old) != MR_OK) {
        print_message(messages, mr_str_from(mr_why()));
        return false;
    }
    if (backward)
        problems = avro_compatible(avro_schema_root(candidate->avro), avro_schema_root(old),
                                   &call->arena);
    print_problems(messages, problems, "new", "old");
    if (problems == NULL && forward) {
        problems = avro_compatible(avro_schema_root(old), avro_schema_root(candidate->avro),
                                   &call->arena);
        print_problems(messages, problems, "old", "new");
    }
    if (problems == NULL)
        return true;
    print_message(messages,
                  mr_arena_printf(&call->arena, "{oldSchemaVersion: %d}", version->version));
    print_message(messages, mr_arena_printf(&call->arena, "{oldSchema: '%.*s'}",
                                            MR_STR_ARG(version->schema->text)));
    print_message(
        messages,
        mr_arena_printf(&call->arena, "{validateFields: 'false', compatibility: '%s'}", level));
    return false;
}

bool registry_candidate_fits(struct registry_call *call, const struct registry_candidate *candidate,
                             enum registry_level level, struct registry_version *const *versions,
                             size_t count, struct mr_buf *messages)
{
    static const struct {
        bool backward, forward, all;
    } table[] = {
        {false, false, false},
#define LEVEL(name, backward, forward, all) {backward, forward, all},
#include "registry/levels.def"
    };
    size_t first = table[level].all || count == 0 ? 0 : count - 1;

    if (!table[level].backward && !table[level].forward)
        return true;
    for (size_t i = count; i > first; i--) {
        if (!fits_one(call, candidate, table[level].backward, table[level].forward, versions[i - 1],
                      registry_level_name(level), messages))
            return false;
    }
    return true;
}

/* ---- the endpoints that only ask ---- */
static int answer_compatible(struct registry_call *call, const struct registry_candidate *candidate,
                             struct registry_version *const *versions, size_t count)
{
    struct mr_buf messages = {0};
    bool good = registry_candidate_fits(call, candidate, registry_call_level(call), versions, count,
                                        &messages);

    mr_buf_printf(&call->out, "{\"is_compatible\":%s", good ? "true" : "false");
    if (registry_call_flag(call, "verbose")) {
        mr_buf_cstr(&call->out, ",\"messages\":[");
        mr_buf_str(&call->out, mr_buf_as_str(&messages));
        mr_buf_u8(&call->out, ']');
    }
    mr_buf_u8(&call->out, '}');
    mr_buf_fini(&messages);
    return 200;
}

int registry_compatible_all(struct registry_call *call)
{
    const struct registry_subject *subject = registry_store_subject(call->store, call->subject);
    struct registry_candidate candidate;
    size_t count = 0, total = subject == NULL ? 0 : subject->versions.count;
    struct registry_version **versions = mr_arena_array(&call->arena, struct registry_version *,
                                                        total);
    int status = registry_candidate_read(call, &candidate);

    if (status != 0)
        return status;
    for (size_t i = 0; i < total; i++) {
        if (!subject->versions.items[i].deleted)
            versions[count++] = &subject->versions.items[i];
    }
    return answer_compatible(call, &candidate, versions, count);
}

int registry_compatible_one(struct registry_call *call)
{
    const struct registry_subject *subject = registry_store_subject(call->store, call->subject);
    struct registry_candidate candidate;
    int status = 0;
    int64_t number = registry_call_version(call, &status);

    if (number == 0)
        return status;
    if (!registry_store_alive(subject))
        return registry_call_fail(call, REGISTRY_ERROR_SUBJECT_NOT_FOUND,
                                  "Subject '%.*s' not found.", MR_STR_ARG(call->subject));
    struct registry_version *version = registry_store_version(subject, number, false);
    if (version == NULL)
        return registry_call_fail(call, REGISTRY_ERROR_VERSION_NOT_FOUND, "Version %lld not found.",
                                  (long long)number);
    status = registry_candidate_read(call, &candidate);
    return status != 0 ? status : answer_compatible(call, &candidate, &version, 1);
}
