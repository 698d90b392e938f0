/* engine/dead.c: the dead letters of a stream: topic `<stream>.dead`, inside the batch's transaction, so
 * a record is there exactly once. Key, value and headers are those of the record, byte by byte; ours
 * come first: where it failed, why, and where it came from. */
#include <stdio.h>

#include "engine/stream.h"

enum { OURS = 5, HEADERS_MAX = 37 };

static void append(struct engine_run *run, int64_t time_ms, mr_str key, mr_str value,
                   const struct kafka_header *headers, size_t count)
{
    run->place.totals.dead++;
    mr_err err = kafka_producer_append(run->dead_topic, -1, time_ms, key, value, headers, count);
    if (err == MR_LIMIT) /* larger than a record may be: the place says where its bytes are */
        err = kafka_producer_append(run->dead_topic, -1, time_ms, MR_STR_NULL, MR_STR_NULL, headers,
                                    count < OURS ? count : OURS);
    if (err != MR_OK)
        engine_run_fail(run, err);
}
void engine_dead_record(struct engine_run *run, const struct engine_record *record,
                        const char *place, mr_str why)
{
    struct kafka_header headers[HEADERS_MAX];
    char partition[16], offset[24];
    size_t count = OURS;
    if (record->partition == run->dead_partition && record->offset == run->dead_offset)
        return; /* another row of the same record */
    run->dead_partition = record->partition;
    run->dead_offset = record->offset;
    snprintf(partition, sizeof(partition), "%d", record->partition);
    snprintf(offset, sizeof(offset), "%lld", (long long)record->offset);
    headers[0] = (struct kafka_header){MR_STR("mr.place"), mr_str_from(place)};
    headers[1] = (struct kafka_header){MR_STR("mr.reason"), why};
    headers[2] = (struct kafka_header){MR_STR("mr.topic"), run->bound->input->topic};
    headers[3] = (struct kafka_header){MR_STR("mr.partition"), mr_str_from(partition)};
    headers[4] = (struct kafka_header){MR_STR("mr.offset"), mr_str_from(offset)};
    mr_str left = record->headers;
    while (count < HEADERS_MAX && left.length > 0 &&
           kafka_records_header(&left, &headers[count].key, &headers[count].value))
        count++;
    append(run, record->time_us / 1000, record->key, record->value, headers, count);
}
/* A row that no single record made: the row itself as JSON. */
static void bury_group(struct engine_run *run, const struct engine_rows *rows, uint32_t row,
                       const char *place, mr_str why)
{
    struct kafka_header headers[2] = {{MR_STR("mr.place"), mr_str_from(place)},
                                      {MR_STR("mr.reason"), why}};
    const struct data_type *type = run->bound->row;
    struct mr_buf value = {0};
    mr_buf_u8(&value, '{');
    for (uint32_t i = 0; i < rows->chunk->column_count; i++) {
        if (i > 0)
            mr_buf_u8(&value, ',');
        if (i < type->field_count && rows->chunk->column_count == type->field_count)
            mr_buf_json(&value, type->fields[i].name);
        else
            mr_buf_printf(&value, "\"%u\"", i);
        mr_buf_u8(&value, ':');
        data_value_json(&value, rows->chunk->columns[i], row);
    }
    mr_buf_u8(&value, '}');
    append(run, run->flow->now_us / 1000, MR_STR_NULL, mr_buf_as_str(&value), headers, 2);
    mr_buf_fini(&value);
}
void engine_dead_row(void *context, const struct engine_rows *rows, uint32_t row, const char *place,
                     mr_str why)
{
    struct engine_run *run = context;
    const struct engine_record *record = engine_rows_record(rows, row);
    if (run->after)
        return; /* it was one before the commit */
    if (record != NULL)
        engine_dead_record(run, record, place, why);
    else
        bury_group(run, rows, row, place, why);
}
