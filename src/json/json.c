/* json/json.c: JSON text as a tree of values, for everything that is not a hot path: API responses,
 * requests, schemas, settings. Strict (RFC 8259): one value, no comments, no single quotes. */
#include "json/json.h"

#include "json/token.h"
#include "json/write.h"

/* Entries of the open arrays and objects lie on one stack; a closed one's are copied to the arena. */
struct parse {
    struct json_tokens tokens;
    struct mr_arena *arena;
    MR_ARRAY(struct json_value) stack;
};

static mr_err syntax(struct parse *parse)
{
    const struct json_tokens *tokens = &parse->tokens;
    size_t line = 1, column = 1;

    for (const char *at = tokens->start; at < tokens->at; at++) {
        column = *at == '\n' ? 1 : column + 1;
        line += *at == '\n';
    }
    if (tokens->too_deep)
        return mr_fail(MR_LIMIT, "JSON: nested deeper than %d levels", MR_LIMIT_JSON_DEPTH);
    return mr_fail(MR_INVALID, "JSON, line %zu, column %zu: expected %s", line,
                   column > 1 ? column - 1 : 1, tokens->what);
}

static mr_err parse_value(struct parse *parse, struct json_value *out);

static mr_err parse_children(struct parse *parse, struct json_value *out)
{
    struct json_tokens *tokens = &parse->tokens;
    size_t base = parse->stack.count;

    for (;;) {
        struct json_value value = {0};
        enum json_token token = json_token_next(tokens);
        if (token == JSON_TOKEN_OBJECT_END || token == JSON_TOKEN_ARRAY_END)
            break;
        if (token == JSON_TOKEN_ERROR)
            return syntax(parse);
        if (token == JSON_TOKEN_NAME) {
            value.name = json_token_name(tokens);
            if (json_token_next(tokens) == JSON_TOKEN_ERROR)
                return syntax(parse);
        }
        mr_err err = parse_value(parse, &value);
        if (err != MR_OK)
            return err;
        *mr_array_add(&parse->stack) = value;
    }
    size_t count = parse->stack.count - base;
    struct json_value *items = mr_arena_array(parse->arena, struct json_value, count);
    if (count > 0)
        memcpy(items, parse->stack.items + base, count * sizeof *items);
    parse->stack.count = base;
    out->items = items;
    out->count = (uint32_t)count;
    return MR_OK;
}

/* The value of the present token; the name, if any, is set already. */
static mr_err parse_value(struct parse *parse, struct json_value *out)
{
    struct json_tokens *tokens = &parse->tokens;
    const char *begin = tokens->value_at;
    mr_err err = MR_OK;

    switch (tokens->current) {
    case JSON_TOKEN_OBJECT:
    case JSON_TOKEN_ARRAY:
        out->kind = tokens->current == JSON_TOKEN_OBJECT ? JSON_OBJECT : JSON_ARRAY;
        err = parse_children(parse, out);
        break;
    case JSON_TOKEN_STRING:
        out->kind = JSON_STRING;
        if (!json_token_finish(tokens))
            return syntax(parse);
        out->text = json_token_text(tokens);
        break;
    case JSON_TOKEN_INTEGER:
    case JSON_TOKEN_FRACTION:
        out->kind = JSON_NUMBER;
        out->text = tokens->raw;
        break;
    case JSON_TOKEN_TRUE:
    case JSON_TOKEN_FALSE:
        out->kind = JSON_BOOLEAN;
        out->boolean = tokens->current == JSON_TOKEN_TRUE;
        break;
    case JSON_TOKEN_NULL:
        out->kind = JSON_NULL;
        break;
    case JSON_TOKEN_END:
    case JSON_TOKEN_ERROR:
    case JSON_TOKEN_NAME:
    case JSON_TOKEN_OBJECT_END:
    case JSON_TOKEN_ARRAY_END:
        return syntax(parse);
    }
    out->raw = mr_str_of(begin, (size_t)(tokens->at - begin));
    return err;
}

mr_err json_parse(struct mr_arena *arena, mr_str text, const struct json_value **out)
{
    struct parse parse = {.arena = arena};
    struct json_value *root = mr_arena_new(arena, struct json_value);

    json_token_init(&parse.tokens, text.data == NULL ? MR_STR("") : text, 0, arena);
    if (json_token_next(&parse.tokens) == JSON_TOKEN_ERROR) {
        mr_array_fini(&parse.stack);
        return syntax(&parse);
    }
    mr_err err = parse_value(&parse, root);
    mr_array_fini(&parse.stack);
    if (err != MR_OK)
        return err;
    parse.tokens.what = "the end";
    if (json_token_next(&parse.tokens) != JSON_TOKEN_END)
        return syntax(&parse);
    *out = root;
    return MR_OK;
}

/* ---- looking ---- */
const struct json_value *json_get(const struct json_value *value, mr_str name)
{
    if (value == NULL || value->kind != JSON_OBJECT)
        return NULL;
    for (uint32_t i = value->count; i > 0; i--) {
        if (mr_str_equal(value->items[i - 1].name, name))
            return &value->items[i - 1];
    }
    return NULL;
}

const struct json_value *json_at(const struct json_value *value, uint32_t index)
{
    if (value == NULL || value->kind != JSON_ARRAY || index >= value->count)
        return NULL;
    return &value->items[index];
}

const struct json_value *json_find(const struct json_value *value, mr_str path)
{
    mr_str part;

    while (value != NULL && mr_str_split(&path, '.', &part)) {
        uint64_t index;
        if (value->kind == JSON_ARRAY && mr_str_to_u64(part, &index) == MR_OK &&
            index < value->count)
            value = json_at(value, (uint32_t)index);
        else
            value = json_get(value, part);
    }
    return value;
}

mr_str json_str(const struct json_value *value, mr_str otherwise)
{
    return value != NULL && value->kind == JSON_STRING ? value->text : otherwise;
}

int64_t json_i64(const struct json_value *value, int64_t otherwise)
{
    int64_t number;

    if (value == NULL || value->kind != JSON_NUMBER || mr_str_to_i64(value->text, &number) != MR_OK)
        return otherwise;
    return number;
}

bool json_bool(const struct json_value *value, bool otherwise)
{
    return value != NULL && value->kind == JSON_BOOLEAN ? value->boolean : otherwise;
}

mr_str json_scalar(const struct json_value *value)
{
    if (value == NULL || value->kind == JSON_NULL)
        return MR_STR_NULL;
    return value->kind == JSON_STRING ? value->text : value->raw;
}

/* ---- printing ---- */
void json_print(struct mr_buf *out, const struct json_value *value)
{
    if (value->kind != JSON_OBJECT && value->kind != JSON_ARRAY) {
        mr_buf_str(out, value->raw);
        return;
    }
    mr_buf_u8(out, value->kind == JSON_OBJECT ? '{' : '[');
    for (uint32_t i = 0; i < value->count; i++) {
        if (i > 0)
            mr_buf_u8(out, ',');
        if (value->kind == JSON_OBJECT) {
            mr_buf_json(out, value->items[i].name);
            mr_buf_u8(out, ':');
        }
        json_print(out, &value->items[i]);
    }
    mr_buf_u8(out, value->kind == JSON_OBJECT ? '}' : ']');
}
