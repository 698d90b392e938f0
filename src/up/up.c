/* up/up.c: the command `up`: files, folder, listeners, loops; then the main thread watches signals and
 * shows the state until all is stopped. */
#include "up/run.h"
#include "up/up.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum {
    VIEW_US = 500000,
    LOOK_US = 50000,
    PLAIN_US = 10000000,
    WONDER_US = 5000000,
    AGAIN_US = 500000
};

/* ---- the terminal: drawn by the work loop, printed by the main thread, which may wait for it ---- */

struct view {
    struct up *up;
    struct mr_watch signals;
    struct mr_timer timer;
    struct mr_task draw, print;
    struct mr_buf text;
    bool drawing;
    bool live;
    bool stopping;
    int64_t stopping_us; /* monotonic */
    int lines;           /* printed last time; the cursor stands below them */
    bool ready_said;
    int64_t said_us; /* monotonic */
};

static void draw(struct mr_task *task) /* on the work loop */
{
    struct view *view = mr_container(task, struct view, draw);
    up_status_text(view->up, view->live, &view->text);
    mr_loop_post(view->up->front, &view->print);
}

static void print(struct mr_task *task) /* on the main thread */
{
    struct view *view = mr_container(task, struct view, print);
    mr_str text = mr_buf_as_str(&view->text);
    view->drawing = false;
    if (view->live) {
        if (view->lines > 0)
            printf("\033[%dA", view->lines);
        view->lines = 0;
        mr_str line;
        while (text.length > 0 && mr_str_split(&text, '\n', &line)) {
            printf("\033[2K%.*s\n", MR_STR_ARG(line));
            view->lines++;
        }
        printf("\033[J"); /* what stood below of a longer view */
    } else {
        printf("%.*s\n", MR_STR_ARG(text));
    }
    fflush(stdout);
    mr_buf_clear(&view->text);
    mr_timer_start(view->up->front, &view->timer, view->live ? VIEW_US : LOOK_US);
}

static void view_due(struct mr_timer *timer)
{
    struct view *view = mr_container(timer, struct view, timer);
    bool ready = view->up->ready;
    int64_t now_us = mr_loop_now_us(view->up->front);
    int64_t rest_us = view->said_us + PLAIN_US - now_us;
    /* Without a terminal the state is printed once it is ready, then now and then; before, when it takes
     * long enough to wonder why. */
    if (!view->live && ready == view->ready_said && rest_us > 0) {
        mr_timer_start(view->up->front, timer, ready ? rest_us : LOOK_US);
        return;
    }
    if (view->drawing)
        return;
    view->ready_said = ready;
    view->said_us = now_us;
    view->drawing = true;
    mr_loop_post(view->up->work, &view->draw);
}

static void begin_stop(struct mr_task *task) /* on the work loop */
{
    up_stages_stop(mr_container(task, struct up, stop_task));
}

static void signal_came(struct mr_watch *watch, uint32_t events)
{
    struct view *view = mr_container(watch, struct view, signals);
    struct signalfd_siginfo info;
    (void)events;
    while (read(watch->fd, &info, sizeof info) == sizeof info) {
        int64_t now_us = mr_loop_now_us(view->up->front);
        if (!view->stopping) {
            view->stopping = true;
            view->stopping_us = now_us;
            printf("%sstopping; what is under way is finished first\n", view->live ? "\n" : "");
            fflush(stdout);
            mr_timer_stop(&view->timer);
            mr_loop_post(view->up->work, &view->up->stop_task);
        } else if (now_us - view->stopping_us > AGAIN_US) { /* not the same wish told twice */
            fprintf(stderr, "stopped at once; the next start goes on where the log stands\n");
            _exit(1);
        }
    }
}

static void all_stopped(struct mr_task *task) /* on the main thread */
{
    mr_loop_stop(mr_container(task, struct up, front_stop)->front);
}

/* ---- files ---- */

/* Every mistake of every file; 0 when there is none. */
static int load_files(struct up *up, const char *command)
{
    struct mr_buf text = {0};
    int status = 0;
    if (up->options.file_count == 0) {
        fprintf(stderr,
                "millrace %s: which pipeline? expected a file, as in `millrace %s "
                "pipelines/users.yaml`\n",
                command, command);
        return 2;
    }
    for (int i = 0; i < up->options.file_count; i++) {
        struct up_file *file = &up->files[up->file_count++];
        struct pipeline_mistakes mistakes = {0};
        file->path = up->options.files[i];
        mr_err err = pipeline_load(&up->arena, file->path, &file->pipeline, &mistakes);
        if (err == MR_OK)
            err = pipeline_check(&up->arena, file->pipeline, NULL, 0, &mistakes, &file->plan);
        else if (err == MR_INVALID && file->pipeline != NULL)
            pipeline_check(&up->arena, file->pipeline, NULL, 0, &mistakes, &file->plan);
        pipeline_mistakes_print(&mistakes, file->path, &text);
        if (err != MR_OK && mistakes.list.count == 0)
            mr_buf_printf(&text, "millrace %s: %s\n", command, mr_why());
        if (err != MR_OK)
            status = 2;
        pipeline_mistakes_fini(&mistakes);
    }
    fwrite(text.data, 1, text.length, stderr);
    mr_buf_fini(&text);
    return status;
}

/* ---- the run ---- */

static mr_err open_all(struct up *up)
{
    struct engine_options engine = {0};
    const char *word = up_options_security_word(&up->options);
    mr_err err = word != NULL ? mr_fail(MR_INVALID,
                                        "%s is an option of `millrace broker`: run the log alone "
                                        "with it, and name it here by --kafka",
                                        word)
                              : up_options_host(&up->options, false, &up->host);
    if (err == MR_OK)
        err = up_options_folder(&up->options, &up->arena, &up->folder);
    if (err == MR_OK)
        err = up_seams_resolve(up);
    if (err != MR_OK)
        return err;
    up->log = mr_loop_new("log", NULL);
    up->tables = mr_loop_new("store", NULL);
    up->sql = mr_loop_new("engine", NULL);
    up->work = mr_loop_new("work", NULL);
    up->disk = mr_disk_new(2);
    up->postgres_disk = mr_disk_new(1);
    err = up_seams_open(up);
    if (err != MR_OK || !up->seams[UP_REGISTRY].needed) /* without streams there is no engine */
        return err;
    engine.kafka = up->seams[UP_KAFKA].address;
    engine.kafka_security = up->kafka_security;
    engine.cassandra_uses_tls = up->cassandra_uses_tls;
    engine.cassandra_tls = up->cassandra_tls;
    engine.cassandra_lz4 = up->cassandra_lz4;
    engine.registry = up_seams_registry(up);
    engine.cassandra_user = up->settings[PIPELINE_SETTING_cassandra_user];
    engine.cassandra_password = up->settings[PIPELINE_SETTING_cassandra_password];
    engine.cassandra_consistency = up->settings[PIPELINE_SETTING_cassandra_consistency];
    engine.cassandra_replication = up->settings[PIPELINE_SETTING_cassandra_replication];
    engine.cassandra = up->seams[UP_CASSANDRA].needed ? up->seams[UP_CASSANDRA].address
                                                      : MR_STR_NULL;
    engine.folder = mr_arena_printf(&up->arena, "%s/engine", up->folder);
    return engine_open(up->sql, up->disk, &engine, &up->engine);
}

static void work_begin(struct mr_task *task)
{
    struct up *up = mr_container(task, struct up, step_done);
    up_stages_begin(up);
}

static int run(struct up *up)
{
    struct view view = {.up = up, .live = isatty(STDOUT_FILENO) && up->options.plain == NULL};
    sigset_t signals;
    view.said_us = mr_loop_now_us(up->front) - PLAIN_US + WONDER_US;
    view.draw.run = draw;
    view.print.run = print;
    view.timer.run = view_due;
    up->stop_task.run = begin_stop;
    up->front_stop.run = all_stopped;
    up->step_done.run = work_begin;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    view.signals = (struct mr_watch){.ready = signal_came,
                                     .fd = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC)};
    mr_watch_set(up->front, &view.signals, EPOLLIN);
    mr_timer_start(up->front, &view.timer, 0);
    mr_loop_post(up->work, &up->step_done);
    mr_err err = MR_OK;
    struct mr_loop *const loops[] = {up->log, up->tables, up->sql, up->work};
    for (size_t i = 0; i < mr_count_of(loops) && err == MR_OK; i++)
        err = mr_loop_start(loops[i]);
    if (err != MR_OK) {
        fprintf(stderr, "millrace up: %s\n", mr_why());
        return 1;
    }
    mr_loop_run(up->front);
    for (size_t i = 0; i < mr_count_of(loops); i++) {
        mr_loop_stop(loops[i]);
        mr_loop_join(loops[i]);
    }
    mr_disk_free(up->disk);
    mr_disk_free(up->postgres_disk);
    if (up->exit_status == 0)
        printf("stopped\n");
    return up->exit_status;
}

int up_command_up(int argc, char **argv)
{
    struct up *up = mr_new(struct up);
    sigset_t signals;
    int status = up_options_read("up", argc, argv, &up->options);
    if (status >= 0)
        return status;
    /* Before any thread is made, so that all leave them to the main thread. */
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    mr_arena_init(&up->arena);
    mr_arena_init(&up->status.arena);
    up->front = mr_loop_new("front", NULL);
    up->started_us = mr_clock_wall_us(mr_loop_clock(up->front));
    status = load_files(up, "up");
    if (status != 0)
        return status;
    if (open_all(up) != MR_OK) {
        fprintf(stderr, "millrace up: %s\n", mr_why());
        status = mr_str_starts(mr_str_from(mr_why()), MR_STR("--")) ? 2 : 1;
    } else {
        status = run(up);
    }
    /* Other threads may still run, a disk thread in a folder that it opens: they must not meet the
     * libraries' destructors. All that is to last is on disk. */
    fflush(NULL);
    _exit(status);
}

/* ---- check and test: the same files, nothing started ---- */

int up_command_check(int argc, char **argv)
{
    struct up *up = mr_new(struct up);
    int status = up_options_read("check", argc, argv, &up->options);
    if (status >= 0)
        return status;
    mr_arena_init(&up->arena);
    status = load_files(up, "check");
    if (status == 0 && up_seams_resolve(up) != MR_OK) {
        fprintf(stderr, "millrace check: %s\n", mr_why());
        status = 2;
    }
    for (int i = 0; i < up->file_count && status == 0; i++)
        printf("%s: pipeline `%.*s`: %zu steps, %zu streams, no mistakes\n", up->files[i].path,
               MR_STR_ARG(up->files[i].pipeline->name), up->files[i].pipeline->step_count,
               up->files[i].pipeline->stream_count);
    fflush(stdout);
    return status == 0 && up_probe_connections(up) > 0 ? 1 : status;
}

int up_command_test(int argc, char **argv)
{
    struct up *up = mr_new(struct up);
    struct mr_clock clock;
    size_t passed = 0, failed = 0;
    int status = up_options_read("test", argc, argv, &up->options);
    if (status >= 0)
        return status;
    mr_arena_init(&up->arena);
    mr_clock_init(&clock);
    status = load_files(up, "test");
    for (int i = 0; i < up->file_count && status == 0; i++) {
        struct pipeline_verdict *verdicts;
        size_t count;
        pipeline_run_tests(&up->arena, up->files[i].pipeline, up->files[i].plan,
                           mr_clock_wall_us(&clock), &verdicts, &count);
        for (size_t j = 0; j < count; j++) {
            printf("%s %s: %.*s\n%.*s", verdicts[j].passed ? "ok  " : "FAIL", up->files[i].path,
                   MR_STR_ARG(verdicts[j].test), MR_STR_ARG(verdicts[j].text));
            *(verdicts[j].passed ? &passed : &failed) += 1;
        }
    }
    if (status == 0)
        printf("%zu passed, %zu failed\n", passed, failed);
    return status != 0 ? status : failed > 0 ? 3 : 0;
}
