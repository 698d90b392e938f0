/* engine_program: the engine alone as a process, for stories that kill it. One argument: a JSON file
 * with the addresses and the streams. Prints the statuses as JSON lines, five times a second; takes
 * "pause NAME", "resume NAME" and "stop NAME" from its input; SIGTERM ends it after its checkpoints. */
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/base.h"
#include "engine/engine.h"
#include "json/json.h"

struct program {
    struct mr_loop *loop;
    struct engine *engine;
    struct mr_timer timer;
    struct mr_watch signals, input;
    struct mr_task closed;
    bool closing, asked;
    struct engine_reply status;
    struct engine_reply starts[16];
};

/* ---- the file ---- */
static mr_str text(const struct json_value *value, const char *name)
{
    return json_str(json_get(value, mr_str_from(name)), MR_STR(""));
}
static bool flag(const struct json_value *value, const char *name)
{
    return json_bool(json_get(value, mr_str_from(name)), false);
}
static const struct engine_pair *pairs(struct mr_arena *arena, const struct json_value *map,
                                       size_t *count)
{
    *count = map == NULL ? 0 : map->count;
    struct engine_pair *out = mr_arena_array(arena, struct engine_pair, *count + 1);
    for (uint32_t i = 0; i < *count; i++)
        out[i] = (struct engine_pair){map->items[i].name, json_str(&map->items[i], MR_STR(""))};
    return out;
}
static const mr_str *texts(struct mr_arena *arena, const struct json_value *list, size_t *count)
{
    *count = list == NULL ? 0 : list->count;
    mr_str *out = mr_arena_array(arena, mr_str, *count + 1);
    for (uint32_t i = 0; i < *count; i++)
        out[i] = json_str(&list->items[i], MR_STR(""));
    return out;
}
static struct engine_stream_spec read_spec(struct mr_arena *arena, const struct json_value *from)
{
    struct engine_stream_spec spec = {.name = text(from, "name"),
                                      .sql = text(from, "sql"),
                                      .json = flag(from, "json"),
                                      .compact = flag(from, "compact"),
                                      .topic_none = flag(from, "topic_none")};
    const struct json_value *inputs = json_get(from, MR_STR("inputs"));
    const struct json_value *targets = json_get(from, MR_STR("targets"));
    struct engine_input *in = mr_arena_array(arena, struct engine_input, inputs->count);
    for (uint32_t i = 0; i < inputs->count; i++) {
        const struct json_value *input = &inputs->items[i];
        in[i] = (struct engine_input){.topic = text(input, "topic"),
                                      .json = flag(input, "json"),
                                      .schema = text(input, "schema"),
                                      .watermark_column = text(input, "watermark")};
        in[i].watermark_delay_us = json_i64(json_get(input, MR_STR("delay_us")), 0);
        in[i].types = pairs(arena, json_get(input, MR_STR("types")), &in[i].type_count);
        in[i].keys = texts(arena, json_get(input, MR_STR("keys")), &in[i].key_count);
    }
    spec.inputs = in;
    spec.input_count = inputs->count;
    spec.target_count = targets == NULL ? 0 : targets->count;
    struct engine_target *to = mr_arena_array(arena, struct engine_target, spec.target_count + 1);
    for (uint32_t i = 0; i < spec.target_count; i++)
        to[i] = (struct engine_target){text(&targets->items[i], "driver"),
                                       text(&targets->items[i], "place")};
    spec.targets = to;
    spec.keys = texts(arena, json_get(from, MR_STR("keys")), &spec.key_count);
    spec.types = pairs(arena, json_get(from, MR_STR("types")), &spec.type_count);
    spec.require = pairs(arena, json_get(from, MR_STR("require")), &spec.require_count);
    spec.partitions = json_i64(json_get(from, MR_STR("partitions")), 0);
    spec.mode = flag(from, "update") ? ENGINE_UPDATE : ENGINE_APPEND;
    return spec;
}

/* ---- statuses ---- */
static void on_status(struct engine_reply *reply)
{
    struct program *program = mr_container(reply, struct program, status);
    for (size_t i = 0; i < reply->status_count; i++) {
        const struct engine_status *status = &reply->statuses[i];
        struct mr_buf error = {0};
        mr_buf_json(&error, status->error);
        printf(
            "{\"name\": \"%.*s\", \"state\": \"%s\", \"error\": %.*s, \"in\": %lld, \"out\": %lld, "
            "\"rows\": %lld, \"dead\": %lld, \"late\": %lld, \"lag\": %lld, \"groups\": %lld, "
            "\"checkpoints\": %lld, \"checkpoint_us\": %lld}\n",
            MR_STR_ARG(status->name), engine_state_word(status->state),
            MR_STR_ARG(mr_buf_as_str(&error)), (long long)status->records_in,
            (long long)status->records_out, (long long)status->rows, (long long)status->dead,
            (long long)status->late, (long long)status->lag, (long long)status->groups,
            (long long)status->checkpoints, (long long)status->checkpoint_us);
        mr_buf_fini(&error);
    }
    fflush(stdout);
    mr_arena_fini(&reply->arena);
    program->asked = false;
}
static void on_timer(struct mr_timer *timer)
{
    struct program *program = mr_container(timer, struct program, timer);
    if (program->closing)
        return;
    if (!program->asked) {
        program->asked = true;
        program->status.loop = program->loop;
        program->status.done = on_status;
        engine_status_get(program->engine, MR_STR(""), &program->status);
    }
    mr_timer_start(program->loop, timer, 200000);
}
static void on_started(struct engine_reply *reply)
{
    if (reply->err != MR_OK)
        fprintf(stderr, "start: %s\n", reply->why);
    mr_arena_fini(&reply->arena);
}

/* ---- what it is told ---- */
struct word {
    struct engine_reply reply;
    char line[300];
};
static void on_word(struct engine_reply *reply)
{
    struct word *word = mr_container(reply, struct word, reply);
    printf("%s: %s\n", word->line, reply->err == MR_OK ? "done" : reply->why);
    fflush(stdout);
    mr_arena_fini(&reply->arena);
    mr_free(word);
}
static void obey(struct program *program, mr_str line)
{
    struct word *word = mr_new(struct word);
    mr_str verb, name = line;
    snprintf(word->line, sizeof(word->line), "%.*s", MR_STR_ARG(line));
    word->reply.loop = program->loop;
    word->reply.done = on_word;
    (void)mr_str_split(&name, ' ', &verb);
    if (mr_str_equal(verb, MR_STR("pause")))
        engine_pause(program->engine, name, &word->reply);
    else if (mr_str_equal(verb, MR_STR("resume")))
        engine_resume(program->engine, name, &word->reply);
    else
        engine_stop(program->engine, name, &word->reply);
}
static void on_input(struct mr_watch *watch, uint32_t events)
{
    struct program *program = mr_container(watch, struct program, input);
    char bytes[1000];
    ssize_t count = read(watch->fd, bytes, sizeof(bytes));
    mr_str rest = mr_str_of(bytes, count > 0 ? (size_t)count : 0), line;
    (void)events;
    if (count <= 0) {
        mr_watch_set(program->loop, watch, 0);
        return;
    }
    while (mr_str_split(&rest, '\n', &line))
        if (line.length > 0 && !program->closing)
            obey(program, line);
}

/* ---- the end ---- */
static void on_closed(struct mr_task *task)
{
    mr_loop_stop(mr_container(task, struct program, closed)->loop);
}
static void on_signal(struct mr_watch *watch, uint32_t events)
{
    struct program *program = mr_container(watch, struct program, signals);
    struct signalfd_siginfo info;
    (void)events;
    if (read(watch->fd, &info, sizeof(info)) < 0 || program->closing)
        return;
    program->closing = true;
    program->closed.run = on_closed;
    engine_close(program->engine, &program->closed);
}
int main(int argc, char **argv)
{
    static struct program program;
    struct mr_buf file = {0};
    struct mr_arena arena;
    const struct json_value *config;
    mr_arena_init(&arena);
    if (argc != 2 || mr_file_read(argv[1], 1 << 20, &file) != MR_OK ||
        json_parse(&arena, mr_buf_as_str(&file), &config) != MR_OK) {
        fprintf(stderr, "engine_program: %s\n", argc == 2 ? mr_why() : "expected a JSON file");
        return 2;
    }
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGTERM);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    struct mr_disk *disk = mr_disk_new(1);
    program.loop = mr_loop_new("engine", NULL);
    program.signals = (struct mr_watch){.ready = on_signal, .fd = signalfd(-1, &mask, SFD_CLOEXEC)};
    struct engine_options options = {.kafka = text(config, "kafka"),
                                     .registry = {.url = text(config, "registry")},
                                     .cassandra = text(config, "cassandra"),
                                     .folder = text(config, "folder")};
    if (mr_watch_set(program.loop, &program.signals, EPOLLIN) != MR_OK ||
        engine_open(program.loop, disk, &options, &program.engine) != MR_OK) {
        fprintf(stderr, "engine_program: %s\n", mr_why());
        return 2;
    }
    const struct json_value *streams = json_get(config, MR_STR("streams"));
    for (uint32_t i = 0; i < streams->count && i < mr_count_of(program.starts); i++) {
        struct engine_stream_spec spec = read_spec(&arena, &streams->items[i]);
        program.starts[i].loop = program.loop;
        program.starts[i].done = on_started;
        engine_start(program.engine, &spec, &program.starts[i]);
    }
    program.input = (struct mr_watch){.ready = on_input, .fd = STDIN_FILENO};
    (void)mr_watch_set(program.loop, &program.input,
                       EPOLLIN); /* a file or nothing: nobody speaks */
    program.timer.run = on_timer;
    mr_timer_start(program.loop, &program.timer, 100000);
    mr_loop_run(program.loop);
    mr_disk_free(disk);
    mr_timer_stop(&program.timer);
    mr_watch_set(program.loop, &program.signals, 0);
    mr_watch_set(program.loop, &program.input, 0);
    mr_fd_close(program.signals.fd);
    mr_loop_free(program.loop);
    mr_buf_fini(&file);
    mr_arena_fini(&arena);
    return 0;
}
