/* http/client_test.c */
#include "story.h"
