/* postgres/cluster.c: makes the private cluster: finds the installed programs, checks that their
 * user can enter the folders, runs initdb once, and writes our settings.
 *
 * A cluster is made under the name DIR/postgres.new and renamed when it is whole, so DIR/postgres is
 * always complete. PostgreSQL refuses to run as root; then its processes and files belong to the
 * user `postgres`, and a child does the checking with that user's rights, because only the kernel
 * knows them all. Everything here blocks. */
#include "postgres/cluster.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PASSWORD_BYTES = 24, LOG_BYTES_MAX = 16 << 20, LOG_TAIL_BYTES = 300, PARENTS_MAX = 64 };

static const char SETTINGS[] =
    "# Written by Millrace at each start; put your own settings into postgresql.conf, below the\n"
    "# line that includes this file.\n"
    "listen_addresses = '127.0.0.1'\n"
    "wal_level = logical\n"
    "max_wal_senders = 32\n"
    "max_replication_slots = 32\n"
    "max_slot_wal_keep_size = 4GB\n"
    "max_connections = 64\n"
    "shared_buffers = 24MB\n"
    "work_mem = 4MB\n"
    "maintenance_work_mem = 32MB\n"
    "logical_decoding_work_mem = 16MB\n"
    "max_wal_size = 1GB\n"
    "min_wal_size = 80MB\n"
    "max_logical_replication_workers = 0\n"
    "max_worker_processes = 4\n"
    "jit = off\n"
    "huge_pages = off\n"
    "timezone = 'UTC'\n"
    "log_timezone = 'UTC'\n"
    "lc_messages = 'C'\n"
    "logging_collector = off\n"
    "log_checkpoints = off\n"
    "log_replication_commands = off\n"
    "log_line_prefix = '%m [%p] %q%a '\n"
    "password_encryption = 'scram-sha-256'\n";

/* ---- the programs ---- */
static bool has_programs(struct mr_arena *arena, const char *folder)
{
    static const char *const names[] = {"initdb", "postgres"};
    for (size_t i = 0; i < mr_count_of(names); i++)
        if (access(mr_arena_printf(arena, "%s/%s", folder, names[i]).data, X_OK) != 0)
            return false;
    return true;
}

/* What pg_config of the PATH says; a system that is not Debian has its programs there. */
static const char *ask_pg_config(struct mr_arena *arena)
{
    char line[1024] = "";
    FILE *pipe = popen("pg_config --bindir 2>/dev/null", "re");
    if (pipe == NULL)
        return NULL;
    bool got = fgets(line, sizeof line, pipe) != NULL;
    pclose(pipe);
    return got ? mr_arena_cstr(arena, mr_str_trim(mr_str_from(line))) : NULL;
}

static const char *newest_of(struct mr_arena *arena, const char *root)
{
    const char *best = NULL;
    int64_t best_version = 0;
    DIR *listing = opendir(root);
    struct dirent *entry;
    while (listing != NULL && (entry = readdir(listing)) != NULL) {
        int64_t version = 0;
        if (mr_str_to_i64(mr_str_from(entry->d_name), &version) != MR_OK || version <= best_version)
            continue;
        const char *folder = mr_arena_printf(arena, "%s/%s/bin", root, entry->d_name).data;
        if (has_programs(arena, folder)) {
            best = folder;
            best_version = version;
        }
    }
    if (listing != NULL)
        closedir(listing);
    return best;
}

mr_err postgres_server_programs(struct mr_arena *arena, const char **folder)
{
    const char *found = newest_of(arena, "/usr/lib/postgresql");
    if (found == NULL)
        found = ask_pg_config(arena);
    if (found == NULL || !has_programs(arena, found))
        return mr_fail(MR_NOT_FOUND,
                       "PostgreSQL's programs: expected initdb and postgres in "
                       "/usr/lib/postgresql/*/bin or where pg_config says, found none; "
                       "install them with: apt-get install postgresql-15");
    *folder = found;
    return MR_OK;
}

/* The programs for a cluster that is there already: of its own version. */
static mr_err programs_of_version(struct postgres_cluster *cluster, mr_str version)
{
    struct mr_arena *arena = &cluster->arena;
    const char *own =
        mr_arena_printf(arena, "/usr/lib/postgresql/%.*s/bin", MR_STR_ARG(version)).data;
    if (has_programs(arena, own)) {
        cluster->programs = own;
        return MR_OK;
    }
    if (newest_of(arena, "/usr/lib/postgresql") == NULL)
        return postgres_server_programs(arena, &cluster->programs);
    return mr_fail(MR_NOT_FOUND,
                   "%s: was made by PostgreSQL %.*s, whose programs are not "
                   "installed; install them with: apt-get install postgresql-%.*s",
                   cluster->data, MR_STR_ARG(version), MR_STR_ARG(version));
}

/* ---- the user ---- */
static mr_err find_user(struct postgres_user *user)
{
    user->change = geteuid() == 0;
    if (!user->change) {
        user->uid = geteuid();
        user->gid = getegid();
        return MR_OK;
    }
    struct passwd entry, *found = NULL;
    char buffer[4096];
    if (getpwnam_r("postgres", &entry, buffer, sizeof buffer, &found) != 0 || found == NULL)
        return mr_fail(MR_NOT_FOUND,
                       "user postgres: PostgreSQL does not run as root and needs this "
                       "user, which does not exist; the package postgresql-15 makes it");
    user->uid = entry.pw_uid;
    user->gid = entry.pw_gid;
    user->group_count = (int)mr_count_of(user->groups);
    if (getgrouplist("postgres", entry.pw_gid, user->groups, &user->group_count) < 0)
        user->group_count = (int)mr_count_of(user->groups);
    snprintf(user->name, sizeof user->name, "postgres");
    return MR_OK;
}

/* In a child, between fork and exec: only calls that are safe there. */
static bool become(const struct postgres_user *user)
{
    if (!user->change)
        return true;
    return setgroups((size_t)user->group_count, user->groups) == 0 && setgid(user->gid) == 0 &&
           setuid(user->uid) == 0;
}

static int wait_for(pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* The index of the first folder that the user cannot enter, or -1. */
static int first_closed(const struct postgres_user *user, const char *const *folders, int count)
{
    pid_t child = fork();
    if (child == 0) {
        int closed = become(user) ? 0 : PARENTS_MAX + 1;
        for (int i = 0; i < count && closed == 0; i++)
            if (access(folders[i], X_OK) != 0)
                closed = i + 1;
        _exit(closed);
    }
    return child < 0 ? -1 : wait_for(child) - 1;
}

/* Every folder from / down to DIR has to let the user through. */
static mr_err check_parents(struct postgres_cluster *cluster)
{
    const char *folders[PARENTS_MAX];
    int count = 0;
    mr_str home = mr_str_from(cluster->home);
    if (!cluster->user.change)
        return MR_OK;
    for (size_t i = 1; i <= home.length && count < PARENTS_MAX; i++)
        if (i == home.length || home.data[i] == '/')
            folders[count++] = mr_arena_cstr(&cluster->arena, mr_str_slice(home, 0, i));
    int closed = first_closed(&cluster->user, folders, count);
    if (closed < 0)
        return MR_OK;
    if (closed >= count)
        return mr_fail(MR_DENIED,
                       "user postgres: PostgreSQL does not run as root, and this process "
                       "may not become that user");
    struct stat info = {0};
    stat(folders[closed], &info);
    return mr_fail(MR_DENIED,
                   "%s: user postgres cannot enter this folder (mode %04o), and PostgreSQL "
                   "does not run as root; allow it with: chmod o+x '%s', or choose another folder "
                   "with --data",
                   folders[closed], (unsigned)(info.st_mode & 07777), folders[closed]);
}

/* ---- running a program ---- */
mr_err postgres_cluster_spawn(const struct postgres_cluster *cluster, char *const *argv, int input,
                              pid_t *pid)
{
    int log = open(cluster->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log < 0)
        return mr_fail(mr_err_from_errno(errno), "%s: %s", cluster->log_path, strerror(errno));
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int in = input < 0 ? null : input;
    pid_t child = fork();
    if (child == 0) {
        sigset_t none;
        sigemptyset(&none);
        for (int number = 1; number < 32; number++)
            signal(number, SIG_DFL);
        sigprocmask(SIG_SETMASK, &none, NULL);
        setsid(); /* the terminal's Ctrl-C is for us alone */
        umask(077);
        if (chdir("/") != 0 || dup2(in, 0) < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0 ||
            !become(&cluster->user))
            _exit(126);
        close_range(3, ~0u, 0);
        execv(argv[0], argv);
        _exit(127);
    }
    mr_err err = child < 0 ? mr_fail(MR_IO, "%s: cannot start: %s", argv[0], strerror(errno))
                           : MR_OK;
    mr_fd_close(log);
    mr_fd_close(null);
    if (err == MR_OK)
        *pid = child;
    return err;
}

int64_t postgres_cluster_log_bytes(const struct postgres_cluster *cluster)
{
    struct stat info;
    return stat(cluster->log_path, &info) == 0 ? info.st_size : 0;
}

mr_str postgres_cluster_log_tail(struct postgres_cluster *cluster, int64_t from)
{
    char *text = mr_arena_alloc(&cluster->arena, LOG_TAIL_BYTES + 1);
    int64_t end = postgres_cluster_log_bytes(cluster);
    ssize_t got = 0;
    int fd = open(cluster->log_path, O_RDONLY | O_CLOEXEC);
    if (from < end - LOG_TAIL_BYTES)
        from = end - LOG_TAIL_BYTES;
    if (fd >= 0)
        got = pread(fd, text, LOG_TAIL_BYTES, from);
    mr_fd_close(fd);
    if (got < 0)
        got = 0;
    for (ssize_t i = 0; i < got; i++)
        if ((unsigned char)text[i] < ' ')
            text[i] = ' ';
    return mr_str_trim(mr_str_of(text, (size_t)got));
}

/* ---- making the cluster ---- */
/* The password, made once; letters and digits, so that it needs no quoting anywhere. */
static mr_err read_password(struct postgres_cluster *cluster, bool made)
{
    struct mr_buf text = {0};
    mr_err err = mr_file_read(cluster->password_path, 4096, &text);
    if (err == MR_OK) {
        cluster->password = mr_arena_str(&cluster->arena, mr_str_trim(mr_buf_as_str(&text)));
        if (cluster->password.length == 0)
            err = mr_fail(MR_CORRUPT, "%s: expected a password, found an empty file",
                          cluster->password_path);
    } else if (err == MR_NOT_FOUND && !made) {
        uint8_t random[PASSWORD_BYTES];
        char hex[2 * PASSWORD_BYTES + 1];
        mr_entropy(random, sizeof random);
        mr_hex(random, sizeof random, hex);
        cluster->password = mr_arena_str(&cluster->arena, mr_str_from(hex));
        mr_buf_printf(&text, "%s\n", hex);
        err = mr_file_write(cluster->password_path, mr_buf_as_str(&text), 0600);
    } else if (err == MR_NOT_FOUND) {
        err = mr_fail(MR_NOT_FOUND,
                      "%s: expected the password of the PostgreSQL in %s, found no such "
                      "file; bring it back from a backup, or move %s away to begin anew",
                      cluster->password_path, cluster->data, cluster->data);
    }
    mr_buf_fini(&text);
    return err;
}

/* initdb reads the password from a file that never has a name. */
static int password_input(const struct postgres_cluster *cluster)
{
    int fd = memfd_create("password", MFD_CLOEXEC);
    if (fd >= 0 &&
        (mr_write_all(fd, cluster->password.data, cluster->password.length, 0) != MR_OK ||
         fchown(fd, cluster->user.uid, cluster->user.gid) != 0)) {
        mr_fd_close(fd);
        fd = -1;
    }
    return fd;
}

static mr_err run_initdb(struct postgres_cluster *cluster, const char *folder)
{
    struct mr_arena *arena = &cluster->arena;
    int64_t from = postgres_cluster_log_bytes(cluster);
    int input = password_input(cluster);
    pid_t pid = 0;
    char *argv[] = {(char *)mr_arena_printf(arena, "%s/initdb", cluster->programs).data,
                    "-D",
                    (char *)folder,
                    "-U",
                    "millrace",
                    "--no-sync",
                    "--no-instructions",
                    "--encoding=UTF8",
                    "--locale=C.UTF-8",
                    "--auth=scram-sha-256",
                    "--pwfile=/dev/stdin",
                    NULL};
    if (input < 0)
        return mr_fail(MR_IO, "%s: no memory file for the password: %s", folder, strerror(errno));
    mr_err err = postgres_cluster_spawn(cluster, argv, input, &pid);
    mr_fd_close(input);
    if (err != MR_OK)
        return err;
    int status = wait_for(pid);
    if (status == 0)
        return MR_OK;
    mr_str tail = postgres_cluster_log_tail(cluster, from);
    bool full = mr_str_find(tail, MR_STR("No space left")) >= 0;
    return mr_fail(full ? MR_FULL : MR_IO, "%s: initdb ended with status %d: %.*s", folder, status,
                   MR_STR_ARG(tail));
}

/* Our settings stand in a file of their own, included by the one that users edit. */
static mr_err write_settings(struct postgres_cluster *cluster, const char *folder)
{
    const char *path = mr_arena_printf(&cluster->arena, "%s/millrace.conf", folder).data;
    struct mr_buf text = {0};
    mr_err err = MR_OK;
    mr_buf_cstr(&text, SETTINGS);
    /* A socket's path has to fit sun_path (108 bytes); without one TCP still works. */
    bool fits = strlen(cluster->data) + sizeof "/.s.PGSQL.65535.lock" < 108;
    mr_buf_cstr(&text, "unix_socket_directories = ");
    postgres_quote_text(&text, fits ? mr_str_from(cluster->data) : MR_STR(""));
    mr_buf_cstr(&text, "\n");

    struct mr_buf old = {0};
    if (mr_file_read(path, 1 << 20, &old) != MR_OK ||
        !mr_str_equal(mr_buf_as_str(&old), mr_buf_as_str(&text)))
        err = mr_file_write(path, mr_buf_as_str(&text), 0600);
    if (err == MR_OK && cluster->user.change &&
        chown(path, cluster->user.uid, cluster->user.gid) != 0)
        err = mr_fail(mr_err_from_errno(errno), "%s: %s", path, strerror(errno));
    mr_buf_fini(&old);
    mr_buf_fini(&text);
    return err;
}

static mr_err include_settings(struct postgres_cluster *cluster, const char *folder)
{
    static const char LINE[] = "\ninclude_if_exists = 'millrace.conf'\n";
    const char *path = mr_arena_printf(&cluster->arena, "%s/postgresql.conf", folder).data;
    int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (fd < 0)
        return mr_fail(mr_err_from_errno(errno), "%s: %s", path, strerror(errno));
    mr_err err = mr_write_all(fd, LINE, sizeof LINE - 1, -1);
    mr_fd_close(fd);
    return err;
}

/* One sync for all, instead of initdb's own one by one. */
static mr_err sync_all(const char *folder)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    mr_err err = MR_OK;
    if (fd < 0 || syncfs(fd) != 0)
        err = mr_fail(mr_err_from_errno(errno), "%s: sync: %s", folder, strerror(errno));
    mr_fd_close(fd);
    return err;
}

static mr_err make_cluster(struct postgres_cluster *cluster)
{
    const char *folder = mr_arena_printf(&cluster->arena, "%s.new", cluster->data).data;
    mr_err err = mr_folder_remove(folder); /* half made by one that was killed */
    if (err == MR_NOT_FOUND)
        err = MR_OK;
    if (err == MR_OK)
        err = mr_folder_make(folder, 0700);
    if (err == MR_OK && cluster->user.change &&
        chown(folder, cluster->user.uid, cluster->user.gid) != 0)
        err = mr_fail(mr_err_from_errno(errno), "%s: chown to postgres: %s", folder,
                      strerror(errno));
    if (err == MR_OK)
        err = run_initdb(cluster, folder);
    if (err == MR_OK)
        err = include_settings(cluster, folder);
    if (err == MR_OK)
        err = write_settings(cluster, folder);
    if (err == MR_OK)
        err = sync_all(folder);
    if (err == MR_OK && rename(folder, cluster->data) != 0)
        err = mr_fail(mr_err_from_errno(errno), "%s: rename: %s", folder, strerror(errno));
    if (err == MR_OK)
        err = mr_folder_sync(cluster->home);
    return err;
}

/* ---- all of it ---- */
static mr_err absolute(struct mr_arena *arena, const char *path, const char **out)
{
    char *real = mr_arena_alloc(arena, PATH_MAX);
    if (realpath(path, real) == NULL)
        return mr_fail(mr_err_from_errno(errno), "%s: %s", path, strerror(errno));
    *out = real;
    return MR_OK;
}

/* One old log is kept beside the present one. */
static void turn_log(struct postgres_cluster *cluster)
{
    if (postgres_cluster_log_bytes(cluster) > LOG_BYTES_MAX)
        rename(cluster->log_path, mr_arena_printf(&cluster->arena, "%s.1", cluster->log_path).data);
}

static mr_err open_cluster(struct postgres_cluster *cluster)
{
    struct mr_buf version = {0};
    const char *path = mr_arena_printf(&cluster->arena, "%s/PG_VERSION", cluster->data).data;
    mr_err err = mr_file_read(path, 64, &version);
    bool made = err == MR_OK;
    if (made && cluster->programs == NULL)
        err = programs_of_version(cluster, mr_str_trim(mr_buf_as_str(&version)));
    else if (err == MR_NOT_FOUND)
        err = cluster->programs == NULL
                  ? postgres_server_programs(&cluster->arena, &cluster->programs)
                  : MR_OK;
    if (err == MR_OK && !has_programs(&cluster->arena, cluster->programs))
        err = mr_fail(MR_NOT_FOUND,
                      "%s: expected PostgreSQL's programs initdb and postgres, found "
                      "them not; install them with: apt-get install postgresql-15",
                      cluster->programs);
    if (err == MR_OK)
        err = read_password(cluster, made);
    if (err == MR_OK)
        err = made ? write_settings(cluster, cluster->data) : make_cluster(cluster);
    mr_buf_fini(&version);
    return err;
}

mr_err postgres_cluster_init(struct postgres_cluster *cluster, const char *home,
                             const char *programs)
{
    struct mr_arena *arena = &cluster->arena;
    *cluster = (struct postgres_cluster){.programs = programs};
    mr_arena_init(arena);
    mr_err err = find_user(&cluster->user);
    if (err == MR_OK)
        err = mr_folder_make(home, 0755);
    if (err == MR_OK)
        err = absolute(arena, home, &cluster->home);
    if (err == MR_OK) {
        cluster->data = mr_arena_printf(arena, "%s/postgres", cluster->home).data;
        cluster->password_path = mr_arena_printf(arena, "%s/postgres.password", cluster->home).data;
        cluster->log_path = mr_arena_printf(arena, "%s/postgres.log", cluster->home).data;
        err = check_parents(cluster);
    }
    if (err == MR_OK)
        turn_log(cluster);
    if (err == MR_OK)
        err = open_cluster(cluster);
    if (err != MR_OK)
        postgres_cluster_fini(cluster);
    return err;
}

void postgres_cluster_fini(struct postgres_cluster *cluster)
{
    mr_arena_fini(&cluster->arena);
}
