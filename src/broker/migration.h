/* broker/migration.h: a group that changes its protocol while it has members (KIP-848): members that speak the
 * classic protocol in a group of the consumer protocol, and the way into such a group and out of it.
 * Thread: the loop's. */
#ifndef BROKER_MIGRATION_H
#define BROKER_MIGRATION_H

#include "broker/consumer_group.h"

enum { BROKER_MIGRATION_UPGRADE = 1, BROKER_MIGRATION_DOWNGRADE = 2 };

/* What the broker keeps besides of a member that speaks the classic protocol. */
struct broker_migration_classic {
    struct broker_consumer_member *member;
    int32_t session_timeout_ms;
    struct broker_group_protocols protocols; /* all with the same subscription */
    struct mr_timer join;                    /* since it was told that it is to join again */
    struct mr_timer sync;                    /* since it joined */
};

/* Which ways group.consumer.migration.policy allows, or -1: it is no such word. */
int broker_migration_policy(mr_str word);

/* The member speaks the classic protocol, and said this; NULL: the consumer protocol. */
void broker_migration_speak(struct broker_consumer_member *member,
                            const struct kafka_consumer_group_classic_member *said);
/* What it said, for its record, or NULL. */
struct kafka_consumer_group_classic_member *
broker_migration_said(const struct broker_consumer_member *member, struct mr_arena *arena);

/* Makes a classic group with members one of the consumer protocol: they keep their ids and what they own. A code of
 * errors.def, and why. */
int16_t broker_migration_upgrade(struct broker_group *group, struct mr_arena *arena, mr_str *why);
/* The member is to go. Where it is the last one of the consumer protocol, and others are left, it goes and they are a
 * classic group that is rebalanced: true, and the group of the consumer protocol is no more. */
bool broker_migration_downgrade(struct broker_consumer_member *leaving);

/* ---- the classic protocol in a group of the consumer protocol ---- */
void broker_migration_join(struct broker_request *request, struct broker_consumer_group *consumer);
void broker_migration_sync(struct broker_request *request, struct broker_consumer_group *consumer);
int16_t broker_migration_heartbeat(struct broker_consumer_group *consumer,
                                   const struct kafka_heartbeat_request *in);
int16_t broker_migration_leave(struct broker_consumer_group *consumer, mr_str member_id,
                               mr_str instance);

#endif
