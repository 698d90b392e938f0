/* engine/position.c: hides the form of the position record. Fields are only ever added. */
#include "engine/position.h"

#include "json/json.h"

enum { PARTITIONS_MAX = 10000 };

void engine_place_init(struct engine_place *place)
{
    *place = (struct engine_place){.watermark_us = INT64_MIN};
}
void engine_place_fini(struct engine_place *place)
{
    mr_free(place->slots);
    place->slots = NULL;
    place->slot_count = 0;
}
void engine_place_copy(struct engine_place *to, const struct engine_place *from)
{
    struct engine_slot *slots = to->slots;
    if (to->slot_count != from->slot_count)
        slots = mr_realloc(slots, sizeof(*slots) * (from->slot_count + 1));
    *to = *from;
    to->slots = slots;
    if (from->slot_count > 0)
        memcpy(slots, from->slots, sizeof(*slots) * from->slot_count);
}
struct engine_slot *engine_place_slot(struct engine_place *place, int32_t partition)
{
    for (size_t i = 0; i < place->slot_count; i++)
        if (place->slots[i].partition == partition)
            return &place->slots[i];
    place->slots = mr_realloc(place->slots, sizeof(*place->slots) * (place->slot_count + 2));
    struct engine_slot *slot = &place->slots[place->slot_count++];
    *slot = (struct engine_slot){partition, -1, INT64_MIN, INT64_MIN};
    return slot;
}

int64_t engine_place_event_us(const struct engine_place *place, const bool *behind)
{
    int64_t largest = INT64_MIN, slowest = INT64_MAX;
    for (size_t i = 0; i < place->slot_count; i++) {
        int64_t event_us = place->slots[i].event_us_max;
        if (event_us > largest)
            largest = event_us;
        if (behind[i] && event_us < slowest)
            slowest = event_us;
    }
    return slowest < largest ? slowest : largest;
}

/* ---- text ---- */
static void write_time(struct mr_buf *out, const char *name, int64_t time_us)
{
    if (time_us != INT64_MIN)
        mr_buf_printf(out, ",\"%s\":%lld", name, (long long)time_us);
}
void engine_position_write(struct mr_buf *out, mr_str topic, const struct engine_place *place)
{
    const struct engine_totals *totals = &place->totals;
    mr_buf_cstr(out, "{\"version\":1,\"topic\":");
    mr_buf_json(out, topic);
    mr_buf_cstr(out, ",\"partitions\":[");
    for (size_t i = 0; i < place->slot_count; i++) {
        const struct engine_slot *slot = &place->slots[i];
        mr_buf_printf(out, "%s{\"partition\":%d,\"offset\":%lld", i == 0 ? "" : ",",
                      slot->partition, (long long)slot->offset);
        write_time(out, "time_us", slot->time_us);
        write_time(out, "event_us", slot->event_us_max);
        mr_buf_cstr(out, "}");
    }
    mr_buf_cstr(out, "]");
    write_time(out, "watermark_us", place->watermark_us);
    mr_buf_printf(out, ",\"in\":%lld,\"out\":%lld,\"rows\":%lld,\"dead\":%lld,\"late\":%lld",
                  (long long)totals->records_in, (long long)totals->records_out,
                  (long long)totals->rows, (long long)totals->dead, (long long)totals->late);
    if (place->shape != 0)
        mr_buf_printf(out, ",\"state\":\"%016llx\"", (unsigned long long)place->shape);
    mr_buf_cstr(out, "}");
}
static mr_err read_slots(const struct json_value *list, struct engine_place *place)
{
    if (list != NULL && list->count > PARTITIONS_MAX)
        return mr_fail(MR_CORRUPT, "position: expected at most %d partitions", PARTITIONS_MAX);
    for (uint32_t i = 0; list != NULL && i < list->count; i++) {
        const struct json_value *item = json_at(list, i);
        int64_t partition = json_i64(json_get(item, MR_STR("partition")), -1);
        if (partition < 0 || partition > INT32_MAX)
            return mr_fail(MR_CORRUPT, "position: expected a partition");
        struct engine_slot *slot = engine_place_slot(place, (int32_t)partition);
        slot->offset = json_i64(json_get(item, MR_STR("offset")), -1);
        slot->time_us = json_i64(json_get(item, MR_STR("time_us")), INT64_MIN);
        slot->event_us_max = json_i64(json_get(item, MR_STR("event_us")), INT64_MIN);
    }
    return MR_OK;
}
static uint64_t read_shape(mr_str text)
{
    uint64_t shape = 0;
    for (size_t i = 0; i < text.length; i++)
        shape = shape << 4 | (uint64_t)(mr_hex_digit(text.data[i]) & 15);
    return shape;
}
mr_err engine_position_read(mr_str text, mr_str topic, struct engine_place *place)
{
    struct mr_arena arena;
    const struct json_value *value = NULL;
    mr_arena_init(&arena);
    mr_err err = json_parse(&arena, text, &value);
    if (err == MR_OK && json_i64(json_get(value, MR_STR("version")), 0) != 1)
        err = mr_fail(MR_CORRUPT, "position: expected version 1");
    mr_str of = json_str(json_get(value, MR_STR("topic")), MR_STR(""));
    if (err == MR_OK && !mr_str_equal(of, topic))
        err = mr_fail(MR_CORRUPT, "position: it is of topic %.*s, the stream reads %.*s",
                      MR_STR_ARG(of), MR_STR_ARG(topic));
    if (err == MR_OK)
        err = read_slots(json_get(value, MR_STR("partitions")), place);
    if (err == MR_OK) {
        struct engine_totals *totals = &place->totals;
        place->watermark_us = json_i64(json_get(value, MR_STR("watermark_us")), INT64_MIN);
        totals->records_in = json_i64(json_get(value, MR_STR("in")), 0);
        totals->records_out = json_i64(json_get(value, MR_STR("out")), 0);
        totals->rows = json_i64(json_get(value, MR_STR("rows")), 0);
        totals->dead = json_i64(json_get(value, MR_STR("dead")), 0);
        totals->late = json_i64(json_get(value, MR_STR("late")), 0);
        place->shape = read_shape(json_str(json_get(value, MR_STR("state")), MR_STR("")));
    }
    mr_arena_fini(&arena);
    return err;
}
