/* broker/produce.c: batches from producers to the logs. Each partition's batch is checked, placed and
 * queued in the order of arrival; the answer goes out when the last of them is kept as `acks` asks. */
#include "broker/server.h"

struct produce_part {
    struct broker_log_wait wait;
    struct produce *produce;
    struct kafka_produce_response_partition *answer;
};
struct produce {
    struct broker_request *request;
    size_t waiting;
};

static void produce_step(struct produce *produce)
{
    if (--produce->waiting == 0)
        broker_server_answer(produce->request);
}

static void part_kept(struct broker_log_wait *wait, mr_err err)
{
    struct produce_part *part = mr_container(wait, struct produce_part, wait);

    if (err != MR_OK) {
        part->answer->error_code = broker_server_error(err);
        part->answer->base_offset = -1;
        part->answer->error_message = broker_server_text(part->produce->request, mr_why());
    }
    produce_step(part->produce);
}

static int16_t part_refuse(struct broker_request *request,
                           struct kafka_produce_response_partition *answer, int16_t code,
                           const char *why)
{
    answer->error_message = broker_server_text(request, why);
    broker_server_refused(request, code, mr_str_from(why));
    return code;
}

/* Records of a compacted topic need keys, so this is the one case in which they are looked at. */
static int16_t check_keys(struct broker_request *request,
                          struct kafka_produce_response_partition *answer, mr_str bytes)
{
    struct kafka_records records;
    struct kafka_record record;
    struct kafka_batch batch;
    struct mr_arena arena;
    int16_t code = KAFKA_ERROR_NONE;
    int32_t index = 0;
    mr_err err;

    mr_arena_init(&arena);
    err = kafka_records_batch(bytes, &batch);
    if (err == MR_OK)
        err = kafka_records_open(&batch, &arena, &records);
    if (err != MR_OK) {
        code = part_refuse(request, answer, KAFKA_ERROR_CORRUPT_MESSAGE, mr_why());
        goto out;
    }
    for (; kafka_records_read(&records, &record); index++) {
        if (record.key.data != NULL)
            continue;
        answer->record_errors.items = mr_arena_array(&request->arena,
                                                     struct kafka_produce_record_error, 1);
        answer->record_errors.count = 1;
        answer->record_errors.items[0].batch_index = index;
        answer->record_errors.items[0].batch_index_error_message = MR_STR(
            "Compacted topic cannot accept message without key.");
        code = part_refuse(request, answer, KAFKA_ERROR_INVALID_RECORD,
                           "One or more records have been rejected");
        break;
    }
    if (code == KAFKA_ERROR_NONE && records.in.err != MR_OK)
        code = part_refuse(request, answer, KAFKA_ERROR_CORRUPT_MESSAGE,
                           "The records do not match the batch's header.");
out:
    mr_arena_fini(&arena);
    return code;
}

static int16_t check_header(struct broker_request *request,
                            struct kafka_produce_response_partition *answer,
                            const struct broker_log *log, mr_str bytes, struct broker_batch *batch)
{
    int codec;
    mr_err err = broker_batch_read((const uint8_t *)bytes.data, bytes.length, batch);

    if (err == MR_CORRUPT && bytes.length > 16 && bytes.data[16] != 2)
        return part_refuse(request, answer, KAFKA_ERROR_UNSUPPORTED_FOR_MESSAGE_FORMAT,
                           "Only record batches of format 2 are taken.");
    if (err != MR_OK)
        return part_refuse(request, answer, KAFKA_ERROR_CORRUPT_MESSAGE,
                           "The batch's length does not fit the request.");
    if (batch->bytes != bytes.length)
        return part_refuse(request, answer, KAFKA_ERROR_INVALID_RECORD,
                           "Expected exactly one batch per partition.");
    if ((int64_t)batch->bytes > log->config->max_message_bytes)
        return part_refuse(request, answer, KAFKA_ERROR_MESSAGE_TOO_LARGE,
                           "The batch is larger than the topic's max.message.bytes.");
    if ((int64_t)batch->bytes > log->config->segment_bytes)
        return part_refuse(request, answer, KAFKA_ERROR_RECORD_LIST_TOO_LARGE,
                           "The batch is larger than the topic's segment.bytes.");
    if (!broker_batch_is_whole((const uint8_t *)bytes.data, batch))
        return part_refuse(request, answer, KAFKA_ERROR_CORRUPT_MESSAGE,
                           "The batch does not match its checksum.");
    codec = batch->attributes & BROKER_BATCH_CODEC;
    if (codec > KAFKA_CODEC_ZSTD ||
        (codec == KAFKA_CODEC_ZSTD && request->header.request_api_version < 7))
        return part_refuse(request, answer, KAFKA_ERROR_UNSUPPORTED_COMPRESSION_TYPE,
                           "The batch's compression is not known to this version.");
    if (batch->count == 0 || batch->count - 1 != batch->last - batch->base ||
        (batch->attributes & (BROKER_BATCH_CONTROL | BROKER_BATCH_HORIZON)) != 0)
        return part_refuse(
            request, answer, KAFKA_ERROR_INVALID_RECORD,
            "The batch is empty, miscounted, or of a kind that clients do not write.");
    return KAFKA_ERROR_NONE;
}

static int16_t check_times(struct broker_request *request,
                           struct kafka_produce_response_partition *answer,
                           const struct broker_log *log, const struct broker_batch *batch)
{
    int64_t now_ms = broker_storage_now_ms(log->storage);

    if (log->config->append_time || batch->time_max < 0)
        return KAFKA_ERROR_NONE;
    if (batch->time_max > now_ms && batch->time_max - now_ms > log->config->timestamp_after_ms)
        return part_refuse(request, answer, KAFKA_ERROR_INVALID_TIMESTAMP,
                           "A timestamp lies further ahead than message.timestamp.after.max.ms.");
    if (batch->time_base >= 0 && batch->time_base < now_ms &&
        now_ms - batch->time_base > log->config->timestamp_before_ms)
        return part_refuse(request, answer, KAFKA_ERROR_INVALID_TIMESTAMP,
                           "A timestamp lies further behind than message.timestamp.before.max.ms.");
    return KAFKA_ERROR_NONE;
}

/* Puts the checked batch at the end of its log, or finds that it is there already. */
static int16_t part_append(struct broker_request *request,
                           struct kafka_produce_response_partition *answer, struct broker_log *log,
                           mr_str bytes, struct broker_batch *batch, int64_t *end)
{
    int32_t span = (int32_t)(batch->last - batch->base);
    struct mr_bytes *owner = request->owner;
    uint8_t *data = (uint8_t *)(uintptr_t)bytes.data;
    int64_t duplicate;
    int16_t code = broker_producers_check(&log->producers, batch, &duplicate);
    mr_err err;

    if (duplicate >= 0) {
        answer->base_offset = duplicate;
        *end = duplicate + span + 1;
        return KAFKA_ERROR_NONE;
    }
    /* Before the sequence is looked at: that one is missing is no wonder while nothing is taken. */
    if (log->storage->low_space)
        return part_refuse(request, answer, KAFKA_ERROR_KAFKA_STORAGE_ERROR,
                           "The disk is full up to its reserve; records are refused.");
    err = broker_log_state(log);
    if (err != MR_OK)
        return part_refuse(request, answer, broker_server_error(err), mr_why());
    if (code != KAFKA_ERROR_NONE)
        return code;
    if (owner == NULL) { /* a small frame lies in the request's arena */
        owner = mr_bytes_copy(bytes.data, bytes.length);
        data = owner->data;
    } else {
        owner = mr_bytes_ref(owner);
    }
    if (log->config->append_time) {
        int64_t now_ms = broker_storage_now_ms(log->storage);
        broker_batch_stamp(data, batch, now_ms);
        answer->log_append_time_ms = now_ms;
    }
    err = broker_log_append(log, owner, data, batch);
    mr_bytes_unref(owner);
    if (err != MR_OK)
        return part_refuse(request, answer, broker_server_error(err), mr_why());
    answer->base_offset = batch->base;
    *end = batch->last + 1;
    log->told_bytes_in += batch->bytes;
    log->told_records_in += batch->count;
    mr_counter_add(log->storage->bytes_in, batch->bytes);
    mr_counter_add(log->storage->records_in, batch->count);
    return KAFKA_ERROR_NONE;
}

static int16_t check_transaction(const struct broker_request *request,
                                 const struct broker_batch *batch, struct broker_log *log,
                                 mr_str topic, int32_t index)
{
    const struct kafka_produce_request *in = request->in;
    int16_t version = request->header.request_api_version;
    struct broker_txn_append append = {in->transactional_id, batch->producer_id, batch->sequence,
                                       batch->producer_epoch,
                                       version >= 12   ? BROKER_TXN_JOINS
                                       : version == 11 ? BROKER_TXN_ABORTABLE
                                                       : BROKER_TXN_ASKED};

    if (append.id.data == NULL)
        return KAFKA_ERROR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
    return broker_txn_check_append(&request->server->txns, &append, log, topic, index);
}

/* All of one partition up to the queue; sets the log and the offset to wait for. */
static int16_t part_run(struct broker_request *request, mr_str topic,
                        const struct kafka_produce_request_partition *asked,
                        struct kafka_produce_response_partition *answer, struct broker_log **log,
                        int64_t *end)
{
    struct broker_partition *partition;
    struct broker_batch batch;
    mr_str bytes = asked->records.bytes;
    int16_t code = broker_server_partition(request->server, topic, asked->index, &partition);

    answer->index = asked->index;
    answer->base_offset = -1;
    if (code != KAFKA_ERROR_NONE)
        return code;
    if (partition->topic->internal)
        return part_refuse(request, answer, KAFKA_ERROR_INVALID_TOPIC_EXCEPTION,
                           "The topic is the broker's own.");
    *log = partition->log;
    code = check_header(request, answer, *log, bytes, &batch);
    if (code == KAFKA_ERROR_NONE)
        code = check_times(request, answer, *log, &batch);
    if (code == KAFKA_ERROR_NONE && (*log)->config->compacts)
        code = check_keys(request, answer, bytes);
    if (code == KAFKA_ERROR_NONE && (batch.attributes & BROKER_BATCH_TRANSACTIONAL) != 0)
        code = check_transaction(request, &batch, *log, topic, asked->index);
    if (code == KAFKA_ERROR_NONE)
        code = part_append(request, answer, *log, bytes, &batch, end);
    answer->log_start_offset = (*log)->start;
    return code;
}

static void part_wait(struct produce_part *part, struct broker_log *log, int16_t acks, int64_t end)
{
    bool synced = log->config->flush == BROKER_FLUSH_ALWAYS ||
                  (log->config->flush == BROKER_FLUSH_ACKS && acks != 1);

    part->produce->waiting++;
    part->wait.run = part_kept;
    if (log->flush_end == end && log->config->flush_messages < INT64_MAX)
        broker_log_wait_flushed(log, &part->wait,
                                end); /* as Kafka, which syncs before it answers */
    else if (synced)
        broker_log_wait_kept(log, &part->wait, end);
    else
        broker_log_wait_written(log, &part->wait, end);
}

static bool by_id(const struct broker_request *request)
{
    return request->header.request_api_version >= 13;
}

static void topic_run(struct produce *produce, const struct kafka_produce_request_topic *asked,
                      struct kafka_produce_response_topic *answer, int16_t acks)
{
    struct broker_request *request = produce->request;
    int32_t count = asked->partition_data.count;
    const struct broker_topic *topic = NULL;
    mr_str name = asked->name;

    if (by_id(request)) {
        topic = broker_topics_find_id(&request->server->topics, &asked->topic_id);
        name = topic == NULL ? MR_STR_NULL : mr_str_from(topic->name);
    }
    answer->name = asked->name;
    answer->topic_id = asked->topic_id;
    answer->partition_responses.items = mr_arena_array(
        &request->arena, struct kafka_produce_response_partition, (size_t)count);
    answer->partition_responses.count = count;
    for (int32_t i = 0; i < count; i++) {
        struct kafka_produce_response_partition *part_answer =
            &answer->partition_responses.items[i];
        struct broker_log *log = NULL;
        int64_t end = 0;

        wire_reset(kafka_produce_response_partition_shape(), part_answer);
        if (acks < -1 || acks > 1)
            part_answer->error_code = KAFKA_ERROR_INVALID_REQUIRED_ACKS;
        else if (by_id(request) && topic == NULL)
            part_answer->error_code = KAFKA_ERROR_UNKNOWN_TOPIC_ID;
        else
            part_answer->error_code = part_run(request, name, &asked->partition_data.items[i],
                                               part_answer, &log, &end);
        part_answer->index = asked->partition_data.items[i].index;
        if (part_answer->error_code != KAFKA_ERROR_NONE) {
            part_answer->base_offset = -1;
        } else if (acks != 0) {
            struct produce_part *part = mr_arena_new(&request->arena, struct produce_part);
            part->produce = produce;
            part->answer = part_answer;
            part_wait(part, log, acks, end);
        }
    }
}

void broker_produce_produce(struct broker_request *request)
{
    const struct kafka_produce_request *in = request->in;
    struct kafka_produce_response *out = request->out;
    struct produce *produce = mr_arena_new(&request->arena, struct produce);

    produce->request = request;
    produce->waiting = 1;
    out->responses.items = mr_arena_array(
        &request->arena, struct kafka_produce_response_topic,
        (size_t)(in->topic_data.count < 0 ? 0 : in->topic_data.count));
    out->responses.count = in->topic_data.count < 0 ? 0 : in->topic_data.count;
    for (int32_t i = 0; i < out->responses.count; i++)
        topic_run(produce, &in->topic_data.items[i], &out->responses.items[i], in->acks);
    if (in->acks != 0) {
        produce_step(produce);
        return;
    }
    for (int32_t i = 0; i < out->responses.count; i++)
        for (int32_t j = 0; j < out->responses.items[i].partition_responses.count; j++)
            if (out->responses.items[i].partition_responses.items[j].error_code != 0 &&
                request->conn != NULL)
                net_close(request->conn->net); /* the only way to tell, as Kafka does */
    broker_server_answer_nothing(request);
}
