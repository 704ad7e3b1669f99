#pragma once
// The module is what this header names; a file that is not listed is not part of it.
#include "convert.h"
#include "inspect.h"
#include "keep_by_rank.h"
#include "mask.h"
#include "merge.h"
#include "product.h"
#include "random.h"
#include "reduce.h"
#include "row_ranks.h"
#include "select.h"
