/* broker/repeats.c: what a question names more than once is answered once, so that a small request has no huge
 * answer. Rows that say more than a name (settings by their keys, offsets by topic) are all answered. */
#include "broker/server.h"

#include <stdio.h>

enum { NONE = -1 };

/* Where a request's list is, and in a row what makes it the same as another. */
struct question {
    int16_t api;
    int32_t list, row_bytes, name, id, type;
    int32_t
        part; /* the count of an inner list: only rows that ask for all (it is 0 or less) are the same */
};
struct rows_view { /* a list of any message */
    void *items;
    int32_t count;
};

#define LIST(api, list)                                            \
    KAFKA_API_##api, offsetof(struct kafka_##api##_request, list), \
        sizeof(*((struct kafka_##api##_request *)NULL)->list.items)
#define AT(row, field) (int32_t) offsetof(struct kafka_##row, field)

static const struct question questions[] = {
    {LIST(metadata, topics), AT(metadata_request_topic, name), AT(metadata_request_topic, topic_id),
     NONE, NONE},
    {LIST(describe_groups, groups), 0, NONE, NONE, NONE},
    {LIST(consumer_group_describe, group_ids), 0, NONE, NONE, NONE},
    {LIST(share_group_describe, group_ids), 0, NONE, NONE, NONE},
    {LIST(describe_transactions, transactional_ids), 0, NONE, NONE, NONE},
    {LIST(describe_configs, resources), AT(describe_configs_resource, resource_name), NONE,
     AT(describe_configs_resource, resource_type),
     AT(describe_configs_resource, configuration_keys.count)},
    {LIST(offset_fetch, groups), AT(offset_fetch_request_group, group_id), NONE, NONE,
     AT(offset_fetch_request_group, topics.count)},
    {LIST(describe_share_group_offsets, groups),
     AT(describe_share_group_offsets_request_group, group_id), NONE, NONE,
     AT(describe_share_group_offsets_request_group, topics.count)},
};

static const struct question *question_of(const struct broker_request *request)
{
    for (size_t i = 0; i < mr_count_of(questions); i++)
        if (questions[i].api == request->api->key)
            return &questions[i];
    return NULL;
}

static bool is_repeated(const struct question *question, const char *row, struct mr_map *seen)
{
    const mr_str *name = (const mr_str *)(const void *)(row + question->name);
    struct mr_buf key = {0};
    bool repeated;

    if (question->part != NONE && *(const int32_t *)(const void *)(row + question->part) > 0)
        return false;
    if (question->id != NONE)
        mr_buf_add(&key, row + question->id, sizeof(mr_uuid));
    if (question->type != NONE)
        mr_buf_add(&key, row + question->type, 1);
    mr_buf_u8(&key, name->data == NULL);
    mr_buf_str(&key, *name);
    repeated = mr_map_put(seen, mr_buf_as_str(&key), seen) != NULL;
    mr_buf_fini(&key);
    return repeated;
}

void broker_repeats_drop(struct broker_request *request)
{
    const struct question *question = question_of(request);
    struct rows_view *rows;
    struct mr_map seen = {0};
    int32_t kept = 0;

    if (question == NULL)
        return;
    rows = (struct rows_view *)(void *)((char *)request->in + question->list);
    if (rows->count < 2)
        return;
    for (int32_t i = 0; i < rows->count; i++) {
        char *row = (char *)rows->items + (size_t)i * (size_t)question->row_bytes;
        char *to = (char *)rows->items + (size_t)kept * (size_t)question->row_bytes;
        if (is_repeated(question, row, &seen))
            continue;
        if (to != row)
            memcpy(to, row, (size_t)question->row_bytes);
        kept++;
    }
    rows->count = kept;
    mr_map_fini(&seen);
}

size_t broker_repeats_count(struct mr_map *seen, mr_str topic, int32_t partition)
{
    struct mr_buf key = {0};
    size_t count;

    mr_buf_be32(&key, (uint32_t)partition);
    mr_buf_str(&key, topic);
    count = (size_t)(uintptr_t)mr_map_get(seen, mr_buf_as_str(&key)) + 1;
    mr_map_put(seen, mr_buf_as_str(&key), (void *)(uintptr_t)count);
    mr_buf_fini(&key);
    return count;
}
