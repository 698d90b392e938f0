/* base/clock_test.c: the promises of base/clock.h. */
#include "story.h"
