#include "quantize.h"

#include "float_bits.h"
#include "quantize_searches.h"

es_quantizer *es_quantizer_of(es_quantized_type type, es_quantizer_search search) {
  return search == es_quantizer_refined ? es_quantizer_refined_of(type) : es_quantizer_reference_of(type);
}

es_quantizer *es_portable_quantizer_of(es_quantized_type type, es_quantizer_search search) {
  return search == es_quantizer_refined ? es_quantizer_refined_portable_of(type) : es_quantizer_portable_of(type);
}

/// Loops count in 32 bits, which vectorize best.
enum { STRIDE = 1024 };

ES_CLONES int64_t es_quantize_first_beyond(const float *numbers, int64_t n, float limit) {
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
