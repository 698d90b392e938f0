/* kv/kv_test.c: the promises of kv/kv.h. */
#include "story.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kv/kv.h"

static struct kv_memory *memory;

/* Sums: a value and its operands are decimal numbers. "x" does not read. */
static bool sum_numbers(void *context, mr_str key, mr_str base, const mr_str *operands,
                        size_t count, struct mr_buf *out)
{
    int64_t sum = 0, number = 0;
    expect(context == &memory && key.length > 0);
    if (base.data != NULL && mr_str_to_i64(base, &sum) != MR_OK)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (mr_str_to_i64(operands[i], &number) != MR_OK)
            return false;
        sum += number;
    }
    mr_buf_printf(out, "%lld", (long long)sum);
    return true;
}

/* Drops what is older than the clock, and rewrites "old" as "new". */
static enum kv_verdict judge(void *context, int64_t wall_us, mr_str key, mr_str value,
                             struct mr_buf *changed)
{
    int64_t until = 0;
    expect(context == NULL && key.length > 0);
    if (mr_str_equal(value, MR_STR("old"))) {
        mr_buf_cstr(changed, "new");
        return KV_CHANGE;
    }
    return mr_str_to_i64(value, &until) == MR_OK && until < wall_us ? KV_DROP : KV_KEEP;
}

static const struct kv_merge sums = {sum_numbers, sum_numbers, &memory};
static const struct kv_merge late_sums = {sum_numbers, NULL, &memory};
static const struct kv_filter filter = {judge, NULL};
static const struct kv_family_options families[] = {
    {.name = "plain"},
    {.name = "sums", .merge = &sums},
    {.name = "late", .merge = &late_sums},
    {.name = "filtered", .filter = &filter},
};

static struct kv_db *opens(const char *folder, const struct mr_clock *clock)
{
    struct kv_db *db = NULL;
    if (memory == NULL)
        memory = kv_memory_new(8 << 20);
    struct kv_options options = {.folder = folder,
                                 .memory = memory,
                                 .families = families,
                                 .family_count = mr_count_of(families),
                                 .clock = clock};
    expect_ok(kv_open(&options, &db));
    return db;
}

static void puts_one(struct kv_db *db, const char *family, const char *key, const char *value)
{
    struct kv_batch *batch = kv_batch_new();
    kv_batch_put(batch, kv_family(db, family), mr_str_from(key), mr_str_from(value));
    expect_ok(kv_write(db, batch, 0));
    kv_batch_free(batch);
}

static void merges(struct kv_db *db, const char *family, const char *key, const char *operand)
{
    struct kv_batch *batch = kv_batch_new();
    kv_batch_merge(batch, kv_family(db, family), mr_str_from(key), mr_str_from(operand));
    expect_ok(kv_write(db, batch, KV_NO_SLOWDOWN));
    kv_batch_free(batch);
}

/* The value, or "-" when there is none. */
static void expect_value(struct kv_db *db, const char *family, const char *key,
                         const char *expected)
{
    struct kv_slice slice = {0};
    mr_err err = kv_get(db, kv_family(db, family), mr_str_from(key), 0, NULL, &slice);
    if (strcmp(expected, "-") == 0) {
        expect_int(err, MR_NOT_FOUND);
    } else {
        expect_int(err, MR_OK);
        expect_str(slice.value, mr_str_from(expected));
    }
    kv_slice_fini(&slice);
}

STORY("what is put is found, deleted, and found in ranges")
{
    struct kv_db *db = opens(t->folder, NULL);
    struct kv_family *plain = kv_family(db, "plain");
    struct kv_batch *batch = kv_batch_new();
    for (const char *key = "abcdefgh"; *key != '\0'; key++)
        kv_batch_put(batch, plain, mr_str_of(key, 1), mr_str_of(key, 1));
    kv_batch_delete(batch, plain, MR_STR("b"));
    kv_batch_delete_range(batch, plain, MR_STR("e"), MR_STR("g"));
    expect_int(kv_batch_count(batch), 10);
    expect(kv_batch_bytes(batch) > 30);
    expect_value(db, "plain", "a", "-"); /* not before the write */
    expect_ok(kv_write(db, batch, 0));
    kv_batch_clear(batch);
    expect_int(kv_batch_count(batch), 0);
    kv_batch_free(batch);
    expect_value(db, "plain", "a", "a");
    expect_value(db, "plain", "b", "-");
    expect_value(db, "plain", "f", "-");
    expect_value(db, "default", "a", "-");
    const mr_str keys[] = {MR_STR("a"), MR_STR("b"), MR_STR("g")};
    struct kv_slice slices[3];
    mr_err errs[3];
    kv_get_many(db, plain, keys, 3, 0, NULL, true, slices, errs);
    expect(errs[0] == MR_OK && errs[1] == MR_NOT_FOUND && errs[2] == MR_OK);
    expect_str(slices[2].value, MR_STR("g"));
    for (int i = 0; i < 3; i++)
        kv_slice_fini(&slices[i]);
    kv_close(db);
}

STORY("iterators keep to their bounds, both ways")
{
    struct kv_db *db = opens(t->folder, NULL);
    for (const char *key = "abcdefgh"; *key != '\0'; key++)
        puts_one(db, "plain", (char[]){*key, '\0'}, "v");
    struct kv_iter *iter = kv_iter_open(db, kv_family(db, "plain"), MR_STR("c"), MR_STR("f"), 0,
                                        NULL);
    struct mr_buf seen = {0};
    for (kv_iter_first(iter); kv_iter_valid(iter); kv_iter_next(iter))
        mr_buf_str(&seen, kv_iter_key(iter));
    expect_ok(kv_iter_err(iter));
    for (kv_iter_last(iter); kv_iter_valid(iter); kv_iter_prev(iter))
        mr_buf_str(&seen, kv_iter_key(iter));
    expect_str(mr_buf_as_str(&seen), MR_STR("cdeedc"));
    kv_iter_seek(iter, MR_STR("cc"));
    expect_str(kv_iter_key(iter), MR_STR("d"));
    expect_str(kv_iter_value(iter), MR_STR("v"));
    kv_iter_seek_back(iter, MR_STR("dd"));
    expect_str(kv_iter_key(iter), MR_STR("d"));
    kv_iter_close(iter);
    mr_buf_fini(&seen);
    kv_close(db);
}

STORY("a snapshot does not see what comes after it")
{
    struct kv_db *db = opens(t->folder, NULL);
    struct kv_slice slice = {0};
    puts_one(db, "plain", "k", "before");
    struct kv_snapshot *snapshot = kv_snapshot_take(db);
    puts_one(db, "plain", "k", "after");
    expect_ok(kv_get(db, kv_family(db, "plain"), MR_STR("k"), 0, snapshot, &slice));
    expect_str(slice.value, MR_STR("before"));
    kv_slice_fini(&slice);
    kv_snapshot_release(db, snapshot);
    expect_value(db, "plain", "k", "after");
    kv_close(db);
}

STORY("operands fold onto a value, in memory, after a flush and after a compaction")
{
    static const char *const names[] = {"sums", "late"};
    struct kv_db *db = opens(t->folder, NULL);
    for (size_t i = 0; i < 2; i++) {
        merges(db, names[i], "fresh", "1");
        merges(db, names[i], "fresh", "2");
        puts_one(db, names[i], "k", "40");
        for (int times = 0; times < 20; times++)
            merges(db, names[i], "k", "1");
        expect_value(db, names[i], "k", "60");
        expect_ok(kv_flush(db));
        merges(db, names[i], "k", "-60");
        expect_ok(kv_compact(db, kv_family(db, names[i])));
        expect_value(db, names[i], "k", "0");
        expect_value(db, names[i], "fresh", "3");
        merges(db, names[i], "bad", "x");
        struct kv_slice slice = {0};
        expect_err(kv_get(db, kv_family(db, names[i]), MR_STR("bad"), 0, NULL, &slice), MR_CORRUPT);
    }
    kv_close(db);
    db = opens(t->folder, NULL);
    expect_value(db, "sums", "k", "0");
    kv_close(db);
}

STORY("a compaction drops and changes by the clock it is given")
{
    struct mr_clock clock;
    mr_clock_init_manual(&clock, 1000);
    struct kv_db *db = opens(t->folder, &clock);
    puts_one(db, "filtered", "early", "999");
    puts_one(db, "filtered", "late", "1001");
    puts_one(db, "filtered", "word", "old");
    expect_ok(kv_compact(db, kv_family(db, "filtered")));
    expect_value(db, "filtered", "early", "-");
    expect_value(db, "filtered", "late", "1001");
    expect_value(db, "filtered", "word", "new");
    kv_close(db);
}

STORY("a read that may not touch the disk says so instead of waiting")
{
    struct kv_db *db = opens(t->folder, NULL);
    struct kv_slice slice = {0};
    puts_one(db, "plain", "k", "v");
    expect_ok(kv_get(db, kv_family(db, "plain"), MR_STR("k"), KV_CACHED, NULL, &slice));
    kv_slice_fini(&slice);
    expect_ok(kv_flush(db));
    kv_close(db);
    kv_memory_free(memory);
    memory = NULL; /* nothing is in the cache now */
    db = opens(t->folder, NULL);
    expect_err(kv_get(db, kv_family(db, "plain"), MR_STR("k"), KV_CACHED, NULL, &slice), MR_AGAIN);
    struct kv_iter *iter = kv_iter_open(db, kv_family(db, "plain"), MR_STR_NULL, MR_STR_NULL,
                                        KV_CACHED, NULL);
    kv_iter_first(iter);
    expect(!kv_iter_valid(iter));
    expect_err(kv_iter_err(iter), MR_AGAIN);
    kv_iter_close(iter);
    expect_value(db, "plain", "k", "v"); /* now it is there */
    expect_ok(kv_get(db, kv_family(db, "plain"), MR_STR("k"), KV_CACHED, NULL, &slice));
    kv_slice_fini(&slice);
    kv_close(db);
}

STORY("after a kill everything flushed is there and batches are whole")
{
    struct mr_buf path = {0};
    int ready[2];
    char byte;
    mr_buf_printf(&path, "%s/db", t->folder);
    char *folder = mr_buf_take_cstr(&path);
    expect_int(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        struct kv_db *db = opens(folder, NULL);
        struct kv_batch *batch = kv_batch_new();
        kv_batch_put(batch, kv_family(db, "plain"), MR_STR("a"), MR_STR("1"));
        kv_batch_merge(batch, kv_family(db, "sums"), MR_STR("a"), MR_STR("1"));
        expect_ok(kv_write(db, batch, 0));
        expect_ok(kv_flush_wal(db, true));
        puts_one(db, "plain", "unflushed", "may be lost");
        expect_int(write(ready[1], "x", 1), 1);
        pause();
    }
    expect_int(read(ready[0], &byte, 1), 1);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    struct kv_db *db = opens(folder, NULL);
    expect_value(db, "plain", "a", "1");
    expect_value(db, "sums", "a", "1");
    kv_close(db);
}

STORY("a folder that is open already is refused, and one that cannot be made too")
{
    struct kv_db *db = opens(t->folder, NULL), *second = NULL;
    struct kv_options options = {.folder = t->folder, .memory = memory};
    expect_err(kv_open(&options, &second), MR_BUSY);
    expect(strstr(mr_why(), t->folder) != NULL);
    options.folder = "/proc/no/such/folder";
    expect(kv_open(&options, &second) != MR_OK);
    kv_close(db);
}

STORY("families are made, dropped, and found again when nobody lists them")
{
    struct kv_db *db = opens(t->folder, NULL);
    struct kv_family *extra = NULL, *same = NULL;
    struct kv_family_options wish = {.name = "extra"};
    expect(kv_family(db, "extra") == NULL);
    expect_ok(kv_family_make(db, &wish, &extra));
    expect_ok(kv_family_make(db, &wish, &same));
    expect(same == extra);
    puts_one(db, "extra", "k", "v");
    kv_close(db);
    db = opens(t->folder, NULL);
    expect_value(db, "extra", "k", "v");
    expect_ok(kv_family_drop(db, kv_family(db, "extra")));
    expect(kv_family(db, "extra") == NULL);
    expect_int(kv_key_count(db, kv_family(db, "plain")), 0);
    expect(kv_memory_bytes(db) > 0);
    kv_close(db);
}

STORY("a checkpoint is a database of its own")
{
    struct mr_buf path = {0};
    mr_buf_printf(&path, "%s/db", t->folder);
    char *folder = mr_buf_take_cstr(&path);
    mr_buf_printf(&path, "%s/copy", t->folder);
    char *copy = mr_buf_take_cstr(&path);
    struct kv_db *db = opens(folder, NULL);
    puts_one(db, "plain", "k", "v");
    expect_ok(kv_checkpoint(db, copy));
    puts_one(db, "plain", "k", "later");
    expect(kv_checkpoint(db, copy) != MR_OK); /* it is there already */
    struct kv_db *other = opens(copy, NULL);
    expect_value(other, "plain", "k", "v");
    kv_close(other);
    expect(kv_disk_bytes(db) > 0);
    kv_close(db);
}

/* ---- group commit ---- */

struct waiter {
    struct kv_commit commit;
    bool done;
};

static void waiter_done(struct kv_commit *commit, mr_err err)
{
    expect_int(err, MR_OK);
    mr_container(commit, struct waiter, commit)->done = true;
}

STORY("all who wait in a turn share one flush, and the next begins when it is done")
{
    struct mr_loop *loop = mr_loop_new("test", NULL);
    struct mr_disk *disk = mr_disk_new(1);
    struct kv_db *db = opens(t->folder, NULL);
    struct kv_commits *commits = kv_commits_new(loop, disk, db, true);
    static struct waiter waiters[30];
    for (int i = 0; i < 30; i++) {
        puts_one(db, "plain", "k", "v");
        waiters[i].commit.done = waiter_done;
        kv_commits_wait(commits, &waiters[i].commit);
        if (i % 10 == 9)
            mr_loop_turn(loop, 0);
    }
    expect(!kv_commits_idle(commits));
    while (!waiters[29].done)
        mr_loop_turn(loop, 1000000);
    for (int i = 0; i < 30; i++)
        expect(waiters[i].done);
    expect(kv_commits_idle(commits));
    kv_commits_free(commits);
    kv_close(db);
    mr_disk_free(disk);
    mr_loop_free(loop);
}

/* ---- a full disk ---- */

/* A file system of 24 MiB in the story's folder; false where this user may not mount one. */
static bool given_small_disk(const char *folder)
{
    if (unshare(CLONE_NEWNS) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
        return false;
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        return false;
    return mount("small", folder, "tmpfs", 0, "size=24m") == 0;
}

STORY("a full disk is MR_FULL, and when there is room again it goes on")
{
    if (!given_small_disk(t->folder)) {
        mr_log(MR_LOG_INFO, "test", "skipped: no right to mount a small file system");
        return;
    }
    struct mr_buf path = {0};
    mr_buf_printf(&path, "%s/db", t->folder);
    char *folder = mr_buf_take_cstr(&path);
    mr_buf_printf(&path, "%s/ballast", t->folder);
    char *ballast = mr_buf_take_cstr(&path);
    struct mr_buf bytes = {0};
    memset(mr_buf_grow(&bytes, 12 << 20), 'x', 12 << 20);
    expect_ok(mr_file_write(ballast, mr_buf_as_str(&bytes), 0600));
    struct kv_db *db = opens(folder, NULL);
    struct kv_batch *batch = kv_batch_new();
    struct mr_random random;
    mr_err err = MR_OK;
    int written = 0;
    mr_random_init(&random, 1);
    for (; err == MR_OK && written < 1000; written++) {
        uint64_t value[8192]; /* does not compress */
        for (size_t i = 0; i < mr_count_of(value); i++)
            value[i] = mr_random_u64(&random);
        kv_batch_clear(batch);
        mr_str key = mr_str_of(&written, sizeof written);
        kv_batch_put(batch, kv_family(db, "plain"), key, mr_str_of(value, sizeof value));
        err = kv_write(db, batch, 0);
        if (err == MR_OK)
            err = kv_flush_wal(db, true);
    }
    expect_int(err, MR_FULL);
    expect(strstr(mr_why(), folder) != NULL);
    expect_err(kv_write(db, batch, 0), MR_FULL); /* and it stays so */
    expect_int(unlink(ballast), 0);
    expect_ok(kv_resume(db));
    expect_ok(kv_write(db, batch, 0));
    expect_ok(kv_flush_wal(db, true));
    int first = 0;
    struct kv_slice slice = {0};
    expect_ok(kv_get(db, kv_family(db, "plain"), mr_str_of(&first, sizeof first), 0, NULL, &slice));
    expect_int(slice.value.length, 65536);
    kv_slice_fini(&slice);
    kv_batch_free(batch);
    kv_close(db);
    expect_int(umount2(t->folder, MNT_DETACH), 0);
}
