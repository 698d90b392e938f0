/* broker/txn_records.c: the records of __transaction_state, as Kafka's coordinators write them: a key
 * is 0 and the transactional id, a value a version (1) and a flexible struct of messages.def; records
 * of version 0 are read as well. A header of our own has the number of the transaction. */
#include "broker/server.h"

#define NUMBER_NAME MR_STR("mr.txn")
enum { VALUE_VERSION = 1 };

static struct broker_log *state_log(const struct broker_txns *txns)
{
    return broker_server_internal(txns->server, MR_STR("__transaction_state"));
}

static void key_print(const char *id, struct mr_buf *out)
{
    mr_str text = mr_str_from(id);

    mr_buf_be16(out, 0);
    mr_buf_be16(out, (uint16_t)text.length);
    mr_buf_str(out, text);
}

/* ---- writing ---- */

static struct kafka_transaction_log_partitions *
topic_of(struct mr_map *topics, struct kafka_transaction_log_value *value, mr_str name)
{
    struct kafka_transaction_log_partitions *topic = mr_map_get(topics, name);

    if (topic != NULL)
        return topic;
    topic = &value->transaction_partitions.items[value->transaction_partitions.count++];
    topic->topic = name;
    mr_map_put(topics, name, topic);
    return topic;
}

static void partitions_lay_out(struct mr_arena *arena, const struct broker_txn *txn,
                               struct kafka_transaction_log_value *value)
{
    size_t count = txn->partitions.count;
    struct mr_map topics = {0};

    value->transaction_partitions.items = mr_arena_array(
        arena, struct kafka_transaction_log_partitions, count);
    value->transaction_partitions.count = 0;
    for (size_t i = 0; i < count; i++) /* counted first, so that each gets what it needs */
        topic_of(&topics, value, mr_str_from(txn->partitions.items[i].topic))
            ->partition_ids.count++;
    for (int32_t i = 0; i < value->transaction_partitions.count; i++) {
        struct kafka_transaction_log_partitions *topic = &value->transaction_partitions.items[i];
        topic->partition_ids.items = mr_arena_array(arena, wire_i32,
                                                    (size_t)topic->partition_ids.count);
        topic->partition_ids.count = 0;
    }
    for (size_t i = 0; i < count; i++) {
        const struct broker_txn_partition *partition = &txn->partitions.items[i];
        struct kafka_transaction_log_partitions *topic = topic_of(&topics, value,
                                                                  mr_str_from(partition->topic));
        topic->partition_ids.items[topic->partition_ids.count++] = partition->index;
    }
    mr_map_fini(&topics);
}

static void value_print(const struct broker_txn *txn, enum broker_txn_state state,
                        struct mr_buf *out)
{
    struct kafka_transaction_log_value value = {
        .producer_id = txn->producer_id,
        .previous_producer_id = txn->previous_id,
        .next_producer_id = txn->next_id,
        .producer_epoch = txn->epoch,
        .transaction_timeout_ms = txn->timeout_ms,
        .transaction_status = (int8_t)state,
        .transaction_partitions = {NULL, state == BROKER_TXN_EMPTY ? -1 : 0},
        .transaction_last_update_timestamp_ms = txn->changed_ms,
        .transaction_start_timestamp_ms = txn->started_ms,
        .client_transaction_version = txn->raises ? 2 : 0,
    };
    struct wire_out wire;
    struct mr_arena arena;

    mr_arena_init(&arena);
    if (broker_txn_is_open(state))
        partitions_lay_out(&arena, txn, &value);
    wire = wire_out_of(out, VALUE_VERSION, true);
    mr_buf_be16(out, VALUE_VERSION);
    wire_write(&wire, kafka_transaction_log_value_shape(), &value);
    wire_out_fini(&wire);
    mr_arena_fini(&arena);
}

mr_err broker_txn_write(struct broker_txn *txn, enum broker_txn_state state, int64_t *end)
{
    struct broker_journal journal;
    struct mr_buf key = {0}, value = {0};
    uint8_t number[4];
    struct kafka_header header = {NUMBER_NAME, mr_str_of(number, sizeof(number))};
    mr_err err;

    broker_batch_put32(number, (uint32_t)txn->sequence);
    key_print(txn->id, &key);
    value_print(txn, state, &value);
    broker_journal_begin(&journal, state_log(txn->txns));
    kafka_records_append(&journal.builder, broker_storage_now_ms(journal.log->storage),
                         mr_buf_as_str(&key), mr_buf_as_str(&value), &header, 1);
    err = broker_journal_append(&journal, -1, -1, end);
    mr_buf_fini(&key);
    mr_buf_fini(&value);
    return err;
}

mr_err broker_txn_write_gone(struct broker_txns *txns, const char *id)
{
    struct broker_journal journal;
    struct mr_buf key = {0};
    int64_t end;

    key_print(id, &key);
    broker_journal_begin(&journal, state_log(txns));
    broker_journal_add(&journal, mr_buf_as_str(&key), MR_STR_NULL);
    mr_err err = broker_journal_append(&journal, -1, -1, &end);
    mr_buf_fini(&key);
    return err;
}

/* ---- reading ---- */

struct replay {
    struct broker_replay replay;
    struct broker_txns *txns;
};

static mr_err value_read(mr_str bytes, struct mr_arena *arena,
                         struct kafka_transaction_log_value *value)
{
    struct mr_in in = mr_in_str(bytes);
    int16_t version = (int16_t)mr_in_be16(&in);
    struct wire_in wire;

    if (in.err != MR_OK || version < 0 || version > VALUE_VERSION)
        return mr_fail(MR_CORRUPT, "a record of __transaction_state has version %d", version);
    wire = wire_in_of(mr_str_slice(bytes, 2, bytes.length), arena, version, version >= 1);
    wire_reset(kafka_transaction_log_value_shape(), value);
    wire_read(&wire, kafka_transaction_log_value_shape(), value);
    return wire_in_finish(&wire, kafka_transaction_log_value_shape());
}

static void value_take(struct broker_txn *txn, const struct kafka_transaction_log_value *value)
{
    txn->timeout_ms = value->transaction_timeout_ms;
    txn->state = (enum broker_txn_state)value->transaction_status;
    broker_txn_partitions_clear(txn);
    for (int32_t i = 0; i < value->transaction_partitions.count; i++) {
        const struct kafka_transaction_log_partitions *topic =
            &value->transaction_partitions.items[i];
        for (int32_t k = 0; k < topic->partition_ids.count; k++)
            broker_txn_partition_add(txn, topic->topic, topic->partition_ids.items[k]);
    }
    txn->changed_ms = value->transaction_last_update_timestamp_ms;
    txn->started_ms = value->transaction_start_timestamp_ms;
    txn->previous_id = value->previous_producer_id;
    txn->next_id = value->next_producer_id;
    txn->raises = value->client_transaction_version >= 2;
    if (value->producer_id >= 0)
        broker_txn_producer_set(txn, value->producer_id, value->producer_epoch);
}

static void record_take(struct broker_replay *replay, const struct broker_batch *batch,
                        const struct kafka_record *record)
{
    struct broker_txns *txns = mr_container(replay, struct replay, replay)->txns;
    struct mr_in key = mr_in_str(record->key);
    mr_str number = kafka_records_header_find(record, NUMBER_NAME), id;
    struct kafka_transaction_log_value value;
    struct mr_arena arena;
    struct broker_txn *txn;

    (void)batch;
    if (mr_in_be16(&key) != 0)
        return;
    uint16_t length = mr_in_be16(&key);
    id = mr_in_take(&key, length);
    if (key.err != MR_OK)
        return;
    if (record->value.data == NULL) { /* expired */
        txn = mr_map_get(&txns->by_id, id);
        if (txn != NULL)
            broker_txn_forget(txn);
        return;
    }
    mr_arena_init(&arena);
    if (value_read(record->value, &arena, &value) == MR_OK) {
        txn = broker_txn_make(txns, id);
        value_take(txn, &value);
        if (number.length == 4)
            txn->sequence = (int32_t)broker_batch_be32((const uint8_t *)number.data);
    } else {
        mr_log(MR_LOG_ERROR, "broker", "transaction %.*s: a record of it is passed over: %s",
               MR_STR_ARG(id), mr_why());
    }
    mr_arena_fini(&arena);
}

static void marker_pass(struct broker_replay *replay, const struct broker_batch *batch, bool commit)
{
    (void)replay;
    (void)batch;
    (void)commit;
}

mr_err broker_txns_load(struct broker_txns *txns, struct broker_log *log)
{
    struct replay replay = {{record_take, marker_pass}, txns};
    return broker_journal_replay(log, &replay.replay);
}
