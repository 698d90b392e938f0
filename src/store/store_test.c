/* store/store_test.c: plans on a real database: a clock that stands still, pages, ranges, restarts. */
#include "store/db.h"
#include "store/select.h"
#include "store/write.h"

#include <stdio.h>

#include "test/story.h"

struct room {
    struct store_schema schema;
    struct store_db db;
    struct mr_clock clock;
    struct mr_arena arena;
    struct mr_buf key, row;
    uint64_t sequence;
    char folder[300];
};

static void opens(struct room *room, struct story *t)
{
    snprintf(room->folder, sizeof(room->folder), "%s/store", t->folder);
    store_schema_init(&room->schema);
    expect_ok(store_db_open(room->folder, NULL, &room->clock, &room->schema, &room->db));
}

static void closes(struct room *room)
{
    store_db_close(&room->db);
    store_schema_fini(&room->schema);
}

static struct room *given_room(struct story *t)
{
    struct room *room = mr_new(struct room);
    mr_clock_init_manual(&room->clock, INT64_C(1700000000000000));
    mr_arena_init(&room->arena);
    opens(room, t);
    return room;
}

static void defines(struct room *room, const char *text)
{
    struct store_fault fault = {0};
    struct store_statement *statement = NULL;
    struct store_keyspace *keyspace = NULL;
    struct store_table *table = NULL;
    struct kv_batch *batch = kv_batch_new();
    expect_ok(store_parse(&room->arena, mr_str_from(text), &fault, &statement));
    if (statement->kind == STORE_STATEMENT_CREATE_KEYSPACE) {
        expect_ok(store_keyspace_define(&room->schema, statement, &fault, &keyspace));
        store_db_put_keyspace(&room->db, batch, keyspace);
    } else {
        keyspace = store_schema_keyspace(&room->schema, statement->target.keyspace);
        expect_ok(store_table_define(statement, keyspace->name, room->schema.table_id_next++,
                                     &fault, &table));
        store_db_put_table(&room->db, batch, table);
        store_keyspace_put(keyspace, table);
    }
    expect_ok(kv_write(room->db.kv, batch, 0));
    kv_batch_free(batch);
}

static void writes(struct room *room, const char *text)
{
    struct store_fault fault = {0};
    struct store_plan *plan = NULL;
    struct kv_batch *batch = kv_batch_new();
    expect_ok(store_plan_make(&room->schema, MR_STR("k"), mr_str_from(text), &fault, &plan));
    struct store_write_job job = {.db = &room->db,
                                  .batch = batch,
                                  .arena = &room->arena,
                                  .plan = plan,
                                  .timestamp_us = mr_clock_wall_us(&room->clock),
                                  .now_us = mr_clock_wall_us(&room->clock),
                                  .fault = &fault,
                                  .sequence = &room->sequence,
                                  .key = &room->key,
                                  .row = &room->row};
    expect_ok(store_write_run(&job));
    if (job.deletes_range)
        plan->table->has_ranges = true;
    expect_ok(kv_write(room->db.kv, batch, 0));
    mr_clock_pass(&room->clock, 1);
    kv_batch_free(batch);
    store_plan_unref(plan);
}

/* The rows as "a,b;c,d;", read in pages of this size. */
static mr_str reads(struct room *room, const char *text, int32_t page_size)
{
    struct store_fault fault = {0};
    struct store_plan *plan = NULL;
    struct mr_buf out = {0};
    mr_str page = MR_STR_NULL;
    expect_ok(store_plan_make(&room->schema, MR_STR("k"), mr_str_from(text), &fault, &plan));
    do {
        struct store_select_job job = {
            .db = &room->db,
            .plan = plan,
            .now_us = mr_clock_wall_us(&room->clock),
            .page_size = page_size,
            .paging_state = page.length > 0 ? cql_value_of(page.data, page.length) : CQL_VALUE_NULL,
            .has_ranges = plan->table->has_ranges};
        enum store_select_state state;
        mr_arena_init(&job.arena);
        expect_ok(store_select_begin(&job));
        while ((state = store_select_run(&job, 0)) == STORE_SELECT_MORE)
            continue;
        expect_int(state, STORE_SELECT_DONE);
        struct mr_in in = mr_in_str(mr_buf_as_str(&job.rows));
        for (uint32_t i = 0; i < job.row_count; i++)
            for (uint32_t j = 0; j < plan->select->selector_count; j++) {
                cql_value_print(&out, plan->select->columns[j].type, cql_read_value(&in), true);
                mr_buf_u8(&out, j + 1 == plan->select->selector_count ? ';' : ',');
            }
        page = mr_arena_str(&room->arena, mr_buf_as_str(&job.next_page));
        store_select_fini(&job);
    } while (page.length > 0);
    mr_str copy = mr_arena_str(&room->arena, mr_buf_as_str(&out));
    mr_buf_fini(&out);
    store_plan_unref(plan);
    return copy;
}

static void defines_numbers(struct room *room)
{
    defines(room, "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', "
                  "'replication_factor': 1}");
    defines(
        room,
        "CREATE TABLE k.t (p int, c int, v text, PRIMARY KEY (p, c)) WITH gc_grace_seconds = 100");
}

STORY("a row is gone when its time is over, and not before")
{
    struct room *room = given_room(t);
    defines_numbers(room);
    writes(room, "INSERT INTO t (p, c, v) VALUES (1, 1, 'x') USING TTL 60");
    writes(room, "INSERT INTO t (p, c, v) VALUES (1, 2, 'y')");
    writes(room, "UPDATE t USING TTL 30 SET v = 'z' WHERE p = 1 AND c = 2");
    expect_str(reads(room, "SELECT c, v, ttl(v) FROM t", 0), MR_STR("1,x,60;2,z,30;"));
    mr_clock_pass(&room->clock, 29 * 1000000);
    expect_str(reads(room, "SELECT c, v, ttl(v) FROM t", 0), MR_STR("1,x,31;2,z,1;"));
    mr_clock_pass(&room->clock, 1000000);
    expect_str(reads(room, "SELECT c, v FROM t", 0), MR_STR("1,x;2,null;"));
    mr_clock_pass(&room->clock, 30 * 1000000);
    expect_str(reads(room, "SELECT c, v FROM t", 0), MR_STR("2,null;"));
    mr_clock_pass(&room->clock, INT64_C(1000) * 1000000);
    expect_ok(kv_flush(room->db.kv));
    expect_ok(kv_compact(room->db.kv, room->db.rows));
    expect_ok(kv_compact(room->db.kv, room->db.rows));
    expect_str(reads(room, "SELECT c, v FROM t", 0), MR_STR("2,null;"));
    closes(room);
}

STORY("a walk in pages gives what a walk at once gives, in both directions")
{
    struct room *room = given_room(t);
    char text[128];
    defines_numbers(room);
    for (int p = 0; p < 5; p++)
        for (int c = 0; c < 7; c++) {
            snprintf(text, sizeof(text), "INSERT INTO t (p, c, v) VALUES (%d, %d, 'v')", p, c);
            writes(room, text);
        }
    writes(room, "DELETE FROM t WHERE p = 2");
    writes(room, "DELETE FROM t WHERE p = 3 AND c >= 2 AND c < 5");
    static const char *const selects[] = {"SELECT p, c FROM t",
                                          "SELECT p, c FROM t WHERE p = 1 ORDER BY c DESC",
                                          "SELECT p, c FROM t WHERE p IN (0, 3, 4) AND c > 0",
                                          "SELECT p, c FROM t PER PARTITION LIMIT 2",
                                          "SELECT p, count(*) FROM t GROUP BY p",
                                          "SELECT DISTINCT p FROM t",
                                          "SELECT p, c FROM t LIMIT 9",
                                          "SELECT p, c FROM t WHERE c = 3 ALLOW FILTERING"};
    for (size_t i = 0; i < mr_count_of(selects); i++) {
        mr_str whole = reads(room, selects[i], 0);
        for (int32_t size = 1; size < 12; size += 2)
            expect_str(reads(room, selects[i], size), whole);
    }
    expect_str(reads(room, "SELECT c FROM t WHERE p = 3", 2), MR_STR("0;1;5;6;"));
    closes(room);
}

STORY("a deletion stays when the database is opened again and compacted")
{
    struct room *room = given_room(t);
    defines_numbers(room);
    writes(room, "INSERT INTO t (p, c, v) VALUES (1, 1, 'x')");
    writes(room, "INSERT INTO t (p, c, v) VALUES (1, 2, 'y')");
    expect_ok(kv_flush(room->db.kv));
    writes(room, "DELETE FROM t WHERE p = 1 AND c = 1");
    writes(room, "DELETE v FROM t WHERE p = 1 AND c = 2");
    expect_ok(kv_flush_wal(room->db.kv, true));
    closes(room);
    opens(room, t);
    expect_str(reads(room, "SELECT c, v FROM t", 0), MR_STR("2,null;"));
    mr_clock_pass(&room->clock, INT64_C(101) * 1000000);
    expect_ok(kv_flush(room->db.kv));
    expect_ok(kv_compact(room->db.kv, room->db.rows));
    expect_ok(kv_compact(room->db.kv, room->db.rows));
    expect_str(reads(room, "SELECT c, v FROM t", 0), MR_STR("2,null;"));
    closes(room);
}
