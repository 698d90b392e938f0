/* kv/kv_test.c */
#include "story.h"
