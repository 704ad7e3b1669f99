#include "balance.h"

#include <math.h>
#include <string.h>

#include "clones.h"

#pragma STDC FP_CONTRACT OFF

enum { CHUNK = 64 };

/// exp(x) for x <= 0, to about 2^-51; exponents below -700 count as -700, a NaN stays one.
/// x = k ln 2 + r with |r| <= ln 2 / 2; the Taylor series of exp(r) is cut after r^13 (the rest is below 2^-57).
ES_INLINE double exponential(double x) {
  x = x < -700 ? -700 : x;
  // Adding 1.5 * 2^52 rounds to a whole number and leaves it in the low bits.
  const double shifted = x * 0x1.71547652b82fep0 + 0x1.8p52;
  const double k = shifted - 0x1.8p52;
  const double r = (x - k * 0x1.62e42feep-1) - k * 0x1.a39ef35793c76p-33;
  double p = 1.0 / 6227020800.0;
  p = p * r + 1.0 / 479001600.0;
  p = p * r + 1.0 / 39916800.0;
  p = p * r + 1.0 / 3628800.0;
  p = p * r + 1.0 / 362880.0;
  p = p * r + 1.0 / 40320.0;
  p = p * r + 1.0 / 5040.0;
  p = p * r + 1.0 / 720.0;
  p = p * r + 1.0 / 120.0;
  p = p * r + 1.0 / 24.0;
  p = p * r + 1.0 / 6.0;
  p = p * r + 0.5;
  p = p * r + 1.0;
  p = p * r + 1.0;
  uint64_t bits;
  memcpy(&bits, &shifted, 8);
  bits = (bits << 52) + (1023ull << 52);
  double power;
  memcpy(&power, &bits, 8);
  return p * power;
}

/// tanh(x): (1 - e) / (1 + e) with e = exp(-2|x|); its Taylor series where that would cancel.
ES_INLINE double hyperbolic_tangent(double x) {
  const double size = fabs(x), square = x * x;
  const double e = exponential(-2 * size);
  const double far = (1 - e) / (1 + e);
  const double near =
      size * (1 + square * (-1.0 / 3 + square * (2.0 / 15 + square * (-17.0 / 315 + square * (62.0 / 2835)))));
  return copysign(size < 0.05 ? near : far, x);
}

/// Magnitudes clamped to the model's range; a NaN stays one.
ES_INLINE float clamped(float delta, es_balance model) {
  const float size = fabsf(delta);
  const float raised = size < model.low ? model.low : size;
  return raised > model.high ? model.high : raised;
}

ES_INLINE float score(float delta, double total, es_balance model, double width, double count) {
  const double place = width > 0 ? ((double)clamped(delta, model) - model.low) / width : 1;
  return (float)(exponential(count * (place * place - 1)) * hyperbolic_tangent((double)delta * total));
}

ES_INLINE void totals(const float *const *deltas, int64_t count, double *total, int64_t start, int64_t length) {
  for (int64_t j = 0; j < length; j++) total[j] = 0;
  for (int64_t k = 0; k < count; k++) {
    const float *delta = deltas[k] + start;
    for (int64_t j = 0; j < length; j++) total[j] += delta[j];
  }
}

ES_INLINE void scores_chunk(const float *const *deltas, int64_t count, int64_t k, es_balance model, float *out,
                            int64_t start, int64_t length) {
  double total[CHUNK];
  totals(deltas, count, total, start, length);
  const double width = (double)model.high - model.low;
  const float *delta = deltas[k] + start;
  for (int64_t j = 0; j < length; j++) out[start + j] = score(delta[j], total[j], model, width, (double)count);
}

ES_CLONES void es_balance_scores(const float *const *deltas, int64_t count, int64_t k, es_balance model, float *out,
                                 int64_t n) {
  int64_t start = 0;
  for (; start + CHUNK <= n; start += CHUNK) scores_chunk(deltas, count, k, model, out, start, CHUNK);
  if (start < n) scores_chunk(deltas, count, k, model, out, start, n - start);
}

ES_INLINE void combine_chunk(const float *base, const float *const *deltas, const es_balance *models, int64_t count,
                             double lambda, float *out, int64_t start, int64_t length) {
  double total[CHUNK], mix[CHUNK], divisor[CHUNK];
  totals(deltas, count, total, start, length);
  for (int64_t j = 0; j < length; j++) mix[j] = divisor[j] = 0;
  for (int64_t k = 0; k < count; k++) {
    const float *delta = deltas[k] + start;
    const es_balance model = models[k];
    const double width = (double)model.high - model.low;
    for (int64_t j = 0; j < length; j++) {
      const float value = score(delta[j], total[j], model, width, (double)count);
      const double above = model.scale > 0 ? ((double)value - model.threshold) * model.scale : 1;
      const double share = value <= model.threshold ? 0 : above;
      const double change = delta[j] == 0 ? 0 : copysign((double)clamped(delta[j], model), delta[j]);
      mix[j] += model.weight * (share * change);
      divisor[j] += share;
    }
  }
  for (int64_t j = 0; j < length; j++) {
    const double by = divisor[j] < 1e-12 ? 1e-12 : divisor[j];
    out[start + j] = (float)(base[start + j] + lambda * (mix[j] / by));
  }
}

ES_CLONES void es_balance_combine(const float *base, const float *const *deltas, const es_balance *models,
                                  int64_t count, double lambda, float *out, int64_t n) {
  int64_t start = 0;
  for (; start + CHUNK <= n; start += CHUNK)
    combine_chunk(base, deltas, models, count, lambda, out, start, CHUNK);
  if (start < n) combine_chunk(base, deltas, models, count, lambda, out, start, n - start);
}
