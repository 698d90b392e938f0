/* http/client_test.c: the promises of http/http.h, told against our own HTTP server. */
#include "story.h"

#include "http/http.h"
#include "net/net.h"

static struct mr_loop *loop;
static struct net_http *server;
static struct http_client *client;
static int requests_seen; /* requests seen */
static char url[200];

static void on_request(struct net_http_exchange *exchange, const struct net_http_request *request)
{
    requests_seen++;
    if (mr_str_equal(request->path, MR_STR("/never")))
        return;
    if (mr_str_equal(request->path, MR_STR("/busy"))) {
        net_http_add_header(exchange, "Retry-After", MR_STR("7"));
        net_http_respond(exchange, 503, "text/plain", MR_STR("later"));
        return;
    }
    if (mr_str_equal(request->path, MR_STR("/moved"))) {
        net_http_add_header(exchange, "Location", MR_STR("/there"));
        net_http_respond(exchange, 302, NULL, MR_STR(""));
        return;
    }
    if (mr_str_equal(request->path, MR_STR("/large"))) {
        struct mr_bytes *body = mr_bytes_new(3000000);
        memset(body->data, 'x', body->length);
        net_http_respond_bytes(exchange, 200, NULL, body);
        return;
    }
    mr_str body = mr_arena_printf(net_http_arena(exchange), "%.*s %.*s [%.*s] %.*s",
                                  MR_STR_ARG(request->method), MR_STR_ARG(request->target),
                                  MR_STR_ARG(net_http_header(request, "X-Mine")),
                                  MR_STR_ARG(request->body));
    net_http_respond(exchange, 200, "text/plain", body);
}

static void on_cancelled(struct net_http_exchange *exchange)
{
    expect(exchange != NULL);
}

static const struct net_http_handler handler = {on_request, on_cancelled};

/* The end of a call. */
struct outcome {
    int told, status;
    mr_err err;
    mr_str body; /* in `bytes` */
    struct mr_bytes *bytes;
    int64_t retry_ms;
    char why[500];
};

static void on_done(void *context, mr_err err, const struct http_response *response)
{
    struct outcome *outcome = context;
    outcome->told++;
    outcome->err = err;
    if (err != MR_OK) {
        expect(response == NULL);
        strncpy(outcome->why, mr_why(), sizeof outcome->why - 1);
        return;
    }
    outcome->status = response->status;
    outcome->bytes = mr_bytes_ref(response->body);
    outcome->body = mr_str_of(response->body->data, response->body->length);
    outcome->retry_ms = http_retry_after_ms(response, 0);
    for (size_t i = 0; i < 64; i++)
        expect_int(response->body->data[response->body->length + i], 0);
}

static void given_both(void)
{
    loop = mr_loop_new("test", NULL);
    client = http_client_new(loop);
    expect_ok(net_http_listen(loop, "127.0.0.1", 0, 0, &handler, NULL, &server));
}

static const char *at(const char *path)
{
    struct mr_buf buf = {0};
    mr_buf_printf(&buf, "http://127.0.0.1:%u%s", net_http_port(server), path);
    mr_buf_u8(&buf, 0);
    memcpy(url, buf.data, buf.length);
    mr_buf_fini(&buf);
    return url;
}

static void wait_for(struct outcome *outcome)
{
    for (int i = 0; i < 10000 && outcome->told == 0; i++)
        mr_loop_turn(loop, 1000);
    expect_int(outcome->told, 1);
}

static struct outcome fetches(struct http_request request)
{
    struct outcome outcome = {0};
    expect(http_start(client, &request, on_done, &outcome) != NULL);
    expect_int(outcome.told, 0);
    wait_for(&outcome);
    return outcome;
}

static void ends(void)
{
    http_client_free(client);
    net_http_close(server);
    mr_loop_turn(loop, 0);
    mr_loop_free(loop);
}

STORY("a GET brings status and body, with zeros behind it")
{
    given_both();
    struct http_header mine = {MR_STR("X-Mine"), MR_STR("yes")};
    struct outcome outcome = fetches(
        (struct http_request){.url = at("/a?b=c"), .headers = &mine, .header_count = 1});
    expect_int(outcome.err, MR_OK);
    expect_int(outcome.status, 200);
    expect_str(outcome.body, MR_STR("GET /a?b=c [yes] "));
    expect_int(outcome.retry_ms, -1);
    mr_bytes_unref(outcome.bytes);
    ends();
}

STORY("methods, bodies, redirects")
{
    given_both();
    struct outcome outcome = fetches(
        (struct http_request){.url = at("/p"), .body = MR_STR("hello")});
    expect_str(outcome.body, MR_STR("POST /p [] hello"));
    outcome = fetches(
        (struct http_request){.method = "PUT", .url = at("/p"), .body = MR_STR("world")});
    expect_str(outcome.body, MR_STR("PUT /p [] world"));
    outcome = fetches((struct http_request){.method = "DELETE", .url = at("/p")});
    expect_str(outcome.body, MR_STR("DELETE /p [] "));
    outcome = fetches((struct http_request){.url = at("/moved")});
    expect_str(outcome.body, MR_STR("GET /there [] "));
    outcome = fetches((struct http_request){.method = "HEAD", .url = at("/p")});
    expect_int(outcome.status, 200);
    expect_int(outcome.body.length, 0);
    ends();
}

STORY("a status of 503 is an answer, with its Retry-After")
{
    given_both();
    struct outcome outcome = fetches((struct http_request){.url = at("/busy")});
    expect_int(outcome.err, MR_OK);
    expect_int(outcome.status, 503);
    expect_int(outcome.retry_ms, 7000);
    ends();
}

STORY("a large body arrives whole, unless it is larger than wanted")
{
    given_both();
    struct outcome outcome = fetches((struct http_request){.url = at("/large")});
    expect_int(outcome.body.length, 3000000);
    outcome = fetches((struct http_request){.url = at("/large"), .bytes_max = 2999999});
    expect_int(outcome.err, MR_LIMIT);
    expect(strstr(outcome.why, "/large: the response is larger than 2999999 bytes") != NULL);
    ends();
}

STORY("silence is a time-out, nobody listening is unreachable, and the password is not shown")
{
    given_both();
    struct outcome outcome = fetches((struct http_request){.url = at("/never"), .timeout_ms = 50});
    expect_int(outcome.err, MR_TIMEOUT);
    expect(strstr(outcome.why, url) != NULL);
    outcome = fetches((struct http_request){.url = "http://ann:secret@127.0.0.1:1/x"});
    expect_int(outcome.err, MR_UNREACHABLE);
    expect(strstr(outcome.why, "http://127.0.0.1:1/x: ") == outcome.why);
    expect(strstr(outcome.why, "secret") == NULL);
    outcome = fetches((struct http_request){.url = "gopher://127.0.0.1/"});
    expect_int(outcome.err, MR_INVALID);
    outcome = fetches((struct http_request){.url = "http://[bad"});
    expect_int(outcome.err, MR_INVALID);
    ends();
}

STORY("a cancelled call is never told")
{
    given_both();
    struct outcome cancelled = {0}, freed = {0};
    struct http_request request = {.url = at("/never")};
    struct http_call *call = http_start(client, &request, on_done, &cancelled);
    expect(http_start(client, &request, on_done, &freed) != NULL);
    while (requests_seen < 2)
        mr_loop_turn(loop, 1000);
    http_cancel(call);
    http_cancel(NULL);
    for (int i = 0; i < 10; i++)
        mr_loop_turn(loop, 100);
    ends();
    expect_int(cancelled.told + freed.told, 0);
}

STORY("fifty calls at once all end")
{
    given_both();
    static struct outcome outcomes[50];
    struct http_request request = {.url = at("/x")};
    for (int i = 0; i < 50; i++)
        http_start(client, &request, on_done, &outcomes[i]);
    for (int i = 0; i < 50; i++)
        wait_for(&outcomes[i]);
    expect_int(outcomes[49].status, 200);
    ends();
}

static void expect_public(const char *given, const char *shown)
{
    struct mr_buf out = {0};
    http_url_public(&out, mr_str_from(given));
    expect_str(mr_buf_as_str(&out), mr_str_from(shown));
    mr_buf_fini(&out);
}

STORY("URLs are shown without user and password, and text is escaped")
{
    struct mr_buf out = {0};
    expect_public("https://ann:p@ss@host:1/a@b?c", "https://host:1/a@b?c");
    expect_public("http://host/a@b", "http://host/a@b");
    expect_public("host", "host");
    http_escape(&out, MR_STR("a b/\xC3\xA9~"));
    expect_str(mr_buf_as_str(&out), MR_STR("a%20b%2F%C3%A9~"));
    mr_buf_fini(&out);
}

STORY("Retry-After may be a date")
{
    struct http_header header = {MR_STR("retry-after"), MR_STR("Sun, 06 Nov 1994 08:49:37 GMT")};
    struct http_response response = {.headers = &header, .header_count = 1};
    expect_int(http_retry_after_ms(&response, 784111776000000), 1000);
    expect_int(http_retry_after_ms(&response, 784111786000000), 0);
    header.value = MR_STR("soon");
    expect_int(http_retry_after_ms(&response, 0), -1);
}
