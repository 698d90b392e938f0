/* sql/sql.c: the room's face: bind a statement or an expression, list its tables, print plans and
 * the functions' documentation. */
#include "sql/bind.h"

/* ---- binding ---- */
static void binder_fini(struct sql_binder *b)
{
    mr_array_fini(&b->references);
}

mr_err sql_bind(struct mr_arena *arena, mr_str text, const struct sql_catalog *catalog,
                const struct sql_settings *settings, struct sql_plan **out)
{
    struct sql_query *query = NULL;
    struct sql_binder b = {.arena = arena, .catalog = catalog, .settings = settings};
    mr_err err = sql_parser_query(arena, text, &query);
    if (err != MR_OK)
        return err;
    struct sql_node *root = sql_binder_query(&b, query, NULL);
    if (b.err == MR_OK) {
        struct sql_plan *plan = mr_arena_new(arena, struct sql_plan);
        sql_prune_run(&b, root);
        plan->root = root;
        plan->scan = b.scan;
        plan->aggregates = b.aggregates;
        plan->deterministic = !b.reads_clock;
        *out = plan;
    }
    binder_fini(&b);
    return b.err;
}

static const struct data_type *no_table(void *self, mr_str name)
{
    (void)self;
    (void)name;
    return NULL;
}

mr_err sql_bind_expr(struct mr_arena *arena, mr_str text, const struct data_type *row,
                     const struct sql_settings *settings, struct sql_expr **out)
{
    static const struct sql_catalog nowhere = {.table = no_table};
    struct sql_ast *ast = NULL;
    struct sql_binder b = {.arena = arena, .catalog = &nowhere, .settings = settings};
    struct sql_scope scope = {.about = MR_STR("the row"), .count = row->field_count};
    mr_err err = sql_parser_expr(arena, text, &ast);
    if (err != MR_OK)
        return err;
    scope.columns = mr_arena_array(arena, struct sql_column, row->field_count);
    for (uint32_t i = 0; i < row->field_count; i++)
        scope.columns[i] = (struct sql_column){.name = row->fields[i].name,
                                               .type = row->fields[i].type,
                                               .nullable = row->fields[i].nullable};
    b.scope = &scope;
    struct sql_expr *expr = sql_exprs_bind(&b, ast);
    if (b.err == MR_OK)
        *out = expr;
    binder_fini(&b);
    return b.err;
}

/* ---- tables ---- */
struct tables {
    MR_ARRAY(mr_str) names;
    int depth;
};

static void add_tables(struct tables *tables, const struct sql_query *query)
{
    const struct sql_source *source = query->source;
    if (source == NULL || source->is_values || ++tables->depth > MR_LIMIT_SQL_NODES / 10)
        return;
    if (source->query != NULL) {
        add_tables(tables, source->query);
        return;
    }
    for (const struct sql_with *with = query->with; with != NULL; with = with->next)
        if (mr_str_equal_nocase(with->name, source->table)) {
            add_tables(tables, with->query);
            return;
        }
    for (size_t i = 0; i < tables->names.count; i++)
        if (mr_str_equal_nocase(tables->names.items[i], source->table))
            return;
    *mr_array_add(&tables->names) = source->table;
}

mr_err sql_tables(struct mr_arena *arena, mr_str text, mr_str **names, size_t *count)
{
    struct sql_query *query = NULL;
    struct tables tables = {0};
    mr_err err = sql_parser_query(arena, text, &query);
    if (err != MR_OK)
        return err;
    add_tables(&tables, query);
    *names = mr_arena_array(arena, mr_str, tables.names.count);
    if (tables.names.count > 0)
        memcpy(*names, tables.names.items, tables.names.count * sizeof(mr_str));
    *count = tables.names.count;
    mr_array_fini(&tables.names);
    return MR_OK;
}

/* ---- plans for people ---- */
static void print_expr(struct mr_buf *out, const struct sql_expr *expr,
                       const struct data_type *row);

static void print_exprs(struct mr_buf *out, struct sql_expr *const *exprs, uint32_t count,
                        const struct data_type *row)
{
    for (uint32_t i = 0; i < count; i++) {
        mr_buf_cstr(out, i > 0 ? ", " : "");
        if (exprs[i] == NULL)
            mr_buf_cstr(out, "window");
        else
            print_expr(out, exprs[i], row);
    }
}

static void print_expr(struct mr_buf *out, const struct sql_expr *expr, const struct data_type *row)
{
    static const char *const words[] = {[SQL_EXPR_AND] = "and",
                                        [SQL_EXPR_OR] = "or",
                                        [SQL_EXPR_CASE] = "case",
                                        [SQL_EXPR_COALESCE] = "coalesce"};
    switch (expr->kind) {
    case SQL_EXPR_LITERAL:
        if (expr->type->kind == DATA_STRING && expr->literal->valid[0])
            mr_buf_json(out, expr->literal->strs[0]);
        else
            data_value_print(out, expr->literal, 0);
        return;
    case SQL_EXPR_COLUMN:
        mr_buf_str(out, row->fields[expr->index].name);
        return;
    case SQL_EXPR_FIELD: {
        const struct data_type *from = expr->args[0]->type;
        from = from->kind == DATA_ARRAY ? from->element : from;
        print_expr(out, expr->args[0], row);
        mr_buf_printf(out, ".%.*s", MR_STR_ARG(from->fields[expr->index].name));
        return;
    }
    case SQL_EXPR_CAST:
        mr_buf_cstr(out, expr->safe ? "try_cast(" : "cast(");
        print_expr(out, expr->args[0], row);
        mr_buf_cstr(out, " as ");
        data_type_print(out, expr->type);
        mr_buf_u8(out, ')');
        return;
    case SQL_EXPR_CALL:
        mr_buf_str(out, sql_function_name(expr->function));
        break;
    case SQL_EXPR_AND:
    case SQL_EXPR_OR:
    case SQL_EXPR_CASE:
    case SQL_EXPR_COALESCE:
        mr_buf_cstr(out, words[expr->kind]);
        break;
    }
    mr_buf_u8(out, '(');
    print_exprs(out, expr->args, expr->arg_count, row);
    mr_buf_u8(out, ')');
}

static void print_aggregates(struct mr_buf *out, const struct sql_node *node)
{
    static const char *const names[] = {"count", "sum",  "avg",      "min",    "max",
                                        "first", "last", "bool_and", "bool_or"};
    const struct data_type *row = node->input->row;
    mr_buf_cstr(out, "aggregate by [");
    print_exprs(out, node->aggregate.keys, node->aggregate.key_count, row);
    mr_buf_cstr(out, "]");
    for (uint32_t i = 0; i < node->aggregate.aggregate_count; i++) {
        const struct sql_aggregate *aggregate = &node->aggregate.aggregates[i];
        mr_buf_printf(out, "%s %s(", i > 0 ? "," : "", names[aggregate->kind]);
        print_exprs(out, aggregate->args, aggregate->arg_count, row);
        mr_buf_cstr(out, aggregate->arg_count == 0 ? "*)" : ")");
        if (aggregate->filter != NULL) {
            mr_buf_cstr(out, " where ");
            print_expr(out, aggregate->filter, row);
        }
    }
    if (node->aggregate.window != NULL) {
        mr_buf_printf(out, " in windows of %lld us every %lld us over ",
                      (long long)node->aggregate.window->size_us,
                      (long long)node->aggregate.window->slide_us);
        print_expr(out, node->aggregate.window->time, row);
    }
}

static void print_scan(struct mr_buf *out, const struct sql_node *node)
{
    bool first = true;
    mr_buf_printf(out, "scan %.*s: ", MR_STR_ARG(node->scan.table));
    for (uint32_t i = 0; i < node->row->field_count; i++) {
        if (!node->scan.used[i])
            continue;
        mr_buf_printf(out, "%s%.*s ", first ? "" : ", ", MR_STR_ARG(node->row->fields[i].name));
        data_type_print(out, node->row->fields[i].type);
        first = false;
    }
    mr_buf_cstr(out, first ? "no columns" : "");
}

static void print_node(struct mr_buf *out, const struct sql_node *node)
{
    if (node->input != NULL)
        print_node(out, node->input);
    switch (node->kind) {
    case SQL_NODE_SCAN:
        print_scan(out, node);
        break;
    case SQL_NODE_VALUES:
        mr_buf_printf(out, "values: %u rows", node->values.row_count);
        break;
    case SQL_NODE_FILTER:
        mr_buf_cstr(out, "filter ");
        print_expr(out, node->filter.predicate, node->input->row);
        break;
    case SQL_NODE_PROJECT:
        mr_buf_cstr(out, "project ");
        for (uint32_t i = 0; i < node->row->field_count; i++) {
            mr_buf_cstr(out, i > 0 ? ", " : "");
            print_expr(out, node->project.exprs[i], node->input->row);
            mr_buf_printf(out, " as %.*s", MR_STR_ARG(node->row->fields[i].name));
        }
        break;
    case SQL_NODE_GENERATE:
        mr_buf_printf(out, "unfold%s ", node->generate.outer ? " outer" : "");
        print_expr(out, node->generate.list, node->input->row);
        break;
    case SQL_NODE_AGGREGATE:
        print_aggregates(out, node);
        break;
    }
    mr_buf_u8(out, '\n');
}

void sql_plan_print(struct mr_buf *out, const struct sql_plan *plan)
{
    print_node(out, plan->root);
}

/* ---- documentation ---- */
static void print_row(struct mr_buf *out, const char *name, const char *args, const char *about)
{
    static const struct {
        char letter;
        const char *word;
    } words[] = {{'s', "text"},   {'x', "binary"},  {'i', "int"},  {'l', "bigint"},
                 {'d', "double"}, {'b', "boolean"}, {'D', "date"}, {'t', "timestamp"},
                 {'N', "number"}, {'*', "any"}};
    struct mr_buf shown = {0};
    for (const char *at = args; args[0] != '@' && *at != '\0'; at++) {
        for (size_t i = 0; i < mr_count_of(words); i++)
            if (words[i].letter == *at)
                mr_buf_printf(&shown, "%s%s%s", shown.length > 0 ? ", " : "",
                              at[1] == '?' ? "[" : "", words[i].word);
        if (*at == '?')
            mr_buf_u8(&shown, ']');
    }
    mr_buf_cstr(out, "| `");
    for (; *name != '\0'; name++)
        mr_buf_printf(out, *name == '|' ? "\\|" : "%c", *name);
    mr_buf_printf(out, "` | %.*s | ", MR_STR_ARG(mr_buf_as_str(&shown)));
    for (; *about != '\0'; about++)
        mr_buf_printf(out, *about == '|' ? "\\|" : "%c", *about);
    mr_buf_cstr(out, " |\n");
    mr_buf_fini(&shown);
}

static void print_intro(struct mr_buf *out)
{
    mr_buf_cstr(
        out,
        "# SQL of streams\n\n"
        "A stream is one `SELECT` in Spark SQL, version 3.5. It means here what it means on "
        "Spark:\n"
        "the same types, the same implicit casts, the same answers for NULL, overflow and bad "
        "text.\n"
        "ANSI mode is off unless set on; the session's time zone is UTC.\n\n"
        "```sql\n"
        "[WITH name AS (SELECT ...), ...]\n"
        "SELECT item [AS alias], *, t.*, struct.*, explode(array or map), ...\n"
        "FROM table | (SELECT ...) [AS alias]\n"
        "[LATERAL VIEW [OUTER] explode(...) view AS column ...]\n"
        "[WHERE condition]\n"
        "[GROUP BY expressions, aliases, ordinals, ALL, window(time, size[, slide[, start]])]\n"
        "[HAVING condition]\n"
        "```\n\n"
        "What has no meaning on something that never ends, or is not there yet, is refused with a\n"
        "sentence and its place: joins, UNION, ORDER BY, LIMIT, DISTINCT, OVER, subqueries as "
        "values,\n"
        "functions of functions (`x -> ...`), session windows, functions of chance (rand, "
        "uuid).\n\n"
        "Also there: `CAST`, `TRY_CAST`, `::`, `CASE`, `coalesce`, `nvl`, `ifnull`, `nvl2`, "
        "`nullif`,\n"
        "`if`, `BETWEEN`, `IS DISTINCT FROM`, `extract(field FROM time)`, `date_part`, intervals, "
        "and\n"
        "the generators `explode`, `explode_outer`, `posexplode`, `posexplode_outer`.\n\n"
        "Aggregates: `count(*)`, `count(x, ...)`, `count_if`, `sum`, `avg` (`mean`), `min`, "
        "`max`,\n"
        "`first` (`first_value`, `any_value`), `last` (`last_value`), `bool_and` (`every`), "
        "`bool_or`\n"
        "(`any`, `some`), each with `FILTER (WHERE ...)`.\n\n"
        "Where an answer may differ from Spark's: time zones by name are not there, only UTC and\n"
        "offsets; a text of a time without a date casts to NULL, not to today; a text that only "
        "Spark's\n"
        "older parser would take is NULL, not an error; regular expressions are PCRE2's; `exp`, "
        "`cosh`\n"
        "and the like are the C library's, so the last digit may differ; in ANSI mode casts, "
        "arithmetic\n"
        "and indexes raise errors, but implicit casts stay those of ANSI off.\n");
}

void sql_print_docs(struct mr_buf *out)
{
    static const char table[] = "\n| function | arguments | what it gives |\n|---|---|---|\n";
    print_intro(out);
#define SECTION(text) mr_buf_printf(out, "\n## %s\n%s", text, table);
#define FUNCTION(id, name, args, result, nulls, about) print_row(out, name, args, about);
#define ALIAS(name, id)
#include "sql/functions.def"
    mr_buf_cstr(out, "\n## Other names\n\n| name | the same as |\n|---|---|\n");
#define FUNCTION(id, name, args, result, nulls, about)
#define ALIAS(name, id) \
    mr_buf_printf(out, "| `%s` | `%.*s` |\n", name, MR_STR_ARG(sql_function_name(SQL_FN_##id)));
#include "sql/functions.def"
}
