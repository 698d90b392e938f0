/* broker/node.h: the broker's own settings. Some are said when it starts and hold for the run; others change while it
 * runs, too (KIP-226): told to this broker, "1", or to all of a cluster, "". Many are what topics without a value of
 * their own follow. Thread: the loop's. */
#ifndef BROKER_NODE_H
#define BROKER_NODE_H

#include "broker/config.h"

struct broker_request;
struct broker_server;
struct json_value;
struct kafka_describe_configs_resource;
struct kafka_describe_configs_result;

enum broker_node_id {
#define SETTING(change, type, field, name, fallback, lowest, highest, about) BROKER_NODE_##field,
#define FOLLOWED(name, field) BROKER_NODE_topic_##field,
#include "broker/node_configs.def"
    BROKER_NODE_COUNT
};
/* The nearest last. */
enum broker_node_level { BROKER_NODE_START, BROKER_NODE_ALL, BROKER_NODE_THIS, BROKER_NODE_LEVELS };
struct broker_node {
    char *texts[BROKER_NODE_LEVELS][BROKER_NODE_COUNT]; /* as set; NULL: not */
    int64_t
        numbers[BROKER_NODE_COUNT]; /* in force, of those that are numbers or true (1) and false */
};
/* Where a value comes from, as DescribeConfigs numbers it. */
enum {
    BROKER_SOURCE_TOPIC = 1,
    BROKER_SOURCE_DYNAMIC_BROKER = 2,
    BROKER_SOURCE_DYNAMIC_DEFAULT = 3,
    BROKER_SOURCE_STATIC = 4,
    BROKER_SOURCE_DEFAULT = 5,
    BROKER_SOURCE_LOGGER = 6,
    BROKER_SOURCE_GROUP = 8,
};
extern const int8_t broker_node_sources[BROKER_NODE_LEVELS];
/* What the broker is started with: lines "NAME=VALUE", as in Kafka's server.properties; of two the last one counts.
 * Errors: MR_INVALID. */
mr_err broker_node_start(struct broker_node *node, mr_str lines);
/* The same of one. */
mr_err broker_node_say(struct broker_node *node, mr_str name, mr_str value);
void broker_node_fini(struct broker_node *node);
/* Puts what is set in force. */
void broker_node_apply(struct broker_server *server);
/* Rows of the security file. */
void broker_node_print(const struct broker_node *node, struct mr_buf *out);
mr_err broker_node_read(struct broker_node *node, const struct json_value *row);
/* The setting that topics follow for this one of theirs (a broker_config_id), or -1. */
int broker_node_of_topic(int topic_id);
const char *broker_node_name(int id);
/* What was set on a level, or NULL. */
const char *broker_node_text(const struct broker_node *node, enum broker_node_level level, int id);
/* What is in force; node NULL: the default. */
const char *broker_node_value(const struct broker_node *node, int id);
int64_t broker_node_number(const struct broker_node *node, int id);
/* The place of a word in a list that is in force, or -1. */
int broker_node_place(const struct broker_node *node, int id, mr_str word);
/* DescribeConfigs of a broker. */
void broker_node_describe(struct broker_request *request,
                          const struct kafka_describe_configs_resource *asked,
                          struct kafka_describe_configs_result *answer);
/* Changes of one resource: checked all, then made all. A code of errors.def, and why. */
struct broker_node_change {
    mr_str name, value; /* value: null takes it back */
    int8_t operation;   /* as IncrementalAlterConfigs numbers them */
};
int16_t broker_node_alter(struct broker_request *request, mr_str broker,
                          const struct broker_node_change *changes, int32_t count, bool all,
                          bool validate_only, mr_str *why);

#endif
