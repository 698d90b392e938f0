/* store/lexer.h: CQL text as tokens. */
#ifndef STORE_LEXER_H
#define STORE_LEXER_H

#include "store/statement.h"

enum store_token_kind {
    STORE_TOKEN_END,
    STORE_TOKEN_WORD,   /* folded to lower case */
    STORE_TOKEN_QUOTED, /* a quoted name, quotes taken off */
    STORE_TOKEN_STRING, /* quotes taken off */
    STORE_TOKEN_INTEGER,
    STORE_TOKEN_FLOAT,
    STORE_TOKEN_UUID,
    STORE_TOKEN_HEX,
    STORE_TOKEN_DURATION,
    STORE_TOKEN_SIGN, /* one of ( ) [ ] { } , ; . : ? = < > <= >= != + - * / % */
};
struct store_token {
    enum store_token_kind kind;
    uint32_t at; /* byte offset in the text */
    mr_str text;
};
struct store_tokens {
    struct store_token *items; /* the last one is END */
    size_t count;
};
/* Errors: MR_INVALID with a syntax fault; MR_LIMIT. The tokens live in the arena. */
mr_err store_lex(struct mr_arena *arena, mr_str text, struct store_fault *fault,
                 struct store_tokens *out);
/* "1:7": line and column of an offset, as error texts have it. */
void store_place(mr_str text, size_t at, char out[32]);

#endif
