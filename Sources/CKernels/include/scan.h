#pragma once
#include <stdint.h>

// Operations that walk along a sequence with a state of fixed size. A token's result depends on the state and the tokens
// since it was taken, added in their order: cutting a sequence into calls changes no bit. Channels, or heads, are
// independent of each other.

/// The largest number of states a channel may have.
#define ES_SCAN_STATES 1024
/// States are kept in rows of a multiple of this length; what is beyond the last one stays 0.
#define ES_SCAN_LANES 16

/// out[t, c] = bias[c] + sum over k of taps[k, c] x[t - kernel + 1 + k, c], for channels [first, last).
///
/// `before` holds the kernel - 1 rows before the first, and afterwards the last kernel - 1 rows; `bias` may be NULL; out
/// must not be x.
void es_causal_convolution(const float *x, const float *taps, const float *bias, float *before, float *out,
                           int64_t rows, int64_t width, int64_t kernel, int64_t first, int64_t last);

struct es_scan_sizes {
  int64_t rows, width, states;
};

/// The selective scan (Gu and Dao 2023, algorithm 2), for channels [first, last):
///
///     d = softplus(step[t, c]),  h[c, n] = e^(d decay[c, n]) h[c, n] + d u[t, c] B[t, n]
///     out[t, c] = sum over n of C[t, n] h[c, n] + skip[c] u[t, c]
///
/// `state` has width rows of `states` rounded up to ES_SCAN_LANES. out must be none of the inputs.
void es_selective_scan(const struct es_scan_sizes *scan, const float *u, const float *step, const float *B, const float *C,
                       const float *decay, const float *skip, float *state, float *out, int64_t first, int64_t last);

struct es_head_scan_sizes {
  int64_t rows, heads, head_width, groups, states;
  /// Bounds of the step.
  float low, high;
};

/// The scan of one head with one decay (Dao and Gu 2024), its channels p:
///
///     d = min(max(softplus(step[t] + bias), low), high),  h[p, n] = e^(d decay) h[p, n] + d u[t, p] B[t, n]
///     out[t, p] = sum over n of C[t, n] h[p, n] + skip u[t, p]
///
/// B and C are those of the head's group. `state` is the head's: head_width rows as in es_selective_scan.
void es_head_scan(const struct es_head_scan_sizes *scan, const float *u, const float *step, const float *bias, const float *B,
                  const float *C, const float *decay, const float *skip, float *state, float *out, int64_t head);
