/* broker/migration.c: a group that changes its protocol while it has members (KIP-848).
 *
 *             a member of the consumer protocol joins: broker_migration_upgrade()
 *   CLASSIC --------------------------------------------------------------------> MIXED, then CONSUMER once
 *           <--------------------------------------------------------------------       all have restarted
 *             the last one of them goes: broker_migration_downgrade(); or a static
 *             member of the classic protocol takes its place: join_end()
 *
 * A mixed group is one of the consumer protocol in all: the broker assigns, three epochs keep order, partitions
 * belong to one member at a time (consumer_group.c). A member that speaks the classic protocol has `classic` beside
 * it, and its generation is its epoch. For it a step towards its target is one round of the classic protocol:
 *
 *   Heartbeat --- it is behind, has to give back, or what it waits for is free ---> REBALANCE_IN_PROGRESS
 *       JoinGroup: says what it owns, takes the step, hears its epoch; nobody waits for others, nobody leads
 *       SyncGroup: hears what it may use now; where that lacks something, its client gives it back and joins again
 *
 * It is gone when it is silent for its own session time-out, does not join within its rebalance time-out once it was
 * told to, or does not sync within that time once it has joined.
 *
 * Each conversion is one batch in __consumer_offsets: tombstones for what the group was, records of what it is. */
#include "broker/server.h"

int broker_migration_policy(mr_str word)
{
    static const struct {
        const char *word;
        int ways;
    } policies[] = {{"bidirectional", BROKER_MIGRATION_UPGRADE | BROKER_MIGRATION_DOWNGRADE},
                    {"upgrade", BROKER_MIGRATION_UPGRADE},
                    {"downgrade", BROKER_MIGRATION_DOWNGRADE},
                    {"disabled", 0}};

    for (size_t i = 0; i < mr_count_of(policies); i++)
        if (mr_str_equal_nocase(word, mr_str_from(policies[i].word)))
            return policies[i].ways;
    return -1;
}

static bool is_allowed(const struct broker_group *group, int way)
{
    const char *policy = broker_node_value(&group->groups->server->node,
                                           BROKER_NODE_group_consumer_migration_policy);
    return (broker_migration_policy(mr_str_from(policy)) & way) != 0;
}

/* ---- what members of the classic protocol say and are told: ConsumerProtocolSubscription and -Assignment ---- */

struct subscription {
    mr_str *topics;
    int32_t topic_count;
    mr_str rack_id; /* null: it did not say */
    struct broker_places owned;
};

/* The number of things to come, each of at least so many bytes. */
static int32_t count_read(struct mr_in *in, size_t bytes_min)
{
    uint32_t count = mr_in_be32(in);

    if (count > mr_in_left(in) / bytes_min)
        mr_in_fail(in);
    return in->err == MR_OK ? (int32_t)count : 0;
}

/* Partitions by name; topics that are not there are left out. */
static void places_read(struct mr_in *in, struct broker_topics *topics, struct broker_places *into)
{
    for (int32_t count = count_read(in, 6); count > 0 && in->err == MR_OK; count--) {
        mr_str name = mr_in_take(in, mr_in_be16(in));
        const struct broker_topic *topic = broker_topics_find(topics, name);
        for (int32_t left = count_read(in, 4); left > 0; left--) {
            int32_t partition = (int32_t)mr_in_be32(in);
            if (topic != NULL)
                broker_places_add(into, &topic->id, partition);
        }
    }
    broker_places_sort(into);
}

/* True when it had some. */
static bool user_data_skip(struct mr_in *in)
{
    uint32_t length = mr_in_be32(in);

    if (length == UINT32_MAX)
        return false;
    mr_in_take(in, length);
    return length > 0;
}

static bool subscription_read(mr_str said, struct broker_topics *topics, struct mr_arena *arena,
                              struct subscription *out)
{
    struct mr_in in = mr_in_str(said);
    int16_t version = (int16_t)mr_in_be16(&in);
    uint16_t length;

    *out = (struct subscription){.topic_count = count_read(&in, 2)};
    out->topics = mr_arena_array(arena, mr_str, (size_t)out->topic_count);
    for (int32_t i = 0; i < out->topic_count; i++)
        out->topics[i] = mr_in_take(&in, mr_in_be16(&in));
    user_data_skip(&in);
    if (version >= 1)
        places_read(&in, topics, &out->owned);
    if (version >= 2)
        mr_in_be32(&in); /* the generation in which it owned them */
    if (version >= 3) {
        length = mr_in_be16(&in);
        out->rack_id = length == UINT16_MAX ? MR_STR_NULL : mr_in_take(&in, length);
    }
    return in.err == MR_OK && version >= 0;
}

/* A member that has not been given anything yet has an empty assignment, or none. */
static bool assignment_read(const struct mr_bytes *given, struct broker_topics *topics,
                            struct broker_places *into, bool *user_data)
{
    struct mr_in in;
    int16_t version;

    *user_data = false;
    if (given == NULL || given->length == 0)
        return true;
    in = mr_in_of(given->data, given->length);
    version = (int16_t)mr_in_be16(&in);
    places_read(&in, topics, into);
    *user_data = user_data_skip(&in);
    return in.err == MR_OK && version >= 0;
}

/* In the version in which the member spoke; topics that are gone have no name, and are left out. */
static void assignment_print(const struct broker_places *places, struct broker_topics *topics,
                             mr_str said, struct mr_buf *out)
{
    struct mr_in version = mr_in_str(said);
    struct mr_arena arena;
    struct kafka_consumer_group_partitions *rows;
    int32_t count, known = 0;

    mr_arena_init(&arena);
    rows = broker_consumer_partitions(&arena, places, &count);
    for (int32_t i = 0; i < count; i++)
        known += broker_topics_find_id(topics, &rows[i].topic_id) != NULL;
    mr_buf_be16(out, mr_in_be16(&version));
    mr_buf_be32(out, (uint32_t)known);
    for (int32_t i = 0; i < count; i++) {
        const struct broker_topic *topic = broker_topics_find_id(topics, &rows[i].topic_id);
        if (topic == NULL)
            continue;
        mr_buf_be16(out, (uint16_t)strlen(topic->name));
        mr_buf_str(out, mr_str_from(topic->name));
        mr_buf_be32(out, (uint32_t)rows[i].partitions.count);
        for (int32_t j = 0; j < rows[i].partitions.count; j++)
            mr_buf_be32(out, (uint32_t)rows[i].partitions.items[j]);
    }
    mr_buf_be32(out, UINT32_MAX); /* no user data */
    mr_arena_fini(&arena);
}

static mr_str said_of(const struct broker_migration_classic *classic)
{
    const struct mr_bytes *said = classic->protocols.items[0].metadata;
    return mr_str_of(said->data, said->length);
}

static struct broker_topics *topics_of(const struct broker_group *group)
{
    return &group->groups->server->topics;
}

/* ---- members ---- */

static void join_late(struct mr_timer *timer)
{
    struct broker_migration_classic *classic = mr_container(timer, struct broker_migration_classic,
                                                            join);
    mr_log(MR_LOG_INFO, "broker", "group %s: member %s did not join again in %d ms",
           classic->member->group->group->id, classic->member->id,
           classic->member->rebalance_timeout_ms);
    broker_consumer_member_remove(classic->member);
}

static void sync_late(struct mr_timer *timer)
{
    struct broker_migration_classic *classic = mr_container(timer, struct broker_migration_classic,
                                                            sync);
    mr_log(MR_LOG_INFO, "broker", "group %s: member %s joined and did not sync in %d ms",
           classic->member->group->group->id, classic->member->id,
           classic->member->rebalance_timeout_ms);
    broker_consumer_member_remove(classic->member);
}

static void rebalance_timer_start(struct mr_timer *timer,
                                  const struct broker_consumer_member *member)
{
    mr_timer_start(member->group->group->groups->server->loop, timer,
                   (int64_t)member->rebalance_timeout_ms * 1000);
}

void broker_migration_speak(struct broker_consumer_member *member,
                            const struct kafka_consumer_group_classic_member *said)
{
    struct broker_migration_classic *classic = member->classic;

    if (said == NULL || said->supported_protocols.count <= 0) {
        if (classic == NULL)
            return;
        mr_timer_stop(&classic->join);
        mr_timer_stop(&classic->sync);
        broker_group_protocols_clear(&classic->protocols);
        mr_free(classic);
        member->classic = NULL;
        return;
    }
    if (classic == NULL) {
        classic = member->classic = mr_new(struct broker_migration_classic);
        classic->member = member;
        classic->join.run = join_late;
        classic->sync.run = sync_late;
    }
    classic->session_timeout_ms = said->session_timeout_ms;
    broker_group_protocols_clear(&classic->protocols);
    for (int32_t i = 0; i < said->supported_protocols.count; i++)
        broker_group_protocols_add(&classic->protocols, said->supported_protocols.items[i].name,
                                   said->supported_protocols.items[i].metadata);
}

static struct kafka_consumer_group_classic_member *
said_new(int32_t session_timeout_ms, const struct broker_group_protocols *protocols,
         struct mr_arena *arena)
{
    struct kafka_consumer_group_classic_member *said = mr_arena_new(
        arena, struct kafka_consumer_group_classic_member);

    said->session_timeout_ms = session_timeout_ms;
    said->supported_protocols.count = (int32_t)protocols->count;
    said->supported_protocols.items = mr_arena_array(
        arena, struct kafka_consumer_group_classic_protocol, protocols->count);
    for (size_t i = 0; i < protocols->count; i++)
        said->supported_protocols.items[i] = (struct kafka_consumer_group_classic_protocol){
            mr_str_from(protocols->items[i].name),
            mr_str_of(protocols->items[i].metadata->data, protocols->items[i].metadata->length)};
    return said;
}

struct kafka_consumer_group_classic_member *
broker_migration_said(const struct broker_consumer_member *member, struct mr_arena *arena)
{
    return member->classic == NULL
               ? NULL
               : said_new(member->classic->session_timeout_ms, &member->classic->protocols, arena);
}

static size_t classic_count(const struct broker_consumer_group *consumer)
{
    struct mr_map_entry *entry;
    size_t count = 0;

    for (size_t i = 0; (entry = mr_map_next(&consumer->members, &i)) != NULL;)
        count += ((const struct broker_consumer_member *)entry->value)->classic != NULL;
    return count;
}

/* ---- classic to consumer ---- */

struct convert {
    const struct broker_group_member *from;
    struct subscription said;
    struct broker_places assigned;
};

/* All are read before anything changes. */
static mr_str converts_read(struct broker_group *group, struct mr_arena *arena,
                            struct convert *converts)
{
    for (size_t i = 0; i < group->members.count; i++) {
        struct convert *convert = &converts[i];
        bool user_data;
        convert->from = group->members.items[i];
        if (!subscription_read(broker_group_member_said(convert->from), topics_of(group), arena,
                               &convert->said) ||
            !assignment_read(convert->from->assignment, topics_of(group), &convert->assigned,
                             &user_data))
            return mr_arena_printf(arena,
                                   "Cannot upgrade classic group %s to consumer group because the "
                                   "embedded consumer protocol is malformed.",
                                   group->id);
        if (user_data)
            return mr_arena_printf(
                arena,
                "Cannot upgrade classic group %s to consumer group because an unsupported custom "
                "assignor is in use. Please refer to the documentation or switch to a default "
                "assignor before re-attempting the upgrade.",
                group->id);
    }
    return MR_STR_NULL;
}

static void convert_member(struct broker_consumer_group *consumer, const struct convert *convert,
                           struct mr_arena *arena)
{
    const struct broker_group_member *from = convert->from;
    struct broker_consumer_member *member = broker_consumer_member_make(consumer,
                                                                        mr_str_from(from->id));
    struct kafka_consumer_group_member_metadata_value said = {
        .rack_id = convert->said.rack_id,
        .client_id = mr_str_from(from->client_id),
        .client_host = mr_str_from(from->client_host),
        .subscribed_topic_names = {convert->said.topics, convert->said.topic_count},
        .rebalance_timeout_ms = from->rebalance_timeout_ms,
        .classic_member_metadata = said_new(from->session_timeout_ms, &from->protocols, arena),
    };

    broker_consumer_member_set_instance(member, mr_str_from(from->instance_id));
    broker_consumer_member_set(member, &said);
    broker_places_copy(&member->assigned, &convert->assigned);
    broker_places_copy(&member->target, &convert->assigned);
    member->epoch = member->previous_epoch = consumer->epoch;
    broker_consumer_session_restart(member);
}

static void group_save(const struct broker_consumer_group *consumer, struct broker_journal *journal)
{
    struct mr_map_entry *entry;

    broker_consumer_save_epoch(journal, consumer);
    broker_consumer_save_target_epoch(journal, consumer);
    for (size_t i = 0; (entry = mr_map_next(&consumer->members, &i)) != NULL;) {
        broker_consumer_save_member(journal, entry->value);
        broker_consumer_save_target(journal, entry->value);
        broker_consumer_save_current(journal, entry->value);
    }
}

static mr_str upgrade_check(const struct broker_group *group, struct mr_arena *arena)
{
    const char *reason = NULL;

    if (!is_allowed(group, BROKER_MIGRATION_UPGRADE))
        reason = "online upgrade is disabled";
    else if (group->protocol_type == NULL || strcmp(group->protocol_type, "consumer") != 0)
        reason = "the group does not use the consumer embedded protocol";
    else if (group->members.count > (size_t)broker_server_number(
                                        group->groups->server, BROKER_NODE_group_consumer_max_size))
        reason = "the group size exceeds the consumer group maximum size";
    return reason == NULL ? MR_STR_NULL
                          : mr_arena_printf(arena,
                                            "Cannot upgrade classic group %s to consumer group "
                                            "because %s.",
                                            group->id, reason);
}

int16_t broker_migration_upgrade(struct broker_group *group, struct mr_arena *arena, mr_str *why)
{
    struct convert *converts = mr_arena_array(arena, struct convert, group->members.count);
    size_t count = group->members.count;
    struct broker_consumer_group *consumer;
    struct broker_journal journal;

    *why = upgrade_check(group, arena);
    if (why->data == NULL)
        *why = converts_read(group, arena, converts);
    if (why->data == NULL) {
        broker_group_let_go(group, KAFKA_ERROR_REBALANCE_IN_PROGRESS);
        broker_consumer_journal_begin(group, &journal);
        consumer = broker_consumer_group_make(group);
        consumer->epoch = consumer->target_epoch = group->generation;
        for (size_t i = 0; i < count; i++)
            convert_member(consumer, &converts[i], arena);
        broker_consumer_group_look(consumer);
        broker_group_end_classic(group, &journal);
        group_save(consumer, &journal);
        broker_consumer_journal_end(group, &journal);
        mr_log(MR_LOG_INFO, "broker",
               "group %s: from the classic to the consumer protocol, %zu members", group->id,
               count);
    }
    for (size_t i = 0; i < count; i++) {
        broker_places_fini(&converts[i].said.owned);
        broker_places_fini(&converts[i].assigned);
    }
    return why->data == NULL ? KAFKA_ERROR_NONE : KAFKA_ERROR_GROUP_ID_NOT_FOUND;
}

/* ---- consumer to classic ---- */

static void adopt(struct broker_group *group, struct broker_consumer_member *from)
{
    struct broker_group_member *member = broker_group_adopt(group, mr_str_from(from->id),
                                                            mr_str_from(from->instance_id));
    struct mr_buf assignment = {0};

    assignment_print(&from->target, topics_of(group), said_of(from->classic), &assignment);
    member->client_id = mr_copy_cstr(mr_str_from(from->client_id));
    member->client_host = mr_copy_cstr(mr_str_from(from->client_host));
    member->rebalance_timeout_ms = from->rebalance_timeout_ms;
    member->session_timeout_ms = from->classic->session_timeout_ms;
    member->protocols = from->classic->protocols;
    from->classic->protocols = (struct broker_group_protocols){0};
    member->assignment = mr_bytes_copy(assignment.data, assignment.length);
    mr_buf_fini(&assignment);
}

/* All but `leaving` (NULL: all) go on in a classic group. */
static void become_classic(struct broker_consumer_group *consumer,
                           const struct broker_consumer_member *leaving,
                           struct broker_journal *journal)
{
    struct broker_group *group = consumer->group;
    struct mr_map_entry *entry;

    broker_consumer_drop_group(journal, consumer);
    for (size_t i = 0; (entry = mr_map_next(&consumer->members, &i)) != NULL;)
        if (entry->value != leaving)
            adopt(group, entry->value);
    broker_group_begin_classic(group, consumer->epoch, journal);
    group->consumer = NULL;
    broker_consumer_group_free(consumer);
    mr_log(MR_LOG_INFO, "broker",
           "group %s: from the consumer to the classic protocol, %zu members", group->id,
           group->members.count);
}

static bool may_downgrade(const struct broker_consumer_group *consumer, size_t members)
{
    return members > 0 && classic_count(consumer) == members &&
           is_allowed(consumer->group, BROKER_MIGRATION_DOWNGRADE) &&
           members <= (size_t)broker_server_number(consumer->group->groups->server,
                                                   BROKER_NODE_group_max_size);
}

bool broker_migration_downgrade(struct broker_consumer_member *leaving)
{
    struct broker_consumer_group *consumer = leaving->group;
    struct broker_group *group = consumer->group;
    struct broker_journal journal;

    if (leaving->classic != NULL || !may_downgrade(consumer, consumer->members.count - 1))
        return false;
    broker_consumer_journal_begin(group, &journal);
    become_classic(consumer, leaving, &journal);
    broker_consumer_journal_end(group, &journal);
    broker_group_rebalance(group);
    return true;
}

/* ---- JoinGroup ---- */

struct join {
    struct broker_request *request;
    const struct kafka_join_group_request *in;
    struct broker_consumer_group *consumer;
    struct broker_consumer_member *member;
    struct subscription said;
    struct broker_journal journal;
    bool subscribed; /* is new, or wants other topics than before */
    bool replaces;   /* took the place of a member of the consumer protocol */
};

/* Whether one of the strategies is one of all members that speak the classic protocol. */
static bool protocols_fit(const struct broker_consumer_group *consumer,
                          const struct kafka_join_group_request *in)
{
    struct mr_map_entry *entry;

    for (int32_t p = 0; p < in->protocols.count; p++) {
        bool fits = true;
        for (size_t i = 0; fits && (entry = mr_map_next(&consumer->members, &i)) != NULL;) {
            const struct broker_migration_classic *classic =
                ((const struct broker_consumer_member *)entry->value)->classic;
            fits = classic == NULL;
            for (size_t j = 0; !fits && j < classic->protocols.count; j++)
                fits = mr_str_equal(mr_str_from(classic->protocols.items[j].name),
                                    in->protocols.items[p].name);
        }
        if (fits)
            return true;
    }
    return false;
}

static int16_t join_check(struct join *join)
{
    const struct kafka_join_group_request *in = join->in;
    bool known = broker_consumer_member_find(join->consumer, in->member_id) != NULL;

    if (!known && broker_consumer_group_is_full(join->consumer))
        return KAFKA_ERROR_GROUP_MAX_SIZE_REACHED;
    if (!mr_str_equal(in->protocol_type, MR_STR("consumer")) || !protocols_fit(join->consumer, in))
        return KAFKA_ERROR_INCONSISTENT_GROUP_PROTOCOL;
    if (in->member_id.length == 0 && in->group_instance_id.data == NULL &&
        join->request->header.request_api_version >= 4)
        return KAFKA_ERROR_MEMBER_ID_REQUIRED;
    return subscription_read(in->protocols.items[0].metadata, topics_of(join->consumer->group),
                             &join->request->arena, &join->said)
               ? KAFKA_ERROR_NONE
               : KAFKA_ERROR_INCONSISTENT_GROUP_PROTOCOL;
}

/* A dynamic member may come with any id: the broker keeps none of those that it gives out. */
static int16_t join_member(struct join *join, mr_str id)
{
    struct broker_consumer_group *consumer = join->consumer;
    mr_str instance = join->in->group_instance_id;
    struct broker_consumer_member *of_instance = mr_map_get(&consumer->instances, instance);

    if (instance.data == NULL) {
        join->member = broker_consumer_member_find(consumer, id);
    } else if (join->in->member_id.length > 0) {
        if (of_instance == NULL)
            return KAFKA_ERROR_UNKNOWN_MEMBER_ID;
        if (!mr_str_equal(mr_str_from(of_instance->id), id))
            return KAFKA_ERROR_FENCED_INSTANCE_ID;
        join->member = of_instance;
    } else if (of_instance != NULL) {
        join->replaces = of_instance->classic == NULL;
        join->member = broker_consumer_take_over(of_instance, id, &join->journal);
    }
    if (join->member == NULL) {
        join->member = broker_consumer_member_make(consumer, id);
        broker_consumer_member_set_instance(join->member, instance);
        join->subscribed = true;
    }
    return KAFKA_ERROR_NONE;
}

static bool speaks_alike(const struct broker_migration_classic *classic,
                         const struct kafka_join_group_request *in)
{
    if (classic == NULL || classic->session_timeout_ms != in->session_timeout_ms ||
        (int32_t)classic->protocols.count != in->protocols.count)
        return false;
    for (size_t i = 0; i < classic->protocols.count; i++) {
        const struct broker_group_protocol *own = &classic->protocols.items[i];
        if (!mr_str_equal(mr_str_from(own->name), in->protocols.items[i].name) ||
            !mr_str_equal(mr_str_of(own->metadata->data, own->metadata->length),
                          in->protocols.items[i].metadata))
            return false;
    }
    return true;
}

/* What it says replaces what was known of it; it has no pattern and wishes for no assignor. */
static void join_update(struct join *join)
{
    const struct kafka_join_group_request *in = join->in;
    struct broker_consumer_member *member = join->member;
    bool heard = broker_consumer_member_hear(member, join->request);
    struct kafka_consumer_group_classic_protocol *protocols = mr_arena_array(
        &join->request->arena, struct kafka_consumer_group_classic_protocol,
        (size_t)in->protocols.count);
    struct kafka_consumer_group_classic_member classic = {
        .session_timeout_ms = in->session_timeout_ms};
    struct kafka_consumer_group_member_metadata_value said = {
        .rack_id = join->said.rack_id,
        .client_id = broker_server_text(join->request, member->client_id),
        .client_host = broker_server_text(join->request, member->client_host),
        .subscribed_topic_names = {join->said.topics, join->said.topic_count},
        .rebalance_timeout_ms = in->rebalance_timeout_ms > 0 ? in->rebalance_timeout_ms
                                                             : in->session_timeout_ms,
        .classic_member_metadata = &classic,
    };
    bool changed = heard || join->subscribed || !speaks_alike(member->classic, in) ||
                   said.rebalance_timeout_ms != member->rebalance_timeout_ms;

    for (int32_t i = 0; i < in->protocols.count; i++)
        protocols[i] = (struct kafka_consumer_group_classic_protocol){
            in->protocols.items[i].name, in->protocols.items[i].metadata};
    classic.supported_protocols.items = protocols;
    classic.supported_protocols.count = in->protocols.count;
    if (said.rack_id.data == NULL && member->rack_id != NULL)
        said.rack_id = broker_server_text(join->request, member->rack_id);
    if (member->regex != NULL ||
        broker_texts_set(&member->topics, join->said.topics, join->said.topic_count))
        join->subscribed = true;
    broker_consumer_member_set(member, &said);
    if (changed || join->subscribed)
        broker_consumer_save_member(&join->journal, member);
}

/* Answers, in the group that it is then: where the place of the last member of the consumer protocol was taken, a
 * classic one. That is stable, and what the member has been given waits for its SyncGroup, unless it wants other topics. */
static void join_end(struct join *join)
{
    struct kafka_join_group_response *out = join->request->out;
    struct broker_consumer_member *member = join->member;
    struct broker_group *group = join->consumer->group;

    mr_timer_stop(&member->classic->join);
    rebalance_timer_start(&member->classic->sync, member);
    broker_consumer_session_restart(member);
    out->generation_id = member->epoch;
    out->member_id = broker_server_text(join->request, member->id);
    out->protocol_name = broker_server_text(join->request,
                                            member->classic->protocols.items[0].name);
    out->protocol_type = MR_STR("consumer");
    if (join->replaces && may_downgrade(join->consumer, join->consumer->members.count)) {
        become_classic(join->consumer, NULL, &join->journal);
        out->generation_id = group->generation;
        out->protocol_name = broker_server_text(join->request, group->protocol);
        if (join->subscribed)
            broker_group_rebalance(group);
    }
}

void broker_migration_join(struct broker_request *request, struct broker_consumer_group *consumer)
{
    struct join join = {.request = request, .in = request->in, .consumer = consumer};
    struct broker_group *group = consumer->group;
    mr_str id = join.in->member_id.length > 0 ? join.in->member_id
                                              : broker_consumer_member_id(request);
    int16_t code = join_check(&join);

    if (code == KAFKA_ERROR_NONE) {
        broker_consumer_journal_begin(group, &join.journal);
        code = join_member(&join, id);
        if (code == KAFKA_ERROR_NONE) {
            join_update(&join);
            broker_consumer_group_update(consumer, join.subscribed, &join.journal);
            broker_consumer_reconcile(join.member, &join.said.owned, join.subscribed,
                                      &join.journal);
            join_end(&join);
        }
        broker_consumer_journal_end(group, &join.journal);
    }
    broker_places_fini(&join.said.owned);
    if (code == KAFKA_ERROR_NONE)
        broker_server_answer(request);
    else
        broker_group_join_refuse(request, code,
                                 code == KAFKA_ERROR_MEMBER_ID_REQUIRED ? id : join.in->member_id);
}

/* ---- SyncGroup, Heartbeat, LeaveGroup ---- */

/* One that speaks the classic protocol. */
static int16_t member_check(const struct broker_consumer_group *consumer, mr_str id,
                            mr_str instance, struct broker_consumer_member **out)
{
    int16_t code = broker_consumer_member_check(consumer, id, instance, out);
    return code == KAFKA_ERROR_NONE && (*out)->classic == NULL ? KAFKA_ERROR_UNKNOWN_MEMBER_ID
                                                               : code;
}

/* The member is to join again; it has its rebalance time-out for that, from the first time on. */
static int16_t ask_to_join(struct broker_consumer_member *member)
{
    if (member->classic->join.loop == NULL)
        rebalance_timer_start(&member->classic->join, member);
    return KAFKA_ERROR_REBALANCE_IN_PROGRESS;
}

static int16_t sync_check(struct broker_consumer_member *member,
                          const struct kafka_sync_group_request *in)
{
    if (in->generation_id != member->epoch)
        return KAFKA_ERROR_ILLEGAL_GENERATION;
    if ((in->protocol_type.data != NULL && !mr_str_equal(in->protocol_type, MR_STR("consumer"))) ||
        (in->protocol_name.data != NULL &&
         !mr_str_equal(in->protocol_name, mr_str_from(member->classic->protocols.items[0].name))))
        return KAFKA_ERROR_INCONSISTENT_GROUP_PROTOCOL;
    return member->epoch < member->group->epoch && member->state != BROKER_CONSUMER_UNREVOKED
               ? ask_to_join(member)
               : KAFKA_ERROR_NONE;
}

void broker_migration_sync(struct broker_request *request, struct broker_consumer_group *consumer)
{
    const struct kafka_sync_group_request *in = request->in;
    struct kafka_sync_group_response *out = request->out;
    struct broker_consumer_member *member = NULL;
    struct mr_buf assignment = {0};

    out->error_code = member_check(consumer, in->member_id, in->group_instance_id, &member);
    if (out->error_code == KAFKA_ERROR_NONE)
        out->error_code = sync_check(member, in);
    if (out->error_code == KAFKA_ERROR_NONE) {
        mr_timer_stop(&member->classic->sync);
        broker_consumer_session_restart(member);
        assignment_print(&member->assigned, topics_of(consumer->group), said_of(member->classic),
                         &assignment);
        out->assignment = mr_arena_str(&request->arena, mr_buf_as_str(&assignment));
        out->protocol_type = in->protocol_type;
        out->protocol_name = in->protocol_name;
        mr_buf_fini(&assignment);
    }
    broker_server_answer(request);
}

int16_t broker_migration_heartbeat(struct broker_consumer_group *consumer,
                                   const struct kafka_heartbeat_request *in)
{
    struct broker_consumer_member *member = NULL;
    struct broker_journal journal;
    int16_t code = member_check(consumer, in->member_id, in->group_instance_id, &member);

    if (code != KAFKA_ERROR_NONE)
        return code;
    if (in->generation_id != member->epoch)
        return KAFKA_ERROR_ILLEGAL_GENERATION;
    broker_consumer_session_restart(member);
    if (consumer->topics_seen != topics_of(consumer->group)->changes) {
        broker_consumer_journal_begin(consumer->group, &journal);
        broker_consumer_group_update(consumer, false, &journal);
        broker_consumer_journal_end(consumer->group, &journal);
    }
    return member->epoch < consumer->epoch || member->state == BROKER_CONSUMER_UNREVOKED ||
                   (member->state == BROKER_CONSUMER_UNRELEASED &&
                    !broker_consumer_member_waits(member))
               ? ask_to_join(member)
               : KAFKA_ERROR_NONE;
}

/* A tool may put a static member out by its name alone, and members of either protocol. */
int16_t broker_migration_leave(struct broker_consumer_group *consumer, mr_str member_id,
                               mr_str instance)
{
    struct broker_consumer_member *member = NULL,
                                  *of_instance = mr_map_get(&consumer->instances, instance);
    int16_t code = broker_consumer_member_check(
        consumer,
        member_id.length == 0 && of_instance != NULL ? mr_str_from(of_instance->id) : member_id,
        instance, &member);

    if (code == KAFKA_ERROR_NONE)
        broker_consumer_member_remove(member);
    return code;
}
