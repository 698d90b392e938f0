/* engine/eval_text.c: functions of text. Positions and lengths count characters (UTF-8 code points),
 * as Spark's UTF8String does. */
#include "engine/eval_call.h"

#include <locale.h>
#include <math.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <wctype.h>

/* ---- characters ---- */
size_t engine_utf8_length(mr_str text)
{
    size_t count = 0;
    for (size_t i = 0; i < text.length; i++)
        count += ((unsigned char)text.data[i] & 0xC0) != 0x80;
    return count;
}

/* The byte where character `index` begins, or the text's length. */
static size_t byte_of(mr_str text, size_t index)
{
    size_t at = 0;
    for (; index > 0 && at < text.length; index--)
        at += engine_utf8_step((unsigned char)text.data[at]);
    return at < text.length ? at : text.length;
}

static mr_str characters(mr_str text, size_t from, size_t to)
{
    size_t start = byte_of(text, from);
    mr_str rest = mr_str_slice(text, start, text.length);
    return mr_str_slice(rest, 0, byte_of(rest, to - from));
}

/* The code point at `*at`, which moves on; a stray byte is itself. */
static uint32_t next_code(mr_str text, size_t *at)
{
    unsigned char lead = (unsigned char)text.data[*at];
    size_t step = engine_utf8_step(lead);
    if (step == 1 || *at + step > text.length) {
        ++*at;
        return lead;
    }
    uint32_t code = lead & (0xFFu >> (step + 1));
    for (size_t i = 1; i < step; i++)
        code = code << 6 | ((unsigned char)text.data[*at + i] & 63u);
    *at += step;
    return code;
}

static size_t put_code(char *out, uint32_t code)
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xC0 | code >> 6);
        out[1] = (char)(0x80 | (code & 63));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xE0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 63));
        out[2] = (char)(0x80 | (code & 63));
        return 3;
    }
    out[0] = (char)(0xF0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 63));
    out[2] = (char)(0x80 | (code >> 6 & 63));
    out[3] = (char)(0x80 | (code & 63));
    return 4;
}

/* ---- joining ---- */
static void concat_texts(struct engine_call *call)
{
    EACH_ROW(call, row)
    {
        size_t bytes = 0, at = 0;
        for (uint32_t i = 0; i < call->arg_count; i++)
            bytes += call->args[i]->strs[row].length;
        char *room = engine_call_room(call, bytes);
        for (uint32_t i = 0; i < call->arg_count; i++) {
            mr_str part = call->args[i]->strs[row];
            if (part.length > 0)
                memcpy(room + at, part.data, part.length);
            at += part.length;
        }
        call->out->strs[row] = engine_call_text(call, bytes);
    }
}

static void concat_arrays(struct engine_call *call)
{
    struct data_builder *builder = data_builder_new(call->arena, call->out->type);
    uint32_t live = 0;
    for (uint32_t row = 0; row < call->out->count; row++) {
        if (live >= call->count || call->rows[live] != row) {
            data_builder_null(builder);
            continue;
        }
        live++;
        data_builder_row(builder);
        for (uint32_t i = 0; i < call->arg_count; i++)
            for (uint32_t e = 0; e < call->args[i]->lengths[row]; e++)
                data_builder_copy(builder->elements, call->args[i]->elements,
                                  call->args[i]->starts[row] + e);
        data_builder_end(builder);
    }
    call->out = data_builder_take(builder);
}

void engine_kernel_concat(struct engine_call *call)
{
    if (call->out->type->kind == DATA_ARRAY)
        concat_arrays(call);
    else
        concat_texts(call);
}

void engine_kernel_concat_ws(struct engine_call *call)
{
    struct mr_buf text = {0};
    EACH_ROW(call, row)
    {
        bool first = true;
        mr_buf_clear(&text);
        call->out->valid[row] = call->args[0]->valid[row];
        if (!call->out->valid[row])
            continue;
        for (uint32_t i = 1; i < call->arg_count; i++) {
            const struct data_column *arg = call->args[i];
            bool list = arg->type->kind == DATA_ARRAY;
            uint32_t count = !arg->valid[row] ? 0 : list ? arg->lengths[row] : 1;
            for (uint32_t e = 0; e < count; e++) {
                const struct data_column *part = list ? arg->elements : arg;
                uint32_t at = list ? arg->starts[row] + e : row;
                if (!part->valid[at])
                    continue;
                if (!first)
                    mr_buf_str(&text, call->args[0]->strs[row]);
                mr_buf_str(&text, part->strs[at]);
                first = false;
            }
        }
        call->out->strs[row] = engine_call_copy(call, mr_buf_as_str(&text));
    }
    mr_buf_fini(&text);
}

/* ---- case ---- */
struct cases {
    struct engine_state state;
    locale_t locale; /* C.UTF-8: letters beyond ASCII */
};

static void cases_free(struct engine_state *state)
{
    struct cases *cases = mr_container(state, struct cases, state);
    freelocale(cases->locale);
    mr_free(cases);
}

static locale_t case_locale(struct engine_call *call)
{
    if (*call->state == NULL) {
        struct cases *cases = mr_new(struct cases);
        cases->state.free = cases_free;
        cases->locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
        *call->state = &cases->state;
    }
    return mr_container(*call->state, struct cases, state)->locale;
}

static uint32_t change_code(locale_t locale, uint32_t code, bool up)
{
    if (code < 0x80)
        return up ? (code >= 'a' && code <= 'z' ? code - 32 : code)
                  : (code >= 'A' && code <= 'Z' ? code + 32 : code);
    if (locale == (locale_t)0)
        return code;
    return (uint32_t)(up ? towupper_l((wint_t)code, locale) : towlower_l((wint_t)code, locale));
}

enum change { CHANGE_UP, CHANGE_DOWN, CHANGE_WORDS };

static void change_case(struct engine_call *call, enum change change)
{
    locale_t locale = case_locale(call);
    EACH_ROW(call, row)
    {
        mr_str text = call->args[0]->strs[row];
        char *room = engine_call_room(call, text.length * 2 + 4);
        size_t length = 0;
        bool start = true;
        for (size_t at = 0; at < text.length;) {
            uint32_t code = next_code(text, &at);
            bool up = change == CHANGE_UP || (change == CHANGE_WORDS && start);
            if (code == 0xDF && change == CHANGE_UP) {
                length += put_code(room + length, 'S');
                code = 's';
            }
            length += put_code(room + length, change_code(locale, code, up));
            start = code == ' ';
        }
        call->out->strs[row] = engine_call_text(call, length);
    }
}

void engine_kernel_upper(struct engine_call *call)
{
    change_case(call, CHANGE_UP);
}

void engine_kernel_lower(struct engine_call *call)
{
    change_case(call, CHANGE_DOWN);
}

void engine_kernel_initcap(struct engine_call *call)
{
    change_case(call, CHANGE_WORDS);
}

/* ---- trimming ---- */
/* Whether the character at [at, at + step) is one of `set`. */
static bool in_set(mr_str set, mr_str text, size_t at, size_t step)
{
    for (size_t i = 0; i < set.length;) {
        size_t width = engine_utf8_step((unsigned char)set.data[i]);
        if (width == step && i + width <= set.length &&
            memcmp(set.data + i, text.data + at, step) == 0)
            return true;
        i += width;
    }
    return false;
}

static mr_str trim_text(mr_str text, mr_str set, bool left, bool right)
{
    while (left && text.length > 0) {
        size_t step = engine_utf8_step((unsigned char)text.data[0]);
        if (step > text.length || !in_set(set, text, 0, step))
            break;
        text = mr_str_slice(text, step, text.length);
    }
    while (right && text.length > 0) {
        size_t at = text.length - 1;
        while (at > 0 && ((unsigned char)text.data[at] & 0xC0) == 0x80)
            at--;
        if (!in_set(set, text, at, text.length - at))
            break;
        text.length = at;
    }
    return text;
}

static void trim(struct engine_call *call, bool left, bool right)
{
    EACH_ROW(call, row)
    call->out->strs[row] = trim_text(call->args[0]->strs[row],
                                     call->arg_count == 2 ? call->args[1]->strs[row] : MR_STR(" "),
                                     left, right);
}

void engine_kernel_trim(struct engine_call *call)
{
    trim(call, true, true);
}

void engine_kernel_btrim(struct engine_call *call)
{
    trim(call, true, true);
}

void engine_kernel_ltrim(struct engine_call *call)
{
    trim(call, true, false);
}

void engine_kernel_rtrim(struct engine_call *call)
{
    trim(call, false, true);
}

/* ---- parts ---- */
/* From position `from` (1 is the first, 0 too, negative from the end), `length` long. */
static void substring_bounds(int64_t count, int64_t from, int64_t length, int64_t *start,
                             int64_t *end)
{
    *start = from > 0 ? from - 1 : from < 0 ? count + from : 0;
    *end = *start + length;
    *start = *start < 0 ? 0 : *start > count ? count : *start;
    *end = *end < *start ? *start : *end > count ? count : *end;
}

void engine_kernel_substring(struct engine_call *call)
{
    bool binary = call->out->type->kind == DATA_BINARY;
    EACH_ROW(call, row)
    {
        mr_str text = call->args[0]->strs[row];
        int64_t start, end;
        int64_t count = (int64_t)(binary ? text.length : engine_utf8_length(text));
        int64_t length = call->arg_count == 3 ? call->args[2]->ints[row] : INT32_MAX;
        substring_bounds(count, call->args[1]->ints[row], length, &start, &end);
        call->out->strs[row] = binary ? mr_str_slice(text, (size_t)start, (size_t)end)
                                      : characters(text, (size_t)start, (size_t)end);
    }
}

void engine_kernel_left(struct engine_call *call)
{
    EACH_ROW(call, row)
    {
        int32_t count = call->args[1]->ints[row];
        call->out->strs[row] = characters(call->args[0]->strs[row], 0,
                                          count < 0 ? 0 : (size_t)count);
    }
}

void engine_kernel_right(struct engine_call *call)
{
    EACH_ROW(call, row)
    {
        mr_str text = call->args[0]->strs[row];
        size_t all = engine_utf8_length(text);
        size_t count = call->args[1]->ints[row] < 0 ? 0 : (size_t)call->args[1]->ints[row];
        call->out->strs[row] = characters(text, count > all ? 0 : all - count, all);
    }
}

void engine_kernel_overlay(struct engine_call *call)
{
    EACH_ROW(call, row)
    {
        mr_str text = call->args[0]->strs[row], with = call->args[1]->strs[row];
        int64_t all = (int64_t)engine_utf8_length(text), from = call->args[2]->ints[row];
        int64_t length = call->arg_count == 4 && call->args[3]->ints[row] >= 0
                             ? call->args[3]->ints[row]
                             : (int64_t)engine_utf8_length(with);
        int64_t start, end, tail, tail_end;
        substring_bounds(all, 1, from - 1, &start, &end);
        substring_bounds(all, from + length, INT32_MAX, &tail, &tail_end);
        mr_str before = characters(text, (size_t)start, (size_t)end);
        mr_str after = characters(text, (size_t)tail, (size_t)tail_end);
        char *room = engine_call_room(call, before.length + with.length + after.length);
        memcpy(room, before.data, before.length);
        memcpy(room + before.length, with.data, with.length);
        memcpy(room + before.length + with.length, after.data, after.length);
        call->out->strs[row] = engine_call_text(call, before.length + with.length + after.length);
    }
}

/* The n-th `delimiter` in the text, counted from the end when negative; -1: there are fewer. */
static ptrdiff_t find_nth(mr_str text, mr_str delimiter, int64_t n)
{
    if (delimiter.length == 0)
        return -1;
    if (n > 0) {
        size_t at = 0;
        for (;; at += delimiter.length) {
            ptrdiff_t found = mr_str_find(mr_str_slice(text, at, text.length), delimiter);
            if (found < 0)
                return -1;
            at += (size_t)found;
            if (--n == 0)
                return (ptrdiff_t)at;
        }
    }
    for (ptrdiff_t at = (ptrdiff_t)text.length - (ptrdiff_t)delimiter.length; at >= 0; at--)
        if (memcmp(text.data + at, delimiter.data, delimiter.length) == 0 && ++n == 0)
            return at;
    return -1;
}

void engine_kernel_substring_index(struct engine_call *call)
{
    EACH_ROW(call, row)
    {
        mr_str text = call->args[0]->strs[row], delimiter = call->args[1]->strs[row];
        int64_t n = call->args[2]->ints[row];
        ptrdiff_t at = n == 0 ? 0 : find_nth(text, delimiter, n);
        if (n == 0 || delimiter.length == 0)
            call->out->strs[row] = MR_STR("");
        else if (at < 0)
            call->out->strs[row] = text;
        else
            call->out->strs[row] = n > 0 ? mr_str_slice(text, 0, (size_t)at)
                                         : mr_str_slice(text, (size_t)at + delimiter.length,
                                                        text.length);
    }
}

/* Parts between delimiters, which may overlap nothing; an empty delimiter splits nothing. */
void engine_kernel_split_part(struct engine_call *call)
{
    EACH_ROW(call, row)
    {
        mr_str text = call->args[0]->strs[row], delimiter = call->args[1]->strs[row];
        int64_t n = call->args[2]->ints[row], parts = 1;
        if (n == 0) {
            engine_call_fail(call, row,
                             "[INVALID_INDEX_OF_ZERO] the index 0 is invalid; it begins at 1");
            continue;
        }
        for (ptrdiff_t at; delimiter.length > 0 && (at = find_nth(text, delimiter, parts)) >= 0;)
            parts++;
        n = n < 0 ? parts + n + 1 : n;
        if (n < 1 || n > parts) {
            call->out->strs[row] = MR_STR("");
            continue;
        }
        ptrdiff_t start = n == 1 ? 0
                                 : find_nth(text, delimiter, n - 1) + (ptrdiff_t)delimiter.length;
        ptrdiff_t end = n == parts ? (ptrdiff_t)text.length : find_nth(text, delimiter, n);
        call->out->strs[row] = mr_str_slice(text, (size_t)start, (size_t)end);
    }
}

/* ---- lengths and places ---- */
void engine_kernel_length(struct engine_call *call)
{
    bool binary = call->args[0]->type->kind == DATA_BINARY;
    EACH_ROW(call, row)
    {
        mr_str text = call->args[0]->strs[row];
        call->out->ints[row] = (int32_t)(binary ? text.length : engine_utf8_length(text));
    }
}

void engine_kernel_octet_length(struct engine_call *call)
{
    EACH_ROW(call, row)
    call->out->ints[row] = (int32_t)call->args[0]->strs[row].length;
}

void engine_kernel_bit_length(struct engine_call *call)
{
    EACH_ROW(call, row)
    call->out->ints[row] = (int32_t)(call->args[0]->strs[row].length * 8);
}

/* Position of `what` in `text` from character `from` (from 1) on; 0: not there. */
static int32_t place_of(mr_str text, mr_str what, int64_t from)
{
    size_t start = byte_of(text, (size_t)(from - 1));
    ptrdiff_t found = mr_str_find(mr_str_slice(text, start, text.length), what);
    if (found < 0)
        return 0;
    return (int32_t)(engine_utf8_length(mr_str_slice(text, 0, start + (size_t)found)) + 1);
}

void engine_kernel_instr(struct engine_call *call)
{
    EACH_ROW(call, row)
    call->out->ints[row] = place_of(call->args[0]->strs[row], call->args[1]->strs[row], 1);
}

/* A NULL start gives 0, as in Hive; a start below 1 too. */
void engine_kernel_locate(struct engine_call *call)
{
    EACH_ROW(call, row)
    {
        bool start_null = call->arg_count == 3 && !call->args[2]->valid[row];
        int32_t from = call->arg_count == 3 && !start_null ? call->args[2]->ints[row] : 1;
        call->out->valid[row] = start_null ||
                                (call->args[0]->valid[row] && call->args[1]->valid[row]);
        if (call->out->valid[row] && !start_null && from > 0)
            call->out->ints[row] = place_of(call->args[1]->strs[row], call->args[0]->strs[row],
                                            from);
    }
}

void engine_kernel_find_in_set(struct engine_call *call)
{
    EACH_ROW(call, row)
    {
        mr_str what = call->args[0]->strs[row], list = call->args[1]->strs[row], part;
        int32_t place = 0;
        if (mr_str_find_byte(what, ',') >= 0)
            continue;
        if (list.length == 0)
            call->out->ints[row] = what.length == 0;
        while (call->out->ints[row] == 0 && mr_str_split(&list, ',', &part)) {
            place++;
            if (mr_str_equal(part, what))
                call->out->ints[row] = place;
        }
    }
}

#define TEXT_TEST(name, expression)                                            \
    void engine_kernel_##name(struct engine_call *call)                        \
    {                                                                          \
        EACH_ROW(call, row)                                                    \
        {                                                                      \
            mr_str a = call->args[0]->strs[row], b = call->args[1]->strs[row]; \
            call->out->bools[row] = (expression);                              \
        }                                                                      \
    }
TEXT_TEST(startswith, mr_str_starts(a, b))
TEXT_TEST(endswith, mr_str_ends(a, b))
TEXT_TEST(contains, mr_str_find(a, b) >= 0)

/* ---- replacing ---- */
void engine_kernel_replace(struct engine_call *call)
{
    struct mr_buf out = {.limit = MR_LIMIT_SQL_TEXT_BYTES};
    EACH_ROW(call, row)
    {
        mr_str text = call->args[0]->strs[row], what = call->args[1]->strs[row];
        mr_str with = call->arg_count == 3 ? call->args[2]->strs[row] : MR_STR("");
        ptrdiff_t found = what.length == 0 ? -1 : mr_str_find(text, what);
        if (found < 0) {
            call->out->strs[row] = text;
            continue;
        }
        mr_buf_clear(&out);
        for (; found >= 0; found = mr_str_find(text, what)) {
            mr_buf_str(&out, mr_str_slice(text, 0, (size_t)found));
            mr_buf_str(&out, with);
            text = mr_str_slice(text, (size_t)found + what.length, text.length);
        }
        mr_buf_str(&out, text);
        if (out.err != MR_OK)
            engine_call_fail(call, row, "replace: a text of more than %d bytes",
                             MR_LIMIT_SQL_TEXT_BYTES);
        else
            call->out->strs[row] = engine_call_copy(call, mr_buf_as_str(&out));
    }
    mr_buf_fini(&out);
}

void engine_kernel_translate(struct engine_call *call)
{
    EACH_ROW(call, row)
    {
        mr_str text = call->args[0]->strs[row], from = call->args[1]->strs[row];
        mr_str to = call->args[2]->strs[row];
        char *room = engine_call_room(call, text.length * 4);
        size_t length = 0;
        for (size_t at = 0; at < text.length;) {
            uint32_t code = next_code(text, &at);
            size_t f = 0, t = 0;
            bool found = false;
            while (f < from.length && !found) {
                found = next_code(from, &f) == code;
                if (!found && t < to.length)
                    next_code(to, &t);
                else if (!found)
                    t = to.length + 1; /* what has no counterpart is dropped */
            }
            if (!found)
                length += put_code(room + length, code);
            else if (t < to.length)
                length += put_code(room + length, next_code(to, &t));
        }
        call->out->strs[row] = engine_call_text(call, length);
    }
}

/* ---- filling ---- */
static bool too_long(struct engine_call *call, uint32_t row, int64_t bytes)
{
    if (bytes <= MR_LIMIT_SQL_TEXT_BYTES)
        return false;
    engine_call_fail(call, row, "a text of %lld bytes, at most %d are allowed", (long long)bytes,
                     MR_LIMIT_SQL_TEXT_BYTES);
    return true;
}

static void pad(struct engine_call *call, bool left)
{
    EACH_ROW(call, row)
    {
        mr_str text = call->args[0]->strs[row];
        mr_str with = call->arg_count == 3 ? call->args[2]->strs[row] : MR_STR(" ");
        int64_t wanted = call->args[1]->ints[row] < 0 ? 0 : call->args[1]->ints[row];
        int64_t have = (int64_t)engine_utf8_length(text);
        if (wanted <= have || with.length == 0) {
            call->out->strs[row] = characters(text, 0, (size_t)(wanted < have ? wanted : have));
            continue;
        }
        if (too_long(call, row, (wanted - have) * 4 + (int64_t)text.length))
            continue;
        char *room = engine_call_room(call, (size_t)(wanted - have) * 4 + text.length);
        size_t length = 0;
        if (!left) {
            memcpy(room, text.data, text.length);
            length = text.length;
        }
        size_t at = 0;
        for (int64_t i = have; i < wanted; i++) {
            at = at >= with.length ? 0 : at;
            length += put_code(room + length, next_code(with, &at));
        }
        if (left) {
            memcpy(room + length, text.data, text.length);
            length += text.length;
        }
        call->out->strs[row] = engine_call_text(call, length);
    }
}

void engine_kernel_lpad(struct engine_call *call)
{
    pad(call, true);
}

void engine_kernel_rpad(struct engine_call *call)
{
    pad(call, false);
}

static void repeat_text(struct engine_call *call, uint32_t row, mr_str text, int64_t times)
{
    times = times < 0 ? 0 : times;
    if (too_long(call, row, times * (int64_t)text.length))
        return;
    char *room = engine_call_room(call, (size_t)times * text.length);
    for (int64_t i = 0; i < times && text.length > 0; i++)
        memcpy(room + (size_t)i * text.length, text.data, text.length);
    call->out->strs[row] = engine_call_text(call, (size_t)times * text.length);
}

void engine_kernel_repeat(struct engine_call *call)
{
    EACH_ROW(call, row)
    repeat_text(call, row, call->args[0]->strs[row], call->args[1]->ints[row]);
}

void engine_kernel_space(struct engine_call *call)
{
    EACH_ROW(call, row)
    repeat_text(call, row, MR_STR(" "), call->args[0]->ints[row]);
}

static void reverse_arrays(struct engine_call *call)
{
    struct data_builder *builder = data_builder_new(call->arena, call->out->type);
    const struct data_column *list = call->args[0];
    uint32_t live = 0;
    for (uint32_t row = 0; row < call->out->count; row++) {
        if (live >= call->count || call->rows[live] != row) {
            data_builder_null(builder);
            continue;
        }
        live++;
        data_builder_row(builder);
        for (uint32_t i = list->lengths[row]; i > 0; i--)
            data_builder_copy(builder->elements, list->elements, list->starts[row] + i - 1);
        data_builder_end(builder);
    }
    call->out = data_builder_take(builder);
}

void engine_kernel_reverse(struct engine_call *call)
{
    if (call->out->type->kind == DATA_ARRAY) {
        reverse_arrays(call);
        return;
    }
    EACH_ROW(call, row)
    {
        mr_str text = call->args[0]->strs[row];
        char *room = engine_call_room(call, text.length);
        for (size_t at = 0; at < text.length;) {
            size_t step = engine_utf8_step((unsigned char)text.data[at]);
            step = at + step > text.length ? text.length - at : step;
            memcpy(room + text.length - at - step, text.data + at, step);
            at += step;
        }
        call->out->strs[row] = engine_call_text(call, text.length);
    }
}

/* ---- codes ---- */
void engine_kernel_ascii(struct engine_call *call)
{
    EACH_ROW(call, row)
    {
        size_t at = 0;
        mr_str text = call->args[0]->strs[row];
        call->out->ints[row] = text.length == 0 ? 0 : (int32_t)next_code(text, &at);
    }
}

void engine_kernel_chr(struct engine_call *call)
{
    EACH_ROW(call, row)
    {
        int64_t code = call->args[0]->longs[row];
        char *room = engine_call_room(call, 4);
        call->out->strs[row] = code < 0
                                   ? MR_STR("")
                                   : engine_call_text(call, put_code(room, (uint32_t)(code & 255)));
    }
}

void engine_kernel_base64(struct engine_call *call)
{
    EACH_ROW(call, row)
    {
        mr_str bytes = call->args[0]->strs[row];
        char *room = engine_call_room(call, (bytes.length + 2) / 3 * 4 + 1);
        int length = EVP_EncodeBlock((unsigned char *)room, (const unsigned char *)bytes.data,
                                     (int)bytes.length);
        call->out->strs[row] = engine_call_text(call, (size_t)length);
    }
}

/* Java's MIME decoder: other characters are skipped, padding may be missing. */
void engine_kernel_unbase64(struct engine_call *call)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    EACH_ROW(call, row)
    {
        mr_str text = call->args[0]->strs[row];
        char *room = engine_call_room(call, text.length);
        size_t length = 0;
        uint32_t bits = 0;
        int have = 0;
        for (size_t i = 0; i < text.length && text.data[i] != '='; i++) {
            const char *digit = text.data[i] == '\0' ? NULL : strchr(digits, text.data[i]);
            if (digit == NULL)
                continue;
            bits = bits << 6 | (uint32_t)(digit - digits);
            have += 6;
            if (have >= 8) {
                have -= 8;
                room[length++] = (char)(bits >> have);
            }
        }
        call->out->strs[row] = engine_call_text(call, length);
    }
}

void engine_kernel_hex(struct engine_call *call)
{
    static const char digits[] = "0123456789ABCDEF";
    EACH_ROW(call, row)
    {
        if (call->args[0]->type->kind == DATA_LONG) {
            char *number = engine_call_room(call, 20);
            int length = snprintf(number, 20, "%llX",
                                  (unsigned long long)call->args[0]->longs[row]);
            call->out->strs[row] = engine_call_text(call, (size_t)length);
            continue;
        }
        mr_str bytes = call->args[0]->strs[row];
        char *room = engine_call_room(call, bytes.length * 2);
        for (size_t i = 0; i < bytes.length; i++) {
            room[2 * i] = digits[(unsigned char)bytes.data[i] >> 4];
            room[2 * i + 1] = digits[(unsigned char)bytes.data[i] & 15];
        }
        call->out->strs[row] = engine_call_text(call, bytes.length * 2);
    }
}

void engine_kernel_unhex(struct engine_call *call)
{
    EACH_ROW(call, row)
    {
        mr_str text = call->args[0]->strs[row];
        char *room = engine_call_room(call, text.length / 2 + 1);
        size_t length = 0, at = text.length % 2;
        bool valid = call->args[0]->valid[row];
        if (valid && at == 1) {
            int digit = mr_hex_digit(text.data[0]);
            valid = digit >= 0;
            room[length++] = (char)digit;
        }
        for (; valid && at < text.length; at += 2) {
            int high = mr_hex_digit(text.data[at]), low = mr_hex_digit(text.data[at + 1]);
            valid = high >= 0 && low >= 0;
            room[length++] = (char)(valid ? high << 4 | low : 0);
        }
        call->out->valid[row] = valid;
        if (valid)
            call->out->strs[row] = engine_call_text(call, length);
    }
}

/* The number in a base, most significant digit first. */
static size_t put_base(char *out, uint64_t value, unsigned base)
{
    char digits[64];
    size_t count = 0, length = 0;
    do {
        digits[count++] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[value % base];
        value /= base;
    } while (value > 0);
    while (count > 0)
        out[length++] = digits[--count];
    return length;
}

void engine_kernel_bin(struct engine_call *call)
{
    EACH_ROW(call, row)
    {
        char *room = engine_call_room(call, 64);
        call->out->strs[row] = engine_call_text(
            call, put_base(room, (uint64_t)call->args[0]->longs[row], 2));
    }
}

/* Digits up to the first that is none in the base; more than 64 bits saturate. */
void engine_kernel_conv(struct engine_call *call)
{
    EACH_ROW(call, row)
    {
        mr_str text = mr_str_trim(call->args[0]->strs[row]);
        int from = call->args[1]->ints[row], to = call->args[2]->ints[row];
        int to_size = to < 0 ? -to : to;
        bool minus = mr_str_starts(text, MR_STR("-")), over = false;
        uint64_t value = 0;
        if (from < 2 || from > 36 || to_size < 2 || to_size > 36 || text.length == 0) {
            call->out->valid[row] = 0;
            continue;
        }
        for (size_t i = minus; i < text.length; i++) {
            char c = text.data[i];
            int digit = c >= '0' && c <= '9'                 ? c - '0'
                        : (c | 32) >= 'a' && (c | 32) <= 'z' ? (c | 32) - 'a' + 10
                                                             : 99;
            if (digit >= from)
                break;
            over = over || __builtin_mul_overflow(value, (uint64_t)from, &value) ||
                   __builtin_add_overflow(value, (uint64_t)digit, &value);
        }
        value = over ? UINT64_MAX : value;
        if (minus && to > 0)
            value = over || (int64_t)value < 0 ? UINT64_MAX : -value;
        char *room = engine_call_room(call, 70);
        size_t length = 0;
        if (to < 0 && minus)
            room[length++] = '-';
        else if (to < 0 && (int64_t)value < 0) {
            room[length++] = '-';
            value = -value;
        }
        length += put_base(room + length, value, (unsigned)to_size);
        call->out->strs[row] = engine_call_text(call, length);
    }
}

static void hex_digest(struct engine_call *call, uint32_t row, const uint8_t *digest, size_t bytes)
{
    char *room = engine_call_room(call, bytes * 2 + 1);
    mr_hex(digest, bytes, room);
    call->out->strs[row] = engine_call_text(call, bytes * 2);
}

void engine_kernel_md5(struct engine_call *call)
{
    uint8_t digest[16];
    EACH_ROW(call, row)
    {
        mr_md5(call->args[0]->strs[row].data, call->args[0]->strs[row].length, digest);
        hex_digest(call, row, digest, sizeof digest);
    }
}

void engine_kernel_sha1(struct engine_call *call)
{
    uint8_t digest[20];
    EACH_ROW(call, row)
    {
        mr_sha1(call->args[0]->strs[row].data, call->args[0]->strs[row].length, digest);
        hex_digest(call, row, digest, sizeof digest);
    }
}

void engine_kernel_sha2(struct engine_call *call)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    EACH_ROW(call, row)
    {
        int bits = call->args[1]->ints[row];
        const EVP_MD *kind = bits == 224                ? EVP_sha224()
                             : bits == 256 || bits == 0 ? EVP_sha256()
                             : bits == 384              ? EVP_sha384()
                             : bits == 512              ? EVP_sha512()
                                                        : NULL;
        mr_str bytes = call->args[0]->strs[row];
        unsigned length = 0;
        call->out->valid[row] = call->args[0]->valid[row] && call->args[1]->valid[row] &&
                                kind != NULL &&
                                EVP_Digest(bytes.data, bytes.length, digest, &length, kind, NULL) ==
                                    1;
        if (call->out->valid[row])
            hex_digest(call, row, digest, length);
    }
}

/* CRC-32 of ISO 3309, four bits at a time. */
static uint32_t crc32_of(mr_str bytes)
{
    static const uint32_t table[] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac,
                                     0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
                                     0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
                                     0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < bytes.length; i++) {
        crc ^= (unsigned char)bytes.data[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

void engine_kernel_crc32(struct engine_call *call)
{
    EACH_ROW(call, row)
    call->out->longs[row] = crc32_of(call->args[0]->strs[row]);
}

/* ---- likeness ---- */
void engine_kernel_levenshtein(struct engine_call *call)
{
    EACH_ROW(call, row)
    {
        mr_str a = call->args[0]->strs[row], b = call->args[1]->strs[row];
        size_t width = engine_utf8_length(b) + 1, j;
        if (a.length > 100000 || b.length > 100000) {
            engine_call_fail(call, row, "levenshtein: texts of more than 100000 bytes");
            continue;
        }
        uint32_t *edits = mr_arena_array(call->arena, uint32_t, width);
        for (j = 0; j < width; j++)
            edits[j] = (uint32_t)j;
        uint32_t i = 0;
        for (size_t at_a = 0; at_a < a.length;) {
            uint32_t code = next_code(a, &at_a), corner = edits[0];
            edits[0] = ++i;
            j = 1;
            for (size_t at_b = 0; at_b < b.length; j++) {
                uint32_t change = corner + (next_code(b, &at_b) != code);
                corner = edits[j];
                uint32_t other = (edits[j] < edits[j - 1] ? edits[j] : edits[j - 1]) + 1;
                edits[j] = change < other ? change : other;
            }
        }
        call->out->ints[row] = (int32_t)edits[width - 1];
    }
}

void engine_kernel_soundex(struct engine_call *call)
{
    static const char codes[] = "01230127022455012623017202"; /* by letter; 7: skipped, H and W */
    EACH_ROW(call, row)
    {
        mr_str text = call->args[0]->strs[row];
        char first = text.length == 0 ? '\0' : text.data[0];
        first = first >= 'a' && first <= 'z' ? (char)(first - 32) : first;
        if (first < 'A' || first > 'Z') {
            call->out->strs[row] = text;
            continue;
        }
        char *room = engine_call_room(call, 4), last = codes[first - 'A'];
        size_t length = 1;
        room[0] = first;
        for (size_t i = 1; i < text.length && length < 4; i++) {
            int letter = (text.data[i] | 32) - 'a';
            if (letter < 0 || letter > 25) {
                last = '0';
                continue;
            }
            char code = codes[letter];
            if (code == '7')
                continue;
            if (code != '0' && code != last)
                room[length++] = code;
            last = code;
        }
        while (length < 4)
            room[length++] = '0';
        call->out->strs[row] = engine_call_text(call, 4);
    }
}

/* ---- character sets ---- */
enum charset {
    CHARSET_NONE,
    CHARSET_UTF8,
    CHARSET_ASCII,
    CHARSET_LATIN,
    CHARSET_UTF16,
    CHARSET_BE,
    CHARSET_LE
};

static enum charset charset_of(mr_str name)
{
    static const struct {
        const char *name;
        enum charset charset;
    } names[] = {{"utf-8", CHARSET_UTF8},     {"utf8", CHARSET_UTF8},
                 {"us-ascii", CHARSET_ASCII}, {"iso-8859-1", CHARSET_LATIN},
                 {"utf-16", CHARSET_UTF16},   {"utf-16be", CHARSET_BE},
                 {"utf-16le", CHARSET_LE}};
    for (size_t i = 0; i < mr_count_of(names); i++)
        if (mr_str_equal_nocase(name, mr_str_from(names[i].name)))
            return names[i].charset;
    return CHARSET_NONE;
}

static size_t put_unit(char *out, uint32_t unit, bool little)
{
    out[little ? 0 : 1] = (char)(unit & 255);
    out[little ? 1 : 0] = (char)(unit >> 8);
    return 2;
}

static size_t encode_text(char *out, mr_str text, enum charset charset)
{
    size_t length = 0;
    bool little = charset == CHARSET_LE;
    if (charset == CHARSET_UTF16)
        length += put_unit(out, 0xFEFF, false);
    for (size_t at = 0; at < text.length;) {
        uint32_t code = next_code(text, &at);
        if (charset == CHARSET_UTF8) {
            length += put_code(out + length, code);
        } else if (charset == CHARSET_ASCII || charset == CHARSET_LATIN) {
            out[length++] = code < (charset == CHARSET_ASCII ? 0x80u : 0x100u) ? (char)code : '?';
        } else if (code >= 0x10000) {
            length += put_unit(out + length, 0xD800 + ((code - 0x10000) >> 10), little);
            length += put_unit(out + length, 0xDC00 + ((code - 0x10000) & 1023), little);
        } else {
            length += put_unit(out + length, code, little);
        }
    }
    return length;
}

static size_t decode_text(char *out, mr_str bytes, enum charset charset)
{
    size_t length = 0, at = 0;
    bool little = charset == CHARSET_LE;
    if (charset == CHARSET_UTF16 && bytes.length >= 2) {
        little = (unsigned char)bytes.data[0] == 0xFF && (unsigned char)bytes.data[1] == 0xFE;
        bool marked = little || ((unsigned char)bytes.data[0] == 0xFE &&
                                 (unsigned char)bytes.data[1] == 0xFF);
        at = marked ? 2 : 0;
    }
    while (at < bytes.length) {
        unsigned char c = (unsigned char)bytes.data[at];
        if (charset <= CHARSET_LATIN) {
            at++;
            length += put_code(out + length, charset == CHARSET_ASCII && c > 127 ? 0xFFFD : c);
            continue;
        }
        uint32_t units[2] = {0, 0};
        for (size_t u = 0; u < 2 && at + 2 * u + 1 < bytes.length; u++) {
            unsigned char x = (unsigned char)bytes.data[at + 2 * u];
            unsigned char y = (unsigned char)bytes.data[at + 2 * u + 1];
            units[u] = little ? (uint32_t)(y << 8 | x) : (uint32_t)(x << 8 | y);
        }
        bool pair = units[0] >= 0xD800 && units[0] < 0xDC00 && units[1] >= 0xDC00 &&
                    units[1] < 0xE000;
        bool lone = !pair && units[0] >= 0xD800 && units[0] < 0xE000;
        uint32_t code = pair ? 0x10000 + ((units[0] - 0xD800) << 10) + (units[1] - 0xDC00)
                             : units[0];
        length += put_code(out + length, lone || at + 1 >= bytes.length ? 0xFFFD : code);
        at += pair ? 4 : 2;
    }
    return length;
}

static void convert(struct engine_call *call, bool encode)
{
    EACH_ROW(call, row)
    {
        mr_str from = call->args[0]->strs[row], name = call->args[1]->strs[row];
        enum charset charset = charset_of(name);
        if (charset == CHARSET_NONE) {
            engine_call_fail(call, row, "[UNKNOWN_CHARSET] no character set \"%.*s\"",
                             MR_STR_ARG(mr_str_slice(name, 0, 50)));
        } else if (charset == CHARSET_UTF8) {
            call->out->strs[row] = from;
        } else {
            char *room = engine_call_room(call, from.length * 4 + 4);
            size_t length = encode ? encode_text(room, from, charset)
                                   : decode_text(room, from, charset);
            call->out->strs[row] = engine_call_text(call, length);
        }
    }
}

void engine_kernel_encode(struct engine_call *call)
{
    convert(call, true);
}

void engine_kernel_decode(struct engine_call *call)
{
    convert(call, false);
}

/* ---- numbers for people ---- */
static data_decimal half_even(data_decimal value, int drop)
{
    data_decimal unit = data_decimal_power(drop), whole = value / unit, rest = value % unit;
    rest = rest < 0 ? -rest : rest;
    bool up = rest > unit - rest || (rest == unit - rest && drop > 0 && whole % 2 != 0);
    return up ? whole + (value < 0 ? -1 : 1) : whole;
}

/* 1234.5 with 2 digits is 1,234.50; halves go to the even side, as Java's DecimalFormat. */
void engine_kernel_format_number(struct engine_call *call)
{
    struct mr_buf text = {0};
    EACH_ROW(call, row)
    {
        int digits = call->args[1]->ints[row], scale = 0;
        data_decimal value = 0;
        mr_buf_clear(&text);
        data_value_print(&text, call->args[0], row);
        if (digits < 0 || digits > 30 ||
            data_decimal_parse(mr_buf_as_str(&text), &value, &scale) != MR_OK) {
            call->out->valid[row] = digits >= 0 && digits <= 30;
            call->out->strs[row] = engine_call_copy(call, mr_buf_as_str(&text));
            continue;
        }
        if (scale > digits)
            value = half_even(value, scale - digits);
        else if (!data_decimal_rescale(value, scale, digits, 38, &value))
            value = 0;
        mr_buf_clear(&text);
        data_decimal_print(&text, value, digits);
        mr_str plain = mr_buf_as_str(&text);
        size_t whole = digits > 0 ? plain.length - (size_t)digits - 1 : plain.length;
        char *room = engine_call_room(call, plain.length * 2);
        size_t length = 0;
        for (size_t i = 0; i < plain.length; i++) {
            if (i > 0 && i < whole && (whole - i) % 3 == 0 && plain.data[i - 1] != '-')
                room[length++] = ',';
            room[length++] = plain.data[i];
        }
        call->out->strs[row] = engine_call_text(call, length);
    }
    mr_buf_fini(&text);
}
