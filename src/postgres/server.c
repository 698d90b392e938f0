/* postgres/server.c: the life of the private PostgreSQL: start, adopt, check, stop.
 *
 *   none --start--> starting --answers--> up --stop--> none
 *                   ^                      |
 *                   +--check-- dead <------+ (its process ended)
 *
 * It runs in a session of its own and is not tied to us: when we are killed it goes on, and the next
 * start finds it by DIR/postgres/postmaster.pid and adopts it. A process is only believed to be ours
 * when it lives, and its working folder is the data folder (a postmaster always stands there); a pid
 * alone may belong to anybody after a reboot. Everything here blocks. */
#include "postgres/cluster.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <libpq-fe.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    START_STEP_MS = 3,
    START_SECONDS_MAX = 600, /* recovery after a crash may be long; it goes on while alive */
    STOP_SECONDS_MAX = 60,
    PID_FILE_BYTES_MAX = 4096,
};

struct postgres_server {
    struct postgres_cluster cluster;
    struct postgres_address address;
    uint16_t wanted_port; /* 0: any */
    pid_t pid;            /* of the postmaster; 0: none */
    bool child;           /* ours to wait for */
    bool adopted;
};

/* ---- processes ---- */

/* Waits until the process has ended. True when it has. */
static bool wait_end(struct postgres_server *server, int64_t milliseconds)
{
    int fd = (int)syscall(SYS_pidfd_open, server->pid, 0);
    if (fd < 0)
        return errno == ESRCH;
    struct pollfd entry = {.fd = fd, .events = POLLIN};
    bool ended = poll(&entry, 1, (int)milliseconds) > 0;
    mr_fd_close(fd);
    if (ended && server->child)
        waitpid(server->pid, NULL, WNOHANG);
    return ended;
}

static bool is_alive(struct postgres_server *server)
{
    return server->pid > 0 && !wait_end(server, 0);
}

/* Whether a process stands in the data folder, as every process of its PostgreSQL does. */
static bool stands_in(pid_t pid, const char *data)
{
    char link[64], folder[PATH_MAX];
    snprintf(link, sizeof link, "/proc/%d/cwd", (int)pid);
    ssize_t length = readlink(link, folder, sizeof folder - 1);
    return length > 0 && mr_str_equal(mr_str_of(folder, (size_t)length), mr_str_from(data));
}

/* Some process that stands in the data folder; 0 for none. */
static pid_t any_in(const char *data)
{
    pid_t found = 0;
    struct dirent *entry;
    DIR *listing = opendir("/proc");
    while (listing != NULL && found == 0 && (entry = readdir(listing)) != NULL) {
        int64_t pid = 0;
        if (mr_str_to_i64(mr_str_from(entry->d_name), &pid) == MR_OK && pid != getpid() &&
            stands_in((pid_t)pid, data))
            found = (pid_t)pid;
    }
    if (listing != NULL)
        closedir(listing);
    return found;
}

/* postmaster.pid: pid, data folder, start time, port, socket folder, address, memory key, status. */
struct pid_file {
    pid_t pid;
    uint16_t port;
    bool ready;
};

static bool read_pid_file(const struct postgres_cluster *cluster, struct pid_file *out)
{
    struct mr_buf text = {0};
    char path[PATH_MAX];
    *out = (struct pid_file){0};
    snprintf(path, sizeof path, "%s/postmaster.pid", cluster->data);
    mr_err err = mr_file_read(path, PID_FILE_BYTES_MAX, &text);
    mr_str rest = mr_buf_as_str(&text), line;
    for (int number = 1; err == MR_OK && mr_str_split(&rest, '\n', &line); number++) {
        int64_t value = 0;
        line = mr_str_trim(line);
        if (number == 1 && mr_str_to_i64(line, &value) == MR_OK)
            out->pid = (pid_t)value;
        else if (number == 4 && mr_str_to_i64(line, &value) == MR_OK)
            out->port = (uint16_t)value;
        else if (number == 8)
            out->ready = mr_str_equal(line, MR_STR("ready"));
    }
    mr_buf_fini(&text);
    return err == MR_OK && out->pid > 1;
}

/* ---- does it answer ---- */
static PGconn *connect_to(struct postgres_server *server, const char *database)
{
    char port[8];
    snprintf(port, sizeof port, "%u", server->address.port);
    const char *const keys[] = {"hostaddr",         "port",    "user",       "password",
                                "dbname",           "sslmode", "gssencmode", "connect_timeout",
                                "application_name", NULL};
    const char *const values[] = {
        "127.0.0.1",      port,      "millrace", server->address.password.data,
        database,         "disable", "disable",  "5",
        "millrace start", NULL};
    return PQconnectdbParams(keys, values, 0);
}

static mr_err make_database(struct postgres_server *server)
{
    PGconn *conn = connect_to(server, "postgres");
    mr_err err = MR_OK;
    PGresult *result = PQexec(conn, "CREATE DATABASE millrace");
    if (PQresultStatus(result) != PGRES_COMMAND_OK)
        err = mr_fail(MR_IO, "%s: CREATE DATABASE millrace: %s", server->cluster.data,
                      PQerrorMessage(conn));
    PQclear(result);
    PQfinish(conn);
    return err;
}

/* MR_OK when it answers a query, MR_AGAIN while it is not ready. */
static mr_err try_answer(struct postgres_server *server)
{
    PGconn *conn = connect_to(server, "millrace");
    mr_err err = MR_OK;
    if (PQstatus(conn) != CONNECTION_OK) {
        mr_str why = mr_str_trim(mr_str_from(PQerrorMessage(conn)));
        if (mr_str_find(why, MR_STR("\"millrace\" does not exist")) >= 0 &&
            mr_str_find(why, MR_STR("database")) >= 0)
            err = make_database(server);
        else if (mr_str_find(why, MR_STR("password authentication failed")) >= 0)
            err = mr_fail(MR_AUTH, "%s: PostgreSQL refuses the password in %s",
                          server->cluster.data, server->cluster.password_path);
        else
            err = mr_fail(MR_AGAIN, "%.*s", MR_STR_ARG(why));
    }
    PQfinish(conn);
    return err;
}

/* Why it ended, out of its log. */
static mr_err ended_while_starting(struct postgres_server *server, int64_t log_from)
{
    mr_str tail = postgres_cluster_log_tail(&server->cluster, log_from);
    server->pid = 0;
    if (mr_str_find(tail, MR_STR("Address already in use")) >= 0)
        return mr_fail(MR_BUSY,
                       "127.0.0.1:%u: the port for PostgreSQL is in use by another program; "
                       "stop that one, or move all ports with --port-offset",
                       server->address.port);
    if (mr_str_find(tail, MR_STR("No space left")) >= 0)
        return mr_fail(MR_FULL, "%s: no space left on the disk for PostgreSQL",
                       server->cluster.data);
    return mr_fail(MR_IO, "%s: PostgreSQL ended while starting: %.*s", server->cluster.data,
                   MR_STR_ARG(tail));
}

/* Waits until the postmaster answers. */
static mr_err wait_ready(struct postgres_server *server, int64_t log_from)
{
    for (int64_t waited_ms = 0; waited_ms < START_SECONDS_MAX * 1000; waited_ms += START_STEP_MS) {
        struct pid_file file;
        if (wait_end(server, START_STEP_MS))
            return ended_while_starting(server, log_from);
        if (!read_pid_file(&server->cluster, &file) || !file.ready || file.pid != server->pid)
            continue;
        mr_err err = try_answer(server);
        if (err != MR_AGAIN)
            return err;
    }
    return mr_fail(MR_TIMEOUT, "%s: PostgreSQL does not answer on 127.0.0.1:%u after %d s",
                   server->cluster.data, server->address.port, START_SECONDS_MAX);
}

/* ---- starting ---- */

/* Binds the port for a moment, so that a busy one is known before anything starts. */
static mr_err claim_port(uint16_t wanted, uint16_t *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons(wanted),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof at;
    int one = 1;
    mr_err err = MR_OK;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) != 0 || listen(fd, 1) != 0 ||
        getsockname(fd, (struct sockaddr *)&at, &length) != 0) {
        if (errno == EADDRINUSE)
            err = mr_fail(MR_BUSY,
                          "127.0.0.1:%u: the port for PostgreSQL is in use by another "
                          "program; stop that one, or move all ports with --port-offset",
                          wanted);
        else
            err = mr_fail(mr_err_from_errno(errno), "127.0.0.1:%u: %s", wanted, strerror(errno));
    } else {
        *port = ntohs(at.sin_port);
    }
    mr_fd_close(fd);
    return err;
}

/* A pid file without its PostgreSQL stops the next one when its number lives on in a stranger. */
static mr_err clear_remains(struct postgres_server *server)
{
    char path[PATH_MAX];
    for (int tries = 0; any_in(server->cluster.data) != 0; tries++) {
        if (tries == 500)
            return mr_fail(MR_BUSY, "%s: process %d still works in this folder; end it first",
                           server->cluster.data, (int)any_in(server->cluster.data));
        poll(NULL, 0, 10); /* children of a killed postmaster leave within moments */
    }
    snprintf(path, sizeof path, "%s/postmaster.pid", server->cluster.data);
    unlink(path);
    return MR_OK;
}

static mr_err launch(struct postgres_server *server)
{
    struct postgres_cluster *cluster = &server->cluster;
    char port[8];
    mr_err err = clear_remains(server);
    if (err == MR_OK)
        err = claim_port(server->wanted_port, &server->address.port);
    if (err != MR_OK)
        return err;
    int64_t log_from = postgres_cluster_log_bytes(cluster);
    snprintf(port, sizeof port, "%u", server->address.port);
    char *argv[] = {(char *)mr_arena_printf(&cluster->arena, "%s/postgres", cluster->programs).data,
                    "-D",
                    (char *)cluster->data,
                    "-p",
                    port,
                    NULL};
    err = postgres_cluster_spawn(cluster, argv, -1, &server->pid);
    if (err == MR_OK) {
        server->child = true;
        server->adopted = false;
        err = wait_ready(server, log_from);
    }
    return err;
}

/* ---- stopping ---- */
static void stop_process(struct postgres_server *server)
{
    static const struct {
        int signal;
        const char *word;
    } steps[] = {{SIGINT, "fast"}, {SIGQUIT, "immediate"}}; /* PostgreSQL's shutdown modes */
    for (size_t i = 0; i < mr_count_of(steps); i++) {
        if (kill(server->pid, steps[i].signal) != 0 && errno == ESRCH)
            break;
        if (wait_end(server, STOP_SECONDS_MAX * 1000))
            break;
        mr_log(MR_LOG_WARN, "postgres", "%s: %s shutdown did not end within %d s",
               server->cluster.data, steps[i].word, STOP_SECONDS_MAX);
    }
    server->pid = 0;
}

/* ---- adopting ---- */
/* Takes over a running one: true when `*err` says how that went, false when there is none. */
static bool adopt(struct postgres_server *server, mr_err *err)
{
    struct pid_file file;
    if (!read_pid_file(&server->cluster, &file) || !stands_in(file.pid, server->cluster.data))
        return false;
    server->pid = file.pid;
    server->child = false;
    if (!is_alive(server)) {
        server->pid = 0;
        return false;
    }
    while (file.port == 0 && !wait_end(server, START_STEP_MS))
        if (!read_pid_file(&server->cluster, &file))
            break;
    if (file.port == 0 || (server->wanted_port != 0 && file.port != server->wanted_port)) {
        stop_process(server); /* the ports have moved since */
        return false;
    }
    server->address.port = file.port;
    server->adopted = true;
    *err = wait_ready(server, postgres_cluster_log_bytes(&server->cluster));
    if (*err == MR_IO && server->pid == 0)
        return false; /* it was about to end: start a new one */
    return true;
}

static mr_err start(struct postgres_server *server)
{
    mr_err err = MR_OK;
    if (adopt(server, &err))
        return err;
    return launch(server);
}

/* ---- what the world sees ---- */
mr_err postgres_server_start(const struct postgres_server_options *options,
                             struct postgres_server **out)
{
    struct postgres_server *server = mr_new(struct postgres_server);
    mr_err err = postgres_cluster_init(&server->cluster, options->folder, options->programs);
    if (err != MR_OK) {
        mr_free(server);
        return err;
    }
    server->wanted_port = options->port;
    server->address = (struct postgres_address){
        .host = MR_STR("127.0.0.1"),
        .port = options->port,
        .user = MR_STR("millrace"),
        .password = server->cluster.password,
        .database = MR_STR("millrace"),
        .sslmode = MR_STR("disable"),
    };
    err = start(server);
    if (err != MR_OK) {
        if (server->child)
            postgres_server_stop(server);
        else
            postgres_server_leave(server);
        return err;
    }
    *out = server;
    return MR_OK;
}

mr_err postgres_server_check(struct postgres_server *server)
{
    if (is_alive(server))
        return MR_OK;
    server->pid = 0;
    server->wanted_port = server->address.port; /* its users know this one */
    return start(server);
}

void postgres_server_leave(struct postgres_server *server)
{
    if (server == NULL)
        return;
    postgres_cluster_fini(&server->cluster);
    mr_free(server);
}

void postgres_server_stop(struct postgres_server *server)
{
    if (server == NULL)
        return;
    if (is_alive(server))
        stop_process(server);
    postgres_server_leave(server);
}

const struct postgres_address *postgres_server_address(const struct postgres_server *server)
{
    return &server->address;
}

uint16_t postgres_server_port(const struct postgres_server *server)
{
    return server->address.port;
}

bool postgres_server_adopted(const struct postgres_server *server)
{
    return server->adopted;
}

int postgres_server_pid(const struct postgres_server *server)
{
    return server->pid;
}
