/* net/tls.h: TLS for listeners and connections, by OpenSSL. Included by net/net.h.
 *
 * A net_tls is made from PEM files once and used for any number of connections. Freeing it is safe
 * while connections live, and a listener may be given a new one at any time (renewed certificates).
 * TLS 1.2 and 1.3. Making one reads files and may block for that; everything else never does. */
#ifndef NET_TLS_H
#define NET_TLS_H

#include "base/base.h"

struct net_conn;
struct net_listener;
struct net_handler;
struct net_tls;

enum net_tls_clients {
    NET_TLS_CLIENTS_NONE,    /* no certificate is asked for */
    NET_TLS_CLIENTS_REQUEST, /* one that is shown must be good */
    NET_TLS_CLIENTS_REQUIRE,
};
struct net_tls_server {
    mr_str certificate;  /* file: the chain, our own first */
    mr_str key;          /* file; empty: it is in the certificate's file */
    mr_str key_password; /* of an encrypted key; empty: none */
    mr_str client_ca;    /* file: who may have signed the clients' certificates */
    enum net_tls_clients clients;
};
struct net_tls_client {
    mr_str ca;          /* file: whom we trust; empty: the system's store */
    mr_str certificate; /* file: our own chain, for a server that asks for one; empty: none */
    mr_str key;         /* file; empty: it is in the certificate's file */
    mr_str key_password;
    bool any_name; /* the certificate may be another host's */
};
struct net_tls_client net_tls_client_copy(struct mr_arena *arena,
                                          const struct net_tls_client *options);
/* Errors: MR_NOT_FOUND, MR_DENIED (a file), MR_INVALID (not PEM, a key that does not fit, a wrong
 * password, an option that is missing). */
mr_err net_tls_server_new(const struct net_tls_server *options, struct net_tls **out);
mr_err net_tls_client_new(const struct net_tls_client *options, struct net_tls **out);
void net_tls_free(struct net_tls *tls); /* accepts NULL */

/* Connections from here on begin with a handshake. `opened` comes after it; one that fails, or takes
 * longer than 10 s, is logged and never told. */
void net_listener_tls(struct net_listener *listener, const struct net_tls *tls);
/* As net_connect(), with a handshake before `opened`. `name` is what the server's certificate must
 * be for, and is sent as SNI; NULL: `host`. A handshake that fails ends with `closed`: MR_AUTH when a
 * side does not trust the other's certificate, MR_INVALID when the other does not speak TLS. A
 * server may refuse our certificate only after `opened` (TLS 1.3): then it is closed with MR_AUTH. */
mr_err net_connect_tls(struct mr_loop *loop, const char *host, uint16_t port,
                       const struct net_tls *tls, const char *name,
                       const struct net_handler *handler, void *context, struct net_conn **out);
bool net_is_tls(const struct net_conn *conn);
/* The subject of the certificate that the other side has shown and we have verified, by RFC 2253:
 * "CN=ann,O=Example". False: none. */
bool net_peer_subject(const struct net_conn *conn, struct mr_buf *out);

#endif
