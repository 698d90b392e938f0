/* fuzz/records.c: record batches as a broker and as a consumer read them; whatever the checksum says,
 * since a fuzzer would hardly ever meet it. */
#include "kafka/kafka.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void reads(const struct kafka_batch *batch)
{
    struct mr_arena arena = {0};
    struct kafka_records records;
    struct kafka_record record;
    enum kafka_marker marker;
    int32_t epoch;
    (void)kafka_records_check(batch);
    (void)kafka_records_marker_read(batch, &marker, &epoch);
    if (kafka_records_open(batch, &arena, &records) == MR_OK) {
        while (kafka_records_read(&records, &record)) {
            mr_str headers = record.headers, key, value;
            while (kafka_records_header(&headers, &key, &value))
                mr_assert(key.data != NULL);
            mr_assert(record.offset >= batch->base_offset || batch->base_offset > INT64_MAX / 2);
        }
    }
    mr_arena_fini(&arena);
}

/* However the bytes are cut, the walk finds the same; and what it lets in, a reader reads to the end. */
static void walks(const struct kafka_batch *batch)
{
    static const struct kafka_walk_rules rules = {.keys = true, .time_min = 0, .time_max = 1 << 20};
    struct mr_arena arena = {0};
    struct kafka_records records;
    struct kafka_record record;
    struct kafka_walk whole, cut;
    int32_t count = 0;
    mr_err err = kafka_walk_batch(&whole, &rules, batch, 1 << 20);
    mr_err opened = kafka_records_open(batch, &arena, &records);
    if (err == MR_OK) {
        mr_assert(opened == MR_OK);
        for (; kafka_records_read(&records, &record); count++) {
            mr_str headers = record.headers, key, value;
            for (int32_t i = 0; i < record.header_count; i++)
                mr_assert(kafka_records_header(&headers, &key, &value));
            mr_assert(headers.length == 0);
        }
        mr_assert(records.in.err == MR_OK && mr_in_left(&records.in) == 0 && count == batch->count);
    }
    if (opened == MR_OK && err != MR_LIMIT) {
        mr_str plain;
        mr_err again = kafka_records_open(batch, &arena, &records); /* from the start */
        mr_assert(again == MR_OK);
        plain = mr_str_of(records.in.at, mr_in_left(&records.in));
        kafka_walk_begin(&cut, &rules, batch->base_timestamp);
        for (size_t i = 0; i < plain.length && again == MR_OK; i++)
            again = kafka_walk_piece(&cut, mr_str_slice(plain, i, i + 1));
        if (again == MR_OK)
            again = kafka_walk_end(&cut, batch->count);
        mr_assert(again == err);
        mr_assert(err != MR_OK ||
                  (cut.time_max == whole.time_max && cut.fault_count == whole.fault_count));
    }
    mr_arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kafka_batch batch;
    struct kafka_record record;
    struct kafka_reader reader;
    struct mr_arena arena = {0};
    mr_err err;
    struct kafka_fetch_aborted_transaction aborted = {7, 100};
    struct kafka_fetched fetched = {
        .bytes = mr_str_of(data, size), .from = 3, .aborted = &aborted, .aborted_count = 1};
    mr_str left = fetched.bytes;
    while (kafka_records_next(&left, &batch, &err)) {
        reads(&batch);
        walks(&batch);
    }
    kafka_reader_init(&reader, &fetched, &arena);
    while (kafka_reader_next(&reader, &record))
        ;
    kafka_reader_fini(&reader);
    mr_arena_fini(&arena);
    return 0;
}
