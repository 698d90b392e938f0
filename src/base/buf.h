/* base/buf.h: growing output (mr_buf) and bounded input (mr_in), both sticky: after the first error
 * they do nothing more, so a codec is written straight through and looks at `err` once, at the end. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/memory.h"
#include "base/str.h"

/* ---- output ---- */
struct mr_buf {
    uint8_t *data;
    size_t length, capacity;
    size_t limit;               /* 0: none. Passing it sets err = MR_LIMIT */
    mr_err err;
};
void mr_buf_init(struct mr_buf *buf);                 /* `struct mr_buf b = {0};` is the same */
void mr_buf_fini(struct mr_buf *buf);
void mr_buf_clear(struct mr_buf *buf);                /* length 0, err MR_OK, memory kept */
uint8_t *mr_buf_grow(struct mr_buf *buf, size_t bytes);   /* adds room, returns it; NULL after an error */
void mr_buf_reserve(struct mr_buf *buf, size_t bytes);    /* capacity for so many more; length as it was */
void mr_buf_add(struct mr_buf *buf, const void *data, size_t length);
void mr_buf_str(struct mr_buf *buf, mr_str text);
void mr_buf_cstr(struct mr_buf *buf, const char *text);
void mr_buf_printf(struct mr_buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
void mr_buf_u8(struct mr_buf *buf, uint8_t value);
void mr_buf_be16(struct mr_buf *buf, uint16_t value);
void mr_buf_be32(struct mr_buf *buf, uint32_t value);
void mr_buf_be64(struct mr_buf *buf, uint64_t value);
void mr_buf_le16(struct mr_buf *buf, uint16_t value);
void mr_buf_le32(struct mr_buf *buf, uint32_t value);
void mr_buf_le64(struct mr_buf *buf, uint64_t value);
void mr_buf_uvarint(struct mr_buf *buf, uint64_t value);     /* LEB128, unsigned */
void mr_buf_varint(struct mr_buf *buf, int64_t value);       /* zigzag, then LEB128 (Kafka, Avro) */
void mr_buf_json(struct mr_buf *buf, mr_str text);           /* "quoted" by RFC 8259; bad UTF-8 as U+FFFD */
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
    mr_err err;                 /* MR_CORRUPT once something did not fit; then every read gives 0 */
};
static inline struct mr_in mr_in_of(const void *data, size_t length)
{
    return (struct mr_in){(const uint8_t *)data, (const uint8_t *)data + length, MR_OK};
}
static inline struct mr_in mr_in_str(mr_str text)
{
    return mr_in_of(text.data, text.length);
}
static inline size_t mr_in_left(const struct mr_in *in)
{
    return (size_t)(in->end - in->at);
}
void mr_in_fail(struct mr_in *in);                            /* sets err, moves to the end */
uint8_t mr_in_u8(struct mr_in *in);
uint16_t mr_in_be16(struct mr_in *in);
uint32_t mr_in_be32(struct mr_in *in);
uint64_t mr_in_be64(struct mr_in *in);
uint16_t mr_in_le16(struct mr_in *in);
uint32_t mr_in_le32(struct mr_in *in);
uint64_t mr_in_le64(struct mr_in *in);
uint64_t mr_in_uvarint(struct mr_in *in);                     /* at most 10 bytes */
int64_t mr_in_varint(struct mr_in *in);                       /* zigzag */
mr_str mr_in_take(struct mr_in *in, size_t length);           /* a view; {NULL,0} when too short */

#endif
