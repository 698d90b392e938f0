#include "capture/pgoutput.h"
#include "story.h"

static struct mr_arena arena;

/* The n-th message (from 0) of what a real server sent. */
static struct capture_message captured(int n)
{
    mr_str rest = story_data("wire/pgoutput-v1.hex"), line = MR_STR_NULL;
    struct capture_message message;
    for (int i = -1; i < n && mr_str_split(&rest, '\n', &line);)
        i += line.length > 0 && line.data[0] != '#';
    struct mr_bytes *bytes = story_hex(line);
    expect_ok(capture_pgoutput_read(mr_str_of(bytes->data, bytes->length), &arena, &message));
    return message;
}

STORY(
    "a transaction begins with its commit's place, time and number, and ends with the place behind")
{
    struct capture_message message = captured(0);
    expect_int(message.kind, 'B');
    expect_int(message.lsn, 0x154a240);
    expect_int(message.xid, 0x2da);
    expect(message.time_us > INT64_C(1700000000000000));
    message = captured(5);
    expect_int(message.kind, 'C');
    expect_int(message.lsn, 0x154a240);
    expect_int(message.end_lsn, 0x154a270);
}

STORY("a message of a step tells its run")
{
    struct capture_message message = captured(1);
    expect_int(message.kind, 'M');
    expect(message.transactional);
    expect_str(message.name, MR_STR("millrace.run"));
    expect_str(message.content, MR_STR("users/7"));
    message = captured(26);
    expect(!message.transactional);
    expect_str(message.name, MR_STR("millrace.heartbeat"));
}

STORY("a relation tells its columns")
{
    struct capture_message message = captured(2);
    expect_int(message.kind, 'R');
    expect_str(message.schema, MR_STR("raw"));
    expect_str(message.name, MR_STR("users"));
    expect_int(message.identity, 'f');
    expect_int(message.column_count, 4);
    expect_str(message.columns[2].name, MR_STR("body"));
    expect_int(message.columns[2].type_oid, 3802);
    expect_int(message.columns[2].type_modifier, -1);
    expect_int(captured(28).column_count, 5);
}

STORY("an insert has a row, an update with full identity the old one too, a delete its key")
{
    struct capture_message message = captured(3);
    expect_int(message.kind, 'I');
    expect_int(message.row.count, 4);
    expect_str(message.row.values[0].text, MR_STR("1"));
    expect_str(message.row.values[2].text, MR_STR("{\"a\": 1, \"b\": \"é\"}"));
    expect_str(message.row.values[3].text, MR_STR("2026-11-21 06:26:00.123456+00"));
    message = captured(7);
    expect_int(message.kind, 'U');
    expect_int(message.old_kind, 'O');
    expect_str(message.old.values[1].text, MR_STR("k1"));
    expect_str(message.row.values[1].text, MR_STR("k1x"));
    message = captured(10);
    expect_int(message.kind, 'D');
    expect_int(message.old_kind, 'O');
    expect_int(message.row.count, 0);
}

STORY("a value stored out of line and not touched is told as such")
{
    struct capture_message message = captured(18);
    expect_int(message.kind, 'U');
    expect_int(message.old_kind, 0);
    expect_int(message.row.values[2].kind, CAPTURE_VALUE_UNCHANGED);
    expect(message.row.values[2].text.data == NULL);
    message = captured(21);
    expect_int(message.old_kind, 'K');
    expect_str(message.old.values[0].text, MR_STR("1"));
    expect_int(message.old.values[2].kind, CAPTURE_VALUE_NULL);
}

STORY("a truncate names its tables")
{
    struct capture_message message = captured(34);
    expect_int(message.kind, 'T');
    expect_int(message.relation_count, 1);
    expect_int(message.relations[0], 0x4012);
}

STORY("every message cut short anywhere is corrupt, and never read beyond its end")
{
    mr_str rest = story_data("wire/pgoutput-v1.hex"), line;
    while (mr_str_split(&rest, '\n', &line)) {
        struct capture_message message;
        if (line.length == 0 || line.data[0] == '#' || line.length > 1000)
            continue;
        struct mr_bytes *bytes = story_hex(line);
        for (size_t length = 0; length < bytes->length; length++) {
            struct mr_bytes *cut = mr_bytes_copy(bytes->data, length);
            mr_err err = capture_pgoutput_read(mr_str_of(cut->data, length), &arena, &message);
            expect(err == MR_CORRUPT || err == MR_UNSUPPORTED);
            mr_bytes_unref(cut);
        }
        mr_bytes_unref(bytes);
    }
}

STORY("a count larger than the message is refused before any memory is taken")
{
    struct capture_message message;
    static const uint8_t insert[] = {'I', 0, 0, 0, 1, 'N', 0xff, 0xff, 'n'};
    static const uint8_t truncate[] = {'T', 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 1};
    expect_err(capture_pgoutput_read(mr_str_of(insert, sizeof insert), &arena, &message),
               MR_CORRUPT);
    expect_err(capture_pgoutput_read(mr_str_of(truncate, sizeof truncate), &arena, &message),
               MR_CORRUPT);
    expect_err(capture_pgoutput_read(MR_STR("S"), &arena, &message), MR_UNSUPPORTED);
}

STORY("frames carry data and keep-alives; a status answers them")
{
    struct capture_frame frame;
    struct mr_buf out = {0};
    struct mr_bytes *bytes = story_hex(MR_STR("6b 0000000000154e218 000303c2fe458b85 01"));
    expect_err(capture_pgoutput_frame(mr_str_of(bytes->data, bytes->length - 1), &frame),
               MR_CORRUPT);
    bytes = story_hex(MR_STR("6b 000000000154e218 000303c2fe458b85 01"));
    expect_ok(capture_pgoutput_frame(mr_str_of(bytes->data, bytes->length), &frame));
    expect_int(frame.kind, 'k');
    expect_int(frame.end_lsn, 0x154e218);
    expect(frame.reply);
    bytes = story_hex(MR_STR("77 0000000000000001 0000000000000002 0000000000000003 4100"));
    expect_ok(capture_pgoutput_frame(mr_str_of(bytes->data, bytes->length), &frame));
    expect_int(frame.start_lsn, 1);
    expect_int(frame.payload.length, 2);
    capture_pgoutput_status(&out, 0x154e218, INT64_C(946684800000007));
    expect_int(out.length, 34);
    expect_int(out.data[0], 'r');
    expect_int(out.data[8], 0x18);
    expect_int(out.data[32], 7);
}
