/* kafka/login.c: see login.h. The salted password is kept with the client, so that its other
 * connections need not hash again. */
#include "kafka/login.h"

void kafka_login_fini(struct kafka_login *login)
{
    kafka_scram_fini(&login->scram);
    *login = (struct kafka_login){0};
}

mr_err kafka_login_check(mr_str mechanism)
{
    if (mr_str_equal(mechanism, MR_STR("PLAIN")) || kafka_scram_find(mechanism) != KAFKA_SCRAM_NONE)
        return MR_OK;
    return mr_fail(MR_UNSUPPORTED,
                   "kafka: SASL mechanism \"%.*s\": expected PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512",
                   MR_STR_ARG(mechanism));
}

/* RFC 4616: authority, user, password. */
static void plain_write(const struct kafka_security *security, struct mr_buf *token)
{
    mr_buf_u8(token, '\0');
    mr_buf_str(token, security->user);
    mr_buf_u8(token, '\0');
    mr_buf_str(token, security->password);
}

static const uint8_t *salted(struct kafka_client *client,
                             const struct kafka_scram_credential *credential)
{
    struct kafka_salted *known = &client->salted;
    if (known->kind != (int)credential->kind || known->iterations != credential->iterations ||
        known->salt_bytes != credential->salt_bytes ||
        memcmp(known->salt, credential->salt, known->salt_bytes) != 0) {
        kafka_scram_salted(credential->kind, client->security.password,
                           mr_str_of(credential->salt, credential->salt_bytes),
                           credential->iterations, known->password);
        known->kind = (int)credential->kind;
        known->iterations = credential->iterations;
        known->salt_bytes = credential->salt_bytes;
        memcpy(known->salt, credential->salt, credential->salt_bytes);
    }
    return known->password;
}

mr_err kafka_login_step(struct kafka_client *client, struct kafka_login *login, mr_str said,
                        struct mr_buf *token, bool *done)
{
    enum kafka_scram_kind kind = kafka_scram_find(client->security.mechanism);
    mr_err err = MR_OK;
    *done = login->round == (kind == KAFKA_SCRAM_NONE ? 1 : 2);
    if (*done)
        return kind == KAFKA_SCRAM_NONE ? MR_OK : kafka_scram_client_verify(&login->scram, said);
    if (kind == KAFKA_SCRAM_NONE) {
        plain_write(&client->security, token);
    } else if (login->round == 0) {
        kafka_scram_client_first(&login->scram, kind, client->security.user, token);
    } else {
        err = kafka_scram_client_challenged(&login->scram, said);
        if (err == MR_OK)
            kafka_scram_client_final(&login->scram, salted(client, &login->scram.credential),
                                     token);
    }
    login->round++;
    return err;
}
