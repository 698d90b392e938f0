/* capture/position.c: positions in the write-ahead log, and the arithmetic of who has seen what. */
#include "capture/position.h"

#include <stdio.h>

#include "json/json.h"

/* ---- log sequence numbers ---- */
void capture_position_lsn_print(uint64_t lsn, char out[CAPTURE_LSN_TEXT])
{
    snprintf(out, CAPTURE_LSN_TEXT, "%X/%X", (unsigned)(lsn >> 32), (unsigned)lsn);
}

static bool take_hex(mr_str text, uint64_t *out)
{
    uint64_t value = 0;
    if (text.length == 0 || text.length > 8)
        return false;
    for (size_t i = 0; i < text.length; i++) {
        int digit = mr_hex_digit(text.data[i]);
        if (digit < 0)
            return false;
        value = value << 4 | (unsigned)digit;
    }
    *out = value;
    return true;
}

mr_err capture_position_lsn_parse(mr_str text, uint64_t *out)
{
    ptrdiff_t slash = mr_str_find_byte(text, '/');
    uint64_t high = 0, low = 0;
    if (slash < 0 || !take_hex(mr_str_slice(text, 0, (size_t)slash), &high) ||
        !take_hex(mr_str_slice(text, (size_t)slash + 1, text.length), &low))
        return mr_fail(MR_INVALID, "expected a place in the log as 16/B374D848, found %.*s",
                       MR_STR_ARG(text));
    *out = high << 32 | low;
    return MR_OK;
}

/* ---- who has seen what ---- */
mr_err capture_position_visible_parse(struct mr_arena *arena, mr_str text,
                                      struct capture_visible *out)
{
    mr_str rest = text, xmin = MR_STR_NULL, xmax = MR_STR_NULL, running = MR_STR_NULL, part;
    struct capture_visible visible = {0};
    bool good = mr_str_split(&rest, ':', &xmin) && mr_str_split(&rest, ':', &xmax) &&
                mr_str_to_u64(xmin, &visible.xmin) == MR_OK &&
                mr_str_to_u64(xmax, &visible.xmax) == MR_OK;
    if (good)
        mr_str_split(&rest, ':', &running);
    uint64_t *xids = mr_arena_array(arena, uint64_t, text.length / 2 + 1);
    while (good && running.length > 0 && mr_str_split(&running, ',', &part))
        good = mr_str_to_u64(part, &xids[visible.running_count++]) == MR_OK;
    if (!good)
        return mr_fail(MR_CORRUPT, "expected a snapshot as 10:20:10,14, found %.*s",
                       MR_STR_ARG(text));
    visible.running = xids;
    *out = visible;
    return MR_OK;
}

uint64_t capture_position_xid(const struct capture_visible *visible, uint32_t xid)
{
    int32_t distance = (int32_t)(xid - (uint32_t)visible->xmax);
    return visible->xmax + (uint64_t)(int64_t)distance;
}

bool capture_position_sees(const struct capture_visible *visible, uint32_t xid)
{
    uint64_t full = capture_position_xid(visible, xid);
    if (full < visible->xmin)
        return true;
    if (full >= visible->xmax)
        return false;
    for (size_t i = 0; i < visible->running_count; i++)
        if (visible->running[i] == full)
            return false;
    return true;
}

void capture_position_unseen_add(struct capture_unseen *unseen, uint32_t xid)
{
    if (unseen->count > 0 && unseen->xids[unseen->count - 1] == xid)
        return;
    if ((unseen->count == 0 && !unseen->many) || (int32_t)(xid - unseen->highest) > 0)
        unseen->highest = xid;
    if (unseen->count < CAPTURE_UNSEEN_MAX && !unseen->many) {
        unseen->xids[unseen->count++] = xid;
        return;
    }
    unseen->many = true;
    unseen->count = 0;
}

bool capture_position_sees_all(const struct capture_visible *visible,
                               const struct capture_unseen *unseen)
{
    if (unseen->many)
        return capture_position_xid(visible, unseen->highest) < visible->xmin;
    for (uint32_t i = 0; i < unseen->count; i++)
        if (!capture_position_sees(visible, unseen->xids[i]))
            return false;
    return true;
}

/* ---- the position ---- */
void capture_position_print(struct mr_buf *out, const struct capture_position *position)
{
    char lsn[CAPTURE_LSN_TEXT];
    const struct capture_unseen *unseen = &position->unseen;
    capture_position_lsn_print(position->commit_lsn, lsn);
    mr_buf_printf(out, "{\"commit_lsn\":\"%s\",\"index\":%llu,\"slot\":", lsn,
                  (unsigned long long)position->index);
    mr_buf_json(out, position->slot);
    mr_buf_cstr(out, ",\"system\":");
    mr_buf_json(out, position->system);
    mr_buf_printf(out, ",\"snapshot\":{\"done\":%s,\"rows\":%llu",
                  position->snapshot_done ? "true" : "false",
                  (unsigned long long)position->snapshot_rows);
    for (uint32_t i = 0; !position->snapshot_done && i < position->key_count; i++) {
        mr_buf_cstr(out, i == 0 ? ",\"key\":[" : ",");
        mr_buf_json(out, position->snapshot_key[i]);
        if (i + 1 == position->key_count)
            mr_buf_u8(out, ']');
    }
    if (!position->snapshot_done && unseen->many)
        mr_buf_printf(out, ",\"unseen_to\":%u", unseen->highest);
    for (uint32_t i = 0; !position->snapshot_done && i < unseen->count; i++)
        mr_buf_printf(out, "%s%u%s", i == 0 ? ",\"unseen\":[" : ",", unseen->xids[i],
                      i + 1 == unseen->count ? "]" : "");
    mr_buf_cstr(out, "}}");
}

static void parse_snapshot(struct mr_arena *arena, const struct json_value *snapshot,
                           struct capture_position *out)
{
    const struct json_value *key = json_get(snapshot, MR_STR("key"));
    const struct json_value *unseen = json_get(snapshot, MR_STR("unseen"));
    int64_t highest = json_i64(json_get(snapshot, MR_STR("unseen_to")), -1);
    out->snapshot_done = json_bool(json_get(snapshot, MR_STR("done")), false);
    out->snapshot_rows = (uint64_t)json_i64(json_get(snapshot, MR_STR("rows")), 0);
    out->key_count = key == NULL ? 0 : key->count;
    out->snapshot_key = mr_arena_array(arena, mr_str, out->key_count + 1);
    for (uint32_t i = 0; i < out->key_count; i++)
        out->snapshot_key[i] = mr_arena_str(arena, json_str(json_at(key, i), MR_STR("")));
    for (uint32_t i = 0; unseen != NULL && i < unseen->count; i++)
        capture_position_unseen_add(&out->unseen, (uint32_t)json_i64(json_at(unseen, i), 0));
    if (highest >= 0) {
        out->unseen.many = true;
        out->unseen.highest = (uint32_t)highest;
    }
}

mr_err capture_position_parse(struct mr_arena *arena, mr_str text, struct capture_position *out)
{
    const struct json_value *value = NULL;
    struct capture_position position = {0};
    mr_err err = json_parse(arena, text, &value);
    if (err == MR_OK)
        err = capture_position_lsn_parse(
            json_str(json_get(value, MR_STR("commit_lsn")), MR_STR("")), &position.commit_lsn);
    int64_t index = json_i64(json_get(value, MR_STR("index")), -1);
    if (err != MR_OK || index < 0)
        return mr_fail(MR_CORRUPT,
                       "position of a capture: expected commit_lsn and index, found %.*s",
                       MR_STR_ARG(text));
    position.index = (uint64_t)index;
    position.slot = mr_arena_str(arena, json_str(json_get(value, MR_STR("slot")), MR_STR("")));
    position.system = mr_arena_str(arena, json_str(json_get(value, MR_STR("system")), MR_STR("")));
    parse_snapshot(arena, json_get(value, MR_STR("snapshot")), &position);
    *out = position;
    return MR_OK;
}

/* Transactions come in the order of their commits, each whole, again from the slot's place on. */
uint64_t capture_position_done(const struct capture_position *position, uint64_t commit_lsn)
{
    if (commit_lsn < position->commit_lsn)
        return UINT64_MAX;
    return commit_lsn == position->commit_lsn ? position->index : 0;
}
