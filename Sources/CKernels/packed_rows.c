#include "packed_rows.h"

#include <string.h>

#include "clones.h"
#include "convert.h"
#include "packed.h"

#pragma STDC FP_CONTRACT OFF

ES_INLINE int32_t code_at(const uint8_t *stream, int bits, int64_t place) {
  const int64_t bit = place * bits;
  uint16_t pair;
  memcpy(&pair, stream + (bit >> 3), 2);
  return pair >> (bit & 7) & ((1 << bits) - 1);
}

ES_CLONES void es_packed_pick(const uint8_t *stream, int bits, const int32_t *columns, int64_t n, uint8_t *codes) {
  for (int64_t i = 0; i < n; i++) codes[i] = (uint8_t)code_at(stream, bits, columns[i]);
}

// Values of columns in the order of their groups.
ES_CLONES static void scale_groups(
    float *values, ptrdiff_t column, ptrdiff_t n, ptrdiff_t group_columns, float zero, const float *scales,
    const int8_t *zeros) {
  for (ptrdiff_t i = 0; i < n;) {
    const ptrdiff_t group = (column + i) / group_columns;
    const ptrdiff_t left = (group + 1) * group_columns - column, end = left < n ? left : n;
    const float z = zeros ? zero + (float)zeros[group] : zero, s = scales[group];
    for (; i < end; i++) values[i] = (values[i] - z) * s;
  }
}

// Columns of any group.
ES_CLONES static void scale_each(
    float *values, ptrdiff_t n, float zero, const float *scales, const int8_t *zeros, const int32_t *groups) {
  if (zeros) {
    for (ptrdiff_t i = 0; i < n; i++) values[i] = (values[i] - (zero + (float)zeros[groups[i]])) * scales[groups[i]];
  } else {
    for (ptrdiff_t i = 0; i < n; i++) values[i] = (values[i] - zero) * scales[groups[i]];
  }
}

ES_CLONES static void decode_places(
    const uint8_t *stream, int bits, const int32_t *places, ptrdiff_t n, float *values) {
  for (ptrdiff_t i = 0; i < n; i++) values[i] = (float)code_at(stream, bits, places[i]);
}

void es_packed_widen(
    const void *all, ptrdiff_t stride, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t start, ptrdiff_t count,
    float *panel, ptrdiff_t panel_stride) {
  (void)stride;
  const es_packed_rows *weights = all;
  const float zero = weights->grid == es_packed_integers ? (float)(1 << (weights->bits - 1)) : 0;
  for (ptrdiff_t r = row; r < row + rows; r++, panel += panel_stride) {
    const uint8_t *codes = weights->codes + r * weights->stride;
    const ptrdiff_t place = r / weights->block_rows * weights->groups;
    const float *scales = weights->scales + place;
    const int8_t *zeros = weights->zeros ? weights->zeros + place : 0;
    if (weights->grid == es_packed_f8e4m3) es_decode_f8e4m3(codes + start, panel, count);
    else if (weights->grid == es_packed_f8e5m2) es_decode_f8e5m2(codes + start, panel, count);
    else if (weights->places) decode_places(codes, weights->bits, weights->places + start, count, panel);
    else es_packed_decode(codes, weights->bits, start, panel, count);
    if (weights->column_groups) scale_each(panel, count, zero, scales, zeros, weights->column_groups + start);
    else scale_groups(panel, start, count, weights->group_columns, zero, scales, zeros);
  }
}
