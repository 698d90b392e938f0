/* wire/wire_test.c: what the walkers promise, on a small table of their own. */
#include "story.h"
#include "wire/wire.h"

struct leaf {
    wire_i32 number;
    wire_nstring text;
};
struct tree {
    wire_i8 tiny;
    wire_string name;
    wire_i64 late;
    WIRE_ARRAY(struct leaf) leaves;
    WIRE_ARRAY(wire_i16) shorts;
    wire_records payload;
    wire_uuid id;
    wire_f64 weight;
    wire_bool flag;
    wire_nstring tagged;
    struct leaf twig;
};

static const struct wire_shape *leaf_shape(void)
{
    static const struct wire_field fields[] = {
        {"number", &wire_type_i32, offsetof(struct leaf, number), 0, WIRE_ANY, WIRE_UNTAGGED, -1,
         NULL, NULL, "A number."},
        {"text", &wire_type_nstring, offsetof(struct leaf, text), 1, WIRE_ANY, WIRE_UNTAGGED, 0,
         NULL, NULL, "A text."},
        {0},
    };
    static const struct wire_shape shape = {"leaf", sizeof(struct leaf), fields};
    return &shape;
}

#define ROW(name, type, since, until, tag, fallback, item, row)                                   \
    {                                                                                             \
#name, &wire_type_##type, offsetof(struct tree, name), since, until, tag, fallback, item, \
            row, "About it."                                                                      \
    }
static const struct wire_shape *tree_shape(void)
{
    static const struct wire_field fields[] = {
        ROW(tiny, i8, 0, WIRE_ANY, WIRE_UNTAGGED, 0, NULL, NULL),
        ROW(name, string, 0, WIRE_ANY, WIRE_UNTAGGED, 0, NULL, NULL),
        ROW(late, i64, 1, WIRE_ANY, WIRE_UNTAGGED, -7, NULL, NULL),
        ROW(leaves, narray, 0, WIRE_ANY, WIRE_UNTAGGED, 0, NULL, leaf_shape),
        ROW(shorts, list, 0, 1, WIRE_UNTAGGED, 0, &wire_type_i16, NULL),
        ROW(payload, records, 0, WIRE_ANY, WIRE_UNTAGGED, 0, NULL, NULL),
        ROW(id, uuid, 0, WIRE_ANY, WIRE_UNTAGGED, 0, NULL, NULL),
        ROW(weight, f64, 0, WIRE_ANY, WIRE_UNTAGGED, 0, NULL, NULL),
        ROW(flag, bool, 0, WIRE_ANY, WIRE_UNTAGGED, 1, NULL, NULL),
        ROW(tagged, nstring, 2, WIRE_ANY, 0, 0, NULL, NULL),
        ROW(twig, struct, 2, WIRE_ANY, 3, 0, NULL, leaf_shape),
        {0},
    };
    static const struct wire_shape shape = {"tree", sizeof(struct tree), fields};
    return &shape;
}

enum { TREE_FLEXIBLE = 2, TREE_NEWEST = 3 };

static void tree_write(struct mr_buf *buf, const struct tree *tree, int16_t version)
{
    struct wire_out out = wire_out_of(buf, version, version >= TREE_FLEXIBLE);
    wire_write(&out, tree_shape(), tree);
    expect_int(out.splices.count, 0);
    wire_out_fini(&out);
}

static mr_err tree_read(mr_str bytes, struct mr_arena *arena, struct tree *tree, int16_t version)
{
    struct wire_in in = wire_in_of(bytes, arena, version, version >= TREE_FLEXIBLE);
    wire_read(&in, tree_shape(), tree);
    return wire_in_finish(&in, tree_shape());
}

STORY("a message goes out and comes back the same in every version")
{
    struct mr_random random;
    mr_random_init(&random, 42);
    for (int turn = 0; turn < 2000; turn++) {
        struct mr_arena arena = {0};
        struct mr_buf buf = {0};
        struct tree sent, got;
        int16_t version = (int16_t)(turn % (TREE_NEWEST + 1));
        wire_invent(&random, &arena, tree_shape(), version, &sent);
        tree_write(&buf, &sent, version);
        expect_int(buf.err, MR_OK);
        expect_ok(tree_read(mr_buf_as_str(&buf), &arena, &got, version));
        expect(wire_equal(tree_shape(), &sent, &got));
        mr_buf_fini(&buf);
        mr_arena_fini(&arena);
    }
}

STORY("every message that is cut short is refused, and none reads past its end")
{
    struct mr_random random;
    mr_random_init(&random, 43);
    for (int16_t version = 0; version <= TREE_NEWEST; version++) {
        struct mr_arena arena = {0};
        struct mr_buf buf = {0};
        struct tree tree, got;
        wire_invent(&random, &arena, tree_shape(), version, &tree);
        tree_write(&buf, &tree, version);
        for (size_t length = 0; length < buf.length; length++) {
            uint8_t *exact = mr_alloc(length); /* a sanitizer sees a read behind it */
            memcpy(exact, buf.data, length);
            expect_err(tree_read(mr_str_of(exact, length), &arena, &got, version), MR_CORRUPT);
            mr_free(exact);
        }
        mr_buf_fini(&buf);
        mr_arena_fini(&arena);
    }
}

STORY("a version lacks a field: it has its default, and is not written")
{
    struct mr_arena arena = {0};
    struct mr_buf buf = {0};
    struct tree tree, got;
    wire_reset(tree_shape(), &tree);
    expect_int(tree.late, -7);
    expect(tree.flag);
    tree.late = 9;
    tree_write(&buf, &tree, 0);
    expect_ok(tree_read(mr_buf_as_str(&buf), &arena, &got, 0));
    expect_int(got.late, -7);
    mr_buf_clear(&buf);
    tree_write(&buf, &tree, 1);
    expect_ok(tree_read(mr_buf_as_str(&buf), &arena, &got, 1));
    expect_int(got.late, 9);
}

STORY("unknown tags are skipped, known ones are read in any order")
{
    struct mr_arena arena = {0};
    struct mr_buf buf = {0};
    struct tree tree, got;
    wire_reset(tree_shape(), &tree);
    tree_write(&buf, &tree, 2);
    expect_int(buf.data[buf.length - 1], 0); /* no tags: everything has its default */
    buf.length -= 1;
    static const uint8_t tags[] = {3, 9, 2, 0xaa, 0xbb, 3, 6, 0, 0, 0, 5, 0, 0, 0, 3, 3, 'h', 'i'};
    mr_buf_add(&buf, tags, sizeof tags);
    expect_ok(tree_read(mr_buf_as_str(&buf), &arena, &got, 2));
    expect_str(got.tagged, MR_STR("hi"));
    expect_int(got.twig.number, 5);
}

STORY("a tagged field cannot read past its own size")
{
    struct mr_arena arena = {0};
    struct mr_buf buf = {0};
    struct tree tree, got;
    wire_reset(tree_shape(), &tree);
    tree_write(&buf, &tree, 2);
    buf.length -= 1;
    static const uint8_t tags[] = {1, 0, 2, 9, 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i'};
    mr_buf_add(&buf, tags, sizeof tags);
    expect_err(tree_read(mr_buf_as_str(&buf), &arena, &got, 2), MR_CORRUPT);
    expect(mr_str_find(mr_str_from(mr_why()), MR_STR("tagged")) >= 0);
}

STORY("a count that the bytes cannot carry takes no memory")
{
    struct mr_arena arena = {0};
    struct tree got;
    static const uint8_t bytes[] = {1, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0};
    expect_err(tree_read(mr_str_of(bytes, sizeof bytes), &arena, &got, 0), MR_CORRUPT);
    expect(arena.bytes < 65536);
    expect(mr_str_find(mr_str_from(mr_why()), MR_STR("leaves")) >= 0);
}

STORY("null and empty are two things, and a text that may not be null is refused as null")
{
    struct mr_arena arena = {0};
    struct mr_buf buf = {0};
    struct tree tree, got;
    wire_reset(tree_shape(), &tree);
    struct leaf leaves[2] = {{1, MR_STR_NULL}, {2, MR_STR("")}};
    tree.leaves.items = leaves;
    tree.leaves.count = 2;
    tree_write(&buf, &tree, 3);
    expect_ok(tree_read(mr_buf_as_str(&buf), &arena, &got, 3));
    expect(got.leaves.items[0].text.data == NULL);
    expect(got.leaves.items[1].text.data != NULL);
    static const uint8_t null_name[] = {1, 0xff, 0xff};
    expect_err(tree_read(mr_str_of(null_name, sizeof null_name), &arena, &got, 0), MR_CORRUPT);
}

STORY("payload by reference is counted, not copied, and lies where it belongs")
{
    struct mr_arena arena = {0};
    struct mr_buf buf = {0}, whole = {0};
    struct tree tree, got;
    struct mr_bytes *owner = mr_bytes_copy("abcdefgh", 8);
    struct wire_ref refs[2] = {{owner, owner->data + 1, 3}, {owner, owner->data + 6, 2}};
    wire_reset(tree_shape(), &tree);
    tree.name = MR_STR("n");
    tree.payload = (wire_records){.refs = refs, .ref_count = 2};
    struct wire_out out = wire_out_of(&buf, 2, true);
    wire_write(&out, tree_shape(), &tree);
    expect_int(out.splices.count, 2);
    expect_int(out.splice_bytes, 5);
    size_t from = 0;
    for (size_t i = 0; i < out.splices.count; i++) {
        const struct wire_splice *splice = &out.splices.items[i];
        mr_buf_add(&whole, buf.data + from, splice->at - from);
        mr_buf_add(&whole, splice->ref.data, splice->ref.length);
        from = splice->at;
    }
    mr_buf_add(&whole, buf.data + from, buf.length - from);
    wire_out_fini(&out);
    expect_ok(tree_read(mr_buf_as_str(&whole), &arena, &got, 2));
    expect_str(got.payload.bytes, MR_STR("bcdgh"));
    expect(wire_equal(tree_shape(), &tree, &got));
    mr_bytes_unref(owner);
}

STORY("a message prints as JSON, and its shape as a description")
{
    struct mr_buf out = {0};
    struct tree tree;
    struct leaf leaf = {5, MR_STR("five \"5\"")};
    wire_reset(tree_shape(), &tree);
    tree.name = MR_STR("oak");
    tree.leaves.items = &leaf;
    tree.leaves.count = 1;
    wire_print(&out, tree_shape(), &tree, 2);
    expect_str(mr_buf_as_str(&out),
               MR_STR("{\"tiny\":0,\"name\":\"oak\",\"late\":-7,\"leaves\":[{\"number\":5,\"text\":"
                      "\"five \\\"5\\\"\"}],\"payload\":null,\"id\":\"00000000-0000-0000-0000-"
                      "000000000000\",\"weight\":0,\"flag\":true,\"tagged\":null,\"twig\":{"
                      "\"number\":-1,\"text\":null}}"));
    mr_buf_clear(&out);
    wire_describe(&out, tree_shape(), 0);
    mr_str text = mr_buf_as_str(&out);
    expect(mr_str_find(text, MR_STR("shorts list of i16, versions 0-1: About it.")) >= 0);
    expect(mr_str_find(text, MR_STR("  text nstring, versions 1+: A text.")) >= 0);
    expect(mr_str_find(text, MR_STR("twig struct, versions 2+, tag 3: About it.")) >= 0);
}

STORY("a text too long for its length field is an error, not a wrong message")
{
    struct mr_buf buf = {0};
    struct tree tree;
    char *big = mr_alloc_zero(40000, 1);
    wire_reset(tree_shape(), &tree);
    tree.name = mr_str_of(big, 40000);
    struct wire_out out = wire_out_of(&buf, 0, false);
    wire_write(&out, tree_shape(), &tree);
    expect_int(buf.err, MR_LIMIT);
}
