/* sql/rules.c: which types a function takes and gives: the letters of functions.def, and one rule
 * for each function that letters cannot describe. */
#include "sql/bind.h"

#include <stdio.h>

#define STRICT true
#define OWN false
static const struct sql_function_row rows[] = {
#define FUNCTION(id, name, args, result, nulls, about) {name, args, result, about, nulls},
#define ALIAS(name, id)
#include "sql/functions.def"
};
static const struct {
    const char *name;
    enum sql_function function;
} aliases[] = {
#define FUNCTION(id, name, args, result, nulls, about)
#define ALIAS(name, id) {name, SQL_FN_##id},
#include "sql/functions.def"
};
#undef STRICT
#undef OWN

const struct sql_function_row *sql_rules_row(enum sql_function function)
{
    return &rows[function];
}

mr_str sql_function_name(enum sql_function function)
{
    return mr_str_from(rows[function].name);
}

int sql_rules_find(mr_str name)
{
    for (int i = 0; i < SQL_FN_COUNT; i++)
        if (mr_str_equal(name, mr_str_from(rows[i].name)))
            return i;
    for (size_t i = 0; i < mr_count_of(aliases); i++)
        if (mr_str_equal(name, mr_str_from(aliases[i].name)))
            return (int)aliases[i].function;
    return -1;
}

/* ---- what the rules share ---- */
static void fail_arg(struct sql_binder *b, const struct sql_expr *call, uint32_t arg,
                     const char *expected)
{
    mr_str name = sql_function_name(call->function);
    sql_binder_fail(b, MR_INVALID, call->args[arg]->line, call->args[arg]->column,
                    "%.*s: argument %u: expected %s, found %.*s", MR_STR_ARG(name), arg + 1,
                    expected, MR_STR_ARG(sql_binder_type_text(b, call->args[arg]->type)));
}

static void fail_count(struct sql_binder *b, const struct sql_expr *call, const char *expected)
{
    mr_str name = sql_function_name(call->function);
    sql_binder_fail(b, MR_INVALID, call->line, call->column, "%.*s: expected %s, found %u",
                    MR_STR_ARG(name), expected, call->arg_count);
}

static bool count_is(struct sql_binder *b, const struct sql_expr *call, uint32_t least,
                     uint32_t most)
{
    char expected[64];
    if (call->arg_count >= least && call->arg_count <= most)
        return true;
    if (least == most)
        snprintf(expected, sizeof expected, "%u argument%s", least, least == 1 ? "" : "s");
    else
        snprintf(expected, sizeof expected, "%u to %u arguments", least, most);
    fail_count(b, call, expected);
    return false;
}

static void arg_to(struct sql_binder *b, struct sql_expr *call, uint32_t arg,
                   const struct data_type *type)
{
    if (arg >= call->arg_count)
        return;
    if (!sql_coerce_implicit(call->args[arg]->type, type)) {
        mr_str text = sql_binder_type_text(b, type);
        fail_arg(b, call, arg, mr_arena_cstr(b->arena, text));
        return;
    }
    call->args[arg] = sql_coerce_to(b, call->args[arg], type);
}

static enum data_kind kind_of(const struct sql_expr *call, uint32_t arg)
{
    return call->args[arg]->type->kind;
}

/* ---- operators ---- */
static bool is_moment(enum data_kind kind)
{
    return kind == DATA_TIMESTAMP || kind == DATA_TIMESTAMP_NTZ;
}

/* Sums of dates, timestamps and intervals; false when it is a matter of numbers. */
static bool time_arithmetic(struct sql_binder *b, struct sql_expr *call)
{
    enum data_kind x = kind_of(call, 0), y = kind_of(call, 1);
    bool minus = call->function == SQL_FN_subtract, plus = call->function == SQL_FN_add;
    if (!plus && !minus)
        return false;
    if (minus && x == DATA_DATE && (y == DATA_DATE || y == DATA_STRING)) {
        arg_to(b, call, 1, &data_type_date);
        call->type = &data_type_interval;
    } else if (minus && (is_moment(x) || x == DATA_DATE) && (is_moment(y) || y == DATA_DATE)) {
        arg_to(b, call, 0, &data_type_timestamp);
        arg_to(b, call, 1, &data_type_timestamp);
        call->type = &data_type_interval;
    } else if (x == DATA_DATE && y >= DATA_BYTE && y <= DATA_INT) {
        call->function = plus ? SQL_FN_date_add : SQL_FN_date_sub;
        arg_to(b, call, 1, &data_type_int);
        call->type = &data_type_date;
    } else if (plus && y == DATA_DATE && x >= DATA_BYTE && x <= DATA_INT) {
        struct sql_expr *days = call->args[0];
        call->args[0] = call->args[1];
        call->args[1] = days;
        time_arithmetic(b, call);
    } else if (is_moment(x) && y == DATA_INTERVAL) {
        call->type = call->args[0]->type;
    } else if (plus && x == DATA_INTERVAL && is_moment(y)) {
        struct sql_expr *interval = call->args[0];
        call->args[0] = call->args[1];
        call->args[1] = interval;
        call->type = call->args[0]->type;
    } else if (x == DATA_DATE && y == DATA_INTERVAL) {
        arg_to(b, call, 0, &data_type_timestamp);
        call->type = &data_type_timestamp;
    } else if (x == DATA_INTERVAL && y == DATA_INTERVAL) {
        call->type = &data_type_interval;
    } else {
        return false;
    }
    return true;
}

static void rule_arithmetic(struct sql_binder *b, struct sql_expr *call)
{
    if (count_is(b, call, 2, 2) && !time_arithmetic(b, call))
        sql_coerce_arithmetic(b, call);
}

static void rule_divide(struct sql_binder *b, struct sql_expr *call)
{
    if (count_is(b, call, 2, 2))
        sql_coerce_arithmetic(b, call);
}

static void rule_int_divide(struct sql_binder *b, struct sql_expr *call)
{
    if (!count_is(b, call, 2, 2))
        return;
    for (uint32_t i = 0; i < 2; i++)
        if (!data_kind_is_whole(kind_of(call, i)) && kind_of(call, i) != DATA_DECIMAL &&
            kind_of(call, i) != DATA_NULL) {
            fail_arg(b, call, i, "a whole number or DECIMAL");
            return;
        }
    if (kind_of(call, 0) == DATA_DECIMAL || kind_of(call, 1) == DATA_DECIMAL) {
        const struct data_type *type = sql_coerce_widest(b, call->args[0]->type,
                                                         call->args[1]->type, false);
        arg_to(b, call, 0, type);
        arg_to(b, call, 1, type);
    } else {
        arg_to(b, call, 0, &data_type_long);
        arg_to(b, call, 1, &data_type_long);
    }
    call->type = &data_type_long;
}

static void rule_compare(struct sql_binder *b, struct sql_expr *call)
{
    if (count_is(b, call, 2, 2))
        sql_coerce_compare(b, call);
}

static void rule_in(struct sql_binder *b, struct sql_expr *call)
{
    sql_coerce_all(b, "IN", call->args, call->arg_count, 1, true);
    call->type = &data_type_boolean;
}

static void rule_bits(struct sql_binder *b, struct sql_expr *call)
{
    if (!count_is(b, call, call->function == SQL_FN_bit_not ? 1 : 2, 2))
        return;
    for (uint32_t i = 0; i < call->arg_count; i++)
        if (!data_kind_is_whole(kind_of(call, i)) && kind_of(call, i) != DATA_NULL) {
            fail_arg(b, call, i, "a whole number");
            return;
        }
    const struct data_type *type = sql_coerce_all(b, "bits", call->args, call->arg_count, 1, false);
    call->type = type == NULL || type->kind == DATA_NULL ? &data_type_int : type;
    for (uint32_t i = 0; i < call->arg_count; i++)
        arg_to(b, call, i, call->type);
}

/* ---- elements ---- */
static void rule_index(struct sql_binder *b, struct sql_expr *call, bool maps)
{
    const struct data_type *from = call->args[0]->type;
    if (from->kind == DATA_ARRAY) {
        if (!data_kind_is_whole(kind_of(call, 1)) && kind_of(call, 1) != DATA_NULL)
            fail_arg(b, call, 1, "a whole number");
        arg_to(b, call, 1, &data_type_int);
        call->type = from->element;
    } else if (from->kind == DATA_MAP && maps) {
        arg_to(b, call, 1, from->key);
        call->type = from->element;
    } else {
        fail_arg(b, call, 0, maps ? "an array or a map" : "an array");
    }
}

static void rule_subscript(struct sql_binder *b, struct sql_expr *call)
{
    rule_index(b, call, true);
}

static void rule_element_at(struct sql_binder *b, struct sql_expr *call)
{
    if (count_is(b, call, 2, 2))
        rule_index(b, call, true);
}

static void rule_get(struct sql_binder *b, struct sql_expr *call)
{
    if (count_is(b, call, 2, 2))
        rule_index(b, call, false);
}

/* ---- text ---- */
static void rule_concat(struct sql_binder *b, struct sql_expr *call)
{
    bool arrays = call->arg_count > 0, binaries = call->arg_count > 0;
    for (uint32_t i = 0; i < call->arg_count; i++) {
        arrays = arrays && (kind_of(call, i) == DATA_ARRAY || kind_of(call, i) == DATA_NULL);
        binaries = binaries && kind_of(call, i) == DATA_BINARY;
    }
    if (arrays) {
        const struct data_type *type = sql_coerce_all(b, "concat", call->args, call->arg_count, 1,
                                                      true);
        if (type != NULL && type->kind == DATA_ARRAY) {
            call->type = type;
            return;
        }
    }
    call->type = binaries ? &data_type_binary : &data_type_string;
    for (uint32_t i = 0; i < call->arg_count && b->err == MR_OK; i++)
        arg_to(b, call, i, call->type);
}

static void rule_concat_ws(struct sql_binder *b, struct sql_expr *call)
{
    if (call->arg_count == 0) {
        fail_count(b, call, "a separator first");
        return;
    }
    for (uint32_t i = 0; i < call->arg_count; i++) {
        bool array = i > 0 && kind_of(call, i) == DATA_ARRAY;
        arg_to(b, call, i,
               array ? data_type_array(b->arena, &data_type_string) : &data_type_string);
    }
    call->type = &data_type_string;
}

/* ltrim(chars, x) becomes (x, chars), as trim has it. */
static void rule_trim_side(struct sql_binder *b, struct sql_expr *call)
{
    if (!count_is(b, call, 1, 2))
        return;
    if (call->arg_count == 2) {
        struct sql_expr *chars = call->args[0];
        call->args[0] = call->args[1];
        call->args[1] = chars;
    }
    for (uint32_t i = 0; i < call->arg_count; i++)
        arg_to(b, call, i, &data_type_string);
    call->type = &data_type_string;
}

static void text_or_binary(struct sql_binder *b, struct sql_expr *call)
{
    if (kind_of(call, 0) != DATA_BINARY)
        arg_to(b, call, 0, &data_type_string);
}

static void rule_substring(struct sql_binder *b, struct sql_expr *call)
{
    if (!count_is(b, call, 2, 3))
        return;
    text_or_binary(b, call);
    arg_to(b, call, 1, &data_type_int);
    arg_to(b, call, 2, &data_type_int);
    call->type = call->args[0]->type;
}

static void rule_length(struct sql_binder *b, struct sql_expr *call)
{
    if (!count_is(b, call, 1, 1))
        return;
    text_or_binary(b, call);
    call->type = &data_type_int;
}

static void rule_overlay(struct sql_binder *b, struct sql_expr *call)
{
    if (!count_is(b, call, 3, 4))
        return;
    arg_to(b, call, 0, &data_type_string);
    arg_to(b, call, 1, &data_type_string);
    arg_to(b, call, 2, &data_type_int);
    arg_to(b, call, 3, &data_type_int);
    call->type = &data_type_string;
}

static void rule_reverse(struct sql_binder *b, struct sql_expr *call)
{
    if (!count_is(b, call, 1, 1))
        return;
    if (kind_of(call, 0) != DATA_ARRAY)
        arg_to(b, call, 0, &data_type_string);
    call->type = call->args[0]->type;
}

static void rule_hex(struct sql_binder *b, struct sql_expr *call)
{
    if (!count_is(b, call, 1, 1))
        return;
    if (data_kind_is_number(kind_of(call, 0)))
        arg_to(b, call, 0, &data_type_long);
    else if (kind_of(call, 0) != DATA_BINARY)
        arg_to(b, call, 0, &data_type_string);
    call->type = &data_type_string;
}

static void rule_format_number(struct sql_binder *b, struct sql_expr *call)
{
    if (!count_is(b, call, 2, 2))
        return;
    if (kind_of(call, 1) == DATA_STRING)
        sql_binder_fail(b, MR_UNSUPPORTED, call->line, call->column,
                        "format_number with a pattern is not there; give the number of digits");
    if (kind_of(call, 0) != DATA_DECIMAL && !data_kind_is_whole(kind_of(call, 0)))
        arg_to(b, call, 0, &data_type_double);
    arg_to(b, call, 1, &data_type_int);
    call->type = &data_type_string;
}

/* ---- numbers ---- */
static void rule_ceil(struct sql_binder *b, struct sql_expr *call)
{
    if (!count_is(b, call, 1, 1))
        return;
    const struct data_type *type = call->args[0]->type;
    if (type->kind == DATA_DECIMAL) {
        call->type = sql_coerce_bounded(b, type->precision - type->scale + 1, 0);
        return;
    }
    arg_to(b, call, 0, data_kind_is_whole(type->kind) ? &data_type_long : &data_type_double);
    call->type = &data_type_long;
}

static void rule_round(struct sql_binder *b, struct sql_expr *call)
{
    int64_t digits = 0;
    if (!count_is(b, call, 1, 2))
        return;
    if (call->arg_count == 2 && !sql_exprs_whole(call->args[1], &digits)) {
        fail_arg(b, call, 1, "a constant number of digits");
        return;
    }
    arg_to(b, call, 1, &data_type_int);
    const struct data_type *type = call->args[0]->type;
    if (!data_kind_is_number(type->kind))
        arg_to(b, call, 0, &data_type_double);
    call->type = call->args[0]->type;
    if (type->kind != DATA_DECIMAL)
        return;
    int whole = type->precision - type->scale + 1;
    if (digits < 0) {
        int64_t precision = whole > -digits + 1 ? whole : -digits + 1;
        call->type = sql_coerce_bounded(b, precision > 38 ? 38 : (int)precision, 0);
    } else {
        int scale = digits < type->scale ? (int)digits : type->scale;
        call->type = sql_coerce_bounded(b, whole + scale, scale);
    }
}

static void rule_extreme(struct sql_binder *b, struct sql_expr *call)
{
    if (call->arg_count < 2) {
        fail_count(b, call, "2 arguments or more");
        return;
    }
    const struct data_type *type = sql_coerce_all(b, "greatest, least", call->args, call->arg_count,
                                                  1, false);
    call->type = type == NULL ? &data_type_null : type;
}

static void rule_shift(struct sql_binder *b, struct sql_expr *call)
{
    if (!count_is(b, call, 2, 2))
        return;
    call->type = kind_of(call, 0) == DATA_LONG ? &data_type_long : &data_type_int;
    arg_to(b, call, 0, call->type);
    arg_to(b, call, 1, &data_type_int);
}

static void rule_bit_count(struct sql_binder *b, struct sql_expr *call)
{
    if (!count_is(b, call, 1, 1))
        return;
    if (!data_kind_is_whole(kind_of(call, 0)) && kind_of(call, 0) != DATA_BOOLEAN)
        fail_arg(b, call, 0, "a whole number or BOOLEAN");
    else if (kind_of(call, 0) != DATA_BOOLEAN)
        arg_to(b, call, 0, &data_type_long);
    call->type = &data_type_int;
}

static void rule_hash(struct sql_binder *b, struct sql_expr *call)
{
    for (uint32_t i = 0; i < call->arg_count; i++)
        if (data_type_has_lists(call->args[i]->type) && kind_of(call, i) != DATA_ARRAY)
            fail_arg(b, call, i, "no map");
    call->type = call->function == SQL_FN_hash ? &data_type_int : &data_type_long;
}

/* ---- time ---- */
static void rule_date_add(struct sql_binder *b, struct sql_expr *call)
{
    if (!count_is(b, call, 2, 2))
        return;
    arg_to(b, call, 0, &data_type_date);
    if (!data_kind_is_whole(kind_of(call, 1)) && kind_of(call, 1) != DATA_NULL &&
        kind_of(call, 1) != DATA_STRING)
        fail_arg(b, call, 1, "a whole number of days");
    arg_to(b, call, 1, &data_type_int);
    call->type = &data_type_date;
}

static void rule_from_text(struct sql_binder *b, struct sql_expr *call,
                           const struct data_type *type)
{
    if (!count_is(b, call, 1, 2))
        return;
    bool time = kind_of(call, 0) == DATA_DATE || is_moment(kind_of(call, 0));
    if (call->arg_count == 2 && !time)
        arg_to(b, call, 0, &data_type_string);
    arg_to(b, call, 1, &data_type_string);
    if (call->arg_count == 1 || time) { /* without a pattern it is a cast */
        if (!sql_coerce_castable(call->args[0]->type, type))
            fail_arg(b, call, 0, "a text, a date or a timestamp");
        else
            call->args[0] = sql_coerce_to(b, call->args[0], type);
    }
    call->type = type;
}

static void rule_to_timestamp(struct sql_binder *b, struct sql_expr *call)
{
    rule_from_text(b, call, &data_type_timestamp);
}

static void rule_to_date(struct sql_binder *b, struct sql_expr *call)
{
    rule_from_text(b, call, &data_type_date);
}

static void rule_unix_timestamp(struct sql_binder *b, struct sql_expr *call)
{
    if (!count_is(b, call, 0, 2))
        return;
    if (call->arg_count > 0 && (kind_of(call, 0) == DATA_DATE || is_moment(kind_of(call, 0))))
        arg_to(b, call, 0, &data_type_timestamp);
    else
        arg_to(b, call, 0, &data_type_string);
    arg_to(b, call, 1, &data_type_string);
    call->type = &data_type_long;
}

static void rule_timestamp_seconds(struct sql_binder *b, struct sql_expr *call)
{
    if (!count_is(b, call, 1, 1))
        return;
    if (data_kind_is_whole(kind_of(call, 0)))
        arg_to(b, call, 0, &data_type_long);
    else if (kind_of(call, 0) != DATA_DECIMAL)
        arg_to(b, call, 0, &data_type_double);
    call->type = &data_type_timestamp;
}

static void rule_make_timestamp(struct sql_binder *b, struct sql_expr *call)
{
    if (!count_is(b, call, 6, 6))
        return;
    for (uint32_t i = 0; i < 5; i++)
        arg_to(b, call, i, &data_type_int);
    arg_to(b, call, 5, data_type_decimal(b->arena, 16, 6));
    call->type = &data_type_timestamp;
}

static void rule_window_time(struct sql_binder *b, struct sql_expr *call)
{
    if (!count_is(b, call, 1, 1))
        return;
    const struct data_type *type = call->args[0]->type;
    if (type->kind != DATA_STRUCT || type->field_count != 2 ||
        type->fields[1].type->kind != DATA_TIMESTAMP)
        fail_arg(b, call, 0, "a window");
    call->type = &data_type_timestamp;
}

/* ---- arrays, maps, structs ---- */
static void rule_array(struct sql_binder *b, struct sql_expr *call)
{
    const struct data_type *type = sql_coerce_all(b, "array", call->args, call->arg_count, 1, true);
    call->type = data_type_array(b->arena, type == NULL ? &data_type_null : type);
}

static void rule_map(struct sql_binder *b, struct sql_expr *call)
{
    if (call->arg_count % 2 != 0) {
        fail_count(b, call, "keys and values in pairs");
        return;
    }
    const struct data_type *key = sql_coerce_all(b, "keys of map", call->args, call->arg_count, 2,
                                                 true);
    const struct data_type *value = call->arg_count == 0
                                        ? &data_type_null
                                        : sql_coerce_all(b, "values of map", call->args + 1,
                                                         call->arg_count - 1, 2, true);
    if (key != NULL && value != NULL)
        call->type = data_type_map(b->arena, key, value);
}

static bool is_array(struct sql_binder *b, struct sql_expr *call, uint32_t arg)
{
    if (kind_of(call, arg) == DATA_NULL)
        arg_to(b, call, arg, data_type_array(b->arena, &data_type_null));
    if (kind_of(call, arg) == DATA_ARRAY)
        return true;
    fail_arg(b, call, arg, "an array");
    return false;
}

static bool is_map(struct sql_binder *b, struct sql_expr *call, uint32_t arg)
{
    if (kind_of(call, arg) == DATA_NULL)
        arg_to(b, call, arg, data_type_map(b->arena, &data_type_null, &data_type_null));
    if (kind_of(call, arg) == DATA_MAP)
        return true;
    fail_arg(b, call, arg, "a map");
    return false;
}

static void rule_map_from_arrays(struct sql_binder *b, struct sql_expr *call)
{
    if (count_is(b, call, 2, 2) && is_array(b, call, 0) && is_array(b, call, 1))
        call->type = data_type_map(b->arena, call->args[0]->type->element,
                                   call->args[1]->type->element);
}

static void rule_struct(struct sql_binder *b, struct sql_expr *call)
{
    (void)b; /* exprs.c names the fields */
    mr_assert(call->function == SQL_FN_struct_of);
}

/* The names are constants; only the values stay arguments. */
static void rule_named_struct(struct sql_binder *b, struct sql_expr *call)
{
    uint32_t count = call->arg_count / 2;
    struct data_field *fields = mr_arena_array(b->arena, struct data_field, count);
    if (call->arg_count % 2 != 0) {
        fail_count(b, call, "names and values in pairs");
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (!sql_exprs_text(call->args[2 * i], &fields[i].name)) {
            fail_arg(b, call, 2 * i, "a constant name");
            return;
        }
        fields[i].type = call->args[2 * i + 1]->type;
        fields[i].nullable = call->args[2 * i + 1]->nullable;
        call->args[i] = call->args[2 * i + 1];
    }
    call->arg_count = count;
    call->function = SQL_FN_struct_of;
    call->type = data_type_struct(b->arena, fields, count);
}

static void rule_size(struct sql_binder *b, struct sql_expr *call)
{
    if (!count_is(b, call, 1, 1))
        return;
    if (kind_of(call, 0) != DATA_MAP && !is_array(b, call, 0))
        return;
    call->type = &data_type_int;
}

static void rule_array_and_element(struct sql_binder *b, struct sql_expr *call)
{
    if (!count_is(b, call, 2, 2) || !is_array(b, call, 0))
        return;
    const struct data_type *type = sql_coerce_widest(b, call->args[0]->type->element,
                                                     call->args[1]->type, false);
    if (type == NULL) {
        fail_arg(b, call, 1, "a value of the array's type");
        return;
    }
    arg_to(b, call, 0, data_type_array(b->arena, type));
    arg_to(b, call, 1, type);
    call->type = call->function == SQL_FN_array_contains   ? &data_type_boolean
                 : call->function == SQL_FN_array_position ? &data_type_long
                                                           : call->args[0]->type;
}

static void rule_sort_array(struct sql_binder *b, struct sql_expr *call)
{
    if (!count_is(b, call, 1, 2) || !is_array(b, call, 0))
        return;
    arg_to(b, call, 1, &data_type_boolean);
    call->type = call->args[0]->type;
}

static void rule_array_same(struct sql_binder *b, struct sql_expr *call)
{
    if (call->function == SQL_FN_array_sort && call->arg_count == 2)
        sql_binder_fail(b, MR_UNSUPPORTED, call->line, call->column,
                        "array_sort with a comparator is not there");
    if (count_is(b, call, 1, 1) && is_array(b, call, 0))
        call->type = call->args[0]->type;
}

static void rule_array_join(struct sql_binder *b, struct sql_expr *call)
{
    if (!count_is(b, call, 2, 3) || !is_array(b, call, 0))
        return;
    arg_to(b, call, 0, data_type_array(b->arena, &data_type_string));
    arg_to(b, call, 1, &data_type_string);
    arg_to(b, call, 2, &data_type_string);
    call->type = &data_type_string;
}

static void rule_array_element(struct sql_binder *b, struct sql_expr *call)
{
    if (count_is(b, call, 1, 1) && is_array(b, call, 0))
        call->type = call->args[0]->type->element;
}

static void rule_array_pair(struct sql_binder *b, struct sql_expr *call)
{
    if (!count_is(b, call, 2, 2) || !is_array(b, call, 0) || !is_array(b, call, 1))
        return;
    const struct data_type *type = sql_coerce_all(b, "arrays", call->args, 2, 1, false);
    if (type != NULL)
        call->type = call->function == SQL_FN_arrays_overlap ? &data_type_boolean : type;
}

static void rule_array_repeat(struct sql_binder *b, struct sql_expr *call)
{
    if (!count_is(b, call, 2, 2))
        return;
    arg_to(b, call, 1, &data_type_int);
    call->type = data_type_array(b->arena, call->args[0]->type);
}

static void rule_sequence(struct sql_binder *b, struct sql_expr *call)
{
    if (!count_is(b, call, 2, 3))
        return;
    for (uint32_t i = 0; i < call->arg_count; i++)
        if (!data_kind_is_whole(kind_of(call, i))) {
            fail_arg(b, call, i, "a whole number");
            return;
        }
    const struct data_type *type = sql_coerce_all(b, "sequence", call->args, call->arg_count, 1,
                                                  false);
    if (type != NULL)
        call->type = data_type_array(b->arena, type);
}

static void rule_slice(struct sql_binder *b, struct sql_expr *call)
{
    if (!count_is(b, call, 3, 3) || !is_array(b, call, 0))
        return;
    arg_to(b, call, 1, &data_type_int);
    arg_to(b, call, 2, &data_type_int);
    call->type = call->args[0]->type;
}

static void rule_flatten(struct sql_binder *b, struct sql_expr *call)
{
    if (!count_is(b, call, 1, 1) || !is_array(b, call, 0))
        return;
    if (call->args[0]->type->element->kind != DATA_ARRAY)
        fail_arg(b, call, 0, "an array of arrays");
    call->type = call->args[0]->type->element;
}

static void rule_map_part(struct sql_binder *b, struct sql_expr *call)
{
    if (!count_is(b, call, 1, 1) || !is_map(b, call, 0))
        return;
    const struct data_type *map = call->args[0]->type;
    struct data_field fields[2] = {{MR_STR("key"), map->key, false},
                                   {MR_STR("value"), map->element, true}};
    const struct data_type *element = map->element;
    if (call->function == SQL_FN_map_keys)
        element = map->key;
    else if (call->function == SQL_FN_map_entries)
        element = data_type_struct(b->arena, fields, 2);
    call->type = data_type_array(b->arena, element);
}

static void rule_map_contains_key(struct sql_binder *b, struct sql_expr *call)
{
    if (!count_is(b, call, 2, 2) || !is_map(b, call, 0))
        return;
    arg_to(b, call, 1, call->args[0]->type->key);
    call->type = &data_type_boolean;
}

static void rule_map_concat(struct sql_binder *b, struct sql_expr *call)
{
    for (uint32_t i = 0; i < call->arg_count; i++)
        if (!is_map(b, call, i))
            return;
    const struct data_type *type = sql_coerce_all(b, "maps", call->args, call->arg_count, 1, true);
    if (type != NULL)
        call->type = type->kind == DATA_NULL
                         ? data_type_map(b->arena, &data_type_string, &data_type_string)
                         : type;
}

/* ---- JSON ---- */
static void rule_from_json(struct sql_binder *b, struct sql_expr *call)
{
    mr_str ddl;
    const struct data_type *type = NULL;
    if (!count_is(b, call, 2, 3))
        return;
    arg_to(b, call, 0, &data_type_string);
    if (!sql_exprs_text(call->args[1], &ddl)) {
        fail_arg(b, call, 1, "a constant schema such as 'a INT, b STRING'");
        return;
    }
    if (data_type_parse(b->arena, ddl, &type) != MR_OK) {
        mr_str why = mr_arena_str(b->arena, mr_str_from(mr_why()));
        sql_binder_fail(b, MR_INVALID, call->args[1]->line, call->args[1]->column,
                        "from_json: %.*s", MR_STR_ARG(why));
        return;
    }
    if (type->kind != DATA_STRUCT && type->kind != DATA_ARRAY && type->kind != DATA_MAP)
        sql_binder_fail(b, MR_INVALID, call->args[1]->line, call->args[1]->column,
                        "from_json: expected the schema of a struct, an array or a map");
    call->type = type;
}

static void rule_to_json(struct sql_binder *b, struct sql_expr *call)
{
    if (!count_is(b, call, 1, 1))
        return;
    if (kind_of(call, 0) == DATA_NULL)
        arg_to(b, call, 0, data_type_array(b->arena, &data_type_null));
    if (kind_of(call, 0) != DATA_STRUCT && kind_of(call, 0) != DATA_ARRAY &&
        kind_of(call, 0) != DATA_MAP)
        fail_arg(b, call, 0, "a struct, an array or a map");
    call->type = &data_type_string;
}

/* ---- dispatch ---- */
#define RULE(name)         \
    {                      \
#name, rule_##name \
    }
static const struct {
    const char *name;
    void (*apply)(struct sql_binder *b, struct sql_expr *call);
} rules[] = {
    RULE(arithmetic),
    RULE(divide),
    RULE(int_divide),
    RULE(compare),
    RULE(in),
    RULE(bits),
    RULE(subscript),
    RULE(element_at),
    RULE(get),
    RULE(concat),
    RULE(concat_ws),
    RULE(trim_side),
    RULE(substring),
    RULE(length),
    RULE(overlay),
    RULE(reverse),
    RULE(hex),
    RULE(format_number),
    RULE(ceil),
    RULE(round),
    RULE(extreme),
    RULE(shift),
    RULE(bit_count),
    RULE(hash),
    RULE(date_add),
    RULE(to_timestamp),
    RULE(to_date),
    RULE(unix_timestamp),
    RULE(timestamp_seconds),
    RULE(make_timestamp),
    RULE(window_time),
    RULE(array),
    RULE(map),
    RULE(map_from_arrays),
    RULE(struct),
    RULE(named_struct),
    RULE(size),
    RULE(array_and_element),
    RULE(sort_array),
    RULE(array_same),
    RULE(array_join),
    RULE(array_element),
    RULE(array_pair),
    RULE(array_repeat),
    RULE(sequence),
    RULE(slice),
    RULE(flatten),
    RULE(map_part),
    RULE(map_contains_key),
    RULE(map_concat),
    RULE(from_json),
    RULE(to_json),
};
#undef RULE

static const struct data_type *letter_type(char letter)
{
    switch (letter) {
    case 's':
        return &data_type_string;
    case 'x':
        return &data_type_binary;
    case 'i':
        return &data_type_int;
    case 'l':
        return &data_type_long;
    case 'd':
        return &data_type_double;
    case 'b':
        return &data_type_boolean;
    case 'D':
        return &data_type_date;
    case 't':
        return &data_type_timestamp;
    default:
        return NULL;
    }
}

static void apply_letters(struct sql_binder *b, struct sql_expr *call, const char *letters)
{
    uint32_t least = 0, most = 0, arg = 0;
    for (const char *at = letters; *at != '\0'; at++) {
        if (*at == '?')
            least--;
        else
            least++, most++;
    }
    if (!count_is(b, call, least, most))
        return;
    for (const char *at = letters; *at != '\0' && arg < call->arg_count && b->err == MR_OK; at++) {
        const struct data_type *type = letter_type(*at);
        if (*at == '?')
            continue;
        if (type != NULL)
            arg_to(b, call, arg, type);
        else if (*at == 'N' && kind_of(call, arg) == DATA_INTERVAL)
            ;
        else if (*at == 'N' && !data_kind_is_number(kind_of(call, arg)))
            arg_to(b, call, arg, &data_type_double);
        arg++;
    }
}

void sql_rules_apply(struct sql_binder *b, struct sql_expr *call, const char *args,
                     const char *result)
{
    if (args[0] == '@') {
        size_t i = 0;
        while (i < mr_count_of(rules) && strcmp(rules[i].name, args + 1) != 0)
            i++;
        mr_assert(i < mr_count_of(rules));
        rules[i].apply(b, call);
        return;
    }
    apply_letters(b, call, args);
    if (b->err != MR_OK)
        return;
    if (strcmp(result, "@decimal_8_6") == 0)
        call->type = data_type_decimal(b->arena, 8, 6);
    else if (strcmp(result, "@null") == 0)
        call->type = &data_type_null;
    else if (strcmp(result, "as") == 0)
        call->type = data_type_array(b->arena, &data_type_string);
    else if (result[0] == '0')
        call->type = call->args[0]->type;
    else
        call->type = letter_type(result[0]);
}
