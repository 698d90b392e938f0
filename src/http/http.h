/* http/http.h: an HTTP client on a loop. Connections are kept and used again, HTTP/2 and gzip are
 * taken where the server offers them. Everything is called on the loop's own thread. */
#ifndef HTTP_HTTP_H
#define HTTP_HTTP_H

#include "base/base.h"

struct http_client;
struct http_call;

#define HTTP_NO_TIMEOUT (-1)

struct http_header {
    mr_str name, value;
};
/* Files (PEM) for https://; NULL: the system's certificates to trust, and none of our own. */
struct http_tls {
    const char *ca, *cert, *key;
};
struct http_request {
    const char *method; /* NULL: GET, or POST with a body */
    const char *url;    /* http:// or https://; user:password@ becomes Basic authentication */
    const struct http_header *headers;
    size_t header_count;
    mr_str body;        /* data NULL: none. Copied */
    int64_t timeout_ms; /* of everything; 0: 30 s; HTTP_NO_TIMEOUT: the caller cancels in time */
    const struct http_tls *tls; /* NULL: as it is by default */
    size_t bytes_max; /* of the response's body, decompressed; 0: MR_LIMIT_HTTP_RESPONSE_BYTES */
};
struct http_response {
    int status; /* 200 */
    const struct http_header *headers;
    size_t header_count;
    struct mr_bytes
        *body; /* never NULL; 64 bytes of zero lie behind its length; keep by mr_bytes_ref */
};
/* Told once, never from inside http_start(). With an error `response` is NULL and mr_why() names the
 * URL (without its password): MR_UNREACHABLE, MR_TIMEOUT, MR_CLOSED, MR_LIMIT (too large), MR_AUTH
 * (certificate), MR_INVALID (not a URL). Every status, 500 too, is a response and no error. */
typedef void http_done(void *context, mr_err err, const struct http_response *response);

struct http_client *http_client_new(struct mr_loop *loop);
/* Cancels what is open; accepts NULL. Not from inside a `done`. */
void http_client_free(struct http_client *client);
struct http_call *http_start(struct http_client *client, const struct http_request *request,
                             http_done *done, void *context);
void http_cancel(struct http_call *call); /* `done` is not told any more; accepts NULL */
/* A header by its name without case; MR_STR_NULL: absent. */
mr_str http_response_header(const struct http_response *response, const char *name);
/* What Retry-After asks for (seconds, or a date against `wall_us`), in ms; -1: absent or not readable. */
int64_t http_retry_after_ms(const struct http_response *response, int64_t wall_us);
/* Percent-encodes all but unreserved characters (RFC 3986, 2.3). */
void http_escape(struct mr_buf *out, mr_str text);
/* The URL as it may be shown: without user and password. */
void http_url_public(struct mr_buf *out, mr_str url);

#endif
