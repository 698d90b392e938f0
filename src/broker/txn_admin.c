/* broker/txn_admin.c: transactions and producers as operators look at them, and the marker by which they end a
 * transaction that hangs (KIP-664). */
#include "broker/server.h"
#include "broker/topic_regex.h"

static const char *const state_names[] = {
    [BROKER_TXN_EMPTY] = "Empty",
    [BROKER_TXN_ONGOING] = "Ongoing",
    [BROKER_TXN_PREPARE_COMMIT] = "PrepareCommit",
    [BROKER_TXN_PREPARE_ABORT] = "PrepareAbort",
    [BROKER_TXN_COMPLETE_COMMIT] = "CompleteCommit",
    [BROKER_TXN_COMPLETE_ABORT] = "CompleteAbort",
};
/* Other brokers have these as well, so they are no unknown words. */
static const char *const other_states[] = {"Dead", "PrepareEpochFence"};

/* ---- DescribeTransactions ---- */

static struct kafka_describe_transactions_response_topic *
topic_of(struct broker_request *request, struct mr_map *topics,
         struct kafka_describe_transactions_response_state *answer, const char *name)
{
    struct kafka_describe_transactions_response_topic *topic = mr_map_get(topics,
                                                                          mr_str_from(name));

    if (topic != NULL)
        return topic;
    topic = &answer->topics.items[answer->topics.count++];
    topic->topic = broker_server_text(request, name);
    mr_map_put(topics, mr_str_from(name), topic);
    return topic;
}

static void partitions_tell(struct broker_request *request, const struct broker_txn *txn,
                            struct kafka_describe_transactions_response_state *answer)
{
    size_t count = txn->partitions.count;
    struct mr_map topics = {0};

    answer->topics.items = mr_arena_array(&request->arena,
                                          struct kafka_describe_transactions_response_topic, count);
    for (size_t i = 0; i < count; i++)
        topic_of(request, &topics, answer, txn->partitions.items[i].topic)->partitions.count++;
    for (int32_t i = 0; i < answer->topics.count; i++) {
        struct kafka_describe_transactions_response_topic *topic = &answer->topics.items[i];
        topic->partitions.items = mr_arena_array(&request->arena, int32_t,
                                                 (size_t)topic->partitions.count);
        topic->partitions.count = 0;
    }
    for (size_t i = 0; i < count; i++) {
        struct kafka_describe_transactions_response_topic *topic = topic_of(
            request, &topics, answer, txn->partitions.items[i].topic);
        topic->partitions.items[topic->partitions.count++] = txn->partitions.items[i].index;
    }
    mr_map_fini(&topics);
}

void broker_txn_describe_transactions(struct broker_request *request)
{
    const struct kafka_describe_transactions_request *in = request->in;
    struct kafka_describe_transactions_response *out = request->out;

    out->transaction_states.count = in->transactional_ids.count;
    out->transaction_states.items = mr_arena_array(
        &request->arena, struct kafka_describe_transactions_response_state,
        (size_t)in->transactional_ids.count);
    for (int32_t i = 0; i < in->transactional_ids.count; i++) {
        mr_str id = in->transactional_ids.items[i];
        const struct broker_txn *txn = mr_map_get(&request->server->txns.by_id, id);
        struct kafka_describe_transactions_response_state *answer =
            &out->transaction_states.items[i];
        wire_reset(kafka_describe_transactions_response_state_shape(), answer);
        answer->transactional_id = id;
        if (!request->server->ready)
            answer->error_code = KAFKA_ERROR_COORDINATOR_LOAD_IN_PROGRESS;
        else if (id.length == 0)
            answer->error_code = KAFKA_ERROR_INVALID_REQUEST;
        else if (txn == NULL || txn->producer_id < 0)
            answer->error_code = KAFKA_ERROR_TRANSACTIONAL_ID_NOT_FOUND;
        if (answer->error_code != KAFKA_ERROR_NONE)
            continue;
        answer->transaction_state = mr_str_from(state_names[txn->state]);
        answer->transaction_timeout_ms = txn->timeout_ms;
        answer->transaction_start_time_ms = txn->started_ms;
        answer->producer_id = txn->producer_id;
        answer->producer_epoch = txn->epoch;
        partitions_tell(request, txn, answer);
    }
    broker_server_answer(request);
}

/* ---- ListTransactions ---- */

struct filter {
    const struct kafka_list_transactions_request *in;
    struct mr_map states, producers; /* asked for; producers: 8 bytes */
    struct broker_topic_regex *pattern;
    int64_t now_ms;
};

static bool is_known(mr_str name)
{
    for (size_t i = 0; i < mr_count_of(state_names); i++)
        if (mr_str_equal(name, mr_str_from(state_names[i])))
            return true;
    for (size_t i = 0; i < mr_count_of(other_states); i++)
        if (mr_str_equal(name, mr_str_from(other_states[i])))
            return true;
    return false;
}

static bool passes(const struct filter *filter, const struct broker_txn *txn)
{
    const struct kafka_list_transactions_request *in = filter->in;
    mr_str state = mr_str_from(state_names[txn->state]);

    if (txn->producer_id < 0 ||
        (in->state_filters.count > 0 && mr_map_get(&filter->states, state) == NULL) ||
        (in->producer_id_filters.count > 0 &&
         mr_map_get(&filter->producers,
                    mr_str_of((const char *)&txn->producer_id, sizeof(txn->producer_id))) == NULL))
        return false;
    if ((in->duration_filter >= 0 && filter->now_ms - txn->started_ms <= in->duration_filter))
        return false;
    return filter->pattern == NULL ||
           broker_topic_regex_matches(filter->pattern, mr_str_from(txn->id));
}

void broker_txn_list_transactions(struct broker_request *request)
{
    const struct kafka_list_transactions_request *in = request->in;
    struct kafka_list_transactions_response *out = request->out;
    struct broker_txns *txns = &request->server->txns;
    struct filter filter = {.in = in, .now_ms = broker_storage_now_ms(&request->server->storage)};
    mr_str pattern = in->transactional_id_pattern;
    struct mr_map_entry *entry;

    if (!request->server->ready)
        out->error_code = KAFKA_ERROR_COORDINATOR_LOAD_IN_PROGRESS;
    else if (pattern.length > MR_LIMIT_BROKER_TOPIC_REGEX_BYTES ||
             (pattern.length > 0 && broker_topic_regex_new(pattern, &filter.pattern) != MR_OK))
        out->error_code = KAFKA_ERROR_INVALID_REGULAR_EXPRESSION;
    if (out->error_code != KAFKA_ERROR_NONE) {
        broker_server_answer(request);
        return;
    }
    out->unknown_state_filters.items = mr_arena_array(
        &request->arena, mr_str, in->state_filters.count > 0 ? (size_t)in->state_filters.count : 0);
    for (int32_t i = 0; i < in->state_filters.count; i++)
        if (is_known(in->state_filters.items[i]))
            mr_map_put(&filter.states, in->state_filters.items[i], out);
        else
            out->unknown_state_filters.items[out->unknown_state_filters.count++] =
                in->state_filters.items[i];
    for (int32_t i = 0; i < in->producer_id_filters.count; i++)
        mr_map_put(&filter.producers,
                   mr_str_of((const char *)&in->producer_id_filters.items[i], sizeof(int64_t)),
                   out);
    out->transaction_states.items = mr_arena_array(
        &request->arena, struct kafka_list_transactions_response_state, txns->by_id.count);
    for (size_t i = 0; (entry = mr_map_next(&txns->by_id, &i)) != NULL;) {
        const struct broker_txn *txn = entry->value;
        if (passes(&filter, txn))
            out->transaction_states.items[out->transaction_states.count++] =
                (struct kafka_list_transactions_response_state){
                    broker_server_text(request, txn->id), txn->producer_id,
                    mr_str_from(state_names[txn->state])};
    }
    mr_map_fini(&filter.states);
    mr_map_fini(&filter.producers);
    broker_topic_regex_free(filter.pattern);
    broker_server_answer(request);
}

/* ---- DescribeProducers ---- */

static void producers_tell(struct broker_request *request, const struct broker_producers *producers,
                           struct kafka_describe_producers_response_partition *answer)
{
    struct mr_map_entry *entry;

    answer->active_producers.items = mr_arena_array(
        &request->arena, struct kafka_describe_producers_response_producer, producers->by_id.count);
    for (size_t i = 0; (entry = mr_map_next(&producers->by_id, &i)) != NULL;) {
        const struct broker_producer *producer = entry->value;
        answer->active_producers.items[answer->active_producers.count++] =
            (struct kafka_describe_producers_response_producer){
                .producer_id = producer->id,
                .producer_epoch = producer->epoch,
                .last_sequence = producer->batch_count == 0
                                     ? -1
                                     : producer->batches[producer->batch_count - 1].last,
                .last_timestamp = producer->last_ms,
                .coordinator_epoch = producer->coordinator_epoch,
                .current_txn_start_offset = producer->txn_first};
    }
}

void broker_txn_describe_producers(struct broker_request *request)
{
    const struct kafka_describe_producers_request *in = request->in;
    struct kafka_describe_producers_response *out = request->out;
    struct mr_map seen = {0};

    out->topics.count = in->topics.count;
    out->topics.items = mr_arena_array(
        &request->arena, struct kafka_describe_producers_response_topic, (size_t)in->topics.count);
    for (int32_t i = 0; i < in->topics.count; i++) {
        const struct kafka_describe_producers_request_topic *asked = &in->topics.items[i];
        struct kafka_describe_producers_response_topic *topic = &out->topics.items[i];
        topic->name = asked->name;
        topic->partitions.count = asked->partition_indexes.count;
        topic->partitions.items = mr_arena_array(&request->arena,
                                                 struct kafka_describe_producers_response_partition,
                                                 (size_t)asked->partition_indexes.count);
        for (int32_t k = 0; k < asked->partition_indexes.count; k++) {
            struct kafka_describe_producers_response_partition *answer =
                &topic->partitions.items[k];
            struct broker_partition *partition;
            wire_reset(kafka_describe_producers_response_partition_shape(), answer);
            answer->partition_index = asked->partition_indexes.items[k];
            answer->error_code = broker_server_partition(request->server, asked->name,
                                                         answer->partition_index, &partition);
            if (broker_repeats_count(&seen, asked->name, answer->partition_index) > 1)
                answer->error_code = KAFKA_ERROR_INVALID_REQUEST; /* it is told already */
            if (answer->error_code == KAFKA_ERROR_NONE)
                producers_tell(request, &partition->log->producers, answer);
        }
    }
    mr_map_fini(&seen);
    broker_server_answer(request);
}

/* ---- WriteTxnMarkers: one's end of a transaction in one partition, without its coordinator ---- */

struct marker {
    struct broker_log_wait wait;
    struct markers *all;
    struct broker_log *log; /* in use until it is kept; NULL: nothing to wait for */
    struct kafka_write_txn_markers_response_partition *answer;
};
struct markers {
    struct broker_request *request;
    struct marker *items;
    size_t count, left;
};

static void markers_step(struct markers *all)
{
    if (--all->left > 0)
        return;
    for (size_t i = 0; i < all->count; i++)
        if (all->items[i].log != NULL)
            broker_log_unuse(all->items[i].log);
    broker_server_answer(all->request);
}

static void marker_kept(struct broker_log_wait *wait, mr_err err)
{
    struct marker *marker = mr_container(wait, struct marker, wait);

    if (err != MR_OK)
        marker->answer->error_code = broker_server_error(err);
    markers_step(marker->all);
}

/* The marker of a transaction whose end raised the epoch has to be of a newer one. */
static int16_t marker_check(const struct broker_producer *producer,
                            const struct kafka_write_txn_markers_request_marker *asked)
{
    if (producer == NULL)
        return KAFKA_ERROR_NONE;
    if (asked->producer_epoch < producer->epoch ||
        (asked->transaction_version >= 2 && asked->producer_epoch == producer->epoch))
        return KAFKA_ERROR_INVALID_PRODUCER_EPOCH;
    if (asked->coordinator_epoch < producer->coordinator_epoch)
        return KAFKA_ERROR_TRANSACTION_COORDINATOR_FENCED;
    return KAFKA_ERROR_NONE;
}

static void marker_append(struct markers *all,
                          const struct kafka_write_txn_markers_request_marker *asked, mr_str topic,
                          struct kafka_write_txn_markers_response_partition *answer)
{
    struct broker_server *server = all->request->server;
    struct marker *marker = &all->items[all->count++];
    struct broker_partition *partition;
    int64_t end;

    marker->all = all;
    marker->answer = answer;
    marker->wait.run = marker_kept;
    answer->error_code = broker_server_partition(server, topic, answer->partition_index,
                                                 &partition);
    if (answer->error_code == KAFKA_ERROR_NONE)
        answer->error_code = marker_check(
            broker_producers_find(&partition->log->producers, asked->producer_id), asked);
    if (answer->error_code != KAFKA_ERROR_NONE)
        return;
    mr_err err = broker_journal_marker(partition->log, asked->transaction_result,
                                       asked->producer_id, asked->producer_epoch,
                                       asked->coordinator_epoch, &end);
    if (err != MR_OK) {
        answer->error_code = broker_server_error(err);
        return;
    }
    if (partition->topic->internal)
        broker_groups_txn_end(&server->groups, asked->producer_id, asked->transaction_result);
    marker->log = partition->log;
    marker->log->users++;
    all->left++;
    broker_log_wait_kept(marker->log, &marker->wait, end);
}

static void marker_topics(struct mr_arena *arena,
                          const struct kafka_write_txn_markers_request_marker *asked,
                          struct kafka_write_txn_markers_response_marker *answer, int16_t code)
{
    answer->producer_id = asked->producer_id;
    answer->topics.count = asked->topics.count;
    answer->topics.items = mr_arena_array(arena, struct kafka_write_txn_markers_response_topic,
                                          (size_t)asked->topics.count);
    for (int32_t i = 0; i < asked->topics.count; i++) {
        const struct kafka_write_txn_markers_request_topic *topic = &asked->topics.items[i];
        struct kafka_write_txn_markers_response_topic *told = &answer->topics.items[i];
        told->name = topic->name;
        told->partitions.count = topic->partition_indexes.count;
        told->partitions.items = mr_arena_array(arena,
                                                struct kafka_write_txn_markers_response_partition,
                                                (size_t)topic->partition_indexes.count);
        for (int32_t k = 0; k < topic->partition_indexes.count; k++)
            told->partitions.items[k] = (struct kafka_write_txn_markers_response_partition){
                topic->partition_indexes.items[k], code};
    }
}

size_t broker_txn_markers_lay_out(struct broker_request *request, int16_t code)
{
    const struct kafka_write_txn_markers_request *in = request->in;
    struct kafka_write_txn_markers_response *out = request->out;
    size_t count = 0;

    out->markers.count = in->markers.count;
    out->markers.items = mr_arena_array(
        &request->arena, struct kafka_write_txn_markers_response_marker, (size_t)in->markers.count);
    for (int32_t i = 0; i < in->markers.count; i++) {
        marker_topics(&request->arena, &in->markers.items[i], &out->markers.items[i], code);
        for (int32_t k = 0; k < in->markers.items[i].topics.count; k++)
            count += (size_t)in->markers.items[i].topics.items[k].partition_indexes.count;
    }
    return count;
}

static void marker_append_all(struct markers *all,
                              const struct kafka_write_txn_markers_request_marker *asked,
                              const struct kafka_write_txn_markers_response_marker *answer)
{
    for (int32_t i = 0; i < answer->topics.count; i++)
        for (int32_t k = 0; k < answer->topics.items[i].partitions.count; k++)
            marker_append(all, asked, answer->topics.items[i].name,
                          &answer->topics.items[i].partitions.items[k]);
}

void broker_txn_write_txn_markers(struct broker_request *request)
{
    const struct kafka_write_txn_markers_request *in = request->in;
    const struct kafka_write_txn_markers_response *out = request->out;
    struct markers *all = mr_arena_new(&request->arena, struct markers);

    all->request = request;
    all->items = mr_arena_array(&request->arena, struct marker,
                                broker_txn_markers_lay_out(request, KAFKA_ERROR_NONE));
    all->left = 1;
    for (int32_t i = 0; i < in->markers.count; i++)
        marker_append_all(all, &in->markers.items[i], &out->markers.items[i]);
    markers_step(all);
}
