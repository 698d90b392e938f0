/* broker/node.c: settings of the broker that change while it runs. A value is checked when it is set, so what
 * is in force always follows from the texts; they are rows of the file `security`. */
#include "broker/node.h"

#include "broker/server.h"
#include "json/json.h"

#include <stdio.h>

enum { BROKER_CONFIG_SHORT = 4 }; /* a type that no topic's setting has */

struct row {
    const char *name, *fallback, *about;
    enum broker_config_type type;
    int64_t lowest;
    int topic_id; /* -1: the broker's own */
};
static struct row row_of(int id)
{
    static const struct row own[BROKER_NODE_COUNT] = {
#define FOLLOWED(name, field) \
    [BROKER_NODE_##field] = {name, NULL, NULL, BROKER_CONFIG_LONG, 0, BROKER_CONFIG_##field},
#define DYNAMIC(field, name, fallback, lowest, about) \
    [BROKER_NODE_##field] = {name, fallback, about, BROKER_CONFIG_INT, lowest, -1},
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

int broker_node_of_topic(int topic_id)
{
    /* and one; 0: none */
    static const int ids[BROKER_CONFIG_COUNT] = {
#define FOLLOWED(name, field) [BROKER_CONFIG_##field] = BROKER_NODE_##field + 1,
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
    return node->texts[BROKER_NODE_THIS][id] != NULL ? node->texts[BROKER_NODE_THIS][id]
                                                     : node->texts[BROKER_NODE_ALL][id];
}

void broker_node_fini(struct broker_node *node)
{
    for (int i = 0; i < BROKER_NODE_COUNT; i++)
        for (int level = 0; level < BROKER_NODE_LEVELS; level++)
            mr_free(node->texts[level][i]);
    *node = (struct broker_node){0};
}

static int64_t number_of(const struct broker_node *node, int id)
{
    int64_t value = 0;
    const char *text = text_set(node, id);
    mr_err err = mr_str_to_i64(mr_str_from(text != NULL ? text : row_of(id).fallback), &value);

    mr_assert(err == MR_OK); /* checked when it was set */
    return value;
}

void broker_node_apply(struct broker_server *server)
{
    const struct broker_node *node = &server->node;
    const char *texts[BROKER_CONFIG_COUNT] = {0};
    int64_t conns = number_of(node, BROKER_NODE_max_connections);

    for (int i = 0; i < BROKER_NODE_COUNT; i++)
        if (row_of(i).topic_id >= 0)
            texts[row_of(i).topic_id] = text_set(node, i);
    broker_topics_follow(&server->topics, texts);
    server->storage.producer_expiry_ms = number_of(node, BROKER_NODE_producer_id_expiration_ms);
    conns = conns > MR_LIMIT_CONNS ? MR_LIMIT_CONNS : conns;
    if (server->listener != NULL)
        net_listener_conns_max(server->listener, (size_t)conns);
}

/* ---- the file's rows ---- */

void broker_node_print(const struct broker_node *node, struct mr_buf *out)
{
    for (int level = 0; level < BROKER_NODE_LEVELS; level++)
        for (int i = 0; i < BROKER_NODE_COUNT; i++) {
            if (node->texts[level][i] == NULL)
                continue;
            mr_buf_printf(out, "{\"setting\":\"%s\",\"broker\":\"%s\",\"value\":", row_of(i).name,
                          level == BROKER_NODE_THIS ? "1" : "");
            mr_buf_json(out, mr_str_from(node->texts[level][i]));
            mr_buf_cstr(out, "}\n");
        }
}

static mr_err check(int id, mr_str value)
{
    struct row row = row_of(id);
    int64_t number = 0;

    if (row.topic_id >= 0)
        return broker_config_check(row.topic_id, row.name, value);
    if (mr_str_to_i64(value, &number) == MR_OK && number >= row.lowest && number <= INT32_MAX)
        return MR_OK;
    return mr_fail(MR_INVALID,
                   "Invalid value %.*s for configuration %s: expected a number, at least %lld",
                   MR_STR_ARG(value), row.name, (long long)row.lowest);
}

mr_err broker_node_read(struct broker_node *node, const struct json_value *row)
{
    int id = row_find(json_str(json_get(row, MR_STR("setting")), MR_STR_NULL));
    mr_str broker = json_str(json_get(row, MR_STR("broker")), MR_STR_NULL);
    mr_str value = json_str(json_get(row, MR_STR("value")), MR_STR_NULL);
    char **text;

    if (id < 0 || broker.data == NULL || value.data == NULL || check(id, value) != MR_OK)
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

static const char *node_number(struct broker_request *request, int32_t number)
{
    return mr_arena_printf(&request->arena, "%d", number).data;
}

static const char *node_listener(struct broker_request *request, bool advertised)
{
    mr_str host;
    int32_t port;

    broker_server_address(request, &host, &port);
    return mr_arena_printf(&request->arena, "PLAINTEXT://%.*s:%d", MR_STR_ARG(host),
                           advertised ? port : request->server->port)
        .data;
}

static struct kafka_describe_configs_config *row_tell(struct broker_request *request,
                                                      struct kafka_describe_configs_result *answer,
                                                      const char *name, int8_t type,
                                                      const char *about)
{
    const struct kafka_describe_configs_request *in = request->in;
    struct kafka_describe_configs_config *row = &answer->configs.items[answer->configs.count++];

    wire_reset(kafka_describe_configs_config_shape(), row);
    row->name = mr_str_from(name);
    row->config_type = type;
    row->documentation = in->include_documentation ? mr_str_from(about) : MR_STR_NULL;
    return row;
}

static void static_tell(struct broker_request *request,
                        const struct kafka_describe_configs_resource *asked,
                        struct kafka_describe_configs_result *answer)
{
    struct broker_server *server = request->server;
    const struct {
        int8_t type;
        const char *name, *value, *about;
    } rows[] = {
#define NODE_CONFIG(type, name, value, about) {BROKER_CONFIG_##type, name, value, about},
#include "broker/node_configs.def"
    };

    answer->configs.items = mr_arena_array(&request->arena, struct kafka_describe_configs_config,
                                           mr_count_of(rows) + BROKER_NODE_COUNT);
    for (size_t i = 0; i < mr_count_of(rows); i++) {
        if (!key_wanted(asked, rows[i].name) || asked->resource_name.length == 0)
            continue;
        struct kafka_describe_configs_config *row = row_tell(request, answer, rows[i].name,
                                                             rows[i].type, rows[i].about);
        row->value = mr_str_from(rows[i].value);
        row->read_only = true;
        row->config_source = BROKER_SOURCE_STATIC;
    }
}

static void synonym_add(struct kafka_describe_configs_config *row, const char *value, int8_t source)
{
    if (value == NULL)
        return;
    if (row->synonyms.count == 0) {
        row->value = mr_str_from(value);
        row->config_source = source;
    }
    row->synonyms.items[row->synonyms.count++] = (struct kafka_describe_configs_synonym){
        row->name, mr_str_from(value), source};
}

/* Who asks for the whole cluster's is told what was set for it. */
void broker_node_describe(struct broker_request *request,
                          const struct kafka_describe_configs_resource *asked,
                          struct kafka_describe_configs_result *answer)
{
    const struct kafka_describe_configs_request *in = request->in;
    const struct broker_node *node = &request->server->node;
    bool one = asked->resource_name.length > 0;

    static_tell(request, asked, answer);
    for (int i = 0; i < BROKER_NODE_COUNT; i++) {
        struct row known = row_of(i);
        if (!key_wanted(asked, known.name) || (!one && node->texts[BROKER_NODE_ALL][i] == NULL))
            continue;
        struct kafka_describe_configs_config *row = row_tell(request, answer, known.name,
                                                             (int8_t)known.type, known.about);
        row->synonyms.items = mr_arena_array(&request->arena, struct kafka_describe_configs_synonym,
                                             3);
        if (one && node->texts[BROKER_NODE_THIS][i] != NULL)
            synonym_add(row, broker_server_text(request, node->texts[BROKER_NODE_THIS][i]).data,
                        BROKER_SOURCE_DYNAMIC_BROKER);
        if (node->texts[BROKER_NODE_ALL][i] != NULL)
            synonym_add(row, broker_server_text(request, node->texts[BROKER_NODE_ALL][i]).data,
                        BROKER_SOURCE_DYNAMIC_DEFAULT);
        synonym_add(row, known.fallback, BROKER_SOURCE_DEFAULT);
        if (!in->include_synonyms)
            row->synonyms.count = 0;
    }
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

    if (id < 0) { /* what was never set is easily taken back: tools do so with throttles */
        return change->operation == 1
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
