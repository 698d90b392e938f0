/* broker/manifest.c: what a backup says of itself: a small text file with a checksum at its end. It may come from
 * anywhere, so nothing in it is believed: neither names, nor numbers, nor that they differ. */
#include "broker/backup.h"
#include "broker/topics.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { MANIFEST_BYTES_MAX = 512 << 20, BASE_DIGITS = 20 };

/* ---- names ---- */

/* "<20 digits>.log" or ".index", or "checkpoint". */
static bool is_file_of_partition(mr_str name)
{
    mr_str suffix = mr_str_slice(name, BASE_DIGITS, name.length);

    if (mr_str_equal(name, MR_STR("checkpoint")))
        return true;
    for (size_t i = 0; i < BASE_DIGITS && i < name.length; i++)
        if (name.data[i] < '0' || name.data[i] > '9')
            return false;
    return mr_str_equal(suffix, MR_STR(".log")) || mr_str_equal(suffix, MR_STR(".index"));
}

/* "<topic>-<number>". */
static bool is_folder_of_partition(mr_str name)
{
    size_t dash = name.length;
    uint64_t index;

    while (dash > 0 && name.data[dash - 1] != '-')
        dash--;
    return dash > 1 && broker_topics_name_ok(mr_str_slice(name, 0, dash - 1)) &&
           mr_str_to_u64(mr_str_slice(name, dash, name.length), &index) == MR_OK &&
           index <= INT32_MAX;
}

bool broker_manifest_path_ok(mr_str path)
{
    mr_str topics, folder, file;

    if (mr_str_equal(path, MR_STR("catalog")) || mr_str_equal(path, MR_STR("security")))
        return true;
    return mr_str_split(&path, '/', &topics) && mr_str_equal(topics, MR_STR("topics")) &&
           mr_str_split(&path, '/', &folder) && is_folder_of_partition(folder) &&
           mr_str_split(&path, '/', &file) && path.data == NULL && is_file_of_partition(file);
}

/* ---- reading ---- */

static bool read_number(mr_str *line, int64_t *out)
{
    mr_str word;
    return mr_str_split(line, ' ', &word) && mr_str_to_i64(word, out) == MR_OK && *out >= 0;
}

static bool read_hex(mr_str *line, size_t digits, uint64_t *out)
{
    mr_str word;

    *out = 0;
    if (!mr_str_split(line, ' ', &word) || word.length != digits)
        return false;
    for (size_t i = 0; i < word.length; i++) {
        int digit = mr_hex_digit(word.data[i]);
        if (digit < 0)
            return false;
        *out = *out << 4 | (uint64_t)digit;
    }
    return true;
}

static bool read_file(struct broker_manifest *manifest, mr_str line)
{
    struct broker_manifest_file file = {0};
    uint64_t checksum = 0;
    int64_t last = manifest->files.count == 0
                       ? 0
                       : manifest->files.items[manifest->files.count - 1].number;

    if (!read_number(&line, &file.number) || file.number <= last ||
        !read_number(&line, &file.bytes) || !read_hex(&line, 8, &checksum) ||
        !read_number(&line, &file.serial) || !read_hex(&line, 16, &file.inode) ||
        !read_number(&line, &file.changed_ns) || !broker_manifest_path_ok(line) ||
        broker_manifest_find(manifest, line) != NULL)
        return false;
    file.checksum = (uint32_t)checksum;
    file.path = line;
    *mr_array_add(&manifest->files) = file;
    mr_map_put(&manifest->by_path, line, (void *)(uintptr_t)manifest->files.count);
    return true;
}

static bool read_row(struct broker_manifest *manifest, mr_str line)
{
    mr_str word;

    if (!mr_str_split(&line, ' ', &word))
        return false;
    if (mr_str_equal(word, MR_STR("file")))
        return read_file(manifest, line);
    if (mr_str_equal(word, MR_STR("run")))
        return read_hex(&line, 16, &manifest->run) && line.data == NULL;
    if (mr_str_equal(word, MR_STR("made")))
        return read_number(&line, &manifest->made_ms) && line.data == NULL;
    if (!mr_str_equal(word, MR_STR("cluster")))
        return false;
    manifest->cluster = line;
    return line.length < 32 && broker_topics_name_ok(line); /* of the same letters */
}

/* The rows, without the last one, which is the checksum of those before. */
static mr_err body_find(mr_str text, const char *where, mr_str *body)
{
    const mr_str head = MR_STR("millrace-backup ");
    char sum[16];
    mr_str end;

    if (!mr_str_starts(text, head))
        return mr_fail(MR_CORRUPT, "%s: expected the manifest of a backup, found something else",
                       where);
    if (!mr_str_starts(text, MR_STR("millrace-backup 1\n")))
        return mr_fail(MR_UNSUPPORTED, "%s: expected format 1, found \"%.*s\"", where,
                       MR_STR_ARG(mr_str_slice(text, 0, head.length + 8)));
    *body = mr_str_slice(text, 0, text.length < 13 ? 0 : text.length - 13);
    end = mr_str_slice(text, body->length, text.length);
    snprintf(sum, sizeof(sum), "end %08x\n", mr_crc32c(0, body->data, body->length));
    if (!mr_str_equal(end, mr_str_from(sum)))
        return mr_fail(MR_CORRUPT, "%s: its checksum does not match", where);
    *body = mr_str_slice(*body, sizeof("millrace-backup 1\n") - 1, body->length);
    return MR_OK;
}

mr_err broker_manifest_read(mr_str text, const char *where, struct broker_manifest *out)
{
    struct broker_manifest manifest = {0};
    mr_str body, line;
    size_t number = 1;
    mr_err err;

    mr_arena_init(&manifest.arena);
    text = mr_arena_str(&manifest.arena, text);
    err = body_find(text, where, &body);
    while (err == MR_OK && mr_str_split(&body, '\n', &line)) {
        number++;
        if (line.length == 0 ? body.data != NULL : !read_row(&manifest, line))
            err = mr_fail(MR_CORRUPT, "%s:%zu: expected a row of a manifest, found \"%.*s\"", where,
                          number, (int)(line.length < 200 ? line.length : 200), line.data);
    }
    if (err == MR_OK)
        *out = manifest;
    else
        broker_manifest_fini(&manifest);
    return err;
}

mr_err broker_manifest_open(const char *folder, struct broker_manifest *out)
{
    struct mr_buf text = {0}, path = {0};
    char *where;
    mr_err err;

    mr_buf_printf(&path, "%s/" BROKER_MANIFEST, folder);
    where = mr_buf_take_cstr(&path);
    err = mr_file_read(where, MANIFEST_BYTES_MAX, &text);
    if (err == MR_OK)
        err = broker_manifest_read(mr_buf_as_str(&text), where, out);
    mr_buf_fini(&text);
    mr_free(where);
    return err;
}

/* ---- writing ---- */

static int compare_numbers(const void *a, const void *b)
{
    int64_t left = ((const struct broker_manifest_file *)a)->number,
            right = ((const struct broker_manifest_file *)b)->number;
    return (left > right) - (left < right);
}

void broker_manifest_print(struct broker_manifest *manifest, struct mr_buf *out)
{
    if (manifest->files.count > 1)
        qsort(manifest->files.items, manifest->files.count, sizeof(manifest->files.items[0]),
              compare_numbers);
    mr_buf_cstr(out, "millrace-backup 1\n");
    if (manifest->cluster.length > 0)
        mr_buf_printf(out, "cluster %.*s\nrun %016" PRIx64 "\nmade %lld\n",
                      MR_STR_ARG(manifest->cluster), manifest->run, (long long)manifest->made_ms);
    for (size_t i = 0; i < manifest->files.count; i++) {
        const struct broker_manifest_file *file = &manifest->files.items[i];
        mr_buf_printf(out, "file %lld %lld %08x %lld %016" PRIx64 " %lld %.*s\n",
                      (long long)file->number, (long long)file->bytes, file->checksum,
                      (long long)file->serial, file->inode, (long long)file->changed_ns,
                      MR_STR_ARG(file->path));
    }
    mr_buf_printf(out, "end %08x\n", mr_crc32c(0, out->data, out->length));
}

const struct broker_manifest_file *broker_manifest_find(const struct broker_manifest *manifest,
                                                        mr_str path)
{
    uintptr_t found = (uintptr_t)mr_map_get(&manifest->by_path, path);
    return found == 0 ? NULL : &manifest->files.items[found - 1];
}

void broker_manifest_fini(struct broker_manifest *manifest)
{
    mr_array_fini(&manifest->files);
    mr_map_fini(&manifest->by_path);
    mr_arena_fini(&manifest->arena);
}
