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

typedef double row_of_8 __attribute__((vector_size(64), aligned(8), may_alias));

ES_CLONES void es_prune_transpose(const double *source, int64_t source_stride, int64_t rows, int64_t columns,
                                  float *target, int64_t target_stride) {
  int64_t i = 0;
  for (; i + 8 <= rows; i += 8) {
    int64_t j = 0;
    for (; j + 8 <= columns; j += 8) {
      row_of_8 square[8];
      for (int r = 0; r < 8; r++) square[r] = *(const row_of_8 *)(source + (i + r) * source_stride + j);
      // Log2 8 rounds of interleaving the first half of the rows with the second.
      for (int round = 0; round < 3; round++) {
        row_of_8 mixed[8];
        for (int r = 0; r < 4; r++) {
          mixed[2 * r] = __builtin_shufflevector(square[r], square[r + 4], 0, 8, 1, 9, 2, 10, 3, 11);
          mixed[2 * r + 1] = __builtin_shufflevector(square[r], square[r + 4], 4, 12, 5, 13, 6, 14, 7, 15);
        }
        memcpy(square, mixed, sizeof square);
      }
      for (int k = 0; k < 8; k++)
        for (int r = 0; r < 8; r++) target[(j + k) * target_stride + i + r] = (float)square[k][r];
    }
    for (; j < columns; j++)
      for (int r = 0; r < 8; r++) target[j * target_stride + i + r] = (float)source[(i + r) * source_stride + j];
  }
  for (; i < rows; i++)
    for (int64_t j = 0; j < columns; j++) target[j * target_stride + i] = (float)source[i * source_stride + j];
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
