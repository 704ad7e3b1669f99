#include <math.h>

#include "elementary.h"
#include "network.h"

#pragma STDC FP_CONTRACT OFF

enum { lanes = 16, page = ES_ATTENTION_PAGE, parts = page / lanes };
typedef float floats __attribute__((vector_size(lanes * sizeof(float)), aligned(4), may_alias));

/// scores[j] = scale * (query . key j), the products added in the order of the entries.
ES_INLINE void scores_of(const struct es_attention *attention, const float *query, const float *keys, float *scores) {
  floats sums[parts] = {{0}};
  for (int64_t i = 0; i < attention->key_width; i++) {
    const floats q = (floats){0} + query[i];
    for (int part = 0; part < parts; part++)
      sums[part] = __builtin_elementwise_fma(q, *(const floats *)(keys + i * page + part * lanes), sums[part]);
  }
  for (int part = 0; part < parts; part++) *(floats *)(scores + part * lanes) = attention->scale * sums[part];
}

/// out[i] = factor * out[i] + sum over keys of weight * value, the keys in their order, for `blocks` * lanes entries.
ES_INLINE void mix(const float *weights, const float *values, int64_t width, int64_t first, int64_t last, float factor,
                   float *out, const int blocks) {
  floats sums[4];
  for (int b = 0; b < blocks; b++) sums[b] = factor * *(const floats *)(out + b * lanes);
  for (int64_t j = first; j < last; j++) {
    const floats weight = (floats){0} + weights[j];
    for (int b = 0; b < blocks; b++)
      sums[b] = __builtin_elementwise_fma(weight, *(const floats *)(values + j * width + b * lanes), sums[b]);
  }
  for (int b = 0; b < blocks; b++) *(floats *)(out + b * lanes) = sums[b];
}

ES_CLONES void es_attention_page(const struct es_attention *attention, const float *query, const float *keys,
                                 const float *values, const float *bias, int64_t first, int64_t last, float *maximum,
                                 float *sum, float *out) {
  float scores[page];
  scores_of(attention, query, keys, scores);
  if (attention->softcap > 0.0f)
    for (int j = 0; j < page; j++)
      scores[j] = attention->softcap * elementary_tanh(scores[j] / attention->softcap);
  if (bias)
    for (int j = 0; j < page; j++) scores[j] += bias[j];

  float peak = *maximum;
  for (int64_t j = first; j < last; j++) peak = scores[j] > peak ? scores[j] : peak;
  // Nothing but -infinity was seen so far.
  const float reference = peak == -INFINITY ? 0.0f : peak;
  for (int j = 0; j < page; j++) {
    const float weight = elementary_exp(scores[j] - reference);
    scores[j] = j >= first && j < last ? weight : 0.0f;
  }
  floats sums = {0};
  for (int part = 0; part < parts; part++) sums += *(const floats *)(scores + part * lanes);
  for (int width = lanes / 2; width > 0; width /= 2)
    for (int j = 0; j < width; j++) sums[j] += sums[j + width];

  const float factor = elementary_exp(*maximum - reference);
  *sum = *sum * factor + sums[0];
  *maximum = peak;
  const int64_t width = attention->value_width;
  int64_t i = 0;
  for (; i + 4 * lanes <= width; i += 4 * lanes) mix(scores, values + i, width, first, last, factor, out + i, 4);
  for (; i + lanes <= width; i += lanes) mix(scores, values + i, width, first, last, factor, out + i, 1);
  for (; i < width; i++) {
    float total = factor * out[i];
    for (int64_t j = first; j < last; j++) total = __builtin_fmaf(scores[j], values[j * width + i], total);
    out[i] = total;
  }
}

void es_attention_bias(const float *table, int32_t limit, const int32_t *positions, int64_t n, int32_t position,
                       float *bias) {
  for (int64_t j = 0; j < n; j++) {
    const int32_t distance = positions[j] - position;
    const int32_t raised = distance < -limit ? -limit : distance;
    bias[j] = table[limit + (raised > limit ? limit : raised)];
  }
}

void es_attention_finish(float sum, float *out, int64_t width) {
  es_scaled(out, sum > 0.0f ? 1.0f / sum : sum != sum ? sum : 0.0f, out, width);
}

void es_attention_put_key(const float *key, int64_t width, int64_t slot, float *keys) {
  for (int64_t i = 0; i < width; i++) keys[i * page + slot] = key[i];
}
