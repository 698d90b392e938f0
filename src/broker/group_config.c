/* broker/group_config.c: checks a group's settings and turns their texts into values. A text is taken
 * only when it is right, so the values always follow from the texts. */
#include "broker/group_config.h"

const struct broker_group_config_row broker_group_config_rows[BROKER_GROUP_CONFIG_COUNT] = {
#define GROUP_CONFIG(field, name, fallback, about) \
    {name, fallback, about, BROKER_CONFIG_STRING, -1, -1, -1},
#define GROUP_NUMBER(field, name, own, lowest, highest, about) \
    {name,                                                     \
     NULL,                                                     \
     about,                                                    \
     BROKER_CONFIG_INT,                                        \
     BROKER_NODE_##own,                                        \
     BROKER_NODE_##lowest,                                     \
     BROKER_NODE_##highest},
#include "broker/group_configs.def"
};

int broker_group_config_find(mr_str name)
{
    for (int i = 0; i < BROKER_GROUP_CONFIG_COUNT; i++)
        if (mr_str_equal(name, mr_str_from(broker_group_config_rows[i].name)))
            return i;
    return -1;
}

mr_str broker_group_config_text(const struct broker_group_config *config, int id)
{
    const struct broker_group_config_row *row = &broker_group_config_rows[id];

    return mr_str_from(config->texts[id] != NULL ? config->texts[id]
                       : row->own < 0            ? row->fallback
                                                 : broker_node_value(config->node, row->own));
}

/* ---- by_duration: ISO 8601, days to seconds ---- */

/* A number in front of its letter; *text goes on behind it. False: it is another letter's. */
static bool part_read(mr_str *text, char letter, int64_t unit_ms, int64_t *ms)
{
    size_t at = 0;
    double number;

    while (at < text->length &&
           (text->data[at] == '.' || (text->data[at] >= '0' && text->data[at] <= '9')))
        at++;
    if (at == 0 || at == text->length || text->data[at] != letter ||
        mr_str_to_f64(mr_str_slice(*text, 0, at), &number) != MR_OK || number > 1e9 ||
        (letter != 'S' && number != (double)(int64_t)number))
        return false;
    *ms += (int64_t)(number * (double)unit_ms);
    *text = mr_str_slice(*text, at + 1, text->length);
    return true;
}

static bool duration_read(mr_str text, int64_t *ms)
{
    bool some = false, time;

    *ms = 0;
    if (text.length < 2 || text.data[0] != 'P')
        return false;
    text = mr_str_slice(text, 1, text.length);
    some = part_read(&text, 'D', 86400000, ms);
    time = text.length > 0 && text.data[0] == 'T';
    if (time) {
        text = mr_str_slice(text, 1, text.length);
        some = false;
        some |= part_read(&text, 'H', 3600000, ms);
        some |= part_read(&text, 'M', 60000, ms);
        some |= part_read(&text, 'S', 1000, ms);
    }
    return some && text.length == 0;
}

static bool reset_read(mr_str text, struct broker_group_config *into)
{
    into->share_reset = BROKER_SHARE_LATEST;
    if (mr_str_equal(text, MR_STR("latest")))
        return true;
    into->share_reset = BROKER_SHARE_EARLIEST;
    if (mr_str_equal(text, MR_STR("earliest")))
        return true;
    into->share_reset = BROKER_SHARE_BY_DURATION;
    return mr_str_starts(text, MR_STR("by_duration:")) &&
           duration_read(mr_str_slice(text, 12, text.length), &into->share_reset_ms);
}

/* ---- values ---- */

static int32_t config_number(const struct broker_group_config *config, int id)
{
    int64_t value = 0;
    mr_err err = mr_str_to_i64(broker_group_config_text(config, id), &value);

    mr_assert(err == MR_OK); /* checked when it was set */
    return (int32_t)value;
}

static void config_derive(struct broker_group_config *config)
{
    bool known = reset_read(broker_group_config_text(config, BROKER_GROUP_CONFIG_share_reset),
                            config);

    mr_assert(known);
    config->consumer_heartbeat_ms = config_number(config,
                                                  BROKER_GROUP_CONFIG_consumer_heartbeat_ms);
    config->consumer_session_ms = config_number(config, BROKER_GROUP_CONFIG_consumer_session_ms);
    config->share_heartbeat_ms = config_number(config, BROKER_GROUP_CONFIG_share_heartbeat_ms);
    config->share_session_ms = config_number(config, BROKER_GROUP_CONFIG_share_session_ms);
    config->share_lock_ms = config_number(config, BROKER_GROUP_CONFIG_share_lock_ms);
    config->share_committed = mr_str_equal(
        broker_group_config_text(config, BROKER_GROUP_CONFIG_share_isolation),
        MR_STR("read_committed"));
}

void broker_group_config_init(struct broker_group_config *config, const struct broker_node *node)
{
    *config = (struct broker_group_config){.node = node};
    config_derive(config);
}

void broker_group_config_fini(struct broker_group_config *config)
{
    for (int i = 0; i < BROKER_GROUP_CONFIG_COUNT; i++)
        mr_free(config->texts[i]);
    *config = (struct broker_group_config){0};
}

void broker_group_config_copy(const struct broker_group_config *from,
                              struct broker_group_config *to)
{
    *to = *from;
    for (int i = 0; i < BROKER_GROUP_CONFIG_COUNT; i++)
        if (from->texts[i] != NULL)
            to->texts[i] = mr_copy_cstr(mr_str_from(from->texts[i]));
}

bool broker_group_config_is_set(const struct broker_group_config *config)
{
    for (int i = 0; i < BROKER_GROUP_CONFIG_COUNT; i++)
        if (config->texts[i] != NULL)
            return true;
    return false;
}

static mr_err config_check(const struct broker_node *node, int id, mr_str value, bool bounded)
{
    const struct broker_group_config_row *row = &broker_group_config_rows[id];
    struct broker_group_config scratch;

    if (row->type == BROKER_CONFIG_INT) {
        int64_t lowest = bounded ? broker_node_number(node, row->lowest) : 1;
        int64_t highest = bounded ? broker_node_number(node, row->highest) : INT32_MAX, number = 0;
        if (mr_str_to_i64(value, &number) == MR_OK && number >= lowest && number <= highest)
            return MR_OK;
        return mr_fail(
            MR_INVALID,
            "Invalid value %.*s for configuration %s: expected a number from %lld to %lld",
            MR_STR_ARG(value), row->name, (long long)lowest, (long long)highest);
    }
    if (id == BROKER_GROUP_CONFIG_share_reset ? reset_read(value, &scratch)
                                              : mr_str_equal(value, MR_STR("read_committed")) ||
                                                    mr_str_equal(value, MR_STR("read_uncommitted")))
        return MR_OK;
    return mr_fail(MR_INVALID, "Invalid value %.*s for configuration %s: expected %s",
                   MR_STR_ARG(value), row->name,
                   id == BROKER_GROUP_CONFIG_share_reset
                       ? "earliest, latest or by_duration:PnDTnHnMn.nS"
                       : "read_committed or read_uncommitted");
}

static mr_err config_put(struct broker_group_config *config, mr_str name, mr_str value,
                         bool bounded)
{
    int id = broker_group_config_find(name);
    mr_err err;

    if (id < 0)
        return mr_fail(MR_NOT_FOUND, "Unknown group config name: %.*s", MR_STR_ARG(name));
    if (value.data != NULL && (err = config_check(config->node, id, value, bounded)) != MR_OK)
        return err;
    mr_free(config->texts[id]);
    config->texts[id] = value.data == NULL ? NULL : mr_copy_cstr(value);
    config_derive(config);
    return MR_OK;
}

mr_err broker_group_config_set(struct broker_group_config *config, mr_str name, mr_str value)
{
    return config_put(config, name, value, true);
}

mr_err broker_group_config_read(struct broker_group_config *config, mr_str name, mr_str value)
{
    return config_put(config, name, value, false);
}

void broker_group_config_print(const struct broker_group_config *config, struct mr_buf *out)
{
    for (int i = 0; i < BROKER_GROUP_CONFIG_COUNT; i++)
        if (config->texts[i] != NULL)
            mr_buf_printf(out, "%s=%s\n", broker_group_config_rows[i].name, config->texts[i]);
}

/* ---- of all groups ---- */

const struct broker_group_config *broker_group_config_of(const struct mr_map *configs, mr_str group)
{
    const struct broker_group_config *found = mr_map_get(configs, group);

    return found != NULL ? found : mr_map_get(configs, MR_STR(""));
}

void broker_group_config_put(struct mr_map *configs, mr_str group,
                             struct broker_group_config *config)
{
    struct broker_group_config *old = mr_map_remove(configs, group);

    if (old != NULL) {
        broker_group_config_fini(old);
        mr_free(old);
    }
    if (group.length > 0 && !broker_group_config_is_set(config))
        return;
    old = mr_new(struct broker_group_config);
    *old = *config;
    *config = (struct broker_group_config){0};
    mr_map_put(configs, group, old);
}

void broker_group_configs_init(struct mr_map *configs, const struct broker_node *node)
{
    struct broker_group_config defaults;

    *configs = (struct mr_map){0};
    broker_group_config_init(&defaults, node);
    broker_group_config_put(configs, MR_STR(""), &defaults);
}

void broker_group_configs_fini(struct mr_map *configs)
{
    struct mr_map_entry *entry;

    for (size_t i = 0; (entry = mr_map_next(configs, &i)) != NULL;) {
        struct broker_group_config *config = entry->value;
        broker_group_config_fini(config);
        mr_free(config);
    }
    mr_map_fini(configs);
}
