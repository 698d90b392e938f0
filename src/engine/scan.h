/* engine/scan.h: records to chunks: Avro by the writer's schema or JSON, then the input's `types:`.
 * Only what the plan reads is decoded; texts are views into the records. */
#ifndef ENGINE_SCAN_H
#define ENGINE_SCAN_H

#include "avro/avro.h"
#include "engine/flow.h"

struct engine_scan;
mr_err engine_scan_new(const struct engine_bound *bound, struct engine_scan **out);
void engine_scan_free(struct engine_scan *scan); /* accepts NULL */
/* At most DATA_CHUNK_ROWS records, none with a null value, all of one writer: `writer` with its id, or
 * NULL for JSON. `values[i]` is record i's value without the frame. The records that do not decode go
 * to `outlet` and are not live in `rows`, which lives in `arena`. */
mr_err engine_scan_read(struct engine_scan *scan, const struct avro_schema *writer,
                        int32_t writer_id, struct mr_arena *arena,
                        const struct engine_record *records, const mr_str *values, uint32_t count,
                        const struct engine_outlet *outlet, struct engine_rows *rows);

#endif
