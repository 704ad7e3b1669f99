#include "merge.h"

#include <math.h>
#include <string.h>

#include "clones.h"

#pragma STDC FP_CONTRACT OFF

enum { CHUNK = 64 };

ES_CLONES static int any_beyond(const float *values, int64_t n, float threshold) {
  int found = 0;
  for (int64_t i = 0; i < n; i++) found |= !(fabsf(values[i]) < threshold);
  return found;
}

int64_t es_first_beyond(const float *values, int64_t n, float threshold) {
  if (!any_beyond(values, n, threshold)) return -1;
  for (int64_t i = 0; i < n; i++)
    if (!(fabsf(values[i]) < threshold)) return i;
  return -1;
}

ES_CLONES int es_has_nonfinite_16(const void *bytes, int64_t n, uint16_t mask) {
  const unsigned char *source = bytes;
  uint16_t found = 0;
  for (int64_t i = 0; i < n; i++) {
    uint16_t bits;
    memcpy(&bits, source + 2 * i, 2);
    found |= (bits & mask) == mask;
  }
  return found != 0;
}

ES_CLONES int es_has_nonfinite_32(const void *bytes, int64_t n) {
  const unsigned char *source = bytes;
  uint32_t found = 0;
  for (int64_t i = 0; i < n; i++) {
    uint32_t bits;
    memcpy(&bits, source + 4 * i, 4);
    found |= (bits & 0x7f800000u) == 0x7f800000u;
  }
  return found != 0;
}

ES_INLINE void weighted_chunk(const float *const *inputs, const double *weights, int64_t count, float *out,
                              int64_t start, int64_t length) {
  double sum[CHUNK];
  for (int64_t j = 0; j < length; j++) sum[j] = weights[0] * inputs[0][start + j];
  for (int64_t k = 1; k < count; k++) {
    const float *input = inputs[k] + start;
    const double weight = weights[k];
    for (int64_t j = 0; j < length; j++) sum[j] += weight * input[j];
  }
  for (int64_t j = 0; j < length; j++) out[start + j] = (float)sum[j];
}

ES_CLONES void es_weighted_sum(const float *const *inputs, const double *weights, int64_t count, float *out,
                               int64_t n) {
  int64_t start = 0;
  for (; start + CHUNK <= n; start += CHUNK) weighted_chunk(inputs, weights, count, out, start, CHUNK);
  if (start < n) weighted_chunk(inputs, weights, count, out, start, n - start);
}

ES_INLINE void deltas_chunk(const float *base, const float *const *inputs, const double *weights, int64_t count,
                            float *out, int64_t start, int64_t length) {
  double sum[CHUNK], origin[CHUNK];
  for (int64_t j = 0; j < length; j++) {
    origin[j] = base[start + j];
    sum[j] = 0;
  }
  for (int64_t k = 0; k < count; k++) {
    const float *input = inputs[k] + start;
    const double weight = weights[k];
    for (int64_t j = 0; j < length; j++) sum[j] += weight * ((double)input[j] - origin[j]);
  }
  for (int64_t j = 0; j < length; j++) out[start + j] = (float)(origin[j] + sum[j]);
}

ES_CLONES void es_add_deltas(const float *base, const float *const *inputs, const double *weights, int64_t count,
                             float *out, int64_t n) {
  int64_t start = 0;
  for (; start + CHUNK <= n; start += CHUNK) deltas_chunk(base, inputs, weights, count, out, start, CHUNK);
  if (start < n) deltas_chunk(base, inputs, weights, count, out, start, n - start);
}

ES_CLONES void es_subtract(float *values, const float *base, int64_t n) {
  for (int64_t i = 0; i < n; i++) values[i] -= base[i];
}

ES_CLONES void es_scale(float *values, float factor, int64_t n) {
  for (int64_t i = 0; i < n; i++) values[i] *= factor;
}

ES_INLINE void elect_chunk(const float *base, const float *const *deltas, const float *weights, int64_t count,
                           float lambda, int normalize, float *out, int64_t start, int64_t length) {
  float sum[CHUNK], mix[CHUNK], divisor[CHUNK];
  for (int64_t j = 0; j < length; j++) sum[j] = mix[j] = divisor[j] = 0;
  for (int64_t k = 0; k < count; k++) {
    const float *delta = deltas[k] + start;
    const float weight = weights[k];
    for (int64_t j = 0; j < length; j++) sum[j] += weight * delta[j];
  }
  for (int64_t k = 0; k < count; k++) {
    const float *delta = deltas[k] + start;
    const float weight = weights[k];
    for (int64_t j = 0; j < length; j++) {
      const float share = weight * delta[j];
      const int agrees = (sum[j] >= 0) ? (share > 0) : (share < 0);
      mix[j] += agrees ? share : 0;
      divisor[j] += agrees ? weight : 0;
    }
  }
  for (int64_t j = 0; j < length; j++) {
    const float by = normalize && divisor[j] != 0 ? divisor[j] : 1;
    out[start + j] = base[start + j] + lambda * (mix[j] / by);
  }
}

ES_CLONES void es_elect_sign_and_add(const float *base, const float *const *deltas, const float *weights,
                                     int64_t count, float lambda, int normalize, float *out, int64_t n) {
  int64_t start = 0;
  for (; start + CHUNK <= n; start += CHUNK)
    elect_chunk(base, deltas, weights, count, lambda, normalize, out, start, CHUNK);
  if (start < n) elect_chunk(base, deltas, weights, count, lambda, normalize, out, start, n - start);
}
