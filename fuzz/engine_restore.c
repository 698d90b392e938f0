/* What a stream reads back from the log when it starts: positions, and the state of groups. */
#include "engine/groups.h"
#include "engine/position.h"

static void read_position(const uint8_t *data, size_t size)
{
    struct engine_place place;
    engine_place_init(&place);
    (void)engine_position_read(mr_str_of(data, size), MR_STR("t"), &place);
    engine_place_fini(&place);
}
static void read_key(const uint8_t *data, size_t size)
{
    static const struct data_field fields[] = {{{"a", 1}, &data_type_string, true},
                                               {{"b", 1}, &data_type_double, true},
                                               {{"c", 1}, &data_type_timestamp, true}};
    struct mr_arena arena;
    mr_arena_init(&arena);
    const struct data_type *type = data_type_struct(&arena, fields, 3);
    struct data_column *column = data_column_new(&arena, type, 1);
    struct mr_in in = mr_in_of(data, size);
    engine_key_read(&in, &arena, column, 0);
    if (in.err == MR_OK && mr_in_left(&in) == 0) { /* what is read whole is written the same */
        struct mr_buf back = {0};
        engine_key_write(&back, column, 0);
        in = mr_in_str(mr_buf_as_str(&back));
        engine_key_read(&in, &arena, data_column_new(&arena, type, 1), 0);
        mr_assert(in.err == MR_OK && mr_in_left(&in) == 0);
        mr_buf_fini(&back);
    }
    mr_arena_fini(&arena);
}
static void read_group(const uint8_t *data, size_t size)
{
    struct engine_groups *groups = engine_groups_new(2);
    size_t key = size > 0 ? data[0] % size : 0;
    (void)engine_groups_load(groups, mr_str_of(data, key), mr_str_of(data + key, size - key));
    (void)engine_groups_load(groups, mr_str_of(data, key), MR_STR_NULL);
    engine_groups_free(groups);
}
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    switch (data[0] % 3) {
    case 0:
        read_position(data + 1, size - 1);
        break;
    case 1:
        read_key(data + 1, size - 1);
        break;
    default:
        read_group(data + 1, size - 1);
    }
    return 0;
}
