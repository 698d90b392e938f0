/* base/hash_test.c: the promises of base/hash.h. */
#include "story.h"
