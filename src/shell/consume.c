/* shell/consume.c: `millrace consume`: records as lines. With --group it is a member of the group: it reads what
 * the group assigns to it, from the group's offsets on, and commits what it has printed: every few seconds, before
 * the group shares anew, and at the end. With --partition besides, it reads that one by hand. */
#include "avro/avro.h"
#include "schemas/schemas.h"
#include "shell/room.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum { COMMIT_US = 5000000 };

/* What the fetcher told waits here: asking turns the loop, which may tell more. */
struct told {
    struct kafka_fetched *fetched;
    struct told *next;
};
struct queue {
    struct told *first, **last;
};

struct consuming {
    struct shell *shell;
    struct kafka_fetcher *fetcher;
    struct queue queue;
    struct kafka_member *member; /* NULL: partitions by hand */
    int32_t *assigned;           /* what the group has told, until it is taken */
    size_t assigned_count;
    bool assigned_news, revoked; /* told, not done yet: in this order at most once each */
    bool commit_due;
    struct mr_timer commits;
    int64_t uncommitted; /* records since the last commit */
    int64_t start;       /* for a partition without an offset */
    bool said;           /* by --offset, which counts more than the group's */
    bool grouped;
    struct schemas_client *schemas;
    mr_str topic;
    struct kafka_offset *offsets; /* where each partition that is read goes on */
    size_t count;
    struct mr_arena arena; /* of a batch */
    struct mr_buf line;
    int64_t records, records_max, timeout_ms;
    bool ended;
    mr_err err;
    char why[512];
    struct mr_timer quiet;
    struct mr_watch signals;
    bool print_key, print_value, print_timestamp, print_partition, print_offset, print_headers;
    mr_str key_separator, line_separator, headers_separator, null_literal, registry;
};

static void end(struct consuming *consuming, mr_err err)
{
    if (!consuming->ended)
        snprintf(consuming->why, sizeof consuming->why, "%s", err == MR_OK ? "" : mr_why());
    consuming->err = consuming->ended ? consuming->err : err;
    consuming->ended = true;
}

/* ---- a record as a line ---- */

static void column(struct consuming *consuming)
{
    if (consuming->line.length > 0)
        mr_buf_str(&consuming->line, consuming->key_separator);
}

static void print_text(struct consuming *consuming, mr_str text)
{
    mr_buf_str(&consuming->line, text.data == NULL ? consuming->null_literal : text);
}

static void print_headers(struct consuming *consuming, const struct kafka_record *record)
{
    mr_str rest = record->headers, key, value;
    bool first = true;
    column(consuming);
    if (record->header_count == 0)
        mr_buf_cstr(&consuming->line, "NO_HEADERS");
    while (kafka_records_header(&rest, &key, &value)) {
        if (!first)
            mr_buf_str(&consuming->line, consuming->headers_separator);
        mr_buf_str(&consuming->line, key);
        mr_buf_u8(&consuming->line, ':');
        print_text(consuming, value);
        first = false;
    }
}

struct schema_wait {
    struct schemas_request request;
    bool done;
};

static void schema_told(struct schemas_request *request)
{
    mr_container(request, struct schema_wait, request)->done = true;
}

/* Avro in Confluent's frame as JSON; anything else as it is. */
static mr_err print_value(struct consuming *consuming, mr_str value)
{
    mr_str body = value;
    int32_t id = -1;
    if (consuming->schemas == NULL || value.length < 5 || value.data[0] != 0 ||
        avro_take_frame(&body, &id) != MR_OK) {
        print_text(consuming, value);
        return MR_OK;
    }
    const struct schemas_schema *schema = schemas_client_known(consuming->schemas, id);
    if (schema == NULL) {
        struct schema_wait wait = {.request.done = schema_told};
        schemas_client_get(consuming->schemas, id, &wait.request);
        shell_wait(consuming->shell, &wait.done);
        if (wait.request.err != MR_OK)
            return mr_fail(wait.request.err, "schema %d: %s", id, wait.request.why);
        schema = wait.request.schema;
    }
    if (schema->avro == NULL) {
        print_text(consuming, value);
        return MR_OK;
    }
    return avro_print_json(avro_schema_root(schema->avro), body, &consuming->line);
}

static mr_err print(struct consuming *consuming, int32_t partition,
                    const struct kafka_record *record)
{
    mr_err err = MR_OK;
    mr_buf_clear(&consuming->line);
    if (consuming->print_timestamp)
        mr_buf_printf(&consuming->line, "CreateTime:%lld", (long long)record->timestamp);
    if (consuming->print_partition) {
        column(consuming);
        mr_buf_printf(&consuming->line, "Partition:%d", partition);
    }
    if (consuming->print_offset) {
        column(consuming);
        mr_buf_printf(&consuming->line, "Offset:%lld", (long long)record->offset);
    }
    if (consuming->print_headers)
        print_headers(consuming, record);
    if (consuming->print_key) {
        column(consuming);
        print_text(consuming, record->key);
    }
    if (consuming->print_value) {
        if (consuming->print_key || consuming->line.length > 0)
            mr_buf_str(&consuming->line, consuming->key_separator);
        err = print_value(consuming, record->value);
    }
    mr_buf_str(&consuming->line, consuming->line_separator);
    if (err == MR_OK &&
        fwrite(consuming->line.data, 1, consuming->line.length, stdout) != consuming->line.length)
        err = mr_fail(mr_err_from_errno(errno), "the output cannot be written: %s",
                      strerror(errno));
    return err;
}

/* ---- the records ---- */

static void quiet(struct mr_timer *timer)
{
    end(mr_container(timer, struct consuming, quiet), MR_OK);
}

static void listen_on(struct consuming *consuming)
{
    if (consuming->timeout_ms > 0)
        mr_timer_start(consuming->shell->loop, &consuming->quiet, consuming->timeout_ms * 1000);
}

static void records_told(void *context, struct kafka_fetched *fetched)
{
    struct queue *queue = &((struct consuming *)context)->queue;
    struct told *told = mr_new(struct told);
    told->fetched = fetched;
    *queue->last = told;
    queue->last = &told->next;
}

static void queue_drop(struct queue *queue)
{
    for (struct told *told = queue->first, *next; told != NULL; told = next) {
        next = told->next;
        kafka_fetched_free(told->fetched);
        mr_free(told);
    }
    queue->first = NULL;
    queue->last = &queue->first;
}

static void failed(void *context, mr_str topic, int32_t partition, mr_err err)
{
    (void)context, (void)err;
    fprintf(stderr, "millrace consume: %.*s, partition %d: %s\n", MR_STR_ARG(topic), partition,
            mr_why());
}

static void take(struct consuming *consuming, struct kafka_fetched *fetched)
{
    struct kafka_reader reader;
    struct kafka_record record;
    struct kafka_offset *offset = fetched->tag;
    mr_arena_reset(&consuming->arena);
    kafka_reader_init(&reader, fetched, &consuming->arena);
    while (!consuming->ended && kafka_reader_next(&reader, &record)) {
        mr_err err = print(consuming, fetched->partition, &record);
        if (err != MR_OK) {
            end(consuming, err);
            break;
        }
        offset->offset = record.offset + 1;
        consuming->records++;
        consuming->uncommitted++;
        if (consuming->records_max > 0 && consuming->records >= consuming->records_max)
            end(consuming, MR_OK);
    }
    if (!consuming->ended && reader.err != MR_OK)
        end(consuming, reader.err);
    kafka_reader_fini(&reader);
    listen_on(consuming);
}

static void signalled(struct mr_watch *watch, uint32_t events)
{
    (void)events;
    end(mr_container(watch, struct consuming, signals), MR_OK);
}

/* ---- as a member of a group ---- */

static mr_err commit(struct consuming *consuming)
{
    struct shell *shell = consuming->shell;
    struct shell_call call = {0};
    if (consuming->uncommitted == 0)
        return MR_OK;
    if (consuming->member != NULL)
        kafka_member_commit(consuming->member, consuming->offsets, consuming->count, shell_done,
                            &call);
    else
        kafka_group_commit(shell->kafka, mr_str_from(shell_text(&shell->options.group)),
                           consuming->offsets, consuming->count, shell_done, &call);
    mr_err err = shell_result(shell, &call);
    if (err == MR_OK)
        consuming->uncommitted = 0;
    return err;
}

static void assigned(void *context, const int32_t *partitions, size_t count)
{
    struct consuming *consuming = context;
    consuming->assigned = mr_arena_array(&consuming->shell->arena, int32_t, count + 1);
    if (count > 0)
        memcpy(consuming->assigned, partitions, count * sizeof *partitions);
    consuming->assigned_count = count;
    consuming->assigned_news = true;
}

static void revoked(void *context)
{
    struct consuming *consuming = context;
    consuming->assigned_news = false;
    consuming->revoked = true;
}

static void refused(void *context, mr_err err)
{
    end(context, err);
}

static void commit_timer(struct mr_timer *timer)
{
    mr_container(timer, struct consuming, commits)->commit_due = true;
}

/* The group has these partitions again: nothing of them is printed from here on. */
static void give_back(struct consuming *consuming)
{
    consuming->revoked = false;
    for (size_t i = 0; i < consuming->count; i++)
        kafka_fetcher_unassign(consuming->fetcher, consuming->topic,
                               consuming->offsets[i].partition);
    queue_drop(&consuming->queue);
    if (commit(consuming) != MR_OK) /* its session was over: others print these again */
        fprintf(stderr, "millrace consume: what was printed last is not committed: %s\n", mr_why());
    consuming->count = 0;
    consuming->uncommitted = 0;
    kafka_member_rejoin(consuming->member);
}

static mr_err find_offsets(struct consuming *consuming, const int32_t *partitions, size_t count);

static mr_err take_over(struct consuming *consuming)
{
    consuming->assigned_news = false;
    mr_err err = find_offsets(consuming, consuming->assigned, consuming->assigned_count);
    if (consuming->revoked || err != MR_OK) { /* it was told while we asked */
        consuming->count = 0;
        return err;
    }
    for (size_t i = 0; i < consuming->count; i++)
        kafka_fetcher_assign(consuming->fetcher, consuming->topic, consuming->offsets[i].partition,
                             consuming->offsets[i].offset, &consuming->offsets[i]);
    listen_on(consuming); /* the time in which the group shared does not count */
    return MR_OK;
}

/* What the group has told since the last look. */
static void follow_group(struct consuming *consuming)
{
    mr_err err = MR_OK;
    if (consuming->revoked) {
        give_back(consuming);
    } else if (consuming->assigned_news) {
        err = take_over(consuming);
    } else if (consuming->commit_due) {
        consuming->commit_due = false;
        if (commit(consuming) != MR_OK && !consuming->revoked)
            fprintf(stderr, "millrace consume: not committed yet: %s\n", mr_why());
        mr_timer_start(consuming->shell->loop, &consuming->commits, COMMIT_US);
    }
    if (err != MR_OK)
        end(consuming, err);
}

static mr_err enter_group(struct consuming *consuming)
{
    const struct kafka_member_options options = {
        .group = mr_str_from(shell_text(&consuming->shell->options.group)),
        .topic = consuming->topic,
        .assigned = assigned,
        .revoked = revoked,
        .failed = refused,
        .context = consuming,
    };
    consuming->commits.run = commit_timer;
    mr_timer_start(consuming->shell->loop, &consuming->commits, COMMIT_US);
    return kafka_member_open(consuming->shell->kafka, &options, &consuming->member);
}

/* Others get its partitions at once. */
static void leave_group(struct consuming *consuming)
{
    struct shell_call call = {0};
    if (consuming->member == NULL)
        return;
    mr_timer_stop(&consuming->commits);
    kafka_member_leave(consuming->member, shell_done, &call);
    if (shell_result(consuming->shell, &call) != MR_OK)
        fprintf(stderr, "millrace consume: the group was not told of the end: %s\n", mr_why());
    kafka_member_close(consuming->member);
}

static mr_err read_records(struct consuming *consuming)
{
    struct queue *queue = &consuming->queue;
    const char *isolation = shell_text(&consuming->shell->options.isolation_level);
    struct kafka_fetcher_options options = {
        .read_committed = isolation != NULL && strcmp(isolation, "read_committed") == 0,
        .records = records_told,
        .failed = failed,
        .context = consuming,
    };
    mr_err err = kafka_fetcher_open(consuming->shell->kafka, &options, &consuming->fetcher);
    if (err != MR_OK)
        return err;
    for (size_t i = 0; i < consuming->count; i++)
        kafka_fetcher_assign(consuming->fetcher, consuming->topic, consuming->offsets[i].partition,
                             consuming->offsets[i].offset, &consuming->offsets[i]);
    if (consuming->grouped)
        err = enter_group(consuming);
    else
        listen_on(consuming);
    while (!consuming->ended && err == MR_OK) {
        follow_group(consuming);
        struct told *told = queue->first;
        if (told == NULL && !consuming->ended) {
            fflush(stdout);
            mr_loop_turn(consuming->shell->loop, 1000000);
        }
        if (told == NULL || consuming->ended)
            continue;
        queue->first = told->next;
        queue->last = queue->first == NULL ? &queue->first : queue->last;
        take(consuming, told->fetched);
        kafka_fetched_free(told->fetched);
        mr_free(told);
    }
    kafka_fetcher_close(consuming->fetcher);
    queue_drop(queue);
    return consuming->err == MR_OK ? MR_OK : mr_fail(consuming->err, "%s", consuming->why);
}

/* ---- where to begin ---- */

static mr_err start_read(struct consuming *consuming)
{
    const struct shell_options *options = &consuming->shell->options;
    const char *text = shell_text(&options->offset);
    int64_t *start = &consuming->start;
    *start = options->from_beginning.count > 0 ? KAFKA_OFFSET_EARLIEST : KAFKA_OFFSET_LATEST;
    consuming->said = text != NULL;
    if (text == NULL)
        return MR_OK;
    if (options->partition.count == 0)
        return mr_fail(MR_INVALID, "--offset needs --partition");
    if (strcmp(text, "earliest") == 0)
        *start = KAFKA_OFFSET_EARLIEST;
    else if (strcmp(text, "latest") == 0)
        *start = KAFKA_OFFSET_LATEST;
    else
        return shell_number(&options->offset, "--offset", 0, INT64_MAX, start);
    return MR_OK;
}

/* Every partition that is read gets an offset, so that it is known what to commit: the group's, or where the
 * command line says. */
static mr_err find_offsets(struct consuming *consuming, const int32_t *partitions, size_t count)
{
    struct shell *shell = consuming->shell;
    const char *group = shell_text(&shell->options.group);
    int64_t start = consuming->start;
    struct kafka_offset *held = NULL;
    size_t held_count = 0;
    mr_err err = MR_OK;

    consuming->offsets = mr_arena_array(&shell->arena, struct kafka_offset, count + 1);
    consuming->count = count;
    for (size_t i = 0; i < count; i++)
        consuming->offsets[i] = (struct kafka_offset){consuming->topic, partitions[i], start,
                                                      start < 0 ? start : KAFKA_OFFSET_LATEST};
    if (start < 0 && count > 0)
        err = shell_offsets(shell, consuming->offsets, consuming->count, false);
    if (err == MR_OK && group != NULL && !consuming->said)
        err = shell_group_offsets(shell, mr_str_from(group), &held, &held_count);
    for (size_t i = 0; i < consuming->count; i++)
        for (size_t k = 0; k < held_count; k++)
            if (held[k].partition == consuming->offsets[i].partition &&
                mr_str_equal(held[k].topic, consuming->topic))
                consuming->offsets[i].offset = held[k].offset;
    return err;
}

static mr_err find_starts(struct consuming *consuming)
{
    struct shell *shell = consuming->shell;
    int32_t partitions = 0;
    int64_t only = -1;
    mr_err err = start_read(consuming);
    if (err == MR_OK)
        err = shell_number(&shell->options.partition, "--partition", 0, INT32_MAX, &only);
    if (err == MR_OK)
        err = shell_partitions(shell, consuming->topic, &partitions);
    if (err == MR_OK && only >= partitions)
        err = mr_fail(MR_NOT_FOUND, "topic %.*s has %d partitions; there is no partition %lld",
                      MR_STR_ARG(consuming->topic), partitions, (long long)only);
    if (err != MR_OK)
        return err;
    consuming->grouped = only < 0 && shell_text(&shell->options.group) != NULL;
    if (consuming->grouped) /* the group says which, when it has shared */
        return MR_OK;
    int32_t *read = mr_arena_array(&shell->arena, int32_t, (size_t)partitions + 1);
    size_t count = 0;
    for (int32_t i = 0; i < partitions; i++)
        if (only < 0 || i == only)
            read[count++] = i;
    return find_offsets(consuming, read, count);
}

/* ---- the command ---- */

static mr_err read_property(struct consuming *consuming, const char *text)
{
    mr_str key, value;
    const struct {
        const char *name;
        mr_str *text;
        bool *flag;
    } known[] = {{"print.key", NULL, &consuming->print_key},
                 {"print.value", NULL, &consuming->print_value},
                 {"print.timestamp", NULL, &consuming->print_timestamp},
                 {"print.partition", NULL, &consuming->print_partition},
                 {"print.offset", NULL, &consuming->print_offset},
                 {"print.headers", NULL, &consuming->print_headers},
                 {"key.separator", &consuming->key_separator, NULL},
                 {"line.separator", &consuming->line_separator, NULL},
                 {"headers.separator", &consuming->headers_separator, NULL},
                 {"null.literal", &consuming->null_literal, NULL},
                 {"schema.registry.url", &consuming->registry, NULL}};
    if (!shell_pair(mr_str_from(text), &key, &value))
        return mr_fail(MR_INVALID, "--property %s: expected NAME=VALUE", text);
    for (size_t i = 0; i < mr_count_of(known); i++) {
        if (!mr_str_equal(key, mr_str_from(known[i].name)))
            continue;
        if (known[i].flag != NULL)
            *known[i].flag = mr_str_equal_nocase(value, MR_STR("true"));
        else
            *known[i].text = value;
        return MR_OK;
    }
    return mr_fail(MR_INVALID, "--property %s: there is no such property of lines", text);
}

/* --consumer-property, as the options that say the same; these count more. */
static mr_err read_settings(struct shell_options *options)
{
    for (size_t i = 0; i < options->consumer_property.count; i++) {
        const char *text = options->consumer_property.items[i], *value = strchr(text, '=');
        if (value++ == NULL)
            return mr_fail(MR_INVALID, "--consumer-property %s: expected NAME=VALUE", text);
        mr_str name = mr_str_of(text, (size_t)(value - text) - 1);
        if (mr_str_equal(name, MR_STR("group.id")) && options->group.count == 0)
            *mr_array_add(&options->group) = value;
        else if (mr_str_equal(name, MR_STR("isolation.level")) &&
                 options->isolation_level.count == 0)
            *mr_array_add(&options->isolation_level) = value;
        else if (mr_str_equal(name, MR_STR("auto.offset.reset")) && strcmp(value, "earliest") == 0)
            *mr_array_add(&options->from_beginning) = "";
        else if (!mr_str_equal(name, MR_STR("auto.offset.reset")) &&
                 !mr_str_equal(name, MR_STR("group.id")) &&
                 !mr_str_equal(name, MR_STR("isolation.level")))
            fprintf(stderr, "millrace consume: %.*s is passed over\n", MR_STR_ARG(name));
    }
    return MR_OK;
}

static mr_err read_options(struct consuming *consuming)
{
    mr_err err = read_settings(&consuming->shell->options);
    const struct shell_options *options = &consuming->shell->options;
    const char *isolation = shell_text(&options->isolation_level);
    const char *registry = shell_text(&options->registry);
    consuming->print_value = true;
    consuming->key_separator = MR_STR("\t");
    consuming->line_separator = MR_STR("\n");
    consuming->headers_separator = MR_STR(",");
    consuming->null_literal = MR_STR("null");
    consuming->registry = mr_str_from(registry != NULL ? registry : getenv("MILLRACE_REGISTRY"));
    for (size_t i = 0; i < options->property.count && err == MR_OK; i++)
        err = read_property(consuming, options->property.items[i]);
    for (size_t i = 0; i < options->formatter_property.count && err == MR_OK; i++)
        err = read_property(consuming, options->formatter_property.items[i]);
    if (err == MR_OK && options->topic.count != 1)
        err = mr_fail(MR_INVALID, "expected one --topic");
    if (err == MR_OK && isolation != NULL && strcmp(isolation, "read_committed") != 0 &&
        strcmp(isolation, "read_uncommitted") != 0)
        err = mr_fail(MR_INVALID,
                      "--isolation-level %s: expected read_committed or read_uncommitted",
                      isolation);
    if (err == MR_OK)
        err = shell_number(&options->max_messages, "--max-messages", 1, INT64_MAX,
                           &consuming->records_max);
    if (err == MR_OK)
        err = shell_number(&options->timeout_ms, "--timeout-ms", 1, INT32_MAX,
                           &consuming->timeout_ms);
    consuming->topic = mr_str_from(shell_text(&options->topic));
    return err;
}

static void catch_signals(struct consuming *consuming)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    consuming->signals = (struct mr_watch){
        .ready = signalled, .fd = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC)};
    mr_watch_set(consuming->shell->loop, &consuming->signals, EPOLLIN);
}

static mr_err run(struct shell *shell)
{
    struct consuming consuming = {.shell = shell, .quiet.run = quiet};
    consuming.queue.last = &consuming.queue.first;
    mr_arena_init(&consuming.arena);
    mr_err err = read_options(&consuming);
    if (err == MR_OK && consuming.registry.length > 0) {
        struct schemas_client_options options = {.url = consuming.registry};
        err = schemas_client_new(shell->loop, &options, &consuming.schemas);
    }
    if (err == MR_OK)
        err = find_starts(&consuming);
    if (err == MR_OK) {
        catch_signals(&consuming);
        err = read_records(&consuming);
        mr_timer_stop(&consuming.quiet);
        fprintf(stderr, "Processed a total of %lld messages\n", (long long)consuming.records);
    }
    if (err == MR_OK && shell_text(&shell->options.group) != NULL)
        err = commit(&consuming);
    leave_group(&consuming);
    if (consuming.signals.events != 0) {
        mr_watch_set(shell->loop, &consuming.signals, 0);
        close(consuming.signals.fd);
    }
    schemas_client_free(consuming.schemas);
    mr_buf_fini(&consuming.line);
    mr_arena_fini(&consuming.arena);
    return err;
}

int shell_command_consume(int argc, char **argv)
{
    struct shell shell;
    int status = shell_begin(&shell, "consume", argc, argv);
    return status >= 0 ? status : shell_end(&shell, run(&shell));
}
