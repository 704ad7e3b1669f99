#pragma once
#include <stdbool.h>
#include <stdint.h>

// What evaluation asks of logits. Logits are float32; exponentials, logarithms and sums are float64, by polynomials
// evaluated in a fixed order, in 16 lanes (element i in lane i mod 16) added in a fixed tree: the same bits on every
// machine.

/// What one row of logits says of the token that came.
typedef struct {
  /// The natural logarithm of its probability.
  double log_probability;
  /// The most probable token, the lowest of equals.
  int32_t top;
} es_token_score;

/// Scores `target` by one row of `n` logits. False, and nothing written, if a logit is NaN or infinite.
bool es_score_token(const float *logits, int64_t n, int32_t target, es_token_score *score);

/// How far the distribution Q of the candidate is from P of the reference after the same tokens, in nats.
typedef struct {
  /// KL(P || Q) = sum of p (log p - log q), not below 0; rounding of some 1e-16, relative where it is large.
  double kl;
  /// Jensen-Shannon: KL(P || M) / 2 + KL(Q || M) / 2 with M = (P + Q) / 2, from 0 to ln 2; rounding of some 1e-16.
  double js;
  /// Logarithms of the probability of the token that came.
  double reference_log_probability, candidate_log_probability;
  /// Its probability by the candidate less that by the reference.
  double probability_change;
  int32_t reference_top, candidate_top;
} es_token_divergence;

/// Compares two rows of `n` logits; equal rows give exactly 0. False, and nothing written, if a logit is NaN or
/// infinite.
bool es_compare_token(
    const float *reference, const float *candidate, int64_t n, int32_t target, es_token_divergence *divergence);
