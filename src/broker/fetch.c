/* broker/fetch.c: batches from the logs to readers, and where things lie in the logs.
 *
 *   asked -> [waits for min_bytes or max_wait_ms] -> collected -> [read from the disk] -> answered
 *
 * A fetch that waits watches its partitions; the first change wakes it, and it looks again at the end
 * of the turn. What was appended lately goes out by reference, older data is read on a disk thread.
 * A fetch that goes on with its session asks for what the session remembers, and is told what has changed
 * since; the partition after the last one that was read is read first the next time. */
#include "broker/server.h"

struct fetch_part {
    struct broker_log_watch watch;
    struct fetch *fetch;
    mr_str topic;
    const struct kafka_fetch_request_partition *asked;
    struct kafka_fetch_response_partition *answer;
    struct broker_session_part *kept; /* of its session, while that is at `session_epoch` */
    struct broker_log *log;           /* of this look */
    int64_t until;
    struct fetch_read *read;     /* NULL: nothing to read from the disk */
    size_t ref_first, ref_count; /* in the request's refs */
};
struct fetch_read {
    struct broker_plan plan;
    struct fetch_part *part;
};
struct fetch {
    struct broker_request *request;
    const struct kafka_fetch_request *in;
    struct kafka_fetch_response *out;
    const struct kafka_fetch_request_topic
        *topics; /* what is asked: the request's, or the session's */
    int32_t topic_count;
    struct fetch_part *parts;
    size_t part_count, first; /* first: is read before the others */
    size_t reading;           /* partitions that are being read from the disk */
    int32_t session_epoch;
    size_t bytes_max; /* of the answer, by the broker and by a quota */
    struct mr_timer patience;
    struct mr_task look;
    bool expired, abandoned, goes_on; /* the last: with its session */
};

/* ---- one look at the partitions ---- */

static int16_t check_epochs(struct fetch_part *part)
{
    const struct kafka_fetch_request_partition *asked = part->asked;
    int32_t found = -1;
    int64_t end = -1;

    if (asked->current_leader_epoch >= 0 && asked->current_leader_epoch < part->log->epoch)
        return KAFKA_ERROR_FENCED_LEADER_EPOCH;
    if (asked->current_leader_epoch > part->log->epoch)
        return KAFKA_ERROR_UNKNOWN_LEADER_EPOCH;
    if (asked->last_fetched_epoch < 0)
        return KAFKA_ERROR_NONE;
    if (!broker_log_epoch_end(part->log, asked->last_fetched_epoch, &found, &end))
        return KAFKA_ERROR_UNKNOWN_LEADER_EPOCH;
    if (found < asked->last_fetched_epoch || end < asked->fetch_offset) {
        part->answer->diverging_epoch.epoch = found;
        part->answer->diverging_epoch.end_offset = end;
    }
    return KAFKA_ERROR_NONE;
}

static int16_t part_look(struct fetch_part *part)
{
    struct broker_server *server = part->fetch->request->server;
    struct kafka_fetch_response_partition *answer = part->answer;
    struct broker_partition *partition;
    int64_t offset = part->asked->fetch_offset;
    int16_t code;

    wire_reset(kafka_fetch_response_partition_shape(), answer);
    answer->partition_index = part->asked->partition;
    answer->high_watermark = -1;
    part->log = NULL;
    if (part->topic.data == NULL)
        return KAFKA_ERROR_UNKNOWN_TOPIC_ID;
    if (!broker_rights_allow(part->fetch->request, KAFKA_ACL_OP_READ, KAFKA_ACL_TOPIC, part->topic))
        return broker_rights_refuse(part->fetch->request, KAFKA_ACL_OP_READ, KAFKA_ACL_TOPIC,
                                    part->topic);
    code = broker_server_partition(server, part->topic, part->asked->partition, &partition);
    if (code != KAFKA_ERROR_NONE)
        return code;
    part->log = partition->log;
    code = check_epochs(part);
    if (code != KAFKA_ERROR_NONE)
        return code;
    if (offset < part->log->start || offset > part->log->end)
        return KAFKA_ERROR_OFFSET_OUT_OF_RANGE;
    answer->high_watermark = broker_log_high(part->log);
    answer->last_stable_offset = broker_log_stable(part->log);
    answer->log_start_offset = part->log->start;
    part->until = part->fetch->in->isolation_level == 1 ? answer->last_stable_offset
                                                        : answer->high_watermark;
    return KAFKA_ERROR_NONE;
}

/* Looks at every partition; true when there is an answer to give. */
static bool fetch_look(struct fetch *fetch)
{
    size_t ready = 0, enough = fetch->in->min_bytes > 0 ? (size_t)fetch->in->min_bytes : 0;
    enough = enough > fetch->bytes_max ? fetch->bytes_max : enough;
    bool now = fetch->expired || fetch->part_count == 0 || enough == 0;

    for (size_t i = 0; i < fetch->part_count; i++) {
        struct fetch_part *part = &fetch->parts[i];
        part->answer->error_code = part_look(part);
        if (part->answer->error_code != KAFKA_ERROR_NONE ||
            part->answer->diverging_epoch.end_offset >= 0)
            now = true;
        else if (ready < enough)
            ready += broker_log_bytes_ready(part->log, part->asked->fetch_offset, part->until,
                                            enough - ready);
    }
    return now || ready >= enough;
}

/* ---- collecting ---- */

static void part_aborted(struct fetch_part *part, int64_t next)
{
    const struct broker_producers *producers = &part->log->producers;
    struct mr_arena *arena = &part->fetch->request->arena;
    size_t from = broker_producers_aborted_from(producers, part->asked->fetch_offset);
    size_t count = producers->aborted.count - from;

    part->answer->aborted_transactions.items = mr_arena_array(
        arena, struct kafka_fetch_aborted_transaction, count);
    part->answer->aborted_transactions.count = 0;
    for (size_t i = from; i < producers->aborted.count; i++) {
        const struct broker_aborted *aborted = &producers->aborted.items[i];
        if (aborted->first >= next)
            continue;
        part->answer->aborted_transactions.items[part->answer->aborted_transactions.count++] =
            (struct kafka_fetch_aborted_transaction){aborted->producer_id, aborted->first};
    }
}

/* Leaves those out that begin behind what was read. */
static void part_aborted_until(struct fetch_part *part, int64_t next)
{
    int32_t kept = 0;

    for (int32_t i = 0; i < part->answer->aborted_transactions.count; i++)
        if (part->answer->aborted_transactions.items[i].first_offset < next)
            part->answer->aborted_transactions.items[kept++] =
                part->answer->aborted_transactions.items[i];
    if (part->answer->aborted_transactions.count > 0)
        part->answer->aborted_transactions.count = kept;
}

/* Takes what memory has, or plans a read; returns the bytes that count against the answer. */
static size_t part_collect(struct fetch_part *part, size_t room, bool one)
{
    struct fetch *fetch = part->fetch;
    broker_refs *refs = &fetch->request->refs;
    int64_t offset = part->asked->fetch_offset, next = offset;
    size_t bytes = part->asked->partition_max_bytes > 0 ? (size_t)part->asked->partition_max_bytes
                                                        : 0;

    part->ref_first = refs->count;
    part->answer->records.bytes = MR_STR(""); /* no records, rather than null */
    if (fetch->in->isolation_level != 1)
        part->answer->aborted_transactions.count = -1; /* nobody looked */
    if (part->answer->error_code != KAFKA_ERROR_NONE ||
        part->answer->diverging_epoch.end_offset >= 0)
        return 0;
    bytes = bytes > room ? room : bytes;
    if (offset >= part->until || (bytes == 0 && !one))
        goto aborted;
    if (!broker_log_is_recent(part->log, offset)) {
        struct fetch_read *read = mr_arena_new(&fetch->request->arena, struct fetch_read);
        if (!broker_plan_offset(part->log, offset, part->until, bytes, &read->plan))
            goto aborted;
        read->part = part;
        part->read = read;
        if (fetch->in->isolation_level == 1)
            part_aborted(part, part->until); /* as they are now, with the files as they are now */
        return bytes;
    }
    bytes = broker_log_read_recent(part->log, offset, part->until, bytes, one, refs, &next);
    part->ref_count = refs->count - part->ref_first;
    if (fetch->in->isolation_level == 1)
        part_aborted(part, next);
    return bytes;
aborted:
    if (fetch->in->isolation_level == 1)
        part_aborted(part, offset);
    return 0;
}

static void fetch_free(struct fetch *fetch)
{
    mr_timer_stop(&fetch->patience);
    for (size_t i = 0; i < fetch->part_count; i++)
        broker_log_unwatch(&fetch->parts[i].watch);
}

/* Whether the reader does not know this yet; then it will. */
static bool part_is_news(struct fetch_part *part)
{
    const struct kafka_fetch_response_partition *answer = part->answer;
    struct broker_session_part *kept = part->kept;
    bool news = part->ref_count > 0 || answer->diverging_epoch.end_offset >= 0 ||
                answer->error_code != KAFKA_ERROR_NONE || answer->high_watermark != kept->high ||
                answer->log_start_offset != kept->start;
    kept->high = answer->error_code == KAFKA_ERROR_NONE ? answer->high_watermark : -1;
    kept->start = answer->log_start_offset;
    return news;
}

/* Keeps what the session has to remember, and leaves out of the answer what is no news. */
static void session_tell(struct fetch *fetch)
{
    struct kafka_fetch_response *out = fetch->out;
    struct broker_session *session = broker_sessions_find(&fetch->request->server->sessions,
                                                          out->session_id);
    int32_t topics = 0;
    size_t at = 0;

    if (session == NULL || session->epoch != fetch->session_epoch)
        return; /* it has ended or gone on meanwhile: all of it is told */
    for (int32_t i = 0; i < out->responses.count; i++) {
        struct kafka_fetch_response_topic *topic = &out->responses.items[i];
        int32_t told = 0, count = topic->partitions.count;
        for (int32_t k = 0; k < count; k++, at++) {
            struct fetch_part *part = &fetch->parts[at];
            if (part->ref_count > 0)
                session->first = at + 1;
            bool news = part_is_news(part);
            if (news || !fetch->goes_on)
                topic->partitions.items[told++] = *part->answer;
        }
        topic->partitions.count = told;
        if (told > 0)
            out->responses.items[topics++] = *topic;
    }
    out->responses.count = topics;
}

/* A client that has to wait gets no records; a session that would begin with this fetch does not (KIP-219). */
static bool fetch_throttled(struct fetch *fetch)
{
    struct broker_request *request = fetch->request;
    size_t bytes = 0;

    if (request->server->security.quotas.rows.count == 0)
        return false;
    for (size_t i = 0; i < request->refs.count; i++)
        bytes += request->refs.items[i].length;
    if (!broker_throttle_fetch(request, bytes))
        return false;
    fetch->out->responses.count = 0;
    if (!fetch->goes_on && fetch->out->session_id != 0) {
        broker_sessions_leave(&request->server->sessions, fetch->out->session_id);
        fetch->out->session_id = 0;
    }
    return true;
}

/* Its log may be gone by now. */
static void part_count_bytes(const struct fetch_part *part)
{
    struct broker_partition *partition = broker_topics_partition(
        &part->fetch->request->server->topics, part->topic, part->asked->partition);

    for (size_t i = 0; partition != NULL && partition->log != NULL && i < part->ref_count; i++)
        partition->log->told_bytes_out += (int64_t)part->answer->records.refs[i].length;
}

static void fetch_answer(struct fetch *fetch)
{
    struct broker_request *request = fetch->request;

    if (fetch_throttled(fetch)) {
        fetch_free(fetch);
        broker_server_answer(request);
        return;
    }
    for (size_t i = 0; i < fetch->part_count; i++) {
        struct fetch_part *part = &fetch->parts[i];
        if (part->ref_count == 0)
            continue;
        part->answer->records.refs = request->refs.items + part->ref_first;
        part->answer->records.ref_count = (uint32_t)part->ref_count;
        part_count_bytes(part);
    }
    if (fetch->out->session_id != 0)
        session_tell(fetch);
    fetch_free(fetch);
    broker_server_answer(request);
}

/* One partition is read; the last one ends the wait. */
static void part_read(struct broker_plan *plan)
{
    struct fetch_part *part = mr_container(plan, struct fetch_read, plan)->part;
    struct fetch *fetch = part->fetch;
    broker_refs *refs = &fetch->request->refs;

    part->ref_first = refs->count;
    if (plan->err != MR_OK) {
        part->answer->error_code = broker_server_error(plan->err);
        mr_log(MR_LOG_ERROR, "broker", "%s: a read failed", part->log->name);
    }
    if (plan->piece.owner != NULL) {
        *mr_array_add(refs) = plan->piece;
        part->ref_count = 1;
        part_aborted_until(part, plan->next_offset);
    }
    broker_plan_finish(plan);
    if (--fetch->reading == 0)
        fetch_answer(fetch);
}

static void fetch_collect(struct fetch *fetch)
{
    size_t room = fetch->in->max_bytes > 0 ? (size_t)fetch->in->max_bytes : 0, taken = 0;

    room = room > fetch->bytes_max ? fetch->bytes_max : room;
    for (size_t i = 0; i < fetch->part_count; i++) {
        struct fetch_part *part = &fetch->parts[(fetch->first + i) % fetch->part_count];
        taken += part_collect(part, room > taken ? room - taken : 0, taken == 0);
    }
    fetch->reading = 1; /* until all are started: some may be read at once */
    for (size_t i = 0; i < fetch->part_count; i++) {
        if (fetch->parts[i].read == NULL)
            continue;
        fetch->reading++;
        broker_plan_start(&fetch->parts[i].read->plan, part_read);
    }
    if (--fetch->reading == 0)
        fetch_answer(fetch);
}

/* ---- waiting ---- */

static void fetch_wait(struct fetch *fetch)
{
    for (size_t i = 0; i < fetch->part_count; i++) {
        struct fetch_part *part = &fetch->parts[i];
        if (part->log != NULL && part->watch.link == NULL)
            broker_log_watch(part->log, &part->watch);
    }
}

static void fetch_again(struct mr_task *task)
{
    struct fetch *fetch = mr_container(task, struct fetch, look);

    for (size_t i = 0; i < fetch->part_count; i++)
        broker_log_unwatch(&fetch->parts[i].watch);
    if (fetch->abandoned) {
        fetch_free(fetch);
        broker_server_answer(fetch->request); /* frees it: nobody is there */
        return;
    }
    if (!fetch_look(fetch)) {
        fetch_wait(fetch);
        return;
    }
    mr_timer_stop(&fetch->patience);
    fetch->request->abandon = NULL;
    fetch_collect(fetch);
}

static void part_changed(struct broker_log_watch *watch)
{
    struct fetch *fetch = mr_container(watch, struct fetch_part, watch)->fetch;
    mr_loop_at_turn_end(fetch->request->server->loop, &fetch->look);
}

static void patience_ends(struct mr_timer *timer)
{
    struct fetch *fetch = mr_container(timer, struct fetch, patience);
    fetch->expired = true;
    mr_loop_at_turn_end(fetch->request->server->loop, &fetch->look);
}

static void fetch_abandon(struct broker_request *request)
{
    struct fetch *fetch = request->work;

    fetch->abandoned = true;
    mr_loop_at_turn_end(request->server->loop, &fetch->look);
}

/* ---- the request ---- */

static void topic_prepare(struct fetch *fetch, const struct kafka_fetch_request_topic *asked,
                          struct kafka_fetch_response_topic *answer, struct fetch_part *parts)
{
    struct broker_request *request = fetch->request;
    mr_str name = asked->topic;

    answer->topic = asked->topic;
    answer->topic_id = asked->topic_id;
    if (request->header.request_api_version >= 13) {
        struct broker_topic *topic = broker_topics_find_id(&request->server->topics,
                                                           &asked->topic_id);
        name = topic == NULL ? MR_STR_NULL : broker_server_text(request, topic->name);
    }
    answer->partitions.count = asked->partitions.count;
    answer->partitions.items = mr_arena_array(
        &request->arena, struct kafka_fetch_response_partition, (size_t)asked->partitions.count);
    for (int32_t i = 0; i < asked->partitions.count; i++) {
        parts[i].watch.changed = part_changed;
        parts[i].fetch = fetch;
        parts[i].topic = name;
        parts[i].asked = &asked->partitions.items[i];
        parts[i].answer = &answer->partitions.items[i];
    }
}

static void fetch_prepare(struct fetch *fetch)
{
    struct mr_arena *arena = &fetch->request->arena;
    size_t at = 0;

    for (int32_t i = 0; i < fetch->topic_count; i++)
        fetch->part_count += (size_t)fetch->topics[i].partitions.count;
    fetch->parts = mr_arena_array(arena, struct fetch_part, fetch->part_count);
    fetch->out->responses.count = fetch->topic_count;
    fetch->out->responses.items = mr_arena_array(arena, struct kafka_fetch_response_topic,
                                                 (size_t)fetch->topic_count);
    for (int32_t i = 0; i < fetch->topic_count; i++) {
        topic_prepare(fetch, &fetch->topics[i], &fetch->out->responses.items[i], fetch->parts + at);
        at += (size_t)fetch->topics[i].partitions.count;
    }
}

static bool same_topic(const struct broker_session *session, const struct broker_session_part *part,
                       const struct kafka_fetch_request_topic *topic)
{
    return session->by_id ? memcmp(&part->topic_id, &topic->topic_id, sizeof part->topic_id) == 0
                          : mr_str_equal(part->topic, topic->topic);
}

/* What the session remembers, as if the reader had said it. It may end while this fetch waits. */
static void session_topics(struct fetch *fetch, const struct broker_session *session)
{
    struct mr_arena *arena = &fetch->request->arena;
    size_t count = session->parts.count;
    struct kafka_fetch_request_topic *topics = mr_arena_array(
                                         arena, struct kafka_fetch_request_topic, count),
                                     *topic = NULL;
    struct kafka_fetch_request_partition *asked = mr_arena_array(
        arena, struct kafka_fetch_request_partition, count);
    struct mr_map_entry *entry;

    for (size_t i = 0; (entry = mr_map_next(&session->parts, &i)) != NULL;) {
        const struct broker_session_part *part = entry->value;
        if (topic == NULL || !same_topic(session, part, topic)) {
            topic = &topics[fetch->topic_count++];
            topic->topic = mr_arena_str(arena, part->topic);
            topic->topic_id = part->topic_id;
            topic->partitions.items = asked;
        }
        *asked++ = part->asked;
        topic->partitions.count++;
    }
    fetch->topics = topics;
}

/* Where each partition's news will be compared and kept. */
static void session_parts(struct fetch *fetch, const struct broker_session *session)
{
    struct mr_map_entry *entry;
    size_t at = 0;

    fetch->session_epoch = session->epoch;
    fetch->out->session_id = session->id;
    fetch->first = session->first;
    if (fetch->goes_on) { /* the parts are the session's, in its order */
        for (size_t i = 0; (entry = mr_map_next(&session->parts, &i)) != NULL;)
            fetch->parts[at++].kept = entry->value;
        return;
    }
    for (int32_t i = 0; i < fetch->topic_count; i++)
        for (int32_t k = 0; k < fetch->topics[i].partitions.count; k++, at++)
            fetch->parts[at].kept = broker_session_part(
                session, fetch->topics[i].topic, &fetch->topics[i].topic_id,
                fetch->topics[i].partitions.items[k].partition);
}

void broker_fetch_fetch(struct broker_request *request)
{
    struct kafka_fetch_request *in = request->in;
    struct kafka_fetch_response *out = request->out;
    struct broker_session *session;
    struct fetch *fetch;
    bool goes_on;

    out->error_code = broker_sessions_enter(
        &request->server->sessions, in, request->header.request_api_version,
        mr_loop_now_us(request->server->loop), mr_loop_random(request->server->loop), &session,
        &goes_on);
    if (out->error_code != KAFKA_ERROR_NONE) {
        broker_server_answer(request);
        return;
    }
    fetch = mr_arena_new(&request->arena, struct fetch);
    fetch->request = request;
    fetch->in = in;
    fetch->out = out;
    fetch->look.run = fetch_again;
    fetch->patience.run = patience_ends;
    fetch->goes_on = goes_on;
    fetch->bytes_max = (size_t)broker_server_number(request->server, BROKER_NODE_fetch_max_bytes);
    if (request->server->security.quotas.row_counts[BROKER_QUOTA_FETCH] > 0) {
        size_t within = broker_throttle_fetch_bytes_max(request);
        fetch->bytes_max = within < fetch->bytes_max ? within : fetch->bytes_max;
    }
    if (goes_on) {
        session_topics(fetch, session);
    } else {
        fetch->topics = in->topics.items;
        fetch->topic_count = in->topics.count;
    }
    fetch_prepare(fetch);
    if (session != NULL)
        session_parts(fetch, session);
    fetch->expired = in->max_wait_ms <= 0;
    if (fetch_look(fetch)) {
        fetch_collect(fetch);
        return;
    }
    request->work = fetch;
    request->abandon = fetch_abandon;
    mr_timer_start(request->server->loop, &fetch->patience, (int64_t)in->max_wait_ms * 1000);
    fetch_wait(fetch);
}

/* ---- ListOffsets ---- */

/* What stands in slower storage, or is not there yet, has no offset here (-1). */
enum {
    TIME_LATEST = -1,
    TIME_EARLIEST = -2,
    TIME_MAX = -3,
    TIME_EARLIEST_LOCAL = -4,
    TIME_LATEST_TIERED = -5,
    TIME_EARLIEST_PENDING = -6
};

static bool time_is_of_version(int64_t time, int16_t version)
{
    return time >= TIME_EARLIEST_PENDING && (time != TIME_MAX || version >= 7) &&
           (time != TIME_EARLIEST_LOCAL || version >= 8) &&
           (time != TIME_LATEST_TIERED || version >= 9) &&
           (time != TIME_EARLIEST_PENDING || version >= 11);
}

struct lookup_part {
    struct broker_plan plan;
    struct kafka_list_offsets_response_partition *answer;
    int64_t time, start;
    bool planned;
};
struct lookup {
    struct broker_request *request;
    struct lookup_part *parts;
    size_t part_count, plan_count;
    struct mr_job job;
};

/* The first record of the batch that is at or after the time wanted. */
static void find_record(struct lookup_part *part)
{
    struct kafka_records records;
    struct kafka_record record;
    struct kafka_batch batch;
    struct mr_arena arena;
    mr_err err;

    mr_arena_init(&arena);
    err = kafka_records_batch(mr_str_of(part->plan.piece.data, part->plan.piece.length), &batch);
    part->answer->leader_epoch = batch.leader_epoch;
    if (err == MR_OK)
        err = kafka_records_open(&batch, &arena, &records);
    while (err == MR_OK && kafka_records_read(&records, &record)) {
        if (record.timestamp < part->time || record.offset < part->start)
            continue;
        part->answer->timestamp = record.timestamp;
        part->answer->offset = record.offset;
        break;
    }
    if (err != MR_OK)
        part->answer->error_code = KAFKA_ERROR_CORRUPT_MESSAGE;
    mr_arena_fini(&arena);
}

static void lookup_work(struct mr_job *job)
{
    struct lookup *lookup = mr_container(job, struct lookup, job);

    for (size_t i = 0; i < lookup->part_count; i++) {
        struct lookup_part *part = &lookup->parts[i];
        if (!part->planned)
            continue;
        broker_plan_run(&part->plan);
        if (part->plan.err == MR_OK && part->plan.piece.owner != NULL)
            find_record(part);
        mr_bytes_unref(part->plan.piece.owner); /* one at a time: there may be many */
        part->plan.piece.owner = NULL;
    }
}

static void lookup_done(struct mr_job *job)
{
    struct lookup *lookup = mr_container(job, struct lookup, job);

    for (size_t i = 0; i < lookup->part_count; i++) {
        struct lookup_part *part = &lookup->parts[i];
        if (!part->planned)
            continue;
        if (part->plan.err != MR_OK)
            part->answer->error_code = broker_server_error(part->plan.err);
        broker_plan_finish(&part->plan);
    }
    broker_server_answer(lookup->request);
}

static int64_t log_time_max(const struct broker_log *log)
{
    int64_t time = -1;
    for (size_t i = 0; i < log->segments.count; i++)
        if (log->segments.items[i]->facts.time_max > time)
            time = log->segments.items[i]->facts.time_max;
    return time;
}

static void lookup_part(struct lookup *lookup, mr_str topic,
                        const struct kafka_list_offsets_request_partition *asked, int8_t isolation,
                        struct lookup_part *part)
{
    struct kafka_list_offsets_response_partition *answer = part->answer;
    struct broker_partition *partition;
    struct broker_log *log;
    int64_t until;

    if (!time_is_of_version(asked->timestamp, lookup->request->header.request_api_version)) {
        answer->error_code = KAFKA_ERROR_UNSUPPORTED_VERSION;
        return;
    }
    answer->error_code = broker_server_partition(lookup->request->server, topic,
                                                 asked->partition_index, &partition);
    if (answer->error_code != KAFKA_ERROR_NONE)
        return;
    log = partition->log;
    if (asked->current_leader_epoch >= 0 && asked->current_leader_epoch != log->epoch) {
        answer->error_code = asked->current_leader_epoch < log->epoch
                                 ? KAFKA_ERROR_FENCED_LEADER_EPOCH
                                 : KAFKA_ERROR_UNKNOWN_LEADER_EPOCH;
        return;
    }
    answer->leader_epoch = log->epoch;
    until = isolation == 1 ? broker_log_stable(log) : broker_log_high(log);
    switch (asked->timestamp) {
    case TIME_LATEST:
        answer->offset = until;
        return;
    case TIME_EARLIEST:
    case TIME_EARLIEST_LOCAL:
        answer->offset = log->start;
        return;
    default:
        break;
    }
    part->time = asked->timestamp == TIME_MAX ? log_time_max(log) : asked->timestamp;
    part->start = log->start;
    answer->leader_epoch = -1;
    if (part->time < 0 || !broker_plan_time(log, part->time, until, &part->plan))
        return; /* no such record: offset -1 */
    part->planned = true;
    lookup->plan_count++;
}

void broker_fetch_list_offsets(struct broker_request *request)
{
    const struct kafka_list_offsets_request *in = request->in;
    struct kafka_list_offsets_response *out = request->out;
    struct lookup *lookup = mr_arena_new(&request->arena, struct lookup);
    struct mr_map seen = {0};
    size_t at = 0;

    lookup->request = request;
    for (int32_t i = 0; i < in->topics.count; i++)
        lookup->part_count += (size_t)in->topics.items[i].partitions.count;
    lookup->parts = mr_arena_array(&request->arena, struct lookup_part, lookup->part_count);
    out->topics.count = in->topics.count;
    out->topics.items = mr_arena_array(&request->arena, struct kafka_list_offsets_response_topic,
                                       (size_t)in->topics.count);
    for (int32_t i = 0; i < in->topics.count; i++) {
        const struct kafka_list_offsets_request_topic *asked = &in->topics.items[i];
        struct kafka_list_offsets_response_topic *answer = &out->topics.items[i];
        answer->name = asked->name;
        answer->partitions.count = asked->partitions.count;
        answer->partitions.items = mr_arena_array(&request->arena,
                                                  struct kafka_list_offsets_response_partition,
                                                  (size_t)asked->partitions.count);
        for (int32_t j = 0; j < asked->partitions.count; j++, at++) {
            wire_reset(kafka_list_offsets_response_partition_shape(), &answer->partitions.items[j]);
            answer->partitions.items[j].partition_index =
                asked->partitions.items[j].partition_index;
            lookup->parts[at].answer = &answer->partitions.items[j];
            if (lookup->part_count > 1 &&
                broker_repeats_count(&seen, asked->name,
                                     asked->partitions.items[j].partition_index) > 1) {
                answer->partitions.items[j].error_code = KAFKA_ERROR_INVALID_REQUEST;
                continue;
            }
            lookup_part(lookup, asked->name, &asked->partitions.items[j], in->isolation_level,
                        &lookup->parts[at]);
        }
    }
    mr_map_fini(&seen);
    if (lookup->plan_count == 0) {
        broker_server_answer(request);
        return;
    }
    lookup->job = (struct mr_job){lookup_work, lookup_done, request->server->loop, {0}};
    mr_disk_submit(request->server->disk, &lookup->job);
}

/* ---- OffsetForLeaderEpoch ---- */

static void epoch_answer(struct broker_request *request, mr_str topic,
                         const struct kafka_offset_for_leader_epoch_request_partition *asked,
                         struct kafka_offset_for_leader_epoch_response_partition *answer)
{
    struct broker_partition *partition;

    answer->partition = asked->partition;
    answer->error_code = broker_server_partition(request->server, topic, asked->partition,
                                                 &partition);
    if (answer->error_code != KAFKA_ERROR_NONE)
        return;
    if (asked->current_leader_epoch >= 0 && asked->current_leader_epoch < partition->log->epoch)
        answer->error_code = KAFKA_ERROR_FENCED_LEADER_EPOCH;
    else if (asked->current_leader_epoch > partition->log->epoch)
        answer->error_code = KAFKA_ERROR_UNKNOWN_LEADER_EPOCH;
    else if (!broker_log_epoch_end(partition->log, asked->leader_epoch, &answer->leader_epoch,
                                   &answer->end_offset))
        answer->end_offset = -1; /* an epoch that never was */
}

void broker_fetch_offset_for_leader_epoch(struct broker_request *request)
{
    const struct kafka_offset_for_leader_epoch_request *in = request->in;
    struct kafka_offset_for_leader_epoch_response *out = request->out;

    out->topics.count = in->topics.count;
    out->topics.items = mr_arena_array(&request->arena,
                                       struct kafka_offset_for_leader_epoch_response_topic,
                                       (size_t)in->topics.count);
    for (int32_t i = 0; i < in->topics.count; i++) {
        const struct kafka_offset_for_leader_epoch_request_topic *asked = &in->topics.items[i];
        struct kafka_offset_for_leader_epoch_response_topic *answer = &out->topics.items[i];
        answer->topic = asked->topic;
        answer->partitions.count = asked->partitions.count;
        answer->partitions.items = mr_arena_array(
            &request->arena, struct kafka_offset_for_leader_epoch_response_partition,
            (size_t)asked->partitions.count);
        for (int32_t j = 0; j < asked->partitions.count; j++) {
            wire_reset(kafka_offset_for_leader_epoch_response_partition_shape(),
                       &answer->partitions.items[j]);
            epoch_answer(request, asked->topic, &asked->partitions.items[j],
                         &answer->partitions.items[j]);
        }
    }
    broker_server_answer(request);
}
