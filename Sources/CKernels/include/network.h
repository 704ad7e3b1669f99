#pragma once
#include <stdint.h>

// The arithmetic of network operations on rows of float32. A row's result depends on that row alone; all clones of a
// function give the same bits.

typedef enum __attribute__((enum_extensibility(closed))) {
  es_activation_linear,
  es_activation_relu,
  es_activation_relu_squared,
  es_activation_relu6,
  es_activation_leaky_relu,  // slope 0.01
  es_activation_silu,        // x sigmoid(x)
  es_activation_gelu,        // x (1 + erf(x / sqrt 2)) / 2
  es_activation_gelu_tanh,   // x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2
  es_activation_gelu_quick,  // x sigmoid(1.702 x)
  es_activation_gelu_10,     // gelu, held between -10 and 10
  es_activation_tanh,
  es_activation_sigmoid,
  es_activation_softplus,    // ln(1 + e^x)
  es_activation_mish,        // x tanh(softplus(x))
  es_activation_hard_swish,  // x min(max(x + 3, 0), 6) / 6
} es_activation;

/// out[i] = f(x[i]); out may be x.
void es_activate(es_activation f, const float *x, float *out, int64_t n);
/// out[i] = f(g[i]) u[i]; out may be g or u.
void es_activate_gate(es_activation f, const float *g, const float *u, float *out, int64_t n);

/// out[i] = a[i] + b[i], a[i] b[i], factor a[i], bound tanh(a[i] / bound), a[i] + b[i mod width] over whole rows; out
/// may be an operand.
void es_add(const float *a, const float *b, float *out, int64_t n);
void es_multiply(const float *a, const float *b, float *out, int64_t n);
void es_scaled(const float *a, float factor, float *out, int64_t n);
void es_soft_cap(const float *a, float bound, float *out, int64_t n);
void es_add_to_rows(const float *a, const float *b, float *out, int64_t rows, int64_t width);

/// out[i] += factor * a[i].
void es_add_scaled(const float *a, float factor, float *out, int64_t n);

/// Each row of `width` values divided by its root mean square: x / sqrt(mean(x^2) + epsilon) * weight (Zhang and
/// Sennrich 2019). The mean is taken in float64 in 16 lanes. `weight` may be NULL. out may be x.
void es_rms_norm(const float *x, const float *weight, float epsilon, float *out, int64_t rows, int64_t width);
/// (x - mean) / sqrt(variance + epsilon) * weight + bias (Ba et al. 2016); mean and variance in float64. `weight` and
/// `bias` may be NULL. out may be x.
void es_layer_norm(const float *x, const float *weight, const float *bias, float epsilon, float *out, int64_t rows,
                   int64_t width);

/// out = e^(x - max) / sum of them, for each row. out may be x.
void es_softmax(const float *x, float *out, int64_t rows, int64_t width);

/// Rotates the first 2 `pairs` values of each of `heads` heads of `width` values of one row, by angles given as cosine
/// and sine (Su et al. 2021): entries i and i + pairs together, or 2i and 2i + 1 where `interleaved`.
void es_rotate(float *x, int64_t heads, int64_t width, int64_t pairs, int interleaved, const float *cosine,
               const float *sine);

// Attention of queries to pages of keys and values, one page after the other (Milakov and Gimelshein 2018; Rabe and
// Staats 2021). Pages begin at multiples of ES_ATTENTION_PAGE keys of a sequence, so that a query's result does not
// depend on how the sequence came in.

#define ES_ATTENTION_PAGE 64

struct es_attention {
  int64_t key_width, value_width;
  /// Scores are scale * (query . key), then held within softcap by softcap * tanh(score / softcap) unless it is 0.
  float scale, softcap;
};

/// Queries that share the work of reading a page.
#define ES_ATTENTION_TOGETHER 4

/// One query on its way over the pages: `maximum`, `sum` and `out` (value_width) begin as -infinity, 0 and 0.
struct es_attention_query {
  const float *query;
  /// ES_ATTENTION_PAGE values that are added to the scores of the page, or NULL.
  const float *bias;
  float *out;
  /// The keys of the page that it sees, at least one; what lies outside has no influence.
  int64_t first, last;
  float maximum, sum;
};

/// Takes one page into account for `count` queries. `keys` is transposed, key_width rows of ES_ATTENTION_PAGE; `values`
/// has a row a key. A query's result does not depend on the others.
void es_attention_page(const struct es_attention *attention, int64_t count, struct es_attention_query *queries,
                       const float *keys, const float *values);

/// bias[j] = table[limit + distance], with distance = positions[j] - position held within -limit ... limit.
void es_attention_bias(const float *table, int32_t limit, const int32_t *positions, int64_t n, int32_t position,
                       float *bias);

/// out /= sum (0 where nothing was seen).
void es_attention_finish(float sum, float *out, int64_t width);

/// Puts a key of `width` values into slot `slot` of a transposed page.
void es_attention_put_key(const float *key, int64_t width, int64_t slot, float *page);
