/* shell/quota.c: quotas of users, client ids and addresses, told and changed as kafka-configs.sh does. */
#include "shell/room.h"

#include <stdio.h>
#include <stdlib.h>

static const char *const types[SHELL_QUOTA_PARTS] = {"user", "client-id", "ip"};
static const char *const words[SHELL_QUOTA_PARTS] = {"user-principal", "client-id", "ip"};

struct quotas {
    struct shell *shell;
    const struct shell_quota_entity *entity;
    const struct shell_quota_change *changes;
    size_t change_count;
    mr_str message;
};

/* ---- telling ---- */

static void describe_fill(void *context, int16_t version, struct mr_arena *arena, void *request)
{
    const struct quotas *quotas = context;
    struct kafka_describe_client_quotas_request *describe = request;
    (void)version;
    describe->strict = true;
    describe->components.items = mr_arena_array(
        arena, struct kafka_describe_client_quotas_component, SHELL_QUOTA_PARTS);
    for (int i = 0; i < SHELL_QUOTA_PARTS; i++) {
        const struct shell_quota_who *who = &quotas->entity->parts[i];
        if (!who->has)
            continue;
        describe->components.items[describe->components.count++] =
            (struct kafka_describe_client_quotas_component){mr_str_from(types[i]),
                                                            who->fallback            ? 1
                                                            : who->name.data == NULL ? 2
                                                                                     : 0,
                                                            who->fallback ? MR_STR_NULL
                                                                          : who->name};
    }
}

/* The shortest decimal that reads back as the same, with a point: 1024.0. */
static void number_print(double value)
{
    char text[40];
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        double back = 0;
        if (mr_str_to_f64(mr_str_from(text), &back) == MR_OK && back == value)
            break;
    }
    if (value == (double)(int64_t)value)
        snprintf(text, sizeof text, "%lld.0", (long long)value);
    printf("%s", text);
}

static int value_compare(const void *a, const void *b)
{
    const struct kafka_describe_client_quotas_value *x = a, *y = b;
    return mr_str_compare(x->key, y->key);
}

static void entry_print(const struct kafka_describe_client_quotas_entry *entry)
{
    bool first = true;
    printf("Quota configs for ");
    for (int part = 0; part < SHELL_QUOTA_PARTS; part++)
        for (int32_t i = 0; i < entry->entity.count; i++) {
            mr_str name = entry->entity.items[i].entity_name;
            if (!mr_str_equal(entry->entity.items[i].entity_type, mr_str_from(types[part])))
                continue;
            printf("%s", first ? "" : ", ");
            if (name.data == NULL)
                printf("the default %s", words[part]);
            else
                printf("%s '%.*s'", words[part], MR_STR_ARG(name));
            first = false;
        }
    printf(" are ");
    if (entry->values.count > 0)
        qsort(entry->values.items, (size_t)entry->values.count, sizeof entry->values.items[0],
              value_compare);
    for (int32_t i = 0; i < entry->values.count; i++) {
        printf("%s%.*s=", i == 0 ? "" : ", ", MR_STR_ARG(entry->values.items[i].key));
        number_print(entry->values.items[i].value);
    }
    printf("\n");
}

static int16_t describe_use(void *context, int16_t version, const void *response)
{
    struct quotas *quotas = context;
    const struct kafka_describe_client_quotas_response *told = response;
    (void)version;
    quotas->message = mr_arena_str(&quotas->shell->arena, told->error_message);
    for (int32_t i = 0; i < told->entries.count; i++)
        entry_print(&told->entries.items[i]);
    return told->error_code;
}

mr_err shell_quotas_describe(struct shell *shell, const struct shell_quota_entity *entity)
{
    struct quotas quotas = {.shell = shell, .entity = entity};
    return shell_ask(shell, (struct kafka_target){KAFKA_TARGET_ANY, MR_STR_NULL, 0},
                     KAFKA_API_describe_client_quotas, describe_fill, describe_use, &quotas,
                     "quotas");
}

/* ---- changing ---- */

static void alter_fill(void *context, int16_t version, struct mr_arena *arena, void *request)
{
    const struct quotas *quotas = context;
    struct kafka_alter_client_quotas_request *alter = request;
    struct kafka_alter_client_quotas_entry *entry;
    (void)version;
    alter->entries.items = entry = mr_arena_array(arena, struct kafka_alter_client_quotas_entry, 1);
    alter->entries.count = 1;
    entry->entity.items = mr_arena_array(arena, struct kafka_alter_client_quotas_part,
                                         SHELL_QUOTA_PARTS);
    for (int i = 0; i < SHELL_QUOTA_PARTS; i++)
        if (quotas->entity->parts[i].has)
            entry->entity.items[entry->entity.count++] = (struct kafka_alter_client_quotas_part){
                mr_str_from(types[i]),
                quotas->entity->parts[i].fallback ? MR_STR_NULL : quotas->entity->parts[i].name};
    entry->ops.items = mr_arena_array(arena, struct kafka_alter_client_quotas_op,
                                      quotas->change_count);
    for (size_t i = 0; i < quotas->change_count; i++) {
        const struct shell_quota_change *change = &quotas->changes[i];
        struct kafka_alter_client_quotas_op *op = &entry->ops.items[entry->ops.count++];
        op->key = change->name;
        op->remove = change->value.data == NULL ||
                     mr_str_to_f64(change->value, &op->value) != MR_OK;
    }
}

static int16_t alter_use(void *context, int16_t version, const void *response)
{
    struct quotas *quotas = context;
    const struct kafka_alter_client_quotas_response *altered = response;
    (void)version;
    if (altered->entries.count == 0)
        return KAFKA_ERROR_UNKNOWN_SERVER_ERROR;
    quotas->message = mr_arena_str(&quotas->shell->arena, altered->entries.items[0].error_message);
    return altered->entries.items[0].error_code;
}

mr_err shell_quotas_alter(struct shell *shell, const struct shell_quota_entity *entity,
                          const struct shell_quota_change *changes, size_t count)
{
    struct quotas quotas = {
        .shell = shell, .entity = entity, .changes = changes, .change_count = count};
    double number;
    for (size_t i = 0; i < count; i++)
        if (changes[i].value.data != NULL && mr_str_to_f64(changes[i].value, &number) != MR_OK)
            return mr_fail(MR_INVALID, "%.*s=%.*s: expected a number", MR_STR_ARG(changes[i].name),
                           MR_STR_ARG(changes[i].value));
    mr_err err = shell_ask(shell, (struct kafka_target){KAFKA_TARGET_CONTROLLER, MR_STR_NULL, 0},
                           KAFKA_API_alter_client_quotas, alter_fill, alter_use, &quotas, "quotas");
    if (err != MR_OK && quotas.message.length > 0)
        return mr_fail(err, "quotas: %.*s", MR_STR_ARG(quotas.message));
    return err;
}
