/* sql/coerce.c: Spark 3.5's implicit casts (ANSI off), spelled out: which type two values meet in. */
#include "sql/bind.h"

/* ---- casts ---- */
struct sql_expr *sql_coerce_to(struct sql_binder *b, struct sql_expr *expr,
                               const struct data_type *type)
{
    struct sql_ast place = {.line = expr->line, .column = expr->column};
    if (data_type_equal(expr->type, type))
        return expr;
    if (expr->kind == SQL_EXPR_LITERAL && !expr->literal->valid[0]) {
        struct data_column *value;
        return sql_exprs_literal(b, type, &place, &value);
    }
    struct sql_expr *cast = sql_exprs_new(b, SQL_EXPR_CAST, type, 1, &place);
    cast->args[0] = expr;
    return cast;
}

static bool is_atom(const struct data_type *type)
{
    return type->kind != DATA_ARRAY && type->kind != DATA_MAP && type->kind != DATA_STRUCT &&
           type->kind != DATA_NULL;
}

static bool is_time(const struct data_type *type)
{
    return type->kind == DATA_DATE || type->kind == DATA_TIMESTAMP ||
           type->kind == DATA_TIMESTAMP_NTZ;
}

bool sql_coerce_implicit(const struct data_type *from, const struct data_type *to)
{
    if (data_type_equal(from, to) || from->kind == DATA_NULL)
        return true;
    if (data_kind_is_number(from->kind) && data_kind_is_number(to->kind))
        return true;
    if (from->kind == DATA_STRING && (data_kind_is_number(to->kind) || is_time(to) ||
                                      to->kind == DATA_BINARY || to->kind == DATA_INTERVAL))
        return true;
    if (to->kind == DATA_STRING && is_atom(from))
        return true;
    if (from->kind == DATA_ARRAY && to->kind == DATA_ARRAY)
        return sql_coerce_implicit(from->element, to->element);
    return is_time(from) && is_time(to);
}

/* CAST(x AS y): the matrix of Spark's Cast.canCast. */
bool sql_coerce_castable(const struct data_type *from, const struct data_type *to)
{
    if (from->kind == DATA_NULL || data_type_equal(from, to) || to->kind == DATA_STRING)
        return true;
    bool number = data_kind_is_number(from->kind), to_number = data_kind_is_number(to->kind);
    switch (from->kind) {
    case DATA_STRING:
        return is_atom(to);
    case DATA_BOOLEAN:
        return to_number || to->kind == DATA_TIMESTAMP;
    case DATA_BYTE:
    case DATA_SHORT:
    case DATA_INT:
    case DATA_LONG:
    case DATA_DECIMAL:
    case DATA_FLOAT:
    case DATA_DOUBLE:
        return (number && to_number) || to->kind == DATA_BOOLEAN || to->kind == DATA_TIMESTAMP ||
               (to->kind == DATA_BINARY && data_kind_is_whole(from->kind)) ||
               (to->kind == DATA_INTERVAL && data_kind_is_whole(from->kind));
    case DATA_DATE:
        return is_time(to) || to_number || to->kind == DATA_BOOLEAN;
    case DATA_TIMESTAMP:
        return is_time(to) || to_number || to->kind == DATA_BOOLEAN;
    case DATA_TIMESTAMP_NTZ:
        return is_time(to);
    case DATA_INTERVAL:
        return data_kind_is_whole(to->kind);
    case DATA_ARRAY:
        return to->kind == DATA_ARRAY && sql_coerce_castable(from->element, to->element);
    case DATA_MAP:
        return to->kind == DATA_MAP && sql_coerce_castable(from->key, to->key) &&
               sql_coerce_castable(from->element, to->element);
    case DATA_STRUCT:
        if (to->kind != DATA_STRUCT || from->field_count != to->field_count)
            return false;
        for (uint32_t i = 0; i < from->field_count; i++)
            if (!sql_coerce_castable(from->fields[i].type, to->fields[i].type))
                return false;
        return true;
    case DATA_NULL:
    case DATA_BINARY:
        return false;
    }
    return false;
}

/* ---- decimals ---- */
const struct data_type *sql_coerce_decimal_of(struct sql_binder *b, const struct data_type *type)
{
    static const int digits[] = {
        [DATA_BYTE] = 3, [DATA_SHORT] = 5, [DATA_INT] = 10, [DATA_LONG] = 20};
    return data_kind_is_whole(type->kind) ? data_type_decimal(b->arena, digits[type->kind], 0)
                                          : type;
}

/* Spark's DecimalType.bounded: both are capped at 38. */
const struct data_type *sql_coerce_bounded(struct sql_binder *b, int precision, int scale)
{
    precision = precision > DATA_DECIMAL_DIGITS ? DATA_DECIMAL_DIGITS : precision;
    scale = scale > precision ? precision : scale;
    return data_type_decimal(b->arena, precision, scale);
}

/* Spark's adjustPrecisionScale (allowPrecisionLoss): the scale gives way, down to 6. */
static const struct data_type *adjusted(struct sql_binder *b, int precision, int scale)
{
    if (precision <= DATA_DECIMAL_DIGITS)
        return data_type_decimal(b->arena, precision, scale);
    int whole = precision - scale, least = scale < 6 ? scale : 6;
    scale = DATA_DECIMAL_DIGITS - whole > least ? DATA_DECIMAL_DIGITS - whole : least;
    return data_type_decimal(b->arena, DATA_DECIMAL_DIGITS, scale);
}

/* A whole literal counts its own digits: 1.5 + 1 is decimal(2,1) plus decimal(1,0). */
static const struct data_type *literal_decimal(struct sql_binder *b, const struct sql_expr *expr)
{
    int64_t value;
    int precision = 1;
    if (expr->kind != SQL_EXPR_LITERAL || !sql_exprs_whole(expr, &value))
        return sql_coerce_decimal_of(b, expr->type);
    while (value / 10 != 0) {
        precision++;
        value /= 10;
    }
    return data_type_decimal(b->arena, precision, 0);
}

static int most(int a, int b)
{
    return a > b ? a : b;
}

static int least(int a, int b)
{
    return a < b ? a : b;
}

static const struct data_type *decimal_result(struct sql_binder *b, enum sql_function function,
                                              const struct data_type *x, const struct data_type *y)
{
    int p1 = x->precision, s1 = x->scale, p2 = y->precision, s2 = y->scale;
    int scale, whole;
    switch ((int)function) {
    case SQL_FN_multiply:
    case SQL_FN_try_multiply:
        return adjusted(b, p1 + p2 + 1, s1 + s2);
    case SQL_FN_divide:
    case SQL_FN_try_divide:
        whole = p1 - s1 + s2;
        scale = most(6, s1 + p2 + 1);
        return adjusted(b, whole + scale, scale);
    case SQL_FN_modulo:
    case SQL_FN_pmod:
        scale = most(s1, s2);
        return adjusted(b, least(p1 - s1, p2 - s2) + scale, scale);
    default:
        scale = most(s1, s2);
        return adjusted(b, most(p1 - s1, p2 - s2) + scale + 1, scale);
    }
}

/* ---- common types ---- */
static const struct data_type *widest_decimal(struct sql_binder *b, const struct data_type *x,
                                              const struct data_type *y)
{
    x = sql_coerce_decimal_of(b, x);
    y = sql_coerce_decimal_of(b, y);
    if (x->kind != DATA_DECIMAL || y->kind != DATA_DECIMAL)
        return &data_type_double;
    int scale = most(x->scale, y->scale);
    return sql_coerce_bounded(b, most(x->precision - x->scale, y->precision - y->scale) + scale,
                              scale);
}

static const struct data_type *widest_struct(struct sql_binder *b, const struct data_type *x,
                                             const struct data_type *y, bool promote)
{
    if (x->field_count != y->field_count)
        return NULL;
    struct data_field *fields = mr_arena_array(b->arena, struct data_field, x->field_count);
    for (uint32_t i = 0; i < x->field_count; i++) {
        fields[i] = x->fields[i];
        fields[i].type = sql_coerce_widest(b, x->fields[i].type, y->fields[i].type, promote);
        fields[i].nullable = x->fields[i].nullable || y->fields[i].nullable;
        if (fields[i].type == NULL || !mr_str_equal_nocase(x->fields[i].name, y->fields[i].name))
            return NULL;
    }
    return data_type_struct(b->arena, fields, x->field_count);
}

static const struct data_type *widest_nested(struct sql_binder *b, const struct data_type *x,
                                             const struct data_type *y, bool promote)
{
    if (x->kind == DATA_STRUCT)
        return widest_struct(b, x, y, promote);
    const struct data_type *element = sql_coerce_widest(b, x->element, y->element, promote);
    if (element == NULL)
        return NULL;
    if (x->kind == DATA_ARRAY)
        return data_type_array(b->arena, element);
    const struct data_type *key = sql_coerce_widest(b, x->key, y->key, promote);
    return key == NULL ? NULL : data_type_map(b->arena, key, element);
}

const struct data_type *sql_coerce_widest(struct sql_binder *b, const struct data_type *x,
                                          const struct data_type *y, bool promote)
{
    if (data_type_equal(x, y) || y->kind == DATA_NULL)
        return x;
    if (x->kind == DATA_NULL)
        return y;
    if (data_kind_is_number(x->kind) && data_kind_is_number(y->kind)) {
        if (x->kind == DATA_DECIMAL || y->kind == DATA_DECIMAL)
            return widest_decimal(b, x, y);
        return x->kind > y->kind ? x : y;
    }
    if (is_time(x) && is_time(y))
        return x->kind == DATA_TIMESTAMP || y->kind == DATA_TIMESTAMP ? &data_type_timestamp
                                                                      : &data_type_timestamp_ntz;
    if (promote && (x->kind == DATA_STRING || y->kind == DATA_STRING)) {
        const struct data_type *other = x->kind == DATA_STRING ? y : x;
        return is_atom(other) && other->kind != DATA_BOOLEAN && other->kind != DATA_BINARY
                   ? &data_type_string
                   : NULL;
    }
    if (x->kind == y->kind && !is_atom(x))
        return widest_nested(b, x, y, promote);
    return NULL;
}

const struct data_type *sql_coerce_all(struct sql_binder *b, const char *what,
                                       struct sql_expr **exprs, uint32_t count, uint32_t step,
                                       bool promote)
{
    const struct data_type *type = &data_type_null;
    for (uint32_t i = 0; i < count; i += step) {
        const struct data_type *wider = sql_coerce_widest(b, type, exprs[i]->type, promote);
        if (wider == NULL) {
            sql_binder_fail(b, MR_INVALID, exprs[i]->line, exprs[i]->column,
                            "%s: expected values of one type, found %.*s and %.*s", what,
                            MR_STR_ARG(sql_binder_type_text(b, type)),
                            MR_STR_ARG(sql_binder_type_text(b, exprs[i]->type)));
            return NULL;
        }
        type = wider;
    }
    for (uint32_t i = 0; i < count; i += step)
        exprs[i] = sql_coerce_to(b, exprs[i], type);
    return type;
}

/* ---- comparison ---- */
static const struct data_type *compare_type(struct sql_binder *b, struct sql_expr *x,
                                            struct sql_expr *y)
{
    const struct data_type *a = x->type, *c = y->type;
    if (a->kind == DATA_STRING || c->kind == DATA_STRING) {
        const struct data_type *other = a->kind == DATA_STRING ? c : a;
        if (other->kind == DATA_DECIMAL)
            return &data_type_double;
        return is_atom(other) ? other : sql_coerce_widest(b, a, c, false);
    }
    if (a->kind == DATA_BOOLEAN && data_kind_is_number(c->kind))
        return c;
    if (c->kind == DATA_BOOLEAN && data_kind_is_number(a->kind))
        return a;
    return sql_coerce_widest(b, a, c, false);
}

static bool has_map(const struct data_type *type)
{
    if (type->kind == DATA_MAP)
        return true;
    if (type->kind == DATA_ARRAY)
        return has_map(type->element);
    for (uint32_t i = 0; i < type->field_count; i++)
        if (has_map(type->fields[i].type))
            return true;
    return false;
}

void sql_coerce_compare(struct sql_binder *b, struct sql_expr *call)
{
    const struct data_type *type = compare_type(b, call->args[0], call->args[1]);
    if (type == NULL || has_map(type)) {
        sql_binder_fail(b, MR_INVALID, call->line, call->column, "cannot compare %.*s with %.*s",
                        MR_STR_ARG(sql_binder_type_text(b, call->args[0]->type)),
                        MR_STR_ARG(sql_binder_type_text(b, call->args[1]->type)));
        return;
    }
    call->args[0] = sql_coerce_to(b, call->args[0], type);
    call->args[1] = sql_coerce_to(b, call->args[1], type);
    call->type = &data_type_boolean;
}

/* ---- arithmetic ---- */
static void arithmetic_fail(struct sql_binder *b, const struct sql_expr *call)
{
    mr_str name = sql_function_name(call->function);
    sql_binder_fail(b, MR_INVALID, call->line, call->column,
                    "%.*s: expected two numbers, found %.*s and %.*s", MR_STR_ARG(name),
                    MR_STR_ARG(sql_binder_type_text(b, call->args[0]->type)),
                    MR_STR_ARG(sql_binder_type_text(b, call->args[1]->type)));
}

/* Texts become DOUBLE, a bare NULL the other's type; then decimals by their own rules, else the
 * wider of both. The operands of a decimal operation keep their own scales. */
void sql_coerce_arithmetic(struct sql_binder *b, struct sql_expr *call)
{
    bool division = call->function == SQL_FN_divide || call->function == SQL_FN_try_divide;
    for (int i = 0; i < 2; i++) {
        struct sql_expr *other = call->args[1 - i];
        if (call->args[i]->type->kind == DATA_STRING)
            call->args[i] = sql_coerce_to(b, call->args[i], &data_type_double);
        else if (call->args[i]->type->kind == DATA_NULL)
            call->args[i] = sql_coerce_to(
                b, call->args[i],
                data_kind_is_number(other->type->kind) ? other->type : &data_type_double);
    }
    const struct data_type *x = call->args[0]->type, *y = call->args[1]->type;
    if (!data_kind_is_number(x->kind) || !data_kind_is_number(y->kind)) {
        arithmetic_fail(b, call);
        return;
    }
    bool decimal = x->kind == DATA_DECIMAL || y->kind == DATA_DECIMAL;
    bool floating = x->kind >= DATA_FLOAT || y->kind >= DATA_FLOAT;
    if (decimal && !floating) {
        x = literal_decimal(b, call->args[0]);
        y = literal_decimal(b, call->args[1]);
        call->args[0] = sql_coerce_to(b, call->args[0], x);
        call->args[1] = sql_coerce_to(b, call->args[1], y);
        call->type = decimal_result(b, call->function, x, y);
        return;
    }
    const struct data_type *type = division || decimal ? &data_type_double
                                                       : sql_coerce_widest(b, x, y, false);
    call->args[0] = sql_coerce_to(b, call->args[0], type);
    call->args[1] = sql_coerce_to(b, call->args[1], type);
    call->type = type;
}
