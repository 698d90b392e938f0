/* capture_program: one capture alone as a process, with its private PostgreSQL, for stories that kill it:
 * capture_program FOLDER KAFKA REGISTRY NAME TABLE TOPIC. Prints the port of PostgreSQL, then the status as
 * a JSON line whenever it has changed; SIGTERM ends it, and leaves PostgreSQL for the next one. */
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "capture/capture.h"

enum { LOOK_US = 50000 };

struct program {
    struct mr_loop *loop;
    struct capture *capture;
    struct mr_timer look;
    struct mr_watch signals;
    struct mr_task closed;
    struct mr_buf line, last;
};

static void look(struct mr_timer *timer)
{
    struct program *program = mr_container(timer, struct program, look);
    struct capture_status status;
    capture_status(program->capture, &status);
    mr_buf_clear(&program->line);
    mr_buf_printf(&program->line,
                  "{\"state\":\"%s\",\"sentence\":", capture_state_name(status.state));
    mr_buf_json(&program->line, mr_str_from(status.sentence));
    mr_buf_printf(&program->line,
                  ",\"changes\":%llu,\"events\":%llu,\"snapshot_rows\":%llu,\"snapshot_done\":%s,"
                  "\"slot_lag_bytes\":%lld}\n",
                  (unsigned long long)status.changes, (unsigned long long)status.events,
                  (unsigned long long)status.snapshot_rows, status.snapshot_done ? "true" : "false",
                  (long long)status.slot_lag_bytes);
    if (!mr_str_equal(mr_buf_as_str(&program->line), mr_buf_as_str(&program->last))) {
        fwrite(program->line.data, 1, program->line.length, stdout);
        fflush(stdout);
        mr_buf_clear(&program->last);
        mr_buf_str(&program->last, mr_buf_as_str(&program->line));
    }
    mr_timer_start(program->loop, timer, LOOK_US);
}

static void closed(struct mr_task *task)
{
    mr_loop_stop(mr_container(task, struct program, closed)->loop);
}

static void signalled(struct mr_watch *watch, uint32_t events)
{
    struct program *program = mr_container(watch, struct program, signals);
    (void)events;
    mr_timer_stop(&program->look);
    mr_watch_set(program->loop, watch, 0);
    program->closed.run = closed;
    capture_close(program->capture, &program->closed);
}

int main(int argc, char **argv)
{
    struct program program = {0};
    struct postgres_server *server = NULL;
    sigset_t set;
    if (argc != 7) {
        fprintf(stderr, "capture_program FOLDER KAFKA REGISTRY NAME TABLE TOPIC\n");
        return 2;
    }
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    const struct postgres_server_options options = {.folder = argv[1]};
    if (postgres_server_start(&options, &server) != MR_OK) {
        fprintf(stderr, "capture_program: %s\n", mr_why());
        return 1;
    }
    printf("{\"port\":%u}\n", postgres_server_port(server));
    program.loop = mr_loop_new("work", NULL);
    const struct capture_spec spec = {
        .name = mr_str_from(argv[4]),
        .topic = mr_str_from(argv[6]),
        .postgres = *postgres_server_address(server),
        .table = mr_str_from(argv[5]),
        .create = true,
        .kafka = mr_str_from(argv[2]),
        .registry = {.url = mr_str_from(argv[3])},
    };
    if (capture_open(program.loop, &spec, &program.capture) != MR_OK) {
        fprintf(stderr, "capture_program: %s\n", mr_why());
        return 1;
    }
    program.signals.ready = signalled;
    program.signals.fd = signalfd(-1, &set, SFD_CLOEXEC);
    mr_watch_set(program.loop, &program.signals, EPOLLIN);
    program.look.run = look;
    mr_timer_start(program.loop, &program.look, 0);
    mr_loop_run(program.loop);
    mr_fd_close(program.signals.fd);
    mr_loop_free(program.loop);
    mr_buf_fini(&program.line);
    mr_buf_fini(&program.last);
    postgres_server_leave(server);
    return 0;
}
