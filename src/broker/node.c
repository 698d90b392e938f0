/* broker/node.c: the broker's own settings. A value is checked when it is set, so what
 * is in force always follows from the texts; they are rows of the file `security`. */
#include "broker/node.h"

#include "broker/server.h"
#include "json/json.h"

#include <stdio.h>

enum { BROKER_CONFIG_SHORT = 4 }; /* a type that no topic's setting has */

struct row {
    const char *name, *fallback, *about;
    int type;
    int64_t lowest, highest;
    int topic_id; /* -1: the broker's own */
    bool runs;    /* changes while the broker runs */
};
static struct row row_of(int id)
{
    enum { START = false, RUN = true };
    static const struct row own[BROKER_NODE_COUNT] = {
#define SETTING(change, type, field, name, fallback, lowest, highest, about) \
    [BROKER_NODE_##                                                          \
        field] = {name, fallback, about, BROKER_CONFIG_##type, lowest, highest, -1, change},
#define FOLLOWED(name, field) \
    [BROKER_NODE_topic_##     \
        field] = {name, NULL, NULL, 0, INT64_MIN, INT64_MAX, BROKER_CONFIG_##field, RUN},
#include "broker/node_configs.def"
    };
    struct row row = own[id];

    if (row.topic_id >= 0) {
        const struct broker_config_row *topic = &broker_config_rows[row.topic_id];
        row.fallback = topic->fallback;
        row.about = topic->about;
        row.type = topic->type;
    }
    return row;
}

static int row_find(mr_str name)
{
    for (int i = 0; i < BROKER_NODE_COUNT; i++)
        if (mr_str_equal(name, mr_str_from(row_of(i).name)))
            return i;
    return -1;
}

const char *broker_node_name(int id)
{
    return row_of(id).name;
}

const int8_t broker_node_sources[BROKER_NODE_LEVELS] = {
    BROKER_SOURCE_STATIC, BROKER_SOURCE_DYNAMIC_DEFAULT, BROKER_SOURCE_DYNAMIC_BROKER};

int broker_node_of_topic(int topic_id)
{
    /* and one; 0: none */
    static const int ids[BROKER_CONFIG_COUNT] = {
#define FOLLOWED(name, field) [BROKER_CONFIG_##field] = BROKER_NODE_topic_##field + 1,
#include "broker/node_configs.def"
    };

    return ids[topic_id] - 1;
}

const char *broker_node_text(const struct broker_node *node, enum broker_node_level level, int id)
{
    return node->texts[level][id];
}

/* What was set nearest, or NULL. */
static const char *text_set(const struct broker_node *node, int id)
{
    const char *text = NULL;

    for (int level = 0; node != NULL && level < BROKER_NODE_LEVELS; level++)
        if (node->texts[level][id] != NULL)
            text = node->texts[level][id];
    return text;
}

const char *broker_node_value(const struct broker_node *node, int id)
{
    const char *text = text_set(node, id);

    return text != NULL ? text : row_of(id).fallback;
}

static int64_t number_read(const struct broker_node *node, int id)
{
    mr_str text = mr_str_from(broker_node_value(node, id));
    int64_t value = 0;
    mr_err err = row_of(id).type == BROKER_CONFIG_BOOLEAN ? MR_OK : mr_str_to_i64(text, &value);

    mr_assert(err == MR_OK); /* checked when it was set */
    return row_of(id).type == BROKER_CONFIG_BOOLEAN ? mr_str_equal(text, MR_STR("true")) : value;
}

int64_t broker_node_number(const struct broker_node *node, int id)
{
    return node != NULL ? node->numbers[id] : number_read(NULL, id);
}

int broker_node_place(const struct broker_node *node, int id, mr_str word)
{
    mr_str rest = mr_str_from(broker_node_value(node, id)), part;

    for (int place = 0; mr_str_split(&rest, ',', &part); place++)
        if (mr_str_equal(mr_str_trim(part), word))
            return place;
    return -1;
}

void broker_node_fini(struct broker_node *node)
{
    for (int i = 0; i < BROKER_NODE_COUNT; i++)
        for (int level = 0; level < BROKER_NODE_LEVELS; level++)
            mr_free(node->texts[level][i]);
    *node = (struct broker_node){0};
}

static void derive(struct broker_node *node)
{
    for (int i = 0; i < BROKER_NODE_COUNT; i++) {
        struct row row = row_of(i);
        if (row.topic_id < 0 &&
            (row.type == BROKER_CONFIG_BOOLEAN || row.type == BROKER_CONFIG_INT ||
             row.type == BROKER_CONFIG_LONG || row.type == BROKER_CONFIG_SHORT))
            node->numbers[i] = number_read(node, i);
    }
}

void broker_node_apply(struct broker_server *server)
{
    struct broker_node *node = &server->node;
    const char *texts[BROKER_CONFIG_COUNT] = {0};

    derive(node);
    for (int i = 0; i < BROKER_NODE_COUNT; i++)
        if (row_of(i).topic_id >= 0)
            texts[row_of(i).topic_id] = text_set(node, i);
    broker_topics_follow(&server->topics, texts);
    server->topics.default_partitions = (int32_t)node->numbers[BROKER_NODE_num_partitions];
    server->storage.producer_expiry_ms = node->numbers[BROKER_NODE_producer_id_expiration_ms];
    server->sessions.count_max =
        (size_t)node->numbers[BROKER_NODE_max_incremental_fetch_session_cache_slots];
    broker_server_limit_conns(server);
}

/* ---- checks ---- */

static mr_err check_number(const struct row *row, mr_str value)
{
    bool whole = row->type == BROKER_CONFIG_INT;
    int64_t number = 0, lowest = row->lowest, highest = row->highest;

    if (whole && lowest < INT32_MIN)
        lowest = INT32_MIN;
    if (whole && highest > INT32_MAX)
        highest = INT32_MAX;
    if (mr_str_to_i64(value, &number) == MR_OK && number >= lowest && number <= highest)
        return MR_OK;
    return mr_fail(MR_INVALID,
                   "Invalid value %.*s for configuration %s: expected a number from %lld to %lld",
                   MR_STR_ARG(value), row->name, (long long)lowest, (long long)highest);
}

static mr_err check_assignors(const struct row *row, mr_str value)
{
    mr_str rest = value, word;
    bool known = value.length > 0;

    while (mr_str_split(&rest, ',', &word)) {
        word = mr_str_trim(word);
        known = known &&
                (mr_str_equal(word, MR_STR("uniform")) || mr_str_equal(word, MR_STR("range")));
    }
    return known
               ? MR_OK
               : mr_fail(MR_INVALID,
                         "Invalid value %.*s for configuration %s: expected uniform, range or both",
                         MR_STR_ARG(value), row->name);
}

static mr_err check_policy(const struct row *row, mr_str value)
{
    return broker_migration_policy(value) >= 0
               ? MR_OK
               : mr_fail(MR_INVALID,
                         "Invalid value %.*s for configuration %s: expected bidirectional, "
                         "upgrade, downgrade or disabled",
                         MR_STR_ARG(value), row->name);
}

static mr_err check(int id, mr_str value)
{
    struct row row = row_of(id);
    double real;

    if (row.topic_id >= 0)
        return broker_config_check(row.topic_id, row.name, value);
    if (id == BROKER_NODE_group_consumer_assignors)
        return check_assignors(&row, value);
    if (id == BROKER_NODE_group_consumer_migration_policy)
        return check_policy(&row, value);
    switch (row.type) {
    case BROKER_CONFIG_INT:
    case BROKER_CONFIG_LONG:
    case BROKER_CONFIG_SHORT:
        return check_number(&row, value);
    case BROKER_CONFIG_BOOLEAN:
        return mr_str_equal(value, MR_STR("true")) || mr_str_equal(value, MR_STR("false"))
                   ? MR_OK
                   : mr_fail(MR_INVALID,
                             "Invalid value %.*s for configuration %s: expected true or false",
                             MR_STR_ARG(value), row.name);
    case BROKER_CONFIG_DOUBLE:
        return mr_str_to_f64(value, &real) == MR_OK
                   ? MR_OK
                   : mr_fail(MR_INVALID,
                             "Invalid value %.*s for configuration %s: expected a number",
                             MR_STR_ARG(value), row.name);
    default:
        return MR_OK;
    }
}

/* ---- what the broker is started with ---- */

/* The next "NAME=VALUE" of a properties file. */
static bool next_line(mr_str *rest, mr_str *name, mr_str *value, mr_err *err)
{
    mr_str line;

    while (*err == MR_OK && mr_str_split(rest, '\n', &line)) {
        size_t at = 0;
        line = mr_str_trim(line);
        if (line.length == 0 || line.data[0] == '#' || line.data[0] == '!')
            continue;
        while (at < line.length && line.data[at] != '=')
            at++;
        *name = mr_str_trim(mr_str_slice(line, 0, at));
        *value = mr_str_trim(mr_str_slice(line, at + 1, line.length));
        if (at < line.length && at > 0)
            return true;
        *err = mr_fail(MR_INVALID, "setting `%.*s`: expected NAME=VALUE", MR_STR_ARG(line));
    }
    return false;
}

/* The last value that the lines have for a name; null: none. */
static mr_str line_find(mr_str lines, const char *name)
{
    mr_str found = MR_STR_NULL, said, value;
    mr_err err = MR_OK;

    while (next_line(&lines, &said, &value, &err))
        if (mr_str_equal(said, mr_str_from(name)))
            found = value;
    return found;
}

static const struct unit {
    const char *name;
    int id;
    int64_t ms;
} units[] = {
#define UNIT(name, field, ms) {name, BROKER_NODE_topic_##field, ms},
#include "broker/node_configs.def"
};

static mr_err units_say(struct broker_node *node, mr_str lines)
{
    for (size_t i = 0; i < mr_count_of(units); i++) {
        mr_str value = line_find(lines, units[i].name);
        int64_t number = 0;
        char text[32];
        if (value.data == NULL)
            continue;
        if (mr_str_to_i64(value, &number) != MR_OK || number < -1 || number > INT32_MAX)
            return mr_fail(MR_INVALID, "Invalid value %.*s for configuration %s: expected a number",
                           MR_STR_ARG(value), units[i].name);
        snprintf(text, sizeof(text), "%lld", (long long)(number < 0 ? -1 : number * units[i].ms));
        mr_err err = broker_node_say(node, mr_str_from(row_of(units[i].id).name),
                                     mr_str_from(text));
        if (err != MR_OK)
            return err;
    }
    return MR_OK;
}

static bool is_unit(mr_str name)
{
    for (size_t i = 0; i < mr_count_of(units); i++)
        if (mr_str_equal(name, mr_str_from(units[i].name)))
            return true;
    return false;
}

/* What follows from options, and so cannot be said by its name. */
static mr_err refuse_name(mr_str name)
{
    static const struct {
        const char *name, *about;
    } told[] = {
#define TOLD(type, name, value, fallback, about) {name, about},
#include "broker/node_configs.def"
    };

    for (size_t i = 0; i < mr_count_of(told); i++)
        if (mr_str_equal(name, mr_str_from(told[i].name)))
            return mr_fail(MR_INVALID, "setting %s is not said by its name: %s", told[i].name,
                           told[i].about);
    return mr_fail(MR_INVALID,
                   "there is no setting `%.*s` of the log; `millrace docs settings` lists them",
                   MR_STR_ARG(name));
}

mr_err broker_node_say(struct broker_node *node, mr_str name, mr_str value)
{
    int id = row_find(name);
    mr_err err = id < 0 ? refuse_name(name) : check(id, value);

    if (err != MR_OK)
        return err;
    mr_free(node->texts[BROKER_NODE_START][id]);
    node->texts[BROKER_NODE_START][id] = mr_copy_cstr(value);
    return MR_OK;
}

/* What a group may say has a lowest and a highest value, and what holds for the others lies between. */
static mr_err bounds_check(const struct broker_node *node)
{
    static const int bounds[][3] = {
#define GROUP_NUMBER(field, name, own, lowest, highest, about) \
    {BROKER_NODE_##lowest, BROKER_NODE_##own, BROKER_NODE_##highest},
#include "broker/group_configs.def"
        {BROKER_NODE_group_min_session_timeout_ms, BROKER_NODE_group_min_session_timeout_ms,
         BROKER_NODE_group_max_session_timeout_ms},
    };

    for (size_t i = 0; i < mr_count_of(bounds); i++)
        for (int k = 0; k < 2; k++)
            if (node->numbers[bounds[i][k]] > node->numbers[bounds[i][k + 1]])
                return mr_fail(MR_INVALID, "setting %s=%lld: expected at most %s=%lld",
                               row_of(bounds[i][k]).name, (long long)node->numbers[bounds[i][k]],
                               row_of(bounds[i][k + 1]).name,
                               (long long)node->numbers[bounds[i][k + 1]]);
    return MR_OK;
}

mr_err broker_node_start(struct broker_node *node, mr_str lines)
{
    mr_str rest = lines, name, value;
    mr_err err = units_say(node, lines);

    while (err == MR_OK && next_line(&rest, &name, &value, &err))
        if (!is_unit(name))
            err = broker_node_say(node, name, value);
    derive(node);
    return err == MR_OK ? bounds_check(node) : err;
}

/* ---- the file's rows ---- */

void broker_node_print(const struct broker_node *node, struct mr_buf *out)
{
    for (int level = BROKER_NODE_ALL; level < BROKER_NODE_LEVELS; level++)
        for (int i = 0; i < BROKER_NODE_COUNT; i++) {
            if (node->texts[level][i] == NULL)
                continue;
            mr_buf_printf(out, "{\"setting\":\"%s\",\"broker\":\"%s\",\"value\":", row_of(i).name,
                          level == BROKER_NODE_THIS ? "1" : "");
            mr_buf_json(out, mr_str_from(node->texts[level][i]));
            mr_buf_cstr(out, "}\n");
        }
}

mr_err broker_node_read(struct broker_node *node, const struct json_value *row)
{
    int id = row_find(json_str(json_get(row, MR_STR("setting")), MR_STR_NULL));
    mr_str broker = json_str(json_get(row, MR_STR("broker")), MR_STR_NULL);
    mr_str value = json_str(json_get(row, MR_STR("value")), MR_STR_NULL);
    char **text;

    if (id < 0 || !row_of(id).runs || broker.data == NULL || value.data == NULL ||
        check(id, value) != MR_OK)
        return mr_fail(MR_CORRUPT, "expected a setting of the broker");
    text = &node->texts[broker.length > 0 ? BROKER_NODE_THIS : BROKER_NODE_ALL][id];
    mr_free(*text);
    *text = mr_copy_cstr(value);
    return MR_OK;
}

/* ---- DescribeConfigs ---- */

static bool key_wanted(const struct kafka_describe_configs_resource *asked, const char *name)
{
    for (int32_t i = 0; i < asked->configuration_keys.count; i++)
        if (mr_str_equal(asked->configuration_keys.items[i], mr_str_from(name)))
            return true;
    return asked->configuration_keys.count <= 0; /* older clients say "all" by an empty list */
}

static const char *node_number(struct broker_request *request, int64_t number)
{
    return mr_arena_printf(&request->arena, "%lld", (long long)number).data;
}

static const char *node_protocol(const struct broker_server *server)
{
    return server->security.sasl ? server->security.tls != NULL ? "SASL_SSL" : "SASL_PLAINTEXT"
           : server->security.tls != NULL ? "SSL"
                                          : "PLAINTEXT";
}

static const char *node_listener(struct broker_request *request, bool advertised)
{
    mr_str host;
    int32_t port;

    broker_server_address(request, &host, &port);
    return mr_arena_printf(&request->arena, "%s://%.*s:%d", node_protocol(request->server),
                           MR_STR_ARG(host), advertised ? port : request->server->port)
        .data;
}

/* Words of the request's, "," or ";" between them. */
static const char *joined(struct broker_request *request, const struct mr_buf *buf)
{
    return mr_arena_cstr(&request->arena, mr_buf_as_str(buf));
}

static const char *node_mechanisms(struct broker_request *request)
{
    const struct broker_security *security = &request->server->security;
    struct mr_buf list = {0};

    for (int i = 0; i < BROKER_MECHANISM_COUNT; i++)
        if (security->offers[i])
            mr_buf_printf(&list, "%s%s", list.length > 0 ? "," : "",
                          broker_mechanism_name((enum broker_mechanism)i));
    const char *text = joined(request, &list);
    mr_buf_fini(&list);
    return text;
}

static const char *node_super_users(struct broker_request *request)
{
    const struct broker_acls *acls = &request->server->security.acls;
    struct mr_buf list = {0};

    for (size_t i = 0; i < acls->super_users.count; i++)
        mr_buf_printf(&list, "%s%s", i > 0 ? ";" : "", acls->super_users.items[i]);
    const char *text = joined(request, &list);
    mr_buf_fini(&list);
    return text;
}

static struct kafka_describe_configs_config *row_tell(struct broker_request *request,
                                                      struct kafka_describe_configs_result *answer,
                                                      const char *name, int type, const char *about)
{
    const struct kafka_describe_configs_request *in = request->in;
    struct kafka_describe_configs_config *row = &answer->configs.items[answer->configs.count++];

    wire_reset(kafka_describe_configs_config_shape(), row);
    row->name = mr_str_from(name);
    row->config_type = (int8_t)type;
    row->documentation = in->include_documentation ? mr_str_from(about) : MR_STR_NULL;
    row->synonyms.items = mr_arena_array(&request->arena, struct kafka_describe_configs_synonym,
                                         BROKER_NODE_LEVELS + 1);
    return row;
}

/* The nearest first: it is what holds. */
static void synonym_add(struct broker_request *request, struct kafka_describe_configs_config *row,
                        const char *value, int8_t source)
{
    if (value == NULL)
        return;
    mr_str text = broker_server_text(request, value);
    if (row->synonyms.count == 0) {
        row->value = text;
        row->config_source = source;
    }
    row->synonyms.items[row->synonyms.count++] = (struct kafka_describe_configs_synonym){
        row->name, text, source};
}

static void told_tell(struct broker_request *request,
                      const struct kafka_describe_configs_resource *asked,
                      struct kafka_describe_configs_result *answer)
{
    struct broker_server *server = request->server;
    const struct {
        int type;
        const char *name, *value, *fallback, *about;
    } rows[] = {
#define TOLD(type, name, value, fallback, about) \
    {BROKER_CONFIG_##type, name, value, fallback, about},
#include "broker/node_configs.def"
    };

    answer->configs.items = mr_arena_array(&request->arena, struct kafka_describe_configs_config,
                                           mr_count_of(rows) + BROKER_NODE_COUNT);
    for (size_t i = 0; i < mr_count_of(rows); i++) {
        const char *value = rows[i].value, *fallback = rows[i].fallback;
        if (!key_wanted(asked, rows[i].name) || asked->resource_name.length == 0)
            continue;
        struct kafka_describe_configs_config *row = row_tell(request, answer, rows[i].name,
                                                             rows[i].type, rows[i].about);
        row->read_only = true;
        if (fallback == NULL || strcmp(value, fallback) != 0)
            synonym_add(request, row, value, BROKER_SOURCE_STATIC);
        synonym_add(request, row, fallback, BROKER_SOURCE_DEFAULT);
    }
}

/* Who asks for the whole cluster's is told what was set for it. */
void broker_node_describe(struct broker_request *request,
                          const struct kafka_describe_configs_resource *asked,
                          struct kafka_describe_configs_result *answer)
{
    const struct kafka_describe_configs_request *in = request->in;
    const struct broker_node *node = &request->server->node;
    bool one = asked->resource_name.length > 0;

    told_tell(request, asked, answer);
    for (int i = 0; i < BROKER_NODE_COUNT; i++) {
        struct row known = row_of(i);
        if (!key_wanted(asked, known.name) || (!one && node->texts[BROKER_NODE_ALL][i] == NULL))
            continue;
        struct kafka_describe_configs_config *row = row_tell(request, answer, known.name,
                                                             known.type, known.about);
        row->read_only = !known.runs;
        for (int level = BROKER_NODE_LEVELS; level-- > 0;)
            if (one || level == BROKER_NODE_ALL)
                synonym_add(request, row, node->texts[level][i], broker_node_sources[level]);
        if (one)
            synonym_add(request, row, known.fallback, BROKER_SOURCE_DEFAULT);
    }
    for (int32_t i = 0; !in->include_synonyms && i < answer->configs.count; i++)
        answer->configs.items[i].synonyms.count = 0;
}

/* ---- AlterConfigs, IncrementalAlterConfigs ---- */

/* The value of a list with something added or taken; owner: the caller. */
static mr_err list_change(const struct broker_node *next, int level, int id, mr_str value,
                          bool subtract, char **out)
{
    struct row row = row_of(id);
    struct broker_config scratch;
    const char *present = next->texts[level][id];
    mr_err err;

    if (row.topic_id < 0)
        return mr_fail(MR_INVALID, "Can't append to or subtract from %s: it is no list", row.name);
    broker_config_init(&scratch, NULL);
    if (present != NULL)
        broker_config_set(&scratch, mr_str_from(broker_config_rows[row.topic_id].name),
                          mr_str_from(present));
    err = broker_config_append(&scratch, mr_str_from(broker_config_rows[row.topic_id].name), value,
                               subtract);
    if (err == MR_OK)
        *out = mr_copy_cstr(broker_config_text(&scratch, row.topic_id));
    broker_config_fini(&scratch);
    return err;
}

static mr_err change_one(struct broker_node *next, int level,
                         const struct broker_node_change *change)
{
    int id = row_find(change->name);
    char *text = NULL;
    mr_err err = MR_OK;

    if (id < 0 || !row_of(id).runs) {
        /* what was never set is easily taken back: tools do so with throttles */
        return change->operation == 1 && id < 0
                   ? MR_OK
                   : mr_fail(MR_INVALID, "Cannot update these configs dynamically: Set(%.*s)",
                             MR_STR_ARG(change->name));
    }
    if (change->operation < 0 || change->operation > 3)
        return mr_fail(MR_INVALID, "Unknown operation %d on %.*s", change->operation,
                       MR_STR_ARG(change->name));
    if (change->operation != 1) {
        if (change->value.data == NULL)
            return mr_fail(MR_INVALID, "Null value not supported for : %.*s",
                           MR_STR_ARG(change->name));
        err = change->operation == 0
                  ? check(id, change->value)
                  : list_change(next, level, id, change->value, change->operation == 3, &text);
        if (err == MR_OK && change->operation == 0)
            text = mr_copy_cstr(change->value);
    }
    if (err == MR_OK) {
        mr_free(next->texts[level][id]);
        next->texts[level][id] = text;
    }
    return err;
}

int16_t broker_node_alter(struct broker_request *request, mr_str broker,
                          const struct broker_node_change *changes, int32_t count, bool all,
                          bool validate_only, mr_str *why)
{
    struct broker_server *server = request->server;
    int level = broker.length == 0 ? BROKER_NODE_ALL : BROKER_NODE_THIS;
    struct broker_node next = {0};
    mr_err err = MR_OK;

    if (level == BROKER_NODE_THIS && !mr_str_equal(broker, MR_STR("1"))) {
        *why = mr_arena_printf(
            &request->arena, "Unexpected broker id, expected 1 or empty string, but received %.*s",
            MR_STR_ARG(broker));
        return KAFKA_ERROR_INVALID_REQUEST;
    }
    for (int at = 0; at < BROKER_NODE_LEVELS; at++)
        for (int i = 0; i < BROKER_NODE_COUNT; i++)
            if (server->node.texts[at][i] != NULL && !(all && at == level))
                next.texts[at][i] = mr_copy_cstr(mr_str_from(server->node.texts[at][i]));
    for (int32_t i = 0; i < count && err == MR_OK; i++)
        err = change_one(&next, level, &changes[i]);
    if (err != MR_OK)
        *why = broker_server_text(request, mr_why());
    if (err != MR_OK || validate_only) {
        broker_node_fini(&next);
        return err == MR_OK ? KAFKA_ERROR_NONE : KAFKA_ERROR_INVALID_REQUEST;
    }
    broker_node_fini(&server->node);
    server->node = next;
    broker_node_apply(server);
    return KAFKA_ERROR_NONE;
}

/* ---- docs ---- */

static const char *type_word(int type)
{
    static const char *const words[] = {
        [BROKER_CONFIG_BOOLEAN] = "boolean", [BROKER_CONFIG_STRING] = "string",
        [BROKER_CONFIG_INT] = "int",         [BROKER_CONFIG_SHORT] = "short",
        [BROKER_CONFIG_LONG] = "long",       [BROKER_CONFIG_DOUBLE] = "double",
        [BROKER_CONFIG_LIST] = "list",
    };

    return words[type];
}

static void topics_docs(struct mr_buf *out)
{
    mr_buf_cstr(out, "\n## Of a topic\n\nBy `millrace config --topic`, `kafka-configs.sh "
                     "--entity-type topics`, or when it "
                     "is made.\n\n| name | type | default | what it is |\n|---|---|---|---|\n");
    for (int i = 0; i < BROKER_CONFIG_COUNT; i++) {
        const struct broker_config_row *row = &broker_config_rows[i];
        int followed = broker_node_of_topic(i);
        mr_buf_printf(out, "| `%s` | %s | %s%s | %s |\n", row->name, type_word((int)row->type),
                      followed >= 0 ? "the broker's " : row->fallback,
                      followed >= 0 ? row_of(followed).name : "", row->about);
    }
}

void broker_settings_docs(struct mr_buf *out)
{
    static const char *const told[][2] = {
#define TOLD(type, name, value, fallback, about) {name, about},
#include "broker/node_configs.def"
    };

    mr_buf_cstr(out, "## Of the broker\n\nWhen it starts, by `--config NAME=VALUE` or "
                     "`--config-file FILE`. Those that say "
                     "\"yes\" change while it runs, too: `millrace config --broker`, "
                     "`kafka-configs.sh --entity-type "
                     "brokers`.\n\n| name | type | default | while it runs | what it is "
                     "|\n|---|---|---|---|---|\n");
    for (int i = 0; i < BROKER_NODE_COUNT; i++) {
        struct row row = row_of(i);
        mr_buf_printf(out, "| `%s` | %s | %s | %s | %s |\n", row.name, type_word(row.type),
                      row.fallback, row.runs ? "yes" : "no", row.about);
    }
    for (size_t i = 0; i < mr_count_of(units); i++)
        mr_buf_printf(out,
                      "| `%s` | int | | no | `%s` by another unit; that one goes before it. |\n",
                      units[i].name, row_of(units[i].id).name);
    mr_buf_cstr(out, "\nThese are told, and follow from what is in brackets or are fixed:\n\n| "
                     "name | what it is "
                     "|\n|---|---|\n");
    for (size_t i = 0; i < mr_count_of(told); i++)
        mr_buf_printf(out, "| `%s` | %s |\n", told[i][0], told[i][1]);
    topics_docs(out);
    mr_buf_cstr(out,
                "\n## Of a group\n\nBy `millrace config --group`, `kafka-configs.sh --entity-type "
                "groups`.\n\n| name | default | what it is |\n|---|---|---|\n");
    for (int i = 0; i < BROKER_GROUP_CONFIG_COUNT; i++) {
        const struct broker_group_config_row *row = &broker_group_config_rows[i];
        mr_buf_printf(out, "| `%s` | %s%s | %s |\n", row->name, row->own < 0 ? "" : "the broker's ",
                      row->own < 0 ? row->fallback : row_of(row->own).name, row->about);
    }
}
