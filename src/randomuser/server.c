/* randomuser/server.c: the API over HTTP: /api/ and /api/1.4/. A page is made some users a turn, so that
 * the largest one does not hold up the loop's other work. */
#include "net/net.h"
#include "randomuser/page.h"
#include "randomuser/randomuser.h"

struct randomuser_server {
    struct mr_loop *loop;
    struct net_http *http;
};
/* One request under way. */
struct visit {
    struct mr_loop *loop;
    struct net_http_exchange *exchange; /* NULL: the client has gone */
    struct randomuser_page page;
    struct mr_buf body;
    struct mr_task task;
};

static void visit_free(struct visit *visit)
{
    randomuser_page_fini(&visit->page);
    mr_buf_fini(&visit->body);
    mr_free(visit);
}

static void answer(struct visit *visit)
{
    static const char *const endings[] = {[RANDOMUSER_JSON] = "json",
                                          [RANDOMUSER_PRETTY] = "json",
                                          [RANDOMUSER_CSV] = "csv",
                                          [RANDOMUSER_YAML] = "yaml",
                                          [RANDOMUSER_XML] = "xml"};
    struct net_http_exchange *exchange = visit->exchange;
    if (visit->page.download)
        net_http_add_header(exchange, "Content-Disposition",
                            mr_arena_printf(net_http_arena(exchange),
                                            "attachment; filename=\"users.%s\"",
                                            endings[visit->page.format]));
    net_http_add_header(exchange, "Access-Control-Allow-Origin", MR_STR("*"));
    net_http_add_header(exchange, "Cache-Control", MR_STR("no-cache"));
    net_http_respond(exchange, visit->page.status, visit->page.content_type,
                     mr_buf_as_str(&visit->body));
    visit_free(visit);
}

static void step(struct mr_task *task)
{
    struct visit *visit = mr_container(task, struct visit, task);
    if (visit->exchange == NULL)
        visit_free(visit);
    else if (randomuser_page_step(&visit->page))
        answer(visit);
    else
        mr_loop_post(visit->loop, &visit->task);
}

static void refuse(struct net_http_exchange *exchange, int status, const char *why)
{
    struct mr_buf body = {0};
    mr_buf_cstr(&body, "{\"error\":");
    mr_buf_json(&body, mr_str_from(why));
    mr_buf_u8(&body, '}');
    net_http_respond(exchange, status, "application/json; charset=utf-8", mr_buf_as_str(&body));
    mr_buf_fini(&body);
}

static bool is_path(const struct net_http_request *request)
{
    if (request->segment_count < 1 || request->segment_count > 2 ||
        !mr_str_equal(request->segments[0], MR_STR("api")))
        return false;
    return request->segment_count == 1 || mr_str_equal(request->segments[1], MR_STR("1.4"));
}

static void on_request(struct net_http_exchange *exchange, const struct net_http_request *request)
{
    struct randomuser_server *server = net_http_context(exchange);
    ptrdiff_t mark = mr_str_find_byte(request->target, '?');
    if (!is_path(request)) {
        refuse(exchange, 404, "expected /api/ or /api/1.4/");
        return;
    }
    if (!mr_str_equal(request->method, MR_STR("GET"))) {
        refuse(exchange, 405, "expected the method GET");
        return;
    }
    struct visit *visit = mr_new(struct visit);
    mr_str query = mark < 0
                       ? MR_STR_NULL
                       : mr_str_slice(request->target, (size_t)mark + 1, request->target.length);
    visit->loop = server->loop;
    visit->exchange = exchange;
    visit->task.run = step;
    net_http_exchange_set(exchange, visit);
    randomuser_page_init(&visit->page, query, mr_clock_wall_us(mr_loop_clock(server->loop)),
                         mr_random_u64(mr_loop_random(server->loop)), &visit->body);
    step(&visit->task);
}

/* A visit whose next step is in the mailbox ends itself there. */
static void on_cancelled(struct net_http_exchange *exchange)
{
    struct visit *visit = net_http_exchange_get(exchange);
    visit->exchange = NULL;
}

mr_err randomuser_server_open(struct mr_loop *loop, const struct randomuser_server_options *options,
                              struct randomuser_server **out)
{
    static const struct net_http_handler handler = {on_request, on_cancelled};
    struct randomuser_server *server = mr_new(struct randomuser_server);
    char *host = mr_copy_cstr(options->host.length > 0 ? options->host : MR_STR("127.0.0.1"));
    server->loop = loop;
    mr_err err = net_http_listen(loop, host, options->port, 0, &handler, server, &server->http);
    mr_free(host);
    if (err != MR_OK) {
        mr_free(server);
        return err;
    }
    *out = server;
    return MR_OK;
}

uint16_t randomuser_server_port(const struct randomuser_server *server)
{
    return net_http_port(server->http);
}

void randomuser_server_close(struct randomuser_server *server)
{
    if (server == NULL)
        return;
    net_http_close(server->http);
    mr_free(server);
}
