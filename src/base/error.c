/* base/error.c: the sentence of a thread's latest failure, and the end of the process on our own
 * mistakes. The sentence is kept by thread, so that a deep callee can explain without a parameter. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local char sentence[2048];

static const struct {
    const char *name, *text;
    bool retriable;
} rows[] = {
#define ERROR(name, retriable, text) {#name, text, retriable},
#include "base/errors.def"
};

mr_err mr_fail(mr_err code, const char *format, ...)
{
    char fresh[sizeof sentence]; /* an argument may be the present sentence */
    va_list args;
    va_start(args, format);
    vsnprintf(fresh, sizeof fresh, format, args);
    va_end(args);
    memcpy(sentence, fresh, strlen(fresh) + 1);
    return code;
}

const char *mr_why(void)
{
    return sentence;
}

const char *mr_err_name(mr_err err)
{
    return (unsigned)err < MR_ERR_COUNT ? rows[err].name : "?";
}

const char *mr_err_text(mr_err err)
{
    return (unsigned)err < MR_ERR_COUNT ? rows[err].text : "unknown error";
}

bool mr_err_retriable(mr_err err)
{
    return (unsigned)err < MR_ERR_COUNT && rows[err].retriable;
}

_Noreturn void mr_assert_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "millrace: broken invariant at %s:%d: %s\n", file, line, condition);
    abort();
}
