/* net/http_test.c */
#include "story.h"
