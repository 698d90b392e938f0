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
    DATA_NULL, /* the type of a bare NULL ("void") */
    DATA_BOOLEAN,
    DATA_BYTE,
    DATA_SHORT,
    DATA_INT,
    DATA_LONG,
    DATA_DECIMAL, /* precision 1..38, scale 0..precision */
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
    mr_str name; /* case preserved; Spark compares without case */
    const struct data_type *type;
    bool nullable;
};
struct data_type {
    enum data_kind kind;
    uint8_t precision, scale;        /* decimal */
    bool element_nullable;           /* array, map */
    const struct data_type *key;     /* map */
    const struct data_type *element; /* array; map: its value */
    const struct data_field *fields; /* struct */
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
                                         size_t count); /* copies the fields and their names */
const struct data_type *data_type_copy(struct mr_arena *arena,
                                       const struct data_type *type);       /* deep */
bool data_type_equal(const struct data_type *a, const struct data_type *b); /* names without case */
/* Index of a struct's field by name without case, or -1. */
int data_type_field(const struct data_type *type, mr_str name);
/* Spark's DDL: "INT", "STRUCT<a: STRING, b: ARRAY<INT>>", "DECIMAL(10,2)"; as Spark prints it
 * (simpleString is lower case: "struct<a:string,b:array<int>>"). */
void data_type_print(struct mr_buf *out, const struct data_type *type);
/* The same as SQL writes it: "STRUCT<a: STRING, b: ARRAY<INT>>", "DECIMAL(10,2)". */
void data_type_print_sql(struct mr_buf *out, const struct data_type *type);
bool data_kind_is_number(enum data_kind kind); /* BYTE .. DOUBLE */
bool data_kind_is_whole(enum data_kind kind);  /* BYTE, SHORT, INT, LONG */
/* Reads Spark's DDL, a type ("STRUCT<...>", "INT") or a list of fields ("a INT, b: STRING NOT NULL"),
 * the latter as a struct. Errors: MR_INVALID with the place (character offset) in the sentence. */
mr_err data_type_parse(struct mr_arena *arena, mr_str ddl, const struct data_type **out);

/* ---- decimals: unscaled value, two's complement 128 bit ---- */
typedef __int128 data_decimal;
enum { DATA_DECIMAL_DIGITS = 38 };
void data_decimal_print(struct mr_buf *out, data_decimal value,
                        int scale); /* as Java's toPlainString */
mr_err data_decimal_parse(mr_str text, data_decimal *value, int *scale); /* digits, '.', exponent */
data_decimal data_decimal_power(int digits);                             /* 10^digits, 0..38 */
/* Exact arithmetic, rounded half up to the wanted scale. False: more than `precision` digits. */
bool data_decimal_rescale(data_decimal value, int scale, int to_scale, int precision,
                          data_decimal *out);
bool data_decimal_multiply(data_decimal a, data_decimal b, int scale, int to_scale, int precision,
                           data_decimal *out); /* scale: of a plus of b */
bool data_decimal_divide(data_decimal a, int scale_a, data_decimal b, int scale_b, int to_scale,
                         int precision, data_decimal *out); /* b is not 0 */
int data_decimal_compare(data_decimal a, int scale_a, data_decimal b, int scale_b);
double data_decimal_to_double(data_decimal value, int scale);
bool data_decimal_from_double(double value, int to_scale, int precision, data_decimal *out);

/* ---- values as text, as Spark's CAST writes and reads them ---- */
enum { DATA_TEXT_BYTES = 64 }; /* room for each of these; they return the length, add no NUL */
size_t data_long_format(int64_t value, char *out);
size_t data_double_format(double value, char out[DATA_TEXT_BYTES]); /* as Java: 1.0E10, NaN */
size_t data_float_format(float value, char out[DATA_TEXT_BYTES]);
size_t data_date_format(int32_t days, char out[DATA_TEXT_BYTES]); /* 2026-11-21 */
size_t data_timestamp_format(int64_t us,
                             char out[DATA_TEXT_BYTES]); /* 2026-11-21 06:26:00.5, UTC */
size_t data_interval_format(int64_t us,
                            char out[DATA_TEXT_BYTES]); /* INTERVAL '1 02:00:00' DAY TO SECOND */
/* yyyy[-[m]m[-[d]d[ anything after a space or T]]]; surrounding white space is skipped. */
bool data_date_parse(mr_str text, int32_t *days);
/* A date, then [ T][h]h:[m]m[:[s]s[.ffffff]] and a zone: Z, UTC, +hh:mm, ... Times without a zone are
 * UTC; `*zoned` (may be NULL) says whether there was one. */
bool data_timestamp_parse(mr_str text, int64_t *us, bool *zoned);

/* ---- columns ---- */
struct data_column {
    const struct data_type *type;
    uint32_t count;     /* rows that the arrays have room for and hold */
    uint8_t *valid;     /* one byte a row: 1 a value, 0 NULL (the value is then 0) */
    union {             /* by type->kind; one item a row */
        uint8_t *bools; /* 0 or 1 */
        int8_t *bytes;
        int16_t *shorts;
        int32_t *ints;  /* INT, DATE */
        int64_t *longs; /* LONG, TIMESTAMP, TIMESTAMP_NTZ, INTERVAL */
        data_decimal *decimals;
        float *floats;
        double *doubles;
        mr_str *strs;                /* STRING (UTF-8), BINARY; borrowed */
        struct data_column **fields; /* STRUCT: one column a field, `count` rows each */
        void *values;
    };
    uint32_t *starts, *lengths; /* ARRAY, MAP: a row's slice of `elements` (and `keys`) */
    struct data_column *elements, *keys;
};
/* A NULL struct's fields are NULL in that row too, so that a field's column can be read alone. */
/* A column with room for `count` rows, all NULL; nested struct fields too; arrays and maps get empty
 * slices and no elements column (the maker sets it). Owner: the arena. */
struct data_column *data_column_new(struct mr_arena *arena, const struct data_type *type,
                                    uint32_t count);
/* Room for `count` rows, not fewer than now; the new ones are NULL. Struct fields too. The column's own
 * address stays; its arrays move. Owner: the arena. */
void data_column_grow(struct mr_arena *arena, struct data_column *column, uint32_t count);
/* Rows [from, to) become NULL, struct fields too. */
void data_column_clear(struct data_column *column, uint32_t from, uint32_t to);
/* Bytes of one item of the kind's array; 0 for NULL, STRUCT, ARRAY and MAP. */
size_t data_kind_bytes(enum data_kind kind);

/* A new column whose row i is row rows[i] of `column`, nested values too; texts stay borrowed. */
struct data_column *data_column_gather(struct mr_arena *arena, const struct data_column *column,
                                       const uint32_t *rows, uint32_t count);
/* Copies one value, for columns whose kind has no elements (not ARRAY, MAP or what holds them). */
void data_column_set(struct data_column *out, uint32_t row, const struct data_column *from,
                     uint32_t from_row);
bool data_type_has_lists(const struct data_type *type); /* an ARRAY or MAP, or a struct with one */

/* ---- growing columns ---- */
struct data_builder {
    struct mr_arena *arena;
    struct data_column *column; /* column->count rows so far */
    uint32_t capacity;
    struct data_builder **fields;         /* STRUCT */
    struct data_builder *elements, *keys; /* ARRAY, MAP */
};
struct data_builder *data_builder_new(struct mr_arena *arena, const struct data_type *type);
/* A new row, valid and zero; write its value at the returned index (the arrays may have moved). A struct's fields need a row each,
 * a list's elements are added to builder->elements before data_builder_end(). */
uint32_t data_builder_row(struct data_builder *builder);
void data_builder_null(struct data_builder *builder); /* a NULL row, nested ones too */
void data_builder_copy(struct data_builder *builder, const struct data_column *from, uint32_t row);
void data_builder_end(struct data_builder *builder); /* the last row's slice ends here */
struct data_column *data_builder_take(struct data_builder *builder); /* the column so far */

/* ---- chunks ---- */
struct data_chunk {
    struct mr_arena *arena; /* lives as long as the chunk; operators allocate here */
    uint32_t column_count;
    struct data_column **columns;
    uint32_t count; /* rows in the columns, <= DATA_CHUNK_ROWS */
    uint16_t *rows; /* the live rows, ascending; room for DATA_CHUNK_ROWS */
    uint16_t row_count;
};
struct data_chunk *data_chunk_new(struct mr_arena *arena,
                                  uint32_t column_count);           /* columns NULL, no rows */
void data_chunk_all_rows(struct data_chunk *chunk, uint32_t count); /* rows = 0..count-1 */

/* One value as a person reads it: NULL, text bare, structs {a, b}, as Spark's CAST AS STRING. */
void data_value_print(struct mr_buf *out, const struct data_column *column, uint32_t row);
/* One value as JSON (to_json's rules; timestamps ISO 8601 with Z, binary base64; NULL as null). */
void data_value_json(struct mr_buf *out, const struct data_column *column, uint32_t row);
/* Total order and equality of two values of one type, NULL first, NaN last. */
int data_value_compare(const struct data_column *a, uint32_t row_a, const struct data_column *b,
                       uint32_t row_b);

#endif
