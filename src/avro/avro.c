/* avro/avro.c: Avro's binary encoding by hand, and Confluent's frame. */
#include "avro/avro.h"

void avro_put_float(struct mr_buf *out, float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof bits);
    mr_buf_le32(out, bits);
}

void avro_put_double(struct mr_buf *out, double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof bits);
    mr_buf_le64(out, bits);
}

void avro_put_decimal(struct mr_buf *out, data_decimal unscaled)
{
    int bytes = 16;

    while (bytes > 1) {
        data_decimal top = unscaled >>
                           (8 * bytes - 9); /* the sign and the bit below the top byte */
        if (top != 0 && top != -1)
            break;
        bytes--;
    }
    mr_buf_varint(out, bytes);
    for (int i = bytes - 1; i >= 0; i--)
        mr_buf_u8(out, (uint8_t)(unscaled >> (8 * i)));
}

mr_err avro_take_frame(mr_str *bytes, int32_t *schema_id)
{
    struct mr_in in = mr_in_str(*bytes);

    if (bytes->length < 5 || bytes->data[0] != 0)
        return mr_fail(MR_CORRUPT,
                       "Avro record: expected the byte 0 and a schema id, found %zu bytes%s",
                       bytes->length, bytes->length < 5 ? "" : " that begin otherwise");
    (void)mr_in_u8(&in);
    *schema_id = (int32_t)mr_in_be32(&in);
    *bytes = mr_str_slice(*bytes, 5, bytes->length);
    return MR_OK;
}
