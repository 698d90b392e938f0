/* kafka/read_all.c: a topic from its start to the end that it has now: partitions, their bounds,
 * then a fetcher until every partition is there. Nobody sees the bounds move: the end is asked for
 * once. */
#include "kafka/client.h"

struct kafka_reading {
    struct kafka_client *client;
    struct kafka_reading *next; /* of client->readings */
    struct kafka_fetcher *fetcher;
    struct mr_arena arena; /* of one fetched set */
    char *topic;
    struct kafka_offset *ends;
    int32_t partition_count;
    int32_t left; /* partitions that are not at their end */
    bool over;
    void (*on_record)(void *context, int32_t partition, const struct kafka_record *record);
    kafka_done *on_end;
    void *context;
    mr_err err;
    char *why;
};

static void reading_free(void *context, mr_err err)
{
    struct kafka_reading *reading = context;
    (void)err;
    kafka_fetcher_close(reading->fetcher);
    mr_arena_fini(&reading->arena);
    if (reading->err != MR_OK)
        mr_fail(reading->err, "%s", reading->why);
    reading->on_end(reading->context, reading->err);
    mr_free(reading->topic);
    mr_free(reading->ends);
    mr_free(reading->why);
    mr_free(reading);
}

static void reading_end(struct kafka_reading *reading, mr_err err)
{
    if (reading->over)
        return;
    struct kafka_reading **link = &reading->client->readings;
    while (*link != NULL && *link != reading)
        link = &(*link)->next;
    if (*link == reading)
        *link = reading->next;
    reading->over = true;
    reading->err = err;
    reading->why = err == MR_OK ? NULL : mr_copy_cstr(mr_str_from(mr_why()));
    kafka_client_later(reading->client, reading_free, reading, MR_OK);
}

/* One more partition is at its end when `next` has passed it for the first time. */
static void partition_reached(struct kafka_reading *reading, int32_t partition, int64_t next)
{
    struct kafka_offset *end = &reading->ends[partition];
    if (end->offset < 0 || next < end->offset)
        return;
    end->offset = -1;
    if (--reading->left == 0)
        reading_end(reading, MR_OK);
}

static void on_fetched(void *context, struct kafka_fetched *fetched)
{
    struct kafka_reading *reading = context;
    struct kafka_reader reader;
    struct kafka_record record;
    kafka_reader_init(&reader, fetched, &reading->arena);
    int64_t end = reading->ends[fetched->partition].offset;
    while (!reading->over && kafka_reader_next(&reader, &record)) {
        if (record.offset < end)
            reading->on_record(reading->context, fetched->partition, &record);
    }
    mr_err err = reader.err;
    kafka_reader_fini(&reader);
    mr_arena_reset(&reading->arena);
    if (err != MR_OK)
        reading_end(reading, err);
    else
        partition_reached(reading, fetched->partition, fetched->next);
    kafka_fetched_free(fetched);
}

static void on_failed(void *context, mr_str topic, int32_t partition, mr_err err)
{
    (void)topic;
    (void)partition;
    reading_end(context, err);
}

static void ends_done(void *context, mr_err err, const struct kafka_offset *offsets, size_t count)
{
    struct kafka_reading *reading = context;
    size_t half = count / 2; /* first the starts, then the ends */
    if (err != MR_OK) {
        reading_end(reading, err);
        return;
    }
    struct kafka_fetcher_options options = {
        .read_committed = true,
        .wait_ms_max = 100,
        .records = on_fetched,
        .failed = on_failed,
        .context = reading,
    };
    err = kafka_fetcher_open(reading->client, &options, &reading->fetcher);
    if (err != MR_OK) {
        reading_end(reading, err);
        return;
    }
    reading->left = reading->partition_count;
    for (size_t i = 0; i < half; i++) {
        reading->ends[i] = offsets[half + i];
        if (offsets[i].offset >= offsets[half + i].offset)
            partition_reached(reading, (int32_t)i, offsets[i].offset);
        else
            kafka_fetcher_assign(reading->fetcher, mr_str_from(reading->topic), (int32_t)i,
                                 offsets[i].offset, NULL);
    }
}

static void partitions_done(void *context, mr_err err, int32_t partitions)
{
    struct kafka_reading *reading = context;
    if (err != MR_OK || reading->over) {
        reading_end(reading, err);
        return;
    }
    reading->partition_count = partitions;
    reading->ends = mr_new_array(struct kafka_offset, (size_t)partitions);
    struct kafka_offset *asked = mr_new_array(struct kafka_offset, (size_t)partitions * 2);
    for (int32_t i = 0; i < partitions; i++) {
        asked[i] = (struct kafka_offset){mr_str_from(reading->topic), i, 0, KAFKA_OFFSET_EARLIEST};
        asked[partitions + i] = (struct kafka_offset){mr_str_from(reading->topic), i, 0,
                                                      KAFKA_OFFSET_LATEST};
    }
    /* The end is the high watermark, not the last stable offset: what the caller has committed may
     * lie behind an open transaction of somebody else, and has to be seen. That one's end is
     * waited for. */
    kafka_admin_offsets(reading->client, asked, (size_t)partitions * 2, false, ends_done, reading);
    mr_free(asked);
}

void kafka_read_all(struct kafka_client *client, mr_str topic,
                    void (*on_record)(void *context, int32_t partition,
                                      const struct kafka_record *record),
                    kafka_done *on_end, void *context)
{
    struct kafka_reading *reading = mr_new(struct kafka_reading);
    reading->client = client;
    reading->topic = mr_copy_cstr(topic);
    reading->on_record = on_record;
    reading->on_end = on_end;
    reading->context = context;
    reading->next = client->readings;
    client->readings = reading;
    kafka_admin_partitions(client, topic, partitions_done, reading);
}

void kafka_read_cancel_all(struct kafka_client *client)
{
    while (client->readings != NULL) {
        struct kafka_reading *reading = client->readings;
        if (reading->fetcher == NULL) { /* its question is answered by the close; only unlink it */
            client->readings = reading->next;
            continue;
        }
        kafka_fetcher_close(reading->fetcher);
        reading->fetcher = NULL;
        reading_end(reading,
                    mr_fail(MR_CANCELLED, "kafka: %s: closed while it was read", reading->topic));
    }
}
