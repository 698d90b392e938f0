/* base/error.h: how a function says what went wrong (house rule: section "Errors").
 * An mr_err is returned; the sentence stays with the thread until the next mr_fail. */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <stdbool.h>

typedef enum mr_err {
#define ERROR(name, retriable, text) MR_##name,
#include "base/errors.def"
    MR_ERR_COUNT
} mr_err;

/* Records the sentence (thing, expected, found) for this thread and returns `code`. The sentence is
 * cut at 2047 bytes. An argument may be the present mr_why(). Thread: any. */
mr_err mr_fail(mr_err code, const char *format, ...) __attribute__((format(printf, 2, 3), cold));

/* The sentence of the thread's latest mr_fail; never NULL. Valid until the next mr_fail. */
const char *mr_why(void);

/* "IO", "NOT_FOUND", ... and the row's text. */
const char *mr_err_name(mr_err err);
const char *mr_err_text(mr_err err);
/* Whether the same call may succeed later by itself. */
bool mr_err_retriable(mr_err err);

/* Our own mistakes: kept in release builds; prints the place and aborts. Never on a stranger's input. */
#define mr_assert(condition)                                  \
    do {                                                      \
        if (__builtin_expect(!(condition), 0))                \
            mr_assert_failed(#condition, __FILE__, __LINE__); \
    } while (0)
_Noreturn void mr_assert_failed(const char *condition, const char *file, int line);

#endif
