/* net/net.h: TCP connections, plain or by TLS, and HTTP servers on a loop. Everything here is called on the loop's own
 * thread; net_listen(), net_listen_local() and net_http_listen() may also be called before the loop runs.
 *
 * A connection's life: (net_connect | accept) -> opened -> message* -> closed. Nothing is told after
 * `closed`, and `closed` is told exactly once, at the end of a turn, never from inside a call. */
#ifndef NET_NET_H
#define NET_NET_H

#include "base/base.h"

struct net_conn;
struct net_listener;

/* What a protocol does with its connections. No function may be NULL (see net_nothing). */
struct net_handler {
    /* Accepted, or connected. What was sent before is queued and goes out now. */
    void (*opened)(struct net_conn *conn);
    /* How many bytes the next frame has, header included, from the bytes `seen` (at least one).
     * *total 0: more bytes are needed to know. An error closes the connection. The callee checks
     * the length against its limit; net itself refuses more than MR_LIMIT_FRAME_BYTES + 64. */
    mr_err (*frame)(struct net_conn *conn, mr_str seen, size_t *total);
    /* One whole frame, a view into `owner`, valid during the call; keep it by mr_bytes_ref(owner).
     * Kept bytes never change. 64 readable bytes lie behind every frame (for simdjson). A frame
     * larger than 16 KiB may have a buffer of its own size; smaller ones share buffers of 64 KiB, so
     * keep a small frame for long by copying it. An error closes the connection. */
    mr_err (*message)(struct net_conn *conn, struct mr_bytes *owner, mr_str frame);
    /* The out queue had passed the low mark and has fallen to it again. */
    void (*drained)(struct net_conn *conn);
    /* The end: MR_OK after net_close(), MR_CLOSED when the peer went, MR_CANCELLED after net_abort(),
     * or what failed; mr_why() has the sentence. The connection is freed when this returns. */
    void (*closed)(struct net_conn *conn, mr_err why);
};
void net_nothing(struct net_conn *conn); /* for `opened` and `drained` when they do not matter */
/* For `frame`: a length of 4 bytes, big endian, before so many bytes of body (Kafka). */
mr_err net_frame_be32(mr_str seen, size_t bytes_max, size_t *total);

/* ---- servers ---- */

/* Binds and listens; host "" or "*" means every address, port 0 any free one. Connections begin with
 * `context` as their context. Errors: MR_BUSY with the sentence for a busy port, MR_DENIED,
 * MR_UNREACHABLE (an address that this machine has not). */
mr_err net_listen(struct mr_loop *loop, const char *host, uint16_t port,
                  const struct net_handler *handler, void *context, struct net_listener **out);
/* A socket in the file system: the file `name` in `folder`, for those who may write to it: this user, and root.
 * One that is there already is replaced; closing the listener leaves it. Errors: MR_IO, MR_DENIED, ... */
mr_err net_listen_local(struct mr_loop *loop, const char *folder, const char *name,
                        const struct net_handler *handler, void *context,
                        struct net_listener **out);
/* Aborts its connections, whose `closed` come later with MR_CANCELLED, and takes no new ones.
 * The listener is gone when this returns. Accepts NULL. */
void net_listener_close(struct net_listener *listener);
uint16_t net_listener_port(const struct net_listener *listener);
/* While off, the kernel queues connections (up to 1024). On at first. */
void net_listener_accepting(struct net_listener *listener, bool accepting);
/* With so many, the address that has most of them gives up one that never said anything, or else has been quiet for longest: when that is 10 s,
 * or when the newcomer's address has not half as many. Else the newcomer is closed at once. 4096 at first. */
void net_listener_conns_max(struct net_listener *listener, size_t conns_max);
/* More of one peer's address are accepted and closed at once; 0, as at first: no such limit. */
void net_listener_conns_per_address_max(struct net_listener *listener, size_t conns_max);
/* Connections that are not busy (net_busy) end well when nothing has come or gone for so long; 0, as at first: never. */
void net_listener_idle_us(struct net_listener *listener, int64_t idle_us);
/* Bytes that large frames (more than 64 KiB) of accepted connections have together while they arrive. A frame that
 * finds no room waits, unread, until others are told; small ones never wait. One address has at most half. A frame
 * for which others wait has 30 s to arrive, and 5 s for its next bytes, else its connection ends. The budget outlives the connections. */
struct net_budget;
struct net_budget *net_budget_new(struct mr_loop *loop, size_t bytes_max);
void net_budget_free(struct net_budget *budget); /* accepts NULL */
size_t net_budget_bytes(const struct net_budget *budget);
void net_listener_budget(struct net_listener *listener, struct net_budget *budget);
size_t net_listener_conn_count(const struct net_listener *listener);
/* The listener's connections, one after the other; NULL ends. `after` NULL: the first. */
struct net_conn *net_listener_next(const struct net_listener *listener, struct net_conn *after);

/* ---- clients ---- */

/* Begins to connect; `opened` or `closed` tells the end of it. Names are resolved without blocking.
 * After 10 s without an answer it is closed with MR_TIMEOUT. Errors: MR_INVALID (not an address). */
mr_err net_connect(struct mr_loop *loop, const char *host, uint16_t port,
                   const struct net_handler *handler, void *context, struct net_conn **out);
/* To a net_listen_local(). Errors: MR_NOT_FOUND, MR_DENIED (the folder); `closed` tells of the file. */
mr_err net_connect_local(struct mr_loop *loop, const char *folder, const char *name,
                         const struct net_handler *handler, void *context, struct net_conn **out);
/* "host:port", "[::1]:port"; a text without a port gets `default_port` (0: a port is needed). */
struct net_address {
    char host[256];
    uint16_t port;
};
mr_err net_address_parse(mr_str text, uint16_t default_port, struct net_address *out);

/* ---- connections ---- */

void *net_context(const struct net_conn *conn);
void net_context_set(struct net_conn *conn, void *context);
struct mr_loop *net_loop(const struct net_conn *conn);
/* Text of this end ("127.0.0.1", port) and of the other. Empty before `opened`. */
void net_local(const struct net_conn *conn, struct net_address *out);
void net_peer(const struct net_conn *conn, struct net_address *out);

/* Sending queues; the queue is written at the turn's end, or by net_flush(). Sending on a connection
 * that has ended does nothing. */
void net_send(struct net_conn *conn, const void *data, size_t length); /* copies */
/* Sends a part of `bytes` without a copy; takes a reference of its own. */
void net_send_bytes(struct net_conn *conn, struct mr_bytes *bytes, size_t offset, size_t length);
void net_send_buf(struct net_conn *conn,
                  struct mr_buf *moved); /* moves the memory; `moved` is empty then */
/* The open end of the out queue: add to it with mr_buf_*, patch what you added in this call; do not
 * keep it past another net_* call. Its `length` tells where your bytes begin (not always 0). */
struct mr_buf *net_out(struct net_conn *conn);
void net_flush(struct net_conn *conn);
/* Bytes that wait to be sent. An accepted connection with more than MR_LIMIT_CONN_OUT_BYTES is not
 * read until it is at the low mark again. */
size_t net_out_bytes(const struct net_conn *conn);
void net_low_mark(struct net_conn *conn, size_t bytes); /* 256 KiB at first */

/* Back-pressure: while paused nothing is read and no message told, not even one already here. Calls
 * do not nest. That the peer has gone is noticed all the same, unless it has left something to be read. */
void net_pause(struct net_conn *conn);
/* Paused for ever: that the peer has gone is noticed whatever it has left. */
void net_deafen(struct net_conn *conn);
void net_resume(struct net_conn *conn);
/* Whether we owe the peer something: then it is not idle, however quiet. */
void net_busy(struct net_conn *conn, bool busy);
void net_close(struct net_conn *conn); /* tells no more messages; ends when the out queue is sent */
void net_abort(struct net_conn *conn); /* ends at once */

#include "net/http.h"
#include "net/tls.h"

#endif
