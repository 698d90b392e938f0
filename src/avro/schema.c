/* avro/schema.c: a schema's JSON text to a graph of nodes (specification 1.11, "Schema Declaration").
 * Every use of a primitive type has a node of its own; a named type has one, and a name refers to it, so
 * the graph of a recursive type has cycles. */
#include "avro/schema.h"

struct parser {
    struct avro_schema *schema;
    struct mr_arena *arena;
};

mr_str avro_kind_word(enum avro_kind kind)
{
    static const char *const words[] = {
#define KIND(id, word) word,
#include "avro/kinds.def"
    };
    return mr_str_from(words[kind]);
}

/* ---- names ---- */
bool avro_name_valid(mr_str name)
{
    for (size_t i = 0; i < name.length; i++) {
        char c = name.data[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!letter && (i == 0 || c < '0' || c > '9'))
            return false;
    }
    return name.length > 0;
}

static ptrdiff_t last_dot(mr_str name)
{
    for (size_t i = name.length; i > 0; i--) {
        if (name.data[i - 1] == '.')
            return (ptrdiff_t)i - 1;
    }
    return -1;
}

mr_str avro_name_space(mr_str full_name)
{
    ptrdiff_t dot = last_dot(full_name);
    return dot < 0 ? MR_STR("") : mr_str_slice(full_name, 0, (size_t)dot);
}

mr_str avro_name_simple(mr_str full_name)
{
    ptrdiff_t dot = last_dot(full_name);
    return mr_str_slice(full_name, (size_t)(dot + 1), full_name.length);
}

static mr_str qualified(struct parser *parser, mr_str name, mr_str space)
{
    if (last_dot(name) >= 0 || space.length == 0)
        return name;
    return mr_arena_printf(parser->arena, "%.*s.%.*s", MR_STR_ARG(space), MR_STR_ARG(name));
}

static bool full_name_valid(mr_str name)
{
    mr_str part;

    if (name.length == 0)
        return false;
    while (mr_str_split(&name, '.', &part)) {
        if (!avro_name_valid(part))
            return false;
    }
    return true;
}

/* ---- nodes ---- */
static mr_err new_node(struct parser *parser, enum avro_kind kind, const struct json_value *source,
                       struct avro_node **out)
{
    if (parser->schema->node_count >= MR_LIMIT_AVRO_TYPES)
        return mr_fail(MR_LIMIT, "Avro schema: more than %d types", MR_LIMIT_AVRO_TYPES);
    struct avro_node *node = mr_arena_new(parser->arena, struct avro_node);
    node->kind = kind;
    node->source = source;
    node->index = parser->schema->node_count++;
    *out = node;
    return MR_OK;
}

static bool find_kind(mr_str word, enum avro_kind *out)
{
    for (enum avro_kind kind = AVRO_NULL; kind <= AVRO_FIXED; kind++) {
        if (mr_str_equal(avro_kind_word(kind), word)) {
            *out = kind;
            return true;
        }
    }
    if (mr_str_equal(word, MR_STR("error"))) {
        *out = AVRO_RECORD;
        return true;
    }
    return false;
}

/* The largest precision that so many bytes of two's complement hold. */
static uint32_t fixed_digits(uint32_t bytes)
{
    return bytes >= 64 ? 150 : (bytes * 8 - 1) * 30103 / 100000;
}

/* An annotation that does not fit its type is ignored, as the specification asks. */
static void set_logical(struct avro_node *node)
{
    mr_str word = json_str(json_get(node->source, MR_STR("logicalType")), MR_STR(""));
    static const struct {
        const char *word;
        enum avro_logical logical;
        enum avro_kind kind;
    } table[] = {
#define LOGICAL(id, word, kind) {word, AVRO_##id, AVRO_##kind},
#include "avro/kinds.def"
    };
    enum avro_logical logical = AVRO_PLAIN;

    for (size_t i = 0; i < mr_count_of(table); i++) {
        bool kind = table[i].kind == node->kind ||
                    (table[i].logical == AVRO_DECIMAL && node->kind == AVRO_FIXED);
        if (kind && mr_str_equal(mr_str_from(table[i].word), word))
            logical = table[i].logical;
    }
    if (logical == AVRO_DURATION && node->size != 12)
        return;
    if (logical == AVRO_DECIMAL) {
        int64_t precision = json_i64(json_get(node->source, MR_STR("precision")), 0);
        int64_t scale = json_i64(json_get(node->source, MR_STR("scale")), 0);
        if (precision < 1 || precision > 10000 || scale < 0 || scale > precision ||
            (node->kind == AVRO_FIXED && precision > fixed_digits(node->size)))
            return;
        node->precision = (uint16_t)precision;
        node->scale = (uint16_t)scale;
    }
    node->logical = logical;
}

static mr_err parse(struct parser *parser, const struct json_value *value, mr_str space,
                    const struct avro_node **out);

/* ---- named types ---- */
static mr_err parse_aliases(struct parser *parser, const struct json_value *list, mr_str space,
                            bool full, const mr_str **aliases, uint32_t *count)
{
    if (list == NULL)
        return MR_OK;
    if (list->kind != JSON_ARRAY)
        return mr_fail(MR_INVALID, "Avro schema: aliases: expected an array of names");
    mr_str *names = mr_arena_array(parser->arena, mr_str, list->count);
    for (uint32_t i = 0; i < list->count; i++) {
        mr_str name = json_str(&list->items[i], MR_STR_NULL);
        if (!full_name_valid(name))
            return mr_fail(MR_INVALID, "Avro schema: aliases: expected a name, found %.*s",
                           MR_STR_ARG(list->items[i].raw));
        names[i] = full ? qualified(parser, name, space) : name;
    }
    *aliases = names;
    *count = list->count;
    return MR_OK;
}

/* Sets the full name and makes the type known under it. `*space`: the namespace inside of the type. */
static mr_err declare(struct parser *parser, struct avro_node *node, mr_str *space)
{
    const struct json_value *own = json_get(node->source, MR_STR("namespace"));
    mr_str name = json_str(json_get(node->source, MR_STR("name")), MR_STR_NULL);

    if (name.data == NULL)
        return mr_fail(MR_INVALID, "Avro schema: No name in schema: %.*s",
                       MR_STR_ARG(node->source->raw));
    name = qualified(parser, name, json_str(own, *space));
    enum avro_kind primitive;
    if (!full_name_valid(name) || (find_kind(name, &primitive) && primitive < AVRO_RECORD))
        return mr_fail(MR_INVALID, "Avro schema: Illegal name: %.*s", MR_STR_ARG(name));
    if (mr_map_get(&parser->schema->names, name) != NULL)
        return mr_fail(MR_INVALID, "Avro schema: Can't redefine: %.*s", MR_STR_ARG(name));
    node->name = name;
    (void)mr_map_put(&parser->schema->names, name, node);
    *space = avro_name_space(name);
    return parse_aliases(parser, json_get(node->source, MR_STR("aliases")), *space, true,
                         &node->aliases, &node->alias_count);
}

static mr_err parse_field(struct parser *parser, const struct json_value *value, mr_str space,
                          struct avro_field *field)
{
    const struct json_value *type = json_get(value, MR_STR("type"));

    field->source = value;
    field->name = json_str(json_get(value, MR_STR("name")), MR_STR_NULL);
    field->doc = json_str(json_get(value, MR_STR("doc")), MR_STR_NULL);
    if (!avro_name_valid(field->name))
        return mr_fail(MR_INVALID, "Avro schema: Illegal or missing field name: %.*s",
                       MR_STR_ARG(value->raw));
    if (type == NULL)
        return mr_fail(MR_INVALID, "Avro schema: No field type: %.*s", MR_STR_ARG(field->name));
    field->default_value = json_get(value, MR_STR("default"));
    field->has_default = field->default_value != NULL;
    mr_err err = parse_aliases(parser, json_get(value, MR_STR("aliases")), MR_STR(""), false,
                               &field->aliases, &field->alias_count);
    return err != MR_OK ? err : parse(parser, type, space, &field->type);
}

static mr_err parse_record(struct parser *parser, struct avro_node *node, mr_str space)
{
    mr_err err = declare(parser, node, &space);
    const struct json_value *list = json_get(node->source, MR_STR("fields"));

    if (err != MR_OK)
        return err;
    if (list == NULL || list->kind != JSON_ARRAY)
        return mr_fail(MR_INVALID, "Avro schema: Record has no fields: %.*s",
                       MR_STR_ARG(node->name));
    struct avro_field *fields = mr_arena_array(parser->arena, struct avro_field, list->count);
    struct mr_map seen = {0};
    for (uint32_t i = 0; i < list->count && err == MR_OK; i++) {
        err = parse_field(parser, &list->items[i], space, &fields[i]);
        if (err == MR_OK && mr_map_put(&seen, fields[i].name, &fields[i]) != NULL)
            err = mr_fail(MR_INVALID, "Avro schema: Duplicate field %.*s in record %.*s",
                          MR_STR_ARG(fields[i].name), MR_STR_ARG(node->name));
    }
    mr_map_fini(&seen);
    node->fields = fields;
    node->field_count = list->count;
    return err;
}

static mr_err parse_enum(struct parser *parser, struct avro_node *node, mr_str space)
{
    mr_err err = declare(parser, node, &space);
    const struct json_value *list = json_get(node->source, MR_STR("symbols"));
    const struct json_value *other = json_get(node->source, MR_STR("default"));

    if (err != MR_OK)
        return err;
    if (list == NULL || list->kind != JSON_ARRAY)
        return mr_fail(MR_INVALID, "Avro schema: Enum has no symbols: %.*s",
                       MR_STR_ARG(node->name));
    mr_str *symbols = mr_arena_array(parser->arena, mr_str, list->count);
    struct mr_map seen = {0};
    for (uint32_t i = 0; i < list->count && err == MR_OK; i++) {
        symbols[i] = json_str(&list->items[i], MR_STR_NULL);
        if (!avro_name_valid(symbols[i]))
            err = mr_fail(MR_INVALID, "Avro schema: Illegal symbol: %.*s",
                          MR_STR_ARG(list->items[i].raw));
        else if (mr_map_put(&seen, symbols[i], &symbols[i]) != NULL)
            err = mr_fail(MR_INVALID, "Avro schema: Duplicate enum symbol: %.*s",
                          MR_STR_ARG(symbols[i]));
    }
    if (err == MR_OK && other != NULL) {
        node->default_symbol = json_str(other, MR_STR_NULL);
        if (node->default_symbol.data == NULL || mr_map_get(&seen, node->default_symbol) == NULL)
            err = mr_fail(MR_INVALID,
                          "Avro schema: The Enum Default: %.*s is not in the enum symbol set",
                          MR_STR_ARG(other->raw));
    }
    mr_map_fini(&seen);
    node->symbols = symbols;
    node->symbol_count = list->count;
    return err;
}

static mr_err parse_fixed(struct parser *parser, struct avro_node *node, mr_str space)
{
    mr_err err = declare(parser, node, &space);
    int64_t size = json_i64(json_get(node->source, MR_STR("size")), -1);

    if (err != MR_OK)
        return err;
    if (size < 0 || size > INT32_MAX)
        return mr_fail(MR_INVALID, "Avro schema: Invalid or no size: %.*s", MR_STR_ARG(node->name));
    node->size = (uint32_t)size;
    set_logical(node);
    return MR_OK;
}

/* ---- the others ---- */
static mr_err parse_union(struct parser *parser, const struct json_value *value, mr_str space,
                          const struct avro_node **out)
{
    struct avro_node *node;
    mr_err err = new_node(parser, AVRO_UNION, value, &node);

    if (err != MR_OK)
        return err;
    const struct avro_node **branches = mr_arena_array(parser->arena, const struct avro_node *,
                                                       value->count);
    struct mr_map seen = {0};
    for (uint32_t i = 0; i < value->count && err == MR_OK; i++) {
        err = parse(parser, &value->items[i], space, &branches[i]);
        if (err != MR_OK)
            break;
        mr_str name = branches[i]->name.data != NULL ? branches[i]->name
                                                     : avro_kind_word(branches[i]->kind);
        if (branches[i]->kind == AVRO_UNION)
            err = mr_fail(MR_INVALID, "Avro schema: Nested union: %.*s", MR_STR_ARG(value->raw));
        else if (mr_map_put(&seen, name, node) != NULL)
            err = mr_fail(MR_INVALID, "Avro schema: Duplicate in union: %.*s", MR_STR_ARG(name));
    }
    mr_map_fini(&seen);
    node->branches = branches;
    node->branch_count = value->count;
    *out = node;
    return err;
}

static mr_err parse_word(struct parser *parser, const struct json_value *value, mr_str word,
                         mr_str space, const struct avro_node **out)
{
    enum avro_kind kind;

    if (find_kind(word, &kind) && kind < AVRO_RECORD) {
        struct avro_node *node;
        mr_err err = new_node(parser, kind, value, &node);
        if (err == MR_OK) {
            set_logical(node);
            *out = node;
        }
        return err;
    }
    const struct avro_node *named = mr_map_get(&parser->schema->names,
                                               qualified(parser, word, space));
    if (named == NULL)
        named = mr_map_get(&parser->schema->names, word);
    if (named == NULL)
        return mr_fail(MR_INVALID, "Avro schema: Undefined name: \"%.*s\"", MR_STR_ARG(word));
    *out = named;
    return MR_OK;
}

static mr_err parse_collection(struct parser *parser, struct avro_node *node, mr_str space)
{
    mr_str word = node->kind == AVRO_ARRAY ? MR_STR("items") : MR_STR("values");
    const struct json_value *element = json_get(node->source, word);

    if (element == NULL)
        return mr_fail(MR_INVALID, "Avro schema: %.*s has no %.*s type",
                       MR_STR_ARG(avro_kind_word(node->kind)), MR_STR_ARG(word));
    return parse(parser, element, space, &node->element);
}

static mr_err parse_object(struct parser *parser, const struct json_value *value, mr_str space,
                           const struct avro_node **out)
{
    mr_str word = json_str(json_get(value, MR_STR("type")), MR_STR_NULL);
    enum avro_kind kind;
    struct avro_node *node;

    if (word.data == NULL)
        return mr_fail(MR_INVALID, "Avro schema: No type: %.*s", MR_STR_ARG(value->raw));
    if (!find_kind(word, &kind) || kind < AVRO_RECORD || kind == AVRO_UNION)
        return parse_word(parser, value, word, space, out);
    mr_err err = new_node(parser, kind, value, &node);
    if (err != MR_OK)
        return err;
    *out = node;
    switch (kind) {
    case AVRO_RECORD:
        return parse_record(parser, node, space);
    case AVRO_ENUM:
        return parse_enum(parser, node, space);
    case AVRO_FIXED:
        return parse_fixed(parser, node, space);
    case AVRO_ARRAY:
    case AVRO_MAP:
    case AVRO_NULL:
    case AVRO_BOOLEAN:
    case AVRO_INT:
    case AVRO_LONG:
    case AVRO_FLOAT:
    case AVRO_DOUBLE:
    case AVRO_BYTES:
    case AVRO_STRING:
    case AVRO_UNION:
        break;
    }
    return parse_collection(parser, node, space);
}

static mr_err parse(struct parser *parser, const struct json_value *value, mr_str space,
                    const struct avro_node **out)
{
    switch (value->kind) {
    case JSON_STRING:
        return parse_word(parser, value, value->text, space, out);
    case JSON_ARRAY:
        return parse_union(parser, value, space, out);
    case JSON_OBJECT:
        return parse_object(parser, value, space, out);
    case JSON_NULL:
    case JSON_BOOLEAN:
    case JSON_NUMBER:
        break;
    }
    return mr_fail(MR_INVALID, "Avro schema: expected a name, an object or an array, found %.*s",
                   MR_STR_ARG(value->raw));
}

static mr_err parse_text(struct parser *parser, mr_str text, const struct avro_node **out)
{
    const struct json_value *value;
    mr_err err = json_parse(parser->arena, mr_arena_str(parser->arena, text), &value);

    return err != MR_OK ? err : parse(parser, value, MR_STR(""), out);
}

mr_err avro_schema_parse(mr_str text, const mr_str *references, size_t reference_count,
                         struct avro_schema **out)
{
    struct avro_schema *schema = mr_new(struct avro_schema);
    struct parser parser = {schema, &schema->arena};
    mr_err err = MR_OK;

    for (size_t i = 0; i < reference_count && err == MR_OK; i++)
        err = parse_text(&parser, references[i], &schema->root);
    if (err == MR_OK)
        err = parse_text(&parser, text, &schema->root);
    if (err != MR_OK) {
        avro_schema_free(schema);
        return err;
    }
    *out = schema;
    return MR_OK;
}

void avro_schema_free(struct avro_schema *schema)
{
    if (schema == NULL)
        return;
    mr_map_fini(&schema->names);
    mr_arena_fini(&schema->arena);
    mr_free(schema);
}

const struct avro_node *avro_schema_root(const struct avro_schema *schema)
{
    return schema->root;
}

/* ---- defaults (specification, "Complex Types", table of default values) ---- */
static bool fits(const struct json_value *value, const struct avro_node *node, int depth);

static bool number_fits(const struct json_value *value, int64_t low, int64_t high)
{
    int64_t number;

    return value->kind == JSON_NUMBER && mr_str_to_i64(value->text, &number) == MR_OK &&
           number >= low && number <= high;
}

static bool record_fits(const struct json_value *value, const struct avro_node *node, int depth)
{
    if (value->kind != JSON_OBJECT)
        return false;
    for (uint32_t i = 0; i < node->field_count; i++) {
        const struct json_value *item = json_get(value, node->fields[i].name);
        if (item == NULL ? !node->fields[i].has_default
                         : !fits(item, node->fields[i].type, depth + 1))
            return false;
    }
    return true;
}

static bool items_fit(const struct json_value *value, const struct avro_node *node, int depth)
{
    if (value->kind != (node->kind == AVRO_ARRAY ? JSON_ARRAY : JSON_OBJECT))
        return false;
    for (uint32_t i = 0; i < value->count; i++) {
        if (!fits(&value->items[i], node->element, depth + 1))
            return false;
    }
    return true;
}

static bool fits(const struct json_value *value, const struct avro_node *node, int depth)
{
    if (depth > MR_LIMIT_AVRO_DEPTH)
        return false;
    switch (node->kind) {
    case AVRO_NULL:
        return value->kind == JSON_NULL;
    case AVRO_BOOLEAN:
        return value->kind == JSON_BOOLEAN;
    case AVRO_INT:
        return number_fits(value, INT32_MIN, INT32_MAX);
    case AVRO_LONG:
        return number_fits(value, INT64_MIN, INT64_MAX);
    case AVRO_FLOAT:
    case AVRO_DOUBLE:
        return value->kind == JSON_NUMBER ||
               (value->kind == JSON_STRING && (mr_str_equal(value->text, MR_STR("NaN")) ||
                                               mr_str_equal(value->text, MR_STR("Infinity")) ||
                                               mr_str_equal(value->text, MR_STR("-Infinity"))));
    case AVRO_BYTES:
    case AVRO_STRING:
    case AVRO_ENUM:
    case AVRO_FIXED:
        return value->kind == JSON_STRING;
    case AVRO_RECORD:
        return record_fits(value, node, depth);
    case AVRO_ARRAY:
    case AVRO_MAP:
        return items_fit(value, node, depth);
    case AVRO_UNION: /* 1.11: the first branch; Java takes any */
        for (uint32_t i = 0; i < node->branch_count; i++) {
            if (fits(value, node->branches[i], depth + 1))
                return true;
        }
        return false;
    }
    return false;
}

static mr_err check_record(const struct avro_node *node)
{
    for (uint32_t i = 0; i < node->field_count; i++) {
        const struct avro_field *field = &node->fields[i];
        const struct avro_node *type = field->type;
        if (!field->has_default)
            continue;
        if (type->kind == AVRO_UNION && type->branch_count > 0)
            type = type->branches[0];
        if (!fits(field->default_value, type, 0))
            return mr_fail(MR_INVALID,
                           "Avro schema: Invalid default for field %.*s: %.*s not a %.*s",
                           MR_STR_ARG(field->name), MR_STR_ARG(field->default_value->raw),
                           MR_STR_ARG(field->type->source->raw));
    }
    return MR_OK;
}

mr_err avro_schema_check_defaults(const struct avro_schema *schema)
{
    struct mr_map_entry *entry;

    for (size_t i = 0; (entry = mr_map_next(&schema->names, &i)) != NULL;) {
        mr_err err = check_record(entry->value);
        if (err != MR_OK)
            return err;
    }
    return MR_OK;
}
