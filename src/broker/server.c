/* broker/server.c: from a frame to a handler, and from its answer to the wire.
 *
 *   frame -> header -> [held while recovery runs] -> handler -> answered -> sent in order -> spare
 *
 * Requests of one connection run as they come and may end in any order; an answer waits for those
 * before it. A connection with too many or too large requests under way is not read; no other
 * connection notices. */
#include "broker/server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    HOLD_US = 1000 * 1000,
    REFUSED_WHILE_US = 10 * 1000 * 1000,
    CLOSE_POLL_US = 500,
    SPARE_REQUESTS = 64,
    SPARE_ARENA_BYTES = 64 << 10,
    SHARED_FRAME_BYTES = 16 << 10, /* smaller frames share a buffer (net.h) */
    LOOKERS = 2,                   /* each has one batch under its eyes */
    CONN_FETCHES_MAX = 4,          /* answers of up to 55 MB each */
};

typedef void (*handler)(struct broker_request *request);
static const handler handlers[KAFKA_API_KEY_MAX + 1] = {
#define API(key, name, file, oldest, newest, flexible) [key] = broker_##file##_##name,
#include "kafka/apis.def"
};

/* ---- requests ---- */

static struct broker_request *request_new(struct broker_server *server)
{
    struct broker_request *request = server->spare;
    struct mr_arena arena;

    if (request == NULL) {
        request = mr_new(struct broker_request);
        mr_arena_init(&request->arena);
    } else {
        server->spare = request->next;
        server->spare_count--;
    }
    arena = request->arena;
    *request = (struct broker_request){
        .server = server, .arena = arena, .came_us = mr_loop_now_us(server->loop)};
    return request;
}

static void request_free(struct broker_request *request)
{
    struct broker_server *server = request->server;

    for (size_t i = 0; i < request->refs.count; i++)
        mr_bytes_unref(request->refs.items[i].owner);
    mr_array_fini(&request->refs);
    mr_bytes_unref(request->owner);
    if (server->spare_count >= SPARE_REQUESTS || request->arena.bytes > SPARE_ARENA_BYTES) {
        mr_arena_fini(&request->arena);
        mr_free(request);
        return;
    }
    mr_arena_reset(&request->arena);
    request->next = server->spare;
    server->spare = request;
    server->spare_count++;
}

/* ---- sending ---- */

/* An answer with payload by reference: its own bytes are copied, the payload is not. */
static void send_spliced(struct broker_conn *conn, const struct wire_out *out)
{
    size_t at = 0;

    for (size_t i = 0; i < out->splices.count; i++) {
        const struct wire_splice *splice = &out->splices.items[i];
        if (splice->at > at)
            net_send(conn->net, out->buf->data + at, splice->at - at);
        at = splice->at;
        net_send_bytes(conn->net, splice->ref.owner,
                       (size_t)(splice->ref.data - splice->ref.owner->data), splice->ref.length);
    }
    net_send(conn->net, out->buf->data + at, out->buf->length - at);
    mr_counter_add(conn->server->storage.bytes_out, (int64_t)out->splice_bytes);
}

/* A SASL token as it is (SaslHandshake version 0); a refusal has no form, only the end. */
static void token_send(struct broker_conn *conn, const struct broker_request *request)
{
    const struct kafka_sasl_authenticate_response *out = request->out;
    struct mr_buf *buf = net_out(conn->net);

    if (out->error_code != KAFKA_ERROR_NONE)
        return;
    mr_buf_be32(buf, (uint32_t)out->auth_bytes.length);
    mr_buf_str(buf, out->auth_bytes);
}

static void request_send(struct broker_conn *conn, struct broker_request *request)
{
    if (request->raw) {
        token_send(conn, request);
        return;
    }
    bool payload = request->refs.count > 0;
    struct mr_buf scratch = {0};
    struct mr_buf *buf = payload ? &scratch : net_out(conn->net);
    struct wire_out out = kafka_api_out(buf, request->api, request->header.request_api_version);

    kafka_api_write_response(&out, request->api, request->header.correlation_id, request->out);
    if (buf->err != MR_OK) {
        mr_log(MR_LOG_ERROR, "broker", "%s: answer could not be written: %s", request->api->name,
               mr_err_text(buf->err));
        net_abort(conn->net);
    } else if (payload) {
        send_spliced(conn, &out);
    }
    wire_out_fini(&out);
    mr_buf_fini(&scratch);
}

static void conn_relieve(struct broker_conn *conn)
{
    if (!conn->paused || conn->request_count > MR_LIMIT_BROKER_PIPELINE / 2 ||
        conn->request_bytes > MR_LIMIT_BROKER_PIPELINE_BYTES / 2 ||
        conn->fetch_count >= CONN_FETCHES_MAX)
        return;
    conn->paused = false;
    if (!conn->held_back)
        net_resume(conn->net);
}

static void hold_ends(struct mr_timer *timer)
{
    struct broker_conn *conn = mr_container(timer, struct broker_conn, hold_timer);

    conn->held_back = false;
    if (conn->turned_away)
        net_abort(conn->net);
    else if (!conn->paused)
        net_resume(conn->net);
}

void broker_server_hold_back(struct broker_conn *conn, int32_t ms)
{
    int64_t us = (int64_t)ms * 1000;

    if (conn->held_back && conn->hold_timer.due_us >= mr_loop_now_us(conn->server->loop) + us)
        return;
    conn->held_back = true;
    net_pause(conn->net);
    mr_timer_start(conn->server->loop, &conn->hold_timer, us);
}

/* Whether the time on the loop is counted against somebody. */
static bool time_counts(const struct broker_server *server)
{
    return server->security.quotas.row_counts[BROKER_QUOTA_REQUEST] > 0;
}

/* An answer leaves, and the time that this takes is its client's. */
static void request_leave(struct broker_conn *conn, struct broker_request *request)
{
    const struct mr_clock *clock = mr_loop_clock(conn->server->loop);
    bool counts = time_counts(conn->server);
    int64_t began_us = counts ? mr_clock_mono_us(clock) : 0;

    request_send(conn, request);
    if (counts)
        broker_throttle_spent(request, mr_clock_mono_us(clock) - began_us);
}

/* Requests that wait for records. */
static bool is_fetch(const struct kafka_api *api)
{
    return api->key == KAFKA_API_fetch || api->key == KAFKA_API_share_fetch;
}

static void conn_flush(struct broker_conn *conn)
{
    if (conn->flushing)
        return;
    conn->flushing = true;
    while (conn->first != NULL && conn->first->answered) {
        struct broker_request *request = conn->first;
        conn->first = request->next;
        if (conn->first == NULL)
            conn->last = &conn->first;
        conn->request_count--;
        conn->request_bytes -= request->frame.length;
        conn->fetch_count -= is_fetch(request->api);
        if (!request->silent)
            request_leave(conn, request);
        request_free(request);
    }
    net_busy(conn->net, conn->request_count > 0);
    conn->flushing = false;
    conn_relieve(conn);
}

/* By the names that the protocol has for them: ListOffsets. */
static void request_count(const struct broker_request *request)
{
    struct mr_counter **counter = &request->server->requests[request->api->key];

    if (*counter == NULL) {
        struct mr_buf label = {0};
        bool begins = true;
        mr_buf_cstr(&label, "request=\"");
        for (const char *name = request->api->name; *name != '\0'; name++) {
            if (*name != '_')
                mr_buf_u8(&label, (uint8_t)(begins ? *name - 'a' + 'A' : *name));
            begins = *name == '_';
        }
        mr_buf_u8(&label, '"');
        *counter = mr_counter_get(MR_METRIC_BROKER_REQUESTS, mr_buf_as_str(&label));
        mr_buf_fini(&label);
    }
    mr_counter_add(*counter, 1);
}

void broker_server_answer(struct broker_request *request)
{
    mr_assert(!request->answered);
    broker_rights_answer(request);
    broker_sight_answer(request);
    if (request->server->security.quotas.rows.count > 0)
        broker_throttle_answer(request);
    if (request->server->running == request) /* it may be gone when its handler returns */
        request->server->running = NULL;
    request->answered = true;
    request->abandon = NULL;
    request_count(request);
    broker_answers_count(request);
    if (request->conn == NULL)
        request_free(request);
    else
        conn_flush(request->conn);
}

void broker_server_answer_nothing(struct broker_request *request)
{
    request->silent = true;
    broker_server_answer(request);
}

/* ---- receiving ---- */

static mr_err refuse(struct broker_conn *conn, const struct broker_request *request,
                     const char *why)
{
    mr_counter_add(conn->server->storage.errors, 1);
    return mr_fail(MR_CORRUPT, "client %s:%u \"%.*s\": %s", conn->peer.host, conn->peer.port,
                   MR_STR_ARG(request->header.client_id), why);
}

static void refused_count(int16_t code)
{
    char label[80];

    snprintf(label, sizeof(label), "error=\"%s\"", kafka_error_name(code));
    mr_counter_add(mr_counter_get(MR_METRIC_BROKER_REFUSED, mr_str_from(label)), 1);
}

void broker_server_refused(const struct broker_request *request, int16_t code, mr_str why)
{
    struct broker_server *server = request->server;
    int64_t now = mr_loop_now_us(server->loop);
    struct mr_buf line = {0};

    refused_count(code);
    ((struct broker_request *)(uintptr_t)request)->refusal_told = true;
    if (now >= server->refused_us + REFUSED_WHILE_US) {
        if (server->refused_more > 0)
            mr_log(MR_LOG_WARN, "broker", "refused: %zu more were not logged",
                   server->refused_more);
        server->refused_us = now;
        server->refused_told = server->refused_more = 0;
    }
    if (request->conn == NULL || server->refused_told >= MR_LIMIT_BROKER_REFUSED_LINES) {
        server->refused_more++;
        return;
    }
    server->refused_told++;
    mr_buf_printf(&line, "refused: client=%s:%u id=", request->conn->peer.host,
                  request->conn->peer.port);
    mr_buf_json(&line, request->header.client_id);
    mr_buf_cstr(&line, " principal=");
    mr_buf_json(&line, mr_str_from(request->conn->login.principal));
    mr_buf_printf(&line, " request=%s version=%d error=%s reason=", request->api->name,
                  request->header.request_api_version, kafka_error_name(code));
    mr_buf_json(&line, why);
    mr_log(MR_LOG_WARN, "broker", "%.*s", MR_STR_ARG(mr_buf_as_str(&line)));
    mr_buf_fini(&line);
}

static void wait_behind(struct broker_stall *stall, struct broker_request *request)
{
    request->stall = stall;
    request->held_next = NULL;
    *stall->last = request;
    stall->last = &request->held_next;
}

/* Rights are looked at while it is known who asks. */
static void request_handle(struct broker_request *request)
{
    if (request->stall == NULL) {
        broker_repeats_drop(request);
        if (!broker_rights_admit(request))
            return;
        if (request->conn != NULL && request->conn->stall != NULL) {
            wait_behind(request->conn->stall, request);
            return;
        }
    }
    handlers[request->api->key](request);
}

static void request_run(struct broker_request *request)
{
    struct broker_server *server = request->server;
    const struct mr_clock *clock = mr_loop_clock(server->loop);

    if (!time_counts(server)) {
        request_handle(request);
        return;
    }
    server->running = request;
    server->running_us = mr_clock_mono_us(clock);
    request_handle(request);
    if (server->running == request) { /* it waits for its answer */
        request->spent_us = mr_clock_mono_us(clock) - server->running_us;
        server->running = NULL;
    }
}

struct broker_stall *broker_server_stall(struct broker_request *request)
{
    struct broker_stall *stall = request->stall;

    if (stall == NULL) {
        stall = mr_new(struct broker_stall);
        stall->server = request->server;
        stall->conn = request->conn;
        stall->last = &stall->first;
        stall->conn->stall = stall;
        stall->server->stall_count++;
        request->stall = stall;
    }
    stall->waits = true;
    return stall;
}

void broker_server_go_on(struct broker_stall *stall)
{
    stall->waits = false;
    while (stall->first != NULL && !stall->waits) {
        struct broker_request *request = stall->first;
        stall->first = request->held_next;
        if (stall->first == NULL)
            stall->last = &stall->first;
        if (request->conn == NULL && request->api->key != KAFKA_API_produce)
            request_free(request); /* there is nobody to answer; records are taken all the same */
        else
            request_run(request);
    }
    if (stall->waits)
        return;
    if (stall->conn != NULL)
        stall->conn->stall = NULL;
    stall->server->stall_count--;
    mr_free(stall);
}

static void hold(struct broker_request *request)
{
    struct broker_server *server = request->server;

    request->held = true;
    request->held_next = NULL;
    *server->held_last = request;
    server->held_last = &request->held_next;
    if (server->held_timer.loop == NULL)
        mr_timer_start(server->loop, &server->held_timer, HOLD_US);
}

static void let_go(struct broker_server *server)
{
    struct broker_request *request = server->held;

    server->held = NULL;
    server->held_last = &server->held;
    while (request != NULL) {
        struct broker_request *next = request->held_next;
        request->held = false;
        if (request->conn == NULL)
            request_free(request);
        else
            request_run(request);
        request = next;
    }
}

/* Answers stand behind those before them, and a busy connection is not read further. */
static void enqueue(struct broker_conn *conn, struct broker_request *request)
{
    *conn->last = request;
    conn->last = &request->next;
    conn->request_count++;
    conn->request_bytes += request->frame.length;
    conn->fetch_count += is_fetch(request->api);
    net_busy(conn->net, true);
    if (!conn->paused && (conn->request_count >= MR_LIMIT_BROKER_PIPELINE ||
                          conn->request_bytes >= MR_LIMIT_BROKER_PIPELINE_BYTES ||
                          conn->fetch_count >= CONN_FETCHES_MAX)) {
        conn->paused = true;
        net_pause(conn->net);
    }
}

static mr_err request_accept(struct broker_conn *conn, struct broker_request *request)
{
    int16_t version = request->header.request_api_version;
    char why[160];

    request->api = kafka_api_find(request->header.request_api_key);
    if (request->api == NULL) {
        snprintf(why, sizeof(why), "expected an API that this broker speaks, found key %d",
                 request->header.request_api_key);
        return refuse(conn, request, why);
    }
    if (version >= request->api->oldest && version <= request->api->newest)
        return MR_OK;
    if (request->api->key == KAFKA_API_api_versions)
        return MR_UNSUPPORTED;
    snprintf(why, sizeof(why), "expected %s of version %d to %d, found %d", request->api->name,
             request->api->oldest, request->api->newest, version);
    return refuse(conn, request, why);
}

/* KIP-511: an ApiVersions request that is too new is answered in version 0, error 35. */
static void answer_newer_versions(struct broker_conn *conn, struct broker_request *request)
{
    request->header.request_api_version = 0;
    request->in = NULL;
    enqueue(conn, request);
    broker_metadata_api_versions(request);
}

static void request_structs(struct broker_request *request)
{
    request->in = mr_arena_alloc_zero(&request->arena, request->api->request()->bytes);
    request->out = mr_arena_alloc_zero(&request->arena, request->api->response()->bytes);
    wire_reset(request->api->response(), request->out);
}

/* A whole frame is a token: KIP-43, before there was SaslAuthenticate. */
static mr_err raw_token(struct broker_conn *conn, mr_str frame)
{
    struct broker_request *request = request_new(conn->server);
    struct kafka_sasl_authenticate_request *in;

    request->conn = conn;
    request->raw = true;
    request->frame = mr_arena_str(&request->arena, mr_str_slice(frame, 4, frame.length));
    request->api = kafka_api_find(KAFKA_API_sasl_authenticate);
    request_structs(request);
    in = request->in;
    in->auth_bytes = request->frame;
    enqueue(conn, request);
    request_run(request);
    return MR_OK;
}

/* APIs that are answered while the broker still recovers. */
static bool needs_no_log(const struct kafka_api *api)
{
    return api->key == KAFKA_API_api_versions || api->key == KAFKA_API_sasl_handshake ||
           api->key == KAFKA_API_sasl_authenticate;
}

static mr_err on_message(struct net_conn *net, struct mr_bytes *owner, mr_str frame)
{
    struct broker_conn *conn = net_context(net);
    struct broker_server *server = conn->server;
    struct broker_request *request;
    mr_err err;

    if (conn->login.raw && conn->login.state == BROKER_LOGIN_TOKEN)
        return raw_token(conn, frame);
    request = request_new(server);
    request->conn = conn;
    request->frame = mr_str_slice(frame, 4, frame.length);
    if (frame.length < SHARED_FRAME_BYTES) {
        request->frame = mr_arena_str(&request->arena, request->frame);
    } else {
        request->owner = mr_bytes_ref(owner);
    }
    err = kafka_api_read_header(request->frame, &request->arena, &request->header, &request->body);
    if (err != MR_OK) {
        err = refuse(conn, request, mr_why());
        goto out;
    }
    err = request_accept(conn, request);
    if (err == MR_UNSUPPORTED) {
        answer_newer_versions(conn, request);
        return MR_OK;
    }
    if (err == MR_OK && broker_sasl_admits(conn, request->api->key) != MR_OK)
        err = refuse(conn, request, mr_why());
    if (err != MR_OK)
        goto out;
    request_structs(request);
    err = kafka_api_read_request(request->body, &request->arena, request->api,
                                 request->header.request_api_version, request->in);
    if (err != MR_OK) {
        err = refuse(conn, request, mr_why());
        goto out;
    }
    enqueue(conn, request);
    if (server->ready || needs_no_log(request->api))
        request_run(request);
    else
        hold(request);
    return MR_OK;
out:
    request_free(request);
    return err;
}

static mr_err on_frame(struct net_conn *net, mr_str seen, size_t *total)
{
    const struct broker_conn *conn = net_context(net);
    bool known = conn->login.state == BROKER_LOGIN_FREE || conn->login.again;

    size_t most = (size_t)broker_server_number(conn->server, BROKER_NODE_socket_request_max_bytes);

    return net_frame_be32(seen, known || most < MR_LIMIT_SASL_BYTES ? most : MR_LIMIT_SASL_BYTES,
                          total);
}

static void on_opened(struct net_conn *net)
{
    struct broker_server *server = net_context(net);
    struct broker_conn *conn = mr_new(struct broker_conn);
    int32_t wait_ms = 0;

    conn->server = server;
    conn->net = net;
    conn->last = &conn->first;
    net_peer(net, &conn->peer);
    net_context_set(net, conn);
    conn->hold_timer.run = hold_ends;
    broker_sasl_begin(conn);
    server->conn_count++;
    mr_counter_add(server->storage.connections, 1);
    if (server->security.quotas.row_counts[BROKER_QUOTA_CONNECTION] > 0 &&
        broker_throttle_connection(conn, &wait_ms)) {
        conn->turned_away = true;
        net_deafen(net);
        broker_server_hold_back(conn, wait_ms);
    }
}

static void on_closed(struct net_conn *net, mr_err why)
{
    struct broker_conn *conn = net_context(net);
    struct broker_server *server = conn->server;

    if (why != MR_OK && why != MR_CLOSED && why != MR_CANCELLED)
        mr_log(MR_LOG_WARN, "broker", "connection closed: %s", mr_why());
    while (conn->first != NULL) {
        struct broker_request *request = conn->first;
        conn->first = request->next;
        request->conn = NULL;
        if (request->answered)
            request_free(request);
        else if (request->abandon != NULL)
            request->abandon(request);
    }
    if (conn->stall != NULL)
        conn->stall->conn = NULL;
    mr_timer_stop(&conn->hold_timer);
    server->conn_count--;
    mr_counter_add(server->storage.connections, -1);
    broker_share_conn_gone(server, conn);
    broker_sasl_end(conn);
    mr_free(conn);
}

static const struct net_handler handler_of_clients = {
    .opened = on_opened,
    .frame = on_frame,
    .message = on_message,
    .drained = net_nothing,
    .closed = on_closed,
};

/* ---- what handlers share ---- */

int16_t broker_server_error(mr_err err)
{
    switch ((int)err) {
    case MR_OK:
        return KAFKA_ERROR_NONE;
    case MR_NOT_FOUND:
        return KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION;
    case MR_IO:
    case MR_FULL:
    case MR_DENIED:
    case MR_CORRUPT:
        return KAFKA_ERROR_KAFKA_STORAGE_ERROR;
    default:
        return KAFKA_ERROR_UNKNOWN_SERVER_ERROR;
    }
}

int16_t broker_server_partition(struct broker_server *server, mr_str topic, int32_t index,
                                struct broker_partition **out)
{
    struct broker_partition *partition = broker_topics_partition(&server->topics, topic, index);

    if (partition == NULL)
        return KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION;
    if (!server->ready || partition->log == NULL)
        return KAFKA_ERROR_NOT_LEADER_OR_FOLLOWER;
    *out = partition;
    return KAFKA_ERROR_NONE;
}

void broker_server_address(const struct broker_request *request, mr_str *host, int32_t *port)
{
    struct broker_server *server = request->server;
    struct net_address local = {"", server->port};

    if (request->conn != NULL)
        net_local(request->conn->net, &local);
    /* With TLS a certificate is for a name, so nobody is told an address in its place. */
    bool here = server->security.tls == NULL &&
                (strncmp(local.host, "127.", 4) == 0 || strcmp(local.host, "::1") == 0);
    bool as_dialled = here || (server->inside_port != 0 && local.port == server->inside_port);
    *host = mr_arena_str((struct mr_arena *)(uintptr_t)&request->arena,
                         mr_str_from(server->advertise_host[0] != '\0' && !as_dialled
                                         ? server->advertise_host
                                         : local.host));
    *port = server->advertise_port != 0 && !as_dialled ? server->advertise_port : local.port;
}

int16_t broker_server_auto_create(struct broker_server *server, mr_str name,
                                  struct broker_catalog_wait *wait)
{
    struct broker_config config;

    if (!broker_topics_name_ok(name))
        return KAFKA_ERROR_INVALID_TOPIC_EXCEPTION;
    if (!broker_server_number(server, BROKER_NODE_auto_create_topics_enable) || !server->ready ||
        broker_topics_is_deleting(&server->topics, name))
        return KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION;
    broker_config_init(&config, &server->topics.defaults);
    broker_topics_make(&server->topics, name, server->topics.default_partitions, &config, wait);
    return KAFKA_ERROR_NONE;
}

struct broker_log *broker_server_internal(struct broker_server *server, mr_str name)
{
    struct broker_partition *partition = broker_topics_partition(&server->topics, name, 0);
    mr_assert(partition != NULL); /* the catalog always has them */
    return partition->log;
}

/* ---- starting ---- */

static void held_too_long(struct mr_timer *timer)
{
    struct broker_server *server = mr_container(timer, struct broker_server, held_timer);
    let_go(server); /* the handlers answer with their retriable errors */
}

static void restored_work(struct mr_job *job)
{
    struct broker_server *server = mr_container(job, struct broker_server, restored_job);
    char path[BROKER_PATH_BYTES];

    snprintf(path, sizeof(path), "%s/restored", server->storage.folder);
    if (unlink(path) != 0 || mr_folder_sync(server->storage.folder) != MR_OK)
        mr_log(MR_LOG_WARN, "broker", "%s: %s", path, strerror(errno));
}

static void restored_done(struct mr_job *job)
{
    struct broker_server *server = mr_container(job, struct broker_server, restored_job);
    server->restored_clearing = false;
}

/* All that the first start on a restored log has to do is kept. */
static void restored_clear(struct broker_server *server)
{
    if (!server->txns.locked)
        return;
    server->restored_clearing = true;
    server->restored_job = (struct mr_job){restored_work, restored_done, server->loop, {0}};
    mr_disk_submit(server->disk, &server->restored_job);
}

static void recovered(struct broker_txns *txns)
{
    struct broker_server *server = txns->server;
    struct mr_task *task = server->ready_tasks;

    server->ready = true;
    restored_clear(server);
    server->ready_tasks = NULL;
    mr_timer_stop(&server->held_timer);
    broker_groups_start(&server->groups);
    broker_storage_start(&server->storage);
    let_go(server);
    while (task != NULL) {
        struct mr_task *next = task->next;
        task->next = NULL;
        mr_loop_at_turn_end(server->loop, task);
        task = next;
    }
}

struct coordinators_job {
    struct mr_job job;
    struct broker_server *server;
    struct broker_log *offsets, *shares, *state;
    mr_err err;
    char why[512];
};

static void coordinators_work(struct mr_job *job)
{
    struct coordinators_job *load = mr_container(job, struct coordinators_job, job);

    load->err = broker_groups_load(&load->server->groups, load->offsets);
    if (load->err == MR_OK)
        load->err = broker_share_load(&load->server->groups, load->shares);
    if (load->err == MR_OK)
        load->err = broker_txns_load(&load->server->txns, load->state);
    if (load->err != MR_OK)
        snprintf(load->why, sizeof(load->why), "%s", mr_why());
}

static void coordinators_done(struct mr_job *job)
{
    struct coordinators_job *load = mr_container(job, struct coordinators_job, job);
    struct broker_server *server = load->server;

    if (load->err != MR_OK)
        mr_log(MR_LOG_ERROR, "broker", "not ready: %s", load->why);
    else if (!server->closing)
        broker_txns_recover(&server->txns);
    broker_log_unuse(load->offsets);
    broker_log_unuse(load->shares);
    broker_log_unuse(load->state);
    mr_free(load);
}

static void topics_loaded(struct broker_topics *topics, mr_err err)
{
    struct broker_server *server = mr_container(topics, struct broker_server, topics);
    struct coordinators_job *load;

    if (server->closing)
        return;
    if (err != MR_OK) {
        mr_log(MR_LOG_ERROR, "broker", "not ready: %s", topics->load_why);
        return;
    }
    load = mr_new(struct coordinators_job);
    load->job = (struct mr_job){coordinators_work, coordinators_done, server->loop, {0}};
    load->server = server;
    load->offsets = broker_server_internal(server, MR_STR("__consumer_offsets"));
    load->state = broker_server_internal(server, MR_STR("__transaction_state"));
    load->shares = broker_server_internal(server, MR_STR("__share_group_state"));
    load->offsets->users++;
    load->shares->users++;
    load->state->users++;
    mr_disk_submit(server->disk, &load->job);
}

static void idle_begin(struct broker_server *server)
{
    int64_t ms = broker_server_number(server, BROKER_NODE_connections_max_idle_ms);

    if (server->listener != NULL)
        net_listener_idle_us(server->listener, ms < 0 ? 0 : ms * 1000);
    if (server->inside != NULL)
        net_listener_idle_us(server->inside, ms < 0 ? 0 : ms * 1000);
}

static void open_on_loop(struct mr_task *task)
{
    struct broker_server *server = mr_container(task, struct broker_server, open_task);

    idle_begin(server);
    broker_snapshots_begin(&server->snapshots);
    server->topics.loaded = topics_loaded;
    broker_topics_load(&server->topics);
}

/* 10,000 partitions have as many files. */
static void raise_file_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static mr_err advertise_parse(struct broker_server *server, mr_str text)
{
    struct net_address address;
    mr_err err;

    if (text.length == 0)
        return MR_OK;
    err = net_address_parse(text, 1, &address);
    if (err != MR_OK)
        return err;
    snprintf(server->advertise_host, sizeof(server->advertise_host), "%s", address.host);
    server->advertise_port = address.port == 1 ? 0 : address.port;
    return MR_OK;
}

static void server_free(struct broker_server *server)
{
    mr_disk_free(server->lookers);
    broker_groups_fini(&server->groups);
    broker_share_sessions_fini(&server->share_sessions);
    broker_sessions_fini(&server->sessions);
    broker_txns_fini(&server->txns);
    broker_topics_fini(&server->topics);
    broker_security_fini(&server->security);
    broker_node_fini(&server->node);
    broker_answers_fini(server);
    broker_storage_fini(&server->storage);
    net_budget_free(server->receiving);
    while (server->spare != NULL) {
        struct broker_request *request = server->spare;
        server->spare = request->next;
        mr_arena_fini(&request->arena);
        mr_free(request);
    }
    mr_free(server);
}

static void budget_make(struct broker_server *server)
{
    int64_t bytes = broker_server_number(server, BROKER_NODE_queued_max_request_bytes);

    server->receiving = net_budget_new(server->loop, bytes < 0 ? SIZE_MAX / 2 : (size_t)bytes);
}

/* Both ports let the same people in, and take their requests into the same room. */
static void guard(struct broker_server *server, struct net_listener *listener)
{
    if (listener != NULL)
        net_listener_budget(listener, server->receiving);
    if (listener != NULL && server->security.tls != NULL)
        net_listener_tls(listener, server->security.tls);
}

void broker_server_limit_conns(struct broker_server *server)
{
    struct net_listener *listeners[] = {server->listener, server->inside};
    int64_t conns = broker_server_number(server, BROKER_NODE_max_connections);
    int64_t of_one = broker_server_number(server, BROKER_NODE_max_connections_per_ip);

    conns = conns > MR_LIMIT_CONNS ? MR_LIMIT_CONNS : conns;
    for (size_t i = 0; i < mr_count_of(listeners); i++) {
        if (listeners[i] == NULL)
            continue;
        net_listener_conns_max(listeners[i], (size_t)conns);
        /* counting costs a walk, and nobody has more than all */
        net_listener_conns_per_address_max(listeners[i], of_one > conns ? 0 : (size_t)of_one);
    }
}

/* An option that Kafka has as a setting is told as one. */
static mr_err settings_read(struct broker_server *server, const struct broker_options *options)
{
    size_t of_one = options->security.conns_per_address_max;
    char text[32];
    mr_err err = MR_OK;

    snprintf(text, sizeof(text), "%zu", of_one);
    if (of_one > 0)
        err = broker_node_say(&server->node, MR_STR("max.connections.per.ip"), mr_str_from(text));
    return err == MR_OK ? broker_node_start(&server->node, options->settings) : err;
}

mr_err broker_server_open(struct mr_loop *loop, struct mr_disk *disk,
                          const struct broker_options *options, struct broker_server **out)
{
    struct broker_server *server = mr_new(struct broker_server);
    char host[256], clean[BROKER_PATH_BYTES];
    mr_err err;

    server->loop = loop;
    server->disk = disk;
    server->lookers = mr_disk_new(LOOKERS);
    server->held_last = &server->held;
    server->held_timer.run = held_too_long;
    raise_file_limit();
    broker_storage_init(&server->storage, loop, disk, options->folder);
    server->storage.page_cache = options->page_cache;
    server->storage.no_reserve = options->no_reserve;
    if (options->recent_bytes > 0)
        server->storage.recent_bytes_max = options->recent_bytes;
    broker_groups_init(&server->groups, server);
    broker_txns_init(&server->txns, server);
    server->txns.recovered = recovered;
    err = settings_read(server, options);
    if (err == MR_OK)
        err = options->folder.length > 500
                  ? mr_fail(MR_INVALID, "%.*s: a path of at most 500 bytes is expected",
                            MR_STR_ARG(options->folder))
                  : broker_topics_open(&server->topics, &server->storage, &server->node);
    if (err != MR_OK)
        goto out;
    err = advertise_parse(server, options->advertise);
    if (err == MR_OK)
        err = broker_security_open(&server->security, server, &options->security,
                                   mr_str_from(server->storage.folder));
    if (err != MR_OK)
        goto out;
    snprintf(host, sizeof(host), "%.*s", MR_STR_ARG(options->host));
    err = net_listen(loop, host[0] == '\0' ? "127.0.0.1" : host, options->port, &handler_of_clients,
                     server, &server->listener);
    if (err == MR_OK && options->inside_port != 0)
        err = net_listen(loop, host[0] == '\0' ? "127.0.0.1" : host, options->inside_port,
                         &handler_of_clients, server, &server->inside);
    if (err != MR_OK)
        goto out;
    budget_make(server);
    guard(server, server->listener);
    guard(server, server->inside);
    broker_node_apply(server);
    broker_snapshots_open(&server->snapshots, server);
    server->inside_port = options->inside_port;
    snprintf(clean, sizeof(clean), "%s/clean", server->storage.folder);
    unlink(clean); /* from here on a stop is unclean until it says otherwise */
    err = mr_folder_sync(server->storage.folder);
    if (err != MR_OK)
        goto out;
    server->port = net_listener_port(server->listener);
    server->open_task.run = open_on_loop;
    mr_loop_post(loop, &server->open_task);
    *out = server;
    server = NULL;
out:
    if (server != NULL) {
        net_listener_close(server->listener);
        net_listener_close(server->inside);
        broker_snapshots_close(&server->snapshots);
        server_free(server);
    }
    return err;
}

uint16_t broker_server_port(const struct broker_server *server)
{
    return server->port;
}

bool broker_server_ready(const struct broker_server *server)
{
    return server->ready;
}

void broker_server_when_ready(struct broker_server *server, struct mr_task *task)
{
    if (server->ready) {
        mr_loop_at_turn_end(server->loop, task);
        return;
    }
    task->next = server->ready_tasks;
    server->ready_tasks = task;
}

/* ---- stopping ---- */

static void clean_work(struct mr_job *job)
{
    struct broker_server *server = mr_container(job, struct broker_server, clean_job);
    char path[BROKER_PATH_BYTES];

    snprintf(path, sizeof(path), "%s/clean", server->storage.folder);
    if (mr_file_write(path, MR_STR("stopped in order\n"), 0644) != MR_OK)
        mr_log(MR_LOG_WARN, "broker", "%s", mr_why());
}

static void clean_done(struct mr_job *job)
{
    struct broker_server *server = mr_container(job, struct broker_server, clean_job);
    struct mr_task *closed = server->closed;
    struct mr_loop *loop = server->loop;

    server_free(server);
    mr_loop_post(loop, closed);
}

static void close_poll(struct mr_timer *timer)
{
    struct broker_server *server = mr_container(timer, struct broker_server, close_timer);
    bool busy = server->conn_count > 0 || server->topics.loading > 0 || server->topics.writing ||
                server->topics.write_again || server->topics.deleting.count > 0 ||
                server->security.writing || server->security.write_again || server->hashing > 0 ||
                server->stall_count > 0 || server->restored_clearing ||
                broker_snapshots_busy(&server->snapshots) || server->storage.space_checking ||
                server->storage.compactions > 0;
    bool clean = true;

    for (size_t i = 0; i < server->storage.logs.count; i++) {
        struct broker_log *log = server->storage.logs.items[i];
        broker_log_give_up(log);
        broker_checkpoint_begin(log);
        busy = busy || log->users > 0 || log->dirty_listed;
        clean = clean && log->failed == MR_OK;
    }
    if (busy) {
        mr_timer_start(server->loop, &server->close_timer, CLOSE_POLL_US);
        return;
    }
    server->clean_job = (struct mr_job){clean ? clean_work : NULL, clean_done, server->loop, {0}};
    if (clean && server->ready)
        mr_disk_submit(server->disk, &server->clean_job);
    else
        clean_done(&server->clean_job);
}

void broker_server_close(struct broker_server *server, struct mr_task *done)
{
    mr_assert(!server->closing);
    server->closing = true;
    server->closed = done;
    mr_timer_stop(&server->held_timer);
    mr_timer_stop(&server->storage.tick);
    let_go(server);
    net_listener_close(server->listener);
    net_listener_close(server->inside);
    broker_snapshots_close(&server->snapshots);
    server->listener = server->inside = NULL;
    if (server->ready)
        broker_txns_settle(&server->txns);
    server->close_timer.run = close_poll;
    mr_timer_start(server->loop, &server->close_timer, 0);
}
