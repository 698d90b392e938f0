/* registry/server.c: requests in, `_schemas` behind.
 *
 *    LOADING --loaded()--> READY --a write fails--> LOADING
 *       | (topic made, producer's topic known, topic read to its end; on trouble again after RETRY_US)
 *
 * Writes go one after the other: a handler looks at the store and says which records make the change;
 * they are produced with acks=all, applied to the store once acknowledged, and only then answered. When
 * nobody knows whether a record was taken, the topic is read anew. While LOADING requests wait, for at
 * most WAIT_US. */
#include "registry/registry.h"

#include "kafka/kafka.h"
#include "registry/call.h"

#include <stdio.h>

enum { WAIT_US = 1000000, RETRY_US = 500000, WRITE_TIMEOUT_MS = 15000 };
#define SCHEMAS_TOPIC MR_STR("_schemas")
#define CONTENT_TYPE "application/vnd.schemaregistry.v1+json"

struct queue {
    struct registry_call *first, **last;
};
struct registry_server {
    struct mr_loop *loop;
    mr_str kafka_address;
    struct net_http *http;
    uint16_t port;
    struct kafka_client *kafka;
    struct kafka_producer *producer;
    struct kafka_producer_topic *topic;
    struct registry_store store;
    bool ready, closing;
    char why[512]; /* loading failed last; empty: not yet */
    int pending;   /* answers that the Kafka client owes us */
    int producing; /* answers that the producer owes us, until it is closed */
    struct queue waiting, writes;
    struct registry_call *writing;
    struct mr_timer retry, patience, end;
    struct mr_task *done;
};

/* ---- queues and answers ---- */
static void push(struct queue *queue, struct registry_call *call)
{
    call->next = NULL;
    *queue->last = call;
    queue->last = &call->next;
}

static struct registry_call *pop(struct queue *queue)
{
    struct registry_call *call = queue->first;

    if (call == NULL)
        return NULL;
    queue->first = call->next;
    if (queue->first == NULL)
        queue->last = &queue->first;
    return call;
}

static bool take_out(struct queue *queue, struct registry_call *call)
{
    for (struct registry_call **at = &queue->first; *at != NULL; at = &(*at)->next) {
        if (*at != call)
            continue;
        *at = call->next;
        if (queue->last == &call->next)
            queue->last = at;
        return true;
    }
    return false;
}

static void call_free(struct registry_call *call)
{
    avro_schema_free(call->avro);
    mr_array_fini(&call->records);
    mr_buf_fini(&call->out);
    mr_arena_fini(&call->arena);
    mr_free(call);
}

static void respond(struct registry_call *call, int status)
{
    if (call->exchange != NULL)
        net_http_respond(call->exchange, status, CONTENT_TYPE, mr_buf_as_str(&call->out));
    call_free(call);
}

/* ---- writing ---- */
static void load(struct registry_server *server);
static void settle(struct registry_server *server);
static void next_write(struct registry_server *server);

static void close_producer(struct registry_server *server)
{
    kafka_producer_close(server->producer);
    server->producer = NULL;
    server->topic = NULL;
    server->producing = 0;
}

static void unready(struct registry_server *server)
{
    server->ready = false;
    if (!server->closing)
        mr_timer_start(server->loop, &server->retry, 0);
}

static void apply(struct registry_server *server, const struct registry_call *call)
{
    for (size_t i = 0; i < call->records.count; i++) {
        mr_err err = registry_store_apply(&server->store, call->records.items[i].key,
                                          call->records.items[i].value);
        mr_assert(err == MR_OK); /* our own records */
    }
}

static void written(void *context, mr_err err)
{
    struct registry_server *server = context;
    struct registry_call *call = server->writing;
    int status = 200;

    server->producing--;
    server->writing = NULL;
    if (err != MR_OK) {
        status = registry_call_fail(
            call, REGISTRY_ERROR_BACKEND,
            "Error in the backend data store: the record was not acknowledged: %s", mr_why());
        unready(server);
    } else {
        apply(server, call);
    }
    respond(call, status);
    if (server->closing)
        settle(server);
    else if (server->ready)
        next_write(server);
}

static mr_err append(struct registry_server *server, const struct registry_call *call)
{
    int64_t now_ms = mr_clock_wall_us(mr_loop_clock(server->loop)) / 1000;
    mr_err err = MR_OK;

    for (size_t i = 0; i < call->records.count && err == MR_OK; i++)
        err = kafka_producer_append(server->topic, 0, now_ms, call->records.items[i].key,
                                    call->records.items[i].value, NULL, 0);
    return err;
}

static void next_write(struct registry_server *server)
{
    struct registry_call *call;

    while (server->writing == NULL && server->ready && (call = pop(&server->writes)) != NULL) {
        int status = call->handler(call);
        if (status != 200 || call->records.count == 0) {
            respond(call, status);
            continue;
        }
        mr_err err = append(server, call);
        if (err != MR_OK) {
            status = registry_call_fail(call, REGISTRY_ERROR_BACKEND,
                                        "Error in the backend data store: %s", mr_why());
            respond(call, status);
            unready(server);
            return;
        }
        server->writing = call;
        server->producing++;
        kafka_producer_flush(server->producer, written, server);
    }
}

static void start(struct registry_server *server, struct registry_call *call)
{
    if (call->writes) {
        push(&server->writes, call);
        next_write(server);
        return;
    }
    int status = call->handler(call);
    respond(call, status);
}

/* ---- loading ---- */
static void retry_later(struct registry_server *server)
{
    if (strcmp(server->why, mr_why()) != 0)
        mr_log(MR_LOG_WARN, "registry", "topic _schemas at %.*s: %s; trying again",
               MR_STR_ARG(server->kafka_address), mr_why());
    snprintf(server->why, sizeof server->why, "%s", mr_why());
    mr_timer_start(server->loop, &server->retry, RETRY_US);
}

/* An answer of the Kafka client has come. True: nothing more is wanted. */
static bool answered(struct registry_server *server, int *owed, mr_err err)
{
    (*owed)--;
    if (server->closing) {
        settle(server);
        return true;
    }
    if (err != MR_OK)
        retry_later(server);
    return err != MR_OK;
}

static void on_record(void *context, int32_t partition, const struct kafka_record *record)
{
    struct registry_server *server = context;

    if (partition != 0 || record->key.data == NULL)
        return;
    if (registry_store_apply(&server->store, record->key, record->value) != MR_OK)
        mr_log(MR_LOG_WARN, "registry", "topic _schemas: a record is passed over: %s", mr_why());
}

static void loaded(void *context, mr_err err)
{
    struct registry_server *server = context;
    struct registry_call *call;

    if (answered(server, &server->pending, err))
        return;
    server->ready = true;
    server->why[0] = '\0';
    while ((call = pop(&server->waiting)) != NULL)
        start(server, call);
    next_write(server);
}

static void found(void *context, mr_err err, struct kafka_producer_topic *topic)
{
    struct registry_server *server = context;

    if (answered(server, &server->producing, err))
        return;
    server->topic = topic;
    registry_store_fini(&server->store);
    server->pending++;
    kafka_read_all(server->kafka, SCHEMAS_TOPIC, on_record, loaded, server);
}

static void made(void *context, mr_err err)
{
    struct registry_server *server = context;
    struct kafka_producer_options options = {.timeout_ms = WRITE_TIMEOUT_MS, .context = server};

    if (answered(server, &server->pending, err))
        return;
    if (kafka_producer_open(server->kafka, &options, &server->producer) != MR_OK) {
        retry_later(server);
        return;
    }
    server->producing++;
    kafka_producer_topic(server->producer, SCHEMAS_TOPIC, found, server);
}

static void load(struct registry_server *server)
{
    static const struct kafka_header configs[] = {{{"cleanup.policy", 14}, {"compact", 7}}};
    struct kafka_new_topic topic = {
        .name = SCHEMAS_TOPIC,
        .partitions = 1,
        .configs = configs,
        .config_count = mr_count_of(configs),
    };

    close_producer(server); /* of an earlier try; here and not in its own answer */
    server->pending++;
    kafka_admin_create_topics(server->kafka, &topic, 1, made, server);
}

static void retry(struct mr_timer *timer)
{
    load(mr_container(timer, struct registry_server, retry));
}

/* ---- requests ---- */
/* Whether a path of the table fits the request's; sets what the path names. */
static bool fits(struct registry_call *call, mr_str path)
{
    const struct net_http_request *request = call->request;
    mr_str part;
    size_t count = 0;

    path = mr_str_slice(path, 1, path.length);
    if (path.length == 0)
        return request->segment_count == 0;
    while (mr_str_split(&path, '/', &part)) {
        if (count == request->segment_count)
            return false;
        mr_str segment = request->segments[count++];
        if (mr_str_equal(part, MR_STR("{s}")))
            call->subject = segment;
        else if (mr_str_equal(part, MR_STR("{v}")))
            call->version = segment;
        else if (mr_str_equal(part, MR_STR("{n}")))
            call->number = segment;
        else if (!mr_str_equal(part, segment))
            return false;
    }
    return count == request->segment_count;
}

/* 0, or the status of the answer. */
static int find_route(struct registry_call *call)
{
    static const struct {
        const char *method, *path;
        registry_handler *handler;
        bool writes;
    } table[] = {
#define ROUTE(method, path, handler, writes) {method, path, handler, writes},
#include "registry/routes.def"
    };
    bool path = false;

    for (size_t i = 0; i < mr_count_of(table); i++) {
        call->subject = call->version = call->number = MR_STR_NULL;
        if (!fits(call, mr_str_from(table[i].path)))
            continue;
        path = true;
        if (!mr_str_equal(call->request->method, mr_str_from(table[i].method)))
            continue;
        call->handler = table[i].handler;
        call->writes = table[i].writes;
        return 0;
    }
    if (path)
        return registry_call_fail(call, REGISTRY_ERROR_NO_SUCH_METHOD,
                                  "HTTP 405 Method Not Allowed");
    return registry_call_fail(call, REGISTRY_ERROR_NO_SUCH_PATH, "HTTP 404 Not Found");
}

/* Names outlive the exchange: a write is answered for whoever is still there, but it ends. */
static void keep_names(struct registry_call *call)
{
    if (mr_str_starts(call->subject, MR_STR(":.:"))) /* the default context */
        call->subject = mr_str_slice(call->subject, 3, call->subject.length);
    if (call->subject.data != NULL)
        call->subject = mr_arena_str(&call->arena, call->subject);
}

static void on_request(struct net_http_exchange *exchange, const struct net_http_request *request)
{
    struct registry_server *server = net_http_context(exchange);
    struct registry_call *call = mr_new(struct registry_call);

    call->server = server;
    call->store = &server->store;
    call->kafka = server->kafka_address;
    call->exchange = exchange;
    call->request = request;
    int status = find_route(call);
    if (status == 0 && request->body.length > 0 &&
        json_parse(&call->arena, mr_arena_str(&call->arena, request->body), &call->body) != MR_OK)
        status = registry_call_fail(call, REGISTRY_ERROR_BAD_REQUEST, "%s", mr_why());
    if (status != 0) {
        respond(call, status);
        return;
    }
    keep_names(call);
    net_http_exchange_set(exchange, call);
    if (server->ready) {
        start(server, call);
        return;
    }
    call->deadline_us = mr_loop_now_us(server->loop) + WAIT_US;
    if (server->waiting.first == NULL)
        mr_timer_start(server->loop, &server->patience, WAIT_US);
    push(&server->waiting, call);
}

static void on_cancelled(struct net_http_exchange *exchange)
{
    struct registry_call *call = net_http_exchange_get(exchange);

    if (call == NULL)
        return;
    call->exchange = NULL;
    call->request = NULL;
    if (take_out(&call->server->waiting, call) || take_out(&call->server->writes, call))
        call_free(call);
}

/* The oldest waiting requests have waited long enough. */
static void impatient(struct mr_timer *timer)
{
    struct registry_server *server = mr_container(timer, struct registry_server, patience);
    int64_t now_us = mr_loop_now_us(server->loop);

    while (server->waiting.first != NULL && server->waiting.first->deadline_us <= now_us) {
        struct registry_call *call = pop(&server->waiting);
        int status = registry_call_fail(
            call, REGISTRY_ERROR_NOT_READY,
            "The registry is not ready: it is reading topic _schemas from %.*s",
            MR_STR_ARG(server->kafka_address));
        respond(call, status);
    }
    if (server->waiting.first != NULL)
        mr_timer_start(server->loop, &server->patience,
                       server->waiting.first->deadline_us - now_us);
}

/* ---- life ---- */
static void server_free(struct registry_server *server)
{
    struct registry_call *call;

    while ((call = pop(&server->waiting)) != NULL || (call = pop(&server->writes)) != NULL)
        call_free(call);
    if (server->writing != NULL)
        call_free(server->writing);
    net_http_close(server->http);
    kafka_producer_close(server->producer);
    kafka_client_close(server->kafka);
    registry_store_fini(&server->store);
    mr_free((char *)(uintptr_t)server->kafka_address.data);
    mr_free(server);
}

mr_err registry_server_open(struct mr_loop *loop, const struct registry_server_options *options,
                            struct registry_server **out)
{
    static const struct net_http_handler handler = {on_request, on_cancelled};
    struct registry_server *server = mr_new(struct registry_server);
    char *host = mr_copy_cstr(options->host);

    server->loop = loop;
    server->kafka_address = mr_str_of(mr_copy_cstr(options->kafka), options->kafka.length);
    server->waiting.last = &server->waiting.first;
    server->writes.last = &server->writes.first;
    server->retry.run = retry;
    server->patience.run = impatient;
    mr_err err = net_http_listen(loop, host, options->port, 0, &handler, server, &server->http);
    if (err == MR_OK)
        err = kafka_client_open_secure(loop, options->kafka, MR_STR("millrace-registry"),
                                       &options->kafka_security, &server->kafka);
    mr_free(host);
    if (err != MR_OK) {
        server_free(server);
        return err;
    }
    server->port = net_http_port(server->http);
    mr_timer_start(loop, &server->retry, 0);
    *out = server;
    return MR_OK;
}

uint16_t registry_server_port(const struct registry_server *server)
{
    return server->port;
}

bool registry_server_ready(const struct registry_server *server)
{
    return server->ready;
}

const char *registry_server_why(const struct registry_server *server)
{
    return kafka_client_trouble(server->kafka) == MR_OK ? server->why : mr_why();
}

/* Closing, and an answer has come: looked at on a fresh stack. */
static void settle(struct registry_server *server)
{
    if (server->pending + server->producing == 0)
        mr_timer_start(server->loop, &server->end, 0);
}

/* Nothing is waited for any more. What is open now is ended; the Kafka client still tells each of it. */
static void give_up(struct mr_timer *timer)
{
    struct registry_server *server = mr_container(timer, struct registry_server, end);
    struct kafka_client *kafka = server->kafka;
    struct mr_task *done = server->done;
    struct mr_loop *loop = server->loop;

    close_producer(server);
    server->kafka = NULL;
    kafka_client_close(kafka);
    if (server->pending > 0)
        return;
    server_free(server);
    if (done != NULL)
        mr_loop_post(loop, done);
}

void registry_server_close(struct registry_server *server, struct mr_task *done)
{
    mr_assert(!server->closing);
    server->closing = true;
    server->ready = false;
    server->done = done;
    server->end.run = give_up;
    mr_timer_stop(&server->retry);
    mr_timer_stop(&server->patience);
    net_http_close(server->http);
    server->http = NULL;
    /* An open write may end; anything else is given up at once. */
    mr_timer_start(server->loop, &server->end, server->writing != NULL ? WAIT_US : 0);
}
