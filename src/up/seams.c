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

static mr_err differs(const struct up_file *file, const struct pipeline_text *text,
                      const char *word)
{
    return mr_fail(MR_INVALID, "%s:%u:%u: `%s` is another one in another file", file->path,
                   text->place.line, text->place.column, word);
}

/* Two files may say the same of a connection, but not something different. */
static mr_err say(const struct up_file *file, const struct pipeline_text *text, const char *word,
                  mr_str *value)
{
    if (text->text.length == 0)
        return MR_OK;
    if (value->length > 0 && !mr_str_equal(*value, text->text))
        return differs(file, text, word);
    *value = text->text;
    return MR_OK;
}

static mr_err from_file(struct up *up, const struct up_file *file)
{
    mr_err err = MR_OK;
    for (size_t i = 0; i < file->pipeline->connections.count && err == MR_OK; i++) {
        const struct pipeline_connection *one = &file->pipeline->connections.items[i];
        size_t id = 0;
        while (!mr_str_equal(one->name.text, mr_str_from(words[id])))
            id++; /* the loader knows them all */
        err = say(file, &one->address, words[id], &up->seams[id].address);
        for (size_t j = 0; j < one->settings.count && err == MR_OK; j++) {
            const struct pipeline_pair *pair = &one->settings.items[j];
            enum pipeline_setting setting = pipeline_setting_find(one->name.text, pair->name.text);
            err = say(file, &pair->value, up_options_setting_word(setting), &up->settings[setting]);
        }
    }
    return err;
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

/* "host:port[,host:port]", read before anything starts. */
static mr_err check_addresses(const struct up_seam *seam, uint16_t port)
{
    struct net_address address;
    mr_str rest = seam->address, part;
    mr_err err = MR_OK;
    while (err == MR_OK && mr_str_split(&rest, ',', &part))
        err = net_address_parse(mr_str_trim(part), port, &address);
    return err == MR_OK
               ? MR_OK
               : mr_fail(err, "--%s %.*s: %s", seam->word, MR_STR_ARG(seam->shown), mr_why());
}

static mr_err find_postgres(struct up *up)
{
    struct up_seam *seam = &up->seams[UP_POSTGRES];
    struct mr_buf shown = {0};
    mr_err err = postgres_address_parse(&up->arena, seam->address, NULL, &up->postgres_address);
    if (err != MR_OK)
        return err;
    if (up->settings[PIPELINE_SETTING_postgres_user].length > 0)
        up->postgres_address.user = up->settings[PIPELINE_SETTING_postgres_user];
    if (up->settings[PIPELINE_SETTING_postgres_password].length > 0)
        up->postgres_address.password = up->settings[PIPELINE_SETTING_postgres_password];
    postgres_address_print(&shown, &up->postgres_address);
    seam->shown = mr_arena_str(&up->arena, mr_buf_as_str(&shown));
    mr_buf_fini(&shown);
    up->postgres_is_ready = true;
    return MR_OK;
}

/* Every address without the password that a URL may hold. */
static mr_str public_address(struct up *up, mr_str address)
{
    struct mr_buf shown = {0};
    http_url_public(&shown, address);
    mr_str copy = mr_arena_str(&up->arena, mr_buf_as_str(&shown));
    mr_buf_fini(&shown);
    return copy;
}

static const char *path_of(const struct up *up, enum pipeline_setting setting)
{
    return up->settings[setting].length == 0 ? NULL : up->settings[setting].data;
}

struct schemas_client_options up_seams_registry(const struct up *up)
{
    return (struct schemas_client_options){
        .url = up->seams[UP_REGISTRY].address,
        .user = up->settings[PIPELINE_SETTING_registry_user],
        .password = up->settings[PIPELINE_SETTING_registry_password],
        .token = up->settings[PIPELINE_SETTING_registry_token],
        .tls = {.ca = path_of(up, PIPELINE_SETTING_registry_tls_ca),
                .cert = path_of(up, PIPELINE_SETTING_registry_tls_cert),
                .key = path_of(up, PIPELINE_SETTING_registry_tls_key)},
    };
}

static mr_err find_cassandra(struct up *up)
{
    struct net_tls_client *out = &up->cassandra_tls;
    if (up->seams[UP_CASSANDRA].embedded)
        return MR_OK;
    mr_err err = up_options_switch(up->settings, PIPELINE_SETTING_cassandra_tls,
                                   &up->cassandra_uses_tls);
    *out = (struct net_tls_client){.ca = up->settings[PIPELINE_SETTING_cassandra_tls_ca],
                                   .certificate = up->settings[PIPELINE_SETTING_cassandra_tls_cert],
                                   .key = up->settings[PIPELINE_SETTING_cassandra_tls_key]};
    if (err == MR_OK)
        err = up_options_switch(up->settings, PIPELINE_SETTING_cassandra_tls_any_name,
                                &out->any_name);
    up->cassandra_uses_tls |= out->ca.length > 0 || out->certificate.length > 0;
    mr_str compression = up->settings[PIPELINE_SETTING_cassandra_compression];
    up->cassandra_lz4 = mr_str_equal_nocase(compression, MR_STR("lz4"));
    if (err == MR_OK && !up->cassandra_lz4 && compression.length > 0 &&
        !mr_str_equal_nocase(compression, MR_STR("none")))
        err = mr_fail(MR_INVALID, "cassandra.compression: %.*s: expected lz4 or none",
                      MR_STR_ARG(compression));
    return err;
}

void up_seams_cassandra(struct up *up, struct cql_client_options *out)
{
    mr_str user = up->settings[PIPELINE_SETTING_cassandra_user];
    *out = (struct cql_client_options){
        .addresses = mr_arena_cstr(&up->arena, up->seams[UP_CASSANDRA].address),
        .lz4 = up->cassandra_lz4,
        .tls = up->cassandra_uses_tls ? &up->cassandra_tls : NULL};
    if (user.length == 0)
        return;
    out->user = mr_arena_cstr(&up->arena, user);
    out->password = mr_arena_cstr(&up->arena, up->settings[PIPELINE_SETTING_cassandra_password]);
}

mr_err up_seams_resolve(struct up *up)
{
    mr_err err = MR_OK;
    for (int f = 0; f < up->file_count && err == MR_OK; f++)
        err = from_file(up, &up->files[f]);
    if (err == MR_OK)
        err = up_options_settings(&up->options, &up->arena, up->settings);
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
    if (!up->seams[UP_POSTGRES].embedded)
        err = find_postgres(up);
    struct up_seam *registry = &up->seams[UP_REGISTRY];
    if (!registry->embedded && mr_str_find(registry->address, MR_STR("://")) < 0)
        registry->address = mr_arena_printf(&up->arena, "http://%.*s",
                                            MR_STR_ARG(registry->address));
    for (int id = 0; id < UP_SEAM_COUNT && err == MR_OK; id++)
        if (!up->seams[id].embedded && id != UP_POSTGRES)
            up->seams[id].shown = public_address(up, up->seams[id].address);
    if (err == MR_OK && !up->seams[UP_KAFKA].embedded)
        err = check_addresses(&up->seams[UP_KAFKA], UP_PORT_KAFKA);
    if (err == MR_OK)
        err = up->seams[UP_KAFKA].embedded ? MR_OK
                                           : up_options_kafka(up->settings, &up->kafka_security);
    if (err == MR_OK)
        err = find_cassandra(up);
    if (err == MR_OK && !up->seams[UP_CASSANDRA].embedded)
        err = check_addresses(&up->seams[UP_CASSANDRA], UP_PORT_CASSANDRA);
    return err;
}

/* ---- listeners ---- */

static mr_str reach(struct up *up, const char *scheme, uint16_t port)
{
    return up_options_url(&up->arena, scheme, up->host, port);
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
        err = up_options_inside(&up->options, &options.inside_port);
    if (err == MR_OK)
        err = up_options_log(&up->options, &up->arena, &options.settings);
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
                                              .kafka = up->seams[UP_KAFKA].address,
                                              .kafka_security = up->kafka_security};
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
