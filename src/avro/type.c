/* avro/type.c: Avro types as data types and back: the mapping of Spark's Avro source. */
#include "avro/schema.h"

/* The types being mapped, from the root inwards: a type inside itself has no data type. */
struct chain {
    const struct chain *outer;
    const struct avro_node *node;
    int depth;
};

static mr_err map_node(const struct chain *outer, const struct avro_node *node,
                       struct mr_arena *arena, const struct data_type **out, bool *nullable);

static const struct data_type *map_long(const struct avro_node *node)
{
    switch (node->logical) {
    case AVRO_TIMESTAMP_MILLIS:
    case AVRO_TIMESTAMP_MICROS:
        return &data_type_timestamp;
    case AVRO_LOCAL_TIMESTAMP_MILLIS:
    case AVRO_LOCAL_TIMESTAMP_MICROS:
        return &data_type_timestamp_ntz;
    case AVRO_PLAIN:
    case AVRO_DATE:
    case AVRO_TIME_MILLIS:
    case AVRO_TIME_MICROS:
    case AVRO_DECIMAL:
    case AVRO_UUID:
    case AVRO_DURATION:
        break;
    }
    return &data_type_long;
}

static mr_err map_record(const struct chain *chain, const struct avro_node *node,
                         struct mr_arena *arena, const struct data_type **out)
{
    struct data_field *fields = mr_arena_array(arena, struct data_field, node->field_count);

    for (uint32_t i = 0; i < node->field_count; i++) {
        fields[i].name = node->fields[i].name;
        mr_err err = map_node(chain, node->fields[i].type, arena, &fields[i].type,
                              &fields[i].nullable);
        if (err != MR_OK)
            return err;
    }
    *out = data_type_struct(arena, fields, node->field_count);
    return MR_OK;
}

static mr_err map_collection(const struct chain *chain, const struct avro_node *node,
                             struct mr_arena *arena, const struct data_type **out)
{
    const struct data_type *element;
    bool nullable;
    mr_err err = map_node(chain, node->element, arena, &element, &nullable);

    if (err != MR_OK)
        return err;
    struct data_type *type = mr_arena_new(arena, struct data_type);
    *type = *(node->kind == AVRO_ARRAY ? data_type_array(arena, element)
                                       : data_type_map(arena, &data_type_string, element));
    type->element_nullable = nullable;
    *out = type;
    return MR_OK;
}

/* Which branches matter and, when two numbers widen to one, that one. */
static mr_err map_union(const struct chain *chain, const struct avro_node *node,
                        struct mr_arena *arena, const struct data_type **out, bool *nullable)
{
    struct data_field *fields = mr_arena_array(arena, struct data_field, node->branch_count);
    uint32_t count = 0, kinds = 0;

    *nullable = false;
    for (uint32_t i = 0; i < node->branch_count; i++) {
        const struct avro_node *branch = node->branches[i];
        if (branch->kind == AVRO_NULL) {
            *nullable = true;
            continue;
        }
        mr_err err = map_node(chain, branch, arena, &fields[count].type, &fields[count].nullable);
        if (err != MR_OK)
            return err;
        fields[count].nullable = true;
        fields[count].name = mr_arena_printf(arena, "member%u", count);
        kinds |= branch->logical == AVRO_PLAIN ? 1u << branch->kind : 1u << 31;
        count++;
    }
    if (count == 0)
        *out = &data_type_null;
    else if (count == 1)
        *out = fields[0].type;
    else if (count == 2 && kinds == (1u << AVRO_INT | 1u << AVRO_LONG))
        *out = &data_type_long;
    else if (count == 2 && kinds == (1u << AVRO_FLOAT | 1u << AVRO_DOUBLE))
        *out = &data_type_double;
    else
        *out = data_type_struct(arena, fields, count);
    return MR_OK;
}

static mr_err map_node(const struct chain *outer, const struct avro_node *node,
                       struct mr_arena *arena, const struct data_type **out, bool *nullable)
{
    struct chain chain = {outer, node, outer == NULL ? 0 : outer->depth + 1};

    for (const struct chain *at = outer; at != NULL; at = at->outer) {
        if (at->node == node && node->kind == AVRO_RECORD)
            return mr_fail(MR_UNSUPPORTED,
                           "Avro type %.*s contains itself: no column type can hold it",
                           MR_STR_ARG(node->name));
    }
    if (chain.depth > MR_LIMIT_AVRO_DEPTH)
        return mr_fail(MR_LIMIT, "Avro schema: nested deeper than %d levels", MR_LIMIT_AVRO_DEPTH);
    *nullable = false;
    switch (node->kind) {
    case AVRO_NULL:
        *nullable = true;
        *out = &data_type_null;
        return MR_OK;
    case AVRO_BOOLEAN:
        *out = &data_type_boolean;
        return MR_OK;
    case AVRO_INT:
        *out = node->logical == AVRO_DATE ? &data_type_date : &data_type_int;
        return MR_OK;
    case AVRO_LONG:
        *out = map_long(node);
        return MR_OK;
    case AVRO_FLOAT:
        *out = &data_type_float;
        return MR_OK;
    case AVRO_DOUBLE:
        *out = &data_type_double;
        return MR_OK;
    case AVRO_BYTES:
    case AVRO_FIXED:
        if (node->logical == AVRO_DECIMAL && node->precision <= DATA_DECIMAL_DIGITS)
            *out = data_type_decimal(arena, node->precision, node->scale);
        else
            *out = &data_type_binary;
        return MR_OK;
    case AVRO_STRING:
    case AVRO_ENUM:
        *out = &data_type_string;
        return MR_OK;
    case AVRO_RECORD:
        return map_record(&chain, node, arena, out);
    case AVRO_ARRAY:
    case AVRO_MAP:
        return map_collection(&chain, node, arena, out);
    case AVRO_UNION:
        return map_union(&chain, node, arena, out, nullable);
    }
    return mr_fail(MR_UNSUPPORTED, "Avro type %.*s", MR_STR_ARG(avro_kind_word(node->kind)));
}

mr_err avro_type_of(const struct avro_node *node, struct mr_arena *arena,
                    const struct data_type **out, bool *nullable)
{
    return map_node(NULL, node, arena, out, nullable);
}

/* ---- back ---- */
static mr_err print_type(const struct data_type *type, mr_str full_name, struct mr_buf *out);

static mr_err print_nullable(const struct data_type *type, bool nullable, mr_str full_name,
                             struct mr_buf *out)
{
    nullable = nullable && type->kind != DATA_NULL;
    mr_buf_cstr(out, nullable ? "[\"null\"," : "");
    mr_err err = print_type(type, full_name, out);
    mr_buf_cstr(out, nullable ? "]" : "");
    return err;
}

static mr_err print_record(const struct data_type *type, mr_str full_name, struct mr_buf *out)
{
    mr_buf_cstr(out, "{\"type\":\"record\",\"name\":");
    mr_buf_json(out, avro_name_simple(full_name));
    if (avro_name_space(full_name).length > 0) {
        mr_buf_cstr(out, ",\"namespace\":");
        mr_buf_json(out, avro_name_space(full_name));
    }
    mr_buf_cstr(out, ",\"fields\":[");
    for (uint32_t i = 0; i < type->field_count; i++) {
        const struct data_field *field = &type->fields[i];
        struct mr_buf inner = {0};
        if (!avro_name_valid(field->name)) {
            return mr_fail(
                MR_INVALID,
                "column \"%.*s\": expected a name of letters, digits and _ (Avro's rule); "
                "give it one with AS",
                MR_STR_ARG(field->name));
        }
        mr_buf_printf(out, "%s{\"name\":\"%.*s\",\"type\":", i > 0 ? "," : "",
                      MR_STR_ARG(field->name));
        mr_buf_printf(&inner, "%.*s.%.*s", MR_STR_ARG(full_name), MR_STR_ARG(field->name));
        mr_err err = print_nullable(field->type, field->nullable, mr_buf_as_str(&inner), out);
        mr_buf_fini(&inner);
        if (err != MR_OK)
            return err;
        mr_buf_cstr(out, field->nullable ? ",\"default\":null}" : "}");
    }
    mr_buf_cstr(out, "]}");
    return MR_OK;
}

/* Avro knows maps with text keys only. */
static mr_err print_map(const struct data_type *type, mr_str full_name, struct mr_buf *out)
{
    if (type->key->kind != DATA_STRING)
        return mr_fail(MR_UNSUPPORTED, "Avro has no map with keys that are no STRING");
    mr_buf_cstr(out, "{\"type\":\"map\",\"values\":");
    mr_err err = print_nullable(type->element, type->element_nullable, full_name, out);
    mr_buf_cstr(out, "}");
    return err;
}

static mr_err print_type(const struct data_type *type, mr_str full_name, struct mr_buf *out)
{
    mr_err err = MR_OK;

    switch (type->kind) {
    case DATA_NULL:
        mr_buf_cstr(out, "\"null\"");
        break;
    case DATA_BOOLEAN:
        mr_buf_cstr(out, "\"boolean\"");
        break;
    case DATA_BYTE:
    case DATA_SHORT:
    case DATA_INT:
        mr_buf_cstr(out, "\"int\"");
        break;
    case DATA_LONG:
    case DATA_INTERVAL:
        mr_buf_cstr(out, "\"long\"");
        break;
    case DATA_FLOAT:
        mr_buf_cstr(out, "\"float\"");
        break;
    case DATA_DOUBLE:
        mr_buf_cstr(out, "\"double\"");
        break;
    case DATA_STRING:
        mr_buf_cstr(out, "\"string\"");
        break;
    case DATA_BINARY:
        mr_buf_cstr(out, "\"bytes\"");
        break;
    case DATA_DECIMAL:
        mr_buf_printf(
            out, "{\"type\":\"bytes\",\"logicalType\":\"decimal\",\"precision\":%d,\"scale\":%d}",
            type->precision, type->scale);
        break;
    case DATA_DATE:
        mr_buf_cstr(out, "{\"type\":\"int\",\"logicalType\":\"date\"}");
        break;
    case DATA_TIMESTAMP:
        mr_buf_cstr(out, "{\"type\":\"long\",\"logicalType\":\"timestamp-micros\"}");
        break;
    case DATA_TIMESTAMP_NTZ:
        mr_buf_cstr(out, "{\"type\":\"long\",\"logicalType\":\"local-timestamp-micros\"}");
        break;
    case DATA_ARRAY:
        mr_buf_cstr(out, "{\"type\":\"array\",\"items\":");
        err = print_nullable(type->element, type->element_nullable, full_name, out);
        mr_buf_cstr(out, "}");
        break;
    case DATA_MAP:
        err = print_map(type, full_name, out);
        break;
    case DATA_STRUCT:
        err = print_record(type, full_name, out);
        break;
    }
    return err;
}

mr_err avro_type_schema(const struct data_type *type, mr_str full_name, struct mr_buf *out)
{
    size_t length = out->length;
    mr_err err = print_type(type, full_name, out);

    if (err != MR_OK)
        out->length = length;
    return err;
}
