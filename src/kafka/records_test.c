/* kafka/records_test.c: what records.h promises, with all codecs; bytes made by Kafka's own
 * producer. */
#include "kafka/compress.h"
#include "story.h"

#include <snappy-c.h>
#include <stdio.h>

static void batch_build(struct mr_buf *buf, enum kafka_codec codec, int count)
{
    struct kafka_builder builder;
    kafka_records_begin(&builder, buf);
    for (int i = 0; i < count; i++) {
        struct mr_arena arena = {0};
        mr_str key = i % 5 == 4 ? MR_STR_NULL : mr_arena_printf(&arena, "key-%d", i);
        mr_str value = i % 7 == 6 ? MR_STR_NULL
                                  : mr_arena_printf(&arena, "value %d value value value value", i);
        struct kafka_header headers[] = {{MR_STR("mr.op"), MR_STR("c")},
                                         {MR_STR("none"), MR_STR_NULL}};
        kafka_records_append(&builder, 1700000000000 + (i % 3) * 10 - i, key, value, headers,
                             (size_t)(i % 3));
        mr_arena_fini(&arena);
    }
    expect_ok(kafka_records_finish(&builder, codec, 100, 7, 3, 55, true));
}

static void expect_batch(mr_str bytes, enum kafka_codec codec, int count)
{
    struct mr_arena arena = {0};
    struct kafka_batch batch;
    struct kafka_records records;
    struct kafka_record record;
    expect_ok(kafka_records_batch(bytes, &batch));
    expect_ok(kafka_records_check(&batch));
    expect_int(kafka_batch_codec(&batch), codec);
    expect_int(batch.base_offset, 100);
    expect_int(batch.producer_id, 7);
    expect_int(batch.producer_epoch, 3);
    expect_int(batch.base_sequence, 55);
    expect_int(batch.count, count);
    expect_int(kafka_batch_last_offset(&batch), 100 + count - 1);
    expect(kafka_batch_is_transactional(&batch) && !kafka_batch_is_control(&batch));
    expect_ok(kafka_records_open(&batch, &arena, &records));
    int i = 0;
    for (; kafka_records_read(&records, &record); i++) {
        char text[64];
        snprintf(text, sizeof text, "key-%d", i);
        expect_int(record.offset, 100 + i);
        expect_int(record.timestamp, 1700000000000 + (i % 3) * 10 - i);
        expect((record.key.data == NULL) == (i % 5 == 4));
        expect((record.value.data == NULL) == (i % 7 == 6));
        if (record.key.data != NULL)
            expect_str(record.key, mr_str_from(text));
        snprintf(text, sizeof text, "value %d value value value value", i);
        if (record.value.data != NULL)
            expect_str(record.value, mr_str_from(text));
        expect_int(record.header_count, i % 3);
        expect_str(kafka_records_header_find(&record, MR_STR("mr.op")),
                   i % 3 > 0 ? MR_STR("c") : MR_STR_NULL);
    }
    expect_int(records.in.err, MR_OK);
    expect_int(i, count);
    mr_arena_fini(&arena);
}

STORY("a batch of every codec is built, checked and read")
{
    for (int codec = KAFKA_CODEC_NONE; codec <= KAFKA_CODEC_ZSTD; codec++) {
        struct mr_buf buf = {0};
        mr_buf_cstr(&buf, "before"); /* a batch begins anywhere in a buffer */
        batch_build(&buf, (enum kafka_codec)codec, 5000);
        expect_batch(mr_str_slice(mr_buf_as_str(&buf), 6, buf.length), (enum kafka_codec)codec,
                     5000);
        mr_buf_fini(&buf);
    }
}

STORY("what does not get smaller stays plain")
{
    struct mr_buf buf = {0};
    struct kafka_batch batch;
    batch_build(&buf, KAFKA_CODEC_GZIP, 1);
    expect_ok(kafka_records_batch(mr_buf_as_str(&buf), &batch));
    expect_int(kafka_batch_codec(&batch), KAFKA_CODEC_NONE);
}

STORY("snappy without framing is read as well")
{
    struct mr_buf plain = {0}, packed = {0};
    struct mr_arena arena = {0};
    mr_str got;
    for (int i = 0; i < 20000; i++)
        mr_buf_printf(&plain, "line %d;", i);
    size_t length = snappy_max_compressed_length(plain.length);
    uint8_t *at = mr_buf_grow(&packed, length);
    expect(snappy_compress((const char *)plain.data, plain.length, (char *)at, &length) ==
           SNAPPY_OK);
    expect_ok(kafka_compress_undo(KAFKA_CODEC_SNAPPY, mr_str_of(at, length), &arena, &got));
    expect_str(got, mr_buf_as_str(&plain));
}

STORY("every flipped bit behind the checksum is seen")
{
    struct mr_buf buf = {0};
    struct kafka_batch batch;
    batch_build(&buf, KAFKA_CODEC_NONE, 3);
    for (size_t at = KAFKA_RECORDS_AT_CRC; at < buf.length; at++) {
        buf.data[at] ^= 0x10;
        mr_err err = kafka_records_batch(mr_buf_as_str(&buf), &batch);
        if (err == MR_OK)
            err = kafka_records_check(&batch);
        expect_int(err, MR_CORRUPT);
        buf.data[at] ^= 0x10;
    }
}

STORY("a broker sets offset and epoch without a new checksum; a producer claims with one")
{
    struct mr_buf buf = {0};
    struct kafka_batch batch;
    batch_build(&buf, KAFKA_CODEC_LZ4, 30);
    kafka_records_place(buf.data, 123456789012, 9);
    expect_ok(kafka_records_batch(mr_buf_as_str(&buf), &batch));
    expect_ok(kafka_records_check(&batch));
    expect_int(batch.base_offset, 123456789012);
    expect_int(batch.leader_epoch, 9);
    kafka_records_claim(buf.data, buf.length, 77, 4, 0);
    expect_ok(kafka_records_batch(mr_buf_as_str(&buf), &batch));
    expect_ok(kafka_records_check(&batch));
    expect_int(batch.producer_id, 77);
    expect_int(batch.base_sequence, 0);
}

STORY("a fetch may end inside a batch: the whole ones are read, the rest is left")
{
    struct mr_buf buf = {0};
    struct kafka_batch batch;
    mr_err err;
    batch_build(&buf, KAFKA_CODEC_NONE, 2);
    batch_build(&buf, KAFKA_CODEC_NONE, 4);
    size_t whole = buf.length;
    batch_build(&buf, KAFKA_CODEC_NONE, 8);
    for (size_t cut = whole; cut < buf.length; cut++) {
        mr_str bytes = mr_str_slice(mr_buf_as_str(&buf), 0, cut);
        expect(kafka_records_next(&bytes, &batch, &err));
        expect_int(batch.count, 2);
        expect(kafka_records_next(&bytes, &batch, &err));
        expect_int(batch.count, 4);
        expect(!kafka_records_next(&bytes, &batch, &err));
        expect_int(err, MR_OK);
    }
}

STORY("lengths and counts that cannot be are refused")
{
    struct mr_buf buf = {0};
    struct kafka_batch batch;
    batch_build(&buf, KAFKA_CODEC_NONE, 2);
    mr_str bytes = mr_buf_as_str(&buf);
    buf.data[KAFKA_RECORDS_AT_MAGIC] = 1;
    expect_err(kafka_records_batch(bytes, &batch), MR_UNSUPPORTED);
    buf.data[KAFKA_RECORDS_AT_MAGIC] = 2;
    mr_buf_patch_be32(&buf, KAFKA_RECORDS_AT_LENGTH, 48);
    expect_err(kafka_records_batch(bytes, &batch), MR_CORRUPT);
    mr_buf_patch_be32(&buf, KAFKA_RECORDS_AT_LENGTH, 0x80000000);
    expect_err(kafka_records_batch(bytes, &batch), MR_CORRUPT);
    mr_buf_patch_be32(&buf, KAFKA_RECORDS_AT_LENGTH, (uint32_t)buf.length - 12);
    mr_buf_patch_be32(&buf, KAFKA_RECORDS_AT_COUNT, 3);
    expect_err(kafka_records_batch(bytes, &batch), MR_CORRUPT);
    expect_err(kafka_records_batch(mr_str_slice(bytes, 0, 10), &batch), MR_AGAIN);
}

STORY("a packed batch that lies about itself is corrupt, and no bomb goes off")
{
    struct mr_arena arena = {0};
    mr_str got;
    for (int codec = KAFKA_CODEC_GZIP; codec <= KAFKA_CODEC_ZSTD; codec++) {
        struct mr_buf packed = {0}, zeros = {0};
        memset(mr_buf_grow(&zeros, 1 << 20), 0, 1 << 20);
        expect_ok(kafka_compress((enum kafka_codec)codec, mr_buf_as_str(&zeros), &packed));
        expect_ok(kafka_compress_undo(codec, mr_buf_as_str(&packed), &arena, &got));
        expect_str(got, mr_buf_as_str(&zeros));
        mr_str cut = mr_str_slice(mr_buf_as_str(&packed), 0, packed.length - 1);
        expect_err(kafka_compress_undo(codec, cut, &arena, &got), MR_CORRUPT);
        expect_err(kafka_compress_undo(codec, MR_STR("hello, hello, hello"), &arena, &got),
                   MR_CORRUPT);
        mr_buf_fini(&packed);
        mr_buf_fini(&zeros);
    }
    expect_err(kafka_compress_undo(5, MR_STR("x"), &arena, &got), MR_UNSUPPORTED);
    /* 300 MB of zeros in a few kilobytes */
    struct mr_buf bomb = {0}, zeros = {0};
    memset(mr_buf_grow(&zeros, 300 << 20), 0, 300 << 20);
    expect_ok(kafka_compress(KAFKA_CODEC_ZSTD, mr_buf_as_str(&zeros), &bomb));
    expect_err(kafka_compress_undo(KAFKA_CODEC_ZSTD, mr_buf_as_str(&bomb), &arena, &got), MR_LIMIT);
}

STORY("markers end transactions")
{
    struct mr_buf buf = {0};
    struct kafka_batch batch;
    enum kafka_marker marker;
    int32_t epoch;
    kafka_records_marker(&buf, KAFKA_MARKER_COMMIT, 5, 2, 11, 40, 1700000000000);
    expect_ok(kafka_records_batch(mr_buf_as_str(&buf), &batch));
    expect_ok(kafka_records_check(&batch));
    expect(kafka_batch_is_control(&batch) && kafka_batch_is_transactional(&batch));
    expect_int(batch.base_sequence, -1);
    expect_ok(kafka_records_marker_read(&batch, &marker, &epoch));
    expect_int(marker, KAFKA_MARKER_COMMIT);
    expect_int(epoch, 11);
}

STORY("known bytes: one record with key, value and header")
{
    static const char hex[] =
        "0000000000000000 00000043 ffffffff 02 00000000 0000 00000000"
        "0000018bcfe56800 0000018bcfe56800 ffffffffffffffff ffff ffffffff 00000001"
        "22 00 00 00 02 6b 0a 68656c6c6f 02 02 68 04 6869";
    struct mr_buf buf = {0};
    struct kafka_builder builder;
    struct kafka_header header = {MR_STR("h"), MR_STR("hi")};
    struct mr_bytes *known = story_hex(mr_str_from(hex));
    kafka_records_begin(&builder, &buf);
    kafka_records_append(&builder, 1700000000000, MR_STR("k"), MR_STR("hello"), &header, 1);
    expect_ok(kafka_records_finish(&builder, KAFKA_CODEC_NONE, 0, -1, -1, -1, false));
    memset(buf.data + KAFKA_RECORDS_AT_CRC, 0, 4);
    expect_int(buf.length, known->length);
    expect(memcmp(buf.data, known->data, buf.length) == 0);
}

STORY("records counted from another base keep their times, and all else")
{
    static const int64_t bases[] = {INT64_MAX, 1700086400000, 0, INT64_MIN};
    struct mr_buf buf = {0}, moved = {0};
    struct mr_arena arena = {0};
    struct kafka_builder builder;
    struct kafka_header header = {MR_STR("h"), MR_STR("hi")};
    struct kafka_batch batch;
    struct kafka_records records;
    struct kafka_record record;
    kafka_records_begin(&builder, &buf);
    kafka_records_append(&builder, 1700000000000, MR_STR("k"), MR_STR_NULL, &header, 1);
    kafka_records_append(&builder, 1600000000000, MR_STR("l"), MR_STR("hello"), NULL, 0);
    expect_ok(kafka_records_finish(&builder, KAFKA_CODEC_ZSTD, 7, -1, -1, -1, false));
    expect_ok(kafka_records_batch(mr_buf_as_str(&buf), &batch));
    for (size_t i = 0; i < mr_count_of(bases); i++) {
        mr_buf_clear(&moved);
        expect_ok(kafka_records_open(&batch, &arena, &records));
        kafka_records_rebase(&records, bases[i], &moved);
        expect_ok(records.in.err);
        records = (struct kafka_records){
            .batch = batch, .in = mr_in_of(moved.data, moved.length), .left = batch.count};
        records.batch.base_timestamp = bases[i];
        expect(kafka_records_read(&records, &record));
        expect_int(record.timestamp, 1700000000000);
        expect_int(record.offset, 7);
        expect(record.value.data == NULL);
        expect_str(kafka_records_header_find(&record, MR_STR("h")), MR_STR("hi"));
        expect(kafka_records_read(&records, &record));
        expect_int(record.timestamp, 1600000000000);
        expect_int(record.offset, 8);
        expect_str(record.value, MR_STR("hello"));
        expect_int(mr_in_left(&records.in), 0);
    }
    mr_buf_fini(&moved);
    mr_arena_fini(&arena);
}
