/* shell/config.c: `millrace config`: settings of topics, brokers, groups and more, passwords and quotas, as
 * kafka-configs.sh. */
#include "kafka/scram.h"
#include "shell/room.h"

#include <stdio.h>
#include <string.h>

struct changes {
    struct shell *shell;
    int8_t kind;
    mr_str entity, message;
    MR_ARRAY(struct shell_quota_change) list;
};

/* ---- what is to change ---- */

/* "a=b,c=[d,e]": the pair at the front of `*rest`, cut at the first comma outside of brackets. */
static bool next_pair(mr_str *rest, mr_str *pair)
{
    size_t end = 0;
    int depth = 0;
    if (rest->length == 0)
        return false;
    while (end < rest->length && (rest->data[end] != ',' || depth > 0)) {
        depth += rest->data[end] == '[';
        depth -= rest->data[end] == ']';
        end++;
    }
    *pair = mr_str_trim(mr_str_slice(*rest, 0, end));
    *rest = mr_str_slice(*rest, end + 1, rest->length);
    return true;
}

static mr_err add_pair(struct changes *changes, const char *word, mr_str pair)
{
    struct shell_quota_change change;
    if (!shell_pair(pair, &change.name, &change.value))
        return mr_fail(MR_INVALID, "%s %.*s: expected NAME=VALUE", word, MR_STR_ARG(pair));
    if (mr_str_starts(change.value, MR_STR("[")) && mr_str_ends(change.value, MR_STR("]")))
        change.value = mr_str_slice(change.value, 1, change.value.length - 1);
    *mr_array_add(&changes->list) = change;
    return MR_OK;
}

static mr_err add_file(struct changes *changes, const char *path)
{
    struct mr_buf text = {0};
    mr_str rest, line;
    mr_err err = mr_file_read(path, 1 << 20, &text);
    rest = err == MR_OK ? mr_arena_str(&changes->shell->arena, mr_buf_as_str(&text)) : MR_STR_NULL;
    mr_buf_fini(&text);
    while (err == MR_OK && mr_str_split(&rest, '\n', &line)) {
        line = mr_str_trim(line);
        if (line.length > 0 && line.data[0] != '#')
            err = add_pair(changes, path, line);
    }
    return err;
}

static mr_err read_changes(struct changes *changes)
{
    const struct shell_options *options = &changes->shell->options;
    mr_err err = MR_OK;
    mr_str rest, pair;
    for (size_t i = 0; i < options->add_config.count; i++)
        for (rest = mr_str_from(options->add_config.items[i]);
             err == MR_OK && next_pair(&rest, &pair);)
            err = add_pair(changes, "--add-config", pair);
    for (size_t i = 0; err == MR_OK && i < options->add_config_file.count; i++)
        err = add_file(changes, options->add_config_file.items[i]);
    for (size_t i = 0; err == MR_OK && i < options->delete_config.count; i++)
        for (rest = mr_str_from(options->delete_config.items[i]); mr_str_split(&rest, ',', &pair);)
            *mr_array_add(&changes->list) = (struct shell_quota_change){mr_str_trim(pair),
                                                                        MR_STR_NULL};
    if (err == MR_OK && changes->list.count == 0)
        err = mr_fail(MR_INVALID, "--alter needs --add-config or --delete-config");
    return err;
}

/* ---- what has settings ---- */

static void alter_fill(void *context, int16_t version, struct mr_arena *arena, void *request)
{
    const struct changes *changes = context;
    struct kafka_incremental_alter_configs_request *alter = request;
    (void)version;
    alter->resources.items = mr_arena_array(arena, struct kafka_incremental_alter_configs_resource,
                                            1);
    alter->resources.count = 1;
    struct kafka_incremental_alter_configs_resource *resource = &alter->resources.items[0];
    resource->resource_type = changes->kind;
    resource->resource_name = changes->entity;
    resource->configs.items = mr_arena_array(arena, struct kafka_incremental_alter_configs_config,
                                             changes->list.count);
    for (size_t i = 0; i < changes->list.count; i++) {
        struct kafka_incremental_alter_configs_config *config =
            &resource->configs.items[resource->configs.count++];
        config->name = changes->list.items[i].name;
        config->value = changes->list.items[i].value;
        config->config_operation = config->value.data == NULL ? 1 : 0;
    }
}

static int16_t alter_use(void *context, int16_t version, const void *response)
{
    struct changes *changes = context;
    const struct kafka_incremental_alter_configs_response *altered = response;
    (void)version;
    if (altered->responses.count == 0)
        return KAFKA_ERROR_UNKNOWN_SERVER_ERROR;
    changes->message = mr_arena_str(&changes->shell->arena,
                                    altered->responses.items[0].error_message);
    return altered->responses.items[0].error_code;
}

static mr_err alter_settings(struct changes *changes)
{
    struct shell *shell = changes->shell;
    int64_t node;
    struct kafka_target target = {KAFKA_TARGET_CONTROLLER, MR_STR_NULL, 0};
    if ((changes->kind == SHELL_RESOURCE_BROKER || changes->kind == SHELL_RESOURCE_LOGGER) &&
        mr_str_to_i64(changes->entity, &node) == MR_OK)
        target = (struct kafka_target){KAFKA_TARGET_NODE, MR_STR_NULL, (int32_t)node};
    mr_err err = shell_ask(shell, target, KAFKA_API_incremental_alter_configs, alter_fill,
                           alter_use, changes, mr_arena_cstr(&shell->arena, changes->entity));
    if (err != MR_OK && changes->message.length > 0)
        return mr_fail(err, "%.*s: %.*s", MR_STR_ARG(changes->entity),
                       MR_STR_ARG(changes->message));
    return err;
}

static mr_err describe_settings(struct shell *shell, int8_t kind, const char *word, mr_str entity)
{
    struct shell_setting *settings;
    size_t count;
    bool all = shell->options.all.count > 0 || kind == SHELL_RESOURCE_LOGGER;
    mr_err err = shell_settings(shell, kind, entity, all, &settings, &count);
    if (err != MR_OK)
        return err;
    if (entity.length == 0)
        printf("Default configs for %ss in the cluster are:\n", word);
    else
        printf("%s configs for %s %.*s are:\n", shell->options.all.count > 0 ? "All" : "Dynamic",
               word, MR_STR_ARG(entity));
    for (size_t i = 0; i < count; i++)
        printf("  %.*s=%.*s sensitive=%s synonyms={%.*s}\n", MR_STR_ARG(settings[i].name),
               MR_STR_ARG(settings[i].value.data == NULL ? MR_STR("null") : settings[i].value),
               settings[i].value.data == NULL ? "true" : "false", MR_STR_ARG(settings[i].synonyms));
    return MR_OK;
}

/* ---- all of a kind ---- */

struct names {
    struct shell *shell;
    int8_t kind;
    MR_ARRAY(mr_str) list;
};

static void names_fill(void *context, int16_t version, struct mr_arena *arena, void *request)
{
    const struct names *names = context;
    struct kafka_list_config_resources_request *list = request;
    (void)version;
    list->resource_types.items = mr_arena_array(arena, int8_t, 1);
    list->resource_types.items[0] = names->kind;
    list->resource_types.count = 1;
}

static int16_t names_use(void *context, int16_t version, const void *response)
{
    struct names *names = context;
    const struct kafka_list_config_resources_response *told = response;
    names->list.count = 0;
    for (int32_t i = 0; i < told->config_resources.count; i++)
        if (version >= 1 || names->kind == SHELL_RESOURCE_METRICS)
            *mr_array_add(&names->list) = mr_arena_str(
                &names->shell->arena, told->config_resources.items[i].resource_name);
    return told->error_code;
}

static int16_t nodes_use(void *context, int16_t version, const void *response)
{
    struct names *names = context;
    const struct kafka_describe_cluster_response *told = response;
    (void)version;
    names->list.count = 0;
    for (int32_t i = 0; i < told->brokers.count; i++)
        *mr_array_add(&names->list) = mr_arena_printf(&names->shell->arena, "%d",
                                                      told->brokers.items[i].broker_id);
    return told->error_code;
}

static void nothing_fill(void *context, int16_t version, struct mr_arena *arena, void *request)
{
    (void)context, (void)version, (void)arena, (void)request;
}

static mr_err describe_all(struct shell *shell, int8_t kind, const char *word)
{
    struct names names = {.shell = shell, .kind = kind};
    struct kafka_target any = {KAFKA_TARGET_ANY, MR_STR_NULL, 0};
    struct shell_topic *topics;
    size_t count = 0;
    mr_err err;
    if (kind == SHELL_RESOURCE_TOPIC) {
        err = shell_topics(shell, &topics, &count);
        for (size_t i = 0; err == MR_OK && i < count; i++)
            *mr_array_add(&names.list) = topics[i].name;
    } else if (kind == SHELL_RESOURCE_BROKER || kind == SHELL_RESOURCE_LOGGER) {
        err = shell_ask(shell, any, KAFKA_API_describe_cluster, nothing_fill, nodes_use, &names,
                        "brokers");
    } else {
        err = shell_ask(shell, any, KAFKA_API_list_config_resources, names_fill, names_use, &names,
                        word);
    }
    for (size_t i = 0; i < names.list.count && err == MR_OK; i++)
        err = describe_settings(shell, kind, word, names.list.items[i]);
    mr_array_fini(&names.list);
    return err == MR_OK && kind == SHELL_RESOURCE_BROKER
               ? describe_settings(shell, kind, word, MR_STR(""))
               : err;
}

/* ---- users ---- */

struct credential {
    enum kafka_scram_kind kind;
    int32_t iterations;
    uint8_t salt[16], salted[KAFKA_SCRAM_BYTES];
    bool deleted;
};
struct users {
    struct shell *shell;
    mr_str user, message;
    MR_ARRAY(struct credential) list;
};

/* "SCRAM-SHA-256=[iterations=N,password=TEXT]" or "SCRAM-SHA-256=password=TEXT". */
static mr_err credential_read(const struct shell_quota_change *change, struct credential *out)
{
    mr_str rest = change->value, part, key, value, password = MR_STR_NULL;
    int64_t iterations = KAFKA_SCRAM_ITERATIONS_MIN;
    *out = (struct credential){.kind = kafka_scram_find(change->name),
                               .deleted = change->value.data == NULL};
    if (out->kind == KAFKA_SCRAM_NONE)
        return mr_fail(MR_INVALID, "users have SCRAM-SHA-256 and SCRAM-SHA-512; `%.*s` is neither",
                       MR_STR_ARG(change->name));
    while (!out->deleted && mr_str_split(&rest, ',', &part)) {
        if (!shell_pair(part, &key, &value))
            return mr_fail(MR_INVALID, "%.*s: expected [iterations=N,password=TEXT]",
                           MR_STR_ARG(change->name));
        if (mr_str_equal(key, MR_STR("password")))
            password = value;
        else if (!mr_str_equal(key, MR_STR("iterations")) ||
                 mr_str_to_i64(value, &iterations) != MR_OK ||
                 iterations < KAFKA_SCRAM_ITERATIONS_MIN || iterations > KAFKA_SCRAM_ITERATIONS_MAX)
            return mr_fail(MR_INVALID, "%.*s: expected password=TEXT and iterations from %d to %d",
                           MR_STR_ARG(change->name), KAFKA_SCRAM_ITERATIONS_MIN,
                           KAFKA_SCRAM_ITERATIONS_MAX);
    }
    if (out->deleted)
        return MR_OK;
    if (password.length == 0)
        return mr_fail(MR_INVALID, "%.*s: there is no password", MR_STR_ARG(change->name));
    out->iterations = (int32_t)iterations;
    mr_entropy(out->salt, sizeof out->salt);
    kafka_scram_salted(out->kind, password, mr_str_of(out->salt, sizeof out->salt), out->iterations,
                       out->salted);
    return MR_OK;
}

static void users_fill(void *context, int16_t version, struct mr_arena *arena, void *request)
{
    const struct users *users = context;
    struct kafka_alter_user_scram_credentials_request *alter = request;
    size_t room = users->list.count + 1;
    (void)version;
    alter->deletions.items = mr_arena_array(
        arena, struct kafka_alter_user_scram_credentials_deletion, room);
    alter->upsertions.items = mr_arena_array(
        arena, struct kafka_alter_user_scram_credentials_upsertion, room);
    for (size_t i = 0; i < users->list.count; i++) {
        const struct credential *one = &users->list.items[i];
        if (one->deleted) {
            struct kafka_alter_user_scram_credentials_deletion *deletion =
                &alter->deletions.items[alter->deletions.count++];
            deletion->name = users->user;
            deletion->mechanism = (int8_t)one->kind;
            continue;
        }
        struct kafka_alter_user_scram_credentials_upsertion *upsertion =
            &alter->upsertions.items[alter->upsertions.count++];
        upsertion->name = users->user;
        upsertion->mechanism = (int8_t)one->kind;
        upsertion->iterations = one->iterations;
        upsertion->salt = mr_str_of(one->salt, sizeof one->salt);
        upsertion->salted_password = mr_str_of(one->salted, kafka_scram_bytes(one->kind));
    }
}

static int16_t users_use(void *context, int16_t version, const void *response)
{
    struct users *users = context;
    const struct kafka_alter_user_scram_credentials_response *altered = response;
    (void)version;
    for (int32_t i = 0; i < altered->results.count; i++) {
        if (altered->results.items[i].error_code == KAFKA_ERROR_NONE)
            continue;
        users->message = mr_arena_str(&users->shell->arena,
                                      altered->results.items[i].error_message);
        return altered->results.items[i].error_code;
    }
    return KAFKA_ERROR_NONE;
}

static mr_err alter_user(struct changes *changes)
{
    struct shell *shell = changes->shell;
    struct users users = {.shell = shell, .user = changes->entity};
    mr_err err = MR_OK;
    for (size_t i = 0; i < changes->list.count && err == MR_OK; i++)
        err = credential_read(&changes->list.items[i], mr_array_add(&users.list));
    if (err == MR_OK)
        err = shell_ask(shell, (struct kafka_target){KAFKA_TARGET_CONTROLLER, MR_STR_NULL, 0},
                        KAFKA_API_alter_user_scram_credentials, users_fill, users_use, &users,
                        mr_arena_cstr(&shell->arena, changes->entity));
    if (err != MR_OK && users.message.length > 0)
        err = mr_fail(err, "user %.*s: %.*s", MR_STR_ARG(changes->entity),
                      MR_STR_ARG(users.message));
    if (users.list.count > 0)
        kafka_scram_wipe(users.list.items, users.list.count * sizeof users.list.items[0]);
    mr_array_fini(&users.list);
    return err;
}

static void user_fill(void *context, int16_t version, struct mr_arena *arena, void *request)
{
    const struct users *users = context;
    struct kafka_describe_user_scram_credentials_request *describe = request;
    (void)version;
    describe->users.count = -1;
    if (users->user.data == NULL)
        return;
    describe->users.items = mr_arena_array(
        arena, struct kafka_describe_user_scram_credentials_request_user, 1);
    describe->users.items[0].name = users->user;
    describe->users.count = 1;
}

static int16_t user_use(void *context, int16_t version, const void *response)
{
    const struct kafka_describe_user_scram_credentials_response *described = response;
    (void)context;
    (void)version;
    for (int32_t i = 0; i < described->results.count; i++) {
        const struct kafka_describe_user_scram_credentials_result *user =
            &described->results.items[i];
        if (user->error_code != KAFKA_ERROR_NONE)
            continue; /* a user without any: nothing to tell, as Kafka's tool does */
        printf("SCRAM credential configs for user-principal '%.*s' are ", MR_STR_ARG(user->user));
        for (int32_t k = 0; k < user->credential_infos.count; k++)
            printf(
                "%s%s=iterations=%d", k == 0 ? "" : ", ",
                kafka_scram_name((enum kafka_scram_kind)user->credential_infos.items[k].mechanism),
                user->credential_infos.items[k].iterations);
        printf("\n");
    }
    return described->error_code;
}

static mr_err describe_user(struct shell *shell, mr_str name)
{
    struct users users = {.shell = shell, .user = name};
    return shell_ask(shell, (struct kafka_target){KAFKA_TARGET_ANY, MR_STR_NULL, 0},
                     KAFKA_API_describe_user_scram_credentials, user_fill, user_use, &users,
                     "users");
}

/* ---- the command ---- */

enum { KINDS = 8 };
struct kind {
    const char *type, *word;
    int8_t resource; /* as the protocol numbers it; 0: quotas */
    enum shell_quota_part part;
    size_t option, defaults; /* that are short for it; 0: none */
};
#define OPTION_AT(id) offsetof(struct shell_options, id)
static const struct kind kinds[KINDS] = {
    {"topics", "topic", SHELL_RESOURCE_TOPIC, 0, OPTION_AT(topic), 0},
    {"brokers", "broker", SHELL_RESOURCE_BROKER, 0, OPTION_AT(broker), OPTION_AT(broker_defaults)},
    {"broker-loggers", "broker-logger", SHELL_RESOURCE_LOGGER, 0, OPTION_AT(broker_logger), 0},
    {"groups", "group", SHELL_RESOURCE_GROUP, 0, OPTION_AT(group), 0},
    {"client-metrics", "client-metric", SHELL_RESOURCE_METRICS, 0, OPTION_AT(client_metrics), 0},
    {"users", "user", 0, SHELL_QUOTA_USER, OPTION_AT(user), OPTION_AT(user_defaults)},
    {"clients", "client", 0, SHELL_QUOTA_CLIENT, OPTION_AT(client), OPTION_AT(client_defaults)},
    {"ips", "ip", 0, SHELL_QUOTA_IP, OPTION_AT(ip), OPTION_AT(ip_defaults)},
};

/* What the command line speaks of: one kind, or users and client ids together. */
struct entity {
    const struct kind *kind; /* the first one said */
    mr_str name;             /* of that; data NULL: all, "": the default */
    struct shell_quota_entity quota;
};

static const struct shell_option *option_at(const struct shell_options *options, size_t at)
{
    return (const struct shell_option *)(const void *)((const char *)options + at);
}

static mr_err entity_add(struct entity *entity, const struct kind *kind, mr_str name)
{
    struct shell_quota_who *who = &entity->quota.parts[kind->part];
    if (entity->kind != NULL &&
        (entity->kind == kind || entity->kind->resource != 0 || kind->resource != 0))
        return mr_fail(MR_INVALID, "%s and %s: only users and clients go together",
                       entity->kind->type, kind->type);
    if (name.data != NULL && name.length == 0 && kind->defaults == 0)
        return mr_fail(MR_INVALID, "%s have no default", kind->type);
    if (entity->kind == NULL) {
        entity->kind = kind;
        entity->name = name;
    }
    if (kind->resource == 0)
        *who = (struct shell_quota_who){true, name.data != NULL && name.length == 0, name};
    return MR_OK;
}

static mr_err entity_read(const struct shell_options *options, struct entity *out)
{
    mr_err err = MR_OK;
    *out = (struct entity){0};
    for (size_t i = 0; i < options->entity_type.count && err == MR_OK; i++) {
        mr_str name = i < options->entity_name.count ? mr_str_from(options->entity_name.items[i])
                                                     : MR_STR_NULL;
        size_t at = 0;
        while (at < KINDS && strcmp(kinds[at].type, options->entity_type.items[i]) != 0)
            at++;
        err = at < KINDS ? entity_add(out, &kinds[at], name)
                         : mr_fail(MR_INVALID, "--entity-type %s: there is no such type",
                                   options->entity_type.items[i]);
    }
    for (size_t i = 0; i < KINDS && err == MR_OK; i++) {
        const struct shell_option *option = option_at(options, kinds[i].option);
        if (option->count > 0)
            err = entity_add(out, &kinds[i], mr_str_from(shell_text(option)));
        else if (kinds[i].defaults > 0 && option_at(options, kinds[i].defaults)->count > 0)
            err = entity_add(out, &kinds[i], MR_STR(""));
    }
    if (err == MR_OK && out->kind == NULL)
        err = mr_fail(
            MR_INVALID,
            "expected --entity-type topics, brokers, broker-loggers, users, clients, ips, "
            "groups or client-metrics, or --topic, --broker and so on");
    return err;
}

static mr_err describe(struct shell *shell, const struct entity *entity)
{
    const struct kind *kind = entity->kind;
    bool of_users = kind->part == SHELL_QUOTA_USER && !entity->quota.parts[SHELL_QUOTA_CLIENT].has;
    if (kind->resource != 0)
        return entity->name.data == NULL
                   ? describe_all(shell, kind->resource, kind->word)
                   : describe_settings(shell, kind->resource, kind->word, entity->name);
    mr_err err = shell_quotas_describe(shell, &entity->quota);
    if (err == MR_OK && of_users && !entity->quota.parts[SHELL_QUOTA_USER].fallback)
        err = describe_user(shell, entity->name);
    return err;
}

static mr_err alter_quotas(struct changes *changes, const struct entity *entity)
{
    size_t passwords = 0;
    for (size_t i = 0; i < changes->list.count; i++)
        passwords += kafka_scram_find(changes->list.items[i].name) != KAFKA_SCRAM_NONE;
    if (passwords == 0)
        return shell_quotas_alter(changes->shell, &entity->quota, changes->list.items,
                                  changes->list.count);
    if (passwords < changes->list.count)
        return mr_fail(MR_INVALID, "passwords and quotas do not change in one go");
    if (entity->kind->part != SHELL_QUOTA_USER || entity->quota.parts[SHELL_QUOTA_CLIENT].has ||
        changes->entity.length == 0)
        return mr_fail(MR_INVALID, "passwords are of one user");
    return alter_user(changes);
}

static mr_err run(struct shell *shell)
{
    struct entity entity;
    bool tells = shell->options.describe.count > 0, alters = shell->options.alter.count > 0;
    mr_err err = entity_read(&shell->options, &entity);
    if (err == MR_OK && tells == alters)
        err = mr_fail(MR_INVALID, "expected one of --describe and --alter");
    if (err != MR_OK)
        return err;
    if (tells)
        return describe(shell, &entity);
    for (int i = 0; i < SHELL_QUOTA_PARTS; i++)
        if (entity.quota.parts[i].has && entity.quota.parts[i].name.data == NULL)
            entity.name = MR_STR_NULL;
    if (entity.name.data == NULL)
        return mr_fail(MR_INVALID, "--alter needs --entity-name or --entity-default");
    struct changes changes = {.shell = shell, .kind = entity.kind->resource, .entity = entity.name};
    err = read_changes(&changes);
    if (err == MR_OK)
        err = changes.kind == 0 ? alter_quotas(&changes, &entity) : alter_settings(&changes);
    if (err == MR_OK && entity.name.length == 0)
        printf("Completed updating default config for %s in the cluster.\n", entity.kind->type);
    else if (err == MR_OK)
        printf("Completed updating config for %s %.*s.\n", entity.kind->word,
               MR_STR_ARG(entity.name));
    mr_array_fini(&changes.list);
    return err;
}

int shell_command_config(int argc, char **argv)
{
    struct shell shell;
    int status = shell_begin(&shell, "config", argc, argv);
    return status >= 0 ? status : shell_end(&shell, run(&shell));
}
