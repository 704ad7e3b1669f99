#include "lattice.h"

#include <math.h>
#include <string.h>

#include "clones.h"

#pragma STDC FP_CONTRACT OFF

ES_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/// The bits of a magnitude from ES_LATTICE_EXACT on.
ES_INLINE int length_of(uint32_t magnitude) { return 32 - __builtin_clz(magnitude); }

ES_CLONES bool es_lattice_integers(const float *values, int64_t n, const float *steps, int64_t width,
                                   int32_t *integers) {
  int outside = 0;
  for (int64_t start = 0; start < n; start += width) {
    const int64_t count = least(width, n - start);
    for (int64_t j = 0; j < count; j++) {
      const float ratio = values[start + j] / steps[j];
      const int within = fabsf(ratio) <= (float)ES_LATTICE_MOST;
      outside |= !within;
      const float magnitude = within ? fabsf(ratio) : 0;
      // Both sums are exact below 2^23; a half goes up.
      const int32_t q = (int32_t)(magnitude + (magnitude < 0x1p22f ? 0.5f : 0));
      integers[start + j] = ratio < 0 ? -q : q;
    }
  }
  return !outside;
}

ES_CLONES void es_lattice_values(const int32_t *integers, int64_t n, const float *steps, int64_t width,
                                 float *values) {
  for (int64_t start = 0; start < n; start += width) {
    const int64_t count = least(width, n - start);
    for (int64_t j = 0; j < count; j++) values[start + j] = (float)integers[start + j] * steps[j];
  }
}

/// |w| / step + offset, cut to what an integer may be.
ES_INLINE int32_t rounded(float w, float step, float offset) {
  float level = fabsf(w) / step + offset;
  level = level < (float)ES_LATTICE_MOST ? level : (float)ES_LATTICE_MOST;
  const int32_t q = (int32_t)level;
  return w < 0 ? -q : q;
}

ES_CLONES void es_lattice_round(const float *values, int64_t n, const float *steps, int64_t width, float offset,
                                int32_t *integers) {
  for (int64_t start = 0; start < n; start += width) {
    const int64_t count = least(width, n - start);
    for (int64_t j = 0; j < count; j++) integers[start + j] = rounded(values[start + j], steps[j], offset);
  }
}

ES_CLONES double es_lattice_error(const float *values, const int32_t *integers, int64_t n, const float *steps,
                                  const float *weights, int64_t width) {
  double total = 0;
  for (int64_t start = 0; start < n; start += width) {
    const int64_t count = least(width, n - start);
    double sums[16] = {0};
    int64_t j = 0;
    for (; j + 16 <= count; j += 16)
      for (int64_t k = 0; k < 16; k++) {
        const double error = (double)values[start + j + k] - (double)((float)integers[start + j + k] * steps[j + k]);
        sums[k] += error * error * (weights ? (double)weights[j + k] : 1);
      }
    for (int64_t k = 0; j < count; j++, k++) {
      const double error = (double)values[start + j] - (double)((float)integers[start + j] * steps[j]);
      sums[k] += error * error * (weights ? (double)weights[j] : 1);
    }
    for (int half = 8; half > 0; half /= 2)
      for (int k = 0; k < half; k++) sums[k] += sums[k + half];
    total += sums[0];
  }
  return total;
}

ES_INLINE uint8_t symbol_of(int32_t q) {
  const uint32_t negative = q < 0, magnitude = negative ? (uint32_t)-q : (uint32_t)q;
  if (magnitude < ES_LATTICE_EXACT) return (uint8_t)(2 * magnitude - negative);
  return (uint8_t)(2 * ES_LATTICE_EXACT - 1 + 2 * (uint32_t)(length_of(magnitude) - 7) + negative);
}

/// The bits that follow a symbol.
ES_INLINE int rest_of(uint8_t symbol) {
  return symbol < 2 * ES_LATTICE_EXACT - 1 ? 0 : (symbol - (2 * ES_LATTICE_EXACT - 1)) / 2 + 6;
}

int64_t es_lattice_symbols(const int32_t *integers, int64_t n, uint8_t *symbols) {
  int64_t bits = 0;
  for (int64_t i = 0; i < n; i++) {
    symbols[i] = symbol_of(integers[i]);
    bits += rest_of(symbols[i]);
  }
  return bits;
}

void es_lattice_encode_rest(const int32_t *integers, int64_t n, uint8_t *bits) {
  uint64_t held = 0;
  int fill = 0;
  for (int64_t i = 0; i < n; i++) {
    const uint32_t magnitude = integers[i] < 0 ? (uint32_t)-integers[i] : (uint32_t)integers[i];
    if (magnitude < ES_LATTICE_EXACT) continue;
    const int count = length_of(magnitude) - 1;
    held |= (uint64_t)(magnitude ^ 1u << count) << fill;
    fill += count;
    while (fill >= 8) {
      *bits++ = (uint8_t)held;
      held >>= 8;
      fill -= 8;
    }
  }
  if (fill > 0) *bits = (uint8_t)held;
}

int64_t es_lattice_measure_rest(const uint8_t *symbols, int64_t n) {
  int64_t bits = 0;
  for (int64_t i = 0; i < n; i++) bits += rest_of(symbols[i]);
  return bits;
}

void es_lattice_decode(const uint8_t *symbols, int64_t n, const uint8_t *bits, int32_t *integers) {
  int64_t place = 0;
  for (int64_t i = 0; i < n; i++) {
    const int32_t symbol = symbols[i];
    if (symbol < 2 * ES_LATTICE_EXACT - 1) {
      const int32_t magnitude = (symbol + 1) >> 1;
      integers[i] = symbol & 1 ? -magnitude : magnitude;
      continue;
    }
    const int count = rest_of((uint8_t)symbol);
    uint64_t word;
    memcpy(&word, bits + place / 8, 8);
    const int32_t magnitude = (int32_t)(1u << count | (uint32_t)(word >> place % 8 & ((1u << count) - 1)));
    place += count;
    integers[i] = (symbol - (2 * ES_LATTICE_EXACT - 1)) & 1 ? -magnitude : magnitude;
  }
}

ES_CLONES void es_lattice_sums(const int32_t *integers, int64_t n, int64_t width, int64_t first, uint64_t *rows,
                               uint64_t *columns) {
  for (int64_t i = 0; i < n;) {
    // To the end of the row, and of the run of columns, which begins anew elsewhere.
    const int64_t row = (first + i) / width, column = i % width;
    const int64_t count = least(least(width - (first + i) % width, width - column), n - i);
    uint64_t sum = 0;
    for (int64_t j = 0; j < count; j++) {
      const int32_t q = integers[i + j];
      const uint32_t magnitude = q < 0 ? (uint32_t)-q : (uint32_t)q;
      const uint32_t cut = magnitude < 255 ? magnitude : 255;
      sum += cut;
      columns[column + j] += cut;
    }
    rows[row] += sum;
    i += count;
  }
}

ES_CLONES void es_lattice_keys(const uint8_t *rows, const uint8_t *columns, int64_t n, int64_t width, int64_t first,
                               uint8_t *keys) {
  for (int64_t i = 0; i < n;) {
    const int64_t row = (first + i) / width, column = i % width;
    const int64_t count = least(least(width - (first + i) % width, width - column), n - i);
    for (int64_t j = 0; j < count; j++) keys[i + j] = (uint8_t)(rows[row] + columns[column + j]);
    i += count;
  }
}

enum { lanes = ES_LATTICE_SWEEP_ROWS };

ES_CLONES double es_lattice_sweep(const float *weights, int64_t stride, int64_t rows, int64_t width, const float *u,
                                  int64_t u_stride, const float *steps, float offset, int32_t *integers,
                                  int64_t integer_stride, float *negated, float *room) {
  for (int64_t j = 0; j < width; j++)
    for (int64_t r = 0; r < lanes; r++) room[j * lanes + r] = r < rows ? weights[r * stride + j] : 0;
  double sums[lanes] = {0};
  for (int64_t j = 0; j < width; j++) {
    float errors[lanes];
    int32_t levels[lanes];
    const float step = steps[j], d = u[j * u_stride + j];
    for (int64_t r = 0; r < lanes; r++) {
      const float w = room[j * lanes + r];
      const int32_t q = rounded(w, step, offset);
      levels[r] = q;
      errors[r] = (w - (float)q * step) / d;
      sums[r] += (double)errors[r] * (double)errors[r];
    }
    for (int64_t r = 0; r < rows; r++) {
      integers[r * integer_stride + j] = levels[r];
      negated[r * width + j] = -errors[r];
    }
    for (int64_t l = j + 1; l < width; l++) {
      const float share = u[j * u_stride + l];
      for (int64_t r = 0; r < lanes; r++) room[l * lanes + r] -= errors[r] * share;
    }
  }
  double total = 0;
  for (int64_t r = 0; r < rows; r++) total += sums[r];
  return total;
}
