/* broker/source.c: what a backup copies: the files of a moment that the running broker keeps for us (snapshot.c), or
 * those of a folder that nobody uses. */
#include "broker/backup.h"
#include "broker/snapshot.h"
#include "broker/topics.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    LINE_BYTES_MAX = 4096,
    LIST_BYTES_MAX = 512 << 20,
    TELL_US = 1000 * 1000,
};

static struct broker_source_file *file_add(struct broker_source *source, mr_str path,
                                           const char *from)
{
    struct broker_source_file *file = mr_array_add(&source->files);

    *file = (struct broker_source_file){.path = path, .from = from};
    return file;
}

/* ---- of a broker that runs ---- */

static void asking_opened(struct net_conn *conn)
{
    net_send(conn, "snapshot 1\n", 11);
}

static mr_err asking_frame(struct net_conn *conn, mr_str seen, size_t *total)
{
    ptrdiff_t end = mr_str_find_byte(seen, '\n');

    (void)conn;
    if (end < 0 && seen.length >= LINE_BYTES_MAX)
        return mr_fail(MR_CORRUPT, "the log's answer to a backup: expected a line");
    *total = end < 0 ? 0 : (size_t)end + 1;
    return MR_OK;
}

static mr_err asking_message(struct net_conn *conn, struct mr_bytes *owner, mr_str frame)
{
    struct broker_source *source = net_context(conn);

    (void)owner;
    if (source == NULL || source->heard)
        return mr_fail(MR_CORRUPT, "the log answers twice");
    mr_buf_clear(&source->said);
    mr_buf_str(&source->said, mr_str_trim(frame));
    source->heard = true;
    mr_loop_stop(source->loop);
    return MR_OK;
}

static void asking_closed(struct net_conn *conn, mr_err why)
{
    struct broker_source *source = net_context(conn);

    (void)why;
    if (source == NULL)
        return; /* given up by broker_source_close() */
    source->conn = NULL;
    mr_loop_stop(source->loop);
}

static const struct net_handler handler = {asking_opened, asking_frame, asking_message, net_nothing,
                                           asking_closed};

/* What the broker said, when it is an error. */
static mr_err said(const struct broker_source *source)
{
    mr_str answer = mr_buf_as_str(&source->said);

    if (mr_str_starts(answer, MR_STR("error ")))
        return mr_fail(MR_CONFLICT, "the log says: %.*s",
                       MR_STR_ARG(mr_str_slice(answer, 6, answer.length)));
    if (!mr_str_equal(answer, MR_STR("ready")))
        return mr_fail(MR_CORRUPT, "expected \"ready\" of the log, found \"%.*s\"",
                       MR_STR_ARG(answer));
    return MR_OK;
}

/* Blocks until the broker has answered; it keeps the moment as long as it sees us connected. */
static mr_err ask(struct broker_source *source, const char *folder)
{
    mr_err err;

    source->loop = mr_loop_new("backup", NULL);
    err = net_connect_local(source->loop, folder, BROKER_SNAPSHOT_SOCKET, &handler, source,
                            &source->conn);
    if (err != MR_OK)
        return err;
    mr_loop_run(source->loop);
    if (!source->heard)
        return mr_fail(MR_UNREACHABLE,
                       "%s/" BROKER_SNAPSHOT_SOCKET
                       ": no log answers there, though a millrace uses its folder",
                       folder);
    source->heard = false;
    return said(source);
}

/* What has become of the broker, or MR_OK. */
static mr_err look(struct broker_source *source)
{
    mr_loop_turn(source->loop, 0);
    if (source->heard)
        return said(source);
    return source->conn != NULL
               ? MR_OK
               : mr_fail(MR_CLOSED, "the log was stopped while it was copied; begin again");
}

mr_err broker_source_goes_on(struct broker_source *source)
{
    int64_t now_us;
    mr_err err;

    if (source->loop == NULL)
        return MR_OK;
    now_us = mr_loop_now_us(source->loop);
    if (now_us - source->told_us < TELL_US)
        return MR_OK;
    source->told_us = now_us;
    err = look(source);
    if (err != MR_OK)
        return err;
    net_send(source->conn, "on\n", 3);
    return look(source);
}

mr_err broker_source_file(struct broker_source *source, const struct broker_source_file *file,
                          int *fd)
{
    int error;
    mr_err err;

    *fd = open(file->from, O_RDONLY | O_CLOEXEC);
    if (*fd >= 0)
        return MR_OK;
    error = errno;
    err = source->loop != NULL ? look(source) : MR_OK; /* it has a better word for it */
    return err != MR_OK ? err
                        : mr_fail(mr_err_from_errno(error), "%s: %s", file->from, strerror(error));
}

static bool list_row(struct broker_source *source, const char *moment, mr_str line)
{
    mr_str word, number, kind, printed, bytes, serial;
    struct broker_source_file *file;
    int64_t length, made, offset;

    if (!mr_str_split(&line, ' ', &word))
        return false;
    if (mr_str_equal(word, MR_STR("cluster"))) {
        source->cluster = line;
        return line.length > 0;
    }
    if (mr_str_equal(word, MR_STR("run"))) {
        for (size_t i = 0; i < line.length; i++)
            source->run = source->run << 4 | (uint64_t)(mr_hex_digit(line.data[i]) & 15);
        return source->run != 0;
    }
    if (!mr_str_equal(word, MR_STR("file")) || !mr_str_split(&line, ' ', &number) ||
        !mr_str_split(&line, ' ', &kind) || !mr_str_split(&line, ' ', &printed) ||
        !mr_str_split(&line, ' ', &bytes) || !mr_str_split(&line, ' ', &serial) ||
        mr_str_to_i64(bytes, &length) != MR_OK || length < 0 ||
        mr_str_to_i64(serial, &made) != MR_OK || mr_str_to_i64(printed, &offset) != MR_OK ||
        !broker_manifest_path_ok(line))
        return false;
    file = file_add(source, line,
                    mr_arena_printf(&source->arena, "%s/%.*s", moment,
                                    MR_STR_ARG(offset < 0 ? number : MR_STR("printed")))
                        .data);
    file->offset = offset < 0 ? 0 : offset;
    file->bytes = length;
    file->serial = made;
    file->growing = mr_str_equal(kind, MR_STR("growing"));
    return true;
}

static mr_err list_read(struct broker_source *source, const char *folder)
{
    const char *moment = mr_arena_printf(&source->arena, "%s/" BROKER_SNAPSHOT_FOLDER, folder).data;
    const char *path = mr_arena_printf(&source->arena, "%s/list", moment).data;
    struct mr_buf buf = {0};
    bool ended = false;
    mr_str text, line;
    mr_err err = mr_file_read(path, LIST_BYTES_MAX, &buf);

    text = mr_arena_str(&source->arena, mr_buf_as_str(&buf));
    mr_buf_fini(&buf);
    if (err == MR_OK &&
        (!mr_str_split(&text, '\n', &line) || !mr_str_equal(line, MR_STR("millrace-snapshot 1"))))
        err = mr_fail(MR_UNSUPPORTED, "%s: expected a snapshot of format 1", path);
    while (err == MR_OK && !ended && mr_str_split(&text, '\n', &line)) {
        ended = mr_str_equal(line, MR_STR("end"));
        if (!ended && !list_row(source, moment, line))
            err = mr_fail(MR_CORRUPT, "%s: expected a row of the list, found \"%.*s\"", path,
                          MR_STR_ARG(mr_str_slice(line, 0, 300)));
    }
    return err == MR_OK && !ended ? mr_fail(MR_CORRUPT, "%s: its end is missing", path) : err;
}

/* ---- of a folder that nobody uses ---- */

/* `optional`: may be missing. */
static mr_err add_found(struct broker_source *source, mr_str folder, mr_str path, bool growing,
                        bool optional)
{
    const char *from =
        mr_arena_printf(&source->arena, "%.*s/%.*s", MR_STR_ARG(folder), MR_STR_ARG(path)).data;
    struct broker_source_file *file;
    struct stat status;

    if (stat(from, &status) != 0)
        return errno == ENOENT && optional
                   ? MR_OK
                   : mr_fail(mr_err_from_errno(errno), "%s: %s", from, strerror(errno));
    file = file_add(source, path, from);
    file->bytes = status.st_size;
    file->growing = growing;
    return MR_OK;
}

/* After an orderly stop only the newest segment goes on; else a start may cut any. */
static mr_err add_partition(struct broker_source *source, mr_str folder,
                            const struct broker_log *log, bool clean)
{
    struct mr_arena *arena = &source->arena;
    int64_t *bases = NULL;
    size_t count = 0;
    mr_err err = broker_segment_list(mr_str_from(log->folder), &bases, &count);

    if (err == MR_NOT_FOUND)
        return MR_OK; /* nothing was ever appended */
    if (err == MR_OK)
        err = add_found(source, folder, mr_arena_printf(arena, "topics/%s/checkpoint", log->name),
                        false, true);
    for (size_t i = 0; i < count && err == MR_OK; i++) {
        err = add_found(
            source, folder,
            mr_arena_printf(arena, "topics/%s/%020lld.log", log->name, (long long)bases[i]),
            !clean || i + 1 == count, false);
        if (err == MR_OK)
            err = add_found(
                source, folder,
                mr_arena_printf(arena, "topics/%s/%020lld.index", log->name, (long long)bases[i]),
                false, true);
    }
    mr_free(bases);
    return err;
}

static mr_err folder_read(struct broker_source *source, mr_str folder)
{
    struct broker_storage storage = {.folder = mr_copy_cstr(folder)};
    bool clean = access(mr_arena_printf(&source->arena, "%s/clean", storage.folder).data, F_OK) ==
                 0;
    struct broker_topics topics;
    struct mr_map_entry *entry;
    mr_err err = broker_topics_peek(&topics, &storage);

    source->cluster = mr_arena_str(&source->arena, mr_str_from(topics.cluster_id));
    if (err == MR_OK)
        err = add_found(source, folder, MR_STR("catalog"), false, false);
    if (err == MR_OK)
        err = add_found(source, folder, MR_STR("security"), false, true);
    for (size_t i = 0; err == MR_OK && (entry = mr_map_next(&topics.by_name, &i)) != NULL;) {
        const struct broker_topic *topic = entry->value;
        for (size_t j = 0; j < topic->partitions.count && err == MR_OK; j++) {
            struct broker_log *log = broker_topics_log(topic->partitions.items[j]);
            err = add_partition(source, folder, log, clean);
            broker_log_free(log);
        }
    }
    broker_topics_fini(&topics);
    mr_free(storage.folder);
    return err;
}

mr_err broker_source_open(mr_str folder, bool running, struct broker_source *out)
{
    mr_err err;

    *out = (struct broker_source){0};
    mr_arena_init(&out->arena);
    if (running) {
        const char *path = mr_arena_cstr(&out->arena, folder);
        err = ask(out, path);
        if (err == MR_OK)
            err = list_read(out, path);
    } else {
        err = folder_read(out, folder);
    }
    if (err != MR_OK)
        broker_source_close(out);
    return err;
}

void broker_source_close(struct broker_source *source)
{
    char *why = mr_copy_cstr(mr_str_from(mr_why())); /* of what went wrong before */

    if (source->conn != NULL) {
        net_context_set(source->conn, NULL);
        net_abort(source->conn);
    }
    for (int i = 0; source->loop != NULL && i < 3; i++)
        mr_loop_turn(source->loop, 0);
    mr_loop_free(source->loop);
    mr_buf_fini(&source->said);
    mr_array_fini(&source->files);
    mr_arena_fini(&source->arena);
    *source = (struct broker_source){0};
    mr_fail(MR_OK, "%s", why);
    mr_free(why);
}
