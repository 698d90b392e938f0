/* broker/config.h: the settings of one topic: text as it was set, and values as the log reads them.
 * Thread: the loop's; a disk thread gets a copy of the values it needs. */
#ifndef BROKER_CONFIG_H
#define BROKER_CONFIG_H

#include "base/base.h"

enum broker_config_id {
#define CONFIG(type, field, name, fallback, lowest, about) BROKER_CONFIG_##field,
#include "broker/configs.def"
    BROKER_CONFIG_COUNT
};
/* Whose settings: topics, the broker, its loggers, client metrics, groups; as the protocol numbers them. */
enum {
    BROKER_RESOURCE_TOPIC = 2,
    BROKER_RESOURCE_BROKER = 4,
    BROKER_RESOURCE_BROKER_LOGGER = 8,
    BROKER_RESOURCE_METRICS = 16,
    BROKER_RESOURCE_GROUP = 32,
};
/* As DescribeConfigs numbers them. */
enum broker_config_type {
    BROKER_CONFIG_BOOLEAN = 1,
    BROKER_CONFIG_STRING = 2,
    BROKER_CONFIG_INT = 3,
    BROKER_CONFIG_LONG = 5,
    BROKER_CONFIG_DOUBLE = 6,
    BROKER_CONFIG_LIST = 7,
};
enum broker_flush { BROKER_FLUSH_ACKS, BROKER_FLUSH_ALWAYS, BROKER_FLUSH_NEVER };
struct broker_config_row {
    const char *name, *fallback, *about;
    enum broker_config_type type;
    int64_t lowest;
};
extern const struct broker_config_row broker_config_rows[BROKER_CONFIG_COUNT];

struct broker_config {
    char *texts[BROKER_CONFIG_COUNT];     /* as set; NULL: the default holds */
    const struct broker_config *defaults; /* the broker's; NULL: those of configs.def */
    int64_t retention_ms, retention_bytes, segment_ms, segment_jitter_ms, segment_bytes;
    int64_t index_interval_bytes, max_message_bytes;
    int64_t timestamp_before_ms, timestamp_after_ms;
    int64_t delete_retention_ms, min_compaction_lag_ms, max_compaction_lag_ms;
    double min_cleanable_ratio;
    int64_t flush_messages, flush_ms; /* INT64_MAX: the operating system's choice */
    enum broker_flush flush;
    bool compacts, deletes, append_time;
};
/* `defaults` may be NULL, or outlives it. */
void broker_config_init(struct broker_config *config, const struct broker_config *defaults);
/* Once the defaults have changed. */
void broker_config_derive(struct broker_config *config);
void broker_config_fini(struct broker_config *config);
void broker_config_copy(const struct broker_config *from,
                        struct broker_config *to); /* inits `to` */
int broker_config_find(mr_str name);               /* a broker_config_id, or -1 */
mr_str broker_config_text(const struct broker_config *config, int id);
/* Sets one setting, or takes it back (value.data NULL). Errors: MR_INVALID with a sentence; MR_NOT_FOUND. */
mr_err broker_config_set(struct broker_config *config, mr_str name, mr_str value);
/* Adds to, or takes from, a LIST. */
mr_err broker_config_append(struct broker_config *config, mr_str name, mr_str value, bool subtract);
/* Whether a setting can have this value; `name` stands in the sentence. Errors: MR_INVALID. */
mr_err broker_config_check(int id, const char *name, mr_str value);
/* "name=value" lines of what was set, and back. */
void broker_config_print(const struct broker_config *config, struct mr_buf *out);

#endif
