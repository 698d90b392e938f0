/* kafka/member.c: one member of a consumer group, by the classic protocol, which every Kafka speaks.
 *
 *   JOINING -JoinGroup, SyncGroup-> HOLDING -the group rebalances, or lost us-> GIVING --rejoin--+
 *      ^                                                                                         |
 *      +-----------------------------------------------------------------------------------------+
 *
 * The member whom the coordinator makes the leader splits the topics of all: `range`, which is one of the
 * strategies that the Java client, librdkafka and the others offer by themselves. What was assigned is held
 * until `revoked` has been told, and no longer: its owner commits, and asks to join again. */
#include <stdlib.h>

#include "kafka/client.h"

enum {
    SESSION_MS = 45000,
    REBALANCE_MS = 60000,
    HEARTBEATS = 15, /* in a session */
};

enum member_state { JOINING, HOLDING, GIVING, LEAVING };

struct other { /* a member, as the leader sees it */
    mr_str id;
    mr_str *topics;
    int32_t topic_count;
    struct mr_buf assignment;
    int32_t assigned; /* topics in it */
};
struct split { /* a topic that somebody wants */
    struct kafka_member *member;
    mr_str topic;
    int32_t partitions;
};

struct kafka_member {
    struct kafka_client *client;
    struct kafka_member_options options;
    mr_str group, topic;
    mr_str id; /* given by the coordinator; empty: none yet */
    int32_t generation;
    enum member_state state;
    bool closed, settled; /* settled: has held something, so trouble with the way passes */
    int32_t failures;
    struct mr_arena arena; /* of the round */
    struct other *others;
    size_t other_count, asking; /* asking: topics whose partitions are being looked up */
    MR_ARRAY(struct split *) splits;
    struct mr_timer timer; /* the next heartbeat, or the next try */
    kafka_done *left;
    void *left_context;
};

static void call(struct kafka_member *member, int16_t api_key, int32_t timeout_ms, kafka_fill *fill,
                 kafka_judge *judge, kafka_answer *done)
{
    const struct kafka_call_options options = {
        .target = {KAFKA_TARGET_GROUP, member->group, 0},
        .lane = member,
        .api_key = api_key,
        .version_max = -1,
        .timeout_ms = timeout_ms,
        .fill = fill,
        .judge = judge,
        .done = done,
        .context = member,
    };
    kafka_call_start(member->client, &options);
}

static void id_set(struct kafka_member *member, mr_str id)
{
    char *copy = mr_copy_cstr(id);
    mr_free((void *)(uintptr_t)member->id.data);
    member->id = mr_str_of(copy, id.length);
}

static void round_clear(struct kafka_member *member)
{
    for (size_t i = 0; i < member->other_count; i++)
        mr_buf_fini(&member->others[i].assignment);
    member->other_count = 0;
    member->splits.count = 0;
    mr_arena_reset(&member->arena);
}

static void join(struct kafka_member *member);

static void again_in(struct kafka_member *member, int64_t delay_us)
{
    mr_timer_start(member->client->loop, &member->timer, delay_us);
}

/* What is held is the group's again. */
static void give(struct kafka_member *member)
{
    mr_timer_stop(&member->timer);
    member->state = GIVING;
    member->options.revoked(member->options.context);
}

/* A round came to nothing: because of the way there, or because the group will not have us. */
static void round_failed(struct kafka_member *member, mr_err err)
{
    bool passes = err == MR_UNREACHABLE || err == MR_CLOSED || err == MR_TIMEOUT;
    if (passes && member->settled) {
        again_in(member, kafka_client_backoff_us(member->client, member->failures++));
        return;
    }
    member->options.failed(member->options.context, err);
}

/* The answer to a round, or to a heartbeat, that is not a plain yes. */
static void code_answered(struct kafka_member *member, int16_t code, const char *what)
{
    if (code == KAFKA_ERROR_UNKNOWN_MEMBER_ID)
        id_set(member, MR_STR(""));
    if (code != KAFKA_ERROR_UNKNOWN_MEMBER_ID && code != KAFKA_ERROR_ILLEGAL_GENERATION &&
        code != KAFKA_ERROR_REBALANCE_IN_PROGRESS && code != KAFKA_ERROR_MEMBER_ID_REQUIRED) {
        mr_err err = mr_fail(kafka_error_to_err(code), "kafka group %.*s: %s: %s: %s",
                             MR_STR_ARG(member->group), what, kafka_error_name(code),
                             kafka_error_text(code));
        member->options.failed(member->options.context, err);
    } else if (member->state == HOLDING) {
        give(member);
    } else if (member->state == JOINING) {
        join(member);
    }
}

/* ---- heartbeats ---- */

static void heartbeat_fill(void *context, int16_t version, struct mr_arena *arena, void *request)
{
    const struct kafka_member *member = context;
    struct kafka_heartbeat_request *heartbeat = request;
    (void)version, (void)arena;
    heartbeat->group_id = member->group;
    heartbeat->generation_id = member->generation;
    heartbeat->member_id = member->id;
}

static int16_t heartbeat_judge(void *context, const void *response)
{
    (void)context;
    return ((const struct kafka_heartbeat_response *)response)->error_code;
}

static void heartbeat_done(void *context, mr_err err, int16_t version, const void *response)
{
    struct kafka_member *member = context;
    int16_t code = err == MR_OK ? heartbeat_judge(NULL, response) : KAFKA_ERROR_NONE;
    (void)version;
    if (member->state != HOLDING)
        return;
    if (err != MR_OK) /* a session has passed: the coordinator has given us up */
        give(member);
    else if (code != KAFKA_ERROR_NONE)
        code_answered(member, code, "Heartbeat");
    else
        again_in(member, member->options.session_ms * 1000LL / HEARTBEATS);
}

static void timer_run(struct mr_timer *timer)
{
    struct kafka_member *member = mr_container(timer, struct kafka_member, timer);
    if (member->state == JOINING)
        join(member);
    else if (member->state == HOLDING)
        call(member, KAFKA_API_heartbeat, member->options.session_ms, heartbeat_fill,
             heartbeat_judge, heartbeat_done);
}

/* ---- what a member says and is told: ConsumerProtocolSubscription, ConsumerProtocolAssignment ---- */

static void string_put(struct mr_buf *buf, mr_str text)
{
    mr_buf_be16(buf, (uint16_t)text.length);
    mr_buf_str(buf, text);
}

/* Version 0, which all understand: the topics, and no data of the user's. */
static mr_str subscription_print(const struct kafka_member *member, struct mr_arena *arena)
{
    struct mr_buf buf = {0};
    mr_buf_be16(&buf, 0);
    mr_buf_be32(&buf, 1);
    string_put(&buf, member->topic);
    mr_buf_be32(&buf, UINT32_MAX);
    mr_str text = mr_arena_str(arena, mr_buf_as_str(&buf));
    mr_buf_fini(&buf);
    return text;
}

/* What is no subscription wants nothing. */
static void subscription_read(struct other *other, mr_str said, struct mr_arena *arena)
{
    struct mr_in in = mr_in_str(said);
    mr_in_be16(&in);
    uint32_t count = mr_in_be32(&in);
    if (in.err != MR_OK || count > mr_in_left(&in) / sizeof(uint16_t))
        return;
    other->topics = mr_arena_array(arena, mr_str, count + 1);
    for (uint32_t i = 0; i < count; i++) {
        mr_str topic = mr_in_take(&in, mr_in_be16(&in));
        if (in.err != MR_OK)
            return;
        other->topics[other->topic_count++] = mr_arena_str(arena, topic);
    }
}

/* Of our topic. */
static mr_err assignment_read(struct kafka_member *member, mr_str said, int32_t **out,
                              size_t *count)
{
    struct mr_in in = mr_in_str(said);
    *out = mr_arena_array(&member->arena, int32_t, said.length / sizeof(int32_t) + 1);
    *count = 0;
    if (said.length == 0)
        return MR_OK;
    mr_in_be16(&in);
    for (uint32_t topics = mr_in_be32(&in); topics > 0 && in.err == MR_OK; topics--) {
        mr_str topic = mr_in_take(&in, mr_in_be16(&in));
        bool ours = mr_str_equal(topic, member->topic);
        for (uint32_t left = mr_in_be32(&in); left > 0 && in.err == MR_OK; left--) {
            int32_t partition = (int32_t)mr_in_be32(&in);
            if (ours && in.err == MR_OK)
                (*out)[(*count)++] = partition;
        }
    }
    return in.err == MR_OK ? MR_OK
                           : mr_fail(MR_CORRUPT, "kafka group %.*s: the assignment is cut short",
                                     MR_STR_ARG(member->group));
}

/* ---- SyncGroup ---- */

static void sync_fill(void *context, int16_t version, struct mr_arena *arena, void *request)
{
    struct kafka_member *member = context;
    struct kafka_sync_group_request *sync = request;
    (void)version;
    sync->group_id = member->group;
    sync->generation_id = member->generation;
    sync->member_id = member->id;
    sync->protocol_type = MR_STR("consumer");
    sync->protocol_name = MR_STR("range");
    sync->assignments.items = mr_arena_array(arena, struct kafka_sync_group_assignment,
                                             member->other_count + 1);
    for (size_t i = 0; i < member->other_count; i++)
        sync->assignments.items[sync->assignments.count++] = (struct kafka_sync_group_assignment){
            member->others[i].id, mr_buf_as_str(&member->others[i].assignment)};
}

static int16_t sync_judge(void *context, const void *response)
{
    (void)context;
    return ((const struct kafka_sync_group_response *)response)->error_code;
}

static void sync_done(void *context, mr_err err, int16_t version, const void *response)
{
    struct kafka_member *member = context;
    const struct kafka_sync_group_response *sync = response;
    int32_t *partitions = NULL;
    size_t count = 0;
    (void)version;
    if (member->state != JOINING)
        return;
    if (err == MR_OK && sync->error_code != KAFKA_ERROR_NONE) {
        code_answered(member, sync->error_code, "SyncGroup");
        return;
    }
    if (err == MR_OK)
        err = assignment_read(member, sync->assignment, &partitions, &count);
    if (err != MR_OK) {
        round_failed(member, err);
        return;
    }
    member->state = HOLDING;
    member->settled = true;
    member->failures = 0;
    again_in(member, member->options.session_ms * 1000LL / HEARTBEATS);
    member->options.assigned(member->options.context, partitions, count);
}

static void sync(struct kafka_member *member)
{
    call(member, KAFKA_API_sync_group, member->options.rebalance_ms, sync_fill, sync_judge,
         sync_done);
}

/* ---- the leader's part: range ---- */

static int others_order(const void *a, const void *b)
{
    return mr_str_compare(((const struct other *)a)->id, ((const struct other *)b)->id);
}

static bool wants(const struct other *other, mr_str topic)
{
    for (int32_t i = 0; i < other->topic_count; i++)
        if (mr_str_equal(other->topics[i], topic))
            return true;
    return false;
}

/* A run of a topic's partitions for each who wants it; the first ones get one more when it does not come out even. */
static void split(struct kafka_member *member, const struct split *topic)
{
    int32_t wanting = 0, next = 0, turn = 0;
    for (size_t i = 0; i < member->other_count; i++)
        wanting += wants(&member->others[i], topic->topic) ? 1 : 0;
    for (size_t i = 0; i < member->other_count; i++) {
        struct other *other = &member->others[i];
        if (!wants(other, topic->topic))
            continue;
        int32_t count = topic->partitions / wanting +
                        (turn++ < topic->partitions % wanting ? 1 : 0);
        if (count == 0)
            continue;
        string_put(&other->assignment, topic->topic);
        mr_buf_be32(&other->assignment, (uint32_t)count);
        for (int32_t k = 0; k < count; k++)
            mr_buf_be32(&other->assignment, (uint32_t)next++);
        other->assigned++;
    }
}

static void assign(struct kafka_member *member)
{
    enum { COUNT_AT = 2 };
    qsort(member->others, member->other_count, sizeof *member->others, others_order);
    for (size_t i = 0; i < member->other_count; i++) {
        mr_buf_be16(&member->others[i].assignment, 0);
        mr_buf_be32(&member->others[i].assignment, 0);
    }
    for (size_t i = 0; i < member->splits.count; i++)
        split(member, member->splits.items[i]);
    for (size_t i = 0; i < member->other_count; i++) {
        struct other *other = &member->others[i];
        mr_buf_patch_be32(&other->assignment, COUNT_AT, (uint32_t)other->assigned);
        mr_buf_be32(&other->assignment, UINT32_MAX);
    }
    sync(member);
}

static void member_free(struct kafka_member *member);

/* An absent topic has nothing to split; it is looked for again with the next round. */
static void partitions_told(void *context, mr_err err, int32_t partitions)
{
    struct split *split = context;
    struct kafka_member *member = split->member;
    split->partitions = err == MR_OK ? partitions : 0;
    member->asking--;
    if (member->asking > 0)
        return;
    if (member->closed)
        member_free(member);
    else if (member->state == JOINING)
        assign(member);
}

static void split_add(struct kafka_member *member, mr_str topic)
{
    for (size_t i = 0; i < member->splits.count; i++)
        if (mr_str_equal(member->splits.items[i]->topic, topic))
            return;
    struct split *split = mr_arena_new(&member->arena, struct split);
    *split = (struct split){member, topic, 0};
    *mr_array_add(&member->splits) = split;
}

static void lead(struct kafka_member *member, const struct kafka_join_group_response *told)
{
    member->others = mr_arena_array(&member->arena, struct other, (size_t)told->members.count + 1);
    member->other_count = (size_t)told->members.count;
    for (size_t i = 0; i < member->other_count; i++) {
        struct other *other = &member->others[i];
        other->id = mr_arena_str(&member->arena, told->members.items[i].member_id);
        subscription_read(other, told->members.items[i].metadata, &member->arena);
        for (int32_t k = 0; k < other->topic_count; k++)
            split_add(member, other->topics[k]);
    }
    member->asking = member->splits.count;
    if (member->asking == 0)
        assign(member);
    for (size_t i = 0, count = member->splits.count; i < count; i++)
        kafka_admin_partitions(member->client, member->splits.items[i]->topic, partitions_told,
                               member->splits.items[i]);
}

/* ---- JoinGroup ---- */

static void join_fill(void *context, int16_t version, struct mr_arena *arena, void *request)
{
    struct kafka_member *member = context;
    struct kafka_join_group_request *join = request;
    (void)version;
    join->group_id = member->group;
    join->session_timeout_ms = member->options.session_ms;
    join->rebalance_timeout_ms = member->options.rebalance_ms;
    join->member_id = member->id;
    join->protocol_type = MR_STR("consumer");
    join->protocols.items = mr_arena_new(arena, struct kafka_join_group_protocol);
    join->protocols.items[0] = (struct kafka_join_group_protocol){
        MR_STR("range"), subscription_print(member, arena)};
    join->protocols.count = 1;
}

static int16_t join_judge(void *context, const void *response)
{
    (void)context;
    return ((const struct kafka_join_group_response *)response)->error_code;
}

static void join_done(void *context, mr_err err, int16_t version, const void *response)
{
    struct kafka_member *member = context;
    const struct kafka_join_group_response *told = response;
    (void)version;
    if (member->state != JOINING)
        return;
    if (err != MR_OK) {
        round_failed(member, err);
        return;
    }
    if (told->member_id.length > 0)
        id_set(member, told->member_id);
    if (told->error_code != KAFKA_ERROR_NONE) {
        code_answered(member, told->error_code, "JoinGroup");
        return;
    }
    member->generation = told->generation_id;
    if (mr_str_equal(told->leader, told->member_id) && !told->skip_assignment)
        lead(member, told);
    else
        sync(member);
}

/* The coordinator answers when all have joined, or their time is over. */
static void join(struct kafka_member *member)
{
    member->state = JOINING;
    round_clear(member);
    call(member, KAFKA_API_join_group, member->options.rebalance_ms + KAFKA_TIMEOUT_MS, join_fill,
         join_judge, join_done);
}

void kafka_member_rejoin(struct kafka_member *member)
{
    if (member->state == GIVING)
        join(member);
}

/* ---- commit, leave, close ---- */

void kafka_member_commit(struct kafka_member *member, const struct kafka_offset *offsets,
                         size_t count, kafka_done *done, void *context)
{
    kafka_group_commit_of(member->client, member->group, member->id, member->generation, offsets,
                          count, done, context);
}

static void leave_fill(void *context, int16_t version, struct mr_arena *arena, void *request)
{
    struct kafka_member *member = context;
    struct kafka_leave_group_request *leave = request;
    leave->group_id = member->group;
    if (version < 3) {
        leave->member_id = member->id;
        return;
    }
    leave->members.items = mr_arena_new(arena, struct kafka_leave_group_request_member);
    leave->members.items[0].member_id = member->id;
    leave->members.count = 1;
}

static void leave_done(void *context, mr_err err, int16_t version, const void *response)
{
    struct kafka_member *member = context;
    (void)version, (void)response;
    member->left(member->left_context, err);
}

void kafka_member_leave(struct kafka_member *member, kafka_done *done, void *context)
{
    mr_timer_stop(&member->timer);
    member->state = LEAVING;
    if (member->id.length == 0) {
        kafka_client_later(member->client, done, context, MR_OK);
        return;
    }
    /* a JoinGroup that still waits would hold back the answer on its connection */
    kafka_node_drop_lane(member->client, member);
    kafka_call_drop_lane(member->client, member);
    member->left = done;
    member->left_context = context;
    call(member, KAFKA_API_leave_group, 0, leave_fill, NULL, leave_done);
}

mr_err kafka_member_open(struct kafka_client *client, const struct kafka_member_options *options,
                         struct kafka_member **out)
{
    struct kafka_member *member = mr_new(struct kafka_member);
    member->client = client;
    member->options = *options;
    member->group = mr_str_of(mr_copy_cstr(options->group), options->group.length);
    member->topic = mr_str_of(mr_copy_cstr(options->topic), options->topic.length);
    if (options->session_ms <= 0)
        member->options.session_ms = SESSION_MS;
    if (options->rebalance_ms <= 0)
        member->options.rebalance_ms = REBALANCE_MS;
    member->timer.run = timer_run;
    member->generation = -1;
    id_set(member, MR_STR(""));
    *out = member;
    join(member);
    return MR_OK;
}

static void member_free(struct kafka_member *member)
{
    round_clear(member);
    mr_array_fini(&member->splits);
    mr_arena_fini(&member->arena);
    mr_free((void *)(uintptr_t)member->group.data);
    mr_free((void *)(uintptr_t)member->topic.data);
    mr_free((void *)(uintptr_t)member->id.data);
    mr_free(member);
}

void kafka_member_close(struct kafka_member *member)
{
    if (member == NULL)
        return;
    kafka_node_drop_lane(member->client, member);
    kafka_call_drop_lane(member->client, member);
    mr_timer_stop(&member->timer);
    member->closed = true;
    if (member->asking == 0) /* else with the last answer */
        member_free(member);
}
