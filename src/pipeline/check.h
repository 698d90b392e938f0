/* pipeline/check.h: from a file to what the stages are started with. References between streams are
 * resolved, the SQL is bound against the schemas that are known, and every mistake gets its place. */
#ifndef PIPELINE_CHECK_H
#define PIPELINE_CHECK_H

#include "capture/capture.h"
#include "engine/engine.h"

struct pipeline;
struct pipeline_mistakes;

/* A captured table whose shape was asked from PostgreSQL; tables not named are taken for raw ones. */
struct pipeline_table {
    mr_str name; /* "schema.table" */
    const struct capture_shape *shape;
};
/* What one stream is, once checked. */
struct pipeline_planned {
    struct engine_stream_spec spec; /* of a stream with SQL; name empty for a capture */
    struct capture_shape shape;     /* of a capture */
    const struct data_type *row;    /* the columns, as the SQL of other streams sees them */
};
struct pipeline_plan {
    struct pipeline_planned *streams; /* by the index of the pipeline's stream */
    size_t *order;                    /* stream indexes, inputs before their readers */
    size_t count;
};
/* Adds what it finds to `mistakes`; MR_INVALID when there is any. All in the arena. Thread: any. */
mr_err pipeline_check(struct mr_arena *arena, struct pipeline *pipeline,
                      const struct pipeline_table *tables, size_t table_count,
                      struct pipeline_mistakes *mistakes, struct pipeline_plan **out);

/* ---- the file's own tests ---- */
struct pipeline_verdict {
    mr_str test;
    bool passed;
    mr_str text; /* what differs; empty when passed */
};
/* Runs every test of the file in memory. All in the arena. */
mr_err pipeline_run_tests(struct mr_arena *arena, const struct pipeline *pipeline,
                          const struct pipeline_plan *plan, int64_t now_us,
                          struct pipeline_verdict **out, size_t *count);

#endif
