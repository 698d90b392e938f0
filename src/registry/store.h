/* registry/store.h: all that the registry knows, in memory: the fold of the records of `_schemas`. It only
 * changes by registry_store_apply(), for records read back at the start and for our own once they are
 * acknowledged, so both come to the same. */
#ifndef REGISTRY_STORE_H
#define REGISTRY_STORE_H

#include "avro/avro.h"
#include "json/json.h"

enum registry_level {
    REGISTRY_LEVEL_UNSET,
#define LEVEL(name, backward, forward, all) REGISTRY_LEVEL_##name,
#include "registry/levels.def"
};
enum registry_mode {
    REGISTRY_MODE_UNSET,
#define MODE(name) REGISTRY_MODE_##name,
#include "registry/levels.def"
};
/* A text under its id. Two versions that say the same, references, metadata and rules included, share it. */
struct registry_schema {
    int32_t id;
    uint32_t uses; /* versions that have it, soft-deleted ones too */
    mr_str type, text;
    mr_str references;      /* JSON array without white space, or empty */
    mr_str metadata, rules; /* JSON objects, or empty */
    mr_str identity;
    struct avro_schema *avro; /* parsed when first needed */
    struct mr_arena arena;
};
struct registry_version {
    int32_t version;
    bool deleted; /* softly */
    struct registry_schema *schema;
};
struct registry_subject {
    mr_str name;
    MR_ARRAY(struct registry_version) versions; /* ascending */
    enum registry_level level;
    enum registry_mode mode;
};
struct registry_store {
    struct mr_map subjects;   /* name -> registry_subject; some hold only a level or a mode */
    struct mr_map ids;        /* decimal id -> registry_schema */
    struct mr_map identities; /* identity -> registry_schema */
    int32_t id_max;
    enum registry_level level; /* global; UNSET: BACKWARD */
    enum registry_mode mode;   /* global; UNSET: READWRITE */
};
void registry_store_fini(struct registry_store *store);
/* One record. MR_INVALID: not a record of ours (the store is as it was). */
mr_err registry_store_apply(struct registry_store *store, mr_str key, mr_str value);

struct registry_subject *registry_store_subject(const struct registry_store *store, mr_str name);
struct registry_schema *registry_store_id(const struct registry_store *store, int32_t id);
/* `version` -1: the latest one that is not deleted. `deleted`: soft-deleted ones count too. */
struct registry_version *registry_store_version(const struct registry_subject *subject,
                                                int64_t version, bool deleted);
bool registry_store_alive(
    const struct registry_subject *subject); /* has a version that is not deleted */
mr_str registry_store_identity(struct mr_arena *arena, mr_str type, mr_str text, mr_str references,
                               mr_str metadata, mr_str rules);
/* Texts of what a reference list names, each behind what it needs. Errors: MR_NOT_FOUND naming it. */
mr_err registry_store_references(const struct registry_store *store, struct mr_arena *arena,
                                 const struct json_value *list, mr_str **texts, size_t *count);
/* The parsed form, kept with the schema. */
mr_err registry_store_avro(const struct registry_store *store, struct registry_schema *schema,
                           const struct avro_schema **out);
/* Whether a version that is not deleted (or, with `deleted`, any) names this one. */
bool registry_store_referenced(const struct registry_store *store, mr_str subject, int32_t version,
                               bool deleted);
bool registry_store_names(const struct registry_schema *schema, mr_str subject, int32_t version);

const char *registry_level_name(enum registry_level level);
const char *registry_mode_name(enum registry_mode mode);
enum registry_level registry_level_find(mr_str name); /* UNSET: unknown */
enum registry_mode registry_mode_find(mr_str name);

#endif
