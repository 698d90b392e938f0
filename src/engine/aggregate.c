/* engine/aggregate.c: folds rows into groups, and decides when a group comes out.
 *
 * The group's key in bytes is the window's start (8 bytes, when there is a window) and then the other
 * keys by key.c. A window is closed when its end is at or before the batch's watermark: rows for it are
 * late, are counted and dropped; in append mode it is emitted once, at the start of the first batch
 * with that watermark. So what is emitted follows from the last checkpoint alone, whatever the batch
 * reads. In update mode the end of a batch emits every group that the batch has changed.
 *
 * The write time of a row that comes out is the latest time of its records plus their count: it depends
 * on the set of records alone and rises with it, so a replay in other batches writes the same, and a
 * fuller row always wins. (With one exception, rows that are late or not by the batches: flow.h.) */
#include "engine/flow.h"
#include "engine/groups.h"
#include "engine/window.h"

struct aggregate {
    struct engine_op op;
    const struct sql_node *node;
    bool watermarked; /* its windows close */
    bool append;
    struct engine_eval **keys;    /* NULL for the window's */
    struct engine_eval *time;     /* of the window, or NULL */
    struct engine_eval ***args;   /* by aggregate */
    struct engine_eval **filters; /* by aggregate; NULL: none */
    const struct data_column **key_columns;
    const struct data_column ***arg_columns;
    const struct data_column **filter_columns;
    struct mr_buf key;
    struct mr_arena arena; /* of the chunk that goes out */
};

/* ---- windows ---- */
struct engine_windows engine_window_of(const struct sql_window *window, int64_t time_us)
{
    __int128 time = (__int128)time_us - window->start_us, slide = window->slide_us;
    __int128 index = time / slide;
    if (time % slide < 0)
        index--; /* floor: times before 1970 too */
    __int128 first = index * slide + window->start_us;
    struct engine_windows windows = {(int64_t)first, 0};
    if (first + window->size_us > INT64_MAX || first - window->size_us < INT64_MIN)
        return windows; /* at the very ends of time: in no window that could be written down */
    if (time_us < (int64_t)first + window->size_us)
        windows.count = (window->size_us - (time_us - (int64_t)first) + window->slide_us - 1) /
                        window->slide_us;
    return windows;
}

/* ---- rows in ---- */
static void eval_all(struct aggregate *self, struct engine_rows *rows)
{
    struct engine_flow *flow = self->op.flow;
    const struct sql_node *node = self->node;
    engine_rows_bad_begin(&flow->bad, flow->now_us);
    for (uint32_t i = 0; i < node->aggregate.key_count; i++) {
        struct engine_eval *eval = self->keys[i] == NULL ? self->time : self->keys[i];
        self->key_columns[i] = engine_eval(eval, rows->chunk, &flow->bad);
    }
    for (uint32_t i = 0; i < node->aggregate.aggregate_count; i++) {
        const struct sql_aggregate *aggregate = &node->aggregate.aggregates[i];
        for (uint32_t j = 0; j < aggregate->arg_count; j++)
            self->arg_columns[i][j] = engine_eval(self->args[i][j], rows->chunk, &flow->bad);
        if (self->filters[i] != NULL)
            self->filter_columns[i] = engine_eval(self->filters[i], rows->chunk, &flow->bad);
    }
    engine_flow_bury(flow, rows);
}
static mr_err fold_row(struct aggregate *self, struct engine_rows *rows, uint16_t row,
                       int64_t window_end)
{
    struct engine_flow *flow = self->op.flow;
    struct engine_group *group;
    mr_err err = engine_groups_find(flow->groups, mr_buf_as_str(&self->key), window_end, &group);
    if (err != MR_OK)
        return err;
    engine_groups_touch(flow->groups, group);
    const struct engine_record *record = engine_rows_record(rows, row);
    int64_t time_us = record == NULL ? 0 : record->time_us;
    if (time_us > group->time_us_max)
        group->time_us_max = time_us;
    group->row_count++;
    for (uint32_t i = 0; i < self->node->aggregate.aggregate_count; i++) {
        const struct data_column *filter = self->filters[i] == NULL ? NULL
                                                                    : self->filter_columns[i];
        if (filter != NULL &&
            (filter->type->kind == DATA_NULL || !filter->valid[row] || !filter->bools[row]))
            continue;
        engine_fold_add(&group->folds[i], &self->node->aggregate.aggregates[i],
                        self->arg_columns[i], row, flow->bound->settings.ansi);
    }
    return MR_OK;
}
static void write_keys(struct aggregate *self, uint16_t row)
{
    for (uint32_t i = 0; i < self->node->aggregate.key_count; i++)
        if (self->keys[i] != NULL)
            engine_key_write(&self->key, self->key_columns[i], row);
}
static mr_err fold_windows(struct aggregate *self, struct engine_rows *rows, uint16_t row)
{
    struct engine_flow *flow = self->op.flow;
    const struct sql_window *window = self->node->aggregate.window;
    const struct data_column *time = self->key_columns[window->key];
    if (time->type->kind == DATA_NULL || !time->valid[row])
        return MR_OK; /* as on Spark: no time, no window */
    struct engine_windows windows = engine_window_of(window, time->longs[row]);
    mr_buf_clear(&self->key);
    mr_buf_le64(&self->key, 0);
    write_keys(self, row);
    for (int64_t i = 0; i < windows.count; i++) {
        int64_t start = windows.first - i * window->slide_us, end = start + window->size_us;
        if (self->watermarked && end <= flow->watermark_us) {
            flow->late++;
            continue;
        }
        memcpy(self->key.data, &start, sizeof(start));
        mr_err err = fold_row(self, rows, row, end);
        if (err != MR_OK)
            return err;
    }
    return MR_OK;
}
static mr_err aggregate_push(struct engine_op *op, struct engine_rows *rows)
{
    struct aggregate *self = mr_container(op, struct aggregate, op);
    mr_err err = MR_OK;
    eval_all(self, rows);
    for (uint16_t i = 0; i < rows->chunk->row_count && err == MR_OK; i++) {
        uint16_t row = rows->chunk->rows[i];
        if (self->time != NULL) {
            err = fold_windows(self, rows, row);
        } else {
            mr_buf_clear(&self->key);
            write_keys(self, row);
            err = fold_row(self, rows, row, ENGINE_NO_TIME);
        }
    }
    return err;
}

/* ---- groups out ---- */
static void read_window(const struct sql_window *window, struct mr_in *in,
                        struct data_column *column, uint32_t row)
{
    int64_t start = (int64_t)mr_in_le64(in);
    column->valid[row] = 1;
    column->fields[0]->valid[row] = column->fields[1]->valid[row] = 1;
    column->fields[0]->longs[row] = start;
    column->fields[1]->longs[row] = start + window->size_us;
}
static mr_err emit_groups(struct aggregate *self, struct engine_group *const *groups,
                          uint16_t count)
{
    const struct sql_node *node = self->node;
    uint32_t key_count = node->aggregate.key_count;
    struct data_chunk *chunk = data_chunk_new(&self->arena, node->row->field_count);
    struct engine_rows rows = {.chunk = chunk};
    rows.times = mr_arena_array(&self->arena, int64_t, count);
    for (uint32_t i = 0; i < node->row->field_count; i++)
        chunk->columns[i] = data_column_new(&self->arena, node->row->fields[i].type, count);
    data_chunk_all_rows(chunk, count);
    for (uint16_t row = 0; row < count; row++) {
        const struct engine_group *group = groups[row];
        struct mr_in in = mr_in_str(engine_groups_key(self->op.flow->groups, group));
        if (node->aggregate.window != NULL)
            read_window(node->aggregate.window, &in, chunk->columns[node->aggregate.window->key],
                        row);
        for (uint32_t i = 0; i < key_count; i++)
            if (self->keys[i] != NULL)
                engine_key_read(&in, &self->arena, chunk->columns[i], row);
        for (uint32_t i = 0; i < node->aggregate.aggregate_count; i++)
            engine_fold_result(&group->folds[i], &node->aggregate.aggregates[i], &self->arena,
                               chunk->columns[key_count + i], row);
        if (in.err != MR_OK)
            return mr_fail(MR_CORRUPT, "state of a group: its key is of another query");
        rows.times[row] = group->time_us_max + group->row_count;
    }
    mr_err err = engine_emit(&self->op, &rows);
    mr_arena_reset(&self->arena);
    return err;
}
static mr_err aggregate_watermark(struct engine_op *op, int64_t watermark_us)
{
    struct aggregate *self = mr_container(op, struct aggregate, op);
    struct engine_groups *groups = op->flow->groups;
    struct engine_group *closed[DATA_CHUNK_ROWS];
    size_t count;
    mr_err err = MR_OK;
    if (!self->watermarked)
        return engine_pass_watermark(op, watermark_us);
    while (err == MR_OK &&
           (count = engine_groups_close(groups, watermark_us, closed, DATA_CHUNK_ROWS)) > 0) {
        if (self->append)
            err = emit_groups(self, closed, (uint16_t)count);
        for (size_t i = 0; i < count; i++)
            engine_groups_release(groups, closed[i]);
    }
    return err != MR_OK ? err : engine_pass_watermark(op, watermark_us);
}
static mr_err aggregate_checkpoint(struct engine_op *op)
{
    struct aggregate *self = mr_container(op, struct aggregate, op);
    size_t count;
    struct engine_group *const *dirty = engine_groups_dirty(op->flow->groups, &count);
    for (size_t at = 0; at < count && !self->append; at += DATA_CHUNK_ROWS) {
        size_t piece = count - at < DATA_CHUNK_ROWS ? count - at : DATA_CHUNK_ROWS;
        mr_err err = emit_groups(self, dirty + at, (uint16_t)piece);
        if (err != MR_OK)
            return err;
    }
    return engine_no_state(op);
}

/* ---- making ---- */
static void aggregate_free(struct engine_op *op)
{
    struct aggregate *self = mr_container(op, struct aggregate, op);
    for (uint32_t i = 0; i < self->node->aggregate.key_count; i++)
        engine_eval_free(self->keys[i]);
    for (uint32_t i = 0; i < self->node->aggregate.aggregate_count; i++) {
        for (uint32_t j = 0; j < self->node->aggregate.aggregates[i].arg_count; j++)
            engine_eval_free(self->args[i][j]);
        engine_eval_free(self->filters[i]);
        mr_free(self->args[i]);
        mr_free(self->arg_columns[i]);
    }
    engine_eval_free(self->time);
    mr_free(self->keys);
    mr_free(self->args);
    mr_free(self->filters);
    mr_free(self->key_columns);
    mr_free(self->arg_columns);
    mr_free(self->filter_columns);
    mr_buf_fini(&self->key);
    mr_arena_fini(&self->arena);
    mr_free(self);
}
const struct engine_op_type engine_aggregate = {
    .name = "aggregate",
    .push = aggregate_push,
    .watermark = aggregate_watermark,
    .checkpoint = aggregate_checkpoint,
    .free = aggregate_free,
};
static mr_err make_evals(struct aggregate *self, const struct sql_settings *settings)
{
    const struct sql_node *node = self->node;
    mr_err err = MR_OK;
    for (uint32_t i = 0; i < node->aggregate.key_count && err == MR_OK; i++)
        if (node->aggregate.keys[i] != NULL)
            err = engine_eval_new(node->aggregate.keys[i], settings, &self->keys[i]);
    for (uint32_t i = 0; i < node->aggregate.aggregate_count; i++) {
        const struct sql_aggregate *aggregate = &node->aggregate.aggregates[i];
        self->args[i] = mr_new_array(struct engine_eval *, aggregate->arg_count);
        self->arg_columns[i] = mr_new_array(const struct data_column *, aggregate->arg_count);
        for (uint32_t j = 0; j < aggregate->arg_count && err == MR_OK; j++)
            err = engine_eval_new(aggregate->args[j], settings, &self->args[i][j]);
        if (aggregate->filter != NULL && err == MR_OK)
            err = engine_eval_new(aggregate->filter, settings, &self->filters[i]);
    }
    if (node->aggregate.window != NULL && err == MR_OK)
        err = engine_eval_new(node->aggregate.window->time, settings, &self->time);
    return err;
}
mr_err engine_aggregate_new(struct engine_flow *flow, const struct sql_node *node,
                            struct engine_op **out)
{
    struct aggregate *self = mr_new(struct aggregate);
    uint32_t key_count = node->aggregate.key_count, count = node->aggregate.aggregate_count;
    const struct sql_window *window = node->aggregate.window;
    self->op.type = &engine_aggregate;
    self->node = node;
    self->append = flow->bound->spec->mode == ENGINE_APPEND;
    self->watermarked = window != NULL && flow->bound->watermark_column >= 0 &&
                        window->scan_column == flow->bound->watermark_column;
    self->keys = mr_new_array(struct engine_eval *, key_count);
    self->key_columns = mr_new_array(const struct data_column *, key_count);
    self->args = mr_new_array(struct engine_eval **, count);
    self->arg_columns = mr_new_array(const struct data_column **, count);
    self->filters = mr_new_array(struct engine_eval *, count);
    self->filter_columns = mr_new_array(const struct data_column *, count);
    mr_err err = make_evals(self, &flow->bound->settings);
    if (err != MR_OK) {
        aggregate_free(&self->op);
        return err;
    }
    flow->groups = engine_groups_new(count);
    flow->tables_after = self->watermarked && !self->append;
    *out = &self->op;
    return MR_OK;
}
