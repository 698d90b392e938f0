/* shell/shell_test.c: what people type: times, durations, client properties. */
#include "shell/room.h"
#include "shell/times.h"

#include "story.h"

static int64_t time_of(const char *text)
{
    int64_t ms = -1;
    expect_ok(shell_time_parse(mr_str_from(text), &ms));
    return ms;
}

STORY("a time is read with its zone, and UTC without one")
{
    int64_t ms;
    expect_int(time_of("1970-01-01T00:00:00"), 0);
    expect_int(time_of("2026-01-31T23:59:59.250Z"), INT64_C(1769903999250));
    expect_int(time_of("2026-01-31T23:59:59+02:00"), INT64_C(1769896799000));
    expect_int(time_of("2026-01-31T23:59:59-0130"), INT64_C(1769909399000));
    static const char *const wrong[] = {"",
                                        "2026-01-31",
                                        "2026-02-30T00:00:00",
                                        "2026-01-31T24:00:00",
                                        "2026-01-31T23:59:59.",
                                        "2026-01-31T23:59:59+",
                                        "2026-01-31T23:59:59Zz",
                                        "26-01-31T23:59:59",
                                        "2026-+1-31T23:59:59"};
    for (size_t i = 0; i < mr_count_of(wrong); i++)
        expect_err(shell_time_parse(mr_str_from(wrong[i]), &ms), MR_INVALID);
}

STORY("a duration has its parts in their order")
{
    int64_t ms;
    expect_ok(shell_duration_parse(MR_STR("P1DT2H3M4S"), &ms));
    expect_int(ms, INT64_C(93784000));
    expect_ok(shell_duration_parse(MR_STR("PT90M"), &ms));
    expect_int(ms, INT64_C(5400000));
    static const char *const wrong[] = {"",       "P",   "PT",   "1D",    "PT1H2",
                                        "PT2M1H", "P1H", "PT1D", "PT-1H", "P1DT"};
    for (size_t i = 0; i < mr_count_of(wrong); i++)
        expect_err(shell_duration_parse(mr_str_from(wrong[i]), &ms), MR_INVALID);
}

STORY("Kafka's client properties say who comes in, and how")
{
    struct mr_arena arena;
    struct kafka_security security;
    mr_arena_init(&arena);
    expect_ok(shell_properties_read(&arena, "a", MR_STR("# nothing\nclient.id=x\n"), &security));
    expect(!security.tls);
    expect_int(security.mechanism.length, 0);
    expect_ok(shell_properties_read(
        &arena, "a",
        MR_STR(
            "security.protocol = SASL_SSL\nsasl.mechanism=SCRAM-SHA-512\r\n"
            "sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required "
            "username=\"ada\" "
            "password=\"a b;=c\";\nssl.truststore.type=PEM\nssl.truststore.location=/etc/ca.pem\n"),
        &security));
    expect(security.tls);
    expect_str(security.mechanism, MR_STR("SCRAM-SHA-512"));
    expect_str(security.user, MR_STR("ada"));
    expect_str(security.password, MR_STR("a b;=c"));
    expect_str(security.files.ca, MR_STR("/etc/ca.pem"));
    expect_err(
        shell_properties_read(&arena, "a", MR_STR("security.protocol=SASL_PLAINTEXT\n"), &security),
        MR_INVALID);
    expect_err(shell_properties_read(&arena, "a", MR_STR("security.protocol=ROT13\n"), &security),
               MR_INVALID);
    expect_err(shell_properties_read(
                   &arena, "a", MR_STR("security.protocol=SSL\nssl.truststore.location=a.jks\n"),
                   &security),
               MR_UNSUPPORTED);
    mr_arena_fini(&arena);
}
