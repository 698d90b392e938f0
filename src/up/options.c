/* up/options.c: hides how options are read and what a data folder must be. */
#include "up/options.h"
#include "shell/shell.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* The format of the data folder: this release writes and opens 1. */
enum {
    FOLDER_FORMAT = 1,
    SPACE_BYTES_MIN = 64 << 20,
    SECRET_BYTES_MAX = 65536,
    SETTINGS_BYTES_MAX = 1 << 20
};

static const struct option_row {
    const char *word, *value, *environment, *about;
    size_t offset;
} rows[] = {
#define OPTION(id, word, value, environment, about) \
    {word, value, environment, about, offsetof(struct up_options, id)},
#include "up/options.def"
};
static const struct {
    const char *word, *arguments, *about;
} commands[] = {
#define COMMAND(word, function, arguments, about) {word, arguments, about},
#include "up/commands.def"
};

static const char **field(struct up_options *options, const struct option_row *row)
{
    return (const char **)(void *)((char *)options + row->offset);
}

static int wrong(const char *command, const char *format, const char *what)
{
    fprintf(stderr, "millrace %s: ", command);
    fprintf(stderr, format, what);
    fprintf(stderr, "; `millrace help %s` lists the options\n", command);
    return 2;
}

void up_options_help(const char *command, struct mr_buf *out)
{
    bool whole = command == NULL;
    if (!whole && shell_help(command, out))
        return;
    if (whole)
        mr_buf_cstr(out, "millrace COMMAND [OPTIONS] [FILE...]\n\nCommands:\n");
    for (size_t i = 0; i < mr_count_of(commands); i++) {
        if (whole)
            mr_buf_printf(out, "  %-11s %-12s %s\n", commands[i].word, commands[i].arguments,
                          commands[i].about);
        else if (strcmp(command, commands[i].word) == 0)
            mr_buf_printf(out, "millrace %s %s [OPTIONS]\n\n%s\n", command, commands[i].arguments,
                          commands[i].about);
    }
    if (whole) {
        mr_buf_cstr(out, "\nCommands that are clients, each with options of its own:\n");
        shell_help(NULL, out);
    }
    mr_buf_cstr(out, "\nOptions:\n");
    for (size_t i = 0; i < mr_count_of(rows); i++) {
        char head[64];
        if (rows[i].word == NULL) {
            mr_buf_printf(out, "  %-22s %s (%s only)\n", "", rows[i].about, rows[i].environment);
            continue;
        }
        snprintf(head, sizeof head, "%s %s", rows[i].word, rows[i].value);
        mr_buf_printf(out, "  %-22s %s (%s)\n", head, rows[i].about, rows[i].environment);
    }
}

/* "--word value" or "--word=value"; sets *used to how many arguments it took. */
static int read_option(const char *command, int argc, char **argv, struct up_options *out,
                       int *used)
{
    const char *equals = strchr(argv[0], '=');
    size_t length = equals == NULL ? strlen(argv[0]) : (size_t)(equals - argv[0]);
    for (size_t i = 0; i < mr_count_of(rows); i++) {
        bool is_switch = rows[i].value[0] == '\0';
        if (rows[i].word == NULL || strlen(rows[i].word) != length ||
            strncmp(rows[i].word, argv[0], length) != 0)
            continue;
        if (is_switch && equals != NULL)
            return wrong(command, "%s takes no value", rows[i].word);
        if (!is_switch && equals == NULL && argc < 2)
            return wrong(command, "%s needs a value", rows[i].word);
        *used = is_switch || equals != NULL ? 1 : 2;
        *field(out, &rows[i]) = is_switch ? "" : equals != NULL ? equals + 1 : argv[1];
        if (rows[i].offset != offsetof(struct up_options, config))
            return -1;
        if (out->config_count == UP_CONFIGS_MAX)
            return wrong(command, "more than %s settings", "512");
        out->configs[out->config_count++] = out->config;
        return -1;
    }
    return wrong(command, "there is no option `%s`", argv[0]);
}

int up_options_read(const char *command, int argc, char **argv, struct up_options *out)
{
    *out = (struct up_options){0};
    for (size_t i = 0; i < mr_count_of(rows); i++) {
        const char *value = getenv(rows[i].environment);
        if (value != NULL && value[0] != '\0')
            *field(out, &rows[i]) = rows[i].value[0] == '\0' && rows[i].word != NULL ? "" : value;
    }
    for (int at = 0; at < argc;) {
        int used = 1;
        if (strcmp(argv[at], "--help") == 0 || strcmp(argv[at], "-h") == 0) {
            struct mr_buf help = {0};
            up_options_help(command, &help);
            fwrite(help.data, 1, help.length, stdout);
            mr_buf_fini(&help);
            return 0;
        }
        if (argv[at][0] == '-' && argv[at][1] != '\0') {
            int status = read_option(command, argc - at, argv + at, out, &used);
            if (status >= 0)
                return status;
        } else if (out->file_count == UP_FILES_MAX) {
            return wrong(command, "more than %s files", "64");
        } else {
            out->files[out->file_count++] = argv[at];
        }
        at += used;
    }
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    for (size_t i = 0; i < mr_count_of(levels); i++)
        if (out->log_level != NULL && strcmp(out->log_level, levels[i]) == 0) {
            mr_log_level_set((enum mr_log_level)i);
            return -1;
        }
    return out->log_level == NULL
               ? -1
               : wrong(command, "--log-level %s: expected debug, info, warn or error",
                       out->log_level);
}

const char *up_options_setting(const struct up_options *options, enum pipeline_setting setting)
{
    static const size_t offsets[] = {
#define SETTING(connection, id, option, value, environment, about) \
    offsetof(struct up_options, connection##_##id),
#include "pipeline/connections.def"
    };
    return *(const char *const *)(const void *)((const char *)options + offsets[setting]);
}

const char *up_options_setting_word(enum pipeline_setting setting)
{
    static const char *const words[] = {
#define SETTING(connection, id, option, value, environment, about) #connection "." #id,
#include "pipeline/connections.def"
    };
    return words[setting];
}

mr_err up_options_port(const struct up_options *options, int port, bool alone, uint16_t *out)
{
    int64_t offset = 0, number = port;
    if (alone && options->port != NULL) {
        if (mr_str_to_i64(mr_str_from(options->port), &number) != MR_OK || number < 0 ||
            number > 65535)
            return mr_fail(MR_INVALID, "--port %s: expected a number from 0 to 65535",
                           options->port);
        *out = (uint16_t)number;
        return MR_OK;
    }
    if (options->port_offset != NULL &&
        (mr_str_to_i64(mr_str_from(options->port_offset), &offset) != MR_OK || offset < -4000 ||
         offset > 56000))
        return mr_fail(MR_INVALID, "--port-offset %s: expected a number from -4000 to 56000",
                       options->port_offset);
    *out = (uint16_t)(port + offset);
    return MR_OK;
}

static mr_err port_read(const char *text, const char *word, uint16_t *out)
{
    int64_t number = 0;
    if (text != NULL &&
        (mr_str_to_i64(mr_str_from(text), &number) != MR_OK || number < 1 || number > 65535))
        return mr_fail(MR_INVALID, "%s %s: expected a number from 1 to 65535", word, text);
    *out = (uint16_t)number;
    return MR_OK;
}

mr_err up_options_inside(const struct up_options *options, uint16_t *out)
{
    return port_read(options->inside_port, "--inside-port", out);
}

mr_err up_options_metrics(const struct up_options *options, uint16_t *out)
{
    return port_read(options->metrics_port, "--metrics-port", out);
}

static mr_err host_read(const char *word, const char *text, bool open, const char **out)
{
    const char *host = text == NULL ? "127.0.0.1" : text;
    bool here = strncmp(host, "127.", 4) == 0 || strcmp(host, "localhost") == 0 ||
                strcmp(host, "::1") == 0;
    if (!here && !open)
        return mr_fail(MR_DENIED,
                       "%s %s would let anybody who reaches this machine in; say --insecure if "
                       "that is wanted",
                       word, host);
    *out = host;
    return MR_OK;
}

mr_err up_options_host(const struct up_options *options, bool guarded, const char **out)
{
    return host_read("--host", options->host, guarded || options->insecure != NULL, out);
}

mr_err up_options_metrics_host(const struct up_options *options, const char **out)
{
    return host_read("--metrics-host", options->metrics_host, options->insecure != NULL, out);
}

const char *up_options_near(const char *host)
{
    bool every = host == NULL || host[0] == '\0' || strcmp(host, "0.0.0.0") == 0 ||
                 strcmp(host, "*") == 0 || strcmp(host, "::") == 0; /* "::" takes IPv4 as well */
    return every ? "127.0.0.1" : host;
}

mr_str up_options_url(struct mr_arena *arena, const char *scheme, const char *host, uint16_t port)
{
    host = up_options_near(host);
    bool six = strchr(host, ':') != NULL;
    return mr_arena_printf(arena, "%s%s%s%s:%u", scheme, six ? "[" : "", host, six ? "]" : "",
                           port);
}

/* ---- who may come in to the log ---- */

const char *up_options_security_word(const struct up_options *options)
{
    const struct {
        const char *value, *word;
    } words[] = {{options->tls_cert, "--tls-cert"},
                 {options->tls_key, "--tls-key"},
                 {options->tls_client_ca, "--tls-client-ca"},
                 {options->tls_clients, "--tls-clients"},
                 {options->sasl, "--sasl"},
                 {options->users, "--users"},
                 {options->acls, "--acls"},
                 {options->super_users, "--super-users"},
                 {options->allow_everyone, "--allow-everyone"},
                 {options->sasl_session, "--sasl-session"},
                 {options->token_keys, "--token-keys"},
                 {options->token_issuer, "--token-issuer"},
                 {options->token_audience, "--token-audience"},
                 {options->token_unsecured, "--token-unsecured"},
                 {options->conns_per_address, "--conns-per-address"}};
    for (size_t i = 0; i < mr_count_of(words); i++)
        if (words[i].value != NULL)
            return words[i].word;
    return NULL;
}

static mr_err number_read(const char *word, const char *text, int64_t *out)
{
    if (text == NULL)
        return MR_OK;
    if (mr_str_to_i64(mr_str_from(text), out) != MR_OK || *out < 1 || *out > 1000000000)
        return mr_fail(MR_INVALID, "%s %s: expected a number above 0", word, text);
    return MR_OK;
}

static mr_err clients_read(const struct up_options *options, enum net_tls_clients *out)
{
    mr_str word = mr_str_from(options->tls_clients);
    *out = options->tls_client_ca == NULL ? NET_TLS_CLIENTS_NONE : NET_TLS_CLIENTS_REQUIRE;
    if (word.data == NULL)
        return MR_OK;
    if (mr_str_equal(word, MR_STR("none")))
        *out = NET_TLS_CLIENTS_NONE;
    else if (mr_str_equal(word, MR_STR("request")))
        *out = NET_TLS_CLIENTS_REQUEST;
    else if (mr_str_equal(word, MR_STR("require")))
        *out = NET_TLS_CLIENTS_REQUIRE;
    else
        return mr_fail(MR_INVALID, "--tls-clients %s: expected none, request or require",
                       word.data);
    return MR_OK;
}

mr_err up_options_security(const struct up_options *options, struct broker_security_options *out)
{
    int64_t session_s = 0, conns = 0;
    *out = (struct broker_security_options){
        .tls = {.certificate = mr_str_from(options->tls_cert),
                .key = mr_str_from(options->tls_key),
                .client_ca = mr_str_from(options->tls_client_ca)},
        .mechanisms = mr_str_from(options->sasl),
        .users = mr_str_from(options->users),
        .token_keys = mr_str_from(options->token_keys),
        .token_issuer = mr_str_from(options->token_issuer),
        .token_audience = mr_str_from(options->token_audience),
        .token_unsecured = options->token_unsecured != NULL,
        .acls = options->acls != NULL,
        .allow_everyone = options->allow_everyone != NULL,
        .super_users = mr_str_from(options->super_users),
    };
    mr_err err = clients_read(options, &out->tls.clients);
    if (err == MR_OK)
        err = number_read("--sasl-session", options->sasl_session, &session_s);
    if (err == MR_OK)
        err = number_read("--conns-per-address", options->conns_per_address, &conns);
    if (err == MR_OK && options->tls_cert == NULL &&
        (options->tls_key != NULL || options->tls_client_ca != NULL ||
         options->tls_clients != NULL))
        err = mr_fail(MR_INVALID, "the --tls options need --tls-cert");
    out->session_ms = session_s * 1000;
    out->conns_per_address_max = (size_t)conns;
    return err;
}

mr_err up_options_log(const struct up_options *options, struct mr_arena *arena, mr_str *out)
{
    struct mr_buf text = {0};
    mr_err err = MR_OK;
    if (options->config_file != NULL)
        err = mr_file_read(options->config_file, SETTINGS_BYTES_MAX, &text);
    if (err == MR_NOT_FOUND)
        err = mr_fail(MR_INVALID, "--config-file: %s", mr_why());
    for (int i = 0; i < options->config_count; i++)
        mr_buf_printf(&text, "\n%s", options->configs[i]);
    if (options->config_count == 0 && options->config != NULL)
        mr_buf_printf(&text, "\n%s", options->config); /* the environment's */
    *out = mr_arena_str(arena, mr_buf_as_str(&text));
    mr_buf_fini(&text);
    return err;
}

/* ---- connections ---- */

/* A secret may be said itself, or by the file that holds it. */
static mr_err read_secret(struct mr_arena *arena, mr_str settings[], enum pipeline_setting secret,
                          enum pipeline_setting file)
{
    struct mr_buf text = {0};
    mr_str path = settings[file];
    if (path.length == 0 || settings[secret].length > 0)
        return MR_OK;
    mr_err err = mr_file_read(mr_arena_cstr(arena, path), SECRET_BYTES_MAX, &text);
    if (err == MR_OK)
        settings[secret] = mr_arena_str(arena, mr_str_trim(mr_buf_as_str(&text)));
    else
        err = mr_fail(err, "%s: %s", up_options_setting_word(file), mr_why());
    mr_buf_fini(&text);
    return err;
}

mr_err up_options_settings(const struct up_options *options, struct mr_arena *arena,
                           mr_str settings[PIPELINE_SETTING_COUNT])
{
    static const enum pipeline_setting secrets[][2] = {
        {PIPELINE_SETTING_postgres_password, PIPELINE_SETTING_postgres_password_file},
        {PIPELINE_SETTING_kafka_password, PIPELINE_SETTING_kafka_password_file},
        {PIPELINE_SETTING_registry_password, PIPELINE_SETTING_registry_password_file},
        {PIPELINE_SETTING_registry_token, PIPELINE_SETTING_registry_token_file},
        {PIPELINE_SETTING_cassandra_password, PIPELINE_SETTING_cassandra_password_file},
    };
    mr_err err = MR_OK;
    for (size_t i = 0; i < PIPELINE_SETTING_COUNT; i++) {
        const char *value = up_options_setting(options, (enum pipeline_setting)i);
        if (value != NULL)
            settings[i] = mr_str_from(value);
    }
    for (size_t i = 0; i < mr_count_of(secrets) && err == MR_OK; i++)
        err = read_secret(arena, settings, secrets[i][0], secrets[i][1]);
    return err;
}

mr_err up_options_switch(const mr_str settings[PIPELINE_SETTING_COUNT],
                         enum pipeline_setting setting, bool *out)
{
    mr_str text = settings[setting];
    *out = mr_str_equal_nocase(text, MR_STR("true"));
    return *out || text.length == 0 || mr_str_equal_nocase(text, MR_STR("false"))
               ? MR_OK
               : mr_fail(MR_INVALID, "%s: %.*s: expected true or false",
                         up_options_setting_word(setting), MR_STR_ARG(text));
}

mr_err up_options_kafka(const mr_str settings[PIPELINE_SETTING_COUNT], struct kafka_security *out)
{
    mr_err err = up_options_switch(settings, PIPELINE_SETTING_kafka_tls, &out->tls);
    out->files = (struct net_tls_client){.ca = settings[PIPELINE_SETTING_kafka_tls_ca],
                                         .certificate = settings[PIPELINE_SETTING_kafka_tls_cert],
                                         .key = settings[PIPELINE_SETTING_kafka_tls_key]};
    out->tls |= out->files.ca.length > 0 || out->files.certificate.length > 0;
    out->user = settings[PIPELINE_SETTING_kafka_user];
    out->password = settings[PIPELINE_SETTING_kafka_password];
    out->mechanism = settings[PIPELINE_SETTING_kafka_sasl];
    if (out->mechanism.length == 0 && out->user.length > 0)
        out->mechanism = MR_STR("SCRAM-SHA-512");
    return err;
}

/* ---- the data folder ---- */

static mr_err folder_lock(const char *folder, struct mr_arena *arena)
{
    const char *path = mr_arena_printf(arena, "%s/lock", folder).data;
    char holder[32] = "";
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return mr_fail(mr_err_from_errno(errno), "%s: %s; choose another folder with --data", path,
                       strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        ssize_t length = read(fd, holder, sizeof holder - 1);
        holder[length > 0 ? length : 0] = '\0';
        close(fd);
        return mr_fail(MR_BUSY,
                       "%s is in use by another millrace (pid %s); stop it, or choose another "
                       "folder with --data",
                       folder, holder);
    }
    /* The lock lives as long as the process: the descriptor is never closed. */
    int length = snprintf(holder, sizeof holder, "%d", (int)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, holder, (size_t)length, 0) != length)
        return mr_fail(mr_err_from_errno(errno), "%s: %s", path, strerror(errno));
    return MR_OK;
}

static mr_err folder_format(const char *folder, struct mr_arena *arena)
{
    const char *path = mr_arena_printf(arena, "%s/format", folder).data;
    struct mr_buf text = {0};
    int64_t number = 0;
    mr_err err = mr_file_read(path, 64, &text);
    if (err == MR_NOT_FOUND) {
        err = mr_file_write(path, MR_STR("1\n"), 0600);
    } else if (err == MR_OK &&
               (mr_str_to_i64(mr_str_trim(mr_buf_as_str(&text)), &number) != MR_OK ||
                number != FOLDER_FORMAT)) {
        err = mr_fail(MR_UNSUPPORTED, "%s has format %.*s; this release opens format %d", folder,
                      MR_STR_ARG(mr_str_trim(mr_buf_as_str(&text))), FOLDER_FORMAT);
    }
    mr_buf_fini(&text);
    return err;
}

static mr_err folder_space(const char *folder)
{
    uint64_t space, total;
    mr_err err = mr_file_space(folder, &space, &total);
    if (err == MR_OK && space < SPACE_BYTES_MIN)
        err = mr_fail(MR_FULL,
                      "the disk of %s has %llu MB free; at least %d MB are needed: make room, or "
                      "choose another folder with --data",
                      folder, (unsigned long long)(space >> 20), SPACE_BYTES_MIN >> 20);
    return err;
}

mr_err up_options_folder_path(const struct up_options *options, struct mr_arena *arena,
                              const char **out)
{
    const char *folder = options->data, *home = getenv("HOME");
    if (folder == NULL && geteuid() == 0)
        folder = "/var/lib/millrace";
    else if (folder == NULL && home == NULL)
        return mr_fail(MR_INVALID,
                       "HOME is not set, so there is no default data folder; name one with --data");
    else if (folder == NULL)
        folder = mr_arena_printf(arena, "%s/.local/state/millrace", home).data;
    *out = folder;
    return MR_OK;
}

mr_err up_options_folder(const struct up_options *options, struct mr_arena *arena, const char **out)
{
    const char *folder = NULL;
    char absolute[4096];
    mr_err err = up_options_folder_path(options, arena, &folder);
    /* Others may pass through when root owns it, as PostgreSQL's user has to; what is inside is private. */
    if (err == MR_OK)
        err = mr_folder_make(folder, geteuid() == 0 ? 0711 : 0700);
    if (err == MR_OK && realpath(folder, absolute) == NULL)
        err = mr_fail(mr_err_from_errno(errno), "%s: %s", folder, strerror(errno));
    if (err == MR_OK && access(absolute, R_OK | W_OK | X_OK) != 0)
        err = mr_fail(MR_DENIED, "%s: %s; choose another folder with --data", folder,
                      strerror(errno));
    if (err != MR_OK)
        return err;
    folder = mr_arena_cstr(arena, mr_str_from(absolute));
    err = options->only_reads ? MR_OK : folder_space(folder);
    if (err == MR_OK)
        err = folder_lock(folder, arena);
    if (err == MR_OK)
        err = folder_format(folder, arena);
    if (err == MR_OK)
        err = mr_log_open(mr_arena_printf(arena, "%s/millrace.log", folder).data);
    *out = folder;
    return err;
}
