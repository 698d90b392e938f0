/* cql/number.c: varint and decimal, whose size only a limit bounds: text to bytes and back.
 * Magnitudes are little-endian arrays of 32-bit words while they are worked on. */
#include "cql/cql.h"

enum { WORDS_MAX = 1024 }; /* 4 KB of digits: a longer number is refused or shown as hex */

struct magnitude {
    uint32_t words[WORDS_MAX];
    size_t count;
    bool overflow;
};

static void multiply_add(struct magnitude *number, uint32_t factor, uint32_t addend)
{
    uint64_t carry = addend;
    for (size_t i = 0; i < number->count; i++) {
        carry += (uint64_t)number->words[i] * factor;
        number->words[i] = (uint32_t)carry;
        carry >>= 32;
    }
    if (carry == 0)
        return;
    if (number->count == WORDS_MAX)
        number->overflow = true;
    else
        number->words[number->count++] = (uint32_t)carry;
}

/* Divides in place; returns the remainder. */
static uint32_t divide(struct magnitude *number, uint32_t divisor)
{
    uint64_t rest = 0;
    for (size_t i = number->count; i-- > 0;) {
        rest = rest << 32 | number->words[i];
        number->words[i] = (uint32_t)(rest / divisor);
        rest %= divisor;
    }
    while (number->count > 0 && number->words[number->count - 1] == 0)
        number->count--;
    return (uint32_t)rest;
}

/* Two's complement, big endian, shortest. */
static void write_bytes(struct mr_buf *out, const struct magnitude *number, bool negative)
{
    size_t length = number->count * 4 + 1;
    uint8_t *bytes = mr_buf_grow(out, length);
    if (bytes == NULL)
        return;
    uint32_t carry = negative ? 1 : 0;
    for (size_t i = 0; i < length; i++) {
        uint32_t byte = i / 4 < number->count ? number->words[i / 4] >> (i % 4 * 8) & 0xff : 0;
        if (negative) {
            byte = (byte ^ 0xff) + carry;
            carry = byte >> 8;
        }
        bytes[length - 1 - i] = (uint8_t)byte;
    }
    size_t skip = 0;
    while (skip + 1 < length && ((bytes[skip] == 0x00 && bytes[skip + 1] < 0x80) ||
                                 (bytes[skip] == 0xff && bytes[skip + 1] >= 0x80)))
        skip++;
    memmove(bytes, bytes + skip, length - skip);
    out->length -= skip;
}

/* Digits of `text`, the point left out; false unless all of it is digits with at most one point. */
static bool read_digits(struct magnitude *number, mr_str text, bool point_allowed, int64_t *scale)
{
    size_t digits = 0;
    bool point = false;
    for (size_t i = 0; i < text.length; i++) {
        char c = text.data[i];
        if (c == '.' && point_allowed && !point) {
            point = true;
            continue;
        }
        if (c < '0' || c > '9')
            return false;
        multiply_add(number, 10, (uint32_t)(c - '0'));
        digits++;
        *scale += point ? 1 : 0;
    }
    return digits > 0 && !number->overflow;
}

static bool read_minus(mr_str *text)
{
    bool minus = text->length > 0 && text->data[0] == '-';
    if (minus || (text->length > 0 && text->data[0] == '+'))
        *text = mr_str_slice(*text, 1, text->length);
    return minus;
}

bool cql_varint_parse(struct mr_buf *out, mr_str digits)
{
    struct magnitude number = {.count = 0};
    int64_t scale = 0;
    bool negative = read_minus(&digits);
    if (!read_digits(&number, digits, false, &scale))
        return false;
    write_bytes(out, &number, negative && number.count > 0);
    return true;
}

bool cql_decimal_parse(struct mr_buf *out, mr_str text)
{
    struct magnitude number = {.count = 0};
    int64_t scale = 0, exponent = 0;
    bool negative = read_minus(&text);
    ptrdiff_t e = mr_str_find_byte(text, 'e');
    if (e < 0)
        e = mr_str_find_byte(text, 'E');
    if (e >= 0) {
        mr_str power = mr_str_slice(text, (size_t)e + 1, text.length);
        if (power.length > 0 && power.data[0] == '+')
            power = mr_str_slice(power, 1, power.length);
        if (mr_str_to_i64(power, &exponent) != MR_OK || exponent > INT64_C(1) << 32 ||
            exponent < -(INT64_C(1) << 32))
            return false;
        text = mr_str_slice(text, 0, (size_t)e);
    }
    if (!read_digits(&number, text, true, &scale))
        return false;
    if (scale - exponent > INT32_MAX || scale - exponent < INT32_MIN)
        return false;
    mr_buf_be32(out, (uint32_t)(int32_t)(scale - exponent));
    write_bytes(out, &number, negative && number.count > 0);
    return true;
}

/* ---- printing ---- */
static bool load_bytes(struct magnitude *number, mr_str bytes, bool *negative)
{
    const uint8_t *data = (const uint8_t *)bytes.data;
    if (bytes.length > (WORDS_MAX - 1) * 4)
        return false;
    *negative = bytes.length > 0 && (data[0] & 0x80) != 0;
    number->count = (bytes.length + 3) / 4;
    memset(number->words, 0, number->count * 4);
    uint32_t carry = *negative ? 1 : 0;
    for (size_t i = 0; i < number->count * 4; i++) {
        uint32_t byte = i < bytes.length ? data[bytes.length - 1 - i] : *negative ? 0xffu : 0u;
        if (*negative) {
            byte = (byte ^ 0xff) + carry;
            carry = byte >> 8;
            byte &= 0xff;
        }
        number->words[i / 4] |= byte << (i % 4 * 8);
    }
    while (number->count > 0 && number->words[number->count - 1] == 0)
        number->count--;
    return true;
}

/* The digits without sign; false when the number is too long to be shown so. */
static bool print_digits(struct mr_buf *out, mr_str bytes, bool *negative)
{
    struct magnitude number;
    number.overflow = false;
    if (!load_bytes(&number, bytes, negative))
        return false;
    size_t begin = out->length;
    do {
        uint32_t part = divide(&number, 1000000000);
        for (int i = 0; i < 9 && (part > 0 || number.count > 0 || i == 0); i++, part /= 10)
            mr_buf_u8(out, (uint8_t)('0' + part % 10));
    } while (number.count > 0);
    for (size_t a = begin, b = out->length; out->err == MR_OK && a + 1 < b; a++) {
        b--;
        uint8_t swap = out->data[a];
        out->data[a] = out->data[b];
        out->data[b] = swap;
    }
    return true;
}

static void print_hex(struct mr_buf *out, mr_str bytes)
{
    mr_buf_cstr(out, "0x");
    for (size_t i = 0; i < bytes.length; i++)
        mr_buf_printf(out, "%02x", (unsigned)(uint8_t)bytes.data[i]);
}

void cql_varint_print(struct mr_buf *out, mr_str bytes)
{
    struct mr_buf digits = {0};
    bool negative = false;
    if (!print_digits(&digits, bytes, &negative)) {
        print_hex(out, bytes);
    } else {
        if (negative)
            mr_buf_u8(out, '-');
        mr_buf_str(out, mr_buf_as_str(&digits));
    }
    mr_buf_fini(&digits);
}

/* As Java's BigDecimal.toString() has it: plain when 0 <= scale and the exponent is >= -6. */
static void print_scaled(struct mr_buf *out, mr_str digits, int32_t scale)
{
    int64_t exponent = -(int64_t)scale + (int64_t)digits.length - 1;
    if (scale == 0) {
        mr_buf_str(out, digits);
    } else if (scale > 0 && exponent >= -6) {
        size_t whole = digits.length > (size_t)scale ? digits.length - (size_t)scale : 0;
        mr_buf_str(out, whole > 0 ? mr_str_slice(digits, 0, whole) : MR_STR("0"));
        mr_buf_u8(out, '.');
        for (size_t i = digits.length; whole == 0 && i < (size_t)scale; i++)
            mr_buf_u8(out, '0');
        mr_buf_str(out, mr_str_slice(digits, whole, digits.length));
    } else {
        mr_buf_str(out, mr_str_slice(digits, 0, 1));
        if (digits.length > 1) {
            mr_buf_u8(out, '.');
            mr_buf_str(out, mr_str_slice(digits, 1, digits.length));
        }
        mr_buf_printf(out, "E%+lld", (long long)exponent);
    }
}

void cql_decimal_print(struct mr_buf *out, mr_str bytes)
{
    struct mr_in in = mr_in_str(bytes);
    int32_t scale = (int32_t)mr_in_be32(&in);
    struct mr_buf digits = {0};
    bool negative = false;
    if (in.err != MR_OK || !print_digits(&digits, mr_str_of(in.at, mr_in_left(&in)), &negative)) {
        print_hex(out, bytes);
    } else {
        if (negative)
            mr_buf_u8(out, '-');
        print_scaled(out, mr_buf_as_str(&digits), scale);
    }
    mr_buf_fini(&digits);
}
