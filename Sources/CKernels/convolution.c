#include "convolution.h"

#include <math.h>

#include "clones.h"

#pragma STDC FP_CONTRACT OFF

ES_CLONES void es_unfold(const struct es_window *window, const float *picture, int64_t first, int64_t last, float *out) {
  const int64_t kernel_height = window->kernel_height, kernel_width = window->kernel_width;
  const int64_t area = kernel_height * kernel_width, channels = window->channels;
  for (int64_t index = first; index < last; index++, out += channels * area) {
    const int64_t top = index / window->columns * window->stride - window->padding;
    const int64_t left = index % window->columns * window->stride - window->padding;
    for (int64_t ky = 0; ky < kernel_height; ky++) {
      for (int64_t kx = 0; kx < kernel_width; kx++) {
        const int64_t y = top + ky, x = left + kx;
        float *restrict to = out + ky * kernel_width + kx;
        if (y < 0 || y >= window->height || x < 0 || x >= window->width) {
          for (int64_t c = 0; c < channels; c++) to[c * area] = 0.0f;
        } else {
          const float *restrict from = picture + (y * window->width + x) * channels;
          for (int64_t c = 0; c < channels; c++) to[c * area] = from[c];
        }
      }
    }
  }
}

ES_CLONES void es_max_pool(const struct es_window *window, const float *picture, int64_t first, int64_t last,
                           float *out) {
  const int64_t channels = window->channels;
  for (int64_t index = first; index < last; index++, out += channels) {
    const int64_t top = index / window->columns * window->stride - window->padding;
    const int64_t left = index % window->columns * window->stride - window->padding;
    float *restrict to = out;
    for (int64_t c = 0; c < channels; c++) to[c] = -INFINITY;
    for (int64_t ky = 0; ky < window->kernel_height; ky++) {
      for (int64_t kx = 0; kx < window->kernel_width; kx++) {
        const int64_t y = top + ky, x = left + kx;
        if (y < 0 || y >= window->height || x < 0 || x >= window->width) continue;
        const float *restrict from = picture + (y * window->width + x) * channels;
        for (int64_t c = 0; c < channels; c++) to[c] = from[c] <= to[c] || to[c] != to[c] ? to[c] : from[c];
      }
    }
  }
}

ES_CLONES void es_mean_of_rows(const float *x, float *out, int64_t rows, int64_t width) {
  enum { block = 16 };
  for (int64_t start = 0; start < width; start += block) {
    const int64_t count = width - start < block ? width - start : block;
    double sums[block] = {0};
    for (int64_t row = 0; row < rows; row++)
      for (int64_t c = 0; c < count; c++) sums[c] += (double)x[row * width + start + c];
    for (int64_t c = 0; c < count; c++) out[start + c] = (float)(sums[c] / (double)rows);
  }
}

ES_CLONES void es_normalize_columns(const float *x, const float *mean, const float *factor, const float *bias,
                                    float *out, int64_t rows, int64_t width) {
  for (int64_t row = 0; row < rows; row++)
    ES_ELEMENTWISE for (int64_t c = 0; c < width; c++) {
      const float scaled = (x[row * width + c] - mean[c]) * factor[c];
      out[row * width + c] = scaled + bias[c];
    }
}
