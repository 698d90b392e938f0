/* fuzz/schemas_topic.c: records of `_schemas` that anyone may have written: lines, key and value in turn. */
#include "registry/store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
    struct registry_store store = {0};
    mr_str rest = length == 0 ? MR_STR("") : mr_str_of(data, length), key, value;
    struct mr_map_entry *entry;

    while (mr_str_split(&rest, '\n', &key)) {
        if (!mr_str_split(&rest, '\n', &value))
            value = MR_STR_NULL;
        (void)registry_store_apply(&store, key, value.length == 0 ? MR_STR_NULL : value);
    }
    for (size_t i = 0; (entry = mr_map_next(&store.ids, &i)) != NULL;) {
        const struct avro_schema *avro;
        struct registry_schema *schema = entry->value;
        mr_assert(schema->uses > 0);
        (void)registry_store_avro(&store, schema, &avro);
    }
    registry_store_fini(&store);
    return 0;
}
