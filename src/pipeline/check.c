/* pipeline/check.c: references, order, and the binding of every stream. A stream is planned once all
 * its inputs are; what is left over in the end is a circle. */
#include "pipeline/pipeline.h"

#include <stdio.h>

struct checker {
    struct mr_arena *arena;
    struct pipeline *pipeline;
    const struct pipeline_table *tables;
    size_t table_count;
    struct pipeline_mistakes *mistakes;
    struct pipeline_plan *plan;
};

/* ---- places inside a SQL text ---- */

/* How far the lines of a block scalar are indented in the file. */
static uint32_t indent_at(const struct pipeline *pipeline, uint32_t line)
{
    mr_str rest = pipeline->text, text;
    uint32_t indent = 0;
    for (uint32_t i = 0; i < line; i++)
        if (!mr_str_split(&rest, '\n', &text))
            return 0;
    while (indent < text.length && text.data[indent] == ' ')
        indent++;
    return indent;
}

static struct pipeline_place place_in(const struct pipeline *pipeline, struct pipeline_text text,
                                      uint32_t line, uint32_t column)
{
    struct pipeline_place place = text.place;
    if (line == 0)
        return place;
    bool block = place.column == 1;
    if (block || line > 1)
        place.column = indent_at(pipeline, block ? text.place.line : place.line + line - 1) +
                       column;
    else
        place.column += column - 1;
    place.line += line - 1;
    return place;
}

/* "line 3, column 7: what" -> 3, 7 and the rest; 0, 0 when the text does not begin so. */
static mr_str split_place(mr_str text, uint32_t *line, uint32_t *column)
{
    unsigned l = 0, c = 0;
    int used = 0;
    char head[64];
    mr_str start = mr_str_slice(text, 0, sizeof head - 1);
    memcpy(head, start.data, start.length);
    head[start.length] = '\0';
    *line = *column = 0;
    if (sscanf(head, "line %u, column %u: %n", &l, &c, &used) < 2 || used == 0)
        return text;
    *line = l;
    *column = c;
    return mr_str_slice(text, (size_t)used, text.length);
}

/* ---- what a stream is to its readers ---- */

static const struct capture_shape *shape_of(struct checker *checker,
                                            const struct pipeline_target *table)
{
    mr_str name = mr_arena_printf(checker->arena, "%.*s.%.*s", MR_STR_ARG(table->container),
                                  MR_STR_ARG(table->name));
    for (size_t i = 0; i < checker->table_count; i++)
        if (mr_str_equal(checker->tables[i].name, name))
            return checker->tables[i].shape;
    struct capture_shape *raw = mr_arena_new(checker->arena, struct capture_shape);
    capture_shape_raw(checker->arena, name, raw);
    return raw;
}

static struct engine_pair *engine_pairs(struct checker *checker, const struct pipeline_pairs *pairs)
{
    struct engine_pair *list = mr_arena_array(checker->arena, struct engine_pair, pairs->count + 1);
    for (size_t i = 0; i < pairs->count; i++)
        list[i] = (struct engine_pair){pairs->items[i].name.text, pairs->items[i].value.text};
    return list;
}

static mr_str row_text(struct checker *checker, const struct data_type *row)
{
    struct mr_buf text = {0};
    data_type_print(&text, row);
    mr_str copy = mr_arena_str(checker->arena, mr_buf_as_str(&text));
    mr_buf_fini(&text);
    return copy;
}

/* The input that a planned stream is. */
static void input_of(struct checker *checker, size_t index, struct engine_input *input)
{
    const struct pipeline_stream *stream = &checker->pipeline->streams[index];
    const struct pipeline_planned *planned = &checker->plan->streams[index];
    bool capture = stream->sql.text.length == 0;
    *input = (struct engine_input){
        .topic = stream->name,
        .json = stream->json,
        .watermark_column = stream->watermark_column,
        .watermark_delay_us = stream->watermark_delay_us,
    };
    if (capture) {
        input->schema = row_text(checker, planned->shape.spark);
        input->types = engine_pairs(checker, &stream->types);
        input->type_count = stream->types.count;
        input->keys = planned->shape.key;
        input->key_count = planned->shape.key_count;
    } else {
        input->schema = planned->row == NULL ? MR_STR_NULL : row_text(checker, planned->row);
        input->keys = planned->spec.keys;
        input->key_count = planned->spec.key_count;
    }
}

/* ---- references ---- */

static void find_inputs(struct checker *checker, struct pipeline_stream *stream)
{
    mr_str *names;
    size_t count;
    uint32_t line, column;
    if (stream->sql.text.length == 0)
        return;
    if (sql_tables(checker->arena, stream->sql.text, &names, &count) != MR_OK) {
        mr_str why = split_place(mr_str_from(mr_why()), &line, &column);
        pipeline_mistake_add(checker->mistakes,
                             place_in(checker->pipeline, stream->sql, line, column), "%.*s",
                             MR_STR_ARG(why));
        stream->sql.text = MR_STR_NULL; /* said once */
        return;
    }
    stream->inputs = mr_arena_array(checker->arena, size_t, count + 1);
    for (size_t i = 0; i < count; i++) {
        ptrdiff_t input = pipeline_stream_find(checker->pipeline, names[i]);
        if (input >= 0) {
            stream->inputs[stream->input_count++] = (size_t)input;
            continue;
        }
        struct mr_buf known = {0};
        for (size_t j = 0; j < checker->pipeline->stream_count; j++)
            mr_buf_printf(&known, "%s%.*s", j == 0 ? "" : ", ",
                          MR_STR_ARG(checker->pipeline->streams[j].name));
        pipeline_mistake_add(
            checker->mistakes, stream->sql.place,
            "stream `%.*s` reads `%.*s`, which is no stream of this file; expected one of: %.*s",
            MR_STR_ARG(stream->name), MR_STR_ARG(names[i]), MR_STR_ARG(mr_buf_as_str(&known)));
        mr_buf_fini(&known);
    }
}

/* ---- one stream ---- */

static struct pipeline_place mistake_place(struct checker *checker,
                                           const struct pipeline_stream *stream,
                                           const struct engine_mistake *mistake)
{
    size_t i = mistake->index;
    switch (mistake->part) {
    case ENGINE_MISTAKE_SQL:
        return place_in(checker->pipeline, stream->sql, mistake->line, mistake->column);
    case ENGINE_MISTAKE_KEY:
        return i < stream->key.count ? stream->key.items[i].place : stream->place;
    case ENGINE_MISTAKE_TYPE:
        return i < stream->types.count ? stream->types.items[i].name.place : stream->place;
    case ENGINE_MISTAKE_REQUIRE:
        return i < stream->require.count ? stream->require.items[i].name.place : stream->place;
    case ENGINE_MISTAKE_TARGET:
        return i < stream->into_count ? stream->into[i].place : stream->place;
    case ENGINE_MISTAKE_INPUT:
    case ENGINE_MISTAKE_MODE:
    default:
        return stream->place;
    }
}

static void plan_spec(struct checker *checker, size_t index)
{
    const struct pipeline_stream *stream = &checker->pipeline->streams[index];
    struct engine_stream_spec *spec = &checker->plan->streams[index].spec;
    struct engine_input *inputs = mr_arena_array(checker->arena, struct engine_input,
                                                 stream->input_count + 1);
    struct engine_target *targets = mr_arena_array(checker->arena, struct engine_target,
                                                   stream->into_count + 1);
    mr_str *keys = mr_arena_array(checker->arena, mr_str, stream->key.count + 1);
    bool watermark = false;
    for (size_t i = 0; i < stream->input_count; i++) {
        input_of(checker, stream->inputs[i], &inputs[i]);
        watermark = watermark || inputs[i].watermark_column.length > 0;
    }
    for (size_t i = 0; i < stream->into_count; i++) {
        const struct pipeline_target *into = &stream->into[i];
        targets[i].driver = into->connection;
        targets[i].place = into->container.length == 0
                               ? into->name
                               : mr_arena_printf(checker->arena, "%.*s.%.*s",
                                                 MR_STR_ARG(into->container),
                                                 MR_STR_ARG(into->name));
    }
    for (size_t i = 0; i < stream->key.count; i++)
        keys[i] = stream->key.items[i].text;
    *spec = (struct engine_stream_spec){
        .name = stream->name,
        .sql = stream->sql.text,
        .inputs = inputs,
        .input_count = stream->input_count,
        .targets = targets,
        .target_count = stream->into_count,
        .keys = keys,
        .key_count = stream->key.count,
        .types = engine_pairs(checker, &stream->types),
        .type_count = stream->types.count,
        .require = engine_pairs(checker, &stream->require),
        .require_count = stream->require.count,
        .partitions = stream->partitions,
        .mode = stream->update || (!stream->update_given && !watermark) ? ENGINE_UPDATE
                                                                        : ENGINE_APPEND,
        .json = stream->json,
        .compact = stream->compact,
        .topic_none = stream->topic_none,
    };
}

static void plan_stream(struct checker *checker, size_t index)
{
    struct pipeline_stream *stream = &checker->pipeline->streams[index];
    struct pipeline_planned *planned = &checker->plan->streams[index];
    struct engine_checked checked = {0};
    if (stream->sql.text.length == 0) {
        if (stream->capture.connection.length == 0)
            return;
        planned->shape = *shape_of(checker, &stream->capture);
        planned->row = planned->shape.spark;
        if (stream->watermark_column.length > 0 &&
            data_type_field(planned->row, stream->watermark_column) < 0)
            pipeline_mistake_add(
                checker->mistakes, stream->watermark_place, "table %.*s.%.*s has no column `%.*s`",
                MR_STR_ARG(stream->capture.container), MR_STR_ARG(stream->capture.name),
                MR_STR_ARG(stream->watermark_column));
        return;
    }
    for (size_t i = 0; i < stream->input_count; i++)
        if (checker->plan->streams[stream->inputs[i]].row == NULL)
            return; /* its input is wrong, and that is said already */
    plan_spec(checker, index);
    if (stream->input_count == 0)
        return;
    mr_err err = engine_check(checker->arena, &planned->spec, &checked);
    planned->row = checked.row;
    for (size_t i = 0; i < checked.mistake_count; i++)
        pipeline_mistake_add(
            checker->mistakes, mistake_place(checker, stream, &checked.mistakes[i]),
            "stream `%.*s`: %.*s", MR_STR_ARG(stream->name), MR_STR_ARG(checked.mistakes[i].text));
    if (err != MR_OK && checked.mistake_count == 0)
        pipeline_mistake_add(checker->mistakes, stream->sql.place, "stream `%.*s`: %s",
                             MR_STR_ARG(stream->name), mr_why());
}

/* ---- the whole ---- */

static bool inputs_planned(const struct pipeline_stream *stream, const bool *planned)
{
    for (size_t i = 0; i < stream->input_count; i++)
        if (!planned[stream->inputs[i]])
            return false;
    return true;
}

static void plan_in_order(struct checker *checker)
{
    size_t count = checker->pipeline->stream_count;
    bool *planned = mr_arena_array(checker->arena, bool, count + 1);
    bool moved = true;
    while (moved) {
        moved = false;
        for (size_t i = 0; i < count; i++) {
            if (planned[i] || !inputs_planned(&checker->pipeline->streams[i], planned))
                continue;
            plan_stream(checker, i);
            planned[i] = moved = true;
            checker->plan->order[checker->plan->count++] = i;
        }
    }
    for (size_t i = 0; i < count; i++)
        if (!planned[i])
            pipeline_mistake_add(
                checker->mistakes, checker->pipeline->streams[i].place,
                "stream `%.*s` reads itself, through: %.*s",
                MR_STR_ARG(checker->pipeline->streams[i].name),
                MR_STR_ARG(
                    checker->pipeline->streams[checker->pipeline->streams[i].inputs[0]].name));
}

mr_err pipeline_check(struct mr_arena *arena, struct pipeline *pipeline,
                      const struct pipeline_table *tables, size_t table_count,
                      struct pipeline_mistakes *mistakes, struct pipeline_plan **out)
{
    struct pipeline_plan *plan = mr_arena_new(arena, struct pipeline_plan);
    struct checker checker = {arena, pipeline, tables, table_count, mistakes, plan};
    mistakes->arena = arena;
    plan->streams = mr_arena_array(arena, struct pipeline_planned, pipeline->stream_count + 1);
    plan->order = mr_arena_array(arena, size_t, pipeline->stream_count + 1);
    for (size_t i = 0; i < pipeline->stream_count; i++)
        find_inputs(&checker, &pipeline->streams[i]);
    plan_in_order(&checker);
    for (size_t i = 0; i < pipeline->test_count; i++) {
        const struct pipeline_test *test = &pipeline->tests[i];
        for (size_t j = 0; j < test->given_count; j++)
            if (pipeline_stream_find(pipeline, test->given[j].stream) < 0)
                pipeline_mistake_add(mistakes, test->given[j].place,
                                     "`%.*s` is no stream of this file",
                                     MR_STR_ARG(test->given[j].stream));
        for (size_t j = 0; j < test->expect_count; j++)
            if (pipeline_stream_find(pipeline, test->expect[j].stream) < 0)
                pipeline_mistake_add(mistakes, test->expect[j].place,
                                     "`%.*s` is no stream of this file",
                                     MR_STR_ARG(test->expect[j].stream));
    }
    *out = plan;
    return mistakes->list.count == 0 ? MR_OK : MR_INVALID;
}
