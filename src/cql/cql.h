/* cql/cql.h: the words of the CQL native protocol, version 4: tables, frames, primitives, types and
 * column metadata, and version 5's segments. What both a server and a client need, and no policy of either.
 * Source: native_protocol_v4.spec, whose section numbers stand below, and native_protocol_v5.spec. */
#ifndef CQL_CQL_H
#define CQL_CQL_H

#include "base/base.h"

/* ---- tables ---- */
enum cql_opcode {
#define OPCODE(name, code, from, about) CQL_OPCODE_##name = (code),
#include "cql/opcodes.def"
};
enum cql_error {
#define CQL_ERROR_ROW(name, code, text) CQL_ERROR_##name = (code),
#include "cql/errors.def"
};
enum cql_consistency {
#define CONSISTENCY(name, code) CQL_CONSISTENCY_##name = (code),
#include "cql/consistency.def"
};
enum cql_type_id {
#define CQL_TYPE_ROW(name, id, text, bytes, class) CQL_TYPE_##name = (id),
#include "cql/types.def"
};
const char *cql_opcode_name(unsigned opcode);           /* "QUERY", or "?" */
const char *cql_consistency_name(unsigned consistency); /* "LOCAL_QUORUM", or "?" */
const char *cql_error_text(unsigned code);              /* "Syntax error", or "?" */
/* By its name in any case ("quorum"); false when there is none. */
bool cql_consistency_find(mr_str name, enum cql_consistency *out);

/* ---- frames (section 2) ---- */
enum {
    CQL_VERSION = 4,      /* what both sides speak, and how a request is encoded at first */
    CQL_VERSION_5 = 5,    /* the client's, where the server has it */
    CQL_DIRECTION = 0x80, /* set in the version byte of a response */
    CQL_HEADER_BYTES = 9,
    CQL_FRAME_BYTES_MAX = 268435456, /* section 2.5: 256 MB */
};
enum cql_frame_flag {
    CQL_FRAME_COMPRESSED = 0x01,
    CQL_FRAME_TRACING = 0x02,
    CQL_FRAME_CUSTOM_PAYLOAD = 0x04,
    CQL_FRAME_WARNING = 0x08,
};
struct cql_header {
    uint8_t version; /* with CQL_DIRECTION in a response */
    uint8_t flags;
    int16_t stream; /* -1: an event */
    uint8_t opcode;
    uint32_t length; /* of the body */
};
void cql_header_read(struct mr_in *in, struct cql_header *out);
/* Writes the header of a body that follows; returns its place for cql_frame_end(). */
size_t cql_frame_begin(struct mr_buf *out, uint8_t version, uint8_t flags, int16_t stream,
                       enum cql_opcode opcode);
void cql_frame_end(struct mr_buf *out, size_t begin); /* patches the length */
/* lz4 bodies (section 5): a big-endian length of the plain bytes, then one LZ4 block. Both append.
 * Errors of unpack: MR_CORRUPT; MR_LIMIT when the plain length passes `bytes_max`. */
void cql_lz4_pack(struct mr_buf *out, mr_str body);
mr_err cql_lz4_unpack(struct mr_buf *out, mr_str body, size_t bytes_max);

/* ---- segments (version 5, section 2.2): what frames travel in after the handshake ---- */
enum { CQL_SEGMENT_PAYLOAD_MAX = 131071 };
/* `whole`: the payload is whole frames; otherwise it is a part of one. With `lz4` the payload goes as one
 * LZ4 block where that is shorter; both ends must have agreed on it. */
void cql_segment_write(struct mr_buf *out, mr_str payload, bool whole, bool lz4);
/* The bytes of the segment that begins at `seen`; *total 0: more are needed to know. MR_CORRUPT: its
 * header fails its CRC. */
mr_err cql_segment_length(mr_str seen, bool lz4, size_t *total);
/* The payload of one segment, a view into it or into `plain`, which is cleared. MR_CORRUPT: it fails its
 * CRC, or does not unpack. */
mr_err cql_segment_read(mr_str segment, bool lz4, struct mr_buf *plain, mr_str *payload,
                        bool *whole);

/* ---- primitives (section 3); readers are sticky and give views into the frame ---- */
/* A [value] or [bytes]: length -1 is null, -2 not set (bound values of v4 only). */
struct cql_value {
    const uint8_t *data;
    int32_t length;
};
enum { CQL_NULL = -1, CQL_UNSET = -2 };
#define CQL_VALUE_NULL ((struct cql_value){NULL, CQL_NULL})
#define CQL_VALUE_UNSET ((struct cql_value){NULL, CQL_UNSET})
static inline struct cql_value cql_value_of(const void *data, size_t length)
{
    return (struct cql_value){(const uint8_t *)data, (int32_t)length};
}
static inline mr_str cql_value_str(struct cql_value value) /* null gives the empty text */
{
    return mr_str_of(value.data, value.length < 0 ? 0 : (size_t)value.length);
}
mr_str cql_read_string(struct mr_in *in);               /* [string] */
mr_str cql_read_long_string(struct mr_in *in);          /* [long string] */
mr_str cql_read_short_bytes(struct mr_in *in);          /* [short bytes] */
struct cql_value cql_read_value(struct mr_in *in);      /* [value], [bytes] */
void cql_write_string(struct mr_buf *out, mr_str text); /* MR_LIMIT beyond 65535 bytes */
void cql_write_long_string(struct mr_buf *out, mr_str text);
void cql_write_short_bytes(struct mr_buf *out, mr_str bytes);
void cql_write_value(struct mr_buf *out, struct cql_value value);
/* Pairs of text; both lists are in the arena. Errors are the reader's. */
struct cql_pair {
    mr_str key, value;
};
struct cql_pairs {
    const struct cql_pair *items;
    size_t count;
};
struct cql_pairs cql_read_string_map(struct mr_in *in, struct mr_arena *arena);
mr_str cql_pairs_get(struct cql_pairs pairs, mr_str key); /* MR_STR_NULL when absent */

/* ---- types ---- */
struct cql_type {
    enum cql_type_id id;
    bool frozen;        /* written frozen<...>; matters for collections only */
    uint16_t arg_count; /* list, set 1; map 2; tuple, udt n */
    const struct cql_type *const *args;
    mr_str keyspace, name; /* udt; name is also a custom type's class */
    const mr_str *fields;  /* udt: one name an arg */
};
/* The constant of a scalar id; NULL for the others. */
const struct cql_type *cql_type_scalar(enum cql_type_id id);
const struct cql_type *cql_type_list(struct mr_arena *arena, const struct cql_type *element);
const struct cql_type *cql_type_set(struct mr_arena *arena, const struct cql_type *element);
const struct cql_type *cql_type_map(struct mr_arena *arena, const struct cql_type *key,
                                    const struct cql_type *value);
const struct cql_type *cql_type_tuple(struct mr_arena *arena, const struct cql_type *const *args,
                                      size_t count);
const struct cql_type *cql_type_frozen(struct mr_arena *arena, const struct cql_type *type);
const struct cql_type *cql_type_copy(struct mr_arena *arena,
                                     const struct cql_type *type);       /* deep */
bool cql_type_equal(const struct cql_type *a, const struct cql_type *b); /* frozen does not count */
bool cql_type_is_collection(const struct cql_type *type);                /* list, set, map */
/* Fixed size of a value in bytes, or 0. */
int cql_type_bytes(const struct cql_type *type);
/* As CQL writes it: "map<text, frozen<list<int>>>". */
void cql_type_print(struct mr_buf *out, const struct cql_type *type);
/* Reads CQL's text of a type; "varchar" is text. Errors: MR_INVALID with a sentence. */
mr_err cql_type_parse(struct mr_arena *arena, mr_str text, const struct cql_type **out);
/* An [option] (section 4.2.5.2). The reader bounds nesting; its errors are the reader's. */
void cql_type_write(struct mr_buf *out, const struct cql_type *type);
const struct cql_type *cql_type_read(struct mr_in *in, struct mr_arena *arena);

/* ---- values ---- */
/* Checks that bytes are a value of the type, as Cassandra does before it stores them. Errors:
 * MR_INVALID with a sentence such as "Expected 4 or 0 byte int (3)". Null is always well. */
mr_err cql_value_check(const struct cql_type *type, struct cql_value value);
/* Order of two values of one type, as Cassandra's comparators have it; null first. */
int cql_value_compare(const struct cql_type *type, struct cql_value a, struct cql_value b);
/* Appends the value as a CQL literal ('text', 0x00, {a: 1}); bare leaves out the outer quotes. */
void cql_value_print(struct mr_buf *out, const struct cql_type *type, struct cql_value value,
                     bool bare);
/* Appends the value as JSON, by the rules of SELECT JSON. */
void cql_value_json(struct mr_buf *out, const struct cql_type *type, struct cql_value value);
/* varint: two's complement, big endian, shortest. Digits with an optional sign; false when not. */
bool cql_varint_parse(struct mr_buf *out, mr_str digits);
void cql_varint_print(struct mr_buf *out, mr_str bytes);
/* decimal: scale (4 bytes), then a varint. Digits, point, exponent; false when not. */
bool cql_decimal_parse(struct mr_buf *out, mr_str text);
void cql_decimal_print(struct mr_buf *out, mr_str bytes);
/* Elements of a serialized list or set (count, then [bytes] each), map (pairs), tuple (no count). */
struct cql_elements {
    struct mr_in in;
    uint32_t left; /* elements still to come; a map's keys and values count */
};
struct cql_elements cql_elements_of(const struct cql_type *type, struct cql_value value);
/* False at the end or on bad bytes; then elements->in.err tells. */
bool cql_elements_next(struct cql_elements *elements, struct cql_value *out);

/* ---- result metadata (section 4.2.5.2) ---- */
enum cql_rows_flag {
    CQL_ROWS_GLOBAL_TABLE = 0x01,
    CQL_ROWS_MORE_PAGES = 0x02,
    CQL_ROWS_NO_METADATA = 0x04,
    CQL_ROWS_METADATA_CHANGED = 0x08, /* version 5: the new metadata's id is read past */
};
enum cql_result_kind {
    CQL_RESULT_VOID = 1,
    CQL_RESULT_ROWS = 2,
    CQL_RESULT_SET_KEYSPACE = 3,
    CQL_RESULT_PREPARED = 4,
    CQL_RESULT_SCHEMA_CHANGE = 5,
};
struct cql_column {
    mr_str keyspace, table, name;
    const struct cql_type *type;
};
struct cql_metadata {
    uint32_t flags; /* as read; the writer works them out, except NO_METADATA */
    uint32_t column_count;
    const struct cql_column *columns; /* NULL with NO_METADATA */
    struct cql_value paging_state;    /* length < 0: the last page */
    uint16_t key_count;               /* of a prepared statement's variables: partition key */
    const uint16_t *key_indices;
};
/* `prepared`: the metadata of bound variables, which carries key indices. */
void cql_metadata_write(struct mr_buf *out, const struct cql_metadata *metadata, bool prepared);
void cql_metadata_read(struct mr_in *in, struct mr_arena *arena, bool prepared,
                       struct cql_metadata *out);

/* ---- query parameters (section 4.1.4) ---- */
enum cql_query_flag {
    CQL_QUERY_VALUES = 0x01,
    CQL_QUERY_SKIP_METADATA = 0x02,
    CQL_QUERY_PAGE_SIZE = 0x04,
    CQL_QUERY_PAGING_STATE = 0x08,
    CQL_QUERY_SERIAL_CONSISTENCY = 0x10,
    CQL_QUERY_TIMESTAMP = 0x20,
    CQL_QUERY_NAMES = 0x40,
};
struct cql_query {
    uint16_t consistency;
    uint8_t flags; /* the writer uses them as given */
    uint16_t value_count;
    const struct cql_value *values;
    const mr_str *names; /* NULL unless CQL_QUERY_NAMES */
    int32_t page_size;   /* 0 when not given */
    struct cql_value paging_state;
    uint16_t serial_consistency;
    int64_t timestamp_us;
};
void cql_query_read(struct mr_in *in, struct mr_arena *arena, struct cql_query *out);
void cql_query_write(struct mr_buf *out, const struct cql_query *query);

enum cql_batch_type { CQL_BATCH_LOGGED = 0, CQL_BATCH_UNLOGGED = 1, CQL_BATCH_COUNTER = 2 };

#endif
