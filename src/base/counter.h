/* base/counter.h: numbers that one loop writes and any thread may read (one row of metrics.def each,
 * with labels), the limits table, and the program's log. */
#ifndef BASE_COUNTER_H
#define BASE_COUNTER_H

#include "base/str.h"

enum mr_metric {
#define METRIC(id, name, kind, help) MR_METRIC_##id,
#include "base/metrics.def"
    MR_METRIC_COUNT
};
enum {
#define LIMIT(name, value, text) MR_LIMIT_##name = (value),
#include "base/limits.def"
};

struct mr_counter;
/* The counter of this metric and label text (e.g. `stream="users_created"`, "" for none): made on
 * first use, found again afterwards, kept until the process ends. Thread: any. */
struct mr_counter *mr_counter_get(enum mr_metric metric, mr_str labels);
void mr_counter_add(struct mr_counter *counter, int64_t delta); /* Thread: any; relaxed */
void mr_counter_set(struct mr_counter *counter, int64_t value); /* Thread: any; relaxed */
int64_t mr_counter_read(const struct mr_counter *counter);      /* Thread: any */
struct mr_buf;
/* All counters in Prometheus' text format 0.0.4. Thread: any. */
void mr_counter_print(struct mr_buf *out);

/* ---- log: one line an event, to standard error unless mr_log_open() says a file ---- */
enum mr_log_level { MR_LOG_DEBUG, MR_LOG_INFO, MR_LOG_WARN, MR_LOG_ERROR };
/* `room` is a literal. Thread: any. Lines are cut at 4000 bytes; control characters are escaped. */
void mr_log(enum mr_log_level level, const char *room, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void mr_log_level_set(enum mr_log_level lowest);
mr_err mr_log_open(const char *path); /* appends from here on */

#endif
