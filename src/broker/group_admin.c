/* broker/group_admin.c: groups as tools see them: found, listed, described, deleted. */
#include "broker/server.h"

/* ---- FindCoordinator ---- */

enum { COORDINATOR_GROUP = 0, COORDINATOR_TRANSACTION = 1 };

void broker_group_find_coordinator(struct broker_request *request)
{
    const struct kafka_find_coordinator_request *in = request->in;
    struct kafka_find_coordinator_response *out = request->out;
    int16_t code = KAFKA_ERROR_NONE;
    mr_str host;
    int32_t port;

    if (in->key_type != COORDINATOR_GROUP && in->key_type != COORDINATOR_TRANSACTION)
        code = KAFKA_ERROR_INVALID_REQUEST;
    else if (!request->server->ready)
        code = KAFKA_ERROR_COORDINATOR_NOT_AVAILABLE;
    broker_server_address(request, &host, &port);
    out->error_code = code;
    out->node_id = code == KAFKA_ERROR_NONE ? BROKER_NODE_ID : -1;
    out->host = host;
    out->port = port;
    out->coordinators.items = mr_arena_array(
        &request->arena, struct kafka_find_coordinator_coordinator,
        (size_t)(in->coordinator_keys.count < 0 ? 0 : in->coordinator_keys.count));
    out->coordinators.count = in->coordinator_keys.count < 0 ? 0 : in->coordinator_keys.count;
    for (int32_t i = 0; i < out->coordinators.count; i++)
        out->coordinators.items[i] = (struct kafka_find_coordinator_coordinator){
            in->coordinator_keys.items[i], out->node_id, host, port, code, MR_STR_NULL};
    broker_server_answer(request);
}

/* ---- DescribeGroups ---- */

static mr_str bytes_text(struct broker_request *request, const struct mr_bytes *bytes)
{
    return bytes == NULL ? MR_STR("")
                         : mr_arena_str(&request->arena, mr_str_of(bytes->data, bytes->length));
}

static void describe_member(struct broker_request *request,
                            const struct broker_group_member *member,
                            struct kafka_describe_groups_member *answer)
{
    const char *protocol = member->group->protocol;

    answer->member_id = broker_server_text(request, member->id);
    answer->group_instance_id = member->instance_id == NULL
                                    ? MR_STR_NULL
                                    : broker_server_text(request, member->instance_id);
    answer->client_id = broker_server_text(request, member->client_id);
    answer->client_host = broker_server_text(request, member->client_host);
    if (member->group->state != BROKER_GROUP_STABLE)
        return;
    for (size_t i = 0; i < member->protocols.count && protocol != NULL; i++)
        if (strcmp(member->protocols.items[i].name, protocol) == 0)
            answer->member_metadata = bytes_text(request, member->protocols.items[i].metadata);
    answer->member_assignment = bytes_text(request, member->assignment);
}

static void describe_group(struct broker_request *request, mr_str id,
                           struct kafka_describe_groups_group *answer)
{
    const struct broker_group *group = broker_group_find(&request->server->groups, id);

    answer->group_id = id;
    answer->group_state = MR_STR("Dead");
    answer->authorized_operations = INT32_MIN;
    if (!request->server->ready) {
        answer->error_code = KAFKA_ERROR_COORDINATOR_LOAD_IN_PROGRESS;
        answer->group_state = MR_STR("");
    }
    if (answer->error_code != KAFKA_ERROR_NONE || group == NULL)
        return;
    answer->group_state = mr_str_from(broker_group_state_name(group->state));
    answer->protocol_type = broker_server_text(request, group->protocol_type);
    if (group->state == BROKER_GROUP_STABLE)
        answer->protocol_data = broker_server_text(request, group->protocol);
    answer->members.count = (int32_t)group->members.count;
    answer->members.items = mr_arena_array(&request->arena, struct kafka_describe_groups_member,
                                           group->members.count);
    for (size_t i = 0; i < group->members.count; i++)
        describe_member(request, group->members.items[i], &answer->members.items[i]);
}

void broker_group_describe_groups(struct broker_request *request)
{
    const struct kafka_describe_groups_request *in = request->in;
    struct kafka_describe_groups_response *out = request->out;

    out->groups.count = in->groups.count;
    out->groups.items = mr_arena_array(&request->arena, struct kafka_describe_groups_group,
                                       (size_t)in->groups.count);
    for (int32_t i = 0; i < in->groups.count; i++)
        describe_group(request, in->groups.items[i], &out->groups.items[i]);
    broker_server_answer(request);
}

/* ---- ListGroups ---- */

static bool passes(const mr_str *filter, int32_t count, const char *word)
{
    for (int32_t i = 0; i < count; i++)
        if (mr_str_equal_nocase(filter[i], mr_str_from(word)))
            return true;
    return count <= 0;
}

void broker_group_list_groups(struct broker_request *request)
{
    const struct kafka_list_groups_request *in = request->in;
    struct kafka_list_groups_response *out = request->out;
    struct broker_groups *groups = &request->server->groups;
    struct mr_map_entry *entry;

    if (!request->server->ready) {
        out->error_code = KAFKA_ERROR_COORDINATOR_LOAD_IN_PROGRESS;
        broker_server_answer(request);
        return;
    }
    out->groups.items = mr_arena_array(&request->arena, struct kafka_list_groups_group,
                                       groups->by_id.count);
    for (size_t i = 0; (entry = mr_map_next(&groups->by_id, &i)) != NULL;) {
        const struct broker_group *group = entry->value;
        const char *state = broker_group_state_name(group->state);
        if (!passes(in->states_filter.items, in->states_filter.count, state) ||
            !passes(in->types_filter.items, in->types_filter.count, "classic"))
            continue;
        out->groups.items[out->groups.count++] = (struct kafka_list_groups_group){
            broker_server_text(request, group->id),
            broker_server_text(request, group->protocol_type == NULL ? "" : group->protocol_type),
            mr_str_from(state), MR_STR("classic")};
    }
    broker_server_answer(request);
}

/* ---- DeleteGroups, OffsetDelete ---- */

void broker_group_delete(struct broker_groups *groups, struct broker_group *group)
{
    struct broker_journal journal;
    struct mr_buf key = {0};
    mr_str id = mr_str_from(group->id);
    int64_t end;

    broker_offsets_drop(group, MR_STR_NULL, -1);
    mr_buf_be16(&key, 2);
    mr_buf_be16(&key, (uint16_t)id.length);
    mr_buf_str(&key, id);
    broker_journal_begin(&journal,
                         broker_server_internal(groups->server, MR_STR("__consumer_offsets")));
    broker_journal_add(&journal, mr_buf_as_str(&key), MR_STR_NULL);
    if (broker_journal_append(&journal, -1, -1, &end) != MR_OK)
        mr_log(MR_LOG_WARN, "broker", "group %s: its deletion is not saved: %s", group->id,
               mr_why());
    mr_buf_fini(&key);
    mr_map_remove(&groups->by_id, id);
    broker_group_free(group);
}

struct group_change {
    struct broker_log_wait wait;
    struct broker_request *request;
};

static void change_kept(struct broker_log_wait *wait, mr_err err)
{
    (void)err; /* what is not on the disk comes back with the next start; nothing is lost */
    broker_server_answer(mr_container(wait, struct group_change, wait)->request);
}

static void answer_when_kept(struct broker_request *request)
{
    struct broker_log *log = broker_server_internal(request->server, MR_STR("__consumer_offsets"));
    struct group_change *change = mr_arena_new(&request->arena, struct group_change);

    change->request = request;
    change->wait.run = change_kept;
    broker_log_wait_kept(log, &change->wait, log->end);
}

static int16_t delete_one(struct broker_groups *groups, mr_str id)
{
    struct broker_group *group = broker_group_find(groups, id);

    if (id.length == 0)
        return KAFKA_ERROR_INVALID_GROUP_ID;
    if (group == NULL)
        return KAFKA_ERROR_GROUP_ID_NOT_FOUND;
    if (group->state != BROKER_GROUP_EMPTY || group->txn_offsets > 0)
        return KAFKA_ERROR_NON_EMPTY_GROUP;
    broker_group_delete(groups, group);
    return KAFKA_ERROR_NONE;
}

void broker_group_delete_groups(struct broker_request *request)
{
    const struct kafka_delete_groups_request *in = request->in;
    struct kafka_delete_groups_response *out = request->out;
    bool ready = request->server->ready;

    out->results.count = in->groups_names.count;
    out->results.items = mr_arena_array(&request->arena, struct kafka_delete_groups_result,
                                        (size_t)in->groups_names.count);
    for (int32_t i = 0; i < in->groups_names.count; i++)
        out->results.items[i] = (struct kafka_delete_groups_result){
            in->groups_names.items[i],
            ready ? delete_one(&request->server->groups, in->groups_names.items[i])
                  : (int16_t)KAFKA_ERROR_COORDINATOR_LOAD_IN_PROGRESS};
    if (ready)
        answer_when_kept(request);
    else
        broker_server_answer(request);
}

/* Whether a member of a consumer group reads the topic (ConsumerProtocolSubscription). */
static bool is_subscribed(const struct broker_group *group, mr_str topic)
{
    for (size_t i = 0; i < group->members.count; i++) {
        const struct broker_group_member *member = group->members.items[i];
        for (size_t j = 0; j < member->protocols.count; j++) {
            const struct mr_bytes *metadata = member->protocols.items[j].metadata;
            struct mr_in in = mr_in_of(metadata->data, metadata->length);
            uint32_t count;
            mr_in_be16(&in);
            count = mr_in_be32(&in);
            for (uint32_t k = 0; k < count && in.err == MR_OK; k++) {
                uint16_t length = mr_in_be16(&in);
                if (mr_str_equal(mr_in_take(&in, length), topic))
                    return true;
            }
        }
    }
    return false;
}

static void delete_offsets(struct broker_request *request, struct broker_group *group)
{
    const struct kafka_offset_delete_request *in = request->in;
    struct kafka_offset_delete_response *out = request->out;

    out->topics.count = in->topics.count;
    out->topics.items = mr_arena_array(&request->arena, struct kafka_offset_delete_response_topic,
                                       (size_t)in->topics.count);
    for (int32_t i = 0; i < in->topics.count; i++) {
        const struct kafka_offset_delete_request_topic *asked = &in->topics.items[i];
        struct kafka_offset_delete_response_topic *answer = &out->topics.items[i];
        bool busy = is_subscribed(group, asked->name);

        answer->name = asked->name;
        answer->partitions.count = asked->partitions.count;
        answer->partitions.items = mr_arena_array(&request->arena,
                                                  struct kafka_offset_delete_response_partition,
                                                  (size_t)asked->partitions.count);
        for (int32_t j = 0; j < asked->partitions.count; j++) {
            int32_t partition = asked->partitions.items[j].partition_index;
            int16_t code = busy ? KAFKA_ERROR_GROUP_SUBSCRIBED_TO_TOPIC : KAFKA_ERROR_NONE;
            if (!busy &&
                broker_topics_partition(&request->server->topics, asked->name, partition) == NULL)
                code = KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION;
            if (code == KAFKA_ERROR_NONE)
                code = broker_offsets_drop(group, asked->name, partition);
            answer->partitions.items[j] = (struct kafka_offset_delete_response_partition){partition,
                                                                                          code};
        }
    }
}

void broker_group_offset_delete(struct broker_request *request)
{
    const struct kafka_offset_delete_request *in = request->in;
    struct kafka_offset_delete_response *out = request->out;
    struct broker_group *group = broker_group_find(&request->server->groups, in->group_id);

    if (!request->server->ready)
        out->error_code = KAFKA_ERROR_COORDINATOR_LOAD_IN_PROGRESS;
    else if (group == NULL)
        out->error_code = KAFKA_ERROR_GROUP_ID_NOT_FOUND;
    else if (group->state != BROKER_GROUP_EMPTY &&
             (group->protocol_type == NULL || strcmp(group->protocol_type, "consumer") != 0))
        out->error_code = KAFKA_ERROR_NON_EMPTY_GROUP;
    if (out->error_code != KAFKA_ERROR_NONE) {
        broker_server_answer(request);
        return;
    }
    delete_offsets(request, group);
    answer_when_kept(request);
}
