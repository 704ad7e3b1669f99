#include "scan.h"

#include <string.h>

#include "elementary.h"
#include "lanes.h"

#pragma STDC FP_CONTRACT OFF

_Static_assert(lanes == ES_SCAN_LANES, "states are padded to whole vectors");

ES_CLONES void es_causal_convolution(const float *x, const float *taps, const float *bias, float *before, float *out,
                                     int64_t rows, int64_t width, int64_t kernel, int64_t first, int64_t last) {
  const int64_t past = kernel - 1;
  for (int64_t t = 0; t < rows; t++) {
    float *restrict to = out + t * width;
    for (int64_t c = first; c < last; c++) to[c] = bias ? bias[c] : 0.0f;
    for (int64_t k = 0; k < kernel; k++) {
      const int64_t row = t - past + k;
      const float *from = row < 0 ? before + (row + past) * width : x + row * width;
      const float *tap = taps + k * width;
      for (int64_t c = first; c < last; c++) to[c] = __builtin_fmaf(tap[c], from[c], to[c]);
    }
  }
  for (int64_t k = 0; k < past; k++) {
    const int64_t row = rows - past + k;
    const float *from = row < 0 ? before + (row + past) * width : x + row * width;
    if (last > first) memmove(before + k * width + first, from + first, (size_t)(last - first) * sizeof(float));
  }
}

/// `states` values followed by zeros up to a whole number of lanes.
ES_INLINE void widen(const float *from, int64_t states, int64_t padded, float *to) {
  for (int64_t n = 0; n < states; n++) to[n] = from[n];
  for (int64_t n = states; n < padded; n++) to[n] = 0.0f;
}

ES_INLINE int64_t rounded_up(int64_t states) { return (states + lanes - 1) / lanes * lanes; }

ES_CLONES void es_selective_scan(const struct es_scan_sizes *scan, const float *u, const float *step, const float *B,
                                 const float *C, const float *decay, const float *skip, float *state, float *out,
                                 int64_t first, int64_t last) {
  const int64_t states = scan->states, padded = rounded_up(states), width = scan->width;
  float b[ES_SCAN_STATES], c[ES_SCAN_STATES], rate[lanes];
  for (int64_t t = 0; t < scan->rows; t++) {
    widen(B + t * states, states, padded, b);
    widen(C + t * states, states, padded, c);
    float *y = out + t * width;
    for (int64_t channel = first; channel < last; channel++)
      y[channel] = elementary_softplus(step[t * width + channel]);
    for (int64_t channel = first; channel < last; channel++) {
      const float delta = y[channel], x = u[t * width + channel], input = delta * x;
      const float *a = decay + channel * states;
      float *h = state + channel * padded;
      floats sums = {0};
      for (int64_t n = 0; n < padded; n += lanes) {
        if (n + lanes <= states)
          for (int j = 0; j < lanes; j++) rate[j] = elementary_exp(delta * a[n + j]);
        else
          for (int j = 0; j < lanes; j++) rate[j] = n + j < states ? elementary_exp(delta * a[n + j]) : 0.0f;
        const floats next =
            __builtin_elementwise_fma(*(const floats *)rate, *(const floats *)(h + n), input * *(const floats *)(b + n));
        *(floats *)(h + n) = next;
        sums = __builtin_elementwise_fma(next, *(const floats *)(c + n), sums);
      }
      y[channel] = __builtin_fmaf(skip[channel], x, sum_of_lanes(&sums));
    }
  }
}

ES_CLONES void es_head_scan(const struct es_head_scan_sizes *scan, const float *u, const float *step, const float *bias,
                            const float *B, const float *C, const float *decay, const float *skip, float *state,
                            float *out, int64_t head) {
  const int64_t states = scan->states, padded = rounded_up(states), width = scan->heads * scan->head_width;
  const int64_t group = head / (scan->heads / scan->groups);
  float b[ES_SCAN_STATES], c[ES_SCAN_STATES];
  for (int64_t t = 0; t < scan->rows; t++) {
    widen(B + (t * scan->groups + group) * states, states, padded, b);
    widen(C + (t * scan->groups + group) * states, states, padded, c);
    float delta = elementary_softplus(step[t * scan->heads + head] + bias[head]);
    delta = delta < scan->low ? scan->low : delta;
    delta = delta > scan->high ? scan->high : delta;
    const float rate = elementary_exp(delta * decay[head]);
    const float *x = u + t * width + head * scan->head_width;
    float *y = out + t * width + head * scan->head_width;
    for (int64_t p = 0; p < scan->head_width; p++) {
      const float input = delta * x[p];
      float *h = state + p * padded;
      floats sums = {0};
      for (int64_t n = 0; n < padded; n += lanes) {
        const floats next = __builtin_elementwise_fma((floats){0} + rate, *(const floats *)(h + n),
                                                      input * *(const floats *)(b + n));
        *(floats *)(h + n) = next;
        sums = __builtin_elementwise_fma(next, *(const floats *)(c + n), sums);
      }
      y[p] = __builtin_fmaf(skip[head], x[p], sum_of_lanes(&sums));
    }
  }
}
