/* broker/fetch_test.c: fetch sessions, and topics told piece by piece, over real sockets on a test's clock. */
#include "broker_peer.h"

/* ---- a reader with a session ---- */

struct reader {
    struct peer *peer;
    int32_t session_id, epoch, wait_ms, max_bytes;
    int16_t error;
    char told[200]; /* "partition:records" of the last answer */
};

struct wish {
    const char *topic;
    int32_t partition;
    int64_t offset;
};

static int32_t record_count(mr_str bytes)
{
    struct kafka_batch batch;
    mr_err err = MR_OK;
    int32_t count = 0;
    while (kafka_records_next(&bytes, &batch, &err))
        count += batch.count;
    expect_ok(err);
    return count;
}

static void reads(struct reader *reader, const struct wish *wishes, size_t count,
                  const struct wish *forgotten)
{
    struct kafka_fetch_request_partition rows[8];
    struct kafka_fetch_request_topic topics[8];
    struct kafka_fetch_forgotten_topic gone = {0};
    struct kafka_fetch_request request = {.replica_id = -1,
                                          .max_wait_ms = reader->wait_ms,
                                          .min_bytes = 1,
                                          .max_bytes = reader->max_bytes == 0 ? 1 << 20
                                                                              : reader->max_bytes,
                                          .session_id = reader->session_id,
                                          .session_epoch = reader->epoch,
                                          .topics = {topics, (int32_t)count},
                                          .forgotten_topics_data = {&gone, forgotten != NULL}};
    struct kafka_fetch_response response;

    for (size_t i = 0; i < count; i++) {
        rows[i] = (struct kafka_fetch_request_partition){.partition = wishes[i].partition,
                                                         .current_leader_epoch = -1,
                                                         .fetch_offset = wishes[i].offset,
                                                         .last_fetched_epoch = -1,
                                                         .partition_max_bytes = 1 << 20};
        topics[i] = (struct kafka_fetch_request_topic){.topic = mr_str_from(wishes[i].topic),
                                                       .partitions = {&rows[i], 1}};
    }
    if (forgotten != NULL) {
        gone.topic = mr_str_from(forgotten->topic);
        gone.partitions.items = (int32_t *)(uintptr_t)&forgotten->partition;
        gone.partitions.count = 1;
    }
    asks(reader->peer, KAFKA_API_fetch, 12, &request);
    if (!has_answer(reader->peer, 20)) /* it waits for more: the patience ends */
        passes(reader->peer->broker, reader->wait_ms + 500);
    hears(reader->peer, KAFKA_API_fetch, 12, &response);
    reader->error = response.error_code;
    reader->told[0] = '\0';
    for (int32_t i = 0; i < response.responses.count; i++)
        for (int32_t k = 0; k < response.responses.items[i].partitions.count; k++) {
            const struct kafka_fetch_response_partition *answer =
                &response.responses.items[i].partitions.items[k];
            size_t at = strlen(reader->told);
            snprintf(reader->told + at, sizeof reader->told - at, "%s%d:%d", at == 0 ? "" : " ",
                     answer->partition_index,
                     answer->error_code != 0 ? -answer->error_code
                                             : record_count(answer->records.bytes));
        }
    if (reader->error == 0 && response.session_id != 0)
        reader->epoch = reader->session_id == response.session_id ? reader->epoch + 1 : 1;
    reader->session_id = reader->error == 0 ? response.session_id : reader->session_id;
}

#define expect_told(reader, text) expect_str(mr_str_from((reader)->told), MR_STR(text))

static struct reader given_reader(struct broker *b)
{
    return (struct reader){.peer = given_peer(b), .wait_ms = 1000};
}

STORY("a session remembers what is asked, and tells only what has changed")
{
    struct broker b;
    given_broker(t, &b);
    struct reader reader = given_reader(&b);
    struct peer *writer = given_peer(&b);
    has_topic(writer, "a", 3);
    puts_records(writer, "a", 1, "one", 1);
    const struct wish all[] = {{"a", 0, 0}, {"a", 1, 0}, {"a", 2, 0}};
    reads(&reader, all, 3, NULL);
    expect_told(&reader, "0:0 1:1 2:0"); /* the first answer is whole */
    expect(reader.session_id > 0);
    reads(&reader, &(struct wish){"a", 1, 1}, 1, NULL);
    expect_told(&reader, ""); /* nothing new, after the patience */
    puts_records(writer, "a", 2, "two", 1);
    reads(&reader, NULL, 0, NULL);
    expect_told(&reader, "2:1");
    reads(&reader, &(struct wish){"a", 2, 1}, 1, &all[0]);
    expect_told(&reader, "");
    puts_records(writer, "a", 0, "nobody asks for this one any more", 1);
    puts_records(writer, "a", 1, "three", 1);
    reads(&reader, NULL, 0, NULL);
    expect_told(&reader, "1:1");
    reads(&reader, &(struct wish){"none", 0, 0}, 1, NULL);
    expect_told(&reader,
                "1:1 0:-3"); /* it was not read on, so it is told again; an error is always told */
    reads(&reader, &(struct wish){"a", 1, 2}, 1, NULL);
    expect_told(&reader, "0:-3");
    leaves(reader.peer);
    stops(&b);
}

STORY("a session that is not there, or is elsewhere, is told as such, and a new one begins")
{
    struct broker b;
    given_broker(t, &b);
    struct reader reader = given_reader(&b);
    const struct wish first = {"a", 0, 0};
    has_topic(reader.peer, "a", 1);
    reader.session_id = 77;
    reader.epoch = 5;
    reads(&reader, NULL, 0, NULL);
    expect_int(reader.error, KAFKA_ERROR_FETCH_SESSION_ID_NOT_FOUND);
    reader.session_id = reader.epoch = 0;
    reads(&reader, &first, 1, NULL);
    int32_t id = reader.session_id;
    expect(id > 0);
    reader.epoch = 2;
    reads(&reader, NULL, 0, NULL);
    expect_int(reader.error, KAFKA_ERROR_INVALID_FETCH_SESSION_EPOCH);
    reader.epoch = 1;
    reads(&reader, NULL, 0, NULL);
    expect_int(reader.error, 0);
    reader.epoch = 0; /* the old one ends */
    reads(&reader, &first, 1, NULL);
    expect(reader.session_id != id && reader.session_id > 0);
    id = reader.session_id;
    reader.epoch = -1; /* it ends, and none is wanted */
    reads(&reader, &first, 1, NULL);
    expect_int(reader.session_id, 0);
    expect_told(&reader, "0:0");
    reader.session_id = id;
    reader.epoch = 1;
    reads(&reader, NULL, 0, NULL);
    expect_int(reader.error, KAFKA_ERROR_FETCH_SESSION_ID_NOT_FOUND);
    reader.session_id = reader.epoch = 0;
    reads(&reader, &first, 1, NULL);
    reads(&reader, NULL, 0, &first); /* nothing is left of it */
    expect_int(reader.session_id, 0);
    leaves(reader.peer);
    stops(&b);
}

STORY("whoever was read last in a session is read last the next time, so that nobody starves")
{
    struct broker b;
    given_broker(t, &b);
    struct reader reader = given_reader(&b);
    has_topic(reader.peer, "a", 3);
    for (int32_t i = 0; i < 3; i++)
        puts_records(reader.peer, "a", i, "value", 1);
    const struct wish all[] = {{"a", 0, 0}, {"a", 1, 0}, {"a", 2, 0}};
    reader.max_bytes = 1; /* one batch an answer */
    reads(&reader, all, 3, NULL);
    expect_told(&reader, "0:1 1:0 2:0");
    reads(&reader, NULL, 0, NULL);
    expect_told(&reader, "1:1");
    reads(&reader, NULL, 0, NULL);
    expect_told(&reader, "2:1");
    reads(&reader, NULL, 0, NULL);
    expect_told(&reader, "0:1");
    leaves(reader.peer);
    stops(&b);
}

STORY("so many sessions and no more: who comes later is served without, until the others are idle")
{
    struct broker b;
    given_broker(t, &b);
    struct reader reader = given_reader(&b);
    const struct wish first = {"a", 0, 0};
    has_topic(reader.peer, "a", 1);
    puts_records(reader.peer, "a", 0, "value", 1);
    for (int i = 0; i < 1000; i++) {
        reader.session_id = reader.epoch = 0;
        reads(&reader, &first, 1, NULL);
        expect(reader.session_id > 0);
    }
    reader.session_id = reader.epoch = 0;
    reads(&reader, &first, 1, NULL);
    expect_int(reader.session_id, 0);
    expect_told(&reader, "0:1");
    passes(&b, 121000);
    reads(&reader, &first, 1, NULL);
    expect(reader.session_id > 0);
    leaves(reader.peer);
    stops(&b);
}

/* ---- DescribeTopicPartitions ---- */

/* "topic/first+count" of each topic, and the cursor. */
static void describes(struct peer *peer, int32_t limit,
                      struct kafka_describe_topic_partitions_cursor *cursor, const char *expected)
{
    struct kafka_describe_topic_partitions_request request = {.response_partition_limit = limit,
                                                              .cursor = cursor};
    struct kafka_describe_topic_partitions_response response;
    struct mr_buf text = {0};

    calls(peer, describe_topic_partitions, 0, &request, &response);
    for (int32_t i = 0; i < response.topics.count; i++) {
        const struct kafka_describe_topic_partitions_response_topic *topic =
            &response.topics.items[i];
        expect_int(topic->error_code, 0);
        mr_buf_printf(&text, "%.*s/%d+%d ", MR_STR_ARG(topic->name),
                      topic->partitions.count == 0 ? 0 : topic->partitions.items[0].partition_index,
                      topic->partitions.count);
    }
    if (response.next_cursor != NULL)
        mr_buf_printf(&text, "then %.*s/%d", MR_STR_ARG(response.next_cursor->topic_name),
                      response.next_cursor->partition_index);
    expect_str(mr_buf_as_str(&text), mr_str_from(expected));
    mr_buf_fini(&text);
}

STORY("topics are told in the order of their names, so many partitions at a time")
{
    struct broker b;
    given_broker(t, &b);
    struct peer *peer = given_peer(&b);
    has_topic(peer, "c", 2);
    has_topic(peer, "a", 3);
    has_topic(peer, "b", 1);
    describes(peer, 2000, NULL,
              "__consumer_offsets/0+1 __share_group_state/0+1 __transaction_state/0+1 a/0+3 b/0+1 "
              "c/0+2 ");
    describes(peer, 2, &(struct kafka_describe_topic_partitions_cursor){MR_STR("a"), 0},
              "a/0+2 then a/2");
    describes(peer, 2, &(struct kafka_describe_topic_partitions_cursor){MR_STR("a"), 2},
              "a/2+1 b/0+1 then c/0");
    describes(peer, 0, &(struct kafka_describe_topic_partitions_cursor){MR_STR("bb"), 7},
              "c/0+1 then c/1");
    leaves(peer);
    stops(&b);
}
