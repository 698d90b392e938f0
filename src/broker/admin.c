/* broker/admin.c: topics are made, changed and deleted; settings are told and set. A change is answered
 * when the catalog has it on the disk. */
#include "broker/server.h"

#include <stdio.h>

/* Requests of this file that wait for the catalog. */
struct change {
    struct broker_catalog_wait wait, node_wait;
    struct broker_request *request;
    size_t waiting;
};

static struct change *change_new(struct broker_request *request)
{
    struct change *change = mr_arena_new(&request->arena, struct change);

    change->request = request;
    change->waiting = 1;
    return change;
}

static void change_step(struct change *change)
{
    if (--change->waiting == 0)
        broker_server_answer(change->request);
}

static void change_saved(struct broker_catalog_wait *wait, mr_err err)
{
    struct change *change = mr_container(wait, struct change, wait);

    if (err !=
        MR_OK) /* it holds until the next start; the client sees a time-out-like error in Kafka */
        mr_log(MR_LOG_ERROR, "broker", "a change of topics is not on the disk: %s", mr_why());
    change_step(change);
}

static void node_saved(struct broker_catalog_wait *wait, mr_err err)
{
    struct change *change = mr_container(wait, struct change, node_wait);

    if (err != MR_OK)
        mr_log(MR_LOG_ERROR, "broker", "a change of settings is not on the disk: %s", mr_why());
    change_step(change);
}

static void change_save(struct change *change)
{
    change->waiting++;
    change->wait.run = change_saved;
    broker_topics_save(&change->request->server->topics, &change->wait);
}

/* ---- what a request names more than once ---- */

/* A flag for each name, found in one pass: a stranger chooses how many there are. */
static bool *repeated(struct broker_request *request, const mr_str *names, int32_t count)
{
    bool *flags = mr_arena_array(&request->arena, bool, (size_t)count);
    struct mr_map counts = {0};

    for (int32_t i = 0; i < count; i++)
        mr_map_put(&counts, names[i], (void *)((uintptr_t)mr_map_get(&counts, names[i]) + 1));
    for (int32_t i = 0; i < count; i++)
        flags[i] = (uintptr_t)mr_map_get(&counts, names[i]) > 1;
    mr_map_fini(&counts);
    return flags;
}

/* ---- CreateTopics ---- */

enum { TOPIC_COSTS_PARTITIONS = 10 };

static int16_t create_refuse(struct broker_request *request,
                             struct kafka_create_topics_response_topic *answer, int16_t code,
                             const char *why)
{
    answer->error_message = broker_server_text(request, why);
    answer->num_partitions = -1;
    return code;
}

static int16_t check_assignments(struct broker_request *request,
                                 const struct kafka_create_topics_request_topic *asked,
                                 struct kafka_create_topics_response_topic *answer)
{
    if (asked->num_partitions != -1 || asked->replication_factor != -1)
        return create_refuse(
            request, answer, KAFKA_ERROR_INVALID_REQUEST,
            "Both numPartitions or replicationFactor and replicasAssignments were set.");
    for (int32_t i = 0; i < asked->assignments.count; i++) {
        const struct kafka_create_topics_assignment *row = &asked->assignments.items[i];
        if (row->partition_index < 0 || row->partition_index >= asked->assignments.count ||
            row->broker_ids.count != 1 || row->broker_ids.items[0] != BROKER_NODE_ID)
            return create_refuse(request, answer, KAFKA_ERROR_INVALID_REPLICA_ASSIGNMENT,
                                 "There is one broker, 1; partitions are numbered from 0.");
    }
    return KAFKA_ERROR_NONE;
}

static int16_t check_create(struct broker_request *request,
                            const struct kafka_create_topics_request_topic *asked,
                            struct kafka_create_topics_response_topic *answer, int32_t *partitions)
{
    if (!broker_topics_name_ok(asked->name))
        return create_refuse(request, answer, KAFKA_ERROR_INVALID_TOPIC_EXCEPTION,
                             "A topic's name has 1 to 249 letters, digits, '.', '_' and '-'.");
    if (broker_topics_find(&request->server->topics, asked->name) != NULL)
        return create_refuse(request, answer, KAFKA_ERROR_TOPIC_ALREADY_EXISTS,
                             "Topic already exists.");
    if (broker_topics_collides(&request->server->topics, asked->name))
        return create_refuse(request, answer, KAFKA_ERROR_INVALID_TOPIC_EXCEPTION,
                             "Another topic's name differs in '.' and '_' only: metrics would "
                             "take one for the other.");
    if (broker_topics_is_deleting(&request->server->topics, asked->name))
        return create_refuse(request, answer, KAFKA_ERROR_TOPIC_ALREADY_EXISTS,
                             "Topic is marked for deletion.");
    if (asked->assignments.count > 0) {
        *partitions = asked->assignments.count;
        return check_assignments(request, asked, answer);
    }
    *partitions = asked->num_partitions == -1 ? request->server->topics.default_partitions
                                              : asked->num_partitions;
    if (*partitions < 1 || *partitions > MR_LIMIT_BROKER_PARTITIONS)
        return create_refuse(request, answer, KAFKA_ERROR_INVALID_PARTITIONS,
                             "Number of partitions must be larger than 0.");
    if (asked->replication_factor != -1 && asked->replication_factor != 1)
        return create_refuse(request, answer, KAFKA_ERROR_INVALID_REPLICATION_FACTOR,
                             "Replication factor must be 1: there is one broker.");
    return KAFKA_ERROR_NONE;
}

static int16_t create_config(struct broker_request *request,
                             const struct kafka_create_topics_request_topic *asked,
                             struct kafka_create_topics_response_topic *answer,
                             struct broker_config *config)
{
    for (int32_t i = 0; i < asked->configs.count; i++) {
        mr_str value = asked->configs.items[i].value;
        mr_err err = value.data == NULL
                         ? mr_fail(MR_INVALID, "Null value not supported for topic configs: %.*s",
                                   MR_STR_ARG(asked->configs.items[i].name))
                         : broker_config_set(config, asked->configs.items[i].name, value);
        if (err != MR_OK)
            return create_refuse(request, answer, KAFKA_ERROR_INVALID_CONFIG, mr_why());
    }
    return KAFKA_ERROR_NONE;
}

static int8_t config_source(const struct broker_server *server, const struct broker_config *config,
                            int id)
{
    int followed = broker_node_of_topic(id);

    if (config->texts[id] != NULL)
        return BROKER_SOURCE_TOPIC;
    for (int level = BROKER_NODE_LEVELS; followed >= 0 && level-- > 0;)
        if (broker_node_text(&server->node, (enum broker_node_level)level, followed) != NULL)
            return broker_node_sources[level];
    return BROKER_SOURCE_DEFAULT;
}

static void create_tell(struct broker_request *request, const struct broker_config *config,
                        struct kafka_create_topics_response_topic *answer)
{
    answer->configs.items = mr_arena_array(
        &request->arena, struct kafka_create_topics_response_config, BROKER_CONFIG_COUNT);
    answer->configs.count = BROKER_CONFIG_COUNT;
    for (int i = 0; i < BROKER_CONFIG_COUNT; i++) {
        struct kafka_create_topics_response_config *row = &answer->configs.items[i];
        row->name = mr_str_from(broker_config_rows[i].name);
        row->value = mr_arena_str(&request->arena, broker_config_text(config, i));
        row->config_source = config_source(request->server, config, i);
    }
}

/* `*total`: partitions that the request has asked for so far; what a topic costs besides counts as some, too. */
static int16_t check_total(struct broker_request *request,
                           struct kafka_create_topics_response_topic *answer, int32_t partitions,
                           int64_t *total)
{
    int64_t cost = partitions < TOPIC_COSTS_PARTITIONS ? TOPIC_COSTS_PARTITIONS : partitions;

    if (*total + cost > MR_LIMIT_BROKER_PARTITIONS)
        return create_refuse(request, answer, KAFKA_ERROR_POLICY_VIOLATION,
                             "Excessively large number of partitions per request.");
    *total += cost;
    return KAFKA_ERROR_NONE;
}

static bool create_one(struct broker_request *request,
                       const struct kafka_create_topics_request_topic *asked, bool repeated_name,
                       int64_t *total, struct kafka_create_topics_response_topic *answer)
{
    const struct kafka_create_topics_request *in = request->in;
    struct broker_config config;
    int32_t partitions = 0;
    bool made = false;

    wire_reset(kafka_create_topics_response_topic_shape(), answer);
    answer->name = asked->name;
    answer->configs.count = -1;
    broker_config_init(&config, &request->server->topics.defaults);
    if (!request->server->ready)
        answer->error_code = KAFKA_ERROR_NOT_CONTROLLER;
    else if (repeated_name)
        answer->error_code = create_refuse(request, answer, KAFKA_ERROR_INVALID_REQUEST,
                                           "The request names the topic twice.");
    else
        answer->error_code = check_create(request, asked, answer, &partitions);
    if (answer->error_code == KAFKA_ERROR_NONE)
        answer->error_code = check_total(request, answer, partitions, total);
    if (answer->error_code == KAFKA_ERROR_NONE)
        answer->error_code = create_config(request, asked, answer, &config);
    if (answer->error_code == KAFKA_ERROR_NONE && !broker_throttle_change(request, 6, partitions))
        answer->error_code = create_refuse(request, answer, KAFKA_ERROR_THROTTLING_QUOTA_EXCEEDED,
                                           kafka_error_text(KAFKA_ERROR_THROTTLING_QUOTA_EXCEEDED));
    if (answer->error_code != KAFKA_ERROR_NONE)
        goto out;
    answer->num_partitions = partitions;
    answer->replication_factor = 1;
    create_tell(request, &config, answer);
    if (in->validate_only)
        goto out;
    answer->topic_id =
        broker_topics_make(&request->server->topics, answer->name, partitions, &config, NULL)->id;
    made = true;
out:
    broker_config_fini(&config);
    return made;
}

void broker_admin_create_topics(struct broker_request *request)
{
    const struct kafka_create_topics_request *in = request->in;
    struct kafka_create_topics_response *out = request->out;
    struct change *change = change_new(request);
    mr_str *names = mr_arena_array(&request->arena, mr_str, (size_t)in->topics.count);
    int64_t total = 0;
    bool made = false, *twice;

    for (int32_t i = 0; i < in->topics.count; i++)
        names[i] = in->topics.items[i].name;
    twice = repeated(request, names, in->topics.count);
    out->topics.items = mr_arena_array(&request->arena, struct kafka_create_topics_response_topic,
                                       (size_t)in->topics.count);
    out->topics.count = in->topics.count;
    for (int32_t i = 0; i < in->topics.count; i++)
        made = create_one(request, &in->topics.items[i], twice[i], &total, &out->topics.items[i]) ||
               made;
    if (made)
        change_save(change);
    change_step(change);
}

/* ---- CreatePartitions ---- */

static int16_t grow_check(struct broker_request *request,
                          const struct kafka_create_partitions_topic *asked,
                          struct broker_topic **topic, const char **why)
{
    *topic = broker_topics_find(&request->server->topics, asked->name);
    if (*topic == NULL) {
        *why = "The topic does not exist.";
        return KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION;
    }
    if (!request->server->ready)
        return KAFKA_ERROR_NOT_CONTROLLER;
    if (asked->count <= (int32_t)(*topic)->partitions.count ||
        asked->count > MR_LIMIT_BROKER_PARTITIONS || (*topic)->internal) {
        *why = "The topic must get more partitions than it has.";
        return KAFKA_ERROR_INVALID_PARTITIONS;
    }
    if (!broker_throttle_change(request, 3, asked->count - (int32_t)(*topic)->partitions.count)) {
        *why = kafka_error_text(KAFKA_ERROR_THROTTLING_QUOTA_EXCEEDED);
        return KAFKA_ERROR_THROTTLING_QUOTA_EXCEEDED;
    }
    for (int32_t i = 0; i < asked->assignments.count; i++) {
        if (asked->assignments.count == asked->count - (int32_t)(*topic)->partitions.count &&
            asked->assignments.items[i].broker_ids.count == 1 &&
            asked->assignments.items[i].broker_ids.items[0] == BROKER_NODE_ID)
            continue;
        *why = "There is one broker, 1; each new partition needs a row.";
        return KAFKA_ERROR_INVALID_REPLICA_ASSIGNMENT;
    }
    return KAFKA_ERROR_NONE;
}

void broker_admin_create_partitions(struct broker_request *request)
{
    const struct kafka_create_partitions_request *in = request->in;
    struct kafka_create_partitions_response *out = request->out;
    struct change *change = change_new(request);
    bool grown = false;

    out->results.items = mr_arena_array(&request->arena, struct kafka_create_partitions_result,
                                        (size_t)in->topics.count);
    out->results.count = in->topics.count;
    for (int32_t i = 0; i < in->topics.count; i++) {
        struct kafka_create_partitions_result *answer = &out->results.items[i];
        struct broker_topic *topic = NULL;
        const char *why = NULL;

        wire_reset(kafka_create_partitions_result_shape(), answer);
        answer->name = in->topics.items[i].name;
        answer->error_code = grow_check(request, &in->topics.items[i], &topic, &why);
        answer->error_message = mr_str_from(why);
        if (answer->error_code != KAFKA_ERROR_NONE || in->validate_only)
            continue;
        broker_topics_grow(&request->server->topics, topic, in->topics.items[i].count, NULL);
        grown = true;
    }
    if (grown)
        change_save(change);
    change_step(change);
}

/* ---- DeleteTopics ---- */

struct deletion {
    struct broker_catalog_wait wait;
    struct change *change;
};

static void topic_deleted(struct broker_catalog_wait *wait, mr_err err)
{
    struct deletion *deletion = mr_container(wait, struct deletion, wait);
    (void)err; /* the topic is out of sight, and its removal is finished at the next start */
    change_step(deletion->change);
}

/* `gone`: the topics that go. */
static void delete_one(struct change *change, mr_str name, const mr_uuid *id, struct mr_map *gone,
                       struct kafka_delete_topics_response_topic *answer)
{
    struct broker_request *request = change->request;
    struct broker_topics *topics = &request->server->topics;
    struct broker_topic *topic;
    struct deletion *deletion;

    wire_reset(kafka_delete_topics_response_topic_shape(), answer);
    answer->name = name;
    topic = name.data != NULL ? broker_topics_find(topics, name)
                              : broker_topics_find_id(topics, id);
    if (id != NULL)
        answer->topic_id = *id;
    if (topic == NULL) {
        answer->error_code = name.data == NULL ? KAFKA_ERROR_UNKNOWN_TOPIC_ID
                                               : KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION;
        answer->error_message = mr_str_from(kafka_error_text(answer->error_code));
        return;
    }
    answer->name = broker_server_text(request, topic->name);
    answer->topic_id = topic->id;
    if (!request->server->ready) {
        answer->error_code = KAFKA_ERROR_NOT_CONTROLLER;
        return;
    }
    if (!broker_server_number(request->server, BROKER_NODE_delete_topic_enable)) {
        answer->error_code = request->header.request_api_version < 3
                                 ? KAFKA_ERROR_INVALID_REQUEST
                                 : KAFKA_ERROR_TOPIC_DELETION_DISABLED;
        answer->error_message = mr_str_from(kafka_error_text(KAFKA_ERROR_TOPIC_DELETION_DISABLED));
        return;
    }
    if (topic->internal) {
        answer->error_code = KAFKA_ERROR_INVALID_TOPIC_EXCEPTION;
        answer->error_message = MR_STR("The topic is the broker's own.");
        return;
    }
    if (!broker_throttle_change(request, 5, (int32_t)topic->partitions.count)) {
        answer->error_code = KAFKA_ERROR_THROTTLING_QUOTA_EXCEEDED;
        answer->error_message = mr_str_from(kafka_error_text(answer->error_code));
        return;
    }
    deletion = mr_arena_new(&request->arena, struct deletion);
    deletion->change = change;
    deletion->wait.run = topic_deleted;
    change->waiting++;
    mr_map_put(gone, answer->name, topic);
    broker_share_forget_topic(&request->server->groups, &topic->id);
    broker_topics_delete(topics, topic, &deletion->wait);
}

void broker_admin_delete_topics(struct broker_request *request)
{
    const struct kafka_delete_topics_request *in = request->in;
    struct kafka_delete_topics_response *out = request->out;
    struct change *change = change_new(request);
    bool by_row = request->header.request_api_version >= 6;
    int32_t count = by_row ? in->topics.count : in->topic_names.count;
    struct mr_map gone = {0};

    out->responses.items = mr_arena_array(&request->arena,
                                          struct kafka_delete_topics_response_topic, (size_t)count);
    out->responses.count = count;
    for (int32_t i = 0; i < count; i++)
        delete_one(change, by_row ? in->topics.items[i].name : in->topic_names.items[i],
                   by_row ? &in->topics.items[i].topic_id : NULL, &gone, &out->responses.items[i]);
    broker_groups_forget_topics(&request->server->groups, &gone);
    mr_map_fini(&gone);
    change_step(change);
}

/* ---- DeleteRecords ---- */

static void cut_one(struct broker_request *request, mr_str topic,
                    const struct kafka_delete_records_request_partition *asked,
                    struct kafka_delete_records_response_partition *answer)
{
    struct broker_partition *partition;
    int64_t offset = asked->offset;

    answer->partition_index = asked->partition_index;
    answer->low_watermark = -1;
    answer->error_code = broker_server_partition(request->server, topic, asked->partition_index,
                                                 &partition);
    if (answer->error_code != KAFKA_ERROR_NONE)
        return;
    if (partition->topic->internal || !partition->log->config->deletes) {
        answer->error_code = KAFKA_ERROR_POLICY_VIOLATION;
        return;
    }
    if (offset == -1)
        offset = broker_log_high(partition->log);
    if (offset < 0 || offset > broker_log_high(partition->log)) {
        answer->error_code = KAFKA_ERROR_OFFSET_OUT_OF_RANGE;
        return;
    }
    broker_upkeep_cut(partition->log, offset);
    broker_checkpoint_begin(partition->log);
    answer->low_watermark = partition->log->start;
}

void broker_admin_delete_records(struct broker_request *request)
{
    const struct kafka_delete_records_request *in = request->in;
    struct kafka_delete_records_response *out = request->out;

    out->topics.items = mr_arena_array(&request->arena, struct kafka_delete_records_response_topic,
                                       (size_t)in->topics.count);
    out->topics.count = in->topics.count;
    for (int32_t i = 0; i < in->topics.count; i++) {
        const struct kafka_delete_records_request_topic *asked = &in->topics.items[i];
        struct kafka_delete_records_response_topic *answer = &out->topics.items[i];
        answer->name = asked->name;
        answer->partitions.count = asked->partitions.count;
        answer->partitions.items = mr_arena_array(&request->arena,
                                                  struct kafka_delete_records_response_partition,
                                                  (size_t)asked->partitions.count);
        for (int32_t j = 0; j < asked->partitions.count; j++)
            cut_one(request, asked->name, &asked->partitions.items[j],
                    &answer->partitions.items[j]);
    }
    broker_server_answer(request);
}

/* ---- DescribeLogDirs ---- */

/* Topics that the request names, each with a flag for every partition that it names. */
static void log_dirs_wanted(struct broker_request *request, struct mr_map *wanted)
{
    const struct kafka_describe_log_dirs_request *in = request->in;

    for (int32_t i = 0; i < in->topics.count; i++) {
        const struct kafka_describe_log_dirs_request_topic *asked = &in->topics.items[i];
        const struct broker_topic *topic = broker_topics_find(&request->server->topics,
                                                              asked->topic);
        bool *flags = mr_map_get(wanted, asked->topic);

        if (topic == NULL)
            continue;
        if (flags == NULL) {
            flags = mr_arena_array(&request->arena, bool, topic->partitions.count);
            mr_map_put(wanted, asked->topic, flags);
        }
        for (int32_t j = 0; j < asked->partitions.count; j++)
            if ((uint32_t)asked->partitions.items[j] < topic->partitions.count)
                flags[asked->partitions.items[j]] = true;
    }
}

/* `wanted` NULL: all partitions. */
static void log_dir_topic(struct broker_request *request, const struct broker_topic *topic,
                          const bool *wanted, struct kafka_describe_log_dirs_response_topic *answer)
{
    answer->name = broker_server_text(request, topic->name);
    answer->partitions.count = 0;
    answer->partitions.items = mr_arena_array(&request->arena,
                                              struct kafka_describe_log_dirs_response_partition,
                                              topic->partitions.count);
    for (size_t i = 0; i < topic->partitions.count; i++) {
        const struct broker_log *log = topic->partitions.items[i]->log;
        if (log == NULL || (wanted != NULL && !wanted[i]))
            continue;
        answer->partitions.items[answer->partitions.count++] =
            (struct kafka_describe_log_dirs_response_partition){(int32_t)i, log->bytes, 0, false};
    }
}

void broker_admin_describe_log_dirs(struct broker_request *request)
{
    const struct kafka_describe_log_dirs_request *in = request->in;
    struct kafka_describe_log_dirs_response *out = request->out;
    struct broker_topics *topics = &request->server->topics;
    struct kafka_describe_log_dirs_result *result = mr_arena_new(
        &request->arena, struct kafka_describe_log_dirs_result);
    struct mr_map wanted = {0};
    struct mr_map_entry *entry;

    out->results.items = result;
    out->results.count = 1;
    result->log_dir = broker_server_text(request, topics->folder);
    result->total_bytes = request->server->storage.total_bytes;
    result->usable_bytes = request->server->storage.free_bytes;
    result->topics.items = mr_arena_array(
        &request->arena, struct kafka_describe_log_dirs_response_topic, topics->by_name.count);
    log_dirs_wanted(request, &wanted);
    for (size_t i = 0; (entry = mr_map_next(&topics->by_name, &i)) != NULL;) {
        struct kafka_describe_log_dirs_response_topic *answer =
            &result->topics.items[result->topics.count];
        const bool *flags = mr_map_get(&wanted, entry->key);
        if (flags == NULL && in->topics.count >= 0)
            continue;
        log_dir_topic(request, entry->value, flags, answer);
        if (answer->partitions.count > 0)
            result->topics.count++;
    }
    mr_map_fini(&wanted);
    broker_server_answer(request);
}

/* ---- DescribeConfigs ---- */

static bool key_wanted(const struct kafka_describe_configs_resource *asked, const char *name)
{
    for (int32_t i = 0; i < asked->configuration_keys.count; i++)
        if (mr_str_equal(asked->configuration_keys.items[i], mr_str_from(name)))
            return true;
    return asked->configuration_keys.count < 0 ||
           (asked->configuration_keys.count == 0); /* older clients say "all" so */
}

static void synonym_add(struct broker_request *request, struct kafka_describe_configs_config *row,
                        const char *name, const char *value, int8_t source)
{
    if (value != NULL)
        row->synonyms.items[row->synonyms.count++] = (struct kafka_describe_configs_synonym){
            mr_str_from(name), broker_server_text(request, value), source};
}

/* Where a topic's value comes from, the nearest first. */
static void synonyms_tell(struct broker_request *request, struct kafka_describe_configs_config *row,
                          const struct broker_config *config, int id)
{
    const struct broker_node *node = &request->server->node;
    const char *name = broker_config_rows[id].name;
    int followed = broker_node_of_topic(id);

    row->synonyms.items = mr_arena_array(&request->arena, struct kafka_describe_configs_synonym,
                                         BROKER_NODE_LEVELS + 2);
    synonym_add(request, row, name, config->texts[id], BROKER_SOURCE_TOPIC);
    if (followed >= 0) {
        name = broker_node_name(followed);
        for (int level = BROKER_NODE_LEVELS; level-- > 0;)
            synonym_add(request, row, name,
                        broker_node_text(node, (enum broker_node_level)level, followed),
                        broker_node_sources[level]);
    }
    synonym_add(request, row, name, broker_config_rows[id].fallback, BROKER_SOURCE_DEFAULT);
}

static void describe_topic(struct broker_request *request,
                           const struct kafka_describe_configs_resource *asked,
                           const struct broker_topic *topic,
                           struct kafka_describe_configs_result *answer)
{
    const struct kafka_describe_configs_request *in = request->in;

    answer->configs.items = mr_arena_array(&request->arena, struct kafka_describe_configs_config,
                                           BROKER_CONFIG_COUNT);
    for (int i = 0; i < BROKER_CONFIG_COUNT; i++) {
        const struct broker_config_row *known = &broker_config_rows[i];
        struct kafka_describe_configs_config *row;

        if (!key_wanted(asked, known->name))
            continue;
        row = &answer->configs.items[answer->configs.count++];
        wire_reset(kafka_describe_configs_config_shape(), row);
        row->name = mr_str_from(known->name);
        row->value = mr_arena_str(&request->arena, broker_config_text(&topic->config, i));
        row->config_source = config_source(request->server, &topic->config, i);
        row->config_type = (int8_t)known->type;
        row->documentation = in->include_documentation ? mr_str_from(known->about) : MR_STR_NULL;
        if (!in->include_synonyms)
            continue;
        synonyms_tell(request, row, &topic->config, i);
    }
}

static void describe_group(struct broker_request *request,
                           const struct kafka_describe_configs_resource *asked,
                           struct kafka_describe_configs_result *answer)
{
    const struct kafka_describe_configs_request *in = request->in;
    const struct broker_group_config *config = broker_group_config_of(
        &request->server->topics.group_configs, asked->resource_name);

    answer->configs.items = mr_arena_array(&request->arena, struct kafka_describe_configs_config,
                                           BROKER_GROUP_CONFIG_COUNT);
    for (int i = 0; i < BROKER_GROUP_CONFIG_COUNT; i++) {
        const struct broker_group_config_row *known = &broker_group_config_rows[i];
        bool set = config->texts[i] != NULL;
        struct kafka_describe_configs_config *row;

        if (!key_wanted(asked, known->name))
            continue;
        row = &answer->configs.items[answer->configs.count++];
        wire_reset(kafka_describe_configs_config_shape(), row);
        row->name = mr_str_from(known->name);
        row->value = mr_arena_str(&request->arena, broker_group_config_text(config, i));
        row->config_source = set ? BROKER_SOURCE_GROUP : BROKER_SOURCE_DEFAULT;
        row->config_type = (int8_t)known->type;
        row->documentation = in->include_documentation ? mr_str_from(known->about) : MR_STR_NULL;
        if (!in->include_synonyms)
            continue;
        row->synonyms.items = mr_arena_array(&request->arena, struct kafka_describe_configs_synonym,
                                             2);
        synonym_add(request, row, known->name, config->texts[i], BROKER_SOURCE_GROUP);
        synonym_add(request, row, known->name,
                    known->own < 0 ? known->fallback
                                   : broker_node_value(&request->server->node, known->own),
                    BROKER_SOURCE_DEFAULT);
    }
}

static void describe_resource(struct broker_request *request,
                              const struct kafka_describe_configs_resource *asked,
                              struct kafka_describe_configs_result *answer)
{
    struct broker_topic *topic;

    wire_reset(kafka_describe_configs_result_shape(), answer);
    answer->resource_type = asked->resource_type;
    answer->resource_name = asked->resource_name;
    switch (asked->resource_type) {
    case BROKER_RESOURCE_TOPIC:
        topic = broker_topics_find(&request->server->topics, asked->resource_name);
        if (topic != NULL)
            describe_topic(request, asked, topic, answer);
        else
            answer->error_code = KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION;
        break;
    case BROKER_RESOURCE_BROKER:
        if (asked->resource_name.length == 0 || mr_str_equal(asked->resource_name, MR_STR("1")))
            broker_node_describe(request, asked, answer);
        else
            answer->error_code = KAFKA_ERROR_INVALID_REQUEST;
        break;
    case BROKER_RESOURCE_GROUP:
        if (asked->resource_name.length > 0)
            describe_group(request, asked, answer);
        else
            answer->error_code = KAFKA_ERROR_INVALID_REQUEST;
        break;
    default:
        answer->error_code = KAFKA_ERROR_INVALID_REQUEST;
    }
    if (answer->error_code != KAFKA_ERROR_NONE)
        answer->error_message = mr_str_from(kafka_error_text(answer->error_code));
}

void broker_admin_describe_configs(struct broker_request *request)
{
    const struct kafka_describe_configs_request *in = request->in;
    struct kafka_describe_configs_response *out = request->out;

    out->results.items = mr_arena_array(&request->arena, struct kafka_describe_configs_result,
                                        (size_t)in->resources.count);
    out->results.count = in->resources.count;
    for (int32_t i = 0; i < in->resources.count; i++)
        describe_resource(request, &in->resources.items[i], &out->results.items[i]);
    broker_server_answer(request);
}

/* ---- AlterConfigs, IncrementalAlterConfigs ---- */

/* Topics' settings are in the catalog, the broker's in the file `security`. */
static void configs_save(struct change *change, bool of_broker)
{
    change_save(change);
    if (!of_broker)
        return;
    change->waiting++;
    change->node_wait.run = node_saved;
    broker_security_save(&change->request->server->security, &change->node_wait);
}

/* What the request says about one resource, or one name of it, twice is refused, as Kafka does. */
static int16_t alter_repeated(struct broker_request *request, bool resource, const mr_str *names,
                              int32_t count, mr_str *why)
{
    const bool *twice = repeated(request, names, count);

    *why = MR_STR("Each resource must appear at most once.");
    if (resource)
        return KAFKA_ERROR_INVALID_REQUEST;
    *why = MR_STR("Error due to duplicate config keys");
    for (int32_t i = 0; i < count; i++)
        if (twice[i])
            return KAFKA_ERROR_INVALID_REQUEST;
    *why = MR_STR_NULL;
    return KAFKA_ERROR_NONE;
}

static mr_str resource_key(struct broker_request *request, int8_t type, mr_str name)
{
    return mr_arena_printf(&request->arena, "%d:%.*s", type, MR_STR_ARG(name));
}

/* The topic whose settings change, or the reason why not. */
static int16_t alter_find(struct broker_request *request, int8_t type, mr_str name,
                          struct broker_topic **topic, mr_str *why)
{
    int16_t code = KAFKA_ERROR_NONE;

    if (type != BROKER_RESOURCE_TOPIC)
        code = KAFKA_ERROR_INVALID_REQUEST;
    else if (!request->server->ready)
        code = KAFKA_ERROR_NOT_CONTROLLER;
    *topic = broker_topics_find(&request->server->topics, name);
    if (code == KAFKA_ERROR_NONE && *topic == NULL)
        code = KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION;
    if (code != KAFKA_ERROR_NONE)
        *why = mr_str_from(kafka_error_text(code));
    return code;
}

/* Ends with the new settings in force, or the old ones untouched. */
static int16_t alter_end(struct broker_request *request, struct broker_topic *topic,
                         struct broker_config *config, mr_err err, bool validate_only, mr_str *why)
{
    if (err != MR_OK) {
        *why = broker_server_text(request, mr_why());
        broker_config_fini(config);
        return KAFKA_ERROR_INVALID_CONFIG;
    }
    if (validate_only) {
        broker_config_fini(config);
        return KAFKA_ERROR_NONE;
    }
    broker_config_fini(&topic->config);
    topic->config = *config;
    return KAFKA_ERROR_NONE;
}

/* The same of a group; one that does not exist may have settings, too. */
static int16_t alter_group_check(struct broker_request *request, mr_str name, mr_str *why)
{
    int16_t code = name.length == 0 || name.length > INT16_MAX ? KAFKA_ERROR_INVALID_REQUEST
                   : !request->server->ready                   ? KAFKA_ERROR_NOT_CONTROLLER
                   : request->server->topics.group_configs.count > MR_LIMIT_BROKER_GROUP_CONFIGS
                       ? KAFKA_ERROR_POLICY_VIOLATION
                       : KAFKA_ERROR_NONE;

    if (code != KAFKA_ERROR_NONE)
        *why = mr_str_from(kafka_error_text(code));
    return code;
}

static int16_t alter_group_end(struct broker_request *request, mr_str name,
                               struct broker_group_config *config, mr_err err, bool validate_only,
                               mr_str *why)
{
    if (err != MR_OK)
        *why = broker_server_text(request, mr_why());
    else if (!validate_only)
        broker_group_config_put(&request->server->topics.group_configs, name, config);
    broker_group_config_fini(config);
    return err == MR_OK ? KAFKA_ERROR_NONE : KAFKA_ERROR_INVALID_CONFIG;
}

static int16_t alter_group(struct broker_request *request,
                           const struct kafka_alter_configs_resource *asked, bool validate_only,
                           mr_str *why)
{
    struct broker_group_config config;
    int16_t code = alter_group_check(request, asked->resource_name, why);
    mr_err err = MR_OK;

    if (code != KAFKA_ERROR_NONE)
        return code;
    broker_group_config_init(&config, &request->server->node);
    for (int32_t i = 0; i < asked->configs.count && err == MR_OK; i++)
        err = broker_group_config_set(&config, asked->configs.items[i].name,
                                      asked->configs.items[i].value);
    return alter_group_end(request, asked->resource_name, &config, err, validate_only, why);
}

static int16_t alter_node(struct broker_request *request,
                          const struct kafka_alter_configs_resource *asked, bool validate_only,
                          mr_str *why)
{
    struct broker_node_change *changes = mr_arena_array(&request->arena, struct broker_node_change,
                                                        (size_t)asked->configs.count);

    for (int32_t i = 0; i < asked->configs.count; i++)
        changes[i] = (struct broker_node_change){asked->configs.items[i].name,
                                                 asked->configs.items[i].value, 0};
    return broker_node_alter(request, asked->resource_name, changes, asked->configs.count, true,
                             validate_only, why);
}

static int16_t alter_one(struct broker_request *request,
                         const struct kafka_alter_configs_resource *asked, bool validate_only,
                         mr_str *why)
{
    struct broker_config config;
    struct broker_topic *topic;
    mr_err err = MR_OK;
    int16_t code;

    if (asked->resource_type == BROKER_RESOURCE_BROKER)
        return alter_node(request, asked, validate_only, why);
    code = alter_find(request, asked->resource_type, asked->resource_name, &topic, why);
    if (code != KAFKA_ERROR_NONE)
        return code;
    broker_config_init(
        &config, &request->server->topics.defaults); /* what is not named returns to its default */
    for (int32_t i = 0; i < asked->configs.count && err == MR_OK; i++)
        err = broker_config_set(&config, asked->configs.items[i].name,
                                asked->configs.items[i].value);
    return alter_end(request, topic, &config, err, validate_only, why);
}

static int16_t alter_any(struct broker_request *request,
                         const struct kafka_alter_configs_resource *asked, bool repeated_name,
                         mr_str *why)
{
    const struct kafka_alter_configs_request *in = request->in;
    mr_str *names = mr_arena_array(&request->arena, mr_str, (size_t)asked->configs.count);
    int16_t code;

    for (int32_t i = 0; i < asked->configs.count; i++)
        names[i] = asked->configs.items[i].name;
    code = alter_repeated(request, repeated_name, names, asked->configs.count, why);
    if (code != KAFKA_ERROR_NONE)
        return code;
    return asked->resource_type == BROKER_RESOURCE_GROUP
               ? alter_group(request, asked, in->validate_only, why)
               : alter_one(request, asked, in->validate_only, why);
}

void broker_admin_alter_configs(struct broker_request *request)
{
    const struct kafka_alter_configs_request *in = request->in;
    struct kafka_alter_configs_response *out = request->out;
    struct change *change = change_new(request);
    size_t count = (size_t)in->resources.count;
    mr_str *keys = mr_arena_array(&request->arena, mr_str, count);
    bool of_broker = false, *twice;

    for (size_t i = 0; i < count; i++)
        keys[i] = resource_key(request, in->resources.items[i].resource_type,
                               in->resources.items[i].resource_name);
    twice = repeated(request, keys, in->resources.count);
    out->responses.items = mr_arena_array(&request->arena, struct kafka_alter_configs_result,
                                          (size_t)in->resources.count);
    out->responses.count = in->resources.count;
    for (int32_t i = 0; i < in->resources.count; i++) {
        struct kafka_alter_configs_result *answer = &out->responses.items[i];
        answer->resource_type = in->resources.items[i].resource_type;
        answer->resource_name = in->resources.items[i].resource_name;
        of_broker = of_broker || answer->resource_type == BROKER_RESOURCE_BROKER;
        answer->error_code = alter_any(request, &in->resources.items[i], twice[i],
                                       &answer->error_message);
    }
    if (!in->validate_only)
        configs_save(change, of_broker);
    change_step(change);
}

static mr_err alter_step(struct broker_config *config,
                         const struct kafka_incremental_alter_configs_config *asked)
{
    switch (asked->config_operation) {
    case 0:
        return asked->value.data == NULL
                   ? mr_fail(MR_INVALID, "Null value not supported for : SET:%.*s",
                             MR_STR_ARG(asked->name))
                   : broker_config_set(config, asked->name, asked->value);
    case 1:
        return broker_config_set(config, asked->name, MR_STR_NULL);
    case 2:
    case 3:
        return broker_config_append(config, asked->name, asked->value,
                                    asked->config_operation == 3);
    default:
        return mr_fail(MR_INVALID, "Unknown operation %d on %.*s", asked->config_operation,
                       MR_STR_ARG(asked->name));
    }
}

static int16_t increment_node(struct broker_request *request,
                              const struct kafka_incremental_alter_configs_resource *asked,
                              bool validate_only, mr_str *why)
{
    struct broker_node_change *changes = mr_arena_array(&request->arena, struct broker_node_change,
                                                        (size_t)asked->configs.count);

    for (int32_t i = 0; i < asked->configs.count; i++)
        changes[i] = (struct broker_node_change){asked->configs.items[i].name,
                                                 asked->configs.items[i].value,
                                                 asked->configs.items[i].config_operation};
    return broker_node_alter(request, asked->resource_name, changes, asked->configs.count, false,
                             validate_only, why);
}

static int16_t increment_one(struct broker_request *request,
                             const struct kafka_incremental_alter_configs_resource *asked,
                             bool validate_only, mr_str *why)
{
    struct broker_config config;
    struct broker_topic *topic;
    mr_err err = MR_OK;
    int16_t code;

    if (asked->resource_type == BROKER_RESOURCE_BROKER)
        return increment_node(request, asked, validate_only, why);
    code = alter_find(request, asked->resource_type, asked->resource_name, &topic, why);
    if (code != KAFKA_ERROR_NONE)
        return code;
    broker_config_copy(&topic->config, &config);
    for (int32_t i = 0; i < asked->configs.count && err == MR_OK; i++)
        err = alter_step(&config, &asked->configs.items[i]);
    return alter_end(request, topic, &config, err, validate_only, why);
}

static mr_err group_step(struct broker_group_config *config,
                         const struct kafka_incremental_alter_configs_config *asked)
{
    switch (asked->config_operation) {
    case 0:
        return asked->value.data == NULL
                   ? mr_fail(MR_INVALID, "Null value not supported for : SET:%.*s",
                             MR_STR_ARG(asked->name))
                   : broker_group_config_set(config, asked->name, asked->value);
    case 1:
        return broker_group_config_set(config, asked->name, MR_STR_NULL);
    default:
        return mr_fail(MR_INVALID, "Can't append to or subtract from %.*s: it is no list",
                       MR_STR_ARG(asked->name));
    }
}

static int16_t increment_group(struct broker_request *request,
                               const struct kafka_incremental_alter_configs_resource *asked,
                               bool validate_only, mr_str *why)
{
    struct broker_group_config config;
    int16_t code = alter_group_check(request, asked->resource_name, why);
    mr_err err = MR_OK;

    if (code != KAFKA_ERROR_NONE)
        return code;
    broker_group_config_copy(
        broker_group_config_of(&request->server->topics.group_configs, asked->resource_name),
        &config);
    for (int32_t i = 0; i < asked->configs.count && err == MR_OK; i++)
        err = group_step(&config, &asked->configs.items[i]);
    return alter_group_end(request, asked->resource_name, &config, err, validate_only, why);
}

static int16_t increment_any(struct broker_request *request,
                             const struct kafka_incremental_alter_configs_resource *asked,
                             bool repeated_name, mr_str *why)
{
    const struct kafka_incremental_alter_configs_request *in = request->in;
    mr_str *names = mr_arena_array(&request->arena, mr_str, (size_t)asked->configs.count);
    int16_t code;

    for (int32_t i = 0; i < asked->configs.count; i++)
        names[i] = asked->configs.items[i].name;
    code = alter_repeated(request, repeated_name, names, asked->configs.count, why);
    if (code != KAFKA_ERROR_NONE)
        return code;
    return asked->resource_type == BROKER_RESOURCE_GROUP
               ? increment_group(request, asked, in->validate_only, why)
               : increment_one(request, asked, in->validate_only, why);
}

void broker_admin_incremental_alter_configs(struct broker_request *request)
{
    const struct kafka_incremental_alter_configs_request *in = request->in;
    struct kafka_incremental_alter_configs_response *out = request->out;
    struct change *change = change_new(request);
    size_t count = (size_t)in->resources.count;
    mr_str *keys = mr_arena_array(&request->arena, mr_str, count);
    bool of_broker = false, *twice;

    for (size_t i = 0; i < count; i++)
        keys[i] = resource_key(request, in->resources.items[i].resource_type,
                               in->resources.items[i].resource_name);
    twice = repeated(request, keys, in->resources.count);
    out->responses.items = mr_arena_array(&request->arena,
                                          struct kafka_incremental_alter_configs_result,
                                          (size_t)in->resources.count);
    out->responses.count = in->resources.count;
    for (int32_t i = 0; i < in->resources.count; i++) {
        struct kafka_incremental_alter_configs_result *answer = &out->responses.items[i];
        answer->resource_type = in->resources.items[i].resource_type;
        answer->resource_name = in->resources.items[i].resource_name;
        of_broker = of_broker || answer->resource_type == BROKER_RESOURCE_BROKER;
        answer->error_code = increment_any(request, &in->resources.items[i], twice[i],
                                           &answer->error_message);
    }
    if (!in->validate_only)
        configs_save(change, of_broker);
    change_step(change);
}

/* ---- ListConfigResources (KIP-1142) ---- */

static void resource_add(struct broker_request *request, mr_str name, int8_t type)
{
    struct kafka_list_config_resources_response *out = request->out;
    out->config_resources.items[out->config_resources.count++] =
        (struct kafka_list_config_resources_response_resource){name, type};
}

/* Client metrics have no settings of their own here. */
void broker_admin_list_config_resources(struct broker_request *request)
{
    const struct kafka_list_config_resources_request *in = request->in;
    struct kafka_list_config_resources_response *out = request->out;
    struct broker_topics *topics = &request->server->topics;
    struct mr_map_entry *entry;
    unsigned wanted = 0;

    for (int32_t i = 0; i < in->resource_types.count; i++) {
        unsigned type = (uint8_t)in->resource_types.items[i];
        wanted |= type;
        if (type != BROKER_RESOURCE_TOPIC && type != BROKER_RESOURCE_BROKER &&
            type != BROKER_RESOURCE_BROKER_LOGGER && type != BROKER_RESOURCE_METRICS &&
            type != BROKER_RESOURCE_GROUP)
            out->error_code = KAFKA_ERROR_UNSUPPORTED_VERSION;
    }
    if (request->header.request_api_version == 0)
        wanted = BROKER_RESOURCE_METRICS;
    else if (in->resource_types.count <= 0)
        wanted = UINT8_MAX;
    if (out->error_code == KAFKA_ERROR_NONE) {
        out->config_resources.items = mr_arena_array(
            &request->arena, struct kafka_list_config_resources_response_resource,
            topics->by_name.count + topics->group_configs.count + 2);
        mr_str node = mr_arena_printf(&request->arena, "%d", BROKER_NODE_ID);
        if ((wanted & BROKER_RESOURCE_BROKER) != 0)
            resource_add(request, node, BROKER_RESOURCE_BROKER);
        if ((wanted & BROKER_RESOURCE_BROKER_LOGGER) != 0)
            resource_add(request, node, BROKER_RESOURCE_BROKER_LOGGER);
        for (size_t i = 0; (wanted & BROKER_RESOURCE_TOPIC) != 0 &&
                           (entry = mr_map_next(&topics->by_name, &i)) != NULL;)
            resource_add(request, mr_arena_str(&request->arena, entry->key), BROKER_RESOURCE_TOPIC);
        for (size_t i = 0; (wanted & BROKER_RESOURCE_GROUP) != 0 &&
                           (entry = mr_map_next(&topics->group_configs, &i)) != NULL;)
            if (entry->key.length > 0)
                resource_add(request, mr_arena_str(&request->arena, entry->key),
                             BROKER_RESOURCE_GROUP);
    }
    broker_server_answer(request);
}
