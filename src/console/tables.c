/* console/tables.c: tables of the store and their first rows, by CQL. */
#include "console/room.h"

#include "cql/client.h"

enum { CELL_BYTES_MAX = 2000, ROWS_BYTES_MAX = 4 << 20 };

struct rows {
    struct console_ask ask;
    struct rows *next; /* of console->waiting */
    int64_t count;
    bool list; /* the tables themselves are asked for */
};

static void rows_unlink(struct rows *rows)
{
    struct rows **link = &rows->ask.console->waiting;
    while (*link != NULL && *link != rows)
        link = &(*link)->next;
    if (*link == rows)
        *link = rows->next;
}

static void rows_end(struct console_ask *ask)
{
    struct rows *rows = mr_container(ask, struct rows, ask);
    rows_unlink(rows);
    mr_free(rows);
}

/* ---- answers ---- */

static bool is_system(mr_str keyspace)
{
    return mr_str_equal(keyspace, MR_STR("system")) || mr_str_starts(keyspace, MR_STR("system_"));
}

static void print_tables(const struct cql_result *result, struct mr_buf *out)
{
    struct mr_in in = result->rows;
    bool first = true;
    mr_buf_cstr(out, "{\"tables\":[");
    for (uint32_t i = 0; i < result->row_count; i++) {
        mr_str keyspace = cql_value_str(cql_read_value(&in)),
               table = cql_value_str(cql_read_value(&in));
        if (in.err != MR_OK || is_system(keyspace))
            continue;
        mr_buf_printf(out, "%s{\"keyspace\":", first ? "" : ",");
        mr_buf_json(out, keyspace);
        mr_buf_cstr(out, ",\"table\":");
        mr_buf_json(out, table);
        mr_buf_u8(out, '}');
        first = false;
    }
    mr_buf_cstr(out, "]}");
}

static void print_rows(const struct cql_result *result, struct mr_buf *out)
{
    struct mr_in in = result->rows;
    struct mr_buf text = {0};
    mr_buf_cstr(out, "{\"columns\":[");
    for (uint32_t c = 0; c < result->metadata.column_count; c++) {
        mr_buf_printf(out, "%s{\"name\":", c == 0 ? "" : ",");
        mr_buf_json(out, result->metadata.columns[c].name);
        mr_buf_clear(&text);
        cql_type_print(&text, result->metadata.columns[c].type);
        mr_buf_cstr(out, ",\"type\":");
        mr_buf_json(out, mr_buf_as_str(&text));
        mr_buf_u8(out, '}');
    }
    mr_buf_cstr(out, "],\"rows\":[");
    for (uint32_t i = 0; i < result->row_count && out->length < ROWS_BYTES_MAX; i++) {
        mr_buf_cstr(out, i == 0 ? "[" : ",[");
        for (uint32_t c = 0; c < result->metadata.column_count; c++) {
            struct cql_value value = cql_read_value(&in);
            mr_buf_cstr(out, c == 0 ? "" : ",");
            if (value.length < 0) {
                mr_buf_cstr(out, "null");
                continue;
            }
            mr_buf_clear(&text);
            cql_value_print(&text, result->metadata.columns[c].type, value, true);
            mr_buf_json(out, mr_str_slice(mr_buf_as_str(&text), 0, CELL_BYTES_MAX));
        }
        mr_buf_u8(out, ']');
    }
    mr_buf_printf(out, "],\"more\":%s}",
                  result->metadata.paging_state.length > 0 ? "true" : "false");
    mr_buf_fini(&text);
}

static void told(void *context, mr_err err, const struct cql_result *result)
{
    struct rows *rows = context;
    struct mr_buf out = {0};
    if (console_ask_back(&rows->ask))
        return;
    if (err != MR_OK) {
        console_ask_fail(&rows->ask, err);
    } else {
        (rows->list ? print_tables : print_rows)(result, &out);
        console_ask_reply(&rows->ask, 200, mr_buf_as_str(&out));
    }
    mr_buf_fini(&out);
    console_ask_done(&rows->ask);
}

/* ---- questions ---- */

static mr_err client(struct console *console)
{
    struct cql_client_options options = {
        .addresses = mr_arena_cstr(&console->arena, console->options.cassandra),
        .consistency = CQL_CONSISTENCY_LOCAL_ONE,
        .connection_count = 1,
        .tls = console->options.cassandra_uses_tls ? &console->options.cassandra_tls : NULL,
    };
    if (console->options.cassandra_user.length > 0) {
        options.user = mr_arena_cstr(&console->arena, console->options.cassandra_user);
        options.password = mr_arena_cstr(&console->arena, console->options.cassandra_password);
    }
    if (console->options.cassandra.length == 0)
        return mr_fail(MR_NOT_FOUND, "no pipeline writes to tables");
    return console->cql != NULL ? MR_OK : cql_client_new(console->loop, &options, &console->cql);
}

static void question(struct console *console, struct net_http_exchange *exchange, mr_str statement,
                     int64_t count, bool list)
{
    struct rows *rows = mr_new(struct rows);
    struct cql_request request = {.page_size = (int32_t)count};
    console_ask_init(&rows->ask, console, exchange, rows_end);
    rows->count = count;
    rows->list = list;
    rows->next = console->waiting;
    console->waiting = rows;
    mr_err err = client(console);
    if (err != MR_OK) {
        console_ask_fail(&rows->ask, err);
        console_ask_done(&rows->ask);
        return;
    }
    rows->ask.under_way++;
    cql_client_query(console->cql, statement, &request, told, rows);
}

void console_tables_list(struct console *console, struct net_http_exchange *exchange)
{
    question(console, exchange,
             MR_STR("SELECT keyspace_name, table_name FROM system_schema.tables"), 1000, true);
}

/* A name in double quotes, as CQL wants it: quotes inside are doubled. */
static void quoted(struct mr_buf *out, mr_str name)
{
    mr_buf_u8(out, '"');
    for (size_t i = 0; i < name.length; i++) {
        if (name.data[i] == '"')
            mr_buf_u8(out, '"');
        mr_buf_u8(out, (uint8_t)name.data[i]);
    }
    mr_buf_u8(out, '"');
}

void console_tables_rows(struct console *console, struct net_http_exchange *exchange,
                         mr_str keyspace, mr_str table, int64_t count)
{
    struct mr_buf statement = {0};
    mr_buf_cstr(&statement, "SELECT * FROM ");
    quoted(&statement, keyspace);
    mr_buf_u8(&statement, '.');
    quoted(&statement, table);
    question(console, exchange, mr_buf_as_str(&statement), count, false);
    mr_buf_fini(&statement);
}

/* The client tells nothing any more, so those that wait are ended here. */
void console_tables_close(struct console *console)
{
    cql_client_free(console->cql);
    console->cql = NULL;
    while (console->waiting != NULL) {
        struct rows *rows = console->waiting;
        rows->ask.exchange = NULL;
        rows->ask.under_way = 0;
        console_ask_done(&rows->ask);
    }
}
