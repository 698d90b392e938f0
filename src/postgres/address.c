/* postgres/address.c: where a server is, and how names and texts stand in SQL. */
#include "postgres/postgres.h"

/* ---- addresses ---- */

/* Text with %41 turned into A. */
static mr_err unescape(struct mr_arena *arena, mr_str text, mr_str *out)
{
    char *at = mr_arena_alloc(arena, text.length + 1);
    size_t length = 0;
    for (size_t i = 0; i < text.length; i++) {
        if (text.data[i] != '%') {
            at[length++] = text.data[i];
            continue;
        }
        int high = i + 2 < text.length ? mr_hex_digit(text.data[i + 1]) : -1;
        int low = i + 2 < text.length ? mr_hex_digit(text.data[i + 2]) : -1;
        if (high < 0 || low < 0 || (high == 0 && low == 0))
            return mr_fail(MR_INVALID, "%.*s: expected two hex digits after %%", MR_STR_ARG(text));
        at[length++] = (char)(high << 4 | low);
        i += 2;
    }
    at[length] = 0;
    *out = (mr_str){at, length};
    return MR_OK;
}

/* "host", "host:port", "[::1]:port" or "". */
static mr_err read_host(struct mr_arena *arena, mr_str text, struct postgres_address *address)
{
    mr_str port = MR_STR_NULL, host = text;
    ptrdiff_t close = -1;
    if (text.length > 0 && text.data[0] == '[')
        close = mr_str_find_byte(text, ']');
    if (close > 0) {
        host = mr_str_slice(text, 1, (size_t)close);
        if ((size_t)close + 1 < text.length && text.data[close + 1] == ':')
            port = mr_str_slice(text, (size_t)close + 2, text.length);
    } else {
        ptrdiff_t colon = mr_str_find_byte(text, ':');
        if (colon >= 0) {
            host = mr_str_slice(text, 0, (size_t)colon);
            port = mr_str_slice(text, (size_t)colon + 1, text.length);
        }
    }
    if (port.data != NULL) {
        int64_t number = 0;
        if (mr_str_to_i64(port, &number) != MR_OK || number < 1 || number > 65535)
            return mr_fail(MR_INVALID,
                           "PostgreSQL address \"%.*s\": expected a port from 1 to "
                           "65535, found \"%.*s\"",
                           MR_STR_ARG(text), MR_STR_ARG(port));
        address->port = (uint16_t)number;
    }
    return host.length == 0 ? MR_OK : unescape(arena, host, &address->host);
}

static mr_err read_user(struct mr_arena *arena, mr_str text, struct postgres_address *address)
{
    ptrdiff_t colon = mr_str_find_byte(text, ':');
    mr_err err = MR_OK;
    if (colon >= 0)
        err = unescape(arena, mr_str_slice(text, (size_t)colon + 1, text.length),
                       &address->password);
    if (err != MR_OK)
        return err;
    return unescape(arena, colon < 0 ? text : mr_str_slice(text, 0, (size_t)colon), &address->user);
}

/* What follows postgres:// */
static mr_err read_url(struct mr_arena *arena, mr_str rest, struct postgres_address *address)
{
    mr_str query = MR_STR_NULL, database = MR_STR_NULL, host = rest, part;
    ptrdiff_t at = mr_str_find_byte(rest, '?');
    mr_err err = MR_OK;
    if (at >= 0) {
        query = mr_str_slice(rest, (size_t)at + 1, rest.length);
        host = mr_str_slice(rest, 0, (size_t)at);
    }
    at = mr_str_find_byte(host, '/');
    if (at >= 0) {
        database = mr_str_slice(host, (size_t)at + 1, host.length);
        host = mr_str_slice(host, 0, (size_t)at);
    }
    at = mr_str_find_byte(host, '@');
    if (at >= 0) {
        err = read_user(arena, mr_str_slice(host, 0, (size_t)at), address);
        host = mr_str_slice(host, (size_t)at + 1, host.length);
    }
    if (err == MR_OK && database.length > 0)
        err = unescape(arena, database, &address->database);
    if (err == MR_OK)
        err = read_host(arena, host, address);
    while (err == MR_OK && mr_str_split(&query, '&', &part)) {
        mr_str sslmode = MR_STR("sslmode=");
        if (!mr_str_starts(part, sslmode))
            return mr_fail(MR_INVALID, "PostgreSQL address: expected sslmode=..., found \"%.*s\"",
                           MR_STR_ARG(part));
        err = unescape(arena, mr_str_slice(part, sslmode.length, part.length), &address->sslmode);
    }
    return err;
}

void postgres_address_copy(struct mr_arena *arena, const struct postgres_address *from,
                           struct postgres_address *to)
{
    *to = (struct postgres_address){
        .host = mr_arena_str(arena, from->host),
        .port = from->port,
        .user = mr_arena_str(arena, from->user),
        .password = mr_arena_str(arena, from->password),
        .database = mr_arena_str(arena, from->database),
        .sslmode = mr_arena_str(arena, from->sslmode),
    };
}

mr_err postgres_address_parse(struct mr_arena *arena, mr_str text,
                              const struct postgres_address *defaults, struct postgres_address *out)
{
    static const struct postgres_address plain = {.host = {"127.0.0.1", 9},
                                                  .port = 5432,
                                                  .user = {"postgres", 8},
                                                  .database = {"postgres", 8}};
    static const char *const schemes[] = {"postgres://", "postgresql://"};
    struct postgres_address address;
    mr_err err = MR_OK;
    bool url = false;

    postgres_address_copy(arena, defaults == NULL ? &plain : defaults, &address);
    for (size_t i = 0; i < mr_count_of(schemes) && !url; i++) {
        mr_str scheme = mr_str_from(schemes[i]);
        url = mr_str_starts(text, scheme);
        if (url)
            err = read_url(arena, mr_str_slice(text, scheme.length, text.length), &address);
    }
    if (!url)
        err = read_host(arena, text, &address);
    if (err == MR_OK)
        *out = address;
    return err;
}

void postgres_address_print(struct mr_buf *out, const struct postgres_address *address)
{
    bool colons = mr_str_find_byte(address->host, ':') >= 0;
    mr_buf_printf(out, colons ? "[%.*s]:%u" : "%.*s:%u", MR_STR_ARG(address->host), address->port);
}

/* ---- SQL text ---- */
static void quote(struct mr_buf *out, mr_str text, char mark)
{
    mr_buf_u8(out, (uint8_t)mark);
    for (size_t i = 0; i < text.length; i++) {
        if (text.data[i] == mark)
            mr_buf_u8(out, (uint8_t)mark);
        mr_buf_u8(out, (uint8_t)text.data[i]);
    }
    mr_buf_u8(out, (uint8_t)mark);
}

void postgres_quote_name(struct mr_buf *out, mr_str name)
{
    quote(out, name, '"');
}

/* Our sessions have standard_conforming_strings on, so a backslash is a character like others. */
void postgres_quote_text(struct mr_buf *out, mr_str text)
{
    quote(out, text, '\'');
}

void postgres_table_split(mr_str table, mr_str *schema, mr_str *name)
{
    ptrdiff_t dot = mr_str_find_byte(table, '.');
    *schema = dot < 0 ? MR_STR("public") : mr_str_slice(table, 0, (size_t)dot);
    *name = dot < 0 ? table : mr_str_slice(table, (size_t)dot + 1, table.length);
}

void postgres_quote_table(struct mr_buf *out, mr_str table)
{
    mr_str schema, name;
    postgres_table_split(table, &schema, &name);
    postgres_quote_name(out, schema);
    mr_buf_u8(out, '.');
    postgres_quote_name(out, name);
}

void postgres_batch_add_raw_table(struct postgres_conn *conn, mr_str table)
{
    struct mr_buf sql = {0}, quoted = {0};
    mr_str schema, name;
    postgres_table_split(table, &schema, &name);

    /* One maker at a time: IF NOT EXISTS alone still fails when two make the same thing. */
    mr_buf_cstr(&sql, "SELECT pg_advisory_xact_lock(5433, hashtext(");
    postgres_quote_text(&sql, table);
    mr_buf_cstr(&sql, "))");
    postgres_batch_add(conn, mr_buf_as_str(&sql), NULL, 0);

    postgres_quote_table(&quoted, table);
    mr_buf_clear(&sql);
    mr_buf_cstr(&sql, "DO $do$ BEGIN IF to_regclass(");
    postgres_quote_text(&sql, mr_buf_as_str(&quoted));
    mr_buf_cstr(&sql, ") IS NULL THEN CREATE SCHEMA IF NOT EXISTS ");
    postgres_quote_name(&sql, schema);
    mr_buf_cstr(&sql, "; CREATE TABLE ");
    mr_buf_str(&sql, mr_buf_as_str(&quoted));
    mr_buf_cstr(&sql, " (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, key text UNIQUE NOT "
                      "NULL, body jsonb NOT NULL, fetched_at timestamptz NOT NULL DEFAULT now()); "
                      "ALTER TABLE ");
    mr_buf_str(&sql, mr_buf_as_str(&quoted));
    mr_buf_cstr(&sql, " REPLICA IDENTITY FULL; END IF; END $do$");
    postgres_batch_add(conn, mr_buf_as_str(&sql), NULL, 0);
    mr_buf_fini(&quoted);
    mr_buf_fini(&sql);
}

void postgres_batch_add_run(struct postgres_conn *conn, mr_str run)
{
    postgres_batch_add(conn, MR_STR("SELECT pg_logical_emit_message(true, 'millrace.run', $1)"),
                       &run, 1);
}
