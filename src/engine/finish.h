/* engine/finish.h: the last step of a row before the sinks: its rules, its key, and the key's text. */
#ifndef ENGINE_FINISH_H
#define ENGINE_FINISH_H

#include "engine/flow.h"

struct engine_finish;
mr_err engine_finish_new(const struct engine_bound *bound, struct engine_finish **out);
void engine_finish_free(struct engine_finish *finish); /* accepts NULL */
/* Sends rows that break a rule or have NULL in their key to the outlet's dead letters, and sets
 * rows->keys for the others (data NULL where the record's key is null and the stream names no key). */
void engine_finish_rows(struct engine_finish *finish, struct engine_rows *rows, int64_t now_us,
                        const struct engine_outlet *outlet);
/* Records with null values as rows of keys only, for a stream without aggregation: the columns of the
 * result's key from the text of the record's key, all others NULL. What is no key of the result goes to
 * the dead letters. */
void engine_finish_deletes(struct engine_finish *finish, struct mr_arena *arena,
                           const struct engine_record *records, uint32_t count,
                           const struct engine_outlet *outlet, struct engine_rows *rows);

#endif
