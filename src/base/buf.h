/* base/buf.h: growing output (mr_buf) and bounded input (mr_in), both sticky: after the first error
 * they do nothing more, so a codec is written straight through and looks at `err` once, at the end. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <endian.h>

#include "base/memory.h"
#include "base/str.h"

/* ---- output ---- */
struct mr_buf {
    uint8_t *data;
    size_t length, capacity;
    size_t limit; /* 0: none. Passing it sets err = MR_LIMIT */
    mr_err err;
};
void mr_buf_init(struct mr_buf *buf); /* `struct mr_buf b = {0};` is the same */
void mr_buf_fini(struct mr_buf *buf);
void mr_buf_clear(struct mr_buf *buf);                       /* length 0, err MR_OK, memory kept */
uint8_t *mr_buf_grow_slow(struct mr_buf *buf, size_t bytes); /* mr_buf_grow()'s other half */
/* Adds room and returns it; NULL after an error. A limit is set before the first byte. */
static inline uint8_t *mr_buf_grow(struct mr_buf *buf, size_t bytes)
{
    if (__builtin_expect(bytes - 1 >= buf->capacity - buf->length || buf->err != MR_OK, 0))
        return mr_buf_grow_slow(buf, bytes); /* 0 bytes wraps round: slow */
    buf->length += bytes;
    return buf->data + buf->length - bytes;
}
void mr_buf_reserve(struct mr_buf *buf,
                    size_t bytes); /* capacity for so many more; length as it was */
static inline void mr_buf_add(struct mr_buf *buf, const void *data, size_t length)
{
    uint8_t *room = length == 0 ? NULL : mr_buf_grow(buf, length);
    if (room != NULL)
        memcpy(room, data, length);
}
static inline void mr_buf_str(struct mr_buf *buf, mr_str text)
{
    mr_buf_add(buf, text.data, text.length);
}
void mr_buf_cstr(struct mr_buf *buf, const char *text);
void mr_buf_printf(struct mr_buf *buf, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static inline void mr_buf_u8(struct mr_buf *buf, uint8_t value)
{
    uint8_t *room = mr_buf_grow(buf, 1);
    if (room != NULL)
        *room = value;
}
#define MR_BUF_FIXED(name, type, order)                              \
    static inline void mr_buf_##name(struct mr_buf *buf, type value) \
    {                                                                \
        type ordered = order(value);                                 \
        mr_buf_add(buf, &ordered, sizeof ordered);                   \
    }
MR_BUF_FIXED(be16, uint16_t, htobe16)
MR_BUF_FIXED(be32, uint32_t, htobe32)
MR_BUF_FIXED(be64, uint64_t, htobe64)
MR_BUF_FIXED(le16, uint16_t, htole16)
MR_BUF_FIXED(le32, uint32_t, htole32)
MR_BUF_FIXED(le64, uint64_t, htole64)
#undef MR_BUF_FIXED
static inline void mr_buf_uvarint(struct mr_buf *buf, uint64_t value) /* LEB128, unsigned */
{
    uint8_t bytes[10];
    size_t length = 0;
    for (; value >= 0x80; value >>= 7)
        bytes[length++] = (uint8_t)(value | 0x80);
    bytes[length++] = (uint8_t)value;
    mr_buf_add(buf, bytes, length);
}
static inline void mr_buf_varint(struct mr_buf *buf,
                                 int64_t value) /* zigzag, then LEB128 (Kafka, Avro) */
{
    mr_buf_uvarint(buf, (uint64_t)value << 1 ^ (uint64_t)(value >> 63));
}
void mr_buf_json(struct mr_buf *buf, mr_str text); /* "quoted" by RFC 8259; bad UTF-8 as U+FFFD */
/* Overwrites 4 bytes already written, big endian: lengths known only afterwards. */
void mr_buf_patch_be32(struct mr_buf *buf, size_t at, uint32_t value);
static inline mr_str mr_buf_as_str(const struct mr_buf *buf)
{
    return (mr_str){(const char *)buf->data, buf->length};
}
/* NUL-ended text of what is there, memory moved to the caller (mr_free); the buffer is empty then. */
char *mr_buf_take_cstr(struct mr_buf *buf);

/* ---- input ---- */
struct mr_in {
    const uint8_t *at, *end;
    mr_err err; /* MR_CORRUPT once something did not fit; then every read gives 0 */
};
static inline struct mr_in mr_in_of(const void *data, size_t length)
{
    const uint8_t *bytes = data;
    return (struct mr_in){bytes, length == 0 ? bytes : bytes + length, MR_OK};
}
static inline struct mr_in mr_in_str(mr_str text)
{
    return mr_in_of(text.data, text.length);
}
static inline size_t mr_in_left(const struct mr_in *in)
{
    return (size_t)(in->end - in->at);
}
void mr_in_fail(struct mr_in *in); /* sets err, moves to the end */
static inline mr_str mr_in_take(struct mr_in *in,
                                size_t length) /* a view; {NULL,0} when too short */
{
    if (__builtin_expect(length > mr_in_left(in), 0)) {
        mr_in_fail(in);
        return MR_STR_NULL;
    }
    in->at += length;
    return (mr_str){(const char *)in->at - length, length};
}
#define MR_IN_FIXED(name, type, order)                            \
    static inline type mr_in_##name(struct mr_in *in)             \
    {                                                             \
        type value = 0;                                           \
        if (__builtin_expect(mr_in_left(in) < sizeof value, 0)) { \
            mr_in_fail(in);                                       \
            return 0;                                             \
        }                                                         \
        memcpy(&value, in->at, sizeof value);                     \
        in->at += sizeof value;                                   \
        return order(value);                                      \
    }
MR_IN_FIXED(u8, uint8_t, )
MR_IN_FIXED(be16, uint16_t, be16toh)
MR_IN_FIXED(be32, uint32_t, be32toh)
MR_IN_FIXED(be64, uint64_t, be64toh)
MR_IN_FIXED(le16, uint16_t, le16toh)
MR_IN_FIXED(le32, uint32_t, le32toh)
MR_IN_FIXED(le64, uint64_t, le64toh)
#undef MR_IN_FIXED
uint64_t mr_in_uvarint_slow(struct mr_in *in);
static inline uint64_t mr_in_uvarint(struct mr_in *in) /* at most 10 bytes */
{
    if (in->at < in->end && *in->at < 0x80)
        return *in->at++;
    return mr_in_uvarint_slow(in);
}
static inline int64_t mr_in_varint(struct mr_in *in) /* zigzag */
{
    uint64_t value = mr_in_uvarint(in);
    return (int64_t)(value >> 1 ^ (0 - (value & 1)));
}

#endif
