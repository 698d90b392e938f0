/* store/key_test.c: the bytes of keys order as CQL's values do, for every type, both ways. */
#include "store/key.h"

#include "store/literal.h"
#include "test/story.h"

/* A value from a CQL constant. */
static struct cql_value value_of(struct mr_arena *arena, const struct cql_type *type,
                                 const char *text)
{
    struct mr_buf bytes = {0};
    bool compatible = false;
    static const enum store_term_kind kinds[] = {STORE_TERM_INTEGER, STORE_TERM_FLOAT,
                                                 STORE_TERM_STRING,  STORE_TERM_UUID,
                                                 STORE_TERM_HEX,     STORE_TERM_BOOLEAN};
    mr_err err = MR_INVALID;
    if (type->id == CQL_TYPE_DATE || type->id == CQL_TYPE_TIME)
        err = store_literal_write(&bytes, type, STORE_TERM_STRING, mr_str_from(text), &compatible);
    for (size_t i = 0; i < mr_count_of(kinds) && !compatible; i++)
        err = store_literal_write(&bytes, type, kinds[i], mr_str_from(text), &compatible);
    expect_ok(err);
    mr_str copy = mr_arena_str(arena, mr_buf_as_str(&bytes));
    mr_buf_fini(&bytes);
    return cql_value_of(copy.data, copy.length);
}

static const struct {
    enum cql_type_id type;
    const char *values[10]; /* rising */
} rows[] = {
    {CQL_TYPE_TINYINT, {"-128", "-1", "0", "1", "127"}},
    {CQL_TYPE_SMALLINT, {"-32768", "-256", "0", "255", "32767"}},
    {CQL_TYPE_INT, {"-2147483648", "-1", "0", "1", "65536", "2147483647"}},
    {CQL_TYPE_BIGINT, {"-9223372036854775808", "-1", "0", "9223372036854775807"}},
    {CQL_TYPE_VARINT,
     {"-100000000000000000000000", "-32769", "-32768", "-129", "-128", "-1", "0", "127", "128",
      "100000000000000000000000"}},
    {CQL_TYPE_DECIMAL,
     {"-1e30", "-10.5", "-10", "-0.001", "0", "0.0009", "0.001", "1.5", "15", "1e30"}},
    {CQL_TYPE_FLOAT, {"-Infinity", "-1.5", "-1e-30", "0", "1e-30", "2", "Infinity", "NaN"}},
    {CQL_TYPE_DOUBLE,
     {"-Infinity", "-1e300", "-1.5", "0", "1e-300", "2", "1e300", "Infinity", "NaN"}},
    {CQL_TYPE_BOOLEAN, {"false", "true"}},
    {CQL_TYPE_TEXT, {"", "a", "aa", "ab", "b", "\xc3\xbf"}},
    {CQL_TYPE_BLOB, {"0x", "0x00", "0x0000", "0x0001", "0x00ff", "0x01", "0xff", "0xff00"}},
    {CQL_TYPE_TIMESTAMP, {"-1", "0", "2024-01-01"}},
    {CQL_TYPE_DATE, {"1969-12-31", "1970-01-01", "2024-02-29"}},
    {CQL_TYPE_TIME, {"00:00:00", "12:00:00.000000001", "23:59:59.999999999"}},
    {CQL_TYPE_INET, {"1.2.3.4", "9.0.0.0", "127.0.0.1"}},
    {CQL_TYPE_UUID,
     {"ffffffff-0000-1000-8000-000000000000", "00000000-0001-1000-8000-000000000000",
      "00000000-0000-4000-8000-000000000001", "f0000000-0000-4000-8000-000000000000"}},
    {CQL_TYPE_TIMEUUID,
     {"ffffffff-0000-1000-8000-000000000000", "00000000-ffff-1000-8080-000000000000",
      "00000000-ffff-1000-8000-000000000000", "00000000-0000-1fff-8000-000000000000"}},
};

STORY("the bytes of a key order as its values, rising and falling, and agree with the comparator")
{
    for (size_t row = 0; row < mr_count_of(rows); row++)
        for (int descending = 0; descending < 2; descending++) {
            const struct cql_type *type = cql_type_scalar(rows[row].type);
            struct mr_arena arena;
            mr_arena_init(&arena);
            for (size_t i = 0; i < 10 && rows[row].values[i] != NULL; i++)
                for (size_t j = 0; j < 10 && rows[row].values[j] != NULL; j++) {
                    struct cql_value a = value_of(&arena, type, rows[row].values[i]);
                    struct cql_value b = value_of(&arena, type, rows[row].values[j]);
                    struct mr_buf x = {0}, y = {0};
                    store_key_component(&x, type, descending, a);
                    store_key_component(&y, type, descending, b);
                    mr_buf_u8(&x, 0x80); /* something follows */
                    mr_buf_u8(&y, 0x80);
                    int order = mr_str_compare(mr_buf_as_str(&x), mr_buf_as_str(&y));
                    int wanted = i < j ? -1 : i > j;
                    int compared = cql_value_compare(type, a, b);
                    order = order < 0 ? -1 : order > 0;
                    if (order != (descending ? -wanted : wanted) ||
                        (compared < 0 ? -1 : compared > 0) != wanted)
                        story_fail(__FILE__, __LINE__, "type %d: %s and %s order %d, compare %d",
                                   (int)rows[row].type, rows[row].values[i], rows[row].values[j],
                                   order, compared);
                    mr_buf_fini(&x);
                    mr_buf_fini(&y);
                }
            mr_arena_fini(&arena);
        }
}

STORY("components come back from their bytes")
{
    for (size_t row = 0; row < mr_count_of(rows); row++)
        for (int descending = 0; descending < 2; descending++) {
            const struct cql_type *type = cql_type_scalar(rows[row].type);
            struct mr_arena arena;
            mr_arena_init(&arena);
            for (size_t i = 0; i < 10 && rows[row].values[i] != NULL; i++) {
                struct cql_value value = value_of(&arena, type, rows[row].values[i]), back;
                struct mr_buf bytes = {0};
                store_key_component(&bytes, type, descending, value);
                mr_buf_cstr(&bytes, "tail");
                struct mr_in in = mr_in_str(mr_buf_as_str(&bytes));
                expect(store_key_component_read(&in, type, descending, &arena, &back));
                expect_int(mr_in_left(&in), 4);
                expect_int(cql_value_compare(type, value, back), 0);
                mr_buf_fini(&bytes);
            }
            mr_arena_fini(&arena);
        }
}

STORY("damaged keys are refused")
{
    struct mr_arena arena;
    struct mr_random random;
    mr_arena_init(&arena);
    mr_random_init(&random, 7);
    for (int i = 0; i < 20000; i++) {
        uint8_t bytes[24];
        struct cql_value value;
        size_t length = mr_random_below(&random, sizeof(bytes));
        for (size_t j = 0; j < length; j++)
            bytes[j] = (uint8_t)mr_random_below(&random, i % 2 ? 3 : 256);
        struct mr_in in = mr_in_of(bytes, length);
        enum cql_type_id id = rows[mr_random_below(&random, mr_count_of(rows))].type;
        (void)store_key_component_read(&in, cql_type_scalar(id), i % 3 == 0, &arena, &value);
        mr_arena_reset(&arena);
    }
    mr_arena_fini(&arena);
}

STORY("the least key behind a prefix")
{
    struct mr_buf key = {0};
    mr_buf_add(&key, "a\xff\xff", 3);
    expect(store_key_after(&key, 0));
    expect_str(mr_buf_as_str(&key), MR_STR("b"));
    mr_buf_clear(&key);
    mr_buf_add(&key, "\xff\xff", 2);
    expect(!store_key_after(&key, 0));
    mr_buf_fini(&key);
}
