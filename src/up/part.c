/* up/part.c: one embedded server alone, and the commands that only print. */
#include "broker/broker.h"
#include "engine/engine.h"
#include "net/http.h"
#include "pipeline/pipeline.h"
#include "randomuser/randomuser.h"
#include "registry/registry.h"
#include "shell/shell.h"
#include "store/store.h"
#include "up/options.h"
#include "up/up.h"

#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* ---- one server on the main thread's loop ---- */

struct part {
    struct up_options options;
    struct broker_security_options security; /* the broker's */
    struct mr_arena arena;
    const char *command, *folder, *host;
    struct mr_loop *loop;
    struct mr_disk *disk;
    uint16_t port;
    struct mr_watch signals;
    struct mr_task closed;
    bool closing;
    void (*close)(struct part *part);
    struct net_http *metrics; /* the broker's; NULL: not wished */
    union {
        struct broker_server *broker;
        struct registry_server *registry;
        struct store_server *store;
        struct randomuser_server *randomuser;
    };
};

static void part_closed(struct mr_task *task)
{
    mr_loop_stop(mr_container(task, struct part, closed)->loop);
}

static void part_signal(struct mr_watch *watch, uint32_t events)
{
    struct part *part = mr_container(watch, struct part, signals);
    struct signalfd_siginfo info;
    (void)events;
    while (read(watch->fd, &info, sizeof info) == sizeof info) {
        if (part->closing)
            _exit(1);
        part->closing = true;
        part->close(part);
    }
}

/* Reads the options and makes loop and disk; -1: go on. */
static int part_begin(struct part *part, const char *command, int argc, char **argv, int port,
                      bool folder)
{
    sigset_t signals;
    int status = up_options_read(command, argc, argv, &part->options);
    if (status >= 0)
        return status;
    part->command = command;
    mr_arena_init(&part->arena);
    mr_err err = up_options_security(&part->options, &part->security);
    bool guarded = strcmp(command, "broker") == 0 &&
                   (part->security.mechanisms.length > 0 ||
                    part->security.tls.clients == NET_TLS_CLIENTS_REQUIRE);
    if (err == MR_OK)
        err = up_options_host(&part->options, guarded, &part->host);
    if (err == MR_OK)
        err = up_options_port(&part->options, port, true, &part->port);
    if (err != MR_OK) {
        fprintf(stderr, "millrace %s: %s\n", command, mr_why());
        return 2;
    }
    if (folder && up_options_folder(&part->options, &part->arena, &part->folder) != MR_OK) {
        fprintf(stderr, "millrace %s: %s\n", command, mr_why());
        return 1;
    }
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    part->loop = mr_loop_new(command, NULL);
    part->disk = mr_disk_new(2);
    part->closed.run = part_closed;
    part->signals = (struct mr_watch){.ready = part_signal,
                                      .fd = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC)};
    mr_watch_set(part->loop, &part->signals, EPOLLIN);
    return -1;
}

static int part_run(struct part *part, mr_err err, uint16_t port)
{
    if (err != MR_OK) {
        fprintf(stderr, "millrace %s: %s\n", part->command, mr_why());
        return err == MR_INVALID ? 2 : 1;
    }
    printf("millrace %s listens on %s:%u%s%s\n", part->command, part->host, port,
           part->folder == NULL ? "" : ", data in ", part->folder == NULL ? "" : part->folder);
    fflush(stdout);
    mr_loop_run(part->loop);
    mr_disk_free(part->disk);
    return 0;
}

static void metrics_request(struct net_http_exchange *exchange,
                            const struct net_http_request *request)
{
    struct part *part = net_http_context(exchange);
    struct mr_buf out = {0};

    if (request->segment_count != 1 || !mr_str_equal(request->segments[0], MR_STR("metrics"))) {
        net_http_respond(exchange, 404, "text/plain; charset=utf-8", MR_STR("see /metrics\n"));
        return;
    }
    mr_counter_print(&out);
    broker_metrics_print(part->broker, &out);
    net_http_respond(exchange, 200, "text/plain; version=0.0.4; charset=utf-8",
                     mr_buf_as_str(&out));
    mr_buf_fini(&out);
}

static void metrics_cancelled(struct net_http_exchange *exchange)
{
    (void)exchange; /* each is answered in its call */
}

static mr_err metrics_listen(struct part *part)
{
    static const struct net_http_handler handler = {.request = metrics_request,
                                                    .cancelled = metrics_cancelled};
    const char *host;
    uint16_t port;
    mr_err err = up_options_metrics(&part->options, &port);

    if (err == MR_OK)
        err = up_options_metrics_host(&part->options, &host);
    if (err != MR_OK || port == 0)
        return err;
    return net_http_listen(part->loop, host, port, 0, &handler, part, &part->metrics);
}

static void broker_close(struct part *part)
{
    net_http_close(part->metrics);
    broker_server_close(part->broker, &part->closed);
}

int up_command_broker(int argc, char **argv)
{
    struct part *part = mr_new(struct part);
    int status = part_begin(part, "broker", argc, argv, UP_PORT_KAFKA, true);
    if (status >= 0)
        return status;
    part->close = broker_close;
    struct broker_options options = {
        .folder = mr_arena_printf(&part->arena, "%s/broker", part->folder),
        .host = mr_str_from(part->host),
        .port = part->port,
        .advertise = mr_str_from(part->options.advertise),
        .page_cache = part->options.page_cache != NULL,
        .security = part->security,
    };
    mr_err err = up_options_inside(&part->options, &options.inside_port);
    if (err == MR_OK)
        err = up_options_log(&part->options, &part->arena, &options.settings);
    if (err == MR_OK)
        err = broker_server_open(part->loop, part->disk, &options, &part->broker);
    if (err == MR_OK)
        err = metrics_listen(part);
    return part_run(part, err, err == MR_OK ? broker_server_port(part->broker) : 0);
}

static void registry_close(struct part *part)
{
    registry_server_close(part->registry, &part->closed);
}

int up_command_registry(int argc, char **argv)
{
    struct part *part = mr_new(struct part);
    int status = part_begin(part, "registry", argc, argv, UP_PORT_REGISTRY, false);
    if (status >= 0)
        return status;
    part->close = registry_close;
    struct registry_server_options options = {
        .host = mr_str_from(part->host),
        .port = part->port,
        .kafka = part->options.kafka == NULL ? MR_STR("127.0.0.1:9092")
                                             : mr_str_from(part->options.kafka),
    };
    mr_str settings[PIPELINE_SETTING_COUNT] = {MR_STR_NULL};
    mr_err err = up_options_settings(&part->options, &part->arena, settings);
    if (err == MR_OK)
        err = up_options_kafka(settings, &options.kafka_security);
    if (err == MR_OK)
        err = registry_server_open(part->loop, &options, &part->registry);
    return part_run(part, err, err == MR_OK ? registry_server_port(part->registry) : 0);
}

static void store_close(struct part *part)
{
    store_server_close(part->store, &part->closed);
}

int up_command_store(int argc, char **argv)
{
    struct part *part = mr_new(struct part);
    int status = part_begin(part, "store", argc, argv, UP_PORT_CASSANDRA, true);
    if (status >= 0)
        return status;
    part->close = store_close;
    struct store_options options = {
        .folder = mr_arena_printf(&part->arena, "%s/store", part->folder).data,
        .host = part->host,
        .port = part->port,
    };
    mr_err err = store_server_open(part->loop, part->disk, &options, &part->store);
    return part_run(part, err, err == MR_OK ? store_server_port(part->store) : 0);
}

static void randomuser_close(struct part *part)
{
    randomuser_server_close(part->randomuser);
    mr_loop_post(part->loop, &part->closed);
}

int up_command_randomuser(int argc, char **argv)
{
    struct part *part = mr_new(struct part);
    int status = part_begin(part, "randomuser", argc, argv, UP_PORT_RANDOMUSER, false);
    if (status >= 0)
        return status;
    part->close = randomuser_close;
    struct randomuser_server_options options = {.host = mr_str_from(part->host),
                                                .port = part->port};
    mr_err err = randomuser_server_open(part->loop, &options, &part->randomuser);
    return part_run(part, err, err == MR_OK ? randomuser_server_port(part->randomuser) : 0);
}

/* ---- what only prints ---- */

static void print_commands(struct mr_buf *out)
{
    mr_buf_cstr(out, "# The command line\n\nPrinted by `millrace docs commands`.\n\n```\n");
    up_options_help(NULL, out);
    mr_buf_cstr(out,
                "```\n\nExit status: 0 all is well; 1 trouble on the way (a port, a disk, a "
                "folder, a server); 2 a wrong "
                "command line or a wrong pipeline file; 3 tests of a pipeline file that fail.\n");
}

static void print_tools(struct mr_buf *out)
{
    static const char *const words[] = {
#define COMMAND(word, function, arguments, about) word,
#include "shell/commands.def"
    };
    mr_buf_cstr(out, "# The log's tools\n\nPrinted by `millrace docs tools`. For any log: ours, or "
                     "Apache Kafka.\n");
    for (size_t i = 0; i < mr_count_of(words); i++) {
        mr_buf_printf(out, "\n## %s\n\n```\n", words[i]);
        shell_help(words[i], out);
        mr_buf_cstr(out, "```\n");
    }
    mr_buf_cstr(out,
                "\nExit status: 0 done; 1 the log refused or is away; 2 a wrong command line.\n");
}

static void print_metrics(struct mr_buf *out)
{
    static const struct {
        const char *name, *kind, *help;
    } rows[] = {
#define COUNTER "counter"
#define GAUGE "gauge"
#define METRIC(id, name, kind, help) {name, kind, help},
#include "base/metrics.def"
#undef COUNTER
#undef GAUGE
    };
    static const struct {
        enum mr_metric metric;
        const char *name;
    } aliases[] = {
#define ALIAS(id, name) {MR_METRIC_##id, name},
#include "base/metrics.def"
    };
    mr_buf_cstr(out, "# Metrics\n\nPrinted by `millrace docs metrics`; served on `/metrics` of the "
                     "console's port, and of `millrace broker --metrics-port`.\n\n| name | kind | "
                     "what it counts |\n|---|---|---|\n");
    for (size_t i = 0; i < mr_count_of(rows); i++)
        mr_buf_printf(out, "| `%s` | %s | %s |\n", rows[i].name, rows[i].kind, rows[i].help);
    mr_buf_cstr(
        out, "\nThe same numbers once more under Kafka's names, for dashboards that there are:\n\n"
             "| name | is |\n|---|---|\n");
    for (size_t i = 0; i < mr_count_of(aliases); i++)
        mr_buf_printf(out, "| `%s` | `%s` |\n", aliases[i].name, rows[aliases[i].metric].name);
    mr_buf_cstr(
        out, "\nThe log's topics, partitions and groups at the moment of asking, by the names of "
             "Kafka's JMX exporter and of kafka-exporter:\n\n| name | labels | what it is "
             "|\n|---|---|---|\n");
    broker_metrics_docs(out);
}

static void print_settings(struct mr_buf *out)
{
    mr_buf_cstr(out, "# Settings of the log\n\nPrinted by `millrace docs settings`.\n\n");
    broker_settings_docs(out);
}

static void print_limits(struct mr_buf *out)
{
    static const struct {
        const char *name;
        long long value;
        const char *text;
    } rows[] = {
#define LIMIT(name, value, text) {#name, value, text},
#include "base/limits.def"
    };
    mr_buf_cstr(out, "# Limits\n\nPrinted by `millrace docs limits`: sizes that a stranger may "
                     "choose, and how far.\n\n| limit | value | of what |\n|---|---|---|\n");
    for (size_t i = 0; i < mr_count_of(rows); i++)
        mr_buf_printf(out, "| `%s` | %lld | %s |\n", rows[i].name, rows[i].value, rows[i].text);
}

int up_command_docs(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*print)(struct mr_buf *out);
    } pages[] = {{"commands", print_commands}, {"limits", print_limits},
                 {"metrics", print_metrics},   {"pipeline", pipeline_print_docs},
                 {"settings", print_settings}, {"sql", sql_print_docs},
                 {"tools", print_tools}};
    for (size_t i = 0; i < mr_count_of(pages); i++) {
        struct mr_buf out = {0};
        if (argc < 1) {
            printf("%s\n", pages[i].name);
        } else if (strcmp(argv[0], pages[i].name) == 0) {
            pages[i].print(&out);
            fwrite(out.data, 1, out.length, stdout);
            mr_buf_fini(&out);
            return 0;
        }
    }
    if (argc >= 1)
        fprintf(stderr, "millrace docs: there is no page `%s`; `millrace docs` lists them\n",
                argv[0]);
    return argc >= 1 ? 2 : 0;
}

int up_command_help(int argc, char **argv)
{
    struct mr_buf out = {0};
    up_options_help(argc > 0 ? argv[0] : NULL, &out);
    fwrite(out.data, 1, out.length, stdout);
    mr_buf_fini(&out);
    return 0;
}

int up_command_version(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    printf("millrace " UP_VERSION "\n");
    return 0;
}
