/* broker/token.c: JSON Web Tokens and the keys that sign them (RFC 7515, 7517, 7518, 7519).
 * RS256/384/512 and ES256/384; alg "none" only where an option says so. A token that names no key is
 * tried with all. */
#include "broker/security.h"

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <stdio.h>

#include "json/json.h"

enum { FILE_BYTES_MAX = 1 << 20, TOKEN_BYTES_MAX = 64 << 10, SKEW_S = 30 };

struct token_key {
    EVP_PKEY *key;
    char *id; /* NULL: none */
};
struct broker_token_keys {
    bool unsecured;
    MR_ARRAY(struct token_key) rows;
};

/* ---- base64url without padding (RFC 7515, section 2) ---- */

static bool unbase64url(mr_str text, struct mr_arena *arena, mr_str *out)
{
    size_t length = (text.length + 3) / 4 * 4, got = 0;
    char *padded = mr_arena_alloc(arena, length + 1);
    uint8_t *bytes = mr_arena_alloc(arena, length + 1);

    for (size_t i = 0; i < length; i++) {
        char c = i < text.length ? text.data[i] : '=';
        if (i < text.length && (c == '+' || c == '/' || c == '='))
            return false;
        padded[i] = c == '-' ? '+' : c == '_' ? '/' : c;
    }
    if (kafka_scram_unbase64(mr_str_of(padded, length), bytes, length, &got) != MR_OK)
        return false;
    *out = mr_str_of(bytes, got);
    return true;
}

/* ---- keys ---- */

static mr_str member(const struct json_value *object, const char *name)
{
    return json_str(json_get(object, mr_str_from(name)), MR_STR_NULL);
}

static EVP_PKEY *key_of(const char *type, OSSL_PARAM_BLD *params)
{
    EVP_PKEY *key = NULL;
    OSSL_PARAM *built = OSSL_PARAM_BLD_to_param(params);
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);

    if (built != NULL && context != NULL && EVP_PKEY_fromdata_init(context) == 1 &&
        EVP_PKEY_fromdata(context, &key, EVP_PKEY_PUBLIC_KEY, built) != 1)
        key = NULL;
    EVP_PKEY_CTX_free(context);
    OSSL_PARAM_free(built);
    return key;
}

static EVP_PKEY *rsa_key(const struct json_value *row, struct mr_arena *arena)
{
    OSSL_PARAM_BLD *params = OSSL_PARAM_BLD_new();
    BIGNUM *n = NULL, *e = NULL;
    EVP_PKEY *key = NULL;
    mr_str modulus, exponent;

    if (unbase64url(member(row, "n"), arena, &modulus) &&
        unbase64url(member(row, "e"), arena, &exponent) && modulus.length >= 256 &&
        modulus.length <= 2048 && exponent.length > 0 && exponent.length <= 8) {
        n = BN_bin2bn((const unsigned char *)modulus.data, (int)modulus.length, NULL);
        e = BN_bin2bn((const unsigned char *)exponent.data, (int)exponent.length, NULL);
        OSSL_PARAM_BLD_push_BN(params, OSSL_PKEY_PARAM_RSA_N, n);
        OSSL_PARAM_BLD_push_BN(params, OSSL_PKEY_PARAM_RSA_E, e);
        key = key_of("RSA", params);
    }
    OSSL_PARAM_BLD_free(params);
    BN_free(n);
    BN_free(e);
    return key;
}

static EVP_PKEY *ec_key(const struct json_value *row, struct mr_arena *arena)
{
    mr_str curve = member(row, "crv"), x, y;
    bool large = mr_str_equal(curve, MR_STR("P-384"));
    size_t bytes = large ? 48 : 32;
    uint8_t point[97] = {4};
    OSSL_PARAM_BLD *params;
    EVP_PKEY *key;

    if ((!large && !mr_str_equal(curve, MR_STR("P-256"))) ||
        !unbase64url(member(row, "x"), arena, &x) || !unbase64url(member(row, "y"), arena, &y) ||
        x.length != bytes || y.length != bytes)
        return NULL;
    memcpy(point + 1, x.data, bytes);
    memcpy(point + 1 + bytes, y.data, bytes);
    params = OSSL_PARAM_BLD_new();
    OSSL_PARAM_BLD_push_utf8_string(params, OSSL_PKEY_PARAM_GROUP_NAME, large ? "P-384" : "P-256",
                                    0);
    OSSL_PARAM_BLD_push_octet_string(params, OSSL_PKEY_PARAM_PUB_KEY, point, 1 + 2 * bytes);
    key = key_of("EC", params);
    OSSL_PARAM_BLD_free(params);
    return key;
}

static void key_add(struct broker_token_keys *keys, EVP_PKEY *key, mr_str id)
{
    if (key != NULL)
        *mr_array_add(&keys->rows) = (struct token_key){key,
                                                        id.length == 0 ? NULL : mr_copy_cstr(id)};
}

static mr_err jwks_read(struct broker_token_keys *keys, struct mr_arena *arena, mr_str text)
{
    const struct json_value *root, *row;
    mr_err err = json_parse(arena, text, &root);

    if (err != MR_OK)
        return err;
    for (uint32_t i = 0; (row = json_at(json_get(root, MR_STR("keys")), i)) != NULL; i++) {
        if (mr_str_equal(member(row, "use"), MR_STR("enc")))
            continue;
        if (mr_str_equal(member(row, "kty"), MR_STR("RSA")))
            key_add(keys, rsa_key(row, arena), member(row, "kid"));
        else if (mr_str_equal(member(row, "kty"), MR_STR("EC")))
            key_add(keys, ec_key(row, arena), member(row, "kid"));
    }
    return MR_OK;
}

static void pem_read(struct broker_token_keys *keys, mr_str text)
{
    BIO *bio = BIO_new_mem_buf(text.data, (int)text.length);
    EVP_PKEY *key;

    while (bio != NULL && (key = PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL)) != NULL)
        key_add(keys, key, MR_STR_NULL);
    BIO_free(bio);
    ERR_clear_error();
}

mr_err broker_token_open(mr_str path, bool unsecured, struct broker_token_keys **out)
{
    struct broker_token_keys *keys = mr_new(struct broker_token_keys);
    struct mr_buf content = {0};
    struct mr_arena arena;
    mr_err err = MR_OK;

    mr_arena_init(&arena);
    keys->unsecured = unsecured;
    if (path.length > 0) {
        const char *name = mr_arena_cstr(&arena, path);
        err = mr_file_read(name, FILE_BYTES_MAX, &content);
        if (err == MR_OK && mr_str_starts(mr_str_trim(mr_buf_as_str(&content)), MR_STR("{")))
            err = jwks_read(keys, &arena, mr_buf_as_str(&content));
        else if (err == MR_OK)
            pem_read(keys, mr_buf_as_str(&content));
        if (err == MR_OK && keys->rows.count == 0)
            err = mr_fail(MR_INVALID,
                          "%s: expected a JWKS file or public keys in PEM, RSA of 2048 "
                          "bits or more or EC P-256 or P-384",
                          name);
    }
    mr_buf_fini(&content);
    mr_arena_fini(&arena);
    if (err == MR_OK)
        *out = keys;
    else
        broker_token_close(keys);
    return err;
}

void broker_token_close(struct broker_token_keys *keys)
{
    if (keys == NULL)
        return;
    for (size_t i = 0; i < keys->rows.count; i++) {
        EVP_PKEY_free(keys->rows.items[i].key);
        mr_free(keys->rows.items[i].id);
    }
    mr_array_fini(&keys->rows);
    mr_free(keys);
}

/* ---- signatures ---- */

static const struct {
    const char *name, *type;
    const EVP_MD *(*digest)(void);
    size_t half; /* bytes of one number of an EC signature */
} algorithms[] = {
    {"RS256", "RSA", EVP_sha256, 0}, {"RS384", "RSA", EVP_sha384, 0},
    {"RS512", "RSA", EVP_sha512, 0}, {"ES256", "EC", EVP_sha256, 32},
    {"ES384", "EC", EVP_sha384, 48},
};

/* JWS writes an EC signature as two numbers of fixed width; OpenSSL takes DER. */
static mr_str signature_der(mr_str signature, size_t half, struct mr_arena *arena)
{
    const unsigned char *bytes = (const unsigned char *)signature.data;
    unsigned char *der = NULL;
    ECDSA_SIG *pair;
    mr_str out = MR_STR_NULL;
    int length;

    if (signature.length != 2 * half)
        return out;
    pair = ECDSA_SIG_new();
    ECDSA_SIG_set0(pair, BN_bin2bn(bytes, (int)half, NULL),
                   BN_bin2bn(bytes + half, (int)half, NULL));
    length = i2d_ECDSA_SIG(pair, &der);
    if (length > 0)
        out = mr_arena_str(arena, mr_str_of(der, (size_t)length));
    OPENSSL_free(der);
    ECDSA_SIG_free(pair);
    return out;
}

static bool signed_by(EVP_PKEY *key, size_t algorithm, mr_str text, mr_str signature,
                      struct mr_arena *arena)
{
    EVP_MD_CTX *context;
    bool good;

    if (!EVP_PKEY_is_a(key, algorithms[algorithm].type))
        return false;
    if (algorithms[algorithm].half > 0) {
        if ((size_t)(EVP_PKEY_get_bits(key) + 7) / 8 != algorithms[algorithm].half)
            return false;
        signature = signature_der(signature, algorithms[algorithm].half, arena);
    }
    context = EVP_MD_CTX_new();
    good = signature.length > 0 &&
           EVP_DigestVerifyInit(context, NULL, algorithms[algorithm].digest(), NULL, key) == 1 &&
           EVP_DigestVerify(context, (const unsigned char *)signature.data, signature.length,
                            (const unsigned char *)text.data, text.length) == 1;
    EVP_MD_CTX_free(context);
    ERR_clear_error();
    return good;
}

static mr_err signature_check(const struct broker_token_keys *keys, const struct json_value *header,
                              mr_str text, mr_str signature, struct mr_arena *arena)
{
    mr_str name = member(header, "alg"), id = member(header, "kid");
    size_t algorithm = 0;

    if (mr_str_equal(name, MR_STR("none")))
        return keys->unsecured && signature.length == 0
                   ? MR_OK
                   : mr_fail(MR_AUTH, "the token is not signed");
    while (algorithm < mr_count_of(algorithms) &&
           !mr_str_equal(name, mr_str_from(algorithms[algorithm].name)))
        algorithm++;
    if (algorithm == mr_count_of(algorithms))
        return mr_fail(MR_AUTH,
                       "the token's algorithm \"%.*s\" is not one of RS256, RS384, RS512, "
                       "ES256, ES384",
                       MR_STR_ARG(mr_str_slice(name, 0, 20)));
    for (size_t i = 0; i < keys->rows.count; i++) {
        const struct token_key *row = &keys->rows.items[i];
        if (id.length > 0 && row->id != NULL && !mr_str_equal(id, mr_str_from(row->id)))
            continue;
        if (signed_by(row->key, algorithm, text, signature, arena))
            return MR_OK;
    }
    return mr_fail(MR_AUTH, "the token is signed by no key that is known here");
}

/* ---- claims ---- */

static bool is_for(const struct json_value *audience, mr_str wanted)
{
    const struct json_value *one;

    if (audience != NULL && audience->kind == JSON_STRING)
        return mr_str_equal(audience->text, wanted);
    for (uint32_t i = 0; (one = json_at(audience, i)) != NULL; i++)
        if (mr_str_equal(json_str(one, MR_STR_NULL), wanted))
            return true;
    return false;
}

/* A NumericDate may have a fraction; -1: none. */
static int64_t date(const struct json_value *claims, const char *name)
{
    const struct json_value *value = json_get(claims, mr_str_from(name));
    double number = -1;

    if (value == NULL || value->kind != JSON_NUMBER ||
        mr_str_to_f64(value->text, &number) != MR_OK || !(number >= 0 && number < 1e12))
        return -1;
    return (int64_t)number;
}

static mr_err claims_check(const struct json_value *claims, int64_t now_s, mr_str issuer,
                           mr_str audience, struct broker_token *out)
{
    int64_t expires = date(claims, "exp"), begins = date(claims, "nbf");
    mr_str subject = member(claims, "sub");

    if (expires < 0)
        return mr_fail(MR_AUTH, "the token has no time of expiry (exp)");
    if (expires + SKEW_S <= now_s)
        return mr_fail(MR_AUTH, "the token expired %lld s ago", (long long)(now_s - expires));
    if (begins - SKEW_S > now_s)
        return mr_fail(MR_AUTH, "the token is not valid yet (nbf)");
    if (issuer.length > 0 && !mr_str_equal(member(claims, "iss"), issuer))
        return mr_fail(MR_AUTH, "the token is another issuer's (iss)");
    if (audience.length > 0 && !is_for(json_get(claims, MR_STR("aud")), audience))
        return mr_fail(MR_AUTH, "the token is for another audience (aud)");
    if (subject.length == 0 || subject.length > 255 || mr_str_find_byte(subject, '\0') >= 0)
        return mr_fail(MR_AUTH, "the token names nobody (sub)");
    out->subject = subject;
    out->expires_s = expires;
    return MR_OK;
}

mr_err broker_token_check(const struct broker_token_keys *keys, mr_str token, int64_t now_s,
                          mr_str issuer, mr_str audience, struct mr_arena *arena,
                          struct broker_token *out)
{
    const struct json_value *header, *claims;
    mr_str rest = token, parts[3], texts[3];

    if (token.length > TOKEN_BYTES_MAX)
        return mr_fail(MR_AUTH, "the token has more than %d bytes", TOKEN_BYTES_MAX);
    for (int i = 0; i < 3; i++)
        if (!mr_str_split(&rest, '.', &parts[i]) || !unbase64url(parts[i], arena, &texts[i]))
            return mr_fail(MR_AUTH, "the token is not a JSON Web Token");
    if (rest.data != NULL || json_parse(arena, texts[0], &header) != MR_OK ||
        json_parse(arena, texts[1], &claims) != MR_OK)
        return mr_fail(MR_AUTH, "the token is not a JSON Web Token");
    mr_str text = mr_str_slice(token, 0, parts[0].length + 1 + parts[1].length);
    mr_err err = signature_check(keys, header, text, texts[2], arena);
    return err != MR_OK ? err : claims_check(claims, now_s, issuer, audience, out);
}
