#include <math.h>

#include "elementary.h"
#include "lanes.h"
#include "network.h"

#pragma STDC FP_CONTRACT OFF

enum { page = ES_ATTENTION_PAGE, parts = page / lanes, together = ES_ATTENTION_TOGETHER };
typedef int32_t places __attribute__((vector_size(lanes * sizeof(int32_t))));
#define UNROLL _Pragma("clang loop unroll(full)")

/// scores[q][j] = scale * (query q . key j), the products added in the order of the entries.
ES_INLINE void scores_of(const struct es_attention *attention, const int count, struct es_attention_query *queries,
                         const float *keys, float scores[together][page]) {
  floats sums[together][parts];
  UNROLL for (int q = 0; q < count; q++)
    UNROLL for (int part = 0; part < parts; part++) sums[q][part] = (floats){0};
  for (int64_t i = 0; i < attention->key_width; i++) {
    floats key[parts];
    UNROLL for (int part = 0; part < parts; part++) key[part] = *(const floats *)(keys + i * page + part * lanes);
    UNROLL for (int q = 0; q < count; q++) {
      const floats entry = SPLAT(queries[q].query[i]);
      UNROLL for (int part = 0; part < parts; part++)
        sums[q][part] = __builtin_elementwise_fma(entry, key[part], sums[q][part]);
    }
  }
  UNROLL for (int q = 0; q < count; q++)
    UNROLL for (int part = 0; part < parts; part++)
      *(floats *)(scores[q] + part * lanes) = attention->scale * sums[q][part];
}

/// The greatest of scores[first ..< last], whatever is NaN left out; -infinity if there is none.
ES_INLINE float largest_between(const float *scores, int32_t first, int32_t last) {
  const places in_order = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  floats best = SPLAT(-INFINITY);
  UNROLL for (int part = 0; part < parts; part++) {
    const floats score = *(const floats *)(scores + part * lanes);
    const places place = in_order + part * lanes;
    const places is_better = (score > best) & (place >= first) & (place < last);
    best = (floats)(((places)score & is_better) | ((places)best & ~is_better));
  }
  const lanes_of_8 eight = __builtin_elementwise_max(
      __builtin_shufflevector(best, best, 0, 1, 2, 3, 4, 5, 6, 7),
      __builtin_shufflevector(best, best, 8, 9, 10, 11, 12, 13, 14, 15));
  const lanes_of_4 four = __builtin_elementwise_max(
      __builtin_shufflevector(eight, eight, 0, 1, 2, 3), __builtin_shufflevector(eight, eight, 4, 5, 6, 7));
  const float even = four[0] > four[2] ? four[0] : four[2], odd = four[1] > four[3] ? four[1] : four[3];
  return even > odd ? even : odd;
}

/// Turns the scores of one query into weights e^(score - maximum), 0 outside what it sees, and takes them into account in
/// its maximum and sum. Returns what the earlier sums have to be multiplied by.
ES_INLINE float weights_of(const struct es_attention *attention, struct es_attention_query *query, float *scores) {
  if (attention->softcap > 0.0f)
    for (int j = 0; j < page; j++) scores[j] = attention->softcap * elementary_tanh(scores[j] / attention->softcap);
  if (query->bias)
    for (int j = 0; j < page; j++) scores[j] += query->bias[j];

  float peak = query->maximum;
  const float seen = largest_between(scores, (int32_t)query->first, (int32_t)query->last);
  peak = seen > peak ? seen : peak;
  // Nothing but -infinity was seen so far.
  const float reference = peak == -INFINITY ? 0.0f : peak;
  const int first = (int)query->first, last = (int)query->last;
  for (int j = 0; j < page; j++) {
    const float weight = elementary_exp(scores[j] - reference);
    scores[j] = j >= first && j < last ? weight : 0.0f;
  }
  floats sums = {0};
  UNROLL for (int part = 0; part < parts; part++) sums += *(const floats *)(scores + part * lanes);
  const float sum = sum_of_lanes(&sums);

  const float factor = elementary_exp(query->maximum - reference);
  query->sum = query->sum * factor + sum;
  query->maximum = peak;
  return factor;
}

/// sums[q] += weight * value for keys [first, last), in their order, `blocks` * lanes entries from `values` on.
ES_INLINE void mix(const int count, const int blocks, floats sums[together][2], float weights[together][page],
                   const float *values, int64_t width, int64_t first, int64_t last) {
  for (int64_t j = first; j < last; j++) {
    floats value[2];
    UNROLL for (int b = 0; b < blocks; b++) value[b] = *(const floats *)(values + j * width + b * lanes);
    UNROLL for (int q = 0; q < count; q++) {
      const floats weight = SPLAT(weights[q][j]);
      UNROLL for (int b = 0; b < blocks; b++)
        sums[q][b] = __builtin_elementwise_fma(weight, value[b], sums[q][b]);
    }
  }
}

/// out = factor * out + the mix of the values, for entries [i, i + blocks * lanes) of all queries. Keys that all see go
/// together; what lies outside a query's range must not touch it, not even with weight 0.
ES_INLINE void mix_all(const int count, const int blocks, struct es_attention_query *queries, const float *factors,
                       float weights[together][page], const float *values, int64_t width, int64_t i) {
  int64_t first = queries[0].first, last = queries[0].last;
  for (int q = 1; q < count; q++) {
    first = queries[q].first > first ? queries[q].first : first;
    last = queries[q].last < last ? queries[q].last : last;
  }
  if (last < first) last = first;
  floats sums[together][2];
  UNROLL for (int q = 0; q < count; q++)
    UNROLL for (int b = 0; b < blocks; b++)
      sums[q][b] = factors[q] * *(const floats *)(queries[q].out + i + b * lanes);
  for (int q = 0; q < count; q++)
    mix(1, blocks, sums + q, weights + q, values + i, width, queries[q].first, first < queries[q].last ? first : queries[q].last);
  mix(count, blocks, sums, weights, values + i, width, first, last);
  for (int q = 0; q < count; q++)
    mix(1, blocks, sums + q, weights + q, values + i, width, last > queries[q].first ? last : queries[q].first, queries[q].last);
  UNROLL for (int q = 0; q < count; q++)
    UNROLL for (int b = 0; b < blocks; b++) *(floats *)(queries[q].out + i + b * lanes) = sums[q][b];
}

ES_INLINE void attend(const struct es_attention *attention, const int count, struct es_attention_query *queries,
                      const float *keys, const float *values) {
  float scores[together][page], factors[together];
  scores_of(attention, count, queries, keys, scores);
  for (int q = 0; q < count; q++) factors[q] = weights_of(attention, queries + q, scores[q]);
  const int64_t width = attention->value_width;
  int64_t i = 0;
  for (; i + 2 * lanes <= width; i += 2 * lanes) mix_all(count, 2, queries, factors, scores, values, width, i);
  for (; i + lanes <= width; i += lanes) mix_all(count, 1, queries, factors, scores, values, width, i);
  for (; i < width; i++)
    for (int q = 0; q < count; q++) {
      float total = factors[q] * queries[q].out[i];
      for (int64_t j = queries[q].first; j < queries[q].last; j++)
        total = __builtin_fmaf(scores[q][j], values[j * width + i], total);
      queries[q].out[i] = total;
    }
}

ES_CLONES void es_attention_page(const struct es_attention *attention, int64_t count,
                                 struct es_attention_query *queries, const float *keys, const float *values) {
  int64_t q = 0;
  for (; q + 4 <= count; q += 4) attend(attention, 4, queries + q, keys, values);
  for (; q + 2 <= count; q += 2) attend(attention, 2, queries + q, keys, values);
  for (; q < count; q++) attend(attention, 1, queries + q, keys, values);
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
