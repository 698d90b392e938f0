/* shell/shell.c: hides how the command line is read, and how a command that is written as one step after the
 * other asks a client that never blocks: it turns the loop until the answer is there. */
#include "shell/room.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { AGAIN_TRIES = 50, AGAIN_US = 100000, TURN_US = 1000000 };

static const struct {
    const char *word, *commands, *value, *about;
    size_t offset;
} rows[] = {
#define OPTION(id, word, commands, value, about) \
    {word, commands, value, about, offsetof(struct shell_options, id)},
#include "shell/options.def"
};
static const struct {
    const char *word, *arguments, *about;
} commands[] = {
#define COMMAND(word, function, arguments, about) {word, arguments, about},
#include "shell/commands.def"
};

/* ---- the command line ---- */

/* The letter of a command in options.def. */
static char letter_of(const char *command)
{
    return strcmp(command, "produce") == 0   ? 'P'
           : strcmp(command, "consume") == 0 ? 'R'
                                             : (char)(command[0] - 'a' + 'A');
}

bool shell_help(const char *command, struct mr_buf *out)
{
    bool found = command == NULL;
    for (size_t i = 0; i < mr_count_of(commands); i++) {
        if (command == NULL)
            mr_buf_printf(out, "  %-11s %-12s %s\n", commands[i].word, "", commands[i].about);
        else if (strcmp(command, commands[i].word) == 0) {
            found = true;
            mr_buf_printf(out, "millrace %s %s [OPTIONS]\n\n%s\n\nOptions:\n", command,
                          commands[i].arguments, commands[i].about);
        }
    }
    for (size_t i = 0; found && command != NULL && i < mr_count_of(rows); i++) {
        char head[64];
        if (strchr(rows[i].commands, letter_of(command)) == NULL)
            continue;
        snprintf(head, sizeof head, "%s %s", rows[i].word, rows[i].value);
        mr_buf_printf(out, "  %-24s %s\n", head, rows[i].about);
    }
    return found;
}

static int wrong(const struct shell *shell, const char *format, const char *what)
{
    fprintf(stderr, "millrace %s: ", shell->command);
    fprintf(stderr, format, what);
    fprintf(stderr, "; `millrace help %s` lists the options\n", shell->command);
    return 2;
}

/* "--word value" or "--word=value"; sets *used to how many arguments it took. -1: read. */
static int read_option(struct shell *shell, int argc, char **argv, int *used)
{
    const char *equals = strchr(argv[0], '=');
    size_t length = equals == NULL ? strlen(argv[0]) : (size_t)(equals - argv[0]);
    for (size_t i = 0; i < mr_count_of(rows); i++) {
        bool is_switch = rows[i].value[0] == '\0';
        if (strlen(rows[i].word) != length || strncmp(rows[i].word, argv[0], length) != 0 ||
            strchr(rows[i].commands, letter_of(shell->command)) == NULL)
            continue;
        if (is_switch && equals != NULL)
            return wrong(shell, "%s takes no value", rows[i].word);
        if (!is_switch && equals == NULL && argc < 2)
            return wrong(shell, "%s needs a value", rows[i].word);
        *used = is_switch || equals != NULL ? 1 : 2;
        struct shell_option *option = (struct shell_option *)(void *)((char *)&shell->options +
                                                                      rows[i].offset);
        *mr_array_add(option) = is_switch ? "" : equals != NULL ? equals + 1 : argv[1];
        if (option == &shell->options.entity_default) /* stands where a name would */
            *mr_array_add(&shell->options.entity_name) = "";
        return -1;
    }
    return wrong(shell, "there is no option `%s`", argv[0]);
}

static int read_line(struct shell *shell, int argc, char **argv)
{
    for (int at = 0; at < argc;) {
        int used = 1;
        if (strcmp(argv[at], "--help") == 0 || strcmp(argv[at], "-h") == 0) {
            struct mr_buf help = {0};
            shell_help(shell->command, &help);
            fwrite(help.data, 1, help.length, stdout);
            mr_buf_fini(&help);
            return 0;
        }
        if (argv[at][0] != '-')
            return wrong(shell, "`%s` is no option", argv[at]);
        int status = read_option(shell, argc - at, argv + at, &used);
        if (status >= 0)
            return status;
        at += used;
    }
    return -1;
}

static void options_fini(struct shell *shell)
{
    for (size_t i = 0; i < mr_count_of(rows); i++) {
        struct shell_option *option = (struct shell_option *)(void *)((char *)&shell->options +
                                                                      rows[i].offset);
        mr_array_fini(option);
    }
}

int shell_begin(struct shell *shell, const char *command, int argc, char **argv)
{
    struct kafka_security security = {0};
    mr_err err = MR_OK;
    *shell = (struct shell){.command = command};
    mr_arena_init(&shell->arena);
    int status = read_line(shell, argc, argv);
    if (status >= 0) {
        options_fini(shell);
        return status;
    }
    const char *address = shell_text(&shell->options.bootstrap_server);
    const char *file = shell_text(&shell->options.command_config);
    file = file == NULL ? shell_text(&shell->options.producer_config) : file;
    file = file == NULL ? shell_text(&shell->options.consumer_config) : file;
    address = address == NULL ? getenv("MILLRACE_KAFKA") : address;
    address = address == NULL || address[0] == '\0' ? "127.0.0.1:9092" : address;
    signal(SIGPIPE, SIG_IGN);
    mr_log_level_set(MR_LOG_ERROR);
    if (file != NULL)
        err = shell_properties(shell, file, &security);
    shell->loop = mr_loop_new("shell", NULL);
    if (err == MR_OK)
        err = kafka_client_open_secure(shell->loop, mr_str_from(address), MR_STR("millrace"),
                                       &security, &shell->kafka);
    return err == MR_OK ? -1 : shell_end(shell, err);
}

int shell_end(struct shell *shell, mr_err err)
{
    bool flushed = fflush(stdout) == 0;
    if (err != MR_OK)
        fprintf(stderr, "millrace %s: %s\n", shell->command, mr_why());
    kafka_client_close(shell->kafka);
    mr_loop_free(shell->loop);
    options_fini(shell);
    mr_arena_fini(&shell->arena);
    return err == MR_INVALID ? 2 : err != MR_OK || !flushed ? 1 : 0;
}

const char *shell_text(const struct shell_option *option)
{
    return option->count == 0 ? NULL : option->items[option->count - 1];
}

mr_err shell_number(const struct shell_option *option, const char *word, int64_t min, int64_t max,
                    int64_t *out)
{
    const char *text = shell_text(option);
    int64_t number = 0;
    if (text == NULL)
        return MR_OK;
    if (mr_str_to_i64(mr_str_from(text), &number) != MR_OK || number < min || number > max)
        return mr_fail(MR_INVALID, "%s %s: expected a number from %lld to %lld", word, text,
                       (long long)min, (long long)max);
    *out = number;
    return MR_OK;
}

bool shell_pair(mr_str text, mr_str *key, mr_str *value)
{
    ptrdiff_t equals = mr_str_find_byte(text, '=');
    if (equals < 0)
        return false;
    *key = mr_str_trim(mr_str_slice(text, 0, (size_t)equals));
    *value = mr_str_slice(text, (size_t)equals + 1, text.length);
    return true;
}

/* ---- asking ---- */

void shell_wait(struct shell *shell, const bool *done)
{
    while (!*done)
        mr_loop_turn(shell->loop, TURN_US);
}

void shell_done(void *context, mr_err err)
{
    struct shell_call *call = context;
    call->done = true;
    call->err = err;
    snprintf(call->why, sizeof call->why, "%s", err == MR_OK ? "" : mr_why());
}

mr_err shell_result(struct shell *shell, const struct shell_call *call)
{
    shell_wait(shell, &call->done);
    return call->err == MR_OK ? MR_OK : mr_fail(call->err, "%s", call->why);
}

struct ask {
    struct shell_call call;
    void *context;
    kafka_fill *fill;
    shell_use *use;
    int16_t code;
};

static void ask_fill(void *context, int16_t version, struct mr_arena *arena, void *request)
{
    struct ask *ask = context;
    ask->fill(ask->context, version, arena, request);
}

static void answered(void *context, mr_err err, int16_t version, const void *response)
{
    struct ask *ask = context;
    if (err == MR_OK)
        ask->code = ask->use(ask->context, version, response);
    shell_done(&ask->call, err);
}

struct pause {
    struct mr_timer timer;
    bool over;
};

static void pause_over(struct mr_timer *timer)
{
    mr_container(timer, struct pause, timer)->over = true;
}

void shell_pause(struct shell *shell, int64_t pause_us)
{
    struct pause pause = {.timer.run = pause_over};
    mr_timer_start(shell->loop, &pause.timer, pause_us);
    shell_wait(shell, &pause.over);
}

mr_err shell_ask(struct shell *shell, struct kafka_target target, int16_t api_key, kafka_fill *fill,
                 shell_use *use, void *context, const char *about)
{
    for (int tries = 0;; tries++) {
        struct ask ask = {.context = context, .fill = fill, .use = use};
        kafka_client_request(shell->kafka, target, api_key, -1, ask_fill, answered, &ask);
        mr_err err = shell_result(shell, &ask.call);
        if (err != MR_OK || ask.code == KAFKA_ERROR_NONE)
            return err;
        if (!kafka_error_retriable(ask.code) || tries == AGAIN_TRIES ||
            ask.code == KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION)
            return kafka_error_fail(ask.code, about);
        shell_pause(shell, AGAIN_US);
    }
}

/* ---- what several commands want to know ---- */

struct topics {
    struct shell *shell;
    struct shell_call call;
    MR_ARRAY(struct shell_topic) list;
};

static void topics_told(void *context, mr_err err, const struct kafka_metadata_response *metadata)
{
    struct topics *topics = context;
    for (int32_t i = 0; err == MR_OK && i < metadata->topics.count; i++) {
        const struct kafka_metadata_topic *topic = &metadata->topics.items[i];
        *mr_array_add(&topics->list) = (struct shell_topic){
            mr_arena_str(&topics->shell->arena, topic->name), topic->is_internal,
            topic->partitions.count};
    }
    shell_done(&topics->call, err);
}

static int topic_compare(const void *a, const void *b)
{
    const struct shell_topic *x = a, *y = b;
    return mr_str_compare(x->name, y->name);
}

mr_err shell_topics(struct shell *shell, struct shell_topic **out, size_t *count)
{
    struct topics topics = {.shell = shell};
    kafka_admin_topics(shell->kafka, topics_told, &topics);
    mr_err err = shell_result(shell, &topics.call);
    if (topics.list.count > 0)
        qsort(topics.list.items, topics.list.count, sizeof topics.list.items[0], topic_compare);
    *count = topics.list.count;
    *out = mr_arena_array(&shell->arena, struct shell_topic, *count + 1);
    if (*count > 0)
        memcpy(*out, topics.list.items, *count * sizeof **out);
    mr_array_fini(&topics.list);
    return err;
}

struct partitions {
    struct shell_call call;
    int32_t count;
};

static void partitions_told(void *context, mr_err err, int32_t count)
{
    struct partitions *partitions = context;
    partitions->count = count;
    shell_done(&partitions->call, err);
}

mr_err shell_partitions(struct shell *shell, mr_str topic, int32_t *out)
{
    struct partitions partitions = {0};
    kafka_admin_partitions(shell->kafka, topic, partitions_told, &partitions);
    mr_err err = shell_result(shell, &partitions.call);
    *out = partitions.count;
    return err;
}

struct offsets {
    struct shell *shell;
    struct shell_call call;
    struct kafka_offset *asked; /* answered in place; NULL: the answer is copied */
    struct kafka_offset *told;
    size_t count;
};

static int offset_compare(const void *a, const void *b)
{
    const struct kafka_offset *x = a, *y = b;
    int order = mr_str_compare(x->topic, y->topic);
    return order != 0 ? order : x->partition < y->partition ? -1 : x->partition > y->partition;
}

static void offsets_told(void *context, mr_err err, const struct kafka_offset *told, size_t count)
{
    struct offsets *offsets = context;
    for (size_t i = 0; err == MR_OK && offsets->asked != NULL && i < count; i++) {
        offsets->asked[i].offset = told[i].offset;
        offsets->asked[i].timestamp = told[i].timestamp;
    }
    if (err == MR_OK && offsets->asked == NULL) {
        offsets->told = mr_arena_array(&offsets->shell->arena, struct kafka_offset, count + 1);
        offsets->count = count;
        for (size_t i = 0; i < count; i++) {
            offsets->told[i] = told[i];
            offsets->told[i].topic = mr_arena_str(&offsets->shell->arena, told[i].topic);
        }
        qsort(offsets->told, count, sizeof told[0], offset_compare);
    }
    shell_done(&offsets->call, err);
}

mr_err shell_offsets(struct shell *shell, struct kafka_offset *asked, size_t count,
                     bool read_committed)
{
    struct offsets offsets = {.shell = shell, .asked = asked};
    kafka_admin_offsets(shell->kafka, asked, count, read_committed, offsets_told, &offsets);
    return shell_result(shell, &offsets.call);
}

mr_err shell_group_offsets(struct shell *shell, mr_str group, struct kafka_offset **out,
                           size_t *count)
{
    struct offsets offsets = {.shell = shell};
    kafka_group_offsets(shell->kafka, group, NULL, 0, offsets_told, &offsets);
    mr_err err = shell_result(shell, &offsets.call);
    *out = offsets.told;
    *count = offsets.count;
    return err;
}

/* ---- settings ---- */

struct settings {
    struct shell *shell;
    int8_t kind;
    mr_str name;
    bool all;
    MR_ARRAY(struct shell_setting) list;
};

static void settings_fill(void *context, int16_t version, struct mr_arena *arena, void *request)
{
    const struct settings *settings = context;
    struct kafka_describe_configs_request *describe = request;
    (void)version;
    describe->resources.items = mr_arena_array(arena, struct kafka_describe_configs_resource, 1);
    describe->resources.items[0].resource_type = settings->kind;
    describe->resources.items[0].resource_name = settings->name;
    describe->resources.items[0].configuration_keys.count = -1;
    describe->resources.count = 1;
    describe->include_synonyms = true;
}

static const char *source_word(int8_t source)
{
    static const char *const words[] = {"UNKNOWN",
                                        "DYNAMIC_TOPIC_CONFIG",
                                        "DYNAMIC_BROKER_CONFIG",
                                        "DYNAMIC_DEFAULT_BROKER_CONFIG",
                                        "STATIC_BROKER_CONFIG",
                                        "DEFAULT_CONFIG",
                                        "DYNAMIC_BROKER_LOGGER_CONFIG",
                                        "DYNAMIC_CLIENT_METRICS_CONFIG",
                                        "DYNAMIC_GROUP_CONFIG"};
    return source >= 0 && (size_t)source < mr_count_of(words) ? words[source] : "UNKNOWN";
}

/* The source of what was set for this resource itself. */
static int8_t source_of(const struct settings *settings)
{
    switch (settings->kind) {
    case SHELL_RESOURCE_TOPIC:
        return 1;
    case SHELL_RESOURCE_BROKER:
        return settings->name.length > 0 ? 2 : 3;
    case SHELL_RESOURCE_LOGGER:
        return 6;
    case SHELL_RESOURCE_METRICS:
        return 7;
    default:
        return 8;
    }
}

static int16_t settings_use(void *context, int16_t version, const void *response)
{
    struct settings *settings = context;
    struct mr_arena *arena = &settings->shell->arena;
    const struct kafka_describe_configs_response *described = response;
    (void)version;
    if (described->results.count == 0)
        return KAFKA_ERROR_UNKNOWN_SERVER_ERROR;
    const struct kafka_describe_configs_result *result = &described->results.items[0];
    settings->list.count = 0;
    for (int32_t i = 0; i < result->configs.count; i++) {
        const struct kafka_describe_configs_config *config = &result->configs.items[i];
        struct mr_buf synonyms = {0};
        if (!settings->all && config->config_source != source_of(settings))
            continue;
        for (int32_t k = 0; k < config->synonyms.count; k++)
            mr_buf_printf(&synonyms, "%s%s:%.*s=%.*s", k == 0 ? "" : ", ",
                          source_word(config->synonyms.items[k].source),
                          MR_STR_ARG(config->synonyms.items[k].name),
                          MR_STR_ARG(config->synonyms.items[k].value.data == NULL
                                         ? MR_STR("null")
                                         : config->synonyms.items[k].value));
        *mr_array_add(&settings->list) = (struct shell_setting){
            mr_arena_str(arena, config->name),
            config->value.data == NULL ? MR_STR_NULL : mr_arena_str(arena, config->value),
            config->config_source, mr_arena_str(arena, mr_buf_as_str(&synonyms))};
        mr_buf_fini(&synonyms);
    }
    return result->error_code;
}

static int setting_compare(const void *a, const void *b)
{
    const struct shell_setting *x = a, *y = b;
    return mr_str_compare(x->name, y->name);
}

mr_err shell_settings(struct shell *shell, int8_t kind, mr_str name, bool all,
                      struct shell_setting **out, size_t *count)
{
    struct settings settings = {.shell = shell, .kind = kind, .name = name, .all = all};
    int64_t node = 0;
    struct kafka_target target = {KAFKA_TARGET_ANY, MR_STR_NULL, 0};
    if ((kind == SHELL_RESOURCE_BROKER || kind == SHELL_RESOURCE_LOGGER) &&
        mr_str_to_i64(name, &node) == MR_OK)
        target = (struct kafka_target){KAFKA_TARGET_NODE, MR_STR_NULL, (int32_t)node};
    mr_err err = shell_ask(shell, target, KAFKA_API_describe_configs, settings_fill, settings_use,
                           &settings, mr_arena_cstr(&shell->arena, name));
    if (settings.list.count > 0)
        qsort(settings.list.items, settings.list.count, sizeof settings.list.items[0],
              setting_compare);
    *count = settings.list.count;
    *out = mr_arena_array(&shell->arena, struct shell_setting, *count + 1);
    if (*count > 0)
        memcpy(*out, settings.list.items, *count * sizeof **out);
    mr_array_fini(&settings.list);
    return err;
}
