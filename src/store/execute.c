/* store/execute.c: runs a bound statement for a connection and answers it.
 *
 *   SELECT: slice on the loop -> (disk thread when it is cold) -> ... -> rows
 *   write: operands into the turn -> answered when the turn is durable
 *   conditional write: flush the turn -> select the row -> decide -> write, all in one step of the loop */
#include "store/server.h"

#include <stdio.h>

/* ---- requests ---- */
struct store_request *store_request_new(const struct store_reply *reply, struct mr_bytes *owner)
{
    struct store_request *request = mr_new(struct store_request);
    mr_arena_init(&request->arena);
    request->reply = *reply;
    request->owner = owner;
    request->started_us = mr_loop_now_us(reply->session->server->loop);
    (void)store_session_ref(reply->session);
    reply->session->server->pending++;
    return request;
}

static void end_trace(struct store_request *request)
{
    struct store_server *server = request->reply.session->server;
    for (size_t i = 0; request->reply.traced && i < STORE_TRACES; i++)
        if (memcmp(&server->traces[i].id, &request->reply.trace, sizeof(mr_uuid)) == 0)
            server->traces[i].duration_us = mr_clock_mono_us(mr_loop_clock(server->loop)) -
                                            request->started_us + 1;
}

void store_request_free(struct store_request *request)
{
    struct store_server *server = request->reply.session->server;
    end_trace(request);
    if (request->selecting)
        store_select_fini(&request->job);
    if (request->owns)
        mr_bytes_unref(request->owner);
    store_plan_unref(request->plan);
    store_session_unref(request->reply.session);
    mr_arena_fini(&request->arena);
    mr_free(request);
    server->pending--;
    store_server_settle(server);
}

static void fail(struct store_request *request, mr_err err)
{
    store_reply_failure(&request->reply, err, &request->fault);
    store_request_free(request);
}

/* ---- SELECT ---- */
static void answer_rows(struct store_request *request)
{
    struct store_select_job *job = &request->job;
    const struct store_select_plan *select = request->plan->select;
    const struct store_table *table = request->plan->table;
    mr_str page = mr_buf_as_str(&job->next_page);
    /* A table that was altered gives its columns always: a client may hold older ones for this id. */
    bool skip = request->prepared && (request->query.flags & CQL_QUERY_SKIP_METADATA) &&
                table->version == 0;
    struct cql_metadata metadata = {
        .flags = skip ? CQL_ROWS_NO_METADATA : 0,
        .column_count = select->json_names != NULL ? 1 : select->selector_count,
        .columns = select->columns,
        .paging_state = page.length > 0 ? cql_value_of(page.data, page.length) : CQL_VALUE_NULL,
    };
    struct mr_buf *body = store_reply_begin(&request->reply);
    mr_buf_be32(body, CQL_RESULT_ROWS);
    cql_metadata_write(body, &metadata, false);
    mr_buf_be32(body, job->row_count);
    mr_buf_str(body, mr_buf_as_str(&job->rows));
    mr_counter_add(request->reply.session->server->rows_read, job->row_count);
    store_reply_send(&request->reply, CQL_OPCODE_RESULT);
    store_request_free(request);
}

static void decide(struct store_request *request);
static void run_slice(struct store_request *request);

static void slice_task(struct mr_task *task)
{
    run_slice(mr_container(task, struct store_request, task));
}

static void slice_on_disk(struct mr_job *job)
{
    struct store_request *request = mr_container(job, struct store_request, disk);
    request->state = store_select_run(&request->job, 0);
}

static void slice_done(struct store_request *request);

static void slice_back(struct mr_job *job)
{
    struct store_request *request = mr_container(job, struct store_request, disk);
    /* A conditional write looks again on the loop, where nothing can come between: the disk thread has
     * only made the row warm. */
    if (request->deciding)
        decide(request);
    else
        slice_done(request);
}

static void keep_owner(struct store_request *request)
{
    if (request->owns || request->owner == NULL)
        return;
    mr_bytes_ref(request->owner);
    request->owns = true;
}

static void to_disk(struct store_request *request)
{
    struct store_server *server = request->reply.session->server;
    keep_owner(request);
    request->disk = (struct mr_job){
        .work = slice_on_disk, .done = slice_back, .loop = server->loop};
    mr_disk_submit(server->disk, &request->disk);
}

static void slice_done(struct store_request *request)
{
    struct store_server *server = request->reply.session->server;
    if (request->reply.session->conn == NULL) { /* nobody waits any more */
        store_request_free(request);
        return;
    }
    switch (request->state) {
    case STORE_SELECT_DONE:
        answer_rows(request);
        return;
    case STORE_SELECT_MORE:
        keep_owner(request);
        request->task.run = slice_task;
        mr_loop_post(server->loop, &request->task);
        return;
    case STORE_SELECT_DISK:
        to_disk(request);
        return;
    case STORE_SELECT_FAILED:
        store_reply_error(&request->reply, request->job.fault.code, mr_str_from(request->job.why),
                          &request->job.fault);
        store_request_free(request);
        return;
    }
}

static void run_slice(struct store_request *request)
{
    request->state = store_select_run(&request->job, KV_CACHED);
    slice_done(request);
}

static mr_err begin_select(struct store_request *request, const struct store_plan *plan)
{
    struct store_server *server = request->reply.session->server;
    struct store_select_job *job = &request->job;
    memset(job, 0, sizeof(*job));
    mr_arena_init(&job->arena);
    request->selecting = true;
    job->db = &server->db;
    job->plan = plan;
    job->values = request->query.values;
    job->now_us = mr_clock_wall_us(mr_loop_clock(server->loop));
    job->page_size = request->query.page_size;
    job->paging_state = request->query.paging_state;
    job->has_ranges = plan->table->has_ranges;
    if (plan->table->virtual_rows != NULL) {
        struct store_system *system = mr_arena_new(&job->arena, struct store_system);
        store_server_system(request->reply.session, &job->arena, system);
        job->generated = store_system_rows(system, &job->arena, plan->table);
    }
    mr_err err = store_select_begin(job);
    if (err != MR_OK)
        request->fault = job->fault;
    return err;
}

static void run_select(struct store_request *request)
{
    mr_err err = begin_select(request, request->plan);
    if (err != MR_OK) {
        fail(request, err);
        return;
    }
    run_slice(request);
}

/* ---- writes ---- */
static void take_write(struct store_server *server, const struct store_plan *plan,
                       const struct store_write_job *job)
{
    mr_counter_add(server->rows_written, job->rows);
    if (!job->deletes_range || plan->table->has_ranges)
        return;
    plan->table->has_ranges = true; /* from now on readers look for deleted ranges */
    struct kv_batch *batch = kv_batch_new();
    store_db_put_table(&server->db, batch, plan->table);
    *mr_array_add(&store_turn_open(server)->batches) = batch;
}

static mr_err write_into(struct store_request *request, const struct store_plan *plan,
                         const struct cql_value *values, struct kv_batch *batch,
                         int64_t timestamp_us)
{
    struct store_server *server = request->reply.session->server;
    struct store_write_job job = {
        .db = &server->db,
        .batch = batch,
        .arena = &request->arena,
        .plan = plan,
        .values = values,
        .timestamp_us = timestamp_us,
        .now_us = mr_clock_wall_us(mr_loop_clock(server->loop)),
        .fault = &request->fault,
        .sequence = &server->sequence,
        .key = &server->key,
        .row = &server->row,
    };
    mr_err err = store_write_run(&job);
    if (err == MR_OK)
        take_write(server, plan, &job);
    return err;
}

static int64_t request_timestamp(struct store_request *request)
{
    bool given = (request->query.flags & CQL_QUERY_TIMESTAMP) != 0;
    return given ? request->query.timestamp_us
                 : store_server_timestamp(request->reply.session->server);
}

static void run_write(struct store_request *request)
{
    struct store_turn *turn = store_turn_open(request->reply.session->server);
    struct kv_batch *batch = kv_batch_new();
    mr_err err = write_into(request, request->plan, request->query.values, batch,
                            request_timestamp(request));
    if (err != MR_OK) {
        kv_batch_free(batch);
        fail(request, err);
        return;
    }
    *mr_array_add(&turn->batches) = batch;
    (void)store_turn_answer(turn, &request->reply);
    store_request_free(request);
}

static void run_text_batch(struct store_request *request)
{
    struct store_turn *turn = store_turn_open(request->reply.session->server);
    struct kv_batch *batch = kv_batch_new();
    int64_t timestamp_us = request_timestamp(request);
    mr_err err = MR_OK;
    for (uint32_t i = 0; err == MR_OK && i < request->plan->child_count; i++) {
        const struct store_plan *child = &request->plan->children[i];
        if (child->write->conditional)
            err = store_fail(&request->fault, CQL_ERROR_INVALID,
                             "conditional statements in a BATCH are not supported");
        else
            err = write_into(request, child, request->query.values, batch, timestamp_us);
    }
    if (err != MR_OK) {
        kv_batch_free(batch);
        fail(request, err);
        return;
    }
    *mr_array_add(&turn->batches) = batch;
    (void)store_turn_answer(turn, &request->reply);
    store_request_free(request);
}

/* ---- conditional writes ---- */
/* The row that was selected, back as values by column. */
static bool read_row(struct store_request *request, struct store_row_view *view)
{
    const struct store_table *table = request->plan->table;
    struct mr_in in = mr_in_str(mr_buf_as_str(&request->job.rows));
    store_view_init(view, &request->arena, table);
    for (uint16_t i = 0; request->job.row_count > 0 && i < table->column_count; i++)
        view->values[i] = cql_read_value(&in);
    return request->job.row_count > 0;
}

static mr_err judge(struct store_request *request, const struct store_row_view *view, bool exists,
                    bool *applies)
{
    const struct store_statement *statement = request->plan->statement;
    const struct store_write_plan *write = request->plan->write;
    struct store_scope scope = {.arena = &request->arena,
                                .table = request->plan->table,
                                .values = request->query.values,
                                .now_us = request->job.now_us,
                                .fault = &request->fault};
    *applies = statement->if_not_exists ? !exists : statement->if_exists ? exists : true;
    for (uint32_t i = 0; *applies && i < write->condition_count; i++) {
        struct cql_value *values, element;
        uint32_t count = 0;
        mr_err err = store_filter_values(&scope, &write->conditions[i], &values, &count, &element);
        if (err != MR_OK)
            return err;
        *applies = store_filter_passes(&write->conditions[i], values, count, element, view, true);
    }
    return MR_OK;
}

/* [applied], and when it was not, what was there: the whole row for IF NOT EXISTS, else the columns that
 * the conditions name. */
static void write_decision(struct store_request *request, const struct store_row_view *view,
                           bool exists, bool applies, struct mr_buf *body)
{
    const struct store_table *table = request->plan->table;
    const struct store_write_plan *write = request->plan->write;
    struct cql_column *columns = mr_arena_array(&request->arena, struct cql_column,
                                                table->column_count + 1u);
    uint16_t *indices = mr_arena_array(&request->arena, uint16_t, table->column_count + 1u);
    uint32_t count = 0;
    bool whole = request->plan->statement->if_not_exists;
    columns[count++] = (struct cql_column){table->keyspace, table->name, MR_STR("[applied]"),
                                           cql_type_scalar(CQL_TYPE_BOOLEAN)};
    for (uint16_t i = 0; !applies && exists && i < table->column_count; i++) {
        bool named = whole;
        for (uint32_t j = 0; j < write->condition_count; j++)
            named |= write->conditions[j].columns[0] == &table->columns[i];
        if (!named)
            continue;
        indices[count] = i;
        columns[count++] = (struct cql_column){table->keyspace, table->name, table->columns[i].name,
                                               table->columns[i].type};
    }
    struct cql_metadata metadata = {
        .column_count = count, .columns = columns, .paging_state = CQL_VALUE_NULL};
    mr_buf_be32(body, CQL_RESULT_ROWS);
    cql_metadata_write(body, &metadata, false);
    mr_buf_be32(body, 1);
    mr_buf_be32(body, 1);
    mr_buf_u8(body, applies);
    for (uint32_t i = 1; i < count; i++)
        cql_write_value(body, view->values[indices[i]]);
}

static void decide_task(struct mr_task *task)
{
    decide(mr_container(task, struct store_request, task));
}

/* Nothing comes between the look and the write: both are in this one step of the loop. */
static void decide(struct store_request *request)
{
    struct store_server *server = request->reply.session->server;
    struct store_row_view view;
    bool applies = false;
    if (request->selecting) {
        store_select_fini(&request->job);
        request->selecting = false;
    }
    if (store_turn_flush(server) == MR_AGAIN) {
        keep_owner(request); /* until what came before is visible */
        request->task.run = decide_task;
        mr_loop_post(server->loop, &request->task);
        return;
    }
    mr_err err = begin_select(request, request->plan->write->read);
    request->job.page_size = 0;
    while (err == MR_OK &&
           (request->state = store_select_run(&request->job, KV_CACHED)) == STORE_SELECT_MORE)
        continue;
    if (err == MR_OK && request->state == STORE_SELECT_DISK) {
        to_disk(request);
        return;
    }
    if (err == MR_OK && request->state == STORE_SELECT_FAILED)
        err = store_fail(&request->fault, request->job.fault.code, "%s", request->job.why);
    bool exists = err == MR_OK && read_row(request, &view);
    if (err == MR_OK)
        err = judge(request, &view, exists, &applies);
    struct kv_batch *batch = kv_batch_new();
    if (err == MR_OK && applies)
        err = write_into(request, request->plan, request->query.values, batch,
                         store_server_timestamp(server));
    if (err != MR_OK) {
        kv_batch_free(batch);
        fail(request, err);
        return;
    }
    struct store_turn *turn = store_turn_open(server);
    *mr_array_add(&turn->batches) = batch;
    struct store_answer *answer = store_turn_answer(turn, &request->reply);
    write_decision(request, &view, exists, applies, &answer->body);
    store_request_free(request);
}

/* ---- everything else ---- */
static void run_definition(struct store_request *request)
{
    struct store_server *server = request->reply.session->server;
    struct mr_buf body = {0}, event = {0};
    mr_str keyspace = request->plan->keyspace;
    mr_err err = store_define(server, keyspace, request->plan->statement, &request->fault, &body,
                              &event);
    if (err != MR_OK) {
        mr_buf_fini(&body);
        mr_buf_fini(&event);
        fail(request, err);
        return;
    }
    struct store_answer *answer = store_turn_answer(store_turn_open(server), &request->reply);
    answer->body = body;
    answer->event = event;
    store_request_free(request);
}

static void run_use(struct store_request *request)
{
    struct store_session *session = request->reply.session;
    mr_str name = request->plan->statement->target.name;
    if (store_schema_keyspace(&session->server->schema, name) == NULL ||
        name.length >= sizeof(session->keyspace)) {
        fail(request, store_fail(&request->fault, CQL_ERROR_INVALID,
                                 "Keyspace '%.*s' does not exist", MR_STR_ARG(name)));
        return;
    }
    memcpy(session->keyspace, name.data, name.length);
    session->keyspace[name.length] = '\0';
    struct mr_buf *body = store_reply_begin(&request->reply);
    mr_buf_be32(body, CQL_RESULT_SET_KEYSPACE);
    cql_write_string(body, name);
    store_reply_send(&request->reply, CQL_OPCODE_RESULT);
    store_request_free(request);
}

static void run_describe(struct store_request *request)
{
    struct store_system system;
    struct mr_buf out = {0};
    mr_str keyspace = mr_str_from(request->reply.session->keyspace);
    store_server_system(request->reply.session, &request->arena, &system);
    mr_err err = store_describe(&system, &request->arena, keyspace, request->plan->statement,
                                &request->fault, &out);
    if (err != MR_OK) {
        mr_buf_fini(&out);
        fail(request, err);
        return;
    }
    mr_buf_str(store_reply_begin(&request->reply), mr_buf_as_str(&out));
    store_reply_send(&request->reply, CQL_OPCODE_RESULT);
    mr_buf_fini(&out);
    store_request_free(request);
}

void store_request_run(struct store_request *request)
{
    const struct store_statement *statement = request->plan->statement;
    switch (statement->kind) {
    case STORE_STATEMENT_SELECT:
        run_select(request);
        return;
    case STORE_STATEMENT_INSERT:
    case STORE_STATEMENT_UPDATE:
    case STORE_STATEMENT_DELETE:
        if (request->plan->write->conditional) {
            request->deciding = true;
            decide(request);
        } else {
            run_write(request);
        }
        return;
    case STORE_STATEMENT_BATCH:
        run_text_batch(request);
        return;
    case STORE_STATEMENT_USE:
        run_use(request);
        return;
    case STORE_STATEMENT_DESCRIBE:
        run_describe(request);
        return;
    case STORE_STATEMENT_TRUNCATE:
    case STORE_STATEMENT_CREATE_KEYSPACE:
    case STORE_STATEMENT_ALTER_KEYSPACE:
    case STORE_STATEMENT_DROP_KEYSPACE:
    case STORE_STATEMENT_CREATE_TABLE:
    case STORE_STATEMENT_ALTER_TABLE:
    case STORE_STATEMENT_DROP_TABLE:
        run_definition(request);
        return;
    case STORE_STATEMENT_UNSUPPORTED:
        break;
    }
    fail(request, store_fail(&request->fault, CQL_ERROR_INVALID, "%.*s",
                             MR_STR_ARG(statement->unsupported)));
}
