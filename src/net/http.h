/* net/http.h: an HTTP/1.1 server on a loop. Included by net/net.h.
 *
 * A request is told once, whole. It is answered in the call or later by one net_http_respond*(); until
 * then its net_http_exchange lives. If the client goes away first, `cancelled` is told instead, and the
 * exchange must not be touched after that. Requests of one connection come one after the other. */
#ifndef NET_HTTP_H
#define NET_HTTP_H

#include "base/base.h"

struct net_http;
struct net_http_exchange;

struct net_http_pair {
    mr_str name, value;
};
/* Everything lives in the exchange's arena. */
struct net_http_request {
    mr_str method;                      /* "GET" */
    mr_str target;                      /* as sent: "/subjects/a%2Fb?deleted=true" */
    mr_str path;                        /* decoded, without the query: "/subjects/a/b" */
    const mr_str *segments;             /* of the path, each decoded: "subjects", "a/b" */
    size_t segment_count;               /* "/" has 0; a slash at the end adds none */
    const struct net_http_pair *params; /* of the query, decoded ('+' is a blank) */
    size_t param_count;
    const struct net_http_pair *headers;
    size_t header_count;
    mr_str body; /* at most MR_LIMIT_HTTP_BODY_BYTES: above, 413 is answered without you;
                  * 64 readable bytes lie behind it */
};
mr_str net_http_param(const struct net_http_request *request,
                      const char *name); /* MR_STR_NULL: absent */
mr_str net_http_header(const struct net_http_request *request, const char *name); /* without case */

struct net_http_handler {
    void (*request)(struct net_http_exchange *exchange, const struct net_http_request *request);
    /* The client has gone before the answer. */
    void (*cancelled)(struct net_http_exchange *exchange);
};

/* As net_listen(). `idle_s`: a connection without progress for so long is closed (0: 60). */
mr_err net_http_listen(struct mr_loop *loop, const char *host, uint16_t port, unsigned idle_s,
                       const struct net_http_handler *handler, void *context,
                       struct net_http **out);
/* Exchanges that are open are cancelled (told) first. Accepts NULL. */
void net_http_close(struct net_http *http);
uint16_t net_http_port(const struct net_http *http);

void *net_http_context(const struct net_http_exchange *exchange); /* the server's */
/* A pointer of the handler's own, for `cancelled`. */
void net_http_exchange_set(struct net_http_exchange *exchange, void *own);
void *net_http_exchange_get(const struct net_http_exchange *exchange);
struct mr_arena *net_http_arena(struct net_http_exchange *exchange); /* until the answer */
const struct net_http_request *net_http_request_of(const struct net_http_exchange *exchange);

/* Before the answer; copies. */
void net_http_add_header(struct net_http_exchange *exchange, const char *name, mr_str value);
/* Answers; `content_type` NULL: no such header. The exchange is gone for the caller. Copies the body. */
void net_http_respond(struct net_http_exchange *exchange, int status, const char *content_type,
                      mr_str body);
/* The same without a copy: takes over the caller's reference. */
void net_http_respond_bytes(struct net_http_exchange *exchange, int status,
                            const char *content_type, struct mr_bytes *body);

#endif
