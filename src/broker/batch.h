/* broker/batch.h: the header of a record batch v2 (61 bytes, big endian), as the log needs it: where
 * it stands, how long it is, whom it is from. Payload is never visited here. Base offset and leader
 * epoch lie outside the checksum, so an append patches them in place. */
#ifndef BROKER_BATCH_H
#define BROKER_BATCH_H

#include "base/base.h"

enum {
    BROKER_BATCH_HEADER = 61,
    BROKER_BATCH_CODEC = 0x07, /* attributes */
    BROKER_BATCH_LOG_APPEND_TIME = 0x08,
    BROKER_BATCH_TRANSACTIONAL = 0x10,
    BROKER_BATCH_CONTROL = 0x20,
    BROKER_BATCH_HORIZON = 0x40, /* base timestamp is the delete horizon */
};
struct broker_batch {
    int64_t base; /* offset of the first record */
    int64_t last; /* of the last */
    int64_t time_base, time_max;
    int64_t producer_id; /* -1: none */
    uint32_t bytes;      /* whole, header included */
    uint32_t crc;
    int32_t leader_epoch;
    int32_t sequence; /* of the first record; -1: none */
    int32_t count;
    int16_t producer_epoch;
    uint16_t attributes;
};

static inline uint64_t broker_batch_be64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, 8);
    return __builtin_bswap64(value);
}
static inline uint32_t broker_batch_be32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, 4);
    return __builtin_bswap32(value);
}
static inline uint16_t broker_batch_be16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}
static inline void broker_batch_put64(uint8_t *at, uint64_t value)
{
    value = __builtin_bswap64(value);
    memcpy(at, &value, 8);
}
static inline void broker_batch_put32(uint8_t *at, uint32_t value)
{
    value = __builtin_bswap32(value);
    memcpy(at, &value, 4);
}
static inline void broker_batch_put16(uint8_t *at, uint16_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}
/* Reads the header of the batch at the front of `data`. MR_AGAIN: `length` ends before the batch does
 * (out->bytes says how long it is, 0 when not even that is known). MR_CORRUPT: no batch v2. No
 * sentence: the caller knows whose bytes they are. The checksum is not looked at. */
mr_err broker_batch_read(const uint8_t *data, size_t length, struct broker_batch *out);
/* Whether the checksum fits; `data` holds the whole batch. */
bool broker_batch_is_whole(const uint8_t *data, const struct broker_batch *batch);
/* Writes offset and leader epoch into a received batch: the only change on the hot path. */
static inline void broker_batch_place(uint8_t *data, int64_t base, int32_t leader_epoch)
{
    broker_batch_put64(data, (uint64_t)base);
    broker_batch_put32(data + 12, (uint32_t)leader_epoch);
}
/* Turns the batch into one of log append time; the checksum is made anew. */
void broker_batch_stamp(uint8_t *data, struct broker_batch *batch, int64_t now_ms);
/* Turns it into one of the producer's times, of which this is the latest; the checksum is made anew. */
void broker_batch_retime(uint8_t *data, struct broker_batch *batch, int64_t time_max);

#endif
