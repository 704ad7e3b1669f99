#include "metrics.h"

#include "float_bits.h"

#pragma STDC FP_CONTRACT OFF

enum { lanes = 16 };
typedef float floats __attribute__((vector_size(lanes * sizeof(float))));
typedef int32_t ints __attribute__((vector_size(lanes * sizeof(int32_t))));
typedef double doubles __attribute__((vector_size(lanes * sizeof(double))));
typedef int64_t words __attribute__((vector_size(lanes * sizeof(int64_t))));

// Vectors are handed over by pointer: by value their place would depend on the instruction set.

// Logarithm of 2 in two parts; the first has so few digits that its product with an exponent is exact.
static const double ln2_high = 0x1.62e42feep-1, ln2_low = 0x1.a39ef35793c76p-33;
// Below this exponentials are taken as e^-708, the least whose power of two is a normal number.
static const double least_exponent = -708;
// Stands for the logits beyond the last: finite, so that differences are, and of no weight.
static const float absent = -0x1p126f;

/// `x` = e^x for x <= 1: x = k ln 2 + r, |r| <= ln 2 / 2, Taylor's polynomial of degree 13 in r (remainder 4e-18).
ES_INLINE void exponential(doubles *x) {
  const words is_low = *x < least_exponent;
  const doubles least = (doubles){0} + least_exponent;
  const doubles value = (doubles)(((words)*x & ~is_low) | ((words)least & is_low));
  // Adding 1.5 * 2^52 rounds to an integer and leaves it in the low bits.
  const double shift = 0x1.8p52;
  const doubles shifted = value * 0x1.71547652b82fep0 + shift;
  const doubles k = shifted - shift;
  const doubles r = (value - k * ln2_high) - k * ln2_low;
  doubles sum = r * (1.0 / 6227020800) + 1.0 / 479001600;
  sum = sum * r + 1.0 / 39916800;
  sum = sum * r + 1.0 / 3628800;
  sum = sum * r + 1.0 / 362880;
  sum = sum * r + 1.0 / 40320;
  sum = sum * r + 1.0 / 5040;
  sum = sum * r + 1.0 / 720;
  sum = sum * r + 1.0 / 120;
  sum = sum * r + 1.0 / 24;
  sum = sum * r + 1.0 / 6;
  sum = sum * r + 0.5;
  sum = sum * r + 1;
  sum = sum * r + 1;
  *x = sum * (doubles)(((words)shifted + 1023) << 52);
}

/// `x` = log x for x from 1/2 to 1, 0 for 1: s = (x - 1) / (x + 1), log x = 2 (s + s^3 / 3 + s^5 / 5 ...), after x
/// below sqrt(1/2) was doubled (remainder 1e-18).
ES_INLINE void logarithm_of_half_to_one(doubles *x) {
  const words is_low = *x < 0x1.6a09e667f3bcdp-1;
  const doubles value = *x + (doubles)((words)*x & is_low);
  const doubles f = value - 1, s = f / (f + 2), w = s * s;
  doubles sum = w * (1.0 / 21) + 1.0 / 19;
  sum = sum * w + 1.0 / 17;
  sum = sum * w + 1.0 / 15;
  sum = sum * w + 1.0 / 13;
  sum = sum * w + 1.0 / 11;
  sum = sum * w + 1.0 / 9;
  sum = sum * w + 1.0 / 7;
  sum = sum * w + 1.0 / 5;
  sum = sum * w + 1.0 / 3;
  const doubles twice = s + s;
  const doubles ln2 = (doubles){0} + 0x1.62e42fefa39efp-1;
  *x = twice + twice * w * sum - (doubles)((words)ln2 & is_low);
}

/// The logarithm of a normal number of at least 1.
ES_INLINE double logarithm(double value) {
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  // value = 2^exponent * mantissa, mantissa from 1/2 to 1.
  const double exponent = (double)((int64_t)(bits >> 52) - 1022);
  bits = (bits & 0xfffffffffffffu) | 0x3fe0000000000000u;
  double mantissa;
  memcpy(&mantissa, &bits, sizeof mantissa);
  doubles x = (doubles){0} + mantissa;
  logarithm_of_half_to_one(&x);
  return exponent * ln2_high + (exponent * ln2_low + x[0]);
}

/// The sum of the lanes.
ES_INLINE double sum_of(const doubles *terms) {
  doubles sums = *terms;
  for (int width = lanes / 2; width > 0; width /= 2)
    for (int j = 0; j < width; j++) sums[j] += sums[j + width];
  return sums[0];
}

ES_INLINE void load(floats *x, const float *logits, int64_t start, int64_t n) {
  if (n - start >= lanes) {
    memcpy(x, logits + start, sizeof *x);
  } else {
    *x = (floats){0} + absent;
    memcpy(x, logits + start, (size_t)(n - start) * sizeof *logits);
  }
}

/// The first index of the greatest logit; -1 if one is NaN or infinite.
ES_INLINE int64_t top_of(const float *logits, int64_t n) {
  floats best = (floats){0} + absent;
  ints bad = {0};
  for (int64_t i = 0; i < n; i += lanes) {
    floats x;
    load(&x, logits, i, n);
    const ints is_better = x > best;
    best = (floats)(((ints)x & is_better) | ((ints)best & ~is_better));
    bad |= ((ints)x & 0x7f800000) == 0x7f800000;
  }
  int64_t top = -1;
  float greatest = absent;
  for (int j = 0; j < lanes; j++) {
    if (bad[j]) return -1;
    if (best[j] > greatest) greatest = best[j];
  }
  // Logits all as low as what stands for none: the first of them that is greatest, found the slow way.
  for (int64_t i = 0; i < n; i++) {
    if (logits[i] == greatest) return i;
    if (top < 0 || logits[i] > logits[top]) top = i;
  }
  return top;
}

/// The logarithm of the sum of the exponentials of the logits, `greatest` among them.
ES_INLINE double log_sum_exp(const float *logits, int64_t n, float greatest) {
  doubles sums = {0};
  for (int64_t i = 0; i < n; i += lanes) {
    floats x;
    load(&x, logits, i, n);
    doubles e = __builtin_convertvector(x, doubles) - (double)greatest;
    exponential(&e);
    sums += e;
  }
  return (double)greatest + logarithm(sum_of(&sums));
}

ES_CLONES bool es_score_token(const float *logits, int64_t n, int32_t target, es_token_score *score) {
  const int64_t top = top_of(logits, n);
  if (top < 0) return false;
  score->log_probability = (double)logits[target] - log_sum_exp(logits, n, logits[top]);
  score->top = (int32_t)top;
  return true;
}

ES_CLONES bool es_compare_token(
    const float *reference, const float *candidate, int64_t n, int32_t target, es_token_divergence *divergence) {
  const int64_t reference_top = top_of(reference, n), candidate_top = top_of(candidate, n);
  if (reference_top < 0 || candidate_top < 0) return false;
  const double reference_norm = log_sum_exp(reference, n, reference[reference_top]);
  const double candidate_norm = log_sum_exp(candidate, n, candidate[candidate_top]);
  const double norm_change = reference_norm - candidate_norm;
  doubles kl = {0}, js = {0};
  for (int64_t i = 0; i < n; i += lanes) {
    floats x, y;
    load(&x, reference, i, n);
    load(&y, candidate, i, n);
    const doubles a = __builtin_convertvector(x, doubles), b = __builtin_convertvector(y, doubles);
    // d = log p - log q; the greater of p and q, and their ratio r <= 1, give both. With M between them
    // p log(p / M) + q log(q / M) = max(p, q) (-r |d| - (1 + r) log((1 + r) / 2)).
    const doubles d = (a - b) - norm_change;
    const words q_is_greater = d < 0;
    const doubles distance = (doubles)((words)d & INT64_MAX);
    const doubles log_p = a - reference_norm, log_q = b - candidate_norm;
    doubles greater = (doubles)(((words)log_q & q_is_greater) | ((words)log_p & ~q_is_greater));
    exponential(&greater);
    doubles ratio = -distance;
    exponential(&ratio);
    doubles middle = (ratio + 1) * 0.5;
    logarithm_of_half_to_one(&middle);
    const doubles lesser = greater * ratio;
    const doubles p = (doubles)(((words)lesser & q_is_greater) | ((words)greater & ~q_is_greater));
    // The sum of q - p is 0; term by term it takes away what rounding of the norms does to the sum of p d.
    const doubles gap = lesser - greater;
    kl += p * d + (doubles)((words)gap ^ (q_is_greater & INT64_MIN));
    js -= greater * (ratio * distance + (ratio + 1) * middle);
  }
  const double kl_sum = sum_of(&kl), js_sum = 0.5 * sum_of(&js);
  // Neither is negative; rounding may say so.
  divergence->kl = kl_sum > 0 ? kl_sum : 0;
  divergence->js = js_sum > 0 ? js_sum : 0;
  divergence->reference_log_probability = (double)reference[target] - reference_norm;
  divergence->candidate_log_probability = (double)candidate[target] - candidate_norm;
  doubles probabilities = {divergence->reference_log_probability, divergence->candidate_log_probability};
  exponential(&probabilities);
  divergence->probability_change = probabilities[1] - probabilities[0];
  divergence->reference_top = (int32_t)reference_top;
  divergence->candidate_top = (int32_t)candidate_top;
  return true;
}
