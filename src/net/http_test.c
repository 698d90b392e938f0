/* net/http_test.c: the promises of net/http.h, told over a stranger's plain socket. */
#include "story.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/net.h"

static struct mr_loop *loop;
static struct net_http *server;
static struct net_http_exchange *held; /* the request that waits for its answer */
static int requests, cancels;
static char last[4096]; /* what the latest request said */

static void show(const struct net_http_request *request)
{
    struct mr_buf out = {0};
    mr_buf_printf(&out, "%.*s %.*s", MR_STR_ARG(request->method), MR_STR_ARG(request->path));
    for (size_t i = 0; i < request->segment_count; i++)
        mr_buf_printf(&out, " /%.*s", MR_STR_ARG(request->segments[i]));
    for (size_t i = 0; i < request->param_count; i++)
        mr_buf_printf(&out, " %.*s=%.*s", MR_STR_ARG(request->params[i].name),
                      MR_STR_ARG(request->params[i].value));
    if (request->body.length > 0)
        mr_buf_printf(&out, " body %zu %.*s", request->body.length,
                      (int)(request->body.length < 100 ? request->body.length : 100),
                      request->body.data);
    mr_buf_u8(&out, 0);
    memcpy(last, out.data, out.length < sizeof last ? out.length : sizeof last - 1);
    mr_buf_fini(&out);
}

static void on_request(struct net_http_exchange *exchange, const struct net_http_request *request)
{
    requests++;
    show(request);
    if (mr_str_equal(request->path, MR_STR("/slow"))) {
        held = exchange;
        net_http_exchange_set(exchange, &held);
        return;
    }
    net_http_add_header(exchange, "X-Context", mr_str_from(net_http_context(exchange)));
    net_http_respond(exchange, 200, "application/json", MR_STR("{\"ok\":true}"));
}

static void on_cancelled(struct net_http_exchange *exchange)
{
    expect(exchange == held);
    expect(net_http_exchange_get(exchange) == &held);
    held = NULL;
    cancels++;
}

static const struct net_http_handler handler = {on_request, on_cancelled};

static int given_client(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(net_http_port(server)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    expect(fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0);
    return fd;
}

static void given_server(unsigned idle_s)
{
    loop = mr_loop_new("test", NULL);
    expect_ok(net_http_listen(loop, "127.0.0.1", 0, idle_s, &handler, "millrace", &server));
}

static void says(int fd, const char *text)
{
    expect_int(write(fd, text, strlen(text)), strlen(text));
}

/* Turns until the answer has `ending` in it or the server closes; returns all that came. */
static mr_str hears(int fd, const char *ending)
{
    static char text[65536];
    size_t length = 0;
    for (int i = 0; i < 5000; i++) {
        mr_loop_turn(loop, 1000);
        ssize_t got = recv(fd, text + length, sizeof text - length, MSG_DONTWAIT);
        length += got > 0 ? (size_t)got : 0;
        if (got == 0 ||
            (ending != NULL && mr_str_find(mr_str_of(text, length), mr_str_from(ending)) >= 0))
            return mr_str_of(text, length);
    }
    story_fail(__FILE__, __LINE__, "no answer with %s in \"%.*s\"", ending, (int)length, text);
}

static void ends(void)
{
    net_http_close(server);
    mr_loop_turn(loop, 0);
    mr_loop_free(loop);
}

STORY("a request is told whole and answered in the call; the connection stays")
{
    given_server(0);
    int fd = given_client();
    for (int i = 0; i < 3; i++) {
        says(fd, "GET /subjects/a%2Fb/versions/?deleted=true&x=1+2%21&empty= HTTP/1.1\r\nHost: "
                 "x\r\n\r\n");
        mr_str answer = hears(fd, "{\"ok\":true}");
        expect(mr_str_starts(answer, MR_STR("HTTP/1.1 200 ")));
        expect(mr_str_find(answer, MR_STR("X-Context: millrace")) > 0);
        expect(mr_str_find(answer, MR_STR("Content-Type: application/json")) > 0);
    }
    expect_str(mr_str_from(last), MR_STR("GET /subjects/a/b/versions/ /subjects /a/b /versions "
                                         "deleted=true x=1 2! empty="));
    expect_int(requests, 3);
    ends();
}

STORY("a body that comes slowly is told once, when it is whole")
{
    given_server(0);
    int fd = given_client();
    says(fd, "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n");
    for (int i = 0; i < 5; i++) {
        for (int turns = 0; turns < 5; turns++)
            mr_loop_turn(loop, 200);
        expect_int(requests, 0);
        says(fd, "b");
    }
    hears(fd, "true");
    expect_str(mr_str_from(last), MR_STR("POST /x /x body 5 bbbbb"));
    says(fd, "PUT /y HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: "
             "chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
    hears(fd, "true");
    expect_str(mr_str_from(last), MR_STR("PUT /y /y body 5 abcde"));
    ends();
}

STORY("a body that is too large is 413, announced or not")
{
    given_server(0);
    int fd = given_client();
    says(fd, "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 16777217\r\n\r\n");
    expect(mr_str_starts(hears(fd, "too large"), MR_STR("HTTP/1.1 413 ")));
    close(fd);
    fd = given_client();
    says(fd, "POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    char *chunk = mr_alloc_zero(1, 65536 + 16);
    memcpy(chunk, "10000\r\n", 7);
    memcpy(chunk + 7 + 65536, "\r\n", 2);
    size_t sent = 0, each = 65536 + 9;
    while (sent < 257 * each) {
        ssize_t put = send(fd, chunk + sent % each, each - sent % each, MSG_DONTWAIT);
        sent += put > 0 ? (size_t)put : 0;
        mr_loop_turn(loop, 0);
    }
    says(fd, "0\r\n\r\n");
    expect(mr_str_starts(hears(fd, "too large"), MR_STR("HTTP/1.1 413 ")));
    expect_int(requests, 0);
    ends();
}

STORY("an answer may come later, and others are served meanwhile")
{
    given_server(0);
    int slow = given_client(), quick = given_client();
    says(slow, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
    while (held == NULL)
        mr_loop_turn(loop, 1000);
    says(quick, "GET /quick HTTP/1.1\r\nHost: x\r\n\r\n");
    hears(quick, "true");
    struct net_http_exchange *exchange = held;
    held = NULL;
    expect_str(net_http_request_of(exchange)->path, MR_STR("/slow"));
    net_http_respond_bytes(exchange, 503, NULL, mr_bytes_copy("later", 5));
    expect(mr_str_starts(hears(slow, "later"), MR_STR("HTTP/1.1 503 ")));
    says(slow, "GET /again HTTP/1.1\r\nHost: x\r\n\r\n");
    hears(slow, "true");
    expect_int(cancels, 0);
    ends();
}

STORY("a client that goes away before its answer is told by cancelled")
{
    given_server(0);
    int fd = given_client();
    says(fd, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
    while (held == NULL)
        mr_loop_turn(loop, 1000);
    close(fd);
    while (cancels == 0)
        mr_loop_turn(loop, 1000);
    for (int i = 0; i < 5; i++)
        mr_loop_turn(loop, 100);
    fd = given_client();
    says(fd, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
    while (held == NULL)
        mr_loop_turn(loop, 1000);
    ends(); /* cancels what waits */
    expect_int(cancels, 2);
}

STORY("closing right after an answer in the same turn is safe")
{
    given_server(0);
    int fd = given_client();
    says(fd, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
    while (held == NULL)
        mr_loop_turn(loop, 1000);
    net_http_respond(held, 200, NULL, MR_STR("bye"));
    net_http_close(server);
    mr_loop_turn(loop, 0);
    mr_loop_free(loop);
    expect_int(cancels, 0);
}

STORY("nonsense is 400, and an idle connection is closed")
{
    given_server(1);
    int fd = given_client(), idle = given_client();
    says(fd, "\x16\x03\x01 nonsense\r\n\r\n");
    mr_str answer = hears(fd, "\r\n\r\n");
    expect(answer.length == 0 || mr_str_starts(answer, MR_STR("HTTP/1.1 4")) ||
           mr_str_starts(answer, MR_STR("HTTP/1.0 4")));
    says(idle, "GET / HT");
    answer = hears(idle, NULL); /* until it closes, perhaps with a 408 */
    expect(answer.length == 0 || mr_str_find(answer, MR_STR(" 408 ")) > 0);
    expect_int(requests, 0);
    ends();
}

STORY("an HTTP port in use is the same sentence as any other")
{
    struct net_http *second = NULL;
    given_server(0);
    expect_err(
        net_http_listen(loop, "127.0.0.1", net_http_port(server), 0, &handler, NULL, &second),
        MR_BUSY);
    expect(mr_str_find(mr_str_from(mr_why()), MR_STR("--port-offset")) > 0);
    ends();
}
