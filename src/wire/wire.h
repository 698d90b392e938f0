/* wire/wire.h: shapes of messages, and the walkers that turn a shape into bytes, text and noise.
 *
 * A message is a plain C struct and a shape: its fields in wire order, each with a type (a constant
 * struct of functions), its place in the struct and the versions that have it. A table (.def) makes
 * both from the same rows. A reader gives views into the bytes it read, arrays in an arena, and
 * defaults to the fields that the version lacks; nothing is copied, nothing is freed one by one.
 *
 * Encodings are Kafka's: big endian; "classic" versions have 16- and 32-bit lengths, "flexible"
 * ones (KIP-482) unsigned varints of length + 1 and tagged fields behind every struct. */
#ifndef WIRE_WIRE_H
#define WIRE_WIRE_H

#include "base/base.h"

/* ---- values, as they lie in a message's struct ---- */
typedef int8_t wire_i8;
typedef int16_t wire_i16;
typedef int32_t wire_i32;
typedef int64_t wire_i64;
typedef uint16_t wire_u16;
typedef uint32_t wire_u32;
typedef double wire_f64;
typedef bool wire_bool;
typedef mr_uuid wire_uuid;
typedef mr_str wire_string;    /* {NULL, 0} is written as "" */
typedef mr_str wire_nstring;   /* data NULL: null */
typedef mr_str wire_nstring16; /* nullable, and with a 16-bit length in flexible versions too */
typedef mr_str wire_bytes;     /* {NULL, 0} is written as no bytes */
typedef mr_str wire_nbytes;    /* data NULL: null */

/* A piece of payload that is sent from where it lies. `owner` NULL: it outlives the sending
 * anyhow. */
struct wire_ref {
    struct mr_bytes *owner;
    const uint8_t *data;
    size_t length;
};
/* Payload that a shape frames and never visits; nullable. Read: `bytes` is a view (data NULL:
 * null). Written: `refs` in their order when ref_count > 0, else `bytes`, by reference when
 * `owner` is set and as a copy otherwise. */
typedef struct wire_records {
    mr_str bytes;
    struct mr_bytes *owner;
    const struct wire_ref *refs;
    uint32_t ref_count;
} wire_records;

/* Every list has this layout: struct { T *items; int32_t count; }; count -1 is null. */
struct wire_array {
    void *items;
    int32_t count;
};
#define WIRE_ARRAY(type) \
    struct {             \
        type *items;     \
        int32_t count;   \
    }

/* ---- shapes ---- */
enum {
    WIRE_ANY = 32767,   /* `until`: no last version */
    WIRE_NEVER = 32767, /* `first flexible`: none */
    WIRE_UNTAGGED = -1,
};
struct wire_type;
struct wire_shape;
struct wire_field {
    const char *name; /* NULL ends the list */
    const struct wire_type *type;
    size_t offset;
    int16_t since, until;                  /* versions that have it, inclusive */
    int16_t tag;                           /* WIRE_UNTAGGED: in its place by order */
    int64_t fallback;                      /* value of a number in versions without it */
    const struct wire_type *item;          /* of a list of plain values, else NULL */
    const struct wire_shape *(*row)(void); /* of a list of structs, or of a struct, else NULL */
    const char *about;
};
struct wire_shape {
    const char *name;
    size_t bytes; /* of the C struct */
    const struct wire_field *fields;
};

/* ---- reading ---- */
struct wire_in {
    struct mr_in in;        /* sticky: in.err is MR_CORRUPT once something did not fit */
    struct mr_arena *arena; /* arrays go here */
    int16_t version;
    bool flexible;
    uint32_t items_left; /* array items that one message may still have */
    const char *failed;  /* name of the innermost field that did not fit, or NULL */
};
/* `bytes` and `arena` outlive the message that is read. */
struct wire_in wire_in_of(mr_str bytes, struct mr_arena *arena, int16_t version, bool flexible);
/* Reads one struct of this shape; fields that the version lacks get their defaults. Unknown tagged
 * fields are skipped. Every count is checked against the bytes left before memory is taken. */
void wire_read(struct wire_in *in, const struct wire_shape *shape, void *into);
/* MR_OK, or MR_CORRUPT with a sentence that names the shape, the field and the version. */
mr_err wire_in_finish(const struct wire_in *in, const struct wire_shape *shape);

/* ---- writing ---- */
struct wire_splice {
    size_t at; /* the reference comes before this byte of `buf` */
    struct wire_ref ref;
};
struct wire_out {
    struct mr_buf *buf; /* sticky: buf->err */
    int16_t version;
    bool flexible;
    MR_ARRAY(struct wire_splice) splices; /* payload by reference, by rising `at` */
    size_t splice_bytes; /* sum of their lengths: message bytes = buf bytes + this */
};
/* Writes behind what `buf` has. wire_out_fini() frees the splice list, not the owners: who sends
 * the bytes takes its own references first. */
struct wire_out wire_out_of(struct mr_buf *buf, int16_t version, bool flexible);
void wire_out_fini(struct wire_out *out);
void wire_write(struct wire_out *out, const struct wire_shape *shape, const void *from);

/* ---- the other walkers ---- */
/* Every field (absent in a version or not) gets its default: 0, "", null, no items, or `fallback`.
 */
void wire_reset(const struct wire_shape *shape, void *into);
/* JSON, the fields of this version in wire order; bytes as hex, payload as its length. */
void wire_print(struct mr_buf *out, const struct wire_shape *shape, const void *from,
                int16_t version);
/* Field by field, payload byte by byte. */
bool wire_equal(const struct wire_shape *shape, const void *a, const void *b);
/* A random message that this version can carry: for round trips and fuzz seeds. */
void wire_invent(struct mr_random *random, struct mr_arena *arena, const struct wire_shape *shape,
                 int16_t version, void *into);
/* Whether every field has its default: such a tagged struct is not sent. */
bool wire_is_default(const struct wire_shape *shape, const void *from);
/* One line a field, indented by depth: "name type versions 3-8: about", for the documentation. */
void wire_describe(struct mr_buf *out, const struct wire_shape *shape, int depth);
/* Fewest bytes that one struct of this shape takes; bounds counts. */
size_t wire_bytes_min(const struct wire_shape *shape, int16_t version, bool flexible);

/* ---- types: one constant each; a room may add its own ---- */
struct wire_type {
    const char *name;
    size_t bytes;                          /* of the C value */
    uint8_t bytes_min, bytes_min_flexible; /* on the wire; 0: a struct, ask its shape */
    void (*read)(struct wire_in *in, const struct wire_field *field, void *into);
    void (*write)(struct wire_out *out, const struct wire_field *field, const void *from);
    void (*print)(struct mr_buf *out, const struct wire_field *field, const void *from,
                  int16_t version);
    bool (*equal)(const struct wire_field *field, const void *a, const void *b);
    void (*invent)(struct mr_random *random, struct mr_arena *arena, const struct wire_field *field,
                   int16_t version, void *into);
    void (*reset)(const struct wire_field *field, void *into);
    bool (*is_default)(const struct wire_field *field, const void *from);
};
extern const struct wire_type wire_type_i8, wire_type_i16, wire_type_i32, wire_type_i64,
    wire_type_u16, wire_type_u32, wire_type_f64, wire_type_bool, wire_type_uuid, wire_type_string,
    wire_type_nstring, wire_type_nstring16, wire_type_bytes, wire_type_nbytes, wire_type_records;
/* Lists: of structs (`row`) and of plain values (`item`); n: nullable. A struct in its place; a
 * nullable one is a pointer into the arena. */
extern const struct wire_type wire_type_array, wire_type_narray, wire_type_list, wire_type_nlist,
    wire_type_struct, wire_type_nstruct;

#endif
