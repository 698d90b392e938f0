/* base/str.h: borrowed text. An mr_str never owns and is not NUL-ended; {NULL, 0} is "no text",
 * which equals the empty text in comparisons. */
#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/error.h"

typedef struct mr_str {
    const char *data;
    size_t length;
} mr_str;

#define MR_STR(literal) ((mr_str){"" literal, sizeof(literal) - 1})
#define MR_STR_NULL ((mr_str){NULL, 0})
/* For printf: "%.*s", MR_STR_ARG(name). */
#define MR_STR_ARG(s) (int)(s).length, (s).data == NULL ? "" : (s).data

static inline mr_str mr_str_of(const void *data, size_t length)
{
    return (mr_str){(const char *)data, length};
}
static inline mr_str mr_str_from(const char *cstr) /* accepts NULL */
{
    return (mr_str){cstr, cstr == NULL ? 0 : strlen(cstr)};
}
static inline bool mr_str_equal(mr_str a, mr_str b)
{
    return a.length == b.length && (a.length == 0 || memcmp(a.data, b.data, a.length) == 0);
}
bool mr_str_equal_nocase(mr_str a, mr_str b); /* ASCII letters */
int mr_str_compare(mr_str a, mr_str b);       /* bytes, unsigned; <0, 0, >0 */
bool mr_str_starts(mr_str text, mr_str prefix);
bool mr_str_ends(mr_str text, mr_str suffix);
mr_str mr_str_slice(mr_str text, size_t from, size_t to); /* clamped, half open */
mr_str mr_str_trim(mr_str text);                          /* ASCII white space, both ends */
ptrdiff_t mr_str_find(mr_str text, mr_str needle);        /* first index, or -1 */
ptrdiff_t mr_str_find_byte(mr_str text, char byte);       /* first index, or -1 */
/* Cuts the part before `separator` off the front of `*rest`; false when `*rest` is used up
 * (its data is NULL then). "a,,b" gives "a", "", "b". */
bool mr_str_split(mr_str *rest, char separator, mr_str *part);
/* Whole text as a number, else MR_INVALID (no mr_fail sentence about the caller's thing). */
mr_err mr_str_to_i64(mr_str text, int64_t *out);
mr_err mr_str_to_u64(mr_str text, uint64_t *out);
mr_err mr_str_to_f64(mr_str text, double *out);
bool mr_str_is_utf8(mr_str text); /* well formed, no surrogates */
int mr_hex_digit(char c);         /* 0..15, or -1 */

/* ---- uuid: 16 bytes, RFC 4122 text ---- */
typedef struct mr_uuid {
    uint8_t bytes[16];
} mr_uuid;
mr_err mr_uuid_parse(mr_str text, mr_uuid *out);        /* with or without dashes */
void mr_uuid_format(const mr_uuid *uuid, char out[37]); /* lower case, NUL-ended */

#endif
