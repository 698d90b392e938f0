/* up/web.c: port 8080: health, metrics and the state as JSON here; Airflow's paths by the scheduler; all
 * else by the console. */
#include "up/run.h"

static void health(struct up *up, struct net_http_exchange *exchange)
{
    struct mr_buf reasons = {0};
    up_stages_reasons(up, &reasons);
    if (reasons.length == 0)
        net_http_respond(exchange, 200, "text/plain; charset=utf-8", MR_STR("ready\n"));
    else
        net_http_respond(exchange, 503, "text/plain; charset=utf-8", mr_buf_as_str(&reasons));
    mr_buf_fini(&reasons);
}

static void metrics(struct net_http_exchange *exchange)
{
    struct mr_buf out = {0};
    mr_counter_print(&out);
    net_http_respond(exchange, 200, "text/plain; version=0.0.4; charset=utf-8",
                     mr_buf_as_str(&out));
    mr_buf_fini(&out);
}

static void status(struct up *up, struct net_http_exchange *exchange)
{
    struct mr_buf out = {0};
    up_status_json(up, &out);
    net_http_add_header(exchange, "Cache-Control", MR_STR("no-store"));
    net_http_respond(exchange, 200, "application/json", mr_buf_as_str(&out));
    mr_buf_fini(&out);
}

static void status_text(struct up *up, struct net_http_exchange *exchange)
{
    struct mr_buf out = {0}, reasons = {0};
    up_status_text(up, false, &out);
    up_stages_reasons(up, &reasons);
    net_http_add_header(exchange, "Cache-Control", MR_STR("no-store"));
    net_http_respond(exchange, reasons.length == 0 ? 200 : 503, "text/plain; charset=utf-8",
                     mr_buf_as_str(&out));
    mr_buf_fini(&reasons);
    mr_buf_fini(&out);
}

static void on_request(struct net_http_exchange *exchange, const struct net_http_request *request)
{
    struct up *up = net_http_context(exchange);
    bool one = request->segment_count == 1;
    if (one && mr_str_equal(request->segments[0], MR_STR("health")))
        health(up, exchange);
    else if (one && mr_str_equal(request->segments[0], MR_STR("metrics")))
        metrics(exchange);
    else if (one && mr_str_equal(request->segments[0], MR_STR("status.json")))
        status(up, exchange);
    else if (one && mr_str_equal(request->segments[0], MR_STR("status.txt")))
        status_text(up, exchange);
    else if (up->scheduler == NULL && request->segment_count > 0 &&
             mr_str_equal(request->segments[0], MR_STR("api")))
        net_http_respond(exchange, 503, "text/plain; charset=utf-8",
                         MR_STR("the scheduler is starting\n"));
    else if (up->scheduler == NULL || !scheduler_http(up->scheduler, exchange))
        console_http(up->console, exchange);
}

static void on_cancelled(struct net_http_exchange *exchange)
{
    struct up *up = net_http_context(exchange);
    console_cancelled(up->console, exchange);
}

mr_err up_web_open(struct up *up)
{
    static const struct net_http_handler handler = {.request = on_request,
                                                    .cancelled = on_cancelled};
    uint16_t port;
    struct console_options options = {
        .kafka = up->seams[UP_KAFKA].address,
        .kafka_security = up->kafka_security,
        .cassandra_uses_tls = up->cassandra_uses_tls,
        .cassandra_tls = up->cassandra_tls,
        .registry = up_seams_registry(up),
        .cassandra_user = up->settings[PIPELINE_SETTING_cassandra_user],
        .cassandra_password = up->settings[PIPELINE_SETTING_cassandra_password],
        .cassandra = up->seams[UP_CASSANDRA].needed ? up->seams[UP_CASSANDRA].address : MR_STR_NULL,
    };
    mr_err err = up_options_port(&up->options, UP_PORT_CONSOLE, false, &port);
    if (err == MR_OK)
        err = console_open(up->work, &options, &up->console);
    if (err == MR_OK)
        err = net_http_listen(up->work, up->host, port, 0, &handler, up, &up->http);
    if (err == MR_OK)
        up->console_port = net_http_port(up->http);
    return err;
}
