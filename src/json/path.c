/* json/path.c: Spark's get_json_object, which does what Hive's did: see the cases in eval(). */
#include "json/json.h"

#include "json/token.h"
#include "json/write.h"

enum step_kind { STEP_KEY, STEP_NAME, STEP_SUBSCRIPT, STEP_INDEX, STEP_WILDCARD };
struct step {
    enum step_kind kind;
    uint64_t index;
    mr_str name;
};
struct json_path {
    const struct step *steps;
    size_t count;
};
typedef MR_ARRAY(struct step) step_list;

/* ---- the path's text ---- */
static mr_str skip_space(mr_str text)
{
    while (text.length > 0 && strchr(" \t\n\r\f\v", text.data[0]) != NULL)
        text = mr_str_slice(text, 1, text.length);
    return text;
}

/* White space before a literal is skipped; single characters (`.`, `[`, `]`, `$`) allow none. */
static bool take_literal(mr_str *text, mr_str literal)
{
    mr_str rest = skip_space(*text);

    if (!mr_str_starts(rest, literal))
        return false;
    *text = mr_str_slice(rest, literal.length, rest.length);
    return true;
}

static bool take_char(mr_str *text, char c)
{
    if (text->length == 0 || text->data[0] != c)
        return false;
    *text = mr_str_slice(*text, 1, text->length);
    return true;
}

static bool take_until(mr_str *text, const char *stops, mr_str *out)
{
    mr_str rest = skip_space(*text);
    size_t length = 0;

    while (length < rest.length && strchr(stops, rest.data[length]) == NULL)
        length++;
    *out = mr_str_slice(rest, 0, length);
    *text = mr_str_slice(rest, length, rest.length);
    return length > 0;
}

static bool take_subscript(mr_str *text, struct step *out)
{
    mr_str rest = *text, digits = MR_STR_NULL;

    if (!take_char(&rest, '['))
        return false;
    if (take_char(&rest, '*')) {
        *out = (struct step){.kind = STEP_WILDCARD};
    } else {
        *out = (struct step){.kind = STEP_INDEX};
        if (!take_until(&rest, "]", &digits) || mr_str_to_u64(digits, &out->index) != MR_OK ||
            out->index > INT64_MAX)
            return false;
    }
    if (!take_char(&rest, ']'))
        return false;
    *text = rest;
    return true;
}

static bool take_named(mr_str *text, struct step *out)
{
    mr_str rest = *text;

    *out = (struct step){.kind = STEP_NAME};
    if (take_char(&rest, '.') && take_until(&rest, ".[", &out->name)) {
        *text = rest;
        return true;
    }
    rest = *text;
    if (!take_literal(&rest, MR_STR("['")) || !take_until(&rest, "'?", &out->name) ||
        !take_literal(&rest, MR_STR("']")))
        return false;
    *text = rest;
    return true;
}

static bool take_node(mr_str *text, step_list *steps)
{
    struct step step;

    if (take_literal(text, MR_STR(".*")) || take_literal(text, MR_STR("['*']"))) {
        *mr_array_add(steps) = (struct step){.kind = STEP_WILDCARD};
        return true;
    }
    if (take_named(text, &step)) {
        *mr_array_add(steps) = (struct step){.kind = STEP_KEY};
        *mr_array_add(steps) = step;
        return true;
    }
    if (take_subscript(text, &step)) {
        *mr_array_add(steps) = (struct step){.kind = STEP_SUBSCRIPT};
        *mr_array_add(steps) = step;
        return true;
    }
    return false;
}

mr_err json_path_parse(struct mr_arena *arena, mr_str text, const struct json_path **out)
{
    step_list steps = {0};
    mr_str rest = text;
    bool good = take_char(&rest, '$');

    while (good && rest.length > 0 && steps.count < 2 * MR_LIMIT_JSON_DEPTH)
        good = take_node(&rest, &steps);
    if (!good || rest.length > 0) {
        mr_array_fini(&steps);
        return mr_fail(MR_INVALID,
                       "JSON path \"%.*s\": expected $, then .name, ['name'], [0] or [*]",
                       MR_STR_ARG(text));
    }
    struct json_path *path = mr_arena_new(arena, struct json_path);
    struct step *copy = mr_arena_array(arena, struct step, steps.count);
    for (size_t i = 0; i < steps.count; i++) {
        copy[i] = steps.items[i];
        copy[i].name = mr_arena_str(arena, copy[i].name);
    }
    path->steps = copy;
    path->count = steps.count;
    mr_array_fini(&steps);
    *out = path;
    return MR_OK;
}

/* ---- evaluation ---- */
enum style { STYLE_RAW, STYLE_QUOTED, STYLE_FLATTEN };
struct eval {
    struct json_tokens tokens;
    bool failed;
};
enum found { FOUND_NO, FOUND_YES };

static enum found eval(struct eval *e, struct json_writer *out, enum style style,
                       const struct step *step, size_t left);

static bool next_until(struct eval *e, enum json_token end)
{
    enum json_token token = json_token_next(&e->tokens);

    e->failed |= token == JSON_TOKEN_ERROR || token == JSON_TOKEN_END;
    return !e->failed && token != end;
}

static enum found skip(struct eval *e)
{
    e->failed |= !json_token_skip(&e->tokens);
    return FOUND_NO;
}

static enum found eval_raw_string(struct eval *e, struct json_writer *out)
{
    bool lone = false;
    mr_str text;

    if (!json_token_finish(&e->tokens)) {
        e->failed = true;
        return FOUND_NO;
    }
    if (e->tokens.escaped)
        text = json_token_unescape(e->tokens.arena, e->tokens.raw, &lone);
    else
        text = json_token_clean(e->tokens.arena, e->tokens.raw);
    e->failed |= lone;
    mr_buf_str(out->out, text);
    return FOUND_YES;
}

static enum found eval_copy(struct eval *e, struct json_writer *out)
{
    if (!json_write_copy(out, &e->tokens))
        e->failed = true;
    return FOUND_YES;
}

/* Every element, into an array or (no brackets) flattened into the parent's. */
static enum found eval_each(struct eval *e, struct json_writer *out, bool brackets,
                            enum style style, const struct step *step, size_t left)
{
    enum found found = FOUND_NO;

    if (brackets)
        json_write_begin(out, '[');
    while (next_until(e, JSON_TOKEN_ARRAY_END)) {
        if (eval(e, out, style, step, left) == FOUND_YES)
            found = FOUND_YES;
    }
    if (brackets)
        json_write_end(out, ']');
    return found;
}

/* [*] outside of a quoted array: one match stands alone, several make an array. */
static enum found eval_collect(struct eval *e, struct json_writer *out, enum style style,
                               const struct step *step, size_t left)
{
    struct mr_buf buffer = {0};
    struct json_writer inner;
    size_t matches = 0;

    json_writer_init(&inner, &buffer, false);
    json_write_begin(&inner, '[');
    while (next_until(e, JSON_TOKEN_ARRAY_END))
        matches += eval(e, &inner, style, step, left) == FOUND_YES;
    json_write_end(&inner, ']');
    e->failed |= inner.lone;
    mr_str text = mr_buf_as_str(&buffer);
    if (matches > 1)
        json_write_raw(out, text);
    else if (matches == 1)
        json_write_raw(out, mr_str_slice(text, 1, text.length - 1));
    mr_buf_fini(&buffer);
    return matches > 0 ? FOUND_YES : FOUND_NO;
}

static enum found eval_index(struct eval *e, struct json_writer *out, enum style style,
                             const struct step *step, size_t left, uint64_t index)
{
    enum found found = FOUND_NO;

    for (uint64_t i = 0; next_until(e, JSON_TOKEN_ARRAY_END); i++) {
        if (i == index)
            found = eval(e, out, style, step, left);
        else
            (void)skip(e);
    }
    return found;
}

static enum found eval_object(struct eval *e, struct json_writer *out, enum style style,
                              const struct step *step, size_t left)
{
    enum found found = FOUND_NO;

    while (next_until(e, JSON_TOKEN_OBJECT_END)) {
        if (found == FOUND_YES)
            (void)skip(e);
        else
            found = eval(e, out, style, step, left);
    }
    return found;
}

static enum found eval_array(struct eval *e, struct json_writer *out, enum style style,
                             const struct step *step, size_t left)
{
    bool two_wildcards = left >= 4 && step[1].kind == STEP_WILDCARD &&
                         step[2].kind == STEP_SUBSCRIPT && step[3].kind == STEP_WILDCARD;

    if (two_wildcards)
        return eval_each(e, out, true, STYLE_FLATTEN, step + 4, left - 4);
    if (step[1].kind == STEP_WILDCARD && style != STYLE_QUOTED)
        return eval_collect(e, out, style == STYLE_RAW ? STYLE_QUOTED : style, step + 2, left - 2);
    if (step[1].kind == STEP_WILDCARD)
        return eval_each(e, out, true, STYLE_QUOTED, step + 2, left - 2);
    bool wildcard_follows = left >= 4 && step[2].kind == STEP_SUBSCRIPT &&
                            step[3].kind == STEP_WILDCARD;
    return eval_index(e, out, wildcard_follows ? STYLE_QUOTED : style, step + 2, left - 2,
                      step[1].index);
}

static enum found eval_name(struct eval *e, struct json_writer *out, enum style style,
                            const struct step *step, size_t left)
{
    if (!mr_str_equal(json_token_name(&e->tokens), step->name))
        return skip(e);
    enum json_token token = json_token_next(&e->tokens);
    if (token == JSON_TOKEN_NULL)
        return FOUND_NO;
    e->failed |= token == JSON_TOKEN_ERROR || token == JSON_TOKEN_END;
    return e->failed ? FOUND_NO : eval(e, out, style, step + 1, left - 1);
}

static enum found eval(struct eval *e, struct json_writer *out, enum style style,
                       const struct step *step, size_t left)
{
    enum json_token token = e->tokens.current;

    if (left == 0 && token == JSON_TOKEN_STRING && style == STYLE_RAW)
        return eval_raw_string(e, out);
    if (left == 0 && token == JSON_TOKEN_ARRAY && style == STYLE_FLATTEN)
        return eval_each(e, out, false, style, NULL, 0);
    if (left == 0)
        return eval_copy(e, out);
    if (token == JSON_TOKEN_OBJECT && step->kind == STEP_KEY)
        return eval_object(e, out, style, step + 1, left - 1);
    if (token == JSON_TOKEN_ARRAY && step->kind == STEP_SUBSCRIPT)
        return eval_array(e, out, style, step, left);
    if (token == JSON_TOKEN_NAME && step->kind == STEP_NAME)
        return eval_name(e, out, style, step, left);
    return skip(e);
}

bool json_path_eval(const struct json_path *path, struct mr_arena *arena, mr_str text, mr_str *out)
{
    struct eval e = {.failed = false};
    struct mr_buf buffer = {0};
    struct json_writer writer;

    if (text.data == NULL)
        return false;
    json_token_init(&e.tokens, text, JSON_TOKENS_HIVE, arena);
    enum json_token token = json_token_next(&e.tokens);
    if (token == JSON_TOKEN_ERROR || token == JSON_TOKEN_END)
        return false;
    json_writer_init(&writer, &buffer, true);
    bool found = eval(&e, &writer, STYLE_RAW, path->steps, path->count) == FOUND_YES && !e.failed;
    if (found)
        *out = mr_arena_str(arena, mr_buf_as_str(&buffer));
    mr_buf_fini(&buffer);
    return found;
}
