/* broker/backup.c: makes and renews a backup.
 *
 *   lock -> manifest of the last one -> what is left of a killed one goes -> source -> each file -> sync
 *        -> new manifest -> what only the last one had goes
 *
 * Each file: -it is the one that was copied before-> nothing, or what was added to it since
 *            -it will never change, and the disk is the same-> a second name (hard link)
 *            -else-> copied, under a new number
 * A file is the one that was copied before when it is the same segment of the same run of the broker (its serial),
 * since segments only grow; or has the same inode, length and time; or when its bytes are the same, which is then looked
 * at. So an inode that was given to another file is never taken for the old one. */
#include "broker/backup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { COPY_BYTES = 1 << 20 };

struct backup {
    const char *into;
    int folder_fd; /* locked */
    struct mr_arena arena;
    struct broker_manifest last, fresh;
    struct broker_source source;
    struct broker_copy copy;
    int64_t number; /* of the next file */
    struct broker_backup *report;
};

/* ---- bytes ---- */

static void tell(struct broker_copy *copy, int64_t bytes)
{
    copy->done += bytes;
    if (copy->progress != NULL)
        copy->progress->tell(copy->progress, copy->done, copy->all);
}

void broker_copy_skip(struct broker_copy *copy, int64_t bytes)
{
    tell(copy, bytes);
}

mr_err broker_copy_run(struct broker_copy *copy, int64_t from, int64_t to, uint32_t *checksum)
{
    uint8_t *buffer = mr_alloc(COPY_BYTES);
    mr_err err = MR_OK;

    while (from < to && err == MR_OK) {
        size_t bytes = to - from < COPY_BYTES ? (size_t)(to - from) : COPY_BYTES;
        err = mr_read_all(copy->in, buffer, bytes, copy->offset + from);
        if (err != MR_OK) {
            err = mr_fail(err, "%s: %s", copy->path, mr_why());
            break;
        }
        *checksum = mr_crc32c(*checksum, buffer, bytes);
        if (copy->out >= 0)
            err = mr_write_all(copy->out, buffer, bytes, copy->streams ? -1 : from);
        if (err != MR_OK)
            err = mr_fail(err, "%s: %s", copy->path_out, mr_why());
        from += (int64_t)bytes;
        tell(copy, (int64_t)bytes);
        if (err == MR_OK && copy->source != NULL)
            err = broker_source_goes_on(copy->source);
    }
    mr_free(buffer);
    return err;
}

/* Whether the first `bytes` of what is copied and of `b` are the same. */
static mr_err same_bytes(const struct broker_copy *copy, int b, int64_t bytes, bool *same)
{
    uint8_t *left = mr_alloc(COPY_BYTES), *right = mr_alloc(COPY_BYTES);
    mr_err err = MR_OK;

    *same = true;
    for (int64_t at = 0; at < bytes && *same && err == MR_OK;) {
        size_t part = bytes - at < COPY_BYTES ? (size_t)(bytes - at) : COPY_BYTES;
        err = mr_read_all(copy->in, left, part, copy->offset + at);
        if (err == MR_OK)
            err = mr_read_all(b, right, part, at);
        if (err == MR_CORRUPT) { /* one of them is shorter */
            *same = false;
            err = MR_OK;
            break;
        }
        *same = err == MR_OK && memcmp(left, right, part) == 0;
        at += (int64_t)part;
        if (err == MR_OK)
            err = broker_source_goes_on(copy->source);
    }
    mr_free(left);
    mr_free(right);
    return err;
}

/* ---- the folder ---- */

static const char *file_path(struct backup *backup, int64_t number)
{
    return mr_arena_printf(&backup->arena, "%s/files/%lld", backup->into, (long long)number).data;
}

/* Nothing but a backup, or the beginning of one, is ever written over. */
static mr_err expect_empty(const char *into)
{
    struct dirent *entry;
    mr_err err = MR_OK;
    DIR *folder = opendir(into);

    if (folder == NULL)
        return mr_fail(mr_err_from_errno(errno), "%s: %s", into, strerror(errno));
    while (err == MR_OK && (entry = readdir(folder)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            strcmp(entry->d_name, BROKER_MANIFEST ".new") != 0)
            err = mr_fail(MR_EXISTS, "%s: expected a backup or an empty folder, found \"%s\" in it",
                          into, entry->d_name);
    closedir(folder);
    return err;
}

static mr_err manifest_write(const struct backup *backup, struct broker_manifest *manifest)
{
    struct mr_buf text = {0}, path = {0};
    char *where;
    mr_err err;

    broker_manifest_print(manifest, &text);
    mr_buf_printf(&path, "%s/" BROKER_MANIFEST, backup->into);
    where = mr_buf_take_cstr(&path);
    err = mr_file_write(where, mr_buf_as_str(&text), 0600);
    mr_buf_fini(&text);
    mr_free(where);
    return err;
}

static mr_err folder_open(struct backup *backup)
{
    mr_err err = mr_folder_make(backup->into, 0700);

    if (err != MR_OK)
        return err;
    backup->folder_fd = open(backup->into, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (backup->folder_fd < 0)
        return mr_fail(mr_err_from_errno(errno), "%s: %s", backup->into, strerror(errno));
    if (flock(backup->folder_fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return mr_fail(MR_BUSY, "%s: another backup is being made there", backup->into);
    err = broker_manifest_open(backup->into, &backup->last);
    if (err ==
        MR_NOT_FOUND) { /* an empty manifest marks it as ours before anything else is there */
        err = expect_empty(backup->into);
        if (err == MR_OK)
            err = manifest_write(backup, &backup->last);
    }
    if (err == MR_OK)
        err = mr_folder_make(mr_arena_printf(&backup->arena, "%s/files", backup->into).data, 0700);
    return err;
}

/* Leaves what the manifest tells of, as it was: what a run that was killed or failed, or the one before has besides
 * goes. A file that has another name too is a segment of the log, and is not cut. */
static void files_trim(struct backup *backup, const struct broker_manifest *manifest)
{
    const char *path = mr_arena_printf(&backup->arena, "%s/files", backup->into).data;
    struct mr_map known = {0};
    struct dirent *entry;
    DIR *folder = opendir(path);

    for (size_t i = 0; i < manifest->files.count; i++) {
        char name[32];
        snprintf(name, sizeof(name), "%lld", (long long)manifest->files.items[i].number);
        mr_map_put(&known, mr_str_from(name), &manifest->files.items[i]);
    }
    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        const struct broker_manifest_file *file = mr_map_get(&known, mr_str_from(entry->d_name));
        struct stat status;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (file == NULL)
            unlinkat(dirfd(folder), entry->d_name, 0);
        else if (fstatat(dirfd(folder), entry->d_name, &status, 0) == 0 && status.st_nlink == 1 &&
                 status.st_size > file->bytes &&
                 truncate(file_path(backup, file->number), file->bytes) != 0)
            mr_log(MR_LOG_WARN, "broker", "%s/%s: %s", path, entry->d_name, strerror(errno));
    }
    if (folder != NULL)
        closedir(folder);
    mr_map_fini(&known);
}

/* ---- one file ---- */

static int64_t changed_ns(const struct stat *status)
{
    return (int64_t)status->st_mtim.tv_sec * 1000000000 + status->st_mtim.tv_nsec;
}

/* Whether what the last backup has of it is still its beginning, and may be made longer. */
static mr_err is_same(const struct backup *backup, const struct broker_source_file *file,
                      const struct stat *status, const struct broker_manifest_file *last, int kept,
                      bool *same)
{
    bool inode = (uint64_t)status->st_ino == last->inode;
    bool grown = file->bytes > last->bytes;
    struct stat there;

    *same = false;
    if (kept < 0 || fstat(kept, &there) != 0 || there.st_size < last->bytes ||
        file->bytes < last->bytes || (grown && !mr_str_ends(file->path, MR_STR(".log"))))
        return MR_OK; /* lost, or something else: it is copied anew */
    if (grown && there.st_nlink > 1 &&
        (there.st_ino != status->st_ino || there.st_dev != status->st_dev))
        return MR_OK; /* it is some other log's, too */
    *same = (file->serial != 0 && file->serial == last->serial &&
             backup->source.run == backup->last.run) ||
            (inode && !grown && changed_ns(status) == last->changed_ns);
    return *same ? MR_OK : same_bytes(&backup->copy, kept, last->bytes, same);
}

/* What was added since goes behind what is there. */
static mr_err file_lengthen(struct backup *backup, const struct broker_source_file *file,
                            const struct stat *status, int fd, struct broker_manifest_file *kept)
{
    struct stat there;
    mr_err err;

    broker_copy_skip(&backup->copy, kept->bytes);
    if (kept->bytes == file->bytes)
        return MR_OK;
    backup->copy.path_out = file_path(backup, kept->number);
    if (fstat(fd, &there) != 0)
        return mr_fail(MR_IO, "%s: %s", backup->copy.path_out, strerror(errno));
    /* A segment under a second name has grown by itself. */
    backup->copy.out = there.st_ino == status->st_ino && there.st_dev == status->st_dev ? -1 : fd;
    backup->report->files_moved++;
    backup->report->bytes_moved += file->bytes - kept->bytes;
    err = broker_copy_run(&backup->copy, kept->bytes, file->bytes, &kept->checksum);
    kept->bytes = file->bytes;
    return err;
}

static mr_err file_copy(struct backup *backup, const struct broker_source_file *file,
                        struct broker_manifest_file *fresh)
{
    const char *path = file_path(backup, fresh->number);
    bool linked = !file->growing && mr_str_ends(file->path, MR_STR(".log")) &&
                  link(file->from, path) == 0;
    int fd = -1;
    mr_err err;

    if (!linked) {
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (fd < 0)
            return mr_fail(mr_err_from_errno(errno), "%s: %s", path, strerror(errno));
    }
    backup->copy.out = fd;
    backup->copy.path_out = path;
    err = broker_copy_run(&backup->copy, 0, file->bytes, &fresh->checksum);
    fresh->bytes = file->bytes;
    backup->report->files_moved++;
    backup->report->files_linked += linked;
    backup->report->bytes_moved += linked ? 0 : file->bytes;
    mr_fd_close(fd);
    return err;
}

static mr_err file_backup(struct backup *backup, const struct broker_source_file *file)
{
    const struct broker_manifest_file *last = broker_manifest_find(&backup->last, file->path);
    struct broker_manifest_file *entry = mr_array_add(&backup->fresh.files);
    struct stat status;
    bool same = false;
    int kept = -1;
    mr_err err;

    *entry = (struct broker_manifest_file){.path = file->path};
    err = broker_source_file(&backup->source, file, &backup->copy.in);
    if (err != MR_OK)
        return err;
    backup->copy.path = file->from;
    backup->copy.offset = file->offset;
    if (fstat(backup->copy.in, &status) != 0) {
        err = mr_fail(mr_err_from_errno(errno), "%s: %s", file->from, strerror(errno));
        goto out;
    }
    if (last != NULL) {
        kept = open(file_path(backup, last->number), O_RDWR | O_CLOEXEC);
        err = is_same(backup, file, &status, last, kept, &same);
    }
    if (err == MR_OK && same) {
        *entry = *last;
        err = file_lengthen(backup, file, &status, kept, entry);
    } else if (err == MR_OK) {
        entry->number = backup->number++;
        err = file_copy(backup, file, entry);
    }
    entry->path = file->path;
    entry->serial = file->serial;
    entry->inode = status.st_ino;
    entry->changed_ns = changed_ns(&status);
    backup->report->files++;
    backup->report->bytes += file->bytes;
out:
    mr_fd_close(kept);
    mr_fd_close(backup->copy.in);
    return err;
}

/* ---- the whole ---- */

static mr_err files_backup(struct backup *backup)
{
    const struct broker_source *source = &backup->source;
    struct broker_manifest *fresh = &backup->fresh;
    struct mr_clock clock;
    mr_err err = MR_OK;

    mr_clock_init(&clock);
    fresh->cluster = source->cluster;
    fresh->run = source->run;
    fresh->made_ms = backup->report->made_ms = mr_clock_wall_us(&clock) / 1000;
    backup->number = 1;
    if (backup->last.files.count > 0)
        backup->number = backup->last.files.items[backup->last.files.count - 1].number + 1;
    for (size_t i = 0; i < source->files.count; i++)
        backup->copy.all += source->files.items[i].bytes;
    for (size_t i = 0; i < source->files.count && err == MR_OK; i++)
        err = file_backup(backup, &source->files.items[i]);
    if (err == MR_OK && syncfs(backup->folder_fd) != 0)
        err = mr_fail(mr_err_from_errno(errno), "%s: %s", backup->into, strerror(errno));
    return err;
}

static mr_err backup_run(struct backup *backup, mr_str folder, bool running)
{
    mr_err err = folder_open(backup);

    if (err != MR_OK)
        return err;
    files_trim(backup, &backup->last);
    err = broker_source_open(folder, running, &backup->source);
    if (err != MR_OK)
        return err;
    if (backup->last.cluster.length > 0 &&
        !mr_str_equal(backup->last.cluster, backup->source.cluster))
        return mr_fail(MR_CONFLICT, "%s: is the backup of another log (cluster %.*s, not %.*s)",
                       backup->into, MR_STR_ARG(backup->last.cluster),
                       MR_STR_ARG(backup->source.cluster));
    err = files_backup(backup);
    if (err != MR_OK) {
        char *why = mr_copy_cstr(mr_str_from(mr_why()));
        files_trim(backup, &backup->last);
        err = mr_fail(err, "%s", why);
        mr_free(why);
        return err;
    }
    err = manifest_write(backup, &backup->fresh);
    if (err == MR_OK) /* else it may be there or not: the next run looks */
        files_trim(backup, &backup->fresh);
    return err;
}

mr_err broker_backup(mr_str folder, bool running, mr_str into, struct broker_progress *progress,
                     struct broker_backup *out)
{
    struct backup backup = {.folder_fd = -1, .report = out, .copy.progress = progress};
    mr_err err;

    *out = (struct broker_backup){0};
    backup.copy.source = &backup.source;
    mr_arena_init(&backup.arena);
    backup.into = mr_arena_cstr(&backup.arena, into);
    err = backup_run(&backup, folder, running);
    broker_source_close(&backup.source);
    broker_manifest_fini(&backup.last);
    broker_manifest_fini(&backup.fresh);
    mr_arena_fini(&backup.arena);
    mr_fd_close(backup.folder_fd);
    return err;
}
