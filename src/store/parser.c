/* store/parser.c: recursive descent over tokens: the cursor, names, types and terms, and the choice
 * of the statement. The statements themselves are in parse_data.c and parse_schema.c. */
#include "store/parser.h"

#include <stdarg.h>
#include <stdio.h>

/* ---- the cursor ---- */
bool store_at_word(const struct store_parser *parser, const char *word)
{
    return parser->err == MR_OK && parser->at->kind == STORE_TOKEN_WORD &&
           mr_str_equal(parser->at->text, mr_str_from(word));
}

bool store_at_sign(const struct store_parser *parser, const char *sign)
{
    return parser->err == MR_OK && parser->at->kind == STORE_TOKEN_SIGN &&
           mr_str_equal(parser->at->text, mr_str_from(sign));
}

bool store_at_end(const struct store_parser *parser)
{
    return parser->at->kind == STORE_TOKEN_END;
}

bool store_take_word(struct store_parser *parser, const char *word)
{
    bool there = store_at_word(parser, word);
    parser->at += there;
    return there;
}

bool store_take_sign(struct store_parser *parser, const char *sign)
{
    bool there = store_at_sign(parser, sign);
    parser->at += there;
    return there;
}

bool store_refuse(struct store_parser *parser, const char *expected)
{
    char place[32];
    if (parser->err != MR_OK)
        return false;
    store_place(parser->text, parser->at->at, place);
    mr_str found = parser->at->kind == STORE_TOKEN_END ? MR_STR("<EOF>") : parser->at->text;
    found = mr_str_slice(found, 0, 100);
    if (expected == NULL)
        parser->err = store_fail(parser->fault, CQL_ERROR_SYNTAX,
                                 "line %s no viable alternative at input '%.*s'", place,
                                 MR_STR_ARG(found));
    else
        parser->err = store_fail(parser->fault, CQL_ERROR_SYNTAX,
                                 "line %s mismatched input '%.*s' expecting %s", place,
                                 MR_STR_ARG(found), expected);
    return false;
}

bool store_refuse_invalid(struct store_parser *parser, enum cql_error code, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (parser->err == MR_OK)
        parser->err = store_fail(parser->fault, code, "%s", text);
    return false;
}

static void upper_case(const char *word, char out[64])
{
    size_t i = 0;
    for (; word[i] != '\0' && i < 63; i++)
        out[i] = word[i] >= 'a' && word[i] <= 'z' ? (char)(word[i] - 'a' + 'A') : word[i];
    out[i] = '\0';
}

bool store_expect_word(struct store_parser *parser, const char *word)
{
    char expected[64];
    if (store_take_word(parser, word))
        return true;
    upper_case(word, expected);
    return store_refuse(parser, expected);
}

bool store_expect_sign(struct store_parser *parser, const char *sign)
{
    char expected[16];
    if (store_take_sign(parser, sign))
        return true;
    snprintf(expected, sizeof(expected), "'%s'", sign);
    return store_refuse(parser, expected);
}

/* ---- names ---- */
bool store_is_reserved(mr_str word)
{
#define RESERVED(name)                     \
    if (mr_str_equal(word, MR_STR(#name))) \
        return true;
#include "store/reserved.def"
    return false;
}

void store_print_name(struct mr_buf *out, mr_str name)
{
    bool plain = name.length > 0 && name.data[0] >= 'a' && name.data[0] <= 'z' &&
                 !store_is_reserved(name);
    for (size_t i = 0; plain && i < name.length; i++) {
        char c = name.data[i];
        plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
    }
    if (plain) {
        mr_buf_str(out, name);
        return;
    }
    mr_buf_u8(out, '"');
    for (size_t i = 0; i < name.length; i++) {
        if (name.data[i] == '"')
            mr_buf_u8(out, '"');
        mr_buf_u8(out, (uint8_t)name.data[i]);
    }
    mr_buf_u8(out, '"');
}

bool store_parse_name(struct store_parser *parser, mr_str *out)
{
    if (parser->err != MR_OK)
        return false;
    bool word = parser->at->kind == STORE_TOKEN_WORD && !store_is_reserved(parser->at->text);
    if (!word && parser->at->kind != STORE_TOKEN_QUOTED)
        return store_refuse(parser, NULL);
    *out = parser->at->text;
    parser->at++;
    return true;
}

bool store_parse_target(struct store_parser *parser, struct store_name *out)
{
    out->keyspace = MR_STR_NULL;
    if (!store_parse_name(parser, &out->name))
        return false;
    if (!store_take_sign(parser, "."))
        return true;
    out->keyspace = out->name;
    return store_parse_name(parser, &out->name);
}

bool store_parse_string(struct store_parser *parser, mr_str *out)
{
    if (parser->err != MR_OK || parser->at->kind != STORE_TOKEN_STRING)
        return store_refuse(parser, "STRING_LITERAL");
    *out = parser->at->text;
    parser->at++;
    return true;
}

bool store_parse_if_exists(struct store_parser *parser, bool *out)
{
    if (!store_take_word(parser, "if"))
        return parser->err == MR_OK;
    *out = true;
    return store_expect_word(parser, "exists");
}

bool store_parse_if_not_exists(struct store_parser *parser, bool *out)
{
    if (!store_take_word(parser, "if"))
        return parser->err == MR_OK;
    *out = true;
    return store_expect_word(parser, "not") && store_expect_word(parser, "exists");
}

/* ---- types: the tokens' text goes to cql_type_parse() ---- */
bool store_parse_type(struct store_parser *parser, const struct cql_type **out)
{
    struct store_token *first = parser->at;
    int open = 0;
    if (parser->err != MR_OK)
        return false;
    if (first->kind == STORE_TOKEN_STRING)
        return store_refuse_invalid(parser, CQL_ERROR_INVALID,
                                    "custom types are not supported: '%.*s'",
                                    MR_STR_ARG(first->text));
    if (first->kind != STORE_TOKEN_WORD && first->kind != STORE_TOKEN_QUOTED)
        return store_refuse(parser, NULL);
    parser->at++;
    if (store_at_sign(parser, "<"))
        do {
            if (store_at_end(parser))
                return store_refuse(parser, "'>'");
            open += store_at_sign(parser, "<");
            open -= store_at_sign(parser, ">");
            parser->at++;
        } while (open > 0);
    mr_str text = mr_str_slice(parser->text, first->at, parser->at->at);
    if (parser->at[-1].kind == STORE_TOKEN_WORD) /* not the blanks or comments behind it */
        text = first->text;
    else
        text = mr_str_slice(parser->text, first->at, parser->at[-1].at + 1);
    if (cql_type_parse(parser->arena, text, out) != MR_OK)
        return store_refuse_invalid(parser, CQL_ERROR_INVALID, "%s", mr_why());
    return true;
}

/* ---- terms ---- */
struct store_term *store_term_new(struct store_parser *parser, enum store_term_kind kind,
                                  mr_str text)
{
    struct store_term *term = mr_arena_new(parser->arena, struct store_term);
    term->kind = kind;
    term->text = text;
    return term;
}

static bool parse_args(struct store_parser *parser, const char *close, struct store_term *into)
{
    MR_ARRAY(struct store_term *) list = {NULL, 0, 0};
    bool ok = true;
    if (!store_take_sign(parser, close)) {
        do {
            struct store_term *arg = NULL;
            ok = store_parse_term(parser, &arg);
            if (ok)
                *mr_array_add(&list) = arg;
        } while (ok && store_take_sign(parser, ","));
        ok = ok && store_expect_sign(parser, close);
    }
    STORE_LIST_TAKE(parser, list, into->args, into->arg_count);
    return ok;
}

/* After '{': a set, a map, or {} which may be either. */
static bool parse_braces(struct store_parser *parser, struct store_term **out)
{
    MR_ARRAY(struct store_term *) list = {NULL, 0, 0};
    struct store_term *term = store_term_new(parser, STORE_TERM_SET, MR_STR_NULL);
    bool ok = true;
    if (!store_take_sign(parser, "}")) {
        do {
            struct store_term *key = NULL, *value = NULL;
            ok = store_parse_term(parser, &key);
            if (!ok)
                break;
            *mr_array_add(&list) = key;
            bool pair = list.count == 1 ? store_at_sign(parser, ":") : term->kind == STORE_TERM_MAP;
            if (!pair)
                continue;
            term->kind = STORE_TERM_MAP;
            ok = store_expect_sign(parser, ":") && store_parse_term(parser, &value);
            if (ok)
                *mr_array_add(&list) = value;
        } while (ok && store_take_sign(parser, ","));
        ok = ok && store_expect_sign(parser, "}");
    }
    STORE_LIST_TAKE(parser, list, term->args, term->arg_count);
    *out = term;
    return ok;
}

/* After '(': a tuple, a type hint (int) 5, or a term in brackets, which is a tuple of one. */
static bool parse_brackets(struct store_parser *parser, struct store_term **out)
{
    struct store_token *begin = parser->at;
    if (parser->at->kind == STORE_TOKEN_WORD) {
        const struct cql_type *type = NULL;
        const struct store_token *next = parser->at + 1;
        bool may_be_type = next->kind == STORE_TOKEN_SIGN &&
                           (next->text.data[0] == ')' || next->text.data[0] == '<');
        if (may_be_type && cql_type_parse(parser->arena, parser->at->text, &type) == MR_OK &&
            next->text.data[0] == ')') {
            parser->at += 2;
            *out = store_term_new(parser, STORE_TERM_HINT, MR_STR_NULL);
            (*out)->type = type;
            (*out)->args = mr_arena_array(parser->arena, struct store_term *, 1);
            (*out)->arg_count = 1;
            return store_parse_term(parser, &(*out)->args[0]);
        }
        if (may_be_type && next->text.data[0] == '<') {
            *out = store_term_new(parser, STORE_TERM_HINT, MR_STR_NULL);
            (*out)->args = mr_arena_array(parser->arena, struct store_term *, 1);
            (*out)->arg_count = 1;
            return store_parse_type(parser, &(*out)->type) && store_expect_sign(parser, ")") &&
                   store_parse_term(parser, &(*out)->args[0]);
        }
    }
    parser->at = begin;
    *out = store_term_new(parser, STORE_TERM_TUPLE, MR_STR_NULL);
    return parse_args(parser, ")", *out);
}

static bool parse_call(struct store_parser *parser, mr_str name, struct store_term **out)
{
    if (mr_str_equal(name, MR_STR("cast"))) {
        *out = store_term_new(parser, STORE_TERM_CAST, name);
        (*out)->args = mr_arena_array(parser->arena, struct store_term *, 1);
        (*out)->arg_count = 1;
        return store_parse_term(parser, &(*out)->args[0]) && store_expect_word(parser, "as") &&
               store_parse_type(parser, &(*out)->type) && store_expect_sign(parser, ")");
    }
    *out = store_term_new(parser, STORE_TERM_CALL, name);
    if (store_at_sign(parser, "*")) {
        parser->at++;
        (*out)->args = mr_arena_array(parser->arena, struct store_term *, 1);
        (*out)->args[0] = store_term_new(parser, STORE_TERM_STAR, MR_STR_NULL);
        (*out)->arg_count = 1;
        return store_expect_sign(parser, ")");
    }
    return parse_args(parser, ")", *out);
}

/* A word: a literal, a call, or a column. `token` and `ttl`-like words are functions before '('. */
static bool parse_word(struct store_parser *parser, struct store_term **out)
{
    static const struct {
        const char *word;
        enum store_term_kind kind;
    } literals[] = {{"null", STORE_TERM_NULL},
                    {"true", STORE_TERM_BOOLEAN},
                    {"false", STORE_TERM_BOOLEAN},
                    {"nan", STORE_TERM_FLOAT},
                    {"infinity", STORE_TERM_FLOAT}};
    struct store_token *token = parser->at;
    bool call = token[1].kind == STORE_TOKEN_SIGN && token[1].text.data[0] == '(';
    for (size_t i = 0; token->kind == STORE_TOKEN_WORD && i < mr_count_of(literals); i++)
        if (mr_str_equal(token->text, mr_str_from(literals[i].word))) {
            *out = store_term_new(parser, literals[i].kind, token->text);
            parser->at++;
            return true;
        }
    if (call && (token->kind == STORE_TOKEN_QUOTED || mr_str_equal(token->text, MR_STR("token")) ||
                 !store_is_reserved(token->text))) {
        parser->at += 2;
        return parse_call(parser, token->text, out);
    }
    mr_str name;
    if (!store_parse_name(parser, &name))
        return false;
    bool qualified = store_at_sign(parser, ".") && parser->at[1].kind == STORE_TOKEN_WORD &&
                     parser->at[2].kind == STORE_TOKEN_SIGN && parser->at[2].text.data[0] == '(';
    if (qualified && mr_str_equal(name, MR_STR("system"))) {
        mr_str function = parser->at[1].text;
        parser->at += 3;
        return parse_call(parser, function, out);
    }
    *out = store_term_new(parser, STORE_TERM_COLUMN, name);
    return true;
}

static bool parse_marker(struct store_parser *parser, struct store_term **out)
{
    mr_str name = MR_STR_NULL;
    if (store_take_sign(parser, ":")) {
        if (parser->at->kind != STORE_TOKEN_WORD && parser->at->kind != STORE_TOKEN_QUOTED)
            return store_refuse(parser, NULL);
        name = parser->at->text;
    } else {
        mr_assert(store_at_sign(parser, "?"));
    }
    parser->at++;
    if (parser->markers.count == UINT16_MAX)
        return store_refuse_invalid(parser, CQL_ERROR_INVALID, "more than 65535 bind markers");
    *out = store_term_new(parser, STORE_TERM_MARKER, name);
    (*out)->marker = (uint32_t)parser->markers.count;
    *mr_array_add(&parser->markers) = name;
    return true;
}

static bool parse_postfix(struct store_parser *parser, struct store_term **out);

static bool parse_negative(struct store_parser *parser, struct store_term **out)
{
    struct store_token *number = parser->at + 1;
    bool infinity = number->kind == STORE_TOKEN_WORD &&
                    (mr_str_equal(number->text, MR_STR("infinity")) ||
                     mr_str_equal(number->text, MR_STR("nan")));
    if (number->kind != STORE_TOKEN_INTEGER && number->kind != STORE_TOKEN_FLOAT &&
        number->kind != STORE_TOKEN_DURATION && !infinity) {
        if (++parser->depth > MR_LIMIT_CQL_TERM_DEPTH)
            return store_refuse_invalid(parser, CQL_ERROR_INVALID,
                                        "terms are nested deeper than %d", MR_LIMIT_CQL_TERM_DEPTH);
        parser->at++;
        *out = store_term_new(parser, STORE_TERM_ARITHMETIC, MR_STR("-"));
        (*out)->args = mr_arena_array(parser->arena, struct store_term *, 2);
        (*out)->arg_count = 2;
        (*out)->args[0] = store_term_new(parser, STORE_TERM_INTEGER, MR_STR("0"));
        (*out)->args[0]->implied = true; /* -a is 0 - a */
        bool ok = parse_postfix(parser, &(*out)->args[1]);
        parser->depth--;
        return ok;
    }
    enum store_term_kind kind = number->kind == STORE_TOKEN_INTEGER    ? STORE_TERM_INTEGER
                                : number->kind == STORE_TOKEN_DURATION ? STORE_TERM_DURATION
                                                                       : STORE_TERM_FLOAT;
    *out = store_term_new(parser, kind,
                          mr_arena_printf(parser->arena, "-%.*s", MR_STR_ARG(number->text)));
    parser->at += 2;
    return true;
}

static bool parse_simple(struct store_parser *parser, struct store_term **out)
{
    static const enum store_term_kind kinds[] = {
        [STORE_TOKEN_STRING] = STORE_TERM_STRING, [STORE_TOKEN_INTEGER] = STORE_TERM_INTEGER,
        [STORE_TOKEN_FLOAT] = STORE_TERM_FLOAT,   [STORE_TOKEN_UUID] = STORE_TERM_UUID,
        [STORE_TOKEN_HEX] = STORE_TERM_HEX,       [STORE_TOKEN_DURATION] = STORE_TERM_DURATION,
    };
    switch (parser->at->kind) {
    case STORE_TOKEN_WORD:
    case STORE_TOKEN_QUOTED:
        return parse_word(parser, out);
    case STORE_TOKEN_STRING:
    case STORE_TOKEN_INTEGER:
    case STORE_TOKEN_FLOAT:
    case STORE_TOKEN_UUID:
    case STORE_TOKEN_HEX:
    case STORE_TOKEN_DURATION:
        *out = store_term_new(parser, kinds[parser->at->kind], parser->at->text);
        parser->at++;
        return true;
    case STORE_TOKEN_END:
        return store_refuse(parser, NULL);
    case STORE_TOKEN_SIGN:
        break;
    }
    if (store_at_sign(parser, "?") || store_at_sign(parser, ":"))
        return parse_marker(parser, out);
    if (store_at_sign(parser, "-"))
        return parse_negative(parser, out);
    if (store_take_sign(parser, "{"))
        return parse_braces(parser, out);
    if (store_take_sign(parser, "("))
        return parse_brackets(parser, out);
    if (store_take_sign(parser, "[")) {
        *out = store_term_new(parser, STORE_TERM_LIST, MR_STR_NULL);
        return parse_args(parser, "]", *out);
    }
    return store_refuse(parser, NULL);
}

/* Elements behind a term: m['a']. */
static bool parse_postfix(struct store_parser *parser, struct store_term **out)
{
    if (!parse_simple(parser, out))
        return false;
    while ((*out)->kind == STORE_TERM_COLUMN && store_take_sign(parser, "[")) {
        struct store_term *element = store_term_new(parser, STORE_TERM_ELEMENT, MR_STR_NULL);
        element->args = mr_arena_array(parser->arena, struct store_term *, 2);
        element->arg_count = 2;
        element->args[0] = *out;
        if (!store_parse_term(parser, &element->args[1]) || !store_expect_sign(parser, "]"))
            return false;
        *out = element;
    }
    return true;
}

/* Left-associative chains; level 0 is + and -, level 1 * / and %. */
static bool parse_chain(struct store_parser *parser, int level, struct store_term **out)
{
    static const char *const signs[2][3] = {{"+", "-", "+"}, {"*", "/", "%"}};
    if (!(level == 0 ? parse_chain(parser, 1, out) : parse_postfix(parser, out)))
        return false;
    for (int operands = 1;; operands++) {
        size_t i = 0;
        while (i < 3 && !store_at_sign(parser, signs[level][i]))
            i++;
        if (i == 3)
            return true;
        if (operands == MR_LIMIT_CQL_CHAIN)
            return store_refuse_invalid(parser, CQL_ERROR_INVALID,
                                        "a term has more than %d operands", MR_LIMIT_CQL_CHAIN);
        struct store_term *sum = store_term_new(parser, STORE_TERM_ARITHMETIC, parser->at->text);
        parser->at++;
        sum->args = mr_arena_array(parser->arena, struct store_term *, 2);
        sum->arg_count = 2;
        sum->args[0] = *out;
        if (!(level == 0 ? parse_chain(parser, 1, &sum->args[1])
                         : parse_postfix(parser, &sum->args[1])))
            return false;
        *out = sum;
    }
}

bool store_parse_term(struct store_parser *parser, struct store_term **out)
{
    if (parser->err != MR_OK)
        return false;
    if (++parser->depth > MR_LIMIT_CQL_TERM_DEPTH)
        return store_refuse_invalid(parser, CQL_ERROR_INVALID, "terms are nested deeper than %d",
                                    MR_LIMIT_CQL_TERM_DEPTH);
    bool ok = parse_chain(parser, 0, out);
    parser->depth--;
    return ok;
}

/* ---- the statement ---- */
static bool parse_unsupported(struct store_parser *parser, struct store_statement *out)
{
    struct store_token *next = parser->at + (parser->at->kind != STORE_TOKEN_END);
#define REFUSED(first, second, about)                                                     \
    if (store_at_word(parser, first) &&                                                   \
        (second[0] == '\0' ||                                                             \
         (next->kind == STORE_TOKEN_WORD && mr_str_equal(next->text, MR_STR(second))))) { \
        out->kind = STORE_STATEMENT_UNSUPPORTED;                                          \
        out->unsupported = MR_STR(about);                                                 \
        while (!store_at_end(parser))                                                     \
            parser->at++;                                                                 \
        return true;                                                                      \
    }
#include "store/refused.def"
    return false;
}

static bool parse_any(struct store_parser *parser, struct store_statement *out)
{
    if (store_at_word(parser, "select"))
        return store_parse_select(parser, out);
    if (store_at_word(parser, "insert") || store_at_word(parser, "update") ||
        store_at_word(parser, "delete"))
        return store_parse_modification(parser, out);
    if (store_at_word(parser, "begin"))
        return store_parse_batch(parser, out);
    if (store_at_word(parser, "describe") || store_at_word(parser, "desc"))
        return store_parse_describe(parser, out);
    if (parse_unsupported(parser, out))
        return true;
    return store_parse_definition(parser, out);
}

mr_err store_parse(struct mr_arena *arena, mr_str text, struct store_fault *fault,
                   struct store_statement **out)
{
    struct store_tokens tokens;
    mr_err err = store_lex(arena, text, fault, &tokens);
    if (err != MR_OK)
        return err;
    struct store_parser parser = {.arena = arena, .text = text, .at = tokens.items, .fault = fault};
    struct store_statement *statement = mr_arena_new(arena, struct store_statement);
    if (store_at_end(&parser))
        store_refuse(&parser, NULL);
    if (parser.err == MR_OK && parse_any(&parser, statement)) {
        store_take_sign(&parser, ";");
        if (!store_at_end(&parser))
            store_refuse(&parser, "EOF");
    }
    STORE_LIST_TAKE(&parser, parser.markers, statement->marker_names, statement->marker_count);
    if (parser.err == MR_OK)
        *out = statement;
    return parser.err;
}

/* ---- terms as names of result columns ---- */
void store_print_term(struct mr_buf *out, const struct store_term *term)
{
    static const char *const open[] = {[STORE_TERM_LIST] = "[",
                                       [STORE_TERM_SET] = "{",
                                       [STORE_TERM_MAP] = "{",
                                       [STORE_TERM_TUPLE] = "("};
    switch (term->kind) {
    case STORE_TERM_CAST:
    case STORE_TERM_HINT:
        mr_buf_cstr(out, term->kind == STORE_TERM_CAST ? "cast(" : "(");
        if (term->kind == STORE_TERM_CAST) {
            store_print_term(out, term->args[0]);
            mr_buf_cstr(out, " as ");
        }
        cql_type_print(out, term->type);
        mr_buf_u8(out, ')');
        if (term->kind == STORE_TERM_HINT)
            store_print_term(out, term->args[0]);
        return;
    case STORE_TERM_STRING:
        mr_buf_printf(out, "'%.*s'", MR_STR_ARG(term->text));
        return;
    case STORE_TERM_MARKER:
        mr_buf_u8(out, '?');
        return;
    case STORE_TERM_ELEMENT:
        store_print_term(out, term->args[0]);
        mr_buf_u8(out, '[');
        store_print_term(out, term->args[1]);
        mr_buf_u8(out, ']');
        return;
    case STORE_TERM_ARITHMETIC:
        if (term->args[0]->implied) {
            mr_buf_u8(out, '-');
            store_print_term(out, term->args[1]);
            return;
        }
        store_print_term(out, term->args[0]);
        mr_buf_printf(out, " %.*s ", MR_STR_ARG(term->text));
        store_print_term(out, term->args[1]);
        return;
    case STORE_TERM_CALL:
        if (term->arg_count == 1 && term->args[0]->kind == STORE_TERM_STAR) {
            mr_buf_str(out, term->text);
            return;
        }
        if (!mr_str_equal(term->text, MR_STR("writetime")) &&
            !mr_str_equal(term->text, MR_STR("ttl")) &&
            !mr_str_equal(term->text, MR_STR("maxwritetime")))
            mr_buf_cstr(out, "system.");
        mr_buf_str(out, term->text);
        mr_buf_u8(out, '(');
        break;
    case STORE_TERM_LIST:
    case STORE_TERM_SET:
    case STORE_TERM_MAP:
    case STORE_TERM_TUPLE:
        mr_buf_cstr(out, open[term->kind]);
        break;
    case STORE_TERM_NULL:
    case STORE_TERM_INTEGER:
    case STORE_TERM_FLOAT:
    case STORE_TERM_BOOLEAN:
    case STORE_TERM_UUID:
    case STORE_TERM_HEX:
    case STORE_TERM_DURATION:
    case STORE_TERM_COLUMN:
    case STORE_TERM_STAR:
        mr_buf_str(out, term->text);
        return;
    }
    for (uint32_t i = 0; i < term->arg_count; i++) {
        if (i > 0)
            mr_buf_cstr(out, term->kind == STORE_TERM_MAP && i % 2 == 1 ? ": " : ", ");
        store_print_term(out, term->args[i]);
    }
    mr_buf_cstr(out, term->kind == STORE_TERM_CALL || term->kind == STORE_TERM_TUPLE ? ")"
                     : term->kind == STORE_TERM_LIST                                 ? "]"
                                                                                     : "}");
}
