/* up/status.c: one picture of everything that runs, as JSON for the console and as lines for the
 * terminal. A pipeline is a graph: source -> step -> table -> capture -> topic -> stream -> topic, sink. */
#include "up/run.h"

#include <stdio.h>
#include <unistd.h>

/* ---- the streams' own word, asked for now and then ---- */

static void status_told(struct engine_reply *reply)
{
    struct up *up = mr_container(reply, struct up, status_reply);
    up->status_asked = false;
    if (reply->err != MR_OK) {
        mr_arena_fini(&reply->arena);
        return;
    }
    mr_arena_fini(&up->status.arena);
    up->status.arena = reply->arena;
    up->status.streams = reply->statuses;
    up->status.stream_count = reply->status_count;
}

void up_status_ask(struct up *up)
{
    if (up->status_asked)
        return;
    up->status_asked = true;
    up->status_reply = (struct engine_reply){.loop = up->work, .done = status_told};
    engine_status_get(up->engine, MR_STR_NULL, &up->status_reply);
}

const struct engine_status *up_status_stream(const struct up *up, mr_str name)
{
    for (size_t i = 0; i < up->status.stream_count; i++)
        if (mr_str_equal(up->status.streams[i].name, name))
            return &up->status.streams[i];
    return NULL;
}

static int64_t counter(enum mr_metric metric, const char *label, mr_str name)
{
    char labels[512];
    snprintf(labels, sizeof labels, "%s=\"%.*s\"", label, MR_STR_ARG(name));
    return mr_counter_read(mr_counter_get(metric, mr_str_from(labels)));
}

static int64_t step_counter(enum mr_metric metric, const struct pipeline *pipeline, mr_str step)
{
    char labels[512];
    snprintf(labels, sizeof labels, "pipeline=\"%.*s\",step=\"%.*s\"", MR_STR_ARG(pipeline->name),
             MR_STR_ARG(step));
    return mr_counter_read(mr_counter_get(metric, mr_str_from(labels)));
}

static size_t memory_bytes(void)
{
    unsigned long pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL)
        return 0;
    if (fscanf(file, "%lu %lu", &pages, &resident) != 2)
        resident = 0;
    fclose(file);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

/* ---- JSON ---- */

struct graph {
    struct mr_buf *out;
    size_t nodes;
    struct mr_buf edges;
};

static void node_open(struct graph *graph, const char *kind, const char *prefix, mr_str name,
                      mr_str about, mr_str where, const char *state, mr_str error)
{
    char id[400];
    snprintf(id, sizeof id, "%s%.*s", prefix, MR_STR_ARG(name));
    mr_buf_printf(graph->out, "%s{\"kind\":\"%s\",\"id\":", graph->nodes++ == 0 ? "" : ",", kind);
    mr_buf_json(graph->out, mr_str_from(id));
    mr_buf_cstr(graph->out, ",\"name\":");
    mr_buf_json(graph->out, name);
    mr_buf_cstr(graph->out, ",\"about\":");
    mr_buf_json(graph->out, about);
    mr_buf_cstr(graph->out, ",\"where\":");
    mr_buf_json(graph->out, where);
    mr_buf_printf(graph->out, ",\"state\":\"%s\",\"error\":", state);
    mr_buf_json(graph->out, error);
    mr_buf_cstr(graph->out, ",\"counters\":{");
}

static void node_count(struct graph *graph, bool first, const char *name, int64_t value)
{
    mr_buf_printf(graph->out, "%s\"%s\":%lld", first ? "" : ",", name, (long long)value);
}

static void node_close(struct graph *graph)
{
    mr_buf_cstr(graph->out, "}}");
}

static void edge(struct graph *graph, const char *from_prefix, mr_str from, const char *to_prefix,
                 mr_str to)
{
    char text[400];
    mr_buf_cstr(&graph->edges, graph->edges.length == 0 ? "[" : ",[");
    snprintf(text, sizeof text, "%s%.*s", from_prefix, MR_STR_ARG(from));
    mr_buf_json(&graph->edges, mr_str_from(text));
    mr_buf_u8(&graph->edges, ',');
    snprintf(text, sizeof text, "%s%.*s", to_prefix, MR_STR_ARG(to));
    mr_buf_json(&graph->edges, mr_str_from(text));
    mr_buf_u8(&graph->edges, ']');
}

static mr_str table_name(struct mr_arena *arena, const struct pipeline_target *target)
{
    return target->container.length == 0
               ? target->name
               : mr_arena_printf(arena, "%.*s.%.*s", MR_STR_ARG(target->container),
                                 MR_STR_ARG(target->name));
}

/* The host of a URL, or the connection's word in "randomuser/api/". */
static mr_str source_name(mr_str url)
{
    ptrdiff_t scheme = mr_str_find(url, MR_STR("://"));
    mr_str rest = scheme < 0 ? url : mr_str_slice(url, (size_t)scheme + 3, url.length);
    ptrdiff_t slash = mr_str_find_byte(rest, '/');
    return slash < 0 ? rest : mr_str_slice(rest, 0, (size_t)slash);
}

static mr_str step_trouble(struct up *up, const struct pipeline *pipeline,
                           const struct pipeline_step *step)
{
    return up->scheduler == NULL ? MR_STR_NULL
                                 : scheduler_trouble(up->scheduler, pipeline->name, step->name);
}

static void step_nodes(struct up *up, const struct pipeline *pipeline, struct mr_arena *arena,
                       struct graph *graph)
{
    mr_str made[64];
    size_t made_count = 0;
    for (size_t i = 0; i < pipeline->step_count; i++) {
        const struct pipeline_step *step = &pipeline->steps[i];
        mr_str table = step->into.connection.length == 0 ? MR_STR_NULL
                                                         : table_name(arena, &step->into);
        if (step->verb == PIPELINE_GET) {
            mr_str source = source_name(step->work.text);
            bool stand_in = mr_str_equal(source, MR_STR("randomuser"));
            node_open(graph, "source", "source:", source,
                      stand_in && up->seams[UP_RANDOMUSER].embedded
                          ? MR_STR("The stand-in for randomuser.me")
                          : MR_STR_NULL,
                      stand_in ? up->seams[UP_RANDOMUSER].shown : step->work.text, "ready",
                      MR_STR_NULL);
            node_close(graph);
            edge(graph, "source:", source, "step:", step->name);
        }
        mr_str trouble = step_trouble(up, pipeline, step);
        node_open(graph, "step", "step:", step->name, step->about, MR_STR_NULL,
                  trouble.length > 0 ? "in trouble" : "scheduled", trouble);
        node_count(graph, true, "fetched", step_counter(MR_METRIC_FETCHED, pipeline, step->name));
        node_count(graph, false, "rows", step_counter(MR_METRIC_ROWS, pipeline, step->name));
        node_close(graph);
        for (size_t j = 0; j < step->after_count; j++)
            edge(graph, "step:", pipeline->steps[step->after[j]].name, "step:", step->name);
        if (table.length == 0)
            continue;
        edge(graph, "step:", step->name, "table:", table);
        bool there = false;
        for (size_t j = 0; j < made_count; j++)
            there = there || mr_str_equal(made[j], table);
        if (!there && made_count < mr_count_of(made)) {
            made[made_count++] = table;
            node_open(graph, "table", "table:", table, MR_STR("PostgreSQL"),
                      up->seams[UP_POSTGRES].shown,
                      up->seams[UP_POSTGRES].ready ? "ready" : "starting", MR_STR_NULL);
            node_count(graph, true, "rows", step_counter(MR_METRIC_ROWS, pipeline, step->name));
            node_close(graph);
        }
    }
}

static void capture_node(struct up *up, const struct up_stage *stage, struct mr_arena *arena,
                         struct graph *graph)
{
    const struct pipeline_stream *stream = &stage->file->pipeline->streams[stage->stream];
    struct capture_status status = {.state = CAPTURE_CONNECTING};
    mr_str table = table_name(arena, &stream->capture);
    if (stage->capture != NULL)
        capture_status(stage->capture, &status);
    node_open(graph, "capture", "capture:", stream->name, stream->about,
              up->seams[UP_POSTGRES].shown, capture_state_name(status.state),
              mr_str_from(status.sentence));
    node_count(graph, true, "changes", (int64_t)status.changes);
    node_count(graph, false, "events", (int64_t)status.events);
    node_count(graph, false, "slot_lag_bytes", status.slot_lag_bytes);
    node_close(graph);
    edge(graph, "table:", table, "capture:", stream->name);
    edge(graph, "capture:", stream->name, "topic:", stream->name);
    node_open(graph, "topic", "topic:", stream->name, MR_STR_NULL, up->seams[UP_KAFKA].shown,
              "ready", MR_STR_NULL);
    node_count(graph, true, "events", (int64_t)status.events);
    node_close(graph);
}

static void stream_node(struct up *up, const struct up_stage *stage, struct mr_arena *arena,
                        struct graph *graph)
{
    const struct pipeline *pipeline = stage->file->pipeline;
    const struct pipeline_stream *stream = &pipeline->streams[stage->stream];
    const struct engine_status none = {.error = MR_STR_NULL},
                               *status = up_status_stream(up, stream->name);
    if (status == NULL)
        status = &none;
    node_open(graph, "stream", "stream:", stream->name, stream->about,
              MR_STR("Spark SQL, embedded engine"), engine_state_word(status->state),
              status->error);
    node_count(graph, true, "in", status->records_in);
    node_count(graph, false, "results", status->records_out);
    node_count(graph, false, "dead", status->dead);
    node_count(graph, false, "late", status->late);
    node_count(graph, false, "lag", status->lag);
    node_count(graph, false, "groups", status->groups);
    node_count(graph, false, "latency_us",
               counter(MR_METRIC_STREAM_LATENCY, "stream", stream->name));
    node_close(graph);
    for (size_t i = 0; i < stream->input_count; i++)
        edge(graph, "topic:", pipeline->streams[stream->inputs[i]].name, "stream:", stream->name);
    if (!stream->topic_none) {
        node_open(graph, "topic", "topic:", stream->name, MR_STR_NULL, up->seams[UP_KAFKA].shown,
                  "ready", MR_STR_NULL);
        node_count(graph, true, "results", status->records_out);
        node_close(graph);
        edge(graph, "stream:", stream->name, "topic:", stream->name);
    }
    for (size_t i = 0; i < stream->into_count; i++) {
        bool cassandra = mr_str_equal(stream->into[i].connection, MR_STR("cassandra"));
        mr_str name = mr_arena_printf(arena, "%.*s/%.*s", MR_STR_ARG(stream->into[i].connection),
                                      MR_STR_ARG(table_name(arena, &stream->into[i])));
        node_open(graph, "sink", "sink:", name, MR_STR_NULL,
                  cassandra ? up->seams[UP_CASSANDRA].shown : up->seams[UP_KAFKA].shown, "ready",
                  MR_STR_NULL);
        node_count(graph, true, "table_rows", status->rows);
        node_close(graph);
        edge(graph, "stream:", stream->name, "sink:", name);
    }
}

static void schedule_text(const struct pipeline *pipeline, struct mr_buf *out)
{
    if (pipeline->at.text.length > 0)
        mr_buf_printf(out, "at %.*s (%.*s)", MR_STR_ARG(pipeline->at.text),
                      MR_STR_ARG(pipeline->timezone.text));
    else if (pipeline->every_us > 0)
        mr_buf_printf(out, "every %.10g s", (double)pipeline->every_us / 1e6);
    else
        mr_buf_cstr(out, "by hand");
}

static void pipeline_json(struct up *up, const struct up_file *file, struct mr_arena *arena,
                          struct mr_buf *out)
{
    const struct pipeline *pipeline = file->pipeline;
    struct graph graph = {.out = out};
    struct mr_buf schedule = {0};
    int64_t due_us = INT64_MAX;
    bool paused = false;
    char when[32] = "";
    if (up->scheduler != NULL && pipeline->step_count > 0)
        scheduler_next(up->scheduler, pipeline->name, &due_us, &paused);
    if (due_us != INT64_MAX)
        mr_time_format(due_us, 3, when);
    schedule_text(pipeline, &schedule);
    mr_buf_cstr(out, "{\"name\":");
    mr_buf_json(out, pipeline->name);
    mr_buf_cstr(out, ",\"about\":");
    mr_buf_json(out, pipeline->about);
    mr_buf_cstr(out, ",\"file\":");
    mr_buf_json(out, mr_str_from(file->path));
    mr_buf_cstr(out, ",\"schedule\":");
    mr_buf_json(out, mr_buf_as_str(&schedule));
    mr_buf_printf(out, ",\"paused\":%s,\"next_due\":%s%s%s,\"steps\":%zu,\"nodes\":[",
                  paused ? "true" : "false", when[0] != '\0' ? "\"" : "",
                  when[0] != '\0' ? when : "null", when[0] != '\0' ? "\"" : "",
                  pipeline->step_count);
    step_nodes(up, pipeline, arena, &graph);
    for (size_t i = 0; i < up->stage_count; i++) {
        if (up->stages[i].file != file)
            continue;
        bool capture = pipeline->streams[up->stages[i].stream].sql.text.length == 0;
        (capture ? capture_node : stream_node)(up, &up->stages[i], arena, &graph);
    }
    mr_buf_cstr(out, "],\"edges\":[");
    mr_buf_str(out, mr_buf_as_str(&graph.edges));
    mr_buf_cstr(out, "]}");
    mr_buf_fini(&graph.edges);
    mr_buf_fini(&schedule);
}

static void reasons_json(struct up *up, struct mr_buf *out)
{
    struct mr_buf reasons = {0};
    mr_str rest, line;
    bool first = true;
    up_stages_reasons(up, &reasons);
    rest = mr_buf_as_str(&reasons);
    mr_buf_printf(out, "\"ready\":%s,\"reasons\":[", reasons.length == 0 ? "true" : "false");
    while (mr_str_split(&rest, '\n', &line)) {
        if (line.length == 0)
            continue;
        mr_buf_cstr(out, first ? "" : ",");
        mr_buf_json(out, line);
        first = false;
    }
    mr_buf_cstr(out, "],");
    mr_buf_fini(&reasons);
}

void up_status_json(struct up *up, struct mr_buf *out)
{
    struct mr_arena arena;
    char started[32], now[32];
    mr_arena_init(&arena);
    mr_time_format(up->started_us, 3, started);
    mr_time_format(mr_clock_wall_us(mr_loop_clock(up->work)), 3, now);
    mr_buf_printf(out,
                  "{\"version\":\"%s\",\"started\":\"%s\",\"now\":\"%s\",\"memory_bytes\":%zu,",
                  UP_VERSION, started, now, memory_bytes());
    reasons_json(up, out);
    mr_buf_cstr(out, "\"data\":");
    mr_buf_json(out, mr_str_from(up->folder));
    mr_buf_cstr(out, ",\"seams\":[");
    for (int id = 0, count = 0; id < UP_SEAM_COUNT; id++) {
        const struct up_seam *seam = &up->seams[id];
        if (!seam->needed)
            continue;
        mr_buf_printf(out, "%s{\"name\":\"%s\",\"embedded\":%s,\"ready\":%s,\"address\":",
                      count++ == 0 ? "" : ",", seam->word, seam->embedded ? "true" : "false",
                      seam->ready ? "true" : "false");
        mr_buf_json(out, seam->shown);
        mr_buf_u8(out, '}');
    }
    mr_buf_cstr(out, "],\"pipelines\":[");
    for (int f = 0; f < up->file_count; f++) {
        mr_buf_cstr(out, f == 0 ? "" : ",");
        pipeline_json(up, &up->files[f], &arena, out);
    }
    mr_buf_cstr(out, "]}");
    mr_arena_fini(&arena);
}

/* ---- the terminal ---- */

static void grouped(int64_t number, char out[32])
{
    char digits[32];
    int length = snprintf(digits, sizeof digits, "%lld", (long long)(number < 0 ? 0 : number)),
        at = 0;
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0)
            out[at++] = ',';
        out[at++] = digits[i];
    }
    out[at] = '\0';
}

static void text_count(struct mr_buf *out, const char *name, int64_t value)
{
    char number[32];
    grouped(value, number);
    mr_buf_printf(out, "  %s %s", name, number);
}

static void text_line(struct mr_buf *out, const char *kind, mr_str name, mr_str where)
{
    mr_buf_printf(out, "  %-8s %-18.*s %-36.*s", kind, MR_STR_ARG(name), MR_STR_ARG(where));
}

static void text_error(struct mr_buf *out, const char *state, mr_str error, bool color)
{
    mr_buf_printf(out, "\n           %s%s: %.*s%s", color ? "\033[33m" : "", state,
                  MR_STR_ARG(error), color ? "\033[0m" : "");
}

static void step_text(struct up *up, const struct pipeline *pipeline, struct mr_arena *arena,
                      bool color, struct mr_buf *out)
{
    for (size_t i = 0; i < pipeline->step_count; i++) {
        const struct pipeline_step *step = &pipeline->steps[i];
        bool stand_in = step->verb == PIPELINE_GET &&
                        mr_str_starts(step->work.text, MR_STR("randomuser/"));
        if (stand_in)
            text_line(out, "source",
                      up->seams[UP_RANDOMUSER].embedded ? MR_STR("stand-in") : MR_STR("randomuser"),
                      up->seams[UP_RANDOMUSER].shown);
        else
            text_line(out, "step", step->name, step->work.text);
        text_count(out, "fetched", step_counter(MR_METRIC_FETCHED, pipeline, step->name));
        mr_str trouble = step_trouble(up, pipeline, step);
        if (trouble.length > 0)
            text_error(out, "in trouble", trouble, color);
        mr_buf_u8(out, '\n');
        if (step->into.connection.length == 0)
            continue;
        text_line(
            out, "table", table_name(arena, &step->into),
            mr_arena_printf(arena, "PostgreSQL %.*s", MR_STR_ARG(up->seams[UP_POSTGRES].shown)));
        text_count(out, "rows", step_counter(MR_METRIC_ROWS, pipeline, step->name));
        mr_buf_u8(out, '\n');
    }
}

static void stage_text(struct up *up, const struct up_stage *stage, struct mr_arena *arena,
                       bool color, struct mr_buf *out)
{
    const struct pipeline_stream *stream = &stage->file->pipeline->streams[stage->stream];
    if (stream->sql.text.length == 0) {
        struct capture_status status = {.state = CAPTURE_CONNECTING};
        if (stage->capture != NULL)
            capture_status(stage->capture, &status);
        text_line(out, "capture", stream->name,
                  mr_arena_printf(arena, "topic on %.*s", MR_STR_ARG(up->seams[UP_KAFKA].shown)));
        text_count(out, "changes", (int64_t)status.changes);
        text_count(out, "events", (int64_t)status.events);
        if (status.sentence[0] != '\0')
            text_error(out, capture_state_name(status.state), mr_str_from(status.sentence), color);
    } else {
        const struct engine_status *status = up_status_stream(up, stream->name);
        int64_t latency = counter(MR_METRIC_STREAM_LATENCY, "stream", stream->name);
        bool table = stream->into_count > 0;
        text_line(
            out, "stream", stream->name,
            table ? mr_arena_printf(arena, "%.*s", MR_STR_ARG(table_name(arena, &stream->into[0])))
                  : mr_arena_printf(arena, "topic on %.*s", MR_STR_ARG(up->seams[UP_KAFKA].shown)));
        text_count(out, "results", status == NULL ? 0 : status->records_out);
        text_count(out, "dead", status == NULL ? 0 : status->dead);
        if (status != NULL && status->late > 0)
            text_count(out, "late", status->late);
        text_count(out, "lag", status == NULL ? 0 : status->lag);
        if (latency > 0)
            mr_buf_printf(out, "  latency %.1f ms", (double)latency / 1000);
        if (status != NULL && status->error.length > 0)
            text_error(out, engine_state_word(status->state), status->error, color);
    }
    mr_buf_u8(out, '\n');
}

/* What is not well, at the end of the first line and under it. */
static void reasons_text(struct up *up, struct mr_buf *out)
{
    struct mr_buf reasons = {0};
    mr_str rest, line;
    up_stages_reasons(up, &reasons);
    rest = mr_buf_as_str(&reasons);
    while (rest.length > 0 && mr_str_split(&rest, '\n', &line))
        mr_buf_printf(out, line.length > 0 ? "  not ready: %.*s\n" : "%.*s", MR_STR_ARG(line));
    mr_buf_fini(&reasons);
}

void up_status_text(struct up *up, bool color, struct mr_buf *out)
{
    struct mr_arena arena;
    struct mr_buf schedule = {0}, reasons = {0};
    int64_t seconds = (mr_clock_wall_us(mr_loop_clock(up->work)) - up->started_us) / 1000000;
    const char *bold = color ? "\033[1m" : "", *plain = color ? "\033[0m" : "";
    mr_arena_init(&arena);
    reasons_text(up, &reasons);
    mr_buf_printf(out, "%sMillrace %s%s  %s  up %02lld:%02lld:%02lld  %zu MB  %s\n", bold,
                  UP_VERSION, plain,
                  reasons.length == 0 ? "ready"
                  : up->ready         ? "not ready"
                                      : "starting",
                  (long long)(seconds / 3600), (long long)(seconds / 60 % 60),
                  (long long)(seconds % 60), memory_bytes() >> 20, up->folder);
    mr_buf_str(out, mr_buf_as_str(&reasons));
    mr_buf_fini(&reasons);
    mr_buf_printf(out, "  console  http://%s:%u\n", up_options_near(up->host), up->console_port);
    for (int id = 0; id < UP_SEAM_COUNT; id++)
        if (up->seams[id].needed && id != UP_RANDOMUSER)
            mr_buf_printf(out, "  %-10s%s  %-8s %.*s\n", up->seams[id].word, "",
                          up->seams[id].embedded ? "embedded" : "real",
                          MR_STR_ARG(up->seams[id].shown));
    for (int f = 0; f < up->file_count; f++) {
        const struct up_file *file = &up->files[f];
        mr_buf_clear(&schedule);
        schedule_text(file->pipeline, &schedule);
        mr_buf_printf(out, "\n%s%.*s%s  %.*s\n", bold, MR_STR_ARG(file->pipeline->name), plain,
                      MR_STR_ARG(mr_buf_as_str(&schedule)));
        if (up->seams[UP_RANDOMUSER].needed && up->seams[UP_RANDOMUSER].embedded)
            mr_buf_cstr(out, "  The source is the stand-in for randomuser.me; --randomuser "
                             "https://randomuser.me takes the real one.\n");
        step_text(up, file->pipeline, &arena, color, out);
        for (size_t i = 0; i < up->stage_count; i++)
            if (up->stages[i].file == file)
                stage_text(up, &up->stages[i], &arena, color, out);
    }
    mr_buf_fini(&schedule);
    mr_arena_fini(&arena);
}
