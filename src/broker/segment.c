/* broker/segment.c: how a segment and its index lie on the disk, and how a scan tells a whole batch
 * from one that a crash left behind. */
#include "broker/segment.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    SCAN_CHUNK = 1 << 18,
    READ_HEADER_CHUNK = 1 << 16,
    READ_DIRECT_BYTES_MIN = 128 << 10,
    BLOCK_BYTES = 4096,              /* of what goes past the page cache */
    READ_CACHED_BYTES_MAX = 4 << 20, /* looked up in the page cache */
    SAVE_MAGIC = 0x4d524958,         /* "MRIX" */
    SAVE_FORMAT = 1,
    SAVE_BYTES_MAX = 1 << 20,
};

/* ---- the index ---- */

void broker_index_init(struct broker_index *index, uint32_t interval)
{
    *index = (struct broker_index){.interval = interval == 0 ? 4096 : interval};
}

void broker_index_fini(struct broker_index *index)
{
    mr_array_fini(&index->rows);
}

static void index_thin(struct broker_index *index)
{
    size_t kept = 0;
    for (size_t i = 0; i < index->rows.count; i += 2)
        index->rows.items[kept++] = index->rows.items[i];
    index->rows.count = kept;
    index->interval = index->interval < UINT32_MAX / 2 ? index->interval * 2 : index->interval;
}

void broker_index_add(struct broker_index *index, uint32_t relative, uint32_t position,
                      int64_t time_before)
{
    if (index->rows.count > 0) {
        uint32_t last = index->rows.items[index->rows.count - 1].position;
        if (position < last + (uint64_t)index->interval)
            return;
    } else if (position < index->interval) {
        return; /* the front of the file needs no row */
    }
    if (index->rows.count == BROKER_INDEX_ROWS_MAX)
        index_thin(index);
    *mr_array_add(&index->rows) = (struct broker_index_row){time_before, relative, position};
}

/* The number of rows in front for which `is_before` holds; they hold for a prefix. */
static size_t index_find(const struct broker_index *index, bool by_time, int64_t key)
{
    size_t low = 0, high = index->rows.count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        const struct broker_index_row *row = &index->rows.items[middle];
        bool before = by_time ? row->time_before < key : (int64_t)row->relative <= key;
        if (before)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

uint32_t broker_index_by_offset(const struct broker_index *index, uint32_t relative)
{
    size_t rows = index_find(index, false, relative);
    return rows == 0 ? 0 : index->rows.items[rows - 1].position;
}

uint32_t broker_index_by_time(const struct broker_index *index, int64_t time)
{
    size_t rows = index_find(index, true, time);
    return rows == 0 ? 0 : index->rows.items[rows - 1].position;
}

void broker_index_cut(struct broker_index *index, uint32_t position)
{
    while (index->rows.count > 0 && index->rows.items[index->rows.count - 1].position >= position)
        index->rows.count--;
}

void broker_index_write(const struct broker_index *index, struct mr_buf *out)
{
    mr_buf_be32(out, index->interval);
    mr_buf_be32(out, (uint32_t)index->rows.count);
    for (size_t i = 0; i < index->rows.count; i++) {
        const struct broker_index_row *row = &index->rows.items[i];
        mr_buf_be64(out, (uint64_t)row->time_before);
        mr_buf_be32(out, row->relative);
        mr_buf_be32(out, row->position);
    }
}

mr_err broker_index_read(struct mr_in *in, struct broker_index *index)
{
    uint32_t interval = mr_in_be32(in), count = mr_in_be32(in), last = 0;

    if (in->err != MR_OK || count > BROKER_INDEX_ROWS_MAX || interval == 0)
        return MR_CORRUPT;
    index->interval = interval;
    index->rows.count = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct broker_index_row row = {.time_before = (int64_t)mr_in_be64(in)};
        row.relative = mr_in_be32(in);
        row.position = mr_in_be32(in);
        if (in->err != MR_OK || row.position < last)
            return MR_CORRUPT;
        last = row.position;
        *mr_array_add(&index->rows) = row;
    }
    return MR_OK;
}

/* ---- files ---- */

void broker_segment_path(mr_str folder, int64_t base, const char *suffix,
                         char out[BROKER_PATH_BYTES])
{
    snprintf(out, BROKER_PATH_BYTES, "%.*s/%020lld%s", MR_STR_ARG(folder), (long long)base, suffix);
}

static int compare_bases(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

mr_err broker_segment_list(mr_str folder, int64_t **bases, size_t *count)
{
    MR_ARRAY(int64_t) found = {0};
    char path[BROKER_PATH_BYTES];
    struct dirent *entry;
    DIR *dir;

    snprintf(path, sizeof(path), "%.*s", MR_STR_ARG(folder));
    dir = opendir(path);
    if (dir == NULL)
        return mr_fail(mr_err_from_errno(errno), "%s: %s", path, strerror(errno));
    while ((entry = readdir(dir)) != NULL) {
        mr_str name = mr_str_from(entry->d_name);
        int64_t base;
        if (name.length != 24 || !mr_str_ends(name, MR_STR(".log")))
            continue;
        if (mr_str_to_i64(mr_str_slice(name, 0, 20), &base) == MR_OK && base >= 0)
            *mr_array_add(&found) = base;
    }
    closedir(dir);
    if (found.count > 1)
        qsort(found.items, found.count, sizeof(int64_t), compare_bases);
    *bases = found.items;
    *count = found.count;
    return MR_OK;
}

/* ---- scanning ---- */

struct window {
    uint8_t *data;
    size_t capacity;
    size_t length; /* bytes held */
    uint64_t at;   /* file position of the first */
};

/* Makes the window hold `need` bytes from `position`, or as many as the file has. */
static mr_err window_fill(struct window *window, int fd, const char *path, uint64_t position,
                          size_t need)
{
    size_t skip = (size_t)(position - window->at);

    if (skip <= window->length) {
        memmove(window->data, window->data + skip, window->length - skip);
        window->length -= skip;
    } else {
        window->length = 0;
    }
    window->at = position;
    if (need > window->capacity) {
        window->data = mr_realloc(window->data, need);
        window->capacity = need;
    }
    while (window->length < window->capacity) {
        ssize_t got = pread(fd, window->data + window->length, window->capacity - window->length,
                            (off_t)(window->at + window->length));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return mr_fail(MR_IO, "%s: %s", path, strerror(errno));
        if (got == 0)
            break;
        window->length += (size_t)got;
    }
    return MR_OK;
}

/* The batch at `position`: MR_OK, MR_NOT_FOUND at the end or at something that is no whole batch. */
static mr_err window_batch(struct window *window, int fd, const char *path, uint64_t position,
                           struct broker_batch *batch, const uint8_t **data)
{
    for (int tries = 0; tries < 3; tries++) {
        size_t skip = (size_t)(position - window->at);
        size_t length = skip <= window->length ? window->length - skip : 0;
        mr_err err = broker_batch_read(window->data + (length > 0 ? skip : 0), length, batch);
        if (err == MR_OK) {
            *data = window->data + skip;
            return MR_OK;
        }
        if (err == MR_CORRUPT)
            return MR_NOT_FOUND;
        err = window_fill(window, fd, path, position, batch->bytes);
        if (err != MR_OK)
            return err;
    }
    return MR_NOT_FOUND;
}

static void facts_note(struct broker_segment_facts *facts, const struct broker_batch *batch)
{
    facts->end = batch->last + 1;
    facts->bytes += batch->bytes;
    if (batch->time_max > facts->time_max) {
        facts->time_max = batch->time_max;
        facts->time_max_offset = batch->last;
    }
}

mr_err broker_segment_scan(int fd, const char *path, struct broker_segment_facts *facts,
                           struct broker_index *index, bool contiguous,
                           struct broker_segment_visit *visit, uint64_t *torn)
{
    struct window window = {mr_alloc(SCAN_CHUNK), SCAN_CHUNK, 0, facts->bytes};
    struct stat status;
    mr_err err = MR_OK;

    if (fstat(fd, &status) != 0) {
        err = mr_fail(MR_IO, "%s: %s", path, strerror(errno));
        goto out;
    }
    for (;;) {
        struct broker_batch batch;
        const uint8_t *data = NULL;
        err = window_batch(&window, fd, path, facts->bytes, &batch, &data);
        if (err != MR_OK)
            break;
        if (batch.base < facts->end || (contiguous && batch.base != facts->end) ||
            !broker_batch_is_whole(data, &batch))
            break;
        broker_index_add(index, (uint32_t)(batch.base - facts->base), facts->bytes,
                         facts->time_max);
        if (visit != NULL && (err = visit->batch(visit, &batch, data, facts->bytes)) != MR_OK)
            goto out;
        facts_note(facts, &batch);
    }
    if (err == MR_NOT_FOUND)
        err = MR_OK;
    *torn = (uint64_t)status.st_size > facts->bytes ? (uint64_t)status.st_size - facts->bytes : 0;
out:
    mr_free(window.data);
    return err;
}

/* ---- the sidecar ---- */

mr_err broker_segment_save(mr_str folder, const struct broker_segment_facts *facts,
                           const struct broker_index *index)
{
    struct mr_buf out = {0};
    char path[BROKER_PATH_BYTES];
    mr_err err;

    mr_buf_be32(&out, SAVE_MAGIC);
    mr_buf_be32(&out, SAVE_FORMAT);
    mr_buf_be64(&out, (uint64_t)facts->base);
    mr_buf_be64(&out, (uint64_t)facts->end);
    mr_buf_be64(&out, (uint64_t)facts->time_max);
    mr_buf_be64(&out, (uint64_t)facts->time_max_offset);
    mr_buf_be64(&out, (uint64_t)facts->made_ms);
    mr_buf_be32(&out, facts->bytes);
    broker_index_write(index, &out);
    mr_buf_be32(&out, mr_crc32c(0, out.data, out.length));
    broker_segment_path(folder, facts->base, ".index", path);
    err = mr_file_write(path, mr_buf_as_str(&out), 0644);
    mr_buf_fini(&out);
    return err;
}

mr_err broker_segment_load(mr_str folder, int64_t base, struct broker_segment_facts *facts,
                           struct broker_index *index)
{
    struct broker_segment_facts read = {0};
    struct mr_buf file = {0};
    struct mr_in in;
    char path[BROKER_PATH_BYTES];
    mr_err err;

    broker_segment_path(folder, base, ".index", path);
    err = mr_file_read(path, SAVE_BYTES_MAX, &file);
    if (err != MR_OK)
        goto out;
    err = MR_CORRUPT;
    if (file.length < 12 ||
        broker_batch_be32(file.data + file.length - 4) != mr_crc32c(0, file.data, file.length - 4))
        goto out;
    in = mr_in_of(file.data, file.length - 4);
    if (mr_in_be32(&in) != SAVE_MAGIC || mr_in_be32(&in) != SAVE_FORMAT)
        goto out;
    read.base = (int64_t)mr_in_be64(&in);
    read.end = (int64_t)mr_in_be64(&in);
    read.time_max = (int64_t)mr_in_be64(&in);
    read.time_max_offset = (int64_t)mr_in_be64(&in);
    read.made_ms = (int64_t)mr_in_be64(&in);
    read.bytes = mr_in_be32(&in);
    if (read.base != base || broker_index_read(&in, index) != MR_OK)
        goto out;
    *facts = read;
    err = MR_OK;
out:
    if (err == MR_CORRUPT)
        mr_fail(MR_CORRUPT, "%s: expected the index of a segment, found something else", path);
    mr_buf_fini(&file);
    return err;
}

/* ---- reading for a fetch ---- */

/* Whether the page cache holds all of it. */
static bool is_cached(int fd, uint64_t from, uint64_t to)
{
    unsigned char pages[READ_CACHED_BYTES_MAX / 4096 + 2];
    size_t count = (size_t)((to - from + 4095) / 4096);
    bool all = true;
    void *map;

    if (count > sizeof(pages))
        return false;
    map = mmap(NULL, to - from, PROT_READ, MAP_SHARED, fd, (off_t)from);
    if (map == MAP_FAILED)
        return true;
    if (mincore(map, to - from, pages) == 0)
        for (size_t i = 0; i < count && all; i++)
            all = (pages[i] & 1) != 0;
    munmap(map, to - from);
    return all;
}

/* By whole blocks, to where the wanted bytes then lie in the middle. False: not at such places, or shorter
 * than it was. */
static bool read_direct(const struct broker_segment_file *file, uint64_t position,
                        struct wire_ref *piece)
{
    uint64_t from = position & ~(uint64_t)(BLOCK_BYTES - 1);
    size_t skip = (size_t)(position - from), end = skip + piece->length, done = 0;
    uint8_t *blocks = piece->owner->data + BLOCK_BYTES - 1;

    blocks -= (uintptr_t)blocks & (BLOCK_BYTES - 1);
    while (done < end) {
        size_t want = (end - done + BLOCK_BYTES - 1) & ~(size_t)(BLOCK_BYTES - 1);
        ssize_t got = pread(file->fd_direct, blocks + done, want, (off_t)(from + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0 || (done + (size_t)got < end && got % BLOCK_BYTES != 0))
            return false;
        done += (size_t)got;
    }
    piece->data = blocks + skip;
    return true;
}

/* As many bytes as the piece's length says, into memory that the caller gives back. */
static mr_err read_bytes(const struct broker_segment_file *file, uint64_t position,
                         struct wire_ref *piece)
{
    uint64_t from = position & ~(uint64_t)(BLOCK_BYTES - 1);
    bool direct = file->fd_direct >= 0 && piece->length >= READ_DIRECT_BYTES_MIN &&
                  !is_cached(file->fd, from, position + piece->length);

    piece->owner = mr_bytes_new(piece->length + (direct ? 3 * BLOCK_BYTES : 0));
    piece->data = piece->owner->data;
    if (direct && read_direct(file, position, piece))
        return MR_OK;
    return mr_read_all(file->fd, piece->owner->data, piece->length, (int64_t)position);
}

/* Finds the batch that holds `offset`; MR_NOT_FOUND when it lies at or behind the limits. */
static mr_err read_find(const struct broker_segment_file *file, uint32_t *position, uint32_t limit,
                        int64_t offset, int64_t until, struct broker_batch *batch)
{
    struct window window = {mr_alloc(READ_HEADER_CHUNK), READ_HEADER_CHUNK, 0, *position};
    const uint8_t *data = NULL;
    mr_err err = MR_NOT_FOUND;

    while (*position < limit) {
        err = window_batch(&window, file->fd, file->path, *position, batch, &data);
        if (err == MR_NOT_FOUND)
            err = mr_fail(MR_CORRUPT, "%s: no whole batch at byte %u", file->path, *position);
        else if (err == MR_OK && batch->base >= until)
            err = MR_NOT_FOUND;
        if (err != MR_OK || batch->last >= offset)
            break;
        *position += batch->bytes;
        err = MR_NOT_FOUND;
    }
    mr_free(window.data);
    return err;
}

uint32_t broker_segment_whole(const uint8_t *data, size_t length, int64_t until, size_t bytes_max)
{
    struct broker_batch batch;
    uint32_t taken = 0;

    while (broker_batch_read(data + taken, length - taken, &batch) == MR_OK && batch.base < until &&
           (taken == 0 || taken + (size_t)batch.bytes <= bytes_max))
        taken += batch.bytes;
    return taken;
}

/* `position` is most often where the last read ended, and the batch wanted begins there. */
static bool read_begins(const struct wire_ref *piece, int64_t offset, int64_t until)
{
    struct broker_batch first;
    return broker_batch_read(piece->data, piece->length, &first) == MR_OK && first.last >= offset &&
           first.base < until;
}

mr_err broker_segment_read(const struct broker_segment_file *file, uint32_t position,
                           uint32_t limit, int64_t offset, int64_t until, size_t bytes_max,
                           struct wire_ref *out, uint32_t *next)
{
    struct broker_batch first = {0};
    struct wire_ref piece = {NULL, NULL, 0};
    mr_err err = MR_OK;

    for (int tries = 0; tries < 2; tries++) {
        piece.length = first.bytes > bytes_max ? first.bytes : bytes_max;
        if (piece.length > limit - position)
            piece.length = limit - position;
        if (piece.length == 0)
            break;
        err = read_bytes(file, position, &piece);
        if (err != MR_OK)
            goto out;
        if (tries == 1 || read_begins(&piece, offset, until))
            break;
        mr_bytes_unref(piece.owner);
        piece = (struct wire_ref){NULL, NULL, 0};
        err = read_find(file, &position, limit, offset, until, &first);
        if (err == MR_NOT_FOUND)
            break;
        if (err != MR_OK)
            goto out;
    }
    err = MR_OK;
    if (piece.owner != NULL)
        piece.length = broker_segment_whole(piece.data, piece.length, until, bytes_max);
    *next = position + (uint32_t)piece.length;
    *out = piece;
    piece.owner = NULL;
out:
    mr_bytes_unref(piece.owner);
    return err;
}
