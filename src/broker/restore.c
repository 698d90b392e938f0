/* broker/restore.c: a backup is read, and put back: into a folder under another name, which gets its own once every
 * file is there, has its checksum and is on the disk. A server never sees half of it. */
#include "broker/backup.h"
#include "broker/segment.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static mr_err manifest_open(const char *from, struct broker_manifest *manifest)
{
    mr_err err = broker_manifest_open(from, manifest);

    if (err == MR_NOT_FOUND)
        return mr_fail(MR_NOT_FOUND, "%s: expected a backup, found none (there is no file `%s`)",
                       from, BROKER_MANIFEST);
    if (err == MR_OK && manifest->cluster.length == 0) {
        broker_manifest_fini(manifest);
        *manifest = (struct broker_manifest){0};
        return mr_fail(MR_NOT_FOUND, "%s: a backup was begun there and never completed", from);
    }
    return err;
}

/* Reads one file of the backup; `out` -1: only that. */
static mr_err file_read(const char *from, const struct broker_manifest_file *file,
                        struct broker_copy *copy)
{
    char path[BROKER_PATH_BYTES * 2];
    struct stat status;
    uint32_t checksum = 0;
    mr_err err;

    snprintf(path, sizeof(path), "%s/files/%lld", from, (long long)file->number);
    copy->path = path;
    copy->in = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (copy->in < 0)
        return mr_fail(mr_err_from_errno(errno), "%s (%.*s): %s", path, MR_STR_ARG(file->path),
                       strerror(errno));
    if (fstat(copy->in, &status) != 0 || !S_ISREG(status.st_mode))
        err = mr_fail(MR_CORRUPT, "%s (%.*s): expected an ordinary file", path,
                      MR_STR_ARG(file->path));
    else
        err = broker_copy_run(copy, 0, file->bytes, &checksum);
    if (err == MR_OK && checksum != file->checksum)
        err = mr_fail(MR_CORRUPT,
                      "%s (%.*s): expected the checksum %08x over %lld bytes, found %08x", path,
                      MR_STR_ARG(file->path), file->checksum, (long long)file->bytes, checksum);
    mr_fd_close(copy->in);
    return err;
}

static void count(struct broker_backup *out, const struct broker_manifest *manifest)
{
    *out = (struct broker_backup){.files = manifest->files.count, .made_ms = manifest->made_ms};
    for (size_t i = 0; i < manifest->files.count; i++)
        out->bytes += manifest->files.items[i].bytes;
}

mr_err broker_backup_verify(mr_str from, struct mr_buf *text, struct broker_backup *out,
                            size_t *faults)
{
    struct broker_manifest manifest = {0};
    struct broker_copy copy = {.out = -1};
    char *folder = mr_copy_cstr(from);
    mr_err err = manifest_open(folder, &manifest);

    *faults = 0;
    count(out, &manifest);
    for (size_t i = 0; err == MR_OK && i < manifest.files.count; i++) {
        if (file_read(folder, &manifest.files.items[i], &copy) == MR_OK)
            continue;
        mr_buf_printf(text, "fault: %s\n", mr_why());
        (*faults)++;
    }
    broker_manifest_fini(&manifest);
    mr_free(folder);
    return err;
}

/* ---- putting back ---- */

static mr_err expect_unused(const char *folder)
{
    struct dirent *entry;
    mr_err err = MR_OK;
    DIR *dir = opendir(folder);

    if (dir == NULL)
        return errno == ENOENT
                   ? MR_OK
                   : mr_fail(mr_err_from_errno(errno), "%s: %s", folder, strerror(errno));
    while (err == MR_OK && (entry = readdir(dir)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            err = mr_fail(MR_EXISTS, "%s: expected an empty folder or none, found \"%s\" in it",
                          folder, entry->d_name);
    closedir(dir);
    return err;
}

static mr_err file_restore(const char *from, const char *into,
                           const struct broker_manifest_file *file, struct broker_copy *copy)
{
    bool secret = mr_str_equal(file->path, MR_STR("security"));
    struct mr_buf name = {0};
    char *path, *slash;
    mr_err err = MR_OK;

    mr_buf_printf(&name, "%s/%.*s", into, MR_STR_ARG(file->path));
    path = mr_buf_take_cstr(&name);
    slash = strrchr(path, '/');
    *slash = '\0';
    if (mkdir(path, 0755) != 0 && errno != EEXIST)
        err = mr_fail(mr_err_from_errno(errno), "%s: %s", path, strerror(errno));
    *slash = '/';
    if (err != MR_OK)
        goto out;
    copy->path_out = path;
    copy->out = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, secret ? 0600 : 0644);
    if (copy->out < 0)
        err = mr_fail(mr_err_from_errno(errno), "%s: %s", path, strerror(errno));
    else
        err = file_read(from, file, copy);
    mr_fd_close(copy->out);
out:
    mr_free(path);
    return err;
}

/* The first start on it has more to do than others: clients may have got further than the log (txn.c, topics.c). */
static mr_err mark_write(const char *into)
{
    char path[BROKER_PATH_BYTES * 2];

    snprintf(path, sizeof(path), "%s/restored", into);
    return mr_file_write(path, MR_STR("from a backup, and not started since\n"), 0644);
}

static mr_err sync_all(const char *into)
{
    int fd = open(into, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    mr_err err = MR_OK;

    if (fd < 0 || syncfs(fd) != 0)
        err = mr_fail(mr_err_from_errno(errno), "%s: %s", into, strerror(errno));
    mr_fd_close(fd);
    return err;
}

static mr_err restore_into(const char *from, const char *into,
                           const struct broker_manifest *manifest, struct broker_progress *progress,
                           const struct broker_backup *report)
{
    struct broker_copy copy = {.out = -1, .progress = progress, .all = report->bytes};
    struct mr_buf path = {0};
    char *topics;
    mr_err err;

    mr_buf_printf(&path, "%s/topics", into);
    topics = mr_buf_take_cstr(&path);
    err = mr_folder_make(topics, 0755);
    mr_free(topics);
    for (size_t i = 0; i < manifest->files.count && err == MR_OK; i++)
        err = file_restore(from, into, &manifest->files.items[i], &copy);
    if (err == MR_OK)
        err = mark_write(into);
    return err == MR_OK ? sync_all(into) : err;
}

mr_err broker_restore(mr_str from, mr_str folder, struct broker_progress *progress,
                      struct broker_backup *out)
{
    struct broker_manifest manifest = {0};
    struct mr_arena arena;
    const char *source, *target, *half;
    mr_err err;

    mr_arena_init(&arena);
    source = mr_arena_cstr(&arena, from);
    target = mr_arena_cstr(&arena, folder);
    half = mr_arena_printf(&arena, "%s.restore", target).data;
    err = expect_unused(target);
    if (err == MR_OK)
        err = manifest_open(source, &manifest);
    if (err != MR_OK)
        goto out;
    count(out, &manifest);
    err = mr_folder_remove(half); /* of a restore that was killed */
    if (err == MR_OK || err == MR_NOT_FOUND)
        err = restore_into(source, half, &manifest, progress, out);
    if (err != MR_OK) {
        char *why = mr_copy_cstr(mr_str_from(mr_why()));
        mr_folder_remove(half);
        err = mr_fail(err, "%s", why);
        mr_free(why);
        goto out;
    }
    rmdir(target); /* empty */
    if (rename(half, target) != 0)
        err = mr_fail(mr_err_from_errno(errno), "%s: %s", target, strerror(errno));
    else
        err = mr_folder_sync(mr_arena_printf(&arena, "%s/..", target).data);
out:
    broker_manifest_fini(&manifest);
    mr_arena_fini(&arena);
    return err;
}
