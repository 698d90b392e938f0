#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "postgres/postgres.h"
#include "story.h"

static int64_t now_ms(void)
{
    struct mr_clock clock;
    mr_clock_init(&clock);
    return mr_clock_mono_us(&clock) / 1000;
}

/* A data folder that user postgres may enter. */
static struct postgres_server_options given_folder(struct story *t)
{
    chmod(t->folder, 0755);
    return (struct postgres_server_options){.folder = t->folder};
}

static struct postgres_server *starts(const struct postgres_server_options *options)
{
    struct postgres_server *server = NULL;
    expect_ok(postgres_server_start(options, &server));
    return server;
}

/* What psql answers: a program that nobody here wrote. */
static mr_str psql_says(struct postgres_server *server, const char *sql)
{
    static char answer[4096];
    char command[4096];
    snprintf(command, sizeof command,
             "PGPASSWORD=%.*s psql -h 127.0.0.1 -p %u -U millrace -d millrace -Atc \"%s\" 2>&1",
             MR_STR_ARG(postgres_server_address(server)->password), postgres_server_port(server),
             sql);
    FILE *pipe = popen(command, "r");
    size_t length = fread(answer, 1, sizeof answer - 1, pipe);
    pclose(pipe);
    return mr_str_trim(mr_str_of(answer, length));
}

/* A free port below those that the system gives to connections, so that it stays free. */
static uint16_t free_port(void)
{
    for (uint16_t port = (uint16_t)(21000 + getpid() % 10000);; port++) {
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        bool free = bind(fd, (struct sockaddr *)&address, sizeof address) == 0;
        close(fd);
        if (free)
            return port;
    }
}

STORY("the private server is made, answers, stops and starts again")
{
    struct postgres_server_options options = given_folder(t);
    int64_t began = now_ms();
    struct postgres_server *server = starts(&options);
    fprintf(stderr, "    first start %lld ms\n", (long long)(now_ms() - began));
    expect_str(psql_says(server, "SELECT current_user, current_database()"),
               MR_STR("millrace|millrace"));
    expect_str(psql_says(server, "SHOW wal_level"), MR_STR("logical"));
    expect_str(psql_says(server, "SHOW max_slot_wal_keep_size"), MR_STR("4GB"));
    expect_str(psql_says(server, "SHOW listen_addresses"), MR_STR("127.0.0.1"));
    expect_str(psql_says(server, "CREATE TABLE kept AS SELECT 7 AS n"), MR_STR("SELECT 1"));
    began = now_ms();
    postgres_server_stop(server);
    fprintf(stderr, "    stop %lld ms\n", (long long)(now_ms() - began));

    char path[512];
    struct stat info;
    snprintf(path, sizeof path, "%s/postgres.password", t->folder);
    expect_int(stat(path, &info), 0);
    expect_int(info.st_mode & 0777, 0600);

    began = now_ms();
    server = starts(&options);
    fprintf(stderr, "    later start %lld ms\n", (long long)(now_ms() - began));
    expect(!postgres_server_adopted(server));
    expect_str(psql_says(server, "SELECT n FROM kept"), MR_STR("7"));
    postgres_server_stop(server);
}

STORY("a server that outlived us is adopted, and stopped by its new owner")
{
    struct postgres_server_options options = given_folder(t);
    int ends[2];
    int pid = 0;
    expect_int(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        struct postgres_server *server = starts(&options);
        pid = postgres_server_pid(server);
        (void)!write(ends[1], &pid, sizeof pid);
        pause();
    }
    expect_int(read(ends[0], &pid, sizeof pid), sizeof pid);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);

    struct postgres_server *server = starts(&options);
    expect(postgres_server_adopted(server));
    expect_int(postgres_server_pid(server), pid);
    expect_str(psql_says(server, "SELECT 1"), MR_STR("1"));
    postgres_server_stop(server);
    char link[64], folder[512];
    snprintf(link, sizeof link, "/proc/%d/cwd", pid); /* a zombie has none */
    expect(readlink(link, folder, sizeof folder) < 0);
}

STORY("an adopted server moves to the port that is asked for now")
{
    struct postgres_server_options options = given_folder(t);
    struct postgres_server *server = starts(&options);
    int old = postgres_server_pid(server);
    postgres_server_leave(server);
    options.port = free_port();
    server = starts(&options);
    expect(!postgres_server_adopted(server));
    expect(postgres_server_pid(server) != old);
    expect_int(postgres_server_port(server), options.port);
    expect_str(psql_says(server, "SELECT 1"), MR_STR("1"));
    postgres_server_stop(server);
}

STORY("a server whose postmaster was killed is started again")
{
    struct postgres_server_options options = given_folder(t);
    struct postgres_server *server = starts(&options);
    uint16_t port = postgres_server_port(server);
    kill(postgres_server_pid(server), SIGKILL);
    poll(NULL, 0, 50);
    expect_ok(postgres_server_check(server));
    expect_int(postgres_server_port(server), port);
    expect_str(psql_says(server, "SELECT 1"), MR_STR("1"));
    expect_ok(postgres_server_check(server));
    postgres_server_stop(server);
}

STORY("a pid file whose number has gone to a stranger is not believed")
{
    struct postgres_server_options options = given_folder(t);
    char path[512], text[512];
    postgres_server_stop(starts(&options));
    snprintf(path, sizeof path, "%s/postgres/postmaster.pid", t->folder);
    snprintf(text, sizeof text, "%d\n%s/postgres\n1\n5433\n", (int)getpid(), t->folder);
    expect_ok(mr_file_write(path, mr_str_from(text), 0644));
    struct postgres_server *server = starts(&options);
    expect(!postgres_server_adopted(server));
    postgres_server_stop(server);
}

STORY("a busy port is one sentence")
{
    struct postgres_server_options options = given_folder(t);
    struct postgres_server *server = NULL;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof at;
    char expected[256];
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    expect(bind(fd, (struct sockaddr *)&at, sizeof at) == 0 && listen(fd, 1) == 0);
    getsockname(fd, (struct sockaddr *)&at, &length);
    options.port = ntohs(at.sin_port);
    expect_err(postgres_server_start(&options, &server), MR_BUSY);
    snprintf(expected, sizeof expected,
             "127.0.0.1:%u: the port for PostgreSQL is in use by another "
             "program; stop that one, or move all ports with --port-offset",
             options.port);
    expect_str(mr_str_from(mr_why()), mr_str_from(expected));
}

STORY("a folder that PostgreSQL's user cannot enter is one sentence")
{
    struct postgres_server_options options = {.folder = t->folder};
    struct postgres_server *server = NULL;
    char expected[1024];
    if (geteuid() != 0)
        return; /* only root has to become another user */
    chmod(t->folder, 0700);
    expect_err(postgres_server_start(&options, &server), MR_DENIED);
    snprintf(
        expected, sizeof expected,
        "%s: user postgres cannot enter this folder (mode 0700), and "
        "PostgreSQL does not run as root; allow it with: chmod o+x '%s', or choose another folder "
        "with --data",
        t->folder, t->folder);
    expect_str(mr_str_from(mr_why()), mr_str_from(expected));
}

STORY("missing programs are one sentence with the package")
{
    struct postgres_server_options options = given_folder(t);
    struct postgres_server *server = NULL;
    options.programs = "/nowhere";
    expect_err(postgres_server_start(&options, &server), MR_NOT_FOUND);
    expect_str(
        mr_str_from(mr_why()),
        MR_STR("/nowhere: expected PostgreSQL's programs initdb and "
               "postgres, found them not; install them with: apt-get install postgresql-15"));
}

STORY("a cluster without its password says which file is gone")
{
    struct postgres_server_options options = given_folder(t);
    struct postgres_server *server = NULL;
    char path[512];
    postgres_server_stop(starts(&options));
    snprintf(path, sizeof path, "%s/postgres.password", t->folder);
    unlink(path);
    expect_err(postgres_server_start(&options, &server), MR_NOT_FOUND);
    expect(strstr(mr_why(), "postgres.password: expected the password") != NULL);
}

STORY("a half made cluster is made anew")
{
    struct postgres_server_options options = given_folder(t);
    char path[512];
    snprintf(path, sizeof path, "%s/postgres.new/base", t->folder);
    expect_ok(mr_folder_make(path, 0755));
    struct postgres_server *server = starts(&options);
    expect_str(psql_says(server, "SELECT 1"), MR_STR("1"));
    postgres_server_stop(server);
}
