#include <stdint.h>
#include <string.h>

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
