/* json/token.c: a pull tokenizer that behaves as Jackson's ReaderBasedJsonParser does.
 *
 * What has to be the same, because Spark's answers for malformed texts follow from it:
 * - behind a name the value's token is already read (scalars whole, strings lazily), so an error in it
 *   comes from the call that was to return the name, and leaves `current` at that name with nothing
 *   ahead: the next call answers END once;
 * - an error leaves `current` as it was, and `at` behind the character that was refused;
 * - a string's end is only looked for when its text is wanted, or by the next call. */
#include "json/token.h"

#include <math.h>

void json_token_init(struct json_tokens *tokens, mr_str text, unsigned flags,
                     struct mr_arena *arena)
{
    tokens->start = tokens->at = text.data;
    tokens->end = text.data + text.length;
    tokens->arena = arena;
    tokens->flags = flags;
    tokens->current = tokens->ahead = JSON_TOKEN_END;
    tokens->incomplete = tokens->escaped = tokens->too_deep = false;
    tokens->value_at = text.data;
    tokens->raw = MR_STR_NULL;
    tokens->special = 0;
    tokens->depth = 0;
    tokens->what = "a value";
    tokens->levels[0] = (struct json_level){.kind = 'r', .index = -1};
}

static enum json_token fail(struct json_tokens *tokens, const char *what)
{
    tokens->what = what;
    return JSON_TOKEN_ERROR;
}

static struct json_level *top(struct json_tokens *tokens)
{
    return &tokens->levels[tokens->depth];
}

static bool push(struct json_tokens *tokens, char kind)
{
    if (tokens->depth >= MR_LIMIT_JSON_DEPTH) {
        tokens->too_deep = true;
        tokens->what = "less nesting";
        return false;
    }
    tokens->levels[++tokens->depth] = (struct json_level){.kind = kind, .index = -1};
    return true;
}

/* ---- characters ---- */
enum { NO_CHAR = -1, BAD_CHAR = -2 };

/* The next character that is no white space, taken; NO_CHAR at the end, BAD_CHAR for a control one. */
static int take_visible(struct json_tokens *tokens)
{
    while (tokens->at < tokens->end) {
        unsigned char c = (unsigned char)*tokens->at++;
        if (c > ' ')
            return c;
        if (c != ' ' && c != '\n' && c != '\r' && c != '\t')
            return BAD_CHAR;
    }
    return NO_CHAR;
}

static bool is_word_char(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           c == '$' || c >= 0x7f || c <= 8 || (c >= 0x0e && c <= 0x1b);
}

/* An unknown word is taken whole before the error is raised. */
static enum json_token bad_word(struct json_tokens *tokens)
{
    for (int i = 0; i < 256 && tokens->at < tokens->end && is_word_char((unsigned char)*tokens->at);
         i++)
        tokens->at++;
    return fail(tokens, "a value");
}

/* The rest of a word whose first `from` characters have been taken. */
static bool match_word(struct json_tokens *tokens, const char *word, size_t from)
{
    size_t length = strlen(word);

    for (size_t i = from; i < length; i++, tokens->at++) {
        if (tokens->at >= tokens->end || *tokens->at != word[i]) {
            (void)bad_word(tokens);
            return false;
        }
    }
    if (tokens->at < tokens->end && is_word_char((unsigned char)*tokens->at)) {
        (void)bad_word(tokens);
        return false;
    }
    return true;
}

/* One escape; the backslash has been taken. */
static bool check_escape(struct json_tokens *tokens)
{
    if (tokens->at >= tokens->end) {
        tokens->what = "the rest of an escape";
        return false;
    }
    char c = *tokens->at++;
    switch (c) {
    case 'b':
    case 't':
    case 'n':
    case 'f':
    case 'r':
    case '"':
    case '/':
    case '\\':
        return true;
    case '\'':
        if (tokens->flags & JSON_TOKENS_SINGLE_QUOTES)
            return true;
        break;
    case 'u':
        for (int i = 0; i < 4; i++) {
            if (tokens->at >= tokens->end || mr_hex_digit(*tokens->at++) < 0) {
                tokens->what = "four hex digits";
                return false;
            }
        }
        return true;
    default:
        break;
    }
    tokens->what = "a known escape";
    return false;
}

/* To the closing quote, which is taken; sets raw and escaped. */
static bool scan_quoted(struct json_tokens *tokens, char quote)
{
    const char *begin = tokens->at;

    tokens->escaped = false;
    while (tokens->at < tokens->end) {
        char c = *tokens->at++;
        if (c == quote) {
            tokens->raw = mr_str_of(begin, (size_t)(tokens->at - 1 - begin));
            return true;
        }
        if (c == '\\') {
            tokens->escaped = true;
            if (!check_escape(tokens))
                return false;
        } else if ((unsigned char)c < ' ' && !(tokens->flags & JSON_TOKENS_CONTROL_CHARS)) {
            tokens->what = "an escape instead of a control character";
            return false;
        }
    }
    tokens->what = "a closing quote";
    return false;
}

/* ---- numbers ---- */
static bool is_digit(const struct json_tokens *tokens, const char *at)
{
    return at < tokens->end && *at >= '0' && *at <= '9';
}

static enum json_token special(struct json_tokens *tokens, const char *word, size_t from,
                               double value)
{
    if (!match_word(tokens, word, from))
        return JSON_TOKEN_ERROR;
    if (!(tokens->flags & JSON_TOKENS_NON_NUMBERS))
        return fail(tokens, "a number");
    tokens->raw = MR_STR_NULL;
    tokens->special = value;
    return JSON_TOKEN_FRACTION;
}

/* `c` followed the sign and was taken. */
static enum json_token odd_number(struct json_tokens *tokens, char c, bool negative)
{
    if (c == 'I' && tokens->at < tokens->end) {
        double value = negative ? -INFINITY : INFINITY;
        c = *tokens->at++;
        if (c == 'N')
            return special(tokens, "-INF", 3, value);
        if (c == 'n')
            return special(tokens, "-Infinity", 3, value);
    }
    return fail(tokens, "a digit");
}

static bool scan_exponent(struct json_tokens *tokens, const char **at)
{
    const char *p = *at + 1;

    if (p < tokens->end && (*p == '-' || *p == '+'))
        p++;
    if (!is_digit(tokens, p))
        return false;
    while (is_digit(tokens, p))
        p++;
    *at = p;
    return true;
}

/* A number from its first character, which has been taken: '-' or a digit. */
static enum json_token number(struct json_tokens *tokens, char first)
{
    const char *begin = tokens->at - 1, *p = begin;
    enum json_token kind = JSON_TOKEN_INTEGER;

    if (first == '-') {
        p++;
        if (!is_digit(tokens, p)) {
            if (p >= tokens->end)
                return fail(tokens, "a digit");
            tokens->at = p + 1;
            return odd_number(tokens, *p, true);
        }
    }
    if (*p == '0' && is_digit(tokens, p + 1)) {
        tokens->at = p + 1;
        return fail(tokens, "a number without leading zeros");
    }
    while (is_digit(tokens, p))
        p++;
    if (p < tokens->end && (*p == '.' || *p == 'e' || *p == 'E')) {
        tokens->at = p + 1; /* where an error leaves it */
        kind = JSON_TOKEN_FRACTION;
        if (*p == '.') {
            if (!is_digit(tokens, ++p))
                return fail(tokens, "a digit behind the decimal point");
            while (is_digit(tokens, p))
                p++;
        }
        if (p < tokens->end && (*p == 'e' || *p == 'E') && !scan_exponent(tokens, &p))
            return fail(tokens, "a digit in the exponent");
    }
    tokens->at = p;
    tokens->raw = mr_str_of(begin, (size_t)(p - begin));
    if (tokens->depth == 0 && p < tokens->end && *p != ' ' && *p != '\n' && *p != '\r' &&
        *p != '\t')
        return fail(tokens, "the end");
    return kind;
}

/* ---- values ---- */
static enum json_token odd_value(struct json_tokens *tokens, int c)
{
    switch (c) {
    case '\'':
        if (!(tokens->flags & JSON_TOKENS_SINGLE_QUOTES))
            break;
        return scan_quoted(tokens, '\'') ? JSON_TOKEN_STRING : JSON_TOKEN_ERROR;
    case 'N':
        return special(tokens, "NaN", 1, (double)NAN);
    case 'I':
        return special(tokens, "Infinity", 1, INFINITY);
    case '+':
        if (tokens->at >= tokens->end)
            break;
        return odd_number(tokens, *tokens->at++, false);
    default:
        if (c >= 0 && is_word_char((unsigned char)c) && !(c >= '0' && c <= '9'))
            return bad_word(tokens);
        break;
    }
    return fail(tokens, "a value");
}

/* The value that begins with `c`, which has been taken. Scalars are read whole; objects and arrays are
 * not entered yet. */
static enum json_token value(struct json_tokens *tokens, int c)
{
    tokens->value_at = tokens->at - 1;
    switch (c) {
    case '"':
        tokens->incomplete = true;
        return JSON_TOKEN_STRING;
    case '[':
        return JSON_TOKEN_ARRAY;
    case '{':
        return JSON_TOKEN_OBJECT;
    case 't':
        return match_word(tokens, "true", 1) ? JSON_TOKEN_TRUE : JSON_TOKEN_ERROR;
    case 'f':
        return match_word(tokens, "false", 1) ? JSON_TOKEN_FALSE : JSON_TOKEN_ERROR;
    case 'n':
        return match_word(tokens, "null", 1) ? JSON_TOKEN_NULL : JSON_TOKEN_ERROR;
    case '-':
    case '0':
    case '1':
    case '2':
    case '3':
    case '4':
    case '5':
    case '6':
    case '7':
    case '8':
    case '9':
        return number(tokens, (char)c);
    default:
        return odd_value(tokens, c);
    }
}

static enum json_token enter(struct json_tokens *tokens, enum json_token token)
{
    if (token == JSON_TOKEN_OBJECT || token == JSON_TOKEN_ARRAY) {
        if (!push(tokens, token == JSON_TOKEN_OBJECT ? 'o' : 'a'))
            return JSON_TOKEN_ERROR;
    }
    return tokens->current = token;
}

static enum json_token close_scope(struct json_tokens *tokens, int c)
{
    if (top(tokens)->kind != (c == ']' ? 'a' : 'o'))
        return fail(tokens, c == ']' ? "no ']' here" : "no '}' here");
    tokens->depth--;
    return tokens->current = c == ']' ? JSON_TOKEN_ARRAY_END : JSON_TOKEN_OBJECT_END;
}

/* A name and its colon; `c` is its first character, taken. Gives the value's first character, or -1. */
static int name(struct json_tokens *tokens, int c)
{
    struct json_level *level = top(tokens);

    if (c != '"' && (c != '\'' || !(tokens->flags & JSON_TOKENS_SINGLE_QUOTES))) {
        tokens->what = "a name in double quotes";
        return NO_CHAR;
    }
    if (!scan_quoted(tokens, (char)c))
        return NO_CHAR;
    level->name = tokens->raw;
    level->name_escaped = tokens->escaped;
    level->named = true;
    tokens->current = JSON_TOKEN_NAME;
    tokens->ahead = JSON_TOKEN_END;
    if (take_visible(tokens) != ':') {
        tokens->what = "a colon";
        return NO_CHAR;
    }
    c = take_visible(tokens);
    if (c < 0)
        tokens->what = "a value";
    return c;
}

enum json_token json_token_next(struct json_tokens *tokens)
{
    if (tokens->current == JSON_TOKEN_NAME) {
        enum json_token token = tokens->ahead;
        tokens->ahead = JSON_TOKEN_END;
        return enter(tokens, token);
    }
    if (tokens->incomplete && !json_token_finish(tokens))
        return JSON_TOKEN_ERROR;
    int c = take_visible(tokens);
    if (c == NO_CHAR) {
        if (tokens->depth > 0)
            return fail(tokens, top(tokens)->kind == 'o' ? "'}'" : "']'");
        return tokens->current = JSON_TOKEN_END;
    }
    if (c == BAD_CHAR)
        return fail(tokens, "no control character");
    if (c == ']' || c == '}')
        return close_scope(tokens, c);

    struct json_level *level = top(tokens);
    if (level->index++ >= 0 && level->kind != 'r') {
        if (c != ',')
            return fail(tokens, level->kind == 'o' ? "',' or '}'" : "',' or ']'");
        c = take_visible(tokens);
        if (c < 0)
            return fail(tokens, "a value");
    }
    if (level->kind != 'o') {
        enum json_token token = value(tokens, c);
        return token == JSON_TOKEN_ERROR ? token : enter(tokens, token);
    }
    c = name(tokens, c);
    if (c < 0)
        return JSON_TOKEN_ERROR;
    enum json_token token = value(tokens, c);
    if (token == JSON_TOKEN_ERROR)
        return token;
    tokens->ahead = token;
    return JSON_TOKEN_NAME;
}

bool json_token_finish(struct json_tokens *tokens)
{
    if (!tokens->incomplete)
        return true;
    tokens->incomplete = false;
    return scan_quoted(tokens, '"');
}

bool json_token_skip(struct json_tokens *tokens)
{
    if (tokens->current != JSON_TOKEN_OBJECT && tokens->current != JSON_TOKEN_ARRAY)
        return true;
    for (uint32_t open = 1; open > 0;) {
        switch (json_token_next(tokens)) {
        case JSON_TOKEN_ERROR:
            return false;
        case JSON_TOKEN_END:
            if (tokens->depth == 0)
                return true;
            tokens->what = "a value";
            return false;
        case JSON_TOKEN_OBJECT:
        case JSON_TOKEN_ARRAY:
            open++;
            break;
        case JSON_TOKEN_OBJECT_END:
        case JSON_TOKEN_ARRAY_END:
            open--;
            break;
        case JSON_TOKEN_NAME:
        case JSON_TOKEN_STRING:
        case JSON_TOKEN_INTEGER:
        case JSON_TOKEN_FRACTION:
        case JSON_TOKEN_TRUE:
        case JSON_TOKEN_FALSE:
        case JSON_TOKEN_NULL:
            break;
        }
    }
    return true;
}

/* ---- text ---- */
static size_t put_utf8(char *out, uint32_t code)
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xc0 | (code >> 6));
        out[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xe0 | (code >> 12));
        out[1] = (char)(0x80 | ((code >> 6) & 0x3f));
        out[2] = (char)(0x80 | (code & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | (code >> 18));
    out[1] = (char)(0x80 | ((code >> 12) & 0x3f));
    out[2] = (char)(0x80 | ((code >> 6) & 0x3f));
    out[3] = (char)(0x80 | (code & 0x3f));
    return 4;
}

static uint32_t hex4(const char *at)
{
    uint32_t code = 0;

    for (int i = 0; i < 4; i++)
        code = code << 4 | (uint32_t)mr_hex_digit(at[i]);
    return code;
}

/* One \uXXXX (or a pair of them) at `at`, which stands behind the 'u'. */
static const char *unescape_unicode(const char *at, const char *end, char **out, bool *lone)
{
    uint32_t code = hex4(at);

    at += 4;
    if (code >= 0xd800 && code < 0xdc00 && end - at >= 6 && at[0] == '\\' && at[1] == 'u') {
        uint32_t low = hex4(at + 2);
        if (low >= 0xdc00 && low < 0xe000) {
            *out += put_utf8(*out, 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00));
            return at + 6;
        }
    }
    if (code >= 0xd800 && code < 0xe000) {
        *lone = true;
        code = '?';
    }
    *out += put_utf8(*out, code);
    return at;
}

mr_str json_token_unescape(struct mr_arena *arena, mr_str raw, bool *lone)
{
    const char *at = raw.data, *end = raw.data + raw.length;
    char *begin = mr_arena_alloc(arena, raw.length + 1), *out = begin;
    bool ignored, *single = lone == NULL ? &ignored : lone;

    *single = false;
    while (at < end) {
        if (*at != '\\') {
            const char *next = memchr(at, '\\', (size_t)(end - at));
            size_t length = (size_t)((next == NULL ? end : next) - at);
            memcpy(out, at, length);
            out += length;
            at += length;
            continue;
        }
        char c = at[1];
        at += 2;
        switch (c) {
        case 'b':
            *out++ = '\b';
            break;
        case 't':
            *out++ = '\t';
            break;
        case 'n':
            *out++ = '\n';
            break;
        case 'f':
            *out++ = '\f';
            break;
        case 'r':
            *out++ = '\r';
            break;
        case 'u':
            at = unescape_unicode(at, end, &out, single);
            break;
        default:
            *out++ = c;
            break;
        }
    }
    return json_token_clean(arena, mr_str_of(begin, (size_t)(out - begin)));
}

/* Bytes of the well formed character at `at`, or 0. */
static size_t utf8_length(const char *at, const char *end)
{
    for (size_t length = 1; length <= 4 && at + length <= end; length++) {
        if (mr_str_is_utf8(mr_str_of(at, length)))
            return length;
    }
    return 0;
}

mr_str json_token_clean(struct mr_arena *arena, mr_str raw)
{
    if (mr_str_is_utf8(raw))
        return raw;
    char *begin = mr_arena_alloc(arena, raw.length * 3 + 1), *out = begin;
    const char *end = raw.data + raw.length;
    for (const char *at = raw.data; at < end;) {
        size_t length = utf8_length(at, end);
        if (length == 0) {
            out += put_utf8(out, 0xfffd);
            at++;
            continue;
        }
        memcpy(out, at, length);
        out += length;
        at += length;
    }
    return mr_str_of(begin, (size_t)(out - begin));
}

mr_str json_token_text(struct json_tokens *tokens)
{
    if (tokens->escaped)
        return json_token_unescape(tokens->arena, tokens->raw, NULL);
    return json_token_clean(tokens->arena, tokens->raw);
}

mr_str json_token_name(struct json_tokens *tokens)
{
    struct json_level *level = top(tokens);

    if ((tokens->current == JSON_TOKEN_OBJECT || tokens->current == JSON_TOKEN_ARRAY) &&
        tokens->depth > 0)
        level--;
    if (!level->named)
        return MR_STR_NULL;
    if (level->name_escaped) {
        level->name = json_token_unescape(tokens->arena, level->name, NULL);
        level->name_escaped = false;
    }
    return level->name;
}
