/* store/term.c: binding terms to types, and evaluating them. */
#include "store/term.h"

#include "store/literal.h"

#include <stdlib.h>

/* ---- aggregates ---- */
bool store_term_is_aggregate(const struct store_term *term)
{
    return term->kind == STORE_TERM_CALL && term->function != NULL &&
           term->function->aggregate != STORE_AGGREGATE_NONE;
}

bool store_term_has_aggregate(const struct store_term *term)
{
    if (store_term_is_aggregate(term))
        return true;
    for (uint32_t i = 0; i < term->arg_count; i++)
        if (store_term_has_aggregate(term->args[i]))
            return true;
    return false;
}

/* ---- binding ---- */
static const char *print_type(struct store_binder *binder, const struct cql_type *type)
{
    struct mr_buf text = {0};
    cql_type_print(&text, type);
    const char *copy = mr_arena_cstr(binder->arena, mr_buf_as_str(&text));
    mr_buf_fini(&text);
    return copy;
}

static bool is_assignable(const struct cql_type *to, const struct cql_type *from)
{
    if (cql_type_equal(to, from) || to->id == CQL_TYPE_BLOB)
        return true;
    return (to->id == CQL_TYPE_TEXT && from->id == CQL_TYPE_ASCII) ||
           (to->id == CQL_TYPE_UUID && from->id == CQL_TYPE_TIMEUUID) ||
           (to->id == CQL_TYPE_COUNTER && from->id == CQL_TYPE_BIGINT) ||
           (to->id == CQL_TYPE_BIGINT && from->id == CQL_TYPE_COUNTER);
}

static enum cql_type_id natural_type(const struct store_term *term)
{
    int64_t number = 0;
    switch ((int)term->kind) {
    case STORE_TERM_INTEGER:
        if (mr_str_to_i64(term->text, &number) != MR_OK)
            return CQL_TYPE_VARINT;
        return number >= INT32_MIN && number <= INT32_MAX ? CQL_TYPE_INT : CQL_TYPE_BIGINT;
    case STORE_TERM_FLOAT:
        return CQL_TYPE_DOUBLE;
    case STORE_TERM_BOOLEAN:
        return CQL_TYPE_BOOLEAN;
    case STORE_TERM_UUID:
        return CQL_TYPE_UUID;
    case STORE_TERM_HEX:
        return CQL_TYPE_BLOB;
    case STORE_TERM_DURATION:
        return CQL_TYPE_DURATION;
    default:
        return CQL_TYPE_TEXT;
    }
}

static mr_err bind_literal(struct store_binder *binder, struct store_term *term,
                           const struct cql_type *expected, mr_str receiver)
{
    struct mr_buf bytes = {0};
    bool compatible = false;
    term->type = expected != NULL ? expected : cql_type_scalar(natural_type(term));
    mr_err err = store_literal_write(&bytes, term->type, term->kind, term->text, &compatible);
    if (err != MR_OK && !compatible)
        err = store_fail(
            binder->fault, CQL_ERROR_INVALID, "Invalid %s constant (%.*s) for \"%.*s\" of type %s",
            store_literal_name(term->kind), MR_STR_ARG(mr_str_slice(term->text, 0, 200)),
            MR_STR_ARG(receiver), print_type(binder, term->type));
    else if (err != MR_OK)
        err = store_fail(binder->fault, CQL_ERROR_INVALID, "%s", mr_why());
    if (err == MR_OK) {
        term->is_constant = true;
        term->constant = store_value_text(binder->arena, mr_buf_as_str(&bytes));
    }
    mr_buf_fini(&bytes);
    return err;
}

static mr_err bind_column(struct store_binder *binder, struct store_term *term, mr_str receiver)
{
    if (!binder->columns_allowed)
        return store_fail(binder->fault, CQL_ERROR_INVALID,
                          "Invalid value for \"%.*s\": a column name (%.*s) cannot stand here",
                          MR_STR_ARG(receiver), MR_STR_ARG(term->text));
    term->column = binder->table == NULL ? NULL : store_table_column(binder->table, term->text);
    if (term->column == NULL)
        return store_fail(binder->fault, CQL_ERROR_INVALID,
                          "Undefined column name %.*s in table %.*s.%.*s", MR_STR_ARG(term->text),
                          MR_STR_ARG(binder->table->keyspace), MR_STR_ARG(binder->table->name));
    term->type = term->column->type;
    return MR_OK;
}

static mr_err bind_arithmetic(struct store_binder *binder, struct store_term *term,
                              const struct cql_type *expected, mr_str receiver)
{
    bool first_typed = term->args[0]->kind != STORE_TERM_INTEGER &&
                       term->args[0]->kind != STORE_TERM_FLOAT &&
                       term->args[0]->kind != STORE_TERM_MARKER;
    struct store_term *lead = first_typed ? term->args[0] : term->args[1];
    struct store_term *other = first_typed ? term->args[1] : term->args[0];
    mr_err err = store_term_bind(binder, lead, expected, receiver);
    bool follows = other->kind == STORE_TERM_MARKER ||
                   (other->kind == STORE_TERM_INTEGER && expected == NULL);
    if (err == MR_OK)
        err = store_term_bind(binder, other, follows ? lead->type : expected, receiver);
    if (err != MR_OK)
        return err;
    term->type = store_arithmetic_type(term->args[0]->type, term->args[1]->type);
    if (term->type == NULL)
        return store_fail(binder->fault, CQL_ERROR_INVALID,
                          "the '%.*s' operation is not supported between %s and %s",
                          MR_STR_ARG(term->text), print_type(binder, term->args[0]->type),
                          print_type(binder, term->args[1]->type));
    if (expected != NULL)
        term->type = expected;
    return MR_OK;
}

/* writetime(c), maxwritetime(c), ttl(c): what is known of a cell. */
static mr_err bind_cell_call(struct store_binder *binder, struct store_term *term)
{
    bool ttl = mr_str_equal(term->text, MR_STR("ttl"));
    if (term->arg_count != 1 || term->args[0]->kind != STORE_TERM_COLUMN)
        return store_fail(binder->fault, CQL_ERROR_INVALID, "%.*s() takes one column",
                          MR_STR_ARG(term->text));
    mr_err err = bind_column(binder, term->args[0], MR_STR_NULL);
    if (err != MR_OK)
        return err;
    const struct store_column *column = term->args[0]->column;
    if (column->kind <= STORE_COLUMN_CLUSTERING)
        return store_fail(binder->fault, CQL_ERROR_INVALID,
                          "Cannot use selection function %.*s on PRIMARY KEY part %.*s",
                          MR_STR_ARG(term->text), MR_STR_ARG(column->name));
    if (cql_type_is_collection(column->type) && !column->type->frozen)
        return store_fail(binder->fault, CQL_ERROR_INVALID,
                          "%.*s() of a collection that is not frozen is not supported: %.*s",
                          MR_STR_ARG(term->text), MR_STR_ARG(column->name));
    term->type = cql_type_scalar(ttl ? CQL_TYPE_INT : CQL_TYPE_BIGINT);
    return MR_OK;
}

static mr_err bind_token(struct store_binder *binder, struct store_term *term)
{
    const struct store_table *table = binder->table;
    if (table == NULL || term->arg_count != table->partition_count)
        return store_fail(binder->fault, CQL_ERROR_INVALID,
                          "Invalid number of arguments for function system.token: %u",
                          term->arg_count);
    for (uint32_t i = 0; i < term->arg_count; i++) {
        mr_err err = store_term_bind(binder, term->args[i], table->columns[i].type,
                                     table->columns[i].name);
        if (err != MR_OK)
            return err;
    }
    term->type = cql_type_scalar(CQL_TYPE_BIGINT);
    return MR_OK;
}

static mr_err bind_call(struct store_binder *binder, struct store_term *term)
{
    if (mr_str_equal(term->text, MR_STR("token")))
        return bind_token(binder, term);
    if (mr_str_equal(term->text, MR_STR("writetime")) || mr_str_equal(term->text, MR_STR("ttl")) ||
        mr_str_equal(term->text, MR_STR("maxwritetime")))
        return bind_cell_call(binder, term);
    for (uint32_t i = 0; i < term->arg_count; i++) {
        if (term->args[i]->kind == STORE_TERM_STAR)
            continue;
        bool open = term->args[i]->kind != STORE_TERM_COLUMN &&
                    term->args[i]->kind != STORE_TERM_CALL &&
                    term->args[i]->kind != STORE_TERM_CAST;
        mr_err err = store_term_bind(binder, term->args[i],
                                     open ? store_function_arg(term->text, i) : NULL, term->text);
        if (err != MR_OK)
            return err;
    }
    mr_err err = store_function_bind(binder, term);
    if (err != MR_OK || !store_term_is_aggregate(term))
        return err;
    for (uint32_t i = 0; i < term->arg_count; i++)
        if (store_term_has_aggregate(term->args[i]))
            return store_fail(
                binder->fault, CQL_ERROR_INVALID,
                "aggregate functions cannot be used as arguments of aggregate functions");
    if (binder->aggregate_count == STORE_AGGREGATES_MAX)
        return store_fail(binder->fault, CQL_ERROR_INVALID, "more than %d aggregates",
                          STORE_AGGREGATES_MAX);
    term->marker = binder->aggregate_count;
    binder->aggregates[binder->aggregate_count++] = term;
    return MR_OK;
}

static mr_err bind_element(struct store_binder *binder, struct store_term *term)
{
    mr_err err = bind_column(binder, term->args[0], MR_STR_NULL);
    if (err != MR_OK)
        return err;
    const struct cql_type *type = term->args[0]->type;
    if (type->id != CQL_TYPE_MAP && type->id != CQL_TYPE_SET)
        return store_fail(
            binder->fault, CQL_ERROR_INVALID,
            "Invalid element selection: %.*s is of type %s, which is not a map or a set",
            MR_STR_ARG(term->args[0]->text), print_type(binder, type));
    term->type = type->args[type->id == CQL_TYPE_MAP ? 1 : 0];
    return store_term_bind(binder, term->args[1], type->args[0], term->args[0]->text);
}

/* ---- collections and tuples ---- */
static mr_err refuse_literal(struct store_binder *binder, const char *what, mr_str receiver,
                             const struct cql_type *type)
{
    return store_fail(binder->fault, CQL_ERROR_INVALID, "Invalid %s literal for %.*s of type %s",
                      what, MR_STR_ARG(receiver), print_type(binder, type));
}

static bool literal_fits(const struct store_term *term, const struct cql_type *type)
{
    switch ((int)term->kind) {
    case STORE_TERM_LIST:
        return type->id == CQL_TYPE_LIST;
    case STORE_TERM_SET:
        return type->id == CQL_TYPE_SET || (type->id == CQL_TYPE_MAP && term->arg_count == 0);
    case STORE_TERM_MAP:
        return type->id == CQL_TYPE_MAP;
    default:
        return type->id == CQL_TYPE_TUPLE;
    }
}

static struct cql_value write_elements(struct mr_arena *arena, const struct cql_type *type,
                                       const struct cql_value *values, uint32_t count)
{
    struct mr_buf bytes = {0};
    if (type->id != CQL_TYPE_TUPLE)
        mr_buf_be32(&bytes, type->id == CQL_TYPE_MAP ? count / 2 : count);
    for (uint32_t i = 0; i < count; i++)
        cql_write_value(&bytes, values[i]);
    struct cql_value value = store_value_text(arena, mr_buf_as_str(&bytes));
    mr_buf_fini(&bytes);
    return type->id == CQL_TYPE_TUPLE ? value : store_sort_elements(arena, type, value);
}

static mr_err bind_literal_of_many(struct store_binder *binder, struct store_term *term,
                                   const struct cql_type *expected, mr_str receiver)
{
    static const char *const names[] = {[STORE_TERM_LIST] = "list",
                                        [STORE_TERM_SET] = "set",
                                        [STORE_TERM_MAP] = "map",
                                        [STORE_TERM_TUPLE] = "tuple"};
    if (expected == NULL && term->kind == STORE_TERM_TUPLE && term->arg_count == 1) {
        mr_err err = store_term_bind(binder, term->args[0], NULL, receiver); /* brackets */
        term->type = term->args[0]->type;
        return err;
    }
    if (expected == NULL)
        return store_fail(
            binder->fault, CQL_ERROR_INVALID,
            "Cannot infer type for term %s in selection clause (try using a cast to force a type)",
            names[term->kind]);
    if (term->kind == STORE_TERM_TUPLE && term->arg_count == 1 && expected->id != CQL_TYPE_TUPLE) {
        mr_err err = store_term_bind(binder, term->args[0], expected, receiver);
        term->type = expected;
        return err;
    }
    if (!literal_fits(term, expected) ||
        (expected->id == CQL_TYPE_TUPLE && term->arg_count > expected->arg_count))
        return refuse_literal(binder, names[term->kind], receiver, expected);
    term->type = expected;
    term->is_constant = true;
    for (uint32_t i = 0; i < term->arg_count; i++) {
        uint32_t arg = expected->id == CQL_TYPE_MAP     ? i % 2
                       : expected->id == CQL_TYPE_TUPLE ? i
                                                        : 0;
        mr_err err = store_term_bind(binder, term->args[i], expected->args[arg], receiver);
        if (err != MR_OK)
            return err;
        if (term->args[i]->kind == STORE_TERM_NULL && expected->id != CQL_TYPE_TUPLE)
            return store_fail(binder->fault, CQL_ERROR_INVALID,
                              "null is not supported inside collections");
        term->is_constant &= term->args[i]->is_constant;
    }
    if (term->is_constant) {
        struct cql_value *values = mr_arena_array(binder->arena, struct cql_value, term->arg_count);
        for (uint32_t i = 0; i < term->arg_count; i++)
            values[i] = term->args[i]->constant;
        term->constant = write_elements(binder->arena, expected, values, term->arg_count);
    }
    return MR_OK;
}

static void bind_marker(struct store_binder *binder, struct store_term *term,
                        const struct cql_type *type, mr_str receiver)
{
    struct cql_column *marker = &binder->markers[term->marker];
    term->type = type;
    marker->keyspace = binder->table == NULL ? MR_STR_NULL : binder->table->keyspace;
    marker->table = binder->table == NULL ? MR_STR_NULL : binder->table->name;
    marker->name = term->text.length > 0 ? term->text : receiver;
    marker->type = type;
}

static mr_err bind_any(struct store_binder *binder, struct store_term *term,
                       const struct cql_type *expected, mr_str receiver)
{
    switch (term->kind) {
    case STORE_TERM_NULL:
        term->type = expected != NULL ? expected : cql_type_scalar(CQL_TYPE_TEXT);
        term->is_constant = true;
        term->constant = CQL_VALUE_NULL;
        return MR_OK;
    case STORE_TERM_STRING:
    case STORE_TERM_INTEGER:
    case STORE_TERM_FLOAT:
    case STORE_TERM_BOOLEAN:
    case STORE_TERM_UUID:
    case STORE_TERM_HEX:
    case STORE_TERM_DURATION:
        return bind_literal(binder, term, expected, receiver);
    case STORE_TERM_MARKER:
        if (expected == NULL)
            return store_fail(binder->fault, CQL_ERROR_INVALID,
                              "Cannot infer type for term ? in selection clause (try using a cast "
                              "to force a type)");
        bind_marker(binder, term, expected, receiver);
        return MR_OK;
    case STORE_TERM_COLUMN:
        return bind_column(binder, term, receiver);
    case STORE_TERM_CALL:
        return bind_call(binder, term);
    case STORE_TERM_CAST: {
        mr_err err = store_term_bind(binder, term->args[0], NULL, receiver);
        if (err == MR_OK && !store_cast_allowed(term->args[0]->type, term->type))
            err = store_fail(binder->fault, CQL_ERROR_INVALID, "%s cannot be cast to %s",
                             print_type(binder, term->args[0]->type),
                             print_type(binder, term->type));
        return err;
    }
    case STORE_TERM_HINT: {
        mr_err err = store_term_bind(binder, term->args[0], term->type, receiver);
        term->is_constant = err == MR_OK && term->args[0]->is_constant;
        term->constant = term->args[0]->constant;
        return err;
    }
    case STORE_TERM_LIST:
    case STORE_TERM_SET:
    case STORE_TERM_MAP:
    case STORE_TERM_TUPLE:
        return bind_literal_of_many(binder, term, expected, receiver);
    case STORE_TERM_ELEMENT:
        return bind_element(binder, term);
    case STORE_TERM_ARITHMETIC:
        return bind_arithmetic(binder, term, expected, receiver);
    case STORE_TERM_STAR:
        break;
    }
    return store_fail(binder->fault, CQL_ERROR_SYNTAX, "* stands only in count(*)");
}

mr_err store_term_bind(struct store_binder *binder, struct store_term *term,
                       const struct cql_type *expected, mr_str receiver)
{
    mr_err err = bind_any(binder, term, expected, receiver);
    if (err != MR_OK || expected == NULL || is_assignable(expected, term->type))
        return err;
    if (term->kind == STORE_TERM_CALL)
        return store_fail(
            binder->fault, CQL_ERROR_INVALID,
            "Type error: cannot assign result of function system.%.*s (type %s) to %.*s (type %s)",
            MR_STR_ARG(term->text), print_type(binder, term->type), MR_STR_ARG(receiver),
            print_type(binder, expected));
    return store_fail(binder->fault, CQL_ERROR_INVALID,
                      "Type error: cannot assign a value of type %s to %.*s (type %s)",
                      print_type(binder, term->type), MR_STR_ARG(receiver),
                      print_type(binder, expected));
}

/* ---- evaluating ---- */
struct element {
    struct cql_value key, value;
    uint32_t place; /* of equal keys the last one stays */
};

static int compare_elements(const void *a, const void *b, void *type)
{
    const struct element *x = a, *y = b;
    int order = cql_value_compare(type, x->key, y->key);
    return order != 0 ? order : x->place < y->place ? -1 : x->place > y->place;
}

struct cql_value store_sort_elements(struct mr_arena *arena, const struct cql_type *type,
                                     struct cql_value value)
{
    bool map = type->id == CQL_TYPE_MAP;
    struct cql_elements elements = cql_elements_of(type, value);
    uint32_t count = map ? elements.left / 2 : elements.left, kept = 0;
    if ((type->id != CQL_TYPE_SET && !map) || value.length < 0)
        return value;
    struct element *list = mr_arena_array(arena, struct element, count + 1);
    for (uint32_t i = 0; i < count; i++) {
        list[i].place = i;
        if (!cql_elements_next(&elements, &list[i].key) ||
            (map && !cql_elements_next(&elements, &list[i].value)))
            return value; /* the check of the value says what is wrong */
    }
    bool sorted = true;
    for (uint32_t i = 1; i < count && sorted; i++)
        sorted = cql_value_compare(type->args[0], list[i - 1].key, list[i].key) < 0;
    if (sorted)
        return value;
    qsort_r(list, count, sizeof(*list), compare_elements, (void *)(uintptr_t)type->args[0]);
    for (uint32_t i = 0; i < count; i++)
        if (i + 1 == count || cql_value_compare(type->args[0], list[i].key, list[i + 1].key) != 0)
            list[kept++] = list[i];
    struct mr_buf bytes = {0};
    mr_buf_be32(&bytes, kept);
    for (uint32_t i = 0; i < kept; i++) {
        cql_write_value(&bytes, list[i].key);
        if (map)
            cql_write_value(&bytes, list[i].value);
    }
    struct cql_value out = store_value_text(arena, mr_buf_as_str(&bytes));
    mr_buf_fini(&bytes);
    return out;
}

static mr_err marker_value(const struct store_scope *scope, const struct store_term *term,
                           struct cql_value *out)
{
    *out = scope->values[term->marker];
    if (out->length < 0)
        return MR_OK;
    if (cql_value_check(term->type, *out) != MR_OK)
        return store_fail(scope->fault, CQL_ERROR_INVALID, "%s", mr_why());
    if (term->type->arg_count > 0)
        *out = store_sort_elements(scope->arena, term->type, *out);
    return MR_OK;
}

static mr_err cell_value(const struct store_scope *scope, const struct store_term *term,
                         struct cql_value *out)
{
    const struct store_row_view *row = scope->row;
    uint16_t index = term->args[0]->column->index;
    *out = CQL_VALUE_NULL;
    if (row == NULL || row->values[index].length < 0)
        return MR_OK;
    if (!mr_str_equal(term->text, MR_STR("ttl"))) {
        if (row->timestamps[index] != INT64_MIN)
            *out = store_value_i64(scope->arena, row->timestamps[index]);
        return MR_OK;
    }
    int64_t left = (int64_t)row->expiries_s[index] - scope->now_us / 1000000;
    if (row->expiries_s[index] != 0)
        *out = store_value_i32(scope->arena, (int32_t)left);
    return MR_OK;
}

static mr_err token_value(const struct store_scope *scope, const struct cql_value *args,
                          struct cql_value *out)
{
    struct mr_buf key = {0};
    for (uint16_t i = 0; i < scope->table->partition_count; i++) {
        if (scope->table->partition_count > 1)
            mr_buf_be16(&key, (uint16_t)(args[i].length < 0 ? 0 : args[i].length));
        mr_buf_str(&key, cql_value_str(args[i]));
        if (scope->table->partition_count > 1)
            mr_buf_u8(&key, 0);
    }
    *out = store_value_i64(scope->arena, mr_murmur3_token(key.data, key.length));
    mr_buf_fini(&key);
    return MR_OK;
}

static mr_err call_value(const struct store_scope *scope, const struct store_term *term,
                         struct cql_value *out)
{
    struct cql_value *args = mr_arena_array(scope->arena, struct cql_value, term->arg_count + 1);
    bool null = false;
    for (uint32_t i = 0; i < term->arg_count; i++) {
        mr_err err = store_term_value(scope, term->args[i], &args[i]);
        if (err != MR_OK)
            return err;
        if (args[i].length == CQL_UNSET)
            return store_fail(scope->fault, CQL_ERROR_INVALID,
                              "Invalid unset value for argument in call to function %.*s",
                              MR_STR_ARG(term->text));
        null |= args[i].length <= 0 && cql_type_bytes(term->args[i]->type) > 0;
        null |= args[i].length < 0;
    }
    if (mr_str_equal(term->text, MR_STR("token")))
        return token_value(scope, args, out);
    if (null && !mr_str_equal(term->text, MR_STR("tojson")) &&
        !mr_str_equal(term->text, MR_STR("to_json"))) {
        *out = CQL_VALUE_NULL;
        return MR_OK;
    }
    return term->function->call(scope, term, args, out);
}

static mr_err element_value(const struct store_scope *scope, const struct store_term *term,
                            struct cql_value *out)
{
    const struct cql_type *type = term->args[0]->type;
    struct cql_value whole, key, element;
    mr_err err = store_term_value(scope, term->args[0], &whole);
    if (err == MR_OK)
        err = store_term_value(scope, term->args[1], &key);
    *out = CQL_VALUE_NULL;
    if (err != MR_OK || whole.length < 0 || key.length < 0)
        return err;
    struct cql_elements elements = cql_elements_of(type, whole);
    while (cql_elements_next(&elements, &element)) {
        bool found = cql_value_compare(type->args[0], element, key) == 0;
        if (type->id == CQL_TYPE_MAP && !cql_elements_next(&elements, &element))
            break;
        if (found) {
            *out = element;
            return MR_OK;
        }
    }
    return MR_OK;
}

static mr_err many_value(const struct store_scope *scope, const struct store_term *term,
                         struct cql_value *out)
{
    struct cql_value *values = mr_arena_array(scope->arena, struct cql_value, term->arg_count + 1);
    for (uint32_t i = 0; i < term->arg_count; i++) {
        mr_err err = store_term_value(scope, term->args[i], &values[i]);
        if (err != MR_OK)
            return err;
        if (values[i].length == CQL_UNSET)
            return store_fail(scope->fault, CQL_ERROR_INVALID,
                              "unset value is not supported inside collections");
        if (values[i].length < 0 && term->type->id != CQL_TYPE_TUPLE)
            return store_fail(scope->fault, CQL_ERROR_INVALID,
                              "null is not supported inside collections");
    }
    if (term->kind == STORE_TERM_TUPLE && term->type->id != CQL_TYPE_TUPLE)
        *out = values[0]; /* brackets */
    else
        *out = write_elements(scope->arena, term->type, values, term->arg_count);
    return MR_OK;
}

mr_err store_term_value(const struct store_scope *scope, const struct store_term *term,
                        struct cql_value *out)
{
    struct cql_value a, b;
    mr_err err = MR_OK;
    if (term->is_constant) {
        *out = term->constant;
        return MR_OK;
    }
    if (scope->aggregates != NULL && store_term_is_aggregate(term)) {
        *out = scope->aggregates[term->marker];
        return MR_OK;
    }
    switch ((int)term->kind) {
    case STORE_TERM_MARKER:
        return marker_value(scope, term, out);
    case STORE_TERM_COLUMN:
        *out = scope->row == NULL ? CQL_VALUE_NULL : scope->row->values[term->column->index];
        return MR_OK;
    case STORE_TERM_CALL:
        if (mr_str_equal(term->text, MR_STR("writetime")) ||
            mr_str_equal(term->text, MR_STR("ttl")) ||
            mr_str_equal(term->text, MR_STR("maxwritetime")))
            return cell_value(scope, term, out);
        return call_value(scope, term, out);
    case STORE_TERM_CAST:
        err = store_term_value(scope, term->args[0], &a);
        return err != MR_OK ? err : store_cast(scope, term->args[0]->type, a, term->type, out);
    case STORE_TERM_HINT:
        return store_term_value(scope, term->args[0], out);
    case STORE_TERM_ELEMENT:
        return element_value(scope, term, out);
    case STORE_TERM_ARITHMETIC:
        err = store_term_value(scope, term->args[0], &a);
        if (err == MR_OK)
            err = store_term_value(scope, term->args[1], &b);
        return err != MR_OK ? err
                            : store_arithmetic(scope, term->text.data[0], term->type,
                                               term->args[0]->type, a, term->args[1]->type, b, out);
    default:
        return many_value(scope, term, out);
    }
}
