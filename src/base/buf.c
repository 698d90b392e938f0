/* base/buf.c: the slow halves of the growing output and the bounded input. A buffer's capacity never
 * passes its limit, so that the fast half need not look at the limit. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>

enum { FIRST_BYTES = 64 };

void mr_buf_init(struct mr_buf *buf)
{
    *buf = (struct mr_buf){0};
}

void mr_buf_fini(struct mr_buf *buf)
{
    mr_free(buf->data);
    *buf = (struct mr_buf){0};
}

void mr_buf_clear(struct mr_buf *buf)
{
    buf->length = 0;
    buf->err = MR_OK;
}

void mr_buf_reserve(struct mr_buf *buf, size_t bytes)
{
    size_t needed = 0;
    if (buf->err != MR_OK)
        return;
    if (__builtin_add_overflow(buf->length, bytes, &needed) ||
        (buf->limit != 0 && needed > buf->limit)) {
        buf->err = mr_fail(MR_LIMIT, "a buffer: at most %zu bytes, wanted %zu more after %zu",
                           buf->limit, bytes, buf->length);
        return;
    }
    if (needed <= buf->capacity && buf->data != NULL)
        return;
    size_t capacity = buf->capacity < FIRST_BYTES ? FIRST_BYTES : buf->capacity * 2;
    if (capacity < needed)
        capacity = needed;
    if (buf->limit != 0 && capacity > buf->limit)
        capacity = buf->limit;
    buf->data = mr_realloc(buf->data, capacity);
    buf->capacity = capacity;
}

uint8_t *mr_buf_grow_slow(struct mr_buf *buf, size_t bytes)
{
    mr_buf_reserve(buf, bytes);
    if (buf->err != MR_OK)
        return NULL;
    buf->length += bytes;
    return buf->data + buf->length - bytes;
}

void mr_buf_cstr(struct mr_buf *buf, const char *text)
{
    mr_buf_add(buf, text, strlen(text));
}

void mr_buf_printf(struct mr_buf *buf, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    int length = vsnprintf(text, sizeof text, format, args);
    mr_assert(length >= 0);
    if ((size_t)length < sizeof text) {
        mr_buf_add(buf, text, (size_t)length);
    } else { /* the NUL behind it is written and given back */
        uint8_t *room = mr_buf_grow(buf, (size_t)length + 1);
        if (room != NULL) {
            vsnprintf((char *)room, (size_t)length + 1, format, again);
            buf->length--;
        }
    }
    va_end(again);
    va_end(args);
}

void mr_buf_patch_be32(struct mr_buf *buf, size_t at, uint32_t value)
{
    if (buf->err != MR_OK)
        return;
    mr_assert(at <= buf->length && buf->length - at >= 4);
    value = htobe32(value);
    memcpy(buf->data + at, &value, 4);
}

char *mr_buf_take_cstr(struct mr_buf *buf)
{
    size_t limit = buf->limit;
    buf->err = MR_OK;
    buf->limit = 0;
    mr_buf_u8(buf, 0);
    char *text = (char *)buf->data;
    *buf = (struct mr_buf){.limit = limit};
    return text;
}

/* ---- JSON text ---- */

/* Adds what is special at `at`; returns the bytes used up. */
static size_t json_special(struct mr_buf *buf, mr_str text, size_t at)
{
    unsigned char c = (unsigned char)text.data[at];
    static const char shorts[] = "btnvfr"; /* 8 to 13 */
    if (c == '"' || c == '\\') {
        mr_buf_u8(buf, '\\');
        mr_buf_u8(buf, c);
    } else if (c >= 8 && c <= 13 && c != 11) {
        mr_buf_u8(buf, '\\');
        mr_buf_u8(buf, (uint8_t)shorts[c - 8]);
    } else if (c < 0x80) {
        mr_buf_printf(buf, "\\u%04x", c);
    } else {
        for (size_t length = 2; length <= 4; length++) {
            mr_str part = mr_str_slice(text, at, at + length);
            if (part.length == length && mr_str_is_utf8(part)) {
                mr_buf_str(buf, part);
                return length;
            }
        }
        mr_buf_cstr(buf, "\xEF\xBF\xBD");
    }
    return 1;
}

void mr_buf_json(struct mr_buf *buf, mr_str text)
{
    bool clean = mr_str_is_utf8(text);
    size_t from = 0, at = 0;
    mr_buf_u8(buf, '"');
    while (at < text.length) {
        unsigned char c = (unsigned char)text.data[at];
        if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7F && (clean || c < 0x80)) {
            at++;
            continue;
        }
        mr_buf_add(buf, text.data + from, at - from);
        at += json_special(buf, text, at);
        from = at;
    }
    if (at > from)
        mr_buf_add(buf, text.data + from, at - from);
    mr_buf_u8(buf, '"');
}

/* ---- input ---- */

void mr_in_fail(struct mr_in *in)
{
    if (in->err == MR_OK)
        in->err = MR_CORRUPT;
    in->at = in->end;
}

uint64_t mr_in_uvarint_slow(struct mr_in *in)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        uint8_t byte = mr_in_u8(in);
        if (in->err != MR_OK)
            return 0;
        if (shift == 63 && byte > 1) /* the 10th byte holds the 64th bit and no more */
            break;
        value |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80)
            return value;
    }
    mr_in_fail(in);
    return 0;
}
