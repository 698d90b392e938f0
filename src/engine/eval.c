/* engine/eval.c: walks an expression over a chunk. A node's result is a column; which rows it is
 * asked for decides what may fail: AND, OR, CASE and COALESCE ask their later arguments only for the
 * rows that are still undecided. */
#include "engine/eval_call.h"

#include <stdarg.h>
#include <stdio.h>

struct eval_node {
    const struct sql_expr *expr;
    struct eval_node **args;
    bool *constants;       /* one an argument */
    engine_kernel *kernel; /* CALL, CAST */
    bool strict;
    const struct data_column *constant; /* DATA_CHUNK_ROWS equal rows, or NULL */
    struct engine_state *state;
};
struct engine_eval {
    struct mr_arena arena;
    struct eval_node *root;
    bool ansi;
    MR_ARRAY(struct eval_node *) nodes;
};
/* One evaluation. */
struct run {
    struct mr_arena *arena;
    struct engine_rows_bad *bad;
    const struct data_chunk *chunk;
    bool ansi;
};

#define STRICT true
#define OWN false
static const struct {
    engine_kernel *kernel;
    bool strict;
} functions[] = {
#define FUNCTION(id, name, args, result, nulls, about) {engine_kernel_##id, nulls},
#define ALIAS(name, id)
#include "sql/functions.def"
};
#undef STRICT
#undef OWN

/* ---- bad rows ---- */
void engine_rows_bad_begin(struct engine_rows_bad *bad, int64_t now_us)
{
    if (bad->count > 0)
        memset(bad->bad, 0, sizeof bad->bad);
    bad->count = 0;
    bad->now_us = now_us;
}

void engine_rows_bad_drop(const struct engine_rows_bad *bad, struct data_chunk *chunk)
{
    uint16_t kept = 0;
    if (bad->count == 0)
        return;
    for (uint16_t i = 0; i < chunk->row_count; i++) {
        uint16_t row = chunk->rows[i];
        chunk->rows[kept] = row;
        kept = (uint16_t)(kept + !bad->bad[row]);
    }
    chunk->row_count = kept;
}

/* ---- what kernels call ---- */
void engine_call_fail(struct engine_call *call, uint32_t row, const char *format, ...)
{
    char sentence[512];
    va_list args;
    call->out->valid[row] = 0;
    if (call->bad->bad[row])
        return;
    va_start(args, format);
    vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    call->bad->bad[row] = 1;
    call->bad->count++;
    call->bad->why[row] = mr_arena_str(call->arena, mr_str_from(sentence));
}

char *engine_call_room(struct engine_call *call, size_t bytes)
{
    enum { PIECE = 16384 };
    if ((size_t)(call->text_end - call->text) < bytes || call->text == NULL) {
        size_t room = bytes > PIECE ? bytes : PIECE;
        call->text = mr_arena_alloc(call->arena, room);
        call->text_end = call->text + room;
    }
    return call->text;
}

mr_str engine_call_copy(struct engine_call *call, mr_str text)
{
    char *room = engine_call_room(call, text.length);
    if (text.length > 0)
        memcpy(room, text.data, text.length);
    return engine_call_text(call, text.length);
}

/* ---- choosing among columns ---- */
/* Puts rows of `from` into a column that is being chosen together. */
static void take_rows(struct data_column *out, const struct data_column *from, const uint16_t *rows,
                      uint32_t count)
{
    if (data_kind_bytes(out->type->kind) == sizeof(mr_str) && out->type->kind != DATA_DECIMAL) {
        for (uint32_t i = 0; i < count; i++) {
            out->valid[rows[i]] = from->valid[rows[i]];
            out->strs[rows[i]] = from->strs[rows[i]];
        }
        return;
    }
    for (uint32_t i = 0; i < count; i++)
        data_column_set(out, rows[i], from, rows[i]);
}

/* Which column each row takes its value from, for types with lists: they are built at the end. */
struct choice {
    struct data_column *out;
    const struct data_column **from; /* with lists only: one a row, NULL: a NULL row */
};

static struct choice choice_new(struct run *run, const struct data_type *type)
{
    struct choice choice = {0};
    if (data_type_has_lists(type))
        choice.from = mr_arena_array(run->arena, const struct data_column *, run->chunk->count);
    else
        choice.out = data_column_new(run->arena, type, run->chunk->count);
    return choice;
}

static void choice_take(struct choice *choice, const struct data_column *from, const uint16_t *rows,
                        uint32_t count)
{
    if (choice->from == NULL) {
        take_rows(choice->out, from, rows, count);
        return;
    }
    for (uint32_t i = 0; i < count; i++)
        choice->from[rows[i]] = from;
}

static const struct data_column *choice_end(struct run *run, struct choice *choice,
                                            const struct data_type *type)
{
    if (choice->from == NULL)
        return choice->out;
    struct data_builder *builder = data_builder_new(run->arena, type);
    for (uint32_t row = 0; row < run->chunk->count; row++) {
        if (choice->from[row] == NULL)
            data_builder_null(builder);
        else
            data_builder_copy(builder, choice->from[row], row);
    }
    return data_builder_take(builder);
}

/* ---- nodes ---- */
static const struct data_column *eval_node(struct run *run, struct eval_node *node,
                                           const uint16_t *rows, uint32_t count);

static uint16_t *copy_rows(struct run *run, const uint16_t *rows, uint32_t count)
{
    uint16_t *copy = mr_arena_alloc(run->arena, (count + 1) * sizeof(uint16_t));
    memcpy(copy, rows, count * sizeof(uint16_t));
    return copy;
}

/* AND goes on with the rows that are not false, OR with those that are not true. */
static const struct data_column *eval_logic(struct run *run, struct eval_node *node,
                                            const uint16_t *rows, uint32_t count)
{
    struct data_column *out = data_column_new(run->arena, &data_type_boolean, run->chunk->count);
    uint16_t *open = copy_rows(run, rows, count);
    uint8_t decided = node->expr->kind == SQL_EXPR_OR;
    for (uint32_t i = 0; i < count; i++) {
        out->valid[rows[i]] = 1;
        out->bools[rows[i]] = !decided;
    }
    for (uint32_t a = 0; a < node->expr->arg_count && count > 0; a++) {
        const struct data_column *arg = eval_node(run, node->args[a], open, count);
        uint32_t kept = 0;
        for (uint32_t i = 0; i < count; i++) {
            uint16_t row = open[i];
            if (arg->valid[row] && arg->bools[row] == decided) {
                out->valid[row] = 1;
                out->bools[row] = decided;
                continue;
            }
            if (!arg->valid[row]) {
                out->valid[row] = 0;
                out->bools[row] = 0;
            }
            open[kept++] = row;
        }
        count = kept;
    }
    return out;
}

static const struct data_column *eval_case(struct run *run, struct eval_node *node,
                                           const uint16_t *rows, uint32_t count)
{
    const struct sql_expr *expr = node->expr;
    struct choice choice = choice_new(run, expr->type);
    uint16_t *open = copy_rows(run, rows, count), *taken = copy_rows(run, rows, count);
    uint32_t arg = 0;
    for (; arg + 1 < expr->arg_count && count > 0; arg += 2) {
        const struct data_column *condition = eval_node(run, node->args[arg], open, count);
        uint32_t kept = 0, hits = 0;
        for (uint32_t i = 0; i < count; i++) {
            uint16_t row = open[i];
            if (condition->valid[row] && condition->bools[row])
                taken[hits++] = row;
            else
                open[kept++] = row;
        }
        if (hits > 0)
            choice_take(&choice, eval_node(run, node->args[arg + 1], taken, hits), taken, hits);
        count = kept;
    }
    if (expr->arg_count % 2 == 1 && count > 0)
        choice_take(&choice, eval_node(run, node->args[expr->arg_count - 1], open, count), open,
                    count);
    return choice_end(run, &choice, expr->type);
}

static const struct data_column *eval_coalesce(struct run *run, struct eval_node *node,
                                               const uint16_t *rows, uint32_t count)
{
    struct choice choice = choice_new(run, node->expr->type);
    uint16_t *open = copy_rows(run, rows, count);
    for (uint32_t arg = 0; arg < node->expr->arg_count && count > 0; arg++) {
        const struct data_column *value = eval_node(run, node->args[arg], open, count);
        uint32_t kept = 0;
        choice_take(&choice, value, open, count);
        for (uint32_t i = 0; i < count; i++) {
            uint16_t row = open[i];
            open[kept] = row;
            kept += !value->valid[row];
        }
        count = kept;
    }
    return choice_end(run, &choice, node->expr->type);
}

static const struct data_column *eval_field(struct run *run, struct eval_node *node,
                                            const uint16_t *rows, uint32_t count)
{
    const struct data_column *from = eval_node(run, node->args[0], rows, count);
    if (from->type->kind == DATA_STRUCT)
        return from->fields[node->expr->index];
    struct data_column *out = mr_arena_new(run->arena, struct data_column);
    *out = *from;
    out->type = node->expr->type;
    out->elements = from->elements == NULL ? NULL : from->elements->fields[node->expr->index];
    return out;
}

/* The rows in which no argument is NULL. */
static uint32_t rows_without_null(const struct engine_call *call, uint16_t *kept)
{
    uint32_t count = call->count;
    memcpy(kept, call->rows, count * sizeof(uint16_t));
    for (uint32_t a = 0; a < call->arg_count; a++) {
        const uint8_t *valid = call->args[a]->valid;
        uint32_t left = 0;
        for (uint32_t i = 0; i < count; i++) {
            uint16_t row = kept[i];
            kept[left] = row;
            left += valid[row];
        }
        count = left;
    }
    return count;
}

static const struct data_column *eval_call(struct run *run, struct eval_node *node,
                                           const uint16_t *rows, uint32_t count)
{
    const struct sql_expr *expr = node->expr;
    struct engine_call call = {.arena = run->arena,
                               .bad = run->bad,
                               .expr = expr,
                               .rows = rows,
                               .count = count,
                               .ansi = run->ansi,
                               .constant = node->constants,
                               .arg_count = expr->arg_count,
                               .state = &node->state};
    call.args = mr_arena_array(run->arena, const struct data_column *, expr->arg_count);
    for (uint32_t i = 0; i < expr->arg_count; i++)
        call.args[i] = eval_node(run, node->args[i], rows, count);
    call.out = data_column_new(run->arena, expr->type, run->chunk->count);
    if (node->strict) {
        uint16_t *kept = mr_arena_alloc(run->arena, (count + 1) * sizeof(uint16_t));
        call.count = rows_without_null(&call, kept);
        call.rows = kept;
        for (uint32_t i = 0; i < call.count; i++)
            call.out->valid[kept[i]] = 1;
    }
    if (call.count > 0 || data_type_has_lists(expr->type))
        node->kernel(&call);
    return call.out;
}

static const struct data_column *eval_node(struct run *run, struct eval_node *node,
                                           const uint16_t *rows, uint32_t count)
{
    if (node->constant != NULL)
        return node->constant;
    switch (node->expr->kind) {
    case SQL_EXPR_COLUMN:
        mr_assert(run->chunk->columns[node->expr->index] != NULL);
        return run->chunk->columns[node->expr->index];
    case SQL_EXPR_FIELD:
        return eval_field(run, node, rows, count);
    case SQL_EXPR_CALL:
    case SQL_EXPR_CAST:
        return eval_call(run, node, rows, count);
    case SQL_EXPR_AND:
    case SQL_EXPR_OR:
        return eval_logic(run, node, rows, count);
    case SQL_EXPR_CASE:
        return eval_case(run, node, rows, count);
    case SQL_EXPR_COALESCE:
        return eval_coalesce(run, node, rows, count);
    case SQL_EXPR_LITERAL:
        break;
    }
    mr_assert(node->constant != NULL);
    return node->constant;
}

/* ---- making ---- */
static const struct data_column *broadcast(struct mr_arena *arena, const struct data_column *value)
{
    static const uint32_t zeros[DATA_CHUNK_ROWS];
    return data_column_gather(arena, value, zeros, DATA_CHUNK_ROWS);
}

static bool may_fold(const struct eval_node *node)
{
    const struct sql_expr *expr = node->expr;
    if (expr->kind == SQL_EXPR_COLUMN)
        return false;
    for (uint32_t i = 0; i < expr->arg_count; i++)
        if (node->args[i]->constant == NULL)
            return false;
    if (expr->kind != SQL_EXPR_CALL)
        return true;
    return expr->function != SQL_FN_current_timestamp && expr->function != SQL_FN_current_date &&
           expr->function != SQL_FN_raise_error && expr->function != SQL_FN_assert_true &&
           !(expr->function == SQL_FN_unix_timestamp && expr->arg_count == 0);
}

/* Evaluates once what has the same value in every row; what fails is left to fail in its rows. */
static void fold(struct engine_eval *eval, struct eval_node *node, bool single)
{
    static const uint16_t first[1];
    struct engine_rows_bad *bad = mr_new(struct engine_rows_bad);
    struct data_chunk *chunk = data_chunk_new(&eval->arena, 0);
    struct run run = {.arena = &eval->arena, .bad = bad, .chunk = chunk, .ansi = eval->ansi};
    data_chunk_all_rows(chunk, 1);
    const struct data_column *value = eval_node(&run, node, first, 1);
    if (bad->count == 0)
        node->constant = single ? value : broadcast(&eval->arena, value);
    mr_free(bad);
}

static bool is_regex(const struct sql_expr *expr)
{
    return expr->kind == SQL_EXPR_CALL &&
           (expr->function == SQL_FN_rlike || expr->function == SQL_FN_regexp_replace ||
            expr->function == SQL_FN_regexp_extract ||
            expr->function == SQL_FN_regexp_extract_all || expr->function == SQL_FN_regexp_count ||
            expr->function == SQL_FN_split);
}

static mr_err check_pattern(const struct eval_node *node)
{
    if (!is_regex(node->expr) || node->args[1]->constant == NULL ||
        !node->args[1]->constant->valid[0])
        return MR_OK;
    return engine_regex_check(node->args[1]->constant->strs[0]);
}

/* `single`: a constant stays one row; the node above knows. */
static mr_err new_node(struct engine_eval *eval, const struct sql_expr *expr, bool single,
                       struct eval_node **out)
{
    struct eval_node *node = mr_arena_new(&eval->arena, struct eval_node);
    bool in_list = expr->kind == SQL_EXPR_CALL && expr->function == SQL_FN_in_list;
    mr_err err = MR_OK;
    *mr_array_add(&eval->nodes) = node;
    node->expr = expr;
    node->args = mr_arena_array(&eval->arena, struct eval_node *, expr->arg_count);
    node->constants = mr_arena_array(&eval->arena, bool, expr->arg_count);
    for (uint32_t i = 0; i < expr->arg_count && err == MR_OK; i++) {
        err = new_node(eval, expr->args[i], in_list && i > 0, &node->args[i]);
        node->constants[i] = err == MR_OK && node->args[i]->constant != NULL;
    }
    if (err == MR_OK)
        err = check_pattern(node);
    if (err != MR_OK)
        return err;
    if (expr->kind == SQL_EXPR_CALL) {
        node->kernel = functions[expr->function].kernel;
        node->strict = functions[expr->function].strict;
    } else if (expr->kind == SQL_EXPR_CAST) {
        node->kernel = engine_cast;
        node->strict = true;
    }
    if (expr->kind == SQL_EXPR_LITERAL)
        node->constant = single ? expr->literal : broadcast(&eval->arena, expr->literal);
    else if (may_fold(node))
        fold(eval, node, single);
    *out = node;
    return MR_OK;
}

mr_err engine_eval_new(const struct sql_expr *expr, const struct sql_settings *settings,
                       struct engine_eval **out)
{
    struct engine_eval *eval = mr_new(struct engine_eval);
    mr_arena_init(&eval->arena);
    eval->ansi = settings->ansi;
    mr_err err = new_node(eval, expr, false, &eval->root);
    if (err != MR_OK) {
        engine_eval_free(eval);
        return err;
    }
    *out = eval;
    return MR_OK;
}

void engine_eval_free(struct engine_eval *eval)
{
    if (eval == NULL)
        return;
    for (size_t i = 0; i < eval->nodes.count; i++)
        if (eval->nodes.items[i]->state != NULL)
            eval->nodes.items[i]->state->free(eval->nodes.items[i]->state);
    mr_array_fini(&eval->nodes);
    mr_arena_fini(&eval->arena);
    mr_free(eval);
}

const struct data_column *engine_eval(struct engine_eval *eval, const struct data_chunk *chunk,
                                      struct engine_rows_bad *bad)
{
    struct run run = {.arena = chunk->arena, .bad = bad, .chunk = chunk, .ansi = eval->ansi};
    mr_assert(chunk->count <= DATA_CHUNK_ROWS);
    return eval_node(&run, eval->root, chunk->rows, chunk->row_count);
}
