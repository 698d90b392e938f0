/* store/lexer.c: cuts CQL text into tokens. Strings may be '...' with '' inside, or $$...$$; comments
 * are -- and // to the end of the line, and slash-star pairs. */
#include "store/lexer.h"

#include <stdarg.h>
#include <stdio.h>

mr_err store_fail(struct store_fault *fault, enum cql_error code, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    fault->code = code;
    return mr_fail(MR_INVALID, "%s", text);
}

void store_place(mr_str text, size_t at, char out[32])
{
    size_t line = 1, column = 0;
    for (size_t i = 0; i < at && i < text.length; i++) {
        column++;
        if (text.data[i] == '\n') {
            line++;
            column = 0;
        }
    }
    snprintf(out, 32, "%zu:%zu", line, column);
}

struct lexer {
    struct mr_arena *arena;
    mr_str text;
    size_t at;
    struct store_fault *fault;
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_word(char c)
{
    return is_digit(c) || is_letter(c) || c == '_';
}

static char peek(const struct lexer *lexer, size_t ahead)
{
    return lexer->at + ahead < lexer->text.length ? lexer->text.data[lexer->at + ahead] : '\0';
}

static mr_err fail_at(struct lexer *lexer, size_t at, const char *what)
{
    char place[32];
    store_place(lexer->text, at, place);
    return store_fail(lexer->fault, CQL_ERROR_SYNTAX, "line %s %s", place, what);
}

static mr_err skip_blanks(struct lexer *lexer)
{
    for (;;) {
        char c = peek(lexer, 0), next = peek(lexer, 1);
        if (lexer->at >= lexer->text.length)
            return MR_OK;
        if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
            lexer->at++;
        } else if ((c == '-' && next == '-') || (c == '/' && next == '/')) {
            while (lexer->at < lexer->text.length && lexer->text.data[lexer->at] != '\n')
                lexer->at++;
        } else if (c == '/' && next == '*') {
            mr_str rest = mr_str_slice(lexer->text, lexer->at + 2, lexer->text.length);
            ptrdiff_t end = mr_str_find(rest, MR_STR("*/"));
            if (end < 0)
                return fail_at(lexer, lexer->at, "mismatched character '<EOF>' expecting '*'");
            lexer->at += (size_t)end + 4;
        } else {
            return MR_OK;
        }
    }
}

/* A text between quotes, each inner quote doubled. */
static mr_err lex_quoted(struct lexer *lexer, char quote, mr_str *out)
{
    size_t begin = lexer->at++, doubled = 0;
    for (;; lexer->at++) {
        if (lexer->at >= lexer->text.length)
            return fail_at(lexer, begin,
                           quote == '\'' ? "no viable alternative: a string has no end"
                                         : "no viable alternative: a quoted name has no end");
        if (lexer->text.data[lexer->at] != quote)
            continue;
        if (peek(lexer, 1) != quote)
            break;
        doubled++;
        lexer->at++;
    }
    *out = mr_str_slice(lexer->text, begin + 1, lexer->at);
    lexer->at++;
    if (doubled == 0)
        return MR_OK;
    char *copy = mr_arena_alloc(lexer->arena, out->length);
    size_t length = 0;
    for (size_t i = 0; i < out->length; i++) {
        copy[length++] = out->data[i];
        if (out->data[i] == quote)
            i++;
    }
    *out = mr_str_of(copy, length);
    return MR_OK;
}

static size_t uuid_length(const struct lexer *lexer)
{
    for (size_t i = 0; i < 36; i++) {
        char c = peek(lexer, i);
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? c != '-' : mr_hex_digit(c) < 0)
            return 0;
    }
    return is_word(peek(lexer, 36)) ? 0 : 36;
}

/* Digits and units in turn: 1y2mo3w4d5h6m7s8ms9us10ns. 0 when it is none. */
static size_t duration_length(const struct lexer *lexer)
{
    static const char *const units[] = {"mo", "ms", "us", "\xc2\xb5s", "ns", "y",
                                        "w",  "d",  "h",  "m",         "s"};
    size_t at = 0, parts = 0;
    while (is_digit(peek(lexer, at))) {
        while (is_digit(peek(lexer, at)))
            at++;
        mr_str rest = mr_str_slice(lexer->text, lexer->at + at, lexer->at + at + 3);
        size_t unit = 0;
        while (unit < mr_count_of(units) &&
               !mr_str_equal_nocase(mr_str_slice(rest, 0, strlen(units[unit])),
                                    mr_str_from(units[unit])))
            unit++;
        if (unit == mr_count_of(units))
            return 0;
        at += strlen(units[unit]);
        parts++;
    }
    return parts > 0 && !is_word(peek(lexer, at)) ? at : 0;
}

/* P1Y2M3DT4H5M6S, P1W or P0001-02-03T04:05:06. 0 when it is none. */
static size_t iso_duration_length(const struct lexer *lexer)
{
    size_t at = 1, digits = 0;
    for (;; at++) {
        char c = peek(lexer, at);
        digits += is_digit(c);
        if (!is_digit(c) && strchr("YMWDTHSymwdths-:", c) == NULL)
            break;
        if (c == '\0')
            break;
    }
    return digits > 0 && !is_word(peek(lexer, at)) &&
                   (is_digit(peek(lexer, 1)) || peek(lexer, 1) == 'T')
               ? at
               : 0;
}

static size_t number_length(const struct lexer *lexer, bool *is_float)
{
    size_t at = 0;
    *is_float = false;
    while (is_digit(peek(lexer, at)))
        at++;
    if (peek(lexer, at) == '.' && is_digit(peek(lexer, at + 1))) {
        *is_float = true;
        at++;
        while (is_digit(peek(lexer, at)))
            at++;
    } else if (peek(lexer, at) == '.' && !is_letter(peek(lexer, at + 1)) &&
               peek(lexer, at + 1) != '.') {
        *is_float = true;
        at++;
    }
    size_t e = at;
    if (peek(lexer, e) == 'e' || peek(lexer, e) == 'E') {
        e++;
        if (peek(lexer, e) == '+' || peek(lexer, e) == '-')
            e++;
        if (is_digit(peek(lexer, e))) {
            while (is_digit(peek(lexer, e)))
                e++;
            *is_float = true;
            at = e;
        }
    }
    return at;
}

static void take(struct lexer *lexer, struct store_token *token, enum store_token_kind kind,
                 size_t length)
{
    token->kind = kind;
    token->text = mr_str_slice(lexer->text, lexer->at, lexer->at + length);
    lexer->at += length;
}

static void lex_word(struct lexer *lexer, struct store_token *token)
{
    size_t length = 0;
    bool upper = false;
    while (is_word(peek(lexer, length))) {
        char c = peek(lexer, length++);
        upper |= c >= 'A' && c <= 'Z';
    }
    take(lexer, token, STORE_TOKEN_WORD, length);
    if (!upper)
        return;
    char *folded = mr_arena_alloc(lexer->arena, length);
    for (size_t i = 0; i < length; i++) {
        char c = token->text.data[i];
        folded[i] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
    }
    token->text = mr_str_of(folded, length);
}

static void lex_number(struct lexer *lexer, struct store_token *token)
{
    bool is_float = false;
    size_t hex = 2;
    if (peek(lexer, 0) == '0' && (peek(lexer, 1) == 'x' || peek(lexer, 1) == 'X')) {
        while (mr_hex_digit(peek(lexer, hex)) >= 0)
            hex++;
        take(lexer, token, STORE_TOKEN_HEX, hex);
        return;
    }
    size_t duration = duration_length(lexer);
    if (duration > 0) {
        take(lexer, token, STORE_TOKEN_DURATION, duration);
        return;
    }
    size_t length = number_length(lexer, &is_float);
    take(lexer, token, is_float ? STORE_TOKEN_FLOAT : STORE_TOKEN_INTEGER, length);
}

static mr_err lex_dollars(struct lexer *lexer, mr_str *out)
{
    mr_str rest = mr_str_slice(lexer->text, lexer->at + 2, lexer->text.length);
    ptrdiff_t end = mr_str_find(rest, MR_STR("$$"));
    if (end < 0)
        return fail_at(lexer, lexer->at, "no viable alternative: a string has no end");
    *out = mr_str_slice(rest, 0, (size_t)end);
    lexer->at += (size_t)end + 4;
    return MR_OK;
}

static mr_err lex_sign(struct lexer *lexer, struct store_token *token)
{
    static const char *const pairs[] = {"<=", ">=", "!=", "+=", "-="};
    for (size_t i = 0; i < mr_count_of(pairs); i++)
        if (peek(lexer, 0) == pairs[i][0] && peek(lexer, 1) == pairs[i][1]) {
            take(lexer, token, STORE_TOKEN_SIGN, 2);
            return MR_OK;
        }
    char c = peek(lexer, 0);
    if (c == '\0' || strchr("()[]{},;.:?=<>+-*/%", c) == NULL) {
        char what[80];
        snprintf(what, sizeof(what),
                 (unsigned char)c < 0x80 && c >= ' ' ? "no viable alternative at character '%c'"
                                                     : "no viable alternative at byte 0x%02x",
                 (unsigned char)c);
        return fail_at(lexer, lexer->at, what);
    }
    take(lexer, token, STORE_TOKEN_SIGN, 1);
    return MR_OK;
}

static mr_err lex_one(struct lexer *lexer, struct store_token *token)
{
    mr_err err = skip_blanks(lexer);
    if (err != MR_OK)
        return err;
    token->at = (uint32_t)lexer->at;
    token->text = MR_STR_NULL;
    token->kind = STORE_TOKEN_END;
    char c = peek(lexer, 0);
    if (lexer->at >= lexer->text.length)
        return MR_OK;
    if (c == '\'') {
        token->kind = STORE_TOKEN_STRING;
        return lex_quoted(lexer, '\'', &token->text);
    }
    if (c == '"') {
        token->kind = STORE_TOKEN_QUOTED;
        return lex_quoted(lexer, '"', &token->text);
    }
    if (c == '$' && peek(lexer, 1) == '$') {
        token->kind = STORE_TOKEN_STRING;
        return lex_dollars(lexer, &token->text);
    }
    size_t uuid = uuid_length(lexer);
    if (uuid > 0)
        take(lexer, token, STORE_TOKEN_UUID, uuid);
    else if ((c == 'P' || c == 'p') && iso_duration_length(lexer) > 0)
        take(lexer, token, STORE_TOKEN_DURATION, iso_duration_length(lexer));
    else if (is_digit(c))
        lex_number(lexer, token);
    else if (is_letter(c))
        lex_word(lexer, token);
    else
        return lex_sign(lexer, token);
    return MR_OK;
}

mr_err store_lex(struct mr_arena *arena, mr_str text, struct store_fault *fault,
                 struct store_tokens *out)
{
    struct lexer lexer = {arena, text, 0, fault};
    MR_ARRAY(struct store_token) list = {NULL, 0, 0};
    mr_err err = MR_OK;
    if (text.length > MR_LIMIT_CQL_STATEMENT_BYTES)
        return store_fail(fault, CQL_ERROR_INVALID,
                          "a statement of %zu bytes, at most %d are taken", text.length,
                          MR_LIMIT_CQL_STATEMENT_BYTES);
    do {
        struct store_token *token = mr_array_add(&list);
        err = lex_one(&lexer, token);
    } while (err == MR_OK && list.items[list.count - 1].kind != STORE_TOKEN_END);
    if (err == MR_OK) {
        out->items = mr_arena_array(arena, struct store_token, list.count);
        memcpy(out->items, list.items, list.count * sizeof(*list.items));
        out->count = list.count;
    }
    mr_array_fini(&list);
    return err;
}
