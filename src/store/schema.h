/* store/schema.h: keyspaces, tables, columns. A table is immutable once made: ALTER makes another that
 * takes its place, and those who still use the old one hold a reference. All on the store's loop. */
#ifndef STORE_SCHEMA_H
#define STORE_SCHEMA_H

#include "store/statement.h"

enum store_column_kind {
    STORE_COLUMN_PARTITION,
    STORE_COLUMN_CLUSTERING,
    STORE_COLUMN_STATIC,
    STORE_COLUMN_REGULAR,
};
struct store_column {
    mr_str name;
    const struct cql_type *type;
    enum store_column_kind kind;
    uint32_t id;       /* in packed rows; never used again in this table */
    uint16_t index;    /* in table->columns */
    uint16_t position; /* in its key, else 0 */
    bool descending;   /* clustering only */
};
enum store_option_id {
#define TABLE_OPTION(name, kind, value) STORE_OPTION_##name,
#include "store/table_options.def"
    STORE_OPTION_COUNT
};
struct store_virtual;
struct store_table {
    struct mr_arena arena; /* owns all of it */
    uint32_t refs;
    mr_str keyspace, name;
    uint32_t id; /* in storage keys */
    mr_uuid uuid;
    uint32_t version; /* rises with ALTER; part of prepared ids */
    uint32_t column_id_next;
    /* In the order of SELECT *: partition key, clustering key, static and regular by name. */
    struct store_column *columns;
    uint16_t column_count, partition_count, clustering_count, static_count;
    const struct store_column **by_id; /* column_id_next items; NULL: dropped */
    struct store_option options[STORE_OPTION_COUNT];
    int64_t default_ttl_s, gc_grace_s;
    bool is_counter;
    bool has_ranges; /* a range or partition was ever deleted: readers must look. Only rises */
    const struct store_virtual *virtual_rows; /* generated: a system table; NULL for the others */
};
struct store_keyspace {
    mr_str name;                  /* owned, as all below */
    struct cql_pairs replication; /* class first, full name; then sorted */
    bool durable_writes, is_system, is_virtual;
    struct mr_map tables; /* name -> struct store_table */
    struct mr_arena arena;
};
struct store_schema {
    struct mr_map keyspaces; /* name -> struct store_keyspace */
    uint32_t table_id_next;
    mr_uuid version; /* changes with every definition */
};

void store_schema_init(struct store_schema *schema);
void store_schema_fini(struct store_schema *schema);
struct store_keyspace *store_schema_keyspace(const struct store_schema *schema, mr_str name);
struct store_table *store_schema_table(const struct store_schema *schema, mr_str keyspace,
                                       mr_str name);
/* Works the version out anew from all definitions. */
void store_schema_stamp(struct store_schema *schema);
/* Keyspaces or tables by name; the list is the arena's. */
struct store_keyspace **store_schema_sorted(const struct store_schema *schema,
                                            struct mr_arena *arena, size_t *count);
struct store_table **store_keyspace_sorted(const struct store_keyspace *keyspace,
                                           struct mr_arena *arena, size_t *count);

struct store_table *store_table_ref(struct store_table *table);
void store_table_unref(struct store_table *table); /* accepts NULL */
const struct store_column *store_table_column(const struct store_table *table, mr_str name);

/* ---- definitions: each checks everything and changes only the schema in memory ---- */
mr_err store_keyspace_define(struct store_schema *schema, const struct store_statement *statement,
                             struct store_fault *fault, struct store_keyspace **out);
mr_err store_keyspace_change(struct store_keyspace *keyspace,
                             const struct store_statement *statement, struct store_fault *fault);
/* Makes the table of a CREATE; not yet in the schema. Owner: the caller. */
mr_err store_table_define(const struct store_statement *statement, mr_str keyspace, uint32_t id,
                          struct store_fault *fault, struct store_table **out);
/* Makes the table that ALTER leaves. */
mr_err store_table_change(const struct store_table *table, const struct store_statement *statement,
                          struct store_fault *fault, struct store_table **out);
/* Puts it into its keyspace in place of the one of its name; moves ownership. */
void store_keyspace_put(struct store_keyspace *keyspace, struct store_table *table_taken);
void store_keyspace_remove(struct store_keyspace *keyspace, mr_str table);
void store_keyspace_free(struct store_keyspace *keyspace);

/* ---- records on disk ---- */
void store_keyspace_write(struct mr_buf *out, const struct store_keyspace *keyspace);
mr_err store_keyspace_read(mr_str name, mr_str record, struct store_keyspace **out);
void store_table_write(struct mr_buf *out, const struct store_table *table);
mr_err store_table_read(mr_str record, struct store_table **out);

/* ---- text ---- */
void store_keyspace_print(struct mr_buf *out,
                          const struct store_keyspace *keyspace); /* CREATE KEYSPACE */
void store_table_print(struct mr_buf *out, const struct store_table *table, bool internals);
mr_str store_short_class(mr_str class_name); /* what follows the last point */

#endif
