/* engine/groups_test.c: the promises of groups.h, key.c and position.h. */
#include "engine/groups.h"
#include "engine/position.h"
#include "story.h"

#include <math.h>
#include <stdio.h>

static struct engine_group *given_group(struct engine_groups *groups, const char *key, int64_t end)
{
    struct engine_group *group;
    expect_ok(engine_groups_find(groups, mr_str_from(key), end, &group));
    return group;
}
static void copy_changes(struct engine_groups *from, struct engine_groups *to)
{
    size_t count;
    const struct engine_groups_change *changes = engine_groups_changes(from, &count);
    for (size_t i = 0; i < count; i++)
        expect_ok(engine_groups_load(to, changes[i].key, changes[i].value));
}
STORY("a group is found again by its key, among many")
{
    struct engine_groups *groups = engine_groups_new(1);
    char key[32];
    for (int i = 0; i < 10000; i++) {
        snprintf(key, sizeof(key), "key %d", i);
        given_group(groups, key, i % 7)->row_count = i;
    }
    expect_int(engine_groups_count(groups), 10000);
    for (int i = 0; i < 10000; i++) {
        snprintf(key, sizeof(key), "key %d", i);
        expect_int(given_group(groups, key, i % 7)->row_count, i);
    }
    expect_int(engine_groups_count(groups), 10000);
    engine_groups_free(groups);
}
STORY("windows close in order of their ends, up to the watermark and no further")
{
    struct engine_groups *groups = engine_groups_new(0);
    struct engine_group *closed[8];
    given_group(groups, "c", 300);
    given_group(groups, "a", 100);
    given_group(groups, "b", 200);
    given_group(groups, "b2", 200);
    expect(!engine_groups_closes(groups, 99));
    expect(engine_groups_closes(groups, 100));
    expect_int(engine_groups_close(groups, 200, closed, 8), 3);
    expect_int(closed[0]->window_end, 100);
    expect_int(closed[2]->window_end, 200);
    for (int i = 0; i < 3; i++)
        engine_groups_release(groups, closed[i]);
    expect_int(engine_groups_count(groups), 1);
    expect_int(engine_groups_close(groups, 299, closed, 8), 0);
    engine_groups_free(groups);
}
STORY("groups are found after others were taken out of the table")
{
    struct engine_groups *groups = engine_groups_new(0);
    struct engine_group *closed[64];
    char key[32];
    for (int i = 0; i < 5000; i++) {
        snprintf(key, sizeof(key), "%d", i);
        given_group(groups, key, i % 2 == 0 ? 10 : 20);
    }
    for (size_t count; (count = engine_groups_close(groups, 10, closed, 64)) > 0;)
        for (size_t i = 0; i < count; i++)
            engine_groups_release(groups, closed[i]);
    expect_int(engine_groups_count(groups), 2500);
    for (int i = 1; i < 5000; i += 2) {
        snprintf(key, sizeof(key), "%d", i);
        given_group(groups, key, 20);
    }
    expect_int(engine_groups_count(groups), 2500);
    engine_groups_free(groups);
}
STORY("changes restore the same groups elsewhere, tombstones included")
{
    struct engine_groups *from = engine_groups_new(1), *to = engine_groups_new(1);
    struct engine_group *closed[8];
    struct engine_group *a = given_group(from, "a", 100), *b = given_group(from, "b", 200);
    engine_groups_touch(from, a);
    engine_groups_touch(from, b);
    engine_groups_touch(from, b);
    a->row_count = 3, a->time_us_max = 77, a->folds[0].count = 3;
    b->row_count = 5;
    copy_changes(from, to);
    engine_groups_settle(from);
    expect_int(engine_groups_count(to), 2);
    expect_int(given_group(to, "a", 100)->row_count, 3);
    expect_int(given_group(to, "a", 100)->time_us_max, 77);
    expect_int(given_group(to, "a", 100)->folds[0].count, 3);

    expect_int(engine_groups_close(from, 100, closed, 8), 1);
    engine_groups_release(from, closed[0]);
    given_group(from, "b", 200)->row_count = 6;
    engine_groups_touch(from, b);
    copy_changes(from, to);
    engine_groups_settle(from);
    expect_int(engine_groups_count(to), 1);
    expect_int(given_group(to, "b", 200)->row_count, 6);
    size_t count;
    engine_groups_changes(from, &count);
    expect_int(count, 0);
    engine_groups_free(from);
    engine_groups_free(to);
}
STORY("the state of another query is refused, not misread")
{
    struct engine_groups *one = engine_groups_new(1), *two = engine_groups_new(2);
    size_t count;
    engine_groups_touch(one, given_group(one, "a", 100));
    const struct engine_groups_change *changes = engine_groups_changes(one, &count);
    expect_err(engine_groups_load(two, changes[0].key, changes[0].value), MR_CORRUPT);
    expect_err(engine_groups_load(two, MR_STR("x"), MR_STR("\7junk")), MR_CORRUPT);
    expect_err(engine_groups_load(two, MR_STR("x"), MR_STR("")), MR_CORRUPT);
    engine_groups_free(one);
    engine_groups_free(two);
}
STORY("clearing forgets every group, and says so in the next changes")
{
    struct engine_groups *groups = engine_groups_new(0);
    size_t count;
    given_group(groups, "a", 1);
    given_group(groups, "b", 2);
    engine_groups_clear(groups, true);
    expect_int(engine_groups_count(groups), 0);
    const struct engine_groups_change *changes = engine_groups_changes(groups, &count);
    expect_int(count, 2);
    expect(changes[0].value.data == NULL);
    engine_groups_free(groups);
}
STORY("a key's values come back as they were; every NaN and every zero is one key")
{
    struct mr_arena arena;
    struct mr_buf a = {0}, b = {0};
    mr_arena_init(&arena);
    struct data_column *doubles = data_column_new(&arena, &data_type_double, 2);
    struct data_column *texts = data_column_new(&arena, &data_type_string, 2);
    struct data_column *back = data_column_new(&arena, &data_type_string, 1);
    doubles->valid[0] = doubles->valid[1] = 1;
    doubles->doubles[0] = 0.0, doubles->doubles[1] = -0.0;
    engine_key_write(&a, doubles, 0);
    engine_key_write(&b, doubles, 1);
    expect_str(mr_buf_as_str(&a), mr_buf_as_str(&b));
    mr_buf_clear(&a), mr_buf_clear(&b);
    doubles->doubles[0] = NAN, doubles->doubles[1] = -NAN;
    engine_key_write(&a, doubles, 0);
    engine_key_write(&b, doubles, 1);
    expect_str(mr_buf_as_str(&a), mr_buf_as_str(&b));
    mr_buf_clear(&a);
    texts->valid[0] = 1;
    texts->strs[0] = MR_STR("Malmö");
    engine_key_write(&a, texts, 0);
    engine_key_write(&a, texts, 1);
    struct mr_in in = mr_in_str(mr_buf_as_str(&a));
    engine_key_read(&in, &arena, back, 0);
    expect_str(back->strs[0], MR_STR("Malmö"));
    expect_int(mr_in_u8(&in), 0);
    expect_int(in.err, MR_OK);
    struct mr_in cut = mr_in_of(a.data, 4);
    engine_key_read(&cut, &arena, back, 0);
    expect_int(cut.err, MR_CORRUPT);
    mr_buf_fini(&a), mr_buf_fini(&b);
    mr_arena_fini(&arena);
}
STORY("a position is read back as it was written")
{
    struct engine_place place, back;
    struct mr_buf text = {0};
    engine_place_init(&place);
    engine_place_init(&back);
    engine_place_slot(&place, 0)->offset = 17;
    engine_place_slot(&place, 3)->offset = 5;
    engine_place_slot(&place, 3)->time_us = 1700000000000123;
    engine_place_slot(&place, 3)->event_us_max = 99;
    place.watermark_us = -5;
    place.totals = (struct engine_totals){10, 9, 8, 1, 2};
    place.shape = 0xfedcba9876543211;
    engine_position_write(&text, MR_STR("users_raw"), &place);
    expect_ok(engine_position_read(mr_buf_as_str(&text), MR_STR("users_raw"), &back));
    expect_int(back.slot_count, 2);
    expect_int(engine_place_slot(&back, 0)->time_us, INT64_MIN);
    expect_int(engine_place_slot(&back, 3)->time_us, 1700000000000123);
    expect_int(engine_place_slot(&back, 3)->offset, 5);
    expect_int(back.watermark_us, -5);
    expect_int(engine_place_slot(&back, 3)->event_us_max, 99);
    expect_int(back.totals.rows, 8);
    expect_int(back.totals.late, 2);
    expect(back.shape == place.shape);
    expect_err(engine_position_read(mr_buf_as_str(&text), MR_STR("orders"), &back), MR_CORRUPT);
    expect_err(engine_position_read(MR_STR("junk"), MR_STR("orders"), &back), MR_INVALID);
    mr_buf_fini(&text);
    engine_place_fini(&place);
    engine_place_fini(&back);
}
STORY("while partitions are behind, the watermark follows the slowest of them")
{
    struct engine_place place;
    bool behind[3] = {false, false, false};
    engine_place_init(&place);
    expect_int(engine_place_event_us(&place, behind), INT64_MIN);
    engine_place_slot(&place, 0)->event_us_max = 500;
    engine_place_slot(&place, 1)->event_us_max = 100;
    engine_place_slot(&place, 2);
    expect_int(engine_place_event_us(&place, behind), 500); /* all is read: the largest */
    behind[0] = true;
    expect_int(engine_place_event_us(&place, behind), 500);
    behind[1] = true;
    expect_int(engine_place_event_us(&place, behind), 100);
    behind[2] = true;
    expect_int(engine_place_event_us(&place, behind), INT64_MIN); /* nothing of it is known yet */
    engine_place_fini(&place);
}
