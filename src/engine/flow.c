/* engine/flow.c: hides how a plan becomes a chain of operators, and how a batch goes through it.
 *
 * The plan's nodes lie from the root down to the scan; the chain runs the other way, so it is built
 * from its end. An error that an operator returns is the world's trouble with the whole batch (a limit,
 * a broken connection): the batch is then given up. What is wrong with one row goes to the outlet's
 * dead letters and stops nothing. */
#include "engine/flow.h"
#include "engine/groups.h"

mr_err engine_pass_watermark(struct engine_op *op, int64_t watermark_us)
{
    return op->next == NULL ? MR_OK : op->next->type->watermark(op->next, watermark_us);
}
mr_err engine_no_state(struct engine_op *op)
{
    return op->next == NULL ? MR_OK : op->next->type->checkpoint(op->next);
}
mr_err engine_emit(struct engine_op *op, struct engine_rows *rows)
{
    if (rows->chunk->row_count == 0)
        return MR_OK;
    if (op->next != NULL)
        return op->next->type->push(op->next, rows);
    return op->flow->outlet.rows(op->flow->outlet.self, rows);
}
void engine_flow_bury(struct engine_flow *flow, struct engine_rows *rows)
{
    if (flow->bad.count == 0)
        return;
    const struct data_chunk *chunk = rows->chunk;
    for (uint16_t i = 0; i < chunk->row_count; i++) {
        uint16_t row = chunk->rows[i];
        if (flow->bad.bad[row])
            flow->outlet.dead(flow->outlet.self, rows, row, "evaluation", flow->bad.why[row]);
    }
    engine_rows_bad_drop(&flow->bad, rows->chunk);
}

/* ---- building ---- */
static mr_err op_new(struct engine_flow *flow, const struct sql_node *node, struct engine_op **out)
{
    switch (node->kind) {
    case SQL_NODE_FILTER:
        return engine_filter_new(flow, node, out);
    case SQL_NODE_PROJECT:
        return engine_project_new(flow, node, out);
    case SQL_NODE_GENERATE:
        return engine_generate_new(flow, node, out);
    case SQL_NODE_AGGREGATE:
        return engine_aggregate_new(flow, node, out);
    case SQL_NODE_SCAN:
    case SQL_NODE_VALUES:
        break;
    }
    return mr_fail(MR_UNSUPPORTED, "a stream has no rows of constants");
}
static void ops_free(struct engine_op *op)
{
    while (op != NULL) {
        struct engine_op *next = op->next;
        op->type->free(op);
        op = next;
    }
}
void engine_flow_free(struct engine_flow *flow)
{
    if (flow == NULL)
        return;
    ops_free(flow->first);
    engine_groups_free(flow->groups);
    mr_free(flow);
}
mr_err engine_flow_new(const struct engine_bound *bound, const struct engine_outlet *outlet,
                       struct engine_flow **out)
{
    struct engine_flow *flow = mr_new(struct engine_flow);
    flow->bound = bound;
    flow->outlet = *outlet;
    flow->watermark_us = flow->event_us_max = ENGINE_NO_TIME;
    for (const struct sql_node *node = bound->plan->root; node->kind != SQL_NODE_SCAN;
         node = node->input) {
        struct engine_op *op = NULL;
        mr_err err = op_new(flow, node, &op);
        if (err != MR_OK) {
            engine_flow_free(flow);
            return err;
        }
        op->next = flow->first;
        op->flow = flow;
        flow->first = op;
    }
    *out = flow;
    return MR_OK;
}

/* ---- a batch ---- */
mr_err engine_flow_begin(struct engine_flow *flow, int64_t now_us, int64_t watermark_us)
{
    flow->now_us = now_us;
    flow->watermark_us = watermark_us;
    if (flow->first == NULL || watermark_us == ENGINE_NO_TIME)
        return MR_OK;
    return flow->first->type->watermark(flow->first, watermark_us);
}
static int64_t times_max(const struct data_column *times, const struct data_chunk *chunk,
                         int64_t max)
{
    for (uint16_t i = 0; i < chunk->row_count; i++) {
        uint16_t row = chunk->rows[i];
        if (times->valid[row] && times->longs[row] > max)
            max = times->longs[row];
    }
    return max;
}
mr_err engine_flow_push(struct engine_flow *flow, struct engine_rows *rows)
{
    int32_t column = flow->bound->watermark_column;
    flow->event_us_max = ENGINE_NO_TIME;
    if (column >= 0 && rows->chunk->columns[column] != NULL)
        flow->event_us_max = times_max(rows->chunk->columns[column], rows->chunk,
                                       flow->event_us_max);
    if (flow->first == NULL)
        return flow->outlet.rows(flow->outlet.self, rows);
    return flow->first->type->push(flow->first, rows);
}
mr_err engine_flow_end(struct engine_flow *flow)
{
    return flow->first == NULL ? MR_OK : flow->first->type->checkpoint(flow->first);
}
mr_err engine_flow_again(struct engine_flow *flow, bool all)
{
    if (all)
        engine_groups_touch_all(flow->groups);
    mr_err err = engine_flow_end(flow);
    if (all)
        engine_groups_settle(flow->groups);
    return err;
}
int64_t engine_flow_watermark_next(const struct engine_flow *flow, int64_t event_us)
{
    int64_t delay = flow->bound->input->watermark_delay_us, next;
    if (event_us == ENGINE_NO_TIME || __builtin_sub_overflow(event_us, delay, &next))
        return flow->watermark_us;
    return next > flow->watermark_us ? next : flow->watermark_us;
}
