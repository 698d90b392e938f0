/* broker/sasl.c: SASL (SaslHandshake, SaslAuthenticate; KIP-43, 152, 368).
 *
 *   FREE                                      no mechanism is offered: everybody is User:ANONYMOUS,
 *                                             or whom the certificate names
 *   HELLO --SaslHandshake--> TOKEN --tokens--> DONE
 *   DONE  --SaslHandshake--> TOKEN            again, before the session ends: as the same user
 *   TOKEN --PLAIN--> BUSY                     a disk thread hashes the password meanwhile
 *   any refusal: BUSY, for a moment (guessing must be slow), then the answer, then the end
 *
 * A user that does not exist is led through SCRAM to its end with a salt of its own, so that nobody
 * learns who exists. Passwords, tokens and proofs are never logged. */
#include "broker/server.h"

#include <stdio.h>

enum {
    FAILURE_US = 100000, /* connection.failed.authentication.delay.ms */
};

/* One answer under way. */
struct attempt {
    struct mr_job job; /* PLAIN */
    struct broker_request *request;
    struct broker_server *server;
    struct mr_timer timer; /* a failure held back */
    struct kafka_scram_credential credential;
    char *password;
    size_t password_bytes;
    bool good;
};

/* ---- the connection's side ---- */

void broker_sasl_begin(struct broker_conn *conn)
{
    struct broker_login *login = &conn->login;
    struct mr_buf name = {0};

    login->state = conn->server->security.sasl ? BROKER_LOGIN_HELLO : BROKER_LOGIN_FREE;
    mr_buf_cstr(&name, "User:");
    if (login->state != BROKER_LOGIN_FREE || !net_peer_subject(conn->net, &name))
        mr_buf_cstr(&name, "ANONYMOUS");
    login->principal = mr_buf_take_cstr(&name);
}

static void tries_forget(struct broker_login *login)
{
    kafka_scram_fini(&login->scram);
    login->answered = login->unknown = false;
    mr_free(login->user);
    mr_free(login->token_refused);
    login->user = login->token_refused = NULL;
}

void broker_sasl_end(struct broker_conn *conn)
{
    tries_forget(&conn->login);
    mr_free(conn->login.principal);
}

mr_err broker_sasl_admits(struct broker_conn *conn, int16_t key)
{
    const struct broker_login *login = &conn->login;
    bool sasl = key == KAFKA_API_sasl_handshake || key == KAFKA_API_sasl_authenticate;

    if (login->state == BROKER_LOGIN_FREE || key == KAFKA_API_api_versions)
        return MR_OK;
    if (login->state == BROKER_LOGIN_BUSY && !login->again)
        return mr_fail(MR_AUTH, "a request in the middle of authentication");
    if (!sasl && login->state != BROKER_LOGIN_DONE && !login->again)
        return mr_fail(MR_AUTH, "a request before authentication: SASL is expected");
    if (!sasl && login->expires_us != 0 && mr_loop_now_us(conn->server->loop) > login->expires_us)
        return mr_fail(MR_AUTH, "the session of %s has ended; authenticate again before that",
                       login->principal);
    return MR_OK;
}

/* ---- the end of an attempt ---- */

static void refused_run(struct mr_timer *timer)
{
    struct attempt *attempt = mr_container(timer, struct attempt, timer);
    struct broker_conn *conn = attempt->request->conn;

    broker_server_answer(attempt->request);
    net_close(conn->net);
}

static void refused_abandon(struct broker_request *request)
{
    struct attempt *attempt = request->work;

    mr_timer_stop(&attempt->timer);
    broker_server_answer_nothing(request);
}

/* `told` is what the client hears; `why`, for the log, says more. */
static void refuse(struct broker_request *request, struct attempt *attempt, const char *why)
{
    struct kafka_sasl_authenticate_response *out = request->out;
    struct broker_conn *conn = request->conn;
    struct broker_login *login = &conn->login;

    mr_log(MR_LOG_WARN, "broker", "client %s:%u \"%.*s\": SASL %s%s%s: refused: %s",
           conn->peer.host, conn->peer.port, MR_STR_ARG(request->header.client_id),
           broker_mechanism_name(login->mechanism), login->user == NULL ? "" : " as ",
           login->user == NULL ? "" : login->user, why);
    mr_counter_add(request->server->storage.errors, 1);
    out->error_code = KAFKA_ERROR_SASL_AUTHENTICATION_FAILED;
    if (out->error_message.data == NULL)
        out->error_message = mr_arena_printf(
            &request->arena,
            "Authentication failed during authentication due to invalid credentials with SASL "
            "mechanism %s",
            broker_mechanism_name(login->mechanism));
    out->auth_bytes = MR_STR_NULL;
    login->state = BROKER_LOGIN_BUSY;
    login->again = false; /* nothing more is taken from it */
    attempt->request = request;
    attempt->timer.run = refused_run;
    request->work = attempt;
    request->abandon = refused_abandon;
    mr_timer_start(request->server->loop, &attempt->timer, FAILURE_US);
}

/* `expires_s` of a token; 0: none. */
static void accepted(struct broker_request *request, struct attempt *attempt, int64_t expires_s)
{
    struct kafka_sasl_authenticate_response *out = request->out;
    struct broker_login *login = &request->conn->login;
    struct mr_loop *loop = request->server->loop;
    int64_t lifetime_ms = request->server->security.session_ms;
    struct mr_buf name = {0};

    mr_buf_printf(&name, "User:%s", login->user);
    if (login->again && !mr_str_equal(mr_buf_as_str(&name), mr_str_from(login->principal))) {
        mr_buf_fini(&name);
        refuse(request, attempt, "a session goes on as the user that began it");
        return;
    }
    mr_free(login->principal);
    login->principal = mr_buf_take_cstr(&name);
    if (expires_s > 0) {
        int64_t left_ms = expires_s * 1000 - mr_clock_wall_us(mr_loop_clock(loop)) / 1000;
        if (lifetime_ms == 0 || left_ms < lifetime_ms)
            lifetime_ms = left_ms > 0 ? left_ms : 1;
    }
    login->expires_us = lifetime_ms == 0 ? 0 : mr_loop_now_us(loop) + lifetime_ms * 1000;
    login->state = BROKER_LOGIN_DONE;
    login->again = true;
    out->session_lifetime_ms = lifetime_ms;
    mr_log(MR_LOG_DEBUG, "broker", "client %s:%u is %s", request->conn->peer.host,
           request->conn->peer.port, login->principal);
    tries_forget(login);
    broker_server_answer(request);
}

/* ---- PLAIN (RFC 4616) ---- */

static void plain_work(struct mr_job *job)
{
    struct attempt *attempt = mr_container(job, struct attempt, job);

    attempt->good = kafka_scram_is(&attempt->credential,
                                   mr_str_of(attempt->password, attempt->password_bytes));
}

static void plain_done(struct mr_job *job)
{
    struct attempt *attempt = mr_container(job, struct attempt, job);
    struct broker_request *request = attempt->request;

    kafka_scram_wipe(attempt->password, attempt->password_bytes);
    kafka_scram_wipe(&attempt->credential, sizeof(attempt->credential));
    attempt->server->hashing--;
    if (request->conn == NULL)
        broker_server_answer_nothing(request);
    else if (attempt->good && !request->conn->login.unknown)
        accepted(request, attempt, 0);
    else
        refuse(request, attempt, "wrong user or password");
}

/* The hash that a user's password is checked against; nobody's, which nothing matches, when there is
 * no such user: it takes as long. */
static struct kafka_scram_credential credential_of(struct broker_login *login,
                                                   const struct broker_security *security,
                                                   enum kafka_scram_kind kind)
{
    const struct broker_user *user = broker_users_find(security, mr_str_from(login->user));
    struct kafka_scram_credential nobody = {
        .kind = kind, .iterations = KAFKA_SCRAM_ITERATIONS_MIN, .salt_bytes = 24};
    struct mr_buf seed = {0};

    if (user != NULL && user->credentials[kind - 1].kind == kind)
        return user->credentials[kind - 1];
    login->unknown = true;
    mr_buf_add(&seed, security->secret, sizeof(security->secret));
    mr_buf_cstr(&seed, login->user);
    mr_sha256(seed.data, seed.length, nobody.salt);
    mr_buf_fini(&seed);
    mr_entropy(nobody.stored_key, sizeof(nobody.stored_key));
    return nobody;
}

static void plain(struct broker_request *request, struct attempt *attempt, mr_str token)
{
    struct broker_login *login = &request->conn->login;
    struct broker_server *server = request->server;
    const struct broker_user *user;
    mr_str authority, name, password;

    if (!mr_str_split(&token, '\0', &authority) || !mr_str_split(&token, '\0', &name) ||
        !mr_str_split(&token, '\0', &password) || token.data != NULL || name.length == 0 ||
        !mr_str_is_utf8(name)) {
        refuse(request, attempt, "expected an authority, a user and a password");
        return;
    }
    login->user = mr_copy_cstr(name);
    if (authority.length > 0 && !mr_str_equal(authority, name)) {
        refuse(request, attempt, "nobody may act as another user");
        return;
    }
    user = broker_users_find(&server->security, name);
    attempt->credential = credential_of(
        login, &server->security,
        user != NULL && user->credentials[0].kind == KAFKA_SCRAM_NONE ? KAFKA_SCRAM_SHA_512
                                                                      : KAFKA_SCRAM_SHA_256);
    attempt->password = mr_arena_alloc(&request->arena, password.length + 1);
    attempt->password_bytes = password.length;
    if (password.length > 0)
        memcpy(attempt->password, password.data, password.length);
    attempt->server = server;
    attempt->job = (struct mr_job){plain_work, plain_done, server->loop, {0}};
    login->state = BROKER_LOGIN_BUSY;
    server->hashing++;
    mr_disk_submit(server->disk, &attempt->job);
}

/* ---- SCRAM ---- */

static void scram(struct broker_request *request, struct attempt *attempt, mr_str token)
{
    struct kafka_sasl_authenticate_response *out = request->out;
    struct broker_login *login = &request->conn->login;
    struct kafka_scram_credential credential;
    struct mr_buf answer = {0};
    mr_str user;
    mr_err err;

    if (login->answered) {
        err = kafka_scram_server_final(&login->scram, token, &answer);
        if (err == MR_OK && login->unknown)
            err = mr_fail(MR_AUTH, "no such user");
    } else {
        err = kafka_scram_server_first(
            &login->scram,
            login->mechanism == BROKER_SCRAM_SHA_256 ? KAFKA_SCRAM_SHA_256 : KAFKA_SCRAM_SHA_512,
            token, &request->arena, &user);
        if (err == MR_OK) {
            login->user = mr_copy_cstr(user);
            credential = credential_of(login, &request->server->security, login->scram.kind);
            kafka_scram_server_challenge(&login->scram, &credential, &answer);
        }
    }
    out->auth_bytes = mr_arena_str(&request->arena, mr_buf_as_str(&answer));
    mr_buf_fini(&answer);
    if (err != MR_OK) {
        refuse(request, attempt, mr_why());
    } else if (login->answered) {
        accepted(request, attempt, 0);
    } else {
        login->answered = true;
        broker_server_answer(request);
    }
}

/* ---- OAUTHBEARER (RFC 7628) ---- */

/* "n,,\x01auth=Bearer <token>\x01name=value\x01\x01" */
static bool bearer(mr_str message, mr_str *token)
{
    mr_str part;

    if (!mr_str_split(&message, '\x01', &part) || !mr_str_starts(part, MR_STR("n,")))
        return false;
    while (mr_str_split(&message, '\x01', &part)) {
        if (part.length > 12 &&
            mr_str_equal_nocase(mr_str_slice(part, 0, 12), MR_STR("auth=Bearer "))) {
            *token = mr_str_trim(mr_str_slice(part, 12, part.length));
            return true;
        }
    }
    return false;
}

static void oauth(struct broker_request *request, struct attempt *attempt, mr_str message)
{
    struct kafka_sasl_authenticate_response *out = request->out;
    const struct broker_security *security = &request->server->security;
    struct broker_login *login = &request->conn->login;
    struct broker_token found;
    mr_str token;
    mr_err err;

    if (login->token_refused != NULL) { /* the client has taken note (RFC 7628, section 3.2.3) */
        out->error_message = mr_arena_str(&request->arena, mr_str_from(login->token_refused));
        refuse(request, attempt, login->token_refused);
        return;
    }
    if (!bearer(message, &token)) {
        refuse(request, attempt, "expected a bearer token");
        return;
    }
    err = broker_token_check(
        security->keys, token, mr_clock_wall_us(mr_loop_clock(request->server->loop)) / 1000000,
        mr_str_from(security->issuer), mr_str_from(security->audience), &request->arena, &found);
    if (err == MR_OK) {
        login->user = mr_copy_cstr(found.subject);
        accepted(request, attempt, found.expires_s);
        return;
    }
    login->token_refused = mr_copy_cstr(mr_str_from(mr_why()));
    out->auth_bytes = MR_STR("{\"status\":\"invalid_token\"}");
    broker_server_answer(request);
}

/* ---- the two APIs ---- */

void broker_sasl_sasl_handshake(struct broker_request *request)
{
    const struct kafka_sasl_handshake_request *in = request->in;
    struct kafka_sasl_handshake_response *out = request->out;
    const struct broker_security *security = &request->server->security;
    struct broker_login *login = &request->conn->login;
    int chosen = -1;

    out->mechanisms.items = mr_arena_array(&request->arena, wire_string, BROKER_MECHANISM_COUNT);
    for (int i = 0; i < BROKER_MECHANISM_COUNT; i++) {
        mr_str name = mr_str_from(broker_mechanism_name((enum broker_mechanism)i));
        if (!security->offers[i])
            continue;
        out->mechanisms.items[out->mechanisms.count++] = name;
        if (mr_str_equal(name, in->mechanism))
            chosen = i;
    }
    if (login->state == BROKER_LOGIN_FREE || login->state == BROKER_LOGIN_TOKEN ||
        login->state == BROKER_LOGIN_BUSY) {
        out->error_code = KAFKA_ERROR_ILLEGAL_SASL_STATE;
    } else if (chosen < 0) {
        out->error_code = KAFKA_ERROR_UNSUPPORTED_SASL_MECHANISM;
        mr_log(MR_LOG_WARN, "broker", "client %s:%u: SASL mechanism \"%.*s\" is not offered",
               request->conn->peer.host, request->conn->peer.port,
               MR_STR_ARG(mr_str_slice(in->mechanism, 0, 40)));
    } else {
        login->mechanism = (enum broker_mechanism)chosen;
        login->raw = request->header.request_api_version == 0;
        login->state = BROKER_LOGIN_TOKEN;
    }
    struct net_conn *net = request->conn->net;
    bool ends = chosen < 0 && login->state != BROKER_LOGIN_FREE;
    broker_server_answer(request);
    if (ends)
        net_close(net);
}

void broker_sasl_sasl_authenticate(struct broker_request *request)
{
    const struct kafka_sasl_authenticate_request *in = request->in;
    struct kafka_sasl_authenticate_response *out = request->out;
    struct broker_login *login = &request->conn->login;
    struct attempt *attempt;

    if (login->state != BROKER_LOGIN_TOKEN) {
        out->error_code = KAFKA_ERROR_ILLEGAL_SASL_STATE;
        out->error_message = broker_server_text(
            request, "SaslAuthenticate request received without a SaslHandshake before it");
        broker_server_answer(request);
        return;
    }
    attempt = mr_arena_new(&request->arena, struct attempt);
    attempt->request = request;
    switch (login->mechanism) {
    case BROKER_PLAIN:
        plain(request, attempt, in->auth_bytes);
        break;
    case BROKER_SCRAM_SHA_256:
    case BROKER_SCRAM_SHA_512:
        scram(request, attempt, in->auth_bytes);
        break;
    case BROKER_OAUTHBEARER:
        oauth(request, attempt, in->auth_bytes);
        break;
    case BROKER_MECHANISM_COUNT:
        break;
    }
}
