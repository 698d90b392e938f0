/* broker/acl.c: the access rules, what they allow, and how they are told and changed. A deny wins
 * over every allow; who may read, write, delete or alter may also describe (KIP-11, KIP-290).
 *
 * Rules are kept in one row, sorted, so that those of one name and in it those of one principal stand
 * together. What is asked for every request goes by an index: a name's own rules and those of `*` by a
 * map; those of its prefixes by one search: whatever is a prefix of a name is one of the last prefix that
 * does not come behind the name, or is that one. */
#include "broker/server.h"
#include "json/json.h"

#include <stdio.h>

static void rule_fini(struct broker_acl *rule)
{
    mr_free((char *)rule->name.data);
    mr_free((char *)rule->principal.data);
    mr_free((char *)rule->host.data);
}

static mr_str own(mr_str text)
{
    return mr_str_of(mr_copy_cstr(text), text.length);
}

static void index_drop(struct broker_acls *acls)
{
    for (size_t i = 0; i < mr_count_of(acls->literals); i++) {
        mr_map_fini(&acls->literals[i]);
        mr_map_init(&acls->literals[i]);
        acls->prefixes[i] = (struct broker_acl_range){0, 0};
    }
    mr_array_fini(&acls->runs);
    acls->indexed = false;
}

void broker_acl_fini(struct broker_acls *acls)
{
    for (size_t i = 0; i < acls->rules.count; i++)
        rule_fini(&acls->rules.items[i]);
    for (size_t i = 0; i < acls->super_users.count; i++)
        mr_free(acls->super_users.items[i]);
    mr_array_fini(&acls->rules);
    mr_array_fini(&acls->super_users);
    index_drop(acls);
}

mr_err broker_acl_supers(struct broker_acls *acls, mr_str list)
{
    mr_str one;

    while (list.length > 0 && mr_str_split(&list, ';', &one)) {
        one = mr_str_trim(one);
        if (one.length == 0)
            continue;
        if (!kafka_acl_is_principal(one))
            return mr_fail(MR_INVALID, "super user \"%.*s\": expected User:NAME", MR_STR_ARG(one));
        *mr_array_add(&acls->super_users) = mr_copy_cstr(one);
    }
    return MR_OK;
}

/* ---- their order ---- */

static int resource_compare(const struct broker_acl *a, const struct broker_acl *b)
{
    return a->resource != b->resource ? a->resource - b->resource
           : a->pattern != b->pattern ? a->pattern - b->pattern
                                      : mr_str_compare(a->name, b->name);
}

/* Behind those of its principal; takes its texts over. */
static void rule_insert(struct broker_acls *acls, const struct broker_acl *rule)
{
    size_t low = 0, high = acls->rules.count;

    while (low < high) {
        size_t middle = (low + high) / 2;
        const struct broker_acl *there = &acls->rules.items[middle];
        int order = resource_compare(there, rule);
        if (order == 0)
            order = mr_str_compare(there->principal, rule->principal);
        if (order <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    (void)mr_array_add(&acls->rules);
    memmove(&acls->rules.items[low + 1], &acls->rules.items[low],
            (acls->rules.count - 1 - low) * sizeof(acls->rules.items[0]));
    acls->rules.items[low] = *rule;
    acls->indexed = false;
}

/* ---- the file's rows ---- */

void broker_acl_print(const struct broker_acls *acls, struct mr_buf *out)
{
    for (size_t i = 0; i < acls->rules.count; i++) {
        const struct broker_acl *rule = &acls->rules.items[i];
        mr_buf_printf(out, "{\"acl\":\"%s\",\"operation\":\"%s\",\"resource\":\"%s\",",
                      kafka_acl_word(KAFKA_ACL_KIND_PERMISSION, rule->permission),
                      kafka_acl_word(KAFKA_ACL_KIND_OPERATION, rule->operation),
                      kafka_acl_word(KAFKA_ACL_KIND_RESOURCE, rule->resource));
        mr_buf_printf(out, "\"pattern\":\"%s\",\"name\":",
                      kafka_acl_word(KAFKA_ACL_KIND_PATTERN, rule->pattern));
        mr_buf_json(out, rule->name);
        mr_buf_cstr(out, ",\"principal\":");
        mr_buf_json(out, rule->principal);
        mr_buf_cstr(out, ",\"host\":");
        mr_buf_json(out, rule->host);
        mr_buf_cstr(out, "}\n");
    }
}

static mr_str text_of(const struct json_value *row, const char *name)
{
    return json_str(json_get(row, mr_str_from(name)), MR_STR_NULL);
}

mr_err broker_acl_read(struct broker_acls *acls, const struct json_value *row)
{
    struct broker_acl rule = {
        .permission = kafka_acl_number(KAFKA_ACL_KIND_PERMISSION, text_of(row, "acl")),
        .operation = kafka_acl_number(KAFKA_ACL_KIND_OPERATION, text_of(row, "operation")),
        .resource = kafka_acl_number(KAFKA_ACL_KIND_RESOURCE, text_of(row, "resource")),
        .pattern = kafka_acl_number(KAFKA_ACL_KIND_PATTERN, text_of(row, "pattern")),
    };

    if (rule.permission < KAFKA_ACL_PERMISSION_DENY || rule.operation < KAFKA_ACL_OP_ALL ||
        rule.resource < KAFKA_ACL_TOPIC || rule.pattern < KAFKA_ACL_PATTERN_LITERAL ||
        text_of(row, "name").length == 0 || !kafka_acl_is_principal(text_of(row, "principal")) ||
        text_of(row, "host").length == 0)
        return mr_fail(MR_CORRUPT, "expected an access rule");
    rule.name = own(text_of(row, "name"));
    rule.principal = own(text_of(row, "principal"));
    rule.host = own(text_of(row, "host"));
    rule_insert(acls, &rule);
    return MR_OK;
}

/* ---- what they allow ---- */

static bool is_star(mr_str text)
{
    return mr_str_equal(text, MR_STR("*"));
}

static bool covers(const struct broker_acl *rule, mr_str name)
{
    if (rule->pattern == KAFKA_ACL_PATTERN_PREFIXED)
        return mr_str_starts(name, rule->name);
    return is_star(rule->name) || mr_str_equal(rule->name, name);
}

/* An allowed operation brings others along; a denied one does not. */
static bool speaks_of(const struct broker_acl *rule, int8_t operation)
{
    int8_t said = rule->operation;

    if (said == operation || said == KAFKA_ACL_OP_ALL)
        return true;
    if (rule->permission == KAFKA_ACL_PERMISSION_DENY)
        return false;
    if (operation == KAFKA_ACL_OP_DESCRIBE)
        return said == KAFKA_ACL_OP_READ || said == KAFKA_ACL_OP_WRITE ||
               said == KAFKA_ACL_OP_DELETE || said == KAFKA_ACL_OP_ALTER;
    return operation == KAFKA_ACL_OP_DESCRIBE_CONFIGS && said == KAFKA_ACL_OP_ALTER_CONFIGS;
}

static bool is_super(const struct broker_acls *acls, const char *principal)
{
    for (size_t i = 0; i < acls->super_users.count; i++)
        if (strcmp(acls->super_users.items[i], principal) == 0)
            return true;
    return false;
}

/* Puts a run of a prefix behind those that are there, in their order. */
static void prefix_index(struct broker_acls *acls, size_t index, int8_t resource)
{
    struct broker_acl_range *prefixes = &acls->prefixes[resource];
    struct broker_acl_run *run = &acls->runs.items[index];

    if (prefixes->to == 0)
        prefixes->from = index;
    else
        run->outer = index; /* the one before, + 1 */
    while (run->outer != 0 && !mr_str_starts(run->name, acls->runs.items[run->outer - 1].name))
        run->outer = acls->runs.items[run->outer - 1].outer;
    prefixes->to = index + 1;
}

static void index_make(struct broker_acls *acls)
{
    const struct broker_acl *rules = acls->rules.items;

    index_drop(acls);
    for (size_t from = 0, to; from < acls->rules.count; from = to) {
        for (to = from + 1; to < acls->rules.count; to++)
            if (resource_compare(&rules[from], &rules[to]) != 0)
                break;
        *mr_array_add(&acls->runs) = (struct broker_acl_run){rules[from].name, from, to, 0};
    }
    for (size_t i = 0; i < acls->runs.count; i++) {
        struct broker_acl_run *run = &acls->runs.items[i];
        int8_t resource = rules[run->from].resource;
        if (rules[run->from].pattern == KAFKA_ACL_PATTERN_LITERAL)
            mr_map_put(&acls->literals[resource], run->name, run);
        else
            prefix_index(acls, i, resource);
    }
    acls->indexed = true;
}

/* A question, and what the rules say to it. */
struct look {
    const struct broker_acls *acls;
    mr_str principal, host;
    int8_t operation, resource;
    bool any; /* a rule is about the resource, whosoever's */
    bool allowed, denied;
};

static void principal_look(struct look *look, const struct broker_acl_run *run, mr_str principal)
{
    const struct broker_acl *rules = look->acls->rules.items;
    size_t low = run->from, high = run->to;

    while (low < high) {
        size_t middle = (low + high) / 2;
        if (mr_str_compare(rules[middle].principal, principal) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < run->to && mr_str_equal(rules[low].principal, principal); low++) {
        const struct broker_acl *rule = &rules[low];
        if (!speaks_of(rule, look->operation) ||
            !(is_star(rule->host) || mr_str_equal(rule->host, look->host)))
            continue;
        if (rule->permission == KAFKA_ACL_PERMISSION_DENY)
            look->denied = true;
        else
            look->allowed = true;
    }
}

static void run_look(struct look *look, const struct broker_acl_run *run)
{
    if (run == NULL)
        return;
    look->any = true;
    principal_look(look, run, look->principal);
    principal_look(look, run, MR_STR("User:*"));
}

static void prefixes_look(struct look *look, mr_str name)
{
    const struct broker_acl_run *runs = look->acls->runs.items;
    size_t first = look->acls->prefixes[look->resource].from, low = first;
    size_t high = look->acls->prefixes[look->resource].to;

    while (low < high) { /* behind the last one that does not come behind the name */
        size_t middle = (low + high) / 2;
        if (mr_str_compare(runs[middle].name, name) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    for (size_t at = low == first ? 0 : low; at != 0; at = runs[at - 1].outer)
        if (mr_str_starts(name, runs[at - 1].name))
            run_look(look, &runs[at - 1]);
}

/* What the rules say about a name, or with PREFIXED about all names that begin so. */
static void name_look(struct look *look, int8_t pattern, mr_str name)
{
    const struct mr_map *literals = &look->acls->literals[look->resource];

    if (pattern == KAFKA_ACL_PATTERN_LITERAL && !is_star(name))
        run_look(look, mr_map_get(literals, name));
    run_look(look, mr_map_get(literals, MR_STR("*")));
    prefixes_look(look, name);
}

static struct look look_begin(struct broker_acls *acls, const char *principal, const char *host,
                              int8_t operation, int8_t resource)
{
    if (!acls->indexed)
        index_make(acls);
    return (struct look){.acls = acls,
                         .principal = mr_str_from(principal),
                         .host = mr_str_from(host),
                         .operation = operation,
                         .resource = resource};
}

bool broker_acl_allows(struct broker_acls *acls, const char *principal, const char *host,
                       int8_t operation, int8_t resource, mr_str name)
{
    struct look look;

    if (!acls->enabled || is_super(acls, principal))
        return true;
    look = look_begin(acls, principal, host, operation, resource);
    name_look(&look, KAFKA_ACL_PATTERN_LITERAL, name);
    return !look.denied && (look.allowed || (!look.any && acls->allow_everyone));
}

bool broker_acl_allows_any(struct broker_acls *acls, const char *principal, const char *host,
                           int8_t operation, int8_t resource)
{
    struct look look;
    mr_str who = mr_str_from(principal), from = mr_str_from(host);

    if (!acls->enabled || is_super(acls, principal))
        return true;
    for (size_t i = 0; i < acls->rules.count; i++) {
        const struct broker_acl *rule = &acls->rules.items[i];
        if (rule->resource != resource || rule->permission != KAFKA_ACL_PERMISSION_ALLOW ||
            !speaks_of(rule, operation) || !(is_star(rule->host) || mr_str_equal(rule->host, from)))
            continue;
        if (!mr_str_equal(rule->principal, who) && !mr_str_equal(rule->principal, MR_STR("User:*")))
            continue;
        look = look_begin(acls, principal, host, operation, resource);
        name_look(&look, rule->pattern, rule->name);
        if (!look.denied) /* no deny is about everything that this one is about */
            return true;
    }
    look = look_begin(acls, principal, host, operation, resource);
    name_look(&look, KAFKA_ACL_PATTERN_LITERAL, MR_STR("*"));
    return acls->allow_everyone && !look.denied;
}

/* ---- filters ---- */

struct filter {
    int8_t resource, pattern, operation, permission;
    mr_str name, principal, host; /* no data: any */
};

static const char *filter_check(const struct filter *filter)
{
    if (filter->resource != KAFKA_ACL_ANY &&
        (filter->resource < KAFKA_ACL_TOPIC || filter->resource > KAFKA_ACL_USER))
        return "The filter has an unknown type of resource.";
    if (filter->pattern < KAFKA_ACL_PATTERN_ANY || filter->pattern > KAFKA_ACL_PATTERN_PREFIXED)
        return "The filter has an unknown type of pattern.";
    if (filter->operation < KAFKA_ACL_OP_ANY || filter->operation > KAFKA_ACL_OP_TWO_PHASE_COMMIT)
        return "The filter has an unknown operation.";
    if (filter->permission < KAFKA_ACL_PERMISSION_ANY ||
        filter->permission > KAFKA_ACL_PERMISSION_ALLOW)
        return "The filter has an unknown type of permission.";
    return NULL;
}

static bool filter_names(const struct filter *filter, const struct broker_acl *rule)
{
    if (filter->pattern >= KAFKA_ACL_PATTERN_LITERAL && filter->pattern != rule->pattern)
        return false;
    if (filter->name.data == NULL)
        return true;
    if (filter->pattern == KAFKA_ACL_PATTERN_MATCH)
        return covers(rule, filter->name);
    return mr_str_equal(filter->name, rule->name);
}

static bool filter_takes(const struct filter *filter, const struct broker_acl *rule)
{
    return (filter->resource == KAFKA_ACL_ANY || filter->resource == rule->resource) &&
           (filter->operation == KAFKA_ACL_OP_ANY || filter->operation == rule->operation) &&
           (filter->permission == KAFKA_ACL_PERMISSION_ANY ||
            filter->permission == rule->permission) &&
           (filter->principal.data == NULL || mr_str_equal(filter->principal, rule->principal)) &&
           (filter->host.data == NULL || mr_str_equal(filter->host, rule->host)) &&
           filter_names(filter, rule);
}

/* ---- DescribeAcls ---- */

/* Rules of one resource stand together. */
static struct kafka_describe_acls_resource *resource_of(struct broker_request *request,
                                                        const struct broker_acl *rule)
{
    struct kafka_describe_acls_response *out = request->out;
    struct kafka_describe_acls_resource *row = NULL;

    if (out->resources.count > 0)
        row = &out->resources.items[out->resources.count - 1];
    if (row != NULL && row->resource_type == rule->resource && row->pattern_type == rule->pattern &&
        mr_str_equal(row->resource_name, rule->name))
        return row;
    row = &out->resources.items[out->resources.count++];
    row->resource_type = rule->resource;
    row->pattern_type = rule->pattern;
    row->resource_name = mr_arena_str(&request->arena, rule->name);
    return row;
}

static void rules_tell(struct broker_request *request, const struct filter *filter)
{
    const struct broker_acls *acls = &request->server->security.acls;
    struct kafka_describe_acls_response *out = request->out;

    out->resources.items = mr_arena_array(&request->arena, struct kafka_describe_acls_resource,
                                          acls->rules.count);
    for (size_t i = 0; i < acls->rules.count; i++) {
        const struct broker_acl *rule = &acls->rules.items[i];
        if (!filter_takes(filter, rule))
            continue;
        struct kafka_describe_acls_resource *row = resource_of(request, rule);
        struct kafka_describe_acls_acl *grown;
        if ((row->acls.count & (row->acls.count - 1)) == 0) { /* full at every power of two */
            grown = mr_arena_array(&request->arena, struct kafka_describe_acls_acl,
                                   row->acls.count == 0 ? 1 : (size_t)row->acls.count * 2);
            if (row->acls.count > 0)
                memcpy(grown, row->acls.items, (size_t)row->acls.count * sizeof(*grown));
            row->acls.items = grown;
        }
        row->acls.items[row->acls.count++] = (struct kafka_describe_acls_acl){
            .principal = mr_arena_str(&request->arena, rule->principal),
            .host = mr_arena_str(&request->arena, rule->host),
            .operation = rule->operation,
            .permission_type = rule->permission,
        };
    }
}

void broker_acl_describe_acls(struct broker_request *request)
{
    const struct kafka_describe_acls_request *in = request->in;
    struct kafka_describe_acls_response *out = request->out;
    struct filter filter = {
        in->resource_type_filter, in->pattern_type_filter, in->operation,  in->permission_type,
        in->resource_name_filter, in->principal_filter,    in->host_filter};
    const char *why = filter_check(&filter);

    if (!request->server->security.acls.enabled) {
        out->error_code = KAFKA_ERROR_SECURITY_DISABLED;
        out->error_message = mr_str_from("No Authorizer is configured on the broker");
    } else if (why != NULL) {
        out->error_code = KAFKA_ERROR_INVALID_REQUEST;
        out->error_message = mr_str_from(why);
    } else {
        rules_tell(request, &filter);
    }
    broker_server_answer(request);
}

/* ---- CreateAcls ---- */

struct alteration {
    struct broker_catalog_wait wait;
    struct broker_request *request;
};

static int16_t creation_check(const struct broker_acls *acls,
                              const struct kafka_create_acls_creation *asked, const char **why)
{
    if (!acls->enabled) {
        *why = "No Authorizer is configured on the broker";
        return KAFKA_ERROR_SECURITY_DISABLED;
    }
    if (asked->resource_type < KAFKA_ACL_TOPIC || asked->resource_type > KAFKA_ACL_USER)
        *why = "Invalid resource type";
    else if (asked->resource_pattern_type < KAFKA_ACL_PATTERN_LITERAL ||
             asked->resource_pattern_type > KAFKA_ACL_PATTERN_PREFIXED)
        *why = "Invalid pattern type";
    else if (asked->operation < KAFKA_ACL_OP_ALL ||
             asked->operation > KAFKA_ACL_OP_TWO_PHASE_COMMIT)
        *why = "Invalid operation";
    else if (asked->permission_type < KAFKA_ACL_PERMISSION_DENY ||
             asked->permission_type > KAFKA_ACL_PERMISSION_ALLOW)
        *why = "Invalid permission type";
    else if (asked->resource_name.length == 0 || !mr_str_is_utf8(asked->resource_name))
        *why = "Resource name should not be empty";
    else if (asked->resource_type == KAFKA_ACL_CLUSTER &&
             !mr_str_equal(asked->resource_name, KAFKA_ACL_CLUSTER_NAME))
        *why = "The only valid name for the CLUSTER resource is kafka-cluster";
    else if (!kafka_acl_is_principal(asked->principal))
        *why = "Could not parse principal (expected a type, a colon and a name)";
    else if (asked->host.length == 0 || !mr_str_is_utf8(asked->host))
        *why = "Host should not be empty";
    if (*why != NULL)
        return KAFKA_ERROR_INVALID_REQUEST;
    if (acls->rules.count >= MR_LIMIT_BROKER_ACLS) { /* nothing is wrong with the request */
        *why = "The broker keeps no more rules";
        return KAFKA_ERROR_POLICY_VIOLATION;
    }
    return KAFKA_ERROR_NONE;
}

static void rule_add(struct broker_acls *acls, const struct kafka_create_acls_creation *asked)
{
    struct filter same = {asked->resource_type, asked->resource_pattern_type,
                          asked->operation,     asked->permission_type,
                          asked->resource_name, asked->principal,
                          asked->host};
    struct broker_acl rule = {
        .resource = asked->resource_type,
        .pattern = asked->resource_pattern_type,
        .operation = asked->operation,
        .permission = asked->permission_type,
    };

    for (size_t i = 0; i < acls->rules.count; i++)
        if (filter_takes(&same, &acls->rules.items[i]))
            return;
    rule.name = own(asked->resource_name);
    rule.principal = own(asked->principal);
    rule.host = own(asked->host);
    rule_insert(acls, &rule);
}

static void created(struct broker_catalog_wait *wait, mr_err err)
{
    struct alteration *alteration = mr_container(wait, struct alteration, wait);
    struct kafka_create_acls_response *out = alteration->request->out;

    for (int32_t i = 0; err != MR_OK && i < out->results.count; i++)
        if (out->results.items[i].error_code == KAFKA_ERROR_NONE)
            out->results.items[i].error_code = KAFKA_ERROR_KAFKA_STORAGE_ERROR;
    broker_server_answer(alteration->request);
}

static void save(struct broker_request *request,
                 void (*done)(struct broker_catalog_wait *wait, mr_err err))
{
    struct alteration *alteration = mr_arena_new(&request->arena, struct alteration);

    alteration->request = request;
    alteration->wait.run = done;
    broker_security_save(&request->server->security, &alteration->wait);
}

void broker_acl_create_acls(struct broker_request *request)
{
    const struct kafka_create_acls_request *in = request->in;
    struct kafka_create_acls_response *out = request->out;
    struct broker_acls *acls = &request->server->security.acls;
    bool changed = false;

    out->results.items = mr_arena_array(&request->arena, struct kafka_create_acls_result,
                                        (size_t)in->creations.count);
    out->results.count = in->creations.count;
    for (int32_t i = 0; i < in->creations.count; i++) {
        const char *why = NULL;
        out->results.items[i].error_code = i >= MR_LIMIT_BROKER_ACLS
                                               ? (int16_t)KAFKA_ERROR_INVALID_REQUEST
                                               : creation_check(acls, &in->creations.items[i],
                                                                &why);
        if (i >= MR_LIMIT_BROKER_ACLS)
            why = "The request has too many rules.";
        out->results.items[i].error_message = mr_str_from(why);
        if (out->results.items[i].error_code != KAFKA_ERROR_NONE)
            continue;
        rule_add(acls, &in->creations.items[i]);
        changed = true;
    }
    if (changed)
        save(request, created);
    else
        broker_server_answer(request);
}

/* ---- DeleteAcls ---- */

static void deleted(struct broker_catalog_wait *wait, mr_err err)
{
    struct alteration *alteration = mr_container(wait, struct alteration, wait);
    struct kafka_delete_acls_response *out = alteration->request->out;

    for (int32_t i = 0; err != MR_OK && i < out->filter_results.count; i++)
        if (out->filter_results.items[i].matching_acls.count > 0)
            out->filter_results.items[i].error_code = KAFKA_ERROR_KAFKA_STORAGE_ERROR;
    broker_server_answer(alteration->request);
}

static void rules_remove(struct broker_request *request, const struct filter *filter,
                         struct kafka_delete_acls_result *answer)
{
    struct broker_acls *acls = &request->server->security.acls;
    size_t kept = 0, count = 0;

    for (size_t i = 0; i < acls->rules.count; i++)
        count += filter_takes(filter, &acls->rules.items[i]);
    answer->matching_acls.items = mr_arena_array(&request->arena, struct kafka_delete_acls_acl,
                                                 count);
    for (size_t i = 0; i < acls->rules.count; i++) {
        struct broker_acl *rule = &acls->rules.items[i];
        if (!filter_takes(filter, rule)) {
            acls->rules.items[kept++] = *rule;
            continue;
        }
        answer->matching_acls.items[answer->matching_acls.count++] = (struct kafka_delete_acls_acl){
            .resource_type = rule->resource,
            .resource_name = mr_arena_str(&request->arena, rule->name),
            .pattern_type = rule->pattern,
            .principal = mr_arena_str(&request->arena, rule->principal),
            .host = mr_arena_str(&request->arena, rule->host),
            .operation = rule->operation,
            .permission_type = rule->permission,
        };
        rule_fini(rule);
    }
    acls->rules.count = kept;
    acls->indexed = false;
}

void broker_acl_delete_acls(struct broker_request *request)
{
    const struct kafka_delete_acls_request *in = request->in;
    struct kafka_delete_acls_response *out = request->out;
    bool changed = false;

    out->filter_results.items = mr_arena_array(&request->arena, struct kafka_delete_acls_result,
                                               (size_t)in->filters.count);
    out->filter_results.count = in->filters.count;
    for (int32_t i = 0; i < in->filters.count; i++) {
        const struct kafka_delete_acls_filter *asked = &in->filters.items[i];
        struct kafka_delete_acls_result *answer = &out->filter_results.items[i];
        struct filter filter = {
            asked->resource_type_filter, asked->pattern_type_filter,  asked->operation,
            asked->permission_type,      asked->resource_name_filter, asked->principal_filter,
            asked->host_filter};
        const char *why = i >= MR_LIMIT_BROKER_ACLS ? "The request has too many filters."
                                                    : filter_check(&filter);
        if (!request->server->security.acls.enabled) {
            answer->error_code = KAFKA_ERROR_SECURITY_DISABLED;
            answer->error_message = mr_str_from("No Authorizer is configured on the broker");
        } else if (why != NULL) {
            answer->error_code = KAFKA_ERROR_INVALID_REQUEST;
            answer->error_message = mr_str_from(why);
        } else {
            rules_remove(request, &filter, answer);
            changed = changed || answer->matching_acls.count > 0;
        }
    }
    if (changed)
        save(request, deleted);
    else
        broker_server_answer(request);
}
