/* broker/share_records.c: the records of share groups. Members are kept as those of consumer groups are
 * (consumer_records.c), under keys of their own. A partition is kept whole with each change: a snapshot,
 * which makes those before it void, so that compaction keeps one a partition. (Kafka writes the same
 * record, with small updates between two of them.) What is acquired is kept as not delivered: a broker
 * that was killed gives it out again. */
#include "broker/server.h"

enum kind {
    KIND_SNAPSHOT = 0, /* of __share_group_state */
    KIND_MEMBER = 10,
    KIND_GROUP = 11,
    KIND_TARGET_EPOCH = 12,
    KIND_TARGET = 13,
    KIND_CURRENT = 14,
};

/* ---- members ---- */

static void put_group(struct broker_journal *journal, enum kind kind,
                      const struct broker_share_group *share, const struct wire_shape *shape,
                      const void *from)
{
    broker_consumer_record_put(journal, (uint16_t)kind, share->group->id, NULL, shape, from);
}

static void put_member(struct broker_journal *journal, enum kind kind,
                       const struct broker_share_member *member, const struct wire_shape *shape,
                       const void *from)
{
    mr_str id = mr_str_from(member->id);

    broker_consumer_record_put(journal, (uint16_t)kind, member->group->group->id, &id, shape, from);
}

void broker_share_save_epoch(struct broker_journal *journal, const struct broker_share_group *share)
{
    struct kafka_share_group_metadata_value value = {share->epoch, share->topics_hash};

    put_group(journal, KIND_GROUP, share, kafka_share_group_metadata_value_shape(), &value);
}

void broker_share_save_target_epoch(struct broker_journal *journal,
                                    const struct broker_share_group *share)
{
    struct kafka_consumer_group_target_assignment_metadata_value value = {share->target_epoch};

    put_group(journal, KIND_TARGET_EPOCH, share,
              kafka_consumer_group_target_assignment_metadata_value_shape(), &value);
}

void broker_share_save_member(struct broker_journal *journal,
                              const struct broker_share_member *member)
{
    struct kafka_share_group_member_metadata_value value = {
        .rack_id = mr_str_from(member->rack_id),
        .client_id = mr_str_from(member->client_id),
        .client_host = mr_str_from(member->client_host),
    };
    struct mr_arena arena;

    mr_arena_init(&arena);
    value.subscribed_topic_names.items = broker_texts_of(&arena, &member->topics,
                                                         &value.subscribed_topic_names.count);
    put_member(journal, KIND_MEMBER, member, kafka_share_group_member_metadata_value_shape(),
               &value);
    mr_arena_fini(&arena);
}

void broker_share_save_target(struct broker_journal *journal,
                              const struct broker_share_member *member)
{
    broker_consumer_record_target(journal, KIND_TARGET, member->group->group->id, member->id,
                                  &member->target);
}

void broker_share_save_current(struct broker_journal *journal,
                               const struct broker_share_member *member)
{
    struct kafka_share_group_current_member_assignment_value value = {
        .member_epoch = member->epoch, .previous_member_epoch = member->previous_epoch};
    struct mr_arena arena;

    mr_arena_init(&arena);
    value.assigned_partitions.items = broker_consumer_partitions(&arena, &member->assigned,
                                                                 &value.assigned_partitions.count);
    put_member(journal, KIND_CURRENT, member,
               kafka_share_group_current_member_assignment_value_shape(), &value);
    mr_arena_fini(&arena);
}

void broker_share_drop_member(struct broker_journal *journal,
                              const struct broker_share_member *member)
{
    put_member(journal, KIND_CURRENT, member, NULL, NULL);
    put_member(journal, KIND_TARGET, member, NULL, NULL);
    put_member(journal, KIND_MEMBER, member, NULL, NULL);
}

void broker_share_drop_group(struct broker_journal *journal, const struct broker_share_group *share)
{
    struct mr_map_entry *entry;

    for (size_t i = 0; (entry = mr_map_next(&share->members, &i)) != NULL;)
        broker_share_drop_member(journal, entry->value);
    put_group(journal, KIND_TARGET_EPOCH, share, NULL, NULL);
    put_group(journal, KIND_GROUP, share, NULL, NULL);
}

/* ---- members, read back ---- */

static void bury(struct broker_groups *groups, struct broker_group *group, enum kind kind,
                 mr_str member_id)
{
    struct broker_share_member *member;

    if (group == NULL || group->share == NULL)
        return;
    member = mr_map_get(&group->share->members, member_id);
    if (kind == KIND_GROUP) {
        broker_share_group_free(group->share);
        group->share = NULL;
        broker_group_forget_empty(groups, group);
    } else if (kind == KIND_MEMBER && member != NULL) {
        broker_share_member_free(member);
    }
}

static void group_read(struct broker_share_group *share, enum kind kind, mr_str value,
                       struct mr_arena *arena)
{
    struct kafka_share_group_metadata_value epoch;
    struct kafka_consumer_group_target_assignment_metadata_value target;

    if (kind == KIND_GROUP && broker_consumer_record_read(
                                  value, arena, kafka_share_group_metadata_value_shape(), &epoch)) {
        share->epoch = epoch.epoch;
        share->topics_hash = epoch.metadata_hash;
    } else if (kind == KIND_TARGET_EPOCH &&
               broker_consumer_record_read(
                   value, arena, kafka_consumer_group_target_assignment_metadata_value_shape(),
                   &target)) {
        share->target_epoch = target.assignment_epoch;
    }
}

static void member_read(struct broker_share_member *member, enum kind kind, mr_str value,
                        struct mr_arena *arena)
{
    struct kafka_share_group_member_metadata_value said;
    struct kafka_consumer_group_target_assignment_member_value target;
    struct kafka_share_group_current_member_assignment_value current;

    if (kind == KIND_MEMBER &&
        broker_consumer_record_read(value, arena, kafka_share_group_member_metadata_value_shape(),
                                    &said)) {
        broker_share_member_set(member, &said);
    } else if (kind == KIND_TARGET &&
               broker_consumer_record_read(
                   value, arena, kafka_consumer_group_target_assignment_member_value_shape(),
                   &target)) {
        broker_consumer_places(target.topic_partitions.items, target.topic_partitions.count,
                               &member->target);
    } else if (kind == KIND_CURRENT &&
               broker_consumer_record_read(
                   value, arena, kafka_share_group_current_member_assignment_value_shape(),
                   &current)) {
        member->epoch = current.member_epoch;
        member->previous_epoch = current.previous_member_epoch;
        broker_consumer_places(current.assigned_partitions.items, current.assigned_partitions.count,
                               &member->assigned);
    }
}

void broker_share_replay(struct broker_groups *groups, uint16_t version, mr_str key, mr_str value)
{
    enum kind kind = (enum kind)version;
    bool of_member = kind == KIND_MEMBER || kind == KIND_TARGET || kind == KIND_CURRENT;
    struct mr_in in = mr_in_str(key);
    struct broker_share_group *share;
    struct mr_arena arena;
    mr_str id, member_id = MR_STR_NULL;

    mr_in_be16(&in);
    id = mr_in_take(&in, mr_in_be16(&in));
    if (of_member)
        member_id = mr_in_take(&in, mr_in_be16(&in));
    if (in.err != MR_OK || (!of_member && kind != KIND_GROUP && kind != KIND_TARGET_EPOCH))
        return; /* which partitions have a state, their snapshots say */
    if (value.data == NULL) {
        bury(groups, broker_group_find(groups, id), kind, member_id);
        return;
    }
    share = broker_share_group_make(broker_group_make(groups, id));
    mr_arena_init(&arena);
    if (of_member)
        member_read(broker_share_member_make(share, member_id), kind, value, &arena);
    else
        group_read(share, kind, value, &arena);
    mr_arena_fini(&arena);
}

/* ---- partitions ---- */

static void key_print(struct mr_buf *out, const struct broker_share_partition *partition)
{
    mr_str id = mr_str_from(partition->group->group->id);

    mr_buf_be16(out, KIND_SNAPSHOT);
    mr_buf_be16(out, (uint16_t)id.length);
    mr_buf_str(out, id);
    mr_buf_add(out, partition->place.topic.bytes, 16);
    mr_buf_be32(out, (uint32_t)partition->place.partition);
}

/* What stands behind the last run that says something says nothing. */
static struct kafka_share_state_batch *
batches_of(struct mr_arena *arena, const struct broker_share_partition *partition, int32_t *count)
{
    struct kafka_share_state_batch *rows = mr_arena_array(arena, struct kafka_share_state_batch,
                                                          partition->count);

    *count = 0;
    for (size_t i = 0; i < partition->count; i++) {
        const struct broker_share_run *run = &partition->items[i];
        bool acquired = run->state == BROKER_SHARE_ACQUIRED;
        int16_t deliveries = (int16_t)(run->deliveries - acquired);
        enum broker_share_state state = acquired ? BROKER_SHARE_AVAILABLE : run->state;
        if (state != BROKER_SHARE_AVAILABLE || deliveries > 0)
            rows[(*count)++] = (struct kafka_share_state_batch){run->first, run->last,
                                                                (int8_t)state, deliveries};
    }
    return rows;
}

void broker_share_save_partition(struct broker_journal *journal,
                                 struct broker_share_partition *partition)
{
    const struct broker_log *log = broker_share_partition_log(partition);
    int64_t now_ms = broker_storage_now_ms(journal->log->storage);
    struct kafka_share_snapshot_value value = {
        .snapshot_epoch = ++partition->snapshot_epoch,
        .state_epoch = partition->state_epoch,
        .leader_epoch = log == NULL ? -1 : log->epoch,
        .start_offset = partition->start,
        .create_timestamp = partition->created_ms,
        .write_timestamp = now_ms,
    };
    struct mr_buf key = {0}, text = {0};
    struct wire_out out = wire_out_of(&text, 0, true);
    struct mr_arena arena;

    mr_arena_init(&arena);
    value.state_batches.items = batches_of(&arena, partition, &value.state_batches.count);
    key_print(&key, partition);
    mr_buf_be16(&text, 0);
    wire_write(&out, kafka_share_snapshot_value_shape(), &value);
    wire_out_fini(&out);
    broker_journal_add(journal, mr_buf_as_str(&key), mr_buf_as_str(&text));
    mr_buf_fini(&key);
    mr_buf_fini(&text);
    mr_arena_fini(&arena);
}

void broker_share_drop_partition(struct broker_journal *journal,
                                 const struct broker_share_partition *partition)
{
    struct mr_buf key = {0};

    key_print(&key, partition);
    broker_journal_add(journal, mr_buf_as_str(&key), MR_STR_NULL);
    mr_buf_fini(&key);
}

static void snapshot_read(struct broker_share_partition *partition,
                          const struct kafka_share_snapshot_value *value)
{
    broker_share_partition_begin(partition, value->start_offset < 0 ? BROKER_SHARE_NOWHERE
                                                                    : value->start_offset);
    partition->snapshot_epoch = value->snapshot_epoch;
    partition->state_epoch = value->state_epoch;
    partition->created_ms = value->create_timestamp;
    for (int32_t i = 0; i < value->state_batches.count; i++) {
        const struct kafka_share_state_batch *row = &value->state_batches.items[i];
        enum broker_share_state state = row->delivery_state == BROKER_SHARE_ACKNOWLEDGED
                                            ? BROKER_SHARE_ACKNOWLEDGED
                                        : row->delivery_state == BROKER_SHARE_ARCHIVED
                                            ? BROKER_SHARE_ARCHIVED
                                            : BROKER_SHARE_AVAILABLE;
        if (!broker_share_partition_restore(partition, row->first_offset, row->last_offset, state,
                                            row->delivery_count))
            return;
    }
}

struct share_replay {
    struct broker_replay replay;
    struct broker_groups *groups;
};

/* A state without its group is what the deletion of the group left when the power went: a group that
 * is made anew under the name must not find it. */
static void replay_record(struct broker_replay *replay, const struct broker_batch *batch,
                          const struct kafka_record *record)
{
    struct broker_groups *groups = mr_container(replay, struct share_replay, replay)->groups;
    struct kafka_share_snapshot_value value;
    struct mr_in in = mr_in_str(record->key);
    struct broker_share_partition *partition;
    struct broker_group *group;
    struct broker_place place;
    struct mr_arena arena;
    mr_str topic;

    (void)batch;
    if (mr_in_be16(&in) != KIND_SNAPSHOT)
        return;
    group = broker_group_find(groups, mr_in_take(&in, mr_in_be16(&in)));
    topic = mr_in_take(&in, 16);
    place.partition = (int32_t)mr_in_be32(&in);
    if (in.err != MR_OK)
        return;
    if (group == NULL || group->share == NULL) {
        if (record->value.data == NULL)
            mr_map_remove(&groups->share_orphans, record->key);
        else
            mr_map_put(&groups->share_orphans, record->key, groups);
        return;
    }
    memcpy(place.topic.bytes, topic.data, 16);
    partition = broker_share_partition_find(group->share, &place);
    if (record->value.data == NULL) {
        if (partition != NULL)
            broker_share_partition_free(partition);
        return;
    }
    mr_arena_init(&arena);
    if (broker_consumer_record_read(record->value, &arena, kafka_share_snapshot_value_shape(),
                                    &value))
        snapshot_read(broker_share_partition_make(group->share, &place), &value);
    mr_arena_fini(&arena);
}

static void replay_marker(struct broker_replay *replay, const struct broker_batch *batch,
                          bool commit)
{
    (void)replay, (void)batch, (void)commit;
}

mr_err broker_share_load(struct broker_groups *groups, struct broker_log *log)
{
    struct share_replay replay = {{replay_record, replay_marker}, groups};

    return broker_journal_replay(log, &replay.replay);
}

void broker_share_bury_orphans(struct broker_groups *groups)
{
    struct broker_journal journal;
    struct mr_map_entry *entry;
    int64_t end;

    broker_journal_begin(&journal,
                         broker_server_internal(groups->server, MR_STR("__share_group_state")));
    for (size_t i = 0; (entry = mr_map_next(&groups->share_orphans, &i)) != NULL;)
        broker_journal_add(&journal, entry->key, MR_STR_NULL);
    if (broker_journal_append(&journal, -1, -1, &end) != MR_OK)
        mr_log(MR_LOG_WARN, "broker", "states of share groups that are gone stay: %s", mr_why());
    mr_map_fini(&groups->share_orphans);
}
