/* sql/exprs.c: expressions get their meaning: names become columns and fields, calls find their
 * function, aggregates and grouping keys become columns of the grouping's result. */
#include "sql/bind.h"

/* ---- making ---- */
struct sql_expr *sql_exprs_new(struct sql_binder *b, enum sql_expr_kind kind,
                               const struct data_type *type, uint32_t arg_count,
                               const struct sql_ast *place)
{
    struct sql_expr *expr = mr_arena_new(b->arena, struct sql_expr);
    expr->kind = kind;
    expr->type = type;
    expr->nullable = true;
    expr->arg_count = arg_count;
    expr->args = mr_arena_array(b->arena, struct sql_expr *, arg_count);
    expr->line = place->line;
    expr->column = place->column;
    return expr;
}

struct sql_expr *sql_exprs_literal(struct sql_binder *b, const struct data_type *type,
                                   const struct sql_ast *place, struct data_column **value)
{
    struct sql_expr *expr = sql_exprs_new(b, SQL_EXPR_LITERAL, type, 0, place);
    *value = data_column_new(b->arena, type, 1);
    expr->literal = *value;
    return expr;
}

static struct sql_expr *nothing(struct sql_binder *b, const struct sql_ast *place)
{
    struct data_column *value;
    return sql_exprs_literal(b, &data_type_null, place, &value);
}

struct sql_expr *sql_exprs_call(struct sql_binder *b, enum sql_function function,
                                const struct sql_ast *place, struct sql_expr **args,
                                uint32_t arg_count)
{
    struct sql_expr *call = sql_exprs_new(b, SQL_EXPR_CALL, &data_type_null, arg_count, place);
    const struct sql_function_row *row = sql_rules_row(function);
    call->function = function;
    if (arg_count > 0)
        memcpy(call->args, args, arg_count * sizeof(*args));
    if (b->err == MR_OK)
        sql_rules_apply(b, call, row->args, row->result);
    call->nullable = !row->strict;
    for (uint32_t i = 0; i < call->arg_count; i++)
        call->nullable = call->nullable || call->args[i]->nullable;
    return call;
}

/* ---- looking ---- */
bool sql_exprs_text(const struct sql_expr *expr, mr_str *out)
{
    if (expr->kind != SQL_EXPR_LITERAL || expr->type->kind != DATA_STRING ||
        !expr->literal->valid[0])
        return false;
    *out = expr->literal->strs[0];
    return true;
}

bool sql_exprs_whole(const struct sql_expr *expr, int64_t *out)
{
    if (expr->kind == SQL_EXPR_CAST && data_kind_is_whole(expr->type->kind))
        return sql_exprs_whole(expr->args[0], out);
    if (expr->kind == SQL_EXPR_CALL && expr->function == SQL_FN_negative &&
        sql_exprs_whole(expr->args[0], out)) {
        *out = -*out;
        return true;
    }
    if (expr->kind != SQL_EXPR_LITERAL || !expr->literal->valid[0])
        return false;
    if (expr->type->kind == DATA_BYTE)
        *out = expr->literal->bytes[0];
    else if (expr->type->kind == DATA_SHORT)
        *out = expr->literal->shorts[0];
    else if (expr->type->kind == DATA_INT)
        *out = expr->literal->ints[0];
    else if (expr->type->kind == DATA_LONG)
        *out = expr->literal->longs[0];
    else
        return false;
    return true;
}

bool sql_exprs_equal(const struct sql_expr *a, const struct sql_expr *b)
{
    if (a == b)
        return true;
    if (a->kind != b->kind || a->index != b->index || a->arg_count != b->arg_count ||
        a->function != b->function || a->safe != b->safe || !data_type_equal(a->type, b->type))
        return false;
    if (a->kind == SQL_EXPR_LITERAL && data_value_compare(a->literal, 0, b->literal, 0) != 0)
        return false;
    for (uint32_t i = 0; i < a->arg_count; i++)
        if (!sql_exprs_equal(a->args[i], b->args[i]))
            return false;
    return true;
}

/* ---- aggregates ---- */
static const struct {
    const char *name;
    enum sql_aggregate_kind kind;
} aggregate_names[] = {
    {"count", SQL_AGGREGATE_COUNT},       {"count_if", SQL_AGGREGATE_COUNT},
    {"sum", SQL_AGGREGATE_SUM},           {"avg", SQL_AGGREGATE_AVG},
    {"mean", SQL_AGGREGATE_AVG},          {"min", SQL_AGGREGATE_MIN},
    {"max", SQL_AGGREGATE_MAX},           {"first", SQL_AGGREGATE_FIRST},
    {"first_value", SQL_AGGREGATE_FIRST}, {"any_value", SQL_AGGREGATE_FIRST},
    {"last", SQL_AGGREGATE_LAST},         {"last_value", SQL_AGGREGATE_LAST},
    {"bool_and", SQL_AGGREGATE_BOOL_AND}, {"every", SQL_AGGREGATE_BOOL_AND},
    {"bool_or", SQL_AGGREGATE_BOOL_OR},   {"some", SQL_AGGREGATE_BOOL_OR},
    {"any", SQL_AGGREGATE_BOOL_OR},
};

/* Spark's other aggregates, so that the sentence can say so. */
static const char *const aggregates_missing[] = {"approx_count_distinct",
                                                 "approx_percentile",
                                                 "array_agg",
                                                 "bit_and",
                                                 "bit_or",
                                                 "bit_xor",
                                                 "collect_list",
                                                 "collect_set",
                                                 "corr",
                                                 "covar_pop",
                                                 "covar_samp",
                                                 "histogram_numeric",
                                                 "kurtosis",
                                                 "listagg",
                                                 "max_by",
                                                 "median",
                                                 "min_by",
                                                 "mode",
                                                 "percentile",
                                                 "percentile_approx",
                                                 "skewness",
                                                 "std",
                                                 "stddev",
                                                 "stddev_pop",
                                                 "stddev_samp",
                                                 "try_avg",
                                                 "try_sum",
                                                 "var_pop",
                                                 "var_samp",
                                                 "variance",
                                                 "grouping",
                                                 "regr_count",
                                                 "regr_slope"};

static int find_aggregate(mr_str name)
{
    for (size_t i = 0; i < mr_count_of(aggregate_names); i++)
        if (mr_str_equal(name, mr_str_from(aggregate_names[i].name)))
            return (int)i;
    return -1;
}

bool sql_exprs_has_aggregate(const struct sql_ast *ast)
{
    if (ast->kind == SQL_AST_CALL && !ast->is_operator && find_aggregate(ast->name) >= 0)
        return true;
    for (uint32_t i = 0; i < ast->arg_count; i++)
        if (sql_exprs_has_aggregate(ast->args[i]))
            return true;
    return false;
}

static struct sql_expr *coerce_arg(struct sql_binder *b, const struct sql_ast *ast,
                                   struct sql_expr *arg, const struct data_type *type,
                                   const char *expected)
{
    if (!sql_coerce_implicit(arg->type, type))
        sql_binder_fail(b, MR_INVALID, arg->line, arg->column, "%.*s: expected %s, found %.*s",
                        MR_STR_ARG(ast->name), expected,
                        MR_STR_ARG(sql_binder_type_text(b, arg->type)));
    return sql_coerce_to(b, arg, type);
}

/* sum and avg: whole numbers add up in BIGINT, decimals keep their digits, all else is DOUBLE. */
static void type_sum(struct sql_binder *b, const struct sql_ast *ast,
                     struct sql_aggregate *aggregate)
{
    const struct data_type *type = aggregate->args[0]->type;
    bool average = aggregate->kind == SQL_AGGREGATE_AVG;
    if (type->kind == DATA_DECIMAL) {
        int more = average ? 4 : 10;
        aggregate->type = sql_coerce_bounded(b, type->precision + more,
                                             type->scale + (average ? 4 : 0));
        return;
    }
    const struct data_type *wanted = &data_type_double;
    if (data_kind_is_whole(type->kind))
        wanted = &data_type_long;
    if (type->kind != DATA_STRING && type->kind != DATA_NULL && !data_kind_is_number(type->kind))
        sql_binder_fail(b, MR_INVALID, aggregate->args[0]->line, aggregate->args[0]->column,
                        "%.*s: expected a number, found %.*s", MR_STR_ARG(ast->name),
                        MR_STR_ARG(sql_binder_type_text(b, type)));
    aggregate->args[0] = sql_coerce_to(b, aggregate->args[0], wanted);
    aggregate->type = average ? &data_type_double : wanted;
}

static void type_aggregate(struct sql_binder *b, const struct sql_ast *ast,
                           struct sql_aggregate *aggregate)
{
    switch (aggregate->kind) {
    case SQL_AGGREGATE_COUNT:
        aggregate->type = &data_type_long;
        return;
    case SQL_AGGREGATE_SUM:
    case SQL_AGGREGATE_AVG:
        type_sum(b, ast, aggregate);
        return;
    case SQL_AGGREGATE_BOOL_AND:
    case SQL_AGGREGATE_BOOL_OR:
        aggregate->args[0] = coerce_arg(b, ast, aggregate->args[0], &data_type_boolean, "BOOLEAN");
        aggregate->type = &data_type_boolean;
        return;
    case SQL_AGGREGATE_MIN:
    case SQL_AGGREGATE_MAX:
    case SQL_AGGREGATE_FIRST:
    case SQL_AGGREGATE_LAST:
        aggregate->type = aggregate->args[0]->type;
        if (data_type_has_lists(aggregate->type) || aggregate->type->kind == DATA_STRUCT)
            sql_binder_fail(b, MR_UNSUPPORTED, ast->line, ast->column,
                            "%.*s of %.*s is not there; take its fields one by one",
                            MR_STR_ARG(ast->name),
                            MR_STR_ARG(sql_binder_type_text(b, aggregate->type)));
        return;
    }
}

static bool aggregate_equal(const struct sql_aggregate *a, const struct sql_aggregate *c)
{
    if (a->kind != c->kind || a->arg_count != c->arg_count || a->ignore_nulls != c->ignore_nulls ||
        (a->filter == NULL) != (c->filter == NULL) ||
        (a->filter != NULL && !sql_exprs_equal(a->filter, c->filter)))
        return false;
    for (uint32_t i = 0; i < a->arg_count; i++)
        if (!sql_exprs_equal(a->args[i], c->args[i]))
            return false;
    return true;
}

/* Checks what cannot be had, before anything is bound. */
static void check_aggregate(struct sql_binder *b, const struct sql_ast *ast, uint32_t arg_count)
{
    bool many = mr_str_equal(ast->name, MR_STR("count"));
    if (b->groups == NULL)
        sql_binder_fail(b, MR_INVALID, ast->line, ast->column,
                        "%.*s: an aggregate has no place here, inside another one, in WHERE or in "
                        "GROUP BY",
                        MR_STR_ARG(ast->name));
    if (ast->distinct)
        sql_binder_fail(b, MR_UNSUPPORTED, ast->line, ast->column,
                        "%.*s(DISTINCT ...) would keep every value of a stream; group by the value "
                        "first, then count the groups",
                        MR_STR_ARG(ast->name));
    if (arg_count == 0 || (arg_count > 1 && !many))
        sql_binder_fail(b, MR_INVALID, ast->line, ast->column,
                        "%.*s: expected one argument, found %u", MR_STR_ARG(ast->name), arg_count);
}

static struct sql_expr *bind_aggregate(struct sql_binder *b, struct sql_ast *ast, int found)
{
    struct sql_groups *groups = b->groups;
    struct sql_aggregate aggregate = {.kind = aggregate_names[found].kind};
    uint32_t arg_count = ast->arg_count;
    bool flag;
    aggregate.ignore_nulls = ast->ignore_nulls;
    if ((aggregate.kind == SQL_AGGREGATE_FIRST || aggregate.kind == SQL_AGGREGATE_LAST) &&
        arg_count == 2 && ast->args[1]->kind == SQL_AST_LITERAL &&
        ast->args[1]->type->kind == DATA_BOOLEAN) {
        flag = ast->args[1]->literal->bools[0];
        aggregate.ignore_nulls = flag;
        arg_count = 1;
    }
    check_aggregate(b, ast, arg_count);
    if (b->err != MR_OK)
        return nothing(b, ast);
    b->groups = NULL; /* its arguments see the rows before grouping */
    aggregate.args = mr_arena_array(b->arena, struct sql_expr *, arg_count);
    bool star = ast->args[0]->kind == SQL_AST_STAR;
    for (uint32_t i = 0; i < arg_count && !star; i++) {
        struct sql_expr *arg = sql_exprs_bind(b, ast->args[i]);
        bool constant = arg->kind == SQL_EXPR_LITERAL && arg->literal->valid[0];
        if (aggregate.kind != SQL_AGGREGATE_COUNT || !constant) /* count(1) counts rows */
            aggregate.args[aggregate.arg_count++] = arg;
    }
    if (ast->filter != NULL)
        aggregate.filter = coerce_arg(b, ast, sql_exprs_bind(b, ast->filter), &data_type_boolean,
                                      "a condition");
    if (mr_str_equal(ast->name, MR_STR("count_if")) && aggregate.arg_count == 1) {
        struct sql_expr *both = coerce_arg(b, ast, aggregate.args[0], &data_type_boolean,
                                           "a condition");
        if (aggregate.filter != NULL) {
            struct sql_expr *condition = sql_exprs_new(b, SQL_EXPR_AND, &data_type_boolean, 2, ast);
            condition->args[0] = aggregate.filter;
            condition->args[1] = both;
            both = condition;
        }
        aggregate.filter = both;
        aggregate.arg_count = 0;
    }
    b->groups = groups;
    if (star && aggregate.kind != SQL_AGGREGATE_COUNT)
        sql_binder_fail(b, MR_INVALID, ast->line, ast->column,
                        "%.*s(*): only count(*) takes a star", MR_STR_ARG(ast->name));
    if (b->err != MR_OK)
        return nothing(b, ast);
    type_aggregate(b, ast, &aggregate);
    size_t index = 0;
    while (index < groups->aggregates.count &&
           !aggregate_equal(&groups->aggregates.items[index], &aggregate))
        index++;
    if (index == groups->aggregates.count)
        *mr_array_add(&groups->aggregates) = aggregate;
    struct sql_expr *expr = sql_exprs_new(b, SQL_EXPR_COLUMN, aggregate.type, 0, ast);
    expr->index = (uint32_t)(groups->keys.count + index);
    expr->nullable = aggregate.kind != SQL_AGGREGATE_COUNT;
    return expr;
}

/* ---- names ---- */
static struct sql_expr *new_field(struct sql_binder *b, struct sql_expr *from, uint32_t index,
                                  const struct sql_ast *place)
{
    bool list = from->type->kind == DATA_ARRAY;
    const struct data_type *row = list ? from->type->element : from->type;
    const struct data_type *type = row->fields[index].type;
    struct sql_expr *expr = sql_exprs_new(b, SQL_EXPR_FIELD,
                                          list ? data_type_array(b->arena, type) : type, 1, place);
    expr->args[0] = from;
    expr->index = index;
    expr->nullable = from->nullable || row->fields[index].nullable;
    return expr;
}

static void fail_field(struct sql_binder *b, const struct sql_expr *from, mr_str name,
                       const struct sql_ast *place)
{
    const struct data_type *row = from->type->kind == DATA_ARRAY ? from->type->element : from->type;
    if (row->kind != DATA_STRUCT) {
        sql_binder_fail(b, MR_INVALID, place->line, place->column,
                        "%.*s: expected a struct before the point, found %.*s", MR_STR_ARG(name),
                        MR_STR_ARG(sql_binder_type_text(b, from->type)));
        return;
    }
    mr_str *names = mr_arena_array(b->arena, mr_str, row->field_count);
    for (uint32_t i = 0; i < row->field_count; i++)
        names[i] = row->fields[i].name;
    mr_str nearest = sql_binder_nearest(name, names, row->field_count);
    sql_binder_fail(b, MR_INVALID, place->line, place->column,
                    "field `%.*s` is not in %.*s%s%.*s%s", MR_STR_ARG(name),
                    MR_STR_ARG(sql_binder_type_text(b, row)),
                    nearest.length > 0 ? "; did you mean `" : "", MR_STR_ARG(nearest),
                    nearest.length > 0 ? "`?" : "");
}

/* x.name: of a struct, of each struct in an array, of a map by key. */
static struct sql_expr *bind_field(struct sql_binder *b, struct sql_expr *from, mr_str name,
                                   const struct sql_ast *place)
{
    const struct data_type *type = from->type;
    if (b->err != MR_OK)
        return from;
    if (type->kind == DATA_MAP && type->key->kind == DATA_STRING) {
        struct data_column *value;
        struct sql_expr *args[2] = {from, sql_exprs_literal(b, &data_type_string, place, &value)};
        value->valid[0] = 1;
        value->strs[0] = name;
        return sql_exprs_call(b, SQL_FN_subscript, place, args, 2);
    }
    const struct data_type *row = type->kind == DATA_ARRAY ? type->element : type;
    int index = row->kind == DATA_STRUCT ? data_type_field(row, name) : -1;
    if (index < 0) {
        fail_field(b, from, name, place);
        return from;
    }
    return new_field(b, from, (uint32_t)index, place);
}

/* The column that the name begins with: its index, and how many parts that took. -1: none; -2: two. */
static int find_column(const struct sql_scope *scope, const struct sql_ast *ast, uint32_t *taken)
{
    int found = -1;
    for (uint32_t qualified = ast->part_count > 1 ? 1 : 0;; qualified--) {
        for (uint32_t i = 0; i < scope->count; i++) {
            const struct sql_column *column = &scope->columns[i];
            if (!mr_str_equal_nocase(column->name, ast->parts[qualified]) ||
                (qualified && !mr_str_equal_nocase(column->qualifier, ast->parts[0])))
                continue;
            if (found >= 0)
                return -2;
            found = (int)i;
        }
        *taken = qualified + 1;
        if (found >= 0 || qualified == 0)
            return found;
    }
}

static void fail_name(struct sql_binder *b, const struct sql_ast *ast, int found)
{
    const struct sql_scope *scope = b->scope;
    struct mr_buf name = {0};
    for (uint32_t i = 0; i < ast->part_count; i++)
        mr_buf_printf(&name, "%s%.*s", i > 0 ? "." : "", MR_STR_ARG(ast->parts[i]));
    mr_str *names = mr_arena_array(b->arena, mr_str, scope->count);
    for (uint32_t i = 0; i < scope->count; i++)
        names[i] = scope->columns[i].name;
    uint32_t part = ast->part_count > 1 && scope->count > 0 &&
                    mr_str_equal_nocase(scope->columns[0].qualifier, ast->parts[0]);
    mr_str nearest = sql_binder_nearest(ast->parts[part], names, scope->count);
    if (found == -2)
        sql_binder_fail(b, MR_INVALID, ast->line, ast->column,
                        "column `%.*s` is there more than once; put the table's name before it",
                        MR_STR_ARG(mr_buf_as_str(&name)));
    else
        sql_binder_fail(b, MR_INVALID, ast->line, ast->column,
                        "column `%.*s` is not in %.*s%s%.*s%s", MR_STR_ARG(mr_buf_as_str(&name)),
                        MR_STR_ARG(scope->about), nearest.length > 0 ? "; did you mean `" : "",
                        MR_STR_ARG(nearest), nearest.length > 0 ? "`?" : "");
    mr_buf_fini(&name);
}

static struct sql_use *use_field(struct sql_binder *b, struct sql_use *use, uint32_t index)
{
    if (use->fields == NULL)
        use->fields = mr_arena_array(b->arena, struct sql_use *, use->full->field_count);
    if (use->fields[index] == NULL) {
        use->fields[index] = mr_arena_new(b->arena, struct sql_use);
        use->fields[index]->full = use->full->fields[index].type;
    }
    return use->fields[index];
}

static void refer(struct sql_binder *b, struct sql_expr *expr, struct sql_use *use,
                  struct sql_use *parent)
{
    if (use != NULL)
        *mr_array_add(&b->references) = (struct sql_reference){
            .expr = expr, .use = use, .parent = parent};
}

static struct sql_expr *new_column(struct sql_binder *b, uint32_t index,
                                   const struct sql_ast *place)
{
    const struct sql_column *column = &b->scope->columns[index];
    struct sql_expr *expr = sql_exprs_new(b, SQL_EXPR_COLUMN, column->type, 0, place);
    expr->index = index;
    expr->nullable = column->nullable;
    refer(b, expr, column->use, NULL);
    return expr;
}

/* An earlier item of the same SELECT by its alias (Spark 3.4: lateral column alias). */
static struct sql_ast *find_item(struct sql_binder *b, mr_str name, uint32_t *index)
{
    for (uint32_t i = 0; i < b->item_count; i++)
        if (b->items[i]->kind == SQL_AST_ALIAS && b->items[i]->alias_count == 0 &&
            mr_str_equal_nocase(b->items[i]->name, name)) {
            *index = i;
            return b->items[i]->args[0];
        }
    return NULL;
}

static struct sql_expr *bind_name(struct sql_binder *b, struct sql_ast *ast)
{
    uint32_t taken = 0, item = 0;
    int found = find_column(b->scope, ast, &taken);
    struct sql_ast *alias = found == -1 ? find_item(b, ast->parts[0], &item) : NULL;
    if (alias != NULL) {
        uint32_t count = b->item_count;
        b->item_count = item; /* an alias sees only those before it: no circles */
        struct sql_expr *expr = sql_exprs_bind(b, alias);
        b->item_count = count;
        for (uint32_t i = 1; i < ast->part_count; i++)
            expr = bind_field(b, expr, ast->parts[i], ast);
        return expr;
    }
    if (found < 0) {
        fail_name(b, ast, found);
        return nothing(b, ast);
    }
    ast->qualifier_count = taken - 1;
    struct sql_expr *expr = new_column(b, (uint32_t)found, ast);
    struct sql_use *use = b->scope->columns[found].use;
    for (uint32_t i = taken; i < ast->part_count && b->err == MR_OK; i++) {
        bool plain = expr->type->kind == DATA_STRUCT;
        if (use != NULL && !plain) {
            use->whole = true;
            use = NULL;
        }
        struct sql_use *parent = use;
        expr = bind_field(b, expr, ast->parts[i], ast);
        if (use != NULL && b->err == MR_OK) {
            use = use_field(b, use, expr->index);
            refer(b, expr, use, parent);
        }
    }
    if (use != NULL)
        use->whole = true;
    return expr;
}

/* ---- grouping keys ---- */
static struct sql_expr *key_column(struct sql_binder *b, size_t key, const struct sql_ast *place)
{
    struct sql_expr *expr = sql_exprs_new(b, SQL_EXPR_COLUMN, b->groups->types.items[key], 0,
                                          place);
    expr->index = (uint32_t)key;
    return expr;
}

/* The expression over the input's rows as one over the grouping's: keys become columns. NULL when a
 * column is left that is no key. */
static struct sql_expr *over_keys(struct sql_binder *b, struct sql_expr *expr,
                                  const struct sql_ast *place)
{
    for (size_t i = 0; i < b->groups->keys.count; i++)
        if (b->groups->keys.items[i] != NULL && sql_exprs_equal(b->groups->keys.items[i], expr))
            return key_column(b, i, place);
    if (expr->kind == SQL_EXPR_COLUMN)
        return NULL;
    for (uint32_t i = 0; i < expr->arg_count; i++) {
        struct sql_expr *arg = over_keys(b, expr->args[i], place);
        if (arg == NULL)
            return NULL;
        expr->args[i] = arg;
    }
    return expr;
}

static struct sql_expr *bind_window_key(struct sql_binder *b, const struct sql_ast *ast)
{
    struct sql_window *window = b->groups->window;
    uint32_t taken;
    struct sql_expr *expr = NULL;
    if (window == NULL)
        return NULL;
    if (ast->kind == SQL_AST_CALL && mr_str_equal(ast->name, MR_STR("window")) && !ast->is_operator)
        return key_column(b, window->key, ast);
    if (ast->kind != SQL_AST_NAME || !mr_str_equal_nocase(ast->parts[0], MR_STR("window")) ||
        find_column(b->scope, ast, &taken) != -1)
        return NULL;
    expr = key_column(b, window->key, ast);
    for (uint32_t i = 1; i < ast->part_count; i++)
        expr = bind_field(b, expr, ast->parts[i], ast);
    return expr;
}

/* Tries the whole of `ast` as something made of keys and constants. */
static struct sql_expr *bind_grouped(struct sql_binder *b, struct sql_ast *ast)
{
    struct sql_groups *groups = b->groups;
    struct sql_expr *expr = bind_window_key(b, ast);
    if (expr != NULL || sql_exprs_has_aggregate(ast))
        return expr;
    b->groups = NULL;
    uint32_t items = b->item_count;
    b->item_count = 0; /* aliases are followed with the keys in sight */
    expr = sql_exprs_bind(b, ast);
    b->item_count = items;
    b->groups = groups;
    if (b->err != MR_OK && b->err != MR_LIMIT) {
        b->err = MR_OK; /* told again, and better, by its parts */
        return NULL;
    }
    return over_keys(b, expr, ast);
}

static struct sql_expr *bind_ungrouped_name(struct sql_binder *b, struct sql_ast *ast)
{
    uint32_t taken, item;
    if (find_column(b->scope, ast, &taken) == -1 && find_item(b, ast->parts[0], &item) != NULL)
        return bind_name(b, ast);
    if (find_column(b->scope, ast, &taken) >= 0) {
        struct mr_buf name = {0};
        sql_name_print(&name, ast);
        sql_binder_fail(
            b, MR_INVALID, ast->line, ast->column,
            "column `%.*s` is neither grouped by nor inside an aggregate; add it to GROUP "
            "BY, or take first(%.*s)",
            MR_STR_ARG(mr_buf_as_str(&name)), MR_STR_ARG(mr_buf_as_str(&name)));
        mr_buf_fini(&name);
        return nothing(b, ast);
    }
    return bind_name(b, ast);
}

/* ---- calls ---- */
static void fail_function(struct sql_binder *b, const struct sql_ast *ast)
{
    static const char *const chance[] = {"uuid",
                                         "rand",
                                         "randn",
                                         "random",
                                         "shuffle",
                                         "monotonically_increasing_id",
                                         "input_file_name",
                                         "spark_partition_id"};
    static const char *const folds[] = {
        "transform", "filter",     "exists",           "forall",         "aggregate",   "reduce",
        "zip_with",  "map_filter", "transform_values", "transform_keys", "map_zip_with"};
    mr_str names[SQL_FN_COUNT + mr_count_of(aggregate_names)];
    for (size_t i = 0; i < mr_count_of(chance); i++)
        if (mr_str_equal(ast->name, mr_str_from(chance[i])))
            sql_binder_fail(
                b, MR_UNSUPPORTED, ast->line, ast->column,
                "%s(): a replay after a crash would give another value; take one from the "
                "record",
                chance[i]);
    for (size_t i = 0; i < mr_count_of(folds); i++)
        if (mr_str_equal(ast->name, mr_str_from(folds[i])))
            sql_binder_fail(b, MR_UNSUPPORTED, ast->line, ast->column,
                            "%s(): functions of functions are not there yet", folds[i]);
    for (size_t i = 0; i < mr_count_of(aggregates_missing); i++)
        if (mr_str_equal(ast->name, mr_str_from(aggregates_missing[i])))
            sql_binder_fail(b, MR_UNSUPPORTED, ast->line, ast->column,
                            "%s(): this aggregate is not there; count, sum, avg, min, max, first, "
                            "last, bool_and and bool_or are",
                            aggregates_missing[i]);
    size_t count = 0;
    for (int i = 0; i < SQL_FN_COUNT; i++)
        names[count++] = mr_str_from(sql_rules_row((enum sql_function)i)->name);
    for (size_t i = 0; i < mr_count_of(aggregate_names); i++)
        names[count++] = mr_str_from(aggregate_names[i].name);
    mr_str nearest = sql_binder_nearest(ast->name, names, count);
    sql_binder_fail(b, MR_INVALID, ast->line, ast->column, "function `%.*s` is not known%s%.*s%s",
                    MR_STR_ARG(ast->word), nearest.length > 0 ? "; did you mean `" : "",
                    MR_STR_ARG(nearest), nearest.length > 0 ? "`?" : "");
}

/* extract(FIELD FROM x) and date_part('FIELD', x) are the functions of the fields. */
static struct sql_expr *bind_extract(struct sql_binder *b, struct sql_ast *ast)
{
    static const struct {
        const char *words;
        enum sql_function function;
    } fields[] = {
        {"year y years yr yrs", SQL_FN_year},
        {"quarter qtr", SQL_FN_quarter},
        {"month mon mons months", SQL_FN_month},
        {"week w weeks", SQL_FN_weekofyear},
        {"day d days", SQL_FN_day},
        {"dayofweek dow", SQL_FN_dayofweek},
        {"dayofweek_iso dow_iso", SQL_FN_weekday},
        {"doy", SQL_FN_dayofyear},
        {"yearofweek", SQL_FN_year_of_week},
        {"hour h hours hr hrs", SQL_FN_hour},
        {"minute m min mins minutes", SQL_FN_minute},
        {"second s sec seconds secs", SQL_FN_second_fraction},
    };
    mr_str field = MR_STR_NULL, word, words;
    struct sql_expr *first = ast->arg_count == 2 ? sql_exprs_bind(b, ast->args[0]) : NULL;
    if (first == NULL || !sql_exprs_text(first, &field)) {
        sql_binder_fail(b, MR_INVALID, ast->line, ast->column,
                        "%.*s: expected a field in quotes and a time", MR_STR_ARG(ast->name));
        return nothing(b, ast);
    }
    struct sql_expr *arg = sql_exprs_bind(b, ast->args[1]);
    for (size_t i = 0; i < mr_count_of(fields); i++)
        for (words = mr_str_from(fields[i].words); mr_str_split(&words, ' ', &word);)
            if (mr_str_equal_nocase(word, field)) {
                struct sql_expr *call = sql_exprs_call(b, fields[i].function, ast, &arg, 1);
                if (fields[i].function != SQL_FN_weekday)
                    return call;
                struct data_column *one; /* DAYOFWEEK_ISO is 1 for Monday */
                struct sql_expr *args[2] = {call, sql_exprs_literal(b, &data_type_int, ast, &one)};
                one->valid[0] = 1;
                one->ints[0] = 1;
                return sql_exprs_call(b, SQL_FN_add, ast, args, 2);
            }
    sql_binder_fail(
        b, MR_INVALID, ast->line, ast->column,
        "%.*s: expected YEAR, QUARTER, MONTH, WEEK, DAY, DAYOFWEEK, DOY, HOUR, MINUTE or "
        "SECOND, found %.*s",
        MR_STR_ARG(ast->name), MR_STR_ARG(field));
    return nothing(b, ast);
}

/* x + INTERVAL ...: months by add_months, all else as a number of microseconds. */
static struct sql_expr *bind_interval_sum(struct sql_binder *b, struct sql_ast *ast)
{
    bool minus = mr_str_equal(ast->name, MR_STR("-"));
    uint32_t which = ast->args[1]->kind == SQL_AST_INTERVAL ? 1 : 0;
    const struct sql_ast *interval = ast->args[which];
    struct sql_expr *args[2] = {sql_exprs_bind(b, ast->args[1 - which]), NULL};
    struct data_column *value;
    bool date = args[0]->type->kind == DATA_DATE;
    if (args[0]->type->kind == DATA_STRING)
        args[0] = sql_coerce_to(b, args[0], &data_type_timestamp);
    if (!date && args[0]->type->kind != DATA_TIMESTAMP &&
        args[0]->type->kind != DATA_TIMESTAMP_NTZ && args[0]->type->kind != DATA_INTERVAL) {
        sql_binder_fail(b, MR_INVALID, ast->line, ast->column,
                        "an interval is added to a date or a timestamp, found %.*s",
                        MR_STR_ARG(sql_binder_type_text(b, args[0]->type)));
        return nothing(b, ast);
    }
    bool months = interval->months != 0 || interval->unit_last <= 1;
    bool days = !months && date && interval->unit_last == 3;
    args[1] = sql_exprs_literal(b, months || days ? &data_type_int : &data_type_interval, ast,
                                &value);
    value->valid[0] = 1;
    if (months)
        value->ints[0] = (int32_t)(minus ? -interval->months : interval->months);
    else if (days)
        value->ints[0] = (int32_t)((minus ? -interval->micros : interval->micros) / 86400000000);
    else
        value->longs[0] = minus ? -interval->micros : interval->micros;
    if (months)
        return sql_exprs_call(b, date ? SQL_FN_add_months : SQL_FN_timestamp_add_months, ast, args,
                              2);
    if (days)
        return sql_exprs_call(b, SQL_FN_date_add, ast, args, 2);
    if (date)
        args[0] = sql_coerce_to(b, args[0], &data_type_timestamp);
    return sql_exprs_call(b, SQL_FN_add, ast, args, 2);
}

static struct sql_expr *new_case(struct sql_binder *b, const struct sql_ast *ast,
                                 struct sql_expr *condition, struct sql_expr *value,
                                 struct sql_expr *otherwise)
{
    struct sql_expr *expr = sql_exprs_new(b, SQL_EXPR_CASE, &data_type_null, 3, ast);
    struct sql_expr *values[2] = {value, otherwise};
    expr->args[0] = coerce_arg(b, ast, condition, &data_type_boolean, "a condition");
    const struct data_type *type = b->err == MR_OK ? sql_coerce_all(b, "if", values, 2, 1, true)
                                                   : NULL;
    expr->args[1] = values[0];
    expr->args[2] = values[1];
    expr->nullable = values[0]->nullable || values[1]->nullable;
    if (type != NULL)
        expr->type = type;
    return expr;
}

static struct sql_expr *new_coalesce(struct sql_binder *b, const struct sql_ast *ast,
                                     struct sql_expr **args, uint32_t count)
{
    struct sql_expr *expr = sql_exprs_new(b, SQL_EXPR_COALESCE, &data_type_null, count, ast);
    memcpy(expr->args, args, count * sizeof(*args));
    const struct data_type *type = sql_coerce_all(b, "coalesce", expr->args, count, 1, true);
    if (type != NULL)
        expr->type = type;
    for (uint32_t i = 0; i < count; i++)
        expr->nullable = expr->nullable && args[i]->nullable;
    return expr;
}

/* The functions that choose, which must not look at what they do not choose. NULL: another one. */
static struct sql_expr *bind_choice(struct sql_binder *b, const struct sql_ast *ast,
                                    struct sql_expr **args, uint32_t count)
{
    mr_str name = ast->name;
    if (count >= 1 && mr_str_equal(name, MR_STR("coalesce")))
        return new_coalesce(b, ast, args, count);
    if (count == 2 && (mr_str_equal(name, MR_STR("nvl")) || mr_str_equal(name, MR_STR("ifnull"))))
        return new_coalesce(b, ast, args, count);
    if (count == 3 && (mr_str_equal(name, MR_STR("if")) || mr_str_equal(name, MR_STR("iff"))))
        return new_case(b, ast, args[0], args[1], args[2]);
    if (count == 3 && mr_str_equal(name, MR_STR("nvl2")))
        return new_case(b, ast, sql_exprs_call(b, SQL_FN_is_not_null, ast, args, 1), args[1],
                        args[2]);
    if (count == 2 && mr_str_equal(name, MR_STR("nullif"))) {
        struct sql_expr *same = sql_exprs_call(b, SQL_FN_equal, ast, args, 2);
        return new_case(b, ast, same, nothing(b, ast), args[0]);
    }
    return NULL;
}

/* Arguments, with * and t.* opened. */
static struct sql_expr **bind_args(struct sql_binder *b, struct sql_ast *ast, uint32_t *count)
{
    MR_ARRAY(struct sql_expr *) args = {0};
    for (uint32_t i = 0; i < ast->arg_count && b->err == MR_OK; i++) {
        struct sql_ast *arg = ast->args[i];
        if (arg->kind != SQL_AST_STAR) {
            *mr_array_add(&args) = sql_exprs_bind(b,
                                                  arg->kind == SQL_AST_ALIAS ? arg->args[0] : arg);
            continue;
        }
        for (uint32_t c = 0; c < b->scope->count; c++)
            if (arg->part_count == 0 ||
                mr_str_equal_nocase(b->scope->columns[c].qualifier, arg->parts[0])) {
                if (b->scope->columns[c].use != NULL)
                    b->scope->columns[c].use->whole = true;
                *mr_array_add(&args) = new_column(b, c, arg);
            }
    }
    struct sql_expr **copy = mr_arena_array(b->arena, struct sql_expr *, args.count);
    if (args.count > 0)
        memcpy(copy, args.items, args.count * sizeof(*copy));
    *count = (uint32_t)args.count;
    mr_array_fini(&args);
    return copy;
}

/* struct(a, b.c, 1 AS x): fields are named as columns are; others col1, col2, ... */
static struct sql_expr *bind_struct(struct sql_binder *b, struct sql_ast *ast)
{
    uint32_t count, at = 0;
    struct sql_expr **args = bind_args(b, ast, &count);
    struct data_field *fields = mr_arena_array(b->arena, struct data_field, count);
    struct sql_expr *call = sql_exprs_new(b, SQL_EXPR_CALL, &data_type_null, count, ast);
    for (uint32_t i = 0; i < ast->arg_count && at < count; i++) {
        const struct sql_ast *arg = ast->args[i];
        if (arg->kind == SQL_AST_STAR) {
            for (; at < count && args[at]->line == arg->line && args[at]->column == arg->column;
                 at++)
                fields[at].name = b->scope->columns[args[at]->index].name;
            continue;
        }
        if (arg->kind == SQL_AST_NAME)
            fields[at].name = arg->parts[arg->part_count - 1];
        else if (arg->kind == SQL_AST_ALIAS || arg->kind == SQL_AST_FIELD)
            fields[at].name = arg->name;
        else
            fields[at].name = mr_arena_printf(b->arena, "col%u", at + 1);
        at++;
    }
    for (uint32_t i = 0; i < count; i++) {
        fields[i].type = args[i]->type;
        fields[i].nullable = args[i]->nullable;
    }
    if (count > 0)
        memcpy(call->args, args, count * sizeof(*args));
    call->function = SQL_FN_struct_of;
    call->type = data_type_struct(b->arena, fields, count);
    call->nullable = false;
    return call;
}

/* Names that are other calls: trim's sides, ||, != as NOT =, casts written as functions. */
static mr_str plain_name(const struct sql_ast *ast)
{
    if (mr_str_equal(ast->name, MR_STR("trim_leading")))
        return MR_STR("ltrim");
    if (mr_str_equal(ast->name, MR_STR("trim_trailing")))
        return MR_STR("rtrim");
    if (mr_str_equal(ast->name, MR_STR("||")))
        return MR_STR("concat");
    return ast->name;
}

static const struct data_type *cast_function(mr_str name)
{
    static const struct data_type *const types[] = {
        &data_type_boolean, &data_type_byte,  &data_type_short,    &data_type_int,
        &data_type_long,    &data_type_float, &data_type_double,   &data_type_string,
        &data_type_binary,  &data_type_date,  &data_type_timestamp};
    static const char *const names[] = {"boolean", "tinyint", "smallint", "int",
                                        "bigint",  "float",   "double",   "string",
                                        "binary",  "date",    "timestamp"};
    for (size_t i = 0; i < mr_count_of(names); i++)
        if (mr_str_equal(name, mr_str_from(names[i])))
            return types[i];
    return NULL;
}

static struct sql_expr *bind_cast(struct sql_binder *b, const struct sql_ast *ast,
                                  struct sql_expr *arg, const struct data_type *type)
{
    struct sql_expr *expr = sql_exprs_new(b, SQL_EXPR_CAST, type, 1, ast);
    expr->args[0] = arg;
    expr->safe = ast->safe;
    if (b->err == MR_OK && !sql_coerce_castable(arg->type, type))
        sql_binder_fail(b, MR_INVALID, ast->line, ast->column, "cannot cast %.*s to %.*s",
                        MR_STR_ARG(sql_binder_type_text(b, arg->type)),
                        MR_STR_ARG(sql_binder_type_text(b, type)));
    if (data_type_equal(arg->type, type))
        return arg;
    return expr;
}

static bool is_trim_from(const struct sql_ast *ast)
{
    return mr_str_starts(ast->name, MR_STR("trim_"));
}

static struct sql_expr *bind_call(struct sql_binder *b, struct sql_ast *ast)
{
    int aggregate = ast->is_operator ? -1 : find_aggregate(ast->name);
    static const char *const generators[] = {
        "explode", "explode_outer", "posexplode", "posexplode_outer",
        "inline",  "inline_outer",  "stack",      "json_tuple"};
    if (aggregate >= 0)
        return bind_aggregate(b, ast, aggregate);
    if (ast->distinct || ast->filter != NULL)
        sql_binder_fail(b, MR_INVALID, ast->line, ast->column,
                        "%.*s: DISTINCT and FILTER belong to aggregates", MR_STR_ARG(ast->name));
    for (size_t i = 0; i < mr_count_of(generators); i++)
        if (mr_str_equal(ast->name, mr_str_from(generators[i])))
            sql_binder_fail(
                b, MR_UNSUPPORTED, ast->line, ast->column,
                "%s has a place only at the top of a SELECT item, once, or in LATERAL VIEW",
                generators[i]);
    if (mr_str_equal(ast->name, MR_STR("window")) ||
        mr_str_equal(ast->name, MR_STR("session_window")))
        sql_binder_fail(b, MR_INVALID, ast->line, ast->column,
                        "%.*s(...) has a place only in GROUP BY, and in the items of such a query",
                        MR_STR_ARG(ast->name));
    if (mr_str_equal(ast->name, MR_STR("extract")) ||
        mr_str_equal(ast->name, MR_STR("date_part")) || mr_str_equal(ast->name, MR_STR("datepart")))
        return bind_extract(b, ast);
    if ((mr_str_equal(ast->name, MR_STR("+")) || mr_str_equal(ast->name, MR_STR("-"))) &&
        ast->arg_count == 2 &&
        (ast->args[1]->kind == SQL_AST_INTERVAL ||
         (ast->args[0]->kind == SQL_AST_INTERVAL && mr_str_equal(ast->name, MR_STR("+")))))
        return bind_interval_sum(b, ast);
    if (mr_str_equal(ast->name, MR_STR("struct")))
        return bind_struct(b, ast);
    uint32_t count;
    struct sql_expr **args = bind_args(b, ast, &count);
    if (b->err != MR_OK)
        return nothing(b, ast);
    mr_str field;
    if (mr_str_equal(ast->name, MR_STR("[]")) && args[0]->type->kind == DATA_STRUCT &&
        sql_exprs_text(args[1], &field)) {
        ast->field_access = true;
        return bind_field(b, args[0], field, ast);
    }
    struct sql_expr *choice = bind_choice(b, ast, args, count);
    if (choice != NULL)
        return choice;
    const struct data_type *cast = count == 1 ? cast_function(ast->name) : NULL;
    if (cast != NULL)
        return bind_cast(b, ast, args[0], cast);
    int function = sql_rules_find(plain_name(ast));
    if (function < 0) {
        fail_function(b, ast);
        return nothing(b, ast);
    }
    if (is_trim_from(ast) && count == 2) { /* the rules expect (chars, text) */
        struct sql_expr *text = args[0];
        args[0] = args[1];
        args[1] = text;
    }
    if (function == SQL_FN_current_timestamp || function == SQL_FN_current_date ||
        (function == SQL_FN_unix_timestamp && count == 0))
        b->reads_clock = true;
    return sql_exprs_call(b, (enum sql_function)function, ast, args, count);
}

/* ---- the rest ---- */
static struct sql_expr *bind_case(struct sql_binder *b, struct sql_ast *ast)
{
    uint32_t at = ast->has_operand, count = ast->arg_count - at;
    struct sql_expr *expr = sql_exprs_new(b, SQL_EXPR_CASE, &data_type_null, count, ast);
    MR_ARRAY(struct sql_expr *) values = {0};
    expr->nullable = !ast->has_else;
    for (uint32_t i = 0; i < count; i++) {
        struct sql_expr *arg = sql_exprs_bind(b, ast->args[at + i]);
        bool condition = i % 2 == 0 && i + 1 < count;
        if (condition && ast->has_operand) {
            struct sql_expr *both[2] = {sql_exprs_bind(b, ast->args[0]), arg};
            arg = sql_exprs_call(b, SQL_FN_equal, ast->args[at + i], both, 2);
        } else if (condition) {
            arg = coerce_arg(b, &(struct sql_ast){.name = MR_STR("CASE WHEN")}, arg,
                             &data_type_boolean, "a condition");
        }
        if (!condition)
            *mr_array_add(&values) = arg;
        expr->args[i] = arg;
        expr->nullable = expr->nullable || (!condition && arg->nullable);
    }
    const struct data_type *type = b->err == MR_OK ? sql_coerce_all(b, "CASE", values.items,
                                                                    (uint32_t)values.count, 1, true)
                                                   : NULL;
    if (type != NULL)
        expr->type = type;
    for (uint32_t i = 0, v = 0; i < count; i++)
        if (!(i % 2 == 0 && i + 1 < count))
            expr->args[i] = values.items[v++];
    mr_array_fini(&values);
    return expr;
}

static struct sql_expr *bind_logic(struct sql_binder *b, struct sql_ast *ast)
{
    bool and = ast->kind == SQL_AST_AND;
    struct sql_expr *expr = sql_exprs_new(b, and? SQL_EXPR_AND : SQL_EXPR_OR, &data_type_boolean,
                                          ast->arg_count, ast);
    expr->nullable = false;
    for (uint32_t i = 0; i < ast->arg_count; i++) {
        struct sql_expr *arg = sql_exprs_bind(b, ast->args[i]);
        if (b->err == MR_OK && arg->type->kind != DATA_BOOLEAN && arg->type->kind != DATA_NULL)
            sql_binder_fail(b, MR_INVALID, arg->line, arg->column,
                            "%s: expected a condition, found %.*s", and? "AND" : "OR",
                            MR_STR_ARG(sql_binder_type_text(b, arg->type)));
        expr->args[i] = sql_coerce_to(b, arg, &data_type_boolean);
        expr->nullable = expr->nullable || arg->nullable;
    }
    return expr;
}

static struct sql_expr *bind_literal(struct sql_binder *b, const struct sql_ast *ast)
{
    struct sql_expr *expr = sql_exprs_new(b, SQL_EXPR_LITERAL, ast->type, 0, ast);
    expr->literal = ast->literal;
    expr->nullable = !ast->literal->valid[0];
    return expr;
}

static struct sql_expr *bind_interval(struct sql_binder *b, const struct sql_ast *ast)
{
    struct data_column *value;
    struct sql_expr *expr = sql_exprs_literal(b, &data_type_interval, ast, &value);
    if (ast->months != 0 || ast->unit_last <= 1)
        sql_binder_fail(
            b, MR_UNSUPPORTED, ast->line, ast->column,
            "an interval of months as a value; it can be added to a date or a timestamp");
    value->valid[0] = 1;
    value->longs[0] = ast->micros;
    return expr;
}

struct sql_expr *sql_exprs_bind(struct sql_binder *b, struct sql_ast *ast)
{
    if (b->err == MR_OK && ++b->bound > MR_LIMIT_SQL_NODES)
        sql_binder_fail(b, MR_LIMIT, ast->line, ast->column,
                        "the statement is too large: more than %d expressions", MR_LIMIT_SQL_NODES);
    if (b->err != MR_OK)
        return nothing(b, ast);
    if (b->groups != NULL) {
        struct sql_expr *expr = bind_grouped(b, ast);
        if (expr != NULL)
            return expr;
    }
    switch (ast->kind) {
    case SQL_AST_LITERAL:
        return bind_literal(b, ast);
    case SQL_AST_NAME:
        return b->groups != NULL ? bind_ungrouped_name(b, ast) : bind_name(b, ast);
    case SQL_AST_STAR:
        sql_binder_fail(b, MR_INVALID, ast->line, ast->column,
                        "* has a place only among the items of a SELECT, and in count(*)");
        return nothing(b, ast);
    case SQL_AST_CALL:
        return bind_call(b, ast);
    case SQL_AST_CAST:
        return bind_cast(b, ast, sql_exprs_bind(b, ast->args[0]), ast->type);
    case SQL_AST_FIELD:
        return bind_field(b, sql_exprs_bind(b, ast->args[0]), ast->name, ast);
    case SQL_AST_AND:
    case SQL_AST_OR:
        return bind_logic(b, ast);
    case SQL_AST_CASE:
        return bind_case(b, ast);
    case SQL_AST_INTERVAL:
        return bind_interval(b, ast);
    case SQL_AST_ALIAS:
        return sql_exprs_bind(b, ast->args[0]);
    }
    return nothing(b, ast);
}
