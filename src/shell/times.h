/* shell/times.h: times as people type them (ISO 8601), in milliseconds. Errors: MR_INVALID. Thread: any. */
#ifndef SHELL_TIMES_H
#define SHELL_TIMES_H

#include "base/base.h"

/* "2026-01-31T23:59:59", with ".123", "Z" or "+02:00" behind it; UTC when no zone is said. Since 1970. */
mr_err shell_time_parse(mr_str text, int64_t *ms);
/* "P1DT2H3M4S", parts in this order, each may be left out. */
mr_err shell_duration_parse(mr_str text, int64_t *ms);

#endif
