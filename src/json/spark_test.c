/* Every line of test/data/json/spark.txt, which Spark itself has written, against ours. */
#include "json/json.h"
#include "story.h"

#include <stdio.h>
#include <stdlib.h>

#include <math.h>

static void print(struct mr_buf *out, const struct data_column *column, uint32_t row);

static void print_date(struct mr_buf *out, int64_t days)
{
    int64_t year;
    int month, day;

    mr_civil_from_days(days, &year, &month, &day);
    mr_buf_printf(out,
                  year > 9999 ? "\"+%04lld"
                  : year < 0  ? "\"-%04lld"
                              : "\"%04lld",
                  llabs((long long)year));
    mr_buf_printf(out, "-%02d-%02d", month, day);
}

static void print_time(struct mr_buf *out, int64_t us, bool zone)
{
    int64_t days = us / 86400000000 - (us % 86400000000 < 0), left = us - days * 86400000000;

    print_date(out, days);
    mr_buf_printf(out, "T%02d:%02d:%02d.%03d%s\"", (int)(left / 3600000000),
                  (int)(left / 60000000 % 60), (int)(left / 1000000 % 60),
                  (int)(left / 1000 % 1000), zone ? "Z" : "");
}

static void print_double(struct mr_buf *out, size_t length, const char *text, bool finite)
{
    mr_buf_cstr(out, finite ? "" : "\"");
    mr_buf_add(out, text, length);
    mr_buf_cstr(out, finite ? "" : "\"");
}

static void print_slice(struct mr_buf *out, const struct data_column *column, uint32_t row)
{
    bool map = column->type->kind == DATA_MAP;

    mr_buf_cstr(out, map ? "{" : "[");
    for (uint32_t i = 0; i < column->lengths[row]; i++) {
        mr_buf_cstr(out, i > 0 ? "," : "");
        if (map) {
            print(out, column->keys, column->starts[row] + i);
            mr_buf_u8(out, ':');
        }
        print(out, column->elements, column->starts[row] + i);
    }
    mr_buf_cstr(out, map ? "}" : "]");
}

static void print_struct(struct mr_buf *out, const struct data_column *column, uint32_t row)
{
    mr_buf_u8(out, '{');
    for (uint32_t i = 0; i < column->type->field_count; i++) {
        mr_buf_cstr(out, i > 0 ? "," : "");
        mr_buf_json(out, column->type->fields[i].name);
        mr_buf_u8(out, ':');
        print(out, column->fields[i], row);
    }
    mr_buf_u8(out, '}');
}

static void print_base64(struct mr_buf *out, mr_str bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    mr_buf_u8(out, '"');
    for (size_t i = 0; i < bytes.length; i += 3) {
        uint32_t group = 0;
        for (size_t j = 0; j < 3; j++)
            group = group << 8 | (i + j < bytes.length ? (uint8_t)bytes.data[i + j] : 0u);
        for (size_t j = 0; j < 4; j++)
            mr_buf_u8(out,
                      i + j <= bytes.length ? (uint8_t)digits[group >> (18 - 6 * j) & 63] : '=');
    }
    mr_buf_u8(out, '"');
}

static void print(struct mr_buf *out, const struct data_column *column, uint32_t row)
{
    char text[DATA_TEXT_BYTES];

    if (!column->valid[row]) {
        mr_buf_cstr(out, "null");
        return;
    }
    switch (column->type->kind) {
    case DATA_NULL:
        mr_buf_cstr(out, "null");
        break;
    case DATA_BOOLEAN:
        mr_buf_cstr(out, column->bools[row] ? "true" : "false");
        break;
    case DATA_BYTE:
        mr_buf_printf(out, "%d", column->bytes[row]);
        break;
    case DATA_SHORT:
        mr_buf_printf(out, "%d", column->shorts[row]);
        break;
    case DATA_INT:
        mr_buf_printf(out, "%d", column->ints[row]);
        break;
    case DATA_LONG:
        mr_buf_printf(out, "%lld", (long long)column->longs[row]);
        break;
    case DATA_DECIMAL:
        if (column->decimals[row] == 0 && column->type->scale > 6)
            mr_buf_printf(out, "0E-%d", column->type->scale); /* BigDecimal.toString */
        else
            data_decimal_print(out, column->decimals[row], column->type->scale);
        break;
    case DATA_FLOAT:
        print_double(out, data_float_format(column->floats[row], text), text,
                     isfinite(column->floats[row]));
        break;
    case DATA_DOUBLE:
        print_double(out, data_double_format(column->doubles[row], text), text,
                     isfinite(column->doubles[row]));
        break;
    case DATA_STRING:
        mr_buf_json(out, column->strs[row]);
        break;
    case DATA_BINARY:
        print_base64(out, column->strs[row]);
        break;
    case DATA_DATE:
        print_date(out, column->ints[row]);
        mr_buf_u8(out, '"');
        break;
    case DATA_TIMESTAMP:
        print_time(out, column->longs[row], true);
        break;
    case DATA_TIMESTAMP_NTZ:
        print_time(out, column->longs[row], false);
        break;
    case DATA_INTERVAL:
        print_double(out, data_interval_format(column->longs[row], text), text, false);
        break;
    case DATA_ARRAY:
    case DATA_MAP:
        print_slice(out, column, row);
        break;
    case DATA_STRUCT:
        print_struct(out, column, row);
        break;
    }
}

/* ---- the three functions ---- */
static void from_json(struct mr_arena *arena, mr_str ddl, mr_str text, struct mr_buf *out)
{
    const struct data_type *type;
    struct json_reader *reader;

    expect_ok(data_type_parse(arena, ddl, &type));
    expect_ok(json_reader_new(type, NULL, &reader));
    json_reader_begin(reader, arena, 1);
    expect_ok(json_reader_read(reader, 0, text));
    mr_buf_cstr(out, "{\"v\":");
    print(out, json_reader_end(reader), 0);
    mr_buf_cstr(out, "}");
    json_reader_free(reader);
}

static void get_json_object(struct mr_arena *arena, mr_str path_text, mr_str text,
                            struct mr_buf *out)
{
    const struct json_path *path;
    mr_str found;

    if (json_path_parse(arena, path_text, &path) == MR_OK &&
        json_path_eval(path, arena, text, &found))
        mr_buf_json(out, found);
    else
        mr_buf_cstr(out, "null");
}

static void schema_of_json(struct mr_arena *arena, mr_str text, struct mr_buf *out)
{
    const struct data_type *type;
    struct mr_buf ddl = {0};

    expect_ok(json_schema_infer(arena, text, &type));
    data_type_print_sql(&ddl, type);
    mr_buf_json(out, mr_buf_as_str(&ddl));
    mr_buf_fini(&ddl);
}

static mr_str plain(struct mr_arena *arena, mr_str json)
{
    const struct json_value *value;

    expect_ok(json_parse(arena, json, &value));
    return json_str(value, MR_STR_NULL);
}

/* The same JSON value, whatever the spelling of its strings. */
static bool same_value(const struct json_value *a, const struct json_value *b)
{
    if (a->kind != b->kind || a->count != b->count || !mr_str_equal(a->name, b->name))
        return false;
    if (a->kind == JSON_STRING)
        return mr_str_equal(a->text, b->text);
    for (uint32_t i = 0; i < a->count; i++) {
        if (!same_value(&a->items[i], &b->items[i]))
            return false;
    }
    return a->kind == JSON_OBJECT || a->kind == JSON_ARRAY || mr_str_equal(a->raw, b->raw);
}

static bool same_json(struct mr_arena *arena, mr_str a, mr_str b)
{
    const struct json_value *x, *y;

    expect_ok(json_parse(arena, a, &x));
    expect_ok(json_parse(arena, b, &y));
    return same_value(x, y);
}

static size_t compare_line(mr_str line)
{
    struct mr_arena arena = {0};
    struct mr_buf out = {0};
    mr_str function, argument, input, answer;

    mr_str_split(&line, '\t', &function);
    mr_str_split(&line, '\t', &argument);
    mr_str_split(&line, '\t', &input);
    answer = line;
    mr_str text = plain(&arena, input), what = plain(&arena, argument);
    if (mr_str_equal(function, MR_STR("from_json"))) {
        from_json(&arena, what, text, &out);
    } else if (mr_str_equal(function, MR_STR("get_json_object"))) {
        get_json_object(&arena, what, text, &out);
    } else {
        schema_of_json(&arena, text, &out);
    }
    mr_str got = mr_buf_as_str(&out);
    bool same = same_json(&arena, got, answer);
    if (!same) {
        fprintf(stderr, "%.*s(%.*s, %.*s)\n  ours:  %.*s\n  Spark: %.*s\n", MR_STR_ARG(function),
                MR_STR_ARG(argument), MR_STR_ARG(input), MR_STR_ARG(got), MR_STR_ARG(answer));
    }
    mr_buf_fini(&out);
    mr_arena_fini(&arena);
    return same ? 0 : 1;
}

STORY("from_json, get_json_object and schema_of_json answer as Spark does")
{
    mr_str text = story_data("json/spark.txt"), line;
    size_t different = 0, count = 0;

    while (mr_str_split(&text, '\n', &line)) {
        if (line.length == 0 || line.data[0] == '#')
            continue;
        different += compare_line(line);
        count++;
    }
    expect(count > 1000);
    expect_int(different, 0);
}
