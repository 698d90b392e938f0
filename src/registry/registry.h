/* registry/registry.h: the embedded schema registry: Confluent's REST interface over HTTP, everything
 * kept in the compacted topic `_schemas` of a Kafka log in Confluent's own record format. */
#ifndef REGISTRY_REGISTRY_H
#define REGISTRY_REGISTRY_H

#include "base/base.h"
#include "kafka/kafka.h"

struct registry_server;
struct registry_server_options {
    mr_str host;                          /* to listen on */
    uint16_t port;                        /* 0: any free one */
    mr_str kafka;                         /* "host:port" of the log */
    struct kafka_security kafka_security; /* how one comes in there; {0}: as one is */
};
/* Binds the listener and begins to read `_schemas` (made when missing). Requests before it is read to
 * its end wait up to a second, then get 503. Thread: the loop's, or any before the loop runs. */
mr_err registry_server_open(struct mr_loop *loop, const struct registry_server_options *options,
                            struct registry_server **out);
uint16_t registry_server_port(const struct registry_server *server);
bool registry_server_ready(const struct registry_server *server);
/* What it waits for while it is not ready; empty: nothing has failed yet. Valid until the loop's next turn. */
const char *registry_server_why(const struct registry_server *server);
/* Stops listening, lets open writes end (at most a second), frees itself; then runs `done` (may be NULL). */
void registry_server_close(struct registry_server *server, struct mr_task *done);

#endif
