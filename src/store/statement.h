/* store/statement.h: a CQL statement as its text says it, before any table is looked at. Everything
 * lives in the parser's arena; names are folded to lower case unless they were quoted. */
#ifndef STORE_STATEMENT_H
#define STORE_STATEMENT_H

#include "cql/cql.h"

/* Why a statement failed, in the protocol's words; the sentence is mr_why(). */
struct store_fault {
    enum cql_error code;
    mr_str keyspace, table; /* of ALREADY_EXISTS; borrowed from the statement's arena */
    mr_str unprepared;      /* of UNPREPARED: the id */
};
/* Sets the code and the sentence; always gives MR_INVALID, so that callers can return it. */
mr_err store_fail(struct store_fault *fault, enum cql_error code, const char *format, ...)
    __attribute__((format(printf, 3, 4), cold));

/* ---- terms ---- */
enum store_term_kind {
    STORE_TERM_NULL,
    STORE_TERM_STRING,
    STORE_TERM_INTEGER,
    STORE_TERM_FLOAT, /* also NaN, Infinity */
    STORE_TERM_BOOLEAN,
    STORE_TERM_UUID,
    STORE_TERM_HEX, /* text: "0x..." */
    STORE_TERM_DURATION,
    STORE_TERM_MARKER,     /* ? or :name */
    STORE_TERM_COLUMN,     /* text: its name */
    STORE_TERM_CALL,       /* text: the function's name; args */
    STORE_TERM_CAST,       /* CAST(args[0] AS type) */
    STORE_TERM_HINT,       /* (type) args[0] */
    STORE_TERM_LIST,       /* [a, b] */
    STORE_TERM_SET,        /* {a, b}; {} is an empty set or map */
    STORE_TERM_MAP,        /* {a: b}: args are keys and values in turn */
    STORE_TERM_TUPLE,      /* (a, b) */
    STORE_TERM_ELEMENT,    /* args[0][args[1]] */
    STORE_TERM_STAR,       /* of count(*) */
    STORE_TERM_ARITHMETIC, /* args[0] text args[1]; text is one of + - * / % */
};
struct store_function;
struct store_column;
struct store_term {
    enum store_term_kind kind;
    mr_str text;
    uint32_t arg_count;
    struct store_term **args;
    uint32_t marker;             /* index of a marker */
    bool implied;                /* the 0 of -a, which nobody typed */
    const struct cql_type *type; /* of a hint or cast; after binding: of every term */
    /* set by binding */
    const struct store_function *function;
    const struct store_column *column;
    bool is_constant;
    struct cql_value constant; /* the value of a term without markers and calls */
};

/* ---- parts of statements ---- */
struct store_name {
    mr_str keyspace; /* MR_STR_NULL: the session's */
    mr_str name;
};
enum store_operator {
    STORE_EQ,
    STORE_NE,
    STORE_LT,
    STORE_LE,
    STORE_GT,
    STORE_GE,
    STORE_IN,
    STORE_CONTAINS,
    STORE_CONTAINS_KEY,
};
struct store_relation {
    enum store_operator op;
    bool is_token; /* token(names) op value */
    bool is_tuple; /* (names) op value */
    uint32_t name_count;
    mr_str *names;
    struct store_term *element; /* name[element] op value */
    struct store_term *value;   /* one term; of IN ? the marker */
    uint32_t value_count;       /* of IN (a, b): the list; values NULL for IN ? */
    struct store_term **values;
};
enum store_change_kind {
    STORE_CHANGE_SET,         /* name = value */
    STORE_CHANGE_SET_ELEMENT, /* name[element] = value */
    STORE_CHANGE_ADD,         /* name = name + value, name += value */
    STORE_CHANGE_PREPEND,     /* name = value + name */
    STORE_CHANGE_SUBTRACT,    /* name = name - value */
};
struct store_change {
    enum store_change_kind kind;
    mr_str name;
    struct store_term *element, *value;
};
struct store_selector {
    struct store_term *term;
    mr_str alias; /* MR_STR_NULL: none */
};
struct store_ordering {
    mr_str name;
    bool descending;
};
/* One option of WITH: text of a scalar, or pairs of a map. */
struct store_option {
    mr_str name;
    enum store_term_kind kind; /* STRING, INTEGER, FLOAT, BOOLEAN, MAP */
    mr_str text;
    struct cql_pairs pairs;
};
struct store_column_text {
    mr_str name;
    const struct cql_type *type;
    bool is_static, is_primary;
};

/* ---- statements ---- */
enum store_statement_kind {
#define STATEMENT(NAME, text) STORE_STATEMENT_##NAME,
#include "store/statements.def"
};
struct store_statement {
    enum store_statement_kind kind;
    struct store_name target; /* table or keyspace (its name) */
    bool if_exists, if_not_exists;
    uint32_t marker_count;
    mr_str *marker_names; /* "" for ? */

    /* USING */
    struct store_term *timestamp, *ttl;

    /* SELECT */
    bool distinct, json, star, allow_filtering;
    uint32_t selector_count;
    struct store_selector *selectors;
    uint32_t relation_count; /* WHERE, also of UPDATE and DELETE */
    struct store_relation *relations;
    uint32_t group_count;
    mr_str *groups;
    uint32_t ordering_count;
    struct store_ordering *orderings;
    struct store_term *limit, *partition_limit;

    /* INSERT: columns and values; UPDATE: changes; DELETE: changes without values */
    uint32_t change_count;
    struct store_change *changes;
    struct store_term *json_value; /* INSERT ... JSON */
    bool json_default_unset;
    uint32_t condition_count; /* IF */
    struct store_relation *conditions;

    /* BATCH */
    enum cql_batch_type batch_type;
    uint32_t child_count;
    struct store_statement **children;

    /* CREATE and ALTER */
    uint32_t column_count; /* also ALTER ... ADD, DROP, RENAME (old, new in turn) */
    struct store_column_text *columns;
    enum { STORE_ALTER_WITH, STORE_ALTER_ADD, STORE_ALTER_DROP, STORE_ALTER_RENAME } alter;
    uint32_t partition_count, clustering_count;
    mr_str *partition, *clustering;
    uint32_t option_count;
    struct store_option *options;

    /* DESCRIBE */
    mr_str describe; /* "keyspaces", "table", "schema", ... or "" for a bare name */
    bool describe_full, describe_internals;
    mr_str unsupported; /* of UNSUPPORTED: what it is called */
};

/* Parses one statement; a trailing semicolon is allowed. The text must outlive the arena's use.
 * Errors: MR_INVALID, `fault` says which. */
mr_err store_parse(struct mr_arena *arena, mr_str text, struct store_fault *fault,
                   struct store_statement **out);
/* Whether the word cannot be a name without quotes. */
bool store_is_reserved(mr_str word);
/* Appends a name as CQL needs it: quoted when it is not plain lower case or reserved. */
void store_print_name(struct mr_buf *out, mr_str name);
/* A term as the name of a result column: "count", "writetime(a)", "system.now()". */
void store_print_term(struct mr_buf *out, const struct store_term *term);

#endif
