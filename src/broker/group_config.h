/* broker/group_config.h: the settings of one group: texts as they were set, and values that follow. The
 * catalog keeps them (topics.c). Thread: the loop's. */
#ifndef BROKER_GROUP_CONFIG_H
#define BROKER_GROUP_CONFIG_H

#include "broker/node.h"

enum broker_group_config_id {
#define GROUP_CONFIG(field, name, fallback, about) BROKER_GROUP_CONFIG_##field,
#define GROUP_NUMBER(field, name, own, lowest, highest, about) BROKER_GROUP_CONFIG_##field,
#include "broker/group_configs.def"
    BROKER_GROUP_CONFIG_COUNT
};
struct broker_group_config_row {
    const char *name, *fallback, *about;
    enum broker_config_type type;
    int own, lowest, highest; /* of a number: the broker's settings (a broker_node_id) */
};
extern const struct broker_group_config_row broker_group_config_rows[BROKER_GROUP_CONFIG_COUNT];

enum broker_share_reset { BROKER_SHARE_LATEST, BROKER_SHARE_EARLIEST, BROKER_SHARE_BY_DURATION };
struct broker_group_config {
    const struct broker_node *node;         /* NULL: its defaults */
    char *texts[BROKER_GROUP_CONFIG_COUNT]; /* as set; NULL: the default holds */
    int32_t consumer_heartbeat_ms, consumer_session_ms;
    int32_t share_heartbeat_ms, share_session_ms, share_lock_ms;
    enum broker_share_reset share_reset;
    int64_t share_reset_ms; /* of by_duration */
    bool share_committed;
};
/* `node` outlives it. */
void broker_group_config_init(struct broker_group_config *config, const struct broker_node *node);
void broker_group_config_fini(struct broker_group_config *config);
void broker_group_config_copy(const struct broker_group_config *from,
                              struct broker_group_config *to); /* inits `to` */
/* What is in force. */
mr_str broker_group_config_text(const struct broker_group_config *config, int id);
int broker_group_config_find(mr_str name); /* a broker_group_config_id, or -1 */
bool broker_group_config_is_set(const struct broker_group_config *config);
/* Sets one setting, or takes it back (value.data NULL). Errors: MR_INVALID with a sentence; MR_NOT_FOUND. */
mr_err broker_group_config_set(struct broker_group_config *config, mr_str name, mr_str value);
/* The same with what was kept, though the broker's bounds have changed since. */
mr_err broker_group_config_read(struct broker_group_config *config, mr_str name, mr_str value);
/* "name=value" lines of what was set. */
void broker_group_config_print(const struct broker_group_config *config, struct mr_buf *out);

/* ---- of all groups that have some, by name: struct broker_group_config; without a name: what holds for
 * the others ---- */
void broker_group_configs_init(struct mr_map *configs, const struct broker_node *node);
/* What holds for the group. */
const struct broker_group_config *broker_group_config_of(const struct mr_map *configs,
                                                         mr_str group);
/* Replaces it; takes *config. */
void broker_group_config_put(struct mr_map *configs, mr_str group,
                             struct broker_group_config *config);
void broker_group_configs_fini(struct mr_map *configs);

#endif
