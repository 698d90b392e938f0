/* store/write.h: INSERT, UPDATE and DELETE as merge operands in a batch. Nothing is read, except for
 * conditional writes, whose caller reads the row first. */
#ifndef STORE_WRITE_H
#define STORE_WRITE_H

#include "store/db.h"
#include "store/select.h"

struct store_write_job {
    struct store_db *db;
    struct kv_batch *batch;
    struct mr_arena *arena; /* of the request */
    const struct store_plan *plan;
    const struct cql_value *values;
    int64_t timestamp_us; /* unless the statement says its own */
    int64_t now_us;
    struct store_fault *fault;
    uint64_t *sequence;       /* of list elements: rises for ever */
    struct mr_buf *key, *row; /* room to work in, kept by the caller */
    uint32_t rows;            /* out: operands put into the batch */
    bool deletes_range;       /* out: the table's readers must look for ranges from now on */
};
/* Errors: MR_INVALID with the fault; then some operands may be in the batch already, and the caller
 * drops it or keeps the statement's batch apart. */
mr_err store_write_run(struct store_write_job *job);
#endif
