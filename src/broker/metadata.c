/* broker/metadata.c: who we are, what we speak, which topics there are. */
#include "broker/server.h"

#include <stdlib.h>

/* ---- ApiVersions ---- */

struct feature {
    const char *name;
    int16_t oldest, newest;
};
static const struct feature features[] = {
#define FEATURE(name, oldest, newest, about) {name, oldest, newest},
#include "broker/features.def"
};

/* Features are in force at their newest level. Before version 4 one that begins at level 0 cannot be
 * told as supported (KIP-1022). */
static void features_tell(struct broker_request *request)
{
    struct kafka_api_versions_response *out = request->out;

    out->finalized_features_epoch = 0;
    out->supported_features.items = mr_arena_array(
        &request->arena, struct kafka_api_versions_supported_feature, mr_count_of(features));
    out->finalized_features.items = mr_arena_array(
        &request->arena, struct kafka_api_versions_finalized_feature, mr_count_of(features));
    for (size_t i = 0; i < mr_count_of(features); i++) {
        mr_str name = mr_str_from(features[i].name);
        if (features[i].oldest > 0 || request->header.request_api_version >= 4)
            out->supported_features.items[out->supported_features.count++] =
                (struct kafka_api_versions_supported_feature){name, features[i].oldest,
                                                              features[i].newest};
        out->finalized_features.items[out->finalized_features.count++] =
            (struct kafka_api_versions_finalized_feature){name, features[i].newest,
                                                          features[i].newest};
    }
}

void broker_metadata_api_versions(struct broker_request *request)
{
    struct kafka_api_versions_response *out = request->out;

    if (out == NULL) { /* the client's version is newer than ours: version 0 says what we have */
        out = request->out = mr_arena_alloc_zero(&request->arena,
                                                 sizeof(struct kafka_api_versions_response));
        wire_reset(request->api->response(), out);
        out->error_code = KAFKA_ERROR_UNSUPPORTED_VERSION;
    }
    out->api_keys.items = mr_arena_array(&request->arena, struct kafka_api_versions_api,
                                         kafka_api_count);
    out->api_keys.count = (int32_t)kafka_api_count;
    for (size_t i = 0; i < kafka_api_count; i++) {
        const struct kafka_api *api = &kafka_api_rows[i];
        int16_t oldest = api->key == KAFKA_API_produce ? (int16_t)KAFKA_API_PRODUCE_ANNOUNCED
                                                       : api->oldest;
        out->api_keys.items[i] = (struct kafka_api_versions_api){api->key, oldest, api->newest};
    }
    features_tell(request);
    broker_server_answer(request);
}

/* ---- Metadata ---- */

struct metadata {
    struct broker_catalog_wait wait;
    struct broker_request *request;
    mr_str *made; /* topics that this request makes */
    size_t made_count;
};

static int32_t *one_node(struct mr_arena *arena)
{
    int32_t *node = mr_arena_alloc(arena, sizeof(int32_t));
    *node = BROKER_NODE_ID;
    return node;
}

static void topic_tell(struct broker_request *request, const struct broker_topic *topic,
                       struct kafka_metadata_topic *answer)
{
    size_t count = topic->partitions.count;

    answer->name = broker_server_text(request, topic->name);
    answer->topic_id = topic->id;
    answer->is_internal = topic->internal;
    answer->partitions.items = mr_arena_array(&request->arena, struct kafka_metadata_partition,
                                              count);
    answer->partitions.count = (int32_t)count;
    for (size_t i = 0; i < count; i++) {
        struct kafka_metadata_partition *partition = &answer->partitions.items[i];
        const struct broker_log *log = topic->partitions.items[i]->log;

        wire_reset(kafka_metadata_partition_shape(), partition);
        partition->partition_index = (int32_t)i;
        partition->replica_nodes.items = partition->isr_nodes.items = one_node(&request->arena);
        partition->replica_nodes.count = partition->isr_nodes.count = 1;
        partition->leader_id = log == NULL ? -1 : BROKER_NODE_ID;
        partition->leader_epoch = log == NULL ? -1 : log->epoch;
        partition->error_code = log == NULL ? KAFKA_ERROR_LEADER_NOT_AVAILABLE : KAFKA_ERROR_NONE;
    }
}

static void topic_ask(struct broker_request *request,
                      const struct kafka_metadata_request_topic *asked,
                      struct kafka_metadata_topic *answer)
{
    struct broker_topics *topics = &request->server->topics;
    struct broker_topic *topic;

    wire_reset(kafka_metadata_topic_shape(), answer);
    answer->name = asked->name;
    answer->topic_id = asked->topic_id;
    if (!broker_topics_id_is_zero(&asked->topic_id)) {
        topic = broker_topics_find_id(topics, &asked->topic_id);
        answer->error_code = topic == NULL ? KAFKA_ERROR_UNKNOWN_TOPIC_ID : KAFKA_ERROR_NONE;
    } else {
        topic = broker_topics_find(topics, asked->name);
        if (topic == NULL)
            answer->error_code = broker_topics_name_ok(asked->name)
                                     ? KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION
                                     : KAFKA_ERROR_INVALID_TOPIC_EXCEPTION;
    }
    if (topic != NULL)
        topic_tell(request, topic, answer);
}

static void all_topics(struct broker_request *request)
{
    struct kafka_metadata_response *out = request->out;
    struct broker_topics *topics = &request->server->topics;
    struct mr_map_entry *entry;

    out->topics.items = mr_arena_array(&request->arena, struct kafka_metadata_topic,
                                       topics->by_name.count);
    for (size_t i = 0; (entry = mr_map_next(&topics->by_name, &i)) != NULL;) {
        struct kafka_metadata_topic *answer = &out->topics.items[out->topics.count++];
        wire_reset(kafka_metadata_topic_shape(), answer);
        topic_tell(request, entry->value, answer);
    }
}

static void metadata_answer(struct broker_request *request)
{
    const struct kafka_metadata_request *in = request->in;
    struct kafka_metadata_response *out = request->out;
    bool all = in->topics.count < 0 ||
               (in->topics.count == 0 && request->header.request_api_version == 0);

    out->brokers.items = mr_arena_new(&request->arena, struct kafka_metadata_broker);
    out->brokers.count = 1;
    out->brokers.items[0].node_id = BROKER_NODE_ID;
    broker_server_address(request, &out->brokers.items[0].host, &out->brokers.items[0].port);
    out->cluster_id = broker_server_text(request, request->server->topics.cluster_id);
    out->controller_id = BROKER_NODE_ID;
    if (all) {
        all_topics(request);
    } else {
        out->topics.count = in->topics.count;
        out->topics.items = mr_arena_array(&request->arena, struct kafka_metadata_topic,
                                           (size_t)in->topics.count);
        for (int32_t i = 0; i < in->topics.count; i++)
            topic_ask(request, &in->topics.items[i], &out->topics.items[i]);
    }
    broker_server_answer(request);
}

static void metadata_saved(struct broker_catalog_wait *wait, mr_err err)
{
    struct metadata *metadata = mr_container(wait, struct metadata, wait);

    if (err != MR_OK) /* such a topic would be gone after a restart, so it goes now */
        for (size_t i = 0; i < metadata->made_count; i++) {
            struct broker_topics *topics = &metadata->request->server->topics;
            struct broker_topic *topic = broker_topics_find(topics, metadata->made[i]);
            if (topic != NULL)
                broker_topics_delete(topics, topic, NULL);
        }
    metadata_answer(metadata->request);
}

void broker_metadata_metadata(struct broker_request *request)
{
    const struct kafka_metadata_request *in = request->in;
    struct broker_server *server = request->server;
    struct metadata *metadata = mr_arena_new(&request->arena, struct metadata);
    bool may_make = in->allow_auto_topic_creation && in->topics.count > 0;

    metadata->request = request;
    metadata->wait.run = metadata_saved;
    if (may_make)
        metadata->made = mr_arena_array(&request->arena, mr_str, (size_t)in->topics.count);
    for (int32_t i = 0; may_make && i < in->topics.count; i++) {
        mr_str name = in->topics.items[i].name;
        if (name.data == NULL || !broker_topics_id_is_zero(&in->topics.items[i].topic_id) ||
            broker_topics_find(&server->topics, name) != NULL ||
            !broker_rights_may_make(request, name))
            continue;
        if (broker_server_auto_create(server, name, NULL) == KAFKA_ERROR_NONE)
            metadata->made[metadata->made_count++] = name;
    }
    if (metadata->made_count > 0)
        broker_topics_save(&server->topics, &metadata->wait);
    else
        metadata_answer(request);
}

/* ---- DescribeCluster ---- */

void broker_metadata_describe_cluster(struct broker_request *request)
{
    struct kafka_describe_cluster_response *out = request->out;
    const struct kafka_describe_cluster_request *in = request->in;

    out->endpoint_type = in->endpoint_type;
    out->cluster_id = broker_server_text(request, request->server->topics.cluster_id);
    out->controller_id = BROKER_NODE_ID;
    out->brokers.items = mr_arena_new(&request->arena, struct kafka_describe_cluster_broker);
    out->brokers.count = 1;
    out->brokers.items[0].broker_id = BROKER_NODE_ID;
    broker_server_address(request, &out->brokers.items[0].host, &out->brokers.items[0].port);
    broker_server_answer(request);
}

/* ---- DescribeTopicPartitions (KIP-966): topics by name, so many partitions at a time ---- */

struct listing {
    struct broker_request *request;
    mr_str *names; /* sorted */
    size_t count;
    int32_t left; /* partitions that may still be told */
};

static int by_name(const void *left, const void *right)
{
    return mr_str_compare(*(const mr_str *)left, *(const mr_str *)right);
}

/* The names asked for, each once, or all; in order. */
static void names_sorted(struct listing *listing)
{
    const struct kafka_describe_topic_partitions_request *in = listing->request->in;
    struct broker_topics *topics = &listing->request->server->topics;
    struct mr_map_entry *entry;
    size_t count = in->topics.count > 0 ? (size_t)in->topics.count : topics->by_name.count;

    listing->names = mr_arena_array(&listing->request->arena, mr_str, count);
    for (int32_t i = 0; i < in->topics.count; i++)
        listing->names[listing->count++] = in->topics.items[i].name;
    for (size_t i = 0;
         in->topics.count <= 0 && (entry = mr_map_next(&topics->by_name, &i)) != NULL;)
        listing->names[listing->count++] = mr_arena_str(&listing->request->arena, entry->key);
    qsort(listing->names, listing->count, sizeof *listing->names, by_name);
    count = listing->count;
    listing->count = 0;
    for (size_t i = 0; i < count; i++)
        if (i == 0 || !mr_str_equal(listing->names[i], listing->names[i - 1]))
            listing->names[listing->count++] = listing->names[i];
}

static void partition_describe(struct broker_request *request, const struct broker_topic *topic,
                               size_t index,
                               struct kafka_describe_topic_partitions_response_partition *answer)
{
    const struct broker_log *log = topic->partitions.items[index]->log;

    wire_reset(kafka_describe_topic_partitions_response_partition_shape(), answer);
    answer->partition_index = (int32_t)index;
    answer->replica_nodes.items = answer->isr_nodes.items = one_node(&request->arena);
    answer->replica_nodes.count = answer->isr_nodes.count = 1;
    answer->eligible_leader_replicas.count = answer->last_known_elr.count =
        0; /* Java reads no null */
    answer->leader_id = log == NULL ? -1 : BROKER_NODE_ID;
    answer->leader_epoch = log == NULL ? -1 : log->epoch;
    answer->error_code = log == NULL ? KAFKA_ERROR_LEADER_NOT_AVAILABLE : KAFKA_ERROR_NONE;
}

/* From partition `from` on, as far as there is room; the next one's index, or -1 when that was all. */
static int32_t topic_describe(struct listing *listing, mr_str name, int32_t from,
                              struct kafka_describe_topic_partitions_response_topic *answer)
{
    struct broker_request *request = listing->request;
    struct broker_topic *topic = broker_topics_find(&request->server->topics, name);

    wire_reset(kafka_describe_topic_partitions_response_topic_shape(), answer);
    answer->name = name;
    if (topic == NULL) {
        answer->error_code = broker_topics_name_ok(name) ? KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION
                                                         : KAFKA_ERROR_INVALID_TOPIC_EXCEPTION;
        return -1;
    }
    int32_t count = (int32_t)topic->partitions.count, until = count;
    if (from > count)
        from = count;
    if (until - from > listing->left)
        until = from + listing->left;
    answer->topic_id = topic->id;
    answer->is_internal = topic->internal;
    answer->partitions.items = mr_arena_array(
        &request->arena, struct kafka_describe_topic_partitions_response_partition,
        (size_t)(until - from));
    for (int32_t i = from; i < until; i++)
        partition_describe(request, topic, (size_t)i,
                           &answer->partitions.items[answer->partitions.count++]);
    listing->left -= until - from;
    return until < count ? until : -1;
}

static void cursor_set(struct broker_request *request, mr_str name, int32_t partition)
{
    struct kafka_describe_topic_partitions_response *out = request->out;

    out->next_cursor = mr_arena_new(&request->arena, struct kafka_describe_topic_partitions_cursor);
    *out->next_cursor = (struct kafka_describe_topic_partitions_cursor){name, partition};
}

void broker_metadata_describe_topic_partitions(struct broker_request *request)
{
    const struct kafka_describe_topic_partitions_request *in = request->in;
    struct kafka_describe_topic_partitions_response *out = request->out;
    const struct kafka_describe_topic_partitions_cursor *cursor = in->cursor;
    struct listing listing = {.request = request, .left = in->response_partition_limit};
    bool wrong = cursor != NULL && cursor->partition_index < 0;
    int32_t most = (int32_t)broker_server_number(request->server,
                                                 BROKER_NODE_max_request_partition_size_limit);

    if (listing.left > most)
        listing.left = most;
    if (listing.left < 1)
        listing.left = 1;
    names_sorted(&listing);
    out->topics.items = mr_arena_array(
        &request->arena, struct kafka_describe_topic_partitions_response_topic, listing.count);
    for (size_t i = 0; i < listing.count; i++) {
        mr_str name = listing.names[i];
        int order = cursor == NULL ? 1 : mr_str_compare(name, cursor->topic_name);
        if (wrong) { /* the shape has no error of the whole */
            struct kafka_describe_topic_partitions_response_topic *answer =
                &out->topics.items[out->topics.count++];
            wire_reset(kafka_describe_topic_partitions_response_topic_shape(), answer);
            answer->name = name;
            answer->error_code = KAFKA_ERROR_INVALID_REQUEST;
            continue;
        }
        if (order < 0)
            continue;
        if (listing.left == 0) {
            cursor_set(request, name, 0);
            break;
        }
        int32_t next = topic_describe(&listing, name, order == 0 ? cursor->partition_index : 0,
                                      &out->topics.items[out->topics.count++]);
        if (next >= 0) {
            cursor_set(request, name, next);
            break;
        }
    }
    broker_server_answer(request);
}
