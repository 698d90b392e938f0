/* kafka/admin.c: what an operator asks of a log: topics, settings, offsets by time, offsets of
 * groups. Each question is an `op` with an arena that owns everything until it has told its
 * answer. */
#include "kafka/client.h"

enum {
    AGAIN_TRIES = 20,      /* after so many looks an unknown topic is made once more */
    READY_TRIES_MAX = 300, /* looks for the leaders of new topics, 20 to 1000 ms apart */
    RESOURCE_TOPIC = 2,
};

typedef void partitions_done(void *context, mr_err err, int32_t partitions);
typedef void topics_done(void *context, mr_err err, const struct kafka_metadata_response *metadata);
typedef void configs_done(void *context, mr_err err,
                          const struct kafka_describe_configs_result *configs);

struct kafka_op {
    struct kafka_client *client;
    struct kafka_op *next; /* of client->waiting */
    struct mr_arena arena;
    void *context;
    union {
        kafka_done *plain;
        partitions_done *partitions;
        topics_done *topics;
        configs_done *configs;
        kafka_offsets *offsets;
    } done;
    mr_str name; /* topic or group */
    mr_str member_id;
    int32_t generation;
    const struct kafka_new_topic *new_topics;
    struct kafka_offset *offsets;
    size_t count, left;
    bool read_committed;
    mr_err err; /* first trouble of several calls */
    char *why;
    int32_t tries;
    struct mr_timer timer;
};

static struct kafka_op *op_new(struct kafka_client *client, mr_str name, void *context)
{
    struct kafka_op *op = mr_new(struct kafka_op);
    op->client = client;
    op->context = context;
    op->name = mr_arena_str(&op->arena, name);
    return op;
}

static void op_free(struct kafka_op *op)
{
    mr_timer_stop(&op->timer);
    mr_arena_fini(&op->arena);
    mr_free(op->why);
    mr_free(op);
}

/* From these versions on topics are named by ids, of which a call that is all names has no use. */
static int16_t op_version_max(int16_t api_key)
{
    return api_key == KAFKA_API_offset_commit || api_key == KAFKA_API_offset_fetch ? 9 : -1;
}

static void op_call(struct kafka_op *op, struct kafka_target target, int16_t api_key,
                    kafka_fill *fill, kafka_judge *judge, kafka_answer *done)
{
    struct kafka_call_options options = {
        .target = target,
        .api_key = api_key,
        .version_max = op_version_max(api_key),
        .fill = fill,
        .judge = judge,
        .done = done,
        .context = op,
    };
    kafka_call_start(op->client, &options);
}

static void op_end(struct kafka_op *op, mr_err err)
{
    op->done.plain(op->context, err);
    op_free(op);
}

/* ---- create ---- */

static void create_fill(void *context, int16_t version, struct mr_arena *arena, void *request)
{
    struct kafka_op *op = context;
    struct kafka_create_topics_request *create = request;
    create->timeout_ms = KAFKA_TIMEOUT_MS;
    create->topics.items = mr_arena_array(arena, struct kafka_create_topics_request_topic,
                                          op->count);
    create->topics.count = (int32_t)op->count;
    for (size_t i = 0; i < op->count; i++) {
        const struct kafka_new_topic *from = &op->new_topics[i];
        struct kafka_create_topics_request_topic *to = &create->topics.items[i];
        int32_t by_default = version >= 4 ? -1 : 1; /* KIP-464: before it a number is needed */
        to->name = from->name;
        to->num_partitions = from->partitions > 0 ? from->partitions : by_default;
        to->replication_factor = from->replication > 0 ? from->replication : (int16_t)by_default;
        to->configs.items = mr_arena_array(arena, struct kafka_create_topics_request_config,
                                           from->config_count + 1);
        to->configs.count = (int32_t)from->config_count;
        for (size_t k = 0; k < from->config_count; k++) {
            to->configs.items[k].name = from->configs[k].key;
            to->configs.items[k].value = from->configs[k].value;
        }
    }
}

static int16_t create_judge(void *context, const void *response)
{
    const struct kafka_create_topics_response *created = response;
    (void)context;
    for (int32_t i = 0; i < created->topics.count; i++) {
        if (kafka_error_retriable(created->topics.items[i].error_code))
            return created->topics.items[i].error_code;
    }
    return KAFKA_ERROR_NONE;
}

/* The topics are there once each of their partitions has a leader. */
static bool topics_are_ready(struct kafka_op *op)
{
    bool ready = true;
    for (size_t i = 0; i < op->count; i++) {
        struct kafka_topic *topic = kafka_client_topic(op->client, op->new_topics[i].name);
        bool good = topic->updated_us > 0 && topic->partition_count > 0;
        for (int32_t k = 0; good && k < topic->partition_count; k++)
            good = topic->partitions[k].leader >= 0;
        if (good)
            continue;
        ready = false;
        topic->unknown_tries = 0;
        kafka_client_refresh(op->client, topic);
    }
    return ready;
}

static void op_unlist(struct kafka_op *op)
{
    struct kafka_op **link = &op->client->waiting;
    while (*link != op)
        link = &(*link)->next;
    *link = op->next;
}

static void create_end(struct kafka_op *op, mr_err err)
{
    op_unlist(op);
    op_end(op, err);
}

static void op_cancelled(void *context, mr_err err)
{
    op_end(context, err);
}

void kafka_admin_cancel_waiting(struct kafka_client *client)
{
    while (client->waiting != NULL) {
        struct kafka_op *op = client->waiting;
        mr_timer_stop(&op->timer);
        op_unlist(op);
        kafka_client_later(client, op_cancelled, op,
                           mr_fail(MR_CANCELLED, "kafka: closed while a topic was made"));
    }
}

static void create_ask(struct kafka_op *op);

/* A topic that is being deleted exists, says a genuine broker, and then is unknown: it is made again. */
static bool some_are_unknown(const struct kafka_op *op)
{
    for (size_t i = 0; i < op->count; i++)
        if (kafka_client_topic(op->client, op->new_topics[i].name)->error ==
            KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION)
            return true;
    return false;
}

/* What no patience mends, such as a missing right; its sentence in mr_why(). */
static mr_err refusal(const struct kafka_op *op)
{
    for (size_t i = 0; i < op->count; i++) {
        const struct kafka_topic *topic = kafka_client_topic(op->client, op->new_topics[i].name);
        if (topic->error != KAFKA_ERROR_NONE && !kafka_error_retriable(topic->error))
            return kafka_error_fail(topic->error, topic->name.data);
    }
    return MR_OK;
}

static void create_look(struct mr_timer *timer)
{
    struct kafka_op *op = mr_container(timer, struct kafka_op, timer);
    mr_err err = refusal(op);
    if (err != MR_OK) {
        create_end(op, err);
        return;
    }
    if (topics_are_ready(op)) {
        create_end(op, MR_OK);
        return;
    }
    if (++op->tries % AGAIN_TRIES == 0 && op->tries < READY_TRIES_MAX && some_are_unknown(op)) {
        op_unlist(op);
        create_ask(op);
        return;
    }
    if (op->tries >= READY_TRIES_MAX)
        create_end(op, mr_fail(MR_TIMEOUT, "kafka topic %.*s: made, but without a leader",
                               MR_STR_ARG(op->new_topics[0].name)));
    else
        mr_timer_start(op->client->loop, &op->timer,
                       op->tries < 3 ? 2000 : kafka_client_backoff_us(op->client, op->tries / 4));
}

static void create_done(void *context, mr_err err, int16_t version, const void *response)
{
    struct kafka_op *op = context;
    const struct kafka_create_topics_response *created = response;
    (void)version;
    for (int32_t i = 0; err == MR_OK && i < created->topics.count; i++) {
        const struct kafka_create_topics_response_topic *topic = &created->topics.items[i];
        if (topic->error_code == KAFKA_ERROR_NONE ||
            topic->error_code == KAFKA_ERROR_TOPIC_ALREADY_EXISTS)
            continue;
        err = mr_fail(kafka_error_to_err(topic->error_code), "kafka topic %.*s: %s: %.*s",
                      MR_STR_ARG(topic->name), kafka_error_name(topic->error_code),
                      MR_STR_ARG(topic->error_message.length > 0
                                     ? topic->error_message
                                     : mr_str_from(kafka_error_text(topic->error_code))));
    }
    if (err != MR_OK) {
        op_end(op, err);
        return;
    }
    for (size_t i = 0; i < op->count; i++) {
        struct kafka_topic *topic = kafka_client_topic(op->client, op->new_topics[i].name);
        topic->partition_count = topic->partition_count * (topic->error == KAFKA_ERROR_NONE);
        topic->error = KAFKA_ERROR_NONE; /* of before */
        kafka_client_refresh(op->client, topic);
    }
    op->timer.run = create_look;
    op->next = op->client->waiting;
    op->client->waiting = op;
    mr_timer_start(op->client->loop, &op->timer, 1000);
}

static void create_ask(struct kafka_op *op)
{
    op_call(op, (struct kafka_target){KAFKA_TARGET_CONTROLLER, MR_STR_NULL, 0},
            KAFKA_API_create_topics, create_fill, create_judge, create_done);
}

void kafka_admin_create_topics(struct kafka_client *client, const struct kafka_new_topic *topics,
                               size_t count, kafka_done *done, void *context)
{
    struct kafka_op *op = op_new(client, MR_STR_NULL, context);
    struct kafka_new_topic *copy = mr_arena_array(&op->arena, struct kafka_new_topic, count);
    for (size_t i = 0; i < count; i++) {
        struct kafka_header *configs = mr_arena_array(&op->arena, struct kafka_header,
                                                      topics[i].config_count + 1);
        copy[i] = topics[i];
        copy[i].name = mr_arena_str(&op->arena, topics[i].name);
        copy[i].configs = configs;
        for (size_t k = 0; k < topics[i].config_count; k++) {
            configs[k].key = mr_arena_str(&op->arena, topics[i].configs[k].key);
            configs[k].value = mr_arena_str(&op->arena, topics[i].configs[k].value);
        }
    }
    op->new_topics = copy;
    op->count = count;
    op->done.plain = done;
    create_ask(op);
}

/* ---- delete ---- */

static void delete_fill(void *context, int16_t version, struct mr_arena *arena, void *request)
{
    struct kafka_op *op = context;
    struct kafka_delete_topics_request *deletion = request;
    deletion->timeout_ms = KAFKA_TIMEOUT_MS;
    if (version < 6) {
        deletion->topic_names.items = mr_arena_array(arena, wire_string, 1);
        deletion->topic_names.items[0] = op->name;
        deletion->topic_names.count = 1;
        return;
    }
    deletion->topics.items = mr_arena_array(arena, struct kafka_delete_topics_request_topic, 1);
    deletion->topics.items[0].name = op->name;
    deletion->topics.count = 1;
}

static int16_t delete_judge(void *context, const void *response)
{
    const struct kafka_delete_topics_response *deleted = response;
    (void)context;
    int16_t code = deleted->responses.count > 0 ? deleted->responses.items[0].error_code : 0;
    return code == KAFKA_ERROR_NOT_CONTROLLER ? code : KAFKA_ERROR_NONE;
}

static void delete_done(void *context, mr_err err, int16_t version, const void *response)
{
    struct kafka_op *op = context;
    const struct kafka_delete_topics_response *deleted = response;
    (void)version;
    if (err == MR_OK && deleted->responses.count > 0 &&
        deleted->responses.items[0].error_code != KAFKA_ERROR_NONE)
        err = kafka_error_fail(deleted->responses.items[0].error_code, op->name.data);
    if (err == MR_OK)
        kafka_client_refresh(op->client, kafka_client_topic(op->client, op->name));
    op_end(op, err);
}

void kafka_admin_delete_topic(struct kafka_client *client, mr_str topic, kafka_done *done,
                              void *context)
{
    struct kafka_op *op = op_new(client, topic, context);
    op->done.plain = done;
    op_call(op, (struct kafka_target){KAFKA_TARGET_CONTROLLER, MR_STR_NULL, 0},
            KAFKA_API_delete_topics, delete_fill, delete_judge, delete_done);
}

/* ---- describe ---- */

static void topics_fill(void *context, int16_t version, struct mr_arena *arena, void *request)
{
    struct kafka_op *op = context;
    struct kafka_metadata_request *metadata = request;
    metadata->allow_auto_topic_creation = false;
    if (op->name.length == 0) {
        metadata->topics.count = version == 0 ? 0 : -1; /* all */
        return;
    }
    metadata->topics.items = mr_arena_array(arena, struct kafka_metadata_request_topic, 1);
    metadata->topics.items[0].name = op->name;
    metadata->topics.count = 1;
}

static void partitions_answered(void *context, mr_err err, int16_t version, const void *response)
{
    struct kafka_op *op = context;
    const struct kafka_metadata_response *metadata = response;
    int32_t partitions = 0;
    (void)version;
    if (err == MR_OK && metadata->topics.count > 0) {
        const struct kafka_metadata_topic *topic = &metadata->topics.items[0];
        partitions = topic->partitions.count;
        if (topic->error_code != KAFKA_ERROR_NONE && partitions == 0)
            err = kafka_error_fail(topic->error_code, op->name.data);
    } else if (err == MR_OK) {
        err = mr_fail(MR_NOT_FOUND, "kafka topic %.*s: not found", MR_STR_ARG(op->name));
    }
    op->done.partitions(op->context, err, partitions);
    op_free(op);
}

void kafka_admin_partitions(struct kafka_client *client, mr_str topic, partitions_done *done,
                            void *context)
{
    struct kafka_op *op = op_new(client, topic, context);
    op->done.partitions = done;
    op_call(op, (struct kafka_target){KAFKA_TARGET_ANY, MR_STR_NULL, 0}, KAFKA_API_metadata,
            topics_fill, NULL, partitions_answered);
}

static void topics_answered(void *context, mr_err err, int16_t version, const void *response)
{
    struct kafka_op *op = context;
    (void)version;
    op->done.topics(op->context, err, response);
    op_free(op);
}

void kafka_admin_topics(struct kafka_client *client, topics_done *done, void *context)
{
    struct kafka_op *op = op_new(client, MR_STR_NULL, context);
    op->done.topics = done;
    op_call(op, (struct kafka_target){KAFKA_TARGET_ANY, MR_STR_NULL, 0}, KAFKA_API_metadata,
            topics_fill, NULL, topics_answered);
}

static void configs_fill(void *context, int16_t version, struct mr_arena *arena, void *request)
{
    struct kafka_op *op = context;
    struct kafka_describe_configs_request *describe = request;
    (void)version;
    describe->resources.items = mr_arena_array(arena, struct kafka_describe_configs_resource, 1);
    describe->resources.items[0].resource_type = RESOURCE_TOPIC;
    describe->resources.items[0].resource_name = op->name;
    describe->resources.items[0].configuration_keys.count = -1;
    describe->resources.count = 1;
}

static void configs_answered(void *context, mr_err err, int16_t version, const void *response)
{
    struct kafka_op *op = context;
    const struct kafka_describe_configs_response *described = response;
    const struct kafka_describe_configs_result *result = NULL;
    (void)version;
    if (err == MR_OK && described->results.count == 0)
        err = mr_fail(MR_NOT_FOUND, "kafka topic %.*s: no settings told", MR_STR_ARG(op->name));
    if (err == MR_OK) {
        result = &described->results.items[0];
        if (result->error_code != KAFKA_ERROR_NONE)
            err = kafka_error_fail(result->error_code, op->name.data);
    }
    op->done.configs(op->context, err, result);
    op_free(op);
}

void kafka_admin_configs(struct kafka_client *client, mr_str topic, configs_done *done,
                         void *context)
{
    struct kafka_op *op = op_new(client, topic, context);
    op->done.configs = done;
    op_call(op, (struct kafka_target){KAFKA_TARGET_ANY, MR_STR_NULL, 0}, KAFKA_API_describe_configs,
            configs_fill, NULL, configs_answered);
}

/* ---- offsets by time: one call per partition, all under way together ---- */

struct offset_call {
    struct kafka_op *op;
    size_t index;
};

static void offsets_copy(struct kafka_op *op, const struct kafka_offset *asked, size_t count)
{
    op->offsets = mr_arena_array(&op->arena, struct kafka_offset, count + 1);
    op->count = op->left = count;
    for (size_t i = 0; i < count; i++) {
        op->offsets[i] = asked[i];
        op->offsets[i].topic = mr_arena_str(&op->arena, asked[i].topic);
    }
}

static void offsets_end(struct kafka_op *op)
{
    if (op->err != MR_OK)
        mr_fail(op->err, "%s", op->why);
    op->done.offsets(op->context, op->err, op->offsets, op->err == MR_OK ? op->count : 0);
    op_free(op);
}

static void offset_fill(void *context, int16_t version, struct mr_arena *arena, void *request)
{
    struct offset_call *call = context;
    struct kafka_list_offsets_request *list = request;
    const struct kafka_offset *asked = &call->op->offsets[call->index];
    (void)version;
    list->replica_id = -1;
    list->isolation_level = call->op->read_committed ? 1 : 0;
    list->topics.items = mr_arena_array(arena, struct kafka_list_offsets_request_topic, 1);
    list->topics.count = 1;
    list->topics.items[0].name = asked->topic;
    list->topics.items[0].partitions.items = mr_arena_array(
        arena, struct kafka_list_offsets_request_partition, 1);
    list->topics.items[0].partitions.count = 1;
    list->topics.items[0].partitions.items[0] = (struct kafka_list_offsets_request_partition){
        .partition_index = asked->partition,
        .current_leader_epoch = -1,
        .timestamp = asked->timestamp,
    };
}

static const struct kafka_list_offsets_response_partition *offset_of(const void *response)
{
    const struct kafka_list_offsets_response *list = response;
    if (list->topics.count == 0 || list->topics.items[0].partitions.count == 0)
        return NULL;
    return &list->topics.items[0].partitions.items[0];
}

static int16_t offset_judge(void *context, const void *response)
{
    (void)context;
    return offset_of(response) == NULL ? KAFKA_ERROR_NONE : offset_of(response)->error_code;
}

static void offset_done(void *context, mr_err err, int16_t version, const void *response)
{
    struct offset_call *call = context;
    struct kafka_op *op = call->op;
    struct kafka_offset *asked = &op->offsets[call->index];
    (void)version;
    if (err == MR_OK && offset_of(response) == NULL)
        err = mr_fail(MR_CORRUPT, "kafka ListOffsets: an answer without the partition");
    if (err == MR_OK && offset_judge(NULL, response) != KAFKA_ERROR_NONE)
        err = kafka_error_fail(offset_judge(NULL, response), asked->topic.data);
    if (err == MR_OK) {
        asked->offset = offset_of(response)->offset;
        asked->timestamp = offset_of(response)->timestamp;
    } else if (op->err == MR_OK) {
        op->err = err;
        op->why = mr_copy_cstr(mr_str_from(mr_why()));
    }
    if (--op->left == 0)
        offsets_end(op);
}

static void offsets_none(void *context, mr_err err)
{
    struct kafka_op *op = context;
    op->err = err;
    offsets_end(op);
}

void kafka_admin_offsets(struct kafka_client *client, const struct kafka_offset *asked,
                         size_t count, bool read_committed, kafka_offsets *done, void *context)
{
    struct kafka_op *op = op_new(client, MR_STR_NULL, context);
    op->done.offsets = done;
    op->read_committed = read_committed;
    offsets_copy(op, asked, count);
    if (count == 0)
        kafka_client_later(client, offsets_none, op, MR_OK);
    struct offset_call *calls = mr_arena_array(&op->arena, struct offset_call, count + 1);
    for (size_t i = 0; i < count; i++) {
        calls[i] = (struct offset_call){op, i};
        struct kafka_call_options options = {
            .target = {KAFKA_TARGET_LEADER, op->offsets[i].topic, asked[i].partition},
            .api_key = KAFKA_API_list_offsets,
            .version_max = -1,
            .fill = offset_fill,
            .judge = offset_judge,
            .done = offset_done,
            .context = &calls[i],
        };
        kafka_call_start(client, &options);
    }
}

/* ---- offsets of groups ---- */

/* Requests have a list of topics with a list of partitions each; ours are flat, and neighbours of
 * one topic share an entry. Returns how many asked offsets from `at` on are of one topic. */
static size_t run_of_topic(const struct kafka_op *op, size_t at)
{
    size_t end = at + 1;
    while (end < op->count && mr_str_equal(op->offsets[end].topic, op->offsets[at].topic))
        end++;
    return end - at;
}

static void group_fetch_old(struct kafka_op *op, struct mr_arena *arena,
                            struct kafka_offset_fetch_request *fetch)
{
    fetch->group_id = op->name;
    if (op->count == 0) {
        fetch->topics.count = -1;
        return;
    }
    fetch->topics.items = mr_arena_array(arena, struct kafka_offset_fetch_request_topic, op->count);
    for (size_t at = 0, run = 0; at < op->count; at += run) {
        struct kafka_offset_fetch_request_topic *topic =
            &fetch->topics.items[fetch->topics.count++];
        run = run_of_topic(op, at);
        topic->name = op->offsets[at].topic;
        topic->partition_indexes.items = mr_arena_array(arena, wire_i32, run);
        topic->partition_indexes.count = (int32_t)run;
        for (size_t i = 0; i < run; i++)
            topic->partition_indexes.items[i] = op->offsets[at + i].partition;
    }
}

/* From version 8 on several groups; the topics of the one group are as in the older form. */
static void group_fetch_fill(void *context, int16_t version, struct mr_arena *arena, void *request)
{
    struct kafka_op *op = context;
    struct kafka_offset_fetch_request *fetch = request, old = {0};
    fetch->require_stable = true;
    if (version < 8) {
        group_fetch_old(op, arena, fetch);
        return;
    }
    group_fetch_old(op, arena, &old);
    struct kafka_offset_fetch_request_group *group = mr_arena_new(
        arena, struct kafka_offset_fetch_request_group);
    group->group_id = op->name;
    group->member_epoch = -1;
    group->topics.count = old.topics.count;
    if (old.topics.count > 0)
        group->topics.items = mr_arena_array(arena, struct kafka_offset_fetch_request_group_topic,
                                             (size_t)old.topics.count);
    for (int32_t i = 0; i < old.topics.count; i++) {
        group->topics.items[i].name = old.topics.items[i].name;
        group->topics.items[i].partition_indexes.items =
            old.topics.items[i].partition_indexes.items;
        group->topics.items[i].partition_indexes.count =
            old.topics.items[i].partition_indexes.count;
    }
    fetch->groups.items = group;
    fetch->groups.count = 1;
}

static int16_t group_fetch_judge(void *context, const void *response)
{
    const struct kafka_offset_fetch_response *fetch = response;
    (void)context;
    if (fetch->error_code != KAFKA_ERROR_NONE)
        return fetch->error_code;
    for (int32_t i = 0; i < fetch->topics.count; i++) {
        for (int32_t k = 0; k < fetch->topics.items[i].partitions.count; k++) {
            int16_t code = fetch->topics.items[i].partitions.items[k].error_code;
            if (code == KAFKA_ERROR_UNSTABLE_OFFSET_COMMIT)
                return code;
        }
    }
    if (fetch->groups.count == 0)
        return KAFKA_ERROR_NONE;
    const struct kafka_offset_fetch_response_group *group = &fetch->groups.items[0];
    for (int32_t i = 0; i < group->topics.count; i++) {
        for (int32_t k = 0; k < group->topics.items[i].partitions.count; k++) {
            int16_t code = group->topics.items[i].partitions.items[k].error_code;
            if (code == KAFKA_ERROR_UNSTABLE_OFFSET_COMMIT)
                return code;
        }
    }
    return group->error_code;
}

struct found {
    struct kafka_op *op;
    MR_ARRAY(struct kafka_offset) list; /* when all were asked */
};

static void group_found(struct found *found, mr_str topic, int32_t partition, int64_t offset)
{
    struct kafka_op *op = found->op;
    if (op->count == 0) {
        if (offset >= 0)
            *mr_array_add(&found->list) = (struct kafka_offset){topic, partition, offset, -1};
        return;
    }
    for (size_t i = 0; i < op->count; i++) {
        if (op->offsets[i].partition == partition && mr_str_equal(op->offsets[i].topic, topic))
            op->offsets[i].offset = offset;
    }
}

static void group_fetch_done(void *context, mr_err err, int16_t version, const void *response)
{
    struct kafka_op *op = context;
    struct found found = {.op = op};
    const struct kafka_offset_fetch_response *fetch = response;
    (void)version;
    if (err == MR_OK && group_fetch_judge(NULL, response) != KAFKA_ERROR_NONE)
        err = kafka_error_fail(group_fetch_judge(NULL, response), op->name.data);
    for (int32_t i = 0; err == MR_OK && i < fetch->topics.count; i++) {
        const struct kafka_offset_fetch_response_topic *topic = &fetch->topics.items[i];
        for (int32_t k = 0; k < topic->partitions.count; k++)
            group_found(&found, topic->name, topic->partitions.items[k].partition_index,
                        topic->partitions.items[k].committed_offset);
    }
    for (int32_t i = 0;
         err == MR_OK && fetch->groups.count > 0 && i < fetch->groups.items[0].topics.count; i++) {
        const struct kafka_offset_fetch_response_group_topic *topic =
            &fetch->groups.items[0].topics.items[i];
        for (int32_t k = 0; k < topic->partitions.count; k++)
            group_found(&found, topic->name, topic->partitions.items[k].partition_index,
                        topic->partitions.items[k].committed_offset);
    }
    if (op->count == 0)
        op->done.offsets(op->context, err, found.list.items, found.list.count);
    else
        op->done.offsets(op->context, err, op->offsets, err == MR_OK ? op->count : 0);
    mr_array_fini(&found.list);
    op_free(op);
}

void kafka_group_offsets(struct kafka_client *client, mr_str group,
                         const struct kafka_offset *asked, size_t count, kafka_offsets *done,
                         void *context)
{
    struct kafka_op *op = op_new(client, group, context);
    op->done.offsets = done;
    offsets_copy(op, asked, count);
    for (size_t i = 0; i < count; i++)
        op->offsets[i].offset = -1;
    op_call(op, (struct kafka_target){KAFKA_TARGET_GROUP, op->name, 0}, KAFKA_API_offset_fetch,
            group_fetch_fill, group_fetch_judge, group_fetch_done);
}

static void group_commit_fill(void *context, int16_t version, struct mr_arena *arena, void *request)
{
    struct kafka_op *op = context;
    struct kafka_offset_commit_request *commit = request;
    (void)version;
    commit->group_id = op->name;
    commit->generation_id_or_member_epoch = op->generation;
    commit->member_id = op->member_id;
    commit->retention_time_ms = -1;
    commit->topics.items = mr_arena_array(arena, struct kafka_offset_commit_request_topic,
                                          op->count);
    for (size_t at = 0, run = 0; at < op->count; at += run) {
        struct kafka_offset_commit_request_topic *topic =
            &commit->topics.items[commit->topics.count++];
        run = run_of_topic(op, at);
        topic->name = op->offsets[at].topic;
        topic->partitions.items = mr_arena_array(arena,
                                                 struct kafka_offset_commit_request_partition, run);
        topic->partitions.count = (int32_t)run;
        for (size_t i = 0; i < run; i++)
            topic->partitions.items[i] = (struct kafka_offset_commit_request_partition){
                .partition_index = op->offsets[at + i].partition,
                .committed_offset = op->offsets[at + i].offset,
                .committed_leader_epoch = -1,
                .committed_metadata = MR_STR(""),
            };
    }
}

static int16_t group_commit_judge(void *context, const void *response)
{
    const struct kafka_offset_commit_response *commit = response;
    (void)context;
    for (int32_t i = 0; i < commit->topics.count; i++) {
        for (int32_t k = 0; k < commit->topics.items[i].partitions.count; k++) {
            if (commit->topics.items[i].partitions.items[k].error_code != KAFKA_ERROR_NONE)
                return commit->topics.items[i].partitions.items[k].error_code;
        }
    }
    return KAFKA_ERROR_NONE;
}

static void group_commit_done(void *context, mr_err err, int16_t version, const void *response)
{
    struct kafka_op *op = context;
    (void)version;
    if (err == MR_OK && group_commit_judge(NULL, response) != KAFKA_ERROR_NONE)
        err = kafka_error_fail(group_commit_judge(NULL, response), op->name.data);
    op_end(op, err);
}

void kafka_group_commit(struct kafka_client *client, mr_str group,
                        const struct kafka_offset *offsets, size_t count, kafka_done *done,
                        void *context)
{
    kafka_group_commit_of(client, group, MR_STR(""), -1, offsets, count, done, context);
}

void kafka_group_commit_of(struct kafka_client *client, mr_str group, mr_str member_id,
                           int32_t generation, const struct kafka_offset *offsets, size_t count,
                           kafka_done *done, void *context)
{
    struct kafka_op *op = op_new(client, group, context);
    op->member_id = mr_arena_str(&op->arena, member_id);
    op->generation = generation;
    op->done.plain = done;
    offsets_copy(op, offsets, count);
    op_call(op, (struct kafka_target){KAFKA_TARGET_GROUP, op->name, 0}, KAFKA_API_offset_commit,
            group_commit_fill, group_commit_judge, group_commit_done);
}
