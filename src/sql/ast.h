/* sql/ast.h: a parsed statement before anything in it has a meaning. Private to the room. */
#ifndef SQL_AST_H
#define SQL_AST_H

#include "sql/sql.h"

/* ---- tokens ---- */
enum sql_token_kind {
    SQL_TOKEN_END,
    SQL_TOKEN_WORD,   /* a bare identifier or keyword */
    SQL_TOKEN_QUOTED, /* `identifier` */
    SQL_TOKEN_STRING, /* 'text' or "text"; `value` without escapes */
    SQL_TOKEN_BINARY, /* X'1F' */
    SQL_TOKEN_NUMBER, /* with its suffix */
    SQL_TOKEN_SYMBOL, /* an operator or a bracket */
};
struct sql_token {
    enum sql_token_kind kind;
    mr_str text;  /* as written */
    mr_str value; /* QUOTED, STRING, BINARY: what it stands for */
    uint32_t line, column;
};
/* The whole text as tokens, ended by an END. Errors: MR_INVALID, MR_LIMIT. */
mr_err sql_lexer_run(struct mr_arena *arena, mr_str text, struct sql_token **out);

/* ---- expressions ---- */
enum sql_ast_kind {
    SQL_AST_LITERAL, /* type, literal */
    SQL_AST_NAME,    /* parts */
    SQL_AST_STAR,    /* parts: the qualifier; none: all columns */
    SQL_AST_CALL,    /* name(args), operators too */
    SQL_AST_CAST,    /* args[0], type, safe */
    SQL_AST_FIELD,   /* args[0].name */
    SQL_AST_AND,
    SQL_AST_OR,
    SQL_AST_CASE,     /* args: [operand,] when, then, ..., [else]; has_operand, has_else */
    SQL_AST_INTERVAL, /* months, micros */
    SQL_AST_ALIAS,    /* args[0] AS name: in select lists and struct(...) */
};
struct sql_ast {
    enum sql_ast_kind kind;
    uint32_t line, column;
    uint32_t height; /* levels below */
    uint32_t weight; /* expressions below, shared ones as often as they stand */
    mr_str name;     /* CALL: lower case; FIELD, ALIAS: as written */
    mr_str word;     /* CALL: as written */
    mr_str *parts;
    uint32_t part_count;
    uint32_t qualifier_count; /* NAME, once bound: how many parts name the table */
    struct sql_ast **args;
    uint32_t arg_count;
    mr_str *aliases; /* ALIAS with several names: explode(m) AS (k, v) */
    uint32_t alias_count;
    const struct data_type *type;
    const struct data_column *literal;
    mr_str text; /* LITERAL: for names of columns */
    int64_t months, micros;
    int unit_first, unit_last; /* INTERVAL: of its units: 0 year, 1 month, 3 day ... 6 second */
    bool days_only;            /* INTERVAL in whole days */
    bool safe, distinct, is_operator, has_operand, has_else, ignore_nulls;
    bool field_access; /* [] that turned out to be of a struct; for names only */
    bool negated;      /* NOT IN, NOT LIKE, ... are NOT(...); for names only */
    struct sql_ast *filter;
};

/* ---- queries ---- */
struct sql_query;
struct sql_lateral {
    struct sql_ast *call; /* explode(...) and the like */
    bool outer;
    mr_str alias;
    mr_str *columns;
    uint32_t column_count;
};
struct sql_source {
    mr_str table;            /* parts joined by '.' */
    struct sql_query *query; /* a subquery, or NULL */
    struct sql_ast ***rows;  /* VALUES */
    uint32_t row_count, row_width;
    bool is_values;
    mr_str alias;
    mr_str *columns; /* AS t(a, b) */
    uint32_t column_count;
    uint32_t line, column;
};
struct sql_with {
    mr_str name;
    struct sql_query *query;
    struct sql_with *next; /* defined before this one */
};
struct sql_query {
    struct sql_ast **items;
    uint32_t item_count;
    struct sql_source *source; /* NULL: no FROM */
    struct sql_lateral *laterals;
    uint32_t lateral_count;
    struct sql_ast *where, *having;
    struct sql_ast **groups;
    uint32_t group_count;
    bool has_group, group_all;
    struct sql_with *with; /* what names mean before tables do */
    uint32_t line, column;
    uint32_t group_line, group_column;
};

mr_err sql_parser_query(struct mr_arena *arena, mr_str text, struct sql_query **out);
mr_err sql_parser_expr(struct mr_arena *arena, mr_str text, struct sql_ast **out);
/* A column's name as Spark makes it for an expression without an alias. */
void sql_name_print(struct mr_buf *out, const struct sql_ast *ast);
/* The error with its place first. */
mr_err sql_place_fail(mr_err code, uint32_t line, uint32_t column, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
