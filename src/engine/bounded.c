/* engine/bounded.c: a stream's operators over rows in memory, as one batch with an end: what `millrace
 * test` runs. The same scan, flow, rules and keys as a stream's; only the outlet differs. */
#include "engine/finish.h"
#include "engine/scan.h"
#include "engine/groups.h"

struct bounded {
    struct mr_arena *arena;
    const struct engine_bound *bound;
    struct engine_outlet outlet;
    struct engine_flow *flow;
    struct engine_scan *scan;
    struct engine_finish *finish;
    MR_ARRAY(mr_str) rows;
    MR_ARRAY(mr_str) dead;
    struct mr_buf text;
};
static mr_err take_rows(void *context, struct engine_rows *rows)
{
    struct bounded *self = context;
    const struct data_type *type = self->bound->row;
    engine_finish_rows(self->finish, rows, self->flow->now_us, &self->outlet);
    for (uint16_t i = 0; i < rows->chunk->row_count; i++) {
        mr_buf_clear(&self->text);
        for (uint32_t j = 0; j < type->field_count; j++) {
            mr_buf_u8(&self->text, j == 0 ? '{' : ',');
            mr_buf_json(&self->text, type->fields[j].name);
            mr_buf_u8(&self->text, ':');
            data_value_json(&self->text, rows->chunk->columns[j], rows->chunk->rows[i]);
        }
        mr_buf_u8(&self->text, '}');
        *mr_array_add(&self->rows) = mr_arena_str(self->arena, mr_buf_as_str(&self->text));
    }
    return MR_OK;
}
static void take_dead(void *context, const struct engine_rows *rows, uint32_t row,
                      const char *place, mr_str why)
{
    struct bounded *self = context;
    const struct engine_record *record = engine_rows_record(rows, row);
    struct mr_buf text = {0};
    mr_buf_printf(&text,
                  "{\"row\": %lld, \"place\": ", record == NULL ? -1 : (long long)record->offset);
    mr_buf_json(&text, mr_str_from(place));
    mr_buf_cstr(&text, ", \"reason\": ");
    mr_buf_json(&text, why);
    mr_buf_cstr(&text, "}");
    *mr_array_add(&self->dead) = mr_arena_str(self->arena, mr_buf_as_str(&text));
    mr_buf_fini(&text);
}
static mr_err push_rows(struct bounded *self, const mr_str *rows, size_t row_count)
{
    struct mr_arena chunk;
    mr_err err = MR_OK;
    mr_arena_init(&chunk);
    for (size_t at = 0; at < row_count && err == MR_OK; at += DATA_CHUNK_ROWS) {
        size_t left = row_count - at;
        uint32_t count = left < DATA_CHUNK_ROWS ? (uint32_t)left : DATA_CHUNK_ROWS;
        struct engine_record *records = mr_arena_array(&chunk, struct engine_record, count);
        struct engine_rows out;
        for (uint32_t i = 0; i < count; i++)
            records[i] = (struct engine_record){.offset = (int64_t)(at + i), .value = rows[at + i]};
        err = engine_scan_read(self->scan, NULL, -1, &chunk, records, rows + at, count,
                               &self->outlet, &out);
        if (err == MR_OK && out.chunk->row_count > 0)
            err = engine_flow_push(self->flow, &out);
        mr_arena_reset(&chunk);
    }
    mr_arena_fini(&chunk);
    return err;
}
/* The end of all input: every group comes out; without GROUP BY there is one even without rows. */
static mr_err finish(struct bounded *self)
{
    const struct sql_node *node = self->bound->aggregate;
    struct engine_group *group;
    mr_err err = MR_OK;
    if (node != NULL && node->aggregate.global && engine_groups_count(self->flow->groups) == 0) {
        err = engine_groups_find(self->flow->groups, MR_STR(""), ENGINE_NO_TIME, &group);
        if (err == MR_OK)
            engine_groups_touch(self->flow->groups, group);
    }
    if (err == MR_OK)
        err = engine_flow_end(self->flow);
    if (err != MR_OK || self->flow->groups == NULL)
        return err;
    engine_groups_settle(self->flow->groups);
    return engine_flow_begin(self->flow, self->flow->now_us, INT64_MAX);
}
mr_err engine_run_bounded(struct mr_arena *arena, const struct engine_stream_spec *spec,
                          const mr_str *rows, size_t row_count, int64_t now_us,
                          struct engine_bounded *out)
{
    struct engine_mistakes mistakes = {.arena = arena};
    struct engine_input *inputs = mr_arena_array(arena, struct engine_input, spec->input_count);
    struct engine_stream_spec json = *spec;
    struct engine_bound *bound;
    struct bounded self = {.arena = arena};
    for (size_t i = 0; i < spec->input_count; i++) {
        inputs[i] = spec->inputs[i];
        inputs[i].json = true; /* the given rows are */
    }
    json.inputs = inputs;
    mr_err err = engine_bind(arena, &json, NULL, &mistakes, &bound);
    mr_array_fini(&mistakes.list);
    if (err != MR_OK)
        return err;
    self.bound = bound;
    self.outlet = (struct engine_outlet){take_rows, take_dead, &self};
    err = engine_flow_new(bound, &self.outlet, &self.flow);
    if (err == MR_OK)
        err = engine_scan_new(bound, &self.scan);
    if (err == MR_OK)
        err = engine_finish_new(bound, &self.finish);
    if (err == MR_OK)
        err = engine_flow_begin(self.flow, now_us, ENGINE_NO_TIME);
    if (err == MR_OK)
        err = push_rows(&self, rows, row_count);
    if (err == MR_OK)
        err = finish(&self);
    *out = (struct engine_bounded){.row_count = self.rows.count, .dead_count = self.dead.count};
    out->rows = mr_arena_array(arena, mr_str, self.rows.count);
    out->dead = mr_arena_array(arena, mr_str, self.dead.count);
    for (size_t i = 0; i < self.rows.count; i++)
        out->rows[i] = self.rows.items[i];
    for (size_t i = 0; i < self.dead.count; i++)
        out->dead[i] = self.dead.items[i];
    mr_array_fini(&self.rows);
    mr_array_fini(&self.dead);
    mr_buf_fini(&self.text);
    engine_flow_free(self.flow);
    engine_scan_free(self.scan);
    engine_finish_free(self.finish);
    return err;
}
