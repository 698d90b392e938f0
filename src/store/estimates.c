/* store/estimates.c: hides how a range is judged: a few hundred of its rows are read; how many such pieces it has, the
 * sizes on the disk tell. A range with fewer rows than that is counted. */
#include "store/estimates.h"

#include "store/key.h"

enum { SAMPLE_ROWS = 256 };

int64_t store_token(int index)
{
    return (int64_t)(UINT64_C(0x8000000000000000) + (uint64_t)index * (UINT64_MAX / STORE_TOKENS) +
                     UINT64_MAX / STORE_TOKENS / 2);
}

void store_token_range(int index, int64_t *start, int64_t *end)
{
    *start = index == 0 ? INT64_MIN : store_token(index - 1);
    *end = index == STORE_TOKENS ? INT64_MIN : store_token(index);
}

static void estimate_range(struct store_db *db, uint32_t table_id, int64_t start, int64_t end,
                           struct store_range_estimate *out)
{
    struct mr_buf lower = {0}, upper = {0}, last = {0}, partition = {0};
    struct store_key_parts parts;
    int64_t rows = 0, bytes = 0;
    if (start == INT64_MIN)
        store_key_table(&lower, table_id);
    else
        store_key_token(&lower, table_id, start + 1);
    if (end == INT64_MIN)
        store_key_table(&upper, table_id + 1);
    else
        store_key_token(&upper, table_id, end + 1);
    mr_str from = mr_buf_as_str(&lower), to = mr_buf_as_str(&upper);
    struct kv_iter *iter = kv_iter_open(db->kv, db->rows, from, to, KV_NO_FILL, NULL);
    *out = (struct store_range_estimate){0};
    for (kv_iter_first(iter); kv_iter_valid(iter) && rows < SAMPLE_ROWS; kv_iter_next(iter)) {
        mr_str key = kv_iter_key(iter);
        if (!store_key_split(key, &parts))
            continue;
        if (rows == 0 || !mr_str_equal(parts.prefix, mr_buf_as_str(&partition))) {
            out->partitions++;
            mr_buf_clear(&partition);
            mr_buf_str(&partition, parts.prefix);
        }
        bytes += (int64_t)(key.length + kv_iter_value(iter).length);
        rows++;
        mr_buf_clear(&last);
        mr_buf_str(&last, key);
    }
    bool more = kv_iter_valid(iter);
    kv_iter_close(iter);
    if (out->partitions > 0)
        out->partition_bytes = bytes / out->partitions;
    if (more) {
        uint64_t all = kv_range_bytes(db->kv, db->rows, from, to);
        uint64_t sample = kv_range_bytes(db->kv, db->rows, from, mr_buf_as_str(&last));
        if (sample > 0 && all > sample)
            out->partitions = (int64_t)((double)out->partitions * (double)all / (double)sample);
    }
    mr_buf_fini(&lower);
    mr_buf_fini(&upper);
    mr_buf_fini(&last);
    mr_buf_fini(&partition);
}

void store_estimate_table(struct store_db *db, uint32_t table_id, struct store_estimate *out)
{
    out->table_id = table_id;
    for (int i = 0; i < STORE_RANGES; i++) {
        int64_t start, end;
        store_token_range(i, &start, &end);
        estimate_range(db, table_id, start, end, &out->ranges[i]);
    }
}
