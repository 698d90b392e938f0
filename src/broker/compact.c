/* broker/compact.c: keeps the last value of each key.
 *
 *   MAP (reads what is new, notes the last offset of each key) -> COPY (reads everything up to there,
 *   writes what stays into new files) -> SWAP (new files take the old ones' names)
 *
 * A SWAP that fails midway has placed some of the new files, from the first one on. That is as good as all or none,
 * since what a record is superseded by lies behind it: the log then has what the files have, and another
 * compaction does the rest.
 *
 * Offsets stay as they were, with gaps; the newest segment and what is at or behind an open transaction
 * is never touched. Records of aborted transactions go; records of committed ones lose the
 * transactional bit, since nothing about them is undecided.
 *
 * A tombstone must be there for delete.retention.ms, so that a reader who is behind hears of it, and its own stamp
 * says nothing about that: the first compaction that meets it notes in its batch when it may go (the
 * delete horizon, KIP-534: in the place of the base timestamp, with a bit), and one after that time takes it away. A marker
 * gets its horizon when a compaction meets no more record of its transaction. The last batch of each producer stays,
 * empty if need be, so that a scan finds its sequence; a marker that is its last word, so that it finds the epoch.
 *
 * Each slice is one job, so syncs of others come in between. */
#include "broker/compact.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kafka/records.h"

enum {
    SLICE_BYTES = 4 << 20,
    RETRY_US = 60 * 1000 * 1000, /* after a failure */
    KEYS_MAX = 1 << 20,
};

struct key_slot {
    uint8_t digest[16];
    int64_t offset; /* -1: free */
};
struct source {
    struct broker_segment *segment;
    uint32_t bytes;
    char path[BROKER_PATH_BYTES];
};
struct output {
    struct broker_segment_facts facts;
    struct broker_index index;
    size_t source_first, source_count;
    char path[BROKER_PATH_BYTES]; /* of the new file, before it gets its name */
};
struct last_word {
    int64_t producer_id;
    int64_t base; /* of its last batch; -1: a marker came behind that */
    int16_t epoch;
};
/* The records of a batch that stay, as they lie. */
struct kept {
    struct mr_buf records;
    int32_t count;
    int64_t time_max;
    bool tombstone; /* one of them is */
};
enum phase { PHASE_MAP, PHASE_COPY, PHASE_SWAP, PHASE_DONE };
struct compaction {
    struct mr_job job;
    struct broker_log *log;
    char folder[BROKER_PATH_BYTES];
    enum phase phase;
    MR_ARRAY(struct source) sources;
    MR_ARRAY(struct output) outputs;
    size_t placed; /* so many of the outputs have their names */
    size_t at;     /* source being read */
    uint32_t position;
    int fd, fd_out;
    int64_t mapped_from, mapped_to; /* offsets of which the keys are known */
    struct key_slot *slots;
    size_t slot_count, key_count;
    MR_ARRAY(struct broker_aborted) aborted;
    MR_ARRAY(struct last_word) last_words; /* of each producer */
    MR_ARRAY(int64_t) markers_gone;        /* offsets of abort markers left out */
    struct mr_map
        open; /* producers of which transactional batches were met, and no marker behind them */
    int64_t now_ms, horizon_ms, segment_bytes;
    struct mr_buf out;
    mr_err err;
    char why[256];
};

/* ---- the map of keys ---- */

static struct key_slot *slot_find(struct compaction *work, const uint8_t digest[16])
{
    uint64_t hash;
    size_t at;

    memcpy(&hash, digest, sizeof(hash));
    for (at = hash & (work->slot_count - 1); work->slots[at].offset >= 0;
         at = (at + 1) & (work->slot_count - 1))
        if (memcmp(work->slots[at].digest, digest, 16) == 0)
            break;
    return &work->slots[at];
}

static void slots_grow(struct compaction *work)
{
    struct key_slot *old = work->slots;
    size_t old_count = work->slot_count;

    work->slot_count = old_count == 0 ? 1024 : old_count * 2;
    work->slots = mr_new_array(struct key_slot, work->slot_count);
    for (size_t i = 0; i < work->slot_count; i++)
        work->slots[i].offset = -1;
    for (size_t i = 0; i < old_count; i++)
        if (old[i].offset >= 0)
            *slot_find(work, old[i].digest) = old[i];
    mr_free(old);
}

static void key_note(struct compaction *work, mr_str key, int64_t offset)
{
    struct key_slot *slot;
    uint8_t digest[16];

    if (work->key_count * 4 >= work->slot_count * 3)
        slots_grow(work);
    mr_md5(key.data, key.length, digest);
    slot = slot_find(work, digest);
    if (slot->offset < 0) {
        memcpy(slot->digest, digest, 16);
        work->key_count++;
    }
    slot->offset = offset;
}

static bool is_superseded(struct compaction *work, mr_str key, int64_t offset)
{
    uint8_t digest[16];

    if (work->slot_count == 0)
        return false;
    mr_md5(key.data, key.length, digest);
    return slot_find(work, digest)->offset > offset;
}

static bool is_aborted(const struct compaction *work, const struct broker_batch *batch)
{
    if ((batch->attributes & BROKER_BATCH_TRANSACTIONAL) == 0)
        return false;
    for (size_t i = 0; i < work->aborted.count; i++) {
        const struct broker_aborted *aborted = &work->aborted.items[i];
        if (aborted->producer_id == batch->producer_id && aborted->first <= batch->base &&
            batch->last < aborted->last)
            return true;
    }
    return false;
}

/* ---- one batch ---- */

static mr_err batch_open(const uint8_t *data, const struct broker_batch *batch,
                         struct mr_arena *arena, struct kafka_records *records)
{
    struct kafka_batch header;
    mr_err err = kafka_records_batch(mr_str_of(data, batch->bytes), &header);
    return err == MR_OK ? kafka_records_open(&header, arena, records) : err;
}

static mr_err batch_map(struct compaction *work, const uint8_t *data,
                        const struct broker_batch *batch)
{
    struct kafka_records records;
    struct kafka_record record;
    struct mr_arena arena;
    mr_err err = MR_OK;

    work->mapped_to = batch->last + 1;
    if ((batch->attributes & BROKER_BATCH_CONTROL) != 0 || is_aborted(work, batch))
        return MR_OK;
    mr_arena_init(&arena);
    err = batch_open(data, batch, &arena, &records);
    while (err == MR_OK && kafka_records_read(&records, &record))
        if (record.key.data != NULL)
            key_note(work, record.key, record.offset);
    mr_arena_fini(&arena);
    return err;
}

static bool has_horizon(const struct broker_batch *batch)
{
    return (batch->attributes & BROKER_BATCH_HORIZON) != 0;
}

static bool is_past_horizon(const struct compaction *work, const struct broker_batch *batch)
{
    return has_horizon(batch) && work->now_ms >= batch->time_base;
}

static bool record_stays(struct compaction *work, const struct broker_batch *batch,
                         const struct kafka_record *record)
{
    if (record->key.data == NULL || is_superseded(work, record->key, record->offset))
        return false;
    return record->value.data != NULL || !is_past_horizon(work, batch);
}

static bool is_last_of_producer(const struct compaction *work, const struct broker_batch *batch)
{
    bool is_marker = (batch->attributes & BROKER_BATCH_CONTROL) != 0;

    for (size_t i = 0; i < work->last_words.count; i++) {
        const struct last_word *last = &work->last_words.items[i];
        if (last->producer_id == batch->producer_id &&
            (is_marker ? last->base < 0 && last->epoch == batch->producer_epoch
                       : last->base == batch->base))
            return true;
    }
    return false;
}

/* Nothing changes but, perhaps, the transactional bit. */
static void batch_keep(struct compaction *work, const uint8_t *data,
                       const struct broker_batch *batch)
{
    size_t at = work->out.length;
    uint8_t *head;

    mr_buf_add(&work->out, data, batch->bytes);
    if ((batch->attributes & BROKER_BATCH_CONTROL) != 0 ||
        (batch->attributes & BROKER_BATCH_TRANSACTIONAL) == 0)
        return;
    head = work->out.data + at;
    broker_batch_put16(head + KAFKA_RECORDS_AT_ATTRIBUTES,
                       (uint16_t)(batch->attributes & ~BROKER_BATCH_TRANSACTIONAL));
    broker_batch_put32(head + KAFKA_RECORDS_AT_CRC,
                       mr_crc32c(0, head + KAFKA_RECORDS_AT_ATTRIBUTES,
                                 batch->bytes - KAFKA_RECORDS_AT_ATTRIBUTES));
}

/* Writes the batch anew, packed as it came. One that gets longer than a batch may be stays as it was: what it would
 * have lost is superseded all the same. */
static mr_err batch_put(struct compaction *work, const uint8_t *data,
                        const struct broker_batch *batch, const struct kept *kept,
                        uint16_t attributes, int64_t time_base)
{
    size_t at = work->out.length, bytes;
    mr_err err = MR_OK;
    uint8_t *head;

    mr_buf_add(&work->out, data, BROKER_BATCH_HEADER);
    if (kept->count > 0)
        err = kafka_records_pack(attributes & BROKER_BATCH_CODEC, mr_buf_as_str(&kept->records),
                                 &work->out);
    if (err != MR_OK)
        return err;
    bytes = work->out.length - at;
    if (bytes > MR_LIMIT_FRAME_BYTES || kept->records.length > MR_LIMIT_RECORDS_BYTES) {
        work->out.length = at;
        batch_keep(work, data, batch);
        return MR_OK;
    }
    head = work->out.data + at;
    broker_batch_put32(head + KAFKA_RECORDS_AT_LENGTH,
                       (uint32_t)(bytes - KAFKA_RECORDS_AT_LEADER_EPOCH));
    broker_batch_put16(head + KAFKA_RECORDS_AT_ATTRIBUTES, attributes);
    broker_batch_put64(head + KAFKA_RECORDS_AT_BASE_TIMESTAMP, (uint64_t)time_base);
    broker_batch_put64(head + KAFKA_RECORDS_AT_MAX_TIMESTAMP, (uint64_t)kept->time_max);
    broker_batch_put32(head + KAFKA_RECORDS_AT_COUNT, (uint32_t)kept->count);
    broker_batch_put32(head + KAFKA_RECORDS_AT_CRC, mr_crc32c(0, head + KAFKA_RECORDS_AT_ATTRIBUTES,
                                                              bytes - KAFKA_RECORDS_AT_ATTRIBUTES));
    return MR_OK;
}

/* Writes the batch with the records that stay, and with the horizon, from which their times count then. */
static mr_err batch_put_horizon(struct compaction *work, const uint8_t *data,
                                const struct broker_batch *batch, const struct kept *kept,
                                uint16_t attributes)
{
    struct kafka_records records = {.left = kept->count};
    struct kept fresh = *kept;
    mr_err err = kafka_records_batch(mr_str_of(data, batch->bytes), &records.batch);

    fresh.records = (struct mr_buf){0};
    records.in = mr_in_of(kept->records.data, kept->records.length);
    if (err == MR_OK)
        kafka_records_rebase(&records, work->horizon_ms, &fresh.records);
    if (err == MR_OK)
        err = batch_put(work, data, batch, &fresh, (uint16_t)(attributes | BROKER_BATCH_HORIZON),
                        work->horizon_ms);
    mr_buf_fini(&fresh.records);
    return err;
}

/* Picks the records that stay, or all of a marker's. */
static mr_err batch_sift(struct compaction *work, const uint8_t *data,
                         const struct broker_batch *batch, struct kept *kept)
{
    bool all = (batch->attributes & BROKER_BATCH_CONTROL) != 0;
    struct kafka_records records;
    struct kafka_record record;
    struct mr_arena arena;
    mr_err err;

    mr_arena_init(&arena);
    err = batch_open(data, batch, &arena, &records);
    while (err == MR_OK) {
        const uint8_t *from = records.in.at;
        if (!kafka_records_read(&records, &record))
            break;
        if (!all && !record_stays(work, batch, &record))
            continue;
        mr_buf_add(&kept->records, from, (size_t)(records.in.at - from));
        kept->count++;
        kept->tombstone = kept->tombstone || record.value.data == NULL;
        if (record.timestamp > kept->time_max)
            kept->time_max = record.timestamp;
    }
    mr_arena_fini(&arena);
    return err;
}

static mr_str producer_key(const struct broker_batch *batch)
{
    return mr_str_of(&batch->producer_id, sizeof(batch->producer_id));
}

/* A marker ends what was open of its producer. It has a use as long as that was anything. */
static mr_err marker_copy(struct compaction *work, const uint8_t *data,
                          const struct broker_batch *batch)
{
    bool has_records = mr_map_remove(&work->open, producer_key(batch)) != NULL;
    int32_t epoch = -1;
    int kind = broker_producers_marker(batch, data, &epoch);
    struct kept kept = {.time_max = -1};
    mr_err err;

    if (has_records || kind < 0 || is_last_of_producer(work, batch) ||
        (has_horizon(batch) && !is_past_horizon(work, batch))) {
        batch_keep(work, data, batch);
        return MR_OK;
    }
    if (has_horizon(batch)) {
        if (kind == 0)
            *mr_array_add(&work->markers_gone) = batch->last;
        return MR_OK;
    }
    err = batch_sift(work, data, batch, &kept);
    if (err == MR_OK)
        err = batch_put_horizon(work, data, batch, &kept, batch->attributes);
    mr_buf_fini(&kept.records);
    return err;
}

static mr_err batch_copy(struct compaction *work, const uint8_t *data,
                         const struct broker_batch *batch)
{
    uint16_t attributes = (uint16_t)(batch->attributes & ~BROKER_BATCH_TRANSACTIONAL);
    struct kept kept = {.time_max = -1};
    mr_err err = MR_OK;

    if ((batch->attributes & BROKER_BATCH_CONTROL) != 0)
        return marker_copy(work, data, batch);
    if ((batch->attributes & BROKER_BATCH_TRANSACTIONAL) != 0)
        mr_map_put(&work->open, producer_key(batch), work);
    if (!is_aborted(work, batch))
        err = batch_sift(work, data, batch, &kept);
    if (err == MR_OK && kept.count == 0 && is_last_of_producer(work, batch))
        err = batch_put(work, data, batch, &kept,
                        attributes & (uint16_t) ~(BROKER_BATCH_CODEC | BROKER_BATCH_HORIZON), -1);
    else if (err == MR_OK && kept.tombstone && !has_horizon(batch))
        err = batch_put_horizon(work, data, batch, &kept, attributes);
    else if (err == MR_OK && kept.count > 0 && kept.count == batch->count)
        batch_keep(work, data, batch);
    else if (err == MR_OK && kept.count > 0)
        err = batch_put(work, data, batch, &kept, attributes, batch->time_base);
    mr_buf_fini(&kept.records);
    return err;
}

/* ---- output files ---- */

static mr_err output_close(struct compaction *work)
{
    mr_err err = MR_OK;

    if (work->fd_out >= 0 && fdatasync(work->fd_out) != 0)
        err = mr_fail(MR_IO, "%s: %s", work->outputs.items[work->outputs.count - 1].path,
                      strerror(errno));
    mr_fd_close(work->fd_out);
    work->fd_out = -1;
    return err;
}

static mr_err output_open(struct compaction *work)
{
    struct output *output = mr_array_add(&work->outputs);
    const struct broker_segment_facts *facts = &work->sources.items[work->at].segment->facts;

    *output = (struct output){.source_first = work->at};
    output->facts = (struct broker_segment_facts){.base = facts->base,
                                                  .end = facts->base,
                                                  .time_max = -1,
                                                  .time_max_offset = -1,
                                                  .made_ms = facts->made_ms};
    broker_index_init(&output->index, 0);
    broker_segment_path(mr_str_from(work->folder), facts->base, ".cleaned", output->path);
    work->fd_out = open(output->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    return work->fd_out >= 0
               ? MR_OK
               : mr_fail(mr_err_from_errno(errno), "%s: %s", output->path, strerror(errno));
}

/* A source joins the present output as long as that stays a segment of allowed size and span. */
static mr_err output_for_source(struct compaction *work)
{
    const struct source *source = &work->sources.items[work->at];
    struct output *output = work->outputs.count == 0
                                ? NULL
                                : &work->outputs.items[work->outputs.count - 1];
    mr_err err;

    if (output == NULL || (int64_t)output->facts.bytes + source->bytes > work->segment_bytes ||
        source->segment->facts.end - output->facts.base >= INT32_MAX) {
        err = output_close(work);
        if (err == MR_OK)
            err = output_open(work);
        if (err != MR_OK)
            return err;
        output = &work->outputs.items[work->outputs.count - 1];
    }
    output->source_count++;
    return MR_OK;
}

static mr_err output_write(struct compaction *work)
{
    struct output *output = &work->outputs.items[work->outputs.count - 1];
    mr_err err = mr_write_all(work->fd_out, work->out.data, work->out.length, output->facts.bytes);
    size_t at = 0;

    while (err == MR_OK && at < work->out.length) {
        struct broker_batch batch;
        mr_err read = broker_batch_read(work->out.data + at, work->out.length - at, &batch);
        mr_assert(read == MR_OK);
        broker_index_add(&output->index, (uint32_t)(batch.base - output->facts.base),
                         output->facts.bytes, output->facts.time_max);
        output->facts.bytes += batch.bytes;
        output->facts.end = batch.last + 1;
        if (batch.time_max > output->facts.time_max) {
            output->facts.time_max = batch.time_max;
            output->facts.time_max_offset = batch.last;
        }
        at += batch.bytes;
    }
    mr_buf_clear(&work->out);
    return err;
}

/* None may be taken for that of the file which gets the name next, after a power loss either. */
static mr_err indexes_drop(const struct compaction *work)
{
    char path[BROKER_PATH_BYTES];

    for (size_t i = 0; i < work->outputs.count; i++) {
        broker_segment_path(mr_str_from(work->folder), work->outputs.items[i].facts.base, ".index",
                            path);
        if (unlink(path) != 0 && errno != ENOENT && errno != EISDIR)
            return mr_fail(MR_IO, "%s: %s", path, strerror(errno));
    }
    return mr_folder_sync(work->folder);
}

/* The file has its name for good: what it covers goes, and its index comes. */
static void output_settle(const struct compaction *work, const struct output *output)
{
    char path[BROKER_PATH_BYTES];

    for (size_t i = 1; i < output->source_count; i++) {
        const struct source *gone = &work->sources.items[output->source_first + i];
        unlink(gone->path);
        broker_segment_path(mr_str_from(work->folder), gone->segment->facts.base, ".index", path);
        unlink(path);
    }
    /* Readers and a start do without an index. */
    if (broker_segment_save(mr_str_from(work->folder), &output->facts, &output->index) != MR_OK)
        mr_log(MR_LOG_WARN, "broker", "index not written: %s", mr_why());
}

/* The new files get the names of the first old ones; other old ones are removed once that is on the disk. A start that
 * finds both removes what the new one covers. */
static mr_err outputs_swap(struct compaction *work)
{
    mr_err err = output_close(work), synced;

    if (err == MR_OK)
        err = indexes_drop(work);
    while (err == MR_OK && work->placed < work->outputs.count) {
        const struct output *output = &work->outputs.items[work->placed];
        if (rename(output->path, work->sources.items[output->source_first].path) == 0)
            work->placed++;
        else
            err = mr_fail(MR_IO, "%s: %s", output->path, strerror(errno));
    }
    if (err != MR_OK)
        snprintf(work->why, sizeof(work->why), "%s", mr_why());
    if (work->placed == 0)
        return err;
    synced = mr_folder_sync(work->folder);
    for (size_t i = 0; synced == MR_OK && i < work->placed; i++)
        output_settle(work, &work->outputs.items[i]);
    return err == MR_OK ? synced : err;
}

/* ---- slices ---- */

static mr_err slice_read(struct compaction *work, struct wire_ref *piece)
{
    struct source *source = &work->sources.items[work->at];
    struct broker_segment_file file;
    uint32_t next = work->position;
    mr_err err;

    if (work->fd < 0) {
        work->fd = open(source->path, O_RDONLY | O_CLOEXEC);
        if (work->fd < 0)
            return mr_fail(mr_err_from_errno(errno), "%s: %s", source->path, strerror(errno));
    }
    file = (struct broker_segment_file){work->fd, -1, source->path};
    err = broker_segment_read(&file, work->position, source->bytes, 0, INT64_MAX, SLICE_BYTES,
                              piece, &next);
    work->position = next;
    return err;
}

static mr_err slice_run(struct compaction *work, const struct wire_ref *piece)
{
    struct broker_batch batch;
    mr_err err = MR_OK;
    size_t at = 0;

    while (err == MR_OK &&
           broker_batch_read(piece->data + at, piece->length - at, &batch) == MR_OK) {
        err = work->phase == PHASE_MAP ? batch_map(work, piece->data + at, &batch)
                                       : batch_copy(work, piece->data + at, &batch);
        at += batch.bytes;
    }
    if (err == MR_OK && work->phase == PHASE_COPY)
        err = output_write(work);
    return err;
}

/* Moves to the next file, or to the next phase. */
static mr_err source_next(struct compaction *work)
{
    mr_fd_close(work->fd);
    work->fd = -1;
    work->position = 0;
    work->at++;
    if (work->phase == PHASE_MAP && work->key_count >= KEYS_MAX)
        work->sources.count = work->at; /* the rest comes another time */
    if (work->at < work->sources.count)
        return work->phase == PHASE_COPY ? output_for_source(work) : MR_OK;
    work->at = 0;
    if (work->phase == PHASE_COPY) {
        work->phase = PHASE_SWAP;
        return MR_OK;
    }
    work->phase = PHASE_COPY;
    return output_for_source(work);
}

static mr_err slice(struct compaction *work)
{
    struct wire_ref piece = {NULL, NULL, 0};
    mr_err err;

    if (work->phase == PHASE_SWAP) {
        work->phase = PHASE_DONE;
        return outputs_swap(work);
    }
    if (work->phase == PHASE_MAP &&
        work->sources.items[work->at].segment->facts.end <= work->mapped_from)
        return source_next(work); /* its keys were mapped by the compaction before */
    err = slice_read(work, &piece);
    if (err == MR_OK && piece.owner != NULL)
        err = slice_run(work, &piece);
    if (err == MR_OK &&
        (piece.owner == NULL || work->position >= work->sources.items[work->at].bytes))
        err = source_next(work);
    mr_bytes_unref(piece.owner);
    return err;
}

static void slice_work(struct mr_job *job)
{
    struct compaction *work = mr_container(job, struct compaction, job);

    work->err = slice(work);
    if (work->err == MR_OK)
        return;
    if (work->why[0] == '\0')
        snprintf(work->why, sizeof(work->why), "%s", mr_why());
    for (size_t i = work->placed; i < work->outputs.count; i++)
        unlink(work->outputs.items[i].path);
}

/* ---- on the loop ---- */

static void compaction_free(struct compaction *work)
{
    for (size_t i = 0; i < work->outputs.count; i++)
        broker_index_fini(&work->outputs.items[i].index);
    for (size_t i = 0; i < work->sources.count; i++)
        work->sources.items[i].segment->users--;
    mr_fd_close(work->fd);
    mr_fd_close(work->fd_out);
    mr_array_fini(&work->sources);
    mr_array_fini(&work->outputs);
    mr_array_fini(&work->aborted);
    mr_array_fini(&work->last_words);
    mr_map_fini(&work->open);
    mr_array_fini(&work->markers_gone);
    mr_free(work->slots);
    mr_buf_fini(&work->out);
    mr_free(work);
}

/* Aborted transactions whose marker, before `end`, is gone must not be told to readers any more. */
static void aborted_forget(struct compaction *work, int64_t end)
{
    struct broker_producers *producers = &work->log->producers;
    size_t kept = 0;

    for (size_t i = 0; i < producers->aborted.count; i++) {
        bool gone = false;
        for (size_t j = 0; j < work->markers_gone.count; j++)
            gone = gone || (work->markers_gone.items[j] < end &&
                            work->markers_gone.items[j] == producers->aborted.items[i].last);
        if (!gone)
            producers->aborted.items[kept++] = producers->aborted.items[i];
    }
    producers->aborted.count = kept;
}

/* In memory, what has its name. Returns the offset up to which the files are new. */
static int64_t segments_swap(struct compaction *work)
{
    struct broker_log *log = work->log;
    size_t sources = 0, first = 0;
    int64_t end = 0;

    while (log->segments.items[first] != work->sources.items[0].segment)
        first++;
    for (size_t i = 0; i < work->placed; i++) {
        struct output *output = &work->outputs.items[i];
        struct broker_segment *fresh = mr_new(struct broker_segment);
        fresh->facts = output->facts;
        fresh->fd = fresh->fd_direct = -1;
        fresh->written = output->facts.bytes;
        fresh->cleaned = true;
        broker_index_init(&fresh->index, 0);
        for (size_t j = 0; j < output->source_count; j++) {
            struct broker_segment *old = work->sources.items[sources++].segment;
            log->bytes -= old->facts.bytes;
            mr_counter_add(log->storage->log_bytes, -(int64_t)old->facts.bytes);
            end = old->facts.end;
            old->gone = true;
            if (--old->users == 0)
                broker_log_segment_free(old);
        }
        log->bytes += fresh->facts.bytes;
        mr_counter_add(log->storage->log_bytes, fresh->facts.bytes);
        log->segments.items[first + i] = fresh;
    }
    memmove(&log->segments.items[first + work->placed], &log->segments.items[first + sources],
            (log->segments.count - first - sources) * sizeof(log->segments.items[0]));
    log->segments.count -= sources - work->placed;
    work->sources.count -= sources; /* given back above */
    memmove(work->sources.items, work->sources.items + sources,
            work->sources.count * sizeof(work->sources.items[0]));
    broker_plan_forget_ahead(log, INT64_MAX);
    for (size_t i = 0; i < mr_count_of(log->hints); i++)
        log->hints[i].offset = -1;
    return end;
}

static void compaction_end(struct compaction *work)
{
    struct broker_log *log = work->log;
    int64_t before = log->bytes;

    if (work->placed > 0 && !log->gone) {
        int64_t end = segments_swap(work);
        aborted_forget(work, end);
        broker_storage_trim(log->storage, log, end);
        log->checkpoint_wanted = true;
    }
    if (log->gone) {
        mr_log(MR_LOG_DEBUG, "broker", "%s: deleted while it was compacted", log->name);
    } else if (work->err != MR_OK) {
        mr_log(MR_LOG_ERROR, "broker", "%s: compaction failed: %s", log->name, work->why);
        log->compact_after_us = mr_loop_now_us(log->storage->loop) + RETRY_US;
    } else {
        log->compacted = work->mapped_to;
        mr_log(MR_LOG_DEBUG, "broker", "%s: compacted, %lld of %lld bytes stay", log->name,
               (long long)log->bytes, (long long)before);
    }
    log->compacting = false;
    log->storage->compactions--;
    compaction_free(work);
    broker_log_unuse(log);
}

static void slice_done(struct mr_job *job)
{
    struct compaction *work = mr_container(job, struct compaction, job);
    struct broker_storage *storage = work->log->storage;

    if (work->phase == PHASE_DONE)
        broker_storage_removed(storage);
    if (work->log->gone && work->err == MR_OK)
        work->err = MR_CANCELLED;
    if (work->err != MR_OK || work->phase == PHASE_DONE)
        compaction_end(work);
    else if (work->phase == PHASE_SWAP)
        broker_storage_remove(storage, &work->job);
    else
        mr_disk_submit(storage->disk, &work->job);
}

/* Closed, known to the checkpoint, below every open transaction, old enough. */
static size_t cleanable(const struct broker_log *log, int64_t now_ms)
{
    int64_t stable = broker_log_stable(log), lag_ms = log->config->min_compaction_lag_ms;
    size_t count = 0;

    for (; count + 1 < log->segments.count; count++) {
        const struct broker_segment_facts *facts = &log->segments.items[count]->facts;
        if (facts->end > stable || facts->base >= log->checkpointed ||
            (lag_ms > 0 && now_ms - facts->time_max < lag_ms))
            break;
    }
    return count;
}

bool broker_compact_begin(struct broker_log *log)
{
    int64_t now_ms = broker_storage_now_ms(log->storage);
    size_t count = cleanable(log, now_ms);
    struct compaction *work;
    struct mr_map_entry *entry;

    if (count == 0 || log->compacting ||
        log->segments.items[count - 1]->facts.end <= log->compacted)
        return false;
    work = mr_new(struct compaction);
    work->job = (struct mr_job){slice_work, slice_done, log->storage->loop, {0}};
    work->log = log;
    work->fd = work->fd_out = -1;
    work->mapped_from = work->mapped_to = log->compacted;
    work->now_ms = now_ms;
    work->horizon_ms = log->config->delete_retention_ms > INT64_MAX - now_ms
                           ? INT64_MAX
                           : now_ms + log->config->delete_retention_ms;
    work->segment_bytes = log->config->segment_bytes;
    snprintf(work->folder, sizeof(work->folder), "%s", log->folder);
    for (size_t i = 0; i < count; i++) {
        struct source *source = mr_array_add(&work->sources);
        source->segment = log->segments.items[i];
        source->segment->users++;
        source->bytes = source->segment->facts.bytes;
        broker_segment_path(mr_str_from(log->folder), source->segment->facts.base, ".log",
                            source->path);
    }
    for (size_t i = 0; i < log->producers.aborted.count; i++)
        *mr_array_add(&work->aborted) = log->producers.aborted.items[i];
    for (size_t i = 0; (entry = mr_map_next(&log->producers.by_id, &i)) != NULL;) {
        const struct broker_producer *producer = entry->value;
        int last = producer->batch_count - 1;
        *mr_array_add(&work->last_words) = (struct last_word){
            producer->id, last >= 0 ? producer->batches[last].base : -1, producer->epoch};
    }
    log->compacting = true;
    log->storage->compactions++;
    log->users++;
    mr_disk_submit(log->storage->disk, &work->job);
    return true;
}

/* No record is older than its file, unless its stamp says so. */
static bool is_due(const struct broker_log *log, int64_t now_ms)
{
    size_t count = cleanable(log, now_ms);
    int64_t dirty = 0, all = 0, oldest_ms = now_ms;

    for (size_t i = 0; i < count; i++) {
        const struct broker_segment_facts *facts = &log->segments.items[i]->facts;
        all += facts->bytes;
        if (facts->end <= log->compacted)
            continue;
        dirty += facts->bytes;
        if (facts->made_ms < oldest_ms)
            oldest_ms = facts->made_ms;
        if (facts->time_max >= 0 && facts->time_max < oldest_ms)
            oldest_ms = facts->time_max;
    }
    return dirty > 0 && ((double)dirty >= log->config->min_cleanable_ratio * (double)all ||
                         now_ms - oldest_ms > log->config->max_compaction_lag_ms);
}

void broker_compact_round(struct broker_storage *storage)
{
    int64_t now_ms = broker_storage_now_ms(storage), now_us = mr_loop_now_us(storage->loop);

    for (size_t i = 0; i < storage->logs.count && storage->compactions == 0; i++) {
        struct broker_log *log = storage->logs.items[i];
        if (log->config->compacts && !log->gone && log->failed == MR_OK &&
            now_us >= log->compact_after_us && is_due(log, now_ms))
            broker_compact_begin(log);
    }
}
