// Float weights times few rows of x, for one type and processor. Included once for each; no include guard.
// linear_stream.c sets
//   NAME(base)               a name of its own for each
//   TARGET                   function attributes
//   STORED                   the stored element
//   WIDENED(pointer, vector) 16 stored elements, widened
//   ROWS, TOKENS             the rectangle of sums that fits in the registers

#define INLINE TARGET static inline __attribute__((always_inline))

/// Adds the products of rows and tokens to `sums`: 16 columns from `w` and `x` on.
INLINE void NAME(step)(
    const int rows, const int tokens, const STORED *w, ptrdiff_t stride, const float *x, ptrdiff_t x_stride,
    f32x16 sums[ROWS][TOKENS]) {
  f32x16 right[TOKENS];
  UNROLL for (int t = 0; t < tokens; t++) __builtin_memcpy(&right[t], x + t * x_stride, sizeof right[t]);
  UNROLL for (int r = 0; r < rows; r++) {
    f32x16 left;
    WIDENED((const char *)w + r * stride, left);
    UNROLL for (int t = 0; t < tokens; t++) sums[r][t] = __builtin_elementwise_fma(left, right[t], sums[r][t]);
  }
}

/// `rows` and `tokens` are constants where this is called.
INLINE void NAME(rectangle)(
    const int rows, const int tokens, const STORED *w, ptrdiff_t stride, ptrdiff_t columns, const float *x,
    ptrdiff_t x_stride, float *y, ptrdiff_t y_stride, const char *w_end) {
  // The processor's own prefetching sees sequences; several rows read at a time are none. So the next rows are asked
  // for in the order of their bytes, while these are read.
  const char *ahead = (const char *)w + rows * stride + PREFETCH_LEAD;
  for (ptrdiff_t start = 0; start < columns; start += BLOCK) {
    const ptrdiff_t end = columns - start < BLOCK ? columns : start + BLOCK;
    f32x16 sums[ROWS][TOKENS];
    UNROLL for (int r = 0; r < rows; r++)
      UNROLL for (int t = 0; t < tokens; t++) sums[r][t] = (f32x16){0};
    ptrdiff_t p = start;
    for (; p + lanes <= end; p += lanes) {
      if (ahead < w_end)
        for (int line = 0; line < rows * lanes * (int)sizeof(STORED); line += 64) __builtin_prefetch(ahead + line);
      ahead += rows * lanes * (int)sizeof(STORED);
      NAME(step)(rows, tokens, w + p, stride, x + p, x_stride, sums);
    }
    if (p < end) {
      STORED last_w[ROWS][lanes] = {0};
      float last_x[TOKENS][lanes] = {0};
      for (int r = 0; r < rows; r++)
        memcpy(last_w[r], (const char *)(w + p) + r * stride, (size_t)(end - p) * sizeof(STORED));
      for (int t = 0; t < tokens; t++) memcpy(last_x[t], x + p + t * x_stride, (size_t)(end - p) * sizeof(float));
      NAME(step)(rows, tokens, last_w[0], sizeof last_w[0], last_x[0], lanes, sums);
    }
    for (int r = 0; r < rows; r++)
      for (int t = 0; t < tokens; t++) {
        const float total = sum_of_lanes((const floats *)&sums[r][t]);
        y[t * y_stride + r] = start > 0 ? y[t * y_stride + r] + total : total;
      }
  }
}

TARGET static void NAME(run)(
    const void *weights, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t columns, const float *x, ptrdiff_t x_stride,
    ptrdiff_t tokens, float *y, ptrdiff_t y_stride) {
#define RECTANGLE(height, width) \
  NAME(rectangle)(height, width, (const STORED *)w, stride, columns, x + t * x_stride, x_stride, y + t * y_stride + r, \
                  y_stride, end)
  const char *w = weights, *end = w + rows * stride;
  for (const char *line = w; line < w + ROWS * stride + PREFETCH_LEAD && line < end; line += 64)
    __builtin_prefetch(line);
  ptrdiff_t r = 0;
  for (; r + ROWS <= rows; r += ROWS, w += ROWS * stride) {
    ptrdiff_t t = 0;
    for (; t + TOKENS <= tokens; t += TOKENS) RECTANGLE(ROWS, TOKENS);
    for (; t < tokens; t++) RECTANGLE(ROWS, 1);
  }
  for (; r < rows; r++, w += stride)
    for (ptrdiff_t t = 0; t < tokens; t++) RECTANGLE(1, 1);
#undef RECTANGLE
}

#undef INLINE
#undef NAME
#undef STORED
#undef WIDENED
