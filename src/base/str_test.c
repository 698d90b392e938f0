/* base/str_test.c: the promises of base/str.h. */
#include "story.h"
