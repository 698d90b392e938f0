/* registry/store_test.c: what the records of `_schemas` come to. */
#include "registry/store.h"
#include "story.h"

#include <stdio.h>

static void writes(struct registry_store *store, const char *subject, int version, int id,
                   const char *text, bool deleted)
{
    char key[300], value[600];

    snprintf(key, sizeof key,
             "{\"keytype\":\"SCHEMA\",\"subject\":\"%s\",\"version\":%d,\"magic\":1}", subject,
             version);
    snprintf(value, sizeof value,
             "{\"subject\":\"%s\",\"version\":%d,\"id\":%d,\"schema\":\"%s\",\"deleted\":%s}",
             subject, version, id, text, deleted ? "true" : "false");
    expect_ok(registry_store_apply(store, mr_str_from(key), mr_str_from(value)));
}

static void removes(struct registry_store *store, const char *subject, int version)
{
    char key[300];

    snprintf(key, sizeof key,
             "{\"keytype\":\"SCHEMA\",\"subject\":\"%s\",\"version\":%d,\"magic\":1}", subject,
             version);
    expect_ok(registry_store_apply(store, mr_str_from(key), MR_STR_NULL));
}

STORY("versions share a schema and let it go with the last of them")
{
    struct registry_store store = {0};

    writes(&store, "a", 2, 7, "\\\"int\\\"", false);
    writes(&store, "a", 1, 5, "\\\"string\\\"", false);
    writes(&store, "b", 1, 7, "\\\"int\\\"", false);
    const struct registry_subject *a = registry_store_subject(&store, MR_STR("a"));
    expect_int(a->versions.count, 2);
    expect_int(a->versions.items[0].version, 1);
    expect_int(registry_store_id(&store, 7)->uses, 2);
    expect_int(store.id_max, 7);
    expect_int(registry_store_version(a, -1, false)->version, 2);
    removes(&store, "a", 2);
    expect_int(registry_store_id(&store, 7)->uses, 1);
    removes(&store, "b", 1);
    expect(registry_store_id(&store, 7) == NULL);
    expect_int(store.id_max, 7);
    removes(&store, "b", 1);
    removes(&store, "nobody", 1);
    registry_store_fini(&store);
}

STORY("soft deletes hide, a later version lives, clearing removes")
{
    struct registry_store store = {0};

    writes(&store, "a", 1, 1, "\\\"int\\\"", false);
    writes(&store, "a", 2, 2, "\\\"string\\\"", false);
    expect_ok(registry_store_apply(
        &store, MR_STR("{\"keytype\":\"DELETE_SUBJECT\",\"subject\":\"a\",\"magic\":0}"),
        MR_STR("{\"subject\":\"a\",\"version\":2}")));
    const struct registry_subject *a = registry_store_subject(&store, MR_STR("a"));
    expect(!registry_store_alive(a));
    expect(registry_store_id(&store, 1) != NULL);
    writes(&store, "a", 3, 1, "\\\"int\\\"", false);
    expect_int(registry_store_version(a, -1, false)->version, 3);
    writes(&store, "a", 3, 1, "\\\"int\\\"", true);
    expect(!registry_store_alive(a));
    expect_ok(registry_store_apply(
        &store, MR_STR("{\"keytype\":\"CLEAR_SUBJECT\",\"subject\":\"a\",\"magic\":0}"),
        MR_STR("{\"subject\":\"a\"}")));
    expect_int(a->versions.count, 0);
    expect(registry_store_id(&store, 1) == NULL);
    registry_store_fini(&store);
}

STORY("levels and modes, global and of a subject")
{
    struct registry_store store = {0};

    expect_ok(registry_store_apply(&store,
                                   MR_STR("{\"keytype\":\"CONFIG\",\"subject\":null,\"magic\":0}"),
                                   MR_STR("{\"compatibilityLevel\":\"FULL_TRANSITIVE\"}")));
    expect_int(store.level, REGISTRY_LEVEL_FULL_TRANSITIVE);
    expect_ok(registry_store_apply(&store,
                                   MR_STR("{\"keytype\":\"CONFIG\",\"subject\":\"a\",\"magic\":0}"),
                                   MR_STR("{\"compatibilityLevel\":\"NONE\"}")));
    expect_int(registry_store_subject(&store, MR_STR("a"))->level, REGISTRY_LEVEL_NONE);
    expect_ok(registry_store_apply(&store,
                                   MR_STR("{\"keytype\":\"MODE\",\"subject\":null,\"magic\":0}"),
                                   MR_STR("{\"mode\":\"IMPORT\"}")));
    expect_int(store.mode, REGISTRY_MODE_IMPORT);
    expect_ok(registry_store_apply(
        &store, MR_STR("{\"keytype\":\"CONFIG\",\"subject\":\"a\",\"magic\":0}"), MR_STR_NULL));
    expect_int(registry_store_subject(&store, MR_STR("a"))->level, REGISTRY_LEVEL_UNSET);
    expect_ok(
        registry_store_apply(&store, MR_STR("{\"keytype\":\"NOOP\",\"magic\":0}"), MR_STR_NULL));
    registry_store_fini(&store);
}

STORY("records that are none of ours change nothing")
{
    static const char *const bad[][2] = {
        {"", NULL},
        {"x", NULL},
        {"{}", NULL},
        {"{\"keytype\":\"OTHER\"}", "{}"},
        {"{\"keytype\":\"SCHEMA\"}", "{}"},
        {"{\"keytype\":\"SCHEMA\",\"subject\":\"a\",\"version\":1}", "{\"id\":0}"},
        {"{\"keytype\":\"SCHEMA\",\"subject\":\"a\",\"version\":0}", "{\"id\":1}"},
        {"{\"keytype\":\"SCHEMA\",\"subject\":\"a\",\"version\":1}", "{"},
    };
    struct registry_store store = {0};

    for (size_t i = 0; i < mr_count_of(bad); i++)
        expect(registry_store_apply(&store, mr_str_from(bad[i][0]), mr_str_from(bad[i][1])) !=
               MR_OK);
    expect_int(store.subjects.count, 0);
    registry_store_fini(&store);
}
