/* json/token.h: JSON text as tokens, one at a time, with the leniency and, after an error, the exact
 * state of the parser that Spark uses (Jackson's, over characters). Spark goes on after some errors, so
 * what it answers for a malformed text depends on where that parser stands then; see token.c. */
#ifndef JSON_TOKEN_H
#define JSON_TOKEN_H

#include "json/json.h"

enum json_token {
    JSON_TOKEN_END, /* no more tokens, or none at hand (after an error behind a name) */
    JSON_TOKEN_ERROR,
    JSON_TOKEN_NAME,
    JSON_TOKEN_OBJECT,
    JSON_TOKEN_OBJECT_END,
    JSON_TOKEN_ARRAY,
    JSON_TOKEN_ARRAY_END,
    JSON_TOKEN_STRING,
    JSON_TOKEN_INTEGER,
    JSON_TOKEN_FRACTION, /* a number with '.' or exponent, or NaN and infinities */
    JSON_TOKEN_TRUE,
    JSON_TOKEN_FALSE,
    JSON_TOKEN_NULL,
};
enum {
    JSON_TOKENS_SINGLE_QUOTES = 1,
    JSON_TOKENS_NON_NUMBERS = 2,   /* NaN, Infinity, -Infinity, +INF, ... */
    JSON_TOKENS_CONTROL_CHARS = 4, /* raw control characters inside strings */
    JSON_TOKENS_SPARK = JSON_TOKENS_SINGLE_QUOTES | JSON_TOKENS_NON_NUMBERS,
    JSON_TOKENS_HIVE = JSON_TOKENS_SINGLE_QUOTES | JSON_TOKENS_CONTROL_CHARS,
};
struct json_level {
    char kind; /* 'r' root, 'o' object, 'a' array */
    bool named, name_escaped;
    int64_t index; /* of the latest entry; -1 before the first */
    mr_str name;   /* raw, without quotes */
};
struct json_tokens {
    const char *start, *at, *end;
    struct mr_arena *arena; /* for texts that are not views */
    unsigned flags;
    enum json_token current;
    enum json_token ahead; /* the value behind the present name; END: none */
    bool incomplete;       /* a string token whose end has not been looked for */
    bool escaped;          /* the string has escapes */
    const char *value_at;  /* first byte of the value token */
    mr_str raw;            /* string without quotes, number, as written */
    double special;        /* FRACTION with empty raw: NaN or an infinity */
    uint32_t depth;
    bool too_deep;
    const char *what; /* what an error found missing; a literal */
    struct json_level levels[MR_LIMIT_JSON_DEPTH + 1];
};
void json_token_init(struct json_tokens *tokens, mr_str text, unsigned flags,
                     struct mr_arena *arena);
enum json_token json_token_next(struct json_tokens *tokens);
/* The present OBJECT's or ARRAY's children; on return `current` is its end. False: an error. */
bool json_token_skip(struct json_tokens *tokens);
/* Finds the end of the present STRING (sets raw, escaped). False: an error. */
bool json_token_finish(struct json_tokens *tokens);
/* The present STRING's text (after json_token_finish), unescaped, well formed UTF-8. */
mr_str json_token_text(struct json_tokens *tokens);
/* The present name, unescaped; no data when there is none. For OBJECT and ARRAY the one before it. */
mr_str json_token_name(struct json_tokens *tokens);
/* Text between quotes to UTF-8: escapes replaced, lone surrogates as '?', bad bytes as U+FFFD. The
 * escapes are well formed. `*lone`, unless NULL, says whether there was a lone surrogate. */
mr_str json_token_unescape(struct mr_arena *arena, mr_str raw, bool *lone);
/* The well formed text of a raw piece without escapes: the view itself, or a copy with U+FFFD. */
mr_str json_token_clean(struct mr_arena *arena, mr_str raw);

#endif
