/* engine/flow_test.c: streams as people write them, without any server: what is refused, what comes out
 * of rows with an end, and what comes out of batches with watermarks, late rows and kills. */
#include <stdio.h>

#include "engine/finish.h"
#include "engine/groups.h"
#include "engine/scan.h"
#include "story.h"

/* ---- streams ---- */
#define USER_COLUMNS "id BIGINT, key STRING, body STRING, fetched_at TIMESTAMP"
#define BODY                                                                                      \
    "STRUCT<gender: STRING, name: STRUCT<title: STRING, first: STRING, last: STRING>, location: " \
    "STRUCT<street: STRUCT<number: INT, name: STRING>, city: STRING, state: STRING, country: "    \
    "STRING, postcode: STRING>, email: STRING, login: STRUCT<uuid: STRING, username: STRING>, "   \
    "dob: STRUCT<date: STRING, age: INT>, registered: STRUCT<date: STRING, age: INT>, phone: "    \
    "STRING, picture: STRUCT<large: STRING, medium: STRING, thumbnail: STRING>>"
#define USERS_CREATED                                                                            \
    "SELECT body.login.uuid AS id, body.name.first AS first_name, body.name.last AS last_name, " \
    "body.gender AS gender, concat(CAST(body.location.street.number AS STRING), ' ', "           \
    "body.location.street.name, ', ', body.location.city, ', ', body.location.state, ', ', "     \
    "body.location.country) AS address, body.location.postcode AS post_code, body.email AS "     \
    "email, body.login.username AS username, body.dob.date AS dob, body.registered.date AS "     \
    "registered_date, body.phone AS phone, body.picture.medium AS picture FROM users_raw"
#define USERS_BY_COUNTRY                                                                       \
    "SELECT window.start AS minute, body.location.country AS country, count(*) AS users FROM " \
    "users_raw GROUP BY window(fetched_at, '1 minute'), body.location.country"
#define ADA                                                                                     \
    "{\"id\": 7, \"fetched_at\": \"2026-11-21T06:00:01Z\", \"body\": {\"gender\": \"female\", " \
    "\"name\": {\"title\": \"Ms\", \"first\": \"Ada\", \"last\": \"Byron\"}, \"location\": "    \
    "{\"street\": {\"number\": 12, \"name\": \"High St\"}, \"city\": \"York\", \"state\": "     \
    "\"Yorkshire\", \"country\": \"England\", \"postcode\": 4711}, \"email\": \"a@b.c\", "      \
    "\"login\": {\"uuid\": \"5f0c31d2-0b2b-4c1e-9c49-0e3f3a4bb1d5\", \"username\": \"ada\"}}}"

struct given {
    struct mr_arena arena;
    struct engine_input input;
    struct engine_stream_spec spec;
    struct engine_pair input_types[4], types[4], require[4];
    mr_str keys[4], input_keys[2];
    struct engine_target targets[2];
};
static struct given *given_stream(const char *sql)
{
    struct given *given = mr_new(struct given);
    mr_arena_init(&given->arena);
    given->input = (struct engine_input){.topic = MR_STR("users_raw"),
                                         .schema = MR_STR(USER_COLUMNS),
                                         .types = given->input_types,
                                         .type_count = 1,
                                         .keys = given->input_keys,
                                         .watermark_column = MR_STR("fetched_at"),
                                         .watermark_delay_us = 10000000};
    given->input_types[0] = (struct engine_pair){MR_STR("body"), MR_STR(BODY)};
    given->spec = (struct engine_stream_spec){.name = MR_STR("s"),
                                              .sql = mr_str_from(sql),
                                              .inputs = &given->input,
                                              .input_count = 1,
                                              .keys = given->keys,
                                              .types = given->types,
                                              .require = given->require,
                                              .targets = given->targets};
    return given;
}
static struct given *given_columns(const char *columns, const char *sql)
{
    struct given *given = given_stream(sql);
    given->input.topic = MR_STR("t");
    given->input.schema = mr_str_from(columns);
    given->input.type_count = 0;
    given->input.watermark_column = MR_STR("");
    return given;
}
static void key(struct given *given, const char *column)
{
    given->keys[given->spec.key_count++] = mr_str_from(column);
}
static void into(struct given *given, const char *driver, const char *place)
{
    given->targets[given->spec.target_count++] = (struct engine_target){mr_str_from(driver),
                                                                        mr_str_from(place)};
}
static void require(struct given *given, const char *column, const char *rule)
{
    given->require[given->spec.require_count++] = (struct engine_pair){mr_str_from(column),
                                                                       mr_str_from(rule)};
}
static void free_given(struct given *given)
{
    mr_arena_fini(&given->arena);
    mr_free(given);
}
/* The one mistake that the stream has. */
static struct engine_mistake mistake_of(struct given *given)
{
    struct engine_checked checked;
    expect_err(engine_check(&given->arena, &given->spec, &checked), MR_INVALID);
    if (checked.mistake_count != 1)
        for (size_t i = 0; i < checked.mistake_count; i++)
            printf("%.*s\n", MR_STR_ARG(checked.mistakes[i].text));
    expect_int(checked.mistake_count, 1);
    return checked.mistakes[0];
}
static void expect_mistake(struct given *given, enum engine_mistake_part part, const char *words)
{
    struct engine_mistake mistake = mistake_of(given);
    expect_int(mistake.part, part);
    if (mr_str_find(mistake.text, mr_str_from(words)) < 0)
        expect_str(mistake.text, mr_str_from(words));
    free_given(given);
}
static struct engine_bounded results(struct given *given, const char *const *rows, size_t count)
{
    struct engine_bounded out;
    mr_str texts[16];
    for (size_t i = 0; i < count; i++)
        texts[i] = mr_str_from(rows[i]);
    expect_ok(engine_run_bounded(&given->arena, &given->spec, texts, count, 0, &out));
    return out;
}
#define ROWS(...) \
    ((const char *const[]){__VA_ARGS__}), mr_count_of(((const char *const[]){__VA_ARGS__}))

/* ---- what is refused ---- */
STORY("the main job's streams bind, and say their columns")
{
    struct given *given = given_stream(USERS_CREATED);
    struct engine_checked checked;
    key(given, "id");
    given->types[0] = (struct engine_pair){MR_STR("id"), MR_STR("uuid")};
    given->spec.type_count = 1;
    require(given, "email", "not_null");
    into(given, "cassandra", "spark_streams.created_users");
    expect_ok(engine_check(&given->arena, &given->spec, &checked));
    expect_int(checked.row->field_count, 12);
    expect_str(checked.row->fields[5].name, MR_STR("post_code"));
    expect(!checked.aggregates);
    free_given(given);

    given = given_stream(USERS_BY_COUNTRY);
    key(given, "country");
    key(given, "minute");
    into(given, "cassandra", "spark_streams.users_by_country");
    expect_ok(engine_check(&given->arena, &given->spec, &checked));
    expect(checked.aggregates);
    expect_str(checked.input, MR_STR("users_raw"));
    free_given(given);
}
STORY("a mistake in the SQL is told with its line and column")
{
    struct given *given = given_stream("SELECT body.email,\n       body.nothing FROM users_raw");
    struct engine_mistake mistake = mistake_of(given);
    expect_int(mistake.part, ENGINE_MISTAKE_SQL);
    expect_int(mistake.line, 2);
    expect(mistake.column >= 8);
    expect(mr_str_find(mistake.text, MR_STR("nothing")) >= 0);
    free_given(given);
}
STORY("a stream that is not there is named, with those that are")
{
    expect_mistake(given_stream("SELECT 1 AS a FROM user_raw"), ENGINE_MISTAKE_SQL, "users_raw");
}
STORY("a key, a rule or a type for a column that the result lacks is a mistake of its own")
{
    struct given *given = given_stream("SELECT id FROM users_raw");
    key(given, "uuid");
    expect_mistake(given, ENGINE_MISTAKE_KEY, "uuid");
    given = given_stream("SELECT id FROM users_raw");
    require(given, "email", "not_null");
    expect_mistake(given, ENGINE_MISTAKE_REQUIRE, "email");
    given = given_stream("SELECT id FROM users_raw");
    given->types[0] = (struct engine_pair){MR_STR("uuid"), MR_STR("uuid")};
    given->spec.type_count = 1;
    expect_mistake(given, ENGINE_MISTAKE_TYPE, "uuid");
}
STORY("all mistakes are told at once")
{
    struct given *given = given_stream("SELECT id FROM users_raw");
    struct engine_checked checked;
    key(given, "a");
    require(given, "b", "not_null");
    into(given, "mongodb", "x.y");
    expect_err(engine_check(&given->arena, &given->spec, &checked), MR_INVALID);
    expect_int(checked.mistake_count, 3);
    free_given(given);
}
STORY("append without a watermark, or without its window, could never emit: refused")
{
    struct given *given = given_stream(USERS_BY_COUNTRY);
    given->input.watermark_column = MR_STR("");
    expect_mistake(given, ENGINE_MISTAKE_MODE, "watermark");
    given = given_stream(
        "SELECT body.gender AS g, count(*) AS n FROM users_raw GROUP BY body.gender");
    expect_mistake(given, ENGINE_MISTAKE_MODE, "mode: update");
    given = given_stream(
        "SELECT body.gender AS g, count(*) AS n FROM users_raw GROUP BY body.gender");
    given->spec.mode = ENGINE_UPDATE;
    struct engine_checked checked;
    expect_ok(engine_check(&given->arena, &given->spec, &checked));
    free_given(given);
}
STORY("a table needs a key, a keyspace, and types that hold the values")
{
    struct given *given = given_stream("SELECT id FROM users_raw");
    into(given, "cassandra", "k.t");
    expect_mistake(given, ENGINE_MISTAKE_TARGET, "key");
    given = given_stream("SELECT id FROM users_raw");
    key(given, "id");
    into(given, "cassandra", "t");
    expect_mistake(given, ENGINE_MISTAKE_TARGET, "keyspace.table");
    given = given_stream("SELECT id FROM users_raw");
    key(given, "id");
    given->types[0] = (struct engine_pair){MR_STR("id"), MR_STR("uuid")};
    given->spec.type_count = 1;
    into(given, "cassandra", "k.t");
    expect_mistake(given, ENGINE_MISTAKE_TYPE, "uuid");
}
STORY("the watermark's column must be a timestamp")
{
    struct given *given = given_stream("SELECT id FROM users_raw");
    given->input.watermark_column = MR_STR("key");
    expect_mistake(given, ENGINE_MISTAKE_INPUT, "TIMESTAMP");
}

/* ---- rows with an end ---- */
STORY("a user becomes the twelve fields of the known job; a postcode may be a number")
{
    struct given *given = given_stream(USERS_CREATED);
    key(given, "id");
    struct engine_bounded out = results(given, ROWS(ADA));
    expect_int(out.dead_count, 0);
    expect_int(out.row_count, 1);
    expect_str(
        out.rows[0],
        MR_STR("{\"id\":\"5f0c31d2-0b2b-4c1e-9c49-0e3f3a4bb1d5\",\"first_name\":\"Ada\","
               "\"last_name\":\"Byron\",\"gender\":\"female\",\"address\":\"12 High St, York, "
               "Yorkshire, England\",\"post_code\":\"4711\",\"email\":\"a@b.c\","
               "\"username\":\"ada\",\"dob\":null,\"registered_date\":null,\"phone\":null,"
               "\"picture\":null}"));
    free_given(given);
}
STORY("text inside text is read the same as an object")
{
    struct given *given = given_stream("SELECT body.email AS e FROM users_raw");
    struct engine_bounded out = results(given, ROWS("{\"body\": \"{\\\"email\\\": \\\"x\\\"}\"}"));
    expect_int(out.row_count, 1);
    expect_str(out.rows[0], MR_STR("{\"e\":\"x\"}"));
    free_given(given);
}
STORY("what breaks a rule or has no key is a dead letter, and the rest goes on")
{
    struct given *given = given_columns("a STRING, b INT", "SELECT a, b FROM t");
    key(given, "a");
    require(given, "b", "b > 10");
    struct engine_bounded out = results(given, ROWS("{\"a\": \"x\", \"b\": 11}",
                                                    "{\"a\": \"y\", \"b\": 9}", "{\"b\": 12}",
                                                    "no json", "{\"a\": \"z\", \"b\": null}"));
    expect_int(out.row_count, 1);
    expect_int(out.dead_count, 4);
    expect(mr_str_starts(out.dead[0], MR_STR("{\"row\": 3, \"place\": \"decode\",")));
    free_given(given);
}
STORY("an error of evaluation is one row's, not the stream's")
{
    struct given *given = given_columns("a INT", "SELECT 10 / a AS q FROM t");
    given->spec.ansi = true;
    struct engine_bounded out = results(given, ROWS("{\"a\": 5}", "{\"a\": 0}", "{\"a\": 2}"));
    expect_int(out.row_count, 2);
    expect_int(out.dead_count, 1);
    expect(mr_str_find(out.dead[0], MR_STR("DIVIDE_BY_ZERO")) > 0);
    free_given(given);
}
STORY("a filter keeps what is true, and only that")
{
    struct given *given = given_columns("a INT", "SELECT a FROM t WHERE a > 1");
    struct engine_bounded out = results(given,
                                        ROWS("{\"a\": 1}", "{\"a\": 2}", "{}", "{\"a\": 3}"));
    expect_int(out.row_count, 2);
    expect_str(out.rows[1], MR_STR("{\"a\":3}"));
    free_given(given);
}
STORY("explode gives a row an element, each still knowing its record")
{
    struct given *given = given_columns("k STRING, list ARRAY<INT>",
                                        "SELECT k, explode(list) AS e FROM t");
    require(given, "e", "e < 30");
    struct engine_bounded out = results(given, ROWS("{\"k\": \"a\", \"list\": [1, 2]}",
                                                    "{\"k\": \"b\", \"list\": []}",
                                                    "{\"k\": \"c\", \"list\": [3, 40, 5]}"));
    expect_int(out.row_count, 4);
    expect_str(out.rows[3], MR_STR("{\"k\":\"c\",\"e\":5}"));
    expect_int(out.dead_count, 1);
    expect(mr_str_starts(out.dead[0], MR_STR("{\"row\": 2,")));
    free_given(given);
}
STORY("windows come out at the end of bounded rows, none of them late")
{
    struct given *given = given_stream(USERS_BY_COUNTRY);
    struct engine_bounded out = results(
        given, ROWS("{\"fetched_at\": \"2026-11-21T06:00:59.999Z\", \"body\": {\"location\": "
                    "{\"country\": \"Norway\"}}}",
                    "{\"fetched_at\": \"2026-11-21T07:00:00Z\", \"body\": {\"location\": "
                    "{\"country\": \"Norway\"}}}",
                    "{\"fetched_at\": \"2026-11-21T06:00:00Z\", \"body\": {\"location\": "
                    "{\"country\": \"Norway\"}}}",
                    "{\"fetched_at\": null, \"body\": {\"location\": {\"country\": \"Norway\"}}}"));
    expect_int(out.row_count, 2);
    expect_str(
        out.rows[0],
        MR_STR("{\"minute\":\"2026-11-21T06:00:00.000Z\",\"country\":\"Norway\",\"users\":2}"));
    free_given(given);
}
STORY("sliding windows count a row once in each window that has it")
{
    struct given *given = given_columns(
        "ts TIMESTAMP", "SELECT window.start AS s, window.end AS e, count(*) AS n FROM t "
                        "GROUP BY window(ts, '10 minutes', '5 minutes')");
    given->spec.mode = ENGINE_UPDATE;
    struct engine_bounded out = results(
        given, ROWS("{\"ts\": \"2026-11-21T06:07:00Z\"}", "{\"ts\": \"2026-11-21T06:12:00Z\"}"));
    expect_int(out.row_count, 3);
    free_given(given);
}
STORY("without GROUP BY one row comes out even when none goes in")
{
    struct given *given = given_columns("a INT", "SELECT count(*) AS n, sum(a) AS s FROM t");
    struct engine_bounded out;
    given->spec.mode = ENGINE_UPDATE;
    expect_ok(engine_run_bounded(&given->arena, &given->spec, NULL, 0, 0, &out));
    expect_int(out.row_count, 1);
    expect_str(out.rows[0], MR_STR("{\"n\":0,\"s\":null}"));
    free_given(given);
}

/* ---- batches ---- */
enum { KEYS = 5, RECORDS_MAX = 4000 };
struct cell {
    int64_t count, time_us; /* as a table keeps them: the latest write wins */
};
/* A stream at work, as stream.c drives it, with a table for its results. */
struct at_work {
    struct engine_bound *bound;
    struct engine_outlet outlet;
    struct engine_flow *flow;
    struct engine_scan *scan;
    struct mr_map table; /* "window key" to struct cell */
    bool quiet;          /* the outlet's tables come after the commit */
    int64_t emitted, event_us;
    int64_t committed_late, committed_event, committed_watermark;
    struct mr_map changelog; /* key to struct mr_bytes, as committed */
};
static mr_err take_rows(void *context, struct engine_rows *rows)
{
    struct at_work *work = context;
    char name[64];
    if (work->quiet)
        return MR_OK;
    for (uint16_t i = 0; i < rows->chunk->row_count; i++) {
        uint16_t row = rows->chunk->rows[i];
        snprintf(name, sizeof(name), "%lld %lld", (long long)rows->chunk->columns[0]->longs[row],
                 (long long)rows->chunk->columns[1]->longs[row]);
        struct cell *cell = mr_map_get(&work->table, mr_str_from(name));
        if (cell == NULL) {
            cell = mr_new(struct cell);
            cell->time_us = INT64_MIN;
            mr_map_put(&work->table, mr_str_from(name), cell);
        }
        int64_t count = rows->chunk->columns[2]->longs[row];
        if (rows->times[row] == cell->time_us)
            expect_int(count, cell->count); /* the same write time: the same row */
        if (rows->times[row] >= cell->time_us)
            *cell = (struct cell){count, rows->times[row]};
        work->emitted++;
    }
    return MR_OK;
}
static void take_dead(void *context, const struct engine_rows *rows, uint32_t row,
                      const char *place, mr_str why)
{
    (void)context, (void)rows, (void)row;
    story_fail(__FILE__, __LINE__, "a dead letter: %s: %.*s", place, MR_STR_ARG(why));
}
static void begins(struct at_work *work)
{
    struct mr_map_entry *entry;
    expect_ok(engine_flow_new(work->bound, &work->outlet, &work->flow));
    work->flow->late = work->committed_late;
    work->event_us = work->committed_event;
    work->flow->watermark_us = work->committed_watermark;
    for (size_t i = 0; (entry = mr_map_next(&work->changelog, &i)) != NULL;) {
        const struct mr_bytes *value = entry->value;
        expect_ok(engine_groups_load(work->flow->groups, entry->key,
                                     mr_str_of(value->data, value->length)));
    }
    if (work->flow->tables_after)
        expect_ok(engine_flow_again(work->flow, true));
}
/* With `killed`: right after the commit, before its tables are written. */
static void commits_but(struct at_work *work, bool killed)
{
    size_t count;
    const struct engine_groups_change *changes = engine_groups_changes(work->flow->groups, &count);
    for (size_t i = 0; i < count; i++) {
        struct mr_bytes *old;
        if (changes[i].value.data == NULL)
            old = mr_map_remove(&work->changelog, changes[i].key);
        else
            old = mr_map_put(&work->changelog, changes[i].key,
                             mr_bytes_copy(changes[i].value.data, changes[i].value.length));
        mr_bytes_unref(old);
    }
    work->committed_late = work->flow->late;
    work->committed_event = work->event_us;
    work->committed_watermark = engine_flow_watermark_next(work->flow, work->event_us);
    if (killed) {
        engine_flow_free(work->flow);
        begins(work);
        return;
    }
    if (work->flow->tables_after)
        expect_ok(engine_flow_again(work->flow, false));
    engine_groups_settle(work->flow->groups);
}
static void commits(struct at_work *work)
{
    commits_but(work, false);
}
static struct at_work *given_work(struct given *given)
{
    struct at_work *work = mr_new(struct at_work);
    struct engine_mistakes mistakes = {.arena = &given->arena};
    given->input.json = true;
    expect_ok(engine_bind(&given->arena, &given->spec, NULL, &mistakes, &work->bound));
    work->outlet = (struct engine_outlet){take_rows, take_dead, work};
    work->committed_event = work->committed_watermark = ENGINE_NO_TIME;
    expect_ok(engine_scan_new(work->bound, &work->scan));
    begins(work);
    return work;
}
struct event {
    int64_t ts_us, key, time_us;
};
static void reads(struct at_work *work, const struct event *events, uint32_t count)
{
    struct mr_arena arena;
    struct engine_rows rows;
    mr_arena_init(&arena);
    struct engine_record *records = mr_arena_array(&arena, struct engine_record, count);
    mr_str *values = mr_arena_array(&arena, mr_str, count);
    for (uint32_t i = 0; i < count; i++) {
        char ts[32];
        mr_time_format(events[i].ts_us, 6, ts);
        values[i] = mr_arena_printf(&arena, "{\"ts\": \"%s\", \"k\": %lld}", ts,
                                    (long long)events[i].key);
        records[i] = (struct engine_record){.value = values[i], .time_us = events[i].time_us};
    }
    if (count > 0) {
        expect_ok(engine_scan_read(work->scan, NULL, -1, &arena, records, values, count,
                                   &work->outlet, &rows));
        expect_ok(engine_flow_push(work->flow, &rows));
        if (work->flow->event_us_max > work->event_us)
            work->event_us = work->flow->event_us_max;
    }
    mr_arena_fini(&arena);
}
static void batch(struct at_work *work, const struct event *events, uint32_t count)
{
    expect_ok(engine_flow_begin(work->flow, 0, work->committed_watermark));
    reads(work, events, count);
    work->quiet = work->flow->tables_after;
    expect_ok(engine_flow_end(work->flow));
    work->quiet = false;
}
static struct given *given_counts(enum engine_mode mode)
{
    struct given *given = given_columns(
        "ts TIMESTAMP, k BIGINT",
        "SELECT window.start AS w, k, count(*) AS n FROM t GROUP BY window(ts, '1 minute'), k");
    given->input.watermark_column = MR_STR("ts");
    given->input.watermark_delay_us = 10000000;
    given->spec.mode = mode;
    return given;
}
#define MINUTE INT64_C(60000000)
STORY("a window is emitted once, in the batch after the watermark has passed its end")
{
    struct given *given = given_counts(ENGINE_APPEND);
    struct at_work *work = given_work(given);
    batch(work, (struct event[]){{0, 1, 5}, {1000, 1, 6}, {MINUTE, 1, 7}}, 3);
    commits(work);
    expect_int(work->emitted, 0);
    batch(work, (struct event[]){{MINUTE + 10000000, 1, 8}}, 1);
    commits(work);
    expect_int(work->emitted, 0); /* the watermark reaches the end with this batch */
    batch(work, NULL, 0);
    commits(work);
    expect_int(work->emitted, 1);
    struct cell *cell = mr_map_get(&work->table, MR_STR("0 1"));
    expect(cell != NULL);
    expect_int(cell->count, 2);
    expect_int(cell->time_us, 6 + 2);
    batch(work, NULL, 0);
    commits(work);
    expect_int(work->emitted, 1);
}
STORY("a row for a closed window is late: counted, dropped, and nothing comes out twice")
{
    struct given *given = given_counts(ENGINE_APPEND);
    struct at_work *work = given_work(given);
    batch(work, (struct event[]){{0, 1, 5}, {2 * MINUTE, 1, 6}, {30000000, 1, 7}}, 3);
    commits(work);
    expect_int(work->flow->late, 0); /* the watermark moves between batches only */
    batch(work, (struct event[]){{40000000, 1, 8}, {59999999, 2, 9}, {MINUTE, 3, 9}}, 3);
    commits(work);
    expect_int(work->flow->late, 2);
    expect_int(work->emitted, 1);
    struct cell *cell = mr_map_get(&work->table, MR_STR("0 1"));
    expect_int(cell->count, 2);
}
STORY("the watermark never goes back")
{
    struct given *given = given_counts(ENGINE_APPEND);
    struct at_work *work = given_work(given);
    batch(work, (struct event[]){{5 * MINUTE, 1, 5}}, 1);
    commits(work);
    expect_int(work->committed_watermark, 5 * MINUTE - 10000000);
    batch(work, (struct event[]){{4 * MINUTE + 55000000, 1, 5}}, 1);
    commits(work);
    expect_int(work->committed_watermark, 5 * MINUTE - 10000000);
}
STORY("update emits each changed group at the end of a batch, and forgets closed ones in silence")
{
    struct given *given = given_counts(ENGINE_UPDATE);
    struct at_work *work = given_work(given);
    batch(work, (struct event[]){{0, 1, 5}, {1, 1, 5}, {2, 2, 5}}, 3);
    commits(work);
    expect_int(work->emitted, 2);
    batch(work, (struct event[]){{3, 1, 5}, {3 * MINUTE, 9, 5}}, 2);
    commits(work);
    expect_int(work->emitted, 4);
    expect_int(((struct cell *)mr_map_get(&work->table, MR_STR("0 1")))->count, 3);
    batch(work, NULL, 0);
    commits(work);
    expect_int(work->emitted, 4);
    expect_int(engine_groups_count(work->flow->groups), 1);
}

/* Records in order, batches of any size, kills at any time before a commit: what the table holds in the
 * end, plus what was late, is every record exactly once. */
static void lives_through(struct given *given, uint64_t seed, bool append)
{
    struct at_work *work = given_work(given);
    struct mr_random random;
    static struct event events[RECORDS_MAX];
    mr_random_init(&random, seed);
    uint32_t count = 500 + (uint32_t)mr_random_below(&random, RECORDS_MAX - 600), at = 0;
    for (uint32_t i = 0; i < count; i++) {
        int64_t ts = (int64_t)i * 400000 - (int64_t)mr_random_below(&random, 60000000);
        events[i] = (struct event){ts, (int64_t)mr_random_below(&random, KEYS), 1000 + i / 50};
    }
    while (at < count) {
        uint32_t size = (uint32_t)mr_random_below(&random, 300);
        if (size > count - at)
            size = count - at;
        batch(work, events + at, size);
        if (mr_random_below(&random, 3) == 0) { /* killed before the commit */
            engine_flow_free(work->flow);
            begins(work);
            continue;
        }
        commits_but(work, mr_random_below(&random, 4) == 0);
        at += size;
    }
    work->committed_watermark = append ? INT64_MAX : work->committed_watermark;
    batch(work, NULL, 0);
    int64_t total = work->flow->late;
    struct mr_map_entry *entry;
    for (size_t i = 0; (entry = mr_map_next(&work->table, &i)) != NULL;)
        total += ((struct cell *)entry->value)->count;
    expect_int(total, count);
}
STORY("killed at any time, append: closed windows and late rows add up to all records")
{
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct given *given = given_counts(ENGINE_APPEND);
        lives_through(given, seed, true);
        free_given(given);
    }
}
STORY("killed at any time, update: the table and the late rows add up to all records")
{
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct given *given = given_counts(ENGINE_UPDATE);
        lives_through(given, seed, false);
        free_given(given);
    }
}
