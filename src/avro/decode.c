/* avro/decode.c: binary records to columns. The writer's schema and the wanted type become a tree of
 * plans once; a record is one walk over it. What nobody wants is stepped over by plans without a column;
 * those may form cycles (recursive types), the others never do. */
#include "avro/schema.h"

struct plan {
    enum avro_kind kind; /* the writer's */
    enum avro_logical logical;
    enum data_kind to; /* the column's */
    bool wanted;
    uint8_t precision, scale; /* the column's */
    uint16_t writer_scale;
    uint32_t size;  /* FIXED */
    uint32_t count; /* fields, branches, symbols */
    uint32_t place; /* inside a record: the column's field; in a union: its member */
    bool member;    /* UNION: branches go to members of a struct */
    struct plan **parts;
    const mr_str *symbols;
    struct data_column *column;
    uint32_t used; /* ARRAY, MAP: elements taken */
};
struct avro_decoder {
    struct mr_arena own;
    struct plan *root;
    const struct data_type *wanted;
    struct data_column *column;
    struct mr_arena *arena;
    struct mr_in in;
    uint32_t depth, items;
    const char *wrong;
};
struct compiler {
    struct mr_arena *arena;
    struct plan **skips; /* by node; compiled once, so that cycles close */
    uint32_t depth;
};

/* ---- compiling ---- */
static uint32_t node_limit(const struct avro_node *node, uint8_t *seen)
{
    uint32_t limit = node->index + 1;

    if (seen[node->index])
        return limit;
    seen[node->index] = 1;
    for (uint32_t i = 0; i < node->field_count; i++) {
        uint32_t inner = node_limit(node->fields[i].type, seen);
        limit = inner > limit ? inner : limit;
    }
    for (uint32_t i = 0; i < node->branch_count; i++) {
        uint32_t inner = node_limit(node->branches[i], seen);
        limit = inner > limit ? inner : limit;
    }
    if (node->element != NULL) {
        uint32_t inner = node_limit(node->element, seen);
        limit = inner > limit ? inner : limit;
    }
    return limit;
}

static struct plan *new_plan(struct compiler *compiler, const struct avro_node *node)
{
    struct plan *plan = mr_arena_new(compiler->arena, struct plan);

    plan->kind = node->kind;
    plan->logical = node->logical;
    plan->size = node->size;
    plan->writer_scale = node->scale;
    plan->count = node->kind == AVRO_RECORD  ? node->field_count
                  : node->kind == AVRO_UNION ? node->branch_count
                  : node->kind == AVRO_ENUM  ? node->symbol_count
                  : node->element != NULL    ? 1
                                             : 0;
    if (node->kind != AVRO_ENUM)
        plan->parts = mr_arena_array(compiler->arena, struct plan *, plan->count);
    return plan;
}

static const struct avro_node *part(const struct avro_node *node, uint32_t index)
{
    return node->kind == AVRO_RECORD  ? node->fields[index].type
           : node->kind == AVRO_UNION ? node->branches[index]
                                      : node->element;
}

static struct plan *skip_plan(struct compiler *compiler, const struct avro_node *node)
{
    struct plan **known = &compiler->skips[node->index];

    if (*known != NULL)
        return *known;
    struct plan *plan = *known = new_plan(compiler, node);
    if (node->kind != AVRO_ENUM) {
        for (uint32_t i = 0; i < plan->count; i++)
            plan->parts[i] = skip_plan(compiler, part(node, i));
    }
    return plan;
}

static mr_err read_plan(struct compiler *compiler, const struct avro_node *node,
                        const struct data_type *type, mr_str name, struct plan **out);

static mr_err mismatch(const struct avro_node *node, const struct data_type *type, mr_str name)
{
    struct mr_buf text = {0};

    data_type_print(&text, type);
    mr_err err = mr_fail(MR_INVALID, "field %.*s: Avro %.*s cannot be read as %.*s",
                         MR_STR_ARG(name), MR_STR_ARG(avro_kind_word(node->kind)),
                         MR_STR_ARG(mr_buf_as_str(&text)));
    mr_buf_fini(&text);
    return err;
}

/* The wanted field that a writer's field of this name fills: the same spelling first. */
static int wanted_field(const struct data_type *type, mr_str name)
{
    for (uint32_t i = 0; i < type->field_count; i++) {
        if (mr_str_equal(type->fields[i].name, name))
            return (int)i;
    }
    return data_type_field(type, name);
}

static mr_err read_record(struct compiler *compiler, const struct avro_node *node,
                          const struct data_type *type, struct plan *plan)
{
    uint8_t *taken = mr_arena_array(compiler->arena, uint8_t, type->field_count + 1);

    for (uint32_t i = 0; i < node->field_count; i++) {
        int index = wanted_field(type, node->fields[i].name);
        mr_err err = MR_OK;
        if (index < 0 || taken[index]) {
            plan->parts[i] = skip_plan(compiler, node->fields[i].type);
            continue;
        }
        taken[index] = 1;
        err = read_plan(compiler, node->fields[i].type, type->fields[index].type,
                        node->fields[i].name, &plan->parts[i]);
        if (err != MR_OK)
            return err;
        plan->parts[i]->place = (uint32_t)index;
    }
    return MR_OK;
}

/* Several types besides null: a struct's members in their order, else all into the one wanted type. */
static mr_err read_union(struct compiler *compiler, const struct avro_node *node,
                         const struct data_type *type, mr_str name, struct plan *plan)
{
    uint32_t others = 0;

    for (uint32_t i = 0; i < node->branch_count; i++)
        others += node->branches[i]->kind != AVRO_NULL;
    plan->member = others > 1 && type->kind == DATA_STRUCT && type->field_count > 0 &&
                   mr_str_starts(type->fields[0].name, MR_STR("member"));
    for (uint32_t i = 0, place = 0; i < node->branch_count; i++) {
        const struct avro_node *branch = node->branches[i];
        const struct data_type *target = type;
        if (branch->kind == AVRO_NULL) {
            plan->parts[i] = skip_plan(compiler, branch);
            continue;
        }
        if (plan->member) {
            int index = data_type_field(type,
                                        mr_arena_printf(compiler->arena, "member%u", place++));
            if (index < 0) {
                plan->parts[i] = skip_plan(compiler, branch);
                continue;
            }
            target = type->fields[index].type;
            mr_err err = read_plan(compiler, branch, target, name, &plan->parts[i]);
            if (err != MR_OK)
                return err;
            plan->parts[i]->place = (uint32_t)index;
            continue;
        }
        mr_err err = read_plan(compiler, branch, target, name, &plan->parts[i]);
        if (err != MR_OK)
            return err;
    }
    return MR_OK;
}

static bool whole_fits(enum avro_logical logical, enum data_kind to)
{
    if (to == DATA_STRING)
        return logical == AVRO_PLAIN;
    return to == DATA_LONG || to == DATA_INT || to == DATA_SHORT || to == DATA_BYTE ||
           to == DATA_DOUBLE || to == DATA_FLOAT || to == DATA_DECIMAL || to == DATA_TIMESTAMP ||
           to == DATA_TIMESTAMP_NTZ || to == DATA_INTERVAL;
}

static bool scalar_fits(const struct avro_node *node, enum data_kind to)
{
    switch (node->kind) {
    case AVRO_NULL:
        return true;
    case AVRO_BOOLEAN:
        return to == DATA_BOOLEAN;
    case AVRO_INT:
        return (node->logical == AVRO_DATE && to == DATA_DATE) || whole_fits(node->logical, to);
    case AVRO_LONG:
        return whole_fits(node->logical, to);
    case AVRO_FLOAT:
    case AVRO_DOUBLE:
        return to == DATA_DOUBLE || to == DATA_FLOAT;
    case AVRO_STRING:
    case AVRO_ENUM:
        return to == DATA_STRING || to == DATA_BINARY;
    case AVRO_BYTES:
    case AVRO_FIXED:
        return to == DATA_BINARY || to == DATA_STRING ||
               (to == DATA_DECIMAL && node->logical == AVRO_DECIMAL);
    case AVRO_RECORD:
    case AVRO_ARRAY:
    case AVRO_MAP:
    case AVRO_UNION:
        break;
    }
    return false;
}

static mr_err read_parts(struct compiler *compiler, const struct avro_node *node,
                         const struct data_type *type, mr_str name, struct plan *plan)
{
    if (node->kind == AVRO_UNION)
        return read_union(compiler, node, type, name, plan);
    if (node->kind == AVRO_RECORD && type->kind == DATA_STRUCT)
        return read_record(compiler, node, type, plan);
    if ((node->kind == AVRO_ARRAY && type->kind == DATA_ARRAY) ||
        (node->kind == AVRO_MAP && type->kind == DATA_MAP && type->key->kind == DATA_STRING))
        return read_plan(compiler, node->element, type->element, name, &plan->parts[0]);
    if (!scalar_fits(node, type->kind))
        return mismatch(node, type, name);
    if (node->kind == AVRO_ENUM) {
        mr_str *symbols = mr_arena_array(compiler->arena, mr_str, node->symbol_count);
        for (uint32_t i = 0; i < node->symbol_count; i++)
            symbols[i] = mr_arena_str(compiler->arena, node->symbols[i]);
        plan->symbols = symbols;
    }
    return MR_OK;
}

static mr_err read_plan(struct compiler *compiler, const struct avro_node *node,
                        const struct data_type *type, mr_str name, struct plan **out)
{
    if (compiler->depth >= MR_LIMIT_AVRO_DEPTH)
        return mr_fail(MR_LIMIT, "Avro schema: nested deeper than %d levels", MR_LIMIT_AVRO_DEPTH);
    struct plan *plan = new_plan(compiler, node);
    plan->wanted = true;
    plan->to = type->kind;
    plan->precision = type->precision;
    plan->scale = type->scale;
    compiler->depth++;
    mr_err err = read_parts(compiler, node, type, name, plan);
    compiler->depth--;
    *out = plan;
    return err;
}

mr_err avro_decoder_new(const struct avro_node *writer, const struct data_type *wanted,
                        struct avro_decoder **out)
{
    struct avro_decoder *decoder = mr_new(struct avro_decoder);
    uint8_t *seen = mr_alloc_zero(MR_LIMIT_AVRO_TYPES, 1);
    struct compiler compiler = {.arena = &decoder->own};

    compiler.skips = mr_new_array(struct plan *, node_limit(writer, seen));
    decoder->wanted = wanted;
    mr_err err = read_plan(&compiler, writer, wanted,
                           writer->name.data != NULL ? writer->name : MR_STR("value"),
                           &decoder->root);
    mr_free(compiler.skips);
    mr_free(seen);
    if (err != MR_OK) {
        avro_decoder_free(decoder);
        return err;
    }
    *out = decoder;
    return MR_OK;
}

void avro_decoder_free(struct avro_decoder *decoder)
{
    if (decoder == NULL)
        return;
    mr_arena_fini(&decoder->own);
    mr_free(decoder);
}

/* ---- binding to a chunk's columns ---- */
static void bind(struct avro_decoder *decoder, struct plan *plan, struct data_column *column)
{
    if (!plan->wanted)
        return;
    plan->column = column;
    plan->used = 0;
    if (plan->kind == AVRO_RECORD) {
        for (uint32_t i = 0; i < plan->count; i++)
            bind(decoder, plan->parts[i],
                 plan->parts[i]->wanted ? column->fields[plan->parts[i]->place] : NULL);
    } else if (plan->kind == AVRO_UNION) {
        for (uint32_t i = 0; i < plan->count; i++)
            bind(decoder, plan->parts[i],
                 plan->member && plan->parts[i]->wanted ? column->fields[plan->parts[i]->place]
                                                        : column);
    } else if (plan->kind == AVRO_ARRAY || plan->kind == AVRO_MAP) {
        column->elements = data_column_new(decoder->arena, column->type->element, 0);
        if (plan->kind == AVRO_MAP)
            column->keys = data_column_new(decoder->arena, column->type->key, 0);
        bind(decoder, plan->parts[0], column->elements);
    }
}

/* Columns that no plan fills need their (empty) elements too. */
static void complete(struct mr_arena *arena, struct data_column *column)
{
    const struct data_type *type = column->type;

    if (type->kind == DATA_STRUCT) {
        for (uint32_t i = 0; i < type->field_count; i++)
            complete(arena, column->fields[i]);
    } else if (type->kind == DATA_ARRAY || type->kind == DATA_MAP) {
        if (column->elements == NULL)
            column->elements = data_column_new(arena, type->element, 0);
        if (type->kind == DATA_MAP && column->keys == NULL)
            column->keys = data_column_new(arena, type->key, 0);
        complete(arena, column->elements);
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

static void trim(struct plan *plan)
{
    if (!plan->wanted)
        return;
    if (plan->kind == AVRO_ARRAY || plan->kind == AVRO_MAP) {
        trim_rows(plan->column->elements, plan->used);
        if (plan->kind == AVRO_MAP)
            trim_rows(plan->column->keys, plan->used);
    }
    if (plan->kind == AVRO_ENUM)
        return;
    for (uint32_t i = 0; i < plan->count; i++)
        trim(plan->parts[i]);
}

void avro_decoder_begin(struct avro_decoder *decoder, struct mr_arena *arena, uint32_t count)
{
    decoder->arena = arena;
    decoder->column = data_column_new(arena, decoder->wanted, count);
    bind(decoder, decoder->root, decoder->column);
    complete(arena, decoder->column);
}

struct data_column *avro_decoder_end(struct avro_decoder *decoder)
{
    trim(decoder->root);
    return decoder->column;
}

/* ---- running ---- */
static bool wrong(struct avro_decoder *decoder, const char *what)
{
    if (decoder->wrong == NULL)
        decoder->wrong = what;
    return false;
}

static bool run(struct avro_decoder *decoder, struct plan *plan, uint32_t row);

static bool take_text(struct avro_decoder *decoder, mr_str *out)
{
    int64_t length = mr_in_varint(&decoder->in);

    if (length < 0 || (uint64_t)length > mr_in_left(&decoder->in))
        return wrong(decoder, "a length that fits the record");
    *out = mr_in_take(&decoder->in, (size_t)length);
    if (length == 0)
        *out = MR_STR("");
    return true;
}

static bool put_text(struct avro_decoder *decoder, struct plan *plan, uint32_t row, mr_str text)
{
    if (plan->to == DATA_STRING && plan->kind != AVRO_ENUM && !mr_str_is_utf8(text))
        return wrong(decoder, "text in UTF-8");
    plan->column->strs[row] = text;
    plan->column->valid[row] = 1;
    return true;
}

static bool put_decimal(struct avro_decoder *decoder, struct plan *plan, uint32_t row,
                        data_decimal value, int scale)
{
    if (!data_decimal_rescale(value, scale, plan->scale, plan->precision, &value))
        return wrong(decoder, "a number within the column's precision");
    plan->column->decimals[row] = value;
    plan->column->valid[row] = 1;
    return true;
}

static bool decimal_bytes(struct avro_decoder *decoder, struct plan *plan, uint32_t row,
                          mr_str bytes)
{
    data_decimal value = bytes.length > 0 && (bytes.data[0] & 0x80) ? -1 : 0;

    for (size_t i = 0; i < bytes.length; i++) {
        if (bytes.length - i > 16 && (uint8_t)bytes.data[i] != (value < 0 ? 0xff : 0))
            return wrong(decoder, "a number within the column's precision");
        value = (data_decimal)((unsigned __int128)value << 8 | (uint8_t)bytes.data[i]);
    }
    return put_decimal(decoder, plan, row, value, plan->writer_scale);
}

/* Microseconds of a time of either unit; clamped, not wrapped, at the ends of time. */
static int64_t micros(enum avro_logical logical, int64_t value)
{
    bool millis = logical == AVRO_TIMESTAMP_MILLIS || logical == AVRO_LOCAL_TIMESTAMP_MILLIS;
    int64_t us;

    if (!millis)
        return value;
    return __builtin_mul_overflow(value, (int64_t)1000, &us) ? (value < 0 ? INT64_MIN : INT64_MAX)
                                                             : us;
}

static bool put_long(struct avro_decoder *decoder, struct plan *plan, uint32_t row, int64_t value)
{
    struct data_column *column = plan->column;
    char text[DATA_TEXT_BYTES];

    switch (plan->to) {
    case DATA_BYTE:
        if (value < INT8_MIN || value > INT8_MAX)
            return wrong(decoder, "a number that fits TINYINT");
        column->bytes[row] = (int8_t)value;
        break;
    case DATA_SHORT:
        if (value < INT16_MIN || value > INT16_MAX)
            return wrong(decoder, "a number that fits SMALLINT");
        column->shorts[row] = (int16_t)value;
        break;
    case DATA_INT:
    case DATA_DATE:
        if (value < INT32_MIN || value > INT32_MAX)
            return wrong(decoder, "a number that fits INT");
        column->ints[row] = (int32_t)value;
        break;
    case DATA_FLOAT:
        column->floats[row] = (float)value;
        break;
    case DATA_DOUBLE:
        column->doubles[row] = (double)value;
        break;
    case DATA_DECIMAL:
        return put_decimal(decoder, plan, row, value, 0);
    case DATA_STRING: {
        size_t length = data_long_format(value, text);
        column->strs[row] = mr_arena_str(decoder->arena, mr_str_of(text, length));
        break;
    }
    case DATA_LONG:
    case DATA_TIMESTAMP:
    case DATA_TIMESTAMP_NTZ:
    case DATA_INTERVAL:
        column->longs[row] = plan->to == DATA_LONG ? value : micros(plan->logical, value);
        break;
    case DATA_NULL:
    case DATA_BOOLEAN:
    case DATA_BINARY:
    case DATA_ARRAY:
    case DATA_MAP:
    case DATA_STRUCT:
        return wrong(decoder, "a whole number's column");
    }
    column->valid[row] = 1;
    return true;
}

static bool put_double(struct plan *plan, uint32_t row, double value)
{
    if (plan->to == DATA_FLOAT)
        plan->column->floats[row] = (float)value;
    else
        plan->column->doubles[row] = value;
    plan->column->valid[row] = 1;
    return true;
}

static bool run_whole(struct avro_decoder *decoder, struct plan *plan, uint32_t row)
{
    int64_t value = mr_in_varint(&decoder->in);

    if (plan->kind == AVRO_INT && (value < INT32_MIN || value > INT32_MAX))
        return wrong(decoder, "an int of 32 bits");
    return !plan->wanted || put_long(decoder, plan, row, value);
}

static bool run_real(struct avro_decoder *decoder, struct plan *plan, uint32_t row)
{
    double value;

    if (plan->kind == AVRO_FLOAT) {
        uint32_t bits = mr_in_le32(&decoder->in);
        float narrow;
        memcpy(&narrow, &bits, sizeof narrow);
        value = (double)narrow;
    } else {
        uint64_t bits = mr_in_le64(&decoder->in);
        memcpy(&value, &bits, sizeof value);
    }
    return !plan->wanted || put_double(plan, row, value);
}

static bool run_bytes(struct avro_decoder *decoder, struct plan *plan, uint32_t row)
{
    mr_str text;

    if (plan->kind == AVRO_FIXED) {
        if (plan->size > mr_in_left(&decoder->in))
            return wrong(decoder, "more bytes");
        text = mr_in_take(&decoder->in, plan->size);
    } else if (!take_text(decoder, &text)) {
        return false;
    }
    if (!plan->wanted)
        return true;
    if (plan->to == DATA_DECIMAL)
        return decimal_bytes(decoder, plan, row, text);
    return put_text(decoder, plan, row, text);
}

static bool run_enum(struct avro_decoder *decoder, struct plan *plan, uint32_t row)
{
    int64_t index = mr_in_varint(&decoder->in);

    if (index < 0 || index >= plan->count)
        return wrong(decoder, "the number of a symbol");
    return !plan->wanted || put_text(decoder, plan, row, plan->symbols[index]);
}

static bool run_union(struct avro_decoder *decoder, struct plan *plan, uint32_t row)
{
    int64_t index = mr_in_varint(&decoder->in);

    if (index < 0 || index >= plan->count)
        return wrong(decoder, "the number of a union's branch");
    struct plan *branch = plan->parts[index];
    if (!run(decoder, branch, row))
        return false;
    if (plan->wanted && plan->member && branch->kind != AVRO_NULL)
        plan->column->valid[row] = 1;
    return true;
}

static void add_item(struct avro_decoder *decoder, struct plan *plan)
{
    struct data_column *elements = plan->column->elements, *keys = plan->column->keys;

    if (plan->used == elements->count) {
        uint32_t room = plan->used == 0 ? 32 : plan->used * 2;
        data_column_grow(decoder->arena, elements, room);
        if (keys != NULL)
            data_column_grow(decoder->arena, keys, room);
    }
    plan->used++;
}

static bool run_item(struct avro_decoder *decoder, struct plan *plan)
{
    uint32_t item = plan->used;
    mr_str name;

    if (++decoder->items > MR_LIMIT_AVRO_ITEMS)
        return wrong(decoder, "fewer elements");
    if (plan->wanted)
        add_item(decoder, plan);
    if (plan->kind == AVRO_MAP) {
        if (!take_text(decoder, &name))
            return false;
        if (plan->wanted) {
            if (!mr_str_is_utf8(name))
                return wrong(decoder, "text in UTF-8");
            plan->column->keys->strs[item] = name;
            plan->column->keys->valid[item] = 1;
        }
    }
    return run(decoder, plan->parts[0], item);
}

/* Blocks of items; a negative count is followed by the block's bytes (specification, "Arrays"). */
static bool run_items(struct avro_decoder *decoder, struct plan *plan, uint32_t row)
{
    uint32_t start = plan->used;

    for (;;) {
        int64_t count = mr_in_varint(&decoder->in);
        if (decoder->in.err != MR_OK || count == INT64_MIN)
            return wrong(decoder, "the number of a block's items");
        if (count == 0)
            break;
        if (count < 0) {
            int64_t bytes = mr_in_varint(&decoder->in);
            if (bytes < 0 || (uint64_t)bytes > mr_in_left(&decoder->in))
                return wrong(decoder, "a block's length that fits the record");
            count = -count;
            if (!plan->wanted) {
                (void)mr_in_take(&decoder->in, (size_t)bytes);
                continue;
            }
        }
        for (int64_t i = 0; i < count; i++) {
            if (!run_item(decoder, plan))
                return false;
        }
    }
    if (plan->wanted) {
        plan->column->starts[row] = start;
        plan->column->lengths[row] = plan->used - start;
        plan->column->valid[row] = 1;
    }
    return true;
}

static bool run_record(struct avro_decoder *decoder, struct plan *plan, uint32_t row)
{
    for (uint32_t i = 0; i < plan->count; i++) {
        if (!run(decoder, plan->parts[i], row))
            return false;
    }
    if (plan->wanted)
        plan->column->valid[row] = 1;
    return true;
}

static bool run_boolean(struct avro_decoder *decoder, struct plan *plan, uint32_t row)
{
    uint8_t value = mr_in_u8(&decoder->in);

    if (value > 1)
        return wrong(decoder, "a boolean, 0 or 1");
    if (plan->wanted) {
        plan->column->bools[row] = value;
        plan->column->valid[row] = 1;
    }
    return true;
}

static bool run_nested(struct avro_decoder *decoder, struct plan *plan, uint32_t row)
{
    if (++decoder->depth > MR_LIMIT_AVRO_DEPTH)
        return wrong(decoder, "less nesting");
    bool good = plan->kind == AVRO_RECORD  ? run_record(decoder, plan, row)
                : plan->kind == AVRO_UNION ? run_union(decoder, plan, row)
                                           : run_items(decoder, plan, row);
    decoder->depth--;
    return good;
}

static bool run(struct avro_decoder *decoder, struct plan *plan, uint32_t row)
{
    bool good = true;

    switch (plan->kind) {
    case AVRO_NULL:
        break;
    case AVRO_BOOLEAN:
        good = run_boolean(decoder, plan, row);
        break;
    case AVRO_INT:
    case AVRO_LONG:
        good = run_whole(decoder, plan, row);
        break;
    case AVRO_FLOAT:
    case AVRO_DOUBLE:
        good = run_real(decoder, plan, row);
        break;
    case AVRO_BYTES:
    case AVRO_STRING:
    case AVRO_FIXED:
        good = run_bytes(decoder, plan, row);
        break;
    case AVRO_ENUM:
        good = run_enum(decoder, plan, row);
        break;
    case AVRO_RECORD:
    case AVRO_ARRAY:
    case AVRO_MAP:
    case AVRO_UNION:
        good = run_nested(decoder, plan, row);
        break;
    }
    return good && (decoder->in.err == MR_OK || wrong(decoder, "more bytes"));
}

mr_err avro_decoder_read(struct avro_decoder *decoder, uint32_t row, mr_str bytes)
{
    decoder->in = mr_in_str(bytes);
    decoder->depth = decoder->items = 0;
    decoder->wrong = NULL;
    if (run(decoder, decoder->root, row)) {
        if (mr_in_left(&decoder->in) == 0)
            return MR_OK;
        (void)wrong(decoder, "the record's end");
    }
    data_column_clear(decoder->column, row, row + 1);
    return mr_fail(MR_CORRUPT, "Avro record of %zu bytes: expected %s", bytes.length,
                   decoder->wrong);
}
