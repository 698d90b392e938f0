/* store/plan.c: from text to plan; WHERE sorted into choices of keys, slices and filters. */
#include "store/plan.h"

enum { PARTS_MAX = 65535 }; /* selectors, changes or relations of one statement */

const char store_filtering_text[] =
    "Cannot execute this query as it might involve data filtering and thus may have unpredictable "
    "performance. If you want to execute this query despite the performance unpredictability, use "
    "ALLOW "
    "FILTERING";

/* ---- filters ---- */
static struct cql_column *marker_of(struct store_binder *binder, const struct store_term *term)
{
    return &binder->markers[term->marker];
}

static mr_err bind_in_marker(struct store_binder *binder, struct store_term *value,
                             const struct cql_type *type, mr_str name)
{
    if (value->kind != STORE_TERM_MARKER)
        return store_fail(binder->fault, CQL_ERROR_SYNTAX,
                          "IN takes a list in brackets or a bind marker");
    mr_err err = store_term_bind(binder, value, cql_type_list(binder->arena, type), name);
    if (err == MR_OK && value->text.length == 0)
        marker_of(binder, value)->name = mr_arena_printf(binder->arena, "in(%.*s)",
                                                         MR_STR_ARG(name));
    return err;
}

static mr_err refuse_null(struct store_binder *binder, const struct store_term *term, mr_str name)
{
    if (!term->is_constant || term->constant.length >= 0)
        return MR_OK;
    return store_fail(binder->fault, CQL_ERROR_INVALID,
                      "Invalid null value in condition for column %.*s", MR_STR_ARG(name));
}

static const struct cql_type *filter_type(struct store_binder *binder,
                                          const struct store_filter *filter)
{
    if (filter->column_count == 1)
        return filter->columns[0]->type;
    const struct cql_type **types = mr_arena_array(binder->arena, const struct cql_type *,
                                                   filter->column_count);
    for (uint32_t i = 0; i < filter->column_count; i++)
        types[i] = filter->columns[i]->type;
    return cql_type_tuple(binder->arena, types, filter->column_count);
}

/* The type that the right side has: an element's for [] and CONTAINS. */
static mr_err value_type(struct store_binder *binder, const struct store_relation *relation,
                         struct store_filter *out, const struct cql_type **type)
{
    *type = filter_type(binder, out);
    bool contains = relation->op == STORE_CONTAINS || relation->op == STORE_CONTAINS_KEY;
    bool map = (*type)->id == CQL_TYPE_MAP, list = (*type)->id == CQL_TYPE_LIST;
    if (relation->element != NULL) {
        if (!map && !list)
            return store_fail(binder->fault, CQL_ERROR_INVALID,
                              "Invalid element access syntax for non-map/list column %.*s",
                              MR_STR_ARG(relation->names[0]));
        const struct cql_type *key = map ? (*type)->args[0] : cql_type_scalar(CQL_TYPE_INT);
        *type = (*type)->args[map ? 1 : 0];
        out->element = relation->element;
        return store_term_bind(binder, relation->element, key, relation->names[0]);
    }
    if (contains &&
        (!cql_type_is_collection(*type) || (relation->op == STORE_CONTAINS_KEY && !map)))
        return store_fail(binder->fault, CQL_ERROR_INVALID,
                          "Cannot use CONTAINS%s on %s column %.*s",
                          relation->op == STORE_CONTAINS_KEY ? " KEY" : "", "non-collection",
                          MR_STR_ARG(relation->names[0]));
    if (contains)
        *type = (*type)->args[map && relation->op == STORE_CONTAINS ? 1 : 0];
    return MR_OK;
}

mr_err store_bind_filter(struct store_binder *binder, const struct store_relation *relation,
                         struct store_filter *out)
{
    const struct cql_type *type = NULL;
    memset(out, 0, sizeof(*out));
    out->op = relation->op;
    out->column_count = relation->name_count;
    out->columns = mr_arena_array(binder->arena, const struct store_column *, relation->name_count);
    for (uint32_t i = 0; i < relation->name_count; i++) {
        out->columns[i] = store_table_column(binder->table, relation->names[i]);
        if (out->columns[i] == NULL)
            return store_fail(binder->fault, CQL_ERROR_INVALID,
                              "Undefined column name %.*s in table %.*s.%.*s",
                              MR_STR_ARG(relation->names[i]), MR_STR_ARG(binder->table->keyspace),
                              MR_STR_ARG(binder->table->name));
    }
    mr_err err = value_type(binder, relation, out, &type);
    if (err != MR_OK)
        return err;
    mr_str name = relation->names[0];
    if (relation->op == STORE_IN && relation->values == NULL) {
        out->in_marker = true;
        out->value_count = 1;
        out->values = mr_arena_array(binder->arena, struct store_term *, 1);
        out->values[0] = relation->value;
        return bind_in_marker(binder, relation->value, type, name);
    }
    out->value_count = relation->op == STORE_IN ? relation->value_count : 1;
    out->values = mr_arena_array(binder->arena, struct store_term *, out->value_count + 1);
    for (uint32_t i = 0; err == MR_OK && i < out->value_count; i++) {
        out->values[i] = relation->op == STORE_IN ? relation->values[i] : relation->value;
        err = store_term_bind(binder, out->values[i], type, name);
    }
    return err;
}

/* ---- keys ---- */
struct restriction {
    struct store_choice choice; /* value_count 0 and no IN: none */
    bool chosen;
    struct store_bound lower, upper;
};
struct sorter {
    struct store_binder *binder;
    const struct store_statement *statement;
    struct store_keys *keys;
    struct restriction *restrictions; /* one a key column */
    struct store_filter *filters;
    uint32_t filter_count;
    bool needs_filtering;
};

static void add_filter(struct sorter *sorter, const struct store_filter *filter)
{
    sorter->filters[sorter->filter_count++] = *filter;
}

static mr_err twice(struct sorter *sorter, const struct store_column *column, const char *what)
{
    return store_fail(sorter->binder->fault, CQL_ERROR_INVALID,
                      "%.*s cannot be restricted by more than one relation%s",
                      MR_STR_ARG(column->name), what);
}

static mr_err restrict_key(struct sorter *sorter, const struct store_filter *filter)
{
    const struct store_column *column = filter->columns[0];
    struct restriction *restriction = &sorter->restrictions[column->index];
    mr_err err = MR_OK;
    for (uint32_t i = 0; err == MR_OK && i < filter->value_count; i++)
        err = refuse_null(sorter->binder, filter->values[i], column->name);
    if (err != MR_OK)
        return err;
    bool sliced = restriction->lower.value != NULL || restriction->upper.value != NULL;
    switch (filter->op) {
    case STORE_EQ:
    case STORE_IN:
        if (restriction->chosen || sliced)
            return twice(sorter, column,
                         filter->op == STORE_EQ ? " if it includes an Equal"
                                                : " if it includes a IN");
        restriction->chosen = true;
        restriction->choice = (struct store_choice){filter->value_count, filter->values,
                                                    filter->in_marker, filter->op == STORE_IN};
        return MR_OK;
    case STORE_GT:
    case STORE_GE:
        if (restriction->chosen || restriction->lower.value != NULL)
            return store_fail(sorter->binder->fault, CQL_ERROR_INVALID,
                              "More than one restriction was found for the start bound on %.*s",
                              MR_STR_ARG(column->name));
        restriction->lower = (struct store_bound){filter->values[0], filter->op == STORE_GE};
        return MR_OK;
    case STORE_LT:
    case STORE_LE:
        if (restriction->chosen || restriction->upper.value != NULL)
            return store_fail(sorter->binder->fault, CQL_ERROR_INVALID,
                              "More than one restriction was found for the end bound on %.*s",
                              MR_STR_ARG(column->name));
        restriction->upper = (struct store_bound){filter->values[0], filter->op == STORE_LE};
        return MR_OK;
    case STORE_NE:
        return store_fail(sorter->binder->fault, CQL_ERROR_INVALID,
                          "Unsupported \"!=\" relation: %.*s", MR_STR_ARG(column->name));
    case STORE_CONTAINS:
    case STORE_CONTAINS_KEY:
        add_filter(sorter, filter);
        sorter->needs_filtering = true;
        return MR_OK;
    }
    return MR_OK;
}

static mr_err restrict_token(struct sorter *sorter, const struct store_relation *relation)
{
    const struct store_table *table = sorter->binder->table;
    struct store_keys *keys = sorter->keys;
    bool fits = relation->name_count == table->partition_count;
    for (uint32_t i = 0; fits && i < relation->name_count; i++)
        fits = mr_str_equal(relation->names[i], table->columns[i].name);
    if (!fits)
        return store_fail(
            sorter->binder->fault, CQL_ERROR_INVALID,
            "The token() function must be applied to all partition key components or none of them");
    if (relation->op == STORE_IN || relation->op == STORE_NE || relation->value == NULL)
        return store_fail(sorter->binder->fault, CQL_ERROR_INVALID,
                          "IN cannot be used with the token function");
    mr_err err = store_term_bind(sorter->binder, relation->value, cql_type_scalar(CQL_TYPE_BIGINT),
                                 MR_STR("partition key token"));
    if (err != MR_OK)
        return err;
    keys->has_token = true;
    bool lower = relation->op == STORE_GT || relation->op == STORE_GE || relation->op == STORE_EQ;
    bool upper = relation->op == STORE_LT || relation->op == STORE_LE || relation->op == STORE_EQ;
    bool inclusive = relation->op != STORE_GT && relation->op != STORE_LT;
    if ((lower && keys->token_lower.value != NULL) || (upper && keys->token_upper.value != NULL))
        return store_fail(sorter->binder->fault, CQL_ERROR_INVALID,
                          "More than one restriction was found for the %s bound on the token",
                          lower ? "start" : "end");
    if (lower)
        keys->token_lower = (struct store_bound){relation->value, inclusive};
    if (upper)
        keys->token_upper = (struct store_bound){relation->value, inclusive};
    return MR_OK;
}

/* (a, b) = (x, y) is two restrictions; (a, b) > (x, y) is a filter and, cheaply, a >= x. */
static mr_err restrict_tuple(struct sorter *sorter, const struct store_relation *relation,
                             const struct store_filter *filter)
{
    for (uint32_t i = 0; i < filter->column_count; i++)
        if (filter->columns[i]->kind != STORE_COLUMN_CLUSTERING ||
            filter->columns[i]->position != i)
            return store_fail(
                sorter->binder->fault, CQL_ERROR_INVALID,
                "Multi-column relations can only be applied to clustering columns in their order, "
                "but was applied to: %.*s",
                MR_STR_ARG(filter->columns[i]->name));
    struct store_term *value = relation->value;
    bool open = relation->op != STORE_IN && value->kind == STORE_TERM_TUPLE &&
                value->arg_count == filter->column_count;
    if (relation->op == STORE_EQ && open) {
        for (uint32_t i = 0; i < filter->column_count; i++) {
            struct store_filter one = *filter;
            one.column_count = 1;
            one.columns = &filter->columns[i];
            one.values = &value->args[i];
            mr_err err = restrict_key(sorter, &one);
            if (err != MR_OK)
                return err;
        }
        return MR_OK;
    }
    add_filter(sorter, filter);
    if (!open || relation->op == STORE_NE)
        return MR_OK;
    struct restriction *first = &sorter->restrictions[filter->columns[0]->index];
    bool lower = relation->op == STORE_GT || relation->op == STORE_GE;
    struct store_bound *bound = lower ? &first->lower : &first->upper;
    if (!first->chosen && bound->value == NULL)
        *bound = (struct store_bound){value->args[0], true};
    return MR_OK;
}

static mr_err sort_relation(struct sorter *sorter, const struct store_relation *relation)
{
    struct store_filter filter;
    if (relation->is_token)
        return restrict_token(sorter, relation);
    mr_err err = store_bind_filter(sorter->binder, relation, &filter);
    if (err != MR_OK)
        return err;
    if (relation->is_tuple)
        return restrict_tuple(sorter, relation, &filter);
    if (filter.columns[0]->kind <= STORE_COLUMN_CLUSTERING && filter.element == NULL)
        return restrict_key(sorter, &filter);
    err = filter.in_marker || filter.value_count == 0
              ? MR_OK
              : refuse_null(sorter->binder, filter.values[0], filter.columns[0]->name);
    if (err == MR_OK && filter.op == STORE_NE)
        err = store_fail(sorter->binder->fault, CQL_ERROR_INVALID,
                         "Unsupported \"!=\" relation: %.*s != ...",
                         MR_STR_ARG(filter.columns[0]->name));
    add_filter(sorter, &filter);
    sorter->needs_filtering = true;
    return err;
}

/* A restriction that the key cannot serve becomes filters. */
static void demote(struct sorter *sorter, const struct store_column *column)
{
    struct restriction *restriction = &sorter->restrictions[column->index];
    struct store_bound *bounds[] = {&restriction->lower, &restriction->upper};
    struct store_filter filter = {.column_count = 1};
    filter.columns = mr_arena_array(sorter->binder->arena, const struct store_column *, 1);
    filter.columns[0] = column;
    if (restriction->chosen) {
        filter.op = restriction->choice.many ? STORE_IN : STORE_EQ;
        filter.value_count = restriction->choice.value_count;
        filter.values = restriction->choice.values;
        filter.in_marker = restriction->choice.in_marker;
        add_filter(sorter, &filter);
    }
    for (int i = 0; i < 2; i++)
        if (bounds[i]->value != NULL) {
            filter.op = i == 0                 ? bounds[i]->inclusive ? STORE_GE : STORE_GT
                        : bounds[i]->inclusive ? STORE_LE
                                               : STORE_LT;
            filter.value_count = 1;
            filter.values = mr_arena_array(sorter->binder->arena, struct store_term *, 1);
            filter.values[0] = bounds[i]->value;
            add_filter(sorter, &filter);
        }
}

static bool is_restricted(const struct restriction *restriction)
{
    return restriction->chosen || restriction->lower.value != NULL ||
           restriction->upper.value != NULL;
}

static void settle_partition(struct sorter *sorter)
{
    const struct store_table *table = sorter->binder->table;
    struct store_keys *keys = sorter->keys;
    keys->by_partition = true;
    keys->partition = mr_arena_array(sorter->binder->arena, struct store_choice,
                                     table->partition_count);
    for (uint16_t i = 0; i < table->partition_count; i++) {
        keys->by_partition &= sorter->restrictions[i].chosen;
        keys->partition[i] = sorter->restrictions[i].choice;
    }
    for (uint16_t i = 0; !keys->by_partition && i < table->partition_count; i++) {
        sorter->needs_filtering |= is_restricted(&sorter->restrictions[i]);
        demote(sorter, &table->columns[i]);
    }
}

static mr_err settle_clustering(struct sorter *sorter)
{
    const struct store_table *table = sorter->binder->table;
    struct store_keys *keys = sorter->keys;
    const struct store_column *gap = NULL;
    keys->clustering = mr_arena_array(sorter->binder->arena, struct store_choice,
                                      table->clustering_count + 1u);
    for (uint16_t i = 0; i < table->clustering_count; i++) {
        const struct store_column *column = &table->columns[table->partition_count + i];
        struct restriction *restriction = &sorter->restrictions[column->index];
        bool served = keys->by_partition && gap == NULL;
        if (served && restriction->chosen) {
            keys->clustering[keys->clustering_count++] = restriction->choice;
            continue;
        }
        if (served && is_restricted(restriction)) {
            keys->has_slice = true;
            keys->lower = restriction->lower;
            keys->upper = restriction->upper;
            gap = column;
            continue;
        }
        if (is_restricted(restriction)) {
            if (keys->by_partition && !sorter->statement->allow_filtering)
                return store_fail(sorter->binder->fault, CQL_ERROR_INVALID,
                                  keys->has_slice ? "Clustering column \"%.*s\" cannot be "
                                                    "restricted (preceding column \"%.*s\" "
                                                    "is restricted by a non-EQ relation)"
                                                  : "PRIMARY KEY column \"%.*s\" cannot be "
                                                    "restricted as preceding column \"%.*s\" "
                                                    "is not restricted",
                                  MR_STR_ARG(column->name), MR_STR_ARG(gap->name));
            sorter->needs_filtering = true;
            demote(sorter, column);
        }
        if (gap == NULL)
            gap = column;
    }
    return MR_OK;
}

mr_err store_bind_keys(struct store_binder *binder, const struct store_statement *statement,
                       bool writes, struct store_keys *keys, struct store_filter **filters,
                       uint32_t *filter_count)
{
    const struct store_table *table = binder->table;
    struct sorter sorter = {.binder = binder, .statement = statement, .keys = keys};
    size_t key_count = (size_t)table->partition_count + table->clustering_count;
    sorter.restrictions = mr_arena_array(binder->arena, struct restriction, key_count + 1);
    sorter.filters = mr_arena_array(binder->arena, struct store_filter,
                                    statement->relation_count + key_count * 2 + 1);
    mr_err err = MR_OK;
    for (uint32_t i = 0; err == MR_OK && i < statement->relation_count; i++)
        err = sort_relation(&sorter, &statement->relations[i]);
    if (err != MR_OK)
        return err;
    settle_partition(&sorter);
    err = settle_clustering(&sorter);
    if (err != MR_OK)
        return err;
    bool allowed = statement->allow_filtering || writes || table->virtual_rows != NULL;
    if (sorter.needs_filtering && !allowed)
        return store_fail(binder->fault, CQL_ERROR_INVALID, "%s", store_filtering_text);
    *filters = sorter.filters;
    *filter_count = sorter.filter_count;
    return MR_OK;
}

/* ---- the plan ---- */
struct store_plan *store_plan_ref(struct store_plan *plan)
{
    plan->refs++;
    return plan;
}

void store_plan_unref(struct store_plan *plan)
{
    if (plan == NULL || --plan->refs > 0)
        return;
    for (uint32_t i = 0; i < plan->child_count; i++)
        store_table_unref(plan->children[i].table);
    store_table_unref(plan->table);
    struct mr_arena arena = plan->arena;
    mr_arena_fini(&arena);
}

static mr_err find_table(const struct store_schema *schema, struct store_plan *plan,
                         struct store_fault *fault)
{
    const struct store_name *name = &plan->statement->target;
    mr_str keyspace = name->keyspace.data != NULL ? name->keyspace : plan->keyspace;
    if (keyspace.length == 0)
        return store_fail(fault, CQL_ERROR_INVALID,
                          "No keyspace has been specified. USE a keyspace, or explicitly specify "
                          "keyspace.tablename");
    if (store_schema_keyspace(schema, keyspace) == NULL)
        return store_fail(fault, CQL_ERROR_INVALID, "keyspace %.*s does not exist",
                          MR_STR_ARG(keyspace));
    struct store_table *table = store_schema_table(schema, keyspace, name->name);
    if (table == NULL)
        return store_fail(fault, CQL_ERROR_INVALID, "table %.*s does not exist",
                          MR_STR_ARG(name->name));
    plan->table = store_table_ref(table);
    return MR_OK;
}

/* Where the markers of the partition key are, for drivers that route by token. */
static void find_key_indices(struct store_plan *plan)
{
    const struct store_keys *keys = plan->select != NULL  ? &plan->select->keys
                                    : plan->write != NULL ? &plan->write->keys
                                                          : NULL;
    if (keys == NULL || !keys->by_partition)
        return;
    uint16_t count = plan->table->partition_count;
    uint16_t *indices = mr_arena_array(&plan->arena, uint16_t, count);
    for (uint16_t i = 0; i < count; i++) {
        const struct store_choice *choice = &keys->partition[i];
        if (choice->many || choice->value_count != 1 ||
            choice->values[0]->kind != STORE_TERM_MARKER)
            return;
        indices[i] = (uint16_t)choice->values[0]->marker;
    }
    plan->key_count = count;
    plan->key_indices = indices;
}

static mr_err bind_one(const struct store_schema *schema, struct store_plan *plan,
                       struct store_fault *fault, struct cql_column *markers)
{
    enum store_statement_kind kind = plan->statement->kind;
    struct store_binder binder = {.arena = &plan->arena, .fault = fault, .markers = markers};
    bool select = kind == STORE_STATEMENT_SELECT;
    bool write = kind == STORE_STATEMENT_INSERT || kind == STORE_STATEMENT_UPDATE ||
                 kind == STORE_STATEMENT_DELETE;
    if (!select && !write)
        return MR_OK;
    mr_err err = find_table(schema, plan, fault);
    if (err != MR_OK)
        return err;
    binder.table = plan->table;
    if (plan->statement->selector_count > PARTS_MAX || plan->statement->change_count > PARTS_MAX ||
        plan->statement->relation_count > PARTS_MAX ||
        (kind == STORE_STATEMENT_INSERT && plan->statement->change_count > MR_LIMIT_CQL_COLUMNS))
        return store_fail(fault, CQL_ERROR_INVALID,
                          "a statement names more columns or restrictions than a table can have");
    return select ? store_plan_select(plan, &binder) : store_plan_write(plan, &binder);
}

static mr_err bind_batch(const struct store_schema *schema, struct store_plan *plan,
                         struct store_fault *fault)
{
    struct store_statement *statement = plan->statement;
    plan->children = mr_arena_array(&plan->arena, struct store_plan, statement->child_count);
    for (uint32_t i = 0; i < statement->child_count; i++) {
        struct store_plan *child = &plan->children[i];
        child->statement = statement->children[i];
        child->keyspace = plan->keyspace;
        if (child->statement->timestamp != NULL && statement->timestamp != NULL)
            return store_fail(fault, CQL_ERROR_INVALID,
                              "Timestamp must be set either on BATCH or individual statements");
        if (child->statement->timestamp == NULL)
            child->statement->timestamp = statement->timestamp;
        mr_arena_init(&child->arena); /* the children's pieces go where the parent's are */
        child->arena = plan->arena;
        mr_err err = bind_one(schema, child, fault, plan->markers);
        plan->arena = child->arena;
        plan->child_count = i + 1;
        if (err != MR_OK)
            return err;
    }
    return MR_OK;
}

mr_err store_plan_make(const struct store_schema *schema, mr_str keyspace, mr_str text,
                       struct store_fault *fault, struct store_plan **out)
{
    struct mr_arena arena;
    mr_arena_init(&arena);
    struct store_plan *plan = mr_arena_new(&arena, struct store_plan);
    plan->arena = arena;
    plan->refs = 1;
    plan->text = mr_arena_str(&plan->arena, text);
    plan->keyspace = mr_arena_str(&plan->arena, keyspace);
    mr_err err = store_parse(&plan->arena, plan->text, fault, &plan->statement);
    if (err == MR_OK) {
        plan->marker_count = plan->statement->marker_count;
        plan->markers = mr_arena_array(&plan->arena, struct cql_column, plan->marker_count + 1);
        err = plan->statement->kind == STORE_STATEMENT_BATCH
                  ? bind_batch(schema, plan, fault)
                  : bind_one(schema, plan, fault, plan->markers);
    }
    for (uint32_t i = 0; err == MR_OK && i < plan->marker_count; i++)
        if (plan->markers[i].type == NULL)
            err = store_fail(fault, CQL_ERROR_INVALID, "a bind marker stands where none can");
    if (err == MR_OK) {
        find_key_indices(plan);
        *out = plan;
        plan = NULL;
    }
    store_plan_unref(plan);
    return err;
}
