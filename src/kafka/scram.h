/* kafka/scram.h: SCRAM (RFC 5802, RFC 7677) as Kafka speaks it, both ends. Included by kafka/kafka.h.
 *
 *   client                              server
 *   _client_first  ----- user, nonce --->  _server_first     then the user's credential is looked up
 *   _client_challenged <-- salt, count ---  _server_challenge
 *   _client_final  ----- proof --------->  _server_final
 *   _client_verify <---- signature ------
 *
 * Everything that is kept is in the struct; _fini wipes it. Nothing here waits; what costs is
 * kafka_scram_salted(), some milliseconds for the usual counts. Thread: any. */
#ifndef KAFKA_SCRAM_H
#define KAFKA_SCRAM_H

#include "base/base.h"

enum kafka_scram_kind { /* the numbers of the protocol (DescribeUserScramCredentials) */
                        KAFKA_SCRAM_NONE = 0,
                        KAFKA_SCRAM_SHA_256 = 1,
                        KAFKA_SCRAM_SHA_512 = 2,
};
enum {
    KAFKA_SCRAM_BYTES = 64, /* of the largest hash */
    KAFKA_SCRAM_SALT_BYTES_MAX = 128,
    KAFKA_SCRAM_NONCE_BYTES_MAX = 256,
    KAFKA_SCRAM_ITERATIONS_MIN = 4096,  /* RFC 7677, and what Kafka's clients insist on */
    KAFKA_SCRAM_ITERATIONS_MAX = 16384, /* that Kafka's brokers take for a new password */
};
const char *kafka_scram_name(enum kafka_scram_kind kind); /* "SCRAM-SHA-256" */
enum kafka_scram_kind kafka_scram_find(mr_str name);      /* NONE: not one of them */
size_t kafka_scram_bytes(enum kafka_scram_kind kind);     /* of its hash: 32, 64 */
void kafka_scram_wipe(void *memory, size_t bytes);
bool kafka_scram_same(const void *a, const void *b, size_t bytes); /* in constant time */

/* What a server keeps instead of a password. */
struct kafka_scram_credential {
    enum kafka_scram_kind kind;
    int32_t iterations;
    size_t salt_bytes;
    uint8_t salt[KAFKA_SCRAM_SALT_BYTES_MAX];
    uint8_t stored_key[KAFKA_SCRAM_BYTES], server_key[KAFKA_SCRAM_BYTES];
};
/* The salted password, as many bytes as the hash has. Takes milliseconds. */
void kafka_scram_salted(enum kafka_scram_kind kind, mr_str password, mr_str salt,
                        int32_t iterations, uint8_t out[KAFKA_SCRAM_BYTES]);
/* The keys of a salted password; kind, salt and iterations are set by the caller. */
void kafka_scram_keys(struct kafka_scram_credential *credential,
                      const uint8_t salted[KAFKA_SCRAM_BYTES]);
/* A credential with a salt of its own. Takes milliseconds. */
void kafka_scram_make(struct kafka_scram_credential *out, enum kafka_scram_kind kind,
                      mr_str password, int32_t iterations);
/* Whether this is the password. Takes milliseconds. */
bool kafka_scram_is(const struct kafka_scram_credential *credential, mr_str password);

/* ---- both ends of one exchange ---- */
struct kafka_scram {
    enum kafka_scram_kind kind;
    char nonce[2 * KAFKA_SCRAM_NONCE_BYTES_MAX + 1]; /* the client's, then both */
    struct mr_buf header; /* the client's channel binding: "n,," or "n,a=...," */
    struct mr_buf
        message; /* what is signed: client-first-bare, server-first, final without proof */
    struct kafka_scram_credential credential;
    uint8_t signature[KAFKA_SCRAM_BYTES]; /* client: what the server must answer */
};
void kafka_scram_fini(struct kafka_scram *scram);

/* Client. `scram` begins as {0}. */
void kafka_scram_client_first(struct kafka_scram *scram, enum kafka_scram_kind kind, mr_str user,
                              struct mr_buf *out);
/* Takes salt and count into scram->credential. Errors: MR_AUTH (a server that is not honest, or asks
 * for fewer than 4096 or more than MR_LIMIT_SCRAM_ITERATIONS rounds). */
mr_err kafka_scram_client_challenged(struct kafka_scram *scram, mr_str server_first);
void kafka_scram_client_final(struct kafka_scram *scram, const uint8_t salted[KAFKA_SCRAM_BYTES],
                              struct mr_buf *out);
/* Errors: MR_AUTH (the server refuses, or does not know the password itself). */
mr_err kafka_scram_client_verify(const struct kafka_scram *scram, mr_str server_final);

/* Server. Errors: MR_INVALID (not SCRAM); `*user` is in the arena. */
mr_err kafka_scram_server_first(struct kafka_scram *scram, enum kafka_scram_kind kind,
                                mr_str client_first, struct mr_arena *arena, mr_str *user);
void kafka_scram_server_challenge(struct kafka_scram *scram,
                                  const struct kafka_scram_credential *credential,
                                  struct mr_buf *out);
/* Errors: MR_AUTH (a wrong proof), MR_INVALID. */
mr_err kafka_scram_server_final(struct kafka_scram *scram, mr_str client_final, struct mr_buf *out);

/* ---- base64 (RFC 4648) ---- */
void kafka_scram_base64(struct mr_buf *out, const void *data, size_t length);
/* Strict, with padding. Errors: MR_INVALID; MR_LIMIT (more than `room` bytes). */
mr_err kafka_scram_unbase64(mr_str text, uint8_t *out, size_t room, size_t *length);

#endif
