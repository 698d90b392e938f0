/* base/memory_test.c: the promises of base/memory.h. */
#include "story.h"
