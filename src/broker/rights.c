/* broker/rights.c: what a request's client may. The handlers know nothing of it, but for Fetch, whose
 * sessions outlive a request, and Metadata, which makes topics: what may not be done is taken out of
 * the request by the rows of rights.def, and put into the answer with its code when that goes.
 * sight.c looks at what the answers tell besides. */
#include "broker/server.h"

enum { KAFKA_ACL_BY_TYPE = -1 }; /* the row has the type of a settings' resource */
enum { NONE = -1, ANY = INT16_MAX };

/* Where a shape's list of rows is, and in a row its name and its partitions. */
struct rows_view {
    void *items;
    int32_t count;
};
struct side {
    int32_t list, bytes, name, inner, inner_bytes, index;
};
struct rows_right {
    int16_t api, since, until;
    int8_t resource, operation;
    struct side asked, told;
    int32_t code; /* in the row, or in its partitions when it has some */
};
struct whole_right {
    int16_t api;
    int8_t resource, operation;
    int32_t field; /* NONE: the cluster */
};

#define ROW(api, kind, list) __typeof__(*((struct kafka_##api##_##kind *)NULL)->list.items)
#define IN_ROW(api, kind, list, field) (int32_t) offsetof(ROW(api, kind, list), field)
#define INNER(api, kind, list, inner) __typeof__(*((ROW(api, kind, list) *)NULL)->inner.items)
#define LIST_AT(api, kind, list) \
    (int32_t) offsetof(struct kafka_##api##_##kind, list), (int32_t)sizeof(ROW(api, kind, list))

static const struct rows_right rows_rights[] = {
#define ROWS(api, since, until, resource, operation, list, name, answers, answer_name)           \
    {KAFKA_API_##api,                                                                            \
     since,                                                                                      \
     until,                                                                                      \
     KAFKA_ACL_##resource,                                                                       \
     KAFKA_ACL_OP_##operation,                                                                   \
     {LIST_AT(api, request, list), IN_ROW(api, request, list, name), NONE, 0, 0},                \
     {LIST_AT(api, response, answers), IN_ROW(api, response, answers, answer_name), NONE, 0, 0}, \
     IN_ROW(api, response, answers, error_code)},
#define NAMES(api, since, until, resource, operation, list, answers, answer_name)                \
    {KAFKA_API_##api,                                                                            \
     since,                                                                                      \
     until,                                                                                      \
     KAFKA_ACL_##resource,                                                                       \
     KAFKA_ACL_OP_##operation,                                                                   \
     {LIST_AT(api, request, list), 0, NONE, 0, 0},                                               \
     {LIST_AT(api, response, answers), IN_ROW(api, response, answers, answer_name), NONE, 0, 0}, \
     IN_ROW(api, response, answers, error_code)},
#define TOPIC_ROWS(api, operation, list, name, inner, at, answers, answer_name, inners, answer_at, \
                   code)                                                                           \
    {KAFKA_API_##api,                                                                              \
     0,                                                                                            \
     ANY,                                                                                          \
     KAFKA_ACL_TOPIC,                                                                              \
     KAFKA_ACL_OP_##operation,                                                                     \
     {LIST_AT(api, request, list), IN_ROW(api, request, list, name),                               \
      IN_ROW(api, request, list, inner), (int32_t)sizeof(INNER(api, request, list, inner)), at},   \
     {LIST_AT(api, response, answers), IN_ROW(api, response, answers, answer_name),                \
      IN_ROW(api, response, answers, inners),                                                      \
      (int32_t)sizeof(INNER(api, response, answers, inners)),                                      \
      (int32_t)offsetof(INNER(api, response, answers, inners), answer_at)},                        \
     (int32_t)offsetof(INNER(api, response, answers, inners), code)},
#define TOPICS(api, operation, list, name, inner, index, answers, answer_name, inners,           \
               answer_index, code)                                                               \
    TOPIC_ROWS(api, operation, list, name, inner,                                                \
               (int32_t)offsetof(INNER(api, request, list, inner), index), answers, answer_name, \
               inners, answer_index, code)
#define TOPIC_LISTS(api, operation, list, name, inner, answers, answer_name, inners, answer_index, \
                    code)                                                                          \
    TOPIC_ROWS(api, operation, list, name, inner, 0, answers, answer_name, inners, answer_index,   \
               code)
#include "broker/rights.def"
};

static const struct whole_right whole_rights[] = {
#define CLUSTER(api, operation) \
    {KAFKA_API_##api, KAFKA_ACL_CLUSTER, KAFKA_ACL_OP_##operation, NONE},
#define WHOLE(api, resource, operation, field)                        \
    {KAFKA_API_##api, KAFKA_ACL_##resource, KAFKA_ACL_OP_##operation, \
     (int32_t)offsetof(struct kafka_##api##_request, field)},
#include "broker/rights.def"
};

static int16_t code_of(int8_t resource)
{
    static const int16_t codes[] = {
#define RESOURCE(number, name, code, operations) [number] = KAFKA_ERROR_##code,
#include "kafka/acls.def"
    };
    return codes[resource];
}

bool broker_rights_allow(const struct broker_request *request, int8_t operation, int8_t resource,
                         mr_str name)
{
    struct broker_acls *acls = &request->server->security.acls;
    const struct broker_conn *conn = request->conn;

    if (!acls->enabled)
        return true;
    return conn != NULL && broker_acl_allows(acls, conn->login.principal, conn->peer.host,
                                             operation, resource, name);
}

int16_t broker_rights_refuse(const struct broker_request *request, int8_t operation,
                             int8_t resource, mr_str name)
{
    struct mr_buf why = {0};

    mr_buf_printf(&why, "no right to %s %s %.*s",
                  kafka_acl_word(KAFKA_ACL_KIND_OPERATION, operation),
                  kafka_acl_word(KAFKA_ACL_KIND_RESOURCE, resource), MR_STR_ARG(name));
    broker_server_refused(request, code_of(resource), mr_buf_as_str(&why));
    mr_buf_fini(&why);
    return code_of(resource);
}

static bool cluster_allows(const struct broker_request *request, int8_t operation)
{
    return broker_rights_allow(request, operation, KAFKA_ACL_CLUSTER, KAFKA_ACL_CLUSTER_NAME);
}

static bool topic_allows(const struct broker_request *request, int8_t operation, mr_str name)
{
    return broker_rights_allow(request, operation, KAFKA_ACL_TOPIC, name);
}

bool broker_rights_may_make(const struct broker_request *request, mr_str topic)
{
    return topic_allows(request, KAFKA_ACL_OP_DESCRIBE, topic) &&
           (cluster_allows(request, KAFKA_ACL_OP_CREATE) ||
            topic_allows(request, KAFKA_ACL_OP_CREATE, topic));
}

/* ---- rows that are refused ---- */

struct broker_refused {
    struct broker_refused *next;
    const struct rows_right *right;
    const void *row; /* of the request */
    int16_t code;
};

/* The field of this shape by its place or by its name. */
static const struct wire_field *field_at(const struct wire_shape *shape, int32_t offset)
{
    for (const struct wire_field *field = shape->fields; field->name != NULL; field++)
        if (field->offset == (size_t)offset)
            return field;
    return NULL;
}

static const struct wire_field *field_named(const struct wire_shape *shape, const char *name)
{
    for (const struct wire_field *field = shape->fields; field->name != NULL; field++)
        if (strcmp(field->name, name) == 0)
            return field;
    return NULL;
}

static const struct rows_right *rows_right_of(const struct broker_request *request)
{
    int16_t version = request->header.request_api_version;

    for (size_t i = 0; i < mr_count_of(rows_rights); i++)
        if (rows_rights[i].api == request->api->key && rows_rights[i].since <= version &&
            version <= rows_rights[i].until)
            return &rows_rights[i];
    return NULL;
}

static void refuse_row(struct broker_request *request, const struct rows_right *right,
                       const void *row, int16_t code)
{
    struct broker_refused *refused = mr_arena_new(&request->arena, struct broker_refused);

    *refused = (struct broker_refused){request->refused, right, row, code};
    request->refused = refused;
}

/* What stands in a row under the name `topic_id`; NULL: such rows have none. */
static const mr_uuid *id_of(const struct wire_shape *message, int32_t list, const void *row)
{
    const struct wire_field *rows = field_at(message, list);
    const struct wire_field *id = rows->row == NULL ? NULL : field_named(rows->row(), "topic_id");

    return id == NULL ? NULL : (const mr_uuid *)((const char *)row + id->offset);
}

/* The name of a row; a topic may be named by its id alone. */
static mr_str name_of(const struct broker_request *request, const struct rows_right *right,
                      const void *row)
{
    mr_str name = *(const mr_str *)((const char *)row + right->asked.name);
    const mr_uuid *id = id_of(request->api->request(), right->asked.list, row);
    struct broker_topic *topic;

    if (id == NULL || name.length > 0 || broker_topics_id_is_zero(id))
        return name;
    topic = broker_topics_find_id(&request->server->topics, id);
    return topic == NULL ? MR_STR_NULL : mr_str_from(topic->name);
}

static int8_t resource_by_type(const struct broker_request *request, const struct rows_right *right,
                               const void *row)
{
    const struct wire_field *rows = field_at(request->api->request(), right->asked.list);
    int8_t type = *((const int8_t *)row + field_named(rows->row(), "resource_type")->offset);

    return type == BROKER_RESOURCE_TOPIC   ? KAFKA_ACL_TOPIC
           : type == BROKER_RESOURCE_GROUP ? KAFKA_ACL_GROUP
                                           : KAFKA_ACL_CLUSTER;
}

/* What a row is about. */
static int8_t resource_of(const struct broker_request *request, const struct rows_right *right,
                          const void *row, mr_str *name)
{
    int8_t resource = right->resource;

    if (resource == KAFKA_ACL_BY_TYPE)
        resource = resource_by_type(request, right, row);
    *name = resource == KAFKA_ACL_CLUSTER ? KAFKA_ACL_CLUSTER_NAME : name_of(request, right, row);
    return resource;
}

static int16_t row_look(const struct broker_request *request, const struct rows_right *right,
                        const void *row)
{
    mr_str name;
    int8_t resource = resource_of(request, right, row, &name);

    if (name.data == NULL || broker_rights_allow(request, right->operation, resource, name) ||
        (request->api->key == KAFKA_API_create_topics &&
         cluster_allows(request, KAFKA_ACL_OP_CREATE)) ||
        (request->api->key == KAFKA_API_offset_for_leader_epoch &&
         cluster_allows(request, KAFKA_ACL_OP_CLUSTER_ACTION)))
        return KAFKA_ERROR_NONE;
    return code_of(resource);
}

static void row_told(const struct broker_request *request, const struct rows_right *right,
                     const void *row)
{
    mr_str name;
    int8_t resource = resource_of(request, right, row, &name);

    broker_rights_refuse(request, right->operation, resource, name);
}

/* Takes refused rows out; `all`: this code for every row. A transaction takes all partitions or none. */
static void rows_filter(struct broker_request *request, const struct rows_right *right, int16_t all)
{
    struct rows_view *rows = (struct rows_view *)(void *)((char *)request->in + right->asked.list);
    size_t bytes = (size_t)right->asked.bytes;
    struct rows_view kept = {NULL, 0};
    bool some = false;

    if (rows->count <= 0)
        return;
    for (int32_t i = 0; i < rows->count && all == 0; i++)
        some = some || row_look(request, right, (char *)rows->items + (size_t)i * bytes) != 0;
    if (!some && all == 0)
        return;
    kept.items = mr_arena_alloc(&request->arena, (size_t)rows->count * bytes);
    for (int32_t i = 0; i < rows->count; i++) {
        const char *row = (char *)rows->items + (size_t)i * bytes;
        int16_t code = all != 0 ? all : row_look(request, right, row);
        if (code != 0 && all == 0)
            row_told(request, right, row);
        if (code == 0 && request->api->key == KAFKA_API_add_partitions_to_txn)
            code = KAFKA_ERROR_OPERATION_NOT_ATTEMPTED;
        if (code != 0)
            refuse_row(request, right, row, code);
        else
            memcpy((char *)kept.items + (size_t)kept.count++ * bytes, row, bytes);
    }
    *rows = kept;
}

/* ---- the answer's rows ---- */

/* Fields that both rows have by the same name and type are the same thing: ids, kinds. */
static void same_fields(const struct wire_shape *from_shape, const void *from,
                        const struct wire_shape *to_shape, void *to)
{
    static const char *const names[] = {"topic_id", "resource_type"};

    for (size_t i = 0; i < mr_count_of(names); i++) {
        const struct wire_field *source = field_named(from_shape, names[i]);
        const struct wire_field *target = field_named(to_shape, names[i]);
        if (source != NULL && target != NULL)
            memcpy((char *)to + target->offset, (const char *)from + source->offset,
                   strcmp(names[i], "topic_id") == 0 ? sizeof(mr_uuid) : sizeof(int8_t));
    }
}

static void inner_tell(struct broker_request *request, const struct broker_refused *refused,
                       const struct wire_shape *shape, char *answer)
{
    const struct side *asked = &refused->right->asked, *told = &refused->right->told;
    const struct rows_view *from =
        (const struct rows_view *)(const void *)((const char *)refused->row + asked->inner);
    struct rows_view *to = (struct rows_view *)(void *)(answer + told->inner);
    const struct wire_shape *inner = field_at(shape, told->inner)->row();

    to->count = from->count < 0 ? 0 : from->count;
    to->items = mr_arena_alloc_zero(&request->arena, (size_t)to->count * (size_t)told->inner_bytes);
    for (int32_t i = 0; i < to->count; i++) {
        char *partition = (char *)to->items + (size_t)i * (size_t)told->inner_bytes;
        wire_reset(inner, partition);
        memcpy(partition + told->index,
               (const char *)from->items + (size_t)i * (size_t)asked->inner_bytes + asked->index,
               sizeof(int32_t));
        memcpy(partition + refused->right->code, &refused->code, sizeof(int16_t));
    }
}

static void row_tell(struct broker_request *request, const struct broker_refused *refused,
                     char *answer)
{
    const struct rows_right *right = refused->right;
    const struct wire_field *asked = field_at(request->api->request(), right->asked.list);
    const struct wire_shape *shape = field_at(request->api->response(), right->told.list)->row();
    const struct wire_field *message = field_named(shape, "error_message");

    wire_reset(shape, answer);
    memcpy(answer + right->told.name, (const char *)refused->row + right->asked.name,
           sizeof(mr_str));
    if (asked->row != NULL)
        same_fields(asked->row(), refused->row, shape, answer);
    if (right->told.inner != NONE) {
        inner_tell(request, refused, shape, answer);
        return;
    }
    memcpy(answer + right->code, &refused->code, sizeof(int16_t));
    if (message != NULL)
        *(mr_str *)(void *)(answer +
                            message->offset) = mr_str_from(kafka_error_text(refused->code));
}

static void refused_tell(struct broker_request *request)
{
    const struct rows_right *right = request->refused->right;
    struct rows_view *rows = (struct rows_view *)(void *)((char *)request->out + right->told.list);
    size_t bytes = (size_t)right->told.bytes, count = rows->count < 0 ? 0 : (size_t)rows->count;
    size_t refused_count = 0;
    struct rows_view all;

    for (struct broker_refused *at = request->refused; at != NULL; at = at->next)
        refused_count++;
    all.items = mr_arena_alloc_zero(&request->arena, (count + refused_count) * bytes);
    all.count = (int32_t)(count + refused_count);
    if (count > 0)
        memcpy(all.items, rows->items, count * bytes);
    for (struct broker_refused *at = request->refused; at != NULL; at = at->next)
        row_tell(request, at, (char *)all.items + (count + --refused_count) * bytes);
    *rows = all;
}

/* ---- requests that are refused as a whole ---- */

static void scram_refuse(struct broker_request *request, int16_t code)
{
    const struct kafka_alter_user_scram_credentials_request *in = request->in;
    struct kafka_alter_user_scram_credentials_response *out = request->out;

    out->results.items = mr_arena_array(&request->arena,
                                        struct kafka_alter_user_scram_credentials_result,
                                        (size_t)in->deletions.count + (size_t)in->upsertions.count);
    for (int32_t i = 0; i < in->deletions.count; i++)
        out->results.items[out->results.count++] =
            (struct kafka_alter_user_scram_credentials_result){in->deletions.items[i].name, code,
                                                               MR_STR_NULL};
    for (int32_t i = 0; i < in->upsertions.count; i++)
        out->results.items[out->results.count++] =
            (struct kafka_alter_user_scram_credentials_result){in->upsertions.items[i].name, code,
                                                               MR_STR_NULL};
}

static void acls_refuse(struct broker_request *request, int16_t code)
{
    const struct kafka_create_acls_request *create = request->in;
    struct kafka_create_acls_response *created = request->out;
    const struct kafka_delete_acls_request *remove = request->in;
    struct kafka_delete_acls_response *removed = request->out;

    if (request->api->key == KAFKA_API_create_acls) {
        created->results.count = create->creations.count;
        created->results.items = mr_arena_array(&request->arena, struct kafka_create_acls_result,
                                                (size_t)create->creations.count);
        for (int32_t i = 0; i < create->creations.count; i++)
            created->results.items[i].error_code = code;
        return;
    }
    removed->filter_results.count = remove->filters.count;
    removed->filter_results.items = mr_arena_array(&request->arena, struct kafka_delete_acls_result,
                                                   (size_t)remove->filters.count);
    for (int32_t i = 0; i < remove->filters.count; i++)
        removed->filter_results.items[i].error_code = code;
}

/* The answer to a request that is refused as a whole. */
static void refuse_whole(struct broker_request *request, int16_t code)
{
    const struct rows_right *right = rows_right_of(request);
    const struct wire_field *field = field_named(request->api->response(), "error_code");
    const struct wire_field *message = field_named(request->api->response(), "error_message");

    if (right != NULL && right->told.inner != NONE)
        rows_filter(request, right, code);
    if (field != NULL)
        memcpy((char *)request->out + field->offset, &code, sizeof(code));
    if (message != NULL)
        *(mr_str *)(void *)((char *)request->out +
                            message->offset) = mr_str_from(kafka_error_text(code));
    if (request->api->key == KAFKA_API_alter_user_scram_credentials)
        scram_refuse(request, code);
    else if (request->api->key == KAFKA_API_create_acls ||
             request->api->key == KAFKA_API_delete_acls)
        acls_refuse(request, code);
    else if (request->api->key == KAFKA_API_alter_client_quotas)
        broker_quotas_lay_out(request, code);
    else if (request->api->key == KAFKA_API_write_txn_markers)
        broker_txn_markers_lay_out(request, code);
    else if (request->api->key == KAFKA_API_alter_replica_log_dirs)
        broker_replicas_log_dirs_lay_out(request, code);
}

/* ---- requests that fit no row ---- */

static int16_t init_producer_id_look(const struct broker_request *request)
{
    const struct kafka_init_producer_id_request *in = request->in;
    const struct broker_conn *conn = request->conn;

    if (in->transactional_id.data != NULL ||
        cluster_allows(request, KAFKA_ACL_OP_IDEMPOTENT_WRITE) ||
        broker_acl_allows_any(&request->server->security.acls, conn->login.principal,
                              conn->peer.host, KAFKA_ACL_OP_WRITE, KAFKA_ACL_TOPIC))
        return KAFKA_ERROR_NONE;
    return broker_rights_refuse(request, KAFKA_ACL_OP_IDEMPOTENT_WRITE, KAFKA_ACL_CLUSTER,
                                KAFKA_ACL_CLUSTER_NAME);
}

static int16_t topics_look(const struct broker_request *request, const mr_str *names, int32_t count)
{
    for (int32_t i = 0; i < count; i++)
        if (!topic_allows(request, KAFKA_ACL_OP_DESCRIBE, names[i]))
            return broker_rights_refuse(request, KAFKA_ACL_OP_DESCRIBE, KAFKA_ACL_TOPIC, names[i]);
    return KAFKA_ERROR_NONE;
}

static int16_t heartbeat_look(const struct broker_request *request)
{
    const struct kafka_consumer_group_heartbeat_request *consumer = request->in;
    const struct kafka_share_group_heartbeat_request *share = request->in;

    return request->api->key == KAFKA_API_share_group_heartbeat
               ? topics_look(request, share->subscribed_topic_names.items,
                             share->subscribed_topic_names.count)
               : topics_look(request, consumer->subscribed_topic_names.items,
                             consumer->subscribed_topic_names.count);
}

static int16_t coordinator_look(const struct broker_request *request, mr_str key)
{
    const struct kafka_find_coordinator_request *in = request->in;
    int8_t resource = in->key_type == 1 ? KAFKA_ACL_TRANSACTIONAL_ID : KAFKA_ACL_GROUP;

    return broker_rights_allow(request, KAFKA_ACL_OP_DESCRIBE, resource, key)
               ? KAFKA_ERROR_NONE
               : broker_rights_refuse(request, KAFKA_ACL_OP_DESCRIBE, resource, key);
}

static int16_t offset_fetch_look(const struct broker_request *request)
{
    const struct kafka_offset_fetch_request *in = request->in;

    if (request->header.request_api_version >= 8 ||
        broker_rights_allow(request, KAFKA_ACL_OP_DESCRIBE, KAFKA_ACL_GROUP, in->group_id))
        return KAFKA_ERROR_NONE;
    return broker_rights_refuse(request, KAFKA_ACL_OP_DESCRIBE, KAFKA_ACL_GROUP, in->group_id);
}

/* Newer versions are for brokers, which ask for many at once. */
static int16_t add_partitions_look(const struct broker_request *request)
{
    const struct kafka_add_partitions_to_txn_request *in = request->in;

    if (request->header.request_api_version >= 4)
        return cluster_allows(request, KAFKA_ACL_OP_CLUSTER_ACTION)
                   ? KAFKA_ERROR_NONE
                   : broker_rights_refuse(request, KAFKA_ACL_OP_CLUSTER_ACTION, KAFKA_ACL_CLUSTER,
                                          KAFKA_ACL_CLUSTER_NAME);
    return broker_rights_allow(request, KAFKA_ACL_OP_WRITE, KAFKA_ACL_TRANSACTIONAL_ID,
                               in->transactional_id)
               ? KAFKA_ERROR_NONE
               : broker_rights_refuse(request, KAFKA_ACL_OP_WRITE, KAFKA_ACL_TRANSACTIONAL_ID,
                                      in->transactional_id);
}

static int16_t special_look(const struct broker_request *request)
{
    const struct kafka_find_coordinator_request *find = request->in;

    switch (request->api->key) {
    case KAFKA_API_init_producer_id:
        return init_producer_id_look(request);
    case KAFKA_API_add_partitions_to_txn:
        return add_partitions_look(request);
    case KAFKA_API_consumer_group_heartbeat:
    case KAFKA_API_share_group_heartbeat:
        return heartbeat_look(request);
    case KAFKA_API_offset_fetch:
        return offset_fetch_look(request);
    case KAFKA_API_find_coordinator:
        return request->header.request_api_version < 4 ? coordinator_look(request, find->key) : 0;
    default:
        return KAFKA_ERROR_NONE;
    }
}

static int16_t whole_look(const struct broker_request *request)
{
    for (size_t i = 0; i < mr_count_of(whole_rights); i++) {
        const struct whole_right *right = &whole_rights[i];
        mr_str name = KAFKA_ACL_CLUSTER_NAME;
        if (right->api != request->api->key)
            continue;
        if (right->field != NONE)
            name = *(const mr_str *)(const void *)((const char *)request->in + right->field);
        if (name.data != NULL &&
            !broker_rights_allow(request, right->operation, right->resource, name) &&
            !(right->api == KAFKA_API_write_txn_markers &&
              cluster_allows(request, KAFKA_ACL_OP_ALTER)))
            return broker_rights_refuse(request, right->operation, right->resource, name);
    }
    return special_look(request);
}

bool broker_rights_admit(struct broker_request *request)
{
    const struct rows_right *right;
    const struct kafka_produce_request *produce = request->in;
    int16_t code;
    bool unheard;

    if (!request->server->security.acls.enabled || request->conn == NULL || request->raw)
        return true;
    unheard = request->api->key == KAFKA_API_produce && produce->acks == 0;
    code = whole_look(request);
    right = rows_right_of(request);
    if (code != KAFKA_ERROR_NONE)
        refuse_whole(request, code);
    else if (right != NULL)
        rows_filter(request, right, 0);
    if (unheard && request->refused != NULL)
        net_close(request->conn->net); /* the only way to tell, as Kafka does */
    if (code == KAFKA_ERROR_NONE)
        return true;
    if (unheard)
        broker_server_answer_nothing(request);
    else
        broker_server_answer(request);
    return false;
}

void broker_rights_answer(struct broker_request *request)
{
    if (request->refused != NULL)
        refused_tell(request);
}
