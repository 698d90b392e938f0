/* randomuser/page.c: a query string to a page of users.
 *
 * What a seed fixes: the text of the seed and the nations asked for. Users of a seed are numbered from 0;
 * page p with n results are the users (p - 1) * n and on. As with the API itself, a gender is not heeded
 * together with a seed. */
#include "randomuser/page.h"

#include <stdio.h>

#include "randomuser/randomuser.h"

enum { PASSWORD_MAX = 64, PASSWORD_LEAST = 8, PAGE_MAX = 1000000000 };

static const char JSON_TYPE[] = "application/json; charset=utf-8";

/* ---- the query ---- */
static mr_str decode(struct mr_arena *arena, mr_str text)
{
    char *out = mr_arena_alloc(arena, text.length + 1);
    size_t length = 0;
    for (size_t i = 0; i < text.length; i++) {
        int high = -1, low = -1;
        if (text.data[i] == '%' && i + 2 < text.length) {
            high = mr_hex_digit(text.data[i + 1]);
            low = mr_hex_digit(text.data[i + 2]);
        }
        if (high >= 0 && low >= 0) {
            out[length++] = (char)(high << 4 | low);
            i += 2;
        } else {
            out[length++] = text.data[i] == '+' ? ' ' : text.data[i];
        }
    }
    return mr_str_of(out, length);
}

/* A whole number from 1 to `most`; 1 when it is none. */
static uint64_t whole(mr_str text, uint64_t most)
{
    int64_t value = 0;
    if (mr_str_to_i64(text, &value) != MR_OK || value < 1)
        return 1;
    return (uint64_t)value > most ? most : (uint64_t)value;
}

static uint32_t groups_of(mr_str list)
{
    static const char *const names[] = {
#define ROW(name) #name,
        RANDOMUSER_GROUPS(ROW)
#undef ROW
    };
    uint32_t groups = 0;
    mr_str name;
    while (mr_str_split(&list, ',', &name))
        for (size_t i = 0; i < mr_count_of(names); i++)
            if (mr_str_equal_nocase(mr_str_trim(name), mr_str_from(names[i])))
                groups |= 1u << i;
    return groups;
}

/* Known codes of the list, each once, in the order of the nations; all when there is none. */
static void set_nations(struct randomuser_question *question, mr_str list)
{
    bool asked[RANDOMUSER_NATION_COUNT] = {false};
    bool any = false;
    mr_str code;
    while (mr_str_split(&list, ',', &code)) {
        int nation = randomuser_people_nation(mr_str_trim(code));
        if (nation >= 0)
            asked[nation] = any = true;
    }
    question->nation_count = 0;
    for (uint8_t i = 0; i < RANDOMUSER_NATION_COUNT; i++)
        if (asked[i] || !any)
            question->nations[question->nation_count++] = i;
}

static enum randomuser_format format_of(mr_str text)
{
    static const struct {
        const char *name;
        enum randomuser_format format;
    } formats[] = {{"pretty", RANDOMUSER_PRETTY},
                   {"prettyjson", RANDOMUSER_PRETTY},
                   {"csv", RANDOMUSER_CSV},
                   {"yaml", RANDOMUSER_YAML},
                   {"xml", RANDOMUSER_XML}};
    for (size_t i = 0; i < mr_count_of(formats); i++)
        if (mr_str_equal_nocase(text, mr_str_from(formats[i].name)))
            return formats[i].format;
    return RANDOMUSER_JSON;
}

/* "special,upper,lower,number,8-64": charsets, and how long; "12" alone is both ends. */
static void set_password(struct randomuser_password *password, mr_str list)
{
    static const struct {
        const char *name, *letters;
    } charsets[] = {{"special", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ "},
                    {"upper", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"},
                    {"lower", "abcdefghijklmnopqrstuvwxyz"},
                    {"number", "0123456789"}};
    mr_str part;
    size_t length = 0;
    password->least = PASSWORD_LEAST;
    password->most = PASSWORD_MAX;
    while (mr_str_split(&list, ',', &part)) {
        bool known = false;
        for (size_t i = 0; i < mr_count_of(charsets) && !known; i++) {
            known = mr_str_equal_nocase(part, mr_str_from(charsets[i].name));
            size_t more = strlen(charsets[i].letters);
            if (known && length + more < sizeof password->letters) {
                memcpy(password->letters + length, charsets[i].letters, more);
                length += more;
            }
        }
        mr_str rest = part, from = MR_STR_NULL;
        if (known || part.length == 0 || part.data[0] < '0' || part.data[0] > '9')
            continue;
        mr_str_split(&rest, '-', &from);
        password->least = (uint32_t)whole(from, PASSWORD_MAX);
        password->most = rest.data == NULL ? password->least : (uint32_t)whole(rest, PASSWORD_MAX);
        if (password->most < password->least)
            password->most = password->least;
    }
    password->letters[length] = 0;
}

/* A callback is code on somebody's page: only a plain name is let through. */
static bool is_name(mr_str text)
{
    for (size_t i = 0; i < text.length; i++) {
        char c = text.data[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$';
        if (!letter && !(i > 0 && ((c >= '0' && c <= '9') || c == '.')))
            return false;
    }
    return text.length > 0 && text.length <= 100;
}

static mr_err set_option(struct randomuser_page *page, mr_str name, mr_str value)
{
    if (mr_str_equal(name, MR_STR("results"))) {
        page->results = whole(value, RANDOMUSER_RESULTS_MAX);
    } else if (mr_str_equal(name, MR_STR("page"))) {
        page->page = whole(value, PAGE_MAX);
    } else if (mr_str_equal(name, MR_STR("seed"))) {
        page->seed = value.length > 0 ? value : MR_STR_NULL;
    } else if (mr_str_equal(name, MR_STR("gender"))) {
        page->question.gender = mr_str_equal_nocase(value, MR_STR("male"))     ? RANDOMUSER_MALE
                                : mr_str_equal_nocase(value, MR_STR("female")) ? RANDOMUSER_FEMALE
                                                                               : RANDOMUSER_ANY;
    } else if (mr_str_equal(name, MR_STR("nat"))) {
        set_nations(&page->question, value);
    } else if (mr_str_equal(name, MR_STR("inc"))) {
        page->groups &= value.length > 0 ? groups_of(value) : page->groups;
    } else if (mr_str_equal(name, MR_STR("exc"))) {
        page->groups &= ~groups_of(value);
    } else if (mr_str_equal(name, MR_STR("format")) || mr_str_equal(name, MR_STR("fmt"))) {
        page->format = format_of(value);
    } else if (mr_str_equal(name, MR_STR("noinfo"))) {
        page->info = false;
    } else if (mr_str_equal(name, MR_STR("dl")) || mr_str_equal(name, MR_STR("download"))) {
        page->download = true;
    } else if (mr_str_equal(name, MR_STR("password"))) {
        set_password(&page->question.password, value);
    } else if (mr_str_equal(name, MR_STR("callback"))) {
        if (!is_name(value))
            return mr_fail(MR_INVALID,
                           "callback: expected a name of letters, digits, _, $ and dots");
        page->callback = value;
    }
    return MR_OK;
}

static mr_err read_query(struct randomuser_page *page, mr_str query)
{
    mr_str pair;
    mr_err err = MR_OK;
    while (err == MR_OK && mr_str_split(&query, '&', &pair)) {
        mr_str name = MR_STR_NULL;
        mr_str_split(&pair, '=', &name);
        err = set_option(page, decode(&page->arena, name), decode(&page->arena, pair));
    }
    return err;
}

/* ---- the page ---- */
/* The chance of a seed: its text and the nations, through a hash that never changes. */
static uint64_t chance_of(const struct randomuser_page *page)
{
    struct mr_buf text = {0};
    uint8_t hash[32];
    uint64_t chance;
    mr_buf_str(&text, page->seed);
    mr_buf_u8(&text, 0);
    mr_buf_add(&text, page->question.nations, page->question.nation_count);
    mr_sha256(text.data, text.length, hash);
    mr_buf_fini(&text);
    memcpy(&chance, hash, sizeof chance);
    return chance;
}

static const char *content_type(const struct randomuser_page *page)
{
    switch (page->format) {
    case RANDOMUSER_CSV:
        return "text/csv; charset=utf-8";
    case RANDOMUSER_YAML:
        return "text/x-yaml; charset=utf-8";
    case RANDOMUSER_XML:
        return "text/xml; charset=utf-8";
    case RANDOMUSER_JSON:
    case RANDOMUSER_PRETTY:
        break;
    }
    return page->callback.data != NULL ? "application/javascript; charset=utf-8" : JSON_TYPE;
}

void randomuser_page_init(struct randomuser_page *page, mr_str query, int64_t now_us,
                          uint64_t entropy, struct mr_buf *out)
{
    *page = (struct randomuser_page){.out = out,
                                     .results = 1,
                                     .page = 1,
                                     .info = true,
                                     .groups = (1u << RANDOMUSER_GROUP_COUNT) - 1,
                                     .status = 200,
                                     .content_type = JSON_TYPE};
    mr_arena_init(&page->arena);
    mr_arena_init(&page->user_arena);
    page->question.now_us = now_us;
    set_nations(&page->question, MR_STR_NULL);
    if (read_query(page, query) != MR_OK) {
        page->status = 400;
        page->made = page->results;
        mr_buf_cstr(out, "{\"error\":");
        mr_buf_json(out, mr_str_from(mr_why()));
        mr_buf_u8(out, '}');
        return;
    }
    if (page->seed.data == NULL)
        page->seed = mr_arena_printf(&page->arena, "%016llx", (unsigned long long)entropy);
    else
        page->question.gender = RANDOMUSER_ANY;
    page->question.seed = chance_of(page);
    page->question.login = (page->groups & 1u << RANDOMUSER_GROUP_login) != 0;
    page->content_type = content_type(page);
    randomuser_print_begin(page);
}

bool randomuser_page_step(struct randomuser_page *page)
{
    if (page->status != 200)
        return true;
    for (int i = 0; i < RANDOMUSER_STEP && page->made < page->results; i++) {
        struct randomuser_user user;
        randomuser_people_make(&page->question, (page->page - 1) * page->results + page->made,
                               &page->user_arena, &user);
        randomuser_print_user(page, &user);
        mr_arena_reset(&page->user_arena);
        page->made++;
    }
    if (page->made < page->results)
        return false;
    randomuser_print_end(page);
    return true;
}

void randomuser_page_fini(struct randomuser_page *page)
{
    mr_arena_fini(&page->arena);
    mr_arena_fini(&page->user_arena);
}

void randomuser_answer(mr_str query, int64_t now_us, uint64_t entropy, struct mr_buf *out,
                       int *status, const char **type)
{
    struct randomuser_page page;
    randomuser_page_init(&page, query, now_us, entropy, out);
    while (!randomuser_page_step(&page))
        ;
    *status = page.status;
    *type = page.content_type;
    randomuser_page_fini(&page);
}
