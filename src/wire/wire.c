/* wire/wire.c: the walkers. Each goes through a shape's fields in wire order and lets the field's
 * type do the work; only tagged fields, which come behind the others, are known here. */
#include "wire/wire.h"

enum { WIRE_TAG_BYTES_MAX = 10 };

static bool has(const struct wire_field *field, int16_t version)
{
    return field->since <= version && version <= field->until;
}

/* ---- read ---- */

struct wire_in wire_in_of(mr_str bytes, struct mr_arena *arena, int16_t version, bool flexible)
{
    return (struct wire_in){.in = mr_in_str(bytes),
                            .arena = arena,
                            .version = version,
                            .flexible = flexible,
                            .items_left = MR_LIMIT_WIRE_ITEMS};
}

static const struct wire_field *tag_find(const struct wire_shape *shape, uint64_t tag,
                                         int16_t version)
{
    for (const struct wire_field *field = shape->fields; field->name != NULL; field++) {
        if (field->tag != WIRE_UNTAGGED && (uint64_t)field->tag == tag && has(field, version))
            return field;
    }
    return NULL;
}

/* KIP-482: a count, then tag, size and value of each. A field reads inside of its own size only. */
static void tags_read(struct wire_in *in, const struct wire_shape *shape, void *into)
{
    uint64_t count = mr_in_uvarint(&in->in);
    for (uint64_t i = 0; i < count && in->in.err == MR_OK; i++) {
        uint64_t tag = mr_in_uvarint(&in->in);
        uint64_t bytes = mr_in_uvarint(&in->in);
        if (in->in.err != MR_OK || bytes > mr_in_left(&in->in)) {
            mr_in_fail(&in->in);
            return;
        }
        const struct wire_field *field = tag_find(shape, tag, in->version);
        const uint8_t *end = in->in.end, *behind = in->in.at + bytes;
        if (field != NULL) {
            in->in.end = behind;
            field->type->read(in, field, (char *)into + field->offset);
            in->in.end = end;
            if (in->in.err != MR_OK) {
                in->failed = in->failed == NULL ? field->name : in->failed;
                mr_in_fail(&in->in);
                return;
            }
        }
        in->in.at = behind;
    }
}

void wire_read(struct wire_in *in, const struct wire_shape *shape, void *into)
{
    for (const struct wire_field *field = shape->fields; field->name != NULL; field++) {
        void *value = (char *)into + field->offset;
        if (field->tag != WIRE_UNTAGGED || !has(field, in->version) || in->in.err != MR_OK) {
            field->type->reset(field, value);
            continue;
        }
        field->type->read(in, field, value);
        if (in->in.err != MR_OK && in->failed == NULL)
            in->failed = field->name;
    }
    if (in->flexible)
        tags_read(in, shape, into);
}

mr_err wire_in_finish(const struct wire_in *in, const struct wire_shape *shape)
{
    if (in->in.err == MR_OK)
        return MR_OK;
    return mr_fail(MR_CORRUPT, "%s version %d: the bytes end inside or contradict field %s",
                   shape->name, in->version, in->failed == NULL ? "(tags)" : in->failed);
}

/* ---- write ---- */

struct wire_out wire_out_of(struct mr_buf *buf, int16_t version, bool flexible)
{
    return (struct wire_out){.buf = buf, .version = version, .flexible = flexible};
}

void wire_out_fini(struct wire_out *out)
{
    mr_array_fini(&out->splices);
    out->splice_bytes = 0;
}

static bool tag_is_sent(const struct wire_out *out, const struct wire_field *field,
                        const void *from)
{
    return field->tag != WIRE_UNTAGGED && has(field, out->version) &&
           !field->type->is_default(field, (const char *)from + field->offset);
}

/* The size stands before the value: the value is written first and moved behind its size. */
static void tag_write(struct wire_out *out, const struct wire_field *field, const void *from)
{
    struct mr_buf *buf = out->buf;
    mr_buf_uvarint(buf, (uint64_t)field->tag);
    size_t start = buf->length, splices = out->splices.count;
    field->type->write(out, field, (const char *)from + field->offset);
    mr_assert(out->splices.count == splices); /* no table has payload behind a tag */
    size_t bytes = buf->length - start;
    mr_buf_uvarint(buf, bytes);
    if (buf->err != MR_OK)
        return;
    uint8_t size[WIRE_TAG_BYTES_MAX];
    size_t size_bytes = buf->length - start - bytes;
    mr_assert(size_bytes <= sizeof size);
    memcpy(size, buf->data + start + bytes, size_bytes);
    memmove(buf->data + start + size_bytes, buf->data + start, bytes);
    memcpy(buf->data + start, size, size_bytes);
}

static void tags_write(struct wire_out *out, const struct wire_shape *shape, const void *from)
{
    uint64_t count = 0;
    for (const struct wire_field *field = shape->fields; field->name != NULL; field++)
        count += tag_is_sent(out, field, from) ? 1 : 0;
    mr_buf_uvarint(out->buf, count);
    for (const struct wire_field *field = shape->fields; count > 0 && field->name != NULL;
         field++) {
        if (tag_is_sent(out, field, from))
            tag_write(out, field, from);
    }
}

void wire_write(struct wire_out *out, const struct wire_shape *shape, const void *from)
{
    for (const struct wire_field *field = shape->fields; field->name != NULL; field++) {
        if (field->tag == WIRE_UNTAGGED && has(field, out->version))
            field->type->write(out, field, (const char *)from + field->offset);
    }
    if (out->flexible)
        tags_write(out, shape, from);
}

/* ---- the others ---- */

void wire_reset(const struct wire_shape *shape, void *into)
{
    for (const struct wire_field *field = shape->fields; field->name != NULL; field++)
        field->type->reset(field, (char *)into + field->offset);
}

void wire_print(struct mr_buf *out, const struct wire_shape *shape, const void *from,
                int16_t version)
{
    const char *comma = "";
    mr_buf_u8(out, '{');
    for (const struct wire_field *field = shape->fields; field->name != NULL; field++) {
        if (!has(field, version))
            continue;
        mr_buf_printf(out, "%s\"%s\":", comma, field->name);
        field->type->print(out, field, (const char *)from + field->offset, version);
        comma = ",";
    }
    mr_buf_u8(out, '}');
}

bool wire_equal(const struct wire_shape *shape, const void *a, const void *b)
{
    for (const struct wire_field *field = shape->fields; field->name != NULL; field++) {
        if (!field->type->equal(field, (const char *)a + field->offset,
                                (const char *)b + field->offset))
            return false;
    }
    return true;
}

void wire_invent(struct mr_random *random, struct mr_arena *arena, const struct wire_shape *shape,
                 int16_t version, void *into)
{
    for (const struct wire_field *field = shape->fields; field->name != NULL; field++) {
        void *value = (char *)into + field->offset;
        if (has(field, version))
            field->type->invent(random, arena, field, version, value);
        else
            field->type->reset(field, value);
    }
}

bool wire_is_default(const struct wire_shape *shape, const void *from)
{
    for (const struct wire_field *field = shape->fields; field->name != NULL; field++) {
        if (!field->type->is_default(field, (const char *)from + field->offset))
            return false;
    }
    return true;
}

void wire_describe(struct mr_buf *out, const struct wire_shape *shape, int depth)
{
    for (const struct wire_field *field = shape->fields; field->name != NULL; field++) {
        mr_buf_printf(out, "%*s%s %s%s%s", depth * 2, "", field->name, field->type->name,
                      field->item != NULL ? " of " : "",
                      field->item != NULL ? field->item->name : "");
        if (field->until == WIRE_ANY)
            mr_buf_printf(out, ", versions %d+", field->since);
        else
            mr_buf_printf(out, ", versions %d-%d", field->since, field->until);
        if (field->tag != WIRE_UNTAGGED)
            mr_buf_printf(out, ", tag %d", field->tag);
        mr_buf_printf(out, ": %s\n", field->about);
        if (field->row != NULL)
            wire_describe(out, field->row(), depth + 1);
    }
}

size_t wire_bytes_min(const struct wire_shape *shape, int16_t version, bool flexible)
{
    size_t bytes = flexible ? 1 : 0;
    for (const struct wire_field *field = shape->fields; field->name != NULL; field++) {
        if (field->tag != WIRE_UNTAGGED || !has(field, version))
            continue;
        if (field->type->bytes == 0)
            bytes += wire_bytes_min(field->row(), version, flexible);
        else
            bytes += flexible ? field->type->bytes_min_flexible : field->type->bytes_min;
    }
    return bytes;
}
