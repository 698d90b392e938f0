/* broker/security_test.c: our own client at a broker that asks who it is; on one loop, real time. */
#include "broker/server.h"
#include "json/json.h"
#include "kafka/kafka.h"
#include "story.h"

#include <stdio.h>
#include <stdlib.h>

enum { PATIENCE_TURNS = 20000 };

struct world {
    struct mr_loop *loop;
    struct mr_disk *disk;
    struct broker_server *server;
    char folder[300], users[300], address[64];
    struct mr_task close_task;
    bool closed;
    /* the latest answer */
    bool told;
    mr_err err;
    char why[600];
};

#define turn_until(world, condition)                                        \
    do {                                                                    \
        for (int turns_left = PATIENCE_TURNS; !(condition); turns_left--) { \
            expect(turns_left > 0);                                         \
            mr_loop_turn((world)->loop, 1000);                              \
        }                                                                   \
    } while (0)

static struct world *given_world(struct story *t, struct broker_security_options *security)
{
    struct world *world = mr_new(struct world);
    mr_log_level_set(MR_LOG_ERROR);
    world->loop = mr_loop_new("log", NULL);
    world->disk = mr_disk_new(2);
    snprintf(world->folder, sizeof world->folder, "%s/broker", t->folder);
    snprintf(world->users, sizeof world->users, "%s/users", t->folder);
    expect_ok(mr_file_write(world->users, MR_STR("ann:pencil\n"), 0600));
    security->users = mr_str_from(world->users);
    struct broker_options options = {
        .folder = mr_str_from(world->folder), .no_reserve = true, .security = *security};
    expect_ok(broker_server_open(world->loop, world->disk, &options, &world->server));
    turn_until(world, broker_server_ready(world->server));
    snprintf(world->address, sizeof world->address, "127.0.0.1:%u",
             broker_server_port(world->server));
    return world;
}

static void given_rule(struct broker_acls *acls, const char *row)
{
    struct mr_arena arena;
    const struct json_value *value;
    mr_arena_init(&arena);
    if (json_parse(&arena, mr_str_from(row), &value) != MR_OK ||
        broker_acl_read(acls, value) != MR_OK)
        mr_array_fini(&acls->rules); /* the story notices */
    mr_arena_fini(&arena);
}

#define RULE(permission, operation, pattern, name, principal, host)                       \
    "{\"acl\":\"" permission "\",\"operation\":\"" operation "\",\"resource\":\"TOPIC\"," \
    "\"pattern\":\"" pattern "\",\"name\":\"" name "\",\"principal\":\"" principal        \
    "\",\"host\":\"" host "\"}"

STORY("rules allow, bring along and deny as in Kafka's model")
{
    struct broker_acls acls = {.enabled = true};
    const char *host = "10.0.0.1";
#define MAY(who, operation, topic)                                                         \
    broker_acl_allows(&acls, "User:" who, host, KAFKA_ACL_OP_##operation, KAFKA_ACL_TOPIC, \
                      MR_STR(topic))
    expect_ok(broker_acl_supers(&acls, MR_STR("User:root; User:CN=log,O=Stories")));
    expect(broker_acl_supers(&acls, MR_STR("root")) == MR_INVALID);
    expect(MAY("root", DELETE, "orders") && MAY("CN=log,O=Stories", ALTER, "orders"));
    expect(!MAY("ann", READ, "orders"));
    acls.allow_everyone = true;
    expect(MAY("ann", READ, "orders"));
    given_rule(&acls, RULE("ALLOW", "READ", "PREFIXED", "ord", "User:ann", "*"));
    expect(MAY("ann", READ, "orders") && MAY("ann", DESCRIBE, "ord") && MAY("ann", WRITE, "or"));
    expect(!MAY("ann", WRITE, "orders") && !MAY("bob", READ, "orders"));
    acls.allow_everyone = false;
    given_rule(&acls, RULE("DENY", "DESCRIBE", "LITERAL", "orders", "User:*", "10.0.0.1"));
    expect(MAY("ann", READ, "orders") && !MAY("ann", DESCRIBE, "orders"));
    host = "10.0.0.2";
    expect(MAY("ann", DESCRIBE, "orders"));
    given_rule(&acls, RULE("ALLOW", "ALTER_CONFIGS", "LITERAL", "*", "User:bob", "*"));
    expect(MAY("bob", DESCRIBE_CONFIGS, "any") && !MAY("bob", DESCRIBE, "any"));
    expect(broker_acl_allows_any(&acls, "User:ann", host, KAFKA_ACL_OP_READ, KAFKA_ACL_TOPIC));
    given_rule(&acls, RULE("DENY", "ALL", "PREFIXED", "or", "User:ann", "*"));
    expect(!broker_acl_allows_any(&acls, "User:ann", host, KAFKA_ACL_OP_READ, KAFKA_ACL_TOPIC));
    expect(acls.rules.count == 4);
    broker_acl_fini(&acls);
#undef MAY
}

/* ---- the index and a model that looks at every rule ---- */

static bool model_speaks(const struct broker_acl *rule, int8_t operation)
{
    static const struct {
        int8_t said, brings;
    } brought[] = {{KAFKA_ACL_OP_READ, KAFKA_ACL_OP_DESCRIBE},
                   {KAFKA_ACL_OP_WRITE, KAFKA_ACL_OP_DESCRIBE},
                   {KAFKA_ACL_OP_DELETE, KAFKA_ACL_OP_DESCRIBE},
                   {KAFKA_ACL_OP_ALTER, KAFKA_ACL_OP_DESCRIBE},
                   {KAFKA_ACL_OP_ALTER_CONFIGS, KAFKA_ACL_OP_DESCRIBE_CONFIGS}};
    bool found = rule->operation == operation || rule->operation == KAFKA_ACL_OP_ALL;
    for (size_t i = 0; i < mr_count_of(brought); i++)
        found = found || (rule->permission == KAFKA_ACL_PERMISSION_ALLOW &&
                          rule->operation == brought[i].said && operation == brought[i].brings);
    return found;
}

static bool model_is_about(const struct broker_acl *rule, mr_str principal, mr_str host)
{
    return (mr_str_equal(rule->principal, principal) ||
            mr_str_equal(rule->principal, MR_STR("User:*"))) &&
           (mr_str_equal(rule->host, MR_STR("*")) || mr_str_equal(rule->host, host));
}

static bool model_covers(const struct broker_acl *rule, mr_str name)
{
    return rule->pattern == KAFKA_ACL_PATTERN_PREFIXED
               ? mr_str_starts(name, rule->name)
               : mr_str_equal(rule->name, name) || mr_str_equal(rule->name, MR_STR("*"));
}

static bool model_allows(const struct broker_acls *acls, mr_str principal, mr_str host,
                         int8_t operation, int8_t resource, mr_str name)
{
    bool any = false, allowed = false, denied = false;
    for (size_t i = 0; i < acls->rules.count; i++) {
        const struct broker_acl *rule = &acls->rules.items[i];
        bool here = rule->resource == resource && model_covers(rule, name);
        bool about = here && model_is_about(rule, principal, host) && model_speaks(rule, operation);
        any = any || here;
        allowed = allowed || (about && rule->permission == KAFKA_ACL_PERMISSION_ALLOW);
        denied = denied || (about && rule->permission == KAFKA_ACL_PERMISSION_DENY);
    }
    return !denied && (allowed || (!any && acls->allow_everyone));
}

/* Whether a deny takes all that `allow` gives. */
static bool model_takes(const struct broker_acls *acls, const struct broker_acl *allow,
                        mr_str principal, mr_str host, int8_t operation)
{
    for (size_t i = 0; i < acls->rules.count; i++) {
        const struct broker_acl *rule = &acls->rules.items[i];
        bool literal = rule->pattern == KAFKA_ACL_PATTERN_LITERAL;
        if (rule->resource == allow->resource && rule->permission == KAFKA_ACL_PERMISSION_DENY &&
            model_is_about(rule, principal, host) && model_speaks(rule, operation) &&
            (literal ? mr_str_equal(rule->name, MR_STR("*")) ||
                           (allow->pattern == KAFKA_ACL_PATTERN_LITERAL &&
                            mr_str_equal(rule->name, allow->name))
                     : mr_str_starts(allow->name, rule->name)))
            return true;
    }
    return false;
}

static bool model_allows_any(const struct broker_acls *acls, mr_str principal, mr_str host,
                             int8_t operation, int8_t resource)
{
    struct broker_acl all = {
        .resource = resource, .pattern = KAFKA_ACL_PATTERN_LITERAL, .name = MR_STR("*")};
    for (size_t i = 0; i < acls->rules.count; i++) {
        const struct broker_acl *rule = &acls->rules.items[i];
        if (rule->resource == resource && rule->permission == KAFKA_ACL_PERMISSION_ALLOW &&
            model_is_about(rule, principal, host) && model_speaks(rule, operation) &&
            !model_takes(acls, rule, principal, host, operation))
            return true;
    }
    return acls->allow_everyone && !model_takes(acls, &all, principal, host, operation);
}

static const char *one_of(struct mr_random *random, const char *const *words, uint32_t count)
{
    return words[mr_random_below(random, count)];
}
#define ONE_OF(random, words) one_of(random, words, mr_count_of(words))

static const char *const some_names[] = {"a",   "b",   "aa",  "ab",  "ba",   "aab",   "aba",
                                         "abb", "bab", "abc", "a.b", "abab", "ababa", "c"};
static const char *const some_hosts[] = {"10.0.0.1", "10.0.0.2"};
static const char *const some_users[] = {"User:ann", "User:bob"};
static const char *const some_operations[] = {
    "ALL", "READ", "WRITE", "ALTER", "DESCRIBE", "DESCRIBE_CONFIGS", "ALTER_CONFIGS", "DELETE"};

static void given_some_rule(struct broker_acls *acls, struct mr_random *random)
{
    char row[300];
    bool everybody = mr_random_below(random, 4) == 0, anywhere = mr_random_below(random, 2) == 0;
    bool all = mr_random_below(random, 12) == 0, prefix = mr_random_below(random, 2) == 0;
    snprintf(row, sizeof row,
             "{\"acl\":\"%s\",\"operation\":\"%s\",\"resource\":\"%s\",\"pattern\":\"%s\","
             "\"name\":\"%s\",\"principal\":\"%s\",\"host\":\"%s\"}",
             mr_random_below(random, 3) == 0 ? "DENY" : "ALLOW", ONE_OF(random, some_operations),
             mr_random_below(random, 2) == 0 ? "TOPIC" : "GROUP",
             prefix && !all ? "PREFIXED" : "LITERAL", all ? "*" : ONE_OF(random, some_names),
             everybody ? "User:*" : ONE_OF(random, some_users),
             anywhere ? "*" : ONE_OF(random, some_hosts));
    given_rule(acls, row);
}

static void expect_as_the_model(struct broker_acls *acls, const char *user, const char *host,
                                int8_t operation, int8_t resource)
{
    mr_str who = mr_str_from(user), from = mr_str_from(host);
    for (size_t i = 0; i < mr_count_of(some_names); i++) {
        mr_str name = mr_str_from(some_names[i]);
        expect(broker_acl_allows(acls, user, host, operation, resource, name) ==
               model_allows(acls, who, from, operation, resource, name));
    }
    expect(broker_acl_allows_any(acls, user, host, operation, resource) ==
           model_allows_any(acls, who, from, operation, resource));
}

STORY("whatever rules there are, the index says what a look at every rule says")
{
    struct mr_random random;
    size_t allowed = 0;
    mr_random_init(&random, 11);
    for (int round = 0; round < 200; round++) {
        struct broker_acls acls = {.enabled = true, .allow_everyone = round % 2 == 0};
        size_t count = mr_random_below(&random, 60);
        for (size_t i = 0; i <= count; i++) {
            given_some_rule(&acls, &random);
            if (i % 8 != 0 && i != count)
                continue; /* asked now and then while they grow */
            for (int8_t operation = KAFKA_ACL_OP_READ; operation < KAFKA_ACL_OP_IDEMPOTENT_WRITE;
                 operation++)
                expect_as_the_model(
                    &acls, ONE_OF(&random, some_users), ONE_OF(&random, some_hosts), operation,
                    mr_random_below(&random, 2) ? KAFKA_ACL_TOPIC : KAFKA_ACL_GROUP);
        }
        expect_int((int64_t)acls.rules.count, (int64_t)count + 1);
        allowed += broker_acl_allows(&acls, "User:ann", "10.0.0.1", KAFKA_ACL_OP_READ,
                                     KAFKA_ACL_TOPIC, MR_STR("abab"));
        broker_acl_fini(&acls);
    }
    expect(allowed > 20 && allowed < 180);
}

static void on_closed(struct mr_task *task)
{
    mr_container(task, struct world, close_task)->closed = true;
}

static void end_world(struct world *world)
{
    world->close_task.run = on_closed;
    broker_server_close(world->server, &world->close_task);
    turn_until(world, world->closed);
    mr_disk_free(world->disk);
    mr_loop_free(world->loop);
    mr_free(world);
}

static void tells(void *context, mr_err err)
{
    struct world *world = context;
    world->told = true;
    world->err = err;
    snprintf(world->why, sizeof world->why, "%s", err == MR_OK ? "" : mr_why());
}

/* What a client of ours is told when it makes a topic. */
static mr_err makes_topic(struct world *world, struct kafka_client *client, const char *name)
{
    struct kafka_new_topic topic = {.name = mr_str_from(name), .partitions = 1, .replication = 1};
    world->told = false;
    kafka_admin_create_topics(client, &topic, 1, tells, world);
    turn_until(world, world->told);
    return world->err;
}

static mr_err comes(struct world *world, const struct kafka_security *security)
{
    struct kafka_client *client = NULL;
    expect_ok(kafka_client_open_secure(world->loop, mr_str_from(world->address), MR_STR("story"),
                                       security, &client));
    mr_err err = makes_topic(world, client, "topic");
    kafka_client_close(client);
    for (int i = 0; i < 5; i++)
        mr_loop_turn(world->loop, 1000);
    return err;
}

static void expect_why(const struct world *world, const char *words)
{
    if (strstr(world->why, words) == NULL)
        story_fail(__FILE__, __LINE__, "told \"%s\", expected \"%s\"", world->why, words);
}

STORY("our client signs in by every mechanism, and a wrong password is one sentence at once")
{
    static const char *const mechanisms[] = {"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"};
    struct broker_security_options options = {
        .mechanisms = MR_STR("PLAIN,SCRAM-SHA-256,SCRAM-SHA-512")};
    struct world *world = given_world(t, &options);
    for (size_t i = 0; i < mr_count_of(mechanisms); i++) {
        struct kafka_security security = {.mechanism = mr_str_from(mechanisms[i]),
                                          .user = MR_STR("ann"),
                                          .password = MR_STR("pencil")};
        char expected[200];
        expect_ok(comes(world, &security));
        security.password = MR_STR("Pencil-wrong");
        expect_err(comes(world, &security), MR_AUTH);
        snprintf(expected, sizeof expected, "kafka %s: SASL %s as \"ann\": ", world->address,
                 mechanisms[i]);
        expect_why(world, expected);
        expect_why(world, "invalid credentials");
        expect(strstr(world->why, "Pencil") == NULL);
    }
    end_world(world);
}

STORY("a mechanism that is not offered is told with those that are")
{
    struct broker_security_options options = {.mechanisms = MR_STR("SCRAM-SHA-512,PLAIN")};
    struct kafka_security security = {
        .mechanism = MR_STR("SCRAM-SHA-256"), .user = MR_STR("ann"), .password = MR_STR("pencil")};
    struct kafka_client *client = NULL;
    struct world *world = given_world(t, &options);
    expect_err(comes(world, &security), MR_AUTH);
    expect_why(world, "it offers PLAIN, SCRAM-SHA-512");
    security.mechanism = MR_STR("GSSAPI");
    expect_err(kafka_client_open_secure(world->loop, mr_str_from(world->address), MR_STR("story"),
                                        &security, &client),
               MR_UNSUPPORTED);
    security.mechanism = MR_STR("PLAIN");
    security.user = MR_STR_NULL;
    expect_err(kafka_client_open_secure(world->loop, mr_str_from(world->address), MR_STR("story"),
                                        &security, &client),
               MR_INVALID);
    end_world(world);
}

STORY("a port without SASL is told so")
{
    struct broker_security_options options = {0};
    struct kafka_security security = {
        .mechanism = MR_STR("PLAIN"), .user = MR_STR("ann"), .password = MR_STR("pencil")};
    struct world *world = given_world(t, &options);
    expect_err(comes(world, &security), MR_AUTH);
    expect_why(world, "none on this port");
    end_world(world);
}

STORY("our client signs in again before its session ends")
{
    struct broker_security_options options = {.mechanisms = MR_STR("SCRAM-SHA-256"),
                                              .session_ms = 300};
    struct kafka_security security = {
        .mechanism = MR_STR("SCRAM-SHA-256"), .user = MR_STR("ann"), .password = MR_STR("pencil")};
    struct kafka_client *client = NULL;
    struct world *world = given_world(t, &options);
    char name[32];
    expect_ok(kafka_client_open_secure(world->loop, mr_str_from(world->address), MR_STR("story"),
                                       &security, &client));
    int64_t until = mr_loop_now_us(world->loop) + 1500000;
    for (int i = 0; mr_loop_now_us(world->loop) < until; i++) {
        snprintf(name, sizeof name, "topic-%d", i);
        expect_ok(makes_topic(world, client, name));
        for (int turn = 0; turn < 50; turn++)
            mr_loop_turn(world->loop, 1000);
    }
    expect_int(world->server->conn_count, 1); /* all on the first connection */
    kafka_client_close(client);
    for (int i = 0; i < 5; i++)
        mr_loop_turn(world->loop, 1000);
    end_world(world);
}

static void makes_certificates(struct story *t)
{
    char command[2000];
    snprintf(command, sizeof command,
             "cd %s && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
             "-days 2 -subj /CN=log -addext subjectAltName=IP:127.0.0.1 -keyout log.key "
             "-out log.pem 2>/dev/null",
             t->folder);
    expect(system(command) == 0);
}

STORY("our client speaks TLS, shows its own certificate, and does not trust a stranger's")
{
    char certificate[300], key[300];
    snprintf(certificate, sizeof certificate, "%s/log.pem", t->folder);
    snprintf(key, sizeof key, "%s/log.key", t->folder);
    makes_certificates(t);
    struct broker_security_options options = {.tls = {.certificate = mr_str_from(certificate),
                                                      .key = mr_str_from(key),
                                                      .client_ca = mr_str_from(certificate),
                                                      .clients = NET_TLS_CLIENTS_REQUIRE}};
    struct kafka_security security = {.tls = true,
                                      .files = {.ca = mr_str_from(certificate),
                                                .certificate = mr_str_from(certificate),
                                                .key = mr_str_from(key)}};
    struct world *world = given_world(t, &options);
    expect_ok(comes(world, &security));
    security.files.ca = MR_STR_NULL; /* the system's */
    expect_err(comes(world, &security), MR_AUTH);
    expect_why(world, "the server's certificate is refused");
    security.files = (struct net_tls_client){.ca = mr_str_from(certificate)};
    expect_err(comes(world, &security), MR_AUTH);
    expect_why(world, "the server refused");
    end_world(world);
}
