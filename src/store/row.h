/* store/row.h: a row as one value: its packed form, and how packed rows fold into one.
 *
 *   flags (1) | base timestamp (8) | [grace] | [liveness ttl, expiry] | [deletion] | cells...
 *   cell: column id | flags (1) | [timestamp - base] | [ttl, expiry] | [deleted at] | [path] | [value]
 *
 * Cells are sorted by column id, then path; a column's own deletion comes before its paths. A path is
 * an element of a list, set or map that is not frozen. Times: timestamps in microseconds, everything
 * that a clock decides in seconds since 1970. INSERT, UPDATE and DELETE are packed rows too (operands);
 * folding is commutative and associative, so their order of arrival does not matter. */
#ifndef STORE_ROW_H
#define STORE_ROW_H

#include "base/base.h"

enum store_row_flag {
    STORE_ROW_LIVE = 0x01,     /* inserted: exists even when every cell is null */
    STORE_ROW_EXPIRING = 0x02, /* that liveness has a TTL */
    STORE_ROW_DELETED = 0x04,
    STORE_ROW_GRACE = 0x08, /* holds something that a compaction may purge some day */
};
struct store_row_head {
    uint8_t flags;
    int64_t timestamp; /* of the liveness; base of the cells */
    uint32_t grace_s;  /* gc_grace_seconds when it was written */
    uint32_t ttl_s, expiry_s;
    int64_t deletion; /* cells and liveness up to this timestamp are gone */
    uint32_t deleted_at_s;
};
enum store_cell_flag {
    STORE_CELL_TIMESTAMP = 0x01, /* packed form only: differs from the base */
    STORE_CELL_EXPIRING = 0x02,
    STORE_CELL_TOMBSTONE = 0x04,
    STORE_CELL_PATH = 0x08,
    STORE_CELL_CLEARED = 0x10, /* deletion of all paths of the column up to its timestamp */
    STORE_CELL_COUNTER = 0x20, /* value: 8 bytes that add up */
};
struct store_cell {
    uint32_t column;
    uint8_t flags;
    int64_t timestamp;
    uint32_t ttl_s, expiry_s; /* expiry_s: also when a tombstone was written */
    mr_str path, value;
};

void store_row_begin(struct mr_buf *out, const struct store_row_head *head);
void store_row_cell(struct mr_buf *out, const struct store_row_head *head,
                    const struct store_cell *cell);

struct store_row_reader {
    struct store_row_head head;
    struct mr_in in;
};
/* False when it is no packed row. */
bool store_row_open(struct store_row_reader *reader, mr_str packed);
/* False at the end, or on bad bytes (reader->in.err). */
bool store_row_next(struct store_row_reader *reader, struct store_cell *cell);

/* Appends the fold of two packed rows; false when one is damaged. */
bool store_row_fold(mr_str a, mr_str b, struct mr_buf *out);
/* What a compaction makes of a whole row: 0 keep it, 1 drop it, 2 replace it by `changed`. */
int store_row_purge(mr_str packed, int64_t now_s, struct mr_buf *changed);

/* ---- deleted ranges of a partition: value of a STORE_KEY_RANGE key ---- */
struct store_range {
    int64_t timestamp;
    uint32_t deleted_at_s, grace_s;
};
void store_range_write(struct mr_buf *out, const struct store_range *range);
bool store_range_read(mr_str value, struct store_range *out);

#endif
