/* fuzz/avro.c: the first line is a schema, the rest a record written with it. */
#include "avro/avro.h"

static mr_str canonical(struct mr_arena *arena, const struct avro_schema *schema)
{
    struct mr_buf out = {0};

    avro_schema_canonical(schema, &out);
    mr_str copy = mr_arena_str(arena, mr_buf_as_str(&out));
    mr_buf_fini(&out);
    return copy;
}

/* What is printed is the same schema again. */
static void print(struct mr_arena *arena, const struct avro_schema *schema)
{
    struct avro_schema *again;
    struct mr_buf out = {0};

    for (int normalize = 0; normalize < 2; normalize++) {
        mr_buf_clear(&out);
        avro_schema_print(schema, normalize != 0, &out);
        mr_err err = avro_schema_parse(mr_buf_as_str(&out), NULL, 0, &again);
        mr_assert(err == MR_OK);
        mr_assert(mr_str_equal(canonical(arena, schema), canonical(arena, again)));
        avro_schema_free(again);
    }
    mr_buf_fini(&out);
}

static void read(struct mr_arena *arena, const struct avro_schema *schema, mr_str bytes)
{
    const struct avro_node *root = avro_schema_root(schema);
    const struct data_type *type;
    struct avro_decoder *decoder = NULL;
    struct avro_encoder *encoder = NULL;
    struct mr_buf out = {.limit = 1 << 20}, text = {.limit = 1 << 20};
    bool nullable;

    (void)avro_print_json(root, bytes, &text);
    if (avro_type_of(root, arena, &type, &nullable) == MR_OK &&
        avro_decoder_new(root, type, &decoder) == MR_OK) {
        avro_decoder_begin(decoder, arena, 2);
        mr_err err = avro_decoder_read(decoder, 0, bytes);
        (void)avro_decoder_read(decoder, 1, mr_str_slice(bytes, 0, bytes.length / 2));
        struct data_column *column = avro_decoder_end(decoder);
        mr_assert(err == MR_OK || !column->valid[0]);
        data_value_print(&text, column, 0);
        data_value_json(&text, column, 1);
        if (err == MR_OK && avro_encoder_new(root, type, &encoder) == MR_OK)
            (void)avro_encoder_write(encoder, column, 0, &out);
    }
    avro_encoder_free(encoder);
    avro_decoder_free(decoder);
    mr_buf_fini(&out);
    mr_buf_fini(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
    struct mr_arena arena = {0};
    mr_str rest = length == 0 ? MR_STR("") : mr_str_of(data, length), text;
    struct avro_schema *schema;

    (void)mr_str_split(&rest, '\n', &text);
    if (avro_schema_parse(text, NULL, 0, &schema) == MR_OK) {
        (void)avro_schema_check_defaults(schema);
        print(&arena, schema);
        (void)avro_compatible(avro_schema_root(schema), avro_schema_root(schema), &arena);
        read(&arena, schema, rest.data == NULL ? MR_STR("") : rest);
        avro_schema_free(schema);
    }
    mr_arena_fini(&arena);
    return 0;
}
