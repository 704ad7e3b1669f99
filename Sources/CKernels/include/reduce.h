#pragma once
#include <stdint.h>

// Sums over one block of float32, accumulated in 16 float64 lanes (element i in lane i mod 16) that are added in a
// fixed tree: the result depends on the values and their order alone, never on the machine. Products of two float32
// are exact in float64.

/// Sum of `a[i]`.
double es_sum(const float *a, int64_t n);
/// Sum of `|a[i]|`.
double es_abs_sum(const float *a, int64_t n);
/// Sum of `a[i] * a[i]`.
double es_square_sum(const float *a, int64_t n);
/// Sum of `a[i] * b[i]`.
double es_dot(const float *a, const float *b, int64_t n);
/// Sum of `(a[i] - b[i])^2`, the difference in float64.
double es_squared_distance(const float *a, const float *b, int64_t n);
/// Sum of `weights[i] * (a[i] - b[i])^2`, the difference in float64.
double es_weighed_squared_distance(const float *a, const float *b, const float *weights, int64_t n);

/// The index of the first NaN or infinity, -1 if all `n` values are finite.
int64_t es_first_nonfinite(const float *values, int64_t n);
