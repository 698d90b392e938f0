#include "postgres/postgres.h"
#include "story.h"

static struct mr_arena arena;

static struct postgres_address parsed(const char *text)
{
    struct postgres_address address;
    expect_ok(postgres_address_parse(&arena, mr_str_from(text), NULL, &address));
    return address;
}

STORY("an address is a host and a port, or an URL with everything")
{
    struct postgres_address address = parsed("db.example:6543");
    expect_str(address.host, MR_STR("db.example"));
    expect_int(address.port, 6543);
    expect_str(address.user, MR_STR("postgres"));

    address = parsed("postgres://ann:p%40ss@[::1]:5544/shop?sslmode=require");
    expect_str(address.host, MR_STR("::1"));
    expect_int(address.port, 5544);
    expect_str(address.user, MR_STR("ann"));
    expect_str(address.password, MR_STR("p@ss"));
    expect_str(address.database, MR_STR("shop"));
    expect_str(address.sslmode, MR_STR("require"));

    address = parsed("postgresql://h");
    expect_str(address.host, MR_STR("h"));
    expect_int(address.port, 5432);
}

STORY("a wrong address is refused with what was expected")
{
    struct postgres_address address;
    expect_err(postgres_address_parse(&arena, MR_STR("h:70000"), NULL, &address), MR_INVALID);
    expect_str(mr_str_from(mr_why()),
               MR_STR("PostgreSQL address \"h:70000\": expected a port from 1 to "
                      "65535, found \"70000\""));
    expect_err(postgres_address_parse(&arena, MR_STR("postgres://a%4"), NULL, &address),
               MR_INVALID);
    expect_err(postgres_address_parse(&arena, MR_STR("postgres://a%4g@h"), NULL, &address),
               MR_INVALID);
    expect_err(postgres_address_parse(&arena, MR_STR("postgres://h/d?x=1"), NULL, &address),
               MR_INVALID);
}

STORY("an address prints without its password")
{
    struct postgres_address address = parsed("postgres://u:secret@h:1");
    struct mr_buf out = {0};
    postgres_address_print(&out, &address);
    expect_str(mr_buf_as_str(&out), MR_STR("h:1"));
}

STORY("names and texts are quoted for SQL")
{
    struct mr_buf out = {0};
    postgres_quote_table(&out, MR_STR("raw.us\"ers"));
    mr_buf_u8(&out, ' ');
    postgres_quote_table(&out, MR_STR("users"));
    mr_buf_u8(&out, ' ');
    postgres_quote_text(&out, MR_STR("it's a \\"));
    expect_str(mr_buf_as_str(&out),
               MR_STR("\"raw\".\"us\"\"ers\" \"public\".\"users\" 'it''s a \\'"));
}
