/* broker/metrics.c: what changes its labels with topics and groups, told at the moment of asking and by
 * the names that dashboards for Kafka know: those of its JMX exporter, and for groups those of
 * kafka-exporter. What only rises is counted where it happens (base/metrics.def). */
#include "broker/consumer_group.h"
#include "broker/share_group.h"
#include "broker/server.h"

enum gauge {
#define GAUGE(id, name, labels, help) GAUGE_##id,
#include "broker/gauges.def"
};
static const struct {
    const char *name, *labels, *help, *kind;
} gauges[] = {
#define GAUGE(id, name, labels, help) {name, labels, help, "gauge"},
#define COUNTER(id, name, labels, help) {name, labels, help, "counter"},
#define SUMMARY(id, name, labels, help) {name, labels, help, "summary"},
#include "broker/gauges.def"
};

static void head(struct mr_buf *out, enum gauge gauge)
{
    const char *name = gauges[gauge].name;

    mr_buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, gauges[gauge].help, name,
                  gauges[gauge].kind);
}

static void number(struct mr_buf *out, enum gauge gauge, int64_t value)
{
    head(out, gauge);
    mr_buf_printf(out, "%s %lld\n", gauges[gauge].name, (long long)value);
}

/* The value may have any bytes: a group's name is its maker's. */
static void label(struct mr_buf *out, const char *name, const char *text)
{
    mr_buf_printf(out, "%s=\"", name);
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            mr_buf_u8(out, '\\');
        if (*text == '\n')
            mr_buf_cstr(out, "\\n");
        else
            mr_buf_u8(out, (uint8_t)*text);
    }
    mr_buf_u8(out, '"');
}

/* ---- partitions ---- */

static int64_t log_bytes(const struct broker_log *log)
{
    return log->bytes;
}
static int64_t log_start(const struct broker_log *log)
{
    return log->start;
}
static int64_t log_end(const struct broker_log *log)
{
    return broker_log_high(log);
}
static int64_t log_segments(const struct broker_log *log)
{
    return (int64_t)log->segments.count;
}

static const struct {
    enum gauge gauge;
    int64_t (*value)(const struct broker_log *log);
} of_partitions[] = {
    {GAUGE_LOG_SIZE, log_bytes},      {GAUGE_LOG_START, log_start},
    {GAUGE_LOG_END, log_end},         {GAUGE_LOG_SEGMENTS, log_segments},
    {GAUGE_OLDEST_OFFSET, log_start}, {GAUGE_CURRENT_OFFSET, log_end},
};

static void partitions_print(const struct broker_server *server, size_t row, struct mr_buf *out)
{
    struct mr_map_entry *entry;

    head(out, of_partitions[row].gauge);
    for (size_t i = 0; (entry = mr_map_next(&server->topics.by_name, &i)) != NULL;) {
        const struct broker_topic *topic = entry->value;
        for (size_t k = 0; k < topic->partitions.count; k++) {
            const struct broker_log *log = topic->partitions.items[k]->log;
            if (log == NULL)
                continue;
            mr_buf_cstr(out, gauges[of_partitions[row].gauge].name);
            label(out, "{topic", topic->name);
            mr_buf_printf(out, ",partition=\"%zu\"} %lld\n", k,
                          (long long)of_partitions[row].value(log));
        }
    }
}

static int64_t bytes_in(const struct broker_log *log)
{
    return log->told_bytes_in;
}
static int64_t bytes_out(const struct broker_log *log)
{
    return log->told_bytes_out;
}
static int64_t records_in(const struct broker_log *log)
{
    return log->told_records_in;
}

static void traffic_print(const struct broker_server *server, enum gauge gauge,
                          int64_t (*value)(const struct broker_log *log),
                          const struct mr_counter *all, struct mr_buf *out)
{
    struct mr_map_entry *entry;

    number(out, gauge, mr_counter_read(all));
    for (size_t i = 0; (entry = mr_map_next(&server->topics.by_name, &i)) != NULL;) {
        const struct broker_topic *topic = entry->value;
        int64_t sum = 0;
        for (size_t k = 0; k < topic->partitions.count; k++)
            if (topic->partitions.items[k]->log != NULL)
                sum += value(topic->partitions.items[k]->log);
        mr_buf_cstr(out, gauges[gauge].name);
        label(out, "{topic", topic->name);
        mr_buf_printf(out, "} %lld\n", (long long)sum);
    }
}

static void topics_print(const struct broker_server *server, struct mr_buf *out)
{
    struct mr_map_entry *entry;
    int64_t partitions = 0, offline = 0;

    head(out, GAUGE_TOPIC_PARTITIONS);
    for (size_t i = 0; (entry = mr_map_next(&server->topics.by_name, &i)) != NULL;) {
        const struct broker_topic *topic = entry->value;
        partitions += (int64_t)topic->partitions.count;
        for (size_t k = 0; k < topic->partitions.count; k++)
            offline += topic->partitions.items[k]->log == NULL;
        mr_buf_cstr(out, gauges[GAUGE_TOPIC_PARTITIONS].name);
        label(out, "{topic", topic->name);
        mr_buf_printf(out, "} %zu\n", topic->partitions.count);
    }
    number(out, GAUGE_PARTITION_COUNT, partitions);
    number(out, GAUGE_LEADER_COUNT, partitions - offline);
    number(out, GAUGE_UNDER_REPLICATED, 0);
    number(out, GAUGE_GLOBAL_TOPICS, (int64_t)server->topics.by_name.count);
    number(out, GAUGE_GLOBAL_PARTITIONS, partitions);
    number(out, GAUGE_OFFLINE_PARTITIONS, offline);
    number(out, GAUGE_ACTIVE_CONTROLLERS, 1);
    number(out, GAUGE_BROKERS, 1);
    for (size_t row = 0; row < mr_count_of(of_partitions); row++)
        partitions_print(server, row, out);
    traffic_print(server, GAUGE_BYTES_IN, bytes_in, server->storage.bytes_in, out);
    traffic_print(server, GAUGE_BYTES_OUT, bytes_out, server->storage.bytes_out, out);
    traffic_print(server, GAUGE_MESSAGES_IN, records_in, server->storage.records_in, out);
}

/* ---- groups ---- */

/* Records that the group has not read, or -1 when nobody can say: no offset yet, no such partition. */
static int64_t offset_lag(const struct broker_server *server, const struct broker_offset *offset)
{
    const struct broker_topic *topic = mr_map_get(&server->topics.by_name,
                                                  mr_str_from(offset->topic));
    const struct broker_log *log = NULL;
    int64_t lag;

    if (topic != NULL && (size_t)offset->partition < topic->partitions.count)
        log = topic->partitions.items[offset->partition]->log;
    if (log == NULL || offset->offset < 0)
        return -1;
    lag = broker_log_high(log) - offset->offset;
    return lag < 0 ? 0 : lag;
}

static void offsets_print(const struct broker_server *server, enum gauge gauge, bool lag,
                          struct mr_buf *out)
{
    struct mr_map_entry *entry, *inner;

    head(out, gauge);
    for (size_t i = 0; (entry = mr_map_next(&server->groups.by_id, &i)) != NULL;) {
        const struct broker_group *group = entry->value;
        for (size_t k = 0; (inner = mr_map_next(&group->offsets, &k)) != NULL;) {
            const struct broker_offset *offset = inner->value;
            int64_t value = lag ? offset_lag(server, offset) : offset->offset;
            if (value < 0)
                continue;
            mr_buf_cstr(out, gauges[gauge].name);
            label(out, "{consumergroup", group->id);
            label(out, ",topic", offset->topic);
            mr_buf_printf(out, ",partition=\"%d\"} %lld\n", offset->partition, (long long)value);
        }
    }
}

static void groups_print(const struct broker_server *server, struct mr_buf *out)
{
    struct mr_map_entry *entry;
    int64_t empty = 0;

    head(out, GAUGE_GROUP_MEMBERS);
    for (size_t i = 0; (entry = mr_map_next(&server->groups.by_id, &i)) != NULL;) {
        const struct broker_group *group = entry->value;
        size_t members = group->consumer != NULL ? group->consumer->members.count
                         : group->share != NULL  ? group->share->members.count
                                                 : group->members.count;
        empty += members == 0;
        mr_buf_cstr(out, gauges[GAUGE_GROUP_MEMBERS].name);
        label(out, "{consumergroup", group->id);
        mr_buf_printf(out, "} %zu\n", members);
    }
    number(out, GAUGE_GROUPS, (int64_t)server->groups.by_id.count);
    number(out, GAUGE_GROUPS_EMPTY, empty);
    offsets_print(server, GAUGE_GROUP_OFFSET, false, out);
    offsets_print(server, GAUGE_GROUP_LAG, true, out);
}

void broker_metrics_docs(struct mr_buf *out)
{
    for (size_t i = 0; i < mr_count_of(gauges); i++)
        mr_buf_printf(out, "| `%s` | %s | %s |\n", gauges[i].name, gauges[i].labels,
                      gauges[i].help);
}

void broker_metrics_print(struct broker_server *server, struct mr_buf *out)
{
    if (!server->ready)
        return; /* groups and topics are still being read */
    topics_print(server, out);
    groups_print(server, out);
    head(out, GAUGE_TOTAL_TIME);
    broker_answers_print(server, gauges[GAUGE_TOTAL_TIME].name, out);
}
