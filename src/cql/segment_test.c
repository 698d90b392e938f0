/* cql/segment_test.c: segments as another implementation writes them (the Python driver's), whole, cut and
 * damaged. */
#include "story.h"

#include "cql/cql.h"

static const struct {
    const char *hex;
    mr_str payload;
    bool whole, lz4;
} known[] = {
    {"0b0002940811 0500000107000000026869 19963bce",
     {"\x05\0\0\x01\x07\0\0\0\x02hi", 11},
     true,
     false},
    {"0f0000e2169e 70617274206f662061206672616d65 d3690410", {"part of a frame", 15}, false, false},
    {"0b00500004b96a08 1f6101000f506161616161 ccbfb7ea",
     {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 40},
     true,
     true},
    {"02000000044ac64a 6e6f 8fa6027a", {"no", 2}, true, true}, /* not worth packing */
};

STORY("segments that another implementation wrote read as it meant them")
{
    for (size_t i = 0; i < mr_count_of(known); i++) {
        struct mr_bytes *bytes = story_hex(mr_str_from(known[i].hex));
        struct mr_buf plain = {0};
        mr_str segment = mr_str_of(bytes->data, bytes->length), payload;
        size_t total;
        bool whole;
        expect_ok(cql_segment_length(segment, known[i].lz4, &total));
        expect_int(total, segment.length);
        expect_ok(cql_segment_read(segment, known[i].lz4, &plain, &payload, &whole));
        expect_str(payload, known[i].payload);
        expect_int(whole, known[i].whole);
        struct mr_buf ours = {0};
        cql_segment_write(&ours, known[i].payload, known[i].whole, known[i].lz4);
        expect_str(mr_buf_as_str(&ours), segment);
        mr_buf_fini(&ours);
        mr_buf_fini(&plain);
        mr_bytes_unref(bytes);
    }
}

STORY("a segment with any bit turned is refused, and a short one is waited for")
{
    for (int lz4 = 0; lz4 < 2; lz4++) {
        struct mr_buf out = {0}, plain = {0};
        mr_str payload;
        bool whole;
        size_t total;
        cql_segment_write(&out, MR_STR("a frame a frame a frame a frame"), true, lz4 == 1);
        for (size_t bit = 0; bit < out.length * 8; bit++) {
            out.data[bit / 8] ^= (uint8_t)(1U << (bit % 8));
            expect_err(cql_segment_read(mr_buf_as_str(&out), lz4 == 1, &plain, &payload, &whole),
                       MR_CORRUPT);
            out.data[bit / 8] ^= (uint8_t)(1U << (bit % 8));
        }
        for (size_t seen = 0; seen < 6; seen++) {
            expect_ok(cql_segment_length(mr_str_of(out.data, seen), lz4 == 1, &total));
            expect_int(total, 0);
        }
        mr_buf_fini(&out);
        mr_buf_fini(&plain);
    }
}
