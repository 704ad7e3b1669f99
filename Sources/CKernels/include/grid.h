#pragma once
#include <stdbool.h>
#include <stdint.h>

// Grids of evenly spaced levels that numbers are rounded to: scale (code - zero) or scale code + offset, codes from 0 to
// `top`.

typedef enum {
  /// The grid spans the numbers.
  es_grid_extremes = 0,
  /// Of the spans shrunk by 0, 1, ... hundredths that of the least sum of |error|^2.4.
  es_grid_power,
  /// The same for the sum of importance error².
  es_grid_squares,
} es_grid_search;

/// How a grid is fitted to numbers. Zero is always a level.
typedef struct {
  int32_t top;
  /// The grid reaches as far below zero as above, which has the code (top + 1) / 2.
  bool symmetric;
  /// Bits of the significand of scales: 11 (half) or 8 (bfloat16), to whose numbers they are rounded; 24: they stay.
  int32_t significand;
  es_grid_search search;
  /// Spans that are tried.
  int32_t steps;
} es_grid_fit;

/// Grids of a matrix, and codes that are chosen.
typedef struct {
  /// Of the groups of row 0, then of row 1 ...; float64 where float32 is the type, so that what lies in the middle of two
  /// levels goes where it should.
  double *scales;
  /// Null: 0.
  const double *offsets;
  /// Null: all are `zero`.
  uint8_t *zeros;
  int32_t zero, top;
  /// Row after row.
  uint8_t *codes;
  /// Groups and columns of a row.
  int64_t groups, columns;
  /// The group of each column, in the order in which columns are swept.
  const int32_t *group_of;
  /// Grids are fitted in groups of `fit_length` columns, each as its first column is reached; 0: they are there.
  int64_t fit_length;
  es_grid_fit fit;
  /// What a square error counts, by column as swept; null: alike.
  const double *importance;
} es_rounding;

/// Fits the grids of some rows, a group each.
///
/// @param values `[rows, count]`, `stride` apart; at most 8 rows.
/// @param importance of the `count` columns; null: alike.
/// @param scales, zeros one a row, `groups` apart; `zeros` may be null.
/// @param room for 8 count values.
void es_grid_fit_rows(const double *values, int64_t stride, int64_t rows, int64_t count, es_grid_fit fit,
                      const double *importance, double *scales, uint8_t *zeros, int64_t groups, double *room);

/// The least and the greatest of n numbers and zero.
void es_grid_extremes_of(const float *values, int64_t n, float *low, float *high);

/// Values of matrix rows, n of each clamped to -limit ... limit of their group.
void es_grid_clamp(const float *values, int64_t n, float limit, float *clamped);

// MARK: Codes of block formats

/// Writes the codes of a block into its bytes, whose scales are left alone. Codes count from 0, the least level; for Q8_0
/// that is -127.
///
/// @param type as `es_quantized_type`; Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K ... Q6_K.
void es_block_put_codes(int32_t type, const uint8_t *codes, uint8_t *block);

// MARK: Orders

/// target[i] = source[order[i]].
void es_order_floats(const float *source, const int32_t *order, int64_t n, float *target);
void es_order_doubles(const double *source, const int32_t *order, int64_t n, double *target);
/// target[order[i]] = source[i].
void es_order_bytes_back(const uint8_t *source, const int32_t *order, int64_t n, uint8_t *target);

// MARK: Ternary

/// Codes 0, 1, 2 of -1, 0, 1: 1 where |values[i]| is at most `threshold`.
void es_ternary_codes(const float *values, int64_t n, float threshold, uint8_t *codes);

/// How many of n magnitudes are above a threshold, and their sum.
int64_t es_ternary_sum(const float *values, int64_t n, float threshold, double *sum);
