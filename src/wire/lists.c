/* wire/lists.c: the types that hold others: lists of plain values, lists of structs, a struct in
 * its place. Hides how a count lies on the wire. A count is believed only as far as the bytes left
 * could carry so many items, and a message has at most MR_LIMIT_WIRE_ITEMS of them, before memory
 * is taken. */
#include "wire/wire.h"

static size_t item_bytes(const struct wire_field *field)
{
    return field->row != NULL ? field->row()->bytes : field->item->bytes;
}

static size_t item_bytes_min(const struct wire_field *field, int16_t version, bool flexible)
{
    if (field->row != NULL)
        return wire_bytes_min(field->row(), version, flexible);
    return flexible ? field->item->bytes_min_flexible : field->item->bytes_min;
}

/* A plain value's type gets a field of its own: the list's fallback is not the items'. */
static struct wire_field item_field(const struct wire_field *field)
{
    return (struct wire_field){.name = field->name, .type = field->item, .tag = WIRE_UNTAGGED};
}

/* -1: null. Any other count fits into what is left. */
static int32_t count_read(struct wire_in *in, const struct wire_field *field, bool nullable)
{
    int64_t count = 0;
    if (in->flexible) {
        uint64_t plus = mr_in_uvarint(&in->in);
        count = plus > (uint64_t)INT32_MAX ? INT64_MAX : (int64_t)plus - 1;
    } else {
        count = (int32_t)mr_in_be32(&in->in);
    }
    if (in->in.err != MR_OK)
        return 0;
    if (count == -1 && nullable)
        return -1;
    size_t least = item_bytes_min(field, in->version, in->flexible);
    mr_assert(least > 0);
    if (count < 0 || (uint64_t)count > mr_in_left(&in->in) / least ||
        (uint64_t)count > in->items_left) {
        mr_in_fail(&in->in);
        return 0;
    }
    in->items_left -= (uint32_t)count;
    return (int32_t)count;
}

static void items_read(struct wire_in *in, const struct wire_field *field, struct wire_array *array,
                       bool nullable)
{
    size_t step = item_bytes(field);
    array->items = NULL;
    array->count = count_read(in, field, nullable);
    if (array->count <= 0)
        return;
    array->items = mr_arena_alloc_zero(in->arena, mr_size_product((size_t)array->count, step));
    struct wire_field item = item_field(field);
    char *at = array->items;
    for (int32_t i = 0; i < array->count && in->in.err == MR_OK; i++, at += step) {
        if (field->row != NULL)
            wire_read(in, field->row(), at);
        else
            field->item->read(in, &item, at);
    }
    if (in->in.err != MR_OK)
        *array = (struct wire_array){NULL, 0};
}

static void items_write(struct wire_out *out, const struct wire_field *field,
                        const struct wire_array *array, bool nullable)
{
    int32_t count = array->count < 0 && !nullable ? 0 : array->count;
    if (out->flexible)
        mr_buf_uvarint(out->buf, (uint64_t)((int64_t)count + 1));
    else
        mr_buf_be32(out->buf, (uint32_t)count);
    size_t step = item_bytes(field);
    struct wire_field item = item_field(field);
    const char *at = array->items;
    for (int32_t i = 0; i < count; i++, at += step) {
        if (field->row != NULL)
            wire_write(out, field->row(), at);
        else
            field->item->write(out, &item, at);
    }
}

static void array_print(struct mr_buf *out, const struct wire_field *field, const void *from,
                        int16_t version)
{
    const struct wire_array *array = from;
    if (array->count < 0) {
        mr_buf_cstr(out, "null");
        return;
    }
    size_t step = item_bytes(field);
    struct wire_field item = item_field(field);
    const char *at = array->items;
    mr_buf_u8(out, '[');
    for (int32_t i = 0; i < array->count; i++, at += step) {
        if (i > 0)
            mr_buf_u8(out, ',');
        if (field->row != NULL)
            wire_print(out, field->row(), at, version);
        else
            field->item->print(out, &item, at, version);
    }
    mr_buf_u8(out, ']');
}

static bool array_equal(const struct wire_field *field, const void *a, const void *b)
{
    const struct wire_array *left = a, *right = b;
    if (left->count != right->count)
        return false;
    size_t step = item_bytes(field);
    struct wire_field item = item_field(field);
    for (int32_t i = 0; i < left->count; i++) {
        const char *l = (const char *)left->items + (size_t)i * step;
        const char *r = (const char *)right->items + (size_t)i * step;
        bool same = field->row != NULL ? wire_equal(field->row(), l, r)
                                       : field->item->equal(&item, l, r);
        if (!same)
            return false;
    }
    return true;
}

static void items_invent(struct mr_random *random, struct mr_arena *arena,
                         const struct wire_field *field, int16_t version, struct wire_array *array,
                         bool nullable)
{
    *array = (struct wire_array){NULL, 0};
    if (nullable && mr_random_below(random, 4) == 0) {
        array->count = -1;
        return;
    }
    array->count = (int32_t)mr_random_below(random, 4);
    if (array->count == 0)
        return;
    size_t step = item_bytes(field);
    struct wire_field item = item_field(field);
    array->items = mr_arena_alloc_zero(arena, mr_size_product((size_t)array->count, step));
    char *at = array->items;
    for (int32_t i = 0; i < array->count; i++, at += step) {
        if (field->row != NULL)
            wire_invent(random, arena, field->row(), version, at);
        else
            field->item->invent(random, arena, &item, version, at);
    }
}

/* ---- lists that are always there ---- */

static void array_read(struct wire_in *in, const struct wire_field *field, void *into)
{
    items_read(in, field, into, false);
}
static void array_write(struct wire_out *out, const struct wire_field *field, const void *from)
{
    items_write(out, field, from, false);
}
static void array_invent(struct mr_random *random, struct mr_arena *arena,
                         const struct wire_field *field, int16_t version, void *into)
{
    items_invent(random, arena, field, version, into, false);
}
static void array_reset(const struct wire_field *field, void *into)
{
    (void)field;
    *(struct wire_array *)into = (struct wire_array){NULL, 0};
}
static bool array_is_default(const struct wire_field *field, const void *from)
{
    (void)field;
    return ((const struct wire_array *)from)->count <= 0;
}

/* ---- lists that may be null; in a version without them they are empty, as Kafka has it ---- */

static void narray_read(struct wire_in *in, const struct wire_field *field, void *into)
{
    items_read(in, field, into, true);
}
static void narray_write(struct wire_out *out, const struct wire_field *field, const void *from)
{
    items_write(out, field, from, true);
}
static void narray_invent(struct mr_random *random, struct mr_arena *arena,
                          const struct wire_field *field, int16_t version, void *into)
{
    items_invent(random, arena, field, version, into, true);
}
static bool narray_is_default(const struct wire_field *field, const void *from)
{
    (void)field;
    return ((const struct wire_array *)from)->count == 0;
}

#define WIRE_LISTS(word, plain)                        \
    const struct wire_type wire_type_##word##array = { \
        plain "array",                                 \
        sizeof(struct wire_array),                     \
        4,                                             \
        1,                                             \
        word##array_read,                              \
        word##array_write,                             \
        array_print,                                   \
        array_equal,                                   \
        word##array_invent,                            \
        array_reset,                                   \
        word##array_is_default,                        \
    };                                                 \
    const struct wire_type wire_type_##word##list = {  \
        plain "list",                                  \
        sizeof(struct wire_array),                     \
        4,                                             \
        1,                                             \
        word##array_read,                              \
        word##array_write,                             \
        array_print,                                   \
        array_equal,                                   \
        word##array_invent,                            \
        array_reset,                                   \
        word##array_is_default,                        \
    };
WIRE_LISTS(, "")
WIRE_LISTS(n, "nullable ")
#undef WIRE_LISTS

/* ---- a struct in its place ---- */

static void struct_read(struct wire_in *in, const struct wire_field *field, void *into)
{
    wire_read(in, field->row(), into);
}
static void struct_write(struct wire_out *out, const struct wire_field *field, const void *from)
{
    wire_write(out, field->row(), from);
}
static void struct_print(struct mr_buf *out, const struct wire_field *field, const void *from,
                         int16_t version)
{
    wire_print(out, field->row(), from, version);
}
static bool struct_equal(const struct wire_field *field, const void *a, const void *b)
{
    return wire_equal(field->row(), a, b);
}
static void struct_invent(struct mr_random *random, struct mr_arena *arena,
                          const struct wire_field *field, int16_t version, void *into)
{
    wire_invent(random, arena, field->row(), version, into);
}
static void struct_reset(const struct wire_field *field, void *into)
{
    wire_reset(field->row(), into);
}
static bool struct_is_default(const struct wire_field *field, const void *from)
{
    return wire_is_default(field->row(), from);
}
const struct wire_type wire_type_struct = {
    "struct",
    0,
    0,
    0,
    struct_read,
    struct_write,
    struct_print,
    struct_equal,
    struct_invent,
    struct_reset,
    struct_is_default,
};

/* ---- a struct that may be absent: one byte says so (1, or -1 for null), in every version ---- */

static void nstruct_read(struct wire_in *in, const struct wire_field *field, void *into)
{
    int8_t mark = (int8_t)mr_in_u8(&in->in);
    void *row = NULL;

    if (mark >= 0 && in->in.err == MR_OK) {
        row = mr_arena_alloc_zero(in->arena, field->row()->bytes);
        wire_read(in, field->row(), row);
    }
    *(void **)into = row;
}
static void nstruct_write(struct wire_out *out, const struct wire_field *field, const void *from)
{
    const void *row = *(void *const *)from;
    mr_buf_u8(out->buf, row == NULL ? UINT8_MAX : 1);
    if (row != NULL)
        wire_write(out, field->row(), row);
}
static void nstruct_print(struct mr_buf *out, const struct wire_field *field, const void *from,
                          int16_t version)
{
    const void *row = *(void *const *)from;
    if (row == NULL)
        mr_buf_cstr(out, "null");
    else
        wire_print(out, field->row(), row, version);
}
static bool nstruct_equal(const struct wire_field *field, const void *a, const void *b)
{
    const void *left = *(void *const *)a, *right = *(void *const *)b;
    if (left == NULL || right == NULL)
        return left == right;
    return wire_equal(field->row(), left, right);
}
static void nstruct_invent(struct mr_random *random, struct mr_arena *arena,
                           const struct wire_field *field, int16_t version, void *into)
{
    void *row = NULL;
    if (mr_random_below(random, 4) != 0) {
        row = mr_arena_alloc_zero(arena, field->row()->bytes);
        wire_invent(random, arena, field->row(), version, row);
    }
    *(void **)into = row;
}
static void nstruct_reset(const struct wire_field *field, void *into)
{
    (void)field;
    *(void **)into = NULL;
}
static bool nstruct_is_default(const struct wire_field *field, const void *from)
{
    (void)field;
    return *(void *const *)from == NULL;
}
const struct wire_type wire_type_nstruct = {
    "nullable struct",
    sizeof(void *),
    1,
    1,
    nstruct_read,
    nstruct_write,
    nstruct_print,
    nstruct_equal,
    nstruct_invent,
    nstruct_reset,
    nstruct_is_default,
};
