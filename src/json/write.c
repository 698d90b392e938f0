/* json/write.c: tokens to text. Numbers are written as Java reads and prints them: an integer as it is
 * (-0 as 0), a fraction by way of a double; strings with the few escapes that JSON needs. */
#include "json/write.h"

#include <math.h>
#include <stdlib.h>

void json_writer_init(struct json_writer *writer, struct mr_buf *out, bool bytes)
{
    *writer = (struct json_writer){.out = out, .bytes = bytes};
}

static void separate(struct json_writer *writer)
{
    if (writer->named)
        writer->named = false;
    else if (writer->depth > 0 && writer->full[writer->depth])
        mr_buf_u8(writer->out, ',');
    writer->full[writer->depth] = true;
}

void json_write_begin(struct json_writer *writer, char bracket)
{
    separate(writer);
    mr_buf_u8(writer->out, (uint8_t)bracket);
    mr_assert(writer->depth + 1 < mr_count_of(writer->full));
    writer->full[++writer->depth] = false;
}

void json_write_end(struct json_writer *writer, char bracket)
{
    mr_buf_u8(writer->out, (uint8_t)bracket);
    writer->depth--;
}

void json_write_raw(struct json_writer *writer, mr_str text)
{
    separate(writer);
    mr_buf_str(writer->out, text);
}

/* ---- strings ---- */
static void put_unit(struct json_writer *writer, uint32_t unit)
{
    mr_buf_printf(writer->out, "\\u%04X", unit);
}

static void put_code(struct json_writer *writer, uint32_t code)
{
    static const char letters[] = "btn\0fr";
    struct mr_buf *out = writer->out;

    if (code >= 0xd800 && code < 0xe000) {
        writer->lone |= !writer->bytes;
        put_unit(writer, code);
    } else if (code == '"' || code == '\\') {
        mr_buf_u8(out, '\\');
        mr_buf_u8(out, (uint8_t)code);
    } else if (code >= '\b' && code <= '\r' && code != '\v') {
        mr_buf_u8(out, '\\');
        mr_buf_u8(out, (uint8_t)letters[code - '\b']);
    } else if (code < ' ') {
        put_unit(writer, code);
    } else if (code < 0x80) {
        mr_buf_u8(out, (uint8_t)code);
    } else if (code < 0x800) {
        mr_buf_u8(out, (uint8_t)(0xc0 | (code >> 6)));
        mr_buf_u8(out, (uint8_t)(0x80 | (code & 0x3f)));
    } else if (code < 0x10000) {
        mr_buf_u8(out, (uint8_t)(0xe0 | (code >> 12)));
        mr_buf_u8(out, (uint8_t)(0x80 | ((code >> 6) & 0x3f)));
        mr_buf_u8(out, (uint8_t)(0x80 | (code & 0x3f)));
    } else if (writer->bytes) {
        put_unit(writer, 0xd800 + ((code - 0x10000) >> 10));
        put_unit(writer, 0xdc00 + ((code - 0x10000) & 0x3ff));
    } else {
        mr_buf_u8(out, (uint8_t)(0xf0 | (code >> 18)));
        mr_buf_u8(out, (uint8_t)(0x80 | ((code >> 12) & 0x3f)));
        mr_buf_u8(out, (uint8_t)(0x80 | ((code >> 6) & 0x3f)));
        mr_buf_u8(out, (uint8_t)(0x80 | (code & 0x3f)));
    }
}

static uint32_t take_utf8(const char **at, const char *end)
{
    static const uint8_t masks[] = {0, 0x7f, 0x1f, 0x0f, 0x07};

    for (size_t length = 1; length <= 4 && *at + length <= end; length++) {
        if (!mr_str_is_utf8(mr_str_of(*at, length)))
            continue;
        uint32_t code = (unsigned char)**at & masks[length];
        for (size_t i = 1; i < length; i++)
            code = code << 6 | ((unsigned char)(*at)[i] & 0x3fu);
        *at += length;
        return code;
    }
    (*at)++;
    return 0xfffd;
}

static uint32_t take_unit(const char **at)
{
    uint32_t code = 0;

    for (int i = 0; i < 4; i++)
        code = code << 4 | (uint32_t)mr_hex_digit((*at)[i]);
    *at += 4;
    return code;
}

/* One escape; `*at` stands behind the backslash. */
static uint32_t take_escape(const char **at, const char *end)
{
    char c = *(*at)++;

    switch (c) {
    case 'b':
        return '\b';
    case 't':
        return '\t';
    case 'n':
        return '\n';
    case 'f':
        return '\f';
    case 'r':
        return '\r';
    case 'u':
        break;
    default:
        return (unsigned char)c;
    }
    uint32_t code = take_unit(at);
    if (code >= 0xd800 && code < 0xdc00 && end - *at >= 6 && (*at)[0] == '\\' && (*at)[1] == 'u') {
        const char *ahead = *at + 2;
        uint32_t low = take_unit(&ahead);
        if (low >= 0xdc00 && low < 0xe000) {
            *at = ahead;
            return 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        }
    }
    return code;
}

void json_write_quoted(struct json_writer *writer, mr_str raw, bool escaped)
{
    const char *at = raw.data, *end = raw.data + raw.length;

    separate(writer);
    mr_buf_u8(writer->out, '"');
    while (at < end) {
        unsigned char c = (unsigned char)*at;
        if (c >= 0x80) {
            put_code(writer, take_utf8(&at, end));
        } else if (c == '\\' && escaped) {
            at++;
            put_code(writer, take_escape(&at, end));
        } else {
            put_code(writer, c);
            at++;
        }
    }
    mr_buf_u8(writer->out, '"');
}

/* ---- numbers ---- */
static void write_fraction(struct json_writer *writer, const struct json_tokens *tokens)
{
    char text[DATA_TEXT_BYTES];
    double value = tokens->special;

    if (tokens->raw.data != NULL && mr_str_to_f64(tokens->raw, &value) != MR_OK)
        value = strtod(mr_arena_cstr(tokens->arena, tokens->raw), NULL);
    size_t length = data_double_format(value, text);
    if (isfinite(value))
        json_write_raw(writer, mr_str_of(text, length));
    else
        json_write_quoted(writer, mr_str_of(text, length), false);
}

static bool write_scalar(struct json_writer *writer, struct json_tokens *tokens)
{
    switch (tokens->current) {
    case JSON_TOKEN_STRING:
        if (!json_token_finish(tokens))
            return false;
        json_write_quoted(writer, tokens->raw, tokens->escaped);
        return true;
    case JSON_TOKEN_INTEGER:
        json_write_raw(writer, mr_str_equal(tokens->raw, MR_STR("-0")) ? MR_STR("0") : tokens->raw);
        return true;
    case JSON_TOKEN_FRACTION:
        write_fraction(writer, tokens);
        return true;
    case JSON_TOKEN_TRUE:
        json_write_raw(writer, MR_STR("true"));
        return true;
    case JSON_TOKEN_FALSE:
        json_write_raw(writer, MR_STR("false"));
        return true;
    case JSON_TOKEN_NULL:
        json_write_raw(writer, MR_STR("null"));
        return true;
    case JSON_TOKEN_END:
    case JSON_TOKEN_ERROR:
    case JSON_TOKEN_NAME:
    case JSON_TOKEN_OBJECT:
    case JSON_TOKEN_OBJECT_END:
    case JSON_TOKEN_ARRAY:
    case JSON_TOKEN_ARRAY_END:
        break;
    }
    return false;
}

static void write_name(struct json_writer *writer, struct json_tokens *tokens)
{
    const struct json_level *level = &tokens->levels[tokens->depth];

    json_write_quoted(writer, level->name, level->name_escaped);
    mr_buf_u8(writer->out, ':');
    writer->named = true;
}

bool json_write_copy(struct json_writer *writer, struct json_tokens *tokens)
{
    uint32_t open = 0;

    do {
        switch (tokens->current) {
        case JSON_TOKEN_NAME:
            write_name(writer, tokens);
            break;
        case JSON_TOKEN_OBJECT:
            json_write_begin(writer, '{');
            open++;
            break;
        case JSON_TOKEN_ARRAY:
            json_write_begin(writer, '[');
            open++;
            break;
        case JSON_TOKEN_OBJECT_END:
        case JSON_TOKEN_ARRAY_END:
            if (open == 0)
                return false;
            open--;
            json_write_end(writer, tokens->current == JSON_TOKEN_OBJECT_END ? '}' : ']');
            break;
        case JSON_TOKEN_END:
        case JSON_TOKEN_ERROR:
        case JSON_TOKEN_STRING:
        case JSON_TOKEN_INTEGER:
        case JSON_TOKEN_FRACTION:
        case JSON_TOKEN_TRUE:
        case JSON_TOKEN_FALSE:
        case JSON_TOKEN_NULL:
            if (!write_scalar(writer, tokens))
                return false;
            break;
        }
        if (open == 0 && tokens->current != JSON_TOKEN_NAME)
            return true;
    } while (json_token_next(tokens) != JSON_TOKEN_ERROR);
    return false;
}
