/* engine/scan.c: hides how bytes become columns. One program a writer's schema, compiled when its first
 * record comes; text columns that the spec types are then read as from_json reads them (or cast, when
 * the type is no struct, array or map).
 *
 * JSON values are read permissively, as Spark does; only a value that is no JSON object at all does not
 * decode. */
#include "engine/scan.h"

#include "json/json.h"

struct program {
    int32_t id;
    struct avro_decoder *decoder; /* NULL: the writer's types do not meet ours, see `why` */
    char *why;
};
struct column {
    uint32_t index;             /* of the scan */
    struct json_reader *reader; /* text read as from_json, or NULL */
    struct engine_eval *cast;   /* text cast to a plain type, or NULL */
};
struct engine_scan {
    const struct engine_bound *bound;
    struct mr_arena arena;
    const struct data_type *wanted; /* what is decoded: the used columns in order */
    struct column *columns;         /* one a field of `wanted` */
    uint32_t column_count;
    MR_ARRAY(struct program) programs;
    struct json_reader *json; /* of JSON values */
};

/* ---- making ---- */
void engine_scan_free(struct engine_scan *scan)
{
    if (scan == NULL)
        return;
    for (size_t i = 0; i < scan->programs.count; i++) {
        avro_decoder_free(scan->programs.items[i].decoder);
        mr_free(scan->programs.items[i].why);
    }
    mr_array_fini(&scan->programs);
    for (uint32_t i = 0; i < scan->column_count; i++) {
        json_reader_free(scan->columns[i].reader);
        engine_eval_free(scan->columns[i].cast);
    }
    json_reader_free(scan->json);
    mr_arena_fini(&scan->arena);
    mr_free(scan);
}
static bool is_nested(const struct data_type *type)
{
    return type->kind == DATA_STRUCT || type->kind == DATA_ARRAY || type->kind == DATA_MAP;
}
/* CAST of the one column of a row of one text. */
static mr_err cast_new(struct engine_scan *scan, const struct data_type *type,
                       struct engine_eval **out)
{
    struct data_field field = {MR_STR("c"), &data_type_string, true};
    const struct data_type *row = data_type_struct(&scan->arena, &field, 1);
    struct mr_buf text = {0};
    struct sql_expr *expr;
    mr_buf_cstr(&text, "CAST(c AS ");
    data_type_print(&text, type);
    mr_buf_cstr(&text, ")");
    mr_err err = sql_bind_expr(&scan->arena, mr_buf_as_str(&text), row, &scan->bound->settings,
                               &expr);
    mr_buf_fini(&text);
    return err != MR_OK ? err : engine_eval_new(expr, &scan->bound->settings, out);
}
static mr_err add_column(struct engine_scan *scan, uint32_t index, struct data_field *field)
{
    const struct engine_bound *bound = scan->bound;
    const struct sql_node *node = bound->plan->scan;
    struct column *column = &scan->columns[scan->column_count++];
    *field = bound->wire->fields[index];
    *column = (struct column){.index = index};
    if (data_type_equal(bound->wire->fields[index].type, bound->seen->fields[index].type)) {
        field->type = node->row->fields[index].type;
        return MR_OK;
    }
    field->type = &data_type_string;
    const struct data_type *type = node->row->fields[index].type;
    return is_nested(type) ? json_reader_new(type, NULL, &column->reader)
                           : cast_new(scan, type, &column->cast);
}
mr_err engine_scan_new(const struct engine_bound *bound, struct engine_scan **out)
{
    const struct sql_node *node = bound->plan->scan;
    uint32_t count = node->row->field_count, wanted = 0;
    struct engine_scan *scan = mr_new(struct engine_scan);
    mr_err err = MR_OK;
    scan->bound = bound;
    mr_arena_init(&scan->arena);
    scan->columns = mr_arena_array(&scan->arena, struct column, count + 1);
    struct data_field *fields = mr_arena_array(&scan->arena, struct data_field, count + 1);
    for (uint32_t i = 0; i < count && err == MR_OK; i++)
        if (node->scan.used[i] || (int32_t)i == bound->watermark_column)
            err = add_column(scan, i, &fields[wanted++]);
    if (wanted == 0 && err == MR_OK) /* count(*) alone: the bytes are still looked at */
        err = add_column(scan, 0, &fields[wanted++]);
    scan->wanted = data_type_struct(&scan->arena, fields, wanted);
    if (err == MR_OK && bound->input->json)
        err = json_reader_new(scan->wanted, NULL, &scan->json);
    if (err != MR_OK) {
        engine_scan_free(scan);
        return err;
    }
    *out = scan;
    return MR_OK;
}

/* ---- Avro ---- */
static struct program *program_of(struct engine_scan *scan, const struct avro_schema *writer,
                                  int32_t id)
{
    for (size_t i = 0; i < scan->programs.count; i++)
        if (scan->programs.items[i].id == id)
            return &scan->programs.items[i];
    struct program *program = mr_array_add(&scan->programs);
    *program = (struct program){.id = id};
    if (avro_decoder_new(avro_schema_root(writer), scan->wanted, &program->decoder) != MR_OK) {
        program->decoder = NULL;
        program->why = mr_copy_cstr(mr_str_from(mr_why()));
    }
    return program;
}
static void drop_row(const struct engine_outlet *outlet, struct engine_rows *rows, uint32_t row,
                     const char *why)
{
    mr_str text = mr_arena_str(rows->chunk->arena, mr_str_from(why));
    outlet->dead(outlet->self, rows, row, "decode", text);
}
static struct data_column *read_avro(struct program *program, struct engine_rows *rows,
                                     const mr_str *values, uint32_t count,
                                     const struct engine_outlet *outlet)
{
    struct data_chunk *chunk = rows->chunk;
    if (program->decoder == NULL) {
        for (uint32_t i = 0; i < count; i++)
            drop_row(outlet, rows, i, program->why);
        return NULL;
    }
    avro_decoder_begin(program->decoder, chunk->arena, count);
    for (uint32_t i = 0; i < count; i++) {
        if (avro_decoder_read(program->decoder, i, values[i]) == MR_OK)
            chunk->rows[chunk->row_count++] = (uint16_t)i;
        else
            drop_row(outlet, rows, i, mr_why());
    }
    return avro_decoder_end(program->decoder);
}

/* ---- JSON ---- */
static bool row_is_empty(const struct data_column *column, uint32_t row)
{
    if (!column->valid[row])
        return true;
    for (uint32_t i = 0; i < column->type->field_count; i++)
        if (column->fields[i]->valid[row])
            return false;
    return true;
}
static struct data_column *read_json(struct engine_scan *scan, struct engine_rows *rows,
                                     const mr_str *values, uint32_t count,
                                     const struct engine_outlet *outlet)
{
    struct data_chunk *chunk = rows->chunk;
    json_reader_begin(scan->json, chunk->arena, count);
    for (uint32_t i = 0; i < count; i++)
        (void)json_reader_read(scan->json, i, values[i]); /* permissive: never an error */
    struct data_column *column = json_reader_end(scan->json);
    for (uint32_t i = 0; i < count; i++) {
        const struct json_value *value;
        mr_err err = MR_OK;
        if (row_is_empty(column, i)) { /* all NULL, or no JSON object at all? */
            err = json_parse(chunk->arena, values[i], &value);
            if (err == MR_OK && value->kind != JSON_OBJECT)
                err = mr_fail(MR_INVALID, "expected a JSON object");
        }
        if (err == MR_OK)
            chunk->rows[chunk->row_count++] = (uint16_t)i;
        else
            drop_row(outlet, rows, i, mr_why());
    }
    return column;
}

/* ---- types ---- */
static mr_err type_column(const struct column *column, struct data_chunk *chunk,
                          struct data_column *texts, struct engine_rows_bad *bad)
{
    if (column->reader != NULL)
        return json_reader_column(column->reader, chunk->arena, texts, chunk->rows,
                                  chunk->row_count, &chunk->columns[column->index]);
    if (column->cast == NULL) {
        chunk->columns[column->index] = texts;
        return MR_OK;
    }
    struct data_chunk one = *chunk;
    one.column_count = 1;
    one.columns = &texts;
    engine_rows_bad_begin(bad, 0); /* a cast of text reads no clock */
    chunk->columns[column->index] = (struct data_column *)(uintptr_t)engine_eval(column->cast, &one,
                                                                                 bad);
    return MR_OK;
}
mr_err engine_scan_read(struct engine_scan *scan, const struct avro_schema *writer,
                        int32_t writer_id, struct mr_arena *arena,
                        const struct engine_record *records, const mr_str *values, uint32_t count,
                        const struct engine_outlet *outlet, struct engine_rows *rows)
{
    struct data_chunk *chunk = data_chunk_new(arena, scan->bound->wire->field_count);
    struct engine_rows_bad *bad = mr_arena_new(arena, struct engine_rows_bad);
    *rows = (struct engine_rows){.chunk = chunk, .records = records};
    chunk->count = count;
    chunk->row_count = 0;
    struct data_column *column = writer == NULL ? read_json(scan, rows, values, count, outlet)
                                                : read_avro(program_of(scan, writer, writer_id),
                                                            rows, values, count, outlet);
    for (uint32_t i = 0; i < scan->column_count && column != NULL; i++) {
        mr_err err = type_column(&scan->columns[i], chunk, column->fields[i], bad);
        if (err != MR_OK)
            return err;
        for (uint16_t j = 0; j < chunk->row_count && bad->count > 0; j++)
            if (bad->bad[chunk->rows[j]])
                outlet->dead(outlet->self, rows, chunk->rows[j], "decode",
                             bad->why[chunk->rows[j]]);
        engine_rows_bad_drop(bad, chunk);
    }
    return MR_OK;
}
