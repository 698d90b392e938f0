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

/* A question for metrics goes by the log's loop, which alone knows its topics and groups, and back. */
struct scrape {
    struct mr_task task;
    struct up *up;
    struct net_http_exchange *exchange; /* NULL: its client has gone */
    struct mr_buf text;
};

static void scrape_end(struct mr_task *task)
{
    struct scrape *scrape = mr_container(task, struct scrape, task);
    if (scrape->exchange != NULL)
        net_http_respond(scrape->exchange, 200, "text/plain; version=0.0.4; charset=utf-8",
                         mr_buf_as_str(&scrape->text));
    mr_buf_fini(&scrape->text);
    mr_free(scrape);
}

static void scrape_log(struct mr_task *task) /* on the log's loop */
{
    struct scrape *scrape = mr_container(task, struct scrape, task);
    broker_metrics_print(scrape->up->broker, &scrape->text);
    scrape->task.run = scrape_end;
    mr_loop_post(scrape->up->work, &scrape->task);
}

static void metrics(struct up *up, struct net_http_exchange *exchange)
{
    struct scrape *scrape = mr_new(struct scrape);
    scrape->up = up;
    scrape->exchange = exchange;
    mr_counter_print(&scrape->text);
    if (up->broker == NULL || up->stopping != 0) {
        scrape_end(&scrape->task);
        return;
    }
    net_http_exchange_set(exchange, scrape);
    scrape->task.run = scrape_log;
    mr_loop_post(up->log, &scrape->task);
}

static bool is_metrics(const struct net_http_request *request)
{
    return request->segment_count == 1 && mr_str_equal(request->segments[0], MR_STR("metrics"));
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
    else if (is_metrics(request))
        metrics(up, exchange);
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
    struct scrape *scrape = net_http_exchange_get(exchange);
    if (!is_metrics(net_http_request_of(exchange)))
        console_cancelled(up->console, exchange);
    else if (scrape != NULL)
        scrape->exchange = NULL;
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
