/* json/fast.c: from_json for sound texts, by simdjson's index of where things begin.
 *
 * The index has every bracket, colon and comma outside of strings and the first character of every
 * scalar; it vouches for UTF-8 and for control characters. What is checked here, also where nobody wants
 * the value: the grammar between them, numbers, words and escapes. Whatever is not plain JSON, sound or
 * not, bails out to reader.c, which reads the text again from the start. */
#include "json/reader.h"
#include "json/simd.h"
#include "json/write.h"

struct walk {
    struct json_reader *reader;
    const char *text;
    uint32_t length;
    const uint32_t *places;
    uint32_t count, at;
    uint32_t depth;
    bool escapes; /* there is a backslash somewhere */
};

static char present(const struct walk *walk)
{
    return walk->at < walk->count ? walk->text[walk->places[walk->at]] : 0;
}

/* Whether nothing but white space lies between `from` and the next place. */
static bool ends_at(const struct walk *walk, uint32_t from)
{
    uint32_t next = walk->places[walk->at + 1];

    while (from < next && (walk->text[from] == ' ' || walk->text[from] == '\n' ||
                           walk->text[from] == '\r' || walk->text[from] == '\t'))
        from++;
    return from == next;
}

/* ---- strings ---- */
static bool sound_escapes(mr_str raw)
{
    const char *at = raw.data, *end = raw.data + raw.length;

    while ((at = memchr(at, '\\', (size_t)(end - at))) != NULL) {
        if (end - at < 2)
            return false;
        switch (at[1]) {
        case 'u':
            if (end - at < 6)
                return false;
            for (int i = 2; i < 6; i++) {
                if (mr_hex_digit(at[i]) < 0)
                    return false;
            }
            break;
        case 'b':
        case 't':
        case 'n':
        case 'f':
        case 'r':
        case '"':
        case '/':
        case '\\':
            break;
        default:
            return false;
        }
        at += 2;
    }
    return true;
}

/* The string at the present place, without its quotes; moves on. Its closing quote is the last visible
 * character before the next place. */
static bool string(struct walk *walk, mr_str *raw, bool *escaped)
{
    uint32_t begin = walk->places[walk->at], end = walk->places[walk->at + 1] - 1;

    while (end > begin && walk->text[end] != '"') {
        char c = walk->text[end--];
        if (c != ' ' && c != '\n' && c != '\r' && c != '\t')
            return false;
    }
    if (end == begin)
        return false;
    walk->at++;
    *raw = mr_str_of(walk->text + begin + 1, end - begin - 1);
    *escaped = walk->escapes && memchr(raw->data, '\\', raw->length) != NULL;
    return !*escaped || sound_escapes(*raw);
}

static mr_str unescaped(struct walk *walk, mr_str raw, bool escaped)
{
    return escaped ? json_token_unescape(walk->reader->arena, raw, NULL) : raw;
}

/* ---- numbers and words ---- */
static bool digit(const struct walk *walk, uint32_t at)
{
    return at < walk->length && walk->text[at] >= '0' && walk->text[at] <= '9';
}

/* The number at the present place; moves on. */
static bool number(struct walk *walk, mr_str *raw, bool *fraction)
{
    uint32_t begin = walk->places[walk->at], at = begin;

    *fraction = false;
    at += walk->text[at] == '-';
    if (!digit(walk, at) || (walk->text[at] == '0' && digit(walk, at + 1)))
        return false;
    while (digit(walk, at))
        at++;
    if (at < walk->length && walk->text[at] == '.') {
        *fraction = true;
        if (!digit(walk, ++at))
            return false;
        while (digit(walk, at))
            at++;
    }
    if (at < walk->length && (walk->text[at] == 'e' || walk->text[at] == 'E')) {
        *fraction = true;
        at++;
        if (at < walk->length && (walk->text[at] == '-' || walk->text[at] == '+'))
            at++;
        if (!digit(walk, at))
            return false;
        while (digit(walk, at))
            at++;
    }
    *raw = mr_str_of(walk->text + begin, at - begin);
    if (!ends_at(walk, at))
        return false;
    walk->at++;
    return true;
}

static bool word(struct walk *walk, const char *expected, uint32_t length)
{
    uint32_t at = walk->places[walk->at];

    if (walk->length - at < length || memcmp(walk->text + at, expected, length) != 0 ||
        !ends_at(walk, at + length))
        return false;
    walk->at++;
    return true;
}

/* ---- values; a NULL node: nobody wants it ---- */
static enum json_outcome value(struct walk *walk, struct json_node *node, uint32_t row);

static enum json_outcome verdict(bool fits)
{
    return fits ? JSON_DONE : JSON_BAD;
}

static enum json_outcome worse(enum json_outcome a, enum json_outcome b)
{
    return a > b ? a : b;
}

/* What to do with an object's members. */
enum members { MEMBERS_SKIP, MEMBERS_FIELDS, MEMBERS_MAP };

static enum json_outcome member(struct walk *walk, struct json_node *node, uint32_t row,
                                enum members mode)
{
    struct json_reader *reader = walk->reader;
    mr_str name;
    bool escaped;

    if (present(walk) != '"' || !string(walk, &name, &escaped) || present(walk) != ':')
        return JSON_BAIL;
    walk->at++;
    if (mode == MEMBERS_SKIP)
        return value(walk, NULL, 0);
    name = unescaped(walk, name, escaped);
    if (mode == MEMBERS_FIELDS) {
        enum json_outcome inner = value(walk, json_reader_field(node, name), row);
        return inner == JSON_BAD ? JSON_PARTIAL : inner;
    }
    uint32_t key = json_reader_push(reader, node->key);
    (void)json_scalar_string(reader, node->key, key, name);
    return value(walk, node->element, json_reader_push(reader, node->element));
}

static enum json_outcome members(struct walk *walk, struct json_node *node, uint32_t row,
                                 enum members mode)
{
    enum json_outcome outcome = JSON_DONE;

    if (++walk->depth > MR_LIMIT_JSON_DEPTH)
        return JSON_BAIL;
    walk->at++;
    if (present(walk) == '}') {
        walk->at++;
        walk->depth--;
        return JSON_DONE;
    }
    for (;;) {
        outcome = worse(outcome, member(walk, node, row, mode));
        if (outcome == JSON_BAIL)
            return JSON_BAIL;
        char c = present(walk);
        walk->at++;
        if (c == '}')
            break;
        if (c != ',')
            return JSON_BAIL;
    }
    walk->depth--;
    return outcome;
}

static enum json_outcome elements(struct walk *walk, struct json_node *element)
{
    enum json_outcome outcome = JSON_DONE;

    if (++walk->depth > MR_LIMIT_JSON_DEPTH)
        return JSON_BAIL;
    walk->at++;
    if (present(walk) == ']') {
        walk->at++;
        walk->depth--;
        return JSON_DONE;
    }
    for (;;) {
        uint32_t row = element == NULL ? 0 : json_reader_push(walk->reader, element);
        outcome = worse(outcome, value(walk, element, row));
        if (outcome == JSON_BAIL)
            return JSON_BAIL;
        char c = present(walk);
        walk->at++;
        if (c == ']')
            break;
        if (c != ',')
            return JSON_BAIL;
    }
    walk->depth--;
    return outcome;
}

/* An object or array as text for a STRING. */
static enum json_outcome text(struct walk *walk, struct json_node *node, uint32_t row)
{
    struct json_reader *reader = walk->reader;
    struct json_writer writer;
    uint32_t begin = walk->places[walk->at];
    enum json_outcome outcome = present(walk) == '{' ? members(walk, NULL, 0, MEMBERS_SKIP)
                                                     : elements(walk, NULL);

    if (outcome == JSON_BAIL)
        return JSON_BAIL;
    json_token_init(&reader->tokens, mr_str_of(walk->text + begin, walk->length - begin),
                    JSON_TOKENS_SPARK, reader->arena);
    mr_buf_clear(&reader->scratch);
    json_writer_init(&writer, &reader->scratch, true);
    if (json_token_next(&reader->tokens) == JSON_TOKEN_ERROR ||
        !json_write_copy(&writer, &reader->tokens))
        return JSON_BAIL;
    return verdict(json_scalar_string(
        reader, node, row, mr_arena_str(reader->arena, mr_buf_as_str(&reader->scratch))));
}

static enum json_outcome object(struct walk *walk, struct json_node *node, uint32_t row)
{
    enum json_outcome outcome;

    if (node == NULL)
        return members(walk, NULL, 0, MEMBERS_SKIP);
    if (node->kind == DATA_STRING)
        return text(walk, node, row);
    if (node->kind == DATA_STRUCT) {
        json_reader_null(node, row);
        outcome = members(walk, node, row, MEMBERS_FIELDS);
        node->column->valid[row] = 1;
        return outcome;
    }
    if (node->kind != DATA_MAP)
        return worse(members(walk, NULL, 0, MEMBERS_SKIP), JSON_BAD);
    uint32_t start = json_reader_align(walk->reader, node);
    outcome = members(walk, node, row, MEMBERS_MAP);
    if (outcome == JSON_DONE || outcome == JSON_PARTIAL) {
        json_reader_slice(node, row, start);
    } else if (outcome == JSON_BAD) {
        json_reader_pop(node->element, start);
        json_reader_pop(node->key, start);
    }
    return outcome;
}

static enum json_outcome array(struct walk *walk, struct json_node *node, uint32_t row)
{
    if (node == NULL)
        return elements(walk, NULL);
    if (node->kind == DATA_STRING)
        return text(walk, node, row);
    if (node->kind != DATA_ARRAY)
        return worse(elements(walk, NULL), JSON_BAD);
    uint32_t start = node->element->used;
    enum json_outcome outcome = elements(walk, node->element);
    if (outcome == JSON_DONE || outcome == JSON_PARTIAL)
        json_reader_slice(node, row, start);
    else if (outcome == JSON_BAD)
        json_reader_pop(node->element, start);
    return outcome;
}

static enum json_outcome boolean(struct walk *walk, struct json_node *node, uint32_t row,
                                 bool value)
{
    if (!(value ? word(walk, "true", 4) : word(walk, "false", 5)))
        return JSON_BAIL;
    return node == NULL ? JSON_DONE : verdict(json_scalar_boolean(node, row, value));
}

static enum json_outcome value(struct walk *walk, struct json_node *node, uint32_t row)
{
    mr_str raw;
    bool flag;

    switch (present(walk)) {
    case '"':
        if (!string(walk, &raw, &flag))
            return JSON_BAIL;
        if (node == NULL)
            return JSON_DONE;
        return verdict(json_scalar_string(walk->reader, node, row, unescaped(walk, raw, flag)));
    case '{':
        return object(walk, node, row);
    case '[':
        return array(walk, node, row);
    case 't':
        return boolean(walk, node, row, true);
    case 'f':
        return boolean(walk, node, row, false);
    case 'n':
        if (!word(walk, "null", 4))
            return JSON_BAIL;
        if (node != NULL)
            json_reader_null(node, row);
        return JSON_DONE;
    case '-':
    case '0':
    case '1':
    case '2':
    case '3':
    case '4':
    case '5':
    case '6':
    case '7':
    case '8':
    case '9':
        if (!number(walk, &raw, &flag))
            return JSON_BAIL;
        if (node == NULL)
            return JSON_DONE;
        return verdict(flag ? json_scalar_fraction(walk->reader, node, row, raw, 0)
                            : json_scalar_integer(walk->reader, node, row, raw));
    default:
        return JSON_BAIL;
    }
}

enum json_outcome json_fast_read(struct json_reader *reader, uint32_t row, mr_str text)
{
    struct walk walk = {.reader = reader, .text = text.data};

    walk.places = json_simd_index(reader->index, text.data, text.length, &walk.count);
    if (walk.places == NULL || walk.count == 0)
        return JSON_BAIL;
    walk.length = (uint32_t)text.length;
    /* The tree's own kind of root only; the rest is rare. */
    if (present(&walk) != (reader->root.kind == DATA_ARRAY ? '[' : '{'))
        return JSON_BAIL;
    walk.escapes = memchr(text.data, '\\', text.length) != NULL;
    enum json_outcome outcome = value(&walk, &reader->root, row);
    return walk.at == walk.count ? outcome : JSON_BAIL;
}
