/* cql/type.c: type descriptors: constants for scalars, arena copies for the rest; their text, and
 * their [option] on the wire (section 4.2.5.2). */
#include "cql/cql.h"

enum { DEPTH_MAX = 16, ARGS_MAX = 1024 };

#define CQL_SCALAR_ROW(NAME, code, text, bytes, class) \
    static const struct cql_type scalar_##NAME = {.id = CQL_TYPE_##NAME};
#include "cql/types.def"

const struct cql_type *cql_type_scalar(enum cql_type_id id)
{
    switch ((int)id) {
#define CQL_SCALAR_ROW(NAME, id, text, bytes, class) \
    case CQL_TYPE_##NAME:                            \
        return &scalar_##NAME;
#include "cql/types.def"
    default:
        return NULL;
    }
}

static const char *type_name(enum cql_type_id id)
{
    switch (id) {
#define CQL_TYPE_ROW(NAME, id, text, bytes, class) \
    case CQL_TYPE_##NAME:                          \
        return text;
#include "cql/types.def"
    }
    return "?";
}

int cql_type_bytes(const struct cql_type *type)
{
    switch (type->id) {
#define CQL_TYPE_ROW(NAME, id, text, bytes, class) \
    case CQL_TYPE_##NAME:                          \
        return bytes;
#include "cql/types.def"
    }
    return 0;
}

/* ---- making ---- */
const struct cql_type *cql_type_tuple(struct mr_arena *arena, const struct cql_type *const *args,
                                      size_t count)
{
    struct cql_type *type = mr_arena_new(arena, struct cql_type);
    const struct cql_type **copy = mr_arena_array(arena, const struct cql_type *, count);
    for (size_t i = 0; i < count; i++)
        copy[i] = args[i];
    type->id = CQL_TYPE_TUPLE;
    type->frozen = true; /* a tuple is always one value */
    type->arg_count = (uint16_t)count;
    type->args = copy;
    return type;
}

static struct cql_type *collection(struct mr_arena *arena, enum cql_type_id id,
                                   const struct cql_type *first, const struct cql_type *second)
{
    const struct cql_type *args[] = {first, second};
    struct cql_type *type = mr_arena_new(arena, struct cql_type);
    *type = *cql_type_tuple(arena, args, second == NULL ? 1 : 2);
    type->id = id;
    type->frozen = false;
    return type;
}

const struct cql_type *cql_type_list(struct mr_arena *arena, const struct cql_type *element)
{
    return collection(arena, CQL_TYPE_LIST, element, NULL);
}

const struct cql_type *cql_type_set(struct mr_arena *arena, const struct cql_type *element)
{
    return collection(arena, CQL_TYPE_SET, element, NULL);
}

const struct cql_type *cql_type_map(struct mr_arena *arena, const struct cql_type *key,
                                    const struct cql_type *value)
{
    return collection(arena, CQL_TYPE_MAP, key, value);
}

const struct cql_type *cql_type_frozen(struct mr_arena *arena, const struct cql_type *type)
{
    if (type->frozen || type->arg_count == 0)
        return type;
    struct cql_type *frozen = mr_arena_new(arena, struct cql_type);
    *frozen = *type;
    frozen->frozen = true;
    return frozen;
}

const struct cql_type *cql_type_copy(struct mr_arena *arena, const struct cql_type *type)
{
    const struct cql_type *scalar = cql_type_scalar(type->id);
    if (scalar != NULL)
        return scalar;
    struct cql_type *copy = mr_arena_new(arena, struct cql_type);
    const struct cql_type **args = mr_arena_array(arena, const struct cql_type *, type->arg_count);
    for (uint16_t i = 0; i < type->arg_count; i++)
        args[i] = cql_type_copy(arena, type->args[i]);
    *copy = *type;
    copy->args = args;
    copy->keyspace = mr_arena_str(arena, type->keyspace);
    copy->name = mr_arena_str(arena, type->name);
    if (type->fields != NULL) {
        mr_str *fields = mr_arena_array(arena, mr_str, type->arg_count);
        for (uint16_t i = 0; i < type->arg_count; i++)
            fields[i] = mr_arena_str(arena, type->fields[i]);
        copy->fields = fields;
    }
    return copy;
}

bool cql_type_equal(const struct cql_type *a, const struct cql_type *b)
{
    if (a->id != b->id || a->arg_count != b->arg_count || !mr_str_equal(a->name, b->name))
        return false;
    for (uint16_t i = 0; i < a->arg_count; i++)
        if (!cql_type_equal(a->args[i], b->args[i]))
            return false;
    return true;
}

bool cql_type_is_collection(const struct cql_type *type)
{
    return type->id == CQL_TYPE_LIST || type->id == CQL_TYPE_SET || type->id == CQL_TYPE_MAP;
}

/* ---- text ---- */
void cql_type_print(struct mr_buf *out, const struct cql_type *type)
{
    if (type->id == CQL_TYPE_UDT || type->id == CQL_TYPE_CUSTOM) {
        mr_buf_str(out, type->name);
        return;
    }
    bool wrapped = type->frozen && type->arg_count > 0;
    if (wrapped)
        mr_buf_cstr(out, "frozen<");
    mr_buf_cstr(out, type_name(type->id));
    for (uint16_t i = 0; i < type->arg_count; i++) {
        mr_buf_cstr(out, i == 0 ? "<" : ", ");
        cql_type_print(out, type->args[i]);
    }
    if (type->arg_count > 0)
        mr_buf_u8(out, '>');
    if (wrapped)
        mr_buf_u8(out, '>');
}

struct reader {
    struct mr_arena *arena;
    mr_str whole, rest;
};

static mr_str read_word(struct reader *reader)
{
    reader->rest = mr_str_trim(reader->rest);
    size_t length = 0;
    while (length < reader->rest.length && strchr("<>, \t\r\n", reader->rest.data[length]) == NULL)
        length++;
    mr_str word = mr_str_slice(reader->rest, 0, length);
    reader->rest = mr_str_trim(mr_str_slice(reader->rest, length, reader->rest.length));
    return word;
}

static bool read_sign(struct reader *reader, char sign)
{
    reader->rest = mr_str_trim(reader->rest);
    if (reader->rest.length == 0 || reader->rest.data[0] != sign)
        return false;
    reader->rest = mr_str_slice(reader->rest, 1, reader->rest.length);
    return true;
}

static bool find_name(mr_str word, enum cql_type_id *out)
{
#define CQL_TYPE_ROW(NAME, id, text, bytes, class) \
    if (mr_str_equal_nocase(word, MR_STR(text))) { \
        *out = CQL_TYPE_##NAME;                    \
        return true;                               \
    }
#include "cql/types.def"
    if (mr_str_equal_nocase(word, MR_STR("varchar"))) {
        *out = CQL_TYPE_TEXT;
        return true;
    }
    return false;
}

static mr_err read_type(struct reader *reader, int depth, const struct cql_type **out);

/* Reads "<a, b>" into args. */
static mr_err read_args(struct reader *reader, int depth, const struct cql_type **args,
                        size_t args_max, size_t *count)
{
    if (!read_sign(reader, '<'))
        return mr_fail(MR_INVALID, "type \"%.*s\": expected '<'", MR_STR_ARG(reader->whole));
    *count = 0;
    do {
        if (*count == args_max)
            return mr_fail(MR_INVALID, "type \"%.*s\": more than %zu arguments",
                           MR_STR_ARG(reader->whole), args_max);
        mr_err err = read_type(reader, depth + 1, &args[*count]);
        if (err != MR_OK)
            return err;
        (*count)++;
    } while (read_sign(reader, ','));
    if (!read_sign(reader, '>'))
        return mr_fail(MR_INVALID, "type \"%.*s\": expected '>'", MR_STR_ARG(reader->whole));
    return MR_OK;
}

static mr_err check_arg_count(const struct reader *reader, size_t found, size_t expected)
{
    return found == expected
               ? MR_OK
               : mr_fail(MR_INVALID, "type \"%.*s\": expected %zu arguments, found %zu",
                         MR_STR_ARG(reader->whole), expected, found);
}

static mr_err read_type(struct reader *reader, int depth, const struct cql_type **out)
{
    if (depth > DEPTH_MAX)
        return mr_fail(MR_LIMIT, "type \"%.*s\": nested deeper than %d", MR_STR_ARG(reader->whole),
                       DEPTH_MAX);
    mr_str word = read_word(reader);
    const struct cql_type *args[64];
    size_t count = 0;
    enum cql_type_id id = CQL_TYPE_CUSTOM;
    if (mr_str_equal_nocase(word, MR_STR("frozen"))) {
        mr_err err = read_args(reader, depth, args, 1, &count);
        if (err == MR_OK)
            *out = cql_type_frozen(reader->arena, args[0]);
        return err;
    }
    if (!find_name(word, &id) || id == CQL_TYPE_CUSTOM || id == CQL_TYPE_UDT)
        return mr_fail(MR_INVALID, "Unknown type %.*s", MR_STR_ARG(word));
    *out = cql_type_scalar(id);
    if (*out != NULL)
        return MR_OK;
    mr_err err = read_args(reader, depth, args, mr_count_of(args), &count);
    if (err == MR_OK && id != CQL_TYPE_TUPLE)
        err = check_arg_count(reader, count, id == CQL_TYPE_MAP ? 2 : 1);
    if (err != MR_OK)
        return err;
    if (id == CQL_TYPE_TUPLE)
        *out = cql_type_tuple(reader->arena, args, count);
    else
        *out = collection(reader->arena, id, args[0], id == CQL_TYPE_MAP ? args[1] : NULL);
    return MR_OK;
}

mr_err cql_type_parse(struct mr_arena *arena, mr_str text, const struct cql_type **out)
{
    struct reader reader = {arena, text, text};
    const struct cql_type *type = NULL;
    mr_err err = read_type(&reader, 0, &type);
    if (err == MR_OK && mr_str_trim(reader.rest).length > 0)
        err = mr_fail(MR_INVALID, "type \"%.*s\": \"%.*s\" follows it", MR_STR_ARG(text),
                      MR_STR_ARG(reader.rest));
    if (err == MR_OK)
        *out = type;
    return err;
}

/* ---- wire ---- */
void cql_type_write(struct mr_buf *out, const struct cql_type *type)
{
    mr_buf_be16(out, (uint16_t)type->id);
    if (type->id == CQL_TYPE_CUSTOM)
        cql_write_string(out, type->name);
    if (type->id == CQL_TYPE_UDT) {
        cql_write_string(out, type->keyspace);
        cql_write_string(out, type->name);
    }
    if (type->id == CQL_TYPE_UDT || type->id == CQL_TYPE_TUPLE)
        mr_buf_be16(out, type->arg_count);
    for (uint16_t i = 0; i < type->arg_count; i++) {
        if (type->id == CQL_TYPE_UDT)
            cql_write_string(out, type->fields[i]);
        cql_type_write(out, type->args[i]);
    }
}

static const struct cql_type *read_option(struct mr_in *in, struct mr_arena *arena, int depth)
{
    unsigned id = mr_in_be16(in);
    const struct cql_type *scalar = id > CQL_TYPE_TUPLE ? NULL
                                                        : cql_type_scalar((enum cql_type_id)id);
    if (scalar != NULL)
        return scalar;
    struct cql_type *type = mr_arena_new(arena, struct cql_type);
    type->id = (enum cql_type_id)id;
    uint16_t count = 0;
    if (id == CQL_TYPE_CUSTOM)
        type->name = mr_arena_str(arena, cql_read_string(in));
    else if (id == CQL_TYPE_LIST || id == CQL_TYPE_SET)
        count = 1;
    else if (id == CQL_TYPE_MAP)
        count = 2;
    else if (id == CQL_TYPE_UDT || id == CQL_TYPE_TUPLE)
        count = UINT16_MAX; /* said on the wire */
    else
        mr_in_fail(in);
    if (id == CQL_TYPE_UDT) {
        type->keyspace = mr_arena_str(arena, cql_read_string(in));
        type->name = mr_arena_str(arena, cql_read_string(in));
    }
    if (count == UINT16_MAX)
        count = mr_in_be16(in);
    if (depth > DEPTH_MAX || count > ARGS_MAX || count > mr_in_left(in))
        mr_in_fail(in);
    if (in->err != MR_OK)
        return &scalar_BLOB;
    const struct cql_type **args = mr_arena_array(arena, const struct cql_type *, count);
    mr_str *fields = id == CQL_TYPE_UDT ? mr_arena_array(arena, mr_str, count) : NULL;
    for (uint16_t i = 0; i < count; i++) {
        if (fields != NULL)
            fields[i] = mr_arena_str(arena, cql_read_string(in));
        args[i] = read_option(in, arena, depth + 1);
    }
    type->arg_count = count;
    type->args = args;
    type->fields = fields;
    return type;
}

const struct cql_type *cql_type_read(struct mr_in *in, struct mr_arena *arena)
{
    return read_option(in, arena, 0);
}
