/* broker/quorum.c: what a cluster of one node says about its controllers and its features. There is no log of
 * metadata: its end is told as the number of changes of topics in this run. A feature is always in force at its
 * newest level. */
#include "broker/server.h"

/* ---- DescribeQuorum ---- */

static bool asks_for_metadata(const struct kafka_describe_quorum_request *in)
{
    return in->topics.count == 1 &&
           mr_str_equal(in->topics.items[0].topic_name, MR_STR("__cluster_metadata")) &&
           in->topics.items[0].partitions.count == 1 &&
           in->topics.items[0].partitions.items[0].partition_index == 0;
}

static void quorum_tell(struct broker_request *request)
{
    struct kafka_describe_quorum_response *out = request->out;
    struct kafka_describe_quorum_response_partition *partition =
        &out->topics.items[0].partitions.items[0];
    int64_t end = (int64_t)request->server->topics.changes;
    int64_t now_ms = broker_storage_now_ms(&request->server->storage);
    mr_str host;
    int32_t port;

    partition->leader_id = BROKER_NODE_ID;
    partition->leader_epoch = 1;
    partition->high_watermark = end;
    partition->current_voters.count = 1;
    partition->current_voters.items = mr_arena_new(&request->arena,
                                                   struct kafka_describe_quorum_replica);
    *partition->current_voters.items = (struct kafka_describe_quorum_replica){
        .replica_id = BROKER_NODE_ID,
        .log_end_offset = end,
        .last_fetch_timestamp = now_ms,
        .last_caught_up_timestamp = now_ms,
    };
    broker_server_address(request, &host, &port);
    out->nodes.count = 1;
    out->nodes.items = mr_arena_new(&request->arena, struct kafka_describe_quorum_node);
    out->nodes.items[0].node_id = BROKER_NODE_ID;
    out->nodes.items[0].listeners.count = 1;
    out->nodes.items[0].listeners.items = mr_arena_new(&request->arena,
                                                       struct kafka_describe_quorum_listener);
    *out->nodes.items[0].listeners.items = (struct kafka_describe_quorum_listener){
        MR_STR("CONTROLLER"), host, (uint16_t)port};
}

void broker_quorum_describe_quorum(struct broker_request *request)
{
    const struct kafka_describe_quorum_request *in = request->in;
    struct kafka_describe_quorum_response *out = request->out;
    int16_t code = asks_for_metadata(in) ? KAFKA_ERROR_NONE
                                         : KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION;

    out->topics.count = in->topics.count;
    out->topics.items = mr_arena_array(&request->arena, struct kafka_describe_quorum_response_topic,
                                       (size_t)in->topics.count);
    for (int32_t i = 0; i < in->topics.count; i++) {
        const struct kafka_describe_quorum_request_topic *asked = &in->topics.items[i];
        struct kafka_describe_quorum_response_topic *answer = &out->topics.items[i];
        answer->topic_name = asked->topic_name;
        answer->partitions.count = asked->partitions.count;
        answer->partitions.items = mr_arena_array(&request->arena,
                                                  struct kafka_describe_quorum_response_partition,
                                                  (size_t)asked->partitions.count);
        for (int32_t k = 0; k < asked->partitions.count; k++) {
            answer->partitions.items[k].partition_index =
                asked->partitions.items[k].partition_index;
            answer->partitions.items[k].error_code = code;
            if (code != KAFKA_ERROR_NONE)
                answer->partitions.items[k].error_message = mr_str_from(kafka_error_text(code));
        }
    }
    if (code == KAFKA_ERROR_NONE)
        quorum_tell(request);
    broker_server_answer(request);
}

/* ---- UpdateFeatures ---- */

static const struct {
    const char *name;
    int16_t oldest, newest;
} features[] = {
#define FEATURE(name, oldest, newest, about) {name, oldest, newest},
#include "broker/features.def"
};

/* Why a feature cannot have this level; NULL: it has it. */
static const char *level_refuse(const struct kafka_update_features_update *asked, int16_t version)
{
    bool upgrade = version == 0 ? !asked->allow_downgrade : asked->upgrade_type == 1;

    if (version > 0 && (asked->upgrade_type < 1 || asked->upgrade_type > 3))
        return "The controller does not support the given upgrade type.";
    if (asked->max_version_level < 0)
        return "A feature version cannot be less than 0.";
    for (size_t i = 0; i < mr_count_of(features); i++) {
        if (!mr_str_equal(asked->feature, mr_str_from(features[i].name)))
            continue;
        if (asked->max_version_level > features[i].newest ||
            (asked->max_version_level > 0 && asked->max_version_level < features[i].oldest))
            return "The broker does not support this level.";
        if (asked->max_version_level == features[i].newest)
            return NULL;
        return upgrade
                   ? "Can't downgrade the version of this feature without setting the upgrade type "
                     "to either safe or unsafe downgrade."
                   : "This broker has the feature always at its newest level.";
    }
    return "The broker does not support this feature.";
}

static bool is_named_twice(const struct kafka_update_features_request *in, int32_t at)
{
    for (int32_t i = 0; i < at; i++)
        if (mr_str_equal(in->feature_updates.items[i].feature,
                         in->feature_updates.items[at].feature))
            return true;
    return false;
}

/* Nothing ever changes, so that a request is only checked makes no difference. */
void broker_quorum_update_features(struct broker_request *request)
{
    const struct kafka_update_features_request *in = request->in;
    struct kafka_update_features_response *out = request->out;
    int32_t count = in->feature_updates.count > MR_LIMIT_BROKER_FEATURES
                        ? 0
                        : in->feature_updates.count;

    if (count != in->feature_updates.count) {
        out->error_code = KAFKA_ERROR_INVALID_REQUEST;
        out->error_message = MR_STR("The request has too many updates.");
    }
    out->results.items = mr_arena_array(&request->arena, struct kafka_update_features_result,
                                        (size_t)count);
    out->results.count = count;
    for (int32_t i = 0; i < count; i++) {
        const struct kafka_update_features_update *asked = &in->feature_updates.items[i];
        const char *why = level_refuse(asked, request->header.request_api_version);
        struct kafka_update_features_result *answer = &out->results.items[i];

        answer->feature = asked->feature;
        if (is_named_twice(in, i)) {
            answer->error_code = KAFKA_ERROR_INVALID_REQUEST;
            answer->error_message = MR_STR("The request names the feature twice.");
        } else if (why != NULL) {
            answer->error_code = KAFKA_ERROR_INVALID_UPDATE_VERSION;
            answer->error_message = mr_arena_printf(
                &request->arena, "Invalid update version %d for feature %.*s. %s",
                asked->max_version_level, MR_STR_ARG(asked->feature), why);
        }
        if (answer->error_code == KAFKA_ERROR_NONE || request->header.request_api_version < 2 ||
            out->error_code != KAFKA_ERROR_NONE)
            continue;
        out->error_code = answer->error_code; /* there are no rows to tell it in */
        out->error_message = mr_arena_printf(
            &request->arena,
            "The update failed for all features since the following feature had an error: %.*s",
            MR_STR_ARG(answer->error_message));
    }
    broker_server_answer(request);
}

/* ---- UnregisterBroker ---- */

void broker_quorum_unregister_broker(struct broker_request *request)
{
    const struct kafka_unregister_broker_request *in = request->in;
    struct kafka_unregister_broker_response *out = request->out;

    out->error_code = in->broker_id == BROKER_NODE_ID ? KAFKA_ERROR_INVALID_REQUEST
                                                      : KAFKA_ERROR_BROKER_ID_NOT_REGISTERED;
    out->error_message = in->broker_id == BROKER_NODE_ID
                             ? MR_STR("The cluster is this one broker.")
                             : mr_str_from(kafka_error_text(out->error_code));
    broker_server_answer(request);
}
