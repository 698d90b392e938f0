/* test/broker/forgetful.c: a file layer that a story loads before the program (LD_PRELOAD). Everything goes
 * to the disk as ever, and what was done below FORGETFUL_ROOT is noted in FORGETFUL_NOTES: writes with their
 * bytes, syncs with their beginning and end, names given and taken. From the notes power_loss.py makes the
 * folder that a power loss at any moment might have left: what was synced, and any part of the rest.
 *
 * A note: kind u8, descriptor i32, time i64 (monotonic ns), offset i64, length u32, then so many bytes
 * (data, or one path, or two paths with a NUL between). One write() to a file opened for appending, so notes of
 * several threads do not mix and survive the process. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { FDS = 1 << 16 };
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *root;
static size_t root_length;
static int notes = -1;
static bool known[FDS];

static void __attribute__((constructor)) begin(void)
{
    const char *path = getenv("FORGETFUL_NOTES");
    root = getenv("FORGETFUL_ROOT");
    if (path == NULL || root == NULL)
        return;
    root_length = strlen(root);
    notes = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC,
                         0600);
}

static bool is_ours(const char *path)
{
    return notes >= 0 && strncmp(path, root, root_length) == 0;
}

static void note(char kind, int fd, int64_t offset, const struct iovec *parts, int count)
{
    struct {
        uint8_t kind;
        int32_t fd;
        int64_t time, offset;
        uint32_t length;
    } __attribute__((packed)) head = {(uint8_t)kind, fd, 0, offset, 0};
    struct iovec all[1025] = {{&head, sizeof head}};
    struct timespec now;

    for (int i = 0; i < count; i++) {
        all[i + 1] = parts[i];
        head.length += (uint32_t)parts[i].iov_len;
    }
    pthread_mutex_lock(&lock);
    clock_gettime(CLOCK_MONOTONIC, &now);
    head.time = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    if (syscall(SYS_writev, notes, all, count + 1) != (long)(sizeof head + head.length))
        abort();
    pthread_mutex_unlock(&lock);
}

static void note_path(char kind, int fd, const char *path)
{
    struct iovec part = {(void *)(uintptr_t)path, strlen(path)};
    note(kind, fd, 0, &part, 1);
}

/* ---- names ---- */

static int opened(const char *path, int flags, mode_t mode)
{
    bool there = access(path, F_OK) == 0;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    if (fd < 0 || fd >= FDS || !is_ours(path))
        return fd;
    known[fd] = true;
    note_path(!there ? 'c' : (flags & O_TRUNC) != 0 ? 't' : 'o', fd, path);
    return fd;
}

int open(const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    return opened(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    return opened(path, flags, mode);
}

int close(int fd)
{
    if (fd >= 0 && fd < FDS && known[fd]) {
        known[fd] = false;
        note('x', fd, 0, NULL, 0);
    }
    return (int)syscall(SYS_close, fd);
}

int mkdir(const char *path, mode_t mode)
{
    int result = (int)syscall(SYS_mkdir, path, mode);
    if (result == 0 && is_ours(path))
        note_path('m', -1, path);
    return result;
}

int unlink(const char *path)
{
    int result = (int)syscall(SYS_unlink, path);
    if (result == 0 && is_ours(path))
        note_path('u', -1, path);
    return result;
}

int rmdir(const char *path)
{
    int result = (int)syscall(SYS_rmdir, path);
    if (result == 0 && is_ours(path))
        note_path('u', -1, path);
    return result;
}

int rename(const char *from, const char *to)
{
    int result = (int)syscall(SYS_rename, from, to);
    struct iovec parts[] = {{(void *)(uintptr_t)from, strlen(from) + 1},
                            {(void *)(uintptr_t)to, strlen(to)}};
    if (result == 0 && is_ours(from))
        note('r', -1, 0, parts, 2);
    return result;
}

/* ---- bytes ---- */

static bool is_known(int fd)
{
    return fd >= 0 && fd < FDS && known[fd];
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    ssize_t put = syscall(SYS_pwritev, fd, parts, count, offset, 0);
    if (put < 0 || !is_known(fd))
        return put;
    struct iovec done[1024];
    size_t left = (size_t)put;
    int used = 0;
    for (; left > 0; used++) {
        done[used] = parts[used];
        if (done[used].iov_len > left)
            done[used].iov_len = left;
        left -= done[used].iov_len;
    }
    note('w', fd, offset, done, used);
    return put;
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset)
{
    return pwritev(fd, parts, count, offset);
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset)
{
    ssize_t put = syscall(SYS_pwrite64, fd, data, length, offset);
    struct iovec part = {(void *)(uintptr_t)data, put < 0 ? 0 : (size_t)put};
    if (put > 0 && is_known(fd))
        note('w', fd, offset, &part, 1);
    return put;
}

ssize_t pwrite64(int fd, const void *data, size_t length, off_t offset)
{
    return pwrite(fd, data, length, offset);
}

ssize_t write(int fd, const void *data, size_t length)
{
    off_t at = is_known(fd) ? lseek(fd, 0, SEEK_CUR) : 0;
    ssize_t put = syscall(SYS_write, fd, data, length);
    struct iovec part = {(void *)(uintptr_t)data, put < 0 ? 0 : (size_t)put};
    if (put > 0 && is_known(fd))
        note('w', fd, at, &part, 1);
    return put;
}

int ftruncate(int fd, off_t length)
{
    int result = (int)syscall(SYS_ftruncate, fd, length);
    if (result == 0 && is_known(fd))
        note('l', fd, length, NULL, 0);
    return result;
}

int ftruncate64(int fd, off64_t length)
{
    return ftruncate(fd, length);
}

static int synced(long call, int fd)
{
    bool ours = is_known(fd);
    if (ours)
        note('s', fd, 0, NULL, 0);
    int result = (int)syscall(call, fd);
    if (ours && result == 0)
        note('S', fd, 0, NULL, 0);
    return result;
}

int fsync(int fd)
{
    return synced(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    return synced(SYS_fdatasync, fd);
}
