/* net/tls.c: what OpenSSL does for a connection. The only file that knows its types.
 *
 * A session reads ciphertext straight from the connection's socket and leaves what it has to send in
 * a buffer, which the connection writes: so a write never fails half way, and many small messages
 * leave in one. The connection decides when and how much (conn.c). */
#include "net/conn.h"

#include <errno.h>
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

enum {
    READ_BYTES = 65536,   /* of the socket, at once */
    CIPHER_KEPT = 65536,  /* memory that an empty buffer keeps */
    OWN_BIO = 100,        /* a type of BIO that OpenSSL itself has not */
    ALERT_REASONS = 1000, /* reasons from here on are alerts of the other side (ssl.h) */
};

struct net_tls {
    SSL_CTX *context;
    bool server, any_name;
};

struct net_tls_session {
    SSL *ssl;
    BIO_METHOD *method;
    int fd;
    bool may_read;     /* of the socket; else only what is here is decrypted */
    int read_errno;    /* of the read that failed */
    bool server, gone; /* gone: the other side has ended its stream */
    struct mr_buf cipher;
    size_t cipher_sent;
};

/* ---- contexts ---- */

/* The last thing that OpenSSL has complained of, as words. */
static const char *tls_reason(void)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = ERR_GET_LIB(code) == ERR_LIB_SYS ? strerror((int)ERR_GET_REASON(code))
                                                          : ERR_reason_error_string(code);
    return reason == NULL ? "unknown reason" : reason;
}

static int password_of(char *out, int room, int writing, void *context)
{
    const mr_str *password = context;
    (void)writing;
    if (password == NULL || password->length == 0 || password->length > (size_t)room)
        return 0;
    memcpy(out, password->data, password->length);
    return (int)password->length;
}

/* A file that cannot be opened is told by its own sentence, before OpenSSL tells it less well. */
static mr_err file_check(const char *what, const char *path)
{
    struct mr_buf content = {0};
    mr_err err = mr_file_read(path, 1 << 20, &content);
    if (err != MR_OK)
        err = mr_fail(err, "TLS: the %s: %s", what, mr_why());
    if (content.length > 0)
        OPENSSL_cleanse(content.data, content.length);
    mr_buf_fini(&content);
    return err;
}

static mr_err own_certificate(SSL_CTX *context, mr_str certificate, mr_str key, mr_str password,
                              struct mr_arena *arena)
{
    const char *chain_path = mr_arena_cstr(arena, certificate);
    const char *key_path = key.length == 0 ? chain_path : mr_arena_cstr(arena, key);
    mr_err err = file_check("certificate", chain_path);
    if (err == MR_OK)
        err = file_check("key", key_path);
    if (err != MR_OK)
        return err;
    SSL_CTX_set_default_passwd_cb(context, password_of); /* never asked for on a terminal */
    if (SSL_CTX_use_certificate_chain_file(context, chain_path) != 1)
        return mr_fail(MR_INVALID, "TLS: %s: expected a certificate in PEM: %s", chain_path,
                       tls_reason());
    SSL_CTX_set_default_passwd_cb_userdata(context, &password);
    int loaded = SSL_CTX_use_PrivateKey_file(context, key_path, SSL_FILETYPE_PEM);
    SSL_CTX_set_default_passwd_cb_userdata(context, NULL);
    if (loaded != 1)
        return mr_fail(MR_INVALID, "TLS: %s: expected the certificate's key in PEM%s: %s", key_path,
                       password.length > 0 ? " and its password" : "", tls_reason());
    if (SSL_CTX_check_private_key(context) != 1)
        return mr_fail(MR_INVALID, "TLS: the key %s does not belong to the certificate %s",
                       key_path, chain_path);
    return MR_OK;
}

static mr_err trusted(SSL_CTX *context, mr_str ca, struct mr_arena *arena)
{
    const char *path = mr_arena_cstr(arena, ca);
    mr_err err = file_check("certificate authority", path);
    if (err != MR_OK)
        return err;
    if (SSL_CTX_load_verify_file(context, path) != 1)
        return mr_fail(MR_INVALID, "TLS: %s: expected certificates in PEM: %s", path, tls_reason());
    return MR_OK;
}

static struct net_tls *tls_new(const SSL_METHOD *method, bool server)
{
    static const unsigned char sessions[] = "millrace";
    struct net_tls *tls = mr_new(struct net_tls);
    ERR_clear_error();
    tls->server = server;
    tls->context = SSL_CTX_new(method);
    mr_assert(tls->context != NULL);
    SSL_CTX_set_min_proto_version(tls->context, TLS1_2_VERSION);
    /* Nothing is resumed: connections live long, and a certificate that is withdrawn ends at once. */
    SSL_CTX_set_options(tls->context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET |
                                          SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF |
                                          SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_num_tickets(tls->context, 0);
    SSL_CTX_set_session_cache_mode(tls->context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_session_id_context(tls->context, sessions, sizeof sessions - 1);
    SSL_CTX_set_mode(tls->context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_read_ahead(tls->context, 1);
    SSL_CTX_set_default_read_buffer_len(tls->context, READ_BYTES);
    return tls;
}

static mr_err client_ca(SSL_CTX *context, const struct net_tls_server *options,
                        struct mr_arena *arena)
{
    int mode = SSL_VERIFY_PEER;
    if (options->clients == NET_TLS_CLIENTS_NONE)
        return MR_OK;
    if (options->client_ca.length == 0)
        return mr_fail(MR_INVALID, "TLS: to verify clients a file of their certificate authority "
                                   "is expected");
    mr_err err = trusted(context, options->client_ca, arena);
    if (err != MR_OK)
        return err;
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(mr_arena_cstr(arena, options->client_ca));
    if (names != NULL)
        SSL_CTX_set_client_CA_list(context, names);
    if (options->clients == NET_TLS_CLIENTS_REQUIRE)
        mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_CTX_set_verify(context, mode, NULL);
    return MR_OK;
}

mr_err net_tls_server_new(const struct net_tls_server *options, struct net_tls **out)
{
    struct net_tls *tls = tls_new(TLS_server_method(), true);
    struct mr_arena arena;
    mr_arena_init(&arena);
    mr_err err = options->certificate.length == 0
                     ? mr_fail(MR_INVALID, "TLS: a server needs a certificate")
                     : own_certificate(tls->context, options->certificate, options->key,
                                       options->key_password, &arena);
    if (err == MR_OK)
        err = client_ca(tls->context, options, &arena);
    if (err == MR_OK) {
        *out = tls;
        tls = NULL;
    }
    net_tls_free(tls);
    mr_arena_fini(&arena);
    return err;
}

struct net_tls_client net_tls_client_copy(struct mr_arena *arena,
                                          const struct net_tls_client *options)
{
    struct net_tls_client copy = *options;
    copy.ca = mr_arena_str(arena, options->ca);
    copy.certificate = mr_arena_str(arena, options->certificate);
    copy.key = mr_arena_str(arena, options->key);
    copy.key_password = mr_arena_str(arena, options->key_password);
    return copy;
}

mr_err net_tls_client_new(const struct net_tls_client *options, struct net_tls **out)
{
    struct net_tls *tls = tls_new(TLS_client_method(), false);
    struct mr_arena arena;
    mr_err err = MR_OK;
    mr_arena_init(&arena);
    tls->any_name = options->any_name;
    SSL_CTX_set_verify(tls->context, SSL_VERIFY_PEER, NULL);
    if (options->ca.length > 0)
        err = trusted(tls->context, options->ca, &arena);
    else if (SSL_CTX_set_default_verify_paths(tls->context) != 1)
        err = mr_fail(MR_INVALID, "TLS: the system's certificates: %s", tls_reason());
    if (err == MR_OK && options->certificate.length > 0)
        err = own_certificate(tls->context, options->certificate, options->key,
                              options->key_password, &arena);
    if (err == MR_OK) {
        *out = tls;
        tls = NULL;
    }
    net_tls_free(tls);
    mr_arena_fini(&arena);
    return err;
}

void net_tls_free(struct net_tls *tls)
{
    if (tls == NULL)
        return;
    SSL_CTX_free(tls->context); /* counted: sessions keep it */
    mr_free(tls);
}

/* ---- the two ends of a session ---- */

static int socket_read(BIO *bio, char *into, int room)
{
    struct net_tls_session *session = BIO_get_data(bio);
    ssize_t got = -1;
    BIO_clear_retry_flags(bio);
    if (!session->may_read || session->gone) {
        if (session->gone)
            return 0;
        BIO_set_retry_read(bio);
        return -1;
    }
    do
        got = recv(session->fd, into, (size_t)room, MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        BIO_set_retry_read(bio);
    else if (got < 0)
        session->read_errno = errno;
    session->gone = got == 0;
    return (int)got;
}

static int cipher_write(BIO *bio, const char *data, int length)
{
    struct net_tls_session *session = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    mr_buf_add(&session->cipher, data, (size_t)length);
    return length;
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
    struct net_tls_session *session = BIO_get_data(bio);
    (void)number;
    (void)pointer;
    if (command == BIO_CTRL_EOF)
        return session->gone;
    return command == BIO_CTRL_FLUSH;
}

/* The name that the certificate must have; an address in figures is no SNI. */
static void name_expect(SSL *ssl, const char *name, bool any_name)
{
    unsigned char number[16];
    bool literal = inet_pton(AF_INET, name, number) == 1 || inet_pton(AF_INET6, name, number) == 1;
    if (!literal)
        SSL_set_tlsext_host_name(ssl, name);
    if (any_name)
        return;
    if (literal)
        X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name);
    else
        SSL_set1_host(ssl, name);
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
}

struct net_tls_session *net_tls_session_new(const struct net_tls *tls, const char *name)
{
    struct net_tls_session *session = mr_new(struct net_tls_session);
    session->server = tls->server;
    session->fd = -1;
    session->ssl = SSL_new(tls->context);
    session->method = BIO_meth_new(BIO_TYPE_SOURCE_SINK | OWN_BIO, "millrace");
    mr_assert(session->ssl != NULL && session->method != NULL);
    BIO_meth_set_read(session->method, socket_read);
    BIO_meth_set_write(session->method, cipher_write);
    BIO_meth_set_ctrl(session->method, bio_control);
    BIO *bio = BIO_new(session->method);
    mr_assert(bio != NULL);
    BIO_set_data(bio, session);
    BIO_set_init(bio, 1);
    SSL_set_bio(session->ssl, bio, bio);
    if (tls->server) {
        SSL_set_accept_state(session->ssl);
    } else {
        SSL_set_connect_state(session->ssl);
        name_expect(session->ssl, name, tls->any_name);
    }
    return session;
}

void net_tls_session_free(struct net_tls_session *session)
{
    if (session == NULL)
        return;
    SSL_free(session->ssl);
    BIO_meth_free(session->method);
    mr_buf_fini(&session->cipher);
    mr_free(session);
}

void net_tls_session_socket(struct net_tls_session *session, int fd)
{
    session->fd = fd;
}

mr_str net_tls_session_cipher(const struct net_tls_session *session)
{
    return mr_str_of(session->cipher.data + session->cipher_sent,
                     session->cipher.length - session->cipher_sent);
}

void net_tls_session_sent(struct net_tls_session *session, size_t bytes)
{
    session->cipher_sent += bytes;
    mr_assert(session->cipher_sent <= session->cipher.length);
    if (session->cipher_sent < session->cipher.length)
        return;
    session->cipher_sent = 0;
    mr_buf_clear(&session->cipher);
    if (session->cipher.capacity > CIPHER_KEPT)
        mr_buf_fini(&session->cipher);
}

/* ---- what went wrong ---- */

static mr_err alert_kind(int alert)
{
    switch (alert) {
    case SSL_AD_BAD_CERTIFICATE:
    case SSL_AD_UNSUPPORTED_CERTIFICATE:
    case SSL_AD_CERTIFICATE_REVOKED:
    case SSL_AD_CERTIFICATE_EXPIRED:
    case SSL_AD_CERTIFICATE_UNKNOWN:
    case SSL_AD_UNKNOWN_CA:
    case SSL_AD_ACCESS_DENIED:
    case SSL_AD_CERTIFICATE_REQUIRED:
    case SSL3_AD_NO_CERTIFICATE:
        return MR_AUTH;
    default:
        return MR_INVALID;
    }
}

/* Reasons that mean bytes of another protocol. */
static bool is_not_tls(int reason)
{
    return reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_HTTP_REQUEST ||
           reason == SSL_R_HTTPS_PROXY_REQUEST || reason == SSL_R_PACKET_LENGTH_TOO_LONG ||
           reason == SSL_R_UNKNOWN_PROTOCOL || reason == SSL_R_BAD_RECORD_TYPE;
}

mr_err net_tls_session_fail(const struct net_tls_session *session, const struct net_address *peer)
{
    unsigned long code = ERR_peek_last_error();
    int reason = ERR_GET_REASON(code);
    long verdict = SSL_get_verify_result(session->ssl);
    bool shaking = !SSL_is_init_finished(session->ssl);
    const char *other = session->server ? "client" : "server";
    if (session->gone && code == 0)
        return mr_fail(MR_CLOSED, "TLS with %s:%u: the %s closed the connection%s", peer->host,
                       peer->port, other, shaking ? " in the handshake" : "");
    if (session->read_errno != 0)
        return mr_fail(mr_err_from_errno(session->read_errno), "receiving from %s:%u: %s",
                       peer->host, peer->port, strerror(session->read_errno));
    if (reason >= ALERT_REASONS)
        return mr_fail(alert_kind(reason - ALERT_REASONS), "TLS with %s:%u: the %s refused: %s",
                       peer->host, peer->port, other, tls_reason());
    if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED)
        return mr_fail(MR_AUTH, "TLS with %s:%u: the %s's certificate is refused: %s", peer->host,
                       peer->port, other, X509_verify_cert_error_string(verdict));
    if (reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE)
        return mr_fail(MR_AUTH, "TLS with %s:%u: the client has shown no certificate", peer->host,
                       peer->port);
    if (shaking && is_not_tls(reason))
        return mr_fail(MR_INVALID, "TLS with %s:%u: the %s does not speak TLS (%s)", peer->host,
                       peer->port, other, tls_reason());
    return mr_fail(MR_INVALID, "TLS with %s:%u: %s", peer->host, peer->port, tls_reason());
}

/* ---- steps ---- */

static enum net_tls_step step_of(const struct net_tls_session *session, int result)
{
    switch (SSL_get_error(session->ssl, result)) {
    case SSL_ERROR_NONE:
        return NET_TLS_DONE;
    case SSL_ERROR_WANT_READ:
        return NET_TLS_WAITS;
    case SSL_ERROR_ZERO_RETURN:
        return NET_TLS_ENDED;
    default:
        return session->gone && ERR_peek_last_error() == 0 ? NET_TLS_ENDED : NET_TLS_FAILED;
    }
}

enum net_tls_step net_tls_session_shake(struct net_tls_session *session)
{
    ERR_clear_error();
    session->may_read = true;
    return step_of(session, SSL_do_handshake(session->ssl));
}

enum net_tls_step net_tls_session_read(struct net_tls_session *session, bool of_socket, void *into,
                                       size_t room, size_t *got)
{
    ERR_clear_error();
    session->may_read = of_socket;
    return step_of(session, SSL_read_ex(session->ssl, into, room, got));
}

bool net_tls_session_has_more(const struct net_tls_session *session)
{
    return SSL_has_pending(session->ssl) == 1;
}

bool net_tls_session_write(struct net_tls_session *session, const void *data, size_t length)
{
    size_t put = 0;
    ERR_clear_error();
    return length == 0 || (SSL_write_ex(session->ssl, data, length, &put) == 1 && put == length);
}

void net_tls_session_end(struct net_tls_session *session)
{
    ERR_clear_error();
    SSL_shutdown(session->ssl);
    ERR_clear_error();
}

bool net_tls_session_subject(const struct net_tls_session *session, struct mr_buf *out)
{
    X509 *certificate = SSL_get0_peer_certificate(session->ssl);
    if (certificate == NULL || SSL_get_verify_result(session->ssl) != X509_V_OK)
        return false;
    BIO *text = BIO_new(BIO_s_mem());
    char *data = NULL;
    mr_assert(text != NULL);
    /* RFC 2253, with letters of all languages as they are. */
    X509_NAME_print_ex(text, X509_get_subject_name(certificate), 0,
                       XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB);
    long length = BIO_get_mem_data(text, &data);
    mr_buf_add(out, data, length > 0 ? (size_t)length : 0);
    BIO_free(text);
    return true;
}
