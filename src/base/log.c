/* base/log.c: one line an event, written by one write() to a descriptor opened for appending, so that
 * threads need no lock and lines stay whole. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/counter.h"
#include "base/file.h"

enum { LINE_BYTES = 4000 };

static atomic_int log_fd = STDERR_FILENO;
static atomic_int lowest_level = MR_LOG_INFO;

/* Control characters as \xNN: a stranger's text cannot forge a line. Returns the length. */
static size_t escape(const char *text, char *out, size_t room)
{
    size_t length = 0;
    for (; *text != '\0' && length + 5 < room; text++) {
        unsigned char c = (unsigned char)*text;
        if (c < 0x20 || c == 0x7F)
            length += (size_t)snprintf(out + length, room - length, "\\x%02x", c);
        else
            out[length++] = *text;
    }
    return length;
}

void mr_log(enum mr_log_level level, const char *room, const char *format, ...)
{
    static const char *const words[] = {"DEBUG", "INFO ", "WARN ", "ERROR"};
    char text[LINE_BYTES], line[LINE_BYTES], when[32];
    struct mr_clock clock;
    if ((int)level < atomic_load_explicit(&lowest_level, memory_order_relaxed))
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    mr_clock_init(&clock);
    mr_time_format(mr_clock_wall_us(&clock), 3, when);
    size_t length = (size_t)snprintf(line, sizeof line, "%s %s %s: ", when,
                                     words[(unsigned)level & 3], room);
    length += escape(text, line + length, sizeof line - length);
    line[length++] = '\n';
    if (write(atomic_load(&log_fd), line, length) < 0)
        return; /* there is no place left to say so */
}

void mr_log_level_set(enum mr_log_level lowest)
{
    atomic_store(&lowest_level, (int)lowest);
}

mr_err mr_log_open(const char *path)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0)
        return mr_fail(mr_err_from_errno(errno), "log file %s: %s", path, strerror(errno));
    int old = atomic_exchange(&log_fd, fd);
    if (old != STDERR_FILENO)
        mr_fd_close(old);
    return MR_OK;
}
