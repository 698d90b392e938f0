/* kv/family.c: one column family's settings, and the bridges by which RocksDB's threads call its merge
 * and filter functions. The bridges keep no state but a compaction's own, so they need no lock. */
#include "kv/db.h"

enum {
    WRITE_BUFFER_BYTES = 8 << 20,
    WRITE_BUFFERS_OF_FAMILY = 3, /* one fills, one is flushed, one is spare */
    BLOCK_BYTES = 8192,
    BLOOM_BITS = 10,
    FILE_BYTES = 32 << 20,
    LEVEL_BYTES = 128 << 20,
    FORMAT_VERSION = 5,
    LEVEL0_FILES = 8, /* before they are compacted: fewer rewrites, a few more blooms to ask */
};

/* ---- merge ---- */

struct merge_bridge {
    const struct kv_merge *merge;
};

static void bridge_free(void *state)
{
    mr_free(state);
}

static char *fold(kv_merge_fn *function, const struct kv_merge *merge, mr_str key, mr_str base,
                  const char *const *operands, const size_t *lengths, int count,
                  unsigned char *success, size_t *out_length)
{
    mr_str some[16], *list = some;
    struct mr_buf out = {0};
    mr_assert(count >= 0);
    if ((size_t)count > mr_count_of(some))
        list = mr_alloc(mr_size_product((size_t)count, sizeof *list));
    for (int i = 0; i < count; i++)
        list[i] = mr_str_of(operands[i], lengths[i]);
    mr_buf_reserve(&out, 64); /* a result without a byte has a place too */
    bool good = function(merge->context, key, base, list, (size_t)count, &out) && out.err == MR_OK;
    if (list != some)
        mr_free(list);
    *success = good;
    *out_length = good ? out.length : 0;
    return (char *)out.data; /* merge_free() takes it */
}

static char *merge_full(void *state, const char *key, size_t key_length, const char *base,
                        size_t base_length, const char *const *operands, const size_t *lengths,
                        int count, unsigned char *success, size_t *out_length)
{
    const struct kv_merge *merge = ((struct merge_bridge *)state)->merge;
    return fold(merge->full, merge, mr_str_of(key, key_length), mr_str_of(base, base_length),
                operands, lengths, count, success, out_length);
}

static char *merge_partial(void *state, const char *key, size_t key_length,
                           const char *const *operands, const size_t *lengths, int count,
                           unsigned char *success, size_t *out_length)
{
    const struct kv_merge *merge = ((struct merge_bridge *)state)->merge;
    if (merge->partial == NULL) {
        *success = 0;
        *out_length = 0;
        return NULL;
    }
    return fold(merge->partial, merge, mr_str_of(key, key_length), MR_STR_NULL, operands, lengths,
                count, success, out_length);
}

static void merge_free(void *state, const char *value, size_t length)
{
    mr_assert(state != NULL && (value != NULL || length == 0));
    mr_free((char *)(uintptr_t)value);
}

static const char *merge_name(void *state)
{
    return state == NULL ? "" : "millrace.merge";
}

/* ---- filter: a factory's state is the family's, a filter's is one compaction's ---- */

struct filter_bridge {
    const struct kv_filter *filter;
    const struct mr_clock *clock;
};

struct filter_run {
    const struct kv_filter *filter;
    int64_t wall_us;
    struct mr_buf changed; /* RocksDB copies from it right after the call */
};

static void run_free(void *state)
{
    struct filter_run *run = state;
    mr_buf_fini(&run->changed);
    mr_free(run);
}

static unsigned char filter_judge(void *state, int level, const char *key, size_t key_length,
                                  const char *value, size_t value_length, char **out,
                                  size_t *out_length, unsigned char *changed)
{
    struct filter_run *run = state;
    mr_assert(level >= 0);
    mr_buf_clear(&run->changed);
    mr_buf_reserve(&run->changed, 64);
    *changed = 0;
    switch (run->filter->judge(run->filter->context, run->wall_us, mr_str_of(key, key_length),
                               mr_str_of(value, value_length), &run->changed)) {
    case KV_DROP:
        return 1;
    case KV_CHANGE:
        *out = (char *)run->changed.data;
        *out_length = run->changed.length;
        *changed = 1;
        return 0;
    case KV_KEEP:
        break;
    }
    return 0;
}

static const char *filter_name(void *state)
{
    return state == NULL ? "" : "millrace.filter";
}

static rocksdb_compactionfilter_t *filter_begin(void *state,
                                                rocksdb_compactionfiltercontext_t *context)
{
    struct filter_bridge *bridge = state;
    struct filter_run *run = mr_new(struct filter_run);
    mr_assert(context != NULL);
    run->filter = bridge->filter;
    run->wall_us = mr_clock_wall_us(bridge->clock);
    return rocksdb_compactionfilter_create(run, run_free, filter_judge, filter_name);
}

/* ---- settings ---- */

static void tables_set(rocksdb_options_t *options, const struct kv_db *db)
{
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_block_cache(table, db->memory->cache);
    rocksdb_block_based_options_set_block_size(table, BLOCK_BYTES);
    rocksdb_block_based_options_set_format_version(table, FORMAT_VERSION);
    rocksdb_block_based_options_set_filter_policy(
        table, rocksdb_filterpolicy_create_bloom_full(BLOOM_BITS));
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(table,
                                                                  1); /* one budget for all */
    rocksdb_block_based_options_set_cache_index_and_filter_blocks_with_high_priority(table, 1);
    rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(table, 1);
    rocksdb_options_set_block_based_table_factory(options, table);
    rocksdb_block_based_options_destroy(table);
}

rocksdb_options_t *kv_family_options_new(const struct kv_db *db, const struct kv_family *family)
{
    rocksdb_options_t *options = rocksdb_options_create();
    rocksdb_options_set_compression(options, rocksdb_lz4_compression);
    rocksdb_options_set_write_buffer_size(options, family->write_buffer_bytes > 0
                                                       ? family->write_buffer_bytes
                                                       : (size_t)WRITE_BUFFER_BYTES);
    rocksdb_options_set_max_write_buffer_number(options, WRITE_BUFFERS_OF_FAMILY);
    rocksdb_options_set_target_file_size_base(options, FILE_BYTES);
    rocksdb_options_set_level0_file_num_compaction_trigger(options, LEVEL0_FILES);
    rocksdb_options_set_max_bytes_for_level_base(options, LEVEL_BYTES);
    rocksdb_options_set_level_compaction_dynamic_level_bytes(options, 1);
    tables_set(options, db);
    if (family->merge != NULL) {
        struct merge_bridge *bridge = mr_new(struct merge_bridge);
        bridge->merge = family->merge;
        rocksdb_options_set_merge_operator(
            options, rocksdb_mergeoperator_create(bridge, bridge_free, merge_full, merge_partial,
                                                  merge_free, merge_name));
    }
    if (family->filter != NULL) {
        struct filter_bridge *bridge = mr_new(struct filter_bridge);
        *bridge = (struct filter_bridge){family->filter, db->clock};
        rocksdb_options_set_compaction_filter_factory(
            options,
            rocksdb_compactionfilterfactory_create(bridge, bridge_free, filter_begin, filter_name));
    }
    return options;
}
