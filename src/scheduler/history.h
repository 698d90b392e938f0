/* scheduler/history.h: what the scheduler keeps in the log: `_millrace_runs` (a run's record by its id,
 * compacted, and deleted after 30 days) and `_millrace_state` (a pipeline's record by its name). */
#ifndef SCHEDULER_HISTORY_H
#define SCHEDULER_HISTORY_H

#include "base/base.h"
#include "kafka/kafka.h"

struct scheduler_history;
struct scheduler_history_events {
    /* One record, oldest first, while the topics are read; `value` has no data for a deletion. */
    void (*run)(void *owner, mr_str key, mr_str value);
    void (*state)(void *owner, mr_str key, mr_str value);
    void (*ready)(void *owner); /* both topics are read to their ends */
};
/* Makes the topics when missing, and reads them; tries again until it succeeds. */
mr_err scheduler_history_open(struct mr_loop *loop, mr_str kafka,
                              const struct kafka_security *security,
                              const struct scheduler_history_events *events, void *owner,
                              struct scheduler_history **out);
/* Appends a record; `written` (may be NULL) runs once it is on disk, however long that takes. */
void scheduler_history_put_run(struct scheduler_history *history, mr_str key, mr_str value,
                               struct mr_task *written);
void scheduler_history_put_state(struct scheduler_history *history, mr_str key, mr_str value,
                                 struct mr_task *written);
/* Why it is not ready, or does not write at present; empty when all is well. */
mr_str scheduler_history_trouble(const struct scheduler_history *history);
void scheduler_history_close(struct scheduler_history *history, struct mr_task *done);

#endif
