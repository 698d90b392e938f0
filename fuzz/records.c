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
    while (kafka_records_next(&left, &batch, &err))
        reads(&batch);
    kafka_reader_init(&reader, &fetched, &arena);
    while (kafka_reader_next(&reader, &record))
        ;
    kafka_reader_fini(&reader);
    mr_arena_fini(&arena);
    return 0;
}
