/* net/conn.h: what the files of this room share: the connection's inside, sockets, addresses. */
#ifndef NET_CONN_H
#define NET_CONN_H

#include <sys/socket.h>

#include "net/net.h"

enum { NET_PADDING = 64 }; /* readable bytes behind every frame and body */

struct net_resolve;

/* conn.c: a connection for an accepted socket; `listener` keeps it in its list. */
struct net_conn *net_conn_new(struct mr_loop *loop, const struct net_handler *handler,
                              void *context);
void net_conn_accepted(struct net_conn *conn, int fd, struct net_listener *listener);

/* The links of a listener's list. */
struct net_conn_links {
    struct net_conn *next, *previous;
};
struct net_conn_links *net_conn_links(struct net_conn *conn);
/* The listener is closing: the connection ends, and forgets it. */
void net_conn_orphan(struct net_conn *conn);

/* listener.c */
void net_listener_add(struct net_listener *listener, struct net_conn *conn);
void net_listener_remove(struct net_listener *listener, struct net_conn *conn);
/* A bound, listening, non-blocking socket; `*port` is set to what was bound. */
mr_err net_listener_socket(const char *host, uint16_t port, int *fd_out, uint16_t *port_out);

/* address.c */
struct net_address_list {
    struct sockaddr_storage items[8];
    socklen_t lengths[8];
    size_t count;
};
/* Literal addresses and "localhost", without any waiting; false: it is a name. */
bool net_address_literal(const char *host, uint16_t port, struct net_address_list *out);
void net_address_text(const struct sockaddr_storage *from, struct net_address *out);
/* Asks the system's resolver. `done` comes on the loop, once, unless net_address_cancel() was first;
 * with an error mr_why() has the sentence. */
typedef void net_address_done(void *context, mr_err err, const struct net_address_list *list);
mr_err net_address_resolve(struct mr_loop *loop, const char *host, uint16_t port,
                           net_address_done *done, void *context, struct net_resolve **out);
void net_address_cancel(struct net_resolve *resolve); /* accepts NULL */

#endif
