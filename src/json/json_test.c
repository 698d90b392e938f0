#include "json/json.h"
#include "story.h"

STORY("a document is a tree of values with their raw text")
{
    struct mr_arena arena = {0};
    const struct json_value *root;

    expect_ok(json_parse(
        &arena, MR_STR(" {\"a\" : [1, 2.50, {\"b\":\"x\\n\\u00e9\"}], \"c\":null, \"d\":true } "),
        &root));
    expect_str(json_get(root, MR_STR("a"))->raw, MR_STR("[1, 2.50, {\"b\":\"x\\n\\u00e9\"}]"));
    expect_str(json_str(json_find(root, MR_STR("a.2.b")), MR_STR("")), MR_STR("x\n\xc3\xa9"));
    expect_str(json_find(root, MR_STR("a.1"))->raw, MR_STR("2.50"));
    expect_int(json_i64(json_at(json_get(root, MR_STR("a")), 0), 0), 1);
    expect(json_bool(json_get(root, MR_STR("d")), false));
    expect(json_get(root, MR_STR("e")) == NULL);
    struct mr_buf out = {0};
    json_print(&out, root);
    expect_str(mr_buf_as_str(&out),
               MR_STR("{\"a\":[1,2.50,{\"b\":\"x\\n\\u00e9\"}],\"c\":null,\"d\":true}"));
}

STORY("what is not JSON is refused with its place")
{
    static const char *const bad[] = {"",        " ",         "{",        "[1,]",    "{\"a\":1,}",
                                      "{'a':1}", "{\"a\" 1}", "01",       "1 2",     "nul",
                                      "NaN",     "[1}",       "\"a\nb\"", "\"\\x\"", "-",
                                      "1.",      "1e",        "{\"a\":}", "\"a"};
    struct mr_arena arena = {0};
    const struct json_value *root;

    for (size_t i = 0; i < mr_count_of(bad); i++) {
        mr_err err = json_parse(&arena, mr_str_from(bad[i]), &root);
        if (err != MR_INVALID)
            story_fail(__FILE__, __LINE__, "\"%s\" was taken", bad[i]);
    }
    expect_err(json_parse(&arena, MR_STR("{\n  \"a\": x\n}"), &root), MR_INVALID);
    expect_str(mr_str_from(mr_why()), MR_STR("JSON, line 2, column 8: expected a value"));
    char deep[200];
    memset(deep, '[', sizeof deep);
    expect_err(json_parse(&arena, mr_str_of(deep, sizeof deep), &root), MR_LIMIT);
}
