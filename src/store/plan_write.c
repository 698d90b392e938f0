/* store/plan_write.c: binds INSERT, UPDATE and DELETE: which rows, which cells, under which condition. */
#include "store/plan.h"

#include <stdlib.h>

static int by_column(const void *a, const void *b)
{
    const struct store_write_change *x = a, *y = b;
    return x->column->id < y->column->id ? -1 : x->column->id > y->column->id;
}

static bool is_many(const struct store_column *column)
{
    return cql_type_is_collection(column->type) && !column->type->frozen;
}

static mr_err refuse(struct store_binder *binder, const struct store_column *column,
                     const char *what)
{
    struct mr_buf type = {0};
    cql_type_print(&type, column->type);
    mr_err err = store_fail(binder->fault, CQL_ERROR_INVALID,
                            "Invalid operation (%s) for %.*s column %.*s", what,
                            MR_STR_ARG(mr_buf_as_str(&type)), MR_STR_ARG(column->name));
    mr_buf_fini(&type);
    return err;
}

static mr_err bind_element_change(struct store_binder *binder, const struct store_change *change,
                                  const struct store_column *column, bool deletes)
{
    const struct cql_type *type = column->type;
    bool list = type->id == CQL_TYPE_LIST, map = type->id == CQL_TYPE_MAP;
    if (!is_many(column) || (!map && !list && !(deletes && type->id == CQL_TYPE_SET)))
        return refuse(binder, column, deletes ? "DELETE of an element" : "SET of an element");
    if (list)
        return store_fail(
            binder->fault, CQL_ERROR_INVALID,
            "setting or deleting a list's element by its index is not supported: %.*s",
            MR_STR_ARG(column->name));
    mr_err err = store_term_bind(binder, change->element, type->args[0], column->name);
    if (err == MR_OK && !deletes)
        err = store_term_bind(binder, change->value, type->args[1], column->name);
    return err;
}

static mr_err bind_change(struct store_binder *binder, const struct store_change *change,
                          bool deletes, struct store_write_change *out)
{
    const struct store_column *column = store_table_column(binder->table, change->name);
    if (column == NULL)
        return store_fail(binder->fault, CQL_ERROR_INVALID,
                          "Undefined column name %.*s in table %.*s.%.*s", MR_STR_ARG(change->name),
                          MR_STR_ARG(binder->table->keyspace), MR_STR_ARG(binder->table->name));
    *out = (struct store_write_change){change->kind, column, change->element, change->value};
    if (column->kind <= STORE_COLUMN_CLUSTERING)
        return store_fail(
            binder->fault, CQL_ERROR_INVALID,
            deletes ? "Invalid identifier %.*s for deletion (should not be a PRIMARY KEY part)"
                    : "PRIMARY KEY part %.*s found in SET part",
            MR_STR_ARG(column->name));
    bool counter = column->type->id == CQL_TYPE_COUNTER;
    switch (change->kind) {
    case STORE_CHANGE_SET_ELEMENT:
        return bind_element_change(binder, change, column, deletes);
    case STORE_CHANGE_SET:
        if (counter && !deletes)
            return store_fail(binder->fault, CQL_ERROR_INVALID,
                              "Cannot set the value of counter column %.*s (counters can only be "
                              "incremented/decremented, not set)",
                              MR_STR_ARG(column->name));
        return deletes ? MR_OK : store_term_bind(binder, change->value, column->type, column->name);
    case STORE_CHANGE_ADD:
    case STORE_CHANGE_SUBTRACT:
        if (counter)
            return store_term_bind(binder, change->value, cql_type_scalar(CQL_TYPE_BIGINT),
                                   column->name);
        if (!is_many(column))
            return refuse(binder, column, change->kind == STORE_CHANGE_ADD ? "+" : "-");
        if (change->kind == STORE_CHANGE_SUBTRACT && column->type->id == CQL_TYPE_LIST)
            return store_fail(binder->fault, CQL_ERROR_INVALID,
                              "discarding elements of a list by value is not supported: %.*s",
                              MR_STR_ARG(column->name));
        if (change->kind == STORE_CHANGE_SUBTRACT && column->type->id == CQL_TYPE_MAP)
            return store_term_bind(binder, change->value,
                                   cql_type_set(binder->arena, column->type->args[0]),
                                   column->name);
        return store_term_bind(binder, change->value, column->type, column->name);
    case STORE_CHANGE_PREPEND:
        if (!is_many(column) || column->type->id != CQL_TYPE_LIST)
            return refuse(binder, column, "+");
        return store_term_bind(binder, change->value, column->type, column->name);
    }
    return MR_OK;
}

/* Sorted by column id, as cells lie in a packed row; statics apart. */
static mr_err bind_changes(struct store_binder *binder, const struct store_statement *statement,
                           struct store_write_plan *write)
{
    bool deletes = statement->kind == STORE_STATEMENT_DELETE;
    write->changes = mr_arena_array(binder->arena, struct store_write_change,
                                    statement->change_count + 1);
    write->statics = mr_arena_array(binder->arena, struct store_write_change,
                                    statement->change_count + 1);
    for (uint32_t i = 0; i < statement->change_count; i++) {
        struct store_write_change change;
        mr_err err = bind_change(binder, &statement->changes[i], deletes, &change);
        if (err != MR_OK)
            return err;
        if (deletes)
            change.value = NULL;
        if (change.column->kind == STORE_COLUMN_STATIC)
            write->statics[write->static_count++] = change;
        else
            write->changes[write->change_count++] = change;
    }
    qsort(write->changes, write->change_count, sizeof(*write->changes), by_column);
    qsort(write->statics, write->static_count, sizeof(*write->statics), by_column);
    for (uint32_t pass = 0; pass < 2; pass++) {
        struct store_write_change *list = pass == 0 ? write->changes : write->statics;
        uint32_t count = pass == 0 ? write->change_count : write->static_count;
        for (uint32_t i = 1; i < count; i++)
            if (list[i].column == list[i - 1].column && !is_many(list[i].column))
                return store_fail(binder->fault, CQL_ERROR_INVALID,
                                  "Multiple incompatible setting of column %.*s",
                                  MR_STR_ARG(list[i].column->name));
    }
    return MR_OK;
}

/* An INSERT's key columns become choices of one value; the rest becomes changes. */
static mr_err bind_insert(struct store_binder *binder, struct store_statement *statement,
                          struct store_write_plan *write)
{
    const struct store_table *table = binder->table;
    uint32_t rest = 0, key_count = (uint32_t)table->partition_count + table->clustering_count;
    struct store_choice *choices = mr_arena_array(binder->arena, struct store_choice,
                                                  key_count + 1);
    if (statement->json_value != NULL)
        return store_fail(binder->fault, CQL_ERROR_INVALID, "INSERT ... JSON is not supported");
    if (table->is_counter)
        return store_fail(
            binder->fault, CQL_ERROR_INVALID,
            "INSERT statements are not allowed on counter tables, use UPDATE instead");
    for (uint32_t i = 0; i < statement->change_count; i++)
        for (uint32_t j = 0; j < i; j++)
            if (mr_str_equal(statement->changes[j].name, statement->changes[i].name))
                return store_fail(binder->fault, CQL_ERROR_INVALID,
                                  "The column names contains duplicates");
    for (uint32_t i = 0; i < statement->change_count; i++) {
        const struct store_column *column = store_table_column(table, statement->changes[i].name);
        if (column == NULL || column->index >= key_count) {
            statement->changes[rest++] = statement->changes[i];
            continue;
        }
        struct store_term *value = statement->changes[i].value;
        mr_err err = store_term_bind(binder, value, column->type, column->name);
        if (err == MR_OK && value->is_constant && value->constant.length < 0)
            err = store_fail(binder->fault, CQL_ERROR_INVALID,
                             "Invalid null value in condition for column %.*s",
                             MR_STR_ARG(column->name));
        if (err != MR_OK)
            return err;
        choices[column->index].value_count = 1;
        choices[column->index].values = mr_arena_array(binder->arena, struct store_term *, 1);
        choices[column->index].values[0] = value;
    }
    statement->change_count = rest;
    write->keys.by_partition = true;
    write->keys.partition = choices;
    write->keys.clustering = choices + table->partition_count;
    for (uint16_t i = 0; i < table->partition_count; i++)
        write->keys.by_partition &= choices[i].value_count > 0;
    while (write->keys.clustering_count < table->clustering_count &&
           write->keys.clustering[write->keys.clustering_count].value_count > 0)
        write->keys.clustering_count++;
    return MR_OK;
}

static void list_missing(struct mr_buf *out, const struct store_column *columns, uint16_t count,
                         const struct store_choice *choices)
{
    for (uint16_t i = 0; i < count; i++)
        if (choices[i].value_count == 0 && !choices[i].many) {
            if (out->length > 0)
                mr_buf_cstr(out, ", ");
            mr_buf_str(out, columns[i].name);
        }
}

static mr_err check_keys(struct store_binder *binder, const struct store_statement *statement,
                         struct store_write_plan *write)
{
    const struct store_table *table = binder->table;
    struct mr_buf missing = {0};
    mr_err err = MR_OK;
    bool deletes = statement->kind == STORE_STATEMENT_DELETE;
    bool only_statics = write->change_count == 0 && write->static_count > 0;
    if (!write->keys.by_partition) {
        list_missing(&missing, table->columns, table->partition_count, write->keys.partition);
        err = store_fail(binder->fault, CQL_ERROR_INVALID,
                         "Some partition key parts are missing: %.*s",
                         MR_STR_ARG(mr_buf_as_str(&missing)));
    } else if (write->keys.has_slice && !write->whole_row) {
        err = store_fail(binder->fault, CQL_ERROR_INVALID,
                         deletes ? "Range deletions are not supported for specific columns"
                                 : "Slice restrictions are not supported on the clustering columns "
                                   "in UPDATE statements");
    } else if (!write->names_row && !only_statics && !(deletes && write->whole_row) &&
               !(deletes && only_statics)) {
        for (uint16_t i = write->keys.clustering_count; i < table->clustering_count; i++) {
            if (missing.length > 0)
                mr_buf_cstr(&missing, ", ");
            mr_buf_str(&missing, table->columns[table->partition_count + i].name);
        }
        err = store_fail(binder->fault, CQL_ERROR_INVALID, "Some clustering keys are missing: %.*s",
                         MR_STR_ARG(mr_buf_as_str(&missing)));
    } else if (write->keys.has_token) {
        err = store_fail(binder->fault, CQL_ERROR_INVALID,
                         "The token function cannot be used in WHERE clauses for %s statements",
                         deletes ? "DELETE" : "UPDATE");
    }
    mr_buf_fini(&missing);
    return err;
}

static mr_err bind_using(struct store_binder *binder, const struct store_statement *statement,
                         struct store_write_plan *write)
{
    mr_err err = MR_OK;
    write->timestamp = statement->timestamp;
    write->ttl = statement->ttl;
    if (write->timestamp != NULL) {
        err = store_term_bind(binder, write->timestamp, cql_type_scalar(CQL_TYPE_BIGINT),
                              MR_STR("[timestamp]"));
        if (err == MR_OK && binder->table->is_counter)
            err = store_fail(binder->fault, CQL_ERROR_INVALID,
                             "Cannot provide custom timestamp for counter updates");
        if (err == MR_OK && write->conditional)
            err = store_fail(binder->fault, CQL_ERROR_INVALID,
                             "Cannot provide custom timestamp for conditional updates");
    }
    if (err == MR_OK && write->ttl != NULL) {
        if (statement->kind == STORE_STATEMENT_DELETE)
            return store_fail(binder->fault, CQL_ERROR_SYNTAX, "DELETE takes no TTL");
        err = store_term_bind(binder, write->ttl, cql_type_scalar(CQL_TYPE_INT), MR_STR("[ttl]"));
        if (err == MR_OK && binder->table->is_counter)
            err = store_fail(binder->fault, CQL_ERROR_INVALID,
                             "Cannot provide custom TTL for counter updates");
    }
    return err;
}

static mr_err bind_conditions(struct store_binder *binder, const struct store_statement *statement,
                              struct store_write_plan *write)
{
    write->conditional = statement->if_exists || statement->if_not_exists ||
                         statement->condition_count > 0;
    write->condition_count = statement->condition_count;
    write->conditions = mr_arena_array(binder->arena, struct store_filter,
                                       statement->condition_count + 1);
    for (uint32_t i = 0; i < statement->condition_count; i++) {
        struct store_filter *filter = &write->conditions[i];
        mr_err err = store_bind_filter(binder, &statement->conditions[i], filter);
        if (err != MR_OK)
            return err;
        if (filter->columns[0]->kind <= STORE_COLUMN_CLUSTERING)
            return store_fail(binder->fault, CQL_ERROR_INVALID,
                              "PRIMARY KEY column '%.*s' cannot have IF conditions",
                              MR_STR_ARG(filter->columns[0]->name));
    }
    if (write->conditional && binder->table->is_counter)
        return store_fail(binder->fault, CQL_ERROR_INVALID,
                          "Conditional updates are not supported on counter tables");
    return MR_OK;
}

/* The SELECT that a conditional write looks with: every column, by the write's own keys. */
static void make_read(struct store_plan *plan, struct store_binder *binder, bool only_partition)
{
    const struct store_table *table = binder->table;
    struct store_plan *read = mr_arena_new(binder->arena, struct store_plan);
    struct store_select_plan *select = mr_arena_new(binder->arena, struct store_select_plan);
    struct store_term *one = mr_arena_new(binder->arena, struct store_term);
    select->keys = plan->write->keys;
    select->selectors = mr_arena_array(binder->arena, struct store_term *, table->column_count);
    select->columns = mr_arena_array(binder->arena, struct cql_column, table->column_count);
    select->selector_count = table->column_count;
    for (uint16_t i = 0; i < table->column_count; i++) {
        struct store_term *term = mr_arena_new(binder->arena, struct store_term);
        term->kind = STORE_TERM_COLUMN;
        term->column = &table->columns[i];
        term->type = term->column->type;
        select->selectors[i] = term;
        select->columns[i] = (struct cql_column){table->keyspace, table->name, term->column->name,
                                                 term->type};
    }
    one->is_constant = true;
    one->constant = store_value_i32(binder->arena, 1);
    select->limit = one;
    select->distinct = only_partition;
    select->has_statics = table->static_count > 0;
    select->clustering_restricted = !only_partition;
    read->select = select;
    read->table = plan->table; /* the write's reference */
    read->statement = plan->statement;
    plan->write->read = read;
}

static bool is_single(const struct store_keys *keys, const struct store_table *table)
{
    for (uint16_t i = 0; i < table->partition_count; i++)
        if (keys->partition[i].many)
            return false;
    for (uint16_t i = 0; i < keys->clustering_count; i++)
        if (keys->clustering[i].many)
            return false;
    return true;
}

mr_err store_plan_write(struct store_plan *plan, struct store_binder *binder)
{
    struct store_statement *statement = plan->statement;
    struct store_write_plan *write = mr_arena_new(binder->arena, struct store_write_plan);
    struct store_filter *filters = NULL;
    uint32_t filter_count = 0;
    const struct store_table *table = binder->table;
    plan->write = write;
    if (table->virtual_rows != NULL)
        return store_fail(binder->fault, CQL_ERROR_UNAUTHORIZED,
                          "%.*s keyspace is not user-modifiable.", MR_STR_ARG(table->keyspace));
    mr_err err = bind_conditions(binder, statement, write);
    if (err == MR_OK && statement->kind == STORE_STATEMENT_UPDATE)
        err = bind_using(binder, statement, write); /* markers in the order of the text */
    if (err == MR_OK && statement->kind == STORE_STATEMENT_INSERT)
        err = bind_insert(binder, statement, write);
    if (err == MR_OK)
        err = bind_changes(binder, statement, write);
    if (err == MR_OK && statement->kind != STORE_STATEMENT_INSERT)
        err = store_bind_keys(binder, statement, true, &write->keys, &filters, &filter_count);
    if (err == MR_OK && statement->kind != STORE_STATEMENT_UPDATE)
        err = bind_using(binder, statement, write);
    if (err != MR_OK)
        return err;
    write->whole_row = statement->kind == STORE_STATEMENT_DELETE && statement->change_count == 0;
    write->names_row = write->keys.clustering_count == table->clustering_count;
    err = check_keys(binder, statement, write);
    if (err == MR_OK && filter_count > 0)
        err = store_fail(binder->fault, CQL_ERROR_INVALID,
                         filters[0].columns[0]->kind > STORE_COLUMN_CLUSTERING
                             ? "Non PRIMARY KEY columns found in where clause: %.*s"
                             : "the restriction of %.*s is not supported in UPDATE and DELETE",
                         MR_STR_ARG(filters[0].columns[0]->name));
    if (err == MR_OK && write->conditional && !is_single(&write->keys, table))
        err = store_fail(binder->fault, CQL_ERROR_INVALID,
                         "IN on the partition key or clustering columns is not supported with "
                         "conditional updates");
    bool static_only = write->static_count > 0 && write->change_count == 0;
    if (err == MR_OK && write->conditional && !write->names_row && !static_only &&
        statement->condition_count == 0)
        err = store_fail(binder->fault, CQL_ERROR_INVALID,
                         "IF EXISTS and IF NOT EXISTS need the whole primary key");
    if (err == MR_OK && write->conditional)
        make_read(plan, binder, !write->names_row);
    return err;
}
