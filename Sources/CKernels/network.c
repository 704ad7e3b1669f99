#include "network.h"

#include "elementary.h"
#include "lanes.h"
#include "reduce.h"

#pragma STDC FP_CONTRACT OFF

ES_INLINE float gelu(float x) { return 0.5f * x * (1.0f + elementary_erf(x * 0x1.6a09e6p-1f)); }

// (1 + tanh y) / 2 = sigmoid(2 y).
ES_INLINE float gelu_tanh(float x) {
  const float y = 0x1.988454p-1f * __builtin_fmaf(0x1.6e4e26p-5f * x * x, x, x);
  return x * elementary_sigmoid(2.0f * y);
}

ES_INLINE float within(float x, float low, float high) {
  const float raised = x < low ? low : x;
  return raised > high ? high : raised;
}

#define ACTIVATION(name, expression)                                                                     \
  ES_CLONES static void activate_##name(const float *input, float *out, int64_t n) {                     \
    ES_ELEMENTWISE for (int64_t i = 0; i < n; i++) {                                                     \
      const float x = input[i];                                                                          \
      out[i] = (expression);                                                                             \
    }                                                                                                    \
  }                                                                                                      \
  ES_CLONES static void gate_##name(const float *input, const float *u, float *out, int64_t n) {         \
    ES_ELEMENTWISE for (int64_t i = 0; i < n; i++) {                                                     \
      const float x = input[i];                                                                          \
      out[i] = (expression) * u[i];                                                                      \
    }                                                                                                    \
  }

ACTIVATION(linear, x)
ACTIVATION(relu, x < 0.0f ? 0.0f : x)
ACTIVATION(relu_squared, x < 0.0f ? 0.0f : x * x)
ACTIVATION(relu6, within(x, 0.0f, 6.0f))
ACTIVATION(leaky_relu, x < 0.0f ? 0.01f * x : x)
ACTIVATION(silu, x *elementary_sigmoid(x))
ACTIVATION(gelu, gelu(x))
ACTIVATION(gelu_tanh, gelu_tanh(x))
ACTIVATION(gelu_quick, x *elementary_sigmoid(1.702f * x))
ACTIVATION(gelu_10, within(gelu(x), -10.0f, 10.0f))
ACTIVATION(tanh, elementary_tanh(x))
ACTIVATION(sigmoid, elementary_sigmoid(x))
ACTIVATION(softplus, elementary_softplus(x))
ACTIVATION(mish, x *elementary_tanh(elementary_softplus(x)))
ACTIVATION(hard_swish, x *within(x + 3.0f, 0.0f, 6.0f) / 6.0f)

#define EACH(use)                                                                                        \
  use(linear) use(relu) use(relu_squared) use(relu6) use(leaky_relu) use(silu) use(gelu) use(gelu_tanh)  \
  use(gelu_quick) use(gelu_10) use(tanh) use(sigmoid) use(softplus) use(mish) use(hard_swish)

void es_activate(es_activation f, const float *x, float *out, int64_t n) {
  switch (f) {
#define USE(name) case es_activation_##name: activate_##name(x, out, n); break;
    EACH(USE)
#undef USE
  }
}

void es_activate_gate(es_activation f, const float *g, const float *u, float *out, int64_t n) {
  switch (f) {
#define USE(name) case es_activation_##name: gate_##name(g, u, out, n); break;
    EACH(USE)
#undef USE
  }
}

ES_CLONES void es_add(const float *a, const float *b, float *out, int64_t n) {
  ES_ELEMENTWISE for (int64_t i = 0; i < n; i++) out[i] = a[i] + b[i];
}

ES_CLONES void es_multiply(const float *a, const float *b, float *out, int64_t n) {
  ES_ELEMENTWISE for (int64_t i = 0; i < n; i++) out[i] = a[i] * b[i];
}

ES_CLONES void es_scaled(const float *a, float factor, float *out, int64_t n) {
  ES_ELEMENTWISE for (int64_t i = 0; i < n; i++) out[i] = factor * a[i];
}

ES_CLONES void es_soft_cap(const float *a, float bound, float *out, int64_t n) {
  ES_ELEMENTWISE for (int64_t i = 0; i < n; i++) out[i] = bound * elementary_tanh(a[i] / bound);
}

ES_CLONES void es_add_scaled(const float *a, float factor, float *out, int64_t n) {
  ES_ELEMENTWISE for (int64_t i = 0; i < n; i++) out[i] += factor * a[i];
}

ES_CLONES void es_add_to_rows(const float *a, const float *b, float *out, int64_t rows, int64_t width) {
  for (int64_t row = 0; row < rows; row++)
    ES_ELEMENTWISE for (int64_t i = 0; i < width; i++) out[row * width + i] = a[row * width + i] + b[i];
}

/// `weighted` and `biased` are constants where this is called: a processor asked to load nothing from nowhere takes long.
ES_INLINE void normalize_as(const int weighted, const int biased, const float *x, const float *weight,
                            const float *bias, float mean, float factor, float *out, int64_t width) {
  ES_ELEMENTWISE for (int64_t i = 0; i < width; i++) {
    float value = (x[i] - mean) * factor;
    if (weighted) value *= weight[i];
    if (biased) value += bias[i];
    out[i] = value;
  }
}

ES_CLONES static void normalize(const float *x, const float *weight, const float *bias, float mean, float factor,
                                float *out, int64_t width) {
  if (weight && bias) normalize_as(1, 1, x, weight, bias, mean, factor, out, width);
  else if (weight) normalize_as(1, 0, x, weight, bias, mean, factor, out, width);
  else if (bias) normalize_as(0, 1, x, weight, bias, mean, factor, out, width);
  else normalize_as(0, 0, x, weight, bias, mean, factor, out, width);
}

void es_rms_norm(const float *x, const float *weight, float epsilon, float *out, int64_t rows, int64_t width) {
  for (int64_t row = 0; row < rows; row++) {
    const float *from = x + row * width;
    const double mean = es_square_sum(from, width) / (double)width;
    normalize(from, weight, 0, 0.0f, (float)(1.0 / __builtin_sqrt(mean + (double)epsilon)), out + row * width, width);
  }
}

typedef double doubles __attribute__((vector_size(lanes * sizeof(double))));

ES_CLONES static double squared_distance(const float *x, double mean, int64_t n) {
  doubles sums = {0};
  const int64_t whole = n - n % lanes;
  for (int64_t i = 0; i < whole; i += lanes) {
    const doubles d = __builtin_convertvector(*(const floats *)(x + i), doubles) - mean;
    sums += d * d;
  }
  for (int64_t i = whole; i < n; i++) {
    const double d = (double)x[i] - mean;
    sums[i - whole] += d * d;
  }
  for (int width = lanes / 2; width > 0; width /= 2)
    for (int j = 0; j < width; j++) sums[j] += sums[j + width];
  return sums[0];
}

void es_layer_norm(const float *x, const float *weight, const float *bias, float epsilon, float *out, int64_t rows,
                   int64_t width) {
  for (int64_t row = 0; row < rows; row++) {
    const float *from = x + row * width;
    const double mean = es_sum(from, width) / (double)width;
    const double variance = squared_distance(from, mean, width) / (double)width;
    const float factor = (float)(1.0 / __builtin_sqrt(variance + (double)epsilon));
    normalize(from, weight, bias, (float)mean, factor, out + row * width, width);
  }
}

/// out[i] = e^(x[i] - maximum); returns their sum, in 16 lanes.
ES_CLONES static float exponentials(const float *x, float maximum, float *out, int64_t n) {
  ES_ELEMENTWISE for (int64_t i = 0; i < n; i++) out[i] = elementary_exp(x[i] - maximum);
  floats sums = {0};
  const int64_t whole = n - n % lanes;
  for (int64_t i = 0; i < whole; i += lanes) sums += *(const floats *)(out + i);
  for (int64_t i = whole; i < n; i++) sums[i - whole] += out[i];
  return sum_of_lanes(&sums);
}

ES_CLONES static float largest(const float *x, int64_t n) {
  float maximum = x[0];
  for (int64_t i = 1; i < n; i++) maximum = x[i] > maximum ? x[i] : maximum;
  return maximum;
}

void es_softmax(const float *x, float *out, int64_t rows, int64_t width) {
  for (int64_t row = 0; row < rows && width > 0; row++) {
    const float *from = x + row * width;
    float *to = out + row * width;
    const float sum = exponentials(from, largest(from, width), to, width);
    es_scaled(to, 1.0f / sum, to, width);
  }
}

ES_CLONES static void rotate_halves(float *x, int64_t pairs, const float *cosine, const float *sine) {
  float *restrict first = x, *restrict second = x + pairs;
  for (int64_t i = 0; i < pairs; i++) {
    const float a = first[i], b = second[i];
    first[i] = a * cosine[i] - b * sine[i];
    second[i] = b * cosine[i] + a * sine[i];
  }
}

ES_CLONES static void rotate_neighbours(float *x, int64_t pairs, const float *cosine, const float *sine) {
  for (int64_t i = 0; i < pairs; i++) {
    const float a = x[2 * i], b = x[2 * i + 1];
    x[2 * i] = a * cosine[i] - b * sine[i];
    x[2 * i + 1] = b * cosine[i] + a * sine[i];
  }
}

void es_rotate(float *x, int64_t heads, int64_t width, int64_t pairs, int interleaved, const float *cosine,
               const float *sine) {
  for (int64_t head = 0; head < heads; head++, x += width) {
    if (interleaved) rotate_neighbours(x, pairs, cosine, sine);
    else rotate_halves(x, pairs, cosine, sine);
  }
}
