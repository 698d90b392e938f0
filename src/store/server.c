/* store/server.c: opening, serving, coming back from a full disk, closing.
 *
 *   starting --read--> serving <--resumed/disk full--> suspended;  any --close--> closing -> gone */
#include "store/server.h"

enum {
    PATIENCE_US = 1000000,
    RESUME_US = 2000000,
    RESUME_BYTES_MIN = 32 << 20,
    ESTIMATE_US = 5000000
};

int64_t store_server_timestamp(struct store_server *server)
{
    int64_t now = mr_clock_wall_us(mr_loop_clock(server->loop));
    server->last_timestamp_us = now > server->last_timestamp_us ? now
                                                                : server->last_timestamp_us + 1;
    return server->last_timestamp_us;
}

/* ---- what the system tables show ---- */
static void copy_text(char *out, size_t size, const char *text)
{
    size_t length = strlen(text) < size - 1 ? strlen(text) : size - 1;
    memcpy(out, text, length);
    out[length] = '\0';
}

static void list_clients(struct store_server *server, struct mr_arena *arena,
                         struct store_system *out)
{
    struct store_client *clients = mr_arena_array(arena, struct store_client,
                                                  net_listener_conn_count(server->listener) + 1);
    for (struct net_conn *conn = net_listener_next(server->listener, NULL); conn != NULL;
         conn = net_listener_next(server->listener, conn)) {
        const struct store_session *session = net_context(conn);
        struct net_address peer;
        if (session == NULL || session->conn == NULL ||
            out->client_count > net_listener_conn_count(server->listener))
            continue;
        struct store_client *client = &clients[out->client_count++];
        net_peer(conn, &peer);
        copy_text(client->address, sizeof(client->address), peer.host);
        client->port = peer.port;
        copy_text(client->driver_name, sizeof(client->driver_name), session->driver_name);
        copy_text(client->driver_version, sizeof(client->driver_version), session->driver_version);
        copy_text(client->keyspace, sizeof(client->keyspace), session->keyspace);
        client->request_count = session->requests;
    }
    out->clients = clients;
}

void store_server_system(struct store_session *session, struct mr_arena *arena,
                         struct store_system *out)
{
    struct store_server *server = session->server;
    struct net_address local = {.port = 0};
    memset(out, 0, sizeof(*out));
    if (session->conn != NULL)
        net_local(session->conn, &local);
    copy_text(out->address, sizeof(out->address), local.host[0] != '\0' ? local.host : "127.0.0.1");
    out->schema = &server->schema;
    out->host_id = server->host_id;
    out->started_us = server->started_us;
    out->port = net_listener_port(server->listener);
    out->traces = server->traces;
    out->estimates = server->estimates;
    out->estimate_count = server->estimate_count;
    list_clients(server, arena, out);
}

/* ---- closing ---- */
static void free_prepared(struct store_server *server)
{
    struct mr_map_entry *entry;
    for (size_t i = 0; (entry = mr_map_next(&server->prepared, &i)) != NULL;)
        store_plan_unref(entry->value);
    mr_map_fini(&server->prepared);
}

static void server_free(struct store_server *server)
{
    free_prepared(server);
    mr_map_fini(&server->forgotten);
    store_schema_fini(&server->schema);
    mr_arena_fini(&server->arena);
    mr_buf_fini(&server->body);
    mr_buf_fini(&server->key);
    mr_buf_fini(&server->row);
    mr_buf_fini(&server->packed);
    mr_free(server->estimates);
    mr_free(server->new_estimates);
    mr_free(server->folder);
    mr_free(server);
}

static void close_work(struct mr_job *job)
{
    struct store_server *server = mr_container(job, struct store_server, close_job);
    if (server->has_db)
        store_db_close(&server->db);
}

static void close_done(struct mr_job *job)
{
    struct store_server *server = mr_container(job, struct store_server, close_job);
    struct mr_task *done = server->closed;
    server_free(server);
    done->run(done);
}

void store_server_settle(struct store_server *server)
{
    if (server->state != STORE_CLOSING || server->pending > 0 || server->closed == NULL ||
        server->close_job.work != NULL)
        return;
    mr_timer_stop(&server->patience);
    mr_timer_stop(&server->resume);
    mr_timer_stop(&server->estimate);
    kv_commits_free(server->commits);
    server->commits = NULL;
    server->close_job = (struct mr_job){
        .work = close_work, .done = close_done, .loop = server->loop};
    mr_disk_submit(server->disk, &server->close_job);
}

static void settle_task(struct mr_timer *timer)
{
    store_server_settle(mr_container(timer, struct store_server, patience));
}

void store_server_close(struct store_server *server, struct mr_task *done)
{
    server->closed = done;
    server->state = STORE_CLOSING;
    net_listener_close(server->listener);
    server->listener = NULL;
    server->patience.run = settle_task; /* not from inside this call */
    mr_timer_start(server->loop, &server->patience, 0);
}

/* ---- a full disk ---- */
static void resume_work(struct mr_job *job)
{
    struct store_server *server = mr_container(job, struct store_server, resume_job);
    uint64_t free_bytes = 0, total_bytes = 0;
    server->reopened = false;
    server->err = mr_file_space(server->folder, &free_bytes, &total_bytes);
    if (server->err == MR_OK && free_bytes < RESUME_BYTES_MIN)
        server->err = MR_FULL;
    if (server->err != MR_OK)
        return;
    server->reopened = true;
    server->err = kv_resume(server->db.kv);
}

static void resume_done(struct mr_job *job)
{
    struct store_server *server = mr_container(job, struct store_server, resume_job);
    server->pending--;
    server->resuming = server->reopened && server->err != MR_OK; /* then it is not open at all */
    if (server->err == MR_OK) {
        server->suspended = false;
        mr_log(MR_LOG_INFO, "store", "the disk takes writes again");
    } else if (server->state == STORE_SERVING) {
        mr_timer_start(server->loop, &server->resume, RESUME_US);
    }
    server->err = MR_OK;
    store_server_settle(server);
}

/* Sessions may stay, but nothing may use the database meanwhile. */
static void try_resume(struct mr_timer *timer)
{
    struct store_server *server = mr_container(timer, struct store_server, resume);
    size_t sessions = server->listener == NULL ? 0 : net_listener_conn_count(server->listener);
    if (server->state != STORE_SERVING)
        return;
    if (!server->resuming && (server->pending > sessions || server->writing)) {
        mr_timer_start(server->loop, &server->resume, RESUME_US / 20);
        return;
    }
    server->resuming = true;
    server->pending++;
    server->resume_job = (struct mr_job){
        .work = resume_work, .done = resume_done, .loop = server->loop};
    mr_disk_submit(server->disk, &server->resume_job);
}

void store_server_suspend(struct store_server *server)
{
    if (server->suspended || server->state != STORE_SERVING)
        return;
    server->suspended = true;
    mr_log(MR_LOG_WARN, "store", "no more writes until the disk has room again");
    server->resume.run = try_resume;
    mr_timer_start(server->loop, &server->resume, RESUME_US);
}

/* ---- sizes, looked at now and then on a disk thread ---- */
static void estimate_work(struct mr_job *job)
{
    struct store_server *server = mr_container(job, struct store_server, estimate_job);
    for (size_t i = 0; i < server->new_estimate_count; i++)
        store_estimate_table(&server->db, server->new_estimates[i].table_id,
                             &server->new_estimates[i]);
}

static void estimate_done(struct mr_job *job)
{
    struct store_server *server = mr_container(job, struct store_server, estimate_job);
    server->pending--;
    mr_free(server->estimates);
    server->estimates = server->new_estimates;
    server->estimate_count = server->new_estimate_count;
    server->new_estimates = NULL;
    if (server->state == STORE_SERVING)
        mr_timer_start(server->loop, &server->estimate, ESTIMATE_US);
    store_server_settle(server);
}

/* The tables of users; their ids are all that the disk thread gets of them. */
static void list_estimates(struct store_server *server)
{
    struct mr_arena arena = {0};
    size_t count = 0, table_count = 0;
    struct store_keyspace **list = store_schema_sorted(&server->schema, &arena, &count);
    server->new_estimate_count = 0;
    for (size_t i = 0; i < count; i++)
        server->new_estimate_count += list[i]->is_system ? 0 : list[i]->tables.count;
    server->new_estimates = mr_new_array(struct store_estimate, server->new_estimate_count + 1);
    for (size_t i = 0, at = 0; i < count; i++) {
        if (list[i]->is_system)
            continue;
        struct store_table **tables = store_keyspace_sorted(list[i], &arena, &table_count);
        for (size_t j = 0; j < table_count; j++)
            server->new_estimates[at++].table_id = tables[j]->id;
    }
    mr_arena_fini(&arena);
}

static void estimate(struct mr_timer *timer)
{
    struct store_server *server = mr_container(timer, struct store_server, estimate);
    int64_t written = mr_counter_read(server->rows_written);
    if (server->resuming || written == server->estimated_at) {
        mr_timer_start(server->loop, timer, ESTIMATE_US);
        return;
    }
    server->estimated_at = written;
    list_estimates(server);
    server->estimate_job = (struct mr_job){
        .work = estimate_work, .done = estimate_done, .loop = server->loop};
    server->pending++;
    mr_disk_submit(server->disk, &server->estimate_job);
}

/* ---- opening ---- */
static void open_work(struct mr_job *job)
{
    struct store_server *server = mr_container(job, struct store_server, open_job);
    server->err = mr_folder_make(server->folder, 0700);
    if (server->err == MR_OK)
        server->err = store_db_open(server->folder, server->memory, NULL, &server->schema,
                                    &server->db);
    if (server->err != MR_OK)
        copy_text(server->why, sizeof(server->why), mr_why());
    else
        server->has_db = true;
}

static void open_done(struct mr_job *job)
{
    struct store_server *server = mr_container(job, struct store_server, open_job);
    server->pending--;
    mr_timer_stop(&server->patience);
    if (server->err == MR_OK && server->state == STORE_STARTING) {
        store_system_define(&server->schema);
        store_schema_stamp(&server->schema);
        server->host_id = server->db.host_id;
        server->commits = kv_commits_new(server->loop, server->disk, server->db.kv, true);
        server->state = STORE_SERVING;
        server->estimate.run = estimate;
        server->estimated_at = -1;
        mr_timer_start(server->loop, &server->estimate, 0);
    } else if (server->state == STORE_STARTING) {
        server->state = STORE_FAILED;
        mr_log(MR_LOG_ERROR, "store", "%s", server->why);
    }
    if (server->listener != NULL)
        net_listener_accepting(server->listener, true);
    store_server_settle(server);
}

static void lose_patience(struct mr_timer *timer)
{
    struct store_server *server = mr_container(timer, struct store_server, patience);
    if (server->listener != NULL)
        net_listener_accepting(server->listener, true); /* to be told that the store is starting */
}

static void open_counters(struct store_server *server)
{
    server->requests = mr_counter_get(MR_METRIC_STORE_REQUESTS, MR_STR(""));
    server->rows_written = mr_counter_get(MR_METRIC_STORE_ROWS_WRITTEN, MR_STR(""));
    server->rows_read = mr_counter_get(MR_METRIC_STORE_ROWS_READ, MR_STR(""));
    server->errors = mr_counter_get(MR_METRIC_STORE_ERRORS, MR_STR(""));
    server->connections = mr_counter_get(MR_METRIC_STORE_CONNECTIONS, MR_STR(""));
}

mr_err store_server_open(struct mr_loop *loop, struct mr_disk *disk,
                         const struct store_options *options, struct store_server **out)
{
    struct store_server *server = mr_new(struct store_server);
    server->loop = loop;
    server->disk = disk;
    server->folder = mr_copy_cstr(mr_str_from(options->folder));
    server->memory = options->memory;
    server->started_us = mr_clock_wall_us(mr_loop_clock(loop));
    mr_arena_init(&server->arena);
    store_schema_init(&server->schema);
    open_counters(server);
    mr_err err = net_listen(loop, options->host, options->port, &store_session_handler, server,
                            &server->listener);
    if (err != MR_OK) {
        server_free(server);
        return err;
    }
    net_listener_accepting(server->listener, false);
    server->patience.run = lose_patience;
    mr_timer_start(loop, &server->patience, PATIENCE_US);
    server->open_job = (struct mr_job){.work = open_work, .done = open_done, .loop = loop};
    server->pending++;
    mr_disk_submit(disk, &server->open_job);
    *out = server;
    return MR_OK;
}

uint16_t store_server_port(const struct store_server *server)
{
    return net_listener_port(server->listener);
}

mr_err store_server_ready(const struct store_server *server)
{
    return server->state == STORE_SERVING    ? MR_OK
           : server->state == STORE_STARTING ? MR_AGAIN
           : server->state == STORE_FAILED   ? server->err
                                             : MR_CLOSED;
}

const char *store_server_why(const struct store_server *server)
{
    return server->state == STORE_FAILED ? server->why : NULL;
}
