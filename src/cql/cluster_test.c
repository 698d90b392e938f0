/* cql/cluster_test.c: the client among several nodes: three servers made here, each with a third of the
 * ring, that count what they are sent. */
#include "story.h"

#include "cql/session.h"

enum { NODES = 3 };

/* A node owns the tokens up to its own; the last one's is the greatest there is. */
static const int64_t tokens[NODES] = {-3074457345618258603, 3074457345618258602, INT64_MAX};
static const char token_texts[NODES][24] = {"-3074457345618258603", "3074457345618258602",
                                            "9223372036854775807"};

static struct server {
    struct net_listener *listener;
    struct net_conn *conns[16];
    size_t conn_count;
    int executes, strangers, held_max;
    bool down, behind;      /* refuses connections; has not seen the latest schema */
    int overloads;          /* so many executes are refused */
    MR_ARRAY(int16_t) held; /* streams that wait for their answers */
    bool holds;
} servers[NODES];
static struct mr_loop *loop;
static struct cql_client *client;
static size_t listed; /* how many nodes the system tables have */
static int registered, schema_questions;
static bool changes_nothing; /* a statement on the schema finds it so already */

static struct server *server_of(struct net_conn *conn)
{
    for (size_t i = 0; i < NODES; i++)
        for (size_t k = 0; k < servers[i].conn_count; k++)
            if (servers[i].conns[k] == conn)
                return &servers[i];
    return NULL;
}

static mr_err server_frame(struct net_conn *conn, mr_str seen, size_t *total)
{
    struct mr_in in = mr_in_str(seen);
    struct cql_header header;
    expect(conn != NULL);
    *total = 0;
    if (seen.length < CQL_HEADER_BYTES)
        return MR_OK;
    cql_header_read(&in, &header);
    *total = CQL_HEADER_BYTES + (size_t)header.length;
    return MR_OK;
}

static size_t reply(struct net_conn *conn, int16_t stream, enum cql_opcode opcode)
{
    return cql_frame_begin(net_out(conn), CQL_VERSION | CQL_DIRECTION, 0, stream, opcode);
}

static void reply_kind(struct net_conn *conn, int16_t stream, enum cql_result_kind kind)
{
    size_t begin = reply(conn, stream, CQL_OPCODE_RESULT);
    mr_buf_be32(net_out(conn), (uint32_t)kind);
    if (kind == CQL_RESULT_SCHEMA_CHANGE) {
        cql_write_string(net_out(conn), MR_STR("CREATED"));
        cql_write_string(net_out(conn), MR_STR("KEYSPACE"));
        cql_write_string(net_out(conn), MR_STR("ks"));
    }
    cql_frame_end(net_out(conn), begin);
}

static void reply_error(struct net_conn *conn, int16_t stream, unsigned code)
{
    size_t begin = reply(conn, stream, CQL_OPCODE_ERROR);
    mr_buf_be32(net_out(conn), code);
    cql_write_string(net_out(conn), MR_STR("as you wish"));
    cql_frame_end(net_out(conn), begin);
}

static void reply_prepared(struct net_conn *conn, int16_t stream)
{
    const struct cql_column column = {MR_STR("ks"), MR_STR("t"), MR_STR("id"),
                                      cql_type_scalar(CQL_TYPE_INT)};
    const uint16_t key = 0;
    struct cql_metadata variables = {.column_count = 1,
                                     .columns = &column,
                                     .key_count = 1,
                                     .key_indices = &key,
                                     .paging_state = CQL_VALUE_NULL};
    struct cql_metadata none = {.flags = CQL_ROWS_NO_METADATA, .paging_state = CQL_VALUE_NULL};
    size_t begin = reply(conn, stream, CQL_OPCODE_RESULT);
    mr_buf_be32(net_out(conn), CQL_RESULT_PREPARED);
    cql_write_short_bytes(net_out(conn), MR_STR("0123456789abcdef"));
    cql_metadata_write(net_out(conn), &variables, true);
    cql_metadata_write(net_out(conn), &none, false);
    cql_frame_end(net_out(conn), begin);
}

static void put_tokens(struct mr_buf *out, size_t node)
{
    struct mr_buf set = {0};
    mr_buf_be32(&set, 1);
    cql_write_value(&set, cql_value_of(token_texts[node], strlen(token_texts[node])));
    cql_write_value(out, cql_value_of(set.data, set.length));
    mr_buf_fini(&set);
}

/* The row of system.local, or those of its peers. */
static void reply_nodes(struct net_conn *conn, int16_t stream, size_t self, bool local)
{
    struct mr_arena arena = {0};
    const struct cql_type *set = cql_type_set(&arena, cql_type_scalar(CQL_TYPE_TEXT));
    const struct cql_type *types[] = {cql_type_scalar(CQL_TYPE_TEXT), set,
                                      cql_type_scalar(local ? CQL_TYPE_TEXT : CQL_TYPE_INET),
                                      cql_type_scalar(CQL_TYPE_INT)};
    struct cql_column columns[4];
    for (size_t i = 0; i < 4; i++)
        columns[i] = (struct cql_column){MR_STR("system"), MR_STR("t"), MR_STR("c"), types[i]};
    struct cql_metadata metadata = {
        .column_count = local ? 3 : 4, .columns = columns, .paging_state = CQL_VALUE_NULL};
    size_t begin = reply(conn, stream, CQL_OPCODE_RESULT);
    struct mr_buf *out = net_out(conn);
    mr_buf_be32(out, CQL_RESULT_ROWS);
    cql_metadata_write(out, &metadata, false);
    mr_buf_be32(out, local ? 1 : (uint32_t)listed - 1);
    for (size_t node = 0; node < listed; node++) {
        uint32_t port = htobe32(net_listener_port(servers[node].listener));
        if (local != (node == self))
            continue;
        cql_write_value(out, cql_value_of("here", 4));
        put_tokens(out, node);
        cql_write_value(out, local ? cql_value_of("org.apache.cassandra.dht.Murmur3Partitioner", 43)
                                   : cql_value_of("\x7f\0\0\1", 4));
        if (!local)
            cql_write_value(out, cql_value_of(&port, 4));
    }
    cql_frame_end(out, begin);
    mr_arena_fini(&arena);
}

/* One uuid a node; the versions of those that are behind differ. */
static void reply_versions(struct net_conn *conn, int16_t stream, size_t self, bool local)
{
    const struct cql_column column = {MR_STR("system"), MR_STR("t"), MR_STR("schema_version"),
                                      cql_type_scalar(CQL_TYPE_UUID)};
    struct cql_metadata metadata = {
        .column_count = 1, .columns = &column, .paging_state = CQL_VALUE_NULL};
    size_t begin = reply(conn, stream, CQL_OPCODE_RESULT);
    struct mr_buf *out = net_out(conn);
    schema_questions++;
    mr_buf_be32(out, CQL_RESULT_ROWS);
    cql_metadata_write(out, &metadata, false);
    mr_buf_be32(out, local ? 1 : (uint32_t)listed - 1);
    for (size_t node = 0; node < listed; node++)
        if (local == (node == self))
            cql_write_value(
                out,
                cql_value_of(servers[node].behind ? "before..........." : "after............", 16));
    cql_frame_end(out, begin);
}

static void serve_execute(struct server *server, struct net_conn *conn, int16_t stream,
                          struct mr_in *in)
{
    struct mr_arena arena = {0};
    struct cql_query query;
    cql_read_short_bytes(in);
    cql_query_read(in, &arena, &query);
    expect_int(query.value_count, 1);
    int64_t token = mr_murmur3_token(query.values[0].data, (size_t)query.values[0].length);
    mr_arena_fini(&arena);
    size_t owner = 0;
    while (token > tokens[owner])
        owner++;
    server->executes++;
    server->strangers += server != &servers[owner];
    if (server->overloads > 0) {
        server->overloads--;
        reply_error(conn, stream, CQL_ERROR_OVERLOADED);
    } else if (server->holds) {
        *mr_array_add(&server->held) = stream;
        if ((int)server->held.count > server->held_max)
            server->held_max = (int)server->held.count;
    } else {
        reply_kind(conn, stream, CQL_RESULT_VOID);
    }
}

static void serve_query(struct server *server, struct net_conn *conn, int16_t stream, mr_str frame)
{
    size_t self = (size_t)(server - servers);
    bool local = mr_str_find(frame, MR_STR("system.local")) >= 0;
    if (mr_str_find(frame, MR_STR("schema_version")) >= 0)
        reply_versions(conn, stream, self, local);
    else if (mr_str_find(frame, MR_STR("FROM system.")) >= 0)
        reply_nodes(conn, stream, self, local);
    else
        reply_kind(conn, stream, changes_nothing ? CQL_RESULT_VOID : CQL_RESULT_SCHEMA_CHANGE);
}

static mr_err server_message(struct net_conn *conn, struct mr_bytes *owner, mr_str frame)
{
    struct server *server = server_of(conn);
    struct mr_in in = mr_in_str(frame);
    struct cql_header header;
    expect(owner != NULL && server != NULL);
    cql_header_read(&in, &header);
    switch (header.opcode) {
    case CQL_OPCODE_REGISTER:
        registered++;
        cql_frame_end(net_out(conn), reply(conn, header.stream, CQL_OPCODE_READY));
        break;
    case CQL_OPCODE_STARTUP: /* these servers are of version 4 */
        if (header.version == CQL_VERSION)
            cql_frame_end(net_out(conn), reply(conn, header.stream, CQL_OPCODE_READY));
        else
            reply_error(conn, header.stream, CQL_ERROR_PROTOCOL);
        break;
    case CQL_OPCODE_PREPARE:
        reply_prepared(conn, header.stream);
        break;
    case CQL_OPCODE_EXECUTE:
        serve_execute(server, conn, header.stream, &in);
        break;
    default:
        serve_query(server, conn, header.stream, frame);
    }
    return MR_OK;
}

static void server_opened(struct net_conn *conn)
{
    struct net_address here;
    net_local(conn, &here);
    for (size_t i = 0; i < NODES; i++) {
        if (net_listener_port(servers[i].listener) != here.port)
            continue;
        expect(servers[i].conn_count < mr_count_of(servers[i].conns));
        servers[i].conns[servers[i].conn_count++] = conn;
        if (servers[i].down)
            net_abort(conn);
    }
}

static void server_closed(struct net_conn *conn, mr_err why)
{
    struct server *server = server_of(conn);
    expect(why != MR_OK && server != NULL);
    for (size_t i = 0; i < server->conn_count; i++)
        if (server->conns[i] == conn)
            server->conns[i] = server->conns[--server->conn_count];
}

static const struct net_handler server_handler = {server_opened, server_frame, server_message,
                                                  net_nothing, server_closed};

/* ---- what the stories say ---- */

static void turns(int count)
{
    for (int i = 0; i < count; i++)
        mr_loop_turn(loop, 1000);
}

static void given_cluster(size_t nodes)
{
    struct mr_buf address = {0};
    mr_log_level_set(MR_LOG_ERROR);
    loop = mr_loop_new("test", NULL);
    listed = nodes;
    for (size_t i = 0; i < NODES; i++)
        expect_ok(net_listen(loop, "127.0.0.1", 0, &server_handler, NULL, &servers[i].listener));
    mr_buf_printf(&address, "127.0.0.1:%u", net_listener_port(servers[0].listener));
    struct cql_client_options options = {.addresses = mr_buf_take_cstr(&address),
                                         .connection_count = 1};
    expect_ok(cql_client_new(loop, &options, &client));
}

static int told;
static size_t told_nodes;

static void on_cluster(void *context, mr_str data_center, size_t node_count)
{
    expect(context == &told);
    expect_str(data_center, MR_STR("here"));
    told_nodes = node_count;
}

static void on_prepared(void *context, mr_err err, struct cql_prepared *prepared)
{
    expect_int(err, MR_OK);
    *(struct cql_prepared **)context = prepared;
}

static struct cql_prepared *given_statement(void)
{
    struct cql_prepared *prepared = NULL;
    cql_client_prepare(client, MR_STR("INSERT INTO ks.t (id) VALUES (?)"), on_prepared, &prepared);
    for (int i = 0; i < 5000 && prepared == NULL; i++)
        mr_loop_turn(loop, 1000);
    expect(prepared != NULL);
    for (int i = 0; i < 5000; i++) { /* until every node is connected */
        size_t open = 0;
        for (size_t k = 0; k < client->nodes.count; k++)
            open += client->nodes.items[k]->links[0]->state == CQL_LINK_OPEN;
        if (open >= listed)
            break;
        mr_loop_turn(loop, 1000);
    }
    return prepared;
}

static void encode_row(const void *row, struct mr_buf *out)
{
    uint32_t id = htobe32(*(const uint32_t *)row);
    cql_write_value(out, cql_value_of(&id, 4));
}

static int failures;

static void on_done(void *context, mr_err err, const struct cql_result *result)
{
    expect(context == &told && (err == MR_OK) == (result != NULL));
    failures += err != MR_OK;
    told++;
}

static void executes(struct cql_prepared *prepared, uint32_t count, unsigned flags)
{
    for (uint32_t id = 0; id < count; id++) {
        struct cql_request request = {
            .flags = flags, .value_count = 1, .encode = encode_row, .row = &id};
        cql_client_execute(client, prepared, &request, on_done, &told);
    }
}

static void wait_told(int count)
{
    for (int i = 0; i < 20000 && told < count; i++)
        mr_loop_turn(loop, 1000);
    expect_int(told, count);
}

static int all_executes(void)
{
    return servers[0].executes + servers[1].executes + servers[2].executes;
}

static void ends(void)
{
    cql_client_free(client);
    for (size_t i = 0; i < NODES; i++) {
        net_listener_close(servers[i].listener);
        mr_array_fini(&servers[i].held);
    }
    turns(3);
    mr_loop_free(loop);
}

STORY("one contact point is enough to find the others, and a row goes to the node that has it")
{
    given_cluster(NODES);
    cql_client_cluster(client, on_cluster, &told);
    executes(given_statement(), 3000, CQL_RETRY);
    wait_told(3000);
    expect_int(told_nodes, 3);
    expect_int(registered, 1);
    expect_int(all_executes(), 3000);
    for (size_t i = 0; i < NODES; i++) {
        expect(servers[i].executes > 700);
        expect_int(servers[i].strangers, 0);
    }
    ends();
}

STORY("a node that goes away hands its rows to the next one, and gets them again when it is back")
{
    given_cluster(NODES);
    struct cql_prepared *prepared = given_statement();
    servers[2].down = true;
    while (servers[2].conn_count > 0) {
        net_abort(servers[2].conns[0]);
        turns(1);
    }
    executes(prepared, 600, CQL_RETRY);
    wait_told(600);
    expect_int(servers[2].executes, 0);
    expect(servers[0].strangers + servers[1].strangers > 100);
    servers[2].down = false;
    for (int i = 0; i < 5000 && client->nodes.items[2]->links[0]->state != CQL_LINK_OPEN; i++)
        mr_loop_turn(loop, 1000);
    executes(prepared, 600, CQL_RETRY);
    wait_told(1200);
    expect(servers[2].executes > 100);
    expect_int(failures, 0);
    ends();
}

STORY("a node that joins is found by the event that tells of it, and one that leaves is forgotten")
{
    given_cluster(2);
    struct cql_prepared *prepared = given_statement();
    for (listed = 3; listed >= 2; listed--) {
        size_t begin = reply(servers[0].conns[0], -1, CQL_OPCODE_EVENT);
        cql_write_string(net_out(servers[0].conns[0]), MR_STR("TOPOLOGY_CHANGE"));
        cql_write_string(net_out(servers[0].conns[0]), MR_STR("NEW_NODE"));
        cql_frame_end(net_out(servers[0].conns[0]), begin);
        for (int i = 0; i < 5000 && client->nodes.count != listed; i++)
            mr_loop_turn(loop, 1000);
        expect_int(client->nodes.count, listed);
        if (listed == 3)
            given_statement();
        executes(prepared, 300, CQL_RETRY);
        wait_told(listed == 3 ? 300 : 600);
        expect((servers[2].executes > 0) == true);
    }
    expect(servers[2].executes < 200); /* of the first 300 alone */
    expect_int(failures, 0);
    ends();
}

static void schema_is_waited_for(const struct cql_request *request)
{
    given_cluster(NODES);
    given_statement();
    servers[1].behind = true;
    cql_client_query(client, MR_STR("CREATE KEYSPACE ks"), request, on_done, &told);
    for (int i = 0; i < 5000 && schema_questions < 4; i++)
        mr_loop_turn(loop, 1000);
    expect_int(told, 0);
    servers[1].behind = false;
    wait_told(1);
    expect_int(failures, 0);
    ends();
}

STORY("a change of the schema is told once every node has it")
{
    schema_is_waited_for(NULL);
}

STORY("what somebody else has just made is told once every node has it, too")
{
    static const struct cql_request request = {.flags = CQL_SCHEMA};
    changes_nothing = true;
    schema_is_waited_for(&request);
    changes_nothing = false;
}

STORY("an overloaded node is given half as much at once, and the rows are written all the same")
{
    given_cluster(NODES);
    struct cql_prepared *prepared = given_statement();
    double before = client->nodes.items[0]->window;
    servers[0].overloads = 5;
    executes(prepared, 900, CQL_RETRY);
    wait_told(900);
    expect_int(failures, 0);
    expect(client->nodes.items[0]->slow_start <= before);
    ends();
}

STORY("what may not be done twice is told, but moved once when the node says that it did nothing")
{
    given_cluster(NODES);
    struct cql_prepared *prepared = given_statement();
    servers[0].overloads = servers[1].overloads = servers[2].overloads = 1000;
    executes(prepared, 10, 0);
    wait_told(10);
    expect_int(failures, 10);
    expect_int(all_executes(), 10);
    ends();
}

STORY("a node has no more requests at once than its window, and the rest waits")
{
    given_cluster(NODES);
    struct cql_prepared *prepared = given_statement();
    for (size_t i = 0; i < NODES; i++)
        servers[i].holds = true;
    executes(prepared, 2000, CQL_RETRY);
    turns(200);
    for (size_t i = 0; i < NODES; i++)
        expect(servers[i].held_max > 0 && servers[i].held_max <= CQL_WINDOW_FIRST + 8);
    expect_int(told, 0);
    for (size_t i = 0; i < NODES; i++)
        servers[i].holds = false;
    for (int round = 0; round < 200 && told < 2000; round++) {
        for (size_t i = 0; i < NODES; i++)
            for (; servers[i].held.count > 0; servers[i].held.count--)
                for (size_t k = 0; k < servers[i].conn_count;
                     k++) /* the one that has this stream */
                    if (k == servers[i].conn_count - 1)
                        reply_kind(servers[i].conns[k],
                                   servers[i].held.items[servers[i].held.count - 1],
                                   CQL_RESULT_VOID);
        turns(5);
    }
    expect_int(told, 2000);
    expect_int(failures, 0);
    ends();
}

STORY("the ring goes round, and different members are counted")
{
    struct cql_cluster cluster;
    cql_cluster_init(&cluster);
    for (uint32_t i = 0; i < 3; i++) {
        *mr_array_add(&cluster.members) = (struct net_address){.port = (uint16_t)(i + 1)};
        *mr_array_add(&cluster.ring) = (struct cql_place){(int64_t)(i + 1) * 100, 2 - i};
        *mr_array_add(&cluster.ring) = (struct cql_place){(int64_t)(i + 1) * 100 + 50, 2 - i};
    }
    cql_cluster_sort(&cluster);
    expect_int(cql_cluster_owner(&cluster, 100, 0), 2);
    expect_int(cql_cluster_owner(&cluster, 151, 0), 1);
    expect_int(cql_cluster_owner(&cluster, 151, 1), 0);
    expect_int(cql_cluster_owner(&cluster, 151, 2), 2);
    expect_int(cql_cluster_owner(&cluster, 9999, 0), 2);
    expect_int(cql_cluster_owner(&cluster, INT64_MIN, 0), 2);
    cql_cluster_fini(&cluster);
}
