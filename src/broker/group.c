/* broker/group.c: membership of consumer groups, the classic protocol.
 *
 *            join (first)            all joined, or time's up         leader's sync
 *   EMPTY -----------------> PREPARING -----------------> COMPLETING ---------------> STABLE
 *     ^   rebalance_begin()      ^    rebalance_end()         |    assignment_take()    |
 *     |                          |                            |                         |
 *     +--- no member is left ----+<------- join, leave or silence: rebalance_begin() ---+
 *
 * A JoinGroup is held until the rebalance ends, a SyncGroup until the leader has assigned. A member is
 * gone when its session timer runs out; one that is held back by us is never silent. */
#include "broker/server.h"

#include <stdio.h>

const char *broker_group_state_name(const struct broker_group *group)
{
    if (group->consumer != NULL)
        return broker_consumer_group_state_name(group->consumer);
    if (group->share != NULL)
        return broker_share_group_state_name(group->share);
    switch (group->state) {
    case BROKER_GROUP_EMPTY:
        return "Empty";
    case BROKER_GROUP_PREPARING:
        return "PreparingRebalance";
    case BROKER_GROUP_COMPLETING:
        return "CompletingRebalance";
    case BROKER_GROUP_STABLE:
        return "Stable";
    case BROKER_GROUP_DEAD:
        break;
    }
    return "Dead";
}

bool broker_group_is_empty(const struct broker_group *group)
{
    return group->consumer != NULL ? group->consumer->members.count == 0
           : group->share != NULL  ? group->share->members.count == 0
                                   : group->state == BROKER_GROUP_EMPTY;
}

/* ---- members ---- */

void broker_group_protocols_add(struct broker_group_protocols *protocols, mr_str name,
                                mr_str metadata)
{
    *mr_array_add(protocols) = (struct broker_group_protocol){
        mr_copy_cstr(name), mr_bytes_copy(metadata.data, metadata.length)};
}

void broker_group_protocols_clear(struct broker_group_protocols *protocols)
{
    for (size_t i = 0; i < protocols->count; i++) {
        mr_free(protocols->items[i].name);
        mr_bytes_unref(protocols->items[i].metadata);
    }
    mr_array_fini(protocols);
}

/* How many members have a protocol: counted, so that a join has to ask none of them. */
static size_t support_of(const struct broker_group *group, mr_str protocol)
{
    return (size_t)(uintptr_t)mr_map_get(&group->support, protocol);
}

static bool supports(const struct broker_group_member *member, mr_str protocol, size_t protocols)
{
    for (size_t i = 0; i < protocols; i++)
        if (mr_str_equal(mr_str_from(member->protocols.items[i].name), protocol))
            return true;
    return false;
}

/* The member's protocols come (1) or go (-1); one that it names twice counts once. */
static void support_change(const struct broker_group_member *member, int change)
{
    struct mr_map *support = &member->group->support;

    for (size_t i = 0; i < member->protocols.count; i++) {
        mr_str name = mr_str_from(member->protocols.items[i].name);
        size_t count = support_of(member->group, name) + (size_t)change;
        if (supports(member, name, i))
            continue;
        if (count > 0)
            mr_map_put(support, name, (void *)(uintptr_t)count);
        else
            mr_map_remove(support, name);
    }
}

static void unlist(struct mr_map *map, const char *name, const struct broker_group_member *member)
{
    if (name != NULL && mr_map_get(map, mr_str_from(name)) == member)
        mr_map_remove(map, mr_str_from(name));
}

/* Under its id and its instance a member is found without a look at the others. */
static void member_list(struct broker_group_member *member)
{
    mr_map_put(&member->group->by_id, mr_str_from(member->id), member);
    if (member->instance_id != NULL)
        mr_map_put(&member->group->by_instance, mr_str_from(member->instance_id), member);
}

static void member_free(struct broker_group_member *member)
{
    unlist(&member->group->by_id, member->id, member);
    unlist(&member->group->by_instance, member->instance_id, member);
    support_change(member, -1);
    mr_timer_stop(&member->session);
    broker_group_protocols_clear(&member->protocols);
    mr_bytes_unref(member->assignment);
    mr_free(member->id);
    mr_free(member->instance_id);
    mr_free(member->client_id);
    mr_free(member->client_host);
    mr_free(member);
}

static struct broker_group_member *member_find(const struct broker_group *group, mr_str id)
{
    return mr_map_get(&group->by_id, id);
}

static struct broker_group_member *member_of_instance(const struct broker_group *group,
                                                      mr_str instance)
{
    return instance.data == NULL ? NULL : mr_map_get(&group->by_instance, instance);
}

static mr_str member_metadata(const struct broker_group_member *member, const char *protocol)
{
    for (size_t i = 0; i < member->protocols.count && protocol != NULL; i++)
        if (strcmp(member->protocols.items[i].name, protocol) == 0)
            return mr_str_of(member->protocols.items[i].metadata->data,
                             member->protocols.items[i].metadata->length);
    return MR_STR("");
}

mr_str broker_group_member_said(const struct broker_group_member *member)
{
    return member_metadata(member, member->group->protocol != NULL ? member->group->protocol
                                   : member->protocols.count > 0   ? member->protocols.items[0].name
                                                                   : NULL);
}

static bool is_leader(const struct broker_group_member *member)
{
    return member->group->leader != NULL && strcmp(member->group->leader, member->id) == 0;
}

static void text_set(char **text, mr_str value)
{
    mr_free(*text);
    *text = value.data == NULL ? NULL : mr_copy_cstr(value);
}

static void session_restart(struct broker_group_member *member)
{
    mr_timer_start(member->group->groups->server->loop, &member->session,
                   (int64_t)member->session_timeout_ms * 1000);
}

static bool pending_take(struct broker_group *group, mr_str id)
{
    return mr_map_remove(&group->pending, id) != NULL;
}

static void pending_forget(struct broker_group *group)
{
    mr_map_fini(&group->pending);
}

/* ---- groups ---- */

struct broker_group *broker_group_find(struct broker_groups *groups, mr_str id)
{
    return mr_map_get(&groups->by_id, id);
}

static void rebalance_late(struct mr_timer *timer);

struct broker_group *broker_group_make(struct broker_groups *groups, mr_str id)
{
    struct broker_group *group = broker_group_find(groups, id);

    if (group != NULL)
        return group;
    group = mr_new(struct broker_group);
    group->groups = groups;
    group->id = mr_copy_cstr(id);
    group->rebalance.run = rebalance_late;
    group->changed_ms = broker_storage_now_ms(&groups->server->storage);
    mr_map_put(&groups->by_id, id, group);
    return group;
}

void broker_group_free(struct broker_group *group)
{
    mr_timer_stop(&group->rebalance);
    for (size_t i = 0; i < group->members.count; i++)
        member_free(group->members.items[i]);
    pending_forget(group);
    mr_array_fini(&group->members);
    mr_map_fini(&group->by_id);
    mr_map_fini(&group->by_instance);
    mr_map_fini(&group->support);
    broker_consumer_group_free(group->consumer);
    broker_share_group_free(group->share);
    broker_offsets_free(group);
    mr_free(group->id);
    mr_free(group->protocol_type);
    mr_free(group->protocol);
    mr_free(group->leader);
    mr_free(group);
}

static void put_str16(struct mr_buf *buf, mr_str text)
{
    mr_buf_be16(buf, text.data == NULL ? UINT16_MAX : (uint16_t)text.length);
    mr_buf_str(buf, text);
}

static void put_bytes32(struct mr_buf *buf, mr_str bytes)
{
    mr_buf_be32(buf, (uint32_t)bytes.length);
    mr_buf_str(buf, bytes);
}

/* GroupMetadataValue version 3, as Kafka's own tools read it. */
static void group_print(const struct broker_group *group, struct mr_buf *out)
{
    mr_buf_be16(out, 3);
    put_str16(out, group->protocol_type == NULL ? MR_STR("") : mr_str_from(group->protocol_type));
    mr_buf_be32(out, (uint32_t)group->generation);
    put_str16(out, mr_str_from(group->protocol));
    put_str16(out, mr_str_from(group->leader));
    mr_buf_be64(out, (uint64_t)group->changed_ms);
    mr_buf_be32(out, (uint32_t)group->members.count);
    for (size_t i = 0; i < group->members.count; i++) {
        const struct broker_group_member *member = group->members.items[i];
        put_str16(out, mr_str_from(member->id));
        put_str16(out, mr_str_from(member->instance_id));
        put_str16(out, mr_str_from(member->client_id));
        put_str16(out, mr_str_from(member->client_host));
        mr_buf_be32(out, (uint32_t)member->rebalance_timeout_ms);
        mr_buf_be32(out, (uint32_t)member->session_timeout_ms);
        put_bytes32(out, member_metadata(member, group->protocol));
        put_bytes32(out, member->assignment == NULL
                             ? MR_STR("")
                             : mr_str_of(member->assignment->data, member->assignment->length));
    }
}

static void group_put(const struct broker_group *group, bool gone, struct broker_journal *journal)
{
    struct mr_buf key = {0}, value = {0};

    mr_buf_be16(&key, 2);
    put_str16(&key, mr_str_from(group->id));
    group_print(group, &value);
    broker_journal_add(journal, mr_buf_as_str(&key), gone ? MR_STR_NULL : mr_buf_as_str(&value));
    mr_buf_fini(&key);
    mr_buf_fini(&value);
}

/* A group that is lost with the power is made anew when its members come back, so nobody waits. */
static void group_save(struct broker_group *group)
{
    struct broker_journal journal;

    broker_consumer_journal_begin(group, &journal);
    group_put(group, false, &journal);
    broker_consumer_journal_end(group, &journal);
}

void broker_group_forget_classic(struct broker_group *group)
{
    mr_timer_stop(&group->rebalance);
    for (size_t i = 0; i < group->members.count; i++)
        member_free(group->members.items[i]);
    pending_forget(group);
    group->members.count = 0;
    group->state = BROKER_GROUP_EMPTY;
    text_set(&group->protocol_type, MR_STR_NULL);
    text_set(&group->protocol, MR_STR_NULL);
    text_set(&group->leader, MR_STR_NULL);
    group->generation = 0;
}

int32_t broker_group_end_classic(struct broker_group *group, struct broker_journal *journal)
{
    int32_t generation = group->generation;

    if (group->protocol_type != NULL || generation > 0)
        group_put(group, true, journal);
    broker_group_forget_classic(group);
    return generation;
}

void broker_group_forget_empty(struct broker_groups *groups, struct broker_group *group)
{
    if (group->consumer != NULL || group->share != NULL || group->members.count > 0 ||
        group->protocol_type != NULL || group->generation > 0 || group->offsets.count > 0)
        return;
    mr_map_remove(&groups->by_id, mr_str_from(group->id));
    broker_group_free(group);
}

/* ---- answers ---- */

void broker_group_join_refuse(struct broker_request *request, int16_t code, mr_str member_id)
{
    struct kafka_join_group_response *out = request->out;

    out->error_code = code;
    out->member_id = mr_arena_str(&request->arena, member_id);
    if (request->header.request_api_version < 7)
        out->protocol_name = MR_STR("");
    broker_server_answer(request);
}

static void join_answer(struct broker_group_member *member, struct broker_request *request)
{
    const struct broker_group *group = member->group;
    struct kafka_join_group_response *out = request->out;
    struct mr_arena *arena = &request->arena;

    out->generation_id = group->generation;
    out->protocol_type = broker_server_text(request, group->protocol_type);
    out->protocol_name = broker_server_text(request, group->protocol);
    out->leader = broker_server_text(request, group->leader);
    out->member_id = broker_server_text(request, member->id);
    if (is_leader(member)) {
        out->members.items = mr_arena_array(arena, struct kafka_join_group_member,
                                            group->members.count);
        out->members.count = (int32_t)group->members.count;
        for (size_t i = 0; i < group->members.count; i++) {
            const struct broker_group_member *each = group->members.items[i];
            out->members.items[i].member_id = broker_server_text(request, each->id);
            out->members.items[i].group_instance_id = each->instance_id == NULL
                                                          ? MR_STR_NULL
                                                          : broker_server_text(request,
                                                                               each->instance_id);
            out->members.items[i].metadata = mr_arena_str(arena,
                                                          member_metadata(each, group->protocol));
        }
    }
    broker_server_answer(request);
}

static void sync_answer(struct broker_group_member *member, struct broker_request *request,
                        int16_t code)
{
    struct kafka_sync_group_response *out = request->out;

    out->error_code = code;
    if (code == KAFKA_ERROR_NONE) {
        out->protocol_type = broker_server_text(request, member->group->protocol_type);
        out->protocol_name = broker_server_text(request, member->group->protocol);
        if (member->assignment != NULL)
            out->assignment = mr_arena_str(
                &request->arena, mr_str_of(member->assignment->data, member->assignment->length));
    }
    broker_server_answer(request);
}

static void member_let_go(struct broker_group_member *member, int16_t code)
{
    struct broker_request *joining = member->joining, *syncing = member->syncing;

    member->joining = member->syncing = NULL;
    if (joining != NULL)
        broker_group_join_refuse(joining, code, mr_str_from(member->id));
    if (syncing != NULL)
        sync_answer(member, syncing, code);
}

void broker_group_let_go(struct broker_group *group, int16_t code)
{
    for (size_t i = 0; i < group->members.count; i++)
        member_let_go(group->members.items[i], code);
}

/* ---- rebalance ---- */

static void rebalance_check(struct broker_group *group);

/* The longest of its members' rebalance time-outs. */
static int64_t rebalance_us(const struct broker_group *group)
{
    int32_t longest_ms = 0;
    for (size_t i = 0; i < group->members.count; i++)
        if (group->members.items[i]->rebalance_timeout_ms > longest_ms)
            longest_ms = group->members.items[i]->rebalance_timeout_ms;
    return (int64_t)longest_ms * 1000;
}

/* An empty group waits a while for more members, so that not each one that comes is a rebalance. */
static void gather(struct broker_group *group)
{
    struct broker_server *server = group->groups->server;
    int64_t now_us = mr_loop_now_us(server->loop), most_us = rebalance_us(group);
    int64_t delay_us = broker_server_number(server, BROKER_NODE_group_initial_rebalance_delay_ms) *
                       1000;

    if (!group->gathering)
        group->gather_end_us = now_us + most_us;
    if (delay_us > group->gather_end_us - now_us)
        delay_us = group->gather_end_us - now_us;
    group->gathering = true;
    group->gathered_count = group->members.count;
    mr_timer_start(server->loop, &group->rebalance, delay_us);
}

static void gather_ends(struct broker_group *group)
{
    struct mr_loop *loop = group->groups->server->loop;

    if (group->members.count > group->gathered_count &&
        group->gather_end_us > mr_loop_now_us(loop)) {
        gather(group);
        return;
    }
    group->gathering = false;
    mr_timer_start(loop, &group->rebalance, rebalance_us(group));
    rebalance_check(group);
}

static void rebalance_begin(struct broker_group *group)
{
    bool fresh = group->state == BROKER_GROUP_EMPTY &&
                 broker_server_number(group->groups->server,
                                      BROKER_NODE_group_initial_rebalance_delay_ms) > 0;

    for (size_t i = 0; i < group->members.count; i++) {
        struct broker_group_member *member = group->members.items[i];
        struct broker_request *syncing = member->syncing;
        member->syncing = NULL;
        if (syncing != NULL)
            sync_answer(member, syncing, KAFKA_ERROR_REBALANCE_IN_PROGRESS);
    }
    group->state = BROKER_GROUP_PREPARING;
    group->gathering = false;
    if (fresh)
        gather(group);
    else
        mr_timer_start(group->groups->server->loop, &group->rebalance, rebalance_us(group));
    rebalance_check(group);
}

static const char *vote(const struct broker_group_member *member)
{
    for (size_t i = 0; i < member->protocols.count; i++)
        if (support_of(member->group, mr_str_from(member->protocols.items[i].name)) ==
            member->group->members.count)
            return member->protocols.items[i].name;
    return NULL;
}

/* Each member votes for the first of its protocols that all others have too. */
static const char *protocol_choose(const struct broker_group *group)
{
    const struct broker_group_member *first = group->members.items[0];
    const char *best = NULL;
    size_t best_votes = 0;
    struct mr_map votes = {0};

    for (size_t i = 0; i < group->members.count; i++) {
        mr_str name = mr_str_from(vote(group->members.items[i]));
        if (name.data != NULL)
            mr_map_put(&votes, name, (void *)((uintptr_t)mr_map_get(&votes, name) + 1));
    }
    for (size_t i = 0; i < first->protocols.count; i++) {
        const char *name = first->protocols.items[i].name;
        size_t count = (size_t)(uintptr_t)mr_map_get(&votes, mr_str_from(name));
        if (count > best_votes) {
            best = name;
            best_votes = count;
        }
    }
    mr_map_fini(&votes);
    return best;
}

static void group_become_empty(struct broker_group *group)
{
    mr_timer_stop(&group->rebalance);
    group->state = BROKER_GROUP_EMPTY;
    group->generation++;
    group->changed_ms = broker_storage_now_ms(&group->groups->server->storage);
    text_set(&group->protocol, MR_STR_NULL);
    text_set(&group->leader, MR_STR_NULL);
    group_save(group);
}

/* Who leads goes on to, if it has joined; a static one that is away stays a member and leads no more. */
static void leader_elect(struct broker_group *group)
{
    const struct broker_group_member *leader = group->leader == NULL
                                                   ? NULL
                                                   : member_find(group, mr_str_from(group->leader));

    for (size_t i = 0; i < group->members.count && (leader == NULL || leader->joining == NULL); i++)
        if (group->members.items[i]->joining != NULL)
            leader = group->members.items[i];
    mr_assert(leader != NULL && leader->joining != NULL); /* rebalances wait for somebody to join */
    if (!is_leader(leader))
        text_set(&group->leader, mr_str_from(leader->id));
}

static void rebalance_end(struct broker_group *group)
{
    const char *protocol;

    if (group->members.count == 0) {
        group_become_empty(group);
        return;
    }
    protocol = protocol_choose(group);
    mr_assert(protocol != NULL); /* join refuses members that have none in common */
    group->generation++;
    group->state = BROKER_GROUP_COMPLETING;
    group->changed_ms = broker_storage_now_ms(&group->groups->server->storage);
    text_set(&group->protocol, mr_str_from(protocol));
    leader_elect(group);
    /* Members that do not sync in the same time are taken for gone. */
    mr_timer_start(group->groups->server->loop, &group->rebalance, rebalance_us(group));
    for (size_t i = 0; i < group->members.count; i++) {
        struct broker_group_member *member = group->members.items[i];
        struct broker_request *joining = member->joining;
        member->joining = NULL;
        member->is_new = false;
        session_restart(member);
        if (joining != NULL)
            join_answer(member, joining);
    }
}

/* Whether a member has joined (true), or has not (false). */
static bool some_joined(const struct broker_group *group, bool joined)
{
    for (size_t i = 0; i < group->members.count; i++)
        if ((group->members.items[i]->joining != NULL) == joined)
            return true;
    return false;
}

static void rebalance_check(struct broker_group *group)
{
    if (group->state != BROKER_GROUP_PREPARING)
        return;
    if (group->members.count > 0 &&
        (group->gathering || group->pending.count > 0 || some_joined(group, false)))
        return;
    rebalance_end(group);
}

static void members_drop_absent(struct broker_group *group)
{
    size_t kept = 0;

    for (size_t i = 0; i < group->members.count; i++) {
        struct broker_group_member *member = group->members.items[i];
        if (member->joining == NULL && member->instance_id == NULL)
            member_free(member);
        else
            group->members.items[kept++] = member;
    }
    group->members.count = kept;
}

/* Who has not joined by now is left out, except static members, which have until their session ends. */
static void rebalance_late(struct mr_timer *timer)
{
    struct broker_group *group = mr_container(timer, struct broker_group, rebalance);

    if (group->state == BROKER_GROUP_PREPARING && group->gathering) {
        gather_ends(group);
        return;
    }
    if (group->state == BROKER_GROUP_COMPLETING) {
        size_t kept = 0;
        for (size_t i = 0; i < group->members.count; i++) {
            struct broker_group_member *member = group->members.items[i];
            if (member->syncing == NULL)
                member_free(member);
            else
                group->members.items[kept++] = member;
        }
        group->members.count = kept;
        rebalance_begin(group);
        return;
    }
    pending_forget(group);
    if (group->state != BROKER_GROUP_PREPARING)
        return;
    members_drop_absent(group);
    if (group->members.count > 0 && !some_joined(group, true))
        mr_timer_start(group->groups->server->loop, &group->rebalance, rebalance_us(group));
    else
        rebalance_end(group);
}

static void member_remove(struct broker_group_member *member, int16_t code)
{
    struct broker_group *group = member->group;
    size_t kept = 0;

    for (size_t i = 0; i < group->members.count; i++)
        if (group->members.items[i] != member)
            group->members.items[kept++] = group->members.items[i];
    group->members.count = kept;
    if (is_leader(member))
        text_set(&group->leader, MR_STR_NULL);
    member_let_go(member, code);
    member_free(member);
    if (group->state == BROKER_GROUP_STABLE || group->state == BROKER_GROUP_COMPLETING)
        rebalance_begin(group);
    else
        rebalance_check(group);
}

static void member_silent(struct mr_timer *timer)
{
    struct broker_group_member *member = mr_container(timer, struct broker_group_member, session);

    if (member->joining != NULL || member->syncing != NULL) {
        session_restart(member); /* it waits for us */
        return;
    }
    mr_log(MR_LOG_INFO, "broker", "group %s: member %s fell silent", member->group->id, member->id);
    member_remove(member, KAFKA_ERROR_UNKNOWN_MEMBER_ID);
}

/* ---- JoinGroup ---- */

static bool protocols_equal(const struct broker_group_member *member,
                            const struct kafka_join_group_request *in)
{
    if ((int32_t)member->protocols.count != in->protocols.count)
        return false;
    for (size_t i = 0; i < member->protocols.count; i++) {
        const struct broker_group_protocol *own = &member->protocols.items[i];
        if (!mr_str_equal(mr_str_from(own->name), in->protocols.items[i].name) ||
            !mr_str_equal(mr_str_of(own->metadata->data, own->metadata->length),
                          in->protocols.items[i].metadata))
            return false;
    }
    return true;
}

static void member_update(struct broker_group_member *member, struct broker_request *request)
{
    const struct kafka_join_group_request *in = request->in;

    support_change(member, -1);
    broker_group_protocols_clear(&member->protocols);
    for (int32_t i = 0; i < in->protocols.count; i++)
        broker_group_protocols_add(&member->protocols, in->protocols.items[i].name,
                                   in->protocols.items[i].metadata);
    support_change(member, 1);
    member->session_timeout_ms = in->session_timeout_ms;
    member->rebalance_timeout_ms = in->rebalance_timeout_ms > 0 ? in->rebalance_timeout_ms
                                                                : in->session_timeout_ms;
    text_set(&member->client_id,
             request->header.client_id.data == NULL ? MR_STR("") : request->header.client_id);
    mr_free(member->client_host);
    member->client_host = mr_alloc(300);
    snprintf(member->client_host, 300, "/%s",
             request->conn == NULL ? "" : request->conn->peer.host);
}

/* The connection went while its answer was held: a new member is gone, another may come back. */
static void join_abandon(struct broker_request *request)
{
    struct broker_group_member *member = request->work;

    member->joining = NULL;
    broker_server_answer(request);
    if (member->is_new && member->instance_id == NULL)
        member_remove(member, KAFKA_ERROR_UNKNOWN_MEMBER_ID);
}

static void sync_abandon(struct broker_request *request)
{
    struct broker_group_member *member = request->work;

    member->syncing = NULL;
    broker_server_answer(request);
}

static void join_hold(struct broker_group_member *member, struct broker_request *request)
{
    if (member->joining != NULL) { /* a repeat over another connection: the newer one counts */
        struct broker_request *older = member->joining;
        member->joining = NULL;
        broker_group_join_refuse(older, KAFKA_ERROR_UNKNOWN_MEMBER_ID, mr_str_from(member->id));
    }
    member->joining = request;
    request->work = member;
    request->abandon = join_abandon;
    session_restart(member);
}

/* The member joins the rebalance, which begins when there is none yet. */
static void join_and_rebalance(struct broker_group_member *member, struct broker_request *request)
{
    member_update(member, request);
    join_hold(member, request);
    if (member->group->state == BROKER_GROUP_PREPARING)
        rebalance_check(member->group);
    else
        rebalance_begin(member->group);
}

static struct broker_group_member *member_add(struct broker_group *group,
                                              struct broker_request *request, mr_str id)
{
    const struct kafka_join_group_request *in = request->in;
    struct broker_group_member *member = mr_new(struct broker_group_member);

    member->group = group;
    member->id = mr_copy_cstr(id);
    member->is_new = true;
    member->session.run = member_silent;
    if (in->group_instance_id.data != NULL)
        member->instance_id = mr_copy_cstr(in->group_instance_id);
    member_list(member);
    if (group->members.count == 0)
        text_set(&group->protocol_type, in->protocol_type);
    *mr_array_add(&group->members) = member;
    return member;
}

static mr_str member_id_make(struct broker_request *request)
{
    const struct kafka_join_group_request *in = request->in;
    mr_str name = in->group_instance_id.data != NULL ? in->group_instance_id
                                                     : request->header.client_id;
    char text[37];
    mr_uuid id;

    mr_entropy(id.bytes, sizeof(id.bytes));
    mr_uuid_format(&id, text);
    return mr_arena_printf(&request->arena, "%.*s-%s", MR_STR_ARG(mr_str_slice(name, 0, 200)),
                           text);
}

/* A static member has come back under its name: it gets a new id, the old one is fenced. */
static void join_as_instance(struct broker_group_member *member, struct broker_request *request)
{
    struct broker_group *group = member->group;
    const struct kafka_join_group_request *in = request->in;
    struct kafka_join_group_response *out = request->out;
    mr_str metadata = mr_arena_str(&request->arena, member_metadata(member, group->protocol));
    bool led = is_leader(member);
    mr_str old_id = broker_server_text(request, member->id), id = member_id_make(request);

    member_let_go(member, KAFKA_ERROR_FENCED_INSTANCE_ID);
    unlist(&group->by_id, member->id, member);
    text_set(&member->id, id);
    member_list(member);
    if (led)
        text_set(&group->leader, id);
    member_update(member, request);
    session_restart(member);
    if (group->state != BROKER_GROUP_STABLE ||
        !mr_str_equal(metadata, member_metadata(member, group->protocol))) {
        join_hold(member, request);
        if (group->state == BROKER_GROUP_PREPARING)
            rebalance_check(group);
        else
            rebalance_begin(group);
        return;
    }
    group_save(group);
    if (led && request->header.request_api_version < 9) {
        /* Older clients would assign again; they are told that someone else leads (KIP-345). */
        out->generation_id = group->generation;
        out->protocol_type = broker_server_text(request, group->protocol_type);
        out->protocol_name = broker_server_text(request, group->protocol);
        out->leader = old_id;
        out->member_id = id;
        broker_server_answer(request);
        return;
    }
    out->skip_assignment = led;
    (void)in;
    join_answer(member, request);
}

static void join_new(struct broker_group *group, struct broker_request *request)
{
    const struct kafka_join_group_request *in = request->in;
    struct broker_group_member *member = member_of_instance(group, in->group_instance_id);
    mr_str id;

    if (member != NULL) {
        join_as_instance(member, request);
        return;
    }
    if (group->members.count + group->pending.count >=
        (size_t)broker_server_number(group->groups->server, BROKER_NODE_group_max_size)) {
        broker_group_join_refuse(request, KAFKA_ERROR_GROUP_MAX_SIZE_REACHED, MR_STR(""));
        return;
    }
    id = member_id_make(request);
    if (in->group_instance_id.data == NULL && request->header.request_api_version >= 4) {
        mr_map_put(&group->pending, id, group);
        if (group->rebalance.loop == NULL) /* an id that is never used is forgotten */
            mr_timer_start(group->groups->server->loop, &group->rebalance,
                           (int64_t)in->session_timeout_ms * 1000);
        broker_group_join_refuse(request, KAFKA_ERROR_MEMBER_ID_REQUIRED, id);
        return;
    }
    join_and_rebalance(member_add(group, request, id), request);
}

static void join_known(struct broker_group_member *member, struct broker_request *request)
{
    struct broker_group *group = member->group;
    bool same = protocols_equal(member, request->in);

    switch (group->state) {
    case BROKER_GROUP_COMPLETING:
        if (same)
            break;
        join_and_rebalance(member, request);
        return;
    case BROKER_GROUP_STABLE:
        if (same && !is_leader(member))
            break;
        join_and_rebalance(member, request);
        return;
    case BROKER_GROUP_EMPTY:
    case BROKER_GROUP_PREPARING:
    case BROKER_GROUP_DEAD:
        join_and_rebalance(member, request);
        return;
    }
    session_restart(member);
    join_answer(member, request); /* it missed the answer: the generation is the present one */
}

static int16_t join_check(const struct broker_request *request)
{
    const struct kafka_join_group_request *in = request->in;
    size_t bytes = 0;

    if (!request->server->ready)
        return KAFKA_ERROR_COORDINATOR_LOAD_IN_PROGRESS;
    if (in->group_id.length == 0)
        return KAFKA_ERROR_INVALID_GROUP_ID;
    if (in->session_timeout_ms <
            broker_server_number(request->server, BROKER_NODE_group_min_session_timeout_ms) ||
        in->session_timeout_ms >
            broker_server_number(request->server, BROKER_NODE_group_max_session_timeout_ms))
        return KAFKA_ERROR_INVALID_SESSION_TIMEOUT;
    if (in->protocol_type.length == 0 || in->protocols.count <= 0)
        return KAFKA_ERROR_INCONSISTENT_GROUP_PROTOCOL;
    for (int32_t i = 0; i < in->protocols.count; i++)
        bytes += in->protocols.items[i].name.length + in->protocols.items[i].metadata.length;
    return bytes > MR_LIMIT_BROKER_MEMBER_BYTES ||
                   in->protocols.count > MR_LIMIT_BROKER_GROUP_PROTOCOLS
               ? KAFKA_ERROR_INVALID_REQUEST
               : KAFKA_ERROR_NONE;
}

static bool join_fits(const struct broker_group *group, const struct kafka_join_group_request *in,
                      const struct broker_group_member *self)
{
    size_t others = group->members.count - (self != NULL ? 1 : 0);

    if (others == 0)
        return true;
    if (!mr_str_equal(mr_str_from(group->protocol_type), in->protocol_type))
        return false;
    for (int32_t i = 0; i < in->protocols.count; i++) {
        mr_str name = in->protocols.items[i].name;
        bool own = self != NULL && supports(self, name, self->protocols.count);
        if (support_of(group, name) - (own ? 1 : 0) >= others)
            return true;
    }
    return false;
}

void broker_group_join_group(struct broker_request *request)
{
    const struct kafka_join_group_request *in = request->in;
    struct broker_groups *groups = &request->server->groups;
    struct broker_group_member *member, *instance;
    struct broker_group *group;
    int16_t code = join_check(request);

    if (code != KAFKA_ERROR_NONE) {
        broker_group_join_refuse(request, code, in->member_id);
        return;
    }
    group = broker_group_find(groups, in->group_id);
    if (group == NULL && in->member_id.length > 0) {
        broker_group_join_refuse(request, KAFKA_ERROR_UNKNOWN_MEMBER_ID, in->member_id);
        return;
    }
    if (group != NULL && group->share != NULL) {
        broker_group_join_refuse(request, KAFKA_ERROR_INCONSISTENT_GROUP_PROTOCOL, in->member_id);
        return;
    }
    if (group != NULL && group->consumer != NULL) {
        if (group->consumer->members.count > 0) {
            broker_migration_join(request, group->consumer);
            return;
        }
        broker_consumer_group_end(group);
    }
    group = broker_group_make(groups, in->group_id);
    member = in->member_id.length > 0 ? member_find(group, in->member_id) : NULL;
    instance = member_of_instance(group, in->group_instance_id);
    if (!join_fits(group, in, member != NULL ? member : instance)) {
        broker_group_join_refuse(request, KAFKA_ERROR_INCONSISTENT_GROUP_PROTOCOL, in->member_id);
    } else if (in->member_id.length == 0) {
        join_new(group, request);
    } else if (instance != NULL && instance != member) {
        broker_group_join_refuse(request, KAFKA_ERROR_FENCED_INSTANCE_ID, in->member_id);
    } else if (member != NULL) {
        join_known(member, request);
    } else if (pending_take(group, in->member_id)) {
        join_and_rebalance(member_add(group, request, in->member_id), request);
    } else {
        broker_group_join_refuse(request, KAFKA_ERROR_UNKNOWN_MEMBER_ID, in->member_id);
    }
}

/* ---- SyncGroup, Heartbeat, LeaveGroup ---- */

/* The member by its id and, if it has one, its instance. */
static int16_t member_check(struct broker_groups *groups, mr_str group_id, mr_str member_id,
                            mr_str instance, struct broker_group_member **out)
{
    struct broker_group *group = broker_group_find(groups, group_id);
    struct broker_group_member *of_instance;

    if (!groups->server->ready)
        return KAFKA_ERROR_COORDINATOR_LOAD_IN_PROGRESS;
    if (group_id.length == 0)
        return KAFKA_ERROR_INVALID_GROUP_ID;
    if (group == NULL)
        return KAFKA_ERROR_UNKNOWN_MEMBER_ID;
    of_instance = member_of_instance(group, instance);
    if (of_instance != NULL && !mr_str_equal(mr_str_from(of_instance->id), member_id))
        return KAFKA_ERROR_FENCED_INSTANCE_ID;
    *out = member_find(group, member_id);
    return *out == NULL || (instance.data != NULL && of_instance == NULL)
               ? KAFKA_ERROR_UNKNOWN_MEMBER_ID
               : KAFKA_ERROR_NONE;
}

static void assignment_take(struct broker_group *group, const struct kafka_sync_group_request *in)
{
    for (size_t i = 0; i < group->members.count; i++) {
        struct broker_group_member *member = group->members.items[i];
        mr_bytes_unref(member->assignment);
        member->assignment = NULL;
    }
    for (int32_t i = 0; i < in->assignments.count; i++) {
        const struct kafka_sync_group_assignment *row = &in->assignments.items[i];
        struct broker_group_member *member = member_find(group, row->member_id);
        if (member != NULL && member->assignment == NULL)
            member->assignment = mr_bytes_copy(row->assignment.data, row->assignment.length);
    }
    group->state = BROKER_GROUP_STABLE;
    group->changed_ms = broker_storage_now_ms(&group->groups->server->storage);
    mr_timer_stop(&group->rebalance);
    group_save(group);
    for (size_t i = 0; i < group->members.count; i++) {
        struct broker_group_member *member = group->members.items[i];
        struct broker_request *syncing = member->syncing;
        member->syncing = NULL;
        if (syncing != NULL)
            sync_answer(member, syncing, KAFKA_ERROR_NONE);
    }
}

static int16_t sync_check(const struct broker_group_member *member,
                          const struct kafka_sync_group_request *in)
{
    const struct broker_group *group = member->group;

    if (in->generation_id != group->generation)
        return KAFKA_ERROR_ILLEGAL_GENERATION;
    if ((in->protocol_type.data != NULL &&
         !mr_str_equal(in->protocol_type, mr_str_from(group->protocol_type))) ||
        (in->protocol_name.data != NULL &&
         !mr_str_equal(in->protocol_name, mr_str_from(group->protocol))))
        return KAFKA_ERROR_INCONSISTENT_GROUP_PROTOCOL;
    return group->state == BROKER_GROUP_PREPARING ? KAFKA_ERROR_REBALANCE_IN_PROGRESS
                                                  : KAFKA_ERROR_NONE;
}

/* The group as one of the consumer protocol, some of whose members may speak the classic one; or NULL. */
static struct broker_consumer_group *consumer_of(struct broker_groups *groups, mr_str id)
{
    const struct broker_group *group = groups->server->ready ? broker_group_find(groups, id) : NULL;
    return group == NULL ? NULL : group->consumer;
}

void broker_group_sync_group(struct broker_request *request)
{
    const struct kafka_sync_group_request *in = request->in;
    struct broker_consumer_group *consumer = consumer_of(&request->server->groups, in->group_id);
    struct broker_group_member *member = NULL;
    int16_t code;

    if (consumer != NULL) {
        broker_migration_sync(request, consumer);
        return;
    }
    code = member_check(&request->server->groups, in->group_id, in->member_id,
                        in->group_instance_id, &member);
    if (code == KAFKA_ERROR_NONE)
        code = sync_check(member, in);
    if (code != KAFKA_ERROR_NONE || member->group->state == BROKER_GROUP_STABLE) {
        sync_answer(member, request, code);
        return;
    }
    session_restart(member);
    if (member->syncing != NULL) {
        struct broker_request *older = member->syncing;
        member->syncing = NULL;
        sync_answer(member, older, KAFKA_ERROR_UNKNOWN_MEMBER_ID);
    }
    member->syncing = request;
    request->work = member;
    request->abandon = sync_abandon;
    if (is_leader(member))
        assignment_take(member->group, in);
}

void broker_group_heartbeat(struct broker_request *request)
{
    const struct kafka_heartbeat_request *in = request->in;
    struct kafka_heartbeat_response *out = request->out;
    struct broker_consumer_group *consumer = consumer_of(&request->server->groups, in->group_id);
    struct broker_group_member *member = NULL;

    if (consumer != NULL) {
        out->error_code = broker_migration_heartbeat(consumer, in);
        broker_server_answer(request);
        return;
    }
    out->error_code = member_check(&request->server->groups, in->group_id, in->member_id,
                                   in->group_instance_id, &member);
    if (out->error_code == KAFKA_ERROR_NONE && in->generation_id != member->group->generation)
        out->error_code = KAFKA_ERROR_ILLEGAL_GENERATION;
    if (out->error_code == KAFKA_ERROR_NONE) {
        session_restart(member);
        if (member->group->state == BROKER_GROUP_PREPARING)
            out->error_code = KAFKA_ERROR_REBALANCE_IN_PROGRESS;
    }
    broker_server_answer(request);
}

static int16_t leave_one(struct broker_groups *groups, mr_str group_id, mr_str member_id,
                         mr_str instance)
{
    struct broker_group *group = broker_group_find(groups, group_id);
    struct broker_group_member *member;

    if (group == NULL)
        return KAFKA_ERROR_UNKNOWN_MEMBER_ID;
    if (group->consumer != NULL)
        return broker_migration_leave(group->consumer, member_id, instance);
    if (instance.data != NULL) {
        member = member_of_instance(group, instance);
        if (member != NULL && member_id.length > 0 &&
            !mr_str_equal(mr_str_from(member->id), member_id))
            return KAFKA_ERROR_FENCED_INSTANCE_ID;
    } else {
        member = member_find(group, member_id);
        if (member == NULL && pending_take(group, member_id)) {
            rebalance_check(group);
            return KAFKA_ERROR_NONE;
        }
    }
    if (member == NULL)
        return KAFKA_ERROR_UNKNOWN_MEMBER_ID;
    member_remove(member, KAFKA_ERROR_UNKNOWN_MEMBER_ID);
    return KAFKA_ERROR_NONE;
}

void broker_group_leave_group(struct broker_request *request)
{
    const struct kafka_leave_group_request *in = request->in;
    struct kafka_leave_group_response *out = request->out;
    struct broker_groups *groups = &request->server->groups;

    if (!request->server->ready || in->group_id.length == 0) {
        out->error_code = request->server->ready ? KAFKA_ERROR_INVALID_GROUP_ID
                                                 : KAFKA_ERROR_COORDINATOR_LOAD_IN_PROGRESS;
    } else if (request->header.request_api_version < 3) {
        out->error_code = leave_one(groups, in->group_id, in->member_id, MR_STR_NULL);
    } else {
        out->members.items = mr_arena_array(
            &request->arena, struct kafka_leave_group_response_member, (size_t)in->members.count);
        out->members.count = in->members.count;
        for (int32_t i = 0; i < in->members.count; i++) {
            const struct kafka_leave_group_request_member *asked = &in->members.items[i];
            out->members.items[i] = (struct kafka_leave_group_response_member){
                asked->member_id, asked->group_instance_id,
                leave_one(groups, in->group_id, asked->member_id, asked->group_instance_id)};
        }
    }
    broker_server_answer(request);
}

/* ---- from the other protocol ---- */

struct broker_group_member *broker_group_adopt(struct broker_group *group, mr_str id,
                                               mr_str instance)
{
    struct broker_group_member *member = mr_new(struct broker_group_member);

    member->group = group;
    member->id = mr_copy_cstr(id);
    text_set(&member->instance_id, instance);
    member->session.run = member_silent;
    member_list(member);
    *mr_array_add(&group->members) = member;
    return member;
}

void broker_group_begin_classic(struct broker_group *group, int32_t generation,
                                struct broker_journal *journal)
{
    const char *protocol;

    for (size_t i = 0; i < group->members.count; i++)
        support_change(group->members.items[i], 1);
    protocol = protocol_choose(group);
    mr_assert(protocol != NULL); /* as in rebalance_end() */
    group->generation = generation;
    group->state = BROKER_GROUP_STABLE;
    group->changed_ms = broker_storage_now_ms(&group->groups->server->storage);
    text_set(&group->protocol_type, MR_STR("consumer"));
    text_set(&group->protocol, mr_str_from(protocol));
    text_set(&group->leader, mr_str_from(group->members.items[0]->id));
    for (size_t i = 0; i < group->members.count; i++)
        session_restart(group->members.items[i]);
    group_put(group, false, journal);
}

void broker_group_rebalance(struct broker_group *group)
{
    rebalance_begin(group);
}

/* ---- what commits ask ---- */

int16_t broker_group_check_commit(struct broker_group *group, mr_str member_id,
                                  mr_str group_instance_id, int32_t generation, bool txn,
                                  int16_t version)
{
    struct broker_group_member *member = NULL;
    int16_t code;

    if (group->share != NULL)
        return KAFKA_ERROR_GROUP_ID_NOT_FOUND; /* it commits nothing */
    if (group->consumer != NULL)
        return broker_consumer_group_check_commit(group->consumer, member_id, generation, txn,
                                                  version);
    if (generation < 0 && member_id.length == 0 && group_instance_id.data == NULL &&
        (txn || group->state == BROKER_GROUP_EMPTY))
        return KAFKA_ERROR_NONE; /* not by a member */
    if (group->state == BROKER_GROUP_EMPTY)
        return generation >= 0 ? KAFKA_ERROR_ILLEGAL_GENERATION : KAFKA_ERROR_UNKNOWN_MEMBER_ID;
    code = member_check(group->groups, mr_str_from(group->id), member_id, group_instance_id,
                        &member);
    if (code != KAFKA_ERROR_NONE)
        return code;
    if (generation != group->generation)
        return KAFKA_ERROR_ILLEGAL_GENERATION;
    if (!txn && group->state == BROKER_GROUP_COMPLETING)
        return KAFKA_ERROR_REBALANCE_IN_PROGRESS;
    session_restart(member);
    return KAFKA_ERROR_NONE;
}

/* ---- kept over a restart ---- */

static mr_str take_str16(struct mr_in *in)
{
    uint16_t length = mr_in_be16(in);
    return length == UINT16_MAX ? MR_STR_NULL : mr_in_take(in, length);
}

static mr_str take_bytes32(struct mr_in *in)
{
    uint32_t length = mr_in_be32(in);
    return mr_in_take(in, length);
}

static void member_restore(struct broker_group *group, struct mr_in *in, uint16_t version)
{
    struct broker_group_member *member = mr_new(struct broker_group_member);
    mr_str subscription, assignment;

    member->group = group;
    member->session.run = member_silent;
    member->id = mr_copy_cstr(take_str16(in));
    if (version >= 3)
        text_set(&member->instance_id, take_str16(in));
    member->client_id = mr_copy_cstr(take_str16(in));
    member->client_host = mr_copy_cstr(take_str16(in));
    member->rebalance_timeout_ms = version >= 1 ? (int32_t)mr_in_be32(in) : 0;
    member->session_timeout_ms = (int32_t)mr_in_be32(in);
    subscription = take_bytes32(in);
    assignment = take_bytes32(in);
    if (in->err != MR_OK || group->protocol == NULL) {
        member_free(member);
        return;
    }
    broker_group_protocols_add(&member->protocols, mr_str_from(group->protocol), subscription);
    member->assignment = mr_bytes_copy(assignment.data, assignment.length);
    member_list(member);
    support_change(member, 1);
    *mr_array_add(&group->members) = member;
}

static void group_restore(struct broker_groups *groups, mr_str id, mr_str value)
{
    struct broker_group *group = broker_group_find(groups, id);
    struct mr_in in = mr_in_str(value);
    uint16_t version;
    uint32_t count;

    if (value.data == NULL) { /* deleted, or gone over to the consumer protocol with its offsets */
        if (group != NULL) {
            broker_group_forget_classic(group);
            broker_group_forget_empty(groups, group);
        }
        return;
    }
    group = broker_group_make(groups, id);
    broker_consumer_group_free(group->consumer);
    group->consumer = NULL;
    for (size_t i = 0; i < group->members.count; i++)
        member_free(group->members.items[i]);
    group->members.count = 0;
    version = mr_in_be16(&in);
    text_set(&group->protocol_type, take_str16(&in));
    group->generation = (int32_t)mr_in_be32(&in);
    text_set(&group->protocol, take_str16(&in));
    text_set(&group->leader, take_str16(&in));
    if (version >= 2)
        group->changed_ms = (int64_t)mr_in_be64(&in);
    count = mr_in_be32(&in);
    for (uint32_t i = 0; i < count && in.err == MR_OK; i++)
        member_restore(group, &in, version);
    group->state = group->members.count > 0 ? BROKER_GROUP_STABLE : BROKER_GROUP_EMPTY;
}

struct groups_replay {
    struct broker_replay replay;
    struct broker_groups *groups;
};

static void replay_record(struct broker_replay *replay, const struct broker_batch *batch,
                          const struct kafka_record *record)
{
    struct broker_groups *groups = mr_container(replay, struct groups_replay, replay)->groups;
    struct mr_in in = mr_in_str(record->key);
    uint16_t version = mr_in_be16(&in);

    if (version <= 1)
        broker_offsets_replay(groups, record->key, record->value, batch->producer_id,
                              (batch->attributes & BROKER_BATCH_TRANSACTIONAL) != 0,
                              record->offset);
    else if (version == 2)
        group_restore(groups, take_str16(&in), record->value);
    else if (version >= BROKER_SHARE_RECORDS_FIRST && version <= BROKER_SHARE_RECORDS_LAST)
        broker_share_replay(groups, version, record->key, record->value);
    else
        broker_consumer_replay(groups, version, record->key, record->value);
}

static void replay_marker(struct broker_replay *replay, const struct broker_batch *batch,
                          bool commit)
{
    struct broker_groups *groups = mr_container(replay, struct groups_replay, replay)->groups;
    broker_groups_txn_end(groups, batch->producer_id, commit);
}

mr_err broker_groups_load(struct broker_groups *groups, struct broker_log *log)
{
    struct groups_replay replay = {{replay_record, replay_marker}, groups};
    return broker_journal_replay(log, &replay.replay);
}

void broker_groups_start(struct broker_groups *groups)
{
    struct mr_map_entry *entry;

    for (size_t i = 0; (entry = mr_map_next(&groups->by_id, &i)) != NULL;) {
        struct broker_group *group = entry->value;
        for (size_t j = 0; j < group->members.count; j++)
            session_restart(group->members.items[j]);
        if (group->consumer != NULL)
            broker_consumer_group_start(group->consumer);
        if (group->share != NULL)
            broker_share_group_start(group->share);
    }
    broker_share_bury_orphans(groups);
    broker_offsets_start(groups);
}

void broker_groups_init(struct broker_groups *groups, struct broker_server *server)
{
    *groups = (struct broker_groups){.server = server};
}

void broker_groups_fini(struct broker_groups *groups)
{
    struct mr_map_entry *entry;

    mr_timer_stop(&groups->expiry);
    for (size_t i = 0; (entry = mr_map_next(&groups->by_id, &i)) != NULL;)
        broker_group_free(entry->value);
    mr_map_fini(&groups->by_id);
    mr_map_fini(&groups->share_orphans);
}
