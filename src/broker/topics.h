/* broker/topics.h: the topics, their partitions and settings, and the catalog: one small text file
 * that says which there are. Changes of one turn are written together. Folders of partitions are made
 * with their first batch. Thread: the loop's. */
#ifndef BROKER_TOPICS_H
#define BROKER_TOPICS_H

#include "broker/group_config.h"
#include "broker/storage.h"

struct broker_topic;
struct broker_partition {
    struct broker_topic *topic;
    struct broker_log *log; /* NULL until it is loaded */
    int32_t index;
};
struct broker_topic {
    char *name;
    mr_uuid id;
    struct broker_config config;
    MR_ARRAY(struct broker_partition *) partitions;
    bool internal; /* the broker's own */
    bool deleting; /* out of sight; its files are on their way out */
    struct broker_topics *topics;
    struct broker_catalog_wait *deleted; /* who waits for the end of the deletion */
};
/* Waits until the catalog with a change is on disk, or a deletion is done. */
struct broker_catalog_wait {
    void (*run)(struct broker_catalog_wait *wait, mr_err err);
    struct broker_catalog_wait *next;
};
struct broker_topics {
    struct broker_storage *storage;
    struct mr_map by_name, by_id; /* topics in sight; by_id: 16 bytes */
    struct mr_map by_blurred;     /* names with '.' or '_', as one: how many topics, as a pointer */
    MR_ARRAY(struct broker_topic *) deleting;
    struct mr_map deleting_names; /* the same, to be found */
    struct mr_map group_configs;  /* group_config.h; kept here, for the catalog is written here */
    char cluster_id[32];
    int64_t producer_id_next;  /* ids from here on were never given out */
    int64_t producer_id_end;   /* as the catalog says; ids below it may be given out */
    int64_t producer_id_saved; /* as the catalog on the disk says */
    struct broker_catalog_wait producer_id_wait;
    bool producer_id_saving;
    int32_t default_partitions;
    struct broker_config defaults; /* of topics without a value of their own */
    uint64_t changes;              /* counts topics that came, grew or went, from 1 on */
    /* the catalog */
    char *folder;
    bool writing, write_again;
    struct broker_catalog_wait *waiting, *waiting_next;
    struct mr_task write_task;
    size_t loading;                                /* partitions not loaded yet */
    int64_t load_count, load_bytes, load_began_us; /* of those that are: read behind checkpoints */
    void (*loaded)(struct broker_topics *topics, mr_err err);
    mr_err load_err;
    char load_why[512];
    bool was_clean;
    bool was_restored; /* from a backup, and not started since: what was told later is unknown */
};
/* Reads the catalog, or begins a new one. Blocks.
 * Errors: MR_IO, MR_DENIED; MR_CORRUPT when it is damaged; MR_UNSUPPORTED: a newer format. `node` outlives it. */
mr_err broker_topics_open(struct broker_topics *topics, struct broker_storage *storage,
                          const struct broker_node *node);
/* Reads the catalog and changes nothing. Errors as above, and MR_NOT_FOUND; fini is due all the same. */
mr_err broker_topics_peek(struct broker_topics *topics, struct broker_storage *storage);
/* New defaults, by broker_config_id; NULL: that of configs.def. */
void broker_topics_follow(struct broker_topics *topics,
                          const char *const texts[BROKER_CONFIG_COUNT]);
/* Loads all partitions on the disk threads, then calls `loaded`. */
void broker_topics_load(struct broker_topics *topics);
void broker_topics_fini(struct broker_topics *topics); /* frees topics and logs */

struct broker_topic *broker_topics_find(struct broker_topics *topics, mr_str name);
struct broker_topic *broker_topics_find_id(struct broker_topics *topics, const mr_uuid *id);
/* By name, or by id when that is not zero. NULL: unknown. */
bool broker_topics_id_is_zero(const mr_uuid *id);
struct broker_partition *broker_topics_partition(struct broker_topics *topics, mr_str name,
                                                 int32_t index);
/* A log for the partition, with nothing loaded; the caller's. */
struct broker_log *broker_topics_log(const struct broker_partition *partition);
/* Whether the name is allowed (letters, digits, . _ -; at most 249; not "." or ".."). */
bool broker_topics_name_ok(mr_str name);
/* Whether a topic that is there has the same name but for '.' and '_'. */
bool broker_topics_collides(const struct broker_topics *topics, mr_str name);
/* Makes a topic at once; `wait` runs when the catalog has it. Takes `config`. NULL `id`: a new one.
 * The name must be free. */
struct broker_topic *broker_topics_make(struct broker_topics *topics, mr_str name,
                                        int32_t partitions, struct broker_config *config,
                                        struct broker_catalog_wait *wait);
void broker_topics_grow(struct broker_topics *topics, struct broker_topic *topic,
                        int32_t partitions, struct broker_catalog_wait *wait);
/* Whether a topic of this name is on its way out: until then the name is taken. */
bool broker_topics_is_deleting(const struct broker_topics *topics, mr_str name);
/* Takes the topic out of sight at once; `wait` runs when its files are gone. */
void broker_topics_delete(struct broker_topics *topics, struct broker_topic *topic,
                          struct broker_catalog_wait *wait);
/* Writes the catalog after a change of settings or ids; `wait` may be NULL. */
void broker_topics_save(struct broker_topics *topics, struct broker_catalog_wait *wait);
/* Adds the catalog as it is now. */
void broker_topics_print(const struct broker_topics *topics, struct mr_buf *out);
bool broker_topics_is_internal(mr_str name);
/* A producer id that nobody ever had; -1: not now, ask again. */
int64_t broker_topics_producer_id(struct broker_topics *topics);

#endif
