/* store/plan_select.c: binds a SELECT: what it gives, which rows, in which order and groups. */
#include "store/plan.h"

static mr_str selector_name(struct store_binder *binder, const struct store_selector *selector)
{
    struct mr_buf text = {0};
    if (selector->alias.data != NULL)
        return selector->alias;
    store_print_term(&text, selector->term);
    mr_str name = mr_arena_str(binder->arena, mr_buf_as_str(&text));
    mr_buf_fini(&text);
    return name;
}

static void select_column(struct store_binder *binder, struct store_select_plan *select,
                          mr_str name, struct store_term *term)
{
    struct cql_column *column = &select->columns[select->selector_count];
    column->keyspace = binder->table->keyspace;
    column->table = binder->table->name;
    column->name = name;
    column->type = term->type;
    select->selectors[select->selector_count++] = term;
}

static mr_err select_star(struct store_binder *binder, struct store_select_plan *select)
{
    for (uint16_t i = 0; i < binder->table->column_count; i++) {
        struct store_term *term = mr_arena_new(binder->arena, struct store_term);
        term->kind = STORE_TERM_COLUMN;
        term->text = binder->table->columns[i].name;
        term->column = &binder->table->columns[i];
        term->type = term->column->type;
        select_column(binder, select, term->text, term);
    }
    return MR_OK;
}

static mr_err select_terms(struct store_binder *binder, const struct store_statement *statement,
                           struct store_select_plan *select)
{
    for (uint32_t i = 0; i < statement->selector_count; i++) {
        struct store_term *term = statement->selectors[i].term;
        mr_err err = store_term_bind(binder, term, NULL, MR_STR("selector"));
        if (err != MR_OK)
            return err;
        select_column(binder, select, selector_name(binder, &statement->selectors[i]), term);
    }
    return MR_OK;
}

/* SELECT JSON gives one column of text; names that are not plain lower case keep their quotes. */
static void select_json(struct store_binder *binder, struct store_select_plan *select)
{
    select->json_names = mr_arena_array(binder->arena, mr_str, select->selector_count);
    for (uint32_t i = 0; i < select->selector_count; i++) {
        mr_str name = select->columns[i].name;
        bool upper = false;
        for (size_t j = 0; j < name.length; j++)
            upper |= name.data[j] >= 'A' && name.data[j] <= 'Z';
        select->json_names[i] = upper ? mr_arena_printf(binder->arena, "\"%.*s\"", MR_STR_ARG(name))
                                      : name;
    }
    select->columns[0].name = MR_STR("[json]");
    select->columns[0].type = cql_type_scalar(CQL_TYPE_TEXT);
}

static mr_err check_distinct(struct store_binder *binder, const struct store_select_plan *select)
{
    for (uint32_t i = 0; i < select->selector_count; i++) {
        const struct store_term *term = select->selectors[i];
        bool fits = term->kind != STORE_TERM_COLUMN ||
                    term->column->kind == STORE_COLUMN_PARTITION ||
                    term->column->kind == STORE_COLUMN_STATIC;
        if (!fits)
            return store_fail(
                binder->fault, CQL_ERROR_INVALID,
                "SELECT DISTINCT queries must only request partition key columns and/or static "
                "columns (not %.*s)",
                MR_STR_ARG(term->column->name));
    }
    return MR_OK;
}

static mr_err bind_order(struct store_binder *binder, const struct store_statement *statement,
                         struct store_select_plan *select)
{
    const struct store_table *table = binder->table;
    if (statement->ordering_count == 0)
        return MR_OK;
    if (!select->keys.by_partition)
        return store_fail(
            binder->fault, CQL_ERROR_INVALID,
            "ORDER BY is only supported when the partition key is restricted by an EQ or an IN.");
    for (uint16_t i = 0; i < table->partition_count; i++)
        if (select->keys.partition[i].many &&
            (select->keys.partition[i].in_marker || select->keys.partition[i].value_count > 1))
            return store_fail(
                binder->fault, CQL_ERROR_INVALID,
                "Cannot page queries with both ORDER BY and a IN restriction on the partition key; "
                "you must either remove the ORDER BY or the IN and sort client side, or disable "
                "paging for this query");
    uint16_t position = 0;
    for (uint32_t i = 0; i < statement->ordering_count; i++) {
        const struct store_column *column = store_table_column(table, statement->orderings[i].name);
        if (column == NULL)
            return store_fail(binder->fault, CQL_ERROR_INVALID,
                              "Undefined column name %.*s in table %.*s.%.*s",
                              MR_STR_ARG(statement->orderings[i].name), MR_STR_ARG(table->keyspace),
                              MR_STR_ARG(table->name));
        if (column->kind != STORE_COLUMN_CLUSTERING)
            return store_fail(binder->fault, CQL_ERROR_INVALID,
                              "Order by is currently only supported on the clustered columns of "
                              "the PRIMARY KEY, got %.*s",
                              MR_STR_ARG(column->name));
        while (position < column->position && position < select->keys.clustering_count &&
               !select->keys.clustering[position].many)
            position++; /* fixed by an equality: its order does not matter */
        if (column->position < position)
            continue;
        if (column->position != position)
            return store_fail(
                binder->fault, CQL_ERROR_INVALID,
                "Order by currently only supports the ordering of columns following their declared "
                "order in the PRIMARY KEY");
        bool reversed = statement->orderings[i].descending != column->descending;
        if (i > 0 && reversed != select->reversed)
            return store_fail(binder->fault, CQL_ERROR_INVALID, "Unsupported order by relation");
        select->reversed = reversed;
        position++;
    }
    return MR_OK;
}

static mr_err bind_groups(struct store_binder *binder, const struct store_statement *statement,
                          struct store_select_plan *select)
{
    const struct store_table *table = binder->table;
    uint32_t next = 0, key_count = (uint32_t)table->partition_count + table->clustering_count;
    for (uint32_t i = 0; i < statement->group_count; i++) {
        const struct store_column *column = store_table_column(table, statement->groups[i]);
        if (column == NULL || column->index >= key_count)
            return store_fail(
                binder->fault, CQL_ERROR_INVALID,
                "Group by is currently only supported on the columns of the PRIMARY KEY, got %.*s",
                MR_STR_ARG(statement->groups[i]));
        while (next < column->index) { /* columns with an equality may be left out */
            const struct store_choice *choice =
                next < table->partition_count ? &select->keys.partition[next]
                : next - table->partition_count < select->keys.clustering_count
                    ? &select->keys.clustering[next - table->partition_count]
                    : NULL;
            if (choice == NULL || choice->many || choice->value_count != 1 ||
                !select->keys.by_partition)
                break;
            next++;
        }
        if (column->index != next)
            return store_fail(binder->fault, CQL_ERROR_INVALID,
                              "Group by currently only supports groups of columns following their "
                              "declared order in "
                              "the PRIMARY KEY");
        select->group_count = ++next;
    }
    if (select->group_count > 0 && select->group_count < table->partition_count)
        return store_fail(binder->fault, CQL_ERROR_INVALID,
                          "Group by is not supported with only a part of the partition key");
    return MR_OK;
}

static mr_err bind_limit(struct store_binder *binder, struct store_term *term, const char *name)
{
    if (term == NULL)
        return MR_OK;
    mr_err err = store_term_bind(binder, term, cql_type_scalar(CQL_TYPE_INT), mr_str_from(name));
    if (err == MR_OK && term->is_constant &&
        (term->constant.length != 4 || store_value_integer(term->constant) <= 0))
        err = store_fail(binder->fault, CQL_ERROR_INVALID, "%s must be strictly positive",
                         strcmp(name, "[limit]") == 0 ? "LIMIT" : "PER PARTITION LIMIT");
    return err;
}

static bool uses_clustering(const struct store_select_plan *select)
{
    if (select->keys.clustering_count > 0 || select->keys.has_slice)
        return true;
    for (uint32_t i = 0; i < select->filter_count; i++)
        if (select->filters[i].columns[0]->kind == STORE_COLUMN_CLUSTERING ||
            select->filters[i].columns[0]->kind == STORE_COLUMN_REGULAR)
            return true;
    return false;
}

mr_err store_plan_select(struct store_plan *plan, struct store_binder *binder)
{
    const struct store_statement *statement = plan->statement;
    struct store_select_plan *select = mr_arena_new(binder->arena, struct store_select_plan);
    uint32_t most = statement->star ? binder->table->column_count : statement->selector_count;
    plan->select = select;
    select->selectors = mr_arena_array(binder->arena, struct store_term *, most + 1);
    select->columns = mr_arena_array(binder->arena, struct cql_column, most + 1);
    binder->columns_allowed = true;
    mr_err err = statement->star ? select_star(binder, select)
                                 : select_terms(binder, statement, select);
    binder->columns_allowed = false;
    if (err == MR_OK)
        err = store_bind_keys(binder, statement, false, &select->keys, &select->filters,
                              &select->filter_count);
    if (err == MR_OK && statement->distinct) {
        select->distinct = true;
        err = check_distinct(binder, select);
    }
    if (err == MR_OK)
        err = bind_order(binder, statement, select);
    if (err == MR_OK)
        err = bind_groups(binder, statement, select);
    if (err == MR_OK)
        err = bind_limit(binder, statement->partition_limit, "[per_partition_limit]");
    if (err == MR_OK)
        err = bind_limit(binder, statement->limit, "[limit]");
    if (err == MR_OK && select->distinct && statement->partition_limit != NULL)
        err = store_fail(binder->fault, CQL_ERROR_INVALID,
                         "PER PARTITION LIMIT is not allowed with SELECT DISTINCT queries");
    if (err != MR_OK)
        return err;
    select->limit = statement->limit;
    select->partition_limit = statement->partition_limit;
    select->has_statics = binder->table->static_count > 0;
    select->clustering_restricted = uses_clustering(select);
    select->aggregate_count = binder->aggregate_count;
    select->aggregates = mr_arena_array(binder->arena, struct store_term *,
                                        binder->aggregate_count + 1);
    memcpy(select->aggregates, binder->aggregates,
           binder->aggregate_count * sizeof(*select->aggregates));
    if (statement->json)
        select_json(binder, select);
    return MR_OK;
}
