/* base/str_test.c: the promises of base/str.h. */
#include "story.h"

STORY("no text equals the empty text")
{
    expect(mr_str_equal(MR_STR_NULL, MR_STR("")));
    expect_int(mr_str_compare(MR_STR_NULL, MR_STR("")), 0);
    expect(mr_str_starts(MR_STR("x"), MR_STR_NULL));
    expect_int(mr_str_find(MR_STR_NULL, MR_STR("x")), -1);
}

STORY("texts compare as unsigned bytes, the shorter first")
{
    expect(mr_str_compare(MR_STR("a"), MR_STR("ab")) < 0);
    expect(mr_str_compare(MR_STR("a\xff"), MR_STR("ab")) > 0);
    expect(mr_str_equal_nocase(MR_STR("Content-Type"), MR_STR("content-TYPE")));
    expect(!mr_str_equal_nocase(MR_STR("a["), MR_STR("a{")));
}

STORY("a split gives every part, empty ones too")
{
    mr_str rest = MR_STR("a,,b,"), part;
    expect(mr_str_split(&rest, ',', &part));
    expect_str(part, MR_STR("a"));
    expect(mr_str_split(&rest, ',', &part));
    expect_str(part, MR_STR(""));
    expect(mr_str_split(&rest, ',', &part));
    expect_str(part, MR_STR("b"));
    expect(mr_str_split(&rest, ',', &part));
    expect_str(part, MR_STR(""));
    expect(!mr_str_split(&rest, ',', &part));
}

STORY("search, slices and trimming stay inside the text")
{
    expect_int(mr_str_find(MR_STR("millrace"), MR_STR("race")), 4);
    expect_int(mr_str_find(MR_STR("mill"), MR_STR("millrace")), -1);
    expect_str(mr_str_slice(MR_STR("abc"), 1, 99), MR_STR("bc"));
    expect_str(mr_str_slice(MR_STR("abc"), 5, 2), MR_STR(""));
    expect_str(mr_str_trim(MR_STR(" \t a b\r\n")), MR_STR("a b"));
    expect_str(mr_str_trim(MR_STR("  ")), MR_STR(""));
    expect(mr_str_ends(MR_STR("users.dead"), MR_STR(".dead")));
    expect(!mr_str_ends(MR_STR("d"), MR_STR(".dead")));
}

STORY("numbers are read whole or not at all")
{
    int64_t i = 0;
    uint64_t u = 0;
    double f = 0;
    expect_ok(mr_str_to_i64(MR_STR("-9223372036854775808"), &i));
    expect(i == INT64_MIN);
    expect_ok(mr_str_to_i64(MR_STR("+9223372036854775807"), &i));
    expect(i == INT64_MAX);
    expect_err(mr_str_to_i64(MR_STR("9223372036854775808"), &i), MR_INVALID);
    expect_err(mr_str_to_i64(MR_STR("-"), &i), MR_INVALID);
    expect_err(mr_str_to_i64(MR_STR("1 "), &i), MR_INVALID);
    expect_err(mr_str_to_i64(MR_STR(""), &i), MR_INVALID);
    expect_ok(mr_str_to_u64(MR_STR("18446744073709551615"), &u));
    expect(u == UINT64_MAX);
    expect_err(mr_str_to_u64(MR_STR("18446744073709551616"), &u), MR_INVALID);
    expect_err(mr_str_to_u64(MR_STR("-1"), &u), MR_INVALID);
    expect_ok(mr_str_to_f64(MR_STR("-1.5e3"), &f));
    expect(f == -1500.0);
    expect_err(mr_str_to_f64(MR_STR("0x10"), &f), MR_INVALID);
    expect_err(mr_str_to_f64(MR_STR(" 1"), &f), MR_INVALID);
    expect_err(mr_str_to_f64(MR_STR("1\0"), &f), MR_INVALID);
}

STORY("UTF-8 is well formed or it is not")
{
    static const struct {
        const char *text;
        bool good;
    } rows[] = {
        {"plain ASCII, longer than eight", true},
        {"h\xC3\xA9llo", true},
        {"\xE2\x82\xAC", true},
        {"\xF0\x9F\x98\x80", true},
        {"\xC0\x80", false},
        {"\xE0\x80\x80", false},
        {"\xED\xA0\x80", false},
        {"\xF4\x90\x80\x80", false},
        {"\xC3", false},
        {"\xE2\x82", false},
        {"\x80", false},
        {"\xFF", false},
        {"abcdefgh\x80", false},
    };
    for (size_t i = 0; i < mr_count_of(rows); i++)
        expect_int(mr_str_is_utf8(mr_str_from(rows[i].text)), rows[i].good);
}

STORY("a UUID goes to text and back")
{
    mr_uuid uuid;
    char text[37];
    expect_ok(mr_uuid_parse(MR_STR("6BA7B810-9dad-11d1-80b4-00c04fd430c8"), &uuid));
    mr_uuid_format(&uuid, text);
    expect_str(mr_str_from(text), MR_STR("6ba7b810-9dad-11d1-80b4-00c04fd430c8"));
    expect_ok(mr_uuid_parse(MR_STR("6ba7b8109dad11d180b400c04fd430c8"), &uuid));
    expect_err(mr_uuid_parse(MR_STR("6ba7b810-9dad-11d1-80b4-00c04fd430c"), &uuid), MR_INVALID);
    expect_err(mr_uuid_parse(MR_STR("6ba7b810x9dad-11d1-80b4-00c04fd430c8"), &uuid), MR_INVALID);
    expect_err(mr_uuid_parse(MR_STR("6ba7b810-9dad-11d1-80b4-00c04fd430cg"), &uuid), MR_INVALID);
}

STORY("an error has a name, a text, and says whether to try again")
{
    expect_str(mr_str_from(mr_err_name(MR_NOT_FOUND)), MR_STR("NOT_FOUND"));
    expect(mr_err_retriable(MR_TIMEOUT) && !mr_err_retriable(MR_INVALID));
    expect_err(mr_fail(MR_IO, "%s: expected %d", "thing", 1), MR_IO);
    expect_err(mr_fail(MR_IO, "outer: %s", mr_why()), MR_IO); /* its own last sentence inside */
    expect_str(mr_str_from(mr_why()), MR_STR("outer: thing: expected 1"));
}
