/* base/counter_test.c: the promises of base/counter.h. */
#include "story.h"
