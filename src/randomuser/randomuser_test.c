#include <stdio.h>

#include "randomuser/randomuser.h"

#include "json/json.h"
#include "randomuser/people.h"
#include "story.h"

static const int64_t NOW_US = INT64_C(1795242360000000); /* 2026-11-21 */
static struct mr_arena arena;
static int status;
static const char *content_type;

static mr_str asks(const char *query)
{
    struct mr_buf out = {0};
    randomuser_answer(mr_str_from(query), NOW_US, 0x0123456789abcdef, &out, &status, &content_type);
    return mr_buf_as_str(&out);
}

static const struct json_value *asks_json(const char *query)
{
    const struct json_value *value = NULL;
    expect_ok(json_parse(&arena, asks(query), &value));
    return value;
}

static mr_str at(const struct json_value *value, const char *path)
{
    const struct json_value *found = json_find(value, mr_str_from(path));
    expect(found != NULL);
    return json_scalar(found);
}

STORY("a user has the API's fields in the API's order")
{
    const struct json_value *answer = asks_json("seed=a&nat=us"), *user;
    const char *fields[] = {"gender",     "name",  "location", "email", "login",   "dob",
                            "registered", "phone", "cell",     "id",    "picture", "nat"};
    user = json_at(json_get(answer, MR_STR("results")), 0);
    expect_int(user->count, mr_count_of(fields));
    for (size_t i = 0; i < mr_count_of(fields); i++)
        expect_str(user->items[i].name, mr_str_from(fields[i]));
    expect_int(json_find(user, MR_STR("location.street.number"))->kind, JSON_NUMBER);
    expect_int(json_find(user, MR_STR("location.coordinates.latitude"))->kind, JSON_STRING);
    expect_int(json_find(user, MR_STR("dob.age"))->kind, JSON_NUMBER);
    expect_str(at(answer, "info.seed"), MR_STR("a"));
    expect_str(at(answer, "info.results"), MR_STR("1"));
    expect_str(at(answer, "info.page"), MR_STR("1"));
    expect_str(at(answer, "info.version"), MR_STR("1.4"));
    expect_str(mr_str_from(content_type), MR_STR("application/json; charset=utf-8"));
}

STORY("a seed gives the same users, whatever the page's size")
{
    expect_str(asks("seed=any%20text&results=5"), asks("results=5&seed=any+text"));
    expect(!mr_str_equal(asks("seed=a&noinfo"), asks("seed=b&noinfo")));
    const struct json_value *ten = asks_json("seed=x&results=10"), *second;
    second = asks_json("seed=x&results=5&page=2");
    expect_str(at(ten, "results.7.login.uuid"), at(second, "results.2.login.uuid"));
    expect_str(at(asks_json("seed=x&inc=email"), "results.0.email"), at(ten, "results.0.email"));
    expect(!mr_str_equal(at(asks_json("seed=x&nat=fr"), "results.0.email"),
                         at(ten, "results.0.email")));
    /* without a seed one is made, and told */
    expect_str(at(asks_json(""), "info.seed"), MR_STR("0123456789abcdef"));
    expect_str(at(asks_json("seed=0123456789abcdef"), "results.0.email"),
               at(asks_json(""), "results.0.email"));
}

STORY("results are 1 to 5000")
{
    expect_int(json_get(asks_json("results=5000"), MR_STR("results"))->count, 5000);
    expect_int(json_get(asks_json("results=9999&inc=nat"), MR_STR("results"))->count, 5000);
    expect_int(json_get(asks_json("results=x"), MR_STR("results"))->count, 1);
    expect_int(json_get(asks_json("results=-3"), MR_STR("results"))->count, 1);
}

STORY("a gender is kept, and not heeded with a seed")
{
    const struct json_value *results = json_get(asks_json("gender=female&results=50"),
                                                MR_STR("results"));
    int women = 0;
    for (uint32_t i = 0; i < 50; i++)
        expect_str(at(json_at(results, i), "gender"), MR_STR("female"));
    results = json_get(asks_json("gender=female&seed=q&results=50"), MR_STR("results"));
    for (uint32_t i = 0; i < 50; i++)
        women += mr_str_equal(at(json_at(results, i), "gender"), MR_STR("female"));
    expect(women > 5 && women < 45);
}

STORY("each nation has its postcodes, and its own people")
{
    static const char codes[] = "AU BR CA CH DE DK ES FI FR GB IE IN IR MX NL NO NZ RS TR UA US";
    static const char texts[] = "CA GB IE NL NO";
    mr_str rest = mr_str_from(codes), code;
    char query[64];
    int count = 0;
    while (mr_str_split(&rest, ' ', &code)) {
        snprintf(query, sizeof query, "nat=%.*s&results=20&seed=s", MR_STR_ARG(code));
        const struct json_value *results = json_get(asks_json(query), MR_STR("results"));
        bool text = mr_str_find(mr_str_from(texts), code) >= 0;
        for (uint32_t i = 0; i < 20; i++) {
            const struct json_value *user = json_at(results, i);
            expect_str(at(user, "nat"), code);
            expect_int(json_find(user, MR_STR("location.postcode"))->kind,
                       text ? JSON_STRING : JSON_NUMBER);
            mr_str email = at(user, "email");
            expect(mr_str_ends(email, MR_STR("@example.com")));
            for (size_t j = 0; j < email.length; j++)
                expect((email.data[j] >= 'a' && email.data[j] <= 'z') || email.data[j] == '.' ||
                       email.data[j] == '@');
            expect(email.data[0] != '.');
        }
        count++;
    }
    expect_int(count, RANDOMUSER_NATION_COUNT);
    expect_int(
        (unsigned char)at(asks_json("nat=ua&seed=1"), "results.0.name.first").data[0] >= 0xd0, 1);
    expect_int(
        (unsigned char)at(asks_json("nat=ir&seed=1"), "results.0.name.first").data[0] >= 0xd8, 1);
    expect_int(json_find(asks_json("nat=nz"), MR_STR("results.0.id.value"))->kind, JSON_NULL);
}

STORY("a login has a uuid of version 4, unique, and the hashes of password and salt")
{
    struct mr_map seen = {0};
    const struct json_value *results = json_get(asks_json("results=2000&inc=login&seed=u"),
                                                MR_STR("results"));
    for (uint32_t i = 0; i < 2000; i++) {
        mr_str uuid = at(json_at(results, i), "login.uuid");
        expect_int(uuid.length, 36);
        expect_int(uuid.data[14], '4');
        expect(strchr("89ab", uuid.data[19]) != NULL);
        expect(mr_map_put(&seen, uuid, &seen) == NULL);
    }
    const struct json_value *login = json_get(json_at(results, 3), MR_STR("login"));
    mr_str both = mr_arena_printf(&arena, "%.*s%.*s", MR_STR_ARG(at(login, "password")),
                                  MR_STR_ARG(at(login, "salt")));
    uint8_t hash[32];
    char hex[65];
    mr_sha256(both.data, both.length, hash);
    mr_hex(hash, 32, hex);
    expect_str(at(login, "sha256"), mr_str_from(hex));
    mr_sha1(both.data, both.length, hash);
    mr_hex(hash, 20, hex);
    expect_str(at(login, "sha1"), mr_str_from(hex));
    mr_md5(both.data, both.length, hash);
    mr_hex(hash, 16, hex);
    expect_str(at(login, "md5"), mr_str_from(hex));
}

STORY("ages follow from dates")
{
    const struct json_value *results = json_get(asks_json("results=200&seed=d"), MR_STR("results"));
    for (uint32_t i = 0; i < 200; i++) {
        mr_str date = at(json_at(results, i), "dob.date");
        int64_t year = 0, age = json_i64(json_find(json_at(results, i), MR_STR("dob.age")), -1);
        expect_int(date.length, 24);
        expect_int(date.data[23], 'Z');
        expect_ok(mr_str_to_i64(mr_str_slice(date, 0, 4), &year));
        bool passed = mr_str_compare(mr_str_slice(date, 5, 10), MR_STR("11-21")) <= 0;
        expect_int(age, 2026 - year - !passed);
        expect(mr_str_compare(at(json_at(results, i), "registered.date"), date) > 0);
    }
}

STORY("inc and exc choose fields, in the order of the API")
{
    expect_str(mr_str_slice(asks("inc=nat,gender&noinfo&seed=1"), 0, 23),
               MR_STR("{\"results\":[{\"gender\":\""));
    const struct json_value *user = json_at(
        json_get(asks_json("exc=login,name"), MR_STR("results")), 0);
    expect_int(user->count, 10);
    expect(json_get(user, MR_STR("login")) == NULL);
    expect_str(asks("inc=nothing&noinfo"), MR_STR("{\"results\":[{}]}"));
}

STORY("pretty is the same in many lines, and noinfo leaves info out")
{
    const struct json_value *plain = asks_json("seed=p&results=2"), *pretty;
    mr_str text = asks("seed=p&results=2&format=pretty");
    struct mr_buf a = {0}, b = {0};
    expect(mr_str_starts(text, MR_STR("{\n  \"results\": [\n    {\n      \"gender\": ")));
    expect_ok(json_parse(&arena, text, &pretty));
    json_print(&a, plain);
    json_print(&b, pretty);
    expect_str(mr_buf_as_str(&a), mr_buf_as_str(&b));
    expect(json_get(asks_json("noinfo"), MR_STR("info")) == NULL);
}

STORY("csv has flat names and one line a user")
{
    mr_str text = asks("format=csv&seed=c&results=3&inc=name,location"), line;
    expect(mr_str_split(&text, '\n', &line));
    expect_str(line,
               MR_STR("name.title,name.first,name.last,location.street.number,location.street.name,"
                      "location.city,location.state,location.country,location.postcode,"
                      "location.coordinates.latitude,location.coordinates.longitude,"
                      "location.timezone.offset,location.timezone.description"));
    int lines = 0;
    while (mr_str_split(&text, '\n', &line))
        lines += line.length > 0;
    expect_int(lines, 3);
    expect_str(mr_str_from(content_type), MR_STR("text/csv; charset=utf-8"));
}

STORY("yaml and xml")
{
    mr_str text = asks("format=yaml&seed=NO&nat=no&inc=gender,name,nat");
    expect(mr_str_starts(text, MR_STR("results:\n  - gender: \"")));
    expect(mr_str_find(text, MR_STR("\n    name:\n      title: \"M")) > 0);
    expect(mr_str_find(text, MR_STR("\n    nat: \"NO\"\ninfo:\n  seed: \"NO\"\n")) > 0);
    text = asks("format=xml&seed=%3C&inc=gender,name");
    expect(mr_str_find(text, MR_STR("<user><results><gender>")) > 0);
    expect(mr_str_ends(text, MR_STR("<info><seed>&lt;</seed><results>1</results><page>1</page>"
                                    "<version>1.4</version></info></user>")));
}

STORY("a callback makes JSONP, a wrong one an error")
{
    mr_str text = asks("callback=my.page&inc=nat&noinfo&nat=de");
    expect_str(text, MR_STR("my.page({\"results\":[{\"nat\":\"DE\"}]});"));
    expect_str(mr_str_from(content_type), MR_STR("application/javascript; charset=utf-8"));
    text = asks("callback=alert(1)");
    expect_int(status, 400);
    expect(mr_str_starts(text, MR_STR("{\"error\":\"callback: expected")));
}

STORY("a password is of the charsets and the length asked for")
{
    const struct json_value *results = json_get(asks_json("password=number,upper,4-6&results=100"),
                                                MR_STR("results"));
    for (uint32_t i = 0; i < 100; i++) {
        mr_str password = at(json_at(results, i), "login.password");
        expect(password.length >= 4 && password.length <= 6);
        for (size_t j = 0; j < password.length; j++)
            expect((password.data[j] >= '0' && password.data[j] <= '9') ||
                   (password.data[j] >= 'A' && password.data[j] <= 'Z'));
    }
    expect_int(at(asks_json("password=lower,12"), "results.0.login.password").length, 12);
}

STORY("odd queries are answered too")
{
    expect(asks("&&=&%&%4&results=%&seed&=x").length > 0);
    expect_int(status, 200);
    expect(asks("page=99999999999999999999&nat=,,xx&inc=").length > 0);
    expect_int(
        json_get(asks_json("page=1000000000&results=5000&inc=nat"), MR_STR("results"))->count,
        5000);
}

STORY("fifty thousand users are made in little time")
{
    struct mr_clock clock;
    mr_clock_init(&clock);
    int64_t began = mr_clock_mono_us(&clock);
    size_t bytes = 0;
    for (int i = 0; i < 10; i++)
        bytes += asks("results=5000").length;
    fprintf(stderr, "    %lld users/s, %zu bytes each\n",
            (long long)(INT64_C(50000000000) / (mr_clock_mono_us(&clock) - began)), bytes / 50000);
}
