/* broker/backup_test.c: a snapshot is one moment of a log that goes on, and holds nobody; what a backup says of itself
 * is not believed. Stories of whole backups are in test/broker/test_broker_backup.py. */
#include "broker/backup.h"
#include "broker_peer.h"
#include "kafka/records.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/un.h>

/* ---- who asks for a snapshot ---- */

static int says(struct broker *b, const char *words)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%.90s/control", b->folder);
    expect(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
    expect(write(fd, words, strlen(words)) == (ssize_t)strlen(words));
    return fd;
}

static int asks_for_snapshot(struct broker *b)
{
    return says(b, "snapshot 1\n");
}

static void turns(struct broker *b, int count)
{
    for (int i = 0; i < count; i++)
        mr_loop_turn(b->loop, 0);
}

/* The answer, whose end may not be there yet. */
static mr_str answer_of(struct broker *b, int fd)
{
    static char text[600];
    ssize_t got = -1;

    for (int i = 0; i < 3000 && got <= 0; i++) {
        mr_loop_turn(b->loop, 1000);
        got = recv(fd, text, sizeof(text), MSG_DONTWAIT);
    }
    expect(got > 0);
    return mr_str_trim(mr_str_of(text, (size_t)got));
}

static struct broker_log *log_of(struct broker *b, const char *topic)
{
    return broker_topics_partition(&b->server->topics, mr_str_from(topic), 0)->log;
}

static void appends(struct broker *b, const char *topic, int count)
{
    for (int i = 0; i < count; i++) {
        struct mr_buf buf = {0};
        struct kafka_builder builder;
        struct broker_batch batch;
        struct mr_bytes *bytes;
        kafka_records_begin(&builder, &buf);
        kafka_records_append(&builder, 1700000000000, MR_STR("key"), MR_STR("value"), NULL, 0);
        expect_ok(kafka_records_finish(&builder, KAFKA_CODEC_NONE, 0, -1, -1, -1, false));
        bytes = mr_bytes_copy(buf.data, buf.length);
        expect_ok(broker_batch_read(bytes->data, bytes->length, &batch));
        expect_ok(broker_log_append(log_of(b, topic), bytes, bytes->data, &batch));
        mr_bytes_unref(bytes);
        mr_buf_fini(&buf);
    }
}

static void is_written(struct broker *b, struct broker_log *log)
{
    for (int i = 0; i < 3000 && (log->written < log->end || log->users > 0); i++)
        mr_loop_turn(b->loop, 1000);
    expect_int(log->written, log->end);
}

static bool exists(const struct broker *b, const char *name)
{
    struct stat status;
    char path[700];

    snprintf(path, sizeof(path), "%s/%s", b->folder, name);
    return stat(path, &status) == 0;
}

/* Nothing is left of any snapshot. */
static void expect_over(struct broker *b)
{
    for (int i = 0; i < 3000 && broker_snapshots_busy(&b->server->snapshots); i++)
        mr_loop_turn(b->loop, 1000);
    expect(!broker_snapshots_busy(&b->server->snapshots));
    expect(!b->server->storage.held && b->server->storage.removals_held.count == 0);
    expect(!exists(b, "snapshot"));
}

/* The row that the snapshot's list has of a path, as "growing 68"; "" when it has none. */
static mr_str listed(struct broker *b, const char *path)
{
    static char row[200];
    struct mr_buf list = {0};
    char name[700];
    mr_str text, line;

    row[0] = '\0';
    snprintf(name, sizeof(name), "%s/snapshot/list", b->folder);
    expect_ok(mr_file_read(name, 1 << 20, &list));
    text = mr_buf_as_str(&list);
    while (mr_str_split(&text, '\n', &line)) {
        mr_str word, number, kind, printed, bytes;
        if (!mr_str_ends(line, mr_str_from(path)))
            continue;
        expect(mr_str_split(&line, ' ', &word) && mr_str_split(&line, ' ', &number) &&
               mr_str_split(&line, ' ', &kind) && mr_str_split(&line, ' ', &printed) &&
               mr_str_split(&line, ' ', &bytes));
        snprintf(row, sizeof(row), "%.*s %.*s", MR_STR_ARG(kind), MR_STR_ARG(bytes));
    }
    mr_buf_fini(&list);
    return mr_str_from(row);
}

static void given_topic(struct story *t, struct broker *b, const char *name)
{
    given_broker(t, b);
    struct peer *peer = given_peer(b);
    has_topic(peer, name, 1);
    leaves(peer);
    expect_over(b);
}

STORY("a snapshot is the moment at which it was asked for, whatever the log does afterwards")
{
    struct broker b;
    char expected[64];
    given_topic(t, &b, "orders");
    appends(&b, "orders", 10);
    snprintf(expected, sizeof(expected), "growing %u",
             broker_log_active(log_of(&b, "orders"))->facts.bytes);
    int fd = asks_for_snapshot(&b); /* nothing is written yet: that is waited for */
    turns(&b, 1);
    expect_str(answer_of(&b, fd), MR_STR("ready"));
    appends(&b, "orders", 5);
    is_written(&b, log_of(&b, "orders"));
    expect_str(listed(&b, "topics/orders-0/00000000000000000000.log"), mr_str_from(expected));
    expect(listed(&b, "catalog").length > 0 && listed(&b, "topics/orders-0/checkpoint").length > 0);
    expect_str(listed(&b, "topics/__consumer_offsets-0/checkpoint"), MR_STR(""));
    expect(!b.server->storage.held);
    close(fd);
    expect_over(&b);
    stops(&b);
}

STORY("what retention drops meanwhile is still there for a snapshot, and goes after it")
{
    struct broker b;
    struct broker_log *log;
    char *first = NULL;
    struct mr_buf name = {0};
    given_topic(t, &b, "orders");
    log = log_of(&b, "orders");
    appends(&b, "orders", 3);
    broker_upkeep_roll(log);
    appends(&b, "orders", 3);
    broker_checkpoint_begin(log);
    is_written(&b, log);
    mr_buf_cstr(&name, "topics/orders-0/00000000000000000000.log");
    first = mr_buf_take_cstr(&name);
    log->writing = true; /* the disk hangs */
    appends(&b, "orders", 1);
    int fd = asks_for_snapshot(&b);
    turns(&b, 5);
    expect(b.server->storage.held);
    broker_upkeep_cut(log, 3);
    turns(&b, 5);
    expect_int(log->segments.count, 1);
    expect(exists(&b, first));
    log->writing = false;
    broker_log_flush(log);
    expect_str(answer_of(&b, fd), MR_STR("ready"));
    expect(mr_str_starts(listed(&b, first), MR_STR("whole ")));
    for (int i = 0; i < 3000 && exists(&b, first); i++)
        mr_loop_turn(b.loop, 1000);
    expect(!exists(&b, first));
    close(fd);
    expect_over(&b);
    stops(&b);
    mr_free(first);
}

STORY("a topic that is deleted before its records are written is not in the snapshot")
{
    struct broker b;
    given_topic(t, &b, "orders");
    struct peer *peer = given_peer(&b);
    has_topic(peer, "kept", 1);
    struct broker_log *log = log_of(&b, "orders");
    log->writing = true; /* the disk hangs */
    appends(&b, "orders", 1);
    appends(&b, "kept", 1);
    int fd = asks_for_snapshot(&b);
    turns(&b, 5);
    broker_topics_delete(&b.server->topics, broker_topics_find(&b.server->topics, MR_STR("orders")),
                         NULL);
    log->writing = false;
    expect_str(answer_of(&b, fd), MR_STR("ready"));
    expect_str(listed(&b, "topics/orders-0/00000000000000000000.log"), MR_STR(""));
    expect(listed(&b, "topics/kept-0/00000000000000000000.log").length > 0);
    close(fd);
    expect_over(&b);
    leaves(peer);
    stops(&b);
}

STORY("a disk that is full gives no snapshot, and no snapshot keeps it full")
{
    struct broker b;
    struct broker_log *log;
    given_topic(t, &b, "orders");
    log = log_of(&b, "orders");
    log->writing = true; /* the disk hangs, */
    appends(&b, "orders", 1);
    int fd = asks_for_snapshot(&b);
    turns(&b, 5);
    expect(b.server->storage.held);
    log->failed = MR_FULL; /* and is full */
    passes(&b, 500);
    expect(mr_str_starts(answer_of(&b, fd), MR_STR("error orders-0: the log is read-only")));
    expect(!b.server->storage.held);
    expect(broker_snapshots_busy(&b.server->snapshots)); /* what waits has to be told first */
    int late = asks_for_snapshot(&b);
    turns(&b, 5);
    passes(&b, 2500);
    expect(mr_str_starts(answer_of(&b, late), MR_STR("error another backup")));
    log->failed = MR_OK;
    log->writing = false;
    broker_log_flush(log);
    expect_over(&b);
    int again = asks_for_snapshot(&b);
    expect_str(answer_of(&b, again), MR_STR("ready"));
    close(fd);
    close(late);
    close(again);
    expect_over(&b);
    stops(&b);
}

STORY("a moment is kept for a reader who goes on, and given up when the disk has no room for what "
      "it keeps")
{
    struct broker b;
    struct broker_log *log;
    struct broker_storage *storage;
    given_topic(t, &b, "orders");
    log = log_of(&b, "orders");
    storage = &b.server->storage;
    appends(&b, "orders", 3);
    broker_upkeep_roll(log);
    appends(&b, "orders", 3);
    broker_checkpoint_begin(log);
    is_written(&b, log);
    int fd = asks_for_snapshot(&b);
    expect_str(answer_of(&b, fd), MR_STR("ready"));
    log->failed = MR_FULL;
    passes(&b, 5000); /* the moment keeps nothing that would be gone without it */
    expect(exists(&b, "snapshot/list"));
    log->failed = MR_OK;
    broker_upkeep_cut(log, 3);
    is_written(&b, log);
    passes(&b, 5000);
    expect(exists(&b, "snapshot/list"));
    log->failed = MR_FULL;
    passes(&b, 1500);
    expect(mr_str_starts(answer_of(&b, fd), MR_STR("error the disk is short of room")));
    expect_over(&b);
    log->failed = MR_OK;
    close(fd);
    fd = asks_for_snapshot(&b);
    expect_str(answer_of(&b, fd), MR_STR("ready"));
    expect_int(storage->removed, 1);
    close(fd);
    expect_over(&b);
    stops(&b);
}

STORY("a reader of whom nothing is heard for ten minutes does not keep the moment")
{
    struct broker b;
    given_topic(t, &b, "orders");
    int fd = asks_for_snapshot(&b);
    expect_str(answer_of(&b, fd), MR_STR("ready"));
    for (int i = 0; i < 3; i++) {
        passes(&b, 590000);
        expect(write(fd, "on\n", 3) == 3);
        turns(&b, 3);
        expect(exists(&b, "snapshot/list"));
    }
    passes(&b, 599000);
    expect(exists(&b, "snapshot/list"));
    passes(&b, 3000);
    expect_str(answer_of(&b, fd), MR_STR("error nothing was heard of the backup for ten minutes"));
    expect_over(&b);
    close(fd);
    stops(&b);
}

STORY("whoever goes, at whatever moment, leaves nothing behind, and the next is served")
{
    struct broker b;
    given_topic(t, &b, "orders");
    for (int moment = 0; moment < 30; moment++) {
        appends(&b, "orders", 3);
        int fd = asks_for_snapshot(&b);
        for (int i = 0; i < moment; i++)
            mr_loop_turn(b.loop, i % 3 == 0 ? 1000 : 0);
        close(fd);
        int next = asks_for_snapshot(&b);
        expect_str(answer_of(&b, next), MR_STR("ready"));
        close(next);
    }
    expect_over(&b);
    int last = asks_for_snapshot(&b);
    turns(&b, 3);
    stops(&b); /* and nobody waits for the end of one */
    close(last);
}

STORY("a stranger's words at the broker's door")
{
    static const char *const words[] = {"snapshot 2\n", "GET / HTTP/1.1\r\n\r\n", "\n"};
    struct broker b;
    char flood[5000];
    given_broker(t, &b);
    expect_over(&b);
    for (size_t i = 0; i < mr_count_of(words); i++) {
        int fd = says(&b, words[i]);
        expect(mr_str_starts(answer_of(&b, fd), MR_STR("error expected \"snapshot 1\"")));
        close(fd);
    }
    int fd = asks_for_snapshot(&b);
    expect_str(answer_of(&b, fd), MR_STR("ready"));
    memset(flood, 'x', sizeof(flood));
    expect(write(fd, flood, sizeof(flood)) > 0); /* then it is shut */
    expect_over(&b);
    close(fd);
    stops(&b);
}

/* ---- the manifest ---- */

static mr_str given_manifest(struct mr_buf *text)
{
    struct broker_manifest manifest = {
        .cluster = MR_STR("abc"), .run = 77, .made_ms = 1700000000000};

    *mr_array_add(&manifest.files) = (struct broker_manifest_file){
        MR_STR("topics/a-0/00000000000000000000.log"), 7, 123, 0xfeedbeef, 4, 99, 12345};
    *mr_array_add(&manifest.files) = (struct broker_manifest_file){
        MR_STR("catalog"), 2, 5, 1, 0, 3, 4};
    broker_manifest_print(&manifest, text);
    broker_manifest_fini(&manifest);
    return mr_buf_as_str(text);
}

STORY("a manifest says what was written into it, and one that is damaged anywhere is refused")
{
    struct broker_manifest manifest;
    struct mr_buf text = {0};
    mr_str whole = given_manifest(&text);

    expect_ok(broker_manifest_read(whole, "here", &manifest));
    expect_str(manifest.cluster, MR_STR("abc"));
    expect(manifest.run == 77 && manifest.made_ms == 1700000000000 && manifest.files.count == 2);
    const struct broker_manifest_file *file = broker_manifest_find(
        &manifest, MR_STR("topics/a-0/00000000000000000000.log"));
    expect(file->number == 7 && file->bytes == 123 && file->checksum == 0xfeedbeef &&
           file->serial == 4 && file->inode == 99 && file->changed_ns == 12345);
    expect(broker_manifest_find(&manifest, MR_STR("catalo")) == NULL);
    broker_manifest_fini(&manifest);
    for (size_t i = 0; i < text.length; i++) {
        text.data[i] ^= 1;
        mr_err err = broker_manifest_read(whole, "here", &manifest);
        expect(err == MR_CORRUPT || err == MR_UNSUPPORTED);
        text.data[i] ^= 1;
        expect(broker_manifest_read(mr_str_slice(whole, 0, i), "here", &manifest) != MR_OK);
    }
    mr_buf_fini(&text);
}

static mr_err reads(const char *rows)
{
    struct broker_manifest manifest;
    struct mr_buf text = {0};
    mr_err err;

    mr_buf_printf(&text, "millrace-backup 1\n%s", rows);
    mr_buf_printf(&text, "end %08x\n", mr_crc32c(0, text.data, text.length));
    err = broker_manifest_read(mr_buf_as_str(&text), "here", &manifest);
    if (err == MR_OK)
        broker_manifest_fini(&manifest);
    mr_buf_fini(&text);
    return err;
}

STORY("a manifest with a good checksum and bad rows is refused all the same")
{
    static const char *const bad[] = {
        "cluster \n",
        "cluster a b\n",
        "cluster abcdefghijklmnopqrstuvwxyzabcdefgh\n",
        "run 12\n",
        "made x\n",
        "x\n",
        "\n\n",
        "file\n",
        "file 1 2 0000000a 0 0000000000000000 0 catalog\nfile 1 2 0000000a 0 "
        "0000000000000000 0 security\n",
        "file 1 2 0000000a 0 0000000000000000 0 catalog\nfile 2 2 0000000a 0 0000000000000000 0 "
        "catalog\n",
        "file 0 2 0000000a 0 0000000000000000 0 catalog\n",
        "file 1 -2 0000000a 0 0000000000000000 0 catalog\n",
        "file 1 2 a 0 0000000000000000 0 catalog\n",
        "file 1 2 0000000a 0 0000000000000000 0 \n",
        "file 1 2 0000000a 0 0000000000000000 0 ../catalog\n"};

    for (size_t i = 0; i < mr_count_of(bad); i++)
        expect_err(reads(bad[i]), MR_CORRUPT);
    expect_ok(reads(""));
    expect_ok(reads("file 1 2 0000000a 0 0000000000000000 0 catalog\n"));
}

STORY("a restore writes no file that a broker would not")
{
    static const char *const good[] = {"catalog", "security", "topics/a-0/checkpoint",
                                       "topics/a.b_c-d-12/00000000000000000042.log",
                                       "topics/..a-0/00000000000000000042.index"};
    static const char *const bad[] = {"",
                                      "/",
                                      "catalog/",
                                      "lock",
                                      "clean",
                                      "control",
                                      "../catalog",
                                      "/etc/passwd",
                                      "topics",
                                      "topics/",
                                      "topics/a-0",
                                      "topics/a-0/",
                                      "topics/a-0/x",
                                      "topics//checkpoint",
                                      "topics/../checkpoint",
                                      "topics/./checkpoint",
                                      "topics/..-0/checkpoint",
                                      "topics/.-0/checkpoint",
                                      "topics/-0/checkpoint",
                                      "topics/a-/checkpoint",
                                      "topics/a/checkpoint",
                                      "topics/a--1/x",
                                      "topics/a-+1/checkpoint",
                                      "topics/a-0/../checkpoint",
                                      "topics/a-0/checkpoint/",
                                      "topics/a-0/0000000000000000004.log",
                                      "topics/a-0/0000000000000000004x.log",
                                      "topics/a-0/00000000000000000042.exe",
                                      "topics/a b-0/checkpoint",
                                      "topics/a-99999999999/checkpoint"};

    for (size_t i = 0; i < mr_count_of(good); i++)
        if (!broker_manifest_path_ok(mr_str_from(good[i])))
            story_fail(__FILE__, __LINE__, "refused: %s", good[i]);
    for (size_t i = 0; i < mr_count_of(bad); i++)
        if (broker_manifest_path_ok(mr_str_from(bad[i])))
            story_fail(__FILE__, __LINE__, "taken: %s", bad[i]);
    expect(!broker_manifest_path_ok(mr_str_of("topics/a\0b-0/checkpoint", 23)));
}
