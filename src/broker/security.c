/* broker/security.c: what the options say, and the file `security`: one JSON object a line, each with
 * the kind of its row first, written whole under another name and exchanged (0600). */
#include "broker/security.h"

#include "broker/server.h"
#include "json/json.h"

#include <stdio.h>
#include <stdlib.h>

enum { FILE_BYTES_MAX = 64 << 20 };

static const char *const mechanism_names[BROKER_MECHANISM_COUNT] = {"PLAIN", "SCRAM-SHA-256",
                                                                    "SCRAM-SHA-512", "OAUTHBEARER"};

const char *broker_mechanism_name(enum broker_mechanism mechanism)
{
    return mechanism_names[mechanism];
}

/* ---- reading ---- */

static mr_err row_read(struct broker_security *security, struct mr_arena *arena, mr_str line)
{
    const struct json_value *row;
    mr_err err = json_parse(arena, line, &row);

    if (err != MR_OK)
        return err;
    if (json_get(row, MR_STR("scram")) != NULL)
        return broker_users_read(security, row);
    if (json_get(row, MR_STR("acl")) != NULL)
        return broker_acl_read(&security->acls, row);
    if (json_get(row, MR_STR("quota")) != NULL)
        return broker_quotas_read(&security->quotas, row);
    if (json_get(row, MR_STR("setting")) != NULL)
        return broker_node_read(&security->server->node, row);
    return mr_fail(MR_CORRUPT, "a row of an unknown kind");
}

static mr_err file_read(struct broker_security *security)
{
    struct mr_buf content = {0};
    struct mr_arena arena;
    size_t line = 0;
    mr_str rest, row;
    mr_err err = mr_file_read(security->path, FILE_BYTES_MAX, &content);

    mr_arena_init(&arena);
    if (err == MR_NOT_FOUND) {
        err = MR_OK;
        goto out;
    }
    rest = mr_buf_as_str(&content);
    while (err == MR_OK && mr_str_split(&rest, '\n', &row)) {
        line++;
        mr_arena_reset(&arena);
        if (row.length == 0)
            continue;
        err = row_read(security, &arena, row);
        if (err != MR_OK)
            err = mr_fail(MR_CORRUPT, "%s:%zu: %s", security->path, line, mr_why());
    }
out:
    mr_arena_fini(&arena);
    kafka_scram_wipe(content.data, content.length);
    mr_buf_fini(&content);
    return err;
}

/* ---- writing ---- */

struct security_job {
    struct mr_job job;
    struct broker_security *security;
    struct mr_buf content;
    mr_err err;
    char why[512];
};

static void write_work(struct mr_job *job)
{
    struct security_job *write = mr_container(job, struct security_job, job);

    write->err = mr_file_write(write->security->path, mr_buf_as_str(&write->content), 0600);
    if (write->err != MR_OK)
        snprintf(write->why, sizeof(write->why), "%s", mr_why());
}

static void write_done(struct mr_job *job)
{
    struct security_job *write = mr_container(job, struct security_job, job);
    struct broker_security *security = write->security;
    struct broker_catalog_wait *wait = security->waiting;

    security->waiting = NULL;
    security->writing = false;
    if (write->err != MR_OK)
        mr_log(MR_LOG_ERROR, "broker", "security not written: %s", write->why);
    while (wait != NULL) {
        struct broker_catalog_wait *next = wait->next;
        if (write->err != MR_OK)
            mr_fail(write->err, "%s", write->why);
        wait->run(wait, write->err);
        wait = next;
    }
    if (security->write_again && !security->writing)
        mr_loop_at_turn_end(security->server->loop, &security->write_task);
    mr_buf_fini(&write->content);
    mr_free(write);
}

void broker_security_print(const struct broker_security *security, struct mr_buf *out)
{
    broker_users_print(security, out);
    broker_acl_print(&security->acls, out);
    broker_quotas_print(&security->quotas, out);
    broker_node_print(&security->server->node, out);
}

static void file_write(struct mr_task *task)
{
    struct broker_security *security = mr_container(task, struct broker_security, write_task);
    struct security_job *write;

    if (security->writing)
        return; /* the end of that one comes here again */
    security->writing = true;
    security->write_again = false;
    security->waiting = security->waiting_next;
    security->waiting_next = NULL;
    write = mr_new(struct security_job);
    write->job = (struct mr_job){write_work, write_done, security->server->loop, {0}};
    write->security = security;
    broker_security_print(security, &write->content);
    mr_disk_submit(security->server->disk, &write->job);
}

void broker_security_save(struct broker_security *security, struct broker_catalog_wait *wait)
{
    if (wait != NULL) {
        wait->next = security->waiting_next;
        security->waiting_next = wait;
    }
    security->write_again = true;
    if (!security->writing)
        mr_loop_at_turn_end(security->server->loop, &security->write_task);
}

/* ---- options ---- */

static mr_err mechanisms_read(struct broker_security *security, mr_str list)
{
    mr_str name;

    while (list.length > 0 && mr_str_split(&list, ',', &name)) {
        int found = -1;
        for (int i = 0; i < BROKER_MECHANISM_COUNT; i++)
            if (mr_str_equal_nocase(mr_str_trim(name), mr_str_from(mechanism_names[i])))
                found = i;
        if (found < 0)
            return mr_fail(MR_INVALID,
                           "SASL mechanism \"%.*s\": expected PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 "
                           "or OAUTHBEARER",
                           MR_STR_ARG(mr_str_trim(name)));
        security->offers[found] = security->sasl = true;
    }
    return MR_OK;
}

static char *text_or_null(mr_str text)
{
    return text.length == 0 ? NULL : mr_copy_cstr(text);
}

static mr_err tokens_open(struct broker_security *security,
                          const struct broker_security_options *options)
{
    if (!security->offers[BROKER_OAUTHBEARER])
        return MR_OK;
    if (options->token_keys.length == 0 && !options->token_unsecured)
        return mr_fail(MR_INVALID, "OAUTHBEARER needs the keys that sign its tokens: a JWKS or PEM "
                                   "file");
    security->issuer = text_or_null(options->token_issuer);
    security->audience = text_or_null(options->token_audience);
    return broker_token_open(options->token_keys, options->token_unsecured, &security->keys);
}

static mr_err acls_open(struct broker_security *security,
                        const struct broker_security_options *options)
{
    if (!options->acls && (options->super_users.length > 0 || options->allow_everyone))
        return mr_fail(MR_INVALID,
                       "super users and rights without rules need access rules: --acls");
    security->acls.enabled = options->acls;
    security->acls.allow_everyone = options->allow_everyone;
    return broker_acl_supers(&security->acls, options->super_users);
}

mr_err broker_security_open(struct broker_security *security, struct broker_server *server,
                            const struct broker_security_options *options, mr_str folder)
{
    struct mr_buf path = {0}, content = {0};
    bool made = false;
    mr_err err;

    security->server = server;
    security->write_task.run = file_write;
    security->session_ms = options->session_ms;
    mr_entropy(security->secret, sizeof(security->secret));
    mr_buf_printf(&path, "%.*s/security", MR_STR_ARG(folder));
    security->path = mr_buf_take_cstr(&path);
    err = mechanisms_read(security, options->mechanisms);
    if (err == MR_OK && options->tls.certificate.length > 0)
        err = net_tls_server_new(&options->tls, &security->tls);
    if (err == MR_OK)
        err = tokens_open(security, options);
    if (err == MR_OK)
        err = acls_open(security, options);
    if (err == MR_OK)
        err = file_read(security);
    if (err == MR_OK && options->users.length > 0)
        err = broker_users_first(security, options->users, &made);
    if (err == MR_OK && made) {
        broker_security_print(security, &content);
        err = mr_file_write(security->path, mr_buf_as_str(&content), 0600);
        mr_buf_fini(&content);
    }
    return err;
}

void broker_security_fini(struct broker_security *security)
{
    struct mr_map_entry *entry;

    for (size_t i = 0; (entry = mr_map_next(&security->users, &i)) != NULL;)
        mr_free(entry->value);
    mr_map_fini(&security->users);
    broker_acl_fini(&security->acls);
    broker_quotas_fini(&security->quotas);
    broker_token_close(security->keys);
    net_tls_free(security->tls);
    mr_free(security->issuer);
    mr_free(security->audience);
    mr_free(security->path);
}
