/* broker/compact_test.c: what compaction keeps, what it takes away and when, on a test's clock and real files. */
#include "broker/compact.h"
#include "broker/journal.h"
#include "broker/log_bench.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void compacts(struct bench *b)
{
    broker_upkeep_roll(b->log);
    checkpoints(b);
    expect(broker_compact_begin(b->log));
    settles(b);
    expect_int(b->storage.compactions, 0);
}

STORY("compaction keeps the last value of each key, and every offset")
{
    struct bench b;
    given_log(t, &b);
    expect_ok(broker_config_set(&b.config, MR_STR("cleanup.policy"), MR_STR("compact")));
    expect_ok(broker_config_set(&b.config, MR_STR("segment.bytes"), MR_STR("400")));
    appends(&b, "a", "1", 1);
    appends(&b, "b", "1", 1);
    appends(&b, "a", "2", 3);
    appends(&b, "c", "1", 1);
    appends(&b, "b", NULL, 1);
    appends(&b, "c", "2", 1);
    syncs(&b);
    compacts(&b);
    expect_records(&b, "4:a=2 6:b=- 7:c=2 ");
    expect_int(b.log->end, 8);
    closes(&b);
    opens(&b, true);
    expect_records(&b, "4:a=2 6:b=- 7:c=2 ");
    mr_clock_pass(&b.clock, 25ll * 3600 * 1000000);
    appends(&b, "a", "3", 1);
    syncs(&b);
    compacts(&b);
    expect_records(&b, "7:c=2 8:a=3 "); /* the first compaction met the tombstone a day ago */
    is_killed(&b);
    opens(&b, false);
    expect_records(&b, "7:c=2 8:a=3 ");
    expect(!broker_compact_begin(b.log));
}

STORY("a read that a compaction overtakes leaves no place for the next one to go on at")
{
    struct bench b;
    struct broker_plan plan, next;
    given_log(t, &b);
    expect_ok(broker_config_set(&b.config, MR_STR("cleanup.policy"), MR_STR("compact")));
    expect_ok(broker_config_set(&b.config, MR_STR("segment.bytes"), MR_STR("400")));
    for (int i = 0; i < 4; i++)
        appends(&b, "a", "1", 1);
    appends(&b, "b", "1", 1);
    syncs(&b);
    b.storage.recent_bytes_max = 1;
    broker_storage_remember(&b.storage, b.log, 0);
    broker_upkeep_roll(b.log);
    checkpoints(&b);
    expect(broker_plan_offset(b.log, 0, 5, 1, &plan));
    broker_plan_run(&plan);
    expect_ok(plan.err);
    expect_int(plan.next_offset, 1);
    expect(broker_compact_begin(b.log));
    for (int i = 0; i < 2000 && b.storage.compactions > 0; i++)
        mr_loop_turn(b.loop, 1000);
    expect_int(b.storage.compactions, 0);
    broker_plan_finish(&plan);
    mr_bytes_unref(plan.piece.owner);
    expect(broker_plan_offset(b.log, 1, 5, 1, &next));
    expect(!next.goes_on);
    expect_int(next.position, 0);
    broker_plan_run(&next);
    expect_ok(next.err);
    expect_int(next.next_offset, 4); /* the last value of a */
    broker_plan_finish(&next);
    mr_bytes_unref(next.piece.owner);
    expect_records(&b, "3:a=1 4:b=1 ");
    settles(&b);
}

static void held_run(struct mr_task *task)
{
    task->next = task; /* it has run */
}

STORY("a compaction puts nothing in place while the files are held, and all of it afterwards")
{
    struct bench b;
    struct mr_task held = {held_run, NULL, false};
    char path[500];
    struct stat before, after;
    given_log(t, &b);
    expect_ok(broker_config_set(&b.config, MR_STR("cleanup.policy"), MR_STR("compact")));
    appends(&b, "a", "1", 1);
    appends(&b, "a", "2", 1);
    syncs(&b);
    broker_upkeep_roll(b.log);
    checkpoints(&b);
    snprintf(path, sizeof(path), "%s/00000000000000000000.log", b.folder);
    expect(stat(path, &before) == 0);
    broker_storage_hold(&b.storage, &held);
    mr_loop_turn(b.loop, 0);
    expect(held.next == &held); /* nothing was under way */
    expect(broker_compact_begin(b.log));
    for (int i = 0; i < 3000 && b.storage.removals_held.count == 0; i++)
        mr_loop_turn(b.loop, 1000);
    expect_int(b.storage.removals_held.count, 1);
    expect(stat(path, &after) == 0 && after.st_ino == before.st_ino);
    broker_storage_release(&b.storage);
    expect_int(b.storage.removals, 1);
    held.next = NULL;
    broker_storage_hold(&b.storage, &held); /* what is under way is waited for */
    expect(held.next == NULL);
    settles(&b);
    expect(held.next == &held);
    expect(stat(path, &after) == 0 && after.st_ino != before.st_ino);
    expect_records(&b, "1:a=2 ");
    broker_storage_release(&b.storage);
}

STORY("a compaction counts though its index finds no room")
{
    struct bench b;
    char path[500];
    given_log(t, &b);
    expect_ok(broker_config_set(&b.config, MR_STR("cleanup.policy"), MR_STR("compact")));
    appends(&b, "a", "1", 1);
    appends(&b, "b", "1", 1);
    appends(&b, "a", "2", 1);
    syncs(&b);
    broker_upkeep_roll(b.log);
    checkpoints(&b);
    snprintf(path, sizeof(path), "%s/00000000000000000000.index", b.folder);
    unlink(path);
    expect(mkdir(path, 0700) == 0); /* nothing can be written there */
    int64_t before = b.log->bytes;
    expect(broker_compact_begin(b.log));
    settles(&b);
    expect(b.log->bytes < before);
    expect_records(&b, "1:b=1 2:a=2 ");
    expect(rmdir(path) == 0);
    is_killed(&b);
    opens(&b, false);
    expect_records(&b, "1:b=1 2:a=2 ");
}

/* Six segments, of which a compaction makes three files: [0..3), [3..4), [4..5). */
static void given_three_outputs(struct story *t, struct bench *b)
{
    given_log(t, b);
    expect_ok(broker_config_set(&b->config, MR_STR("cleanup.policy"), MR_STR("compact")));
    expect_ok(broker_config_set(&b->config, MR_STR("segment.bytes"), MR_STR("100")));
    appends(b, "a", "1", 1);
    appends(b, "b", "1", 1);
    appends(b, "c", "1", 1);
    appends(b, "a", "2", 1);
    appends(b, "b", "2", 1);
    syncs(b);
    broker_upkeep_roll(b->log);
    checkpoints(b);
    expect_int(b->log->segments.count, 6);
    b->storage.recent_bytes_max = 1;
    broker_storage_remember(&b->storage, b->log, 0);
}

/* Until the new files are written and only wait for their names. */
static void compacts_up_to_the_names(struct bench *b, struct mr_task *held)
{
    broker_storage_hold(&b->storage, held);
    expect(broker_compact_begin(b->log));
    for (int i = 0; i < 3000 && b->storage.removals_held.count == 0; i++)
        mr_loop_turn(b->loop, 1000);
    expect_int(b->storage.removals_held.count, 1);
}

/* The C library's, but for a story in which the disk fails: this one of the next calls. */
static atomic_int fsync_to_fail;

int fsync(int fd)
{
    if (atomic_load(&fsync_to_fail) > 0 && atomic_fetch_sub(&fsync_to_fail, 1) == 1) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fsync, fd);
}

static bool has_file(const struct bench *b, const char *name)
{
    char path[500];
    snprintf(path, sizeof(path), "%s/%s", b->folder, name);
    return access(path, F_OK) == 0;
}

STORY("of a compaction that is put in place in part, the log has what the files have")
{
    struct bench b;
    struct mr_task held = {held_run, NULL, false};
    char path[500], away[500];
    given_three_outputs(t, &b);
    compacts_up_to_the_names(&b, &held);
    snprintf(path, sizeof(path), "%s/%020d.log", b.folder, 3);
    snprintf(away, sizeof(away), "%s/away", b.folder);
    expect(rename(path, away) == 0 && mkdir(path, 0700) == 0); /* the second takes no name */
    broker_storage_release(&b.storage);
    settles(&b);
    expect_int(b.storage.compactions, 0);
    expect(rmdir(path) == 0 && rename(away, path) == 0);
    expect_int(b.log->segments.count, 4);
    expect_int(b.log->compacted, 0); /* it is made anew, some time */
    expect_records(&b, "2:c=1 3:a=2 4:b=2 ");
    expect(!has_file(&b, "00000000000000000003.cleaned"));
    expect(!has_file(&b, "00000000000000000004.cleaned"));
    expect(broker_compact_begin(b.log));
    settles(&b);
    expect_int(b.log->compacted, 5);
    expect_records(&b, "2:c=1 3:a=2 4:b=2 ");
    is_killed(&b);
    opens(&b, false);
    expect_records(&b, "2:c=1 3:a=2 4:b=2 ");
}

STORY("new names that cannot be synced count, and what they replace stays until a start")
{
    struct bench b;
    struct mr_task held = {held_run, NULL, false};
    given_three_outputs(t, &b);
    compacts_up_to_the_names(&b, &held);
    atomic_store(&fsync_to_fail, 2); /* that of the indexes which are out of date comes first */
    broker_storage_release(&b.storage);
    settles(&b);
    expect_int(atomic_load(&fsync_to_fail), 0);
    expect_int(b.storage.compactions, 0);
    expect_int(b.log->segments.count, 4);
    expect(
        has_file(&b, "00000000000000000001.log")); /* a power loss may bring the old names back */
    expect_records(&b, "2:c=1 3:a=2 4:b=2 ");
    is_killed(&b);
    opens(&b, false);
    expect_records(&b, "2:c=1 3:a=2 4:b=2 ");
    expect(!has_file(&b, "00000000000000000001.log"));
}

STORY("a compaction whose result is as long as what it replaces is known after a kill")
{
    struct bench b;
    given_log(t, &b);
    expect_ok(broker_config_set(&b.config, MR_STR("cleanup.policy"), MR_STR("compact")));
    for (int i = 0; i < 3; i++) {
        appends(&b, "a", i == 0 ? "1" : i == 1 ? "2" : "3", 1);
        broker_upkeep_roll(b.log);
    }
    syncs(&b);
    compacts(&b); /* one file of one batch, as the first segment was */
    expect_int(b.log->segments.count, 2);
    is_killed(&b);
    opens(&b, false);
    expect_int(b.log->segments.items[0]->facts.end, 3);
    broker_upkeep_cut(b.log, 1); /* a reader at offset 1 finds it, too */
    expect_records(&b, "2:a=3 ");
}

STORY("a compaction that fails is tried again after a while, and holds up no other log")
{
    struct bench b;
    struct broker_log *other;
    char path[500], away[500];
    given_log(t, &b);
    expect_ok(broker_config_set(&b.config, MR_STR("cleanup.policy"), MR_STR("compact")));
    appends(&b, "a", "1", 1);
    appends(&b, "a", "2", 1);
    syncs(&b);
    broker_upkeep_roll(b.log);
    checkpoints(&b);
    b.storage.recent_bytes_max = 1;
    broker_storage_remember(&b.storage, b.log, 0);
    snprintf(path, sizeof(path), "%s/%020d.log", b.folder, 0);
    snprintf(away, sizeof(away), "%s/away", b.folder);
    expect(rename(path, away) == 0);
    broker_storage_round(&b.storage);
    expect(b.log->compacting);
    settles(&b);
    expect(rename(away, path) == 0);
    broker_storage_round(&b.storage);
    expect(!b.log->compacting);
    other = b.log;
    snprintf(b.folder, sizeof(b.folder), "%s/other-0", t->folder);
    opens(&b, true);
    appends(&b, "a", "1", 1);
    appends(&b, "a", "2", 1);
    syncs(&b);
    broker_upkeep_roll(b.log);
    checkpoints(&b);
    broker_storage_round(&b.storage);
    expect(b.log->compacting && !other->compacting);
    settles(&b);
    mr_clock_pass(&b.clock, 61ll * 1000000);
    broker_storage_round(&b.storage);
    expect(other->compacting);
    for (int i = 0; i < 2000 && other->users > 0; i++)
        mr_loop_turn(b.loop, 1000);
    expect_int(other->compacted, 2);
}

STORY("compaction drops aborted records and stops before an open transaction")
{
    struct bench b;
    struct made made = {5, 1700000000000, 0, 0, true, "k", "aborted", 1};
    int64_t base, end;
    given_log(t, &b);
    expect_ok(broker_config_set(&b.config, MR_STR("cleanup.policy"), MR_STR("compact")));
    appends(&b, "k", "first", 1);
    expect_ok(appends_made(&b, made, &base));
    expect_ok(broker_journal_marker(b.log, false, 5, 0, 1, &end));
    made.sequence = 1;
    made.key = "t";
    made.value = "committed";
    expect_ok(appends_made(&b, made, &base));
    expect_ok(broker_journal_marker(b.log, true, 5, 0, 2, &end));
    syncs(&b);
    compacts(&b);
    expect_records(&b, "0:k=first 3:t=committed ");
    made.sequence = 2;
    made.value = "open";
    expect_ok(appends_made(&b, made, &base));
    broker_upkeep_roll(b.log);
    syncs(&b);
    expect(!broker_compact_begin(b.log));
}

STORY("the last batch of a producer survives compaction, empty, with its sequence")
{
    struct bench b;
    struct made made = {5, 1700000000000, 0, 41, false, "k", "old", 1};
    char path[500];
    int64_t base;
    given_log(t, &b);
    expect_ok(broker_config_set(&b.config, MR_STR("cleanup.policy"), MR_STR("compact")));
    expect_ok(appends_made(&b, made, &base));
    appends(&b, "k", "new", 1);
    syncs(&b);
    compacts(&b);
    expect_records(&b, "1:k=new ");
    closes(&b);
    snprintf(path, sizeof(path), "%s/checkpoint", b.folder);
    expect(unlink(path) == 0);
    opens(&b, true);
    expect_int(broker_producers_find(&b.log->producers, 5)->batches[0].last, 41);
}

STORY("a lost checkpoint costs no record of a log of which all was compacted")
{
    struct bench b;
    char path[500];
    given_log(t, &b);
    expect_ok(broker_config_set(&b.config, MR_STR("cleanup.policy"), MR_STR("compact")));
    appends(&b, "a", "1", 1);
    appends(&b, "a", "2", 1);
    appends(&b, "b", "1", 1);
    appends(&b, "b", "2", 1);
    syncs(&b);
    compacts(&b); /* the newest segment is empty, and has no file */
    expect_records(&b, "1:a=2 3:b=2 ");
    for (int again = 0; again < 2; again++) {
        closes(&b);
        snprintf(path, sizeof(path), "%s/checkpoint", b.folder);
        expect(unlink(path) == 0);
        opens(&b, false);
        expect_records(&b, "1:a=2 3:b=2 ");
        expect_int(b.log->end, 4);
    }
    appends(&b, "a", "3", 1);
    syncs(&b);
    compacts(&b);
    expect_records(&b, "3:b=2 4:a=3 ");
}
