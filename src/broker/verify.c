/* broker/verify.c: reads a whole data folder and tells what is wrong with it, and where. Every batch is
 * read against its checksum and its place; indexes, checkpoints and what they know of producers are
 * compared with what the batches say. Nothing is changed.
 *
 * A fault is a contradiction that costs records or answers. What a start mends by itself (bytes of a
 * write that a kill cut short, files left by a compaction) is a note. */
#include "broker/broker.h"
#include "broker/topics.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

struct place {
    int64_t base;
    uint32_t position;
};
/* One partition under the lens. */
struct lens {
    struct broker_log *log;         /* what the checkpoint says */
    struct broker_producers found;  /* what the batches up to the checkpoint's end say */
    struct broker_checkpoint known; /* end -1: there is no checkpoint */
    MR_ARRAY(struct place) places;  /* batches of the segment being read */
    int64_t end;                    /* behind the last batch of all segments so far */
    bool compacted;                 /* gaps are in order */
    struct broker_segment_visit visit;
    struct broker_check *check;
    struct mr_buf *text;
};

static void tell(struct mr_buf *text, const char *kind, const char *format, va_list arguments)
{
    char line[2048];
    vsnprintf(line, sizeof(line), format, arguments);
    mr_buf_printf(text, "%s: %s\n", kind, line);
}

__attribute__((format(printf, 2, 3))) static void fault(struct lens *lens, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    tell(lens->text, "fault", format, arguments);
    va_end(arguments);
    lens->check->faults++;
}

__attribute__((format(printf, 2, 3))) static void note(struct lens *lens, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    tell(lens->text, "note", format, arguments);
    va_end(arguments);
    lens->check->notes++;
}

/* ---- batches ---- */

static mr_err visit_batch(struct broker_segment_visit *visit, const struct broker_batch *batch,
                          const uint8_t *data, uint32_t position)
{
    struct lens *lens = mr_container(visit, struct lens, visit);

    *mr_array_add(&lens->places) = (struct place){batch->base, position};
    lens->check->batches++;
    if (!lens->compacted && lens->end >= 0 && batch->base != lens->end)
        fault(lens, "%s: byte %u of its segment: offsets %lld to %lld are missing", lens->log->name,
              position, (long long)lens->end, (long long)batch->base - 1);
    lens->end = batch->last + 1;
    if (batch->last < lens->known.end)
        broker_producers_note(&lens->found, batch, data, 0);
    return MR_OK;
}

/* Why the scan stopped there. */
static const char *what_stands(int fd, uint32_t position, const struct broker_segment_facts *facts)
{
    uint8_t head[BROKER_BATCH_HEADER];
    struct broker_batch batch;

    if (pread(fd, head, sizeof(head), position) != (ssize_t)sizeof(head))
        return "less than a batch's header";
    mr_err err = broker_batch_read(head, sizeof(head), &batch);
    if (err == MR_CORRUPT)
        return "no record batch";
    if ((int64_t)broker_batch_be64(head) < facts->end)
        return "a batch whose offset was there already";
    return "a batch that is torn or does not match its checksum";
}

static const struct broker_segment_facts *facts_of(const struct lens *lens, int64_t base)
{
    for (size_t i = 0; i < lens->known.facts.count; i++)
        if (lens->known.facts.items[i].base == base)
            return &lens->known.facts.items[i];
    return NULL;
}

/* ---- indexes ---- */

static bool is_place(const struct lens *lens, int64_t base, uint32_t position)
{
    size_t low = 0, high = lens->places.count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (lens->places.items[middle].position < position)
            low = middle + 1;
        else
            high = middle;
    }
    return low < lens->places.count && lens->places.items[low].position == position &&
           lens->places.items[low].base == base;
}

static void check_rows(struct lens *lens, const char *path, const struct broker_index *index,
                       int64_t base)
{
    for (size_t i = 0; i < index->rows.count; i++) {
        const struct broker_index_row *row = &index->rows.items[i];
        if (is_place(lens, base + row->relative, row->position))
            continue;
        fault(lens, "%s: row %zu: no batch of offset %lld begins at byte %u", path, i,
              (long long)(base + row->relative), row->position);
        return;
    }
}

static void check_index(struct lens *lens, int64_t base, const struct broker_segment_facts *facts,
                        bool newest)
{
    struct broker_segment_facts saved = {0};
    struct broker_index index;
    char path[BROKER_PATH_BYTES];
    mr_err err;

    broker_segment_path(mr_str_from(lens->log->folder), base, ".index", path);
    broker_index_init(&index, 0);
    err = broker_segment_load(mr_str_from(lens->log->folder), base, &saved, &index);
    if (err == MR_NOT_FOUND && !newest)
        note(lens, "%s: is missing; a start makes it anew", path);
    else if (err != MR_OK && err != MR_NOT_FOUND)
        fault(lens, "%s", mr_why());
    else if (err == MR_OK && !newest && (saved.bytes != facts->bytes || saved.end != facts->end))
        fault(lens, "%s: says %u bytes up to offset %lld, the segment has %u up to %lld", path,
              saved.bytes, (long long)saved.end, facts->bytes, (long long)facts->end);
    else if (err == MR_OK && !newest)
        check_rows(lens, path, &index, base);
    broker_index_fini(&index);
}

/* ---- segments ---- */

/* Whether a compaction that came after the checkpoint may have replaced the segment: it is shorter then, or
 * longer with the one behind in it, and its own index says what it has. */
static bool may_be_cleaned(const struct lens *lens, int64_t base)
{
    return lens->compacted && base < lens->known.newest;
}

static void check_facts(struct lens *lens, const char *path,
                        const struct broker_segment_facts *facts, bool newest)
{
    const struct broker_segment_facts *known = facts_of(lens, facts->base);

    if (known == NULL || may_be_cleaned(lens, facts->base))
        return;
    if (known->bytes > facts->bytes)
        fault(lens, "%s: the checkpoint knows %u bytes on the disk, %u are whole", path,
              known->bytes, facts->bytes);
    else if (facts->base == lens->known.newest)
        check_rows(lens, path, &lens->known.index, facts->base);
    else if (!newest && known->bytes < facts->bytes)
        fault(lens, "%s: the checkpoint knows %u bytes of a closed segment, it has %u", path,
              known->bytes, facts->bytes);
}

static void check_segment(struct lens *lens, int64_t base, bool newest)
{
    struct broker_segment_facts facts = {
        .base = base, .end = base, .time_max = -1, .time_max_offset = -1};
    struct broker_index index;
    char path[BROKER_PATH_BYTES];
    uint64_t torn = 0;
    mr_err err = MR_OK;
    int fd;

    broker_segment_path(mr_str_from(lens->log->folder), base, ".log", path);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        fault(lens, "%s: %s", path, strerror(errno));
        return;
    }
    if (lens->end > base)
        note(lens, "%s: a compaction had merged it into the one before; a start removes it", path);
    lens->places.count = 0;
    broker_index_init(&index, 0);
    err = broker_segment_scan(fd, path, &facts, &index, false, &lens->visit, &torn);
    if (err != MR_OK)
        fault(lens, "%s", mr_why());
    else if (torn > 0 && newest &&
             (facts_of(lens, base) == NULL || facts_of(lens, base)->bytes <= facts.bytes))
        note(lens, "%s: byte %u: %s, %llu bytes behind the last whole batch; a start cuts them off",
             path, facts.bytes, what_stands(fd, facts.bytes, &facts), (unsigned long long)torn);
    else if (torn > 0)
        fault(lens, "%s: byte %u: %s, %llu bytes cannot be read", path, facts.bytes,
              what_stands(fd, facts.bytes, &facts), (unsigned long long)torn);
    lens->check->segments++;
    lens->check->bytes += facts.bytes;
    check_facts(lens, path, &facts, newest);
    check_index(lens, base, &facts, newest);
    broker_index_fini(&index);
    mr_fd_close(fd);
}

/* ---- producers ---- */

/* Whether the last batch that the checkpoint knows may have gone by a compaction after it: the producer has
 * gone on since, behind what the checkpoint knows, or it would have been kept. */
static bool last_may_be_gone(const struct lens *lens, const struct broker_producer *said,
                             const struct broker_producer *found)
{
    return lens->compacted &&
           found->batches[found->batch_count - 1].base < said->batches[said->batch_count - 1].base;
}

/* Whether a transaction that was open at the checkpoint may have ended behind it: what it wrote, up to some place,
 * went through a compaction since, which leaves no batch transactional. */
static bool bit_may_be_gone(const struct lens *lens, const struct broker_producer *said,
                            const struct broker_producer *found)
{
    return lens->compacted && said->txn_first >= 0 &&
           (found->txn_first < 0 || found->txn_first > said->txn_first);
}

/* The checkpoint may know producers whose batches are gone, and have forgotten silent ones; where both
 * know one they must agree. */
static void check_producers(struct lens *lens)
{
    struct mr_map_entry *entry;

    for (size_t i = 0; (entry = mr_map_next(&lens->log->producers.by_id, &i)) != NULL;) {
        const struct broker_producer *said = entry->value;
        const struct broker_producer *found = broker_producers_find(&lens->found, said->id);
        if (found == NULL || found->batch_count == 0 || said->batch_count == 0 ||
            last_may_be_gone(lens, said, found))
            continue;
        const int32_t last_said = said->batches[said->batch_count - 1].last,
                      last_found = found->batches[found->batch_count - 1].last;
        if (said->epoch != found->epoch || last_said != last_found)
            fault(lens,
                  "%s/checkpoint: producer %lld: says epoch %d, sequence %d; the batches say epoch "
                  "%d, sequence %d",
                  lens->log->folder, (long long)said->id, said->epoch, last_said, found->epoch,
                  last_found);
        else if (said->txn_first != found->txn_first && !bit_may_be_gone(lens, said, found))
            fault(lens,
                  "%s/checkpoint: producer %lld: says that its transaction began at offset %lld, "
                  "the batches say %lld",
                  lens->log->folder, (long long)said->id, (long long)said->txn_first,
                  (long long)found->txn_first);
    }
}

/* ---- partitions ---- */

static void check_folder(struct lens *lens)
{
    struct dirent *entry;
    DIR *folder = opendir(lens->log->folder);

    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        mr_str name = mr_str_from(entry->d_name);
        if (mr_str_ends(name, MR_STR(".lost")))
            fault(lens, "%s/%s: was put aside behind a torn segment; its records are not served",
                  lens->log->folder, entry->d_name);
        else if (mr_str_ends(name, MR_STR(".cleaned")) || mr_str_ends(name, MR_STR(".new")))
            note(lens, "%s/%s: left by something that a kill ended", lens->log->folder,
                 entry->d_name);
    }
    if (folder != NULL)
        closedir(folder);
}

static void check_partition(struct broker_check *check, struct mr_buf *text, struct broker_log *log)
{
    struct lens lens = {.log = log, .end = -1, .check = check, .text = text};
    int64_t *bases = NULL;
    size_t count = 0;
    mr_err err;

    lens.visit.batch = visit_batch;
    lens.compacted = log->config->compacts;
    err = broker_checkpoint_read(log, &lens.known);
    if (err != MR_OK && err != MR_NOT_FOUND)
        fault(&lens, "%s", mr_why());
    for (size_t i = 0; i < lens.known.cleaned.count; i++)
        lens.compacted = lens.compacted || lens.known.cleaned.items[i];
    check->partitions++;
    if (access(log->folder, F_OK) != 0) { /* nothing was ever appended */
        if (lens.known.end > 0)
            fault(&lens, "%s: is missing", log->folder);
        goto out;
    }
    err = broker_segment_list(mr_str_from(log->folder), &bases, &count);
    if (err != MR_OK)
        fault(&lens, "%s", mr_why());
    for (size_t i = 0; i < count; i++)
        check_segment(&lens, bases[i], i + 1 == count);
    if (lens.known.end >= 0 && count > 0 && lens.end < lens.known.end && !lens.compacted)
        fault(&lens, "%s: ends at offset %lld; the checkpoint knows records up to %lld on the disk",
              log->name, (long long)lens.end, (long long)lens.known.end);
    if (lens.known.end >= 0)
        check_producers(&lens);
    check_folder(&lens);
out:
    mr_free(bases);
    mr_array_fini(&lens.places);
    broker_producers_fini(&lens.found);
    broker_checkpoint_fini(&lens.known);
}

/* ---- the whole ---- */

/* Folders that no row of the catalog stands for. */
static void check_strangers(struct broker_topics *topics, struct lens *lens)
{
    char path[BROKER_PATH_BYTES];
    struct dirent *entry;
    DIR *folder;

    snprintf(path, sizeof(path), "%s/topics", topics->folder);
    folder = opendir(path);
    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        const char *dash = strrchr(entry->d_name, '-');
        int64_t index = -1;
        if (entry->d_name[0] == '.')
            continue;
        if (dash != NULL && mr_str_to_i64(mr_str_from(dash + 1), &index) == MR_OK && index >= 0 &&
            index <= INT32_MAX &&
            broker_topics_partition(topics,
                                    mr_str_of(entry->d_name, (size_t)(dash - entry->d_name)),
                                    (int32_t)index) != NULL)
            continue;
        note(lens, "%s/%s: no topic of the catalog", path, entry->d_name);
    }
    if (folder != NULL)
        closedir(folder);
}

mr_err broker_verify(mr_str folder, struct mr_buf *text, struct broker_check *out)
{
    struct broker_storage storage = {.folder = mr_copy_cstr(folder)};
    struct broker_topics topics;
    struct lens lens = {.check = out, .text = text};
    struct mr_map_entry *entry;
    mr_err err = broker_topics_peek(&topics, &storage);

    *out = (struct broker_check){0};
    if (err == MR_CORRUPT || err == MR_UNSUPPORTED) {
        fault(&lens, "%s", mr_why());
        err = MR_OK;
    }
    for (size_t i = 0; err == MR_OK && (entry = mr_map_next(&topics.by_name, &i)) != NULL;) {
        struct broker_topic *topic = entry->value;
        for (size_t j = 0; j < topic->partitions.count; j++) {
            struct broker_log *log = broker_topics_log(topic->partitions.items[j]);
            check_partition(out, text, log);
            broker_log_free(log);
        }
    }
    if (err == MR_OK && out->faults == 0)
        check_strangers(&topics, &lens);
    broker_topics_fini(&topics);
    mr_free(storage.folder);
    return err;
}
