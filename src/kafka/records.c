/* kafka/records.c: how a record batch of format 2 lies in memory: 61 bytes of header, then records
 * as varints and bytes, all of them packed together or not at all. A batch is built in place, so a
 * record is copied once; it is read as views. Described in Kafka's documentation, "Record Batch".
 */
#include "kafka/compress.h"

enum {
    LENGTH_BEHIND = 12, /* base offset and length itself are not counted by `length` */
    BODY_BYTES_MIN = KAFKA_RECORDS_HEADER_BYTES - LENGTH_BEHIND,
    MAGIC = 2,
    MARKER_VERSION = 0,
};

/* ---- codecs by name ---- */

static const char *const codec_names[] = {"none", "gzip", "snappy", "lz4", "zstd"};

const char *kafka_records_codec_name(int codec)
{
    return codec >= 0 && codec < (int)mr_count_of(codec_names) ? codec_names[codec] : "?";
}

mr_err kafka_records_codec_parse(mr_str name, enum kafka_codec *codec)
{
    for (size_t i = 0; i < mr_count_of(codec_names); i++) {
        if (mr_str_equal(name, mr_str_from(codec_names[i]))) {
            *codec = (enum kafka_codec)i;
            return MR_OK;
        }
    }
    return mr_fail(MR_INVALID, "compression \"%.*s\": expected none, gzip, snappy, lz4 or zstd",
                   MR_STR_ARG(name));
}

/* ---- big endian, in place ---- */

static void put16(uint8_t *at, uint16_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}
static void put32(uint8_t *at, uint32_t value)
{
    put16(at, (uint16_t)(value >> 16));
    put16(at + 2, (uint16_t)value);
}
static void put64(uint8_t *at, uint64_t value)
{
    put32(at, (uint32_t)(value >> 32));
    put32(at + 4, (uint32_t)value);
}

/* Offsets and times of a stranger may lie anywhere: they wrap, they do not trap. */
static int64_t sum(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a + (uint64_t)b);
}

/* ---- header ---- */

mr_err kafka_records_batch(mr_str bytes, struct kafka_batch *batch)
{
    struct kafka_batch got = {0};
    struct mr_in in = mr_in_str(bytes);
    if (bytes.length <= KAFKA_RECORDS_AT_MAGIC)
        return MR_AGAIN;
    got.base_offset = (int64_t)mr_in_be64(&in);
    got.length = (int32_t)mr_in_be32(&in);
    got.leader_epoch = (int32_t)mr_in_be32(&in);
    got.magic = (int8_t)mr_in_u8(&in);
    if (got.magic != MAGIC)
        return mr_fail(MR_UNSUPPORTED, "record batch: format %d, expected 2", got.magic);
    if (got.length < BODY_BYTES_MIN || got.length > MR_LIMIT_FRAME_BYTES)
        return mr_fail(MR_CORRUPT, "record batch: a length of %d", got.length);
    if (bytes.length - LENGTH_BEHIND < (size_t)got.length)
        return MR_AGAIN;
    got.crc = mr_in_be32(&in);
    got.attributes = (int16_t)mr_in_be16(&in);
    got.last_offset_delta = (int32_t)mr_in_be32(&in);
    got.base_timestamp = (int64_t)mr_in_be64(&in);
    got.max_timestamp = (int64_t)mr_in_be64(&in);
    got.producer_id = (int64_t)mr_in_be64(&in);
    got.producer_epoch = (int16_t)mr_in_be16(&in);
    got.base_sequence = (int32_t)mr_in_be32(&in);
    got.count = (int32_t)mr_in_be32(&in);
    /* After compaction a batch may have fewer records than offsets, never more. */
    if (got.last_offset_delta < 0 || got.count < 0 ||
        (int64_t)got.count > (int64_t)got.last_offset_delta + 1)
        return mr_fail(MR_CORRUPT, "record batch: %d records in %lld offsets", got.count,
                       (long long)got.last_offset_delta + 1);
    got.bytes = mr_str_slice(bytes, 0, (size_t)got.length + LENGTH_BEHIND);
    *batch = got;
    return MR_OK;
}

static uint32_t crc_of(const uint8_t *batch, size_t length)
{
    return mr_crc32c(0, batch + KAFKA_RECORDS_AT_ATTRIBUTES, length - KAFKA_RECORDS_AT_ATTRIBUTES);
}

mr_err kafka_records_check(const struct kafka_batch *batch)
{
    uint32_t crc = crc_of((const uint8_t *)batch->bytes.data, batch->bytes.length);
    if (crc == batch->crc)
        return MR_OK;
    return mr_fail(MR_CORRUPT, "record batch at offset %lld: checksum %08x, expected %08x",
                   (long long)batch->base_offset, crc, batch->crc);
}

bool kafka_records_next(mr_str *bytes, struct kafka_batch *batch, mr_err *err)
{
    mr_err result = bytes->length == 0 ? MR_AGAIN : kafka_records_batch(*bytes, batch);
    *err = result == MR_AGAIN ? MR_OK : result;
    if (result != MR_OK)
        return false;
    *bytes = mr_str_slice(*bytes, batch->bytes.length, bytes->length);
    return true;
}

/* ---- reading records ---- */

mr_err kafka_records_open(const struct kafka_batch *batch, struct mr_arena *arena,
                          struct kafka_records *records)
{
    mr_str plain = MR_STR_NULL;
    mr_str packed = mr_str_slice(batch->bytes, KAFKA_RECORDS_HEADER_BYTES, batch->bytes.length);
    mr_err err = kafka_compress_undo(kafka_batch_codec(batch), packed, arena, &plain);
    if (err != MR_OK)
        return err;
    *records = (struct kafka_records){
        .batch = *batch, .in = mr_in_str(plain), .left = batch->count};
    return MR_OK;
}

/* A length of -1 is null, others are cut out. */
static mr_str field_read(struct mr_in *in)
{
    int64_t length = mr_in_varint(in);
    if (length == -1 && in->err == MR_OK)
        return MR_STR_NULL;
    if (length < 0 || (uint64_t)length > mr_in_left(in)) {
        mr_in_fail(in);
        return MR_STR_NULL;
    }
    mr_str field = mr_in_take(in, (size_t)length);
    if (field.data == NULL)
        field.data = ""; /* empty is not null */
    return field;
}

bool kafka_records_read(struct kafka_records *records, struct kafka_record *record)
{
    const struct kafka_batch *batch = &records->batch;
    struct mr_in *whole = &records->in;
    if (records->left <= 0)
        return false;
    int64_t length = mr_in_varint(whole);
    if (whole->err != MR_OK || length < 0 || (uint64_t)length > mr_in_left(whole)) {
        mr_in_fail(whole);
        return false;
    }
    struct mr_in in = mr_in_str(mr_in_take(whole, (size_t)length));
    mr_in_u8(&in); /* attributes: none are defined */
    int64_t timestamp_delta = mr_in_varint(&in);
    int64_t offset_delta = mr_in_varint(&in);
    record->key = field_read(&in);
    record->value = field_read(&in);
    int64_t header_count = mr_in_varint(&in);
    if (in.err != MR_OK || offset_delta < 0 || offset_delta > batch->last_offset_delta ||
        header_count < 0 || (uint64_t)header_count > mr_in_left(&in)) {
        mr_in_fail(whole);
        return false;
    }
    record->offset = sum(batch->base_offset, offset_delta);
    record->timestamp = (batch->attributes & KAFKA_RECORDS_LOG_APPEND_TIME) != 0
                            ? batch->max_timestamp
                            : sum(batch->base_timestamp, timestamp_delta);
    record->header_count = (int32_t)header_count;
    record->headers = mr_str_of(in.at, mr_in_left(&in));
    records->left--;
    return true;
}

/* The difference of two times of a stranger may be anything, too. */
static int64_t difference(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a - (uint64_t)b);
}

void kafka_records_rebase(struct kafka_records *records, int64_t base_timestamp, struct mr_buf *out)
{
    struct kafka_record record;
    struct mr_buf body = {0};
    const uint8_t *from = records->in.at;

    for (; kafka_records_read(records, &record); from = records->in.at) {
        struct mr_in in = mr_in_of(from, (size_t)(records->in.at - from));
        mr_in_varint(&in); /* its length */
        mr_buf_clear(&body);
        mr_buf_u8(&body, mr_in_u8(&in));
        mr_in_varint(&in);
        mr_buf_varint(&body, difference(record.timestamp, base_timestamp));
        mr_buf_add(&body, in.at, mr_in_left(&in));
        mr_buf_varint(out, (int64_t)body.length);
        mr_buf_add(out, body.data, body.length);
    }
    mr_buf_fini(&body);
}

mr_err kafka_records_pack(int codec, mr_str plain, struct mr_buf *out)
{
    return kafka_compress((enum kafka_codec)codec, plain, out);
}

bool kafka_records_header(mr_str *headers, mr_str *key, mr_str *value)
{
    if (headers->length == 0)
        return false;
    struct mr_in in = mr_in_str(*headers);
    mr_str name = field_read(&in);
    mr_str content = field_read(&in);
    if (in.err != MR_OK || name.data == NULL) {
        *headers = MR_STR_NULL;
        return false;
    }
    *key = name;
    *value = content;
    *headers = mr_str_of(in.at, mr_in_left(&in));
    return true;
}

mr_str kafka_records_header_find(const struct kafka_record *record, mr_str name)
{
    mr_str headers = record->headers, key, value;
    while (kafka_records_header(&headers, &key, &value)) {
        if (mr_str_equal(key, name))
            return value;
    }
    return MR_STR_NULL;
}

/* ---- building ---- */

static size_t varint_bytes(int64_t value)
{
    uint64_t zigzag = ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
    size_t bytes = 1;
    for (; zigzag >= 0x80; zigzag >>= 7)
        bytes++;
    return bytes;
}

static uint8_t *put_varint(uint8_t *at, int64_t value)
{
    uint64_t zigzag = ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
    for (; zigzag >= 0x80; zigzag >>= 7)
        *at++ = (uint8_t)(zigzag | 0x80);
    *at++ = (uint8_t)zigzag;
    return at;
}

static size_t field_bytes(mr_str field)
{
    return field.data == NULL ? 1 : varint_bytes((int64_t)field.length) + field.length;
}

static uint8_t *put_field(uint8_t *at, mr_str field)
{
    if (field.data == NULL)
        return put_varint(at, -1);
    at = put_varint(at, (int64_t)field.length);
    if (field.length > 0)
        memcpy(at, field.data, field.length);
    return at + field.length;
}

void kafka_records_begin(struct kafka_builder *builder, struct mr_buf *buf)
{
    *builder = (struct kafka_builder){.buf = buf, .start = buf->length};
    uint8_t *header = mr_buf_grow(buf, KAFKA_RECORDS_HEADER_BYTES);
    if (header != NULL)
        memset(header, 0, KAFKA_RECORDS_HEADER_BYTES);
}

uint8_t *kafka_records_append_room(struct kafka_builder *builder, int64_t timestamp_ms, mr_str key,
                                   size_t value_bytes, const struct kafka_header *headers,
                                   size_t header_count)
{
    if (builder->count == 0)
        builder->base_timestamp = builder->max_timestamp = timestamp_ms;
    int64_t timestamp_delta = timestamp_ms - builder->base_timestamp;
    size_t bytes = 1 + varint_bytes(timestamp_delta) + varint_bytes(builder->count) +
                   field_bytes(key) + varint_bytes((int64_t)value_bytes) + value_bytes +
                   varint_bytes((int64_t)header_count);
    for (size_t i = 0; i < header_count; i++)
        bytes += varint_bytes((int64_t)headers[i].key.length) + headers[i].key.length +
                 field_bytes(headers[i].value);
    uint8_t *at = mr_buf_grow(builder->buf, varint_bytes((int64_t)bytes) + bytes);
    if (at == NULL)
        return NULL;
    at = put_varint(at, (int64_t)bytes);
    *at++ = 0;
    at = put_varint(at, timestamp_delta);
    at = put_varint(at, builder->count);
    at = put_field(at, key);
    at = put_varint(at, (int64_t)value_bytes);
    uint8_t *value = at;
    at = put_varint(at + value_bytes, (int64_t)header_count);
    for (size_t i = 0; i < header_count; i++) {
        mr_str name = headers[i].key;
        at = put_field(at, name.data == NULL ? MR_STR("") : name);
        at = put_field(at, headers[i].value);
    }
    builder->count++;
    if (timestamp_ms > builder->max_timestamp)
        builder->max_timestamp = timestamp_ms;
    return value;
}

/* A null value is one byte where a value has its length; rare enough to be written by hand. */
static void append_null(struct kafka_builder *builder, int64_t timestamp_ms, mr_str key,
                        const struct kafka_header *headers, size_t header_count)
{
    uint8_t *value = kafka_records_append_room(builder, timestamp_ms, key, 0, headers,
                                               header_count);
    if (value != NULL)
        value[-1] = 1; /* zigzag of -1, as long as the 0 that stood there */
}

void kafka_records_append(struct kafka_builder *builder, int64_t timestamp_ms, mr_str key,
                          mr_str value, const struct kafka_header *headers, size_t header_count)
{
    if (value.data == NULL) {
        append_null(builder, timestamp_ms, key, headers, header_count);
        return;
    }
    uint8_t *at = kafka_records_append_room(builder, timestamp_ms, key, value.length, headers,
                                            header_count);
    if (at != NULL && value.length > 0)
        memcpy(at, value.data, value.length);
}

/* Packs the records in place, unless that makes them larger. */
static mr_err pack(struct kafka_builder *builder, enum kafka_codec codec)
{
    struct mr_buf packed = {0};
    size_t from = builder->start + KAFKA_RECORDS_HEADER_BYTES;
    mr_str plain = mr_str_slice(mr_buf_as_str(builder->buf), from, builder->buf->length);
    mr_err err = kafka_compress(codec, plain, &packed);
    if (err == MR_OK && packed.length < plain.length) {
        memcpy(builder->buf->data + from, packed.data, packed.length);
        builder->buf->length = from + packed.length;
        builder->attributes = (int16_t)(builder->attributes | (int)codec);
    }
    mr_buf_fini(&packed);
    return err;
}

mr_err kafka_records_finish(struct kafka_builder *builder, enum kafka_codec codec,
                            int64_t base_offset, int64_t producer_id, int16_t producer_epoch,
                            int32_t base_sequence, bool transactional)
{
    mr_err err = builder->buf->err;
    if (err != MR_OK)
        return mr_fail(err, "record batch: no room to build it");
    if (codec != KAFKA_CODEC_NONE)
        err = pack(builder, codec);
    if (err != MR_OK)
        return err;
    if (kafka_records_bytes(builder) > MR_LIMIT_FRAME_BYTES)
        return mr_fail(MR_LIMIT, "record batch: larger than %d bytes", MR_LIMIT_FRAME_BYTES);
    if (transactional)
        builder->attributes |= KAFKA_RECORDS_TRANSACTIONAL;
    uint8_t *batch = builder->buf->data + builder->start;
    size_t length = kafka_records_bytes(builder);
    put64(batch + KAFKA_RECORDS_AT_BASE_OFFSET, (uint64_t)base_offset);
    put32(batch + KAFKA_RECORDS_AT_LENGTH, (uint32_t)(length - LENGTH_BEHIND));
    put32(batch + KAFKA_RECORDS_AT_LEADER_EPOCH, (uint32_t)-1);
    batch[KAFKA_RECORDS_AT_MAGIC] = MAGIC;
    put16(batch + KAFKA_RECORDS_AT_ATTRIBUTES, (uint16_t)builder->attributes);
    put32(batch + KAFKA_RECORDS_AT_LAST_DELTA,
          (uint32_t)(builder->count > 0 ? builder->count - 1 : 0));
    put64(batch + KAFKA_RECORDS_AT_BASE_TIMESTAMP, (uint64_t)builder->base_timestamp);
    put64(batch + KAFKA_RECORDS_AT_MAX_TIMESTAMP, (uint64_t)builder->max_timestamp);
    put32(batch + KAFKA_RECORDS_AT_COUNT, (uint32_t)builder->count);
    kafka_records_claim(batch, length, producer_id, producer_epoch, base_sequence);
    return MR_OK;
}

void kafka_records_place(uint8_t *batch, int64_t base_offset, int32_t leader_epoch)
{
    put64(batch + KAFKA_RECORDS_AT_BASE_OFFSET, (uint64_t)base_offset);
    put32(batch + KAFKA_RECORDS_AT_LEADER_EPOCH, (uint32_t)leader_epoch);
}

void kafka_records_claim(uint8_t *batch, size_t length, int64_t producer_id, int16_t producer_epoch,
                         int32_t base_sequence)
{
    put64(batch + KAFKA_RECORDS_AT_PRODUCER_ID, (uint64_t)producer_id);
    put16(batch + KAFKA_RECORDS_AT_PRODUCER_EPOCH, (uint16_t)producer_epoch);
    put32(batch + KAFKA_RECORDS_AT_BASE_SEQUENCE, (uint32_t)base_sequence);
    put32(batch + KAFKA_RECORDS_AT_CRC, crc_of(batch, length));
}

/* ---- control batches ---- */

void kafka_records_marker(struct mr_buf *out, enum kafka_marker marker, int64_t producer_id,
                          int16_t producer_epoch, int32_t coordinator_epoch, int64_t base_offset,
                          int64_t timestamp_ms)
{
    struct kafka_builder builder;
    uint8_t key[4] = {0}, value[6] = {0};
    put16(key, MARKER_VERSION);
    put16(key + 2, (uint16_t)marker);
    put16(value, MARKER_VERSION);
    put32(value + 2, (uint32_t)coordinator_epoch);
    kafka_records_begin(&builder, out);
    builder.attributes = KAFKA_RECORDS_CONTROL;
    kafka_records_append(&builder, timestamp_ms, mr_str_of(key, sizeof key),
                         mr_str_of(value, sizeof value), NULL, 0);
    if (out->err == MR_OK)
        (void)kafka_records_finish(&builder, KAFKA_CODEC_NONE, base_offset, producer_id,
                                   producer_epoch, -1, true);
}

mr_err kafka_records_marker_read(const struct kafka_batch *batch, enum kafka_marker *marker,
                                 int32_t *coordinator_epoch)
{
    struct kafka_records records;
    struct kafka_record record;
    struct mr_arena arena = {0};
    mr_err err = kafka_records_open(batch, &arena, &records);
    if (err == MR_OK && !kafka_records_read(&records, &record))
        err = mr_fail(MR_CORRUPT, "control batch at offset %lld: no record",
                      (long long)batch->base_offset);
    if (err == MR_OK) {
        struct mr_in key = mr_in_str(record.key), value = mr_in_str(record.value);
        int version = (int16_t)mr_in_be16(&key), type = (int16_t)mr_in_be16(&key);
        mr_in_be16(&value);
        int32_t epoch = (int32_t)mr_in_be32(&value);
        if (key.err != MR_OK || version < 0)
            err = mr_fail(MR_CORRUPT, "control batch at offset %lld: a key of %zu bytes",
                          (long long)batch->base_offset, record.key.length);
        else if (type != KAFKA_MARKER_ABORT && type != KAFKA_MARKER_COMMIT)
            err = mr_fail(MR_UNSUPPORTED, "control batch at offset %lld: type %d",
                          (long long)batch->base_offset, type);
        else {
            *marker = (enum kafka_marker)type;
            *coordinator_epoch = value.err == MR_OK ? epoch : -1;
        }
    }
    mr_arena_fini(&arena);
    return err;
}
