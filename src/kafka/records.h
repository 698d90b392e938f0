/* kafka/records.h: record batches (format 2): building, checking, reading.
 *
 * A batch is a header of 61 bytes and records; all records together may be compressed. The CRC
 * covers attributes to the end, so a broker may set base offset and leader epoch in place. Thread:
 * any; an object has one user at a time. */
#ifndef KAFKA_RECORDS_H
#define KAFKA_RECORDS_H

#include "base/base.h"

enum {
    KAFKA_RECORDS_HEADER_BYTES = 61,
    /* where the fields lie in a batch */
    KAFKA_RECORDS_AT_BASE_OFFSET = 0,     /* i64 */
    KAFKA_RECORDS_AT_LENGTH = 8,          /* i32: bytes behind this field */
    KAFKA_RECORDS_AT_LEADER_EPOCH = 12,   /* i32 */
    KAFKA_RECORDS_AT_MAGIC = 16,          /* i8: 2 */
    KAFKA_RECORDS_AT_CRC = 17,            /* u32: CRC-32C of all that follows */
    KAFKA_RECORDS_AT_ATTRIBUTES = 21,     /* i16 */
    KAFKA_RECORDS_AT_LAST_DELTA = 23,     /* i32: last offset - base offset */
    KAFKA_RECORDS_AT_BASE_TIMESTAMP = 27, /* i64, ms; the delete horizon when its bit is set */
    KAFKA_RECORDS_AT_MAX_TIMESTAMP = 35,  /* i64, ms */
    KAFKA_RECORDS_AT_PRODUCER_ID = 43,    /* i64; -1: none */
    KAFKA_RECORDS_AT_PRODUCER_EPOCH = 51, /* i16 */
    KAFKA_RECORDS_AT_BASE_SEQUENCE = 53,  /* i32; -1: none */
    KAFKA_RECORDS_AT_COUNT = 57,          /* i32: records */
    /* attributes */
    KAFKA_RECORDS_CODEC_MASK = 0x07,
    KAFKA_RECORDS_LOG_APPEND_TIME = 0x08,
    KAFKA_RECORDS_TRANSACTIONAL = 0x10,
    KAFKA_RECORDS_CONTROL = 0x20,
    KAFKA_RECORDS_DELETE_HORIZON = 0x40,
};
enum kafka_codec {
    KAFKA_CODEC_NONE = 0,
    KAFKA_CODEC_GZIP = 1,
    KAFKA_CODEC_SNAPPY = 2,
    KAFKA_CODEC_LZ4 = 3,
    KAFKA_CODEC_ZSTD = 4,
};
const char *kafka_records_codec_name(int codec); /* "none", "gzip", ...; "?" */
mr_err kafka_records_codec_parse(mr_str name, enum kafka_codec *codec);

/* ---- the header ---- */
struct kafka_batch {
    int64_t base_offset;
    int32_t length; /* the field: bytes behind it */
    int32_t leader_epoch;
    int8_t magic;
    uint32_t crc;
    int16_t attributes;
    int32_t last_offset_delta;
    int64_t base_timestamp; /* ms since 1970 */
    int64_t max_timestamp;
    int64_t producer_id;
    int16_t producer_epoch;
    int32_t base_sequence;
    int32_t count;
    mr_str bytes; /* the whole batch: a view into what was given */
};
static inline int kafka_batch_codec(const struct kafka_batch *batch)
{
    return batch->attributes & KAFKA_RECORDS_CODEC_MASK;
}
static inline bool kafka_batch_is_transactional(const struct kafka_batch *batch)
{
    return (batch->attributes & KAFKA_RECORDS_TRANSACTIONAL) != 0;
}
static inline bool kafka_batch_is_control(const struct kafka_batch *batch)
{
    return (batch->attributes & KAFKA_RECORDS_CONTROL) != 0;
}
static inline int64_t kafka_batch_last_offset(const struct kafka_batch *batch)
{
    return batch->base_offset + batch->last_offset_delta;
}
/* Reads the header of the batch at the front of `bytes`; neither CRC nor records are looked at.
 * Errors: MR_AGAIN when the batch is cut short (a fetch may end so), MR_CORRUPT (lengths, counts),
 * MR_UNSUPPORTED (magic below 2). */
mr_err kafka_records_batch(mr_str bytes, struct kafka_batch *batch);
/* Whether the CRC fits. Errors: MR_CORRUPT. */
mr_err kafka_records_check(const struct kafka_batch *batch);
/* Cuts the next batch off the front of `*bytes`. False at the end, at a batch that is cut short,
 * and at an error (then *err is not MR_OK). */
bool kafka_records_next(mr_str *bytes, struct kafka_batch *batch, mr_err *err);

/* ---- records of one batch ---- */
struct kafka_record {
    int64_t offset;
    int64_t timestamp; /* ms */
    mr_str key, value; /* data NULL: null */
    int32_t header_count;
    mr_str headers; /* as they lie: read with kafka_records_header() */
};
struct kafka_records {
    struct kafka_batch batch;
    struct mr_in in; /* records that are left */
    int32_t left;
};
/* Opens a batch for reading; the CRC is not looked at. Compressed records are unpacked into
 * `arena`, others stay views. Errors: MR_CORRUPT, MR_UNSUPPORTED (codec), MR_LIMIT (too large
 * unpacked). */
mr_err kafka_records_open(const struct kafka_batch *batch, struct mr_arena *arena,
                          struct kafka_records *records);
/* The next record; false at the end and at an error (then records->in.err is not MR_OK). */
bool kafka_records_read(struct kafka_records *records, struct kafka_record *record);
/* Appends the records that are left as they lie, but for their times, which count from another base: a
 * compacted batch has the delete horizon there. Ends as kafka_records_read() does. */
void kafka_records_rebase(struct kafka_records *records, int64_t base_timestamp,
                          struct mr_buf *out);
/* Appends records, as they lie, packed as a batch of this codec holds them. Errors: MR_IO, the buffer's. */
mr_err kafka_records_pack(int codec, mr_str plain, struct mr_buf *out);
/* The next header off the front of record.headers; false at the end. */
bool kafka_records_header(mr_str *headers, mr_str *key, mr_str *value);
/* The value of the first header of this name; data NULL: absent. */
mr_str kafka_records_header_find(const struct kafka_record *record, mr_str name);

/* ---- control batches ---- */
enum kafka_marker { KAFKA_MARKER_ABORT = 0, KAFKA_MARKER_COMMIT = 1 };
/* Appends a whole control batch of one marker. */
void kafka_records_marker(struct mr_buf *out, enum kafka_marker marker, int64_t producer_id,
                          int16_t producer_epoch, int32_t coordinator_epoch, int64_t base_offset,
                          int64_t timestamp_ms);
/* The marker of a control batch. Errors: MR_CORRUPT, MR_UNSUPPORTED (another control record). */
mr_err kafka_records_marker_read(const struct kafka_batch *batch, enum kafka_marker *marker,
                                 int32_t *coordinator_epoch);

/* ---- building ---- */
struct kafka_header {
    mr_str key, value; /* value data NULL: null */
};
/* A batch under construction, at the end of `buf`. No memory is taken per record. */
struct kafka_builder {
    struct mr_buf *buf;
    size_t start; /* where the batch begins in buf */
    int32_t count;
    int64_t base_timestamp, max_timestamp;
    int16_t attributes;
};
void kafka_records_begin(struct kafka_builder *builder, struct mr_buf *buf);
/* `key`, `value`: data NULL is null. */
void kafka_records_append(struct kafka_builder *builder, int64_t timestamp_ms, mr_str key,
                          mr_str value, const struct kafka_header *headers, size_t header_count);
/* For a value that is encoded straight into the batch: begin, write `value_bytes` bytes into what
 * it returns (NULL after an error of the buffer); headers follow by themselves. */
uint8_t *kafka_records_append_room(struct kafka_builder *builder, int64_t timestamp_ms, mr_str key,
                                   size_t value_bytes, const struct kafka_header *headers,
                                   size_t header_count);
static inline size_t kafka_records_bytes(const struct kafka_builder *builder)
{
    return builder->buf->length - builder->start;
}
/* Ends the batch: compresses, fills in the header and its CRC. Offsets begin at base_offset.
 * `producer_id` -1: not idempotent. Errors: MR_LIMIT or the buffer's. */
mr_err kafka_records_finish(struct kafka_builder *builder, enum kafka_codec codec,
                            int64_t base_offset, int64_t producer_id, int16_t producer_epoch,
                            int32_t base_sequence, bool transactional);
/* Sets offset and leader epoch of a whole batch in place (outside of the CRC). */
void kafka_records_place(uint8_t *batch, int64_t base_offset, int32_t leader_epoch);
/* Sets producer, epoch and sequence of a whole batch in place, and its CRC anew. */
void kafka_records_claim(uint8_t *batch, size_t length, int64_t producer_id, int16_t producer_epoch,
                         int32_t base_sequence);

#endif
