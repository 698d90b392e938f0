/* broker/topics.c: which topics there are. The catalog is the only word on that: a partition's folder
 * without a row means nothing. A deletion is a row that says so, then the removal of the folders, then
 * the row goes; a crash in between is finished at the next start. */
#include "broker/topics.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>

enum {
    CATALOG_FORMAT = 1,
    CATALOG_BYTES_MAX = 256 << 20,
    PRODUCER_ID_BLOCK = 1000,
    PRODUCER_IDS_PASSED = 1000000, /* may have been given after a backup */
};

/* ---- looking up ---- */

struct broker_topic *broker_topics_find(struct broker_topics *topics, mr_str name)
{
    return mr_map_get(&topics->by_name, name);
}

struct broker_topic *broker_topics_find_id(struct broker_topics *topics, const mr_uuid *id)
{
    return mr_map_get(&topics->by_id, mr_str_of(id->bytes, sizeof(id->bytes)));
}

bool broker_topics_id_is_zero(const mr_uuid *id)
{
    static const mr_uuid zero;
    return memcmp(id, &zero, sizeof(zero)) == 0;
}

struct broker_partition *broker_topics_partition(struct broker_topics *topics, mr_str name,
                                                 int32_t index)
{
    struct broker_topic *topic = broker_topics_find(topics, name);
    if (topic == NULL || index < 0 || (size_t)index >= topic->partitions.count)
        return NULL;
    return topic->partitions.items[index];
}

static void deleting_add(struct broker_topics *topics, struct broker_topic *topic)
{
    *mr_array_add(&topics->deleting) = topic;
    mr_map_put(&topics->deleting_names, mr_str_from(topic->name), topic);
}

bool broker_topics_is_deleting(const struct broker_topics *topics, mr_str name)
{
    return mr_map_get(&topics->deleting_names, name) != NULL;
}

bool broker_topics_name_ok(mr_str name)
{
    if (name.length == 0 || name.length > 249 || mr_str_equal(name, MR_STR(".")) ||
        mr_str_equal(name, MR_STR("..")))
        return false;
    for (size_t i = 0; i < name.length; i++) {
        char c = name.data[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '.' || c == '_' || c == '-';
        if (!ok)
            return false;
    }
    return true;
}

bool broker_topics_is_internal(mr_str name)
{
    return mr_str_equal(name, MR_STR("__consumer_offsets")) ||
           mr_str_equal(name, MR_STR("__transaction_state")) ||
           mr_str_equal(name, MR_STR("__share_group_state"));
}

/* ---- making and freeing ---- */

static void topic_free(struct broker_topic *topic)
{
    for (size_t i = 0; i < topic->partitions.count; i++) {
        broker_log_free(topic->partitions.items[i]->log);
        mr_free(topic->partitions.items[i]);
    }
    mr_array_fini(&topic->partitions);
    broker_config_fini(&topic->config);
    mr_free(topic->name);
    mr_free(topic);
}

struct broker_log *broker_topics_log(const struct broker_partition *partition)
{
    const struct broker_topic *topic = partition->topic;
    struct broker_log *log;
    char folder[BROKER_PATH_BYTES], name[300];

    snprintf(name, sizeof(name), "%s-%d", topic->name, partition->index);
    snprintf(folder, sizeof(folder), "%s/topics/%s", topic->topics->folder, name);
    log = broker_log_new(topic->topics->storage, mr_str_from(folder), mr_str_from(name),
                         &topic->config);
    log->internal = topic->internal;
    return log;
}

static struct broker_partition *partition_add(struct broker_topic *topic)
{
    struct broker_partition *partition = mr_new(struct broker_partition);

    partition->topic = topic;
    partition->index = (int32_t)topic->partitions.count;
    *mr_array_add(&topic->partitions) = partition;
    return partition;
}

/* A partition that has no folder yet. */
static void partition_begin(struct broker_partition *partition)
{
    struct broker_log *log = broker_topics_log(partition);

    broker_log_segment_new(log, 0, broker_storage_now_ms(log->storage));
    partition->log = log;
    broker_log_start(log);
}

static struct broker_topic *topic_new(struct broker_topics *topics, mr_str name, const mr_uuid *id,
                                      struct broker_config *config)
{
    struct broker_topic *topic = mr_new(struct broker_topic);

    topic->topics = topics;
    topic->name = mr_copy_cstr(name);
    topic->id = *id;
    topic->config = *config;
    *config = (struct broker_config){0};
    topic->internal = broker_topics_is_internal(name);
    return topic;
}

/* The name as metrics would show it; false: it has none of the two characters. */
static bool blur(mr_str name, char blurred[250])
{
    bool has = false;

    mr_assert(name.length < 250);
    for (size_t i = 0; i < name.length; i++) {
        has = has || name.data[i] == '.' || name.data[i] == '_';
        blurred[i] = name.data[i] == '.' ? '_' : name.data[i];
    }
    return has;
}

static void blurred_count(struct broker_topics *topics, mr_str name, int by)
{
    char blurred[250];
    mr_str key = mr_str_of(blurred, name.length);

    if (!blur(name, blurred))
        return;
    intptr_t count = (intptr_t)mr_map_get(&topics->by_blurred, key) + by;
    if (count > 0)
        mr_map_put(&topics->by_blurred, key, (void *)count);
    else
        mr_map_remove(&topics->by_blurred, key);
}

bool broker_topics_collides(const struct broker_topics *topics, mr_str name)
{
    char blurred[250];
    return blur(name, blurred) &&
           mr_map_get(&topics->by_blurred, mr_str_of(blurred, name.length)) != NULL;
}

static void topic_show(struct broker_topics *topics, struct broker_topic *topic)
{
    blurred_count(topics, mr_str_from(topic->name), 1);
    mr_map_put(&topics->by_name, mr_str_from(topic->name), topic);
    mr_map_put(&topics->by_id, mr_str_of(topic->id.bytes, 16), topic);
    topics->changes++;
}

/* ---- writing the catalog ---- */

static void print_topic(const struct broker_topic *topic, struct mr_buf *out)
{
    char id[37];

    mr_uuid_format(&topic->id, id);
    mr_buf_printf(out, "topic %s %s %zu%s\n", topic->name, id, topic->partitions.count,
                  topic->deleting ? " deleting" : "");
    broker_config_print(&topic->config, out);
}

/* A group's name may have any bytes: what is not plain goes as %XX. */
static void print_group(mr_str name, const struct broker_group_config *config, struct mr_buf *out)
{
    mr_buf_printf(out, "group ");
    for (size_t i = 0; i < name.length; i++) {
        unsigned char byte = (unsigned char)name.data[i];
        bool plain = byte > ' ' && byte < 0x7f && byte != '%';
        if (plain)
            mr_buf_add(out, &byte, 1);
        else
            mr_buf_printf(out, "%%%02x", byte);
    }
    mr_buf_printf(out, "\n");
    broker_group_config_print(config, out);
}

void broker_topics_print(const struct broker_topics *topics, struct mr_buf *out)
{
    struct mr_map_entry *entry;
    size_t from = out->length;

    mr_buf_printf(out, "millrace-broker %d\ncluster %s\nproducer-id %lld\n", CATALOG_FORMAT,
                  topics->cluster_id, (long long)topics->producer_id_end);
    for (size_t i = 0; (entry = mr_map_next(&topics->by_name, &i)) != NULL;)
        print_topic(entry->value, out);
    for (size_t i = 0; i < topics->deleting.count; i++)
        print_topic(topics->deleting.items[i], out);
    for (size_t i = 0; (entry = mr_map_next(&topics->group_configs, &i)) != NULL;)
        if (entry->key.length > 0)
            print_group(entry->key, entry->value, out);
    mr_buf_printf(out, "end %08x\n", mr_crc32c(0, out->data + from, out->length - from));
}

struct catalog_job {
    struct mr_job job;
    struct broker_topics *topics;
    struct mr_buf content;
    char path[BROKER_PATH_BYTES];
    mr_err err;
    char why[256];
};

static void catalog_work(struct mr_job *job)
{
    struct catalog_job *write = mr_container(job, struct catalog_job, job);
    write->err = mr_file_write(write->path, mr_buf_as_str(&write->content), 0644);
    if (write->err != MR_OK)
        snprintf(write->why, sizeof(write->why), "%s", mr_why());
}

static void waits_run(struct broker_catalog_wait *wait, mr_err err, const char *why)
{
    while (wait != NULL) {
        struct broker_catalog_wait *next = wait->next;
        if (err != MR_OK)
            mr_fail(err, "%s", why);
        wait->run(wait, err);
        wait = next;
    }
}

static void catalog_done(struct mr_job *job)
{
    struct catalog_job *write = mr_container(job, struct catalog_job, job);
    struct broker_topics *topics = write->topics;
    struct broker_catalog_wait *done = topics->waiting;

    topics->waiting = NULL;
    topics->writing = false;
    if (write->err != MR_OK)
        mr_log(MR_LOG_ERROR, "broker", "catalog not written: %s", write->why);
    waits_run(done, write->err, write->why);
    if (topics->write_again && !topics->writing)
        mr_loop_at_turn_end(topics->storage->loop, &topics->write_task);
    mr_buf_fini(&write->content);
    mr_free(write);
}

static void catalog_write(struct mr_task *task)
{
    struct broker_topics *topics = mr_container(task, struct broker_topics, write_task);
    struct catalog_job *write;

    if (topics->writing)
        return; /* the end of that one comes here again */
    topics->writing = true;
    topics->write_again = false;
    topics->waiting = topics->waiting_next;
    topics->waiting_next = NULL;
    write = mr_new(struct catalog_job);
    write->job = (struct mr_job){catalog_work, catalog_done, topics->storage->loop, {0}};
    write->topics = topics;
    broker_topics_print(topics, &write->content);
    snprintf(write->path, sizeof(write->path), "%s/catalog", topics->folder);
    mr_disk_submit(topics->storage->disk, &write->job);
}

void broker_topics_save(struct broker_topics *topics, struct broker_catalog_wait *wait)
{
    if (wait != NULL) {
        wait->next = topics->waiting_next;
        topics->waiting_next = wait;
    }
    topics->write_again = true;
    if (!topics->writing)
        mr_loop_at_turn_end(topics->storage->loop, &topics->write_task);
}

/* ---- reading it ---- */

static mr_err catalog_broken(const struct broker_topics *topics, size_t line, mr_str found)
{
    return mr_fail(MR_CORRUPT,
                   "%s/catalog:%zu: expected a row of the broker's catalog, found \"%.*s\"",
                   topics->folder, line, MR_STR_ARG(found));
}

static mr_err read_topic(struct broker_topics *topics, mr_str line, struct broker_topic **out)
{
    struct broker_config config;
    struct broker_topic *topic;
    mr_str name, id, count, word;
    int64_t partitions = 0;
    mr_uuid uuid;

    mr_str_split(&line, ' ', &name); /* "topic" */
    if (!mr_str_split(&line, ' ', &name) || !mr_str_split(&line, ' ', &id) ||
        !mr_str_split(&line, ' ', &count) || !broker_topics_name_ok(name) ||
        mr_uuid_parse(id, &uuid) != MR_OK || mr_str_to_i64(count, &partitions) != MR_OK ||
        partitions < 1 || partitions > MR_LIMIT_BROKER_PARTITIONS)
        return MR_CORRUPT;
    broker_config_init(&config, &topics->defaults);
    topic = topic_new(topics, name, &uuid, &config);
    for (int64_t i = 0; i < partitions; i++)
        partition_add(topic);
    topic->deleting = mr_str_split(&line, ' ', &word) && mr_str_equal(word, MR_STR("deleting"));
    if (topic->deleting)
        deleting_add(topics, topic);
    else
        topic_show(topics, topic);
    *out = topic;
    return MR_OK;
}

static int nibble(char digit)
{
    return digit >= '0' && digit <= '9'   ? digit - '0'
           : digit >= 'a' && digit <= 'f' ? digit - 'a' + 10
                                          : -1;
}

static mr_err read_group(mr_str text, struct mr_buf *name)
{
    for (size_t i = 0; i < text.length; i++) {
        int high, low;
        if (text.data[i] != '%') {
            mr_buf_add(name, &text.data[i], 1);
            continue;
        }
        if (i + 2 >= text.length || (high = nibble(text.data[i + 1])) < 0 ||
            (low = nibble(text.data[i + 2])) < 0)
            return MR_CORRUPT;
        char byte = (char)(high << 4 | low);
        mr_buf_add(name, &byte, 1);
        i += 2;
    }
    return name->length > 0 ? MR_OK : MR_CORRUPT;
}

/* A setting of the group whose row came last. */
static mr_err read_group_setting(struct broker_topics *topics, mr_str group, mr_str name,
                                 mr_str value)
{
    struct broker_group_config config;
    mr_err err;

    if (broker_group_config_find(name) < 0)
        return MR_OK; /* of another release */
    broker_group_config_copy(broker_group_config_of(&topics->group_configs, group), &config);
    err = broker_group_config_read(&config, name, value);
    if (err == MR_OK)
        broker_group_config_put(&topics->group_configs, group, &config);
    broker_group_config_fini(&config);
    return err;
}

/* Whose settings the rows tell: those of a topic, or of a group when it has a name. */
struct catalog_place {
    struct broker_topic *topic;
    struct mr_buf group;
};

static mr_err read_row(struct broker_topics *topics, mr_str line, struct catalog_place *place)
{
    mr_str name;

    if (mr_str_starts(line, MR_STR("topic "))) {
        mr_buf_clear(&place->group);
        return read_topic(topics, line, &place->topic);
    }
    if (mr_str_starts(line, MR_STR("group "))) {
        mr_buf_clear(&place->group);
        return read_group(mr_str_slice(line, 6, line.length), &place->group);
    }
    if (mr_str_starts(line, MR_STR("cluster ")) && line.length < 8 + sizeof(topics->cluster_id)) {
        snprintf(topics->cluster_id, sizeof(topics->cluster_id), "%.*s", (int)line.length - 8,
                 line.data + 8);
        return MR_OK;
    }
    if (mr_str_starts(line, MR_STR("producer-id ")))
        return mr_str_to_i64(mr_str_slice(line, 12, line.length), &topics->producer_id_end);
    if (mr_str_starts(line, MR_STR("end ")))
        return MR_OK;
    if ((place->topic == NULL && place->group.length == 0) || !mr_str_split(&line, '=', &name))
        return MR_CORRUPT;
    if (line.data == NULL)
        line = MR_STR("");
    if (place->group.length > 0)
        return read_group_setting(topics, mr_buf_as_str(&place->group), name, line);
    if (broker_config_find(name) < 0)
        return MR_OK; /* a setting of another release */
    return broker_config_set(&place->topic->config, name, line);
}

static mr_err catalog_rows(struct broker_topics *topics, mr_str text)
{
    struct catalog_place place = {0};
    size_t number = 0;
    mr_str line;
    mr_err err = MR_OK;

    while (err == MR_OK && mr_str_split(&text, '\n', &line)) {
        number++;
        if (number == 1 && !mr_str_equal(line, MR_STR("millrace-broker 1")))
            err = mr_fail(MR_UNSUPPORTED, "%s/catalog: expected format 1, found \"%.*s\"",
                          topics->folder, MR_STR_ARG(line));
        else if (number > 1 && line.length > 0 && read_row(topics, line, &place) != MR_OK)
            err = catalog_broken(topics, number, line);
    }
    mr_buf_fini(&place.group);
    return err;
}

static mr_err catalog_read(struct broker_topics *topics, mr_str text)
{
    ptrdiff_t end = -1;
    char sum[9];

    for (size_t i = text.length; i-- > 0 && end < 0;)
        if ((i == 0 || text.data[i - 1] == '\n') &&
            mr_str_starts(mr_str_slice(text, i, text.length), MR_STR("end ")))
            end = (ptrdiff_t)i;
    if (!mr_str_starts(text, MR_STR("millrace-broker ")) || end < 0)
        return catalog_broken(topics, 1, mr_str_slice(text, 0, 40));
    snprintf(sum, sizeof(sum), "%08x", mr_crc32c(0, text.data, (size_t)end));
    if (!mr_str_equal(mr_str_from(sum), mr_str_slice(text, (size_t)end + 4, (size_t)end + 12)))
        return mr_fail(MR_CORRUPT, "%s/catalog: expected the checksum %s at its end, found %.*s",
                       topics->folder, sum,
                       MR_STR_ARG(mr_str_slice(text, (size_t)end + 4, (size_t)end + 12)));
    return catalog_rows(topics, text);
}

static void cluster_id_make(char out[32])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint8_t noise[22];

    mr_entropy(noise, sizeof(noise));
    for (int i = 0; i < 22; i++)
        out[i] = digits[noise[i] & (i == 21 ? 0x30 : 0x3f)];
    if (out[0] == '-')
        out[0] = 'M';
    out[22] = '\0';
}

/* Without a catalog there must be no topics: they would be lost in silence. */
static mr_err expect_no_topics(const struct broker_topics *topics)
{
    char path[BROKER_PATH_BYTES];
    struct dirent *entry;
    mr_err err = MR_OK;
    DIR *dir;

    snprintf(path, sizeof(path), "%s/topics", topics->folder);
    dir = opendir(path);
    while (dir != NULL && err == MR_OK && (entry = readdir(dir)) != NULL)
        if (entry->d_name[0] != '.')
            err = mr_fail(MR_CORRUPT,
                          "%s: expected the file `catalog` beside the topics, found none",
                          topics->folder);
    if (dir != NULL)
        closedir(dir);
    return err;
}

/* The coordinators' topics are always there: one partition each, so that one sync serves all. */
static void ensure_internal(struct broker_topics *topics, mr_str name)
{
    struct broker_config config;
    struct broker_topic *topic;
    mr_uuid id;

    if (broker_topics_find(topics, name) != NULL)
        return;
    broker_config_init(&config, &topics->defaults);
    broker_config_set(&config, MR_STR("cleanup.policy"), MR_STR("compact"));
    broker_config_set(&config, MR_STR("segment.bytes"), MR_STR("8388608"));
    broker_config_set(&config, MR_STR("min.cleanable.dirty.ratio"), MR_STR("0.3"));
    mr_entropy(id.bytes, sizeof(id.bytes));
    topic = topic_new(topics, name, &id, &config);
    partition_add(topic);
    topic_show(topics, topic);
}

void broker_topics_follow(struct broker_topics *topics,
                          const char *const texts[BROKER_CONFIG_COUNT])
{
    struct mr_map_entry *entry;

    broker_config_fini(&topics->defaults);
    for (int i = 0; i < BROKER_CONFIG_COUNT; i++)
        if (texts[i] != NULL)
            topics->defaults.texts[i] = mr_copy_cstr(mr_str_from(texts[i]));
    for (size_t i = 0; (entry = mr_map_next(&topics->by_name, &i)) != NULL;)
        broker_config_derive(&((struct broker_topic *)entry->value)->config);
}

mr_err broker_topics_peek(struct broker_topics *topics, struct broker_storage *storage)
{
    struct mr_buf file = {0};
    char path[BROKER_PATH_BYTES];
    mr_err err;

    *topics = (struct broker_topics){.storage = storage};
    broker_group_configs_init(&topics->group_configs, NULL);
    topics->folder = mr_copy_cstr(mr_str_from(storage->folder));
    snprintf(path, sizeof(path), "%s/catalog", topics->folder);
    err = mr_file_read(path, CATALOG_BYTES_MAX, &file);
    if (err == MR_OK)
        err = catalog_read(topics, mr_buf_as_str(&file));
    mr_buf_fini(&file);
    return err;
}

mr_err broker_topics_open(struct broker_topics *topics, struct broker_storage *storage,
                          const struct broker_node *node)
{
    struct mr_buf file = {0};
    char path[BROKER_PATH_BYTES];
    struct stat status;
    mr_err err;

    *topics = (struct broker_topics){.storage = storage};
    broker_group_configs_init(&topics->group_configs, node);
    topics->write_task.run = catalog_write;
    topics->folder = mr_copy_cstr(mr_str_from(storage->folder));
    snprintf(path, sizeof(path), "%s/topics", topics->folder);
    err = mr_folder_make(path, 0755);
    if (err != MR_OK)
        goto out;
    snprintf(path, sizeof(path), "%s/clean", topics->folder);
    topics->was_clean = stat(path, &status) == 0;
    snprintf(path, sizeof(path), "%s/restored", topics->folder);
    topics->was_restored = stat(path, &status) == 0;
    snprintf(path, sizeof(path), "%s/catalog", topics->folder);
    err = mr_file_read(path, CATALOG_BYTES_MAX, &file);
    if (err == MR_OK) {
        err = catalog_read(topics, mr_buf_as_str(&file));
    } else if (err == MR_NOT_FOUND) {
        err = expect_no_topics(topics);
        topics->was_clean = true;
        cluster_id_make(topics->cluster_id);
    }
    if (err != MR_OK)
        goto out;
    ensure_internal(topics, MR_STR("__consumer_offsets"));
    ensure_internal(topics, MR_STR("__transaction_state"));
    ensure_internal(topics, MR_STR("__share_group_state"));
    /* A block of ids is spent by each start, so none is ever given out twice. */
    topics->producer_id_next = topics->producer_id_end +
                               (topics->was_restored ? PRODUCER_IDS_PASSED : 0);
    topics->producer_id_end = topics->producer_id_next + PRODUCER_ID_BLOCK;
    topics->producer_id_saved = topics->producer_id_end;
    mr_buf_clear(&file);
    broker_topics_print(topics, &file);
    err = mr_file_write(path, mr_buf_as_str(&file), 0644);
out:
    mr_buf_fini(&file);
    return err;
}

/* ---- loading ---- */

struct load_job {
    struct mr_job job;
    struct broker_partition *partition;
    struct broker_log *log;
    bool clean;
    mr_err err;
    char why[512];
};

static void load_work(struct mr_job *job)
{
    struct load_job *load = mr_container(job, struct load_job, job);
    load->err = broker_checkpoint_load(load->log, load->clean);
    if (load->err != MR_OK)
        snprintf(load->why, sizeof(load->why), "%s", mr_why());
}

static void load_tell(const struct broker_topics *topics)
{
    int64_t took_us = mr_loop_now_us(topics->storage->loop) - topics->load_began_us;

    mr_log(MR_LOG_INFO, "broker",
           "loaded %lld partitions: %lld bytes read behind their checkpoints, in %lld ms",
           (long long)topics->load_count, (long long)topics->load_bytes,
           (long long)(took_us / 1000));
}

static void load_done(struct mr_job *job)
{
    struct load_job *load = mr_container(job, struct load_job, job);
    struct broker_topics *topics = load->partition->topic->topics;

    if (load->err == MR_OK) {
        load->partition->log = load->log;
        topics->load_count++;
        topics->load_bytes += load->log->load_bytes;
        broker_log_start(load->log);
    } else {
        topics->load_err = load->err;
        snprintf(topics->load_why, sizeof(topics->load_why), "%s", load->why);
        mr_log(MR_LOG_ERROR, "broker", "%s", load->why);
        broker_log_free(load->log);
    }
    topics->loading--;
    if (topics->loading == 0) {
        load_tell(topics);
        topics->loaded(topics, topics->load_err);
    }
    mr_free(load);
}

static void load_partition(struct broker_topics *topics, struct broker_partition *partition)
{
    struct load_job *load = mr_new(struct load_job);

    load->job = (struct mr_job){load_work, load_done, topics->storage->loop, {0}};
    load->partition = partition;
    load->log = broker_topics_log(partition);
    load->clean = topics->was_clean;
    topics->loading++;
    mr_disk_submit(topics->storage->disk, &load->job);
}

static void topic_remove_files(struct broker_topic *topic);

void broker_topics_load(struct broker_topics *topics)
{
    struct mr_map_entry *entry;

    topics->load_began_us = mr_loop_now_us(topics->storage->loop);
    for (size_t i = 0; (entry = mr_map_next(&topics->by_name, &i)) != NULL;) {
        struct broker_topic *topic = entry->value;
        for (size_t j = 0; j < topic->partitions.count; j++)
            load_partition(topics, topic->partitions.items[j]);
    }
    for (size_t i = 0; i < topics->deleting.count; i++)
        topic_remove_files(topics->deleting.items[i]);
    if (topics->loading == 0)
        topics->loaded(topics, MR_OK);
}

void broker_topics_fini(struct broker_topics *topics)
{
    struct mr_map_entry *entry;

    for (size_t i = 0; (entry = mr_map_next(&topics->by_name, &i)) != NULL;)
        topic_free(entry->value);
    for (size_t i = 0; i < topics->deleting.count; i++)
        topic_free(topics->deleting.items[i]);
    mr_map_fini(&topics->by_name);
    mr_map_fini(&topics->by_id);
    mr_map_fini(&topics->by_blurred);
    mr_array_fini(&topics->deleting);
    mr_map_fini(&topics->deleting_names);
    broker_group_configs_fini(&topics->group_configs);
    broker_config_fini(&topics->defaults);
    mr_free(topics->folder);
}

/* ---- changes ---- */

struct broker_topic *broker_topics_make(struct broker_topics *topics, mr_str name,
                                        int32_t partitions, struct broker_config *config,
                                        struct broker_catalog_wait *wait)
{
    struct broker_topic *topic;
    mr_uuid id;

    mr_assert(broker_topics_find(topics, name) == NULL);
    mr_entropy(id.bytes, sizeof(id.bytes));
    id.bytes[6] = (uint8_t)((id.bytes[6] & 0x0f) | 0x40);
    id.bytes[8] = (uint8_t)((id.bytes[8] & 0x3f) | 0x80);
    topic = topic_new(topics, name, &id, config);
    for (int32_t i = 0; i < partitions; i++)
        partition_begin(partition_add(topic));
    topic_show(topics, topic);
    broker_topics_save(topics, wait);
    return topic;
}

void broker_topics_grow(struct broker_topics *topics, struct broker_topic *topic,
                        int32_t partitions, struct broker_catalog_wait *wait)
{
    while (topic->partitions.count < (size_t)partitions)
        partition_begin(partition_add(topic));
    topics->changes++;
    broker_topics_save(topics, wait);
}

static void producer_ids_saved(struct broker_catalog_wait *wait, mr_err err)
{
    struct broker_topics *topics = mr_container(wait, struct broker_topics, producer_id_wait);

    topics->producer_id_saving = false;
    if (err == MR_OK)
        topics->producer_id_saved = topics->producer_id_end;
}

int64_t broker_topics_producer_id(struct broker_topics *topics)
{
    if (topics->producer_id_saved - topics->producer_id_next < PRODUCER_ID_BLOCK / 2 &&
        !topics->producer_id_saving) {
        topics->producer_id_saving = true;
        topics->producer_id_end = topics->producer_id_saved + PRODUCER_ID_BLOCK;
        topics->producer_id_wait.run = producer_ids_saved;
        broker_topics_save(topics, &topics->producer_id_wait);
    }
    return topics->producer_id_next < topics->producer_id_saved ? topics->producer_id_next++ : -1;
}

/* ---- deleting ---- */

struct remove_job {
    struct mr_job job;
    struct broker_topic *topic;
    mr_err err;
};

static void remove_work(struct mr_job *job)
{
    struct remove_job *remove = mr_container(job, struct remove_job, job);
    char folder[BROKER_PATH_BYTES];

    for (size_t i = 0; i < remove->topic->partitions.count; i++) {
        snprintf(folder, sizeof(folder), "%s/topics/%s-%zu", remove->topic->topics->folder,
                 remove->topic->name, i);
        mr_err err = mr_folder_remove(folder);
        if (err != MR_OK && err != MR_NOT_FOUND) {
            mr_log(MR_LOG_ERROR, "broker", "%s", mr_why());
            remove->err = err;
        }
    }
}

static void remove_done(struct mr_job *job)
{
    struct remove_job *remove = mr_container(job, struct remove_job, job);
    struct broker_topic *topic = remove->topic;
    struct broker_topics *topics = topic->topics;
    size_t kept = 0;

    broker_storage_removed(topics->storage);
    for (size_t i = 0; i < topics->deleting.count; i++)
        if (topics->deleting.items[i] != topic)
            topics->deleting.items[kept++] = topics->deleting.items[i];
    topics->deleting.count = kept;
    if (mr_map_get(&topics->deleting_names, mr_str_from(topic->name)) == topic)
        mr_map_remove(&topics->deleting_names, mr_str_from(topic->name));
    broker_topics_save(topics, topic->deleted);
    topic_free(topic);
    mr_free(remove);
}

static void topic_remove_files(struct broker_topic *topic)
{
    struct remove_job *remove = mr_new(struct remove_job);

    remove->job = (struct mr_job){remove_work, remove_done, topic->topics->storage->loop, {0}};
    remove->topic = topic;
    broker_storage_remove(topic->topics->storage, &remove->job);
}

struct delete_wait {
    struct broker_catalog_wait wait;
    struct broker_topic *topic;
    bool listed; /* the catalog says that it is being deleted */
    size_t draining;
    MR_ARRAY(struct delete_drain *) drains;
};
struct delete_drain {
    struct mr_task task;
    struct delete_wait *wait;
};

static void delete_step(struct delete_wait *deletion)
{
    if (!deletion->listed || deletion->draining > 0)
        return;
    for (size_t i = 0; i < deletion->drains.count; i++)
        mr_free(deletion->drains.items[i]);
    mr_array_fini(&deletion->drains);
    topic_remove_files(deletion->topic);
    mr_free(deletion);
}

static void delete_drained(struct mr_task *task)
{
    struct delete_drain *drain = mr_container(task, struct delete_drain, task);
    drain->wait->draining--;
    delete_step(drain->wait);
}

static void delete_listed(struct broker_catalog_wait *wait, mr_err err)
{
    struct delete_wait *deletion = mr_container(wait, struct delete_wait, wait);
    (void)err; /* not written: then the removal below is all that a start would do again */
    deletion->listed = true;
    delete_step(deletion);
}

void broker_topics_delete(struct broker_topics *topics, struct broker_topic *topic,
                          struct broker_catalog_wait *wait)
{
    struct delete_wait *deletion = mr_new(struct delete_wait);

    mr_map_remove(&topics->by_name, mr_str_from(topic->name));
    blurred_count(topics, mr_str_from(topic->name), -1);
    mr_map_remove(&topics->by_id, mr_str_of(topic->id.bytes, 16));
    topic->deleting = true;
    topics->changes++;
    if (wait != NULL)
        wait->next = NULL;
    topic->deleted = wait;
    deleting_add(topics, topic);
    deletion->wait.run = delete_listed;
    deletion->topic = topic;
    for (size_t i = 0; i < topic->partitions.count; i++) {
        struct delete_drain *drain = mr_new(struct delete_drain);
        *drain = (struct delete_drain){{delete_drained, NULL, false}, deletion};
        *mr_array_add(&deletion->drains) = drain;
        deletion->draining++;
        broker_log_stop(topic->partitions.items[i]->log, &drain->task);
    }
    broker_topics_save(topics, &deletion->wait);
}
