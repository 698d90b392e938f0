/* shell/room.h: what the commands share: the command line, and asking a log one question after the other. */
#ifndef SHELL_ROOM_H
#define SHELL_ROOM_H

#include "kafka/kafka.h"
#include "shell/shell.h"

/* ---- the command line ---- */
struct shell_option {
    const char **items; /* as often as it was given; a switch: "" */
    size_t count, capacity;
};
struct shell {
    const char *command; /* its word */
    struct shell_options {
#define OPTION(id, word, commands, value, about) struct shell_option id;
#include "shell/options.def"
    } options;
    struct mr_arena arena; /* lives as long as the command */
    struct mr_loop *loop;
    struct kafka_client *kafka;
};
/* Reads the command line and opens the client; -1: go on, else the exit status. */
int shell_begin(struct shell *shell, const char *command, int argc, char **argv);
/* Closes everything; says mr_why() when err is set. Returns the exit status: of MR_INVALID 2, of others 1. */
int shell_end(struct shell *shell, mr_err err);
/* The last value of an option; NULL: not given. */
const char *shell_text(const struct shell_option *option);
/* A number of an option within [min, max]; left alone when it was not given. Errors: MR_INVALID. */
mr_err shell_number(const struct shell_option *option, const char *word, int64_t min, int64_t max,
                    int64_t *out);
/* "K=V": false when there is no `=`. */
bool shell_pair(mr_str text, mr_str *key, mr_str *value);

/* ---- asking ---- */
/* Takes the answer (a loan); returns an error code of the protocol: a retriable one asks again for a while. */
typedef int16_t shell_use(void *context, int16_t version, const void *response);
/* One request and its answer. What `use` gave at last is told as an error about `about`. */
mr_err shell_ask(struct shell *shell, struct kafka_target target, int16_t api_key, kafka_fill *fill,
                 shell_use *use, void *context, const char *about);
/* For calls that end by a callback: *done is set by it. */
void shell_wait(struct shell *shell, const bool *done);
void shell_pause(struct shell *shell, int64_t pause_us);
/* A call that ends by kafka_done: begin, pass shell_done and the struct, shell_result(). */
struct shell_call {
    bool done;
    mr_err err;
    char why[512];
};
void shell_done(void *context, mr_err err);
mr_err shell_result(struct shell *shell, const struct shell_call *call);

/* ---- what several commands want to know ---- */
struct shell_topic {
    mr_str name;
    bool internal;
    int32_t partitions;
};
/* All topics by name, in the arena. */
mr_err shell_topics(struct shell *shell, struct shell_topic **out, size_t *count);
/* Partitions of one topic; MR_NOT_FOUND. */
mr_err shell_partitions(struct shell *shell, mr_str topic, int32_t *out);
/* Offsets by time, answered in place; texts stay the caller's. */
mr_err shell_offsets(struct shell *shell, struct kafka_offset *offsets, size_t count,
                     bool read_committed);
/* Offsets of a group, all that it has, sorted, in the arena. */
mr_err shell_group_offsets(struct shell *shell, mr_str group, struct kafka_offset **out,
                           size_t *count);
/* Settings of one resource that were set (or all), in the arena. */
enum {
    SHELL_RESOURCE_TOPIC = 2,
    SHELL_RESOURCE_BROKER = 4,
    SHELL_RESOURCE_LOGGER = 8,
    SHELL_RESOURCE_METRICS = 16,
    SHELL_RESOURCE_GROUP = 32,
};
struct shell_setting {
    mr_str name, value; /* value data NULL: hidden */
    int8_t source;
    mr_str synonyms; /* as kafka-configs.sh prints them */
};
mr_err shell_settings(struct shell *shell, int8_t kind, mr_str name, bool all,
                      struct shell_setting **out, size_t *count);

/* quota.c: whose quotas: users, client ids, both, or addresses. */
enum shell_quota_part { SHELL_QUOTA_USER, SHELL_QUOTA_CLIENT, SHELL_QUOTA_IP, SHELL_QUOTA_PARTS };
struct shell_quota_entity {
    struct shell_quota_who {
        bool has, fallback; /* fallback: the default's */
        mr_str name;        /* data NULL and no fallback: whoever (to describe) */
    } parts[SHELL_QUOTA_PARTS];
};
struct shell_quota_change {
    mr_str name, value; /* value data NULL: taken back */
};
mr_err shell_quotas_describe(struct shell *shell, const struct shell_quota_entity *entity);
mr_err shell_quotas_alter(struct shell *shell, const struct shell_quota_entity *entity,
                          const struct shell_quota_change *changes, size_t count);

/* properties.c: a file of Kafka's client properties as what signs in. Texts are in the arena. */
mr_err shell_properties(struct shell *shell, const char *path, struct kafka_security *out);
/* The same from text; errors name `path`. */
mr_err shell_properties_read(struct mr_arena *arena, const char *path, mr_str text,
                             struct kafka_security *out);

#endif
