#include "capture/table.h"
#include "story.h"

static struct mr_arena arena;

STORY("the table that a step makes has the record that everyone knows")
{
    struct capture_shape shape;
    struct mr_buf out = {0};
    capture_shape_raw(&arena, MR_STR("raw.users"), &shape);
    expect_str(shape.avro,
               MR_STR("{\"type\":\"record\",\"name\":\"users\",\"namespace\":\"raw\",\"fields\":["
                      "{\"name\":\"id\",\"type\":\"long\"},"
                      "{\"name\":\"key\",\"type\":\"string\"},"
                      "{\"name\":\"body\",\"type\":\"string\"},"
                      "{\"name\":\"fetched_at\",\"type\":{\"type\":\"long\","
                      "\"logicalType\":\"timestamp-micros\"}}]}"));
    data_type_print(&out, shape.spark);
    expect_str(mr_buf_as_str(&out),
               MR_STR("struct<id:bigint,key:string,body:string,fetched_at:timestamp>"));
    expect_int(shape.key_count, 1);
    expect_str(shape.key[0], MR_STR("id"));
    expect(!shape.exists);
}

STORY("a row becomes a key and Confluent's wire format")
{
    struct capture_table *table = capture_table_new_raw(MR_STR("raw.users"));
    mr_str row[] = {MR_STR("7"), MR_STR("k"), MR_STR("{}"),
                    MR_STR("1970-01-01 00:00:00.000001+00")};
    struct mr_buf key = {0}, value = {0};
    char hex[100];
    capture_table_key(table, row, &key);
    expect_str(mr_buf_as_str(&key), MR_STR("7"));
    capture_table_value(table, row, 258, &value);
    expect_int(value.err, MR_OK);
    mr_hex(value.data, value.length, hex);
    expect_str(mr_str_from(hex), MR_STR("00000001020e026b047b7d02"));
    capture_table_free(table);
}

static struct capture_relation_column columns[] = {
    {true, {"id", 2}, 20, -1},      {true, {"key", 3}, 25, -1},
    {true, {"body", 4}, 3802, -1},  {true, {"fetched_at", 10}, 1184, -1},
    {true, {"new one", 7}, 23, -1},
};
static struct capture_message relation_of(uint16_t count)
{
    return (struct capture_message){.kind = CAPTURE_MESSAGE_RELATION,
                                    .schema = MR_STR("raw"),
                                    .name = MR_STR("users"),
                                    .identity = 'f',
                                    .column_count = count,
                                    .columns = columns};
}

STORY("a column that came is a new version, whose column may be null")
{
    struct capture_table *table = capture_table_new_raw(MR_STR("raw.users")), *next = NULL;
    struct capture_message same = relation_of(4), more = relation_of(5);
    expect(capture_table_is_version(table, &same));
    expect(!capture_table_is_version(table, &more));
    expect_ok(capture_table_new_version(table, &more, &next));
    expect(mr_str_ends(
        next->avro,
        MR_STR("{\"name\":\"new_one\",\"type\":[\"null\",\"int\"],\"default\":null}]}")));
    expect_int(next->key_count, 1);
    expect(capture_table_is_version(next, &more));
    struct capture_table *lenient = capture_table_new_lenient(next);
    expect(mr_str_find(lenient->avro, MR_STR("\"key\",\"type\":[\"null\",\"string\"]")) > 0);
    expect(mr_str_find(lenient->avro, MR_STR("\"id\",\"type\":\"long\"")) > 0);
    capture_table_free(lenient);
    capture_table_free(next);
    capture_table_free(table);
}

STORY("a version without a key column is refused")
{
    struct capture_table *table = capture_table_new_raw(MR_STR("raw.users")), *next = NULL;
    struct capture_message message = relation_of(3);
    message.columns = columns + 1;
    expect_err(capture_table_new_version(table, &message, &next), MR_UNSUPPORTED);
    capture_table_free(table);
}

STORY("integer keys are in the order of numbers")
{
    struct capture_table *table = capture_table_new_raw(MR_STR("raw.users"));
    mr_str row[] = {MR_STR("10")}, key[] = {MR_STR("9")};
    expect(table->ordered);
    expect(capture_table_compare(table, row, key) > 0);
    expect(capture_table_compare(table, key, row) < 0);
    expect(capture_table_compare(table, key, key) == 0);
    capture_table_free(table);
}

STORY("a range of the snapshot is one statement")
{
    struct capture_table *table = capture_table_new_raw(MR_STR("raw.users"));
    struct mr_buf sql = {0};
    capture_table_chunk_sql(table, true, 10, &sql);
    expect_str(mr_buf_as_str(&sql),
               MR_STR("SELECT \"id\", \"key\", \"body\", \"fetched_at\" FROM ONLY "
                      "\"raw\".\"users\" ORDER BY \"id\" LIMIT 10"));
    mr_buf_clear(&sql);
    capture_table_chunk_sql(table, false, 10, &sql);
    expect(mr_str_find(mr_buf_as_str(&sql), MR_STR(" WHERE (\"id\") > ($1) ORDER BY")) > 0);
    capture_table_free(table);
}
