/* store/parser.h: what the parser's three files share: a cursor over tokens, names and terms.
 * Every function that returns bool gives false after an error; parser->err then holds it. */
#ifndef STORE_PARSER_H
#define STORE_PARSER_H

#include "store/lexer.h"

struct store_parser {
    struct mr_arena *arena;
    mr_str text;
    struct store_token *at;
    struct store_fault *fault;
    mr_err err;
    int depth;
    MR_ARRAY(mr_str) markers;
};

/* ---- the cursor ---- */
bool store_at_word(const struct store_parser *parser, const char *word);
bool store_at_sign(const struct store_parser *parser, const char *sign);
bool store_at_end(const struct store_parser *parser);
bool store_take_word(struct store_parser *parser, const char *word); /* if it is there */
bool store_take_sign(struct store_parser *parser, const char *sign);
bool store_expect_word(struct store_parser *parser, const char *word); /* else an error */
bool store_expect_sign(struct store_parser *parser, const char *sign);
bool store_refuse(struct store_parser *parser, const char *expected); /* always false */
bool store_refuse_invalid(struct store_parser *parser, enum cql_error code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- pieces ---- */
bool store_parse_name(struct store_parser *parser, mr_str *out);
bool store_parse_target(struct store_parser *parser, struct store_name *out); /* [keyspace.]name */
bool store_parse_type(struct store_parser *parser, const struct cql_type **out);
bool store_parse_term(struct store_parser *parser, struct store_term **out);
bool store_parse_string(struct store_parser *parser, mr_str *out);
bool store_parse_if_exists(struct store_parser *parser, bool *out);
bool store_parse_if_not_exists(struct store_parser *parser, bool *out);
struct store_term *store_term_new(struct store_parser *parser, enum store_term_kind kind,
                                  mr_str text);

/* ---- statements ---- */
bool store_parse_select(struct store_parser *parser, struct store_statement *out);
bool store_parse_modification(struct store_parser *parser, struct store_statement *out);
bool store_parse_batch(struct store_parser *parser, struct store_statement *out);
bool store_parse_definition(struct store_parser *parser, struct store_statement *out);
bool store_parse_describe(struct store_parser *parser, struct store_statement *out);

/* Copies a growing list into the arena and ends it. */
#define STORE_LIST_TAKE(parser, list, items_out, count_out)                                      \
    do {                                                                                         \
        (count_out) = (uint32_t)(list).count;                                                    \
        (items_out) = mr_arena_alloc((parser)->arena, (list).count * sizeof(*(list).items) + 1); \
        if ((list).count > 0)                                                                    \
            memcpy((items_out), (list).items, (list).count * sizeof(*(list).items));             \
        mr_array_fini(&(list));                                                                  \
    } while (0)

#endif
