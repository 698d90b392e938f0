/* schemas/client.c: questions to a registry, its answers kept.
 *
 * A call is one exchange with the registry and all requests that wait for its answer:
 *
 *    ask() -> send() -> answered() -> [ask for references, one after the other] -> finish() -> deliver()
 *               ^___ next address ___|
 *
 * Requests are answered from a task of the loop, never inside the asking call. */
#include "schemas/schemas.h"

#include "http/http.h"
#include "json/json.h"

#include <stdio.h>

enum { ADDRESSES_MAX = 16, REFERENCES_MAX = 256, TIMEOUT_MS = 10000 };
enum question { QUESTION_GET, QUESTION_REGISTER, QUESTION_LATEST, QUESTION_CHECK };

/* A schema that another one names. A child always stands behind each of its parents. */
struct reference {
    mr_str subject, text;
    int64_t version;
};
struct call {
    struct schemas_client *client;
    struct call *next;
    enum question question;
    int32_t id;                /* GET */
    mr_str method, path, body; /* relative to an address */
    uint32_t address, tried;
    struct http_call *http;
    struct schemas_request *waiting, **last;
    struct mr_arena arena;
    /* the answer, while its references are fetched */
    mr_str type, text;
    int32_t version;
    MR_ARRAY(struct reference) references;
    size_t fetched;
};
struct schemas_client {
    struct mr_loop *loop;
    struct http_client *http;
    struct mr_arena arena; /* addresses, what the answers keep */
    struct schemas_client_options options;
    mr_str addresses[ADDRESSES_MAX], shown[ADDRESSES_MAX]; /* shown: without a password */
    uint32_t address_count, address;                       /* the one that answered last */
    struct call *calls;
    struct schemas_schema **slots; /* by id, open addressing */
    size_t slot_count, schema_count;
    struct schemas_request *ready, **ready_last;
    struct mr_task deliver;
    bool closed;
};

/* ---- known schemas ---- */
static struct schemas_schema **slot(const struct schemas_client *client, int32_t id)
{
    size_t at = (size_t)mr_hash_u64((uint32_t)id);

    while (client->slots[at & (client->slot_count - 1)] != NULL &&
           client->slots[at & (client->slot_count - 1)]->id != id)
        at++;
    return &client->slots[at & (client->slot_count - 1)];
}

const struct schemas_schema *schemas_client_known(const struct schemas_client *client, int32_t id)
{
    return *slot(client, id);
}

static void grow(struct schemas_client *client)
{
    struct schemas_schema **old = client->slots;
    size_t count = client->slot_count;

    client->slot_count = count * 2;
    client->slots = mr_new_array(struct schemas_schema *, client->slot_count);
    for (size_t i = 0; i < count; i++) {
        if (old[i] != NULL)
            *slot(client, old[i]->id) = old[i];
    }
    mr_free(old);
}

/* Keeps a schema; `references` as avro_schema_parse() wants them. An Avro text that does not parse is
 * kept without its parsed form: its users say so. */
static const struct schemas_schema *keep(struct schemas_client *client, int32_t id, mr_str type,
                                         mr_str text, const mr_str *references, size_t count)
{
    struct schemas_schema **place = slot(client, id);
    struct avro_schema *avro = NULL;

    if (*place != NULL)
        return *place;
    struct schemas_schema *schema = mr_arena_new(&client->arena, struct schemas_schema);
    schema->id = id;
    schema->type = mr_arena_str(&client->arena, type);
    schema->text = mr_arena_str(&client->arena, text);
    if (mr_str_equal(type, MR_STR("AVRO")) &&
        avro_schema_parse(text, references, count, &avro) == MR_OK)
        schema->avro = avro;
    *place = schema;
    if (++client->schema_count * 2 > client->slot_count)
        grow(client);
    return schema;
}

/* ---- answering ---- */
static void deliver(struct mr_task *task)
{
    struct schemas_client *client = mr_container(task, struct schemas_client, deliver);
    size_t count = 0;

    if (client->closed) {
        mr_free(client);
        return;
    }
    for (struct schemas_request *request = client->ready; request != NULL; request = request->next)
        count++;
    /* One at a time from the front: each may cancel another, or ask again. */
    while (count-- > 0 && client->ready != NULL) {
        struct schemas_request *request = client->ready;
        client->ready = request->next;
        if (client->ready == NULL)
            client->ready_last = &client->ready;
        request->client = NULL;
        request->next = NULL;
        request->done(request);
    }
    if (client->ready != NULL && !client->deliver.queued)
        mr_loop_post(client->loop, &client->deliver);
}

static void answer(struct schemas_client *client, struct schemas_request *request, mr_err err,
                   const struct schemas_schema *schema)
{
    request->err = err;
    request->why[0] = 0;
    if (err != MR_OK)
        (void)snprintf(request->why, sizeof request->why, "%s", mr_why());
    request->schema = schema;
    request->next = NULL;
    *client->ready_last = request;
    client->ready_last = &request->next;
    if (!client->deliver.queued)
        mr_loop_post(client->loop, &client->deliver);
}

static void drop(struct call *call)
{
    struct call **at = &call->client->calls;

    while (*at != call)
        at = &(*at)->next;
    *at = call->next;
    mr_array_fini(&call->references);
    mr_arena_fini(&call->arena);
    mr_free(call);
}

static void finish(struct call *call, mr_err err, const struct schemas_schema *schema)
{
    struct schemas_request *request = call->waiting;

    while (request != NULL) {
        struct schemas_request *next = request->next;
        request->version = call->version;
        answer(call->client, request, err, schema);
        request = next;
    }
    drop(call);
}

/* ---- the registry's words ---- */
struct refusal {
    int64_t code;
    mr_str message;
};

static struct refusal refusal_of(struct mr_arena *arena, const struct http_response *response)
{
    const struct json_value *value = NULL;
    mr_str body = mr_str_of(response->body->data, response->body->length);

    if (json_parse(arena, body, &value) != MR_OK)
        value = NULL;
    return (struct refusal){json_i64(json_get(value, MR_STR("error_code")), response->status),
                            json_str(json_get(value, MR_STR("message")), MR_STR("no message"))};
}

/* A status that is no success, as one of our errors. */
static mr_err refused(struct call *call, const struct http_response *response)
{
    struct refusal refusal = refusal_of(&call->arena, response);
    mr_err err = MR_UNREACHABLE;

    switch (response->status) {
    case 401:
    case 403:
        err = MR_AUTH;
        break;
    case 404: /* only the registry's own codes say that something is not there */
        err = refusal.code >= 40400 ? MR_NOT_FOUND : MR_UNREACHABLE;
        break;
    case 409:
        err = MR_CONFLICT;
        break;
    case 408:
    case 429:
        break;
    default:
        if (response->status >= 400 && response->status < 500)
            err = MR_INVALID;
        break;
    }
    return mr_fail(err, "schema registry %.*s: %d, code %lld: %.*s",
                   MR_STR_ARG(call->client->shown[call->address]), response->status,
                   (long long)refusal.code, MR_STR_ARG(refusal.message));
}

static const struct json_value *answer_of(struct call *call, const struct http_response *response)
{
    const struct json_value *value;
    mr_str body = mr_arena_str(&call->arena,
                               mr_str_of(response->body->data, response->body->length));

    if (json_parse(&call->arena, body, &value) == MR_OK && value->kind == JSON_OBJECT)
        return value;
    (void)mr_fail(MR_UNREACHABLE, "schema registry %.*s: expected a JSON object",
                  MR_STR_ARG(call->client->shown[call->address]));
    return NULL;
}

static void send(struct call *call);
static void use(struct call *call, const struct http_response *response);

static void answered(void *context, mr_err err, const struct http_response *response)
{
    struct call *call = context;
    struct schemas_client *client = call->client;

    call->http = NULL;
    if (err == MR_OK && response->status < 500 && response->status != 429) {
        client->address = call->address;
        use(call, response);
        return;
    }
    if (err == MR_OK)
        err = refused(call, response);
    if (++call->tried < client->address_count) {
        call->address = (call->address + 1) % client->address_count;
        send(call);
        return;
    }
    if (!mr_err_retriable(err))
        err = mr_fail(MR_UNREACHABLE, "%s", mr_why()); /* nothing was learnt about the question */
    finish(call, err, NULL);
}

static void send(struct call *call)
{
    static const mr_str json = {"application/vnd.schemaregistry.v1+json", 38};
    struct schemas_client *client = call->client;
    struct http_header headers[3] = {{MR_STR("Accept"), json}};
    size_t header_count = 1;
    if (call->body.data != NULL)
        headers[header_count++] = (struct http_header){MR_STR("Content-Type"), json};
    if (client->options.token.length > 0)
        headers[header_count++] = (struct http_header){
            MR_STR("Authorization"),
            mr_arena_printf(&call->arena, "Bearer %.*s", MR_STR_ARG(client->options.token))};
    mr_str url = mr_arena_printf(&call->arena, "%.*s%.*s",
                                 MR_STR_ARG(client->addresses[call->address]),
                                 MR_STR_ARG(call->path));
    struct http_request request = {
        .method = call->method.data,
        .url = url.data,
        .headers = headers,
        .header_count = header_count,
        .body = call->body,
        .timeout_ms = TIMEOUT_MS,
        .tls = &client->options.tls,
    };

    call->http = http_start(client->http, &request, answered, call);
}

static void ask_again(struct call *call, mr_str path)
{
    call->method = MR_STR("GET");
    call->path = path;
    call->body = MR_STR_NULL;
    call->tried = 0;
    call->address = call->client->address;
    send(call);
}

/* ---- what an answer is used for ---- */
static mr_str subject_path(struct mr_arena *arena, const char *before, mr_str subject,
                           const char *after)
{
    struct mr_buf path = {0};

    mr_buf_cstr(&path, before);
    http_escape(&path, subject);
    mr_buf_cstr(&path, after);
    mr_str copy = mr_arena_str(arena, mr_buf_as_str(&path));
    mr_buf_fini(&path);
    return copy;
}

static mr_err add_references(struct call *call, const struct json_value *list)
{
    for (uint32_t i = 0; list != NULL && i < list->count; i++) {
        const struct json_value *item = &list->items[i];
        if (call->references.count >= REFERENCES_MAX)
            return mr_fail(MR_INVALID, "schema id %d: more than %d references", call->id,
                           REFERENCES_MAX);
        *mr_array_add(&call->references) = (struct reference){
            .subject = json_str(json_get(item, MR_STR("subject")), MR_STR("")),
            .version = json_i64(json_get(item, MR_STR("version")), -1),
        };
    }
    return MR_OK;
}

/* The latest place of each reference, from the end on: every schema behind those it needs. */
static const struct schemas_schema *keep_all(struct call *call)
{
    size_t count = 0, total = call->references.count;
    mr_str *texts = mr_arena_array(&call->arena, mr_str, total);

    for (size_t i = total; i > 0; i--) {
        const struct reference *reference = &call->references.items[i - 1];
        bool later = false;
        for (size_t j = i; j < total; j++) {
            const struct reference *other = &call->references.items[j];
            later |= other->version == reference->version &&
                     mr_str_equal(other->subject, reference->subject);
        }
        if (!later)
            texts[count++] = reference->text;
    }
    return keep(call->client, call->id, call->type, call->text, texts, count);
}

/* Fetches the next reference, or ends the call. */
static void go_on(struct call *call)
{
    if (call->fetched == call->references.count) {
        finish(call, MR_OK, keep_all(call));
        return;
    }
    const struct reference *reference = &call->references.items[call->fetched];
    mr_str after = mr_arena_printf(&call->arena, "/versions/%lld?deleted=true",
                                   (long long)reference->version);
    ask_again(call, subject_path(&call->arena, "/subjects/", reference->subject, after.data));
}

static void use_schema(struct call *call, const struct json_value *value)
{
    bool first = call->text.data == NULL;
    mr_str text = json_str(json_get(value, MR_STR("schema")), MR_STR_NULL);
    mr_err err = add_references(call, json_get(value, MR_STR("references")));

    if (err == MR_OK && text.data == NULL)
        err = mr_fail(MR_UNREACHABLE, "schema registry: an answer without a schema");
    if (err != MR_OK) {
        finish(call, err, NULL);
        return;
    }
    if (first) {
        call->text = text;
        call->type = json_str(json_get(value, MR_STR("schemaType")), MR_STR("AVRO"));
        call->version = (int32_t)json_i64(json_get(value, MR_STR("version")), 0);
        if (call->question == QUESTION_LATEST)
            call->id = (int32_t)json_i64(json_get(value, MR_STR("id")), 0);
    } else {
        call->references.items[call->fetched++].text = text;
    }
    go_on(call);
}

static void use_check(struct call *call, const struct json_value *value)
{
    bool compatible = json_bool(json_get(value, MR_STR("is_compatible")), false);
    const struct json_value *messages = json_get(value, MR_STR("messages"));
    struct mr_buf text = {0};

    for (uint32_t i = 0; messages != NULL && i < messages->count; i++) {
        mr_buf_cstr(&text, i > 0 ? "; " : "");
        mr_buf_str(&text, json_str(&messages->items[i], MR_STR("")));
    }
    struct schemas_request *request = call->waiting;
    request->compatible = compatible;
    finish(call, MR_OK, NULL);
    (void)snprintf(request->why, sizeof request->why, "%.*s", MR_STR_ARG(mr_buf_as_str(&text)));
    mr_buf_fini(&text);
}

static void use(struct call *call, const struct http_response *response)
{
    if (response->status >= 300) {
        mr_err err = refused(call, response);
        if (call->question == QUESTION_CHECK && err == MR_NOT_FOUND) {
            call->waiting->compatible = true; /* nothing to be compatible with */
            err = MR_OK;
        }
        finish(call, err, NULL);
        return;
    }
    const struct json_value *value = answer_of(call, response);
    if (value == NULL) {
        finish(call, MR_UNREACHABLE, NULL);
    } else if (call->question == QUESTION_CHECK) {
        use_check(call, value);
    } else if (call->question == QUESTION_REGISTER) {
        int32_t id = (int32_t)json_i64(json_get(value, MR_STR("id")), 0);
        finish(call, MR_OK, keep(call->client, id, call->type, call->text, NULL, 0));
    } else {
        use_schema(call, value);
    }
}

/* ---- questions ---- */
static struct call *new_call(struct schemas_client *client, enum question question,
                             struct schemas_request *request)
{
    struct call *call = mr_new(struct call);

    call->client = client;
    call->question = question;
    call->next = client->calls;
    client->calls = call;
    call->address = client->address;
    call->method = MR_STR("GET");
    call->waiting = request;
    call->last = &request->next;
    request->client = client;
    request->next = NULL;
    request->compatible = false;
    return call;
}

void schemas_client_get(struct schemas_client *client, int32_t id, struct schemas_request *request)
{
    const struct schemas_schema *known = schemas_client_known(client, id);

    mr_assert(request->client == NULL);
    request->client = client;
    request->next = NULL;
    if (known != NULL) {
        answer(client, request, MR_OK, known);
        return;
    }
    for (struct call *call = client->calls; call != NULL; call = call->next) {
        if (call->question == QUESTION_GET && call->id == id) {
            *call->last = request;
            call->last = &request->next;
            return;
        }
    }
    struct call *call = new_call(client, QUESTION_GET, request);
    call->id = id;
    call->path = mr_arena_printf(&call->arena, "/schemas/ids/%d", id);
    send(call);
}

static mr_str schema_body(struct mr_arena *arena, mr_str schema, mr_str type)
{
    struct mr_buf body = {0};

    mr_buf_cstr(&body, "{\"schema\":");
    mr_buf_json(&body, schema);
    if (!mr_str_equal(type, MR_STR("AVRO"))) {
        mr_buf_cstr(&body, ",\"schemaType\":");
        mr_buf_json(&body, type);
    }
    mr_buf_u8(&body, '}');
    mr_str copy = mr_arena_str(arena, mr_buf_as_str(&body));
    mr_buf_fini(&body);
    return copy;
}

void schemas_client_register(struct schemas_client *client, mr_str subject, mr_str schema,
                             mr_str type, struct schemas_request *request)
{
    mr_assert(request->client == NULL);
    struct call *call = new_call(client, QUESTION_REGISTER, request);
    call->method = MR_STR("POST");
    call->path = subject_path(&call->arena, "/subjects/", subject, "/versions");
    call->body = schema_body(&call->arena, schema, type);
    call->text = mr_arena_str(&call->arena, schema);
    call->type = mr_arena_str(&call->arena, type);
    send(call);
}

void schemas_client_latest(struct schemas_client *client, mr_str subject,
                           struct schemas_request *request)
{
    mr_assert(request->client == NULL);
    struct call *call = new_call(client, QUESTION_LATEST, request);
    call->path = subject_path(&call->arena, "/subjects/", subject, "/versions/latest");
    send(call);
}

void schemas_client_check(struct schemas_client *client, mr_str subject, mr_str schema, mr_str type,
                          struct schemas_request *request)
{
    mr_assert(request->client == NULL);
    struct call *call = new_call(client, QUESTION_CHECK, request);
    call->method = MR_STR("POST");
    call->path = subject_path(&call->arena, "/compatibility/subjects/", subject,
                              "/versions/latest?verbose=true");
    call->body = schema_body(&call->arena, schema, type);
    send(call);
}

/* ---- ends ---- */
static bool unlink_request(struct schemas_request **list, struct schemas_request ***last,
                           struct schemas_request *request)
{
    for (struct schemas_request **at = list; *at != NULL; at = &(*at)->next) {
        if (*at != request)
            continue;
        *at = request->next;
        if (*last == &request->next)
            *last = at;
        return true;
    }
    return false;
}

void schemas_client_cancel(struct schemas_request *request)
{
    struct schemas_client *client = request->client;

    if (client == NULL)
        return;
    request->client = NULL;
    if (unlink_request(&client->ready, &client->ready_last, request))
        return;
    for (struct call *call = client->calls; call != NULL; call = call->next) {
        if (!unlink_request(&call->waiting, &call->last, request))
            continue;
        if (call->waiting == NULL) {
            http_cancel(call->http);
            drop(call);
        }
        return;
    }
}

static mr_err set_addresses(struct schemas_client *client,
                            const struct schemas_client_options *options)
{
    mr_str rest = options->url, part;

    while (mr_str_split(&rest, ',', &part)) {
        struct mr_buf url = {0};
        part = mr_str_trim(part);
        ptrdiff_t scheme = mr_str_find(part, MR_STR("://"));
        mr_str host = scheme < 0 ? part : mr_str_slice(part, (size_t)scheme + 3, part.length);
        while (host.length > 0 && host.data[host.length - 1] == '/')
            host.length--;
        if (host.length == 0 || client->address_count == ADDRESSES_MAX)
            return mr_fail(MR_INVALID, "schema registry \"%.*s\": expected http://host:port",
                           MR_STR_ARG(options->url));
        mr_buf_str(&url,
                   scheme < 0 ? MR_STR("http://") : mr_str_slice(part, 0, (size_t)scheme + 3));
        if (options->user.length > 0) {
            http_escape(&url, options->user);
            mr_buf_u8(&url, ':');
            http_escape(&url, options->password);
            mr_buf_u8(&url, '@');
        }
        mr_buf_str(&url, host);
        struct mr_buf shown = {0};
        http_url_public(&shown, part); /* as given, but without a password */
        client->shown[client->address_count] = mr_arena_str(&client->arena, mr_buf_as_str(&shown));
        mr_buf_fini(&shown);
        client->addresses[client->address_count++] = mr_arena_str(&client->arena,
                                                                  mr_buf_as_str(&url));
        mr_buf_fini(&url);
    }
    return MR_OK;
}

static const char *path_copy(struct mr_arena *arena, const char *path)
{
    return path == NULL ? NULL : mr_arena_cstr(arena, mr_str_from(path));
}

struct schemas_client_options
schemas_client_options_copy(struct mr_arena *arena, const struct schemas_client_options *options)
{
    return (struct schemas_client_options){
        .url = mr_arena_str(arena, options->url),
        .user = mr_arena_str(arena, options->user),
        .password = mr_arena_str(arena, options->password),
        .token = mr_arena_str(arena, options->token),
        .tls = {.ca = path_copy(arena, options->tls.ca),
                .cert = path_copy(arena, options->tls.cert),
                .key = path_copy(arena, options->tls.key)},
    };
}

mr_err schemas_client_new(struct mr_loop *loop, const struct schemas_client_options *options,
                          struct schemas_client **out)
{
    struct schemas_client *client = mr_new(struct schemas_client);

    client->loop = loop;
    client->deliver.run = deliver;
    client->ready_last = &client->ready;
    client->slot_count = 64;
    client->slots = mr_new_array(struct schemas_schema *, client->slot_count);
    client->options = schemas_client_options_copy(&client->arena, options);
    mr_err err = set_addresses(client, options);
    if (err != MR_OK) {
        schemas_client_free(client);
        return err;
    }
    client->http = http_client_new(loop);
    *out = client;
    return MR_OK;
}

void schemas_client_free(struct schemas_client *client)
{
    if (client == NULL)
        return;
    while (client->calls != NULL) {
        http_cancel(client->calls->http);
        finish(client->calls, mr_fail(MR_CANCELLED, "the registry's client was closed"), NULL);
    }
    struct schemas_request *request = client->ready;
    while (request != NULL) {
        struct schemas_request *next = request->next;
        request->err = MR_CANCELLED;
        request->client = NULL;
        request->next = NULL;
        request->done(request);
        request = next;
    }
    http_client_free(client->http);
    for (size_t i = 0; i < client->slot_count; i++) {
        if (client->slots[i] != NULL)
            avro_schema_free((struct avro_schema *)(uintptr_t)client->slots[i]->avro);
    }
    mr_free(client->slots);
    mr_arena_fini(&client->arena);
    client->closed = true;
    if (!client->deliver.queued)
        mr_free(client);
}
