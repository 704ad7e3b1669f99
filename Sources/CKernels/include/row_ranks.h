#pragma once
#include <stdint.h>

/// `ranks[i]` = how many of the `n` values (at most 2^31) come before `values[i]` by magnitude, the smallest first,
/// equal magnitudes in the order of their indices. A NaN has a larger magnitude than infinity. `scratch` has room for
/// `2 n` words.
///
/// Two radix passes sort by the 18 leading bits of the keys' range, insertion mends the rest; where that would take
/// more than a step per element (an outlier stretches the range), all bits are sorted by radix. The cost is
/// linear for any input.
void es_row_ranks(const float *values, int64_t n, uint32_t *ranks, uint64_t *scratch);
