/* kafka/messages_test.c: every API in every version goes round; known bytes are what we make of
 * them. */
#include "kafka/acl.h"
#include "kafka/messages.h"
#include "story.h"

/* Version by version, request and response: invent, write, read, compare. */
static void goes_round(const struct wire_shape *shape, int16_t version, bool flexible,
                       uint64_t seed)
{
    struct mr_random random;
    struct mr_arena arena = {0};
    struct mr_buf buf = {0};
    mr_random_init(&random, seed);
    void *sent = mr_arena_alloc_zero(&arena, shape->bytes);
    void *got = mr_arena_alloc_zero(&arena, shape->bytes);
    wire_invent(&random, &arena, shape, version, sent);
    struct wire_out out = wire_out_of(&buf, version, flexible);
    wire_write(&out, shape, sent);
    wire_out_fini(&out);
    expect_int(buf.err, MR_OK);
    struct wire_in in = wire_in_of(mr_buf_as_str(&buf), &arena, version, flexible);
    wire_read(&in, shape, got);
    expect_ok(wire_in_finish(&in, shape));
    expect_int(mr_in_left(&in.in), 0);
    if (!wire_equal(shape, sent, got)) {
        struct mr_buf text = {0};
        wire_print(&text, shape, sent, version);
        mr_buf_cstr(&text, "\n");
        wire_print(&text, shape, got, version);
        story_fail(__FILE__, __LINE__, "%s version %d:\n%.*s", shape->name, version,
                   MR_STR_ARG(mr_buf_as_str(&text)));
    }
    mr_buf_fini(&buf);
    mr_arena_fini(&arena);
}

STORY("every request and response goes round in every version")
{
    for (size_t i = 0; i < kafka_api_count; i++) {
        const struct kafka_api *api = &kafka_api_rows[i];
        expect(kafka_api_find(api->key) == api);
        for (int16_t version = api->oldest; version <= api->newest; version++) {
            for (uint64_t seed = 0; seed < 30; seed++) {
                bool flexible = kafka_api_is_flexible(api, version);
                goes_round(api->request(), version, flexible, seed);
                goes_round(api->response(), version, flexible, seed);
            }
        }
    }
}

/* Tags rise, tagged fields are of flexible versions, and a row of a list is never of no bytes. */
static void is_sound(const struct wire_shape *shape, const struct kafka_api *api)
{
    int16_t tag = WIRE_UNTAGGED;
    for (const struct wire_field *field = shape->fields; field->name != NULL; field++) {
        expect(field->since <= field->until);
        expect(field->about[0] != '\0' && field->about[0] != '?');
        if (field->tag != WIRE_UNTAGGED) {
            expect(field->tag > tag && field->since >= api->flexible);
            tag = field->tag;
        }
        if (field->row == NULL)
            continue;
        for (int16_t version = api->oldest; version <= api->newest; version++)
            expect(field->type == &wire_type_struct || version < field->since ||
                   wire_bytes_min(field->row(), version, kafka_api_is_flexible(api, version)) > 0);
        is_sound(field->row(), api);
    }
}

STORY("the tables are sound")
{
    for (size_t i = 0; i < kafka_api_count; i++) {
        is_sound(kafka_api_rows[i].request(), &kafka_api_rows[i]);
        is_sound(kafka_api_rows[i].response(), &kafka_api_rows[i]);
    }
    expect(kafka_api_find(4) == NULL);
    expect(kafka_api_find(-1) == NULL);
}

static void expect_hex(struct mr_buf *buf, const char *hex)
{
    struct mr_bytes *bytes = story_hex(mr_str_from(hex));
    char *text = mr_alloc(buf->length * 2 + 1);
    mr_hex(buf->data, buf->length, text);
    if (buf->length != bytes->length || memcmp(buf->data, bytes->data, bytes->length) != 0)
        story_fail(__FILE__, __LINE__, "got      %s\n    expected %s", text, hex);
    mr_buf_clear(buf);
}

STORY("known requests have the bytes that the protocol says")
{
    struct mr_buf buf = {0};
    const struct kafka_api *api = kafka_api_find(KAFKA_API_api_versions);
    struct kafka_api_versions_request versions = {MR_STR("kc"), MR_STR("1.0")};
    struct wire_out out = kafka_api_out(&buf, api, 0);
    kafka_api_write_request(&out, api, 7, MR_STR("me"), &versions);
    expect_hex(&buf, "0000000c 0012 0000 00000007 0002 6d65");
    out = kafka_api_out(&buf, api, 3);
    kafka_api_write_request(&out, api, 7, MR_STR("me"), &versions);
    expect_hex(&buf, "00000015 0012 0003 00000007 0002 6d65 00 03 6b63 04 312e30 00");

    api = kafka_api_find(KAFKA_API_heartbeat);
    struct kafka_heartbeat_request heartbeat = {MR_STR("g"), 5, MR_STR("m"), MR_STR_NULL};
    out = kafka_api_out(&buf, api, 0);
    kafka_api_write_request(&out, api, 1, MR_STR_NULL, &heartbeat);
    expect_hex(&buf, "00000014 000c 0000 00000001 ffff 0001 67 00000005 0001 6d");
    out = kafka_api_out(&buf, api, 4);
    kafka_api_write_request(&out, api, 1, MR_STR_NULL, &heartbeat);
    expect_hex(&buf, "00000015 000c 0004 00000001 ffff 00 02 67 00000005 02 6d 00 00");

    api = kafka_api_find(KAFKA_API_metadata);
    struct kafka_metadata_request metadata = {.topics = {NULL, -1},
                                              .allow_auto_topic_creation = true};
    out = kafka_api_out(&buf, api, 1);
    kafka_api_write_request(&out, api, 2, MR_STR_NULL, &metadata);
    expect_hex(&buf, "0000000e 0003 0001 00000002 ffff ffffffff");
    out = kafka_api_out(&buf, api, 12);
    kafka_api_write_request(&out, api, 2, MR_STR_NULL, &metadata);
    expect_hex(&buf, "0000000f 0003 000c 00000002 ffff 00 00 01 00 00");
}

STORY("the ApiVersions response has header 0 in every version, others a flexible one")
{
    const struct kafka_api *api = kafka_api_find(KAFKA_API_api_versions);
    expect_int(kafka_api_response_header(api, 4), 0);
    expect_int(kafka_api_request_header(api, 3), 2);
    expect_int(kafka_api_response_header(kafka_api_find(KAFKA_API_fetch), 12), 1);
    expect_int(kafka_api_response_header(kafka_api_find(KAFKA_API_fetch), 11), 0);
    struct mr_buf buf = {0};
    struct kafka_api_versions_response response = {.error_code = 35,
                                                   .finalized_features_epoch = -1};
    struct wire_out out = kafka_api_out(&buf, api, 3);
    kafka_api_write_response(&out, api, 9, &response);
    expect_hex(&buf, "0000000c 00000009 0023 01 00000000 00");
}

STORY("a frame is read back: header, then body")
{
    struct mr_arena arena = {0};
    struct mr_buf buf = {0};
    const struct kafka_api *api = kafka_api_find(KAFKA_API_find_coordinator);
    mr_str keys[] = {MR_STR("a"), MR_STR("b")};
    struct kafka_find_coordinator_request request = {.key_type = 1, .coordinator_keys = {keys, 2}},
                                          got;
    struct kafka_request_header header;
    mr_str body;
    struct wire_out out = kafka_api_out(&buf, api, 4);
    kafka_api_write_request(&out, api, 77, MR_STR("us"), &request);
    mr_str frame = mr_str_slice(mr_buf_as_str(&buf), 4, buf.length);
    expect_ok(kafka_api_read_header(frame, &arena, &header, &body));
    expect_int(header.request_api_key, 10);
    expect_int(header.request_api_version, 4);
    expect_int(header.correlation_id, 77);
    expect_str(header.client_id, MR_STR("us"));
    expect_ok(kafka_api_read_request(body, &arena, api, 4, &got));
    expect(wire_equal(api->request(), &request, &got));
    mr_buf_clear(&buf);

    struct kafka_find_coordinator_coordinator one = {
        .key = MR_STR("a"), .host = MR_STR("h"), .port = 9};
    struct kafka_find_coordinator_response response = {.coordinators = {&one, 1}}, back;
    int32_t correlation = 0;
    out = kafka_api_out(&buf, api, 4);
    kafka_api_write_response(&out, api, 78, &response);
    frame = mr_str_slice(mr_buf_as_str(&buf), 4, buf.length);
    expect_ok(kafka_api_read_response(frame, &arena, api, 4, &correlation, &back));
    expect_int(correlation, 78);
    expect_int(back.coordinators.count, 1);
    expect_str(back.coordinators.items[0].host, MR_STR("h"));
    expect_err(
        kafka_api_read_response(mr_str_slice(frame, 0, 3), &arena, api, 4, &correlation, &back),
        MR_CORRUPT);
}

STORY("the words of access rules are read as they are written, and as people write them")
{
    const int8_t all = KAFKA_ACL_OP_TWO_PHASE_COMMIT;
    for (int8_t number = KAFKA_ACL_OP_ANY; number <= all; number++)
        expect_int(kafka_acl_number(KAFKA_ACL_KIND_OPERATION,
                                    mr_str_from(kafka_acl_word(KAFKA_ACL_KIND_OPERATION, number))),
                   number);
    expect_int(kafka_acl_number(KAFKA_ACL_KIND_OPERATION, MR_STR("IdempotentWrite")),
               KAFKA_ACL_OP_IDEMPOTENT_WRITE);
    expect_int(kafka_acl_number(KAFKA_ACL_KIND_RESOURCE, MR_STR("transactional_id")),
               KAFKA_ACL_TRANSACTIONAL_ID);
    expect_int(kafka_acl_number(KAFKA_ACL_KIND_PATTERN, MR_STR("prefixed")),
               KAFKA_ACL_PATTERN_PREFIXED);
    static const char *const strange[] = {"", "_", "Rea", "Reads", "Re ad", "LITERAL"};
    for (size_t i = 0; i < mr_count_of(strange); i++)
        expect_int(kafka_acl_number(KAFKA_ACL_KIND_OPERATION, mr_str_from(strange[i])), 0);
    expect(kafka_acl_is_principal(MR_STR("User:CN=ann,O=Stories")));
    expect(!kafka_acl_is_principal(MR_STR("ann")) && !kafka_acl_is_principal(MR_STR("User:")));
    expect((kafka_acl_operations(KAFKA_ACL_GROUP) & 1 << KAFKA_ACL_OP_WRITE) == 0);
}

STORY("error codes have their words and our meaning")
{
    expect_str(mr_str_from(kafka_error_name(KAFKA_ERROR_INVALID_PRODUCER_EPOCH)),
               MR_STR("INVALID_PRODUCER_EPOCH"));
    expect_int(kafka_error_to_err(KAFKA_ERROR_PRODUCER_FENCED), MR_FENCED);
    expect_int(kafka_error_to_err(KAFKA_ERROR_NONE), MR_OK);
    expect_int(kafka_error_to_err(12345), MR_IO);
    expect(kafka_error_retriable(KAFKA_ERROR_COORDINATOR_LOAD_IN_PROGRESS));
    expect_err(kafka_error_fail(KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION, "topic orders"),
               MR_NOT_FOUND);
    expect(mr_str_starts(mr_str_from(mr_why()),
                         MR_STR("topic orders: UNKNOWN_TOPIC_OR_PARTITION (3): ")));
}
