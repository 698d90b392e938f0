/* base/hash.c: checksums and hashes. CRC-32C runs three streams side by side where the processor has
 * the instruction (its latency is 3, its throughput 1), and joins them by linearity: the state after
 * N more bytes is a linear map of the state before, kept as four tables of 256. */
#include "base/hash.h"

#include <openssl/evp.h>

#include "base/error.h"

#ifdef __SSE4_2__
#include <nmmintrin.h>
#endif

/* ---- CRC-32C: polynomial 0x1EDC6F41, reflected 0x82F63B78 ---- */

static uint64_t load_u64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, 8);
    return value;
}

#ifdef __SSE4_2__

enum { CRC_LONG = 2048, CRC_SHORT = 256 }; /* bytes of one of the three streams */

static uint32_t shift_long[4][256], shift_short[4][256];

static uint32_t crc_words(uint32_t crc, const uint8_t *at, size_t bytes)
{
    uint64_t state = crc;
    for (size_t i = 0; i < bytes; i += 8)
        state = _mm_crc32_u64(state, load_u64(at + i));
    return (uint32_t)state;
}

/* The tables that move a state over `bytes` bytes of zero. */
static void shift_tables(uint32_t table[4][256], size_t bytes)
{
    static const uint8_t zeros[CRC_LONG];
    uint32_t moved[32];
    for (unsigned bit = 0; bit < 32; bit++)
        moved[bit] = crc_words(1u << bit, zeros, bytes);
    for (unsigned part = 0; part < 4; part++)
        for (unsigned value = 0; value < 256; value++) {
            uint32_t sum = 0;
            for (unsigned bit = 0; bit < 8; bit++)
                sum ^= (value >> bit & 1u) != 0 ? moved[part * 8 + bit] : 0;
            table[part][value] = sum;
        }
}

__attribute__((constructor)) static void crc_prepare(void)
{
    shift_tables(shift_long, CRC_LONG);
    shift_tables(shift_short, CRC_SHORT);
}

static uint32_t crc_shift(uint32_t table[4][256], uint32_t crc)
{
    return table[0][crc & 255] ^ table[1][crc >> 8 & 255] ^ table[2][crc >> 16 & 255] ^
           table[3][crc >> 24];
}

static uint32_t crc_triple(uint32_t crc, const uint8_t *at, size_t each, uint32_t table[4][256])
{
    uint64_t a = crc, b = 0, c = 0;
    for (size_t i = 0; i < each; i += 8) {
        a = _mm_crc32_u64(a, load_u64(at + i));
        b = _mm_crc32_u64(b, load_u64(at + each + i));
        c = _mm_crc32_u64(c, load_u64(at + 2 * each + i));
    }
    uint32_t joined = crc_shift(table, (uint32_t)a) ^ (uint32_t)b;
    return crc_shift(table, joined) ^ (uint32_t)c;
}

uint32_t mr_crc32c(uint32_t seed, const void *data, size_t length)
{
    const uint8_t *at = data;
    uint32_t crc = ~seed;
    for (; length >= 3 * CRC_LONG; at += 3 * CRC_LONG, length -= 3 * CRC_LONG)
        crc = crc_triple(crc, at, CRC_LONG, shift_long);
    for (; length >= 3 * CRC_SHORT; at += 3 * CRC_SHORT, length -= 3 * CRC_SHORT)
        crc = crc_triple(crc, at, CRC_SHORT, shift_short);
    size_t words = length & ~(size_t)7;
    crc = crc_words(crc, at, words);
    for (at += words, length -= words; length > 0; at++, length--)
        crc = _mm_crc32_u8(crc, *at);
    return ~crc;
}

#else

static uint32_t crc_table[8][256];

__attribute__((constructor)) static void crc_prepare(void)
{
    for (uint32_t value = 0; value < 256; value++) {
        uint32_t crc = value;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ ((crc & 1) != 0 ? 0x82F63B78u : 0);
        crc_table[0][value] = crc;
    }
    for (uint32_t value = 0; value < 256; value++)
        for (int part = 1; part < 8; part++)
            crc_table[part][value] = crc_table[part - 1][value] >> 8 ^
                                     crc_table[0][crc_table[part - 1][value] & 255];
}

uint32_t mr_crc32c(uint32_t seed, const void *data, size_t length)
{
    const uint8_t *at = data;
    uint32_t crc = ~seed;
    for (; length >= 8; at += 8, length -= 8) {
        uint64_t word = load_u64(at) ^ crc;
        crc = 0;
        for (int part = 0; part < 8; part++)
            crc ^= crc_table[7 - part][word >> (8 * part) & 255];
    }
    for (; length > 0; at++, length--)
        crc = crc >> 8 ^ crc_table[0][(crc ^ *at) & 255];
    return ~crc;
}

#endif

/* ---- hash tables ---- */

static uint64_t fold(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t mr_hash_u64(uint64_t value)
{
    return fold(value ^ 0x9E3779B97F4A7C15u, 0xD6E8FEB86659FD93u ^ value >> 32);
}

uint64_t mr_hash(const void *data, size_t length)
{
    const uint8_t *at = data;
    uint64_t state = 0x8A5CD789635D2DFFu ^ length, tail = 0;
    size_t left = length;
    for (; left >= 16; at += 16, left -= 16)
        state = fold(load_u64(at) ^ state, load_u64(at + 8) ^ 0x9FB21C651E98DF25u);
    if (left >= 8) {
        state = fold(load_u64(at) ^ state, 0xC2B2AE3D27D4EB4Fu);
        at += 8;
        left -= 8;
    }
    if (left > 0)
        memcpy(&tail, at, left);
    return fold(tail ^ state, 0x9E3779B97F4A7C15u ^ left);
}

uint64_t mr_hash_secret(const uint64_t secret[2], const void *data, size_t length)
{
    const uint8_t *at = data;
    uint64_t state = secret[0] ^ length, tail = 0;
    size_t left = length;
    for (; left >= 16; at += 16, left -= 16)
        state = fold(load_u64(at) ^ secret[1], load_u64(at + 8) ^ state);
    if (left >= 8) {
        state = fold(load_u64(at) ^ secret[1], state ^ 0xC2B2AE3D27D4EB4Fu);
        at += 8;
        left -= 8;
    }
    if (left > 0)
        memcpy(&tail, at, left);
    return fold(tail ^ secret[1], state ^ 0x9E3779B97F4A7C15u ^ left);
}

/* ---- murmur ---- */

uint32_t mr_murmur2(const void *data, size_t length)
{
    const uint8_t *at = data;
    const uint32_t m = 0x5BD1E995u;
    uint32_t hash = 0x9747B28Cu ^ (uint32_t)length;
    for (; length >= 4; at += 4, length -= 4) {
        uint32_t k = (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
                     (uint32_t)at[3] << 24;
        k *= m;
        k ^= k >> 24;
        k *= m;
        hash = hash * m ^ k;
    }
    if (length > 0) {
        for (size_t i = 0; i < length; i++)
            hash ^= (uint32_t)at[i] << (8 * i);
        hash *= m;
    }
    hash ^= hash >> 13;
    hash *= m;
    return hash ^ hash >> 15;
}

static uint64_t rotate_left(uint64_t value, int bits)
{
    return value << bits | value >> (64 - bits);
}

static uint64_t murmur3_mix(uint64_t k)
{
    k = (k ^ k >> 33) * 0xFF51AFD7ED558CCDu;
    k = (k ^ k >> 33) * 0xC4CEB9FE1A85EC53u;
    return k ^ k >> 33;
}

int64_t mr_murmur3_token(const void *data, size_t length)
{
    const uint8_t *at = data;
    const uint64_t c1 = 0x87C37B91114253D5u, c2 = 0x4CF5AD432745937Fu;
    uint64_t h1 = 0, h2 = 0, k1 = 0, k2 = 0;
    size_t left = length;
    for (; left >= 16; at += 16, left -= 16) {
        h1 ^= rotate_left(load_u64(at) * c1, 31) * c2;
        h1 = (rotate_left(h1, 27) + h2) * 5 + 0x52DCE729;
        h2 ^= rotate_left(load_u64(at + 8) * c2, 33) * c1;
        h2 = (rotate_left(h2, 31) + h1) * 5 + 0x38495AB5;
    }
    for (size_t i = left; i > 8; i--) /* Cassandra adds the tail's bytes as signed ones */
        k2 ^= (uint64_t)(int64_t)(int8_t)at[i - 1] << (8 * (i - 9));
    for (size_t i = left < 8 ? left : 8; i > 0; i--)
        k1 ^= (uint64_t)(int64_t)(int8_t)at[i - 1] << (8 * (i - 1));
    h2 ^= rotate_left(k2 * c2, 33) * c1;
    h1 ^= rotate_left(k1 * c1, 31) * c2;
    h1 ^= length;
    h2 ^= length;
    h1 += h2;
    h2 += h1;
    h1 = murmur3_mix(h1);
    h2 = murmur3_mix(h2);
    int64_t token = (int64_t)(h1 + h2);
    return token == INT64_MIN ? INT64_MAX : token;
}

/* ---- digests ---- */

static void digest(const EVP_MD *kind, const void *data, size_t length, uint8_t *out)
{
    int good = EVP_Digest(length == 0 ? "" : data, length, out, NULL, kind, NULL);
    mr_assert(good == 1);
}

void mr_md5(const void *data, size_t length, uint8_t out[16])
{
    digest(EVP_md5(), data, length, out);
}

void mr_sha1(const void *data, size_t length, uint8_t out[20])
{
    digest(EVP_sha1(), data, length, out);
}

void mr_sha256(const void *data, size_t length, uint8_t out[32])
{
    digest(EVP_sha256(), data, length, out);
}

void mr_hex(const void *data, size_t length, char *out)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *at = data;
    for (size_t i = 0; i < length; i++) {
        *out++ = digits[at[i] >> 4];
        *out++ = digits[at[i] & 15];
    }
    *out = '\0';
}
