#include "capture/types.h"
#include "story.h"

static struct capture_column column_of(uint32_t oid, int32_t modifier)
{
    struct capture_column column = {.name = MR_STR("c")};
    capture_types_set(&column, oid, modifier);
    return column;
}

static const char *written(uint32_t oid, int32_t modifier, mr_str text)
{
    static char hex[512];
    struct capture_column column = column_of(oid, modifier);
    struct mr_buf out = {0};
    capture_types_write(&out, &column, text);
    if (out.err != MR_OK)
        return mr_err_name(out.err);
    mr_hex(out.data, out.length, hex);
    return hex;
}

#define expect_written(oid, modifier, text, hex) \
    expect_str(mr_str_from(written(oid, modifier, MR_STR(text))), MR_STR(hex))

STORY("each type's text becomes its Avro")
{
    expect_written(16, -1, "t", "01");
    expect_written(16, -1, "f", "00");
    expect_written(23, -1, "-1", "01");
    expect_written(20, -1, "9223372036854775807", "feffffffffffffffff01");
    expect_written(25, -1, "é", "04c3a9");
    expect_written(25, -1, "", "00");
    expect_written(701, -1, "1.5", "000000000000f83f");
    expect_written(701, -1, "NaN", "000000000000f87f");
    expect_written(701, -1, "-Infinity", "000000000000f0ff");
    expect_written(700, -1, "1.5", "0000c03f");
    expect_written(17, -1, "\\x00ff", "0400ff");
    expect_written(17, -1, "\\x", "00");
    expect_written(1082, -1, "1970-01-02", "02");
    expect_written(1082, -1, "1969-12-31", "01");
    expect_written(1114, -1, "1970-01-01 00:00:00.000001", "02");
    expect_written(1184, -1, "1970-01-01 00:00:01+00", "80897a");
    expect_written(1184, -1, "1970-01-01 01:00:01.5+01", "c08db701");
    expect_written(2950, -1, "0", "0230");
}

STORY("a numeric with a scale is a decimal, one without is text")
{
    expect_written(1700, -1, "1.50", "08312e3530");
    /* numeric(10,2); it may be null, because NaN is a numeric and no decimal */
    expect_written(1700, (10 << 16 | 2) + 4, "1.50", "02040096");
    expect_written(1700, (10 << 16 | 2) + 4, "-0.01", "0202ff");
    expect_written(1700, (10 << 16 | 2) + 4, "0.00", "020200");
    expect_written(1700, (10 << 16 | 2) + 4, "NaN", "00");
    expect_written(1700, (50 << 16 | 2) + 4, "1.50", "08312e3530");
}

STORY("dates before Christ and infinite ones have a place")
{
    expect_written(1082, -1, "0001-01-01", "f3e457");
    expect_written(1082, -1, "0001-12-31 BC", "f5e457");
    expect_written(1082, -1, "infinity", "c082e602");
    expect(strcmp(written(1184, -1, MR_STR("-infinity")), "CORRUPT") != 0);
    expect_written(1082, -1, "12026-11-21", "e6b1c003");
}

STORY("text that is not of its type is corrupt")
{
    expect_written(23, -1, "x", "CORRUPT");
    expect_written(16, -1, "true", "CORRUPT");
    expect_written(1082, -1, "2026-13-01", "CORRUPT");
    expect_written(1184, -1, "2026-11-21", "CORRUPT");
    expect_written(17, -1, "abc", "CORRUPT");
    expect_written(17, -1, "\\xzz", "CORRUPT");
    expect_str(mr_str_from(mr_why()), MR_STR("column c: expected bytea, found \\xzz"));
}

STORY("a NULL is the first branch of a union, and refused where none may be")
{
    struct capture_column column = column_of(25, -1);
    struct mr_buf out = {0};
    column.nullable = true;
    capture_types_write(&out, &column, MR_STR_NULL);
    capture_types_write(&out, &column, MR_STR("a"));
    expect_int(out.err, MR_OK);
    expect(out.length == 4 && memcmp(out.data, "\0\2\2a", 4) == 0);
    column.nullable = false;
    capture_types_write(&out, &column, MR_STR_NULL);
    expect_int(out.err, MR_CORRUPT);
}

STORY("types that nobody listed are text")
{
    expect_str(mr_str_from(capture_types_word(capture_types_find(999999))), MR_STR("other"));
    expect_str(mr_str_from(capture_types_cql(capture_types_find(2950))), MR_STR("uuid"));
    expect_written(1007, -1, "{1,2}", "0a7b312c327d");
}
