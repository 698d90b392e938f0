/* kafka/fetcher.c: reads partitions that were assigned by hand. One Fetch is under way per broker,
 * on a connection of the fetcher's own, because a broker holds an empty answer for a while.
 *
 *   assigned --offset and leader known--> fetchable --Fetch--> asked --answer--> fetchable
 *    |  ^                                                       |
 *    +--+ ListOffsets            trouble: back-off, metadata <--+
 *
 * What was told and not freed is bounded: no Fetch goes out above prefetch_bytes_max, and the next
 * one goes out when enough was freed. */
#include "kafka/client.h"

#include <stdlib.h>

enum {
    WAIT_MS = 500,
    PARTITION_BYTES = 1 << 20,
    BYTES = 16 << 20,
    PREFETCH_BYTES = 32 << 20,
    COPY_BYTES_MAX = 16384, /* smaller sets are copied, so that they do not keep a shared buffer */
    PADDING = 64,           /* readable bytes behind a set, as in a frame */
    FETCH_VERSION_MAX = 12, /* later ones name topics by id only */
    FETCH_SLACK_MS = 10000, /* above wait_ms_max, then the connection is given up */
};

struct slot {
    struct kafka_fetcher *fetcher;
    struct slot *next;
    struct kafka_topic *meta;
    int32_t index;
    void *tag;
    int64_t offset; /* next to fetch; negative: to be resolved (KAFKA_OFFSET_...) */
    uint64_t life;  /* changes with every assignment: answers to an older one are void */
    bool paused, asked, resolving;
    int32_t attempts;
    int64_t resume_us;
    int64_t high_watermark, stable;
    struct kafka_fetched *held, **held_last; /* came while paused */
};
struct ask { /* one partition of a Fetch, or a ListOffsets */
    struct slot *slot;
    uint64_t life;
    int64_t offset;
};
struct fetch { /* one Fetch request */
    struct fetch *next, **link;
    struct kafka_fetcher *fetcher;
    struct kafka_node *node;
    MR_ARRAY(struct ask) asks;
};
struct resolve {
    struct resolve *next, **link;
    struct kafka_fetcher *fetcher;
    struct ask ask;
};
struct kafka_fetcher {
    struct kafka_client *client;
    struct kafka_fetcher_options options;
    struct slot *slots,
        *gone; /* gone: unassigned, freed with the fetcher (answers may be under way) */
    struct fetch *fetches;
    struct resolve *resolves;
    uint64_t lives;
    size_t told_bytes; /* told and not freed */
    size_t told_count;
    bool closed;
    struct kafka_listener listener;
    struct mr_task task;
    struct mr_timer timer;
};
struct kept { /* a fetched set and what it needs, in one piece of memory */
    struct kafka_fetched fetched;
    struct kafka_fetched *next;
    struct kafka_fetch_aborted_transaction aborted[];
};

static void fetcher_wake(struct kafka_fetcher *fetcher)
{
    if (!fetcher->closed)
        mr_loop_at_turn_end(fetcher->client->loop, &fetcher->task);
}

static void fetcher_wake_in(struct kafka_fetcher *fetcher, int64_t delay_us)
{
    int64_t due = mr_loop_now_us(fetcher->client->loop) + delay_us;
    if (fetcher->timer.loop == NULL || fetcher->timer.due_us > due)
        mr_timer_start(fetcher->client->loop, &fetcher->timer, delay_us > 0 ? delay_us : 0);
}

static struct slot *slot_find(const struct kafka_fetcher *fetcher, mr_str topic, int32_t partition)
{
    for (struct slot *slot = fetcher->slots; slot != NULL; slot = slot->next) {
        if (slot->index == partition && mr_str_equal(slot->meta->name, topic))
            return slot;
    }
    return NULL;
}

static bool is_current(const struct ask *ask)
{
    return ask->slot->life == ask->life;
}

/* ---- fetched sets ---- */

static struct kafka_fetched *fetched_next(struct kafka_fetched *fetched)
{
    return mr_container(fetched, struct kept, fetched)->next;
}

static void fetcher_free(struct kafka_fetcher *fetcher);

void kafka_fetched_free(struct kafka_fetched *fetched)
{
    if (fetched == NULL)
        return;
    struct kafka_fetcher *fetcher = fetched->fetcher;
    bool was_full = fetcher->told_bytes >= fetcher->options.prefetch_bytes_max;
    fetcher->told_bytes -= fetched->charged;
    fetcher->told_count--;
    mr_bytes_unref(fetched->owner);
    mr_free((void *)(uintptr_t)fetched->topic.data);
    mr_free(mr_container(fetched, struct kept, fetched));
    if (fetcher->closed)
        fetcher_free(fetcher);
    else if (was_full)
        fetcher_wake(fetcher);
}

/* Checks every batch and cuts off the one at the end that is not whole. Sets `next`. */
static mr_err batches_check(mr_str *bytes, int64_t from, int64_t *next)
{
    struct kafka_batch batch;
    mr_str left = *bytes;
    mr_err err = MR_OK;
    *next = from;
    while (kafka_records_next(&left, &batch, &err)) {
        err = kafka_records_check(&batch);
        if (err != MR_OK)
            return err;
        if (kafka_batch_last_offset(&batch) >= *next)
            *next = kafka_batch_last_offset(&batch) + 1;
    }
    *bytes = mr_str_slice(*bytes, 0, bytes->length - left.length);
    return err;
}

static struct kafka_fetched *fetched_new(struct slot *slot,
                                         const struct kafka_fetch_response_partition *answer,
                                         mr_str bytes, int64_t next, struct mr_bytes *owner)
{
    struct kafka_fetcher *fetcher = slot->fetcher;
    int32_t aborted = answer->aborted_transactions.count > 0 ? answer->aborted_transactions.count
                                                             : 0;
    size_t aborted_bytes = mr_size_product((size_t)aborted,
                                           sizeof(struct kafka_fetch_aborted_transaction));
    struct kept *kept = mr_alloc_zero(1, sizeof *kept + aborted_bytes);
    struct kafka_fetched *fetched = &kept->fetched;
    if (aborted > 0)
        memcpy(kept->aborted, answer->aborted_transactions.items, aborted_bytes);
    if (bytes.length <= COPY_BYTES_MAX) {
        fetched->owner = mr_bytes_new(bytes.length + PADDING);
        memcpy(fetched->owner->data, bytes.data, bytes.length);
        memset(fetched->owner->data + bytes.length, 0, PADDING);
        fetched->bytes = mr_str_of(fetched->owner->data, bytes.length);
    } else {
        fetched->owner = mr_bytes_ref(owner);
        fetched->bytes = bytes;
    }
    fetched->topic = mr_str_of(mr_copy_cstr(slot->meta->name), slot->meta->name.length);
    fetched->partition = slot->index;
    fetched->tag = slot->tag;
    fetched->from = slot->offset;
    fetched->next = next;
    fetched->high_watermark = answer->high_watermark;
    fetched->stable = answer->last_stable_offset;
    fetched->start = answer->log_start_offset;
    fetched->aborted = kept->aborted;
    fetched->aborted_count = aborted;
    fetched->fetcher = fetcher;
    fetched->charged = bytes.length;
    fetcher->told_bytes += fetched->charged;
    fetcher->told_count++;
    return fetched;
}

static int aborted_order(const void *a, const void *b)
{
    const struct kafka_fetch_aborted_transaction *left = a, *right = b;
    return (left->first_offset > right->first_offset) - (left->first_offset < right->first_offset);
}

/* ---- trouble ---- */

static void slot_remove(struct slot *slot)
{
    struct kafka_fetcher *fetcher = slot->fetcher;
    struct slot **link = &fetcher->slots;
    while (*link != slot)
        link = &(*link)->next;
    *link = slot->next;
    slot->next = fetcher->gone;
    fetcher->gone = slot;
    slot->life = 0;
    while (slot->held != NULL) {
        struct kafka_fetched *fetched = slot->held;
        slot->held = fetched_next(fetched);
        kafka_fetched_free(fetched);
    }
}

/* The sentence is in mr_why(). */
static void slot_fail(struct slot *slot, mr_err err)
{
    struct kafka_fetcher *fetcher = slot->fetcher;
    char *why = mr_copy_cstr(mr_str_from(mr_why()));
    slot_remove(slot);
    mr_fail(err, "kafka topic %.*s, partition %d: %s", MR_STR_ARG(slot->meta->name), slot->index,
            why);
    mr_free(why);
    if (fetcher->options.failed != NULL && !fetcher->closed)
        fetcher->options.failed(fetcher->options.context, slot->meta->name, slot->index, err);
}

static void slot_back_off(struct slot *slot, bool refresh)
{
    struct kafka_fetcher *fetcher = slot->fetcher;
    int64_t delay = kafka_client_backoff_us(fetcher->client, slot->attempts++);
    slot->resume_us = mr_loop_now_us(fetcher->client->loop) + delay;
    if (refresh)
        kafka_client_refresh(fetcher->client, slot->meta);
    fetcher_wake_in(fetcher, delay);
}

static void slot_reset(struct slot *slot)
{
    struct kafka_fetcher *fetcher = slot->fetcher;
    uint64_t life = slot->life;
    int64_t to = KAFKA_OFFSET_EARLIEST;
    if (fetcher->options.reset != NULL)
        to = fetcher->options.reset(fetcher->options.context, slot->meta->name, slot->index,
                                    slot->offset);
    if (!fetcher->closed && slot->life == life) {
        slot->offset = to;
        slot_back_off(slot, false);
    }
}

/* ---- ListOffsets: where is "earliest", where is "latest" ---- */

static void resolve_fill(void *context, int16_t version, struct mr_arena *arena, void *request)
{
    struct resolve *resolve = context;
    struct kafka_list_offsets_request *list = request;
    struct slot *slot = resolve->ask.slot;
    (void)version;
    list->replica_id = -1;
    list->isolation_level = resolve->fetcher->options.read_committed ? 1 : 0;
    list->topics.items = mr_arena_array(arena, struct kafka_list_offsets_request_topic, 1);
    list->topics.count = 1;
    list->topics.items[0].name = slot->meta->name;
    list->topics.items[0].partitions.items = mr_arena_array(
        arena, struct kafka_list_offsets_request_partition, 1);
    list->topics.items[0].partitions.count = 1;
    list->topics.items[0].partitions.items[0] = (struct kafka_list_offsets_request_partition){
        .partition_index = slot->index,
        .current_leader_epoch = -1,
        .timestamp = resolve->ask.offset,
    };
}

static void resolve_free(struct resolve *resolve)
{
    *resolve->link = resolve->next;
    if (resolve->next != NULL)
        resolve->next->link = resolve->link;
    mr_free(resolve);
}

static void resolve_done(void *context, mr_err err, int16_t version, const void *response,
                         struct mr_bytes *owner)
{
    struct resolve *resolve = context;
    const struct kafka_list_offsets_response *list = response;
    struct slot *slot = resolve->ask.slot;
    bool current = is_current(&resolve->ask);
    (void)version;
    (void)owner;
    resolve_free(resolve);
    if (!current)
        return;
    slot->resolving = false;
    int16_t code = KAFKA_ERROR_NETWORK_EXCEPTION;
    if (err == MR_OK && list->topics.count > 0 && list->topics.items[0].partitions.count > 0)
        code = list->topics.items[0].partitions.items[0].error_code;
    if (code == KAFKA_ERROR_NONE) {
        slot->offset = list->topics.items[0].partitions.items[0].offset;
        slot->attempts = 0;
        fetcher_wake(slot->fetcher);
    } else if (kafka_error_retriable(code)) {
        slot_back_off(slot, true);
    } else {
        slot_fail(slot, kafka_error_fail(code, "ListOffsets"));
    }
}

static void slot_resolve(struct slot *slot, struct kafka_node *node)
{
    struct kafka_fetcher *fetcher = slot->fetcher;
    struct resolve *resolve = mr_new(struct resolve);
    resolve->fetcher = fetcher;
    resolve->ask = (struct ask){slot, slot->life, slot->offset};
    resolve->next = fetcher->resolves;
    resolve->link = &fetcher->resolves;
    if (fetcher->resolves != NULL)
        fetcher->resolves->link = &resolve->next;
    fetcher->resolves = resolve;
    slot->resolving = true;
    kafka_node_request(node, KAFKA_API_list_offsets, -1, KAFKA_TIMEOUT_MS, resolve_fill,
                       resolve_done, resolve);
}

/* ---- Fetch ---- */

static void fetch_fill(void *context, int16_t version, struct mr_arena *arena, void *request)
{
    struct fetch *fetch = context;
    const struct kafka_fetcher_options *options = &fetch->fetcher->options;
    struct kafka_fetch_request *message = request;
    (void)version;
    message->max_wait_ms = options->wait_ms_max;
    message->min_bytes = 1;
    message->max_bytes = options->bytes_max;
    message->isolation_level = options->read_committed ? 1 : 0;
    message->topics.items = mr_arena_array(arena, struct kafka_fetch_request_topic,
                                           fetch->asks.count);
    for (size_t i = 0; i < fetch->asks.count; i++) {
        struct slot *slot = fetch->asks.items[i].slot;
        struct kafka_fetch_request_topic *topic = NULL;
        for (int32_t k = 0; topic == NULL && k < message->topics.count; k++) {
            if (message->topics.items[k].topic.data == slot->meta->name.data)
                topic = &message->topics.items[k];
        }
        if (topic == NULL) {
            topic = &message->topics.items[message->topics.count++];
            topic->topic = slot->meta->name;
            topic->partitions.items = mr_arena_array(arena, struct kafka_fetch_request_partition,
                                                     fetch->asks.count - i);
        }
        topic->partitions.items[topic->partitions.count++] = (struct kafka_fetch_request_partition){
            .partition = slot->index,
            .current_leader_epoch = -1,
            .fetch_offset = fetch->asks.items[i].offset,
            .last_fetched_epoch = -1,
            .log_start_offset = -1,
            .partition_max_bytes = options->partition_bytes_max,
        };
    }
}

static void slot_tell(struct slot *slot, struct kafka_fetched *fetched)
{
    struct kafka_fetcher *fetcher = slot->fetcher;
    if (slot->paused) {
        *slot->held_last = fetched;
        slot->held_last = &mr_container(fetched, struct kept, fetched)->next;
        return;
    }
    fetcher->options.records(fetcher->options.context, fetched);
}

static void slot_answered(struct slot *slot, const struct kafka_fetch_response_partition *answer,
                          struct mr_bytes *owner)
{
    mr_str bytes = answer->records.bytes;
    int64_t next = slot->offset;
    bool moved = slot->stable != answer->last_stable_offset;
    slot->attempts = 0;
    slot->high_watermark = answer->high_watermark;
    slot->stable = answer->last_stable_offset;
    if (answer->aborted_transactions.count > 1)
        qsort(answer->aborted_transactions.items, (size_t)answer->aborted_transactions.count,
              sizeof *answer->aborted_transactions.items, aborted_order);
    mr_err err = bytes.length == 0 ? MR_OK : batches_check(&bytes, slot->offset, &next);
    if (err != MR_OK) {
        slot_fail(slot, err);
        return;
    }
    if (bytes.length == 0) {
        if (moved && slot->fetcher->options.moved != NULL)
            slot->fetcher->options.moved(slot->fetcher->options.context);
        return;
    }
    struct kafka_fetched *fetched = fetched_new(slot, answer, bytes, next, owner);
    slot->offset = next;
    slot_tell(slot, fetched);
}

static void slot_refused(struct slot *slot, int16_t code)
{
    if (code == KAFKA_ERROR_OFFSET_OUT_OF_RANGE)
        slot_reset(slot);
    else if (code == KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION &&
             slot->meta->unknown_tries >= KAFKA_UNKNOWN_TRIES)
        slot_fail(slot, kafka_error_fail(code, "Fetch"));
    else if (kafka_error_retriable(code))
        slot_back_off(slot, true);
    else
        slot_fail(slot, kafka_error_fail(code, "Fetch"));
}

static void fetch_unlink(struct fetch *fetch)
{
    *fetch->link = fetch->next;
    if (fetch->next != NULL)
        fetch->next->link = fetch->link;
}

static void fetch_free(struct fetch *fetch)
{
    mr_array_fini(&fetch->asks);
    mr_free(fetch);
}

/* The slot that this answer is for, if it is still assigned as it was when asked. */
static struct slot *asked_slot(struct fetch *fetch, mr_str topic, int32_t partition)
{
    for (size_t i = 0; i < fetch->asks.count; i++) {
        struct ask *ask = &fetch->asks.items[i];
        if (is_current(ask) && ask->slot->index == partition &&
            mr_str_equal(ask->slot->meta->name, topic))
            return ask->slot;
    }
    return NULL;
}

static void fetch_answered(struct fetch *fetch, const struct kafka_fetch_response *response,
                           struct mr_bytes *owner)
{
    struct kafka_fetcher *fetcher = fetch->fetcher;
    for (int32_t i = 0; i < response->responses.count; i++) {
        const struct kafka_fetch_response_topic *topic = &response->responses.items[i];
        for (int32_t k = 0; k < topic->partitions.count; k++) {
            const struct kafka_fetch_response_partition *answer = &topic->partitions.items[k];
            struct slot *slot = fetcher->closed
                                    ? NULL
                                    : asked_slot(fetch, topic->topic, answer->partition_index);
            if (slot == NULL)
                continue;
            if (answer->error_code == KAFKA_ERROR_NONE)
                slot_answered(slot, answer, owner);
            else
                slot_refused(slot, answer->error_code);
        }
    }
}

static void fetch_done(void *context, mr_err err, int16_t version, const void *response,
                       struct mr_bytes *owner)
{
    struct fetch *fetch = context;
    struct kafka_fetcher *fetcher = fetch->fetcher;
    const struct kafka_fetch_response *message = response;
    (void)version;
    fetch_unlink(fetch);
    for (size_t i = 0; i < fetch->asks.count; i++) {
        if (is_current(&fetch->asks.items[i]))
            fetch->asks.items[i].slot->asked = false;
    }
    bool refused = err == MR_OK && message->error_code != KAFKA_ERROR_NONE;
    fetcher->told_count++; /* the fetcher outlives its own callbacks */
    if (err == MR_OK && !refused)
        fetch_answered(fetch, message, owner);
    for (size_t i = 0; (err != MR_OK || refused) && i < fetch->asks.count; i++) {
        struct ask *ask = &fetch->asks.items[i];
        if (fetcher->closed || !is_current(ask))
            continue;
        if (err == MR_UNSUPPORTED || err == MR_CORRUPT)
            slot_fail(ask->slot, err);
        else
            slot_back_off(ask->slot, true);
    }
    fetch_free(fetch);
    fetcher->told_count--;
    if (fetcher->closed)
        fetcher_free(fetcher);
    else
        fetcher_wake(fetcher);
}

/* ---- what can be fetched now ---- */

static bool node_is_asked(const struct kafka_fetcher *fetcher, const struct kafka_node *node)
{
    for (const struct fetch *fetch = fetcher->fetches; fetch != NULL; fetch = fetch->next) {
        if (fetch->node == node)
            return true;
    }
    return false;
}

/* The node to ask for this partition; NULL when it is not its time. */
static struct kafka_node *slot_node(struct slot *slot)
{
    struct kafka_fetcher *fetcher = slot->fetcher;
    int64_t now = mr_loop_now_us(fetcher->client->loop);
    if (slot->paused || slot->asked || slot->resolving)
        return NULL;
    if (now < slot->resume_us) {
        fetcher_wake_in(fetcher, slot->resume_us - now);
        return NULL;
    }
    int32_t leader = kafka_client_leader(slot->meta, slot->index);
    struct kafka_node *node = leader < 0 ? NULL : kafka_node_find(fetcher->client, leader, fetcher);
    if (node != NULL)
        return node;
    if (slot->meta->unknown_tries >= KAFKA_UNKNOWN_TRIES ||
        (slot->meta->partition_count > 0 && slot->index >= slot->meta->partition_count))
        slot_fail(slot, mr_fail(MR_NOT_FOUND, "not found"));
    else
        slot_back_off(slot, slot->meta->updated_us > 0);
    return NULL;
}

static void slot_ask(struct slot *slot, struct kafka_node *node, struct fetch **list)
{
    struct kafka_fetcher *fetcher = slot->fetcher;
    struct fetch *fetch = *list;
    while (fetch != NULL && fetch->node != node)
        fetch = fetch->next;
    if (fetch == NULL) {
        fetch = mr_new(struct fetch);
        fetch->fetcher = fetcher;
        fetch->node = node;
        fetch->next = *list;
        *list = fetch;
    }
    slot->asked = true;
    *mr_array_add(&fetch->asks) = (struct ask){slot, slot->life, slot->offset};
}

static void fetch_send(struct fetch *fetch)
{
    struct kafka_fetcher *fetcher = fetch->fetcher;
    fetch->next = fetcher->fetches;
    fetch->link = &fetcher->fetches;
    if (fetcher->fetches != NULL)
        fetcher->fetches->link = &fetch->next;
    fetcher->fetches = fetch;
    kafka_node_request(fetch->node, KAFKA_API_fetch, FETCH_VERSION_MAX,
                       fetcher->options.wait_ms_max + FETCH_SLACK_MS, fetch_fill, fetch_done,
                       fetch);
}

static void held_tell(struct kafka_fetcher *fetcher)
{
    for (struct slot *slot = fetcher->slots; slot != NULL && !fetcher->closed;) {
        if (slot->paused || slot->held == NULL) {
            slot = slot->next;
            continue;
        }
        struct kafka_fetched *fetched = slot->held;
        slot->held = fetched_next(fetched);
        if (slot->held == NULL)
            slot->held_last = &slot->held;
        fetcher->options.records(fetcher->options.context, fetched);
        slot = fetcher->slots; /* the callback may have changed the list */
    }
}

static void fetcher_task(struct mr_task *task)
{
    struct kafka_fetcher *fetcher = mr_container(task, struct kafka_fetcher, task);
    struct fetch *list = NULL;
    if (fetcher->closed)
        return;
    fetcher->told_count++;
    held_tell(fetcher);
    for (struct slot *slot = fetcher->slots, *next; slot != NULL && !fetcher->closed; slot = next) {
        next = slot->next;
        struct kafka_node *node = slot_node(slot);
        if (next != NULL && next->life == 0) { /* a callback has changed the list */
            fetcher_wake(fetcher);
            next = NULL;
        }
        if (node == NULL)
            continue;
        if (slot->offset < 0)
            slot_resolve(slot, node);
        else if (!node_is_asked(fetcher, node) &&
                 fetcher->told_bytes < fetcher->options.prefetch_bytes_max)
            slot_ask(slot, node, &list);
    }
    while (list != NULL) {
        struct fetch *fetch = list;
        list = fetch->next;
        if (fetcher->closed)
            fetch_free(fetch);
        else
            fetch_send(fetch);
    }
    fetcher->told_count--;
    if (fetcher->closed)
        fetcher_free(fetcher);
}

static void on_timer(struct mr_timer *timer)
{
    fetcher_task(&mr_container(timer, struct kafka_fetcher, timer)->task);
}

static void on_metadata(struct kafka_listener *listener, mr_err err)
{
    (void)err;
    fetcher_wake(mr_container(listener, struct kafka_fetcher, listener));
}

/* ---- what the world sees ---- */

mr_err kafka_fetcher_open(struct kafka_client *client, const struct kafka_fetcher_options *options,
                          struct kafka_fetcher **out)
{
    struct kafka_fetcher *fetcher = mr_new(struct kafka_fetcher);
    mr_assert(options->records != NULL);
    fetcher->client = client;
    fetcher->options = *options;
    if (options->wait_ms_max <= 0)
        fetcher->options.wait_ms_max = WAIT_MS;
    if (options->partition_bytes_max <= 0)
        fetcher->options.partition_bytes_max = PARTITION_BYTES;
    if (options->bytes_max <= 0)
        fetcher->options.bytes_max = BYTES;
    if (options->prefetch_bytes_max == 0)
        fetcher->options.prefetch_bytes_max = PREFETCH_BYTES;
    fetcher->task.run = fetcher_task;
    fetcher->timer.run = on_timer;
    fetcher->listener.changed = on_metadata;
    kafka_client_listen(client, &fetcher->listener);
    *out = fetcher;
    return MR_OK;
}

/* Closed, nothing of it told and not freed, and the loop has no task of it: then it goes. */
static void fetcher_free(struct kafka_fetcher *fetcher)
{
    if (fetcher->told_count > 0)
        return;
    while (fetcher->gone != NULL) {
        struct slot *slot = fetcher->gone;
        fetcher->gone = slot->next;
        mr_free(slot);
    }
    mr_free(fetcher);
}

static void fetcher_end(void *context, mr_err err)
{
    struct kafka_fetcher *fetcher = context;
    (void)err;
    if (fetcher->task.queued) {
        kafka_client_later(fetcher->client, fetcher_end, fetcher, MR_OK);
        return;
    }
    fetcher->told_count--;
    fetcher_free(fetcher);
}

void kafka_fetcher_close(struct kafka_fetcher *fetcher)
{
    if (fetcher == NULL)
        return;
    fetcher->closed = true;
    fetcher->told_count++; /* until fetcher_end() */
    kafka_client_unlisten(fetcher->client, &fetcher->listener);
    kafka_node_drop_lane(fetcher->client, fetcher);
    mr_timer_stop(&fetcher->timer);
    while (fetcher->slots != NULL)
        slot_remove(fetcher->slots);
    while (fetcher->fetches != NULL) {
        struct fetch *fetch = fetcher->fetches;
        fetch_unlink(fetch);
        fetch_free(fetch);
    }
    while (fetcher->resolves != NULL)
        resolve_free(fetcher->resolves);
    kafka_client_later(fetcher->client, fetcher_end, fetcher, MR_OK);
}

void kafka_fetcher_assign(struct kafka_fetcher *fetcher, mr_str topic, int32_t partition,
                          int64_t offset, void *tag)
{
    struct slot *slot = slot_find(fetcher, topic, partition);
    if (slot != NULL)
        slot_remove(slot);
    slot = mr_new(struct slot);
    slot->fetcher = fetcher;
    slot->meta = kafka_client_topic(fetcher->client, topic);
    slot->index = partition;
    slot->tag = tag;
    slot->offset = offset;
    slot->life = ++fetcher->lives;
    slot->high_watermark = slot->stable = -1;
    slot->held_last = &slot->held;
    if (slot->meta->unknown_tries > 0) { /* it may be there by now */
        slot->meta->unknown_tries = 0;
        kafka_client_refresh(fetcher->client, slot->meta);
    }
    struct slot **link = &fetcher->slots;
    while (*link != NULL)
        link = &(*link)->next;
    *link = slot;
    fetcher_wake(fetcher);
}

void kafka_fetcher_unassign(struct kafka_fetcher *fetcher, mr_str topic, int32_t partition)
{
    struct slot *slot = slot_find(fetcher, topic, partition);
    if (slot != NULL)
        slot_remove(slot);
}

void kafka_fetcher_pause(struct kafka_fetcher *fetcher, mr_str topic, int32_t partition)
{
    struct slot *slot = slot_find(fetcher, topic, partition);
    if (slot != NULL)
        slot->paused = true;
}

void kafka_fetcher_resume(struct kafka_fetcher *fetcher, mr_str topic, int32_t partition)
{
    struct slot *slot = slot_find(fetcher, topic, partition);
    if (slot == NULL || !slot->paused)
        return;
    slot->paused = false;
    fetcher_wake(fetcher);
}

mr_err kafka_fetcher_position(const struct kafka_fetcher *fetcher, mr_str topic, int32_t partition,
                              struct kafka_position *out)
{
    const struct slot *slot = slot_find(fetcher, topic, partition);
    if (slot == NULL)
        return mr_fail(MR_NOT_FOUND, "kafka topic %.*s, partition %d: not assigned",
                       MR_STR_ARG(topic), partition);
    *out = (struct kafka_position){
        .next = slot->offset < 0 ? -1 : slot->offset,
        .high_watermark = slot->high_watermark,
        .stable = slot->stable,
    };
    return MR_OK;
}
