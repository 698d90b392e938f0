/* data/values.c: single values out of columns: as text, as JSON, in order. */
#include "data/data.h"

#include <math.h>

/* ---- text ---- */
static void print_list(struct mr_buf *out, const struct data_column *column, uint32_t row)
{
    bool map = column->type->kind == DATA_MAP;
    mr_buf_u8(out, map ? '{' : '[');
    for (uint32_t i = 0; i < column->lengths[row]; i++) {
        uint32_t at = column->starts[row] + i;
        if (i > 0)
            mr_buf_cstr(out, ", ");
        if (map) {
            data_value_print(out, column->keys, at);
            mr_buf_cstr(out, " -> ");
        }
        if (column->elements->valid[at])
            data_value_print(out, column->elements, at);
        else
            mr_buf_cstr(out, "null");
    }
    mr_buf_u8(out, map ? '}' : ']');
}

static void print_struct(struct mr_buf *out, const struct data_column *column, uint32_t row)
{
    mr_buf_u8(out, '{');
    for (uint32_t i = 0; i < column->type->field_count; i++) {
        if (i > 0)
            mr_buf_cstr(out, ", ");
        if (column->fields[i]->valid[row])
            data_value_print(out, column->fields[i], row);
        else
            mr_buf_cstr(out, "null");
    }
    mr_buf_u8(out, '}');
}

void data_value_print(struct mr_buf *out, const struct data_column *column, uint32_t row)
{
    char text[DATA_TEXT_BYTES];
    size_t length = 0;
    if (!column->valid[row]) {
        mr_buf_cstr(out, "NULL");
        return;
    }
    switch (column->type->kind) {
    case DATA_NULL:
        mr_buf_cstr(out, "NULL");
        return;
    case DATA_BOOLEAN:
        mr_buf_cstr(out, column->bools[row] ? "true" : "false");
        return;
    case DATA_BYTE:
        length = data_long_format(column->bytes[row], text);
        break;
    case DATA_SHORT:
        length = data_long_format(column->shorts[row], text);
        break;
    case DATA_INT:
        length = data_long_format(column->ints[row], text);
        break;
    case DATA_LONG:
        length = data_long_format(column->longs[row], text);
        break;
    case DATA_DECIMAL:
        data_decimal_print(out, column->decimals[row], column->type->scale);
        return;
    case DATA_FLOAT:
        length = data_float_format(column->floats[row], text);
        break;
    case DATA_DOUBLE:
        length = data_double_format(column->doubles[row], text);
        break;
    case DATA_STRING:
    case DATA_BINARY:
        mr_buf_str(out, column->strs[row]);
        return;
    case DATA_DATE:
        length = data_date_format(column->ints[row], text);
        break;
    case DATA_TIMESTAMP:
    case DATA_TIMESTAMP_NTZ:
        length = data_timestamp_format(column->longs[row], text);
        break;
    case DATA_INTERVAL:
        length = data_interval_format(column->longs[row], text);
        break;
    case DATA_ARRAY:
    case DATA_MAP:
        print_list(out, column, row);
        return;
    case DATA_STRUCT:
        print_struct(out, column, row);
        return;
    }
    mr_buf_add(out, text, length);
}

/* ---- JSON ---- */
static void json_base64(struct mr_buf *out, mr_str bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    mr_buf_u8(out, '"');
    for (size_t i = 0; i < bytes.length; i += 3) {
        uint32_t group = 0;
        for (size_t j = i; j < i + 3; j++)
            group = group << 8 | (j < bytes.length ? (uint8_t)bytes.data[j] : 0);
        for (size_t j = 0; j < 4; j++)
            mr_buf_u8(out,
                      i + j > bytes.length ? '=' : (uint8_t)digits[group >> (18 - 6 * j) & 63]);
    }
    mr_buf_u8(out, '"');
}

/* ISO 8601 with milliseconds and, for an instant, the zone, as Spark's default pattern says. */
static void json_timestamp(struct mr_buf *out, const struct data_column *column, uint32_t row)
{
    char text[DATA_TEXT_BYTES];
    int64_t us = column->longs[row];
    int64_t seconds = us / 1000000 - (us % 1000000 < 0);
    size_t length = data_timestamp_format(seconds * 1000000, text);
    text[length - 9] = 'T';
    mr_buf_printf(out, "\"%.*s.%03d%s\"", (int)length, text, (int)((us - seconds * 1000000) / 1000),
                  column->type->kind == DATA_TIMESTAMP ? "Z" : "");
}

static void json_list(struct mr_buf *out, const struct data_column *column, uint32_t row)
{
    bool map = column->type->kind == DATA_MAP;
    mr_buf_u8(out, map ? '{' : '[');
    for (uint32_t i = 0; i < column->lengths[row]; i++) {
        uint32_t at = column->starts[row] + i;
        if (i > 0)
            mr_buf_u8(out, ',');
        if (map) {
            struct mr_buf key = {0};
            data_value_print(&key, column->keys, at);
            mr_buf_json(out, mr_buf_as_str(&key));
            mr_buf_fini(&key);
            mr_buf_u8(out, ':');
        }
        data_value_json(out, column->elements, at);
    }
    mr_buf_u8(out, map ? '}' : ']');
}

/* A NULL field is left out, as Spark's ignoreNullFields says. */
static void json_struct(struct mr_buf *out, const struct data_column *column, uint32_t row)
{
    bool first = true;
    mr_buf_u8(out, '{');
    for (uint32_t i = 0; i < column->type->field_count; i++) {
        if (!column->fields[i]->valid[row])
            continue;
        if (!first)
            mr_buf_u8(out, ',');
        first = false;
        mr_buf_json(out, column->type->fields[i].name);
        mr_buf_u8(out, ':');
        data_value_json(out, column->fields[i], row);
    }
    mr_buf_u8(out, '}');
}

static void json_number(struct mr_buf *out, const struct data_column *column, uint32_t row)
{
    double number = column->type->kind == DATA_FLOAT ? (double)column->floats[row]
                                                     : column->doubles[row];
    if (!isfinite(number))
        mr_buf_u8(out, '"');
    data_value_print(out, column, row);
    if (!isfinite(number))
        mr_buf_u8(out, '"');
}

void data_value_json(struct mr_buf *out, const struct data_column *column, uint32_t row)
{
    if (!column->valid[row]) {
        mr_buf_cstr(out, "null");
        return;
    }
    switch (column->type->kind) {
    case DATA_STRING:
        mr_buf_json(out, column->strs[row]);
        break;
    case DATA_BINARY:
        json_base64(out, column->strs[row]);
        break;
    case DATA_DATE:
    case DATA_INTERVAL:
        mr_buf_u8(out, '"');
        data_value_print(out, column, row);
        mr_buf_u8(out, '"');
        break;
    case DATA_TIMESTAMP:
    case DATA_TIMESTAMP_NTZ:
        json_timestamp(out, column, row);
        break;
    case DATA_ARRAY:
    case DATA_MAP:
        json_list(out, column, row);
        break;
    case DATA_STRUCT:
        json_struct(out, column, row);
        break;
    case DATA_FLOAT:
    case DATA_DOUBLE:
        json_number(out, column, row);
        break;
    case DATA_NULL:
        mr_buf_cstr(out, "null");
        break;
    case DATA_BOOLEAN:
    case DATA_BYTE:
    case DATA_SHORT:
    case DATA_INT:
    case DATA_LONG:
    case DATA_DECIMAL:
        data_value_print(out, column, row);
        break;
    }
}

/* ---- order ---- */
#define ORDER(a, b) ((a) < (b) ? -1 : (a) > (b))

static int compare_double(double a, double b)
{
    if (isnan(a) || isnan(b))
        return (isnan(a) != 0) - (isnan(b) != 0);
    return ORDER(a, b);
}

static int compare_list(const struct data_column *a, uint32_t row_a, const struct data_column *b,
                        uint32_t row_b)
{
    uint32_t count_a = a->lengths[row_a], count_b = b->lengths[row_b];
    for (uint32_t i = 0; i < count_a && i < count_b; i++) {
        uint32_t at_a = a->starts[row_a] + i, at_b = b->starts[row_b] + i;
        int order = a->keys == NULL ? 0 : data_value_compare(a->keys, at_a, b->keys, at_b);
        if (order == 0)
            order = data_value_compare(a->elements, at_a, b->elements, at_b);
        if (order != 0)
            return order;
    }
    return ORDER(count_a, count_b);
}

int data_value_compare(const struct data_column *a, uint32_t row_a, const struct data_column *b,
                       uint32_t row_b)
{
    if (!a->valid[row_a] || !b->valid[row_b])
        return ORDER(a->valid[row_a], b->valid[row_b]);
    switch (a->type->kind) {
    case DATA_NULL:
        return 0;
    case DATA_BOOLEAN:
        return ORDER(a->bools[row_a], b->bools[row_b]);
    case DATA_BYTE:
        return ORDER(a->bytes[row_a], b->bytes[row_b]);
    case DATA_SHORT:
        return ORDER(a->shorts[row_a], b->shorts[row_b]);
    case DATA_INT:
    case DATA_DATE:
        return ORDER(a->ints[row_a], b->ints[row_b]);
    case DATA_LONG:
    case DATA_TIMESTAMP:
    case DATA_TIMESTAMP_NTZ:
    case DATA_INTERVAL:
        return ORDER(a->longs[row_a], b->longs[row_b]);
    case DATA_DECIMAL:
        return data_decimal_compare(a->decimals[row_a], a->type->scale, b->decimals[row_b],
                                    b->type->scale);
    case DATA_FLOAT:
        return compare_double((double)a->floats[row_a], (double)b->floats[row_b]);
    case DATA_DOUBLE:
        return compare_double(a->doubles[row_a], b->doubles[row_b]);
    case DATA_STRING:
    case DATA_BINARY:
        return mr_str_compare(a->strs[row_a], b->strs[row_b]);
    case DATA_ARRAY:
    case DATA_MAP:
        return compare_list(a, row_a, b, row_b);
    case DATA_STRUCT:
        for (uint32_t i = 0; i < a->type->field_count; i++) {
            int order = data_value_compare(a->fields[i], row_a, b->fields[i], row_b);
            if (order != 0)
                return order;
        }
        return 0;
    }
    return 0;
}
