/* json/infer.c: Spark's schema_of_json: the type of a text. Integers are BIGINT (or DECIMAL when longer),
 * fractions DOUBLE, a lone null STRING; the fields of an object in the order of their names; an array has
 * the type that all its elements widen to, STRING when there is none. */
#include "json/json.h"

#include <stdlib.h>

static const struct data_type *widen(struct mr_arena *arena, const struct data_type *a,
                                     const struct data_type *b);

static int by_name(const void *a, const void *b)
{
    const struct data_field *x = a, *y = b;
    int order = mr_str_compare(x->name, y->name);

    return order != 0 ? order : (x > y) - (x < y);
}

static const struct data_type *widen_structs(struct mr_arena *arena, const struct data_type *a,
                                             const struct data_type *b)
{
    struct data_field *fields = mr_arena_array(arena, struct data_field,
                                               a->field_count + b->field_count);
    size_t count = 0;
    uint32_t i = 0, j = 0;

    while (i < a->field_count || j < b->field_count) {
        int order = i == a->field_count   ? 1
                    : j == b->field_count ? -1
                                          : mr_str_compare(a->fields[i].name, b->fields[j].name);
        fields[count] = order <= 0 ? a->fields[i] : b->fields[j];
        if (order == 0)
            fields[count].type = widen(arena, a->fields[i].type, b->fields[j].type);
        count++;
        i += order <= 0;
        j += order >= 0;
    }
    return data_type_struct(arena, fields, count);
}

static bool is_number(const struct data_type *type)
{
    return type->kind == DATA_LONG || type->kind == DATA_DECIMAL || type->kind == DATA_DOUBLE;
}

static const struct data_type *widen_numbers(struct mr_arena *arena, const struct data_type *a,
                                             const struct data_type *b)
{
    if (a->kind == DATA_DOUBLE || b->kind == DATA_DOUBLE)
        return &data_type_double;
    int digits_a = a->kind == DATA_LONG ? 20 : a->precision,
        digits_b = b->kind == DATA_LONG ? 20 : b->precision;
    return data_type_decimal(arena, digits_a > digits_b ? digits_a : digits_b, 0);
}

static const struct data_type *widen(struct mr_arena *arena, const struct data_type *a,
                                     const struct data_type *b)
{
    if (a->kind == DATA_NULL)
        return b;
    if (b->kind == DATA_NULL || (a->kind == b->kind && data_type_equal(a, b)))
        return a;
    if (a->kind == DATA_STRUCT && b->kind == DATA_STRUCT)
        return widen_structs(arena, a, b);
    if (a->kind == DATA_ARRAY && b->kind == DATA_ARRAY)
        return data_type_array(arena, widen(arena, a->element, b->element));
    if (is_number(a) && is_number(b))
        return widen_numbers(arena, a, b);
    return &data_type_string;
}

static const struct data_type *infer_number(struct mr_arena *arena, mr_str text)
{
    int64_t value;

    if (mr_str_to_i64(text, &value) == MR_OK)
        return &data_type_long;
    for (size_t i = 0; i < text.length; i++) {
        if (strchr(".eE", text.data[i]) != NULL)
            return &data_type_double;
    }
    size_t digits = text.length - (text.data[0] == '-');
    return digits <= DATA_DECIMAL_DIGITS ? data_type_decimal(arena, (int)digits, 0)
                                         : &data_type_double;
}

static const struct data_type *infer(struct mr_arena *arena, const struct json_value *value)
{
    switch (value->kind) {
    case JSON_NULL:
        return &data_type_null;
    case JSON_BOOLEAN:
        return &data_type_boolean;
    case JSON_STRING:
        return &data_type_string;
    case JSON_NUMBER:
        return infer_number(arena, value->text);
    case JSON_ARRAY:
    case JSON_OBJECT:
        break;
    }
    if (value->kind == JSON_ARRAY) {
        const struct data_type *element = &data_type_null;
        for (uint32_t i = 0; i < value->count; i++)
            element = widen(arena, element, infer(arena, &value->items[i]));
        return data_type_array(arena, element);
    }
    struct data_field *fields = mr_arena_array(arena, struct data_field, value->count);
    size_t count = 0;
    for (uint32_t i = 0; i < value->count; i++) {
        if (value->items[i].name.length > 0)
            fields[count++] = (struct data_field){value->items[i].name,
                                                  infer(arena, &value->items[i]), true};
    }
    qsort(fields, count, sizeof *fields, by_name);
    return data_type_struct(arena, fields, count);
}

/* Types of nulls become STRING at the very end, after all widening. */
static const struct data_type *settle(struct mr_arena *arena, const struct data_type *type)
{
    if (type->kind == DATA_NULL)
        return &data_type_string;
    if (type->kind == DATA_ARRAY)
        return data_type_array(arena, settle(arena, type->element));
    if (type->kind != DATA_STRUCT)
        return type;
    struct data_field *fields = mr_arena_array(arena, struct data_field, type->field_count);
    for (uint32_t i = 0; i < type->field_count; i++) {
        fields[i] = type->fields[i];
        fields[i].type = settle(arena, type->fields[i].type);
    }
    return data_type_struct(arena, fields, type->field_count);
}

mr_err json_schema_infer(struct mr_arena *arena, mr_str text, const struct data_type **out)
{
    const struct json_value *value;
    mr_err err = json_parse(arena, text, &value);

    if (err == MR_OK)
        *out = settle(arena, infer(arena, value));
    return err;
}
