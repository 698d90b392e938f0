/* base/hash.h: checksums and hashes with a name in a specification. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include "base/str.h"

/* CRC-32C (Castagnoli, RFC 3720 B.4), continued from `seed` (0 to begin). SSE4.2 when present. */
uint32_t mr_crc32c(uint32_t seed, const void *data, size_t length);
/* For hash tables inside one process; not stable between releases. */
uint64_t mr_hash(const void *data, size_t length);
/* The same with a secret: who chooses the data does not choose which of them have the same hash. */
uint64_t mr_hash_secret(const uint64_t secret[2], const void *data, size_t length);
/* 64 mixed bits of one integer. */
uint64_t mr_hash_u64(uint64_t value);
/* MurmurHash2, 32 bit, seed 0x9747b28c, as Kafka's Java client partitions keys. */
uint32_t mr_murmur2(const void *data, size_t length);
/* First half of Cassandra's variant of MurmurHash3 x64 128 (sign-extends tail bytes); the token of a
 * partition key; INT64_MIN is never returned. */
int64_t mr_murmur3_token(const void *data, size_t length);
void mr_md5(const void *data, size_t length, uint8_t out[16]);
void mr_sha1(const void *data, size_t length, uint8_t out[20]);
void mr_sha256(const void *data, size_t length, uint8_t out[32]);
/* Lower-case hex, NUL-ended; out has 2*length+1 bytes. */
void mr_hex(const void *data, size_t length, char *out);

#endif
