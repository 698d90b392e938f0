/* json/reader.c: Spark's from_json, exactly, on any text: sound ones go by fast.c; the rest, and what
 * that one refuses, by the converters here, which follow JacksonParser of Spark 3.5 with partial
 * results: a bad value leaves its field NULL and its object whole; in an array or a map it takes the
 * whole array or map with it; after an error inside a text the reading goes on where Jackson's parser
 * stands then (token.c), which for most malformed texts comes to a struct of NULLs. */
#include "json/reader.h"

#include "json/simd.h"
#include "json/write.h"

/* ---- the tree ---- */
uint32_t json_reader_hash(mr_str name)
{
    if (name.length == 0)
        return 0;
    uint32_t hash = (uint32_t)name.length * 0x9e3779b1u;
    hash ^= (uint32_t)(uint8_t)name.data[0] * 0x85ebca6bu;
    hash ^= (uint32_t)(uint8_t)name.data[name.length - 1] * 0xc2b2ae35u;
    hash ^= (uint32_t)(uint8_t)name.data[name.length / 2] * 0x27d4eb2fu;
    return hash >> 15 ^ hash;
}

static mr_err compile(struct mr_arena *arena, const struct data_type *type, struct json_node *out);

static mr_err compile_struct(struct mr_arena *arena, struct json_node *node)
{
    const struct data_type *type = node->type;
    uint32_t size = 4;

    if (type->field_count > 16384)
        return mr_fail(MR_LIMIT, "from_json: a struct of %u fields", type->field_count);
    while (size < type->field_count * 4)
        size *= 2;
    node->field_count = type->field_count;
    node->fields = mr_arena_array(arena, struct json_node, type->field_count);
    node->slots = mr_arena_array(arena, uint16_t, size);
    node->slot_mask = size - 1;
    for (uint32_t i = 0; i < type->field_count; i++) {
        mr_err err = compile(arena, type->fields[i].type, &node->fields[i]);
        if (err != MR_OK)
            return err;
        uint32_t at = json_reader_hash(type->fields[i].name);
        while (node->slots[at & node->slot_mask] != 0)
            at++;
        node->slots[at & node->slot_mask] = (uint16_t)(i + 1);
    }
    return MR_OK;
}

static mr_err compile(struct mr_arena *arena, const struct data_type *type, struct json_node *out)
{
    out->type = type;
    out->kind = type->kind;
    if (type->kind == DATA_STRUCT)
        return compile_struct(arena, out);
    if (type->kind == DATA_MAP) {
        if (type->key->kind != DATA_STRING)
            return mr_fail(MR_INVALID, "from_json: the keys of a MAP are STRING");
        out->key = mr_arena_new(arena, struct json_node);
        out->key->type = type->key;
        out->key->kind = DATA_STRING;
    }
    if (type->kind == DATA_MAP || type->kind == DATA_ARRAY) {
        out->element = mr_arena_new(arena, struct json_node);
        return compile(arena, type->element, out->element);
    }
    return MR_OK;
}

mr_err json_reader_new(const struct data_type *type, const struct json_reader_options *options,
                       struct json_reader **out)
{
    if (type->kind != DATA_STRUCT && type->kind != DATA_ARRAY && type->kind != DATA_MAP)
        return mr_fail(MR_INVALID, "from_json: expected a STRUCT, ARRAY or MAP");
    struct json_reader *reader = mr_new(struct json_reader);
    reader->fail_fast = options != NULL && options->fail_fast;
    mr_err err = compile(&reader->own, type, &reader->root);
    if (err != MR_OK) {
        json_reader_free(reader);
        return err;
    }
    reader->index = json_simd_new();
    *out = reader;
    return MR_OK;
}

void json_reader_free(struct json_reader *reader)
{
    if (reader == NULL)
        return;
    json_simd_free(reader->index);
    mr_buf_fini(&reader->scratch);
    mr_arena_fini(&reader->own);
    mr_free(reader);
}

/* ---- rows ---- */
static void bind(struct json_reader *reader, struct json_node *node, struct data_column *column)
{
    node->column = column;
    node->used = 0;
    for (uint32_t i = 0; i < node->field_count; i++)
        bind(reader, &node->fields[i], column->fields[i]);
    if (node->element != NULL) {
        column->elements = data_column_new(reader->arena, node->type->element, 0);
        bind(reader, node->element, column->elements);
    }
    if (node->key != NULL) {
        column->keys = data_column_new(reader->arena, node->type->key, 0);
        bind(reader, node->key, column->keys);
    }
}

static void trim_rows(struct data_column *column, uint32_t count)
{
    column->count = count;
    if (column->type->kind == DATA_STRUCT) {
        for (uint32_t i = 0; i < column->type->field_count; i++)
            trim_rows(column->fields[i], count);
    }
}

static void trim(struct json_node *node)
{
    for (uint32_t i = 0; i < node->field_count; i++)
        trim(&node->fields[i]);
    if (node->element != NULL) {
        trim_rows(node->element->column, node->element->used);
        trim(node->element);
    }
    if (node->key != NULL)
        trim_rows(node->key->column, node->key->used);
}

void json_reader_begin(struct json_reader *reader, struct mr_arena *arena, uint32_t count)
{
    reader->arena = arena;
    bind(reader, &reader->root, data_column_new(arena, reader->root.type, count));
}

struct data_column *json_reader_end(struct json_reader *reader)
{
    trim(&reader->root);
    return reader->root.column;
}

uint32_t json_reader_push(struct json_reader *reader, struct json_node *node)
{
    uint32_t room = node->column->count;

    if (node->used == room)
        data_column_grow(reader->arena, node->column, room == 0 ? 32 : room * 2);
    return node->used++;
}

void json_reader_pop(struct json_node *node, uint32_t used)
{
    data_column_clear(node->column, used, node->used);
    node->used = used;
}

/* Keys and values share their slices, so they have to be equally many before a map begins. */
uint32_t json_reader_align(struct json_reader *reader, struct json_node *map)
{
    while (map->key->used < map->element->used)
        (void)json_reader_push(reader, map->key);
    while (map->element->used < map->key->used)
        (void)json_reader_push(reader, map->element);
    return map->element->used;
}

void json_reader_null(const struct json_node *node, uint32_t row)
{
    if (node->column->valid[row] != 0)
        data_column_clear(node->column, row, row + 1);
}

void json_reader_slice(const struct json_node *node, uint32_t row, uint32_t start)
{
    node->column->starts[row] = start;
    node->column->lengths[row] = node->element->used - start;
    node->column->valid[row] = 1;
}

/* ---- converters ---- */
static enum json_outcome convert(struct json_reader *reader, struct json_node *node, uint32_t row);

static enum json_outcome convert_object(struct json_reader *reader, struct json_node *node,
                                        uint32_t row)
{
    struct json_tokens *tokens = &reader->tokens;
    enum json_outcome outcome = JSON_DONE;

    json_reader_null(node, row); /* a name may come twice: the later one counts */
    for (;;) {
        enum json_token token = json_token_next(tokens);
        if (token == JSON_TOKEN_OBJECT_END || token == JSON_TOKEN_END)
            break;
        struct json_node *field = token == JSON_TOKEN_ERROR
                                      ? NULL
                                      : json_reader_field(node, json_token_name(tokens));
        enum json_outcome inner = field == NULL ? JSON_DONE : convert(reader, field, row);
        bool passed = token != JSON_TOKEN_ERROR;
        if (passed && (field == NULL || inner == JSON_BAD))
            passed = json_token_skip(tokens);
        if (!passed) {
            data_column_clear(node->column, row, row + 1);
            return JSON_BAD;
        }
        if (inner != JSON_DONE)
            outcome = JSON_PARTIAL;
    }
    node->column->valid[row] = 1;
    return outcome;
}

static enum json_outcome convert_array(struct json_reader *reader, struct json_node *node,
                                       uint32_t row)
{
    enum json_outcome outcome = JSON_DONE;
    uint32_t start = node->element->used;

    for (;;) {
        enum json_token token = json_token_next(&reader->tokens);
        if (token == JSON_TOKEN_ARRAY_END || token == JSON_TOKEN_END)
            break;
        enum json_outcome inner = JSON_BAD;
        if (token != JSON_TOKEN_ERROR)
            inner = convert(reader, node->element, json_reader_push(reader, node->element));
        if (inner == JSON_BAD) {
            json_reader_pop(node->element, start);
            return JSON_BAD;
        }
        if (inner == JSON_PARTIAL)
            outcome = JSON_PARTIAL;
    }
    json_reader_slice(node, row, start);
    return outcome;
}

/* A bad value spoils the map, yet the map is read to its end. */
static enum json_outcome convert_map(struct json_reader *reader, struct json_node *node,
                                     uint32_t row)
{
    struct json_tokens *tokens = &reader->tokens;
    enum json_outcome outcome = JSON_DONE;
    uint32_t start = json_reader_align(reader, node);

    for (;;) {
        enum json_token token = json_token_next(tokens);
        if (token == JSON_TOKEN_OBJECT_END || token == JSON_TOKEN_END)
            break;
        enum json_outcome inner = JSON_BAD;
        bool passed = token != JSON_TOKEN_ERROR;
        if (passed) {
            uint32_t key = json_reader_push(reader, node->key);
            (void)json_scalar_string(reader, node->key, key, json_token_name(tokens));
            inner = convert(reader, node->element, json_reader_push(reader, node->element));
            passed = inner != JSON_BAD || json_token_skip(tokens);
        }
        if (inner != JSON_DONE && outcome != JSON_BAD)
            outcome = inner;
        if (!passed)
            break;
    }
    if (outcome == JSON_BAD) {
        json_reader_pop(node->element, start);
        json_reader_pop(node->key, start);
        return JSON_BAD;
    }
    json_reader_slice(node, row, start);
    return outcome;
}

/* Anything that is not a string, as text for a STRING. */
static enum json_outcome convert_text(struct json_reader *reader, struct json_node *node,
                                      uint32_t row)
{
    struct json_writer writer;

    mr_buf_clear(&reader->scratch);
    json_writer_init(&writer, &reader->scratch, true);
    if (!json_write_copy(&writer, &reader->tokens))
        return JSON_BAD;
    mr_str text = mr_arena_str(reader->arena, mr_buf_as_str(&reader->scratch));
    return json_scalar_string(reader, node, row, text) ? JSON_DONE : JSON_BAD;
}

static enum json_outcome verdict(bool fits)
{
    return fits ? JSON_DONE : JSON_BAD;
}

static enum json_outcome convert(struct json_reader *reader, struct json_node *node, uint32_t row)
{
    struct json_tokens *tokens = &reader->tokens;
    enum json_token token = tokens->current;

    if (token == JSON_TOKEN_NAME)
        token = json_token_next(tokens);
    switch (token) {
    case JSON_TOKEN_END:
    case JSON_TOKEN_NULL:
        json_reader_null(node, row);
        return JSON_DONE;
    case JSON_TOKEN_STRING:
        if (!json_token_finish(tokens))
            return JSON_BAD;
        return verdict(json_scalar_string(reader, node, row, json_token_text(tokens)));
    case JSON_TOKEN_INTEGER:
        return verdict(json_scalar_integer(reader, node, row, tokens->raw));
    case JSON_TOKEN_FRACTION:
        return verdict(json_scalar_fraction(reader, node, row, tokens->raw, tokens->special));
    case JSON_TOKEN_TRUE:
    case JSON_TOKEN_FALSE:
        return verdict(json_scalar_boolean(node, row, token == JSON_TOKEN_TRUE));
    case JSON_TOKEN_OBJECT:
        if (node->kind == DATA_STRUCT)
            return convert_object(reader, node, row);
        if (node->kind == DATA_MAP)
            return convert_map(reader, node, row);
        return node->kind == DATA_STRING ? convert_text(reader, node, row) : JSON_BAD;
    case JSON_TOKEN_ARRAY:
        if (node->kind == DATA_ARRAY)
            return convert_array(reader, node, row);
        return node->kind == DATA_STRING ? convert_text(reader, node, row) : JSON_BAD;
    case JSON_TOKEN_ERROR:
    case JSON_TOKEN_NAME:
    case JSON_TOKEN_OBJECT_END:
    case JSON_TOKEN_ARRAY_END:
        break;
    }
    return JSON_BAD;
}

/* The whole text. An object where an array of structs is wanted is an array of one. */
static enum json_outcome convert_root(struct json_reader *reader, uint32_t row)
{
    struct json_node *root = &reader->root;
    enum json_token token = json_token_next(&reader->tokens);

    if (token == JSON_TOKEN_END)
        return JSON_DONE;
    if (token == JSON_TOKEN_OBJECT && root->kind == DATA_ARRAY &&
        root->element->kind == DATA_STRUCT) {
        uint32_t start = root->element->used;
        enum json_outcome outcome = convert_object(reader, root->element,
                                                   json_reader_push(reader, root->element));
        if (outcome == JSON_BAD)
            json_reader_pop(root->element, start);
        else
            json_reader_slice(root, row, start);
        return outcome;
    }
    if (token != JSON_TOKEN_OBJECT && token != JSON_TOKEN_ARRAY)
        return JSON_BAD;
    return convert(reader, root, row);
}

mr_err json_reader_read(struct json_reader *reader, uint32_t row, mr_str text)
{
    struct json_node *root = &reader->root;

    if (text.data == NULL)
        return MR_OK;
    enum json_outcome outcome = reader->exact_only ? JSON_BAIL : json_fast_read(reader, row, text);
    if (outcome == JSON_BAIL) {
        data_column_clear(root->column, row, row + 1);
        json_token_init(&reader->tokens, text, JSON_TOKENS_SPARK, reader->arena);
        outcome = convert_root(reader, row);
    }
    if (outcome != JSON_DONE && reader->fail_fast) {
        data_column_clear(root->column, row, row + 1);
        return mr_fail(MR_INVALID, "from_json: malformed record, mode FAILFAST: %.*s",
                       (int)(text.length < 200 ? text.length : 200), text.data);
    }
    if (outcome == JSON_BAD && root->kind == DATA_STRUCT)
        root->column->valid[row] = 1;
    return MR_OK;
}

mr_err json_reader_column(struct json_reader *reader, struct mr_arena *arena,
                          const struct data_column *texts, const uint16_t *rows, uint32_t row_count,
                          struct data_column **out)
{
    json_reader_begin(reader, arena, texts->count);
    for (uint32_t i = 0; i < row_count; i++) {
        if (!texts->valid[rows[i]])
            continue;
        mr_str text = texts->strs[rows[i]];
        mr_err err = json_reader_read(reader, rows[i], text.data == NULL ? MR_STR("") : text);
        if (err != MR_OK)
            return err;
    }
    *out = json_reader_end(reader);
    return MR_OK;
}
