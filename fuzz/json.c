/* fuzz/json.c: any text as JSON: the tree, from_json both ways (they have to agree), paths, types. */
#include "json/json.h"
#include "json/reader.h"

static const char *const types[] = {
    "a INT, b STRING, c STRUCT<d: DOUBLE, e: ARRAY<STRUCT<f: STRING>>>, g MAP<STRING, BIGINT>, h "
    "DECIMAL(10,2)",
    "a STRING, b TIMESTAMP, c ARRAY<STRING>, g MAP<STRING, STRUCT<a: INT>>, h FLOAT, d DATE, e "
    "BINARY",
    "ARRAY<STRUCT<a: INT, b: ARRAY<ARRAY<INT>>>>",
    "MAP<STRING, STRING>",
};
static const char *const paths[] = {"$",          "$.a",     "$.a[*].b",   "$[0]",
                                    "$.c.e[*].f", "$[*][*]", "$.a[1].b[*]"};

/* By type, and by fast.c or without it; made once. */
static struct json_reader *readers[mr_count_of(types)][2];
static const struct json_path *known_paths[mr_count_of(paths)];

static void prepare(void)
{
    static struct mr_arena arena;
    const struct data_type *type;
    mr_err err = MR_OK;

    for (size_t i = 0; i < mr_count_of(types); i++) {
        for (int exact_only = 0; exact_only < 2 && err == MR_OK; exact_only++) {
            err = data_type_parse(&arena, mr_str_from(types[i]), &type);
            if (err == MR_OK)
                err = json_reader_new(type, NULL, &readers[i][exact_only]);
            if (err == MR_OK)
                readers[i][exact_only]->exact_only = exact_only != 0;
        }
    }
    for (size_t i = 0; i < mr_count_of(paths) && err == MR_OK; i++)
        err = json_path_parse(&arena, mr_str_from(paths[i]), &known_paths[i]);
    mr_assert(err == MR_OK);
}

static mr_str read_by(struct json_reader *reader, struct mr_arena *arena, mr_str text)
{
    struct mr_buf out = {0};

    json_reader_begin(reader, arena, 2);
    for (uint32_t row = 0; row < 2; row++) { /* twice: the second meets used elements */
        mr_err err = json_reader_read(reader, row, text);
        mr_assert(err == MR_OK);
    }
    struct data_column *column = json_reader_end(reader);
    mr_assert(data_value_compare(column, 0, column, 1) == 0);
    data_value_print(&out, column, 0);
    mr_str copy = mr_arena_str(arena, mr_buf_as_str(&out));
    mr_buf_fini(&out);
    return copy;
}

/* A tree's text is a text with the same tree. */
static void parse(struct mr_arena *arena, mr_str text)
{
    const struct json_value *value, *again;
    struct mr_buf out = {0};

    if (json_parse(arena, text, &value) != MR_OK)
        return;
    json_print(&out, value);
    mr_err err = json_parse(arena, mr_buf_as_str(&out), &again);
    mr_assert(err == MR_OK && again->kind == value->kind && again->count == value->count);
    mr_buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
    struct mr_arena arena = {0};
    mr_str text = length == 0 ? MR_STR("") : mr_str_of(data, length), found;
    const struct json_path *path;
    const struct data_type *type;

    if (readers[0][0] == NULL)
        prepare();
    parse(&arena, text);
    for (size_t i = 0; i < mr_count_of(types); i++)
        mr_assert(mr_str_equal(read_by(readers[i][0], &arena, text),
                               read_by(readers[i][1], &arena, text)));
    for (size_t i = 0; i < mr_count_of(paths); i++)
        (void)json_path_eval(known_paths[i], &arena, text, &found);
    (void)json_path_parse(&arena, text, &path);
    (void)json_schema_infer(&arena, text, &type);
    mr_arena_fini(&arena);
    return 0;
}
