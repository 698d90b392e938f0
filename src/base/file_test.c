/* base/file_test.c: the promises of base/file.h. */
#include "story.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static char *path_in(struct story *t, const char *name)
{
    struct mr_buf buf = {0};
    mr_buf_printf(&buf, "%s/%s", t->folder, name);
    return mr_buf_take_cstr(&buf);
}

STORY("a file is written whole, with its mode, and read back")
{
    struct mr_buf buf = {0};
    struct stat found;
    char *path = path_in(t, "password");
    expect_ok(mr_file_write(path, MR_STR("first"), 0600));
    expect_ok(mr_file_write(path, MR_STR("second"), 0600));
    expect_ok(mr_file_read(path, 6, &buf));
    expect_str(mr_buf_as_str(&buf), MR_STR("second"));
    expect_int(stat(path, &found), 0);
    expect_int(found.st_mode & 0777, 0600);
    expect_err(mr_file_read(path, 5, &buf), MR_LIMIT);
    char *fresh = path_in(t, "password.new");
    expect(access(fresh, F_OK) != 0);
}

STORY("a missing file and a file in a folder's place are named")
{
    struct mr_buf buf = {0};
    char *path = path_in(t, "no/such");
    expect_err(mr_file_read(path, 100, &buf), MR_NOT_FOUND);
    expect(mr_str_find(mr_str_from(mr_why()), mr_str_from(path)) >= 0);
    path = path_in(t, "file");
    expect_ok(mr_file_write(path, MR_STR("x"), 0644));
    expect_err(mr_folder_make(path, 0755), MR_EXISTS);
}

STORY("folders are made with their parents and removed with all in them")
{
    char *deep = path_in(t, "a/b/c"), *file = path_in(t, "a/b/c/file"), *top = path_in(t, "a");
    expect_ok(mr_folder_make(deep, 0755));
    expect_ok(mr_folder_make(deep, 0755));
    expect_ok(mr_file_write(file, MR_STR("x"), 0644));
    expect_ok(mr_folder_sync(deep));
    expect_ok(mr_folder_remove(top));
    expect(access(top, F_OK) != 0);
    expect_err(mr_folder_remove(top), MR_NOT_FOUND);
}

STORY("reads and writes at an offset are whole, and a short file is corrupt")
{
    char *path = path_in(t, "data");
    char read[6] = {0};
    uint64_t free_bytes = 0, total_bytes = 0;
    int fd = open(path, O_RDWR | O_CREAT, 0644);
    expect_ok(mr_write_all(fd, "world", 5, 5));
    expect_ok(mr_write_all(fd, "hello", 5, 0));
    expect_ok(mr_read_all(fd, read, 5, 5));
    expect_str(mr_str_from(read), MR_STR("world"));
    expect_err(mr_read_all(fd, read, 5, 6), MR_CORRUPT);
    int taken = mr_fd_take(&fd);
    expect_int(fd, -1);
    mr_fd_close(taken);
    mr_fd_close(fd);
    expect_ok(mr_file_space(t->folder, &free_bytes, &total_bytes));
    expect(free_bytes <= total_bytes && total_bytes > 0);
}

STORY("a full device says so")
{
    int fd = open("/dev/full", O_WRONLY);
    expect(fd >= 0);
    expect_err(mr_write_all(fd, "x", 1, -1), MR_FULL);
    expect_int(mr_err_from_errno(EADDRINUSE), MR_BUSY);
    expect_int(mr_err_from_errno(EACCES), MR_DENIED);
    mr_fd_close(fd);
}
