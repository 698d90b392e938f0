/* up/options.h: the command line and the environment as plain values. */
#ifndef UP_OPTIONS_H
#define UP_OPTIONS_H

#include "base/base.h"
#include "broker/broker.h"
#include "kafka/kafka.h"
#include "pipeline/pipeline.h"

enum { UP_FILES_MAX = 64, UP_CONFIGS_MAX = 512 };
#define UP_VERSION "0.1.0"

/* The ports of the real systems (PostgreSQL's moved by one). */
enum {
    UP_PORT_KAFKA = 9092,
    UP_PORT_REGISTRY = 8081,
    UP_PORT_CASSANDRA = 9042,
    UP_PORT_CONSOLE = 8080,
    UP_PORT_RANDOMUSER = 8088,
    UP_PORT_POSTGRES = 5433,
};
struct up_options {
#define OPTION(id, word, value, environment, about) \
    const char *id; /* NULL: not given; switches: "" */
#include "up/options.def"
    const char *files[UP_FILES_MAX], *configs[UP_CONFIGS_MAX]; /* configs: each --config */
    int file_count, config_count;
    bool only_reads; /* the command's own word: it needs no room on the data folder's disk */
};
/* Reads them; on a mistake prints the sentence and returns 2, after --help prints it and returns 0; -1: go on. */
int up_options_read(const char *command, int argc, char **argv, struct up_options *out);
/* `port` moved by --port-offset; `--port` when `alone`. MR_INVALID when the result is no port. */
mr_err up_options_port(const struct up_options *options, int port, bool alone, uint16_t *out);
/* --inside-port and --metrics-port; 0 when it is not given. */
mr_err up_options_inside(const struct up_options *options, uint16_t *out);
mr_err up_options_metrics(const struct up_options *options, uint16_t *out);
/* --metrics-host; MR_DENIED: beyond this machine without --insecure. */
mr_err up_options_metrics_host(const struct up_options *options, const char **out);
/* The address to listen on. MR_DENIED: beyond this machine without --insecure, and not `guarded` by
 * authentication. */
mr_err up_options_host(const struct up_options *options, bool guarded, const char **out);
/* Where this machine reaches who listens on `host` (NULL: on the default); a URL, brackets round an IPv6 address. */
const char *up_options_near(const char *host);
mr_str up_options_url(struct mr_arena *arena, const char *scheme, const char *host, uint16_t port);
/* Settings of the log, a line each: of --config-file, then --config or the environment, so that those count. */
mr_err up_options_log(const struct up_options *options, struct mr_arena *arena, mr_str *out);
/* Who may come in to the log. Errors: MR_INVALID. The texts are the options'. */
mr_err up_options_security(const struct up_options *options, struct broker_security_options *out);
/* The first option of up_options_security() that is given; NULL: none. */
const char *up_options_security_word(const struct up_options *options);
/* What is said of connections on the command line and in the environment, over what `settings` has; secrets are
 * read from their files. Texts live in the arena or as long as the options. One sentence on an error. */
mr_err up_options_settings(const struct up_options *options, struct mr_arena *arena,
                           mr_str settings[PIPELINE_SETTING_COUNT]);
/* Whether a setting says true; false when it is not given. MR_INVALID: another word. */
mr_err up_options_switch(const mr_str settings[PIPELINE_SETTING_COUNT],
                         enum pipeline_setting setting, bool *out);
/* How one comes in to a Kafka elsewhere. Errors: MR_INVALID. The texts are the settings'. */
mr_err up_options_kafka(const mr_str settings[PIPELINE_SETTING_COUNT], struct kafka_security *out);
/* Which one is the data folder. */
mr_err up_options_folder_path(const struct up_options *options, struct mr_arena *arena,
                              const char **out);
/* The data folder: made, entered, locked by this process, of a format that we know, with room on its
 * disk; the program's log is opened there. One sentence on every error. */
mr_err up_options_folder(const struct up_options *options, struct mr_arena *arena,
                         const char **out);
/* What the environment or the command line says of a connection; NULL: nothing. */
const char *up_options_setting(const struct up_options *options, enum pipeline_setting setting);
const char *up_options_setting_word(enum pipeline_setting setting); /* "registry.user" */
void up_options_help(const char *command, struct mr_buf *out);

#endif
