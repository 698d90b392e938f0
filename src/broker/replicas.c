/* broker/replicas.c: what tools ask of a cluster about leaders, copies and their folders, answered as one node
 * can: it leads everything, keeps the only copy, and has one folder. */
#include "broker/server.h"

static int16_t partition_code(struct broker_request *request, mr_str topic, int32_t index)
{
    return broker_topics_partition(&request->server->topics, topic, index) == NULL
               ? KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION
               : KAFKA_ERROR_NONE;
}

/* ---- ElectLeaders ---- */

enum { ELECTION_PREFERRED = 0, ELECTION_UNCLEAN = 1 };

static void elect_topic(struct broker_request *request,
                        const struct kafka_elect_leaders_request_topic *asked,
                        struct kafka_elect_leaders_response_topic *answer)
{
    answer->topic = asked->topic;
    answer->partition_result.count = asked->partitions.count;
    answer->partition_result.items = mr_arena_array(&request->arena,
                                                    struct kafka_elect_leaders_response_partition,
                                                    (size_t)asked->partitions.count);
    for (int32_t i = 0; i < asked->partitions.count; i++) {
        int32_t index = asked->partitions.items[i];
        int16_t code = partition_code(request, asked->topic, index);
        answer->partition_result.items[i] = (struct kafka_elect_leaders_response_partition){
            .partition_id = index,
            .error_code = code == KAFKA_ERROR_NONE ? KAFKA_ERROR_ELECTION_NOT_NEEDED : code,
            .error_message = code == KAFKA_ERROR_NONE
                                 ? MR_STR("The one node leads this partition already.")
                                 : MR_STR("There is no such partition.")};
    }
}

/* Asked about all, only those are told where something would change: none. */
void broker_replicas_elect_leaders(struct broker_request *request)
{
    const struct kafka_elect_leaders_request *in = request->in;
    struct kafka_elect_leaders_response *out = request->out;
    size_t count = in->topic_partitions.count > 0 ? (size_t)in->topic_partitions.count : 0;

    if (in->election_type != ELECTION_PREFERRED && in->election_type != ELECTION_UNCLEAN) {
        out->error_code = KAFKA_ERROR_INVALID_REQUEST;
        count = 0;
    }
    out->replica_election_results.count = (int32_t)count;
    out->replica_election_results.items = mr_arena_array(
        &request->arena, struct kafka_elect_leaders_response_topic, count);
    for (size_t i = 0; i < count; i++)
        elect_topic(request, &in->topic_partitions.items[i],
                    &out->replica_election_results.items[i]);
    broker_server_answer(request);
}

/* ---- AlterPartitionReassignments, ListPartitionReassignments ---- */

static void
reassign_partition(struct broker_request *request, mr_str topic,
                   const struct kafka_alter_partition_reassignments_request_partition *asked,
                   struct kafka_alter_partition_reassignments_response_partition *answer)
{
    bool here = asked->replicas.count == 1 && asked->replicas.items[0] == BROKER_NODE_ID;

    answer->partition_index = asked->partition_index;
    answer->error_code = partition_code(request, topic, asked->partition_index);
    if (answer->error_code != KAFKA_ERROR_NONE) {
        answer->error_message = MR_STR("There is no such partition.");
    } else if (asked->replicas.count < 0) {
        answer->error_code = KAFKA_ERROR_NO_REASSIGNMENT_IN_PROGRESS;
        answer->error_message = MR_STR("No partition is ever moved: there is one node.");
    } else if (!here) {
        answer->error_code = KAFKA_ERROR_INVALID_REPLICA_ASSIGNMENT;
        answer->error_message = MR_STR("There is one node, 1, and it keeps the only copy.");
    }
}

void broker_replicas_alter_partition_reassignments(struct broker_request *request)
{
    const struct kafka_alter_partition_reassignments_request *in = request->in;
    struct kafka_alter_partition_reassignments_response *out = request->out;

    out->allow_replication_factor_change = in->allow_replication_factor_change;
    out->responses.count = in->topics.count;
    out->responses.items = mr_arena_array(&request->arena,
                                          struct kafka_alter_partition_reassignments_response_topic,
                                          (size_t)in->topics.count);
    for (int32_t i = 0; i < in->topics.count; i++) {
        const struct kafka_alter_partition_reassignments_request_topic *asked =
            &in->topics.items[i];
        struct kafka_alter_partition_reassignments_response_topic *answer =
            &out->responses.items[i];
        answer->name = asked->name;
        answer->partitions.count = asked->partitions.count;
        answer->partitions.items = mr_arena_array(
            &request->arena, struct kafka_alter_partition_reassignments_response_partition,
            (size_t)asked->partitions.count);
        for (int32_t k = 0; k < asked->partitions.count; k++)
            reassign_partition(request, asked->name, &asked->partitions.items[k],
                               &answer->partitions.items[k]);
    }
    broker_server_answer(request);
}

/* Nothing is ever under way. */
void broker_replicas_list_partition_reassignments(struct broker_request *request)
{
    broker_server_answer(request);
}

/* ---- AlterReplicaLogDirs ---- */

static bool dir_is_ours(const struct broker_request *request, mr_str path)
{
    return mr_str_equal(path, mr_str_from(request->server->topics.folder));
}

static void dir_topic(struct broker_request *request,
                      const struct kafka_alter_replica_log_dirs_request_topic *asked,
                      struct kafka_alter_replica_log_dirs_response_topic *answer, int16_t code)
{
    answer->topic_name = asked->name;
    answer->partitions.count = asked->partitions.count;
    answer->partitions.items = mr_arena_array(
        &request->arena, struct kafka_alter_replica_log_dirs_response_partition,
        (size_t)asked->partitions.count);
    for (int32_t i = 0; i < asked->partitions.count; i++) {
        int32_t index = asked->partitions.items[i];
        answer->partitions.items[i] = (struct kafka_alter_replica_log_dirs_response_partition){
            index, code != KAFKA_ERROR_NONE ? code : partition_code(request, asked->name, index)};
    }
}

void broker_replicas_log_dirs_lay_out(struct broker_request *request, int16_t code)
{
    const struct kafka_alter_replica_log_dirs_request *in = request->in;
    struct kafka_alter_replica_log_dirs_response *out = request->out;
    size_t count = 0;

    for (int32_t i = 0; i < in->dirs.count; i++)
        count += (size_t)in->dirs.items[i].topics.count;
    out->results.items = mr_arena_array(&request->arena,
                                        struct kafka_alter_replica_log_dirs_response_topic, count);
    for (int32_t i = 0; i < in->dirs.count; i++) {
        const struct kafka_alter_replica_log_dirs_request_dir *dir = &in->dirs.items[i];
        int16_t dir_code = code != KAFKA_ERROR_NONE || dir_is_ours(request, dir->path)
                               ? code
                               : KAFKA_ERROR_LOG_DIR_NOT_FOUND;
        for (int32_t k = 0; k < dir->topics.count; k++)
            dir_topic(request, &dir->topics.items[k], &out->results.items[out->results.count++],
                      dir_code);
    }
}

void broker_replicas_alter_replica_log_dirs(struct broker_request *request)
{
    broker_replicas_log_dirs_lay_out(request, KAFKA_ERROR_NONE);
    broker_server_answer(request);
}
