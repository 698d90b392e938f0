/* kv/write.c: batches: a kv_batch is RocksDB's own under our name. */
#include "kv/db.h"

static rocksdb_writebatch_t *rocks(const struct kv_batch *batch)
{
    return (rocksdb_writebatch_t *)(uintptr_t)batch;
}

struct kv_batch *kv_batch_new(void)
{
    return (struct kv_batch *)(void *)rocksdb_writebatch_create();
}

void kv_batch_free(struct kv_batch *batch)
{
    if (batch != NULL)
        rocksdb_writebatch_destroy(rocks(batch));
}

void kv_batch_clear(struct kv_batch *batch)
{
    rocksdb_writebatch_clear(rocks(batch));
}

void kv_batch_put(struct kv_batch *batch, struct kv_family *family, mr_str key, mr_str value)
{
    rocksdb_writebatch_put_cf(rocks(batch), family->handle, key.data, key.length, value.data,
                              value.length);
}

void kv_batch_delete(struct kv_batch *batch, struct kv_family *family, mr_str key)
{
    rocksdb_writebatch_delete_cf(rocks(batch), family->handle, key.data, key.length);
}

void kv_batch_delete_range(struct kv_batch *batch, struct kv_family *family, mr_str from, mr_str to)
{
    rocksdb_writebatch_delete_range_cf(rocks(batch), family->handle, from.data, from.length,
                                       to.data, to.length);
}

void kv_batch_merge(struct kv_batch *batch, struct kv_family *family, mr_str key, mr_str operand)
{
    rocksdb_writebatch_merge_cf(rocks(batch), family->handle, key.data, key.length, operand.data,
                                operand.length);
}

size_t kv_batch_count(const struct kv_batch *batch)
{
    return (size_t)rocksdb_writebatch_count(rocks(batch));
}

size_t kv_batch_bytes(const struct kv_batch *batch)
{
    size_t bytes = 0;
    rocksdb_writebatch_data(rocks(batch), &bytes);
    return bytes;
}

mr_err kv_write(struct kv_db *db, struct kv_batch *batch, int flags)
{
    char *message = NULL;
    if (db->rocks == NULL)
        return mr_fail(MR_IO, "%s: could not be opened again", db->folder);
    rocksdb_write(db->rocks, db->writes[(flags & KV_NO_SLOWDOWN) != 0 ? 1 : 0], rocks(batch),
                  &message);
    if (message == NULL)
        return MR_OK;
    if (kv_db_incomplete(message)) {
        rocksdb_free(message);
        return MR_AGAIN;
    }
    return kv_db_fail(db, "writing to", message);
}
