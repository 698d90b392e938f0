/* avro/compatible.c: whether a reader's schema can read what a writer's schema wrote (specification,
 * "Schema Resolution"), with the problems that Java's SchemaCompatibility finds, in its order. */
#include "avro/schema.h"

struct pair {
    const struct avro_node *reader, *writer;
    bool bad;
};
struct check {
    struct mr_arena *arena;
    struct avro_problem *first, **last;
    MR_ARRAY(struct pair) pairs; /* being checked, or checked already */
    uint32_t work;               /* pairs looked at */
    bool quiet;                  /* only the verdict counts */
};
/* Unions of unlike records inside each other multiply; past this nobody means it well. */
enum { WORK_MAX = 1000000 };

static bool check_pair(struct check *check, const struct avro_node *reader,
                       const struct avro_node *writer, mr_str path);

static bool report(struct check *check, const char *kind, mr_str path, mr_str message)
{
    if (!check->quiet) {
        struct avro_problem *problem = mr_arena_new(check->arena, struct avro_problem);
        *problem = (struct avro_problem){mr_str_from(kind), path.length > 0 ? path : MR_STR("/"),
                                         message, NULL};
        *check->last = problem;
        check->last = &problem->next;
    }
    return false;
}

static mr_str upper(struct check *check, const struct avro_node *node)
{
    mr_str word = avro_kind_word(node->kind);
    char *out = mr_arena_alloc(check->arena, word.length + 1);

    for (size_t i = 0; i < word.length; i++)
        out[i] = (char)(word.data[i] - 'a' + 'A');
    return mr_str_of(out, word.length);
}

static mr_str below(struct check *check, mr_str path, const char *step)
{
    return mr_arena_printf(check->arena, "%.*s/%s", MR_STR_ARG(path), step);
}

/* The verdict alone, without problems. */
static bool agrees(struct check *check, const struct avro_node *reader,
                   const struct avro_node *writer)
{
    bool quiet = check->quiet;

    check->quiet = true;
    bool good = check_pair(check, reader, writer, MR_STR(""));
    check->quiet = quiet;
    return good;
}

static bool has_name(const mr_str *names, uint32_t count, mr_str name)
{
    for (uint32_t i = 0; i < count; i++) {
        if (mr_str_equal(names[i], name))
            return true;
    }
    return false;
}

static bool check_name(struct check *check, const struct avro_node *reader,
                       const struct avro_node *writer, mr_str path)
{
    if (mr_str_equal(avro_name_simple(reader->name), avro_name_simple(writer->name)) ||
        has_name(reader->aliases, reader->alias_count, writer->name))
        return true;
    return report(check, "NAME_MISMATCH", below(check, path, "name"),
                  mr_arena_printf(check->arena, "expected: %.*s", MR_STR_ARG(writer->name)));
}

static bool check_symbols(struct check *check, const struct avro_node *reader,
                          const struct avro_node *writer, mr_str path)
{
    struct mr_buf missing = {0};

    for (uint32_t i = 0; i < writer->symbol_count; i++) {
        if (has_name(reader->symbols, reader->symbol_count, writer->symbols[i]))
            continue;
        mr_buf_cstr(&missing, missing.length > 0 ? ", " : "[");
        mr_buf_str(&missing, writer->symbols[i]);
    }
    bool good = missing.length == 0 || reader->default_symbol.data != NULL;
    mr_buf_u8(&missing, ']');
    if (!good)
        (void)report(check, "MISSING_ENUM_SYMBOLS", below(check, path, "symbols"),
                     mr_arena_str(check->arena, mr_buf_as_str(&missing)));
    mr_buf_fini(&missing);
    return good;
}

static const struct avro_field *writer_field(const struct avro_node *writer,
                                             const struct avro_field *field)
{
    for (uint32_t i = 0; i < writer->field_count; i++) {
        if (mr_str_equal(writer->fields[i].name, field->name))
            return &writer->fields[i];
    }
    for (uint32_t i = 0; i < writer->field_count; i++) {
        if (has_name(field->aliases, field->alias_count, writer->fields[i].name))
            return &writer->fields[i];
    }
    return NULL;
}

static bool check_fields(struct check *check, const struct avro_node *reader,
                         const struct avro_node *writer, mr_str path)
{
    bool good = true;

    for (uint32_t i = 0; i < reader->field_count; i++) {
        const struct avro_field *field = &reader->fields[i], *other = writer_field(writer, field);
        mr_str at = mr_arena_printf(check->arena, "%.*s/fields/%u", MR_STR_ARG(path), i);
        if (other != NULL)
            good &= check_pair(check, field->type, other->type, below(check, at, "type"));
        else if (!field->has_default &&
                 (field->type->kind != AVRO_ENUM || field->type->default_symbol.data == NULL))
            good = report(check, "READER_FIELD_MISSING_DEFAULT_VALUE", at, field->name);
    }
    return good;
}

static bool check_writer_union(struct check *check, const struct avro_node *reader,
                               const struct avro_node *writer, mr_str path)
{
    bool good = true;

    for (uint32_t i = 0; i < writer->branch_count; i++) {
        const struct avro_node *branch = writer->branches[i];
        if (reader->kind != AVRO_UNION) {
            good &= check_pair(check, reader, branch, path);
        } else if (!agrees(check, reader, branch)) {
            good = report(check, "MISSING_UNION_BRANCH",
                          mr_arena_printf(check->arena, "%.*s/%u", MR_STR_ARG(path), i),
                          mr_arena_printf(check->arena, "reader union lacking writer type: %.*s",
                                          MR_STR_ARG(upper(check, branch))));
        }
    }
    return good;
}

static bool check_reader_union(struct check *check, const struct avro_node *reader,
                               const struct avro_node *writer, mr_str path)
{
    for (uint32_t i = 0; i < reader->branch_count; i++) {
        if (agrees(check, reader->branches[i], writer))
            return true;
    }
    return report(check, "MISSING_UNION_BRANCH", path,
                  mr_arena_printf(check->arena, "reader union lacking writer type: %.*s",
                                  MR_STR_ARG(upper(check, writer))));
}

static bool check_same(struct check *check, const struct avro_node *reader,
                       const struct avro_node *writer, mr_str path)
{
    bool good = true;

    switch (reader->kind) {
    case AVRO_ARRAY:
        return check_pair(check, reader->element, writer->element, below(check, path, "items"));
    case AVRO_MAP:
        return check_pair(check, reader->element, writer->element, below(check, path, "values"));
    case AVRO_RECORD:
        good = check_name(check, reader, writer, path);
        return check_fields(check, reader, writer, path) && good;
    case AVRO_ENUM:
        good = check_name(check, reader, writer, path);
        return check_symbols(check, reader, writer, path) && good;
    case AVRO_FIXED:
        good = check_name(check, reader, writer, path);
        if (reader->size != writer->size)
            good = report(check, "FIXED_SIZE_MISMATCH", below(check, path, "size"),
                          mr_arena_printf(check->arena, "expected: %u, found: %u", writer->size,
                                          reader->size));
        return good;
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
    return true;
}

static bool promotes(enum avro_kind writer, enum avro_kind reader)
{
    return (reader == AVRO_LONG && writer == AVRO_INT) ||
           (reader == AVRO_FLOAT && (writer == AVRO_INT || writer == AVRO_LONG)) ||
           (reader == AVRO_DOUBLE &&
            (writer == AVRO_INT || writer == AVRO_LONG || writer == AVRO_FLOAT)) ||
           (reader == AVRO_BYTES && writer == AVRO_STRING) ||
           (reader == AVRO_STRING && writer == AVRO_BYTES);
}

static bool check_kinds(struct check *check, const struct avro_node *reader,
                        const struct avro_node *writer, mr_str path)
{
    if (writer->kind == AVRO_UNION)
        return check_writer_union(check, reader, writer, path);
    if (reader->kind == writer->kind)
        return check_same(check, reader, writer, path);
    if (reader->kind == AVRO_UNION)
        return check_reader_union(check, reader, writer, path);
    if (promotes(writer->kind, reader->kind))
        return true;
    return report(
        check, "TYPE_MISMATCH", path,
        mr_arena_printf(check->arena, "reader type: %.*s not compatible with writer type: %.*s",
                        MR_STR_ARG(upper(check, reader)), MR_STR_ARG(upper(check, writer))));
}

/* A pair met again inside itself is taken as good: its own problems are found where it began. */
static bool check_pair(struct check *check, const struct avro_node *reader,
                       const struct avro_node *writer, mr_str path)
{
    bool named = reader->name.data != NULL && writer->name.data != NULL;
    size_t index = check->pairs.count;

    if (++check->work > WORK_MAX)
        return report(check, "TYPE_MISMATCH", path,
                      MR_STR("the schemas are too entangled to compare"));
    if (named) {
        for (size_t i = 0; i < check->pairs.count; i++) {
            if (check->pairs.items[i].reader == reader && check->pairs.items[i].writer == writer)
                return !check->pairs.items[i].bad;
        }
        *mr_array_add(&check->pairs) = (struct pair){reader, writer, false};
    }
    bool good = check_kinds(check, reader, writer, path);
    /* Quiet verdicts inside a cycle are provisional, and problems are wanted later: forget those pairs. */
    if (named && check->quiet)
        check->pairs.count = index;
    else if (named)
        check->pairs.items[index].bad = !good;
    return good;
}

struct avro_problem *avro_compatible(const struct avro_node *reader, const struct avro_node *writer,
                                     struct mr_arena *arena)
{
    struct check check = {.arena = arena};

    check.last = &check.first;
    (void)check_pair(&check, reader, writer, MR_STR(""));
    mr_array_fini(&check.pairs);
    return check.first;
}

void avro_problem_print(const struct avro_problem *problem, const char *reader, const char *writer,
                        struct mr_buf *out)
{
    mr_str kind = problem->kind, path = problem->path, message = problem->message;

    mr_buf_printf(out, "{errorType:'%.*s', description:'", MR_STR_ARG(kind));
    if (mr_str_equal(kind, MR_STR("FIXED_SIZE_MISMATCH")))
        mr_buf_printf(out,
                      "The size of FIXED type field at path '%.*s' in the %s schema does not match "
                      "with the %s schema",
                      MR_STR_ARG(path), reader, writer);
    else if (mr_str_equal(kind, MR_STR("TYPE_MISMATCH")))
        mr_buf_printf(
            out,
            "The type (path '%.*s') of a field in the %s schema does not match with the %s schema",
            MR_STR_ARG(path), reader, writer);
    else if (mr_str_equal(kind, MR_STR("NAME_MISMATCH")))
        mr_buf_printf(out, "The name of the schema has changed (path '%.*s')", MR_STR_ARG(path));
    else if (mr_str_equal(kind, MR_STR("MISSING_ENUM_SYMBOLS")))
        mr_buf_printf(
            out, "The %s schema is missing enum symbols '%.*s' at path '%.*s' in the %s schema",
            reader, MR_STR_ARG(message), MR_STR_ARG(path), writer);
    else if (mr_str_equal(kind, MR_STR("MISSING_UNION_BRANCH")))
        mr_buf_printf(
            out,
            "The %s schema is missing a type inside a union field at path '%.*s' in the %s schema",
            reader, MR_STR_ARG(path), writer);
    else
        mr_buf_printf(
            out,
            "The field '%.*s' at path '%.*s' in the %s schema has no default value and is missing "
            "in the %s schema",
            MR_STR_ARG(message), MR_STR_ARG(path), reader, writer);
    mr_buf_printf(out, "', additionalInfo:'%.*s'}", MR_STR_ARG(message));
}
