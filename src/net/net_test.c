/* net/net_test.c */
#include "story.h"
