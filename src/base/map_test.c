/* base/map_test.c: the promises of base/map.h. */
#include "story.h"

STORY("a map finds what was put and gives it back in that order")
{
    struct mr_map map = {0};
    char key[16];
    int values[1000];
    for (int i = 0; i < 1000; i++) {
        struct mr_buf buf = {0};
        mr_buf_printf(&buf, "key%d", i * 7);
        memcpy(key, buf.data, buf.length);
        values[i] = i;
        expect(mr_map_put(&map, mr_str_of(key, buf.length), &values[i]) == NULL);
        mr_buf_fini(&buf);
    }
    expect_int(map.count, 1000);
    expect(mr_map_get(&map, MR_STR("key700")) == &values[100]);
    expect(mr_map_get(&map, MR_STR("key701")) == NULL);
    expect(mr_map_put(&map, MR_STR("key7"), &values[0]) == &values[1]);
    struct mr_map_entry *entry;
    int seen = 0;
    for (size_t i = 0; (entry = mr_map_next(&map, &i)) != NULL; seen++)
        expect(seen == 1 || entry->value == &values[seen]);
    expect_int(seen, 1000);
    mr_map_fini(&map);
}

STORY("entries may be removed while one looks at them, and the room is used again")
{
    struct mr_map map = {0};
    int value = 0;
    for (int round = 0; round < 200; round++) {
        for (int i = 0; i < 10; i++) {
            char key[2] = {(char)('a' + i), (char)('a' + round % 26)};
            mr_map_put(&map, mr_str_of(key, 2), &value);
        }
        struct mr_map_entry *entry;
        for (size_t i = 0; (entry = mr_map_next(&map, &i)) != NULL;)
            expect(mr_map_remove(&map, entry->key) == &value);
        expect_int(map.count, 0);
    }
    expect(map.capacity <= 32);
    expect(mr_map_remove(&map, MR_STR("x")) == NULL);
    expect(mr_map_get(&map, MR_STR("aa")) == NULL);
    mr_map_fini(&map);
}

STORY("an array grows by one at a time")
{
    MR_ARRAY(int) list = {0};
    for (int i = 0; i < 1000; i++)
        *mr_array_add(&list) = i;
    expect_int(list.count, 1000);
    expect_int(list.items[999], 999);
    mr_array_fini(&list);
    expect(list.items == NULL);
}

STORY("keys that were made to have one hash are as quick as others")
{
    enum { KEYS = 300000 };
    struct mr_map map = {0};
    uint64_t key[2] = {0, 0x9FB21C651E98DF25u}; /* makes mr_hash() forget what stands before it */
    for (uint64_t i = 1; i <= KEYS; i++) {
        key[0] = i;
        mr_map_put(&map, mr_str_of((const char *)key, 16), &map);
    }
    expect_int(map.count, KEYS);
    for (uint64_t i = 1; i <= KEYS; i++) {
        key[0] = i;
        expect(mr_map_get(&map, mr_str_of((const char *)key, 16)) == &map);
    }
    mr_map_fini(&map);
}
