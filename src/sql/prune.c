/* sql/prune.c: projection push-down. Once all is bound, the scan's columns keep only the fields that
 * something reads, and every COLUMN and FIELD that was bound to the full types moves over. */
#include "sql/bind.h"

/* Fields under something that is read as a whole keep their full types and places. */
static void prune_use(struct sql_binder *b, struct sql_use *use, bool whole)
{
    const struct data_type *full = use->full;
    uint32_t kept = 0;
    use->whole = use->whole || whole;
    use->pruned = full;
    if (use->fields == NULL)
        return;
    for (uint32_t i = 0; i < full->field_count; i++)
        if (use->fields[i] != NULL)
            prune_use(b, use->fields[i], use->whole);
    if (use->whole)
        return;
    struct data_field *fields = mr_arena_array(b->arena, struct data_field, full->field_count);
    use->places = mr_arena_array(b->arena, uint32_t, full->field_count);
    for (uint32_t i = 0; i < full->field_count; i++) {
        if (use->fields[i] == NULL)
            continue;
        fields[kept] = full->fields[i];
        fields[kept].type = use->fields[i]->pruned;
        use->places[i] = kept++;
    }
    use->pruned = data_type_struct(b->arena, fields, kept);
}

/* Row types above the scan, up to the first node that makes columns of its own. */
static void retype(struct sql_binder *b, struct sql_node *node)
{
    if (node == NULL || node->kind == SQL_NODE_VALUES || node->kind == SQL_NODE_SCAN)
        return;
    retype(b, node->input);
    if (node->kind == SQL_NODE_FILTER) {
        node->row = node->input->row;
    } else if (node->kind == SQL_NODE_GENERATE) {
        struct data_field *fields = mr_arena_array(b->arena, struct data_field,
                                                   node->row->field_count);
        for (uint32_t i = 0; i < node->row->field_count; i++)
            fields[i] = i < node->input->row->field_count ? node->input->row->fields[i]
                                                          : node->row->fields[i];
        node->row = data_type_struct(b->arena, fields, node->row->field_count);
    }
}

void sql_prune_run(struct sql_binder *b, struct sql_node *root)
{
    if (b->scan == NULL)
        return;
    const struct data_type *full = b->scan->scan.full;
    struct data_field *fields = mr_arena_array(b->arena, struct data_field, full->field_count);
    for (uint32_t i = 0; i < full->field_count; i++) {
        struct sql_use *use = b->scan_scope.columns[i].use;
        prune_use(b, use, false);
        b->scan->scan.used[i] = use->whole || use->fields != NULL;
        fields[i] = full->fields[i];
        fields[i].type = use->pruned;
    }
    b->scan->row = data_type_struct(b->arena, fields, full->field_count);
    for (size_t i = 0; i < b->references.count; i++) {
        struct sql_reference *reference = &b->references.items[i];
        reference->expr->type = reference->use->pruned;
        if (reference->parent != NULL && reference->parent->places != NULL)
            reference->expr->index = reference->parent->places[reference->expr->index];
    }
    retype(b, root);
}
