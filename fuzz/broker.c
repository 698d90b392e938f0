/* fuzz/broker.c: requests to a whole broker, over a socket; the same to one with access rules, which let
 * its client do some of it. The input is a row of requests: one byte chooses the API, one the version
 * and whether the rest is the body as it stands or the seed of a well-formed request; two bytes are its
 * length. A third broker wants to know who comes, and takes all of the input for what SASL says.
 *
 * Before the first input both of the others hear every API in every version, and it is told how many answered. */
#include "broker/server.h"
#include "json/json.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static struct mr_clock clock_of_test;
static struct mr_loop *loop;
static struct broker_server
    *servers[3]; /* the second one has rules, the third one asks who comes */
static char folder[] = "/tmp/millrace-fuzz-broker-XXXXXX";

/* By the first letter of a name; invented ones are small letters. */
static const struct {
    const char *letters, *resource, *operation, *permission;
} rules[] = {
    {"abcdef", "TOPIC", "ALL", "ALLOW"},
    {"ghijk", "TOPIC", "READ", "ALLOW"},
    {"lmno", "TOPIC", "WRITE", "ALLOW"},
    {"pq", "TOPIC", "DESCRIBE", "ALLOW"},
    {"rs", "TOPIC", "ALTER_CONFIGS", "ALLOW"},
    {"bhm", "TOPIC", "DESCRIBE", "DENY"},
    {"abcdefghijklmn", "GROUP", "ALL", "ALLOW"},
    {"opqr", "GROUP", "DESCRIBE", "ALLOW"},
    {"abcdefghijklmn", "TRANSACTIONAL_ID", "ALL", "ALLOW"},
    {"opqr", "TRANSACTIONAL_ID", "DESCRIBE", "ALLOW"},
    {"k", "CLUSTER", "DESCRIBE", "ALLOW"},
    {"k", "CLUSTER", "ALTER", "ALLOW"},
};

/* What earlier inputs have made of them is forgotten. */
static void rules_are_given(struct broker_acls *acls)
{
    struct mr_arena arena;
    char row[200];

    mr_arena_init(&arena);
    broker_acl_fini(acls);
    *acls = (struct broker_acls){.enabled = true};
    for (size_t i = 0; i < mr_count_of(rules); i++)
        for (const char *letter = rules[i].letters; *letter != '\0'; letter++) {
            const struct json_value *value;
            bool whole = strcmp(rules[i].resource, "CLUSTER") == 0;
            snprintf(row, sizeof(row),
                     "{\"acl\":\"%s\",\"operation\":\"%s\",\"resource\":\"%s\",\"pattern\":\"%s\","
                     "\"name\":\"%.*s\",\"principal\":\"User:ANONYMOUS\",\"host\":\"*\"}",
                     rules[i].permission, rules[i].operation, rules[i].resource,
                     whole ? "LITERAL" : "PREFIXED", whole ? 13 : 1,
                     whole ? "kafka-cluster" : letter);
            mr_assert(json_parse(&arena, mr_str_from(row), &value) == MR_OK);
            mr_assert(broker_acl_read(acls, value) == MR_OK);
        }
    mr_arena_fini(&arena);
}

static void ends(void)
{
    mr_folder_remove(folder);
}

static void sends(int fd, const void *data, size_t length)
{
    if (send(fd, data, length, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        return; /* closed for what came before */
}

/* Topics of a million partitions are allowed, and not what this is about. */
static bool is_costly(const struct kafka_api *api)
{
    return api->key == KAFKA_API_create_topics || api->key == KAFKA_API_create_partitions;
}

static void asks(int fd, const struct kafka_api *api, int16_t version, mr_str rest, bool invented)
{
    struct mr_arena arena;
    struct mr_buf buf = {0};
    mr_arena_init(&arena);
    struct wire_out out = kafka_api_out(&buf, api, version);
    void *request = mr_arena_alloc_zero(&arena, api->request()->bytes);

    if (invented && !is_costly(api)) {
        struct mr_random random;
        mr_random_init(&random, mr_hash(rest.data, rest.length));
        wire_invent(&random, &arena, api->request(), version, request);
        kafka_api_write_request(&out, api, 1, MR_STR("fuzz"), request);
        for (size_t at = 0, i = 0; i <= out.splices.count; i++) {
            size_t end = i < out.splices.count ? out.splices.items[i].at : buf.length;
            sends(fd, buf.data + at, end - at);
            at = end;
            if (i < out.splices.count)
                sends(fd, out.splices.items[i].ref.data, out.splices.items[i].ref.length);
        }
    } else {
        bool tagged = kafka_api_request_header(api, version) >= 2;
        mr_buf_be32(&buf, (uint32_t)(10 + tagged + rest.length));
        mr_buf_be16(&buf, (uint16_t)api->key);
        mr_buf_be16(&buf, (uint16_t)version);
        mr_buf_be32(&buf, 1);
        mr_buf_be16(&buf, 0);
        if (tagged)
            mr_buf_u8(&buf, 0);
        mr_buf_str(&buf, rest);
        sends(fd, buf.data, buf.length);
    }
    wire_out_fini(&out);
    mr_buf_fini(&buf);
    mr_arena_fini(&arena);
}

static int comes(const struct broker_server *server)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    struct linger at_once = {1, 0}; /* closed ports that linger are soon all there are */
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    address.sin_port = htons(broker_server_port(server));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)) != 0)
        abort();
    return fd;
}

/* Whether anything was answered. */
static bool goes(int fd)
{
    char byte;
    bool answered;

    for (int i = 0; i < 6; i++)
        mr_loop_turn(loop, 0);
    mr_clock_pass(&clock_of_test, 100000);
    mr_loop_turn(loop, 0);
    answered = recv(fd, &byte, 1, MSG_DONTWAIT) == 1;
    close(fd);
    for (int i = 0; i < 3; i++)
        mr_loop_turn(loop, 0);
    return answered;
}

static void hears(const struct broker_server *server, const uint8_t *data, size_t size)
{
    struct mr_in in = mr_in_of(data, size);
    int fd = comes(server);

    while (mr_in_left(&in) >= 4) {
        const struct kafka_api *api = &kafka_api_rows[mr_in_u8(&in) % kafka_api_count];
        uint8_t how = mr_in_u8(&in);
        uint16_t length = mr_in_be16(&in);
        mr_str rest = mr_in_take(&in, length < mr_in_left(&in) ? length : mr_in_left(&in));
        int16_t versions = (int16_t)(api->newest - api->oldest + 1);
        asks(fd, api, (int16_t)(api->oldest + (how & 0x7f) % versions), rest, (how & 0x80) != 0);
    }
    goes(fd);
}

static void writes(int fd, int16_t key, int16_t version, const void *request)
{
    const struct kafka_api *api = kafka_api_find(key);
    struct mr_buf buf = {0};
    struct wire_out out = kafka_api_out(&buf, api, version);

    kafka_api_write_request(&out, api, 1, MR_STR("fuzz"), request);
    sends(fd, buf.data, buf.length);
    wire_out_fini(&out);
    mr_buf_fini(&buf);
}

/* The first byte chooses the mechanism, and whether all is said at once or in two messages. */
static void is_asked_who_comes(const struct broker_server *server, const uint8_t *data, size_t size)
{
    static const char *const mechanisms[] = {"PLAIN", "SCRAM-SHA-256", "OAUTHBEARER"};
    struct kafka_sasl_handshake_request hello = {0};
    struct kafka_sasl_authenticate_request says = {0};
    int fd = comes(server);

    if (size > 0) {
        size_t first = data[0] & 0x80 ? (size - 1) / 2 : size - 1;
        hello.mechanism = mr_str_from(mechanisms[data[0] % 3]);
        writes(fd, KAFKA_API_sasl_handshake, 1, &hello);
        says.auth_bytes = mr_str_of(data + 1, first);
        writes(fd, KAFKA_API_sasl_authenticate, 2, &says);
        says.auth_bytes = mr_str_of(data + 1 + first, size - 1 - first);
        if (says.auth_bytes.length > 0)
            writes(fd, KAFKA_API_sasl_authenticate, 2, &says);
        asks(fd, kafka_api_find(KAFKA_API_metadata), 12, mr_str_of(data, size), true);
    }
    goes(fd);
}

/* A few well-formed requests of each API in each version, and one of nothing. */
static void hears_everything(void)
{
    int all = 0, answered = 0;

    for (size_t i = 0; i < kafka_api_count; i++) {
        const struct kafka_api *api = &kafka_api_rows[i];
        for (int16_t version = api->oldest; version <= api->newest; version++, all++) {
            bool heard = false;
            for (int server = 0; server < 2; server++)
                for (char seed = 'a'; seed < 'e'; seed++) {
                    int fd = comes(servers[server]);
                    asks(fd, api, version, mr_str_of(&seed, 1), true);
                    heard = goes(fd) || heard;
                }
            answered += heard;
        }
    }
    fprintf(stderr, "broker: %d versions of %zu APIs asked, %d answered\n", all, kafka_api_count,
            answered);
}

static void begins(void)
{
    struct mr_disk *disk = mr_disk_new(2);

    mr_log_level_set(MR_LOG_ERROR);
    mr_assert(mkdtemp(folder) != NULL);
    atexit(ends);
    mr_clock_init_manual(&clock_of_test, 1700000000000000);
    loop = mr_loop_new("log", &clock_of_test);
    for (int i = 0; i < 3; i++) {
        struct broker_options options = {
            .page_cache = true, .no_reserve = true, .security = {.acls = i == 1}};
        if (i == 2) {
            options.security.mechanisms = MR_STR("PLAIN,SCRAM-SHA-256,OAUTHBEARER");
            options.security.token_unsecured = true;
        }
        char path[64];
        snprintf(path, sizeof(path), "%s/%d", folder, i);
        options.folder = mr_str_from(path);
        mr_assert(broker_server_open(loop, disk, &options, &servers[i]) == MR_OK);
        while (!broker_server_ready(servers[i]))
            mr_loop_turn(loop, 1000);
    }
    hears_everything();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (servers[0] == NULL)
        begins();
    rules_are_given(&servers[1]->security.acls);
    for (int i = 0; i < 2; i++)
        hears(servers[i], data, size);
    is_asked_who_comes(servers[2], data, size);
    return 0;
}
