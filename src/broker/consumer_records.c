/* broker/consumer_records.c: the records of groups of the consumer protocol. A key is its kind as a
 * 16-bit number and classic strings; a value is a version (0) and a flexible struct of messages.def.
 * Kinds that Kafka 4.2 no longer writes (4, the partitions of topics) are passed over. */
#include "broker/server.h"

enum kind {
    KIND_GROUP = 3,
    KIND_MEMBER = 5,
    KIND_TARGET_EPOCH = 6,
    KIND_TARGET = 7,
    KIND_CURRENT = 8,
    KIND_REGEX = 16,
};

/* ---- writing ---- */

static void put_str16(struct mr_buf *buf, mr_str text)
{
    mr_buf_be16(buf, (uint16_t)text.length);
    mr_buf_str(buf, text);
}

void broker_consumer_record_put(struct broker_journal *journal, uint16_t kind, const char *group,
                                const mr_str *second, const struct wire_shape *shape,
                                const void *from)
{
    struct mr_buf key = {0}, value = {0};

    mr_buf_be16(&key, kind);
    put_str16(&key, mr_str_from(group));
    if (second != NULL)
        put_str16(&key, *second);
    if (shape != NULL) {
        struct wire_out out = wire_out_of(&value, 0, true);
        mr_buf_be16(&value, 0);
        wire_write(&out, shape, from);
        wire_out_fini(&out);
    }
    broker_journal_add(journal, mr_buf_as_str(&key),
                       shape == NULL ? MR_STR_NULL : mr_buf_as_str(&value));
    mr_buf_fini(&key);
    mr_buf_fini(&value);
}

void broker_consumer_record_target(struct broker_journal *journal, uint16_t kind, const char *group,
                                   const char *member, const struct broker_places *places)
{
    struct kafka_consumer_group_target_assignment_member_value value = {0};
    mr_str id = mr_str_from(member);
    struct mr_arena arena;

    mr_arena_init(&arena);
    value.topic_partitions.items = broker_consumer_partitions(&arena, places,
                                                              &value.topic_partitions.count);
    broker_consumer_record_put(journal, kind, group, &id,
                               kafka_consumer_group_target_assignment_member_value_shape(), &value);
    mr_arena_fini(&arena);
}

mr_str *broker_texts_of(struct mr_arena *arena, const struct broker_texts *from, int32_t *count)
{
    mr_str *texts = mr_arena_array(arena, mr_str, from->count);

    for (size_t i = 0; i < from->count; i++)
        texts[i] = mr_str_from(from->items[i]);
    *count = (int32_t)from->count;
    return texts;
}

static void put_member(struct broker_journal *journal, enum kind kind,
                       const struct broker_consumer_member *member, const struct wire_shape *shape,
                       const void *from)
{
    mr_str id = mr_str_from(member->id);
    broker_consumer_record_put(journal, kind, member->group->group->id, &id, shape, from);
}

void broker_consumer_save_epoch(struct broker_journal *journal,
                                const struct broker_consumer_group *consumer)
{
    struct kafka_consumer_group_metadata_value value = {consumer->epoch, consumer->topics_hash};
    broker_consumer_record_put(journal, KIND_GROUP, consumer->group->id, NULL,
                               kafka_consumer_group_metadata_value_shape(), &value);
}

void broker_consumer_save_target_epoch(struct broker_journal *journal,
                                       const struct broker_consumer_group *consumer)
{
    struct kafka_consumer_group_target_assignment_metadata_value value = {consumer->target_epoch};
    broker_consumer_record_put(journal, KIND_TARGET_EPOCH, consumer->group->id, NULL,
                               kafka_consumer_group_target_assignment_metadata_value_shape(),
                               &value);
}

void broker_consumer_save_regex(struct broker_journal *journal,
                                const struct broker_consumer_group *consumer, mr_str text,
                                const struct broker_consumer_regex *regex)
{
    struct kafka_consumer_group_regular_expression_value value = {0};
    struct mr_arena arena;

    mr_arena_init(&arena);
    value.topics.items = broker_texts_of(&arena, &regex->topics, &value.topics.count);
    value.version = (int64_t)consumer->topics_seen;
    value.timestamp = broker_storage_now_ms(&consumer->group->groups->server->storage);
    broker_consumer_record_put(journal, KIND_REGEX, consumer->group->id, &text,
                               kafka_consumer_group_regular_expression_value_shape(), &value);
    mr_arena_fini(&arena);
}

void broker_consumer_save_member(struct broker_journal *journal,
                                 const struct broker_consumer_member *member)
{
    struct kafka_consumer_group_member_metadata_value value = {0};
    struct mr_arena arena;

    mr_arena_init(&arena);
    value.classic_member_metadata = broker_migration_said(member, &arena);
    value.instance_id = mr_str_from(member->instance_id);
    value.rack_id = mr_str_from(member->rack_id);
    value.client_id = mr_str_from(member->client_id);
    value.client_host = mr_str_from(member->client_host);
    value.subscribed_topic_names.items = broker_texts_of(&arena, &member->topics,
                                                         &value.subscribed_topic_names.count);
    value.subscribed_topic_regex = mr_str_from(member->regex);
    value.rebalance_timeout_ms = member->rebalance_timeout_ms;
    value.server_assignor = mr_str_from(member->assignor);
    put_member(journal, KIND_MEMBER, member, kafka_consumer_group_member_metadata_value_shape(),
               &value);
    mr_arena_fini(&arena);
}

void broker_consumer_save_target(struct broker_journal *journal,
                                 const struct broker_consumer_member *member)
{
    broker_consumer_record_target(journal, KIND_TARGET, member->group->group->id, member->id,
                                  &member->target);
}

void broker_consumer_save_current(struct broker_journal *journal,
                                  const struct broker_consumer_member *member)
{
    struct kafka_consumer_group_current_member_assignment_value value = {0};
    struct mr_arena arena;

    mr_arena_init(&arena);
    value.member_epoch = member->epoch;
    value.previous_member_epoch = member->previous_epoch;
    value.state = (int8_t)member->state;
    value.assigned_partitions.items = broker_consumer_partitions(&arena, &member->assigned,
                                                                 &value.assigned_partitions.count);
    value.partitions_pending_revocation.items = broker_consumer_partitions(
        &arena, &member->revoking, &value.partitions_pending_revocation.count);
    put_member(journal, KIND_CURRENT, member,
               kafka_consumer_group_current_member_assignment_value_shape(), &value);
    mr_arena_fini(&arena);
}

void broker_consumer_drop_regex(struct broker_journal *journal,
                                const struct broker_consumer_group *consumer, mr_str text)
{
    broker_consumer_record_put(journal, KIND_REGEX, consumer->group->id, &text, NULL, NULL);
}

void broker_consumer_drop_member(struct broker_journal *journal,
                                 const struct broker_consumer_member *member)
{
    put_member(journal, KIND_CURRENT, member, NULL, NULL);
    put_member(journal, KIND_TARGET, member, NULL, NULL);
    put_member(journal, KIND_MEMBER, member, NULL, NULL);
}

void broker_consumer_drop_group(struct broker_journal *journal,
                                const struct broker_consumer_group *consumer)
{
    struct mr_map_entry *entry;

    for (size_t i = 0; (entry = mr_map_next(&consumer->members, &i)) != NULL;)
        broker_consumer_drop_member(journal, entry->value);
    for (size_t i = 0; (entry = mr_map_next(&consumer->regexes, &i)) != NULL;)
        broker_consumer_drop_regex(journal, consumer, entry->key);
    broker_consumer_record_put(journal, KIND_TARGET_EPOCH, consumer->group->id, NULL, NULL, NULL);
    broker_consumer_record_put(journal, KIND_GROUP, consumer->group->id, NULL, NULL, NULL);
}

/* ---- reading back ---- */

struct replay {
    struct broker_consumer_group *consumer;
    struct broker_consumer_member *member;
    mr_str text, value; /* the key's second part */
    struct mr_arena arena;
};

bool broker_consumer_record_read(mr_str value, struct mr_arena *arena,
                                 const struct wire_shape *shape, void *into)
{
    struct mr_in version = mr_in_str(value);
    struct wire_in in;

    if (mr_in_be16(&version) != 0 || version.err != MR_OK)
        return false;
    in = wire_in_of(mr_str_slice(value, 2, value.length), arena, 0, true);
    wire_read(&in, shape, into);
    return wire_in_finish(&in, shape) == MR_OK;
}

static bool value_read(struct replay *replay, const struct wire_shape *shape, void *into)
{
    return broker_consumer_record_read(replay->value, &replay->arena, shape, into);
}

static void member_read(struct replay *replay)
{
    struct kafka_consumer_group_member_metadata_value value;
    struct broker_consumer_member *member = replay->member;

    if (!value_read(replay, kafka_consumer_group_member_metadata_value_shape(), &value))
        return;
    broker_consumer_member_set_instance(member, value.instance_id);
    broker_consumer_member_set(member, &value);
}

static void current_read(struct replay *replay)
{
    struct kafka_consumer_group_current_member_assignment_value value;
    struct broker_consumer_member *member = replay->member;

    if (!value_read(replay, kafka_consumer_group_current_member_assignment_value_shape(), &value))
        return;
    member->epoch = value.member_epoch;
    member->previous_epoch = value.previous_member_epoch;
    member->state = value.state == BROKER_CONSUMER_UNREVOKED    ? BROKER_CONSUMER_UNREVOKED
                    : value.state == BROKER_CONSUMER_UNRELEASED ? BROKER_CONSUMER_UNRELEASED
                                                                : BROKER_CONSUMER_STABLE;
    broker_consumer_places(value.assigned_partitions.items, value.assigned_partitions.count,
                           &member->assigned);
    broker_consumer_places(value.partitions_pending_revocation.items,
                           value.partitions_pending_revocation.count, &member->revoking);
}

static void target_read(struct replay *replay)
{
    struct kafka_consumer_group_target_assignment_member_value value;

    if (value_read(replay, kafka_consumer_group_target_assignment_member_value_shape(), &value))
        broker_consumer_places(value.topic_partitions.items, value.topic_partitions.count,
                               &replay->member->target);
}

static void group_read(struct replay *replay, enum kind kind)
{
    struct kafka_consumer_group_metadata_value epoch;
    struct kafka_consumer_group_target_assignment_metadata_value target;

    if (kind == KIND_GROUP &&
        value_read(replay, kafka_consumer_group_metadata_value_shape(), &epoch)) {
        replay->consumer->epoch = epoch.epoch;
        replay->consumer->topics_hash = epoch.metadata_hash;
    } else if (kind == KIND_TARGET_EPOCH &&
               value_read(replay, kafka_consumer_group_target_assignment_metadata_value_shape(),
                          &target)) {
        replay->consumer->target_epoch = target.assignment_epoch;
    }
}

/* A tombstone of the group's own record is the end of the group as one of this protocol; what it had
 * committed may go on. */
static void bury(struct broker_groups *groups, struct broker_group *group, enum kind kind,
                 mr_str text)
{
    struct broker_consumer_member *member;

    if (group == NULL || group->consumer == NULL)
        return;
    member = mr_map_get(&group->consumer->members, text);
    if (kind == KIND_GROUP) {
        broker_consumer_group_free(group->consumer);
        group->consumer = NULL;
        broker_group_forget_empty(groups, group);
    } else if (kind == KIND_MEMBER && member != NULL) {
        broker_consumer_member_free(member);
    } else if (kind == KIND_CURRENT && member != NULL) {
        member->assigned.count = member->revoking.count = 0;
        member->epoch = member->previous_epoch = 0;
        member->state = BROKER_CONSUMER_STABLE;
    } else if (kind == KIND_TARGET && member != NULL) {
        member->target.count = 0;
    }
}

void broker_consumer_replay(struct broker_groups *groups, uint16_t version, mr_str key,
                            mr_str value)
{
    enum kind kind = (enum kind)version;
    struct mr_in in = mr_in_str(key);
    struct replay replay = {.value = value};
    bool of_member = kind == KIND_MEMBER || kind == KIND_TARGET || kind == KIND_CURRENT;
    struct broker_group *group;
    mr_str id;

    mr_in_be16(&in);
    id = mr_in_take(&in, mr_in_be16(&in));
    if (of_member || kind == KIND_REGEX)
        replay.text = mr_in_take(&in, mr_in_be16(&in));
    if (in.err != MR_OK || kind == KIND_REGEX) /* patterns are matched anew */
        return;
    if (value.data == NULL) {
        bury(groups, broker_group_find(groups, id), kind, replay.text);
        return;
    }
    if (!of_member && kind != KIND_GROUP && kind != KIND_TARGET_EPOCH)
        return;
    group = broker_group_make(groups, id);
    if (group->consumer == NULL)
        broker_group_forget_classic(group);
    replay.consumer = broker_consumer_group_make(group);
    if (of_member)
        replay.member = broker_consumer_member_make(replay.consumer, replay.text);
    mr_arena_init(&replay.arena);
    if (kind == KIND_MEMBER)
        member_read(&replay);
    else if (kind == KIND_TARGET)
        target_read(&replay);
    else if (kind == KIND_CURRENT)
        current_read(&replay);
    else
        group_read(&replay, kind);
    mr_arena_fini(&replay.arena);
}
