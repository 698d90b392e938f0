/* store/parser_test.c: statements as they are typed, and what is wrong with them. */
#include "store/statement.h"

#include "test/story.h"

struct parsed {
    struct mr_arena arena;
    struct store_fault fault;
    struct store_statement *statement;
    mr_err err;
};

static struct parsed parses(const char *text)
{
    struct parsed parsed = {.err = MR_OK};
    mr_arena_init(&parsed.arena);
    parsed.err = store_parse(&parsed.arena, mr_str_from(text), &parsed.fault, &parsed.statement);
    return parsed;
}

static struct store_statement *well(const char *text)
{
    struct parsed parsed = parses(text);
    expect_ok(parsed.err);
    return parsed.statement;
}

static void wrong(const char *text, enum cql_error code, const char *why)
{
    struct parsed parsed = parses(text);
    expect_err(parsed.err, MR_INVALID);
    expect_int(parsed.fault.code, code);
    if (mr_str_find(mr_str_from(mr_why()), mr_str_from(why)) < 0)
        story_fail(__FILE__, __LINE__, "%s gave \"%s\", expected \"%s\"", text, mr_why(), why);
    mr_arena_fini(&parsed.arena);
}

STORY("names fold to lower case unless they are quoted")
{
    struct store_statement *select = well("SELECT Id, \"Name\" FROM Shop.\"Orders\"");
    expect_str(select->selectors[0].term->text, MR_STR("id"));
    expect_str(select->selectors[1].term->text, MR_STR("Name"));
    expect_str(select->target.keyspace, MR_STR("shop"));
    expect_str(select->target.name, MR_STR("Orders"));
}

STORY("a select has all its clauses")
{
    struct store_statement *select = well(
        "select distinct a, count(*) AS n, writetime(b), cast(c as text) FROM t WHERE p = 1 AND "
        "token(p) > ? "
        "AND (c, d) >= (1, 'x') AND e IN (1, 2) AND m['k'] = 5 AND s CONTAINS KEY 'y' GROUP BY p, "
        "c "
        "ORDER BY c DESC, d PER PARTITION LIMIT 3 LIMIT :n ALLOW FILTERING; ");
    expect_int(select->kind, STORE_STATEMENT_SELECT);
    expect_int(select->selector_count, 4);
    expect_str(select->selectors[1].alias, MR_STR("n"));
    expect_int(select->relation_count, 6);
    expect(select->relations[1].is_token);
    expect(select->relations[2].is_tuple);
    expect_int(select->relations[3].value_count, 2);
    expect(select->relations[4].element != NULL);
    expect_int(select->relations[5].op, STORE_CONTAINS_KEY);
    expect_int(select->group_count, 2);
    expect(select->orderings[0].descending && !select->orderings[1].descending);
    expect(select->distinct && select->allow_filtering);
    expect_int(select->marker_count, 2);
    expect_str(select->marker_names[1], MR_STR("n"));
}

STORY("constants keep their text and kind")
{
    static const struct {
        const char *text;
        enum store_term_kind kind;
    } rows[] = {{"'it''s'", STORE_TERM_STRING},
                {"$$raw 'x'$$", STORE_TERM_STRING},
                {"-5", STORE_TERM_INTEGER},
                {"1.5e-3", STORE_TERM_FLOAT},
                {"-Infinity", STORE_TERM_FLOAT},
                {"0xCAFE", STORE_TERM_HEX},
                {"6ab09bec-e68e-48d9-a5f8-97e6fb4c9b47", STORE_TERM_UUID},
                {"1h30m", STORE_TERM_DURATION},
                {"P1Y2M3DT4H", STORE_TERM_DURATION},
                {"TRUE", STORE_TERM_BOOLEAN},
                {"null", STORE_TERM_NULL},
                {"[1, 2]", STORE_TERM_LIST},
                {"{1, 2}", STORE_TERM_SET},
                {"{}", STORE_TERM_SET},
                {"{'a': 1}", STORE_TERM_MAP},
                {"(1, 'a')", STORE_TERM_TUPLE},
                {"(int) 5", STORE_TERM_HINT},
                {"now()", STORE_TERM_CALL},
                {"system.now()", STORE_TERM_CALL},
                {"?", STORE_TERM_MARKER}};
    for (size_t i = 0; i < mr_count_of(rows); i++) {
        struct mr_buf text = {0};
        mr_buf_printf(&text, "INSERT INTO t (a) VALUES (%s)", rows[i].text);
        char *whole = mr_buf_take_cstr(&text);
        struct store_statement *insert = well(whole);
        expect_int(insert->changes[0].value->kind, rows[i].kind);
        mr_free(whole);
    }
    expect_str(well("INSERT INTO t (a) VALUES ('it''s')")->changes[0].value->text, MR_STR("it's"));
}

STORY("updates change elements, add and subtract")
{
    struct store_statement *update = well("UPDATE t USING TTL 5 AND TIMESTAMP ? SET a = 1, m['k'] "
                                          "= ?, l = l + [1], l2 = [0] + l2, s -= {'x'}, "
                                          "n = n - 1 WHERE id = 1 IF a = 2 AND b IN (1, 2)");
    static const enum store_change_kind kinds[] = {STORE_CHANGE_SET,      STORE_CHANGE_SET_ELEMENT,
                                                   STORE_CHANGE_ADD,      STORE_CHANGE_PREPEND,
                                                   STORE_CHANGE_SUBTRACT, STORE_CHANGE_SUBTRACT};
    expect_int(update->change_count, 6);
    for (size_t i = 0; i < 6; i++)
        expect_int(update->changes[i].kind, kinds[i]);
    expect_int(update->condition_count, 2);
    expect(update->ttl != NULL && update->timestamp != NULL);
}

STORY("batches hold statements")
{
    struct store_statement *batch = well(
        "BEGIN UNLOGGED BATCH INSERT INTO t (a) VALUES (?); UPDATE t SET b = ? WHERE a = 1 "
        "DELETE b FROM t WHERE a = 2; APPLY BATCH;");
    expect_int(batch->child_count, 3);
    expect_int(batch->batch_type, CQL_BATCH_UNLOGGED);
    expect_int(batch->marker_count, 2);
}

STORY("tables are defined with keys, orders and options")
{
    struct store_statement *table = well("CREATE TABLE IF NOT EXISTS k.t (a int, b "
                                         "frozen<map<text, list<int>>>, c text static, d timeuuid, "
                                         "PRIMARY KEY ((a, b), d)) WITH CLUSTERING ORDER BY (d "
                                         "DESC) AND comment = 'x' AND gc_grace_seconds = 0 AND "
                                         "compaction = {'class': 'LeveledCompactionStrategy', "
                                         "'sstable_size_in_mb': 160} -- the end");
    expect_int(table->partition_count, 2);
    expect_int(table->clustering_count, 1);
    expect(table->columns[2].is_static);
    expect_int(table->option_count, 4);
    expect_int(table->options[3].pairs.count, 2);
    expect_int(well("ALTER TABLE t ADD (a int, b text)")->column_count, 2);
    expect_int(well("ALTER TABLE t RENAME a TO b AND c TO d")->column_count, 4);
    expect_int(well("CREATE INDEX i ON t (a) USING 'sai' WITH OPTIONS = {}")->kind,
               STORE_STATEMENT_UNSUPPORTED);
    expect_int(well("DESC FULL SCHEMA")->describe_full, 1);
}

STORY("mistakes name their place")
{
    wrong("", CQL_ERROR_SYNTAX, "line 1:0");
    wrong("SELEC * FROM t", CQL_ERROR_SYNTAX, "line 1:0 no viable alternative at input 'selec'");
    wrong("SELECT *\nFRO t", CQL_ERROR_SYNTAX, "line 2:0 mismatched input 'fro' expecting FROM");
    wrong("SELECT * FROM t WHERE", CQL_ERROR_SYNTAX, "'<EOF>'");
    wrong("SELECT * FROM t; SELECT", CQL_ERROR_SYNTAX, "expecting EOF");
    wrong("INSERT INTO t (a, b) VALUES (1)", CQL_ERROR_INVALID, "Unmatched column names/values");
    wrong("SELECT 'open FROM t", CQL_ERROR_SYNTAX, "a string has no end");
    wrong("CREATE TABLE t (a foo PRIMARY KEY)", CQL_ERROR_INVALID, "Unknown type foo");
    wrong("CREATE TABLE t (a int PRIMARY KEY, b int PRIMARY KEY)", CQL_ERROR_INVALID,
          "Multiple PRIMARY KEY");
    wrong("SELECT \x01 FROM t", CQL_ERROR_SYNTAX, "byte 0x01");
}

STORY("terms nested too deep are refused, not followed")
{
    struct mr_buf text = {0};
    mr_buf_cstr(&text, "INSERT INTO t (a) VALUES (");
    for (int i = 0; i < 10000; i++)
        mr_buf_u8(&text, '[');
    char *whole = mr_buf_take_cstr(&text);
    wrong(whole, CQL_ERROR_INVALID, "nested deeper");
    mr_free(whole);
    mr_buf_cstr(&text, "INSERT INTO t (a) VALUES (");
    for (int i = 0; i < 100000; i++)
        mr_buf_cstr(&text, "- ");
    whole = mr_buf_take_cstr(&text);
    wrong(whole, CQL_ERROR_INVALID, "nested deeper");
    mr_free(whole);
    mr_buf_cstr(&text, "INSERT INTO t (a) VALUES (1");
    for (int i = 0; i < 100000; i++)
        mr_buf_cstr(&text, "+1");
    whole = mr_buf_take_cstr(&text);
    wrong(whole, CQL_ERROR_INVALID, "more than 1000 operands");
    mr_free(whole);
}
