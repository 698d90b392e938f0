/* randomuser/people.h: private: one user, always the same for a seed and a number. */
#ifndef RANDOMUSER_PEOPLE_H
#define RANDOMUSER_PEOPLE_H

#include "base/base.h"

enum {
#define LIST(nation, kind, ...)
#define NATION(code, ...) RANDOMUSER_NATION_##code,
#include "randomuser/nations.def"
    RANDOMUSER_NATION_COUNT
};
enum randomuser_gender { RANDOMUSER_ANY, RANDOMUSER_MALE, RANDOMUSER_FEMALE };

/* How passwords are made, as the parameter `password` says. */
struct randomuser_password {
    char letters[128]; /* empty: a word */
    uint32_t least, most;
};
/* What is asked for; the same question gives the same users. */
struct randomuser_question {
    uint64_t seed;
    enum randomuser_gender gender;
    uint8_t nations[RANDOMUSER_NATION_COUNT];
    uint32_t nation_count;
    struct randomuser_password password;
    bool login; /* hashes are wanted */
    int64_t now_us;
};

/* Members in the order of the JSON; texts live in the arena or for ever. */
struct randomuser_user {
    mr_str gender, title, first, last;
    int64_t street_number;
    mr_str street, city, state, country, postcode;
    bool postcode_is_number;
    mr_str latitude, longitude, zone_offset, zone, email;
    mr_str uuid, username, password, salt, md5, sha1, sha256;
    mr_str dob, registered;
    int64_t age, registered_age;
    mr_str phone, cell, id_name, id_value; /* id_value data NULL: none */
    mr_str large, medium, thumbnail, nat;
};

/* The nation of a code in any case, or -1. */
int randomuser_people_nation(mr_str code);
/* User number `index` (from 0) of a question. Thread: any. */
void randomuser_people_make(const struct randomuser_question *question, uint64_t index,
                            struct mr_arena *arena, struct randomuser_user *out);

#endif
