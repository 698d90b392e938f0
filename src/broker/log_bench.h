/* broker/log_bench.h: what the stories of one log share: a storage on a test's clock and real files, without
 * sockets. Thread: the test's. */
#ifndef BROKER_LOG_BENCH_H
#define BROKER_LOG_BENCH_H

#include "broker/storage.h"
#include "kafka/records.h"
#include "story.h"

#include <stdio.h>

struct bench {
    struct mr_clock clock;
    struct mr_loop *loop;
    struct mr_disk *disk;
    struct broker_storage storage;
    struct broker_config config;
    struct broker_log *log;
    char folder[400];
    bool woken, drained;
    int run_count;
    mr_err run_err;
    struct broker_log_wait wait;
    struct broker_log_watch watch;
    struct mr_task drain;
};

static inline void given_storage(struct story *t, struct bench *b)
{
    *b = (struct bench){0};
    mr_clock_init_manual(&b->clock, 1700000000000000);
    b->loop = mr_loop_new("log", &b->clock);
    b->disk = mr_disk_new(2);
    broker_storage_init(&b->storage, b->loop, b->disk, mr_str_from(t->folder));
    broker_config_init(&b->config, NULL);
    snprintf(b->folder, sizeof(b->folder), "%s/orders-0", t->folder);
}

static inline void opens(struct bench *b, bool clean)
{
    b->log = broker_log_new(&b->storage, mr_str_from(b->folder), MR_STR("orders-0"), &b->config);
    expect_ok(broker_checkpoint_load(b->log, clean));
    broker_log_start(b->log);
}

static inline void given_log(struct story *t, struct bench *b)
{
    given_storage(t, b);
    opens(b, true);
}

static inline void wait_run(struct broker_log_wait *wait, mr_err err)
{
    struct bench *b = mr_container(wait, struct bench, wait);
    b->run_count++;
    b->run_err = err;
}

static inline void settles(struct bench *b)
{
    for (int i = 0; i < 2000 && b->log->users > 0; i++)
        mr_loop_turn(b->loop, 1000);
    for (int i = 0; i < 3; i++)
        mr_loop_turn(b->loop, 0);
    expect_int(b->log->users, 0);
}

/* Waits until all that was appended is synced. */
static inline void syncs(struct bench *b)
{
    b->run_count = 0;
    b->wait.run = wait_run;
    broker_log_wait_flushed(b->log, &b->wait, b->log->end);
    for (int i = 0; i < 2000 && b->run_count == 0; i++)
        mr_loop_turn(b->loop, 1000);
    expect_int(b->run_count, 1);
    expect_ok(b->run_err);
    settles(b);
}

struct made {
    int64_t producer_id, time_ms;
    int16_t epoch;
    int32_t sequence;
    bool transactional;
    const char *key, *value; /* value NULL: a tombstone */
    int count;
};

static inline mr_err appends_made(struct bench *b, struct made made, int64_t *base)
{
    struct mr_buf buf = {0};
    struct kafka_builder builder;
    struct broker_batch batch;
    struct mr_bytes *bytes;
    mr_err err;

    kafka_records_begin(&builder, &buf);
    for (int i = 0; i < made.count; i++)
        kafka_records_append(&builder, made.time_ms, mr_str_from(made.key), mr_str_from(made.value),
                             NULL, 0);
    expect_ok(kafka_records_finish(&builder, KAFKA_CODEC_NONE, 0, made.producer_id, made.epoch,
                                   made.sequence, made.transactional));
    bytes = mr_bytes_copy(buf.data, buf.length);
    expect_ok(broker_batch_read(bytes->data, bytes->length, &batch));
    err = broker_log_append(b->log, bytes, bytes->data, &batch);
    *base = batch.base;
    mr_bytes_unref(bytes);
    mr_buf_fini(&buf);
    return err;
}

static inline struct made plain(const char *key, const char *value, int count)
{
    return (struct made){-1, 1700000000000, -1, -1, false, key, value, count};
}

static inline int64_t appends(struct bench *b, const char *key, const char *value, int count)
{
    int64_t base = -1;
    expect_ok(appends_made(b, plain(key, value, count), &base));
    return base;
}

/* What is in the log now may be compacted or dropped afterwards. */
static inline void checkpoints(struct bench *b)
{
    broker_checkpoint_begin(b->log);
    settles(b);
    expect_int(b->log->checkpointed, broker_log_active(b->log)->facts.base);
}

static inline void closes(struct bench *b)
{
    checkpoints(b);
    broker_storage_forget(&b->storage, b->log);
    b->storage.logs.count = 0;
    broker_log_free(b->log);
    b->log = NULL;
}

/* Leaves the files as a kill would, without a checkpoint. */
static inline void is_killed(struct bench *b)
{
    settles(b);
    broker_storage_forget(&b->storage, b->log);
    b->storage.logs.count = 0;
    broker_log_free(b->log);
    b->log = NULL;
}

/* What was read, in bytes of its own. */
static inline struct mr_bytes *bytes_of(const struct broker_plan *plan)
{
    if (plan->piece.owner == NULL)
        return NULL;
    struct mr_bytes *bytes = mr_bytes_copy(plan->piece.data, plan->piece.length);
    mr_bytes_unref(plan->piece.owner);
    return bytes;
}

/* All batches from `offset` on, read from the files. */
static inline struct mr_bytes *reads_from_disk(struct bench *b, int64_t offset, size_t bytes_max,
                                               int64_t *next)
{
    struct broker_plan plan;

    expect(broker_plan_offset(b->log, offset, broker_log_high(b->log), bytes_max, &plan));
    broker_plan_run(&plan);
    expect_ok(plan.err);
    *next = plan.next_offset;
    broker_plan_finish(&plan);
    return bytes_of(&plan);
}

/* "key=value" of every record from the start on. */
static inline void expect_records(struct bench *b, const char *expected)
{
    struct mr_buf text = {0};
    int64_t offset = b->log->start;

    while (offset < broker_log_high(b->log)) {
        int64_t next = -1;
        struct mr_bytes *bytes = reads_from_disk(b, offset, 1, &next);
        struct kafka_batch batch;
        struct kafka_records records;
        struct kafka_record record;
        struct mr_arena arena;
        if (bytes == NULL)
            break;
        mr_arena_init(&arena);
        expect_ok(kafka_records_batch(mr_str_of(bytes->data, bytes->length), &batch));
        expect_ok(kafka_records_check(&batch));
        expect_ok(kafka_records_open(&batch, &arena, &records));
        while (!kafka_batch_is_control(&batch) && kafka_records_read(&records, &record))
            mr_buf_printf(&text, "%lld:%.*s=%.*s ", (long long)record.offset,
                          MR_STR_ARG(record.key),
                          MR_STR_ARG(record.value.data == NULL ? MR_STR("-") : record.value));
        mr_arena_fini(&arena);
        mr_bytes_unref(bytes);
        offset = next;
    }
    expect_str(mr_buf_as_str(&text), mr_str_from(expected));
    mr_buf_fini(&text);
}

#endif
