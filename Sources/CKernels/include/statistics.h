#pragma once
#include <stdint.h>

/// What `count` rows of `width` floats add to sums by column, each taken in float64 in the order of the rows:
/// of x, of x² and of |x|. Row i begins at `rows + i * stride`.
void es_add_column_sums(
    const float *rows, int64_t stride, int64_t count, int64_t width, double *sums, double *squares, double *absolutes);

/// `sums[i] += values[i]`, widened.
void es_add_widened(const float *values, double *sums, int64_t count);

/// The cosine of the angle between two rows, in float64 over 8 lanes; 0 if either has no length.
double es_cosine(const float *a, const float *b, int64_t count);
