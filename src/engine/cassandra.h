/* engine/cassandra.h: Spark's types and values as CQL's: which type a column gets, which types it may be
 * written to, and the bytes of a value. Pure. */
#ifndef ENGINE_CASSANDRA_H
#define ENGINE_CASSANDRA_H

#include "cql/cql.h"
#include "data/data.h"

/* The type that a new table's column gets. Errors: MR_UNSUPPORTED (intervals). */
mr_err engine_cassandra_type(struct mr_arena *arena, const struct data_type *type,
                             const struct cql_type **out);
/* The replication of a keyspace as CQL writes it, `{'class': ...}`, from the user's words: "3", or
 * "east:3,west:2"; without words, on up to three of the nodes. Errors: MR_INVALID. */
mr_err engine_cassandra_replication(struct mr_buf *out, mr_str words, mr_str data_center,
                                    size_t node_count);
/* Whether values of `from` can be written to a column of `to`; `*fallible`: not every value can. */
bool engine_cassandra_fits(const struct data_type *from, const struct cql_type *to, bool *fallible);
/* Appends the bytes of a value that is not NULL. False: the column refuses it (`*why`, a literal). */
bool engine_cassandra_value(struct mr_buf *out, const struct cql_type *to,
                            const struct data_column *column, uint32_t row, const char **why);

#endif
