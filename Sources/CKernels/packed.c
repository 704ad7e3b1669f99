#include "packed.h"

#include <string.h>

#include "clones.h"

#pragma STDC FP_CONTRACT OFF

ES_INLINE float one_code(const uint8_t *stream, int bits, int64_t index) {
  const int64_t bit = index * bits;
  uint16_t pair;
  memcpy(&pair, stream + (bit >> 3), 2);
  return (float)(pair >> (bit & 7) & ((1 << bits) - 1));
}

// Eight codes begin and end with a byte.
ES_INLINE void decode(const uint8_t *stream, const int bits, int64_t first, float *values, int64_t n) {
  const uint64_t mask = (1u << bits) - 1;
  int64_t i = 0;
  for (; i < n && (first + i) % 8 != 0; i++) values[i] = one_code(stream, bits, first + i);
  const uint8_t *bytes = stream + (first + i) / 8 * bits;
  for (; i + 8 <= n; i += 8, bytes += bits) {
    uint64_t eight;
    memcpy(&eight, bytes, 8);
    for (int k = 0; k < 8; k++) values[i + k] = (float)(int32_t)(eight >> (k * bits) & mask);
  }
  for (; i < n; i++) values[i] = one_code(stream, bits, first + i);
}

ES_CLONES void es_packed_decode(const void *stream, int bits, int64_t first, float *values, int64_t n) {
  switch (bits) {
    case 1: return decode(stream, 1, first, values, n);
    case 2: return decode(stream, 2, first, values, n);
    case 3: return decode(stream, 3, first, values, n);
    case 4: return decode(stream, 4, first, values, n);
    case 5: return decode(stream, 5, first, values, n);
    case 6: return decode(stream, 6, first, values, n);
    case 7: return decode(stream, 7, first, values, n);
    default: return decode(stream, 8, first, values, n);
  }
}

void es_packed_encode(const uint8_t *codes, int bits, uint32_t *words, int64_t n) {
  uint64_t pending = 0;
  int held = 0;
  for (int64_t i = 0; i < n; i++) {
    pending |= (uint64_t)(codes[i] & ((1 << bits) - 1)) << held;
    held += bits;
    if (held >= 32) {
      *words++ = (uint32_t)pending;
      pending >>= 32;
      held -= 32;
    }
  }
  if (held > 0) *words = (uint32_t)pending;
}

ES_CLONES void es_packed_scale(float *values, int64_t n, int64_t column, int64_t group, const float *scales,
                               const float *zeros, float zero) {
  int64_t i = 0;
  while (i < n) {
    const int64_t g = (column + i) / group;
    const int64_t left = (g + 1) * group - column;
    const int64_t end = left < n ? left : n;
    const float z = zeros ? zeros[g] : zero, s = scales[g];
    for (; i < end; i++) values[i] = (values[i] - z) * s;
  }
}

ES_CLONES void es_packed_scale_indexed(float *values, int64_t n, int64_t column, const int32_t *groups,
                                       const float *scales, const float *zeros, float zero) {
  const int32_t *own = groups + column;
  if (zeros) {
    ES_ELEMENTWISE for (int64_t i = 0; i < n; i++) values[i] = (values[i] - zeros[own[i]]) * scales[own[i]];
  } else {
    ES_ELEMENTWISE for (int64_t i = 0; i < n; i++) values[i] = (values[i] - zero) * scales[own[i]];
  }
}

// Squares of 16 words, a cache line to read and one to write.
void es_packed_transpose(const uint32_t *words, int64_t rows, int64_t columns, uint32_t *transposed, int64_t stride) {
  for (int64_t top = 0; top < rows; top += 16) {
    const int64_t bottom = top + 16 < rows ? top + 16 : rows;
    for (int64_t left = 0; left < columns; left += 16) {
      const int64_t right = left + 16 < columns ? left + 16 : columns;
      for (int64_t j = left; j < right; j++)
        for (int64_t i = top; i < bottom; i++) transposed[j * stride + i] = words[i * columns + j];
    }
  }
}

ES_CLONES void es_packed_transpose_nibbles(const uint32_t *words, int64_t rows, int64_t columns, uint32_t *transposed,
                                           int64_t stride) {
  for (int64_t top = 0; top < rows; top += 8) {
    const int64_t height = rows - top < 8 ? rows - top : 8;
    for (int64_t column = 0; column < columns; column++) {
      uint32_t out[8] = {0};
      for (int64_t i = 0; i < height; i++) {
        const uint32_t word = words[(top + i) * columns + column];
        for (int k = 0; k < 8; k++) out[k] |= (word >> (4 * k) & 15) << (4 * i);
      }
      for (int k = 0; k < 8; k++) transposed[(column * 8 + k) * stride + top / 8] = out[k];
    }
  }
}

static const int interleaved[8] = {0, 2, 4, 6, 1, 3, 5, 7};

void es_packed_order_nibbles(uint32_t *words, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    const uint32_t word = words[i];
    uint32_t ordered = 0;
    for (int k = 0; k < 8; k++) ordered |= (word >> (4 * k) & 15) << (4 * interleaved[k]);
    words[i] = ordered;
  }
}

void es_packed_interleave_nibbles(uint32_t *words, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    const uint32_t word = words[i];
    uint32_t mixed = 0;
    for (int k = 0; k < 8; k++) mixed |= (word >> (4 * interleaved[k]) & 15) << (4 * k);
    words[i] = mixed;
  }
}
