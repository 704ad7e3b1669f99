#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "random.h"

/// DELLA's sparsification of one row (Deep et al. 2024): the element of rank r by magnitude, 0 for the smallest, equal
/// ones by index, is kept with probability `lowest + slope * r`, else set to 0. The decision for element i is that of
/// `es_random_keep_each` for element `first + i` of the stream. With `rescale`, what is kept is divided by its
/// probability. `slope` must not be negative. A row of one element is kept with probability `lowest`.
///
/// Most decisions need no exact rank: magnitudes are counted into bins, a bin's ends bound the rank, and where the
/// decision is the same at both ends it is taken. The few others are ranked exactly.
///
/// `scratch` has room for 5 n words.
void es_random_keep_by_rank(struct es_random_stream stream, uint64_t first, float *values, int64_t n, float lowest,
                            float slope, bool rescale, uint64_t *scratch);

/// The same by ranking the whole row: the slow twin, and what the other falls back to.
void es_random_keep_by_rank_exact(struct es_random_stream stream, uint64_t first, float *values, int64_t n,
                                  float lowest, float slope, bool rescale, uint64_t *scratch);
