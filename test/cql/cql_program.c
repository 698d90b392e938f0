/* cql_program: rows of 12 columns into a table by our client alone, as bench/Writes.java does by the Java driver:
 * cql_program HOST:PORT KEYSPACE ROWS. Prints rows/s, the process's CPU-us a row and the failures. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include "cql/client.h"

enum { COLUMNS = 12 };

static struct mr_loop *loop;
static struct cql_client *client;
static struct cql_prepared *insert;
static size_t failed, left;
static long next, until;
static bool made;

static double cpu_us(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e6 +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}

static double now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static void put(struct mr_buf *out, const char *format, long number)
{
    char text[128];
    int length = snprintf(text, sizeof text, format, number, number);
    cql_write_value(out, cql_value_of(text, (size_t)length));
}

static void encode(const void *row, struct mr_buf *out)
{
    static const char *const formats[COLUMNS - 1] = {
        "first%ld",
        "last%ld",
        "female",
        "%ld Some Street, Some Town, Some State, Some Country",
        "%ld",
        "first.last%ld@example.com",
        "user%ld",
        "1970-01-01T00:00:00.000Z",
        "2010-01-01T00:00:00.000Z",
        "(555) 555-%ld",
        "https://randomuser.example/portraits/med/women/%ld.jpg"};
    long number = *(const long *)row;
    uint64_t id[2] = {htobe64(0x4000), htobe64(0x8000000000000000u | (uint64_t)number)};
    cql_write_value(out, cql_value_of(id, sizeof id));
    for (size_t i = 0; i < COLUMNS - 1; i++)
        put(out, formats[i], i == COLUMNS - 2 ? number % 100 : number);
}

static void go_on(void *context);

static void on_written(void *context, mr_err err, const struct cql_result *result)
{
    mr_assert(context == NULL && (err == MR_OK) == (result != NULL));
    failed += err != MR_OK;
    if (--left == 0)
        mr_loop_stop(loop);
}

static void go_on(void *context)
{
    mr_assert(context == NULL);
    while (next < until && cql_client_room(client)) {
        const struct cql_request request = {
            .flags = CQL_RETRY, .value_count = COLUMNS, .encode = encode, .row = &next};
        cql_client_execute(client, insert, &request, on_written, NULL);
        next++;
    }
}

static void write_rows(long count)
{
    until = next + count;
    left = (size_t)count;
    go_on(NULL);
    mr_loop_run(loop);
}

static void on_prepared(void *context, mr_err err, struct cql_prepared *prepared)
{
    mr_assert(context == NULL);
    if (err != MR_OK)
        fprintf(stderr, "cql_program: %s\n", mr_why());
    insert = prepared;
    mr_loop_stop(loop);
}

static void on_made(void *context, mr_err err, const struct cql_result *result)
{
    mr_assert(context == NULL && (err == MR_OK) == (result != NULL));
    made = err == MR_OK;
    if (!made)
        fprintf(stderr, "cql_program: %s\n", mr_why());
    mr_loop_stop(loop);
}

int main(int argc, char **argv)
{
    char text[1024];
    const struct cql_request schema = {.flags = CQL_SCHEMA};
    if (argc != 4)
        return 2;
    long rows = strtol(argv[3], NULL, 10);
    loop = mr_loop_new("cql", NULL);
    struct cql_client_options options = {.addresses = argv[1], .room = go_on};
    if (rows < 4 || cql_client_new(loop, &options, &client) != MR_OK)
        return 2;
    snprintf(text, sizeof text,
             "CREATE TABLE IF NOT EXISTS %s.by_our_client (id uuid PRIMARY KEY, first_name text, "
             "last_name text, gender text, address text, post_code text, email text, username "
             "text, dob text, registered_date text, phone text, picture text)",
             argv[2]);
    cql_client_query(client, mr_str_from(text), &schema, on_made, NULL);
    mr_loop_run(loop);
    snprintf(text, sizeof text,
             "INSERT INTO %s.by_our_client (id, first_name, last_name, gender, address, post_code, "
             "email, username, dob, registered_date, phone, picture) VALUES (?, ?, ?, ?, ?, ?, ?, "
             "?, ?, ?, ?, ?)",
             argv[2]);
    if (made) {
        cql_client_prepare(client, mr_str_from(text), on_prepared, NULL);
        mr_loop_run(loop);
    }
    if (insert == NULL)
        return 1;
    write_rows(rows / 4);
    double cpu = cpu_us(), time = now_us();
    write_rows(rows);
    time = now_us() - time;
    cpu = cpu_us() - cpu;
    printf("%.0f %.2f %zu\n", (double)rows * 1e6 / time, cpu / (double)rows, failed);
    return 0;
}
