#pragma once
#include <stdint.h>

// Parameter competition balancing (Du et al. 2024, arXiv:2410.02396), on blocks of float32 changes to a base.
// Arithmetic is in float64 with an exponential of our own, so that all machines agree; scores are rounded to float32.

/// What the elements of one model's change are measured by.
typedef struct {
  /// Magnitudes are clamped to this range, and normalized over it.
  float low, high;
  /// Scores up to this drop out.
  float threshold;
  /// 1 / (largest score - threshold); 0 if all that is above the threshold counts alike.
  float scale;
  /// Factor of the model's change.
  float weight;
} es_balance;

/// Scores of model k: out[i] = exp(count (r^2 - 1)) tanh(deltas[k][i] sum over j of deltas[j][i]), with
/// r = (clamp(|deltas[k][i]|, low, high) - low) / (high - low), 1 where low = high. The constant exp(-count) keeps
/// scores of many models in range and changes no result.
void es_balance_scores(const float *const *deltas, int64_t count, int64_t k, es_balance model, float *out, int64_t n);

/// out[i] = base[i] + lambda (sum over k of w_k s_k t_k) / max(sum over k of s_k, 1e-12), where t_k is the clamped
/// change and s_k = scale_k (score_k - threshold_k), 0 up to the threshold.
void es_balance_combine(const float *base, const float *const *deltas, const es_balance *models, int64_t count,
                        double lambda, float *out, int64_t n);
