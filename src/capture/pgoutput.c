/* capture/pgoutput.c: bytes of logical replication to structs. Nothing here trusts a count: each is
 * held against the bytes that are left before it meets the arena. */
#include "capture/pgoutput.h"

/* PostgreSQL counts microseconds from 2000-01-01. */
static const int64_t EPOCH_US = INT64_C(946684800000000);

/* ---- frames ---- */
mr_err capture_pgoutput_frame(mr_str bytes, struct capture_frame *out)
{
    struct mr_in in = mr_in_str(bytes);
    struct capture_frame frame = {.kind = (char)mr_in_u8(&in)};
    if (frame.kind == 'w') {
        frame.start_lsn = mr_in_be64(&in);
        frame.end_lsn = mr_in_be64(&in);
        frame.sent_us = (int64_t)(mr_in_be64(&in) + (uint64_t)EPOCH_US);
        frame.payload = mr_in_take(&in, mr_in_left(&in));
    } else if (frame.kind == 'k') {
        frame.end_lsn = mr_in_be64(&in);
        frame.sent_us = (int64_t)(mr_in_be64(&in) + (uint64_t)EPOCH_US);
        frame.reply = mr_in_u8(&in) != 0;
    } else {
        mr_in_fail(&in);
    }
    if (in.err != MR_OK)
        return mr_fail(MR_CORRUPT,
                       "replication stream: expected a data or keep-alive message, found "
                       "%zu bytes of kind 0x%02x",
                       bytes.length, (unsigned char)frame.kind);
    *out = frame;
    return MR_OK;
}

void capture_pgoutput_status(struct mr_buf *out, uint64_t lsn, int64_t now_us)
{
    mr_buf_u8(out, 'r');
    mr_buf_be64(out, lsn); /* written */
    mr_buf_be64(out, lsn); /* on disk */
    mr_buf_be64(out, lsn); /* applied */
    mr_buf_be64(out, (uint64_t)(now_us - EPOCH_US));
    mr_buf_u8(out, 0);
}

/* ---- parts ---- */
static mr_str take_text(struct mr_in *in)
{
    const uint8_t *end = memchr(in->at, 0, mr_in_left(in));
    if (in->err != MR_OK || end == NULL) {
        mr_in_fail(in);
        return MR_STR_NULL;
    }
    mr_str text = mr_in_take(in, (size_t)(end - in->at));
    mr_in_u8(in);
    return text;
}

/* A count of items of at least `bytes` each that the message can hold; else an error. */
static uint32_t take_count(struct mr_in *in, uint32_t count, size_t bytes)
{
    if (in->err == MR_OK && count > mr_in_left(in) / bytes)
        mr_in_fail(in);
    return in->err == MR_OK ? count : 0;
}

static void take_tuple(struct mr_in *in, struct mr_arena *arena, struct capture_tuple *tuple)
{
    tuple->count = (uint16_t)take_count(in, mr_in_be16(in), 1);
    tuple->values = mr_arena_alloc(arena, sizeof *tuple->values * tuple->count);
    for (uint16_t i = 0; i < tuple->count; i++) {
        struct capture_value *value = &tuple->values[i];
        value->kind = (char)mr_in_u8(in);
        value->text = MR_STR_NULL;
        if (value->kind == CAPTURE_VALUE_TEXT || value->kind == CAPTURE_VALUE_BINARY) {
            uint32_t length = mr_in_be32(in);
            value->text = mr_in_take(in, length);
        } else if (value->kind != CAPTURE_VALUE_NULL && value->kind != CAPTURE_VALUE_UNCHANGED) {
            mr_in_fail(in);
        }
    }
}

static void take_relation(struct mr_in *in, struct mr_arena *arena, struct capture_message *out)
{
    out->relation = mr_in_be32(in);
    out->schema = take_text(in);
    out->name = take_text(in);
    out->identity = (char)mr_in_u8(in);
    out->column_count = (uint16_t)take_count(in, mr_in_be16(in), 10);
    out->columns = mr_arena_array(arena, struct capture_relation_column, out->column_count);
    for (uint16_t i = 0; i < out->column_count; i++) {
        struct capture_relation_column *column = &out->columns[i];
        column->key = (mr_in_u8(in) & 1) != 0;
        column->name = take_text(in);
        column->type_oid = mr_in_be32(in);
        column->type_modifier = (int32_t)mr_in_be32(in);
    }
}

/* The tuples of an update or delete: an old one perhaps, then perhaps the new one. */
static void take_change(struct mr_in *in, struct mr_arena *arena, struct capture_message *out)
{
    out->relation = mr_in_be32(in);
    char kind = (char)mr_in_u8(in);
    if (kind == 'K' || kind == 'O') {
        out->old_kind = kind;
        take_tuple(in, arena, &out->old);
        if (out->kind == CAPTURE_MESSAGE_DELETE)
            return;
        kind = (char)mr_in_u8(in);
    }
    if (kind != 'N' || out->kind == CAPTURE_MESSAGE_DELETE) {
        mr_in_fail(in);
        return;
    }
    take_tuple(in, arena, &out->row);
}

static void take_truncate(struct mr_in *in, struct mr_arena *arena, struct capture_message *out)
{
    uint32_t count = mr_in_be32(in);
    mr_in_u8(in); /* CASCADE, RESTART IDENTITY */
    out->relation_count = take_count(in, count, 4);
    out->relations = mr_arena_array(arena, uint32_t, out->relation_count);
    for (uint32_t i = 0; i < out->relation_count; i++)
        out->relations[i] = mr_in_be32(in);
}

static void take_message(struct mr_in *in, struct capture_message *out)
{
    out->transactional = (mr_in_u8(in) & 1) != 0;
    out->lsn = mr_in_be64(in);
    out->name = take_text(in);
    uint32_t length = mr_in_be32(in);
    out->content = mr_in_take(in, length);
}

/* ---- one message ---- */
mr_err capture_pgoutput_read(mr_str bytes, struct mr_arena *arena, struct capture_message *out)
{
    struct mr_in in = mr_in_str(bytes);
    *out = (struct capture_message){.kind = (enum capture_message_kind)mr_in_u8(&in)};
    switch (out->kind) {
    case CAPTURE_MESSAGE_BEGIN:
        out->lsn = mr_in_be64(&in);
        out->time_us = (int64_t)(mr_in_be64(&in) + (uint64_t)EPOCH_US);
        out->xid = mr_in_be32(&in);
        break;
    case CAPTURE_MESSAGE_COMMIT:
        mr_in_u8(&in); /* flags, none defined */
        out->lsn = mr_in_be64(&in);
        out->end_lsn = mr_in_be64(&in);
        out->time_us = (int64_t)(mr_in_be64(&in) + (uint64_t)EPOCH_US);
        break;
    case CAPTURE_MESSAGE_ORIGIN:
        out->lsn = mr_in_be64(&in);
        out->name = take_text(&in);
        break;
    case CAPTURE_MESSAGE_RELATION:
        take_relation(&in, arena, out);
        break;
    case CAPTURE_MESSAGE_TYPE:
        out->relation = mr_in_be32(&in);
        out->schema = take_text(&in);
        out->name = take_text(&in);
        break;
    case CAPTURE_MESSAGE_INSERT:
        out->relation = mr_in_be32(&in);
        if (mr_in_u8(&in) != 'N')
            mr_in_fail(&in);
        take_tuple(&in, arena, &out->row);
        break;
    case CAPTURE_MESSAGE_UPDATE:
    case CAPTURE_MESSAGE_DELETE:
        take_change(&in, arena, out);
        break;
    case CAPTURE_MESSAGE_TRUNCATE:
        take_truncate(&in, arena, out);
        break;
    case CAPTURE_MESSAGE_MESSAGE:
        take_message(&in, out);
        break;
    default:
        return mr_fail(MR_UNSUPPORTED,
                       "pgoutput: expected a message of protocol version 1, found kind "
                       "0x%02x",
                       (unsigned)out->kind);
    }
    if (in.err != MR_OK)
        return mr_fail(MR_CORRUPT, "pgoutput: message of kind %c: expected more than its %zu bytes",
                       (char)out->kind, bytes.length);
    return MR_OK;
}
