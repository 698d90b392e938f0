/* bench/group_load.c: many members of many groups, each on a connection of its own, whose groups are
 * rebalanced again and again; how long the log takes to answer what it could answer at once.
 *
 *   group_load ADDRESS GROUPS MEMBERS ROUNDS
 *
 *   OUT --JoinGroup--> JOINING --answered--> SYNCING --answered--> STABLE --heartbeat says so--> JOINING
 *    ^                                                               | one of each group, a round
 *    +------------------------------------------------ LEAVING <-----+
 *
 * A join is timed from the moment the last member of its group has asked, a sync from the leader's. The
 * first time that the groups form is not counted: a genuine Kafka waits three seconds then. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/memory.h"
#include "kafka/messages.h"

enum state { OUT, JOINING, SYNCING, COMMITTING, STABLE, BEATING, LEAVING };
enum kind { JOIN, SYNC, HEARTBEAT, COMMIT, LEAVE, KINDS };
static const char *const kind_names[KINDS] = {"join", "sync", "heartbeat", "commit", "leave"};

enum {
    BEAT_US = 500000,
    REST_US = 100000, /* between a group's rounds */
    FRAME_BYTES_MAX = 1 << 20,
    EVENTS_MAX = 512,
};

/* Version 0 of what consumers tell each other: topics, or partitions of topics, and no data of the user. */
#define SUBSCRIPTION    \
    MR_STR("\0\0"       \
           "\0\0\0\1"   \
           "\0\6groups" \
           "\377\377\377\377")
#define ASSIGNMENT    \
    MR_STR("\0\0"     \
           "\0\0\0\0" \
           "\377\377\377\377")

struct group;
struct member {
    struct group *group;
    int fd, index;
    enum state state;
    const struct kafka_api *api; /* of the request under way */
    int16_t version;
    char id[128];
    int32_t generation, correlation;
    int64_t asked_us, beat_us;
    uint8_t *frame;
    size_t have, want; /* of the answer: 4 bytes of length, then the frame */
};
struct group {
    char id[32];
    struct member *members;
    int count, stable, round;
    bool formed;                /* was stable once */
    int64_t stable_us;          /* when all were stable; 0: they are not */
    int64_t join_us, assign_us; /* the last JoinGroup, the leader's SyncGroup */
};
struct times {
    float *items; /* ms */
    size_t count, capacity;
};
static struct times times[KINDS];
static struct mr_arena arena;
static struct sockaddr_in address;
static int rounds, formed; /* formed: groups that were stable once */
static bool counting;

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "group_load: %s: %s\n", what, why);
    exit(1);
}

static int64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void took(enum kind kind, int64_t since_us)
{
    struct times *all = &times[kind];

    if (!counting)
        return;
    all->items = mr_array_room(all->items, all->count, &all->capacity, sizeof(*all->items));
    all->items[all->count++] = (float)(now_us() - since_us) / 1000.0f;
}

/* ---- asking ---- */

static void ask(struct member *member, int16_t key, int16_t version, const void *request)
{
    const struct kafka_api *api = kafka_api_find(key);
    struct mr_buf buf = {0};
    struct wire_out out = kafka_api_out(&buf, api, version);

    kafka_api_write_request(&out, api, ++member->correlation, MR_STR("group_load"), request);
    if (buf.err != MR_OK || write(member->fd, buf.data, buf.length) != (ssize_t)buf.length)
        fail("a request", strerror(errno));
    member->api = api;
    member->version = version;
    member->asked_us = now_us();
    wire_out_fini(&out);
    mr_buf_fini(&buf);
}

static void joins(struct member *member)
{
    struct kafka_join_group_protocol protocol = {MR_STR("range"), SUBSCRIPTION};
    struct kafka_join_group_request request = {.group_id = mr_str_from(member->group->id),
                                               .session_timeout_ms = 30000,
                                               .rebalance_timeout_ms = 60000,
                                               .member_id = mr_str_from(member->id),
                                               .protocol_type = MR_STR("consumer"),
                                               .protocols = {&protocol, 1}};

    if (member->state >= STABLE)
        member->group->stable--;
    member->group->stable_us = 0;
    member->state = JOINING;
    ask(member, KAFKA_API_join_group, 3, &request);
    member->group->join_us = member->asked_us;
}

static void syncs(struct member *member, const struct kafka_join_group_response *joined)
{
    struct kafka_sync_group_request request = {.group_id = mr_str_from(member->group->id),
                                               .generation_id = member->generation,
                                               .member_id = mr_str_from(member->id)};

    request.assignments.count = joined->members.count;
    request.assignments.items = mr_arena_array(&arena, struct kafka_sync_group_assignment,
                                               (size_t)joined->members.count);
    for (int32_t i = 0; i < joined->members.count; i++)
        request.assignments.items[i] = (struct kafka_sync_group_assignment){
            joined->members.items[i].member_id, ASSIGNMENT};
    member->state = SYNCING;
    ask(member, KAFKA_API_sync_group, 2, &request);
    if (joined->members.count > 0)
        member->group->assign_us = member->asked_us;
}

static void commits(struct member *member)
{
    struct kafka_offset_commit_request_partition row = {.partition_index = member->index,
                                                        .committed_offset = member->generation,
                                                        .committed_leader_epoch = -1};
    struct kafka_offset_commit_request_topic topic = {.name = MR_STR("groups"),
                                                      .partitions = {&row, 1}};
    struct kafka_offset_commit_request request = {
        .group_id = mr_str_from(member->group->id),
        .generation_id_or_member_epoch = member->generation,
        .member_id = mr_str_from(member->id),
        .topics = {&topic, 1}};

    member->state = COMMITTING;
    ask(member, KAFKA_API_offset_commit, 5, &request);
}

static void beats(struct member *member)
{
    struct kafka_heartbeat_request request = {.group_id = mr_str_from(member->group->id),
                                              .generation_id = member->generation,
                                              .member_id = mr_str_from(member->id)};
    member->state = BEATING;
    ask(member, KAFKA_API_heartbeat, 2, &request);
}

static void leaves(struct member *member)
{
    struct kafka_leave_group_request request = {.group_id = mr_str_from(member->group->id),
                                                .member_id = mr_str_from(member->id)};
    member->group->stable--;
    member->group->stable_us = 0;
    member->state = LEAVING;
    ask(member, KAFKA_API_leave_group, 2, &request);
}

/* ---- hearing ---- */

static void refused(struct member *member, int16_t code)
{
    if (code == KAFKA_ERROR_UNKNOWN_MEMBER_ID)
        member->id[0] = '\0';
    else if (code != KAFKA_ERROR_REBALANCE_IN_PROGRESS && code != KAFKA_ERROR_ILLEGAL_GENERATION &&
             code != KAFKA_ERROR_COORDINATOR_LOAD_IN_PROGRESS &&
             code != KAFKA_ERROR_NOT_COORDINATOR && code != KAFKA_ERROR_COORDINATOR_NOT_AVAILABLE)
        fail(member->api->name, kafka_error_name(code));
    joins(member);
}

static void is_stable(struct member *member)
{
    struct group *group = member->group;

    member->state = STABLE;
    member->beat_us = now_us() + BEAT_US;
    if (++group->stable == group->count) {
        group->stable_us = now_us();
        formed += !group->formed;
        group->formed = true;
    }
}

static void heard_join(struct member *member, const struct kafka_join_group_response *answer)
{
    if (answer->error_code != KAFKA_ERROR_NONE) {
        refused(member, answer->error_code);
        return;
    }
    took(JOIN, member->group->join_us);
    snprintf(member->id, sizeof(member->id), "%.*s", MR_STR_ARG(answer->member_id));
    member->generation = answer->generation_id;
    syncs(member, answer);
}

static void heard_sync(struct member *member, const struct kafka_sync_group_response *answer)
{
    int64_t since_us = member->group->assign_us;

    if (answer->error_code != KAFKA_ERROR_NONE) {
        refused(member, answer->error_code);
        return;
    }
    took(SYNC, since_us > member->asked_us ? since_us : member->asked_us);
    commits(member);
}

static void heard_commit(struct member *member, const struct kafka_offset_commit_response *answer)
{
    int16_t code = answer->topics.items[0].partitions.items[0].error_code;

    took(COMMIT, member->asked_us);
    if (code == KAFKA_ERROR_NONE || code == KAFKA_ERROR_REBALANCE_IN_PROGRESS)
        is_stable(member);
    else
        refused(member, code);
}

static void heard(struct member *member, mr_str frame)
{
    union {
        struct kafka_join_group_response join;
        struct kafka_sync_group_response sync;
        struct kafka_heartbeat_response heartbeat;
        struct kafka_offset_commit_response commit;
        struct kafka_leave_group_response leave;
    } answer;
    int32_t correlation;

    if (kafka_api_read_response(frame, &arena, member->api, member->version, &correlation,
                                &answer) != MR_OK)
        fail("an answer", mr_why());
    if (member->state == JOINING) {
        heard_join(member, &answer.join);
    } else if (member->state == SYNCING) {
        heard_sync(member, &answer.sync);
    } else if (member->state == COMMITTING) {
        heard_commit(member, &answer.commit);
    } else if (member->state == BEATING) {
        took(HEARTBEAT, member->asked_us);
        member->state = STABLE;
        member->beat_us = now_us() + BEAT_US;
        if (answer.heartbeat.error_code != KAFKA_ERROR_NONE)
            refused(member, answer.heartbeat.error_code);
    } else if (member->state == LEAVING) {
        took(LEAVE, member->asked_us);
        member->state = OUT;
        member->id[0] = '\0';
        joins(member);
    }
}

static void ready(struct member *member)
{
    ssize_t got;

    if (member->want == 0)
        member->want = 4;
    got = read(member->fd, member->frame + member->have, member->want - member->have);
    if (got <= 0)
        fail("a connection", got == 0 ? "closed by the log" : strerror(errno));
    member->have += (size_t)got;
    if (member->have < member->want)
        return;
    if (member->want == 4) {
        uint32_t length;
        memcpy(&length, member->frame, 4);
        member->want = 4 + ntohl(length);
        if (member->want > FRAME_BYTES_MAX)
            fail("an answer", "it is too long");
        return;
    }
    size_t length = member->want - 4;
    member->have = member->want = 0;
    heard(member, mr_str_of(member->frame + 4, length));
    mr_arena_reset(&arena);
}

/* ---- the run ---- */

/* Heartbeats that are due, and one who leaves where a group has rested; false: all rounds are done. */
static bool moves_on(struct group *groups, int count)
{
    int64_t now = now_us();
    bool more = false;

    for (int i = 0; i < count; i++) {
        struct group *group = &groups[i];
        for (int k = 0; k < group->count; k++)
            if (group->members[k].state == STABLE && group->members[k].beat_us <= now)
                beats(&group->members[k]);
        more = more || group->round < rounds || group->stable_us == 0;
        if (!counting || group->round >= rounds || group->stable_us == 0 ||
            now - group->stable_us < REST_US)
            continue;
        struct member *leaver = &group->members[group->round % group->count];
        if (leaver->state != STABLE)
            continue;
        group->round++;
        leaves(leaver);
    }
    return more;
}

static void connects(struct member *member, int epoll_fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = member};
    int one = 1;

    member->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (member->fd < 0 || connect(member->fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        setsockopt(member->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) != 0 ||
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, member->fd, &event) != 0)
        fail("a connection", strerror(errno));
    member->frame = mr_alloc(FRAME_BYTES_MAX);
}

/* A genuine Kafka makes the topic of offsets when it is first asked. */
static void coordinator_is_there(void)
{
    struct member asker = {0};
    int epoll_fd = epoll_create1(0);
    struct kafka_find_coordinator_request request = {.key = MR_STR("group-0")};
    struct kafka_find_coordinator_response response;
    int32_t correlation;

    connects(&asker, epoll_fd);
    for (int tries = 0; tries < 300; tries++) {
        uint32_t length;
        ask(&asker, KAFKA_API_find_coordinator, 2, &request);
        if (recv(asker.fd, &length, 4, MSG_WAITALL) != 4 ||
            recv(asker.fd, asker.frame, ntohl(length), MSG_WAITALL) != (ssize_t)ntohl(length) ||
            kafka_api_read_response(mr_str_of(asker.frame, ntohl(length)), &arena, asker.api, 2,
                                    &correlation, &response) != MR_OK)
            fail("the coordinator", "no answer");
        if (response.error_code == KAFKA_ERROR_NONE)
            break;
        usleep(100000);
    }
    close(asker.fd);
    close(epoll_fd);
    mr_free(asker.frame);
}

static int compare(const void *a, const void *b)
{
    float left = *(const float *)a, right = *(const float *)b;
    return (left > right) - (left < right);
}

static void tell(int64_t began_us)
{
    size_t all = 0;
    double longest = 0;

    printf("{");
    for (int kind = 0; kind < KINDS; kind++) {
        struct times *one = &times[kind];
        if (one->count == 0)
            continue;
        qsort(one->items, one->count, sizeof(*one->items), compare);
        all += one->count;
        longest = one->items[one->count - 1] > longest ? one->items[one->count - 1] : longest;
        printf("\"%s\": [%zu, %.3f, %.3f, %.3f], ", kind_names[kind], one->count,
               one->items[one->count / 2], one->items[one->count * 99 / 100],
               one->items[one->count - 1]);
    }
    printf("\"requests\": %zu, \"max_ms\": %.3f, \"seconds\": %.3f}\n", all, longest,
           (double)(now_us() - began_us) / 1e6);
}

int main(int argc, char **argv)
{
    struct epoll_event events[EVENTS_MAX];
    int64_t began_us = 0;
    char host[64];
    int port;

    if (argc != 5 || sscanf(argv[1], "%63[^:]:%d", host, &port) != 2)
        fail("usage", "group_load HOST:PORT GROUPS MEMBERS ROUNDS");
    address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    inet_pton(AF_INET, host, &address.sin_addr);
    int group_count = atoi(argv[2]), member_count = atoi(argv[3]);
    rounds = atoi(argv[4]);
    mr_arena_init(&arena);
    coordinator_is_there();
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct group *groups = mr_new_array(struct group, (size_t)group_count);
    for (int i = 0; i < group_count; i++) {
        groups[i].count = member_count;
        groups[i].members = mr_new_array(struct member, (size_t)member_count);
        snprintf(groups[i].id, sizeof(groups[i].id), "group-%d", i);
        for (int k = 0; k < member_count; k++) {
            groups[i].members[k].group = &groups[i];
            groups[i].members[k].index = k;
            connects(&groups[i].members[k], epoll_fd);
            joins(&groups[i].members[k]);
        }
    }
    int64_t heard_us = now_us();
    while (moves_on(groups, group_count)) {
        int count = epoll_wait(epoll_fd, events, EVENTS_MAX, 10);
        for (int i = 0; i < count; i++)
            ready(events[i].data.ptr);
        if (count > 0)
            heard_us = now_us();
        else if (now_us() - heard_us > 60000000)
            fail("the log", "it has answered nothing for a minute");
        if (!counting && formed == group_count) {
            counting = true;
            began_us = now_us();
        }
    }
    tell(began_us);
    return 0;
}
