/* kafka/walk_test.c: what a broker finds out about the records of a batch, however they are packed and cut. */
#include "kafka/walk.h"

#include "kafka/compress.h"
#include "story.h"

static const struct kafka_walk_rules free_rules = {.time_min = INT64_MIN, .time_max = INT64_MAX};

/* A varint as clients write it. */
static void number(struct mr_buf *buf, int64_t value)
{
    uint64_t zigzag = ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
    for (; zigzag >= 0x80; zigzag >>= 7)
        mr_buf_u8(buf, (uint8_t)(zigzag | 0x80));
    mr_buf_u8(buf, (uint8_t)zigzag);
}

struct made {
    int64_t time, offset;
    const char *key;
    mr_str headers;     /* count and all; empty: none */
    const char *behind; /* bytes that no field owns */
};

static void record_add(struct mr_buf *buf, struct made made)
{
    struct mr_buf body = {0};

    mr_buf_u8(&body, 0);
    number(&body, made.time);
    number(&body, made.offset);
    number(&body, made.key == NULL ? -1 : (int64_t)strlen(made.key));
    mr_buf_cstr(&body, made.key == NULL ? "" : made.key);
    number(&body, 5);
    mr_buf_cstr(&body, "value");
    if (made.headers.length == 0)
        number(&body, 0);
    mr_buf_str(&body, made.headers);
    mr_buf_cstr(&body, made.behind == NULL ? "" : made.behind);
    number(buf, (int64_t)body.length);
    mr_buf_str(buf, mr_buf_as_str(&body));
    mr_buf_fini(&body);
}

/* The walk over these bytes in pieces of any length says the same. */
static mr_err walks(struct kafka_walk *walk, const struct kafka_walk_rules *rules,
                    const struct mr_buf *buf, int32_t count)
{
    static const size_t sizes[] = {1, 2, 7, 1 << 20};
    mr_str bytes = mr_buf_as_str(buf);
    mr_err errs[4], err;

    for (size_t i = 0; i < mr_count_of(sizes); i++) {
        err = MR_OK;
        kafka_walk_begin(walk, rules, 1000);
        for (size_t from = 0; from < bytes.length && err == MR_OK; from += sizes[i])
            err = kafka_walk_piece(walk, mr_str_slice(bytes, from, from + sizes[i]));
        errs[i] = err == MR_OK ? kafka_walk_end(walk, count) : err;
        expect_int(errs[i], errs[0]);
    }
    return errs[0];
}

static mr_err walks_two(struct made second, int32_t count)
{
    struct mr_buf buf = {0};
    struct kafka_walk walk;
    mr_err err;

    record_add(&buf, (struct made){.key = "k"});
    record_add(&buf, second);
    err = walks(&walk, &free_rules, &buf, count);
    mr_buf_fini(&buf);
    return err;
}

STORY("records that fit their batch are let in, others are not")
{
    static const char no_name[] = {2, 1, 2, 'x'}, named[] = {2, 2, 'n', 2, 'x'},
                      less_than_none[] = {1}, more[] = {4, 2, 'n', 2, 'x'}, null[] = {2, 2, 'n', 1};

    expect_int(walks_two((struct made){.offset = 1, .key = "k"}, 2), MR_OK);
    expect_int(walks_two((struct made){.offset = 1}, 2), MR_OK);
    expect_int(walks_two((struct made){.offset = 1, .headers = mr_str_of(named, 5)}, 2), MR_OK);
    expect_int(walks_two((struct made){.offset = 1, .headers = mr_str_of(null, 4)}, 2), MR_OK);
    expect_int(walks_two((struct made){.offset = 1, .key = "k"}, 3), MR_INVALID);
    expect_int(walks_two((struct made){.offset = 1, .key = "k"}, 1), MR_INVALID);
    expect_int(walks_two((struct made){.offset = 5, .key = "k"}, 2), MR_INVALID);
    expect_int(walks_two((struct made){.offset = 0, .key = "k"}, 2), MR_INVALID);
    expect_int(walks_two((struct made){.offset = 1, .behind = "abc"}, 2), MR_INVALID);
    expect_int(walks_two((struct made){.offset = 1, .headers = mr_str_of(no_name, 4)}, 2),
               MR_INVALID);
    expect_int(walks_two((struct made){.offset = 1, .headers = mr_str_of(less_than_none, 1)}, 2),
               MR_INVALID);
    expect_int(walks_two((struct made){.offset = 1, .headers = mr_str_of(more, 5)}, 2), MR_INVALID);
}

STORY("bytes behind the last record, and bytes that are none, are found")
{
    struct mr_buf buf = {0}, garbage = {0};
    struct kafka_walk walk;

    record_add(&buf, (struct made){.key = "k"});
    expect_int(walks(&walk, &free_rules, &buf, 1), MR_OK);
    mr_buf_u8(&buf, 7);
    expect_int(walks(&walk, &free_rules, &buf, 1), MR_INVALID);
    buf.length -= 2; /* cut short */
    expect_int(walks(&walk, &free_rules, &buf, 1), MR_INVALID);
    for (int i = 0; i < 40; i++)
        mr_buf_u8(&garbage, 0xff);
    expect_int(walks(&walk, &free_rules, &garbage, 1), MR_INVALID);
    mr_buf_fini(&garbage);
    mr_buf_fini(&buf);
}

STORY("a walk names the records that break a rule, and finds the latest time")
{
    struct kafka_walk_rules rules = {.keys = true, .time_min = 900, .time_max = 2000};
    struct mr_buf buf = {0};
    struct kafka_walk walk;

    record_add(&buf, (struct made){.offset = 0, .key = "k", .time = 500});
    record_add(&buf, (struct made){.offset = 1, .key = NULL});
    record_add(&buf, (struct made){.offset = 2, .key = "k", .time = 1001});
    record_add(&buf, (struct made){.offset = 3, .key = "k", .time = -1005});
    record_add(&buf, (struct made){.offset = 4, .key = "k", .time = -1001}); /* none */
    expect_int(walks(&walk, &rules, &buf, 5), MR_OK);
    expect_int(walk.time_max, 2001);
    expect_int(walk.fault_count, 3);
    expect(walk.faults[0].index == 1 && walk.faults[0].no_key);
    expect(walk.faults[1].index == 2 && walk.faults[1].timestamp == 2001);
    expect(walk.faults[2].index == 3 && walk.faults[2].timestamp == -5);
    mr_buf_fini(&buf);
}

STORY("packed batches are walked through a window, up to a bound")
{
    for (int codec = KAFKA_CODEC_NONE; codec <= KAFKA_CODEC_ZSTD; codec++) {
        struct mr_buf buf = {0}, value = {0};
        struct kafka_builder builder;
        struct kafka_batch batch;
        struct kafka_walk walk;

        memset(mr_buf_grow(&value, 300000), 'x', 300000);
        kafka_records_begin(&builder, &buf);
        for (int i = 0; i < 3000; i++)
            kafka_records_append(&builder, 1000 + i, MR_STR("key"),
                                 i % 1000 == 7 ? mr_buf_as_str(&value) : MR_STR("value"), NULL, 0);
        expect_ok(kafka_records_finish(&builder, (enum kafka_codec)codec, 0, -1, -1, -1, false));
        expect_ok(kafka_records_batch(mr_buf_as_str(&buf), &batch));
        expect_ok(kafka_walk_batch(&walk, &free_rules, &batch, 1 << 20));
        expect_int(walk.count, 3000);
        expect_int(walk.time_max, 1000 + 2999);
        expect_int(kafka_walk_batch(&walk, &free_rules, &batch, 900000), MR_LIMIT);
        batch.count++;
        expect_int(kafka_walk_batch(&walk, &free_rules, &batch, 1 << 20), MR_INVALID);
        mr_buf_fini(&value);
        mr_buf_fini(&buf);
    }
}
