/* randomuser/people.c: users out of chance. Each user has a chance of his own, made of seed and number, so
 * that pages, sizes of pages and fields asked for never change who he is. */
#include "randomuser/people.h"

#include <stdio.h>

static const int64_t DAY_US = INT64_C(86400000000);

struct list {
    const char *const *words;
    uint32_t count;
};
struct nation {
    const char *code, *country, *postcode;
    bool postcode_is_number;
    const char *phone, *cell, *id_name, *id_value;
    const char *const *titles; /* one of a man, three of a woman */
    struct list female, male, last, street, city, state;
};

/* ---- the tables ---- */
static const char *const ENGLISH[] = {"Mr", "Ms", "Mrs", "Miss"};
static const char *const FRENCH[] = {"Monsieur", "Madame", "Madame", "Mademoiselle"};

#define LIST(nation, kind, ...) static const char *const nation##_##kind[] = {__VA_ARGS__};
#define NATION(...)
#include "randomuser/nations.def"

#define WORDS(array)              \
    {                             \
        array, mr_count_of(array) \
    }
static const struct nation nations[] = {
#define LIST(nation, kind, ...)
#define NATION(code, country, postcode, number, phone, cell, id_name, id_value, titles) \
    {#code,                                                                             \
     country,                                                                           \
     postcode,                                                                          \
     number,                                                                            \
     phone,                                                                             \
     cell,                                                                              \
     id_name,                                                                           \
     id_value,                                                                          \
     titles,                                                                            \
     WORDS(code##_female),                                                              \
     WORDS(code##_male),                                                                \
     WORDS(code##_last),                                                                \
     WORDS(code##_street),                                                              \
     WORDS(code##_city),                                                                \
     WORDS(code##_state)},
#include "randomuser/nations.def"
};

#define LIST(kind, ...) static const char *const any_##kind[] = {__VA_ARGS__};
#include "randomuser/words.def"
static const struct list adjectives = WORDS(any_adjective), animals = WORDS(any_animal),
                         password_words = WORDS(any_password), zones = WORDS(any_zone);

static const struct {
    const char *text, *ascii;
} letters[] = {
#define LETTER(text, ascii) {text, ascii},
#include "randomuser/letters.def"
};

int randomuser_people_nation(mr_str code)
{
    for (int i = 0; i < RANDOMUSER_NATION_COUNT; i++)
        if (mr_str_equal_nocase(code, mr_str_from(nations[i].code)))
            return i;
    return -1;
}

/* ---- chance ---- */
static mr_str pick(struct mr_random *chance, const struct list *list)
{
    return mr_str_from(list->words[mr_random_below(chance, list->count)]);
}

static char digit(struct mr_random *chance, unsigned least)
{
    return (char)('0' + least + mr_random_below(chance, 10 - least));
}

/* Day, month, year or gender in a pattern: {d} {m} {y} {g}. */
static size_t put_part(char part, const char *dob, bool female, char *out)
{
    if (part == 'g') {
        out[0] = female ? '2' : '1';
        return 1;
    }
    memcpy(out, dob + (part == 'd' ? 8 : part == 'm' ? 5 : 2), 2); /* "1980-07-31T..." */
    return 2;
}

/* Fills in a pattern of nations.def. */
static mr_str fill(struct mr_random *chance, struct mr_arena *arena, const char *pattern,
                   const char *dob, bool female)
{
    char *out = mr_arena_alloc(arena, strlen(pattern) + 1);
    size_t length = 0;
    for (const char *at = pattern; *at != 0; at++) {
        switch (*at) {
        case '#':
            out[length++] = digit(chance, 0);
            break;
        case '^':
            out[length++] = digit(chance, 1);
            break;
        case '@':
            out[length++] = (char)('A' + mr_random_below(chance, 26));
            break;
        case '{':
            length += put_part(at[1], dob, female, out + length);
            at += 2;
            break;
        default:
            out[length++] = *at;
        }
    }
    return mr_str_of(out, length);
}

/* ---- parts ---- */

/* Where the rows of letters.def with the same first byte begin: found once a word, by a plain scan. */
static const char *ascii_of(mr_str letter)
{
    for (size_t i = 0; i < mr_count_of(letters); i++)
        if (mr_str_equal(letter, mr_str_from(letters[i].text)))
            return letters[i].ascii;
    return "";
}

/* A name in lower case ASCII letters. */
static size_t put_ascii(mr_str name, char *out)
{
    size_t length = 0;
    for (size_t i = 0; i < name.length;) {
        unsigned char c = (unsigned char)name.data[i];
        size_t bytes = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
        if (c >= 'A' && c <= 'Z')
            out[length++] = (char)(c + 32);
        else if (c >= 'a' && c <= 'z')
            out[length++] = (char)c;
        else if (c >= 0x80)
            for (const char *at = ascii_of(mr_str_slice(name, i, i + bytes)); *at != 0; at++)
                out[length++] = *at;
        i += bytes;
    }
    return length;
}

static void make_email(struct mr_arena *arena, struct randomuser_user *user)
{
    static const char DOMAIN[] = "@example.com";
    /* A letter of two bytes may become four. */
    char *out = mr_arena_alloc(arena,
                               2 * (user->first.length + user->last.length) + sizeof DOMAIN + 1);
    size_t length = put_ascii(user->first, out);
    out[length++] = '.';
    length += put_ascii(user->last, out + length);
    memcpy(out + length, DOMAIN, sizeof DOMAIN - 1);
    user->email = mr_str_of(out, length + sizeof DOMAIN - 1);
}

/* "12.3456" or "-12.3456" out of ten-thousandths. */
static mr_str coordinate(struct mr_arena *arena, int64_t parts)
{
    uint64_t size = (uint64_t)(parts < 0 ? -parts : parts);
    return mr_arena_printf(arena, "%s%llu.%04llu", parts < 0 ? "-" : "",
                           (unsigned long long)(size / 10000), (unsigned long long)(size % 10000));
}

/* Whole years between two moments, as birthdays count them. */
static int64_t years_between(int64_t from_us, int64_t to_us)
{
    int64_t from_year, to_year, from_days = from_us / DAY_US - (from_us % DAY_US < 0);
    int64_t to_days = to_us / DAY_US - (to_us % DAY_US < 0);
    int from_month, from_day, to_month, to_day;
    mr_civil_from_days(from_days, &from_year, &from_month, &from_day);
    mr_civil_from_days(to_days, &to_year, &to_month, &to_day);
    int64_t years = to_year - from_year;
    bool before = to_month < from_month || (to_month == from_month && to_day < from_day);
    return before ? years - 1 : years;
}

/* A moment from `from_us` (inclusive) to `to_us`, in whole milliseconds. */
static int64_t moment(struct mr_random *chance, int64_t from_us, int64_t to_us)
{
    int64_t ms = (to_us - from_us) / 1000;
    return from_us + (int64_t)mr_random_below(chance, (uint64_t)ms) * 1000;
}

static mr_str time_text(struct mr_arena *arena, int64_t us)
{
    char *text = mr_arena_alloc(arena, 32);
    mr_time_format(us, 3, text);
    return mr_str_from(text);
}

static int64_t year_us(int64_t year)
{
    return mr_days_from_civil(year, 1, 1) * DAY_US;
}

/* Born 1945 to 2003, registered as an adult, from 2002 to 2023. */
static void make_dates(struct mr_random *chance, struct mr_arena *arena, int64_t now_us,
                       struct randomuser_user *user)
{
    int64_t dob = moment(chance, year_us(1945), year_us(2004));
    int64_t adult = dob + 18 * 36525 * (DAY_US / 100);
    int64_t first = adult > year_us(2002) ? adult - adult % 1000 : year_us(2002);
    int64_t registered = moment(chance, first, year_us(2024));
    user->dob = time_text(arena, dob);
    user->age = years_between(dob, now_us);
    user->registered = time_text(arena, registered);
    user->registered_age = years_between(registered, now_us);
}

static mr_str hex_of(struct mr_arena *arena, const uint8_t *bytes, size_t count)
{
    char *out = mr_arena_alloc(arena, 2 * count + 1);
    mr_hex(bytes, count, out);
    return mr_str_of(out, 2 * count);
}

static mr_str make_password(struct mr_random *chance, struct mr_arena *arena,
                            const struct randomuser_password *rule)
{
    size_t choices = strlen(rule->letters);
    if (choices == 0)
        return pick(chance, &password_words);
    size_t length = rule->least + mr_random_below(chance, rule->most - rule->least + 1);
    char *out = mr_arena_alloc(arena, length + 1);
    for (size_t i = 0; i < length; i++)
        out[i] = rule->letters[mr_random_below(chance, choices)];
    return mr_str_of(out, length);
}

static void make_uuid(struct mr_random *chance, struct mr_arena *arena,
                      struct randomuser_user *user)
{
    uint64_t halves[2] = {mr_random_u64(chance), mr_random_u64(chance)};
    char *text = mr_arena_alloc(arena, 37);
    mr_uuid uuid;
    memcpy(uuid.bytes, halves, sizeof uuid.bytes);
    uuid.bytes[6] = (uint8_t)(0x40 | (uuid.bytes[6] & 0x0f)); /* version 4 */
    uuid.bytes[8] = (uint8_t)(0x80 | (uuid.bytes[8] & 0x3f)); /* the RFC's variant */
    mr_uuid_format(&uuid, text);
    user->uuid = mr_str_of(text, 36);
}

/* Hashes of password and salt, really computed. */
static void make_hashes(struct mr_arena *arena, struct randomuser_user *user)
{
    uint8_t hash[32];
    mr_str text = mr_arena_printf(arena, "%.*s%.*s", MR_STR_ARG(user->password),
                                  MR_STR_ARG(user->salt));
    mr_md5(text.data, text.length, hash);
    user->md5 = hex_of(arena, hash, 16);
    mr_sha1(text.data, text.length, hash);
    user->sha1 = hex_of(arena, hash, 20);
    mr_sha256(text.data, text.length, hash);
    user->sha256 = hex_of(arena, hash, 32);
}

static void make_login(struct mr_random *chance, struct mr_arena *arena,
                       const struct randomuser_question *question, struct randomuser_user *user)
{
    static const char SALT[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    char *salt = mr_arena_alloc(arena, 8);
    mr_str adjective = pick(chance, &adjectives), animal = pick(chance, &animals);
    make_uuid(chance, arena, user);
    user->username = mr_arena_printf(arena, "%.*s%.*s%u", MR_STR_ARG(adjective), MR_STR_ARG(animal),
                                     100 + (unsigned)mr_random_below(chance, 900));
    user->password = make_password(chance, arena, &question->password);
    for (int i = 0; i < 8; i++)
        salt[i] = SALT[mr_random_below(chance, sizeof SALT - 1)];
    user->salt = mr_str_of(salt, 8);
    if (question->login)
        make_hashes(arena, user);
}

static void make_place(struct mr_random *chance, struct mr_arena *arena,
                       const struct nation *nation, struct randomuser_user *user)
{
    mr_str zone = pick(chance, &zones);
    user->street_number = 1 + (int64_t)mr_random_below(chance, 9999);
    user->street = pick(chance, &nation->street);
    user->city = pick(chance, &nation->city);
    user->state = pick(chance, &nation->state);
    user->country = mr_str_from(nation->country);
    user->postcode = fill(chance, arena, nation->postcode, "", false);
    user->postcode_is_number = nation->postcode_is_number;
    user->latitude = coordinate(arena, (int64_t)mr_random_below(chance, 1800001) - 900000);
    user->longitude = coordinate(arena, (int64_t)mr_random_below(chance, 3600001) - 1800000);
    mr_str_split(&zone, '|', &user->zone_offset);
    user->zone = zone;
}

static void make_pictures(struct mr_random *chance, struct mr_arena *arena, bool female,
                          struct randomuser_user *user)
{
    static const char BASE[] = "https://randomuser.me/api/portraits";
    const char *folder = female ? "women" : "men";
    unsigned number = (unsigned)mr_random_below(chance, female ? 97 : 100);
    user->large = mr_arena_printf(arena, "%s/%s/%u.jpg", BASE, folder, number);
    user->medium = mr_arena_printf(arena, "%s/med/%s/%u.jpg", BASE, folder, number);
    user->thumbnail = mr_arena_printf(arena, "%s/thumb/%s/%u.jpg", BASE, folder, number);
}

/* ---- a user ---- */
void randomuser_people_make(const struct randomuser_question *question, uint64_t index,
                            struct mr_arena *arena, struct randomuser_user *out)
{
    struct randomuser_user user = {0};
    struct mr_random chance;
    mr_random_init(&chance, question->seed + index * UINT64_C(0xD1342543DE82EF95));

    const struct nation *nation =
        &nations[question->nations[mr_random_below(&chance, question->nation_count)]];
    bool coin = mr_random_below(&chance, 2) == 0;
    bool female = question->gender == RANDOMUSER_ANY ? coin : question->gender == RANDOMUSER_FEMALE;
    user.gender = mr_str_from(female ? "female" : "male");
    user.nat = mr_str_from(nation->code);
    uint64_t title = mr_random_below(&chance, 3);
    user.title = mr_str_from(nation->titles[female ? 1 + title : 0]);
    user.first = pick(&chance, female ? &nation->female : &nation->male);
    user.last = pick(&chance, &nation->last);
    make_place(&chance, arena, nation, &user);
    make_email(arena, &user);
    make_dates(&chance, arena, question->now_us, &user);
    user.phone = fill(&chance, arena, nation->phone, user.dob.data, female);
    user.cell = fill(&chance, arena, nation->cell, user.dob.data, female);
    user.id_name = mr_str_from(nation->id_name);
    if (nation->id_value[0] != 0)
        user.id_value = fill(&chance, arena, nation->id_value, user.dob.data, female);
    make_pictures(&chance, arena, female, &user);
    make_login(&chance, arena, question, &user);
    *out = user;
}
