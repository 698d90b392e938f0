/* shell/config.c: `millrace config`: settings of topics and brokers, passwords of users, as kafka-configs.sh. */
#include "kafka/scram.h"
#include "shell/room.h"

#include <stdio.h>
#include <string.h>

struct change {
    mr_str name, value; /* value data NULL: taken back */
};
struct changes {
    struct shell *shell;
    int8_t kind;
    mr_str entity, message;
    MR_ARRAY(struct change) list;
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
    struct change change;
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
            *mr_array_add(&changes->list) = (struct change){mr_str_trim(pair), MR_STR_NULL};
    if (err == MR_OK && changes->list.count == 0)
        err = mr_fail(MR_INVALID, "--alter needs --add-config or --delete-config");
    return err;
}

/* ---- topics and brokers ---- */

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
    if (changes->kind == SHELL_RESOURCE_BROKER && mr_str_to_i64(changes->entity, &node) == MR_OK)
        target = (struct kafka_target){KAFKA_TARGET_NODE, MR_STR_NULL, (int32_t)node};
    mr_err err = shell_ask(shell, target, KAFKA_API_incremental_alter_configs, alter_fill,
                           alter_use, changes, mr_arena_cstr(&shell->arena, changes->entity));
    if (err != MR_OK && changes->message.length > 0)
        return mr_fail(err, "%.*s: %.*s", MR_STR_ARG(changes->entity),
                       MR_STR_ARG(changes->message));
    return err;
}

static mr_err describe_settings(struct shell *shell, int8_t kind, mr_str entity)
{
    struct shell_setting *settings;
    size_t count;
    bool all = shell->options.all.count > 0;
    const char *word = kind == SHELL_RESOURCE_TOPIC ? "topic" : "broker";
    mr_err err = shell_settings(shell, kind, entity, all, &settings, &count);
    if (err != MR_OK)
        return err;
    printf("%s configs for %s %.*s are:\n", all ? "All" : "Dynamic", word, MR_STR_ARG(entity));
    for (size_t i = 0; i < count; i++)
        printf("  %.*s=%.*s sensitive=%s synonyms={%.*s}\n", MR_STR_ARG(settings[i].name),
               MR_STR_ARG(settings[i].value.data == NULL ? MR_STR("null") : settings[i].value),
               settings[i].value.data == NULL ? "true" : "false", MR_STR_ARG(settings[i].synonyms));
    return MR_OK;
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
static mr_err credential_read(const struct change *change, struct credential *out)
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

/* ---- the command ---- */

struct entity {
    enum { ENTITY_NONE, ENTITY_TOPIC, ENTITY_BROKER, ENTITY_USER } kind;
    mr_str name; /* data NULL: all */
};

static mr_err entity_read(const struct shell_options *options, struct entity *out)
{
    const char *type = shell_text(&options->entity_type);
    const struct {
        const struct shell_option *option;
        const char *type;
        int kind;
    } kinds[] = {{&options->topic, "topics", ENTITY_TOPIC},
                 {&options->broker, "brokers", ENTITY_BROKER},
                 {&options->user, "users", ENTITY_USER}};
    *out = (struct entity){ENTITY_NONE, mr_str_from(shell_text(&options->entity_name))};
    for (size_t i = 0; i < mr_count_of(kinds); i++) {
        bool here = type != NULL && strcmp(type, kinds[i].type) == 0;
        if (!here && kinds[i].option->count == 0)
            continue;
        out->kind = kinds[i].kind;
        if (kinds[i].option->count > 0)
            out->name = mr_str_from(shell_text(kinds[i].option));
    }
    return out->kind != ENTITY_NONE
               ? MR_OK
               : mr_fail(MR_INVALID, "expected --entity-type topics, brokers or users, or --topic, "
                                     "--broker, --user");
}

static mr_err describe_all(struct shell *shell, int8_t kind)
{
    struct shell_topic *topics;
    size_t count;
    if (kind == SHELL_RESOURCE_BROKER)
        return describe_settings(shell, kind, MR_STR(""));
    mr_err err = shell_topics(shell, &topics, &count);
    for (size_t i = 0; i < count && err == MR_OK; i++)
        err = describe_settings(shell, kind, topics[i].name);
    return err;
}

static mr_err run(struct shell *shell)
{
    struct entity entity;
    bool describe = shell->options.describe.count > 0, alter = shell->options.alter.count > 0;
    mr_err err = entity_read(&shell->options, &entity);
    int8_t kind = entity.kind == ENTITY_TOPIC ? SHELL_RESOURCE_TOPIC : SHELL_RESOURCE_BROKER;
    if (err == MR_OK && describe == alter)
        err = mr_fail(MR_INVALID, "expected one of --describe and --alter");
    if (err != MR_OK)
        return err;
    if (describe && entity.kind == ENTITY_USER) {
        struct users users = {.shell = shell, .user = entity.name};
        return shell_ask(shell, (struct kafka_target){KAFKA_TARGET_ANY, MR_STR_NULL, 0},
                         KAFKA_API_describe_user_scram_credentials, user_fill, user_use, &users,
                         "users");
    }
    if (describe)
        return entity.name.data == NULL ? describe_all(shell, kind)
                                        : describe_settings(shell, kind, entity.name);
    if (entity.name.data == NULL)
        return mr_fail(MR_INVALID, "--alter needs --entity-name");
    struct changes changes = {.shell = shell, .kind = kind, .entity = entity.name};
    err = read_changes(&changes);
    if (err == MR_OK)
        err = entity.kind == ENTITY_USER ? alter_user(&changes) : alter_settings(&changes);
    if (err == MR_OK)
        printf("Completed updating config for %s %.*s.\n",
               entity.kind == ENTITY_TOPIC  ? "topic"
               : entity.kind == ENTITY_USER ? "user"
                                            : "broker",
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
