// Sparse rows, widened, and their product with few rows of x, for one type and processor. Included once for each; no
// include guard. sparse.c sets
//   NAME(base)                      a name of its own for each
//   TARGET                          function attributes
//   WIDTH                           bytes of a stored value
//   EXPAND(values, mask, low, high) 32 positions, widened
//   ROWS, TOKENS                    the rectangle of sums that fits in the registers

#define INLINE TARGET static inline __attribute__((always_inline))

TARGET static void NAME(widen)(
    const es_sparse_rows *matrix, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t start, ptrdiff_t count, float *panel,
    ptrdiff_t panel_stride) {
  for (ptrdiff_t r = row; r < row + rows; r++, panel += panel_stride) {
    const uint64_t *words = matrix->bitmap + r * matrix->words;
    ptrdiff_t first = matrix->offsets[r];
    for (ptrdiff_t i = 0; i < start / 64; i++) first += __builtin_popcountll(words[i]);
    const char *values = (const char *)matrix->values + first * WIDTH;
    words += start / 64;
    for (ptrdiff_t p = 0; p < count; p += 32) {
      const uint32_t mask = (uint32_t)(words[p / 64] >> (p % 64));
      f32x16 placed[2];
      EXPAND(values, mask, placed[0], placed[1]);
      values += WIDTH * __builtin_popcount(mask);
      if (count - p >= 32)
        memcpy(panel + p, placed, sizeof placed);
      else
        memcpy(panel + p, placed, (size_t)(count - p) * sizeof(float));
    }
  }
}

/// Adds the products of 32 columns, or of 16 if the row has no more, to `sums`.
INLINE void NAME(step)(
    const int rows, const int tokens, const bool both, const uint32_t masks[ROWS], const char *values[ROWS],
    const float *x, ptrdiff_t x_stride, f32x16 sums[ROWS][TOKENS]) {
  UNROLL for (int r = 0; r < rows; r++) {
    f32x16 low, high;
    EXPAND(values[r], masks[r], low, high);
    values[r] += WIDTH * __builtin_popcount(masks[r]);
    UNROLL for (int t = 0; t < tokens; t++) {
      f32x16 right[2];
      memcpy(right, x + t * x_stride, both ? sizeof right : sizeof right[0]);
      sums[r][t] = __builtin_elementwise_fma(low, right[0], sums[r][t]);
      if (both) sums[r][t] = __builtin_elementwise_fma(high, right[1], sums[r][t]);
    }
  }
}

/// `rows` and `tokens` are constants where this is called.
INLINE void NAME(rectangle)(
    const int rows, const int tokens, const es_sparse_rows *matrix, ptrdiff_t row, ptrdiff_t columns, const float *x,
    ptrdiff_t x_stride, float *y, ptrdiff_t y_stride) {
  const uint64_t *words[ROWS];
  const char *values[ROWS];
  UNROLL for (int r = 0; r < rows; r++) {
    words[r] = matrix->bitmap + (row + r) * matrix->words;
    values[r] = (const char *)matrix->values + matrix->offsets[row + r] * WIDTH;
  }
  // Several rows read at a time are no sequence to the processor's own prefetching.
  const ptrdiff_t ahead = PREFETCH_LEAD;
  for (ptrdiff_t start = 0; start < columns; start += BLOCK) {
    const ptrdiff_t end = columns - start < BLOCK ? columns : start + BLOCK;
    f32x16 sums[ROWS][TOKENS];
    UNROLL for (int r = 0; r < rows; r++) {
      UNROLL for (int t = 0; t < tokens; t++) sums[r][t] = (f32x16){0};
      __builtin_prefetch((const char *)(words[r] + start / 64) + PREFETCH_LEAD / 8);
    }
    ptrdiff_t p = start;
    for (; p + 64 <= end; p += 64) {
      uint32_t low[ROWS], high[ROWS];
      UNROLL for (int r = 0; r < rows; r++) {
        const uint64_t word = words[r][p / 64];
        low[r] = (uint32_t)word;
        high[r] = (uint32_t)(word >> 32);
        UNROLL for (int line = 0; line < 32 * WIDTH; line += 64) __builtin_prefetch(values[r] + ahead + line);
      }
      NAME(step)(rows, tokens, true, low, values, x + p, x_stride, sums);
      NAME(step)(rows, tokens, true, high, values, x + p + 32, x_stride, sums);
    }
    for (; p < end; p += 32) {
      float last_x[TOKENS][32] = {0};
      uint32_t masks[ROWS];
      const ptrdiff_t count = end - p < 32 ? end - p : 32;
      for (int r = 0; r < rows; r++) masks[r] = (uint32_t)(words[r][p / 64] >> (p % 64));
      for (int t = 0; t < tokens; t++) memcpy(last_x[t], x + p + t * x_stride, (size_t)count * sizeof(float));
      // A product of zeros would make +0 of a sum that is -0, so the second half counts only if it has columns.
      if (count > 16)
        NAME(step)(rows, tokens, true, masks, values, last_x[0], 32, sums);
      else
        NAME(step)(rows, tokens, false, masks, values, last_x[0], 32, sums);
    }
    for (int r = 0; r < rows; r++)
      for (int t = 0; t < tokens; t++) {
        const float total = sum_of_lanes((const floats *)&sums[r][t]);
        y[t * y_stride + r] = start > 0 ? y[t * y_stride + r] + total : total;
      }
  }
}

TARGET static void NAME(stream)(
    const es_sparse_rows *matrix, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t columns, const float *x, ptrdiff_t x_stride,
    ptrdiff_t tokens, float *y, ptrdiff_t y_stride) {
#define RECTANGLE(height, width) \
  NAME(rectangle)(height, width, matrix, row + r, columns, x + t * x_stride, x_stride, y + t * y_stride + r, y_stride)
  ptrdiff_t r = 0;
  for (; r + ROWS <= rows; r += ROWS) {
    ptrdiff_t t = 0;
    for (; t + TOKENS <= tokens; t += TOKENS) RECTANGLE(ROWS, TOKENS);
    for (; t < tokens; t++) RECTANGLE(ROWS, 1);
  }
  for (; r < rows; r++)
    for (ptrdiff_t t = 0; t < tokens; t++) RECTANGLE(1, 1);
#undef RECTANGLE
}

#undef INLINE
#undef NAME
#undef WIDTH
#undef EXPAND
