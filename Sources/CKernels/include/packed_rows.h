#pragma once
#include "linear.h"

// A matrix whose rows are codes of a few bits, with scales and zero points for groups of columns, and its products:
//
//   w[o, i] = scale[o / block_rows, g(i)] * (code[o, p(i)] - zero[o / block_rows, g(i)])

/// What codes are: integers of some bits, side by side as in packed.h; or floats of 8 bits, whose zero is 0.
typedef enum __attribute__((enum_extensibility(closed))) {
  es_packed_integers, es_packed_f8e4m3, es_packed_f8e5m2,
} es_packed_grid;

/// Bytes past the last row of codes that may be read.
#define ES_PACKED_SLACK 128

typedef struct {
  es_packed_grid grid;
  /// Bits of a code, 1 to 8.
  int bits;
  /// Rows of codes, `stride` bytes apart.
  const uint8_t *codes;
  ptrdiff_t stride;
  /// For each `block_rows` rows a row of `groups` scales.
  const float *scales;
  /// As many zero points, less 2^(bits - 1); null: all are that.
  const int8_t *zeros;
  ptrdiff_t block_rows, groups;
  /// The columns of a group, the last one having fewer.
  ptrdiff_t group_columns;
  /// The group of each column; null: i / group_columns.
  const int32_t *column_groups;
  /// Where each column's code is in its row, so that groups lie together; null: at its own place.
  const int32_t *places;
} es_packed_rows;

/// An es_linear_widening of es_packed_rows; the stride is not used. Difference and product are rounded once each.
void es_packed_widen(
    const void *weights, ptrdiff_t stride, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t start, ptrdiff_t count,
    float *panel, ptrdiff_t panel_stride);

/// codes[p] of the result is code columns[p] of a stream of `bits` bits.
void es_packed_pick(const uint8_t *stream, int bits, const int32_t *columns, int64_t n, uint8_t *codes);

/// y[t * y_stride + o - row] for all t < tokens and row <= o < row + rows, as es_linear_dot has it: for integers whose
/// groups are whole blocks of 32 columns, or one. Codes are taken less 2^(bits - 1), so that m is the product of a
/// scale and what `zeros` says, rounded and negated. If there are places, x has its columns there.
void es_packed_dot(
    es_linear_kernel kernel, const es_packed_rows *weights, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t columns,
    const es_linear_codes *x, ptrdiff_t tokens, float *y, ptrdiff_t y_stride);
