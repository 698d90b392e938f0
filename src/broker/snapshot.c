/* broker/snapshot.c: one consistent moment of all logs, the catalog and who may come in.
 *
 *   asked -> [HOLD] -no removal is under way-> cut -> [WRITE] -all of it is written-> [LINK] -> READY -> [REMOVE]
 *                                               ^------ a partition was deleted meanwhile
 *
 * The cut is one turn of the loop that owns every log: it notes how long each is and what its checkpoint would
 * say. So it is what a SIGKILL at that instant might have left, and a start makes of it what it makes of that: every
 * record that was acknowledged is in it, and a transaction is decided in all partitions or in none. Segments only
 * grow, and are replaced as a whole; so a second name for each file, made while none may be removed, and its length
 * at the cut are that moment for as long as anybody likes to read it, whatever becomes of the log. Nobody waits for a
 * snapshot: appends and reads go on, and only removals are put off, for as long as the names take.
 *
 * What is removed while a moment is READY keeps its room on the disk, by its second name. So a moment whose reader has
 * stopped, and any moment once there is no room for what clients send, is given up, and its reader is told. */
#include "broker/snapshot.h"
#include "broker/server.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    LINE_BYTES_MAX = 64,
    LOOK_US = 20 * 1000,
    WATCH_US = 1000 * 1000,
    PATIENCE_US = 2 * 1000 * 1000, /* for the end of the one before */
    SILENCE_US = 600 * 1000 * 1000,
};

enum state { STATE_HOLD, STATE_WRITE, STATE_LINK, STATE_READY, STATE_REMOVE };
struct piece {
    mr_str path; /* in the broker's folder */
    int64_t bytes, serial;
    int64_t
        printed; /* where it lies in what was printed at the cut; -1: the file gets a second name */
    bool growing, optional, missing;
};
struct written_wait {
    struct broker_log_wait wait;
    struct broker_snapshot *snapshot;
    struct broker_log *log;
};
struct broker_snapshot {
    struct broker_snapshots *owner;
    struct net_conn *conn; /* who asked; NULL: gone, or nobody */
    enum state state;
    struct mr_task held;
    struct mr_timer look;
    int64_t heard_us;      /* the reader's last word */
    int64_t removed;       /* from the storage, before the moment was READY */
    struct mr_arena arena; /* of the pieces */
    MR_ARRAY(struct piece) pieces;
    struct mr_buf printed;
    MR_ARRAY(struct written_wait *) waits;
    size_t waiting;
    bool again; /* a partition of the cut has gone */
    struct mr_job job;
    char source[BROKER_PATH_BYTES], folder[BROKER_PATH_BYTES];
    mr_err err;
    char why[512];
};

static void cut(struct broker_snapshot *snapshot);
static void snapshot_begin(struct broker_snapshots *snapshots, struct net_conn *conn);

/* ---- making and ending ---- */

static void waits_free(struct broker_snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->waits.count; i++)
        mr_free(snapshot->waits.items[i]);
    snapshot->waits.count = 0;
}

static void snapshot_free(struct broker_snapshot *snapshot)
{
    struct broker_snapshots *owner = snapshot->owner;
    struct net_conn *next = owner->next;

    owner->current = NULL;
    owner->next = NULL;
    mr_timer_stop(&owner->patience);
    mr_timer_stop(&snapshot->look);
    waits_free(snapshot);
    mr_array_fini(&snapshot->waits);
    mr_array_fini(&snapshot->pieces);
    mr_buf_fini(&snapshot->printed);
    mr_arena_fini(&snapshot->arena);
    mr_free(snapshot);
    if (next != NULL)
        snapshot_begin(owner, next);
}

static void remove_work(struct mr_job *job)
{
    struct broker_snapshot *snapshot = mr_container(job, struct broker_snapshot, job);
    mr_err err = mr_folder_remove(snapshot->folder);

    if (err != MR_OK && err != MR_NOT_FOUND)
        mr_log(MR_LOG_WARN, "broker", "%s", mr_why());
}

static void remove_done(struct mr_job *job)
{
    snapshot_free(mr_container(job, struct broker_snapshot, job));
}

static void snapshot_remove(struct broker_snapshot *snapshot)
{
    struct broker_server *server = snapshot->owner->server;

    snapshot->state = STATE_REMOVE;
    snapshot->job = (struct mr_job){remove_work, remove_done, server->loop, {0}};
    mr_disk_submit(server->disk, &snapshot->job);
}

static struct broker_snapshot *snapshot_new(struct broker_snapshots *owner)
{
    struct broker_snapshot *snapshot = mr_new(struct broker_snapshot);

    snapshot->owner = owner;
    mr_arena_init(&snapshot->arena);
    snprintf(snapshot->source, sizeof(snapshot->source), "%s", owner->server->storage.folder);
    snprintf(snapshot->folder, sizeof(snapshot->folder), "%s/" BROKER_SNAPSHOT_FOLDER,
             owner->server->storage.folder);
    owner->current = snapshot;
    return snapshot;
}

static void answer_error(struct net_conn *conn, const char *why)
{
    mr_buf_printf(net_out(conn), "error %s\n", why);
    net_close(conn);
}

/* It cannot be had: whoever asked is told why, and nothing is held any longer. */
static void snapshot_fail(struct broker_snapshot *snapshot, const char *why)
{
    struct broker_storage *storage = &snapshot->owner->server->storage;
    struct net_conn *conn = snapshot->conn;

    if (storage->held)
        broker_storage_release(storage);
    snapshot->conn = NULL;
    if (conn != NULL) {
        net_context_set(conn, NULL);
        mr_log(MR_LOG_WARN, "broker", "%s: %s",
               snapshot->state == STATE_READY ? "the snapshot is given up" : "no snapshot", why);
        answer_error(conn, why);
    }
    mr_timer_stop(&snapshot->look);
    if (snapshot->state == STATE_HOLD || (snapshot->state == STATE_WRITE && snapshot->waiting == 0))
        snapshot_free(snapshot);
    else if (snapshot->state == STATE_READY)
        snapshot_remove(snapshot);
    /* else what is under way comes to its end first */
}

/* ---- linking: on a disk thread ---- */

static mr_err piece_link(const struct broker_snapshot *snapshot, struct piece *piece,
                         const char *name)
{
    struct stat status;
    char path[2 * BROKER_PATH_BYTES];

    snprintf(path, sizeof(path), "%s/%.*s", snapshot->source, MR_STR_ARG(piece->path));
    if (link(path, name) != 0) {
        piece->missing = errno == ENOENT && piece->optional;
        return piece->missing ? MR_OK
                              : mr_fail(mr_err_from_errno(errno), "%s: no second name, %s: %s",
                                        path, name, strerror(errno));
    }
    if (stat(name, &status) != 0)
        return mr_fail(mr_err_from_errno(errno), "%s: %s", name, strerror(errno));
    if (piece->optional)
        piece->bytes = status.st_size;
    if (status.st_size < piece->bytes)
        return mr_fail(MR_CORRUPT, "%s: expected at least %lld bytes, found %lld", path,
                       (long long)piece->bytes, (long long)status.st_size);
    return MR_OK;
}

/* It needs not outlive the power: so nothing is synced. */
static mr_err content_write(const char *path, mr_str content)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    mr_err err;

    if (fd < 0)
        return mr_fail(mr_err_from_errno(errno), "%s: %s", path, strerror(errno));
    err = mr_write_all(fd, content.data, content.length, 0);
    if (err != MR_OK)
        err = mr_fail(err, "%s: %s", path, mr_why());
    mr_fd_close(fd);
    return err;
}

static mr_err pieces_link(struct broker_snapshot *snapshot)
{
    const struct broker_snapshots *owner = snapshot->owner;
    struct mr_buf list = {0};
    char name[BROKER_PATH_BYTES + 32];
    mr_err err = MR_OK;

    mr_folder_remove(snapshot->folder);
    if (mkdir(snapshot->folder, 0700) != 0)
        return mr_fail(mr_err_from_errno(errno), "%s: %s", snapshot->folder, strerror(errno));
    mr_buf_printf(&list, "millrace-snapshot 1\ncluster %s\nrun %016" PRIx64 "\n",
                  owner->server->topics.cluster_id, owner->run);
    for (size_t i = 0; i < snapshot->pieces.count && err == MR_OK; i++) {
        struct piece *piece = &snapshot->pieces.items[i];
        snprintf(name, sizeof(name), "%s/%zu", snapshot->folder, i);
        if (piece->printed < 0)
            err = piece_link(snapshot, piece, name);
        if (err == MR_OK && !piece->missing)
            mr_buf_printf(&list, "file %zu %s %lld %lld %lld %.*s\n", i,
                          piece->growing ? "growing" : "whole", (long long)piece->printed,
                          (long long)piece->bytes, (long long)piece->serial,
                          MR_STR_ARG(piece->path));
    }
    snprintf(name, sizeof(name), "%s/printed", snapshot->folder);
    if (err == MR_OK)
        err = content_write(name, mr_buf_as_str(&snapshot->printed));
    mr_buf_cstr(&list, "end\n");
    snprintf(name, sizeof(name), "%s/list", snapshot->folder);
    if (err == MR_OK)
        err = content_write(name, mr_buf_as_str(&list));
    mr_buf_fini(&list);
    return err;
}

static void link_work(struct mr_job *job)
{
    struct broker_snapshot *snapshot = mr_container(job, struct broker_snapshot, job);

    snapshot->err = pieces_link(snapshot);
    if (snapshot->err != MR_OK)
        snprintf(snapshot->why, sizeof(snapshot->why), "%s", mr_why());
}

/* Whether clients' records find no room any more. */
static bool is_short_of_room(const struct broker_storage *storage)
{
    for (size_t i = 0; i < storage->logs.count; i++)
        if (storage->logs.items[i]->failed == MR_FULL)
            return true;
    return storage->low_space;
}

static void watch(struct mr_timer *timer)
{
    struct broker_snapshot *snapshot = mr_container(timer, struct broker_snapshot, look);
    const struct broker_server *server = snapshot->owner->server;

    if (server->storage.removed > snapshot->removed && is_short_of_room(&server->storage))
        snapshot_fail(snapshot, "the disk is short of room, and the backup would keep what was "
                                "removed since it began");
    else if (mr_loop_now_us(server->loop) - snapshot->heard_us > SILENCE_US)
        snapshot_fail(snapshot, "nothing was heard of the backup for ten minutes");
    else
        mr_timer_start(server->loop, timer, WATCH_US);
}

static void link_done(struct mr_job *job)
{
    struct broker_snapshot *snapshot = mr_container(job, struct broker_snapshot, job);
    struct broker_storage *storage = &snapshot->owner->server->storage;

    snapshot->removed = storage->removed;
    if (storage->held)
        broker_storage_release(storage);
    snapshot->state = STATE_READY;
    if (snapshot->err != MR_OK || snapshot->conn == NULL) {
        snapshot_fail(snapshot, snapshot->why);
        return;
    }
    mr_log(MR_LOG_INFO, "broker", "a snapshot of %zu files is there to be copied",
           snapshot->pieces.count);
    snapshot->heard_us = mr_loop_now_us(storage->loop);
    snapshot->look.run = watch;
    mr_timer_start(storage->loop, &snapshot->look, WATCH_US);
    net_send(snapshot->conn, "ready\n", 6);
}

/* ---- the cut ---- */

static struct piece *piece_add(struct broker_snapshot *snapshot, mr_str path)
{
    struct piece *piece = mr_array_add(&snapshot->pieces);
    *piece = (struct piece){.path = path, .printed = -1};
    return piece;
}

/* What was printed behind `from` is the file. */
static void piece_printed(struct broker_snapshot *snapshot, mr_str path, size_t from)
{
    struct piece *piece = piece_add(snapshot, path);

    piece->printed = (int64_t)from;
    piece->bytes = (int64_t)(snapshot->printed.length - from);
}

static void log_cut(struct broker_snapshot *snapshot, const struct broker_log *log)
{
    struct mr_arena *arena = &snapshot->arena;
    size_t from = snapshot->printed.length;

    if (log->end == 0 && log->segments.count == 1)
        return; /* nothing was ever appended */
    broker_checkpoint_print(log, &snapshot->printed);
    piece_printed(snapshot, mr_arena_printf(arena, "topics/%s/checkpoint", log->name), from);
    for (size_t i = 0; i < log->segments.count; i++) {
        struct broker_segment *segment = log->segments.items[i];
        const struct broker_segment_facts *facts = &segment->facts;
        bool growing = i + 1 == log->segments.count;
        struct piece *piece;
        if (facts->bytes == 0)
            continue;
        piece = piece_add(snapshot, mr_arena_printf(arena, "topics/%s/%020lld.log", log->name,
                                                    (long long)facts->base));
        if (segment->serial == 0)
            segment->serial = ++snapshot->owner->serials;
        piece->bytes = facts->bytes;
        piece->serial = segment->serial;
        piece->growing = growing;
        if (growing)
            continue;
        piece_add(snapshot, mr_arena_printf(arena, "topics/%s/%020lld.index", log->name,
                                            (long long)facts->base))
            ->optional = true;
    }
}

static void all_written(struct broker_snapshot *snapshot)
{
    struct broker_server *server = snapshot->owner->server;

    mr_timer_stop(&snapshot->look);
    waits_free(snapshot);
    if (snapshot->conn == NULL) {
        snapshot_fail(snapshot, "");
        return;
    }
    if (snapshot->err != MR_OK) {
        snapshot_fail(snapshot, snapshot->why);
        return;
    }
    if (snapshot->again) {
        cut(snapshot);
        return;
    }
    snapshot->state = STATE_LINK;
    snapshot->job = (struct mr_job){link_work, link_done, server->loop, {0}};
    mr_disk_submit(server->disk, &snapshot->job);
}

static void log_written(struct broker_log_wait *wait, mr_err err)
{
    struct written_wait *written = mr_container(wait, struct written_wait, wait);
    struct broker_snapshot *snapshot = written->snapshot;

    broker_log_unuse(written->log);
    written->log = NULL;
    if (err == MR_NOT_FOUND) {
        snapshot->again = true;
    } else if (err != MR_OK) {
        snapshot->err = err;
        snprintf(snapshot->why, sizeof(snapshot->why), "%s", mr_why());
    }
    if (--snapshot->waiting == 0)
        all_written(snapshot);
}

/* A disk that has become full holds nobody's removals: they may be what makes room. */
static void look(struct mr_timer *timer)
{
    struct broker_snapshot *snapshot = mr_container(timer, struct broker_snapshot, look);

    for (size_t i = 0; i < snapshot->waits.count; i++) {
        const struct broker_log *log = snapshot->waits.items[i]->log;
        if (log != NULL && broker_log_state(log) == MR_FULL) {
            char why[512];
            snprintf(why, sizeof(why), "%s", mr_why());
            snapshot_fail(snapshot, why);
            return;
        }
    }
    mr_timer_start(snapshot->owner->server->loop, &snapshot->look, LOOK_US);
}

static void wait_add(struct broker_snapshot *snapshot, struct broker_log *log)
{
    struct written_wait *written = mr_new(struct written_wait);

    *written = (struct written_wait){{log_written, 0, NULL}, snapshot, log};
    *mr_array_add(&snapshot->waits) = written;
    snapshot->waiting++;
    log->users++;
    broker_log_wait_written(log, &written->wait, log->end);
}

static mr_err logs_cut(struct broker_snapshot *snapshot)
{
    struct broker_topics *topics = &snapshot->owner->server->topics;
    struct mr_map_entry *entry;

    for (size_t i = 0; (entry = mr_map_next(&topics->by_name, &i)) != NULL;) {
        const struct broker_topic *topic = entry->value;
        for (size_t j = 0; j < topic->partitions.count; j++) {
            struct broker_log *log = topic->partitions.items[j]->log;
            mr_err err = broker_log_state(log);
            if (err != MR_OK)
                return err;
            log_cut(snapshot, log);
            if (log->written < log->end)
                wait_add(snapshot, log);
        }
    }
    return MR_OK;
}

static void cut(struct broker_snapshot *snapshot)
{
    struct broker_server *server = snapshot->owner->server;
    size_t from;
    mr_err err;

    snapshot->state = STATE_WRITE;
    snapshot->again = false;
    snapshot->pieces.count = 0;
    mr_arena_reset(&snapshot->arena);
    mr_buf_clear(&snapshot->printed);
    broker_topics_print(&server->topics, &snapshot->printed);
    piece_printed(snapshot, MR_STR("catalog"), 0);
    from = snapshot->printed.length;
    broker_security_print(&server->security, &snapshot->printed);
    if (snapshot->printed.length > from)
        piece_printed(snapshot, MR_STR("security"), from);
    snapshot->waiting = 1; /* so that nothing ends before all is noted */
    err = logs_cut(snapshot);
    if (err != MR_OK) {
        snapshot->err = err;
        snprintf(snapshot->why, sizeof(snapshot->why), "%s", mr_why());
    }
    if (--snapshot->waiting == 0)
        all_written(snapshot);
    else
        mr_timer_start(server->loop, &snapshot->look, LOOK_US);
}

static void files_held(struct mr_task *task)
{
    struct broker_snapshot *snapshot = mr_container(task, struct broker_snapshot, held);

    if (snapshot->conn == NULL)
        snapshot_fail(snapshot, "");
    else
        cut(snapshot);
}

/* ---- who asks ---- */

static void snapshot_begin(struct broker_snapshots *snapshots, struct net_conn *conn)
{
    struct broker_server *server = snapshots->server;
    struct broker_snapshot *snapshot;

    if (!server->ready || server->closing) {
        answer_error(conn, "the log is starting or stopping");
        return;
    }
    snapshot = snapshot_new(snapshots);
    snapshot->conn = conn;
    snapshot->held.run = files_held;
    snapshot->look.run = look;
    broker_storage_hold(&server->storage, &snapshot->held);
}

static void next_refuse(struct mr_timer *timer)
{
    struct broker_snapshots *snapshots = mr_container(timer, struct broker_snapshots, patience);
    struct net_conn *conn = snapshots->next;

    if (snapshots->current->state ==
        STATE_REMOVE) { /* it is on its way out, however many files it had */
        mr_timer_start(snapshots->server->loop, timer, PATIENCE_US);
        return;
    }
    snapshots->next = NULL;
    answer_error(conn, "another backup of this log is being made");
}

static mr_err caller_frame(struct net_conn *conn, mr_str seen, size_t *total)
{
    ptrdiff_t end = mr_str_find_byte(seen, '\n');

    (void)conn;
    if (end < 0 && seen.length >= LINE_BYTES_MAX)
        return mr_fail(MR_CORRUPT, "expected \"snapshot 1\", found a line without an end");
    *total = end < 0 ? 0 : (size_t)end + 1;
    return MR_OK;
}

/* The first word of a connection has the owner as its context, or NULL when it was served. */
static mr_err caller_message(struct net_conn *conn, struct mr_bytes *owner, mr_str frame)
{
    struct broker_snapshots *snapshots = net_context(conn);

    (void)owner;
    if (snapshots != NULL && snapshots->current != NULL && snapshots->current->conn == conn &&
        snapshots->current->state == STATE_READY &&
        mr_str_equal(mr_str_trim(frame), MR_STR("on"))) {
        snapshots->current->heard_us = mr_loop_now_us(snapshots->server->loop);
        return MR_OK;
    }
    if (snapshots == NULL || snapshots->next == conn ||
        (snapshots->current != NULL && snapshots->current->conn == conn))
        return mr_fail(MR_INVALID, "a connection asks for one snapshot");
    if (!mr_str_equal(mr_str_trim(frame), MR_STR("snapshot 1"))) {
        answer_error(conn, "expected \"snapshot 1\": this log is of another release");
    } else if (snapshots->current == NULL) {
        snapshot_begin(snapshots, conn);
    } else if (snapshots->next == NULL) { /* most often the last one's files are just going */
        snapshots->next = conn;
        mr_timer_start(snapshots->server->loop, &snapshots->patience, PATIENCE_US);
    } else {
        answer_error(conn, "another backup of this log is being made");
    }
    return MR_OK;
}

static void caller_closed(struct net_conn *conn, mr_err why)
{
    struct broker_snapshots *snapshots = net_context(conn);
    struct broker_snapshot *snapshot = snapshots == NULL ? NULL : snapshots->current;

    (void)why;
    if (snapshots != NULL && snapshots->next == conn) {
        snapshots->next = NULL;
        mr_timer_stop(&snapshots->patience);
    }
    if (snapshot == NULL || snapshot->conn != conn)
        return;
    snapshot->conn = NULL;
    if (snapshot->state == STATE_WRITE || snapshot->state == STATE_READY)
        snapshot_fail(snapshot, "");
}

static const struct net_handler handler = {net_nothing, caller_frame, caller_message, net_nothing,
                                           caller_closed};

/* ---- what the server sees ---- */

void broker_snapshots_open(struct broker_snapshots *snapshots, struct broker_server *server)
{
    mr_err err;

    snapshots->server = server;
    snapshots->patience.run = next_refuse;
    mr_entropy(&snapshots->run, sizeof(snapshots->run));
    err = net_listen_local(server->loop, server->storage.folder, BROKER_SNAPSHOT_SOCKET, &handler,
                           snapshots, &snapshots->listener);
    if (err != MR_OK)
        mr_log(MR_LOG_WARN, "broker", "no backup while this runs: %s", mr_why());
}

void broker_snapshots_begin(struct broker_snapshots *snapshots)
{
    snapshot_remove(snapshot_new(snapshots));
}

void broker_snapshots_close(struct broker_snapshots *snapshots)
{
    char path[BROKER_PATH_BYTES];

    if (snapshots->listener == NULL)
        return;
    net_listener_close(snapshots->listener);
    snapshots->listener = NULL;
    snprintf(path, sizeof(path), "%s/" BROKER_SNAPSHOT_SOCKET, snapshots->server->storage.folder);
    unlink(path);
}
