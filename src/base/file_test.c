/* base/file_test.c: the promises of base/file.h. */
#include "story.h"
