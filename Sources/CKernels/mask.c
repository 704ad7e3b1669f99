#include "mask.h"

#include "clones.h"

// Loops over a constant number of lanes turn into compares that yield masks where the target has them.

ES_CLONES void es_pack_mask(const float *values, int64_t n, uint64_t *bits) {
  for (int64_t start = 0; start < n; start += 64) {
    uint64_t word = 0;
    if (start + 64 <= n) {
      for (int j = 0; j < 64; j++) word |= (uint64_t)(values[start + j] != 0) << j;
    } else {
      for (int64_t j = 0; j < n - start; j++) word |= (uint64_t)(values[start + j] != 0) << j;
    }
    bits[start / 64] = word;
  }
}

ES_CLONES void es_apply_mask(float *values, int64_t n, const uint64_t *bits) {
  for (int64_t start = 0; start < n; start += 64) {
    const uint64_t word = bits[start / 64];
    if (start + 64 <= n) {
      for (int j = 0; j < 64; j++) values[start + j] = (word >> j & 1) ? values[start + j] : 0;
    } else {
      for (int64_t j = 0; j < n - start; j++) values[start + j] = (word >> j & 1) ? values[start + j] : 0;
    }
  }
}
