/* data/types.c: Spark SQL's types: making, comparing, printing, and reading Spark's DDL. */
#include "data/data.h"

#define SIMPLE(word, KIND) const struct data_type data_type_##word = {.kind = DATA_##KIND}
SIMPLE(null, NULL);
SIMPLE(boolean, BOOLEAN);
SIMPLE(byte, BYTE);
SIMPLE(short, SHORT);
SIMPLE(int, INT);
SIMPLE(long, LONG);
SIMPLE(float, FLOAT);
SIMPLE(double, DOUBLE);
SIMPLE(string, STRING);
SIMPLE(binary, BINARY);
SIMPLE(date, DATE);
SIMPLE(timestamp, TIMESTAMP);
SIMPLE(timestamp_ntz, TIMESTAMP_NTZ);
SIMPLE(interval, INTERVAL);
#undef SIMPLE

/* Names in DDL; the first one of a kind is the one that is printed. */
static const struct {
    const char *name;
    const struct data_type *type;
} simple_types[] = {
    {"void", &data_type_null},
    {"boolean", &data_type_boolean},
    {"tinyint", &data_type_byte},
    {"smallint", &data_type_short},
    {"int", &data_type_int},
    {"bigint", &data_type_long},
    {"float", &data_type_float},
    {"double", &data_type_double},
    {"string", &data_type_string},
    {"binary", &data_type_binary},
    {"date", &data_type_date},
    {"timestamp", &data_type_timestamp},
    {"timestamp_ntz", &data_type_timestamp_ntz},
    {"interval day to second", &data_type_interval},
    {"byte", &data_type_byte},
    {"short", &data_type_short},
    {"integer", &data_type_int},
    {"long", &data_type_long},
    {"real", &data_type_float},
    {"timestamp_ltz", &data_type_timestamp},
};

bool data_kind_is_whole(enum data_kind kind)
{
    return kind >= DATA_BYTE && kind <= DATA_LONG;
}

bool data_kind_is_number(enum data_kind kind)
{
    return kind >= DATA_BYTE && kind <= DATA_DOUBLE;
}

/* ---- making ---- */
const struct data_type *data_type_decimal(struct mr_arena *arena, int precision, int scale)
{
    mr_assert(precision >= 1 && precision <= DATA_DECIMAL_DIGITS && scale >= 0 &&
              scale <= precision);
    struct data_type *type = mr_arena_new(arena, struct data_type);
    type->kind = DATA_DECIMAL;
    type->precision = (uint8_t)precision;
    type->scale = (uint8_t)scale;
    return type;
}

const struct data_type *data_type_array(struct mr_arena *arena, const struct data_type *element)
{
    struct data_type *type = mr_arena_new(arena, struct data_type);
    type->kind = DATA_ARRAY;
    type->element = element;
    type->element_nullable = true;
    return type;
}

const struct data_type *data_type_map(struct mr_arena *arena, const struct data_type *key,
                                      const struct data_type *value)
{
    struct data_type *type = mr_arena_new(arena, struct data_type);
    type->kind = DATA_MAP;
    type->key = key;
    type->element = value;
    type->element_nullable = true;
    return type;
}

const struct data_type *data_type_struct(struct mr_arena *arena, const struct data_field *fields,
                                         size_t count)
{
    struct data_type *type = mr_arena_new(arena, struct data_type);
    struct data_field *copies = mr_arena_array(arena, struct data_field, count);
    for (size_t i = 0; i < count; i++) {
        copies[i] = fields[i];
        copies[i].name = mr_arena_str(arena, fields[i].name);
    }
    type->kind = DATA_STRUCT;
    type->fields = copies;
    type->field_count = (uint32_t)count;
    return type;
}

const struct data_type *data_type_copy(struct mr_arena *arena, const struct data_type *type)
{
    if (type == NULL)
        return NULL;
    for (size_t i = 0; i < mr_count_of(simple_types); i++)
        if (simple_types[i].type->kind == type->kind)
            return simple_types[i].type;
    struct data_type *copy = mr_arena_new(arena, struct data_type);
    *copy = *type;
    copy->key = data_type_copy(arena, type->key);
    copy->element = data_type_copy(arena, type->element);
    struct data_field *fields = mr_arena_array(arena, struct data_field, type->field_count);
    for (uint32_t i = 0; i < type->field_count; i++) {
        fields[i] = type->fields[i];
        fields[i].name = mr_arena_str(arena, type->fields[i].name);
        fields[i].type = data_type_copy(arena, type->fields[i].type);
    }
    copy->fields = fields;
    return copy;
}

/* ---- looking ---- */
bool data_type_equal(const struct data_type *a, const struct data_type *b)
{
    if (a == b)
        return true;
    if (a == NULL || b == NULL || a->kind != b->kind || a->precision != b->precision ||
        a->scale != b->scale || a->field_count != b->field_count)
        return false;
    for (uint32_t i = 0; i < a->field_count; i++)
        if (!mr_str_equal_nocase(a->fields[i].name, b->fields[i].name) ||
            !data_type_equal(a->fields[i].type, b->fields[i].type))
            return false;
    return data_type_equal(a->key, b->key) && data_type_equal(a->element, b->element);
}

int data_type_field(const struct data_type *type, mr_str name)
{
    for (uint32_t i = 0; i < type->field_count; i++)
        if (mr_str_equal_nocase(type->fields[i].name, name))
            return (int)i;
    return -1;
}

bool data_type_has_lists(const struct data_type *type)
{
    if (type->kind == DATA_ARRAY || type->kind == DATA_MAP)
        return true;
    for (uint32_t i = 0; i < type->field_count; i++)
        if (data_type_has_lists(type->fields[i].type))
            return true;
    return false;
}

/* ---- printing ---- */
static bool is_word_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static bool is_plain_name(mr_str name)
{
    for (size_t i = 0; i < name.length; i++)
        if (!is_word_char(name.data[i]))
            return false;
    return name.length > 0 && !(name.data[0] >= '0' && name.data[0] <= '9');
}

static void print_name(struct mr_buf *out, mr_str name, bool sql)
{
    if (!sql || is_plain_name(name)) {
        mr_buf_str(out, name);
        return;
    }
    mr_buf_u8(out, '`');
    for (size_t i = 0; i < name.length; i++) {
        if (name.data[i] == '`')
            mr_buf_u8(out, '`');
        mr_buf_u8(out, (uint8_t)name.data[i]);
    }
    mr_buf_u8(out, '`');
}

static void print_word(struct mr_buf *out, const char *word, bool sql)
{
    for (; *word != '\0'; word++)
        mr_buf_u8(out, (uint8_t)(sql && *word >= 'a' && *word <= 'z' ? *word - 32 : *word));
}

static void type_print(struct mr_buf *out, const struct data_type *type, bool sql)
{
    switch (type->kind) {
    case DATA_DECIMAL:
        print_word(out, "decimal", sql);
        mr_buf_printf(out, "(%u,%u)", type->precision, type->scale);
        return;
    case DATA_ARRAY:
        print_word(out, "array<", sql);
        type_print(out, type->element, sql);
        mr_buf_u8(out, '>');
        return;
    case DATA_MAP:
        print_word(out, "map<", sql);
        type_print(out, type->key, sql);
        mr_buf_cstr(out, sql ? ", " : ",");
        type_print(out, type->element, sql);
        mr_buf_u8(out, '>');
        return;
    case DATA_STRUCT:
        print_word(out, "struct<", sql);
        for (uint32_t i = 0; i < type->field_count; i++) {
            if (i > 0)
                mr_buf_cstr(out, sql ? ", " : ",");
            print_name(out, type->fields[i].name, sql);
            mr_buf_cstr(out, sql ? ": " : ":");
            type_print(out, type->fields[i].type, sql);
        }
        mr_buf_u8(out, '>');
        return;
    case DATA_NULL:
    case DATA_BOOLEAN:
    case DATA_BYTE:
    case DATA_SHORT:
    case DATA_INT:
    case DATA_LONG:
    case DATA_FLOAT:
    case DATA_DOUBLE:
    case DATA_STRING:
    case DATA_BINARY:
    case DATA_DATE:
    case DATA_TIMESTAMP:
    case DATA_TIMESTAMP_NTZ:
    case DATA_INTERVAL:
        break;
    }
    for (size_t i = 0; i < mr_count_of(simple_types); i++)
        if (simple_types[i].type->kind == type->kind) {
            print_word(out, simple_types[i].name, sql);
            return;
        }
}

void data_type_print(struct mr_buf *out, const struct data_type *type)
{
    type_print(out, type, false);
}

void data_type_print_sql(struct mr_buf *out, const struct data_type *type)
{
    type_print(out, type, true);
}

/* ---- reading DDL: recursive descent over the text, sticky on the first error ---- */
struct ddl {
    struct mr_arena *arena;
    mr_str text;
    size_t at;
    int depth;
    mr_err err;
};

static void ddl_space(struct ddl *ddl)
{
    while (ddl->at < ddl->text.length && (unsigned char)ddl->text.data[ddl->at] <= ' ')
        ddl->at++;
}

static mr_err ddl_fail(struct ddl *ddl, const char *expected)
{
    if (ddl->err == MR_OK) {
        mr_str rest = mr_str_slice(ddl->text, ddl->at, ddl->at + 20);
        ddl->err = rest.length == 0
                       ? mr_fail(MR_INVALID, "type: at character %zu expected %s, found the end",
                                 ddl->at + 1, expected)
                       : mr_fail(MR_INVALID, "type: at character %zu expected %s, found \"%.*s\"",
                                 ddl->at + 1, expected, MR_STR_ARG(rest));
    }
    return ddl->err;
}

static bool ddl_take(struct ddl *ddl, char c)
{
    ddl_space(ddl);
    if (ddl->err != MR_OK || ddl->at >= ddl->text.length || ddl->text.data[ddl->at] != c)
        return false;
    ddl->at++;
    return true;
}

static void ddl_expect(struct ddl *ddl, char c, const char *expected)
{
    if (!ddl_take(ddl, c))
        ddl_fail(ddl, expected);
}

/* A bare word, without moving on when there is none. */
static mr_str ddl_word(struct ddl *ddl)
{
    ddl_space(ddl);
    size_t from = ddl->at;
    while (ddl->at < ddl->text.length && (is_word_char(ddl->text.data[ddl->at]) ||
                                          (unsigned char)ddl->text.data[ddl->at] >= 0x80))
        ddl->at++;
    return mr_str_slice(ddl->text, from, ddl->at);
}

static bool ddl_take_word(struct ddl *ddl, const char *word)
{
    size_t from = ddl->at;
    if (mr_str_equal_nocase(ddl_word(ddl), mr_str_from(word)))
        return true;
    ddl->at = from;
    return false;
}

/* A name: a bare word, or anything in back-ticks, where two stand for one. */
static mr_str ddl_name(struct ddl *ddl)
{
    if (!ddl_take(ddl, '`')) {
        mr_str word = ddl_word(ddl);
        if (word.length == 0)
            ddl_fail(ddl, "a field's name");
        return word;
    }
    struct mr_buf name = {0};
    for (;;) {
        if (ddl->at >= ddl->text.length) {
            ddl_fail(ddl, "a closing `");
            break;
        }
        char c = ddl->text.data[ddl->at++];
        if (c == '`') {
            if (ddl->at >= ddl->text.length || ddl->text.data[ddl->at] != '`')
                break;
            ddl->at++;
        }
        mr_buf_u8(&name, (uint8_t)c);
    }
    mr_str copy = mr_arena_str(ddl->arena, mr_buf_as_str(&name));
    mr_buf_fini(&name);
    return copy;
}

static int ddl_number(struct ddl *ddl)
{
    int64_t number = 0;
    if (mr_str_to_i64(ddl_word(ddl), &number) != MR_OK || number < 0 || number > 1000000)
        ddl_fail(ddl, "a number");
    return (int)number;
}

static const struct data_type *ddl_type(struct ddl *ddl);

/* name[:] type [NOT NULL] [COMMENT '...'], separated by commas, up to `end`. */
static const struct data_type *ddl_fields(struct ddl *ddl, char end)
{
    MR_ARRAY(struct data_field) fields = {0};
    if (end != '\0' && ddl_take(ddl, end))
        return data_type_struct(ddl->arena, NULL, 0);
    do {
        struct data_field field = {.nullable = true};
        field.name = ddl_name(ddl);
        ddl_take(ddl, ':');
        field.type = ddl_type(ddl);
        if (ddl_take_word(ddl, "not")) {
            if (!ddl_take_word(ddl, "null"))
                ddl_fail(ddl, "NULL after NOT");
            field.nullable = false;
        }
        if (ddl_take_word(ddl, "comment")) {
            ddl_expect(ddl, '\'', "a comment in quotes");
            while (ddl->at < ddl->text.length && ddl->text.data[ddl->at] != '\'')
                ddl->at++;
            ddl_expect(ddl, '\'', "a closing quote");
        }
        *mr_array_add(&fields) = field;
    } while (ddl->err == MR_OK && ddl_take(ddl, ','));
    if (end != '\0')
        ddl_expect(ddl, end, "',' or '>'");
    const struct data_type *type = ddl->err == MR_OK
                                       ? data_type_struct(ddl->arena, fields.items, fields.count)
                                       : NULL;
    mr_array_fini(&fields);
    return type;
}

static const struct data_type *ddl_decimal(struct ddl *ddl)
{
    int precision = 10, scale = 0;
    if (ddl_take(ddl, '(')) {
        precision = ddl_number(ddl);
        if (ddl_take(ddl, ','))
            scale = ddl_number(ddl);
        ddl_expect(ddl, ')', "')'");
    }
    if (precision < 1 || precision > DATA_DECIMAL_DIGITS || scale > precision)
        ddl_fail(ddl, "a decimal of 1 to 38 digits, with no more of them behind the point");
    return ddl->err == MR_OK ? data_type_decimal(ddl->arena, precision, scale) : NULL;
}

static const struct data_type *ddl_interval(struct ddl *ddl)
{
    static const char *const units[] = {"day", "hour", "minute", "second"};
    bool found = false;
    for (size_t i = 0; i < mr_count_of(units) && !found; i++)
        found = ddl_take_word(ddl, units[i]);
    if (!found)
        ddl_fail(ddl, "DAY, HOUR, MINUTE or SECOND after INTERVAL");
    if (ddl_take_word(ddl, "to") && ddl_word(ddl).length == 0)
        ddl_fail(ddl, "a unit after TO");
    return &data_type_interval;
}

static const struct data_type *ddl_nested(struct ddl *ddl, mr_str word)
{
    const struct data_type *type = NULL;
    if (mr_str_equal_nocase(word, MR_STR("array"))) {
        ddl_expect(ddl, '<', "'<' after ARRAY");
        const struct data_type *element = ddl_type(ddl);
        ddl_expect(ddl, '>', "'>'");
        if (ddl->err == MR_OK)
            type = data_type_array(ddl->arena, element);
    } else if (mr_str_equal_nocase(word, MR_STR("map"))) {
        ddl_expect(ddl, '<', "'<' after MAP");
        const struct data_type *key = ddl_type(ddl);
        ddl_expect(ddl, ',', "','");
        const struct data_type *value = ddl_type(ddl);
        ddl_expect(ddl, '>', "'>'");
        if (ddl->err == MR_OK)
            type = data_type_map(ddl->arena, key, value);
    } else {
        ddl_expect(ddl, '<', "'<' after STRUCT");
        type = ddl_fields(ddl, '>');
    }
    return type;
}

static const struct data_type *ddl_type(struct ddl *ddl)
{
    if (ddl->err != MR_OK)
        return NULL;
    if (++ddl->depth > MR_LIMIT_JSON_DEPTH) {
        ddl->err = mr_fail(MR_LIMIT, "type: nested deeper than %d", MR_LIMIT_JSON_DEPTH);
        return NULL;
    }
    const struct data_type *type = NULL;
    size_t from = ddl->at;
    mr_str word = ddl_word(ddl);
    if (mr_str_equal_nocase(word, MR_STR("decimal")) || mr_str_equal_nocase(word, MR_STR("dec")) ||
        mr_str_equal_nocase(word, MR_STR("numeric"))) {
        type = ddl_decimal(ddl);
    } else if (mr_str_equal_nocase(word, MR_STR("interval"))) {
        type = ddl_interval(ddl);
    } else if (mr_str_equal_nocase(word, MR_STR("varchar")) ||
               mr_str_equal_nocase(word, MR_STR("char"))) {
        ddl_expect(ddl, '(', "'(' and a length");
        ddl_number(ddl);
        ddl_expect(ddl, ')', "')'");
        type = &data_type_string;
    } else if (mr_str_equal_nocase(word, MR_STR("array")) ||
               mr_str_equal_nocase(word, MR_STR("map")) ||
               mr_str_equal_nocase(word, MR_STR("struct"))) {
        type = ddl_nested(ddl, word);
    } else {
        for (size_t i = 0; i < mr_count_of(simple_types) && type == NULL; i++)
            if (mr_str_equal_nocase(word, mr_str_from(simple_types[i].name)))
                type = simple_types[i].type;
        if (type == NULL) {
            ddl->at = from;
            ddl_space(ddl);
            ddl_fail(ddl, "a type such as STRING, INT, DECIMAL(10,2) or STRUCT<a: STRING>");
        }
    }
    ddl->depth--;
    return type;
}

mr_err data_type_parse(struct mr_arena *arena, mr_str text, const struct data_type **out)
{
    struct ddl ddl = {.arena = arena, .text = text};
    const struct data_type *type = ddl_type(&ddl);
    ddl_space(&ddl);
    if (ddl.err == MR_OK && ddl.at == text.length) {
        *out = type;
        return MR_OK;
    }
    /* Not a type alone: a list of fields then. When this fails too, the attempt that came further
     * knows better what is wrong. */
    size_t type_at = ddl.at;
    char why[512];
    mr_str sentence = mr_str_from(mr_why());
    size_t length = sentence.length < sizeof why - 1 ? sentence.length : sizeof why - 1;
    memcpy(why, sentence.data, length);
    why[length] = '\0';
    mr_err type_err = ddl.err;
    ddl = (struct ddl){.arena = arena, .text = text};
    type = ddl_fields(&ddl, '\0');
    ddl_space(&ddl);
    if (ddl.err == MR_OK && ddl.at < text.length)
        ddl_fail(&ddl, "',' or the end");
    if (ddl.err == MR_OK)
        *out = type;
    else if (type_err != MR_OK && type_at > ddl.at)
        return mr_fail(type_err, "%s", why);
    return ddl.err;
}
