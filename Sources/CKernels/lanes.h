#pragma once
#include "clones.h"

// Sixteen floats as one value, wherever they lie. Handed over by pointer: by value their place would depend on the
// instruction set.

enum { lanes = 16 };
typedef float floats __attribute__((vector_size(lanes * sizeof(float)), aligned(4), may_alias));

/// Sixteen times the same. (Added to zeros it would not be: -0 + 0 is 0.)
#define SPLAT(x) ((floats){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x})

typedef float lanes_of_8 __attribute__((vector_size(8 * sizeof(float))));
typedef float lanes_of_4 __attribute__((vector_size(4 * sizeof(float))));

/// The sum of the lanes in halves: l and l + 8, then l and l + 4, l + 2, l + 1.
ES_INLINE float sum_of_lanes(const floats *v) {
  const lanes_of_8 eight = __builtin_shufflevector(*v, *v, 0, 1, 2, 3, 4, 5, 6, 7) +
                           __builtin_shufflevector(*v, *v, 8, 9, 10, 11, 12, 13, 14, 15);
  const lanes_of_4 four =
      __builtin_shufflevector(eight, eight, 0, 1, 2, 3) + __builtin_shufflevector(eight, eight, 4, 5, 6, 7);
  return (four[0] + four[2]) + (four[1] + four[3]);
}
