/* json/json.h: JSON text as values (a small DOM), as columns (exactly Spark's from_json), and JSON
 * paths (exactly Spark's get_json_object). Nesting is limited by MR_LIMIT_JSON_DEPTH. Columns back to
 * JSON text is data_value_json(). */
#ifndef JSON_JSON_H
#define JSON_JSON_H

#include "base/base.h"
#include "data/data.h"

/* ---- values (RFC 8259, strict) ---- */
enum json_kind { JSON_NULL, JSON_BOOLEAN, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };
struct json_value {
    enum json_kind kind;
    bool boolean;   /* BOOLEAN */
    uint32_t count; /* ARRAY: items; OBJECT: members */
    mr_str raw;     /* the value exactly as the input has it; a view into the input */
    mr_str text;    /* STRING: without quotes and escapes; NUMBER: as written */
    mr_str name;    /* inside an object: the member's name, without escapes */
    const struct json_value *items; /* ARRAY and OBJECT, in the input's order */
};
/* The whole text is one value. Everything is in the arena, or a view into `text`.
 * Errors: MR_INVALID with line, column and what was expected; MR_LIMIT (too deep). */
mr_err json_parse(struct mr_arena *arena, mr_str text, const struct json_value **out);
/* All of these accept NULL and a value of another kind, and answer NULL or `otherwise` then. */
const struct json_value *json_get(const struct json_value *value,
                                  mr_str name); /* last one of a name */
const struct json_value *json_at(const struct json_value *value, uint32_t index);
const struct json_value *json_find(const struct json_value *value,
                                   mr_str path);                     /* "login.uuid", "a.0.b" */
mr_str json_str(const struct json_value *value, mr_str otherwise);   /* STRING only */
int64_t json_i64(const struct json_value *value, int64_t otherwise); /* whole NUMBER only */
bool json_bool(const struct json_value *value, bool otherwise);
/* A scalar's text: a string without quotes, else the raw text; NULL (the literal) gives no text. */
mr_str json_scalar(const struct json_value *value);
/* The value without white space between tokens, as it is otherwise. */
void json_print(struct mr_buf *out, const struct json_value *value);

/* ---- text to columns: Spark's from_json ----
 * A reader is compiled once from the wanted type; a chunk is then begin, one read a row in any order
 * of rows, end. Mode PERMISSIVE: what does not fit a field is NULL in that field; malformed text gives
 * a struct of NULLs (NULL for an array or map). Strings without escapes are views into the text, so
 * the text must live as long as the chunk. Times that name no zone are UTC; a region's name is refused. */
struct json_reader;
struct json_reader_options {
    bool fail_fast; /* mode FAILFAST: json_reader_read() gives MR_INVALID instead */
};
/* `type`: a STRUCT, ARRAY or MAP (key STRING), borrowed for the reader's life. `options` may be NULL.
 * Errors: MR_INVALID for another type. */
mr_err json_reader_new(const struct data_type *type, const struct json_reader_options *options,
                       struct json_reader **out);
void json_reader_free(struct json_reader *reader); /* accepts NULL */
/* Starts a column with room for `count` rows, all NULL, in the arena. */
void json_reader_begin(struct json_reader *reader, struct mr_arena *arena, uint32_t count);
/* Sets one row; each row at most once. Text without data (a NULL column) leaves the row NULL. */
mr_err json_reader_read(struct json_reader *reader, uint32_t row, mr_str text);
/* The column, owned by the arena. */
struct data_column *json_reader_end(struct json_reader *reader);
/* All of it for the live rows of a STRING column. */
mr_err json_reader_column(struct json_reader *reader, struct mr_arena *arena,
                          const struct data_column *texts, const uint16_t *rows, uint32_t row_count,
                          struct data_column **out);

/* ---- paths: Spark's get_json_object ---- */
struct json_path;
/* "$.a.b[0].c[*]". Errors: MR_INVALID (Spark answers NULL for every row then). Owner: the arena. */
mr_err json_path_parse(struct mr_arena *arena, mr_str text, const struct json_path **out);
/* False: NULL. Strings come without quotes, all else as JSON text; `*out` is in the arena or a view. */
bool json_path_eval(const struct json_path *path, struct mr_arena *arena, mr_str text, mr_str *out);

/* ---- types of texts: Spark's schema_of_json ---- */
mr_err json_schema_infer(struct mr_arena *arena, mr_str text, const struct data_type **out);

#endif
