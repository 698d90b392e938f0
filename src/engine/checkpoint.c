/* engine/checkpoint.c: the end of a batch: one Kafka transaction.
 *
 * Order: what the batch's end emits, state changes and the position record go into the transaction;
 * every table acknowledges its writes; the transaction commits, with the offsets mirrored to the
 * stream's group; then, and only then, the local copy of the state learns of it. A kill before the
 * commit leaves writes in tables that the replay repeats with the same write times. Where a replay could
 * differ (flow->tables_after), tables come after the commit, and again after a restart. */
#include "engine/stream.h"

/* ---- committed ---- */
static void note_latency(struct engine_run *run)
{
    if (run->source_us_max > 0)
        mr_counter_set(run->stream->counters[ENGINE_COUNTER_LATENCY],
                       mr_clock_wall_us(mr_loop_clock(run->loop)) - run->source_us_max);
}
static void keep_state(struct engine_run *run)
{
    struct engine_groups *groups = run->flow->groups;
    size_t count;
    if (groups == NULL)
        return;
    const struct engine_groups_change *changes = engine_groups_changes(groups, &count);
    engine_restore_keep(run, changes, count);
    engine_groups_settle(groups);
}
static void finish(struct engine_run *run)
{
    struct engine_stream *stream = run->stream;
    keep_state(run);
    run->closing = run->batch = run->after = false;
    engine_stream_set(stream, ENGINE_RUNNING);
    stream->checkpoints++;
    stream->checkpoint_us = mr_clock_mono_us(mr_loop_clock(run->loop)) - run->batch_us;
    note_latency(run);
    engine_stream_publish(stream);
    engine_batch_pump(run);
}
static void flush_sinks(struct engine_run *run, void (*flushed)(struct engine_run *run));
/* Tables that are written after the commit: see flow.h. */
static void write_tables(struct engine_run *run, bool all, void (*flushed)(struct engine_run *run))
{
    run->after = true;
    mr_err err = engine_flow_again(run->flow, all);
    if (err != MR_OK)
        engine_run_fail(run, err);
    else
        flush_sinks(run, flushed);
}
static void on_committed(void *context, mr_err err)
{
    struct engine_run *run = context;
    if (err != MR_OK) {
        engine_run_fail(run, err);
        return;
    }
    engine_place_copy(&run->committed, &run->place);
    if (run->flow->tables_after)
        write_tables(run, false, finish);
    else
        finish(run);
}

/* ---- into the transaction ---- */
static mr_err write_state(struct engine_run *run)
{
    struct engine_groups *groups = run->flow->groups;
    int64_t now_ms = run->flow->now_us / 1000;
    size_t count;
    if (groups == NULL)
        return MR_OK;
    const struct engine_groups_change *changes = engine_groups_changes(groups, &count);
    for (size_t i = 0; i < count; i++) {
        mr_err err = kafka_producer_append(run->state_topic, 0, now_ms, changes[i].key,
                                           changes[i].value, NULL, 0);
        if (err != MR_OK)
            return err;
    }
    return MR_OK;
}
/* Whether the partition has records that this batch does not reach. */
static bool is_behind(struct engine_run *run, const struct engine_slot *slot)
{
    struct kafka_position at;
    if (kafka_fetcher_position(run->fetcher, run->bound->input->topic, slot->partition, &at) !=
            MR_OK ||
        at.stable < 0)
        return true; /* it has not been asked yet */
    for (size_t i = run->fetched_at; i < run->fetched.count; i++)
        if (run->fetched.items[i]->partition == slot->partition)
            return true;
    return (slot->offset < 0 ? at.next : slot->offset) < at.stable;
}
static int64_t event_time(struct engine_run *run)
{
    const struct engine_place *place = &run->place;
    bool *behind = mr_arena_array(&run->chunk, bool, place->slot_count);
    for (size_t i = 0; i < place->slot_count; i++)
        behind[i] = is_behind(run, &place->slots[i]);
    int64_t event_us = engine_place_event_us(place, behind);
    mr_arena_reset(&run->chunk);
    return event_us;
}
int64_t engine_checkpoint_watermark(struct engine_run *run)
{
    int64_t now_us = run->place.watermark_us, next_us;
    if (run->bound->watermark_column < 0 || run->bound->aggregate == NULL)
        return now_us;
    next_us = engine_flow_watermark_next(run->flow, event_time(run));
    return next_us > now_us ? next_us : now_us;
}
static mr_err write_position(struct engine_run *run)
{
    struct engine_flow *flow = run->flow;
    struct engine_place *place = &run->place;
    struct mr_buf key = {0}, value = {0};
    place->watermark_us = engine_checkpoint_watermark(run);
    place->totals.late = flow->late;
    mr_buf_printf(&key, "stream.%.*s", MR_STR_ARG(run->stream->spec->name));
    engine_position_write(&value, run->bound->input->topic, place);
    mr_err err = kafka_producer_append(run->positions_topic, 0, flow->now_us / 1000,
                                       mr_buf_as_str(&key), mr_buf_as_str(&value), NULL, 0);
    mr_buf_fini(&key);
    mr_buf_fini(&value);
    return err;
}
static mr_err send_offsets(struct engine_run *run)
{
    const struct engine_place *place = &run->place;
    mr_str prefix = run->engine->options.group_prefix;
    struct kafka_offset *offsets = mr_arena_array(&run->chunk, struct kafka_offset,
                                                  place->slot_count);
    size_t count = 0;
    for (size_t i = 0; i < place->slot_count; i++)
        if (place->slots[i].offset >= 0)
            offsets[count++] = (struct kafka_offset){.topic = run->bound->input->topic,
                                                     .partition = place->slots[i].partition,
                                                     .offset = place->slots[i].offset};
    mr_str group = mr_arena_printf(&run->chunk, "%.*s%.*s", MR_STR_ARG(prefix),
                                   MR_STR_ARG(run->stream->spec->name));
    mr_err err = kafka_producer_send_offsets(run->producer, group, offsets, count);
    mr_arena_reset(&run->chunk);
    return err;
}
static void commit(struct engine_run *run)
{
    mr_err err = send_offsets(run);
    if (err == MR_OK)
        kafka_producer_commit(run->producer, on_committed, run);
    else
        engine_run_fail(run, err);
}
static void on_flushed(void *context, mr_err err)
{
    struct engine_run *run = context;
    if (err != MR_OK)
        engine_run_fail(run, err);
    else if (--run->sinks_flushing == 0 && run->err == MR_OK)
        run->flushed(run);
}
static void flush_sinks(struct engine_run *run, void (*flushed)(struct engine_run *run))
{
    run->flushed = flushed;
    run->sinks_flushing = run->sink_count;
    for (size_t i = 0; i < run->sink_count; i++)
        run->sinks[i]->driver->flush(run->sinks[i], on_flushed, run);
}
void engine_checkpoint_begin(struct engine_run *run)
{
    run->closing = true;
    engine_stream_set(run->stream, ENGINE_CHECKPOINTING);
    mr_err err = engine_flow_end(run->flow);
    if (err == MR_OK)
        err = write_state(run);
    if (err == MR_OK)
        err = write_position(run);
    if (err == MR_OK)
        flush_sinks(run, commit);
    else
        engine_run_fail(run, err);
}
void engine_checkpoint_repeat(struct engine_run *run, void (*done)(struct engine_run *run))
{
    if (run->flow->tables_after && run->place.slot_count > 0)
        write_tables(run, true, done);
    else
        done(run);
}
