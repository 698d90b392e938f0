/* registry/settings.c: the endpoints /config and /mode, global and of a subject. */
#include "registry/call.h"

static bool global(const struct registry_call *call)
{
    return call->subject.data == NULL;
}

static const struct registry_subject *subject_of(const struct registry_call *call)
{
    return global(call) ? NULL : registry_store_subject(call->store, call->subject);
}

/* ---- compatibility levels ---- */
static enum registry_level own_level(const struct registry_call *call)
{
    const struct registry_subject *subject = subject_of(call);

    if (global(call))
        return registry_call_level(call);
    return subject == NULL ? REGISTRY_LEVEL_UNSET : subject->level;
}

int registry_config_get(struct registry_call *call)
{
    enum registry_level level = own_level(call);

    if (level == REGISTRY_LEVEL_UNSET && registry_call_flag(call, "defaultToGlobal"))
        level = registry_call_level(call);
    if (level == REGISTRY_LEVEL_UNSET)
        return registry_call_fail(
            call, REGISTRY_ERROR_NO_SUBJECT_CONFIG,
            "Subject '%.*s' does not have subject-level compatibility configured",
            MR_STR_ARG(call->subject));
    mr_buf_printf(&call->out, "{\"compatibilityLevel\":\"%s\"}", registry_level_name(level));
    return 200;
}

int registry_config_put(struct registry_call *call)
{
    mr_str word = json_str(json_get(call->body, MR_STR("compatibility")), MR_STR_NULL);
    enum registry_level level = registry_level_find(word);
    struct mr_buf key = {0}, value = {0};

    if (level == REGISTRY_LEVEL_UNSET)
        return registry_call_fail(
            call, REGISTRY_ERROR_INVALID_LEVEL,
            "Invalid compatibility level. Valid values are none, backward, forward, full, "
            "backward_transitive, forward_transitive, and full_transitive");
    registry_call_key(&key, "CONFIG", call->subject, 0);
    mr_buf_printf(&value, "{\"compatibilityLevel\":\"%s\"}", registry_level_name(level));
    registry_call_record(call, &key, &value);
    mr_buf_printf(&call->out, "{\"compatibility\":\"%s\"}", registry_level_name(level));
    return 200;
}

int registry_config_delete(struct registry_call *call)
{
    enum registry_level level = own_level(call);
    struct mr_buf key = {0};

    if (level == REGISTRY_LEVEL_UNSET)
        return registry_call_fail(call, REGISTRY_ERROR_SUBJECT_NOT_FOUND,
                                  "Subject '%.*s' not found.", MR_STR_ARG(call->subject));
    registry_call_key(&key, "CONFIG", call->subject, 0);
    registry_call_record(call, &key, NULL);
    mr_buf_printf(&call->out, "{\"compatibilityLevel\":\"%s\"}", registry_level_name(level));
    return 200;
}

/* ---- modes ---- */
static enum registry_mode own_mode(const struct registry_call *call)
{
    const struct registry_subject *subject = subject_of(call);

    if (global(call))
        return registry_call_mode(call);
    return subject == NULL ? REGISTRY_MODE_UNSET : subject->mode;
}

int registry_mode_get(struct registry_call *call)
{
    enum registry_mode mode = own_mode(call);

    if (mode == REGISTRY_MODE_UNSET && registry_call_flag(call, "defaultToGlobal"))
        mode = registry_call_mode(call);
    if (mode == REGISTRY_MODE_UNSET)
        return registry_call_fail(call, REGISTRY_ERROR_NO_SUBJECT_MODE,
                                  "Subject '%.*s' does not have subject-level mode configured",
                                  MR_STR_ARG(call->subject));
    mr_buf_printf(&call->out, "{\"mode\":\"%s\"}", registry_mode_name(mode));
    return 200;
}

/* Importing must not meet versions that were not imported. */
static bool has_versions(const struct registry_call *call)
{
    struct mr_map_entry *entry;

    if (!global(call))
        return registry_store_alive(subject_of(call));
    for (size_t i = 0; (entry = mr_map_next(&call->store->subjects, &i)) != NULL;) {
        if (registry_store_alive(entry->value))
            return true;
    }
    return false;
}

int registry_mode_put(struct registry_call *call)
{
    enum registry_mode mode = registry_mode_find(
        json_str(json_get(call->body, MR_STR("mode")), MR_STR_NULL));
    struct mr_buf key = {0}, value = {0};

    if (mode == REGISTRY_MODE_UNSET)
        return registry_call_fail(
            call, REGISTRY_ERROR_INVALID_MODE,
            "Invalid mode. Valid values are READWRITE, READONLY, READONLY_OVERRIDE, and IMPORT");
    if (mode == REGISTRY_MODE_IMPORT && registry_call_mode(call) != REGISTRY_MODE_IMPORT &&
        !registry_call_flag(call, "force") && has_versions(call))
        return registry_call_fail(call, REGISTRY_ERROR_NOT_PERMITTED,
                                  "Cannot import since found existing subjects");
    registry_call_key(&key, "MODE", call->subject, 0);
    mr_buf_printf(&value, "{\"mode\":\"%s\"}", registry_mode_name(mode));
    registry_call_record(call, &key, &value);
    mr_buf_printf(&call->out, "{\"mode\":\"%s\"}", registry_mode_name(mode));
    return 200;
}

int registry_mode_delete(struct registry_call *call)
{
    enum registry_mode mode = own_mode(call);
    struct mr_buf key = {0};

    if (mode == REGISTRY_MODE_UNSET)
        return registry_call_fail(call, REGISTRY_ERROR_SUBJECT_NOT_FOUND,
                                  "Subject '%.*s' not found.", MR_STR_ARG(call->subject));
    registry_call_key(&key, "MODE", call->subject, 0);
    registry_call_record(call, &key, NULL);
    mr_buf_printf(&call->out, "{\"mode\":\"%s\"}", registry_mode_name(mode));
    return 200;
}
