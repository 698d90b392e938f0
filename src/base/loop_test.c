/* base/loop_test.c: the promises of base/loop.h. */
#include "story.h"
