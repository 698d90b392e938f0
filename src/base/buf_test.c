/* base/buf_test.c: the promises of base/buf.h. */
#include "story.h"
