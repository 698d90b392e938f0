/* broker/compact.h: compaction of topics with cleanup.policy=compact: of each key, the last value stays.
 * One log at a time, in slices on the disk threads. Thread: the loop's. */
#ifndef BROKER_COMPACT_H
#define BROKER_COMPACT_H

#include "broker/storage.h"

/* Begins the next compaction that is due, when none is under way. */
void broker_compact_round(struct broker_storage *storage);
/* Begins one for this log when there is anything to do; false: there is not. */
bool broker_compact_begin(struct broker_log *log);

#endif
