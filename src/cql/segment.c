/* cql/segment.c: the segments of version 5 (native_protocol_v5.spec, section 2.2).
 *
 * Little endian, from the lowest bit:
 *   plain:  17 bits length, 1 bit whole, 6 bits 0          | CRC24 | payload | CRC32
 *   by lz4: 17 bits length, 17 bits plain length, 1, 5     | CRC24 | payload | CRC32
 * A plain length of 0 says that the payload of an lz4 segment was not worth packing. */
#include "cql/cql.h"

#include <lz4.h>
#include <zlib.h>

enum {
    LENGTH_BITS = 17,
    CRC24_BYTES = 3,
    CRC32_BYTES = 4,
    PLAIN_BYTES = 3, /* of the header, before its CRC */
    LZ4_BYTES = 5,
    CRC24_INIT = 0x875060,
    CRC24_POLYNOMIAL = 0x1974F0B,
};
static const uint64_t length_mask = (1U << LENGTH_BITS) - 1;

struct header {
    size_t length, plain; /* of the payload as it travels; unpacked, or 0 */
    bool whole;
};

static uint32_t crc24(uint64_t bits, size_t bytes)
{
    uint32_t crc = CRC24_INIT;
    for (size_t i = 0; i < bytes; i++, bits >>= 8) {
        crc ^= (uint32_t)(bits & 0xff) << 16;
        for (int k = 0; k < 8; k++) {
            crc <<= 1;
            if ((crc & 0x1000000) != 0)
                crc ^= CRC24_POLYNOMIAL;
        }
    }
    return crc;
}

static uint32_t payload_crc32(mr_str payload)
{
    static const uint8_t seed[] = {0xfa, 0x2d, 0x55, 0xca};
    uLong crc = crc32(crc32(0, NULL, 0), seed, sizeof seed);
    return (uint32_t)crc32(crc, (const Bytef *)payload.data, (uInt)payload.length);
}

static void put_le(uint8_t *at, uint64_t bits, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        at[i] = (uint8_t)(bits >> (8 * i));
}

static uint64_t get_le(const void *data, size_t bytes)
{
    const uint8_t *at = data;
    uint64_t bits = 0;
    for (size_t i = 0; i < bytes; i++)
        bits |= (uint64_t)at[i] << (8 * i);
    return bits;
}

/* ---- writing ---- */

static size_t header_bytes(bool lz4)
{
    return (lz4 ? LZ4_BYTES : PLAIN_BYTES) + CRC24_BYTES;
}

static void header_put(uint8_t *at, const struct header *header, bool lz4)
{
    size_t bytes = lz4 ? LZ4_BYTES : PLAIN_BYTES;
    unsigned whole_at = lz4 ? 2 * LENGTH_BITS : LENGTH_BITS;
    uint64_t bits = header->length | (uint64_t)header->whole << whole_at;
    if (lz4)
        bits |= (uint64_t)header->plain << LENGTH_BITS;
    put_le(at, bits, bytes);
    put_le(at + bytes, crc24(bits, bytes), CRC24_BYTES);
}

void cql_segment_write(struct mr_buf *out, mr_str payload, bool whole, bool lz4)
{
    mr_assert(payload.length > 0 && payload.length <= CQL_SEGMENT_PAYLOAD_MAX);
    size_t begin = out->length;
    size_t room = lz4 ? (size_t)LZ4_compressBound((int)payload.length) : payload.length;
    struct header header = {payload.length, 0, whole};
    uint8_t *at = mr_buf_grow(out, header_bytes(lz4) + room + CRC32_BYTES);
    if (at == NULL)
        return;
    uint8_t *body = at + header_bytes(lz4);
    int packed = !lz4 ? 0
                      : LZ4_compress_default(payload.data, (char *)body, (int)payload.length,
                                             (int)room);
    if (packed > 0 && (size_t)packed < payload.length) {
        header.length = (size_t)packed;
        header.plain = payload.length;
    } else {
        memcpy(body, payload.data, payload.length);
    }
    header_put(at, &header, lz4);
    put_le(body + header.length, payload_crc32(mr_str_of(body, header.length)), CRC32_BYTES);
    out->length = begin + header_bytes(lz4) + header.length + CRC32_BYTES;
}

/* ---- reading ---- */

static mr_err header_get(mr_str seen, bool lz4, struct header *out)
{
    size_t bytes = lz4 ? LZ4_BYTES : PLAIN_BYTES;
    uint64_t bits = get_le(seen.data, bytes);
    if (get_le(seen.data + bytes, CRC24_BYTES) != crc24(bits, bytes))
        return mr_fail(MR_CORRUPT, "a CQL segment's header does not match its checksum");
    out->length = bits & length_mask;
    out->plain = lz4 ? bits >> LENGTH_BITS & length_mask : 0;
    out->whole = (bits >> (lz4 ? 2 * LENGTH_BITS : LENGTH_BITS) & 1) != 0;
    return MR_OK;
}

mr_err cql_segment_length(mr_str seen, bool lz4, size_t *total)
{
    struct header header;
    *total = 0;
    if (seen.length < header_bytes(lz4))
        return MR_OK;
    mr_err err = header_get(seen, lz4, &header);
    if (err == MR_OK)
        *total = header_bytes(lz4) + header.length + CRC32_BYTES;
    return err;
}

mr_err cql_segment_read(mr_str segment, bool lz4, struct mr_buf *plain, mr_str *payload,
                        bool *whole)
{
    struct header header;
    mr_buf_clear(plain);
    if (segment.length < header_bytes(lz4))
        return mr_fail(MR_CORRUPT, "a CQL segment of %zu bytes has no header", segment.length);
    mr_err err = header_get(segment, lz4, &header);
    if (err != MR_OK)
        return err;
    if (segment.length != header_bytes(lz4) + header.length + CRC32_BYTES)
        return mr_fail(MR_CORRUPT, "a CQL segment of %zu bytes says that its payload has %zu",
                       segment.length, header.length);
    *whole = header.whole;
    *payload = mr_str_of(segment.data + header_bytes(lz4), header.length);
    if (get_le(payload->data + header.length, CRC32_BYTES) != payload_crc32(*payload))
        return mr_fail(MR_CORRUPT,
                       "a CQL segment's payload of %zu bytes does not match its "
                       "checksum",
                       header.length);
    if (header.plain == 0)
        return MR_OK;
    uint8_t *at = mr_buf_grow(plain, header.plain);
    if (at == NULL)
        return plain->err;
    if (LZ4_decompress_safe(payload->data, (char *)at, (int)header.length, (int)header.plain) !=
        (int)header.plain)
        return mr_fail(MR_CORRUPT, "a CQL segment does not unpack to its %zu bytes", header.plain);
    *payload = mr_buf_as_str(plain);
    return MR_OK;
}
