/* engine/finish.c: hides what makes a row fit to be kept, and what text its key has.
 *
 * The text of a key is the column's own text when there is one, and a JSON array when there are
 * several: the form that captures use too, so that a delete's key can be read back. */
#include "engine/finish.h"

#include "json/json.h"

struct engine_finish {
    const struct engine_bound *bound;
    struct mr_arena arena;
    struct engine_eval **require; /* by rule; NULL: not_null */
    struct engine_eval **casts;   /* by key: its text to its type */
    struct engine_rows_bad bad;
    struct mr_buf text;
};

/* ---- making ---- */
void engine_finish_free(struct engine_finish *finish)
{
    if (finish == NULL)
        return;
    for (uint32_t i = 0; i < finish->bound->require_count; i++)
        engine_eval_free(finish->require[i]);
    for (uint32_t i = 0; i < finish->bound->key_count; i++)
        engine_eval_free(finish->casts[i]);
    mr_buf_fini(&finish->text);
    mr_arena_fini(&finish->arena);
    mr_free(finish);
}
static mr_err make_casts(struct engine_finish *finish)
{
    const struct engine_bound *bound = finish->bound;
    struct data_field *fields = mr_arena_array(&finish->arena, struct data_field, bound->key_count);
    for (uint32_t i = 0; i < bound->key_count; i++)
        fields[i] = (struct data_field){mr_arena_printf(&finish->arena, "k%u", i),
                                        &data_type_string, true};
    const struct data_type *row = data_type_struct(&finish->arena, fields, bound->key_count);
    for (uint32_t i = 0; i < bound->key_count; i++) {
        struct sql_expr *expr;
        mr_buf_clear(&finish->text);
        mr_buf_printf(&finish->text, "TRY_CAST(k%u AS ", i);
        data_type_print(&finish->text, bound->row->fields[bound->keys[i]].type);
        mr_buf_cstr(&finish->text, ")");
        mr_err err = sql_bind_expr(&finish->arena, mr_buf_as_str(&finish->text), row,
                                   &bound->settings, &expr);
        if (err == MR_OK)
            err = engine_eval_new(expr, &bound->settings, &finish->casts[i]);
        if (err != MR_OK)
            return err;
    }
    return MR_OK;
}
mr_err engine_finish_new(const struct engine_bound *bound, struct engine_finish **out)
{
    struct engine_finish *finish = mr_new(struct engine_finish);
    mr_err err = MR_OK;
    finish->bound = bound;
    mr_arena_init(&finish->arena);
    finish->require = mr_arena_array(&finish->arena, struct engine_eval *, bound->require_count);
    finish->casts = mr_arena_array(&finish->arena, struct engine_eval *, bound->key_count);
    for (uint32_t i = 0; i < bound->require_count && err == MR_OK; i++)
        if (bound->require[i].condition != NULL)
            err = engine_eval_new(bound->require[i].condition, &bound->settings,
                                  &finish->require[i]);
    if (err == MR_OK && bound->deletes)
        err = make_casts(finish);
    if (err != MR_OK) {
        engine_finish_free(finish);
        return err;
    }
    *out = finish;
    return MR_OK;
}

/* ---- rules and keys ---- */
static void mark(struct engine_rows_bad *bad, uint16_t row, mr_str why)
{
    if (bad->bad[row])
        return;
    bad->bad[row] = 1;
    bad->why[row] = why;
    bad->count++;
}
static void bury(struct engine_finish *finish, struct engine_rows *rows, const char *place,
                 const struct engine_outlet *outlet)
{
    if (finish->bad.count == 0)
        return;
    for (uint16_t i = 0; i < rows->chunk->row_count; i++) {
        uint16_t row = rows->chunk->rows[i];
        if (finish->bad.bad[row])
            outlet->dead(outlet->self, rows, row, place, finish->bad.why[row]);
    }
    engine_rows_bad_drop(&finish->bad, rows->chunk);
}
static bool is_null(const struct data_column *column, uint32_t row)
{
    return column->type->kind == DATA_NULL || !column->valid[row];
}
static void check_rules(struct engine_finish *finish, struct engine_rows *rows, int64_t now_us)
{
    const struct engine_bound *bound = finish->bound;
    struct data_chunk *chunk = rows->chunk;
    engine_rows_bad_begin(&finish->bad, now_us);
    for (uint32_t i = 0; i < bound->require_count; i++) {
        const struct engine_require *rule = &bound->require[i];
        const struct data_column *column = finish->require[i] == NULL
                                               ? chunk->columns[rule->column]
                                               : engine_eval(finish->require[i], chunk,
                                                             &finish->bad);
        for (uint16_t j = 0; j < chunk->row_count; j++) {
            uint16_t row = chunk->rows[j];
            if (is_null(column, row) || (rule->condition != NULL && !column->bools[row]))
                mark(&finish->bad, row, rule->rule);
        }
    }
}
static void check_keys(struct engine_finish *finish, const struct data_chunk *chunk)
{
    const struct engine_bound *bound = finish->bound;
    engine_rows_bad_begin(&finish->bad, 0);
    for (uint32_t i = 0; i < bound->key_count; i++) {
        const struct data_column *column = chunk->columns[bound->keys[i]];
        for (uint16_t j = 0; j < chunk->row_count; j++)
            if (is_null(column, chunk->rows[j]))
                mark(&finish->bad, chunk->rows[j],
                     mr_arena_printf(chunk->arena, "%.*s is NULL",
                                     MR_STR_ARG(bound->row->fields[bound->keys[i]].name)));
    }
}
static mr_str key_text(struct engine_finish *finish, const struct data_chunk *chunk, uint16_t row)
{
    const struct engine_bound *bound = finish->bound;
    const struct data_column *first = chunk->columns[bound->keys[0]];
    if (bound->key_count == 1 &&
        (first->type->kind == DATA_STRING || first->type->kind == DATA_BINARY))
        return first->strs[row];
    mr_buf_clear(&finish->text);
    if (bound->key_count == 1) {
        data_value_print(&finish->text, first, row);
    } else {
        for (uint32_t i = 0; i < bound->key_count; i++) {
            mr_buf_u8(&finish->text, i == 0 ? '[' : ',');
            data_value_json(&finish->text, chunk->columns[bound->keys[i]], row);
        }
        mr_buf_u8(&finish->text, ']');
    }
    return mr_arena_str(chunk->arena, mr_buf_as_str(&finish->text));
}
static void set_keys(struct engine_finish *finish, struct engine_rows *rows)
{
    const struct data_chunk *chunk = rows->chunk;
    mr_str *keys = mr_arena_array(chunk->arena, mr_str, chunk->count);
    for (uint16_t i = 0; i < chunk->row_count; i++) {
        uint16_t row = chunk->rows[i];
        const struct engine_record *record = engine_rows_record(rows, row);
        if (finish->bound->key_count > 0)
            keys[row] = key_text(finish, chunk, row);
        else if (record != NULL)
            keys[row] = record->key;
    }
    rows->keys = keys;
}
void engine_finish_rows(struct engine_finish *finish, struct engine_rows *rows, int64_t now_us,
                        const struct engine_outlet *outlet)
{
    check_rules(finish, rows, now_us);
    bury(finish, rows, "require", outlet);
    check_keys(finish, rows->chunk);
    bury(finish, rows, "key", outlet);
    set_keys(finish, rows);
}

/* ---- deletes ---- */
/* The key's texts, one a column of the result's key; false when the record's key is not of this form. */
static bool split_key(struct engine_finish *finish, struct mr_arena *arena, mr_str key,
                      struct data_column **texts, uint32_t row)
{
    uint32_t count = finish->bound->key_count;
    const struct json_value *value;
    if (key.data == NULL)
        return false;
    if (count == 1) {
        texts[0]->valid[row] = 1;
        texts[0]->strs[row] = key;
        return true;
    }
    if (json_parse(arena, key, &value) != MR_OK || value->kind != JSON_ARRAY ||
        value->count != count)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        texts[i]->strs[row] = json_scalar(&value->items[i]);
        texts[i]->valid[row] = texts[i]->strs[row].data != NULL;
    }
    return true;
}
static void read_keys(struct engine_finish *finish, struct engine_rows *rows)
{
    const struct engine_bound *bound = finish->bound;
    struct data_chunk *chunk = rows->chunk;
    struct data_chunk *texts = data_chunk_new(chunk->arena, bound->key_count);
    engine_rows_bad_begin(&finish->bad, 0);
    for (uint32_t i = 0; i < bound->key_count; i++)
        texts->columns[i] = data_column_new(chunk->arena, &data_type_string, chunk->count);
    texts->count = chunk->count;
    texts->rows = chunk->rows;
    texts->row_count = chunk->row_count;
    for (uint32_t i = 0; i < chunk->count; i++)
        if (!split_key(finish, chunk->arena, rows->records[i].key, texts->columns, i))
            mark(&finish->bad, (uint16_t)i,
                 MR_STR("a delete whose key has another form than the stream's key"));
    for (uint32_t i = 0; i < bound->key_count; i++)
        chunk->columns[bound->keys[i]] = (struct data_column *)(uintptr_t)engine_eval(
            finish->casts[i], texts, &finish->bad);
    for (uint32_t i = 0; i < bound->key_count; i++)
        for (uint32_t row = 0; row < chunk->count; row++)
            if (is_null(chunk->columns[bound->keys[i]], row))
                mark(&finish->bad, (uint16_t)row,
                     mr_arena_printf(chunk->arena, "a delete whose key is no value of %.*s",
                                     MR_STR_ARG(bound->row->fields[bound->keys[i]].name)));
}
void engine_finish_deletes(struct engine_finish *finish, struct mr_arena *arena,
                           const struct engine_record *records, uint32_t count,
                           const struct engine_outlet *outlet, struct engine_rows *rows)
{
    const struct engine_bound *bound = finish->bound;
    struct data_chunk *chunk = data_chunk_new(arena, bound->row->field_count);
    *rows = (struct engine_rows){.chunk = chunk, .records = records, .deletes = true};
    for (uint32_t i = 0; i < bound->row->field_count; i++)
        chunk->columns[i] = data_column_new(arena, bound->row->fields[i].type, count);
    data_chunk_all_rows(chunk, count);
    if (!bound->deletes) {
        for (uint32_t i = 0; i < count; i++)
            outlet->dead(outlet->self, rows, i, "key",
                         MR_STR("a delete: the input's key is not the stream's, so which row it "
                                "deletes is not known"));
        chunk->row_count = 0;
        return;
    }
    if (bound->key_count > 0) {
        read_keys(finish, rows);
        bury(finish, rows, "key", outlet);
    }
    mr_str *keys = mr_arena_array(arena, mr_str, count);
    for (uint32_t i = 0; i < count; i++)
        keys[i] = records[i].key;
    rows->keys = keys;
}
