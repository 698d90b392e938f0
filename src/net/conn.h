/* net/conn.h: what the files of this room share: the connection's inside, sockets, addresses. */
#ifndef NET_CONN_H
#define NET_CONN_H

#include <sys/socket.h>

#include "net/net.h"

enum { NET_PADDING = 64 }; /* readable bytes behind every frame and body */

struct net_resolve;

/* conn.c: a connection for an accepted socket; `listener` keeps it in its list. `tls` NULL: plain. */
struct net_conn *net_conn_new(struct mr_loop *loop, const struct net_handler *handler,
                              void *context);
void net_conn_accepted(struct net_conn *conn, int fd, const struct sockaddr_storage *peer,
                       const struct net_tls *tls, struct net_budget *budget,
                       struct net_listener *listener);
/* Where it comes from, without the port: the bytes of the address; 0: this machine's files. */
size_t net_source(const struct sockaddr_storage *peer, char key[16]);
size_t net_conn_source(const struct net_conn *conn, char key[16]);
/* Since bytes have come or gone. Busy: something is owed to the peer, or the connection is not open. */
int64_t net_conn_quiet_us(const struct net_conn *conn);
bool net_conn_is_busy(const struct net_conn *conn);
bool net_conn_spoke(const struct net_conn *conn); /* one whole frame at least */
void net_conn_give_up(struct net_conn *conn, const char *why);
/* What the budget says: it may go on reading; its frame takes too long. */
void net_conn_let_in(struct net_conn *conn);
bool net_conn_is_read(const struct net_conn *conn); /* not paused */
void net_conn_too_slow(struct net_conn *conn, size_t frame_bytes);

/* The links of a listener's list. */
struct net_conn_links {
    struct net_conn *next, *previous;
};
struct net_conn_links *net_conn_links(struct net_conn *conn);
/* The listener is closing: the connection ends, and forgets it. */
void net_conn_orphan(struct net_conn *conn);

/* budget.c: a frame that is not whole yet and larger than the buffers that small ones share. {0}: none. */
struct net_budget_source;
struct net_budget_frame {
    struct net_budget_source *source; /* NULL: none */
    struct net_conn *conn;
    struct net_budget_frame *next, *previous;
    size_t bytes;
    int64_t since_us;
    bool counts, waits; /* let in; kept from being read */
};
/* Lets the frame in or makes it wait; one that is known already stays as it is. */
void net_budget_enter(struct net_budget *budget, struct net_budget_frame *frame,
                      struct net_conn *conn, size_t bytes);
void net_budget_leave(struct net_budget_frame *frame); /* accepts {0} */

/* listener.c */
void net_listener_add(struct net_listener *listener, struct net_conn *conn);
void net_listener_remove(struct net_listener *listener, struct net_conn *conn);
/* A bound, listening, non-blocking socket; `*port` is set to what was bound. */
mr_err net_listener_socket(const char *host, uint16_t port, int *fd_out, uint16_t *port_out);

/* tls.c: one connection's session. It reads the socket itself and never writes it: what is to be
 * sent is in net_tls_session_cipher() until net_tls_session_sent(). */
struct net_tls_session;
enum net_tls_step {
    NET_TLS_DONE,
    NET_TLS_WAITS, /* for the other side's bytes */
    NET_TLS_ENDED, /* the other side has ended its stream */
    NET_TLS_FAILED,
};
struct net_tls_session *net_tls_session_new(const struct net_tls *tls, const char *name);
void net_tls_session_free(struct net_tls_session *session); /* accepts NULL */
void net_tls_session_socket(struct net_tls_session *session, int fd);
mr_str net_tls_session_cipher(const struct net_tls_session *session);
void net_tls_session_sent(struct net_tls_session *session, size_t bytes);
enum net_tls_step net_tls_session_shake(struct net_tls_session *session);
/* `of_socket` false: only what has been received already is decrypted. */
enum net_tls_step net_tls_session_read(struct net_tls_session *session, bool of_socket, void *into,
                                       size_t room, size_t *got);
/* Whether bytes are here that no event of the socket will tell. */
bool net_tls_session_has_more(const struct net_tls_session *session);
bool net_tls_session_write(struct net_tls_session *session, const void *data, size_t length);
void net_tls_session_end(struct net_tls_session *session); /* our stream ends (close_notify) */
bool net_tls_session_subject(const struct net_tls_session *session, struct mr_buf *out);
/* The sentence after ENDED in a handshake, or FAILED. */
mr_err net_tls_session_fail(const struct net_tls_session *session, const struct net_address *peer);

/* address.c */
struct net_address_list {
    struct sockaddr_storage items[8];
    socklen_t lengths[8];
    size_t count;
};
/* Literal addresses and "localhost", without any waiting; false: it is a name. */
bool net_address_literal(const char *host, uint16_t port, struct net_address_list *out);
void net_address_text(const struct sockaddr_storage *from, struct net_address *out);
/* The file `name` of a folder. A path to it may be longer than an address can be, so the address goes by an open
 * folder, *folder_fd, which the caller closes after its use. Errors: MR_NOT_FOUND, MR_DENIED, MR_INVALID. */
mr_err net_address_local(const char *folder, const char *name, struct net_address_list *out,
                         int *folder_fd);
/* Asks the system's resolver. `done` comes on the loop, once, unless net_address_cancel() was first;
 * with an error mr_why() has the sentence. */
typedef void net_address_done(void *context, mr_err err, const struct net_address_list *list);
mr_err net_address_resolve(struct mr_loop *loop, const char *host, uint16_t port,
                           net_address_done *done, void *context, struct net_resolve **out);
void net_address_cancel(struct net_resolve *resolve); /* accepts NULL */

#endif
