/* broker/topic_regex.h: patterns of topic names in RE2's language, for SubscribedTopicRegex of
 * KIP-848. PCRE2 does the matching by its automaton, in time linear in the name as RE2's. */
#ifndef BROKER_TOPIC_REGEX_H
#define BROKER_TOPIC_REGEX_H

#include "base/base.h"

struct broker_topic_regex;
/* Errors: MR_INVALID with a sentence: no pattern, or one that RE2 does not have (look around, back
 * references, possessive and atomic groups). */
mr_err broker_topic_regex_new(mr_str pattern, struct broker_topic_regex **out);
void broker_topic_regex_free(struct broker_topic_regex *regex); /* accepts NULL */
/* Whether the pattern matches the whole name. */
bool broker_topic_regex_matches(const struct broker_topic_regex *regex, mr_str name);

#endif
