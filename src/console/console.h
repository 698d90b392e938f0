/* console/console.h: the web console: one page, its files (embedded in the binary), and the little JSON
 * that it reads: topics with their last records decoded, tables with their rows. It knows log, registry
 * and tables by their protocols only, embedded or real alike. Pipelines, runs and counters come from
 * /status.json and Airflow's REST paths, which others serve on the same port. */
#ifndef CONSOLE_CONSOLE_H
#define CONSOLE_CONSOLE_H

#include "kafka/kafka.h"
#include "net/net.h"
#include "schemas/schemas.h"

struct console;
struct console_options {
    mr_str kafka;                         /* "host:port,..." */
    struct kafka_security kafka_security; /* how one comes in there; {0}: as one is */
    struct schemas_client_options registry;
    mr_str cassandra;                          /* "host:port,..."; empty: no tables */
    mr_str cassandra_user, cassandra_password; /* empty: none */
    bool cassandra_uses_tls;
    struct net_tls_client cassandra_tls;
};
/* Connects when first asked. Thread: the loop's own, or any before it runs. */
mr_err console_open(struct mr_loop *loop, const struct console_options *options,
                    struct console **out);
/* Answers one request, at once or later; 404 for what it does not know. */
void console_http(struct console *console, struct net_http_exchange *exchange);
/* The client of this request has gone. */
void console_cancelled(struct console *console, struct net_http_exchange *exchange);
/* Requests that are open are not answered any more. Accepts NULL. */
void console_close(struct console *console);

#endif
