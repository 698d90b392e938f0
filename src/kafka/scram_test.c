/* kafka/scram_test.c: RFC 7677's example, and strangers at both ends. */
#include "kafka/scram.h"
#include "story.h"

static void salted_of(const struct kafka_scram *scram, const char *password,
                      uint8_t out[KAFKA_SCRAM_BYTES])
{
    const struct kafka_scram_credential *credential = &scram->credential;
    kafka_scram_salted(scram->kind, mr_str_from(password),
                       mr_str_of(credential->salt, credential->salt_bytes), credential->iterations,
                       out);
}

STORY("the example of RFC 7677 comes out to the letter")
{
    struct kafka_scram scram = {0};
    struct mr_buf first = {0}, final = {0};
    uint8_t salted[KAFKA_SCRAM_BYTES];
    kafka_scram_client_first(&scram, KAFKA_SCRAM_SHA_256, MR_STR("user"), &first);
    /* the example's nonce in place of a random one */
    strcpy(scram.nonce, "rOprNGfwEbeRWgbNEkqO");
    mr_buf_clear(&scram.message);
    mr_buf_cstr(&scram.message, "n=user,r=rOprNGfwEbeRWgbNEkqO");
    expect_ok(kafka_scram_client_challenged(
        &scram, MR_STR("r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
                       "s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")));
    salted_of(&scram, "pencil", salted);
    kafka_scram_client_final(&scram, salted, &final);
    expect_str(mr_buf_as_str(&final),
               MR_STR("c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
                      "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="));
    expect_ok(kafka_scram_client_verify(&scram,
                                        MR_STR("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")));
    expect_err(
        kafka_scram_client_verify(&scram, MR_STR("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95X4=")),
        MR_AUTH);
    expect_err(kafka_scram_client_verify(&scram, MR_STR("e=invalid-proof")), MR_AUTH);
    mr_buf_fini(&first);
    mr_buf_fini(&final);
    kafka_scram_fini(&scram);
}

/* What the server says to this password. */
static mr_err logs_in(enum kafka_scram_kind kind, const char *user, const char *right,
                      const char *tried)
{
    struct kafka_scram client = {0}, server = {0};
    struct kafka_scram_credential credential;
    struct mr_buf first = {0}, challenge = {0}, final = {0}, last = {0};
    struct mr_arena arena;
    uint8_t salted[KAFKA_SCRAM_BYTES];
    mr_str found;
    mr_arena_init(&arena);
    kafka_scram_make(&credential, kind, mr_str_from(right), 4096);
    kafka_scram_client_first(&client, kind, mr_str_from(user), &first);
    expect_ok(kafka_scram_server_first(&server, kind, mr_buf_as_str(&first), &arena, &found));
    expect_str(found, mr_str_from(user));
    kafka_scram_server_challenge(&server, &credential, &challenge);
    expect_ok(kafka_scram_client_challenged(&client, mr_buf_as_str(&challenge)));
    salted_of(&client, tried, salted);
    kafka_scram_client_final(&client, salted, &final);
    mr_err err = kafka_scram_server_final(&server, mr_buf_as_str(&final), &last);
    if (err == MR_OK)
        expect_ok(kafka_scram_client_verify(&client, mr_buf_as_str(&last)));
    expect(kafka_scram_is(&credential, mr_str_from(right)));
    expect(!kafka_scram_is(&credential, MR_STR("another")));
    mr_buf_fini(&first);
    mr_buf_fini(&challenge);
    mr_buf_fini(&final);
    mr_buf_fini(&last);
    kafka_scram_fini(&client);
    kafka_scram_fini(&server);
    mr_arena_fini(&arena);
    return err;
}

STORY("both ends agree on the right password and on nothing else")
{
    for (int kind = KAFKA_SCRAM_SHA_256; kind <= KAFKA_SCRAM_SHA_512; kind++) {
        enum kafka_scram_kind k = (enum kafka_scram_kind)kind;
        expect_ok(logs_in(k, "ann", "pencil", "pencil"));
        expect_ok(logs_in(k, "a=n,n=2C", "", ""));
        expect_ok(logs_in(k, "Jürgen", "pass,wörd=", "pass,wörd="));
        expect_err(logs_in(k, "ann", "pencil", "Pencil"), MR_AUTH);
        expect_err(logs_in(k, "ann", "pencil", ""), MR_AUTH);
    }
}

STORY("a server that is not honest is refused, and no rounds are spent on it")
{
    static const char *const wrong[] = {"",
                                        "e=other-error",
                                        "r=",
                                        "r=%s",
                                        "r=%sX",
                                        "r=%sX,s=AAAA",
                                        "r=%sX,s=AAAA,i=4095",
                                        "r=%sX,s=AAAA,i=2000000000",
                                        "r=%sX,s=AAAA,i=99999999999999999999",
                                        "r=%sX,s=,i=4096",
                                        "r=%sX,s=A*AA,i=4096",
                                        "r=X,s=AAAA,i=4096",
                                        "r=%s,s=AAAA,i=4096",
                                        "m=x,r=%sX,s=AAAA,i=4096"};
    for (size_t i = 0; i < mr_count_of(wrong); i++) {
        struct kafka_scram scram = {0};
        struct mr_buf first = {0}, answer = {0};
        kafka_scram_client_first(&scram, KAFKA_SCRAM_SHA_256, MR_STR("ann"), &first);
        for (const char *at = wrong[i]; *at != '\0'; at++) {
            if (at[0] == '%')
                mr_buf_cstr(&answer, scram.nonce);
            else if (at == wrong[i] || at[-1] != '%')
                mr_buf_u8(&answer, (uint8_t)*at);
        }
        expect_err(kafka_scram_client_challenged(&scram, mr_buf_as_str(&answer)), MR_AUTH);
        mr_buf_fini(&first);
        mr_buf_fini(&answer);
        kafka_scram_fini(&scram);
    }
}

STORY("first messages that are not SCRAM's are refused")
{
    static const char *const wrong[] = {"",
                                        "n",
                                        "n,",
                                        "n,,",
                                        "n,,n=ann",
                                        "n,,n=,r=x",
                                        "y,,n=ann,r=x",
                                        "p=tls-unique,,n=ann,r=x",
                                        "n,,n=ann,r=",
                                        "n,,n=a=n,r=x",
                                        "n,,m=x,n=ann,r=x",
                                        "n,a=bob,n=ann,r=x",
                                        "n,,n=\xff,r=x"};
    struct mr_arena arena;
    mr_str user;
    mr_arena_init(&arena);
    for (size_t i = 0; i < mr_count_of(wrong); i++) {
        struct kafka_scram scram = {0};
        expect_err(kafka_scram_server_first(&scram, KAFKA_SCRAM_SHA_256, mr_str_from(wrong[i]),
                                            &arena, &user),
                   MR_INVALID);
        kafka_scram_fini(&scram);
    }
    mr_arena_fini(&arena);
}

STORY("base64 goes there and back, and strangers' is read strictly")
{
    uint8_t bytes[64], back[64];
    size_t length = 0;
    for (size_t n = 0; n <= sizeof bytes; n++) {
        struct mr_buf text = {0};
        mr_entropy(bytes, (uint32_t)n);
        kafka_scram_base64(&text, bytes, n);
        expect_ok(kafka_scram_unbase64(mr_buf_as_str(&text), back, sizeof back, &length));
        expect_int(length, n);
        expect_int(memcmp(back, bytes, n), 0);
        mr_buf_fini(&text);
    }
    static const char *const wrong[] = {
        "A", "AA", "AAA", "A===", "AA=A", "====", "AAA*", "AAAAA==="};
    for (size_t i = 0; i < mr_count_of(wrong); i++)
        expect_err(kafka_scram_unbase64(mr_str_from(wrong[i]), back, sizeof back, &length),
                   MR_INVALID);
    expect_err(kafka_scram_unbase64(MR_STR("AAAAAAAAAAAA"), back, 3, &length), MR_LIMIT);
}
