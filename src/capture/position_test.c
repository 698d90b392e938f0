#include "capture/position.h"
#include "story.h"

static struct mr_arena arena;

STORY("a place in the log prints and parses as PostgreSQL writes it")
{
    char text[CAPTURE_LSN_TEXT];
    uint64_t lsn = 0;
    capture_position_lsn_print(0x16B374D848, text);
    expect_str(mr_str_from(text), MR_STR("16/B374D848"));
    expect_ok(capture_position_lsn_parse(MR_STR("16/B374D848"), &lsn));
    expect_int(lsn, 0x16B374D848);
    expect_ok(capture_position_lsn_parse(MR_STR("FFFFFFFF/FFFFFFFF"), &lsn));
    expect(lsn == UINT64_MAX);
    expect_err(capture_position_lsn_parse(MR_STR("16"), &lsn), MR_INVALID);
    expect_err(capture_position_lsn_parse(MR_STR("x/1"), &lsn), MR_INVALID);
    expect_err(capture_position_lsn_parse(MR_STR("111111111/1"), &lsn), MR_INVALID);
}

STORY("what is done is told by commit and index, never by the place alone")
{
    struct capture_position position = {.commit_lsn = 100, .index = 3};
    expect(capture_position_done(&position, 99) == UINT64_MAX);
    expect_int(capture_position_done(&position, 100), 3);
    expect_int(capture_position_done(&position, 101), 0);
}

static struct capture_visible seen(const char *text)
{
    struct capture_visible visible;
    expect_ok(capture_position_visible_parse(&arena, mr_str_from(text), &visible));
    return visible;
}

STORY("a snapshot sees what had ended when it was taken")
{
    struct capture_visible visible = seen("10:20:12,14");
    expect(capture_position_sees(&visible, 9));
    expect(capture_position_sees(&visible, 10));
    expect(!capture_position_sees(&visible, 12));
    expect(capture_position_sees(&visible, 13));
    expect(!capture_position_sees(&visible, 14));
    expect(!capture_position_sees(&visible, 20));
    expect(!capture_position_sees(&visible, 21));
    visible = seen("10:10:");
    expect(capture_position_sees(&visible, 9));
    expect(!capture_position_sees(&visible, 10));
    expect_err(capture_position_visible_parse(&arena, MR_STR("10"), &visible), MR_CORRUPT);
}

STORY("transaction numbers wrap in the stream and do not in snapshots")
{
    struct capture_visible visible = seen("4294967290:4294967300:4294967295");
    expect_int(capture_position_xid(&visible, 4294967295u), 4294967295);
    expect_int(capture_position_xid(&visible, 3), 4294967299);
    expect(!capture_position_sees(&visible, 4294967295u));
    expect(capture_position_sees(&visible, 2));
    expect(!capture_position_sees(&visible, 5));
}

STORY("transactions left to the snapshot are all seen, or it is taken again")
{
    struct capture_visible visible = seen("10:20:12");
    struct capture_unseen unseen = {0};
    expect(capture_position_sees_all(&visible, &unseen));
    capture_position_unseen_add(&unseen, 11);
    capture_position_unseen_add(&unseen, 11);
    expect_int(unseen.count, 1);
    expect(capture_position_sees_all(&visible, &unseen));
    capture_position_unseen_add(&unseen, 12);
    expect(!capture_position_sees_all(&visible, &unseen));
}

STORY("too many of them are kept as their highest number, which asks for more than needed, never "
      "less")
{
    struct capture_visible visible = seen("2000:3000:");
    struct capture_unseen unseen = {0};
    for (uint32_t xid = 1; xid <= 1500; xid++)
        capture_position_unseen_add(&unseen, xid);
    expect(unseen.many);
    expect_int(unseen.highest, 1500);
    expect(capture_position_sees_all(&visible, &unseen));
    capture_position_unseen_add(&unseen, 2500);
    capture_position_unseen_add(&unseen, 7);
    expect_int(unseen.highest, 2500);
    expect(!capture_position_sees_all(&visible, &unseen));
}

static struct capture_position round_trip(const struct capture_position *position)
{
    struct capture_position back;
    struct mr_buf out = {0};
    capture_position_print(&out, position);
    expect_ok(capture_position_parse(&arena, mr_buf_as_str(&out), &back));
    return back;
}

STORY("a position goes round")
{
    mr_str key[] = {MR_STR("7"), MR_STR("it's \"x\"")};
    struct capture_position position = {.commit_lsn = 0x16B374D848,
                                        .index = 5,
                                        .slot = MR_STR("millrace_users"),
                                        .system = MR_STR("71/millrace"),
                                        .snapshot_rows = 12,
                                        .snapshot_key = key,
                                        .key_count = 2};
    capture_position_unseen_add(&position.unseen, 11);
    capture_position_unseen_add(&position.unseen, 4000000000u);
    struct capture_position back = round_trip(&position);
    expect_int(back.commit_lsn, 0x16B374D848);
    expect_int(back.index, 5);
    expect_str(back.slot, MR_STR("millrace_users"));
    expect_str(back.system, MR_STR("71/millrace"));
    expect(!back.snapshot_done);
    expect_int(back.snapshot_rows, 12);
    expect_int(back.key_count, 2);
    expect_str(back.snapshot_key[1], MR_STR("it's \"x\""));
    expect_int(back.unseen.count, 2);
    expect_int(back.unseen.xids[1], 4000000000u);

    position.snapshot_done = true;
    back = round_trip(&position);
    expect(back.snapshot_done);
    expect_int(back.key_count, 0);
}

STORY("a position that is none is refused")
{
    struct capture_position back;
    expect_err(capture_position_parse(&arena, MR_STR("{}"), &back), MR_CORRUPT);
    expect_err(capture_position_parse(&arena, MR_STR("x"), &back), MR_CORRUPT);
    expect_err(
        capture_position_parse(&arena, MR_STR("{\"commit_lsn\":\"0/1\",\"index\":-1}"), &back),
        MR_CORRUPT);
}
