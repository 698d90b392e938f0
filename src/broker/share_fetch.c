/* broker/share_fetch.c: ShareFetch and ShareAcknowledge: records go out to members of share groups, and
 * what became of them comes back.
 *
 *   asked -> session -> [acknowledgements: applied, on the disk] -> [waits for records or max_wait_ms]
 *         -> taken from memory, or read from the disk and taken -> answered
 *
 * A session remembers which partitions a member reads, and what it has acquired is the session's: when
 * its connection goes, all of it comes back. Records are taken on the loop after they have been read, so
 * two members that read the same batches share them. */
#include "broker/server.h"

enum {
    SESSION_EPOCH_FIRST = 0,
    SESSION_EPOCH_LAST = -1,
    PART_BYTES_MAX = 1048576, /* read of one partition for one answer */
    ANSWER_BYTES_MAX = 57671680,
};

/* ---- sessions ---- */

static mr_str session_key(struct mr_buf *buf, mr_str group_id, mr_str member_id)
{
    mr_buf_be32(buf, (uint32_t)group_id.length);
    mr_buf_str(buf, group_id);
    mr_buf_str(buf, member_id);
    return mr_buf_as_str(buf);
}

static struct broker_share_session *session_find(const struct broker_share_sessions *sessions,
                                                 mr_str group_id, mr_str member_id)
{
    struct mr_buf buf = {0};
    struct broker_share_session *session = mr_map_get(&sessions->by_member,
                                                      session_key(&buf, group_id, member_id));
    mr_buf_fini(&buf);
    return session;
}

static void session_free(struct broker_share_session *session)
{
    broker_places_fini(&session->places);
    mr_free(session->group_id);
    mr_free(session->member_id);
    mr_free(session);
}

/* What it has acquired comes back, and it is gone. */
static void session_end(struct broker_server *server, struct broker_share_session *session)
{
    const struct broker_group *group = broker_group_find(&server->groups,
                                                         mr_str_from(session->group_id));
    struct mr_map_entry *entry;
    struct mr_buf buf = {0};

    for (size_t i = 0; group != NULL && group->share != NULL &&
                       (entry = mr_map_next(&group->share->partitions, &i)) != NULL;) {
        struct broker_share_partition *partition = entry->value;
        if (broker_share_partition_release(partition, session->number,
                                           broker_share_deliveries_max(server))) {
            broker_share_partition_save(partition, NULL);
            broker_share_partition_watch(partition);
        }
    }
    mr_map_remove(
        &server->share_sessions.by_member,
        session_key(&buf, mr_str_from(session->group_id), mr_str_from(session->member_id)));
    mr_buf_fini(&buf);
    server->share_sessions.place_count -= session->places.count;
    session_free(session);
}

void broker_share_conn_gone(struct broker_server *server, const struct broker_conn *conn)
{
    struct mr_map_entry *entry;

    for (size_t i = 0;
         (entry = mr_map_next(&server->share_sessions.by_member, &i)) != NULL && server->ready;) {
        struct broker_share_session *session = entry->value;
        if (session->conn == conn)
            session_end(server, session);
    }
}

void broker_share_sessions_fini(struct broker_share_sessions *sessions)
{
    struct mr_map_entry *entry;

    for (size_t i = 0; (entry = mr_map_next(&sessions->by_member, &i)) != NULL;)
        session_free(entry->value);
    mr_map_fini(&sessions->by_member);
}

/* A member that begins again keeps what it has acquired. */
static struct broker_share_session *session_begin(struct broker_request *request, mr_str group_id,
                                                  mr_str member_id)
{
    struct broker_share_sessions *sessions = &request->server->share_sessions;
    struct broker_share_session *session = session_find(sessions, group_id, member_id);
    struct mr_buf buf = {0};

    if (session == NULL) {
        if (sessions->by_member.count >=
            (size_t)broker_server_number(request->server,
                                         BROKER_NODE_group_share_max_share_sessions))
            return NULL;
        session = mr_new(struct broker_share_session);
        session->number = ++sessions->last_number;
        session->group_id = mr_copy_cstr(group_id);
        session->member_id = mr_copy_cstr(member_id);
        mr_map_put(&sessions->by_member, session_key(&buf, group_id, member_id), session);
        mr_buf_fini(&buf);
    }
    sessions->place_count -= session->places.count;
    session->places.count = 0;
    session->epoch = SESSION_EPOCH_FIRST;
    session->conn = request->conn;
    return session;
}

/* A code of errors.def; *out: the session, at its next epoch. */
static int16_t session_enter(struct broker_request *request, mr_str group_id, mr_str member_id,
                             int32_t epoch, bool may_begin, struct broker_share_session **out)
{
    struct broker_share_session *session;

    if (!request->server->ready)
        return KAFKA_ERROR_COORDINATOR_LOAD_IN_PROGRESS;
    if (group_id.length == 0 || member_id.length == 0 || group_id.length > INT16_MAX ||
        member_id.length > INT16_MAX)
        return KAFKA_ERROR_INVALID_REQUEST;
    if (epoch == SESSION_EPOCH_FIRST) {
        if (!may_begin)
            return KAFKA_ERROR_INVALID_SHARE_SESSION_EPOCH;
        session = session_begin(request, group_id, member_id);
        if (session == NULL)
            return KAFKA_ERROR_SHARE_SESSION_LIMIT_REACHED;
    } else {
        session = session_find(&request->server->share_sessions, group_id, member_id);
        if (session == NULL)
            return KAFKA_ERROR_SHARE_SESSION_NOT_FOUND;
        if (epoch != SESSION_EPOCH_LAST && epoch != session->epoch)
            return KAFKA_ERROR_INVALID_SHARE_SESSION_EPOCH;
        session->conn = request->conn;
    }
    session->epoch = session->epoch == INT32_MAX ? 1 : session->epoch + 1;
    *out = session;
    return KAFKA_ERROR_NONE;
}

/* Whether all sessions together still have no more than they may. */
static bool session_update(struct broker_share_sessions *sessions,
                           struct broker_share_session *session,
                           const struct kafka_share_fetch_request *in)
{
    struct broker_places gone = {0}, kept = {0};
    size_t asked = sessions->place_count;

    for (int32_t i = 0; i < in->topics.count; i++)
        asked += (size_t)(in->topics.items[i].partitions.count < 0
                              ? 0
                              : in->topics.items[i].partitions.count);
    if (asked > MR_LIMIT_BROKER_SESSION_PARTITIONS)
        return false;
    sessions->place_count -= session->places.count;
    for (int32_t i = 0; i < in->topics.count; i++)
        for (int32_t k = 0; k < in->topics.items[i].partitions.count; k++)
            broker_places_add(&session->places, &in->topics.items[i].topic_id,
                              in->topics.items[i].partitions.items[k].partition_index);
    broker_places_sort(&session->places);
    broker_consumer_places(in->forgotten_topics_data.items, in->forgotten_topics_data.count, &gone);
    broker_places_split(&session->places, &gone, NULL, &kept);
    broker_places_copy(&session->places, &kept);
    broker_places_fini(&gone);
    broker_places_fini(&kept);
    sessions->place_count += session->places.count;
    return true;
}

/* ---- one partition, for both requests ---- */

/* The partition as the group has it, or a code of errors.def. */
static int16_t part_find(struct broker_request *request, mr_str group_id,
                         const struct broker_place *place, struct broker_share_partition **out,
                         struct broker_log **log)
{
    struct broker_server *server = request->server;
    const struct broker_topic *topic = broker_topics_find_id(&server->topics, &place->topic);
    const struct broker_group *group = broker_group_find(&server->groups, group_id);
    struct broker_partition *partition;
    int16_t code;

    if (topic == NULL)
        return KAFKA_ERROR_UNKNOWN_TOPIC_ID;
    if (!broker_rights_allow(request, KAFKA_ACL_OP_READ, KAFKA_ACL_TOPIC, mr_str_from(topic->name)))
        return broker_rights_refuse(request, KAFKA_ACL_OP_READ, KAFKA_ACL_TOPIC,
                                    mr_str_from(topic->name));
    code = broker_server_partition(server, mr_str_from(topic->name), place->partition, &partition);
    if (code != KAFKA_ERROR_NONE)
        return code;
    if (group == NULL || group->share == NULL)
        return KAFKA_ERROR_GROUP_ID_NOT_FOUND;
    *out = broker_share_partition_find(group->share, place);
    *log = partition->log;
    return *out == NULL ? KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION : KAFKA_ERROR_NONE;
}

static int64_t lock_us(const struct broker_share_partition *partition)
{
    const struct broker_server *server = partition->group->group->groups->server;

    return mr_loop_now_us(server->loop) +
           (int64_t)broker_share_group_config(partition->group)->share_lock_ms * 1000;
}

/* Each batch whole, in order, with one verdict or one a record. */
static bool batches_are_sound(const struct kafka_share_request_partition *asked, bool renews)
{
    int64_t next = 0;

    for (int32_t i = 0; i < asked->acknowledgement_batches.count; i++) {
        const struct kafka_share_acknowledgement *batch = &asked->acknowledgement_batches.items[i];
        int32_t count = batch->acknowledge_types.count;
        if (batch->first_offset < next || batch->last_offset < batch->first_offset ||
            batch->last_offset == INT64_MAX || count < 1 ||
            (count > 1 && batch->last_offset - batch->first_offset != count - 1))
            return false;
        for (int32_t k = 0; k < count; k++)
            if (batch->acknowledge_types.items[k] < BROKER_SHARE_GAP ||
                batch->acknowledge_types.items[k] > BROKER_SHARE_RENEW ||
                (batch->acknowledge_types.items[k] == BROKER_SHARE_RENEW && !renews))
                return false;
        next = batch->last_offset + 1;
    }
    return true;
}

/* Applies what the member says of one partition; *end rises to what has to be on the disk then. */
static int16_t part_acknowledge(struct broker_request *request, mr_str group_id, uint64_t owner,
                                const struct broker_place *place,
                                const struct kafka_share_request_partition *asked, bool renews,
                                int64_t *end)
{
    struct broker_share_partition *partition = NULL;
    struct broker_log *log;
    int16_t code = part_find(request, group_id, place, &partition, &log);

    if (code != KAFKA_ERROR_NONE)
        return code;
    if (!batches_are_sound(asked, renews))
        return KAFKA_ERROR_INVALID_REQUEST;
    code = broker_server_error(
        broker_log_state(broker_server_internal(request->server, MR_STR("__share_group_state"))));
    if (code == KAFKA_ERROR_NONE)
        code = broker_share_partition_acknowledge(
            partition, owner, asked->acknowledgement_batches.items,
            asked->acknowledgement_batches.count, broker_share_deliveries_max(request->server),
            lock_us(partition));
    if (code != KAFKA_ERROR_NONE)
        return code;
    broker_share_partition_watch(partition);
    return broker_server_error(broker_share_partition_save(partition, end));
}

static mr_str error_text(int16_t code)
{
    return code == KAFKA_ERROR_NONE ? MR_STR_NULL : mr_str_from(kafka_error_text(code));
}

/* ---- ShareAcknowledge ---- */

struct acknowledgement {
    struct broker_log_wait wait;
    struct broker_request *request;
};

static void acknowledged(struct broker_log_wait *wait, mr_err err)
{
    struct broker_request *request = mr_container(wait, struct acknowledgement, wait)->request;
    struct kafka_share_acknowledge_response *out = request->out;

    for (int32_t i = 0; i < out->responses.count && err != MR_OK; i++)
        for (int32_t k = 0; k < out->responses.items[i].partitions.count; k++)
            out->responses.items[i].partitions.items[k].error_code = broker_server_error(err);
    broker_server_answer(request);
}

static void acknowledge_topic(struct broker_request *request, uint64_t owner,
                              const struct kafka_share_request_topic *asked,
                              struct kafka_share_acknowledge_response_topic *answer, int64_t *end)
{
    const struct kafka_share_acknowledge_request *in = request->in;

    answer->topic_id = asked->topic_id;
    answer->partitions.count = asked->partitions.count;
    answer->partitions.items = mr_arena_array(&request->arena,
                                              struct kafka_share_acknowledge_response_partition,
                                              (size_t)asked->partitions.count);
    for (int32_t i = 0; i < asked->partitions.count; i++) {
        const struct kafka_share_request_partition *row = &asked->partitions.items[i];
        struct broker_place place = {asked->topic_id, row->partition_index};
        int16_t code = part_acknowledge(request, in->group_id, owner, &place, row, in->is_renew_ack,
                                        end);
        answer->partitions.items[i] = (struct kafka_share_acknowledge_response_partition){
            .partition_index = row->partition_index,
            .error_code = code,
            .error_message = error_text(code)};
    }
}

static int32_t lock_ms_of(const struct broker_request *request, mr_str group_id)
{
    return broker_group_config_of(&request->server->topics.group_configs, group_id)->share_lock_ms;
}

void broker_share_share_acknowledge(struct broker_request *request)
{
    const struct kafka_share_acknowledge_request *in = request->in;
    struct kafka_share_acknowledge_response *out = request->out;
    struct acknowledgement *work = mr_arena_new(&request->arena, struct acknowledgement);
    struct broker_share_session *session = NULL;
    int64_t end = -1;

    out->error_code = session_enter(request, in->group_id, in->member_id, in->share_session_epoch,
                                    false, &session);
    if (out->error_code != KAFKA_ERROR_NONE) {
        out->error_message = error_text(out->error_code);
        broker_server_answer(request);
        return;
    }
    out->acquisition_lock_timeout_ms = lock_ms_of(request, in->group_id);
    out->responses.count = in->topics.count;
    out->responses.items = mr_arena_array(
        &request->arena, struct kafka_share_acknowledge_response_topic, (size_t)in->topics.count);
    for (int32_t i = 0; i < in->topics.count; i++)
        acknowledge_topic(request, session->number, &in->topics.items[i], &out->responses.items[i],
                          &end);
    if (in->share_session_epoch == SESSION_EPOCH_LAST)
        session_end(request->server, session);
    work->request = request;
    work->wait.run = acknowledged;
    if (end < 0)
        broker_server_answer(request);
    else
        broker_log_wait_kept(broker_server_internal(request->server, MR_STR("__share_group_state")),
                             &work->wait, end);
}

/* ---- ShareFetch: one partition ---- */

struct fetch_part {
    struct broker_log_watch watch;
    struct fetch *fetch;
    struct broker_place place;
    struct kafka_share_fetch_response_partition answer;
    bool reads, acknowledges;                 /* the first: it is the session's */
    struct broker_share_partition *partition; /* of this look; NULL: an error */
    struct broker_log *log;
    int64_t next, until;         /* offsets to read */
    size_t ref_first, ref_count; /* in the request's refs */
};
struct fetch {
    struct broker_request *request;
    const struct kafka_share_fetch_request *in;
    struct kafka_share_fetch_response *out;
    uint64_t owner;
    struct fetch_part *parts;
    size_t part_count, first;
    struct broker_log_wait wait;
    struct mr_timer patience;
    struct mr_task look;
    struct broker_plan plan;
    struct fetch_part *planned;
    int64_t records_left;
    size_t bytes_left;
    bool expired, abandoned, moved; /* the last: the group has come further, if only over markers */
};

/* Where the group begins, by time: found on a disk thread, beside the fetches that wait for it. */
struct beginning {
    struct broker_plan plan;
    struct broker_server *server;
    struct broker_place place;
    char *group_id;
    int64_t otherwise;
};

static int64_t first_record_at(const struct broker_plan *plan, int64_t otherwise)
{
    struct kafka_records records;
    struct kafka_record record;
    struct kafka_batch batch;
    struct mr_arena arena;
    int64_t found = otherwise;

    mr_arena_init(&arena);
    if (kafka_records_batch(mr_str_of(plan->piece.data, plan->piece.length), &batch) == MR_OK) {
        found = batch.base_offset;
        if (kafka_records_open(&batch, &arena, &records) == MR_OK)
            while (kafka_records_read(&records, &record))
                if (record.timestamp >= plan->time) {
                    found = record.offset;
                    break;
                }
    }
    mr_arena_fini(&arena);
    return found;
}

static void begin_at(struct broker_share_partition *partition, int64_t start)
{
    broker_share_partition_begin(partition, start);
    broker_share_partition_save(partition, NULL);
}

static void beginning_done(struct broker_plan *plan)
{
    struct beginning *work = mr_container(plan, struct beginning, plan);
    const struct broker_group *group = broker_group_find(&work->server->groups,
                                                         mr_str_from(work->group_id));
    struct broker_share_partition *partition = group == NULL || group->share == NULL
                                                   ? NULL
                                                   : broker_share_partition_find(group->share,
                                                                                 &work->place);
    int64_t start = plan->piece.owner == NULL ? work->otherwise
                                              : first_record_at(plan, work->otherwise);

    if (partition != NULL && partition->start == BROKER_SHARE_NOWHERE)
        begin_at(partition, start);
    if (partition != NULL)
        partition->looking = false;
    broker_plan_finish(plan);
    mr_bytes_unref(plan->piece.owner);
    mr_free(work->group_id);
    mr_free(work);
}

static void part_begin_by_time(struct fetch_part *part, int64_t time)
{
    struct broker_server *server = part->fetch->request->server;
    struct beginning *work = mr_new(struct beginning);

    if (!broker_plan_time(part->log, time, part->until, &work->plan)) {
        mr_free(work);
        begin_at(part->partition, part->until);
        return;
    }
    part->partition->looking = true;
    work->server = server;
    work->place = part->place;
    work->group_id = mr_copy_cstr(part->fetch->in->group_id);
    work->otherwise = part->until;
    broker_plan_start(&work->plan, beginning_done);
}

/* The group stands nowhere yet, or where the log does not reach. */
static void part_place(struct fetch_part *part, const struct broker_group_config *config)
{
    struct broker_share_partition *partition = part->partition;
    const struct broker_log *log = part->log;

    if (partition->start == BROKER_SHARE_NOWHERE && !partition->looking) {
        if (config->share_reset == BROKER_SHARE_EARLIEST)
            begin_at(partition, log->start);
        else if (config->share_reset == BROKER_SHARE_LATEST)
            begin_at(partition, part->until);
        else
            part_begin_by_time(part, broker_storage_now_ms(log->storage) - config->share_reset_ms);
    }
    if (partition->start == BROKER_SHARE_NOWHERE)
        return;
    broker_share_partition_cut(partition, log->start);
    if (partition->start > log->end)
        begin_at(partition, log->end); /* records that were not on the disk went with the power */
}

static int64_t in_flight_max(const struct fetch *fetch)
{
    return broker_server_number(fetch->request->server,
                                BROKER_NODE_group_share_partition_max_record_locks);
}

/* Bytes that could be taken, up to `enough`. */
static size_t part_look(struct fetch_part *part, size_t enough)
{
    struct fetch *fetch = part->fetch;
    const struct broker_group_config *config;
    int16_t code;

    if (!part->reads)
        return 0;
    code = part_find(fetch->request, fetch->in->group_id, &part->place, &part->partition,
                     &part->log);
    part->answer.error_code = code;
    part->answer.error_message = error_text(code);
    part->next = part->until = 0;
    if (code != KAFKA_ERROR_NONE) {
        part->partition = NULL;
        return 0;
    }
    config = broker_share_group_config(part->partition->group);
    part->until = config->share_committed ? broker_log_stable(part->log)
                                          : broker_log_high(part->log);
    part_place(part, config);
    part->next = part->until;
    if (part->partition->start == BROKER_SHARE_NOWHERE ||
        !broker_share_partition_gives(part->partition, in_flight_max(part->fetch)))
        return 0;
    part->next = broker_share_partition_next(part->partition);
    return broker_log_bytes_ready(part->log, part->next, part->until, enough);
}

/* ---- ShareFetch: taking ---- */

static bool is_aborted(const struct broker_log *log, const struct broker_batch *batch)
{
    const struct broker_producers *producers = &log->producers;

    if ((batch->attributes & BROKER_BATCH_TRANSACTIONAL) == 0)
        return false;
    for (size_t i = broker_producers_aborted_from(producers, batch->base);
         i < producers->aborted.count; i++)
        if (producers->aborted.items[i].producer_id == batch->producer_id &&
            producers->aborted.items[i].first <= batch->base &&
            producers->aborted.items[i].last > batch->last)
            return true;
    return false;
}

static bool is_skipped(const struct fetch_part *part, const struct broker_batch *batch)
{
    return (batch->attributes & BROKER_BATCH_CONTROL) != 0 ||
           (broker_share_group_config(part->partition->group)->share_committed &&
            is_aborted(part->log, batch));
}

/* Shows the group the batches of one reference; those of which the member got something go out. */
static void ref_take(struct fetch_part *part, struct broker_share_take *take,
                     const struct wire_ref *ref)
{
    broker_refs *refs = &part->fetch->request->refs;
    struct broker_batch batch;
    size_t at = 0;

    while (take->records_max > 0 && !take->full && at < ref->length &&
           broker_batch_read(ref->data + at, ref->length - at, &batch) == MR_OK) {
        if (batch.base >= part->until)
            return;
        if (broker_share_partition_acquire(part->partition, take, batch.base, batch.last,
                                           is_skipped(part, &batch)) > 0) {
            part->log->told_bytes_out += batch.bytes;
            struct wire_ref *last = part->ref_count > 0 ? &refs->items[refs->count - 1] : NULL;
            if (last != NULL && last->owner == ref->owner &&
                last->data + last->length == ref->data + at) {
                last->length += batch.bytes;
            } else {
                *mr_array_add(refs) = (struct wire_ref){mr_bytes_ref(ref->owner), ref->data + at,
                                                        batch.bytes};
                part->ref_count++;
            }
        }
        at += batch.bytes;
    }
}

/* Takes from what was read, beginning at part->next. */
static void part_take(struct fetch_part *part, const struct wire_ref *refs, size_t count)
{
    struct fetch *fetch = part->fetch;
    const struct kafka_share_fetch_request *in = fetch->in;
    struct broker_share_take take = {
        .owner = fetch->owner,
        .lock_us = lock_us(part->partition),
        .records_max = fetch->records_left,
        .batch_size = in->batch_size > 0 ? in->batch_size : 1,
        .in_flight_max = in_flight_max(fetch),
        .strict = in->share_acquire_mode == 1,
        .at = part->next,
    };

    part->ref_first = fetch->request->refs.count;
    part->ref_count = 0;
    for (size_t i = 0; i < count; i++)
        ref_take(part, &take, &refs[i]);
    fetch->records_left = take.records_max;
    fetch->moved = fetch->moved || broker_share_partition_next(part->partition) != part->next;
    broker_share_partition_watch(part->partition);
    part->answer.acquired_records.count = (int32_t)take.acquired.count;
    part->answer.acquired_records.items = mr_arena_array(
        &fetch->request->arena, struct kafka_share_acquired, take.acquired.count);
    if (take.acquired.count > 0)
        memcpy(part->answer.acquired_records.items, take.acquired.items,
               take.acquired.count * sizeof(take.acquired.items[0]));
    mr_array_fini(&take.acquired);
}

static void part_take_recent(struct fetch_part *part)
{
    struct fetch *fetch = part->fetch;
    size_t room = fetch->bytes_left < PART_BYTES_MAX ? fetch->bytes_left : PART_BYTES_MAX, bytes;
    broker_refs refs = {0};
    int64_t behind;

    bytes = broker_log_read_recent(part->log, part->next, part->until, room, true, &refs, &behind);
    part_take(part, refs.items, refs.count);
    for (size_t i = 0; i < refs.count; i++)
        mr_bytes_unref(refs.items[i].owner);
    mr_array_fini(&refs);
    if (part->ref_count > 0)
        fetch->bytes_left -= bytes < fetch->bytes_left ? bytes : fetch->bytes_left;
}

/* ---- ShareFetch: the answer ---- */

static void fetch_free(struct fetch *fetch)
{
    mr_timer_stop(&fetch->patience);
    for (size_t i = 0; i < fetch->part_count; i++)
        broker_log_unwatch(&fetch->parts[i].watch);
}

/* Whether it takes records, and its session is still there to own them. */
static bool asks(const struct fetch *fetch)
{
    const struct broker_share_session *session = session_find(
        &fetch->request->server->share_sessions, fetch->in->group_id, fetch->in->member_id);

    return fetch->records_left > 0 && fetch->bytes_left > 0 && session != NULL &&
           session->number == fetch->owner;
}

/* A client that has to wait gets no records: they come back, since their locks would end meanwhile. */
static void fetch_throttle(struct fetch *fetch)
{
    struct broker_request *request = fetch->request;
    size_t bytes = 0;

    if (request->server->security.quotas.rows.count == 0)
        return;
    for (size_t i = 0; i < request->refs.count; i++)
        bytes += request->refs.items[i].length;
    if (!broker_throttle_fetch(request, bytes))
        return;
    for (size_t i = 0; i < fetch->part_count; i++) {
        struct fetch_part *part = &fetch->parts[i];
        if (part->ref_count == 0)
            continue;
        broker_share_partition_undo(part->partition, fetch->owner,
                                    part->answer.acquired_records.items,
                                    part->answer.acquired_records.count);
        part->answer.acquired_records.count = 0;
        part->ref_count = 0;
        broker_share_partition_watch(part->partition);
        broker_log_changed(part->log);
    }
}

/* Partitions with records, errors or acknowledgements, by topic. */
static void fetch_answer(struct fetch *fetch)
{
    struct broker_request *request = fetch->request;
    struct kafka_share_fetch_response *out = fetch->out;
    struct kafka_share_fetch_response_partition *rows = mr_arena_array(
        &request->arena, struct kafka_share_fetch_response_partition, fetch->part_count);

    out->responses.items = mr_arena_array(&request->arena, struct kafka_share_fetch_response_topic,
                                          fetch->part_count);
    fetch_free(fetch); /* before others hear of what comes back */
    fetch_throttle(fetch);
    for (size_t i = 0; i < fetch->part_count; i++) {
        struct fetch_part *part = &fetch->parts[i];
        struct kafka_share_fetch_response_topic *topic =
            out->responses.count > 0 ? &out->responses.items[out->responses.count - 1] : NULL;
        if (part->ref_count > 0) {
            part->answer.records.refs = request->refs.items + part->ref_first;
            part->answer.records.ref_count = (uint32_t)part->ref_count;
        } else if (part->answer.error_code == KAFKA_ERROR_NONE && !part->acknowledges) {
            continue;
        }
        if (topic == NULL || memcmp(topic->topic_id.bytes, part->place.topic.bytes, 16) != 0) {
            topic = &out->responses.items[out->responses.count++];
            topic->topic_id = part->place.topic;
            topic->partitions.items = &rows[i];
        }
        topic->partitions.items[topic->partitions.count++] = part->answer;
    }
    broker_server_answer(request);
}

static void part_changed(struct broker_log_watch *watch)
{
    struct fetch *fetch = mr_container(watch, struct fetch_part, watch)->fetch;
    if (fetch->planned != NULL) /* the end of the read looks again */
        fetch->moved = true;
    else
        mr_loop_at_turn_end(fetch->request->server->loop, &fetch->look);
}

static void fetch_watch(struct fetch *fetch)
{
    for (size_t i = 0; i < fetch->part_count; i++) {
        struct fetch_part *part = &fetch->parts[i];
        if (part->partition != NULL && part->watch.link == NULL)
            broker_log_watch(part->log, &part->watch);
    }
}

static void fetch_go_on(struct fetch *fetch);

/* Whoever read the partition meanwhile, and whatever became of the group: what is free is taken. */
static void read_done(struct broker_plan *plan)
{
    struct fetch *fetch = mr_container(plan, struct fetch, plan);
    struct fetch_part *part = fetch->planned;
    int64_t next = part->next;
    mr_err err = plan->err;

    broker_plan_finish(plan);
    if (fetch->request->conn == NULL) {
        mr_bytes_unref(plan->piece.owner);
        fetch_free(fetch);
        broker_server_answer(fetch->request); /* frees it: nobody is there */
        return;
    }
    part_look(part, 1);
    if (err != MR_OK) {
        mr_log(MR_LOG_ERROR, "broker", "a read failed for the share group %.*s",
               MR_STR_ARG(fetch->in->group_id));
        part->answer.error_code = broker_server_error(err);
        part->answer.error_message = error_text(part->answer.error_code);
    } else if (part->partition != NULL && plan->piece.owner != NULL && asks(fetch)) {
        part->next = next;
        part_take(part, &plan->piece, 1);
    }
    mr_bytes_unref(plan->piece.owner);
    fetch->planned = NULL;
    if (part->ref_count > 0 || part->answer.error_code != KAFKA_ERROR_NONE)
        fetch_answer(fetch);
    else
        fetch_go_on(fetch);
}

/* True: the answer comes when the disk has been read. */
static bool fetch_plan(struct fetch *fetch, struct fetch_part *part)
{
    size_t room = fetch->bytes_left < PART_BYTES_MAX ? fetch->bytes_left : PART_BYTES_MAX;

    if (!broker_plan_offset(part->log, part->next, part->until, room, &fetch->plan))
        return false;
    fetch->planned = part;
    fetch->request->abandon = NULL; /* the read's end looks whether somebody is there */
    fetch_watch(fetch);             /* what comes meanwhile is looked at then */
    broker_plan_start(&fetch->plan, read_done);
    return true;
}

/* ---- ShareFetch: waiting ---- */

static void patience_ends(struct mr_timer *timer)
{
    struct fetch *fetch = mr_container(timer, struct fetch, patience);
    fetch->expired = true;
    if (fetch->planned == NULL) /* else the end of the read looks */
        mr_loop_at_turn_end(fetch->request->server->loop, &fetch->look);
}

static void fetch_abandon(struct broker_request *request)
{
    struct fetch *fetch = request->work;

    fetch->abandoned = true;
    mr_loop_at_turn_end(request->server->loop, &fetch->look);
}

static void fetch_wait(struct fetch *fetch)
{
    fetch->request->abandon = fetch_abandon;
    fetch_watch(fetch);
    if (fetch->patience.loop == NULL)
        mr_timer_start(fetch->request->server->loop, &fetch->patience,
                       (int64_t)fetch->in->max_wait_ms * 1000);
}

/* Takes from one partition after the other. True: the answer is on its way. */
static bool fetch_collect(struct fetch *fetch)
{
    bool some = false;

    for (size_t i = 0; i < fetch->part_count && fetch->records_left > 0; i++) {
        struct fetch_part *part = &fetch->parts[(fetch->first + i) % fetch->part_count];
        if (part->partition == NULL || part->next >= part->until || fetch->bytes_left == 0)
            continue;
        if (broker_log_is_recent(part->log, part->next))
            part_take_recent(part);
        else if (!some && fetch_plan(fetch, part))
            return true;
        some = some || part->ref_count > 0;
    }
    if (some)
        fetch_answer(fetch);
    return some;
}

/* Nothing was there to give. Markers and the like may have been passed over: then it looks again. */
static void fetch_go_on(struct fetch *fetch)
{
    bool moved = fetch->moved;

    fetch->moved = false;
    if (moved)
        mr_loop_at_turn_end(fetch->request->server->loop, &fetch->look);
    else if (fetch->expired)
        fetch_answer(fetch);
    else
        fetch_wait(fetch);
}

/* Looks at every partition, and answers when there is an answer to give. */
static void fetch_look(struct fetch *fetch)
{
    size_t enough = fetch->in->min_bytes > 1 ? (size_t)fetch->in->min_bytes : 1, ready = 0;
    bool failed = false;

    for (size_t i = 0; i < fetch->part_count; i++) {
        struct fetch_part *part = &fetch->parts[i];
        broker_log_unwatch(&part->watch);
        ready += part_look(part, enough);
        failed = failed || part->answer.error_code != KAFKA_ERROR_NONE;
    }
    if (ready > 0 && (ready >= enough || fetch->expired) && asks(fetch)) {
        if (!fetch_collect(fetch))
            fetch_go_on(fetch);
    } else if (failed || fetch->expired || fetch->part_count == 0 || !asks(fetch)) {
        fetch_answer(fetch);
    } else {
        fetch_wait(fetch);
    }
}

static void fetch_again(struct mr_task *task)
{
    struct fetch *fetch = mr_container(task, struct fetch, look);

    if (fetch->planned != NULL)
        return; /* the read's end goes on */
    if (fetch->abandoned || fetch->request->conn == NULL) {
        fetch_free(fetch);
        broker_server_answer(fetch->request); /* frees it: nobody is there */
        return;
    }
    fetch_look(fetch);
}

/* ---- ShareFetch: the request ---- */

static struct fetch_part *part_of(struct fetch *fetch, const struct broker_place *place)
{
    struct fetch_part *part = NULL;
    size_t low = 0, high = fetch->part_count;

    while (low < high && part == NULL) { /* sorted as the session's places are */
        size_t middle = (low + high) / 2;
        int order = broker_places_compare(place, &fetch->parts[middle].place);
        if (order == 0)
            part = &fetch->parts[middle];
        else if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return part;
}

/* What is read, and what is acknowledged besides. */
static void fetch_prepare(struct fetch *fetch, const struct broker_share_session *session)
{
    const struct kafka_share_fetch_request *in = fetch->in;
    struct broker_places all = {0};

    broker_places_copy(&all, &session->places);
    for (int32_t i = 0; i < in->topics.count; i++)
        for (int32_t k = 0; k < in->topics.items[i].partitions.count; k++)
            broker_places_add(&all, &in->topics.items[i].topic_id,
                              in->topics.items[i].partitions.items[k].partition_index);
    broker_places_sort(&all);
    fetch->part_count = all.count;
    fetch->parts = mr_arena_array(&fetch->request->arena, struct fetch_part, all.count);
    for (size_t i = 0; i < all.count; i++) {
        struct fetch_part *part = &fetch->parts[i];
        part->watch.changed = part_changed;
        part->fetch = fetch;
        part->place = all.items[i];
        part->reads = broker_places_has(&session->places, &part->place);
        wire_reset(kafka_share_fetch_response_partition_shape(), &part->answer);
        part->answer.partition_index = all.items[i].partition;
        part->answer.records.bytes = MR_STR("");
    }
    broker_places_fini(&all);
}

static void fetch_acknowledge(struct fetch *fetch, int64_t *end)
{
    const struct kafka_share_fetch_request *in = fetch->in;

    for (int32_t i = 0; i < in->topics.count; i++)
        for (int32_t k = 0; k < in->topics.items[i].partitions.count; k++) {
            const struct kafka_share_request_partition *row =
                &in->topics.items[i].partitions.items[k];
            struct broker_place place = {in->topics.items[i].topic_id, row->partition_index};
            struct fetch_part *part = part_of(fetch, &place);
            if (row->acknowledgement_batches.count == 0)
                continue;
            part->acknowledges = true;
            part->answer.acknowledge_error_code = part_acknowledge(
                fetch->request, in->group_id, fetch->owner, &place, row, in->is_renew_ack, end);
            part->answer.acknowledge_error_message = error_text(
                part->answer.acknowledge_error_code);
        }
}

static bool acknowledges(const struct kafka_share_fetch_request *in)
{
    for (int32_t i = 0; i < in->topics.count; i++)
        for (int32_t k = 0; k < in->topics.items[i].partitions.count; k++)
            if (in->topics.items[i].partitions.items[k].acknowledgement_batches.count > 0)
                return true;
    return false;
}

/* The acknowledgements are on the disk, or there were none. */
static void fetch_begin(struct broker_log_wait *wait, mr_err err)
{
    struct fetch *fetch = mr_container(wait, struct fetch, wait);

    for (size_t i = 0; i < fetch->part_count && err != MR_OK; i++)
        if (fetch->parts[i].acknowledges)
            fetch->parts[i].answer.acknowledge_error_code = broker_server_error(err);
    if (fetch->request->conn == NULL)
        broker_server_answer(fetch->request); /* frees it: nobody is there */
    else if (fetch->in->share_session_epoch == SESSION_EPOCH_LAST)
        fetch_answer(fetch);
    else
        fetch_look(fetch);
}

static int16_t fetch_check(const struct kafka_share_fetch_request *in)
{
    if (in->share_session_epoch == SESSION_EPOCH_FIRST && acknowledges(in))
        return KAFKA_ERROR_INVALID_REQUEST;
    if (in->is_renew_ack &&
        (in->max_wait_ms > 0 || in->min_bytes > 0 || in->max_bytes > 0 || in->max_records > 0))
        return KAFKA_ERROR_INVALID_REQUEST; /* locks are renewed while no records are asked for */
    return in->share_acquire_mode < 0 || in->share_acquire_mode > 1 ? KAFKA_ERROR_INVALID_REQUEST
                                                                    : KAFKA_ERROR_NONE;
}

/* By the member, the broker and a quota. */
static size_t bytes_max(const struct broker_request *request)
{
    const struct kafka_share_fetch_request *in = request->in;
    size_t most = ANSWER_BYTES_MAX, asked = in->max_bytes < 0 ? 0 : (size_t)in->max_bytes;

    if (request->server->security.quotas.row_counts[BROKER_QUOTA_FETCH] > 0 &&
        broker_throttle_fetch_bytes_max(request) < most)
        most = broker_throttle_fetch_bytes_max(request);
    return asked < most ? asked : most;
}

void broker_share_share_fetch(struct broker_request *request)
{
    const struct kafka_share_fetch_request *in = request->in;
    struct kafka_share_fetch_response *out = request->out;
    struct broker_share_session *session = NULL;
    struct fetch *fetch = mr_arena_new(&request->arena, struct fetch);
    int64_t end = -1;

    out->error_code = fetch_check(in);
    if (out->error_code == KAFKA_ERROR_NONE)
        out->error_code = session_enter(request, in->group_id, in->member_id,
                                        in->share_session_epoch, true, &session);
    if (out->error_code == KAFKA_ERROR_NONE &&
        !session_update(&request->server->share_sessions, session, in)) {
        session_end(request->server, session);
        out->error_code = KAFKA_ERROR_SHARE_SESSION_LIMIT_REACHED;
    }
    if (out->error_code != KAFKA_ERROR_NONE) {
        out->error_message = error_text(out->error_code);
        broker_server_answer(request);
        return;
    }
    out->acquisition_lock_timeout_ms = lock_ms_of(request, in->group_id);
    *fetch = (struct fetch){
        .request = request,
        .in = in,
        .out = out,
        .owner = session->number,
        .first = session->first++,
        .wait.run = fetch_begin,
        .patience.run = patience_ends,
        .look.run = fetch_again,
        .records_left = in->max_records,
        .bytes_left = bytes_max(request),
        .expired = in->max_wait_ms <= 0,
    };
    fetch_prepare(fetch, session);
    fetch_acknowledge(fetch, &end);
    if (in->share_session_epoch == SESSION_EPOCH_LAST)
        session_end(request->server, session);
    request->work = fetch;
    if (end < 0)
        fetch_begin(&fetch->wait, MR_OK);
    else
        broker_log_wait_kept(broker_server_internal(request->server, MR_STR("__share_group_state")),
                             &fetch->wait, end);
}
