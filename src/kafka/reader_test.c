/* kafka/reader_test.c: what a reader of committed records sees, and what it does not. */
#include "kafka/kafka.h"
#include "story.h"

static void batch(struct mr_buf *buf, int64_t base, int64_t producer_id, const char *const *values,
                  enum kafka_codec codec)
{
    struct kafka_builder builder;
    kafka_records_begin(&builder, buf);
    for (; *values != NULL; values++)
        kafka_records_append(&builder, 1, MR_STR_NULL, mr_str_from(*values), NULL, 0);
    expect_ok(kafka_records_finish(&builder, codec, base, producer_id, 0, 0, producer_id >= 0));
}
#define BATCH(buf, base, producer_id, codec, ...) \
    batch(buf, base, producer_id, (const char *const[]){__VA_ARGS__, NULL}, codec)

/* The values that are seen, with a space behind each. */
static void expect_seen(struct kafka_fetched *fetched, const char *expected, int64_t next)
{
    struct mr_arena arena = {0};
    struct mr_buf seen = {0};
    struct kafka_reader reader;
    struct kafka_record record;
    kafka_reader_init(&reader, fetched, &arena);
    while (kafka_reader_next(&reader, &record)) {
        mr_buf_str(&seen, record.value);
        mr_buf_u8(&seen, ' ');
    }
    expect_int(reader.err, MR_OK);
    expect_str(mr_buf_as_str(&seen), mr_str_from(expected));
    expect_int(reader.next, next);
    kafka_reader_fini(&reader);
    mr_buf_fini(&seen);
    mr_arena_fini(&arena);
}

STORY("aborted records and markers are hidden, the others of the same producer are not")
{
    struct mr_buf buf = {0};
    struct kafka_fetch_aborted_transaction aborted[] = {{7, 2}, {7, 11}};
    BATCH(&buf, 0, -1, KAFKA_CODEC_NONE, "plain0", "plain1");
    BATCH(&buf, 2, 7, KAFKA_CODEC_NONE, "bad2", "bad3");
    BATCH(&buf, 4, 8, KAFKA_CODEC_LZ4, "good4");
    BATCH(&buf, 5, 7, KAFKA_CODEC_NONE, "bad5");
    kafka_records_marker(&buf, KAFKA_MARKER_ABORT, 7, 0, 0, 6, 1);
    BATCH(&buf, 7, 7, KAFKA_CODEC_ZSTD, "good7", "good8");
    kafka_records_marker(&buf, KAFKA_MARKER_COMMIT, 7, 0, 0, 9, 1);
    kafka_records_marker(&buf, KAFKA_MARKER_COMMIT, 8, 0, 0, 10, 1);
    BATCH(&buf, 11, 7, KAFKA_CODEC_NONE, "bad11");
    kafka_records_marker(&buf, KAFKA_MARKER_ABORT, 7, 0, 0, 12, 1);
    struct kafka_fetched fetched = {
        .bytes = mr_buf_as_str(&buf), .aborted = aborted, .aborted_count = 2};
    expect_seen(&fetched, "plain0 plain1 good4 good7 good8 ", 13);
    fetched.aborted_count = 0; /* an uncommitted reader is told of none */
    expect_seen(&fetched, "plain0 plain1 bad2 bad3 good4 bad5 good7 good8 bad11 ", 13);
}

STORY("a set may begin inside of a batch and inside of an aborted transaction")
{
    struct mr_buf buf = {0};
    struct kafka_fetch_aborted_transaction aborted[] = {{7, 90}};
    BATCH(&buf, 98, -1, KAFKA_CODEC_GZIP, "old98", "old99", "new100", "new101");
    BATCH(&buf, 102, 7, KAFKA_CODEC_NONE, "bad102");
    kafka_records_marker(&buf, KAFKA_MARKER_ABORT, 7, 0, 0, 103, 1);
    struct kafka_fetched fetched = {
        .bytes = mr_buf_as_str(&buf), .from = 100, .aborted = aborted, .aborted_count = 1};
    expect_seen(&fetched, "new100 new101 ", 104);
}

STORY("a record that does not fit its batch is an error, after those before it")
{
    struct mr_buf buf = {0};
    struct mr_arena arena = {0};
    struct kafka_reader reader;
    struct kafka_record record;
    BATCH(&buf, 0, -1, KAFKA_CODEC_NONE, "first", "second");
    buf.data[KAFKA_RECORDS_HEADER_BYTES + 12] = 0xff; /* the second one's length */
    struct kafka_fetched fetched = {.bytes = mr_buf_as_str(&buf)};
    kafka_reader_init(&reader, &fetched, &arena);
    expect(kafka_reader_next(&reader, &record));
    expect_str(record.value, MR_STR("first"));
    expect(!kafka_reader_next(&reader, &record));
    expect_int(reader.err, MR_CORRUPT);
    kafka_reader_fini(&reader);
}
