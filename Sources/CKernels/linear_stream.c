#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "lanes.h"
#include "linear.h"
#include "product.h"

#pragma STDC FP_CONTRACT OFF

#if defined(__x86_64__)

enum {
  BLOCK = ES_PRODUCT_BLOCK_BYTES / sizeof(float),
  // Bytes ahead of the next rows, lest memory be too late where rows are short.
  PREFETCH_LEAD = 4096,
};

#define UNROLL _Pragma("clang loop unroll(full)")

// Weights may lie at any byte.
typedef float stored_f32 __attribute__((aligned(1), may_alias));
typedef uint16_t stored_16 __attribute__((aligned(1), may_alias));
typedef uint16_t u16x16 __attribute__((vector_size(32)));
typedef uint32_t u32x16 __attribute__((vector_size(64)));
typedef float f32x16 __attribute__((vector_size(64)));

#define WIDEN_F32(pointer, vector) memcpy(&(vector), pointer, sizeof(vector))
#define WIDEN_BF16(pointer, vector) \
  do { \
    u16x16 codes_; \
    memcpy(&codes_, pointer, sizeof codes_); \
    vector = (f32x16)(__builtin_convertvector(codes_, u32x16) << 16); \
  } while (0)

// MARK: AVX-512

#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,fma,f16c")))
#define ROWS 2
#define TOKENS 4

#define NAME(base) base##_f32_avx512
#define STORED stored_f32
#define WIDENED WIDEN_F32
#include "linear_stream_kernel.h"

#define NAME(base) base##_bf16_avx512
#define STORED stored_16
#define WIDENED WIDEN_BF16
#include "linear_stream_kernel.h"

#define NAME(base) base##_f16_avx512
#define STORED stored_16
#define WIDENED(pointer, vector) vector = (f32x16)_mm512_cvtph_ps(_mm256_loadu_si256((const void *)(pointer)))
#include "linear_stream_kernel.h"

#undef TARGET
#undef ROWS
#undef TOKENS

// MARK: AVX2

#define TARGET __attribute__((target("avx2,fma,f16c")))
#define ROWS 2
#define TOKENS 2

#define NAME(base) base##_f32_avx2
#define STORED stored_f32
#define WIDENED WIDEN_F32
#include "linear_stream_kernel.h"

#define NAME(base) base##_bf16_avx2
#define STORED stored_16
#define WIDENED WIDEN_BF16
#include "linear_stream_kernel.h"

#define NAME(base) base##_f16_avx2
#define STORED stored_16
#define WIDENED(pointer, vector) \
  do { \
    const __m256 halves_[2] = { \
        _mm256_cvtph_ps(_mm_loadu_si128((const void *)(pointer))), \
        _mm256_cvtph_ps(_mm_loadu_si128((const void *)((const char *)(pointer) + 16)))}; \
    memcpy(&(vector), halves_, sizeof(vector)); \
  } while (0)
#include "linear_stream_kernel.h"

bool es_linear_streams(es_product_kernel kernel) {
  if (kernel == es_product_kernel_portable || !__builtin_cpu_supports("f16c")) return false;
  const bool wide = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
  return es_product_kernel_runs(kernel) && (wide || kernel != es_product_kernel_avx512);
}

void es_linear_stream(
    es_product_kernel kernel, es_linear_float type, const void *weights, ptrdiff_t stride, ptrdiff_t rows,
    ptrdiff_t columns, const float *x, ptrdiff_t x_stride, ptrdiff_t tokens, float *y, ptrdiff_t y_stride) {
#define CASE(type) \
  case es_linear_##type: \
    if (kernel == es_product_kernel_avx512) \
      run_##type##_avx512(weights, stride, rows, columns, x, x_stride, tokens, y, y_stride); \
    else \
      run_##type##_avx2(weights, stride, rows, columns, x, x_stride, tokens, y, y_stride); \
    return;
  switch (type) {
    CASE(f32)
    CASE(f16)
    CASE(bf16)
  }
}

#else

bool es_linear_streams(es_product_kernel kernel) {
  (void)kernel;
  return false;
}

void es_linear_stream(
    es_product_kernel kernel, es_linear_float type, const void *weights, ptrdiff_t stride, ptrdiff_t rows,
    ptrdiff_t columns, const float *x, ptrdiff_t x_stride, ptrdiff_t tokens, float *y, ptrdiff_t y_stride) {
  (void)kernel, (void)type, (void)weights, (void)stride, (void)rows, (void)columns, (void)x, (void)x_stride;
  (void)tokens, (void)y, (void)y_stride;
}

#endif
