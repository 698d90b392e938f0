/* engine/eval_number.c: arithmetic, comparison, bits and mathematics. Whole numbers wrap around as
 * Java's do, unless ANSI mode or a try_ function looks at the overflow. */
#include "engine/eval_call.h"

#include <math.h>

static enum data_kind kind_of(const struct engine_call *call, uint32_t arg)
{
    return call->args[arg]->type->kind;
}

/* ---- errors ---- */
static bool is_try(const struct engine_call *call)
{
    return call->expr->function >= SQL_FN_try_add && call->expr->function <= SQL_FN_try_divide;
}

/* What an overflow means: NULL for try_, an error for ANSI. False: nothing, the value wraps. */
static void overflow(struct engine_call *call, uint32_t row)
{
    if (is_try(call))
        call->out->valid[row] = 0;
    else
        engine_call_fail(call, row, "[ARITHMETIC_OVERFLOW] %s overflow",
                         kind_of(call, 0) == DATA_LONG ? "long" : "integer");
}

static void by_zero(struct engine_call *call, uint32_t row)
{
    if (call->ansi && !is_try(call))
        engine_call_fail(call, row, "[DIVIDE_BY_ZERO] division by zero");
    else
        call->out->valid[row] = 0;
}

static void decimal_set(struct engine_call *call, uint32_t row, bool fits, data_decimal value)
{
    if (fits)
        call->out->decimals[row] = value;
    else if (call->ansi && !is_try(call))
        engine_call_fail(call, row,
                         "[NUMERIC_VALUE_OUT_OF_RANGE] the result does not fit DECIMAL(%u,%u)",
                         call->out->type->precision, call->out->type->scale);
    else
        call->out->valid[row] = 0;
}

/* ---- sums and products ---- */
#define WHOLE(field, operation)                                                                   \
    if (!call->ansi && !is_try(call))                                                             \
        EACH_ROW(call, row)                                                                       \
    (void)__builtin_##operation##_overflow(a->field[row], b->field[row], &call->out->field[row]); \
    else EACH_ROW(call, row) if (__builtin_##operation##_overflow(a->field[row], b->field[row],   \
                                                                  &call->out->field[row]))        \
        overflow(call, row)
#define FLOATING(field, sign) \
    EACH_ROW(call, row)       \
    call->out->field[row] = a->field[row] sign b->field[row]

/* Both scaled alike, added, and rounded to the result's scale. */
static void decimal_add(struct engine_call *call, bool minus)
{
    const struct data_column *a = call->args[0], *b = call->args[1];
    const struct data_type *type = call->out->type;
    int scale = a->type->scale > b->type->scale ? a->type->scale : b->type->scale;
    data_decimal up_a = data_decimal_power(scale - a->type->scale);
    data_decimal up_b = data_decimal_power(scale - b->type->scale);
    EACH_ROW(call, row)
    {
        data_decimal x = 0, y = 0, sum = 0;
        bool fits = !__builtin_mul_overflow(a->decimals[row], up_a, &x) &&
                    !__builtin_mul_overflow(b->decimals[row], up_b, &y) &&
                    !(minus ? __builtin_sub_overflow(x, y, &sum)
                            : __builtin_add_overflow(x, y, &sum));
        fits = fits && data_decimal_rescale(sum, scale, type->scale, type->precision, &sum);
        decimal_set(call, row, fits, sum);
    }
}

static void decimal_multiply(struct engine_call *call)
{
    const struct data_column *a = call->args[0], *b = call->args[1];
    const struct data_type *type = call->out->type;
    EACH_ROW(call, row)
    {
        data_decimal value = 0;
        bool fits = data_decimal_multiply(a->decimals[row], b->decimals[row],
                                          a->type->scale + b->type->scale, type->scale,
                                          type->precision, &value);
        decimal_set(call, row, fits, value);
    }
}

/* Timestamps and intervals are microseconds, dates are days. */
static bool time_sum(struct engine_call *call, int sign)
{
    const struct data_column *a = call->args[0], *b = call->args[1];
    if (kind_of(call, 0) == DATA_DATE) {
        EACH_ROW(call, row)
        call->out->longs[row] = ((int64_t)a->ints[row] - b->ints[row]) * 86400000000;
        return true;
    }
    if (kind_of(call, 0) < DATA_TIMESTAMP || kind_of(call, 0) > DATA_INTERVAL)
        return false;
    EACH_ROW(call, row)
    {
        bool over = sign > 0 ? __builtin_add_overflow(a->longs[row], b->longs[row],
                                                      &call->out->longs[row])
                             : __builtin_sub_overflow(a->longs[row], b->longs[row],
                                                      &call->out->longs[row]);
        if (over)
            overflow(call, row);
    }
    return true;
}

#define ARITHMETIC(name, operation, sign, decimal, time)                 \
    void engine_kernel_##name(struct engine_call *call)                  \
    {                                                                    \
        const struct data_column *a = call->args[0], *b = call->args[1]; \
        if (time)                                                        \
            return;                                                      \
        switch ((int)kind_of(call, 0)) {                                 \
        case DATA_BYTE:                                                  \
            WHOLE(bytes, operation);                                     \
            break;                                                       \
        case DATA_SHORT:                                                 \
            WHOLE(shorts, operation);                                    \
            break;                                                       \
        case DATA_INT:                                                   \
            WHOLE(ints, operation);                                      \
            break;                                                       \
        case DATA_LONG:                                                  \
            WHOLE(longs, operation);                                     \
            break;                                                       \
        case DATA_FLOAT:                                                 \
            FLOATING(floats, sign);                                      \
            break;                                                       \
        case DATA_DOUBLE:                                                \
            FLOATING(doubles, sign);                                     \
            break;                                                       \
        case DATA_DECIMAL:                                               \
            decimal;                                                     \
            break;                                                       \
        default:                                                         \
            mr_assert(false);                                            \
        }                                                                \
    }
ARITHMETIC(add, add, +, decimal_add(call, false), time_sum(call, 1))
ARITHMETIC(subtract, sub, -, decimal_add(call, true), time_sum(call, -1))
ARITHMETIC(multiply, mul, *, decimal_multiply(call), false)

void engine_kernel_try_add(struct engine_call *call)
{
    engine_kernel_add(call);
}

void engine_kernel_try_subtract(struct engine_call *call)
{
    engine_kernel_subtract(call);
}

void engine_kernel_try_multiply(struct engine_call *call)
{
    engine_kernel_multiply(call);
}

/* ---- quotients ---- */
void engine_kernel_divide(struct engine_call *call)
{
    const struct data_column *a = call->args[0], *b = call->args[1];
    const struct data_type *type = call->out->type;
    if (kind_of(call, 0) == DATA_DOUBLE) {
        EACH_ROW(call, row)
        {
            if (b->doubles[row] == 0)
                by_zero(call, row);
            else
                call->out->doubles[row] = a->doubles[row] / b->doubles[row];
        }
        return;
    }
    EACH_ROW(call, row)
    {
        data_decimal value = 0;
        if (b->decimals[row] == 0) {
            by_zero(call, row);
            continue;
        }
        bool fits = data_decimal_divide(a->decimals[row], a->type->scale, b->decimals[row],
                                        b->type->scale, type->scale, type->precision, &value);
        decimal_set(call, row, fits, value);
    }
}

void engine_kernel_try_divide(struct engine_call *call)
{
    engine_kernel_divide(call);
}

void engine_kernel_int_divide(struct engine_call *call)
{
    const struct data_column *a = call->args[0], *b = call->args[1];
    bool decimal = kind_of(call, 0) == DATA_DECIMAL;
    EACH_ROW(call, row)
    {
        if (decimal ? b->decimals[row] == 0 : b->longs[row] == 0) {
            by_zero(call, row);
        } else if (decimal) { /* both have one scale, so it cancels */
            call->out->longs[row] = (int64_t)(a->decimals[row] / b->decimals[row]);
        } else if (b->longs[row] == -1) {
            if (__builtin_sub_overflow(0, a->longs[row], &call->out->longs[row]) && call->ansi)
                overflow(call, row);
        } else {
            call->out->longs[row] = a->longs[row] / b->longs[row];
        }
    }
}

/* `positive`: pmod, which adds the divisor to a negative remainder. */
#define REMAINDER(field, type)                         \
    EACH_ROW(call, row)                                \
    {                                                  \
        type x = a->field[row], y = b->field[row];     \
        if (y == 0) {                                  \
            by_zero(call, row);                        \
            continue;                                  \
        }                                              \
        type rest = (type)(y == (type)-1 ? 0 : x % y); \
        if (positive && rest < 0)                      \
            rest = (type)((type)(rest + y) % y);       \
        call->out->field[row] = rest;                  \
    }
#define REMAINDER_FLOATING(field, type, function)  \
    EACH_ROW(call, row)                            \
    {                                              \
        type x = a->field[row], y = b->field[row]; \
        if (y == 0) {                              \
            by_zero(call, row);                    \
            continue;                              \
        }                                          \
        type rest = function(x, y);                \
        if (positive && rest < 0)                  \
            rest = function(rest + y, y);          \
        call->out->field[row] = rest;              \
    }

static void decimal_remainder(struct engine_call *call, bool positive)
{
    const struct data_column *a = call->args[0], *b = call->args[1];
    const struct data_type *type = call->out->type;
    int scale = a->type->scale > b->type->scale ? a->type->scale : b->type->scale;
    EACH_ROW(call, row)
    {
        data_decimal x = 0, y = 0;
        if (b->decimals[row] == 0) {
            by_zero(call, row);
            continue;
        }
        bool fits = data_decimal_rescale(a->decimals[row], a->type->scale, scale, 38, &x) &&
                    data_decimal_rescale(b->decimals[row], b->type->scale, scale, 38, &y);
        data_decimal rest = fits ? x % y : 0;
        if (positive && rest < 0)
            rest = (rest + y) % y;
        fits = fits && data_decimal_rescale(rest, scale, type->scale, type->precision, &rest);
        decimal_set(call, row, fits, rest);
    }
}

static void remainder_of(struct engine_call *call, bool positive)
{
    const struct data_column *a = call->args[0], *b = call->args[1];
    switch ((int)kind_of(call, 0)) {
    case DATA_BYTE:
        REMAINDER(bytes, int8_t)
        break;
    case DATA_SHORT:
        REMAINDER(shorts, int16_t)
        break;
    case DATA_INT:
        REMAINDER(ints, int32_t)
        break;
    case DATA_LONG:
        REMAINDER(longs, int64_t)
        break;
    case DATA_FLOAT:
        REMAINDER_FLOATING(floats, float, fmodf)
        break;
    case DATA_DOUBLE:
        REMAINDER_FLOATING(doubles, double, fmod)
        break;
    case DATA_DECIMAL:
        decimal_remainder(call, positive);
        break;
    default:
        mr_assert(false);
    }
}

void engine_kernel_modulo(struct engine_call *call)
{
    remainder_of(call, false);
}

void engine_kernel_pmod(struct engine_call *call)
{
    remainder_of(call, true);
}

/* ---- signs ---- */
#define NEGATIVE(field)                                                                          \
    EACH_ROW(call, row)                                                                          \
    {                                                                                            \
        if (absolute && a->field[row] >= 0)                                                      \
            call->out->field[row] = a->field[row];                                               \
        else if (__builtin_sub_overflow(0, a->field[row], &call->out->field[row]) && call->ansi) \
            overflow(call, row);                                                                 \
    }                                                                                            \
    break

static void negate(struct engine_call *call, bool absolute)
{
    const struct data_column *a = call->args[0];
    switch ((int)kind_of(call, 0)) {
    case DATA_BYTE:
        NEGATIVE(bytes);
    case DATA_SHORT:
        NEGATIVE(shorts);
    case DATA_INT:
        NEGATIVE(ints);
    case DATA_LONG:
    case DATA_INTERVAL:
        NEGATIVE(longs);
    case DATA_DECIMAL:
        EACH_ROW(call, row)
        call->out->decimals[row] = absolute && a->decimals[row] >= 0 ? a->decimals[row]
                                                                     : -a->decimals[row];
        break;
    case DATA_FLOAT:
        EACH_ROW(call, row)
        call->out->floats[row] = absolute ? fabsf(a->floats[row]) : -a->floats[row];
        break;
    case DATA_DOUBLE:
        EACH_ROW(call, row)
        call->out->doubles[row] = absolute ? fabs(a->doubles[row]) : -a->doubles[row];
        break;
    default:
        mr_assert(false);
    }
}

void engine_kernel_negative(struct engine_call *call)
{
    negate(call, false);
}

void engine_kernel_abs(struct engine_call *call)
{
    negate(call, true);
}

void engine_kernel_positive(struct engine_call *call)
{
    call->out = (struct data_column *)call->args[0];
}

/* ---- comparison ---- */
static bool double_equal(double x, double y)
{
    return x == y || (isnan(x) && isnan(y));
}

static bool double_less(double x, double y)
{
    return x < y || (isnan(y) && !isnan(x));
}

#define PLAIN_EQUAL(x, y) ((x) == (y))
#define PLAIN_LESS(x, y) ((x) < (y))
#define COMPARE_LOOP(field, test)            \
    EACH_ROW(call, row)                      \
    call->out->bools[row] = (uint8_t)(test); \
    break
#define COMPARE(field, EQUAL, LESS)                                \
    switch ((int)function) {                                       \
    case SQL_FN_equal:                                             \
        COMPARE_LOOP(field, EQUAL(a->field[row], b->field[row]));  \
    case SQL_FN_not_equal:                                         \
        COMPARE_LOOP(field, !EQUAL(a->field[row], b->field[row])); \
    case SQL_FN_less:                                              \
        COMPARE_LOOP(field, LESS(a->field[row], b->field[row]));   \
    case SQL_FN_less_equal:                                        \
        COMPARE_LOOP(field, !LESS(b->field[row], a->field[row]));  \
    case SQL_FN_greater:                                           \
        COMPARE_LOOP(field, LESS(b->field[row], a->field[row]));   \
    case SQL_FN_greater_equal:                                     \
        COMPARE_LOOP(field, !LESS(a->field[row], b->field[row]));  \
    default:                                                       \
        mr_assert(false);                                          \
    }                                                              \
    break

static void compare_values(struct engine_call *call, enum sql_function function)
{
    const struct data_column *a = call->args[0], *b = call->args[1];
    EACH_ROW(call, row)
    {
        int order = data_value_compare(a, row, b, row);
        call->out->bools[row] = function == SQL_FN_equal        ? order == 0
                                : function == SQL_FN_not_equal  ? order != 0
                                : function == SQL_FN_less       ? order < 0
                                : function == SQL_FN_less_equal ? order <= 0
                                : function == SQL_FN_greater    ? order > 0
                                                                : order >= 0;
    }
}

static void compare(struct engine_call *call, enum sql_function function)
{
    const struct data_column *a = call->args[0], *b = call->args[1];
    switch ((int)kind_of(call, 0)) {
    case DATA_BOOLEAN:
        COMPARE(bools, PLAIN_EQUAL, PLAIN_LESS);
    case DATA_BYTE:
        COMPARE(bytes, PLAIN_EQUAL, PLAIN_LESS);
    case DATA_SHORT:
        COMPARE(shorts, PLAIN_EQUAL, PLAIN_LESS);
    case DATA_INT:
    case DATA_DATE:
        COMPARE(ints, PLAIN_EQUAL, PLAIN_LESS);
    case DATA_LONG:
    case DATA_TIMESTAMP:
    case DATA_TIMESTAMP_NTZ:
    case DATA_INTERVAL:
        COMPARE(longs, PLAIN_EQUAL, PLAIN_LESS);
    case DATA_FLOAT:
        COMPARE(floats, double_equal, double_less);
    case DATA_DOUBLE:
        COMPARE(doubles, double_equal, double_less);
    case DATA_STRING:
    case DATA_BINARY:
        if (function == SQL_FN_equal) {
            EACH_ROW(call, row)
            call->out->bools[row] = mr_str_equal(a->strs[row], b->strs[row]);
            break;
        }
        compare_values(call, function);
        break;
    default:
        compare_values(call, function);
    }
}

#define COMPARISON(name)                                \
    void engine_kernel_##name(struct engine_call *call) \
    {                                                   \
        compare(call, SQL_FN_##name);                   \
    }
COMPARISON(equal)
COMPARISON(not_equal)
COMPARISON(less)
COMPARISON(less_equal)
COMPARISON(greater)
COMPARISON(greater_equal)

void engine_kernel_equal_null_safe(struct engine_call *call)
{
    EACH_ROW(call, row)
    {
        call->out->valid[row] = 1;
        call->out->bools[row] = data_value_compare(call->args[0], row, call->args[1], row) == 0;
    }
}

/* x IN (...): true when found; else NULL when x or one of the list is NULL. A constant of the list is
 * one row, not one for each. */
void engine_kernel_in_list(struct engine_call *call)
{
    const struct data_column *x = call->args[0];
    EACH_ROW(call, row)
    {
        bool found = false, unknown = !x->valid[row];
        for (uint32_t i = 1; i < call->arg_count && x->valid[row] && !found; i++) {
            uint32_t at = call->constant[i] ? 0 : row;
            if (!call->args[i]->valid[at])
                unknown = true;
            else
                found = data_value_compare(x, row, call->args[i], at) == 0;
        }
        call->out->valid[row] = found || !unknown;
        call->out->bools[row] = found;
    }
}

static void extreme(struct engine_call *call, int sign)
{
    EACH_ROW(call, row)
    {
        const struct data_column *best = NULL;
        for (uint32_t i = 0; i < call->arg_count; i++)
            if (call->args[i]->valid[row] &&
                (best == NULL || data_value_compare(call->args[i], row, best, row) * sign > 0))
                best = call->args[i];
        if (best != NULL)
            data_column_set(call->out, row, best, row);
    }
}

void engine_kernel_greatest(struct engine_call *call)
{
    extreme(call, 1);
}

void engine_kernel_least(struct engine_call *call)
{
    extreme(call, -1);
}

/* ---- truth ---- */
void engine_kernel_not(struct engine_call *call)
{
    EACH_ROW(call, row)
    call->out->bools[row] = !call->args[0]->bools[row];
}

#define TEST(name, condition)                             \
    void engine_kernel_##name(struct engine_call *call)   \
    {                                                     \
        const struct data_column *x = call->args[0];      \
        EACH_ROW(call, row)                               \
        {                                                 \
            call->out->valid[row] = 1;                    \
            call->out->bools[row] = (uint8_t)(condition); \
        }                                                 \
    }
TEST(is_null, !x->valid[row])
TEST(is_not_null, x->valid[row])
TEST(is_true, x->valid[row] && x->bools[row])
TEST(is_false, x->valid[row] && !x->bools[row])
TEST(isnan, x->valid[row] && isnan(x->doubles[row]))

void engine_kernel_nanvl(struct engine_call *call)
{
    EACH_ROW(call, row)
    {
        const struct data_column *x = call->args[0];
        bool second = x->valid[row] && isnan(x->doubles[row]);
        data_column_set(call->out, row, second ? call->args[1] : x, row);
    }
}

/* ---- bits ---- */
#define BITS_OF(field, type, sign)                                                            \
    EACH_ROW(call, row)                                                                       \
    call->out->field[row] = (type)(call->args[0]->field[row] sign call->args[1]->field[row]); \
    break
#define BITS(name, sign)                                \
    void engine_kernel_##name(struct engine_call *call) \
    {                                                   \
        switch ((int)kind_of(call, 0)) {                \
        case DATA_BYTE:                                 \
            BITS_OF(bytes, int8_t, sign);               \
        case DATA_SHORT:                                \
            BITS_OF(shorts, int16_t, sign);             \
        case DATA_INT:                                  \
            BITS_OF(ints, int32_t, sign);               \
        default:                                        \
            BITS_OF(longs, int64_t, sign);              \
        }                                               \
    }
BITS(bit_and, &)
BITS(bit_or, |)
BITS(bit_xor, ^)

void engine_kernel_bit_not(struct engine_call *call)
{
    const struct data_column *a = call->args[0];
    EACH_ROW(call, row)
    {
        if (kind_of(call, 0) == DATA_BYTE)
            call->out->bytes[row] = (int8_t)~a->bytes[row];
        else if (kind_of(call, 0) == DATA_SHORT)
            call->out->shorts[row] = (int16_t)~a->shorts[row];
        else if (kind_of(call, 0) == DATA_INT)
            call->out->ints[row] = ~a->ints[row];
        else
            call->out->longs[row] = ~a->longs[row];
    }
}

#define SHIFT(name, wide, narrow)                                                \
    void engine_kernel_##name(struct engine_call *call)                          \
    {                                                                            \
        const struct data_column *a = call->args[0], *b = call->args[1];         \
        EACH_ROW(call, row)                                                      \
        {                                                                        \
            int by = b->ints[row];                                               \
            if (kind_of(call, 0) == DATA_LONG)                                   \
                call->out->longs[row] = (int64_t)(wide(a->longs[row], by & 63)); \
            else                                                                 \
                call->out->ints[row] = (int32_t)(narrow(a->ints[row], by & 31)); \
        }                                                                        \
    }
#define LEFT64(x, n) ((uint64_t)(x) << (n))
#define LEFT32(x, n) ((uint32_t)(x) << (n))
#define RIGHT(x, n) ((x) >> (n))
#define RIGHT64(x, n) ((uint64_t)(x) >> (n))
#define RIGHT32(x, n) ((uint32_t)(x) >> (n))
SHIFT(shiftleft, LEFT64, LEFT32)
SHIFT(shiftright, RIGHT, RIGHT)
SHIFT(shiftrightunsigned, RIGHT64, RIGHT32)

void engine_kernel_bit_count(struct engine_call *call)
{
    EACH_ROW(call, row)
    call->out->ints[row] = kind_of(call, 0) == DATA_BOOLEAN
                               ? call->args[0]->bools[row]
                               : __builtin_popcountll(
                                     (unsigned long long)call->args[0]->longs[row]);
}

/* ---- rounding ---- */
/* A double to a long as Java does: NaN is 0, too large is the largest. */
static int64_t long_of(double value)
{
    if (isnan(value))
        return 0;
    if (value >= 9223372036854775807.0)
        return INT64_MAX;
    if (value <= -9223372036854775808.0)
        return INT64_MIN;
    return (int64_t)value;
}

static void ceil_floor(struct engine_call *call, bool up)
{
    const struct data_column *a = call->args[0];
    data_decimal unit = kind_of(call, 0) == DATA_DECIMAL ? data_decimal_power(a->type->scale) : 1;
    EACH_ROW(call, row)
    {
        if (kind_of(call, 0) == DATA_LONG) {
            call->out->longs[row] = a->longs[row];
        } else if (kind_of(call, 0) == DATA_DOUBLE) {
            call->out->longs[row] = long_of(up ? ceil(a->doubles[row]) : floor(a->doubles[row]));
        } else {
            data_decimal whole = a->decimals[row] / unit, rest = a->decimals[row] % unit;
            whole += up && rest > 0 ? 1 : !up && rest < 0 ? -1 : 0;
            decimal_set(call, row, true, whole);
        }
    }
}

void engine_kernel_ceil(struct engine_call *call)
{
    ceil_floor(call, true);
}

void engine_kernel_floor(struct engine_call *call)
{
    ceil_floor(call, false);
}

/* value / 10^drop, rounded: half up (away from zero), or half even. */
static data_decimal round_off(data_decimal value, int drop, bool even)
{
    if (drop > DATA_DECIMAL_DIGITS)
        return 0;
    data_decimal unit = data_decimal_power(drop), whole = value / unit, rest = value % unit;
    rest = rest < 0 ? -rest : rest;
    data_decimal other = unit - rest;
    bool up = rest > other || (rest == other && drop > 0 && (!even || whole % 2 != 0));
    return up ? whole + (value < 0 ? -1 : 1) : whole;
}

static bool round_decimal(data_decimal value, int scale, int digits, bool even,
                          const struct data_type *type, data_decimal *out)
{
    int drop = scale - digits;
    if (drop > 0)
        value = round_off(value, drop, even);
    int now = drop > 0 ? digits : scale;
    if (now < 0) { /* rounded before the point: zeros come back */
        if (-now > DATA_DECIMAL_DIGITS ||
            __builtin_mul_overflow(value, data_decimal_power(-now), &value))
            return false;
        now = 0;
    }
    return data_decimal_rescale(value, now, type->scale, type->precision, out);
}

/* Through the shortest decimal text, as BigDecimal(double) does in Spark. */
static double round_double(double value, int digits, bool even)
{
    char text[DATA_TEXT_BYTES];
    data_decimal number;
    int scale;
    if (!isfinite(value) || digits > 30 ||
        data_decimal_parse(mr_str_of(text, data_double_format(value, text)), &number, &scale) !=
            MR_OK)
        return value;
    if (digits >= scale)
        return value;
    number = round_off(number, scale - digits, even);
    if (digits >= 0)
        return data_decimal_to_double(number, digits);
    return digits < -DATA_DECIMAL_DIGITS ? 0 : (double)number * (double)data_decimal_power(-digits);
}

static void round_whole(struct engine_call *call, uint32_t row, int digits, bool even)
{
    static const struct data_type wide = {.kind = DATA_DECIMAL, .precision = 38};
    const struct data_column *a = call->args[0];
    data_decimal value = kind_of(call, 0) == DATA_BYTE    ? a->bytes[row]
                         : kind_of(call, 0) == DATA_SHORT ? a->shorts[row]
                         : kind_of(call, 0) == DATA_INT   ? a->ints[row]
                                                          : a->longs[row];
    if (digits < 0 && !round_decimal(value, 0, digits, even, &wide, &value))
        value = 0;
    if (kind_of(call, 0) == DATA_BYTE)
        call->out->bytes[row] = (int8_t)value;
    else if (kind_of(call, 0) == DATA_SHORT)
        call->out->shorts[row] = (int16_t)value;
    else if (kind_of(call, 0) == DATA_INT)
        call->out->ints[row] = (int32_t)value;
    else
        call->out->longs[row] = (int64_t)value;
}

static void round_all(struct engine_call *call, bool even)
{
    const struct data_column *a = call->args[0];
    EACH_ROW(call, row)
    {
        int digits = call->arg_count == 2 ? call->args[1]->ints[row] : 0;
        if (kind_of(call, 0) == DATA_DECIMAL) {
            data_decimal value = 0;
            bool fits = digits > -100 && round_decimal(a->decimals[row], a->type->scale, digits,
                                                       even, call->out->type, &value);
            decimal_set(call, row, fits, value);
        } else if (kind_of(call, 0) == DATA_DOUBLE) {
            call->out->doubles[row] = round_double(a->doubles[row], digits, even);
        } else if (kind_of(call, 0) == DATA_FLOAT) {
            call->out->floats[row] = (float)round_double((double)a->floats[row], digits, even);
        } else {
            round_whole(call, row, digits, even);
        }
    }
}

void engine_kernel_round(struct engine_call *call)
{
    round_all(call, false);
}

void engine_kernel_bround(struct engine_call *call)
{
    round_all(call, true);
}

/* ---- mathematics ---- */
#define MATH(name, expression)                          \
    void engine_kernel_##name(struct engine_call *call) \
    {                                                   \
        EACH_ROW(call, row)                             \
        {                                               \
            double x = call->args[0]->doubles[row];     \
            call->out->doubles[row] = (expression);     \
        }                                               \
    }
MATH(sign, x > 0 ? 1.0 : x < 0 ? -1.0 : x)
MATH(sqrt, sqrt(x))
MATH(cbrt, (double)cbrtl(x))
MATH(exp, exp(x))
MATH(expm1, expm1(x))
MATH(sin, sin(x))
MATH(cos, cos(x))
MATH(tan, tan(x))
MATH(asin, asin(x))
MATH(acos, acos(x))
MATH(atan, atan(x))
MATH(sinh, sinh(x))
MATH(cosh, cosh(x))
MATH(tanh, tanh(x))
MATH(degrees, x *(180.0 / M_PI))
MATH(radians, x / 180.0 * M_PI)
MATH(rint, rint(x))

#define MATH2(name, expression)                                                      \
    void engine_kernel_##name(struct engine_call *call)                              \
    {                                                                                \
        EACH_ROW(call, row)                                                          \
        {                                                                            \
            double x = call->args[0]->doubles[row], y = call->args[1]->doubles[row]; \
            call->out->doubles[row] = (expression);                                  \
        }                                                                            \
    }
MATH2(pow, fabs(x) == 1.0 && isinf(y) ? NAN : x == 1.0 && isnan(y) ? NAN : pow(x, y))
MATH2(atan2, atan2(x, y))
MATH2(hypot, hypot(x, y))

#define CONSTANT(name, value)                           \
    void engine_kernel_##name(struct engine_call *call) \
    {                                                   \
        EACH_ROW(call, row)                             \
        call->out->doubles[row] = (value);              \
    }
CONSTANT(pi, M_PI)
CONSTANT(e, M_E)

/* Logarithms are NULL where they are not defined. */
static void set_log(struct engine_call *call, uint32_t row, bool defined, double value)
{
    call->out->valid[row] = defined;
    call->out->doubles[row] = defined ? value : 0;
}

#define LOG(name, least, function)                                         \
    void engine_kernel_##name(struct engine_call *call)                    \
    {                                                                      \
        const struct data_column *a = call->args[0];                       \
        EACH_ROW(call, row)                                                \
        set_log(call, row, a->valid[row] && !(a->doubles[row] <= (least)), \
                function(a->doubles[row]));                                \
    }
LOG(ln, 0, log)
LOG(log10, 0, log10)
LOG(log2, 0, log2)
LOG(log1p, -1, log1p)

void engine_kernel_log(struct engine_call *call)
{
    const struct data_column *a = call->args[0], *b = call->args[call->arg_count - 1];
    EACH_ROW(call, row)
    {
        bool defined = a->valid[row] && b->valid[row] && !(a->doubles[row] <= 0) &&
                       !(b->doubles[row] <= 0);
        double value = log(b->doubles[row]);
        set_log(call, row, defined, call->arg_count == 2 ? value / log(a->doubles[row]) : value);
    }
}

void engine_kernel_factorial(struct engine_call *call)
{
    const struct data_column *a = call->args[0];
    EACH_ROW(call, row)
    {
        call->out->valid[row] = a->valid[row] && a->ints[row] >= 0 && a->ints[row] <= 20;
        call->out->longs[row] = call->out->valid[row];
        for (int32_t i = 2; call->out->valid[row] && i <= a->ints[row]; i++)
            call->out->longs[row] *= i;
    }
}

void engine_kernel_width_bucket(struct engine_call *call)
{
    EACH_ROW(call, row)
    {
        bool valid = true;
        for (uint32_t i = 0; i < 4; i++)
            valid = valid && call->args[i]->valid[row];
        double x = call->args[0]->doubles[row], low = call->args[1]->doubles[row];
        double high = call->args[2]->doubles[row];
        int64_t count = call->args[3]->longs[row];
        valid = valid && count > 0 && count < INT64_MAX && !isnan(x) && low != high &&
                isfinite(low) && isfinite(high);
        call->out->valid[row] = valid;
        if (!valid)
            continue;
        if (low < high)
            call->out->longs[row] = x < low ? 0
                                    : x >= high
                                        ? count + 1
                                        : long_of((double)count * (x - low) / (high - low)) + 1;
        else
            call->out->longs[row] = x > low ? 0
                                    : x <= high
                                        ? count + 1
                                        : long_of((double)count * (low - x) / (low - high)) + 1;
    }
}
