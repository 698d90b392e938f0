/* net/listener.c: a listening socket, and the list of the connections that it has accepted. */
#include "net/conn.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    BACKLOG = 1024,
    ACCEPTS_MAX = 64,         /* in one turn: others have work too */
    OUT_OF_FILES_US = 100000, /* how long to wait when there is no descriptor left */
    QUIET_US = 10000000,      /* then a connection may give way to a new one */
    IDLE_LOOKS = 10,          /* in the time after which one is idle */
    REFUSED_US = 10000000,    /* refused ones are told of once in so long */
};

struct net_listener {
    struct mr_loop *loop;
    const struct net_handler *handler;
    void *context;
    struct mr_watch watch;
    struct mr_timer timer; /* runs while descriptors are used up */
    bool accepting;
    uint16_t port;
    struct net_conn *first;
    size_t conn_count, conns_max, conns_per_address_max;
    struct mr_map sources; /* address -> how many of them */
    struct net_budget *budget;
    int64_t idle_us; /* 0: never */
    struct mr_timer idle_timer;
    int64_t refused_us; /* told of last */
    size_t refused_more;
    const struct net_tls *tls; /* the owner's; NULL: plain */
};

/* ---- sockets ---- */

static mr_err bind_fail(const char *host, uint16_t port)
{
    int number = errno;
    const char *where = host[0] == '\0' ? "*" : host;
    if (number == EADDRINUSE)
        return mr_fail(
            MR_BUSY, "port %u on %s is in use by another program; stop it or choose --port-offset",
            port, where);
    if (number == EACCES)
        return mr_fail(MR_DENIED, "port %u on %s: ports below 1024 need the right to bind them",
                       port, where);
    if (number == EADDRNOTAVAIL)
        return mr_fail(MR_UNREACHABLE, "%s is not an address of this machine", where);
    return mr_fail(mr_err_from_errno(number), "listening on %s:%u: %s", where, port,
                   strerror(number));
}

/* Binds one address. Errors are left in errno. */
static int socket_bind(const struct sockaddr *address, socklen_t length)
{
    int on = 1, off = 0;
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (address->sa_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (bind(fd, address, length) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    int number = errno;
    close(fd);
    errno = number;
    return -1;
}

mr_err net_listener_socket(const char *host, uint16_t port, int *fd_out, uint16_t *port_out)
{
    struct net_address_list list = {.count = 0};
    bool any = host[0] == '\0' || strcmp(host, "*") == 0;
    struct sockaddr_storage bound;
    socklen_t length = sizeof bound;
    int fd = -1;
    if (any) /* IPv4 alone where the machine has no IPv6 */
        net_address_literal("::", port, &list);
    else if (!net_address_literal(host, port, &list)) {
        struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
        int code = getaddrinfo(host, NULL, &hints, &found);
        if (code != 0)
            return mr_fail(MR_UNREACHABLE, "%s is not an address of this machine: %s", host,
                           gai_strerror(code));
        struct net_address text;
        struct sockaddr_storage first = {0};
        memcpy(&first, found->ai_addr, found->ai_addrlen);
        freeaddrinfo(found);
        net_address_text(&first, &text);
        net_address_literal(text.host, port, &list);
    }
    fd = socket_bind((const struct sockaddr *)&list.items[0], list.lengths[0]);
    if (fd < 0 && any && errno != EADDRINUSE && errno != EACCES) {
        net_address_literal("0.0.0.0", port, &list);
        fd = socket_bind((const struct sockaddr *)&list.items[0], list.lengths[0]);
    }
    if (fd < 0)
        return bind_fail(host, port);
    if (getsockname(fd, (struct sockaddr *)&bound, &length) < 0) {
        close(fd);
        return bind_fail(host, port);
    }
    struct net_address text;
    net_address_text(&bound, &text);
    *port_out = text.port;
    *fd_out = fd;
    return MR_OK;
}

/* ---- connections ---- */

static size_t source_count(const struct net_listener *listener, mr_str source)
{
    return (size_t)(uintptr_t)mr_map_get(&listener->sources, source);
}

static void source_change(struct net_listener *listener, const struct net_conn *conn, int change)
{
    char key[16];
    mr_str source = mr_str_of(key, net_conn_source(conn, key));
    size_t count = source_count(listener, source) + (size_t)change;

    if (count > 0)
        mr_map_put(&listener->sources, source, (void *)(uintptr_t)count);
    else
        mr_map_remove(&listener->sources, source);
}

void net_listener_add(struct net_listener *listener, struct net_conn *conn)
{
    struct net_conn_links *links = net_conn_links(conn);
    links->next = listener->first;
    links->previous = NULL;
    if (listener->first != NULL)
        net_conn_links(listener->first)->previous = conn;
    listener->first = conn;
    listener->conn_count++;
    source_change(listener, conn, 1);
}

void net_listener_remove(struct net_listener *listener, struct net_conn *conn)
{
    struct net_conn_links *links = net_conn_links(conn);
    if (links->previous != NULL)
        net_conn_links(links->previous)->next = links->next;
    else
        listener->first = links->next;
    if (links->next != NULL)
        net_conn_links(links->next)->previous = links->previous;
    *links = (struct net_conn_links){0};
    listener->conn_count--;
    source_change(listener, conn, -1);
}

static void watch_update(struct net_listener *listener)
{
    bool wanted = listener->accepting && listener->timer.loop == NULL;
    mr_err err = mr_watch_set(listener->loop, &listener->watch, wanted ? EPOLLIN : 0);
    if (err != MR_OK)
        mr_log(MR_LOG_ERROR, "net", "listener of port %u: %s", listener->port, mr_why());
}

static void files_again(struct mr_timer *timer)
{
    watch_update(mr_container(timer, struct net_listener, timer));
}

/* The address that has most connections. */
static mr_str source_with_most(const struct net_listener *listener, size_t *most)
{
    mr_str source = MR_STR_NULL;
    struct mr_map_entry *entry;

    *most = 0;
    for (size_t i = 0; (entry = mr_map_next(&listener->sources, &i)) != NULL;)
        if ((size_t)(uintptr_t)entry->value > *most) {
            *most = (size_t)(uintptr_t)entry->value;
            source = entry->key;
        }
    return source;
}

/* Who gives its place first: who never said anything, then who is quiet, then who waits for us. */
static int rank(const struct net_conn *conn)
{
    return net_conn_is_busy(conn) ? 2 : net_conn_spoke(conn) ? 1 : 0;
}

/* The connection of this address that gives its place: of the same rank the one that has been quiet for longest. */
static struct net_conn *quietest(const struct net_listener *listener, mr_str source)
{
    struct net_conn *found = NULL;
    char key[16];

    for (struct net_conn *conn = listener->first; conn != NULL; conn = net_conn_links(conn)->next) {
        if (!mr_str_equal(mr_str_of(key, net_conn_source(conn, key)), source))
            continue;
        if (found == NULL || rank(conn) < rank(found) ||
            (rank(conn) == rank(found) && net_conn_quiet_us(conn) > net_conn_quiet_us(found)))
            found = conn;
    }
    return found;
}

/* When all places are taken: one address cannot keep the others out by connections that do nothing, nor by
 * having most of them. */
static bool place_make(struct net_listener *listener, mr_str newcomer)
{
    size_t most = 0;
    mr_str source = source_with_most(listener, &most);
    bool by_right = source_count(listener, newcomer) < most / 2;
    struct net_conn *conn;

    if (most == 0)
        return false;
    conn = quietest(listener, source);
    if (!by_right && (net_conn_is_busy(conn) || net_conn_quiet_us(conn) < QUIET_US))
        return false;
    net_conn_give_up(conn, "it was quiet, and its place was wanted");
    return true;
}

/* A stranger's tries must not fill the log. */
static void refused_tell(struct net_listener *listener, const char *host, const char *why,
                         size_t count)
{
    int64_t now_us = mr_loop_now_us(listener->loop);

    if (listener->refused_us != 0 && now_us - listener->refused_us < REFUSED_US) {
        listener->refused_more++;
        return;
    }
    mr_log(MR_LOG_WARN, "net",
           "port %u: %s %s: %zu are open already (%zu more since the last such line)",
           listener->port, why, host, count, listener->refused_more);
    listener->refused_us = now_us;
    listener->refused_more = 0;
}

/* Whether the peer may have one more connection. */
static bool may_accept(struct net_listener *listener, const struct sockaddr_storage *peer)
{
    struct net_address text;
    char key[16];
    mr_str newcomer = mr_str_of(key, net_source(peer, key));
    size_t count = source_count(listener, newcomer), all = listener->conn_count;

    net_address_text(peer, &text);
    if (listener->conns_per_address_max > 0 && count >= listener->conns_per_address_max) {
        refused_tell(listener, text.host, "refused a connection of", count);
        return false;
    }
    if (all < listener->conns_max)
        return true;
    if (!place_make(listener, newcomer)) {
        refused_tell(listener, text.host, "refused a connection of", all);
        return false;
    }
    refused_tell(listener, text.host, "closed a quiet connection for one of", all);
    return true;
}

/* Ends what has been idle for too long. */
static void idle_look(struct mr_timer *timer)
{
    struct net_listener *listener = mr_container(timer, struct net_listener, idle_timer);
    struct net_conn *next;

    mr_timer_start(listener->loop, timer, listener->idle_us / IDLE_LOOKS + 1);
    for (struct net_conn *conn = listener->first; conn != NULL; conn = next) {
        next = net_conn_links(conn)->next;
        if (!net_conn_is_busy(conn) && net_conn_quiet_us(conn) >= listener->idle_us)
            net_close(conn);
    }
}

static void listener_ready(struct mr_watch *watch, uint32_t events)
{
    struct net_listener *listener = mr_container(watch, struct net_listener, watch);
    mr_assert(events != 0);
    for (int i = 0; i < ACCEPTS_MAX && listener->accepting; i++) {
        struct sockaddr_storage peer = {0};
        socklen_t length = sizeof peer;
        int on = 1, fd = accept4(watch->fd, (struct sockaddr *)&peer, &length,
                                 SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)) {
            mr_log(MR_LOG_WARN, "net", "port %u: a connection waits: %s", listener->port,
                   strerror(errno));
            mr_timer_start(listener->loop, &listener->timer, OUT_OF_FILES_US);
            watch_update(listener);
            return;
        }
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
            continue;
        if (fd < 0)
            return;
        if (!may_accept(listener, &peer)) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
        struct net_conn *conn = net_conn_new(listener->loop, listener->handler, listener->context);
        net_conn_accepted(conn, fd, &peer, listener->tls, listener->budget, listener);
    }
}

/* ---- what the world sees ---- */

/* Takes the socket. */
static mr_err listener_new(struct mr_loop *loop, int fd, uint16_t port,
                           const struct net_handler *handler, void *context,
                           struct net_listener **out)
{
    struct net_listener *listener = mr_new(struct net_listener);
    listener->loop = loop;
    listener->handler = handler;
    listener->context = context;
    listener->watch = (struct mr_watch){.ready = listener_ready, .fd = fd};
    listener->timer.run = files_again;
    listener->idle_timer.run = idle_look;
    listener->accepting = true;
    listener->port = port;
    listener->conns_max = MR_LIMIT_CONNS;
    mr_err err = mr_watch_set(loop, &listener->watch, EPOLLIN);
    if (err != MR_OK) {
        close(fd);
        mr_free(listener);
        return err;
    }
    *out = listener;
    return MR_OK;
}

mr_err net_listen(struct mr_loop *loop, const char *host, uint16_t port,
                  const struct net_handler *handler, void *context, struct net_listener **out)
{
    int fd = -1;
    uint16_t bound = 0;
    mr_err err = net_listener_socket(host, port, &fd, &bound);
    return err == MR_OK ? listener_new(loop, fd, bound, handler, context, out) : err;
}

mr_err net_listen_local(struct mr_loop *loop, const char *folder, const char *name,
                        const struct net_handler *handler, void *context, struct net_listener **out)
{
    struct net_address_list list;
    int folder_fd = -1, fd = -1;
    mr_err err = net_address_local(folder, name, &list, &folder_fd);
    if (err != MR_OK)
        return err;
    unlinkat(folder_fd, name, 0); /* of a process that was killed */
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* The file gets the socket's own mode: nobody else comes in between. */
    if (fd < 0 || fchmod(fd, 0600) < 0 ||
        bind(fd, (const struct sockaddr *)&list.items[0], list.lengths[0]) < 0 ||
        listen(fd, BACKLOG) < 0)
        err = mr_fail(mr_err_from_errno(errno), "%s/%s: %s", folder, name, strerror(errno));
    close(folder_fd);
    if (err == MR_OK)
        return listener_new(loop, fd, 0, handler, context, out);
    mr_fd_close(fd);
    return err;
}

void net_listener_close(struct net_listener *listener)
{
    if (listener == NULL)
        return;
    mr_timer_stop(&listener->timer);
    mr_timer_stop(&listener->idle_timer);
    mr_watch_set(listener->loop, &listener->watch, 0);
    close(listener->watch.fd);
    while (listener->first != NULL)
        net_conn_orphan(listener->first);
    mr_map_fini(&listener->sources);
    mr_free(listener);
}

uint16_t net_listener_port(const struct net_listener *listener)
{
    return listener->port;
}

void net_listener_accepting(struct net_listener *listener, bool accepting)
{
    listener->accepting = accepting;
    watch_update(listener);
}

void net_listener_conns_max(struct net_listener *listener, size_t conns_max)
{
    listener->conns_max = conns_max;
}

void net_listener_conns_per_address_max(struct net_listener *listener, size_t conns_max)
{
    listener->conns_per_address_max = conns_max;
}

void net_listener_idle_us(struct net_listener *listener, int64_t idle_us)
{
    listener->idle_us = idle_us;
    mr_timer_stop(&listener->idle_timer);
    if (idle_us > 0)
        mr_timer_start(listener->loop, &listener->idle_timer, idle_us / IDLE_LOOKS + 1);
}

void net_listener_budget(struct net_listener *listener, struct net_budget *budget)
{
    listener->budget = budget;
}

void net_listener_tls(struct net_listener *listener, const struct net_tls *tls)
{
    listener->tls = tls;
}

size_t net_listener_conn_count(const struct net_listener *listener)
{
    return listener->conn_count;
}

struct net_conn *net_listener_next(const struct net_listener *listener, struct net_conn *after)
{
    return after == NULL ? listener->first : net_conn_links(after)->next;
}
