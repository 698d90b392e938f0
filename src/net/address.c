/* net/address.c: addresses as text, and names to addresses without blocking a loop.
 *
 * A name goes to glibc's getaddrinfo_a(), which answers on a thread of its own. That thread and the
 * loop share one counted piece of memory and a pipe: the thread writes one byte, the loop reads it.
 * Whoever is last frees the memory, so a loop may end while the resolver still thinks. */
#include "net/conn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <sys/un.h>
#include <unistd.h>

/* With or without a zone ("fe80::1%eth0"). */
static bool is_ipv6(mr_str text)
{
    char bare[INET6_ADDRSTRLEN] = "";
    struct in6_addr address;
    ptrdiff_t zone = mr_str_find_byte(text, '%');
    size_t length = zone < 0 ? text.length : (size_t)zone;
    if (length >= sizeof bare)
        return false;
    memcpy(bare, text.data, length);
    return inet_pton(AF_INET6, bare, &address) == 1;
}

mr_err net_address_parse(mr_str text, uint16_t default_port, struct net_address *out)
{
    mr_str host = text, port = MR_STR_NULL;
    uint64_t number = default_port;
    if (text.length > 0 && text.data[0] == '[') { /* [::1]:port */
        ptrdiff_t end = mr_str_find_byte(text, ']');
        if (end < 0)
            return mr_fail(MR_INVALID, "address %.*s: expected ']'", MR_STR_ARG(text));
        host = mr_str_slice(text, 1, (size_t)end);
        port = mr_str_slice(text, (size_t)end + 1, text.length);
        if (port.length > 0 && port.data[0] != ':')
            return mr_fail(MR_INVALID, "address %.*s: expected ':' after ']'", MR_STR_ARG(text));
        port = mr_str_slice(port, 1, port.length);
    } else {
        ptrdiff_t colon = mr_str_find_byte(text, ':');
        bool several = colon >= 0 &&
                       mr_str_find_byte(mr_str_slice(text, (size_t)colon + 1, text.length), ':') >=
                           0; /* a bare IPv6 address */
        if (several && !is_ipv6(text))
            return mr_fail(MR_INVALID, "address %.*s: expected host:port", MR_STR_ARG(text));
        if (colon >= 0 && !several) {
            host = mr_str_slice(text, 0, (size_t)colon);
            port = mr_str_slice(text, (size_t)colon + 1, text.length);
            if (port.length == 0)
                return mr_fail(MR_INVALID, "address %.*s: expected a port after ':'",
                               MR_STR_ARG(text));
        }
    }
    if (port.length > 0 && (mr_str_to_u64(port, &number) != MR_OK || number > 65535))
        return mr_fail(MR_INVALID, "address %.*s: expected a port of 1 to 65535, found %.*s",
                       MR_STR_ARG(text), MR_STR_ARG(port));
    if (host.length == 0 || host.length >= sizeof out->host || number == 0)
        return mr_fail(MR_INVALID, "address \"%.*s\": expected host:port", MR_STR_ARG(text));
    memcpy(out->host, host.data, host.length);
    out->host[host.length] = '\0';
    out->port = (uint16_t)number;
    return MR_OK;
}

static void list_add(struct net_address_list *list, const struct sockaddr *address,
                     socklen_t length)
{
    if (list->count == mr_count_of(list->items) || length > sizeof list->items[0])
        return;
    memcpy(&list->items[list->count], address, length);
    list->lengths[list->count++] = length;
}

bool net_address_literal(const char *host, uint16_t port, struct net_address_list *out)
{
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    bool local = mr_str_equal_nocase(mr_str_from(host), MR_STR("localhost"));
    out->count = 0;
    if (inet_pton(AF_INET, local ? "127.0.0.1" : host, &four.sin_addr) == 1)
        list_add(out, (const struct sockaddr *)&four, sizeof four);
    if (inet_pton(AF_INET6, local ? "::1" : host, &six.sin6_addr) == 1)
        list_add(out, (const struct sockaddr *)&six, sizeof six);
    return out->count > 0;
}

void net_address_text(const struct sockaddr_storage *from, struct net_address *out)
{
    *out = (struct net_address){0};
    if (from->ss_family == AF_INET) {
        const struct sockaddr_in *four = (const struct sockaddr_in *)from;
        inet_ntop(AF_INET, &four->sin_addr, out->host, sizeof out->host);
        out->port = ntohs(four->sin_port);
    } else if (from->ss_family == AF_INET6) {
        const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)from;
        if (IN6_IS_ADDR_V4MAPPED(&six->sin6_addr)) /* a dual socket shows IPv4 peers so */
            inet_ntop(AF_INET, &six->sin6_addr.s6_addr[12], out->host, sizeof out->host);
        else
            inet_ntop(AF_INET6, &six->sin6_addr, out->host, sizeof out->host);
        out->port = ntohs(six->sin6_port);
    }
}

mr_err net_address_local(const char *folder, const char *name, struct net_address_list *out,
                         int *folder_fd)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return mr_fail(mr_err_from_errno(errno), "%s: %s", folder, strerror(errno));
    int length = snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s", fd,
                          name);
    if (length < 0 || (size_t)length >= sizeof address.sun_path) {
        close(fd);
        return mr_fail(MR_INVALID, "%s: too long for the name of a socket", name);
    }
    out->count = 0;
    list_add(out, (const struct sockaddr *)&address, sizeof address);
    *folder_fd = fd;
    return MR_OK;
}

/* ---- names ---- */

struct net_resolve {
    struct mr_watch watch; /* the pipe's end that is read; the loop's */
    struct mr_loop *loop;
    net_address_done *done;
    void *context;
    int write_fd; /* the resolver thread's */
    struct gaicb request;
    struct gaicb *requests[1];
    struct addrinfo hints;
    char host[256], port[8];
};

/* The struct lies in counted bytes; a reference each for the loop and the resolver's thread. */
static struct mr_bytes *bytes_of(struct net_resolve *resolve)
{
    return mr_container(resolve, struct mr_bytes, data);
}

/* On the resolver's thread. */
static void answered(union sigval value)
{
    struct net_resolve *resolve = value.sival_ptr;
    if (write(resolve->write_fd, "", 1) != 1 && resolve->request.ar_result != NULL)
        freeaddrinfo(resolve->request.ar_result); /* nobody reads any more */
    close(resolve->write_fd);
    mr_bytes_unref(bytes_of(resolve));
}

void net_address_cancel(struct net_resolve *resolve)
{
    if (resolve == NULL)
        return;
    int fd = resolve->watch.fd;
    mr_watch_set(resolve->loop, &resolve->watch, 0);
    close(fd);
    mr_bytes_unref(bytes_of(resolve));
}

static void pipe_ready(struct mr_watch *watch, uint32_t events)
{
    struct net_resolve *resolve = mr_container(watch, struct net_resolve, watch);
    struct net_address_list list = {.count = 0};
    net_address_done *done = resolve->done;
    void *context = resolve->context;
    mr_err err = MR_OK;
    mr_assert(events != 0);
    int code = gai_error(&resolve->request);
    struct addrinfo *found = resolve->request.ar_result;
    if (code == 0)
        for (const struct addrinfo *one = found; one != NULL; one = one->ai_next)
            list_add(&list, one->ai_addr, one->ai_addrlen);
    if (list.count == 0)
        err = mr_fail(MR_UNREACHABLE, "the name %s has no address: %s", resolve->host,
                      code == 0 ? "none found" : gai_strerror(code));
    if (found != NULL)
        freeaddrinfo(found);
    net_address_cancel(resolve);
    done(context, err, &list);
}

mr_err net_address_resolve(struct mr_loop *loop, const char *host, uint16_t port,
                           net_address_done *done, void *context, struct net_resolve **out)
{
    int ends[2];
    if (strlen(host) == 0 || strlen(host) > 255)
        return mr_fail(MR_INVALID, "the name \"%.300s\": expected 1 to 255 bytes", host);
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return mr_fail(MR_LIMIT, "a pipe to resolve %s: %s", host, strerror(errno));
    struct mr_bytes *bytes = mr_bytes_new(sizeof(struct net_resolve) + 16);
    struct net_resolve *resolve = (struct net_resolve *)(void *)bytes->data;
    memset(resolve, 0, sizeof *resolve);
    resolve->watch = (struct mr_watch){.ready = pipe_ready, .fd = ends[0]};
    resolve->loop = loop;
    resolve->done = done;
    resolve->context = context;
    resolve->write_fd = ends[1];
    memcpy(resolve->host, host, strlen(host) + 1);
    struct mr_buf digits = {0};
    mr_buf_printf(&digits, "%u", port);
    memcpy(resolve->port, digits.data, digits.length);
    mr_buf_fini(&digits);
    resolve->hints = (struct addrinfo){.ai_socktype = SOCK_STREAM, .ai_family = AF_UNSPEC};
    resolve->request = (struct gaicb){
        .ar_name = resolve->host, .ar_service = resolve->port, .ar_request = &resolve->hints};
    resolve->requests[0] = &resolve->request;
    mr_bytes_ref(bytes);
    struct sigevent event = {.sigev_notify = SIGEV_THREAD,
                             .sigev_notify_function = answered,
                             .sigev_value.sival_ptr = resolve};
    mr_err err = mr_watch_set(loop, &resolve->watch, EPOLLIN);
    if (err == MR_OK && getaddrinfo_a(GAI_NOWAIT, resolve->requests, 1, &event) != 0)
        err = mr_fail(MR_LIMIT, "resolving %s: the resolver is busy", host);
    if (err != MR_OK) {
        close(ends[1]);
        mr_bytes_unref(bytes);
        net_address_cancel(resolve);
        return err;
    }
    *out = resolve;
    return MR_OK;
}
