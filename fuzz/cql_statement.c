/* fuzz/cql_statement.c: any text as a CQL statement: parsed, then bound to a schema with one table. */
#include "store/plan.h"

static struct store_schema schema;

static void define(const char *text)
{
    struct mr_arena arena;
    struct store_fault fault = {0};
    struct store_statement *statement = NULL;
    struct store_keyspace *keyspace = NULL;
    struct store_table *table = NULL;
    mr_arena_init(&arena);
    mr_assert(store_parse(&arena, mr_str_from(text), &fault, &statement) == MR_OK);
    if (statement->kind == STORE_STATEMENT_CREATE_KEYSPACE) {
        mr_assert(store_keyspace_define(&schema, statement, &fault, &keyspace) == MR_OK);
    } else {
        mr_assert(store_table_define(statement, MR_STR("k"), 1, &fault, &table) == MR_OK);
        store_keyspace_put(store_schema_keyspace(&schema, MR_STR("k")), table);
    }
    mr_arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
    struct store_fault fault = {0};
    struct store_plan *plan = NULL;
    if (schema.keyspaces.count == 0) {
        store_schema_init(&schema);
        define("CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', "
               "'replication_factor': 1}");
        define("CREATE TABLE k.t (a int, b text, c timeuuid, d decimal, e list<int>, f map<text, "
               "frozen<set<int>>>, "
               "g text static, h tuple<int, text>, i varint, PRIMARY KEY ((a, b), c, d))");
    }
    if (store_plan_make(&schema, MR_STR("k"), mr_str_of(data, length), &fault, &plan) == MR_OK) {
        struct store_table *table = NULL;
        if (plan->statement->kind == STORE_STATEMENT_CREATE_TABLE &&
            store_table_define(plan->statement, MR_STR("k"), 2, &fault, &table) == MR_OK) {
            struct mr_buf text = {0};
            store_table_print(&text, table, true);
            mr_buf_fini(&text);
        }
        store_table_unref(table);
        store_plan_unref(plan);
    }
    return 0;
}
