/* broker/node.h: the broker's own settings that change while it runs (KIP-226): told to this broker, "1", or to
 * all of a cluster, "". Most are what topics without a value of their own follow. Thread: the loop's. */
#ifndef BROKER_NODE_H
#define BROKER_NODE_H

#include "broker/config.h"

struct broker_request;
struct broker_server;
struct json_value;
struct kafka_describe_configs_resource;
struct kafka_describe_configs_result;

enum broker_node_id {
#define FOLLOWED(name, field) BROKER_NODE_##field,
#define DYNAMIC(field, name, fallback, lowest, about) BROKER_NODE_##field,
#include "broker/node_configs.def"
    BROKER_NODE_COUNT
};
enum broker_node_level { BROKER_NODE_ALL, BROKER_NODE_THIS, BROKER_NODE_LEVELS };
struct broker_node {
    char *texts[BROKER_NODE_LEVELS][BROKER_NODE_COUNT]; /* as set; NULL: not */
};
/* Where a value comes from, as DescribeConfigs numbers it. */
enum {
    BROKER_SOURCE_TOPIC = 1,
    BROKER_SOURCE_DYNAMIC_BROKER = 2,
    BROKER_SOURCE_DYNAMIC_DEFAULT = 3,
    BROKER_SOURCE_STATIC = 4,
    BROKER_SOURCE_DEFAULT = 5,
    BROKER_SOURCE_GROUP = 8,
};
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
