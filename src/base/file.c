/* base/file.c: files and folders, with errors as sentences that name the path. */
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

void mr_fd_close(int fd)
{
    if (fd >= 0)
        close(fd);
}

mr_err mr_err_from_errno(int number)
{
    switch (number) {
    case ENOENT:
    case ENOTDIR:
        return MR_NOT_FOUND;
    case EEXIST:
        return MR_EXISTS;
    case EACCES:
    case EPERM:
    case EROFS:
        return MR_DENIED;
    case ENOSPC:
    case EDQUOT:
    case EFBIG: /* a limit on the size of files */
        return MR_FULL;
    case EMFILE:
    case ENFILE:
        return MR_LIMIT;
    case EADDRINUSE:
    case EBUSY:
        return MR_BUSY;
    case EAGAIN:
        return MR_AGAIN;
    case ECONNRESET:
    case EPIPE:
        return MR_CLOSED;
    case ECONNREFUSED:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EADDRNOTAVAIL:
        return MR_UNREACHABLE;
    case ETIMEDOUT:
        return MR_TIMEOUT;
    default:
        return MR_IO;
    }
}

/* The sentence for a failed call on a path. */
static mr_err path_fail(const char *path)
{
    int number = errno;
    return mr_fail(mr_err_from_errno(number), "%s: %s", path, strerror(number));
}

mr_err mr_file_read(const char *path, size_t bytes_max, struct mr_buf *out)
{
    mr_err err = MR_OK;
    size_t total = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return path_fail(path);
    for (;;) {
        size_t chunk = 65536;
        mr_buf_reserve(out, chunk);
        if (out->err != MR_OK) {
            err = out->err;
            break;
        }
        ssize_t got = read(fd, out->data + out->length, chunk);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            err = path_fail(path);
        if (got <= 0)
            break;
        total += (size_t)got;
        if (total > bytes_max) {
            err = mr_fail(MR_LIMIT, "%s: at most %zu bytes, it is larger", path, bytes_max);
            break;
        }
        out->length += (size_t)got;
    }
    mr_fd_close(fd);
    return err;
}

mr_err mr_write_all(int fd, const void *data, size_t length, int64_t offset)
{
    const char *at = data;
    while (length > 0) {
        ssize_t put = offset < 0 ? write(fd, at, length) : pwrite(fd, at, length, offset);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return mr_fail(mr_err_from_errno(errno), "writing: %s", strerror(errno));
        at += put;
        length -= (size_t)put;
        offset += offset < 0 ? 0 : put;
    }
    return MR_OK;
}

mr_err mr_read_all(int fd, void *data, size_t length, int64_t offset)
{
    char *at = data;
    while (length > 0) {
        ssize_t got = offset < 0 ? read(fd, at, length) : pread(fd, at, length, offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return mr_fail(mr_err_from_errno(errno), "reading: %s", strerror(errno));
        if (got == 0)
            return mr_fail(MR_CORRUPT, "reading: the file ends %zu bytes too early", length);
        at += got;
        length -= (size_t)got;
        offset += offset < 0 ? 0 : got;
    }
    return MR_OK;
}

mr_err mr_folder_sync(const char *path)
{
    mr_err err = MR_OK;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return path_fail(path);
    if (fsync(fd) < 0)
        err = path_fail(path);
    mr_fd_close(fd);
    return err;
}

/* The folder that a path lies in; owner: the caller. */
static char *parent_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        return mr_copy_cstr(MR_STR("."));
    return mr_copy_cstr(mr_str_of(path, slash == path ? 1 : (size_t)(slash - path)));
}

mr_err mr_file_write(const char *path, mr_str content, unsigned mode)
{
    mr_err err = MR_OK;
    struct mr_buf name = {0};
    mr_buf_printf(&name, "%s.new", path);
    char *fresh = mr_buf_take_cstr(&name);
    char *parent = parent_of(path);
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, (mode_t)mode);
    if (fd < 0) {
        err = path_fail(fresh);
        goto out;
    }
    err = mr_write_all(fd, content.data, content.length, -1);
    if (err != MR_OK)
        err = mr_fail(err, "%s: %s", fresh, mr_why());
    else if (fchmod(fd, (mode_t)mode) < 0 || fdatasync(fd) < 0 || rename(fresh, path) < 0)
        err = path_fail(path);
    else
        err = mr_folder_sync(parent);
    if (err != MR_OK)
        unlink(fresh);
out:
    mr_fd_close(fd);
    mr_free(fresh);
    mr_free(parent);
    return err;
}

mr_err mr_folder_make(const char *path, unsigned mode)
{
    struct stat found;
    mr_err err = MR_OK;
    if (stat(path, &found) == 0) {
        if (S_ISDIR(found.st_mode))
            return MR_OK;
        return mr_fail(MR_EXISTS, "%s: a folder is expected, it is a file", path);
    }
    if (errno != ENOENT)
        return path_fail(path);
    char *parent = parent_of(path);
    if (strcmp(parent, path) != 0)
        err = mr_folder_make(parent, mode);
    if (err == MR_OK && mkdir(path, (mode_t)mode) < 0 && errno != EEXIST)
        err = path_fail(path);
    else if (err == MR_OK)
        err = mr_folder_sync(parent); /* else what is synced in it may be found nowhere */
    mr_free(parent);
    return err;
}

mr_err mr_folder_remove(const char *path)
{
    mr_err err = MR_OK;
    struct dirent *entry;
    DIR *folder = opendir(path);
    if (folder == NULL)
        return path_fail(path);
    while (err == MR_OK && (entry = readdir(folder)) != NULL) {
        struct stat found;
        struct mr_buf name = {0};
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        mr_buf_printf(&name, "%s/%s", path, entry->d_name);
        char *child = mr_buf_take_cstr(&name);
        if (lstat(child, &found) < 0)
            err = errno == ENOENT ? MR_OK : path_fail(child);
        else if (S_ISDIR(found.st_mode))
            err = mr_folder_remove(child);
        else if (unlink(child) < 0 && errno != ENOENT)
            err = path_fail(child);
        mr_free(child);
    }
    closedir(folder);
    if (err == MR_OK && rmdir(path) < 0)
        err = path_fail(path);
    return err;
}

mr_err mr_file_space(const char *path, uint64_t *free_bytes, uint64_t *total_bytes)
{
    struct statvfs space;
    if (statvfs(path, &space) < 0)
        return path_fail(path);
    *free_bytes = (uint64_t)space.f_bavail * space.f_frsize;
    *total_bytes = (uint64_t)space.f_blocks * space.f_frsize;
    return MR_OK;
}
