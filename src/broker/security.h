/* broker/security.h: who may come in and what is known of them: listener options, users, and the one
 * file that keeps what was told at run time. Thread: the loop's. */
#ifndef BROKER_SECURITY_H
#define BROKER_SECURITY_H

#include "broker/acl.h"
#include "broker/broker.h"
#include "broker/quotas.h"
#include "broker/topics.h"
#include "kafka/scram.h"
#include "net/net.h"

struct broker_server;
struct broker_request;
struct broker_conn;
struct broker_token_keys;

enum broker_mechanism { /* in the order in which they are told */
                        BROKER_PLAIN,
                        BROKER_SCRAM_SHA_256,
                        BROKER_SCRAM_SHA_512,
                        BROKER_OAUTHBEARER,
                        BROKER_MECHANISM_COUNT,
};
const char *broker_mechanism_name(enum broker_mechanism mechanism);

/* A user has a credential per hash; kind KAFKA_SCRAM_NONE: none. */
struct broker_user {
    struct kafka_scram_credential credentials[2]; /* by kind - 1 */
};

struct broker_security {
    struct broker_server *server;
    struct net_tls *tls;
    bool offers[BROKER_MECHANISM_COUNT];
    bool sasl;          /* any of them */
    int64_t session_ms; /* 0: authentication holds for the connection's life */
    struct broker_token_keys *keys;
    char *issuer, *audience; /* NULL: not looked at */
    struct mr_map users;     /* by name */
    struct broker_acls acls;
    struct broker_quotas quotas;
    uint8_t secret[32]; /* of this run: salts for users that do not exist */
    /* the file */
    char *path;
    bool writing, write_again;
    struct broker_catalog_wait *waiting, *waiting_next;
    struct mr_task write_task;
};

/* Reads the file, the certificates and keys, and makes the first users. Blocks.
 * Errors: MR_INVALID (an option), MR_NOT_FOUND, MR_DENIED, MR_IO, MR_CORRUPT (a file). */
mr_err broker_security_open(struct broker_security *security, struct broker_server *server,
                            const struct broker_security_options *options, mr_str folder);
void broker_security_fini(struct broker_security *security);
/* What its file is to say now. */
void broker_security_print(const struct broker_security *security, struct mr_buf *out);
/* Writes the file after a change; `wait` may be NULL. */
void broker_security_save(struct broker_security *security, struct broker_catalog_wait *wait);

/* users.c: rows of the file. */
void broker_users_print(const struct broker_security *security, struct mr_buf *out);
struct json_value;
mr_err broker_users_read(struct broker_security *security, const struct json_value *row);
/* Lines "name:password": users that are not there yet are made. Blocks. */
mr_err broker_users_first(struct broker_security *security, mr_str path, bool *made);
struct broker_user *broker_users_find(const struct broker_security *security, mr_str name);

/* sasl.c: one connection's way in. */
enum broker_login_state {
    BROKER_LOGIN_FREE,  /* nothing is asked for */
    BROKER_LOGIN_HELLO, /* a SaslHandshake is awaited */
    BROKER_LOGIN_TOKEN, /* tokens are awaited */
    BROKER_LOGIN_BUSY,  /* a password is being hashed, or a failure held back */
    BROKER_LOGIN_DONE,
};
struct broker_login {
    enum broker_login_state state;
    bool again;    /* had been done before: the same user must come out */
    bool raw;      /* tokens come without a header (SaslHandshake version 0) */
    bool unknown;  /* the user does not exist; told only at the end */
    bool answered; /* SCRAM: the challenge is out */
    enum broker_mechanism mechanism;
    struct kafka_scram scram;
    char *user;          /* whose login it is */
    char *token_refused; /* OAUTHBEARER: why, told at the client's next word */
    char *principal;     /* "User:ann", "User:ANONYMOUS"; never NULL once opened */
    int64_t expires_us;  /* monotonic; 0: never */
};
void broker_sasl_begin(struct broker_conn *conn);
void broker_sasl_end(struct broker_conn *conn);
/* Whether the connection may ask this now. The sentence says why not; the connection is closed then. */
mr_err broker_sasl_admits(struct broker_conn *conn, int16_t api_key);

/* token.c: OAUTHBEARER's tokens: JSON Web Tokens, RFC 7515 and 7519. */
/* Keys of a JWKS file or of PEM public keys. Blocks. `path` empty: no token is good but unsecured
 * ones, and those only by `unsecured`. Errors: MR_NOT_FOUND, MR_DENIED, MR_INVALID. */
mr_err broker_token_open(mr_str path, bool unsecured, struct broker_token_keys **out);
void broker_token_close(struct broker_token_keys *keys); /* accepts NULL */
struct broker_token {
    mr_str subject;
    int64_t expires_s; /* since 1970 */
};
/* Signature, exp, nbf, and iss and aud when they are expected (no text: not looked at).
 * Errors: MR_AUTH with the sentence. */
mr_err broker_token_check(const struct broker_token_keys *keys, mr_str token, int64_t now_s,
                          mr_str issuer, mr_str audience, struct mr_arena *arena,
                          struct broker_token *out);

#endif
