/* store/view.c: from packed rows to values. */
#include "store/view.h"

#include <stdlib.h>

void store_view_init(struct store_row_view *view, struct mr_arena *arena,
                     const struct store_table *table)
{
    view->values = mr_arena_array(arena, struct cql_value, table->column_count);
    view->timestamps = mr_arena_array(arena, int64_t, table->column_count);
    view->expiries_s = mr_arena_array(arena, uint32_t, table->column_count);
    store_view_clear(view, table, STORE_COLUMN_PARTITION, STORE_COLUMN_REGULAR);
}

void store_view_clear(struct store_row_view *view, const struct store_table *table,
                      enum store_column_kind first, enum store_column_kind last)
{
    for (uint16_t i = 0; i < table->column_count; i++)
        if (table->columns[i].kind >= first && table->columns[i].kind <= last) {
            view->values[i] = CQL_VALUE_NULL;
            view->timestamps[i] = INT64_MIN;
            view->expiries_s[i] = 0;
        }
}

bool store_view_clustering(struct store_row_view *view, const struct store_table *table,
                           mr_str clustering, struct mr_arena *arena)
{
    struct mr_in in = mr_in_str(clustering);
    for (uint16_t i = 0; i < table->clustering_count; i++) {
        const struct store_column *column = &table->columns[table->partition_count + i];
        if (!store_key_component_read(&in, column->type, column->descending, arena,
                                      &view->values[column->index]))
            return false;
    }
    return true;
}

/* ---- collections that are not frozen: cells with paths ---- */
struct element {
    mr_str path, value;
};
struct loader {
    struct store_row_view *view;
    const struct store_table *table;
    struct mr_arena *arena;
    int64_t now_s, deletion;
    const struct store_column *column; /* the collection being gathered */
    MR_ARRAY(struct element) elements;
    bool live;
};

static int compare_elements(const void *a, const void *b, void *type)
{
    const struct element *x = a, *y = b;
    return cql_value_compare(type, cql_value_of(x->path.data, x->path.length),
                             cql_value_of(y->path.data, y->path.length));
}

static void finish_collection(struct loader *loader)
{
    const struct store_column *column = loader->column;
    size_t count = loader->elements.count;
    loader->column = NULL;
    if (column == NULL || count == 0)
        return;
    struct element *items = loader->elements.items;
    bool map = column->type->id == CQL_TYPE_MAP, list = column->type->id == CQL_TYPE_LIST;
    if (!list)
        qsort_r(items, count, sizeof(*items), compare_elements,
                (void *)(uintptr_t)column->type->args[0]);
    size_t bytes = 4;
    for (size_t i = 0; i < count; i++)
        bytes += 8 + items[i].path.length + items[i].value.length;
    struct mr_buf out = {0};
    mr_buf_reserve(&out, bytes);
    mr_buf_be32(&out, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        if (!list)
            cql_write_long_string(&out, items[i].path);
        if (list || map)
            cql_write_long_string(&out, items[i].value);
    }
    loader->view->values[column->index] = store_value_text(loader->arena, mr_buf_as_str(&out));
    loader->elements.count = 0;
    mr_buf_fini(&out);
}

static void load_cell(struct loader *loader, const struct store_cell *cell)
{
    const struct store_column *column = cell->column < loader->table->column_id_next
                                            ? loader->table->by_id[cell->column]
                                            : NULL;
    bool dead = cell->timestamp <= loader->deletion ||
                (cell->flags & (STORE_CELL_TOMBSTONE | STORE_CELL_CLEARED)) ||
                ((cell->flags & STORE_CELL_EXPIRING) && (int64_t)cell->expiry_s <= loader->now_s);
    if (column != loader->column)
        finish_collection(loader);
    if (dead || column == NULL)
        return;
    loader->live = true;
    uint16_t index = column->index;
    if (cell->flags & STORE_CELL_PATH) {
        loader->column = column;
        *mr_array_add(&loader->elements) = (struct element){cell->path, cell->value};
    } else {
        loader->view->values[index] = cql_value_of(cell->value.data, cell->value.length);
    }
    if (cell->timestamp > loader->view->timestamps[index])
        loader->view->timestamps[index] = cell->timestamp;
    loader->view->expiries_s[index] = cell->flags & STORE_CELL_EXPIRING ? cell->expiry_s : 0;
}

bool store_view_load(struct store_row_view *view, const struct store_table *table, mr_str packed,
                     int64_t now_s, int64_t deletion, struct mr_arena *arena, bool *live)
{
    struct store_row_reader reader;
    struct store_cell cell;
    struct loader loader = {
        .view = view, .table = table, .arena = arena, .now_s = now_s, .deletion = deletion};
    if (!store_row_open(&reader, packed))
        return false;
    const struct store_row_head *head = &reader.head;
    if ((head->flags & STORE_ROW_DELETED) && head->deletion > loader.deletion)
        loader.deletion = head->deletion;
    loader.live = (head->flags & STORE_ROW_LIVE) && head->timestamp > loader.deletion &&
                  (!(head->flags & STORE_ROW_EXPIRING) || (int64_t)head->expiry_s > now_s);
    while (store_row_next(&reader, &cell))
        load_cell(&loader, &cell);
    finish_collection(&loader);
    mr_array_fini(&loader.elements);
    *live = loader.live;
    return reader.in.err == MR_OK;
}

/* ---- filters ---- */
static bool op_holds(enum store_operator op, int order)
{
    switch (op) {
    case STORE_EQ:
        return order == 0;
    case STORE_NE:
        return order != 0;
    case STORE_LT:
        return order < 0;
    case STORE_LE:
        return order <= 0;
    case STORE_GT:
        return order > 0;
    case STORE_GE:
        return order >= 0;
    case STORE_IN:
    case STORE_CONTAINS:
    case STORE_CONTAINS_KEY:
        break;
    }
    return false;
}

static int compare_tuple(const struct store_filter *filter, const struct store_row_view *view,
                         struct cql_value value)
{
    struct mr_in in = mr_in_str(cql_value_str(value));
    for (uint32_t i = 0; i < filter->column_count; i++) {
        int order = cql_value_compare(filter->columns[i]->type,
                                      view->values[filter->columns[i]->index],
                                      mr_in_left(&in) > 0 ? cql_read_value(&in) : CQL_VALUE_NULL);
        if (order != 0)
            return order;
    }
    return 0;
}

static bool contains(const struct cql_type *type, struct cql_value whole, struct cql_value value,
                     bool keys)
{
    struct cql_elements elements = cql_elements_of(type, whole);
    struct cql_value element;
    bool map = type->id == CQL_TYPE_MAP;
    for (uint32_t i = 0; cql_elements_next(&elements, &element); i++) {
        if (map && (i % 2 == 0) != keys)
            continue;
        if (cql_value_compare(type->args[map && !keys ? 1 : 0], element, value) == 0)
            return true;
    }
    return false;
}

static struct cql_value pick_element(const struct cql_type *type, struct cql_value whole,
                                     struct cql_value key)
{
    struct cql_elements elements = cql_elements_of(type, whole);
    struct cql_value element, value;
    bool map = type->id == CQL_TYPE_MAP;
    int64_t wanted = map ? 0 : store_value_integer(key);
    for (int64_t i = 0; cql_elements_next(&elements, &element); i++) {
        if (!map && i == wanted)
            return element;
        if (map && !cql_elements_next(&elements, &value))
            break;
        if (map && cql_value_compare(type->args[0], element, key) == 0)
            return value;
    }
    return CQL_VALUE_NULL;
}

bool store_filter_passes(const struct store_filter *filter, const struct cql_value *values,
                         uint32_t value_count, struct cql_value element,
                         const struct store_row_view *view, bool conditional)
{
    const struct cql_type *type = filter->columns[0]->type;
    struct cql_value held = view->values[filter->columns[0]->index];
    if (filter->op == STORE_CONTAINS || filter->op == STORE_CONTAINS_KEY)
        return held.length >= 0 && value_count == 1 && values[0].length >= 0 &&
               contains(type, held, values[0], filter->op == STORE_CONTAINS_KEY);
    if (filter->element != NULL) {
        held = held.length < 0 ? held : pick_element(type, held, element);
        type = type->args[type->id == CQL_TYPE_MAP ? 1 : 0];
    }
    for (uint32_t i = 0; i < value_count; i++) {
        struct cql_value value = values[i];
        if (!conditional && (held.length < 0 || value.length < 0))
            continue;
        bool ordered = filter->op != STORE_EQ && filter->op != STORE_NE && filter->op != STORE_IN;
        if (conditional && ordered && (held.length < 0 || value.length < 0))
            continue;
        int order = filter->column_count > 1 ? compare_tuple(filter, view, value)
                                             : cql_value_compare(type, held, value);
        if (op_holds(filter->op == STORE_IN ? STORE_EQ : filter->op, order))
            return true;
    }
    return false;
}
