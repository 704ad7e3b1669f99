#pragma once
#include <stddef.h>

// Products of activations with coded weights.

// Widening for the packed product (es_product_pack_f32): rows of coded numbers, `stride` bytes apart, at any
// alignment. `start` is the beginning of a block of the code.

#define ES_LINEAR_WIDEN(type)                                                                            \
  void es_linear_widen_##type(                                                                           \
      const void *elements, ptrdiff_t stride, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t start, ptrdiff_t count, \
      float *panel, ptrdiff_t panel_stride);

ES_LINEAR_WIDEN(f64)
ES_LINEAR_WIDEN(f32)
ES_LINEAR_WIDEN(f16)
ES_LINEAR_WIDEN(bf16)
ES_LINEAR_WIDEN(f8e4m3)
ES_LINEAR_WIDEN(f8e5m2)

ES_LINEAR_WIDEN(q4_0)
ES_LINEAR_WIDEN(q4_1)
ES_LINEAR_WIDEN(q5_0)
ES_LINEAR_WIDEN(q5_1)
ES_LINEAR_WIDEN(q8_0)
ES_LINEAR_WIDEN(iq4_nl)
ES_LINEAR_WIDEN(mxfp4)
ES_LINEAR_WIDEN(q2_K)
ES_LINEAR_WIDEN(q3_K)
ES_LINEAR_WIDEN(q4_K)
ES_LINEAR_WIDEN(q5_K)
ES_LINEAR_WIDEN(q6_K)
ES_LINEAR_WIDEN(q8_K)
ES_LINEAR_WIDEN(iq4_xs)
