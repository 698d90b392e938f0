/* up/look.c: `millrace status`: how the millrace of this machine is.
 *
 *   console asked --answer--> its live view
 *   console asked --no answer--> trouble
 *   console asked --nobody there--> parts asked --all ended, or PATIENCE_US--> the parts that answered
 *
 * A part that runs alone has no console; it is asked in its own protocol what anybody may ask, and so it
 * counts as well that it closes the connection (a log that speaks TLS). With --port that port alone is
 * asked, whoever has it. */
#include "base/base.h"
#include "http/http.h"
#include "net/net.h"
#include "up/options.h"
#include "up/up.h"

#include <stdio.h>

enum { PATIENCE_US = 4000000 };

/* What each part is asked: ApiVersions 0, GET, OPTIONS of version 4, GET. */
static const struct {
    const char *word;
    int port;
    mr_str question;
} rows[] = {
    {"broker", UP_PORT_KAFKA, {"\0\0\0\x12\0\x12\0\0\0\0\0\0\0\x08millrace", 22}},
    {"registry", UP_PORT_REGISTRY, {"GET /config HTTP/1.0\r\n\r\n", 24}},
    {"store", UP_PORT_CASSANDRA, {"\x04\0\0\0\x05\0\0\0\0", 9}},
    {"randomuser", UP_PORT_RANDOMUSER, {"GET /api/?results=1 HTTP/1.0\r\n\r\n", 32}},
};
enum { ROWS = mr_count_of(rows) };

struct look {
    struct mr_loop *loop;
    const char *host;
    struct up_options options;
    struct mr_timer patience;
    struct part {
        struct look *look;
        size_t row;
        uint16_t port;
        bool opened, ended, answers;
    } parts[ROWS];
    size_t open;
    int status;
};

/* ---- a part alone ---- */

static void part_end(struct part *part, bool answers)
{
    if (part->ended)
        return;
    part->ended = true;
    part->answers = answers;
    if (--part->look->open == 0)
        mr_loop_stop(part->look->loop);
}

static void part_opened(struct net_conn *conn)
{
    struct part *part = net_context(conn);
    part->opened = true;
    if (part->look->options.port != NULL) /* somebody takes connections there: no more is known */
        part_end(part, true);
    else
        net_send(conn, rows[part->row].question.data, rows[part->row].question.length);
}

static mr_err part_frame(struct net_conn *conn, mr_str seen, size_t *total)
{
    mr_assert(conn != NULL);
    *total = seen.length;
    return MR_OK;
}

static mr_err part_answered(struct net_conn *conn, struct mr_bytes *owner, mr_str frame)
{
    mr_assert(owner != NULL && frame.length > 0);
    part_end(net_context(conn), true);
    return MR_OK;
}

static void part_closed(struct net_conn *conn, mr_err why)
{
    struct part *part = net_context(conn);
    mr_assert(why != MR_OK);
    part_end(part, part->opened);
}

static const struct net_handler part_handler = {part_opened, part_frame, part_answered, net_nothing,
                                                part_closed};

static void patience_over(struct mr_timer *timer)
{
    mr_loop_stop(mr_container(timer, struct look, patience)->loop);
}

/* MR_INVALID: --port-offset makes no port of it. */
static mr_err parts_ask(struct look *look)
{
    size_t count = look->options.port != NULL ? 1 : ROWS;
    for (size_t i = 0; i < count; i++) {
        struct part *part = &look->parts[i];
        struct net_conn *conn;
        part->look = look;
        part->row = i;
        mr_err err = up_options_port(&look->options, rows[i].port, true, &part->port);
        if (err == MR_OK)
            err = net_connect(look->loop, look->host, part->port, &part_handler, part, &conn);
        if (err != MR_OK)
            return err;
        look->open++;
    }
    look->patience.run = patience_over;
    mr_timer_start(look->loop, &look->patience, PATIENCE_US);
    return MR_OK;
}

static void parts_tell(struct look *look, const char *why)
{
    for (size_t i = 0; i < ROWS; i++) {
        const struct part *part = &look->parts[i];
        if (!part->answers)
            continue;
        printf("%-10s %s:%u answers\n", look->options.port != NULL ? "port" : rows[i].word,
               look->host, part->port);
        look->status = 0;
    }
    if (look->status != 0)
        fprintf(stderr, "millrace status: nothing runs here (%s); `millrace up FILE` starts it\n",
                why);
}

/* ---- everything, by its console ---- */

struct answer {
    struct look *look;
    mr_err err;
    char why[512];
};

static void console_answered(void *context, mr_err err, const struct http_response *response)
{
    struct answer *answer = context;
    answer->err = err;
    if (err == MR_OK) {
        answer->look->status = response->status == 200 ? 0 : 1;
        fwrite(response->body->data, 1, response->body->length, stdout);
    } else {
        snprintf(answer->why, sizeof answer->why, "%s", mr_why());
    }
    mr_loop_stop(answer->look->loop);
}

static mr_err console_ask(struct look *look, struct answer *answer)
{
    struct mr_arena arena = {0};
    uint16_t port;
    mr_err err = up_options_port(&look->options, UP_PORT_CONSOLE, false, &port);
    if (err != MR_OK)
        return err;
    mr_str base = up_options_url(&arena, "http://", look->host, port);
    struct http_client *http = http_client_new(look->loop);
    struct http_request request = {
        .url = mr_arena_printf(&arena, "%.*s/status.txt", MR_STR_ARG(base)).data,
        .timeout_ms = PATIENCE_US / 1000};
    http_start(http, &request, console_answered, answer);
    mr_loop_run(look->loop);
    http_client_free(http);
    mr_arena_fini(&arena);
    return MR_OK;
}

int up_command_status(int argc, char **argv)
{
    struct look look = {.loop = mr_loop_new("status", NULL), .status = 1};
    struct answer answer = {&look, MR_UNREACHABLE, "nobody listens on that port"};
    mr_err err = MR_OK;
    int status = up_options_read("status", argc, argv, &look.options);
    if (status >= 0)
        return status;
    look.host = up_options_near(look.options.host);
    if (look.options.port == NULL)
        err = console_ask(&look, &answer);
    if (err == MR_OK && answer.err == MR_UNREACHABLE)
        err = parts_ask(&look);
    if (err != MR_OK || (answer.err != MR_OK && answer.err != MR_UNREACHABLE)) {
        fprintf(stderr, "millrace status: %s\n", err != MR_OK ? mr_why() : answer.why);
        return err != MR_OK ? 2 : 1;
    }
    if (answer.err == MR_UNREACHABLE) {
        mr_loop_run(look.loop);
        parts_tell(&look, answer.why);
    }
    return look.status;
}
