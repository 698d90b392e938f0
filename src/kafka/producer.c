/* kafka/producer.c: records to batches, batches to acknowledgements. Hides when a batch is sealed,
 * which broker it goes to, and how order and sequences survive retries.
 *
 *   open --full, flush, or a quiet partition at the turn's end--> sealed --> sent --> acknowledged
 *                                                                   ^          |
 *                                                                   +--retry---+
 *
 * Up to five batches of a partition are under way (the broker remembers that many, KIP-98). When
 * one has to be retried nothing more of the partition is sent until all that were under way are
 * back; then they go again in their order. A batch gets its sequence when it is first sent. */
#include "kafka/producer.h"

enum {
    BATCH_BYTES = 1000000,
    BATCH_BYTES_FIRST = 16384,
    BYTES_MAX = 32 << 20,
    TIMEOUT_MS = 120000,
    TRANSACTION_TIMEOUT_MS = 60000,
    IN_FLIGHT_MAX = 5,
    PRODUCE_VERSION_MAX = 12,        /* 13 names topics by their ids */
    PRODUCE_VERSION_MAX_JOINED = 11, /* later ones add to transactions by themselves (KIP-890) */
    REQUEST_BYTES_MAX = 16 << 20,
    RECORD_EXTRA_BYTES = 64, /* more than the varints and lengths of a record */
    HEADER_EXTRA_BYTES = 12,
    REFRESH_US = 100000,
    SEQUENCE_MASK = 0x7fffffff, /* behind 2^31 - 1 comes 0 */
};

/* One Produce request: at most one batch of a partition. */
struct kafka_produce {
    struct kafka_produce *next, **link; /* in producer->produces, until answered */
    struct kafka_producer *producer;
    struct kafka_node *node;
    MR_ARRAY(struct kafka_producer_batch *) batches;
    size_t bytes;
};

static bool is_transactional(const struct kafka_producer *producer)
{
    return producer->transactional_id.data != NULL;
}

void kafka_producer_wake(struct kafka_producer *producer)
{
    mr_loop_at_turn_end(producer->client->loop, &producer->task);
}

void kafka_producer_wake_in(struct kafka_producer *producer, int64_t delay_us)
{
    int64_t due = mr_loop_now_us(producer->client->loop) + delay_us;
    if (producer->timer.loop == NULL || producer->timer.due_us > due)
        mr_timer_start(producer->client->loop, &producer->timer, delay_us > 0 ? delay_us : 0);
}

void kafka_producer_fail(struct kafka_producer *producer, mr_err err)
{
    if (producer->err != MR_OK && err != MR_FENCED)
        return;
    char *why = mr_copy_cstr(mr_str_from(mr_why()));
    mr_free(producer->why);
    producer->why = why;
    producer->err = err;
}

/* ---- callbacks: from the task only, and none after the close ---- */

void kafka_producer_later(struct kafka_producer *producer, kafka_done *done, void *context,
                          mr_err err)
{
    struct kafka_producer_tell *tell = mr_new(struct kafka_producer_tell);
    struct kafka_producer_tell **link = &producer->tells;
    tell->done = done;
    tell->context = context;
    tell->err = err;
    tell->why = err == MR_OK ? NULL : mr_copy_cstr(mr_str_from(mr_why()));
    while (*link != NULL)
        link = &(*link)->next;
    *link = tell;
    kafka_producer_wake(producer);
}

static void tells_run(struct kafka_producer *producer)
{
    while (producer->tells != NULL && !producer->closed) {
        struct kafka_producer_tell *tell = producer->tells;
        producer->tells = tell->next;
        if (tell->err != MR_OK)
            mr_fail(tell->err, "%s", tell->why);
        tell->done(tell->context, tell->err);
        mr_free(tell->why);
        mr_free(tell);
    }
}

/* ---- waiters ---- */

static void waiter_told(struct kafka_producer *producer, struct kafka_producer_waiter *waiter)
{
    for (struct kafka_producer_waiter **link = &producer->waiters; *link != NULL;
         link = &(*link)->next) {
        if (*link == waiter) {
            *link = waiter->next;
            break;
        }
    }
    if (waiter->err != MR_OK)
        mr_fail(waiter->err, "%s", waiter->why);
    kafka_producer_later(producer, waiter->done, waiter->context, waiter->err);
    mr_free(waiter->why);
    mr_free(waiter);
}

/* A batch has come to its end; `err` when it was lost. Returns whether anybody waited for it. */
static bool waiters_count(struct kafka_producer *producer, uint64_t serial, mr_err err)
{
    bool waited = false;
    for (struct kafka_producer_waiter *waiter = producer->waiters, *next; waiter != NULL;
         waiter = next) {
        next = waiter->next;
        if (serial > waiter->serial)
            continue;
        waited = true;
        waiter->left--;
        if (err != MR_OK && waiter->err == MR_OK) {
            waiter->err = err;
            waiter->why = mr_copy_cstr(mr_str_from(mr_why()));
        }
        if (waiter->left == 0)
            waiter_told(producer, waiter);
    }
    return waited;
}

/* ---- batches ---- */

static void batch_free(struct kafka_producer_batch *batch)
{
    mr_bytes_unref(batch->bytes);
    mr_free(batch);
}

/* Room for so many more bytes, so that the buffer never grows by itself. */
static void batch_room(struct kafka_producer_batch *batch, size_t bytes)
{
    size_t needed = batch->buf.length + bytes;
    if (batch->bytes != NULL && needed <= batch->bytes->capacity)
        return;
    size_t capacity = batch->bytes == NULL ? BATCH_BYTES_FIRST : batch->bytes->capacity * 2;
    struct mr_bytes *larger = mr_bytes_new(needed > capacity ? needed : capacity);
    if (batch->buf.length > 0)
        memcpy(larger->data, batch->buf.data, batch->buf.length);
    mr_bytes_unref(batch->bytes);
    batch->bytes = larger;
    batch->buf.data = larger->data;
    batch->buf.capacity = larger->capacity;
}

static void partition_list(struct kafka_producer_partition *partition)
{
    struct kafka_producer *producer = partition->topic->producer;
    if (!partition->listed) {
        *mr_array_add(&producer->busy) = partition;
        partition->listed = true;
    }
}

static struct kafka_producer_batch *batch_open(struct kafka_producer_partition *partition,
                                               size_t bytes)
{
    struct kafka_producer *producer = partition->topic->producer;
    struct kafka_producer_batch *batch = mr_new(struct kafka_producer_batch);
    batch->partition = partition;
    batch->serial = ++producer->serial;
    batch->deadline_us = mr_loop_now_us(producer->client->loop) +
                         (int64_t)producer->options.timeout_ms * 1000;
    batch_room(batch, KAFKA_RECORDS_HEADER_BYTES + bytes);
    kafka_records_begin(&batch->builder, &batch->buf);
    batch->builder.buf = &batch->buf;
    partition->open = batch;
    producer->live++;
    partition_list(partition);
    return batch;
}

static void batch_seal(struct kafka_producer_partition *partition)
{
    struct kafka_producer_batch *batch = partition->open;
    partition->open = NULL;
    batch->next = NULL;
    *partition->last = batch;
    partition->last = &batch->next;
    struct kafka_producer_topic *topic = partition->topic;
    if (topic->sticky == partition->index)
        topic->sticky = (topic->sticky + 1) % topic->partition_count;
}

/* Takes a sealed batch out of its partition and off the books; it is the caller's then. */
static void batch_unlink(struct kafka_producer_batch *batch)
{
    struct kafka_producer_partition *partition = batch->partition;
    struct kafka_producer *producer = partition->topic->producer;
    struct kafka_producer_batch **link = &partition->first;
    while (*link != batch)
        link = &(*link)->next;
    *link = batch->next;
    if (batch->next == NULL)
        partition->last = link;
    producer->live--;
    producer->bytes -= batch->charged;
}

static void batch_back(struct kafka_producer_batch *batch)
{
    batch->sent = false;
    batch->partition->in_flight--;
    batch->partition->topic->producer->in_flight--;
}

static void batch_acknowledged(struct kafka_producer_batch *batch)
{
    struct kafka_producer *producer = batch->partition->topic->producer;
    batch_back(batch);
    batch_unlink(batch);
    waiters_count(producer, batch->serial, MR_OK);
    batch_free(batch);
}

/* Lost for good; the sentence is in mr_why(). A transaction can only be aborted then. A plain
 * producer goes on under a new id, because its sequences have a gap. */
static void batch_lost(struct kafka_producer_batch *batch, mr_err err)
{
    struct kafka_producer *producer = batch->partition->topic->producer;
    bool began = batch->finished;
    if (batch->sent)
        batch_back(batch);
    batch_unlink(batch);
    producer->gap = producer->gap || began;
    if (is_transactional(producer))
        kafka_producer_fail(producer, err);
    if (!waiters_count(producer, batch->serial, err) && !is_transactional(producer) &&
        producer->options.failed != NULL)
        kafka_producer_later(producer, producer->options.failed, producer->options.context, err);
    batch_free(batch);
}

static void batch_retry(struct kafka_producer_batch *batch, int16_t code)
{
    struct kafka_producer_partition *partition = batch->partition;
    struct kafka_producer *producer = partition->topic->producer;
    int64_t now = mr_loop_now_us(producer->client->loop);
    int64_t delay = kafka_client_pause_us(producer->client, batch->attempts++, code);
    if (now >= batch->deadline_us) {
        batch_lost(batch,
                   mr_fail(MR_TIMEOUT, "kafka topic %.*s, partition %d: not written in time: %s",
                           MR_STR_ARG(partition->topic->meta->name), partition->index, mr_why()));
        return;
    }
    batch_back(batch);
    partition->backing_off = true;
    if (partition->resume_us < now + delay)
        partition->resume_us = now + delay;
    kafka_producer_wake_in(producer, delay);
}

void kafka_producer_drop_unsent(struct kafka_producer *producer)
{
    for (size_t i = 0; i < producer->busy.count; i++) {
        struct kafka_producer_partition *partition = producer->busy.items[i];
        if (partition->open != NULL)
            batch_seal(partition);
        for (struct kafka_producer_batch *batch = partition->first, *next; batch != NULL;
             batch = next) {
            next = batch->next;
            if (batch->sent)
                continue;
            producer->gap = producer->gap || batch->finished;
            batch_unlink(batch);
            mr_fail(MR_CANCELLED, "kafka: the transaction is aborted");
            waiters_count(producer, batch->serial, MR_CANCELLED);
            batch_free(batch);
        }
    }
}

void kafka_producer_renumber(struct kafka_producer *producer)
{
    struct mr_map_entry *entry;
    mr_assert(producer->in_flight == 0);
    for (size_t i = 0; (entry = mr_map_next(&producer->topics, &i)) != NULL;) {
        struct kafka_producer_topic *topic = entry->value;
        for (int32_t k = 0; k < topic->partition_count; k++) {
            struct kafka_producer_partition *partition = topic->partitions[k];
            partition->next_sequence = 0;
            for (struct kafka_producer_batch *batch = partition->first; batch != NULL;
                 batch = batch->next) {
                if (!batch->finished)
                    continue;
                batch->sequence = partition->next_sequence;
                partition->next_sequence =
                    (int32_t)((uint32_t)(batch->sequence + batch->builder.count) & SEQUENCE_MASK);
                kafka_records_claim(batch->buf.data, batch->buf.length, producer->producer_id,
                                    producer->producer_epoch, batch->sequence);
            }
        }
    }
    producer->gap = false;
}

/* ---- Produce ---- */

static void produce_fill(void *context, int16_t version, struct mr_arena *arena, void *request)
{
    struct kafka_produce *produce = context;
    struct kafka_producer *producer = produce->producer;
    struct kafka_produce_request *message = request;
    (void)version;
    message->transactional_id = producer->transactional_id;
    message->acks = -1;
    message->timeout_ms = KAFKA_TIMEOUT_MS;
    message->topic_data.items = mr_arena_array(arena, struct kafka_produce_request_topic,
                                               produce->batches.count);
    for (size_t i = 0; i < produce->batches.count; i++) {
        struct kafka_producer_batch *batch = produce->batches.items[i];
        mr_str name = batch->partition->topic->meta->name;
        struct kafka_produce_request_topic *topic = NULL;
        for (int32_t k = 0; topic == NULL && k < message->topic_data.count; k++) {
            if (message->topic_data.items[k].name.data == name.data)
                topic = &message->topic_data.items[k];
        }
        if (topic == NULL) {
            topic = &message->topic_data.items[message->topic_data.count++];
            topic->name = name;
            topic->partition_data.items = mr_arena_array(
                arena, struct kafka_produce_request_partition, produce->batches.count - i);
        }
        struct kafka_produce_request_partition *partition =
            &topic->partition_data.items[topic->partition_data.count++];
        partition->index = batch->partition->index;
        partition->records.bytes = mr_buf_as_str(&batch->buf);
        partition->records.owner = batch->bytes;
    }
}

static const struct kafka_produce_response_partition *
answer_of(const struct kafka_produce_response *response,
          const struct kafka_producer_partition *partition)
{
    for (int32_t i = 0; i < response->responses.count; i++) {
        const struct kafka_produce_response_topic *topic = &response->responses.items[i];
        if (!mr_str_equal(topic->name, partition->topic->meta->name))
            continue;
        for (int32_t k = 0; k < topic->partition_responses.count; k++) {
            if (topic->partition_responses.items[k].index == partition->index)
                return &topic->partition_responses.items[k];
        }
    }
    return NULL;
}

/* Whether the same batch may be taken later: trouble of the moment, or the echo of an earlier
 * batch's. */
static bool may_retry(const struct kafka_producer_batch *batch, int16_t code)
{
    const struct kafka_producer *producer = batch->partition->topic->producer;
    if (code == KAFKA_ERROR_OUT_OF_ORDER_SEQUENCE_NUMBER)
        return producer->gap || batch->partition->first != batch || batch->partition->backing_off;
    if (code == KAFKA_ERROR_UNKNOWN_PRODUCER_ID)
        return !is_transactional(producer);
    return kafka_error_retriable(code);
}

static void batch_answered(struct kafka_producer_batch *batch, int16_t code, mr_str message)
{
    struct kafka_producer *producer = batch->partition->topic->producer;
    struct kafka_topic *meta = batch->partition->topic->meta;
    if (code == KAFKA_ERROR_NONE || code == KAFKA_ERROR_DUPLICATE_SEQUENCE_NUMBER) {
        batch_acknowledged(batch);
        return;
    }
    mr_err err = kafka_error_to_err(code);
    mr_fail(err, "kafka topic %.*s, partition %d: %s: %.*s", MR_STR_ARG(meta->name),
            batch->partition->index, kafka_error_name(code),
            MR_STR_ARG(message.length > 0 ? message : mr_str_from(kafka_error_text(code))));
    if (may_retry(batch, code)) {
        if (code == KAFKA_ERROR_UNKNOWN_PRODUCER_ID)
            producer->gap = true;
        else if (kafka_error_retriable(code) && code != KAFKA_ERROR_CONCURRENT_TRANSACTIONS)
            kafka_client_refresh(producer->client, meta);
        batch_retry(batch, code);
        return;
    }
    if (err == MR_FENCED && is_transactional(producer)) {
        kafka_producer_fail(producer, err);
        producer->state = KAFKA_PRODUCER_BROKEN;
    }
    batch_lost(batch, err);
}

static void produce_free(struct kafka_produce *produce)
{
    *produce->link = produce->next;
    if (produce->next != NULL)
        produce->next->link = produce->link;
    mr_array_fini(&produce->batches);
    mr_free(produce);
}

static void produce_answered(void *context, mr_err err, int16_t version, const void *response,
                             struct mr_bytes *owner)
{
    struct kafka_produce *produce = context;
    struct kafka_producer *producer = produce->producer;
    (void)version;
    (void)owner;
    char *why = err == MR_OK ? NULL : mr_copy_cstr(mr_str_from(mr_why()));
    bool again = err == MR_CLOSED || err == MR_UNREACHABLE || err == MR_TIMEOUT;
    for (size_t i = 0; i < produce->batches.count; i++) {
        struct kafka_producer_batch *batch = produce->batches.items[i];
        if (err == MR_OK) {
            const struct kafka_produce_response_partition *answer = answer_of(response,
                                                                              batch->partition);
            batch_answered(batch,
                           answer == NULL ? KAFKA_ERROR_NETWORK_EXCEPTION : answer->error_code,
                           answer == NULL ? MR_STR_NULL : answer->error_message);
            continue;
        }
        mr_fail(err, "%s", why);
        if (again) {
            kafka_client_refresh(producer->client, batch->partition->topic->meta);
            batch_retry(batch, KAFKA_ERROR_NONE);
        } else {
            batch_lost(batch, err);
        }
    }
    mr_free(why);
    produce_free(produce);
    kafka_producer_wake(producer);
}

/* Writes the header of a batch that goes out for the first time. False: it is lost. */
static bool batch_finish(struct kafka_producer_batch *batch)
{
    struct kafka_producer_partition *partition = batch->partition;
    struct kafka_producer *producer = partition->topic->producer;
    if (batch->finished)
        return true;
    batch->sequence = partition->next_sequence;
    mr_err err = kafka_records_finish(&batch->builder, producer->options.codec, 0,
                                      producer->producer_id, producer->producer_epoch,
                                      batch->sequence, is_transactional(producer));
    if (err != MR_OK) {
        batch_lost(batch, err);
        return false;
    }
    batch->finished = true;
    partition->next_sequence =
        (int32_t)(((uint32_t)batch->sequence + (uint32_t)batch->builder.count) & SEQUENCE_MASK);
    return true;
}

/* ---- what can be sent now ---- */

/* A partition that cannot find its leader asks again, but not more often than this. */
static void leader_ask(struct kafka_producer *producer, struct kafka_topic *meta)
{
    int64_t now = mr_loop_now_us(producer->client->loop);
    if (now >= producer->refresh_us) {
        producer->refresh_us = now + REFRESH_US;
        kafka_client_refresh(producer->client, meta);
    }
    kafka_producer_wake_in(producer, REFRESH_US);
}

static bool partition_may_send(struct kafka_producer_partition *partition)
{
    struct kafka_producer *producer = partition->topic->producer;
    int64_t now = mr_loop_now_us(producer->client->loop);
    if (partition->backing_off) {
        if (partition->in_flight > 0)
            return false;
        if (now < partition->resume_us) {
            kafka_producer_wake_in(producer, partition->resume_us - now);
            return false;
        }
        partition->backing_off = false;
    }
    return partition->in_flight < IN_FLIGHT_MAX;
}

static struct kafka_producer_batch *batch_next(struct kafka_producer_partition *partition)
{
    struct kafka_producer *producer = partition->topic->producer;
    struct kafka_producer_batch *batch = partition->first;
    while (batch != NULL && batch->sent)
        batch = batch->next;
    /* A quiet partition sends what is there; a busy one lets its batch grow meanwhile. */
    if (batch == NULL && partition->open != NULL &&
        (partition->in_flight == 0 || partition->open->serial <= producer->flush_serial)) {
        batch = partition->open;
        batch_seal(partition);
    }
    return batch;
}

static struct kafka_produce *produce_for(struct kafka_producer *producer, struct kafka_node *node,
                                         struct kafka_produce ***list, size_t *count,
                                         size_t *capacity)
{
    for (size_t i = 0; i < *count; i++) {
        if ((*list)[i]->node == node && (*list)[i]->bytes < REQUEST_BYTES_MAX)
            return (*list)[i];
    }
    *list = mr_array_room(*list, *count, capacity, sizeof **list);
    struct kafka_produce *produce = mr_new(struct kafka_produce);
    produce->producer = producer;
    produce->node = node;
    produce->next = producer->produces;
    produce->link = &producer->produces;
    if (producer->produces != NULL)
        producer->produces->link = &produce->next;
    producer->produces = produce;
    (*list)[(*count)++] = produce;
    return produce;
}

/* Puts the next batch of a partition into the request to its leader. */
static bool partition_send(struct kafka_producer_partition *partition, struct kafka_produce ***list,
                           size_t *count, size_t *capacity)
{
    struct kafka_producer *producer = partition->topic->producer;
    if (!partition_may_send(partition))
        return false;
    int32_t leader = kafka_client_leader(partition->topic->meta, partition->index);
    struct kafka_node *node = leader < 0 ? NULL
                                         : kafka_node_find(producer->client, leader, producer);
    if (node == NULL) {
        leader_ask(producer, partition->topic->meta);
        return false;
    }
    if (is_transactional(producer) && partition->membership != KAFKA_MEMBER_ADDED)
        return false;
    struct kafka_producer_batch *batch = batch_next(partition);
    if (batch == NULL || !batch_finish(batch))
        return false;
    batch->sent = true;
    producer->asked = true;
    partition->in_flight++;
    producer->in_flight++;
    struct kafka_produce *produce = produce_for(producer, node, list, count, capacity);
    *mr_array_add(&produce->batches) = batch;
    produce->bytes += batch->buf.length;
    return true;
}

/* One batch of each partition a round, until no partition has one that may go. */
static void send_all(struct kafka_producer *producer)
{
    bool any = true;
    while (any) {
        struct kafka_produce **list = NULL;
        size_t count = 0, capacity = 0;
        any = false;
        for (size_t i = 0; i < producer->busy.count; i++)
            any |= partition_send(producer->busy.items[i], &list, &count, &capacity);
        for (size_t i = 0; i < count; i++)
            kafka_node_request(list[i]->node, KAFKA_API_produce,
                               producer->raising ? PRODUCE_VERSION_MAX : PRODUCE_VERSION_MAX_JOINED,
                               KAFKA_TIMEOUT_MS, produce_fill, produce_answered, list[i]);
        mr_free(list);
    }
}

/* Batches whose time is over, or whose topic is gone, and partitions without any. */
static void busy_tidy(struct kafka_producer *producer)
{
    int64_t now = mr_loop_now_us(producer->client->loop);
    size_t kept = 0;
    for (size_t i = 0; i < producer->busy.count; i++) {
        struct kafka_producer_partition *partition = producer->busy.items[i];
        struct kafka_topic *meta = partition->topic->meta;
        bool gone = meta->unknown_tries >= KAFKA_UNKNOWN_TRIES;
        if (gone && partition->open != NULL)
            batch_seal(partition);
        while (partition->first != NULL && !partition->first->sent &&
               (gone || partition->first->deadline_us <= now))
            batch_lost(partition->first,
                       mr_fail(gone ? MR_NOT_FOUND : MR_TIMEOUT,
                               "kafka topic %.*s, partition %d: %s", MR_STR_ARG(meta->name),
                               partition->index, gone ? "not found" : "not written in time"));
        partition->listed = partition->first != NULL || partition->open != NULL;
        if (partition->listed)
            producer->busy.items[kept++] = partition;
    }
    producer->busy.count = kept;
}

static void askers_tell(struct kafka_producer *producer);

static bool may_send(struct kafka_producer *producer)
{
    if (producer->gap || producer->err != MR_OK)
        return false;
    if (!is_transactional(producer))
        return producer->state == KAFKA_PRODUCER_READY;
    return producer->state == KAFKA_PRODUCER_OPEN || producer->state == KAFKA_PRODUCER_COMMITTING;
}

static void producer_task(struct mr_task *task)
{
    struct kafka_producer *producer = mr_container(task, struct kafka_producer, task);
    if (producer->closed)
        return;
    askers_tell(producer);
    busy_tidy(producer);
    if (!is_transactional(producer) && producer->busy.count > 0 && producer->in_flight == 0 &&
        (producer->state == KAFKA_PRODUCER_NEW ||
         (producer->gap && producer->state == KAFKA_PRODUCER_READY)))
        kafka_transaction_start(producer);
    if (may_send(producer)) {
        if (is_transactional(producer))
            kafka_transaction_add(producer);
        send_all(producer);
    }
    if (is_transactional(producer))
        kafka_transaction_step(producer);
    if (producer->full && producer->bytes <= producer->options.bytes_max / 2) {
        producer->full = false;
        if (producer->options.room != NULL)
            producer->options.room(producer->options.context);
    }
    tells_run(producer);
}

static void on_timer(struct mr_timer *timer)
{
    producer_task(&mr_container(timer, struct kafka_producer, timer)->task);
}

static void on_metadata(struct kafka_listener *listener, mr_err err)
{
    (void)err;
    kafka_producer_wake(mr_container(listener, struct kafka_producer, listener));
}

/* ---- topics ---- */

/* More partitions than before are taken in; a topic made anew with fewer keeps its old ones. */
static void topic_grow(struct kafka_producer_topic *topic)
{
    int32_t count = topic->meta->partition_count;
    if (count <= topic->partition_count)
        return;
    topic->partitions = mr_realloc(topic->partitions,
                                   mr_size_product((size_t)count, sizeof(void *)));
    for (int32_t i = topic->partition_count; i < count; i++) {
        struct kafka_producer_partition *partition = mr_new(struct kafka_producer_partition);
        partition->topic = topic;
        partition->index = i;
        partition->last = &partition->first;
        topic->partitions[i] = partition;
    }
    topic->partition_count = count;
}

/* Tells those whose topic is known now, or known to be absent. */
static void topic_tell(struct kafka_producer_topic *topic)
{
    struct kafka_producer *producer = topic->producer;
    int64_t now = mr_loop_now_us(producer->client->loop);
    topic_grow(topic);
    bool absent = topic->meta->unknown_tries >= KAFKA_UNKNOWN_TRIES;
    while (topic->askers != NULL && !producer->closed) {
        struct kafka_producer_asker *asker = topic->askers;
        mr_err err = MR_OK;
        if (topic->partition_count == 0) {
            if (!absent && now < asker->deadline_us) {
                leader_ask(producer, topic->meta);
                return;
            }
            err = mr_fail(absent ? MR_NOT_FOUND : MR_TIMEOUT, "kafka topic %.*s: %s",
                          MR_STR_ARG(topic->meta->name),
                          absent ? "not found" : "no news of it in time");
        }
        topic->askers = asker->next;
        asker->done(asker->context, err, err == MR_OK ? topic : NULL);
        mr_free(asker);
    }
    if (absent)
        topic->meta->unknown_tries = 0; /* the next one who asks looks again */
}

static void askers_tell(struct kafka_producer *producer)
{
    struct mr_map_entry *entry;
    for (size_t i = 0; !producer->closed && (entry = mr_map_next(&producer->topics, &i)) != NULL;) {
        struct kafka_producer_topic *topic = entry->value;
        if (topic->askers != NULL)
            topic_tell(topic);
        else
            topic_grow(topic);
    }
}

void kafka_producer_topic(struct kafka_producer *producer, mr_str name,
                          void (*done)(void *context, mr_err err,
                                       struct kafka_producer_topic *topic),
                          void *context)
{
    struct kafka_producer_topic *topic = mr_map_get(&producer->topics, name);
    struct kafka_producer_asker *asker = mr_new(struct kafka_producer_asker);
    if (topic == NULL) {
        topic = mr_new(struct kafka_producer_topic);
        topic->producer = producer;
        topic->meta = kafka_client_topic(producer->client, name);
        mr_map_put(&producer->topics, name, topic);
    }
    asker->done = done;
    asker->context = context;
    asker->deadline_us = mr_loop_now_us(producer->client->loop) + KAFKA_TIMEOUT_MS * 1000LL;
    struct kafka_producer_asker **link = &topic->askers;
    while (*link != NULL)
        link = &(*link)->next;
    *link = asker;
    kafka_producer_wake(producer);
}

int32_t kafka_producer_partitions(const struct kafka_producer_topic *topic)
{
    return topic->partition_count;
}

/* ---- records ---- */

bool kafka_producer_has_room(const struct kafka_producer *producer)
{
    if (producer->bytes < producer->options.bytes_max)
        return true;
    ((struct kafka_producer *)(uintptr_t)producer)->full = true; /* remembered, not changed */
    return false;
}

static mr_err state_check(const struct kafka_producer *producer)
{
    if (producer->err != MR_OK)
        return mr_fail(producer->err, "%s", producer->why);
    if (is_transactional(producer) && producer->state != KAFKA_PRODUCER_OPEN)
        return mr_fail(MR_CONFLICT, "kafka producer %.*s: no transaction is open",
                       MR_STR_ARG(producer->transactional_id));
    return MR_OK;
}

static size_t record_bytes_max(mr_str key, mr_str value, const struct kafka_header *headers,
                               size_t count)
{
    size_t bytes = key.length + value.length + RECORD_EXTRA_BYTES;
    for (size_t i = 0; i < count; i++)
        bytes += headers[i].key.length + headers[i].value.length + HEADER_EXTRA_BYTES;
    return bytes;
}

mr_err kafka_producer_append(struct kafka_producer_topic *topic, int32_t index,
                             int64_t timestamp_ms, mr_str key, mr_str value,
                             const struct kafka_header *headers, size_t header_count)
{
    struct kafka_producer *producer = topic->producer;
    mr_err err = state_check(producer);
    size_t bytes = record_bytes_max(key, value, headers, header_count);
    if (err != MR_OK)
        return err;
    if (index < 0)
        index = key.data == NULL ? topic->sticky
                                 : kafka_client_partition(key, topic->partition_count);
    if (index >= topic->partition_count)
        return mr_fail(MR_INVALID, "kafka topic %.*s: partition %d of %d",
                       MR_STR_ARG(topic->meta->name), index, topic->partition_count);
    if (bytes + KAFKA_RECORDS_HEADER_BYTES > producer->options.batch_bytes_max)
        return mr_fail(MR_LIMIT, "kafka topic %.*s: a record of %zu bytes, at most %zu fit",
                       MR_STR_ARG(topic->meta->name), bytes, producer->options.batch_bytes_max);
    struct kafka_producer_partition *partition = topic->partitions[index];
    struct kafka_producer_batch *batch = partition->open;
    if (batch != NULL && batch->buf.length + bytes > producer->options.batch_bytes_max) {
        batch_seal(partition);
        batch = NULL;
    }
    if (batch == NULL) {
        batch = batch_open(partition, bytes);
        if (is_transactional(producer))
            kafka_transaction_join(partition);
        kafka_producer_wake(producer);
    }
    batch_room(batch, bytes);
    kafka_records_append(&batch->builder, timestamp_ms, key, value, headers, header_count);
    mr_assert(batch->buf.data == batch->bytes->data);
    producer->bytes += batch->buf.length - batch->charged;
    batch->charged = batch->buf.length;
    return MR_OK;
}

void kafka_producer_flush(struct kafka_producer *producer, kafka_done *done, void *context)
{
    producer->flush_serial = producer->serial;
    kafka_producer_wake(producer);
    if (producer->err != MR_OK || producer->live == 0) {
        if (producer->err != MR_OK)
            mr_fail(producer->err, "%s", producer->why);
        kafka_producer_later(producer, done, context, producer->err);
        return;
    }
    struct kafka_producer_waiter *waiter = mr_new(struct kafka_producer_waiter);
    waiter->serial = producer->serial;
    waiter->left = producer->live;
    waiter->done = done;
    waiter->context = context;
    waiter->next = producer->waiters;
    producer->waiters = waiter;
}

/* ---- open and close ---- */

mr_err kafka_producer_open(struct kafka_client *client,
                           const struct kafka_producer_options *options,
                           struct kafka_producer **out)
{
    struct kafka_producer *producer = mr_new(struct kafka_producer);
    producer->client = client;
    producer->options = *options;
    if (options->transactional_id.data != NULL)
        producer->transactional_id = mr_str_of(mr_copy_cstr(options->transactional_id),
                                               options->transactional_id.length);
    producer->options.transactional_id = producer->transactional_id;
    if (options->transaction_timeout_ms <= 0)
        producer->options.transaction_timeout_ms = TRANSACTION_TIMEOUT_MS;
    if (options->batch_bytes_max == 0)
        producer->options.batch_bytes_max = BATCH_BYTES;
    if (options->bytes_max == 0)
        producer->options.bytes_max = BYTES_MAX;
    if (options->timeout_ms <= 0)
        producer->options.timeout_ms = TIMEOUT_MS;
    producer->producer_id = -1;
    producer->producer_epoch = -1;
    producer->task.run = producer_task;
    producer->timer.run = on_timer;
    producer->listener.changed = on_metadata;
    kafka_client_listen(client, &producer->listener);
    *out = producer;
    return MR_OK;
}

static void topic_free(struct kafka_producer_topic *topic)
{
    for (int32_t i = 0; i < topic->partition_count; i++) {
        struct kafka_producer_partition *partition = topic->partitions[i];
        if (partition->open != NULL)
            batch_seal(partition);
        while (partition->first != NULL) {
            struct kafka_producer_batch *batch = partition->first;
            partition->first = batch->next;
            batch_free(batch);
        }
        mr_free(partition);
    }
    while (topic->askers != NULL) {
        struct kafka_producer_asker *asker = topic->askers;
        topic->askers = asker->next;
        mr_free(asker);
    }
    mr_free(topic->partitions);
    mr_free(topic);
}

/* At the turn's end: a callback of the producer may be what closed it. */
static void producer_free(void *context, mr_err err)
{
    struct kafka_producer *producer = context;
    struct mr_map_entry *entry;
    (void)err;
    if (producer->task.queued) { /* the loop still has it: behind that */
        kafka_client_later(producer->client, producer_free, producer, MR_OK);
        return;
    }
    for (size_t i = 0; (entry = mr_map_next(&producer->topics, &i)) != NULL;)
        topic_free(entry->value);
    mr_map_fini(&producer->topics);
    while (producer->waiters != NULL) {
        struct kafka_producer_waiter *waiter = producer->waiters;
        producer->waiters = waiter->next;
        mr_free(waiter->why);
        mr_free(waiter);
    }
    while (producer->produces != NULL)
        produce_free(producer->produces);
    while (producer->tells != NULL) {
        struct kafka_producer_tell *tell = producer->tells;
        producer->tells = tell->next;
        mr_free(tell->why);
        mr_free(tell);
    }
    kafka_transaction_fini(producer);
    mr_array_fini(&producer->busy);
    mr_free((void *)(uintptr_t)producer->transactional_id.data);
    mr_free(producer->why);
    mr_free(producer);
}

void kafka_producer_close(struct kafka_producer *producer)
{
    if (producer == NULL)
        return;
    producer->closed = true;
    kafka_client_unlisten(producer->client, &producer->listener);
    kafka_node_drop_lane(producer->client, producer);
    kafka_call_drop_lane(producer->client, producer);
    mr_timer_stop(&producer->timer);
    kafka_client_later(producer->client, producer_free, producer, MR_OK);
}
