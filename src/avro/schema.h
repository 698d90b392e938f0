/* avro/schema.h: what the room's files share about schemas. */
#ifndef AVRO_SCHEMA_H
#define AVRO_SCHEMA_H

#include "avro/avro.h"
#include "json/json.h"

struct avro_schema {
    struct mr_arena arena; /* nodes, names and the parsed texts */
    const struct avro_node *root;
    struct mr_map names; /* full name -> struct avro_node */
    uint32_t node_count;
};
mr_str avro_kind_word(enum avro_kind kind);
/* Splits "a.b.C" into namespace "a.b" and name "C". */
mr_str avro_name_space(mr_str full_name);
mr_str avro_name_simple(mr_str full_name);
bool avro_name_valid(mr_str name); /* [A-Za-z_][A-Za-z0-9_]* */

#endif
