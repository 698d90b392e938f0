/* broker/txn.c: transactions over several partitions.
 *
 *   EMPTY -> ONGOING -> PREPARE_COMMIT -> COMPLETE_COMMIT -> ONGOING ...
 *              |    \-> PREPARE_ABORT  -> COMPLETE_ABORT  ->/
 *              add      end, timeout,     marks written
 *                       init (fences)
 *
 * The outcome is decided when the PREPARE record is on the disk: then the markers are appended, and
 * when they are written (visible), the client has its answer. So a transaction costs two syncs: its
 * data, and PREPARE. What may be lost with the power is made good at a start:
 * - A marker. So no later record of this transactional id goes to the log until the markers are synced
 *   ("settled"): PREPARE stays the last word, and a start writes the markers again. Each transaction of
 *   an id has a number, kept in a header of its records and in its markers (as coordinator epoch); a
 *   partition that has the marker of this number is done, whatever was begun there since.
 * - An ONGOING record (it is not waited for). Then a partition has an open transaction that the
 *   coordinator does not know of: it is aborted, and its producer fenced.
 *
 * With EndTxn of version 5 (KIP-890) each end raises the producer's epoch, so that what comes late from
 * the transaction before is known by its epoch; PREPARE has the new one already, and so have the
 * markers. The last epoch of a producer id is followed by a new id (`next_id`). A partition then joins
 * with its first batch, and nobody asks for it before. */
#include "broker/server.h"

#include <stdio.h>

enum {
    EPOCH_LAST = INT16_MAX - 1,
    SETTLE_US = 20 * 1000,
    RETRY_US = 1000 * 1000,
};

static struct broker_log *state_log(const struct broker_txns *txns)
{
    return broker_server_internal(txns->server, MR_STR("__transaction_state"));
}

/* ---- what is kept ---- */

static mr_str producer_key(const int64_t *id)
{
    return mr_str_of(id, sizeof(*id));
}

static struct broker_txn *txn_of_producer(const struct broker_txns *txns, int64_t id)
{
    return mr_map_get(&txns->by_producer, producer_key(&id));
}

static void txn_timeout(struct mr_timer *timer);
static void settle_due(struct mr_timer *timer);

struct broker_txn *broker_txn_make(struct broker_txns *txns, mr_str id)
{
    struct broker_txn *txn = mr_map_get(&txns->by_id, id);

    if (txn != NULL)
        return txn;
    txn = mr_new(struct broker_txn);
    txn->txns = txns;
    txn->id = mr_copy_cstr(id);
    txn->producer_id = txn->started_ms = txn->previous_id = txn->next_id = -1;
    txn->last_epoch = -1;
    txn->timeout.run = txn_timeout;
    txn->settle.run = settle_due;
    mr_map_put(&txns->by_id, id, txn);
    return txn;
}

void broker_txn_partitions_clear(struct broker_txn *txn)
{
    for (size_t i = 0; i < txn->partitions.count; i++)
        mr_free(txn->partitions.items[i].topic);
    txn->partitions.count = 0;
    mr_map_fini(&txn->known);
}

static void marks_free(struct broker_txn *txn)
{
    for (size_t i = 0; i < txn->mark_count; i++)
        if (txn->marks[i].log != NULL)
            broker_log_unuse(txn->marks[i].log);
    mr_free(txn->marks);
    txn->marks = NULL;
    txn->mark_count = txn->marks_left = 0;
}

static void txn_free(struct broker_txn *txn)
{
    mr_timer_stop(&txn->timeout);
    mr_timer_stop(&txn->settle);
    broker_txn_partitions_clear(txn);
    mr_array_fini(&txn->partitions);
    mr_free(txn->marks);
    mr_free(txn->id);
    mr_free(txn);
}

enum { PARTITION_KEY_BYTES = 300 };

static mr_str partition_key(mr_str topic, int32_t index, char into[PARTITION_KEY_BYTES])
{
    int length = snprintf(into, PARTITION_KEY_BYTES, "%.*s/%d",
                          (int)(topic.length > 249 ? 249 : topic.length), topic.data, index);
    return mr_str_of(into, (size_t)length);
}

static bool has_partition(const struct broker_txn *txn, mr_str topic, int32_t index)
{
    char key[PARTITION_KEY_BYTES];
    return topic.length <= 249 && mr_map_get(&txn->known, partition_key(topic, index, key)) != NULL;
}

bool broker_txn_partition_add(struct broker_txn *txn, mr_str topic, int32_t index)
{
    char key[PARTITION_KEY_BYTES];

    if (has_partition(txn, topic, index))
        return false;
    mr_map_put(&txn->known, partition_key(topic, index, key), txn);
    *mr_array_add(&txn->partitions) = (struct broker_txn_partition){mr_copy_cstr(topic), index};
    return true;
}

void broker_txn_producer_set(struct broker_txn *txn, int64_t producer_id, int16_t epoch)
{
    if (txn->producer_id != producer_id) {
        if (txn->producer_id >= 0)
            mr_map_remove(&txn->txns->by_producer, producer_key(&txn->producer_id));
        txn->producer_id = producer_id;
        mr_map_put(&txn->txns->by_producer, producer_key(&txn->producer_id), txn);
    }
    txn->epoch = epoch;
}

bool broker_txn_is_open(enum broker_txn_state state)
{
    return state == BROKER_TXN_ONGOING || state == BROKER_TXN_PREPARE_COMMIT ||
           state == BROKER_TXN_PREPARE_ABORT;
}

/* Notes the present state in the log, or as soon as that is allowed. */
static void txn_save(struct broker_txn *txn)
{
    int64_t end;

    txn->changed_ms = broker_storage_now_ms(&txn->txns->server->storage);
    if (txn->unsettled) {
        txn->save_wanted = true;
        return;
    }
    txn->save_wanted = false;
    if (broker_txn_write(txn, txn->state, &end) != MR_OK)
        mr_log(MR_LOG_ERROR, "broker", "transaction %s: its state is not saved: %s", txn->id,
               mr_why());
}

/* ---- starting: InitProducerId ---- */

struct start {
    struct broker_log_wait wait;
    struct broker_request *request;
};

static void start_answer(struct broker_request *request, int16_t code, int64_t producer_id,
                         int16_t epoch)
{
    struct kafka_init_producer_id_response *out = request->out;

    out->error_code = code;
    out->producer_id = code == KAFKA_ERROR_NONE ? producer_id : -1;
    out->producer_epoch = code == KAFKA_ERROR_NONE ? epoch : -1;
    broker_server_answer(request);
}

static void start_kept(struct broker_log_wait *wait, mr_err err)
{
    struct start *start = mr_container(wait, struct start, wait);
    struct kafka_init_producer_id_response *out = start->request->out;

    start_answer(start->request,
                 err == MR_OK ? KAFKA_ERROR_NONE : KAFKA_ERROR_COORDINATOR_NOT_AVAILABLE,
                 out->producer_id, out->producer_epoch);
}

/* A producer that asks again for the epoch that it was given, because it did not hear the answer. */
static bool is_asked_again(const struct broker_txn *txn,
                           const struct kafka_init_producer_id_request *in)
{
    if (in->producer_id < 0)
        return false;
    return in->producer_id == txn->producer_id
               ? in->producer_epoch == txn->last_epoch
               : in->producer_id == txn->previous_id && in->producer_epoch >= EPOCH_LAST;
}

/* The next epoch, of a new producer id after the last one; false: no id is to be had now. */
static bool start_raise(struct broker_txn *txn, const struct kafka_init_producer_id_request *in)
{
    bool asked = in->producer_id >= 0 && txn->producer_id >= 0;
    int64_t producer_id = txn->producer_id;
    int16_t epoch = (int16_t)(txn->epoch + 1);

    if (producer_id < 0 || txn->epoch >= EPOCH_LAST) {
        producer_id = broker_topics_producer_id(&txn->txns->server->topics);
        epoch = 0;
    }
    if (producer_id < 0)
        return false;
    txn->last_epoch = asked && epoch > 0 ? in->producer_epoch : -1;
    txn->previous_id = asked && epoch == 0 ? in->producer_id : -1;
    broker_txn_producer_set(txn, producer_id, epoch);
    return true;
}

/* No transaction is open: the producer gets the next epoch. */
static void start_now(struct broker_txn *txn, struct broker_request *request)
{
    const struct kafka_init_producer_id_request *in = request->in;
    struct kafka_init_producer_id_response *out = request->out;
    struct start *start = mr_arena_new(&request->arena, struct start);
    int64_t end;

    if (!is_asked_again(txn, in) && !start_raise(txn, in)) {
        start_answer(request, KAFKA_ERROR_COORDINATOR_LOAD_IN_PROGRESS, -1, -1);
        return;
    }
    txn->timeout_ms = in->transaction_timeout_ms;
    txn->state = BROKER_TXN_EMPTY;
    txn->raises = false;
    txn->started_ms = -1;
    txn->changed_ms = broker_storage_now_ms(&txn->txns->server->storage);
    out->producer_id = txn->producer_id;
    out->producer_epoch = txn->epoch;
    request->abandon = NULL; /* the record names it until it is kept */
    start->request = request;
    start->wait.run = start_kept;
    if (broker_txn_write(txn, txn->state, &end) != MR_OK)
        start_answer(request, KAFKA_ERROR_COORDINATOR_NOT_AVAILABLE, -1, -1);
    else
        broker_log_wait_kept(state_log(txn->txns), &start->wait, end);
}

/* ---- ending ---- */

static void txn_mark(struct broker_txn *txn);
static void txn_prepare(struct broker_txn *txn, bool commit, bool raise);
static void txn_fence(struct broker_txn *txn);
static void prepare_write(struct broker_txn *txn);

static void end_answer(struct broker_request *request, int16_t code, const struct broker_txn *txn)
{
    struct kafka_end_txn_response *out = request->out;

    out->error_code = code;
    if (code == KAFKA_ERROR_NONE) {
        out->producer_id = txn->producer_id;
        out->producer_epoch = txn->epoch;
    }
    broker_server_answer(request);
}

static void ending_answer(struct broker_txn *txn, int16_t code)
{
    struct broker_request *request = txn->ending;

    txn->ending = NULL;
    if (request == NULL)
        return;
    end_answer(request, code, txn);
}

static void recover_step(struct broker_txns *txns)
{
    if (txns->recover_begun && txns->recovering == 0) {
        txns->recover_begun = false;
        txns->recovered(txns);
    }
}

/* The markers are on the disk, so the log may move on: COMPLETE, and what came since. */
static void txn_settled(struct broker_txn *txn)
{
    struct broker_request *starting = txn->starting;
    int64_t end;

    marks_free(txn);
    txn->unsettled = txn->settling = false;
    mr_timer_stop(&txn->settle);
    if (broker_txn_write(txn, txn->marked, &end) != MR_OK)
        mr_log(MR_LOG_ERROR, "broker", "transaction %s: its end is not saved: %s", txn->id,
               mr_why());
    if (txn->prepare_wanted) {
        txn->prepare_wanted = false;
        txn_prepare(txn, txn->prepare_commit, txn->raise_wanted);
        return;
    }
    if (txn->save_wanted)
        txn_save(txn);
    if (starting == NULL)
        return;
    if (txn->state == BROKER_TXN_ONGOING) { /* begun by the old producer meanwhile */
        txn_fence(txn);
        return;
    }
    txn->starting = NULL;
    start_now(txn, starting);
}

/* Something could not be written: again in a while, unless the broker stops. */
static void retry_later(struct broker_txn *txn)
{
    if (txn->txns->server->closing)
        marks_free(txn);
    else
        mr_timer_start(txn->txns->server->loop, &txn->settle, RETRY_US);
}

static bool any_failed(const struct broker_txn *txn)
{
    for (size_t i = 0; i < txn->mark_count; i++)
        if (txn->marks[i].failed)
            return true;
    return false;
}

static void settle_step(struct broker_txn *txn)
{
    if (--txn->marks_left > 0)
        return;
    if (any_failed(txn)) { /* PREPARE stays the last word; a start would mark again */
        txn->settling = false;
        retry_later(txn);
        return;
    }
    txn_settled(txn);
}

static void mark_settled(struct broker_log_wait *wait, mr_err err)
{
    struct broker_txn_mark *mark = mr_container(wait, struct broker_txn_mark, wait);

    mark->failed = err != MR_OK && err != MR_NOT_FOUND;
    settle_step(mark->txn);
}

static void txn_settle(struct broker_txn *txn)
{
    if (!txn->unsettled || txn->settling)
        return;
    txn->settling = true;
    mr_timer_stop(&txn->settle);
    txn->marks_left = txn->mark_count + 1;
    for (size_t i = 0; i < txn->mark_count; i++) {
        struct broker_txn_mark *mark = &txn->marks[i];
        mark->failed = false;
        mark->wait.run = mark_settled;
        if (mark->log == NULL)
            settle_step(txn);
        else
            broker_log_wait_kept(mark->log, &mark->wait, mark->end);
    }
    settle_step(txn);
}

static void settle_due(struct mr_timer *timer)
{
    struct broker_txn *txn = mr_container(timer, struct broker_txn, settle);

    if (txn->prepare_failed)
        prepare_write(txn);
    else if (txn->busy && !txn->unsettled)
        txn_mark(txn); /* a marker could not be appended or written: again */
    else
        txn_settle(txn);
}

/* All markers can be seen by readers: the transaction is over for everyone who asks. */
static void txn_marked(struct broker_txn *txn)
{
    bool commit = txn->state == BROKER_TXN_PREPARE_COMMIT;

    txn->busy = false;
    txn->unsettled = true;
    txn->state = commit ? BROKER_TXN_COMPLETE_COMMIT : BROKER_TXN_COMPLETE_ABORT;
    txn->marked = txn->state;
    txn->changed_ms = broker_storage_now_ms(&txn->txns->server->storage);
    broker_txn_partitions_clear(txn);
    if (txn->next_id >= 0) {
        int64_t next_id = txn->next_id;
        txn->next_id = txn->last_epoch = -1;
        txn->previous_id = txn->producer_id;
        broker_txn_producer_set(txn, next_id, 0);
    }
    ending_answer(txn, KAFKA_ERROR_NONE);
    if (txn->recovering) {
        txn->recovering = false;
        txn->txns->recovering--;
        recover_step(txn->txns);
    }
    if (txn->starting != NULL)
        txn_settle(txn);
    else
        mr_timer_start(txn->txns->server->loop, &txn->settle, SETTLE_US);
}

static void mark_step(struct broker_txn *txn)
{
    if (--txn->marks_left > 0)
        return;
    if (any_failed(txn))
        retry_later(txn);
    else
        txn_marked(txn);
}

static void mark_written(struct broker_log_wait *wait, mr_err err)
{
    struct broker_txn_mark *mark = mr_container(wait, struct broker_txn_mark, wait);

    mark->failed = err != MR_OK && err != MR_NOT_FOUND;
    mark_step(mark->txn);
}

/* Appends the marker to one partition, unless it has it or has nothing to end. */
static void mark_append(struct broker_txn *txn, struct broker_txn_mark *mark,
                        const struct broker_txn_partition *where)
{
    struct broker_partition *partition = broker_topics_partition(
        &txn->txns->server->topics, mr_str_from(where->topic), where->index);
    bool commit = txn->state == BROKER_TXN_PREPARE_COMMIT;
    struct broker_producer *producer;

    mark->txn = txn;
    if (partition == NULL || partition->log == NULL)
        return; /* the topic was deleted meanwhile */
    mark->log = partition->log;
    mark->log->users++;
    mark->end = mark->log->end;
    producer = broker_producers_find(&mark->log->producers, txn->producer_id);
    if (producer == NULL || producer->txn_first < 0 || producer->coordinator_epoch == txn->sequence)
        return;
    if (broker_journal_marker(mark->log, commit, txn->producer_id, txn->epoch, txn->sequence,
                              &mark->end) != MR_OK) {
        mark->failed = true;
        return;
    }
    if (partition->topic->internal)
        broker_groups_txn_end(&txn->txns->server->groups, txn->producer_id, commit);
}

static void txn_mark(struct broker_txn *txn)
{
    marks_free(txn);
    txn->mark_count = txn->partitions.count;
    txn->marks = mr_new_array(struct broker_txn_mark, txn->mark_count);
    for (size_t i = 0; i < txn->mark_count; i++)
        mark_append(txn, &txn->marks[i], &txn->partitions.items[i]);
    txn->marks_left = txn->mark_count + 1;
    for (size_t i = 0; i < txn->mark_count; i++) {
        struct broker_txn_mark *mark = &txn->marks[i];
        mark->wait.run = mark_written;
        if (mark->log == NULL || mark->failed)
            mark_step(txn);
        else
            broker_log_wait_written(mark->log, &mark->wait, mark->end);
    }
    mark_step(txn); /* the one that kept the end for last */
}

static void txn_prepared(struct broker_log_wait *wait, mr_err err)
{
    struct broker_txn *txn = mr_container(wait, struct broker_txn, prepared);

    if (err != MR_OK) { /* nothing is decided until the record is on the disk */
        txn->prepare_failed = true;
        retry_later(txn);
        ending_answer(txn, KAFKA_ERROR_COORDINATOR_NOT_AVAILABLE);
        if (txn->starting != NULL) {
            struct broker_request *starting = txn->starting;
            txn->starting = NULL;
            start_answer(starting, KAFKA_ERROR_COORDINATOR_NOT_AVAILABLE, -1, -1);
        }
        return;
    }
    txn_mark(txn);
}

static void prepare_write(struct broker_txn *txn)
{
    int64_t end = 0;

    txn->prepare_failed = false;
    txn->prepared.run = txn_prepared;
    if (broker_txn_write(txn, txn->state, &end) != MR_OK)
        txn_prepared(&txn->prepared, MR_IO);
    else
        broker_log_wait_kept(state_log(txn->txns), &txn->prepared, end);
}

/* `raise`: the next transaction has the next epoch (KIP-890). */
static void txn_prepare(struct broker_txn *txn, bool commit, bool raise)
{
    mr_timer_stop(&txn->timeout);
    txn->busy = true;
    if (txn->unsettled) { /* the transaction before this one has the word until then */
        txn->prepare_wanted = true;
        txn->prepare_commit = commit;
        txn->raise_wanted = raise;
        txn_settle(txn);
        return;
    }
    if (raise && txn->epoch < INT16_MAX) {
        txn->last_epoch = txn->epoch;
        txn->epoch++;
    }
    txn->sequence = (int32_t)(((uint32_t)txn->sequence + 1) & 0x7fffffffu);
    txn->state = commit ? BROKER_TXN_PREPARE_COMMIT : BROKER_TXN_PREPARE_ABORT;
    txn->changed_ms = broker_storage_now_ms(&txn->txns->server->storage);
    txn->save_wanted = false;
    prepare_write(txn);
}

/* Ends the open transaction for its producer and locks that producer out. */
static void txn_fence(struct broker_txn *txn)
{
    if (txn->epoch < INT16_MAX)
        txn->epoch++;
    txn->last_epoch = -1;
    txn_prepare(txn, false, false);
}

static void txn_timeout(struct mr_timer *timer)
{
    struct broker_txn *txn = mr_container(timer, struct broker_txn, timeout);

    if (txn->state != BROKER_TXN_ONGOING || txn->busy)
        return;
    mr_log(MR_LOG_WARN, "broker", "transaction %s: aborted after its time-out of %d ms", txn->id,
           txn->timeout_ms);
    txn_fence(txn);
}

/* ---- the requests ---- */

static int16_t start_check(const struct broker_request *request)
{
    const struct kafka_init_producer_id_request *in = request->in;

    if (!request->server->ready)
        return KAFKA_ERROR_COORDINATOR_LOAD_IN_PROGRESS;
    if (in->transactional_id.data == NULL)
        return KAFKA_ERROR_NONE;
    if (in->transactional_id.length == 0 || (in->producer_id < 0) != (in->producer_epoch < 0))
        return KAFKA_ERROR_INVALID_REQUEST;
    if (in->transaction_timeout_ms <= 0 ||
        in->transaction_timeout_ms >
            broker_server_number(request->server, BROKER_NODE_transaction_max_timeout_ms))
        return KAFKA_ERROR_INVALID_TRANSACTION_TIMEOUT;
    return KAFKA_ERROR_NONE;
}

static void start_abandon(struct broker_request *request)
{
    struct broker_txn *txn = request->work;
    txn->starting = NULL;
    broker_server_answer(request);
}

static void start_txn(struct broker_txn *txn, struct broker_request *request)
{
    const struct kafka_init_producer_id_request *in = request->in;
    int16_t fenced = request->header.request_api_version >= 4
                         ? (int16_t)KAFKA_ERROR_PRODUCER_FENCED
                         : (int16_t)KAFKA_ERROR_INVALID_PRODUCER_EPOCH;

    bool known = in->producer_id == txn->producer_id && in->producer_epoch == txn->epoch;

    if (in->producer_id >= 0 && txn->producer_id >= 0 && !known &&
        !(txn->state != BROKER_TXN_ONGOING && is_asked_again(txn, in))) {
        start_answer(request, fenced, -1, -1);
        return;
    }
    if (!txn->busy && !txn->unsettled && txn->state != BROKER_TXN_ONGOING) {
        start_now(txn, request);
        return;
    }
    if (txn->starting != NULL)
        start_answer(txn->starting, KAFKA_ERROR_CONCURRENT_TRANSACTIONS, -1, -1);
    txn->starting = request;
    request->work = txn;
    request->abandon = start_abandon;
    if (txn->busy)
        return; /* it goes on when the end is reached */
    if (txn->state == BROKER_TXN_ONGOING)
        txn_fence(txn);
    else
        txn_settle(txn);
}

void broker_txn_init_producer_id(struct broker_request *request)
{
    const struct kafka_init_producer_id_request *in = request->in;
    int16_t code = start_check(request);
    int64_t producer_id;

    if (code != KAFKA_ERROR_NONE) {
        start_answer(request, code, -1, -1);
        return;
    }
    if (in->transactional_id.data != NULL) {
        start_txn(broker_txn_make(&request->server->txns, in->transactional_id), request);
        return;
    }
    producer_id = broker_topics_producer_id(&request->server->topics);
    start_answer(request,
                 producer_id < 0 ? KAFKA_ERROR_COORDINATOR_LOAD_IN_PROGRESS : KAFKA_ERROR_NONE,
                 producer_id, 0);
}

/* The transaction by its id, if this producer may speak for it. `since`: the version of the API from
 * which clients know PRODUCER_FENCED. */
static int16_t txn_check(struct broker_request *request, mr_str id, int64_t producer_id,
                         int16_t epoch, int16_t since, struct broker_txn **out)
{
    struct broker_txn *txn = mr_map_get(&request->server->txns.by_id, id);

    if (!request->server->ready)
        return KAFKA_ERROR_COORDINATOR_LOAD_IN_PROGRESS;
    if (id.length == 0)
        return KAFKA_ERROR_INVALID_REQUEST;
    if (txn == NULL || txn->producer_id != producer_id)
        return KAFKA_ERROR_INVALID_PRODUCER_ID_MAPPING;
    if (txn->epoch != epoch)
        return request->header.request_api_version >= since
                   ? (int16_t)KAFKA_ERROR_PRODUCER_FENCED
                   : (int16_t)KAFKA_ERROR_INVALID_PRODUCER_EPOCH;
    *out = txn;
    return KAFKA_ERROR_NONE;
}

static void txn_go_on(struct broker_txn *txn)
{
    if (txn->state != BROKER_TXN_ONGOING) {
        txn->state = BROKER_TXN_ONGOING;
        txn->started_ms = broker_storage_now_ms(&txn->txns->server->storage);
        mr_timer_start(txn->txns->server->loop, &txn->timeout, (int64_t)txn->timeout_ms * 1000);
    }
    txn_save(txn);
}

/* One transaction's partitions: all of them are added, or none. `verify_only`: none, but asked for. */
struct addition {
    mr_str id;
    int64_t producer_id;
    int16_t epoch;
    bool verify_only;
    const struct kafka_add_partitions_to_txn_request_topic *topics;
    int32_t topic_count;
};

static bool all_are_there(const struct broker_request *request, const struct addition *asked)
{
    for (int32_t i = 0; i < asked->topic_count; i++)
        for (int32_t j = 0; j < asked->topics[i].partitions.count; j++)
            if (broker_topics_partition(&request->server->topics, asked->topics[i].name,
                                        asked->topics[i].partitions.items[j]) == NULL)
                return false;
    return true;
}

static int16_t addition_row(struct broker_request *request, const struct addition *asked,
                            struct broker_txn *txn, mr_str topic, int32_t index, bool *added)
{
    if (asked->verify_only)
        return txn->state == BROKER_TXN_ONGOING && has_partition(txn, topic, index)
                   ? KAFKA_ERROR_NONE
               : request->header.request_api_version >= 5 ? KAFKA_ERROR_TRANSACTION_ABORTABLE
                                                          : KAFKA_ERROR_INVALID_TXN_STATE;
    *added = broker_txn_partition_add(txn, topic, index) || *added;
    return KAFKA_ERROR_NONE;
}

static struct kafka_add_partitions_to_txn_response_topic *add(struct broker_request *request,
                                                              const struct addition *asked)
{
    struct kafka_add_partitions_to_txn_response_topic *told = mr_arena_array(
        &request->arena, struct kafka_add_partitions_to_txn_response_topic,
        (size_t)asked->topic_count);
    struct broker_txn *txn = NULL;
    int16_t code = txn_check(request, asked->id, asked->producer_id, asked->epoch, 2, &txn);
    bool whole = all_are_there(request, asked), added = false;

    if (code == KAFKA_ERROR_NONE && txn->busy)
        code = KAFKA_ERROR_CONCURRENT_TRANSACTIONS;
    for (int32_t i = 0; i < asked->topic_count; i++) {
        const struct kafka_add_partitions_to_txn_request_topic *topic = &asked->topics[i];
        int32_t count = topic->partitions.count;
        told[i].name = topic->name;
        told[i].results_by_partition.count = count;
        told[i].results_by_partition.items = mr_arena_array(
            &request->arena, struct kafka_add_partitions_to_txn_response_partition, (size_t)count);
        for (int32_t j = 0; j < count; j++) {
            int32_t index = topic->partitions.items[j];
            int16_t row = code;
            if (code == KAFKA_ERROR_NONE && !whole)
                row = broker_topics_partition(&request->server->topics, topic->name, index) == NULL
                          ? (int16_t)KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION
                          : (int16_t)KAFKA_ERROR_OPERATION_NOT_ATTEMPTED;
            else if (code == KAFKA_ERROR_NONE)
                row = addition_row(request, asked, txn, topic->name, index, &added);
            told[i].results_by_partition.items[j] =
                (struct kafka_add_partitions_to_txn_response_partition){index, row};
        }
    }
    if (added) {
        txn->raises = request->header.request_api_version >= 4;
        txn_go_on(txn);
    }
    return told;
}

void broker_txn_add_partitions_to_txn(struct broker_request *request)
{
    const struct kafka_add_partitions_to_txn_request *in = request->in;
    struct kafka_add_partitions_to_txn_response *out = request->out;
    int32_t count = in->transactions.count < 0 ? 0 : in->transactions.count;

    if (request->header.request_api_version < 4) {
        struct addition asked = {in->transactional_id, in->producer_id, in->producer_epoch, false,
                                 in->topics.items,     in->topics.count};
        out->results_by_topic.count = in->topics.count;
        out->results_by_topic.items = add(request, &asked);
        broker_server_answer(request);
        return;
    }
    out->results_by_transaction.count = count;
    out->results_by_transaction.items = mr_arena_array(
        &request->arena, struct kafka_add_partitions_to_txn_result, (size_t)count);
    for (int32_t i = 0; i < count; i++) {
        const struct kafka_add_partitions_to_txn_transaction *row = &in->transactions.items[i];
        struct addition asked = {row->transactional_id, row->producer_id,  row->producer_epoch,
                                 row->verify_only,      row->topics.items, row->topics.count};
        out->results_by_transaction.items[i].transactional_id = row->transactional_id;
        out->results_by_transaction.items[i].topic_results.count = row->topics.count;
        out->results_by_transaction.items[i].topic_results.items = add(request, &asked);
    }
    broker_server_answer(request);
}

void broker_txn_add_offsets_to_txn(struct broker_request *request)
{
    const struct kafka_add_offsets_to_txn_request *in = request->in;
    struct kafka_add_offsets_to_txn_response *out = request->out;
    struct broker_txn *txn = NULL;

    out->error_code = txn_check(request, in->transactional_id, in->producer_id, in->producer_epoch,
                                2, &txn);
    if (out->error_code == KAFKA_ERROR_NONE && in->group_id.length == 0)
        out->error_code = KAFKA_ERROR_INVALID_GROUP_ID;
    if (out->error_code == KAFKA_ERROR_NONE && txn->busy)
        out->error_code = KAFKA_ERROR_CONCURRENT_TRANSACTIONS;
    if (out->error_code == KAFKA_ERROR_NONE &&
        broker_txn_partition_add(txn, MR_STR("__consumer_offsets"), 0))
        txn_go_on(txn);
    broker_server_answer(request);
}

enum { END_AGAIN = -2 }; /* it has ended so */

static int16_t end_check(const struct broker_txn *txn, bool commit)
{
    if (txn->busy)
        return txn->state == BROKER_TXN_ONGOING ||
                       (txn->state == BROKER_TXN_PREPARE_COMMIT) == commit
                   ? KAFKA_ERROR_CONCURRENT_TRANSACTIONS
                   : KAFKA_ERROR_INVALID_TXN_STATE;
    switch (txn->state) {
    case BROKER_TXN_ONGOING:
        return KAFKA_ERROR_NONE;
    case BROKER_TXN_COMPLETE_COMMIT: /* a repeat */
        return commit ? END_AGAIN : KAFKA_ERROR_INVALID_TXN_STATE;
    case BROKER_TXN_COMPLETE_ABORT:
        return commit ? KAFKA_ERROR_INVALID_TXN_STATE : END_AGAIN;
    case BROKER_TXN_EMPTY:
    case BROKER_TXN_PREPARE_COMMIT:
    case BROKER_TXN_PREPARE_ABORT:
        break;
    }
    return KAFKA_ERROR_INVALID_TXN_STATE;
}

/* The end that raised the epoch (or its time-out) comes again, because its answer was not heard. */
static bool is_end_again(const struct broker_txn *txn, int64_t producer_id, int16_t epoch)
{
    if (!txn->raises || txn->state == BROKER_TXN_ONGOING || txn->state == BROKER_TXN_EMPTY)
        return false;
    return producer_id == txn->producer_id
               ? epoch == txn->epoch - 1
               : producer_id == txn->previous_id && epoch >= EPOCH_LAST && txn->epoch == 0;
}

/* EndTxn 5: the epoch tells a repeat from the end of something new, which may be nothing at all. */
static int16_t end_check_raising(const struct broker_txn *txn, bool commit, bool again)
{
    if (txn->busy || again || txn->state == BROKER_TXN_ONGOING)
        return end_check(txn, commit);
    return commit ? KAFKA_ERROR_INVALID_TXN_STATE : KAFKA_ERROR_NONE;
}

static void end_abandon(struct broker_request *request)
{
    struct broker_txn *txn = request->work;
    txn->ending = NULL;
    broker_server_answer(request);
}

void broker_txn_end_txn(struct broker_request *request)
{
    const struct kafka_end_txn_request *in = request->in;
    struct broker_txn *txn = mr_map_get(&request->server->txns.by_id, in->transactional_id);
    bool raise = request->header.request_api_version >= 5;
    bool again = raise && request->server->ready && txn != NULL &&
                 is_end_again(txn, in->producer_id, in->producer_epoch);
    int16_t code = again ? KAFKA_ERROR_NONE
                         : txn_check(request, in->transactional_id, in->producer_id,
                                     in->producer_epoch, 2, &txn);

    if (code == KAFKA_ERROR_NONE)
        code = raise ? end_check_raising(txn, in->committed, again) : end_check(txn, in->committed);
    if (code == KAFKA_ERROR_NONE && raise && txn->epoch >= EPOCH_LAST) {
        txn->next_id = broker_topics_producer_id(&request->server->topics);
        code = txn->next_id < 0 ? KAFKA_ERROR_COORDINATOR_LOAD_IN_PROGRESS : KAFKA_ERROR_NONE;
    }
    if (code != KAFKA_ERROR_NONE) {
        end_answer(request, code == END_AGAIN ? (int16_t)KAFKA_ERROR_NONE : code, txn);
        return;
    }
    txn->ending = request;
    request->work = txn;
    request->abandon = end_abandon;
    txn->raises = raise;
    if (txn->state != BROKER_TXN_ONGOING)
        txn->started_ms = broker_storage_now_ms(&txn->txns->server->storage);
    txn_prepare(txn, in->committed, raise);
}

int16_t broker_txn_check_append(struct broker_txns *txns, const struct broker_txn_append *append,
                                struct broker_log *log, mr_str topic, int32_t partition)
{
    struct broker_txn *txn = txn_of_producer(txns, append->producer_id);
    const struct broker_producer *producer;
    bool joins = append->rule == BROKER_TXN_JOINS;

    if (txn == NULL || !mr_str_equal(mr_str_from(txn->id), append->id))
        return KAFKA_ERROR_INVALID_PRODUCER_ID_MAPPING;
    if (txn->epoch != append->epoch)
        return KAFKA_ERROR_INVALID_PRODUCER_EPOCH;
    if (txn->busy)
        return joins ? KAFKA_ERROR_CONCURRENT_TRANSACTIONS : KAFKA_ERROR_INVALID_TXN_STATE;
    producer = broker_producers_find(&log->producers, append->producer_id);
    if (txn->state == BROKER_TXN_ONGOING &&
        ((producer != NULL && producer->txn_first >= 0) || has_partition(txn, topic, partition)))
        return KAFKA_ERROR_NONE;
    if (!joins)
        return append->rule == BROKER_TXN_ABORTABLE ? KAFKA_ERROR_TRANSACTION_ABORTABLE
                                                    : KAFKA_ERROR_INVALID_TXN_STATE;
    if (producer == NULL && append->sequence != 0)
        return KAFKA_ERROR_OUT_OF_ORDER_SEQUENCE_NUMBER; /* what was before it is lost */
    broker_txn_partition_add(txn, topic, partition);
    txn->raises = true;
    txn_go_on(txn);
    return KAFKA_ERROR_NONE;
}

/* ---- ids that nobody uses any more ---- */

void broker_txn_forget(struct broker_txn *txn)
{
    if (txn->producer_id >= 0)
        mr_map_remove(&txn->txns->by_producer, producer_key(&txn->producer_id));
    mr_map_remove(&txn->txns->by_id, mr_str_from(txn->id));
    txn_free(txn);
}

static bool is_idle(const struct broker_txn *txn)
{
    return !broker_txn_is_open(txn->state) && !txn->busy && !txn->unsettled && !txn->settling &&
           !txn->save_wanted && txn->starting == NULL && txn->ending == NULL && txn->marks == NULL;
}

static void expiry_wait(struct broker_txns *txns)
{
    int64_t ms = broker_server_number(
        txns->server, BROKER_NODE_transaction_remove_expired_transaction_cleanup_interval_ms);

    mr_timer_start(txns->server->loop, &txns->expiry, ms * 1000);
}

static void expiry_due(struct mr_timer *timer)
{
    struct broker_txns *txns = mr_container(timer, struct broker_txns, expiry);
    int64_t before_ms = broker_storage_now_ms(&txns->server->storage) -
                        broker_server_number(txns->server,
                                             BROKER_NODE_transactional_id_expiration_ms);
    struct mr_map_entry *entry;

    for (size_t i = 0; (entry = mr_map_next(&txns->by_id, &i)) != NULL;) {
        struct broker_txn *txn = entry->value;
        if (!is_idle(txn) || txn->changed_ms > before_ms)
            continue;
        if (broker_txn_write_gone(txns, txn->id) != MR_OK) {
            mr_log(MR_LOG_ERROR, "broker", "transaction %s: its end is not saved: %s", txn->id,
                   mr_why());
            break;
        }
        broker_txn_forget(txn);
    }
    expiry_wait(txns);
}

/* ---- kept over a restart ---- */

/* An open transaction in a partition that the coordinator does not know of. */
static void orphan_end(struct broker_txns *txns, struct broker_partition *partition,
                       const struct broker_producer *producer)
{
    struct broker_txn *txn = txn_of_producer(txns, producer->id);
    int64_t end;

    mr_log(MR_LOG_WARN, "broker", "%s: aborts a transaction of producer %lld that a crash cut off",
           partition->log->name, (long long)producer->id);
    if (txn == NULL) {
        if (broker_journal_marker(partition->log, false, producer->id, producer->epoch, 0, &end) !=
            MR_OK)
            mr_log(MR_LOG_ERROR, "broker", "%s", mr_why());
        if (partition->topic->internal)
            broker_groups_txn_end(&txns->server->groups, producer->id, false);
        return;
    }
    broker_txn_partition_add(txn, mr_str_from(partition->topic->name), partition->index);
    if (txn->busy)
        return; /* the fence below is already on its way, or comes when that end is reached */
    txn->state = BROKER_TXN_ONGOING;
    txn->recovering = true;
    txns->recovering++;
    txn_fence(txn);
}

static void orphans_of(struct broker_txns *txns, struct broker_partition *partition)
{
    struct broker_log *log = partition->log;
    MR_ARRAY(struct broker_producer *) open = {0};

    for (size_t i = 0; i < log->producers.open.count; i++)
        *mr_array_add(&open) = log->producers.open.items[i];
    for (size_t i = 0; i < open.count; i++) {
        const struct broker_txn *txn = txn_of_producer(txns, open.items[i]->id);
        bool known = txn != NULL && txn->state == BROKER_TXN_ONGOING &&
                     txn->epoch == open.items[i]->epoch && !txn->busy &&
                     has_partition(txn, mr_str_from(partition->topic->name), partition->index);
        if (!known)
            orphan_end(txns, partition, open.items[i]);
    }
    mr_array_fini(&open);
}

/* Once the ends that were decided before the crash are reached, what is still open is looked at. */
static void recover_orphans(struct broker_txns *txns)
{
    struct broker_topics *topics = &txns->server->topics;
    struct mr_map_entry *entry;

    txns->recovered = txns->recovered_all;
    txns->recover_begun = true;
    txns->recovering++;
    for (size_t i = 0; (entry = mr_map_next(&topics->by_name, &i)) != NULL;) {
        struct broker_topic *topic = entry->value;
        for (size_t j = 0; j < topic->partitions.count; j++)
            if (topic->partitions.items[j]->log != NULL)
                orphans_of(txns, topic->partitions.items[j]);
    }
    txns->recovering--;
    recover_step(txns);
}

/* The epoch behind all others: whoever had an earlier one is locked out, and the next one gets another producer id.
 * The next epoch alone would not do, since each end may have raised it after the backup. */
static void txn_lock(struct broker_txn *txn)
{
    int64_t end;

    txn->epoch = INT16_MAX;
    txn->last_epoch = -1;
    txn->previous_id = txn->next_id = -1;
    txn->raises = false;
    if (!broker_txn_is_open(txn->state) && broker_txn_write(txn, txn->state, &end) != MR_OK)
        mr_log(MR_LOG_ERROR, "broker", "transaction %s: its producer is not locked out: %s",
               txn->id, mr_why());
}

static void recover_txn(struct broker_txn *txn, int64_t now_ms)
{
    struct broker_txns *txns = txn->txns;
    int64_t left_ms = txn->started_ms + txn->timeout_ms - now_ms;
    bool going = txn->state == BROKER_TXN_ONGOING;

    if (txns->locking && txn->producer_id >= 0)
        txn_lock(txn);
    if (going && !txns->locking)
        mr_timer_start(txns->server->loop, &txn->timeout, (left_ms < 0 ? 0 : left_ms) * 1000);
    if (!broker_txn_is_open(txn->state) || (going && !txns->locking))
        return;
    txn->busy = true;
    txn->recovering = true;
    txns->recovering++;
    if (going)
        txn_prepare(txn, false, false);
    else if (txns->locking)
        prepare_write(txn); /* once more, with that epoch */
    else
        txn_mark(txn);
}

static void locks_kept(struct broker_log_wait *wait, mr_err err)
{
    struct broker_txns *txns = mr_container(wait, struct broker_txns, locks);

    txns->locked = err == MR_OK;
    txns->recovering--;
    recover_step(txns);
}

void broker_txns_recover(struct broker_txns *txns)
{
    int64_t now_ms = broker_storage_now_ms(&txns->server->storage);
    struct mr_map_entry *entry;

    txns->expiry.run = expiry_due;
    expiry_wait(txns);
    txns->recovered_all = txns->recovered;
    txns->recovered = recover_orphans;
    txns->recover_begun = true;
    txns->recovering = 1;
    txns->locking = txns->server->topics.was_restored;
    for (size_t i = 0; (entry = mr_map_next(&txns->by_id, &i)) != NULL;)
        recover_txn(entry->value, now_ms);
    if (txns->locking) {
        txns->recovering++;
        txns->locks.run = locks_kept;
        broker_log_wait_kept(state_log(txns), &txns->locks, state_log(txns)->end);
    }
    txns->recovering--;
    recover_step(txns);
}

void broker_txns_settle(struct broker_txns *txns)
{
    struct mr_map_entry *entry;
    for (size_t i = 0; (entry = mr_map_next(&txns->by_id, &i)) != NULL;)
        txn_settle(entry->value);
}

void broker_txns_init(struct broker_txns *txns, struct broker_server *server)
{
    *txns = (struct broker_txns){.server = server};
}

void broker_txns_fini(struct broker_txns *txns)
{
    struct mr_map_entry *entry;

    mr_timer_stop(&txns->expiry);
    for (size_t i = 0; (entry = mr_map_next(&txns->by_id, &i)) != NULL;)
        txn_free(entry->value);
    mr_map_fini(&txns->by_id);
    mr_map_fini(&txns->by_producer);
}
