/* broker/quotas.c: the quotas that were set: their rows, how they are told and changed. Checks and sentences
 * are those of Kafka's controller. */
#include "broker/server.h"
#include "json/json.h"

#include <arpa/inet.h>
#include <math.h>
#include <stdio.h>

enum {
    FOR_CLIENT = 1 << BROKER_QUOTA_USER | 1 << BROKER_QUOTA_CLIENT_ID,
    FOR_IP = 1 << BROKER_QUOTA_IP
};
static const struct {
    const char *name, *told;
    bool whole;
    int parts;
} keys[BROKER_QUOTA_COUNT] = {
#define QUOTA(id, name, whole, parts, told, about) {name, told, whole, FOR_##parts},
#include "broker/quotas.def"
};
static const char *const part_words[BROKER_QUOTA_PARTS] = {"user", "client-id", "ip"};

const char *broker_quotas_word(enum broker_quota_key key)
{
    return keys[key].told;
}

static int part_find(mr_str word)
{
    for (int i = 0; i < BROKER_QUOTA_PARTS; i++)
        if (mr_str_equal(word, mr_str_from(part_words[i])))
            return i;
    return -1;
}

static int key_find(mr_str word)
{
    for (int i = 0; i < BROKER_QUOTA_COUNT; i++)
        if (mr_str_equal(word, mr_str_from(keys[i].name)))
            return i;
    return -1;
}

/* ---- rows ---- */

void broker_quotas_name(const struct broker_quota_entity *entity, struct mr_buf *out)
{
    for (int i = 0; i < BROKER_QUOTA_PARTS; i++) {
        if (!entity->has[i])
            continue;
        mr_buf_u8(out, (uint8_t)((entity->names[i].data == NULL ? 'A' : 'a') + i));
        if (entity->names[i].data == NULL)
            continue;
        mr_buf_be32(out, (uint32_t)entity->names[i].length);
        mr_buf_str(out, entity->names[i]);
    }
}

static struct broker_quota *row_find(const struct broker_quotas *quotas,
                                     const struct broker_quota_entity *entity)
{
    struct broker_quota *row;
    struct mr_buf name = {0};

    broker_quotas_name(entity, &name);
    row = mr_map_get(&quotas->rows, mr_buf_as_str(&name));
    mr_buf_fini(&name);
    return row;
}

static void row_free(struct broker_quota *row)
{
    for (int i = 0; i < BROKER_QUOTA_PARTS; i++)
        mr_free((char *)(uintptr_t)row->entity.names[i].data);
    mr_free(row);
}

void broker_quotas_fini(struct broker_quotas *quotas)
{
    struct mr_map_entry *entry;

    for (size_t i = 0; (entry = mr_map_next(&quotas->rows, &i)) != NULL;)
        row_free(entry->value);
    mr_map_fini(&quotas->rows);
    broker_throttle_fini(quotas);
}

/* A row comes with its first limit and goes with its last one. */
static void limit_set(struct broker_quotas *quotas, const struct broker_quota_entity *entity,
                      int key, double limit)
{
    struct broker_quota *row = row_find(quotas, entity);
    struct mr_buf name = {0};
    bool any = false;

    broker_quotas_name(entity, &name);
    if (row == NULL && limit > 0) {
        row = mr_new(struct broker_quota);
        row->entity = *entity;
        for (int i = 0; i < BROKER_QUOTA_PARTS; i++)
            if (entity->names[i].data != NULL)
                row->entity.names[i] = mr_str_of(mr_copy_cstr(entity->names[i]),
                                                 entity->names[i].length);
        mr_map_put(&quotas->rows, mr_buf_as_str(&name), row);
    }
    if (row != NULL) {
        quotas->row_counts[key] += limit > 0;
        quotas->row_counts[key] -= row->limits[key] > 0;
        row->limits[key] = limit;
        for (int i = 0; i < BROKER_QUOTA_COUNT; i++)
            any = any || row->limits[i] > 0;
        if (!any) {
            mr_map_remove(&quotas->rows, mr_buf_as_str(&name));
            row_free(row);
        }
    }
    mr_buf_fini(&name);
}

/* ---- the file's rows ---- */

void broker_quotas_print(const struct broker_quotas *quotas, struct mr_buf *out)
{
    struct mr_map_entry *entry;

    for (size_t at = 0; (entry = mr_map_next(&quotas->rows, &at)) != NULL;) {
        const struct broker_quota *row = entry->value;
        const char *before = "{\"quota\":{";
        for (int i = 0; i < BROKER_QUOTA_PARTS; i++) {
            if (!row->entity.has[i])
                continue;
            mr_buf_printf(out, "%s\"%s\":", before, part_words[i]);
            if (row->entity.names[i].data == NULL)
                mr_buf_cstr(out, "null");
            else
                mr_buf_json(out, row->entity.names[i]);
            before = ",";
        }
        mr_buf_cstr(out, "}");
        for (int i = 0; i < BROKER_QUOTA_COUNT; i++)
            if (row->limits[i] > 0)
                mr_buf_printf(out, ",\"%s\":%.17g", keys[i].name, row->limits[i]);
        mr_buf_cstr(out, "}\n");
    }
}

mr_err broker_quotas_read(struct broker_quotas *quotas, const struct json_value *row)
{
    const struct json_value *parts = json_get(row, MR_STR("quota"));
    struct broker_quota_entity entity = {0};
    bool any = false;

    for (int i = 0; i < BROKER_QUOTA_PARTS; i++) {
        const struct json_value *part = json_get(parts, mr_str_from(part_words[i]));
        entity.has[i] = part != NULL;
        entity.names[i] = json_str(part, MR_STR_NULL);
        any = any || entity.has[i];
    }
    if (!any)
        return mr_fail(MR_CORRUPT, "expected whose quota it is");
    for (int i = 0; i < BROKER_QUOTA_COUNT; i++) {
        const struct json_value *value = json_get(row, mr_str_from(keys[i].name));
        double limit = 0;
        if (value == NULL)
            continue;
        if (mr_str_to_f64(json_scalar(value), &limit) != MR_OK || !(limit > 0))
            return mr_fail(MR_CORRUPT, "%s: expected a number above 0", keys[i].name);
        limit_set(quotas, &entity, i, limit);
    }
    return MR_OK;
}

/* ---- DescribeClientQuotas ---- */

struct filter {
    bool named[BROKER_QUOTA_PARTS], any[BROKER_QUOTA_PARTS]; /* named: by `entity` */
    struct broker_quota_entity entity;
};

static int16_t component_check(struct broker_request *request, struct filter *filter,
                               const struct kafka_describe_client_quotas_component *asked,
                               mr_str *why)
{
    static const char *const kinds[] = {"EXACT", "DEFAULT", "SPECIFIED"};
    int part = part_find(asked->entity_type);

    if (part < 0) {
        *why = mr_arena_printf(&request->arena, "Unsupported entity type %.*s",
                               MR_STR_ARG(asked->entity_type));
        return KAFKA_ERROR_UNSUPPORTED_VERSION;
    }
    if (filter->named[part] || filter->any[part])
        *why = mr_arena_printf(&request->arena,
                               "Entity type %s cannot appear more than once in the filter.",
                               part_words[part]);
    else if (asked->match_type < 0 || asked->match_type > 2)
        *why = mr_arena_printf(&request->arena, "Unknown match type %d", asked->match_type);
    else if (asked->match_type == 0 && asked->match.data == NULL)
        *why = MR_STR("Request specified MATCH_TYPE_EXACT, but set match string to null.");
    else if (asked->match_type != 0 && asked->match.data != NULL)
        *why = mr_arena_printf(
            &request->arena, "Request specified MATCH_TYPE_%s, but also specified a match string.",
            kinds[asked->match_type]);
    if (why->data != NULL)
        return KAFKA_ERROR_INVALID_REQUEST;
    filter->named[part] = asked->match_type != 2;
    filter->any[part] = asked->match_type == 2;
    filter->entity.has[part] = true;
    filter->entity.names[part] = asked->match;
    return KAFKA_ERROR_NONE;
}

static bool filter_takes(const struct filter *filter, const struct broker_quota_entity *entity,
                         bool strict)
{
    for (int i = 0; i < BROKER_QUOTA_PARTS; i++) {
        mr_str wanted = filter->entity.names[i], name = entity->names[i];
        if (strict && entity->has[i] != filter->entity.has[i])
            return false;
        if (filter->entity.has[i] && !entity->has[i])
            return false;
        if (filter->named[i] &&
            ((wanted.data == NULL) != (name.data == NULL) || !mr_str_equal(wanted, name)))
            return false;
    }
    return true;
}

static void row_tell(struct broker_request *request, const struct broker_quota *row,
                     struct kafka_describe_client_quotas_entry *answer)
{
    answer->entity.items = mr_arena_array(&request->arena, struct kafka_describe_client_quotas_part,
                                          BROKER_QUOTA_PARTS);
    answer->values.items = mr_arena_array(
        &request->arena, struct kafka_describe_client_quotas_value, BROKER_QUOTA_COUNT);
    for (int i = 0; i < BROKER_QUOTA_PARTS; i++)
        if (row->entity.has[i])
            answer->entity.items[answer->entity.count++] =
                (struct kafka_describe_client_quotas_part){
                    mr_str_from(part_words[i]),
                    row->entity.names[i].data == NULL
                        ? MR_STR_NULL
                        : mr_arena_str(&request->arena, row->entity.names[i])};
    for (int i = 0; i < BROKER_QUOTA_COUNT; i++)
        if (row->limits[i] > 0)
            answer->values.items[answer->values.count++] =
                (struct kafka_describe_client_quotas_value){mr_str_from(keys[i].name),
                                                            row->limits[i]};
}

void broker_quotas_describe_client_quotas(struct broker_request *request)
{
    const struct kafka_describe_client_quotas_request *in = request->in;
    struct kafka_describe_client_quotas_response *out = request->out;
    const struct broker_quotas *quotas = &request->server->security.quotas;
    struct mr_map_entry *entry;
    struct filter filter = {0};

    out->entries.count = -1;
    for (int32_t i = 0; i < in->components.count && out->error_code == KAFKA_ERROR_NONE; i++)
        out->error_code = component_check(request, &filter, &in->components.items[i],
                                          &out->error_message);
    if (out->error_code == KAFKA_ERROR_NONE && filter.entity.has[BROKER_QUOTA_IP] &&
        (filter.entity.has[BROKER_QUOTA_USER] || filter.entity.has[BROKER_QUOTA_CLIENT_ID])) {
        out->error_code = KAFKA_ERROR_INVALID_REQUEST;
        out->error_message = MR_STR(
            "Invalid entity filter component combination. IP filter component "
            "should not be used with user or clientId filter component.");
    }
    if (out->error_code == KAFKA_ERROR_NONE) {
        out->entries.count = 0;
        out->entries.items = mr_arena_array(
            &request->arena, struct kafka_describe_client_quotas_entry, quotas->rows.count);
        for (size_t i = 0; (entry = mr_map_next(&quotas->rows, &i)) != NULL;) {
            const struct broker_quota *row = entry->value;
            if (filter_takes(&filter, &row->entity, in->strict))
                row_tell(request, row, &out->entries.items[out->entries.count++]);
        }
    }
    broker_server_answer(request);
}

/* ---- AlterClientQuotas ---- */

struct alteration {
    struct broker_catalog_wait wait;
    struct broker_request *request;
};

/* Hosts by name are not looked up: it would wait for a peer. */
static bool is_address(mr_str text)
{
    char name[INET6_ADDRSTRLEN];
    uint8_t address[16];

    if (text.length >= sizeof(name))
        return false;
    snprintf(name, sizeof(name), "%.*s", MR_STR_ARG(text));
    return inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1;
}

/* As the protocol says it, to a quota's entity. The sentence says what is wrong; no text: nothing. */
static mr_str entity_check(struct broker_request *request,
                           const struct kafka_alter_client_quotas_entry *asked,
                           struct broker_quota_entity *entity)
{
    for (int32_t i = 0; i < asked->entity.count; i++) {
        mr_str type = asked->entity.items[i].entity_type, name = asked->entity.items[i].entity_name;
        int part = part_find(type);
        if (part < 0)
            return mr_arena_printf(&request->arena, "Unhandled client quota entity type: %.*s",
                                   MR_STR_ARG(type));
        if (name.data != NULL && name.length == 0)
            return mr_arena_printf(&request->arena, "Empty %s not supported", part_words[part]);
        if (name.data != NULL && !mr_str_is_utf8(name))
            return mr_arena_printf(&request->arena, "The %s is no text", part_words[part]);
        entity->has[part] = true;
        entity->names[part] = name; /* of two the last one counts */
    }
    if (asked->entity.count <= 0)
        return MR_STR("Invalid empty client quota entity");
    if (!entity->has[BROKER_QUOTA_IP])
        return MR_STR_NULL;
    if (entity->has[BROKER_QUOTA_USER] || entity->has[BROKER_QUOTA_CLIENT_ID])
        return MR_STR(
            "Invalid quota entity combination, IP entity should not be combined with User or "
            "ClientId");
    if (entity->names[BROKER_QUOTA_IP].data != NULL && !is_address(entity->names[BROKER_QUOTA_IP]))
        return mr_arena_printf(&request->arena, "%.*s is not a valid IP or resolvable host.",
                               MR_STR_ARG(entity->names[BROKER_QUOTA_IP]));
    return MR_STR_NULL;
}

static mr_str op_check(struct broker_request *request, const struct broker_quota_entity *entity,
                       const struct kafka_alter_client_quotas_op *op)
{
    int key = key_find(op->key);
    int parts = entity->has[BROKER_QUOTA_IP] ? FOR_IP : FOR_CLIENT;
    /* the connections are an int, the bytes a long */
    double most = key == BROKER_QUOTA_CONNECTION ? (double)INT32_MAX : (double)INT64_MAX;

    if (op->remove)
        return MR_STR_NULL;
    if (key < 0 || keys[key].parts != parts)
        return mr_arena_printf(&request->arena, "Invalid configuration key %.*s",
                               MR_STR_ARG(op->key));
    if (!(op->value > 0))
        return mr_arena_printf(&request->arena, "Quota %s must be greater than 0", keys[key].name);
    if (!isfinite(op->value) || (keys[key].whole && op->value > most))
        return mr_arena_printf(&request->arena, "Proposed value for %s is too large for %s.",
                               keys[key].name,
                               key == BROKER_QUOTA_CONNECTION ? "an INT" : "a LONG");
    if (keys[key].whole && fmod(op->value, 1) > 1e-6)
        return mr_arena_printf(&request->arena, "%s cannot be a fractional value.", keys[key].name);
    return MR_STR_NULL;
}

static mr_str ops_check(struct broker_request *request, const struct broker_quota_entity *entity,
                        const struct kafka_alter_client_quotas_entry *asked)
{
    mr_str why = MR_STR_NULL;

    for (int32_t i = 0; i < asked->ops.count && why.data == NULL; i++) {
        const struct kafka_alter_client_quotas_op *op = &asked->ops.items[i];
        why = op_check(request, entity, op);
        for (int32_t k = 0; k < i && k < BROKER_QUOTA_COUNT; k++)
            if (mr_str_equal(op->key, asked->ops.items[k].key))
                why = mr_arena_printf(&request->arena, "Duplicate quota key %.*s not updated",
                                      MR_STR_ARG(op->key));
    }
    return why;
}

/* The answer that this entity has already. */
static struct kafka_alter_client_quotas_result *
told_already(struct kafka_alter_client_quotas_response *out, struct mr_map *seen, mr_str name)
{
    size_t place = (size_t)(uintptr_t)mr_map_get(seen, name);

    return place == 0 ? NULL : &out->entries.items[place - 1];
}

static bool alter_one(struct broker_request *request, struct mr_map *seen,
                      const struct kafka_alter_client_quotas_entry *asked)
{
    const struct kafka_alter_client_quotas_request *in = request->in;
    struct kafka_alter_client_quotas_response *out = request->out;
    struct broker_quotas *quotas = &request->server->security.quotas;
    struct kafka_alter_client_quotas_result *answer;
    struct broker_quota_entity entity = {0};
    mr_str why = entity_check(request, asked, &entity);
    struct mr_buf name = {0};

    broker_quotas_name(&entity, &name);
    answer = why.data != NULL ? NULL : told_already(out, seen, mr_buf_as_str(&name));
    if (answer != NULL) {
        why = MR_STR("Ignoring duplicate entity in request");
    } else {
        answer = &out->entries.items[out->entries.count++];
        answer->entity.items = asked->entity.items;
        answer->entity.count = asked->entity.count;
        if (why.data == NULL)
            mr_map_put(seen, mr_buf_as_str(&name), (void *)(uintptr_t)out->entries.count);
    }
    mr_buf_fini(&name);
    if (why.data == NULL)
        why = ops_check(request, &entity, asked);
    if (why.data == NULL && quotas->rows.count >= MR_LIMIT_BROKER_QUOTAS &&
        row_find(quotas, &entity) == NULL)
        why = MR_STR("The broker keeps no more quotas");
    answer->error_code = why.data == NULL ? KAFKA_ERROR_NONE : KAFKA_ERROR_INVALID_REQUEST;
    answer->error_message = why;
    if (why.data != NULL || in->validate_only)
        return false;
    for (int32_t i = 0; i < asked->ops.count; i++) {
        int key = key_find(asked->ops.items[i].key);
        if (key >= 0)
            limit_set(quotas, &entity, key,
                      asked->ops.items[i].remove ? 0 : asked->ops.items[i].value);
    }
    return true;
}

static void altered(struct broker_catalog_wait *wait, mr_err err)
{
    struct alteration *alteration = mr_container(wait, struct alteration, wait);
    struct kafka_alter_client_quotas_response *out = alteration->request->out;

    for (int32_t i = 0; err != MR_OK && i < out->entries.count; i++)
        if (out->entries.items[i].error_code == KAFKA_ERROR_NONE)
            out->entries.items[i].error_code = KAFKA_ERROR_KAFKA_STORAGE_ERROR;
    broker_server_answer(alteration->request);
}

void broker_quotas_alter_client_quotas(struct broker_request *request)
{
    const struct kafka_alter_client_quotas_request *in = request->in;
    struct kafka_alter_client_quotas_response *out = request->out;
    struct mr_map seen = {0};
    bool changed = false;

    out->entries.items = mr_arena_array(&request->arena, struct kafka_alter_client_quotas_result,
                                        (size_t)in->entries.count);
    for (int32_t i = 0; i < in->entries.count; i++)
        changed = alter_one(request, &seen, &in->entries.items[i]) || changed;
    mr_map_fini(&seen);
    if (changed) {
        struct alteration *alteration = mr_arena_new(&request->arena, struct alteration);
        alteration->request = request;
        alteration->wait.run = altered;
        broker_security_save(&request->server->security, &alteration->wait);
    } else {
        broker_server_answer(request);
    }
}

void broker_quotas_lay_out(struct broker_request *request, int16_t code)
{
    const struct kafka_alter_client_quotas_request *in = request->in;
    struct kafka_alter_client_quotas_response *out = request->out;

    out->entries.count = in->entries.count;
    out->entries.items = mr_arena_array(&request->arena, struct kafka_alter_client_quotas_result,
                                        (size_t)in->entries.count);
    for (int32_t i = 0; i < in->entries.count; i++)
        out->entries.items[i] = (struct kafka_alter_client_quotas_result){
            .error_code = code,
            .error_message = mr_str_from(kafka_error_text(code)),
            .entity = {in->entries.items[i].entity.items, in->entries.items[i].entity.count},
        };
}
