#include "sparse.h"

#include "clones.h"
#include "convert.h"
#include "lanes.h"
#include "sparse_expand.h"

#pragma STDC FP_CONTRACT OFF

enum {
  BLOCK = ES_PRODUCT_BLOCK_BYTES / sizeof(float),
  /// Bytes ahead that values are asked for; as many bits of the bitmap.
  PREFETCH_LEAD = 4096,
};

#define UNROLL _Pragma("clang loop unroll(full)")

ES_CLONES ptrdiff_t es_sparse_population(const uint64_t *words, ptrdiff_t count) {
  ptrdiff_t population = 0;
  for (ptrdiff_t i = 0; i < count; i++) population += __builtin_popcountll(words[i]);
  return population;
}

// MARK: Portable

static void widen_portable(
    const es_sparse_rows *matrix, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t start, ptrdiff_t count, float *panel,
    ptrdiff_t panel_stride) {
  const ptrdiff_t width = matrix->type == es_linear_f32 ? 4 : 2;
  for (ptrdiff_t r = row; r < row + rows; r++, panel += panel_stride) {
    const uint64_t *words = matrix->bitmap + r * matrix->words;
    const ptrdiff_t first = matrix->offsets[r] + es_sparse_population(words, start / 64);
    const char *values = (const char *)matrix->values + first * width;
    for (ptrdiff_t p = 0; p < count; p += 64) {
      const uint64_t word = words[(start + p) / 64];
      const ptrdiff_t stored = __builtin_popcountll(word), length = count - p < 64 ? count - p : 64;
      float packed[64];
      switch (matrix->type) {
        case es_linear_f32: memcpy(packed, values, (size_t)stored * sizeof(float)); break;
        case es_linear_f16: es_decode_f16(values, packed, stored); break;
        case es_linear_bf16: es_decode_bf16(values, packed, stored); break;
      }
      values += stored * width;
      for (ptrdiff_t i = 0, taken = 0; i < length; i++) panel[p + i] = word >> i & 1 ? packed[taken++] : 0;
    }
  }
}

#if defined(__x86_64__)

// MARK: AVX-512

#define TARGET TARGET_AVX512
#define ROWS 2
#define TOKENS 4

#define NAME(base) base##_f32_avx512
#define WIDTH 4
#define EXPAND EXPAND_F32_AVX512
#include "sparse_kernel.h"

#define NAME(base) base##_f16_avx512
#define WIDTH 2
#define EXPAND EXPAND_F16_AVX512
#include "sparse_kernel.h"

#define NAME(base) base##_bf16_avx512
#define WIDTH 2
#define EXPAND EXPAND_BF16_AVX512
#include "sparse_kernel.h"

#undef TARGET
#undef ROWS
#undef TOKENS

// MARK: AVX2

#define TARGET TARGET_AVX2
#define ROWS 2
#define TOKENS 2

#define NAME(base) base##_f32_avx2
#define WIDTH 4
#define EXPAND EXPAND_F32_AVX2
#include "sparse_kernel.h"

#define NAME(base) base##_f16_avx2
#define WIDTH 2
#define EXPAND EXPAND_F16_AVX2
#include "sparse_kernel.h"

#define NAME(base) base##_bf16_avx2
#define WIDTH 2
#define EXPAND EXPAND_BF16_AVX2
#include "sparse_kernel.h"

bool es_sparse_runs(es_product_kernel kernel) {
  if (!es_product_kernel_runs(kernel)) return false;
  if (kernel == es_product_kernel_portable) return true;
  const bool wide = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vbmi2");
  return __builtin_cpu_supports("f16c") && __builtin_cpu_supports("popcnt") &&
         (wide || kernel != es_product_kernel_avx512);
}

bool es_sparse_streams(es_product_kernel kernel) {
  return kernel != es_product_kernel_portable && es_sparse_runs(kernel);
}

#define CALL(function, type, ...) \
  case es_linear_##type: \
    if (kernel == es_product_kernel_avx512) \
      function##_##type##_avx512(__VA_ARGS__); \
    else \
      function##_##type##_avx2(__VA_ARGS__); \
    return;
#define CALL_BY_TYPE(function, ...) \
  switch (matrix->type) { \
    CALL(function, f32, __VA_ARGS__) \
    CALL(function, f16, __VA_ARGS__) \
    CALL(function, bf16, __VA_ARGS__) \
  }

void es_sparse_widen_with(
    es_product_kernel kernel, const es_sparse_rows *matrix, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t start,
    ptrdiff_t count, float *panel, ptrdiff_t panel_stride) {
  if (kernel == es_product_kernel_portable)
    return widen_portable(matrix, row, rows, start, count, panel, panel_stride);
  CALL_BY_TYPE(widen, matrix, row, rows, start, count, panel, panel_stride)
}

void es_sparse_stream(
    es_product_kernel kernel, const es_sparse_rows *matrix, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t columns,
    const float *x, ptrdiff_t x_stride, ptrdiff_t tokens, float *y, ptrdiff_t y_stride) {
  CALL_BY_TYPE(stream, matrix, row, rows, columns, x, x_stride, tokens, y, y_stride)
}

#else

bool es_sparse_runs(es_product_kernel kernel) { return kernel == es_product_kernel_portable; }

bool es_sparse_streams(es_product_kernel kernel) {
  (void)kernel;
  return false;
}

void es_sparse_widen_with(
    es_product_kernel kernel, const es_sparse_rows *matrix, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t start,
    ptrdiff_t count, float *panel, ptrdiff_t panel_stride) {
  (void)kernel;
  widen_portable(matrix, row, rows, start, count, panel, panel_stride);
}

void es_sparse_stream(
    es_product_kernel kernel, const es_sparse_rows *matrix, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t columns,
    const float *x, ptrdiff_t x_stride, ptrdiff_t tokens, float *y, ptrdiff_t y_stride) {
  (void)kernel, (void)matrix, (void)row, (void)rows, (void)columns, (void)x, (void)x_stride, (void)tokens, (void)y;
  (void)y_stride;
}

#endif

void es_sparse_widen(
    const void *elements, ptrdiff_t stride, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t start, ptrdiff_t count,
    float *panel, ptrdiff_t panel_stride) {
  (void)stride;
  es_product_kernel kernel = es_product_kernel_avx512;
  while (!es_sparse_runs(kernel)) kernel = (es_product_kernel)(kernel - 1);
  es_sparse_widen_with(kernel, elements, row, rows, start, count, panel, panel_stride);
}
