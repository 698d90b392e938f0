/* sql/lexer.c: SQL text to tokens: Spark's literals, escapes, back-ticks and comments. */
#include "sql/ast.h"

#include <stdarg.h>
#include <stdio.h>

struct lexer {
    struct mr_arena *arena;
    mr_str text;
    size_t at;
    uint32_t line;
    size_t counted_to; /* columns are counted once over the whole text */
    uint32_t counted_line, counted_column;
    MR_ARRAY(struct sql_token) tokens;
    mr_err err;
};

mr_err sql_place_fail(mr_err code, uint32_t line, uint32_t column, const char *format, ...)
{
    char sentence[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    return mr_fail(code, "line %u, column %u: %s", line, column, sentence);
}

static char peek(const struct lexer *lexer, size_t ahead)
{
    return lexer->at + ahead < lexer->text.length ? lexer->text.data[lexer->at + ahead] : '\0';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_word(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           (unsigned char)c >= 0x80;
}

/* The column of `at`, counted on from where the last call stood: characters, not bytes. */
static uint32_t column_of(struct lexer *lexer, size_t at)
{
    if (at < lexer->counted_to || lexer->counted_line != lexer->line) {
        lexer->counted_to = at;
        while (lexer->counted_to > 0 && lexer->text.data[lexer->counted_to - 1] != '\n')
            lexer->counted_to--;
        lexer->counted_line = lexer->line;
        lexer->counted_column = 1;
    }
    for (; lexer->counted_to < at; lexer->counted_to++)
        lexer->counted_column += ((unsigned char)lexer->text.data[lexer->counted_to] & 0xC0) !=
                                 0x80;
    return lexer->counted_column;
}

static void lexer_fail(struct lexer *lexer, const char *sentence)
{
    if (lexer->err == MR_OK)
        lexer->err = sql_place_fail(MR_INVALID, lexer->line, column_of(lexer, lexer->at), "%s",
                                    sentence);
    lexer->at = lexer->text.length;
}

static void step(struct lexer *lexer)
{
    lexer->line += lexer->text.data[lexer->at++] == '\n';
}

/* ---- what is no token ---- */
static void skip_bracketed(struct lexer *lexer)
{
    int depth = 0;
    do {
        if (lexer->at >= lexer->text.length) {
            lexer_fail(lexer, "a comment /* is not closed by */");
            return;
        }
        if (peek(lexer, 0) == '/' && peek(lexer, 1) == '*') {
            depth++;
            lexer->at += 2;
        } else if (peek(lexer, 0) == '*' && peek(lexer, 1) == '/') {
            depth--;
            lexer->at += 2;
        } else {
            step(lexer);
        }
    } while (depth > 0);
}

static void skip_space(struct lexer *lexer)
{
    while (lexer->at < lexer->text.length) {
        if ((unsigned char)peek(lexer, 0) <= ' ')
            step(lexer);
        else if (peek(lexer, 0) == '-' && peek(lexer, 1) == '-')
            while (lexer->at < lexer->text.length && peek(lexer, 0) != '\n')
                step(lexer);
        else if (peek(lexer, 0) == '/' && peek(lexer, 1) == '*')
            skip_bracketed(lexer);
        else
            return;
    }
}

/* ---- strings ---- */
static void put_utf8(struct mr_buf *out, uint32_t code)
{
    if (code < 0x80) {
        mr_buf_u8(out, (uint8_t)code);
    } else if (code < 0x800) {
        mr_buf_u8(out, (uint8_t)(0xC0 | code >> 6));
        mr_buf_u8(out, (uint8_t)(0x80 | (code & 63)));
    } else if (code < 0x10000) {
        mr_buf_u8(out, (uint8_t)(0xE0 | code >> 12));
        mr_buf_u8(out, (uint8_t)(0x80 | (code >> 6 & 63)));
        mr_buf_u8(out, (uint8_t)(0x80 | (code & 63)));
    } else {
        mr_buf_u8(out, (uint8_t)(0xF0 | code >> 18));
        mr_buf_u8(out, (uint8_t)(0x80 | (code >> 12 & 63)));
        mr_buf_u8(out, (uint8_t)(0x80 | (code >> 6 & 63)));
        mr_buf_u8(out, (uint8_t)(0x80 | (code & 63)));
    }
}

/* uXXXX or UXXXXXXXX after the backslash; false when the digits are missing. */
static bool take_unicode(struct lexer *lexer, struct mr_buf *out)
{
    size_t digits = peek(lexer, 0) == 'u' ? 4 : 8;
    uint32_t code = 0;
    for (size_t i = 1; i <= digits; i++) {
        int digit = mr_hex_digit(peek(lexer, i));
        if (digit < 0)
            return false;
        code = code << 4 | (uint32_t)digit;
    }
    put_utf8(out, code > 0x10FFFF || (code >= 0xD800 && code < 0xE000) ? 0xFFFD : code);
    lexer->at += digits + 1;
    return true;
}

static bool is_octal(char c)
{
    return c >= '0' && c <= '7';
}

/* What follows a backslash. \% and \_ keep it, for LIKE. */
static void take_escape(struct lexer *lexer, struct mr_buf *out)
{
    static const char from[] = "0bnrtZ", to[] = "\0\b\n\r\t\x1a";
    char c = peek(lexer, 0);
    if ((c == 'u' || c == 'U') && take_unicode(lexer, out))
        return;
    if ((c == '0' || c == '1') && is_octal(peek(lexer, 1)) && is_octal(peek(lexer, 2))) {
        put_utf8(out,
                 (uint32_t)((c - '0') * 64 + (peek(lexer, 1) - '0') * 8 + peek(lexer, 2) - '0'));
        lexer->at += 3;
        return;
    }
    const char *found = c == '\0' ? NULL : strchr(from, c);
    if (c == '%' || c == '_')
        mr_buf_u8(out, '\\');
    mr_buf_u8(out, (uint8_t)(found != NULL ? to[found - from] : c));
    step(lexer);
}

/* From the opening quote to behind the closing one. A doubled back-tick stands for one. */
static mr_str take_quoted(struct lexer *lexer, bool escapes)
{
    struct mr_buf out = {0};
    char quote = peek(lexer, 0);
    size_t from = lexer->at;
    lexer->at++;
    for (;;) {
        if (lexer->at >= lexer->text.length) {
            lexer->at = from;
            lexer_fail(lexer, quote == '`' ? "a name in back-ticks is not closed"
                                           : "a text in quotes is not closed");
            break;
        }
        char c = peek(lexer, 0);
        if (c == quote) {
            lexer->at++;
            if (quote != '`' || peek(lexer, 0) != '`')
                break;
            mr_buf_u8(&out, '`');
            lexer->at++;
        } else if (c == '\\' && escapes && lexer->at + 1 < lexer->text.length) {
            lexer->at++;
            take_escape(lexer, &out);
        } else {
            mr_buf_u8(&out, (uint8_t)c);
            step(lexer);
        }
    }
    mr_str value = mr_arena_str(lexer->arena, mr_buf_as_str(&out));
    mr_buf_fini(&out);
    return value;
}

static mr_str hex_bytes(struct lexer *lexer, mr_str digits)
{
    uint8_t *bytes = mr_arena_alloc(lexer->arena, digits.length / 2 + 1);
    size_t count = 0;
    int half = -1;
    for (size_t i = 0; i < digits.length; i++) {
        int digit = mr_hex_digit(digits.data[i]);
        if (digit < 0) {
            lexer_fail(lexer, "X'...' expects hexadecimal digits");
            return MR_STR_NULL;
        }
        if (i == 0 && digits.length % 2 == 1) {
            bytes[count++] = (uint8_t)digit;
        } else if (half < 0) {
            half = digit;
        } else {
            bytes[count++] = (uint8_t)(half << 4 | digit);
            half = -1;
        }
    }
    return mr_str_of(bytes, count);
}

/* ---- numbers and symbols ---- */
static void skip_number(struct lexer *lexer)
{
    while (is_digit(peek(lexer, 0)))
        lexer->at++;
    if (peek(lexer, 0) == '.' && !is_word(peek(lexer, 1) == '\0' ? ' ' : peek(lexer, 1)))
        lexer->at++;
    else if (peek(lexer, 0) == '.' &&
             (is_digit(peek(lexer, 1)) || strchr("eEdDfFbB", peek(lexer, 1))))
        lexer->at++;
    while (is_digit(peek(lexer, 0)))
        lexer->at++;
    if (peek(lexer, 0) == 'e' || peek(lexer, 0) == 'E') {
        size_t sign = peek(lexer, 1) == '+' || peek(lexer, 1) == '-' ? 2 : 1;
        if (is_digit(peek(lexer, sign)))
            lexer->at += sign;
        while (is_digit(peek(lexer, 0)))
            lexer->at++;
    }
    while (is_word(peek(lexer, 0))) /* the suffix, or what makes it a wrong number */
        lexer->at++;
}

static size_t symbol_length(const struct lexer *lexer)
{
    static const char *const long_symbols[] = {
        "<=>", "<=", ">=", "<>", "!=", "==", "||", "->", "=>", "::"};
    mr_str rest = mr_str_slice(lexer->text, lexer->at, lexer->text.length);
    for (size_t i = 0; i < mr_count_of(long_symbols); i++)
        if (mr_str_starts(rest, mr_str_from(long_symbols[i])))
            return strlen(long_symbols[i]);
    return strchr("()[],.;:*/%+-<>=!&|^~?@", rest.data[0]) != NULL ? 1 : 0;
}

static void take_token(struct lexer *lexer)
{
    struct sql_token token = {.line = lexer->line, .column = column_of(lexer, lexer->at)};
    size_t from = lexer->at;
    char c = peek(lexer, 0), next = peek(lexer, 1);
    if (c == '\'' || c == '"') {
        token.kind = SQL_TOKEN_STRING;
        token.value = take_quoted(lexer, true);
    } else if ((c == 'r' || c == 'R') && (next == '\'' || next == '"')) {
        lexer->at++;
        token.kind = SQL_TOKEN_STRING;
        token.value = take_quoted(lexer, false);
    } else if ((c == 'x' || c == 'X') && (next == '\'' || next == '"')) {
        lexer->at++;
        token.kind = SQL_TOKEN_BINARY;
        token.value = hex_bytes(lexer, take_quoted(lexer, false));
    } else if (c == '`') {
        token.kind = SQL_TOKEN_QUOTED;
        token.value = take_quoted(lexer, false);
    } else if (is_digit(c) || (c == '.' && is_digit(next))) {
        token.kind = SQL_TOKEN_NUMBER;
        skip_number(lexer);
    } else if (is_word(c)) {
        token.kind = SQL_TOKEN_WORD;
        while (is_word(peek(lexer, 0)))
            lexer->at++;
    } else {
        token.kind = SQL_TOKEN_SYMBOL;
        size_t length = symbol_length(lexer);
        if (length == 0) {
            lexer_fail(lexer, "a character that has no place in SQL");
            return;
        }
        lexer->at += length;
    }
    token.text = mr_str_slice(lexer->text, from, lexer->at);
    if (lexer->err == MR_OK)
        *mr_array_add(&lexer->tokens) = token;
}

mr_err sql_lexer_run(struct mr_arena *arena, mr_str text, struct sql_token **out)
{
    struct lexer lexer = {.arena = arena, .line = 1};
    if (text.length > MR_LIMIT_SQL_BYTES)
        return mr_fail(MR_LIMIT, "the SQL text has %zu bytes, at most %d are allowed", text.length,
                       MR_LIMIT_SQL_BYTES);
    lexer.text = mr_arena_str(arena, text);
    for (;;) {
        skip_space(&lexer);
        if (lexer.at >= lexer.text.length)
            break;
        take_token(&lexer);
    }
    struct sql_token end = {
        .kind = SQL_TOKEN_END, .line = lexer.line, .column = column_of(&lexer, lexer.text.length)};
    *mr_array_add(&lexer.tokens) = end;
    if (lexer.err == MR_OK) {
        *out = mr_arena_array(arena, struct sql_token, lexer.tokens.count);
        memcpy(*out, lexer.tokens.items, lexer.tokens.count * sizeof end);
    }
    mr_array_fini(&lexer.tokens);
    return lexer.err;
}
