/* randomuser/randomuser.h: a stand-in for the randomuser.me API, version 1.4: the same parameters,
 * the same JSON, people and places of our own making, always the same for a seed. */
#ifndef RANDOMUSER_RANDOMUSER_H
#define RANDOMUSER_RANDOMUSER_H

#include "base/base.h"

struct randomuser_server;
struct randomuser_server_options {
    mr_str host;   /* default 127.0.0.1 */
    uint16_t port; /* 0: a free one is chosen */
};
/* The listener is bound when this returns. Errors: MR_BUSY (the port), MR_DENIED, MR_INVALID.
 * Thread: before the loop runs, or on it. */
mr_err randomuser_server_open(struct mr_loop *loop, const struct randomuser_server_options *options,
                              struct randomuser_server **out);
uint16_t randomuser_server_port(const struct randomuser_server *server);
/* Accepts NULL. */
void randomuser_server_close(struct randomuser_server *server);

/* The answer to a query string ("results=5&seed=a"), without a server: appends the body to `out`
 * and sets the HTTP status and a literal content type. `now_us` is the present, `entropy` makes the
 * seed when the query has none. Thread: any. */
void randomuser_answer(mr_str query, int64_t now_us, uint64_t entropy, struct mr_buf *out,
                       int *status, const char **content_type);

#endif
