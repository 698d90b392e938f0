/* broker/users.c: users and their SCRAM credentials. A password itself is never kept; PLAIN is
 * verified against the same salted hashes. */
#include "broker/server.h"
#include "json/json.h"

#include <stdio.h>

enum { USERS_BYTES_MAX = 1 << 20 };

/* ---- the file's rows ---- */

static void bytes_print(struct mr_buf *out, const char *name, const uint8_t *bytes, size_t length)
{
    mr_buf_printf(out, ",\"%s\":\"", name);
    kafka_scram_base64(out, bytes, length);
    mr_buf_u8(out, '"');
}

void broker_users_print(const struct broker_security *security, struct mr_buf *out)
{
    struct mr_map_entry *entry;

    for (size_t i = 0; (entry = mr_map_next(&security->users, &i)) != NULL;) {
        const struct broker_user *user = entry->value;
        for (int at = 0; at < 2; at++) {
            const struct kafka_scram_credential *credential = &user->credentials[at];
            size_t bytes = kafka_scram_bytes(credential->kind);
            if (credential->kind == KAFKA_SCRAM_NONE)
                continue;
            mr_buf_printf(out, "{\"scram\":\"%s\",\"user\":", kafka_scram_name(credential->kind));
            mr_buf_json(out, entry->key);
            mr_buf_printf(out, ",\"iterations\":%d", credential->iterations);
            bytes_print(out, "salt", credential->salt, credential->salt_bytes);
            bytes_print(out, "stored_key", credential->stored_key, bytes);
            bytes_print(out, "server_key", credential->server_key, bytes);
            mr_buf_cstr(out, "}\n");
        }
    }
}

struct broker_user *broker_users_find(const struct broker_security *security, mr_str name)
{
    return mr_map_get(&security->users, name);
}

static struct broker_user *user_get(struct broker_security *security, mr_str name)
{
    struct broker_user *user = broker_users_find(security, name);

    if (user == NULL) {
        user = mr_new(struct broker_user);
        mr_map_put(&security->users, name, user);
    }
    return user;
}

mr_err broker_users_read(struct broker_security *security, const struct json_value *row)
{
    struct kafka_scram_credential credential = {0};
    mr_str user = json_str(json_get(row, MR_STR("user")), MR_STR_NULL);
    int64_t iterations = json_i64(json_get(row, MR_STR("iterations")), 0);
    size_t stored = 0, server = 0;

    credential.kind = kafka_scram_find(json_str(json_get(row, MR_STR("scram")), MR_STR_NULL));
    credential.iterations = (int32_t)iterations;
    if (credential.kind == KAFKA_SCRAM_NONE || user.length == 0 || iterations < 1 ||
        iterations > INT32_MAX ||
        kafka_scram_unbase64(json_str(json_get(row, MR_STR("salt")), MR_STR_NULL), credential.salt,
                             sizeof(credential.salt), &credential.salt_bytes) != MR_OK ||
        kafka_scram_unbase64(json_str(json_get(row, MR_STR("stored_key")), MR_STR_NULL),
                             credential.stored_key, KAFKA_SCRAM_BYTES, &stored) != MR_OK ||
        kafka_scram_unbase64(json_str(json_get(row, MR_STR("server_key")), MR_STR_NULL),
                             credential.server_key, KAFKA_SCRAM_BYTES, &server) != MR_OK ||
        stored != kafka_scram_bytes(credential.kind) || server != stored)
        return mr_fail(MR_CORRUPT, "expected a user's SCRAM credential");
    user_get(security, user)->credentials[credential.kind - 1] = credential;
    return MR_OK;
}

/* ---- first users ---- */

mr_err broker_users_first(struct broker_security *security, mr_str path, bool *made)
{
    struct mr_buf content = {0};
    char *name = mr_copy_cstr(path);
    size_t line = 0;
    mr_str rest, row;
    mr_err err = mr_file_read(name, USERS_BYTES_MAX, &content);

    rest = mr_buf_as_str(&content);
    while (err == MR_OK && mr_str_split(&rest, '\n', &row)) {
        ptrdiff_t colon = mr_str_find_byte(row, ':');
        line++;
        if (mr_str_ends(row, MR_STR("\r")))
            row.length--;
        if (row.length == 0 || row.data[0] == '#')
            continue;
        mr_str user = mr_str_slice(row, 0, colon < 0 ? 0 : (size_t)colon);
        mr_str password = mr_str_slice(row, (size_t)(colon + 1), row.length);
        if (user.length == 0 || password.length == 0 || !mr_str_is_utf8(user)) {
            err = mr_fail(MR_INVALID, "%s:%zu: expected user:password", name, line);
        } else if (broker_users_find(security, user) == NULL) {
            struct broker_user *fresh = user_get(security, user);
            for (int kind = KAFKA_SCRAM_SHA_256; kind <= KAFKA_SCRAM_SHA_512; kind++)
                kafka_scram_make(&fresh->credentials[kind - 1], (enum kafka_scram_kind)kind,
                                 password, KAFKA_SCRAM_ITERATIONS_MIN);
            *made = true;
        }
    }
    kafka_scram_wipe(content.data, content.length);
    mr_buf_fini(&content);
    mr_free(name);
    return err;
}

/* ---- DescribeUserScramCredentials ---- */

static void user_tell(struct broker_request *request, mr_str name,
                      struct kafka_describe_user_scram_credentials_result *answer)
{
    const struct broker_user *user = broker_users_find(&request->server->security, name);

    answer->user = name;
    if (user == NULL) {
        answer->error_code = KAFKA_ERROR_RESOURCE_NOT_FOUND;
        answer->error_message = mr_arena_printf(
            &request->arena, "Attempt to describe a user credential that does not exist: %.*s",
            MR_STR_ARG(name));
        return;
    }
    answer->credential_infos.items = mr_arena_array(
        &request->arena, struct kafka_describe_user_scram_credentials_info, 2);
    for (int at = 0; at < 2; at++) {
        const struct kafka_scram_credential *credential = &user->credentials[at];
        if (credential->kind != KAFKA_SCRAM_NONE)
            answer->credential_infos.items[answer->credential_infos.count++] =
                (struct kafka_describe_user_scram_credentials_info){(int8_t)credential->kind,
                                                                    credential->iterations};
    }
}

static bool is_named_twice(const struct kafka_describe_user_scram_credentials_request *in,
                           int32_t at)
{
    for (int32_t i = 0; i < in->users.count; i++)
        if (i != at && mr_str_equal(in->users.items[i].name, in->users.items[at].name))
            return true;
    return false;
}

void broker_users_describe_user_scram_credentials(struct broker_request *request)
{
    const struct kafka_describe_user_scram_credentials_request *in = request->in;
    struct kafka_describe_user_scram_credentials_response *out = request->out;
    struct mr_map *users = &request->server->security.users;
    size_t count = in->users.count > 0 ? (size_t)in->users.count : users->count;
    struct mr_map_entry *entry;

    out->results.items = mr_arena_array(&request->arena,
                                        struct kafka_describe_user_scram_credentials_result, count);
    if (in->users.count <= 0) {
        for (size_t i = 0; (entry = mr_map_next(users, &i)) != NULL;)
            user_tell(request, mr_arena_str(&request->arena, entry->key),
                      &out->results.items[out->results.count++]);
    }
    for (int32_t i = 0; i < in->users.count; i++) {
        struct kafka_describe_user_scram_credentials_result *answer = &out->results.items[i];
        user_tell(request, in->users.items[i].name, answer);
        if (is_named_twice(in, i)) {
            answer->error_code = KAFKA_ERROR_DUPLICATE_RESOURCE;
            answer->credential_infos.count = 0;
            answer->error_message = broker_server_text(
                request, "Cannot describe SCRAM credentials for the same user twice in a single "
                         "request.");
        }
        out->results.count++;
    }
    broker_server_answer(request);
}

/* ---- AlterUserScramCredentials ---- */

struct alteration {
    struct broker_catalog_wait wait;
    struct broker_request *request;
};

static int16_t upsertion_check(const struct kafka_alter_user_scram_credentials_upsertion *asked,
                               const char **why)
{
    *why = NULL;
    if (asked->name.length == 0 || !mr_str_is_utf8(asked->name)) {
        *why = "Username must not be empty";
        return KAFKA_ERROR_UNACCEPTABLE_CREDENTIAL;
    }
    if (asked->mechanism != KAFKA_SCRAM_SHA_256 && asked->mechanism != KAFKA_SCRAM_SHA_512) {
        *why = "Unknown SCRAM mechanism";
        return KAFKA_ERROR_UNSUPPORTED_SASL_MECHANISM;
    }
    if (asked->iterations < KAFKA_SCRAM_ITERATIONS_MIN)
        *why = "Too few iterations";
    else if (asked->iterations > KAFKA_SCRAM_ITERATIONS_MAX)
        *why = "Too many iterations";
    else if (asked->salt.length == 0 || asked->salt.length > KAFKA_SCRAM_SALT_BYTES_MAX)
        *why = "The salt must have 1 to 128 bytes";
    else if (asked->salted_password.length !=
             kafka_scram_bytes((enum kafka_scram_kind)asked->mechanism))
        *why = "The salted password has not the length of its hash";
    return *why == NULL ? KAFKA_ERROR_NONE : KAFKA_ERROR_UNACCEPTABLE_CREDENTIAL;
}

static void upsert(struct broker_security *security,
                   const struct kafka_alter_user_scram_credentials_upsertion *asked)
{
    struct kafka_scram_credential credential = {.kind = (enum kafka_scram_kind)asked->mechanism,
                                                .iterations = asked->iterations,
                                                .salt_bytes = asked->salt.length};

    memcpy(credential.salt, asked->salt.data, asked->salt.length);
    kafka_scram_keys(&credential, (const uint8_t *)asked->salted_password.data);
    user_get(security, asked->name)->credentials[credential.kind - 1] = credential;
}

static int16_t delete (struct broker_security *security,
                       const struct kafka_alter_user_scram_credentials_deletion *asked,
                       const char **why)
{
    struct broker_user *user = broker_users_find(security, asked->name);

    if (asked->mechanism != KAFKA_SCRAM_SHA_256 && asked->mechanism != KAFKA_SCRAM_SHA_512) {
        *why = "Unknown SCRAM mechanism";
        return KAFKA_ERROR_UNSUPPORTED_SASL_MECHANISM;
    }
    if (user == NULL || user->credentials[asked->mechanism - 1].kind == KAFKA_SCRAM_NONE) {
        *why = "Attempt to delete a user credential that does not exist";
        return KAFKA_ERROR_RESOURCE_NOT_FOUND;
    }
    user->credentials[asked->mechanism - 1] = (struct kafka_scram_credential){0};
    if (user->credentials[0].kind == KAFKA_SCRAM_NONE &&
        user->credentials[1].kind == KAFKA_SCRAM_NONE)
        mr_free(mr_map_remove(&security->users, asked->name));
    return KAFKA_ERROR_NONE;
}

static struct kafka_alter_user_scram_credentials_result *
result_of(struct kafka_alter_user_scram_credentials_response *out, mr_str name)
{
    for (int32_t i = 0; i < out->results.count; i++)
        if (mr_str_equal(out->results.items[i].user, name))
            return &out->results.items[i];
    out->results.items[out->results.count].user = name;
    return &out->results.items[out->results.count++];
}

static void altered(struct broker_catalog_wait *wait, mr_err err)
{
    struct alteration *alteration = mr_container(wait, struct alteration, wait);
    struct kafka_alter_user_scram_credentials_response *out = alteration->request->out;

    for (int32_t i = 0; err != MR_OK && i < out->results.count; i++)
        if (out->results.items[i].error_code == KAFKA_ERROR_NONE)
            out->results.items[i].error_code = KAFKA_ERROR_KAFKA_STORAGE_ERROR;
    broker_server_answer(alteration->request);
}

/* All alterations of one user are checked before any is made. */
static void check_all(struct broker_request *request)
{
    const struct kafka_alter_user_scram_credentials_request *in = request->in;
    struct kafka_alter_user_scram_credentials_response *out = request->out;

    for (int32_t i = 0; i < in->upsertions.count; i++) {
        struct kafka_alter_user_scram_credentials_result *result = result_of(
            out, in->upsertions.items[i].name);
        const char *why;
        int16_t code = upsertion_check(&in->upsertions.items[i], &why);
        for (int32_t j = 0; j < i; j++)
            if (mr_str_equal(in->upsertions.items[i].name, in->upsertions.items[j].name) &&
                in->upsertions.items[i].mechanism == in->upsertions.items[j].mechanism) {
                code = KAFKA_ERROR_DUPLICATE_RESOURCE;
                why = "A user credential cannot be altered twice in the same request";
            }
        if (code != KAFKA_ERROR_NONE) {
            result->error_code = code;
            result->error_message = mr_str_from(why);
        }
    }
}

void broker_users_alter_user_scram_credentials(struct broker_request *request)
{
    const struct kafka_alter_user_scram_credentials_request *in = request->in;
    struct kafka_alter_user_scram_credentials_response *out = request->out;
    struct broker_security *security = &request->server->security;
    struct alteration *alteration = mr_arena_new(&request->arena, struct alteration);
    size_t most = (size_t)in->deletions.count + (size_t)in->upsertions.count;

    out->results.items = mr_arena_array(&request->arena,
                                        struct kafka_alter_user_scram_credentials_result, most);
    check_all(request);
    for (int32_t i = 0; i < in->deletions.count; i++) {
        struct kafka_alter_user_scram_credentials_result *result = result_of(
            out, in->deletions.items[i].name);
        const char *why = NULL;
        if (result->error_code == KAFKA_ERROR_NONE)
            result->error_code = delete (security, &in->deletions.items[i], &why);
        if (why != NULL)
            result->error_message = mr_str_from(why);
    }
    for (int32_t i = 0; i < in->upsertions.count; i++)
        if (result_of(out, in->upsertions.items[i].name)->error_code == KAFKA_ERROR_NONE)
            upsert(security, &in->upsertions.items[i]);
    alteration->request = request;
    alteration->wait.run = altered;
    broker_security_save(security, &alteration->wait);
}
