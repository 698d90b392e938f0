/* broker/log_test.c: the promises of log.h, on a test's clock and real files, without sockets. */
#include "broker/broker.h"
#include "broker/compact.h"
#include "broker/journal.h"
#include "broker/log_bench.h"
#include "kafka/messages.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

STORY("an append gives offsets at once, and tells when it is written and when it is synced")
{
    struct bench b;
    given_log(t, &b);
    expect_int(appends(&b, "a", "1", 3), 0);
    expect_int(appends(&b, "b", "2", 2), 3);
    expect_int(b.log->end, 5);
    expect_int(broker_log_high(b.log), 0);
    syncs(&b);
    expect_int(broker_log_high(b.log), 5);
    expect_int(b.log->flushed, 5);
    expect_records(&b, "0:a=1 1:a=1 2:a=1 3:b=2 4:b=2 ");
}

static void changed(struct broker_log_watch *watch)
{
    mr_container(watch, struct bench, watch)->woken = true;
}

/* What follows by itself, however many turns and jobs it takes. */
static void goes_on(struct bench *b)
{
    do {
        mr_loop_turn(b->loop, b->log->users > 0 ? 1000 : 0);
    } while (b->log->written < b->log->end || b->log->users > 0);
}

STORY("flush.messages syncs once so many records wait for it, flush.ms once one has waited so long")
{
    struct bench b;
    given_log(t, &b);
    appends(&b, "a", "1", 1);
    goes_on(&b);
    mr_clock_pass(&b.clock, 10 * 1000 * 1000);
    goes_on(&b);
    expect_int(b.log->written, 1);
    expect_int(b.log->flushed, 0); /* by default nothing but a checkpoint does */
    expect_ok(broker_config_set(&b.config, MR_STR("flush.messages"), MR_STR("3")));
    appends(&b, "b", "1", 1);
    goes_on(&b);
    expect_int(b.log->flushed, 0);
    appends(&b, "c", "1", 1);
    goes_on(&b);
    expect_int(b.log->flushed, 3);
    expect_ok(broker_config_set(&b.config, MR_STR("flush.messages"), MR_STR_NULL));
    expect_ok(broker_config_set(&b.config, MR_STR("flush.ms"), MR_STR("1000")));
    appends(&b, "d", "1", 5);
    goes_on(&b);
    mr_clock_pass(&b.clock, 600 * 1000);
    goes_on(&b);
    appends(&b, "e", "1", 1); /* puts nothing off */
    goes_on(&b);
    expect_int(b.log->flushed, 3);
    mr_clock_pass(&b.clock, 401 * 1000);
    mr_loop_turn(b.loop, 0);
    goes_on(&b);
    expect_int(b.log->flushed, 9);
    expect_ok(broker_config_set(&b.config, MR_STR("flush.ms"), MR_STR_NULL));
    appends(&b, "f", "1", 1);
    goes_on(&b);
    expect_ok(broker_config_set(&b.config, MR_STR("flush.ms"), MR_STR("0")));
    broker_storage_round(&b.storage); /* it holds for what is there */
    mr_loop_turn(b.loop, 0);
    goes_on(&b);
    expect_int(b.log->flushed, 10);
    closes(&b);
}

STORY("a watcher is woken once, when something can be read")
{
    struct bench b;
    given_log(t, &b);
    b.watch.changed = changed;
    broker_log_watch(b.log, &b.watch);
    appends(&b, "a", "1", 1);
    expect(!b.woken);
    for (int i = 0; i < 1000 && !b.woken; i++)
        mr_loop_turn(b.loop, 1000);
    expect(b.woken);
    expect(b.watch.link == NULL);
    expect_int(broker_log_high(b.log), 1);
    settles(&b);
}

STORY("what was appended lately is read from memory without a copy")
{
    struct bench b;
    broker_refs refs = {0};
    int64_t next = -1;
    given_log(t, &b);
    appends(&b, "a", "1", 1);
    appends(&b, "b", "2", 1);
    syncs(&b);
    expect(broker_log_is_recent(b.log, 0));
    expect(broker_log_read_recent(b.log, 1, 2, 1, true, &refs, &next) > 0);
    expect_int(refs.count, 1);
    expect_int(next, 2);
    expect(broker_log_bytes_ready(b.log, 0, 2, SIZE_MAX) > 0);
    expect_int(broker_log_bytes_ready(b.log, 2, 2, SIZE_MAX), 0);
    mr_bytes_unref(refs.items[0].owner);
}

STORY("the budget pushes old batches out of memory, and they are read from the disk")
{
    struct bench b;
    int64_t next;
    struct mr_bytes *bytes;
    given_log(t, &b);
    b.storage.recent_bytes_max = 2000;
    for (int i = 0; i < 50; i++) {
        appends(&b, "key", "some value that is not too short", 1);
        syncs(&b);
    }
    expect(b.storage.recent_bytes <= 2000);
    expect(!broker_log_is_recent(b.log, 0));
    bytes = reads_from_disk(&b, 7, 1, &next);
    expect_int(next, 8);
    mr_bytes_unref(bytes);
}

STORY("much at once goes to the disk past the page cache, and is read back whole")
{
    struct bench b;
    char value[60001] = "";
    int64_t next = 0;
    given_log(t, &b);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 12; i++) {
            memset(value, 'a' + i, sizeof(value) - 1);
            value[40000 + 1234 * i] = '\0'; /* ends fall anywhere in a block */
            appends(&b, "k", value, 1);
        }
        syncs(&b);
    }
    b.storage.recent_bytes_max = 1;
    broker_storage_remember(&b.storage, b.log, 0);
    while (next < 36) {
        int64_t from = next;
        struct mr_bytes *bytes = reads_from_disk(&b, from, 300000, &next);
        expect(bytes != NULL && next > from);
        mr_bytes_unref(bytes);
    }
    is_killed(&b);
    opens(&b, false); /* reads every batch against its checksum */
    expect_int(b.log->end, 36);
}

static void reader_told(struct broker_plan *plan)
{
    plan->by_time = true; /* told */
}

/* As a fetch reads. `at_once`: whether it was there before it was asked for. */
static struct mr_bytes *reads_on(struct bench *b, int64_t offset, int64_t until, size_t bytes_max,
                                 bool *at_once, int64_t *next)
{
    struct broker_plan plan;

    expect(broker_plan_offset(b->log, offset, until, bytes_max, &plan));
    broker_plan_start(&plan, reader_told);
    *at_once = plan.by_time;
    for (int i = 0; i < 2000 && !plan.by_time; i++)
        mr_loop_turn(b->loop, 1000);
    expect(plan.by_time);
    plan.by_time = false;
    expect_ok(plan.err);
    *next = plan.next_offset;
    broker_plan_finish(&plan);
    return bytes_of(&plan);
}

STORY("a reader of old data who goes on finds the next piece read, and never what it may not see")
{
    struct bench b;
    char value[60001];
    int64_t next = 0, same = 0;
    bool at_once;
    memset(value, 'v', sizeof(value) - 1);
    value[60000] = '\0';
    given_log(t, &b);
    b.config.segment_bytes = 700000; /* pieces end where segments do */
    for (int i = 0; i < 40; i++)
        appends(&b, "k", value, 1);
    syncs(&b);
    b.storage.recent_bytes_max = 1;
    broker_storage_remember(&b.storage, b.log, 0);
    for (int step = 0; next < 40; step++) {
        int64_t from = next, until = step == 3 ? from + 2 : 40;
        struct mr_bytes *bytes = reads_on(&b, from, until, 300000, &at_once, &next);
        expect(bytes != NULL && next > from);
        expect(next <= until);
        if (step < 2) /* the second goes on where the first stopped: from there on it is known */
            expect(!at_once);
        for (int i = 0; i < 2000 && b.log->users > 0; i++)
            mr_loop_turn(b.loop, 1000);
        expect(step == 0 || next == 40 || b.log->ahead != NULL);
        if (step == 4) { /* what changes meanwhile is read anew */
            broker_upkeep_cut(b.log, next);
            expect(b.log->ahead == NULL);
        } else if (step > 2 && step != 5) {
            expect(at_once);
        }
        struct mr_bytes *again = reads_from_disk(&b, from, bytes->length, &same);
        expect_int(again->length, bytes->length);
        expect(memcmp(again->data, bytes->data, bytes->length) == 0);
        mr_bytes_unref(again);
        mr_bytes_unref(bytes);
    }
    expect_int(b.storage.ahead_bytes, 0);
    closes(&b);
    expect_int(b.storage.ahead_bytes, 0);
}

STORY("an orderly stop and start keeps everything, and reads nothing again")
{
    struct bench b;
    given_log(t, &b);
    appends(&b, "a", "1", 3);
    syncs(&b);
    closes(&b);
    opens(&b, true);
    expect_int(b.log->end, 3);
    expect_int(b.log->flushed, 3);
    expect_int(b.log->epoch, 0);
    expect_records(&b, "0:a=1 1:a=1 2:a=1 ");
}

STORY("after a kill the batches behind the checkpoint are found again, in a new epoch")
{
    struct bench b;
    given_log(t, &b);
    appends(&b, "a", "1", 1);
    syncs(&b);
    broker_checkpoint_begin(b.log);
    settles(&b);
    appends(&b, "b", "2", 2);
    syncs(&b);
    is_killed(&b);
    opens(&b, false);
    expect_int(b.log->end, 3);
    expect_int(b.log->epoch, 1);
    expect_records(&b, "0:a=1 1:b=2 2:b=2 ");
    appends(&b, "c", "3", 1);
    syncs(&b);
    int32_t found = -1;
    int64_t end = -1;
    expect(broker_log_epoch_end(b.log, 0, &found, &end));
    expect_int(end, 3);
    expect_int(found, 0);
    expect(broker_log_epoch_end(b.log, 1, &found, &end));
    expect_int(end, 4);
    expect(!broker_log_epoch_end(b.log, 2, &found, &end));
}

/* Logs of their own beside b->log, for what they share. */
static struct broker_log *opens_another(struct bench *b, struct story *t, int number)
{
    char folder[500], name[40];
    snprintf(name, sizeof(name), "orders-%d", number);
    snprintf(folder, sizeof(folder), "%s/%s", t->folder, name);
    struct broker_log *log = broker_log_new(&b->storage, mr_str_from(folder), mr_str_from(name),
                                            &b->config);
    expect_ok(broker_checkpoint_load(log, false));
    broker_log_start(log);
    return log;
}

static void appends_bytes(struct bench *b, struct broker_log *log, const char *value)
{
    struct broker_log *own = b->log;
    b->log = log;
    appends(b, "key", value, 1);
    b->log = own;
}

static void all_settle(struct bench *b)
{
    for (size_t i = 0; i < b->storage.logs.count; i++)
        for (int j = 0; j < 5000 && b->storage.logs.items[i]->users > 0; j++)
            mr_loop_turn(b->loop, 1000);
    for (int i = 0; i < 3; i++)
        mr_loop_turn(b->loop, 0);
}

enum { MANY_LOGS = 24 };

STORY("however many logs there are, a start reads at most 256 MB behind their checkpoints")
{
    struct bench b;
    struct broker_log *logs[MANY_LOGS];
    size_t bytes = 1000 * 1000;
    char *value = mr_alloc(bytes + 1);
    int64_t appended = 0, read = 0, most = 0;

    memset(value, 'v', bytes);
    value[bytes] = '\0';
    given_storage(t, &b);
    for (int i = 0; i < MANY_LOGS; i++)
        logs[i] = opens_another(&b, t, i);
    for (int round = 0; round < 25; round++) { /* none of them has much */
        for (int i = 0; i < MANY_LOGS; i++) {
            appends_bytes(&b, logs[i], value);
            appended += (int64_t)bytes;
        }
        for (int i = 0; i < MANY_LOGS; i++)
            for (int j = 0; j < 5000 && logs[i]->written < logs[i]->end; j++)
                mr_loop_turn(b.loop, 1000);
        if (b.storage.unsaved_bytes > most)
            most = b.storage.unsaved_bytes;
    }
    expect(appended > (500 << 20));
    expect(most <= 256 << 20);
    all_settle(&b);
    expect_int(b.storage.checkpoints, 0);
    expect_int(b.storage.unsaved_bytes_saving, 0);
    b.storage.logs.count = 0; /* a kill */
    for (int i = 0; i < MANY_LOGS; i++) {
        broker_storage_forget(&b.storage, logs[i]);
        broker_log_free(logs[i]);
    }
    expect_int(b.storage.unsaved_bytes, 0);
    for (int i = 0; i < MANY_LOGS; i++) {
        logs[i] = opens_another(&b, t, i);
        read += logs[i]->load_bytes;
        expect_int(logs[i]->end, 25);
    }
    expect(read <= 256 << 20);
    expect_int(b.storage.unsaved_bytes, read);
    mr_free(value);
}

STORY("a log that has gone quiet is saved after a minute, a few at a time")
{
    struct bench b;
    struct broker_log *logs[MANY_LOGS];
    given_storage(t, &b);
    for (int i = 0; i < MANY_LOGS; i++)
        logs[i] = opens_another(&b, t, i);
    for (int i = 0; i < MANY_LOGS; i++)
        appends_bytes(&b, logs[i], "value");
    all_settle(&b);
    expect(b.storage.unsaved_bytes > 0);
    mr_clock_pass(&b.clock, 59 * 1000 * 1000);
    mr_loop_turn(b.loop, 0);
    broker_storage_round(&b.storage);
    expect_int(b.storage.checkpoints, 0);
    mr_clock_pass(&b.clock, 2 * 1000 * 1000);
    mr_loop_turn(b.loop, 0);
    broker_storage_round(&b.storage);
    expect_int(b.storage.checkpoints, 4);
    for (int i = 0; i < 5000 && b.storage.unsaved_bytes > 0; i++) {
        mr_loop_turn(b.loop, 1000);
        expect(b.storage.checkpoints <= 4);
    }
    expect_int(b.storage.unsaved_bytes, 0);
    for (int i = 0; i < MANY_LOGS; i++)
        expect_int(logs[i]->flushed, 1);
}

STORY("a checkpoint that cannot be written is tried again, and what it did not save counts on")
{
    struct bench b;
    char path[500];
    given_log(t, &b);
    appends(&b, "a", "1", 10);
    syncs(&b);
    int64_t unsaved = b.storage.unsaved_bytes;
    expect(unsaved > 0);
    snprintf(path, sizeof(path), "%s/checkpoint.new", b.folder);
    expect_int(mkdir(path, 0755), 0); /* where the new one would be written */
    broker_checkpoint_begin(b.log);
    settles(&b);
    expect_int(b.storage.unsaved_bytes, unsaved);
    expect_int(b.storage.unsaved_bytes_saving, 0);
    expect_int(rmdir(path), 0);
    broker_storage_round(&b.storage); /* not at once */
    expect_int(b.storage.checkpoints, 0);
    mr_clock_pass(&b.clock, 11 * 1000 * 1000);
    mr_loop_turn(b.loop, 0);
    broker_storage_round(&b.storage);
    settles(&b);
    expect_int(b.storage.unsaved_bytes, 0);
    closes(&b);
}

STORY("a last batch that was torn at any byte is cut off, and nothing before it")
{
    struct bench b;
    char path[500];
    struct stat whole, kept;
    given_log(t, &b);
    appends(&b, "a", "1", 1);
    syncs(&b);
    snprintf(path, sizeof(path), "%s/00000000000000000000.log", b.folder);
    expect(stat(path, &kept) == 0);
    appends(&b, "b", "22", 1);
    syncs(&b);
    expect(stat(path, &whole) == 0);
    for (off_t at = kept.st_size; at < whole.st_size; at++) {
        is_killed(&b);
        expect(truncate(path, at) == 0);
        opens(&b, false);
        expect_int(b.log->end, 1);
        expect_records(&b, "0:a=1 ");
        appends(&b, "b", "22", 1);
        syncs(&b);
    }
    for (off_t at = kept.st_size; at < whole.st_size; at++) {
        uint8_t byte;
        if (at >= kept.st_size + 12 && at < kept.st_size + 16)
            continue; /* the leader epoch lies outside of the checksum */
        is_killed(&b);
        int fd = open(path, O_RDWR);
        expect(pread(fd, &byte, 1, at) == 1);
        byte ^= 0x40;
        expect(pwrite(fd, &byte, 1, at) == 1);
        close(fd);
        opens(&b, false);
        expect_int(b.log->end, 1);
        appends(&b, "b", "22", 1);
        syncs(&b);
    }
}

STORY("segments are closed by size, found by offset and by time, and go with retention")
{
    struct bench b;
    struct broker_plan plan;
    int64_t next;
    given_log(t, &b);
    expect_ok(broker_config_set(&b.config, MR_STR("segment.bytes"), MR_STR("300")));
    for (int i = 0; i < 20; i++) {
        struct made made = plain("key", "value", 1);
        int64_t base;
        made.time_ms += i * 1000;
        expect_ok(appends_made(&b, made, &base));
        syncs(&b);
    }
    expect(b.log->segments.count > 5);
    b.storage.recent_bytes_max = 1;
    broker_storage_remember(&b.storage, b.log, 0);
    for (int64_t offset = 0; offset < 20; offset++) {
        struct mr_bytes *bytes = reads_from_disk(&b, offset, 1, &next);
        expect_int(next, offset + 1);
        mr_bytes_unref(bytes);
    }
    expect(broker_plan_time(b.log, 1700000000000 + 6500, 20, &plan));
    broker_plan_run(&plan);
    expect_ok(plan.err);
    expect_int(plan.next_offset, 8);
    broker_plan_finish(&plan);
    mr_bytes_unref(plan.piece.owner);
    expect(!broker_plan_time(b.log, 1700000000000 + 20000, 20, &plan));

    expect_ok(broker_config_set(&b.config, MR_STR("retention.bytes"), MR_STR("500")));
    broker_upkeep_retain(b.log, 1700000000000);
    expect(b.log->start > 0);
    expect_int(b.log->segments.items[0]->facts.base,
               0); /* its files go when a checkpoint knows that */
    checkpoints(&b);
    expect(b.log->bytes >= 500 && b.log->bytes < 1000);
    expect(b.log->start > 0);
    expect_int(b.log->start, b.log->segments.items[0]->facts.base);
    expect_ok(broker_config_set(&b.config, MR_STR("retention.ms"), MR_STR("1000")));
    broker_upkeep_retain(b.log, 1700000100000);
    checkpoints(&b);
    expect_int(b.log->start, 20);
    expect_int(b.log->segments.count, 1);
    closes(&b);
    opens(&b, true);
    expect_int(b.log->start, 20);
    expect_int(b.log->end, 20);
    expect_int(appends(&b, "a", "1", 1), 20);
    syncs(&b);
}

STORY("a lost or damaged checkpoint costs a scan and nothing else")
{
    struct bench b;
    char path[500];
    given_log(t, &b);
    expect_ok(broker_config_set(&b.config, MR_STR("segment.bytes"), MR_STR("200")));
    for (int i = 0; i < 6; i++) {
        struct made made = plain("k", "v", 1);
        int64_t base;
        made.producer_id = 7;
        made.epoch = 0;
        made.sequence = i;
        expect_ok(appends_made(&b, made, &base));
        syncs(&b);
    }
    closes(&b);
    snprintf(path, sizeof(path), "%s/checkpoint", b.folder);
    expect(truncate(path, 40) == 0);
    opens(&b, false);
    expect_int(b.log->end, 6);
    expect_int(broker_producers_find(&b.log->producers, 7)->batch_count, 5);
    closes(&b);
    expect(unlink(path) == 0);
    opens(&b, true);
    expect_int(b.log->end, 6);
    expect_records(&b, "0:k=v 1:k=v 2:k=v 3:k=v 4:k=v 5:k=v ");
}

STORY("records before a given offset are deleted, and stay so")
{
    struct bench b;
    given_log(t, &b);
    for (int i = 0; i < 4; i++)
        appends(&b, "k", "v", 1);
    syncs(&b);
    broker_upkeep_cut(b.log, 3);
    closes(&b);
    opens(&b, true);
    expect_int(b.log->start, 3);
    expect_records(&b, "3:k=v ");
}

STORY("a producer's batch is taken once, in order, and from the newest epoch only")
{
    struct bench b;
    struct broker_batch batch = {.producer_id = 5, .base = 0, .last = 1, .count = 2};
    struct made made = {5, 1700000000000, 0, 0, false, "k", "v", 2};
    int64_t base, duplicate;
    given_log(t, &b);
    expect_ok(appends_made(&b, made, &base));
    expect_int(broker_producers_check(&b.log->producers, &batch, &duplicate), 0);
    expect_int(duplicate, 0);
    batch.sequence = 2;
    expect_int(broker_producers_check(&b.log->producers, &batch, &duplicate), 0);
    expect_int(duplicate, -1);
    batch.sequence = 4;
    expect_int(broker_producers_check(&b.log->producers, &batch, &duplicate),
               KAFKA_ERROR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    batch.producer_epoch = 1;
    expect_int(broker_producers_check(&b.log->producers, &batch, &duplicate),
               KAFKA_ERROR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    batch.sequence = 0;
    expect_int(broker_producers_check(&b.log->producers, &batch, &duplicate), 0);
    expect_int(duplicate, -1);
    made.epoch = 1;
    expect_ok(appends_made(&b, made, &base));
    batch.producer_epoch = 0;
    expect_int(broker_producers_check(&b.log->producers, &batch, &duplicate),
               KAFKA_ERROR_INVALID_PRODUCER_EPOCH);
    syncs(&b);
    for (int again = 0; again < 2; again++) { /* by checkpoint, and by scan */
        is_killed(&b);
        opens(&b, false);
        batch.producer_epoch = 1;
        batch.sequence = 0;
        expect_int(broker_producers_check(&b.log->producers, &batch, &duplicate), 0);
        expect_int(duplicate, 2);
        broker_checkpoint_begin(b.log);
        settles(&b);
    }
}

STORY("sequences go on from 2147483647 with 0")
{
    struct bench b;
    struct broker_batch batch = {.producer_id = 5, .base = 0, .last = 0, .count = 1};
    struct made made = {5, 1700000000000, 0, INT32_MAX - 1, false, "k", "v", 2};
    int64_t base, duplicate;
    given_log(t, &b);
    expect_ok(appends_made(&b, made, &base));
    batch.sequence = 0;
    expect_int(broker_producers_check(&b.log->producers, &batch, &duplicate), 0);
    expect_int(duplicate, -1);
    syncs(&b);
}

STORY("the stable offset waits for open transactions, and aborted ones are told")
{
    struct bench b;
    struct made made = {5, 1700000000000, 0, 0, true, "k", "v", 2};
    int64_t base, end;
    given_log(t, &b);
    appends(&b, "a", "1", 1);
    expect_ok(appends_made(&b, made, &base));
    made.producer_id = 6;
    expect_ok(appends_made(&b, made, &base));
    syncs(&b);
    expect_int(broker_log_stable(b.log), 1);
    expect_ok(broker_journal_marker(b.log, false, 5, 0, 1, &end));
    expect_int(broker_log_stable(b.log), 3);
    expect_int(b.log->producers.aborted.count, 1);
    expect_int(b.log->producers.aborted.items[0].first, 1);
    expect_int(b.log->producers.aborted.items[0].last, 5);
    expect_ok(broker_journal_marker(b.log, true, 6, 0, 1, &end));
    syncs(&b);
    expect_int(broker_log_stable(b.log), 7);
    for (int again = 0; again < 2; again++) {
        is_killed(&b);
        opens(&b, false);
        expect_int(broker_log_stable(b.log), 7);
        expect_int(b.log->producers.aborted.count, 1);
        expect_int(broker_producers_aborted_from(&b.log->producers, 5), 0);
        expect_int(broker_producers_aborted_from(&b.log->producers, 6), 1);
        broker_checkpoint_begin(b.log);
        settles(&b);
    }
}

STORY("what lies behind a hole that a power loss left is put aside")
{
    struct bench b;
    char path[500];
    given_log(t, &b);
    expect_ok(broker_config_set(&b.config, MR_STR("segment.bytes"), MR_STR("200")));
    appends(&b, "a", "1", 1);
    checkpoints(&b);
    for (int i = 0; i < 6; i++)
        appends(&b, "b", "22222", 1);
    syncs(&b);
    expect(b.log->segments.count >= 3);
    snprintf(path, sizeof(path), "%s/%020lld.log", b.folder,
             (long long)b.log->segments.items[1]->facts.base);
    int64_t kept = b.log->segments.items[1]->facts.base;
    is_killed(&b);
    expect(truncate(path, 0) == 0); /* as if its bytes had never been synced */
    opens(&b, false);
    expect_int(b.log->end, kept);
    expect_int(appends(&b, "c", "3", 1), kept);
}

STORY("an open transaction whose beginning was deleted holds readers back where the log begins")
{
    struct bench b;
    struct made made = {5, 1700000000000, 0, 0, true, "k", "open", 1};
    int64_t base, end;
    given_log(t, &b);
    for (; made.sequence < 3; made.sequence++)
        expect_ok(appends_made(&b, made, &base));
    syncs(&b);
    expect_int(broker_log_stable(b.log), 0);
    broker_upkeep_cut(b.log, 2);
    expect_int(broker_log_stable(b.log), 2);
    expect_ok(broker_journal_marker(b.log, true, 5, 0, 1, &end));
    syncs(&b);
    expect_int(broker_log_stable(b.log), 4);
}

STORY("a deleted log tells those who wait, and is free once its jobs are done")
{
    struct bench b;
    given_log(t, &b);
    appends(&b, "a", "1", 1);
    b.wait.run = wait_run;
    broker_log_wait_flushed(b.log, &b.wait, 1);
    b.drain = (struct mr_task){0};
    b.watch.changed = changed;
    broker_log_watch(b.log, &b.watch);
    broker_log_stop(b.log, NULL);
    expect_int(b.run_count, 1);
    expect_int(b.run_err, MR_NOT_FOUND);
    expect(b.woken);
    int64_t base;
    expect_err(appends_made(&b, plain("a", "b", 1), &base), MR_NOT_FOUND);
    settles(&b);
    broker_log_free(b.log);
}

/* A folder whose catalog has one topic. */
static void given_topic(struct story *t, struct bench *b, const char *policy)
{
    struct mr_buf catalog = {0};
    char path[500];
    given_storage(t, b);
    snprintf(b->folder, sizeof(b->folder), "%s/topics/orders-0", t->folder);
    mr_buf_cstr(&catalog, "millrace-broker 1\ncluster abc\nproducer-id 0\n"
                          "topic orders 00000000-0000-4000-8000-000000000001 1\n");
    mr_buf_printf(&catalog, "cleanup.policy=%s\n", policy);
    expect_ok(broker_config_set(&b->config, MR_STR("cleanup.policy"), mr_str_from(policy)));
    mr_buf_printf(&catalog, "end %08x\n", mr_crc32c(0, catalog.data, catalog.length));
    snprintf(path, sizeof(path), "%s/catalog", t->folder);
    expect_ok(mr_file_write(path, mr_buf_as_str(&catalog), 0644));
    mr_buf_fini(&catalog);
}

/* A folder of one topic, as a server leaves it. */
static void given_catalog(struct story *t, struct bench *b)
{
    given_topic(t, b, "delete");
    expect_ok(broker_config_set(&b->config, MR_STR("segment.bytes"), MR_STR("300")));
    opens(b, true);
    for (int i = 0; i < 12; i++) {
        struct made made = {5, 1700000000000, 0, i, false, "key", "value", 1};
        int64_t base;
        expect_ok(appends_made(b, made, &base));
    }
    closes(b);
}

/* Whether exactly `faults` are told, and one of them says `words`. */
static void expect_verdict(struct story *t, size_t faults, const char *words)
{
    struct broker_check check;
    struct mr_buf text = {0};
    expect_ok(broker_verify(mr_str_from(t->folder), &text, &check));
    mr_buf_u8(&text, '\0');
    expect_int(check.faults, faults);
    expect(words == NULL || strstr((const char *)text.data, words) != NULL);
    mr_buf_fini(&text);
}

static void puts_byte(struct bench *b, const char *file, off_t at, uint8_t byte)
{
    char path[500];
    snprintf(path, sizeof(path), "%s/%s", b->folder, file);
    int fd = open(path, O_WRONLY);
    expect(fd >= 0 && pwrite(fd, &byte, 1, at) == 1);
    close(fd);
}

STORY("a folder that is whole is found whole, and nothing in it is changed")
{
    struct bench b;
    given_catalog(t, &b);
    expect_verdict(t, 0, NULL);
    expect_verdict(t, 0, NULL);
    opens(&b, true);
    expect_int(b.log->end, 12);
}

STORY("a bit that turned in a closed segment is told with its file and byte")
{
    struct bench b;
    given_catalog(t, &b);
    puts_byte(&b, "00000000000000000000.log", 70, 0xff);
    expect_verdict(t, 3, "00000000000000000000.log: byte 0: a batch that is torn");
}

STORY("bytes behind the last whole batch are a note, bytes missing before the checkpoint's end a "
      "fault")
{
    struct bench b;
    char path[500];
    struct stat status;
    given_catalog(t, &b);
    opens(&b, true);
    snprintf(path, sizeof(path), "%s/%020lld.log", b.folder,
             (long long)broker_log_active(b.log)->facts.base);
    is_killed(&b);
    expect(stat(path, &status) == 0);
    int fd = open(path, O_WRONLY);
    expect(pwrite(fd, "torn", 4, status.st_size) == 4);
    close(fd);
    expect_verdict(t, 0, "note: ");
    expect(truncate(path, status.st_size - 1) == 0);
    expect_verdict(t, 4,
                   "the checkpoint knows records up to 12"); /* its producer knows more, too */
}

STORY("what a compaction left that was killed before its checkpoint is whole")
{
    struct bench b;
    struct made made = {5, 1700000000000, 0, 0, false, "once", "first", 1};
    struct made open = {6, 1700000000000, 0, 0, true, "open", "till later", 1};
    int64_t base, end;
    given_topic(t, &b, "compact");
    opens(&b, true);
    for (int i = 0; i < 4; i++)
        appends(&b, "other", "a value that goes", 1);
    broker_upkeep_roll(b.log);
    expect_ok(appends_made(&b, made, &base));
    made.sequence = 1;
    made.key = "key";
    expect_ok(appends_made(&b, made, &base));
    appends(&b, "key", "later", 1);
    appends(&b, "other", "later", 1);
    expect_ok(appends_made(&b, open, &base));
    broker_upkeep_roll(b.log);
    checkpoints(&b);
    made.sequence = 2;
    made.key = "behind the checkpoint";
    expect_ok(appends_made(&b, made, &base));
    expect_ok(broker_journal_marker(b.log, true, 6, 0, 1, &end));
    syncs(&b);
    expect(broker_compact_begin(b.log));
    settles(&b);
    is_killed(&b); /* files are shorter, merged, without batches that the checkpoint knows */
    expect_verdict(t, 0, NULL);
    opens(&b, false);
    expect_records(&b, "4:once=first 6:key=later 7:other=later 8:open=till later "
                       "9:behind the checkpoint=first ");
    expect_int(broker_producers_find(&b.log->producers, 5)->batches[2].last, 2);
}

STORY("a damaged index, checkpoint or catalog is told as such")
{
    struct bench b;
    char path[500];
    given_catalog(t, &b);
    puts_byte(&b, "00000000000000000000.index", 20, 0xee);
    expect_verdict(t, 1, "00000000000000000000.index: expected the index of a segment");
    puts_byte(&b, "checkpoint", 20, 0xee);
    expect_verdict(t, 2, "checkpoint: its checksum does not match");
    snprintf(path, sizeof(path), "%s/catalog", t->folder);
    expect(truncate(path, 40) == 0);
    expect_verdict(t, 1, "catalog");
}
