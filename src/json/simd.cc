/* json/simd.cc: the only file that knows simdjson. */
#include "json/simd.h"

#include <memory>
#include <new>
#include <simdjson.h>

struct json_index {
    std::unique_ptr<simdjson::internal::dom_parser_implementation> stage;
    size_t capacity = 0;
};

static bool json_simd_grow(json_index *index, size_t length)
{
    if (index->stage != nullptr && length <= index->capacity)
        return true;
    size_t capacity = 4096;
    while (capacity < length)
        capacity *= 2;
    std::unique_ptr<simdjson::internal::dom_parser_implementation> stage;
    if (simdjson::get_active_implementation()->create_dom_parser_implementation(
            capacity, 1, stage) != simdjson::SUCCESS)
        return false;
    index->stage = std::move(stage);
    index->capacity = capacity;
    return true;
}

extern "C" struct json_index *json_simd_new(void)
{
    return new (std::nothrow) json_index;
}

extern "C" void json_simd_free(struct json_index *index)
{
    delete index;
}

extern "C" const uint32_t *json_simd_index(struct json_index *index, const char *text,
                                           size_t length, uint32_t *count)
{
    if (index == nullptr || length == 0 || length > 0xffffff00u || !json_simd_grow(index, length))
        return nullptr;
    const uint8_t *bytes = reinterpret_cast<const uint8_t *>(text);
    if (index->stage->stage1(bytes, length, simdjson::stage1_mode::regular) != simdjson::SUCCESS)
        return nullptr;
    *count = index->stage->n_structural_indexes;
    return index->stage->structural_indexes.get();
}
