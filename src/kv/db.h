/* kv/db.h: what the files of this room share: the open database and its families. */
#ifndef KV_DB_H
#define KV_DB_H

#include <rocksdb/c.h>

#include "kv/kv.h"

enum { KV_READ_KINDS = 4, KV_WRITE_KINDS = 2 };

struct kv_memory {
    rocksdb_cache_t *cache;
};

struct kv_family {
    char *name;
    const struct kv_merge *merge;
    const struct kv_filter *filter;
    size_t write_buffer_bytes;
    rocksdb_column_family_handle_t *handle;
};

struct kv_db {
    char *folder;
    struct kv_memory *memory;
    struct mr_clock real_clock;
    const struct mr_clock *clock;
    size_t write_buffers_bytes;
    rocksdb_t *rocks; /* NULL only when kv_resume() could not open it again */
    MR_ARRAY(struct kv_family *) families;
    rocksdb_readoptions_t *reads[KV_READ_KINDS]; /* by KV_CACHED and KV_NO_FILL */
    rocksdb_writeoptions_t *writes[KV_WRITE_KINDS];
};

/* db.c: RocksDB's message to our error; frees the message. `thing` begins the sentence. */
mr_err kv_db_fail(const struct kv_db *db, const char *thing, char *message);
/* Whether a message says that the answer is not in memory. */
bool kv_db_incomplete(const char *message);
static inline rocksdb_readoptions_t *kv_db_read_options(const struct kv_db *db, int flags)
{
    return db->reads[((flags & KV_CACHED) != 0 ? 1 : 0) + ((flags & KV_NO_FILL) != 0 ? 2 : 0)];
}
/* Fresh options of one read with a snapshot or bounds; owner: the caller. */
rocksdb_readoptions_t *kv_db_read_options_new(int flags, const struct kv_snapshot *snapshot);

/* family.c: RocksDB's options of one family; owner: the caller. */
rocksdb_options_t *kv_family_options_new(const struct kv_db *db, const struct kv_family *family);

#endif
