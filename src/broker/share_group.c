/* broker/share_group.c: members of share groups, and what a group has besides them; see share_group.h.
 *
 * Each change is a record before the answer goes out. A member whose change was lost with the power has
 * an epoch that the broker does not know: it is fenced and joins anew. */
#include "broker/server.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- partitions ---- */

static mr_str place_key(const struct broker_place *place)
{
    return mr_str_of(place, sizeof(*place));
}

static struct broker_server *server_of(const struct broker_share_group *share)
{
    return share->group->groups->server;
}

const struct broker_group_config *broker_share_group_config(const struct broker_share_group *share)
{
    return broker_group_config_of(&server_of(share)->topics.group_configs,
                                  mr_str_from(share->group->id));
}

struct broker_share_partition *broker_share_partition_find(const struct broker_share_group *share,
                                                           const struct broker_place *place)
{
    return mr_map_get(&share->partitions, place_key(place));
}

struct broker_log *broker_share_partition_log(const struct broker_share_partition *partition)
{
    const struct broker_topic *topic = broker_topics_find_id(&server_of(partition->group)->topics,
                                                             &partition->place.topic);

    return topic == NULL || partition->place.partition < 0 ||
                   (size_t)partition->place.partition >= topic->partitions.count
               ? NULL
               : topic->partitions.items[partition->place.partition]->log;
}

static struct broker_log *state_log(const struct broker_share_group *share)
{
    return broker_server_internal(server_of(share), MR_STR("__share_group_state"));
}

mr_err broker_share_partition_save(struct broker_share_partition *partition, int64_t *end)
{
    struct broker_log *log = broker_share_partition_log(partition);
    struct broker_journal journal;
    int64_t until;
    mr_err err;

    broker_journal_begin(&journal, state_log(partition->group));
    broker_share_save_partition(&journal, partition);
    err = broker_journal_append(&journal, -1, -1, &until);
    if (err != MR_OK)
        mr_log(MR_LOG_WARN, "broker", "share group %s: where it stands is not saved: %s",
               partition->group->group->id, mr_why());
    else if (end != NULL)
        *end = until;
    if (log != NULL)
        broker_log_changed(log);
    return err;
}

void broker_share_partition_watch(struct broker_share_partition *partition)
{
    struct mr_loop *loop = server_of(partition->group)->loop;
    int64_t lock_us = broker_share_partition_lock_us(partition), now_us = mr_loop_now_us(loop);

    if (lock_us == INT64_MAX)
        mr_timer_stop(&partition->lock);
    else
        mr_timer_start(loop, &partition->lock, lock_us > now_us ? lock_us - now_us : 0);
}

static void lock_ends(struct mr_timer *timer)
{
    struct broker_share_partition *partition = mr_container(timer, struct broker_share_partition,
                                                            lock);

    if (broker_share_partition_expire(partition, mr_loop_now_us(server_of(partition->group)->loop),
                                      broker_share_deliveries_max(server_of(partition->group))))
        broker_share_partition_save(partition, NULL);
    broker_share_partition_watch(partition);
}

struct broker_share_partition *broker_share_partition_make(struct broker_share_group *share,
                                                           const struct broker_place *place)
{
    struct broker_share_partition *partition = broker_share_partition_find(share, place);

    if (partition != NULL)
        return partition;
    partition = mr_new(struct broker_share_partition);
    partition->group = share;
    partition->place = *place;
    partition->start = BROKER_SHARE_NOWHERE;
    partition->lock.run = lock_ends;
    share->group->groups->share_partition_count++;
    mr_map_put(&share->partitions, place_key(place), partition);
    return partition;
}

void broker_share_partition_free(struct broker_share_partition *partition)
{
    mr_map_remove(&partition->group->partitions, place_key(&partition->place));
    partition->group->group->groups->share_partition_count--;
    broker_share_partition_fini(partition);
    mr_free(partition);
}

void broker_share_forget_topic(struct broker_groups *groups, const mr_uuid *topic)
{
    struct broker_journal journal;
    struct mr_map_entry *entry, *inner;
    int64_t end;

    broker_journal_begin(&journal,
                         broker_server_internal(groups->server, MR_STR("__share_group_state")));
    for (size_t i = 0; (entry = mr_map_next(&groups->by_id, &i)) != NULL;) {
        const struct broker_group *group = entry->value;
        if (group->share == NULL)
            continue;
        for (size_t j = 0; (inner = mr_map_next(&group->share->partitions, &j)) != NULL;) {
            struct broker_share_partition *partition = inner->value;
            if (memcmp(partition->place.topic.bytes, topic->bytes, 16) != 0)
                continue;
            broker_share_drop_partition(&journal, partition);
            broker_share_partition_free(partition);
        }
    }
    if (broker_journal_append(&journal, -1, -1, &end) != MR_OK)
        mr_log(MR_LOG_WARN, "broker", "what share groups had of a topic stays: %s", mr_why());
}

/* ---- members ---- */

static void text_set(char **text, mr_str value)
{
    mr_free(*text);
    *text = value.data == NULL ? NULL : mr_copy_cstr(value);
}

static void member_silent(struct mr_timer *timer);

struct broker_share_member *broker_share_member_make(struct broker_share_group *share, mr_str id)
{
    struct broker_share_member *member = mr_map_get(&share->members, id);

    if (member != NULL)
        return member;
    member = mr_new(struct broker_share_member);
    member->group = share;
    member->id = mr_copy_cstr(id);
    member->client_id = mr_copy_cstr(MR_STR(""));
    member->client_host = mr_copy_cstr(MR_STR(""));
    member->session.run = member_silent;
    mr_map_put(&share->members, id, member);
    return member;
}

void broker_share_member_set(struct broker_share_member *member,
                             const struct kafka_share_group_member_metadata_value *said)
{
    text_set(&member->rack_id, said->rack_id);
    text_set(&member->client_id, said->client_id.data == NULL ? MR_STR("") : said->client_id);
    text_set(&member->client_host, said->client_host.data == NULL ? MR_STR("") : said->client_host);
    broker_texts_set(&member->topics, said->subscribed_topic_names.items,
                     said->subscribed_topic_names.count);
}

void broker_share_member_free(struct broker_share_member *member)
{
    mr_timer_stop(&member->session);
    mr_map_remove(&member->group->members, mr_str_from(member->id));
    broker_texts_free(&member->topics);
    broker_places_fini(&member->assigned);
    broker_places_fini(&member->target);
    mr_free(member->id);
    mr_free(member->rack_id);
    mr_free(member->client_id);
    mr_free(member->client_host);
    mr_free(member);
}

/* ---- the group ---- */

struct broker_share_group *broker_share_group_make(struct broker_group *group)
{
    if (group->share == NULL) {
        group->share = mr_new(struct broker_share_group);
        group->share->group = group;
        group->groups->share_count++;
    }
    return group->share;
}

void broker_share_group_free(struct broker_share_group *share)
{
    struct mr_map_entry *entry;

    if (share == NULL)
        return;
    share->group->groups->share_count--;
    for (size_t i = 0; (entry = mr_map_next(&share->members, &i)) != NULL;)
        broker_share_member_free(entry->value);
    for (size_t i = 0; (entry = mr_map_next(&share->partitions, &i)) != NULL;)
        broker_share_partition_free(entry->value);
    mr_map_fini(&share->members);
    mr_map_fini(&share->partitions);
    mr_free(share);
}

void broker_share_group_delete(struct broker_share_group *share, struct broker_journal *journal)
{
    struct broker_journal states;
    struct mr_map_entry *entry;
    int64_t end;

    broker_journal_begin(&states, state_log(share));
    for (size_t i = 0; (entry = mr_map_next(&share->partitions, &i)) != NULL;)
        broker_share_drop_partition(&states, entry->value);
    if (broker_journal_append(&states, -1, -1, &end) != MR_OK)
        mr_log(MR_LOG_WARN, "broker", "share group %s: where it stood stays: %s", share->group->id,
               mr_why());
    broker_share_drop_group(journal, share);
}

const char *broker_share_group_state_name(const struct broker_share_group *share)
{
    return share->members.count == 0 ? "Empty" : "Stable";
}

static void journal_begin(const struct broker_share_group *share, struct broker_journal *journal)
{
    broker_journal_begin(journal,
                         broker_server_internal(server_of(share), MR_STR("__consumer_offsets")));
}

static void journal_end(const struct broker_share_group *share, struct broker_journal *journal)
{
    int64_t end;

    if (broker_journal_append(journal, -1, -1, &end) != MR_OK)
        mr_log(MR_LOG_WARN, "broker", "share group %s not saved: %s", share->group->id, mr_why());
}

/* ---- what the group reads ---- */

struct wanted {
    struct mr_arena arena;
    struct broker_assign_topic *topics; /* that are there, each once, by id */
    size_t count;
};

static int by_topic_id(const void *a, const void *b)
{
    return memcmp(((const struct broker_assign_topic *)a)->id.bytes,
                  ((const struct broker_assign_topic *)b)->id.bytes, 16);
}

static void wanted_init(struct wanted *wanted, const struct broker_share_group *share)
{
    struct broker_topics *topics = &server_of(share)->topics;
    struct mr_map_entry *entry;
    struct mr_map index = {0};

    *wanted = (struct wanted){0};
    mr_arena_init(&wanted->arena);
    for (size_t i = 0; (entry = mr_map_next(&share->members, &i)) != NULL;) {
        const struct broker_share_member *member = entry->value;
        for (size_t k = 0; k < member->topics.count; k++) {
            struct broker_topic *topic = broker_topics_find(topics,
                                                            mr_str_from(member->topics.items[k]));
            if (topic != NULL)
                mr_map_put(&index, mr_str_of(topic->id.bytes, 16), topic);
        }
    }
    wanted->topics = mr_arena_array(&wanted->arena, struct broker_assign_topic, index.count);
    for (size_t i = 0; (entry = mr_map_next(&index, &i)) != NULL;) {
        const struct broker_topic *topic = entry->value;
        wanted->topics[wanted->count++] = (struct broker_assign_topic){
            topic->id, (int32_t)topic->partitions.count};
    }
    if (wanted->count > 0)
        qsort(wanted->topics, wanted->count, sizeof(wanted->topics[0]), by_topic_id);
    mr_map_fini(&index);
}

/* Of ids and numbers of partitions; a topic that was deleted and made again has another id. */
static int64_t wanted_hash(const struct wanted *wanted)
{
    struct mr_buf buf = {0};
    int64_t hash;

    for (size_t i = 0; i < wanted->count; i++) {
        mr_buf_add(&buf, wanted->topics[i].id.bytes, 16);
        mr_buf_be32(&buf, (uint32_t)wanted->topics[i].partitions);
    }
    hash = wanted->count == 0 ? 0 : mr_murmur3_token(buf.data, buf.length);
    mr_buf_fini(&buf);
    return hash;
}

static int by_index(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

static void assign_member(struct wanted *wanted, const struct broker_share_member *member,
                          struct broker_assign_member *into)
{
    struct broker_topics *topics = &server_of(member->group)->topics;
    uint32_t *indexes = mr_arena_array(&wanted->arena, uint32_t, member->topics.count);

    into->id = mr_str_from(member->id);
    into->topics = indexes;
    for (size_t i = 0; i < member->topics.count; i++) {
        const struct broker_topic *topic = broker_topics_find(topics,
                                                              mr_str_from(member->topics.items[i]));
        struct broker_assign_topic key = {0};
        const struct broker_assign_topic *at;
        if (topic == NULL)
            continue;
        key.id = topic->id;
        at = bsearch(&key, wanted->topics, wanted->count, sizeof(key), by_topic_id);
        if (at != NULL)
            indexes[into->topic_count++] = (uint32_t)(at - wanted->topics);
    }
    if (into->topic_count > 0)
        qsort(indexes, into->topic_count, sizeof(indexes[0]), by_index);
}

/* Computes the target anew and saves what changed of it. */
static void target_update(struct broker_share_group *share, struct wanted *wanted,
                          struct broker_journal *journal)
{
    struct broker_assign assign = {
        .topics = wanted->topics, .topic_count = wanted->count, .arena = &wanted->arena};
    struct broker_places *after = mr_arena_array(&wanted->arena, struct broker_places,
                                                 share->members.count);
    struct mr_map_entry *entry;
    size_t at = 0;

    assign.members = mr_arena_array(&wanted->arena, struct broker_assign_member,
                                    share->members.count);
    for (size_t i = 0; (entry = mr_map_next(&share->members, &i)) != NULL;) {
        assign_member(wanted, entry->value, &assign.members[assign.member_count]);
        assign.members[assign.member_count].after = &after[assign.member_count];
        assign.member_count++;
    }
    broker_assignor_simple.assign(&assign);
    for (size_t i = 0; (entry = mr_map_next(&share->members, &i)) != NULL; at++) {
        struct broker_share_member *member = entry->value;
        if (broker_places_equal(&member->target, &after[at])) {
            broker_places_fini(&after[at]);
            continue;
        }
        broker_places_fini(&member->target);
        member->target = after[at];
        broker_share_save_target(journal, member);
    }
    share->target_epoch = share->epoch;
    broker_share_save_target_epoch(journal, share);
}

static bool has_topic(const struct broker_share_group *share, const mr_uuid *id)
{
    struct broker_place place = {*id, 0};

    return broker_share_partition_find(share, &place) != NULL;
}

/* Partitions that nobody of the group read yet get a state. In a topic that the group knows, a partition
 * that was added is read from its beginning, so that nothing written before now is passed over. */
static void partitions_begin(struct broker_share_group *share, const struct wanted *wanted)
{
    int64_t now_ms = broker_storage_now_ms(&server_of(share)->storage), end;
    struct broker_journal journal;

    broker_journal_begin(&journal, state_log(share));
    for (size_t i = 0; i < wanted->count; i++) {
        bool known = has_topic(share, &wanted->topics[i].id);
        for (int32_t p = 0; p < wanted->topics[i].partitions; p++) {
            struct broker_place place = {wanted->topics[i].id, p};
            struct broker_share_partition *partition;
            if (broker_share_partition_find(share, &place) != NULL)
                continue;
            if (share->group->groups->share_partition_count >= MR_LIMIT_BROKER_SHARE_PARTITIONS) {
                mr_log(MR_LOG_WARN, "broker",
                       "share group %s: some partitions are not read: "
                       "share groups stand in %lld already",
                       share->group->id, (long long)MR_LIMIT_BROKER_SHARE_PARTITIONS);
                goto out;
            }
            partition = broker_share_partition_make(share, &place);
            partition->start = known ? 0 : BROKER_SHARE_NOWHERE;
            partition->state_epoch = share->epoch;
            partition->created_ms = now_ms;
            broker_share_save_partition(&journal, partition);
        }
    }
out:
    if (broker_journal_append(&journal, -1, -1, &end) != MR_OK)
        mr_log(MR_LOG_WARN, "broker", "share group %s: its partitions are not saved: %s",
               share->group->id, mr_why());
}

/* Looks at the topics again where they may have changed, and assigns anew where something did. */
static void group_update(struct broker_share_group *share, bool changed,
                         struct broker_journal *journal)
{
    struct broker_topics *topics = &server_of(share)->topics;
    struct wanted wanted;
    int64_t hash;

    if (!changed && share->topics_seen == topics->changes && share->epoch == share->target_epoch)
        return;
    share->topics_seen = topics->changes;
    wanted_init(&wanted, share);
    hash = wanted_hash(&wanted);
    if (changed || hash != share->topics_hash) {
        share->topics_hash = hash;
        share->epoch++;
        broker_share_save_epoch(journal, share);
    }
    partitions_begin(share, &wanted);
    if (share->epoch != share->target_epoch)
        target_update(share, &wanted, journal);
    mr_arena_fini(&wanted.arena);
}

/* ---- members go ---- */

static void session_restart(struct broker_share_member *member)
{
    mr_timer_start(server_of(member->group)->loop, &member->session,
                   (int64_t)broker_share_group_config(member->group)->share_session_ms * 1000);
}

static void member_remove(struct broker_share_member *member)
{
    struct broker_share_group *share = member->group;
    struct broker_journal journal;

    journal_begin(share, &journal);
    broker_share_drop_member(&journal, member);
    broker_share_member_free(member);
    share->group->changed_ms = broker_storage_now_ms(&server_of(share)->storage);
    group_update(share, true, &journal);
    journal_end(share, &journal);
}

static void member_silent(struct mr_timer *timer)
{
    struct broker_share_member *member = mr_container(timer, struct broker_share_member, session);

    mr_log(MR_LOG_INFO, "broker", "share group %s: member %s fell silent", member->group->group->id,
           member->id);
    member_remove(member);
}

/* Verdicts on records that a loss of power took from the log are not those of the next ones there. */
static void partition_restart(struct broker_share_partition *partition)
{
    struct broker_topics *topics = &partition->group->group->groups->server->topics;
    const struct broker_topic *topic = broker_topics_find_id(topics, &partition->place.topic);
    const struct broker_partition *found = topic == NULL ? NULL
                                                         : broker_topics_partition(
                                                               topics, mr_str_from(topic->name),
                                                               partition->place.partition);

    if (found == NULL || found->log == NULL ||
        !broker_share_partition_trim(partition, found->log->end))
        return;
    if (broker_share_partition_save(partition, NULL) != MR_OK)
        mr_log(MR_LOG_ERROR, "broker", "share group %s: its state is not saved: %s",
               partition->group->group->id, mr_why());
}

void broker_share_group_start(struct broker_share_group *share)
{
    struct mr_map_entry *entry;

    for (size_t i = 0; (entry = mr_map_next(&share->members, &i)) != NULL;)
        session_restart(entry->value);
    for (size_t i = 0; (entry = mr_map_next(&share->partitions, &i)) != NULL;)
        partition_restart(entry->value);
}

/* ---- heartbeats ---- */

static void beat_fail(struct broker_request *request, int16_t code, mr_str message)
{
    struct kafka_share_group_heartbeat_response *out = request->out;

    wire_reset(request->api->response(), out);
    out->error_code = code;
    out->error_message = message.data != NULL ? message
                                              : broker_server_text(request, kafka_error_text(code));
    broker_server_answer(request);
}

static bool is_too_large(const struct kafka_share_group_heartbeat_request *in)
{
    size_t bytes = in->member_id.length + in->rack_id.length;

    for (int32_t i = 0; i < in->subscribed_topic_names.count; i++)
        bytes += in->subscribed_topic_names.items[i].length + 1;
    return bytes > MR_LIMIT_BROKER_MEMBER_BYTES || in->group_id.length > INT16_MAX ||
           in->member_id.length > INT16_MAX;
}

static int16_t beat_check(struct broker_request *request, mr_str *why)
{
    const struct kafka_share_group_heartbeat_request *in = request->in;

    if (!request->server->ready)
        return KAFKA_ERROR_COORDINATOR_LOAD_IN_PROGRESS;
    if (mr_str_trim(in->member_id).length == 0)
        *why = MR_STR("MemberId can't be empty.");
    else if (mr_str_trim(in->group_id).length == 0)
        *why = MR_STR("GroupId can't be empty.");
    else if (in->rack_id.data != NULL && mr_str_trim(in->rack_id).length == 0)
        *why = MR_STR("RackId can't be empty.");
    else if (is_too_large(in))
        *why = MR_STR("The member's metadata is too large.");
    else if (in->member_epoch == BROKER_SHARE_JOINS && in->subscribed_topic_names.count <= 0)
        *why = MR_STR("SubscribedTopicNames must be set in first request.");
    else if (in->member_epoch < BROKER_SHARE_LEAVES)
        *why = MR_STR("MemberEpoch is invalid.");
    return why->data == NULL ? KAFKA_ERROR_NONE : KAFKA_ERROR_INVALID_REQUEST;
}

/* The group, made by who joins. A name that another kind of group has is taken. */
static int16_t beat_group(struct broker_request *request, struct broker_share_group **out,
                          mr_str *why)
{
    const struct kafka_share_group_heartbeat_request *in = request->in;
    struct broker_groups *groups = &request->server->groups;
    struct broker_group *group = broker_group_find(groups, in->group_id);

    if (group != NULL && group->share != NULL) {
        *out = group->share;
        return KAFKA_ERROR_NONE;
    }
    if (group != NULL || in->member_epoch != BROKER_SHARE_JOINS) {
        *why = mr_arena_printf(&request->arena, "Group %.*s %s.", MR_STR_ARG(in->group_id),
                               group == NULL ? "not found" : "is not a share group");
        return KAFKA_ERROR_GROUP_ID_NOT_FOUND;
    }
    if (groups->share_count >= MR_LIMIT_BROKER_SHARE_GROUPS) {
        *why = MR_STR("There are as many share groups as there may be.");
        return KAFKA_ERROR_GROUP_MAX_SIZE_REACHED;
    }
    *out = broker_share_group_make(broker_group_make(groups, in->group_id));
    return KAFKA_ERROR_NONE;
}

/* The member, made when it joins. A member that missed the answer with its newest epoch comes with the
 * one before. */
static int16_t beat_member(struct broker_share_group *share,
                           const struct kafka_share_group_heartbeat_request *in,
                           struct broker_share_member **out, bool *joins)
{
    struct broker_share_member *member = mr_map_get(&share->members, in->member_id);

    *joins = member == NULL;
    if (member == NULL && in->member_epoch != BROKER_SHARE_JOINS)
        return KAFKA_ERROR_UNKNOWN_MEMBER_ID;
    if (member == NULL &&
        share->members.count >=
            (size_t)broker_server_number(server_of(share), BROKER_NODE_group_share_max_size))
        return KAFKA_ERROR_GROUP_MAX_SIZE_REACHED;
    if (member != NULL && in->member_epoch > 0 && in->member_epoch != member->epoch &&
        in->member_epoch != member->previous_epoch)
        return KAFKA_ERROR_FENCED_MEMBER_EPOCH;
    *out = broker_share_member_make(share, in->member_id);
    return KAFKA_ERROR_NONE;
}

/* What is null in a heartbeat is as it was. True: it wants other topics than before. */
static bool member_update(struct broker_request *request, struct broker_share_member *member,
                          bool joins, struct broker_journal *journal)
{
    const struct kafka_share_group_heartbeat_request *in = request->in;
    mr_str client_id = request->header.client_id;
    bool subscribed = joins, changed = joins;
    char host[300];

    if (in->subscribed_topic_names.count >= 0 &&
        broker_texts_set(&member->topics, in->subscribed_topic_names.items,
                         in->subscribed_topic_names.count))
        subscribed = changed = true;
    if (in->rack_id.data != NULL && !mr_str_equal(mr_str_from(member->rack_id), in->rack_id)) {
        text_set(&member->rack_id, in->rack_id);
        changed = true;
    }
    snprintf(host, sizeof(host), "/%s", request->conn == NULL ? "" : request->conn->peer.host);
    if (!mr_str_equal(mr_str_from(member->client_host), mr_str_from(host)) ||
        !mr_str_equal(mr_str_from(member->client_id), client_id)) {
        text_set(&member->client_host, mr_str_from(host));
        text_set(&member->client_id, client_id.data == NULL ? MR_STR("") : client_id);
        changed = true;
    }
    if (changed)
        broker_share_save_member(journal, member);
    return subscribed;
}

/* The member is at the target. True: it reads something else than before. */
static bool member_step(struct broker_share_member *member, struct broker_journal *journal)
{
    bool moved = !broker_places_equal(&member->assigned, &member->target);

    if (!moved && member->epoch == member->group->target_epoch)
        return false;
    member->previous_epoch = member->epoch;
    member->epoch = member->group->target_epoch;
    broker_places_copy(&member->assigned, &member->target);
    broker_share_save_current(journal, member);
    return moved;
}

static void beat_answer(struct broker_request *request, const struct broker_share_member *member,
                        bool full)
{
    struct kafka_share_group_heartbeat_response *out = request->out;

    out->member_id = broker_server_text(request, member->id);
    out->member_epoch = member->epoch;
    out->heartbeat_interval_ms = broker_share_group_config(member->group)->share_heartbeat_ms;
    if (full) {
        out->assignment = mr_arena_new(&request->arena,
                                       struct kafka_consumer_group_heartbeat_assignment);
        out->assignment->topic_partitions.items = broker_consumer_partitions(
            &request->arena, &member->assigned, &out->assignment->topic_partitions.count);
    }
    broker_server_answer(request);
}

static void beat_leave(struct broker_request *request, struct broker_share_group *share)
{
    const struct kafka_share_group_heartbeat_request *in = request->in;
    struct kafka_share_group_heartbeat_response *out = request->out;
    struct broker_share_member *member = mr_map_get(&share->members, in->member_id);

    if (member == NULL) {
        beat_fail(request, KAFKA_ERROR_UNKNOWN_MEMBER_ID, MR_STR_NULL);
        return;
    }
    member_remove(member);
    out->member_id = in->member_id;
    out->member_epoch = BROKER_SHARE_LEAVES;
    broker_server_answer(request);
}

void broker_share_share_group_heartbeat(struct broker_request *request)
{
    const struct kafka_share_group_heartbeat_request *in = request->in;
    struct broker_share_group *share = NULL;
    struct broker_share_member *member = NULL;
    struct broker_journal journal;
    mr_str why = MR_STR_NULL;
    bool joins = false, moved;
    int16_t code = beat_check(request, &why);

    if (code == KAFKA_ERROR_NONE)
        code = beat_group(request, &share, &why);
    if (code == KAFKA_ERROR_NONE && in->member_epoch == BROKER_SHARE_LEAVES) {
        beat_leave(request, share);
        return;
    }
    if (code == KAFKA_ERROR_NONE)
        code = beat_member(share, in, &member, &joins);
    if (code != KAFKA_ERROR_NONE) {
        beat_fail(request, code, why);
        return;
    }
    journal_begin(share, &journal);
    group_update(share, member_update(request, member, joins, &journal), &journal);
    session_restart(member);
    moved = member_step(member, &journal);
    journal_end(share, &journal);
    beat_answer(request, member, moved || in->member_epoch == BROKER_SHARE_JOINS);
}
