#include "registry/store.h"
#include "story.h"
