/* store/view.h: packed rows as values by column, with what deletions and clocks leave of them. */
#ifndef STORE_VIEW_H
#define STORE_VIEW_H

#include "store/key.h"
#include "store/plan.h"
#include "store/row.h"

void store_view_init(struct store_row_view *view, struct mr_arena *arena,
                     const struct store_table *table);
/* Nulls every column of the kinds from `first` to `last`. */
void store_view_clear(struct store_row_view *view, const struct store_table *table,
                      enum store_column_kind first, enum store_column_kind last);
/* Sets the cells of a packed row that are alive: later than `deletion` (of ranges), not expired. Values
 * are views into `packed`, collections are built in the arena. *live: whether the row exists. False:
 * damaged. */
bool store_view_load(struct store_row_view *view, const struct store_table *table, mr_str packed,
                     int64_t now_s, int64_t deletion, struct mr_arena *arena, bool *live);
/* Sets the key columns; variable clustering values go to the arena. */
bool store_view_clustering(struct store_row_view *view, const struct store_table *table,
                           mr_str clustering, struct mr_arena *arena);

/* Whether a row passes a filter. `conditional`: by the rules of IF, where null equals null. The values
 * of the filter's terms, evaluated once: a list for IN. */
bool store_filter_passes(const struct store_filter *filter, const struct cql_value *values,
                         uint32_t value_count, struct cql_value element,
                         const struct store_row_view *view, bool conditional);

#endif
