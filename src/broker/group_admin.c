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
    if (answer->error_code != KAFKA_ERROR_NONE)
        return;
    if (group == NULL || group->consumer != NULL || group->share != NULL) {
        answer->error_message = mr_arena_printf(&request->arena, "Group %.*s %s.", MR_STR_ARG(id),
                                                group == NULL ? "not found"
                                                              : "is not a classic group");
        if (request->header.request_api_version >= 6)
            answer->error_code = KAFKA_ERROR_GROUP_ID_NOT_FOUND;
        return;
    }
    answer->group_state = mr_str_from(broker_group_state_name(group));
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

/* ---- ConsumerGroupDescribe ---- */

/* Topics that are gone have no name, and are left out. */
struct kafka_consumer_group_describe_assignment
broker_consumer_group_assignment(struct broker_request *request, const struct broker_places *places)
{
    struct kafka_consumer_group_describe_assignment told = {0};
    int32_t count;
    struct kafka_consumer_group_partitions *topics = broker_consumer_partitions(&request->arena,
                                                                                places, &count);

    told.topic_partitions.items = mr_arena_array(
        &request->arena, struct kafka_consumer_group_describe_topic, (size_t)count);
    for (int32_t i = 0; i < count; i++) {
        const struct broker_topic *topic = broker_topics_find_id(&request->server->topics,
                                                                 &topics[i].topic_id);
        struct kafka_consumer_group_describe_topic *row =
            &told.topic_partitions.items[told.topic_partitions.count];
        if (topic == NULL)
            continue;
        row->topic_id = topic->id;
        row->topic_name = broker_server_text(request, topic->name);
        row->partitions.items = topics[i].partitions.items;
        row->partitions.count = topics[i].partitions.count;
        told.topic_partitions.count++;
    }
    return told;
}

static mr_str nullable_text(struct broker_request *request, const char *text)
{
    return text == NULL ? MR_STR_NULL : broker_server_text(request, text);
}

static void describe_consumer_member(struct broker_request *request,
                                     const struct broker_consumer_member *member,
                                     struct kafka_consumer_group_describe_member *answer)
{
    answer->member_id = broker_server_text(request, member->id);
    answer->instance_id = nullable_text(request, member->instance_id);
    answer->rack_id = nullable_text(request, member->rack_id);
    answer->member_epoch = member->epoch;
    answer->client_id = broker_server_text(request, member->client_id);
    answer->client_host = broker_server_text(request, member->client_host);
    answer->subscribed_topic_names.count = (int32_t)member->topics.count;
    answer->subscribed_topic_names.items = mr_arena_array(&request->arena, mr_str,
                                                          member->topics.count);
    for (size_t i = 0; i < member->topics.count; i++)
        answer->subscribed_topic_names.items[i] = broker_server_text(request,
                                                                     member->topics.items[i]);
    answer->subscribed_topic_regex = nullable_text(request, member->regex);
    answer->assignment = broker_consumer_group_assignment(request, &member->assigned);
    answer->target_assignment = broker_consumer_group_assignment(request, &member->target);
    answer->member_type = member->classic == NULL;
}

static void describe_consumer_group(struct broker_request *request, mr_str id,
                                    struct kafka_consumer_group_describe_group *answer)
{
    const struct broker_group *group = broker_group_find(&request->server->groups, id);
    struct mr_map_entry *entry;

    wire_reset(kafka_consumer_group_describe_group_shape(), answer);
    answer->group_id = id;
    if (!request->server->ready) {
        answer->error_code = KAFKA_ERROR_COORDINATOR_LOAD_IN_PROGRESS;
        return;
    }
    if (group == NULL || group->consumer == NULL) {
        answer->error_code = KAFKA_ERROR_GROUP_ID_NOT_FOUND;
        answer->error_message = mr_arena_printf(&request->arena, "Group %.*s %s.", MR_STR_ARG(id),
                                                group == NULL ? "not found"
                                                              : "is not a consumer group");
        return;
    }
    answer->group_state = mr_str_from(broker_group_state_name(group));
    answer->group_epoch = group->consumer->epoch;
    answer->assignment_epoch = group->consumer->target_epoch;
    answer->assignor_name = mr_str_from(broker_consumer_group_assignor(group->consumer)->name);
    answer->members.items = mr_arena_array(&request->arena,
                                           struct kafka_consumer_group_describe_member,
                                           group->consumer->members.count);
    for (size_t i = 0; (entry = mr_map_next(&group->consumer->members, &i)) != NULL;)
        describe_consumer_member(request, entry->value,
                                 &answer->members.items[answer->members.count++]);
}

void broker_group_consumer_group_describe(struct broker_request *request)
{
    const struct kafka_consumer_group_describe_request *in = request->in;
    struct kafka_consumer_group_describe_response *out = request->out;

    out->groups.count = in->group_ids.count;
    out->groups.items = mr_arena_array(&request->arena, struct kafka_consumer_group_describe_group,
                                       (size_t)in->group_ids.count);
    for (int32_t i = 0; i < in->group_ids.count; i++)
        describe_consumer_group(request, in->group_ids.items[i], &out->groups.items[i]);
    broker_server_answer(request);
}

/* ---- ListGroups ---- */

static mr_str small_letters(mr_str word, char into[32])
{
    for (size_t i = 0; i < word.length; i++)
        into[i] = (char)(word.data[i] >= 'A' && word.data[i] <= 'Z' ? word.data[i] - 'A' + 'a'
                                                                    : word.data[i]);
    return mr_str_of(into, word.length);
}

/* What is asked for, by its words in small letters: a stranger chooses how many there are. */
static void filter_make(struct mr_map *filter, const mr_str *words, int32_t count)
{
    char small[32];

    for (int32_t i = 0; i < count; i++)
        if (words[i].length < sizeof(small))
            mr_map_put(filter, small_letters(words[i], small), filter);
}

static bool passes(const struct mr_map *filter, int32_t count, const char *word)
{
    char small[32];

    return count <= 0 || mr_map_get(filter, small_letters(mr_str_from(word), small)) != NULL;
}

void broker_group_list_groups(struct broker_request *request)
{
    const struct kafka_list_groups_request *in = request->in;
    struct kafka_list_groups_response *out = request->out;
    struct broker_groups *groups = &request->server->groups;
    struct mr_map states = {0}, types = {0};
    struct mr_map_entry *entry;

    if (!request->server->ready) {
        out->error_code = KAFKA_ERROR_COORDINATOR_LOAD_IN_PROGRESS;
        broker_server_answer(request);
        return;
    }
    filter_make(&states, in->states_filter.items, in->states_filter.count);
    filter_make(&types, in->types_filter.items, in->types_filter.count);
    out->groups.items = mr_arena_array(&request->arena, struct kafka_list_groups_group,
                                       groups->by_id.count);
    for (size_t i = 0; (entry = mr_map_next(&groups->by_id, &i)) != NULL;) {
        const struct broker_group *group = entry->value;
        const char *state = broker_group_state_name(group);
        const char *type = group->consumer != NULL ? "consumer"
                           : group->share != NULL  ? "share"
                                                   : "classic";
        const char *protocol = group->consumer != NULL || group->share != NULL
                                   ? type
                                   : group->protocol_type;
        if (!passes(&states, in->states_filter.count, state) ||
            !passes(&types, in->types_filter.count, type))
            continue;
        out->groups.items[out->groups.count++] = (struct kafka_list_groups_group){
            broker_server_text(request, group->id),
            broker_server_text(request, protocol == NULL ? "" : protocol), mr_str_from(state),
            mr_str_from(type)};
    }
    mr_map_fini(&states);
    mr_map_fini(&types);
    broker_server_answer(request);
}

/* ---- DeleteGroups, OffsetDelete ---- */

void broker_group_delete(struct broker_groups *groups, struct broker_group *group)
{
    struct broker_journal journal;
    struct mr_buf key = {0};
    mr_str id = mr_str_from(group->id);
    int64_t end;

    broker_offsets_drop_all(group);
    mr_buf_be16(&key, 2);
    mr_buf_be16(&key, (uint16_t)id.length);
    mr_buf_str(&key, id);
    broker_journal_begin(&journal,
                         broker_server_internal(groups->server, MR_STR("__consumer_offsets")));
    if (group->consumer != NULL)
        broker_consumer_drop_group(&journal, group->consumer);
    if (group->share != NULL)
        broker_share_group_delete(group->share, &journal);
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
    if (!broker_group_is_empty(group) || group->txn_offsets > 0)
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

/* Topics of a classic group's members, who say them in ConsumerProtocolSubscription. */
static void classic_topics(const struct broker_group *group, struct mr_map *topics)
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
                mr_str topic = mr_in_take(&in, length);
                if (in.err == MR_OK)
                    mr_map_put(topics, topic, topics);
            }
        }
    }
}

/* Whether a member reads the topic, as far as the broker can tell; each is looked for once. */
static bool reads(const struct broker_group *group, struct mr_map *known, mr_str topic)
{
    static const char yes, no;
    const void *told = mr_map_get(known, topic);

    if (group->consumer == NULL)
        return told != NULL;
    if (told == NULL) {
        told = broker_consumer_group_reads(group->consumer, topic) ? &yes : &no;
        mr_map_put(known, topic, (void *)(uintptr_t)told);
    }
    return told == &yes;
}

static void delete_offsets(struct broker_request *request, struct broker_group *group)
{
    const struct kafka_offset_delete_request *in = request->in;
    struct kafka_offset_delete_response *out = request->out;
    struct mr_map known = {0};

    if (group->consumer == NULL)
        classic_topics(group, &known);
    out->topics.count = in->topics.count;
    out->topics.items = mr_arena_array(&request->arena, struct kafka_offset_delete_response_topic,
                                       (size_t)in->topics.count);
    for (int32_t i = 0; i < in->topics.count; i++) {
        const struct kafka_offset_delete_request_topic *asked = &in->topics.items[i];
        struct kafka_offset_delete_response_topic *answer = &out->topics.items[i];
        bool busy = reads(group, &known, asked->name);

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
    mr_map_fini(&known);
}

void broker_group_offset_delete(struct broker_request *request)
{
    const struct kafka_offset_delete_request *in = request->in;
    struct kafka_offset_delete_response *out = request->out;
    struct broker_group *group = broker_group_find(&request->server->groups, in->group_id);

    if (!request->server->ready)
        out->error_code = KAFKA_ERROR_COORDINATOR_LOAD_IN_PROGRESS;
    else if (group == NULL || group->share != NULL)
        out->error_code = KAFKA_ERROR_GROUP_ID_NOT_FOUND;
    else if (group->consumer == NULL && group->state != BROKER_GROUP_EMPTY &&
             (group->protocol_type == NULL || strcmp(group->protocol_type, "consumer") != 0))
        out->error_code = KAFKA_ERROR_NON_EMPTY_GROUP;
    if (out->error_code != KAFKA_ERROR_NONE) {
        broker_server_answer(request);
        return;
    }
    delete_offsets(request, group);
    answer_when_kept(request);
}
