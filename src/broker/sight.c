/* broker/sight.c: answers as their reader may see them: what nobody named and the reader may not
 * describe is left out, what was named gets its error, and rights are told to those who ask. */
#include "broker/server.h"

static bool sees(const struct broker_request *request, int8_t resource, mr_str name)
{
    return broker_rights_allow(request, KAFKA_ACL_OP_DESCRIBE, resource, name);
}

/* The operations that the client may, as bits. */
static int32_t rights(const struct broker_request *request, int8_t resource, mr_str name)
{
    int32_t told = 0, all = kafka_acl_operations(resource);

    for (int8_t operation = 0; operation < 31; operation++)
        if ((all & (1 << operation)) != 0 &&
            broker_rights_allow(request, operation, resource, name))
            told |= 1 << operation;
    return told;
}

static int32_t cluster_rights(const struct broker_request *request)
{
    mr_str name = KAFKA_ACL_CLUSTER_NAME;

    return sees(request, KAFKA_ACL_CLUSTER, name) ? rights(request, KAFKA_ACL_CLUSTER, name) : 0;
}

/* ---- topics ---- */

/* A topic that was asked for by name or by id, or that is one of all; false: it is left out. */
static bool topic_sight(const struct broker_request *request,
                        const struct kafka_metadata_request_topic *asked,
                        struct kafka_metadata_topic *answer)
{
    const struct kafka_metadata_request *in = request->in;

    if (answer->name.data == NULL)
        return true; /* an id that nobody has */
    if (sees(request, KAFKA_ACL_TOPIC, answer->name)) {
        if (answer->error_code == KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION &&
            in->allow_auto_topic_creation &&
            broker_server_number(request->server, BROKER_NODE_auto_create_topics_enable) &&
            !broker_rights_may_make(request, answer->name))
            answer->error_code = KAFKA_ERROR_TOPIC_AUTHORIZATION_FAILED;
        if (in->include_topic_authorized_operations && answer->error_code == KAFKA_ERROR_NONE)
            answer->topic_authorized_operations = rights(request, KAFKA_ACL_TOPIC, answer->name);
        return true;
    }
    if (asked == NULL)
        return false;
    broker_rights_refuse(request, KAFKA_ACL_OP_DESCRIBE, KAFKA_ACL_TOPIC, answer->name);
    wire_reset(kafka_metadata_topic_shape(), answer);
    answer->name = asked->name;
    answer->topic_id = asked->topic_id;
    answer->error_code = broker_topics_id_is_zero(&asked->topic_id)
                             ? KAFKA_ERROR_TOPIC_AUTHORIZATION_FAILED
                             : KAFKA_ERROR_UNKNOWN_TOPIC_ID;
    return true;
}

static void metadata_sight(struct broker_request *request)
{
    const struct kafka_metadata_request *in = request->in;
    struct kafka_metadata_response *out = request->out;
    bool all = in->topics.count < 0 ||
               (in->topics.count == 0 && request->header.request_api_version == 0);
    int32_t kept = 0;

    for (int32_t i = 0; i < out->topics.count; i++)
        if (topic_sight(request, all ? NULL : &in->topics.items[i], &out->topics.items[i]))
            out->topics.items[kept++] = out->topics.items[i];
    out->topics.count = kept;
    if (in->include_cluster_authorized_operations)
        out->cluster_authorized_operations = cluster_rights(request);
}

static void partitions_sight(struct broker_request *request)
{
    const struct kafka_describe_topic_partitions_request *in = request->in;
    struct kafka_describe_topic_partitions_response *out = request->out;
    int32_t kept = 0;

    for (int32_t i = 0; i < out->topics.count; i++) {
        struct kafka_describe_topic_partitions_response_topic *answer = &out->topics.items[i];
        mr_str name = answer->name;
        if (sees(request, KAFKA_ACL_TOPIC, name)) {
            if (answer->error_code == KAFKA_ERROR_NONE)
                answer->topic_authorized_operations = rights(request, KAFKA_ACL_TOPIC, name);
        } else if (in->topics.count <= 0) {
            continue;
        } else {
            wire_reset(kafka_describe_topic_partitions_response_topic_shape(), answer);
            answer->name = name;
            answer->error_code = KAFKA_ERROR_TOPIC_AUTHORIZATION_FAILED;
        }
        out->topics.items[kept++] = *answer;
    }
    out->topics.count = kept;
    if (out->next_cursor != NULL && in->topics.count <= 0 &&
        !sees(request, KAFKA_ACL_TOPIC, out->next_cursor->topic_name))
        out->next_cursor->partition_index = 0; /* where to go on, not how large it is */
}

static void create_sight(struct broker_request *request)
{
    struct kafka_create_topics_response *out = request->out;

    for (int32_t i = 0; i < out->topics.count; i++) {
        struct kafka_create_topics_response_topic *answer = &out->topics.items[i];
        if (answer->error_code != KAFKA_ERROR_NONE ||
            broker_rights_allow(request, KAFKA_ACL_OP_DESCRIBE_CONFIGS, KAFKA_ACL_TOPIC,
                                answer->name))
            continue;
        answer->topic_config_error_code = KAFKA_ERROR_TOPIC_AUTHORIZATION_FAILED;
        answer->num_partitions = -1;
        answer->replication_factor = -1;
        answer->configs.count = -1;
    }
}

/* ---- offsets ---- */

static void old_offsets_sight(struct broker_request *request)
{
    const struct kafka_offset_fetch_request *in = request->in;
    struct kafka_offset_fetch_response *out = request->out;
    int32_t kept = 0;

    if (in->topics.count >= 0)
        return; /* topics that were named have been looked at before */
    for (int32_t i = 0; i < out->topics.count; i++)
        if (sees(request, KAFKA_ACL_TOPIC, out->topics.items[i].name))
            out->topics.items[kept++] = out->topics.items[i];
    out->topics.count = kept;
}

/* `groups`: those of which topics were asked for by name. */
static void group_offsets_sight(struct broker_request *request, const struct mr_map *groups,
                                struct kafka_offset_fetch_response_group *group)
{
    bool named = mr_map_get(groups, group->group_id) != NULL;
    int32_t kept = 0;

    if (!sees(request, KAFKA_ACL_GROUP, group->group_id)) {
        group->error_code = KAFKA_ERROR_GROUP_AUTHORIZATION_FAILED;
        group->topics.count = 0;
    }
    for (int32_t i = 0; i < group->topics.count; i++) {
        struct kafka_offset_fetch_response_group_topic *topic = &group->topics.items[i];
        struct broker_topic *known = topic->name.length > 0
                                         ? NULL
                                         : broker_topics_find_id(&request->server->topics,
                                                                 &topic->topic_id);
        mr_str name = known == NULL ? topic->name : mr_str_from(known->name);
        bool seen = name.length == 0 || sees(request, KAFKA_ACL_TOPIC, name);
        for (int32_t at = 0; at < topic->partitions.count && !seen; at++) {
            topic->partitions.items[at].committed_offset = -1;
            topic->partitions.items[at].metadata = MR_STR("");
            topic->partitions.items[at].error_code = KAFKA_ERROR_TOPIC_AUTHORIZATION_FAILED;
        }
        if (seen || named)
            group->topics.items[kept++] = *topic;
    }
    group->topics.count = kept;
}

/* ---- groups, coordinators, transactions ---- */

static void groups_sight(struct broker_request *request)
{
    struct kafka_list_groups_response *out = request->out;
    int32_t kept = 0;

    if (sees(request, KAFKA_ACL_CLUSTER, KAFKA_ACL_CLUSTER_NAME))
        return;
    for (int32_t i = 0; i < out->groups.count; i++)
        if (sees(request, KAFKA_ACL_GROUP, out->groups.items[i].group_id))
            out->groups.items[kept++] = out->groups.items[i];
    out->groups.count = kept;
}

static bool sees_assignment(const struct broker_request *request,
                            const struct kafka_consumer_group_describe_assignment *assignment)
{
    for (int32_t i = 0; i < assignment->topic_partitions.count; i++)
        if (!sees(request, KAFKA_ACL_TOPIC, assignment->topic_partitions.items[i].topic_name))
            return false;
    return true;
}

static void consumer_groups_sight(struct broker_request *request)
{
    const struct kafka_consumer_group_describe_request *in = request->in;
    struct kafka_consumer_group_describe_response *out = request->out;

    for (int32_t i = 0; i < out->groups.count; i++) {
        struct kafka_consumer_group_describe_group *group = &out->groups.items[i];
        bool seen = true;
        for (int32_t at = 0; at < group->members.count; at++)
            seen = seen && sees_assignment(request, &group->members.items[at].assignment) &&
                   sees_assignment(request, &group->members.items[at].target_assignment);
        if (!seen) {
            group->error_code = KAFKA_ERROR_TOPIC_AUTHORIZATION_FAILED;
            group->error_message = MR_STR("The group has topics that the client may not describe.");
            group->members.count = 0;
        }
        if (in->include_authorized_operations && group->error_code == KAFKA_ERROR_NONE)
            group->authorized_operations = rights(request, KAFKA_ACL_GROUP, group->group_id);
    }
}

static void share_groups_sight(struct broker_request *request)
{
    const struct kafka_share_group_describe_request *in = request->in;
    struct kafka_share_group_describe_response *out = request->out;

    for (int32_t i = 0; i < out->groups.count; i++) {
        struct kafka_share_group_describe_group *group = &out->groups.items[i];
        bool seen = true;
        for (int32_t at = 0; at < group->members.count; at++)
            seen = seen && sees_assignment(request, &group->members.items[at].assignment);
        if (!seen) {
            group->error_code = KAFKA_ERROR_TOPIC_AUTHORIZATION_FAILED;
            group->error_message = MR_STR("The group has topics that the client may not describe.");
            group->members.count = 0;
        }
        if (in->include_authorized_operations && group->error_code == KAFKA_ERROR_NONE)
            group->authorized_operations = rights(request, KAFKA_ACL_GROUP, group->group_id);
    }
}

/* Topics that were named are told of with their error, others are left out. */
static void share_offsets_sight(struct broker_request *request)
{
    const struct kafka_describe_share_group_offsets_request *in = request->in;
    struct kafka_describe_share_group_offsets_response *out = request->out;
    struct mr_map named_groups = {0};

    for (int32_t i = 0; i < in->groups.count; i++)
        if (in->groups.items[i].topics.count >= 0)
            mr_map_put(&named_groups, in->groups.items[i].group_id, out);
    for (int32_t i = 0; i < out->groups.count; i++) {
        struct kafka_describe_share_group_offsets_response_group *group = &out->groups.items[i];
        bool named = mr_map_get(&named_groups, group->group_id) != NULL;
        int32_t kept = 0;
        for (int32_t k = 0; k < group->topics.count; k++) {
            struct kafka_describe_share_group_offsets_response_topic *topic =
                &group->topics.items[k];
            bool seen = sees(request, KAFKA_ACL_TOPIC, topic->topic_name);
            for (int32_t at = 0; at < topic->partitions.count && !seen; at++) {
                topic->partitions.items[at].start_offset = -1;
                topic->partitions.items[at].lag = -1;
                topic->partitions.items[at].error_code = KAFKA_ERROR_TOPIC_AUTHORIZATION_FAILED;
            }
            if (!seen)
                topic->topic_id = (mr_uuid){{0}};
            if (seen || named)
                group->topics.items[kept++] = *topic;
        }
        group->topics.count = kept;
    }
    mr_map_fini(&named_groups);
}

static void classic_groups_sight(struct broker_request *request)
{
    const struct kafka_describe_groups_request *in = request->in;
    struct kafka_describe_groups_response *out = request->out;

    for (int32_t i = 0; i < out->groups.count && in->include_authorized_operations; i++)
        if (out->groups.items[i].error_code == KAFKA_ERROR_NONE)
            out->groups.items[i].authorized_operations = rights(request, KAFKA_ACL_GROUP,
                                                                out->groups.items[i].group_id);
}

static void coordinators_sight(struct broker_request *request)
{
    const struct kafka_find_coordinator_request *in = request->in;
    struct kafka_find_coordinator_response *out = request->out;
    bool group = in->key_type != 1;

    for (int32_t i = 0; i < out->coordinators.count; i++) {
        struct kafka_find_coordinator_coordinator *answer = &out->coordinators.items[i];
        if (sees(request, group ? KAFKA_ACL_GROUP : KAFKA_ACL_TRANSACTIONAL_ID, answer->key))
            continue;
        *answer = (struct kafka_find_coordinator_coordinator){
            .key = answer->key,
            .node_id = -1,
            .port = -1,
            .host = MR_STR(""),
            .error_code = group ? KAFKA_ERROR_GROUP_AUTHORIZATION_FAILED
                                : KAFKA_ERROR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        };
    }
}

static void transactions_sight(struct broker_request *request)
{
    struct kafka_list_transactions_response *out = request->out;
    int32_t kept = 0;

    for (int32_t i = 0; i < out->transaction_states.count; i++)
        if (sees(request, KAFKA_ACL_TRANSACTIONAL_ID,
                 out->transaction_states.items[i].transactional_id))
            out->transaction_states.items[kept++] = out->transaction_states.items[i];
    out->transaction_states.count = kept;
}

static void transaction_topics_sight(struct broker_request *request)
{
    struct kafka_describe_transactions_response *out = request->out;

    for (int32_t i = 0; i < out->transaction_states.count; i++) {
        struct kafka_describe_transactions_response_state *state =
            &out->transaction_states.items[i];
        int32_t kept = 0;
        for (int32_t at = 0; at < state->topics.count; at++)
            if (sees(request, KAFKA_ACL_TOPIC, state->topics.items[at].topic))
                state->topics.items[kept++] = state->topics.items[at];
        state->topics.count = kept;
    }
}

static void offsets_sight(struct broker_request *request)
{
    const struct kafka_offset_fetch_request *in = request->in;
    struct kafka_offset_fetch_response *out = request->out;
    struct mr_map named = {0};

    old_offsets_sight(request);
    for (int32_t i = 0; i < in->groups.count; i++)
        if (in->groups.items[i].topics.count >= 0)
            mr_map_put(&named, in->groups.items[i].group_id, out);
    for (int32_t i = 0; i < out->groups.count; i++)
        group_offsets_sight(request, &named, &out->groups.items[i]);
    mr_map_fini(&named);
}

static void cluster_sight(struct broker_request *request)
{
    const struct kafka_describe_cluster_request *in = request->in;
    struct kafka_describe_cluster_response *out = request->out;

    if (in->include_cluster_authorized_operations && out->error_code == KAFKA_ERROR_NONE)
        out->cluster_authorized_operations = cluster_rights(request);
}

void broker_sight_answer(struct broker_request *request)
{
    static void (*const sights[KAFKA_API_KEY_MAX + 1])(struct broker_request * request) = {
        [KAFKA_API_metadata] = metadata_sight,
        [KAFKA_API_describe_topic_partitions] = partitions_sight,
        [KAFKA_API_create_topics] = create_sight,
        [KAFKA_API_offset_fetch] = offsets_sight,
        [KAFKA_API_find_coordinator] = coordinators_sight,
        [KAFKA_API_describe_groups] = classic_groups_sight,
        [KAFKA_API_list_groups] = groups_sight,
        [KAFKA_API_consumer_group_describe] = consumer_groups_sight,
        [KAFKA_API_share_group_describe] = share_groups_sight,
        [KAFKA_API_describe_share_group_offsets] = share_offsets_sight,
        [KAFKA_API_list_transactions] = transactions_sight,
        [KAFKA_API_describe_transactions] = transaction_topics_sight,
        [KAFKA_API_describe_cluster] = cluster_sight,
    };

    if (request->conn != NULL && request->in != NULL && sights[request->api->key] != NULL)
        sights[request->api->key](request);
}
