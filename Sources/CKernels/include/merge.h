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

/// TIES consensus (Yadav et al. 2023): with e_k = weights[k] * deltas[k][i], the sign of sum e_k (0 counts as +) is
/// elected, and out[i] = base[i] + lambda * m with m the sum of the e_k of that sign, divided by the sum of their
/// weights if `normalize` (a sum of 0 counts as 1).
void es_elect_sign_and_add(const float *base, const float *const *deltas, const float *weights, int64_t count,
                           float lambda, int normalize, float *out, int64_t n);
