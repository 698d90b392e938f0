/* store/key.h: where a row lies: storage keys whose byte order is the order of CQL.
 *
 *   table id (4) | token (8, sign flipped) | partition key length (2) | partition key
 *   | kind (1) | clustering components
 *
 * A component is self-delimiting and its bytes order as its type does; DESC complements them. */
#ifndef STORE_KEY_H
#define STORE_KEY_H

#include "store/schema.h"

enum store_key_kind {
    STORE_KEY_RANGE = 1,  /* a deleted range of the partition: bounds follow */
    STORE_KEY_STATIC = 2, /* the static row */
    STORE_KEY_ROW = 3,
    STORE_KEY_KINDS_END = 4,
};
enum { STORE_KEY_PREFIX_BYTES = 14 }; /* what lies before the partition key */

/* ---- the partition key as the protocol serializes it (token, size_estimates, drivers) ---- */
/* `values`: one a partition column. */
void store_partition_write(struct mr_buf *out, const struct store_table *table,
                           const struct cql_value *values);
/* Views into `key`; false when it does not fit the table. */
bool store_partition_read(const struct store_table *table, mr_str key, struct cql_value *values);

/* ---- storage keys ---- */
void store_key_table(struct mr_buf *out, uint32_t table_id);
void store_key_token(struct mr_buf *out, uint32_t table_id, int64_t token);
/* Everything up to the kind. */
void store_key_partition(struct mr_buf *out, uint32_t table_id, mr_str partition_key);
void store_key_component(struct mr_buf *out, const struct cql_type *type, bool descending,
                         struct cql_value value);
/* Reads one component back; variable values are copied into the arena. False on bad bytes. */
bool store_key_component_read(struct mr_in *in, const struct cql_type *type, bool descending,
                              struct mr_arena *arena, struct cql_value *out);
/* The least key above all that begin with these bytes, in place. False when there is none. */
bool store_key_after(struct mr_buf *key, size_t begin);

struct store_key_parts {
    uint32_t table_id;
    int64_t token;
    mr_str partition; /* the partition key */
    mr_str prefix;    /* everything before the kind */
    uint8_t kind;
    mr_str clustering;
};
bool store_key_split(mr_str key, struct store_key_parts *out);

#endif
