/* broker/config.c: checks a topic's settings and turns their texts into the values that the log uses.
 * A text is taken only when it is right, so the values always follow from the texts. */
#include "broker/config.h"

const struct broker_config_row broker_config_rows[BROKER_CONFIG_COUNT] = {
#define CONFIG(type, field, name, fallback, lowest, about) \
    {name, fallback, about, BROKER_CONFIG_##type, lowest},
#include "broker/configs.def"
};

int broker_config_find(mr_str name)
{
    for (int i = 0; i < BROKER_CONFIG_COUNT; i++)
        if (mr_str_equal(name, mr_str_from(broker_config_rows[i].name)))
            return i;
    return -1;
}

mr_str broker_config_text(const struct broker_config *config, int id)
{
    const struct broker_config *defaults = config->defaults;

    if (config->texts[id] != NULL)
        return mr_str_from(config->texts[id]);
    return mr_str_from(defaults != NULL && defaults->texts[id] != NULL
                           ? defaults->texts[id]
                           : broker_config_rows[id].fallback);
}

static int64_t config_number(const struct broker_config *config, int id)
{
    int64_t value = 0;
    mr_err err = mr_str_to_i64(broker_config_text(config, id), &value);
    mr_assert(err == MR_OK); /* checked when it was set */
    return value;
}

static bool list_has(mr_str list, mr_str word)
{
    mr_str part;
    while (mr_str_split(&list, ',', &part))
        if (mr_str_equal(mr_str_trim(part), word))
            return true;
    return false;
}

void broker_config_derive(struct broker_config *config)
{
    mr_str policy = broker_config_text(config, BROKER_CONFIG_cleanup_policy);
    mr_str flush = broker_config_text(config, BROKER_CONFIG_flush);
    mr_err err;

    config->compacts = list_has(policy, MR_STR("compact"));
    config->deletes = list_has(policy, MR_STR("delete"));
    config->append_time = mr_str_equal(
        broker_config_text(config, BROKER_CONFIG_message_timestamp_type), MR_STR("LogAppendTime"));
    config->flush = BROKER_FLUSH_ACKS;
    if (mr_str_equal(flush, MR_STR("never")))
        config->flush = BROKER_FLUSH_NEVER;
    config->flush_messages = config_number(config, BROKER_CONFIG_flush_messages);
    config->flush_ms = config_number(config, BROKER_CONFIG_flush_ms);
    if (mr_str_equal(flush, MR_STR("always")) || config->flush_messages == 1)
        config->flush = BROKER_FLUSH_ALWAYS;
    config->retention_ms = config_number(config, BROKER_CONFIG_retention_ms);
    config->retention_bytes = config_number(config, BROKER_CONFIG_retention_bytes);
    config->segment_ms = config_number(config, BROKER_CONFIG_segment_ms);
    config->segment_jitter_ms = config_number(config, BROKER_CONFIG_segment_jitter_ms);
    config->segment_bytes = config_number(config, BROKER_CONFIG_segment_bytes);
    config->index_interval_bytes = config_number(config, BROKER_CONFIG_index_interval_bytes);
    config->max_message_bytes = config_number(config, BROKER_CONFIG_max_message_bytes);
    config->timestamp_before_ms = config_number(config, BROKER_CONFIG_message_timestamp_before);
    config->timestamp_after_ms = config_number(config, BROKER_CONFIG_message_timestamp_after);
    config->delete_retention_ms = config_number(config, BROKER_CONFIG_delete_retention_ms);
    config->min_compaction_lag_ms = config_number(config, BROKER_CONFIG_min_compaction_lag_ms);
    config->max_compaction_lag_ms = config_number(config, BROKER_CONFIG_max_compaction_lag_ms);
    err = mr_str_to_f64(broker_config_text(config, BROKER_CONFIG_min_cleanable_ratio),
                        &config->min_cleanable_ratio);
    mr_assert(err == MR_OK);
}

void broker_config_init(struct broker_config *config, const struct broker_config *defaults)
{
    *config = (struct broker_config){.defaults = defaults};
    broker_config_derive(config);
}

void broker_config_fini(struct broker_config *config)
{
    for (int i = 0; i < BROKER_CONFIG_COUNT; i++)
        mr_free(config->texts[i]);
    *config = (struct broker_config){0};
}

void broker_config_copy(const struct broker_config *from, struct broker_config *to)
{
    *to = *from;
    for (int i = 0; i < BROKER_CONFIG_COUNT; i++)
        if (from->texts[i] != NULL)
            to->texts[i] = mr_copy_cstr(mr_str_from(from->texts[i]));
}

/* ---- checks ---- */

/* Words that a setting of text may have, "|" between them; NULL: any text. */
static const char *config_words(int id)
{
    switch (id) {
    case BROKER_CONFIG_cleanup_policy:
        return "delete|compact";
    case BROKER_CONFIG_compression_type:
        return "producer|uncompressed|gzip|snappy|lz4|zstd";
    case BROKER_CONFIG_flush:
        return "acks|always|never";
    case BROKER_CONFIG_message_timestamp_type:
        return "CreateTime|LogAppendTime";
    default:
        return NULL;
    }
}

static mr_err check_word(int id, const char *name, mr_str value)
{
    mr_str words = mr_str_from(config_words(id)), word;
    if (words.data == NULL)
        return MR_OK;
    while (mr_str_split(&words, '|', &word))
        if (mr_str_equal(word, value))
            return MR_OK;
    return mr_fail(MR_INVALID, "Invalid value %.*s for configuration %s: expected one of %s",
                   MR_STR_ARG(value), name, config_words(id));
}

static mr_err check_number(int id, const char *name, mr_str value)
{
    const struct broker_config_row *row = &broker_config_rows[id];
    int64_t number = 0;
    double real = 0;

    if (row->type == BROKER_CONFIG_DOUBLE) {
        if (mr_str_to_f64(value, &real) == MR_OK && real >= 0 && real <= 1)
            return MR_OK;
        return mr_fail(MR_INVALID,
                       "Invalid value %.*s for configuration %s: expected a number from 0 to 1",
                       MR_STR_ARG(value), name);
    }
    if (mr_str_to_i64(value, &number) == MR_OK && number >= row->lowest &&
        (row->type == BROKER_CONFIG_LONG || number <= INT32_MAX))
        return MR_OK;
    return mr_fail(MR_INVALID,
                   "Invalid value %.*s for configuration %s: expected a number, at least %lld",
                   MR_STR_ARG(value), name, (long long)row->lowest);
}

mr_err broker_config_check(int id, const char *name, mr_str value)
{
    mr_str part;
    mr_err err = MR_OK;

    switch (broker_config_rows[id].type) {
    case BROKER_CONFIG_BOOLEAN:
        if (mr_str_equal_nocase(value, MR_STR("true")) ||
            mr_str_equal_nocase(value, MR_STR("false")))
            return MR_OK;
        return mr_fail(MR_INVALID,
                       "Invalid value %.*s for configuration %s: expected true or false",
                       MR_STR_ARG(value), name);
    case BROKER_CONFIG_STRING:
        return check_word(id, name, value);
    case BROKER_CONFIG_LIST:
        while (err == MR_OK && value.length > 0 && mr_str_split(&value, ',', &part))
            err = check_word(id, name, mr_str_trim(part));
        return err;
    case BROKER_CONFIG_INT:
    case BROKER_CONFIG_LONG:
    case BROKER_CONFIG_DOUBLE:
        return check_number(id, name, value);
    }
    return MR_OK;
}

mr_err broker_config_set(struct broker_config *config, mr_str name, mr_str value)
{
    int id = broker_config_find(name);
    mr_err err;

    if (id < 0)
        return mr_fail(MR_NOT_FOUND, "Unknown topic config name: %.*s", MR_STR_ARG(name));
    if (value.length > MR_LIMIT_BROKER_CONFIG_BYTES)
        return mr_fail(MR_INVALID, "%s: a value of at most %d bytes is expected, found %zu",
                       broker_config_rows[id].name, MR_LIMIT_BROKER_CONFIG_BYTES, value.length);
    if (value.data != NULL &&
        (err = broker_config_check(id, broker_config_rows[id].name, value)) != MR_OK)
        return err;
    mr_free(config->texts[id]);
    config->texts[id] = value.data == NULL ? NULL : mr_copy_cstr(value);
    broker_config_derive(config);
    return MR_OK;
}

static void list_add(struct mr_buf *list, mr_str part)
{
    if (list->length > 0)
        mr_buf_u8(list, ',');
    mr_buf_str(list, part);
}

mr_err broker_config_append(struct broker_config *config, mr_str name, mr_str value, bool subtract)
{
    int id = broker_config_find(name);
    struct mr_buf text = {0};
    mr_str present, part, more = value;
    struct mr_map parts = {0};
    mr_err err;

    if (id < 0 || broker_config_rows[id].type != BROKER_CONFIG_LIST)
        return mr_fail(MR_INVALID, "Can't append to or subtract from %.*s: it is no list",
                       MR_STR_ARG(name));
    while (mr_str_split(&more, ',', &part))
        mr_map_put(&parts, mr_str_trim(part), config);
    present = broker_config_text(config, id);
    while (present.length > 0 && mr_str_split(&present, ',', &part))
        if (mr_map_get(&parts, mr_str_trim(part)) == NULL)
            list_add(&text, part);
    if (!subtract)
        list_add(&text, value);
    mr_map_fini(&parts);
    err = broker_config_set(config, name,
                            mr_str_of(text.length > 0 ? (char *)text.data : "", text.length));
    mr_buf_fini(&text);
    return err;
}

void broker_config_print(const struct broker_config *config, struct mr_buf *out)
{
    for (int i = 0; i < BROKER_CONFIG_COUNT; i++)
        if (config->texts[i] != NULL)
            mr_buf_printf(out, "%s=%s\n", broker_config_rows[i].name, config->texts[i]);
}
