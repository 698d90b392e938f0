/* store/literal.h: constants of CQL text as the bytes of a type. */
#ifndef STORE_LITERAL_H
#define STORE_LITERAL_H

#include "store/statement.h"

/* Appends the bytes of a constant. Errors: MR_INVALID; the sentence lacks the column's name, which
 * `compatible` helps to add: false when the kind of constant never fits the type. */
mr_err store_literal_write(struct mr_buf *out, const struct cql_type *type,
                           enum store_term_kind kind, mr_str text, bool *compatible);
mr_err store_parse_timestamp(mr_str text, int64_t *ms);
const char *store_literal_name(enum store_term_kind kind); /* "INTEGER", "STRING", ... */
void store_write_vint(struct mr_buf *out, int64_t value);  /* Cassandra's own, for durations */

#endif
