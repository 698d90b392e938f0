/* broker/produce.c: batches from producers to the logs. Each partition's batch is checked, placed and
 * queued in the order of arrival; the answer goes out when the last of them is kept as `acks` asks.
 *
 * All records are walked, since what no reader can read would stop them all. Plain ones, and what unpacks
 * to little, are walked on the loop; the rest by a thread, before anything of the request is placed, and what
 * the connection sends next waits for that. The thread uses nothing of a log: it may be gone meanwhile. */
#include "broker/server.h"

#include "kafka/walk.h"

enum {
    PACKED_BYTES_FEW = 4096, /* unpacked on the loop, if it is not more than this: */
    UNPACKED_BYTES_FEW = 65536,
};

/* What a look at the records of one packed batch has found. */
struct look {
    mr_str bytes;
    struct kafka_batch batch;
    struct kafka_walk_rules rules;
    mr_err err;
    mr_str why;
    int64_t time_max;
    int32_t fault_count;
    struct kafka_walk_fault *faults;
    bool due; /* for the thread */
};
/* Of a request, while a thread looks. */
struct looks {
    struct mr_job job;
    struct broker_request *request;
    struct broker_stall *stall;
    struct look *items;
    size_t count, at;
};
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
    if (batch->base != 0)
        return part_refuse(request, answer, KAFKA_ERROR_INVALID_RECORD,
                           "The batch's base offset is not 0.");
    if (batch->count == 0 || batch->count - 1 != batch->last - batch->base ||
        (batch->attributes & (BROKER_BATCH_CONTROL | BROKER_BATCH_HORIZON)) != 0)
        return part_refuse(
            request, answer, KAFKA_ERROR_INVALID_RECORD,
            "The batch is empty, miscounted, or of a kind that clients do not write.");
    return KAFKA_ERROR_NONE;
}

/* ---- the records ---- */

static struct kafka_walk_rules rules_of(const struct broker_log *log)
{
    int64_t now_ms = broker_storage_now_ms(log->storage);
    struct kafka_walk_rules rules = {log->config->compacts, INT64_MIN, INT64_MAX};

    if (log->config->append_time)
        return rules;
    if (log->config->timestamp_before_ms < INT64_MAX - now_ms)
        rules.time_min = now_ms - log->config->timestamp_before_ms;
    if (log->config->timestamp_after_ms < INT64_MAX - now_ms)
        rules.time_max = now_ms + log->config->timestamp_after_ms;
    return rules;
}

/* The arena is that of the request, which nobody else uses meanwhile. */
static void look_run(struct look *look, struct mr_arena *arena, size_t bytes_max)
{
    struct kafka_walk walk;
    int32_t count;

    look->err = kafka_walk_batch(&walk, &look->rules, &look->batch, bytes_max);
    if (look->err != MR_OK) {
        look->why = mr_arena_str(arena, mr_str_from(mr_why()));
        return;
    }
    look->time_max = walk.time_max;
    look->fault_count = walk.fault_count;
    count = walk.fault_count < KAFKA_WALK_FAULTS_MAX ? walk.fault_count : KAFKA_WALK_FAULTS_MAX;
    if (count == 0)
        return;
    look->faults = mr_arena_array(arena, struct kafka_walk_fault, (size_t)count);
    memcpy(look->faults, walk.faults, (size_t)count * sizeof(*look->faults));
}

static void record_errors(struct broker_request *request,
                          struct kafka_produce_response_partition *answer, int32_t count)
{
    count = count < KAFKA_WALK_FAULTS_MAX ? count : KAFKA_WALK_FAULTS_MAX;
    answer->record_errors.items = mr_arena_array(&request->arena, struct kafka_produce_record_error,
                                                 (size_t)count);
    answer->record_errors.count = count;
}

/* Each record that breaks a rule is named, as Kafka does. */
static int16_t refuse_records(struct broker_request *request,
                              struct kafka_produce_response_partition *answer,
                              const struct look *look)
{
    bool times = false;

    record_errors(request, answer, look->fault_count);
    for (int32_t i = 0; i < answer->record_errors.count; i++) {
        const struct kafka_walk_fault *fault = &look->faults[i];
        struct kafka_produce_record_error *error = &answer->record_errors.items[i];
        error->batch_index = fault->index;
        error->batch_index_error_message =
            fault->no_key
                ? MR_STR("Compacted topic cannot accept message without key.")
                : mr_arena_printf(&request->arena,
                                  "Timestamp %lld of message with offset %d is out of range. The "
                                  "timestamp should be within [%lld, %lld]",
                                  (long long)fault->timestamp, fault->index,
                                  (long long)look->rules.time_min, (long long)look->rules.time_max);
        times = times || !fault->no_key;
    }
    if (times)
        return part_refuse(request, answer, KAFKA_ERROR_INVALID_TIMESTAMP,
                           "One or more records have been rejected due to invalid timestamp");
    return part_refuse(request, answer, KAFKA_ERROR_INVALID_RECORD,
                       "One or more records have been rejected");
}

/* The broker's own times are for the broker to give. */
static int16_t refuse_time_type(struct broker_request *request,
                                struct kafka_produce_response_partition *answer, int32_t count)
{
    record_errors(request, answer, count);
    for (int32_t i = 0; i < answer->record_errors.count; i++) {
        answer->record_errors.items[i].batch_index = i;
        answer->record_errors.items[i].batch_index_error_message = MR_STR(
            "Invalid timestamp type: a producer should not set it to LogAppendTime.");
    }
    return part_refuse(request, answer, KAFKA_ERROR_INVALID_TIMESTAMP,
                       "One or more records have been rejected due to invalid timestamp");
}

/* They lie in the order of the frame, in which they are asked for. */
static const struct look *look_find(const struct broker_request *request, mr_str bytes)
{
    struct looks *looks = request->work;

    while (looks->at < looks->count && looks->items[looks->at].bytes.data < bytes.data)
        looks->at++;
    return looks->at < looks->count && looks->items[looks->at].bytes.data == bytes.data
               ? &looks->items[looks->at]
               : NULL;
}

/* Sets the latest time of the records. */
static int16_t check_records(struct broker_request *request,
                             struct kafka_produce_response_partition *answer,
                             const struct broker_log *log, mr_str bytes,
                             const struct broker_batch *batch, int64_t *time_max)
{
    const struct look *look;
    struct look here = {.bytes = bytes};

    if ((batch->attributes & BROKER_BATCH_CODEC) == KAFKA_CODEC_NONE) {
        here.rules = rules_of(log);
        here.err = kafka_records_batch(bytes, &here.batch);
        if (here.err == MR_OK)
            look_run(&here, &request->arena, MR_LIMIT_RECORDS_BYTES);
        else
            here.why = MR_STR("The batch's header is none.");
        look = &here;
    } else {
        look = look_find(request, bytes);
        if (look == NULL) /* the partition came into being while others were looked at */
            return KAFKA_ERROR_NOT_LEADER_OR_FOLLOWER;
    }
    if (look->err != MR_OK) {
        int16_t code = look->err == MR_LIMIT ? KAFKA_ERROR_MESSAGE_TOO_LARGE
                                             : KAFKA_ERROR_INVALID_RECORD;
        answer->error_message = look->why;
        broker_server_refused(request, code, look->why);
        return code;
    }
    if (look->fault_count > 0)
        return refuse_records(request, answer, look);
    if (log->config->append_time && (batch->attributes & BROKER_BATCH_LOG_APPEND_TIME) != 0)
        return refuse_time_type(request, answer, batch->count);
    *time_max = look->time_max;
    return KAFKA_ERROR_NONE;
}

/* ---- one partition ---- */

/* Puts the checked batch at the end of its log, or finds that it is there already. */
static int16_t part_append(struct broker_request *request,
                           struct kafka_produce_response_partition *answer, struct broker_log *log,
                           mr_str bytes, struct broker_batch *batch, int64_t time_max, int64_t *end)
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
    } else if (time_max != batch->time_max ||
               (batch->attributes & BROKER_BATCH_LOG_APPEND_TIME) != 0) {
        broker_batch_retime(data, batch, time_max); /* retention must be able to believe it */
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
    int64_t time_max = -1;
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
        code = check_records(request, answer, *log, bytes, &batch, &time_max);
    if (code == KAFKA_ERROR_NONE && (batch.attributes & BROKER_BATCH_TRANSACTIONAL) != 0)
        code = check_transaction(request, &batch, *log, topic, asked->index);
    if (code == KAFKA_ERROR_NONE)
        code = part_append(request, answer, *log, bytes, &batch, time_max, end);
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

/* NULL data: there is no topic of this id. */
static mr_str topic_name(const struct broker_request *request,
                         const struct kafka_produce_request_topic *asked)
{
    const struct broker_topic *topic;

    if (!by_id(request))
        return asked->name;
    topic = broker_topics_find_id(&request->server->topics, &asked->topic_id);
    return topic == NULL ? MR_STR_NULL : mr_str_from(topic->name);
}

static void topic_run(struct produce *produce, const struct kafka_produce_request_topic *asked,
                      struct kafka_produce_response_topic *answer, int16_t acks)
{
    struct broker_request *request = produce->request;
    int32_t count = asked->partition_data.count;
    mr_str name = topic_name(request, asked);

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
        else if (by_id(request) && name.data == NULL)
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

static void run(struct broker_request *request)
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

/* ---- packed batches, before anything is placed ---- */

static bool is_packed(mr_str bytes)
{
    return bytes.length >= KAFKA_RECORDS_HEADER_BYTES &&
           (bytes.data[KAFKA_RECORDS_AT_ATTRIBUTES + 1] & KAFKA_RECORDS_CODEC_MASK) != 0;
}

static size_t packed_count(const struct kafka_produce_request *in)
{
    size_t count = 0;

    for (int32_t i = 0; i < in->topic_data.count; i++)
        for (int32_t j = 0; j < in->topic_data.items[i].partition_data.count; j++)
            count += is_packed(in->topic_data.items[i].partition_data.items[j].records.bytes);
    return count;
}

/* Looks at a batch that may well be taken; what is wrong otherwise is found in its header. */
static bool look_begin(struct broker_request *request, mr_str topic,
                       const struct kafka_produce_request_partition *asked, struct look *look)
{
    struct broker_partition *partition;
    mr_str bytes = asked->records.bytes;

    if (broker_server_partition(request->server, topic, asked->index, &partition) !=
            KAFKA_ERROR_NONE ||
        (int64_t)bytes.length > partition->log->config->max_message_bytes ||
        kafka_records_batch(bytes, &look->batch) != MR_OK)
        return false;
    look->bytes = bytes;
    look->rules = rules_of(partition->log);
    look->due = bytes.length > PACKED_BYTES_FEW;
    if (!look->due) {
        look_run(look, &request->arena, UNPACKED_BYTES_FEW);
        look->due = look->err == MR_LIMIT;
    }
    return true;
}

static void looks_work(struct mr_job *job)
{
    struct looks *looks = mr_container(job, struct looks, job);

    for (size_t i = 0; i < looks->count; i++)
        if (looks->items[i].due)
            look_run(&looks->items[i], &looks->request->arena, MR_LIMIT_RECORDS_BYTES);
}

static void looks_done(struct mr_job *job)
{
    struct broker_stall *stall = mr_container(job, struct looks, job)->stall;

    run(mr_container(job, struct looks, job)->request);
    broker_server_go_on(stall);
}

void broker_produce_produce(struct broker_request *request)
{
    const struct kafka_produce_request *in = request->in;
    size_t count = packed_count(in);
    bool due = false;
    struct looks *looks;

    if (count == 0) {
        run(request);
        return;
    }
    looks = mr_arena_new(&request->arena, struct looks);
    looks->items = mr_arena_array(&request->arena, struct look, count);
    for (int32_t i = 0; i < in->topic_data.count; i++) {
        const struct kafka_produce_request_topic *topic = &in->topic_data.items[i];
        mr_str name = topic_name(request, topic);
        for (int32_t j = 0; name.data != NULL && j < topic->partition_data.count; j++)
            if (is_packed(topic->partition_data.items[j].records.bytes) &&
                look_begin(request, name, &topic->partition_data.items[j],
                           &looks->items[looks->count])) {
                due = due || looks->items[looks->count].due;
                looks->count++;
            }
    }
    request->work = looks;
    if (!due) {
        run(request);
        return;
    }
    looks->request = request;
    looks->stall = broker_server_stall(request);
    looks->job = (struct mr_job){looks_work, looks_done, request->server->loop, {0}};
    mr_disk_submit(request->server->lookers, &looks->job);
}
