/* engine/window.h: which windows a time belongs to. Pure. */
#ifndef ENGINE_WINDOW_H
#define ENGINE_WINDOW_H

#include "sql/sql.h"

/* The windows of one time, latest first: start = first, first - slide, ...; `count` of them. */
struct engine_windows {
    int64_t first, count;
};
struct engine_windows engine_window_of(const struct sql_window *window, int64_t time_us);

#endif
