/* sql/binder.c: a query becomes a chain of nodes: scan, laterals, WHERE, grouping, HAVING, items. */
#include "sql/bind.h"

#include <stdarg.h>
#include <stdio.h>

/* ---- errors ---- */
void sql_binder_fail(struct sql_binder *b, mr_err code, uint32_t line, uint32_t column,
                     const char *format, ...)
{
    char sentence[1500];
    va_list args;
    if (b->err != MR_OK)
        return;
    va_start(args, format);
    vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    b->err = sql_place_fail(code, line, column, "%s", sentence);
}

mr_str sql_binder_type_text(struct sql_binder *b, const struct data_type *type)
{
    struct mr_buf text = {0};
    data_type_print_sql(&text, type);
    mr_str whole = mr_buf_as_str(&text), cut = mr_str_slice(whole, 0, 120);
    mr_str copy = mr_arena_printf(b->arena, "%.*s%s", MR_STR_ARG(cut),
                                  cut.length < whole.length ? "..." : "");
    mr_buf_fini(&text);
    return copy;
}

/* Edits between two names without case, up to `most`; names longer than 63 are never near. */
static int edits(mr_str a, mr_str c, int most)
{
    int row[64];
    if (a.length > 63 || c.length > 63)
        return most;
    for (size_t j = 0; j <= c.length; j++)
        row[j] = (int)j;
    for (size_t i = 1; i <= a.length; i++) {
        int corner = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= c.length; j++) {
            bool same = mr_str_equal_nocase(mr_str_slice(a, i - 1, i), mr_str_slice(c, j - 1, j));
            int change = corner + !same;
            corner = row[j];
            int shorter = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;
            row[j] = change < shorter ? change : shorter;
        }
    }
    return row[c.length];
}

mr_str sql_binder_nearest(mr_str name, const mr_str *names, size_t count)
{
    int best = name.length < 4 ? 2 : name.length < 8 ? 3 : 4;
    mr_str nearest = MR_STR_NULL;
    for (size_t i = 0; i < count; i++) {
        int distance = edits(name, names[i], best);
        if (distance < best) {
            best = distance;
            nearest = names[i];
        }
    }
    return nearest;
}

/* ---- nodes ---- */
static struct sql_node *new_node(struct sql_binder *b, enum sql_node_kind kind,
                                 struct sql_node *input, uint32_t line, uint32_t column)
{
    struct sql_node *node = mr_arena_new(b->arena, struct sql_node);
    node->kind = kind;
    node->input = input;
    node->line = line;
    node->column = column;
    node->row = input == NULL ? NULL : input->row;
    return node;
}

static void scope_columns(struct sql_binder *b, struct sql_scope *scope,
                          const struct data_type *row, mr_str qualifier)
{
    scope->count = row->field_count;
    scope->columns = mr_arena_array(b->arena, struct sql_column, row->field_count);
    for (uint32_t i = 0; i < row->field_count; i++)
        scope->columns[i] = (struct sql_column){.name = row->fields[i].name,
                                                .qualifier = qualifier,
                                                .type = row->fields[i].type,
                                                .nullable = row->fields[i].nullable};
}

static void rename_columns(struct sql_binder *b, const struct sql_source *source,
                           struct sql_scope *scope)
{
    if (source->column_count == 0)
        return;
    if (source->column_count != scope->count)
        sql_binder_fail(b, MR_INVALID, source->line, source->column,
                        "expected %u names for the columns of `%.*s`, found %u", scope->count,
                        MR_STR_ARG(source->alias), source->column_count);
    for (uint32_t i = 0; i < scope->count && b->err == MR_OK; i++)
        scope->columns[i].name = source->columns[i];
}

/* ---- sources ---- */
static void fail_table(struct sql_binder *b, const struct sql_source *source)
{
    MR_ARRAY(mr_str) names = {0};
    for (uint32_t i = 0; b->catalog->name != NULL && i < 10000; i++) {
        mr_str name = b->catalog->name(b->catalog->self, i);
        if (name.data == NULL)
            break;
        *mr_array_add(&names) = name;
    }
    mr_str nearest = sql_binder_nearest(source->table, names.items, names.count);
    sql_binder_fail(b, MR_INVALID, source->line, source->column,
                    "table `%.*s` is not known%s%.*s%s", MR_STR_ARG(source->table),
                    nearest.length > 0 ? "; did you mean `" : "", MR_STR_ARG(nearest),
                    nearest.length > 0 ? "`?" : "");
    mr_array_fini(&names);
}

static struct sql_node *bind_table(struct sql_binder *b, const struct sql_source *source,
                                   struct sql_scope *scope)
{
    const struct data_type *found = b->catalog->table(b->catalog->self, source->table);
    if (found == NULL) {
        fail_table(b, source);
        return NULL;
    }
    mr_assert(found->kind == DATA_STRUCT);
    struct sql_node *node = new_node(b, SQL_NODE_SCAN, NULL, source->line, source->column);
    node->row = node->scan.full = data_type_copy(b->arena, found);
    node->scan.table = source->table;
    node->scan.used = mr_arena_array(b->arena, bool, found->field_count);
    scope_columns(b, scope, node->row, source->alias);
    for (uint32_t i = 0; i < scope->count; i++) {
        scope->columns[i].use = mr_arena_new(b->arena, struct sql_use);
        scope->columns[i].use->full = scope->columns[i].type;
    }
    scope->about = mr_arena_printf(b->arena, "`%.*s`", MR_STR_ARG(source->table));
    b->scan = node;
    b->scan_scope = *scope;
    return node;
}

static struct sql_node *bind_values(struct sql_binder *b, const struct sql_source *source,
                                    struct sql_scope *scope)
{
    struct sql_node *node = new_node(b, SQL_NODE_VALUES, NULL, source->line, source->column);
    struct sql_scope empty = {.about = MR_STR("VALUES")};
    uint32_t width = source->row_width, count = source->row_count;
    struct data_field *fields = mr_arena_array(b->arena, struct data_field, width);
    struct sql_expr **column = mr_arena_array(b->arena, struct sql_expr *, count);
    node->values.rows = mr_arena_array(b->arena, struct sql_expr **, count);
    node->values.row_count = count;
    b->scope = &empty;
    for (uint32_t r = 0; r < count; r++)
        node->values.rows[r] = mr_arena_array(b->arena, struct sql_expr *, width);
    for (uint32_t c = 0; c < width && b->err == MR_OK; c++) {
        for (uint32_t r = 0; r < count; r++)
            column[r] = sql_exprs_bind(b, source->rows[r][c]);
        const struct data_type *type = b->err == MR_OK
                                           ? sql_coerce_all(b, "VALUES", column, count, 1, true)
                                           : NULL;
        for (uint32_t r = 0; r < count; r++)
            node->values.rows[r][c] = column[r];
        fields[c].name = mr_arena_printf(b->arena, "col%u", c + 1);
        fields[c].type = type == NULL ? &data_type_null : type;
        fields[c].nullable = true;
    }
    node->row = data_type_struct(b->arena, fields, width);
    scope_columns(b, scope, node->row, source->alias);
    scope->about = MR_STR("VALUES");
    return node;
}

static const struct sql_query *find_with(const struct sql_with *with, mr_str name)
{
    for (; with != NULL; with = with->next)
        if (mr_str_equal_nocase(with->name, name))
            return with->query;
    return NULL;
}

static struct sql_node *bind_source(struct sql_binder *b, const struct sql_query *query,
                                    struct sql_scope *scope)
{
    static struct sql_ast **const one_row[] = {NULL};
    static const struct sql_source nowhere = {
        .rows = (struct sql_ast ***)one_row, .row_count = 1, .is_values = true};
    const struct sql_source *source = query->source == NULL ? &nowhere : query->source;
    struct sql_node *node;
    const struct sql_query *inner = source->query;
    if (inner == NULL && !source->is_values)
        inner = find_with(query->with, source->table);
    if (source->is_values && b->settings->streaming) {
        sql_binder_fail(b, MR_UNSUPPORTED, query->line, query->column,
                        "a stream reads a table: expected FROM and its name");
        return NULL;
    }
    if (source->is_values) {
        node = bind_values(b, source, scope);
    } else if (inner != NULL) {
        node = sql_binder_query(b, inner, scope);
        for (uint32_t i = 0; node != NULL && i < scope->count; i++)
            scope->columns[i].qualifier = source->alias;
        scope->about = MR_STR("the subquery");
    } else {
        node = bind_table(b, source, scope);
    }
    if (node != NULL)
        rename_columns(b, source, scope);
    return b->err == MR_OK ? node : NULL;
}

/* ---- generators ---- */
static const struct {
    const char *name;
    bool outer, position;
} generators[] = {
    {"explode", false, false},
    {"explode_outer", true, false},
    {"posexplode", false, true},
    {"posexplode_outer", true, true},
};

static int find_generator(const struct sql_ast *ast)
{
    for (size_t i = 0; i < mr_count_of(generators); i++)
        if (ast->kind == SQL_AST_CALL && mr_str_equal(ast->name, mr_str_from(generators[i].name)))
            return (int)i;
    return -1;
}

/* Adds a GENERATE on top and its columns to the scope. */
static struct sql_node *bind_generate(struct sql_binder *b, struct sql_node *input,
                                      struct sql_scope *scope, struct sql_ast *call, bool outer,
                                      mr_str qualifier, const mr_str *names, uint32_t name_count)
{
    struct sql_node *node = new_node(b, SQL_NODE_GENERATE, input, call->line, call->column);
    int which = find_generator(call);
    uint32_t new = 0;
    struct data_field fields[3];
    if (which < 0 || call->arg_count != 1) {
        sql_binder_fail(
            b, which < 0 ? MR_UNSUPPORTED : MR_INVALID, call->line, call->column,
            "%.*s: expected explode, explode_outer, posexplode or posexplode_outer of one "
            "array or map",
            MR_STR_ARG(call->word));
        return NULL;
    }
    b->scope = scope;
    node->generate.list = sql_exprs_bind(b, call->args[0]);
    node->generate.outer = outer || generators[which].outer;
    node->generate.position = generators[which].position;
    const struct data_type *list = node->generate.list->type;
    if (b->err == MR_OK && list->kind != DATA_ARRAY && list->kind != DATA_MAP)
        sql_binder_fail(b, MR_INVALID, call->line, call->column,
                        "%.*s: expected an array or a map, found %.*s", MR_STR_ARG(call->word),
                        MR_STR_ARG(sql_binder_type_text(b, list)));
    if (b->err != MR_OK)
        return NULL;
    bool nulls = node->generate.outer;
    if (node->generate.position)
        fields[new ++] = (struct data_field){MR_STR("pos"), &data_type_int, nulls};
    if (list->kind == DATA_MAP)
        fields[new ++] = (struct data_field){MR_STR("key"), list->key, nulls};
    fields[new ++] = (struct data_field){list->kind == DATA_MAP ? MR_STR("value") : MR_STR("col"),
                                         list->element, true};
    if (name_count > 0 && name_count != new)
        sql_binder_fail(b, MR_INVALID, call->line, call->column,
                        "%.*s makes %u columns: expected as many names, found %u",
                        MR_STR_ARG(call->word), new, name_count);
    uint32_t old = scope->count;
    struct data_field *row = mr_arena_array(b->arena, struct data_field, old + new);
    struct sql_column *columns = mr_arena_array(b->arena, struct sql_column, old + new);
    for (uint32_t i = 0; i < old; i++)
        row[i] = input->row->fields[i];
    if (old > 0)
        memcpy(columns, scope->columns, old * sizeof(*columns));
    for (uint32_t i = 0; i < new; i++) {
        if (name_count == new)
            fields[i].name = names[i];
        row[old + i] = fields[i];
        columns[old + i] = (struct sql_column){.name = fields[i].name,
                                               .qualifier = qualifier,
                                               .type = fields[i].type,
                                               .nullable = fields[i].nullable};
    }
    node->row = data_type_struct(b->arena, row, old + new);
    scope->columns = columns;
    scope->count = old + new;
    return node;
}

/* A generator among the items: its place in the list, or -1. */
static int find_item_generator(struct sql_binder *b, const struct sql_query *query)
{
    int found = -1;
    for (uint32_t i = 0; i < query->item_count; i++) {
        const struct sql_ast *item = query->items[i];
        const struct sql_ast *call = item->kind == SQL_AST_ALIAS ? item->args[0] : item;
        if (find_generator(call) < 0)
            continue;
        if (found >= 0)
            sql_binder_fail(
                b, MR_INVALID, call->line, call->column,
                "one generator is allowed in a SELECT; use LATERAL VIEW for the second");
        found = (int)i;
    }
    return found;
}

/* ---- filters ---- */
static struct sql_node *bind_filter(struct sql_binder *b, struct sql_node *input,
                                    struct sql_ast *ast, const char *word)
{
    struct sql_node *node = new_node(b, SQL_NODE_FILTER, input, ast->line, ast->column);
    struct sql_expr *predicate = sql_exprs_bind(b, ast);
    if (b->err == MR_OK && predicate->type->kind != DATA_BOOLEAN &&
        predicate->type->kind != DATA_NULL)
        sql_binder_fail(b, MR_INVALID, ast->line, ast->column,
                        "%s: expected a condition, found %.*s", word,
                        MR_STR_ARG(sql_binder_type_text(b, predicate->type)));
    node->filter.predicate = sql_coerce_to(b, predicate, &data_type_boolean);
    return node;
}

/* ---- windows ---- */
/* '10 minutes' or an INTERVAL as microseconds. */
static bool bind_duration(struct sql_binder *b, const struct sql_ast *ast, int64_t *us)
{
    struct sql_ast *parsed = NULL;
    if (ast->kind == SQL_AST_LITERAL && ast->type->kind == DATA_STRING) {
        struct mr_buf text = {0};
        mr_buf_cstr(&text, mr_str_equal_nocase(mr_str_slice(ast->text, 0, 9), MR_STR("interval "))
                               ? ""
                               : "INTERVAL ");
        mr_buf_str(&text, ast->text);
        mr_err err = sql_parser_expr(b->arena, mr_buf_as_str(&text), &parsed);
        mr_buf_fini(&text);
        ast = err == MR_OK ? parsed : ast;
    }
    if (ast->kind != SQL_AST_INTERVAL || ast->months != 0)
        return false;
    *us = ast->micros;
    return true;
}

static int32_t scan_column_of(const struct sql_binder *b, const struct sql_expr *time)
{
    if (time->kind == SQL_EXPR_CAST && time->arg_count == 1)
        time = time->args[0];
    if (time->kind != SQL_EXPR_COLUMN || b->scan == NULL || time->index >= b->scope->count)
        return -1;
    for (uint32_t i = 0; i < b->scan_scope.count; i++)
        if (b->scope->columns[time->index].use != NULL &&
            b->scope->columns[time->index].use == b->scan_scope.columns[i].use)
            return (int32_t)i;
    return -1;
}

/* GROUP BY window(time, size[, slide[, start]]). */
static void bind_window(struct sql_binder *b, struct sql_groups *groups, struct sql_ast *ast)
{
    struct sql_window *window = mr_arena_new(b->arena, struct sql_window);
    struct data_field fields[2] = {{MR_STR("start"), &data_type_timestamp, true},
                                   {MR_STR("end"), &data_type_timestamp, true}};
    static const char example[] = "such as '1 minute', at most days and weeks, not months";
    if (groups->window != NULL)
        sql_binder_fail(b, MR_INVALID, ast->line, ast->column, "one window is allowed in GROUP BY");
    if (ast->arg_count < 2 || ast->arg_count > 4) {
        sql_binder_fail(b, MR_INVALID, ast->line, ast->column,
                        "window: expected (time, size[, slide[, start]])");
        return;
    }
    window->time = sql_exprs_bind(b, ast->args[0]);
    if (b->err == MR_OK && window->time->type->kind != DATA_TIMESTAMP &&
        window->time->type->kind != DATA_TIMESTAMP_NTZ && window->time->type->kind != DATA_STRING &&
        window->time->type->kind != DATA_DATE)
        sql_binder_fail(b, MR_INVALID, ast->args[0]->line, ast->args[0]->column,
                        "window: expected a timestamp, found %.*s",
                        MR_STR_ARG(sql_binder_type_text(b, window->time->type)));
    window->time = sql_coerce_to(b, window->time, &data_type_timestamp);
    window->scan_column = scan_column_of(b, window->time);
    int64_t *const targets[] = {&window->size_us, &window->slide_us, &window->start_us};
    for (uint32_t i = 1; i < ast->arg_count && b->err == MR_OK; i++)
        if (!bind_duration(b, ast->args[i], targets[i - 1]))
            sql_binder_fail(b, MR_INVALID, ast->args[i]->line, ast->args[i]->column,
                            "window: expected a duration %s", example);
    window->slide_us = ast->arg_count < 3 ? window->size_us : window->slide_us;
    if (b->err == MR_OK &&
        (window->size_us <= 0 || window->slide_us <= 0 || window->slide_us > window->size_us ||
         window->start_us <= -window->slide_us || window->start_us >= window->slide_us))
        sql_binder_fail(b, MR_INVALID, ast->line, ast->column,
                        "window: expected 0 < slide <= size and a start shorter than the slide");
    window->key = (uint32_t)groups->keys.count;
    groups->window = window;
    *mr_array_add(&groups->keys) = NULL;
    *mr_array_add(&groups->types) = data_type_struct(b->arena, fields, 2);
    *mr_array_add(&groups->names) = MR_STR("window");
}

/* ---- grouping ---- */
static struct sql_ast *item_of(struct sql_ast *item)
{
    return item->kind == SQL_AST_ALIAS ? item->args[0] : item;
}

/* What a GROUP BY entry means: an ordinal or an alias stands for an item. */
static struct sql_ast *group_ast(struct sql_binder *b, const struct sql_query *query,
                                 struct sql_ast *ast)
{
    if (ast->kind == SQL_AST_LITERAL && ast->type->kind == DATA_INT) {
        int32_t place = ast->literal->ints[0];
        if (place < 1 || place > (int32_t)query->item_count) {
            sql_binder_fail(b, MR_INVALID, ast->line, ast->column,
                            "GROUP BY %d: expected a number from 1 to %u, the items", place,
                            query->item_count);
            return ast;
        }
        return item_of(query->items[place - 1]);
    }
    if (ast->kind != SQL_AST_NAME || ast->part_count != 1)
        return ast;
    for (uint32_t i = 0; i < b->scope->count; i++)
        if (mr_str_equal_nocase(b->scope->columns[i].name, ast->parts[0]))
            return ast;
    for (uint32_t i = 0; i < query->item_count; i++)
        if (query->items[i]->kind == SQL_AST_ALIAS &&
            mr_str_equal_nocase(query->items[i]->name, ast->parts[0]))
            return item_of(query->items[i]);
    return ast;
}

static void bind_key(struct sql_binder *b, struct sql_groups *groups, struct sql_ast *ast)
{
    struct mr_buf name = {0};
    if (ast->kind == SQL_AST_CALL && mr_str_equal(ast->name, MR_STR("window"))) {
        bind_window(b, groups, ast);
        return;
    }
    if (ast->kind == SQL_AST_CALL && mr_str_equal(ast->name, MR_STR("session_window")))
        sql_binder_fail(b, MR_UNSUPPORTED, ast->line, ast->column,
                        "session_window is not there yet; window(time, size) is");
    if (sql_exprs_has_aggregate(ast))
        sql_binder_fail(b, MR_INVALID, ast->line, ast->column,
                        "GROUP BY: an aggregate cannot be grouped by");
    struct sql_expr *key = sql_exprs_bind(b, ast);
    if (b->err != MR_OK)
        return;
    if (key->type->kind == DATA_MAP)
        sql_binder_fail(b, MR_INVALID, ast->line, ast->column,
                        "GROUP BY: a map cannot be grouped by");
    sql_name_print(&name, ast);
    *mr_array_add(&groups->keys) = key;
    *mr_array_add(&groups->types) = key->type;
    *mr_array_add(&groups->names) = mr_arena_str(b->arena, mr_buf_as_str(&name));
    mr_buf_fini(&name);
}

static void bind_keys(struct sql_binder *b, struct sql_groups *groups,
                      const struct sql_query *query)
{
    for (uint32_t i = 0; i < query->group_count && b->err == MR_OK; i++)
        bind_key(b, groups, group_ast(b, query, query->groups[i]));
    for (uint32_t i = 0; query->group_all && i < query->item_count && b->err == MR_OK; i++)
        if (!sql_exprs_has_aggregate(item_of(query->items[i])))
            bind_key(b, groups, item_of(query->items[i]));
}

static bool is_grouped(const struct sql_query *query)
{
    if (query->has_group || query->having != NULL)
        return true;
    for (uint32_t i = 0; i < query->item_count; i++)
        if (sql_exprs_has_aggregate(query->items[i]))
            return true;
    return false;
}

static void fill_aggregate(struct sql_binder *b, struct sql_node *node, struct sql_groups *groups)
{
    size_t keys = groups->keys.count, aggregates = groups->aggregates.count;
    struct data_field *fields = mr_arena_array(b->arena, struct data_field, keys + aggregates);
    node->aggregate.key_count = (uint32_t)keys;
    node->aggregate.aggregate_count = (uint32_t)aggregates;
    node->aggregate.keys = mr_arena_array(b->arena, struct sql_expr *, keys);
    node->aggregate.aggregates = mr_arena_array(b->arena, struct sql_aggregate, aggregates);
    node->aggregate.window = groups->window;
    node->aggregate.global = keys == 0;
    for (size_t i = 0; i < keys; i++) {
        node->aggregate.keys[i] = groups->keys.items[i];
        fields[i] = (struct data_field){groups->names.items[i], groups->types.items[i], true};
    }
    for (size_t i = 0; i < aggregates; i++) {
        node->aggregate.aggregates[i] = groups->aggregates.items[i];
        fields[keys + i] = (struct data_field){
            mr_arena_printf(b->arena, "aggregate%zu", i + 1), groups->aggregates.items[i].type,
            groups->aggregates.items[i].kind != SQL_AGGREGATE_COUNT};
    }
    node->row = data_type_struct(b->arena, fields, keys + aggregates);
}

/* ---- items ---- */
struct items {
    MR_ARRAY(struct sql_expr *) exprs;
    MR_ARRAY(struct data_field) fields;
};

static void add_item(struct items *items, struct sql_expr *expr, mr_str name)
{
    *mr_array_add(&items->exprs) = expr;
    *mr_array_add(&items->fields) = (struct data_field){name, expr->type, expr->nullable};
}

static struct sql_ast *name_ast(struct sql_binder *b, const struct sql_ast *place,
                                const mr_str *parts, uint32_t count)
{
    struct sql_ast *ast = mr_arena_new(b->arena, struct sql_ast);
    ast->kind = SQL_AST_NAME;
    ast->line = place->line;
    ast->column = place->column;
    ast->parts = mr_arena_array(b->arena, mr_str, count + 2);
    for (uint32_t i = 0; i < count; i++)
        ast->parts[i] = parts[i];
    ast->part_count = count;
    return ast;
}

/* *, t.* or struct.*: `old` columns, without those that a generator among the items adds. */
static void add_star(struct sql_binder *b, struct items *items, const struct sql_ast *star,
                     uint32_t old)
{
    bool any = false;
    for (uint32_t i = 0; i < old; i++) {
        const struct sql_column *column = &b->scope->columns[i];
        if (star->part_count > 1 ||
            (star->part_count == 1 && !mr_str_equal_nocase(column->qualifier, star->parts[0])))
            continue;
        struct sql_expr *expr = sql_exprs_new(b, SQL_EXPR_COLUMN, column->type, 0, star);
        expr->index = i;
        expr->nullable = column->nullable;
        if (column->use != NULL) {
            column->use->whole = true;
            *mr_array_add(&b->references) = (struct sql_reference){.expr = expr,
                                                                   .use = column->use};
        }
        add_item(items, expr, column->name);
        any = true;
    }
    if (any || star->part_count == 0)
        return;
    struct sql_ast *base = name_ast(b, star, star->parts, star->part_count);
    struct sql_expr *expr = sql_exprs_bind(b, base);
    if (b->err == MR_OK && expr->type->kind != DATA_STRUCT)
        sql_binder_fail(b, MR_INVALID, star->line, star->column,
                        "%.*s.*: expected a table or a struct, found %.*s",
                        MR_STR_ARG(star->parts[star->part_count - 1]),
                        MR_STR_ARG(sql_binder_type_text(b, expr->type)));
    for (uint32_t i = 0; b->err == MR_OK && i < expr->type->field_count; i++) {
        mr_str parts[1] = {expr->type->fields[i].name};
        struct sql_ast *field = name_ast(b, star, star->parts, star->part_count);
        field->parts[field->part_count++] = parts[0];
        add_item(items, sql_exprs_bind(b, field), parts[0]);
    }
}

/* The name of an item: its alias, the last part of a name, or what Spark prints. */
static mr_str item_name(struct sql_binder *b, const struct sql_ast *item,
                        const struct data_type *type)
{
    struct mr_buf name = {0};
    if (item->kind == SQL_AST_ALIAS)
        return item->name;
    if (item->kind == SQL_AST_NAME)
        return item->parts[item->part_count - 1];
    if (item->kind == SQL_AST_CALL && mr_str_equal(item->name, MR_STR("window")))
        return MR_STR("window");
    if (item->kind == SQL_AST_CAST && item->args[0]->kind == SQL_AST_NAME &&
        item->args[0]->part_count == item->args[0]->qualifier_count + 1)
        return item_name(b, item->args[0], type);
    if (item->kind == SQL_AST_CALL && mr_str_equal(item->name, MR_STR("from_json")) &&
        type->kind == DATA_MAP)
        return MR_STR("entries"); /* Spark's word for it */
    sql_name_print(&name, item);
    mr_str copy = mr_arena_str(b->arena, mr_buf_as_str(&name));
    mr_buf_fini(&name);
    return copy;
}

static struct sql_node *bind_items(struct sql_binder *b, const struct sql_query *query,
                                   struct sql_node *input, int generator, uint32_t old)
{
    struct items items = {0};
    struct sql_node *node = new_node(b, SQL_NODE_PROJECT, input, query->line, query->column);
    b->items = query->items;
    for (uint32_t i = 0; i < query->item_count && b->err == MR_OK; i++) {
        struct sql_ast *item = query->items[i];
        b->item_count = i;
        if ((int)i == generator) {
            for (uint32_t c = old; c < b->scope->count; c++) {
                struct sql_expr *expr = sql_exprs_new(b, SQL_EXPR_COLUMN, b->scope->columns[c].type,
                                                      0, item);
                expr->index = c;
                expr->nullable = b->scope->columns[c].nullable;
                add_item(&items, expr, b->scope->columns[c].name);
            }
        } else if (item->kind == SQL_AST_STAR && b->groups != NULL) {
            sql_binder_fail(b, MR_INVALID, item->line, item->column,
                            "* has no place in a grouped query: name the keys and the aggregates");
        } else if (item->kind == SQL_AST_STAR) {
            add_star(b, &items, item, old);
        } else if (item->kind == SQL_AST_ALIAS && item->alias_count > 0) {
            sql_binder_fail(b, MR_INVALID, item->line, item->column,
                            "AS (a, b): several names belong to a generator such as explode");
        } else {
            struct sql_expr *expr = sql_exprs_bind(b, item);
            add_item(&items, expr, item_name(b, item, expr->type));
        }
    }
    b->item_count = 0;
    node->project.exprs = mr_arena_array(b->arena, struct sql_expr *, items.exprs.count);
    if (items.exprs.count > 0)
        memcpy(node->project.exprs, items.exprs.items,
               items.exprs.count * sizeof(struct sql_expr *));
    node->row = data_type_struct(b->arena, items.fields.items, items.fields.count);
    mr_array_fini(&items.exprs);
    mr_array_fini(&items.fields);
    return node;
}

/* ---- queries ---- */
static struct sql_node *bind_grouped(struct sql_binder *b, const struct sql_query *query,
                                     struct sql_node *input)
{
    struct sql_groups groups = {0};
    b->aggregates = true;
    b->items = query->items;
    b->item_count = 0;
    bind_keys(b, &groups, query);
    struct sql_node *node = new_node(b, SQL_NODE_AGGREGATE, input,
                                     query->has_group ? query->group_line : query->line,
                                     query->has_group ? query->group_column : query->column);
    struct sql_node *having = NULL, *project = NULL;
    b->groups = &groups;
    if (b->err == MR_OK)
        project = bind_items(b, query, node, -1, 0);
    b->item_count = query->item_count; /* HAVING sees the aliases */
    if (b->err == MR_OK && query->having != NULL)
        having = bind_filter(b, node, query->having, "HAVING");
    b->item_count = 0;
    b->groups = NULL;
    if (b->err == MR_OK) {
        fill_aggregate(b, node, &groups);
        if (having != NULL) {
            having->row = node->row;
            project->input = having;
        }
    }
    mr_array_fini(&groups.keys);
    mr_array_fini(&groups.types);
    mr_array_fini(&groups.names);
    mr_array_fini(&groups.aggregates);
    return project;
}

static struct sql_node *bind_generated(struct sql_binder *b, const struct sql_query *query,
                                       struct sql_node *node, struct sql_scope *scope)
{
    uint32_t old = scope->count;
    int generator = find_item_generator(b, query);
    if (generator >= 0 && b->err == MR_OK) {
        struct sql_ast *item = query->items[generator];
        bool alias = item->kind == SQL_AST_ALIAS;
        const mr_str *names = alias && item->alias_count == 0 ? &item->name : item->aliases;
        uint32_t count = !alias ? 0 : item->alias_count == 0 ? 1 : item->alias_count;
        node = bind_generate(b, node, scope, item_of(item), false, MR_STR_NULL, names, count);
    }
    return b->err == MR_OK ? bind_items(b, query, node, generator, old) : NULL;
}

struct sql_node *sql_binder_query(struct sql_binder *b, const struct sql_query *query,
                                  struct sql_scope *out)
{
    struct sql_scope scope = {0};
    const struct sql_scope *outer = b->scope;
    if (++b->depth > MR_LIMIT_SQL_DEPTH)
        sql_binder_fail(b, MR_LIMIT, query->line, query->column, "subqueries nested deeper than %d",
                        MR_LIMIT_SQL_DEPTH);
    struct sql_node *node = b->err == MR_OK ? bind_source(b, query, &scope) : NULL;
    b->item_count = 0;
    for (uint32_t i = 0; i < query->lateral_count && node != NULL; i++) {
        const struct sql_lateral *lateral = &query->laterals[i];
        node = bind_generate(b, node, &scope, lateral->call, lateral->outer, lateral->alias,
                             lateral->columns, lateral->column_count);
    }
    b->scope = &scope;
    if (node != NULL && b->err == MR_OK && query->where != NULL)
        node = bind_filter(b, node, query->where, "WHERE");
    if (node != NULL && b->err == MR_OK)
        node = is_grouped(query) ? bind_grouped(b, query, node)
                                 : bind_generated(b, query, node, &scope);
    b->scope = outer;
    b->depth--;
    if (b->err != MR_OK || node == NULL)
        return NULL;
    if (out != NULL)
        scope_columns(b, out, node->row, MR_STR_NULL);
    return node;
}
