/* store/parse_data.c: SELECT, INSERT, UPDATE, DELETE and BATCH. */
#include "store/parser.h"

/* ---- WHERE and IF ---- */
static bool parse_operator(struct store_parser *parser, enum store_operator *out)
{
    static const struct {
        const char *sign;
        enum store_operator op;
    } signs[] = {{"=", STORE_EQ},  {"!=", STORE_NE}, {"<", STORE_LT},
                 {"<=", STORE_LE}, {">", STORE_GT},  {">=", STORE_GE}};
    for (size_t i = 0; i < mr_count_of(signs); i++)
        if (store_take_sign(parser, signs[i].sign)) {
            *out = signs[i].op;
            return true;
        }
    if (store_take_word(parser, "in")) {
        *out = STORE_IN;
        return true;
    }
    if (store_take_word(parser, "contains")) {
        *out = store_take_word(parser, "key") ? STORE_CONTAINS_KEY : STORE_CONTAINS;
        return true;
    }
    if (store_at_word(parser, "like"))
        return store_refuse_invalid(
            parser, CQL_ERROR_INVALID,
            "LIKE restriction is only supported on properly indexed columns");
    if (store_at_word(parser, "is"))
        return store_refuse_invalid(
            parser, CQL_ERROR_INVALID,
            "Unsupported restriction: IS NOT NULL is for materialized views");
    return store_refuse(parser, NULL);
}

static bool parse_names(struct store_parser *parser, mr_str **names, uint32_t *count)
{
    MR_ARRAY(mr_str) list = {NULL, 0, 0};
    bool ok = true;
    do {
        mr_str name = MR_STR_NULL;
        ok = store_parse_name(parser, &name);
        *mr_array_add(&list) = name;
    } while (ok && store_take_sign(parser, ","));
    STORE_LIST_TAKE(parser, list, *names, *count);
    return ok;
}

static bool parse_in_values(struct store_parser *parser, struct store_relation *out)
{
    MR_ARRAY(struct store_term *) list = {NULL, 0, 0};
    bool ok = true;
    if (!store_at_sign(parser, "("))
        return store_parse_term(parser, &out->value);
    parser->at++;
    if (!store_take_sign(parser, ")")) {
        do {
            struct store_term *value = NULL;
            ok = store_parse_term(parser, &value);
            *mr_array_add(&list) = value;
        } while (ok && store_take_sign(parser, ","));
        ok = ok && store_expect_sign(parser, ")");
    }
    STORE_LIST_TAKE(parser, list, out->values, out->value_count);
    return ok;
}

static bool parse_relation(struct store_parser *parser, struct store_relation *out)
{
    memset(out, 0, sizeof(*out));
    bool token = store_at_word(parser, "token") && parser->at[1].kind == STORE_TOKEN_SIGN;
    if (token)
        parser->at++;
    if (store_take_sign(parser, "(")) {
        out->is_token = token;
        out->is_tuple = !token;
        if (!parse_names(parser, &out->names, &out->name_count) || !store_expect_sign(parser, ")"))
            return false;
    } else {
        out->names = mr_arena_array(parser->arena, mr_str, 1);
        out->name_count = 1;
        if (!store_parse_name(parser, &out->names[0]))
            return false;
        if (store_take_sign(parser, "[") &&
            (!store_parse_term(parser, &out->element) || !store_expect_sign(parser, "]")))
            return false;
    }
    if (!parse_operator(parser, &out->op))
        return false;
    return out->op == STORE_IN ? parse_in_values(parser, out)
                               : store_parse_term(parser, &out->value);
}

static bool parse_relations(struct store_parser *parser, struct store_relation **out,
                            uint32_t *count)
{
    MR_ARRAY(struct store_relation) list = {NULL, 0, 0};
    bool ok = true;
    do {
        struct store_relation relation;
        ok = parse_relation(parser, &relation);
        *mr_array_add(&list) = relation;
    } while (ok && store_take_word(parser, "and"));
    STORE_LIST_TAKE(parser, list, *out, *count);
    return ok;
}

static bool parse_where(struct store_parser *parser, struct store_statement *out)
{
    return store_expect_word(parser, "where") &&
           parse_relations(parser, &out->relations, &out->relation_count);
}

/* IF EXISTS, IF NOT EXISTS (INSERT), IF a = 1 AND ... */
static bool parse_conditions(struct store_parser *parser, struct store_statement *out)
{
    if (!store_take_word(parser, "if"))
        return parser->err == MR_OK;
    if (store_take_word(parser, "exists")) {
        out->if_exists = true;
        return true;
    }
    return parse_relations(parser, &out->conditions, &out->condition_count);
}

/* ---- USING ---- */
static bool parse_using(struct store_parser *parser, struct store_statement *out)
{
    if (!store_take_word(parser, "using"))
        return parser->err == MR_OK;
    do {
        bool is_ttl = store_at_word(parser, "ttl");
        if (!is_ttl && !store_at_word(parser, "timestamp"))
            return store_refuse(parser, NULL);
        parser->at++;
        if (!store_parse_term(parser, is_ttl ? &out->ttl : &out->timestamp))
            return false;
    } while (store_take_word(parser, "and"));
    return true;
}

/* ---- SELECT ---- */
static bool parse_selectors(struct store_parser *parser, struct store_statement *out)
{
    MR_ARRAY(struct store_selector) list = {NULL, 0, 0};
    bool ok = true;
    if (store_take_sign(parser, "*")) {
        out->star = true;
        return true;
    }
    do {
        struct store_selector selector = {NULL, MR_STR_NULL};
        ok = store_parse_term(parser, &selector.term);
        if (ok && store_take_word(parser, "as"))
            ok = store_parse_name(parser, &selector.alias);
        *mr_array_add(&list) = selector;
    } while (ok && store_take_sign(parser, ","));
    STORE_LIST_TAKE(parser, list, out->selectors, out->selector_count);
    return ok;
}

static bool parse_orderings(struct store_parser *parser, struct store_statement *out)
{
    MR_ARRAY(struct store_ordering) list = {NULL, 0, 0};
    bool ok = store_expect_word(parser, "by");
    while (ok) {
        struct store_ordering ordering = {MR_STR_NULL, false};
        ok = store_parse_name(parser, &ordering.name);
        if (ok && store_at_word(parser, "ann"))
            ok = store_refuse_invalid(parser, CQL_ERROR_INVALID, "ANN ordering is not supported");
        if (store_take_word(parser, "desc"))
            ordering.descending = true;
        else
            store_take_word(parser, "asc");
        *mr_array_add(&list) = ordering;
        if (!ok || !store_take_sign(parser, ","))
            break;
    }
    STORE_LIST_TAKE(parser, list, out->orderings, out->ordering_count);
    return ok;
}

static bool parse_select_tail(struct store_parser *parser, struct store_statement *out)
{
    if (store_take_word(parser, "group") &&
        !(store_expect_word(parser, "by") && parse_names(parser, &out->groups, &out->group_count)))
        return false;
    if (store_take_word(parser, "order") && !parse_orderings(parser, out))
        return false;
    if (store_take_word(parser, "per") &&
        !(store_expect_word(parser, "partition") && store_expect_word(parser, "limit") &&
          store_parse_term(parser, &out->partition_limit)))
        return false;
    if (store_take_word(parser, "limit") && !store_parse_term(parser, &out->limit))
        return false;
    if (store_take_word(parser, "allow")) {
        out->allow_filtering = true;
        return store_expect_word(parser, "filtering");
    }
    return parser->err == MR_OK;
}

bool store_parse_select(struct store_parser *parser, struct store_statement *out)
{
    out->kind = STORE_STATEMENT_SELECT;
    if (!store_expect_word(parser, "select"))
        return false;
    if (store_at_word(parser, "json") &&
        !(parser->at[1].kind == STORE_TOKEN_SIGN &&
          strchr(",(", parser->at[1].text.data[0]) != NULL) &&
        !(parser->at[1].kind == STORE_TOKEN_WORD &&
          mr_str_equal(parser->at[1].text, MR_STR("from")))) {
        parser->at++;
        out->json = true;
    }
    if (store_at_word(parser, "distinct") &&
        !(parser->at[1].kind == STORE_TOKEN_SIGN && parser->at[1].text.data[0] == ',')) {
        parser->at++;
        out->distinct = true;
    }
    if (!parse_selectors(parser, out) || !store_expect_word(parser, "from") ||
        !store_parse_target(parser, &out->target))
        return false;
    if (store_at_word(parser, "where") && !parse_where(parser, out))
        return false;
    return parse_select_tail(parser, out);
}

/* ---- INSERT ---- */
static bool parse_insert_values(struct store_parser *parser, struct store_statement *out)
{
    MR_ARRAY(struct store_change) list = {NULL, 0, 0};
    bool ok = store_expect_sign(parser, "(");
    while (ok) {
        struct store_change change = {STORE_CHANGE_SET, MR_STR_NULL, NULL, NULL};
        ok = store_parse_name(parser, &change.name);
        *mr_array_add(&list) = change;
        if (!ok || !store_take_sign(parser, ","))
            break;
    }
    ok = ok && store_expect_sign(parser, ")") && store_expect_word(parser, "values") &&
         store_expect_sign(parser, "(");
    size_t values = 0;
    while (ok) {
        struct store_term *value = NULL;
        ok = store_parse_term(parser, &value);
        if (ok && values < list.count)
            list.items[values].value = value;
        values++;
        if (!ok || !store_take_sign(parser, ","))
            break;
    }
    ok = ok && store_expect_sign(parser, ")");
    if (ok && values != list.count)
        ok = store_refuse_invalid(parser, CQL_ERROR_INVALID, "Unmatched column names/values");
    STORE_LIST_TAKE(parser, list, out->changes, out->change_count);
    return ok;
}

static bool parse_insert(struct store_parser *parser, struct store_statement *out)
{
    out->kind = STORE_STATEMENT_INSERT;
    if (!store_expect_word(parser, "into") || !store_parse_target(parser, &out->target))
        return false;
    if (store_take_word(parser, "json")) {
        if (!store_parse_term(parser, &out->json_value))
            return false;
        if (store_take_word(parser, "default")) {
            out->json_default_unset = store_take_word(parser, "unset");
            if (!out->json_default_unset && !store_expect_word(parser, "null"))
                return false;
        }
    } else if (!parse_insert_values(parser, out)) {
        return false;
    }
    return store_parse_if_not_exists(parser, &out->if_not_exists) && parse_using(parser, out);
}

/* ---- UPDATE ---- */
/* a = 1, a[k] = 1, a = a + 1, a = [1] + a, a += 1, a -= 1 */
static bool parse_update_change(struct store_parser *parser, struct store_change *out)
{
    memset(out, 0, sizeof(*out));
    if (!store_parse_name(parser, &out->name))
        return false;
    if (store_take_sign(parser, "[")) {
        out->kind = STORE_CHANGE_SET_ELEMENT;
        return store_parse_term(parser, &out->element) && store_expect_sign(parser, "]") &&
               store_expect_sign(parser, "=") && store_parse_term(parser, &out->value);
    }
    if (store_at_sign(parser, "+=") || store_at_sign(parser, "-=")) {
        out->kind = store_at_sign(parser, "+=") ? STORE_CHANGE_ADD : STORE_CHANGE_SUBTRACT;
        parser->at++;
        return store_parse_term(parser, &out->value);
    }
    if (!store_expect_sign(parser, "=") || !store_parse_term(parser, &out->value))
        return false;
    struct store_term *sum = out->value;
    if (sum->kind != STORE_TERM_ARITHMETIC)
        return true;
    bool minus = mr_str_equal(sum->text, MR_STR("-"));
    if (sum->args[0]->kind == STORE_TERM_COLUMN && mr_str_equal(sum->args[0]->text, out->name) &&
        (minus || mr_str_equal(sum->text, MR_STR("+")))) {
        out->kind = minus ? STORE_CHANGE_SUBTRACT : STORE_CHANGE_ADD;
        out->value = sum->args[1];
    } else if (sum->args[1]->kind == STORE_TERM_COLUMN &&
               mr_str_equal(sum->args[1]->text, out->name) &&
               mr_str_equal(sum->text, MR_STR("+"))) {
        out->kind = STORE_CHANGE_PREPEND;
        out->value = sum->args[0];
    }
    return true;
}

static bool parse_update(struct store_parser *parser, struct store_statement *out)
{
    MR_ARRAY(struct store_change) list = {NULL, 0, 0};
    out->kind = STORE_STATEMENT_UPDATE;
    if (!store_parse_target(parser, &out->target) || !parse_using(parser, out) ||
        !store_expect_word(parser, "set"))
        return false;
    bool ok = true;
    do {
        struct store_change change;
        ok = parse_update_change(parser, &change);
        *mr_array_add(&list) = change;
    } while (ok && store_take_sign(parser, ","));
    STORE_LIST_TAKE(parser, list, out->changes, out->change_count);
    return ok && parse_where(parser, out) && parse_conditions(parser, out);
}

/* ---- DELETE ---- */
static bool parse_delete(struct store_parser *parser, struct store_statement *out)
{
    MR_ARRAY(struct store_change) list = {NULL, 0, 0};
    bool ok = true;
    out->kind = STORE_STATEMENT_DELETE;
    if (!store_at_word(parser, "from"))
        do {
            struct store_change change = {STORE_CHANGE_SET, MR_STR_NULL, NULL, NULL};
            ok = store_parse_name(parser, &change.name);
            if (ok && store_take_sign(parser, "[")) {
                change.kind = STORE_CHANGE_SET_ELEMENT;
                ok = store_parse_term(parser, &change.element) && store_expect_sign(parser, "]");
            }
            *mr_array_add(&list) = change;
        } while (ok && store_take_sign(parser, ","));
    STORE_LIST_TAKE(parser, list, out->changes, out->change_count);
    return ok && store_expect_word(parser, "from") && store_parse_target(parser, &out->target) &&
           parse_using(parser, out) && parse_where(parser, out) && parse_conditions(parser, out);
}

bool store_parse_modification(struct store_parser *parser, struct store_statement *out)
{
    if (store_take_word(parser, "insert"))
        return parse_insert(parser, out);
    if (store_take_word(parser, "update"))
        return parse_update(parser, out);
    return store_expect_word(parser, "delete") && parse_delete(parser, out);
}

/* ---- BATCH ---- */
bool store_parse_batch(struct store_parser *parser, struct store_statement *out)
{
    MR_ARRAY(struct store_statement *) list = {NULL, 0, 0};
    out->kind = STORE_STATEMENT_BATCH;
    parser->at++;
    if (store_take_word(parser, "unlogged"))
        out->batch_type = CQL_BATCH_UNLOGGED;
    else if (store_take_word(parser, "counter"))
        out->batch_type = CQL_BATCH_COUNTER;
    bool ok = store_expect_word(parser, "batch") && parse_using(parser, out);
    if (ok && out->ttl != NULL)
        ok = store_refuse_invalid(parser, CQL_ERROR_INVALID,
                                  "Global TTL on the BATCH statement is not supported.");
    while (ok && !store_take_word(parser, "apply")) {
        struct store_statement *child = mr_arena_new(parser->arena, struct store_statement);
        ok = store_parse_modification(parser, child);
        store_take_sign(parser, ";");
        *mr_array_add(&list) = child;
        if (ok && list.count > MR_LIMIT_CQL_BATCH_COUNT)
            ok = store_refuse_invalid(parser, CQL_ERROR_INVALID,
                                      "Batch has more than %d statements",
                                      MR_LIMIT_CQL_BATCH_COUNT);
    }
    STORE_LIST_TAKE(parser, list, out->children, out->child_count);
    return ok && store_expect_word(parser, "batch");
}
