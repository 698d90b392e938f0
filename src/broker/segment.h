/* broker/segment.h: one file of batches, and its sparse index. The file is batches end to end, as
 * they were received; its name is the offset of the first, 20 digits and ".log". The index says, for
 * a batch every so many bytes, its offset, its place and the largest timestamp before it; one that
 * grows too long drops every second row, so its memory is bounded. A closed segment's index lies in
 * "<base>.index" and is made anew by a scan when it is lost.
 * Thread: functions here block and run on a disk thread, except those of the index. */
#ifndef BROKER_SEGMENT_H
#define BROKER_SEGMENT_H

#include "broker/batch.h"
#include "wire/wire.h"

/* ---- the index ---- */
enum { BROKER_INDEX_ROWS_MAX = 8192 };
struct broker_index_row {
    int64_t time_before; /* largest timestamp of all batches before this one, or -1 */
    uint32_t relative;   /* first offset, less the segment's base */
    uint32_t position;
};
struct broker_index {
    MR_ARRAY(struct broker_index_row) rows;
    uint32_t interval; /* bytes between rows; doubles when the index is thinned */
};
void broker_index_init(struct broker_index *index, uint32_t interval);
void broker_index_fini(struct broker_index *index);
void broker_index_add(struct broker_index *index, uint32_t relative, uint32_t position,
                      int64_t time_before);
/* Position from which a scan finds the batch with this offset (or time): never behind it. */
uint32_t broker_index_by_offset(const struct broker_index *index, uint32_t relative);
uint32_t broker_index_by_time(const struct broker_index *index, int64_t time);
void broker_index_cut(struct broker_index *index, uint32_t position); /* drops rows at and after */
void broker_index_write(const struct broker_index *index, struct mr_buf *out);
mr_err broker_index_read(struct mr_in *in, struct broker_index *index); /* MR_CORRUPT */

/* ---- what is known of a segment ---- */
enum { BROKER_PATH_BYTES = 1024 }; /* the broker's folder has at most 500 of them */
struct broker_segment_facts {
    int64_t base;            /* its name: no batch in it is before this offset */
    int64_t end;             /* offset behind the last batch (base while empty) */
    int64_t time_max;        /* -1: no timestamp yet */
    int64_t time_max_offset; /* last offset of the batch that has it */
    int64_t made_ms;         /* wall clock when the file was made */
    uint32_t bytes;
};
void broker_segment_path(mr_str folder, int64_t base, const char *suffix,
                         char out[BROKER_PATH_BYTES]);
/* Bases of all segments in the folder, rising. The caller frees *bases. */
mr_err broker_segment_list(mr_str folder, int64_t **bases, size_t *count);

/* Called for each whole batch. Returning an error ends the scan with it. */
struct broker_segment_visit {
    mr_err (*batch)(struct broker_segment_visit *visit, const struct broker_batch *batch,
                    const uint8_t *data, uint32_t position);
};
/* Reads batches from `position` to the end of the file and checks each one's checksum and that
 * offsets rise; `facts` must tell what lies before and is brought up to date, as is `index`. Stops
 * before the first batch that is torn or wrong: facts->bytes is where, *torn the bytes behind it.
 * `contiguous`: each batch must follow the one before without a gap (never compacted). */
mr_err broker_segment_scan(int fd, const char *path, struct broker_segment_facts *facts,
                           struct broker_index *index, bool contiguous,
                           struct broker_segment_visit *visit, uint64_t *torn);
/* The sidecar of a closed segment. */
mr_err broker_segment_save(mr_str folder, const struct broker_segment_facts *facts,
                           const struct broker_index *index);
mr_err broker_segment_load(mr_str folder, int64_t base, struct broker_segment_facts *facts,
                           struct broker_index *index);
/* An open segment. With `fd_direct` (opened with O_DIRECT; -1: none) what the page cache has not is read
 * past it: a page that is read once costs more than the read. */
struct broker_segment_file {
    int fd, fd_direct;
    const char *path; /* for sentences */
};
/* Bytes of whole batches at the front of `data` that start before `until`, at most `bytes_max` but for the
 * first. */
uint32_t broker_segment_whole(const uint8_t *data, size_t length, int64_t until, size_t bytes_max);
/* Whole batches from the one that holds `offset` on, up to `limit` (a position) and `bytes_max`, at
 * least one batch; none whose first offset is >= `until`. Starts at `position`, at or before the
 * batch wanted. *next is the position behind the last batch given. The
 * caller owns out->owner; NULL: nothing there. */
mr_err broker_segment_read(const struct broker_segment_file *file, uint32_t position,
                           uint32_t limit, int64_t offset, int64_t until, size_t bytes_max,
                           struct wire_ref *out, uint32_t *next);

#endif
