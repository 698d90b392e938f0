/* broker/topic_regex.c: RE2's patterns on PCRE2. PCRE2 reads more than RE2 does; what only it reads is
 * refused before it is compiled, so that a pattern means here what it means to Kafka. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "broker/topic_regex.h"

#include <pcre2.h>

enum { WORKSPACE = 4096, STEPS_MAX = 1000000, HEAP_KB_MAX = 4096 };

struct broker_topic_regex {
    pcre2_code *code;
    pcre2_match_data *match;
    pcre2_match_context *context;
};

static mr_err refuse(mr_str pattern, const char *why)
{
    return mr_fail(MR_INVALID, "SubscribedTopicRegex `%.*s` is not a valid regular expression: %s",
                   MR_STR_ARG(mr_str_slice(pattern, 0, 300)), why);
}

/* What follows a backslash: true when RE2 has it too. */
static bool escape_is_known(char next)
{
    static const char letters[] = "01234567AbBCdDfnrtsSwWvxzQEpPa";
    bool word = (next >= '0' && next <= '9') || (next >= 'a' && next <= 'z') ||
                (next >= 'A' && next <= 'Z');
    return !word || strchr(letters, next) != NULL;
}

/* What follows "(?": flags, a group without number, a name. */
static bool group_is_known(mr_str rest)
{
    size_t i = 0;

    if (mr_str_starts(rest, MR_STR("P<")))
        return true;
    if (mr_str_starts(rest, MR_STR("<")))
        return rest.length > 1 && rest.data[1] != '=' && rest.data[1] != '!';
    while (i < rest.length && strchr("imsU-", rest.data[i]) != NULL && rest.data[i] != '\0')
        i++;
    return i < rest.length && (rest.data[i] == ':' || (i > 0 && rest.data[i] == ')'));
}

/* A class begins at `at`; returns the place of its closing bracket, or the pattern's length. */
static size_t class_skip(mr_str pattern, size_t at)
{
    size_t i = at + 1;

    if (i < pattern.length && pattern.data[i] == '^')
        i++;
    if (i < pattern.length && pattern.data[i] == ']')
        i++;
    for (; i < pattern.length && pattern.data[i] != ']'; i++) {
        if (pattern.data[i] == '\\')
            i++;
        else if (pattern.data[i] == '[' && i + 1 < pattern.length && pattern.data[i + 1] == ':')
            while (i + 1 < pattern.length &&
                   !(pattern.data[i] == ':' && pattern.data[i + 1] == ']'))
                i++;
    }
    return i;
}

static mr_err pattern_check(mr_str pattern)
{
    bool repeated = false; /* the last thing was a repetition, which one ? may follow */

    for (size_t i = 0; i < pattern.length; i++) {
        char byte = pattern.data[i], next = i + 1 < pattern.length ? pattern.data[i + 1] : '\0';
        bool repeats = byte == '*' || byte == '+' || byte == '?';

        if (repeats && repeated && byte != '?')
            return refuse(pattern, "invalid nested repetition operator");
        repeated = (repeats && !repeated) || byte == '}';
        if (byte == '\\') {
            if (!escape_is_known(next) || (next >= '1' && next <= '7'))
                return refuse(pattern, "invalid escape sequence");
            i++;
        } else if (byte == '[') {
            i = class_skip(pattern, i);
        } else if (byte == '(' && next == '*') {
            return refuse(pattern, "missing argument to repetition operator");
        } else if (byte == '(' && next == '?') {
            if (!group_is_known(mr_str_slice(pattern, i + 2, pattern.length)))
                return refuse(pattern, "invalid or unsupported Perl syntax");
            i++;
        }
    }
    return MR_OK;
}

mr_err broker_topic_regex_new(mr_str pattern, struct broker_topic_regex **out)
{
    struct broker_topic_regex *regex;
    PCRE2_UCHAR why[200];
    PCRE2_SIZE at;
    int error;
    mr_err err = pattern_check(pattern);

    if (err != MR_OK)
        return err;
    regex = mr_new(struct broker_topic_regex);
    regex->code = pcre2_compile((PCRE2_SPTR)(pattern.length == 0 ? "" : pattern.data),
                                pattern.length,
                                PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_NEVER_BACKSLASH_C |
                                    PCRE2_NO_AUTO_CAPTURE | PCRE2_UTF,
                                &error, &at, NULL);
    if (regex->code == NULL) {
        pcre2_get_error_message(error, why, sizeof(why));
        broker_topic_regex_free(regex);
        return refuse(pattern, (const char *)why);
    }
    regex->match = pcre2_match_data_create(4, NULL);
    regex->context = pcre2_match_context_create(NULL);
    pcre2_set_match_limit(regex->context, STEPS_MAX);
    pcre2_set_heap_limit(regex->context, HEAP_KB_MAX);
    *out = regex;
    return MR_OK;
}

void broker_topic_regex_free(struct broker_topic_regex *regex)
{
    if (regex == NULL)
        return;
    pcre2_code_free(regex->code);
    pcre2_match_data_free(regex->match);
    pcre2_match_context_free(regex->context);
    mr_free(regex);
}

bool broker_topic_regex_matches(const struct broker_topic_regex *regex, mr_str name)
{
    int workspace[WORKSPACE];

    return pcre2_dfa_match(regex->code, (PCRE2_SPTR)name.data, name.length, 0, 0, regex->match,
                           regex->context, workspace, WORKSPACE) >= 0;
}
