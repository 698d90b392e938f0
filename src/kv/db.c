/* kv/db.c: opening and closing, families, upkeep, and RocksDB's messages as our errors.
 *
 * After a full disk RocksDB refuses every write ("background error"). Its C interface has no resume, so
 * kv_resume() closes the database and opens it again under the same kv_db and kv_family addresses. */
#include "kv/db.h"

#include <sys/stat.h>

enum {
    WRITE_BUFFERS_BYTES = 32 << 20,
    BACKGROUND_JOBS = 2,
    OPEN_FILES_MAX = 512,
    INFO_LOG_BYTES_MAX = 1 << 20,
    INFO_LOG_HEADER = 5,
    OPEN_BYTES_MIN = 4 << 20, /* free on the disk, to open at all */
    READ_TIER_CACHE = 1,
};

/* ---- errors ---- */

bool kv_db_incomplete(const char *message)
{
    return mr_str_starts(mr_str_from(message), MR_STR("Result incomplete"));
}

mr_err kv_db_fail(const struct kv_db *db, const char *thing, char *message)
{
    static const struct {
        const char *part;
        mr_err err;
    } rows[] = {
        {"No space left on device", MR_FULL},
        {"Disk quota exceeded", MR_FULL},
        {"Space limit reached", MR_FULL},
        {"lock ", MR_BUSY}, /* "While lock file", "lock hold by current process" */
        {"Permission denied", MR_DENIED},
        {"Read-only file system", MR_DENIED},
        {"Corruption", MR_CORRUPT},
        {"Column family not found", MR_NOT_FOUND},
    };
    mr_str text = mr_str_from(message);
    mr_err err = MR_IO;
    for (size_t i = 0; i < mr_count_of(rows) && err == MR_IO; i++)
        if (mr_str_find(text, mr_str_from(rows[i].part)) >= 0)
            err = rows[i].err;
    if (err == MR_BUSY)
        mr_fail(err, "%s %s: another process has it open: %s", thing, db->folder, message);
    else
        mr_fail(err, "%s %s: %s", thing, db->folder, message);
    rocksdb_free(message);
    return err;
}

/* ---- memory ---- */

struct kv_memory *kv_memory_new(size_t cache_bytes)
{
    struct kv_memory *memory = mr_new(struct kv_memory);
    rocksdb_lru_cache_options_t *options = rocksdb_lru_cache_options_create();
    rocksdb_lru_cache_options_set_capacity(options, cache_bytes);
    rocksdb_lru_cache_options_set_num_shard_bits(options, 2); /* few threads read */
    memory->cache = rocksdb_cache_create_lru_opts(options);
    rocksdb_lru_cache_options_destroy(options);
    return memory;
}

void kv_memory_free(struct kv_memory *memory)
{
    if (memory == NULL)
        return;
    rocksdb_cache_destroy(memory->cache);
    mr_free(memory);
}

/* ---- options ---- */

static rocksdb_options_t *db_options_new(const struct kv_db *db)
{
    rocksdb_options_t *options = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(options, 1);
    rocksdb_options_set_create_missing_column_families(options, 1);
    rocksdb_options_set_manual_wal_flush(options, 1);
    rocksdb_options_set_db_write_buffer_size(options, db->write_buffers_bytes);
    rocksdb_options_set_max_total_wal_size(options, 4 * db->write_buffers_bytes);
    rocksdb_options_set_max_background_jobs(options, BACKGROUND_JOBS);
    rocksdb_options_set_max_open_files(options, OPEN_FILES_MAX);
    rocksdb_options_set_allow_concurrent_memtable_write(options, 0); /* a loop writes alone */
    rocksdb_options_set_enable_write_thread_adaptive_yield(options, 0);
    rocksdb_options_set_avoid_unnecessary_blocking_io(options, 1); /* loops close iterators */
    rocksdb_options_set_skip_stats_update_on_db_open(options, 1);
    rocksdb_options_set_stats_dump_period_sec(options, 0);
    rocksdb_options_set_stats_persist_period_sec(options, 0);
    /* Only the headers of an open: a line that meets a full disk makes the next one abort the process
     * (Debian builds RocksDB with assertions). Errors reach us as errors anyway. */
    rocksdb_options_set_info_log_level(options, INFO_LOG_HEADER);
    rocksdb_options_set_max_log_file_size(options, INFO_LOG_BYTES_MAX);
    rocksdb_options_set_keep_log_file_num(options, 2);
    return options;
}

rocksdb_readoptions_t *kv_db_read_options_new(int flags, const struct kv_snapshot *snapshot)
{
    rocksdb_readoptions_t *options = rocksdb_readoptions_create();
    if ((flags & KV_CACHED) != 0)
        rocksdb_readoptions_set_read_tier(options, READ_TIER_CACHE);
    if ((flags & KV_NO_FILL) != 0)
        rocksdb_readoptions_set_fill_cache(options, 0);
    if (snapshot != NULL)
        rocksdb_readoptions_set_snapshot(options,
                                         (const rocksdb_snapshot_t *)(const void *)snapshot);
    return options;
}

/* ---- families ---- */

static struct kv_family *family_find(const struct kv_db *db, const char *name)
{
    for (size_t i = 0; i < db->families.count; i++)
        if (strcmp(db->families.items[i]->name, name) == 0)
            return db->families.items[i];
    return NULL;
}

static struct kv_family *family_add(struct kv_db *db, const char *name)
{
    struct kv_family *family = mr_new(struct kv_family);
    family->name = mr_copy_cstr(mr_str_from(name));
    *mr_array_add(&db->families) = family;
    return family;
}

static void family_set(struct kv_family *family, const struct kv_family_options *options)
{
    family->merge = options->merge;
    family->filter = options->filter;
    family->write_buffer_bytes = options->write_buffer_bytes;
}

static void family_free(struct kv_family *family)
{
    mr_free(family->name);
    mr_free(family);
}

struct kv_family *kv_family(struct kv_db *db, const char *name)
{
    return family_find(db, name);
}

mr_err kv_family_make(struct kv_db *db, const struct kv_family_options *options,
                      struct kv_family **out)
{
    struct kv_family *family = family_find(db, options->name);
    char *message = NULL;
    if (family == NULL) {
        family = family_add(db, options->name);
        family_set(family, options);
        rocksdb_options_t *settings = kv_family_options_new(db, family);
        family->handle = rocksdb_create_column_family(db->rocks, settings, family->name, &message);
        rocksdb_options_destroy(settings);
    }
    if (message != NULL) {
        db->families.count--;
        family_free(family);
        return kv_db_fail(db, "making a family of", message);
    }
    *out = family;
    return MR_OK;
}

mr_err kv_family_drop(struct kv_db *db, struct kv_family *family)
{
    char *message = NULL;
    rocksdb_drop_column_family(db->rocks, family->handle, &message);
    if (message != NULL)
        return kv_db_fail(db, "dropping a family of", message);
    rocksdb_column_family_handle_destroy(family->handle);
    for (size_t i = 0; i < db->families.count; i++) {
        if (db->families.items[i] != family)
            continue;
        db->families.count--;
        memmove(&db->families.items[i], &db->families.items[i + 1],
                (db->families.count - i) * sizeof(struct kv_family *));
        break;
    }
    family_free(family);
    return MR_OK;
}

/* ---- opening ---- */

/* Adds the families that are on disk and were not listed. */
static void families_found(struct kv_db *db)
{
    char *message = NULL;
    size_t count = 0;
    rocksdb_options_t *options = rocksdb_options_create();
    char **names = rocksdb_list_column_families(options, db->folder, &count, &message);
    rocksdb_options_destroy(options);
    if (message != NULL) { /* a fresh folder; what is wrong otherwise, the open will say */
        rocksdb_free(message);
        return;
    }
    for (size_t i = 0; i < count; i++)
        if (family_find(db, names[i]) == NULL)
            family_add(db, names[i]);
    rocksdb_list_column_families_destroy(names, count);
}

/* Opens with the families that `db` lists. */
static mr_err rocks_open(struct kv_db *db)
{
    uint64_t free_bytes = 0, total_bytes = 0;
    if (mr_file_space(db->folder, &free_bytes, &total_bytes) == MR_OK &&
        free_bytes < OPEN_BYTES_MIN)
        return mr_fail(MR_FULL, "opening %s: its disk has %llu bytes free, %d are needed",
                       db->folder, (unsigned long long)free_bytes, OPEN_BYTES_MIN);
    size_t count = db->families.count;
    const char **names = mr_new_array(const char *, count);
    const rocksdb_options_t **settings = mr_new_array(const rocksdb_options_t *, count);
    rocksdb_column_family_handle_t **handles = mr_new_array(rocksdb_column_family_handle_t *,
                                                            count);
    rocksdb_options_t *options = db_options_new(db);
    char *message = NULL;
    mr_err err = MR_OK;
    for (size_t i = 0; i < count; i++) {
        names[i] = db->families.items[i]->name;
        settings[i] = kv_family_options_new(db, db->families.items[i]);
    }
    db->rocks = rocksdb_open_column_families(options, db->folder, (int)count, names, settings,
                                             handles, &message);
    if (message != NULL) {
        db->rocks = NULL;
        err = kv_db_fail(db, "opening", message);
    }
    for (size_t i = 0; i < count; i++) {
        db->families.items[i]->handle = handles[i];
        rocksdb_options_destroy((rocksdb_options_t *)(uintptr_t)settings[i]);
    }
    rocksdb_options_destroy(options);
    mr_free(names);
    mr_free(settings);
    mr_free(handles);
    return err;
}

static void rocks_close(struct kv_db *db)
{
    if (db->rocks == NULL)
        return;
    for (size_t i = 0; i < db->families.count; i++)
        rocksdb_column_family_handle_destroy(db->families.items[i]->handle);
    rocksdb_close(db->rocks);
    db->rocks = NULL;
}

static void db_free(struct kv_db *db)
{
    for (int i = 0; i < KV_READ_KINDS; i++)
        rocksdb_readoptions_destroy(db->reads[i]);
    for (int i = 0; i < KV_WRITE_KINDS; i++)
        rocksdb_writeoptions_destroy(db->writes[i]);
    for (size_t i = 0; i < db->families.count; i++)
        family_free(db->families.items[i]);
    mr_array_fini(&db->families);
    mr_free(db->folder);
    mr_free(db);
}

mr_err kv_open(const struct kv_options *options, struct kv_db **out)
{
    mr_err err = mr_folder_make(options->folder, 0750);
    if (err != MR_OK)
        return err;
    struct kv_db *db = mr_new(struct kv_db);
    db->folder = mr_copy_cstr(mr_str_from(options->folder));
    db->memory = options->memory;
    mr_clock_init(&db->real_clock);
    db->clock = options->clock == NULL ? &db->real_clock : options->clock;
    db->write_buffers_bytes = options->write_buffers_bytes > 0 ? options->write_buffers_bytes
                                                               : (size_t)WRITE_BUFFERS_BYTES;
    for (int i = 0; i < KV_READ_KINDS; i++)
        db->reads[i] = kv_db_read_options_new(
            ((i & 1) != 0 ? KV_CACHED : 0) | ((i & 2) != 0 ? KV_NO_FILL : 0), NULL);
    for (int i = 0; i < KV_WRITE_KINDS; i++) {
        db->writes[i] = rocksdb_writeoptions_create();
        rocksdb_writeoptions_set_no_slowdown(db->writes[i], (unsigned char)i);
    }
    family_add(db, "default");
    for (size_t i = 0; i < options->family_count; i++) {
        struct kv_family *family = family_find(db, options->families[i].name);
        if (family == NULL)
            family = family_add(db, options->families[i].name);
        family_set(family, &options->families[i]);
    }
    families_found(db);
    err = rocks_open(db);
    if (err != MR_OK) {
        db_free(db);
        return err;
    }
    *out = db;
    return MR_OK;
}

void kv_close(struct kv_db *db)
{
    if (db == NULL)
        return;
    if (db->rocks != NULL && kv_flush_wal(db, true) != MR_OK)
        mr_log(MR_LOG_ERROR, "kv", "closing: %s", mr_why());
    rocks_close(db);
    db_free(db);
}

mr_err kv_resume(struct kv_db *db)
{
    rocks_close(db);
    return rocks_open(db);
}

/* ---- upkeep ---- */

mr_err kv_flush_wal(struct kv_db *db, bool sync)
{
    char *message = NULL;
    if (db->rocks == NULL)
        return mr_fail(MR_IO, "%s: could not be opened again", db->folder);
    rocksdb_flush_wal(db->rocks, sync, &message);
    return message == NULL ? MR_OK : kv_db_fail(db, "the write-ahead log of", message);
}

mr_err kv_flush(struct kv_db *db)
{
    rocksdb_flushoptions_t *options = rocksdb_flushoptions_create();
    mr_err err = MR_OK;
    rocksdb_flushoptions_set_wait(options, 1);
    for (size_t i = 0; i < db->families.count && err == MR_OK; i++) {
        char *message = NULL;
        rocksdb_flush_cf(db->rocks, options, db->families.items[i]->handle, &message);
        if (message != NULL)
            err = kv_db_fail(db, "flushing", message);
    }
    rocksdb_flushoptions_destroy(options);
    return err;
}

mr_err kv_compact(struct kv_db *db, struct kv_family *family)
{
    mr_err err = kv_flush(db);
    if (err == MR_OK)
        rocksdb_compact_range_cf(db->rocks, family->handle, NULL, 0, NULL, 0);
    return err;
}

mr_err kv_checkpoint(struct kv_db *db, const char *folder)
{
    char *message = NULL;
    rocksdb_checkpoint_t *checkpoint = rocksdb_checkpoint_object_create(db->rocks, &message);
    if (message == NULL) {
        rocksdb_checkpoint_create(checkpoint, folder, 0, &message);
        rocksdb_checkpoint_object_destroy(checkpoint);
    }
    return message == NULL ? MR_OK : kv_db_fail(db, "a checkpoint of", message);
}

static uint64_t property(const struct kv_db *db, const struct kv_family *family, const char *name)
{
    uint64_t value = 0;
    return rocksdb_property_int_cf(db->rocks, family->handle, name, &value) == 0 ? value : 0;
}

uint64_t kv_key_count(struct kv_db *db, struct kv_family *family)
{
    return property(db, family, "rocksdb.estimate-num-keys");
}

uint64_t kv_memory_bytes(struct kv_db *db)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < db->families.count; i++)
        sum += property(db, db->families.items[i], "rocksdb.cur-size-all-mem-tables") +
               property(db, db->families.items[i], "rocksdb.estimate-table-readers-mem");
    return sum + rocksdb_cache_get_usage(db->memory->cache);
}

uint64_t kv_disk_bytes(struct kv_db *db)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < db->families.count; i++)
        sum += property(db, db->families.items[i], "rocksdb.total-sst-files-size");
    return sum;
}
