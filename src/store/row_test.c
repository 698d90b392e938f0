/* store/row_test.c: operands fold to one row whatever their order; clocks and deletions do their part. */
#include "store/row.h"

#include "test/story.h"

enum { CELLS = 4 };

/* An operand such as a client's INSERT, UPDATE or DELETE; few timestamps, so that ties are frequent. */
static mr_str invents(struct mr_arena *arena, struct mr_random *random)
{
    struct store_row_head head = {.timestamp = (int64_t)mr_random_below(random, 4)};
    struct mr_buf out = {0};
    uint64_t kind = mr_random_below(random, 4);
    if (kind == 0) {
        head.flags = STORE_ROW_DELETED | STORE_ROW_GRACE;
        head.deletion = head.timestamp;
        head.deleted_at_s = (uint32_t)mr_random_below(random, 3);
        head.grace_s = 10;
    } else if (kind == 1) {
        head.flags = STORE_ROW_LIVE;
        if (mr_random_below(random, 2)) {
            head.flags |= STORE_ROW_EXPIRING | STORE_ROW_GRACE;
            head.ttl_s = 5;
            head.expiry_s = (uint32_t)mr_random_below(random, 3);
        }
    }
    store_row_begin(&out, &head);
    for (uint32_t column = 0; kind != 0 && column < CELLS; column++) {
        static const char *const texts[] = {"a", "b", "ba"};
        struct store_cell cell = {.column = column,
                                  .timestamp = (int64_t)mr_random_below(random, 4)};
        uint64_t choice = mr_random_below(random, 5);
        if (choice == 0)
            continue;
        cell.value = mr_str_from(texts[mr_random_below(random, 3)]);
        if (choice == 1)
            cell.flags = STORE_CELL_TOMBSTONE;
        if (choice == 2)
            cell.flags = STORE_CELL_EXPIRING;
        if (choice <= 2)
            cell.expiry_s = (uint32_t)mr_random_below(random, 3);
        if (column == 3 && choice == 3) {
            cell.flags = STORE_CELL_CLEARED;
        } else if (column == 3) {
            cell.flags |= STORE_CELL_PATH;
            cell.path = mr_str_from(texts[mr_random_below(random, 3)]);
        }
        store_row_cell(&out, &head, &cell);
    }
    mr_str copy = mr_arena_str(arena, mr_buf_as_str(&out));
    mr_buf_fini(&out);
    return copy;
}

static mr_str folds(struct mr_arena *arena, mr_str a, mr_str b)
{
    struct mr_buf out = {0};
    expect(store_row_fold(a, b, &out));
    mr_str copy = mr_arena_str(arena, mr_buf_as_str(&out));
    mr_buf_fini(&out);
    return copy;
}

/* A row as text: what it means, whatever its base timestamp. */
static mr_str shows(struct mr_arena *arena, mr_str packed)
{
    struct store_row_reader reader;
    struct store_cell cell;
    struct mr_buf out = {0};
    expect(store_row_open(&reader, packed));
    if (reader.head.flags & STORE_ROW_LIVE)
        mr_buf_printf(&out, "live@%lld/%u ", (long long)reader.head.timestamp,
                      reader.head.expiry_s);
    if (reader.head.flags & STORE_ROW_DELETED)
        mr_buf_printf(&out, "deleted@%lld/%u ", (long long)reader.head.deletion,
                      reader.head.deleted_at_s);
    while (store_row_next(&reader, &cell))
        mr_buf_printf(&out, "%u[%.*s]#%x@%lld/%u=%.*s ", cell.column, MR_STR_ARG(cell.path),
                      cell.flags, (long long)cell.timestamp, cell.expiry_s, MR_STR_ARG(cell.value));
    expect_ok(reader.in.err);
    mr_str copy = mr_arena_str(arena, mr_buf_as_str(&out));
    mr_buf_fini(&out);
    return copy;
}

STORY("folding is associative and commutative, and twice is once")
{
    struct mr_random random;
    mr_random_init(&random, 20261121);
    for (int i = 0; i < 20000; i++) {
        struct mr_arena arena;
        mr_arena_init(&arena);
        mr_str a = invents(&arena, &random), b = invents(&arena, &random),
               c = invents(&arena, &random);
        mr_str left = folds(&arena, folds(&arena, a, b), c),
               right = folds(&arena, a, folds(&arena, b, c));
        expect_str(shows(&arena, left), shows(&arena, right));
        expect_str(shows(&arena, folds(&arena, a, b)), shows(&arena, folds(&arena, b, a)));
        mr_str once = folds(&arena, a, a);
        expect_str(shows(&arena, folds(&arena, once, a)), shows(&arena, once));
        mr_arena_fini(&arena);
    }
}

static mr_str cell_row(struct mr_arena *arena, struct store_row_head head, struct store_cell cell)
{
    struct mr_buf out = {0};
    store_row_begin(&out, &head);
    store_row_cell(&out, &head, &cell);
    mr_str copy = mr_arena_str(arena, mr_buf_as_str(&out));
    mr_buf_fini(&out);
    return copy;
}

static mr_str counter_row(struct mr_arena *arena, int64_t timestamp, uint8_t delta)
{
    const uint8_t bytes[8] = {0, 0, 0, 0, 0, 0, 0, delta};
    struct store_cell cell = {
        .timestamp = timestamp, .flags = STORE_CELL_COUNTER, .value = mr_str_of(bytes, 8)};
    return cell_row(arena, (struct store_row_head){.timestamp = timestamp}, cell);
}

STORY("counters add up, each increment once")
{
    struct mr_arena arena;
    mr_arena_init(&arena);
    mr_str a = counter_row(&arena, 1, 3), b = counter_row(&arena, 2, 4),
           c = counter_row(&arena, 3, 5);
    mr_str left = folds(&arena, folds(&arena, a, b), c),
           right = folds(&arena, a, folds(&arena, b, c));
    struct store_row_reader reader;
    struct store_cell cell;
    expect_str(shows(&arena, left), shows(&arena, right));
    expect(store_row_open(&reader, left) && store_row_next(&reader, &cell));
    expect_int((uint8_t)cell.value.data[7], 12);
    mr_arena_fini(&arena);
}

STORY("a tombstone wins a tie, then the larger value")
{
    struct mr_arena arena;
    mr_arena_init(&arena);
    struct store_row_head head = {.timestamp = 5};
    mr_str small = cell_row(&arena, head,
                            (struct store_cell){.timestamp = 5, .value = MR_STR("a")});
    mr_str large = cell_row(&arena, head,
                            (struct store_cell){.timestamp = 5, .value = MR_STR("b")});
    mr_str dead = cell_row(&arena, head,
                           (struct store_cell){.timestamp = 5, .flags = STORE_CELL_TOMBSTONE});
    expect_str(shows(&arena, folds(&arena, small, large)), shows(&arena, large));
    expect_str(shows(&arena, folds(&arena, large, dead)), shows(&arena, dead));
    mr_arena_fini(&arena);
}

STORY("compaction keeps what still counts, and purges it when its grace is over")
{
    struct mr_arena arena;
    mr_arena_init(&arena);
    struct store_row_head head = {.timestamp = 5, .flags = STORE_ROW_GRACE, .grace_s = 100};
    mr_str plain = cell_row(&arena, (struct store_row_head){.timestamp = 5},
                            (struct store_cell){.timestamp = 5, .value = MR_STR("a")});
    mr_str dead = cell_row(
        &arena, head,
        (struct store_cell){.timestamp = 5, .flags = STORE_CELL_TOMBSTONE, .expiry_s = 1000});
    mr_str dying = cell_row(&arena, head,
                            (struct store_cell){.timestamp = 5,
                                                .flags = STORE_CELL_EXPIRING,
                                                .ttl_s = 9,
                                                .expiry_s = 1000,
                                                .value = MR_STR("long")});
    struct mr_buf changed = {0};
    expect_int(store_row_purge(plain, 1 << 30, &changed), 0);
    expect_int(store_row_purge(dead, 1099, &changed), 0);
    expect_int(store_row_purge(dead, 1100, &changed), 1);
    expect_int(store_row_purge(dying, 999, &changed), 0);
    mr_buf_clear(&changed);
    expect_int(store_row_purge(dying, 1000, &changed), 2);
    expect(changed.length < dying.length);
    mr_buf_clear(&changed);
    expect_int(store_row_purge(dying, 1100, &changed), 1);
    mr_buf_fini(&changed);
    mr_arena_fini(&arena);
}

STORY("damaged rows are refused")
{
    struct mr_random random;
    struct mr_arena arena;
    mr_random_init(&random, 3);
    for (int i = 0; i < 20000; i++) {
        mr_arena_init(&arena);
        mr_str whole = invents(&arena, &random);
        char *bytes = (char *)(uintptr_t)whole.data;
        size_t length = mr_random_below(&random, whole.length + 1);
        for (int j = 0; j < 3; j++)
            bytes[mr_random_below(&random, whole.length)] = (char)mr_random_u64(&random);
        struct mr_buf out = {0};
        (void)store_row_fold(mr_str_of(bytes, length), whole, &out);
        mr_buf_fini(&out);
        mr_arena_fini(&arena);
    }
}
