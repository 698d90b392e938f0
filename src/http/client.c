/* http/client.c: libcurl's multi interface on our loop: it names the descriptors it waits for and one
 * timer; we tell it what happened. A call's end is told from a timer's or descriptor's turn, so never
 * from inside http_start(). */
#include "http/http.h"

#include <curl/curl.h>

enum {
    TIMEOUT_MS = 30000,
    CONNECT_TIMEOUT_MS = 10000,
    CONNECTIONS_KEPT = 16,
    REDIRECTS_MAX = 5,
    HEADERS_MAX = 200,
    PADDING_BYTES = 64, /* of zero, behind a body: simdjson reads past the end */
    BODY_FIRST_BYTES = 16384,
};

struct http_client {
    struct mr_loop *loop;
    CURLM *multi;
    struct mr_timer timer;
    struct http_call *first;
};

struct http_socket {
    struct mr_watch watch;
    struct http_client *client;
};

struct http_call {
    struct http_client *client;
    struct http_call *next, *previous;
    CURL *easy;
    struct curl_slist *sent_headers;
    struct mr_arena arena;
    char *url;
    struct mr_bytes *request_body, *body; /* `body`: length in use */
    size_t bytes_max;
    bool too_large;
    bool ending; /* `done` is being told */
    MR_ARRAY(struct http_header) headers;
    http_done *done;
    void *context;
    char error[CURL_ERROR_SIZE];
};

mr_str http_response_header(const struct http_response *response, const char *name)
{
    for (size_t i = 0; i < response->header_count; i++)
        if (mr_str_equal_nocase(response->headers[i].name, mr_str_from(name)))
            return response->headers[i].value;
    return MR_STR_NULL;
}

int64_t http_retry_after_ms(const struct http_response *response, int64_t wall_us)
{
    mr_str text = mr_str_trim(http_response_header(response, "Retry-After"));
    uint64_t seconds = 0;
    if (text.length == 0)
        return -1;
    if (mr_str_to_u64(text, &seconds) == MR_OK)
        return seconds > 86400 ? 86400000 : (int64_t)seconds * 1000;
    char *copy = mr_copy_cstr(text);
    int64_t date = (int64_t)curl_getdate(copy, NULL);
    mr_free(copy);
    if (date < 0)
        return -1;
    int64_t ms = date * 1000 - wall_us / 1000;
    return ms < 0 ? 0 : ms;
}

/* ---- what arrives ---- */

static size_t on_body(char *data, size_t size, size_t count, void *context)
{
    struct http_call *call = context;
    size_t length = size * count;
    if (length > call->bytes_max - call->body->length) {
        call->too_large = true;
        return 0; /* libcurl gives up the transfer */
    }
    if (length + PADDING_BYTES > call->body->capacity - call->body->length) {
        size_t wish = (call->body->length + length) * 2 + PADDING_BYTES;
        struct mr_bytes *larger = mr_bytes_new(wish);
        memcpy(larger->data, call->body->data, call->body->length);
        larger->length = call->body->length;
        mr_bytes_unref(call->body);
        call->body = larger;
    }
    memcpy(call->body->data + call->body->length, data, length);
    call->body->length += length;
    return length;
}

static size_t on_header(char *data, size_t size, size_t count, void *context)
{
    struct http_call *call = context;
    mr_str line = mr_str_of(data, size * count), name;
    if (mr_str_starts(line,
                      MR_STR("HTTP/"))) { /* a new response: after a redirect, or 100 Continue */
        call->headers.count = 0;
        return size * count;
    }
    mr_str rest = line;
    if (call->headers.count < HEADERS_MAX && mr_str_split(&rest, ':', &name) && rest.data != NULL)
        *mr_array_add(&call->headers) = (struct http_header){
            mr_arena_str(&call->arena, mr_str_trim(name)),
            mr_arena_str(&call->arena, mr_str_trim(rest))};
    return size * count;
}

/* ---- life of a call ---- */

static void call_free(struct http_call *call)
{
    struct http_client *client = call->client;
    curl_multi_remove_handle(client->multi, call->easy);
    curl_easy_cleanup(call->easy);
    curl_slist_free_all(call->sent_headers);
    if (call->previous != NULL)
        call->previous->next = call->next;
    else
        client->first = call->next;
    if (call->next != NULL)
        call->next->previous = call->previous;
    mr_bytes_unref(call->request_body);
    mr_bytes_unref(call->body);
    mr_array_fini(&call->headers);
    mr_arena_fini(&call->arena);
    mr_free(call->url);
    mr_free(call);
}

static mr_err err_of(CURLcode code)
{
    switch ((int)code) {
    case CURLE_OK:
        return MR_OK;
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
        return MR_INVALID;
    case CURLE_OPERATION_TIMEDOUT:
        return MR_TIMEOUT;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
        return MR_AUTH;
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
        return MR_CLOSED;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_SSL_CONNECT_ERROR:
        return MR_UNREACHABLE;
    case CURLE_TOO_MANY_REDIRECTS:
        return MR_LIMIT;
    default:
        return MR_IO;
    }
}

static void call_end(struct http_call *call, CURLcode code)
{
    http_done *done = call->done;
    void *context = call->context;
    mr_err err = err_of(code);
    long status = 0;
    curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
    if (call->too_large)
        err = mr_fail(MR_LIMIT, "%s: the response is larger than %zu bytes", call->url,
                      call->bytes_max);
    else if (err != MR_OK)
        err = mr_fail(err, "%s: %s", call->url,
                      call->error[0] != '\0' ? call->error : curl_easy_strerror(code));
    memset(call->body->data + call->body->length, 0, PADDING_BYTES);
    struct http_response response = {(int)status, call->headers.items, call->headers.count,
                                     call->body};
    call->ending = true;
    done(context, err, err == MR_OK ? &response : NULL);
    call_free(call);
}

static void ends_tell(struct http_client *client)
{
    CURLMsg *message;
    int left = 0;
    while ((message = curl_multi_info_read(client->multi, &left)) != NULL) {
        struct http_call *call = NULL;
        CURLcode code = message->data.result;
        if (message->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&call);
        call_end(call, code);
    }
}

/* ---- libcurl on our loop ---- */

static void socket_ready(struct mr_watch *watch, uint32_t events)
{
    struct http_socket *one = mr_container(watch, struct http_socket, watch);
    struct http_client *client = one->client;
    int running = 0, what = 0;
    what |= (events & EPOLLIN) != 0 ? CURL_CSELECT_IN : 0;
    what |= (events & EPOLLOUT) != 0 ? CURL_CSELECT_OUT : 0;
    what |= (events & (EPOLLERR | EPOLLHUP)) != 0 ? CURL_CSELECT_ERR : 0;
    curl_multi_socket_action(client->multi, watch->fd, what, &running);
    ends_tell(client);
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *context, void *own)
{
    struct http_client *client = context;
    struct http_socket *one = own;
    mr_assert(easy != NULL || what == CURL_POLL_REMOVE);
    if (what == CURL_POLL_REMOVE) {
        if (one != NULL) {
            mr_watch_set(client->loop, &one->watch, 0);
            mr_free(one); /* struck out of this turn's events too */
        }
        curl_multi_assign(client->multi, fd, NULL);
        return 0;
    }
    if (one == NULL) {
        one = mr_new(struct http_socket);
        one->client = client;
        one->watch = (struct mr_watch){.ready = socket_ready, .fd = fd};
        curl_multi_assign(client->multi, fd, one);
    }
    uint32_t events = (what & CURL_POLL_IN) != 0 ? EPOLLIN : 0;
    events |= (what & CURL_POLL_OUT) != 0 ? EPOLLOUT : 0;
    if (mr_watch_set(client->loop, &one->watch, events) != MR_OK)
        mr_log(MR_LOG_WARN, "http", "%s", mr_why());
    return 0;
}

static void timer_due(struct mr_timer *timer)
{
    struct http_client *client = mr_container(timer, struct http_client, timer);
    int running = 0;
    curl_multi_socket_action(client->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    ends_tell(client);
}

static int on_timer(CURLM *multi, long wait_ms, void *context)
{
    struct http_client *client = context;
    mr_assert(multi == client->multi);
    if (wait_ms < 0)
        mr_timer_stop(&client->timer);
    else
        mr_timer_start(client->loop, &client->timer, (int64_t)wait_ms * 1000);
    return 0;
}

/* ---- what the world sees ---- */

struct http_client *http_client_new(struct mr_loop *loop)
{
    curl_global_init(CURL_GLOBAL_DEFAULT); /* counted, and safe to repeat */
    struct http_client *client = mr_new(struct http_client);
    client->loop = loop;
    client->timer.run = timer_due;
    client->multi = curl_multi_init();
    mr_assert(client->multi != NULL);
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
    curl_multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, (long)CONNECTIONS_KEPT);
    return client;
}

void http_client_free(struct http_client *client)
{
    if (client == NULL)
        return;
    while (client->first != NULL)
        call_free(client->first);
    curl_multi_cleanup(client->multi);
    mr_timer_stop(&client->timer);
    mr_free(client);
}

static void headers_set(struct http_call *call, const struct http_request *request)
{
    struct curl_slist *list = NULL;
    for (size_t i = 0; i < request->header_count; i++) {
        const struct http_header *header = &request->headers[i];
        mr_str line = mr_arena_printf(&call->arena,
                                      header->value.length > 0 ? "%.*s: %.*s" : "%.*s;%.*s",
                                      MR_STR_ARG(header->name), MR_STR_ARG(header->value));
        list = curl_slist_append(list, line.data);
    }
    list = curl_slist_append(list, "Expect:"); /* no pause of a second before a body */
    call->sent_headers = list;
    curl_easy_setopt(call->easy, CURLOPT_HTTPHEADER, list);
}

static void method_set(struct http_call *call, const struct http_request *request)
{
    if (request->body.data != NULL) {
        call->request_body = mr_bytes_copy(request->body.data, request->body.length);
        curl_easy_setopt(call->easy, CURLOPT_POST, 1L);
        curl_easy_setopt(call->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.length);
        curl_easy_setopt(call->easy, CURLOPT_POSTFIELDS, (char *)call->request_body->data);
    }
    if (request->method == NULL)
        return;
    if (strcmp(request->method, "HEAD") == 0)
        curl_easy_setopt(call->easy, CURLOPT_NOBODY, 1L);
    else
        curl_easy_setopt(call->easy, CURLOPT_CUSTOMREQUEST, request->method);
}

static void tls_set(struct http_call *call, const struct http_tls *tls)
{
    if (tls->ca != NULL)
        curl_easy_setopt(call->easy, CURLOPT_CAINFO, tls->ca);
    if (tls->cert != NULL)
        curl_easy_setopt(call->easy, CURLOPT_SSLCERT, tls->cert);
    if (tls->key != NULL)
        curl_easy_setopt(call->easy, CURLOPT_SSLKEY, tls->key);
}

struct http_call *http_start(struct http_client *client, const struct http_request *request,
                             http_done *done, void *context)
{
    struct http_call *call = mr_new(struct http_call);
    struct mr_buf shown = {0};
    CURL *easy = call->easy = curl_easy_init();
    mr_assert(easy != NULL);
    call->client = client;
    call->done = done;
    call->context = context;
    call->bytes_max = request->bytes_max > 0 ? request->bytes_max : MR_LIMIT_HTTP_RESPONSE_BYTES;
    call->body = mr_bytes_new(BODY_FIRST_BYTES);
    call->body->length = 0;
    http_url_public(&shown, mr_str_from(request->url));
    call->url = mr_buf_take_cstr(&shown);
    curl_easy_setopt(easy, CURLOPT_URL, request->url);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_PRIVATE, (char *)call);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, call->error);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "");
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "millrace");
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(easy, CURLOPT_MAXREDIRS, (long)REDIRECTS_MAX);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS,
                     (long)(request->timeout_ms == HTTP_NO_TIMEOUT ? 0
                            : request->timeout_ms > 0              ? request->timeout_ms
                                                                   : TIMEOUT_MS));
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_TIMEOUT_MS);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, call);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, call);
    method_set(call, request);
    headers_set(call, request);
    if (request->tls != NULL)
        tls_set(call, request->tls);
    call->next = client->first;
    if (client->first != NULL)
        client->first->previous = call;
    client->first = call;
    CURLMcode added = curl_multi_add_handle(client->multi, easy); /* asks for a timer at once */
    mr_assert(added == CURLM_OK);
    return call;
}

void http_cancel(struct http_call *call)
{
    if (call != NULL && !call->ending)
        call_free(call);
}
