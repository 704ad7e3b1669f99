#include "codes.h"

#include "clones.h"

#pragma STDC FP_CONTRACT OFF

ES_CLONES void es_codes_decode(const uint8_t *codes, int64_t n, float scale, int32_t zero, float *x) {
  for (int64_t i = 0; i < n; i++) x[i] = scale * (float)((int32_t)codes[i] - zero);
}

ES_CLONES void es_codes_decode_grouped(const uint8_t *codes, int64_t n, const float *scales, const uint8_t *zeros,
                                       int32_t zero, const int32_t *groups, float *x) {
  if (zeros) {
    for (int64_t i = 0; i < n; i++)
      x[i] = scales[groups[i]] * (float)((int32_t)codes[i] - (int32_t)zeros[groups[i]]);
  } else {
    for (int64_t i = 0; i < n; i++) x[i] = scales[groups[i]] * (float)((int32_t)codes[i] - zero);
  }
}

ES_CLONES void es_codes_scale(float *x, int64_t n, float scale) {
  for (int64_t i = 0; i < n; i++) x[i] *= scale;
}

ES_CLONES void es_codes_divide(float *x, const float *divisors, int64_t n) {
  for (int64_t i = 0; i < n; i++) x[i] /= divisors[i];
}

ES_CLONES void es_codes_multiply(float *x, const float *factors, int64_t n) {
  for (int64_t i = 0; i < n; i++) x[i] *= factors[i];
}

ES_CLONES void es_codes_quotients(const float *values, int64_t n, float scale, float limit, float *quotients) {
  for (int64_t i = 0; i < n; i++) {
    const float quotient = values[i] / scale;
    const float below = quotient < limit ? quotient : limit;
    quotients[i] = below > -limit ? below : -limit;
  }
}
