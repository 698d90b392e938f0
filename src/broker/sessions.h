/* broker/sessions.h: fetch sessions (KIP-227): what a reader asks for is remembered, so that it says, and is
 * told, only what changes.
 *
 *   id 0, epoch 0 -> a new one      its id, epoch 0  -> it ends, and a new one
 *   id 0, epoch -1 -> none          its id, epoch -1 -> it ends, none
 *   its id, and the epoch after the last one -> it goes on
 *
 * The one that was used least lately makes room, but not before SESSION_IDLE_US; without room a reader is
 * served without a session. Thread: the broker's loop. */
#ifndef BROKER_SESSIONS_H
#define BROKER_SESSIONS_H

#include "base/base.h"
#include "kafka/messages.h"

struct broker_session_part {
    struct kafka_fetch_request_partition asked; /* as it was said last */
    mr_uuid topic_id;
    int64_t high, start; /* as they were told last; -1: tell them in any case */
    mr_str topic;        /* empty when the session goes by ids */
};
struct broker_session {
    int32_t id, epoch; /* of the next request */
    bool by_id;        /* topics are named by their ids (version 13) */
    struct mr_map
        parts; /* broker_sessions_part(): struct broker_session_part, in the order of their coming */
    size_t first; /* whose turn it is to be read first */
    int64_t used_us;
    struct broker_session *older, *newer;
};
struct broker_sessions {
    struct mr_map by_id; /* 4 bytes */
    struct broker_session *oldest, *newest;
    size_t part_count; /* of all */
    size_t count_max;
};

/* A code of errors.def. *out: the session that this request begins or goes on with (then *goes_on); NULL: none. */
int16_t broker_sessions_enter(struct broker_sessions *sessions,
                              const struct kafka_fetch_request *in, int16_t version, int64_t now_us,
                              struct mr_random *random, struct broker_session **out, bool *goes_on);
/* NULL: it has ended meanwhile. */
struct broker_session *broker_sessions_find(const struct broker_sessions *sessions, int32_t id);
struct broker_session_part *broker_session_part(const struct broker_session *session, mr_str topic,
                                                const mr_uuid *topic_id, int32_t partition);
/* It ends, if it is there. */
void broker_sessions_leave(struct broker_sessions *sessions, int32_t id);
void broker_sessions_fini(struct broker_sessions *sessions);

#endif
