/* scheduler/task_run.c: the verb `run`: a program through the shell. What it prints is the step's log;
 * its exit status decides. It gets a process group of its own, which is killed when the try is over. */
#include "scheduler/run.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

struct program {
    struct scheduler_task *task;
    pid_t pid;
    struct mr_watch output; /* the pipe of its standard output and error */
    struct mr_watch end;    /* its pidfd: readable once it has ended */
};

static void program_free(struct program *program)
{
    mr_watch_set(program->task->loop, &program->output, 0);
    mr_watch_set(program->task->loop, &program->end, 0);
    mr_fd_close(program->output.fd);
    mr_fd_close(program->end.fd);
    program->task->state = NULL;
    mr_free(program);
}

/* The lines that are there now; false at the end of the output. */
static bool read_output(struct program *program)
{
    char text[8192];
    for (;;) {
        ssize_t length = read(program->output.fd, text, sizeof text);
        if (length > 0 && program->task->log.length < SCHEDULER_LOG_BYTES_MAX)
            mr_buf_add(&program->task->log, text, (size_t)length);
        if (length == 0 || (length < 0 && errno != EAGAIN && errno != EINTR))
            return false;
        if (length < 0 && errno == EAGAIN)
            return true;
    }
}

static void output_ready(struct mr_watch *watch, uint32_t events)
{
    struct program *program = mr_container(watch, struct program, output);
    (void)events;
    if (!read_output(program))
        mr_watch_set(program->task->loop, watch, 0);
}

static void end_ready(struct mr_watch *watch, uint32_t events)
{
    struct program *program = mr_container(watch, struct program, end);
    struct scheduler_task *task = program->task;
    int status = 0;
    (void)events;
    if (waitpid(program->pid, &status, WNOHANG) != program->pid)
        return;
    read_output(program);
    kill(-program->pid, SIGKILL); /* what it has left behind in its group */
    program_free(program);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        scheduler_task_end(task, MR_OK);
    else if (WIFEXITED(status))
        scheduler_task_end(task,
                           mr_fail(MR_IO, "the program ended with status %d", WEXITSTATUS(status)));
    else
        scheduler_task_end(task,
                           mr_fail(MR_IO, "the program was ended by signal %d", WTERMSIG(status)));
}

static void cancel(struct scheduler_task *task)
{
    struct program *program = task->state;
    kill(-program->pid, SIGKILL);
    waitpid(program->pid, NULL, 0); /* killed: this does not wait for a peer */
    program_free(program);
}

static mr_err spawn(const char *command, int output, pid_t *pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, defaults;
    char *argv[] = {"sh", "-c", (char *)(uintptr_t)command, NULL};
    sigemptyset(&none);
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, output, 1);
    posix_spawn_file_actions_adddup2(&actions, output, 2);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                              POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    int failed = posix_spawn(pid, "/bin/sh", &actions, &attributes, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return failed == 0 ? MR_OK : mr_fail(MR_IO, "/bin/sh: %s", strerror(failed));
}

static void start(struct scheduler_task *task)
{
    int pipes[2];
    pid_t pid = 0;
    struct mr_arena arena;
    mr_arena_init(&arena);
    mr_err err = pipe2(pipes, O_CLOEXEC) == 0 ? MR_OK
                                              : mr_fail(MR_IO, "no pipe: %s", strerror(errno));
    if (err == MR_OK) {
        fcntl(pipes[0], F_SETFL,
              O_NONBLOCK); /* our end only: the program writes as it is used to */
        err = spawn(mr_arena_cstr(&arena, task->step->work), pipes[1], &pid);
        mr_fd_close(pipes[1]);
        if (err != MR_OK)
            mr_fd_close(pipes[0]);
    }
    mr_arena_fini(&arena);
    if (err != MR_OK) {
        scheduler_task_end(task, err);
        return;
    }
    struct program *program = mr_new(struct program);
    *program = (struct program){.task = task, .pid = pid};
    program->output = (struct mr_watch){.ready = output_ready, .fd = pipes[0]};
    program->end = (struct mr_watch){.ready = end_ready,
                                     .fd = (int)syscall(SYS_pidfd_open, pid, 0)};
    task->state = program;
    mr_watch_set(task->loop, &program->output, EPOLLIN);
    mr_watch_set(task->loop, &program->end, EPOLLIN);
}

const struct scheduler_task_driver scheduler_task_run = {"run", start, cancel};
