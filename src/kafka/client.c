/* kafka/client.c: the client itself: addresses, what is known of topics and brokers, who is told.
 * One metadata request is under way at a time and asks for all topics that are wanted then. */
#include "kafka/client.h"

#include "kafka/login.h"

enum {
    DEFAULT_PORT = 9092,
    BACKOFF_SHIFT_MAX = 6,
    CONCURRENT_SHARE = 8,
};

struct kafka_later {
    struct kafka_later *next;
    kafka_done *done;
    void *context;
    mr_err err;
    char *why;
};

int64_t kafka_client_backoff_us(struct kafka_client *client, int32_t attempt)
{
    int64_t base = KAFKA_BACKOFF_MIN_MS * 1000LL
                   << (attempt < BACKOFF_SHIFT_MAX ? attempt : BACKOFF_SHIFT_MAX);
    if (base > KAFKA_BACKOFF_MAX_MS * 1000LL)
        base = KAFKA_BACKOFF_MAX_MS * 1000LL;
    return base / 2 +
           (int64_t)mr_random_below(mr_loop_random(client->loop), (uint64_t)base / 2 + 1);
}

int64_t kafka_client_pause_us(struct kafka_client *client, int32_t attempt, int16_t code)
{
    int64_t pause = kafka_client_backoff_us(client, attempt);
    return code == KAFKA_ERROR_CONCURRENT_TRANSACTIONS ? pause / CONCURRENT_SHARE : pause;
}

void kafka_client_task(struct kafka_client *client)
{
    mr_loop_at_turn_end(client->loop, &client->task);
}

void kafka_client_later(struct kafka_client *client, kafka_done *done, void *context, mr_err err)
{
    struct kafka_later *later = mr_new(struct kafka_later);
    later->done = done;
    later->context = context;
    later->err = err;
    later->why = err == MR_OK ? NULL : mr_copy_cstr(mr_str_from(mr_why()));
    *client->laters_end = later;
    client->laters_end = &later->next;
    kafka_client_task(client);
}

static void laters_run(struct kafka_client *client)
{
    struct kafka_later *list = client->laters; /* what is added meanwhile has the next task */
    client->laters = NULL;
    client->laters_end = &client->laters;
    while (list != NULL) {
        struct kafka_later *later = list;
        list = later->next;
        if (later->err != MR_OK)
            mr_fail(later->err, "%s", later->why);
        later->done(later->context, later->err);
        mr_free(later->why);
        mr_free(later);
    }
}

/* ---- listeners ---- */

void kafka_client_listen(struct kafka_client *client, struct kafka_listener *listener)
{
    listener->next = client->listeners;
    client->listeners = listener;
}

void kafka_client_unlisten(struct kafka_client *client, struct kafka_listener *listener)
{
    for (struct kafka_listener **link = &client->listeners; *link != NULL; link = &(*link)->next) {
        if (*link == listener) {
            *link = listener->next;
            return;
        }
    }
}

/* A listener only has its own task run, so the list does not change under our hands. */
void kafka_client_tell(struct kafka_client *client, mr_err err)
{
    if (err == MR_AUTH)
        kafka_call_refuse(client, err);
    for (struct kafka_listener *listener = client->listeners; listener != NULL;
         listener = listener->next)
        listener->changed(listener, err);
}

/* ---- metadata ---- */

struct kafka_topic *kafka_client_topic(struct kafka_client *client, mr_str name)
{
    struct kafka_topic *topic = mr_map_get(&client->topics, name);
    if (topic != NULL)
        return topic;
    topic = mr_new(struct kafka_topic);
    topic->name = mr_str_of(mr_copy_cstr(name), name.length);
    mr_map_put(&client->topics, name, topic);
    kafka_client_refresh(client, topic);
    return topic;
}

void kafka_client_refresh(struct kafka_client *client, struct kafka_topic *topic)
{
    topic->wanted = true;
    kafka_client_refresh_cluster(client);
}

void kafka_client_refresh_cluster(struct kafka_client *client)
{
    client->ask = true;
    kafka_client_task(client);
}

int32_t kafka_client_leader(const struct kafka_topic *topic, int32_t partition)
{
    if (partition < 0 || partition >= topic->partition_count)
        return -1;
    return topic->partitions[partition].leader;
}

/* All topics that are wanted; the broker makes none of them (v4 and later can be told so). */
static void metadata_fill(void *context, int16_t version, struct mr_arena *arena, void *request)
{
    struct kafka_client *client = context;
    struct kafka_metadata_request *metadata = request;
    struct mr_map_entry *entry;
    (void)version;
    metadata->allow_auto_topic_creation = false;
    metadata->topics.items = mr_arena_array(arena, struct kafka_metadata_request_topic,
                                            client->topics.count + 1);
    for (size_t i = 0; (entry = mr_map_next(&client->topics, &i)) != NULL;) {
        struct kafka_topic *topic = entry->value;
        if (topic->wanted)
            metadata->topics.items[metadata->topics.count++].name = topic->name;
    }
}

static void topic_learn(struct kafka_client *client, const struct kafka_metadata_topic *news)
{
    struct kafka_topic *topic = mr_map_get(&client->topics, news->name);
    if (topic == NULL)
        return;
    topic->wanted = false;
    topic->updated_us = mr_loop_now_us(client->loop);
    topic->error = news->error_code;
    if (news->error_code == KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION ||
        news->error_code == KAFKA_ERROR_INVALID_TOPIC_EXCEPTION) {
        topic->unknown_tries++;
        topic->partition_count = 0;
        return;
    }
    if (news->error_code != KAFKA_ERROR_NONE && news->partitions.count == 0)
        return;
    topic->unknown_tries = 0;
    topic->partitions = mr_realloc(
        topic->partitions,
        mr_size_product((size_t)news->partitions.count + 1, sizeof *topic->partitions));
    for (int32_t i = 0; i < news->partitions.count; i++)
        topic->partitions[i] = (struct kafka_topic_partition){-1, -1};
    for (int32_t i = 0; i < news->partitions.count; i++) {
        const struct kafka_metadata_partition *partition = &news->partitions.items[i];
        if (partition->partition_index >= 0 && partition->partition_index < news->partitions.count)
            topic->partitions[partition->partition_index] = (struct kafka_topic_partition){
                partition->leader_id, partition->leader_epoch};
    }
    topic->partition_count = news->partitions.count;
}

static void metadata_done(void *context, mr_err err, int16_t version, const void *response)
{
    struct kafka_client *client = context;
    const struct kafka_metadata_response *metadata = response;
    (void)version;
    client->asking = NULL;
    if (err == MR_OK) {
        for (int32_t i = 0; i < metadata->brokers.count; i++) {
            const struct kafka_metadata_broker *broker = &metadata->brokers.items[i];
            kafka_node_learn(client, broker->node_id, broker->host, broker->port);
        }
        client->controller = metadata->controller_id;
        for (int32_t i = 0; i < metadata->topics.count; i++)
            topic_learn(client, &metadata->topics.items[i]);
        kafka_call_wake(client);
    }
    if (client->ask) /* somebody wished to know something while this was under way */
        kafka_client_task(client);
    kafka_client_tell(client, err);
}

static void metadata_ask(struct kafka_client *client)
{
    if (!client->ask || client->asking != NULL)
        return;
    client->ask = false;
    struct kafka_call_options options = {
        .target = {KAFKA_TARGET_ANY, MR_STR_NULL, 0},
        .api_key = KAFKA_API_metadata,
        .version_max = -1,
        .fill = metadata_fill,
        .done = metadata_done,
        .context = client,
    };
    client->asking = kafka_call_start(client, &options);
}

/* ---- open and close ---- */

struct kafka_security kafka_security_copy(struct mr_arena *arena,
                                          const struct kafka_security *security)
{
    struct kafka_security copy = *security;
    copy.files = net_tls_client_copy(arena, &security->files);
    copy.mechanism = mr_arena_str(arena, security->mechanism);
    copy.user = mr_arena_str(arena, security->user);
    copy.password = mr_arena_str(arena, security->password);
    return copy;
}

static mr_err security_take(struct kafka_client *client, const struct kafka_security *from)
{
    struct kafka_security *own = &client->security;
    mr_err err = from->mechanism.length == 0 ? MR_OK : kafka_login_check(from->mechanism);
    if (err == MR_OK && from->mechanism.length > 0 && from->user.length == 0)
        err = mr_fail(MR_INVALID, "kafka: SASL %.*s needs a user", MR_STR_ARG(from->mechanism));
    if (err == MR_OK && from->tls)
        err = net_tls_client_new(&from->files, &client->tls);
    own->tls = from->tls;
    own->mechanism = mr_str_of(mr_copy_cstr(from->mechanism), from->mechanism.length);
    own->user = mr_str_of(mr_copy_cstr(from->user), from->user.length);
    own->password = mr_str_of(mr_copy_cstr(from->password), from->password.length);
    return err;
}

static void security_free(struct kafka_client *client)
{
    struct kafka_security *own = &client->security;
    net_tls_free(client->tls);
    if (own->password.length > 0)
        kafka_scram_wipe((void *)(uintptr_t)own->password.data, own->password.length);
    kafka_scram_wipe(&client->salted, sizeof client->salted);
    mr_free((void *)(uintptr_t)own->mechanism.data);
    mr_free((void *)(uintptr_t)own->user.data);
    mr_free((void *)(uintptr_t)own->password.data);
}

static void client_free(struct kafka_client *client)
{
    struct mr_map_entry *entry;
    for (size_t i = 0; (entry = mr_map_next(&client->topics, &i)) != NULL;) {
        struct kafka_topic *topic = entry->value;
        mr_free((void *)(uintptr_t)topic->name.data);
        mr_free(topic->partitions);
        mr_free(topic);
    }
    mr_map_fini(&client->topics);
    kafka_call_fini(client);
    mr_array_fini(&client->brokers);
    mr_arena_fini(&client->request_arena);
    mr_arena_fini(&client->response_arena);
    mr_buf_fini(&client->scratch);
    mr_free((void *)(uintptr_t)client->client_id.data);
    security_free(client);
    mr_free(client);
}

static void client_task(struct mr_task *task)
{
    struct kafka_client *client = mr_container(task, struct kafka_client, task);
    kafka_node_free_dropped(client);
    laters_run(client);
    if (!client->closing) {
        metadata_ask(client);
        return;
    }
    kafka_call_cancel_all(client);
    if (client->dropped != NULL || client->laters != NULL)
        kafka_client_task(client);
    else if (!client->task.queued)
        client_free(client);
}

static mr_err addresses_parse(struct kafka_client *client, mr_str addresses)
{
    mr_str part;
    while (mr_str_split(&addresses, ',', &part)) {
        struct kafka_broker broker = {.id = -1 - (int32_t)client->brokers.count};
        if (mr_str_trim(part).length == 0)
            continue;
        mr_err err = net_address_parse(mr_str_trim(part), DEFAULT_PORT, &broker.address);
        if (err != MR_OK)
            return err;
        *mr_array_add(&client->brokers) = broker;
    }
    client->bootstrap_count = client->brokers.count;
    return client->brokers.count > 0 ? MR_OK : mr_fail(MR_INVALID, "kafka: no address given");
}

mr_err kafka_client_open_secure(struct mr_loop *loop, mr_str addresses, mr_str client_id,
                                const struct kafka_security *security, struct kafka_client **out)
{
    struct kafka_client *client = mr_new(struct kafka_client);
    client->loop = loop;
    client->client_id = mr_str_of(mr_copy_cstr(client_id), client_id.length);
    client->controller = -1;
    client->features_epoch = -1;
    client->laters_end = &client->laters;
    client->task.run = client_task;
    mr_err err = addresses_parse(client, addresses);
    if (err == MR_OK)
        err = security_take(client, security);
    if (err != MR_OK) {
        client_free(client);
        return err;
    }
    *out = client;
    return MR_OK;
}

mr_err kafka_client_open(struct mr_loop *loop, mr_str addresses, mr_str client_id,
                         struct kafka_client **out)
{
    return kafka_client_open_secure(loop, addresses, client_id, &(struct kafka_security){0}, out);
}

void kafka_client_close(struct kafka_client *client)
{
    if (client == NULL)
        return;
    kafka_read_cancel_all(client);
    kafka_admin_cancel_waiting(client);
    mr_assert(client->listeners == NULL); /* fetchers and producers are closed before */
    client->closing = true;
    kafka_node_drop_all(client);
    kafka_client_task(client);
}

struct mr_loop *kafka_client_loop(const struct kafka_client *client)
{
    return client->loop;
}

int32_t kafka_client_partition(mr_str key, int32_t partition_count)
{
    return (int32_t)((mr_murmur2(key.data, key.length) & 0x7fffffff) % (uint32_t)partition_count);
}

void kafka_client_request(struct kafka_client *client, struct kafka_target target, int16_t api_key,
                          int16_t version_max, kafka_fill *fill, kafka_answer *done, void *context)
{
    struct kafka_call_options options = {
        .target = target,
        .api_key = api_key,
        .version_max = version_max,
        .fill = fill,
        .done = done,
        .context = context,
    };
    kafka_call_start(client, &options);
}
