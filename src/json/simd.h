/* json/simd.h: simdjson's first stage: where a text's brackets, colons, commas and the first characters
 * of strings and other scalars are. Everything else of simdjson stays behind simd.cc. */
#ifndef JSON_SIMD_H
#define JSON_SIMD_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct json_index;
struct json_index *json_simd_new(void);
void json_simd_free(struct json_index *index); /* accepts NULL */
/* The places in the text, ascending, `*count` of them, followed by one more that equals `length`; valid
 * until the next call. NULL: the text is empty, not UTF-8, has a control character inside a string, or a
 * string that does not end. Reads nothing behind the text. */
const uint32_t *json_simd_index(struct json_index *index, const char *text, size_t length,
                                uint32_t *count);

#ifdef __cplusplus
}
#endif
#endif
