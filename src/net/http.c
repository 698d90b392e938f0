/* net/http.c: the HTTP server: libmicrohttpd, driven by our loop through its epoll descriptor.
 *
 * An exchange:  READING --whole body--> TOLD --respond in the call--> ANSWERED
 *                                        |--call returns--> WAITING (its connection is suspended)
 *                                        WAITING --respond--> ANSWERED (resumed) | client gone --> GONE
 * While suspended the library does not look at the socket, so we watch it for the client's end. */
#include "net/conn.h"

#include <microhttpd.h>
#include <unistd.h>

enum {
    IDLE_SECONDS = 60,
    BODY_FIRST_BYTES = 4096,
    CONNECTION_MEMORY_BYTES = 65536, /* the library's, for a request's head */
};

enum exchange_state {
    EXCHANGE_READING,
    EXCHANGE_REFUSED, /* the body is too large: its rest is thrown away */
    EXCHANGE_TOLD,
    EXCHANGE_WAITING,
    EXCHANGE_ANSWERED,
    EXCHANGE_GONE,
};

struct net_http {
    struct mr_loop *loop;
    const struct net_http_handler *handler;
    void *context;
    struct MHD_Daemon *daemon;
    struct mr_watch watch;
    struct mr_timer timer;
    struct mr_task turn_end;
    uint16_t port;
    bool running; /* inside MHD_run() */
    bool closed;  /* only its queued task is still to come */
    struct net_http_exchange *first;
};

struct net_http_exchange {
    struct net_http *http;
    struct net_http_exchange *next, *previous;
    enum exchange_state state;
    struct MHD_Connection *connection;
    struct mr_watch gone; /* the client's socket, while suspended */
    struct mr_arena arena;
    struct net_http_request request;
    MR_ARRAY(struct net_http_pair) headers;
    struct mr_buf body;
    void *own;
    MR_ARRAY(struct net_http_pair) added;
    int status;
    struct MHD_Response *response;
};

mr_str net_http_param(const struct net_http_request *request, const char *name)
{
    for (size_t i = 0; i < request->param_count; i++)
        if (mr_str_equal(request->params[i].name, mr_str_from(name)))
            return request->params[i].value;
    return MR_STR_NULL;
}

mr_str net_http_header(const struct net_http_request *request, const char *name)
{
    for (size_t i = 0; i < request->header_count; i++)
        if (mr_str_equal_nocase(request->headers[i].name, mr_str_from(name)))
            return request->headers[i].value;
    return MR_STR_NULL;
}

/* ---- the request's target ---- */

/* %XX to bytes; what is no such pair stays. Never NULL, so that "present and empty" can be told. */
static mr_str decode(struct mr_arena *arena, mr_str text, bool plus_is_blank)
{
    char *out = mr_arena_alloc(arena, text.length + 1);
    size_t length = 0;
    for (size_t i = 0; i < text.length; i++) {
        char c = text.data[i];
        if (c == '%' && text.length - i > 2 && mr_hex_digit(text.data[i + 1]) >= 0 &&
            mr_hex_digit(text.data[i + 2]) >= 0) {
            c = (char)(mr_hex_digit(text.data[i + 1]) << 4 | mr_hex_digit(text.data[i + 2]));
            i += 2;
        } else if (c == '+' && plus_is_blank) {
            c = ' ';
        }
        out[length++] = c;
    }
    out[length] = '\0';
    return mr_str_of(out, length);
}

static size_t count_byte(mr_str text, char byte)
{
    size_t count = 0;
    for (size_t i = 0; i < text.length; i++)
        count += text.data[i] == byte;
    return count;
}

static size_t at_most(size_t count, size_t most)
{
    return count < most ? count : most;
}

static void target_split(struct net_http_exchange *exchange, mr_str target)
{
    struct net_http_request *request = &exchange->request;
    struct mr_arena *arena = &exchange->arena;
    mr_str path, query, part, rest = mr_arena_str(arena, target);
    request->target = rest;
    mr_str_split(&rest, '?', &path);
    query = rest;
    request->path = decode(arena, path, false);
    size_t room = at_most(count_byte(path, '/') + 1, MR_LIMIT_HTTP_HEADERS);
    mr_str *segments = mr_arena_array(arena, mr_str, room);
    while (mr_str_split(&path, '/', &part) && request->segment_count < room)
        if (part.length > 0)
            segments[request->segment_count++] = decode(arena, part, false);
    request->segments = segments;
    room = at_most(count_byte(query, '&') + 1, MR_LIMIT_HTTP_HEADERS);
    struct net_http_pair *params = mr_arena_array(arena, struct net_http_pair, room);
    while (mr_str_split(&query, '&', &part) && request->param_count < room) {
        mr_str name;
        if (part.length == 0 || !mr_str_split(&part, '=', &name))
            continue;
        params[request->param_count++] = (struct net_http_pair){decode(arena, name, true),
                                                                decode(arena, part, true)};
    }
    request->params = params;
}

/* ---- life of an exchange ---- */

static void exchange_free(struct net_http_exchange *exchange)
{
    struct net_http *http = exchange->http;
    if (exchange->previous != NULL)
        exchange->previous->next = exchange->next;
    else
        http->first = exchange->next;
    if (exchange->next != NULL)
        exchange->next->previous = exchange->previous;
    mr_watch_set(http->loop, &exchange->gone, 0);
    if (exchange->response != NULL)
        MHD_destroy_response(exchange->response);
    mr_buf_fini(&exchange->body);
    mr_array_fini(&exchange->headers);
    mr_array_fini(&exchange->added);
    mr_arena_fini(&exchange->arena);
    mr_free(exchange);
}

static void later(struct net_http *http)
{
    mr_loop_at_turn_end(http->loop, &http->turn_end);
}

static void client_gone(struct mr_watch *watch, uint32_t events)
{
    struct net_http_exchange *exchange = mr_container(watch, struct net_http_exchange, gone);
    mr_assert(events != 0 && exchange->state == EXCHANGE_WAITING);
    mr_watch_set(exchange->http->loop, watch, 0);
    exchange->state = EXCHANGE_GONE;
    exchange->http->handler->cancelled(exchange);
    MHD_resume_connection(exchange->connection);
    later(exchange->http);
}

/* The library's: a request has begun; its result becomes the request's own pointer. */
static void *begun(void *cls, const char *uri, struct MHD_Connection *connection)
{
    struct net_http *http = cls;
    struct net_http_exchange *exchange = mr_new(struct net_http_exchange);
    exchange->http = http;
    exchange->connection = connection;
    exchange->gone.ready = client_gone;
    exchange->gone.fd = -1;
    exchange->next = http->first;
    if (http->first != NULL)
        http->first->previous = exchange;
    http->first = exchange;
    target_split(exchange, mr_str_from(uri));
    return exchange;
}

/* The library's: the request is over, well or not. */
static void ended(void *cls, struct MHD_Connection *connection, void **own,
                  enum MHD_RequestTerminationCode code)
{
    struct net_http_exchange *exchange = *own;
    mr_assert(cls != NULL && connection != NULL && (int)code >= 0);
    if (exchange == NULL)
        return;
    if (exchange->state == EXCHANGE_WAITING || exchange->state == EXCHANGE_TOLD)
        exchange->http->handler->cancelled(exchange);
    *own = NULL;
    exchange_free(exchange);
}

static enum MHD_Result header_add(void *cls, enum MHD_ValueKind kind, const char *name,
                                  const char *value)
{
    struct net_http_exchange *exchange = cls;
    mr_assert(kind == MHD_HEADER_KIND);
    if (exchange->headers.count == MR_LIMIT_HTTP_HEADERS)
        return MHD_NO;
    *mr_array_add(&exchange->headers) = (struct net_http_pair){
        mr_arena_str(&exchange->arena, mr_str_from(name)),
        mr_arena_str(&exchange->arena, mr_str_from(value))};
    return MHD_YES;
}

/* ---- answers ---- */

static enum MHD_Result answer_text(struct MHD_Connection *connection, unsigned status,
                                   const char *text)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(
        strlen(text), (void *)(uintptr_t)text, MHD_RESPMEM_PERSISTENT);
    MHD_add_response_header(response, "Content-Type", "text/plain; charset=utf-8");
    enum MHD_Result result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result answer_queue(struct net_http_exchange *exchange)
{
    enum MHD_Result result = MHD_queue_response(exchange->connection, (unsigned)exchange->status,
                                                exchange->response);
    MHD_destroy_response(exchange->response);
    exchange->response = NULL;
    return result;
}

static void respond(struct net_http_exchange *exchange, int status, const char *content_type,
                    struct MHD_Response *response)
{
    mr_assert(exchange->state == EXCHANGE_TOLD || exchange->state == EXCHANGE_WAITING);
    mr_assert(response != NULL);
    if (content_type != NULL)
        MHD_add_response_header(response, "Content-Type", content_type);
    for (size_t i = 0; i < exchange->added.count; i++)
        MHD_add_response_header(response, exchange->added.items[i].name.data,
                                exchange->added.items[i].value.data);
    bool waiting = exchange->state == EXCHANGE_WAITING;
    exchange->status = status;
    exchange->response = response;
    exchange->state = EXCHANGE_ANSWERED;
    if (!waiting)
        return; /* the library's call is still open, and queues it */
    mr_watch_set(exchange->http->loop, &exchange->gone, 0);
    MHD_resume_connection(exchange->connection);
    later(exchange->http);
}

void net_http_add_header(struct net_http_exchange *exchange, const char *name, mr_str value)
{
    *mr_array_add(&exchange->added) = (struct net_http_pair){
        mr_arena_str(&exchange->arena, mr_str_from(name)), mr_arena_str(&exchange->arena, value)};
}

void net_http_respond(struct net_http_exchange *exchange, int status, const char *content_type,
                      mr_str body)
{
    net_http_respond_bytes(exchange, status, content_type, mr_bytes_copy(body.data, body.length));
}

static void body_unref(void *cls)
{
    mr_bytes_unref(cls);
}

void net_http_respond_bytes(struct net_http_exchange *exchange, int status,
                            const char *content_type, struct mr_bytes *body)
{
    respond(exchange, status, content_type,
            MHD_create_response_from_buffer_with_free_callback_cls(body->length, body->data,
                                                                   body_unref, body));
}

/* ---- requests ---- */

static void wait_for_answer(struct net_http_exchange *exchange)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(
        exchange->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    exchange->state = EXCHANGE_WAITING;
    MHD_suspend_connection(exchange->connection);
    exchange->gone.fd = info->connect_fd;
    if (mr_watch_set(exchange->http->loop, &exchange->gone, EPOLLRDHUP) != MR_OK)
        mr_log(MR_LOG_WARN, "net", "an HTTP client is not watched: %s", mr_why());
}

static enum MHD_Result tell(struct net_http_exchange *exchange)
{
    struct net_http_request *request = &exchange->request;
    mr_buf_reserve(&exchange->body, NET_PADDING);
    request->body = mr_buf_as_str(&exchange->body);
    exchange->state = EXCHANGE_TOLD;
    exchange->http->handler->request(exchange, request);
    if (exchange->state == EXCHANGE_ANSWERED)
        return answer_queue(exchange);
    wait_for_answer(exchange);
    return MHD_YES;
}

static void body_add(struct net_http_exchange *exchange, const char *data, size_t length)
{
    if (exchange->state != EXCHANGE_READING)
        return;
    if (length > MR_LIMIT_HTTP_BODY_BYTES - exchange->body.length) {
        exchange->state = EXCHANGE_REFUSED;
        mr_buf_fini(&exchange->body);
        return;
    }
    mr_buf_add(&exchange->body, data, length);
}

/* The library's: told first with the head, then with each piece of the body, then with none. */
static enum MHD_Result handle(void *cls, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *data,
                              size_t *data_bytes, void **own)
{
    struct net_http_exchange *exchange = *own;
    mr_assert(cls != NULL && url != NULL && version != NULL && exchange != NULL);
    if (exchange->request.method.data == NULL) {
        uint64_t length = 0;
        exchange->request.method = mr_arena_str(&exchange->arena, mr_str_from(method));
        MHD_get_connection_values(connection, MHD_HEADER_KIND, header_add, exchange);
        exchange->request.headers = exchange->headers.items;
        exchange->request.header_count = exchange->headers.count;
        mr_str text = net_http_header(&exchange->request, "Content-Length");
        if (mr_str_to_u64(text, &length) == MR_OK && length > MR_LIMIT_HTTP_BODY_BYTES) {
            exchange->state = EXCHANGE_REFUSED;
            return answer_text(connection, MHD_HTTP_CONTENT_TOO_LARGE,
                               "the request's body is too large\n");
        }
        return MHD_YES;
    }
    if (*data_bytes > 0) {
        body_add(exchange, data, *data_bytes);
        *data_bytes = 0;
        return MHD_YES;
    }
    switch (exchange->state) {
    case EXCHANGE_READING:
        return tell(exchange);
    case EXCHANGE_REFUSED:
        return answer_text(connection, MHD_HTTP_CONTENT_TOO_LARGE,
                           "the request's body is too large\n");
    case EXCHANGE_ANSWERED:
        return answer_queue(exchange);
    case EXCHANGE_TOLD:
    case EXCHANGE_WAITING:
    case EXCHANGE_GONE:
        break;
    }
    return MHD_NO; /* closes the connection */
}

/* ---- the library on our loop ---- */

static void run(struct net_http *http)
{
    MHD_UNSIGNED_LONG_LONG wait_ms = 0;
    if (http->running)
        return;
    http->running = true;
    MHD_run(http->daemon);
    http->running = false;
    if (MHD_get_timeout(http->daemon, &wait_ms) == MHD_YES)
        mr_timer_start(http->loop, &http->timer, (int64_t)wait_ms * 1000);
    else
        mr_timer_stop(&http->timer);
}

static void http_ready(struct mr_watch *watch, uint32_t events)
{
    mr_assert(events != 0);
    run(mr_container(watch, struct net_http, watch));
}

static void http_timer(struct mr_timer *timer)
{
    run(mr_container(timer, struct net_http, timer));
}

static void http_turn_end(struct mr_task *task)
{
    struct net_http *http = mr_container(task, struct net_http, turn_end);
    if (http->closed)
        mr_free(http);
    else
        run(http);
}

mr_err net_http_listen(struct mr_loop *loop, const char *host, uint16_t port, unsigned idle_s,
                       const struct net_http_handler *handler, void *context, struct net_http **out)
{
    int fd = -1;
    uint16_t bound = 0;
    mr_err err = net_listener_socket(host, port, &fd, &bound);
    if (err != MR_OK)
        return err;
    struct net_http *http = mr_new(struct net_http);
    http->loop = loop;
    http->handler = handler;
    http->context = context;
    http->port = bound;
    http->watch.ready = http_ready;
    http->watch.fd = -1;
    http->timer.run = http_timer;
    http->turn_end.run = http_turn_end;
    http->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, handle, http,
        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_URI_LOG_CALLBACK, begun, http,
        MHD_OPTION_NOTIFY_COMPLETED, ended, http, MHD_OPTION_CONNECTION_TIMEOUT,
        idle_s == 0 ? (unsigned)IDLE_SECONDS : idle_s, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)MR_LIMIT_CONNS, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)CONNECTION_MEMORY_BYTES, MHD_OPTION_END);
    if (http->daemon == NULL) {
        close(fd);
        mr_free(http);
        return mr_fail(MR_IO, "HTTP on %s:%u: the server does not start", host, bound);
    }
    http->watch.fd = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
    err = mr_watch_set(loop, &http->watch, EPOLLIN);
    if (err != MR_OK) {
        MHD_stop_daemon(http->daemon);
        mr_free(http);
        return err;
    }
    *out = http;
    return MR_OK;
}

void net_http_close(struct net_http *http)
{
    if (http == NULL)
        return;
    mr_assert(!http->running); /* not from inside a request: answer it, and close later */
    for (struct net_http_exchange *one = http->first; one != NULL; one = one->next) {
        if (one->state != EXCHANGE_WAITING)
            continue;
        mr_watch_set(http->loop, &one->gone, 0);
        one->state = EXCHANGE_GONE;
        http->handler->cancelled(one);
        MHD_resume_connection(one->connection); /* the library wants nobody suspended at its end */
    }
    MHD_run(http->daemon);
    mr_watch_set(http->loop, &http->watch, 0);
    mr_timer_stop(&http->timer);
    MHD_stop_daemon(http->daemon);
    mr_assert(http->first == NULL);
    http->closed = true;
    if (!http->turn_end.queued)
        mr_free(http);
}

uint16_t net_http_port(const struct net_http *http)
{
    return http->port;
}

void *net_http_context(const struct net_http_exchange *exchange)
{
    return exchange->http->context;
}

void net_http_exchange_set(struct net_http_exchange *exchange, void *own)
{
    exchange->own = own;
}

void *net_http_exchange_get(const struct net_http_exchange *exchange)
{
    return exchange->own;
}

struct mr_arena *net_http_arena(struct net_http_exchange *exchange)
{
    return &exchange->arena;
}

const struct net_http_request *net_http_request_of(const struct net_http_exchange *exchange)
{
    return &exchange->request;
}
