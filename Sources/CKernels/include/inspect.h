#pragma once
#include <stdint.h>

// Counts and extremes of blocks of float32. Integers and comparisons only, so that every machine gives the same.

/// What is among the values of a block.
typedef struct {
  /// The least and the greatest finite value; +infinity and -infinity if there is none. -0 is less than +0.
  float minimum, maximum;
  /// Zeros of either sign.
  int64_t zeros;
  int64_t nans, infinities;
} es_census;

es_census es_take_census(const float *values, int64_t n);

/// Sets element i of all `count` rows to 0 wherever any of them is NaN or infinite.
///
/// Returns the number of such i.
int64_t es_clear_nonfinite(float *const *rows, int64_t count, int64_t n);

/// The number of values below `threshold` in magnitude; NaN is not.
int64_t es_count_below(const float *values, int64_t n, float threshold);

/// Counts the i where `a[i]` and `b[i]` are both other than 0 (`both`), and where their signs differ besides
/// (`opposed`). The values are finite.
void es_count_opposed(const float *a, const float *b, int64_t n, int64_t *both, int64_t *opposed);
