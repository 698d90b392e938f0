/* pipeline/load_test.c: a pipeline file as a person writes it, right and wrong. */
#include "pipeline/pipeline.h"

#include "story.h"

#include <stdlib.h>

static struct pipeline *given_file(struct mr_arena *arena, struct pipeline_mistakes *mistakes,
                                   const char *text)
{
    struct pipeline *pipeline = NULL;
    mr_arena_init(arena);
    *mistakes = (struct pipeline_mistakes){0};
    pipeline_parse(arena, mr_str_from(text), &pipeline, mistakes);
    return pipeline;
}

static void expect_mistakes(const char *text, const char *expected)
{
    struct mr_arena arena;
    struct pipeline_mistakes mistakes;
    struct mr_buf out = {0};
    given_file(&arena, &mistakes, text);
    pipeline_mistakes_print(&mistakes, "a.yaml", &out);
    expect_str(mr_buf_as_str(&out), mr_str_from(expected));
    mr_buf_fini(&out);
    pipeline_mistakes_fini(&mistakes);
    mr_arena_fini(&arena);
}

STORY("the main job's file is read as it is written")
{
    struct mr_arena arena;
    struct pipeline_mistakes mistakes = {0};
    struct pipeline *pipeline;
    const char *root = getenv("MILLRACE_SOURCE");
    mr_arena_init(&arena);
    mr_str path = mr_arena_printf(&arena, "%s/pipelines/users.yaml", root == NULL ? "." : root);
    expect_ok(pipeline_load(&arena, path.data, &pipeline, &mistakes));
    expect_str(pipeline->name, MR_STR("users"));
    expect_int(pipeline->every_us, 10000000);
    expect_int(pipeline->step_count, 1);
    expect_int(pipeline->steps[0].verb, PIPELINE_GET);
    expect_str(pipeline->steps[0].into.container, MR_STR("raw"));
    expect_int(pipeline->steps[0].retry.times, 3);
    expect_int(pipeline->stream_count, 3);
    expect_str(pipeline->streams[0].watermark_column, MR_STR("fetched_at"));
    expect_int(pipeline->streams[0].watermark_delay_us, 10000000);
    expect_str(pipeline->streams[1].into[0].name, MR_STR("created_users"));
    expect_int(pipeline->streams[2].key.count, 2);
    expect_int(pipeline->test_count, 1);
}

STORY("every mistake is told at once, with its place and what was expected")
{
    expect_mistakes(
        "pipeline: a\n"
        "evry: 10s\n"
        "steps:\n"
        "  fetch:\n"
        "    get: randomuser/api/\n"
        "    run: ls\n"
        "    timeout: soon\n"
        "streams:\n"
        "  out:\n"
        "    sql: SELECT 1\n"
        "    into: cassandra/nowhere\n",
        "a.yaml:2:1: a pipeline has no key `evry`; did you mean `every`?\n"
        "a.yaml:4:3: step `fetch` has several verbs; expected exactly one of `get`, `run`, `sql`, "
        "`require`\n"
        "a.yaml:7:14: `timeout: soon` is no duration; expected a number and a unit: 250ms, 10s, "
        "5m, 2h or 1d\n"
        "a.yaml:11:11: `into: cassandra/nowhere` names no target; expected postgres/schema.table, "
        "cassandra/keyspace.table or topic/name\n");
}

STORY("a connection is an address, or a map with an address and what signs in there")
{
    struct mr_arena arena;
    struct pipeline_mistakes mistakes;
    setenv("A_SECRET", "s3cret", 1);
    struct pipeline *pipeline = given_file(&arena, &mistakes,
                                           "pipeline: a\n"
                                           "connections:\n"
                                           "  kafka: broker:9092\n"
                                           "  registry:\n"
                                           "    address: https://registry\n"
                                           "    user: ann\n"
                                           "    password: ${A_SECRET}\n"
                                           "steps: {run: {run: ls}}\n");
    expect_int(mistakes.list.count, 0);
    expect_int(pipeline->connections.count, 2);
    expect_str(pipeline->connections.items[0].address.text, MR_STR("broker:9092"));
    const struct pipeline_connection *registry = &pipeline->connections.items[1];
    expect_str(registry->address.text, MR_STR("https://registry"));
    expect_int(registry->settings.count, 2);
    expect_str(registry->settings.items[1].value.text, MR_STR("s3cret"));
    pipeline_mistakes_fini(&mistakes);
    mr_arena_fini(&arena);
    expect_mistakes("pipeline: a\n"
                    "connections: {spark: embedded, zookeeper: embedded}\n"
                    "steps: {run: {run: ls}}\n",
                    "");
    expect_mistakes("pipeline: a\n"
                    "connections:\n"
                    "  spark: sc://cluster\n"
                    "  zookeeper: {address: zk}\n"
                    "steps: {run: {run: ls}}\n",
                    "a.yaml:3:10: `spark` can only be `embedded`: a pipeline does not run on a "
                    "spark elsewhere yet\n"
                    "a.yaml:4:14: `zookeeper` can only be `embedded`: a pipeline does not run on a "
                    "zookeeper elsewhere yet\n");
    expect_mistakes("pipeline: a\n"
                    "connections:\n"
                    "  kafak: broker:9092\n"
                    "  postgres: {address: db, token: x}\n"
                    "  cassandra: [db]\n"
                    "steps: {run: {run: ls}}\n",
                    "a.yaml:3:3: there is no connection `kafak`; expected one of: randomuser, "
                    "postgres, kafka, registry, cassandra\n"
                    "a.yaml:4:27: a connection to `postgres` has no `token`; expected one of: "
                    "address, user, password, password_file\n"
                    "a.yaml:5:14: `cassandra` is a list; expected an address, or a map with "
                    "`address:`\n");
}

STORY("a schedule, a zone and an address that nothing can follow are mistakes")
{
    expect_mistakes(
        "pipeline: a\n"
        "at: 99 * * * *\n"
        "timezone: Europe/Berln\n"
        "steps:\n"
        "  fetch:\n"
        "    get: rndomuser/api/\n",
        "a.yaml:2:5: `at`: `99` is no minute of a cron expression; expected numbers from 0 to "
        "59, `*`, `a-b`, `a,b` or `*/n`\n"
        "a.yaml:3:11: `timezone`: `Europe/Berln` is no time zone; expected a name such as "
        "Europe/Berlin\n"
        "a.yaml:6:10: `get: rndomuser/api/` is no address; expected http://..., "
        "https://... or a path of the connection, as randomuser/api/\n");
}

STORY("a text that is no YAML is told where it breaks")
{
    expect_mistakes("pipeline: a\nsteps: {fetch: [}\n",
                    "a.yaml:2:17: this is no YAML: did not find expected node content while "
                    "parsing a flow node\n");
    expect_mistakes("", "a.yaml:1:1: the file is empty\n");
}

STORY("durations have a number and a unit")
{
    int64_t us;
    expect_ok(pipeline_duration(MR_STR("1m30s"), &us));
    expect_int(us, 90000000);
    expect_ok(pipeline_duration(MR_STR("250ms"), &us));
    expect_int(us, 250000);
    expect_err(pipeline_duration(MR_STR("10"), &us), MR_INVALID);
    expect_err(pipeline_duration(MR_STR("s"), &us), MR_INVALID);
    expect_err(pipeline_duration(MR_STR(""), &us), MR_INVALID);
}

STORY("a connection's address goes in front of its path")
{
    struct mr_arena arena;
    mr_arena_init(&arena);
    expect_str(pipeline_url(&arena, MR_STR("randomuser/api/?a=1"), MR_STR("randomuser"),
                            MR_STR("127.0.0.1:8088")),
               MR_STR("http://127.0.0.1:8088/api/?a=1"));
    expect_str(pipeline_url(&arena, MR_STR("randomuser/api/"), MR_STR("randomuser"),
                            MR_STR("https://randomuser.me/")),
               MR_STR("https://randomuser.me/api/"));
    expect_str(pipeline_url(&arena, MR_STR("https://x/y"), MR_STR("randomuser"), MR_STR("z")),
               MR_STR("https://x/y"));
}

STORY("a parameter comes from the environment before the file")
{
    struct mr_arena arena;
    struct pipeline_mistakes mistakes;
    struct pipeline *pipeline;
    setenv("MR_TEST_HOST", "there", 1);
    pipeline = given_file(&arena, &mistakes,
                          "pipeline: a\nparams: {MR_TEST_HOST: here, MR_TEST_N: 5}\nsteps:\n  f:\n"
                          "    get: http://${MR_TEST_HOST}/?n=${MR_TEST_N}\n");
    expect_int(mistakes.list.count, 0);
    expect_str(pipeline->steps[0].work.text, MR_STR("http://there/?n=5"));
}
