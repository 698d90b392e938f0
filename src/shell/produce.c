/* shell/produce.c: `millrace produce`: each line of the input is a record. Lines go out in batches as they come,
 * and whenever the input pauses everything is acknowledged before more is read. */
#include "shell/room.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    READ_BYTES = 65536,
    LINE_BYTES_MAX = 64 << 20,
    HEADERS_MAX = 256,
    WISH_TRIES = 20,
    WISH_US = 100000
};

struct producing {
    struct shell *shell;
    struct kafka_producer *producer;
    struct kafka_producer_topic *topic;
    struct shell_call call; /* of the topic */
    struct mr_buf input;
    int64_t line;
    bool parse_key, parse_headers, ignore_error;
    mr_str key_separator, headers_delimiter, headers_separator, header_key_separator, null_marker;
};

/* ---- what a line says ---- */

static bool is_true(mr_str value)
{
    return mr_str_equal_nocase(value, MR_STR("true"));
}

/* "\t" as people write it on a command line. */
static mr_str unescaped(struct mr_arena *arena, mr_str text)
{
    struct mr_buf out = {0};
    for (size_t i = 0; i < text.length; i++) {
        char byte = text.data[i], next = i + 1 < text.length ? text.data[i + 1] : '\0';
        bool escaped = byte == '\\' && (next == 't' || next == 'n' || next == '\\');
        mr_buf_u8(&out, !escaped ? (uint8_t)byte : next == 't' ? '\t' : next == 'n' ? '\n' : '\\');
        i += escaped;
    }
    mr_str copy = mr_arena_str(arena, mr_buf_as_str(&out));
    mr_buf_fini(&out);
    return copy;
}

static mr_err read_property(struct producing *producing, const char *text)
{
    mr_str key, value;
    const struct {
        const char *name;
        mr_str *text;
        bool *flag;
    } known[] = {{"parse.key", NULL, &producing->parse_key},
                 {"parse.headers", NULL, &producing->parse_headers},
                 {"ignore.error", NULL, &producing->ignore_error},
                 {"key.separator", &producing->key_separator, NULL},
                 {"headers.delimiter", &producing->headers_delimiter, NULL},
                 {"headers.separator", &producing->headers_separator, NULL},
                 {"headers.key.separator", &producing->header_key_separator, NULL},
                 {"null.marker", &producing->null_marker, NULL}};
    if (!shell_pair(mr_str_from(text), &key, &value))
        return mr_fail(MR_INVALID, "--property %s: expected NAME=VALUE", text);
    for (size_t i = 0; i < mr_count_of(known); i++) {
        if (!mr_str_equal(key, mr_str_from(known[i].name)))
            continue;
        if (known[i].flag != NULL)
            *known[i].flag = is_true(value);
        else
            *known[i].text = unescaped(&producing->shell->arena, value);
        return MR_OK;
    }
    return mr_fail(MR_INVALID, "--property %s: there is no such property of lines", text);
}

static mr_err read_properties(struct producing *producing)
{
    const struct shell_options *options = &producing->shell->options;
    mr_err err = MR_OK;
    producing->key_separator = producing->headers_delimiter = MR_STR("\t");
    producing->headers_separator = MR_STR(",");
    producing->header_key_separator = MR_STR(":");
    for (size_t i = 0; i < options->property.count && err == MR_OK; i++)
        err = read_property(producing, options->property.items[i]);
    for (size_t i = 0; i < options->reader_property.count && err == MR_OK; i++)
        err = read_property(producing, options->reader_property.items[i]);
    if (err == MR_OK &&
        (producing->key_separator.length == 0 || producing->headers_delimiter.length == 0 ||
         producing->headers_separator.length == 0 || producing->header_key_separator.length == 0))
        err = mr_fail(MR_INVALID, "a separator of lines is empty");
    return err;
}

/* Cuts what is before `separator` off the front. */
static bool cut(mr_str *rest, mr_str separator, mr_str *part)
{
    ptrdiff_t at = mr_str_find(*rest, separator);
    if (at < 0)
        return false;
    *part = mr_str_slice(*rest, 0, (size_t)at);
    *rest = mr_str_slice(*rest, (size_t)at + separator.length, rest->length);
    return true;
}

static mr_str nulled(const struct producing *producing, mr_str text)
{
    return producing->null_marker.length > 0 && mr_str_equal(text, producing->null_marker)
               ? MR_STR_NULL
               : text;
}

static mr_err line_headers(const struct producing *producing, mr_str text,
                           struct kafka_header *headers, size_t *count)
{
    mr_str part;
    while (text.length > 0) {
        if (!cut(&text, producing->headers_separator, &part)) {
            part = text;
            text = MR_STR_NULL;
        }
        if (*count == HEADERS_MAX ||
            !cut(&part, producing->header_key_separator, &headers[*count].key))
            return mr_fail(MR_INVALID, "line %lld: `%.*s` is no header; expected NAME%.*sVALUE",
                           (long long)producing->line, MR_STR_ARG(part),
                           MR_STR_ARG(producing->header_key_separator));
        headers[(*count)++].value = nulled(producing, part);
    }
    return MR_OK;
}

static mr_err put(struct producing *producing, mr_str line)
{
    struct kafka_header headers[HEADERS_MAX];
    size_t count = 0;
    mr_str key = MR_STR_NULL, part;
    mr_err err = MR_OK;
    int64_t now_ms = mr_clock_wall_us(mr_loop_clock(producing->shell->loop)) / 1000;
    producing->line++;
    if (line.length > 0 && line.data[line.length - 1] == '\r')
        line.length--;
    if (producing->parse_headers && cut(&line, producing->headers_delimiter, &part))
        err = line_headers(producing, part, headers, &count);
    if (err == MR_OK && producing->parse_key) {
        if (cut(&line, producing->key_separator, &part))
            key = nulled(producing, part);
        else if (!producing->ignore_error)
            err = mr_fail(MR_INVALID, "line %lld: no key separator (`key.separator`) in it",
                          (long long)producing->line);
    }
    while (err == MR_OK && !kafka_producer_has_room(producing->producer))
        mr_loop_turn(producing->shell->loop, 100000);
    return err == MR_OK ? kafka_producer_append(producing->topic, -1, now_ms, key,
                                                nulled(producing, line), headers, count)
                        : err;
}

/* ---- the input ---- */

static mr_err flush(struct producing *producing)
{
    struct shell_call call = {0};
    kafka_producer_flush(producing->producer, shell_done, &call);
    return shell_result(producing->shell, &call);
}

/* Whole lines of the input go; at its end what is left does too. */
static mr_err take_lines(struct producing *producing, bool end)
{
    mr_str all = mr_buf_as_str(&producing->input), rest = all;
    mr_err err = MR_OK;
    ptrdiff_t at;
    while (err == MR_OK && (at = mr_str_find_byte(rest, '\n')) >= 0) {
        err = put(producing, mr_str_slice(rest, 0, (size_t)at));
        if (err == MR_OK && producing->shell->options.sync.count > 0)
            err = flush(producing);
        rest = mr_str_slice(rest, (size_t)at + 1, rest.length);
    }
    if (err == MR_OK && end && rest.length > 0)
        err = put(producing, rest);
    if (err == MR_OK && rest.length > LINE_BYTES_MAX)
        err = mr_fail(MR_LIMIT, "line %lld is longer than %d MB", (long long)producing->line + 1,
                      LINE_BYTES_MAX >> 20);
    size_t left = end ? 0 : rest.length;
    if (left > 0)
        memmove(producing->input.data, rest.data, left);
    producing->input.length = left;
    return err;
}

static mr_err pump(struct producing *producing)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    mr_err err = MR_OK;
    for (bool end = false; err == MR_OK && !end;) {
        if (poll(&input, 1, 0) == 0)
            err = flush(producing); /* whoever types sees at once whether it went */
        if (err != MR_OK)
            break;
        mr_buf_reserve(&producing->input, READ_BYTES);
        ssize_t got = read(STDIN_FILENO, producing->input.data + producing->input.length,
                           READ_BYTES);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return mr_fail(mr_err_from_errno(errno), "the input cannot be read: %s",
                           strerror(errno));
        producing->input.length += (size_t)got;
        end = got == 0;
        err = take_lines(producing, end);
        mr_loop_turn(producing->shell->loop, 0);
    }
    mr_err flushed = flush(producing); /* what went before a bad line is told by it, not lost */
    return err == MR_OK ? flushed : err;
}

/* ---- the topic: made by the log on its first use, where the log allows that ---- */

static void wish_fill(void *context, int16_t version, struct mr_arena *arena, void *request)
{
    struct kafka_metadata_request *metadata = request;
    (void)version;
    metadata->allow_auto_topic_creation = true;
    metadata->topics.items = mr_arena_array(arena, struct kafka_metadata_request_topic, 1);
    metadata->topics.items[0].name = *(const mr_str *)context;
    metadata->topics.count = 1;
}

static int16_t wish_use(void *context, int16_t version, const void *response)
{
    const struct kafka_metadata_response *metadata = response;
    (void)context, (void)version;
    return metadata->topics.count == 0 ? KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION
                                       : metadata->topics.items[0].error_code;
}

static void topic_told(void *context, mr_err err, struct kafka_producer_topic *topic)
{
    struct producing *producing = context;
    producing->topic = topic;
    shell_done(&producing->call, err);
}

static mr_err open_topic(struct producing *producing)
{
    struct shell *shell = producing->shell;
    mr_str name = mr_str_from(shell_text(&shell->options.topic));
    mr_err err = MR_OK;
    for (int tries = 0; tries < WISH_TRIES; tries++) { /* it is unknown until it has been made */
        err = shell_ask(shell, (struct kafka_target){KAFKA_TARGET_ANY, MR_STR_NULL, 0},
                        KAFKA_API_metadata, wish_fill, wish_use, &name, name.data);
        if (err != MR_NOT_FOUND)
            break;
        shell_pause(shell, WISH_US);
    }
    if (err == MR_NOT_FOUND)
        return mr_fail(err,
                       "topic %s: there is none, and the log makes none by itself; "
                       "`millrace topic --create --topic %s` does",
                       name.data, name.data);
    if (err != MR_OK)
        return err;
    kafka_producer_topic(producing->producer, name, topic_told, producing);
    return shell_result(shell, &producing->call);
}

/* --producer-property: what has a meaning here; the rest is passed over, aloud, as Kafka's own program does. */
static mr_err read_settings(struct shell *shell, struct kafka_producer_options *options)
{
    const char *codec = shell_text(&shell->options.compression_codec);
    mr_err err = MR_OK;
    for (size_t i = 0; i < shell->options.producer_property.count && err == MR_OK; i++) {
        const char *text = shell->options.producer_property.items[i];
        mr_str key, value;
        if (!shell_pair(mr_str_from(text), &key, &value))
            err = mr_fail(MR_INVALID, "--producer-property %s: expected NAME=VALUE", text);
        else if (mr_str_equal(key, MR_STR("compression.type")))
            err = kafka_records_codec_parse(value, &options->codec);
        else if (!mr_str_equal(key, MR_STR("acks")))
            fprintf(stderr, "millrace produce: %.*s is passed over\n", MR_STR_ARG(key));
    }
    if (err == MR_OK && codec != NULL)
        err = kafka_records_codec_parse(mr_str_from(codec), &options->codec);
    return err;
}

static mr_err run(struct shell *shell)
{
    struct producing producing = {.shell = shell};
    struct kafka_producer_options options = {0};
    mr_err err = read_properties(&producing);
    if (err == MR_OK && shell->options.topic.count != 1)
        err = mr_fail(MR_INVALID, "expected one --topic");
    if (err == MR_OK)
        err = read_settings(shell, &options);
    if (err == MR_OK)
        err = kafka_producer_open(shell->kafka, &options, &producing.producer);
    if (err == MR_OK)
        err = open_topic(&producing);
    if (err == MR_OK)
        err = pump(&producing);
    kafka_producer_close(producing.producer);
    mr_buf_fini(&producing.input);
    return err;
}

int shell_command_produce(int argc, char **argv)
{
    struct shell shell;
    int status = shell_begin(&shell, "produce", argc, argv);
    return status >= 0 ? status : shell_end(&shell, run(&shell));
}
