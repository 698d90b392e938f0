/* shell/topic.c: `millrace topic`. Output as kafka-topics.sh prints it, since scripts read that. */
#include "kafka/scram.h"
#include "shell/room.h"

#include <stdio.h>
#include <string.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* ---- which topics ---- */

/* Whether the whole name fits. Errors: MR_INVALID (no pattern). */
static mr_err pattern_take(const char *pattern, const struct shell_topic *topics, size_t count,
                           bool *taken, bool *any)
{
    int code = 0;
    PCRE2_SIZE at = 0;
    pcre2_code *compiled = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                                         PCRE2_ANCHORED | PCRE2_ENDANCHORED, &code, &at, NULL);
    if (compiled == NULL) {
        PCRE2_UCHAR why[128] = {0};
        pcre2_get_error_message(code, why, sizeof why);
        return mr_fail(MR_INVALID, "--topic %s: no pattern: %s at character %zu", pattern,
                       (char *)why, at);
    }
    pcre2_match_data *match = pcre2_match_data_create_from_pattern(compiled, NULL);
    for (size_t i = 0; i < count; i++) {
        if (pcre2_match(compiled, (PCRE2_SPTR)topics[i].name.data, topics[i].name.length, 0, 0,
                        match, NULL) <= 0)
            continue;
        taken[i] = *any = true;
    }
    pcre2_match_data_free(match);
    pcre2_code_free(compiled);
    return MR_OK;
}

/* A --topic is a name; when none has it, it is a pattern of names. Nothing that is only alike is meant by a name. */
static mr_err name_take(const char *name, const struct shell_topic *topics, size_t count,
                        bool *taken, bool *any)
{
    for (size_t i = 0; i < count; i++)
        if (mr_str_equal(topics[i].name, mr_str_from(name)))
            taken[i] = *any = true;
    return *any ? MR_OK : pattern_take(name, topics, count, taken, any);
}

/* The topics that the command is about. `must`: every --topic has to mean one, unless --if-exists is said. */
static mr_err chosen(struct shell *shell, bool must, struct shell_topic **out, size_t *count)
{
    const struct shell_option *names = &shell->options.topic;
    bool exclude = shell->options.exclude_internal.count > 0;
    struct shell_topic *topics = NULL;
    size_t total = 0;
    mr_err err = shell_topics(shell, &topics, &total);
    bool *taken = mr_arena_array(&shell->arena, bool, total + 1);
    memset(taken, 0, (total + 1) * sizeof *taken);
    for (size_t i = 0; err == MR_OK && i < names->count; i++) {
        bool any = false;
        err = name_take(names->items[i], topics, total, taken, &any);
        if (err == MR_OK && !any && must && shell->options.if_exists.count == 0)
            err = mr_fail(MR_NOT_FOUND, "topic %s: there is none of this name", names->items[i]);
    }
    *count = 0;
    *out = topics;
    for (size_t i = 0; err == MR_OK && i < total; i++)
        if (taken[i] || (names->count == 0 && !(topics[i].internal && exclude)))
            topics[(*count)++] = topics[i];
    return err;
}

static mr_err topic_list(struct shell *shell)
{
    struct shell_topic *topics;
    size_t count;
    mr_err err = chosen(shell, false, &topics, &count);
    for (size_t i = 0; err == MR_OK && i < count; i++)
        printf("%.*s\n", MR_STR_ARG(topics[i].name));
    return err;
}

/* ---- describe ---- */

struct described {
    struct shell *shell;
    mr_str name;
    struct mr_buf head, lines;
};

static void describe_fill(void *context, int16_t version, struct mr_arena *arena, void *request)
{
    const struct described *described = context;
    struct kafka_metadata_request *metadata = request;
    (void)version;
    metadata->allow_auto_topic_creation = false;
    metadata->topics.items = mr_arena_array(arena, struct kafka_metadata_request_topic, 1);
    metadata->topics.items[0].name = described->name;
    metadata->topics.count = 1;
}

static void print_nodes(struct mr_buf *out, const char *word, const wire_i32 *nodes, int32_t count)
{
    mr_buf_printf(out, "\t%s: ", word);
    for (int32_t i = 0; i < count; i++)
        mr_buf_printf(out, "%s%d", i == 0 ? "" : ",", nodes[i]);
}

static void print_id(struct mr_buf *out, const mr_uuid *id)
{
    struct mr_buf text = {0};
    kafka_scram_base64(&text, id->bytes, sizeof id->bytes);
    for (size_t i = 0; i < text.length && text.data[i] != '='; i++)
        mr_buf_u8(out, text.data[i] == '+' ? '-' : text.data[i] == '/' ? '_' : text.data[i]);
    mr_buf_fini(&text);
}

/* --under-replicated-partitions, --unavailable-partitions. */
static bool is_asked_for(const struct shell *shell, const struct kafka_metadata_partition *one)
{
    bool behind = shell->options.under_replicated.count > 0;
    bool unavailable = shell->options.unavailable.count > 0;
    return (!behind && !unavailable) ||
           (behind && one->isr_nodes.count < one->replica_nodes.count) ||
           (unavailable && one->leader_id < 0);
}

static int16_t describe_use(void *context, int16_t version, const void *response)
{
    struct described *described = context;
    const struct kafka_metadata_response *metadata = response;
    if (metadata->topics.count == 0)
        return KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION;
    const struct kafka_metadata_topic *topic = &metadata->topics.items[0];
    mr_buf_clear(&described->head);
    mr_buf_clear(&described->lines);
    mr_buf_printf(&described->head, "Topic: %.*s", MR_STR_ARG(described->name));
    if (version >= 10) {
        mr_buf_cstr(&described->head, "\tTopicId: ");
        print_id(&described->head, &topic->topic_id);
    }
    mr_buf_printf(&described->head,
                  "\tPartitionCount: %d\tReplicationFactor: %d\tConfigs: ", topic->partitions.count,
                  topic->partitions.count > 0 ? topic->partitions.items[0].replica_nodes.count : 0);
    for (int32_t number = 0; number < topic->partitions.count; number++) {
        for (int32_t i = 0; i < topic->partitions.count; i++) {
            const struct kafka_metadata_partition *one = &topic->partitions.items[i];
            if (one->partition_index != number)
                continue;
            if (!is_asked_for(described->shell, one))
                break;
            mr_buf_printf(&described->lines,
                          "\tTopic: %.*s\tPartition: %d\tLeader: ", MR_STR_ARG(described->name),
                          number);
            mr_buf_printf(&described->lines, one->leader_id < 0 ? "none" : "%d", one->leader_id);
            print_nodes(&described->lines, "Replicas", one->replica_nodes.items,
                        one->replica_nodes.count);
            print_nodes(&described->lines, "Isr", one->isr_nodes.items, one->isr_nodes.count);
            mr_buf_u8(&described->lines, '\n');
            break;
        }
    }
    return topic->error_code;
}

static mr_err describe_one(struct shell *shell, mr_str name)
{
    struct described described = {.shell = shell, .name = name};
    struct shell_setting *settings = NULL;
    size_t count = 0;
    mr_err err = shell_ask(shell, (struct kafka_target){KAFKA_TARGET_ANY, MR_STR_NULL, 0},
                           KAFKA_API_metadata, describe_fill, describe_use, &described,
                           mr_arena_cstr(&shell->arena, name));
    if (err == MR_OK)
        err = shell_settings(shell, SHELL_RESOURCE_TOPIC, name, false, &settings, &count);
    bool parts = shell->options.under_replicated.count + shell->options.unavailable.count > 0;
    bool overrides = shell->options.overrides.count > 0;
    if (err == MR_OK && parts)
        printf("%.*s", MR_STR_ARG(mr_buf_as_str(&described.lines)));
    if (err == MR_OK && !parts && (!overrides || count > 0)) {
        printf("%.*s", MR_STR_ARG(mr_buf_as_str(&described.head)));
        for (size_t i = 0; i < count; i++)
            printf("%s%.*s=%.*s", i == 0 ? "" : ",", MR_STR_ARG(settings[i].name),
                   MR_STR_ARG(settings[i].value));
        printf("\n%.*s", MR_STR_ARG(overrides ? MR_STR("") : mr_buf_as_str(&described.lines)));
    }
    mr_buf_fini(&described.head);
    mr_buf_fini(&described.lines);
    return err;
}

static mr_err topic_describe(struct shell *shell)
{
    struct shell_topic *topics;
    size_t count;
    mr_err err = chosen(shell, true, &topics, &count);
    for (size_t i = 0; err == MR_OK && i < count; i++)
        err = describe_one(shell, topics[i].name);
    return err;
}

/* ---- create ---- */

struct creation {
    mr_str name, message;
    int32_t partitions;
    int16_t replication;
    const struct shell_option *configs;
    mr_str assignment; /* "1:2,2:1"; data NULL: by number */
    struct mr_arena *arena;
};

/* Partition after partition, "," between them; its brokers with ":" between. */
static mr_err assignment_read(mr_str text, struct mr_arena *arena,
                              struct kafka_create_topics_request_topic *topic)
{
    mr_str part, node, all = text;
    int64_t id = 0;
    topic->assignments.items = mr_arena_array(arena, struct kafka_create_topics_assignment,
                                              text.length + 1);
    topic->assignments.count = 0;
    while (mr_str_split(&text, ',', &part)) {
        struct kafka_create_topics_assignment *row =
            &topic->assignments.items[topic->assignments.count];
        *row = (struct kafka_create_topics_assignment){
            .partition_index = topic->assignments.count++};
        row->broker_ids.items = mr_arena_array(arena, wire_i32, part.length + 1);
        while (mr_str_split(&part, ':', &node)) {
            if (mr_str_to_i64(node, &id) != MR_OK || id < 0 || id > INT32_MAX)
                return mr_fail(MR_INVALID,
                               "--replica-assignment %.*s: expected brokers' numbers as 1:2,2:3",
                               MR_STR_ARG(all));
            row->broker_ids.items[row->broker_ids.count++] = (int32_t)id;
        }
    }
    return MR_OK;
}

static void create_fill(void *context, int16_t version, struct mr_arena *arena, void *request)
{
    const struct creation *creation = context;
    struct kafka_create_topics_request *create = request;
    int32_t by_default = version >= 4 ? -1 : 1; /* KIP-464: before it a number is needed */
    create->timeout_ms = KAFKA_TIMEOUT_MS;
    create->topics.items = mr_arena_array(arena, struct kafka_create_topics_request_topic, 1);
    create->topics.count = 1;
    struct kafka_create_topics_request_topic *topic = &create->topics.items[0];
    topic->name = creation->name;
    topic->num_partitions = creation->partitions > 0 ? creation->partitions : by_default;
    topic->replication_factor = creation->replication > 0 ? creation->replication
                                                          : (int16_t)by_default;
    if (creation->assignment.data != NULL) {
        topic->num_partitions = topic->replication_factor = -1;
        assignment_read(creation->assignment, arena, topic); /* checked before */
    }
    topic->configs.items = mr_arena_array(arena, struct kafka_create_topics_request_config,
                                          creation->configs->count + 1);
    for (size_t i = 0; i < creation->configs->count; i++) {
        struct kafka_create_topics_request_config *config =
            &topic->configs.items[topic->configs.count++];
        shell_pair(mr_str_from(creation->configs->items[i]), &config->name, &config->value);
    }
}

static int16_t create_use(void *context, int16_t version, const void *response)
{
    struct creation *creation = context;
    const struct kafka_create_topics_response *created = response;
    (void)version;
    if (created->topics.count == 0)
        return KAFKA_ERROR_UNKNOWN_SERVER_ERROR;
    creation->message = mr_arena_str(creation->arena, created->topics.items[0].error_message);
    return created->topics.items[0].error_code;
}

/* The broker's own sentence says more than the name of its error. */
static mr_err refused(mr_err err, const char *what, mr_str name, mr_str message)
{
    return err == MR_OK || message.length == 0
               ? err
               : mr_fail(err, "%s %.*s: %.*s", what, MR_STR_ARG(name), MR_STR_ARG(message));
}

static mr_err topic_create(struct shell *shell)
{
    const struct shell_option *names = &shell->options.topic;
    int64_t partitions = 0, replication = 0;
    mr_str key, value;
    mr_err err = shell_number(&shell->options.partitions, "--partitions", 1, 1000000, &partitions);
    if (err == MR_OK)
        err = shell_number(&shell->options.replication_factor, "--replication-factor", 1, 1000,
                           &replication);
    if (err == MR_OK && names->count == 0)
        err = mr_fail(MR_INVALID, "--create needs a --topic");
    mr_str assignment = mr_str_from(shell_text(&shell->options.replica_assignment));
    struct kafka_create_topics_request_topic checked = {0};
    if (err == MR_OK && assignment.data != NULL && partitions + replication > 0)
        err = mr_fail(MR_INVALID,
                      "--replica-assignment says both --partitions and --replication-factor");
    if (err == MR_OK && assignment.data != NULL)
        err = assignment_read(assignment, &shell->arena, &checked);
    for (size_t i = 0; i < shell->options.config.count && err == MR_OK; i++)
        if (!shell_pair(mr_str_from(shell->options.config.items[i]), &key, &value))
            err = mr_fail(MR_INVALID, "--config %s: expected NAME=VALUE",
                          shell->options.config.items[i]);
    for (size_t i = 0; i < names->count && err == MR_OK; i++) {
        struct creation creation = {.name = mr_str_from(names->items[i]),
                                    .partitions = (int32_t)partitions,
                                    .replication = (int16_t)replication,
                                    .configs = &shell->options.config,
                                    .assignment = assignment,
                                    .arena = &shell->arena};
        err = shell_ask(shell, (struct kafka_target){KAFKA_TARGET_CONTROLLER, MR_STR_NULL, 0},
                        KAFKA_API_create_topics, create_fill, create_use, &creation,
                        names->items[i]);
        if (err == MR_EXISTS && shell->options.if_not_exists.count > 0)
            err = MR_OK;
        else if (err == MR_OK)
            printf("Created topic %s.\n", names->items[i]);
        err = refused(err, "topic", creation.name, creation.message);
    }
    return err;
}

/* ---- alter, delete ---- */

struct growth {
    struct mr_arena *arena;
    mr_str name, message;
    int32_t partitions;
};

static void grow_fill(void *context, int16_t version, struct mr_arena *arena, void *request)
{
    const struct growth *growth = context;
    struct kafka_create_partitions_request *create = request;
    (void)version;
    create->timeout_ms = KAFKA_TIMEOUT_MS;
    create->topics.items = mr_arena_array(arena, struct kafka_create_partitions_topic, 1);
    create->topics.count = 1;
    create->topics.items[0].name = growth->name;
    create->topics.items[0].count = growth->partitions;
    create->topics.items[0].assignments.count = -1;
}

static int16_t grow_use(void *context, int16_t version, const void *response)
{
    struct growth *growth = context;
    const struct kafka_create_partitions_response *created = response;
    (void)version;
    if (created->results.count == 0)
        return KAFKA_ERROR_UNKNOWN_SERVER_ERROR;
    growth->message = mr_arena_str(growth->arena, created->results.items[0].error_message);
    return created->results.items[0].error_code;
}

/* The topics that --topic names and that are there. */
static mr_err named(struct shell *shell, const char *verb, struct shell_topic **out, size_t *count)
{
    *count = 0;
    return shell->options.topic.count == 0 ? mr_fail(MR_INVALID, "%s needs a --topic", verb)
                                           : chosen(shell, true, out, count);
}

static mr_err topic_alter(struct shell *shell)
{
    struct shell_topic *topics = NULL;
    size_t count = 0;
    int64_t partitions = 0;
    mr_err err = shell_number(&shell->options.partitions, "--partitions", 1, 1000000, &partitions);
    if (err == MR_OK && partitions == 0)
        err = mr_fail(MR_INVALID, "--alter needs --partitions; settings are changed by `config`");
    if (err == MR_OK)
        err = named(shell, "--alter", &topics, &count);
    for (size_t i = 0; err == MR_OK && i < count; i++) {
        struct growth growth = {&shell->arena, topics[i].name, MR_STR_NULL, (int32_t)partitions};
        err = shell_ask(shell, (struct kafka_target){KAFKA_TARGET_CONTROLLER, MR_STR_NULL, 0},
                        KAFKA_API_create_partitions, grow_fill, grow_use, &growth,
                        mr_arena_cstr(&shell->arena, topics[i].name));
        err = refused(err, "topic", growth.name, growth.message);
    }
    return err;
}

static mr_err topic_delete(struct shell *shell)
{
    struct shell_topic *topics = NULL;
    size_t count = 0;
    mr_err err = named(shell, "--delete", &topics, &count);
    for (size_t i = 0; err == MR_OK && i < count; i++) {
        struct shell_call call = {0};
        kafka_admin_delete_topic(shell->kafka, topics[i].name, shell_done, &call);
        err = shell_result(shell, &call);
    }
    return err;
}

int shell_command_topic(int argc, char **argv)
{
    struct shell shell;
    int status = shell_begin(&shell, "topic", argc, argv);
    if (status >= 0)
        return status;
    const struct {
        const struct shell_option *said;
        mr_err (*run)(struct shell *shell);
    } verbs[] = {
        {&shell.options.list, topic_list},     {&shell.options.describe, topic_describe},
        {&shell.options.create, topic_create}, {&shell.options.alter, topic_alter},
        {&shell.options.delete, topic_delete},
    };
    mr_err (*run)(struct shell *) = NULL;
    int said = 0;
    for (size_t i = 0; i < mr_count_of(verbs); i++)
        if (verbs[i].said->count > 0) {
            run = verbs[i].run;
            said++;
        }
    return shell_end(&shell, said == 1 ? run(&shell)
                                       : mr_fail(MR_INVALID, "expected exactly one of --list, "
                                                             "--describe, --create, --alter, "
                                                             "--delete"));
}
