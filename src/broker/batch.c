/* broker/batch.c: reading and checking the 61 bytes that stand before every batch. */
#include "broker/batch.h"

enum {
    AT_LENGTH = 8,
    AT_EPOCH = 12,
    AT_MAGIC = 16,
    AT_CRC = 17,
    AT_ATTRIBUTES = 21,
    AT_LAST_DELTA = 23,
    AT_TIME_BASE = 27,
    AT_TIME_MAX = 35,
    AT_PRODUCER_ID = 43,
    AT_PRODUCER_EPOCH = 51,
    AT_SEQUENCE = 53,
    AT_COUNT = 57,
    BEFORE_LENGTH = 12,
};

mr_err broker_batch_read(const uint8_t *data, size_t length, struct broker_batch *out)
{
    uint32_t rest;
    int32_t last_delta;

    out->bytes = 0;
    if (length < BEFORE_LENGTH)
        return MR_AGAIN;
    rest = broker_batch_be32(data + AT_LENGTH);
    if (rest < BROKER_BATCH_HEADER - BEFORE_LENGTH || rest > MR_LIMIT_FRAME_BYTES)
        return MR_CORRUPT;
    out->bytes = rest + BEFORE_LENGTH;
    if (length > AT_MAGIC && data[AT_MAGIC] != 2)
        return MR_CORRUPT;
    if (length < out->bytes)
        return MR_AGAIN;
    out->base = (int64_t)broker_batch_be64(data);
    out->leader_epoch = (int32_t)broker_batch_be32(data + AT_EPOCH);
    out->crc = broker_batch_be32(data + AT_CRC);
    out->attributes = broker_batch_be16(data + AT_ATTRIBUTES);
    last_delta = (int32_t)broker_batch_be32(data + AT_LAST_DELTA);
    out->time_base = (int64_t)broker_batch_be64(data + AT_TIME_BASE);
    out->time_max = (int64_t)broker_batch_be64(data + AT_TIME_MAX);
    out->producer_id = (int64_t)broker_batch_be64(data + AT_PRODUCER_ID);
    out->producer_epoch = (int16_t)broker_batch_be16(data + AT_PRODUCER_EPOCH);
    out->sequence = (int32_t)broker_batch_be32(data + AT_SEQUENCE);
    out->count = (int32_t)broker_batch_be32(data + AT_COUNT);
    if (last_delta < 0 || out->count < 0 || out->base < 0 || out->base > INT64_MAX - last_delta)
        return MR_CORRUPT;
    out->last = out->base + last_delta;
    return MR_OK;
}

bool broker_batch_is_whole(const uint8_t *data, const struct broker_batch *batch)
{
    return mr_crc32c(0, data + AT_ATTRIBUTES, batch->bytes - AT_ATTRIBUTES) == batch->crc;
}

static void times_write(uint8_t *data, struct broker_batch *batch)
{
    broker_batch_put16(data + AT_ATTRIBUTES, batch->attributes);
    broker_batch_put64(data + AT_TIME_MAX, (uint64_t)batch->time_max);
    batch->crc = mr_crc32c(0, data + AT_ATTRIBUTES, batch->bytes - AT_ATTRIBUTES);
    broker_batch_put32(data + AT_CRC, batch->crc);
}

void broker_batch_stamp(uint8_t *data, struct broker_batch *batch, int64_t now_ms)
{
    batch->attributes |= BROKER_BATCH_LOG_APPEND_TIME;
    batch->time_max = now_ms;
    times_write(data, batch);
}

void broker_batch_retime(uint8_t *data, struct broker_batch *batch, int64_t time_max)
{
    batch->attributes &= (uint16_t)~BROKER_BATCH_LOG_APPEND_TIME;
    batch->time_max = time_max;
    times_write(data, batch);
}
