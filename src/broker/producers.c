/* broker/producers.c: idempotence and the transaction index of one partition. A producer's state is a
 * function of its batches in the log: check() asks, note() follows; note() never refuses, since what
 * is in the log is so. */
#include "broker/producers.h"

#include "kafka/messages.h"

static mr_str id_key(const int64_t *id)
{
    return mr_str_of(id, sizeof(*id));
}

void broker_producers_fini(struct broker_producers *producers)
{
    struct mr_map_entry *entry;
    for (size_t i = 0; (entry = mr_map_next(&producers->by_id, &i)) != NULL;)
        mr_free(entry->value);
    mr_map_fini(&producers->by_id);
    mr_array_fini(&producers->open);
    mr_array_fini(&producers->aborted);
    producers->latest = NULL;
}

struct broker_producer *broker_producers_find(struct broker_producers *producers, int64_t id)
{
    if (producers->latest != NULL && producers->latest->id == id)
        return producers->latest;
    producers->latest = mr_map_get(&producers->by_id, id_key(&id));
    return producers->latest;
}

static struct broker_producer *producer_make(struct broker_producers *producers, int64_t id)
{
    struct broker_producer *producer = broker_producers_find(producers, id);
    if (producer != NULL)
        return producer;
    producer = mr_new(struct broker_producer);
    producer->id = id;
    producer->txn_first = -1;
    producer->coordinator_epoch = -1;
    producer->epoch = -1;
    mr_map_put(&producers->by_id, id_key(&id), producer);
    producers->latest = producer;
    return producer;
}

/* Sequences wrap from 2^31-1 to 0. */
static int32_t sequence_add(int32_t sequence, int32_t delta)
{
    return (int32_t)(((uint32_t)sequence + (uint32_t)delta) & 0x7fffffffu);
}

static int32_t batch_last_sequence(const struct broker_batch *batch)
{
    return sequence_add(batch->sequence, (int32_t)(batch->last - batch->base));
}

static bool is_repeat(const struct broker_producer *producer, const struct broker_batch *batch,
                      int64_t *duplicate)
{
    for (int i = 0; i < producer->batch_count; i++) {
        if (producer->batches[i].first == batch->sequence &&
            producer->batches[i].last == batch_last_sequence(batch)) {
            *duplicate = producer->batches[i].base;
            return true;
        }
    }
    return false;
}

int16_t broker_producers_check(struct broker_producers *producers, const struct broker_batch *batch,
                               int64_t *duplicate)
{
    bool transactional = (batch->attributes & BROKER_BATCH_TRANSACTIONAL) != 0;
    struct broker_producer *producer;

    *duplicate = -1;
    if (batch->producer_id < 0)
        return transactional ? KAFKA_ERROR_INVALID_RECORD : KAFKA_ERROR_NONE;
    if (batch->sequence < 0 || batch->producer_epoch < 0)
        return KAFKA_ERROR_INVALID_RECORD;
    producer = broker_producers_find(producers, batch->producer_id);
    if (producer == NULL)
        return KAFKA_ERROR_NONE; /* expired or trimmed: any sequence goes */
    if (batch->producer_epoch < producer->epoch)
        return KAFKA_ERROR_INVALID_PRODUCER_EPOCH;
    if (batch->producer_epoch > producer->epoch) {
        if (batch->sequence != 0)
            return KAFKA_ERROR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    } else {
        int32_t last = -1;
        if (is_repeat(producer, batch, duplicate))
            return KAFKA_ERROR_NONE;
        if (producer->batch_count > 0)
            last = producer->batches[producer->batch_count - 1].last;
        if (batch->sequence != (last < 0 ? 0 : sequence_add(last, 1)))
            return KAFKA_ERROR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    }
    if (producer->txn_first >= 0 && !transactional)
        return KAFKA_ERROR_INVALID_TXN_STATE;
    return KAFKA_ERROR_NONE;
}

static void open_remove(struct broker_producers *producers, const struct broker_producer *producer)
{
    size_t kept = 0;
    for (size_t i = 0; i < producers->open.count; i++)
        if (producers->open.items[i] != producer)
            producers->open.items[kept++] = producers->open.items[i];
    producers->open.count = kept;
}

int broker_producers_marker(const struct broker_batch *batch, const uint8_t *data,
                            int32_t *coordinator_epoch)
{
    struct mr_in in = mr_in_of(data + BROKER_BATCH_HEADER,
                               batch->bytes - (size_t)BROKER_BATCH_HEADER);
    int64_t key_length, value_length;
    uint16_t type;

    mr_in_varint(&in); /* record length */
    mr_in_u8(&in);     /* attributes */
    mr_in_varint(&in); /* timestamp delta */
    mr_in_varint(&in); /* offset delta */
    key_length = mr_in_varint(&in);
    if (key_length < 4 || key_length > 64)
        return -1;
    mr_in_be16(&in); /* version */
    type = mr_in_be16(&in);
    mr_in_take(&in, (size_t)key_length - 4);
    value_length = mr_in_varint(&in);
    if (value_length >= 6) {
        mr_in_be16(&in);
        *coordinator_epoch = (int32_t)mr_in_be32(&in);
    }
    return in.err == MR_OK && type <= 1 ? (int)type : -1;
}

static void note_marker(struct broker_producers *producers, struct broker_producer *producer,
                        const struct broker_batch *batch, const uint8_t *data)
{
    int32_t coordinator_epoch = producer->coordinator_epoch;
    int kind = broker_producers_marker(batch, data, &coordinator_epoch);

    if (kind < 0)
        return;
    if (batch->producer_epoch > producer->epoch)
        producer->batch_count = 0;
    producer->epoch = batch->producer_epoch;
    producer->coordinator_epoch = coordinator_epoch;
    if (producer->txn_first < 0)
        return;
    open_remove(producers, producer);
    if (kind == 0)
        *mr_array_add(&producers->aborted) = (struct broker_aborted){
            producer->id, producer->txn_first, batch->last};
    producer->txn_first = -1;
}

void broker_producers_note(struct broker_producers *producers, const struct broker_batch *batch,
                           const uint8_t *data, int64_t now_ms)
{
    struct broker_producer *producer;
    int at;

    if (batch->producer_id < 0)
        return;
    producer = producer_make(producers, batch->producer_id);
    producer->last_ms = now_ms;
    if ((batch->attributes & BROKER_BATCH_CONTROL) != 0) {
        note_marker(producers, producer, batch, data);
        return;
    }
    if (batch->producer_epoch != producer->epoch)
        producer->batch_count = 0;
    producer->epoch = batch->producer_epoch;
    if (batch->sequence < 0)
        goto transaction; /* the coordinators' own batches carry no sequence */
    if (producer->batch_count == BROKER_PRODUCERS_BATCHES) {
        memmove(&producer->batches[0], &producer->batches[1],
                sizeof(producer->batches[0]) * (BROKER_PRODUCERS_BATCHES - 1));
        producer->batch_count--;
    }
    at = producer->batch_count++;
    producer->batches[at].base = batch->base;
    producer->batches[at].first = batch->sequence;
    producer->batches[at].last = batch_last_sequence(batch);
transaction:
    if ((batch->attributes & BROKER_BATCH_TRANSACTIONAL) != 0 && producer->txn_first < 0) {
        producer->txn_first = batch->base;
        *mr_array_add(&producers->open) = producer;
    }
}

int64_t broker_producers_stable(const struct broker_producers *producers, int64_t otherwise)
{
    if (producers->open.count == 0 || producers->open.items[0]->txn_first > otherwise)
        return otherwise;
    return producers->open.items[0]->txn_first;
}

size_t broker_producers_aborted_from(const struct broker_producers *producers, int64_t offset)
{
    size_t low = 0, high = producers->aborted.count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (producers->aborted.items[middle].last < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void broker_producers_cut(struct broker_producers *producers, int64_t start)
{
    size_t from = broker_producers_aborted_from(producers, start);
    if (from == 0)
        return;
    producers->aborted.count -= from;
    memmove(producers->aborted.items, producers->aborted.items + from,
            producers->aborted.count * sizeof(producers->aborted.items[0]));
}

void broker_producers_expire(struct broker_producers *producers, int64_t before_ms)
{
    struct mr_map_entry *entry;
    for (size_t i = 0; (entry = mr_map_next(&producers->by_id, &i)) != NULL;) {
        struct broker_producer *producer = entry->value;
        if (producer->txn_first >= 0 || producer->last_ms >= before_ms)
            continue;
        if (producers->latest == producer)
            producers->latest = NULL;
        mr_map_remove(&producers->by_id, entry->key);
        mr_free(producer);
    }
}

/* ---- kept in a checkpoint ---- */

void broker_producers_write(const struct broker_producers *producers, struct mr_buf *out)
{
    struct mr_map_entry *entry;

    mr_buf_be32(out, (uint32_t)producers->by_id.count);
    for (size_t i = 0; (entry = mr_map_next(&producers->by_id, &i)) != NULL;) {
        const struct broker_producer *producer = entry->value;
        mr_buf_be64(out, (uint64_t)producer->id);
        mr_buf_be64(out, (uint64_t)producer->txn_first);
        mr_buf_be64(out, (uint64_t)producer->last_ms);
        mr_buf_be32(out, (uint32_t)producer->coordinator_epoch);
        mr_buf_be16(out, (uint16_t)producer->epoch);
        mr_buf_u8(out, producer->batch_count);
        for (int j = 0; j < producer->batch_count; j++) {
            mr_buf_be64(out, (uint64_t)producer->batches[j].base);
            mr_buf_be32(out, (uint32_t)producer->batches[j].first);
            mr_buf_be32(out, (uint32_t)producer->batches[j].last);
        }
    }
    mr_buf_be32(out, (uint32_t)producers->aborted.count);
    for (size_t i = 0; i < producers->aborted.count; i++) {
        mr_buf_be64(out, (uint64_t)producers->aborted.items[i].producer_id);
        mr_buf_be64(out, (uint64_t)producers->aborted.items[i].first);
        mr_buf_be64(out, (uint64_t)producers->aborted.items[i].last);
    }
}

static void open_insert(struct broker_producers *producers, struct broker_producer *producer)
{
    size_t at = producers->open.count;
    *mr_array_add(&producers->open) = producer;
    for (; at > 0 && producers->open.items[at - 1]->txn_first > producer->txn_first; at--)
        producers->open.items[at] = producers->open.items[at - 1];
    producers->open.items[at] = producer;
}

mr_err broker_producers_read(struct mr_in *in, struct broker_producers *producers)
{
    uint32_t count = mr_in_be32(in);

    for (uint32_t i = 0; i < count && in->err == MR_OK; i++) {
        struct broker_producer *producer = producer_make(producers, (int64_t)mr_in_be64(in));
        producer->txn_first = (int64_t)mr_in_be64(in);
        producer->last_ms = (int64_t)mr_in_be64(in);
        producer->coordinator_epoch = (int32_t)mr_in_be32(in);
        producer->epoch = (int16_t)mr_in_be16(in);
        producer->batch_count = mr_in_u8(in);
        if (producer->batch_count > BROKER_PRODUCERS_BATCHES) {
            producer->batch_count = 0;
            mr_in_fail(in);
        }
        for (int j = 0; j < producer->batch_count; j++) {
            producer->batches[j].base = (int64_t)mr_in_be64(in);
            producer->batches[j].first = (int32_t)mr_in_be32(in);
            producer->batches[j].last = (int32_t)mr_in_be32(in);
        }
        if (producer->txn_first >= 0)
            open_insert(producers, producer);
    }
    count = mr_in_be32(in);
    for (uint32_t i = 0; i < count && in->err == MR_OK; i++) {
        struct broker_aborted aborted = {.producer_id = (int64_t)mr_in_be64(in)};
        aborted.first = (int64_t)mr_in_be64(in);
        aborted.last = (int64_t)mr_in_be64(in);
        if (in->err == MR_OK)
            *mr_array_add(&producers->aborted) = aborted;
    }
    return in->err;
}
