/* kv/read.c: gets, iterators, snapshots. */
#include "kv/db.h"

enum { KEYS_AT_ONCE = 256 };

/* ---- gets ---- */

void kv_slice_fini(struct kv_slice *slice)
{
    if (slice->pin != NULL)
        rocksdb_pinnableslice_destroy(slice->pin);
    *slice = (struct kv_slice){0};
}

/* The answer to one key: takes over `pin` and `message`. */
static mr_err answer(const struct kv_db *db, rocksdb_pinnableslice_t *pin, char *message,
                     struct kv_slice *out)
{
    if (message != NULL && kv_db_incomplete(message)) {
        rocksdb_free(message);
        return MR_AGAIN;
    }
    if (message != NULL)
        return kv_db_fail(db, "reading", message);
    if (pin == NULL)
        return MR_NOT_FOUND;
    out->pin = pin;
    out->value.data = rocksdb_pinnableslice_value(pin, &out->value.length);
    return MR_OK;
}

mr_err kv_get(struct kv_db *db, struct kv_family *family, mr_str key, int flags,
              const struct kv_snapshot *snapshot, struct kv_slice *out)
{
    char *message = NULL;
    rocksdb_readoptions_t *options = kv_db_read_options(db, flags);
    if (snapshot != NULL)
        options = kv_db_read_options_new(flags, snapshot);
    rocksdb_pinnableslice_t *pin = rocksdb_get_pinned_cf(db->rocks, options, family->handle,
                                                         key.data, key.length, &message);
    if (snapshot != NULL)
        rocksdb_readoptions_destroy(options);
    return answer(db, pin, message, out);
}

void kv_get_many(struct kv_db *db, struct kv_family *family, const mr_str *keys, size_t count,
                 int flags, const struct kv_snapshot *snapshot, bool sorted, struct kv_slice *out,
                 mr_err *errs)
{
    const char *data[KEYS_AT_ONCE];
    size_t lengths[KEYS_AT_ONCE];
    rocksdb_pinnableslice_t *pins[KEYS_AT_ONCE];
    char *messages[KEYS_AT_ONCE];
    rocksdb_readoptions_t *options = kv_db_read_options(db, flags);
    if (snapshot != NULL)
        options = kv_db_read_options_new(flags, snapshot);
    while (count > 0) {
        size_t part = count < KEYS_AT_ONCE ? count : KEYS_AT_ONCE;
        for (size_t i = 0; i < part; i++) {
            data[i] = keys[i].data;
            lengths[i] = keys[i].length;
        }
        rocksdb_batched_multi_get_cf(db->rocks, options, family->handle, part, data, lengths, pins,
                                     messages, sorted);
        for (size_t i = 0; i < part; i++) {
            out[i] = (struct kv_slice){0};
            errs[i] = answer(db, pins[i], messages[i], &out[i]);
        }
        keys += part;
        out += part;
        errs += part;
        count -= part;
    }
    if (snapshot != NULL)
        rocksdb_readoptions_destroy(options);
}

/* ---- iterators ---- */

struct kv_iter {
    struct kv_db *db;
    rocksdb_iterator_t *rocks;
    rocksdb_readoptions_t *options;
    char *lower, *upper; /* RocksDB keeps pointers to the bounds */
};

uint64_t kv_range_bytes(struct kv_db *db, struct kv_family *family, mr_str lower, mr_str upper)
{
    uint64_t bytes = 0;
    char *message = NULL;
    rocksdb_approximate_sizes_cf(db->rocks, family->handle, 1, &lower.data, &lower.length,
                                 &upper.data, &upper.length, &bytes, &message);
    rocksdb_free(message); /* an estimate: nothing is known, then */
    return message == NULL ? bytes : 0;
}

struct kv_iter *kv_iter_open(struct kv_db *db, struct kv_family *family, mr_str lower, mr_str upper,
                             int flags, const struct kv_snapshot *snapshot)
{
    struct kv_iter *iter = mr_new(struct kv_iter);
    iter->db = db;
    iter->options = kv_db_read_options_new(flags, snapshot);
    if (lower.data != NULL) {
        iter->lower = mr_copy_cstr(lower);
        rocksdb_readoptions_set_iterate_lower_bound(iter->options, iter->lower, lower.length);
    }
    if (upper.data != NULL) {
        iter->upper = mr_copy_cstr(upper);
        rocksdb_readoptions_set_iterate_upper_bound(iter->options, iter->upper, upper.length);
    }
    iter->rocks = rocksdb_create_iterator_cf(db->rocks, iter->options, family->handle);
    return iter;
}

void kv_iter_close(struct kv_iter *iter)
{
    if (iter == NULL)
        return;
    rocksdb_iter_destroy(iter->rocks);
    rocksdb_readoptions_destroy(iter->options);
    mr_free(iter->lower);
    mr_free(iter->upper);
    mr_free(iter);
}

void kv_iter_first(struct kv_iter *iter)
{
    rocksdb_iter_seek_to_first(iter->rocks);
}

void kv_iter_last(struct kv_iter *iter)
{
    rocksdb_iter_seek_to_last(iter->rocks);
}

void kv_iter_seek(struct kv_iter *iter, mr_str key)
{
    rocksdb_iter_seek(iter->rocks, key.data, key.length);
}

void kv_iter_seek_back(struct kv_iter *iter, mr_str key)
{
    rocksdb_iter_seek_for_prev(iter->rocks, key.data, key.length);
}

void kv_iter_next(struct kv_iter *iter)
{
    rocksdb_iter_next(iter->rocks);
}

void kv_iter_prev(struct kv_iter *iter)
{
    rocksdb_iter_prev(iter->rocks);
}

bool kv_iter_valid(const struct kv_iter *iter)
{
    return rocksdb_iter_valid(iter->rocks) != 0;
}

mr_err kv_iter_err(const struct kv_iter *iter)
{
    char *message = NULL;
    rocksdb_iter_get_error(iter->rocks, &message);
    if (message == NULL)
        return MR_OK;
    if (kv_db_incomplete(message)) {
        rocksdb_free(message);
        return MR_AGAIN;
    }
    return kv_db_fail(iter->db, "reading", message);
}

mr_str kv_iter_key(const struct kv_iter *iter)
{
    mr_str key;
    key.data = rocksdb_iter_key(iter->rocks, &key.length);
    return key;
}

mr_str kv_iter_value(const struct kv_iter *iter)
{
    mr_str value;
    value.data = rocksdb_iter_value(iter->rocks, &value.length);
    return value;
}

/* ---- snapshots: a kv_snapshot is RocksDB's own under our name ---- */

struct kv_snapshot *kv_snapshot_take(struct kv_db *db)
{
    return (struct kv_snapshot *)(uintptr_t)rocksdb_create_snapshot(db->rocks);
}

void kv_snapshot_release(struct kv_db *db, struct kv_snapshot *snapshot)
{
    if (snapshot != NULL)
        rocksdb_release_snapshot(db->rocks, (const rocksdb_snapshot_t *)(const void *)snapshot);
}
