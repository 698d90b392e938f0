/* broker/share_admin.c: share groups as tools see them: described, and put elsewhere. */
#include "broker/server.h"

static mr_str error_text(int16_t code)
{
    return code == KAFKA_ERROR_NONE ? MR_STR_NULL : mr_str_from(kafka_error_text(code));
}

/* The share group, or a code of errors.def with a sentence. */
static int16_t group_find(struct broker_request *request, mr_str id,
                          struct broker_share_group **out, mr_str *why)
{
    const struct broker_group *group = broker_group_find(&request->server->groups, id);

    if (!request->server->ready) {
        *why = error_text(KAFKA_ERROR_COORDINATOR_LOAD_IN_PROGRESS);
        return KAFKA_ERROR_COORDINATOR_LOAD_IN_PROGRESS;
    }
    if (id.length == 0) {
        *why = error_text(KAFKA_ERROR_INVALID_GROUP_ID);
        return KAFKA_ERROR_INVALID_GROUP_ID;
    }
    if (group == NULL || group->share == NULL) {
        *why = mr_arena_printf(&request->arena, "Group %.*s %s.", MR_STR_ARG(id),
                               group == NULL ? "not found" : "is not a share group");
        return KAFKA_ERROR_GROUP_ID_NOT_FOUND;
    }
    *out = group->share;
    return KAFKA_ERROR_NONE;
}

/* ---- ShareGroupDescribe ---- */

static void describe_member(struct broker_request *request,
                            const struct broker_share_member *member,
                            struct kafka_share_group_describe_member *answer)
{
    answer->member_id = broker_server_text(request, member->id);
    answer->rack_id = member->rack_id == NULL ? MR_STR_NULL
                                              : broker_server_text(request, member->rack_id);
    answer->member_epoch = member->epoch;
    answer->client_id = broker_server_text(request, member->client_id);
    answer->client_host = broker_server_text(request, member->client_host);
    answer->subscribed_topic_names.count = (int32_t)member->topics.count;
    answer->subscribed_topic_names.items = mr_arena_array(&request->arena, mr_str,
                                                          member->topics.count);
    for (size_t i = 0; i < member->topics.count; i++)
        answer->subscribed_topic_names.items[i] = broker_server_text(request,
                                                                     member->topics.items[i]);
    answer->assignment = broker_consumer_group_assignment(request, &member->assigned);
}

static void describe_group(struct broker_request *request, mr_str id,
                           struct kafka_share_group_describe_group *answer)
{
    struct broker_share_group *share = NULL;
    struct mr_map_entry *entry;

    wire_reset(kafka_share_group_describe_group_shape(), answer);
    answer->group_id = id;
    answer->error_code = group_find(request, id, &share, &answer->error_message);
    if (answer->error_code != KAFKA_ERROR_NONE)
        return;
    answer->group_state = mr_str_from(broker_share_group_state_name(share));
    answer->group_epoch = share->epoch;
    answer->assignment_epoch = share->target_epoch;
    answer->assignor_name = mr_str_from(broker_assignor_simple.name);
    answer->members.items = mr_arena_array(
        &request->arena, struct kafka_share_group_describe_member, share->members.count);
    for (size_t i = 0; (entry = mr_map_next(&share->members, &i)) != NULL;)
        describe_member(request, entry->value, &answer->members.items[answer->members.count++]);
}

void broker_share_share_group_describe(struct broker_request *request)
{
    const struct kafka_share_group_describe_request *in = request->in;
    struct kafka_share_group_describe_response *out = request->out;

    out->groups.count = in->group_ids.count;
    out->groups.items = mr_arena_array(&request->arena, struct kafka_share_group_describe_group,
                                       (size_t)in->group_ids.count);
    for (int32_t i = 0; i < in->group_ids.count; i++)
        describe_group(request, in->group_ids.items[i], &out->groups.items[i]);
    broker_server_answer(request);
}

/* ---- DescribeShareGroupOffsets ---- */

/* Records that are not done with, marker and all; -1 where the group stands nowhere yet. */
static int64_t lag_of(const struct broker_share_partition *partition, const struct broker_log *log)
{
    int64_t lag;

    if (partition->start < 0 || log == NULL)
        return -1;
    lag = broker_log_high(log) - partition->start - broker_share_partition_done(partition);
    return lag > 0 ? lag : 0;
}

static void offset_tell(const struct broker_share_group *share, const struct broker_topic *topic,
                        int32_t index,
                        struct kafka_describe_share_group_offsets_response_partition *answer)
{
    const struct broker_share_partition *partition = NULL;
    struct broker_place place = {.partition = index};
    const struct broker_log *log;

    wire_reset(kafka_describe_share_group_offsets_response_partition_shape(), answer);
    answer->partition_index = index;
    answer->start_offset = -1;
    if (topic != NULL) {
        place.topic = topic->id;
        partition = broker_share_partition_find(share, &place);
    }
    if (partition == NULL)
        return;
    log = broker_share_partition_log(partition);
    answer->start_offset = partition->start;
    answer->leader_epoch = log == NULL ? 0 : log->epoch;
    answer->lag = lag_of(partition, log);
}

static void offsets_asked(struct broker_request *request, const struct broker_share_group *share,
                          const struct kafka_describe_share_group_offsets_request_topic *asked,
                          struct kafka_describe_share_group_offsets_response_topic *answer)
{
    const struct broker_topic *topic = broker_topics_find(&request->server->topics,
                                                          asked->topic_name);

    answer->topic_name = asked->topic_name;
    if (topic != NULL)
        answer->topic_id = topic->id;
    answer->partitions.count = asked->partitions.count;
    answer->partitions.items = mr_arena_array(
        &request->arena, struct kafka_describe_share_group_offsets_response_partition,
        (size_t)asked->partitions.count);
    for (int32_t i = 0; i < asked->partitions.count; i++)
        offset_tell(share, topic, asked->partitions.items[i], &answer->partitions.items[i]);
}

/* All that the group has a state of, by topic. */
static void offsets_all(struct broker_request *request, const struct broker_share_group *share,
                        struct kafka_describe_share_group_offsets_response_group *answer)
{
    struct kafka_consumer_group_partitions *topics;
    struct broker_places places = {0};
    struct mr_map_entry *entry;
    int32_t count;

    for (size_t i = 0; (entry = mr_map_next(&share->partitions, &i)) != NULL;) {
        const struct broker_share_partition *partition = entry->value;
        broker_places_add(&places, &partition->place.topic, partition->place.partition);
    }
    broker_places_sort(&places);
    topics = broker_consumer_partitions(&request->arena, &places, &count);
    answer->topics.items = mr_arena_array(
        &request->arena, struct kafka_describe_share_group_offsets_response_topic, (size_t)count);
    for (int32_t i = 0; i < count; i++) {
        const struct broker_topic *topic = broker_topics_find_id(&request->server->topics,
                                                                 &topics[i].topic_id);
        struct kafka_describe_share_group_offsets_request_topic asked = {0};
        if (topic == NULL)
            continue;
        asked.topic_name = broker_server_text(request, topic->name);
        asked.partitions.items = topics[i].partitions.items;
        asked.partitions.count = topics[i].partitions.count;
        offsets_asked(request, share, &asked, &answer->topics.items[answer->topics.count++]);
    }
    broker_places_fini(&places);
}

static void offsets_of_group(struct broker_request *request,
                             const struct kafka_describe_share_group_offsets_request_group *asked,
                             struct kafka_describe_share_group_offsets_response_group *answer)
{
    struct broker_share_group *share = NULL;

    answer->group_id = asked->group_id;
    answer->error_code = group_find(request, asked->group_id, &share, &answer->error_message);
    if (answer->error_code != KAFKA_ERROR_NONE)
        return;
    if (asked->topics.count < 0) {
        offsets_all(request, share, answer);
        return;
    }
    answer->topics.count = asked->topics.count;
    answer->topics.items = mr_arena_array(&request->arena,
                                          struct kafka_describe_share_group_offsets_response_topic,
                                          (size_t)asked->topics.count);
    for (int32_t i = 0; i < asked->topics.count; i++)
        offsets_asked(request, share, &asked->topics.items[i], &answer->topics.items[i]);
}

void broker_share_describe_share_group_offsets(struct broker_request *request)
{
    const struct kafka_describe_share_group_offsets_request *in = request->in;
    struct kafka_describe_share_group_offsets_response *out = request->out;

    out->groups.count = in->groups.count;
    out->groups.items = mr_arena_array(&request->arena,
                                       struct kafka_describe_share_group_offsets_response_group,
                                       (size_t)in->groups.count);
    for (int32_t i = 0; i < in->groups.count; i++)
        offsets_of_group(request, &in->groups.items[i], &out->groups.items[i]);
    broker_server_answer(request);
}

/* ---- AlterShareGroupOffsets, DeleteShareGroupOffsets ---- */

struct change {
    struct broker_log_wait wait;
    struct broker_request *request;
    int64_t group_end; /* where the record of a group that was made ends; -1: none was */
};

static void change_kept(struct broker_log_wait *wait, mr_err err)
{
    struct change *change = mr_container(wait, struct change, wait);
    int64_t end = change->group_end;

    (void)err; /* what is not on the disk is undone by the next start, and the log has said so */
    change->group_end = -1;
    if (end < 0)
        broker_server_answer(change->request);
    else
        broker_log_wait_kept(
            broker_server_internal(change->request->server, MR_STR("__consumer_offsets")),
            &change->wait, end);
}

static void answer_when_kept(struct broker_request *request, int64_t group_end)
{
    struct broker_log *log = broker_server_internal(request->server, MR_STR("__share_group_state"));
    struct change *change = mr_arena_new(&request->arena, struct change);

    change->request = request;
    change->wait.run = change_kept;
    change->group_end = group_end;
    broker_log_wait_kept(log, &change->wait, log->end);
}

/* A group that nobody has been in begins with where it stands. */
static int16_t group_begin(struct broker_request *request, mr_str id, int64_t *end, mr_str *why)
{
    struct broker_groups *groups = &request->server->groups;
    struct broker_share_group *share;
    struct broker_journal journal;

    if (!request->server->ready || id.length == 0 || broker_group_find(groups, id) != NULL)
        return KAFKA_ERROR_NONE;
    if (groups->share_count >= MR_LIMIT_BROKER_SHARE_GROUPS) {
        *why = MR_STR("There are as many share groups as there may be.");
        return KAFKA_ERROR_GROUP_MAX_SIZE_REACHED;
    }
    share = broker_share_group_make(broker_group_make(groups, id));
    share->epoch = 1;
    broker_journal_begin(&journal,
                         broker_server_internal(request->server, MR_STR("__consumer_offsets")));
    broker_share_save_epoch(&journal, share);
    return broker_server_error(broker_journal_append(&journal, -1, -1, end));
}

/* The group, without members: nobody may be reading. */
static int16_t group_find_idle(struct broker_request *request, mr_str id,
                               struct broker_share_group **out, mr_str *why)
{
    int16_t code = group_find(request, id, out, why);

    if (code == KAFKA_ERROR_NONE)
        code = broker_server_error(broker_log_state(
            broker_server_internal(request->server, MR_STR("__share_group_state"))));
    if (code == KAFKA_ERROR_NONE && (*out)->members.count > 0)
        code = KAFKA_ERROR_NON_EMPTY_GROUP;
    if (why->data == NULL)
        *why = error_text(code);
    return code;
}

static int16_t alter_one(struct broker_share_group *share, const struct broker_topic *topic,
                         const struct kafka_alter_share_group_offsets_request_partition *asked)
{
    struct broker_share_partition *partition;
    struct broker_place place = {topic->id, asked->partition_index};

    if (asked->partition_index < 0 || (size_t)asked->partition_index >= topic->partitions.count)
        return KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION;
    if (asked->start_offset < 0)
        return KAFKA_ERROR_INVALID_REQUEST;
    if (broker_share_partition_find(share, &place) == NULL &&
        share->group->groups->share_partition_count >= MR_LIMIT_BROKER_SHARE_PARTITIONS)
        return KAFKA_ERROR_GROUP_MAX_SIZE_REACHED;
    partition = broker_share_partition_make(share, &place);
    broker_share_partition_begin(partition, asked->start_offset);
    partition->state_epoch = share->epoch;
    if (partition->created_ms == 0)
        partition->created_ms = broker_storage_now_ms(&share->group->groups->server->storage);
    return broker_server_error(broker_share_partition_save(partition, NULL));
}

/* `share` NULL: nothing is altered, and each partition tells why (Kafka 4.1's client looks there only). */
static void alter_topic(struct broker_request *request, struct broker_share_group *share,
                        int16_t why_not,
                        const struct kafka_alter_share_group_offsets_request_topic *asked,
                        struct kafka_alter_share_group_offsets_response_topic *answer)
{
    const struct broker_topic *topic = broker_topics_find(&request->server->topics,
                                                          asked->topic_name);

    answer->topic_name = asked->topic_name;
    if (topic != NULL)
        answer->topic_id = topic->id;
    answer->partitions.count = asked->partitions.count;
    answer->partitions.items = mr_arena_array(
        &request->arena, struct kafka_alter_share_group_offsets_response_partition,
        (size_t)asked->partitions.count);
    for (int32_t i = 0; i < asked->partitions.count; i++) {
        int16_t code = share == NULL   ? why_not
                       : topic == NULL ? (int16_t)KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION
                                       : alter_one(share, topic, &asked->partitions.items[i]);
        answer->partitions.items[i] = (struct kafka_alter_share_group_offsets_response_partition){
            asked->partitions.items[i].partition_index, code, error_text(code)};
    }
}

void broker_share_alter_share_group_offsets(struct broker_request *request)
{
    const struct kafka_alter_share_group_offsets_request *in = request->in;
    struct kafka_alter_share_group_offsets_response *out = request->out;
    struct broker_share_group *share = NULL;
    int64_t group_end = -1;

    out->error_code = group_begin(request, in->group_id, &group_end, &out->error_message);
    if (out->error_code == KAFKA_ERROR_NONE)
        out->error_code = group_find_idle(request, in->group_id, &share, &out->error_message);
    if (out->error_code != KAFKA_ERROR_NONE)
        share = NULL;
    out->responses.count = in->topics.count;
    out->responses.items = mr_arena_array(&request->arena,
                                          struct kafka_alter_share_group_offsets_response_topic,
                                          (size_t)in->topics.count);
    for (int32_t i = 0; i < in->topics.count; i++)
        alter_topic(request, share, out->error_code, &in->topics.items[i],
                    &out->responses.items[i]);
    if (share == NULL)
        broker_server_answer(request);
    else
        answer_when_kept(request, group_end);
}

static int16_t delete_topic(struct broker_share_group *share, const struct broker_topic *topic,
                            struct broker_journal *journal)
{
    struct mr_map_entry *entry;
    bool some = false;

    for (size_t i = 0; topic != NULL && (entry = mr_map_next(&share->partitions, &i)) != NULL;) {
        struct broker_share_partition *partition = entry->value;
        if (memcmp(partition->place.topic.bytes, topic->id.bytes, 16) != 0)
            continue;
        broker_share_drop_partition(journal, partition);
        broker_share_partition_free(partition);
        some = true;
    }
    return some ? KAFKA_ERROR_NONE : KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION;
}

void broker_share_delete_share_group_offsets(struct broker_request *request)
{
    const struct kafka_delete_share_group_offsets_request *in = request->in;
    struct kafka_delete_share_group_offsets_response *out = request->out;
    struct broker_share_group *share = NULL;
    struct broker_journal journal;
    int64_t end;

    out->error_code = group_find_idle(request, in->group_id, &share, &out->error_message);
    if (out->error_code != KAFKA_ERROR_NONE) {
        broker_server_answer(request);
        return;
    }
    broker_journal_begin(&journal,
                         broker_server_internal(request->server, MR_STR("__share_group_state")));
    out->responses.count = in->topics.count;
    out->responses.items = mr_arena_array(&request->arena,
                                          struct kafka_delete_share_group_offsets_response_topic,
                                          (size_t)in->topics.count);
    for (int32_t i = 0; i < in->topics.count; i++) {
        struct kafka_delete_share_group_offsets_response_topic *answer = &out->responses.items[i];
        const struct broker_topic *topic = broker_topics_find(&request->server->topics,
                                                              in->topics.items[i].topic_name);
        answer->topic_name = in->topics.items[i].topic_name;
        if (topic != NULL)
            answer->topic_id = topic->id;
        answer->error_code = delete_topic(share, topic, &journal);
        answer->error_message = topic != NULL && answer->error_code != KAFKA_ERROR_NONE
                                    ? MR_STR("There is no offset information to delete.")
                                    : error_text(answer->error_code);
    }
    if (broker_journal_append(&journal, -1, -1, &end) != MR_OK)
        mr_log(MR_LOG_WARN, "broker", "share group %s: what was deleted stays: %s",
               share->group->id, mr_why());
    answer_when_kept(request, -1);
}
