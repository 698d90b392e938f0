/* capture/table.h: private: one version of a table: its columns, its key, its schema; rows to Avro. */
#ifndef CAPTURE_TABLE_H
#define CAPTURE_TABLE_H

#include "capture/capture.h"
#include "capture/pgoutput.h"
#include "capture/types.h"

enum { CAPTURE_KEY_MAX = 32 }; /* PostgreSQL's INDEX_MAX_KEYS */

/* Immutable once made; owns its memory. */
struct capture_table {
    struct mr_arena arena;
    mr_str schema, name;
    uint32_t oid;
    char identity; /* of the replica: 'd', 'n', 'f', 'i' */
    struct capture_column *columns;
    uint16_t column_count;
    uint16_t key[CAPTURE_KEY_MAX]; /* indexes of the key columns, in the order of the key */
    uint16_t key_count;
    bool ordered; /* the client can tell which of two keys comes first */
    bool lenient; /* every column but the key may be null, to fit older versions */
    mr_str avro;  /* the schema's text */
};
void capture_table_free(struct capture_table *table); /* accepts NULL */

/* The question and its answer: asks the server about "schema.name". */
extern const char capture_table_sql[];
/* Errors: MR_NOT_FOUND (no such table), MR_UNSUPPORTED (no table, no primary key). */
mr_err capture_table_new(const struct postgres_rows *rows, mr_str table,
                         struct capture_table **out);
/* The table that a step makes. */
struct capture_table *capture_table_new_raw(mr_str table);
/* The version that a relation message tells; what it leaves unsaid is as in `before`.
 * Errors: MR_UNSUPPORTED (a key column is gone). */
mr_err capture_table_new_version(const struct capture_table *before,
                                 const struct capture_message *relation,
                                 struct capture_table **out);
bool capture_table_is_version(const struct capture_table *table,
                              const struct capture_message *relation);
/* The same with `lenient` set. */
struct capture_table *capture_table_new_lenient(const struct capture_table *table);

/* ---- rows: one text a column, data NULL for NULL ---- */
/* The record's key: the column's text, or a JSON array of texts. */
void capture_table_key(const struct capture_table *table, const mr_str *row, struct mr_buf *out);
/* Confluent's wire format: 0, the schema's id, the row in Avro. Errors stay in `out`. */
void capture_table_value(const struct capture_table *table, const mr_str *row, int32_t schema_id,
                         struct mr_buf *out);
/* Order of a row's key and a key given by its texts; the table is ordered. */
int capture_table_compare(const struct capture_table *table, const mr_str *row, const mr_str *key);

/* "SELECT columns FROM table WHERE key > ($1...) ORDER BY key LIMIT n"; from the start without a key. */
void capture_table_chunk_sql(const struct capture_table *table, bool from_start, uint32_t limit,
                             struct mr_buf *out);
/* "SELECT columns FROM table WHERE key = ($1...)". */
void capture_table_lookup_sql(const struct capture_table *table, struct mr_buf *out);

void capture_table_shape(const struct capture_table *table, struct mr_arena *arena,
                         struct capture_shape *out);

#endif
