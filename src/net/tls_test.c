/* net/tls_test.c: TLS, told by an echo protocol; certificates are made as the story needs them. */
#include "story.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/net.h"

enum { PATIENCE_TURNS = 20000 };

/* ---- certificates ---- */

struct identity {
    X509 *certificate;
    EVP_PKEY *key;
    char certificate_path[320], key_path[320];
};

static void add_extension(X509 *to, int nid, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, (char *)(uintptr_t)value);
    expect(extension != NULL);
    X509_add_ext(to, extension, -1);
    X509_EXTENSION_free(extension);
}

/* Two files, `name`.pem and `name`.key. `issuer` NULL: it signs itself and may sign others. */
static struct identity given_identity(struct story *t, const char *name,
                                      const struct identity *issuer, const char *names, long days)
{
    struct identity made = {X509_new(), EVP_EC_gen("P-256"), "", ""};
    X509_NAME *subject = X509_get_subject_name(made.certificate);
    X509_set_version(made.certificate, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(made.certificate), issuer == NULL ? 1 : (long)getpid());
    X509_gmtime_adj(X509_getm_notBefore(made.certificate), -2 * 86400);
    X509_gmtime_adj(X509_getm_notAfter(made.certificate), days * 86400);
    X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_UTF8, (const unsigned char *)"Test", -1, -1,
                               0);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1,
                               0);
    X509_set_issuer_name(made.certificate,
                         issuer == NULL ? subject : X509_get_subject_name(issuer->certificate));
    X509_set_pubkey(made.certificate, made.key);
    if (issuer == NULL)
        add_extension(made.certificate, NID_basic_constraints, "critical,CA:TRUE");
    if (names != NULL)
        add_extension(made.certificate, NID_subject_alt_name, names);
    expect(X509_sign(made.certificate, issuer == NULL ? made.key : issuer->key, EVP_sha256()) > 0);
    snprintf(made.certificate_path, sizeof made.certificate_path, "%s/%s.pem", t->folder, name);
    snprintf(made.key_path, sizeof made.key_path, "%s/%s.key", t->folder, name);
    FILE *file = fopen(made.certificate_path, "w");
    expect(file != NULL && PEM_write_X509(file, made.certificate) == 1);
    fclose(file);
    file = fopen(made.key_path, "w");
    expect(file != NULL && PEM_write_PrivateKey(file, made.key, NULL, NULL, 0, NULL, NULL) == 1);
    fclose(file);
    return made;
}

/* ---- both sides ---- */

struct side {
    struct net_conn *conn;
    int opened, messages, drained, closed;
    mr_err why;
    char why_text[300], subject[200];
    size_t bytes;
    bool echo, pausing;
};

static void side_opened(struct net_conn *conn)
{
    struct side *side = net_context(conn);
    struct mr_buf subject = {0};
    side->opened++;
    side->conn = conn;
    expect(net_is_tls(conn));
    if (net_peer_subject(conn, &subject))
        snprintf(side->subject, sizeof side->subject, "%.*s", MR_STR_ARG(mr_buf_as_str(&subject)));
    mr_buf_fini(&subject);
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
    for (size_t i = 5; i < frame.length; i++)
        expect(frame.data[i] == frame.data[4]);
    if (side->echo)
        net_send_bytes(conn, owner, (size_t)((const uint8_t *)frame.data - owner->data),
                       frame.length);
    if (side->pausing)
        net_pause(conn);
    return MR_OK;
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
    side->closed++;
    side->why = why;
    side->conn = NULL;
    snprintf(side->why_text, sizeof side->why_text, "%s", why == MR_OK ? "" : mr_why());
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

struct world {
    struct mr_loop *loop;
    struct net_listener *listener;
    struct net_tls *server_tls, *client_tls;
    struct side server, client;
    struct identity ca, localhost;
};

/* A listener whose certificate is for localhost and 127.0.0.1, and a client that trusts its CA. */
static struct world *given_world(struct story *t, enum net_tls_clients clients)
{
    struct world *world = mr_new(struct world);
    mr_log_level_set(MR_LOG_ERROR);
    world->loop = mr_loop_new("test", NULL);
    world->server.echo = true;
    world->ca = given_identity(t, "Authority", NULL, NULL, 10);
    world->localhost = given_identity(t, "localhost", &world->ca,
                                      "DNS:localhost,DNS:log.example,IP:127.0.0.1", 10);
    struct net_tls_server server = {
        .certificate = mr_str_from(world->localhost.certificate_path),
        .key = mr_str_from(world->localhost.key_path),
        .client_ca = mr_str_from(world->ca.certificate_path),
        .clients = clients,
    };
    struct net_tls_client client = {.ca = mr_str_from(world->ca.certificate_path)};
    expect_ok(net_tls_server_new(&server, &world->server_tls));
    expect_ok(net_tls_client_new(&client, &world->client_tls));
    expect_ok(net_listen(world->loop, "127.0.0.1", 0, &handler, &world->server, &world->listener));
    net_listener_tls(world->listener, world->server_tls);
    return world;
}

static void connects_as(struct world *world, const char *host, const char *name)
{
    struct net_conn *conn = NULL;
    world->client = (struct side){0};
    expect_ok(net_connect_tls(world->loop, host, net_listener_port(world->listener),
                              world->client_tls, name, &handler, &world->client, &conn));
}

static void connects(struct world *world)
{
    connects_as(world, "127.0.0.1", NULL);
    turn_until(world->loop, world->client.opened == 1 && world->server.opened >= 1);
}

static void client_options(struct world *world, const struct net_tls_client *options)
{
    net_tls_free(world->client_tls);
    expect_ok(net_tls_client_new(options, &world->client_tls));
}

static void expect_refused(struct world *world, mr_err why, const char *words)
{
    turn_until(world->loop, world->client.closed == 1);
    if (world->client.why != why || strstr(world->client.why_text, words) == NULL)
        story_fail(__FILE__, __LINE__, "closed with %s: %s; expected %s: %s",
                   mr_err_name(world->client.why), world->client.why_text, mr_err_name(why), words);
}

static void end_world(struct world *world)
{
    if (world->client.conn != NULL)
        net_abort(world->client.conn);
    net_listener_close(world->listener);
    for (int i = 0; i < 3; i++)
        mr_loop_turn(world->loop, 0);
    net_tls_free(world->server_tls);
    net_tls_free(world->client_tls);
    X509_free(world->ca.certificate);
    EVP_PKEY_free(world->ca.key);
    X509_free(world->localhost.certificate);
    EVP_PKEY_free(world->localhost.key);
    mr_loop_free(world->loop);
    mr_free(world);
}

static void send_frame(struct net_conn *conn, size_t body_bytes, char fill)
{
    struct mr_buf *out = net_out(conn);
    size_t at = out->length;
    mr_buf_be32(out, 0);
    memset(mr_buf_grow(out, body_bytes), fill, body_bytes);
    mr_buf_patch_be32(out, at, (uint32_t)body_bytes);
}

static int stranger(uint16_t port)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    expect(fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0);
    return fd;
}

/* ---- stories ---- */

STORY("frames of every size go there and back by TLS")
{
    static const size_t sizes[] = {0, 1, 100, 4000, 16383, 16384, 65408, 65536, 300000, 5000000};
    struct world *world = given_world(t, NET_TLS_CLIENTS_NONE);
    size_t sum = 0;
    connects(world);
    for (size_t i = 0; i < mr_count_of(sizes); i++) {
        send_frame(world->client.conn, sizes[i], 'x');
        sum += 4 + sizes[i];
    }
    turn_until(world->loop, world->client.bytes == sum);
    expect_int(world->client.messages, mr_count_of(sizes));
    for (int i = 0; i < 20000; i++)
        send_frame(world->client.conn, (size_t)i % 50, 'y');
    turn_until(world->loop, world->client.messages == 20000 + (int)mr_count_of(sizes));
    expect_int(net_out_bytes(world->client.conn), 0);
    expect_str(mr_str_from(world->client.subject), MR_STR("CN=localhost,O=Test"));
    expect_str(mr_str_from(world->server.subject), MR_STR(""));
    end_world(world);
}

STORY("what is sent before the connection stands goes out behind the handshake")
{
    struct world *world = given_world(t, NET_TLS_CLIENTS_NONE);
    struct net_conn *conn = NULL;
    expect_ok(net_connect_tls(world->loop, "localhost", net_listener_port(world->listener),
                              world->client_tls, NULL, &handler, &world->client, &conn));
    send_frame(conn, 300000, 'e');
    turn_until(world->loop, world->client.messages == 1);
    expect_int(world->client.bytes, 300004);
    end_world(world);
}

STORY("a paused TLS connection tells nothing, holds back its peer, and goes on when resumed")
{
    struct world *world = given_world(t, NET_TLS_CLIENTS_NONE);
    struct side *server = &world->server;
    server->pausing = true;
    server->echo = false;
    connects(world);
    struct net_conn *paused = server->conn;
    for (int i = 0; i < 200; i++)
        send_frame(world->client.conn, 100000, 'x');
    for (int i = 0; i < 200; i++)
        mr_loop_turn(world->loop, 100);
    expect_int(server->messages, 1);
    expect(net_out_bytes(world->client.conn) > 1000000); /* what the kernel did not take */
    net_resume(paused);
    turn_until(world->loop, server->messages == 2);
    server->pausing = false;
    net_resume(paused);
    turn_until(world->loop, server->messages == 200);
    turn_until(world->loop, world->client.drained == 1);
    server->pausing = true; /* small ones: all of them are decrypted at once */
    for (int i = 0; i < 20; i++)
        send_frame(world->client.conn, 10, 'y');
    for (int told = 201; told <= 220; told++) {
        turn_until(world->loop, server->messages == told);
        net_resume(paused);
    }
    end_world(world);
}

STORY("net_close sends what is queued by TLS and then ends well")
{
    struct world *world = given_world(t, NET_TLS_CLIENTS_NONE);
    world->server.echo = false;
    connects(world);
    send_frame(world->server.conn, 3000000, 'l');
    net_close(world->server.conn);
    turn_until(world->loop, world->client.closed == 1 && world->server.closed == 1);
    expect_int(world->server.why, MR_OK);
    expect_int(world->client.bytes, 3000004);
    expect_int(world->client.why, MR_CLOSED);
    end_world(world);
}

STORY("a certificate that nobody known has signed is refused in one sentence")
{
    struct world *world = given_world(t, NET_TLS_CLIENTS_NONE);
    struct identity other = given_identity(t, "Other", NULL, NULL, 10);
    client_options(world, &(struct net_tls_client){.ca = mr_str_from(other.certificate_path)});
    connects_as(world, "127.0.0.1", NULL);
    expect_refused(world, MR_AUTH,
                   "the server's certificate is refused: unable to get local issuer");
    expect(strstr(world->client.why_text, "TLS with 127.0.0.1:") != NULL);
    client_options(world, &(struct net_tls_client){.ca = MR_STR("")}); /* the system's */
    connects_as(world, "127.0.0.1", NULL);
    expect_refused(world, MR_AUTH, "the server's certificate is refused");
    expect_int(world->server.opened, 0); /* nor was anything told there */
    expect_int(world->server.closed, 0);
    end_world(world);
}

STORY("a certificate is for the host that was dialled, or for the name that was said")
{
    struct world *world = given_world(t, NET_TLS_CLIENTS_NONE);
    connects_as(world, "127.0.0.1", "elsewhere.example");
    expect_refused(world, MR_AUTH, "hostname mismatch");
    connects_as(world, "127.0.0.1", "127.0.0.2");
    expect_refused(world, MR_AUTH, "IP address mismatch");
    connects_as(world, "127.0.0.1", "log.example");
    turn_until(world->loop, world->client.opened == 1);
    net_abort(world->client.conn);
    turn_until(world->loop, world->client.closed == 1);
    client_options(world, &(struct net_tls_client){.ca = mr_str_from(world->ca.certificate_path),
                                                   .any_name = true});
    connects_as(world, "127.0.0.1", "elsewhere.example");
    turn_until(world->loop, world->client.opened == 1);
    end_world(world);
}

STORY("an expired certificate is refused")
{
    struct world *world = given_world(t, NET_TLS_CLIENTS_NONE);
    struct identity old = given_identity(t, "old", &world->ca, "IP:127.0.0.1", -1);
    struct net_tls *tls = NULL;
    struct net_tls_server server = {.certificate = mr_str_from(old.certificate_path),
                                    .key = mr_str_from(old.key_path)};
    expect_ok(net_tls_server_new(&server, &tls));
    net_listener_tls(world->listener, tls);
    net_tls_free(world->server_tls);
    world->server_tls = tls;
    connects_as(world, "127.0.0.1", NULL);
    expect_refused(world, MR_AUTH, "certificate has expired");
    end_world(world);
}

STORY("a client is known by its certificate when the listener asks for one")
{
    struct world *world = given_world(t, NET_TLS_CLIENTS_REQUIRE);
    struct identity ann = given_identity(t, "Ann Müller", &world->ca, NULL, 10);
    struct identity other = given_identity(t, "Other", NULL, NULL, 10);
    struct identity eve = given_identity(t, "eve", &other, NULL, 10);
    struct net_tls_client with = {.ca = mr_str_from(world->ca.certificate_path),
                                  .certificate = mr_str_from(ann.certificate_path),
                                  .key = mr_str_from(ann.key_path)};
    connects_as(world, "127.0.0.1", NULL); /* shows none */
    expect_refused(world, MR_AUTH, "the server refused: ");
    expect_int(world->server.opened, 0);
    client_options(world, &with);
    connects(world);
    expect_str(mr_str_from(world->server.subject), MR_STR("CN=Ann Müller,O=Test"));
    net_abort(world->client.conn);
    turn_until(world->loop, world->client.closed == 1 && world->server.closed == 1);
    with.certificate = mr_str_from(eve.certificate_path);
    with.key = mr_str_from(eve.key_path);
    client_options(world, &with);
    connects_as(world, "127.0.0.1", NULL);
    expect_refused(world, MR_AUTH, "the server refused: ");
    expect_int(world->server.opened, 1);
    end_world(world);
}

STORY("where a certificate is only asked for, a client may have none")
{
    struct world *world = given_world(t, NET_TLS_CLIENTS_REQUEST);
    connects(world);
    expect_str(mr_str_from(world->server.subject), MR_STR(""));
    send_frame(world->client.conn, 10, 'x');
    turn_until(world->loop, world->client.messages == 1);
    end_world(world);
}

STORY("a client of TLS at a plain port is told that the server does not speak it")
{
    struct world *world = given_world(t, NET_TLS_CLIENTS_NONE);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof at;
    struct net_conn *conn = NULL;
    expect(bind(fd, (struct sockaddr *)&at, sizeof at) == 0 && listen(fd, 5) == 0);
    getsockname(fd, (struct sockaddr *)&at, &length);
    expect_ok(net_connect_tls(world->loop, "127.0.0.1", ntohs(at.sin_port), world->client_tls, NULL,
                              &handler, &world->client, &conn));
    int peer = accept(fd, NULL, NULL);
    expect_int(write(peer, "HTTP/1.1 400 Bad Request\r\n\r\n", 28), 28);
    expect_refused(world, MR_INVALID, "the server does not speak TLS");
    close(peer);
    world->client = (struct side){0};
    expect_ok(net_connect_tls(world->loop, "127.0.0.1", ntohs(at.sin_port), world->client_tls, NULL,
                              &handler, &world->client, &conn));
    close(accept(fd, NULL, NULL));
    turn_until(world->loop, world->client.closed == 1);
    expect_int(world->client.why, MR_CLOSED);
    close(fd);
    end_world(world);
}

STORY("strangers that send anything but a handshake are dropped, and the others go on")
{
    static const char garbage[][24] = {"GET / HTTP/1.1\r\n\r\n", "\0\0\0\x10\0\x12\0\3xxxxxxxxxxxx",
                                       "\x16\x03\x01\xff\xff\xff\xff\xff\xff",
                                       "\x16\x03\x01\0\x05\x01\xff\xff\xff\x03"};
    struct world *world = given_world(t, NET_TLS_CLIENTS_NONE);
    mr_log_level_set(MR_LOG_ERROR);
    connects(world);
    for (size_t i = 0; i < mr_count_of(garbage); i++) {
        int fd = stranger(net_listener_port(world->listener));
        struct timeval patience = {.tv_usec = 1000};
        char back[512];
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        expect(write(fd, garbage[i], 20) > 0);
        shutdown(fd, SHUT_WR);
        turn_until(world->loop, recv(fd, back, sizeof back, 0) == 0 || errno == ECONNRESET);
        close(fd);
    }
    expect_int(world->server.opened, 1);
    send_frame(world->client.conn, 10, 'x');
    turn_until(world->loop, world->client.messages == 1);
    end_world(world);
}

STORY("a handshake that never ends is ended after ten seconds")
{
    struct mr_clock clock;
    struct side server = {0};
    struct net_listener *listener = NULL;
    struct world *world = given_world(t, NET_TLS_CLIENTS_NONE);
    char byte;
    mr_clock_init_manual(&clock, 0);
    struct mr_loop *loop = mr_loop_new("slow", &clock);
    expect_ok(net_listen(loop, "127.0.0.1", 0, &handler, &server, &listener));
    net_listener_tls(listener, world->server_tls);
    int fd = stranger(net_listener_port(listener));
    expect_int(write(fd, "\x16\x03\x01\x02\0\x01", 6), 6);
    turn_until(loop, net_listener_conn_count(listener) == 1);
    mr_clock_pass(&clock, 9900000);
    for (int i = 0; i < 5; i++)
        mr_loop_turn(loop, 100);
    expect_int(net_listener_conn_count(listener), 1);
    mr_clock_pass(&clock, 200000);
    turn_until(loop, net_listener_conn_count(listener) == 0);
    expect_int(read(fd, &byte, 1), 0);
    expect_int(server.opened + server.closed, 0);
    close(fd);
    net_listener_close(listener);
    mr_loop_free(loop);
    end_world(world);
}

STORY("a context outlives its freeing while connections use it, and can be exchanged")
{
    struct world *world = given_world(t, NET_TLS_CLIENTS_NONE);
    struct identity renewed = given_identity(t, "renewed", &world->ca, "IP:127.0.0.1", 10);
    struct net_tls_server server = {.certificate = mr_str_from(renewed.certificate_path),
                                    .key = mr_str_from(renewed.key_path)};
    connects(world);
    net_tls_free(world->server_tls);
    expect_ok(net_tls_server_new(&server, &world->server_tls));
    net_listener_tls(world->listener, world->server_tls);
    send_frame(world->client.conn, 10, 'x');
    turn_until(world->loop, world->client.messages == 1);
    struct net_conn *first = world->client.conn;
    net_abort(first);
    turn_until(world->loop, world->client.closed == 1 && world->server.closed == 1);
    connects(world);
    expect_str(mr_str_from(world->client.subject), MR_STR("CN=renewed,O=Test"));
    end_world(world);
}

static void expect_sentence(mr_err err, mr_err expected, const char *words)
{
    if (err != expected || strstr(mr_why(), words) == NULL)
        story_fail(__FILE__, __LINE__, "%s: %s; expected %s: %s", mr_err_name(err), mr_why(),
                   mr_err_name(expected), words);
}

STORY("files that do not do are told by one sentence")
{
    struct world *world = given_world(t, NET_TLS_CLIENTS_NONE);
    struct net_tls *tls = NULL;
    struct net_tls_server server = {0};
    char noise[320];
    snprintf(noise, sizeof noise, "%s/noise", t->folder);
    expect_ok(mr_file_write(noise, MR_STR("no certificate\n"), 0600));
    expect_sentence(net_tls_server_new(&server, &tls), MR_INVALID, "needs a certificate");
    server.certificate = MR_STR("/nowhere/at/all.pem");
    expect_sentence(net_tls_server_new(&server, &tls), MR_NOT_FOUND, "/nowhere/at/all.pem");
    server.certificate = mr_str_from(noise);
    expect_sentence(net_tls_server_new(&server, &tls), MR_INVALID, "expected a certificate in PEM");
    server.certificate = mr_str_from(world->localhost.certificate_path);
    expect_sentence(net_tls_server_new(&server, &tls), MR_INVALID,
                    "expected the certificate's key");
    server.key = mr_str_from(world->ca.key_path);
    expect_err(net_tls_server_new(&server, &tls), MR_INVALID);
    server.key = mr_str_from(world->localhost.key_path);
    server.clients = NET_TLS_CLIENTS_REQUIRE;
    expect_sentence(net_tls_server_new(&server, &tls), MR_INVALID, "certificate authority");
    struct net_tls_client client = {.ca = mr_str_from(noise)};
    expect_sentence(net_tls_client_new(&client, &tls), MR_INVALID, "expected certificates in PEM");
    end_world(world);
}

STORY("a key may be encrypted, and its password is never asked for on a terminal")
{
    struct world *world = given_world(t, NET_TLS_CLIENTS_NONE);
    struct net_tls *tls = NULL;
    char path[320];
    snprintf(path, sizeof path, "%s/secret.key", t->folder);
    FILE *file = fopen(path, "w");
    expect(file != NULL && PEM_write_PKCS8PrivateKey(file, world->localhost.key, EVP_aes_256_cbc(),
                                                     "open sesame", 11, NULL, NULL) == 1);
    fclose(file);
    struct net_tls_server server = {.certificate = mr_str_from(world->localhost.certificate_path),
                                    .key = mr_str_from(path)};
    expect_err(net_tls_server_new(&server, &tls), MR_INVALID);
    server.key_password = MR_STR("wrong");
    expect_sentence(net_tls_server_new(&server, &tls), MR_INVALID, "and its password");
    expect(strstr(mr_why(), "wrong") == NULL || strstr(mr_why(), "secret.key") != NULL);
    server.key_password = MR_STR("open sesame");
    expect_ok(net_tls_server_new(&server, &tls));
    net_tls_free(tls);
    end_world(world);
}

STORY("one address may have only so many connections")
{
    struct world *world = given_world(t, NET_TLS_CLIENTS_NONE);
    char byte;
    net_listener_conns_per_address_max(world->listener, 2);
    connects(world);
    int second = stranger(net_listener_port(world->listener));
    turn_until(world->loop, net_listener_conn_count(world->listener) == 2);
    int third = stranger(net_listener_port(world->listener));
    for (int i = 0; i < 5; i++)
        mr_loop_turn(world->loop, 1000);
    expect_int(read(third, &byte, 1), 0);
    expect_int(net_listener_conn_count(world->listener), 2);
    close(second);
    close(third);
    end_world(world);
}
