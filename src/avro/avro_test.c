#include "avro/avro.h"
#include "story.h"
