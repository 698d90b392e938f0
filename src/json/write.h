/* json/write.h: tokens back to text without white space, as Spark's generators write it. */
#ifndef JSON_WRITE_H
#define JSON_WRITE_H

#include "json/token.h"

struct json_writer {
    struct mr_buf *out;
    bool bytes; /* characters beyond the BMP as \uXXXX pairs, as Jackson writes to bytes */
    bool lone;  /* a lone surrogate was to be written raw: bad text */
    uint32_t depth;
    bool full[2 * MR_LIMIT_JSON_DEPTH + 2]; /* the open array or object has an entry */
    bool named;                             /* a name has just been written */
};
void json_writer_init(struct json_writer *writer, struct mr_buf *out, bool bytes);
void json_write_begin(struct json_writer *writer, char bracket); /* '[' or '{' */
void json_write_end(struct json_writer *writer, char bracket);   /* ']' or '}' */
void json_write_raw(struct json_writer *writer, mr_str text);    /* one value as it is */
/* A string between quotes from its raw text; `escaped`: backslashes in it are escapes. */
void json_write_quoted(struct json_writer *writer, mr_str raw, bool escaped);
/* The present value, with all its children. False: a token error. */
bool json_write_copy(struct json_writer *writer, struct json_tokens *tokens);

#endif
