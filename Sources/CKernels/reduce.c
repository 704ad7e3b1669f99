#include "reduce.h"

#include "float_bits.h"

#pragma STDC FP_CONTRACT OFF

enum { lanes = 16 };
typedef float floats __attribute__((vector_size(lanes * sizeof(float))));
typedef double doubles __attribute__((vector_size(lanes * sizeof(double))));
typedef int64_t masks __attribute__((vector_size(lanes * sizeof(int64_t))));

enum term { VALUE, MAGNITUDE, PRODUCT, DISTANCE, WEIGHED_DISTANCE };

/// Adds the terms of `count` elements (at most one per lane) to the lanes.
ES_INLINE void accumulate(doubles *sums, const float *a, const float *b, const float *weights, int64_t count,
                          enum term term) {
  floats x = {0}, y = {0}, w = {0};
  memcpy(&x, a, (size_t)count * sizeof *a);
  if (term != VALUE && term != MAGNITUDE) memcpy(&y, b, (size_t)count * sizeof *b);
  const doubles value = __builtin_convertvector(x, doubles), other = __builtin_convertvector(y, doubles);
  const doubles difference = value - other;
  switch (term) {
    case VALUE: *sums += value; break;
    case MAGNITUDE: *sums += (doubles)((masks)value & INT64_MAX); break;
    case PRODUCT: *sums += value * other; break;
    case DISTANCE: *sums += difference * difference; break;
    case WEIGHED_DISTANCE:
      memcpy(&w, weights, (size_t)count * sizeof *weights);
      *sums += difference * difference * __builtin_convertvector(w, doubles);
      break;
  }
}

ES_INLINE double block_sum(const float *a, const float *b, const float *weights, int64_t n, enum term term) {
  doubles sums = {0};
  const int64_t whole = n - n % lanes;
  for (int64_t i = 0; i < whole; i += lanes) accumulate(&sums, a + i, b + i, weights + i, lanes, term);
  accumulate(&sums, a + whole, b + whole, weights + whole, n - whole, term);
  for (int width = lanes / 2; width > 0; width /= 2)
    for (int j = 0; j < width; j++) sums[j] += sums[j + width];
  return sums[0];
}

ES_CLONES double es_sum(const float *a, int64_t n) { return block_sum(a, a, a, n, VALUE); }
ES_CLONES double es_abs_sum(const float *a, int64_t n) { return block_sum(a, a, a, n, MAGNITUDE); }
ES_CLONES double es_square_sum(const float *a, int64_t n) { return block_sum(a, a, a, n, PRODUCT); }
ES_CLONES double es_dot(const float *a, const float *b, int64_t n) { return block_sum(a, b, a, n, PRODUCT); }

ES_CLONES double es_squared_distance(const float *a, const float *b, int64_t n) {
  return block_sum(a, b, a, n, DISTANCE);
}

ES_CLONES double es_weighed_squared_distance(const float *a, const float *b, const float *weights, int64_t n) {
  return block_sum(a, b, weights, n, WEIGHED_DISTANCE);
}

ES_CLONES int64_t es_first_nonfinite(const float *values, int64_t n) {
  enum { stride = 1024 };
  for (int64_t start = 0; start < n; start += stride) {
    const int64_t end = n - start < stride ? n : start + stride;
    int32_t largest = 0;
    for (int64_t i = start; i < end; i++) {
      const int32_t magnitude = (int32_t)(bits_of(values[i]) & 0x7fffffffu);
      largest = magnitude > largest ? magnitude : largest;
    }
    if (largest < 0x7f800000) continue;
    for (int64_t i = start; i < end; i++)
      if ((bits_of(values[i]) & 0x7f800000u) == 0x7f800000u) return i;
  }
  return -1;
}
