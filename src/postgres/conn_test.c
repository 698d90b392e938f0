#include <stdio.h>
#include <sys/stat.h>

#include "postgres/postgres.h"
#include "story.h"

/* One server, one loop, and what came back last. */
struct bench {
    struct postgres_server *server;
    struct mr_loop *loop;
    struct postgres_conn *conn;
    int answers, ready, closed;
    mr_err err;
    int64_t affected;
    char why[1024];
    char text[8192];
};

static void on_ready(void *owner)
{
    ((struct bench *)owner)->ready++;
}

static void on_closed(void *owner, mr_err err)
{
    struct bench *bench = owner;
    bench->closed++;
    bench->err = err;
    snprintf(bench->why, sizeof bench->why, "%s", mr_why());
}

static const struct postgres_conn_handlers handlers = {on_ready, on_closed};

static void on_done(void *owner, mr_err err, const struct postgres_rows *rows, int64_t affected)
{
    struct bench *bench = owner;
    size_t at = 0;
    bench->answers++;
    bench->err = err;
    bench->affected = affected;
    bench->text[0] = 0;
    snprintf(bench->why, sizeof bench->why, "%s", err == MR_OK ? "" : mr_why());
    for (uint32_t row = 0; rows != NULL && row < postgres_rows_count(rows); row++)
        for (uint32_t i = 0; i < postgres_rows_columns(rows); i++) {
            mr_str value = postgres_rows_get(rows, row, i);
            at += (size_t)snprintf(bench->text + at, sizeof bench->text - at, "%.*s%s",
                                   value.data == NULL ? 4 : (int)value.length,
                                   value.data == NULL ? "NULL" : value.data,
                                   i + 1 < postgres_rows_columns(rows) ? "|" : "\n");
        }
}

static struct bench *given_bench(struct story *t)
{
    struct bench *bench = mr_new(struct bench);
    struct postgres_server_options options = {.folder = t->folder};
    chmod(t->folder, 0755);
    expect_ok(postgres_server_start(&options, &bench->server));
    bench->loop = mr_loop_new("work", NULL);
    expect_ok(postgres_conn_open(bench->loop, postgres_server_address(bench->server),
                                 POSTGRES_CONN_SQL, "story", &handlers, bench, &bench->conn));
    return bench;
}

static void turns_until(struct bench *bench, int *counter, int value)
{
    for (int i = 0; i < 2000 && *counter < value; i++)
        mr_loop_turn(bench->loop, 10000);
    expect_int(*counter, value);
}

static const char *asks(struct bench *bench, const char *sql)
{
    int answers = bench->answers;
    postgres_conn_query(bench->conn, mr_str_from(sql), NULL, 0, on_done, bench);
    turns_until(bench, &bench->answers, answers + 1);
    return bench->text;
}

static void ends(struct bench *bench)
{
    postgres_conn_close(bench->conn);
    mr_loop_turn(bench->loop, 0);
    mr_loop_free(bench->loop);
    postgres_server_stop(bench->server);
}

STORY("requests made before the connection is there are answered in order")
{
    struct bench *bench = given_bench(t);
    mr_str params[] = {MR_STR("it's"), MR_STR_NULL, MR_STR("")};
    postgres_conn_query(bench->conn, MR_STR("SELECT 1"), NULL, 0, on_done, bench);
    postgres_conn_query(bench->conn, MR_STR("SELECT $1::text, $2::int, $3::text"), params, 3,
                        on_done, bench);
    turns_until(bench, &bench->answers, 2);
    expect_int(bench->ready, 1);
    expect_str(mr_str_from(bench->text), MR_STR("it's|NULL|\n"));
    expect(postgres_conn_version(bench->conn) >= 120000);
    expect_str(mr_str_from(asks(bench, "SHOW timezone")), MR_STR("UTC\n"));
    ends(bench);
}

STORY("a batch is one transaction: all of it or nothing")
{
    struct bench *bench = given_bench(t);
    asks(bench, "CREATE TABLE t (n int PRIMARY KEY)");
    postgres_batch_begin(bench->conn, on_done, bench);
    for (int i = 0; i < 1000; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        mr_str param = mr_str_from(text);
        postgres_batch_add(bench->conn, MR_STR("INSERT INTO t VALUES ($1::int)"), &param, 1);
    }
    postgres_batch_end(bench->conn);
    turns_until(bench, &bench->answers, 2);
    expect_int(bench->err, MR_OK);
    expect_int(bench->affected, 1000);

    mr_str one = MR_STR("5000"), twice = MR_STR("7");
    struct bench failed = {0};
    postgres_batch_begin(bench->conn, on_done, &failed);
    postgres_batch_add(bench->conn, MR_STR("INSERT INTO t VALUES ($1::int)"), &one, 1);
    postgres_batch_add(bench->conn, MR_STR("INSERT INTO t VALUES ($1::int)"), &twice, 1);
    postgres_batch_end(bench->conn);
    postgres_conn_query(bench->conn, MR_STR("SELECT 'later requests go on'"), NULL, 0, on_done,
                        bench);
    turns_until(bench, &bench->answers, 3);
    expect_int(failed.answers, 1);
    expect_int(failed.err, MR_CONFLICT);
    expect_str(mr_str_from(postgres_conn_sqlstate(bench->conn)), MR_STR("23505"));
    expect_str(mr_str_from(bench->text), MR_STR("later requests go on\n"));
    expect_str(mr_str_from(asks(bench, "SELECT count(*) FROM t")), MR_STR("1000\n"));
    ends(bench);
}

STORY("errors are sentences with a class")
{
    struct bench *bench = given_bench(t);
    char expected[256];
    asks(bench, "SELECT * FROM nowhere");
    expect_int(bench->err, MR_NOT_FOUND);
    snprintf(expected, sizeof expected,
             "PostgreSQL 127.0.0.1:%u: relation \"nowhere\" does not exist",
             postgres_server_port(bench->server));
    expect_str(mr_str_from(bench->why), mr_str_from(expected));
    asks(bench, "SELEC");
    expect_int(bench->err, MR_INVALID);
    asks(bench, "SELECT 1/0");
    expect_int(bench->err, MR_INVALID);
    asks(bench, "CREATE SCHEMA public");
    expect_int(bench->err, MR_EXISTS);
    asks(bench, "DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '53100'; END $$");
    expect_int(bench->err, MR_FULL);
    ends(bench);
}

STORY("the raw table is made once, with the whole row in its log")
{
    struct bench *bench = given_bench(t);
    for (int i = 0; i < 2; i++) {
        postgres_batch_begin(bench->conn, on_done, bench);
        postgres_batch_add_raw_table(bench->conn, MR_STR("raw.users"));
        postgres_batch_add_run(bench->conn, MR_STR("users/7"));
        postgres_batch_add(bench->conn,
                           MR_STR("INSERT INTO raw.users(key, body) VALUES (now()::text, '{}') "
                                  "RETURNING id"),
                           NULL, 0);
        postgres_batch_end(bench->conn);
        turns_until(bench, &bench->answers, i + 1);
        expect_int(bench->err, MR_OK);
        expect_int(bench->affected, 1);
    }
    expect_str(mr_str_from(asks(bench, "SELECT relreplident FROM pg_class WHERE "
                                       "oid = 'raw.users'::regclass")),
               MR_STR("f\n"));
    ends(bench);
}

STORY("a lost connection answers what is open and then says so")
{
    struct bench *bench = given_bench(t);
    asks(bench, "SELECT 1");
    postgres_conn_query(bench->conn, MR_STR("SELECT pg_sleep(60)"), NULL, 0, on_done, bench);
    for (int i = 0; i < 20; i++)
        mr_loop_turn(bench->loop, 5000);
    struct postgres_server *server = bench->server;
    bench->server = NULL;
    postgres_server_stop(server);
    turns_until(bench, &bench->closed, 1);
    expect_int(bench->answers, 2);
    expect(mr_err_retriable(bench->err));
    expect(!postgres_conn_is_ready(bench->conn));
    ends(bench);
}

STORY("nobody there, a wrong password, a wrong database: each has its class")
{
    struct bench *bench = given_bench(t);
    struct postgres_address address = *postgres_server_address(bench->server);
    asks(bench, "SELECT 1");
    postgres_conn_close(bench->conn);
    address.password = MR_STR("wrong");
    expect_ok(postgres_conn_open(bench->loop, &address, POSTGRES_CONN_SQL, "s", &handlers, bench,
                                 &bench->conn));
    turns_until(bench, &bench->closed, 1);
    expect_int(bench->err, MR_AUTH);
    postgres_conn_close(bench->conn);

    address = *postgres_server_address(bench->server);
    address.database = MR_STR("nothere");
    expect_ok(postgres_conn_open(bench->loop, &address, POSTGRES_CONN_SQL, "s", &handlers, bench,
                                 &bench->conn));
    turns_until(bench, &bench->closed, 2);
    expect_int(bench->err, MR_NOT_FOUND);
    postgres_conn_close(bench->conn);

    address.port = 1;
    address.host = MR_STR("localhost");
    expect_ok(postgres_conn_open(bench->loop, &address, POSTGRES_CONN_SQL, "s", &handlers, bench,
                                 &bench->conn));
    turns_until(bench, &bench->closed, 3);
    expect_int(bench->err, MR_UNREACHABLE);
    ends(bench);
}

struct tape {
    struct mr_buf kinds;
    int idles;
};
static struct tape tape;

static bool on_data(void *owner, mr_str message)
{
    (void)owner;
    if (message.data[0] == 'w')
        mr_buf_u8(&tape.kinds, (uint8_t)message.data[25]);
    return true;
}

static void on_idle(void *owner)
{
    (void)owner;
    tape.idles++;
}

STORY("a replication stream gives what was written, and then says that it is idle")
{
    struct bench *bench = given_bench(t);
    struct postgres_conn *stream;
    asks(bench, "CREATE TABLE t (n int PRIMARY KEY)");
    asks(bench, "CREATE PUBLICATION p FOR TABLE t");
    asks(bench, "SELECT pg_create_logical_replication_slot('s', 'pgoutput')");
    expect_ok(postgres_conn_open(bench->loop, postgres_server_address(bench->server),
                                 POSTGRES_CONN_REPLICATION, "story", &handlers, bench, &stream));
    postgres_stream_start(stream,
                          MR_STR("START_REPLICATION SLOT s LOGICAL 0/0 (proto_version '1', "
                                 "publication_names 'p')"),
                          on_data, on_idle);
    asks(bench, "INSERT INTO t SELECT generate_series(1, 3)");
    for (int i = 0; i < 500 && tape.kinds.length < 6; i++)
        mr_loop_turn(bench->loop, 10000);
    expect_str(mr_buf_as_str(&tape.kinds), MR_STR("BRIIIC"));
    expect(tape.idles > 0);

    postgres_stream_pause(stream);
    asks(bench, "INSERT INTO t VALUES (4)");
    for (int i = 0; i < 20; i++)
        mr_loop_turn(bench->loop, 2000);
    expect_int(tape.kinds.length, 6);
    postgres_stream_resume(stream);
    for (int i = 0; i < 500 && tape.kinds.length < 9; i++)
        mr_loop_turn(bench->loop, 10000);
    expect_str(mr_buf_as_str(&tape.kinds), MR_STR("BRIIICBIC"));
    postgres_conn_close(stream);
    ends(bench);
}
