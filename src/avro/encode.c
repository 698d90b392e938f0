/* avro/encode.c: rows to binary records, by a tree of plans made once from the schema and the type. */
#include "avro/schema.h"

struct plan {
    enum avro_kind kind;
    enum avro_logical logical;
    const struct data_type *type;
    bool in_union, nullable;    /* a union, and null is one of its types */
    uint32_t null_index, index; /* branches */
    uint16_t scale;
    uint32_t size;
    uint32_t count;     /* fields, symbols */
    struct plan *parts; /* RECORD: one a field; UNION: one a member; ARRAY, MAP: the element */
    uint32_t *places;   /* RECORD: the type's field for each; UNION: the branch */
    mr_str *symbols;
    mr_str name;
};
struct avro_encoder {
    struct mr_arena own;
    struct plan root;
};

/* ---- compiling ---- */
static mr_err compile(struct mr_arena *arena, const struct avro_node *node,
                      const struct data_type *type, mr_str name, int depth, struct plan *out);

static mr_err compile_record(struct mr_arena *arena, const struct avro_node *node,
                             const struct data_type *type, int depth, struct plan *out)
{
    out->count = node->field_count;
    out->parts = mr_arena_array(arena, struct plan, node->field_count);
    out->places = mr_arena_array(arena, uint32_t, node->field_count);
    for (uint32_t i = 0; i < node->field_count; i++) {
        const struct avro_field *field = &node->fields[i];
        int place = data_type_field(type, field->name);
        for (uint32_t j = 0; j < type->field_count; j++) {
            if (mr_str_equal(type->fields[j].name, field->name))
                place = (int)j;
        }
        if (place < 0)
            return mr_fail(MR_INVALID, "Avro field %.*s: there is no column of that name",
                           MR_STR_ARG(field->name));
        out->places[i] = (uint32_t)place;
        mr_err err = compile(arena, field->type, type->fields[place].type,
                             mr_arena_str(arena, field->name), depth, &out->parts[i]);
        if (err != MR_OK)
            return err;
    }
    return MR_OK;
}

static bool whole_fits(const struct avro_node *node, enum data_kind from)
{
    if (node->kind == AVRO_INT)
        return from == DATA_BYTE || from == DATA_SHORT || from == DATA_INT || from == DATA_LONG ||
               from == DATA_DATE;
    return from == DATA_BYTE || from == DATA_SHORT || from == DATA_INT || from == DATA_LONG ||
           from == DATA_TIMESTAMP || from == DATA_TIMESTAMP_NTZ || from == DATA_INTERVAL;
}

static bool fits(const struct avro_node *node, enum data_kind from)
{
    switch (node->kind) {
    case AVRO_NULL:
        return true;
    case AVRO_BOOLEAN:
        return from == DATA_BOOLEAN;
    case AVRO_INT:
    case AVRO_LONG:
        return whole_fits(node, from);
    case AVRO_FLOAT:
    case AVRO_DOUBLE:
        return from == DATA_FLOAT || from == DATA_DOUBLE || from == DATA_BYTE ||
               from == DATA_SHORT || from == DATA_INT || from == DATA_LONG;
    case AVRO_BYTES:
    case AVRO_FIXED:
        if (node->logical == AVRO_DECIMAL)
            return from == DATA_DECIMAL;
        return from == DATA_BINARY || from == DATA_STRING;
    case AVRO_STRING:
    case AVRO_ENUM:
        return from == DATA_STRING;
    case AVRO_RECORD:
        return from == DATA_STRUCT;
    case AVRO_ARRAY:
        return from == DATA_ARRAY;
    case AVRO_MAP:
        return from == DATA_MAP;
    case AVRO_UNION:
        break;
    }
    return false;
}

/* The type that the data types' own mapping gives a kind, so that 7 of a LONG is a long where there is one. */
static bool exact(const struct avro_node *node, enum data_kind from)
{
    return (from == DATA_LONG && node->kind == AVRO_LONG) ||
           (from == DATA_DOUBLE && node->kind == AVRO_DOUBLE) ||
           (from == DATA_STRING && node->kind == AVRO_STRING) ||
           (from == DATA_BINARY && node->kind == AVRO_BYTES);
}

/* The branch that takes the type, the null branch beside it. */
static const struct avro_node *choose(const struct avro_node *node, enum data_kind from,
                                      struct plan *out)
{
    const struct avro_node *chosen = NULL;

    out->in_union = true;
    for (uint32_t i = node->branch_count; i > 0; i--) {
        const struct avro_node *branch = node->branches[i - 1];
        if (branch->kind == AVRO_NULL) {
            out->nullable = true;
            out->null_index = i - 1;
        } else if (fits(branch, from) && (chosen == NULL || !exact(chosen, from))) {
            chosen = branch;
            out->index = i - 1;
        }
    }
    return chosen;
}

/* A union of several types is a struct member0, member1, ...: the one that has a value is written. */
static bool by_members(const struct avro_node *node, const struct data_type *type)
{
    uint32_t others = 0;

    for (uint32_t i = 0; i < node->branch_count; i++)
        others += node->branches[i]->kind != AVRO_NULL;
    return others > 1 && type->kind == DATA_STRUCT && type->field_count == others &&
           mr_str_equal(type->fields[0].name, MR_STR("member0"));
}

static mr_err compile_members(struct mr_arena *arena, const struct avro_node *node,
                              const struct data_type *type, mr_str name, int depth,
                              struct plan *out)
{
    out->kind = AVRO_UNION;
    out->type = type;
    out->name = name;
    out->count = type->field_count;
    out->parts = mr_arena_array(arena, struct plan, type->field_count);
    out->places = mr_arena_array(arena, uint32_t, type->field_count);
    for (uint32_t i = 0, member = 0; i < node->branch_count; i++) {
        if (node->branches[i]->kind == AVRO_NULL) {
            out->nullable = true;
            out->null_index = i;
            continue;
        }
        out->places[member] = i;
        mr_err err = compile(arena, node->branches[i], type->fields[member].type, name, depth + 1,
                             &out->parts[member]);
        if (err != MR_OK)
            return err;
        member++;
    }
    return MR_OK;
}

static mr_err compile(struct mr_arena *arena, const struct avro_node *node,
                      const struct data_type *type, mr_str name, int depth, struct plan *out)
{
    const struct avro_node *chosen = node;
    struct mr_buf text = {0};

    if (depth > MR_LIMIT_AVRO_DEPTH)
        return mr_fail(MR_LIMIT, "Avro schema: nested deeper than %d levels", MR_LIMIT_AVRO_DEPTH);
    if (node->kind == AVRO_UNION && by_members(node, type))
        return compile_members(arena, node, type, name, depth, out);
    if (node->kind == AVRO_UNION)
        chosen = choose(node, type->kind, out);
    if (chosen == NULL || chosen->kind == AVRO_UNION || !fits(chosen, type->kind) ||
        (type->kind == DATA_MAP && type->key->kind != DATA_STRING)) {
        data_type_print(&text, type);
        mr_err err = mr_fail(MR_INVALID, "Avro field %.*s: %.*s cannot be written as %.*s",
                             MR_STR_ARG(name), MR_STR_ARG(mr_buf_as_str(&text)),
                             MR_STR_ARG(avro_kind_word(node->kind)));
        mr_buf_fini(&text);
        return err;
    }
    out->kind = chosen->kind;
    out->logical = chosen->logical;
    out->type = type;
    out->scale = chosen->scale;
    out->size = chosen->size;
    out->name = name;
    if (chosen->kind == AVRO_RECORD)
        return compile_record(arena, chosen, type, depth + 1, out);
    if (chosen->kind == AVRO_ARRAY || chosen->kind == AVRO_MAP) {
        out->parts = mr_arena_new(arena, struct plan);
        return compile(arena, chosen->element, type->element, name, depth + 1, out->parts);
    }
    if (chosen->kind == AVRO_ENUM) {
        out->count = chosen->symbol_count;
        out->symbols = mr_arena_array(arena, mr_str, chosen->symbol_count);
        for (uint32_t i = 0; i < chosen->symbol_count; i++)
            out->symbols[i] = mr_arena_str(arena, chosen->symbols[i]);
    }
    return MR_OK;
}

mr_err avro_encoder_new(const struct avro_node *schema, const struct data_type *type,
                        struct avro_encoder **out)
{
    struct avro_encoder *encoder = mr_new(struct avro_encoder);
    mr_err err = compile(&encoder->own, schema, type, MR_STR("(record)"), 0, &encoder->root);

    if (err != MR_OK) {
        avro_encoder_free(encoder);
        return err;
    }
    *out = encoder;
    return MR_OK;
}

void avro_encoder_free(struct avro_encoder *encoder)
{
    if (encoder == NULL)
        return;
    mr_arena_fini(&encoder->own);
    mr_free(encoder);
}

/* ---- running ---- */
static mr_err write(const struct plan *plan, const struct data_column *column, uint32_t row,
                    struct mr_buf *out);

static int64_t whole(const struct data_column *column, uint32_t row)
{
    switch (data_kind_bytes(column->type->kind)) {
    case 1:
        return column->bytes[row];
    case 2:
        return column->shorts[row];
    case 4:
        return column->ints[row];
    default:
        return column->longs[row];
    }
}

static mr_err write_whole(const struct plan *plan, const struct data_column *column, uint32_t row,
                          struct mr_buf *out)
{
    int64_t value = whole(column, row);

    if (plan->logical == AVRO_TIMESTAMP_MILLIS || plan->logical == AVRO_LOCAL_TIMESTAMP_MILLIS)
        value = value / 1000 - (value % 1000 < 0);
    if (plan->kind == AVRO_INT && (value < INT32_MIN || value > INT32_MAX))
        return mr_fail(MR_INVALID, "Avro field %.*s: %lld is beyond int", MR_STR_ARG(plan->name),
                       (long long)value);
    avro_put_long(out, value);
    return MR_OK;
}

static double real(const struct data_column *column, uint32_t row)
{
    if (column->type->kind == DATA_FLOAT)
        return (double)column->floats[row];
    return column->type->kind == DATA_DOUBLE ? column->doubles[row] : (double)whole(column, row);
}

static mr_err write_decimal(const struct plan *plan, const struct data_column *column, uint32_t row,
                            struct mr_buf *out)
{
    data_decimal value = column->decimals[row];

    if (!data_decimal_rescale(value, plan->type->scale, plan->scale, DATA_DECIMAL_DIGITS, &value))
        return mr_fail(MR_INVALID, "Avro field %.*s: a number of too many digits",
                       MR_STR_ARG(plan->name));
    if (plan->kind == AVRO_BYTES) {
        avro_put_decimal(out, value);
        return MR_OK;
    }
    for (uint32_t i = plan->size; i > 0; i--)
        mr_buf_u8(out, (uint8_t)(i > 16 ? (value < 0 ? 0xff : 0) : value >> (8 * (i - 1))));
    if (plan->size < 16 && (value >> (8 * plan->size - 1)) != 0 &&
        (value >> (8 * plan->size - 1)) != -1)
        return mr_fail(MR_INVALID, "Avro field %.*s: a number beyond %u bytes",
                       MR_STR_ARG(plan->name), plan->size);
    return MR_OK;
}

static mr_err write_fixed(const struct plan *plan, mr_str bytes, struct mr_buf *out)
{
    if (bytes.length != plan->size)
        return mr_fail(MR_INVALID, "Avro field %.*s: expected %u bytes, found %zu",
                       MR_STR_ARG(plan->name), plan->size, bytes.length);
    mr_buf_str(out, bytes);
    return MR_OK;
}

static mr_err write_symbol(const struct plan *plan, mr_str text, struct mr_buf *out)
{
    for (uint32_t i = 0; i < plan->count; i++) {
        if (mr_str_equal(plan->symbols[i], text)) {
            avro_put_long(out, i);
            return MR_OK;
        }
    }
    return mr_fail(MR_INVALID, "Avro field %.*s: \"%.*s\" is none of the symbols",
                   MR_STR_ARG(plan->name), MR_STR_ARG(text));
}

static mr_err write_items(const struct plan *plan, const struct data_column *column, uint32_t row,
                          struct mr_buf *out)
{
    uint32_t start = column->starts[row], length = column->lengths[row];
    mr_err err = MR_OK;

    if (length > 0)
        avro_put_long(out, length);
    for (uint32_t i = start; i < start + length && err == MR_OK; i++) {
        if (plan->kind == AVRO_MAP)
            avro_put_string(out, column->keys->strs[i]);
        err = write(plan->parts, column->elements, i, out);
    }
    avro_put_long(out, 0);
    return err;
}

static mr_err write_member(const struct plan *plan, const struct data_column *column, uint32_t row,
                           struct mr_buf *out)
{
    for (uint32_t i = 0; i < plan->count; i++) {
        if (!column->fields[i]->valid[row])
            continue;
        avro_put_union_index(out, plan->places[i]);
        return write(&plan->parts[i], column->fields[i], row, out);
    }
    return mr_fail(MR_INVALID, "Avro field %.*s: none of the union's members has a value",
                   MR_STR_ARG(plan->name));
}

static mr_err write_fields(const struct plan *plan, struct data_column *const *columns,
                           uint32_t row, struct mr_buf *out)
{
    mr_err err = MR_OK;

    for (uint32_t i = 0; i < plan->count && err == MR_OK; i++)
        err = write(&plan->parts[i], columns[plan->places[i]], row, out);
    return err;
}

static mr_err write(const struct plan *plan, const struct data_column *column, uint32_t row,
                    struct mr_buf *out)
{
    if (!column->valid[row] && plan->kind != AVRO_NULL) {
        if (!plan->nullable)
            return mr_fail(MR_INVALID, "Avro field %.*s: NULL where the schema has none",
                           MR_STR_ARG(plan->name));
        avro_put_union_index(out, plan->null_index);
        return MR_OK;
    }
    if (plan->in_union)
        avro_put_union_index(out, plan->index);
    switch (plan->kind) {
    case AVRO_NULL:
        break;
    case AVRO_BOOLEAN:
        avro_put_boolean(out, column->bools[row] != 0);
        break;
    case AVRO_INT:
    case AVRO_LONG:
        return write_whole(plan, column, row, out);
    case AVRO_FLOAT:
        avro_put_float(out, (float)real(column, row));
        break;
    case AVRO_DOUBLE:
        avro_put_double(out, real(column, row));
        break;
    case AVRO_BYTES:
    case AVRO_STRING:
        if (plan->type->kind == DATA_DECIMAL)
            return write_decimal(plan, column, row, out);
        avro_put_string(out, column->strs[row]);
        break;
    case AVRO_FIXED:
        if (plan->type->kind == DATA_DECIMAL)
            return write_decimal(plan, column, row, out);
        return write_fixed(plan, column->strs[row], out);
    case AVRO_ENUM:
        return write_symbol(plan, column->strs[row], out);
    case AVRO_RECORD:
        return write_fields(plan, column->fields, row, out);
    case AVRO_ARRAY:
    case AVRO_MAP:
        return write_items(plan, column, row, out);
    case AVRO_UNION:
        return write_member(plan, column, row, out);
    }
    return MR_OK;
}

static mr_err finish(struct mr_buf *out, size_t length, mr_err err)
{
    if (err != MR_OK)
        out->length = length;
    return err != MR_OK ? err : out->err;
}

mr_err avro_encoder_write(const struct avro_encoder *encoder, const struct data_column *column,
                          uint32_t row, struct mr_buf *out)
{
    size_t length = out->length;
    return finish(out, length, write(&encoder->root, column, row, out));
}

mr_err avro_encoder_write_row(const struct avro_encoder *encoder,
                              struct data_column *const *columns, uint32_t row, struct mr_buf *out)
{
    size_t length = out->length;

    if (encoder->root.kind != AVRO_RECORD)
        return mr_fail(MR_INVALID, "Avro schema: expected a record");
    if (encoder->root.in_union)
        avro_put_union_index(out, encoder->root.index);
    return finish(out, length, write_fields(&encoder->root, columns, row, out));
}
