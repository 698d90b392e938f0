/* broker/consumer_group.h: groups of the consumer protocol (KIP-848), in which the broker assigns.
 * Thread: the loop's; loading runs on a disk thread before anything else. */
#ifndef BROKER_CONSUMER_GROUP_H
#define BROKER_CONSUMER_GROUP_H

#include "broker/assignor.h"
#include "broker/group.h"
#include "broker/journal.h"
#include "broker/topic_regex.h"
#include "kafka/messages.h"

enum {
    BROKER_CONSUMER_JOINS = 0,          /* epochs that a member sends and that are none */
    BROKER_CONSUMER_LEAVES = -1,        /* for good */
    BROKER_CONSUMER_AWAY = -2,          /* a static member, to come back under its name */
    BROKER_CONSUMER_SESSION_MS = 45000, /* unless the group's settings say otherwise */
};
/* Numbered as in the records. */
enum broker_consumer_member_state {
    BROKER_CONSUMER_STABLE = 0,
    BROKER_CONSUMER_UNREVOKED = 1,  /* has to give partitions back */
    BROKER_CONSUMER_UNRELEASED = 2, /* waits for partitions that others have to give back */
};
struct broker_migration_classic;
struct broker_texts {
    char **items;
    size_t count, capacity;
};
void broker_texts_free(struct broker_texts *texts);
/* Sorted, each once. True when that is not what was there. */
bool broker_texts_set(struct broker_texts *into, const mr_str *names, int32_t count);

struct broker_consumer_member {
    struct broker_consumer_group *group;
    char *id, *instance_id, *rack_id; /* instance_id NULL: dynamic */
    char *client_id, *client_host;
    struct broker_texts topics; /* names, sorted */
    char *regex, *assignor;     /* NULL: none */
    int32_t rebalance_timeout_ms;
    int32_t epoch, previous_epoch;
    enum broker_consumer_member_state state;
    struct broker_places assigned; /* its own */
    struct broker_places revoking; /* its own until it says that it gave them back */
    struct broker_places target;   /* what it is to have */
    struct mr_timer session, rebalance;
    struct broker_migration_classic *classic; /* NULL: it speaks the consumer protocol */
};
struct broker_consumer_regex {
    struct broker_topic_regex *compiled;
    struct broker_texts topics; /* that match, sorted */
    uint32_t users;
};
struct broker_consumer_group {
    struct broker_group *group;
    int32_t epoch, target_epoch; /* the target is stale while they differ */
    int64_t topics_hash;         /* of the topics that the group reads, as saved */
    uint64_t topics_seen;        /* broker_topics.changes when they were looked at */
    struct mr_map members;       /* by id */
    struct mr_map instances;     /* static members by their names */
    struct mr_map regexes;       /* text -> struct broker_consumer_regex */
};

void broker_consumer_group_free(struct broker_consumer_group *consumer); /* accepts NULL */
const char *broker_consumer_group_state_name(const struct broker_consumer_group *consumer);
bool broker_consumer_group_reads(const struct broker_consumer_group *consumer, mr_str topic);
const struct broker_assignor *
broker_consumer_group_assignor(const struct broker_consumer_group *consumer);
/* Restored members get their time-outs. */
void broker_consumer_group_start(struct broker_consumer_group *consumer);
/* Checks of a member that commits or asks for what is committed: a code of errors.def. `version` is
 * that of OffsetCommit; transactions have none to check. */
int16_t broker_consumer_group_check_commit(const struct broker_consumer_group *consumer,
                                           mr_str member_id, int32_t epoch, bool txn,
                                           int16_t version);
int16_t broker_consumer_group_check_fetch(const struct broker_consumer_group *consumer,
                                          mr_str member_id, int32_t epoch);
struct broker_consumer_member *broker_consumer_member_make(struct broker_consumer_group *consumer,
                                                           mr_str id);
void broker_consumer_member_set_instance(struct broker_consumer_member *member, mr_str instance);
void broker_consumer_member_free(struct broker_consumer_member *member);
struct broker_consumer_group *broker_consumer_group_make(struct broker_group *group);
/* What a member said of itself, but for its instance. */
void broker_consumer_member_set(struct broker_consumer_member *member,
                                const struct kafka_consumer_group_member_metadata_value *said);
/* Sets of partitions from and to the wire. */
void broker_consumer_places(const struct kafka_consumer_group_partitions *topics, int32_t count,
                            struct broker_places *into);
struct kafka_consumer_group_partitions *
broker_consumer_partitions(struct mr_arena *arena, const struct broker_places *places,
                           int32_t *count);
/* As it is told to tools; topics that are gone have no name, and are left out (group_admin.c). */
struct kafka_consumer_group_describe_assignment
broker_consumer_group_assignment(struct broker_request *request,
                                 const struct broker_places *places);
/* Records of the group's, written together. */
void broker_consumer_journal_begin(const struct broker_group *group,
                                   struct broker_journal *journal);
void broker_consumer_journal_end(const struct broker_group *group, struct broker_journal *journal);

/* ---- what a member says and is told, in either protocol (migration.h) ---- */
struct broker_consumer_member *
broker_consumer_member_find(const struct broker_consumer_group *consumer, mr_str id);
/* The member by its id and, if it has one, its instance. A code of errors.def. */
int16_t broker_consumer_member_check(const struct broker_consumer_group *consumer, mr_str id,
                                     mr_str instance, struct broker_consumer_member **out);
bool broker_consumer_group_is_full(const struct broker_consumer_group *consumer);
mr_str broker_consumer_member_id(struct broker_request *request);
/* Where it speaks from. True when that is news. */
bool broker_consumer_member_hear(struct broker_consumer_member *member,
                                 const struct broker_request *request);
/* A member has come back under the name of `old`, which is gone then. */
struct broker_consumer_member *broker_consumer_take_over(struct broker_consumer_member *old,
                                                         mr_str id, struct broker_journal *journal);
void broker_consumer_session_restart(struct broker_consumer_member *member);
/* Takes the topics as they are now for those that were assigned (no member has a pattern). */
void broker_consumer_group_look(struct broker_consumer_group *consumer);
/* Assigns anew where something changed: `changed` members, or topics. */
void broker_consumer_group_update(struct broker_consumer_group *consumer, bool changed,
                                  struct broker_journal *journal);
/* A step of the member's towards its target, by what it says that it owns (NULL: nothing); `subscribed`: it
 * has changed its mind. Whether what it may use has changed. */
bool broker_consumer_reconcile(struct broker_consumer_member *member,
                               const struct broker_places *owned, bool subscribed,
                               struct broker_journal *journal);
/* Whether some of its target is still another member's. */
bool broker_consumer_member_waits(const struct broker_consumer_member *member);
/* It is gone; the others get its partitions when they speak next, if they are not a classic group from then on. */
void broker_consumer_member_remove(struct broker_consumer_member *member);
/* The group has no members and goes on as a classic one: tombstones for what it was. */
void broker_consumer_group_end(struct broker_group *group);

/* ---- consumer_records.c: what is kept of it in __consumer_offsets, in Kafka's own records ---- */
/* One record; `second` NULL: its key is the group alone; `shape` NULL: a tombstone. */
void broker_consumer_record_put(struct broker_journal *journal, uint16_t kind, const char *group,
                                const mr_str *second, const struct wire_shape *shape,
                                const void *from);
/* What a member of either kind of group is to own. */
void broker_consumer_record_target(struct broker_journal *journal, uint16_t kind, const char *group,
                                   const char *member, const struct broker_places *places);
mr_str *broker_texts_of(struct mr_arena *arena, const struct broker_texts *from, int32_t *count);
/* A record's value; false: it is none that we know. */
bool broker_consumer_record_read(mr_str value, struct mr_arena *arena,
                                 const struct wire_shape *shape, void *into);
void broker_consumer_save_epoch(struct broker_journal *journal,
                                const struct broker_consumer_group *consumer);
void broker_consumer_save_target_epoch(struct broker_journal *journal,
                                       const struct broker_consumer_group *consumer);
void broker_consumer_save_regex(struct broker_journal *journal,
                                const struct broker_consumer_group *consumer, mr_str text,
                                const struct broker_consumer_regex *regex);
void broker_consumer_save_member(struct broker_journal *journal,
                                 const struct broker_consumer_member *member);
void broker_consumer_save_target(struct broker_journal *journal,
                                 const struct broker_consumer_member *member);
void broker_consumer_save_current(struct broker_journal *journal,
                                  const struct broker_consumer_member *member);
/* Tombstones: of a pattern, of a member, of the group with all its members. */
void broker_consumer_drop_regex(struct broker_journal *journal,
                                const struct broker_consumer_group *consumer, mr_str text);
void broker_consumer_drop_member(struct broker_journal *journal,
                                 const struct broker_consumer_member *member);
void broker_consumer_drop_group(struct broker_journal *journal,
                                const struct broker_consumer_group *consumer);
/* Reads one of these records; `version` is the key's. */
void broker_consumer_replay(struct broker_groups *groups, uint16_t version, mr_str key,
                            mr_str value);

#endif
