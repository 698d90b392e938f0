/* shell/group.c: `millrace group`. Output as kafka-consumer-groups.sh prints it, since scripts read that. */
#include "shell/room.h"
#include "shell/times.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- names ---- */

struct group {
    mr_str name, state, type;
};
struct groups {
    struct shell *shell;
    struct shell_call call;
    MR_ARRAY(int32_t) nodes;
    MR_ARRAY(struct group) list;
};

static void nodes_told(void *context, mr_err err, const struct kafka_metadata_response *metadata)
{
    struct groups *groups = context;
    for (int32_t i = 0; err == MR_OK && i < metadata->brokers.count; i++)
        *mr_array_add(&groups->nodes) = metadata->brokers.items[i].node_id;
    shell_done(&groups->call, err);
}

static void list_fill(void *context, int16_t version, struct mr_arena *arena, void *request)
{
    (void)context, (void)version, (void)arena, (void)request;
}

static int16_t list_use(void *context, int16_t version, const void *response)
{
    struct groups *groups = context;
    struct mr_arena *arena = &groups->shell->arena;
    const struct kafka_list_groups_response *listed = response;
    for (int32_t i = 0; listed->error_code == KAFKA_ERROR_NONE && i < listed->groups.count; i++) {
        const struct kafka_list_groups_group *one = &listed->groups.items[i];
        *mr_array_add(&groups->list) = (struct group){
            mr_arena_str(arena, one->group_id),
            version >= 4 ? mr_arena_str(arena, one->group_state) : MR_STR("Unknown"),
            version >= 5 ? mr_arena_str(arena, one->group_type) : MR_STR("classic")};
    }
    return listed->error_code;
}

static int group_compare(const void *a, const void *b)
{
    const struct group *x = a, *y = b;
    return mr_str_compare(x->name, y->name);
}

/* Every coordinator knows its own groups only. */
static mr_err find_groups(struct groups *groups)
{
    kafka_admin_topics(groups->shell->kafka, nodes_told, groups);
    mr_err err = shell_result(groups->shell, &groups->call);
    for (size_t i = 0; i < groups->nodes.count && err == MR_OK; i++)
        err = shell_ask(
            groups->shell,
            (struct kafka_target){KAFKA_TARGET_NODE, MR_STR_NULL, groups->nodes.items[i]},
            KAFKA_API_list_groups, list_fill, list_use, groups, "groups");
    if (groups->list.count > 0)
        qsort(groups->list.items, groups->list.count, sizeof groups->list.items[0], group_compare);
    return err;
}

static void groups_fini(struct groups *groups)
{
    mr_array_fini(&groups->nodes);
    mr_array_fini(&groups->list);
}

static mr_err group_list(struct shell *shell)
{
    struct groups groups = {.shell = shell};
    mr_err err = find_groups(&groups);
    bool state = shell->options.state.count > 0;
    if (err == MR_OK && state)
        printf("%-30s %-12s %s\n", "GROUP", "TYPE", "STATE");
    for (size_t i = 0; err == MR_OK && i < groups.list.count; i++) {
        const struct group *one = &groups.list.items[i];
        if (state)
            printf("%-30.*s %-12.*s %.*s\n", MR_STR_ARG(one->name), MR_STR_ARG(one->type),
                   MR_STR_ARG(one->state));
        else
            printf("%.*s\n", MR_STR_ARG(one->name));
    }
    groups_fini(&groups);
    return err;
}

/* Runs `each` for the groups that --group and --all-groups mean. */
static mr_err for_each(struct shell *shell, mr_err (*each)(struct shell *shell, mr_str group))
{
    struct groups groups = {.shell = shell};
    mr_err err = MR_OK;
    if (shell->options.all_groups.count > 0)
        err = find_groups(&groups);
    else if (shell->options.group.count == 0)
        err = mr_fail(MR_INVALID, "expected --group NAME or --all-groups");
    for (size_t i = 0; i < groups.list.count && err == MR_OK; i++)
        err = each(shell, groups.list.items[i].name);
    for (size_t i = 0; i < shell->options.group.count && groups.list.count == 0 && err == MR_OK;
         i++)
        err = each(shell, mr_str_from(shell->options.group.items[i]));
    groups_fini(&groups);
    return err;
}

/* ---- one group ---- */

struct owned {
    mr_str topic;
    int32_t partition;
    size_t member;
};
struct member {
    mr_str id, client, host;
    size_t partitions;
};
struct described {
    struct shell *shell;
    mr_str name, state, strategy;
    bool share; /* it is a share group (KIP-932) */
    MR_ARRAY(struct member) members;
    MR_ARRAY(struct owned) owned;
};

static void describe_fill(void *context, int16_t version, struct mr_arena *arena, void *request)
{
    const struct described *described = context;
    struct kafka_describe_groups_request *describe = request;
    (void)version;
    describe->groups.items = mr_arena_array(arena, wire_string, 1);
    describe->groups.items[0] = described->name;
    describe->groups.count = 1;
}

/* ConsumerProtocolAssignment: version, then topics with their partitions. */
static void read_assignment(struct described *described, mr_str bytes, size_t member)
{
    struct mr_in in = mr_in_str(bytes);
    mr_in_be16(&in);
    uint32_t topics = mr_in_be32(&in);
    for (uint32_t i = 0; i < topics && in.err == MR_OK; i++) {
        uint16_t length = mr_in_be16(&in);
        mr_str topic = mr_in_take(&in, length);
        uint32_t partitions = mr_in_be32(&in);
        if (in.err == MR_OK)
            topic = mr_arena_str(&described->shell->arena, topic);
        for (uint32_t k = 0; k < partitions && in.err == MR_OK; k++) {
            int32_t partition = (int32_t)mr_in_be32(&in);
            if (in.err != MR_OK)
                break;
            *mr_array_add(&described->owned) = (struct owned){topic, partition, member};
            described->members.items[member].partitions++;
        }
    }
}

static int16_t describe_use(void *context, int16_t version, const void *response)
{
    struct described *described = context;
    struct mr_arena *arena = &described->shell->arena;
    const struct kafka_describe_groups_response *answer = response;
    (void)version;
    if (answer->groups.count == 0)
        return KAFKA_ERROR_UNKNOWN_SERVER_ERROR;
    const struct kafka_describe_groups_group *group = &answer->groups.items[0];
    described->members.count = described->owned.count = 0;
    described->state = mr_arena_str(arena, group->group_state);
    described->strategy = mr_arena_str(arena, group->protocol_data);
    for (int32_t i = 0; i < group->members.count; i++) {
        const struct kafka_describe_groups_member *one = &group->members.items[i];
        *mr_array_add(&described->members) = (struct member){
            mr_arena_str(arena, one->member_id), mr_arena_str(arena, one->client_id),
            mr_arena_str(arena, one->client_host), 0};
        if (mr_str_equal(group->protocol_type, MR_STR("consumer")))
            read_assignment(described, one->member_assignment, (size_t)i);
    }
    return group->error_code;
}

/* The same of a group of the consumer protocol (KIP-848), which DescribeGroups does not know. */
static void describe_new_fill(void *context, int16_t version, struct mr_arena *arena, void *request)
{
    const struct described *described = context;
    struct kafka_consumer_group_describe_request *describe = request;
    (void)version;
    describe->group_ids.items = mr_arena_array(arena, wire_string, 1);
    describe->group_ids.items[0] = described->name;
    describe->group_ids.count = 1;
}

/* What a member of either kind reads. */
static void describe_assignment(struct described *described,
                                const struct kafka_consumer_group_describe_assignment *assignment)
{
    size_t at = described->members.count - 1;
    for (int32_t k = 0; k < assignment->topic_partitions.count; k++) {
        const struct kafka_consumer_group_describe_topic *topic =
            &assignment->topic_partitions.items[k];
        mr_str name = mr_arena_str(&described->shell->arena, topic->topic_name);
        described->members.items[at].partitions += (size_t)topic->partitions.count;
        for (int32_t p = 0; p < topic->partitions.count; p++)
            *mr_array_add(&described->owned) = (struct owned){name, topic->partitions.items[p], at};
    }
}

static int16_t describe_new_use(void *context, int16_t version, const void *response)
{
    struct described *described = context;
    struct mr_arena *arena = &described->shell->arena;
    const struct kafka_consumer_group_describe_response *answer = response;
    (void)version;
    if (answer->groups.count == 0)
        return KAFKA_ERROR_UNKNOWN_SERVER_ERROR;
    const struct kafka_consumer_group_describe_group *group = &answer->groups.items[0];
    described->members.count = described->owned.count = 0;
    described->state = mr_arena_str(arena, group->group_state);
    described->strategy = mr_arena_str(arena, group->assignor_name);
    for (int32_t i = 0; i < group->members.count; i++) {
        const struct kafka_consumer_group_describe_member *one = &group->members.items[i];
        *mr_array_add(&described->members) = (struct member){
            mr_arena_str(arena, one->member_id), mr_arena_str(arena, one->client_id),
            mr_arena_str(arena, one->client_host), 0};
        describe_assignment(described, &one->assignment);
    }
    return group->error_code;
}

/* And of a share group (KIP-932). */
static void describe_share_fill(void *context, int16_t version, struct mr_arena *arena,
                                void *request)
{
    const struct described *described = context;
    struct kafka_share_group_describe_request *describe = request;
    (void)version;
    describe->group_ids.items = mr_arena_array(arena, wire_string, 1);
    describe->group_ids.items[0] = described->name;
    describe->group_ids.count = 1;
}

static int16_t describe_share_use(void *context, int16_t version, const void *response)
{
    struct described *described = context;
    struct mr_arena *arena = &described->shell->arena;
    const struct kafka_share_group_describe_response *answer = response;
    (void)version;
    if (answer->groups.count == 0)
        return KAFKA_ERROR_UNKNOWN_SERVER_ERROR;
    const struct kafka_share_group_describe_group *group = &answer->groups.items[0];
    described->members.count = described->owned.count = 0;
    described->share = group->error_code == KAFKA_ERROR_NONE;
    described->state = mr_arena_str(arena, group->group_state);
    described->strategy = mr_arena_str(arena, group->assignor_name);
    for (int32_t i = 0; i < group->members.count; i++) {
        const struct kafka_share_group_describe_member *one = &group->members.items[i];
        *mr_array_add(&described->members) = (struct member){
            mr_arena_str(arena, one->member_id), mr_arena_str(arena, one->client_id),
            mr_arena_str(arena, one->client_host), 0};
        describe_assignment(described, &one->assignment);
    }
    return group->error_code;
}

static void described_fini(struct described *described)
{
    mr_array_fini(&described->members);
    mr_array_fini(&described->owned);
}

static mr_err describe(struct shell *shell, mr_str group, struct described *out)
{
    *out = (struct described){.shell = shell, .name = group};
    mr_err err = shell_ask(shell, (struct kafka_target){KAFKA_TARGET_GROUP, group, 0},
                           KAFKA_API_describe_groups, describe_fill, describe_use, out,
                           mr_arena_cstr(&shell->arena, group));
    bool classic = err == MR_OK && !mr_str_equal(out->state, MR_STR("Dead"));
    if (!classic && (err == MR_OK || err == MR_NOT_FOUND)) {
        mr_err asked = shell_ask(shell, (struct kafka_target){KAFKA_TARGET_GROUP, group, 0},
                                 KAFKA_API_consumer_group_describe, describe_new_fill,
                                 describe_new_use, out, mr_arena_cstr(&shell->arena, group));
        err = asked == MR_UNSUPPORTED ? MR_NOT_FOUND : asked; /* an older log has none such */
    }
    if (err == MR_NOT_FOUND) {
        mr_err asked = shell_ask(shell, (struct kafka_target){KAFKA_TARGET_GROUP, group, 0},
                                 KAFKA_API_share_group_describe, describe_share_fill,
                                 describe_share_use, out, mr_arena_cstr(&shell->arena, group));
        err = asked == MR_UNSUPPORTED ? MR_NOT_FOUND : asked;
    }
    if (err == MR_NOT_FOUND)
        err = mr_fail(MR_NOT_FOUND, "group %.*s: there is none of this name", MR_STR_ARG(group));
    return err;
}

static const struct member *owner_of(const struct described *described, mr_str topic,
                                     int32_t partition)
{
    for (size_t i = 0; i < described->owned.count; i++)
        if (described->owned.items[i].partition == partition &&
            mr_str_equal(described->owned.items[i].topic, topic))
            return &described->members.items[described->owned.items[i].member];
    return NULL;
}

static void print_number(int64_t number, int width)
{
    char text[32] = "-";
    if (number >= 0)
        snprintf(text, sizeof text, "%lld", (long long)number);
    printf("%-*s ", width, text);
}

/* Committed partitions, then those that a member owns and has not committed yet. */
static mr_err print_offsets(struct shell *shell, const struct described *described)
{
    struct kafka_offset *offsets, *ends;
    size_t count, all;
    mr_err err = shell_group_offsets(shell, described->name, &offsets, &count);
    if (err != MR_OK)
        return err;
    ends = mr_arena_array(&shell->arena, struct kafka_offset, count + described->owned.count + 1);
    if (count > 0)
        memcpy(ends, offsets, count * sizeof ends[0]);
    all = count;
    for (size_t i = 0; i < described->owned.count; i++) {
        const struct owned *owned = &described->owned.items[i];
        size_t at = 0;
        while (at < count && !(offsets[at].partition == owned->partition &&
                               mr_str_equal(offsets[at].topic, owned->topic)))
            at++;
        if (at == count)
            ends[all++] = (struct kafka_offset){owned->topic, owned->partition, -1, 0};
    }
    int64_t *committed = mr_arena_array(&shell->arena, int64_t, all + 1);
    for (size_t i = 0; i < all; i++) {
        committed[i] = ends[i].offset;
        ends[i].timestamp = KAFKA_OFFSET_LATEST;
    }
    err = shell_offsets(shell, ends, all, false);
    if (err != MR_OK)
        return err;
    printf("\n%-20s %-24s %-10s %-15s %-15s %-10s %-44s %-16s %s\n", "GROUP", "TOPIC", "PARTITION",
           "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG", "CONSUMER-ID", "HOST", "CLIENT-ID");
    for (size_t i = 0; i < all; i++) {
        const struct member *owner = owner_of(described, ends[i].topic, ends[i].partition);
        printf("%-20.*s %-24.*s %-10d ", MR_STR_ARG(described->name), MR_STR_ARG(ends[i].topic),
               ends[i].partition);
        print_number(committed[i], 15);
        print_number(ends[i].offset, 15);
        print_number(committed[i] < 0 ? -1 : ends[i].offset - committed[i], 10);
        printf("%-44.*s %-16.*s %.*s\n", MR_STR_ARG(owner == NULL ? MR_STR("-") : owner->id),
               MR_STR_ARG(owner == NULL ? MR_STR("-") : owner->host),
               MR_STR_ARG(owner == NULL ? MR_STR("-") : owner->client));
    }
    return MR_OK;
}

static void share_offsets_fill(void *context, int16_t version, struct mr_arena *arena,
                               void *request)
{
    const struct described *described = context;
    struct kafka_describe_share_group_offsets_request *describe = request;
    (void)version;
    describe->groups.items = mr_arena_array(
        arena, struct kafka_describe_share_group_offsets_request_group, 1);
    describe->groups.items[0].group_id = described->name;
    describe->groups.items[0].topics.count = -1;
    describe->groups.count = 1;
}

static int16_t share_offsets_use(void *context, int16_t version, const void *response)
{
    const struct kafka_describe_share_group_offsets_response *answer = response;
    (void)context, (void)version;
    if (answer->groups.count == 0)
        return KAFKA_ERROR_UNKNOWN_SERVER_ERROR;
    const struct kafka_describe_share_group_offsets_response_group *group =
        &answer->groups.items[0];
    if (group->error_code != KAFKA_ERROR_NONE)
        return group->error_code;
    printf("\n%-20s %-24s %-10s %-15s %s\n", "GROUP", "TOPIC", "PARTITION", "START-OFFSET", "LAG");
    for (int32_t i = 0; i < group->topics.count; i++)
        for (int32_t k = 0; k < group->topics.items[i].partitions.count; k++) {
            const struct kafka_describe_share_group_offsets_response_partition *row =
                &group->topics.items[i].partitions.items[k];
            printf("%-20.*s %-24.*s %-10d ", MR_STR_ARG(group->group_id),
                   MR_STR_ARG(group->topics.items[i].topic_name), row->partition_index);
            print_number(row->start_offset, 15);
            print_number(row->lag, 0);
            printf("\n");
        }
    return KAFKA_ERROR_NONE;
}

/* Where a share group stands; its members read partitions together, so none of them is told beside one. */
static mr_err print_share_offsets(struct shell *shell, struct described *described)
{
    return shell_ask(shell, (struct kafka_target){KAFKA_TARGET_GROUP, described->name, 0},
                     KAFKA_API_describe_share_group_offsets, share_offsets_fill, share_offsets_use,
                     described, mr_arena_cstr(&shell->arena, described->name));
}

static mr_err print_group(struct shell *shell, mr_str group)
{
    struct described described;
    mr_err err = describe(shell, group, &described);
    if (err == MR_OK && described.members.count == 0)
        fprintf(stderr, "%s group '%.*s' has no active members.\n",
                described.share ? "Share" : "Consumer", MR_STR_ARG(group));
    if (err == MR_OK && shell->options.state.count > 0) {
        printf("\n%-20s %-20s %-15s %s\n", "GROUP", "ASSIGNMENT-STRATEGY", "STATE", "#MEMBERS");
        printf("%-20.*s %-20.*s %-15.*s %zu\n", MR_STR_ARG(group),
               MR_STR_ARG(described.strategy.length == 0 ? MR_STR("-") : described.strategy),
               MR_STR_ARG(described.state), described.members.count);
    } else if (err == MR_OK && shell->options.members.count > 0) {
        printf("\n%-20s %-44s %-16s %-16s %s\n", "GROUP", "CONSUMER-ID", "HOST", "CLIENT-ID",
               "#PARTITIONS");
        for (size_t i = 0; i < described.members.count; i++) {
            const struct member *one = &described.members.items[i];
            printf("%-20.*s %-44.*s %-16.*s %-16.*s %zu\n", MR_STR_ARG(group), MR_STR_ARG(one->id),
                   MR_STR_ARG(one->host), MR_STR_ARG(one->client), one->partitions);
        }
    } else if (err == MR_OK) {
        err = described.share ? print_share_offsets(shell, &described)
                              : print_offsets(shell, &described);
    }
    described_fini(&described);
    return err;
}

static mr_err group_describe(struct shell *shell)
{
    return for_each(shell, print_group);
}

/* ---- delete ---- */

static void delete_fill(void *context, int16_t version, struct mr_arena *arena, void *request)
{
    struct kafka_delete_groups_request *deletion = request;
    (void)version;
    deletion->groups_names.items = mr_arena_array(arena, wire_string, 1);
    deletion->groups_names.items[0] = *(const mr_str *)context;
    deletion->groups_names.count = 1;
}

static int16_t delete_use(void *context, int16_t version, const void *response)
{
    const struct kafka_delete_groups_response *deleted = response;
    (void)context, (void)version;
    return deleted->results.count == 0 ? KAFKA_ERROR_UNKNOWN_SERVER_ERROR
                                       : deleted->results.items[0].error_code;
}

static mr_err delete_one(struct shell *shell, mr_str group)
{
    mr_err err = shell_ask(shell, (struct kafka_target){KAFKA_TARGET_GROUP, group, 0},
                           KAFKA_API_delete_groups, delete_fill, delete_use, &group,
                           mr_arena_cstr(&shell->arena, group));
    if (err == MR_OK)
        printf("Deleted group %.*s.\n", MR_STR_ARG(group));
    return err;
}

static mr_err group_delete(struct shell *shell)
{
    return for_each(shell, delete_one);
}

/* ---- the partitions that --topic and --all-topics mean ---- */

struct scope {
    MR_ARRAY(struct kafka_offset) list;
};

static mr_err scope_add(struct shell *shell, struct scope *scope, mr_str spec)
{
    ptrdiff_t colon = mr_str_find_byte(spec, ':');
    mr_str name = mr_str_slice(spec, 0, colon < 0 ? spec.length : (size_t)colon), part;
    mr_str rest = mr_str_slice(spec, (size_t)colon + 1, spec.length);
    int32_t partitions = 0;
    int64_t number = 0;
    mr_err err = shell_partitions(shell, name, &partitions);
    for (int32_t i = 0; err == MR_OK && colon < 0 && i < partitions; i++)
        *mr_array_add(&scope->list) = (struct kafka_offset){name, i, -1, 0};
    while (err == MR_OK && colon >= 0 && mr_str_split(&rest, ',', &part)) {
        if (mr_str_to_i64(part, &number) != MR_OK || number < 0 || number >= partitions)
            return mr_fail(MR_INVALID, "--topic %.*s: `%.*s` is none of the %d partitions",
                           MR_STR_ARG(spec), MR_STR_ARG(part), partitions);
        *mr_array_add(&scope->list) = (struct kafka_offset){name, (int32_t)number, -1, 0};
    }
    return err;
}

/* With where the group is in each partition; -1: nowhere yet. */
static mr_err scope_read(struct shell *shell, mr_str group, struct scope *scope)
{
    const struct shell_options *options = &shell->options;
    struct kafka_offset *held;
    size_t count;
    mr_err err = shell_group_offsets(shell, group, &held, &count);
    for (size_t i = 0; err == MR_OK && options->all_topics.count > 0 && i < count; i++)
        *mr_array_add(&scope->list) = held[i];
    for (size_t i = 0; err == MR_OK && i < options->topic.count; i++)
        err = scope_add(shell, scope, mr_str_from(options->topic.items[i]));
    if (err == MR_OK && options->topic.count + options->all_topics.count == 0)
        err = mr_fail(MR_INVALID, "expected --topic NAME or --all-topics");
    for (size_t i = 0; err == MR_OK && i < scope->list.count; i++)
        for (size_t k = 0; k < count; k++)
            if (held[k].partition == scope->list.items[i].partition &&
                mr_str_equal(held[k].topic, scope->list.items[i].topic))
                scope->list.items[i].offset = held[k].offset;
    return err;
}

/* ---- delete offsets ---- */

struct forgetting {
    mr_str group;
    const struct scope *scope;
};

static void forget_fill(void *context, int16_t version, struct mr_arena *arena, void *request)
{
    const struct forgetting *forgetting = context;
    const struct scope *scope = forgetting->scope;
    struct kafka_offset_delete_request *deletion = request;
    (void)version;
    deletion->group_id = forgetting->group;
    deletion->topics.items = mr_arena_array(arena, struct kafka_offset_delete_request_topic,
                                            scope->list.count + 1);
    for (size_t i = 0; i < scope->list.count; i++) {
        struct kafka_offset_delete_request_topic *topic =
            &deletion->topics.items[deletion->topics.count++];
        topic->name = scope->list.items[i].topic;
        topic->partitions.items = mr_arena_array(arena,
                                                 struct kafka_offset_delete_request_partition, 1);
        topic->partitions.items[0].partition_index = scope->list.items[i].partition;
        topic->partitions.count = 1;
    }
}

static int16_t forget_use(void *context, int16_t version, const void *response)
{
    const struct kafka_offset_delete_response *deleted = response;
    int16_t code = deleted->error_code;
    (void)context, (void)version;
    for (int32_t i = 0; i < deleted->topics.count; i++)
        for (int32_t k = 0; k < deleted->topics.items[i].partitions.count; k++)
            if (code == KAFKA_ERROR_NONE)
                code = deleted->topics.items[i].partitions.items[k].error_code;
    return code;
}

static mr_err forget_one(struct shell *shell, mr_str group)
{
    struct scope scope = {0};
    struct forgetting forgetting = {group, &scope};
    mr_err err = scope_read(shell, group, &scope);
    if (err == MR_OK && scope.list.count > 0)
        err = shell_ask(shell, (struct kafka_target){KAFKA_TARGET_GROUP, group, 0},
                        KAFKA_API_offset_delete, forget_fill, forget_use, &forgetting,
                        mr_arena_cstr(&shell->arena, group));
    mr_array_fini(&scope.list);
    return err;
}

static mr_err group_forget(struct shell *shell)
{
    return for_each(shell, forget_one);
}

/* ---- reset offsets ---- */

/* What a wished offset is asked as, by time; the offset itself where it is a number. */
static mr_err wish_read(const struct shell *shell, int64_t now_ms, int64_t *time, int64_t *number)
{
    const struct shell_options *options = &shell->options;
    size_t said = options->to_earliest.count + options->to_latest.count +
                  options->to_current.count + options->to_offset.count + options->shift_by.count +
                  options->to_datetime.count + options->by_duration.count;
    int64_t duration_ms;
    *time = KAFKA_OFFSET_LATEST;
    *number = 0;
    if (said != 1)
        return mr_fail(MR_INVALID, "expected exactly one of --to-earliest, --to-latest, "
                                   "--to-current, --to-offset, --shift-by, --to-datetime, "
                                   "--by-duration");
    if (options->to_earliest.count > 0)
        *time = KAFKA_OFFSET_EARLIEST;
    if (options->to_datetime.count > 0)
        return shell_time_parse(mr_str_from(shell_text(&options->to_datetime)), time);
    if (options->by_duration.count > 0) {
        mr_err err = shell_duration_parse(mr_str_from(shell_text(&options->by_duration)),
                                          &duration_ms);
        *time = now_ms - (err == MR_OK ? duration_ms : 0);
        return err;
    }
    mr_err err = shell_number(&options->to_offset, "--to-offset", 0, INT64_MAX, number);
    return err == MR_OK
               ? shell_number(&options->shift_by, "--shift-by", -INT64_MAX, INT64_MAX, number)
               : err;
}

/* The offsets that the group shall have, in place. */
static mr_err plan(struct shell *shell, struct scope *scope)
{
    const struct shell_options *options = &shell->options;
    size_t count = scope->list.count;
    struct kafka_offset *first = mr_arena_array(&shell->arena, struct kafka_offset, count + 1),
                        *last = mr_arena_array(&shell->arena, struct kafka_offset, count + 1),
                        *asked = mr_arena_array(&shell->arena, struct kafka_offset, count + 1);
    int64_t time, number;
    mr_err err = wish_read(shell, mr_clock_wall_us(mr_loop_clock(shell->loop)) / 1000, &time,
                           &number);
    for (size_t i = 0; i < count; i++) {
        first[i] = last[i] = asked[i] = scope->list.items[i];
        first[i].timestamp = KAFKA_OFFSET_EARLIEST;
        last[i].timestamp = KAFKA_OFFSET_LATEST;
        asked[i].timestamp = time;
    }
    if (err == MR_OK)
        err = shell_offsets(shell, first, count, false);
    if (err == MR_OK)
        err = shell_offsets(shell, last, count, false);
    if (err == MR_OK)
        err = shell_offsets(shell, asked, count, false);
    for (size_t i = 0; err == MR_OK && i < count; i++) {
        int64_t here = scope->list.items[i].offset, wish = asked[i].offset;
        if (options->to_offset.count > 0)
            wish = number;
        if (options->shift_by.count > 0)
            wish = here >= 0 ? here + number : last[i].offset;
        if (options->to_current.count > 0)
            wish = here >= 0 ? here : last[i].offset;
        if (wish < 0 && asked[i].offset < 0) /* no record so late */
            wish = options->shift_by.count > 0 ? first[i].offset : last[i].offset;
        wish = wish < first[i].offset ? first[i].offset : wish;
        scope->list.items[i].offset = wish > last[i].offset ? last[i].offset : wish;
    }
    return err;
}

static mr_err reset_one(struct shell *shell, mr_str group)
{
    struct scope scope = {0};
    struct described described = {0};
    bool execute = shell->options.execute.count > 0;
    mr_err err = scope_read(shell, group, &scope);
    if (err == MR_OK && execute && describe(shell, group, &described) == MR_OK &&
        described.members.count > 0)
        err = mr_fail(MR_BUSY,
                      "group %.*s has %zu members; its offsets can be moved once they are gone",
                      MR_STR_ARG(group), described.members.count);
    described_fini(&described);
    if (err == MR_OK)
        err = plan(shell, &scope);
    if (err == MR_OK && execute && scope.list.count > 0) {
        struct shell_call call = {0};
        kafka_group_commit(shell->kafka, group, scope.list.items, scope.list.count, shell_done,
                           &call);
        err = shell_result(shell, &call);
    }
    if (err == MR_OK) {
        printf("\n%-30s %-30s %-10s %s\n", "GROUP", "TOPIC", "PARTITION", "NEW-OFFSET");
        for (size_t i = 0; i < scope.list.count; i++)
            printf("%-30.*s %-30.*s %-10d %lld\n", MR_STR_ARG(group),
                   MR_STR_ARG(scope.list.items[i].topic), scope.list.items[i].partition,
                   (long long)scope.list.items[i].offset);
        if (!execute)
            fprintf(stderr, "This is the plan; --execute does it.\n");
    }
    mr_array_fini(&scope.list);
    return err;
}

static mr_err group_reset(struct shell *shell)
{
    if (shell->options.execute.count > 0 && shell->options.dry_run.count > 0)
        return mr_fail(MR_INVALID, "expected one of --execute and --dry-run");
    return for_each(shell, reset_one);
}

int shell_command_group(int argc, char **argv)
{
    struct shell shell;
    int status = shell_begin(&shell, "group", argc, argv);
    if (status >= 0)
        return status;
    const struct {
        const struct shell_option *said;
        mr_err (*run)(struct shell *shell);
    } verbs[] = {
        {&shell.options.list, group_list},           {&shell.options.describe, group_describe},
        {&shell.options.delete, group_delete},       {&shell.options.delete_offsets, group_forget},
        {&shell.options.reset_offsets, group_reset},
    };
    mr_err (*run)(struct shell *) = NULL;
    int said = 0;
    for (size_t i = 0; i < mr_count_of(verbs); i++)
        if (verbs[i].said->count > 0) {
            run = verbs[i].run;
            said++;
        }
    return shell_end(&shell, said == 1 ? run(&shell)
                                       : mr_fail(MR_INVALID, "expected exactly one of --list, "
                                                             "--describe, --delete, "
                                                             "--delete-offsets, --reset-offsets"));
}
