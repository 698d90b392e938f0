/* base/str.c: borrowed text: comparison, search, numbers, UTF-8, UUIDs. */
#include "base/str.h"

#include <errno.h>
#include <stdlib.h>

#include "base/memory.h"

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

bool mr_str_equal_nocase(mr_str a, mr_str b)
{
    if (a.length != b.length)
        return false;
    for (size_t i = 0; i < a.length; i++)
        if (lower(a.data[i]) != lower(b.data[i]))
            return false;
    return true;
}

int mr_str_compare(mr_str a, mr_str b)
{
    size_t shorter = a.length < b.length ? a.length : b.length;
    int order = shorter == 0 ? 0 : memcmp(a.data, b.data, shorter);
    if (order != 0)
        return order;
    return (a.length > b.length) - (a.length < b.length);
}

bool mr_str_starts(mr_str text, mr_str prefix)
{
    return text.length >= prefix.length &&
           mr_str_equal(mr_str_of(text.data, prefix.length), prefix);
}

bool mr_str_ends(mr_str text, mr_str suffix)
{
    return text.length >= suffix.length &&
           (suffix.length == 0 ||
            memcmp(text.data + text.length - suffix.length, suffix.data, suffix.length) == 0);
}

mr_str mr_str_slice(mr_str text, size_t from, size_t to)
{
    if (to > text.length)
        to = text.length;
    if (from > to)
        from = to;
    return (mr_str){text.data == NULL ? NULL : text.data + from, to - from};
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

mr_str mr_str_trim(mr_str text)
{
    size_t from = 0, to = text.length;
    while (from < to && is_space(text.data[from]))
        from++;
    while (to > from && is_space(text.data[to - 1]))
        to--;
    return mr_str_slice(text, from, to);
}

ptrdiff_t mr_str_find(mr_str text, mr_str needle)
{
    if (needle.length == 0)
        return 0;
    if (text.length < needle.length)
        return -1;
    const char *found = memmem(text.data, text.length, needle.data, needle.length);
    return found == NULL ? -1 : found - text.data;
}

ptrdiff_t mr_str_find_byte(mr_str text, char byte)
{
    const char *found = text.length == 0 ? NULL : memchr(text.data, byte, text.length);
    return found == NULL ? -1 : found - text.data;
}

bool mr_str_split(mr_str *rest, char separator, mr_str *part)
{
    if (rest->data == NULL)
        return false;
    ptrdiff_t at = mr_str_find_byte(*rest, separator);
    if (at < 0) {
        *part = *rest;
        *rest = MR_STR_NULL;
        return true;
    }
    *part = mr_str_slice(*rest, 0, (size_t)at);
    *rest = mr_str_slice(*rest, (size_t)at + 1, rest->length);
    return true;
}

/* ---- numbers ---- */

mr_err mr_str_to_u64(mr_str text, uint64_t *out)
{
    uint64_t value = 0;
    if (text.length == 0)
        return MR_INVALID;
    for (size_t i = 0; i < text.length; i++) {
        unsigned digit = (unsigned)(unsigned char)text.data[i] - '0';
        if (digit > 9 || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, digit, &value))
            return MR_INVALID;
    }
    *out = value;
    return MR_OK;
}

mr_err mr_str_to_i64(mr_str text, int64_t *out)
{
    bool negative = text.length > 0 && text.data[0] == '-';
    bool sign = negative || (text.length > 0 && text.data[0] == '+');
    uint64_t value = 0;
    if (mr_str_to_u64(mr_str_slice(text, sign ? 1 : 0, text.length), &value) != MR_OK)
        return MR_INVALID;
    if (value > (uint64_t)INT64_MAX + (negative ? 1 : 0))
        return MR_INVALID;
    *out = negative ? (int64_t)(0 - value) : (int64_t)value;
    return MR_OK;
}

mr_err mr_str_to_f64(mr_str text, double *out)
{
    char room[128];
    char *copy = room;
    char *end = NULL;
    if (text.length == 0 || is_space(text.data[0]) ||
        memchr(text.data, '\0', text.length) != NULL ||
        memchr(text.data, 'x', text.length) != NULL || memchr(text.data, 'X', text.length) != NULL)
        return MR_INVALID; /* strtod would skip the space and read hexadecimal */
    if (text.length < sizeof room) {
        memcpy(room, text.data, text.length);
        room[text.length] = '\0';
    } else {
        copy = mr_copy_cstr(text);
    }
    double value = strtod(copy, &end);
    bool whole = end == copy + text.length;
    if (copy != room)
        mr_free(copy);
    if (!whole)
        return MR_INVALID;
    *out = value;
    return MR_OK;
}

int mr_hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* ---- UTF-8 (RFC 3629, the table of section 4) ---- */

/* Bytes of the well-formed sequence at `at`, or 0. */
static size_t sequence_length(const unsigned char *at, size_t left)
{
    unsigned char first = at[0], low = 0x80, high = 0xBF;
    size_t length = 0;
    if (first >= 0xC2 && first <= 0xDF)
        length = 2;
    else if (first >= 0xE0 && first <= 0xEF)
        length = 3;
    else if (first >= 0xF0 && first <= 0xF4)
        length = 4;
    if (length == 0 || left < length)
        return 0;
    if (first == 0xE0)
        low = 0xA0; /* shorter forms exist */
    else if (first == 0xED)
        high = 0x9F; /* surrogates */
    else if (first == 0xF0)
        low = 0x90;
    else if (first == 0xF4)
        high = 0x8F; /* past U+10FFFF */
    if (at[1] < low || at[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((at[i] & 0xC0) != 0x80)
            return 0;
    return length;
}

bool mr_str_is_utf8(mr_str text)
{
    const unsigned char *at = (const unsigned char *)text.data;
    size_t left = text.length;
    while (left > 0) {
        if (left >= 8) {
            uint64_t word;
            memcpy(&word, at, 8);
            if ((word & 0x8080808080808080u) == 0) {
                at += 8;
                left -= 8;
                continue;
            }
        }
        size_t length = at[0] < 0x80 ? 1 : sequence_length(at, left);
        if (length == 0)
            return false;
        at += length;
        left -= length;
    }
    return true;
}

/* ---- uuid ---- */

mr_err mr_uuid_parse(mr_str text, mr_uuid *out)
{
    mr_uuid uuid;
    size_t at = 0;
    bool dashes = text.length == 36;
    if (!dashes && text.length != 32)
        return MR_INVALID;
    for (size_t i = 0; i < 16; i++) {
        if (dashes && (i == 4 || i == 6 || i == 8 || i == 10) && text.data[at++] != '-')
            return MR_INVALID;
        int high = mr_hex_digit(text.data[at]), low = mr_hex_digit(text.data[at + 1]);
        if (high < 0 || low < 0)
            return MR_INVALID;
        uuid.bytes[i] = (uint8_t)(high << 4 | low);
        at += 2;
    }
    *out = uuid;
    return MR_OK;
}

void mr_uuid_format(const mr_uuid *uuid, char out[37])
{
    static const char digits[] = "0123456789abcdef";
    char *at = out;
    for (size_t i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *at++ = '-';
        *at++ = digits[uuid->bytes[i] >> 4];
        *at++ = digits[uuid->bytes[i] & 15];
    }
    *at = '\0';
}
