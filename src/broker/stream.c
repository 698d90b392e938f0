/* broker/stream.c: a whole backup as a tar stream (POSIX ustar). Names are short numbers (backup.h), so the oldest form
 * of the format is enough. The manifest comes last: it has the checksums of what went before. */
#include "broker/backup.h"

#include <stdio.h>
#include <unistd.h>

enum { TAR_BLOCK = 512, TAR_MODE = 0600 };

struct tar {
    int fd;
    struct broker_copy *copy;
};

static mr_err put(struct tar *tar, const void *data, size_t length)
{
    mr_err err = mr_write_all(tar->fd, data, length, -1);
    return err == MR_OK ? MR_OK : mr_fail(err, "the backup's stream: %s", mr_why());
}

static mr_err put_padding(struct tar *tar, int64_t bytes)
{
    static const uint8_t zeros[TAR_BLOCK];
    return put(tar, zeros, (size_t)(-bytes & (TAR_BLOCK - 1)));
}

static mr_err put_header(struct tar *tar, const char *name, int64_t bytes, int64_t made_s)
{
    char block[TAR_BLOCK] = {0};
    unsigned sum = 0;

    snprintf(block, 100, "%s", name);
    snprintf(block + 100, 8, "%07o", TAR_MODE);
    snprintf(block + 108, 8, "%07o", 0); /* user and group: whoever unpacks it */
    snprintf(block + 116, 8, "%07o", 0);
    snprintf(block + 124, 12, "%011llo", (unsigned long long)bytes);
    snprintf(block + 136, 12, "%011llo", (unsigned long long)made_s);
    memset(block + 148, ' ', 8);
    block[156] = '0';
    memcpy(block + 257,
           "ustar\0"
           "00",
           8);
    for (size_t i = 0; i < TAR_BLOCK; i++)
        sum += (unsigned char)block[i];
    snprintf(block + 148, 8, "%06o", sum);
    return put(tar, block, TAR_BLOCK);
}

static mr_err put_file(struct tar *tar, const struct broker_source_file *file,
                       struct broker_manifest_file *entry, int64_t made_s)
{
    char name[64];
    mr_err err;

    tar->copy->path = file->from;
    tar->copy->offset = file->offset;
    err = broker_source_file(tar->copy->source, file, &tar->copy->in);
    if (err != MR_OK)
        return err;
    snprintf(name, sizeof(name), "files/%lld", (long long)entry->number);
    err = put_header(tar, name, file->bytes, made_s);
    if (err == MR_OK)
        err = broker_copy_run(tar->copy, 0, file->bytes, &entry->checksum);
    if (err == MR_OK)
        err = put_padding(tar, file->bytes);
    mr_fd_close(tar->copy->in);
    return err;
}

static mr_err put_manifest(struct tar *tar, struct broker_manifest *manifest)
{
    static const uint8_t end[2 * TAR_BLOCK];
    struct mr_buf text = {0};
    mr_err err;

    broker_manifest_print(manifest, &text);
    err = put_header(tar, BROKER_MANIFEST, (int64_t)text.length, manifest->made_ms / 1000);
    if (err == MR_OK)
        err = put(tar, text.data, text.length);
    if (err == MR_OK)
        err = put_padding(tar, (int64_t)text.length);
    if (err == MR_OK)
        err = put(tar, end, sizeof(end));
    mr_buf_fini(&text);
    return err;
}

mr_err broker_backup_stream(mr_str folder, bool running, int fd, struct broker_progress *progress,
                            struct broker_backup *out)
{
    struct broker_copy copy = {
        .out = fd, .path_out = "the backup's stream", .streams = true, .progress = progress};
    struct tar tar = {fd, &copy};
    struct broker_manifest manifest = {0};
    struct broker_source source;
    struct mr_clock clock;
    mr_err err = broker_source_open(folder, running, &source);

    *out = (struct broker_backup){0};
    if (err != MR_OK)
        return err;
    copy.source = &source;
    mr_clock_init(&clock);
    manifest.cluster = source.cluster;
    manifest.made_ms = out->made_ms = mr_clock_wall_us(&clock) / 1000;
    for (size_t i = 0; i < source.files.count; i++)
        copy.all += source.files.items[i].bytes;
    for (size_t i = 0; i < source.files.count && err == MR_OK; i++) {
        const struct broker_source_file *file = &source.files.items[i];
        struct broker_manifest_file *entry = mr_array_add(&manifest.files);
        *entry = (struct broker_manifest_file){
            .path = file->path, .number = (int64_t)i + 1, .bytes = file->bytes};
        err = put_file(&tar, file, entry, manifest.made_ms / 1000);
        out->bytes += file->bytes;
    }
    out->files = out->files_moved = manifest.files.count;
    out->bytes_moved = out->bytes;
    if (err == MR_OK)
        err = put_manifest(&tar, &manifest);
    broker_manifest_fini(&manifest);
    broker_source_close(&source);
    return err;
}
