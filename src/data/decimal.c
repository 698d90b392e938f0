/* data/decimal.c: exact decimals of up to 38 digits in 128 bits. Products and dividends may need
 * twice as many bits for a moment, so there is a small 256-bit arithmetic of magnitudes here. */
#include "data/data.h"

#include <math.h>

typedef unsigned __int128 u128;
struct wide {
    u128 high, low;
};

data_decimal data_decimal_power(int digits)
{
    data_decimal power = 1;
    mr_assert(digits >= 0 && digits <= DATA_DECIMAL_DIGITS);
    while (digits-- > 0)
        power *= 10;
    return power;
}

static u128 magnitude(data_decimal value)
{
    return value < 0 ? -(u128)value : (u128)value;
}

static struct wide wide_multiply(u128 a, u128 b)
{
    u128 al = (uint64_t)a, ah = a >> 64, bl = (uint64_t)b, bh = b >> 64;
    u128 low = al * bl, m1 = ah * bl, m2 = al * bh;
    u128 middle = (low >> 64) + (uint64_t)m1 + (uint64_t)m2;
    return (struct wide){ah * bh + (m1 >> 64) + (m2 >> 64) + (middle >> 64),
                         middle << 64 | (uint64_t)low};
}

/* Quotient and remainder, a bit at a time when the dividend is really wide. */
static struct wide wide_divide(struct wide value, u128 by, u128 *remainder)
{
    if (value.high == 0) {
        *remainder = value.low % by;
        return (struct wide){0, value.low / by};
    }
    struct wide quotient = {0, 0};
    u128 rest = 0;
    for (int bit = 255; bit >= 0; bit--) {
        bool carry = rest >> 127;
        u128 next = bit >= 128 ? value.high >> (bit - 128) & 1 : value.low >> bit & 1;
        rest = rest << 1 | next;
        if (carry || rest >= by) {
            rest -= by;
            if (bit >= 128)
                quotient.high |= (u128)1 << (bit - 128);
            else
                quotient.low |= (u128)1 << bit;
        }
    }
    *remainder = rest;
    return quotient;
}

/* value / by, half up, with a sign, if it has at most `precision` digits. */
static bool finish(struct wide value, u128 by, bool negative, int precision, data_decimal *out)
{
    u128 remainder = 0;
    struct wide quotient = wide_divide(value, by, &remainder);
    if (remainder >= by - remainder && remainder != 0) {
        quotient.low++;
        quotient.high += quotient.low == 0;
    }
    if (quotient.high != 0 || quotient.low >= (u128)data_decimal_power(precision))
        return false;
    *out = negative ? -(data_decimal)quotient.low : (data_decimal)quotient.low;
    return true;
}

/* Multiplies (or divides, when down > 0) a wide magnitude by a power of ten up to 10^76. */
static bool scale_wide(struct wide value, int up, bool negative, int precision, data_decimal *out)
{
    while (up < -DATA_DECIMAL_DIGITS) {
        u128 dropped;
        value = wide_divide(value, (u128)data_decimal_power(10), &dropped);
        up += 10;
    }
    if (up <= 0)
        return finish(value, (u128)data_decimal_power(-up), negative, precision, out);
    if (value.low == 0 && value.high == 0) {
        *out = 0;
        return true;
    }
    if (value.high != 0 || up > DATA_DECIMAL_DIGITS)
        return false;
    return finish(wide_multiply(value.low, (u128)data_decimal_power(up)), 1, negative, precision,
                  out);
}

bool data_decimal_rescale(data_decimal value, int scale, int to_scale, int precision,
                          data_decimal *out)
{
    return scale_wide((struct wide){0, magnitude(value)}, to_scale - scale, value < 0, precision,
                      out);
}

bool data_decimal_multiply(data_decimal a, data_decimal b, int scale, int to_scale, int precision,
                           data_decimal *out)
{
    return scale_wide(wide_multiply(magnitude(a), magnitude(b)), to_scale - scale,
                      (a < 0) != (b < 0), precision, out);
}

bool data_decimal_divide(data_decimal a, int scale_a, data_decimal b, int scale_b, int to_scale,
                         int precision, data_decimal *out)
{
    int up = to_scale - scale_a + scale_b; /* a * 10^up / b has the wanted scale */
    bool negative = (a < 0) != (b < 0);
    mr_assert(b != 0);
    if (up < 0) {
        struct wide divisor = wide_multiply(magnitude(b), (u128)data_decimal_power(-up));
        if (divisor.high == 0)
            return finish((struct wide){0, magnitude(a)}, divisor.low, negative, precision, out);
        *out = 0; /* a has at most 38 digits, the divisor more: less than a half */
        return true;
    }
    struct wide value = {0, magnitude(a)};
    while (up > 0) {
        int step = up > DATA_DECIMAL_DIGITS ? DATA_DECIMAL_DIGITS : up;
        u128 power = (u128)data_decimal_power(step);
        struct wide high = wide_multiply(value.high, power);
        struct wide low = wide_multiply(value.low, power);
        if (high.high != 0 || high.low + low.high < high.low)
            return false;
        value = (struct wide){high.low + low.high, low.low};
        up -= step;
    }
    return finish(value, magnitude(b), negative, precision, out);
}

int data_decimal_compare(data_decimal a, int scale_a, data_decimal b, int scale_b)
{
    if (scale_a == scale_b)
        return a < b ? -1 : a > b;
    if ((a < 0) != (b < 0))
        return a < 0 ? -1 : 1;
    int up = scale_a - scale_b;
    struct wide wa = wide_multiply(magnitude(a), (u128)data_decimal_power(up < 0 ? -up : 0));
    struct wide wb = wide_multiply(magnitude(b), (u128)data_decimal_power(up > 0 ? up : 0));
    int order = wa.high != wb.high ? (wa.high < wb.high ? -1 : 1)
                                   : (wa.low < wb.low ? -1 : wa.low > wb.low);
    return a < 0 ? -order : order;
}

double data_decimal_to_double(data_decimal value, int scale)
{
    if (value > -(1LL << 53) && value < (1LL << 53) && scale <= 22)
        return (double)value / (double)data_decimal_power(scale); /* both exact: rounded once */
    struct mr_buf text = {0};
    double number = 0;
    data_decimal_print(&text, value, scale);
    mr_str_to_f64(mr_buf_as_str(&text), &number);
    mr_buf_fini(&text);
    return number;
}

bool data_decimal_from_double(double value, int to_scale, int precision, data_decimal *out)
{
    char text[DATA_TEXT_BYTES];
    data_decimal digits;
    int scale;
    if (!isfinite(value) || data_decimal_parse(mr_str_of(text, data_double_format(value, text)),
                                               &digits, &scale) != MR_OK)
        return false;
    return data_decimal_rescale(digits, scale, to_scale, precision, out);
}

void data_decimal_print(struct mr_buf *out, data_decimal value, int scale)
{
    char digits[48];
    int count = 0;
    u128 rest = magnitude(value);
    do {
        digits[count++] = (char)('0' + (int)(rest % 10));
        rest /= 10;
    } while (rest > 0);
    while (count <= scale)
        digits[count++] = '0';
    if (value < 0)
        mr_buf_u8(out, '-');
    while (count > 0) {
        mr_buf_u8(out, (uint8_t)digits[--count]);
        if (count == scale && scale > 0)
            mr_buf_u8(out, '.');
    }
}

/* The exponent after 'e' or 'E'; -1 when there are no digits. */
static int parse_exponent(mr_str text, size_t *at, int *exponent)
{
    bool minus = false;
    size_t digits = 0;
    if (*at < text.length && (text.data[*at] == '+' || text.data[*at] == '-'))
        minus = text.data[(*at)++] == '-';
    for (; *at < text.length && text.data[*at] >= '0' && text.data[*at] <= '9'; (*at)++, digits++)
        if (*exponent < 100000)
            *exponent = *exponent * 10 + (text.data[*at] - '0');
    *exponent = minus ? -*exponent : *exponent;
    return digits > 0 ? 0 : -1;
}

mr_err data_decimal_parse(mr_str text, data_decimal *value, int *scale)
{
    size_t at = 0, digits = 0;
    bool minus = false, point = false;
    int behind = 0, exponent = 0, dropped = 0;
    u128 number = 0;
    text = mr_str_trim(text);
    if (text.length > 0 && (text.data[0] == '-' || text.data[0] == '+'))
        minus = text.data[at++] == '-';
    for (; at < text.length; at++) {
        char c = text.data[at];
        if (c == '.' && !point) {
            point = true;
            continue;
        }
        if (c < '0' || c > '9')
            break;
        digits++;
        if (number >= (u128)data_decimal_power(37)) {
            /* Beyond 38 digits: those behind the point do not matter, those before are too many. */
            number += dropped == 0 && c >= '5' && point ? 1 : 0;
            dropped++;
            behind -= point ? 0 : 1;
            continue;
        }
        number = number * 10 + (unsigned)(c - '0');
        behind += point;
    }
    if (digits == 0)
        return MR_INVALID;
    if (at < text.length && (text.data[at] == 'e' || text.data[at] == 'E')) {
        at++;
        if (parse_exponent(text, &at, &exponent) != 0)
            return MR_INVALID;
    }
    if (at != text.length)
        return MR_INVALID;
    behind -= exponent;
    for (; behind > DATA_DECIMAL_DIGITS && number > 0; behind--)
        number /= 10;
    for (; behind < 0 && number > 0 && number < (u128)data_decimal_power(37); behind++)
        number *= 10;
    if (number == 0)
        behind = behind > 0 && behind <= DATA_DECIMAL_DIGITS ? behind : 0;
    if (behind < 0)
        return MR_INVALID;
    *value = minus ? -(data_decimal)number : (data_decimal)number;
    *scale = behind;
    return MR_OK;
}
