/* kafka/scram.c: see scram.h. Attributes are read in the order that RFC 5802, section 7, gives;
 * extensions are skipped, as Kafka does. */
#include "kafka/scram.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

enum { OWN_NONCE_BYTES = 24, OWN_SALT_BYTES = 24 };

static const struct {
    const char *name;
    size_t bytes;
} kinds[] = {{"", 0}, {"SCRAM-SHA-256", 32}, {"SCRAM-SHA-512", 64}};

const char *kafka_scram_name(enum kafka_scram_kind kind)
{
    return kinds[kind].name;
}

enum kafka_scram_kind kafka_scram_find(mr_str name)
{
    for (int i = KAFKA_SCRAM_SHA_256; i <= KAFKA_SCRAM_SHA_512; i++)
        if (mr_str_equal(name, mr_str_from(kinds[i].name)))
            return (enum kafka_scram_kind)i;
    return KAFKA_SCRAM_NONE;
}

size_t kafka_scram_bytes(enum kafka_scram_kind kind)
{
    return kinds[kind].bytes;
}

void kafka_scram_wipe(void *memory, size_t bytes)
{
    if (bytes > 0)
        OPENSSL_cleanse(memory, bytes);
}

bool kafka_scram_same(const void *a, const void *b, size_t bytes)
{
    return CRYPTO_memcmp(a, b, bytes) == 0;
}

/* ---- base64 ---- */

void kafka_scram_base64(struct mr_buf *out, const void *data, size_t length)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *bytes = data;
    for (size_t i = 0; i < length; i += 3) {
        size_t left = length - i;
        uint32_t three = (uint32_t)bytes[i] << 16 | (left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) |
                         (left > 2 ? bytes[i + 2] : 0);
        mr_buf_u8(out, (uint8_t)digits[three >> 18]);
        mr_buf_u8(out, (uint8_t)digits[three >> 12 & 63]);
        mr_buf_u8(out, left > 1 ? (uint8_t)digits[three >> 6 & 63] : '=');
        mr_buf_u8(out, left > 2 ? (uint8_t)digits[three & 63] : '=');
    }
}

static int base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

mr_err kafka_scram_unbase64(mr_str text, uint8_t *out, size_t room, size_t *length)
{
    size_t digits = text.length, made = 0;
    uint32_t bits = 0;
    int bit_count = 0;
    while (digits > 0 && text.length - digits < 2 && text.data[digits - 1] == '=')
        digits--;
    if (text.length % 4 != 0 || digits % 4 == 1)
        return mr_fail(MR_INVALID, "base64: expected groups of four");
    if (digits / 4 * 3 + digits % 4 > room + 2)
        return mr_fail(MR_LIMIT, "base64: at most %zu bytes are expected", room);
    for (size_t i = 0; i < digits; i++) {
        int digit = base64_digit(text.data[i]);
        if (digit < 0)
            return mr_fail(MR_INVALID, "base64: a character that is none of it");
        bits = bits << 6 | (uint32_t)digit;
        bit_count += 6;
        if (bit_count < 8)
            continue;
        bit_count -= 8;
        if (made == room)
            return mr_fail(MR_LIMIT, "base64: at most %zu bytes are expected", room);
        out[made++] = (uint8_t)(bits >> bit_count);
    }
    *length = made;
    return MR_OK;
}

/* ---- hashes ---- */

static const EVP_MD *digest(enum kafka_scram_kind kind)
{
    return kind == KAFKA_SCRAM_SHA_256 ? EVP_sha256() : EVP_sha512();
}

static void hmac(enum kafka_scram_kind kind, const uint8_t *key, mr_str text,
                 uint8_t out[KAFKA_SCRAM_BYTES])
{
    unsigned length = 0;
    HMAC(digest(kind), key, (int)kinds[kind].bytes, (const unsigned char *)text.data, text.length,
         out, &length);
    mr_assert(length == kinds[kind].bytes);
}

static void hash(enum kafka_scram_kind kind, const uint8_t *in, uint8_t out[KAFKA_SCRAM_BYTES])
{
    unsigned length = 0;
    EVP_Digest(in, kinds[kind].bytes, out, &length, digest(kind), NULL);
    mr_assert(length == kinds[kind].bytes);
}

void kafka_scram_salted(enum kafka_scram_kind kind, mr_str password, mr_str salt,
                        int32_t iterations, uint8_t out[KAFKA_SCRAM_BYTES])
{
    int done = PKCS5_PBKDF2_HMAC(password.length == 0 ? "" : password.data, (int)password.length,
                                 (const unsigned char *)salt.data, (int)salt.length, iterations,
                                 digest(kind), (int)kinds[kind].bytes, out);
    mr_assert(done == 1);
}

void kafka_scram_keys(struct kafka_scram_credential *credential,
                      const uint8_t salted[KAFKA_SCRAM_BYTES])
{
    uint8_t client_key[KAFKA_SCRAM_BYTES];
    hmac(credential->kind, salted, MR_STR("Client Key"), client_key);
    hash(credential->kind, client_key, credential->stored_key);
    hmac(credential->kind, salted, MR_STR("Server Key"), credential->server_key);
    kafka_scram_wipe(client_key, sizeof client_key);
}

void kafka_scram_make(struct kafka_scram_credential *out, enum kafka_scram_kind kind,
                      mr_str password, int32_t iterations)
{
    uint8_t salted[KAFKA_SCRAM_BYTES];
    *out = (struct kafka_scram_credential){
        .kind = kind, .iterations = iterations, .salt_bytes = OWN_SALT_BYTES};
    mr_entropy(out->salt, OWN_SALT_BYTES);
    kafka_scram_salted(kind, password, mr_str_of(out->salt, out->salt_bytes), iterations, salted);
    kafka_scram_keys(out, salted);
    kafka_scram_wipe(salted, sizeof salted);
}

bool kafka_scram_is(const struct kafka_scram_credential *credential, mr_str password)
{
    struct kafka_scram_credential tried = *credential;
    uint8_t salted[KAFKA_SCRAM_BYTES];
    kafka_scram_salted(credential->kind, password,
                       mr_str_of(credential->salt, credential->salt_bytes), credential->iterations,
                       salted);
    kafka_scram_keys(&tried, salted);
    kafka_scram_wipe(salted, sizeof salted);
    return kafka_scram_same(tried.stored_key, credential->stored_key,
                            kinds[credential->kind].bytes);
}

/* ---- texts ---- */

/* Cuts "k=value" and the comma behind it off the front. */
static bool attribute(mr_str *rest, char key, mr_str *value)
{
    mr_str part;
    if (rest->length < 2 || rest->data[0] != key || rest->data[1] != '=')
        return false;
    mr_str_split(rest, ',', &part);
    *value = mr_str_slice(part, 2, part.length);
    return true;
}

/* A nonce is printable and has no comma (RFC 5802, section 5.1). */
static bool nonce_ok(mr_str nonce)
{
    for (size_t i = 0; i < nonce.length; i++)
        if (nonce.data[i] < 0x21 || nonce.data[i] > 0x7e)
            return false;
    return nonce.length > 0 && nonce.length <= KAFKA_SCRAM_NONCE_BYTES_MAX;
}

static void nonce_add(struct kafka_scram *scram)
{
    static const char digits[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    uint8_t chance[OWN_NONCE_BYTES];
    size_t at = strlen(scram->nonce);
    mr_assert(at + OWN_NONCE_BYTES < sizeof scram->nonce);
    mr_entropy(chance, sizeof chance);
    for (size_t i = 0; i < sizeof chance; i++)
        scram->nonce[at + i] = digits[chance[i] & 63];
    scram->nonce[at + OWN_NONCE_BYTES] = '\0';
}

/* A user's name: ',' and '=' are escaped. */
static void user_write(struct mr_buf *out, mr_str user)
{
    for (size_t i = 0; i < user.length; i++) {
        if (user.data[i] == ',')
            mr_buf_cstr(out, "=2C");
        else if (user.data[i] == '=')
            mr_buf_cstr(out, "=3D");
        else
            mr_buf_u8(out, (uint8_t)user.data[i]);
    }
}

static bool user_read(mr_str text, struct mr_arena *arena, mr_str *out)
{
    char *user = mr_arena_alloc(arena, text.length + 1);
    size_t length = 0;
    for (size_t i = 0; i < text.length; i++) {
        char c = text.data[i];
        if (c == '=') {
            mr_str code = mr_str_slice(text, i + 1, i + 3);
            if (!mr_str_equal(code, MR_STR("2C")) && !mr_str_equal(code, MR_STR("3D")))
                return false;
            c = code.data[1] == 'C' ? ',' : '=';
            i += 2;
        }
        user[length++] = c;
    }
    user[length] = '\0';
    *out = mr_str_of(user, length);
    return length > 0 && mr_str_is_utf8(*out);
}

static void final_write(struct kafka_scram *scram, struct mr_buf *out)
{
    mr_buf_cstr(out, "c=");
    kafka_scram_base64(out, scram->header.data, scram->header.length);
    mr_buf_printf(out, ",r=%s", scram->nonce);
}

void kafka_scram_fini(struct kafka_scram *scram)
{
    mr_buf_fini(&scram->header);
    mr_buf_fini(&scram->message);
    kafka_scram_wipe(scram, sizeof *scram);
}

/* ---- client ---- */

void kafka_scram_client_first(struct kafka_scram *scram, enum kafka_scram_kind kind, mr_str user,
                              struct mr_buf *out)
{
    scram->kind = kind;
    nonce_add(scram);
    mr_buf_cstr(&scram->header, "n,,");
    mr_buf_cstr(&scram->message, "n=");
    user_write(&scram->message, user);
    mr_buf_printf(&scram->message, ",r=%s", scram->nonce);
    mr_buf_str(out, mr_buf_as_str(&scram->header));
    mr_buf_str(out, mr_buf_as_str(&scram->message));
}

mr_err kafka_scram_client_challenged(struct kafka_scram *scram, mr_str server_first)
{
    struct kafka_scram_credential *credential = &scram->credential;
    mr_str rest = server_first, nonce, salt, rounds, why;
    int64_t iterations = 0;
    if (attribute(&rest, 'e', &why))
        return mr_fail(MR_AUTH, "the server refuses: %.*s", MR_STR_ARG(mr_str_slice(why, 0, 200)));
    if (!attribute(&rest, 'r', &nonce) || !attribute(&rest, 's', &salt) ||
        !attribute(&rest, 'i', &rounds) || mr_str_to_i64(rounds, &iterations) != MR_OK)
        return mr_fail(MR_AUTH, "the server's first message is not SCRAM");
    if (nonce.length > 2 * KAFKA_SCRAM_NONCE_BYTES_MAX || nonce.length <= strlen(scram->nonce) ||
        !mr_str_starts(nonce, mr_str_from(scram->nonce)))
        return mr_fail(MR_AUTH, "the server answers with another nonce");
    if (iterations < KAFKA_SCRAM_ITERATIONS_MIN || iterations > MR_LIMIT_SCRAM_ITERATIONS)
        return mr_fail(MR_AUTH, "the server asks for %lld rounds of hashing; %d to %d are expected",
                       (long long)iterations, KAFKA_SCRAM_ITERATIONS_MIN,
                       MR_LIMIT_SCRAM_ITERATIONS);
    if (kafka_scram_unbase64(salt, credential->salt, sizeof credential->salt,
                             &credential->salt_bytes) != MR_OK ||
        credential->salt_bytes == 0)
        return mr_fail(MR_AUTH, "the server's salt is not one to %d bytes in base64",
                       KAFKA_SCRAM_SALT_BYTES_MAX);
    credential->kind = scram->kind;
    credential->iterations = (int32_t)iterations;
    memcpy(scram->nonce, nonce.data, nonce.length);
    scram->nonce[nonce.length] = '\0';
    mr_buf_u8(&scram->message, ',');
    mr_buf_str(&scram->message, server_first);
    return MR_OK;
}

void kafka_scram_client_final(struct kafka_scram *scram, const uint8_t salted[KAFKA_SCRAM_BYTES],
                              struct mr_buf *out)
{
    uint8_t key[KAFKA_SCRAM_BYTES], proof[KAFKA_SCRAM_BYTES];
    size_t at = out->length;
    kafka_scram_keys(&scram->credential, salted);
    final_write(scram, out);
    mr_buf_u8(&scram->message, ',');
    mr_buf_add(&scram->message, out->data + at, out->length - at);
    hmac(scram->kind, scram->credential.stored_key, mr_buf_as_str(&scram->message), proof);
    hmac(scram->kind, salted, MR_STR("Client Key"), key);
    for (size_t i = 0; i < kinds[scram->kind].bytes; i++)
        proof[i] ^= key[i];
    hmac(scram->kind, scram->credential.server_key, mr_buf_as_str(&scram->message),
         scram->signature);
    mr_buf_cstr(out, ",p=");
    kafka_scram_base64(out, proof, kinds[scram->kind].bytes);
    kafka_scram_wipe(key, sizeof key);
}

mr_err kafka_scram_client_verify(const struct kafka_scram *scram, mr_str server_final)
{
    uint8_t signature[KAFKA_SCRAM_BYTES];
    mr_str rest = server_final, value;
    size_t length = 0;
    if (attribute(&rest, 'e', &value))
        return mr_fail(MR_AUTH, "the server refuses: %.*s",
                       MR_STR_ARG(mr_str_slice(value, 0, 200)));
    if (!attribute(&rest, 'v', &value) ||
        kafka_scram_unbase64(value, signature, sizeof signature, &length) != MR_OK ||
        length != kinds[scram->kind].bytes ||
        !kafka_scram_same(signature, scram->signature, length))
        return mr_fail(MR_AUTH, "the server does not know the password itself");
    return MR_OK;
}

/* ---- server ---- */

mr_err kafka_scram_server_first(struct kafka_scram *scram, enum kafka_scram_kind kind,
                                mr_str client_first, struct mr_arena *arena, mr_str *user)
{
    mr_str rest = client_first, ignored, name, nonce, authority = MR_STR_NULL;
    scram->kind = kind;
    if (!mr_str_split(&rest, ',', &ignored) || !mr_str_equal(ignored, MR_STR("n")))
        return mr_fail(MR_INVALID, "SCRAM: expected a first message without channel binding");
    if (!attribute(&rest, 'a', &authority) &&
        !(mr_str_split(&rest, ',', &ignored) && ignored.length == 0))
        return mr_fail(MR_INVALID, "SCRAM: the first message is malformed");
    mr_buf_add(&scram->header, client_first.data, client_first.length - rest.length);
    mr_buf_str(&scram->message, rest);
    if (attribute(&rest, 'm', &ignored))
        return mr_fail(MR_INVALID, "SCRAM: a mandatory extension is not known");
    if (!attribute(&rest, 'n', &name) || !attribute(&rest, 'r', &nonce) || !nonce_ok(nonce) ||
        !user_read(name, arena, user))
        return mr_fail(MR_INVALID, "SCRAM: the first message is malformed");
    if (authority.length > 0 && !mr_str_equal(authority, name))
        return mr_fail(MR_INVALID, "SCRAM: nobody may act as another user");
    memcpy(scram->nonce, nonce.data, nonce.length);
    scram->nonce[nonce.length] = '\0';
    return MR_OK;
}

void kafka_scram_server_challenge(struct kafka_scram *scram,
                                  const struct kafka_scram_credential *credential,
                                  struct mr_buf *out)
{
    size_t at = out->length;
    scram->credential = *credential;
    nonce_add(scram);
    mr_buf_printf(out, "r=%s,s=", scram->nonce);
    kafka_scram_base64(out, credential->salt, credential->salt_bytes);
    mr_buf_printf(out, ",i=%d", credential->iterations);
    mr_buf_u8(&scram->message, ',');
    mr_buf_add(&scram->message, out->data + at, out->length - at);
}

mr_err kafka_scram_server_final(struct kafka_scram *scram, mr_str client_final, struct mr_buf *out)
{
    uint8_t proof[KAFKA_SCRAM_BYTES], signature[KAFKA_SCRAM_BYTES], key[KAFKA_SCRAM_BYTES];
    const struct kafka_scram_credential *credential = &scram->credential;
    ptrdiff_t at = mr_str_find(client_final, MR_STR(",p="));
    mr_str plain = mr_str_slice(client_final, 0, at < 0 ? 0 : (size_t)at), rest = plain, nonce,
           binding;
    size_t length = 0, bytes = kinds[scram->kind].bytes;
    struct mr_buf expected = {0};
    if (at < 0 || !attribute(&rest, 'c', &binding) || !attribute(&rest, 'r', &nonce) ||
        kafka_scram_unbase64(mr_str_slice(client_final, (size_t)at + 3, client_final.length), proof,
                             sizeof proof, &length) != MR_OK ||
        length != bytes)
        return mr_fail(MR_INVALID, "SCRAM: the final message is malformed");
    kafka_scram_base64(&expected, scram->header.data, scram->header.length);
    /* Only the end of the nonce is looked at, as Kafka does: librdkafka before 2.6 says its own part
     * twice. What is signed is what the client has sent. */
    bool same = mr_str_equal(binding, mr_buf_as_str(&expected)) &&
                mr_str_ends(nonce,
                            mr_str_from(scram->nonce + strlen(scram->nonce) - OWN_NONCE_BYTES));
    mr_buf_fini(&expected);
    if (!same)
        return mr_fail(MR_INVALID, "SCRAM: the final message has another nonce or binding");
    mr_buf_u8(&scram->message, ',');
    mr_buf_str(&scram->message, plain);
    hmac(scram->kind, credential->stored_key, mr_buf_as_str(&scram->message), signature);
    for (size_t i = 0; i < bytes; i++)
        proof[i] ^= signature[i]; /* the client's key, if it has the password */
    hash(scram->kind, proof, key);
    if (!kafka_scram_same(key, credential->stored_key, bytes))
        return mr_fail(MR_AUTH, "SCRAM: a wrong password");
    hmac(scram->kind, credential->server_key, mr_buf_as_str(&scram->message), signature);
    mr_buf_cstr(out, "v=");
    kafka_scram_base64(out, signature, bytes);
    return MR_OK;
}
