/* engine/eval_test.c: runs the golden files of test/data/sql, whose answers are Spark's own (see
 * test/sql/judge.py), through binder and evaluation; and stories of what Spark cannot be asked. */
#include "engine/eval.h"
#include "story.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- a small executor: one chunk after another, everything in one arena ---- */
struct rows {
    MR_ARRAY(struct data_chunk *) chunks;
    const char *failed; /* the first bad row's reason */
};

static struct sql_settings settings;
static struct engine_rows_bad bad;

static const struct data_column *evaluate(struct sql_expr *expr, struct data_chunk *chunk,
                                          struct rows *rows)
{
    struct engine_eval *eval = NULL;
    if (engine_eval_new(expr, &settings, &eval) != MR_OK) {
        rows->failed = mr_arena_cstr(chunk->arena, mr_str_from(mr_why()));
        return data_column_new(chunk->arena, expr->type, chunk->count);
    }
    engine_rows_bad_begin(&bad, 1577836800000000);
    const struct data_column *column = engine_eval(eval, chunk, &bad);
    if (bad.count > 0)
        for (uint32_t i = 0; i < DATA_CHUNK_ROWS && rows->failed == NULL; i++)
            if (bad.bad[i])
                rows->failed = mr_arena_cstr(chunk->arena, bad.why[i]);
    return column; /* the eval lives on: its constants may be in the column */
}

static struct rows run(struct mr_arena *arena, const struct sql_node *node);

static void run_values(struct mr_arena *arena, const struct sql_node *node, struct rows *rows)
{
    struct data_chunk *one = data_chunk_new(arena, 0),
                      *chunk = data_chunk_new(arena, node->row->field_count);
    data_chunk_all_rows(one, 1);
    data_chunk_all_rows(chunk, node->values.row_count);
    for (uint32_t c = 0; c < node->row->field_count; c++) {
        struct data_builder *builder = data_builder_new(arena, node->row->fields[c].type);
        for (uint32_t r = 0; r < node->values.row_count; r++)
            data_builder_copy(builder, evaluate(node->values.rows[r][c], one, rows), 0);
        chunk->columns[c] = data_builder_take(builder);
    }
    *mr_array_add(&rows->chunks) = chunk;
}

static void run_filter(const struct sql_node *node, struct data_chunk *chunk, struct rows *rows)
{
    const struct data_column *verdict = evaluate(node->filter.predicate, chunk, rows);
    uint16_t kept = 0;
    for (uint16_t i = 0; i < chunk->row_count; i++) {
        uint16_t row = chunk->rows[i];
        chunk->rows[kept] = row;
        kept = (uint16_t)(kept + (verdict->valid[row] && verdict->bools[row]));
    }
    chunk->row_count = kept;
}

static struct data_chunk *run_project(struct mr_arena *arena, const struct sql_node *node,
                                      struct data_chunk *chunk, struct rows *rows)
{
    struct data_chunk *out = data_chunk_new(arena, node->row->field_count);
    for (uint32_t i = 0; i < node->row->field_count; i++)
        out->columns[i] = (struct data_column *)evaluate(node->project.exprs[i], chunk, rows);
    out->count = chunk->count;
    out->row_count = chunk->row_count;
    memcpy(out->rows, chunk->rows, chunk->row_count * sizeof(uint16_t));
    return out;
}

enum { GROUPS_MAX = 64 };
struct grouping {
    struct data_builder *keys[8];
    struct engine_fold folds[GROUPS_MAX][16];
    uint32_t count;
};

static uint32_t find_group(struct grouping *grouping, const struct data_column **keys,
                           uint32_t key_count, uint32_t row)
{
    for (uint32_t g = 0; g < grouping->count; g++) {
        bool same = true;
        for (uint32_t k = 0; k < key_count; k++)
            same = same && data_value_compare(grouping->keys[k]->column, g, keys[k], row) == 0;
        if (same)
            return g;
    }
    mr_assert(grouping->count < GROUPS_MAX);
    for (uint32_t k = 0; k < key_count; k++)
        data_builder_copy(grouping->keys[k], keys[k], row);
    return grouping->count++;
}

/* The window that begins last before the time, `back` slides earlier. */
static const struct data_column *window_column(struct mr_arena *arena, const struct sql_node *node,
                                               const struct data_column *time, int64_t back)
{
    const struct sql_window *window = node->aggregate.window;
    struct data_column *out = data_column_new(arena, node->row->fields[window->key].type,
                                              time->count);
    for (uint32_t i = 0; i < time->count; i++) {
        int64_t from = time->longs[i] - window->start_us;
        int64_t start = from - ((from % window->slide_us) + window->slide_us) % window->slide_us +
                        window->start_us - back * window->slide_us;
        if (!time->valid[i] || start + window->size_us <= time->longs[i])
            continue;
        out->valid[i] = out->fields[0]->valid[i] = out->fields[1]->valid[i] = 1;
        out->fields[0]->longs[i] = start;
        out->fields[1]->longs[i] = start + window->size_us;
    }
    return out;
}

static void fold_chunk(struct mr_arena *arena, const struct sql_node *node,
                       struct data_chunk *chunk, struct grouping *grouping, struct rows *rows,
                       int64_t back)
{
    const struct data_column *keys[8], *args[16][4], *filters[16];
    const struct sql_window *window = node->aggregate.window;
    for (uint32_t k = 0; k < node->aggregate.key_count; k++)
        keys[k] = window != NULL && window->key == k
                      ? window_column(arena, node, evaluate(window->time, chunk, rows), back)
                      : evaluate(node->aggregate.keys[k], chunk, rows);
    for (uint32_t a = 0; a < node->aggregate.aggregate_count; a++) {
        const struct sql_aggregate *aggregate = &node->aggregate.aggregates[a];
        filters[a] = aggregate->filter == NULL ? NULL : evaluate(aggregate->filter, chunk, rows);
        for (uint32_t i = 0; i < aggregate->arg_count; i++)
            args[a][i] = evaluate(aggregate->args[i], chunk, rows);
    }
    for (uint32_t i = 0; i < chunk->row_count; i++) {
        uint16_t row = chunk->rows[i];
        if (window != NULL && !keys[window->key]->valid[row])
            continue;
        uint32_t group = find_group(grouping, keys, node->aggregate.key_count, row);
        for (uint32_t a = 0; a < node->aggregate.aggregate_count; a++)
            if (filters[a] == NULL || (filters[a]->valid[row] && filters[a]->bools[row]))
                engine_fold_add(&grouping->folds[group][a], &node->aggregate.aggregates[a], args[a],
                                row, settings.ansi);
    }
}

static struct data_chunk *run_aggregate(struct mr_arena *arena, const struct sql_node *node,
                                        struct rows *input, struct rows *rows)
{
    struct grouping *grouping = mr_arena_new(arena, struct grouping);
    const struct sql_window *window = node->aggregate.window;
    int64_t times = window == NULL ? 1
                                   : (window->size_us + window->slide_us - 1) / window->slide_us;
    for (uint32_t k = 0; k < node->aggregate.key_count; k++)
        grouping->keys[k] = data_builder_new(arena, node->row->fields[k].type);
    for (size_t c = 0; c < input->chunks.count; c++)
        for (int64_t back = 0; back < times; back++)
            fold_chunk(arena, node, input->chunks.items[c], grouping, rows, back);
    grouping->count += node->aggregate.global && grouping->count == 0;
    struct data_chunk *out = data_chunk_new(arena, node->row->field_count);
    data_chunk_all_rows(out, grouping->count);
    for (uint32_t k = 0; k < node->aggregate.key_count; k++)
        out->columns[k] = data_builder_take(grouping->keys[k]);
    for (uint32_t a = 0; a < node->aggregate.aggregate_count; a++) {
        struct data_column *column = data_column_new(arena, node->aggregate.aggregates[a].type,
                                                     grouping->count);
        for (uint32_t g = 0; g < grouping->count; g++) {
            struct engine_fold again = {0}; /* every state goes through its bytes once */
            struct mr_buf saved = {0};
            engine_fold_save(&saved, &grouping->folds[g][a]);
            struct mr_in in = mr_in_of(saved.data, saved.length);
            expect_ok(engine_fold_load(&in, &again));
            engine_fold_result(&again, &node->aggregate.aggregates[a], arena, column, g);
            engine_fold_fini(&again);
            mr_buf_fini(&saved);
            engine_fold_fini(&grouping->folds[g][a]);
        }
        out->columns[node->aggregate.key_count + a] = column;
    }
    return out;
}

static struct rows run(struct mr_arena *arena, const struct sql_node *node)
{
    struct rows input = {0}, rows = {0};
    if (node->input != NULL)
        input = run(arena, node->input);
    rows.failed = input.failed;
    if (node->kind == SQL_NODE_VALUES)
        run_values(arena, node, &rows);
    else if (node->kind == SQL_NODE_AGGREGATE)
        *mr_array_add(&rows.chunks) = run_aggregate(arena, node, &input, &rows);
    for (size_t i = 0; i < input.chunks.count; i++) {
        struct data_chunk *chunk = input.chunks.items[i], *piece;
        if (node->kind == SQL_NODE_FILTER) {
            run_filter(node, chunk, &rows);
            *mr_array_add(&rows.chunks) = chunk;
        } else if (node->kind == SQL_NODE_PROJECT) {
            *mr_array_add(&rows.chunks) = run_project(arena, node, chunk, &rows);
        } else if (node->kind == SQL_NODE_GENERATE) {
            struct engine_unfold at = {0};
            const struct data_column *list = evaluate(node->generate.list, chunk, &rows);
            while ((piece = engine_unfold_next(&at, chunk, list, node->generate.outer,
                                               node->generate.position)) != NULL)
                *mr_array_add(&rows.chunks) = piece;
        }
    }
    mr_array_fini(&input.chunks);
    return rows;
}

/* ---- golden files ---- */
static const struct data_type *no_table(void *self, mr_str name)
{
    (void)self;
    (void)name;
    return NULL;
}

static void print_cell(struct mr_buf *out, const struct data_column *column, uint32_t row)
{
    struct mr_buf text = {0};
    if (column->type->kind == DATA_BINARY && column->valid[row])
        for (size_t i = 0; i < column->strs[row].length; i++)
            mr_buf_printf(&text, "%02X", (unsigned char)column->strs[row].data[i]);
    else
        data_value_print(&text, column, row);
    for (size_t i = 0; i < text.length; i++) {
        if (text.data[i] == '\n')
            mr_buf_cstr(out, "\\n");
        else if (text.data[i] == '\r')
            mr_buf_cstr(out, "\\r");
        else
            mr_buf_u8(out, text.data[i]);
    }
    mr_buf_fini(&text);
}

static int by_text(const void *a, const void *b)
{
    return mr_str_compare(*(const mr_str *)a, *(const mr_str *)b);
}

static void print_rows(struct mr_arena *arena, struct mr_buf *out, const struct sql_node *node,
                       struct rows *rows)
{
    MR_ARRAY(mr_str) lines = {0};
    struct mr_buf schema = {0};
    data_type_print(&schema, node->row);
    for (size_t i = 0; i < schema.length; i++) {
        if (schema.data[i] == '\n')
            mr_buf_cstr(out, "\\n");
        else
            mr_buf_u8(out, schema.data[i]);
    }
    mr_buf_u8(out, '\n');
    mr_buf_fini(&schema);
    for (size_t c = 0; c < rows->chunks.count; c++)
        for (uint32_t i = 0; i < rows->chunks.items[c]->row_count; i++) {
            struct mr_buf line = {0};
            for (uint32_t f = 0; f < node->row->field_count; f++) {
                mr_buf_cstr(&line, f > 0 ? "|" : "");
                print_cell(&line, rows->chunks.items[c]->columns[f],
                           rows->chunks.items[c]->rows[i]);
            }
            *mr_array_add(&lines) = mr_arena_str(arena, mr_buf_as_str(&line));
            mr_buf_fini(&line);
        }
    if (lines.count > 1)
        qsort(lines.items, lines.count, sizeof(mr_str), by_text);
    for (size_t i = 0; i < lines.count; i++) {
        mr_buf_str(out, lines.items[i]);
        mr_buf_u8(out, '\n');
    }
    mr_array_fini(&lines);
}

/* The answer as the golden file has it: a schema line and rows in order of text, or "error". */
static void answer(mr_str statement, bool ansi, struct mr_buf *out, const char **why)
{
    static struct mr_arena arena;
    struct sql_catalog catalog = {.table = no_table};
    struct sql_plan *plan = NULL;
    mr_arena_init(&arena);
    settings = (struct sql_settings){.ansi = ansi};
    *why = "";
    if (sql_bind(&arena, statement, &catalog, &settings, &plan) != MR_OK) {
        *why = mr_why();
        mr_buf_cstr(out, "error\n");
        return;
    }
    struct rows rows = run(&arena, plan->root);
    if (rows.failed != NULL) {
        *why = rows.failed;
        mr_buf_cstr(out, "error\n");
    } else {
        print_rows(&arena, out, plan->root, &rows);
    }
    mr_array_fini(&rows.chunks);
}

/* Runs one file; prints every difference. Gives the number of them. */
static int judge_file(const char *name)
{
    char path[300];
    int wrong = 0, line_number = 0;
    snprintf(path, sizeof path, "sql/%s", name);
    mr_str text = story_data(path), line;
    struct mr_buf statement = {0}, expected = {0}, found = {0};
    bool answers = false, more = true;
    while (more) {
        more = mr_str_split(&text, '\n', &line);
        line_number++;
        if (more && line.length > 0) {
            if (!answers && mr_str_equal(line, MR_STR("----")))
                answers = true;
            else if (!(mr_str_starts(line, MR_STR("#")) && !answers)) {
                mr_buf_str(answers ? &expected : &statement, line);
                mr_buf_u8(answers ? &expected : &statement, '\n');
            }
            continue;
        }
        if (answers) {
            const char *why;
            bool ansi = mr_str_starts(mr_buf_as_str(&statement), MR_STR("-- ansi"));
            answer(mr_buf_as_str(&statement), ansi, &found, &why);
            if (!mr_str_equal(mr_buf_as_str(&found), mr_buf_as_str(&expected))) {
                wrong++;
                fprintf(stderr, "%s:%d: %.*s  expected:\n%.*s  found: %s\n%.*s", name, line_number,
                        (int)statement.length, statement.data, (int)expected.length, expected.data,
                        why, (int)found.length, found.data);
            }
        }
        mr_buf_clear(&statement);
        mr_buf_clear(&expected);
        mr_buf_clear(&found);
        answers = false;
    }
    mr_buf_fini(&statement);
    mr_buf_fini(&expected);
    mr_buf_fini(&found);
    return wrong;
}

STORY("every golden statement answers as Spark does")
{
    const char *root = getenv("MILLRACE_SOURCE"), *only = getenv("GOLDEN");
    char path[1024];
    int wrong = 0, files = 0;
    struct dirent *entry;
    snprintf(path, sizeof path, "%s/test/data/sql", root == NULL ? "." : root);
    DIR *folder = opendir(path);
    expect(folder != NULL);
    while ((entry = readdir(folder)) != NULL)
        if (mr_str_ends(mr_str_from(entry->d_name), MR_STR(".test")) &&
            (only == NULL || strstr(entry->d_name, only) != NULL)) {
            wrong += judge_file(entry->d_name);
            files++;
        }
    closedir(folder);
    expect(files > 0);
    expect_int(wrong, 0);
}

/* ---- stories that Spark cannot tell ---- */
static struct mr_arena story_arena;

static struct engine_eval *given_eval(const char *text, const char *ddl, bool ansi)
{
    const struct data_type *row;
    struct sql_expr *expr = NULL;
    struct engine_eval *eval = NULL;
    settings = (struct sql_settings){.ansi = ansi};
    expect_ok(data_type_parse(&story_arena, mr_str_from(ddl), &row));
    expect_ok(sql_bind_expr(&story_arena, mr_str_from(text), row, &settings, &expr));
    expect_ok(engine_eval_new(expr, &settings, &eval));
    return eval;
}

static struct data_chunk *given_ints(const int32_t *values, uint32_t count)
{
    struct data_chunk *chunk = data_chunk_new(&story_arena, 1);
    chunk->columns[0] = data_column_new(&story_arena, &data_type_int, count);
    for (uint32_t i = 0; i < count; i++) {
        chunk->columns[0]->ints[i] = values[i];
        chunk->columns[0]->valid[i] = 1;
    }
    data_chunk_all_rows(chunk, count);
    return chunk;
}

STORY("a row that fails is marked with its reason, and the rest goes on")
{
    int32_t values[] = {1, 0, 4, 0};
    struct data_chunk *chunk = given_ints(values, 4);
    struct engine_eval *eval = given_eval("8 / a", "a INT", true);
    engine_rows_bad_begin(&bad, 0);
    const struct data_column *column = engine_eval(eval, chunk, &bad);
    expect_int(bad.count, 2);
    expect(bad.bad[1] && bad.bad[3] && !bad.bad[0]);
    expect_str(bad.why[1], MR_STR("[DIVIDE_BY_ZERO] division by zero"));
    expect(column->doubles[2] == 2.0 && !column->valid[1]);
    engine_rows_bad_drop(&bad, chunk);
    expect_int(chunk->row_count, 2);
    expect_int(chunk->rows[1], 2);
    engine_rows_bad_begin(&bad, 0);
    engine_eval(eval, chunk, &bad);
    expect_int(bad.count, 0); /* only live rows raise errors */
    engine_eval_free(eval);
}

STORY("a branch that is not taken raises nothing")
{
    static const char *const texts[] = {
        "CASE WHEN a = 0 THEN 0 ELSE 8 / a END",
        "if(a = 0, raise_error('x'), a) IS NULL OR a = 0",
        "a = 0 OR 8 / a > 1",
        "a <> 0 AND 8 / a > 1",
        "coalesce(a, 1 / 0)",
        "CASE a WHEN 0 THEN 1 WHEN 8 / a THEN 2 END",
    };
    int32_t values[] = {0, 4};
    for (size_t i = 0; i < mr_count_of(texts); i++) {
        struct data_chunk *chunk = given_ints(values, 2);
        struct engine_eval *eval = given_eval(texts[i], "a INT", true);
        engine_rows_bad_begin(&bad, 0);
        engine_eval(eval, chunk, &bad);
        expect_int(bad.count, i == 1 ? 1 : 0); /* the second asks for its first argument */
        engine_eval_free(eval);
    }
}

STORY("a wrong constant pattern is told when the program is made")
{
    const struct data_type *row;
    struct sql_expr *expr = NULL;
    struct engine_eval *eval = NULL;
    settings = (struct sql_settings){0};
    expect_ok(data_type_parse(&story_arena, MR_STR("s STRING"), &row));
    expect_ok(sql_bind_expr(&story_arena, MR_STR("s RLIKE '('"), row, &settings, &expr));
    expect_err(engine_eval_new(expr, &settings, &eval), MR_INVALID);
}

STORY("the clock of a batch is given from outside")
{
    int32_t values[] = {1};
    struct engine_eval *eval = given_eval("current_timestamp()", "a INT", false);
    engine_rows_bad_begin(&bad, 42);
    expect_int(engine_eval(eval, given_ints(values, 1), &bad)->longs[0], 42);
    engine_rows_bad_begin(&bad, 43);
    expect_int(engine_eval(eval, given_ints(values, 1), &bad)->longs[0], 43);
    engine_eval_free(eval);
}

STORY("a long array is unfolded over several chunks")
{
    int32_t values[] = {3000, 0, 2};
    struct data_chunk *chunk = given_ints(values, 3), *piece;
    struct engine_eval *eval = given_eval("if(a = 0, null, sequence(1, a))", "a INT", false);
    struct engine_unfold at = {0};
    uint32_t rows = 0, nulls = 0, pieces = 0;
    int64_t sum = 0;
    engine_rows_bad_begin(&bad, 0);
    const struct data_column *list = engine_eval(eval, chunk, &bad);
    while ((piece = engine_unfold_next(&at, chunk, list, true, true)) != NULL) {
        pieces++;
        for (uint32_t i = 0; i < piece->row_count; i++, rows++) {
            nulls += !piece->columns[2]->valid[i];
            sum += piece->columns[2]->valid[i] ? piece->columns[2]->ints[i] : 0;
            expect(!piece->columns[2]->valid[i] ||
                   piece->columns[1]->ints[i] + 1 == piece->columns[2]->ints[i]);
        }
    }
    expect_int(rows, 3003);
    expect_int(nulls, 1);
    expect_int(pieces, 3);
    expect_int(sum, 3000 * 3001 / 2 + 3);
    engine_eval_free(eval);
}

STORY("functions that make much out of little meet a limit")
{
    static const char *const texts[] = {"repeat('x', 2000000000)", "sequence(1, 2000000000)",
                                        "array_repeat(1, 2000000000)", "lpad('x', 2000000000, 'y')",
                                        "space(2000000000)"};
    int32_t values[] = {1};
    for (size_t i = 0; i < mr_count_of(texts); i++) {
        struct engine_eval *eval = given_eval(texts[i], "a INT", false);
        engine_rows_bad_begin(&bad, 0);
        engine_eval(eval, given_ints(values, 1), &bad);
        expect_int(bad.count, 1);
        engine_eval_free(eval);
    }
}

STORY("an aggregate's damaged state is refused")
{
    struct engine_fold fold = {0};
    struct mr_buf saved = {0};
    engine_fold_save(&saved, &fold);
    for (size_t length = 0; length < saved.length; length++) {
        struct mr_in in = mr_in_of(saved.data, length);
        expect_err(engine_fold_load(&in, &fold), MR_CORRUPT);
    }
    saved.data[0] = 99;
    struct mr_in in = mr_in_of(saved.data, saved.length);
    expect_err(engine_fold_load(&in, &fold), MR_CORRUPT);
    mr_buf_fini(&saved);
}
