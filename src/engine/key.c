/* engine/key.c: hides how the values of a group's key lie in bytes: one byte 0 for NULL or 1, then the
 * value, fixed width little endian, text with its length first, structs field by field. The form is kept
 * in topics, so it may only be added to. */
#include <math.h>

#include "engine/groups.h"

static void write_bits(struct mr_buf *out, data_decimal value)
{
    mr_buf_le64(out, (uint64_t)value);
    mr_buf_le64(out, (uint64_t)(value >> 64));
}
void engine_key_write(struct mr_buf *out, const struct data_column *column, uint32_t row)
{
    uint32_t single;
    uint64_t twice;
    bool valid = column->type->kind != DATA_NULL && column->valid[row];
    mr_buf_u8(out, valid);
    if (!valid)
        return;
    switch (column->type->kind) {
    case DATA_BOOLEAN:
        mr_buf_u8(out, column->bools[row]);
        break;
    case DATA_BYTE:
        mr_buf_u8(out, (uint8_t)column->bytes[row]);
        break;
    case DATA_SHORT:
        mr_buf_le16(out, (uint16_t)column->shorts[row]);
        break;
    case DATA_INT:
    case DATA_DATE:
        mr_buf_le32(out, (uint32_t)column->ints[row]);
        break;
    case DATA_LONG:
    case DATA_TIMESTAMP:
    case DATA_TIMESTAMP_NTZ:
    case DATA_INTERVAL:
        mr_buf_le64(out, (uint64_t)column->longs[row]);
        break;
    case DATA_DECIMAL:
        write_bits(out, column->decimals[row]);
        break;
    case DATA_FLOAT: {
        float value = isnan(column->floats[row]) ? NAN : column->floats[row] + 0.0f;
        memcpy(&single, &value, sizeof(single));
        mr_buf_le32(out, single);
        break;
    }
    case DATA_DOUBLE: {
        double value = isnan(column->doubles[row]) ? (double)NAN : column->doubles[row] + 0.0;
        memcpy(&twice, &value, sizeof(twice));
        mr_buf_le64(out, twice);
        break;
    }
    case DATA_STRING:
    case DATA_BINARY:
        mr_buf_uvarint(out, column->strs[row].length);
        mr_buf_str(out, column->strs[row]);
        break;
    case DATA_STRUCT:
        for (uint32_t i = 0; i < column->type->field_count; i++)
            engine_key_write(out, column->fields[i], row);
        break;
    case DATA_NULL:
    case DATA_ARRAY:
    case DATA_MAP:
        mr_assert(column->type->kind == DATA_NULL); /* engine_bind() refuses the others */
        break;
    }
}
static float read_float(struct mr_in *in)
{
    uint32_t bits = mr_in_le32(in);
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}
static double read_double(struct mr_in *in)
{
    uint64_t bits = mr_in_le64(in);
    double value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}
static mr_str read_text(struct mr_in *in, struct mr_arena *arena)
{
    uint64_t length = mr_in_uvarint(in);
    if (length > mr_in_left(in)) {
        mr_in_fail(in);
        return MR_STR("");
    }
    return mr_arena_str(arena, mr_in_take(in, (size_t)length));
}
void engine_key_read(struct mr_in *in, struct mr_arena *arena, struct data_column *column,
                     uint32_t row)
{
    if (mr_in_u8(in) == 0)
        return;
    if (column->type->kind != DATA_NULL)
        column->valid[row] = 1;
    switch (column->type->kind) {
    case DATA_BOOLEAN:
        column->bools[row] = mr_in_u8(in);
        break;
    case DATA_BYTE:
        column->bytes[row] = (int8_t)mr_in_u8(in);
        break;
    case DATA_SHORT:
        column->shorts[row] = (int16_t)mr_in_le16(in);
        break;
    case DATA_INT:
    case DATA_DATE:
        column->ints[row] = (int32_t)mr_in_le32(in);
        break;
    case DATA_LONG:
    case DATA_TIMESTAMP:
    case DATA_TIMESTAMP_NTZ:
    case DATA_INTERVAL:
        column->longs[row] = (int64_t)mr_in_le64(in);
        break;
    case DATA_DECIMAL: {
        uint64_t low = mr_in_le64(in);
        column->decimals[row] = ((data_decimal)(int64_t)mr_in_le64(in) << 64) | low;
        break;
    }
    case DATA_FLOAT:
        column->floats[row] = read_float(in);
        break;
    case DATA_DOUBLE:
        column->doubles[row] = read_double(in);
        break;
    case DATA_STRING:
    case DATA_BINARY:
        column->strs[row] = read_text(in, arena);
        break;
    case DATA_STRUCT:
        for (uint32_t i = 0; i < column->type->field_count; i++)
            engine_key_read(in, arena, column->fields[i], row);
        break;
    case DATA_NULL:
    case DATA_ARRAY:
    case DATA_MAP:
        mr_in_fail(in);
        break;
    }
}
