/* broker/share_group.h: share groups (KIP-932). Members of a share group read partitions together: each
 * record goes to one of them at a time, and comes back until somebody is done with it. Here are who the
 * members are and where the group stands; share_partition.h has what became of each record,
 * share_fetch.c how records go out.
 *
 * Epochs as in consumer_group.h, but that nothing has to be given back: a member is at the target with
 * its next heartbeat.
 *
 *   EMPTY --- join: share_group_heartbeat() ---> STABLE --- leaves, or is silent: member_remove() ---> gone
 *     ^                                            |
 *     +------------- the last one is gone ---------+
 *
 * A partition that members read gets its state at once (partitions_begin()), and from then on the group
 * stands somewhere in it, members or not; the first fetch finds out where, unless that is known.
 * Thread: the loop's; loading runs on a disk thread before anything else. */
#ifndef BROKER_SHARE_GROUP_H
#define BROKER_SHARE_GROUP_H

#include "broker/consumer_group.h"
#include "broker/group_config.h"
#include "broker/share_partition.h"

enum {
    BROKER_SHARE_JOINS = 0, /* epochs that a member sends and that are none */
    BROKER_SHARE_LEAVES = -1,
};
struct broker_conn;
struct broker_share_member {
    struct broker_share_group *group;
    char *id, *rack_id, *client_id, *client_host; /* rack_id NULL: none */
    struct broker_texts topics;                   /* names, sorted */
    int32_t epoch, previous_epoch;
    struct broker_places assigned, target;
    struct mr_timer session;
};
struct broker_share_group {
    struct broker_group *group;
    int32_t epoch, target_epoch;
    int64_t topics_hash;
    uint64_t topics_seen;     /* broker_topics.changes when they were looked at */
    struct mr_map members;    /* by id */
    struct mr_map partitions; /* struct broker_place -> struct broker_share_partition */
};
struct broker_share_group *broker_share_group_make(struct broker_group *group);
void broker_share_group_free(struct broker_share_group *share); /* accepts NULL */
const char *broker_share_group_state_name(const struct broker_share_group *share);
/* The settings that hold for it. */
const struct broker_group_config *broker_share_group_config(const struct broker_share_group *share);
/* The group is deleted: tombstones for all it has, in the journal and in __share_group_state. */
void broker_share_group_delete(struct broker_share_group *share, struct broker_journal *journal);
/* Restored members get their time-outs. */
void broker_share_group_start(struct broker_share_group *share);
struct broker_share_member *broker_share_member_make(struct broker_share_group *share, mr_str id);
void broker_share_member_set(struct broker_share_member *member,
                             const struct kafka_share_group_member_metadata_value *said);
void broker_share_member_free(struct broker_share_member *member);
struct broker_share_partition *broker_share_partition_find(const struct broker_share_group *share,
                                                           const struct broker_place *place);
struct broker_share_partition *broker_share_partition_make(struct broker_share_group *share,
                                                           const struct broker_place *place);
void broker_share_partition_free(struct broker_share_partition *partition);
/* Starts the timer of its locks anew. */
void broker_share_partition_watch(struct broker_share_partition *partition);
/* Saves it and wakes those who wait for records. `end`: of the journal, to wait for; or NULL. */
mr_err broker_share_partition_save(struct broker_share_partition *partition, int64_t *end);
/* The log of the topic partition; NULL: there is none now. */
struct broker_log *broker_share_partition_log(const struct broker_share_partition *partition);
/* The topic is gone, and what the groups had of it. */
void broker_share_forget_topic(struct broker_groups *groups, const mr_uuid *topic);

/* ---- share_records.c: in Kafka's formats, members in __consumer_offsets, partitions in
 * __share_group_state, one snapshot a change ---- */
enum { BROKER_SHARE_RECORDS_FIRST = 10, BROKER_SHARE_RECORDS_LAST = 15 };
void broker_share_save_epoch(struct broker_journal *journal,
                             const struct broker_share_group *share);
void broker_share_save_target_epoch(struct broker_journal *journal,
                                    const struct broker_share_group *share);
void broker_share_save_member(struct broker_journal *journal,
                              const struct broker_share_member *member);
void broker_share_save_target(struct broker_journal *journal,
                              const struct broker_share_member *member);
void broker_share_save_current(struct broker_journal *journal,
                               const struct broker_share_member *member);
void broker_share_drop_member(struct broker_journal *journal,
                              const struct broker_share_member *member);
void broker_share_drop_group(struct broker_journal *journal,
                             const struct broker_share_group *share);
void broker_share_replay(struct broker_groups *groups, uint16_t kind, mr_str key, mr_str value);
void broker_share_save_partition(struct broker_journal *journal,
                                 struct broker_share_partition *partition);
void broker_share_drop_partition(struct broker_journal *journal,
                                 const struct broker_share_partition *partition);
/* Reads __share_group_state, after the groups. Thread: disk. */
mr_err broker_share_load(struct broker_groups *groups, struct broker_log *log);
/* Tombstones for states whose groups are gone. */
void broker_share_bury_orphans(struct broker_groups *groups);

/* ---- share_fetch.c: share sessions, one a member ---- */
struct broker_share_session {
    uint64_t number; /* the owner of what is acquired by it */
    char *group_id, *member_id;
    int32_t epoch; /* of the next request */
    struct broker_places places;
    size_t first; /* whose turn it is to be read first */
    const struct broker_conn *conn;
};
struct broker_share_sessions {
    struct mr_map by_member;
    size_t place_count; /* of all of them */
    uint64_t last_number;
};
/* The connection is gone, and with it its sessions. */
void broker_share_conn_gone(struct broker_server *server, const struct broker_conn *conn);
void broker_share_sessions_fini(struct broker_share_sessions *sessions);

#endif
