/* test/story.c: runs the stories of one program, each in a child of its own, so that a crash is one
 * failure and not the end. Closes with `N passed, N failed`. */
#include "story.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STORY_SECONDS_MAX = 120 };

static struct story *first, **last = &first;

void story_add(struct story *story)
{
    *last = story;
    last = &story->next;
}

_Noreturn void story_fail(const char *file, int line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "    %s:%d: ", file, line);
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    fflush(NULL);
    _exit(1);
}

mr_str story_data(const char *name)
{
    const char *root = getenv("MILLRACE_SOURCE");
    struct mr_buf buf = {0};
    char path[1024];
    snprintf(path, sizeof path, "%s/test/data/%s", root == NULL ? "." : root, name);
    if (mr_file_read(path, 64u << 20, &buf) != MR_OK)
        story_fail(__FILE__, __LINE__, "%s", mr_why());
    return mr_buf_as_str(&buf);
}

struct mr_bytes *story_hex(mr_str text)
{
    struct mr_bytes *bytes = mr_bytes_new(text.length / 2 + 1);
    mr_str line;
    bytes->length = 0;
    while (mr_str_split(&text, '\n', &line)) {
        int high = -1;
        if (mr_str_starts(mr_str_trim(line), MR_STR("#")))
            continue;
        for (size_t i = 0; i < line.length; i++) {
            int digit = mr_hex_digit(line.data[i]);
            if (digit < 0)
                continue;
            if (high < 0) {
                high = digit;
            } else {
                bytes->data[bytes->length++] = (uint8_t)(high << 4 | digit);
                high = -1;
            }
        }
    }
    return bytes;
}

/* The child's life: an empty folder, the story, a clean end. */
static _Noreturn void story_live(struct story *story)
{
    setpgid(0, 0);
    alarm(STORY_SECONDS_MAX);
    story->tell(story);
    fflush(NULL);
    _exit(0);
}

static bool story_run(struct story *story)
{
    int status = 0;
    snprintf(story->folder, sizeof story->folder, "%s/millrace-story-XXXXXX",
             getenv("TMPDIR") == NULL ? "/tmp" : getenv("TMPDIR"));
    if (mkdtemp(story->folder) == NULL) {
        fprintf(stderr, "    no folder for the story: %s\n", strerror(errno));
        return false;
    }
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        story_live(story);
    if (child < 0)
        return false;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    kill(-child, SIGKILL); /* whatever the story has left running */
    mr_folder_remove(story->folder);
    if (WIFSIGNALED(status))
        fprintf(stderr, "    ended by signal %d%s\n", WTERMSIG(status),
                WTERMSIG(status) == SIGALRM ? " (too slow)" : "");
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int main(int argc, char **argv)
{
    int passed = 0, failed = 0;
    const char *word = argc > 1 ? argv[1] : "";
    bool list = strcmp(word, "-l") == 0;
    for (struct story *story = first; story != NULL; story = story->next) {
        if (list) {
            printf("%s:%d: %s\n", story->file, story->line, story->name);
            continue;
        }
        if (strstr(story->name, word) == NULL)
            continue;
        bool good = story_run(story);
        *(good ? &passed : &failed) += 1;
        fprintf(stderr, "%s %s\n", good ? "ok  " : "FAIL", story->name);
    }
    if (!list)
        printf("%d passed, %d failed\n", passed, failed);
    return failed > 0 || (passed == 0 && !list);
}
