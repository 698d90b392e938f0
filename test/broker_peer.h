/* broker_peer.h: a broker on a test's clock and a client of it over a real socket, for stories in C. */
#ifndef TEST_BROKER_PEER_H
#define TEST_BROKER_PEER_H

#include "broker/server.h"
#include "story.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct broker {
    struct mr_clock clock;
    struct mr_loop *loop;
    struct mr_disk *disk;
    struct broker_server *server;
    char folder[300];
    const char *settings; /* it is started with; NULL: none */
    bool closed;
    struct mr_task close_task;
};
struct peer {
    struct broker *broker;
    int fd;
    struct mr_buf in;
    struct mr_arena arena;
    int32_t correlation;
};

static inline void starts(struct broker *b)
{
    struct broker_options options = {
        .folder = mr_str_from(b->folder), .no_reserve = true, .settings = mr_str_from(b->settings)};

    b->loop = mr_loop_new("log", &b->clock);
    b->disk = mr_disk_new(2);
    expect_ok(broker_server_open(b->loop, b->disk, &options, &b->server));
    for (int i = 0; i < 5000 && !broker_server_ready(b->server); i++)
        mr_loop_turn(b->loop, 1000);
    expect(broker_server_ready(b->server));
}

static inline void given_broker_with(struct story *t, struct broker *b, const char *settings)
{
    *b = (struct broker){.settings = settings};
    mr_clock_init_manual(&b->clock, 1700000000000000);
    snprintf(b->folder, sizeof(b->folder), "%s/broker", t->folder);
    starts(b);
}

static inline void given_broker(struct story *t, struct broker *b)
{
    given_broker_with(t, b, NULL);
}

static inline void on_closed(struct mr_task *task)
{
    mr_container(task, struct broker, close_task)->closed = true;
}

static inline void stops(struct broker *b)
{
    b->closed = false;
    b->close_task.run = on_closed;
    broker_server_close(b->server, &b->close_task);
    for (int i = 0; i < 20000 && !b->closed; i++) {
        mr_loop_turn(b->loop, 1000);
        if (i % 4 == 3) /* in between the disk has real time */
            mr_clock_pass(&b->clock, 1000);
    }
    expect(b->closed);
    mr_disk_free(b->disk);
    mr_loop_free(b->loop);
}

/* The files as a kill would leave them now, for another broker; this one is left alone. */
static inline void is_killed(struct broker *b)
{
    char command[1200], copy[300];

    snprintf(copy, sizeof(copy), "%.290s+", b->folder);
    snprintf(command, sizeof(command), "cp -r %s %s", b->folder, copy);
    expect(system(command) == 0);
    snprintf(b->folder, sizeof(b->folder), "%s", copy);
    starts(b);
}

static inline void passes(struct broker *b, int64_t ms)
{
    for (int64_t left = ms; left > 0; left -= 500) {
        mr_clock_pass(&b->clock, (left < 500 ? left : 500) * 1000);
        for (int i = 0; i < 3; i++)
            mr_loop_turn(b->loop, 0);
    }
}

/* ---- a client ---- */

static inline struct peer *given_peer(struct broker *b)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(broker_server_port(b->server)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct peer *peer = mr_new(struct peer);

    peer->broker = b;
    peer->fd = socket(AF_INET, SOCK_STREAM, 0);
    expect(connect(peer->fd, (struct sockaddr *)&address, sizeof(address)) == 0);
    return peer;
}

static inline void leaves(struct peer *peer)
{
    close(peer->fd);
    for (int i = 0; i < 5; i++)
        mr_loop_turn(peer->broker->loop, 1000);
}

static inline void asks(struct peer *peer, int16_t key, int16_t version, const void *request)
{
    const struct kafka_api *api = kafka_api_find(key);
    struct mr_buf buf = {0};
    struct wire_out out = kafka_api_out(&buf, api, version);

    kafka_api_write_request(&out, api, ++peer->correlation, MR_STR("story"), request);
    expect_int(out.splice_bytes, 0);
    expect_ok(buf.err);
    expect(write(peer->fd, buf.data, buf.length) == (ssize_t)buf.length);
    wire_out_fini(&out);
    mr_buf_fini(&buf);
    for (int i = 0; i < 5; i++)
        mr_loop_turn(peer->broker->loop, 0);
}

/* Whether an answer has come; the loop runs a while for it. */
static inline bool has_answer(struct peer *peer, int turns)
{
    for (int i = 0; i < turns; i++) {
        struct pollfd ready = {.fd = peer->fd, .events = POLLIN};
        if (poll(&ready, 1, 0) == 1)
            return true;
        mr_loop_turn(peer->broker->loop, 1000);
    }
    return false;
}

static inline void reads_exactly(struct peer *peer, void *into, size_t length)
{
    size_t have = 0;
    while (have < length) {
        ssize_t got;
        expect(has_answer(peer, 3000));
        got = read(peer->fd, (char *)into + have, length - have);
        expect(got > 0);
        have += (size_t)got;
    }
}

static inline void hears(struct peer *peer, int16_t key, int16_t version, void *response)
{
    uint8_t head[4];
    size_t length;
    char *frame;
    int32_t correlation = 0;

    reads_exactly(peer, head, 4);
    length = broker_batch_be32(head);
    frame = mr_arena_alloc(&peer->arena, length);
    reads_exactly(peer, frame, length);
    expect_ok(kafka_api_read_response(mr_str_of(frame, length), &peer->arena, kafka_api_find(key),
                                      version, &correlation, response));
}

#define calls(peer, name, version, request, response)      \
    (asks((peer), KAFKA_API_##name, (version), (request)), \
     hears((peer), KAFKA_API_##name, (version), (response)))

static inline void has_topic(struct peer *peer, const char *name, int32_t partitions)
{
    struct kafka_create_topics_request_topic topic = {
        .name = mr_str_from(name), .num_partitions = partitions, .replication_factor = 1};
    struct kafka_create_topics_request request = {.topics = {&topic, 1}, .timeout_ms = 1000};
    struct kafka_create_topics_response response;

    calls(peer, create_topics, 5, &request, &response);
    expect_int(response.topics.items[0].error_code, 0);
}

/* So many records of one value, outside of any transaction. */
static inline void puts_records(struct peer *peer, const char *topic, int32_t partition,
                                const char *value, int count)
{
    struct kafka_produce_request_partition row = {.index = partition};
    struct kafka_produce_request_topic rows = {.name = mr_str_from(topic),
                                               .partition_data = {&row, 1}};
    struct kafka_produce_request request = {
        .acks = -1, .timeout_ms = 1000, .topic_data = {&rows, 1}};
    struct kafka_produce_response response;
    struct kafka_builder builder;
    struct mr_buf buf = {0};

    kafka_records_begin(&builder, &buf);
    for (int i = 0; i < count; i++)
        kafka_records_append(&builder, 1700000000000, MR_STR("k"), mr_str_from(value), NULL, 0);
    expect_ok(kafka_records_finish(&builder, KAFKA_CODEC_NONE, 0, -1, -1, -1, false));
    row.records.bytes = mr_buf_as_str(&buf);
    calls(peer, produce, 7, &request, &response);
    mr_buf_fini(&buf);
    expect_int(response.responses.items[0].partition_responses.items[0].error_code, 0);
}

#endif
