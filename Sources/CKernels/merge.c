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

ES_INLINE void elect_chunk(const float *base, const float *const *deltas, const float *factors, const float *weights,
                           int64_t count, float lambda, int normalize, float *out, int64_t start, int64_t length) {
  float sum[CHUNK], mix[CHUNK], divisor[CHUNK];
  for (int64_t j = 0; j < length; j++) sum[j] = mix[j] = divisor[j] = 0;
  for (int64_t k = 0; k < count; k++) {
    const float *delta = deltas[k] + start;
    const float factor = factors[k];
    for (int64_t j = 0; j < length; j++) sum[j] += factor * delta[j];
  }
  for (int64_t k = 0; k < count; k++) {
    const float *delta = deltas[k] + start;
    const float factor = factors[k], weight = weights[k];
    for (int64_t j = 0; j < length; j++) {
      const float share = factor * delta[j];
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

ES_CLONES void es_elect_sign_and_add(const float *base, const float *const *deltas, const float *factors,
                                     const float *weights, int64_t count, float lambda, int normalize, float *out,
                                     int64_t n) {
  int64_t start = 0;
  for (; start + CHUNK <= n; start += CHUNK)
    elect_chunk(base, deltas, factors, weights, count, lambda, normalize, out, start, CHUNK);
  if (start < n) elect_chunk(base, deltas, factors, weights, count, lambda, normalize, out, start, n - start);
}

ES_CLONES void es_near_swap(const float *base, const float *x, float t, float *out, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    const float distance = fabsf(base[i] - x[i]);
    float weight = t / (distance > 1e-6f ? distance : 1e-6f);
    weight = weight > 1 ? 1 : weight;
    out[i] = weight * x[i] + (1 - weight) * base[i];
  }
}

ES_INLINE void overlap_chunk(const float *base, const float *const *deltas, const float *factors, int64_t count,
                             float epsilon, float *out, int64_t start, int64_t length) {
  float sum[CHUNK], enlarged[CHUNK];
  float changes[CHUNK];
  for (int64_t j = 0; j < length; j++) sum[j] = enlarged[j] = changes[j] = 0;
  for (int64_t k = 0; k < count; k++) {
    const float *delta = deltas[k] + start;
    const float factor = factors[k];
    for (int64_t j = 0; j < length; j++) {
      const int changed = fabsf(delta[j]) > epsilon;
      sum[j] += changed ? delta[j] : 0;
      enlarged[j] += changed ? factor * delta[j] : 0;
      changes[j] += changed ? 1 : 0;
    }
  }
  for (int64_t j = 0; j < length; j++) {
    const float mean = changes[j] == 1 ? enlarged[j] : sum[j] / (changes[j] > 1 ? changes[j] : 1);
    out[start + j] = base[start + j] + mean;
  }
}

ES_CLONES void es_add_by_overlap(const float *base, const float *const *deltas, const float *factors, int64_t count,
                                 float epsilon, float *out, int64_t n) {
  int64_t start = 0;
  for (; start + CHUNK <= n; start += CHUNK)
    overlap_chunk(base, deltas, factors, count, epsilon, out, start, CHUNK);
  if (start < n) overlap_chunk(base, deltas, factors, count, epsilon, out, start, n - start);
}

ES_CLONES void es_count_overlap(const float *const *deltas, int64_t count, float epsilon, double *unique,
                                double *shared, int64_t n) {
  for (int64_t start = 0; start < n; start += CHUNK) {
    const int64_t length = n - start < CHUNK ? n - start : CHUNK;
    int32_t changes[CHUNK] = {0};
    for (int64_t k = 0; k < count; k++)
      for (int64_t j = 0; j < length; j++) changes[j] += fabsf(deltas[k][start + j]) > epsilon;
    for (int64_t k = 0; k < count; k++) {
      int32_t alone = 0, together = 0;
      for (int64_t j = 0; j < length; j++) {
        const int changed = fabsf(deltas[k][start + j]) > epsilon;
        alone += changed & (changes[j] == 1);
        together += changed & (changes[j] > 1);
      }
      unique[k] += alone;
      shared[k] += together;
    }
  }
}

// Deviations are taken from the first model's value, so that equal values give exactly 0.
ES_INLINE void variance_chunk(const float *const *deltas, int64_t count, float *out, int64_t start, int64_t length) {
  const float *first = deltas[0] + start;
  const float share = 1.0f / (float)count;
  float mean[CHUNK], squares[CHUNK];
  for (int64_t j = 0; j < length; j++) mean[j] = squares[j] = 0;
  for (int64_t k = 1; k < count; k++) {
    const float *delta = deltas[k] + start;
    for (int64_t j = 0; j < length; j++) mean[j] += delta[j] - first[j];
  }
  for (int64_t j = 0; j < length; j++) mean[j] *= share;
  for (int64_t k = 0; k < count; k++) {
    const float *delta = deltas[k] + start;
    for (int64_t j = 0; j < length; j++) {
      const float deviation = delta[j] - first[j] - mean[j];
      squares[j] += deviation * deviation;
    }
  }
  for (int64_t j = 0; j < length; j++) out[start + j] = squares[j] * share;
}

ES_CLONES void es_variance(const float *const *deltas, int64_t count, float *out, int64_t n) {
  int64_t start = 0;
  for (; start + CHUNK <= n; start += CHUNK) variance_chunk(deltas, count, out, start, CHUNK);
  if (start < n) variance_chunk(deltas, count, out, start, n - start);
}

ES_CLONES int64_t es_count_nonzero(const float *values, int64_t n) {
  int64_t count = 0;
  for (int64_t i = 0; i < n; i++) count += values[i] != 0;
  return count;
}

ES_CLONES void es_zero_where(float *values, const float *mask, int64_t n) {
  for (int64_t i = 0; i < n; i++) values[i] = mask[i] != 0 ? values[i] : 0;
}

ES_INLINE void average_chunk(const float *base, const float *const *deltas, const float *weights, int64_t count,
                             float *out, int64_t start, int64_t length) {
  float total[CHUNK], mix[CHUNK], weight[CHUNK];
  for (int64_t j = 0; j < length; j++) total[j] = mix[j] = weight[j] = 0;
  for (int64_t k = 0; k < count; k++) {
    const float *delta = deltas[k] + start;
    for (int64_t j = 0; j < length; j++) total[j] += delta[j];
  }
  for (int64_t k = 0; k < count; k++) {
    const float *delta = deltas[k] + start;
    const float share = weights[k];
    for (int64_t j = 0; j < length; j++) {
      const int agrees = (total[j] >= 0) ? (delta[j] > 0) : (delta[j] < 0);
      mix[j] += agrees ? share * delta[j] : 0;
      weight[j] += agrees ? share : 0;
    }
  }
  for (int64_t j = 0; j < length; j++)
    out[start + j] = base[start + j] + mix[j] / (weight[j] > 1e-6f ? weight[j] : 1e-6f);
}

ES_CLONES void es_elect_sign_and_average(const float *base, const float *const *deltas, const float *weights,
                                         int64_t count, float *out, int64_t n) {
  int64_t start = 0;
  for (; start + CHUNK <= n; start += CHUNK) average_chunk(base, deltas, weights, count, out, start, CHUNK);
  if (start < n) average_chunk(base, deltas, weights, count, out, start, n - start);
}

static double largest(const float *values, int64_t n) {
  double most = -INFINITY;
  for (int64_t i = 0; i < n; i++) most = values[i] > most ? values[i] : most;
  return most;
}

static double exponential_sum(const float *values, int64_t n, double most) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += exp(values[i] - most);
  return sum;
}

double es_softmax_divergence(const float *x, const float *base, int64_t n) {
  const double most_x = largest(x, n), most_base = largest(base, n);
  const double sum_x = exponential_sum(x, n, most_x), sum_base = exponential_sum(base, n, most_base);
  double divergence = 0;
  for (int64_t i = 0; i < n; i++) {
    const double p = exp(x[i] - most_x) / sum_x + 1e-8, q = exp(base[i] - most_base) / sum_base + 1e-8;
    divergence += p * log(p / q);
  }
  return divergence;
}
