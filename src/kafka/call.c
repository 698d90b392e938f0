/* kafka/call.c: a request with a target (a leader, a coordinator, ...), retried until its time is
 * over. Hides where a target is and when to look again.
 *
 *   looking --target known--> asked --answer, final code--> over
 *      ^                        |
 *      +------ back-off <-------+  connection lost, retriable code
 *
 * A call that waits for a leader or a coordinator is woken when one becomes known, and looks again
 * by itself after a back-off. */
#include "kafka/client.h"

struct kafka_call {
    struct kafka_client *client;
    struct kafka_call *next, **link;
    struct kafka_call_options options; /* the target's name is owned */
    int64_t deadline_us;
    int32_t attempt;
    bool asked;   /* a node has the request */
    bool looking; /* waits for news of its target */
    struct mr_timer timer;
    char *why; /* the latest trouble, for the time-out's sentence */
    mr_err why_err;
};

struct kafka_coordinator {
    struct kafka_client *client;
    enum kafka_target_kind kind;
    mr_str name;  /* owned */
    int32_t node; /* -1: unknown */
    struct kafka_call *asking;
};

static void call_look(struct kafka_call *call);

static void call_free(struct kafka_call *call)
{
    *call->link = call->next;
    if (call->next != NULL)
        call->next->link = call->link;
    mr_timer_stop(&call->timer);
    mr_free((void *)(uintptr_t)call->options.target.name.data);
    mr_free(call->why);
    mr_free(call);
}

static void call_end(struct kafka_call *call, mr_err err, int16_t version, const void *response)
{
    kafka_answer *done = call->options.done;
    void *context = call->options.context;
    call_free(call);
    if (done != NULL)
        done(context, err, version, response);
}

/* ---- coordinators ---- */

static struct kafka_coordinator *coordinator_find(struct kafka_client *client,
                                                  enum kafka_target_kind kind, mr_str name)
{
    struct mr_buf key = {0};
    mr_buf_printf(&key, "%d ", (int)kind);
    mr_buf_str(&key, name);
    struct kafka_coordinator *coordinator = mr_map_get(&client->coordinators, mr_buf_as_str(&key));
    if (coordinator == NULL) {
        coordinator = mr_new(struct kafka_coordinator);
        coordinator->client = client;
        coordinator->kind = kind;
        coordinator->name = mr_str_of(mr_copy_cstr(name), name.length);
        coordinator->node = -1;
        mr_map_put(&client->coordinators, mr_buf_as_str(&key), coordinator);
    }
    mr_buf_fini(&key);
    return coordinator;
}

static void coordinator_fill(void *context, int16_t version, struct mr_arena *arena, void *request)
{
    struct kafka_coordinator *coordinator = context;
    struct kafka_find_coordinator_request *find = request;
    find->key_type = coordinator->kind == KAFKA_TARGET_TRANSACTION ? 1 : 0;
    if (version < 4) {
        find->key = coordinator->name;
        return;
    }
    find->coordinator_keys.items = mr_arena_array(arena, wire_string, 1);
    find->coordinator_keys.items[0] = coordinator->name;
    find->coordinator_keys.count = 1;
}

static int16_t coordinator_judge(void *context, const void *response)
{
    (void)context;
    const struct kafka_find_coordinator_response *found = response;
    return found->coordinators.count > 0 ? found->coordinators.items[0].error_code
                                         : found->error_code;
}

static void coordinator_done(void *context, mr_err err, int16_t version, const void *response)
{
    struct kafka_coordinator *coordinator = context;
    struct kafka_client *client = coordinator->client;
    const struct kafka_find_coordinator_response *found = response;
    coordinator->asking = NULL;
    if (err == MR_OK && coordinator_judge(NULL, response) != KAFKA_ERROR_NONE)
        err = kafka_error_fail(coordinator_judge(NULL, response), "kafka: FindCoordinator");
    if (err == MR_OK && version >= 4 && found->coordinators.count > 0) {
        const struct kafka_find_coordinator_coordinator *one = &found->coordinators.items[0];
        kafka_node_learn(client, one->node_id, one->host, one->port);
        coordinator->node = one->node_id;
    } else if (err == MR_OK && version < 4) {
        kafka_node_learn(client, found->node_id, found->host, found->port);
        coordinator->node = found->node_id;
    }
    kafka_call_wake(client);
    kafka_client_tell(client, err);
}

int32_t kafka_call_coordinator(struct kafka_client *client, enum kafka_target_kind kind,
                               mr_str name)
{
    struct kafka_coordinator *coordinator = coordinator_find(client, kind, name);
    if (coordinator->node < 0 && coordinator->asking == NULL && !client->closing) {
        struct kafka_call_options options = {
            .target = {KAFKA_TARGET_ANY, MR_STR_NULL, 0},
            .api_key = KAFKA_API_find_coordinator,
            .version_max = -1,
            .fill = coordinator_fill,
            .judge = coordinator_judge,
            .done = coordinator_done,
            .context = coordinator,
        };
        coordinator->asking = kafka_call_start(client, &options);
    }
    return coordinator->node;
}

void kafka_call_coordinator_forget(struct kafka_client *client, enum kafka_target_kind kind,
                                   mr_str name)
{
    coordinator_find(client, kind, name)->node = -1;
}

void kafka_call_fini(struct kafka_client *client)
{
    struct mr_map_entry *entry;
    for (size_t i = 0; (entry = mr_map_next(&client->coordinators, &i)) != NULL;) {
        struct kafka_coordinator *coordinator = entry->value;
        mr_free((void *)(uintptr_t)coordinator->name.data);
        mr_free(coordinator);
    }
    mr_map_fini(&client->coordinators);
}

/* ---- looking, asking, judging ---- */

static void call_note(struct kafka_call *call, mr_err err)
{
    mr_free(call->why);
    call->why = mr_copy_cstr(mr_str_from(mr_why()));
    call->why_err = err;
}

static int64_t time_left_us(const struct kafka_call *call)
{
    return call->deadline_us - mr_loop_now_us(call->client->loop);
}

static void call_over_time(struct kafka_call *call)
{
    mr_err err = MR_TIMEOUT;
    const char *name = kafka_api_find(call->options.api_key)->name;
    if (call->why != NULL) {
        err = call->why_err == MR_AGAIN ? MR_TIMEOUT : call->why_err;
        mr_fail(err, "%s", call->why);
    } else {
        mr_fail(err, "kafka %s: nobody answers for \"%.*s\" in time", name,
                MR_STR_ARG(call->options.target.name));
    }
    call_end(call, err, -1, NULL);
}

/* Looks for the target again after a while, or ends when that is too late. */
static void call_back_off(struct kafka_call *call, int16_t code)
{
    int64_t delay = kafka_client_pause_us(call->client, call->attempt++, code),
            left = time_left_us(call);
    call->asked = false;
    mr_timer_start(call->client->loop, &call->timer, left < delay ? (left > 0 ? left : 0) : delay);
}

/* What is known of the target is wrong: forget it. */
static void target_forget(struct kafka_call *call)
{
    struct kafka_client *client = call->client;
    struct kafka_target target = call->options.target;
    switch (target.kind) {
    case KAFKA_TARGET_LEADER:
        kafka_client_refresh(client, kafka_client_topic(client, target.name));
        break;
    case KAFKA_TARGET_GROUP:
    case KAFKA_TARGET_TRANSACTION:
        kafka_call_coordinator_forget(client, target.kind, target.name);
        break;
    case KAFKA_TARGET_CONTROLLER:
        client->controller = -1;
        break;
    case KAFKA_TARGET_ANY:
    case KAFKA_TARGET_NODE:
        break;
    }
}

static void call_answered(void *context, mr_err err, int16_t version, const void *response,
                          struct mr_bytes *owner)
{
    struct kafka_call *call = context;
    int16_t code = KAFKA_ERROR_NONE;
    (void)owner;
    call->asked = false;
    if (err == MR_OK && call->options.judge != NULL)
        code = call->options.judge(call->options.context, response);
    bool again = err == MR_CLOSED || err == MR_UNREACHABLE ||
                 (err == MR_TIMEOUT && time_left_us(call) > 0) || kafka_error_retriable(code);
    if (!again || (code != KAFKA_ERROR_NONE && time_left_us(call) <= 0)) {
        call_end(call, err, version, response);
        return;
    }
    if (code != KAFKA_ERROR_NONE)
        err = kafka_error_fail(code, kafka_api_find(call->options.api_key)->name);
    call_note(call, err);
    if (err != MR_OK && code != KAFKA_ERROR_CONCURRENT_TRANSACTIONS &&
        code != KAFKA_ERROR_COORDINATOR_LOAD_IN_PROGRESS &&
        code != KAFKA_ERROR_UNSTABLE_OFFSET_COMMIT)
        target_forget(call);
    call_back_off(call, code);
}

static void call_fill(void *context, int16_t version, struct mr_arena *arena, void *request)
{
    struct kafka_call *call = context;
    call->options.fill(call->options.context, version, arena, request);
}

/* NULL while it is not known; *err when it never will be. */
static struct kafka_node *target_find(struct kafka_call *call, mr_err *err)
{
    struct kafka_client *client = call->client;
    const void *lane = call->options.lane;
    struct kafka_target target = call->options.target;
    struct kafka_topic *topic = NULL;
    int32_t id = -1;
    switch (target.kind) {
    case KAFKA_TARGET_ANY:
        return kafka_node_any(client, lane);
    case KAFKA_TARGET_NODE:
        id = target.partition;
        if (kafka_node_find(client, id, lane) != NULL)
            break;
        if (client->brokers.count > 0 && call->attempt >= KAFKA_UNKNOWN_TRIES)
            *err = mr_fail(MR_NOT_FOUND, "kafka: there is no node %d", id);
        else
            kafka_client_refresh_cluster(client);
        break;
    case KAFKA_TARGET_CONTROLLER:
        id = client->controller;
        if (id < 0)
            kafka_client_refresh_cluster(client);
        break;
    case KAFKA_TARGET_GROUP:
    case KAFKA_TARGET_TRANSACTION:
        id = kafka_call_coordinator(client, target.kind, target.name);
        break;
    case KAFKA_TARGET_LEADER:
        topic = kafka_client_topic(client, target.name);
        id = kafka_client_leader(topic, target.partition);
        if (topic->unknown_tries >= KAFKA_UNKNOWN_TRIES ||
            (topic->partition_count > 0 && target.partition >= topic->partition_count))
            *err = mr_fail(MR_NOT_FOUND, "kafka topic %.*s, partition %d: not found",
                           MR_STR_ARG(target.name), target.partition);
        else if (id < 0 && call->attempt > 0)
            kafka_client_refresh(client, topic);
        break;
    }
    return id < 0 ? NULL : kafka_node_find(client, id, lane);
}

static void call_look(struct kafka_call *call)
{
    mr_err err = MR_OK;
    if (call->client->closing)
        return;
    if (time_left_us(call) <= 0) {
        call_over_time(call);
        return;
    }
    struct kafka_node *node = target_find(call, &err);
    call->looking = node == NULL;
    if (err != MR_OK) {
        call_end(call, err, -1, NULL);
    } else if (node == NULL) {
        call_back_off(call, KAFKA_ERROR_NONE);
    } else {
        call->asked = true;
        kafka_node_request(node, call->options.api_key, call->options.version_max,
                           (int32_t)(time_left_us(call) / 1000 + 1), call_fill, call_answered,
                           call);
    }
}

static void timer_run(struct mr_timer *timer)
{
    struct kafka_call *call = mr_container(timer, struct kafka_call, timer);
    mr_assert(!call->asked);
    call_look(call);
}

void kafka_call_wake(struct kafka_client *client)
{
    for (struct kafka_call *call = client->calls; call != NULL; call = call->next) {
        if (call->looking)
            mr_timer_start(client->loop, &call->timer, 0);
    }
}

void kafka_call_refuse(struct kafka_client *client, mr_err err)
{
    for (struct kafka_call *call = client->calls; call != NULL; call = call->next) {
        if (!call->looking)
            continue;
        call_note(call, err);
        call->deadline_us = mr_loop_now_us(client->loop);
        mr_timer_start(client->loop, &call->timer, 0);
    }
}

struct kafka_call *kafka_call_start(struct kafka_client *client,
                                    const struct kafka_call_options *options)
{
    struct kafka_call *call = mr_new(struct kafka_call);
    int32_t timeout_ms = options->timeout_ms > 0 ? options->timeout_ms : KAFKA_TIMEOUT_MS;
    mr_assert(!client->closing);
    call->client = client;
    call->options = *options;
    call->options.target.name = mr_str_of(mr_copy_cstr(options->target.name),
                                          options->target.name.length);
    call->deadline_us = mr_loop_now_us(client->loop) + (int64_t)timeout_ms * 1000;
    call->timer.run = timer_run;
    call->next = client->calls;
    call->link = &client->calls;
    if (client->calls != NULL)
        client->calls->link = &call->next;
    client->calls = call;
    mr_err err = MR_OK;
    struct kafka_node *node = target_find(call, &err);
    if (node != NULL &&
        err == MR_OK) { /* at once, so that requests keep the order of their calls */
        call->asked = true;
        kafka_node_request(node, options->api_key, options->version_max, timeout_ms, call_fill,
                           call_answered, call);
    } else {
        call->looking = true;
        mr_timer_start(client->loop, &call->timer, err == MR_OK ? KAFKA_BACKOFF_MIN_MS * 1000 : 0);
    }
    return call;
}

void kafka_call_drop_lane(struct kafka_client *client, const void *lane)
{
    for (struct kafka_call *call = client->calls, *next; call != NULL; call = next) {
        next = call->next;
        if (call->options.lane == lane)
            call_free(call);
    }
}

mr_err kafka_client_trouble(const struct kafka_client *client)
{
    for (const struct kafka_call *call = client->calls; call != NULL; call = call->next)
        if (call->why != NULL)
            return mr_fail(call->why_err, "%s", call->why);
    return MR_OK;
}

void kafka_call_cancel_all(struct kafka_client *client)
{
    while (client->calls != NULL) {
        mr_fail(MR_CANCELLED, "kafka: the client is closed");
        call_end(client->calls, MR_CANCELLED, -1, NULL);
    }
}
