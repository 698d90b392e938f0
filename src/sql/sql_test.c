/* sql/sql_test.c: stories of statements that become plans, and of those that are refused. */
#include "sql/sql.h"
#include "story.h"

static const char body_ddl[] =
    "id BIGINT, key STRING, body STRUCT<gender: STRING, name: STRUCT<title: STRING, first: STRING, "
    "last: STRING>, location: STRUCT<street: STRUCT<number: INT, name: STRING>, city: STRING, "
    "state: STRING, country: STRING, postcode: STRING>, email: STRING, login: STRUCT<uuid: STRING, "
    "username: STRING>, dob: STRUCT<date: STRING, age: INT>, registered: STRUCT<date: STRING, "
    "age: INT>, phone: STRING, picture: STRUCT<large: STRING, medium: STRING, thumbnail: STRING>>, "
    "fetched_at TIMESTAMP, tags ARRAY<STRING>, items ARRAY<STRUCT<sku: STRING, price: "
    "DECIMAL(10,2)>>";

struct tables {
    const struct data_type *users;
};

static const struct data_type *find_table(void *self, mr_str name)
{
    struct tables *tables = self;
    return mr_str_equal_nocase(name, MR_STR("users_raw")) ? tables->users : NULL;
}

static mr_str name_table(void *self, uint32_t index)
{
    (void)self;
    return index == 0 ? MR_STR("users_raw") : MR_STR_NULL;
}

static struct mr_arena arena;

static mr_err binds(const char *text, struct sql_plan **plan)
{
    static struct tables tables;
    struct sql_catalog catalog = {find_table, name_table, &tables};
    struct sql_settings settings = {.streaming = true};
    expect_ok(data_type_parse(&arena, mr_str_from(body_ddl), &tables.users));
    return sql_bind(&arena, mr_str_from(text), &catalog, &settings, plan);
}

static void expect_plan(const char *text, const char *expected)
{
    struct sql_plan *plan;
    struct mr_buf out = {0};
    expect_ok(binds(text, &plan));
    sql_plan_print(&out, plan);
    expect_str(mr_buf_as_str(&out), mr_str_from(expected));
    mr_buf_fini(&out);
}

static void expect_refusal(const char *text, mr_err code, const char *sentence)
{
    struct sql_plan *plan;
    expect_err(binds(text, &plan), code);
    expect_str(mr_str_from(mr_why()), mr_str_from(sentence));
}

STORY("the main pipeline's statement binds, and reads only the fields that it needs")
{
    struct sql_plan *plan;
    struct mr_buf out = {0};
    expect_ok(binds(
        "SELECT body.login.uuid AS id, body.name.first AS first_name, body.name.last AS last_name, "
        "body.gender AS gender, concat(CAST(body.location.street.number AS STRING), ' ', "
        "body.location.street.name, ', ', body.location.city, ', ', body.location.state, ', ', "
        "body.location.country) AS address, body.location.postcode AS post_code, body.email AS "
        "email, "
        "body.login.username AS username, body.dob.date AS dob, body.registered.date AS "
        "registered_date, body.phone AS phone, body.picture.medium AS picture FROM users_raw",
        &plan));
    expect_int(plan->root->row->field_count, 12);
    expect_str(plan->root->row->fields[4].name, MR_STR("address"));
    expect_int(plan->root->row->fields[4].type->kind, DATA_STRING);
    expect(plan->scan == plan->root->input);
    expect(plan->scan->scan.used[2] && !plan->scan->scan.used[0] && !plan->scan->scan.used[3]);
    data_type_print(&out, plan->scan->row->fields[2].type);
    expect_str(
        mr_buf_as_str(&out),
        MR_STR("struct<gender:string,name:struct<first:string,last:string>,location:struct<"
               "street:struct<number:int,name:string>,city:string,state:string,country:string,"
               "postcode:string>,email:string,login:struct<uuid:string,username:string>,"
               "dob:struct<date:string>,registered:struct<date:string>,phone:string,"
               "picture:struct<medium:string>>"));
    mr_buf_fini(&out);
}

STORY("users by country and minute is a grouping by a window")
{
    struct sql_plan *plan;
    expect_ok(
        binds("SELECT window.start AS minute, body.location.country AS country, count(*) AS users "
              "FROM users_raw GROUP BY window(fetched_at, '1 minute'), body.location.country",
              &plan));
    struct sql_node *node = plan->root->input;
    expect_int(node->kind, SQL_NODE_AGGREGATE);
    expect_int(node->aggregate.key_count, 2);
    expect_int(node->aggregate.window->key, 0);
    expect_int(node->aggregate.window->scan_column, 3);
    expect_int(node->aggregate.window->size_us, 60000000);
    expect_int(node->aggregate.window->slide_us, 60000000);
    expect(plan->aggregates && plan->deterministic);
    expect_plan(
        "SELECT window.start AS minute, body.location.country AS country, count(*) AS users "
        "FROM users_raw GROUP BY window(fetched_at, '1 minute'), body.location.country",
        "scan users_raw: body struct<location:struct<country:string>>, fetched_at timestamp\n"
        "aggregate by [window, body.location.country] count(*) in windows of 60000000 us every "
        "60000000 us over fetched_at\n"
        "project window.start as minute, body.location.country as country, aggregate1 as "
        "users\n");
}

STORY("plans say what they do")
{
    expect_plan("SELECT id + 1 AS x, upper(key) FROM users_raw u WHERE u.id > 3 AND key LIKE 'a%'",
                "scan users_raw: id bigint, key string\n"
                "filter and(>(id, cast(3 as bigint)), like(key, \"a%\"))\n"
                "project +(id, cast(1 as bigint)) as x, upper(key) as upper(key)\n");
    expect_plan("SELECT id, explode(tags) AS tag FROM users_raw",
                "scan users_raw: id bigint, tags array<string>\nunfold tags\n"
                "project id as id, tag as tag\n");
    expect_plan(
        "SELECT i.sku, count(*) c FROM users_raw LATERAL VIEW explode(items) t AS i GROUP BY 1 "
        "HAVING c > 2",
        "scan users_raw: items array<struct<sku:string,price:decimal(10,2)>>\nunfold items\n"
        "aggregate by [i.sku] count(*)\nfilter >(aggregate1, cast(2 as bigint))\n"
        "project i.sku as sku, aggregate1 as c\n");
    expect_plan(
        "WITH a AS (SELECT id, body FROM users_raw WHERE id > 1) SELECT body.email, id FROM a",
        "scan users_raw: id bigint, body struct<gender:string,name:struct<title:string,first:"
        "string,last:string>,location:struct<street:struct<number:int,name:string>,city:string,"
        "state:string,country:string,postcode:string>,email:string,login:struct<uuid:string,"
        "username:string>,dob:struct<date:string,age:int>,registered:struct<date:string,age:"
        "int>,phone:string,picture:struct<large:string,medium:string,thumbnail:string>>\n"
        "filter >(id, cast(1 as bigint))\nproject id as id, body as body\n"
        "project body.email as email, id as id\n");
    expect_plan("SELECT sum(id) + count(*) AS n FROM users_raw",
                "scan users_raw: id bigint\naggregate by [] sum(id), count(*)\n"
                "project +(aggregate1, aggregate2) as n\n");
}

STORY("mistakes are told with their place, and what was meant")
{
    expect_refusal("SELECT body.emial FROM users_raw", MR_INVALID,
                   "line 1, column 8: field `emial` is not in STRUCT<gender: STRING, name: "
                   "STRUCT<title: STRING, first: STRING, last: STRING>, location: STRUCT<street: "
                   "STRUCT<number:...; did you mean `email`?");
    expect_refusal("SELECT idd\nFROM users_raw", MR_INVALID,
                   "line 1, column 8: column `idd` is not in `users_raw`; did you mean `id`?");
    expect_refusal("SELECT id FROM user_raw", MR_INVALID,
                   "line 1, column 16: table `user_raw` is not known; did you mean `users_raw`?");
    expect_refusal("SELECT uper(key) FROM users_raw", MR_INVALID,
                   "line 1, column 8: function `uper` is not known; did you mean `upper`?");
    expect_refusal("SELECT lpad(key) FROM users_raw", MR_INVALID,
                   "line 1, column 8: lpad: expected 2 to 3 arguments, found 1");
    expect_refusal("SELECT id,\n  key FROM users_raw WHERE", MR_INVALID,
                   "line 2, column 27: expected an expression, found the end of the text");
    expect_refusal("SELECT id FROM users_raw WHERE key", MR_INVALID,
                   "line 1, column 32: WHERE: expected a condition, found STRING");
    expect_refusal(
        "SELECT id, count(*) FROM users_raw GROUP BY key", MR_INVALID,
        "line 1, column 8: column `id` is neither grouped by nor inside an aggregate; add it "
        "to GROUP BY, or take first(id)");
    expect_refusal("SELECT 'abc FROM users_raw", MR_INVALID,
                   "line 1, column 8: a text in quotes is not closed");
    expect_refusal("SELECT abs(tags) FROM users_raw", MR_INVALID,
                   "line 1, column 12: abs: argument 1: expected DOUBLE, found ARRAY<STRING>");
}

STORY("what a stream cannot do is refused with a sentence")
{
    expect_refusal(
        "SELECT DISTINCT id FROM users_raw", MR_UNSUPPORTED,
        "line 1, column 8: SELECT DISTINCT would keep every row of a stream for ever; GROUP "
        "BY the columns within a window(...) instead");
    expect_refusal(
        "SELECT id FROM users_raw ORDER BY id", MR_UNSUPPORTED,
        "line 1, column 26: ORDER BY has no meaning on a stream, which never ends; sort when "
        "reading the result");
    expect_refusal("SELECT a.id FROM users_raw a JOIN users_raw b", MR_UNSUPPORTED,
                   "line 1, column 30: joins are not there yet: a stream reads one table");
    expect_refusal("SELECT id FROM users_raw LIMIT 3", MR_UNSUPPORTED,
                   "line 1, column 26: LIMIT has no meaning on a stream, which never ends");
    expect_refusal(
        "SELECT rand() FROM users_raw", MR_UNSUPPORTED,
        "line 1, column 8: rand(): a replay after a crash would give another value; take one "
        "from the record");
    expect_refusal("SELECT 1", MR_UNSUPPORTED,
                   "line 1, column 1: a stream reads a table: expected FROM and its name");
}

STORY("the tables of a statement are known without a catalog")
{
    mr_str *names;
    size_t count;
    expect_ok(sql_tables(
        &arena, MR_STR("WITH a AS (SELECT * FROM x.`y z`) SELECT * FROM (SELECT 1 FROM a)"), &names,
        &count));
    expect_int(count, 1);
    expect_str(names[0], MR_STR("x.y z"));
}

STORY("deep and long statements meet limits, not the stack")
{
    struct mr_buf text = {0};
    struct sql_plan *plan;
    mr_buf_cstr(&text, "SELECT ");
    for (int i = 0; i < 100000; i++)
        mr_buf_u8(&text, '(');
    mr_buf_u8(&text, '\0');
    expect_err(binds((char *)text.data, &plan), MR_LIMIT);
    mr_buf_clear(&text);
    mr_buf_cstr(&text, "SELECT 1");
    for (int i = 0; i < 100000; i++)
        mr_buf_cstr(&text, "+1");
    mr_buf_u8(&text, '\0');
    expect_err(binds((char *)text.data, &plan), MR_LIMIT);
    mr_buf_clear(&text);
    mr_buf_cstr(&text, "SELECT id FROM users_raw WHERE id");
    for (int i = 0; i < 60; i++)
        mr_buf_cstr(&text, " BETWEEN 1 AND 2");
    mr_buf_u8(&text, '\0');
    expect_err(binds((char *)text.data, &plan), MR_LIMIT);
    mr_buf_clear(&text);
    mr_buf_cstr(&text, "SELECT id AS a0");
    for (int i = 0; i < 60; i++)
        mr_buf_printf(&text, ", a%d + a%d AS a%d", i, i, i + 1);
    mr_buf_cstr(&text, " FROM users_raw");
    mr_buf_u8(&text, '\0');
    expect_err(binds((char *)text.data, &plan), MR_LIMIT);
    mr_buf_fini(&text);
}

STORY("the documentation names every function")
{
    struct mr_buf out = {0};
    sql_print_docs(&out);
    expect(mr_str_find(mr_buf_as_str(&out), MR_STR("| `lpad` | text, int, [text] |")) > 0);
    mr_buf_fini(&out);
}
