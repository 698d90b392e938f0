/* bench/log_load.c: a load generator for a log, on librdkafka, so that ours and a genuine Kafka meet the
 * same client. Each mode prints one line of JSON; bench/log.py starts it and watches the server meanwhile.
 *
 *   log_load produce  ADDRESS TOPIC COUNT BYTES [name=value]...   settings of librdkafka, as acks=1
 *   log_load consume  ADDRESS TOPIC COUNT PARTITIONS PASSES [name=value]...
 *   log_load echo     ADDRESS TOPIC COUNT BYTES [name=value]...   one record at a time, there and back
 *   log_load socket   BYTES CHUNK                                 a bare write() to a loopback socket
 *   log_load disk     FOLDER BYTES                                what the disk does without a log
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "log_load: %s: %s\n", what, why);
    exit(1);
}

static double seconds_of(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double now_s(void)
{
    return seconds_of(CLOCK_MONOTONIC);
}

static double cpu_s(void)
{
    return seconds_of(CLOCK_PROCESS_CPUTIME_ID);
}

static int compare(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static double at_share(double *sorted, size_t count, double share)
{
    size_t at = (size_t)(share * (double)count);
    return sorted[at < count ? at : count - 1] * 1e6;
}

static void print_times(double *times, size_t count)
{
    qsort(times, count, sizeof times[0], compare);
    printf("{\"count\": %zu, \"p50_us\": %.0f, \"p99_us\": %.0f, \"p999_us\": %.0f, \"max_us\": "
           "%.0f}\n",
           count, at_share(times, count, .5), at_share(times, count, .99),
           at_share(times, count, .999), times[count - 1] * 1e6);
}

/* ---- clients ---- */

static void set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char why[256];
    if (rd_kafka_conf_set(conf, name, value, why, sizeof why) != RD_KAFKA_CONF_OK)
        fail(name, why);
}

static rd_kafka_t *client(rd_kafka_type_t type, rd_kafka_conf_t *conf, const char *address,
                          char **settings)
{
    char why[256];
    rd_kafka_t *made;

    set(conf, "bootstrap.servers", address);
    set(conf, "log_level", "3");
    for (; *settings != NULL; settings++) {
        char name[128];
        const char *equals = strchr(*settings, '=');
        if (equals == NULL || equals - *settings >= (long)sizeof name)
            fail(*settings, "expected name=value");
        snprintf(name, sizeof name, "%.*s", (int)(equals - *settings), *settings);
        set(conf, name, equals + 1);
    }
    made = rd_kafka_new(type, conf, why, sizeof why);
    if (made == NULL)
        fail("client", why);
    return made;
}

static int64_t delivered, refused;

static void on_delivery(rd_kafka_t *handle, const rd_kafka_message_t *message, void *context)
{
    (void)handle;
    (void)context;
    delivered++;
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR && refused++ == 0)
        fprintf(stderr, "log_load: not delivered: %s\n", rd_kafka_err2str(message->err));
}

/* Text of a kind that compresses a little, not zeros. */
static char *payload_of(size_t bytes)
{
    char *payload = malloc(bytes + 1);
    uint64_t seed = 88172645463325252ull;
    for (size_t i = 0; i < bytes; i++) {
        seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
        payload[i] = (char)(' ' + seed % 64);
    }
    return payload;
}

static int produce(const char *address, const char *topic, int64_t count, size_t bytes,
                   char **settings)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_topic_t *handle;
    rd_kafka_t *producer;
    char *payload = payload_of(bytes);
    double began, cpu;

    set(conf, "queue.buffering.max.messages", "1000000");
    set(conf, "queue.buffering.max.kbytes", "262144");
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    producer = client(RD_KAFKA_PRODUCER, conf, address, settings);
    handle = rd_kafka_topic_new(producer, topic, NULL);
    began = now_s();
    cpu = cpu_s();
    for (int64_t i = 0; i < count; i++) {
        while (rd_kafka_produce(handle, RD_KAFKA_PARTITION_UA, 0, payload, bytes, NULL, 0, NULL) !=
               0) {
            if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL)
                fail("produce", rd_kafka_err2str(rd_kafka_last_error()));
            rd_kafka_poll(producer, 10);
        }
        if ((i & 1023) == 0)
            rd_kafka_poll(producer, 0);
    }
    while (delivered < count && now_s() - began < 600)
        rd_kafka_poll(producer, 10);
    printf("{\"count\": %lld, \"failed\": %lld, \"seconds\": %.4f, \"client_cpu\": %.4f}\n",
           (long long)delivered, (long long)refused, now_s() - began, cpu_s() - cpu);
    rd_kafka_topic_destroy(handle);
    rd_kafka_destroy(producer);
    free(payload);
    return delivered == count && refused == 0 ? 0 : 1;
}

static void place(rd_kafka_t *consumer, const char *topic, int partitions, int64_t offset)
{
    rd_kafka_topic_partition_list_t *all = rd_kafka_topic_partition_list_new(partitions);

    for (int i = 0; i < partitions; i++)
        rd_kafka_topic_partition_list_add(all, topic, i)->offset = offset;
    if (rd_kafka_assign(consumer, all) != RD_KAFKA_RESP_ERR_NO_ERROR)
        fail("assign", topic);
    rd_kafka_topic_partition_list_destroy(all);
}

static rd_kafka_t *consumer_at(const char *address, const char *topic, int partitions,
                               int64_t offset, char **settings)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_t *consumer;

    set(conf, "group.id", "log_load");
    set(conf, "enable.auto.commit", "false");
    set(conf, "queued.min.messages", "1000000");
    consumer = client(RD_KAFKA_CONSUMER, conf, address, settings);
    rd_kafka_poll_set_consumer(consumer);
    place(consumer, topic, partitions, offset);
    return consumer;
}

/* One pass over the first `count` records; the clocks begin with the first of them. */
static int64_t pass(rd_kafka_queue_t *queue, int64_t count, double *seconds, double *cpu)
{
    rd_kafka_message_t *messages[4096];
    double began = 0, cpu_began = 0, first = now_s();
    int64_t seen = 0;

    while (seen < count && now_s() - first < 600) {
        ssize_t got = rd_kafka_consume_batch_queue(queue, 100, messages, 4096);
        if (got > 0 && began == 0) {
            began = now_s();
            cpu_began = cpu_s();
        }
        for (ssize_t i = 0; i < got; i++) {
            seen += messages[i]->err == RD_KAFKA_RESP_ERR_NO_ERROR;
            rd_kafka_message_destroy(messages[i]);
        }
    }
    *seconds += now_s() - began;
    *cpu += cpu_s() - cpu_began;
    return seen;
}

static int consume(const char *address, const char *topic, int64_t count, int partitions,
                   int passes, char **settings)
{
    rd_kafka_t *consumer = consumer_at(address, topic, partitions, RD_KAFKA_OFFSET_BEGINNING,
                                       settings);
    rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(consumer);
    double seconds = 0, cpu = 0;
    int64_t seen = 0;

    for (int i = 0; i < passes; i++) {
        if (i > 0)
            place(consumer, topic, partitions, RD_KAFKA_OFFSET_BEGINNING);
        seen += pass(queue, count, &seconds, &cpu);
        rd_kafka_assign(consumer, NULL);
    }
    printf("{\"count\": %lld, \"seconds\": %.4f, \"client_cpu\": %.4f}\n", (long long)seen, seconds,
           cpu);
    rd_kafka_queue_destroy(queue);
    rd_kafka_consumer_close(consumer);
    rd_kafka_destroy(consumer);
    return seen == count * passes ? 0 : 1;
}

static int echo(const char *address, const char *topic, int64_t count, size_t bytes,
                char **settings)
{
    char *none[] = {"fetch.wait.max.ms=500", "fetch.error.backoff.ms=1", NULL};
    rd_kafka_t *consumer = consumer_at(address, topic, 1, RD_KAFKA_OFFSET_END, none);
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_t *producer;
    rd_kafka_topic_t *handle;
    char *payload = payload_of(bytes);
    double *times = calloc((size_t)count, sizeof *times);
    int64_t warm = count / 10;

    set(conf, "linger.ms", "0");
    producer = client(RD_KAFKA_PRODUCER, conf, address, settings);
    handle = rd_kafka_topic_new(producer, topic, NULL);
    for (double until = now_s() + 2; now_s() < until;) /* the consumer finds its place */
        rd_kafka_consumer_poll(consumer, 100);
    for (int64_t i = -warm; i < count; i++) {
        double began = now_s();
        rd_kafka_message_t *back = NULL;
        if (rd_kafka_produce(handle, 0, RD_KAFKA_MSG_F_COPY, payload, bytes, NULL, 0, NULL) != 0)
            fail("produce", rd_kafka_err2str(rd_kafka_last_error()));
        while (back == NULL || back->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
            if (back != NULL)
                rd_kafka_message_destroy(back);
            back = rd_kafka_consumer_poll(consumer, 1000);
            if (now_s() - began > 60)
                fail("echo", "nothing came back in 60 s");
        }
        rd_kafka_message_destroy(back);
        if (i >= 0)
            times[i] = now_s() - began;
        rd_kafka_poll(producer, 0);
    }
    print_times(times, (size_t)count);
    rd_kafka_topic_destroy(handle);
    rd_kafka_destroy(producer);
    rd_kafka_consumer_close(consumer);
    rd_kafka_destroy(consumer);
    free(times);
    free(payload);
    return 0;
}

/* ---- what the machine does without a log ---- */

static void swallow(int fd, int64_t bytes)
{
    char *buffer = malloc(1 << 18);
    while (bytes > 0) {
        ssize_t got = recv(fd, buffer, 1 << 18, 0);
        if (got <= 0)
            _exit(1);
        bytes -= got;
    }
    _exit(0);
}

static int socket_rate(int64_t bytes, size_t chunk)
{
    struct sockaddr_in place = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof place;
    char *payload = payload_of(64 << 20); /* as large as what a log serves from memory */
    int listener = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM, 0);
    double began, cpu;
    size_t at = 0;

    if (bind(listener, (struct sockaddr *)&place, sizeof place) != 0 || listen(listener, 1) != 0 ||
        getsockname(listener, (struct sockaddr *)&place, &length) != 0)
        fail("socket", strerror(errno));
    pid_t child = fork();
    if (child == 0)
        swallow(accept(listener, NULL, NULL), bytes);
    if (connect(fd, (struct sockaddr *)&place, sizeof place) != 0)
        fail("socket", strerror(errno));
    began = now_s();
    cpu = cpu_s();
    for (int64_t left = bytes; left > 0;) {
        size_t part = left < (int64_t)chunk ? (size_t)left : chunk;
        ssize_t put = write(fd, payload + at, part);
        if (put < 0)
            fail("socket", strerror(errno));
        left -= put;
        at = (at + (size_t)put) % ((64 << 20) - chunk);
    }
    cpu = cpu_s() - cpu;
    waitpid(child, NULL, 0);
    printf("{\"bytes\": %lld, \"seconds\": %.4f, \"cpu\": %.4f}\n", (long long)bytes,
           now_s() - began, cpu);
    return 0;
}

static double disk_write(const char *path, int64_t bytes, int flags)
{
    char *buffer = NULL, *payload = payload_of(1 << 20);
    double began = now_s();
    int fd = open(path, O_WRONLY | O_CREAT | flags, 0600);

    if (fd < 0 || posix_memalign((void **)&buffer, 4096, 1 << 20) != 0)
        fail(path, strerror(errno));
    memcpy(buffer, payload, 1 << 20);
    for (int64_t at = 0; at < bytes; at += 1 << 20)
        if (pwrite(fd, buffer, 1 << 20, at) != 1 << 20)
            fail(path, strerror(errno));
    if (fdatasync(fd) != 0)
        fail(path, strerror(errno));
    close(fd);
    free(buffer);
    free(payload);
    return now_s() - began;
}

static int disk_rate(const char *folder, int64_t bytes)
{
    enum { SYNCS = 1000 };
    static double times[SYNCS];
    char path[1024], block[4096] = {1};
    double fresh, cached, direct, cpu = cpu_s(), fresh_cpu, cached_cpu;

    snprintf(path, sizeof path, "%s/log_load.disk", folder);
    unlink(path);
    fresh = disk_write(path, bytes, 0);
    fresh_cpu = cpu_s() - cpu;
    cpu = cpu_s();
    cached = disk_write(path, bytes, 0);
    cached_cpu = cpu_s() - cpu;
    direct = disk_write(path, bytes, O_DIRECT);
    int fd = open(path, O_WRONLY);
    for (int i = 0; i < SYNCS; i++) {
        double began = now_s();
        if (pwrite(fd, block, sizeof block, (off_t)i * 4096) != sizeof block || fdatasync(fd) != 0)
            fail(path, strerror(errno));
        times[i] = now_s() - began;
    }
    close(fd);
    unlink(path);
    qsort(times, SYNCS, sizeof times[0], compare);
    printf("{\"fresh_mb_s\": %.0f, \"fresh_cpu_us_kib\": %.2f, \"cached_mb_s\": %.0f, "
           "\"cached_cpu_us_kib\": %.2f, \"direct_mb_s\": %.0f, \"sync_p50_us\": %.0f, "
           "\"sync_p99_us\": %.0f}\n",
           (double)bytes / 1e6 / fresh, fresh_cpu * 1e6 / ((double)bytes / 1024),
           (double)bytes / 1e6 / cached, cached_cpu * 1e6 / ((double)bytes / 1024),
           (double)bytes / 1e6 / direct, at_share(times, SYNCS, .5), at_share(times, SYNCS, .99));
    return 0;
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "";

    if (strcmp(mode, "produce") == 0 && argc >= 6)
        return produce(argv[2], argv[3], atoll(argv[4]), (size_t)atoll(argv[5]), argv + 6);
    if (strcmp(mode, "consume") == 0 && argc >= 7)
        return consume(argv[2], argv[3], atoll(argv[4]), atoi(argv[5]), atoi(argv[6]), argv + 7);
    if (strcmp(mode, "echo") == 0 && argc >= 6)
        return echo(argv[2], argv[3], atoll(argv[4]), (size_t)atoll(argv[5]), argv + 6);
    if (strcmp(mode, "socket") == 0 && argc == 4)
        return socket_rate(atoll(argv[2]), (size_t)atoll(argv[3]));
    if (strcmp(mode, "disk") == 0 && argc == 4)
        return disk_rate(argv[2], atoll(argv[3]));
    fputs("log_load: expected produce, consume, echo, socket or disk; see bench/log_load.c\n",
          stderr);
    return 2;
}
