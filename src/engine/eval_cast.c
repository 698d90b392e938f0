/* engine/eval_cast.c: CAST between any two types that Spark casts between. What does not fit is NULL,
 * and whole numbers wrap as Java's do; in ANSI mode it is an error; TRY_CAST makes of that NULL. */
#include "engine/eval_call.h"

#include <math.h>

enum mode { MODE_LEGACY, MODE_ANSI, MODE_TRY };
struct cast {
    struct engine_call *call;
    enum mode mode;
    uint32_t top; /* the chunk's row, for errors inside of lists */
};

static const int64_t second_us = 1000000, day_us = 86400000000;

/* ---- failing ---- */
static bool refuse_text(struct cast *cast, mr_str text, const struct data_type *to)
{
    if (cast->mode == MODE_ANSI) {
        struct mr_buf name = {0};
        data_type_print_sql(&name, to);
        text = mr_str_slice(text, 0, 100);
        engine_call_fail(cast->call, cast->top,
                         "[CAST_INVALID_INPUT] the value '%.*s' cannot be cast to %.*s",
                         MR_STR_ARG(text), MR_STR_ARG(mr_buf_as_str(&name)));
        mr_buf_fini(&name);
    }
    return false;
}

static bool refuse_number(struct cast *cast, const struct data_column *from, uint32_t row,
                          const struct data_type *to)
{
    if (cast->mode == MODE_ANSI) {
        struct mr_buf name = {0}, value = {0};
        data_type_print_sql(&name, to);
        data_value_print(&value, from, row);
        engine_call_fail(cast->call, cast->top, "[CAST_OVERFLOW] the value %.*s does not fit %.*s",
                         MR_STR_ARG(mr_buf_as_str(&value)), MR_STR_ARG(mr_buf_as_str(&name)));
        mr_buf_fini(&name);
        mr_buf_fini(&value);
    }
    return false;
}

/* ---- text to numbers ---- */
static mr_str trimmed(mr_str text)
{
    while (text.length > 0 && (unsigned char)text.data[0] <= ' ')
        text = mr_str_slice(text, 1, text.length);
    while (text.length > 0 && (unsigned char)text.data[text.length - 1] <= ' ')
        text.length--;
    return text;
}

bool engine_cast_long(mr_str text, bool fraction, int64_t *out)
{
    size_t at = 0;
    bool minus = false;
    int64_t value = 0;
    text = trimmed(text);
    if (text.length > 0 && (text.data[0] == '-' || text.data[0] == '+'))
        minus = text.data[at++] == '-';
    if (at == text.length)
        return false;
    for (; at < text.length && text.data[at] != '.'; at++) {
        int digit = text.data[at] - '0';
        if (digit < 0 || digit > 9 || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_sub_overflow(value, digit, &value)) /* downwards: the least has no positive */
            return false;
    }
    if (at < text.length && !fraction)
        return false;
    for (at++; at < text.length; at++)
        if (text.data[at] < '0' || text.data[at] > '9')
            return false;
    return minus ? (*out = value, true) : !__builtin_sub_overflow(0, value, out);
}

static bool special_double(mr_str text, double *out)
{
    static const struct {
        const char *word;
        double value;
    } words[] = {{"inf", INFINITY},
                 {"+inf", INFINITY},
                 {"infinity", INFINITY},
                 {"+infinity", INFINITY},
                 {"-inf", -INFINITY},
                 {"-infinity", -INFINITY},
                 {"nan", NAN}};
    for (size_t i = 0; i < mr_count_of(words); i++)
        if (mr_str_equal_nocase(text, mr_str_from(words[i].word))) {
            *out = words[i].value;
            return true;
        }
    return false;
}

bool engine_cast_double(mr_str text, double *out)
{
    text = trimmed(text);
    mr_str digits = text;
    if (digits.length > 1 && strchr("dDfF", digits.data[digits.length - 1]) != NULL)
        digits.length--;
    for (size_t i = 0; i < digits.length; i++)
        if (!(digits.data[i] >= '0' && digits.data[i] <= '9') &&
            strchr("+-.eE", digits.data[i]) == NULL)
            return special_double(text, out);
    if (digits.length > 0 && digits.data[0] == '+')
        digits = mr_str_slice(digits, 1, digits.length);
    return digits.length > 0 && mr_str_to_f64(digits, out) == MR_OK;
}

static bool text_boolean(mr_str text, uint8_t *out)
{
    static const char *const words[] = {"t", "true", "y", "yes", "1", "f", "false", "n", "no", "0"};
    text = trimmed(text);
    for (size_t i = 0; i < mr_count_of(words); i++)
        if (mr_str_equal_nocase(text, mr_str_from(words[i]))) {
            *out = i < mr_count_of(words) / 2;
            return true;
        }
    return false;
}

/* ---- numbers to numbers ---- */
static bool set_whole(struct data_column *out, uint32_t row, data_decimal value, bool wrap)
{
    static const int64_t most[] = {[DATA_BYTE] = INT8_MAX,
                                   [DATA_SHORT] = INT16_MAX,
                                   [DATA_INT] = INT32_MAX,
                                   [DATA_LONG] = INT64_MAX};
    int64_t top = most[out->type->kind];
    if (!wrap && (value > top || value < -(data_decimal)top - 1))
        return false;
    if (out->type->kind == DATA_BYTE)
        out->bytes[row] = (int8_t)value;
    else if (out->type->kind == DATA_SHORT)
        out->shorts[row] = (int16_t)value;
    else if (out->type->kind == DATA_INT)
        out->ints[row] = (int32_t)value;
    else
        out->longs[row] = (int64_t)value;
    return true;
}

/* Java's narrowing: NaN is 0, beyond the ends is the end, of INT for the small ones. */
static data_decimal whole_of(double value, enum data_kind to)
{
    int64_t top = to == DATA_LONG ? INT64_MAX : INT32_MAX;
    if (isnan(value))
        return 0;
    if (value >= (double)top)
        return top;
    if (value <= -(double)top - 1)
        return -(data_decimal)top - 1;
    return (data_decimal)value;
}

static data_decimal value_whole(const struct data_column *from, uint32_t row)
{
    switch ((int)from->type->kind) {
    case DATA_BOOLEAN:
        return from->bools[row];
    case DATA_BYTE:
        return from->bytes[row];
    case DATA_SHORT:
        return from->shorts[row];
    case DATA_INT:
        return from->ints[row];
    default:
        return from->longs[row];
    }
}

static double value_double(const struct data_column *from, uint32_t row)
{
    switch ((int)from->type->kind) {
    case DATA_FLOAT:
        return (double)from->floats[row];
    case DATA_DOUBLE:
        return from->doubles[row];
    case DATA_DECIMAL:
        return data_decimal_to_double(from->decimals[row], from->type->scale);
    case DATA_TIMESTAMP:
        return (double)from->longs[row] / 1e6;
    default:
        return (double)(int64_t)value_whole(from, row);
    }
}

static int64_t floor_divide(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

static bool to_whole(struct cast *cast, const struct data_column *from, uint32_t row,
                     struct data_column *out, uint32_t at)
{
    bool wrap = cast->mode == MODE_LEGACY;
    data_decimal value;
    int64_t parsed = 0;
    switch ((int)from->type->kind) {
    case DATA_STRING:
        return (engine_cast_long(from->strs[row], wrap, &parsed) &&
                set_whole(out, at, parsed, false)) ||
               refuse_text(cast, from->strs[row], out->type);
    case DATA_FLOAT:
    case DATA_DOUBLE:
        value = whole_of(value_double(from, row), out->type->kind);
        if (!wrap && (double)value != trunc(value_double(from, row)))
            return refuse_number(cast, from, row, out->type);
        break;
    case DATA_DECIMAL:
        value = from->decimals[row] / data_decimal_power(from->type->scale);
        break;
    case DATA_TIMESTAMP:
    case DATA_INTERVAL:
        value = floor_divide(from->longs[row], second_us);
        break;
    case DATA_DATE:
        return false;
    default:
        value = value_whole(from, row);
    }
    return set_whole(out, at, value, wrap) || refuse_number(cast, from, row, out->type);
}

static bool to_double(struct cast *cast, const struct data_column *from, uint32_t row,
                      struct data_column *out, uint32_t at)
{
    double value = 0;
    if (from->type->kind == DATA_DATE)
        return false;
    if (from->type->kind == DATA_STRING) {
        if (!engine_cast_double(from->strs[row], &value))
            return refuse_text(cast, from->strs[row], out->type);
    } else {
        value = value_double(from, row);
    }
    if (out->type->kind == DATA_FLOAT)
        out->floats[at] = (float)value;
    else
        out->doubles[at] = value;
    return true;
}

static bool to_decimal(struct cast *cast, const struct data_column *from, uint32_t row,
                       struct data_column *out, uint32_t at)
{
    int scale = 0, to_scale = out->type->scale, precision = out->type->precision;
    data_decimal value = 0;
    bool fits;
    switch ((int)from->type->kind) {
    case DATA_DATE:
        return false;
    case DATA_STRING:
        if (data_decimal_parse(from->strs[row], &value, &scale) != MR_OK)
            return refuse_text(cast, from->strs[row], out->type);
        fits = data_decimal_rescale(value, scale, to_scale, precision, &value);
        break;
    case DATA_DECIMAL:
        fits = data_decimal_rescale(from->decimals[row], from->type->scale, to_scale, precision,
                                    &value);
        break;
    case DATA_FLOAT:
    case DATA_DOUBLE:
        fits = data_decimal_from_double(value_double(from, row), to_scale, precision, &value);
        break;
    case DATA_TIMESTAMP:
        fits = data_decimal_rescale(from->longs[row], 6, to_scale, precision, &value);
        break;
    default:
        fits = data_decimal_rescale(value_whole(from, row), 0, to_scale, precision, &value);
    }
    if (!fits)
        return refuse_number(cast, from, row, out->type);
    out->decimals[at] = value;
    return true;
}

/* ---- times ---- */
static bool to_date(struct cast *cast, const struct data_column *from, uint32_t row,
                    struct data_column *out, uint32_t at)
{
    if (from->type->kind == DATA_STRING)
        return data_date_parse(from->strs[row], &out->ints[at]) ||
               refuse_text(cast, from->strs[row], out->type);
    out->ints[at] = (int32_t)floor_divide(from->longs[row], day_us);
    return true;
}

static bool to_timestamp(struct cast *cast, const struct data_column *from, uint32_t row,
                         struct data_column *out, uint32_t at)
{
    double seconds;
    switch ((int)from->type->kind) {
    case DATA_STRING:
        return data_timestamp_parse(from->strs[row], &out->longs[at], NULL) ||
               refuse_text(cast, from->strs[row], out->type);
    case DATA_DATE:
        out->longs[at] = from->ints[row] * day_us;
        return true;
    case DATA_TIMESTAMP:
    case DATA_TIMESTAMP_NTZ:
        out->longs[at] = from->longs[row];
        return true;
    case DATA_BOOLEAN:
        out->longs[at] = from->bools[row];
        return true;
    case DATA_FLOAT:
    case DATA_DOUBLE:
        seconds = value_double(from, row);
        if (!isfinite(seconds))
            return false;
        out->longs[at] = (int64_t)whole_of(seconds * 1e6, DATA_LONG);
        return true;
    case DATA_DECIMAL:
        out->longs[at] = (int64_t)(from->decimals[row] * 1000000 /
                                   data_decimal_power(from->type->scale));
        return true;
    default:
        if (__builtin_mul_overflow((int64_t)value_whole(from, row), second_us, &out->longs[at]))
            out->longs[at] = value_whole(from, row) > 0 ? INT64_MAX : INT64_MIN;
        return true;
    }
}

static bool to_boolean(struct cast *cast, const struct data_column *from, uint32_t row,
                       struct data_column *out, uint32_t at)
{
    switch ((int)from->type->kind) {
    case DATA_STRING:
        return text_boolean(from->strs[row], &out->bools[at]) ||
               refuse_text(cast, from->strs[row], out->type);
    case DATA_DATE:
        return false;
    case DATA_DECIMAL:
        out->bools[at] = from->decimals[row] != 0;
        return true;
    case DATA_FLOAT:
    case DATA_DOUBLE:
        out->bools[at] = value_double(from, row) != 0;
        return true;
    default:
        out->bools[at] = value_whole(from, row) != 0;
        return true;
    }
}

/* ---- text and bytes ---- */
static bool to_string(struct cast *cast, const struct data_column *from, uint32_t row,
                      struct data_column *out, uint32_t at)
{
    struct engine_call *call = cast->call;
    char *room = engine_call_room(call, DATA_TEXT_BYTES);
    size_t length;
    switch ((int)from->type->kind) {
    case DATA_STRING:
    case DATA_BINARY:
        out->strs[at] = from->strs[row];
        return true;
    case DATA_BYTE:
    case DATA_SHORT:
    case DATA_INT:
    case DATA_LONG:
        length = data_long_format((int64_t)value_whole(from, row), room);
        break;
    case DATA_DOUBLE:
        length = data_double_format(from->doubles[row], room);
        break;
    case DATA_DATE:
        length = data_date_format(from->ints[row], room);
        break;
    case DATA_TIMESTAMP:
    case DATA_TIMESTAMP_NTZ:
        length = data_timestamp_format(from->longs[row], room);
        break;
    default: {
        struct mr_buf text = {0};
        data_value_print(&text, from, row);
        out->strs[at] = engine_call_copy(call, mr_buf_as_str(&text));
        mr_buf_fini(&text);
        return true;
    }
    }
    out->strs[at] = engine_call_text(call, length);
    return true;
}

static bool to_binary(struct cast *cast, const struct data_column *from, uint32_t row,
                      struct data_column *out, uint32_t at)
{
    if (from->type->kind == DATA_STRING) {
        out->strs[at] = from->strs[row];
        return true;
    }
    size_t bytes = data_kind_bytes(from->type->kind);
    uint64_t value = (uint64_t)value_whole(from, row);
    char *room = engine_call_room(cast->call, bytes);
    for (size_t i = 0; i < bytes; i++)
        room[i] = (char)(value >> (8 * (bytes - 1 - i)));
    out->strs[at] = engine_call_text(cast->call, bytes);
    return true;
}

static bool to_interval(struct cast *cast, const struct data_column *from, uint32_t row,
                        struct data_column *out, uint32_t at)
{
    if (from->type->kind == DATA_STRING)
        return refuse_text(cast, from->strs[row], out->type);
    out->longs[at] = (int64_t)value_whole(from, row) * second_us;
    return true;
}

/* One value that is not NULL; false: it becomes NULL. */
static bool cast_value(struct cast *cast, const struct data_column *from, uint32_t row,
                       struct data_column *out, uint32_t at)
{
    switch ((int)out->type->kind) {
    case DATA_BOOLEAN:
        return to_boolean(cast, from, row, out, at);
    case DATA_BYTE:
    case DATA_SHORT:
    case DATA_INT:
    case DATA_LONG:
        return to_whole(cast, from, row, out, at);
    case DATA_DECIMAL:
        return to_decimal(cast, from, row, out, at);
    case DATA_FLOAT:
    case DATA_DOUBLE:
        return to_double(cast, from, row, out, at);
    case DATA_STRING:
        return to_string(cast, from, row, out, at);
    case DATA_BINARY:
        return to_binary(cast, from, row, out, at);
    case DATA_DATE:
        return to_date(cast, from, row, out, at);
    case DATA_TIMESTAMP:
    case DATA_TIMESTAMP_NTZ:
        return to_timestamp(cast, from, row, out, at);
    case DATA_INTERVAL:
        return to_interval(cast, from, row, out, at);
    default:
        return false;
    }
}

/* ---- nested values ---- */
static void cast_build(struct cast *cast, const struct data_column *from, uint32_t row,
                       struct data_builder *out)
{
    if (!from->valid[row]) {
        data_builder_null(out);
        return;
    }
    const struct data_type *to = out->column->type;
    if (data_type_equal(from->type, to)) {
        data_builder_copy(out, from, row);
        return;
    }
    uint32_t at = data_builder_row(out);
    if (to->kind == DATA_STRUCT) {
        for (uint32_t i = 0; i < to->field_count; i++)
            cast_build(cast, from->fields[i], row, out->fields[i]);
    } else if (to->kind == DATA_ARRAY || to->kind == DATA_MAP) {
        for (uint32_t i = 0; i < from->lengths[row]; i++) {
            cast_build(cast, from->elements, from->starts[row] + i, out->elements);
            if (to->kind == DATA_MAP)
                cast_build(cast, from->keys, from->starts[row] + i, out->keys);
        }
        data_builder_end(out);
    } else {
        out->column->valid[at] = cast_value(cast, from, row, out->column, at);
    }
}

static void cast_nested(struct cast *cast)
{
    struct engine_call *call = cast->call;
    struct data_builder *builder = data_builder_new(call->arena, call->out->type);
    uint32_t live = 0;
    for (uint32_t row = 0; row < call->out->count; row++) {
        cast->top = row;
        if (live < call->count && call->rows[live] == row) {
            cast_build(cast, call->args[0], row, builder);
            live++;
        } else {
            data_builder_null(builder);
        }
    }
    for (uint32_t i = 0; i < call->count; i++)
        if (call->bad->bad[call->rows[i]])
            builder->column->valid[call->rows[i]] = 0;
    call->out = data_builder_take(builder);
}

void engine_cast(struct engine_call *call)
{
    struct cast cast = {.call = call,
                        .mode = call->expr->safe ? MODE_TRY
                                : call->ansi     ? MODE_ANSI
                                                 : MODE_LEGACY};
    enum data_kind to = call->out->type->kind;
    if (to == DATA_ARRAY || to == DATA_MAP || to == DATA_STRUCT) {
        cast_nested(&cast);
        return;
    }
    EACH_ROW(call, row)
    {
        cast.top = row;
        if (!cast_value(&cast, call->args[0], row, call->out, row))
            call->out->valid[row] = 0;
    }
}
