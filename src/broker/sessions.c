/* broker/sessions.c: see sessions.h. */
#include "broker/sessions.h"

#include "kafka/kafka.h"

enum {
    SESSION_EPOCH_NONE = -1,
    SESSION_EPOCH_FIRST = 0,
    SESSION_IDLE_US = 120000000,
};

/* ---- the parts of a session ---- */

/* Partition and id, or partition and name. */
static mr_str part_key(struct mr_buf *buf, bool by_id, mr_str topic, const mr_uuid *topic_id,
                       int32_t partition)
{
    mr_buf_clear(buf);
    mr_buf_be32(buf, (uint32_t)partition);
    if (by_id)
        mr_buf_add(buf, topic_id, sizeof *topic_id);
    else
        mr_buf_str(buf, topic);
    return mr_buf_as_str(buf);
}

struct broker_session_part *broker_session_part(const struct broker_session *session, mr_str topic,
                                                const mr_uuid *topic_id, int32_t partition)
{
    struct mr_buf buf = {0};
    mr_str key = part_key(&buf, session->by_id, topic, topic_id, partition);
    struct broker_session_part *part = mr_map_get(&session->parts, key);
    mr_buf_fini(&buf);
    return part;
}

/* Takes it up, or changes what is asked of it. False: there is no room for more. */
static bool part_put(struct broker_sessions *sessions, struct broker_session *session,
                     const struct kafka_fetch_request_topic *topic,
                     const struct kafka_fetch_request_partition *asked)
{
    struct mr_buf buf = {0};
    mr_str key = part_key(&buf, session->by_id, topic->topic, &topic->topic_id, asked->partition);
    struct broker_session_part *part = mr_map_get(&session->parts, key);
    bool room = part != NULL || sessions->part_count < MR_LIMIT_BROKER_SESSION_PARTITIONS;
    if (part != NULL) {
        part->asked = *asked;
    } else if (room) {
        mr_str name = session->by_id ? MR_STR("") : topic->topic;
        part = mr_alloc_zero(1, sizeof *part + name.length);
        char *text = (char *)(part + 1);
        if (name.length > 0)
            memcpy(text, name.data, name.length);
        *part = (struct broker_session_part){*asked, topic->topic_id, -1, -1, {text, name.length}};
        mr_map_put(&session->parts, key, part);
        sessions->part_count++;
    }
    mr_buf_fini(&buf);
    return room;
}

static bool parts_put(struct broker_sessions *sessions, struct broker_session *session,
                      const struct kafka_fetch_request *in)
{
    for (int32_t i = 0; i < in->topics.count; i++)
        for (int32_t k = 0; k < in->topics.items[i].partitions.count; k++)
            if (!part_put(sessions, session, &in->topics.items[i],
                          &in->topics.items[i].partitions.items[k]))
                return false;
    return true;
}

static void parts_forget(struct broker_sessions *sessions, struct broker_session *session,
                         const struct kafka_fetch_request *in)
{
    struct mr_buf buf = {0};
    for (int32_t i = 0; i < in->forgotten_topics_data.count; i++) {
        const struct kafka_fetch_forgotten_topic *topic = &in->forgotten_topics_data.items[i];
        for (int32_t k = 0; k < topic->partitions.count; k++) {
            mr_str key = part_key(&buf, session->by_id, topic->topic, &topic->topic_id,
                                  topic->partitions.items[k]);
            struct broker_session_part *part = mr_map_remove(&session->parts, key);
            sessions->part_count -= part != NULL;
            mr_free(part);
        }
    }
    mr_buf_fini(&buf);
}

/* ---- sessions ---- */

static mr_str id_key(const int32_t *id)
{
    return mr_str_of(id, sizeof *id);
}

struct broker_session *broker_sessions_find(const struct broker_sessions *sessions, int32_t id)
{
    return mr_map_get(&sessions->by_id, id_key(&id));
}

static void unlink_session(struct broker_sessions *sessions, struct broker_session *session)
{
    if (session->older != NULL)
        session->older->newer = session->newer;
    else
        sessions->oldest = session->newer;
    if (session->newer != NULL)
        session->newer->older = session->older;
    else
        sessions->newest = session->older;
}

static void link_newest(struct broker_sessions *sessions, struct broker_session *session,
                        int64_t now_us)
{
    session->used_us = now_us;
    session->newer = NULL;
    session->older = sessions->newest;
    if (sessions->newest != NULL)
        sessions->newest->newer = session;
    else
        sessions->oldest = session;
    sessions->newest = session;
}

static void session_end(struct broker_sessions *sessions, struct broker_session *session)
{
    struct mr_map_entry *entry;
    if (session == NULL)
        return;
    unlink_session(sessions, session);
    mr_map_remove(&sessions->by_id, id_key(&session->id));
    for (size_t i = 0; (entry = mr_map_next(&session->parts, &i)) != NULL;) {
        sessions->part_count--;
        mr_free(entry->value);
    }
    mr_map_fini(&session->parts);
    mr_free(session);
}

static bool room_made(struct broker_sessions *sessions, int64_t now_us)
{
    while (sessions->by_id.count >= sessions->count_max ||
           sessions->part_count >= MR_LIMIT_BROKER_SESSION_PARTITIONS) {
        if (sessions->oldest == NULL || now_us - sessions->oldest->used_us < SESSION_IDLE_US)
            return false;
        session_end(sessions, sessions->oldest);
    }
    return true;
}

/* NULL: no room. */
static struct broker_session *session_begin(struct broker_sessions *sessions,
                                            const struct kafka_fetch_request *in, bool by_id,
                                            int64_t now_us, struct mr_random *random)
{
    if (!room_made(sessions, now_us))
        return NULL;
    struct broker_session *session = mr_new(struct broker_session);
    session->by_id = by_id;
    session->epoch = SESSION_EPOCH_FIRST + 1;
    do
        session->id = (int32_t)mr_random_below(random, INT32_MAX - 1) + 1;
    while (broker_sessions_find(sessions, session->id) != NULL);
    mr_map_put(&sessions->by_id, id_key(&session->id), session);
    link_newest(sessions, session, now_us);
    if (!parts_put(sessions, session, in) || session->parts.count == 0) {
        session_end(sessions, session);
        return NULL;
    }
    return session;
}

int16_t broker_sessions_enter(struct broker_sessions *sessions,
                              const struct kafka_fetch_request *in, int16_t version, int64_t now_us,
                              struct mr_random *random, struct broker_session **out, bool *goes_on)
{
    struct broker_session *session = broker_sessions_find(sessions, in->session_id);
    *out = NULL;
    *goes_on = false;
    if (in->session_epoch == SESSION_EPOCH_NONE || in->session_epoch == SESSION_EPOCH_FIRST) {
        session_end(sessions, session);
        if (in->session_epoch == SESSION_EPOCH_FIRST)
            *out = session_begin(sessions, in, version >= 13, now_us, random);
        return KAFKA_ERROR_NONE;
    }
    if (session == NULL)
        return KAFKA_ERROR_FETCH_SESSION_ID_NOT_FOUND;
    if (session->epoch != in->session_epoch)
        return KAFKA_ERROR_INVALID_FETCH_SESSION_EPOCH;
    if (session->by_id != (version >= 13))
        return KAFKA_ERROR_FETCH_SESSION_TOPIC_ID_ERROR;
    session->epoch = session->epoch == INT32_MAX ? SESSION_EPOCH_FIRST + 1 : session->epoch + 1;
    unlink_session(sessions, session);
    link_newest(sessions, session, now_us);
    parts_forget(sessions, session, in);
    if (!parts_put(sessions, session, in)) { /* the reader begins again, without one if need be */
        session_end(sessions, session);
        return KAFKA_ERROR_FETCH_SESSION_ID_NOT_FOUND;
    }
    if (session->parts.count == 0) {
        session_end(sessions, session);
        return KAFKA_ERROR_NONE;
    }
    *out = session;
    *goes_on = true;
    return KAFKA_ERROR_NONE;
}

void broker_sessions_leave(struct broker_sessions *sessions, int32_t id)
{
    session_end(sessions, broker_sessions_find(sessions, id));
}

void broker_sessions_fini(struct broker_sessions *sessions)
{
    while (sessions->oldest != NULL)
        session_end(sessions, sessions->oldest);
    mr_map_fini(&sessions->by_id);
}
