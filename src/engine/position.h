/* engine/position.h: where a stream stands: the record that each checkpoint writes to
 * `_millrace_positions` with the key `stream.<name>`, as JSON. */
#ifndef ENGINE_POSITION_H
#define ENGINE_POSITION_H

#include "base/base.h"

struct engine_totals {
    int64_t records_in, records_out, rows, dead, late;
};
struct engine_slot {
    int32_t partition;
    int64_t offset;       /* the next record to read; -1: none read yet */
    int64_t time_us;      /* the latest write time given out; INT64_MIN: none */
    int64_t event_us_max; /* the largest event time read; INT64_MIN: none */
};
struct engine_place {
    struct engine_slot *slots; /* by partition of the input */
    size_t slot_count;
    int64_t watermark_us; /* INT64_MIN: none */
    struct engine_totals totals;
    uint64_t shape; /* of the state: what the groups' bytes mean; 0: none */
};
void engine_place_init(struct engine_place *place);
void engine_place_fini(struct engine_place *place);
void engine_place_copy(struct engine_place *to, const struct engine_place *from);
/* The slot of a partition, made when missing (offset -1). */
struct engine_slot *engine_place_slot(struct engine_place *place, int32_t partition);
/* The event time that a watermark follows: the largest of all, as on Spark, whose batches take all that is
 * there. Ours are smaller: while partitions are behind (one flag a slot), it is the smallest of theirs,
 * so that one which is read first does not make the others' rows late. INT64_MIN: none yet. */
int64_t engine_place_event_us(const struct engine_place *place, const bool *behind);
void engine_position_write(struct mr_buf *out, mr_str topic, const struct engine_place *place);
/* Errors: MR_CORRUPT (not such a record, or of another topic). */
mr_err engine_position_read(mr_str text, mr_str topic, struct engine_place *place);

#endif
