/* base/file.h: files and folders, with errors as sentences that name the path. All block: disk
 * threads, start-up and shells only (except mr_fd_*). */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include "base/buf.h"

void mr_fd_close(int fd);             /* accepts -1 */
static inline int mr_fd_take(int *fd) /* moves ownership */
{
    int taken = *fd;
    *fd = -1;
    return taken;
}
/* The error that errno stands for: ENOENT NOT_FOUND, EACCES DENIED, ENOSPC/EDQUOT FULL, else IO... */
mr_err mr_err_from_errno(int number);
mr_err mr_file_read(const char *path, size_t bytes_max, struct mr_buf *out); /* appends */
/* Whole file by a temporary name, fdatasync, rename, fsync of the folder. `mode` e.g. 0600. */
mr_err mr_file_write(const char *path, mr_str content, unsigned mode);
mr_err mr_folder_make(const char *path, unsigned mode); /* with parents, synced; exists: ok */
mr_err mr_folder_remove(const char *path);              /* with all in it */
mr_err mr_folder_sync(const char *path);
mr_err mr_write_all(int fd, const void *data, size_t length,
                    int64_t offset); /* pwrite, whole; offset -1: write */
mr_err mr_read_all(int fd, void *data, size_t length, int64_t offset); /* MR_CORRUPT when shorter */
mr_err mr_file_space(const char *path, uint64_t *free_bytes, uint64_t *total_bytes);

#endif
