/* store/db.c: opening, definitions on disk, and what RocksDB's threads call: fold and purge. */
#include "store/db.h"

#include "store/key.h"
#include "store/row.h"

/* ---- callbacks: pure functions of their arguments ---- */
static bool merge_ranges(mr_str base, const mr_str *operands, size_t count, struct mr_buf *out)
{
    struct store_range best, range;
    bool some = base.data != NULL && store_range_read(base, &best);
    for (size_t i = 0; i < count; i++) {
        if (!store_range_read(operands[i], &range))
            return false;
        if (!some || range.timestamp > best.timestamp)
            best = range;
        some = true;
    }
    if (some)
        store_range_write(out, &best);
    return some;
}

bool store_db_merge(void *context, mr_str key, mr_str base, const mr_str *operands, size_t count,
                    struct mr_buf *out)
{
    (void)context;
    struct store_key_parts parts;
    if (!store_key_split(key, &parts))
        return false;
    if (parts.kind == STORE_KEY_RANGE)
        return merge_ranges(base, operands, count, out);
    size_t first = 0;
    mr_str folded = base;
    if (base.data == NULL)
        folded = operands[first++];
    if (first == count) {
        mr_buf_str(out, folded);
        return true;
    }
    /* Two buffers in turn; the last fold goes straight to `out`. */
    struct mr_buf work[2] = {{0}, {0}};
    bool ok = true;
    for (size_t i = first; ok && i < count; i++) {
        struct mr_buf *into = i + 1 == count ? out : &work[i % 2];
        if (into != out)
            mr_buf_clear(into);
        ok = store_row_fold(folded, operands[i], into);
        folded = mr_buf_as_str(into);
    }
    mr_buf_fini(&work[0]);
    mr_buf_fini(&work[1]);
    return ok;
}

static enum kv_verdict judge(void *context, int64_t wall_us, mr_str key, mr_str value,
                             struct mr_buf *changed)
{
    (void)context;
    struct store_key_parts parts;
    if (!store_key_split(key, &parts) || parts.kind == STORE_KEY_RANGE)
        return KV_KEEP; /* a range shadows rows that may lie in other files */
    switch (store_row_purge(value, wall_us / 1000000, changed)) {
    case 1:
        return KV_DROP;
    case 2:
        return KV_CHANGE;
    default:
        return KV_KEEP;
    }
}

static const struct kv_merge rows_merge = {store_db_merge, store_db_merge, NULL};
static const struct kv_filter rows_filter = {judge, NULL};

/* ---- definitions ---- */
static void table_key(struct mr_buf *out, const struct store_table *table)
{
    mr_buf_u8(out, 't');
    mr_buf_str(out, table->keyspace);
    mr_buf_u8(out, 0);
    mr_buf_str(out, table->name);
}

void store_db_put_keyspace(struct store_db *db, struct kv_batch *batch,
                           const struct store_keyspace *keyspace)
{
    struct mr_buf key = {0}, value = {0};
    mr_buf_u8(&key, 'k');
    mr_buf_str(&key, keyspace->name);
    store_keyspace_write(&value, keyspace);
    kv_batch_put(batch, db->schema, mr_buf_as_str(&key), mr_buf_as_str(&value));
    mr_buf_fini(&key);
    mr_buf_fini(&value);
}

void store_db_put_table(struct store_db *db, struct kv_batch *batch,
                        const struct store_table *table)
{
    struct mr_buf key = {0}, value = {0};
    table_key(&key, table);
    store_table_write(&value, table);
    kv_batch_put(batch, db->schema, mr_buf_as_str(&key), mr_buf_as_str(&value));
    mr_buf_fini(&key);
    mr_buf_fini(&value);
}

void store_db_clear_table(struct store_db *db, struct kv_batch *batch, uint32_t table_id)
{
    struct mr_buf from = {0}, to = {0};
    store_key_table(&from, table_id);
    store_key_table(&to, table_id + 1);
    kv_batch_delete_range(batch, db->rows, mr_buf_as_str(&from), mr_buf_as_str(&to));
    mr_buf_fini(&from);
    mr_buf_fini(&to);
}

void store_db_drop_table(struct store_db *db, struct kv_batch *batch,
                         const struct store_table *table)
{
    struct mr_buf key = {0};
    table_key(&key, table);
    kv_batch_delete(batch, db->schema, mr_buf_as_str(&key));
    store_db_clear_table(db, batch, table->id);
    mr_buf_fini(&key);
}

void store_db_drop_keyspace(struct store_db *db, struct kv_batch *batch,
                            const struct store_keyspace *keyspace)
{
    struct mr_buf key = {0};
    struct mr_map_entry *entry;
    mr_buf_u8(&key, 'k');
    mr_buf_str(&key, keyspace->name);
    kv_batch_delete(batch, db->schema, mr_buf_as_str(&key));
    for (size_t i = 0; (entry = mr_map_next(&keyspace->tables, &i)) != NULL;)
        store_db_drop_table(db, batch, entry->value);
    mr_buf_fini(&key);
}

void store_db_put_next_id(struct store_db *db, struct kv_batch *batch, uint32_t table_id_next)
{
    struct mr_buf value = {0};
    mr_buf_be32(&value, table_id_next);
    kv_batch_put(batch, db->schema, MR_STR("mnext_table_id"), mr_buf_as_str(&value));
    mr_buf_fini(&value);
}

static mr_err load_one(struct store_db *db, struct store_schema *schema, mr_str key, mr_str value)
{
    struct store_keyspace *keyspace = NULL;
    struct store_table *table = NULL;
    struct mr_in in = mr_in_str(value);
    mr_err err = MR_OK;
    switch (key.data[0]) {
    case 'k':
        err = store_keyspace_read(mr_str_slice(key, 1, key.length), value, &keyspace);
        if (err == MR_OK)
            mr_map_put(&schema->keyspaces, keyspace->name, keyspace);
        return err;
    case 't':
        err = store_table_read(value, &table);
        if (err != MR_OK)
            return err;
        keyspace = store_schema_keyspace(schema, table->keyspace);
        if (keyspace == NULL) {
            err = mr_fail(MR_CORRUPT, "table %.*s has no keyspace %.*s", MR_STR_ARG(table->name),
                          MR_STR_ARG(table->keyspace));
            store_table_unref(table);
            return err;
        }
        store_keyspace_put(keyspace, table);
        return MR_OK;
    case 'm':
        if (mr_str_equal(key, MR_STR("mnext_table_id")))
            schema->table_id_next = mr_in_be32(&in);
        if (mr_str_equal(key, MR_STR("mhost_id")) && value.length == sizeof(db->host_id))
            memcpy(&db->host_id, value.data, sizeof(db->host_id));
        return MR_OK;
    default:
        return mr_fail(MR_CORRUPT, "an unknown record among the store's definitions");
    }
}

/* Keys ascend: keyspaces ("k") come before tables ("t"). */
static mr_err load_schema(struct store_db *db, struct store_schema *schema)
{
    mr_err err = MR_OK;
    struct kv_iter *iter = kv_iter_open(db->kv, db->schema, MR_STR_NULL, MR_STR_NULL, 0, NULL);
    for (kv_iter_first(iter); err == MR_OK && kv_iter_valid(iter); kv_iter_next(iter))
        err = load_one(db, schema, kv_iter_key(iter), kv_iter_value(iter));
    if (err == MR_OK)
        err = kv_iter_err(iter);
    kv_iter_close(iter);
    return err;
}

/* A new folder gets an id, which drivers tell hosts apart by. */
static mr_err settle_host_id(struct store_db *db)
{
    static const mr_uuid none;
    if (memcmp(&db->host_id, &none, sizeof(none)) != 0)
        return MR_OK;
    mr_entropy(&db->host_id, sizeof(db->host_id));
    db->host_id.bytes[6] = (uint8_t)((db->host_id.bytes[6] & 0x0f) | 0x40);
    db->host_id.bytes[8] = (uint8_t)((db->host_id.bytes[8] & 0x3f) | 0x80);
    struct kv_batch *batch = kv_batch_new();
    kv_batch_put(batch, db->schema, MR_STR("mhost_id"),
                 mr_str_of(db->host_id.bytes, sizeof(db->host_id)));
    mr_err err = kv_write(db->kv, batch, 0);
    if (err == MR_OK)
        err = kv_flush_wal(db->kv, true);
    kv_batch_free(batch);
    return err;
}

/* ---- opening ---- */
enum { CACHE_BYTES = 16 << 20, ROWS_BUFFER_BYTES = 16 << 20 };

mr_err store_db_open(const char *folder, struct kv_memory *memory, const struct mr_clock *clock,
                     struct store_schema *schema, struct store_db *out)
{
    const struct kv_family_options families[] = {
        {.name = "rows",
         .merge = &rows_merge,
         .filter = &rows_filter,
         .write_buffer_bytes = ROWS_BUFFER_BYTES},
        {.name = "schema", .write_buffer_bytes = 1 << 20},
    };
    struct store_db db = {.kv = NULL};
    if (memory == NULL)
        memory = db.own_memory = kv_memory_new(CACHE_BYTES);
    const struct kv_options options = {.folder = folder,
                                       .memory = memory,
                                       .families = families,
                                       .family_count = mr_count_of(families),
                                       .write_buffers_bytes = ROWS_BUFFER_BYTES * 2,
                                       .clock = clock};
    mr_err err = kv_open(&options, &db.kv);
    if (err == MR_OK) {
        db.rows = kv_family(db.kv, "rows");
        db.schema = kv_family(db.kv, "schema");
        err = load_schema(&db, schema);
    }
    if (err == MR_OK)
        err = settle_host_id(&db);
    if (err != MR_OK) {
        store_db_close(&db);
        return err;
    }
    *out = db;
    return MR_OK;
}

void store_db_close(struct store_db *db)
{
    kv_close(db->kv);
    kv_memory_free(db->own_memory);
    memset(db, 0, sizeof(*db));
}
