#include "schemas/schemas.h"
#include "story.h"
