/* sql/names.c: the name of a column that has no alias, as Spark makes it: `(a + 1)`, `count(1)`. */
#include "sql/ast.h"

/* Functions that Spark prints otherwise than they were written. `shown` NULL: as written. `defaults`
 * are the arguments that it adds when fewer than `full` are there. */
static const struct {
    const char *name, *shown;
    uint32_t full;
    const char *defaults;
} spellings[] = {
    {"substr", NULL, 3, "2147483647"},
    {"substring", NULL, 3, "2147483647"},
    {"lpad", NULL, 3, " "},
    {"rpad", NULL, 3, " "},
    {"position", NULL, 3, "1"},
    {"locate", NULL, 3, "1"},
    {"charindex", NULL, 3, "1"},
    {"trim_leading", "ltrim", 0, NULL},
    {"trim_trailing", "rtrim", 0, NULL},
    {"curdate", "current_date", 0, NULL},
    {"split", NULL, 3, "-1"},
    {"replace", NULL, 3, ""},
    {"regexp_replace", NULL, 4, "1"},
    {"regexp_extract", NULL, 3, "1"},
    {"regexp_extract_all", NULL, 3, "1"},
    {"overlay", NULL, 4, "-1"},
    {"round", NULL, 2, "0"},
    {"bround", NULL, 2, "0"},
    {"sort_array", NULL, 2, "true"},
    {"months_between", NULL, 3, "true"},
    {"unix_timestamp", NULL, 2, "yyyy-MM-dd HH:mm:ss"},
    {"to_unix_timestamp", NULL, 2, "yyyy-MM-dd HH:mm:ss"},
    {"from_unixtime", NULL, 2, "yyyy-MM-dd HH:mm:ss"},
    {"ceil", "CEIL", 0, NULL},
    {"floor", "FLOOR", 0, NULL},
    {"sqrt", "SQRT", 0, NULL},
    {"exp", "EXP", 0, NULL},
    {"expm1", "EXPM1", 0, NULL},
    {"log", "LOG", 0, NULL},
    {"log10", "LOG10", 0, NULL},
    {"log2", "LOG2", 0, NULL},
    {"log1p", "LOG1P", 0, NULL},
    {"power", "POWER", 0, NULL},
    {"sin", "SIN", 0, NULL},
    {"cos", "COS", 0, NULL},
    {"tan", "TAN", 0, NULL},
    {"asin", "ASIN", 0, NULL},
    {"acos", "ACOS", 0, NULL},
    {"atan", "ATAN", 0, NULL},
    {"atan2", "ATAN2", 0, NULL},
    {"sinh", "SINH", 0, NULL},
    {"cosh", "COSH", 0, NULL},
    {"tanh", "TANH", 0, NULL},
    {"degrees", "DEGREES", 0, NULL},
    {"radians", "RADIANS", 0, NULL},
    {"pi", "PI", 0, NULL},
    {"e", "E", 0, NULL},
    {"cbrt", "CBRT", 0, NULL},
    {"signum", "SIGNUM", 0, NULL},
    {"hypot", "HYPOT", 0, NULL},
    {"rlike", "RLIKE", 0, NULL},
    {"regexp", "REGEXP", 0, NULL},
    {"regexp_like", "REGEXP_LIKE", 0, NULL},
    {"collect_list", "collect_list", 0, NULL},
    {"dateadd", "date_add", 0, NULL},
};

static void print_args(struct mr_buf *out, const struct sql_ast *ast, const char *between)
{
    for (uint32_t i = 0; i < ast->arg_count; i++) {
        if (i > 0)
            mr_buf_cstr(out, between);
        sql_name_print(out, ast->args[i]);
    }
}

static void print_infix(struct mr_buf *out, const struct sql_ast *ast, mr_str operator)
{
    mr_buf_u8(out, '(');
    sql_name_print(out, ast->args[0]);
    mr_buf_printf(out, " %.*s ", MR_STR_ARG(operator));
    sql_name_print(out, ast->args[1]);
    mr_buf_u8(out, ')');
}

static void print_chain(struct mr_buf *out, const struct sql_ast *ast)
{
    for (uint32_t i = 1; i < ast->arg_count; i++)
        mr_buf_u8(out, '(');
    for (uint32_t i = 0; i < ast->arg_count; i++) {
        if (i > 0)
            mr_buf_cstr(out, ast->kind == SQL_AST_AND ? " AND " : " OR ");
        sql_name_print(out, ast->args[i]);
        if (i > 0)
            mr_buf_u8(out, ')');
    }
}

static void print_case(struct mr_buf *out, const struct sql_ast *ast)
{
    uint32_t at = ast->has_operand;
    mr_buf_cstr(out, "CASE");
    for (; at + 1 < ast->arg_count + (ast->has_else ? 0 : 1); at += 2) {
        mr_buf_cstr(out, " WHEN ");
        if (ast->has_operand) {
            mr_buf_u8(out, '(');
            sql_name_print(out, ast->args[0]);
            mr_buf_cstr(out, " = ");
        }
        sql_name_print(out, ast->args[at]);
        mr_buf_cstr(out, ast->has_operand ? ") THEN " : " THEN ");
        sql_name_print(out, ast->args[at + 1]);
    }
    if (ast->has_else) {
        mr_buf_cstr(out, " ELSE ");
        sql_name_print(out, ast->args[at]);
    }
    mr_buf_cstr(out, " END");
}

/* ---- intervals: INTERVAL '01:30' HOUR TO MINUTE ---- */
static void print_interval(struct mr_buf *out, const struct sql_ast *ast)
{
    static const char *const names[] = {"YEAR", "MONTH", "", "DAY", "HOUR", "MINUTE", "SECOND"};
    int64_t value = ast->unit_first <= 1 ? ast->months : ast->micros;
    uint64_t size = value < 0 ? -(uint64_t)value : (uint64_t)value;
    mr_buf_printf(out, "INTERVAL '%s", value < 0 ? "-" : "");
    for (int unit = ast->unit_first; unit <= ast->unit_last; unit++) {
        static const uint64_t sizes[] = {12, 1, 0, 86400000000, 3600000000, 60000000, 1000000};
        if (unit == 2)
            continue;
        const char *separator = unit == ast->unit_first ? ""
                                : unit == 1             ? "-"
                                : unit == 4             ? " "
                                                        : ":";
        mr_buf_printf(out, "%s%0*llu", separator, unit >= 4 ? 2 : 1,
                      (unsigned long long)(size / sizes[unit]));
        size %= sizes[unit];
    }
    if (size > 0 && ast->unit_last == 6) {
        char text[DATA_TEXT_BYTES];
        size_t length = data_timestamp_format((int64_t)size, text);
        mr_buf_add(out, text + 19, length - 19);
    }
    mr_buf_printf(out, "' %s", names[ast->unit_first]);
    if (ast->unit_first != ast->unit_last)
        mr_buf_printf(out, " TO %s", names[ast->unit_last]);
}

/* ---- calls ---- */
static bool is_call(const struct sql_ast *ast, const char *name)
{
    return mr_str_equal(ast->name, mr_str_from(name));
}

static bool has_date(const struct sql_ast *ast)
{
    return ast->kind == SQL_AST_LITERAL && ast->type->kind == DATA_DATE;
}

/* Operators: what is not a plain infix. */
static bool print_operator(struct mr_buf *out, const struct sql_ast *ast)
{
    const struct sql_ast *a = ast->arg_count > 0 ? ast->args[0] : NULL;
    if (is_call(ast, "not")) {
        mr_buf_cstr(out, "(NOT ");
        sql_name_print(out, a);
        mr_buf_u8(out, ')');
    } else if (is_call(ast, "negative")) {
        mr_buf_cstr(out, "(- ");
        sql_name_print(out, a);
        mr_buf_u8(out, ')');
    } else if (is_call(ast, "~")) {
        mr_buf_u8(out, '~');
        sql_name_print(out, a);
    } else if (is_call(ast, "||")) {
        mr_buf_cstr(out, "concat(");
        print_args(out, ast, ", ");
        mr_buf_u8(out, ')');
    } else if (is_call(ast, "!=")) {
        mr_buf_cstr(out, "(NOT ");
        print_infix(out, ast, MR_STR("="));
        mr_buf_u8(out, ')');
    } else if (is_call(ast, "[]")) {
        sql_name_print(out, a);
        if (ast->args[1]->kind == SQL_AST_LITERAL && ast->field_access) {
            mr_buf_printf(out, ".%.*s", MR_STR_ARG(ast->args[1]->text));
            return true;
        }
        mr_buf_u8(out, '[');
        sql_name_print(out, ast->args[1]);
        mr_buf_u8(out, ']');
    } else if (is_call(ast, "in")) {
        mr_buf_u8(out, '(');
        sql_name_print(out, a);
        mr_buf_cstr(out, " IN (");
        for (uint32_t i = 1; i < ast->arg_count; i++) {
            mr_buf_cstr(out, i > 1 ? ", " : "");
            sql_name_print(out, ast->args[i]);
        }
        mr_buf_cstr(out, "))");
    } else if (is_call(ast, "is true") || is_call(ast, "is false")) {
        mr_buf_u8(out, '(');
        sql_name_print(out, a);
        mr_buf_cstr(out, is_call(ast, "is true") ? " <=> true)" : " <=> false)");
    } else if ((is_call(ast, "+") || is_call(ast, "-")) && ast->args[1]->kind == SQL_AST_INTERVAL) {
        sql_name_print(out, a);
        mr_buf_printf(out, " %.*s ", MR_STR_ARG(ast->name));
        sql_name_print(out, ast->args[1]);
    } else if ((is_call(ast, "+") || is_call(ast, "-")) && has_date(a) && !has_date(ast->args[1])) {
        mr_buf_cstr(out, is_call(ast, "+") ? "date_add(" : "date_sub(");
        print_args(out, ast, ", ");
        mr_buf_u8(out, ')');
    } else if (is_call(ast, "+") && has_date(ast->args[1]) && !has_date(a)) {
        mr_buf_cstr(out, "date_add(");
        sql_name_print(out, ast->args[1]);
        mr_buf_cstr(out, ", ");
        sql_name_print(out, a);
        mr_buf_u8(out, ')');
    } else {
        return false;
    }
    return true;
}

/* Functions that Spark shows as the operators or words that they are. */
static bool print_special(struct mr_buf *out, const struct sql_ast *ast)
{
    bool null = is_call(ast, "isnull"), not_null = is_call(ast, "isnotnull");
    bool leading = is_call(ast, "trim_leading") || is_call(ast, "ltrim");
    bool trailing = is_call(ast, "trim_trailing") || is_call(ast, "rtrim");
    if ((null || not_null) && ast->arg_count == 1) {
        mr_buf_u8(out, '(');
        sql_name_print(out, ast->args[0]);
        mr_buf_cstr(out, null ? " IS NULL)" : " IS NOT NULL)");
    } else if (is_call(ast, "positive") && ast->arg_count == 1) {
        mr_buf_cstr(out, "(+ ");
        sql_name_print(out, ast->args[0]);
        mr_buf_u8(out, ')');
    } else if ((is_call(ast, "first") || is_call(ast, "last")) && ast->arg_count == 2) {
        mr_buf_printf(out, "%.*s(", MR_STR_ARG(ast->name));
        sql_name_print(out, ast->args[0]);
        mr_buf_u8(out, ')');
    } else if (is_call(ast, "unix_timestamp") && ast->arg_count == 0) {
        mr_buf_cstr(out, "unix_timestamp(current_timestamp(), yyyy-MM-dd HH:mm:ss)");
    } else if (is_call(ast, "if")) {
        mr_buf_cstr(out, "(IF(");
        print_args(out, ast, ", ");
        mr_buf_cstr(out, "))");
    } else if (is_call(ast, "like") && ast->arg_count >= 2) {
        sql_name_print(out, ast->args[0]);
        mr_buf_cstr(out, " LIKE ");
        sql_name_print(out, ast->args[1]);
    } else if (is_call(ast, "extract")) {
        mr_buf_printf(out, "%.*s(%.*s FROM ", MR_STR_ARG(ast->name),
                      MR_STR_ARG(ast->args[0]->text));
        sql_name_print(out, ast->args[1]);
        mr_buf_u8(out, ')');
    } else if ((leading || trailing || (is_call(ast, "trim") && ast->negated)) &&
               ast->arg_count == 2) {
        bool function = is_call(ast, "ltrim") || is_call(ast, "rtrim");
        mr_buf_printf(out, "TRIM(%s ", leading ? "LEADING" : trailing ? "TRAILING" : "BOTH");
        sql_name_print(out, ast->args[function ? 0 : 1]);
        mr_buf_cstr(out, " FROM ");
        sql_name_print(out, ast->args[function ? 1 : 0]);
        mr_buf_u8(out, ')');
    } else if (is_call(ast, "log") && ast->arg_count == 1) {
        mr_buf_cstr(out, "LOG(E(), ");
        sql_name_print(out, ast->args[0]);
        mr_buf_u8(out, ')');
    } else if (is_call(ast, "from_json") && ast->arg_count >= 2) {
        mr_buf_cstr(out, "from_json(");
        sql_name_print(out, ast->args[0]);
        mr_buf_u8(out, ')');
    } else {
        return false;
    }
    return true;
}

/* int(x), string(x), ...: Spark shows the argument alone. */
static bool is_cast_function(const struct sql_ast *ast)
{
    static const char *const names[] = {"boolean", "tinyint", "smallint", "int",
                                        "bigint",  "float",   "double",   "string",
                                        "binary",  "date",    "timestamp"};
    for (size_t i = 0; i < mr_count_of(names); i++)
        if (is_call(ast, names[i]))
            return ast->arg_count == 1;
    return false;
}

static void print_call(struct mr_buf *out, const struct sql_ast *ast)
{
    size_t spelling = 0;
    if (ast->is_operator ? print_operator(out, ast) : false)
        return;
    if (print_special(out, ast))
        return;
    if (is_cast_function(ast)) {
        sql_name_print(out, ast->args[0]);
        return;
    }
    if (ast->is_operator && ast->arg_count == 2 && !is_call(ast, "rlike") &&
        !is_call(ast, "ilike")) {
        print_infix(out, ast, ast->name);
        return;
    }
    while (spelling < mr_count_of(spellings) && !is_call(ast, spellings[spelling].name))
        spelling++;
    bool known = spelling < mr_count_of(spellings);
    const char *shown = known ? spellings[spelling].shown : NULL;
    if (shown != NULL)
        mr_buf_cstr(out, shown);
    else
        mr_buf_str(out, ast->name);
    mr_buf_cstr(out, ast->distinct ? "(DISTINCT " : "(");
    if (ast->arg_count == 1 && ast->args[0]->kind == SQL_AST_STAR && is_call(ast, "count"))
        mr_buf_u8(out, '1');
    else
        print_args(out, ast, ", ");
    if (known && ast->arg_count + 1 == spellings[spelling].full && ast->arg_count > 0)
        mr_buf_printf(out, ", %s", spellings[spelling].defaults);
    mr_buf_u8(out, ')');
    if (ast->filter != NULL) {
        mr_buf_cstr(out, " FILTER (WHERE ");
        sql_name_print(out, ast->filter);
        mr_buf_u8(out, ')');
    }
}

void sql_name_print(struct mr_buf *out, const struct sql_ast *ast)
{
    switch (ast->kind) {
    case SQL_AST_LITERAL:
        mr_buf_str(out, ast->text);
        return;
    case SQL_AST_NAME:
        for (uint32_t i = ast->qualifier_count; i < ast->part_count; i++) {
            mr_buf_cstr(out, i > ast->qualifier_count ? "." : "");
            mr_buf_str(out, ast->parts[i]);
        }
        return;
    case SQL_AST_STAR:
        mr_buf_u8(out, '*');
        return;
    case SQL_AST_CALL:
        print_call(out, ast);
        return;
    case SQL_AST_CAST:
        if (ast->type->kind == DATA_ARRAY || ast->type->kind == DATA_MAP ||
            ast->type->kind == DATA_STRUCT) {
            sql_name_print(out, ast->args[0]);
            return;
        }
        mr_buf_cstr(out, ast->safe ? "TRY_CAST(" : "CAST(");
        sql_name_print(out, ast->args[0]);
        mr_buf_cstr(out, " AS ");
        data_type_print_sql(out, ast->type);
        mr_buf_u8(out, ')');
        return;
    case SQL_AST_FIELD:
        sql_name_print(out, ast->args[0]);
        mr_buf_printf(out, ".%.*s", MR_STR_ARG(ast->name));
        return;
    case SQL_AST_AND:
    case SQL_AST_OR:
        print_chain(out, ast);
        return;
    case SQL_AST_CASE:
        print_case(out, ast);
        return;
    case SQL_AST_INTERVAL:
        print_interval(out, ast);
        return;
    case SQL_AST_ALIAS:
        sql_name_print(out, ast->args[0]);
        mr_buf_printf(out, " AS %.*s", MR_STR_ARG(ast->name));
        return;
    }
}
