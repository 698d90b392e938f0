/* capture/types.h: private: the columns of a table, by the table of types. */
#ifndef CAPTURE_TYPES_H
#define CAPTURE_TYPES_H

#include "base/base.h"
#include "data/data.h"

enum capture_order {
    CAPTURE_ORDER_NONE, /* the client cannot tell which of two keys comes first */
    CAPTURE_ORDER_INTEGER,
    CAPTURE_ORDER_BYTES,
    CAPTURE_ORDER_COLLATED, /* BYTES when the column's collation orders by code point */
};
struct capture_type; /* a row of types.def */
struct capture_column {
    mr_str name;           /* as PostgreSQL has it */
    mr_str field;          /* as Avro takes it */
    uint32_t type_oid;     /* declared; may be a domain's */
    int32_t type_modifier; /* -1: none */
    const struct capture_type *type;
    uint8_t precision, scale; /* of a numeric that is a decimal; precision 0: it is text */
    bool nullable;
    bool bytes_order; /* COLLATED: the collation is C's */
};
/* The row of an oid; the last one (text) when there is none. */
const struct capture_type *capture_types_find(uint32_t oid);
const char *capture_types_word(const struct capture_type *type);
const char *capture_types_cql(const struct capture_type *type);
/* Sets type, precision and scale from the base type's oid and modifier. */
void capture_types_set(struct capture_column *column, uint32_t base_oid, int32_t modifier);
enum capture_order capture_types_order(const struct capture_column *column);
/* The column's type in Avro (a union with null when it is nullable) and in Spark. */
void capture_types_avro(struct mr_buf *out, const struct capture_column *column);
const struct data_type *capture_types_spark(struct mr_arena *arena,
                                            const struct capture_column *column);
/* Appends a value in Avro; text with data NULL is NULL. Errors, sticky in `out`: MR_CORRUPT when the
 * text is not of the type, or NULL stands where none may be. */
void capture_types_write(struct mr_buf *out, const struct capture_column *column, mr_str text);

#endif
