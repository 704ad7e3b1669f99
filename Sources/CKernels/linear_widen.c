#include <stdint.h>
#include <string.h>

#include "blocks.h"
#include "convert.h"
#include "linear.h"

// How a form of storage is widened: `length` numbers lie in `bytes` bytes.
#define WIDEN(type, length, bytes, decode)                                                               \
  void es_linear_widen_##type(                                                                           \
      const void *elements, ptrdiff_t stride, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t start, ptrdiff_t count, \
      float *panel, ptrdiff_t panel_stride) {                                                            \
    const char *source = (const char *)elements + row * stride + start / (length) * (bytes);             \
    for (ptrdiff_t r = 0; r < rows; r++) decode(source + r * stride, panel + r * panel_stride, count);   \
  }

static void copy_floats(const void *source, float *destination, int64_t count) {
  memcpy(destination, source, (size_t)count * sizeof(float));
}

WIDEN(f64, 1, 8, es_decode_f64)
WIDEN(f32, 1, 4, copy_floats)
WIDEN(f16, 1, 2, es_decode_f16)
WIDEN(bf16, 1, 2, es_decode_bf16)
WIDEN(f8e4m3, 1, 1, es_decode_f8e4m3)
WIDEN(f8e5m2, 1, 1, es_decode_f8e5m2)

WIDEN(q4_0, 32, 18, es_decode_q4_0)
WIDEN(q4_1, 32, 20, es_decode_q4_1)
WIDEN(q5_0, 32, 22, es_decode_q5_0)
WIDEN(q5_1, 32, 24, es_decode_q5_1)
WIDEN(q8_0, 32, 34, es_decode_q8_0)
WIDEN(iq4_nl, 32, 18, es_decode_iq4_nl)
WIDEN(mxfp4, 32, 17, es_decode_mxfp4)

WIDEN(q2_K, 256, 84, es_decode_q2_K)
WIDEN(q3_K, 256, 110, es_decode_q3_K)
WIDEN(q4_K, 256, 144, es_decode_q4_K)
WIDEN(q5_K, 256, 176, es_decode_q5_K)
WIDEN(q6_K, 256, 210, es_decode_q6_K)
WIDEN(q8_K, 256, 292, es_decode_q8_K)
WIDEN(iq4_xs, 256, 136, es_decode_iq4_xs)
