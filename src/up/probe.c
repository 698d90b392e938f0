/* up/probe.c: small questions to systems that run already. `check` tries every connection of the files
 * that is not embedded, all at once: signs in, asks, and tells what answered or why not.
 *
 *   begun --answer or trouble--> ended;  begun --PATIENCE_US--> ended (MR_TIMEOUT) */
#include "kafka/kafka.h"
#include "up/run.h"
#include "up/up.h"

#include <stdio.h>

enum { PATIENCE_US = 5000000, CQL_LOOK_US = 50000 };

struct probes;
struct probe {
    struct probes *probes;
    enum up_seam_id id;
    bool ended, failed;
    char text[512]; /* what answered, or why it failed */
};
struct probes {
    struct up *up;
    struct mr_loop *loop;
    struct probe list[UP_SEAM_COUNT];
    size_t open;
    struct mr_timer patience, cql_look;
    struct http_client *http;
    struct kafka_client *kafka;
    struct schemas_client *schemas;
    struct schemas_request schema;
    struct postgres_conn *postgres;
    struct cql_client *cql;
};

static void probe_end(struct probe *probe, mr_err err, const char *text)
{
    struct probes *probes = probe->probes;
    if (probe->ended)
        return;
    probe->ended = true;
    probe->failed = err != MR_OK;
    snprintf(probe->text, sizeof probe->text, "%s", text);
    if (--probes->open == 0)
        mr_loop_stop(probes->loop);
}

static void probe_fail(struct probe *probe, mr_err err)
{
    probe_end(probe, err, mr_why());
}

/* ---- the source ---- */

static void source_answered(void *context, mr_err err, const struct http_response *response)
{
    struct probe *probe = context;
    char text[64];
    if (err == MR_OK && response->status != 200)
        err = mr_fail(MR_UNREACHABLE, "%.*s answered with status %d",
                      MR_STR_ARG(probe->probes->up->seams[probe->id].shown), response->status);
    if (err != MR_OK) {
        probe_fail(probe, err);
        return;
    }
    snprintf(text, sizeof text, "answers with %zu bytes a user", response->body->length);
    probe_end(probe, MR_OK, text);
}

static void probe_source(struct probe *probe)
{
    struct probes *probes = probe->probes;
    struct mr_arena *arena = &probes->up->arena;
    mr_str url = pipeline_url(arena, MR_STR("randomuser/api/?results=1"), MR_STR("randomuser"),
                              probes->up->seams[probe->id].address);
    struct http_request request = {.url = mr_arena_cstr(arena, url), .timeout_ms = 4500};
    probes->http = http_client_new(probes->loop);
    http_start(probes->http, &request, source_answered, probe);
}

/* ---- Kafka ---- */

static void kafka_answered(void *context, mr_err err,
                           const struct kafka_metadata_response *metadata)
{
    char text[96];
    if (err != MR_OK) {
        probe_fail(context, err);
        return;
    }
    snprintf(text, sizeof text, "%d brokers, %d topics", metadata->brokers.count,
             metadata->topics.count);
    probe_end(context, MR_OK, text);
}

static void probe_kafka(struct probe *probe)
{
    struct probes *probes = probe->probes;
    mr_err err = kafka_client_open_secure(probes->loop, probes->up->seams[UP_KAFKA].address,
                                          MR_STR("millrace-check"), &probes->up->kafka_security,
                                          &probes->kafka);
    if (err != MR_OK)
        probe_fail(probe, err);
    else
        kafka_admin_topics(probes->kafka, kafka_answered, probe);
}

/* ---- the registry ---- */

static void registry_answered(struct schemas_request *request)
{
    struct probes *probes = mr_container(request, struct probes, schema);
    bool answered = request->err == MR_OK || request->err == MR_NOT_FOUND;
    probe_end(&probes->list[UP_REGISTRY], answered ? MR_OK : request->err,
              answered ? "answers" : request->why);
}

static void probe_registry(struct probe *probe)
{
    struct probes *probes = probe->probes;
    struct schemas_client_options options = up_seams_registry(probes->up);
    mr_err err = schemas_client_new(probes->loop, &options, &probes->schemas);
    if (err != MR_OK) {
        probe_fail(probe, err);
        return;
    }
    probes->schema.done = registry_answered;
    schemas_client_latest(probes->schemas, MR_STR("millrace-check"), &probes->schema);
}

/* ---- PostgreSQL ---- */

static bool captures(const struct up *up)
{
    for (int f = 0; f < up->file_count; f++)
        for (size_t i = 0; i < up->files[f].pipeline->stream_count; i++)
            if (up->files[f].pipeline->streams[i].capture.connection.length > 0)
                return true;
    return false;
}

static void postgres_answered(void *owner, mr_err err, const struct postgres_rows *rows,
                              int64_t affected)
{
    struct probe *probe = owner;
    const char *shown = probe->probes->up->seams[UP_POSTGRES].shown.data;
    char text[96];
    (void)affected;
    if (err != MR_OK) {
        probe_fail(probe, err);
        return;
    }
    mr_str version = postgres_rows_get(rows, 0, 0), level = postgres_rows_get(rows, 0, 1);
    if (captures(probe->probes->up) && !mr_str_equal(level, MR_STR("logical")))
        probe_fail(probe, mr_fail(MR_UNSUPPORTED,
                                  "%s: wal_level is %.*s, and a capture needs `logical`: set it in "
                                  "postgresql.conf and restart the server",
                                  shown, MR_STR_ARG(level)));
    else if (captures(probe->probes->up) &&
             mr_str_equal(postgres_rows_get(rows, 0, 2), MR_STR("f")))
        probe_fail(probe, mr_fail(MR_DENIED,
                                  "%s: the user may not replicate, and a capture needs that: ALTER "
                                  "ROLE ... REPLICATION",
                                  shown));
    else {
        snprintf(text, sizeof text, "PostgreSQL %.*s", MR_STR_ARG(version));
        probe_end(probe, MR_OK, text);
    }
}

static void postgres_closed(void *owner, mr_err err)
{
    probe_fail(owner, err);
}

static void probe_postgres(struct probe *probe)
{
    static const struct postgres_conn_handlers handlers = {.closed = postgres_closed};
    struct probes *probes = probe->probes;
    mr_err err = postgres_conn_open(probes->loop, &probes->up->postgres_address, POSTGRES_CONN_SQL,
                                    "millrace check", &handlers, probe, &probes->postgres);
    if (err != MR_OK) {
        probe_fail(probe, err);
        return;
    }
    postgres_conn_query(probes->postgres,
                        MR_STR("SELECT current_setting('server_version'), "
                               "current_setting('wal_level'), rolreplication OR rolsuper FROM "
                               "pg_roles WHERE rolname = current_user"),
                        NULL, 0, postgres_answered, probe);
}

/* ---- Cassandra ---- */

static void cassandra_answered(void *context, mr_err err, const struct cql_result *result)
{
    char text[96];
    if (err != MR_OK) {
        probe_fail(context, err);
        return;
    }
    struct mr_in rows = result->rows;
    mr_str version = result->row_count > 0 ? cql_value_str(cql_read_value(&rows)) : MR_STR("?");
    snprintf(text, sizeof text, "Cassandra %.*s", MR_STR_ARG(version));
    probe_end(context, MR_OK, text);
}

static void cassandra_look(struct mr_timer *timer)
{
    struct probes *probes = mr_container(timer, struct probes, cql_look);
    struct probe *probe = &probes->list[UP_CASSANDRA];
    mr_err err;
    if (cql_client_connected(probes->cql, &err))
        cql_client_query(probes->cql, MR_STR("SELECT release_version FROM system.local"), NULL,
                         cassandra_answered, probe);
    else if (err == MR_AGAIN)
        mr_timer_start(probes->loop, timer, CQL_LOOK_US);
    else
        probe_fail(probe, err);
}

static void probe_cassandra(struct probe *probe)
{
    struct probes *probes = probe->probes;
    struct cql_client_options options;
    up_seams_cassandra(probes->up, &options);
    options.connection_count = 1;
    options.consistency = CQL_CONSISTENCY_LOCAL_ONE;
    mr_err err = cql_client_new(probes->loop, &options, &probes->cql);
    if (err != MR_OK) {
        probe_fail(probe, err);
        return;
    }
    probes->cql_look.run = cassandra_look;
    mr_timer_start(probes->loop, &probes->cql_look, CQL_LOOK_US);
}

/* ---- all ---- */

static void patience_ends(struct mr_timer *timer)
{
    struct probes *probes = mr_container(timer, struct probes, patience);
    if (probes->kafka != NULL && kafka_client_trouble(probes->kafka) != MR_OK)
        probe_fail(&probes->list[UP_KAFKA], MR_UNREACHABLE);
    for (size_t i = 0; i < UP_SEAM_COUNT; i++)
        probe_end(&probes->list[i], MR_TIMEOUT, "no answer within 5 s");
}

static void probes_close(struct probes *probes)
{
    mr_timer_stop(&probes->patience);
    mr_timer_stop(&probes->cql_look);
    http_client_free(probes->http);
    kafka_client_close(probes->kafka);
    schemas_client_free(probes->schemas);
    postgres_conn_close(probes->postgres);
    cql_client_free(probes->cql);
}

static bool is_tried(const struct up_seam *seam)
{
    return seam->needed && !seam->embedded;
}

size_t up_probe_connections(struct up *up)
{
    static void (*const begin[UP_SEAM_COUNT])(struct probe *) = {
        [UP_RANDOMUSER] = probe_source, [UP_POSTGRES] = probe_postgres,   [UP_KAFKA] = probe_kafka,
        [UP_REGISTRY] = probe_registry, [UP_CASSANDRA] = probe_cassandra,
    };
    struct probes probes = {.up = up, .loop = mr_loop_new("check", NULL)};
    size_t failed = 0;
    for (size_t i = 0; i < UP_SEAM_COUNT; i++) {
        probes.list[i] = (struct probe){.probes = &probes, .id = (enum up_seam_id)i};
        probes.list[i].ended = !is_tried(&up->seams[i]);
        probes.open += is_tried(&up->seams[i]);
    }
    size_t tried = probes.open;
    for (size_t i = 0; i < UP_SEAM_COUNT; i++)
        if (is_tried(&up->seams[i]))
            begin[i](&probes.list[i]);
    probes.patience.run = patience_ends;
    mr_timer_start(probes.loop, &probes.patience, PATIENCE_US);
    if (tried > 0 && probes.open > 0)
        mr_loop_run(probes.loop);
    for (size_t i = 0; i < UP_SEAM_COUNT; i++) {
        const struct up_seam *seam = &up->seams[i];
        if (!is_tried(seam))
            continue;
        failed += probes.list[i].failed;
        fprintf(probes.list[i].failed ? stderr : stdout, "%-10s %.*s: %s%s\n", seam->word,
                MR_STR_ARG(seam->shown), probes.list[i].failed ? "FAILED: " : "",
                probes.list[i].text);
    }
    probes_close(&probes);
    return failed;
}
