/* net/net_test.c: the promises of net/net.h, told by an echo protocol: 4 bytes of length, a body. */
#include "story.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net/net.h"

enum { PATIENCE_TURNS = 20000 };

/* What happened to one side. */
struct side {
    struct mr_loop *loop;
    struct net_conn *conn;
    int opened, messages, drained, closed;
    mr_err why;
    char why_text[300];
    size_t bytes;
    bool echo, pausing, refusing;
    struct mr_bytes *kept;
    mr_str kept_frame;
    size_t kept_count;
};

static void side_opened(struct net_conn *conn)
{
    struct side *side = net_context(conn);
    side->opened++;
    side->conn = conn;
}

static mr_err side_frame(struct net_conn *conn, mr_str seen, size_t *total)
{
    expect(net_context(conn) != NULL);
    return net_frame_be32(seen, 50 << 20, total);
}

static mr_err side_message(struct net_conn *conn, struct mr_bytes *owner, mr_str frame)
{
    struct side *side = net_context(conn);
    side->messages++;
    side->bytes += frame.length;
    expect((const uint8_t *)frame.data >= owner->data);
    expect((const uint8_t *)frame.data + frame.length + 64 <= owner->data + owner->capacity);
    if (side->kept_count == 0 && frame.length > 4) {
        side->kept = mr_bytes_ref(owner);
        side->kept_frame = frame;
        side->kept_count++;
    }
    if (side->echo)
        net_send_bytes(conn, owner, (size_t)((const uint8_t *)frame.data - owner->data),
                       frame.length);
    if (side->pausing)
        net_pause(conn);
    return side->refusing ? mr_fail(MR_INVALID, "not wanted") : MR_OK;
}

static void side_drained(struct net_conn *conn)
{
    struct side *side = net_context(conn);
    side->drained++;
}

static void side_closed(struct net_conn *conn, mr_err why)
{
    struct side *side = net_context(conn);
    expect(side->conn == NULL || side->conn == conn);
    expect_int(side->closed, 0);
    side->closed++;
    side->why = why;
    side->conn = NULL;
    struct mr_buf text = {0};
    mr_buf_cstr(&text, why == MR_OK ? "" : mr_why());
    memcpy(side->why_text, text.data == NULL ? (const uint8_t *)"" : text.data,
           text.length < 299 ? text.length : 299);
    mr_buf_fini(&text);
    mr_bytes_unref(side->kept);
    side->kept = NULL;
}

static const struct net_handler handler = {side_opened, side_frame, side_message, side_drained,
                                           side_closed};

#define turn_until(loop, condition)                                         \
    do {                                                                    \
        for (int turns_left = PATIENCE_TURNS; !(condition); turns_left--) { \
            expect(turns_left > 0);                                         \
            mr_loop_turn(loop, 1000);                                       \
        }                                                                   \
    } while (0)

struct pair {
    struct mr_loop *loop;
    struct net_listener *listener;
    struct side server, client;
};

/* A listener and one client of ours, both open. */
static struct pair *given_pair(void)
{
    struct pair *pair = mr_new(struct pair);
    struct net_conn *conn = NULL;
    pair->loop = mr_loop_new("test", NULL);
    pair->server.echo = true;
    expect_ok(net_listen(pair->loop, "127.0.0.1", 0, &handler, &pair->server, &pair->listener));
    expect_ok(net_connect(pair->loop, "127.0.0.1", net_listener_port(pair->listener), &handler,
                          &pair->client, &conn));
    turn_until(pair->loop, pair->client.opened == 1 && pair->server.opened == 1);
    return pair;
}

static void end_pair(struct pair *pair)
{
    if (pair->client.conn != NULL)
        net_abort(pair->client.conn);
    net_listener_close(pair->listener);
    for (int i = 0; i < 3; i++)
        mr_loop_turn(pair->loop, 0);
    expect_int(pair->client.closed, 1);
    mr_loop_free(pair->loop);
    mr_free(pair);
}

static void send_frame(struct net_conn *conn, size_t body_bytes, char fill)
{
    struct mr_buf *out = net_out(conn);
    size_t at = out->length;
    mr_buf_be32(out, 0);
    memset(mr_buf_grow(out, body_bytes), fill, body_bytes);
    mr_buf_patch_be32(out, at, (uint32_t)body_bytes);
}

/* A stranger's blocking socket. */
static int stranger(uint16_t port)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    expect(fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0);
    return fd;
}

STORY("frames of every size go there and back")
{
    static const size_t sizes[] = {0, 1, 100, 4000, 16383, 16384, 65408, 65536, 300000, 5000000};
    struct pair *pair = given_pair();
    size_t sum = 0;
    for (size_t i = 0; i < mr_count_of(sizes); i++) {
        send_frame(pair->client.conn, sizes[i], 'x');
        sum += 4 + sizes[i];
    }
    turn_until(pair->loop, pair->client.bytes == sum);
    expect_int(pair->client.messages, mr_count_of(sizes));
    for (int i = 0; i < 20000; i++)
        send_frame(pair->client.conn, (size_t)i % 50, 'y');
    turn_until(pair->loop, pair->client.messages == 20000 + (int)mr_count_of(sizes));
    expect_int(net_out_bytes(pair->client.conn), 0);
    end_pair(pair);
}

STORY("a socket in the file system is a connection like any other, and for its owner alone")
{
    struct side server = {.echo = true}, client = {0}, late = {0};
    struct mr_loop *loop = mr_loop_new("test", NULL);
    struct net_listener *listener = NULL;
    struct net_conn *conn = NULL;
    struct mr_buf folder = {0}, path = {0};
    struct stat found;
    mr_buf_printf(&folder, "%s/%0*d", t->folder, 150, 0); /* longer than such an address can be */
    char *deep = mr_buf_take_cstr(&folder);
    mr_buf_printf(&path, "%s/door", deep);
    char *file = mr_buf_take_cstr(&path);
    expect_err(net_listen_local(loop, deep, "door", &handler, &server, &listener), MR_NOT_FOUND);
    expect_ok(mr_folder_make(deep, 0755));
    expect_ok(net_listen_local(loop, deep, "door", &handler, &server, &listener));
    net_listener_close(listener); /* its file stays, and is in nobody's way */
    expect_ok(net_listen_local(loop, deep, "door", &handler, &server, &listener));
    expect(stat(file, &found) == 0 && (found.st_mode & 0777) == 0600);
    expect_ok(net_connect_local(loop, deep, "door", &handler, &client, &conn));
    turn_until(loop, client.opened == 1);
    send_frame(client.conn, 100000, 'x');
    turn_until(loop, client.bytes == 100004);
    net_close(client.conn);
    turn_until(loop, client.closed == 1 && server.closed == 1);
    expect_ok(net_connect_local(loop, deep, "nobody", &handler, &late, &conn));
    turn_until(loop, late.closed == 1);
    expect_int(late.why, MR_UNREACHABLE);
    net_listener_close(listener);
    mr_loop_free(loop);
    mr_free(deep);
    mr_free(file);
}

STORY("the three ways of sending keep their order")
{
    struct pair *pair = given_pair();
    struct mr_bytes *bytes = mr_bytes_copy("..CD..", 6);
    struct mr_buf buf = {0};
    mr_buf_cstr(&buf, "EF");
    net_send(pair->client.conn, "\0\0\0\x08", 4);
    net_send(pair->client.conn, "AB", 2);
    net_send_bytes(pair->client.conn, bytes, 2, 2);
    mr_bytes_unref(bytes);
    net_send_buf(pair->client.conn, &buf);
    expect_int(buf.length, 0);
    mr_buf_cstr(net_out(pair->client.conn), "GH");
    expect_int(net_out_bytes(pair->client.conn), 12);
    turn_until(pair->loop, pair->client.messages == 1);
    expect_str(pair->client.kept_frame, MR_STR("\0\0\0\x08"
                                               "ABCDEFGH"));
    end_pair(pair);
}

STORY("a kept frame never changes")
{
    struct pair *pair = given_pair();
    send_frame(pair->client.conn, 1000, 'k');
    turn_until(pair->loop, pair->client.messages == 1);
    for (int i = 0; i < 2000; i++)
        send_frame(pair->client.conn, 1000, 'o');
    turn_until(pair->loop, pair->client.messages == 2001);
    for (size_t i = 4; i < pair->client.kept_frame.length; i++)
        expect_int(pair->client.kept_frame.data[i], 'k');
    end_pair(pair);
}

STORY("a large frame lies once in a buffer of its own size")
{
    struct pair *pair = given_pair();
    send_frame(pair->client.conn, 1000000, 'k');
    turn_until(pair->loop, pair->server.messages == 1);
    expect_int(pair->server.kept->capacity, 1000004 + 64);
    turn_until(pair->loop, pair->client.messages == 1);
    end_pair(pair);
}

STORY("a frame that comes byte by byte is told once, when it is whole")
{
    struct pair *pair = given_pair();
    int fd = stranger(net_listener_port(pair->listener));
    const char frame[] = "\0\0\0\x03"
                         "abc";
    for (size_t i = 0; i < 7; i++) {
        expect_int(pair->server.messages, 0);
        expect_int(write(fd, frame + i, 1), 1);
        for (int turns = 0; turns < 3; turns++)
            mr_loop_turn(pair->loop, 500);
    }
    turn_until(pair->loop, pair->server.messages == 1);
    char back[7];
    expect_int(recv(fd, back, 7, MSG_WAITALL), 7);
    expect_int(memcmp(back, frame, 7), 0);
    close(fd);
    turn_until(pair->loop, pair->server.closed == 1);
    expect_int(pair->server.why, MR_CLOSED);
    pair->server.closed = 0;
    end_pair(pair);
}

STORY("a peer that closes in mid-frame is told so")
{
    struct pair *pair = given_pair();
    int fd = stranger(net_listener_port(pair->listener));
    expect_int(write(fd, "\0\0\1\0abc", 7), 7);
    close(fd);
    turn_until(pair->loop, pair->server.closed == 1);
    expect_int(pair->server.messages, 0);
    expect_int(pair->server.why, MR_CLOSED);
    expect(strstr(pair->server.why_text, "in the middle of a message") != NULL);
    pair->server.closed = 0;
    end_pair(pair);
}

STORY("a length above the limit ends the connection before any allocation")
{
    struct pair *pair = given_pair();
    int fd = stranger(net_listener_port(pair->listener));
    char byte;
    expect_int(write(fd, "\x7f\xff\xff\xff", 4), 4);
    turn_until(pair->loop, pair->server.closed == 1);
    expect_int(pair->server.why, MR_LIMIT);
    expect_int(read(fd, &byte, 1), 0);
    close(fd);
    pair->server.closed = 0;
    end_pair(pair);
}

STORY("a handler that refuses a message ends the connection with its sentence")
{
    struct pair *pair = given_pair();
    pair->server.refusing = true;
    pair->server.echo = false;
    send_frame(pair->client.conn, 10, 'x');
    turn_until(pair->loop, pair->client.closed == 1);
    expect_int(pair->server.why, MR_INVALID);
    expect_str(mr_str_from(pair->server.why_text), MR_STR("not wanted"));
    expect_int(pair->client.why, MR_CLOSED);
    end_pair(pair);
}

STORY("a paused connection tells nothing, holds back its peer, and goes on when resumed")
{
    struct pair *pair = given_pair();
    struct side *server = &pair->server;
    server->pausing = true;
    server->echo = false;
    struct net_conn *paused = server->conn;
    for (int i = 0; i < 200; i++)
        send_frame(pair->client.conn, 100000, 'x');
    for (int i = 0; i < 200; i++)
        mr_loop_turn(pair->loop, 100);
    expect_int(server->messages, 1);
    expect(net_out_bytes(pair->client.conn) > 1000000); /* what the kernel did not take */
    expect_int(pair->client.drained, 0);
    net_resume(paused);
    turn_until(pair->loop, server->messages == 2); /* which pauses again */
    for (int i = 0; i < 10; i++)
        mr_loop_turn(pair->loop, 100);
    expect_int(server->messages, 2);
    server->pausing = false;
    net_resume(paused);
    turn_until(pair->loop, server->messages == 200);
    expect_int(pair->client.drained, 1);
    end_pair(pair);
}

STORY("that the peer of a paused connection has gone is noticed at once, unless it has left "
      "something")
{
    struct pair *pair = given_pair();
    struct side *server = &pair->server;
    net_pause(server->conn);
    net_abort(pair->client.conn);
    turn_until(pair->loop, server->closed == 1);
    expect_int(server->why, MR_CLOSED);
    net_listener_close(pair->listener);
    mr_loop_turn(pair->loop, 0);
    mr_loop_free(pair->loop);
    mr_free(pair);

    pair = given_pair();
    server = &pair->server;
    net_abort(pair->client.conn);
    turn_until(pair->loop, server->closed == 1);
    *server = (struct side){0};
    int fd = stranger(net_listener_port(pair->listener));
    turn_until(pair->loop, server->opened == 1);
    net_pause(server->conn);
    expect(send(fd, "\0\0\0\1x", 5, 0) == 5);
    close(fd);
    for (int i = 0; i < 20; i++)
        mr_loop_turn(pair->loop, 1000);
    expect_int(server->closed, 0);
    net_resume(server->conn);
    turn_until(pair->loop, server->closed == 1);
    expect_int(server->messages, 1);

    *server = (struct side){0};
    fd = stranger(net_listener_port(pair->listener));
    turn_until(pair->loop, server->opened == 1);
    net_deafen(server->conn);
    expect(send(fd, "\0\0\0\1x", 5, 0) == 5);
    close(fd);
    turn_until(pair->loop, server->closed == 1);
    expect_int(server->messages, 0);
    end_pair(pair);
}

STORY("a client that does not read its answers is not read either")
{
    struct pair *pair = given_pair();
    int fd = stranger(net_listener_port(pair->listener));
    char *frame = mr_alloc_zero(1, 1000004);
    memcpy(frame, "\0\x0f\x42\x40", 4);
    struct timeval patience = {.tv_usec = 200000};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    int flags = MSG_DONTWAIT;
    size_t sent = 0;
    for (int i = 0; i < 3000; i++) { /* until nothing is taken any more */
        ssize_t put = send(fd, frame + sent % 1000004, 1000004 - sent % 1000004, flags);
        sent += put > 0 ? (size_t)put : 0;
        mr_loop_turn(pair->loop, 100);
    }
    expect(sent < 60u << 20);
    expect(net_out_bytes(pair->server.conn) < 12u << 20);
    size_t whole = sent / 1000004 * 1000004, got = 0;
    char *sink = mr_alloc(65536);
    while (got < whole) {
        mr_loop_turn(pair->loop, 0);
        ssize_t part = recv(fd, sink, 65536, MSG_DONTWAIT);
        got += part > 0 ? (size_t)part : 0;
    }
    close(fd);
    turn_until(pair->loop, pair->server.closed == 1);
    pair->server.closed = 0;
    end_pair(pair);
}

STORY("net_close sends what is queued and then ends well; net_abort does not")
{
    struct pair *pair = given_pair();
    struct side *server = &pair->server;
    server->echo = false;
    send_frame(server->conn, 3000000, 'l');
    net_close(server->conn);
    net_send(server->conn, "too late", 8);
    turn_until(pair->loop, pair->client.closed == 1 && server->closed == 1);
    expect_int(server->why, MR_OK);
    expect_int(pair->client.bytes, 3000004);
    expect_int(pair->client.why, MR_CLOSED);
    end_pair(pair);
    pair = given_pair();
    net_abort(pair->client.conn);
    net_abort(pair->client.conn);
    expect_int(pair->client.closed, 0); /* never from inside the call */
    mr_loop_turn(pair->loop, 0);
    expect_int(pair->client.why, MR_CANCELLED);
    end_pair(pair);
}

STORY("a busy port is one sentence that says what to do")
{
    struct pair *pair = given_pair();
    struct net_listener *second = NULL;
    uint16_t port = net_listener_port(pair->listener);
    expect_err(net_listen(pair->loop, "127.0.0.1", port, &handler, NULL, &second), MR_BUSY);
    struct mr_buf sentence = {0};
    mr_buf_printf(&sentence,
                  "port %u on 127.0.0.1 is in use by another program; stop it or choose "
                  "--port-offset",
                  port);
    expect_str(mr_str_from(mr_why()), mr_buf_as_str(&sentence));
    expect_err(net_listen(pair->loop, "192.0.2.1", 0, &handler, NULL, &second), MR_UNREACHABLE);
    mr_buf_fini(&sentence);
    end_pair(pair);
}

STORY("nobody listening is told by closed, and so is a name that does not exist")
{
    struct pair *pair = given_pair();
    struct side client = {0};
    struct net_conn *conn = NULL;
    struct net_listener *gone = NULL;
    expect_ok(net_listen(pair->loop, "127.0.0.1", 0, &handler, &client, &gone));
    uint16_t port = net_listener_port(gone);
    net_listener_close(gone);
    expect_ok(net_connect(pair->loop, "localhost", port, &handler, &client, &conn));
    expect_int(client.closed, 0);
    turn_until(pair->loop, client.closed == 1);
    expect_int(client.why, MR_UNREACHABLE);
    expect(strstr(client.why_text, "connecting to localhost:") != NULL);
    client = (struct side){0};
    expect_ok(net_connect(pair->loop, "no-such-host.invalid", 9, &handler, &client, &conn));
    turn_until(pair->loop, client.closed == 1);
    expect_int(client.why, MR_UNREACHABLE);
    expect(strstr(client.why_text, "no-such-host.invalid") != NULL);
    expect_ok(net_connect(pair->loop, "another.invalid", 9, &handler, &client, &conn));
    client = (struct side){0};
    net_abort(conn); /* while the resolver thinks */
    turn_until(pair->loop, client.closed == 1);
    expect_err(net_connect(pair->loop, "", 9, &handler, &client, &conn), MR_INVALID);
    end_pair(pair);
}

STORY("a connection knows both its addresses")
{
    struct pair *pair = given_pair();
    struct net_address here, there;
    net_local(pair->server.conn, &here);
    net_peer(pair->client.conn, &there);
    expect_str(mr_str_from(here.host), MR_STR("127.0.0.1"));
    expect_int(here.port, net_listener_port(pair->listener));
    expect_int(there.port, here.port);
    expect_int(net_listener_conn_count(pair->listener), 1);
    expect(net_listener_next(pair->listener, NULL) == pair->server.conn);
    expect(net_listener_next(pair->listener, pair->server.conn) == NULL);
    end_pair(pair);
}

STORY("a listener on every address takes IPv4 and shows it as such")
{
    struct mr_loop *loop = mr_loop_new("test", NULL);
    struct net_listener *listener = NULL;
    struct side server = {0};
    struct net_address peer;
    expect_ok(net_listen(loop, "*", 0, &handler, &server, &listener));
    int fd = stranger(net_listener_port(listener));
    turn_until(loop, server.opened == 1);
    net_peer(server.conn, &peer);
    expect_str(mr_str_from(peer.host), MR_STR("127.0.0.1"));
    net_listener_close(listener);
    mr_loop_turn(loop, 0);
    expect_int(server.why, MR_CANCELLED);
    close(fd);
    mr_loop_free(loop);
}

STORY("connections above the limit are refused, and a listener can rest")
{
    struct mr_loop *loop = mr_loop_new("test", NULL);
    struct net_listener *listener = NULL;
    struct side server = {0};
    char byte;
    expect_ok(net_listen(loop, "127.0.0.1", 0, &handler, &server, &listener));
    net_listener_conns_max(listener, 1);
    net_listener_accepting(listener, false);
    int first = stranger(net_listener_port(listener)); /* the kernel queues it */
    for (int i = 0; i < 5; i++)
        mr_loop_turn(loop, 100);
    expect_int(server.opened, 0);
    net_listener_accepting(listener, true);
    turn_until(loop, server.opened == 1);
    mr_log_level_set(MR_LOG_ERROR);
    int second = stranger(net_listener_port(listener));
    for (int i = 0; i < 5; i++)
        mr_loop_turn(loop, 1000);
    expect_int(read(second, &byte, 1), 0);
    expect_int(server.opened, 1);
    net_listener_close(listener);
    mr_loop_turn(loop, 0);
    close(first);
    close(second);
    mr_loop_free(loop);
}

static void expect_address(const char *text, uint16_t default_port, const char *host, uint16_t port)
{
    struct net_address address;
    expect_ok(net_address_parse(mr_str_from(text), default_port, &address));
    expect_str(mr_str_from(address.host), mr_str_from(host));
    expect_int(address.port, port);
}

STORY("addresses are read in every usual form")
{
    struct net_address address;
    expect_address("kafka:9092", 0, "kafka", 9092);
    expect_address("kafka", 9092, "kafka", 9092);
    expect_address("[::1]:9092", 0, "::1", 9092);
    expect_address("[::1]", 7, "::1", 7);
    expect_address("::1", 7, "::1", 7);
    static const char *const wrong[] = {
        "", ":9092", "kafka", "kafka:", "kafka:0", "kafka:65536", "kafka:x", "[::1", "[::1]9092"};
    for (size_t i = 0; i < mr_count_of(wrong); i++)
        expect_err(net_address_parse(mr_str_from(wrong[i]), 0, &address), MR_INVALID);
    expect_err(net_address_parse(MR_STR(":::"), 9092, &address), MR_INVALID);
    expect_err(net_address_parse(MR_STR("kafka:9092:9093"), 9092, &address), MR_INVALID);
}

/* ---- many strangers at one listener ---- */

struct crowd {
    struct mr_clock clock;
    struct mr_loop *loop;
    struct net_listener *listener;
    struct net_budget *budget;
    int opened, messages, closed;
    bool owes; /* an answer to those who come */
};

static void crowd_opened(struct net_conn *conn)
{
    struct crowd *crowd = net_context(conn);
    crowd->opened++;
    net_busy(conn, crowd->owes);
}

static mr_err crowd_frame(struct net_conn *conn, mr_str seen, size_t *total)
{
    expect(net_context(conn) != NULL);
    return net_frame_be32(seen, 50 << 20, total);
}

static mr_err crowd_message(struct net_conn *conn, struct mr_bytes *owner, mr_str frame)
{
    struct crowd *crowd = net_context(conn);
    expect((const uint8_t *)frame.data + frame.length + 64 <= owner->data + owner->capacity);
    crowd->messages++;
    return MR_OK;
}

static void crowd_closed(struct net_conn *conn, mr_err why)
{
    struct crowd *crowd = net_context(conn);
    expect(why != MR_CORRUPT);
    crowd->closed++;
}

static const struct net_handler of_crowd = {crowd_opened, crowd_frame, crowd_message, net_nothing,
                                            crowd_closed};

static struct crowd *given_crowd(size_t budget_bytes)
{
    struct crowd *crowd = mr_new(struct crowd);
    mr_log_level_set(MR_LOG_ERROR);
    mr_clock_init_manual(&crowd->clock, 1700000000000000);
    crowd->loop = mr_loop_new("test", &crowd->clock);
    expect_ok(net_listen(crowd->loop, "127.0.0.1", 0, &of_crowd, crowd, &crowd->listener));
    crowd->budget = net_budget_new(crowd->loop, budget_bytes);
    net_listener_budget(crowd->listener, crowd->budget);
    return crowd;
}

static void turns(struct crowd *crowd)
{
    for (int i = 0; i < 20; i++)
        mr_loop_turn(crowd->loop, 0);
}

static void end_crowd(struct crowd *crowd)
{
    net_listener_close(crowd->listener);
    turns(crowd);
    expect_int(crowd->closed, crowd->opened);
    expect_int(net_budget_bytes(crowd->budget), 0);
    net_budget_free(crowd->budget);
    mr_loop_free(crowd->loop);
    mr_free(crowd);
}

static void seconds_pass(struct crowd *crowd, int seconds)
{
    for (int i = 0; i < seconds; i++) {
        mr_clock_pass(&crowd->clock, 1000000);
        turns(crowd);
    }
}

/* A stranger from 127.0.0.`host`. */
static int comes_from(struct crowd *crowd, uint32_t host)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(net_listener_port(crowd->listener)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000000u + host)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    expect(bind(fd, (struct sockaddr *)&from, sizeof from) == 0);
    expect(connect(fd, (struct sockaddr *)&to, sizeof to) == 0);
    turns(crowd);
    return fd;
}

/* Sends so much of a frame: its length at first, then the body up to `to`. */
static void sends_part(struct crowd *crowd, int fd, size_t frame_bytes, size_t from, size_t to)
{
    char head[4] = {(char)(frame_bytes >> 24), (char)(frame_bytes >> 16), (char)(frame_bytes >> 8),
                    (char)frame_bytes};
    char *body = mr_alloc_zero(1, to);
    if (from == 0)
        expect(send(fd, head, 4, 0) == 4);
    while (from < to) {
        ssize_t put = send(fd, body + from, to - from, MSG_DONTWAIT);
        from += put > 0 ? (size_t)put : 0;
        mr_loop_turn(crowd->loop, 0);
    }
    mr_free(body);
    turns(crowd);
}

STORY("large frames wait for room while they arrive, and one address leaves some to the others")
{
    struct crowd *crowd = given_crowd(1000000);
    int slow = comes_from(crowd, 1), second = comes_from(crowd, 1), small = comes_from(crowd, 1);
    int other = comes_from(crowd, 2), last = comes_from(crowd, 3);
    sends_part(crowd, slow, 400000, 0, 100000);
    expect_int(net_budget_bytes(crowd->budget), 400004);
    sends_part(crowd, second, 400000, 0, 10); /* more than half is for others */
    expect_int(net_budget_bytes(crowd->budget), 400004);
    sends_part(crowd, small, 60000, 0, 60000);
    expect_int(crowd->messages, 1);
    sends_part(crowd, other, 400000, 0, 10);
    expect_int(net_budget_bytes(crowd->budget), 800008);
    sends_part(crowd, last, 300000, 0, 10);
    expect_int(net_budget_bytes(crowd->budget), 800008);
    sends_part(crowd, other, 400000, 10, 400000);
    expect_int(crowd->messages, 2);
    expect_int(net_budget_bytes(crowd->budget), 700008); /* the last one came in */
    for (int i = 0; i < 7; i++) {
        seconds_pass(crowd, 4);
        sends_part(crowd, slow, 400000, (size_t)(100000 + i * 10), (size_t)(100010 + i * 10));
    }
    expect_int(crowd->closed, 0);
    seconds_pass(crowd, 4); /* the slow one had its time, and the second waits for it */
    expect_int(crowd->closed, 1);
    sends_part(crowd, second, 400000, 10, 400000);
    expect_int(crowd->messages, 3);
    sends_part(crowd, last, 300000, 10, 300000); /* nobody waited for this one */
    expect_int(crowd->messages, 4);
    expect_int(net_budget_bytes(crowd->budget), 0);
    sends_part(crowd, small, 3000000, 0, 3000000); /* more than the whole budget, alone */
    expect_int(crowd->messages, 5);
    close(slow), close(second), close(small), close(other), close(last);
    end_crowd(crowd);
}

STORY("a frame of which nothing comes makes room soon, and of one address small ones come first")
{
    struct crowd *crowd = given_crowd(1000000);
    int dead = comes_from(crowd, 1), large = comes_from(crowd, 1), honest = comes_from(crowd, 1);
    sends_part(crowd, dead, 490000, 0, 10);
    sends_part(crowd, large, 490000, 0, 10);
    sends_part(crowd, honest, 70000, 0, 10);
    expect_int(net_budget_bytes(crowd->budget), 490004);
    seconds_pass(crowd, 7);
    expect_int(crowd->closed, 1);
    expect_int(net_budget_bytes(crowd->budget), 70004); /* both would be more than half */
    sends_part(crowd, honest, 70000, 10, 70000);
    expect_int(crowd->messages, 1);
    expect_int(net_budget_bytes(crowd->budget), 490004);
    close(dead), close(large), close(honest);
    turns(crowd);
    end_crowd(crowd);
}

STORY("who leaves while it waits for room leaves nothing behind")
{
    struct crowd *crowd = given_crowd(1000000);
    int first = comes_from(crowd, 1), second = comes_from(crowd, 1), third = comes_from(crowd, 2);
    sends_part(crowd, first, 900000, 0, 10);
    sends_part(crowd, second, 900000, 0, 10);
    sends_part(crowd, third, 900000, 0, 10);
    expect_int(net_budget_bytes(crowd->budget), 900004);
    close(second);
    close(first);
    turns(crowd);
    seconds_pass(crowd, 2);
    close(third);
    seconds_pass(crowd, 2);
    expect_int(crowd->closed, 3);
    end_crowd(crowd);
}

STORY("a connection on which nothing happens ends, but not one that is owed an answer")
{
    struct crowd *crowd = given_crowd(1000000);
    char byte;
    net_listener_idle_us(crowd->listener, 600000000);
    int quiet = comes_from(crowd, 1), talks = comes_from(crowd, 1);
    crowd->owes = true;
    int waits = comes_from(crowd, 1);
    for (int i = 0; i < 59; i++) {
        seconds_pass(crowd, 10);
        sends_part(crowd, talks, 10, 0, 10);
    }
    expect_int(crowd->closed, 0);
    for (int i = 0; i < 10; i++) {
        seconds_pass(crowd, 10);
        sends_part(crowd, talks, 10, 0, 10);
    }
    expect_int(read(quiet, &byte, 1), 0);
    close(quiet);
    turns(crowd);
    expect_int(crowd->closed, 1);
    close(talks), close(waits);
    turns(crowd);
    end_crowd(crowd);
}

STORY("when all places are taken the quietest makes room, and one address does not keep others out")
{
    struct crowd *crowd = given_crowd(1000000);
    net_listener_conns_max(crowd->listener, 4);
    int a = comes_from(crowd, 1), b = comes_from(crowd, 1), c = comes_from(crowd, 1);
    int d = comes_from(crowd, 1);
    close(comes_from(crowd, 1)); /* the same address, and nobody has been quiet for long */
    turns(crowd);
    expect_int(crowd->opened, 4);
    expect_int(crowd->closed, 0);
    seconds_pass(crowd, 5);
    sends_part(crowd, a, 10, 0, 10);
    sends_part(crowd, c, 10, 0, 10);
    sends_part(crowd, d, 10, 0, 10);
    seconds_pass(crowd, 6);
    int e = comes_from(crowd, 1);
    expect_int(crowd->opened, 5);
    expect_int(crowd->closed, 1);
    char byte;
    expect_int(read(b, &byte, 1), 0);
    int f = comes_from(crowd, 2); /* another one's share is taken back at once */
    expect_int(crowd->opened, 6);
    expect_int(crowd->closed, 2);
    expect_int(read(e, &byte, 1), 0); /* of one that never said anything */
    close(a), close(b), close(c), close(d), close(e), close(f);
    turns(crowd);
    end_crowd(crowd);
}
