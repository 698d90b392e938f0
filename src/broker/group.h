/* broker/group.h: consumer groups of the classic protocol, and the offsets they commit, both kept in
 * __consumer_offsets. A group of the consumer protocol has `consumer` beside it (consumer_group.h), and
 * none of the classic state, though some of its members may speak the classic protocol (migration.h); a
 * share group has `share` (share_group.h). Thread: the loop's; loading runs on a disk thread before anything else. */
#ifndef BROKER_GROUP_H
#define BROKER_GROUP_H

#include "broker/storage.h"

struct broker_server;
struct broker_request;
struct broker_group;
struct broker_consumer_group;
struct broker_share_group;
struct broker_journal;

enum broker_group_state {
    BROKER_GROUP_EMPTY,
    BROKER_GROUP_PREPARING,  /* members are joining */
    BROKER_GROUP_COMPLETING, /* the leader assigns */
    BROKER_GROUP_STABLE,
    BROKER_GROUP_DEAD,
};
struct broker_group_protocol {
    char *name;
    struct mr_bytes *metadata;
};
struct broker_group_protocols { /* the best one first */
    struct broker_group_protocol *items;
    size_t count, capacity;
};
void broker_group_protocols_add(struct broker_group_protocols *protocols, mr_str name,
                                mr_str metadata);
void broker_group_protocols_clear(struct broker_group_protocols *protocols); /* and fini */
struct broker_group_member {
    struct broker_group *group;
    char *id, *instance_id; /* instance_id NULL: dynamic */
    char *client_id, *client_host;
    int32_t session_timeout_ms, rebalance_timeout_ms;
    struct broker_group_protocols protocols;
    struct mr_bytes *assignment;              /* NULL: none */
    struct broker_request *joining, *syncing; /* held back until the rebalance goes on */
    struct mr_timer session;
    bool is_new; /* has not been given its member id's first generation */
};
struct broker_group {
    struct broker_groups *groups;
    char *id;
    enum broker_group_state state;
    int32_t generation;
    char *protocol_type, *protocol; /* NULL: none yet */
    char *leader;
    int64_t changed_ms;
    MR_ARRAY(struct broker_group_member *) members; /* in order of joining */
    struct mr_map by_id, by_instance;               /* the same, to be found */
    struct mr_map support;                          /* protocol -> how many members have it */
    struct mr_map pending;                          /* member ids given out that did not join yet */
    struct mr_timer rebalance;
    bool gathering; /* an empty group that waits for more members before it begins, until: */
    int64_t gather_end_us;
    size_t gathered_count;                  /* members when that was last put off */
    struct mr_map offsets;                  /* "topic\0partition" -> struct broker_offset */
    size_t txn_offsets;                     /* pending ones */
    struct broker_consumer_group *consumer; /* NULL: the group is a classic one, or a share group */
    struct broker_share_group *share;       /* NULL: it is no share group */
};
struct broker_offset {
    char *topic;
    int32_t partition, leader_epoch;
    int64_t offset; /* -1: only pending ones so far */
    int64_t commit_ms, log_offset;
    char *metadata;
    struct broker_offset_pending *pending;
};
/* An offset that a transaction has committed and that counts once the transaction does. */
struct broker_offset_pending {
    int64_t producer_id, offset, log_offset;
    int32_t leader_epoch;
    char *metadata;
    struct broker_offset_pending *next;
};
struct broker_groups {
    struct broker_server *server;
    struct mr_map by_id;
    struct mr_timer expiry;
    uint64_t member_number;
    struct mr_map share_orphans;               /* keys of states without a group, while loading */
    size_t share_count, share_partition_count; /* of all share groups */
};
void broker_groups_init(struct broker_groups *groups, struct broker_server *server);
/* Reads __consumer_offsets. Thread: disk; the groups are nobody else's yet. */
mr_err broker_groups_load(struct broker_groups *groups, struct broker_log *log);
/* Restored members get their session time-outs, and expiry begins. */
void broker_groups_start(struct broker_groups *groups);
void broker_groups_fini(struct broker_groups *groups);
/* The marker of this producer's transaction is in __consumer_offsets. */
void broker_groups_txn_end(struct broker_groups *groups, int64_t producer_id, bool commit);
/* Topics (keys) are gone, and with them what groups had committed for them. */
void broker_groups_forget_topics(struct broker_groups *groups, const struct mr_map *topics);

/* ---- offsets.c: committed offsets; the handlers for them are there too ---- */
struct broker_group *broker_group_find(struct broker_groups *groups, mr_str id);
struct broker_group *broker_group_make(struct broker_groups *groups, mr_str id);
void broker_group_free(struct broker_group *group);
void broker_offsets_free(struct broker_group *group);
void broker_offsets_start(
    struct broker_groups *groups); /* offsets of empty groups expire from now on */
/* Checks of a member that commits: a code of errors.def. `version`: that of OffsetCommit, if it is one. */
int16_t broker_group_check_commit(struct broker_group *group, mr_str member_id,
                                  mr_str group_instance_id, int32_t generation, bool txn,
                                  int16_t version);
const char *broker_group_state_name(const struct broker_group *group);
bool broker_group_is_empty(const struct broker_group *group);
/* What its members said when they joined, of the protocol that was chosen, or else of their first one. */
mr_str broker_group_member_said(const struct broker_group_member *member);
/* Who waits for a JoinGroup or a SyncGroup hears this code. */
void broker_group_let_go(struct broker_group *group, int16_t code);
void broker_group_join_refuse(struct broker_request *request, int16_t code, mr_str member_id);
/* It is no classic one any more: a tombstone for what it was. Returns its generation. */
int32_t broker_group_end_classic(struct broker_group *group, struct broker_journal *journal);
/* While loading: the group turns out to be of another protocol. */
void broker_group_forget_classic(struct broker_group *group);
/* A member that the group is to have as a classic one; broker_group_begin_classic() comes behind the last. */
struct broker_group_member *broker_group_adopt(struct broker_group *group, mr_str id,
                                               mr_str instance);
/* Adopted members have what they have been given: the group is stable, and kept. */
void broker_group_begin_classic(struct broker_group *group, int32_t generation,
                                struct broker_journal *journal);
void broker_group_rebalance(struct broker_group *group);
/* While loading: a group of which nothing is left goes. */
void broker_group_forget_empty(struct broker_groups *groups, struct broker_group *group);
void broker_offsets_replay(struct broker_groups *groups, mr_str key, mr_str value,
                           int64_t producer_id, bool txn, int64_t log_offset);
/* Writes a tombstone for an offset of the group, if there is one, and forgets it; or all of them. */
int16_t broker_offsets_drop(struct broker_group *group, mr_str topic, int32_t partition);
int16_t broker_offsets_drop_all(struct broker_group *group);
/* Forgets the group and all it committed, with tombstones. */
void broker_group_delete(struct broker_groups *groups, struct broker_group *group);

#endif
