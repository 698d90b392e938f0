/* kafka/compress.c: gzip, snappy in both framings, lz4 frames and zstd, behind one pair of
 * functions. Unpacked bytes grow in an arena: what a stranger says about their size is a hint at
 * most. */
#include "kafka/compress.h"

#include <lz4frame.h>
#include <snappy-c.h>
#include <zlib.h>
#include <zstd.h>

enum {
    FIRST_BYTES_MIN = 4096,
    WINDOW_BYTES = 65536,
    GUESS_RATIO = 4,       /* first guess: so many times the packed bytes */
    SNAPPY_RATIO_MAX = 64, /* no snappy block unpacks to more than this many times its bytes */
    SNAPPY_BLOCK_BYTES = 32768,
    ZSTD_LEVEL = 1, /* a log wants speed; the ratio hardly grows above */
};

/* ---- where unpacked bytes go ---- */

/* All of it in an arena; or, with `take`, piece by piece through a window that is used again. */
struct sink {
    struct mr_arena *arena;
    uint8_t *data;
    size_t length, capacity;
    kafka_compress_take *take;
    void *context;
    size_t taken, bytes_max;
};

static mr_err too_much(size_t bytes_max)
{
    return mr_fail(MR_LIMIT, "record batch: more than %zu bytes unpacked", bytes_max);
}

static mr_err sink_flush(struct sink *sink)
{
    mr_str piece = mr_str_of(sink->data, sink->length);

    sink->taken += sink->length;
    sink->length = 0;
    if (sink->taken > sink->bytes_max)
        return too_much(sink->bytes_max);
    return sink->take(sink->context, piece);
}

static mr_err window_room(struct sink *sink, size_t bytes)
{
    mr_err err = sink_flush(sink);
    if (err != MR_OK || bytes <= sink->capacity)
        return err;
    if (bytes > sink->bytes_max - sink->taken) /* a block of snappy is unpacked as a whole */
        return too_much(sink->bytes_max);
    mr_free(sink->data);
    sink->data = mr_alloc(bytes);
    sink->capacity = bytes;
    return MR_OK;
}

static mr_err sink_room(struct sink *sink, size_t bytes)
{
    if (sink->length + bytes <= sink->capacity)
        return MR_OK;
    if (sink->take != NULL)
        return window_room(sink, bytes);
    if (bytes > MR_LIMIT_RECORDS_BYTES || sink->length + bytes > MR_LIMIT_RECORDS_BYTES)
        return too_much(MR_LIMIT_RECORDS_BYTES);
    size_t capacity = sink->capacity * 2;
    if (capacity < sink->length + bytes)
        capacity = sink->length + bytes;
    if (capacity > MR_LIMIT_RECORDS_BYTES)
        capacity = MR_LIMIT_RECORDS_BYTES;
    uint8_t *data = mr_arena_alloc(sink->arena, capacity);
    if (sink->length > 0)
        memcpy(data, sink->data, sink->length);
    sink->data = data;
    sink->capacity = capacity;
    return MR_OK;
}

static mr_err corrupt(const char *codec, const char *why)
{
    return mr_fail(MR_CORRUPT, "record batch: %s: %s", codec, why);
}

/* ---- gzip ---- */

static mr_err gzip_undo(mr_str packed, struct sink *sink)
{
    mr_err err = MR_OK;
    z_stream stream = {0};
    if (inflateInit2(&stream, MAX_WBITS + 16) != Z_OK)
        return mr_fail(MR_IO, "gzip: cannot begin");
    stream.next_in = (Bytef *)(uintptr_t)packed.data;
    stream.avail_in = (uInt)packed.length;
    int status = Z_OK;
    while (err == MR_OK && (status == Z_OK || stream.avail_in > 0)) {
        if (status == Z_STREAM_END) /* members may follow each other (RFC 1952, 2.2) */
            inflateReset(&stream);
        err = sink_room(sink, sink->length == sink->capacity ? 1 : 0);
        if (err != MR_OK)
            break;
        uInt room = (uInt)(sink->capacity - sink->length);
        stream.next_out = sink->data + sink->length;
        stream.avail_out = room;
        status = inflate(&stream, Z_NO_FLUSH);
        sink->length += room - stream.avail_out;
        if (status == Z_BUF_ERROR || (status != Z_OK && status != Z_STREAM_END))
            err = corrupt("gzip", stream.msg == NULL ? "cut short" : stream.msg);
    }
    inflateEnd(&stream);
    return err;
}

static mr_err gzip_do(mr_str plain, struct mr_buf *out)
{
    z_stream stream = {0};
    if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, MAX_WBITS + 16, 8,
                     Z_DEFAULT_STRATEGY) != Z_OK)
        return mr_fail(MR_IO, "gzip: cannot begin");
    size_t room = deflateBound(&stream, plain.length);
    uint8_t *at = mr_buf_grow(out, room);
    int status = Z_BUF_ERROR;
    if (at != NULL) {
        stream.next_in = (Bytef *)(uintptr_t)plain.data;
        stream.avail_in = (uInt)plain.length;
        stream.next_out = at;
        stream.avail_out = (uInt)room;
        status = deflate(&stream, Z_FINISH);
        out->length -= stream.avail_out;
    }
    deflateEnd(&stream);
    return status == Z_STREAM_END ? MR_OK : mr_fail(MR_IO, "gzip: failed with %d", status);
}

/* ---- snappy: bare, or in the framing of Java's library (a magic, then blocks with their length)
 * ---- */

static const uint8_t xerial_magic[16] = {0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0,
                                         0,    0,   0,   1,   0,   0,   0,   1};
enum { XERIAL_NAME_BYTES = 8 };

static mr_err snappy_block_undo(mr_str block, struct sink *sink)
{
    size_t length = 0;
    if (snappy_uncompressed_length(block.data, block.length, &length) != SNAPPY_OK ||
        length > block.length * SNAPPY_RATIO_MAX)
        return corrupt("snappy", "a block with an impossible length");
    mr_err err = sink_room(sink, length);
    if (err != MR_OK)
        return err;
    if (snappy_uncompress(block.data, block.length, (char *)sink->data + sink->length, &length) !=
        SNAPPY_OK)
        return corrupt("snappy", "a block that does not unpack");
    sink->length += length;
    return MR_OK;
}

static mr_err snappy_undo(mr_str packed, struct sink *sink)
{
    if (packed.length < sizeof xerial_magic ||
        memcmp(packed.data, xerial_magic, XERIAL_NAME_BYTES) != 0)
        return snappy_block_undo(packed, sink);
    struct mr_in in = mr_in_str(packed);
    mr_err err = MR_OK;
    mr_in_take(&in, sizeof xerial_magic);
    while (err == MR_OK && mr_in_left(&in) > 0) {
        mr_str block = mr_in_take(&in, mr_in_be32(&in));
        err = in.err != MR_OK ? corrupt("snappy", "cut short") : snappy_block_undo(block, sink);
    }
    return err;
}

static mr_err snappy_do(mr_str plain, struct mr_buf *out)
{
    mr_buf_add(out, xerial_magic, sizeof xerial_magic);
    for (size_t from = 0; from < plain.length; from += SNAPPY_BLOCK_BYTES) {
        mr_str block = mr_str_slice(plain, from, from + SNAPPY_BLOCK_BYTES);
        size_t length = snappy_max_compressed_length(block.length);
        size_t start = out->length;
        mr_buf_be32(out, 0);
        uint8_t *at = mr_buf_grow(out, length);
        if (at == NULL)
            return mr_fail(out->err, "snappy: no room");
        size_t room = length;
        if (snappy_compress(block.data, block.length, (char *)at, &length) != SNAPPY_OK)
            return mr_fail(MR_IO, "snappy: a block does not pack");
        out->length -= room - length;
        mr_buf_patch_be32(out, start, (uint32_t)length);
    }
    return MR_OK;
}

/* ---- lz4 frames ---- */

static mr_err lz4_undo(mr_str packed, struct sink *sink)
{
    LZ4F_dctx *context = NULL;
    mr_err err = MR_OK;
    size_t hint = 1, from = 0;
    if (LZ4F_isError(LZ4F_createDecompressionContext(&context, LZ4F_VERSION)))
        return mr_fail(MR_IO, "lz4: cannot begin");
    while (err == MR_OK && hint != 0) {
        err = sink_room(sink, sink->length == sink->capacity ? 1 : 0);
        if (err != MR_OK)
            break;
        size_t room = sink->capacity - sink->length, taken = packed.length - from;
        size_t offered = taken;
        hint = LZ4F_decompress(context, sink->data + sink->length, &room, packed.data + from,
                               &taken, NULL);
        if (LZ4F_isError(hint))
            err = corrupt("lz4", LZ4F_getErrorName(hint));
        else if (hint != 0 && taken == 0 && room == 0 && offered == 0)
            err = corrupt("lz4", "cut short");
        sink->length += room;
        from += taken;
    }
    LZ4F_freeDecompressionContext(context);
    return err;
}

static mr_err lz4_do(mr_str plain, struct mr_buf *out)
{
    LZ4F_preferences_t how = LZ4F_INIT_PREFERENCES;
    how.frameInfo.blockSizeID = LZ4F_max64KB;
    how.frameInfo.blockMode = LZ4F_blockIndependent; /* Java's reader has no other */
    size_t room = LZ4F_compressFrameBound(plain.length, &how);
    uint8_t *at = mr_buf_grow(out, room);
    if (at == NULL)
        return mr_fail(out->err, "lz4: no room");
    size_t length = LZ4F_compressFrame(at, room, plain.data, plain.length, &how);
    if (LZ4F_isError(length))
        return mr_fail(MR_IO, "lz4: %s", LZ4F_getErrorName(length));
    out->length -= room - length;
    return MR_OK;
}

/* ---- zstd ---- */

static mr_err zstd_undo(mr_str packed, struct sink *sink)
{
    ZSTD_DStream *stream = ZSTD_createDStream();
    ZSTD_inBuffer in = {packed.data, packed.length, 0};
    mr_err err = MR_OK;
    size_t hint = 1;
    while (err == MR_OK && (hint != 0 || in.pos < in.size)) {
        err = sink_room(sink, sink->length == sink->capacity ? 1 : 0);
        if (err != MR_OK)
            break;
        ZSTD_outBuffer out = {sink->data + sink->length, sink->capacity - sink->length, 0};
        size_t before = in.pos;
        hint = ZSTD_decompressStream(stream, &out, &in);
        sink->length += out.pos;
        if (ZSTD_isError(hint))
            err = corrupt("zstd", ZSTD_getErrorName(hint));
        else if (hint != 0 && in.pos == before && out.pos == 0 && in.pos == in.size)
            err = corrupt("zstd", "cut short");
    }
    ZSTD_freeDStream(stream);
    return err;
}

static mr_err zstd_do(mr_str plain, struct mr_buf *out)
{
    size_t room = ZSTD_compressBound(plain.length);
    uint8_t *at = mr_buf_grow(out, room);
    if (at == NULL)
        return mr_fail(out->err, "zstd: no room");
    size_t length = ZSTD_compress(at, room, plain.data, plain.length, ZSTD_LEVEL);
    if (ZSTD_isError(length))
        return mr_fail(MR_IO, "zstd: %s", ZSTD_getErrorName(length));
    out->length -= room - length;
    return MR_OK;
}

/* ---- what the room sees ---- */

mr_err kafka_compress(enum kafka_codec codec, mr_str plain, struct mr_buf *out)
{
    switch (codec) {
    case KAFKA_CODEC_NONE:
        mr_buf_str(out, plain);
        return out->err;
    case KAFKA_CODEC_GZIP:
        return gzip_do(plain, out);
    case KAFKA_CODEC_SNAPPY:
        return snappy_do(plain, out);
    case KAFKA_CODEC_LZ4:
        return lz4_do(plain, out);
    case KAFKA_CODEC_ZSTD:
        return zstd_do(plain, out);
    }
    return mr_fail(MR_UNSUPPORTED, "record batch: codec %d is unknown", (int)codec);
}

static mr_err undo(int codec, mr_str packed, struct sink *sink)
{
    switch (codec) {
    case KAFKA_CODEC_GZIP:
        return gzip_undo(packed, sink);
    case KAFKA_CODEC_SNAPPY:
        return snappy_undo(packed, sink);
    case KAFKA_CODEC_LZ4:
        return lz4_undo(packed, sink);
    case KAFKA_CODEC_ZSTD:
        return zstd_undo(packed, sink);
    default:
        return mr_fail(MR_UNSUPPORTED, "record batch: codec %d is unknown", codec);
    }
}

mr_err kafka_compress_undo(int codec, mr_str packed, struct mr_arena *arena, mr_str *plain)
{
    struct sink sink = {.arena = arena};
    mr_err err = MR_OK;
    if (codec == KAFKA_CODEC_NONE) {
        *plain = packed;
        return MR_OK;
    }
    size_t guess = packed.length * GUESS_RATIO;
    guess = guess < FIRST_BYTES_MIN ? FIRST_BYTES_MIN : guess;
    err = sink_room(&sink, guess > MR_LIMIT_RECORDS_BYTES ? MR_LIMIT_RECORDS_BYTES : guess);
    if (err == MR_OK)
        err = undo(codec, packed, &sink);
    if (err == MR_OK)
        *plain = mr_str_of(sink.data, sink.length);
    return err;
}

mr_err kafka_compress_undo_by_pieces(int codec, mr_str packed, size_t bytes_max,
                                     kafka_compress_take *take, void *context)
{
    struct sink sink = {.take = take, .context = context, .bytes_max = bytes_max};
    mr_err err;
    if (codec == KAFKA_CODEC_NONE)
        return packed.length > bytes_max ? too_much(bytes_max) : take(context, packed);
    sink.capacity = WINDOW_BYTES;
    sink.data = mr_alloc(sink.capacity);
    err = undo(codec, packed, &sink);
    if (err == MR_OK)
        err = sink_flush(&sink);
    mr_free(sink.data);
    return err;
}
