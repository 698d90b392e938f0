/* engine/stateless.c: the operators that keep nothing between chunks: filter, project, generate. None of
 * them moves a row: a chunk lists its live rows, and a filter only shortens that list. A row whose
 * evaluation fails goes to the dead letters and leaves the chunk. */
#include "engine/flow.h"

/* ---- filter: keeps the rows for which a predicate holds ---- */
struct filter {
    struct engine_op op;
    struct engine_eval *predicate;
};
static uint16_t keep_true(const struct data_column *verdict, uint16_t *rows, uint16_t count)
{
    uint16_t kept = 0;
    for (uint16_t i = 0; i < count; i++) {
        uint16_t row = rows[i];
        rows[kept] = row; /* kept <= i: never runs ahead */
        kept = (uint16_t)(kept +
                          (verdict->bools[row] & verdict->valid[row])); /* NULL is not true */
    }
    return kept;
}
static mr_err filter_push(struct engine_op *op, struct engine_rows *rows)
{
    struct filter *filter = mr_container(op, struct filter, op);
    struct engine_flow *flow = op->flow;
    struct data_chunk *chunk = rows->chunk;
    engine_rows_bad_begin(&flow->bad, flow->now_us);
    const struct data_column *verdict = engine_eval(filter->predicate, chunk, &flow->bad);
    engine_flow_bury(flow, rows);
    if (verdict->type->kind == DATA_NULL)
        return MR_OK;
    chunk->row_count = keep_true(verdict, chunk->rows, chunk->row_count);
    return engine_emit(op, rows);
}
static void filter_free(struct engine_op *op)
{
    struct filter *filter = mr_container(op, struct filter, op);
    engine_eval_free(filter->predicate);
    mr_free(filter);
}
const struct engine_op_type engine_filter = {
    .name = "filter",
    .push = filter_push,
    .watermark = engine_pass_watermark,
    .checkpoint = engine_no_state,
    .free = filter_free,
};
mr_err engine_filter_new(const struct engine_flow *flow, const struct sql_node *node,
                         struct engine_op **out)
{
    struct filter *filter = mr_new(struct filter);
    filter->op.type = &engine_filter;
    mr_err err = engine_eval_new(node->filter.predicate, &flow->bound->settings,
                                 &filter->predicate);
    if (err != MR_OK) {
        filter_free(&filter->op);
        return err;
    }
    *out = &filter->op;
    return MR_OK;
}

/* ---- project: one column an expression ---- */
struct project {
    struct engine_op op;
    uint32_t count;
    struct engine_eval **exprs;
};
static mr_err project_push(struct engine_op *op, struct engine_rows *rows)
{
    struct project *project = mr_container(op, struct project, op);
    struct engine_flow *flow = op->flow;
    struct data_chunk *from = rows->chunk;
    struct data_chunk *chunk = data_chunk_new(from->arena, project->count);
    engine_rows_bad_begin(&flow->bad, flow->now_us);
    for (uint32_t i = 0; i < project->count;
         i++) /* read only from here on, as the chunk's owner knows */
        chunk->columns[i] = (struct data_column *)(uintptr_t)engine_eval(project->exprs[i], from,
                                                                         &flow->bad);
    engine_flow_bury(flow, rows);
    chunk->count = from->count;
    chunk->rows = from->rows;
    chunk->row_count = from->row_count;
    struct engine_rows projected = *rows;
    projected.chunk = chunk;
    return engine_emit(op, &projected);
}
static void project_free(struct engine_op *op)
{
    struct project *project = mr_container(op, struct project, op);
    for (uint32_t i = 0; i < project->count; i++)
        engine_eval_free(project->exprs[i]);
    mr_free(project->exprs);
    mr_free(project);
}
const struct engine_op_type engine_project = {
    .name = "project",
    .push = project_push,
    .watermark = engine_pass_watermark,
    .checkpoint = engine_no_state,
    .free = project_free,
};
mr_err engine_project_new(const struct engine_flow *flow, const struct sql_node *node,
                          struct engine_op **out)
{
    struct project *project = mr_new(struct project);
    project->op.type = &engine_project;
    project->count = node->row->field_count;
    project->exprs = mr_new_array(struct engine_eval *, project->count);
    for (uint32_t i = 0; i < project->count; i++) {
        mr_err err = engine_eval_new(node->project.exprs[i], &flow->bound->settings,
                                     &project->exprs[i]);
        if (err != MR_OK) {
            project_free(&project->op);
            return err;
        }
    }
    *out = &project->op;
    return MR_OK;
}

/* ---- generate: one row an element of a list ---- */
struct generate {
    struct engine_op op;
    struct engine_eval *list;
    bool outer, position;
};
/* Which record each unfolded row is of. The rows come in order, so a walk over the lists finds them:
 * a list of n elements gives n rows, an empty one gives one row when `outer`, else none. */
struct walk {
    uint16_t live;
    uint32_t element;
};
static uint32_t rows_of(const struct generate *generate, const struct data_column *list,
                        uint16_t row)
{
    uint32_t length = list->valid[row] ? list->lengths[row] : 0;
    return length == 0 && generate->outer ? 1 : length;
}
static const uint16_t *walk_sources(const struct generate *generate, struct walk *walk,
                                    const struct data_chunk *chunk, const struct data_column *list,
                                    const struct data_chunk *piece)
{
    uint16_t *sources = mr_arena_alloc(chunk->arena, sizeof(uint16_t) * (piece->count + 1));
    for (uint32_t i = 0; i < piece->count; i++) {
        while (walk->element >= rows_of(generate, list, chunk->rows[walk->live])) {
            walk->live++;
            walk->element = 0;
            mr_assert(walk->live < chunk->row_count);
        }
        sources[i] = chunk->rows[walk->live];
        walk->element++;
    }
    return sources;
}
/* What is known by row of the list's rows, by row of the unfolded ones. */
static void follow_sources(struct engine_rows *unfolded, const struct engine_rows *rows,
                           const uint16_t *sources)
{
    struct mr_arena *arena = unfolded->chunk->arena;
    uint32_t count = unfolded->chunk->count;
    if (rows->records != NULL) {
        uint16_t *origins = mr_arena_alloc(arena, sizeof(uint16_t) * (count + 1));
        for (uint32_t i = 0; i < count; i++)
            origins[i] = rows->origins == NULL ? sources[i] : rows->origins[sources[i]];
        unfolded->origins = origins;
    }
    if (rows->times != NULL) {
        unfolded->times = mr_arena_array(arena, int64_t, count);
        for (uint32_t i = 0; i < count; i++)
            unfolded->times[i] = rows->times[sources[i]];
    }
}
static mr_err generate_push(struct engine_op *op, struct engine_rows *rows)
{
    struct generate *generate = mr_container(op, struct generate, op);
    struct engine_flow *flow = op->flow;
    engine_rows_bad_begin(&flow->bad, flow->now_us);
    const struct data_column *list = engine_eval(generate->list, rows->chunk, &flow->bad);
    engine_flow_bury(flow, rows);
    struct engine_unfold at = {0};
    struct walk walk = {0};
    struct data_chunk *piece;
    while ((piece = engine_unfold_next(&at, rows->chunk, list, generate->outer,
                                       generate->position)) != NULL) {
        struct engine_rows unfolded = *rows;
        unfolded.chunk = piece;
        follow_sources(&unfolded, rows, walk_sources(generate, &walk, rows->chunk, list, piece));
        mr_err err = engine_emit(op, &unfolded);
        if (err != MR_OK)
            return err;
    }
    return MR_OK;
}
static void generate_free(struct engine_op *op)
{
    struct generate *generate = mr_container(op, struct generate, op);
    engine_eval_free(generate->list);
    mr_free(generate);
}
const struct engine_op_type engine_generate = {
    .name = "generate",
    .push = generate_push,
    .watermark = engine_pass_watermark,
    .checkpoint = engine_no_state,
    .free = generate_free,
};
mr_err engine_generate_new(const struct engine_flow *flow, const struct sql_node *node,
                           struct engine_op **out)
{
    struct generate *generate = mr_new(struct generate);
    generate->op.type = &engine_generate;
    generate->outer = node->generate.outer;
    generate->position = node->generate.position;
    mr_err err = engine_eval_new(node->generate.list, &flow->bound->settings, &generate->list);
    if (err != MR_OK) {
        generate_free(&generate->op);
        return err;
    }
    *out = &generate->op;
    return MR_OK;
}
