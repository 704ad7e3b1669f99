#pragma once
#include <stdint.h>

// Elementwise arithmetic of merging on blocks of float32. Sums over models are taken in the order of the models, in
// float64 where a coefficient is a double, and rounded once.

/// The index of the first value that is not below `threshold` in magnitude (a NaN is not); -1 if there is none.
int64_t es_first_beyond(const float *values, int64_t n, float threshold);

/// Whether `n` stored elements (little-endian, maybe unaligned) contain a NaN or an infinity.
int es_has_nonfinite_16(const void *bytes, int64_t n, uint16_t exponent_mask);
int es_has_nonfinite_32(const void *bytes, int64_t n);

/// out[i] = sum over k of weights[k] * inputs[k][i].
void es_weighted_sum(const float *const *inputs, const double *weights, int64_t count, float *out, int64_t n);

/// out[i] = base[i] + sum over k of weights[k] * (inputs[k][i] - base[i]).
void es_add_deltas(const float *base, const float *const *inputs, const double *weights, int64_t count, float *out,
                   int64_t n);

/// values[i] -= base[i].
void es_subtract(float *values, const float *base, int64_t n);

/// values[i] *= factor.
void es_scale(float *values, float factor, int64_t n);

/// TIES consensus (Yadav et al. 2023): with e_k = factors[k] * deltas[k][i], the sign of sum e_k (0 counts as +) is
/// elected, and out[i] = base[i] + lambda * m with m the sum of the e_k of that sign, divided by the sum of their
/// weights if `normalize` (a sum of 0 counts as 1).
void es_elect_sign_and_add(const float *base, const float *const *deltas, const float *factors, const float *weights,
                           int64_t count, float lambda, int normalize, float *out, int64_t n);

/// out[i] = w x[i] + (1 - w) base[i] with w = clamp(t / max(|base[i] - x[i]|, 1e-6), 0, 1).
void es_near_swap(const float *base, const float *x, float t, float *out, int64_t n);

/// A delta counts as a change where its magnitude exceeds `epsilon`. out[i] = base[i] + the mean of the changes; the
/// change of a model that is alone is multiplied by its factor.
void es_add_by_overlap(const float *base, const float *const *deltas, const float *factors, int64_t count,
                       float epsilon, float *out, int64_t n);

/// Adds to unique[k] and shared[k] the numbers of elements that model k changed alone and together with others.
void es_count_overlap(const float *const *deltas, int64_t count, float epsilon, double *unique, double *shared,
                      int64_t n);

/// out[i] = variance (mean squared deviation from the mean) of deltas[0][i], ... deltas[count-1][i]; 0 exactly where
/// all are equal.
void es_variance(const float *const *deltas, int64_t count, float *out, int64_t n);

/// The number of elements that are not 0.
int64_t es_count_nonzero(const float *values, int64_t n);

/// values[i] = 0 where mask[i] is 0.
void es_zero_where(float *values, const float *mask, int64_t n);

/// SCE's selective fusion (Wan et al. 2024): the sign of sum deltas[k][i] (0 counts as +) is elected;
/// out[i] = base[i] + sum e_k deltas[k][i] / max(sum e_k, 1e-6), e_k = weights[k] where the delta has that sign, else 0.
void es_elect_sign_and_average(const float *base, const float *const *deltas, const float *weights, int64_t count,
                               float *out, int64_t n);

/// sum p ln(p / q) with p = softmax(x) + 1e-8 and q = softmax(base) + 1e-8 of one row, in float64 by the C library.
double es_softmax_divergence(const float *x, const float *base, int64_t n);
