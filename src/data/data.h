/* data/data.h: what flows between rooms: Spark SQL's types, columns of values, chunks of rows.
 *
 * A type is immutable and lives in an arena or is one of the constants below; compare with
 * data_type_equal(). A column holds values of one type for `count` rows in plain arrays; text and
 * bytes are views into a buffer that outlives the chunk. A chunk is up to DATA_CHUNK_ROWS rows of
 * several columns; `rows` lists the live ones, so a filter shortens a list and moves nothing. */
#ifndef DATA_DATA_H
#define DATA_DATA_H

#include "base/base.h"

enum { DATA_CHUNK_ROWS = 1024 };

/* In Spark's widening order where one exists. */
enum data_kind {
    DATA_NULL,          /* the type of a bare NULL ("void") */
    DATA_BOOLEAN,
    DATA_BYTE,
    DATA_SHORT,
    DATA_INT,
    DATA_LONG,
    DATA_DECIMAL,       /* precision 1..38, scale 0..precision */
    DATA_FLOAT,
    DATA_DOUBLE,
    DATA_STRING,
    DATA_BINARY,
    DATA_DATE,          /* days since 1970-01-01 */
    DATA_TIMESTAMP,     /* microseconds since 1970-01-01 UTC */
    DATA_TIMESTAMP_NTZ, /* microseconds of a local clock */
    DATA_INTERVAL,      /* day-time interval, microseconds */
    DATA_ARRAY,         /* element */
    DATA_MAP,           /* key, element (the value) */
    DATA_STRUCT,        /* fields */
};

struct data_type;
struct data_field {
    mr_str name;                        /* case preserved; Spark compares without case */
    const struct data_type *type;
    bool nullable;
};
struct data_type {
    enum data_kind kind;
    uint8_t precision, scale;           /* decimal */
    bool element_nullable;              /* array, map */
    const struct data_type *key;        /* map */
    const struct data_type *element;    /* array; map: its value */
    const struct data_field *fields;    /* struct */
    uint32_t field_count;
};
extern const struct data_type data_type_null, data_type_boolean, data_type_byte, data_type_short,
    data_type_int, data_type_long, data_type_float, data_type_double, data_type_string,
    data_type_binary, data_type_date, data_type_timestamp, data_type_timestamp_ntz,
    data_type_interval;

const struct data_type *data_type_decimal(struct mr_arena *arena, int precision, int scale);
const struct data_type *data_type_array(struct mr_arena *arena, const struct data_type *element);
const struct data_type *data_type_map(struct mr_arena *arena, const struct data_type *key,
                                      const struct data_type *value);
const struct data_type *data_type_struct(struct mr_arena *arena, const struct data_field *fields,
                                         size_t count);   /* copies the fields and their names */
const struct data_type *data_type_copy(struct mr_arena *arena, const struct data_type *type);   /* deep */
bool data_type_equal(const struct data_type *a, const struct data_type *b);   /* names without case */
/* Index of a struct's field by name without case, or -1. */
int data_type_field(const struct data_type *type, mr_str name);
/* Spark's DDL: "INT", "STRUCT<a: STRING, b: ARRAY<INT>>", "DECIMAL(10,2)"; as Spark prints it
 * (simpleString is lower case: "struct<a:string,b:array<int>>"). */
void data_type_print(struct mr_buf *out, const struct data_type *type);
/* Reads Spark's DDL, a type ("STRUCT<...>", "INT") or a list of fields ("a INT, b: STRING NOT NULL"),
 * the latter as a struct. Errors: MR_INVALID with the place (character offset) in the sentence. */
mr_err data_type_parse(struct mr_arena *arena, mr_str ddl, const struct data_type **out);

/* ---- decimals: unscaled value, two's complement 128 bit ---- */
typedef __int128 data_decimal;
void data_decimal_print(struct mr_buf *out, data_decimal value, int scale);   /* as Java's toPlainString */
mr_err data_decimal_parse(mr_str text, data_decimal *value, int *scale);      /* digits, '.', exponent */

/* ---- columns ---- */
struct data_column {
    const struct data_type *type;
    uint32_t count;                     /* rows that the arrays have room for and hold */
    uint8_t *valid;                     /* one byte a row: 1 a value, 0 NULL (the value is then 0) */
    union {                             /* by type->kind; one item a row */
        uint8_t *bools;                 /* 0 or 1 */
        int8_t *bytes;
        int16_t *shorts;
        int32_t *ints;                  /* INT, DATE */
        int64_t *longs;                 /* LONG, TIMESTAMP, TIMESTAMP_NTZ, INTERVAL */
        data_decimal *decimals;
        float *floats;
        double *doubles;
        mr_str *strs;                   /* STRING (UTF-8), BINARY; borrowed */
        struct data_column **fields;    /* STRUCT: one column a field, `count` rows each */
        void *values;
    };
    uint32_t *starts, *lengths;         /* ARRAY, MAP: a row's slice of `elements` (and `keys`) */
    struct data_column *elements, *keys;
};
/* A column with room for `count` rows, all NULL; nested struct fields too; arrays and maps get empty
 * slices and no elements column (the maker sets it). Owner: the arena. */
struct data_column *data_column_new(struct mr_arena *arena, const struct data_type *type, uint32_t count);
/* Bytes of one item of the kind's array; 0 for NULL, STRUCT, ARRAY and MAP. */
size_t data_kind_bytes(enum data_kind kind);

/* ---- chunks ---- */
struct data_chunk {
    struct mr_arena *arena;             /* lives as long as the chunk; operators allocate here */
    uint32_t column_count;
    struct data_column **columns;
    uint32_t count;                     /* rows in the columns, <= DATA_CHUNK_ROWS */
    uint16_t *rows;                     /* the live rows, ascending; room for DATA_CHUNK_ROWS */
    uint16_t row_count;
};
struct data_chunk *data_chunk_new(struct mr_arena *arena, uint32_t column_count);   /* columns NULL, no rows */
void data_chunk_all_rows(struct data_chunk *chunk, uint32_t count);                 /* rows = 0..count-1 */

/* One value as a person reads it: NULL, text bare, structs {a, b}, as Spark's CAST AS STRING. */
void data_value_print(struct mr_buf *out, const struct data_column *column, uint32_t row);
/* One value as JSON (to_json's rules; timestamps ISO 8601 with Z, binary base64; NULL as null). */
void data_value_json(struct mr_buf *out, const struct data_column *column, uint32_t row);
/* Total order and equality of two values of one type, NULL first, NaN last. */
int data_value_compare(const struct data_column *a, uint32_t row_a, const struct data_column *b, uint32_t row_b);

#endif
