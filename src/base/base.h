/* base/base.h: the ground floor, which every room stands on. */
#ifndef BASE_BASE_H
#define BASE_BASE_H

#include "base/buf.h"
#include "base/clock.h"
#include "base/counter.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/loop.h"
#include "base/map.h"
#include "base/memory.h"
#include "base/str.h"

#endif
