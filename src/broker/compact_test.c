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

/* ---- what compaction keeps for a while: tombstones, markers ---- */

enum { DAY_MS = 24 * 3600 * 1000 };

static void passes(struct bench *b, int64_t ms)
{
    mr_clock_pass(&b->clock, ms * 1000);
}

/* Header of the batch at or behind `offset`, in the files. */
static struct kafka_batch batch_at(struct bench *b, int64_t offset)
{
    int64_t next = -1;
    struct mr_bytes *bytes = reads_from_disk(b, offset, 1, &next);
    struct kafka_batch batch;
    expect(bytes != NULL);
    expect_ok(kafka_records_batch(mr_str_of(bytes->data, bytes->length), &batch));
    batch.bytes = MR_STR_NULL;
    mr_bytes_unref(bytes);
    return batch;
}

/* Appends what the builder has, packed. */
static void appends_built(struct bench *b, struct kafka_builder *builder, enum kafka_codec codec)
{
    struct broker_batch batch;
    struct mr_bytes *bytes;

    expect_ok(kafka_records_finish(builder, codec, 0, -1, -1, -1, false));
    bytes = mr_bytes_copy(builder->buf->data, builder->buf->length);
    expect_ok(broker_batch_read(bytes->data, bytes->length, &batch));
    expect_ok(broker_log_append(b->log, bytes, bytes->data, &batch));
    mr_bytes_unref(bytes);
    mr_buf_fini(builder->buf);
}

/* Something new, so that there is something to compact. */
static void compacts_anew(struct bench *b)
{
    appends(b, "other", "value", 1);
    syncs(b);
    compacts(b);
}

static void given_compacted_log(struct story *t, struct bench *b)
{
    given_log(t, b);
    expect_ok(broker_config_set(&b->config, MR_STR("cleanup.policy"), MR_STR("compact")));
    b->storage.recent_bytes_max = 1;
}

/* Offset and time of the first record at or behind a time, as ListOffsets finds it. */
static int64_t finds_time(struct bench *b, int64_t time)
{
    struct broker_plan plan;
    struct kafka_batch batch;
    struct kafka_records records;
    struct kafka_record record = {.offset = -1};
    struct mr_arena arena;
    int64_t found = -1;

    if (!broker_plan_time(b->log, time, broker_log_high(b->log), &plan))
        return -1;
    broker_plan_run(&plan);
    expect_ok(plan.err);
    broker_plan_finish(&plan);
    mr_arena_init(&arena);
    if (plan.piece.owner != NULL) {
        expect_ok(kafka_records_batch(mr_str_of(plan.piece.data, plan.piece.length), &batch));
        expect_ok(kafka_records_open(&batch, &arena, &records));
        while (found < 0 && kafka_records_read(&records, &record))
            found = record.timestamp >= time ? record.offset : -1;
    }
    mr_arena_fini(&arena);
    mr_bytes_unref(plan.piece.owner);
    return found;
}

STORY(
    "a tombstone stays for delete.retention.ms from the compaction that met it first, however old "
    "its stamp is")
{
    struct bench b;
    struct mr_buf buf = {0};
    struct kafka_builder builder;
    int64_t old = 1700000000000 - 2 * (int64_t)DAY_MS, horizon;
    given_compacted_log(t, &b);
    appends(&b, "k", "v", 1);
    kafka_records_begin(&builder, &buf);
    kafka_records_append(&builder, old, MR_STR("k"), MR_STR_NULL, NULL, 0);
    kafka_records_append(&builder, old + 5, MR_STR("l"), MR_STR("kept"), NULL, 0);
    kafka_records_append(&builder, old - 5, MR_STR("m"), MR_STR("kept"), NULL, 0);
    appends_built(&b, &builder, KAFKA_CODEC_NONE);
    passes(&b, 1000);
    horizon = 1700000001000 + DAY_MS;
    compacts_anew(&b);
    expect_records(&b, "1:k=- 2:l=kept 3:m=kept 4:other=value ");
    expect_int(batch_at(&b, 1).attributes, KAFKA_RECORDS_DELETE_HORIZON);
    expect_int(batch_at(&b, 1).base_timestamp, horizon);
    expect_int(batch_at(&b, 1).max_timestamp, old + 5); /* the records' times are as they were */
    expect_int(finds_time(&b, old + 1), 2);
    expect_int(finds_time(&b, old - 9), 1);
    expect_int(batch_at(&b, 4).attributes, 0); /* no tombstone, no horizon */
    passes(&b, DAY_MS - 1);
    compacts_anew(&b);
    expect_records(&b, "1:k=- 2:l=kept 3:m=kept 5:other=value ");
    expect_int(batch_at(&b, 1).base_timestamp, horizon); /* the first one counts */
    is_killed(&b);
    opens(&b, false);
    passes(&b, 1);
    compacts_anew(&b);
    expect_records(&b, "2:l=kept 3:m=kept 6:other=value ");
    expect_int(finds_time(&b, old + 1), 2);
    expect_int(finds_time(&b, old + 6), 6);
}

STORY("a horizon beyond the end of time is the end of time, and one of 0 lasts one compaction")
{
    struct bench b;
    given_compacted_log(t, &b);
    expect_ok(
        broker_config_set(&b.config, MR_STR("delete.retention.ms"), MR_STR("9223372036854775807")));
    appends(&b, "k", NULL, 1);
    compacts_anew(&b);
    expect_int(batch_at(&b, 0).base_timestamp, INT64_MAX);
    expect_int(finds_time(&b, 1700000000000), 0);
    expect_ok(broker_config_set(&b.config, MR_STR("delete.retention.ms"), MR_STR("0")));
    appends(&b, "l", NULL, 1);
    compacts_anew(&b);
    expect_records(&b, "0:k=- 2:l=- 3:other=value ");
    compacts_anew(&b);
    expect_records(&b, "0:k=- 4:other=value ");
}

STORY("a marker stays while records of its transaction do, and delete.retention.ms longer")
{
    struct bench b;
    struct made made = {5, 1600000000000, 0, 0, true, "k", "aborted", 1};
    int64_t base, end;
    given_compacted_log(t, &b);
    expect_ok(appends_made(&b, made, &base));
    expect_ok(broker_journal_marker(b.log, false, 5, 0, 1, &end));
    made.sequence = 1;
    made.value = "committed";
    expect_ok(appends_made(&b, made, &base));
    expect_ok(broker_journal_marker(b.log, true, 5, 0, 1, &end));
    made = plain("last batch of the producer", "v", 1);
    made.producer_id = 5;
    made.epoch = 0;
    made.sequence = 2;
    expect_ok(appends_made(&b, made, &base));
    compacts_anew(&b); /* their records were there until now */
    expect_records(&b, "2:k=committed 4:last batch of the producer=v 5:other=value ");
    expect_int(batch_at(&b, 1).attributes, KAFKA_RECORDS_CONTROL | KAFKA_RECORDS_TRANSACTIONAL);
    expect_int(batch_at(&b, 3).attributes, KAFKA_RECORDS_CONTROL | KAFKA_RECORDS_TRANSACTIONAL);
    passes(&b, DAY_MS + 1);
    compacts_anew(&b); /* now they are gone, or of no transaction any more */
    for (int64_t offset = 1; offset <= 3; offset += 2) {
        struct kafka_batch batch = batch_at(&b, offset);
        expect_int(batch.base_offset, offset);
        expect_int(batch.attributes, KAFKA_RECORDS_CONTROL | KAFKA_RECORDS_TRANSACTIONAL |
                                         KAFKA_RECORDS_DELETE_HORIZON);
        expect_int(batch.base_timestamp, 1700000000001 + 2 * (int64_t)DAY_MS);
        expect_int(batch.max_timestamp, 1700000000000);
    }
    expect_int(b.log->producers.aborted.count, 1);
    passes(&b, DAY_MS - 1);
    compacts_anew(&b);
    expect_int(batch_at(&b, 1).base_offset, 1);
    passes(&b, 1);
    compacts_anew(&b);
    expect_int(batch_at(&b, 0).base_offset, 2);
    expect_int(batch_at(&b, 3).base_offset, 4);
    expect_int(b.log->producers.aborted.count, 0);
    is_killed(&b);
    opens(&b, false);
    expect_records(&b, "2:k=committed 4:last batch of the producer=v 8:other=value ");
}

STORY("a marker that is a producer's last word stays, so that a scan finds its epoch")
{
    struct bench b;
    struct made made = {5, 1600000000000, 3, 0, true, "k", "aborted", 1};
    char path[500];
    int64_t base, end;
    given_compacted_log(t, &b);
    expect_ok(appends_made(&b, made, &base));
    expect_ok(
        broker_journal_marker(b.log, false, 5, 4, 1, &end)); /* ends it, and raises the epoch */
    for (int i = 0; i < 4; i++) {
        compacts_anew(&b);
        passes(&b, DAY_MS + 1);
    }
    expect_int(batch_at(&b, 0).base_offset, 1);
    closes(&b);
    snprintf(path, sizeof(path), "%s/checkpoint", b.folder);
    expect(unlink(path) == 0);
    opens(&b, true);
    expect_int(broker_producers_find(&b.log->producers, 5)->epoch, 4);
}

STORY("a batch that loses records is packed as it came, and so is one that gets a horizon")
{
    static const enum kafka_codec codecs[] = {KAFKA_CODEC_GZIP, KAFKA_CODEC_SNAPPY, KAFKA_CODEC_LZ4,
                                              KAFKA_CODEC_ZSTD};
    struct bench b;
    struct mr_buf buf = {0};
    struct kafka_builder builder;
    struct kafka_header header = {MR_STR("h"), MR_STR("of a record")};
    char key[20], value[300];
    memset(value, 'v', sizeof(value));
    given_compacted_log(t, &b);
    for (size_t i = 0; i < mr_count_of(codecs); i++) {
        int64_t first = b.log->end;
        size_t before;
        kafka_records_begin(&builder, &buf);
        for (int j = 0; j < 1000; j++) {
            bool tombstone = i == 3 && j == 1;
            snprintf(key, sizeof(key), "%zu-%d", i, j);
            kafka_records_append(&builder, 1700000000000 + j, mr_str_from(key),
                                 tombstone ? MR_STR_NULL : mr_str_of(value, sizeof(value)), &header,
                                 1);
        }
        builder.attributes |= KAFKA_RECORDS_LOG_APPEND_TIME;
        appends_built(&b, &builder, codecs[i]);
        before = b.log->recent_count > 0 ? b.log->bytes : 0;
        snprintf(key, sizeof(key), "%zu-0", i);
        appends(&b, key, "new", 1);
        compacts_anew(&b);
        struct kafka_batch batch = batch_at(&b, first);
        expect_int(batch.base_offset, first);
        expect_int(batch.last_offset_delta, 999);
        expect_int(batch.count, 999);
        expect_int(batch.attributes, (int)codecs[i] | KAFKA_RECORDS_LOG_APPEND_TIME |
                                         (i == 3 ? KAFKA_RECORDS_DELETE_HORIZON : 0));
        expect_int(batch.max_timestamp, 1700000000999);
        expect(batch.length < 40000); /* of 300,000 */
        expect(before == 0 || (size_t)batch.length < before);
    }
}

STORY("where a compacted batch lost the record of a time, the next record behind is found")
{
    struct bench b;
    struct made made = {5, 1700000000000, 0, 0, false, "k", "v", 1};
    struct mr_buf buf = {0};
    struct kafka_builder builder;
    int64_t base;
    given_compacted_log(t, &b);
    kafka_records_begin(&builder, &buf);
    kafka_records_append(&builder, 1700000000000, MR_STR("a"), MR_STR("v"), NULL, 0);
    kafka_records_append(&builder, 1700000005000, MR_STR("k"), MR_STR("v"), NULL, 0);
    appends_built(&b, &builder, KAFKA_CODEC_NONE);
    made.time_ms = 1700000005000;
    expect_ok(appends_made(&b, made, &base)); /* stays empty, as the last of its producer */
    made = plain("k", "w", 1);
    made.time_ms = 1700000006000;
    expect_ok(appends_made(&b, made, &base));
    syncs(&b);
    compacts(&b);
    expect_records(&b, "0:a=v 3:k=w ");
    expect_int(finds_time(&b, 1700000000000), 0);
    expect_int(finds_time(&b, 1700000004000), 3);
}

/* ---- when compaction begins ---- */

/* Rounds as the timer runs them, one a second. */
static void rounds(struct bench *b, int seconds)
{
    for (int i = 0; i < seconds; i++) {
        passes(b, 1000);
        broker_storage_round(&b->storage);
        settles(b);
    }
}

STORY("max.compaction.lag.ms: a record waits no longer for compaction, whatever the ratio says")
{
    struct bench b;
    given_compacted_log(t, &b);
    expect_ok(broker_config_set(&b.config, MR_STR("max.compaction.lag.ms"), MR_STR("5000")));
    expect_ok(broker_config_set(&b.config, MR_STR("min.cleanable.dirty.ratio"), MR_STR("1.0")));
    rounds(&b, 100); /* nothing is there to be closed */
    for (int i = 0; i < 200; i++)
        appends(&b, i < 199 ? "k" : "l", "v", 1);
    syncs(&b);
    rounds(&b, 4);
    expect_int(b.log->segments.count, 1);
    rounds(&b, 3);
    expect_records(&b, "198:k=v 199:l=v ");
    appends(&b, "l", "w", 1);
    syncs(&b);
    rounds(&b, 4);
    expect_records(&b, "198:k=v 199:l=v 200:l=w ");
    rounds(&b, 3); /* a two hundredth of the log is new */
    expect_records(&b, "198:k=v 200:l=w ");
}

STORY("a record with a stamp ahead of the clock holds no compaction up")
{
    struct bench b;
    struct made made = plain("k", "v", 2);
    int64_t base;
    given_compacted_log(t, &b);
    made.time_ms += 3600 * 1000;
    expect_ok(appends_made(&b, made, &base));
    syncs(&b);
    compacts(&b);
    expect_records(&b, "1:k=v ");
    expect_ok(broker_config_set(&b.config, MR_STR("min.compaction.lag.ms"), MR_STR("1000")));
    expect_ok(appends_made(&b, made, &base)); /* here its stamp counts */
    syncs(&b);
    broker_upkeep_roll(b.log);
    checkpoints(&b);
    expect(!broker_compact_begin(b.log));
}

STORY("a segment's age counts from its first record, and its end comes within a second")
{
    struct bench b;
    given_log(t, &b);
    expect_ok(broker_config_set(&b.config, MR_STR("segment.ms"), MR_STR("10000")));
    rounds(&b, 60);
    appends(&b, "k", "v", 1);
    syncs(&b);
    rounds(&b, 9);
    expect_int(b.log->segments.count, 1);
    rounds(&b, 1);
    expect_int(b.log->segments.count, 2);
}

STORY("segment.jitter.ms: segments that began together end apart, none later than segment.ms")
{
    struct bench b;
    int seen[10] = {0}, times = 0;
    given_log(t, &b);
    expect_ok(broker_config_set(&b.config, MR_STR("segment.ms"), MR_STR("10000")));
    expect_ok(broker_config_set(&b.config, MR_STR("segment.jitter.ms"), MR_STR("9000")));
    for (int i = 0; i < 30; i++) {
        size_t before = b.log->segments.count;
        int seconds = 0;
        appends(&b, "k", "v", 1);
        syncs(&b);
        for (; b.log->segments.count == before && seconds < 11; seconds++)
            rounds(&b, 1);
        expect(seconds >= 1 && seconds <= 10);
        times += seen[seconds - 1]++ == 0;
    }
    expect(times > 3);
}
