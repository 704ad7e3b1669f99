#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "linear.h"

#pragma STDC FP_CONTRACT OFF

// A strip of weights: 32 rows, interleaved so that two vectors hold a pair of columns of each. With 12 rows of x, 24
// sums of 16 stay in the registers while the depth goes by; a strip of this depth stays in the second cache.
enum { strip_rows = 32, strip_depth = 2048, widened_columns = 256, lanes = 16 };

ptrdiff_t es_linear_panel_size(ptrdiff_t columns) { return (columns + 1) / 2 * 2 * ES_LINEAR_PANEL_ROWS; }

#if defined(__x86_64__)

#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))
#define INLINE TARGET static inline __attribute__((always_inline))
#define UNROLL _Pragma("clang loop unroll(full)")

typedef uint32_t u32x16 __attribute__((vector_size(64)));

bool es_linear_bf16_runs(void) {
  return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl");
}

/// 32 floats of each of 16 rows become 16 vectors, each with a pair of bfloat16 of every row. Rows from `rows` on and
/// columns from `columns` on are zeros.
INLINE void interleave(const float *x, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t columns, u32x16 pairs[lanes]) {
  const __mmask16 low = columns >= lanes ? 0xffff : (__mmask16)((1u << columns) - 1);
  const __mmask16 high =
      columns >= 2 * lanes ? 0xffff : columns > lanes ? (__mmask16)((1u << (columns - lanes)) - 1) : 0;
  u32x16 mixed[lanes];
  for (int r = 0; r < lanes; r++) {
    if (r >= rows) {
      pairs[r] = (u32x16){0};
      continue;
    }
    const __m512 first = _mm512_maskz_loadu_ps(low, x + r * stride);
    const __m512 second = _mm512_maskz_loadu_ps(high, x + r * stride + (high ? lanes : 0));
    pairs[r] = (u32x16)_mm512_cvtne2ps_pbh(second, first);
  }
  // Rows and columns are exchanged by interleaving the first half of the vectors with the second, four times.
  UNROLL for (int round = 0; round < 4; round++) {
    UNROLL for (int r = 0; r < lanes / 2; r++) {
      const u32x16 a = pairs[r], b = pairs[r + lanes / 2];
      mixed[2 * r] = __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
      mixed[2 * r + 1] = __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    }
    UNROLL for (int r = 0; r < lanes; r++) pairs[r] = mixed[r];
  }
}

TARGET void es_linear_pack_bf16(
    const float *x, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t columns, uint16_t *panel) {
  const __mmask16 held = (1 << ES_LINEAR_PANEL_ROWS) - 1;
  for (ptrdiff_t column = 0; column < columns; column += 2 * lanes) {
    u32x16 pairs[lanes];
    interleave(x + column, stride, rows, columns - column, pairs);
    const ptrdiff_t count = (columns - column + 1) / 2 < lanes ? (columns - column + 1) / 2 : lanes;
    uint16_t *target = panel + column * ES_LINEAR_PANEL_ROWS;
    for (ptrdiff_t p = 0; p < count; p++)
      _mm512_mask_storeu_epi32(target + 2 * p * ES_LINEAR_PANEL_ROWS, held, (__m512i)pairs[p]);
  }
}

/// Asks for the memory that the next rows of the weights will be read from, as much as is now read of these.
INLINE void prefetch(const char *weights, ptrdiff_t stride, ptrdiff_t start, ptrdiff_t width, ptrdiff_t columns) {
  const char *first = weights + lanes * stride * start / columns;
  for (ptrdiff_t line = 0; line < lanes * stride * width / columns; line += 64) __builtin_prefetch(first + line, 0, 2);
}

/// Widens rows of the weights, at most 32, and rounds them to a strip.
TARGET static void pack_strip(
    const void *weights, ptrdiff_t stride, es_linear_widening widening, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t start,
    ptrdiff_t count, ptrdiff_t columns, uint16_t *strip, float *widened) {
  for (ptrdiff_t half = 0; half < strip_rows; half += lanes) {
    const ptrdiff_t height = rows - half < 0 ? 0 : rows - half < lanes ? rows - half : lanes;
    for (ptrdiff_t column = 0; column < count; column += widened_columns) {
      const ptrdiff_t width = count - column < widened_columns ? count - column : widened_columns;
      prefetch((const char *)weights + (row + half + lanes) * stride, stride, start + column, width, columns);
      if (height > 0) widening(weights, stride, row + half, height, start + column, width, widened, widened_columns);
      for (ptrdiff_t part = 0; part < width; part += 2 * lanes) {
        u32x16 pairs[lanes];
        interleave(widened + part, widened_columns, height, width - part, pairs);
        const ptrdiff_t steps = (width - part + 1) / 2 < lanes ? (width - part + 1) / 2 : lanes;
        uint16_t *target = strip + (column + part) * strip_rows + 2 * half;
        for (ptrdiff_t p = 0; p < steps; p++) _mm512_storeu_si512(target + 2 * p * strip_rows, (__m512i)pairs[p]);
      }
    }
  }
}

/// y[rows, columns] = or += a panel's rows times a strip, along so many pairs. `rows` is constant where this is called.
INLINE void rectangle(
    const int rows, ptrdiff_t columns, ptrdiff_t pairs, const uint16_t *panel, const uint16_t *strip, float *y,
    ptrdiff_t y_stride, bool accumulate) {
  const __mmask16 low = columns >= lanes ? 0xffff : (__mmask16)((1u << columns) - 1);
  const __mmask16 high =
      columns >= 2 * lanes ? 0xffff : columns > lanes ? (__mmask16)((1u << (columns - lanes)) - 1) : 0;
  __m512 sums[ES_LINEAR_PANEL_ROWS][2];
  UNROLL for (int i = 0; i < rows; i++) {
    sums[i][0] = accumulate ? _mm512_maskz_loadu_ps(low, y + i * y_stride) : _mm512_setzero_ps();
    sums[i][1] = accumulate ? _mm512_maskz_loadu_ps(high, y + i * y_stride + lanes) : _mm512_setzero_ps();
  }
  for (; pairs > 0; pairs--, panel += 2 * ES_LINEAR_PANEL_ROWS, strip += 2 * strip_rows) {
    const __m512bh first = (__m512bh)_mm512_loadu_si512(strip);
    const __m512bh second = (__m512bh)_mm512_loadu_si512(strip + 2 * lanes);
    UNROLL for (int i = 0; i < rows; i++) {
      int32_t pair;
      memcpy(&pair, panel + 2 * i, sizeof pair);
      const __m512bh left = (__m512bh)_mm512_set1_epi32(pair);
      sums[i][0] = _mm512_dpbf16_ps(sums[i][0], left, first);
      sums[i][1] = _mm512_dpbf16_ps(sums[i][1], left, second);
    }
  }
  UNROLL for (int i = 0; i < rows; i++) {
    _mm512_mask_storeu_ps(y + i * y_stride, low, sums[i][0]);
    _mm512_mask_storeu_ps(y + i * y_stride + lanes, high, sums[i][1]);
  }
}

TARGET void es_linear_multiply_bf16(
    const uint16_t *x, ptrdiff_t tokens, const void *weights, ptrdiff_t stride, es_linear_widening widening,
    ptrdiff_t row, ptrdiff_t rows, ptrdiff_t columns, float *y, ptrdiff_t y_stride) {
  _Alignas(64) uint16_t strip[strip_rows * strip_depth];
  _Alignas(64) float widened[lanes * widened_columns];
  const ptrdiff_t panel_size = es_linear_panel_size(columns);
  if (columns == 0)
    for (ptrdiff_t t = 0; t < tokens; t++) memset(y + t * y_stride, 0, (size_t)rows * sizeof(float));
  for (ptrdiff_t done = 0; done < rows; done += strip_rows) {
    const ptrdiff_t height = rows - done < strip_rows ? rows - done : strip_rows;
    for (ptrdiff_t start = 0; start < columns; start += strip_depth) {
      const ptrdiff_t count = columns - start < strip_depth ? columns - start : strip_depth, pairs = (count + 1) / 2;
      pack_strip(weights, stride, widening, row + done, height, start, count, columns, strip, widened);
      for (ptrdiff_t t = 0; t < tokens; t += ES_LINEAR_PANEL_ROWS) {
        const uint16_t *panel = x + t / ES_LINEAR_PANEL_ROWS * panel_size + start * ES_LINEAR_PANEL_ROWS;
        float *corner = y + t * y_stride + done;
#define RECTANGLE(count) case count: rectangle(count, height, pairs, panel, strip, corner, y_stride, start > 0); break;
        switch (tokens - t) {
          RECTANGLE(1) RECTANGLE(2) RECTANGLE(3) RECTANGLE(4) RECTANGLE(5) RECTANGLE(6) RECTANGLE(7) RECTANGLE(8)
          RECTANGLE(9) RECTANGLE(10) RECTANGLE(11)
          default: rectangle(12, height, pairs, panel, strip, corner, y_stride, start > 0);
        }
      }
    }
  }
}

#else

bool es_linear_bf16_runs(void) { return false; }

void es_linear_pack_bf16(const float *x, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t columns, uint16_t *panel) {
  (void)x, (void)stride, (void)rows, (void)columns, (void)panel;
}

void es_linear_multiply_bf16(
    const uint16_t *x, ptrdiff_t tokens, const void *weights, ptrdiff_t stride, es_linear_widening widening,
    ptrdiff_t row, ptrdiff_t rows, ptrdiff_t columns, float *y, ptrdiff_t y_stride) {
  (void)x, (void)tokens, (void)weights, (void)stride, (void)widening, (void)row, (void)rows, (void)columns, (void)y;
  (void)y_stride;
}

#endif
