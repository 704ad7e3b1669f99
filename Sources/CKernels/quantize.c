// Sixteen blocks at a time, compiled for each instruction set.
#define LANES 16
#define QUANTIZER(name) es_quantize_##name
#define QUANTIZER_CLONES ES_CLONES
#include "quantize_rows.h"

ES_CLONES int64_t es_quantize_first_beyond(const float *numbers, int64_t n, float limit) {
  enum { STRIDE = 1024 };
  for (int64_t start = 0; start < n; start += STRIDE) {
    const int length = n - start < STRIDE ? (int)(n - start) : STRIDE;
    int32_t most = 0;
    for (int i = 0; i < length; i++) {
      const int32_t bits = (int32_t)(bits_of(numbers[start + i]) & 0x7fffffff);
      most = bits > most ? bits : most;
    }
    if (float_of((uint32_t)most) <= limit) continue;
    for (int i = 0; i < length; i++)
      if (!(float_of(bits_of(numbers[start + i]) & 0x7fffffff) <= limit)) return start + i;
  }
  return -1;
}
