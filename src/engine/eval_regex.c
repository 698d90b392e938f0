/* engine/eval_regex.c: patterns: LIKE, and regular expressions by PCRE2, which agrees with Java's on
 * what people write. A pattern is compiled once and kept while it stays the same. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "engine/eval_call.h"

#include <pcre2.h>

enum { STEPS_MAX = 5000000 }; /* backtracking of one match, against patterns that explode */

/* ---- LIKE ---- */
struct like {
    mr_str pattern;
    char escape;
    bool nocase;
};

static bool same_char(mr_str a, size_t at_a, mr_str b, size_t at_b, size_t step, bool nocase)
{
    if (at_a + step > a.length || at_b + step > b.length)
        return false;
    mr_str x = mr_str_slice(a, at_a, at_a + step), y = mr_str_slice(b, at_b, at_b + step);
    return nocase ? mr_str_equal_nocase(x, y) : mr_str_equal(x, y);
}

/* The last % is remembered: when the rest does not fit, it takes one character more. */
static bool like_match(const struct like *like, mr_str text)
{
    mr_str pattern = like->pattern;
    size_t p = 0, t = 0, star_p = SIZE_MAX, star_t = 0;
    while (t < text.length) {
        bool literal = p < pattern.length && pattern.data[p] == like->escape;
        size_t step = engine_utf8_step((unsigned char)text.data[t]);
        size_t at = literal ? p + 1 : p;
        if (!literal && p < pattern.length && pattern.data[p] == '%') {
            star_p = ++p;
            star_t = t;
        } else if (!literal && p < pattern.length && pattern.data[p] == '_') {
            p++;
            t += step;
        } else if (same_char(pattern, at, text, t, step, like->nocase)) {
            p = at + step;
            t += step;
        } else if (star_p != SIZE_MAX) {
            p = star_p;
            star_t += engine_utf8_step((unsigned char)text.data[star_t]);
            t = star_t;
        } else {
            return false;
        }
    }
    while (p < pattern.length && pattern.data[p] == '%')
        p++;
    return p >= pattern.length;
}

/* The escape stands only before %, _ and itself. */
static bool like_valid(const struct like *like)
{
    for (size_t i = 0; i < like->pattern.length; i++)
        if (like->pattern.data[i] == like->escape) {
            char next = i + 1 < like->pattern.length ? like->pattern.data[++i] : '\0';
            if (next != '%' && next != '_' && next != like->escape)
                return false;
        }
    return true;
}

static void like_all(struct engine_call *call, bool nocase)
{
    EACH_ROW(call, row)
    {
        struct like like = {.pattern = call->args[1]->strs[row], .escape = '\\', .nocase = nocase};
        if (call->arg_count == 3 && call->args[2]->strs[row].length == 1)
            like.escape = call->args[2]->strs[row].data[0];
        if (!like_valid(&like))
            engine_call_fail(
                call, row,
                "[INVALID_FORMAT] LIKE: the escape character stands only before %%, _ and "
                "itself in '%.*s'",
                MR_STR_ARG(mr_str_slice(like.pattern, 0, 100)));
        else
            call->out->bools[row] = like_match(&like, call->args[0]->strs[row]);
    }
}

void engine_kernel_like(struct engine_call *call)
{
    like_all(call, false);
}

void engine_kernel_ilike(struct engine_call *call)
{
    like_all(call, true);
}

/* ---- compiled patterns ---- */
struct regex {
    struct engine_state state;
    struct mr_buf pattern; /* of `code` */
    pcre2_code *code;
    pcre2_match_data *match;
    pcre2_match_context *context;
    char why[160]; /* why `code` is NULL */
    bool compiled;
};

static void regex_free(struct engine_state *state)
{
    struct regex *regex = mr_container(state, struct regex, state);
    pcre2_code_free(regex->code);
    pcre2_match_data_free(regex->match);
    pcre2_match_context_free(regex->context);
    mr_buf_fini(&regex->pattern);
    mr_free(regex);
}

static struct regex *regex_new(void)
{
    struct regex *regex = mr_new(struct regex);
    regex->state.free = regex_free;
    regex->context = pcre2_match_context_create(NULL);
    mr_assert(regex->context != NULL);
    pcre2_set_match_limit(regex->context, STEPS_MAX);
    return regex;
}

static void regex_compile(struct regex *regex, mr_str pattern)
{
    int error;
    PCRE2_SIZE at;
    if (regex->compiled && mr_str_equal(pattern, mr_buf_as_str(&regex->pattern)))
        return;
    pcre2_code_free(regex->code);
    pcre2_match_data_free(regex->match);
    regex->match = NULL;
    mr_buf_clear(&regex->pattern);
    mr_buf_str(&regex->pattern, pattern);
    regex->compiled = true;
    regex->code = pcre2_compile(
        (PCRE2_SPTR)(pattern.length == 0 ? "" : pattern.data), pattern.length,
        PCRE2_UTF | PCRE2_MATCH_INVALID_UTF | PCRE2_NEVER_BACKSLASH_C, &error, &at, NULL);
    if (regex->code == NULL) {
        pcre2_get_error_message(error, (PCRE2_UCHAR *)regex->why, sizeof regex->why);
        return;
    }
    pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE);
    regex->match = pcre2_match_data_create_from_pattern(regex->code, NULL);
    mr_assert(regex->match != NULL);
}

mr_err engine_regex_check(mr_str pattern)
{
    struct regex *regex = regex_new();
    mr_err err = MR_OK;
    regex_compile(regex, pattern);
    if (regex->code == NULL)
        err = mr_fail(MR_INVALID, "the regular expression '%.*s' is wrong: %s",
                      MR_STR_ARG(mr_str_slice(pattern, 0, 100)), regex->why);
    regex_free(&regex->state);
    return err;
}

/* The compiled pattern of this row, or NULL after failing the row. */
static struct regex *regex_of(struct engine_call *call, uint32_t row, mr_str pattern)
{
    if (*call->state == NULL)
        *call->state = &regex_new()->state;
    struct regex *regex = mr_container(*call->state, struct regex, state);
    regex_compile(regex, pattern);
    if (regex->code != NULL)
        return regex;
    engine_call_fail(call, row,
                     "[INVALID_PARAMETER_VALUE.PATTERN] the regular expression '%.*s': %s",
                     MR_STR_ARG(mr_str_slice(pattern, 0, 100)), regex->why);
    return NULL;
}

/* Finds the next match from byte `from`: 1 found, 0 none, -1 the row has failed. */
static int regex_find(struct engine_call *call, uint32_t row, struct regex *regex, mr_str text,
                      size_t from)
{
    int found = pcre2_match(regex->code, (PCRE2_SPTR)(text.length == 0 ? "" : text.data),
                            text.length, from, 0, regex->match, regex->context);
    if (found > 0)
        return 1;
    if (found == PCRE2_ERROR_NOMATCH)
        return 0;
    engine_call_fail(call, row, "the regular expression takes too many steps on this text");
    return -1;
}

/* A group of the last match; the empty text when it took no part. */
static mr_str regex_group(const struct regex *regex, mr_str text, uint32_t group)
{
    PCRE2_SIZE *ends = pcre2_get_ovector_pointer(regex->match);
    if (group >= pcre2_get_ovector_count(regex->match) || ends[2 * group] == PCRE2_UNSET)
        return MR_STR("");
    return mr_str_slice(text, ends[2 * group], ends[2 * group + 1]);
}

static size_t match_start(const struct regex *regex)
{
    return pcre2_get_ovector_pointer(regex->match)[0];
}

static size_t match_end(const struct regex *regex)
{
    return pcre2_get_ovector_pointer(regex->match)[1];
}

/* Where to look on: an empty match moves one character. */
static size_t after_match(const struct regex *regex, mr_str text)
{
    size_t end = match_end(regex);
    if (end > match_start(regex) || end >= text.length)
        return end > match_start(regex) ? end : text.length + 1;
    return end + engine_utf8_step((unsigned char)text.data[end]);
}

void engine_kernel_rlike(struct engine_call *call)
{
    EACH_ROW(call, row)
    {
        struct regex *regex = regex_of(call, row, call->args[1]->strs[row]);
        if (regex != NULL)
            call->out->bools[row] = regex_find(call, row, regex, call->args[0]->strs[row], 0) > 0;
    }
}

void engine_kernel_regexp_count(struct engine_call *call)
{
    EACH_ROW(call, row)
    {
        mr_str text = call->args[0]->strs[row];
        struct regex *regex = regex_of(call, row, call->args[1]->strs[row]);
        size_t at = 0;
        while (regex != NULL && at <= text.length && regex_find(call, row, regex, text, at) > 0) {
            call->out->ints[row]++;
            at = after_match(regex, text);
        }
    }
}

/* The wanted group, checked against the pattern's; -1 after failing the row. */
static int group_of(struct engine_call *call, uint32_t row, const struct regex *regex)
{
    int group = call->arg_count == 3 ? call->args[2]->ints[row] : 1;
    uint32_t groups = 0;
    pcre2_pattern_info(regex->code, PCRE2_INFO_CAPTURECOUNT, &groups);
    if (group >= 0 && (uint32_t)group <= groups)
        return group;
    engine_call_fail(
        call, row,
        "[INVALID_PARAMETER_VALUE.REGEX_GROUP_INDEX] expects group index between 0 and %u, "
        "but got %d",
        groups, group);
    return -1;
}

void engine_kernel_regexp_extract(struct engine_call *call)
{
    EACH_ROW(call, row)
    {
        mr_str text = call->args[0]->strs[row];
        struct regex *regex = regex_of(call, row, call->args[1]->strs[row]);
        if (regex == NULL || regex_find(call, row, regex, text, 0) <= 0) {
            call->out->strs[row] = MR_STR("");
            continue;
        }
        int group = group_of(call, row, regex);
        if (group >= 0)
            call->out->strs[row] = regex_group(regex, text, (uint32_t)group);
    }
}

/* Rows of a list column that only some rows have: others are NULL. */
static bool next_row(struct engine_call *call, struct data_builder *builder, uint32_t *live,
                     uint32_t row)
{
    if (*live < call->count && call->rows[*live] == row) {
        ++*live;
        return true;
    }
    data_builder_null(builder);
    return false;
}

static void add_text(struct data_builder *elements, mr_str text)
{
    uint32_t row = data_builder_row(elements);
    elements->column->strs[row] = text;
}

void engine_kernel_regexp_extract_all(struct engine_call *call)
{
    struct data_builder *builder = data_builder_new(call->arena, call->out->type);
    for (uint32_t row = 0, live = 0; row < call->out->count; row++) {
        if (!next_row(call, builder, &live, row))
            continue;
        mr_str text = call->args[0]->strs[row];
        struct regex *regex = regex_of(call, row, call->args[1]->strs[row]);
        size_t at = 0;
        data_builder_row(builder);
        while (regex != NULL && at <= text.length && regex_find(call, row, regex, text, at) > 0) {
            int group = group_of(call, row, regex);
            if (group < 0)
                break;
            add_text(builder->elements, regex_group(regex, text, (uint32_t)group));
            at = after_match(regex, text);
        }
        data_builder_end(builder);
    }
    call->out = data_builder_take(builder);
}

/* ---- replacing ---- */
/* $1 and ${name} are groups, \x is x, as in Java's appendReplacement. */
static void add_replacement(struct mr_buf *out, const struct regex *regex, mr_str text, mr_str with)
{
    uint32_t groups = 0;
    pcre2_pattern_info(regex->code, PCRE2_INFO_CAPTURECOUNT, &groups);
    for (size_t i = 0; i < with.length; i++) {
        char c = with.data[i], next = i + 1 < with.length ? with.data[i + 1] : '\0';
        if (c == '\\' && i + 1 < with.length) {
            mr_buf_u8(out, (uint8_t)next);
            i++;
        } else if (c == '$' && next >= '0' && next <= '9') {
            uint32_t group = (uint32_t)(next - '0');
            i++;
            while (i + 1 < with.length && with.data[i + 1] >= '0' && with.data[i + 1] <= '9' &&
                   group * 10 + (uint32_t)(with.data[i + 1] - '0') <= groups)
                group = group * 10 + (uint32_t)(with.data[++i] - '0');
            mr_buf_str(out, regex_group(regex, text, group));
        } else if (c == '$' && next == '{') {
            char name[64] = "";
            size_t end = i + 2;
            while (end < with.length && with.data[end] != '}')
                end++;
            mr_str word = mr_str_slice(with, i + 2, end);
            if (word.length < sizeof name)
                memcpy(name, word.data, word.length);
            int group = pcre2_substring_number_from_name(regex->code, (PCRE2_SPTR)name);
            if (group > 0)
                mr_buf_str(out, regex_group(regex, text, (uint32_t)group));
            i = end;
        } else {
            mr_buf_u8(out, (uint8_t)c);
        }
    }
}

void engine_kernel_regexp_replace(struct engine_call *call)
{
    struct mr_buf out = {.limit = MR_LIMIT_SQL_TEXT_BYTES};
    EACH_ROW(call, row)
    {
        mr_str text = call->args[0]->strs[row], with = call->args[2]->strs[row];
        int32_t from = call->arg_count == 4 ? call->args[3]->ints[row] : 1;
        struct regex *regex = regex_of(call, row, call->args[1]->strs[row]);
        size_t at = 0, done = 0;
        for (int32_t i = 1; i < from && at < text.length; i++)
            at += engine_utf8_step((unsigned char)text.data[at]);
        if (regex == NULL)
            continue;
        mr_buf_clear(&out);
        while (at <= text.length && regex_find(call, row, regex, text, at) > 0) {
            mr_buf_str(&out, mr_str_slice(text, done, match_start(regex)));
            add_replacement(&out, regex, text, with);
            done = match_end(regex);
            at = after_match(regex, text);
        }
        mr_buf_str(&out, mr_str_slice(text, done, text.length));
        if (out.err != MR_OK)
            engine_call_fail(call, row, "regexp_replace: a text of more than %d bytes",
                             MR_LIMIT_SQL_TEXT_BYTES);
        else
            call->out->strs[row] = done == 0 ? text : engine_call_copy(call, mr_buf_as_str(&out));
    }
    mr_buf_fini(&out);
}

/* ---- splitting ---- */
/* As Java's String.split: an empty match at the very start gives no empty part before it. */
static void split_text(struct engine_call *call, uint32_t row, struct regex *regex, mr_str text,
                       int32_t limit, struct data_builder *parts)
{
    size_t at = 0, done = 0;
    int32_t count = 0;
    while (at <= text.length && (limit <= 0 || count + 1 < limit) &&
           regex_find(call, row, regex, text, at) > 0) {
        bool empty = match_end(regex) == match_start(regex);
        if (empty && match_end(regex) >= text.length)
            break;
        if (!(match_end(regex) == 0)) {
            add_text(parts, mr_str_slice(text, done, match_start(regex)));
            count++;
            done = match_end(regex);
        }
        at = after_match(regex, text);
    }
    add_text(parts, mr_str_slice(text, done, text.length));
}

void engine_kernel_split(struct engine_call *call)
{
    struct data_builder *builder = data_builder_new(call->arena, call->out->type);
    for (uint32_t row = 0, live = 0; row < call->out->count; row++) {
        if (!next_row(call, builder, &live, row))
            continue;
        struct regex *regex = regex_of(call, row, call->args[1]->strs[row]);
        data_builder_row(builder);
        if (regex != NULL)
            split_text(call, row, regex, call->args[0]->strs[row],
                       call->arg_count == 3 ? call->args[2]->ints[row] : -1, builder->elements);
        data_builder_end(builder);
    }
    call->out = data_builder_take(builder);
}
