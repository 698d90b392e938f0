/* pipeline/verify.c: the tests that stand in a pipeline file. Every stream is run in memory over the
 * rows that are given, or that its input's stream made of them; the rows must be those expected, in
 * any order. A column that `expect` leaves out is not compared. */
#include "pipeline/pipeline.h"

#include "json/json.h"

struct rows {
    mr_str *items;
    size_t count;
    bool known; /* given, or made by a run */
};

/* Numbers compare by value, all else by kind and content. */
static bool same(const struct json_value *a, const struct json_value *b)
{
    double x, y;
    if (a == NULL || b == NULL || a->kind == JSON_NULL || b->kind == JSON_NULL)
        return (a == NULL || a->kind == JSON_NULL) && (b == NULL || b->kind == JSON_NULL);
    if (a->kind != b->kind)
        return mr_str_equal(json_scalar(a), json_scalar(b)) && json_scalar(a).length > 0;
    switch (a->kind) {
    case JSON_NUMBER:
        return mr_str_to_f64(a->text, &x) == MR_OK && mr_str_to_f64(b->text, &y) == MR_OK && x == y;
    case JSON_STRING:
        return mr_str_equal(a->text, b->text);
    case JSON_BOOLEAN:
        return a->boolean == b->boolean;
    case JSON_ARRAY:
        if (a->count != b->count)
            return false;
        for (uint32_t i = 0; i < a->count; i++)
            if (!same(json_at(a, i), json_at(b, i)))
                return false;
        return true;
    case JSON_OBJECT: /* a: what is expected */
        for (uint32_t i = 0; i < a->count; i++)
            if (!same(&a->items[i], json_get(b, a->items[i].name)))
                return false;
        return true;
    case JSON_NULL:
    default:
        return true;
    }
}

/* Pairs each expected row with one result row; what is left on either side goes into `out`. */
static void compare(struct mr_arena *arena, const struct pipeline_rows *expect,
                    const struct rows *found, struct mr_buf *out)
{
    bool *used = mr_arena_array(arena, bool, found->count + 1);
    const struct json_value **values = mr_arena_array(arena, const struct json_value *,
                                                      found->count + 1);
    for (size_t i = 0; i < found->count; i++)
        if (json_parse(arena, found->items[i], &values[i]) != MR_OK)
            values[i] = NULL;
    for (size_t i = 0; i < expect->count; i++) {
        const struct json_value *wanted;
        size_t j = 0;
        if (json_parse(arena, expect->rows[i].text, &wanted) != MR_OK)
            wanted = NULL;
        while (j < found->count && (used[j] || !same(wanted, values[j])))
            j++;
        if (j < found->count)
            used[j] = true;
        else
            mr_buf_printf(out, "line %u: `%.*s` has no such row: %.*s\n",
                          expect->rows[i].place.line, MR_STR_ARG(expect->stream),
                          MR_STR_ARG(expect->rows[i].text));
    }
    for (size_t i = 0; i < found->count; i++)
        if (!used[i])
            mr_buf_printf(out, "line %u: `%.*s` has a row that is not expected: %.*s\n",
                          expect->place.line, MR_STR_ARG(expect->stream),
                          MR_STR_ARG(found->items[i]));
}

static mr_err run_test(struct mr_arena *arena, const struct pipeline *pipeline,
                       const struct pipeline_plan *plan, const struct pipeline_test *test,
                       int64_t now_us, struct mr_buf *out)
{
    struct rows *rows = mr_arena_array(arena, struct rows, pipeline->stream_count + 1);
    for (size_t i = 0; i < test->given_count; i++) {
        struct rows *given = &rows[pipeline_stream_find(pipeline, test->given[i].stream)];
        given->known = true;
        given->items = mr_arena_array(arena, mr_str, test->given[i].count + 1);
        for (size_t j = 0; j < test->given[i].count; j++)
            given->items[given->count++] = test->given[i].rows[j].text;
    }
    for (size_t i = 0; i < plan->count; i++) {
        const struct pipeline_stream *stream = &pipeline->streams[plan->order[i]];
        struct rows *made = &rows[plan->order[i]];
        struct engine_bounded result = {0};
        if (made->known || stream->input_count == 0 || !rows[stream->inputs[0]].known)
            continue;
        const struct rows *input = &rows[stream->inputs[0]];
        mr_err err = engine_run_bounded(arena, &plan->streams[plan->order[i]].spec, input->items,
                                        input->count, now_us, &result);
        if (err != MR_OK)
            return err;
        *made = (struct rows){result.rows, result.row_count, true};
        for (size_t j = 0; j < result.dead_count; j++)
            mr_buf_printf(out, "`%.*s` sends a record to the dead letters: %.*s\n",
                          MR_STR_ARG(stream->name), MR_STR_ARG(result.dead[j]));
    }
    for (size_t i = 0; i < test->expect_count; i++) {
        const struct rows *found = &rows[pipeline_stream_find(pipeline, test->expect[i].stream)];
        if (!found->known)
            mr_buf_printf(out, "line %u: nothing is given that `%.*s` reads\n",
                          test->expect[i].place.line, MR_STR_ARG(test->expect[i].stream));
        else
            compare(arena, &test->expect[i], found, out);
    }
    return MR_OK;
}

mr_err pipeline_run_tests(struct mr_arena *arena, const struct pipeline *pipeline,
                          const struct pipeline_plan *plan, int64_t now_us,
                          struct pipeline_verdict **out, size_t *count)
{
    struct pipeline_verdict *verdicts = mr_arena_array(arena, struct pipeline_verdict,
                                                       pipeline->test_count + 1);
    for (size_t i = 0; i < pipeline->test_count; i++) {
        struct mr_buf text = {0};
        mr_err err = run_test(arena, pipeline, plan, &pipeline->tests[i], now_us, &text);
        if (err != MR_OK)
            mr_buf_printf(&text, "%s\n", mr_why());
        verdicts[i] = (struct pipeline_verdict){pipeline->tests[i].name, text.length == 0,
                                                mr_arena_str(arena, mr_buf_as_str(&text))};
        mr_buf_fini(&text);
    }
    *out = verdicts;
    *count = pipeline->test_count;
    return MR_OK;
}
