/* engine/batch.c: from fetched bytes to the sinks: the pump. Hides how records become chunks and when a
 * batch ends.
 *
 * The pump does one chunk a turn of the loop, so that sockets go on meanwhile. A batch ends when nothing
 * more is there, or when it is large; so it is one record when idle, and grows by itself when busy.
 * While a checkpoint commits, fetching goes on and the pump rests. A chunk is of one kind: rows of one
 * writer's schema, or deletes. */
#include <stdio.h>

#include "engine/stream.h"

enum { UNKNOWN_US = 5000000 }; /* how long an unknown schema id is not asked for again */

/* ---- fetched ---- */
void engine_batch_records(void *context, struct kafka_fetched *fetched)
{
    struct engine_run *run = context;
    *mr_array_add(&run->fetched) = fetched;
    engine_batch_pump(run);
}
void engine_batch_moved(void *context)
{
    engine_batch_pump(context);
}
void engine_batch_drop(struct engine_run *run)
{
    if (run->reading)
        kafka_reader_fini(&run->reader);
    run->reading = run->held = false;
    for (size_t i = run->fetched_at; i < run->fetched.count; i++)
        kafka_fetched_free(run->fetched.items[i]);
    run->fetched.count = run->fetched_at = 0;
}
static struct kafka_fetched *current(struct engine_run *run)
{
    return run->fetched_at < run->fetched.count ? run->fetched.items[run->fetched_at] : NULL;
}
/* The first fetched set is read to its end: the position goes behind it, markers included. */
static void finish_fetched(struct engine_run *run)
{
    struct kafka_fetched *fetched = current(run);
    engine_place_slot(&run->place, fetched->partition)->offset = fetched->next;
    kafka_reader_fini(&run->reader);
    run->reading = false;
    mr_arena_reset(&run->unpacked);
    kafka_fetched_free(fetched);
    if (++run->fetched_at < run->fetched.count)
        return;
    run->fetched.count = run->fetched_at = 0;
}
/* The next record, into run->record; false when no more are there, or on an error (*err). */
static bool next_record(struct engine_run *run, mr_err *err)
{
    if (run->held) {
        run->held = false;
        return true;
    }
    if (!run->reading) {
        kafka_reader_init(&run->reader, current(run), &run->unpacked);
        run->reading = true;
    }
    if (kafka_reader_next(&run->reader, &run->record))
        return true;
    *err = run->reader.err;
    return false;
}

/* ---- chunks ---- */
static void fill_record(struct engine_run *run, struct engine_record *out)
{
    const struct kafka_record *record = &run->record;
    int32_t partition = current(run)->partition;
    mr_str source = kafka_records_header_find(record, MR_STR("mr.ts_us"));
    *out = (struct engine_record){.offset = record->offset,
                                  .time_us = record->timestamp * 1000,
                                  .key = record->key,
                                  .value = record->value,
                                  .headers = record->headers,
                                  .partition = partition};
    out->slot = (int32_t)(engine_place_slot(&run->place, partition) - run->place.slots);
    if (source.data != NULL && mr_str_to_i64(source, &out->source_us) == MR_OK &&
        out->source_us > run->source_us_max)
        run->source_us_max = out->source_us;
}
static void count_record(struct engine_run *run, const struct engine_record *record)
{
    run->place.slots[record->slot].offset = record->offset + 1;
    run->place.totals.records_in++;
    run->batch_rows++;
    run->batch_bytes += (int64_t)(record->key.length + record->value.length +
                                  record->headers.length);
}
/* Which schema wrote the value: MR_OK with *id and the value behind the frame. MR_CORRUPT: no frame. */
static mr_err frame_of(struct engine_run *run, mr_str *value, int32_t *id)
{
    *id = -1;
    if (run->bound->input->json)
        return MR_OK;
    return avro_take_frame(value, id);
}
static bool is_unknown(const struct engine_run *run, int32_t id)
{
    for (size_t i = 0; i < run->unknown.count; i++)
        if (run->unknown.items[i] == id)
            return true;
    return false;
}
static void on_schema(struct schemas_request *request)
{
    struct engine_run *run = mr_container(request, struct engine_run, request);
    run->asking = false;
    if (request->err == MR_NOT_FOUND)
        run->unknown_us = mr_loop_now_us(run->loop);
    else if (request->err != MR_OK) {
        engine_run_fail(run, mr_fail(request->err, "schema of a record: %s", request->why));
        return;
    }
    engine_batch_pump(run);
}
/* The record's schema: true when it is known, or known to be unknown (then `*schema` is NULL). */
static bool schema_of(struct engine_run *run, int32_t id, const struct schemas_schema **schema)
{
    *schema = schemas_client_known(run->engine->schemas, id);
    if (*schema != NULL)
        return true;
    if (mr_loop_now_us(run->loop) - run->unknown_us > UNKNOWN_US)
        run->unknown.count = 0;
    if (is_unknown(run, id))
        return true;
    *mr_array_add(&run->unknown) = id; /* the answer takes it back when it is known */
    run->asking = true;
    run->request.done = on_schema;
    schemas_client_get(run->engine->schemas, id, &run->request);
    return false;
}
static void bury_frame(struct engine_run *run, const struct engine_record *record, int32_t id,
                       const struct schemas_schema *schema)
{
    char why[200];
    if (schema != NULL)
        snprintf(why, sizeof(why), "schema %d is %.*s, expected Avro", id,
                 MR_STR_ARG(schema->type));
    else if (id >= 0)
        snprintf(why, sizeof(why), "the registry knows no schema %d", id);
    else
        snprintf(why, sizeof(why), "expected Confluent's frame: a byte 0 and a schema id");
    engine_dead_record(run, record, "decode", mr_str_from(why));
}
/* One chunk's worth of records that belong together. */
struct gathered {
    uint32_t count;
    bool deletes;
    int32_t id;
    const struct schemas_schema *schema;
    mr_err err;
};
/* Puts the record at hand into the chunk; false: the chunk ends before it. */
static bool gather_one(struct engine_run *run, struct gathered *chunk)
{
    struct engine_record *record = &run->records[chunk->count];
    const struct schemas_schema *schema = NULL;
    mr_str value = run->record.value;
    int32_t id = -1;
    bool deletes = value.data == NULL;
    fill_record(run, record);
    if (!deletes && frame_of(run, &value, &id) != MR_OK) {
        count_record(run, record);
        bury_frame(run, record, -1, NULL);
        return true;
    }
    if (!deletes && id >= 0) {
        if (chunk->count > 0 && chunk->id == id)
            schema = chunk->schema;
        else if (!schema_of(run, id, &schema))
            return false;
        if (schema == NULL || schema->avro == NULL) {
            count_record(run, record);
            bury_frame(run, record, id, schema);
            return true;
        }
    }
    if (chunk->count > 0 && (deletes != chunk->deletes || id != chunk->id))
        return false;
    chunk->deletes = deletes;
    chunk->id = id;
    chunk->schema = schema;
    run->values[chunk->count++] = value;
    count_record(run, record);
    return true;
}
static void gather(struct engine_run *run, struct gathered *chunk)
{
    *chunk = (struct gathered){0};
    while (chunk->count < DATA_CHUNK_ROWS) {
        if (!next_record(run, &chunk->err))
            return; /* one fetched set a chunk: its bytes are freed after it */
        if (!gather_one(run, chunk)) {
            run->held = true;
            return;
        }
    }
}

/* ---- rows out ---- */
/* Write times: the record's time, but always later than the one before of its partition. */
static void set_times(struct engine_run *run, struct engine_rows *rows)
{
    if (rows->times != NULL)
        return;
    rows->times = mr_arena_array(rows->chunk->arena, int64_t, rows->chunk->count);
    for (uint16_t i = 0; i < rows->chunk->row_count; i++) {
        uint16_t row = rows->chunk->rows[i];
        const struct engine_record *record = engine_rows_record(rows, row);
        struct engine_slot *slot = &run->place.slots[record->slot];
        int64_t time = record->time_us;
        if (slot->time_us != INT64_MIN && time <= slot->time_us)
            time = slot->time_us + 1;
        rows->times[row] = slot->time_us = time;
    }
}
static void bury_marked(struct engine_run *run, struct engine_rows *rows)
{
    if (run->bad.count == 0)
        return;
    for (uint16_t i = 0; i < rows->chunk->row_count; i++) {
        uint16_t row = rows->chunk->rows[i];
        if (run->bad.bad[row])
            engine_dead_row(run, rows, row, "write", run->bad.why[row]);
    }
    engine_rows_bad_drop(&run->bad, rows->chunk);
    engine_rows_bad_begin(&run->bad, run->flow->now_us);
}
static mr_err write_rows(struct engine_run *run, struct engine_rows *rows)
{
    engine_rows_bad_begin(&run->bad, run->flow->now_us);
    for (size_t i = 0; i < run->sink_count; i++)
        run->sinks[i]->driver->check(run->sinks[i], rows, &run->bad);
    bury_marked(run, rows);
    if (rows->chunk->row_count == 0)
        return MR_OK;
    set_times(run, rows);
    for (size_t i = 0; i < run->sink_count; i++) {
        struct engine_sink *sink = run->sinks[i];
        bool now = !run->flow->tables_after || sink->table == run->after;
        mr_err err = now ? sink->driver->write(sink, rows, &run->bad) : MR_OK;
        if (err != MR_OK)
            return err;
        bury_marked(run, rows);
        if (!run->after)
            *(sink->table ? &run->place.totals.rows
                          : &run->place.totals.records_out) += rows->chunk->row_count;
    }
    return MR_OK;
}
mr_err engine_batch_rows(void *context, struct engine_rows *rows)
{
    struct engine_run *run = context;
    engine_finish_rows(run->finish, rows, run->flow->now_us, &run->outlet);
    return rows->chunk->row_count == 0 ? MR_OK : write_rows(run, rows);
}
static mr_err push_deletes(struct engine_run *run, uint32_t count)
{
    struct engine_rows rows;
    if (run->bound->aggregate != NULL)
        return MR_OK; /* no row: an aggregation counts rows */
    engine_finish_deletes(run->finish, &run->chunk, run->records, count, &run->outlet, &rows);
    return rows.chunk->row_count == 0 ? MR_OK : write_rows(run, &rows);
}
static mr_err push_chunk(struct engine_run *run, const struct gathered *chunk)
{
    struct engine_rows rows;
    if (chunk->count == 0)
        return MR_OK;
    if (chunk->deletes)
        return push_deletes(run, chunk->count);
    mr_err err = engine_scan_read(run->scan, chunk->schema == NULL ? NULL : chunk->schema->avro,
                                  chunk->id, &run->chunk, run->records, run->values, chunk->count,
                                  &run->outlet, &rows);
    if (err != MR_OK || rows.chunk->row_count == 0)
        return err;
    err = engine_flow_push(run->flow, &rows);
    struct engine_slot *slot =
        &run->place.slots[run->records[0].slot]; /* a chunk is of one partition */
    if (run->flow->event_us_max > slot->event_us_max)
        slot->event_us_max = run->flow->event_us_max;
    return err;
}

/* ---- the pump ---- */
mr_err engine_batch_open(struct engine_run *run)
{
    struct mr_clock *clock = mr_loop_clock(run->loop);
    run->batch = true;
    run->batch_rows = run->batch_bytes = run->source_us_max = 0;
    run->batch_us = mr_clock_mono_us(clock);
    mr_err err = kafka_producer_begin(run->producer);
    if (err != MR_OK)
        return err;
    return engine_flow_begin(run->flow, mr_clock_wall_us(clock), run->place.watermark_us);
}
static bool is_blocked(struct engine_run *run)
{
    if (run->asking || !kafka_producer_has_room(run->producer))
        return true;
    for (size_t i = 0; i < run->sink_count; i++)
        if (run->sinks[i]->full)
            return true;
    return false;
}
static bool is_complete(const struct engine_run *run)
{
    return run->batch_rows >= ENGINE_BATCH_ROWS || run->batch_bytes >= ENGINE_BATCH_BYTES ||
           run->stream->pause || run->stream->stop;
}
/* A new watermark closes windows at once, without waiting for a record. It may also rise without one:
 * when partitions that were behind, or not asked yet, turn out to have nothing more. */
static bool has_work(struct engine_run *run)
{
    const struct engine_groups *groups = run->flow->groups;
    if (current(run) != NULL)
        return true;
    if (groups == NULL || engine_groups_count(groups) == 0)
        return false;
    int64_t watermark_us = engine_checkpoint_watermark(run);
    return watermark_us != INT64_MIN && engine_groups_closes(groups, watermark_us);
}
static mr_err do_chunk(struct engine_run *run)
{
    struct gathered chunk = {0};
    mr_err err = run->batch ? MR_OK : engine_batch_open(run);
    if (err != MR_OK || current(run) == NULL)
        return err;
    gather(run, &chunk);
    err = push_chunk(run, &chunk);
    mr_arena_reset(&run->chunk);
    if (err == MR_OK)
        err = chunk.err;
    if (err == MR_OK && chunk.count < DATA_CHUNK_ROWS && !run->held)
        finish_fetched(run);
    return err;
}
static void pump(struct mr_task *task)
{
    struct engine_run *run = mr_container(task, struct engine_run, pump);
    if (run->stream == NULL) {
        run->pending++; /* closed meanwhile: as an answer, it may be the last */
        (void)engine_run_answer(run);
        return;
    }
    if (run->err != MR_OK) {
        engine_run_end(run);
        return;
    }
    if (!run->batch && engine_run_rest(run))
        return;
    if (!run->ready || run->closing)
        return;
    if (run->batch && (is_complete(run) || current(run) == NULL)) {
        if (!run->asking)
            engine_checkpoint_begin(run);
        return;
    }
    if (!has_work(run) || is_blocked(run))
        return;
    mr_err err = do_chunk(run);
    if (err != MR_OK)
        engine_run_fail(run, err);
    engine_batch_pump(run);
}
void engine_batch_pump(struct engine_run *run)
{
    run->pump.run = pump;
    if (!run->pump.queued)
        mr_loop_post(run->loop, &run->pump);
}
