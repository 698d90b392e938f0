/* engine/bind.c: hides how a spec becomes a bound plan, and finds every mistake on the way: the input's
 * schema and types, the SQL, the keys, the rules, the mode and the targets, in this order. What a
 * mistake leaves unknown is not looked at, so nothing is reported twice. */
#include <stdarg.h>
#include <stdio.h>

#include "engine/bind.h"
#include "engine/sink.h"

/* ---- copies ---- */
static const struct engine_pair *copy_pairs(struct mr_arena *arena, const struct engine_pair *pairs,
                                            size_t count)
{
    struct engine_pair *out = mr_arena_array(arena, struct engine_pair, count);
    for (size_t i = 0; i < count; i++) {
        out[i].name = mr_arena_str(arena, pairs[i].name);
        out[i].value = mr_arena_str(arena, pairs[i].value);
    }
    return out;
}
static const mr_str *copy_texts(struct mr_arena *arena, const mr_str *texts, size_t count)
{
    mr_str *out = mr_arena_array(arena, mr_str, count);
    for (size_t i = 0; i < count; i++)
        out[i] = mr_arena_str(arena, texts[i]);
    return out;
}
static const struct engine_input *copy_inputs(struct mr_arena *arena,
                                              const struct engine_stream_spec *spec)
{
    struct engine_input *out = mr_arena_array(arena, struct engine_input, spec->input_count);
    for (size_t i = 0; i < spec->input_count; i++) {
        const struct engine_input *from = &spec->inputs[i];
        out[i] = *from;
        out[i].topic = mr_arena_str(arena, from->topic);
        out[i].schema = mr_arena_str(arena, from->schema);
        out[i].types = copy_pairs(arena, from->types, from->type_count);
        out[i].keys = copy_texts(arena, from->keys, from->key_count);
        out[i].watermark_column = mr_arena_str(arena, from->watermark_column);
    }
    return out;
}
struct engine_stream_spec *engine_bind_copy(struct mr_arena *arena,
                                            const struct engine_stream_spec *spec)
{
    struct engine_stream_spec *out = mr_arena_new(arena, struct engine_stream_spec);
    *out = *spec;
    out->name = mr_arena_str(arena, spec->name);
    out->sql = mr_arena_str(arena, spec->sql);
    out->inputs = copy_inputs(arena, spec);
    struct engine_target *targets = mr_arena_array(arena, struct engine_target, spec->target_count);
    for (size_t i = 0; i < spec->target_count; i++) {
        targets[i].driver = mr_arena_str(arena, spec->targets[i].driver);
        targets[i].place = mr_arena_str(arena, spec->targets[i].place);
    }
    out->targets = targets;
    out->keys = copy_texts(arena, spec->keys, spec->key_count);
    out->types = copy_pairs(arena, spec->types, spec->type_count);
    out->require = copy_pairs(arena, spec->require, spec->require_count);
    return out;
}

/* ---- mistakes ---- */
void engine_bind_mistake(struct engine_mistakes *mistakes, enum engine_mistake_part part,
                         size_t index, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    struct engine_mistake *mistake = mr_array_add(&mistakes->list);
    *mistake = (struct engine_mistake){.part = part, .index = index};
    mistake->text = mr_arena_str(mistakes->arena, mr_str_from(text));
}
/* "line L, column C: text" of the SQL room, taken apart. */
static void add_sql_mistake(struct engine_mistakes *mistakes, const char *why)
{
    unsigned line = 0, column = 0;
    int used = 0;
    if (sscanf(why, "line %u, column %u: %n", &line, &column, &used) < 2 || used == 0)
        line = column = 0, used = 0;
    engine_bind_mistake(mistakes, ENGINE_MISTAKE_SQL, 0, "%s", why + used);
    struct engine_mistake *last = &mistakes->list.items[mistakes->list.count - 1];
    last->line = line;
    last->column = column;
}

/* ---- the input ---- */
struct catalog {
    const struct engine_stream_spec *spec;
    const struct engine_input *input;
    const struct data_type *seen;
};
static const struct data_type *catalog_table(void *self, mr_str name)
{
    const struct catalog *catalog = self;
    return mr_str_equal_nocase(name, catalog->input->topic) ? catalog->seen : NULL;
}
static mr_str catalog_name(void *self, uint32_t index)
{
    const struct catalog *catalog = self;
    return index < catalog->spec->input_count ? catalog->spec->inputs[index].topic : MR_STR_NULL;
}
mr_err engine_bind_input(struct mr_arena *arena, const struct engine_stream_spec *spec,
                         const struct engine_input **out)
{
    mr_str *names;
    size_t count;
    mr_err err = sql_tables(arena, spec->sql, &names, &count);
    if (err != MR_OK)
        return err;
    if (count == 0)
        return mr_fail(MR_INVALID, "the SQL reads no stream: expected FROM and a stream's name");
    if (count > 1)
        return mr_fail(MR_UNSUPPORTED, "the SQL reads %zu streams (%.*s, %.*s): expected one",
                       count, MR_STR_ARG(names[0]), MR_STR_ARG(names[1]));
    struct mr_buf known = {0};
    for (size_t i = 0; i < spec->input_count; i++) {
        if (mr_str_equal_nocase(spec->inputs[i].topic, names[0])) {
            *out = &spec->inputs[i];
            mr_buf_fini(&known);
            return MR_OK;
        }
        mr_buf_printf(&known, "%s%.*s", i == 0 ? "" : ", ", MR_STR_ARG(spec->inputs[i].topic));
    }
    err = mr_fail(MR_INVALID, "there is no stream %.*s; expected one of: %.*s",
                  MR_STR_ARG(names[0]), MR_STR_ARG(mr_buf_as_str(&known)));
    mr_buf_fini(&known);
    return err;
}
/* The input's columns with `types:` applied. */
static const struct data_type *apply_types(struct engine_bound *bound, size_t index,
                                           struct mr_arena *arena, struct engine_mistakes *mistakes)
{
    const struct engine_input *input = bound->input;
    const struct data_type *wire = bound->wire;
    struct data_field *fields = mr_arena_array(arena, struct data_field, wire->field_count);
    memcpy(fields, wire->fields, sizeof(struct data_field) * wire->field_count);
    for (size_t i = 0; i < input->type_count; i++) {
        const struct engine_pair *pair = &input->types[i];
        int column = data_type_field(wire, pair->name);
        const struct data_type *type = NULL;
        if (column < 0) {
            engine_bind_mistake(mistakes, ENGINE_MISTAKE_INPUT, index,
                                "types: %.*s has no column %.*s", MR_STR_ARG(input->topic),
                                MR_STR_ARG(pair->name));
        } else if (fields[column].type->kind != DATA_STRING) {
            engine_bind_mistake(mistakes, ENGINE_MISTAKE_INPUT, index,
                                "types: column %.*s of %.*s is no text, so it has its type already",
                                MR_STR_ARG(pair->name), MR_STR_ARG(input->topic));
        } else if (data_type_parse(arena, pair->value, &type) != MR_OK) {
            engine_bind_mistake(mistakes, ENGINE_MISTAKE_INPUT, index, "types: %.*s: %s",
                                MR_STR_ARG(pair->name), mr_why());
        } else {
            fields[column].type = type;
            fields[column].nullable = true;
        }
    }
    return data_type_struct(arena, fields, wire->field_count);
}
static void bind_schema(struct engine_bound *bound, size_t index, struct mr_arena *arena,
                        struct engine_mistakes *mistakes)
{
    const struct engine_input *input = bound->input;
    if (bound->wire == NULL && input->schema.length == 0) {
        engine_bind_mistake(mistakes, ENGINE_MISTAKE_INPUT, index,
                            "the schema of topic %.*s is not known yet", MR_STR_ARG(input->topic));
        return;
    }
    if (bound->wire == NULL && data_type_parse(arena, input->schema, &bound->wire) != MR_OK) {
        bound->wire = NULL;
        engine_bind_mistake(mistakes, ENGINE_MISTAKE_INPUT, index, "schema of %.*s: %s",
                            MR_STR_ARG(input->topic), mr_why());
        return;
    }
    if (bound->wire->kind != DATA_STRUCT) {
        bound->wire = NULL;
        engine_bind_mistake(mistakes, ENGINE_MISTAKE_INPUT, index,
                            "schema of %.*s: expected columns, found a single value",
                            MR_STR_ARG(input->topic));
        return;
    }
    bound->seen = apply_types(bound, index, arena, mistakes);
    bound->watermark_column = -1;
    if (input->watermark_column.length == 0)
        return;
    bound->watermark_column = data_type_field(bound->seen, input->watermark_column);
    if (bound->watermark_column < 0 ||
        bound->seen->fields[bound->watermark_column].type->kind != DATA_TIMESTAMP) {
        bound->watermark_column = -1;
        engine_bind_mistake(mistakes, ENGINE_MISTAKE_INPUT, index,
                            "watermark: expected a column of type TIMESTAMP in %.*s, found %.*s",
                            MR_STR_ARG(input->topic), MR_STR_ARG(input->watermark_column));
    }
}

/* ---- the aggregation ---- */
static void bind_aggregate(struct engine_bound *bound, struct engine_mistakes *mistakes)
{
    for (const struct sql_node *node = bound->plan->root; node != NULL; node = node->input) {
        if (node->kind != SQL_NODE_AGGREGATE)
            continue;
        if (bound->aggregate != NULL) {
            engine_bind_mistake(mistakes, ENGINE_MISTAKE_SQL, 0,
                                "an aggregation of an aggregation: make it a second stream that "
                                "reads the first");
            return;
        }
        bound->aggregate = node;
        for (uint32_t i = 0; i < node->aggregate.key_count; i++) {
            enum data_kind kind = node->row->fields[i].type->kind;
            if (kind == DATA_ARRAY || kind == DATA_MAP)
                engine_bind_mistake(mistakes, ENGINE_MISTAKE_SQL, 0,
                                    "GROUP BY %.*s: an array or a map cannot be a key of groups",
                                    MR_STR_ARG(node->row->fields[i].name));
        }
    }
    if (bound->aggregate == NULL || bound->spec->mode == ENGINE_UPDATE)
        return;
    const struct sql_window *window = bound->aggregate->aggregate.window;
    if (bound->watermark_column < 0)
        engine_bind_mistake(
            mistakes, ENGINE_MISTAKE_MODE, 0,
            "mode append emits a window when the watermark passes its end, and %.*s "
            "has no watermark: give it one, or say `mode: update`",
            MR_STR_ARG(bound->input->topic));
    else if (window == NULL || window->scan_column != bound->watermark_column)
        engine_bind_mistake(
            mistakes, ENGINE_MISTAKE_MODE, 0,
            "mode append needs GROUP BY window(%.*s, ...) on the watermark's column: "
            "without it no group is ever complete; or say `mode: update`",
            MR_STR_ARG(bound->input->watermark_column));
}

/* ---- keys and rules ---- */
/* The scan's column that this result column is a bare copy of, or -1. */
static int32_t column_origin(const struct sql_node *node, uint32_t column)
{
    for (; node->kind != SQL_NODE_SCAN; node = node->input) {
        switch (node->kind) {
        case SQL_NODE_FILTER:
            break;
        case SQL_NODE_PROJECT: {
            const struct sql_expr *expr = node->project.exprs[column];
            if (expr->kind != SQL_EXPR_COLUMN)
                return -1;
            column = expr->index;
            break;
        }
        case SQL_NODE_GENERATE:
            if (column >= node->input->row->field_count)
                return -1;
            break;
        case SQL_NODE_SCAN:
        case SQL_NODE_VALUES:
        case SQL_NODE_AGGREGATE:
            return -1;
        }
    }
    return (int32_t)column;
}
static void bind_keys(struct engine_bound *bound, struct mr_arena *arena,
                      struct engine_mistakes *mistakes)
{
    const struct engine_stream_spec *spec = bound->spec;
    const struct engine_input *input = bound->input;
    bound->keys = mr_arena_array(arena, uint32_t, spec->key_count);
    bool same = input->key_count == 0 || input->key_count == spec->key_count;
    for (size_t i = 0; i < spec->key_count; i++) {
        int column = data_type_field(bound->row, spec->keys[i]);
        if (column < 0) {
            engine_bind_mistake(mistakes, ENGINE_MISTAKE_KEY, i, "the result has no column %.*s",
                                MR_STR_ARG(spec->keys[i]));
            continue;
        }
        bound->keys[bound->key_count++] = (uint32_t)column;
        if (!same || input->key_count == 0)
            continue;
        int32_t origin = column_origin(bound->plan->root, (uint32_t)column);
        same = origin >= 0 && mr_str_equal_nocase(bound->seen->fields[origin].name, input->keys[i]);
    }
    bound->deletes = bound->aggregate == NULL && (spec->key_count == 0 || same);
}
static void bind_require(struct engine_bound *bound, struct mr_arena *arena,
                         struct engine_mistakes *mistakes)
{
    const struct engine_stream_spec *spec = bound->spec;
    bound->require = mr_arena_array(arena, struct engine_require, spec->require_count);
    for (size_t i = 0; i < spec->require_count; i++) {
        const struct engine_pair *pair = &spec->require[i];
        struct engine_require *require = &bound->require[bound->require_count];
        int column = data_type_field(bound->row, pair->name);
        if (column < 0) {
            engine_bind_mistake(mistakes, ENGINE_MISTAKE_REQUIRE, i,
                                "the result has no column %.*s", MR_STR_ARG(pair->name));
            continue;
        }
        *require = (struct engine_require){.column = (uint32_t)column};
        require->rule = mr_arena_printf(arena, "%.*s: %.*s", MR_STR_ARG(pair->name),
                                        MR_STR_ARG(pair->value));
        if (!mr_str_equal_nocase(pair->value, MR_STR("not_null"))) {
            struct sql_expr *condition;
            if (sql_bind_expr(arena, pair->value, bound->row, &bound->settings, &condition) !=
                MR_OK) {
                engine_bind_mistake(mistakes, ENGINE_MISTAKE_REQUIRE, i, "%s", mr_why());
                continue;
            }
            if (condition->type->kind != DATA_BOOLEAN) {
                engine_bind_mistake(mistakes, ENGINE_MISTAKE_REQUIRE, i,
                                    "expected not_null or a condition, found %.*s",
                                    MR_STR_ARG(pair->value));
                continue;
            }
            require->condition = condition;
        }
        bound->require_count++;
    }
}
static void bind_targets(struct engine_bound *bound, struct engine_mistakes *mistakes)
{
    const struct engine_stream_spec *spec = bound->spec;
    for (size_t i = 0; i < spec->type_count; i++)
        if (data_type_field(bound->row, spec->types[i].name) < 0)
            engine_bind_mistake(mistakes, ENGINE_MISTAKE_TYPE, i, "the result has no column %.*s",
                                MR_STR_ARG(spec->types[i].name));
    if (spec->topic_none && spec->target_count == 0)
        engine_bind_mistake(mistakes, ENGINE_MISTAKE_TARGET, 0,
                            "the stream has no topic and no target: nothing would be kept");
    for (size_t i = 0; i < spec->target_count; i++) {
        const struct engine_sink_driver *driver = engine_sink_find(spec->targets[i].driver);
        if (driver == NULL)
            engine_bind_mistake(mistakes, ENGINE_MISTAKE_TARGET, i,
                                "%.*s/%.*s: expected a target of kind cassandra or topic",
                                MR_STR_ARG(spec->targets[i].driver),
                                MR_STR_ARG(spec->targets[i].place));
        else
            driver->bind(bound, i, mistakes);
    }
}

mr_err engine_bind(struct mr_arena *arena, const struct engine_stream_spec *spec,
                   const struct data_type *wire, struct engine_mistakes *mistakes,
                   struct engine_bound **out)
{
    struct engine_bound *bound = mr_arena_new(arena, struct engine_bound);
    bound->spec = spec;
    bound->wire = wire;
    bound->settings = (struct sql_settings){.ansi = spec->ansi, .streaming = true};
    *out = bound;
    if (engine_bind_input(arena, spec, &bound->input) != MR_OK) {
        add_sql_mistake(mistakes, mr_why());
        goto done;
    }
    bind_schema(bound, (size_t)(bound->input - spec->inputs), arena, mistakes);
    if (bound->seen == NULL)
        goto done;
    struct catalog tables = {spec, bound->input, bound->seen};
    struct sql_catalog catalog = {catalog_table, catalog_name, &tables};
    if (sql_bind(arena, spec->sql, &catalog, &bound->settings, &bound->plan) != MR_OK) {
        bound->plan = NULL;
        add_sql_mistake(mistakes, mr_why());
        goto done;
    }
    if (bound->plan->scan == NULL) {
        engine_bind_mistake(mistakes, ENGINE_MISTAKE_SQL, 0, "the SQL reads no stream");
        goto done;
    }
    bound->row = bound->plan->root->row;
    bind_aggregate(bound, mistakes);
    bind_keys(bound, arena, mistakes);
    bind_require(bound, arena, mistakes);
    bind_targets(bound, mistakes);
done:
    if (mistakes->list.count == 0)
        return MR_OK;
    const struct engine_mistake *first = &mistakes->list.items[0];
    if (first->line > 0)
        return mr_fail(MR_INVALID, "line %u, column %u: %.*s", first->line, first->column,
                       MR_STR_ARG(first->text));
    return mr_fail(MR_INVALID, "%.*s", MR_STR_ARG(first->text));
}
mr_err engine_check(struct mr_arena *arena, const struct engine_stream_spec *spec,
                    struct engine_checked *out)
{
    struct engine_mistakes mistakes = {.arena = arena};
    struct engine_bound *bound;
    mr_err err = engine_bind(arena, spec, NULL, &mistakes, &bound);
    *out = (struct engine_checked){.row = bound->row, .aggregates = bound->aggregate != NULL};
    if (bound->input != NULL)
        out->input = bound->input->topic;
    out->input_row = bound->seen;
    out->mistake_count = mistakes.list.count;
    out->mistakes = mr_arena_array(arena, struct engine_mistake, mistakes.list.count);
    if (mistakes.list.count > 0)
        memcpy(out->mistakes, mistakes.list.items,
               sizeof(struct engine_mistake) * mistakes.list.count);
    mr_array_fini(&mistakes.list);
    return err;
}
