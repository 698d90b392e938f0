/* base/map_test.c: the promises of base/map.h. */
#include "story.h"
