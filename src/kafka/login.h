/* kafka/login.h: how a connection of our client signs in: SASL PLAIN, SCRAM-SHA-256 and -512. */
#ifndef KAFKA_LOGIN_H
#define KAFKA_LOGIN_H

#include "kafka/client.h"
#include "kafka/scram.h"

/* One exchange of tokens; begins as {0}. */
struct kafka_login {
    struct kafka_scram scram;
    int round; /* tokens that we have written */
};
void kafka_login_fini(struct kafka_login *login); /* ready for another exchange afterwards */
/* Whether security.mechanism is one of ours. Errors: MR_UNSUPPORTED. */
mr_err kafka_login_check(mr_str mechanism);
/* Writes the next token, the answer to what the broker has said (nothing, before the first).
 * `*done`: the broker's token was its last. Errors: MR_AUTH with the reason alone. */
mr_err kafka_login_step(struct kafka_client *client, struct kafka_login *login, mr_str said,
                        struct mr_buf *token, bool *done);

#endif
