/* engine/cassandra.c: hides how one value becomes CQL bytes (native_protocol_v4.spec, section 6). Whole
 * numbers go into any whole or real type that holds them; text into types that have a text form. */
#include <arpa/inet.h>

#include "engine/cassandra.h"

enum {
    COPIES = 3, /* of a keyspace that we make, where there are so many nodes */
    COPIES_MAX = 64,
};

/* ---- types ---- */
mr_err engine_cassandra_type(struct mr_arena *arena, const struct data_type *type,
                             const struct cql_type **out)
{
    static const enum cql_type_id scalars[] = {
        [DATA_NULL] = CQL_TYPE_TEXT,
        [DATA_BOOLEAN] = CQL_TYPE_BOOLEAN,
        [DATA_BYTE] = CQL_TYPE_TINYINT,
        [DATA_SHORT] = CQL_TYPE_SMALLINT,
        [DATA_INT] = CQL_TYPE_INT,
        [DATA_LONG] = CQL_TYPE_BIGINT,
        [DATA_DECIMAL] = CQL_TYPE_DECIMAL,
        [DATA_FLOAT] = CQL_TYPE_FLOAT,
        [DATA_DOUBLE] = CQL_TYPE_DOUBLE,
        [DATA_STRING] = CQL_TYPE_TEXT,
        [DATA_BINARY] = CQL_TYPE_BLOB,
        [DATA_DATE] = CQL_TYPE_DATE,
        [DATA_TIMESTAMP] = CQL_TYPE_TIMESTAMP,
        [DATA_TIMESTAMP_NTZ] = CQL_TYPE_TIMESTAMP,
    };
    const struct cql_type *key, *element;
    mr_err err;
    switch (type->kind) {
    case DATA_INTERVAL:
        return mr_fail(MR_UNSUPPORTED, "an interval has no type in CQL: cast it to a number");
    case DATA_ARRAY:
        err = engine_cassandra_type(arena, type->element, &element);
        if (err == MR_OK)
            *out = cql_type_frozen(arena, cql_type_list(arena, element));
        return err;
    case DATA_MAP:
        err = engine_cassandra_type(arena, type->key, &key);
        if (err == MR_OK)
            err = engine_cassandra_type(arena, type->element, &element);
        if (err == MR_OK)
            *out = cql_type_frozen(arena, cql_type_map(arena, key, element));
        return err;
    case DATA_STRUCT: {
        const struct cql_type **fields = mr_arena_array(arena, const struct cql_type *,
                                                        type->field_count);
        for (uint32_t i = 0; i < type->field_count; i++)
            if ((err = engine_cassandra_type(arena, type->fields[i].type, &fields[i])) != MR_OK)
                return err;
        *out = cql_type_frozen(arena, cql_type_tuple(arena, fields, type->field_count));
        return MR_OK;
    }
    case DATA_NULL:
    case DATA_BOOLEAN:
    case DATA_BYTE:
    case DATA_SHORT:
    case DATA_INT:
    case DATA_LONG:
    case DATA_DECIMAL:
    case DATA_FLOAT:
    case DATA_DOUBLE:
    case DATA_STRING:
    case DATA_BINARY:
    case DATA_DATE:
    case DATA_TIMESTAMP:
    case DATA_TIMESTAMP_NTZ:
        break;
    }
    *out = cql_type_scalar(scalars[type->kind]);
    return MR_OK;
}
/* One "name:copies", or "copies" of the data centre that is spoken with. */
static mr_err put_copies(struct mr_buf *out, mr_str word, mr_str data_center)
{
    ptrdiff_t colon = mr_str_find_byte(word, ':');
    mr_str name = colon < 0 ? data_center : mr_str_trim(mr_str_slice(word, 0, (size_t)colon));
    mr_str text = colon < 0 ? word : mr_str_slice(word, (size_t)colon + 1, word.length);
    int64_t copies;
    if (mr_str_to_i64(mr_str_trim(text), &copies) != MR_OK || copies < 1 || copies > COPIES_MAX ||
        mr_str_find_byte(name, '\'') >= 0 || name.length == 0)
        return mr_fail(MR_INVALID,
                       "replication %.*s: expected a number of copies, or DATACENTER:COPIES,...",
                       MR_STR_ARG(word));
    mr_buf_printf(out, ", '%.*s': %lld", MR_STR_ARG(name), (long long)copies);
    return MR_OK;
}
mr_err engine_cassandra_replication(struct mr_buf *out, mr_str words, mr_str data_center,
                                    size_t node_count)
{
    mr_str word;
    mr_err err = MR_OK;
    if (words.length == 0 && (node_count <= 1 || mr_str_find_byte(data_center, '\'') >= 0)) {
        mr_buf_cstr(out, "{'class': 'SimpleStrategy', 'replication_factor': 1}");
        return MR_OK;
    }
    mr_buf_cstr(out, "{'class': 'NetworkTopologyStrategy'");
    if (words.length == 0)
        mr_buf_printf(out, ", '%.*s': %zu", MR_STR_ARG(data_center),
                      node_count < COPIES ? node_count : COPIES);
    while (err == MR_OK && words.length > 0 && mr_str_split(&words, ',', &word))
        err = put_copies(out, mr_str_trim(word), data_center);
    mr_buf_u8(out, '}');
    return err;
}
/* Bits of what a kind of value may go to; in the second word, those that some values do not fit. */
#define BIT(NAME) (1ull << CQL_TYPE_##NAME)
#define WHOLE (BIT(TINYINT) | BIT(SMALLINT) | BIT(INT) | BIT(BIGINT))
#define REAL (BIT(VARINT) | BIT(DECIMAL) | BIT(DOUBLE) | BIT(FLOAT))
struct reach {
    uint64_t targets, fallible;
};
static struct reach reach_of(enum data_kind kind)
{
    switch (kind) {
    case DATA_BOOLEAN:
        return (struct reach){BIT(BOOLEAN), 0};
    case DATA_BYTE:
        return (struct reach){WHOLE | REAL, 0};
    case DATA_SHORT:
        return (struct reach){WHOLE | REAL, BIT(TINYINT)};
    case DATA_INT:
        return (struct reach){WHOLE | REAL, BIT(TINYINT) | BIT(SMALLINT)};
    case DATA_LONG:
        return (struct reach){WHOLE | REAL | BIT(TIME),
                              BIT(TINYINT) | BIT(SMALLINT) | BIT(INT) | BIT(TIME)};
    case DATA_DECIMAL:
        return (struct reach){BIT(DECIMAL), 0};
    case DATA_FLOAT:
    case DATA_DOUBLE:
        return (struct reach){BIT(FLOAT) | BIT(DOUBLE), 0};
    case DATA_STRING:
        return (struct reach){BIT(TEXT) | BIT(ASCII) | BIT(BLOB) | BIT(UUID) | BIT(TIMEUUID) |
                                  BIT(INET) | BIT(VARINT) | BIT(DECIMAL),
                              BIT(TEXT) | BIT(ASCII) | BIT(UUID) | BIT(TIMEUUID) | BIT(INET) |
                                  BIT(VARINT) | BIT(DECIMAL)};
    case DATA_BINARY:
        return (struct reach){BIT(BLOB), 0};
    case DATA_DATE:
        return (struct reach){BIT(DATE) | BIT(TIMESTAMP), 0};
    case DATA_TIMESTAMP:
    case DATA_TIMESTAMP_NTZ:
        return (struct reach){BIT(TIMESTAMP) | BIT(BIGINT), 0};
    case DATA_NULL:
        return (struct reach){~0ull, 0};
    case DATA_INTERVAL:
    case DATA_ARRAY:
    case DATA_MAP:
    case DATA_STRUCT:
        break;
    }
    return (struct reach){0, 0};
}
bool engine_cassandra_fits(const struct data_type *from, const struct cql_type *to, bool *fallible)
{
    if (to->id == CQL_TYPE_LIST && from->kind == DATA_ARRAY)
        return engine_cassandra_fits(from->element, to->args[0], fallible);
    if (to->id == CQL_TYPE_MAP && from->kind == DATA_MAP)
        return engine_cassandra_fits(from->key, to->args[0], fallible) &&
               engine_cassandra_fits(from->element, to->args[1], fallible);
    if ((to->id == CQL_TYPE_TUPLE || to->id == CQL_TYPE_UDT) && from->kind == DATA_STRUCT) {
        for (uint32_t i = 0; i < from->field_count; i++)
            if (i >= to->arg_count ||
                !engine_cassandra_fits(from->fields[i].type, to->args[i], fallible))
                return false;
        return true;
    }
    struct reach reach = reach_of(from->kind);
    if ((unsigned)to->id >= 64 || (reach.targets >> to->id & 1) == 0)
        return from->kind == DATA_NULL;
    *fallible = *fallible || (reach.fallible >> to->id & 1) != 0;
    return true;
}

/* ---- values ---- */
static bool refuse(const char **why, const char *text)
{
    *why = text;
    return false;
}
static void put_double(struct mr_buf *out, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    mr_buf_be64(out, bits);
}
static void put_float(struct mr_buf *out, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    mr_buf_be32(out, bits);
}
/* Two's complement, big endian, shortest. */
static void put_varint(struct mr_buf *out, data_decimal value)
{
    int bytes = 1;
    while (bytes < 16 && value >> (bytes * 8 - 1) != 0 && value >> (bytes * 8 - 1) != -1)
        bytes++;
    while (bytes-- > 0)
        mr_buf_u8(out, (uint8_t)(value >> (bytes * 8)));
}
static void put_decimal(struct mr_buf *out, data_decimal value, int32_t scale)
{
    mr_buf_be32(out, (uint32_t)scale);
    put_varint(out, value);
}
static bool in_range(int64_t value, int bits)
{
    int64_t limit = bits == 64 ? 0 : (int64_t)1 << (bits - 1);
    return bits == 64 || (value >= -limit && value < limit);
}
static bool put_whole(struct mr_buf *out, enum cql_type_id to, int64_t value, const char **why)
{
    int bits = to == CQL_TYPE_TINYINT    ? 8
               : to == CQL_TYPE_SMALLINT ? 16
               : to == CQL_TYPE_INT      ? 32
                                         : 64;
    if (to == CQL_TYPE_VARINT)
        put_varint(out, value);
    else if (to == CQL_TYPE_DECIMAL)
        put_decimal(out, value, 0);
    else if (to == CQL_TYPE_DOUBLE)
        put_double(out, (double)value);
    else if (to == CQL_TYPE_FLOAT)
        put_float(out, (float)value);
    else if (!in_range(value, bits))
        return refuse(why, "the number is out of the column's range");
    else if (to == CQL_TYPE_TIME && (value < 0 || value >= 86400000000000))
        return refuse(why, "the number is no time of a day in nanoseconds");
    else
        for (int shift = bits - 8; shift >= 0; shift -= 8)
            mr_buf_u8(out, (uint8_t)((uint64_t)value >> shift));
    return true;
}
static bool put_uuid(struct mr_buf *out, enum cql_type_id to, mr_str text, const char **why)
{
    mr_uuid uuid;
    if (mr_uuid_parse(text, &uuid) != MR_OK)
        return refuse(why, "the text is no uuid");
    if (to == CQL_TYPE_TIMEUUID && uuid.bytes[6] >> 4 != 1)
        return refuse(why, "the uuid is no timeuuid (version 1)");
    mr_buf_add(out, uuid.bytes, sizeof(uuid.bytes));
    return true;
}
static bool put_inet(struct mr_buf *out, mr_str text, const char **why)
{
    char copy[64];
    uint8_t address[16];
    if (text.length < sizeof(copy)) {
        memcpy(copy, text.data, text.length);
        copy[text.length] = 0;
        if (inet_pton(AF_INET, copy, address) == 1) {
            mr_buf_add(out, address, 4);
            return true;
        }
        if (inet_pton(AF_INET6, copy, address) == 1) {
            mr_buf_add(out, address, 16);
            return true;
        }
    }
    return refuse(why, "the text is no IP address");
}
static bool put_text(struct mr_buf *out, enum cql_type_id to, mr_str text, const char **why)
{
    uint8_t high = 0;
    if (to == CQL_TYPE_UUID || to == CQL_TYPE_TIMEUUID)
        return put_uuid(out, to, text, why);
    if (to == CQL_TYPE_INET)
        return put_inet(out, text, why);
    if (to == CQL_TYPE_VARINT)
        return cql_varint_parse(out, text) || refuse(why, "the text is no whole number");
    if (to == CQL_TYPE_DECIMAL)
        return cql_decimal_parse(out, text) || refuse(why, "the text is no number");
    for (size_t i = 0; i < text.length && to != CQL_TYPE_BLOB; i++)
        high |= (uint8_t)text.data[i];
    if (to == CQL_TYPE_ASCII && high >= 0x80)
        return refuse(why, "the text is not ASCII");
    if (to == CQL_TYPE_TEXT && high >= 0x80 && !mr_str_is_utf8(text))
        return refuse(why, "the text is not UTF-8");
    mr_buf_str(out, text);
    return true;
}
static int64_t floor_ms(int64_t us)
{
    return us / 1000 - (us % 1000 < 0);
}
/* A [bytes] inside a collection: length, then the value; -1 for NULL. */
static bool put_element(struct mr_buf *out, const struct cql_type *to,
                        const struct data_column *column, uint32_t row, const char **why)
{
    size_t at = out->length;
    mr_buf_be32(out, (uint32_t)-1);
    if (column->type->kind == DATA_NULL || !column->valid[row])
        return true;
    if (!engine_cassandra_value(out, to, column, row, why))
        return false;
    mr_buf_patch_be32(out, at, (uint32_t)(out->length - at - 4));
    return true;
}
static bool put_slice(struct mr_buf *out, const struct cql_type *to,
                      const struct data_column *column, uint32_t row, const char **why)
{
    uint32_t start = column->starts[row], count = column->lengths[row];
    mr_buf_be32(out, count);
    for (uint32_t i = start; i < start + count; i++) {
        const struct data_column *first = column->keys == NULL ? column->elements : column->keys;
        if (first->type->kind == DATA_NULL || !first->valid[i] ||
            (column->keys != NULL && !column->elements->valid[i]))
            return refuse(why, "NULL inside a collection");
        if (!put_element(out, to->args[0], first, i, why) ||
            (column->keys != NULL && !put_element(out, to->args[1], column->elements, i, why)))
            return false;
    }
    return true;
}
bool engine_cassandra_value(struct mr_buf *out, const struct cql_type *to,
                            const struct data_column *column, uint32_t row, const char **why)
{
    switch (column->type->kind) {
    case DATA_BOOLEAN:
        mr_buf_u8(out, column->bools[row]);
        return true;
    case DATA_BYTE:
        return put_whole(out, to->id, column->bytes[row], why);
    case DATA_SHORT:
        return put_whole(out, to->id, column->shorts[row], why);
    case DATA_INT:
        return put_whole(out, to->id, column->ints[row], why);
    case DATA_LONG:
        return put_whole(out, to->id, column->longs[row], why);
    case DATA_DECIMAL:
        put_decimal(out, column->decimals[row], column->type->scale);
        return true;
    case DATA_FLOAT:
        to->id == CQL_TYPE_FLOAT ? put_float(out, column->floats[row])
                                 : put_double(out, (double)column->floats[row]);
        return true;
    case DATA_DOUBLE:
        to->id == CQL_TYPE_FLOAT ? put_float(out, (float)column->doubles[row])
                                 : put_double(out, column->doubles[row]);
        return true;
    case DATA_STRING:
        return put_text(out, to->id, column->strs[row], why);
    case DATA_BINARY:
        mr_buf_str(out, column->strs[row]);
        return true;
    case DATA_DATE:
        to->id == CQL_TYPE_DATE ? mr_buf_be32(out, (uint32_t)column->ints[row] + 0x80000000u)
                                : mr_buf_be64(out, (uint64_t)column->ints[row] * 86400000u);
        return true;
    case DATA_TIMESTAMP:
    case DATA_TIMESTAMP_NTZ:
        mr_buf_be64(out, to->id == CQL_TYPE_BIGINT ? (uint64_t)column->longs[row]
                                                   : (uint64_t)floor_ms(column->longs[row]));
        return true;
    case DATA_ARRAY:
    case DATA_MAP:
        return put_slice(out, to, column, row, why);
    case DATA_STRUCT:
        for (uint32_t i = 0; i < column->type->field_count; i++)
            if (!put_element(out, to->args[i], column->fields[i], row, why))
                return false;
        return true;
    case DATA_NULL:
    case DATA_INTERVAL:
        break;
    }
    return refuse(why, "the type has no form in CQL");
}
