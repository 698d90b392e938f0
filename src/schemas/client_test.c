/* schemas/client_test.c: the promises of schemas.h, told against a registry of three answers. */
#include "schemas/schemas.h"

#include "http/http.h"
#include "net/net.h"
#include "story.h"

#include <stdio.h>

static struct mr_loop *loop;
static struct net_http *server;
static struct schemas_client *client;
static int asked;   /* requests that the registry has seen */
static int trouble; /* a status that it answers to everything, or 0 */
static char last_body[500], last_target[200];

struct answer {
    const char *target, *body;
    int status;
};
static const struct answer answers[] = {
    {"/schemas/ids/1", "{\"schema\":\"\\\"string\\\"\"}", 200},
    {"/schemas/ids/2", "{\"schema\":\"{}\",\"schemaType\":\"JSON\"}", 200},
    {"/schemas/ids/3",
     "{\"schema\":\"{\\\"type\\\":\\\"record\\\",\\\"name\\\":\\\"R\\\",\\\"fields\\\":[{"
     "\\\"name\\\":\\\"a\\\",\\\"type\\\":"
     "\\\"A\\\"},{\\\"name\\\":\\\"f\\\",\\\"type\\\":\\\"F\\\"}]}\",\"references\":[{\"name\":"
     "\"F\",\"subject\":\"f/x\",\"version\":"
     "1},{\"name\":\"A\",\"subject\":\"a\",\"version\":2}]}",
     200},
    {"/subjects/a/versions/2?deleted=true",
     "{\"id\":8,\"version\":2,\"schema\":\"{\\\"type\\\":\\\"record\\\",\\\"name\\\":"
     "\\\"A\\\",\\\"fields\\\":[{\\\"name\\\":\\\"f\\\",\\\"type\\\":\\\"F\\\"}]}\","
     "\"references\":[{\"name\":\"F\","
     "\"subject\":\"f/x\",\"version\":1}]}",
     200},
    {"/subjects/f%2Fx/versions/1?deleted=true",
     "{\"id\":9,\"version\":1,\"schema\":\"{\\\"type\\\":\\\"fixed\\\",\\\"name\\\":\\\"F\\\","
     "\\\"size\\\":2}\"}",
     200},
    {"/schemas/ids/404", "{\"error_code\":40403,\"message\":\"Schema 404 not found\"}", 404},
    {"/subjects/s/versions", "{\"id\":12}", 200},
    {"/subjects/bad/versions", "{\"error_code\":409,\"message\":\"incompatible\"}", 409},
    {"/subjects/wrong/versions", "{\"error_code\":42201,\"message\":\"Invalid schema\"}", 422},
    {"/subjects/s/versions/latest",
     "{\"subject\":\"s\",\"version\":4,\"id\":1,\"schema\":\"\\\"string\\\"\"}", 200},
    {"/compatibility/subjects/s/versions/latest?verbose=true",
     "{\"is_compatible\":false,\"messages\":[\"no\",\"never\"]}", 200},
    {"/compatibility/subjects/new/versions/latest?verbose=true",
     "{\"error_code\":40401,\"message\":\"Subject 'new' not found.\"}", 404},
};

static void on_request(struct net_http_exchange *exchange, const struct net_http_request *request)
{
    asked++;
    snprintf(last_body, sizeof last_body, "%.*s", MR_STR_ARG(request->body));
    snprintf(last_target, sizeof last_target, "%.*s", MR_STR_ARG(request->target));
    for (size_t i = 0; i < mr_count_of(answers); i++) {
        if (!mr_str_equal(request->target, mr_str_from(answers[i].target)) || trouble != 0)
            continue;
        net_http_respond(exchange, answers[i].status, "application/json",
                         mr_str_from(answers[i].body));
        return;
    }
    net_http_respond(exchange, trouble != 0 ? trouble : 404, "text/plain", MR_STR("who knows"));
}

static void on_cancelled(struct net_http_exchange *exchange)
{
    expect(exchange != NULL);
}

static const struct net_http_handler handler = {on_request, on_cancelled};

static int told;
static void on_told(struct schemas_request *request)
{
    expect(request->client == NULL);
    told++;
}

static void given_registry(const char *more)
{
    char url[200];

    loop = mr_loop_new("story", NULL);
    expect_ok(net_http_listen(loop, "127.0.0.1", 0, 0, &handler, NULL, &server));
    snprintf(url, sizeof url, "%shttp://127.0.0.1:%u/", more, net_http_port(server));
    struct schemas_client_options options = {.url = mr_str_from(url)};
    expect_ok(schemas_client_new(loop, &options, &client));
    asked = told = trouble = 0;
}

static void waits(int count)
{
    for (int i = 0; i < 2000 && told < count; i++)
        mr_loop_turn(loop, 10000);
    expect_int(told, count);
}

STORY("an id is asked for once and known for ever")
{
    struct schemas_request a = {.done = on_told}, b = {.done = on_told}, c = {.done = on_told};

    given_registry("");
    expect(schemas_client_known(client, 1) == NULL);
    schemas_client_get(client, 1, &a);
    schemas_client_get(client, 1, &b);
    expect_int(told, 0);
    waits(2);
    expect_ok(a.err);
    expect(a.schema == b.schema && a.schema->avro != NULL && a.schema->id == 1);
    expect_str(a.schema->type, MR_STR("AVRO"));
    expect_str(a.schema->text, MR_STR("\"string\""));
    schemas_client_get(client, 1, &c);
    expect_int(told, 2);
    waits(3);
    expect_int(asked, 1);
    expect(schemas_client_known(client, 1) == a.schema);
    schemas_client_free(client);
}

STORY("a schema comes with the schemas it names")
{
    struct schemas_request a = {.done = on_told};

    given_registry("");
    schemas_client_get(client, 3, &a);
    waits(1);
    expect_ok(a.err);
    expect(a.schema->avro != NULL);
    const struct avro_node *root = avro_schema_root(a.schema->avro);
    expect_int(root->fields[0].type->fields[0].type->size, 2);
    schemas_client_free(client);
}

STORY("what the registry refuses is told apart from what may pass")
{
    struct schemas_request a = {.done = on_told}, b = {.done = on_told}, c = {.done = on_told};

    given_registry("");
    schemas_client_get(client, 404, &a);
    schemas_client_register(client, MR_STR("bad"), MR_STR("\"int\""), MR_STR("AVRO"), &b);
    schemas_client_register(client, MR_STR("wrong"), MR_STR("int"), MR_STR("AVRO"), &c);
    waits(3);
    expect_int(a.err, MR_NOT_FOUND);
    expect(strstr(a.why, "Schema 404 not found") != NULL);
    expect_int(b.err, MR_CONFLICT);
    expect_int(c.err, MR_INVALID);
    static const int statuses[] = {500, 503, 429, 404};
    for (size_t i = 0; i < mr_count_of(statuses); i++) {
        trouble = statuses[i];
        schemas_client_get(client, 404, &a);
        waits(4 + (int)i);
        expect(mr_err_retriable(a.err));
    }
    trouble = 0;
    schemas_client_get(client, 2, &a);
    waits(8);
    expect_ok(a.err);
    expect(a.schema->avro == NULL);
    expect_str(a.schema->type, MR_STR("JSON"));
    schemas_client_free(client);
}

STORY("register, latest and compatibility")
{
    struct schemas_request a = {.done = on_told};

    given_registry("");
    schemas_client_register(client, MR_STR("s"), MR_STR("\"string\""), MR_STR("AVRO"), &a);
    waits(1);
    expect_ok(a.err);
    expect_int(a.schema->id, 12);
    expect_str(mr_str_from(last_body), MR_STR("{\"schema\":\"\\\"string\\\"\"}"));
    expect(schemas_client_known(client, 12) == a.schema);
    schemas_client_latest(client, MR_STR("s"), &a);
    waits(2);
    expect_int(a.version, 4);
    expect_int(a.schema->id, 1);
    schemas_client_check(client, MR_STR("s"), MR_STR("\"int\""), MR_STR("AVRO"), &a);
    waits(3);
    expect_ok(a.err);
    expect(!a.compatible);
    expect_str(mr_str_from(a.why), MR_STR("no; never"));
    schemas_client_check(client, MR_STR("new"), MR_STR("\"int\""), MR_STR("AVRO"), &a);
    waits(4);
    expect_ok(a.err);
    expect(a.compatible);
    schemas_client_free(client);
}

STORY("with several addresses the next one is tried, and nobody at all is retriable")
{
    struct schemas_request a = {.done = on_told};

    given_registry("http://127.0.0.1:1, ");
    schemas_client_get(client, 1, &a);
    waits(1);
    expect_ok(a.err);
    schemas_client_free(client);
    struct schemas_client_options options = {
        .url = MR_STR("127.0.0.1:1"), .user = MR_STR("u"), .password = MR_STR("secret")};
    expect_ok(schemas_client_new(loop, &options, &client));
    schemas_client_get(client, 1, &a);
    waits(2);
    expect(mr_err_retriable(a.err));
    expect(strstr(a.why, "secret") == NULL);
    schemas_client_free(client);
    options.url = MR_STR("http://");
    expect_err(schemas_client_new(loop, &options, &client), MR_INVALID);
}

STORY("a question can be taken back, and closing answers the rest")
{
    struct schemas_request a = {.done = on_told}, b = {.done = on_told}, c = {.done = on_told},
                           d = {.done = on_told};

    given_registry("");
    schemas_client_cancel(&a);
    schemas_client_get(client, 1, &a);
    schemas_client_get(client, 1, &b);
    schemas_client_get(client, 404, &c);
    schemas_client_cancel(&a);
    schemas_client_cancel(&c);
    waits(1);
    expect_ok(b.err);
    schemas_client_get(client, 1, &a);
    schemas_client_cancel(&a);
    schemas_client_get(client, 404, &c);
    schemas_client_get(client, 1, &d);
    schemas_client_free(client);
    expect_int(told, 3);
    expect_int(c.err, MR_CANCELLED);
    expect_int(d.err, MR_CANCELLED);
    for (int i = 0; i < 3; i++)
        mr_loop_turn(loop, 1000);
    expect_int(told, 3);
}
