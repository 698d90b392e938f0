/* kafka/transaction.c: when records of a transaction may go, and how it ends (KIP-98, KIP-890).
 *
 *   NEW --init--> STARTING --InitProducerId--> READY --begin--> OPEN --commit--> COMMITTING
 *                                                ^               |                  |   |
 *                                                |             abort        trouble |   | done
 *                                                |               v                  v   v
 *                                                +---------- ABORTING <--abort-- OPEN  READY
 *
 * A partition has to be part of the transaction (AddPartitionsToTxn answered) before its records
 * go. Both at once would save a round trip and lose records: EndTxn is answered before its markers
 * are written, so a batch that goes ahead can land in front of the marker of the transaction
 * before, and share its fate. The answer to AddPartitionsToTxn is the proof that the markers
 * stand. The same holds for AddOffsetsToTxn and the offsets. EndTxn waits for every
 * acknowledgement: a broker would commit the rest.
 *
 * Where the cluster has transaction.version 2, neither is asked: each end gives the next transaction
 * an epoch of its own, so a marker cannot take in what is not its, and the brokers add what is written.
 */
#include "kafka/producer.h"

enum {
    ADD_VERSION_MAX = 3, /* later ones are for brokers */
    /* The older ones are spoken where an end does not raise the epoch: the newer are what says so. */
    OFFSETS_VERSION_MAX = 5,
    OFFSETS_VERSION_MAX_ADDED = 4,
    END_VERSION_MAX = 5,
    END_VERSION_MAX_KEPT = 4,
};

static bool is_transactional(const struct kafka_producer *producer)
{
    return producer->transactional_id.data != NULL;
}

static bool is_fencing(int16_t code)
{
    return kafka_error_to_err(code) == MR_FENCED;
}

static struct kafka_call_options call_options(struct kafka_producer *producer, int16_t api_key,
                                              int16_t version_max)
{
    return (struct kafka_call_options){
        .target = {KAFKA_TARGET_TRANSACTION, producer->transactional_id, 0},
        .lane = producer,
        .api_key = api_key,
        .version_max = version_max,
        .context = producer,
    };
}

/* The answer of init, commit or abort. */
static void done_tell(struct kafka_producer *producer, mr_err err)
{
    kafka_done *done = producer->done;
    producer->done = NULL;
    if (done != NULL)
        kafka_producer_later(producer, done, producer->done_context, err);
}

/* Fenced, or something else that no retry mends: the transaction, or the producer, is at its end.
 */
static mr_err code_fail(struct kafka_producer *producer, int16_t code, const char *what)
{
    mr_err err = mr_fail(kafka_error_to_err(code), "kafka producer %.*s: %s: %s: %s",
                         MR_STR_ARG(producer->transactional_id), what, kafka_error_name(code),
                         kafka_error_text(code));
    kafka_producer_fail(producer, err);
    if (is_fencing(code) || code == KAFKA_ERROR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
        producer->state = KAFKA_PRODUCER_BROKEN;
    return err;
}

static void err_clear(struct kafka_producer *producer)
{
    if (producer->state == KAFKA_PRODUCER_BROKEN)
        return;
    producer->err = MR_OK;
    mr_free(producer->why);
    producer->why = NULL;
}

/* ---- InitProducerId ---- */

static void start_fill(void *context, int16_t version, struct mr_arena *arena, void *request)
{
    struct kafka_producer *producer = context;
    struct kafka_init_producer_id_request *init = request;
    (void)version;
    (void)arena;
    init->transactional_id = producer->transactional_id;
    init->transaction_timeout_ms = producer->options.transaction_timeout_ms;
    if (is_transactional(producer) && producer->producer_id >= 0) {
        init->producer_id = producer->producer_id; /* KIP-360: the next epoch, please */
        init->producer_epoch = producer->producer_epoch;
    }
}

static int16_t start_judge(void *context, const void *response)
{
    (void)context;
    return ((const struct kafka_init_producer_id_response *)response)->error_code;
}

static void start_done(void *context, mr_err err, int16_t version, const void *response)
{
    struct kafka_producer *producer = context;
    const struct kafka_init_producer_id_response *init = response;
    (void)version;
    if (err == MR_OK && init->error_code == KAFKA_ERROR_NONE) {
        producer->producer_id = init->producer_id;
        producer->producer_epoch = init->producer_epoch;
        producer->state = KAFKA_PRODUCER_READY;
        kafka_producer_renumber(producer);
    } else {
        producer->state = KAFKA_PRODUCER_NEW;
        producer->producer_id = -1;
        if (err == MR_OK && is_transactional(producer)) {
            err = code_fail(producer, init->error_code, "InitProducerId");
            err_clear(producer);
        } else if (err == MR_OK) {
            err = kafka_error_fail(init->error_code, "kafka producer: InitProducerId");
        }
        if (!is_transactional(producer))
            kafka_producer_wake_in(producer, KAFKA_BACKOFF_MAX_MS * 1000); /* batches time out */
    }
    done_tell(producer, err);
    kafka_producer_wake(producer);
}

void kafka_transaction_start(struct kafka_producer *producer)
{
    struct kafka_call_options options = call_options(producer, KAFKA_API_init_producer_id, -1);
    if (!is_transactional(producer))
        options.target.kind = KAFKA_TARGET_ANY;
    options.fill = start_fill;
    options.judge = start_judge;
    options.done = start_done;
    producer->state = KAFKA_PRODUCER_STARTING;
    kafka_call_start(producer->client, &options);
}

void kafka_producer_init(struct kafka_producer *producer, kafka_done *done, void *context)
{
    mr_err err = MR_OK;
    if (producer->state == KAFKA_PRODUCER_BROKEN)
        err = mr_fail(producer->err, "%s", producer->why);
    else if (producer->state != KAFKA_PRODUCER_NEW && producer->state != KAFKA_PRODUCER_READY)
        err = mr_fail(MR_CONFLICT, "kafka producer: init while it is busy");
    else if (producer->in_flight > 0)
        err = mr_fail(MR_CONFLICT, "kafka producer: init while records are under way");
    if (err != MR_OK) {
        kafka_producer_later(producer, done, context, err);
        return;
    }
    producer->done = done;
    producer->done_context = context;
    producer->producer_id = -1;
    err_clear(producer);
    kafka_transaction_start(producer);
}

/* ---- AddPartitionsToTxn ---- */

void kafka_transaction_join(struct kafka_producer_partition *partition)
{
    struct kafka_producer *producer = partition->topic->producer;
    for (size_t i = 0; i < producer->members.count; i++) {
        if (producer->members.items[i] == partition)
            return;
    }
    partition->membership = producer->raising ? KAFKA_MEMBER_ADDED : KAFKA_MEMBER_ABSENT;
    *mr_array_add(&producer->members) = partition;
}

/* Partitions of one topic stand together in the request. */
static void add_fill(void *context, int16_t version, struct mr_arena *arena, void *request)
{
    struct kafka_producer *producer = context;
    struct kafka_add_partitions_to_txn_request *add = request;
    (void)version;
    add->transactional_id = producer->transactional_id;
    add->producer_id = producer->producer_id;
    add->producer_epoch = producer->producer_epoch;
    add->topics.items = mr_arena_array(arena, struct kafka_add_partitions_to_txn_request_topic,
                                       producer->members.count + 1);
    for (size_t i = 0; i < producer->members.count; i++) {
        struct kafka_producer_partition *partition = producer->members.items[i];
        struct kafka_add_partitions_to_txn_request_topic *topic = NULL;
        mr_str name = partition->topic->meta->name;
        if (partition->membership != KAFKA_MEMBER_ADDING)
            continue;
        for (int32_t k = 0; topic == NULL && k < add->topics.count; k++) {
            if (add->topics.items[k].name.data == name.data)
                topic = &add->topics.items[k];
        }
        if (topic == NULL) {
            topic = &add->topics.items[add->topics.count++];
            topic->name = name;
            topic->partitions.items = mr_arena_array(arena, wire_i32, producer->members.count - i);
        }
        topic->partitions.items[topic->partitions.count++] = partition->index;
    }
}

/* The code that matters: one partition's trouble leaves the others "not attempted". */
static int16_t add_judge(void *context, const void *response)
{
    (void)context;
    const struct kafka_add_partitions_to_txn_response *add = response;
    int16_t code = KAFKA_ERROR_NONE;
    for (int32_t i = 0; i < add->results_by_topic.count; i++) {
        const struct kafka_add_partitions_to_txn_response_topic *topic =
            &add->results_by_topic.items[i];
        for (int32_t k = 0; k < topic->results_by_partition.count; k++) {
            int16_t one = topic->results_by_partition.items[k].partition_error_code;
            if (one != KAFKA_ERROR_NONE &&
                (code == KAFKA_ERROR_NONE || code == KAFKA_ERROR_OPERATION_NOT_ATTEMPTED))
                code = one;
        }
    }
    return code;
}

static void add_done(void *context, mr_err err, int16_t version, const void *response)
{
    struct kafka_producer *producer = context;
    (void)version;
    producer->adding = false;
    int16_t code = err == MR_OK ? add_judge(producer, response) : KAFKA_ERROR_NONE;
    if (err != MR_OK)
        kafka_producer_fail(producer, err);
    else if (code != KAFKA_ERROR_NONE)
        code_fail(producer, code, "AddPartitionsToTxn");
    for (size_t i = 0; i < producer->members.count; i++) {
        struct kafka_producer_partition *partition = producer->members.items[i];
        if (partition->membership == KAFKA_MEMBER_ADDING)
            partition->membership = producer->err == MR_OK ? KAFKA_MEMBER_ADDED
                                                           : KAFKA_MEMBER_ABSENT;
    }
    kafka_producer_wake(producer);
}

void kafka_transaction_add(struct kafka_producer *producer)
{
    bool any = false;
    if (producer->adding)
        return;
    for (size_t i = 0; i < producer->members.count; i++) {
        struct kafka_producer_partition *partition = producer->members.items[i];
        if (partition->membership != KAFKA_MEMBER_ABSENT)
            continue;
        partition->membership = KAFKA_MEMBER_ADDING;
        any = true;
    }
    if (!any)
        return;
    struct kafka_call_options options = call_options(producer, KAFKA_API_add_partitions_to_txn,
                                                     ADD_VERSION_MAX);
    options.fill = add_fill;
    options.judge = add_judge;
    options.done = add_done;
    producer->adding = producer->asked = true;
    kafka_call_start(producer->client, &options);
}

/* ---- offsets ---- */

mr_err kafka_producer_send_offsets(struct kafka_producer *producer, mr_str group,
                                   const struct kafka_offset *offsets, size_t count)
{
    if (producer->err != MR_OK)
        return mr_fail(producer->err, "%s", producer->why);
    if (producer->state != KAFKA_PRODUCER_OPEN)
        return mr_fail(MR_CONFLICT, "kafka producer: offsets without an open transaction");
    struct kafka_producer_offsets *sent = mr_arena_new(&producer->arena,
                                                       struct kafka_producer_offsets);
    sent->producer = producer;
    sent->group = mr_arena_str(&producer->arena, group);
    sent->offsets = mr_arena_array(&producer->arena, struct kafka_offset, count + 1);
    sent->count = count;
    sent->started = sent->added = producer->raising;
    for (size_t i = 0; i < count; i++) {
        sent->offsets[i] = offsets[i];
        sent->offsets[i].topic = mr_arena_str(&producer->arena, offsets[i].topic);
    }
    *mr_array_add(&producer->offsets) = sent;
    return MR_OK;
}

static void offsets_add_fill(void *context, int16_t version, struct mr_arena *arena, void *request)
{
    struct kafka_producer_offsets *offsets = context;
    struct kafka_add_offsets_to_txn_request *add = request;
    (void)version;
    (void)arena;
    add->transactional_id = offsets->producer->transactional_id;
    add->producer_id = offsets->producer->producer_id;
    add->producer_epoch = offsets->producer->producer_epoch;
    add->group_id = offsets->group;
}

static int16_t offsets_add_judge(void *context, const void *response)
{
    (void)context;
    return ((const struct kafka_add_offsets_to_txn_response *)response)->error_code;
}

static void offsets_add_done(void *context, mr_err err, int16_t version, const void *response)
{
    struct kafka_producer_offsets *offsets = context;
    struct kafka_producer *producer = offsets->producer;
    const struct kafka_add_offsets_to_txn_response *add = response;
    (void)version;
    producer->offset_calls--;
    if (err != MR_OK)
        kafka_producer_fail(producer, err);
    else if (add->error_code != KAFKA_ERROR_NONE)
        code_fail(producer, add->error_code, "AddOffsetsToTxn");
    else
        offsets->added = true;
    kafka_producer_wake(producer);
}

static void offsets_fill(void *context, int16_t version, struct mr_arena *arena, void *request)
{
    struct kafka_producer_offsets *offsets = context;
    struct kafka_txn_offset_commit_request *commit = request;
    (void)version;
    commit->transactional_id = offsets->producer->transactional_id;
    commit->group_id = offsets->group;
    commit->producer_id = offsets->producer->producer_id;
    commit->producer_epoch = offsets->producer->producer_epoch;
    commit->topics.items = mr_arena_array(arena, struct kafka_txn_offset_commit_request_topic,
                                          offsets->count + 1);
    for (size_t i = 0; i < offsets->count; i++) {
        const struct kafka_offset *offset = &offsets->offsets[i];
        struct kafka_txn_offset_commit_request_topic *topic = NULL;
        for (int32_t k = 0; topic == NULL && k < commit->topics.count; k++) {
            if (mr_str_equal(commit->topics.items[k].name, offset->topic))
                topic = &commit->topics.items[k];
        }
        if (topic == NULL) {
            topic = &commit->topics.items[commit->topics.count++];
            topic->name = offset->topic;
            topic->partitions.items = mr_arena_array(
                arena, struct kafka_txn_offset_commit_request_partition, offsets->count - i);
        }
        topic->partitions.items[topic->partitions.count++] =
            (struct kafka_txn_offset_commit_request_partition){
                .partition_index = offset->partition,
                .committed_offset = offset->offset,
                .committed_leader_epoch = -1,
                .committed_metadata = MR_STR(""),
            };
    }
}

static int16_t offsets_judge(void *context, const void *response)
{
    (void)context;
    const struct kafka_txn_offset_commit_response *commit = response;
    for (int32_t i = 0; i < commit->topics.count; i++) {
        for (int32_t k = 0; k < commit->topics.items[i].partitions.count; k++) {
            if (commit->topics.items[i].partitions.items[k].error_code != KAFKA_ERROR_NONE)
                return commit->topics.items[i].partitions.items[k].error_code;
        }
    }
    return KAFKA_ERROR_NONE;
}

static void offsets_done(void *context, mr_err err, int16_t version, const void *response)
{
    struct kafka_producer_offsets *offsets = context;
    struct kafka_producer *producer = offsets->producer;
    int16_t code = err == MR_OK ? offsets_judge(NULL, response) : KAFKA_ERROR_NONE;
    (void)version;
    producer->offset_calls--;
    offsets->committing = false;
    if (err != MR_OK)
        kafka_producer_fail(producer, err);
    else if (code != KAFKA_ERROR_NONE)
        code_fail(producer, code, "TxnOffsetCommit");
    else
        offsets->done = true;
    kafka_producer_wake(producer);
}

/* AddOffsetsToTxn where that is needed, then TxnOffsetCommit; beside the records. */
static void offsets_step(struct kafka_producer_offsets *offsets)
{
    struct kafka_producer *producer = offsets->producer;
    if (!offsets->started) {
        struct kafka_call_options options = call_options(producer, KAFKA_API_add_offsets_to_txn,
                                                         -1);
        options.fill = offsets_add_fill;
        options.judge = offsets_add_judge;
        options.done = offsets_add_done;
        options.context = offsets;
        offsets->started = producer->asked = true;
        producer->offset_calls++;
        kafka_call_start(producer->client, &options);
    }
    if (offsets->done || offsets->committing || !offsets->added)
        return;
    struct kafka_call_options options = call_options(producer, KAFKA_API_txn_offset_commit,
                                                     producer->raising ? OFFSETS_VERSION_MAX
                                                                       : OFFSETS_VERSION_MAX_ADDED);
    options.target = (struct kafka_target){KAFKA_TARGET_GROUP, offsets->group, 0};
    options.fill = offsets_fill;
    options.judge = offsets_judge;
    options.done = offsets_done;
    options.context = offsets;
    offsets->committing = producer->asked = true;
    producer->offset_calls++;
    kafka_call_start(producer->client, &options);
}

/* ---- begin, commit, abort ---- */

mr_err kafka_producer_begin(struct kafka_producer *producer)
{
    if (producer->state == KAFKA_PRODUCER_BROKEN)
        return mr_fail(producer->err, "%s", producer->why);
    if (!is_transactional(producer) || producer->state != KAFKA_PRODUCER_READY)
        return mr_fail(MR_CONFLICT,
                       "kafka producer: begin needs a transactional producer that is ready");
    producer->state = KAFKA_PRODUCER_OPEN;
    producer->raising = producer->client->ends_raise;
    return MR_OK;
}

/* Nothing of the transaction is left; `state` is what comes now. */
static void transaction_clear(struct kafka_producer *producer, enum kafka_producer_state state)
{
    for (size_t i = 0; i < producer->members.count; i++)
        producer->members.items[i]->membership = KAFKA_MEMBER_ABSENT;
    producer->members.count = 0;
    producer->offsets.count = 0;
    mr_arena_reset(&producer->arena);
    producer->ending = producer->asked = false;
    if (producer->state != KAFKA_PRODUCER_BROKEN)
        producer->state = state;
    err_clear(producer);
}

static void end_fill(void *context, int16_t version, struct mr_arena *arena, void *request)
{
    struct kafka_producer *producer = context;
    struct kafka_end_txn_request *end = request;
    (void)version;
    (void)arena;
    end->transactional_id = producer->transactional_id;
    end->producer_id = producer->producer_id;
    end->producer_epoch = producer->producer_epoch;
    end->committed = producer->state == KAFKA_PRODUCER_COMMITTING;
}

static int16_t end_judge(void *context, const void *response)
{
    (void)context;
    return ((const struct kafka_end_txn_response *)response)->error_code;
}

/* Who the next transaction is, if the broker says. */
static void end_adopt(struct kafka_producer *producer, const struct kafka_end_txn_response *end)
{
    if (end->producer_id < 0)
        return;
    producer->producer_id = end->producer_id;
    producer->producer_epoch = end->producer_epoch;
    kafka_producer_renumber(producer);
}

/* The broker had no such transaction (it timed out there): a new epoch makes a clean start. */
static void abort_done(struct kafka_producer *producer, mr_err err, int16_t code)
{
    if (code != KAFKA_ERROR_NONE && is_fencing(code)) {
        err = code_fail(producer, code, "EndTxn");
    } else if (err != MR_OK) {
        transaction_clear(producer, KAFKA_PRODUCER_NEW);
    } else if (code != KAFKA_ERROR_NONE || producer->gap) {
        transaction_clear(producer, KAFKA_PRODUCER_READY);
        kafka_transaction_start(producer); /* tells `done` */
        return;
    } else {
        transaction_clear(producer, KAFKA_PRODUCER_READY);
    }
    done_tell(producer, err);
}

static void end_done(void *context, mr_err err, int16_t version, const void *response)
{
    struct kafka_producer *producer = context;
    int16_t code = err == MR_OK ? end_judge(NULL, response) : KAFKA_ERROR_NONE;
    (void)version;
    producer->ending = false;
    if (err == MR_OK && code == KAFKA_ERROR_NONE)
        end_adopt(producer, response);
    if (producer->state == KAFKA_PRODUCER_ABORTING) {
        abort_done(producer, err, code);
        return;
    }
    if (err != MR_OK) { /* nobody knows: the next init finds out */
        char *why = mr_copy_cstr(mr_str_from(mr_why()));
        transaction_clear(producer, KAFKA_PRODUCER_NEW);
        mr_fail(err, "%s", why);
        mr_free(why);
    } else if (code == KAFKA_ERROR_NONE) {
        transaction_clear(producer, KAFKA_PRODUCER_READY);
    } else {
        producer->state = KAFKA_PRODUCER_OPEN;
        err = code_fail(producer, code, "EndTxn");
    }
    done_tell(producer, err);
}

static void end_send(struct kafka_producer *producer)
{
    struct kafka_call_options options = call_options(
        producer, KAFKA_API_end_txn, producer->raising ? END_VERSION_MAX : END_VERSION_MAX_KEPT);
    options.fill = end_fill;
    options.judge = end_judge;
    options.done = end_done;
    producer->ending = true;
    kafka_call_start(producer->client, &options);
}

static bool is_anything_under_way(const struct kafka_producer *producer)
{
    return producer->adding || producer->in_flight > 0 || producer->offset_calls > 0;
}

static void commit_step(struct kafka_producer *producer)
{
    if (producer->err != MR_OK) {
        if (is_anything_under_way(producer))
            return;
        producer->state = KAFKA_PRODUCER_OPEN;
        mr_fail(producer->err, "%s", producer->why);
        done_tell(producer, producer->err);
        return;
    }
    bool ready = producer->live == 0 && !producer->adding;
    for (size_t i = 0; i < producer->offsets.count; i++) {
        offsets_step(producer->offsets.items[i]);
        ready = ready && producer->offsets.items[i]->added && producer->offsets.items[i]->done;
    }
    for (size_t i = 0; i < producer->members.count; i++)
        ready = ready && producer->members.items[i]->membership == KAFKA_MEMBER_ADDED;
    if (!ready || producer->offset_calls > 0)
        return;
    if (producer->members.count > 0 || producer->offsets.count > 0) {
        end_send(producer);
        return;
    }
    transaction_clear(producer, KAFKA_PRODUCER_READY); /* it was empty: the broker knows of none */
    done_tell(producer, MR_OK);
}

static void abort_step(struct kafka_producer *producer)
{
    kafka_producer_drop_unsent(producer);
    if (is_anything_under_way(producer))
        return;
    if (producer->asked)
        end_send(producer);
    else
        abort_done(producer, MR_OK, KAFKA_ERROR_NONE);
}

void kafka_transaction_step(struct kafka_producer *producer)
{
    if (producer->ending)
        return;
    if (producer->state == KAFKA_PRODUCER_COMMITTING) {
        commit_step(producer);
    } else if (producer->state == KAFKA_PRODUCER_ABORTING) {
        abort_step(producer);
    } else if (producer->state == KAFKA_PRODUCER_BROKEN) {
        kafka_producer_drop_unsent(producer);
        if (producer->done != NULL) {
            mr_fail(producer->err, "%s", producer->why);
            done_tell(producer, producer->err);
        }
    }
}

static bool may_end(struct kafka_producer *producer, kafka_done *done, void *context)
{
    mr_err err = MR_OK;
    if (producer->state == KAFKA_PRODUCER_BROKEN)
        err = mr_fail(producer->err, "%s", producer->why);
    else if (producer->state != KAFKA_PRODUCER_OPEN)
        err = mr_fail(MR_CONFLICT, "kafka producer: no transaction is open");
    if (err == MR_OK)
        return true;
    kafka_producer_later(producer, done, context, err);
    return false;
}

void kafka_producer_commit(struct kafka_producer *producer, kafka_done *done, void *context)
{
    if (!may_end(producer, done, context))
        return;
    producer->done = done;
    producer->done_context = context;
    producer->state = KAFKA_PRODUCER_COMMITTING;
    producer->flush_serial = producer->serial;
    kafka_producer_wake(producer);
}

void kafka_producer_abort(struct kafka_producer *producer, kafka_done *done, void *context)
{
    if (!may_end(producer, done, context))
        return;
    producer->done = done;
    producer->done_context = context;
    producer->state = KAFKA_PRODUCER_ABORTING;
    kafka_producer_wake(producer);
}

void kafka_transaction_fini(struct kafka_producer *producer)
{
    mr_arena_fini(&producer->arena);
    mr_array_fini(&producer->members);
    mr_array_fini(&producer->offsets);
}
