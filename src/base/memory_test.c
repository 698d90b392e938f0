/* base/memory_test.c: the promises of base/memory.h. */
#include "story.h"

STORY("an arena gives aligned pieces of every size and forgets them together")
{
    struct mr_arena arena = {0};
    for (int round = 0; round < 3; round++) {
        for (size_t bytes = 0; bytes < 5000; bytes += 37) {
            char *piece = mr_arena_alloc(&arena, bytes);
            expect(piece != NULL);
            expect_int((uintptr_t)piece % 16, 0);
            memset(piece, 0xAB, bytes);
        }
        mr_arena_reset(&arena);
    }
    char *large = mr_arena_alloc_zero(&arena, 10 << 20);
    expect_int(large[(10 << 20) - 1], 0);
    mr_arena_fini(&arena);
    expect_int(arena.bytes, 0);
}

STORY("pieces of an arena do not overlap")
{
    struct mr_arena arena = {0};
    unsigned char *pieces[500];
    size_t sizes[500];
    struct mr_random random;
    mr_random_init(&random, 7);
    for (size_t i = 0; i < 500; i++) {
        sizes[i] = mr_random_below(&random, i % 50 == 0 ? 200000 : 300);
        pieces[i] = mr_arena_alloc(&arena, sizes[i]);
        memset(pieces[i], (int)(i & 255), sizes[i]);
    }
    for (size_t i = 0; i < 500; i++)
        for (size_t j = 0; j < sizes[i]; j++)
            expect_int(pieces[i][j], i & 255);
    mr_arena_fini(&arena);
}

STORY("an arena keeps text with a NUL behind it and prints into itself")
{
    struct mr_arena arena = {0};
    mr_str text = mr_arena_str(&arena, MR_STR("orders"));
    expect_str(text, MR_STR("orders"));
    expect_int(text.data[text.length], 0);
    expect_str(mr_str_from(mr_arena_cstr(&arena, MR_STR_NULL)), MR_STR(""));
    expect_str(mr_arena_printf(&arena, "%s/%d", "orders", 7), MR_STR("orders/7"));
    mr_arena_fini(&arena);
}

STORY("counted bytes live as long as somebody holds them")
{
    struct mr_bytes *bytes = mr_bytes_copy("abc", 3);
    expect(mr_bytes_alone(bytes));
    expect(mr_bytes_ref(bytes) == bytes);
    expect(!mr_bytes_alone(bytes));
    mr_bytes_unref(bytes);
    expect(mr_bytes_alone(bytes));
    expect_str(mr_str_of(bytes->data, bytes->length), MR_STR("abc"));
    mr_bytes_unref(bytes);
    mr_bytes_unref(NULL);
}

STORY("an arena gives no block to allocations of nothing")
{
    struct mr_arena arena = {0};
    char *first = mr_arena_alloc(&arena, 1), *last = NULL;
    size_t bytes = arena.bytes;
    for (int i = 0; i < 100; i++) {
        char *next = mr_arena_alloc(&arena, 0);
        expect(next != NULL && next != last && next != first);
        last = next;
    }
    expect_int(arena.bytes, bytes);
    mr_arena_fini(&arena);
}

STORY("large counted bytes are used again, and settling gives back only what nobody holds")
{
    struct mr_bytes *kept = mr_bytes_new(300000);
    memset(kept->data, 7, 300000);
    for (size_t size = 60000; size < 2000000; size += 50000) {
        struct mr_bytes *bytes = mr_bytes_new(size);
        expect_int(bytes->capacity, size);
        expect(mr_bytes_alone(bytes));
        memset(bytes->data, 1, size);
        mr_bytes_unref(bytes);
    }
    mr_memory_settle();
    expect_int(kept->data[0] + kept->data[299999], 14);
    mr_bytes_unref(kept);
}
