/* data/data_test.c: stories of types, decimals, values and columns. */
#include "data/data.h"
#include "story.h"

static mr_str told(struct mr_buf *buf)
{
    return mr_buf_as_str(buf);
}

static void expect_type(const char *ddl, const char *printed)
{
    struct mr_arena arena;
    struct mr_buf out = {0};
    const struct data_type *type, *again;
    mr_arena_init(&arena);
    expect_ok(data_type_parse(&arena, mr_str_from(ddl), &type));
    data_type_print(&out, type);
    expect_str(told(&out), mr_str_from(printed));
    mr_buf_clear(&out);
    data_type_print_sql(&out, type);
    expect_ok(data_type_parse(&arena, told(&out), &again));
    expect(data_type_equal(type, again));
    expect(data_type_equal(type, data_type_copy(&arena, type)));
    mr_buf_fini(&out);
    mr_arena_fini(&arena);
}

STORY("types are read from Spark's DDL and printed as Spark prints them")
{
    expect_type("INT", "int");
    expect_type(" decimal ( 12 , 3 ) ", "decimal(12,3)");
    expect_type("STRUCT<a: STRING, b: ARRAY<INT>>", "struct<a:string,b:array<int>>");
    expect_type("a INT, `b c` STRING NOT NULL COMMENT 'x', d: MAP<STRING,BIGINT>",
                "struct<a:int,b c:string,d:map<string,bigint>>");
    expect_type("STRUCT<>", "struct<>");
    expect_type("struct<`a``b`: timestamp_ntz>", "struct<a`b:timestamp_ntz>");
    expect_type("INTERVAL DAY TO SECOND", "interval day to second");
}

static void expect_no_type(const char *ddl, const char *sentence)
{
    struct mr_arena arena;
    const struct data_type *type;
    mr_arena_init(&arena);
    expect_err(data_type_parse(&arena, mr_str_from(ddl), &type), MR_INVALID);
    expect_str(mr_str_from(mr_why()), mr_str_from(sentence));
    mr_arena_fini(&arena);
}

STORY("a wrong type is told with its place")
{
    expect_no_type("STRUCT<a: STRIN>",
                   "type: at character 11 expected a type such as STRING, INT, DECIMAL(10,2) or "
                   "STRUCT<a: STRING>, found \"STRIN>\"");
    expect_no_type("STRUCT<a: INT", "type: at character 14 expected ',' or '>', found the end");
    expect_no_type("decimal(40,1)", "type: at character 14 expected a decimal of 1 to 38 digits, "
                                    "with no more of them behind the point, found the end");
}

static void expect_decimal(const char *text, const char *printed)
{
    struct mr_buf out = {0};
    data_decimal value;
    int scale;
    expect_ok(data_decimal_parse(mr_str_from(text), &value, &scale));
    data_decimal_print(&out, value, scale);
    expect_str(told(&out), mr_str_from(printed));
    mr_buf_fini(&out);
}

STORY("decimals keep all their digits")
{
    expect_decimal("1.50", "1.50");
    expect_decimal("-0.005", "-0.005");
    expect_decimal("12e3", "12000");
    expect_decimal("1.5e-3", "0.0015");
    expect_decimal("99999999999999999999999999999999999999",
                   "99999999999999999999999999999999999999");
    data_decimal value;
    int scale;
    expect_err(data_decimal_parse(MR_STR("1.2.3"), &value, &scale), MR_INVALID);
    expect_err(data_decimal_parse(MR_STR("1e"), &value, &scale), MR_INVALID);
    expect_err(data_decimal_parse(MR_STR("1e60"), &value, &scale), MR_INVALID);
}

STORY("decimal arithmetic is exact and rounds half up")
{
    data_decimal out;
    data_decimal big = data_decimal_power(37);
    expect(data_decimal_rescale(12345, 3, 2, 10, &out) && out == 1235);
    expect(data_decimal_rescale(-12345, 3, 2, 10, &out) && out == -1235);
    expect(!data_decimal_rescale(12345, 0, 2, 6, &out));
    expect(data_decimal_multiply(big, 30, 20, 2, 38, &out) &&
           out == big / 1000000 * 3 / 100000000000);
    expect(data_decimal_divide(10, 0, 3, 0, 6, 38, &out) && out == 3333333);
    expect(data_decimal_divide(big, 0, 7, 0, 0, 38, &out) && out == big / 7);
    expect(data_decimal_divide(-1, 0, 3, 0, 37, 38, &out) && out == -(big / 3));
    expect_int(data_decimal_compare(150, 2, 15, 1), 0);
    expect_int(data_decimal_compare(-151, 2, -15, 1), -1);
    expect(data_decimal_to_double(314, 2) == 3.14);
    expect(data_decimal_from_double(2.5, 0, 5, &out) && out == 3);
}

static void expect_double(double value, const char *text)
{
    char out[DATA_TEXT_BYTES];
    expect_str(mr_str_of(out, data_double_format(value, out)), mr_str_from(text));
}

STORY("doubles are written as Java writes them")
{
    expect_double(1, "1.0");
    expect_double(-0.0, "-0.0");
    expect_double(1e7, "1.0E7");
    expect_double(1234567.5, "1234567.5");
    expect_double(0.001, "0.001");
    expect_double(0.0001, "1.0E-4");
    expect_double(0.1 + 0.2, "0.30000000000000004");
    expect_double(1e300 * 1e10, "Infinity");
    expect_double(100.25, "100.25");
    char out[DATA_TEXT_BYTES];
    expect_str(mr_str_of(out, data_float_format(0.1f, out)), MR_STR("0.1"));
    expect_str(mr_str_of(out, data_float_format(16777216.0f, out)), MR_STR("1.6777216E7"));
}

static void expect_time(const char *text, const char *printed)
{
    char out[DATA_TEXT_BYTES];
    int64_t us;
    expect(data_timestamp_parse(mr_str_from(text), &us, NULL));
    expect_str(mr_str_of(out, data_timestamp_format(us, out)), mr_str_from(printed));
}

STORY("timestamps and dates are read and written as Spark does")
{
    int64_t us;
    int32_t days;
    char out[DATA_TEXT_BYTES];
    expect_time("2026-11-21 06:26:00.500", "2026-11-21 06:26:00.5");
    expect_time("2026-11-21T06:26:00+02:00", "2026-11-21 04:26:00");
    expect_time(" 2026-1-2 ", "2026-01-02 00:00:00");
    expect_time("1969-12-31 23:59:59.999999Z", "1969-12-31 23:59:59.999999");
    expect(!data_timestamp_parse(MR_STR("2026-02-30 00:00:00"), &us, NULL));
    expect(!data_timestamp_parse(MR_STR("2026-02-03 24:00:00"), &us, NULL));
    expect(!data_timestamp_parse(MR_STR(""), &us, NULL));
    expect(data_date_parse(MR_STR("2024-02-29 x"), &days));
    expect_str(mr_str_of(out, data_date_format(days, out)), MR_STR("2024-02-29"));
    expect(!data_date_parse(MR_STR("2023-02-29"), &days));
    expect_str(mr_str_of(out, data_interval_format(93784500000LL, out)),
               MR_STR("INTERVAL '1 02:03:04.5' DAY TO SECOND"));
}

STORY("nested values are built, gathered, printed and turned to JSON")
{
    struct mr_arena arena;
    struct mr_buf out = {0};
    const struct data_type *type;
    mr_arena_init(&arena);
    expect_ok(data_type_parse(&arena, MR_STR("a INT, b ARRAY<STRING>, c TIMESTAMP"), &type));
    struct data_builder *builder = data_builder_new(&arena, type);
    for (int32_t i = 0; i < 100; i++) {
        data_builder_row(builder);
        struct data_builder *a = builder->fields[0], *b = builder->fields[1];
        uint32_t row = data_builder_row(a);
        a->column->ints[row] = i;
        data_builder_row(b);
        row = data_builder_row(b->elements);
        b->elements->column->strs[row] = MR_STR("x\"y");
        data_builder_null(b->elements);
        data_builder_end(b);
        data_builder_null(builder->fields[2]);
    }
    data_builder_null(builder);
    uint32_t rows[] = {100, 7};
    struct data_column *column = data_column_gather(&arena, data_builder_take(builder), rows, 2);
    data_value_print(&out, column, 0);
    data_value_print(&out, column, 1);
    data_value_json(&out, column, 1);
    expect_str(told(&out), MR_STR("NULL{7, [x\"y, null], null}{\"a\":7,\"b\":[\"x\\\"y\",null]}"));
    expect_int(data_value_compare(column, 0, column, 1), -1);
    expect_int(data_value_compare(column, 1, builder->column, 8), -1);
    expect_int(data_value_compare(column, 1, builder->column, 7), 0);
    mr_buf_fini(&out);
    mr_arena_fini(&arena);
}
