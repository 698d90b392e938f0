/* fuzz/sasl.c: SASL's tokens at both ends. The first byte chooses who reads the rest: the server's
 * SCRAM (first and final message, parted by a zero byte), the client's, or the reader of JSON Web
 * Tokens, which takes unsigned ones here so that it reads them to the end. */
#include "broker/security.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void reads_server(enum kafka_scram_kind kind, mr_str first, mr_str final,
                         struct mr_arena *arena)
{
    struct kafka_scram scram = {0};
    struct kafka_scram_credential credential = {.kind = kind, .iterations = 4096, .salt_bytes = 8};
    struct mr_buf out = {0};
    mr_str user;

    if (kafka_scram_server_first(&scram, kind, first, arena, &user) == MR_OK) {
        kafka_scram_server_challenge(&scram, &credential, &out);
        mr_assert(kafka_scram_server_final(&scram, final, &out) != MR_OK);
    }
    mr_buf_fini(&out);
    kafka_scram_fini(&scram);
}

static void reads_client(enum kafka_scram_kind kind, mr_str first, mr_str final)
{
    static const uint8_t salted[KAFKA_SCRAM_BYTES];
    struct kafka_scram scram = {0};
    struct mr_buf out = {0}, server = {0};

    kafka_scram_client_first(&scram, kind, MR_STR("ann"), &out);
    mr_buf_printf(&server, "r=%s", scram.nonce);
    mr_buf_str(&server, first);
    if (kafka_scram_client_challenged(&scram, first) == MR_OK ||
        kafka_scram_client_challenged(&scram, mr_buf_as_str(&server)) == MR_OK) {
        kafka_scram_client_final(&scram, salted, &out);
        mr_assert(kafka_scram_client_verify(&scram, final) != MR_OK);
    }
    mr_buf_fini(&out);
    mr_buf_fini(&server);
    kafka_scram_fini(&scram);
}

static void reads_token(mr_str token, struct mr_arena *arena)
{
    struct broker_token_keys *keys;
    struct broker_token found;

    mr_assert(broker_token_open(MR_STR_NULL, true, &keys) == MR_OK);
    if (broker_token_check(keys, token, 1000, MR_STR_NULL, MR_STR_NULL, arena, &found) == MR_OK)
        mr_assert(found.subject.length > 0 && found.expires_s >= 0);
    broker_token_close(keys);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mr_in in = mr_in_of(data, size);
    uint8_t who = mr_in_u8(&in);
    mr_str rest = mr_in_take(&in, mr_in_left(&in)), first = MR_STR_NULL;
    enum kafka_scram_kind kind = who & 1 ? KAFKA_SCRAM_SHA_256 : KAFKA_SCRAM_SHA_512;
    struct mr_arena arena;

    mr_arena_init(&arena);
    if (who % 3 == 0) {
        reads_token(rest, &arena);
    } else {
        mr_str_split(&rest, '\0', &first);
        if (who % 3 == 1)
            reads_server(kind, first, rest, &arena);
        else
            reads_client(kind, first, rest);
    }
    mr_arena_fini(&arena);
    return 0;
}
