/* sql/parser.c: tokens to a statement: recursive descent, precedence climbing for operators. Sticky:
 * after the first error every function returns at once with something harmless. */
#include "sql/ast.h"

#include <stdarg.h>
#include <stdio.h>

struct parser {
    struct mr_arena *arena;
    struct sql_token *token; /* the next one */
    struct sql_with *with;   /* the named queries in sight */
    int depth;
    mr_err err;
};

/* ---- tokens ---- */
static void fail_at(struct parser *p, const struct sql_token *token, mr_err code,
                    const char *format, ...) __attribute__((format(printf, 4, 5)));
static void fail_at(struct parser *p, const struct sql_token *token, mr_err code,
                    const char *format, ...)
{
    char sentence[900];
    va_list args;
    if (p->err != MR_OK)
        return;
    va_start(args, format);
    vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    p->err = sql_place_fail(code, token->line, token->column, "%s", sentence);
}

static void fail_expected(struct parser *p, const char *expected)
{
    const struct sql_token *token = p->token;
    mr_str found = mr_str_slice(token->text, 0, 40);
    if (token->kind == SQL_TOKEN_END)
        fail_at(p, token, MR_INVALID, "expected %s, found the end of the text", expected);
    else
        fail_at(p, token, MR_INVALID, "expected %s, found \"%.*s\"", expected, MR_STR_ARG(found));
}

static bool is_symbol(const struct sql_token *token, const char *symbol)
{
    return token->kind == SQL_TOKEN_SYMBOL && mr_str_equal(token->text, mr_str_from(symbol));
}

static bool is_word(const struct sql_token *token, const char *word)
{
    return token->kind == SQL_TOKEN_WORD && mr_str_equal_nocase(token->text, mr_str_from(word));
}

static bool take_symbol(struct parser *p, const char *symbol)
{
    if (p->err != MR_OK || !is_symbol(p->token, symbol))
        return false;
    p->token++;
    return true;
}

static bool take_word(struct parser *p, const char *word)
{
    if (p->err != MR_OK || !is_word(p->token, word))
        return false;
    p->token++;
    return true;
}

static void expect_symbol(struct parser *p, const char *symbol, const char *expected)
{
    if (!take_symbol(p, symbol))
        fail_expected(p, expected);
}

static void expect_word(struct parser *p, const char *word)
{
    if (!take_word(p, word))
        fail_expected(p, word);
}

static bool is_name(const struct sql_token *token)
{
    return token->kind == SQL_TOKEN_WORD || token->kind == SQL_TOKEN_QUOTED;
}

static mr_str take_name(struct parser *p, const char *expected)
{
    if (p->err != MR_OK || !is_name(p->token)) {
        fail_expected(p, expected);
        return MR_STR_NULL;
    }
    const struct sql_token *token = p->token++;
    return token->kind == SQL_TOKEN_QUOTED ? token->value : token->text;
}

static bool enter(struct parser *p)
{
    if (++p->depth > MR_LIMIT_SQL_DEPTH)
        fail_at(p, p->token, MR_LIMIT, "nested deeper than %d", MR_LIMIT_SQL_DEPTH);
    return p->err == MR_OK;
}

/* ---- trees ---- */
static struct sql_ast *new_ast(struct parser *p, enum sql_ast_kind kind,
                               const struct sql_token *token)
{
    struct sql_ast *ast = mr_arena_new(p->arena, struct sql_ast);
    ast->kind = kind;
    ast->line = token->line;
    ast->column = token->column;
    return ast;
}

static void add_weight(struct parser *p, struct sql_ast *ast, uint32_t weight)
{
    ast->weight += weight;
    if (ast->weight > MR_LIMIT_SQL_NODES && p->err == MR_OK)
        p->err = sql_place_fail(MR_LIMIT, ast->line, ast->column,
                                "an expression of more than %d parts", MR_LIMIT_SQL_NODES);
}

static void add_arg(struct parser *p, struct sql_ast *ast, struct sql_ast *arg)
{
    uint32_t count = ast->arg_count;
    if ((count & (count - 1)) == 0) { /* 0, 1, 2, 4, ...: full */
        struct sql_ast **args = mr_arena_array(p->arena, struct sql_ast *,
                                               count == 0 ? 1 : count * 2);
        if (count > 0)
            memcpy(args, ast->args, count * sizeof(*args));
        ast->args = args;
    }
    ast->args[ast->arg_count++] = arg;
    ast->height = arg->height >= ast->height ? arg->height + 1 : ast->height;
    add_weight(p, ast, arg->weight + 1);
    if (ast->height > MR_LIMIT_SQL_HEIGHT && p->err == MR_OK)
        p->err = sql_place_fail(MR_LIMIT, arg->line, arg->column,
                                "an expression of more than %d levels", MR_LIMIT_SQL_HEIGHT);
}

static struct sql_ast *new_call(struct parser *p, const struct sql_token *token, const char *name,
                                struct sql_ast *a, struct sql_ast *b)
{
    struct sql_ast *ast = new_ast(p, SQL_AST_CALL, token);
    ast->name = ast->word = mr_str_from(name);
    ast->is_operator = true;
    if (a != NULL)
        add_arg(p, ast, a);
    if (b != NULL)
        add_arg(p, ast, b);
    return ast;
}

static struct sql_ast *not_of(struct parser *p, const struct sql_token *token, bool negated,
                              struct sql_ast *ast)
{
    return negated ? new_call(p, token, "not", ast, NULL) : ast;
}

static struct sql_ast *parse_expr(struct parser *p);
static struct sql_ast *parse_value(struct parser *p, int power);
static struct sql_query *parse_query(struct parser *p);

/* ---- literals ---- */
static struct sql_ast *new_literal(struct parser *p, const struct sql_token *token,
                                   const struct data_type *type, mr_str text)
{
    struct sql_ast *ast = new_ast(p, SQL_AST_LITERAL, token);
    struct data_column *value = data_column_new(p->arena, type, 1);
    value->valid[0] = type->kind != DATA_NULL;
    ast->type = type;
    ast->literal = value;
    ast->text = text;
    return ast;
}

static struct data_column *value_of(struct sql_ast *ast)
{
    return (struct data_column *)ast->literal;
}

static struct sql_ast *new_decimal(struct parser *p, const struct sql_token *token, mr_str digits)
{
    data_decimal value = 0;
    int scale = 0, precision = 1;
    struct mr_buf text = {0};
    if (data_decimal_parse(digits, &value, &scale) != MR_OK) {
        fail_at(p, token, MR_INVALID, "a decimal of at most 38 digits is expected, found %.*s",
                MR_STR_ARG(digits));
        return new_literal(p, token, &data_type_null, digits);
    }
    while (precision < DATA_DECIMAL_DIGITS &&
           (value >= data_decimal_power(precision) || value <= -data_decimal_power(precision)))
        precision++;
    precision = precision < scale ? scale : precision;
    data_decimal_print(&text, value, scale);
    struct sql_ast *ast = new_literal(p, token, data_type_decimal(p->arena, precision, scale),
                                      mr_arena_str(p->arena, mr_buf_as_str(&text)));
    mr_buf_fini(&text);
    value_of(ast)->decimals[0] = value;
    return ast;
}

static struct sql_ast *new_whole(struct parser *p, const struct sql_token *token, mr_str digits,
                                 const struct data_type *type)
{
    static const int64_t largest[] = {
        [DATA_BYTE] = INT8_MAX, [DATA_SHORT] = INT16_MAX, [DATA_INT] = INT32_MAX};
    int64_t value = 0;
    bool fits = mr_str_to_i64(digits, &value) == MR_OK;
    if (type == NULL && !fits)
        return new_decimal(p, token, digits);
    if (type == NULL)
        type = value <= INT32_MAX && value >= INT32_MIN ? &data_type_int : &data_type_long;
    int64_t most = type->kind == DATA_LONG ? INT64_MAX : largest[type->kind];
    if (!fits || value > most || value < -most - 1) {
        fail_at(p, token, MR_INVALID, "%.*s does not fit its type", MR_STR_ARG(token->text));
        return new_literal(p, token, &data_type_null, digits);
    }
    struct sql_ast *ast = new_literal(p, token, type, digits);
    if (type->kind == DATA_BYTE)
        value_of(ast)->bytes[0] = (int8_t)value;
    else if (type->kind == DATA_SHORT)
        value_of(ast)->shorts[0] = (int16_t)value;
    else if (type->kind == DATA_INT)
        value_of(ast)->ints[0] = (int32_t)value;
    else
        value_of(ast)->longs[0] = value;
    return ast;
}

static struct sql_ast *new_float(struct parser *p, const struct sql_token *token, mr_str digits,
                                 bool single)
{
    double value = 0;
    char text[DATA_TEXT_BYTES];
    if (mr_str_to_f64(digits, &value) != MR_OK)
        fail_at(p, token, MR_INVALID, "expected a number, found %.*s", MR_STR_ARG(token->text));
    size_t length = single ? data_float_format((float)value, text)
                           : data_double_format(value, text);
    struct sql_ast *ast = new_literal(p, token, single ? &data_type_float : &data_type_double,
                                      mr_arena_str(p->arena, mr_str_of(text, length)));
    if (single)
        value_of(ast)->floats[0] = (float)value;
    else
        value_of(ast)->doubles[0] = value;
    return ast;
}

/* 1, 1L, 1.0, 1e0, 1.5BD, ...; with the minus before it, which belongs to the literal. */
static struct sql_ast *parse_number(struct parser *p, bool minus)
{
    const struct sql_token *token = p->token++;
    mr_str text = minus ? mr_arena_printf(p->arena, "-%.*s", MR_STR_ARG(token->text)) : token->text;
    size_t letters = text.length;
    while (letters > 0 && !(text.data[letters - 1] >= '0' && text.data[letters - 1] <= '9') &&
           text.data[letters - 1] != '.')
        letters--;
    mr_str digits = mr_str_slice(text, 0, letters);
    mr_str suffix = mr_str_slice(text, letters, text.length);
    bool exponent = mr_str_find_byte(digits, 'e') >= 0 || mr_str_find_byte(digits, 'E') >= 0;
    bool point = mr_str_find_byte(digits, '.') >= 0;
    if (mr_str_equal_nocase(suffix, MR_STR("D")))
        return new_float(p, token, digits, false);
    if (mr_str_equal_nocase(suffix, MR_STR("F")))
        return new_float(p, token, digits, true);
    if (mr_str_equal_nocase(suffix, MR_STR("BD")))
        return new_decimal(p, token, digits);
    if (suffix.length == 0 && exponent)
        return new_float(p, token, digits, false);
    if (suffix.length == 0)
        return point ? new_decimal(p, token, digits) : new_whole(p, token, digits, NULL);
    if (!point && !exponent && mr_str_equal_nocase(suffix, MR_STR("L")))
        return new_whole(p, token, digits, &data_type_long);
    if (!point && !exponent && mr_str_equal_nocase(suffix, MR_STR("S")))
        return new_whole(p, token, digits, &data_type_short);
    if (!point && !exponent && mr_str_equal_nocase(suffix, MR_STR("Y")))
        return new_whole(p, token, digits, &data_type_byte);
    fail_at(p, token, MR_INVALID, "expected a number (suffixes L, S, Y, D, F, BD), found \"%.*s\"",
            MR_STR_ARG(token->text));
    return new_literal(p, token, &data_type_null, text);
}

static struct sql_ast *parse_string(struct parser *p)
{
    const struct sql_token *token = p->token++;
    const struct data_type *type = token->kind == SQL_TOKEN_BINARY ? &data_type_binary
                                                                   : &data_type_string;
    mr_str value = token->value;
    for (; token->kind == SQL_TOKEN_STRING && p->token->kind == SQL_TOKEN_STRING; p->token++)
        value = mr_arena_printf(p->arena, "%.*s%.*s", MR_STR_ARG(value),
                                MR_STR_ARG(p->token->value));
    mr_str shown = value;
    if (token->kind == SQL_TOKEN_BINARY) {
        struct mr_buf text = {0};
        mr_buf_cstr(&text, "X'");
        for (size_t i = 0; i < value.length; i++)
            mr_buf_printf(&text, "%02X", (unsigned char)value.data[i]);
        mr_buf_u8(&text, '\'');
        shown = mr_arena_str(p->arena, mr_buf_as_str(&text));
        mr_buf_fini(&text);
    }
    struct sql_ast *ast = new_literal(p, token, type, shown);
    value_of(ast)->strs[0] = value;
    return ast;
}

/* DATE '...', TIMESTAMP '...', TIMESTAMP_NTZ '...', TIMESTAMP_LTZ '...'. */
static struct sql_ast *parse_time(struct parser *p)
{
    const struct sql_token *word = p->token++, *text = p->token++;
    bool date = is_word(word, "date"), zoned = false;
    char shown[DATA_TEXT_BYTES];
    int32_t days = 0;
    int64_t us = 0;
    bool good = date ? data_date_parse(text->value, &days)
                     : data_timestamp_parse(text->value, &us, &zoned);
    if (!good)
        fail_at(p, text, MR_INVALID, "expected a %s such as '%s', found %.*s",
                date ? "date" : "timestamp", date ? "2026-11-21" : "2026-11-21 06:26:00",
                MR_STR_ARG(text->text));
    bool local = is_word(word, "timestamp_ntz");
    size_t length = date ? data_date_format(days, shown) : data_timestamp_format(us, shown);
    struct sql_ast *ast = new_literal(p, word,
                                      date    ? &data_type_date
                                      : local ? &data_type_timestamp_ntz
                                              : &data_type_timestamp,
                                      mr_arena_printf(p->arena, "%s '%.*s'",
                                                      date    ? "DATE"
                                                      : local ? "TIMESTAMP_NTZ"
                                                              : "TIMESTAMP",
                                                      (int)length, shown));
    if (date)
        value_of(ast)->ints[0] = days;
    else
        value_of(ast)->longs[0] = us;
    return ast;
}

/* ---- intervals ---- */
static const struct {
    const char *name;
    int64_t months, micros;
} units[] = {
    {"year", 12, 0},         {"month", 1, 0},          {"week", 0, 604800000000},
    {"day", 0, 86400000000}, {"hour", 0, 3600000000},  {"minute", 0, 60000000},
    {"second", 0, 1000000},  {"millisecond", 0, 1000}, {"microsecond", 0, 1},
};

static int find_unit(mr_str word)
{
    for (size_t i = 0; i < mr_count_of(units); i++) {
        size_t length = strlen(units[i].name);
        if (mr_str_equal_nocase(mr_str_slice(word, 0, length), mr_str_from(units[i].name)) &&
            (word.length == length ||
             (word.length == length + 1 && (word.data[length] == 's' || word.data[length] == 'S'))))
            return (int)i;
    }
    return -1;
}

/* Adds count * unit; the count may have a fraction for seconds. */
static bool add_unit(struct sql_ast *ast, mr_str count, int unit)
{
    data_decimal value, micros;
    int scale;
    int shown = unit == 2 ? 3 : unit > 6 ? 6 : unit;
    ast->unit_first = ast->unit_last < 0 || shown < ast->unit_first ? shown : ast->unit_first;
    ast->unit_last = shown > ast->unit_last ? shown : ast->unit_last;
    if (data_decimal_parse(count, &value, &scale) != MR_OK)
        return false;
    if (units[unit].months > 0) {
        if (scale > 0 || value > 1000000 || value < -1000000)
            return false;
        ast->months += (int64_t)value * units[unit].months;
        return true;
    }
    if (!data_decimal_multiply(value, units[unit].micros, scale, 0, 18, &micros) ||
        __builtin_add_overflow(ast->micros, (int64_t)micros, &ast->micros))
        return false;
    ast->days_only = ast->days_only && (unit == 2 || unit == 3);
    return true;
}

/* INTERVAL '1 02:03:04.5' DAY TO SECOND, '1-2' YEAR TO MONTH, '02:03' HOUR TO MINUTE, ... */
static bool add_range(struct sql_ast *ast, mr_str text, int from, int to)
{
    static const char separators[] = {'-', ' ', ':', ':'};
    static const int order[] = {0, 1, 3, 4, 5, 6};
    int at = 0, last = 0;
    text = mr_str_trim(text);
    bool minus = mr_str_starts(text, MR_STR("-"));
    text = mr_str_slice(text, minus, text.length);
    while (order[at] != from)
        at++;
    while (order[last] != to)
        last++;
    if (at >= last)
        return false;
    for (; at <= last; at++) {
        mr_str part = text;
        if (at < last) {
            char separator = at == 0 ? separators[0] : separators[at - 1];
            ptrdiff_t end = mr_str_find_byte(text, separator);
            if (end <= 0)
                return false;
            part = mr_str_slice(text, 0, (size_t)end);
            text = mr_str_slice(text, (size_t)end + 1, text.length);
        }
        if (part.length == 0 || part.data[0] == '-' || !add_unit(ast, part, order[at]))
            return false;
    }
    ast->months = minus ? -ast->months : ast->months;
    ast->micros = minus ? -ast->micros : ast->micros;
    return true;
}

/* '10 minutes 5 seconds' after the word INTERVAL, or as the argument of window(). */
static bool add_words(struct parser *p, struct sql_ast *ast, mr_str text)
{
    mr_str part, count = MR_STR_NULL;
    bool any = false;
    text = mr_str_trim(text);
    while (mr_str_split(&text, ' ', &part)) {
        if (part.length == 0 ||
            (!any && count.length == 0 && mr_str_equal_nocase(part, MR_STR("interval"))))
            continue;
        if (count.length == 0) {
            count = part;
            continue;
        }
        int unit = find_unit(part);
        if (unit < 0 || !add_unit(ast, count, unit))
            return false;
        any = true;
        count = MR_STR_NULL;
    }
    return p->err == MR_OK && any && count.length == 0;
}

static struct sql_ast *parse_interval(struct parser *p)
{
    const struct sql_token *start = p->token++;
    struct sql_ast *ast = new_ast(p, SQL_AST_INTERVAL, start);
    bool good = true, any = false;
    ast->days_only = true;
    ast->unit_last = -1;
    while (good && p->err == MR_OK) {
        const struct sql_token *count = p->token;
        bool minus = is_symbol(count, "-") && count[1].kind == SQL_TOKEN_NUMBER;
        if (minus)
            count++;
        if (count->kind != SQL_TOKEN_NUMBER && count->kind != SQL_TOKEN_STRING)
            break;
        mr_str text = count->kind == SQL_TOKEN_STRING ? count->value : count->text;
        int unit = count[1].kind == SQL_TOKEN_WORD ? find_unit(count[1].text) : -1;
        if (unit < 0 && any)
            break;
        p->token = (struct sql_token *)count + 1;
        if (unit < 0) {
            good = count->kind == SQL_TOKEN_STRING && add_words(p, ast, text);
        } else {
            p->token++;
            if (!any && count->kind == SQL_TOKEN_STRING && take_word(p, "to")) {
                int to = find_unit(p->token->text);
                ast->days_only = false;
                good = to >= 0 && unit != 2 && to != 2 && to < 7 && unit < 7 &&
                       (unit < 2) == (to < 2) && add_range(ast, text, unit, to);
                p->token += to >= 0;
                any = true;
                break;
            }
            good = add_unit(
                ast, minus ? mr_arena_printf(p->arena, "-%.*s", MR_STR_ARG(text)) : text, unit);
        }
        any = true;
    }
    if (!good || !any)
        fail_at(p, start, MR_INVALID,
                "expected an interval such as INTERVAL '1' DAY or INTERVAL 10 MINUTES");
    if (ast->months != 0 && ast->micros != 0)
        fail_at(p, start, MR_UNSUPPORTED, "an interval of months and of days or times together");
    return ast;
}

/* ---- types ---- */
/* The tokens of a type are joined back to text and read by data's parser. */
static const struct data_type *parse_type(struct parser *p)
{
    const struct sql_token *start = p->token;
    const struct data_type *type = NULL;
    struct mr_buf text = {0};
    int depth = 0;
    if (!is_name(start))
        fail_expected(p, "a type");
    bool interval = is_word(start, "interval");
    do {
        const struct sql_token *token = p->token;
        if (token->kind == SQL_TOKEN_END)
            break;
        bool open = is_symbol(token, "<") || is_symbol(token, "(");
        bool close = is_symbol(token, ">") || is_symbol(token, ")");
        if (is_symbol(token, "<>"))
            open = close = true;
        if (close && depth == 0 && !open)
            break;
        depth += (open ? 1 : 0) - (close ? 1 : 0);
        mr_buf_str(&text, token->text);
        mr_buf_u8(&text, ' ');
        p->token++;
    } while (p->err == MR_OK && (depth > 0 || is_symbol(p->token, "<") ||
                                 is_symbol(p->token, "(") || is_symbol(p->token, "<>") ||
                                 (interval && p->token->kind == SQL_TOKEN_WORD &&
                                  (find_unit(p->token->text) >= 0 || is_word(p->token, "to")))));
    if (p->err == MR_OK && data_type_parse(p->arena, mr_buf_as_str(&text), &type) != MR_OK) {
        mr_str why = mr_arena_str(p->arena, mr_str_from(mr_why()));
        fail_at(p, start, MR_INVALID, "%.*s", MR_STR_ARG(why));
    }
    mr_buf_fini(&text);
    return type == NULL ? &data_type_null : type;
}

/* ---- calls ---- */
static struct sql_ast *parse_cast(struct parser *p, bool safe)
{
    struct sql_ast *ast = new_ast(p, SQL_AST_CAST, p->token);
    p->token += 2;
    add_arg(p, ast, parse_expr(p));
    expect_word(p, "AS");
    ast->type = parse_type(p);
    ast->safe = safe;
    expect_symbol(p, ")", "')'");
    return ast;
}

static struct sql_ast *parse_case(struct parser *p)
{
    struct sql_ast *ast = new_ast(p, SQL_AST_CASE, p->token++);
    if (!is_word(p->token, "when")) {
        ast->has_operand = true;
        add_arg(p, ast, parse_expr(p));
    }
    if (!is_word(p->token, "when"))
        fail_expected(p, "WHEN");
    while (take_word(p, "when")) {
        add_arg(p, ast, parse_expr(p));
        expect_word(p, "THEN");
        add_arg(p, ast, parse_expr(p));
        if (ast->has_operand) /* it is compared once more */
            add_weight(p, ast, ast->args[0]->weight);
    }
    if (take_word(p, "else")) {
        ast->has_else = true;
        add_arg(p, ast, parse_expr(p));
    }
    expect_word(p, "END");
    return ast;
}

/* extract(FIELD FROM x), as the function date_part knows it. */
static struct sql_ast *parse_extract(struct parser *p)
{
    struct sql_ast *ast = new_call(p, p->token, "extract", NULL, NULL);
    ast->is_operator = false;
    ast->word = p->token->text;
    p->token += 2;
    const struct sql_token *field = p->token;
    mr_str name = field->kind == SQL_TOKEN_STRING ? (p->token++)->value
                                                  : take_name(p, "a field such as YEAR");
    struct sql_ast *literal = new_literal(p, field, &data_type_string, name);
    value_of(literal)->strs[0] = name;
    add_arg(p, ast, literal);
    expect_word(p, "FROM");
    add_arg(p, ast, parse_expr(p));
    expect_symbol(p, ")", "')'");
    return ast;
}

/* trim([BOTH|LEADING|TRAILING] [chars] FROM x). */
static struct sql_ast *parse_trim(struct parser *p)
{
    struct sql_ast *ast = new_call(p, p->token, "trim", NULL, NULL);
    struct sql_ast *chars = NULL;
    p->token += 2;
    if (take_word(p, "leading"))
        ast->name = MR_STR("trim_leading");
    else if (take_word(p, "trailing"))
        ast->name = MR_STR("trim_trailing");
    else
        take_word(p, "both");
    ast->is_operator = false;
    if (!take_word(p, "from")) {
        chars = parse_expr(p);
        if (is_symbol(p->token, ")") && mr_str_equal(ast->name, MR_STR("trim"))) {
            add_arg(p, ast, chars); /* trim(x) */
            p->token++;
            return ast;
        }
        if (!take_symbol(p, ",")) /* trim(chars, x) is trim(chars FROM x) */
            expect_word(p, "FROM");
    }
    add_arg(p, ast, parse_expr(p));
    if (chars != NULL)
        add_arg(p, ast, chars);
    ast->negated = true; /* the FROM form: for the column's name */
    expect_symbol(p, ")", "')'");
    return ast;
}

static struct sql_ast *parse_star(struct parser *p, mr_str *parts, uint32_t count)
{
    struct sql_ast *ast = new_ast(p, SQL_AST_STAR, p->token++);
    ast->parts = parts;
    ast->part_count = count;
    return ast;
}

/* An argument may be named: struct(a AS x). */
static struct sql_ast *parse_arg(struct parser *p)
{
    if (is_symbol(p->token, "*"))
        return parse_star(p, NULL, 0);
    if (is_name(p->token) && is_symbol(p->token + 1, "->"))
        fail_at(
            p, p->token, MR_UNSUPPORTED,
            "functions of functions (x -> ...) are not there yet; use explode and an aggregate");
    struct sql_ast *arg = parse_expr(p);
    if (take_word(p, "as")) {
        struct sql_ast *alias = new_ast(p, SQL_AST_ALIAS, p->token);
        alias->name = take_name(p, "a name after AS");
        add_arg(p, alias, arg);
        return alias;
    }
    return arg;
}

static mr_str lower_word(struct parser *p, mr_str word)
{
    mr_str copy = mr_arena_str(p->arena, word);
    for (size_t i = 0; i < copy.length; i++)
        if (copy.data[i] >= 'A' && copy.data[i] <= 'Z')
            ((char *)copy.data)[i] = (char)(copy.data[i] + 32);
    return copy;
}

static void parse_call_end(struct parser *p, struct sql_ast *ast)
{
    if (take_word(p, "filter")) {
        expect_symbol(p, "(", "'(' after FILTER");
        expect_word(p, "WHERE");
        ast->filter = parse_expr(p);
        expect_symbol(p, ")", "')'");
    }
    if (is_word(p->token, "ignore") || is_word(p->token, "respect")) {
        ast->ignore_nulls = is_word(p->token++, "ignore");
        expect_word(p, "NULLS");
    }
    if (is_word(p->token, "over"))
        fail_at(p, p->token, MR_UNSUPPORTED,
                "window functions (OVER) need an order that a stream does not have; group by "
                "window(...) instead");
}

/* name(args); also the forms with words between: substring(x FROM a FOR b), position(a IN b),
 * overlay(x PLACING y FROM a FOR b). */
static struct sql_ast *parse_call(struct parser *p)
{
    struct sql_ast *ast = new_ast(p, SQL_AST_CALL, p->token);
    mr_str name = take_name(p, "a function's name");
    ast->word = name;
    ast->name = lower_word(p, name);
    p->token++;
    if (take_word(p, "distinct"))
        ast->distinct = true;
    else
        take_word(p, "all");
    bool between = mr_str_equal(ast->name, MR_STR("substring")) ||
                   mr_str_equal(ast->name, MR_STR("substr")) ||
                   mr_str_equal(ast->name, MR_STR("overlay"));
    bool position = mr_str_equal(ast->name, MR_STR("position"));
    if (!is_symbol(p->token, ")"))
        do {
            add_arg(p, ast, position ? parse_value(p, 1) : parse_arg(p));
            if (position && take_word(p, "in")) {
                ast->name = MR_STR("locate");
                add_arg(p, ast, parse_value(p, 1));
            }
            while (between &&
                   (take_word(p, "from") || take_word(p, "for") || take_word(p, "placing")))
                add_arg(p, ast, parse_expr(p));
            if (is_word(p->token, "ignore") || is_word(p->token, "respect")) {
                ast->ignore_nulls = is_word(p->token++, "ignore");
                expect_word(p, "NULLS");
            }
        } while (take_symbol(p, ","));
    expect_symbol(p, ")", "',' or ')'");
    parse_call_end(p, ast);
    return ast;
}

/* ---- primaries ---- */
static struct sql_ast *parse_name(struct parser *p)
{
    struct sql_ast *ast = new_ast(p, SQL_AST_NAME, p->token);
    MR_ARRAY(mr_str) parts = {0};
    *mr_array_add(&parts) = take_name(p, "a name");
    while (is_symbol(p->token, ".") && is_name(p->token + 1)) {
        p->token++;
        *mr_array_add(&parts) = take_name(p, "a name");
    }
    ast->parts = mr_arena_array(p->arena, mr_str, parts.count);
    memcpy(ast->parts, parts.items, parts.count * sizeof(mr_str));
    ast->part_count = (uint32_t)parts.count;
    mr_array_fini(&parts);
    if (is_symbol(p->token, ".") && is_symbol(p->token + 1, "*")) {
        p->token++;
        ast = parse_star(p, ast->parts, ast->part_count);
    }
    return ast;
}

static struct sql_ast *parse_boolean(struct parser *p)
{
    bool value = is_word(p->token, "true");
    struct sql_ast *ast = new_literal(p, p->token++, &data_type_boolean,
                                      value ? MR_STR("true") : MR_STR("false"));
    value_of(ast)->bools[0] = value;
    return ast;
}

static struct sql_ast *parse_bracketed(struct parser *p)
{
    const struct sql_token *open = p->token++;
    if (is_word(p->token, "select") || is_word(p->token, "with"))
        fail_at(p, p->token, MR_UNSUPPORTED,
                "a subquery as a value; only FROM (SELECT ...) is there");
    struct sql_ast *ast = parse_expr(p);
    if (is_symbol(p->token, ",")) { /* (a, b) is a struct */
        struct sql_ast *row = new_call(p, open, "struct", ast, NULL);
        row->is_operator = false;
        while (take_symbol(p, ","))
            add_arg(p, row, parse_expr(p));
        ast = row;
    }
    expect_symbol(p, ")", "')'");
    return ast;
}

static bool word_before_quote(const struct sql_token *token)
{
    return token[1].kind == SQL_TOKEN_STRING &&
           (is_word(token, "date") || is_word(token, "timestamp") ||
            is_word(token, "timestamp_ntz") || is_word(token, "timestamp_ltz"));
}

static struct sql_ast *parse_word(struct parser *p)
{
    const struct sql_token *token = p->token;
    bool call = is_symbol(token + 1, "(");
    if (word_before_quote(token))
        return parse_time(p);
    if (is_word(token, "interval") &&
        (token[1].kind == SQL_TOKEN_STRING || token[1].kind == SQL_TOKEN_NUMBER ||
         (is_symbol(token + 1, "-") && token[2].kind == SQL_TOKEN_NUMBER)))
        return parse_interval(p);
    if (is_word(token, "case") && !call && !is_symbol(token + 1, "."))
        return parse_case(p);
    if (is_word(token, "null") && !call)
        return new_literal(p, p->token++, &data_type_null, MR_STR("NULL"));
    if ((is_word(token, "true") || is_word(token, "false")) && !call)
        return parse_boolean(p);
    if (!call) {
        if (is_word(token, "current_timestamp") || is_word(token, "current_date")) {
            struct sql_ast *ast = new_call(p, token, "", NULL, NULL);
            ast->is_operator = false;
            ast->word = token->text;
            ast->name = lower_word(p, token->text);
            p->token++;
            return ast;
        }
        return parse_name(p);
    }
    if (is_word(token, "cast") || is_word(token, "try_cast"))
        return parse_cast(p, is_word(token, "try_cast"));
    if (is_word(token, "extract"))
        return parse_extract(p);
    if (is_word(token, "trim"))
        return parse_trim(p);
    return parse_call(p);
}

static bool is_stop_word(const struct sql_token *token)
{
    static const char *const words[] = {
        "from",    "where", "group",   "having",      "order",  "limit",     "union",   "when",
        "then",    "else",  "end",     "lateral",     "join",   "and",       "or",      "in",
        "between", "like",  "rlike",   "ilike",       "is",     "as",        "select",  "on",
        "by",      "sort",  "cluster", "distribute",  "except", "intersect", "minus",   "window",
        "offset",  "inner", "left",    "right",       "full",   "cross",     "natural", "semi",
        "anti",    "using", "pivot",   "tablesample", "qualify"};
    if (token->kind != SQL_TOKEN_WORD)
        return false;
    for (size_t i = 0; i < mr_count_of(words); i++)
        if (is_word(token, words[i]))
            return true;
    return false;
}

static struct sql_ast *parse_primary(struct parser *p)
{
    switch (p->token->kind) {
    case SQL_TOKEN_NUMBER:
        return parse_number(p, false);
    case SQL_TOKEN_STRING:
    case SQL_TOKEN_BINARY:
        return parse_string(p);
    case SQL_TOKEN_QUOTED:
        return is_symbol(p->token + 1, "(") ? parse_call(p) : parse_name(p);
    case SQL_TOKEN_WORD:
        if (!is_symbol(p->token + 1, "(") && !is_symbol(p->token + 1, ".") &&
            is_stop_word(p->token) && !is_word(p->token, "window"))
            break;
        return parse_word(p);
    case SQL_TOKEN_SYMBOL:
        if (is_symbol(p->token, "("))
            return parse_bracketed(p);
        break;
    case SQL_TOKEN_END:
        break;
    }
    fail_expected(p, "an expression");
    return new_literal(p, p->token, &data_type_null, MR_STR("NULL"));
}

/* What may follow a value: [index], .field, ::type. */
static struct sql_ast *parse_postfix(struct parser *p)
{
    struct sql_ast *ast = parse_primary(p);
    while (p->err == MR_OK) {
        const struct sql_token *token = p->token;
        if (take_symbol(p, "[")) {
            ast = new_call(p, token, "[]", ast, parse_expr(p));
            expect_symbol(p, "]", "']'");
        } else if (is_symbol(token, ".") && is_name(token + 1) && ast->kind != SQL_AST_STAR) {
            p->token++;
            struct sql_ast *field = new_ast(p, SQL_AST_FIELD, p->token);
            field->name = take_name(p, "a field's name");
            add_arg(p, field, ast);
            ast = field;
        } else if (take_symbol(p, "::")) {
            struct sql_ast *cast = new_ast(p, SQL_AST_CAST, token);
            add_arg(p, cast, ast);
            cast->type = parse_type(p);
            ast = cast;
        } else {
            break;
        }
    }
    return ast;
}

/* ---- operators ---- */
static struct sql_ast *parse_unary(struct parser *p)
{
    const struct sql_token *token = p->token;
    if (!enter(p))
        return new_literal(p, token, &data_type_null, MR_STR("NULL"));
    struct sql_ast *ast;
    if (is_symbol(token, "-") && token[1].kind == SQL_TOKEN_NUMBER) {
        p->token++;
        ast = parse_number(p, true);
        if (is_symbol(p->token, "::")) {
            struct sql_ast *cast = new_ast(p, SQL_AST_CAST, p->token++);
            add_arg(p, cast, ast);
            cast->type = parse_type(p);
            ast = cast;
        }
    } else if (take_symbol(p, "-")) {
        ast = new_call(p, token, "negative", parse_unary(p), NULL);
    } else if (take_symbol(p, "+")) {
        ast = new_call(p, token, "positive", parse_unary(p), NULL);
    } else if (take_symbol(p, "~")) {
        ast = new_call(p, token, "~", parse_unary(p), NULL);
    } else {
        ast = parse_postfix(p);
    }
    p->depth--;
    return ast;
}

/* Binary operators that make values, weakest first. `name` is the function's. */
static const struct {
    const char *symbol, *name;
    int power;
} operators[] = {
    {"=", "=", 1},   {"==", "=", 1},  {"<=>", "<=>", 1}, {"<>", "!=", 1},   {"!=", "!=", 1},
    {"<=", "<=", 1}, {">=", ">=", 1}, {"<", "<", 1},     {">", ">", 1},     {"|", "|", 2},
    {"^", "^", 3},   {"&", "&", 4},   {"+", "+", 5},     {"-", "-", 5},     {"||", "||", 5},
    {"*", "*", 6},   {"/", "/", 6},   {"%", "%", 6},     {"div", "div", 6},
};

static int find_operator(const struct sql_token *token)
{
    for (size_t i = 0; i < mr_count_of(operators); i++)
        if (is_symbol(token, operators[i].symbol) ||
            (i == mr_count_of(operators) - 1 && is_word(token, "div")))
            return (int)i;
    return -1;
}

static struct sql_ast *parse_value(struct parser *p, int power)
{
    struct sql_ast *left = parse_unary(p);
    while (p->err == MR_OK) {
        const struct sql_token *token = p->token;
        int found = find_operator(token);
        if (found < 0 || operators[found].power < power)
            break;
        p->token++;
        struct sql_ast *right = parse_value(p, operators[found].power + 1);
        left = new_call(p, token, operators[found].name, left, right);
    }
    return left;
}

static struct sql_ast *parse_in(struct parser *p, const struct sql_token *token,
                                struct sql_ast *left)
{
    struct sql_ast *ast = new_call(p, token, "in", left, NULL);
    expect_symbol(p, "(", "'(' after IN");
    if (is_word(p->token, "select") || is_word(p->token, "with"))
        fail_at(p, p->token, MR_UNSUPPORTED, "IN (SELECT ...): a stream has no table to look into");
    do
        add_arg(p, ast, parse_expr(p));
    while (take_symbol(p, ","));
    expect_symbol(p, ")", "',' or ')'");
    return ast;
}

static struct sql_ast *parse_is(struct parser *p, const struct sql_token *token,
                                struct sql_ast *left)
{
    bool negated = take_word(p, "not");
    if (take_word(p, "null") || take_word(p, "unknown"))
        return new_call(p, token, negated ? "isnotnull" : "isnull", left, NULL);
    if (take_word(p, "true"))
        return not_of(p, token, negated, new_call(p, token, "is true", left, NULL));
    if (take_word(p, "false"))
        return not_of(p, token, negated, new_call(p, token, "is false", left, NULL));
    if (take_word(p, "distinct")) {
        expect_word(p, "FROM");
        return not_of(p, token, !negated, new_call(p, token, "<=>", left, parse_value(p, 2)));
    }
    fail_expected(p, "NULL, TRUE, FALSE or DISTINCT FROM");
    return left;
}

static struct sql_ast *parse_like(struct parser *p, const struct sql_token *token, const char *name,
                                  struct sql_ast *left)
{
    if (is_word(p->token, "any") || is_word(p->token, "all") || is_word(p->token, "some"))
        fail_at(p, p->token, MR_UNSUPPORTED,
                "LIKE ANY, LIKE ALL; write the patterns with OR or AND");
    struct sql_ast *ast = new_call(p, token, name, left, parse_value(p, 2));
    if (strcmp(name, "rlike") != 0 && take_word(p, "escape"))
        add_arg(p, ast, parse_primary(p));
    return ast;
}

static struct sql_ast *parse_between(struct parser *p, const struct sql_token *token,
                                     struct sql_ast *left)
{
    struct sql_ast *ast = new_ast(p, SQL_AST_AND, token);
    struct sql_ast *low = parse_value(p, 2);
    expect_word(p, "AND");
    struct sql_ast *high = parse_value(p, 2);
    add_arg(p, ast, new_call(p, token, ">=", left, low));
    add_arg(p, ast, new_call(p, token, "<=", left, high));
    return ast;
}

/* A value and what is asked about it: IN, LIKE, BETWEEN, IS. */
static struct sql_ast *parse_predicate(struct parser *p)
{
    struct sql_ast *left = parse_value(p, 1);
    while (p->err == MR_OK) {
        const struct sql_token *token = p->token;
        bool negated = is_word(token, "not") || is_symbol(token, "!");
        const struct sql_token *word = negated ? token + 1 : token;
        static const char *const words[] = {"in", "between", "like", "ilike", "rlike", "regexp"};
        size_t which = 0;
        while (which < mr_count_of(words) && !is_word(word, words[which]))
            which++;
        if (which < mr_count_of(words)) {
            p->token = (struct sql_token *)word + 1;
            struct sql_ast *ast = which == 0 ? parse_in(p, token, left)
                                  : which == 1
                                      ? parse_between(p, token, left)
                                      : parse_like(p, token, which >= 4 ? "rlike" : words[which],
                                                   left);
            left = not_of(p, token, negated, ast);
        } else if (!negated && is_word(token, "is")) {
            p->token++;
            left = parse_is(p, token, left);
        } else {
            break;
        }
    }
    return left;
}

static struct sql_ast *parse_not(struct parser *p)
{
    const struct sql_token *token = p->token;
    if (!is_word(token, "not") && !is_symbol(token, "!")) {
        if (is_word(token, "exists") && is_symbol(token + 1, "(") && is_word(token + 2, "select"))
            fail_at(p, token, MR_UNSUPPORTED,
                    "EXISTS (SELECT ...): a stream has no table to look into");
        return parse_predicate(p);
    }
    p->token++;
    if (!enter(p))
        return new_literal(p, token, &data_type_null, MR_STR("NULL"));
    struct sql_ast *ast = new_call(p, token, "not", parse_not(p), NULL);
    p->depth--;
    return ast;
}

static struct sql_ast *parse_chain(struct parser *p, bool or)
{
    struct sql_ast *left = or ? parse_chain(p, false) : parse_not(p);
    struct sql_ast *chain = NULL;
    while (p->err == MR_OK && is_word(p->token, or ? "or" : "and")) {
        if (chain == NULL) {
            chain = new_ast(p, or ? SQL_AST_OR : SQL_AST_AND, p->token);
            add_arg(p, chain, left);
        }
        p->token++;
        add_arg(p, chain, or ? parse_chain(p, false) : parse_not(p));
    }
    return chain == NULL ? left : chain;
}

static struct sql_ast *parse_expr(struct parser *p)
{
    if (!enter(p))
        return new_literal(p, p->token, &data_type_null, MR_STR("NULL"));
    struct sql_ast *ast = parse_chain(p, true);
    p->depth--;
    return ast;
}

/* ---- queries ---- */
/* (a, b, c) as names. */
static void parse_names(struct parser *p, mr_str **names, uint32_t *count, bool brackets)
{
    MR_ARRAY(mr_str) list = {0};
    do
        *mr_array_add(&list) = take_name(p, "a name");
    while (take_symbol(p, ","));
    if (brackets)
        expect_symbol(p, ")", "',' or ')'");
    *names = mr_arena_array(p->arena, mr_str, list.count);
    memcpy(*names, list.items, list.count * sizeof(mr_str));
    *count = (uint32_t)list.count;
    mr_array_fini(&list);
}

/* expr [[AS] alias | AS (a, b)]. */
static struct sql_ast *parse_item(struct parser *p)
{
    if (is_symbol(p->token, "*"))
        return parse_star(p, NULL, 0);
    struct sql_ast *ast = parse_expr(p);
    bool as = take_word(p, "as");
    if (!as && (!is_name(p->token) || is_stop_word(p->token)))
        return ast;
    struct sql_ast *alias = new_ast(p, SQL_AST_ALIAS, p->token);
    alias->line = ast->line;
    alias->column = ast->column;
    if (as && take_symbol(p, "(")) {
        parse_names(p, &alias->aliases, &alias->alias_count, true);
        alias->name = alias->aliases[0];
    } else {
        alias->name = take_name(p, "a name after AS");
    }
    add_arg(p, alias, ast);
    return alias;
}

static void parse_values(struct parser *p, struct sql_source *source)
{
    MR_ARRAY(struct sql_ast **) rows = {0};
    source->is_values = true;
    do {
        struct sql_ast *row = new_ast(p, SQL_AST_CALL, p->token);
        const struct sql_token *start = p->token;
        struct sql_ast *expr = parse_expr(p);
        if (is_symbol(start, "(") && expr->kind == SQL_AST_CALL && expr->line == start->line &&
            expr->column == start->column && mr_str_equal(expr->name, MR_STR("struct")))
            row = expr;
        else
            add_arg(p, row, expr);
        if (rows.count > 0 && row->arg_count != source->row_width)
            fail_at(p, start, MR_INVALID, "expected %u values as in the first row, found %u",
                    source->row_width, row->arg_count);
        source->row_width = row->arg_count;
        *mr_array_add(&rows) = row->args;
    } while (take_symbol(p, ","));
    source->rows = mr_arena_array(p->arena, struct sql_ast **, rows.count);
    memcpy(source->rows, rows.items, rows.count * sizeof(*rows.items));
    source->row_count = (uint32_t)rows.count;
    mr_array_fini(&rows);
}

static void parse_table_name(struct parser *p, struct sql_source *source)
{
    struct mr_buf name = {0};
    mr_buf_str(&name, take_name(p, "a table's name"));
    while (p->err == MR_OK && is_symbol(p->token, ".") && is_name(p->token + 1)) {
        p->token++;
        source->alias = take_name(p, "a name");
        mr_buf_u8(&name, '.');
        mr_buf_str(&name, source->alias);
    }
    source->table = mr_arena_str(p->arena, mr_buf_as_str(&name));
    source->alias = source->alias.length == 0 ? source->table : source->alias;
    mr_buf_fini(&name);
    if (is_symbol(p->token, "("))
        fail_at(p, p->token, MR_UNSUPPORTED, "a function as a table; read a topic by its name");
}

static struct sql_source *parse_source(struct parser *p)
{
    struct sql_source *source = mr_arena_new(p->arena, struct sql_source);
    source->line = p->token->line;
    source->column = p->token->column;
    if (take_word(p, "values")) {
        parse_values(p, source);
    } else if (take_symbol(p, "(")) {
        if (take_word(p, "values"))
            parse_values(p, source);
        else
            source->query = parse_query(p);
        expect_symbol(p, ")", "')'");
    } else {
        parse_table_name(p, source);
    }
    bool as = take_word(p, "as");
    if (as || (is_name(p->token) && !is_stop_word(p->token))) {
        source->alias = take_name(p, "a name for the table");
        if (take_symbol(p, "("))
            parse_names(p, &source->columns, &source->column_count, true);
    }
    return source;
}

/* LATERAL VIEW [OUTER] generator(args) [alias] [AS a, b]. */
static struct sql_lateral parse_lateral(struct parser *p)
{
    struct sql_lateral lateral = {0};
    expect_word(p, "VIEW");
    lateral.outer = take_word(p, "outer");
    if (!is_name(p->token) || !is_symbol(p->token + 1, "("))
        fail_expected(p, "a generator such as explode(...)");
    else
        lateral.call = parse_call(p);
    if (is_name(p->token) && !is_stop_word(p->token))
        lateral.alias = take_name(p, "a name for the view");
    if (take_word(p, "as"))
        parse_names(p, &lateral.columns, &lateral.column_count, false);
    return lateral;
}

static void refuse_source_end(struct parser *p)
{
    static const char *const joins[] = {"join", "inner",   "cross", "left", "right",
                                        "full", "natural", "anti",  "semi"};
    if (is_symbol(p->token, ","))
        fail_at(
            p, p->token, MR_UNSUPPORTED,
            "a second table in FROM is a join; joins are not there yet, a stream reads one table");
    for (size_t i = 0; i < mr_count_of(joins); i++)
        if (is_word(p->token, joins[i]))
            fail_at(p, p->token, MR_UNSUPPORTED,
                    "joins are not there yet: a stream reads one table");
    if (is_word(p->token, "pivot") || is_word(p->token, "unpivot") ||
        is_word(p->token, "tablesample"))
        fail_at(p, p->token, MR_UNSUPPORTED, "%.*s is not there", MR_STR_ARG(p->token->text));
}

static const struct {
    const char *word, *sentence;
} refusals[] = {
    {"union", "UNION is not there yet: a stream reads one table"},
    {"except", "EXCEPT has no meaning on a stream, which never ends"},
    {"minus", "MINUS has no meaning on a stream, which never ends"},
    {"intersect", "INTERSECT has no meaning on a stream, which never ends"},
    {"order",
     "ORDER BY has no meaning on a stream, which never ends; sort when reading the result"},
    {"sort", "SORT BY has no meaning on a stream, which never ends"},
    {"cluster", "CLUSTER BY has no meaning on a stream; a stream's `key` decides the partition"},
    {"distribute",
     "DISTRIBUTE BY has no meaning on a stream; a stream's `key` decides the partition"},
    {"limit", "LIMIT has no meaning on a stream, which never ends"},
    {"offset", "OFFSET has no meaning on a stream, which never ends"},
    {"window", "named windows (WINDOW w AS ...) are not there"},
    {"qualify", "QUALIFY is not Spark's SQL"},
};

static void refuse_query_end(struct parser *p)
{
    for (size_t i = 0; i < mr_count_of(refusals); i++)
        if (is_word(p->token, refusals[i].word))
            fail_at(p, p->token, MR_UNSUPPORTED, "%s", refusals[i].sentence);
}

static void parse_list(struct parser *p, struct sql_ast *list, bool items)
{
    do
        add_arg(p, list, items ? parse_item(p) : parse_expr(p));
    while (take_symbol(p, ","));
}

static void parse_group(struct parser *p, struct sql_query *query)
{
    struct sql_ast list = {0};
    query->group_line = p->token[-1].line;
    query->group_column = p->token[-1].column;
    expect_word(p, "BY");
    query->has_group = true;
    if (is_word(p->token, "all") && !is_symbol(p->token + 1, ",")) {
        p->token++;
        query->group_all = true;
        return;
    }
    if (is_word(p->token, "grouping") || is_word(p->token, "rollup") || is_word(p->token, "cube"))
        fail_at(p, p->token, MR_UNSUPPORTED, "%.*s is not there: name the columns to group by",
                MR_STR_ARG(p->token->text));
    parse_list(p, &list, false);
    if (is_word(p->token, "with") || is_word(p->token, "grouping"))
        fail_at(p, p->token, MR_UNSUPPORTED, "ROLLUP, CUBE and GROUPING SETS are not there");
    query->groups = list.args;
    query->group_count = list.arg_count;
}

static void parse_select(struct parser *p, struct sql_query *query)
{
    struct sql_ast list = {0};
    query->line = p->token->line;
    query->column = p->token->column;
    expect_word(p, "SELECT");
    if (is_word(p->token, "distinct") && !is_symbol(p->token + 1, "("))
        fail_at(p, p->token, MR_UNSUPPORTED,
                "SELECT DISTINCT would keep every row of a stream for ever; GROUP BY the columns "
                "within a window(...) instead");
    take_word(p, "all");
    parse_list(p, &list, true);
    query->items = list.args;
    query->item_count = list.arg_count;
    if (take_word(p, "from")) {
        query->source = parse_source(p);
        MR_ARRAY(struct sql_lateral) laterals = {0};
        while (take_word(p, "lateral"))
            *mr_array_add(&laterals) = parse_lateral(p);
        query->laterals = mr_arena_array(p->arena, struct sql_lateral, laterals.count);
        if (laterals.count > 0)
            memcpy(query->laterals, laterals.items, laterals.count * sizeof(*laterals.items));
        query->lateral_count = (uint32_t)laterals.count;
        mr_array_fini(&laterals);
        refuse_source_end(p);
    }
    if (take_word(p, "where"))
        query->where = parse_expr(p);
    if (take_word(p, "group"))
        parse_group(p, query);
    if (take_word(p, "having"))
        query->having = parse_expr(p);
    refuse_query_end(p);
}

/* [WITH a AS (...), ...] SELECT ... */
static struct sql_query *parse_query(struct parser *p)
{
    struct sql_query *query = mr_arena_new(p->arena, struct sql_query);
    struct sql_with *outer = p->with;
    if (!enter(p))
        return query;
    if (take_word(p, "with"))
        do {
            struct sql_with *with = mr_arena_new(p->arena, struct sql_with);
            with->name = take_name(p, "a name after WITH");
            expect_word(p, "AS");
            expect_symbol(p, "(", "'(' and a SELECT");
            with->query = parse_query(p);
            expect_symbol(p, ")", "')'");
            with->next = p->with;
            p->with = with;
        } while (take_symbol(p, ","));
    query->with = p->with;
    parse_select(p, query);
    p->with = outer;
    p->depth--;
    return query;
}

static mr_err parser_begin(struct parser *p, struct mr_arena *arena, mr_str text)
{
    *p = (struct parser){.arena = arena};
    return sql_lexer_run(arena, text, &p->token);
}

static void expect_end(struct parser *p)
{
    if (p->err == MR_OK && p->token->kind != SQL_TOKEN_END)
        fail_expected(p, "the end of the statement");
}

mr_err sql_parser_query(struct mr_arena *arena, mr_str text, struct sql_query **out)
{
    struct parser p;
    mr_err err = parser_begin(&p, arena, text);
    if (err != MR_OK)
        return err;
    if (!is_word(p.token, "select") && !is_word(p.token, "with"))
        fail_expected(&p, "SELECT");
    struct sql_query *query = p.err == MR_OK ? parse_query(&p) : NULL;
    take_symbol(&p, ";");
    expect_end(&p);
    if (p.err == MR_OK)
        *out = query;
    return p.err;
}

mr_err sql_parser_expr(struct mr_arena *arena, mr_str text, struct sql_ast **out)
{
    struct parser p;
    mr_err err = parser_begin(&p, arena, text);
    if (err != MR_OK)
        return err;
    struct sql_ast *ast = parse_expr(&p);
    expect_end(&p);
    if (p.err == MR_OK)
        *out = ast;
    return p.err;
}
