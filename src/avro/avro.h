/* avro/avro.h: Avro 1.11: schemas, their resolution and compatibility; binary records to columns and
 * back by programs compiled once. A schema is immutable after parsing. */
#ifndef AVRO_AVRO_H
#define AVRO_AVRO_H

#include "base/base.h"
#include "data/data.h"

/* ---- schemas ---- */
enum avro_kind {
    AVRO_NULL,
    AVRO_BOOLEAN,
    AVRO_INT,
    AVRO_LONG,
    AVRO_FLOAT,
    AVRO_DOUBLE,
    AVRO_BYTES,
    AVRO_STRING,
    AVRO_RECORD,
    AVRO_ENUM,
    AVRO_ARRAY,
    AVRO_MAP,
    AVRO_UNION,
    AVRO_FIXED,
};
enum avro_logical {
    AVRO_PLAIN,
    AVRO_DATE,
    AVRO_TIME_MILLIS,
    AVRO_TIME_MICROS,
    AVRO_TIMESTAMP_MILLIS,
    AVRO_TIMESTAMP_MICROS,
    AVRO_LOCAL_TIMESTAMP_MILLIS,
    AVRO_LOCAL_TIMESTAMP_MICROS,
    AVRO_DECIMAL,
    AVRO_UUID,
    AVRO_DURATION,
};
struct json_value;
struct avro_node;
struct avro_field {
    mr_str name, doc;
    const struct avro_node *type;
    const mr_str *aliases;
    uint32_t alias_count;
    bool has_default;
    const struct json_value *default_value; /* as parsed from the schema's text */
    const struct json_value *source;        /* the field's own JSON object */
};
struct avro_node {
    enum avro_kind kind;
    enum avro_logical logical;
    uint16_t precision, scale; /* DECIMAL */
    uint32_t size;             /* FIXED: bytes */
    uint32_t index;            /* unique in its schema, from 0 */
    mr_str name;               /* RECORD, ENUM, FIXED: full name, "com.acme.User" */
    const mr_str *aliases;     /* full names */
    uint32_t alias_count;
    const struct avro_field *fields; /* RECORD */
    uint32_t field_count;
    const mr_str *symbols; /* ENUM */
    uint32_t symbol_count;
    mr_str default_symbol;                   /* ENUM; no data: none */
    const struct avro_node *element;         /* ARRAY, MAP */
    const struct avro_node *const *branches; /* UNION */
    uint32_t branch_count;
    const struct json_value *source; /* where it is defined in the text */
};
struct avro_schema;
/* Reads a schema's JSON text. `references`: texts of schemas whose named types it may use, each after
 * those that it needs itself; may be NULL. Errors: MR_INVALID with what is wrong; MR_LIMIT. */
mr_err avro_schema_parse(mr_str text, const mr_str *references, size_t reference_count,
                         struct avro_schema **out);
void avro_schema_free(struct avro_schema *schema); /* accepts NULL */
const struct avro_node *avro_schema_root(const struct avro_schema *schema);
/* Defaults of fields fit their types? The parser accepts either; a registry asks. MR_INVALID says where. */
mr_err avro_schema_check_defaults(const struct avro_schema *schema);
/* Parsing Canonical Form (specification, "Transforming into Parsing Canonical Form"). */
void avro_schema_canonical(const struct avro_schema *schema, struct mr_buf *out);
/* The schema as its text says, without white space, names short where the namespace allows it (as
 * Java's Schema.toString does). `normalize`: the order of properties fixed too. */
void avro_schema_print(const struct avro_schema *schema, bool normalize, struct mr_buf *out);
/* CRC-64-AVRO of a canonical form. */
uint64_t avro_schema_fingerprint(mr_str canonical);

/* ---- Avro and data types ---- */
/* The data type of a schema, as Spark's Avro source maps it. A union of several types becomes a struct
 * member0, member1, ... Errors: MR_UNSUPPORTED (recursion; a lone null type). */
mr_err avro_type_of(const struct avro_node *node, struct mr_arena *arena,
                    const struct data_type **out, bool *nullable);
/* A record schema's JSON text for a STRUCT: nullable fields are ["null", T] with default null.
 * `full_name` is e.g. "millrace.users_raw". */
mr_err avro_type_schema(const struct data_type *type, mr_str full_name, struct mr_buf *out);

/* ---- bytes to columns ----
 * A program for one writer's schema and the wanted type: fields are found by name (as written, else
 * without case); those that nobody wants are skipped, those that the writer lacks are NULL. Strings are
 * views into the record. A chunk is begin, one read a row, end. */
struct avro_decoder;
/* `wanted` as avro_type_of() gives it, or any part of its fields (also wider types: INT read as LONG or
 * DOUBLE, bytes as STRING, ...). Keeps nothing of the schema; `wanted` is borrowed for its life.
 * Errors: MR_INVALID naming the field whose types do not meet. */
mr_err avro_decoder_new(const struct avro_node *writer, const struct data_type *wanted,
                        struct avro_decoder **out);
void avro_decoder_free(struct avro_decoder *decoder); /* accepts NULL */
void avro_decoder_begin(struct avro_decoder *decoder, struct mr_arena *arena, uint32_t count);
/* Errors: MR_CORRUPT: the bytes do not fit the schema, or some are left; the row is NULL then. */
mr_err avro_decoder_read(struct avro_decoder *decoder, uint32_t row, mr_str bytes);
struct data_column *avro_decoder_end(struct avro_decoder *decoder); /* owned by the arena */

/* ---- rows to bytes ---- */
struct avro_encoder;
/* `type` is a STRUCT whose fields have the record's names.
 * Errors: MR_INVALID naming the field. */
mr_err avro_encoder_new(const struct avro_node *schema, const struct data_type *type,
                        struct avro_encoder **out);
void avro_encoder_free(struct avro_encoder *encoder); /* accepts NULL */
/* Appends one record. `column` has the encoder's type. Errors: MR_INVALID (NULL where the schema has no
 * null, text that is no symbol, a number out of range): `out` is as before then. */
mr_err avro_encoder_write(const struct avro_encoder *encoder, const struct data_column *column,
                          uint32_t row, struct mr_buf *out);
/* The same for a chunk's columns: columns[i] is the type's field i. */
mr_err avro_encoder_write_row(const struct avro_encoder *encoder,
                              struct data_column *const *columns, uint32_t row, struct mr_buf *out);

/* ---- bytes to text, for people: JSON with unions bare and times as ISO 8601 ---- */
mr_err avro_print_json(const struct avro_node *writer, mr_str bytes, struct mr_buf *out);

/* ---- bytes by hand: for who builds records field by field ---- */
static inline void avro_put_boolean(struct mr_buf *out, bool value)
{
    mr_buf_u8(out, value ? 1 : 0);
}
static inline void avro_put_long(struct mr_buf *out, int64_t value)
{
    mr_buf_varint(out, value);
} /* int too */
static inline void avro_put_union_index(struct mr_buf *out, uint32_t index)
{
    mr_buf_varint(out, index);
}
static inline void avro_put_string(struct mr_buf *out, mr_str text) /* bytes too */
{
    mr_buf_varint(out, (int64_t)text.length);
    mr_buf_str(out, text);
}
void avro_put_float(struct mr_buf *out, float value);
void avro_put_double(struct mr_buf *out, double value);
void avro_put_decimal(struct mr_buf *out,
                      data_decimal unscaled); /* bytes, two's complement, shortest */
/* Confluent's frame: byte 0, then the schema's id in 4 bytes. */
static inline void avro_put_frame(struct mr_buf *out, int32_t schema_id)
{
    mr_buf_u8(out, 0);
    mr_buf_be32(out, (uint32_t)schema_id);
}
/* Cuts the frame off the front. Errors: MR_CORRUPT: too short, or another magic byte. */
mr_err avro_take_frame(mr_str *bytes, int32_t *schema_id);

/* ---- compatibility: can data of `writer` be read by `reader`? (specification, "Schema Resolution") ---- */
struct avro_problem {
    mr_str kind;    /* "READER_FIELD_MISSING_DEFAULT_VALUE", ... */
    mr_str path;    /* "/fields/1" */
    mr_str message; /* "reader type: LONG not compatible with writer type: STRING" */
    struct avro_problem *next;
};
/* "{errorType:'...', description:'...', additionalInfo:'...'}", as Confluent's registry words it; the two
 * words name the schemas: "new" and "old", or the other way round. */
void avro_problem_print(const struct avro_problem *problem, const char *reader, const char *writer,
                        struct mr_buf *out);
/* The problems, in order of discovery, in the arena; NULL: compatible. */
struct avro_problem *avro_compatible(const struct avro_node *reader, const struct avro_node *writer,
                                     struct mr_arena *arena);

#endif
