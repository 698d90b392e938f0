/* net/conn.c: one TCP connection.
 *
 *   RESOLVING --addresses--> CONNECTING --connected--> [SHAKING --TLS agreed-->] OPEN
 *   OPEN --net_close--> CLOSING --all sent--> LINGERING --peer's end or 1 s--> DEAD
 *   accepted ones begin OPEN, or SHAKING with TLS;  any --conn_end--> DEAD
 *
 * In DEAD the descriptor is closed; the turn's end tells `closed` and frees. All that happens later
 * (told frames after a resume, flushes, the end) is done by one turn-end task, so nothing outlives it.
 *
 * Receiving: bytes go to [fill, usable) of a counted buffer; [parse, fill) is not told yet. A frame
 * that does not fit gets a fresh buffer, and its beginning moves there. What was told is never written
 * again while somebody holds the buffer.
 *
 * Sending: `items` in order, then `tail`, the open end. With TLS a part of that is encrypted at a
 * time, and the next part only when its ciphertext is sent; so a slow peer costs no second queue. */
#include "net/conn.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    SHARED_BYTES = 65536,  /* a buffer for small frames */
    OWN_BYTES = 16384,     /* larger frames may get their own */
    ROOM_BYTES_MIN = 4096, /* with less room and an unknown length a fresh buffer is taken */
    GROWS_BYTES = 1 << 20, /* of a larger frame this much has to come before it gets its buffer */
    TURN_BYTES_MAX = 1 << 20, /* read of one connection in one turn: others have work too */
    TAIL_BYTES_MAX = 65536,   /* then the open end is closed and a new one begun */
    TAIL_KEPT_BYTES = 65536,  /* memory that an empty open end keeps */
    LOW_MARK_BYTES = 262144,
    PARTS_MAX = 64, /* of one sendmsg() */
    CONNECT_US = 10000000,
    SHAKE_US = 10000000,
    CIPHER_BYTES = 131072,      /* encrypted at once */
    CIPHER_BYTES_MAX = 1 << 20, /* unsent; above, the peer asks for keys and reads nothing */
    LINGER_US = 1000000,
    TLS_END_BYTES = 31, /* close_notify by TLS 1.2; by 1.3 it is 24 */
};

enum conn_state {
    CONN_RESOLVING,
    CONN_CONNECTING,
    CONN_SHAKING,
    CONN_OPEN,
    CONN_CLOSING,
    CONN_LINGERING,
    CONN_DEAD,
};

struct out_item {
    struct mr_bytes *bytes; /* counted, or NULL */
    uint8_t *heap;          /* ours, or NULL */
    const uint8_t *at, *end;
};

struct net_conn {
    struct mr_loop *loop;
    const struct net_handler *handler;
    void *context;
    enum conn_state state;
    struct mr_watch watch;
    struct mr_timer timer; /* connecting, lingering */
    struct mr_task turn_end;
    struct net_listener *listener; /* NULL: a client, or its listener is gone */
    struct net_conn_links links;
    bool accepted, paused, deaf, out_full, again, above_low;
    bool end_seen; /* the peer has ended, and left something that a pause keeps from being read */
    bool untold;   /* accepted, and `opened` was never told: nor will `closed` be */
    struct sockaddr_storage peer; /* of an accepted one */
    struct net_tls_session *tls;  /* NULL: plain */
    mr_err why;
    char *why_text;
    /* connecting */
    struct net_resolve *resolve;
    struct net_address target; /* as wished */
    struct net_address_list addresses;
    size_t address_at;
    /* receiving */
    struct mr_bytes *in;
    size_t parse, fill;
    size_t frame_bytes;              /* of the frame at `parse`; 0: not known */
    struct net_budget *budget;       /* of large frames; NULL: there is none */
    struct net_budget_frame counted; /* the frame at `parse`, when it is one of them */
    int64_t active_us;               /* bytes have come or gone */
    bool busy;                       /* owes its peer an answer */
    bool spoke;                      /* a whole frame has come */
    /* sending */
    MR_ARRAY(struct out_item) items;
    size_t items_at; /* the first that is not sent */
    size_t items_bytes;
    struct mr_buf tail;
    size_t tail_sent;
    struct mr_buf waste; /* what is sent after the end */
    size_t low_mark;
};

void net_nothing(struct net_conn *conn)
{
    mr_assert(conn != NULL);
}

mr_err net_frame_be32(mr_str seen, size_t bytes_max, size_t *total)
{
    struct mr_in in = mr_in_str(seen);
    if (seen.length < 4) {
        *total = 0;
        return MR_OK;
    }
    uint32_t body = mr_in_be32(&in);
    if (body > bytes_max)
        return mr_fail(MR_LIMIT, "a frame: at most %zu bytes, its length says %u", bytes_max, body);
    *total = 4 + (size_t)body;
    return MR_OK;
}

/* ---- the end ---- */

static void conn_end_with(struct net_conn *conn, mr_err why, const char *text)
{
    if (conn->state == CONN_DEAD)
        return;
    conn->state = CONN_DEAD;
    conn->why = why;
    conn->why_text = mr_copy_cstr(mr_str_from(text));
    mr_timer_stop(&conn->timer);
    net_budget_leave(&conn->counted);
    net_address_cancel(conn->resolve);
    conn->resolve = NULL;
    if (conn->watch.fd >= 0) {
        mr_watch_set(conn->loop, &conn->watch, 0);
        close(conn->watch.fd);
        conn->watch.fd = -1;
    }
    if (conn->tls != NULL)
        net_tls_session_socket(conn->tls, -1);
    if (conn->listener != NULL) {
        net_listener_remove(conn->listener, conn);
        conn->listener = NULL;
    }
    mr_loop_at_turn_end(conn->loop, &conn->turn_end);
}

/* The sentence is the latest mr_fail()'s. */
static void conn_end(struct net_conn *conn, mr_err why)
{
    conn_end_with(conn, why, why == MR_OK ? "" : mr_why());
}

static void conn_fail_errno(struct net_conn *conn, const char *doing, int number)
{
    struct net_address peer;
    net_peer(conn, &peer);
    conn_end(conn, mr_fail(mr_err_from_errno(number), "%s %s:%u: %s", doing, peer.host, peer.port,
                           strerror(number)));
}

static void item_fini(struct out_item *item)
{
    mr_bytes_unref(item->bytes);
    mr_free(item->heap);
}

static void conn_free(struct net_conn *conn)
{
    for (size_t i = conn->items_at; i < conn->items.count; i++)
        item_fini(&conn->items.items[i]);
    mr_array_fini(&conn->items);
    mr_buf_fini(&conn->tail);
    mr_buf_fini(&conn->waste);
    mr_bytes_unref(conn->in);
    net_tls_session_free(conn->tls);
    mr_free(conn->why_text);
    mr_free(conn);
}

/* ---- what is watched ---- */

static size_t cipher_bytes(const struct net_conn *conn)
{
    return conn->tls == NULL ? 0 : net_tls_session_cipher(conn->tls).length;
}

static bool may_read(const struct net_conn *conn)
{
    return conn->state == CONN_OPEN && !conn->paused && !conn->out_full && !conn->counted.waits;
}

static void watch_update(struct net_conn *conn)
{
    uint32_t events = 0;
    if (conn->state == CONN_DEAD || conn->watch.fd < 0)
        return;
    if (may_read(conn) || conn->state == CONN_LINGERING || conn->state == CONN_SHAKING)
        events |= EPOLLIN;
    if (conn->state == CONN_CONNECTING ||
        (conn->state >= CONN_SHAKING && conn->state < CONN_LINGERING && cipher_bytes(conn) > 0) ||
        ((conn->state == CONN_OPEN || conn->state == CONN_CLOSING) && net_out_bytes(conn) > 0))
        events |= EPOLLOUT;
    if (conn->state == CONN_OPEN && (conn->paused || conn->counted.waits) && !conn->end_seen)
        events |= EPOLLRDHUP;
    if (events == 0)
        events = EPOLLERR; /* always told, but 0 would mean unwatched */
    mr_err err = mr_watch_set(conn->loop, &conn->watch, events);
    if (err != MR_OK)
        conn_end(conn, err);
}

/* ---- sending ---- */

size_t net_out_bytes(const struct net_conn *conn)
{
    return conn->items_bytes + conn->tail.length - conn->tail_sent;
}

/* Closes the open end: its bytes become an item. */
static void tail_close(struct net_conn *conn)
{
    struct mr_buf *tail = &conn->tail;
    if (tail->length > conn->tail_sent) {
        *mr_array_add(&conn->items) = (struct out_item){
            NULL, tail->data, tail->data + conn->tail_sent, tail->data + tail->length};
        conn->items_bytes += tail->length - conn->tail_sent;
        *tail = (struct mr_buf){0};
    }
    tail->length = 0;
    conn->tail_sent = 0;
}

/* The next parts to send; returns their count and sets `*bytes` to their sum. */
static size_t parts_take(struct net_conn *conn, struct iovec parts[PARTS_MAX], size_t *bytes)
{
    size_t count = 0;
    *bytes = 0;
    for (size_t i = conn->items_at; i < conn->items.count && count < PARTS_MAX; i++) {
        struct out_item *item = &conn->items.items[i];
        parts[count++] = (struct iovec){(void *)(uintptr_t)item->at,
                                        (size_t)(item->end - item->at)};
        *bytes += (size_t)(item->end - item->at);
    }
    if (count < PARTS_MAX && conn->tail.length > conn->tail_sent) {
        parts[count++] = (struct iovec){conn->tail.data + conn->tail_sent,
                                        conn->tail.length - conn->tail_sent};
        *bytes += conn->tail.length - conn->tail_sent;
    }
    return count;
}

/* Forgets what has been sent. */
static void sent(struct net_conn *conn, size_t bytes)
{
    while (bytes > 0 && conn->items_at < conn->items.count) {
        struct out_item *item = &conn->items.items[conn->items_at];
        size_t left = (size_t)(item->end - item->at), part = bytes < left ? bytes : left;
        item->at += part;
        conn->items_bytes -= part;
        bytes -= part;
        if (part == left) {
            item_fini(item);
            conn->items_at++;
        }
    }
    if (conn->items_at == conn->items.count) {
        conn->items.count = conn->items_at = 0;
    } else if (conn->items_at >= 1024 && conn->items_at >= conn->items.count / 2) {
        conn->items.count -= conn->items_at; /* a queue that never empties must not grow for ever */
        memmove(conn->items.items, conn->items.items + conn->items_at,
                conn->items.count * sizeof *conn->items.items);
        conn->items_at = 0;
    }
    conn->tail_sent += bytes;
    mr_assert(conn->tail_sent <= conn->tail.length);
    if (conn->tail_sent == conn->tail.length) {
        conn->tail.length = conn->tail_sent = 0;
        if (conn->tail.capacity > TAIL_KEPT_BYTES)
            mr_buf_fini(&conn->tail);
    }
}

/* Writes ciphertext until there is none; false: the socket is full, or the end. */
static bool flush_cipher(struct net_conn *conn)
{
    for (mr_str cipher; (cipher = net_tls_session_cipher(conn->tls)).length > 0;) {
        ssize_t put = send(conn->watch.fd, cipher.data, cipher.length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0 && errno != EAGAIN && errno != EWOULDBLOCK)
            conn_fail_errno(conn, "sending to", errno);
        if (put <= 0)
            return false;
        net_tls_session_sent(conn->tls, (size_t)put);
        conn->active_us = mr_loop_now_us(conn->loop);
    }
    return true;
}

static void linger(struct net_conn *conn)
{
    if (conn->tls != NULL) {
        net_tls_session_end(conn->tls);
        if (!flush_cipher(conn) && conn->state == CONN_DEAD)
            return;
    }
    conn->state = CONN_LINGERING; /* closing with unread bytes would reset what we have just sent */
    shutdown(conn->watch.fd, SHUT_WR);
    mr_timer_start(conn->loop, &conn->timer, LINGER_US);
}

/* Encrypts a part of the queue. */
static void encrypt(struct net_conn *conn)
{
    struct iovec parts[PARTS_MAX];
    size_t bytes = 0, done = 0, count = parts_take(conn, parts, &bytes);
    for (size_t i = 0; i < count && done < CIPHER_BYTES; i++) {
        size_t part = parts[i].iov_len;
        if (part > CIPHER_BYTES - done)
            part = CIPHER_BYTES - done;
        if (!net_tls_session_write(conn->tls, parts[i].iov_base, part)) {
            struct net_address peer;
            net_peer(conn, &peer);
            conn_end(conn, net_tls_session_fail(conn->tls, &peer));
            return;
        }
        done += part;
    }
    sent(conn, done);
}

static void flush_tls(struct net_conn *conn)
{
    while (conn->state != CONN_DEAD && flush_cipher(conn) && net_out_bytes(conn) > 0)
        encrypt(conn);
}

/* Writes until the queue is empty or the socket full. */
static void flush_plain(struct net_conn *conn)
{
    while (net_out_bytes(conn) > 0) {
        struct iovec parts[PARTS_MAX];
        size_t bytes = 0;
        struct msghdr message = {.msg_iov = parts};
        message.msg_iovlen = parts_take(conn, parts, &bytes);
        ssize_t put = sendmsg(conn->watch.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            break;
        if (put < 0) {
            conn_fail_errno(conn, "sending to", errno);
            return;
        }
        sent(conn, (size_t)put);
        conn->active_us = mr_loop_now_us(conn->loop);
        if ((size_t)put < bytes)
            break;
    }
}

static void flush(struct net_conn *conn)
{
    if (conn->state != CONN_OPEN && conn->state != CONN_CLOSING)
        return;
    if (net_out_bytes(conn) > conn->low_mark)
        conn->above_low = true;
    if (conn->tls == NULL)
        flush_plain(conn);
    else
        flush_tls(conn);
    if (conn->state == CONN_DEAD)
        return;
    if (conn->accepted && net_out_bytes(conn) > MR_LIMIT_CONN_OUT_BYTES)
        conn->out_full = true;
    if (conn->state == CONN_CLOSING && net_out_bytes(conn) == 0 && cipher_bytes(conn) == 0)
        linger(conn);
    watch_update(conn);
}

static void later(struct net_conn *conn)
{
    if (conn->state != CONN_DEAD) /* then the end is queued already, or being told */
        mr_loop_at_turn_end(conn->loop, &conn->turn_end);
}

/* Tells `drained`, and reads on, once the queue has fallen to the low mark. */
static void drained(struct net_conn *conn)
{
    if (net_out_bytes(conn) > conn->low_mark)
        return;
    if (conn->out_full) {
        conn->out_full = false;
        conn->again = true;
        later(conn);
        watch_update(conn);
    }
    if (conn->above_low && conn->state == CONN_OPEN) {
        conn->above_low = false;
        conn->handler->drained(conn);
    }
}

void net_flush(struct net_conn *conn)
{
    flush(conn);
    later(conn); /* `drained` is told from there, never from inside a call */
}

struct mr_buf *net_out(struct net_conn *conn)
{
    if (conn->state >= CONN_CLOSING) {
        mr_buf_clear(&conn->waste);
        return &conn->waste;
    }
    if (conn->tail.length >= TAIL_BYTES_MAX)
        tail_close(conn);
    later(conn);
    return &conn->tail;
}

void net_send(struct net_conn *conn, const void *data, size_t length)
{
    if (conn->state < CONN_CLOSING)
        mr_buf_add(net_out(conn), data, length);
}

void net_send_bytes(struct net_conn *conn, struct mr_bytes *bytes, size_t offset, size_t length)
{
    mr_assert(offset <= bytes->length && length <= bytes->length - offset);
    if (conn->state >= CONN_CLOSING || length == 0)
        return;
    tail_close(conn);
    *mr_array_add(&conn->items) = (struct out_item){mr_bytes_ref(bytes), NULL, bytes->data + offset,
                                                    bytes->data + offset + length};
    conn->items_bytes += length;
    later(conn);
}

void net_send_buf(struct net_conn *conn, struct mr_buf *moved)
{
    mr_assert(moved->err == MR_OK);
    if (conn->state >= CONN_CLOSING || moved->length == 0) {
        mr_buf_fini(moved);
        return;
    }
    tail_close(conn);
    *mr_array_add(&conn->items) = (struct out_item){NULL, moved->data, moved->data,
                                                    moved->data + moved->length};
    conn->items_bytes += moved->length;
    *moved = (struct mr_buf){.limit = moved->limit};
    later(conn);
}

/* ---- receiving ---- */

/* The buffer's bytes that may be filled; the padding behind them stays. */
static size_t usable(const struct net_conn *conn)
{
    return conn->in->capacity - NET_PADDING;
}

/* A fresh buffer with room for `bytes`; what is not told yet moves there. */
static void in_renew(struct net_conn *conn, size_t bytes)
{
    size_t pending = conn->fill - conn->parse;
    struct mr_bytes *old = conn->in;
    if (old != NULL && old->capacity == SHARED_BYTES && bytes <= usable(conn) &&
        mr_bytes_alone(old)) {
        memmove(old->data, old->data + conn->parse, pending);
    } else {
        conn->in = mr_bytes_new(bytes + NET_PADDING);
        if (pending > 0)
            memcpy(conn->in->data, old->data + conn->parse, pending);
        mr_bytes_unref(old);
    }
    conn->parse = 0;
    conn->fill = pending;
}

/* Of the buffer for a frame: what is only announced costs little, and little is moved. */
static size_t own_bytes(size_t frame_bytes, size_t pending)
{
    return frame_bytes < GROWS_BYTES || pending >= GROWS_BYTES ? frame_bytes : GROWS_BYTES;
}

/* Makes room before a read; returns how much may be read. */
static size_t in_room(struct net_conn *conn)
{
    size_t pending = conn->fill - conn->parse;
    if (conn->in == NULL || (pending == 0 && conn->fill == usable(conn))) {
        in_renew(conn, SHARED_BYTES - NET_PADDING);
    } else if (conn->frame_bytes > 0) {
        bool shared = conn->in->capacity == SHARED_BYTES;
        if (conn->frame_bytes > usable(conn) - conn->parse &&
            (shared || conn->fill == usable(conn)))
            in_renew(conn, conn->frame_bytes > OWN_BYTES ? own_bytes(conn->frame_bytes, pending)
                                                         : SHARED_BYTES - NET_PADDING);
    } else if (usable(conn) - conn->fill < ROOM_BYTES_MIN) {
        in_renew(conn, pending < OWN_BYTES ? SHARED_BYTES - NET_PADDING : 2 * pending);
    }
    return usable(conn) - conn->fill;
}

/* Tells the whole frames that are here, while it may. */
static void parse(struct net_conn *conn)
{
    while (conn->parse < conn->fill && may_read(conn)) {
        mr_str seen = mr_str_of(conn->in->data + conn->parse, conn->fill - conn->parse);
        size_t total = conn->frame_bytes;
        mr_err err = total > 0 ? MR_OK : conn->handler->frame(conn, seen, &total);
        if (err == MR_OK && (total > (size_t)MR_LIMIT_FRAME_BYTES + 64 ||
                             (total == 0 && seen.length > MR_LIMIT_FRAME_BYTES)))
            err = mr_fail(MR_LIMIT, "a frame: at most %d bytes, it has %zu", MR_LIMIT_FRAME_BYTES,
                          total);
        if (err != MR_OK) {
            conn_end(conn, err);
            return;
        }
        if (conn->state == CONN_DEAD)
            return;
        conn->frame_bytes = total;
        if (total > SHARED_BYTES && total > seen.length && conn->budget != NULL)
            net_budget_enter(conn->budget, &conn->counted, conn, total);
        if (total == 0 || total > seen.length)
            return;
        net_budget_leave(&conn->counted);
        conn->frame_bytes = 0;
        conn->spoke = true;
        conn->parse += total;
        err = conn->handler->message(conn, conn->in, mr_str_of(seen.data, total));
        if (err != MR_OK)
            conn_end(conn, err);
        if (conn->accepted && net_out_bytes(conn) > MR_LIMIT_CONN_OUT_BYTES)
            conn->out_full = true;
    }
    if (conn->parse < conn->fill || conn->in == NULL)
        return;
    if (conn->in->capacity != SHARED_BYTES) { /* it was one large frame's */
        mr_bytes_unref(conn->in);
        conn->in = NULL;
        conn->parse = conn->fill = 0;
    } else if (mr_bytes_alone(conn->in)) {
        conn->parse = conn->fill = 0;
    }
}

/* The peer has ended its side. */
static void peer_gone(struct net_conn *conn)
{
    struct net_address peer;
    net_peer(conn, &peer);
    if (conn->state == CONN_LINGERING)
        conn_end(conn, MR_OK);
    else if (conn->fill > conn->parse)
        conn_end(conn, mr_fail(MR_CLOSED, "%s:%u closed the connection in the middle of a message",
                               peer.host, peer.port));
    else
        conn_end(conn, mr_fail(MR_CLOSED, "%s:%u closed the connection", peer.host, peer.port));
}

/* The connection's bytes by TLS: what is here is decrypted and told, too, before the turn may end. */
static void read_tls(struct net_conn *conn)
{
    size_t read_bytes = 0;
    while (may_read(conn)) {
        size_t room = in_room(conn), got = 0;
        enum net_tls_step step = net_tls_session_read(conn->tls, read_bytes < TURN_BYTES_MAX,
                                                      conn->in->data + conn->fill, room, &got);
        if (step == NET_TLS_WAITS)
            break;
        if (step == NET_TLS_ENDED) {
            peer_gone(conn);
            return;
        }
        if (step == NET_TLS_FAILED) {
            struct net_address peer;
            net_peer(conn, &peer);
            mr_err err = net_tls_session_fail(conn->tls, &peer);
            if (flush_cipher(conn) || conn->state != CONN_DEAD) /* our alert */
                conn_end(conn, err);
            return;
        }
        conn->fill += got;
        read_bytes += got;
        conn->active_us = mr_loop_now_us(conn->loop);
        parse(conn);
    }
    if (conn->state == CONN_DEAD)
        return;
    if (cipher_bytes(conn) > CIPHER_BYTES_MAX) {
        conn_end(conn, mr_fail(MR_LIMIT, "TLS: the peer asks for new keys and reads nothing"));
        return;
    }
    if (cipher_bytes(conn) > 0) /* an answer of TLS itself */
        flush_cipher(conn);
}

static void read_plain(struct net_conn *conn)
{
    size_t read_bytes = 0;
    while (may_read(conn) && read_bytes < TURN_BYTES_MAX) {
        size_t room = in_room(conn);
        ssize_t got = recv(conn->watch.fd, conn->in->data + conn->fill, room, MSG_DONTWAIT);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            break;
        if (got < 0) {
            conn_fail_errno(conn, "receiving from", errno);
            return;
        }
        if (got == 0) {
            peer_gone(conn);
            return;
        }
        conn->fill += (size_t)got;
        conn->active_us = mr_loop_now_us(conn->loop);
        read_bytes += (size_t)got;
        parse(conn);
        if ((size_t)got < room)
            break;
    }
}

static void read_frames(struct net_conn *conn)
{
    if (conn->parse < conn->fill) /* a pause has just ended: first what is here */
        parse(conn);
    if (conn->tls == NULL)
        read_plain(conn);
    else
        read_tls(conn);
    if (conn->accepted && conn->parse < conn->fill && may_read(conn)) {
        /* Half a frame: a peer that sends the rest only when this is acknowledged (Nagle) would wait
         * for our delayed acknowledgement, 40 ms. */
        const int on = 1;
        setsockopt(conn->watch.fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
    }
    watch_update(conn);
}

static void discard(struct net_conn *conn)
{
    char waste[16384];
    ssize_t got = recv(conn->watch.fd, waste, sizeof waste, MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
        conn_end(conn, MR_OK);
}

/* ---- connecting ---- */

static void conn_opened(struct net_conn *conn)
{
    mr_timer_stop(&conn->timer);
    conn->state = CONN_OPEN;
    conn->untold = false;
    conn->handler->opened(conn);
    if (conn->tls != NULL)
        conn->again = true; /* messages may have come with the end of the handshake */
    later(conn);
    watch_update(conn);
}

static void shake(struct net_conn *conn)
{
    enum net_tls_step step = net_tls_session_shake(conn->tls);
    struct net_address peer;
    mr_err err = MR_OK;
    net_peer(conn, &peer);
    if (step == NET_TLS_ENDED || step == NET_TLS_FAILED)
        err = net_tls_session_fail(conn->tls, &peer);
    char *why = mr_copy_cstr(mr_str_from(mr_why()));
    flush_cipher(conn); /* our part of it, or the alert that says why not */
    if (conn->state == CONN_SHAKING && err != MR_OK)
        conn_end_with(conn, err, why);
    else if (conn->state == CONN_SHAKING && step == NET_TLS_DONE)
        conn_opened(conn);
    else
        watch_update(conn);
    mr_free(why);
}

/* TCP stands. */
static void conn_connected(struct net_conn *conn)
{
    if (conn->tls == NULL) {
        conn_opened(conn);
        return;
    }
    conn->state = CONN_SHAKING;
    net_tls_session_socket(conn->tls, conn->watch.fd);
    mr_timer_start(conn->loop, &conn->timer, SHAKE_US);
    if (!conn->accepted) /* the client speaks first */
        shake(conn);
    else
        watch_update(conn);
}

/* Tries the addresses one after the other; `number` is why the one before failed. */
static void connect_next(struct net_conn *conn, int number)
{
    while (conn->address_at < conn->addresses.count) {
        int on = 1;
        const struct sockaddr_storage *address = &conn->addresses.items[conn->address_at];
        socklen_t length = conn->addresses.lengths[conn->address_at++];
        int fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0) {
            number = errno;
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
        if (connect(fd, (const struct sockaddr *)address, length) == 0 || errno == EINPROGRESS) {
            conn->watch.fd = fd;
            conn->state =
                CONN_CONNECTING; /* even when done: `opened` never comes from inside a call */
            watch_update(conn);
            return;
        }
        number = errno;
        close(fd);
    }
    mr_err err = mr_err_from_errno(number);
    conn_end(conn,
             mr_fail(err == MR_TIMEOUT ? MR_TIMEOUT : MR_UNREACHABLE, "connecting to %s:%u: %s",
                     conn->target.host, conn->target.port, strerror(number)));
}

static void connect_ready(struct net_conn *conn)
{
    int number = 0;
    socklen_t length = sizeof number;
    if (getsockopt(conn->watch.fd, SOL_SOCKET, SO_ERROR, &number, &length) < 0)
        number = errno;
    if (number == 0) {
        conn_connected(conn);
        return;
    }
    mr_watch_set(conn->loop, &conn->watch, 0);
    close(conn->watch.fd);
    conn->watch.fd = -1;
    connect_next(conn, number);
}

static void resolved(void *context, mr_err err, const struct net_address_list *list)
{
    struct net_conn *conn = context;
    conn->resolve = NULL;
    if (err != MR_OK) {
        conn_end(conn, mr_fail(err, "connecting to %s:%u: %s", conn->target.host, conn->target.port,
                               mr_why()));
        return;
    }
    conn->addresses = *list;
    connect_next(conn, ECONNREFUSED);
}

/* Whether the peer, whose end is here, has left anything that a pause keeps for later. An end by TLS is a
 * record itself, shorter than any other that says something. */
static bool has_left(const struct net_conn *conn)
{
    int bytes = 0;
    if (conn->deaf)
        return false;
    return conn->parse < conn->fill || (ioctl(conn->watch.fd, FIONREAD, &bytes) == 0 &&
                                        bytes > (conn->tls == NULL ? 0 : TLS_END_BYTES));
}

/* ---- what the loop tells ---- */

static void conn_ready(struct mr_watch *watch, uint32_t events)
{
    struct net_conn *conn = mr_container(watch, struct net_conn, watch);
    if (conn->state == CONN_CONNECTING) {
        connect_ready(conn);
        return;
    }
    if (conn->state == CONN_LINGERING) {
        discard(conn);
        return;
    }
    if (conn->state == CONN_SHAKING) {
        shake(conn);
        return;
    }
    if ((events & (EPOLLIN | EPOLLHUP)) != 0 && may_read(conn))
        read_frames(conn);
    if (conn->state == CONN_DEAD)
        return;
    if ((events & EPOLLRDHUP) != 0 && (conn->paused || conn->counted.waits)) {
        conn->end_seen = has_left(conn);
        if (!conn->end_seen) {
            peer_gone(conn);
            return;
        }
        watch_update(conn);
    }
    if ((events & EPOLLOUT) != 0) {
        flush(conn);
        drained(conn);
    }
    if (conn->state != CONN_DEAD && (events & (EPOLLERR | EPOLLHUP)) != 0) {
        int number = 0;
        socklen_t length = sizeof number;
        getsockopt(conn->watch.fd, SOL_SOCKET, SO_ERROR, &number, &length);
        if (number != 0)
            conn_fail_errno(conn, "the connection to", number);
        else
            peer_gone(conn);
    }
}

static void conn_late(struct mr_timer *timer)
{
    struct net_conn *conn = mr_container(timer, struct net_conn, timer);
    struct net_address peer;
    net_peer(conn, &peer);
    if (conn->state == CONN_LINGERING)
        conn_end(conn, MR_OK);
    else if (conn->state == CONN_SHAKING)
        conn_end(conn, mr_fail(MR_TIMEOUT, "TLS with %s:%u: no handshake in %d s", peer.host,
                               peer.port, SHAKE_US / 1000000));
    else
        conn_end(conn, mr_fail(MR_TIMEOUT, "connecting to %s:%u: no answer in %d s",
                               conn->target.host, conn->target.port, CONNECT_US / 1000000));
}

static void conn_turn_end(struct mr_task *task)
{
    struct net_conn *conn = mr_container(task, struct net_conn, turn_end);
    if (conn->state != CONN_DEAD) {
        if (conn->again) {
            conn->again = false;
            if (conn->tls == NULL)
                parse(conn);
            else if (may_read(conn))
                read_frames(conn); /* no event tells of what is decrypted already */
            watch_update(conn);
        }
        if ((conn->watch.events & EPOLLOUT) == 0) /* else the socket is full, and will tell */
            flush(conn);
        if (conn->state == CONN_OPEN)
            drained(conn);
        return; /* an end in here has queued the task again */
    }
    if (conn->why != MR_OK)
        mr_fail(conn->why, "%s", conn->why_text);
    if (!conn->untold)
        conn->handler->closed(conn, conn->why);
    else if (conn->why != MR_CANCELLED)
        mr_log(MR_LOG_WARN, "net", "%s", conn->why_text);
    mr_assert(!conn->turn_end.queued);
    conn_free(conn);
}

/* ---- life ---- */

struct net_conn *net_conn_new(struct mr_loop *loop, const struct net_handler *handler,
                              void *context)
{
    struct net_conn *conn = mr_new(struct net_conn);
    conn->loop = loop;
    conn->handler = handler;
    conn->context = context;
    conn->watch = (struct mr_watch){.ready = conn_ready, .fd = -1};
    conn->timer.run = conn_late;
    conn->turn_end.run = conn_turn_end;
    conn->low_mark = LOW_MARK_BYTES;
    conn->active_us = mr_loop_now_us(loop);
    return conn;
}

void net_conn_accepted(struct net_conn *conn, int fd, const struct sockaddr_storage *peer,
                       const struct net_tls *tls, struct net_budget *budget,
                       struct net_listener *listener)
{
    conn->accepted = conn->untold = true;
    conn->watch.fd = fd;
    conn->peer = *peer;
    conn->listener = listener;
    conn->budget = budget;
    if (tls != NULL)
        conn->tls = net_tls_session_new(tls, NULL);
    net_listener_add(listener, conn);
    conn_connected(conn);
}

size_t net_source(const struct sockaddr_storage *peer, char key[16])
{
    if (peer->ss_family == AF_INET) {
        memcpy(key, &((const struct sockaddr_in *)peer)->sin_addr, 4);
        return 4;
    }
    if (peer->ss_family != AF_INET6)
        return 0;
    memcpy(key, &((const struct sockaddr_in6 *)peer)->sin6_addr, 16);
    return 16;
}

size_t net_conn_source(const struct net_conn *conn, char key[16])
{
    return net_source(&conn->peer, key);
}

void net_conn_let_in(struct net_conn *conn)
{
    conn->again = true;
    later(conn);
    watch_update(conn);
}

void net_conn_too_slow(struct net_conn *conn, size_t frame_bytes)
{
    struct net_address peer;
    net_peer(conn, &peer);
    conn_end(conn,
             mr_fail(MR_TIMEOUT,
                     "%s:%u: a message of %zu bytes does not come, and others wait for its room",
                     peer.host, peer.port, frame_bytes));
}

void net_conn_give_up(struct net_conn *conn, const char *why)
{
    conn_end_with(conn, MR_CANCELLED, why);
}

bool net_conn_is_read(const struct net_conn *conn)
{
    return may_read(conn);
}

bool net_conn_spoke(const struct net_conn *conn)
{
    return conn->spoke;
}

bool net_conn_is_busy(const struct net_conn *conn)
{
    return conn->busy || conn->state != CONN_OPEN;
}

int64_t net_conn_quiet_us(const struct net_conn *conn)
{
    return mr_loop_now_us(conn->loop) - conn->active_us;
}

void net_busy(struct net_conn *conn, bool busy)
{
    conn->busy = busy;
}

struct net_conn_links *net_conn_links(struct net_conn *conn)
{
    return &conn->links;
}

void net_conn_orphan(struct net_conn *conn)
{
    net_abort(conn);
}

mr_err net_connect_tls(struct mr_loop *loop, const char *host, uint16_t port,
                       const struct net_tls *tls, const char *name,
                       const struct net_handler *handler, void *context, struct net_conn **out)
{
    if (strlen(host) == 0 || strlen(host) > 255 || port == 0)
        return mr_fail(MR_INVALID, "address \"%.300s:%u\": expected host:port", host, port);
    struct net_conn *conn = net_conn_new(loop, handler, context);
    memcpy(conn->target.host, host, strlen(host) + 1);
    conn->target.port = port;
    if (tls != NULL)
        conn->tls = net_tls_session_new(tls, name == NULL ? host : name);
    if (net_address_literal(host, port, &conn->addresses)) {
        connect_next(conn, ECONNREFUSED);
    } else {
        mr_err err = net_address_resolve(loop, host, port, resolved, conn, &conn->resolve);
        if (err != MR_OK) {
            conn_free(conn);
            return err;
        }
    }
    if (conn->state != CONN_DEAD)
        mr_timer_start(loop, &conn->timer, CONNECT_US);
    *out = conn;
    return MR_OK;
}

mr_err net_connect(struct mr_loop *loop, const char *host, uint16_t port,
                   const struct net_handler *handler, void *context, struct net_conn **out)
{
    return net_connect_tls(loop, host, port, NULL, NULL, handler, context, out);
}

mr_err net_connect_local(struct mr_loop *loop, const char *folder, const char *name,
                         const struct net_handler *handler, void *context, struct net_conn **out)
{
    struct net_address_list list;
    int folder_fd = -1;
    mr_err err = net_address_local(folder, name, &list, &folder_fd);
    if (err != MR_OK)
        return err;
    struct net_conn *conn = net_conn_new(loop, handler, context);
    snprintf(conn->target.host, sizeof conn->target.host, "%s/%s", folder, name);
    conn->addresses = list;
    connect_next(conn, ECONNREFUSED);
    close(folder_fd);
    *out = conn;
    return MR_OK;
}

bool net_is_tls(const struct net_conn *conn)
{
    return conn->tls != NULL;
}

bool net_peer_subject(const struct net_conn *conn, struct mr_buf *out)
{
    return conn->tls != NULL && net_tls_session_subject(conn->tls, out);
}

void net_close(struct net_conn *conn)
{
    if (conn->state == CONN_OPEN) {
        conn->state = CONN_CLOSING;
        watch_update(conn);
        later(conn);
    } else if (conn->state < CONN_OPEN) {
        conn_end(conn, MR_OK);
    }
}

void net_abort(struct net_conn *conn)
{
    conn_end_with(conn, MR_CANCELLED, "the connection was given up");
}

void net_pause(struct net_conn *conn)
{
    conn->paused = true;
    watch_update(conn);
}

void net_deafen(struct net_conn *conn)
{
    conn->deaf = true;
    net_pause(conn);
}

void net_resume(struct net_conn *conn)
{
    if (!conn->paused || conn->deaf)
        return;
    conn->paused = conn->end_seen = false;
    conn->again = true;
    later(conn);
    watch_update(conn);
}

void net_low_mark(struct net_conn *conn, size_t bytes)
{
    conn->low_mark = bytes;
}

void *net_context(const struct net_conn *conn)
{
    return conn->context;
}

void net_context_set(struct net_conn *conn, void *context)
{
    conn->context = context;
}

struct mr_loop *net_loop(const struct net_conn *conn)
{
    return conn->loop;
}

void net_local(const struct net_conn *conn, struct net_address *out)
{
    struct sockaddr_storage name;
    socklen_t length = sizeof name;
    *out = (struct net_address){0};
    if (conn->watch.fd >= 0 && getsockname(conn->watch.fd, (struct sockaddr *)&name, &length) == 0)
        net_address_text(&name, out);
}

void net_peer(const struct net_conn *conn, struct net_address *out)
{
    struct sockaddr_storage name;
    socklen_t length = sizeof name;
    *out = conn->target;
    if (conn->watch.fd >= 0 && getpeername(conn->watch.fd, (struct sockaddr *)&name, &length) == 0)
        net_address_text(&name, out);
}
