/* kafka/node.c: one connection to one broker: connects on first use, learns the broker's versions,
 * sends requests one behind the other, matches answers in order, and comes back after a loss.
 *
 *   DOWN --node_connect--> CONNECTING --opened--> GREETING --ApiVersions answered--> READY
 *   with SASL: GREETING --> CHOOSING --SaslHandshake answered--> SIGNING --tokens--> READY, and
 *              READY --a request late in the session's life--> CHOOSING again, behind what is sent
 *   any  --closed--> DOWN, with a back-off that grows until READY is reached
 *
 * Requests wait in `waiting` until READY and are in `sent` until answered. They are written when
 * they are sent: only then their version is known. */
#include "kafka/client.h"
#include "kafka/login.h"

enum state { DOWN, CONNECTING, GREETING, CHOOSING, SIGNING, READY };

enum {
    VERSIONS_NEWEST = 3, /* of ApiVersions, as we greet */
    TICK_US = 250000,
    BACKOFF_SHIFT_MAX = 5,
    SESSION_SHARE = 85, /* percent of a session after which we sign in again */
};

struct request {
    struct request *next;
    const struct kafka_api *api;
    int16_t version_max, version;
    int32_t correlation, timeout_ms;
    int64_t deadline_us;
    kafka_fill *fill;
    kafka_node_answer *done;
    void *context;
};
struct queue {
    struct request *first, *last;
};
struct kafka_node {
    struct kafka_client *client;
    struct kafka_node *next;
    int32_t id;
    const void *lane;
    struct net_address address;
    struct net_conn *conn;
    enum state state;
    bool dropped;
    struct kafka_login login;
    int64_t renew_us; /* sign in again from here on; 0: never */
    int16_t greeting; /* version of the ApiVersions request under way */
    int32_t correlation;
    int32_t failures;   /* in a row */
    int64_t connect_us; /* not before */
    struct queue waiting, sent;
    struct queue refused; /* could not be written: told at the turn's end */
    mr_err refused_err;
    char *refused_why;
    struct mr_task refused_task;
    struct mr_timer timer;
    int16_t oldest[KAFKA_API_KEY_MAX + 1], newest[KAFKA_API_KEY_MAX + 1];
};

/* ---- queues ---- */

static void queue_add(struct queue *queue, struct request *request)
{
    request->next = NULL;
    if (queue->first == NULL)
        queue->first = request;
    else
        queue->last->next = request;
    queue->last = request;
}

static struct request *queue_take(struct queue *queue)
{
    struct request *request = queue->first;
    if (request != NULL)
        queue->first = request->next;
    return request;
}

static void queue_fini(struct queue *queue)
{
    struct request *request;
    while ((request = queue_take(queue)) != NULL)
        mr_free(request);
}

/* Tells all of a queue; a callback may drop the node, which empties the queue. */
static void queue_fail(struct queue *queue, mr_err err)
{
    struct request *request;
    char *why = mr_copy_cstr(mr_str_from(mr_why()));
    while ((request = queue_take(queue)) != NULL) {
        mr_fail(err, "%s", why);
        request->done(request->context, err, -1, NULL, NULL);
        mr_free(request);
    }
    mr_free(why);
}

/* ---- writing ---- */

/* Newest version that both speak; -1: none. */
static int16_t version_choose(const struct kafka_node *node, const struct request *request)
{
    const struct kafka_api *api = request->api;
    int16_t oldest = node->oldest[api->key], newest = node->newest[api->key];
    if (newest > api->newest)
        newest = api->newest;
    if (request->version_max >= 0 && newest > request->version_max)
        newest = request->version_max;
    if (oldest < api->oldest)
        oldest = api->oldest;
    return oldest <= newest ? newest : -1;
}

/* The scratch buffer has the message without its payload; payload goes in between by reference. */
static void splices_send(struct net_conn *conn, const struct mr_buf *buf,
                         const struct wire_out *out)
{
    size_t from = 0;
    for (size_t i = 0; i < out->splices.count; i++) {
        const struct wire_splice *splice = &out->splices.items[i];
        net_send(conn, buf->data + from, splice->at - from);
        net_send_bytes(conn, splice->ref.owner,
                       (size_t)(splice->ref.data - splice->ref.owner->data), splice->ref.length);
        from = splice->at;
    }
    net_send(conn, buf->data + from, buf->length - from);
}

static mr_err request_write(struct kafka_node *node, struct request *request)
{
    struct kafka_client *client = node->client;
    const struct kafka_api *api = request->api;
    mr_arena_reset(&client->request_arena);
    mr_buf_clear(&client->scratch);
    void *message = mr_arena_alloc_zero(&client->request_arena, api->request()->bytes);
    wire_reset(api->request(), message);
    request->fill(request->context, request->version, &client->request_arena, message);
    request->correlation = node->correlation++;
    struct wire_out out = kafka_api_out(&client->scratch, api, request->version);
    kafka_api_write_request(&out, api, request->correlation, client->client_id, message);
    mr_err err = client->scratch.err;
    if (err == MR_OK && client->scratch.length + out.splice_bytes > MR_LIMIT_FRAME_BYTES)
        err = MR_LIMIT;
    if (err == MR_OK)
        splices_send(node->conn, &client->scratch, &out);
    else
        mr_fail(err, "kafka %s request: too large", api->name);
    wire_out_fini(&out);
    return err;
}

static void refused_run(struct mr_task *task)
{
    struct kafka_node *node = mr_container(task, struct kafka_node, refused_task);
    if (node->dropped)
        return;
    mr_fail(node->refused_err, "%s", node->refused_why);
    queue_fail(&node->refused, node->refused_err);
}

/* Never told from inside of kafka_node_request(). */
static void refuse(struct kafka_node *node, struct request *request, mr_err err)
{
    node->refused_err = err;
    mr_free(node->refused_why);
    node->refused_why = mr_copy_cstr(mr_str_from(mr_why()));
    queue_add(&node->refused, request);
    mr_loop_at_turn_end(node->client->loop, &node->refused_task);
}

static void request_send(struct kafka_node *node, struct request *request)
{
    mr_err err = MR_OK;
    request->version = version_choose(node, request);
    if (request->version < 0)
        err = mr_fail(MR_UNSUPPORTED, "kafka %s:%u: speaks no version of %s that we do",
                      node->address.host, node->address.port, request->api->name);
    else
        err = request_write(node, request);
    if (err != MR_OK) {
        refuse(node, request, err);
        return;
    }
    queue_add(&node->sent, request);
}

/* ---- time ---- */

static void node_connect(struct kafka_node *node);

static bool is_overdue(const struct queue *queue, int64_t now)
{
    for (const struct request *request = queue->first; request != NULL; request = request->next) {
        if (request->deadline_us <= now)
            return true;
    }
    return false;
}

/* Takes out what waits for longer than it may. */
static struct queue overdue_take(struct queue *queue, int64_t now)
{
    struct queue kept = {0}, overdue = {0};
    struct request *request;
    while ((request = queue_take(queue)) != NULL)
        queue_add(request->deadline_us <= now ? &overdue : &kept, request);
    *queue = kept;
    return overdue;
}

static void node_tick(struct kafka_node *node)
{
    if (node->dropped || (node->waiting.first == NULL && node->sent.first == NULL))
        return;
    int64_t now = mr_loop_now_us(node->client->loop), delay = TICK_US;
    if (node->state == DOWN && node->connect_us - now < delay)
        delay = node->connect_us > now ? node->connect_us - now : 0;
    if (node->timer.loop == NULL || node->timer.due_us > now + delay)
        mr_timer_start(node->client->loop, &node->timer, delay);
}

static void timer_run(struct mr_timer *timer)
{
    struct kafka_node *node = mr_container(timer, struct kafka_node, timer);
    int64_t now = mr_loop_now_us(node->client->loop);
    if (node->state == DOWN && node->waiting.first != NULL && node->connect_us <= now)
        node_connect(node);
    if (is_overdue(&node->sent, now) && node->conn != NULL) {
        mr_fail(MR_TIMEOUT, "kafka %s:%u: no answer in time", node->address.host,
                node->address.port);
        net_abort(node->conn); /* answers come in order: what is behind would wait as well */
    }
    struct queue overdue = overdue_take(&node->waiting, now);
    if (overdue.first != NULL) {
        mr_fail(MR_TIMEOUT, "kafka %s:%u: not connected in time", node->address.host,
                node->address.port);
        if (node->state > CONNECTING && node->state < READY) /* it greets us for ever */
            net_abort(node->conn);
        node->refused_err = MR_TIMEOUT;
        mr_free(node->refused_why);
        node->refused_why = mr_copy_cstr(mr_str_from(mr_why()));
        for (struct request *request; (request = queue_take(&overdue)) != NULL;)
            queue_add(&node->refused, request);
        mr_loop_at_turn_end(node->client->loop, &node->refused_task);
    }
    node_tick(node);
}

/* ---- ready ---- */

/* A feature is the cluster's: what the newest epoch says counts, whichever broker tells it. One that
 * lacks a version by which the feature is used (it is being replaced) counts as one without. */
static void features_learn(struct kafka_node *node,
                           const struct kafka_api_versions_response *response)
{
    struct kafka_client *client = node->client;
    bool raise = false;

    if (response->finalized_features_epoch < client->features_epoch)
        return;
    for (int32_t i = 0; i < response->finalized_features.count; i++) {
        const struct kafka_api_versions_finalized_feature *feature =
            &response->finalized_features.items[i];
        if (mr_str_equal(feature->name, MR_STR("transaction.version")))
            raise = feature->max_version_level >= 2;
    }
    client->features_epoch = response->finalized_features_epoch;
    client->ends_raise = raise && node->newest[KAFKA_API_produce] >= 12 &&
                         node->newest[KAFKA_API_txn_offset_commit] >= 5 &&
                         node->newest[KAFKA_API_end_txn] >= 5;
}

static void versions_learn(struct kafka_node *node,
                           const struct kafka_api_versions_response *response)
{
    for (size_t key = 0; key < mr_count_of(node->newest); key++) {
        node->oldest[key] = 0;
        node->newest[key] = -1;
    }
    for (int32_t i = 0; i < response->api_keys.count; i++) {
        const struct kafka_api_versions_api *row = &response->api_keys.items[i];
        if (row->api_key < 0 || row->api_key > KAFKA_API_KEY_MAX)
            continue;
        node->oldest[row->api_key] = row->min_version;
        node->newest[row->api_key] = row->max_version;
    }
    features_learn(node, response);
}

static void ready(struct kafka_node *node)
{
    node->state = READY;
    node->failures = 0;
    for (struct request *request; (request = queue_take(&node->waiting)) != NULL;)
        request_send(node, request);
}

/* ---- signing in ---- */

static int16_t newest_of(const struct kafka_node *node, const struct kafka_api *api)
{
    int16_t newest = node->newest[api->key];
    return newest < api->newest ? newest : api->newest;
}

/* A request of the connection itself, written at once. */
static void say(struct kafka_node *node, const struct kafka_api *api, int16_t version,
                const void *request)
{
    struct mr_buf *scratch = &node->client->scratch;
    mr_buf_clear(scratch);
    struct wire_out out = kafka_api_out(scratch, api, version);
    kafka_api_write_request(&out, api, node->correlation++, node->client->client_id, request);
    wire_out_fini(&out);
    net_send(node->conn, scratch->data, scratch->length);
}

static mr_err sign_fail(const struct kafka_node *node, const char *why)
{
    const struct kafka_security *security = &node->client->security;
    return mr_fail(MR_AUTH, "SASL %.*s as \"%.*s\": %s", MR_STR_ARG(security->mechanism),
                   MR_STR_ARG(security->user), why);
}

static mr_err sign_in(struct kafka_node *node)
{
    const struct kafka_api *api = kafka_api_find(KAFKA_API_sasl_handshake);
    struct kafka_sasl_handshake_request request = {node->client->security.mechanism};
    if (newest_of(node, api) < 1 ||
        newest_of(node, kafka_api_find(KAFKA_API_sasl_authenticate)) < 0)
        return sign_fail(node, "the broker offers no SASL on this port");
    node->state = CHOOSING;
    kafka_login_fini(&node->login);
    say(node, api, 1, &request);
    return MR_OK;
}

static mr_err token_say(struct kafka_node *node, mr_str said, bool *done)
{
    const struct kafka_api *api = kafka_api_find(KAFKA_API_sasl_authenticate);
    struct mr_buf token = {0};
    mr_err err = kafka_login_step(node->client, &node->login, said, &token, done);
    if (err == MR_OK && !*done) {
        struct kafka_sasl_authenticate_request request = {mr_buf_as_str(&token)};
        say(node, api, newest_of(node, api), &request);
        kafka_scram_wipe(node->client->scratch.data, node->client->scratch.length);
    }
    kafka_scram_wipe(token.data, token.length);
    mr_buf_fini(&token);
    return err == MR_OK ? MR_OK : sign_fail(node, mr_why());
}

static mr_err chosen(struct kafka_node *node, mr_str frame)
{
    const struct kafka_api *api = kafka_api_find(KAFKA_API_sasl_handshake);
    struct kafka_sasl_handshake_response response;
    struct mr_buf offer = {0};
    int32_t correlation = 0;
    bool done = false;
    mr_err err = kafka_api_read_response(frame, &node->client->response_arena, api, 1, &correlation,
                                         &response);
    if (err != MR_OK)
        return err;
    if (response.error_code == KAFKA_ERROR_NONE) {
        node->state = SIGNING;
        return token_say(node, MR_STR_NULL, &done);
    }
    mr_buf_printf(&offer, "the broker refuses: %s; it offers",
                  kafka_error_name(response.error_code));
    for (int32_t i = 0; i < response.mechanisms.count && i < 10; i++)
        mr_buf_printf(&offer, "%s %.*s", i > 0 ? "," : "",
                      MR_STR_ARG(response.mechanisms.items[i]));
    if (response.mechanisms.count <= 0)
        mr_buf_cstr(&offer, " none on this port");
    char *why = mr_buf_take_cstr(&offer);
    err = sign_fail(node, why);
    mr_free(why);
    return err;
}

static mr_err signed_in(struct kafka_node *node, mr_str frame)
{
    const struct kafka_api *api = kafka_api_find(KAFKA_API_sasl_authenticate);
    struct kafka_sasl_authenticate_response response;
    int32_t correlation = 0;
    bool done = false;
    mr_err err = kafka_api_read_response(frame, &node->client->response_arena, api,
                                         newest_of(node, api), &correlation, &response);
    if (err != MR_OK)
        return err;
    if (response.error_code != KAFKA_ERROR_NONE) {
        char *why = mr_copy_cstr(response.error_message.length > 0
                                     ? mr_str_slice(response.error_message, 0, 500)
                                     : mr_str_from(kafka_error_text(response.error_code)));
        err = sign_fail(node, why);
        mr_free(why);
        return err;
    }
    err = token_say(node, response.auth_bytes, &done);
    if (err != MR_OK || !done)
        return err;
    kafka_login_fini(&node->login);
    node->renew_us = response.session_lifetime_ms <= 0
                         ? 0
                         : mr_loop_now_us(node->client->loop) +
                               response.session_lifetime_ms * 10 * SESSION_SHARE;
    ready(node);
    return MR_OK;
}

/* ---- greeting: which versions does the broker speak ---- */

static void greet(struct kafka_node *node, int16_t version)
{
    const struct kafka_api *api = kafka_api_find(KAFKA_API_api_versions);
    struct kafka_api_versions_request request = {MR_STR("millrace"), MR_STR("0.1")};
    node->state = GREETING;
    node->greeting = version;
    mr_buf_clear(&node->client->scratch);
    struct wire_out out = kafka_api_out(&node->client->scratch, api, version);
    kafka_api_write_request(&out, api, node->correlation++, node->client->client_id, &request);
    wire_out_fini(&out);
    net_send(node->conn, node->client->scratch.data, node->client->scratch.length);
}

/* A broker that lacks the version answers with version 0 and error 35 (KIP-511). */
static mr_err greeting_read(struct kafka_node *node, mr_str frame,
                            struct kafka_api_versions_response *response)
{
    const struct kafka_api *api = kafka_api_find(KAFKA_API_api_versions);
    struct mr_in in = mr_in_str(frame);
    int32_t correlation = 0;
    mr_in_be32(&in);
    int16_t code = (int16_t)mr_in_be16(&in);
    int16_t version = code == KAFKA_ERROR_UNSUPPORTED_VERSION ? 0 : node->greeting;
    return kafka_api_read_response(frame, &node->client->response_arena, api, version, &correlation,
                                   response);
}

static mr_err greeted(struct kafka_node *node, mr_str frame)
{
    struct kafka_api_versions_response response;
    mr_err err = greeting_read(node, frame, &response);
    if (err != MR_OK)
        return err;
    if (response.error_code == KAFKA_ERROR_UNSUPPORTED_VERSION && node->greeting > 0) {
        greet(node, 0);
        return MR_OK;
    }
    if (response.error_code != KAFKA_ERROR_NONE)
        return kafka_error_fail(response.error_code, "kafka: ApiVersions");
    versions_learn(node, &response);
    if (node->client->security.mechanism.length > 0)
        return sign_in(node);
    ready(node);
    return MR_OK;
}

/* ---- what the connection tells ---- */

static void on_opened(struct net_conn *conn)
{
    struct kafka_node *node = net_context(conn);
    if (node != NULL)
        greet(node, VERSIONS_NEWEST);
}

static mr_err on_frame(struct net_conn *conn, mr_str seen, size_t *total)
{
    (void)conn;
    return net_frame_be32(seen, MR_LIMIT_FRAME_BYTES, total);
}

static mr_err on_message(struct net_conn *conn, struct mr_bytes *owner, mr_str frame)
{
    struct kafka_node *node = net_context(conn);
    if (node == NULL)
        return MR_OK;
    frame = mr_str_slice(frame, sizeof(uint32_t), frame.length);
    if (node->state != READY && node->sent.first == NULL) { /* else what was sent before it */
        mr_arena_reset(&node->client->response_arena);
        return node->state == GREETING   ? greeted(node, frame)
               : node->state == CHOOSING ? chosen(node, frame)
                                         : signed_in(node, frame);
    }
    struct kafka_client *client = node->client;
    struct request *request = node->sent.first;
    int32_t correlation = 0;
    if (request == NULL)
        return mr_fail(MR_CORRUPT, "kafka %s:%u: an answer to no request", node->address.host,
                       node->address.port);
    mr_arena_reset(&client->response_arena);
    void *response = mr_arena_alloc_zero(&client->response_arena, request->api->response()->bytes);
    mr_err err = kafka_api_read_response(frame, &client->response_arena, request->api,
                                         request->version, &correlation, response);
    if (err == MR_OK && correlation != request->correlation)
        err = mr_fail(MR_CORRUPT, "kafka %s:%u: an answer to request %d, expected %d",
                      node->address.host, node->address.port, correlation, request->correlation);
    if (err != MR_OK)
        return err;
    queue_take(&node->sent);
    request->done(request->context, MR_OK, request->version, response, owner);
    mr_free(request); /* the node may be dropped by now: nothing more of it */
    return MR_OK;
}

static void on_closed(struct net_conn *conn, mr_err why)
{
    struct kafka_node *node = net_context(conn);
    if (node == NULL)
        return;
    bool was_ready = node->state == READY;
    int64_t now = mr_loop_now_us(node->client->loop);
    bool overdue = is_overdue(&node->sent, now);
    node->conn = NULL;
    node->state = DOWN;
    kafka_login_fini(&node->login);
    node->renew_us = 0;
    node->connect_us = now + kafka_client_backoff_us(node->client, node->failures);
    if (node->failures < BACKOFF_SHIFT_MAX)
        node->failures++;
    mr_err err = overdue          ? MR_TIMEOUT
                 : why == MR_AUTH ? MR_AUTH /* another try would say the same */
                 : was_ready      ? MR_CLOSED
                                  : MR_UNREACHABLE;
    if (overdue)
        mr_fail(err, "kafka %s:%u: no answer in time", node->address.host, node->address.port);
    else
        mr_fail(err, "kafka %s:%u: %s", node->address.host, node->address.port,
                why == MR_OK ? "closed" : mr_why());
    char *text = mr_copy_cstr(mr_str_from(mr_why()));
    queue_fail(&node->sent, err);
    if (!was_ready) {
        mr_fail(err, "%s", text);
        queue_fail(&node->waiting, err);
    }
    mr_free(text);
    node_tick(node);
}

static const struct net_handler handler = {
    .opened = on_opened,
    .frame = on_frame,
    .message = on_message,
    .drained = net_nothing,
    .closed = on_closed,
};

static void node_connect(struct kafka_node *node)
{
    node->state = CONNECTING;
    mr_err err = net_connect_tls(node->client->loop, node->address.host, node->address.port,
                                 node->client->tls, NULL, &handler, node, &node->conn);
    if (err == MR_OK)
        return;
    node->state = DOWN;
    node->connect_us = mr_loop_now_us(node->client->loop) +
                       kafka_client_backoff_us(node->client, 5);
    for (struct request *request; (request = queue_take(&node->waiting)) != NULL;)
        refuse(node, request, MR_UNREACHABLE);
}

/* ---- what the room sees ---- */

int32_t kafka_node_id(const struct kafka_node *node)
{
    return node->id;
}

static struct kafka_node *node_new(struct kafka_client *client, const struct kafka_broker *broker,
                                   const void *lane)
{
    struct kafka_node *node = mr_new(struct kafka_node);
    node->client = client;
    node->id = broker->id;
    node->address = broker->address;
    node->lane = lane;
    node->timer.run = timer_run;
    node->refused_task.run = refused_run;
    node->next = client->nodes;
    client->nodes = node;
    return node;
}

struct kafka_node *kafka_node_find(struct kafka_client *client, int32_t id, const void *lane)
{
    for (struct kafka_node *node = client->nodes; node != NULL; node = node->next) {
        if (node->id == id && node->lane == lane)
            return node;
    }
    for (size_t i = client->brokers.count; i-- > 0;) {
        if (client->brokers.items[i].id == id)
            return node_new(client, &client->brokers.items[i], lane);
    }
    return NULL;
}

struct kafka_node *kafka_node_any(struct kafka_client *client, const void *lane)
{
    for (struct kafka_node *node = client->nodes; node != NULL; node = node->next) {
        if (node->lane == lane && node->state == READY)
            return node;
    }
    size_t at = client->bootstrap_next % client->bootstrap_count;
    struct kafka_node *node = kafka_node_find(client, client->brokers.items[at].id, lane);
    if (node->failures > 0)
        client->bootstrap_next++;
    return node;
}

void kafka_node_learn(struct kafka_client *client, int32_t id, mr_str host, int32_t port)
{
    struct kafka_broker *known = NULL;
    if (host.length == 0 || host.length >= sizeof known->address.host || port <= 0 ||
        port > UINT16_MAX)
        return;
    for (size_t i = 0; i < client->brokers.count && known == NULL; i++) {
        struct kafka_broker *broker = &client->brokers.items[i];
        bool same = mr_str_equal(mr_str_from(broker->address.host), host) &&
                    broker->address.port == (uint16_t)port;
        if (broker->id == id || (broker->id < 0 && same))
            known = broker;
    }
    if (known == NULL)
        known = mr_array_add(&client->brokers);
    else if (known->id < 0) { /* the bootstrap address turns out to be this broker */
        for (struct kafka_node *node = client->nodes; node != NULL; node = node->next)
            node->id = node->id == known->id ? id : node->id;
    }
    known->id = id;
    memset(known->address.host, 0, sizeof known->address.host);
    memcpy(known->address.host, host.data, host.length);
    known->address.port = (uint16_t)port;
    for (struct kafka_node *node = client->nodes; node != NULL; node = node->next) {
        if (node->id == id)
            node->address = known->address; /* taken at the next connect */
    }
}

void kafka_node_request(struct kafka_node *node, int16_t api_key, int16_t version_max,
                        int32_t timeout_ms, kafka_fill *fill, kafka_node_answer *done,
                        void *context)
{
    struct request *request = mr_new(struct request);
    int64_t now = mr_loop_now_us(node->client->loop);
    request->api = kafka_api_find(api_key);
    mr_assert(request->api != NULL);
    request->version_max = version_max;
    request->timeout_ms = timeout_ms;
    request->deadline_us = now + (int64_t)timeout_ms * 1000;
    request->fill = fill;
    request->done = done;
    request->context = context;
    if (node->state == READY && node->renew_us != 0 && now >= node->renew_us &&
        sign_in(node) != MR_OK)
        net_abort(node->conn);
    if (node->state == READY) {
        request_send(node, request);
    } else {
        queue_add(&node->waiting, request);
        if (node->state == DOWN && node->connect_us <= now)
            node_connect(node);
    }
    node_tick(node);
}

/* Out of the list, silent from here on; the memory goes at the turn's end, because a callback of
 * the node may be what has led here. */
static void node_drop(struct kafka_node *node)
{
    struct kafka_client *client = node->client;
    node->dropped = true;
    queue_fini(&node->waiting);
    queue_fini(&node->sent);
    queue_fini(&node->refused);
    kafka_login_fini(&node->login);
    mr_timer_stop(&node->timer);
    if (node->conn != NULL) {
        net_context_set(node->conn, NULL);
        net_abort(node->conn);
        node->conn = NULL;
    }
    node->next = client->dropped;
    client->dropped = node;
    kafka_client_task(client);
}

void kafka_node_drop_lane(struct kafka_client *client, const void *lane)
{
    struct kafka_node **link = &client->nodes;
    while (*link != NULL) {
        struct kafka_node *node = *link;
        if (node->lane == lane) {
            *link = node->next;
            node_drop(node);
        } else {
            link = &node->next;
        }
    }
}

void kafka_node_drop_all(struct kafka_client *client)
{
    while (client->nodes != NULL) {
        struct kafka_node *node = client->nodes;
        client->nodes = node->next;
        node_drop(node);
    }
}

/* A node whose refused_task still waits in the loop's queue is left for the next turn. */
void kafka_node_free_dropped(struct kafka_client *client)
{
    struct kafka_node **link = &client->dropped;
    while (*link != NULL) {
        struct kafka_node *node = *link;
        if (node->refused_task.queued) {
            link = &node->next;
            continue;
        }
        *link = node->next;
        mr_free(node->refused_why);
        mr_free(node);
    }
}
