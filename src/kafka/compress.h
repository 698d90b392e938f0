/* kafka/compress.h: the four codecs of record batches. Thread: any. */
#ifndef KAFKA_COMPRESS_H
#define KAFKA_COMPRESS_H

#include "kafka/records.h"

/* Appends `plain` packed. snappy is written in Java's (xerial) framing, lz4 as a frame of
 * independent blocks: what every client reads. Errors: MR_IO (the library refuses). */
mr_err kafka_compress(enum kafka_codec codec, mr_str plain, struct mr_buf *out);
/* Unpacks into the arena. Errors: MR_CORRUPT; MR_LIMIT above MR_LIMIT_RECORDS_BYTES;
 * MR_UNSUPPORTED. */
mr_err kafka_compress_undo(int codec, mr_str packed, struct mr_arena *arena, mr_str *plain);
/* The same in pieces, which are `take`'s until it returns; its first error ends the work. Memory: a
 * window, and what the codec looks back on (a block of snappy as a whole). MR_LIMIT above `bytes_max`. */
typedef mr_err kafka_compress_take(void *context, mr_str piece);
mr_err kafka_compress_undo_by_pieces(int codec, mr_str packed, size_t bytes_max,
                                     kafka_compress_take *take, void *context);

#endif
