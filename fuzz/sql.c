/* fuzz/sql.c: any text as a statement: lexer, parser, binder, and evaluation of its constants. */
#include "engine/eval.h"

static const struct data_type *find_table(void *self, mr_str name)
{
    return mr_str_equal_nocase(name, MR_STR("t")) ? self : NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char ddl[] =
        "a INT, b STRING, c STRUCT<d: DOUBLE, e: ARRAY<STRUCT<f: BIGINT>>>, "
        "g MAP<STRING, DATE>, h TIMESTAMP, i DECIMAL(20,4), j BOOLEAN, k BINARY";
    struct mr_arena arena;
    const struct data_type *row = NULL, *type = NULL;
    struct sql_plan *plan = NULL;
    struct sql_expr *expr = NULL;
    struct engine_eval *eval = NULL;
    mr_str text = mr_str_of(data, size);
    mr_arena_init(&arena);
    if (size > 4096 || data_type_parse(&arena, mr_str_from(ddl), &row) != MR_OK)
        goto out;
    struct sql_catalog catalog = {find_table, NULL, (void *)row};
    struct sql_settings settings = {.ansi = size % 2 == 1};
    if (sql_bind(&arena, text, &catalog, &settings, &plan) == MR_OK) {
        struct mr_buf printed = {0};
        sql_plan_print(&printed, plan);
        mr_buf_fini(&printed);
    }
    if (sql_bind_expr(&arena, text, row, &settings, &expr) == MR_OK &&
        engine_eval_new(expr, &settings, &eval) == MR_OK) {
        static struct engine_rows_bad bad;
        struct data_chunk *chunk = data_chunk_new(&arena, row->field_count);
        for (uint32_t i = 0; i < row->field_count; i++)
            chunk->columns[i] = data_column_new(&arena, row->fields[i].type, 2);
        data_chunk_all_rows(chunk, 2);
        engine_rows_bad_begin(&bad, 0);
        engine_eval(eval, chunk, &bad);
    }
    engine_eval_free(eval);
    data_type_parse(&arena, text, &type);
out:
    mr_arena_fini(&arena);
    return 0;
}
