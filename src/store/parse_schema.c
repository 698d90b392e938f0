/* store/parse_schema.c: CREATE, ALTER, DROP, TRUNCATE, USE and DESCRIBE. */
#include "store/parser.h"

/* ---- WITH ---- */
static bool parse_option_map(struct store_parser *parser, struct store_option *out)
{
    MR_ARRAY(struct cql_pair) list = {NULL, 0, 0};
    bool ok = true;
    out->kind = STORE_TERM_MAP;
    if (!store_take_sign(parser, "}")) {
        do {
            struct cql_pair pair = {MR_STR_NULL, MR_STR_NULL};
            ok = store_parse_string(parser, &pair.key) && store_expect_sign(parser, ":");
            enum store_token_kind kind = parser->at->kind;
            if (ok && (kind == STORE_TOKEN_STRING || kind == STORE_TOKEN_INTEGER ||
                       kind == STORE_TOKEN_FLOAT || kind == STORE_TOKEN_WORD))
                pair.value = (parser->at++)->text;
            else if (ok)
                ok = store_refuse(parser, NULL);
            *mr_array_add(&list) = pair;
        } while (ok && store_take_sign(parser, ","));
        ok = ok && store_expect_sign(parser, "}");
    }
    struct cql_pair *items;
    uint32_t count;
    STORE_LIST_TAKE(parser, list, items, count);
    out->pairs = (struct cql_pairs){items, count};
    return ok;
}

static bool parse_option(struct store_parser *parser, struct store_option *out)
{
    memset(out, 0, sizeof(*out));
    if (!store_parse_name(parser, &out->name) || !store_expect_sign(parser, "="))
        return false;
    if (store_take_sign(parser, "{"))
        return parse_option_map(parser, out);
    bool minus = store_take_sign(parser, "-");
    struct store_token *token = parser->at;
    switch (token->kind) {
    case STORE_TOKEN_STRING:
        out->kind = STORE_TERM_STRING;
        break;
    case STORE_TOKEN_INTEGER:
        out->kind = STORE_TERM_INTEGER;
        break;
    case STORE_TOKEN_FLOAT:
        out->kind = STORE_TERM_FLOAT;
        break;
    case STORE_TOKEN_WORD:
        out->kind = STORE_TERM_BOOLEAN;
        break;
    case STORE_TOKEN_UUID:
        out->kind = STORE_TERM_UUID;
        break;
    case STORE_TOKEN_END:
    case STORE_TOKEN_QUOTED:
    case STORE_TOKEN_HEX:
    case STORE_TOKEN_DURATION:
    case STORE_TOKEN_SIGN:
        return store_refuse(parser, NULL);
    }
    out->text = minus ? mr_arena_printf(parser->arena, "-%.*s", MR_STR_ARG(token->text))
                      : token->text;
    parser->at++;
    return true;
}

static bool find_column(const struct store_statement *statement, mr_str name, uint32_t *index)
{
    for (uint32_t i = 0; i < statement->clustering_count; i++)
        if (mr_str_equal(statement->clustering[i], name)) {
            *index = i;
            return true;
        }
    return false;
}

/* CLUSTERING ORDER BY (a DESC, b): kept as an option named after the column, in `pairs`. */
static bool parse_clustering_order(struct store_parser *parser, struct store_statement *statement,
                                   struct store_option *out)
{
    MR_ARRAY(struct cql_pair) list = {NULL, 0, 0};
    out->kind = STORE_TERM_LIST;
    out->name = MR_STR("clustering order");
    bool ok = store_expect_word(parser, "order") && store_expect_word(parser, "by") &&
              store_expect_sign(parser, "(");
    while (ok) {
        struct cql_pair pair = {MR_STR_NULL, MR_STR("asc")};
        uint32_t index = 0;
        ok = store_parse_name(parser, &pair.key);
        if (store_take_word(parser, "desc"))
            pair.value = MR_STR("desc");
        else if (ok)
            ok = store_expect_word(parser, "asc");
        if (ok && !find_column(statement, pair.key, &index))
            ok = store_refuse_invalid(
                parser, CQL_ERROR_INVALID,
                "Only clustering key columns can be defined in CLUSTERING ORDER directive: %.*s",
                MR_STR_ARG(pair.key));
        if (ok && index != list.count)
            ok = store_refuse_invalid(
                parser, CQL_ERROR_INVALID,
                "The order of columns in the CLUSTERING ORDER directive must match "
                "that of the clustering columns");
        *mr_array_add(&list) = pair;
        if (!ok || !store_take_sign(parser, ","))
            break;
    }
    struct cql_pair *items;
    uint32_t count;
    STORE_LIST_TAKE(parser, list, items, count);
    out->pairs = (struct cql_pairs){items, count};
    return ok && store_expect_sign(parser, ")");
}

static bool parse_with(struct store_parser *parser, struct store_statement *statement)
{
    MR_ARRAY(struct store_option) list = {NULL, 0, 0};
    bool ok = true;
    if (!store_take_word(parser, "with"))
        return parser->err == MR_OK;
    do {
        struct store_option option = {.name = MR_STR_NULL};
        if (store_at_word(parser, "compact") && parser->at[1].kind == STORE_TOKEN_WORD)
            ok = store_refuse_invalid(parser, CQL_ERROR_SYNTAX, "COMPACT STORAGE is not supported");
        else if (store_take_word(parser, "clustering"))
            ok = parse_clustering_order(parser, statement, &option);
        else
            ok = parse_option(parser, &option);
        *mr_array_add(&list) = option;
    } while (ok && store_take_word(parser, "and"));
    STORE_LIST_TAKE(parser, list, statement->options, statement->option_count);
    return ok;
}

/* ---- keyspaces ---- */
static bool parse_keyspace(struct store_parser *parser, struct store_statement *out)
{
    switch ((int)out->kind) {
    case STORE_STATEMENT_CREATE_KEYSPACE:
        return store_parse_if_not_exists(parser, &out->if_not_exists) &&
               store_parse_name(parser, &out->target.name) &&
               (store_at_word(parser, "with") || store_refuse(parser, "WITH")) &&
               parse_with(parser, out);
    case STORE_STATEMENT_ALTER_KEYSPACE:
        return store_parse_if_exists(parser, &out->if_exists) &&
               store_parse_name(parser, &out->target.name) && parse_with(parser, out);
    default:
        return store_parse_if_exists(parser, &out->if_exists) &&
               store_parse_name(parser, &out->target.name);
    }
}

/* ---- tables ---- */
static bool parse_primary_key(struct store_parser *parser, struct store_statement *out)
{
    MR_ARRAY(mr_str) partition = {NULL, 0, 0}, clustering = {NULL, 0, 0};
    mr_str name = MR_STR_NULL;
    if (out->partition_count > 0)
        return store_refuse_invalid(
            parser, CQL_ERROR_INVALID,
            "Multiple PRIMARY KEY specified for table '%.*s' (exactly one required)",
            MR_STR_ARG(out->target.name));
    bool ok = store_expect_word(parser, "key") && store_expect_sign(parser, "(");
    bool composite = ok && store_take_sign(parser, "(");
    while (ok) {
        ok = store_parse_name(parser, &name);
        *mr_array_add(&partition) = name;
        if (!ok || !composite || !store_take_sign(parser, ","))
            break;
    }
    ok = ok && (!composite || store_expect_sign(parser, ")"));
    while (ok && store_take_sign(parser, ",")) {
        ok = store_parse_name(parser, &name);
        *mr_array_add(&clustering) = name;
    }
    STORE_LIST_TAKE(parser, partition, out->partition, out->partition_count);
    STORE_LIST_TAKE(parser, clustering, out->clustering, out->clustering_count);
    return ok && store_expect_sign(parser, ")");
}

static bool parse_column(struct store_parser *parser, struct store_column_text *out)
{
    memset(out, 0, sizeof(*out));
    if (!store_parse_name(parser, &out->name) || !store_parse_type(parser, &out->type))
        return false;
    out->is_static = store_take_word(parser, "static");
    if (store_at_word(parser, "mask") || store_at_word(parser, "masked"))
        return store_refuse_invalid(parser, CQL_ERROR_INVALID, "column masks are not supported");
    if (store_take_word(parser, "primary")) {
        out->is_primary = true;
        return store_expect_word(parser, "key");
    }
    return parser->err == MR_OK;
}

static bool parse_create_table(struct store_parser *parser, struct store_statement *out)
{
    MR_ARRAY(struct store_column_text) list = {NULL, 0, 0};
    if (!store_parse_if_not_exists(parser, &out->if_not_exists) ||
        !store_parse_target(parser, &out->target))
        return false;
    if (store_at_word(parser, "like"))
        return store_refuse_invalid(parser, CQL_ERROR_INVALID,
                                    "CREATE TABLE LIKE is not supported");
    bool ok = store_expect_sign(parser, "(");
    while (ok && !store_at_sign(parser, ")")) {
        if (store_take_word(parser, "primary")) {
            ok = parse_primary_key(parser, out);
        } else {
            struct store_column_text column;
            ok = parse_column(parser, &column);
            *mr_array_add(&list) = column;
            if (ok && column.is_primary && out->partition_count > 0)
                ok = store_refuse_invalid(
                    parser, CQL_ERROR_INVALID,
                    "Multiple PRIMARY KEY specified for table '%.*s' (exactly one required)",
                    MR_STR_ARG(out->target.name));
            if (ok && column.is_primary) {
                out->partition = mr_arena_array(parser->arena, mr_str, 1);
                out->partition[0] = column.name;
                out->partition_count = 1;
            }
        }
        if (!store_take_sign(parser, ","))
            break;
    }
    STORE_LIST_TAKE(parser, list, out->columns, out->column_count);
    return ok && store_expect_sign(parser, ")") && parse_with(parser, out);
}

/* ADD a int, b text | ADD (a int, b text) | DROP a, b | DROP (a, b) | RENAME a TO b AND c TO d */
static bool parse_alter_columns(struct store_parser *parser, struct store_statement *out)
{
    MR_ARRAY(struct store_column_text) list = {NULL, 0, 0};
    bool rename = out->alter == STORE_ALTER_RENAME, add = out->alter == STORE_ALTER_ADD;
    bool wrapped = !rename && store_take_sign(parser, "(");
    bool ok = true;
    do {
        struct store_column_text column = {.name = MR_STR_NULL};
        ok = add ? parse_column(parser, &column) : store_parse_name(parser, &column.name);
        *mr_array_add(&list) = column;
        if (ok && rename) {
            ok = store_expect_word(parser, "to") && store_parse_name(parser, &column.name);
            *mr_array_add(&list) = column;
        }
    } while (ok && (rename ? store_take_word(parser, "and") : store_take_sign(parser, ",")));
    STORE_LIST_TAKE(parser, list, out->columns, out->column_count);
    if (ok && out->alter == STORE_ALTER_DROP && store_at_word(parser, "using"))
        return store_refuse_invalid(parser, CQL_ERROR_INVALID,
                                    "ALTER TABLE DROP USING TIMESTAMP is not supported");
    return ok && (!wrapped || store_expect_sign(parser, ")"));
}

static bool parse_alter_table(struct store_parser *parser, struct store_statement *out)
{
    bool if_column = false;
    if (!store_parse_if_exists(parser, &out->if_exists) ||
        !store_parse_target(parser, &out->target))
        return false;
    if (store_at_word(parser, "with")) {
        out->alter = STORE_ALTER_WITH;
        return parse_with(parser, out);
    }
    if (store_take_word(parser, "add")) {
        out->alter = STORE_ALTER_ADD;
        if (!store_parse_if_not_exists(parser, &if_column))
            return false;
    } else if (store_take_word(parser, "drop")) {
        out->alter = STORE_ALTER_DROP;
        if (!store_parse_if_exists(parser, &if_column))
            return false;
    } else if (store_take_word(parser, "rename")) {
        out->alter = STORE_ALTER_RENAME;
        if (!store_parse_if_exists(parser, &if_column))
            return false;
    } else {
        if (store_at_word(parser, "alter"))
            return store_refuse_invalid(parser, CQL_ERROR_INVALID,
                                        "Altering column types is no longer supported");
        return store_refuse(parser, NULL);
    }
    out->if_not_exists = if_column; /* of the columns: those that do not fit are passed over */
    return parse_alter_columns(parser, out);
}

static bool take_table_word(struct store_parser *parser)
{
    return store_take_word(parser, "table") || store_take_word(parser, "columnfamily");
}

static bool take_keyspace_word(struct store_parser *parser)
{
    return store_take_word(parser, "keyspace") || store_take_word(parser, "schema");
}

bool store_parse_definition(struct store_parser *parser, struct store_statement *out)
{
    if (store_take_word(parser, "use")) {
        out->kind = STORE_STATEMENT_USE;
        return store_parse_name(parser, &out->target.name);
    }
    if (store_take_word(parser, "truncate")) {
        out->kind = STORE_STATEMENT_TRUNCATE;
        take_table_word(parser);
        return store_parse_target(parser, &out->target);
    }
    bool create = store_at_word(parser, "create"), alter = store_at_word(parser, "alter");
    if (!create && !alter && !store_at_word(parser, "drop"))
        return store_refuse(parser, NULL);
    parser->at++;
    if (take_keyspace_word(parser)) {
        out->kind = create  ? STORE_STATEMENT_CREATE_KEYSPACE
                    : alter ? STORE_STATEMENT_ALTER_KEYSPACE
                            : STORE_STATEMENT_DROP_KEYSPACE;
        return parse_keyspace(parser, out);
    }
    if (!take_table_word(parser))
        return store_refuse(parser, NULL);
    if (create) {
        out->kind = STORE_STATEMENT_CREATE_TABLE;
        return parse_create_table(parser, out);
    }
    if (alter) {
        out->kind = STORE_STATEMENT_ALTER_TABLE;
        return parse_alter_table(parser, out);
    }
    out->kind = STORE_STATEMENT_DROP_TABLE;
    return store_parse_if_exists(parser, &out->if_exists) &&
           store_parse_target(parser, &out->target);
}

/* ---- DESCRIBE ---- */
bool store_parse_describe(struct store_parser *parser, struct store_statement *out)
{
    static const char *const lists[] = {"keyspaces", "tables",     "columnfamilies", "types",
                                        "functions", "aggregates", "cluster",        "schema"};
    static const char *const things[] = {"keyspace", "table",     "columnfamily", "type",
                                         "function", "aggregate", "index"};
    out->kind = STORE_STATEMENT_DESCRIBE;
    parser->at++;
    out->describe_full = store_take_word(parser, "full");
    for (size_t i = 0; i < mr_count_of(lists); i++)
        if (store_take_word(parser, lists[i]))
            out->describe = mr_str_from(lists[i]);
    for (size_t i = 0; out->describe.length == 0 && i < mr_count_of(things); i++)
        if (store_at_word(parser, things[i]) && parser->at[1].kind != STORE_TOKEN_END &&
            (parser->at[1].kind == STORE_TOKEN_WORD || parser->at[1].kind == STORE_TOKEN_QUOTED)) {
            out->describe = mr_str_from(things[i]);
            parser->at++;
            if (!store_parse_target(parser, &out->target))
                return false;
        }
    if (out->describe.length == 0 && store_take_word(parser, "materialized")) {
        out->describe = MR_STR("view");
        if (!store_expect_word(parser, "view") || !store_parse_target(parser, &out->target))
            return false;
    }
    if (out->describe.length == 0 && store_take_word(parser, "keyspace"))
        out->describe = MR_STR("keyspace"); /* the session's */
    if (out->describe.length == 0 && !store_parse_target(parser, &out->target))
        return false;
    if (store_take_word(parser, "with")) {
        out->describe_internals = true;
        return store_expect_word(parser, "internals");
    }
    return parser->err == MR_OK;
}
