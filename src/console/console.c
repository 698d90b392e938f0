/* console/console.c: the page's files, and the way of a question from its path to its answer. */
#include "console/room.h"

#include <stdio.h>

#include "kafka/kafka.h"
#include "schemas/schemas.h"

enum { COUNT_DEFAULT = 50, COUNT_MAX = 500 };

/* ---- files, embedded in the binary ---- */

#define EMBED(symbol, path)                                           \
    __asm__(".pushsection .rodata\n"                                  \
            ".global console_file_" #symbol "\n"                      \
            "console_file_" #symbol ":\n.incbin \"" path "\"\n"       \
            ".global console_file_" #symbol "_end\n"                  \
            "console_file_" #symbol "_end:\n.byte 0\n.popsection\n"); \
    extern const char console_file_##symbol[], console_file_##symbol##_end[];
#define FILE_ROW(symbol, path, type, file) EMBED(symbol, file)
#include "console/files.def"

static const struct file {
    const char *path, *type;
    const char *start, *end;
} files[] = {
#define FILE_ROW(symbol, path, type, file) \
    {path, type, console_file_##symbol, console_file_##symbol##_end},
#include "console/files.def"
};

/* ---- asks ---- */

void console_ask_init(struct console_ask *ask, struct console *console,
                      struct net_http_exchange *exchange, void (*end)(struct console_ask *ask))
{
    ask->console = console;
    ask->exchange = exchange;
    ask->end = end;
    mr_arena_init(&ask->arena);
    net_http_exchange_set(exchange, ask);
    console->open++;
}

void console_ask_done(struct console_ask *ask)
{
    struct console *console = ask->console;
    if (ask->exchange != NULL || ask->under_way > 0)
        return;
    mr_arena_fini(&ask->arena);
    ask->end(ask);
    console->open--;
    if (console->closing && console->open == 0) {
        mr_arena_fini(&console->arena);
        mr_free(console);
    }
}

bool console_ask_back(struct console_ask *ask)
{
    ask->under_way--;
    if (ask->exchange != NULL)
        return false;
    console_ask_done(ask);
    return true;
}

void console_ask_reply(struct console_ask *ask, int status, mr_str json)
{
    struct net_http_exchange *exchange = ask->exchange;
    ask->exchange = NULL;
    net_http_add_header(exchange, "Cache-Control", MR_STR("no-store"));
    net_http_respond(exchange, status, "application/json", json);
}

void console_ask_fail(struct console_ask *ask, mr_err err)
{
    struct mr_buf out = {0};
    mr_buf_cstr(&out, "{\"error\":");
    mr_buf_json(&out, mr_str_from(mr_why()));
    mr_buf_u8(&out, '}');
    console_ask_reply(ask,
                      err == MR_NOT_FOUND ? 404
                      : err == MR_INVALID ? 400
                                          : 503,
                      mr_buf_as_str(&out));
    mr_buf_fini(&out);
}

/* ---- clients, made when first needed ---- */

mr_err console_kafka(struct console *console, struct kafka_client **out)
{
    mr_err err = MR_OK;
    if (console->kafka == NULL)
        err = kafka_client_open_secure(console->loop, console->options.kafka,
                                       MR_STR("millrace-console"), &console->options.kafka_security,
                                       &console->kafka);
    *out = console->kafka;
    return err;
}

mr_err console_schemas(struct console *console, struct schemas_client **out)
{
    mr_err err = MR_OK;
    if (console->schemas == NULL)
        err = schemas_client_new(console->loop, &console->options.registry, &console->schemas);
    *out = console->schemas;
    return err;
}

/* ---- life ---- */

mr_err console_open(struct mr_loop *loop, const struct console_options *options,
                    struct console **out)
{
    struct console *console = mr_new(struct console);
    console->loop = loop;
    mr_arena_init(&console->arena);
    console->options = (struct console_options){
        .kafka = mr_arena_str(&console->arena, options->kafka),
        .kafka_security = kafka_security_copy(&console->arena, &options->kafka_security),
        .cassandra_uses_tls = options->cassandra_uses_tls,
        .cassandra_tls = net_tls_client_copy(&console->arena, &options->cassandra_tls),
        .registry = schemas_client_options_copy(&console->arena, &options->registry),
        .cassandra = mr_arena_str(&console->arena, options->cassandra),
        .cassandra_user = mr_arena_str(&console->arena, options->cassandra_user),
        .cassandra_password = mr_arena_str(&console->arena, options->cassandra_password),
    };
    *out = console;
    return MR_OK;
}

/* The clients' pending calls end first, so that every ask comes back; the last one frees the console. */
void console_close(struct console *console)
{
    if (console == NULL)
        return;
    console->closing = true;
    console->open++;
    kafka_client_close(console->kafka);
    schemas_client_free(console->schemas);
    console_tables_close(console);
    if (--console->open == 0) {
        mr_arena_fini(&console->arena);
        mr_free(console);
    }
}

void console_cancelled(struct console *console, struct net_http_exchange *exchange)
{
    struct console_ask *ask = net_http_exchange_get(exchange);
    (void)console;
    if (ask == NULL)
        return;
    ask->exchange = NULL;
    console_ask_done(ask);
}

/* ---- paths ---- */

static bool serve_file(struct net_http_exchange *exchange, const struct net_http_request *request)
{
    for (size_t i = 0; i < mr_count_of(files); i++) {
        if (!mr_str_equal(request->path, mr_str_from(files[i].path)))
            continue;
        net_http_add_header(exchange, "Content-Security-Policy",
                            MR_STR("default-src 'self'; img-src 'self' data:; style-src 'self'; "
                                   "frame-ancestors 'none'"));
        net_http_add_header(exchange, "X-Content-Type-Options", MR_STR("nosniff"));
        net_http_add_header(exchange, "Cache-Control", MR_STR("no-cache"));
        net_http_respond(exchange, 200, files[i].type,
                         mr_str_of(files[i].start, (size_t)(files[i].end - files[i].start)));
        return true;
    }
    return false;
}

void console_http(struct console *console, struct net_http_exchange *exchange)
{
    const struct net_http_request *request = net_http_request_of(exchange);
    const mr_str *segments = request->segments;
    size_t count = request->segment_count;
    int64_t limit = COUNT_DEFAULT;
    bool get = mr_str_equal(request->method, MR_STR("GET"));
    bool topics = count >= 2 && mr_str_equal(segments[0], MR_STR("console")) &&
                  mr_str_equal(segments[1], MR_STR("topics"));
    bool tables = count >= 2 && mr_str_equal(segments[0], MR_STR("console")) &&
                  mr_str_equal(segments[1], MR_STR("tables"));
    if (mr_str_to_i64(net_http_param(request, "limit"), &limit) != MR_OK || limit < 1)
        limit = COUNT_DEFAULT;
    if (limit > COUNT_MAX)
        limit = COUNT_MAX;
    net_http_exchange_set(exchange, NULL);
    if (!get)
        net_http_respond(exchange, 405, "text/plain; charset=utf-8",
                         MR_STR("only GET is served here\n"));
    else if (topics && count == 2)
        console_topics_list(console, exchange);
    else if (topics && count == 4 && mr_str_equal(segments[3], MR_STR("records")))
        console_topics_records(console, exchange, segments[2], limit);
    else if (tables && count == 2)
        console_tables_list(console, exchange);
    else if (tables && count == 4)
        console_tables_rows(console, exchange, segments[2], segments[3], limit);
    else if (!serve_file(exchange, request))
        net_http_respond(exchange, 404, "text/plain; charset=utf-8",
                         MR_STR("there is no such page\n"));
}
