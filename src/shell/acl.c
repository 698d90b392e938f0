/* shell/acl.c: `millrace acl`: access rules, as kafka-acls.sh tells, adds and removes them. The command line is
 * resources times operations times principals times hosts; what follows from it is a list of rules, which
 * are created, or are the filters of those that are removed. */
#include "kafka/acl.h"
#include "shell/room.h"

#include <stdio.h>
#include <string.h>

/* What producing and consuming need. */
enum { PRODUCER = 1, CONSUMER = 2, IDEMPOTENT = 4 };
static const struct {
    int role;
    int8_t resource, operation;
} roles[] = {
    {PRODUCER, KAFKA_ACL_TOPIC, KAFKA_ACL_OP_WRITE},
    {PRODUCER, KAFKA_ACL_TOPIC, KAFKA_ACL_OP_DESCRIBE},
    {PRODUCER, KAFKA_ACL_TOPIC, KAFKA_ACL_OP_CREATE},
    {PRODUCER, KAFKA_ACL_TRANSACTIONAL_ID, KAFKA_ACL_OP_WRITE},
    {PRODUCER, KAFKA_ACL_TRANSACTIONAL_ID, KAFKA_ACL_OP_DESCRIBE},
    {IDEMPOTENT, KAFKA_ACL_CLUSTER, KAFKA_ACL_OP_IDEMPOTENT_WRITE},
    {CONSUMER, KAFKA_ACL_TOPIC, KAFKA_ACL_OP_READ},
    {CONSUMER, KAFKA_ACL_TOPIC, KAFKA_ACL_OP_DESCRIBE},
    {CONSUMER, KAFKA_ACL_GROUP, KAFKA_ACL_OP_READ},
};

struct resource {
    int8_t type, pattern;
    mr_str name; /* data NULL: any */
};
struct wish {
    struct shell *shell;
    int role;
    int8_t pattern;     /* 0: not said */
    int32_t operations; /* bits; 0: not said */
    MR_ARRAY(struct resource) resources;
};

/* ---- the command line ---- */

static void read_resources(struct wish *wish)
{
    const struct shell_options *options = &wish->shell->options;
    const struct {
        const struct shell_option *option;
        int8_t type;
    } kinds[] = {{&options->topic, KAFKA_ACL_TOPIC},
                 {&options->group, KAFKA_ACL_GROUP},
                 {&options->transactional_id, KAFKA_ACL_TRANSACTIONAL_ID}};
    int8_t pattern = wish->pattern == 0 ? KAFKA_ACL_PATTERN_LITERAL : wish->pattern;

    for (size_t k = 0; k < mr_count_of(kinds); k++)
        for (size_t i = 0; i < kinds[k].option->count; i++)
            *mr_array_add(&wish->resources) = (struct resource){
                kinds[k].type, pattern, mr_str_trim(mr_str_from(kinds[k].option->items[i]))};
    if (options->cluster.count > 0 || options->idempotent.count > 0)
        *mr_array_add(&wish->resources) = (struct resource){
            KAFKA_ACL_CLUSTER, KAFKA_ACL_PATTERN_LITERAL, KAFKA_ACL_CLUSTER_NAME};
}

static mr_err read_words(struct wish *wish)
{
    const struct shell_options *options = &wish->shell->options;
    const char *pattern = shell_text(&options->resource_pattern_type);

    for (size_t i = 0; i < options->operation.count; i++) {
        const char *word = options->operation.items[i];
        int8_t operation = kafka_acl_number(KAFKA_ACL_KIND_OPERATION, mr_str_from(word));
        if (operation < KAFKA_ACL_OP_ALL)
            return mr_fail(MR_INVALID, "--operation %s: there is none of this name", word);
        wish->operations |= 1 << operation;
    }
    if (pattern != NULL) {
        wish->pattern = kafka_acl_number(KAFKA_ACL_KIND_PATTERN, mr_str_from(pattern));
        if (wish->pattern == 0)
            return mr_fail(MR_INVALID,
                           "--resource-pattern-type %s: expected literal, prefixed, match or any",
                           pattern);
    }
    wish->role = (options->producer.count > 0 ? PRODUCER : 0) |
                 (options->consumer.count > 0 ? CONSUMER : 0) |
                 (options->idempotent.count > 0 ? IDEMPOTENT : 0);
    return MR_OK;
}

static mr_err check_role(const struct wish *wish)
{
    const struct shell_options *options = &wish->shell->options;

    if (wish->role == 0)
        return MR_OK;
    if ((wish->role & IDEMPOTENT) != 0 && (wish->role & PRODUCER) == 0)
        return mr_fail(MR_INVALID, "--idempotent goes with --producer");
    if (options->operation.count > 0 || options->deny_principal.count > 0)
        return mr_fail(MR_INVALID, "--producer and --consumer allow what they need: no "
                                   "--operation, no --deny-principal");
    if (options->topic.count == 0 || options->allow_principal.count == 0)
        return mr_fail(MR_INVALID,
                       "--producer and --consumer need a --topic and an --allow-principal");
    if (((wish->role & CONSUMER) != 0) != (options->group.count > 0))
        return mr_fail(MR_INVALID, "--consumer needs a --group, and --producer has none");
    if (options->cluster.count > 0 ||
        (options->transactional_id.count > 0 && (wish->role & PRODUCER) == 0))
        return mr_fail(MR_INVALID, "--producer is about topics and transactional ids, --consumer "
                                   "about topics and groups");
    return MR_OK;
}

static mr_err check_principals(const struct wish *wish)
{
    const struct shell_options *options = &wish->shell->options;
    const struct {
        const struct shell_option *option;
        const char *word;
    } lists[] = {{&options->principal, "--principal"},
                 {&options->allow_principal, "--allow-principal"},
                 {&options->deny_principal, "--deny-principal"}};

    for (size_t k = 0; k < mr_count_of(lists); k++)
        for (size_t i = 0; i < lists[k].option->count; i++)
            if (!kafka_acl_is_principal(mr_str_from(lists[k].option->items[i])))
                return mr_fail(MR_INVALID, "%s %s: expected TYPE:NAME, as User:ann", lists[k].word,
                               lists[k].option->items[i]);
    if ((options->allow_host.count > 0 && options->allow_principal.count == 0) ||
        (options->deny_host.count > 0 && options->deny_principal.count == 0))
        return mr_fail(MR_INVALID,
                       "a host is of a principal: --allow-principal or --deny-principal");
    return MR_OK;
}

/* The operations that are said about a kind of resource. */
static int32_t operations_of(const struct wish *wish, int8_t resource)
{
    int32_t found = 0;

    for (size_t i = 0; i < mr_count_of(roles); i++)
        if ((wish->role & roles[i].role) != 0 && roles[i].resource == resource)
            found |= 1 << roles[i].operation;
    if (wish->role != 0)
        return found;
    return wish->operations != 0 ? wish->operations : 1 << KAFKA_ACL_OP_ALL;
}

static mr_err check_operations(const struct wish *wish)
{
    for (size_t i = 0; i < wish->resources.count; i++) {
        int8_t type = wish->resources.items[i].type;
        int32_t known = kafka_acl_operations(type) | 1 << KAFKA_ACL_OP_ALL;
        int32_t strange = operations_of(wish, type) & ~known;
        if (strange != 0)
            return mr_fail(
                MR_INVALID, "--operation %s means nothing on %s",
                kafka_acl_word(KAFKA_ACL_KIND_OPERATION, (int8_t)__builtin_ctz((unsigned)strange)),
                kafka_acl_word(KAFKA_ACL_KIND_RESOURCE, type));
    }
    return MR_OK;
}

/* ---- rules ---- */

typedef MR_ARRAY(struct kafka_create_acls_creation) rules;

static void rules_of_side(rules *out, const struct resource *resource, int32_t operations,
                          const struct shell_option *principals, const struct shell_option *hosts,
                          int8_t permission)
{
    size_t host_count = hosts->count == 0 ? 1 : hosts->count;

    for (size_t i = 0; i < principals->count; i++)
        for (size_t k = 0; k < host_count; k++)
            for (int8_t operation = 0; operation < 31; operation++)
                if ((operations & 1 << operation) != 0)
                    *mr_array_add(out) = (struct kafka_create_acls_creation){
                        .resource_type = resource->type,
                        .resource_name = resource->name,
                        .resource_pattern_type = resource->pattern,
                        .principal = mr_str_from(principals->items[i]),
                        .host = hosts->count == 0 ? MR_STR("*") : mr_str_from(hosts->items[k]),
                        .operation = operation,
                        .permission_type = permission};
}

static void rules_of(const struct wish *wish, const struct resource *resource, rules *out)
{
    const struct shell_options *options = &wish->shell->options;
    int32_t operations = operations_of(wish, resource->type);

    rules_of_side(out, resource, operations, &options->allow_principal, &options->allow_host,
                  KAFKA_ACL_PERMISSION_ALLOW);
    rules_of_side(out, resource, operations, &options->deny_principal, &options->deny_host,
                  KAFKA_ACL_PERMISSION_DENY);
}

/* ---- as kafka-acls.sh prints them ---- */

static void print_resource(FILE *file, const char *before, struct resource resource,
                           const char *after)
{
    fprintf(file, "%s`ResourcePattern(resourceType=%s, name=%.*s, patternType=%s)`%s", before,
            kafka_acl_word(KAFKA_ACL_KIND_RESOURCE, resource.type),
            MR_STR_ARG(resource.name.data == NULL ? MR_STR("null") : resource.name),
            kafka_acl_word(KAFKA_ACL_KIND_PATTERN, resource.pattern), after);
}

static void print_rule(FILE *file, mr_str principal, mr_str host, int8_t operation,
                       int8_t permission)
{
    fprintf(file, "\t(principal=%.*s, host=%.*s, operation=%s, permissionType=%s)\n",
            MR_STR_ARG(principal), MR_STR_ARG(host),
            kafka_acl_word(KAFKA_ACL_KIND_OPERATION, operation),
            kafka_acl_word(KAFKA_ACL_KIND_PERMISSION, permission));
}

static void print_rules(FILE *file, const rules *list)
{
    for (size_t i = 0; i < list->count; i++)
        print_rule(file, list->items[i].principal, list->items[i].host, list->items[i].operation,
                   list->items[i].permission_type);
}

/* ---- list ---- */

struct question {
    struct wish *wish;
    struct resource resource;
    mr_str principal; /* data NULL: any */
    const rules *list;
    mr_str message;
};

/* The log's own sentence says more than the name of its error. */
static mr_err ask(struct question *question, int16_t api_key, kafka_fill *fill, shell_use *use)
{
    mr_err err = shell_ask(question->wish->shell,
                           (struct kafka_target){KAFKA_TARGET_ANY, MR_STR_NULL, 0}, api_key, fill,
                           use, question, "access rules");

    if (err != MR_OK && question->message.length > 0)
        return mr_fail(err, "access rules: %.*s", MR_STR_ARG(question->message));
    return err;
}

static void list_fill(void *context, int16_t version, struct mr_arena *arena, void *request)
{
    const struct question *question = context;
    struct kafka_describe_acls_request *describe = request;
    (void)version;
    (void)arena;
    describe->resource_type_filter = question->resource.type;
    describe->resource_name_filter = question->resource.name;
    describe->pattern_type_filter = question->resource.pattern;
    describe->principal_filter = question->principal;
    describe->operation = KAFKA_ACL_OP_ANY;
    describe->permission_type = KAFKA_ACL_PERMISSION_ANY;
}

static int16_t list_use(void *context, int16_t version, const void *response)
{
    struct question *question = context;
    const struct kafka_describe_acls_response *described = response;
    (void)version;
    question->message = mr_arena_str(&question->wish->shell->arena, described->error_message);
    for (int32_t i = 0; described->error_code == 0 && i < described->resources.count; i++) {
        const struct kafka_describe_acls_resource *row = &described->resources.items[i];
        print_resource(stdout, "Current ACLs for resource ",
                       (struct resource){row->resource_type, row->pattern_type, row->resource_name},
                       ":\n");
        for (int32_t k = 0; k < row->acls.count; k++)
            print_rule(stdout, row->acls.items[k].principal, row->acls.items[k].host,
                       row->acls.items[k].operation, row->acls.items[k].permission_type);
        printf("\n");
    }
    return described->error_code;
}

static mr_err acl_list(struct wish *wish)
{
    const struct shell_options *options = &wish->shell->options;
    size_t principal_count = options->principal.count;
    mr_err err = MR_OK;

    if (wish->role != 0 || wish->operations != 0 || options->allow_principal.count > 0 ||
        options->deny_principal.count > 0)
        return mr_fail(MR_INVALID, "--list is about resources and --principal");
    if (wish->resources.count == 0)
        *mr_array_add(&wish->resources) = (struct resource){
            KAFKA_ACL_ANY, wish->pattern == 0 ? KAFKA_ACL_PATTERN_ANY : wish->pattern, MR_STR_NULL};
    for (size_t i = 0; err == MR_OK && i < principal_count + (principal_count == 0); i++) {
        struct question question = {.wish = wish};
        if (principal_count > 0) {
            question.principal = mr_str_from(options->principal.items[i]);
            printf("ACLs for principal `%.*s`\n", MR_STR_ARG(question.principal));
        }
        for (size_t k = 0; err == MR_OK && k < wish->resources.count; k++) {
            question.resource = wish->resources.items[k];
            err = ask(&question, KAFKA_API_describe_acls, list_fill, list_use);
        }
    }
    return err;
}

/* ---- add ---- */

static void add_fill(void *context, int16_t version, struct mr_arena *arena, void *request)
{
    const struct question *question = context;
    struct kafka_create_acls_request *create = request;
    (void)version;
    create->creations.items = mr_arena_array(arena, struct kafka_create_acls_creation,
                                             question->list->count);
    create->creations.count = (int32_t)question->list->count;
    memcpy(create->creations.items, question->list->items,
           question->list->count * sizeof question->list->items[0]);
}

static int16_t add_use(void *context, int16_t version, const void *response)
{
    struct question *question = context;
    const struct kafka_create_acls_response *created = response;
    (void)version;
    for (int32_t i = 0; i < created->results.count; i++)
        if (created->results.items[i].error_code != KAFKA_ERROR_NONE) {
            question->message = mr_arena_str(&question->wish->shell->arena,
                                             created->results.items[i].error_message);
            return created->results.items[i].error_code;
        }
    return KAFKA_ERROR_NONE;
}

static mr_err acl_add(struct wish *wish)
{
    const struct shell_options *options = &wish->shell->options;
    mr_err err = MR_OK;

    if (options->allow_principal.count == 0 && options->deny_principal.count == 0)
        return mr_fail(MR_INVALID, "--add needs an --allow-principal or a --deny-principal");
    if (wish->pattern == KAFKA_ACL_PATTERN_ANY || wish->pattern == KAFKA_ACL_PATTERN_MATCH)
        return mr_fail(MR_INVALID, "--add: a rule's --resource-pattern-type is literal or "
                                   "prefixed");
    for (size_t i = 0; err == MR_OK && i < wish->resources.count; i++) {
        rules list = {0};
        struct question question = {.wish = wish, .list = &list};
        rules_of(wish, &wish->resources.items[i], &list);
        err = ask(&question, KAFKA_API_create_acls, add_fill, add_use);
        if (err == MR_OK) {
            print_resource(stdout, "Adding ACLs for resource ", wish->resources.items[i], ": \n ");
            print_rules(stdout, &list);
            printf("\n");
        }
        mr_array_fini(&list);
    }
    return err;
}

/* ---- remove ---- */

static void remove_fill(void *context, int16_t version, struct mr_arena *arena, void *request)
{
    const struct question *question = context;
    struct kafka_delete_acls_request *delete = request;
    size_t count = question->list->count;
    (void)version;
    delete->filters.items = mr_arena_array(arena, struct kafka_delete_acls_filter,
                                           count == 0 ? 1 : count);
    delete->filters.count = count == 0 ? 1 : (int32_t)count;
    for (int32_t i = 0; i < delete->filters.count; i++) {
        delete->filters.items[i] = (struct kafka_delete_acls_filter){
            .resource_type_filter = question->resource.type,
            .resource_name_filter = question->resource.name,
            .pattern_type_filter = question->resource.pattern,
            .operation = KAFKA_ACL_OP_ANY,
            .permission_type = KAFKA_ACL_PERMISSION_ANY};
        if (count == 0)
            continue; /* all rules of the resource */
        delete->filters.items[i].principal_filter = question->list->items[i].principal;
        delete->filters.items[i].host_filter = question->list->items[i].host;
        delete->filters.items[i].operation = question->list->items[i].operation;
        delete->filters.items[i].permission_type = question->list->items[i].permission_type;
    }
}

static int16_t remove_use(void *context, int16_t version, const void *response)
{
    struct question *question = context;
    const struct kafka_delete_acls_response *deleted = response;
    (void)version;
    for (int32_t i = 0; i < deleted->filter_results.count; i++) {
        const struct kafka_delete_acls_result *result = &deleted->filter_results.items[i];
        if (result->error_code != KAFKA_ERROR_NONE) {
            question->message = mr_arena_str(&question->wish->shell->arena, result->error_message);
            return result->error_code;
        }
        for (int32_t k = 0; k < result->matching_acls.count; k++) {
            const struct kafka_delete_acls_acl *acl = &result->matching_acls.items[k];
            if (acl->error_code != KAFKA_ERROR_NONE)
                return acl->error_code;
            print_resource(
                stdout, "Removed an ACL of resource ",
                (struct resource){acl->resource_type, acl->pattern_type, acl->resource_name},
                ":\n");
            print_rule(stdout, acl->principal, acl->host, acl->operation, acl->permission_type);
        }
    }
    return KAFKA_ERROR_NONE;
}

/* Errors: MR_INVALID when there is nobody to say yes or no. */
static mr_err confirm(const struct question *question, bool *yes)
{
    char line[16];

    *yes = true;
    if (question->wish->shell->options.force.count > 0)
        return MR_OK;
    if (question->list->count > 0) {
        fprintf(stderr, "Are you sure you want to remove ACLs:\n");
        print_rules(stderr, question->list);
        print_resource(stderr, "from resource filter ", question->resource, "? (y/n)\n");
    } else {
        print_resource(stderr, "Are you sure you want to delete all ACLs for resource filter ",
                       question->resource, "? (y/n)\n");
    }
    if (fgets(line, sizeof line, stdin) == NULL)
        return mr_fail(MR_INVALID, "nothing is removed: nobody has said yes; --force asks nobody");
    *yes = mr_str_equal_nocase(mr_str_trim(mr_str_from(line)), MR_STR("y"));
    return MR_OK;
}

static mr_err acl_remove(struct wish *wish)
{
    const struct shell_options *options = &wish->shell->options;
    bool named = options->allow_principal.count > 0 || options->deny_principal.count > 0;
    mr_err err = MR_OK;

    if (wish->operations != 0 && !named)
        return mr_fail(MR_INVALID, "--remove: an --operation needs an --allow-principal or a "
                                   "--deny-principal; without all of them every rule goes");
    for (size_t i = 0; err == MR_OK && i < wish->resources.count; i++) {
        rules list = {0};
        struct question question = {
            .wish = wish, .resource = wish->resources.items[i], .list = &list};
        bool yes;
        rules_of(wish, &question.resource, &list);
        err = confirm(&question, &yes);
        if (err == MR_OK && yes)
            err = ask(&question, KAFKA_API_delete_acls, remove_fill, remove_use);
        mr_array_fini(&list);
    }
    return err;
}

/* ---- the command ---- */

static mr_err run(struct shell *shell)
{
    const struct shell_options *options = &shell->options;
    struct wish wish = {.shell = shell};
    bool list = options->list.count > 0, add = options->add.count > 0;
    mr_err err = list + add + (options->remove.count > 0) == 1
                     ? read_words(&wish)
                     : mr_fail(MR_INVALID, "expected exactly one of --list, --add, --remove");

    if (err == MR_OK) {
        read_resources(&wish);
        err = check_role(&wish);
    }
    if (err == MR_OK)
        err = check_principals(&wish);
    if (err == MR_OK && list)
        err = acl_list(&wish);
    else if (err == MR_OK && wish.resources.count == 0)
        err = mr_fail(MR_INVALID, "expected a --topic, --group, --cluster or --transactional-id");
    else if (err == MR_OK)
        err = check_operations(&wish);
    if (err == MR_OK && !list)
        err = add ? acl_add(&wish) : acl_remove(&wish);
    mr_array_fini(&wish.resources);
    return err;
}

int shell_command_acl(int argc, char **argv)
{
    struct shell shell;
    int status = shell_begin(&shell, "acl", argc, argv);
    return status >= 0 ? status : shell_end(&shell, run(&shell));
}
