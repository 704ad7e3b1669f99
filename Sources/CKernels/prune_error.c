#include "clones.h"
#include "prune.h"

#pragma STDC FP_CONTRACT OFF

// Sums go over eight lanes, which are added in halves, so that all clones give the same bits.
enum { lane_count = 8 };
typedef double doubles __attribute__((vector_size(lane_count * sizeof(double)), aligned(8), may_alias));
typedef float singles __attribute__((vector_size(lane_count * sizeof(float)), aligned(4), may_alias));

ES_INLINE double sum_of_doubles(const doubles *v) {
  double lanes[lane_count];
  __builtin_memcpy(lanes, v, sizeof lanes);
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

ES_CLONES void es_prune_difference(const float *a, const float *b, int64_t n, double *difference) {
  if (b)
    for (int64_t i = 0; i < n; i++) difference[i] = (double)a[i] - (double)b[i];
  else
    for (int64_t i = 0; i < n; i++) difference[i] = a[i];
}

ES_CLONES double es_prune_dot(const double *a, const double *b, int64_t n) {
  doubles sums = {0};
  int64_t i = 0;
  for (; i + lane_count <= n; i += lane_count) sums += *(const doubles *)(a + i) * *(const doubles *)(b + i);
  double rest = 0;
  for (; i < n; i++) rest += a[i] * b[i];
  return sum_of_doubles(&sums) + rest;
}

ES_CLONES void es_prune_weighed_squares(const float *a, const float *b, const double *weights, int64_t n,
                                        double *difference, double *whole) {
  doubles apart = {0}, all = {0};
  double apart_rest = 0, all_rest = 0;
  int64_t i = 0;
  for (; i + lane_count <= n; i += lane_count) {
    const doubles first = __builtin_convertvector(*(const singles *)(a + i), doubles);
    const doubles d = first - __builtin_convertvector(*(const singles *)(b + i), doubles);
    if (weights) {
      const doubles scale = *(const doubles *)(weights + i);
      apart += d * d * scale;
      all += first * first * scale;
    } else {
      apart += d * d;
      all += first * first;
    }
  }
  for (; i < n; i++) {
    const double first = a[i], d = first - (double)b[i], scale = weights ? weights[i] : 1;
    apart_rest += d * d * scale;
    all_rest += first * first * scale;
  }
  *difference = sum_of_doubles(&apart) + apart_rest;
  *whole = sum_of_doubles(&all) + all_rest;
}

ES_CLONES int64_t es_prune_count_kept(const float *values, int64_t n) {
  int64_t count = 0;
  for (int64_t i = 0; i < n; i++) count += values[i] != 0;
  return count;
}

ES_CLONES void es_prune_apply(const float *values, const uint8_t *marks, int64_t n, float *kept) {
  for (int64_t i = 0; i < n; i++) kept[i] = marks[i] ? 0 : values[i];
}
