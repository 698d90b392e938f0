/* json/reader.h: what the two ways of reading (reader.c: exact on any text; fast.c: sound texts only)
 * share: the compiled tree of the wanted type, and how a value gets into its column. */
#ifndef JSON_READER_H
#define JSON_READER_H

#include "json/token.h"

/* One wanted value; made once from the type, its columns are bound anew for each chunk. */
struct json_node {
    const struct data_type *type;
    enum data_kind kind;
    struct json_node *fields; /* STRUCT */
    uint32_t field_count;
    uint16_t *slots; /* STRUCT: hash of a name -> index of its field + 1, or 0 */
    uint32_t slot_mask;
    struct json_node *element; /* ARRAY, MAP */
    struct json_node *key;     /* MAP */
    struct data_column *column;
    uint32_t used; /* elements and keys: rows taken */
};
struct json_reader {
    bool fail_fast;
    bool exact_only;     /* never by fast.c: what the two give is compared */
    struct mr_arena own; /* the tree */
    struct json_node root;
    struct mr_arena *arena; /* of the present chunk */
    struct json_tokens tokens;
    struct mr_buf scratch;
    struct json_index *index;
};

/* What reading one value came to. PARTIAL: a value is there, but something inside was bad. BAD: no
 * value, the column is as it was. BAIL (fast.c only): not a sound text, read it again slowly. */
enum json_outcome { JSON_DONE, JSON_PARTIAL, JSON_BAD, JSON_BAIL };

uint32_t json_reader_hash(mr_str name);
static inline struct json_node *json_reader_field(const struct json_node *node, mr_str name)
{
    if (name.length == 0 && name.data == NULL)
        return NULL;
    for (uint32_t at = json_reader_hash(name);; at++) {
        uint32_t index = node->slots[at & node->slot_mask];
        if (index == 0)
            return NULL;
        if (mr_str_equal(node->type->fields[index - 1].name, name))
            return &node->fields[index - 1];
    }
}
/* A new row of an elements or keys column, NULL. */
uint32_t json_reader_push(struct json_reader *reader, struct json_node *node);
/* Gives rows from `used` on back. */
void json_reader_pop(struct json_node *node, uint32_t used);
uint32_t json_reader_align(struct json_reader *reader, struct json_node *map);
void json_reader_null(const struct json_node *node, uint32_t row);
void json_reader_slice(const struct json_node *node, uint32_t row, uint32_t start);

/* A scalar into any kind's column; false: it does not fit (the column is as it was). */
bool json_scalar_integer(struct json_reader *reader, const struct json_node *node, uint32_t row,
                         mr_str raw);
bool json_scalar_fraction(struct json_reader *reader, const struct json_node *node, uint32_t row,
                          mr_str raw, double special);
bool json_scalar_string(struct json_reader *reader, const struct json_node *node, uint32_t row,
                        mr_str text);
bool json_scalar_boolean(const struct json_node *node, uint32_t row, bool value);

/* Reads a sound text. JSON_BAIL: nothing is promised about the row, which has to be cleared. */
enum json_outcome json_fast_read(struct json_reader *reader, uint32_t row, mr_str text);

#endif
