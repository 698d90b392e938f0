/* randomuser/page.h: private: one answer of the API, made in steps so that a loop is never held up. */
#ifndef RANDOMUSER_PAGE_H
#define RANDOMUSER_PAGE_H

#include "randomuser/people.h"

enum { RANDOMUSER_RESULTS_MAX = 5000, RANDOMUSER_STEP = 100 };

/* The fields that `inc` and `exc` name, in the order of the JSON. */
#define RANDOMUSER_GROUPS(row)                                                                    \
    row(gender) row(name) row(location) row(email) row(login) row(dob) row(registered) row(phone) \
        row(cell) row(id) row(picture) row(nat)
enum randomuser_group {
#define ROW(name) RANDOMUSER_GROUP_##name,
    RANDOMUSER_GROUPS(ROW)
#undef ROW
        RANDOMUSER_GROUP_COUNT
};
enum randomuser_format {
    RANDOMUSER_JSON,
    RANDOMUSER_PRETTY,
    RANDOMUSER_CSV,
    RANDOMUSER_YAML,
    RANDOMUSER_XML,
};

struct randomuser_page {
    struct mr_arena arena; /* what was asked */
    struct mr_arena user_arena;
    struct randomuser_question question;
    enum randomuser_format format;
    uint32_t groups; /* bits by enum randomuser_group */
    uint64_t results, page;
    mr_str seed; /* text, told in `info` */
    bool info, download;
    mr_str callback; /* data NULL: none */
    uint64_t made;
    struct mr_buf *out;
    int status;
    const char *content_type;
};

/* Reads the query string ("results=5&seed=a"). A wrong one is an answer too: then the page is whole. */
void randomuser_page_init(struct randomuser_page *page, mr_str query, int64_t now_us,
                          uint64_t entropy, struct mr_buf *out);
/* Makes up to RANDOMUSER_STEP users; true when the page is whole. */
bool randomuser_page_step(struct randomuser_page *page);
void randomuser_page_fini(struct randomuser_page *page);

/* print.c: what stands before, for and behind the users in each format. */
void randomuser_print_begin(struct randomuser_page *page);
void randomuser_print_user(struct randomuser_page *page, const struct randomuser_user *user);
void randomuser_print_end(struct randomuser_page *page);

#endif
