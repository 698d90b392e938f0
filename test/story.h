/* test/story.h: stories in C. A file of stories is a program: link test/story.c with it. Each story
 * runs in a forked child; `-l` lists, a word runs the stories whose name has it. Every expectation
 * that fails prints both sides and the place, and ends its story. */
#ifndef TEST_STORY_H
#define TEST_STORY_H

#include "base/base.h"

struct story {
    const char *file;
    int line;
    const char *name;
    void (*tell)(struct story *t);
    struct story *next;
    char folder[256]; /* an empty folder of the story's own, removed afterwards */
};
void story_add(struct story *story);
_Noreturn void story_fail(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The whole content of test/data/NAME; ends the story when it is missing. Owner: the process. */
mr_str story_data(const char *name);
/* Bytes from hex text; white space and lines that begin with # are skipped. */
struct mr_bytes *story_hex(mr_str text);

#define STORY_JOIN2(a, b) a##b
#define STORY_JOIN(a, b) STORY_JOIN2(a, b)
#define STORY(text) STORY_AT(text, __LINE__)
#define STORY_AT(text, line)                                                                      \
    static void STORY_JOIN(story_tell_, line)(struct story * t);                                  \
    __attribute__((constructor)) static void STORY_JOIN(story_register_, line)(void)              \
    {                                                                                             \
        static struct story story = {__FILE__, line, text, STORY_JOIN(story_tell_, line), 0, ""}; \
        story_add(&story);                                                                        \
    }                                                                                             \
    static void STORY_JOIN(story_tell_, line)(struct story * t __attribute__((unused)))

#define expect(condition) \
    ((condition) ? (void)0 : story_fail(__FILE__, __LINE__, "expected: %s", #condition))
#define expect_int(actual, expected)                                                      \
    do {                                                                                  \
        long long story_a = (long long)(actual), story_e = (long long)(expected);         \
        if (story_a != story_e)                                                           \
            story_fail(__FILE__, __LINE__, "%s is %lld, expected %lld", #actual, story_a, \
                       story_e);                                                          \
    } while (0)
#define expect_str(actual, expected)                                                     \
    do {                                                                                 \
        mr_str story_a = (actual), story_e = (expected);                                 \
        if (!mr_str_equal(story_a, story_e))                                             \
            story_fail(__FILE__, __LINE__, "%s is \"%.*s\", expected \"%.*s\"", #actual, \
                       MR_STR_ARG(story_a), MR_STR_ARG(story_e));                        \
    } while (0)
#define expect_ok(call)                                                                     \
    do {                                                                                    \
        mr_err story_err = (call);                                                          \
        if (story_err != MR_OK)                                                             \
            story_fail(__FILE__, __LINE__, "%s gave %s: %s", #call, mr_err_name(story_err), \
                       mr_why());                                                           \
    } while (0)
#define expect_err(call, code)                                               \
    do {                                                                     \
        mr_err story_err = (call);                                           \
        if (story_err != (code))                                             \
            story_fail(__FILE__, __LINE__, "%s gave %s, expected %s", #call, \
                       mr_err_name(story_err), mr_err_name(code));           \
    } while (0)

#endif
