/* engine/restore.c: what a run begins with: the stream's position, and the state that belongs to it.
 *
 * Both are read after the transactional id was taken over, so they stand still. The position is the
 * last record of its key in `_millrace_positions`: it is looked for from the end backwards, in windows
 * that grow, since an active stream has written lately. The state is the local copy in RocksDB and what
 * the changelog has behind the copy's offset; a copy that is missing, too old (a compaction may have
 * dropped tombstones that it never saw) or of another shape is left aside, and the changelog is read
 * whole. The copy is written after each commit, unsynced: it is never ahead of the log.
 *
 * Keys of the copy: "g" and a group's key; "m": the changelog's offset, the wall time, the shape. */
#include <stdio.h>

#include "engine/stream.h"

enum {
    WINDOW = 4096, /* position records looked at first */
    COPY_BATCH_BYTES = 1 << 20,
    CACHE_BYTES = 4 << 20, /* read at a start only */
    FLUSH_US = 5000000,    /* how often the copy's log goes to its file */
};
#define COPY_AGE_US_MAX ((int64_t)12 * 3600 * 1000000) /* half of delete.retention.ms */

struct engine_restore {
    struct engine_run *run;
    void (*done)(struct engine_run *run, mr_err err);
    /* one partition, from an offset to the end that it had when asked */
    struct kafka_fetcher *fetcher;
    mr_str topic;
    int64_t from, start, end, window;
    void (*on_bounds)(struct engine_restore *restore);
    mr_err (*on_record)(struct engine_restore *restore, const struct kafka_record *record);
    void (*on_end)(struct engine_restore *restore, mr_err err);
    bool ended;
    mr_err err;
    char why[512];
    struct mr_task leave; /* out of the fetcher's call, then on_end */
    /* the position */
    mr_str key;
    bool found;
    /* the state's copy */
    struct engine_restore *next; /* in the engine's line for the disk */
    struct mr_job job;
    struct mr_buf loaded; /* key length, key, value length, value ... */
    mr_err job_err;
    char job_why[512];
    int64_t copy_offset; /* -1: no copy that serves */
    struct kv_family *family;
    struct kv_batch *batch; /* committed, not yet in the copy */
    int64_t offset;         /* of the changelog, behind what is committed */
    bool broken;            /* the copy takes no writes: left as it is */
};

static struct engine_restore *restore_of(struct engine_run *run)
{
    if (run->restore == NULL) {
        run->restore = mr_new(struct engine_restore);
        run->restore->run = run;
    }
    return run->restore;
}
void engine_restore_free(struct engine_restore *restore)
{
    if (restore == NULL)
        return;
    kv_batch_free(restore->batch);
    mr_buf_fini(&restore->loaded);
    mr_free(restore);
}
void engine_restore_close(struct engine_run *run)
{
    if (run->restore == NULL)
        return;
    kafka_fetcher_close(run->restore->fetcher);
    run->restore->fetcher = NULL;
    run->restore->ended = true;
}

/* ---- reading one partition to its end ---- */
static void on_leave(struct mr_task *task)
{
    struct engine_restore *restore = mr_container(task, struct engine_restore, leave);
    if (!engine_run_answer(restore->run))
        return;
    kafka_fetcher_close(restore->fetcher);
    restore->fetcher = NULL;
    if (restore->err != MR_OK)
        restore->err = mr_fail(restore->err, "%s", restore->why);
    restore->on_end(restore, restore->err);
}
static void end_reading(struct engine_restore *restore, mr_err err)
{
    if (restore->ended)
        return;
    restore->ended = true;
    restore->err = err;
    snprintf(restore->why, sizeof(restore->why), "%s", err == MR_OK ? "" : mr_why());
    restore->leave.run = on_leave;
    restore->run->pending++;
    mr_loop_post(restore->run->loop, &restore->leave);
}
static void on_fetched(void *context, struct kafka_fetched *fetched)
{
    struct engine_restore *restore = context;
    struct kafka_reader reader;
    struct kafka_record record;
    struct mr_arena arena;
    mr_err err = MR_OK;
    mr_arena_init(&arena);
    kafka_reader_init(&reader, fetched, &arena);
    while (!restore->ended && err == MR_OK && kafka_reader_next(&reader, &record))
        if (record.offset < restore->end)
            err = restore->on_record(restore, &record);
    if (err == MR_OK)
        err = reader.err;
    kafka_reader_fini(&reader);
    mr_arena_fini(&arena);
    bool at_end = fetched->next >= restore->end;
    kafka_fetched_free(fetched);
    if (err != MR_OK || at_end)
        end_reading(restore, err);
}
static void on_fetch_failed(void *context, mr_str topic, int32_t partition, mr_err err)
{
    (void)topic, (void)partition;
    end_reading(context, err);
}
static void read_from(struct engine_restore *restore, int64_t from)
{
    struct kafka_fetcher_options options = {.read_committed = true,
                                            .records = on_fetched,
                                            .failed = on_fetch_failed,
                                            .prefetch_bytes_max = 8 << 20,
                                            .context = restore};
    restore->ended = false;
    restore->from = from;
    if (from >= restore->end) {
        end_reading(restore, MR_OK);
        return;
    }
    mr_err err = kafka_fetcher_open(restore->run->kafka, &options, &restore->fetcher);
    if (err != MR_OK)
        end_reading(restore, err);
    else
        kafka_fetcher_assign(restore->fetcher, restore->topic, 0, from, NULL);
}
static void on_offsets(void *context, mr_err err, const struct kafka_offset *offsets, size_t count)
{
    struct engine_restore *restore = context;
    if (!engine_run_answer(restore->run))
        return;
    if (err != MR_OK) {
        restore->done(restore->run, err);
        return;
    }
    mr_assert(count == 2);
    restore->end = offsets[0].offset;
    restore->start = offsets[1].offset < 0 ? 0 : offsets[1].offset;
    restore->on_bounds(restore);
}
static void ask_bounds(struct engine_restore *restore, mr_str topic)
{
    struct kafka_offset asked[2] = {
        {.topic = topic, .timestamp = KAFKA_OFFSET_LATEST},
        {.topic = topic, .timestamp = KAFKA_OFFSET_EARLIEST},
    };
    restore->topic = topic;
    restore->run->pending++;
    /* Up to the high watermark: our position may lie behind another stream's open transaction, whose end
     * the fetcher waits for. The last stable offset would hide it. */
    kafka_admin_offsets(restore->run->kafka, asked, 2, false, on_offsets, restore);
}

/* ---- the position ---- */
static mr_err on_position_record(struct engine_restore *restore, const struct kafka_record *record)
{
    struct engine_run *run = restore->run;
    if (!mr_str_equal(record->key, restore->key))
        return MR_OK;
    engine_place_fini(&run->place);
    engine_place_init(&run->place);
    restore->found = true; /* a tombstone too: someone has reset the stream */
    if (record->value.data == NULL)
        return MR_OK;
    return engine_position_read(record->value, run->bound->input->topic, &run->place);
}
static void look_back(struct engine_restore *restore)
{
    int64_t from = restore->end - restore->window;
    read_from(restore, from < restore->start ? restore->start : from);
}
static void on_position_end(struct engine_restore *restore, mr_err err)
{
    if (err == MR_OK && !restore->found && restore->from > restore->start) {
        restore->window *= 16;
        look_back(restore);
        return;
    }
    restore->done(restore->run, err);
}
void engine_restore_position(struct engine_run *run,
                             void (*done)(struct engine_run *run, mr_err err))
{
    struct engine_restore *restore = restore_of(run);
    restore->done = done;
    restore->key = mr_arena_printf(&run->arena, "stream.%.*s", MR_STR_ARG(run->stream->spec->name));
    restore->window = WINDOW;
    restore->on_bounds = look_back;
    restore->on_record = on_position_record;
    restore->on_end = on_position_end;
    ask_bounds(restore, mr_str_from(engine_topic_positions()));
}

/* ---- what the bytes mean ---- */
uint64_t engine_restore_shape(const struct engine_run *run)
{
    const struct sql_node *node = run->bound->aggregate;
    struct mr_buf text = {0};
    uint8_t digest[32];
    uint64_t shape = 0;
    if (node == NULL)
        return 0;
    for (uint32_t i = 0; i < node->aggregate.key_count; i++) {
        mr_buf_cstr(&text, "key ");
        data_type_print(&text, node->row->fields[i].type);
    }
    for (uint32_t i = 0; i < node->aggregate.aggregate_count; i++) {
        const struct sql_aggregate *aggregate = &node->aggregate.aggregates[i];
        mr_buf_printf(&text, " aggregate %d ", (int)aggregate->kind);
        data_type_print(&text, aggregate->type);
        for (uint32_t j = 0; j < aggregate->arg_count; j++)
            data_type_print(&text, aggregate->args[j]->type);
    }
    if (node->aggregate.window != NULL)
        mr_buf_printf(&text, " window %lld %lld %lld", (long long)node->aggregate.window->size_us,
                      (long long)node->aggregate.window->slide_us,
                      (long long)node->aggregate.window->start_us);
    mr_sha256(text.data, text.length, digest);
    mr_buf_fini(&text);
    for (int i = 0; i < 8; i++)
        shape = shape << 8 | digest[i];
    return shape | 1; /* never 0, which means no state */
}

/* ---- the copy, on a disk thread ---- */
static mr_err open_kv(struct engine *engine)
{
    const char *folder = mr_arena_cstr(&engine->arena, engine->options.folder);
    if (engine->options.memory == NULL && engine->memory == NULL)
        engine->memory = kv_memory_new(CACHE_BYTES);
    struct kv_options options = {.folder = folder,
                                 .memory = engine->memory != NULL ? engine->memory
                                                                  : engine->options.memory,
                                 .write_buffers_bytes = 8 << 20};
    mr_err err = mr_folder_make(folder, 0700);
    if (err != MR_OK)
        return err;
    err = kv_open(&options, &engine->kv);
    if (err != MR_CORRUPT)
        return err;
    mr_log(MR_LOG_WARN, "engine", "%s: %s; rebuilt from the changelogs", folder, mr_why());
    err = mr_folder_remove(folder);
    return err == MR_OK ? kv_open(&options, &engine->kv) : err;
}
static bool read_meta(struct engine_restore *restore, struct kv_db *kv, int64_t now_us,
                      uint64_t shape)
{
    struct kv_slice slice = {0};
    if (kv_get(kv, restore->family, MR_STR("m"), 0, NULL, &slice) != MR_OK)
        return false;
    struct mr_in in = mr_in_str(slice.value);
    restore->copy_offset = (int64_t)mr_in_le64(&in);
    int64_t age_us = now_us - (int64_t)mr_in_le64(&in);
    bool serves = mr_in_le64(&in) == shape && in.err == MR_OK && age_us >= 0 &&
                  age_us < COPY_AGE_US_MAX && restore->copy_offset <= restore->end;
    kv_slice_fini(&slice);
    return serves;
}
static void load_copy(struct engine_restore *restore, struct kv_db *kv)
{
    struct kv_iter *iter = kv_iter_open(kv, restore->family, MR_STR("g"), MR_STR("h"), KV_NO_FILL,
                                        NULL);
    for (kv_iter_first(iter); kv_iter_valid(iter); kv_iter_next(iter)) {
        mr_str key = kv_iter_key(iter), value = kv_iter_value(iter);
        mr_buf_uvarint(&restore->loaded, key.length - 1);
        mr_buf_add(&restore->loaded, key.data + 1, key.length - 1);
        mr_buf_uvarint(&restore->loaded, value.length);
        mr_buf_str(&restore->loaded, value);
    }
    if (kv_iter_err(iter) != MR_OK)
        restore->copy_offset = -1;
    kv_iter_close(iter);
}
static void work(struct mr_job *job)
{
    struct engine_restore *restore = mr_container(job, struct engine_restore, job);
    struct engine_run *run = restore->run;
    struct engine *engine = run->engine;
    char name[300];
    mr_err err = engine->kv == NULL ? open_kv(engine) : MR_OK;
    snprintf(name, sizeof(name), "%.*s", MR_STR_ARG(restore->key));
    struct kv_family_options family = {.name = name, .write_buffer_bytes = 2 << 20};
    if (err == MR_OK)
        err = kv_family_make(engine->kv, &family, &restore->family);
    restore->job_err = err;
    if (err != MR_OK) {
        snprintf(restore->job_why, sizeof(restore->job_why), "%s", mr_why());
        restore->family = NULL;
        return;
    }
    struct mr_clock clock;
    mr_clock_init(&clock);
    restore->copy_offset = -1;
    if (read_meta(restore, engine->kv, mr_clock_wall_us(&clock), run->place.shape))
        load_copy(restore, engine->kv);
    else
        restore->copy_offset = -1;
    if (restore->copy_offset >= 0)
        return;
    mr_buf_clear(&restore->loaded);
    struct kv_batch *batch = kv_batch_new();
    kv_batch_delete_range(batch, restore->family, MR_STR("g"), MR_STR("n"));
    restore->job_err = kv_write(engine->kv, batch, 0);
    kv_batch_free(batch);
    if (restore->job_err != MR_OK)
        snprintf(restore->job_why, sizeof(restore->job_why), "%s", mr_why());
}

/* ---- the state ---- */
static void write_copy(struct engine_restore *restore, int64_t offset)
{
    struct engine *engine = restore->run->engine;
    struct mr_buf meta = {0};
    if (restore->broken || restore->family == NULL)
        return;
    mr_buf_le64(&meta, (uint64_t)offset);
    mr_buf_le64(&meta, (uint64_t)mr_clock_wall_us(mr_loop_clock(restore->run->loop)));
    mr_buf_le64(&meta, restore->run->place.shape);
    kv_batch_put(restore->batch, restore->family, MR_STR("m"), mr_buf_as_str(&meta));
    mr_buf_fini(&meta);
    mr_err err = kv_write(engine->kv, restore->batch, KV_NO_SLOWDOWN);
    if (err == MR_AGAIN)
        return; /* it stays in the batch and goes with the next one */
    kv_batch_clear(restore->batch);
    if (err == MR_OK)
        return;
    restore->broken = true;
    mr_log(MR_LOG_WARN, "engine", "%.*s: its local copy is no longer written: %s",
           MR_STR_ARG(restore->topic), mr_why());
}
static void put_copy(struct engine_restore *restore, mr_str key, mr_str value)
{
    struct mr_buf full = {0};
    if (restore->broken || restore->family == NULL)
        return;
    mr_buf_u8(&full, 'g');
    mr_buf_str(&full, key);
    if (value.data == NULL)
        kv_batch_delete(restore->batch, restore->family, mr_buf_as_str(&full));
    else
        kv_batch_put(restore->batch, restore->family, mr_buf_as_str(&full), value);
    mr_buf_fini(&full);
}
static mr_err on_change(struct engine_restore *restore, const struct kafka_record *record)
{
    mr_err err = engine_groups_load(restore->run->flow->groups, record->key, record->value);
    if (err != MR_OK)
        return err;
    put_copy(restore, record->key, record->value);
    if (restore->family != NULL && kv_batch_bytes(restore->batch) > COPY_BATCH_BYTES)
        write_copy(restore, record->offset + 1);
    return MR_OK;
}
static void on_changes_end(struct engine_restore *restore, mr_err err)
{
    struct engine_run *run = restore->run;
    if (err == MR_OK) {
        restore->offset = restore->end;
        if (restore->from < restore->end)
            write_copy(restore, restore->end);
        if (run->place.slot_count ==
            0) /* without a position the groups are of a stream long gone */
            engine_groups_clear(run->flow->groups, true);
    }
    restore->done(run, err);
}
static mr_err load_groups(struct engine_restore *restore)
{
    struct mr_in in = mr_in_str(mr_buf_as_str(&restore->loaded));
    while (mr_in_left(&in) > 0) {
        mr_str key = mr_in_take(&in, (size_t)mr_in_uvarint(&in));
        mr_str value = mr_in_take(&in, (size_t)mr_in_uvarint(&in));
        mr_err err = in.err != MR_OK ? in.err
                                     : engine_groups_load(restore->run->flow->groups, key, value);
        if (err != MR_OK)
            return err;
    }
    return MR_OK;
}
static void line_next(struct engine *engine)
{
    struct engine_restore *first = engine->restoring;
    if (first != NULL)
        mr_disk_submit(engine->disk, &first->job);
}
static void work_done(struct mr_job *job)
{
    struct engine_restore *restore = mr_container(job, struct engine_restore, job);
    struct engine_run *run = restore->run;
    struct engine *engine = run->engine;
    engine->restoring = restore->next;
    line_next(engine);
    if (!engine_run_answer(run)) {
        engine_release(engine);
        return;
    }
    if (restore->job_err != MR_OK) {
        mr_log(MR_LOG_WARN, "engine", "%.*s: no local copy: %s", MR_STR_ARG(restore->topic),
               restore->job_why);
        restore->broken = true;
        restore->copy_offset = -1;
    }
    if (restore->copy_offset >= 0 && load_groups(restore) != MR_OK) {
        engine_groups_clear(run->flow->groups, false);
        restore->copy_offset = -1;
    }
    mr_buf_fini(&restore->loaded);
    restore->on_record = on_change;
    restore->on_end = on_changes_end;
    read_from(restore,
              restore->copy_offset > restore->start ? restore->copy_offset : restore->start);
}
/* One at a time: the first opens the database. */
static void ask_copy(struct engine_restore *restore)
{
    struct engine *engine = restore->run->engine;
    struct engine_restore **last = &engine->restoring;
    restore->batch = kv_batch_new();
    restore->job = (struct mr_job){.work = work, .done = work_done, .loop = engine->loop};
    restore->next = NULL;
    restore->run->pending++;
    while (*last != NULL)
        last = &(*last)->next;
    *last = restore;
    if (engine->restoring == restore)
        line_next(engine);
}
void engine_restore_begin(struct engine_run *run, void (*done)(struct engine_run *run, mr_err err))
{
    struct engine_restore *restore = restore_of(run);
    restore->done = done;
    restore->on_bounds = ask_copy;
    ask_bounds(restore,
               mr_arena_printf(&run->arena, "%.*s.state", MR_STR_ARG(run->stream->spec->name)));
}

/* ---- after each commit ---- */
static void flush_work(struct mr_job *job)
{
    struct engine *engine = mr_container(job, struct engine, flush);
    (void)kv_flush_wal(engine->kv, false); /* a lost copy is rebuilt: nobody waits for this */
}
static void flush_done(struct mr_job *job)
{
    struct engine *engine = mr_container(job, struct engine, flush);
    engine->flushing = false;
    engine_release(engine);
}
void engine_restore_keep(struct engine_run *run, const struct engine_groups_change *changes,
                         size_t count)
{
    struct engine *engine = run->engine;
    struct engine_restore *restore = run->restore;
    if (count == 0)
        return;
    /* One writer, one partition: the records, and the marker of their transaction. */
    restore->offset += (int64_t)count + 1;
    for (size_t i = 0; i < count; i++)
        put_copy(restore, changes[i].key, changes[i].value);
    write_copy(restore, restore->offset);
    int64_t now_us = mr_loop_now_us(run->loop);
    if (engine->kv == NULL || engine->flushing || now_us - engine->flushed_us < FLUSH_US)
        return;
    engine->flushing = true;
    engine->flushed_us = now_us;
    engine->flush = (struct mr_job){.work = flush_work, .done = flush_done, .loop = engine->loop};
    mr_disk_submit(engine->disk, &engine->flush);
}
