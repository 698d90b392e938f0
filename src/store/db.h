/* store/db.h: the store's data on kv/: one family of rows, one of definitions. */
#ifndef STORE_DB_H
#define STORE_DB_H

#include "kv/kv.h"
#include "store/schema.h"

struct store_db {
    struct kv_db *kv;
    struct kv_family *rows;       /* storage keys (key.h) to packed rows (row.h) */
    struct kv_family *schema;     /* "k" keyspace | "t" keyspace 0 table | "m" name */
    mr_uuid host_id;              /* of this folder, for ever */
    struct kv_memory *own_memory; /* NULL: the caller's is used */
};
/* Blocks. Opens or makes the folder's data; reads the definitions into `schema`. */
mr_err store_db_open(const char *folder, struct kv_memory *memory, const struct mr_clock *clock,
                     struct store_schema *schema, struct store_db *out);
void store_db_close(struct store_db *db); /* blocks */

/* ---- definitions, as part of a batch ---- */
void store_db_put_keyspace(struct store_db *db, struct kv_batch *batch,
                           const struct store_keyspace *keyspace);
void store_db_drop_keyspace(struct store_db *db, struct kv_batch *batch,
                            const struct store_keyspace *keyspace);
void store_db_put_table(struct store_db *db, struct kv_batch *batch,
                        const struct store_table *table);
void store_db_drop_table(struct store_db *db, struct kv_batch *batch,
                         const struct store_table *table);
void store_db_put_next_id(struct store_db *db, struct kv_batch *batch, uint32_t table_id_next);
/* All rows of a table. */
void store_db_clear_table(struct store_db *db, struct kv_batch *batch, uint32_t table_id);

/* Folds operands, as RocksDB asks for; also the tests' way in. */
bool store_db_merge(void *context, mr_str key, mr_str base, const mr_str *operands, size_t count,
                    struct mr_buf *out);

#endif
