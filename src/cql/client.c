/* cql/client.c: the session of a client with a CQL server.
 *
 * A call (one request) stands in exactly one list:
 *   waiting --a link has a free stream--> link.sent --answer--> told
 *   sent --retriable error--> resting --back-off is over--> waiting
 *   sent --UNPREPARED--> prepared.waiting --prepared again--> waiting
 *   sent --link closed--> waiting (CQL_RETRY) | told
 * A request is encoded once, into a chunk of 64 KiB that is both the connection's out-buffer and what a
 * repeat is copied from; the chunk lives until all its calls are told.
 *
 * A link (one connection): RESTING --timer--> CONNECTING --opened--> STARTING --READY--> OPEN;
 * closed from anywhere --> RESTING, with back-off; a contact link then tries the next address.
 * STARTUP is of version 5; who refuses that is asked again, at once, with version 4.
 * How frames go out and come in: framing.c. Which link has a call, and how much a node is given at once:
 * topology.c. */
#include "cql/session.h"

enum {
    PORT = 9042,
    LINKS = 2,
    CHUNK_BYTES = 65536,
    BYTES_MAX = 4 << 20,
    TIMEOUT_MS = 10000,
    SWEEP_US = 250000,
    REST_MS_MIN = 50,
    REST_MS_MAX = 2000,
    BODY_AT = CQL_HEADER_BYTES,
};

/* ---- lists and calls ---- */

static void list_add(struct cql_call_list *list, struct cql_call *call)
{
    call->next = NULL;
    call->previous = list->last;
    if (list->last != NULL)
        list->last->next = call;
    else
        list->first = call;
    list->last = call;
}

static void list_remove(struct cql_call_list *list, struct cql_call *call)
{
    if (call->previous != NULL)
        call->previous->next = call->next;
    else
        list->first = call->next;
    if (call->next != NULL)
        call->next->previous = call->previous;
    else
        list->last = call->previous;
}

static struct cql_call *call_new(struct cql_client *client)
{
    struct cql_call *call = client->spare;
    if (call == NULL)
        return mr_new(struct cql_call);
    client->spare = call->next;
    *call = (struct cql_call){0};
    return call;
}

static void turn_end_ask(struct cql_client *client)
{
    mr_loop_at_turn_end(client->loop, &client->turn_end);
}

void cql_client_tell(struct cql_client *client, struct cql_call *call, mr_err err,
                     const struct cql_result *result)
{
    cql_done *done = call->done;
    void *context = call->context;
    client->pending -= (call->flags & CQL_CALL_OWN) == 0;
    client->bytes_pending -= call->length;
    mr_bytes_unref(call->chunk);
    call->next = client->spare;
    client->spare = call;
    if (client->room_wanted)
        turn_end_ask(client);
    done(context, err, err == MR_OK ? result : NULL);
}

static void calls_free(struct cql_call_list *list)
{
    while (list->first != NULL) {
        struct cql_call *call = list->first;
        list->first = call->next;
        mr_bytes_unref(call->chunk);
        mr_free(call);
    }
    list->last = NULL;
}

/* ---- encoding ---- */

/* What is to be encoded. */
struct draft {
    enum cql_opcode opcode;
    int16_t stream;
    mr_str statement, id;
    uint16_t consistency;
    const struct cql_request *request;
    mr_str values; /* encoded already; data NULL: `request` does it */
};

static void values_write(struct mr_buf *out, const struct cql_request *request, mr_str values)
{
    if (values.data != NULL) {
        mr_buf_str(out, values);
        return;
    }
    if (request->encode != NULL) {
        request->encode(request->row, out);
        return;
    }
    for (uint16_t i = 0; i < request->value_count; i++)
        cql_write_value(out, request->values[i]);
}

/* Query parameters (section 4.1.4), in the order of their flags. */
static void parameters_write(struct mr_buf *out, const struct draft *draft)
{
    const struct cql_request *request = draft->request;
    unsigned flags = (request->value_count > 0 ? CQL_QUERY_VALUES : 0) |
                     (request->page_size > 0 ? CQL_QUERY_PAGE_SIZE : 0) |
                     (request->paging_state.data != NULL ? CQL_QUERY_PAGING_STATE : 0) |
                     ((request->flags & CQL_TIMESTAMP) != 0 ? CQL_QUERY_TIMESTAMP : 0);
    mr_buf_be16(out, draft->consistency);
    mr_buf_u8(out, (uint8_t)flags);
    if (request->value_count > 0) {
        mr_buf_be16(out, request->value_count);
        values_write(out, request, draft->values);
    }
    if (request->page_size > 0)
        mr_buf_be32(out, (uint32_t)request->page_size);
    if (request->paging_state.data != NULL)
        cql_write_value(out, request->paging_state);
    if ((request->flags & CQL_TIMESTAMP) != 0)
        mr_buf_be64(out, (uint64_t)request->timestamp_us);
}

static void draft_write(struct mr_buf *out, const struct draft *draft)
{
    size_t begin = cql_frame_begin(out, CQL_VERSION, 0, draft->stream, draft->opcode);
    if (draft->opcode == CQL_OPCODE_REGISTER) {
        mr_buf_be16(out, 2);
        cql_write_string(out, MR_STR("TOPOLOGY_CHANGE"));
        cql_write_string(out, MR_STR("STATUS_CHANGE"));
    } else if (draft->opcode == CQL_OPCODE_EXECUTE) {
        cql_write_short_bytes(out, draft->id);
    } else {
        cql_write_long_string(out, draft->statement);
    }
    if (draft->opcode == CQL_OPCODE_EXECUTE || draft->opcode == CQL_OPCODE_QUERY)
        parameters_write(out, draft);
    cql_frame_end(out, begin);
}

static void chunk_renew(struct cql_chunk_end *end, struct cql_link *link, size_t bytes)
{
    if (link != NULL)
        cql_framing_flush(link);
    mr_bytes_unref(end->chunk);
    end->chunk = mr_bytes_new(bytes > CHUNK_BYTES ? bytes : CHUNK_BYTES);
    end->at = end->sent = 0;
}

/* Encodes at the open end, in a larger chunk when this one has not enough room. */
static mr_err draft_place(struct cql_chunk_end *end, struct cql_link *link,
                          const struct draft *draft, struct cql_call *call)
{
    size_t wish = CHUNK_BYTES;
    for (;;) {
        size_t room = end->chunk == NULL ? 0 : end->chunk->capacity - end->at;
        if (room > 64) { /* the buffer never moves: its capacity is its limit */
            struct mr_buf out = {end->chunk->data + end->at, 0, room, room, MR_OK};
            draft_write(&out, draft);
            if (out.err == MR_OK) {
                call->chunk = mr_bytes_ref(end->chunk);
                call->offset = end->at;
                call->length = out.length;
                end->at += out.length;
                return MR_OK;
            }
            if (out.err != MR_LIMIT) /* the encoder's own */
                return out.err;
            if (room >= MR_LIMIT_FRAME_BYTES)
                return mr_fail(MR_LIMIT, "a CQL request: at most %d bytes", MR_LIMIT_FRAME_BYTES);
            if (end->at == 0)
                wish = room * 4;
        }
        chunk_renew(end, link, wish);
    }
}

/* Copies an encoded call to a link's open end, with its stream and the statement's present id. */
static void call_copy(struct cql_link *link, struct cql_call *call)
{
    const uint8_t *from = call->chunk->data + call->offset;
    size_t old_length = call->length, skip = 0;
    mr_str id = MR_STR_NULL;
    if (call->opcode == CQL_OPCODE_EXECUTE) {
        id = call->prepared->id;
        skip = 2 + ((size_t)from[BODY_AT] << 8 | from[BODY_AT + 1]);
    }
    size_t prefix = call->opcode == CQL_OPCODE_EXECUTE ? 2 + id.length : 0;
    size_t length = old_length - skip + prefix;
    if (link->out.chunk == NULL || link->out.chunk->capacity - link->out.at < length)
        chunk_renew(&link->out, link, length);
    struct mr_buf out = {link->out.chunk->data + link->out.at, 0, length, length, MR_OK};
    size_t begin = cql_frame_begin(&out, CQL_VERSION, 0, call->stream, call->opcode);
    if (prefix > 0)
        cql_write_short_bytes(&out, id);
    mr_buf_add(&out, from + BODY_AT + skip, old_length - BODY_AT - skip);
    cql_frame_end(&out, begin);
    mr_assert(out.err == MR_OK && out.length == length);
    struct mr_bytes *old = call->chunk;
    call->chunk = mr_bytes_ref(link->out.chunk);
    call->offset = link->out.at;
    call->length = length;
    link->client->bytes_pending += length - old_length;
    link->out.at += length;
    mr_bytes_unref(old);
}

/* ---- sending ---- */

/* Takes the stream on which the call's answer will come. */
static void call_sent(struct cql_link *link, struct cql_call *call, int16_t stream)
{
    struct cql_client *client = link->client;
    call->stream = stream;
    call->since_us = mr_loop_now_us(client->loop);
    link->streams[stream] = call;
    list_add(&link->sent, call);
    link->node->under_way++;
    client->under_way++;
    turn_end_ask(client);
    if (client->sweep.loop == NULL)
        mr_timer_start(client->loop, &client->sweep, SWEEP_US);
}

/* The call is no longer under way: it was answered, or is given up. */
static void sent_remove(struct cql_link *link, struct cql_call_list *sent, struct cql_call *call)
{
    list_remove(sent, call);
    mr_assert(link->node->under_way > 0);
    link->node->under_way--;
    link->client->under_way--;
}

static int16_t stream_take(struct cql_link *link)
{
    mr_assert(link->free_count > 0);
    return link->free_streams[--link->free_count];
}

static void call_wait(struct cql_client *client, struct cql_call *call)
{
    call->since_us = mr_loop_now_us(client->loop);
    list_add(&client->waiting, call);
    if (client->sweep.loop == NULL)
        mr_timer_start(client->loop, &client->sweep, SWEEP_US);
}

void cql_client_pump(struct cql_client *client)
{
    while (client->waiting.first != NULL) {
        struct cql_call *call = client->waiting.first;
        struct cql_link *link = call->wish;
        if (link == NULL || link->state != CQL_LINK_OPEN || link->free_count == 0)
            link = cql_topology_pick(client, call);
        if (link == NULL)
            return;
        list_remove(&client->waiting, call);
        call->stream = stream_take(link);
        call_copy(link, call);
        call_sent(link, call, call->stream);
    }
}

/* A draft that could not be encoded is told at the turn's end, never from inside the call. */
struct cql_refusal {
    struct cql_refusal *next;
    mr_err err;
    char *why;
    cql_done *done;
    void *context;
};

static void refusal_free(struct cql_refusal *refusal)
{
    mr_free(refusal->why);
    mr_free(refusal);
}

static void refuse(struct cql_client *client, mr_err err, cql_done *done, void *context)
{
    struct cql_refusal *refusal = mr_new(struct cql_refusal);
    *refusal = (struct cql_refusal){client->refusals, err, mr_copy_cstr(mr_str_from(mr_why())),
                                    done, context};
    client->refusals = refusal;
    turn_end_ask(client);
}

static void refusals_tell(struct cql_client *client)
{
    while (client->refusals != NULL) {
        struct cql_refusal *refusal = client->refusals;
        client->refusals = refusal->next;
        mr_fail(refusal->err, "%s", refusal->why);
        refusal->done(refusal->context, refusal->err, NULL);
        refusal_free(refusal);
    }
}

/* Where the cluster has a ring, values are encoded before the link is known that their token chooses. */
static mr_err route(struct cql_client *client, struct draft *draft, struct cql_call *call)
{
    struct mr_buf *values = &client->scratch;
    values->length = 0;
    if (client->topology.cluster.ring.count == 0 || draft->opcode != CQL_OPCODE_EXECUTE ||
        draft->request->value_count == 0)
        return MR_OK;
    values->limit = MR_LIMIT_FRAME_BYTES;
    values_write(values, draft->request, MR_STR_NULL);
    mr_err err = values->err;
    if (err != MR_OK) {
        mr_buf_fini(values);
        *values = (struct mr_buf){0};
        return err;
    }
    draft->values = mr_buf_as_str(values);
    if (cql_topology_token(call->prepared, draft->values, &client->key, &call->token))
        call->flags |= CQL_CALL_ROUTED;
    return MR_OK;
}

static void submit(struct cql_client *client, struct draft *draft, struct cql_prepared *prepared,
                   struct cql_link *wish, unsigned flags, cql_done *done, void *context)
{
    static const struct cql_request none = {.flags = 0};
    struct cql_call *call = call_new(client);
    struct cql_link *link = NULL;
    draft->request = draft->request == NULL ? &none : draft->request;
    draft->consistency = (uint16_t)client->options.consistency;
    call->done = done;
    call->context = context;
    call->prepared = prepared;
    call->wish = wish;
    call->flags = draft->request->flags | flags;
    call->opcode = draft->opcode;
    mr_err err = route(client, draft, call);
    if (wish != NULL)
        link = wish->state == CQL_LINK_OPEN && wish->free_count > 0 ? wish : NULL;
    else if (client->waiting.first == NULL)
        link = cql_topology_pick(client, call);
    draft->stream = link == NULL ? 0 : stream_take(link);
    if (err == MR_OK)
        err = draft_place(link == NULL ? &client->waiting_end : &link->out, link, draft, call);
    if (err != MR_OK) {
        if (link != NULL)
            link->free_streams[link->free_count++] = draft->stream;
        mr_free(call);
        refuse(client, err, done, context);
        return;
    }
    client->pending += (call->flags & CQL_CALL_OWN) == 0;
    client->bytes_pending += call->length;
    if (link != NULL)
        call_sent(link, call, draft->stream);
    else
        call_wait(client, call);
}

void cql_client_ask(struct cql_link *link, enum cql_opcode opcode, mr_str statement, cql_done *done,
                    void *context)
{
    struct draft draft = {.opcode = opcode, .statement = statement};
    submit(link->client, &draft, NULL, link, CQL_CALL_OWN, done, context);
}

/* ---- trouble ---- */

static void rest_over(struct mr_timer *timer)
{
    struct cql_client *client = mr_container(timer, struct cql_client, rest);
    while (client->resting.first != NULL) {
        struct cql_call *call = client->resting.first;
        list_remove(&client->resting, call);
        call_wait(client, call);
    }
    cql_client_pump(client);
}

/* A call that failed by itself: later again, on another node where there is one, or told. What may not be
 * done twice is moved once when nothing was done. The sentence is mr_why()'s. */
static void call_failed(struct cql_client *client, struct cql_call *call, mr_err err,
                        bool untouched)
{
    bool again = (call->flags & CQL_RETRY) != 0 && mr_err_retriable(err);
    if (!again && untouched && client->nodes.count > 1 && (call->flags & CQL_CALL_MOVED) == 0) {
        call->flags |= CQL_CALL_MOVED;
        again = true;
    }
    if (!again) {
        cql_client_tell(client, call, err, NULL);
        return;
    }
    call->tries++;
    list_add(&client->resting, call);
    if (client->rest.loop == NULL) {
        mr_timer_start(client->loop, &client->rest, client->rest_ms * 1000);
        client->rest_ms = client->rest_ms * 2 > REST_MS_MAX ? REST_MS_MAX : client->rest_ms * 2;
    }
}

static void failure_keep(struct cql_client *client, mr_err err)
{
    mr_free(client->last_why);
    client->last_err = err;
    client->last_why = mr_copy_cstr(mr_str_from(mr_why()));
}

const struct net_address *cql_client_link_address(const struct cql_link *link)
{
    return link->node->address.host[0] != '\0' ? &link->node->address
                                               : &link->client->addresses[link->address_at];
}

/* Gives up what has waited too long for its answer. */
static void link_sweep(struct cql_link *link, int64_t now_us, int64_t timeout_us)
{
    struct cql_client *client = link->client;
    while (link->state == CQL_LINK_OPEN && link->sent.first != NULL &&
           now_us - link->sent.first->since_us > timeout_us) {
        struct cql_call *call = link->sent.first;
        if (now_us - link->heard_us > timeout_us) { /* it says nothing at all */
            net_abort(link->conn);
            return;
        }
        sent_remove(link, &link->sent, call);
        link->streams[call->stream] = &client->orphan; /* its answer may still come */
        cql_topology_overwhelmed(link->node, now_us);
        call_failed(client, call,
                    mr_fail(MR_TIMEOUT, "no answer from %s:%u in %lld ms",
                            cql_client_link_address(link)->host,
                            cql_client_link_address(link)->port, (long long)timeout_us / 1000),
                    false);
    }
}

/* The contact links' node, then those of the cluster. */
static struct cql_node *node_at(struct cql_client *client, size_t n)
{
    return n == 0 ? &client->contact : client->nodes.items[n - 1];
}

static void sweep_due(struct mr_timer *timer)
{
    struct cql_client *client = mr_container(timer, struct cql_client, sweep);
    int64_t now_us = mr_loop_now_us(client->loop), timeout_us = client->options.timeout_ms * 1000;
    for (size_t n = 0; n <= client->nodes.count; n++)
        for (size_t i = 0; i < node_at(client, n)->link_count; i++)
            link_sweep(node_at(client, n)->links[i], now_us, timeout_us);
    for (struct cql_call *call = client->waiting.first, *next; call != NULL; call = next) {
        next = call->next;
        if ((call->flags & CQL_RETRY) != 0 || now_us - call->since_us <= timeout_us)
            continue;
        list_remove(&client->waiting, call);
        if (client->last_err == MR_OK)
            mr_fail(MR_TIMEOUT, "the CQL server at %s:%u did not become ready",
                    client->addresses[0].host, client->addresses[0].port);
        else
            mr_fail(client->last_err, "%s", client->last_why);
        cql_client_tell(client, call, client->last_err == MR_OK ? MR_TIMEOUT : client->last_err,
                        NULL);
        next = client->waiting.first; /* whoever was told may have asked for more */
    }
    if (client->pending + client->under_way > 0 && client->sweep.loop == NULL)
        mr_timer_start(client->loop, &client->sweep, SWEEP_US);
}

static const struct {
    enum cql_error code;
    mr_err err;
} error_rows[] = {
    {CQL_ERROR_SERVER, MR_IO},
    {CQL_ERROR_PROTOCOL, MR_UNSUPPORTED},
    {CQL_ERROR_BAD_CREDENTIALS, MR_AUTH},
    {CQL_ERROR_UNAVAILABLE, MR_UNREACHABLE},
    {CQL_ERROR_OVERLOADED, MR_AGAIN},
    {CQL_ERROR_IS_BOOTSTRAPPING, MR_UNREACHABLE},
    {CQL_ERROR_TRUNCATE, MR_IO},
    {CQL_ERROR_WRITE_TIMEOUT, MR_TIMEOUT},
    {CQL_ERROR_READ_TIMEOUT, MR_TIMEOUT},
    {CQL_ERROR_READ_FAILURE, MR_TIMEOUT},
    {CQL_ERROR_WRITE_FAILURE, MR_TIMEOUT},
    {CQL_ERROR_FUNCTION_FAILURE, MR_INVALID},
    {CQL_ERROR_SYNTAX, MR_INVALID},
    {CQL_ERROR_UNAUTHORIZED, MR_DENIED},
    {CQL_ERROR_INVALID, MR_INVALID},
    {CQL_ERROR_CONFIG, MR_INVALID},
    {CQL_ERROR_ALREADY_EXISTS, MR_EXISTS},
    {CQL_ERROR_UNPREPARED, MR_AGAIN},
};

/* An ERROR body as our error, with its sentence. */
static mr_err error_of(const struct cql_link *link, unsigned code, mr_str text)
{
    const struct net_address *address = cql_client_link_address(link);
    mr_err err = MR_IO;
    for (size_t i = 0; i < mr_count_of(error_rows); i++)
        if (error_rows[i].code == (enum cql_error)code)
            err = error_rows[i].err;
    return mr_fail(err, "the CQL server at %s:%u: %s: %.*s", address->host, address->port,
                   cql_error_text(code), MR_STR_ARG(text));
}

/* ---- prepared statements ---- */

static bool same_types(const struct cql_metadata *a, const struct cql_metadata *b)
{
    if (a->column_count != b->column_count)
        return false;
    for (uint32_t i = 0; i < a->column_count; i++)
        if (!cql_type_equal(a->columns[i].type, b->columns[i].type))
            return false;
    return true;
}

/* The end of a PREPARE: all who waited for it go on, or fail. */
static void prepared_told(struct cql_prepared *prepared, mr_err err)
{
    struct cql_client *client = prepared->client;
    struct cql_call_list waiting = prepared->waiting;
    struct mr_buf why = {0};
    mr_buf_cstr(&why, err == MR_OK ? "" : mr_why());
    char *text = mr_buf_take_cstr(&why);
    prepared->asking = false;
    prepared->waiting = (struct cql_call_list){NULL, NULL};
    while (waiting.first != NULL) {
        struct cql_call *call = waiting.first;
        list_remove(&waiting, call);
        if (err == MR_OK) {
            call_wait(client, call);
            continue;
        }
        mr_fail(err, "%s", text);
        cql_client_tell(client, call, err, NULL);
    }
    while (prepared->prepare_waits.count > 0) {
        struct cql_prepare_wait wait = prepared->prepare_waits.items[0];
        prepared->prepare_waits.count--;
        memmove(prepared->prepare_waits.items, prepared->prepare_waits.items + 1,
                prepared->prepare_waits.count * sizeof wait);
        if (err != MR_OK)
            mr_fail(err, "%s", text);
        wait.done(wait.context, err, err == MR_OK ? prepared : NULL);
    }
    mr_free(text);
    cql_client_pump(client);
}

/* A PREPARED body, after its kind (section 4.2.5.4); version 5's has another id. */
static mr_err prepared_read(struct cql_prepared *prepared, struct mr_in *in, bool segmented)
{
    struct cql_metadata variables, columns;
    mr_str id = cql_read_short_bytes(in);
    mr_str columns_id = segmented ? cql_read_short_bytes(in) : MR_STR_NULL;
    mr_arena_reset(&prepared->client->arena);
    cql_metadata_read(in, &prepared->client->arena, true, &variables);
    cql_metadata_read(in, &prepared->client->arena, false, &columns);
    if (in->err != MR_OK || id.length == 0 ||
        (variables.column_count > 0 && variables.columns == NULL)) /* it says: without metadata */
        return mr_fail(MR_CORRUPT, "the CQL server's answer to PREPARE does not read");
    if (prepared->id.length > 0 && !same_types(&prepared->variables, &variables))
        return mr_fail(MR_CONFLICT, "the columns of \"%.*s\" have changed meanwhile",
                       MR_STR_ARG(prepared->statement));
    if (prepared->id.length == 0) {
        prepared->variables = variables;
        struct cql_column *copies = mr_arena_array(&prepared->arena, struct cql_column,
                                                   variables.column_count);
        for (uint32_t i = 0; i < variables.column_count; i++) {
            const struct cql_column *from = &variables.columns[i];
            copies[i] = (struct cql_column){mr_arena_str(&prepared->arena, from->keyspace),
                                            mr_arena_str(&prepared->arena, from->table),
                                            mr_arena_str(&prepared->arena, from->name),
                                            cql_type_copy(&prepared->arena, from->type)};
        }
        prepared->variables.columns = copies;
        prepared->variables.paging_state = CQL_VALUE_NULL;
        uint16_t *keys = mr_arena_array(&prepared->arena, uint16_t, variables.key_count);
        for (uint16_t i = 0; i < variables.key_count; i++)
            keys[i] = variables.key_indices[i];
        prepared->variables.key_indices = keys;
    }
    if (!mr_str_equal(prepared->id, id))
        prepared->id = mr_arena_str(&prepared->arena, id);
    if (columns_id.length > 0 && !mr_str_equal(prepared->columns_id, columns_id))
        prepared->columns_id = mr_arena_str(&prepared->arena, columns_id);
    return MR_OK;
}

static void prepare_failed(void *context, mr_err err, const struct cql_result *result)
{
    mr_assert(result == NULL); /* success goes another way: see call_result() */
    prepared_told(context, err);
}

static void prepare_ask(struct cql_prepared *prepared, struct cql_link *wish)
{
    static const struct cql_request retried = {.flags = CQL_RETRY};
    if (prepared->asking)
        return;
    prepared->asking = true;
    struct draft draft = {
        .opcode = CQL_OPCODE_PREPARE, .statement = prepared->statement, .request = &retried};
    submit(prepared->client, &draft, prepared, wish, 0, prepare_failed, prepared);
}

/* ---- answers ---- */

/* Takes what stands before a RESULT's or ERROR's own body (section 2.2). */
static void extras_skip(struct mr_in *in, uint8_t flags)
{
    if ((flags & CQL_FRAME_TRACING) != 0)
        mr_in_take(in, 16);
    if ((flags & CQL_FRAME_WARNING) != 0)
        for (unsigned left = mr_in_be16(in); left > 0 && in->err == MR_OK; left--)
            cql_read_string(in);
    if ((flags & CQL_FRAME_CUSTOM_PAYLOAD) != 0)
        for (unsigned left = mr_in_be16(in); left > 0 && in->err == MR_OK; left--) {
            cql_read_string(in);
            cql_read_value(in);
        }
}

static void call_error(struct cql_link *link, struct cql_call *call, struct mr_in *in)
{
    unsigned code = mr_in_be32(in);
    mr_str text = cql_read_string(in);
    if (code == CQL_ERROR_UNPREPARED && call->opcode == CQL_OPCODE_EXECUTE) {
        list_add(&call->prepared->waiting, call);
        prepare_ask(call->prepared, link);
        return;
    }
    if (code == CQL_ERROR_OVERLOADED || code == CQL_ERROR_WRITE_TIMEOUT ||
        code == CQL_ERROR_READ_TIMEOUT)
        cql_topology_overwhelmed(link->node, mr_loop_now_us(link->client->loop));
    call_failed(link->client, call, error_of(link, code, text),
                code == CQL_ERROR_UNAVAILABLE || code == CQL_ERROR_IS_BOOTSTRAPPING);
}

static mr_err call_result(struct cql_link *link, struct cql_call *call, struct mr_in *in)
{
    struct cql_client *client = link->client;
    struct cql_result result = {.kind = (enum cql_result_kind)mr_in_be32(in)};
    client->rest_ms = REST_MS_MIN;
    if (result.kind == CQL_RESULT_ROWS) {
        mr_arena_reset(&client->arena);
        cql_metadata_read(in, &client->arena, false, &result.metadata);
        result.row_count = mr_in_be32(in);
        result.rows = *in;
    }
    if (in->err != MR_OK || (result.metadata.column_count > 0 && result.metadata.columns == NULL) ||
        (result.row_count > 0 &&
         mr_in_left(in) / 4 / result.row_count < result.metadata.column_count)) {
        cql_client_tell(client, call,
                        mr_fail(MR_CORRUPT, "a RESULT of the CQL server does not read"), NULL);
        return MR_CORRUPT;
    }
    if (client->nodes.count > 1 &&
        (result.kind == CQL_RESULT_SCHEMA_CHANGE || (call->flags & CQL_SCHEMA) != 0)) {
        cql_topology_agree(link, call);
        return MR_OK;
    }
    if (call->opcode != CQL_OPCODE_PREPARE) {
        cql_client_tell(client, call, MR_OK, &result);
        return MR_OK;
    }
    struct cql_prepared *prepared = call->prepared;
    mr_err err = result.kind == CQL_RESULT_PREPARED
                     ? prepared_read(prepared, in, link->segmented)
                     : mr_fail(MR_CORRUPT, "the CQL server's answer to PREPARE is of kind %d",
                               (int)result.kind);
    call->done = prepare_failed;
    if (err != MR_OK) {
        cql_client_tell(client, call, err, NULL);
        return MR_OK;
    }
    client->pending--;
    client->bytes_pending -= call->length;
    mr_bytes_unref(call->chunk);
    mr_free(call);
    prepared_told(prepared, MR_OK);
    return MR_OK;
}

static mr_err answer(struct cql_link *link, const struct cql_header *header, struct mr_in *in)
{
    static const struct cql_result ready = {.kind = CQL_RESULT_VOID};
    struct cql_client *client = link->client;
    if (header->stream < 0) {
        if (header->opcode == CQL_OPCODE_EVENT && client->topology.control == link)
            cql_topology_event(link, in);
        return MR_OK;
    }
    struct cql_call *call = header->stream < CQL_STREAMS ? link->streams[header->stream] : NULL;
    if (call == NULL)
        return mr_fail(MR_CORRUPT, "the CQL server answers on stream %d, which nobody uses",
                       header->stream);
    link->streams[header->stream] = NULL;
    link->free_streams[link->free_count++] = header->stream;
    if (call == &client->orphan)
        return MR_OK;
    sent_remove(link, &link->sent, call);
    mr_err err = MR_OK;
    if (header->opcode == CQL_OPCODE_ERROR) {
        call_error(link, call, in);
    } else if (header->opcode == CQL_OPCODE_RESULT) {
        cql_topology_answered(link->node, mr_loop_now_us(client->loop) - call->since_us,
                              mr_loop_now_us(client->loop));
        err = call_result(link, call, in);
    } else if (header->opcode == CQL_OPCODE_READY && call->opcode == CQL_OPCODE_REGISTER) {
        cql_client_tell(client, call, MR_OK, &ready);
    } else {
        cql_client_tell(client, call,
                        mr_fail(MR_CORRUPT, "the CQL server answers a request with %s",
                                cql_opcode_name(header->opcode)),
                        NULL);
    }
    if (client->waiting.first != NULL)
        cql_client_pump(client);
    return err;
}

/* ---- the handshake (section 4.1.1, 4.2) ---- */

static void startup_send(struct cql_link *link)
{
    struct mr_buf *out = net_out(link->conn);
    size_t begin = cql_frame_begin(out, link->node->old ? CQL_VERSION : CQL_VERSION_5, 0, 0,
                                   CQL_OPCODE_STARTUP);
    mr_buf_be16(out, link->client->options.lz4 ? 4 : 3);
    if (link->client->options.lz4) {
        cql_write_string(out, MR_STR("COMPRESSION"));
        cql_write_string(out, MR_STR("lz4"));
    }
    cql_write_string(out, MR_STR("CQL_VERSION"));
    cql_write_string(out, MR_STR("3.0.0"));
    cql_write_string(out, MR_STR("DRIVER_NAME"));
    cql_write_string(out, MR_STR("millrace"));
    cql_write_string(out, MR_STR("DRIVER_VERSION"));
    cql_write_string(out, MR_STR("0"));
    cql_frame_end(out, begin);
}

/* SASL PLAIN: an empty authorization id, user, password (RFC 4616). */
static mr_err credentials_send(struct cql_link *link)
{
    const struct cql_client *client = link->client;
    const struct net_address *address = cql_client_link_address(link);
    struct mr_buf token = {0}, frame = {0};
    if (client->user == NULL)
        return mr_fail(MR_AUTH, "the CQL server at %s:%u asks for a user and a password",
                       address->host, address->port);
    mr_buf_u8(&token, 0);
    mr_buf_cstr(&token, client->user);
    mr_buf_u8(&token, 0);
    mr_buf_cstr(&token, client->password == NULL ? "" : client->password);
    size_t begin = cql_frame_begin(&frame, link->segmented ? CQL_VERSION_5 : CQL_VERSION, 0, 0,
                                   CQL_OPCODE_AUTH_RESPONSE);
    cql_write_value(&frame, cql_value_of(token.data, token.length));
    cql_frame_end(&frame, begin);
    cql_framing_send(link, mr_buf_as_str(&frame));
    mr_buf_fini(&token);
    mr_buf_fini(&frame);
    return MR_OK;
}

static void link_open(struct cql_link *link)
{
    struct cql_client *client = link->client;
    const struct net_address *address = cql_client_link_address(link);
    link->state = CQL_LINK_OPEN;
    link->backoff_ms = CQL_BACKOFF_MS_MIN;
    link->free_count = CQL_STREAMS;
    for (size_t i = 0; i < CQL_STREAMS; i++) /* low numbers first */
        link->free_streams[i] = (int16_t)(CQL_STREAMS - 1 - i);
    if (link->node->complained)
        mr_log(MR_LOG_INFO, "cql", "connected to %s:%u again", address->host, address->port);
    link->node->complained = false;
    cql_topology_opened(link);
    cql_client_pump(client);
}

static mr_err handshake(struct cql_link *link, const struct cql_header *header, struct mr_in *in)
{
    switch ((enum cql_opcode)header->opcode) {
    case CQL_OPCODE_READY:
    case CQL_OPCODE_AUTH_SUCCESS:
        link->segmented = !link->node->old;
        link_open(link);
        return MR_OK;
    case CQL_OPCODE_AUTHENTICATE:
        link->segmented = !link->node->old;
        return credentials_send(link);
    case CQL_OPCODE_ERROR: {
        unsigned code = mr_in_be32(in);
        if (code == CQL_ERROR_PROTOCOL && !link->node->old && !link->segmented) {
            link->node->old = link->stepping_down = true;
            net_abort(link->conn);
            return MR_OK;
        }
        return error_of(link, code, cql_read_string(in));
    }
    case CQL_OPCODE_STARTUP:
    case CQL_OPCODE_OPTIONS:
    case CQL_OPCODE_SUPPORTED:
    case CQL_OPCODE_QUERY:
    case CQL_OPCODE_RESULT:
    case CQL_OPCODE_PREPARE:
    case CQL_OPCODE_EXECUTE:
    case CQL_OPCODE_REGISTER:
    case CQL_OPCODE_EVENT:
    case CQL_OPCODE_BATCH:
    case CQL_OPCODE_AUTH_CHALLENGE:
    case CQL_OPCODE_AUTH_RESPONSE:
        break;
    }
    return mr_fail(MR_UNSUPPORTED, "the CQL server at %s:%u answers STARTUP with %s",
                   cql_client_link_address(link)->host, cql_client_link_address(link)->port,
                   cql_opcode_name(header->opcode));
}

/* ---- connections ---- */

static void link_opened(struct net_conn *conn)
{
    struct cql_link *link = net_context(conn);
    if (link == NULL)
        return;
    link->state = CQL_LINK_STARTING;
    link->heard_us = mr_loop_now_us(link->client->loop);
    mr_timer_start(link->client->loop, &link->timer, link->client->options.timeout_ms * 1000);
    startup_send(link);
}

static mr_err link_frame(struct net_conn *conn, mr_str seen, size_t *total)
{
    const struct cql_link *link = net_context(conn);
    *total = seen.length;
    return link == NULL ? MR_OK : cql_framing_length(link, seen, total);
}

static mr_err link_told(struct cql_link *link, const struct cql_header *header, struct mr_in *body)
{
    extras_skip(body, header->flags);
    return link->state == CQL_LINK_OPEN ? answer(link, header, body)
                                        : handshake(link, header, body);
}

static mr_err link_message(struct net_conn *conn, struct mr_bytes *owner, mr_str message)
{
    struct cql_link *link = net_context(conn);
    mr_assert(owner != NULL);
    if (link == NULL)
        return MR_OK;
    link->heard_us = mr_loop_now_us(link->client->loop);
    return cql_framing_message(conn, link, message, link_told);
}

static void link_rest(struct cql_link *link)
{
    struct cql_client *client = link->client;
    int64_t jitter_us = (int64_t)mr_random_below(mr_loop_random(client->loop),
                                                 (uint64_t)link->backoff_ms * 500);
    link->state = CQL_LINK_RESTING;
    link->address_at = (link->address_at + 1) % client->address_count;
    mr_timer_start(client->loop, &link->timer, link->backoff_ms * 1000 - jitter_us);
    link->backoff_ms = link->backoff_ms * 2 > CQL_BACKOFF_MS_MAX ? CQL_BACKOFF_MS_MAX
                                                                 : link->backoff_ms * 2;
}

/* What was under way on a link that has ended waits for another, or is told. */
static void lost_end(struct cql_client *client, struct cql_link *link, struct cql_call_list lost)
{
    while (lost.first != NULL) {
        struct cql_call *call = lost.first;
        sent_remove(link, &lost, call);
        if ((call->flags & CQL_RETRY) != 0) {
            call->tries++;
            call_wait(client, call);
            continue;
        }
        mr_fail(MR_CLOSED, "%s", client->last_why);
        cql_client_tell(client, call, MR_CLOSED, NULL);
    }
}

static void link_closed(struct net_conn *conn, mr_err why)
{
    struct cql_link *link = net_context(conn);
    if (link == NULL)
        return; /* the link has been freed */
    struct cql_client *client = link->client;
    struct cql_call_list lost = link->sent;
    link->segmented = false;
    mr_buf_clear(&link->partial);
    if (link->stepping_down) {
        link->stepping_down = false;
        link->conn = NULL;
        link->state = CQL_LINK_RESTING;
        mr_timer_start(client->loop, &link->timer, 0);
        return;
    }
    if (why == MR_CANCELLED)
        why = mr_fail(MR_TIMEOUT, "no answer from %s:%u in %lld ms",
                      cql_client_link_address(link)->host, cql_client_link_address(link)->port,
                      (long long)client->options.timeout_ms);
    failure_keep(client, why);
    if (!link->node->complained)
        mr_log(MR_LOG_WARN, "cql", "%s", mr_why());
    link->node->complained = true;
    link->conn = NULL;
    link->sent = (struct cql_call_list){NULL, NULL};
    link->out.sent = link->out.at;
    memset(link->streams, 0, sizeof link->streams);
    link_rest(link);
    cql_topology_closed(link);
    lost_end(client, link, lost);
    cql_client_pump(client);
}

static const struct net_handler link_handler = {link_opened, link_frame, link_message, net_nothing,
                                                link_closed};

/* Resting is over, or the handshake takes too long. */
static void link_due(struct mr_timer *timer)
{
    struct cql_link *link = mr_container(timer, struct cql_link, timer);
    struct cql_client *client = link->client;
    const struct net_address *address = cql_client_link_address(link);
    if (link->state == CQL_LINK_OPEN)
        return;
    if (link->conn != NULL) {
        net_abort(link->conn);
        return;
    }
    link->state = CQL_LINK_CONNECTING;
    mr_err err = client->tls == NULL
                     ? net_connect(client->loop, address->host, address->port, &link_handler, link,
                                   &link->conn)
                     : net_connect_tls(client->loop, address->host, address->port, client->tls,
                                       NULL, &link_handler, link, &link->conn);
    if (err != MR_OK) {
        failure_keep(client, err);
        link_rest(link);
    }
}

void cql_client_links_new(struct cql_client *client, struct cql_node *node, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct cql_link *link = node->links[i] = mr_new(struct cql_link);
        link->client = client;
        link->node = node;
        link->timer.run = link_due;
        link->backoff_ms = CQL_BACKOFF_MS_MIN;
        link->address_at = i % client->address_count;
        mr_timer_start(client->loop, &link->timer, 0);
    }
    node->link_count = count;
}

/* Nobody waits for this link any more. */
static void wishes_forget(struct cql_call_list *list, const struct cql_link *link)
{
    for (struct cql_call *call = list->first; call != NULL; call = call->next)
        if (call->wish == link)
            call->wish = NULL;
}

void cql_client_links_free(struct cql_node *node)
{
    for (size_t i = 0; i < node->link_count; i++) {
        struct cql_link *link = node->links[i];
        struct cql_client *client = link->client;
        struct cql_call_list lost = link->sent;
        mr_timer_stop(&link->timer);
        if (link->conn != NULL) { /* its `closed` comes later, and finds nobody */
            net_context_set(link->conn, NULL);
            net_abort(link->conn);
        }
        link->state = CQL_LINK_RESTING;
        wishes_forget(&client->waiting, link);
        wishes_forget(&client->resting, link);
        cql_topology_closed(link);
        failure_keep(client, mr_fail(MR_CLOSED, "the node %s:%u has left the cluster",
                                     node->address.host, node->address.port));
        lost_end(client, link, lost);
        mr_bytes_unref(link->out.chunk);
        mr_buf_fini(&link->partial);
        mr_free(link);
    }
    node->link_count = 0;
}

/* ---- what the world sees ---- */

void cql_client_query(struct cql_client *client, mr_str statement,
                      const struct cql_request *request, cql_done *done, void *context)
{
    struct draft draft = {.opcode = CQL_OPCODE_QUERY, .statement = statement, .request = request};
    submit(client, &draft, NULL, NULL, 0, done, context);
}

void cql_client_execute(struct cql_client *client, struct cql_prepared *prepared,
                        const struct cql_request *request, cql_done *done, void *context)
{
    mr_assert(prepared->client == client && prepared->id.length > 0);
    struct draft draft = {.opcode = CQL_OPCODE_EXECUTE, .id = prepared->id, .request = request};
    submit(client, &draft, prepared, NULL, 0, done, context);
}

static void client_turn_end(struct mr_task *task)
{
    struct cql_client *client = mr_container(task, struct cql_client, turn_end);
    struct mr_map_entry *entry;
    refusals_tell(client);
    if (client->prepared_waits) {
        client->prepared_waits = false;
        for (size_t i = 0; (entry = mr_map_next(&client->prepared, &i)) != NULL;) {
            struct cql_prepared *prepared = entry->value;
            if (prepared->id.length > 0 && !prepared->asking)
                prepared_told(prepared, MR_OK);
        }
    }
    if (client->cluster_waits) {
        client->cluster_waits = false;
        cql_topology_tell(client);
    }
    for (size_t n = 0; n <= client->nodes.count; n++)
        for (size_t i = 0; i < node_at(client, n)->link_count; i++)
            cql_framing_flush(node_at(client, n)->links[i]);
    if (client->room_wanted && client->bytes_pending <= client->options.bytes_max / 2) {
        client->room_wanted = false;
        if (client->options.room != NULL)
            client->options.room(client->options.context);
    }
}

void cql_client_prepare(struct cql_client *client, mr_str statement, cql_prepare_done *done,
                        void *context)
{
    struct cql_prepared *prepared = mr_map_get(&client->prepared, statement);
    if (prepared == NULL) {
        prepared = mr_new(struct cql_prepared);
        prepared->client = client;
        prepared->statement = mr_arena_str(&prepared->arena, statement);
        mr_map_put(&client->prepared, statement, prepared);
    }
    *mr_array_add(&prepared->prepare_waits) = (struct cql_prepare_wait){done, context};
    if (prepared->id.length > 0) {
        client->prepared_waits = true;
        turn_end_ask(client);
    } else {
        prepare_ask(prepared, NULL);
    }
}

const struct cql_metadata *cql_client_variables(const struct cql_prepared *prepared)
{
    return &prepared->variables;
}

bool cql_client_connected(const struct cql_client *client, mr_err *err)
{
    for (size_t n = 0; n <= client->nodes.count; n++) {
        const struct cql_node *node = n == 0 ? &client->contact : client->nodes.items[n - 1];
        for (size_t i = 0; i < node->link_count; i++)
            if (node->links[i]->state == CQL_LINK_OPEN)
                return true;
    }
    if (err != NULL)
        *err = client->last_err == MR_OK
                   ? mr_fail(MR_AGAIN, "connecting to %s:%u", client->addresses[0].host,
                             client->addresses[0].port)
                   : mr_fail(client->last_err, "%s", client->last_why);
    return false;
}

bool cql_client_room(struct cql_client *client)
{
    if (client->bytes_pending < client->options.bytes_max)
        return true;
    client->room_wanted = true;
    return false;
}

size_t cql_client_pending(const struct cql_client *client)
{
    return client->pending;
}

void cql_client_group_done(void *context, mr_err err, const struct cql_result *result)
{
    struct cql_group *group = context;
    mr_assert(group->pending > 0 && (err == MR_OK) == (result != NULL));
    if (err != MR_OK && group->err == MR_OK) {
        group->err = err;
        group->why = mr_copy_cstr(mr_str_from(mr_why()));
    }
    if (--group->pending == 0)
        group->done(group);
}

static mr_err addresses_read(struct cql_client *client, const char *text)
{
    mr_str rest = mr_str_from(text), part;
    while (mr_str_split(&rest, ',', &part)) {
        if (client->address_count == CQL_LINKS_MAX)
            return mr_fail(MR_INVALID, "%s: at most %d addresses", text, CQL_LINKS_MAX);
        mr_err err = net_address_parse(mr_str_trim(part), PORT,
                                       &client->addresses[client->address_count]);
        if (err != MR_OK)
            return err;
        client->address_count++;
    }
    return client->address_count > 0
               ? MR_OK
               : mr_fail(MR_INVALID, "the address of a CQL server is missing");
}

mr_err cql_client_new(struct mr_loop *loop, const struct cql_client_options *options,
                      struct cql_client **out)
{
    struct cql_client *client = mr_new(struct cql_client);
    mr_err err = addresses_read(client, options->addresses);
    if (err == MR_OK && options->tls != NULL)
        err = net_tls_client_new(options->tls, &client->tls);
    if (err != MR_OK) {
        mr_free(client);
        return err;
    }
    client->loop = loop;
    client->options = *options;
    client->options.addresses = NULL;
    client->options.tls = NULL;
    if (client->options.consistency == CQL_CONSISTENCY_ANY)
        client->options.consistency = CQL_CONSISTENCY_LOCAL_QUORUM;
    if (client->options.bytes_max == 0)
        client->options.bytes_max = BYTES_MAX;
    if (client->options.timeout_ms == 0)
        client->options.timeout_ms = TIMEOUT_MS;
    if (options->user != NULL)
        client->user = mr_copy_cstr(mr_str_from(options->user));
    if (options->password != NULL)
        client->password = mr_copy_cstr(mr_str_from(options->password));
    client->sweep.run = sweep_due;
    client->rest.run = rest_over;
    client->rest_ms = REST_MS_MIN;
    client->turn_end.run = client_turn_end;
    client->contact.window = CQL_WINDOW_FIRST;
    client->contact.slow_start = CQL_STREAMS * CQL_LINKS_MAX;
    cql_cluster_init(&client->topology.cluster);
    cql_cluster_init(&client->topology.news);
    int count = options->connection_count == 0 ? LINKS : options->connection_count;
    mr_assert(count > 0 && count <= CQL_LINKS_MAX);
    cql_client_links_new(client, &client->contact, (size_t)count);
    *out = client;
    return MR_OK;
}

static void prepared_free(struct cql_prepared *prepared)
{
    calls_free(&prepared->waiting);
    mr_array_fini(&prepared->prepare_waits);
    mr_arena_fini(&prepared->arena);
    mr_free(prepared);
}

static void client_gone(struct mr_task *task)
{
    mr_free(mr_container(task, struct cql_client, turn_end));
}

void cql_client_free(struct cql_client *client)
{
    struct mr_map_entry *entry;
    if (client == NULL)
        return;
    for (size_t n = 0; n <= client->nodes.count; n++)
        for (size_t i = 0; i < node_at(client, n)->link_count; i++)
            calls_free(&node_at(client, n)->links[i]->sent);
    client->freed = true;
    cql_topology_fini(client);
    cql_client_links_free(&client->contact);
    for (size_t i = 0; (entry = mr_map_next(&client->prepared, &i)) != NULL;)
        prepared_free(entry->value);
    mr_map_fini(&client->prepared);
    calls_free(&client->waiting);
    calls_free(&client->resting);
    for (struct cql_call *call = client->spare, *next; call != NULL; call = next) {
        next = call->next;
        mr_free(call);
    }
    while (client->refusals != NULL) {
        struct cql_refusal *refusal = client->refusals;
        client->refusals = refusal->next;
        refusal_free(refusal);
    }
    mr_timer_stop(&client->sweep);
    mr_timer_stop(&client->rest);
    mr_bytes_unref(client->waiting_end.chunk);
    mr_arena_fini(&client->arena);
    mr_buf_fini(&client->plain);
    mr_buf_fini(&client->frames);
    mr_buf_fini(&client->scratch);
    mr_buf_fini(&client->key);
    net_tls_free(client->tls);
    mr_free(client->last_why);
    mr_free(client->user);
    mr_free(client->password);
    client->turn_end.run = client_gone; /* it may be queued; nobody else has the client any more */
    turn_end_ask(client);
}
