/* fuzz/http.c: a client that sends anything at all to our HTTP server: what it is told must hold the
 * header's promises, and the server must live. */
#include <stdlib.h>
#include <sys/socket.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <unistd.h>

#include "net/net.h"

static struct mr_loop *loop;
static struct net_http *server;

static void on_request(struct net_http_exchange *exchange, const struct net_http_request *request)
{
    struct mr_buf out = {0};
    mr_assert(request->method.length > 0 && request->segment_count <= MR_LIMIT_HTTP_HEADERS);
    mr_assert(request->param_count <= MR_LIMIT_HTTP_HEADERS);
    mr_buf_json(&out, request->path);
    for (size_t i = 0; i < request->segment_count; i++)
        mr_buf_json(&out, request->segments[i]);
    for (size_t i = 0; i < request->param_count; i++) {
        mr_buf_json(&out, request->params[i].name);
        mr_buf_json(&out, request->params[i].value);
    }
    mr_buf_json(&out, request->body);
    net_http_respond(exchange, 200, "text/plain", mr_buf_as_str(&out));
    mr_buf_fini(&out);
}

static void on_cancelled(struct net_http_exchange *exchange)
{
    mr_assert(exchange != NULL);
}

static const struct net_http_handler handler = {on_request, on_cancelled};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
    if (loop == NULL) {
        loop = mr_loop_new("fuzz", NULL);
        mr_err err = net_http_listen(loop, "127.0.0.1", 0, 0, &handler, NULL, &server);
        mr_assert(err == MR_OK);
    }
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(net_http_port(server)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct linger reset = {1, 0}; /* no port is left waiting behind a closed socket */
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0)
        abort();
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    if (length > 0 && send(fd, data, length, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        abort();
    for (int i = 0; i < 4; i++)
        mr_loop_turn(loop, 0);
    close(fd);
    mr_loop_turn(loop, 0);
    return 0;
}
