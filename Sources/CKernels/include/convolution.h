#pragma once
#include <stdint.h>

// Windows that slide over pictures. A picture is rows of pixels, each pixel a row of channels.

struct es_window {
  /// The picture.
  int64_t height, width, channels;
  /// The window, the same to both sides in steps and in what it may reach beyond the edge.
  int64_t kernel_height, kernel_width, stride, padding;
  /// Windows in a row of the result.
  int64_t columns;
};

/// What windows [first, last) see, one row a window: channels * kernel_height * kernel_width values in this order, 0
/// beyond the edge.
void es_unfold(const struct es_window *window, const float *picture, int64_t first, int64_t last, float *out);

/// The largest value that each of the windows [first, last) sees in each channel; a NaN wins, the edge does not count.
void es_max_pool(const struct es_window *window, const float *picture, int64_t first, int64_t last, float *out);

/// out[c] = the mean of x[i, c] over all rows, added in float64 in their order.
void es_mean_of_rows(const float *x, float *out, int64_t rows, int64_t width);

/// out[i, c] = (x[i, c] - mean[c]) factor[c] + bias[c]. out may be x.
void es_normalize_columns(const float *x, const float *mean, const float *factor, const float *bias, float *out,
                          int64_t rows, int64_t width);
