#include "inspect.h"

#include <math.h>

#include "float_bits.h"
#include "reduce.h"

#pragma STDC FP_CONTRACT OFF

// Loops count in 32 bits, which vectorize best, over strides that cannot overflow them.
enum { STRIDE = 4096 };

enum { SIGN_CLEARED = 0x7fffffff, INFINITE = 0x7f800000 };

/// Integers in the order of the floats they stand for; its own inverse.
ES_INLINE int32_t ordered(int32_t bits) { return bits ^ ((bits >> 31) & SIGN_CLEARED); }

ES_CLONES static void add_to_census(const float *values, int32_t n, es_census *census, int32_t *least,
                                    int32_t *greatest) {
  int32_t zeros = 0, nans = 0, infinities = 0, low = *least, high = *greatest;
  for (int32_t i = 0; i < n; i++) {
    const int32_t bits = (int32_t)bits_of(values[i]);
    const int32_t magnitude = bits & SIGN_CLEARED;
    const int32_t position = ordered(bits);
    zeros += magnitude == 0;
    infinities += magnitude == INFINITE;
    nans += magnitude > INFINITE;
    const int32_t below = magnitude < INFINITE ? position : INT32_MAX;
    const int32_t above = magnitude < INFINITE ? position : INT32_MIN;
    low = below < low ? below : low;
    high = above > high ? above : high;
  }
  census->zeros += zeros;
  census->nans += nans;
  census->infinities += infinities;
  *least = low;
  *greatest = high;
}

es_census es_take_census(const float *values, int64_t n) {
  es_census census = {0};
  int32_t least = INFINITE, greatest = ordered((int32_t)bits_of(-INFINITY));
  for (int64_t start = 0; start < n; start += STRIDE) {
    const int64_t left = n - start;
    add_to_census(values + start, (int32_t)(left < STRIDE ? left : STRIDE), &census, &least, &greatest);
  }
  census.minimum = float_of((uint32_t)ordered(least));
  census.maximum = float_of((uint32_t)ordered(greatest));
  return census;
}

int64_t es_clear_nonfinite(float *const *rows, int64_t count, int64_t n) {
  int found = 0;
  for (int64_t k = 0; k < count; k++) found |= es_first_nonfinite(rows[k], n) >= 0;
  if (!found) return 0;
  int64_t cleared = 0;
  for (int64_t i = 0; i < n; i++) {
    int finite = 1;
    for (int64_t k = 0; k < count; k++) finite &= isfinite(rows[k][i]) != 0;
    if (finite) continue;
    for (int64_t k = 0; k < count; k++) rows[k][i] = 0;
    cleared++;
  }
  return cleared;
}

ES_CLONES static int32_t below(const float *values, int32_t n, float threshold) {
  int32_t found = 0;
  for (int32_t i = 0; i < n; i++) found += fabsf(values[i]) < threshold;
  return found;
}

int64_t es_count_below(const float *values, int64_t n, float threshold) {
  int64_t found = 0;
  for (int64_t start = 0; start < n; start += STRIDE) {
    const int64_t left = n - start;
    found += below(values + start, (int32_t)(left < STRIDE ? left : STRIDE), threshold);
  }
  return found;
}

ES_CLONES static void add_opposed(const float *a, const float *b, int32_t n, int64_t *both, int64_t *opposed) {
  int32_t nonzero = 0, differing = 0;
  for (int32_t i = 0; i < n; i++) {
    const int32_t counts = (a[i] != 0) & (b[i] != 0);
    nonzero += counts;
    differing += counts & ((a[i] < 0) != (b[i] < 0));
  }
  *both += nonzero;
  *opposed += differing;
}

void es_count_opposed(const float *a, const float *b, int64_t n, int64_t *both, int64_t *opposed) {
  *both = *opposed = 0;
  for (int64_t start = 0; start < n; start += STRIDE) {
    const int64_t left = n - start;
    add_opposed(a + start, b + start, (int32_t)(left < STRIDE ? left : STRIDE), both, opposed);
  }
}
