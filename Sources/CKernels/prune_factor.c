#include <math.h>
#include <string.h>

#include "clones.h"
#include "prune.h"

#pragma STDC FP_CONTRACT OFF

ES_INLINE void add_scaled(double *restrict target, const double *restrict source, double factor, int64_t n) {
  for (int64_t i = 0; i < n; i++) target[i] += factor * source[i];
}

// From the last column to the first: column k of R is what is left of column k of H over the root of its diagonal, and the
// columns before it lose its products with itself.
ES_CLONES int64_t es_prune_factor(double *negated, int64_t stride, int64_t n, double *room) {
  for (int64_t i = 0; i < n; i++) {
    double *row = negated + i * stride;
    for (int64_t j = 0; j < i; j++) row[j] = 0;
    for (int64_t j = i; j < n; j++) row[j] = -row[j];
  }
  for (int64_t k = n - 1; k >= 0; k--) {
    const double pivot = negated[k * stride + k];
    if (!(pivot > 0)) return k;
    const double root = sqrt(pivot);
    for (int64_t i = 0; i < k; i++) negated[i * stride + k] = room[i] = negated[i * stride + k] / root;
    negated[k * stride + k] = root;
    for (int64_t i = 0; i < k; i++) add_scaled(negated + i * stride + i, room + i, -room[i], k - i);
  }
  return -1;
}

// Row by row upwards: row i of R times what is there of U.
ES_CLONES void es_prune_invert(double *upper, int64_t stride, int64_t n, double *room) {
  for (int64_t i = n - 1; i >= 0; i--) {
    double *row = upper + i * stride;
    memset(room, 0, (size_t)n * sizeof *room);
    for (int64_t p = i + 1; p < n; p++) add_scaled(room + p, upper + p * stride + p, row[p], n - p);
    const double inverse = 1 / row[i];
    row[i] = inverse;
    for (int64_t j = i + 1; j < n; j++) row[j] = -room[j] * inverse;
  }
}

ES_CLONES void es_prune_scale(const double *values, double factor, int64_t n, double *scaled) {
  for (int64_t i = 0; i < n; i++) scaled[i] = values[i] * factor;
}

ES_CLONES static int64_t not_finite(const double *values, int64_t n) {
  int64_t count = 0;
  for (int64_t i = 0; i < n; i++) {
    int64_t bits;
    memcpy(&bits, values + i, sizeof bits);
    count += (bits & INT64_C(0x7ff0000000000000)) == INT64_C(0x7ff0000000000000);
  }
  return count;
}

int64_t es_prune_first_nonfinite(const double *values, int64_t n) {
  if (not_finite(values, n) == 0) return -1;
  for (int64_t i = 0; i < n; i++)
    if (!isfinite(values[i])) return i;
  return -1;
}
