/* broker/consumer_group.c: groups of the consumer protocol (KIP-848). Members say what they want to
 * read in a heartbeat; the broker assigns, and each answer brings one member nearer to its target.
 *
 * Three epochs keep order. The group's rises with each change of members, subscriptions or topics; the
 * target's follows when the assignment has been computed anew, at once; a member's when it has given
 * back what it is not to have any more. Partitions belong to one member at a time:
 *
 *                    target is newer, nothing to give back, all free: reconcile()
 *             +--------------------------------------------------------------+
 *             v                                                              |
 *   join --> STABLE --- target is newer, has to give back ---> UNREVOKED ----+ the member no longer
 *             ^  |                                                |            owns what it gave back
 *             |  +-- some of it is still another member's --+     |
 *             |                                             v     v
 *             +--------- the others gave it back ------ UNRELEASED
 *
 *   any state --- silent for its session, or UNREVOKED for its rebalance time-out, or leaves ---> gone
 *   static member --- leaves with epoch -2 ---> away, keeps its partitions until its session ends
 *
 * Each change is a record in __consumer_offsets before the answer goes out. A member whose change was
 * lost with the power has an epoch that the broker does not know: it is fenced and joins anew. */
#include "broker/server.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- members ---- */

static void text_set(char **text, mr_str value)
{
    mr_free(*text);
    *text = value.data == NULL ? NULL : mr_copy_cstr(value);
}

void broker_texts_free(struct broker_texts *texts)
{
    for (size_t i = 0; i < texts->count; i++)
        mr_free(texts->items[i]);
    mr_array_fini(texts);
}

struct broker_consumer_member *
broker_consumer_member_find(const struct broker_consumer_group *consumer, mr_str id)
{
    return mr_map_get(&consumer->members, id);
}

static void member_silent(struct mr_timer *timer);
static void member_too_slow(struct mr_timer *timer);

struct broker_consumer_member *broker_consumer_member_make(struct broker_consumer_group *consumer,
                                                           mr_str id)
{
    struct broker_consumer_member *member = broker_consumer_member_find(consumer, id);

    if (member != NULL)
        return member;
    member = mr_new(struct broker_consumer_member);
    member->group = consumer;
    member->id = mr_copy_cstr(id);
    member->client_id = mr_copy_cstr(MR_STR(""));
    member->client_host = mr_copy_cstr(MR_STR(""));
    member->session.run = member_silent;
    member->rebalance.run = member_too_slow;
    mr_map_put(&consumer->members, id, member);
    return member;
}

void broker_consumer_member_set_instance(struct broker_consumer_member *member, mr_str instance)
{
    if (member->instance_id != NULL &&
        mr_map_get(&member->group->instances, mr_str_from(member->instance_id)) == member)
        mr_map_remove(&member->group->instances, mr_str_from(member->instance_id));
    text_set(&member->instance_id, instance);
    if (instance.data != NULL)
        mr_map_put(&member->group->instances, instance, member);
}

static void regex_free(struct broker_consumer_regex *regex)
{
    broker_topic_regex_free(regex->compiled);
    broker_texts_free(&regex->topics);
    mr_free(regex);
}

/* The pattern is counted at its users; its record goes when the topics are looked at next. */
static void regex_set(struct broker_consumer_member *member, mr_str text)
{
    struct mr_map *regexes = &member->group->regexes;
    struct broker_consumer_regex *regex;

    if (member->regex != NULL) {
        regex = mr_map_get(regexes, mr_str_from(member->regex));
        regex->users--;
    }
    text_set(&member->regex, text.length > 0 ? text : MR_STR_NULL);
    if (member->regex == NULL)
        return;
    regex = mr_map_get(regexes, text);
    if (regex == NULL) {
        regex = mr_new(struct broker_consumer_regex);
        mr_map_put(regexes, text, regex);
        member->group->topics_seen = 0; /* to be matched */
    }
    regex->users++;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

bool broker_texts_set(struct broker_texts *into, const mr_str *names, int32_t count)
{
    struct broker_texts texts = {0};
    size_t kept = 0;
    bool differs;

    for (int32_t i = 0; i < count; i++)
        *mr_array_add(&texts) = mr_copy_cstr(names[i]);
    if (texts.count > 0)
        qsort(texts.items, texts.count, sizeof(char *), by_text);
    for (size_t i = 1; i < texts.count; i++) {
        if (strcmp(texts.items[kept], texts.items[i]) == 0)
            mr_free(texts.items[i]);
        else
            texts.items[++kept] = texts.items[i];
    }
    texts.count = texts.count == 0 ? 0 : kept + 1;
    differs = texts.count != into->count;
    for (size_t i = 0; i < texts.count && !differs; i++)
        differs = strcmp(texts.items[i], into->items[i]) != 0;
    broker_texts_free(into);
    *into = texts;
    return differs;
}

void broker_consumer_member_set(struct broker_consumer_member *member,
                                const struct kafka_consumer_group_member_metadata_value *said)
{
    text_set(&member->rack_id, said->rack_id);
    text_set(&member->client_id, said->client_id.data == NULL ? MR_STR("") : said->client_id);
    text_set(&member->client_host, said->client_host.data == NULL ? MR_STR("") : said->client_host);
    text_set(&member->assignor, said->server_assignor);
    member->rebalance_timeout_ms = said->rebalance_timeout_ms;
    broker_texts_set(&member->topics, said->subscribed_topic_names.items,
                     said->subscribed_topic_names.count);
    regex_set(member, said->subscribed_topic_regex);
    broker_migration_speak(member, said->classic_member_metadata);
}

void broker_consumer_member_free(struct broker_consumer_member *member)
{
    struct broker_consumer_group *consumer = member->group;

    mr_timer_stop(&member->session);
    mr_timer_stop(&member->rebalance);
    broker_consumer_member_set_instance(member, MR_STR_NULL);
    regex_set(member, MR_STR_NULL);
    broker_migration_speak(member, NULL);
    mr_map_remove(&consumer->members, mr_str_from(member->id));
    broker_texts_free(&member->topics);
    broker_places_fini(&member->assigned);
    broker_places_fini(&member->revoking);
    broker_places_fini(&member->target);
    mr_free(member->id);
    mr_free(member->rack_id);
    mr_free(member->client_id);
    mr_free(member->client_host);
    mr_free(member->assignor);
    mr_free(member);
}

/* ---- the group ---- */

struct broker_consumer_group *broker_consumer_group_make(struct broker_group *group)
{
    if (group->consumer == NULL) {
        group->consumer = mr_new(struct broker_consumer_group);
        group->consumer->group = group;
    }
    return group->consumer;
}

void broker_consumer_group_free(struct broker_consumer_group *consumer)
{
    struct mr_map_entry *entry;

    if (consumer == NULL)
        return;
    for (size_t i = 0; (entry = mr_map_next(&consumer->members, &i)) != NULL;)
        broker_consumer_member_free(entry->value);
    for (size_t i = 0; (entry = mr_map_next(&consumer->regexes, &i)) != NULL;)
        regex_free(entry->value);
    mr_map_fini(&consumer->members);
    mr_map_fini(&consumer->instances);
    mr_map_fini(&consumer->regexes);
    mr_free(consumer);
}

const char *broker_consumer_group_state_name(const struct broker_consumer_group *consumer)
{
    struct mr_map_entry *entry;

    if (consumer->members.count == 0)
        return "Empty";
    if (consumer->epoch > consumer->target_epoch)
        return "Assigning";
    for (size_t i = 0; (entry = mr_map_next(&consumer->members, &i)) != NULL;) {
        const struct broker_consumer_member *member = entry->value;
        if (member->state != BROKER_CONSUMER_STABLE || member->epoch != consumer->target_epoch)
            return "Reconciling";
    }
    return "Stable";
}

/* Most votes; who has no wish does not vote. */
const struct broker_assignor *
broker_consumer_group_assignor(const struct broker_consumer_group *consumer)
{
    const struct broker_node *node = &consumer->group->groups->server->node;
    int uniform_place = broker_node_place(node, BROKER_NODE_group_consumer_assignors,
                                          MR_STR("uniform"));
    int range_place = broker_node_place(node, BROKER_NODE_group_consumer_assignors,
                                        MR_STR("range"));
    size_t uniform = 0, range = 0;
    struct mr_map_entry *entry;

    if (uniform_place < 0 || range_place < 0)
        return range_place < 0 ? &broker_assignor_uniform : &broker_assignor_range;
    for (size_t i = 0; (entry = mr_map_next(&consumer->members, &i)) != NULL;) {
        const struct broker_consumer_member *member = entry->value;
        const struct broker_assignor *wish = broker_assignor_find(mr_str_from(member->assignor));
        uniform += wish == &broker_assignor_uniform;
        range += wish == &broker_assignor_range;
    }
    return range > uniform || (range == uniform && range_place < uniform_place)
               ? &broker_assignor_range
               : &broker_assignor_uniform;
}

static struct broker_topics *topics_of(const struct broker_consumer_group *consumer)
{
    return &consumer->group->groups->server->topics;
}

void broker_consumer_journal_begin(const struct broker_group *group, struct broker_journal *journal)
{
    broker_journal_begin(
        journal, broker_server_internal(group->groups->server, MR_STR("__consumer_offsets")));
}

void broker_consumer_journal_end(const struct broker_group *group, struct broker_journal *journal)
{
    int64_t end;
    if (broker_journal_append(journal, -1, -1, &end) != MR_OK)
        mr_log(MR_LOG_WARN, "broker", "group %s not saved: %s", group->id, mr_why());
}

void broker_consumer_group_end(struct broker_group *group)
{
    struct broker_journal journal;

    broker_consumer_journal_begin(group, &journal);
    broker_consumer_drop_group(&journal, group->consumer);
    broker_consumer_journal_end(group, &journal);
    group->generation = group->consumer->epoch;
    group->changed_ms = broker_storage_now_ms(&group->groups->server->storage);
    broker_consumer_group_free(group->consumer);
    group->consumer = NULL;
}

/* ---- which topics the group reads ---- */

static bool texts_have(char *const *items, size_t count, const char *text)
{
    return count > 0 && bsearch(&text, items, count, sizeof(char *), by_text) != NULL;
}

bool broker_consumer_group_reads(const struct broker_consumer_group *consumer, mr_str topic)
{
    const char *name = broker_topics_name_ok(topic) ? mr_copy_cstr(topic) : NULL;
    struct mr_map_entry *entry;
    bool found = false;

    for (size_t i = 0; name != NULL && (entry = mr_map_next(&consumer->members, &i)) != NULL;) {
        const struct broker_consumer_member *member = entry->value;
        const struct broker_consumer_regex *regex = mr_map_get(&consumer->regexes,
                                                               mr_str_from(member->regex));
        found = found || texts_have(member->topics.items, member->topics.count, name) ||
                (regex != NULL && texts_have(regex->topics.items, regex->topics.count, name));
    }
    mr_free((void *)(uintptr_t)name);
    return found;
}

static void regex_match(const struct broker_topics *topics, mr_str text,
                        struct broker_consumer_regex *regex)
{
    struct mr_map_entry *entry;

    broker_texts_free(&regex->topics);
    if (regex->compiled == NULL && broker_topic_regex_new(text, &regex->compiled) != MR_OK)
        return; /* a record of another broker's making */
    for (size_t i = 0; (entry = mr_map_next(&topics->by_name, &i)) != NULL;) {
        const struct broker_topic *topic = entry->value;
        if (!topic->internal && broker_topic_regex_matches(regex->compiled, entry->key))
            *mr_array_add(&regex->topics) = mr_copy_cstr(entry->key);
    }
    if (regex->topics.count > 0)
        qsort(regex->topics.items, regex->topics.count, sizeof(char *), by_text);
}

static void regexes_refresh(struct broker_consumer_group *consumer, struct broker_journal *journal)
{
    struct mr_map_entry *entry;

    for (size_t i = 0; (entry = mr_map_next(&consumer->regexes, &i)) != NULL;) {
        struct broker_consumer_regex *regex = entry->value;
        if (regex->users == 0) {
            broker_consumer_drop_regex(journal, consumer, entry->key);
            mr_map_remove(&consumer->regexes, entry->key);
            regex_free(regex);
            continue;
        }
        regex_match(topics_of(consumer), entry->key, regex);
        broker_consumer_save_regex(journal, consumer, entry->key, regex);
    }
}

/* All topics that are there and wanted, each once, sorted by id; `index` finds them by name (+ 1). */
struct wanted {
    struct mr_arena arena;
    struct broker_assign_topic *topics;
    size_t count;
    struct mr_map index;
};

static void want(struct wanted *wanted, struct broker_topics *topics, char *const *names,
                 size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct broker_topic *topic = broker_topics_find(topics, mr_str_from(names[i]));
        if (topic != NULL)
            mr_map_put(&wanted->index, mr_str_of(topic->id.bytes, 16), topic);
    }
}

static int by_topic_id(const void *a, const void *b)
{
    return memcmp(((const struct broker_assign_topic *)a)->id.bytes,
                  ((const struct broker_assign_topic *)b)->id.bytes, 16);
}

static void wanted_init(struct wanted *wanted, const struct broker_consumer_group *consumer)
{
    struct broker_topics *topics = topics_of(consumer);
    struct mr_map_entry *entry;

    *wanted = (struct wanted){0};
    mr_arena_init(&wanted->arena);
    for (size_t i = 0; (entry = mr_map_next(&consumer->members, &i)) != NULL;) {
        const struct broker_consumer_member *member = entry->value;
        want(wanted, topics, member->topics.items, member->topics.count);
    }
    for (size_t i = 0; (entry = mr_map_next(&consumer->regexes, &i)) != NULL;) {
        const struct broker_consumer_regex *regex = entry->value;
        if (regex->users > 0)
            want(wanted, topics, regex->topics.items, regex->topics.count);
    }
    wanted->topics = mr_arena_array(&wanted->arena, struct broker_assign_topic,
                                    wanted->index.count);
    for (size_t i = 0; (entry = mr_map_next(&wanted->index, &i)) != NULL;) {
        const struct broker_topic *topic = entry->value;
        wanted->topics[wanted->count++] = (struct broker_assign_topic){
            topic->id, (int32_t)topic->partitions.count};
    }
    if (wanted->count > 0)
        qsort(wanted->topics, wanted->count, sizeof(wanted->topics[0]), by_topic_id);
}

static void wanted_fini(struct wanted *wanted)
{
    mr_map_fini(&wanted->index);
    mr_arena_fini(&wanted->arena);
}

/* Of ids and numbers of partitions; a topic that was deleted and made again has another id. */
static int64_t wanted_hash(const struct wanted *wanted)
{
    struct mr_buf buf = {0};
    int64_t hash;

    for (size_t i = 0; i < wanted->count; i++) {
        mr_buf_add(&buf, wanted->topics[i].id.bytes, 16);
        mr_buf_be32(&buf, (uint32_t)wanted->topics[i].partitions);
    }
    hash = wanted->count == 0 ? 0 : mr_murmur3_token(buf.data, buf.length);
    mr_buf_fini(&buf);
    return hash;
}

/* ---- the target ---- */

static int by_index(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

static size_t indexes_add(const struct wanted *wanted, struct broker_topics *topics,
                          char *const *names, size_t count, uint32_t *into)
{
    size_t added = 0;

    for (size_t i = 0; i < count; i++) {
        const struct broker_topic *topic = broker_topics_find(topics, mr_str_from(names[i]));
        struct broker_assign_topic key = {0};
        if (topic == NULL)
            continue;
        key.id = topic->id;
        const struct broker_assign_topic *at = bsearch(&key, wanted->topics, wanted->count,
                                                       sizeof(key), by_topic_id);
        if (at != NULL)
            into[added++] = (uint32_t)(at - wanted->topics);
    }
    return added;
}

static void assign_member(struct wanted *wanted, const struct broker_consumer_member *member,
                          struct broker_assign_member *into)
{
    struct broker_topics *topics = topics_of(member->group);
    const struct broker_consumer_regex *regex = mr_map_get(&member->group->regexes,
                                                           mr_str_from(member->regex));
    size_t most = member->topics.count + (regex != NULL ? regex->topics.count : 0), kept = 0;
    uint32_t *indexes = mr_arena_array(&wanted->arena, uint32_t, most);
    size_t count = indexes_add(wanted, topics, member->topics.items, member->topics.count, indexes);

    if (regex != NULL)
        count += indexes_add(wanted, topics, regex->topics.items, regex->topics.count,
                             indexes + count);
    if (count > 0)
        qsort(indexes, count, sizeof(indexes[0]), by_index);
    for (size_t i = 0; i < count; i++)
        if (kept == 0 || indexes[kept - 1] != indexes[i])
            indexes[kept++] = indexes[i];
    into->id = mr_str_from(member->id);
    into->instance_id = mr_str_from(member->instance_id);
    into->topics = indexes;
    into->topic_count = kept;
    into->before = &member->target;
}

/* Computes the target anew and saves what changed of it. */
static void target_update(struct broker_consumer_group *consumer, struct wanted *wanted,
                          struct broker_journal *journal)
{
    struct broker_assign assign = {
        .topics = wanted->topics, .topic_count = wanted->count, .arena = &wanted->arena};
    struct broker_places *after = mr_arena_array(&wanted->arena, struct broker_places,
                                                 consumer->members.count);
    struct mr_map_entry *entry;
    size_t at = 0;

    assign.members = mr_arena_array(&wanted->arena, struct broker_assign_member,
                                    consumer->members.count);
    for (size_t i = 0; (entry = mr_map_next(&consumer->members, &i)) != NULL;) {
        assign_member(wanted, entry->value, &assign.members[assign.member_count]);
        assign.members[assign.member_count].after = &after[assign.member_count];
        assign.member_count++;
    }
    broker_consumer_group_assignor(consumer)->assign(&assign);
    for (size_t i = 0; (entry = mr_map_next(&consumer->members, &i)) != NULL; at++) {
        struct broker_consumer_member *member = entry->value;
        if (broker_places_equal(&member->target, &after[at])) {
            broker_places_fini(&after[at]);
            continue;
        }
        broker_places_fini(&member->target);
        member->target = after[at];
        broker_consumer_save_target(journal, member);
    }
    consumer->target_epoch = consumer->epoch;
    broker_consumer_save_target_epoch(journal, consumer);
}

void broker_consumer_group_look(struct broker_consumer_group *consumer)
{
    struct wanted wanted;

    wanted_init(&wanted, consumer);
    consumer->topics_seen = topics_of(consumer)->changes;
    consumer->topics_hash = wanted_hash(&wanted);
    wanted_fini(&wanted);
}

/* Looks at the topics again where they may have changed, and assigns anew where something did. */
void broker_consumer_group_update(struct broker_consumer_group *consumer, bool changed,
                                  struct broker_journal *journal)
{
    struct broker_topics *topics = topics_of(consumer);
    struct wanted wanted;

    if (!changed && consumer->topics_seen == topics->changes &&
        consumer->epoch == consumer->target_epoch)
        return;
    if (consumer->topics_seen != topics->changes) {
        consumer->topics_seen = topics->changes;
        regexes_refresh(consumer, journal);
    }
    wanted_init(&wanted, consumer);
    int64_t hash = wanted_hash(&wanted);
    if (changed || hash != consumer->topics_hash) {
        consumer->topics_hash = hash;
        consumer->epoch++;
        broker_consumer_save_epoch(journal, consumer);
    }
    if (consumer->epoch != consumer->target_epoch)
        target_update(consumer, &wanted, journal);
    wanted_fini(&wanted);
}

/* ---- reconciliation ---- */

static bool is_taken(const struct broker_consumer_member *self, const struct broker_place *place)
{
    struct mr_map_entry *entry;

    for (size_t i = 0; (entry = mr_map_next(&self->group->members, &i)) != NULL;) {
        const struct broker_consumer_member *other = entry->value;
        if (other != self && (broker_places_has(&other->assigned, place) ||
                              broker_places_has(&other->revoking, place)))
            return true;
    }
    return false;
}

bool broker_consumer_member_waits(const struct broker_consumer_member *member)
{
    for (size_t i = 0; i < member->target.count; i++)
        if (!broker_places_has(&member->assigned, &member->target.items[i]) &&
            is_taken(member, &member->target.items[i]))
            return true;
    return false;
}

/* `owned` NULL: the member did not say, so it may still own anything. */
static bool owns(const struct broker_places *owned, const struct broker_places *places)
{
    return places->count > 0 && (owned == NULL || broker_places_overlap(owned, places));
}

/* One step towards the target: first what is to go, then what is free. */
static void member_step(struct broker_consumer_member *member, const struct broker_places *owned)
{
    struct broker_places kept = {0}, dropped = {0}, missing = {0};
    bool waits = false;

    broker_places_split(&member->assigned, &member->target, &kept, &dropped);
    if (owns(owned, &dropped)) {
        broker_places_copy(&member->assigned, &kept);
        broker_places_copy(&member->revoking, &dropped);
        member->state = BROKER_CONSUMER_UNREVOKED;
        goto out;
    }
    member->revoking.count = 0;
    broker_places_split(&member->target, &kept, NULL, &missing);
    for (size_t i = 0; i < missing.count; i++) {
        if (is_taken(member, &missing.items[i]))
            waits = true;
        else
            *mr_array_add(&kept) = missing.items[i];
    }
    broker_places_sort(&kept);
    broker_places_copy(&member->assigned, &kept);
    if (member->epoch != member->group->target_epoch) {
        member->previous_epoch = member->epoch < 0 ? 0 : member->epoch;
        member->epoch = member->group->target_epoch;
    }
    member->state = waits ? BROKER_CONSUMER_UNRELEASED : BROKER_CONSUMER_STABLE;
out:
    broker_places_fini(&kept);
    broker_places_fini(&dropped);
    broker_places_fini(&missing);
}

/* A member that is giving back unsubscribes from more: that is to go, too. */
static void revoke_more(struct broker_consumer_member *member)
{
    struct broker_places kept = {0}, dropped = {0};

    broker_places_split(&member->assigned, &member->target, &kept, &dropped);
    for (size_t i = 0; i < dropped.count; i++)
        *mr_array_add(&member->revoking) = dropped.items[i];
    broker_places_sort(&member->revoking);
    broker_places_copy(&member->assigned, &kept);
    broker_places_fini(&kept);
    broker_places_fini(&dropped);
}

/* Whether what the member may use has changed. */
bool broker_consumer_reconcile(struct broker_consumer_member *member,
                               const struct broker_places *owned, bool subscribed,
                               struct broker_journal *journal)
{
    struct broker_places before = {0}, revoking = {0};
    enum broker_consumer_member_state state = member->state;
    int32_t epoch = member->epoch;
    bool moved, changed;

    broker_places_copy(&before, &member->assigned);
    broker_places_copy(&revoking, &member->revoking);
    if (state == BROKER_CONSUMER_UNREVOKED && owns(owned, &member->revoking)) {
        if (subscribed)
            revoke_more(member);
    } else if (state != BROKER_CONSUMER_STABLE || epoch != member->group->target_epoch) {
        member_step(member, owned);
    }
    moved = !broker_places_equal(&before, &member->assigned);
    changed = moved || state != member->state || epoch != member->epoch ||
              !broker_places_equal(&revoking, &member->revoking);
    broker_places_fini(&before);
    broker_places_fini(&revoking);
    if (!changed)
        return false;
    broker_consumer_save_current(journal, member);
    if (member->state == BROKER_CONSUMER_UNREVOKED)
        mr_timer_start(member->group->group->groups->server->loop, &member->rebalance,
                       (int64_t)member->rebalance_timeout_ms * 1000);
    else
        mr_timer_stop(&member->rebalance);
    return moved;
}

/* ---- members go ---- */

static const struct broker_group_config *config_of(const struct broker_consumer_group *consumer)
{
    return broker_group_config_of(&topics_of(consumer)->group_configs,
                                  mr_str_from(consumer->group->id));
}

void broker_consumer_session_restart(struct broker_consumer_member *member)
{
    mr_timer_start(member->group->group->groups->server->loop, &member->session,
                   (member->classic != NULL ? (int64_t)member->classic->session_timeout_ms
                                            : config_of(member->group)->consumer_session_ms) *
                       1000);
}

void broker_consumer_member_remove(struct broker_consumer_member *member)
{
    struct broker_consumer_group *consumer = member->group;
    struct broker_journal journal;

    if (broker_migration_downgrade(member))
        return;
    broker_consumer_journal_begin(consumer->group, &journal);
    broker_consumer_drop_member(&journal, member);
    broker_consumer_member_free(member);
    consumer->topics_seen = 0; /* patterns without users go, too */
    if (consumer->members.count == 0) {
        consumer->group->changed_ms = broker_storage_now_ms(
            &consumer->group->groups->server->storage);
        broker_consumer_group_update(consumer, true, &journal);
    } else {
        consumer->epoch++;
        broker_consumer_save_epoch(&journal, consumer);
    }
    broker_consumer_journal_end(consumer->group, &journal);
}

static void member_silent(struct mr_timer *timer)
{
    struct broker_consumer_member *member = mr_container(timer, struct broker_consumer_member,
                                                         session);
    mr_log(MR_LOG_INFO, "broker", "group %s: member %s fell silent", member->group->group->id,
           member->id);
    broker_consumer_member_remove(member);
}

static void member_too_slow(struct mr_timer *timer)
{
    struct broker_consumer_member *member = mr_container(timer, struct broker_consumer_member,
                                                         rebalance);
    mr_log(MR_LOG_INFO, "broker", "group %s: member %s did not give its partitions back in %d ms",
           member->group->group->id, member->id, member->rebalance_timeout_ms);
    broker_consumer_member_remove(member);
}

/* ---- heartbeats ---- */

struct beat {
    struct broker_request *request;
    const struct kafka_consumer_group_heartbeat_request *in;
    struct broker_consumer_group *consumer;
    struct broker_consumer_member *member;
    struct broker_journal journal;
    struct broker_places owned;
    bool subscribed; /* wants other topics than before, or another assignor */
};

static void beat_fail(struct broker_request *request, int16_t code, mr_str message)
{
    struct kafka_consumer_group_heartbeat_response *out = request->out;

    wire_reset(request->api->response(), out);
    out->error_code = code;
    out->error_message = message.data != NULL ? message
                                              : broker_server_text(request, kafka_error_text(code));
    broker_server_answer(request);
}

static int16_t beat_check_join(const struct kafka_consumer_group_heartbeat_request *in, mr_str *why)
{
    if (in->rebalance_timeout_ms == -1)
        *why = MR_STR("RebalanceTimeoutMs must be provided in first request.");
    else if (in->topic_partitions.count != 0)
        *why = MR_STR("TopicPartitions must be empty when (re-)joining.");
    else if (in->subscribed_topic_names.count < 0 && in->subscribed_topic_regex.data == NULL)
        *why = MR_STR("Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when "
                      "(re-)joining.");
    return why->data == NULL ? KAFKA_ERROR_NONE : KAFKA_ERROR_INVALID_REQUEST;
}

/* Names, pattern and texts of one member together. */
static bool is_too_large(const struct kafka_consumer_group_heartbeat_request *in)
{
    size_t bytes = in->member_id.length + in->instance_id.length + in->rack_id.length +
                   in->subscribed_topic_regex.length;

    for (int32_t i = 0; i < in->subscribed_topic_names.count; i++)
        bytes += in->subscribed_topic_names.items[i].length + 1;
    return bytes > MR_LIMIT_BROKER_MEMBER_BYTES || in->group_id.length > INT16_MAX ||
           in->member_id.length > INT16_MAX ||
           in->subscribed_topic_regex.length > MR_LIMIT_BROKER_TOPIC_REGEX_BYTES;
}

static bool is_empty(mr_str text)
{
    return text.data != NULL && mr_str_trim(text).length == 0;
}

static int16_t beat_check(struct broker_request *request, mr_str *why)
{
    const struct kafka_consumer_group_heartbeat_request *in = request->in;
    bool has_id = request->header.request_api_version >= 1 || in->member_epoch > 0 ||
                  in->member_epoch == BROKER_CONSUMER_LEAVES;

    if (has_id && mr_str_trim(in->member_id).length == 0)
        *why = MR_STR("MemberId can't be empty.");
    else if (mr_str_trim(in->group_id).length == 0)
        *why = MR_STR("GroupId can't be empty.");
    else if (is_empty(in->instance_id))
        *why = MR_STR("InstanceId can't be empty.");
    else if (is_empty(in->rack_id))
        *why = MR_STR("RackId can't be empty.");
    else if (is_too_large(in))
        *why = MR_STR("The member's metadata is too large.");
    else if (in->member_epoch == BROKER_CONSUMER_JOINS)
        beat_check_join(in, why);
    else if (in->member_epoch == BROKER_CONSUMER_AWAY && in->instance_id.data == NULL)
        *why = MR_STR("InstanceId can't be null.");
    else if (in->member_epoch < BROKER_CONSUMER_AWAY)
        *why = MR_STR("MemberEpoch is invalid.");
    if (why->data != NULL)
        return KAFKA_ERROR_INVALID_REQUEST;
    if (in->server_assignor.data == NULL ||
        broker_node_place(&request->server->node, BROKER_NODE_group_consumer_assignors,
                          in->server_assignor) >= 0)
        return KAFKA_ERROR_NONE;
    *why = mr_arena_printf(
        &request->arena, "ServerAssignor %.*s is not supported. Supported assignors: %s.",
        MR_STR_ARG(in->server_assignor),
        broker_node_value(&request->server->node, BROKER_NODE_group_consumer_assignors));
    return KAFKA_ERROR_UNSUPPORTED_ASSIGNOR;
}

/* The member by its id and, if it has one, its instance, for all but joins. */
int16_t broker_consumer_member_check(const struct broker_consumer_group *consumer, mr_str id,
                                     mr_str instance, struct broker_consumer_member **out)
{
    struct broker_consumer_member *member;

    if (instance.data == NULL) {
        member = broker_consumer_member_find(consumer, id);
        if (member == NULL)
            return KAFKA_ERROR_UNKNOWN_MEMBER_ID;
    } else {
        member = mr_map_get(&consumer->instances, instance);
        if (member == NULL)
            return KAFKA_ERROR_UNKNOWN_MEMBER_ID;
        if (!mr_str_equal(mr_str_from(member->id), id))
            return KAFKA_ERROR_FENCED_INSTANCE_ID;
    }
    *out = member;
    return KAFKA_ERROR_NONE;
}

/* A member that missed the answer with its newest epoch comes with the one before, and goes on if it
 * owns nothing that it should not. */
static int16_t epoch_check(const struct beat *beat)
{
    const struct broker_consumer_member *member = beat->member;
    int32_t epoch = beat->in->member_epoch;

    if (epoch == BROKER_CONSUMER_JOINS || epoch == member->epoch)
        return KAFKA_ERROR_NONE;
    if (epoch > member->epoch || epoch != member->previous_epoch ||
        beat->in->topic_partitions.count < 0 ||
        !broker_places_within(&beat->owned, &member->assigned))
        return KAFKA_ERROR_FENCED_MEMBER_EPOCH;
    return KAFKA_ERROR_NONE;
}

bool broker_consumer_group_is_full(const struct broker_consumer_group *consumer)
{
    return consumer->members.count >=
           (size_t)broker_server_number(consumer->group->groups->server,
                                        BROKER_NODE_group_consumer_max_size);
}

/* A static member is back under its name: it takes over what its old self had. */
struct broker_consumer_member *broker_consumer_take_over(struct broker_consumer_member *old,
                                                         mr_str id, struct broker_journal *journal)
{
    struct broker_consumer_member *member;
    struct mr_arena arena;
    mr_str instance;
    struct kafka_consumer_group_member_metadata_value said = {
        .rack_id = mr_str_from(old->rack_id),
        .server_assignor = mr_str_from(old->assignor),
        .rebalance_timeout_ms = old->rebalance_timeout_ms,
        .subscribed_topic_regex = mr_str_from(old->regex),
    };

    mr_arena_init(&arena);
    instance = mr_arena_str(&arena, mr_str_from(old->instance_id));
    said.subscribed_topic_names.items = broker_texts_of(&arena, &old->topics,
                                                        &said.subscribed_topic_names.count);
    member = broker_consumer_member_make(old->group, id);
    broker_consumer_member_set(member, &said);
    broker_places_copy(&member->assigned, &old->assigned);
    broker_places_copy(&member->target, &old->target);
    broker_consumer_drop_member(journal, old);
    broker_consumer_member_free(old);
    broker_consumer_member_set_instance(member, instance);
    broker_consumer_save_member(journal, member);
    broker_consumer_save_target(journal, member);
    broker_consumer_save_current(journal, member);
    mr_arena_fini(&arena);
    return member;
}

static int16_t beat_join(struct beat *beat)
{
    struct broker_consumer_group *consumer = beat->consumer;
    const struct kafka_consumer_group_heartbeat_request *in = beat->in;
    struct broker_consumer_member *of_instance = mr_map_get(&consumer->instances, in->instance_id);

    beat->member = broker_consumer_member_find(consumer, in->member_id);
    if (in->instance_id.data != NULL && of_instance != NULL && of_instance != beat->member) {
        if (of_instance->classic == NULL && of_instance->epoch != BROKER_CONSUMER_AWAY)
            return KAFKA_ERROR_UNRELEASED_INSTANCE_ID;
        if (beat->member != NULL)
            return KAFKA_ERROR_FENCED_INSTANCE_ID;
        beat->member = broker_consumer_take_over(of_instance, in->member_id, &beat->journal);
        return KAFKA_ERROR_NONE;
    }
    if (beat->member != NULL)
        return KAFKA_ERROR_NONE;
    if (broker_consumer_group_is_full(consumer))
        return KAFKA_ERROR_GROUP_MAX_SIZE_REACHED;
    beat->member = broker_consumer_member_make(consumer, in->member_id);
    broker_consumer_member_set_instance(beat->member, in->instance_id);
    beat->member->rebalance_timeout_ms = in->rebalance_timeout_ms > 0 ? in->rebalance_timeout_ms
                                                                      : 0;
    beat->subscribed = true;
    return KAFKA_ERROR_NONE;
}

static bool text_differs(const char *text, mr_str said)
{
    return (text == NULL) != (said.data == NULL) || !mr_str_equal(mr_str_from(text), said);
}

bool broker_consumer_member_hear(struct broker_consumer_member *member,
                                 const struct broker_request *request)
{
    mr_str client_id = request->header.client_id;
    char host[300];

    snprintf(host, sizeof(host), "/%s", request->conn == NULL ? "" : request->conn->peer.host);
    if (!text_differs(member->client_host, mr_str_from(host)) &&
        mr_str_equal(mr_str_from(member->client_id), client_id))
        return false;
    text_set(&member->client_host, mr_str_from(host));
    text_set(&member->client_id, client_id.data == NULL ? MR_STR("") : client_id);
    return true;
}

/* What is null in a heartbeat is as it was. */
static void member_update(struct beat *beat)
{
    const struct kafka_consumer_group_heartbeat_request *in = beat->in;
    struct broker_consumer_member *member = beat->member;
    bool changed = beat->subscribed || member->classic != NULL;

    broker_migration_speak(member, NULL);

    if (in->subscribed_topic_names.count >= 0 &&
        broker_texts_set(&member->topics, in->subscribed_topic_names.items,
                         in->subscribed_topic_names.count))
        beat->subscribed = changed = true;
    if (in->subscribed_topic_regex.data != NULL &&
        !mr_str_equal(mr_str_from(member->regex), in->subscribed_topic_regex)) {
        regex_set(member, in->subscribed_topic_regex);
        member->group->topics_seen = 0;
        beat->subscribed = changed = true;
    }
    if (in->server_assignor.data != NULL && text_differs(member->assignor, in->server_assignor)) {
        text_set(&member->assignor, in->server_assignor);
        beat->subscribed = changed = true;
    }
    if (in->rack_id.data != NULL && text_differs(member->rack_id, in->rack_id)) {
        text_set(&member->rack_id, in->rack_id);
        changed = true;
    }
    if (in->rebalance_timeout_ms >= 0 && in->rebalance_timeout_ms != member->rebalance_timeout_ms) {
        member->rebalance_timeout_ms = in->rebalance_timeout_ms;
        changed = true;
    }
    if (broker_consumer_member_hear(member, beat->request))
        changed = true;
    if (changed)
        broker_consumer_save_member(&beat->journal, member);
}

static void beat_answer(struct beat *beat, bool moved)
{
    const struct kafka_consumer_group_heartbeat_request *in = beat->in;
    struct kafka_consumer_group_heartbeat_response *out = beat->request->out;
    const struct broker_consumer_member *member = beat->member;
    bool full = in->member_epoch == BROKER_CONSUMER_JOINS ||
                (in->rebalance_timeout_ms != -1 && in->topic_partitions.count >= 0 &&
                 (in->subscribed_topic_names.count >= 0 ||
                  in->subscribed_topic_regex.data != NULL));

    out->member_id = broker_server_text(beat->request, member->id);
    out->member_epoch = member->epoch;
    out->heartbeat_interval_ms = config_of(member->group)->consumer_heartbeat_ms;
    if (full || moved) {
        out->assignment = mr_arena_new(&beat->request->arena,
                                       struct kafka_consumer_group_heartbeat_assignment);
        out->assignment->topic_partitions.items = broker_consumer_partitions(
            &beat->request->arena, &member->assigned, &out->assignment->topic_partitions.count);
    }
    broker_server_answer(beat->request);
}

/* The member is known and its request is sound: what follows from it. */
static bool beat_go_on(struct beat *beat)
{
    member_update(beat);
    broker_consumer_group_update(beat->consumer, beat->subscribed, &beat->journal);
    broker_consumer_session_restart(beat->member);
    return broker_consumer_reconcile(beat->member,
                                     beat->in->topic_partitions.count < 0 ? NULL : &beat->owned,
                                     beat->subscribed, &beat->journal);
}

static void beat_leave(struct broker_request *request, struct broker_consumer_group *consumer)
{
    const struct kafka_consumer_group_heartbeat_request *in = request->in;
    struct kafka_consumer_group_heartbeat_response *out = request->out;
    struct broker_consumer_member *member = NULL;
    struct broker_journal journal;
    int16_t code = broker_consumer_member_check(consumer, in->member_id, in->instance_id, &member);

    if (code != KAFKA_ERROR_NONE) {
        beat_fail(request, code, MR_STR_NULL);
        return;
    }
    out->member_id = in->member_id;
    out->member_epoch = in->member_epoch;
    if (in->member_epoch == BROKER_CONSUMER_LEAVES) {
        broker_consumer_member_remove(member);
    } else {
        member->epoch = BROKER_CONSUMER_AWAY;
        mr_timer_stop(&member->rebalance);
        broker_consumer_journal_begin(consumer->group, &journal);
        broker_consumer_save_current(&journal, member);
        broker_consumer_journal_end(consumer->group, &journal);
    }
    broker_server_answer(request);
}

/* The group, made or taken over from the classic protocol by who joins, with its members if it has some. */
static int16_t beat_group(struct broker_request *request, struct broker_consumer_group **out,
                          mr_str *why)
{
    const struct kafka_consumer_group_heartbeat_request *in = request->in;
    struct broker_groups *groups = &request->server->groups;
    struct broker_group *group = broker_group_find(groups, in->group_id);
    struct broker_journal journal;
    int16_t code;

    if (group != NULL && group->consumer != NULL) {
        *out = group->consumer;
        return KAFKA_ERROR_NONE;
    }
    if (in->member_epoch != BROKER_CONSUMER_JOINS || (group != NULL && group->share != NULL)) {
        *why = mr_arena_printf(&request->arena, "Group %.*s %s.", MR_STR_ARG(in->group_id),
                               group == NULL ? "not found" : "is not a consumer group");
        return KAFKA_ERROR_GROUP_ID_NOT_FOUND;
    }
    if (group != NULL && group->state != BROKER_GROUP_EMPTY) {
        code = broker_migration_upgrade(group, &request->arena, why);
        *out = group->consumer;
        return code;
    }
    group = broker_group_make(groups, in->group_id);
    broker_consumer_journal_begin(group, &journal);
    *out = broker_consumer_group_make(group);
    (*out)->epoch = (*out)->target_epoch = broker_group_end_classic(group, &journal);
    broker_consumer_journal_end(group, &journal);
    return KAFKA_ERROR_NONE;
}

mr_str broker_consumer_member_id(struct broker_request *request)
{
    char text[37];
    mr_uuid id;

    mr_entropy(id.bytes, sizeof(id.bytes));
    mr_uuid_format(&id, text);
    return broker_server_text(request, text);
}

/* The pattern is read before anything changes. */
static int16_t regex_check(const struct broker_request *request, mr_str *why)
{
    const struct kafka_consumer_group_heartbeat_request *in = request->in;
    struct broker_topic_regex *regex = NULL;

    if (in->subscribed_topic_regex.length == 0)
        return KAFKA_ERROR_NONE;
    if (broker_topic_regex_new(in->subscribed_topic_regex, &regex) != MR_OK) {
        *why = mr_arena_str((struct mr_arena *)(uintptr_t)&request->arena, mr_str_from(mr_why()));
        return KAFKA_ERROR_INVALID_REGULAR_EXPRESSION;
    }
    broker_topic_regex_free(regex);
    return KAFKA_ERROR_NONE;
}

static int16_t beat_member(struct beat *beat)
{
    const struct kafka_consumer_group_heartbeat_request *in = beat->in;
    int16_t code;

    if (in->member_epoch == BROKER_CONSUMER_JOINS)
        return beat_join(beat);
    code = broker_consumer_member_check(beat->consumer, in->member_id, in->instance_id,
                                        &beat->member);
    return code == KAFKA_ERROR_NONE ? epoch_check(beat) : code;
}

void broker_group_consumer_group_heartbeat(struct broker_request *request)
{
    struct kafka_consumer_group_heartbeat_request *in = request->in;
    struct beat beat = {.request = request, .in = in};
    mr_str why = MR_STR_NULL;
    int16_t code = KAFKA_ERROR_NONE;
    bool moved = false;

    if (!request->server->ready)
        code = KAFKA_ERROR_COORDINATOR_LOAD_IN_PROGRESS;
    if (code == KAFKA_ERROR_NONE)
        code = beat_check(request, &why);
    if (code == KAFKA_ERROR_NONE)
        code = regex_check(request, &why);
    if (code == KAFKA_ERROR_NONE)
        code = beat_group(request, &beat.consumer, &why);
    if (code != KAFKA_ERROR_NONE) {
        beat_fail(request, code, why);
        return;
    }
    if (in->member_epoch < 0) {
        beat_leave(request, beat.consumer);
        return;
    }
    if (in->member_id.length == 0)
        in->member_id = broker_consumer_member_id(request);
    broker_consumer_places(in->topic_partitions.items, in->topic_partitions.count, &beat.owned);
    broker_consumer_journal_begin(beat.consumer->group, &beat.journal);
    code = beat_member(&beat);
    if (code == KAFKA_ERROR_NONE)
        moved = beat_go_on(&beat);
    broker_consumer_journal_end(beat.consumer->group, &beat.journal);
    if (code == KAFKA_ERROR_NONE)
        beat_answer(&beat, moved);
    else
        beat_fail(request, code, why);
    broker_places_fini(&beat.owned);
}

/* ---- what others ask ---- */

void broker_consumer_group_start(struct broker_consumer_group *consumer)
{
    struct mr_map_entry *entry;

    for (size_t i = 0; (entry = mr_map_next(&consumer->members, &i)) != NULL;) {
        struct broker_consumer_member *member = entry->value;
        broker_consumer_session_restart(member);
        if (member->state == BROKER_CONSUMER_UNREVOKED)
            mr_timer_start(consumer->group->groups->server->loop, &member->rebalance,
                           (int64_t)member->rebalance_timeout_ms * 1000);
    }
}

int16_t broker_consumer_group_check_commit(const struct broker_consumer_group *consumer,
                                           mr_str member_id, int32_t epoch, bool txn,
                                           int16_t version)
{
    const struct broker_consumer_member *member;

    if (epoch < 0 && (consumer->members.count == 0 || (txn && member_id.length == 0)))
        return KAFKA_ERROR_NONE; /* not by a member */
    member = broker_consumer_member_find(consumer, member_id);
    if (member == NULL)
        return KAFKA_ERROR_UNKNOWN_MEMBER_ID;
    if (!txn && member->classic == NULL && version < 9)
        return KAFKA_ERROR_UNSUPPORTED_VERSION;
    if (epoch != member->epoch)
        return txn || member->classic != NULL ? KAFKA_ERROR_ILLEGAL_GENERATION
                                              : KAFKA_ERROR_STALE_MEMBER_EPOCH;
    return KAFKA_ERROR_NONE;
}

int16_t broker_consumer_group_check_fetch(const struct broker_consumer_group *consumer,
                                          mr_str member_id, int32_t epoch)
{
    const struct broker_consumer_member *member;

    if (member_id.data == NULL && epoch < 0)
        return KAFKA_ERROR_NONE;
    member = broker_consumer_member_find(consumer, member_id);
    if (member == NULL)
        return KAFKA_ERROR_UNKNOWN_MEMBER_ID;
    return epoch == member->epoch    ? KAFKA_ERROR_NONE
           : member->classic != NULL ? KAFKA_ERROR_ILLEGAL_GENERATION
                                     : KAFKA_ERROR_STALE_MEMBER_EPOCH;
}

/* ---- to and from the wire ---- */

void broker_consumer_places(const struct kafka_consumer_group_partitions *topics, int32_t count,
                            struct broker_places *into)
{
    into->count = 0;
    for (int32_t i = 0; i < count; i++)
        for (int32_t j = 0; j < topics[i].partitions.count; j++)
            broker_places_add(into, &topics[i].topic_id, topics[i].partitions.items[j]);
    broker_places_sort(into);
}

struct kafka_consumer_group_partitions *
broker_consumer_partitions(struct mr_arena *arena, const struct broker_places *places,
                           int32_t *count)
{
    struct kafka_consumer_group_partitions *topics = mr_arena_array(
        arena, struct kafka_consumer_group_partitions, places->count);
    int32_t *partitions = mr_arena_array(arena, int32_t, places->count);

    *count = 0;
    for (size_t i = 0; i < places->count; i++) {
        struct kafka_consumer_group_partitions *last = *count > 0 ? &topics[*count - 1] : NULL;
        partitions[i] = places->items[i].partition;
        if (last == NULL || memcmp(last->topic_id.bytes, places->items[i].topic.bytes, 16) != 0) {
            last = &topics[(*count)++];
            last->topic_id = places->items[i].topic;
            last->partitions.items = &partitions[i];
        }
        last->partitions.count++;
    }
    return topics;
}
