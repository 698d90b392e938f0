/* up/seams.c: where each system is: embedded, or at an address from the command line, the environment or
 * the file, in that order of precedence; and the listeners of the embedded ones. */
#include "up/run.h"

#include <stdio.h>

static const char *const words[UP_SEAM_COUNT] = {
    [UP_RANDOMUSER] = "randomuser", [UP_POSTGRES] = "postgres",   [UP_KAFKA] = "kafka",
    [UP_REGISTRY] = "registry",     [UP_CASSANDRA] = "cassandra",
};

/* ---- what is asked for ---- */

static const char *given(const struct up *up, enum up_seam_id id)
{
    const char *const values[UP_SEAM_COUNT] = {
        [UP_RANDOMUSER] = up->options.randomuser, [UP_POSTGRES] = up->options.postgres,
        [UP_KAFKA] = up->options.kafka,           [UP_REGISTRY] = up->options.registry,
        [UP_CASSANDRA] = up->options.cassandra,
    };
    return values[id];
}

static mr_err from_file(struct up *up, const struct up_file *file)
{
    for (size_t i = 0; i < file->pipeline->connections.count; i++) {
        const struct pipeline_pair *pair = &file->pipeline->connections.items[i];
        size_t id = 0;
        while (id < UP_SEAM_COUNT && !mr_str_equal(pair->name.text, mr_str_from(words[id])))
            id++;
        if (id == UP_SEAM_COUNT)
            return mr_fail(MR_INVALID,
                           "%s:%u:%u: there is no connection `%.*s`; expected one of: randomuser, "
                           "postgres, kafka, registry, cassandra",
                           file->path, pair->name.place.line, pair->name.place.column,
                           MR_STR_ARG(pair->name.text));
        if (up->seams[id].address.length > 0 &&
            !mr_str_equal(up->seams[id].address, pair->value.text))
            return mr_fail(MR_INVALID, "%s:%u:%u: `%s` is at another address in another file",
                           file->path, pair->name.place.line, pair->name.place.column, words[id]);
        up->seams[id].address = pair->value.text;
    }
    return MR_OK;
}

/* What the pipelines reach; the log and its registry are needed by any stream and any run. */
static void find_needs(struct up *up)
{
    up->seams[UP_KAFKA].needed = true;
    for (int f = 0; f < up->file_count; f++) {
        const struct pipeline *pipeline = up->files[f].pipeline;
        for (size_t i = 0; i < pipeline->step_count; i++) {
            const struct pipeline_step *step = &pipeline->steps[i];
            bool stand_in = step->verb == PIPELINE_GET &&
                            mr_str_starts(step->work.text, MR_STR("randomuser/"));
            up->seams[UP_RANDOMUSER].needed |= stand_in;
            up->seams[UP_POSTGRES].needed |= step->verb == PIPELINE_SQL ||
                                             step->verb == PIPELINE_REQUIRE ||
                                             step->into.connection.length > 0;
        }
        for (size_t i = 0; i < pipeline->stream_count; i++) {
            const struct pipeline_stream *stream = &pipeline->streams[i];
            up->seams[UP_REGISTRY].needed = true;
            up->seams[UP_POSTGRES].needed |= stream->capture.connection.length > 0;
            for (size_t j = 0; j < stream->into_count; j++)
                up->seams[UP_CASSANDRA].needed |= mr_str_equal(stream->into[j].connection,
                                                               MR_STR("cassandra"));
        }
    }
}

mr_err up_seams_resolve(struct up *up)
{
    mr_err err = MR_OK;
    for (int f = 0; f < up->file_count && err == MR_OK; f++)
        err = from_file(up, &up->files[f]);
    if (err != MR_OK)
        return err;
    find_needs(up);
    for (int id = 0; id < UP_SEAM_COUNT; id++) {
        struct up_seam *seam = &up->seams[id];
        seam->word = words[id];
        if (given(up, id) != NULL)
            seam->address = mr_str_from(given(up, id));
        seam->embedded = seam->address.length == 0 ||
                         mr_str_equal(seam->address, MR_STR("embedded"));
        if (seam->embedded)
            seam->address = MR_STR_NULL;
        seam->shown = seam->address;
        seam->ready = !seam->needed || !seam->embedded;
    }
    if (!up->seams[UP_POSTGRES].embedded) {
        struct mr_buf shown = {0};
        err = postgres_address_parse(&up->arena, up->seams[UP_POSTGRES].address, NULL,
                                     &up->postgres_address);
        if (err == MR_OK)
            postgres_address_print(&shown, &up->postgres_address);
        up->seams[UP_POSTGRES].shown = mr_arena_str(&up->arena, mr_buf_as_str(&shown));
        mr_buf_fini(&shown);
        up->postgres_is_ready = true;
    }
    struct up_seam *registry = &up->seams[UP_REGISTRY];
    if (!registry->embedded && mr_str_find(registry->address, MR_STR("://")) < 0)
        registry->shown = registry->address = mr_arena_printf(&up->arena, "http://%.*s",
                                                              MR_STR_ARG(registry->address));
    return err;
}

/* ---- listeners ---- */

/* How clients on this machine reach a listener on --host. */
static mr_str reach(struct up *up, const char *scheme, uint16_t port)
{
    const char *host = up->host;
    if (strcmp(host, "0.0.0.0") == 0 || strcmp(host, "*") == 0 || strcmp(host, "::") == 0)
        host = "127.0.0.1";
    bool six = strchr(host, ':') != NULL;
    return mr_arena_printf(&up->arena, "%s%s%s%s:%u", scheme, six ? "[" : "", host, six ? "]" : "",
                           port);
}

static mr_err open_kafka(struct up *up)
{
    struct up_seam *seam = &up->seams[UP_KAFKA];
    struct broker_options options = {
        .folder = mr_arena_printf(&up->arena, "%s/broker", up->folder),
        .host = mr_str_from(up->host),
        .advertise = mr_str_from(up->options.advertise),
        .page_cache = up->options.page_cache != NULL,
    };
    mr_err err = up_options_port(&up->options, UP_PORT_KAFKA, false, &options.port);
    if (err == MR_OK)
        err = broker_server_open(up->log, up->disk, &options, &up->broker);
    if (err == MR_OK)
        seam->shown = seam->address = reach(up, "", broker_server_port(up->broker));
    return err;
}

static mr_err open_registry(struct up *up)
{
    struct up_seam *seam = &up->seams[UP_REGISTRY];
    struct registry_server_options options = {.host = mr_str_from(up->host),
                                              .kafka = up->seams[UP_KAFKA].address};
    mr_err err = up_options_port(&up->options, UP_PORT_REGISTRY, false, &options.port);
    if (err == MR_OK)
        err = registry_server_open(up->work, &options, &up->registry);
    if (err == MR_OK)
        seam->shown = seam->address = reach(up, "http://", registry_server_port(up->registry));
    return err;
}

static mr_err open_cassandra(struct up *up)
{
    struct up_seam *seam = &up->seams[UP_CASSANDRA];
    struct store_options options = {
        .folder = mr_arena_printf(&up->arena, "%s/store", up->folder).data,
        .host = up->host,
    };
    mr_err err = up_options_port(&up->options, UP_PORT_CASSANDRA, false, &options.port);
    if (err == MR_OK)
        err = store_server_open(up->tables, up->disk, &options, &up->store);
    if (err == MR_OK)
        seam->shown = seam->address = reach(up, "", store_server_port(up->store));
    return err;
}

static mr_err open_randomuser(struct up *up)
{
    struct up_seam *seam = &up->seams[UP_RANDOMUSER];
    struct randomuser_server_options options = {.host = mr_str_from(up->host)};
    mr_err err = up_options_port(&up->options, UP_PORT_RANDOMUSER, false, &options.port);
    if (err == MR_OK)
        err = randomuser_server_open(up->work, &options, &up->randomuser);
    if (err == MR_OK)
        seam->shown = seam->address = reach(up, "http://", randomuser_server_port(up->randomuser));
    return err;
}

mr_err up_seams_open(struct up *up)
{
    static mr_err (*const open[UP_SEAM_COUNT])(struct up *) = {
        [UP_KAFKA] = open_kafka,
        [UP_REGISTRY] = open_registry,
        [UP_CASSANDRA] = open_cassandra,
        [UP_RANDOMUSER] = open_randomuser,
    };
    static const enum up_seam_id order[] = {UP_KAFKA, UP_REGISTRY, UP_CASSANDRA, UP_RANDOMUSER};
    mr_err err = MR_OK;
    for (size_t i = 0; i < mr_count_of(order) && err == MR_OK; i++)
        if (up->seams[order[i]].embedded && up->seams[order[i]].needed)
            err = open[order[i]](up);
    return err == MR_OK ? up_web_open(up) : err;
}
