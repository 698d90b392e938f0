/* base/hash_test.c: the promises of base/hash.h, against the numbers of the specifications. */
#include "story.h"

/* CRC-32C bit by bit, as RFC 3720 defines it. */
static uint32_t slow_crc32c(const uint8_t *data, size_t length)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < length; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ ((crc & 1) != 0 ? 0x82F63B78u : 0);
    }
    return ~crc;
}

STORY("CRC-32C of every length agrees with its definition")
{
    static uint8_t data[20000];
    struct mr_random random;
    mr_random_init(&random, 1);
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)mr_random_u64(&random);
    expect_int(mr_crc32c(0, "123456789", 9), 0xE3069283);
    for (size_t length = 0; length < sizeof data; length += length < 2000 ? 1 : 997)
        expect_int(mr_crc32c(0, data + length % 9, length), slow_crc32c(data + length % 9, length));
    uint32_t halves = mr_crc32c(mr_crc32c(0, data, 7001), data + 7001, 9000);
    expect_int(halves, slow_crc32c(data, 16001));
}

STORY("murmur2 chooses the partitions that the Java client chooses")
{
    /* Values of org.apache.kafka.common.utils.Utils.murmur2, from its own test. */
    expect_int((int32_t)mr_murmur2("21", 2), -973932308);
    expect_int((int32_t)mr_murmur2("foobar", 6), -790332482);
    expect_int((int32_t)mr_murmur2("a-little-bit-long-string", 24), -985981536);
    expect_int((int32_t)mr_murmur2("a-little-bit-longer-string", 26), -1486304829);
    expect_int((int32_t)mr_murmur2("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", 48),
               -58897971);
    expect_int((int32_t)mr_murmur2("abc", 3), 479470107);
}

STORY("murmur3 gives Cassandra's tokens")
{
    static const uint8_t one[] = {0, 0, 0, 1};
    expect(mr_murmur3_token(one, 4) == -4069959284402364209);
    expect(mr_murmur3_token("123", 3) == -7468325962851647638);
    /* Tail bytes above 127 count as negative ones, unlike in the original. */
    char many[50];
    for (size_t i = 0; i < sizeof many; i++)
        many[i] = "\x00\xff\x10\xfa\x99"[i % 5];
    expect(mr_murmur3_token(many, 50) == 5837342703291459765);
    expect(mr_murmur3_token("\xfe\xfe\xfe\xfe\xfe\xfe\xfe\xfe", 8) == -8927430733708461935);
    expect(mr_murmur3_token("\x10\x10\x10\x10\x10\x10\x10\x10", 8) == 1446172840243228796);
    expect(mr_murmur3_token("kremówki", 9) == 4354931215268080151);
    expect(mr_murmur3_token("9223372036854775807", 19) == 7162290910810015547);
}

STORY("digests have the values of their RFCs")
{
    uint8_t digest[32];
    char hex[65];
    mr_md5("", 0, digest);
    mr_hex(digest, 16, hex);
    expect_str(mr_str_from(hex), MR_STR("d41d8cd98f00b204e9800998ecf8427e"));
    mr_sha1("abc", 3, digest);
    mr_hex(digest, 20, hex);
    expect_str(mr_str_from(hex), MR_STR("a9993e364706816aba3e25717850c26c9cd0d89d"));
    mr_sha256("abc", 3, digest);
    mr_hex(digest, 32, hex);
    expect_str(mr_str_from(hex),
               MR_STR("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
}

STORY("the hash of tables spreads and sees every byte")
{
    char text[40] = {0};
    int buckets[64] = {0};
    uint64_t zero = mr_hash(text, sizeof text);
    for (size_t i = 0; i < sizeof text; i++) {
        text[i] = 1;
        expect(mr_hash(text, sizeof text) != zero);
        expect(mr_hash(text, i) != mr_hash(text, i + 1));
        text[i] = 0;
    }
    for (uint64_t i = 0; i < 64000; i++)
        buckets[mr_hash_u64(i) & 63]++;
    for (int i = 0; i < 64; i++)
        expect(buckets[i] > 700 && buckets[i] < 1300);
}
