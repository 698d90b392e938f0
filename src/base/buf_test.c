/* base/buf_test.c: the promises of base/buf.h. */
#include "story.h"

STORY("what a buffer writes an input reads")
{
    static const uint64_t values[] = {0, 1, 127, 128, 300, UINT32_MAX, INT64_MAX, UINT64_MAX};
    struct mr_buf buf = {0};
    mr_buf_u8(&buf, 7);
    mr_buf_be16(&buf, 0x1234);
    mr_buf_be32(&buf, 0x12345678);
    mr_buf_be64(&buf, 0x123456789ABCDEF0);
    mr_buf_le16(&buf, 0x1234);
    mr_buf_le32(&buf, 0x12345678);
    mr_buf_le64(&buf, 0x123456789ABCDEF0);
    for (size_t i = 0; i < mr_count_of(values); i++) {
        mr_buf_uvarint(&buf, values[i]);
        mr_buf_varint(&buf, (int64_t)values[i]);
    }
    mr_buf_cstr(&buf, "end");
    struct mr_in in = mr_in_str(mr_buf_as_str(&buf));
    expect_int(mr_in_u8(&in), 7);
    expect_int(mr_in_be16(&in), 0x1234);
    expect_int(mr_in_be32(&in), 0x12345678);
    expect_int(mr_in_be64(&in), 0x123456789ABCDEF0);
    expect_int(mr_in_le16(&in), 0x1234);
    expect_int(mr_in_le32(&in), 0x12345678);
    expect_int(mr_in_le64(&in), 0x123456789ABCDEF0);
    for (size_t i = 0; i < mr_count_of(values); i++) {
        expect(mr_in_uvarint(&in) == values[i]);
        expect(mr_in_varint(&in) == (int64_t)values[i]);
    }
    expect_str(mr_in_take(&in, 3), MR_STR("end"));
    expect_int(mr_in_left(&in), 0);
    expect_int(in.err, MR_OK);
    mr_buf_fini(&buf);
}

STORY("an input that is too short fails once and gives nothing more")
{
    struct mr_in in = mr_in_of("\0\0\0", 3);
    expect_int(mr_in_be32(&in), 0);
    expect_int(in.err, MR_CORRUPT);
    expect_int(mr_in_u8(&in), 0);
    expect(mr_in_take(&in, 0).length == 0);
    in = mr_in_of("abc", 3);
    expect(mr_in_take(&in, SIZE_MAX).data == NULL);
    expect_int(in.err, MR_CORRUPT);
}

STORY("a varint of more than 64 bits is corrupt")
{
    struct mr_in in = mr_in_of("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10);
    expect_int(mr_in_uvarint(&in), 0);
    expect_int(in.err, MR_CORRUPT);
    in = mr_in_of("\x80\x80", 2);
    expect_int(mr_in_uvarint(&in), 0);
    expect_int(in.err, MR_CORRUPT);
}

STORY("a buffer's limit is sticky")
{
    struct mr_buf buf = {.limit = 100};
    for (int i = 0; i < 100; i++)
        mr_buf_u8(&buf, 1);
    expect_int(buf.err, MR_OK);
    mr_buf_u8(&buf, 1);
    expect_int(buf.err, MR_LIMIT);
    mr_buf_patch_be32(&buf, 0, 1);
    mr_buf_printf(&buf, "%d", 1);
    expect_int(buf.length, 100);
    mr_buf_clear(&buf);
    expect_int(buf.err, MR_OK);
    mr_buf_fini(&buf);
}

STORY("printing, patching, and text taken away")
{
    struct mr_buf buf = {0};
    mr_buf_be32(&buf, 0);
    for (int i = 0; i < 300; i++)
        mr_buf_printf(&buf, "%c", 'x');
    mr_buf_printf(&buf, "%0400d", 7);
    mr_buf_patch_be32(&buf, 0, 0x41424344);
    expect_int(buf.length, 704);
    char *text = mr_buf_take_cstr(&buf);
    expect_int(strlen(text), 704);
    expect_str(mr_str_of(text, 5), MR_STR("ABCDx"));
    expect_int(buf.length, 0);
    mr_free(text);
    text = mr_buf_take_cstr(&buf);
    expect_str(mr_str_from(text), MR_STR(""));
    mr_free(text);
}

static void expect_json(mr_str text, const char *expected)
{
    struct mr_buf buf = {0};
    mr_buf_json(&buf, text);
    expect_str(mr_buf_as_str(&buf), mr_str_from(expected));
    mr_buf_fini(&buf);
}

STORY("text becomes JSON by RFC 8259, bad UTF-8 a replacement character")
{
    expect_json(MR_STR(""), "\"\"");
    expect_json(MR_STR_NULL, "\"\"");
    expect_json(MR_STR("a\"b\\c\n\t\x01\x0b"), "\"a\\\"b\\\\c\\n\\t\\u0001\\u000b\"");
    expect_json(MR_STR("h\xC3\xA9"), "\"h\xC3\xA9\"");
    expect_json(MR_STR("h\xC3\xA9\xFF!\xF0\x9F\x98\x80"),
                "\"h\xC3\xA9\xEF\xBF\xBD!\xF0\x9F\x98\x80\"");
}
