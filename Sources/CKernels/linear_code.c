#include <math.h>
#include <string.h>

#include "float_bits.h"
#include "linear.h"

#pragma STDC FP_CONTRACT OFF

enum { columns_of_all = 256, columns_of_block = 32 };

ptrdiff_t es_linear_codes_count(ptrdiff_t columns) { return (columns + columns_of_all - 1) / columns_of_all; }

/// Codes 32 numbers; their scale.
ES_INLINE float code_block(const float *x, int32_t *codes) {
  // Magnitudes are ordered as their bits are, infinity and NaN above all others.
  uint32_t bits[columns_of_block], top = 0;
  memcpy(bits, x, sizeof bits);
  for (int i = 0; i < columns_of_block; i++) {
    const uint32_t magnitude = bits[i] & 0x7fffffff;
    top = magnitude > top ? magnitude : top;
  }
  const float largest = float_of(top);
  const bool counts = top < 0x7f800000 && largest >= 0x1p-100f;
  const float inverse = counts ? 32639 / largest : 0;
  for (int i = 0; i < columns_of_block; i++) {
    // Added to 1.5 * 2^23, a number is rounded to an integer by the floating-point unit.
    const float rounded = ((counts ? x[i] : 0) * inverse + 0x1.8p23f) - 0x1.8p23f;
    const int32_t code = (int32_t)rounded;
    codes[i] = (code & 255) == 128 ? code + 1 : code;
  }
  return counts ? largest / 32639 : top < 0x7f800000 ? 0 : NAN;
}

ES_CLONES void es_linear_code(const float *x, ptrdiff_t columns, es_linear_codes *all) {
  for (; columns > 0; columns -= columns_of_all, x += columns_of_all, all++) {
    float padded[columns_of_all];
    const float *values = x;
    if (columns < columns_of_all) {
      memset(padded, 0, sizeof padded);
      memcpy(padded, x, (size_t)columns * sizeof(float));
      values = padded;
    }
    float scales[8];
    int32_t codes[columns_of_all], sums[64];
    for (int block = 0; block < 8; block++)
      scales[block] = code_block(values + block * columns_of_block, codes + block * columns_of_block);
    for (int i = 0; i < columns_of_all; i++) {
      all->high[i] = (int8_t)((codes[i] + 128) >> 8);
      all->low[i] = (int8_t)(codes[i] & 255);
    }
    for (int lane = 0; lane < 64; lane++) {
      const int32_t *four = codes + 4 * lane;
      sums[lane] = four[0] + four[1] + four[2] + four[3];
      all->negated_sums[lane] = -sums[lane];
    }
    int32_t halves[16];
    for (int half = 0; half < 16; half++) {
      halves[half] = sums[4 * half] + sums[4 * half + 1] + sums[4 * half + 2] + sums[4 * half + 3];
      all->half_scales[half] = scales[half / 2];
      all->half_sums[half] = (float)halves[half] * scales[half / 2];
    }
    for (int block = 0; block < 8; block++) {
      all->scales_and_sums[2 * block] = scales[block];
      all->scales_and_sums[2 * block + 1] = (float)(halves[2 * block] + halves[2 * block + 1]) * scales[block];
    }
  }
}
