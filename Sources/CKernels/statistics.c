#include "statistics.h"

#include <math.h>

#include "clones.h"

#pragma STDC FP_CONTRACT OFF

ES_CLONES void es_add_column_sums(
    const float *rows, int64_t stride, int64_t count, int64_t width, double *restrict sums, double *restrict squares,
    double *restrict absolutes) {
  for (int64_t i = 0; i < count; i++) {
    const float *row = rows + i * stride;
    for (int64_t j = 0; j < width; j++) {
      const double value = row[j];
      sums[j] += value;
      squares[j] += value * value;
      absolutes[j] += fabs(value);
    }
  }
}

ES_CLONES void es_add_widened(const float *restrict values, double *restrict sums, int64_t count) {
  for (int64_t i = 0; i < count; i++) sums[i] += (double)values[i];
}

ES_CLONES double es_cosine(const float *a, const float *b, int64_t count) {
  enum { lanes = 8 };
  double dot[lanes] = {0}, left[lanes] = {0}, right[lanes] = {0};
  const int64_t whole = count - count % lanes;
  for (int64_t i = 0; i < whole; i += lanes) {
    for (int64_t j = 0; j < lanes; j++) {
      const double x = a[i + j], y = b[i + j];
      dot[j] += x * y;
      left[j] += x * x;
      right[j] += y * y;
    }
  }
  for (int64_t i = whole; i < count; i++) {
    const double x = a[i], y = b[i];
    dot[i - whole] += x * y;
    left[i - whole] += x * x;
    right[i - whole] += y * y;
  }
  for (int64_t half = lanes / 2; half > 0; half /= 2) {
    for (int64_t j = 0; j < half; j++) {
      dot[j] += dot[j + half];
      left[j] += left[j + half];
      right[j] += right[j + half];
    }
  }
  const double length = sqrt(left[0]) * sqrt(right[0]);
  return length > 0 ? dot[0] / length : 0;
}
