/* broker/offsets.c: what groups have committed. An offset counts when it is on the disk; one of a
 * transaction counts when the transaction's commit marker is in the log, and is pending until then. */
#include "broker/server.h"

#include <stdio.h>

/* ---- what is kept ---- */

static mr_str offset_key(char *room, size_t bytes, mr_str topic, int32_t partition)
{
    int length = snprintf(room, bytes, "%.*s/%d", MR_STR_ARG(topic), partition);
    return mr_str_of(room, (size_t)length);
}

static struct broker_offset *offset_find(const struct broker_group *group, mr_str topic,
                                         int32_t partition)
{
    char room[300];
    if (topic.length > 249)
        return NULL;
    return mr_map_get(&group->offsets, offset_key(room, sizeof(room), topic, partition));
}

static struct broker_offset *offset_make(struct broker_group *group, mr_str topic,
                                         int32_t partition)
{
    struct broker_offset *offset = offset_find(group, topic, partition);
    char room[300];

    if (offset != NULL)
        return offset;
    offset = mr_new(struct broker_offset);
    offset->topic = mr_copy_cstr(topic);
    offset->partition = partition;
    offset->offset = -1;
    offset->leader_epoch = -1;
    mr_map_put(&group->offsets, offset_key(room, sizeof(room), topic, partition), offset);
    return offset;
}

static void offset_free(struct broker_offset *offset)
{
    while (offset->pending != NULL) {
        struct broker_offset_pending *pending = offset->pending;
        offset->pending = pending->next;
        mr_free(pending->metadata);
        mr_free(pending);
    }
    mr_free(offset->topic);
    mr_free(offset->metadata);
    mr_free(offset);
}

static void offset_forget(struct broker_group *group, struct broker_offset *offset)
{
    char room[300];

    for (const struct broker_offset_pending *p = offset->pending; p != NULL; p = p->next)
        group->txn_offsets--;
    mr_map_remove(&group->offsets,
                  offset_key(room, sizeof(room), mr_str_from(offset->topic), offset->partition));
    offset_free(offset);
}

void broker_offsets_free(struct broker_group *group)
{
    struct mr_map_entry *entry;
    for (size_t i = 0; (entry = mr_map_next(&group->offsets, &i)) != NULL;)
        offset_free(entry->value);
    mr_map_fini(&group->offsets);
}

struct commit_value {
    int64_t offset, commit_ms;
    int32_t leader_epoch;
    mr_str metadata;
};

/* The later record in the log wins, whatever the order in which commits become final. */
static void offset_set(struct broker_offset *offset, int64_t log_offset,
                       const struct commit_value *value)
{
    if (offset->offset >= 0 && log_offset < offset->log_offset)
        return;
    offset->offset = value->offset;
    offset->leader_epoch = value->leader_epoch;
    offset->commit_ms = value->commit_ms;
    offset->log_offset = log_offset;
    mr_free(offset->metadata);
    offset->metadata = mr_copy_cstr(value->metadata);
}

static void offset_pend(struct broker_group *group, struct broker_offset *offset,
                        int64_t producer_id, int64_t log_offset, const struct commit_value *value)
{
    struct broker_offset_pending *pending = offset->pending;

    while (pending != NULL && pending->producer_id != producer_id)
        pending = pending->next;
    if (pending == NULL) {
        pending = mr_new(struct broker_offset_pending);
        pending->producer_id = producer_id;
        pending->next = offset->pending;
        offset->pending = pending;
        group->txn_offsets++;
    }
    pending->offset = value->offset;
    pending->leader_epoch = value->leader_epoch;
    pending->log_offset = log_offset;
    mr_free(pending->metadata);
    pending->metadata = mr_copy_cstr(value->metadata);
}

static void offset_txn_end(struct broker_group *group, struct broker_offset *offset,
                           int64_t producer_id, bool commit, int64_t now_ms)
{
    struct broker_offset_pending **link = &offset->pending;

    while (*link != NULL && (*link)->producer_id != producer_id)
        link = &(*link)->next;
    if (*link == NULL)
        return;
    struct broker_offset_pending *pending = *link;
    *link = pending->next;
    group->txn_offsets--;
    if (commit) {
        struct commit_value value = {pending->offset, now_ms, pending->leader_epoch,
                                     mr_str_from(pending->metadata)};
        offset_set(offset, pending->log_offset, &value);
    }
    mr_free(pending->metadata);
    mr_free(pending);
}

void broker_groups_txn_end(struct broker_groups *groups, int64_t producer_id, bool commit)
{
    int64_t now_ms = broker_storage_now_ms(&groups->server->storage);
    struct mr_map_entry *entry, *inner;

    for (size_t i = 0; (entry = mr_map_next(&groups->by_id, &i)) != NULL;) {
        struct broker_group *group = entry->value;
        if (group->txn_offsets == 0)
            continue;
        for (size_t j = 0; (inner = mr_map_next(&group->offsets, &j)) != NULL;) {
            struct broker_offset *offset = inner->value;
            offset_txn_end(group, offset, producer_id, commit, now_ms);
            if (offset->offset < 0 && offset->pending == NULL)
                offset_forget(group, offset);
        }
    }
}

/* ---- records: OffsetCommitKey 1 and OffsetCommitValue 3, as Kafka's own tools read them ---- */

static void put_str16(struct mr_buf *buf, mr_str text)
{
    mr_buf_be16(buf, (uint16_t)text.length);
    mr_buf_str(buf, text);
}

static mr_str take_str16(struct mr_in *in)
{
    uint16_t length = mr_in_be16(in);
    return mr_in_take(in, length);
}

static void key_print(struct mr_buf *out, mr_str group, mr_str topic, int32_t partition)
{
    mr_buf_be16(out, 1);
    put_str16(out, group);
    put_str16(out, topic);
    mr_buf_be32(out, (uint32_t)partition);
}

static void value_print(struct mr_buf *out, const struct commit_value *value)
{
    mr_buf_be16(out, 3);
    mr_buf_be64(out, (uint64_t)value->offset);
    mr_buf_be32(out, (uint32_t)value->leader_epoch);
    put_str16(out, value->metadata);
    mr_buf_be64(out, (uint64_t)value->commit_ms);
}

void broker_offsets_replay(struct broker_groups *groups, mr_str key, mr_str text,
                           int64_t producer_id, bool txn, int64_t log_offset)
{
    struct mr_in in = mr_in_str(key), in_value = mr_in_str(text);
    struct commit_value value = {.leader_epoch = -1};
    struct broker_group *group;
    struct broker_offset *offset;
    mr_str id, topic;
    int32_t partition;
    uint16_t version;

    mr_in_be16(&in);
    id = take_str16(&in);
    topic = take_str16(&in);
    partition = (int32_t)mr_in_be32(&in);
    if (in.err != MR_OK || topic.length > 249)
        return;
    if (text.data == NULL) {
        group = broker_group_find(groups, id);
        offset = group == NULL ? NULL : offset_find(group, topic, partition);
        if (offset != NULL)
            offset_forget(group, offset);
        return;
    }
    version = mr_in_be16(&in_value);
    value.offset = (int64_t)mr_in_be64(&in_value);
    if (version >= 3)
        value.leader_epoch = (int32_t)mr_in_be32(&in_value);
    value.metadata = take_str16(&in_value);
    value.commit_ms = (int64_t)mr_in_be64(&in_value);
    if (in_value.err != MR_OK)
        return;
    group = broker_group_make(groups, id);
    offset = offset_make(group, topic, partition);
    if (txn)
        offset_pend(group, offset, producer_id, log_offset, &value);
    else
        offset_set(offset, log_offset, &value);
}

static struct broker_log *offsets_log(struct broker_groups *groups)
{
    return broker_server_internal(groups->server, MR_STR("__consumer_offsets"));
}

static void offset_bury(struct broker_journal *journal, struct broker_group *group,
                        struct broker_offset *offset)
{
    struct mr_buf key = {0};

    key_print(&key, mr_str_from(group->id), mr_str_from(offset->topic), offset->partition);
    broker_journal_add(journal, mr_buf_as_str(&key), MR_STR_NULL);
    mr_buf_fini(&key);
    offset_forget(group, offset);
}

int16_t broker_offsets_drop(struct broker_group *group, mr_str topic, int32_t partition)
{
    struct broker_offset *offset = offset_find(group, topic, partition);
    struct broker_journal journal;
    int64_t end;

    if (offset == NULL)
        return KAFKA_ERROR_NONE;
    broker_journal_begin(&journal, offsets_log(group->groups));
    offset_bury(&journal, group, offset);
    return broker_server_error(broker_journal_append(&journal, -1, -1, &end));
}

/* Those of the topics, or all. */
static int16_t group_bury(struct broker_group *group, const struct mr_map *topics)
{
    struct broker_journal journal;
    struct mr_map_entry *entry;
    int64_t end;

    broker_journal_begin(&journal, offsets_log(group->groups));
    for (size_t i = 0; (entry = mr_map_next(&group->offsets, &i)) != NULL;) {
        struct broker_offset *offset = entry->value;
        if (topics == NULL || mr_map_get(topics, mr_str_from(offset->topic)) != NULL)
            offset_bury(&journal, group, offset);
    }
    return broker_server_error(broker_journal_append(&journal, -1, -1, &end));
}

int16_t broker_offsets_drop_all(struct broker_group *group)
{
    return group_bury(group, NULL);
}

void broker_groups_forget_topics(struct broker_groups *groups, const struct mr_map *topics)
{
    struct mr_map_entry *entry;
    for (size_t i = 0; topics->count > 0 && (entry = mr_map_next(&groups->by_id, &i)) != NULL;)
        group_bury(entry->value, topics);
}

/* ---- OffsetCommit, TxnOffsetCommit ---- */

/* Both requests have the same rows but for names; this is what is common. */
struct commit {
    struct broker_log_wait wait;
    struct broker_request *request;
    struct broker_groups *groups;
    struct broker_journal journal;
    mr_str group_id;
    int64_t producer_id, now_ms, base;
    bool txn;
    void (*fail_all)(struct broker_request *request, int16_t code);
};

/* Checks one row and puts it into the journal. */
static int16_t commit_add(struct commit *commit, mr_str topic, int32_t partition,
                          const struct commit_value *value)
{
    struct mr_buf key = {0}, text = {0};

    if (broker_topics_partition(&commit->groups->server->topics, topic, partition) == NULL)
        return KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION;
    if (value->metadata.length >
        (size_t)broker_server_number(commit->groups->server, BROKER_NODE_offset_metadata_max_bytes))
        return KAFKA_ERROR_OFFSET_METADATA_TOO_LARGE;
    key_print(&key, commit->group_id, topic, partition);
    value_print(&text, value);
    broker_journal_add(&commit->journal, mr_buf_as_str(&key), mr_buf_as_str(&text));
    mr_buf_fini(&key);
    mr_buf_fini(&text);
    return KAFKA_ERROR_NONE;
}

static void commit_kept(struct broker_log_wait *wait, mr_err err)
{
    struct commit *commit = mr_container(wait, struct commit, wait);

    if (err != MR_OK)
        commit->fail_all(commit->request, KAFKA_ERROR_COORDINATOR_NOT_AVAILABLE);
    broker_server_answer(commit->request);
}

static void commit_append(struct commit *commit, int16_t producer_epoch)
{
    struct broker_log *log = commit->journal.log;
    int64_t end;
    mr_err err;

    commit->base = log->end;
    err = broker_journal_append(&commit->journal, commit->producer_id, producer_epoch, &end);
    if (err != MR_OK) {
        commit->fail_all(commit->request, KAFKA_ERROR_COORDINATOR_NOT_AVAILABLE);
        broker_server_answer(commit->request);
        return;
    }
    commit->wait.run = commit_kept;
    broker_log_wait_kept(log, &commit->wait, end);
}

static struct commit *commit_new(struct broker_request *request, mr_str group_id,
                                 void (*fail_all)(struct broker_request *, int16_t))
{
    struct commit *commit = mr_arena_new(&request->arena, struct commit);

    commit->request = request;
    commit->groups = &request->server->groups;
    commit->group_id = group_id;
    commit->producer_id = -1;
    commit->now_ms = broker_storage_now_ms(&request->server->storage);
    commit->fail_all = fail_all;
    return commit;
}

static void commit_fail(struct broker_request *request, int16_t code)
{
    struct kafka_offset_commit_response *out = request->out;
    for (int32_t i = 0; i < out->topics.count; i++)
        for (int32_t j = 0; j < out->topics.items[i].partitions.count; j++)
            if (out->topics.items[i].partitions.items[j].error_code == KAFKA_ERROR_NONE)
                out->topics.items[i].partitions.items[j].error_code = code;
}

static void commit_answer_rows(struct broker_request *request)
{
    const struct kafka_offset_commit_request *in = request->in;
    struct kafka_offset_commit_response *out = request->out;

    out->topics.count = in->topics.count;
    out->topics.items = mr_arena_array(&request->arena, struct kafka_offset_commit_response_topic,
                                       (size_t)in->topics.count);
    for (int32_t i = 0; i < in->topics.count; i++) {
        int32_t count = in->topics.items[i].partitions.count;
        out->topics.items[i].name = in->topics.items[i].name;
        out->topics.items[i].topic_id = in->topics.items[i].topic_id;
        out->topics.items[i].partitions.count = count;
        out->topics.items[i].partitions.items = mr_arena_array(
            &request->arena, struct kafka_offset_commit_response_partition, (size_t)count);
        for (int32_t j = 0; j < count; j++)
            out->topics.items[i].partitions.items[j].partition_index =
                in->topics.items[i].partitions.items[j].partition_index;
    }
}

static int16_t commit_check(struct broker_request *request)
{
    const struct kafka_offset_commit_request *in = request->in;
    struct broker_groups *groups = &request->server->groups;
    int16_t version = request->header.request_api_version;
    struct broker_group *group;

    if (!request->server->ready)
        return KAFKA_ERROR_COORDINATOR_LOAD_IN_PROGRESS;
    if (in->group_id.length == 0)
        return KAFKA_ERROR_INVALID_GROUP_ID;
    group = broker_group_find(groups, in->group_id);
    if (group == NULL && in->generation_id_or_member_epoch >= 0)
        return version >= 9 ? KAFKA_ERROR_GROUP_ID_NOT_FOUND : KAFKA_ERROR_ILLEGAL_GENERATION;
    return broker_group_check_commit(broker_group_make(groups, in->group_id), in->member_id,
                                     in->group_instance_id, in->generation_id_or_member_epoch,
                                     false, version);
}

/* From version 10 on topics come by their ids; an unknown one has no name. */
static mr_str topic_name(struct broker_request *request, int16_t since, mr_str name,
                         const mr_uuid *id)
{
    const struct broker_topic *topic;

    if (request->header.request_api_version < since)
        return name;
    topic = broker_topics_find_id(&request->server->topics, id);
    return topic == NULL ? MR_STR_NULL : broker_server_text(request, topic->name);
}

void broker_group_offset_commit(struct broker_request *request)
{
    const struct kafka_offset_commit_request *in = request->in;
    struct kafka_offset_commit_response *out = request->out;
    struct commit *commit = commit_new(request, in->group_id, commit_fail);
    int16_t code = commit_check(request);
    struct broker_group *group;
    int64_t log_offset;

    commit_answer_rows(request);
    if (code != KAFKA_ERROR_NONE) {
        commit_fail(request, code);
        broker_server_answer(request);
        return;
    }
    group = broker_group_make(commit->groups, in->group_id);
    broker_journal_begin(&commit->journal, offsets_log(commit->groups));
    log_offset = commit->journal.log->end;
    for (int32_t i = 0; i < in->topics.count; i++) {
        const struct kafka_offset_commit_request_topic *topic = &in->topics.items[i];
        mr_str name = topic_name(request, 10, topic->name, &topic->topic_id);
        for (int32_t j = 0; j < topic->partitions.count; j++) {
            const struct kafka_offset_commit_request_partition *row = &topic->partitions.items[j];
            struct commit_value value = {row->committed_offset, commit->now_ms,
                                         row->committed_leader_epoch, row->committed_metadata};
            int16_t *answer = &out->topics.items[i].partitions.items[j].error_code;
            *answer = name.data == NULL ? (int16_t)KAFKA_ERROR_UNKNOWN_TOPIC_ID
                                        : commit_add(commit, name, row->partition_index, &value);
            if (*answer == KAFKA_ERROR_NONE)
                offset_set(offset_make(group, name, row->partition_index), log_offset++, &value);
        }
    }
    commit_append(commit, -1);
}

static void txn_commit_fail(struct broker_request *request, int16_t code)
{
    struct kafka_txn_offset_commit_response *out = request->out;
    for (int32_t i = 0; i < out->topics.count; i++)
        for (int32_t j = 0; j < out->topics.items[i].partitions.count; j++)
            if (out->topics.items[i].partitions.items[j].error_code == KAFKA_ERROR_NONE)
                out->topics.items[i].partitions.items[j].error_code = code;
}

static void txn_commit_answer_rows(struct broker_request *request)
{
    const struct kafka_txn_offset_commit_request *in = request->in;
    struct kafka_txn_offset_commit_response *out = request->out;

    out->topics.count = in->topics.count;
    out->topics.items = mr_arena_array(
        &request->arena, struct kafka_txn_offset_commit_response_topic, (size_t)in->topics.count);
    for (int32_t i = 0; i < in->topics.count; i++) {
        int32_t count = in->topics.items[i].partitions.count;
        out->topics.items[i].name = in->topics.items[i].name;
        out->topics.items[i].partitions.count = count;
        out->topics.items[i].partitions.items = mr_arena_array(
            &request->arena, struct kafka_txn_offset_commit_response_partition, (size_t)count);
        for (int32_t j = 0; j < count; j++)
            out->topics.items[i].partitions.items[j].partition_index =
                in->topics.items[i].partitions.items[j].partition_index;
    }
}

static int16_t txn_commit_check(struct broker_request *request)
{
    const struct kafka_txn_offset_commit_request *in = request->in;
    struct broker_groups *groups = &request->server->groups;
    int16_t version = request->header.request_api_version;
    struct broker_group *group;
    int16_t code;

    if (!request->server->ready)
        return KAFKA_ERROR_COORDINATOR_LOAD_IN_PROGRESS;
    if (in->group_id.length == 0)
        return KAFKA_ERROR_INVALID_GROUP_ID;
    group = broker_group_find(groups, in->group_id);
    if (group == NULL && in->generation_id >= 0)
        return KAFKA_ERROR_ILLEGAL_GENERATION;
    struct broker_txn_append append = {.id = in->transactional_id,
                                       .producer_id = in->producer_id,
                                       .epoch = in->producer_epoch,
                                       .rule = version >= 5   ? BROKER_TXN_JOINS
                                               : version == 4 ? BROKER_TXN_ABORTABLE
                                                              : BROKER_TXN_ASKED};
    code = broker_txn_check_append(&request->server->txns, &append, offsets_log(groups),
                                   MR_STR("__consumer_offsets"), 0);
    if (code != KAFKA_ERROR_NONE)
        return code;
    return broker_group_check_commit(broker_group_make(groups, in->group_id), in->member_id,
                                     in->group_instance_id, in->generation_id, true, 0);
}

void broker_txn_txn_offset_commit(struct broker_request *request)
{
    const struct kafka_txn_offset_commit_request *in = request->in;
    struct kafka_txn_offset_commit_response *out = request->out;
    struct commit *commit = commit_new(request, in->group_id, txn_commit_fail);
    int16_t code = txn_commit_check(request);
    struct broker_group *group;
    int64_t log_offset;

    txn_commit_answer_rows(request);
    if (code != KAFKA_ERROR_NONE) {
        txn_commit_fail(request, code);
        broker_server_answer(request);
        return;
    }
    group = broker_group_make(commit->groups, in->group_id);
    commit->txn = true;
    commit->producer_id = in->producer_id;
    broker_journal_begin(&commit->journal, offsets_log(commit->groups));
    log_offset = commit->journal.log->end;
    for (int32_t i = 0; i < in->topics.count; i++) {
        const struct kafka_txn_offset_commit_request_topic *topic = &in->topics.items[i];
        for (int32_t j = 0; j < topic->partitions.count; j++) {
            const struct kafka_txn_offset_commit_request_partition *row =
                &topic->partitions.items[j];
            struct commit_value value = {row->committed_offset, commit->now_ms,
                                         row->committed_leader_epoch, row->committed_metadata};
            int16_t *answer = &out->topics.items[i].partitions.items[j].error_code;
            *answer = commit_add(commit, topic->name, row->partition_index, &value);
            if (*answer == KAFKA_ERROR_NONE)
                offset_pend(group, offset_make(group, topic->name, row->partition_index),
                            in->producer_id, log_offset++, &value);
        }
    }
    commit_append(commit, in->producer_epoch);
}

/* ---- OffsetFetch ---- */

struct offset_told {
    int64_t offset;
    int32_t leader_epoch;
    mr_str metadata;
    int16_t code;
};

static struct offset_told offset_tell(struct broker_request *request,
                                      const struct broker_group *group, mr_str topic,
                                      int32_t partition, bool stable)
{
    const struct broker_offset *offset = group == NULL ? NULL
                                                       : offset_find(group, topic, partition);
    struct offset_told told = {-1, -1, MR_STR(""), KAFKA_ERROR_NONE};

    if (offset == NULL)
        return told;
    if (stable && offset->pending != NULL) {
        told.code = KAFKA_ERROR_UNSTABLE_OFFSET_COMMIT;
        return told;
    }
    if (offset->offset < 0)
        return told;
    told.offset = offset->offset;
    told.leader_epoch = offset->leader_epoch;
    told.metadata = broker_server_text(request, offset->metadata);
    return told;
}

/* Topics of a group, each once, in the order of their first commit, with their partitions. */
struct offset_list {
    mr_str *topics;
    int32_t **partitions;
    int32_t *counts;
    size_t topic_count;
};

static size_t list_place(struct mr_map *places, const struct broker_offset *offset)
{
    return (size_t)(uintptr_t)mr_map_get(places, mr_str_from(offset->topic));
}

static struct offset_list offsets_by_topic(struct broker_request *request,
                                           const struct broker_group *group)
{
    struct offset_list list = {0};
    struct mr_map places = {0}; /* topic -> its place in the list, from 1 on */
    struct mr_map_entry *entry;

    if (group == NULL)
        return list;
    list.topics = mr_arena_array(&request->arena, mr_str, group->offsets.count);
    list.partitions = mr_arena_array(&request->arena, int32_t *, group->offsets.count);
    list.counts = mr_arena_array(&request->arena, int32_t, group->offsets.count);
    for (size_t i = 0; (entry = mr_map_next(&group->offsets, &i)) != NULL;) {
        const struct broker_offset *offset = entry->value;
        if (list_place(&places, offset) == 0) {
            list.topics[list.topic_count++] = broker_server_text(request, offset->topic);
            mr_map_put(&places, mr_str_from(offset->topic), (void *)(uintptr_t)list.topic_count);
        }
        list.counts[list_place(&places, offset) - 1]++;
    }
    for (size_t i = 0; i < list.topic_count; i++) {
        list.partitions[i] = mr_arena_array(&request->arena, int32_t, (size_t)list.counts[i]);
        list.counts[i] = 0;
    }
    for (size_t i = 0; (entry = mr_map_next(&group->offsets, &i)) != NULL;) {
        const struct broker_offset *offset = entry->value;
        size_t at = list_place(&places, offset) - 1;
        list.partitions[at][list.counts[at]++] = offset->partition;
    }
    mr_map_fini(&places);
    return list;
}

static void fetch_topic(struct broker_request *request, const struct broker_group *group,
                        mr_str name, const int32_t *partitions, int32_t count, bool stable,
                        struct kafka_offset_fetch_response_group_topic *answer)
{
    answer->name = name;
    answer->partitions.count = count;
    answer->partitions.items = mr_arena_array(
        &request->arena, struct kafka_offset_fetch_response_group_partition, (size_t)count);
    for (int32_t i = 0; i < count; i++) {
        struct offset_told told = offset_tell(request, group, name, partitions[i], stable);
        answer->partitions.items[i] = (struct kafka_offset_fetch_response_group_partition){
            partitions[i], told.offset, told.leader_epoch, told.metadata, told.code};
    }
}

static int16_t fetch_check(const struct broker_request *request, const struct broker_group *group,
                           const struct kafka_offset_fetch_request_group *asked)
{
    bool by_member = asked->member_id.data != NULL || asked->member_epoch >= 0;

    if (!request->server->ready)
        return KAFKA_ERROR_COORDINATOR_LOAD_IN_PROGRESS;
    if (asked->group_id.length == 0)
        return KAFKA_ERROR_INVALID_GROUP_ID;
    if (group == NULL)
        return by_member ? KAFKA_ERROR_GROUP_ID_NOT_FOUND : KAFKA_ERROR_NONE;
    if (group->share != NULL)
        return KAFKA_ERROR_GROUP_ID_NOT_FOUND;
    if (group->consumer == NULL)
        return KAFKA_ERROR_NONE;
    return broker_consumer_group_check_fetch(group->consumer, asked->member_id,
                                             asked->member_epoch);
}

/* The offsets that a request asks for, of topics by name or by id. */
static void fetch_asked(struct broker_request *request, const struct broker_group *group,
                        const struct kafka_offset_fetch_request_group_topic *asked, bool stable,
                        struct kafka_offset_fetch_response_group_topic *answer)
{
    mr_str name = topic_name(request, 10, asked->name, &asked->topic_id);

    fetch_topic(request, name.data == NULL ? NULL : group, name, asked->partition_indexes.items,
                asked->partition_indexes.count, stable, answer);
    answer->topic_id = asked->topic_id;
    for (int32_t i = 0; i < answer->partitions.count && name.data == NULL; i++)
        answer->partitions.items[i].error_code = KAFKA_ERROR_UNKNOWN_TOPIC_ID;
}

/* All that the group has committed; by id, what is of topics that are there. */
static void fetch_all(struct broker_request *request, const struct broker_group *group, bool stable,
                      struct kafka_offset_fetch_response_group *answer)
{
    struct offset_list list = offsets_by_topic(request, group);

    answer->topics.items = mr_arena_array(
        &request->arena, struct kafka_offset_fetch_response_group_topic, list.topic_count);
    for (size_t i = 0; i < list.topic_count; i++) {
        const struct broker_topic *topic = broker_topics_find(&request->server->topics,
                                                              list.topics[i]);
        struct kafka_offset_fetch_response_group_topic *row =
            &answer->topics.items[answer->topics.count];
        if (topic == NULL && request->header.request_api_version >= 10)
            continue;
        if (topic != NULL)
            row->topic_id = topic->id;
        fetch_topic(request, group, list.topics[i], list.partitions[i], list.counts[i], stable,
                    row);
        answer->topics.count++;
    }
}

static void fetch_group(struct broker_request *request,
                        const struct kafka_offset_fetch_request_group *asked, bool stable,
                        struct kafka_offset_fetch_response_group *answer)
{
    const struct broker_group *group = broker_group_find(&request->server->groups, asked->group_id);

    answer->group_id = asked->group_id;
    answer->error_code = fetch_check(request, group, asked);
    if (answer->error_code != KAFKA_ERROR_NONE)
        return;
    if (asked->topics.count < 0) {
        fetch_all(request, group, stable, answer);
        return;
    }
    answer->topics.count = asked->topics.count;
    answer->topics.items = mr_arena_array(&request->arena,
                                          struct kafka_offset_fetch_response_group_topic,
                                          (size_t)asked->topics.count);
    for (int32_t i = 0; i < asked->topics.count; i++)
        fetch_asked(request, group, &asked->topics.items[i], stable, &answer->topics.items[i]);
}

/* Versions before 2 have nowhere but the rows to say what is wrong with the group. */
static void fetch_refuse_rows(struct broker_request *request,
                              const struct kafka_offset_fetch_request_group *asked, int16_t code,
                              struct kafka_offset_fetch_response_group *answer)
{
    answer->topics.count = asked->topics.count < 0 ? 0 : asked->topics.count;
    answer->topics.items = mr_arena_array(&request->arena,
                                          struct kafka_offset_fetch_response_group_topic,
                                          (size_t)answer->topics.count);
    for (int32_t i = 0; i < answer->topics.count; i++) {
        struct kafka_offset_fetch_response_group_topic *topic = &answer->topics.items[i];
        fetch_topic(request, NULL, asked->topics.items[i].name,
                    asked->topics.items[i].partition_indexes.items,
                    asked->topics.items[i].partition_indexes.count, false, topic);
        for (int32_t k = 0; k < topic->partitions.count; k++)
            topic->partitions.items[k].error_code = code;
    }
}

/* Versions before 8 ask for one group; the rows are the same. */
static void fetch_single(struct broker_request *request)
{
    const struct kafka_offset_fetch_request *in = request->in;
    struct kafka_offset_fetch_response *out = request->out;
    struct kafka_offset_fetch_request_group asked = {.group_id = in->group_id, .member_epoch = -1};
    struct kafka_offset_fetch_response_group answer = {0};

    asked.topics.count = in->topics.count;
    asked.topics.items = mr_arena_array(&request->arena,
                                        struct kafka_offset_fetch_request_group_topic,
                                        (size_t)(in->topics.count < 0 ? 0 : in->topics.count));
    for (int32_t i = 0; i < in->topics.count; i++) {
        asked.topics.items[i].name = in->topics.items[i].name;
        asked.topics.items[i].partition_indexes.items = in->topics.items[i].partition_indexes.items;
        asked.topics.items[i].partition_indexes.count = in->topics.items[i].partition_indexes.count;
    }
    fetch_group(request, &asked, in->require_stable, &answer);
    if (answer.error_code != KAFKA_ERROR_NONE && request->header.request_api_version < 2)
        fetch_refuse_rows(request, &asked, answer.error_code, &answer);
    out->error_code = answer.error_code;
    out->topics.count = answer.topics.count;
    out->topics.items = mr_arena_array(&request->arena, struct kafka_offset_fetch_response_topic,
                                       (size_t)answer.topics.count);
    for (int32_t i = 0; i < answer.topics.count; i++) {
        const struct kafka_offset_fetch_response_group_topic *topic = &answer.topics.items[i];
        out->topics.items[i].name = topic->name;
        out->topics.items[i].partitions.count = topic->partitions.count;
        out->topics.items[i].partitions.items = mr_arena_array(
            &request->arena, struct kafka_offset_fetch_response_partition,
            (size_t)topic->partitions.count);
        for (int32_t j = 0; j < topic->partitions.count; j++) {
            const struct kafka_offset_fetch_response_group_partition *row =
                &topic->partitions.items[j];
            out->topics.items[i].partitions.items[j] =
                (struct kafka_offset_fetch_response_partition){
                    row->partition_index, row->committed_offset, row->committed_leader_epoch,
                    row->metadata, row->error_code};
        }
    }
}

void broker_group_offset_fetch(struct broker_request *request)
{
    const struct kafka_offset_fetch_request *in = request->in;
    struct kafka_offset_fetch_response *out = request->out;

    if (request->header.request_api_version < 8) {
        fetch_single(request);
        broker_server_answer(request);
        return;
    }
    out->groups.count = in->groups.count;
    out->groups.items = mr_arena_array(&request->arena, struct kafka_offset_fetch_response_group,
                                       (size_t)in->groups.count);
    for (int32_t i = 0; i < in->groups.count; i++)
        fetch_group(request, &in->groups.items[i], in->require_stable, &out->groups.items[i]);
    broker_server_answer(request);
}

/* ---- expiry ---- */

static void group_expire(struct broker_groups *groups, struct broker_group *group, int64_t now_ms)
{
    struct mr_map_entry *entry;
    int64_t used_ms = group->changed_ms;
    int64_t minutes = broker_server_number(groups->server, BROKER_NODE_offsets_retention_minutes);

    if (!broker_group_is_empty(group) || group->txn_offsets > 0 || group->pending.count > 0 ||
        (group->share != NULL && group->share->partitions.count > 0))
        return; /* where a share group stands is kept until it is deleted */
    for (size_t i = 0; (entry = mr_map_next(&group->offsets, &i)) != NULL;) {
        const struct broker_offset *offset = entry->value;
        if (offset->commit_ms > used_ms)
            used_ms = offset->commit_ms;
    }
    if (now_ms - used_ms < minutes * 60000)
        return;
    mr_log(MR_LOG_INFO, "broker", "group %s was empty for %lld minutes and is forgotten", group->id,
           (long long)minutes);
    broker_group_delete(groups, group);
}

static void expiry_wait(struct broker_groups *groups)
{
    int64_t ms = broker_server_number(groups->server,
                                      BROKER_NODE_offsets_retention_check_interval_ms);

    mr_timer_start(groups->server->loop, &groups->expiry, ms * 1000);
}

static void expiry_round(struct mr_timer *timer)
{
    struct broker_groups *groups = mr_container(timer, struct broker_groups, expiry);
    int64_t now_ms = broker_storage_now_ms(&groups->server->storage);
    struct mr_map_entry *entry;

    for (size_t i = 0; (entry = mr_map_next(&groups->by_id, &i)) != NULL;)
        group_expire(groups, entry->value, now_ms);
    expiry_wait(groups);
}

void broker_offsets_start(struct broker_groups *groups)
{
    groups->expiry.run = expiry_round;
    expiry_wait(groups);
}
