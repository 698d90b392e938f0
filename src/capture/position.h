/* capture/position.h: private: where a capture stands, and which transactions a snapshot saw. */
#ifndef CAPTURE_POSITION_H
#define CAPTURE_POSITION_H

#include "base/base.h"

enum { CAPTURE_UNSEEN_MAX = 1024, CAPTURE_LSN_TEXT = 24 };

/* "16/B374D848" and back. Errors: MR_INVALID. */
void capture_position_lsn_print(uint64_t lsn, char out[CAPTURE_LSN_TEXT]);
mr_err capture_position_lsn_parse(mr_str text, uint64_t *out);

/* ---- a snapshot of PostgreSQL: "xmin:xmax:xip,xip", numbers of 64 bits ---- */
struct capture_visible {
    uint64_t xmin;           /* all below have ended */
    uint64_t xmax;           /* all from here on had not begun */
    const uint64_t *running; /* between them: not ended, ascending */
    size_t running_count;
};
mr_err capture_position_visible_parse(struct mr_arena *arena, mr_str text,
                                      struct capture_visible *out);
/* The 64-bit number of a transaction near the snapshot, of which the stream tells the lower half. */
uint64_t capture_position_xid(const struct capture_visible *visible, uint32_t xid);
/* Whether the transaction had ended when the snapshot was taken. */
bool capture_position_sees(const struct capture_visible *visible, uint32_t xid);

/* ---- transactions whose changes were left to the snapshot, and which it has to see ---- */
struct capture_unseen {
    uint32_t xids[CAPTURE_UNSEEN_MAX];
    uint32_t count;
    bool many; /* too many to list: all up to `highest` */
    uint32_t highest;
};
void capture_position_unseen_add(struct capture_unseen *unseen, uint32_t xid);
bool capture_position_sees_all(const struct capture_visible *visible,
                               const struct capture_unseen *unseen);

/* ---- the position ---- */
/* Whole transactions count by the LSN of their commits; inside of one, changes to our table count from
 * 0 and the first `index` ones are done. Stored as JSON, in the Kafka transaction of the records. */
struct capture_position {
    uint64_t commit_lsn; /* of the last transaction begun */
    uint64_t index;      /* its changes that are done */
    mr_str slot, system; /* of which slot and server this is a position */
    bool snapshot_done;
    uint64_t snapshot_rows; /* rows read so far */
    mr_str *snapshot_key;   /* texts of the last key read; key_count 0: nothing yet */
    uint32_t key_count;
    struct capture_unseen unseen;
};
void capture_position_print(struct mr_buf *out, const struct capture_position *position);
/* Everything is copied into the arena. Errors: MR_CORRUPT. */
mr_err capture_position_parse(struct mr_arena *arena, mr_str text, struct capture_position *out);
/* How many changes of a transaction are done already: UINT64_MAX for all of them. */
uint64_t capture_position_done(const struct capture_position *position, uint64_t commit_lsn);

#endif
