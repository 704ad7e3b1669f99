#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "product.h"

// Products of activations with coded weights: y[t, o] = sum over i of x[t, i] w[o, i].

// Widening for the packed product (es_product_pack_f32): rows of coded numbers, `stride` bytes apart, at any
// alignment. `start` is the beginning of a block of the code.

typedef void (*es_linear_widening)(
    const void *elements, ptrdiff_t stride, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t start, ptrdiff_t count,
    float *panel, ptrdiff_t panel_stride);

#define ES_LINEAR_WIDEN(type)                                                                                  \
  void es_linear_widen_##type(                                                                                 \
      const void *elements, ptrdiff_t stride, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t start, ptrdiff_t count, \
      float *panel, ptrdiff_t panel_stride);

ES_LINEAR_WIDEN(f64)
ES_LINEAR_WIDEN(f32)
ES_LINEAR_WIDEN(f16)
ES_LINEAR_WIDEN(bf16)
ES_LINEAR_WIDEN(f8e4m3)
ES_LINEAR_WIDEN(f8e5m2)

ES_LINEAR_WIDEN(q4_0)
ES_LINEAR_WIDEN(q4_1)
ES_LINEAR_WIDEN(q5_0)
ES_LINEAR_WIDEN(q5_1)
ES_LINEAR_WIDEN(q8_0)
ES_LINEAR_WIDEN(iq4_nl)
ES_LINEAR_WIDEN(mxfp4)

ES_LINEAR_WIDEN(q2_K)
ES_LINEAR_WIDEN(q3_K)
ES_LINEAR_WIDEN(q4_K)
ES_LINEAR_WIDEN(q5_K)
ES_LINEAR_WIDEN(q6_K)
ES_LINEAR_WIDEN(q8_K)
ES_LINEAR_WIDEN(iq4_xs)

// Float weights for few rows of x: each weight is widened in a register as it streams by.

typedef enum __attribute__((enum_extensibility(closed))) {
  es_linear_f32, es_linear_f16, es_linear_bf16,
} es_linear_float;

/// Whether es_linear_stream runs here with that kernel; the portable one never does.
bool es_linear_streams(es_product_kernel kernel);

/// y[t * y_stride + o] for all t < tokens, o < rows, with the bits of es_product_run_f32. `weights` is the first of the
/// rows, `stride` bytes apart; `columns` is not 0.
void es_linear_stream(
    es_product_kernel kernel, es_linear_float type, const void *weights, ptrdiff_t stride, ptrdiff_t rows,
    ptrdiff_t columns, const float *x, ptrdiff_t x_stride, ptrdiff_t tokens, float *y, ptrdiff_t y_stride);

// Integer dot products for few rows of x. Each row of x is coded in 16 bits, in blocks of 32 that share a scale; a code
// is two signed digits, so that processors with products of bytes take it in two steps:
//
//   s = max |x| / 32639, c = 256 high + low = x / s rounded to nearest, |high| <= 127, |low| <= 127
//
// A low digit that would be -128 is -127, so |x - s c| <= s. With 8 bits, perplexities rise by half a percent. A block
// with a NaN or an infinity has the scale NaN; one below 2^-100 counts as zero.

/// 256 columns of a row of x: 8 blocks. Lane l of a group of 64 stands for its columns 4 l ... 4 l + 3.
typedef struct {
  int8_t high[256], low[256];
  /// Minus the sum of each lane's codes.
  int32_t negated_sums[64];
  /// Each block's scale, and the sum of its codes times the scale.
  float scales_and_sums[16];
  /// For each 16 columns the scale, and the sum of the codes times the scale.
  float half_scales[16], half_sums[16];
} es_linear_codes;

/// How many of them are a row of so many columns; columns that the last one lacks are zeros.
ptrdiff_t es_linear_codes_count(ptrdiff_t columns);

/// Codes one row of x.
void es_linear_code(const float *x, ptrdiff_t columns, es_linear_codes *codes);

/// Block formats that have integer dot products.
typedef enum __attribute__((enum_extensibility(closed))) {
  es_linear_q4_0, es_linear_q4_1, es_linear_q5_0, es_linear_q5_1, es_linear_q8_0, es_linear_iq4_nl,
  es_linear_q2_K, es_linear_q3_K, es_linear_q4_K, es_linear_q5_K, es_linear_q6_K, es_linear_iq4_xs, es_linear_mxfp4,
} es_linear_format;

/// The same arithmetic for different processors, the slowest first.
typedef enum __attribute__((enum_extensibility(closed))) {
  es_linear_kernel_portable = 0,
  es_linear_kernel_avx2 = 1,
  es_linear_kernel_avxvnni = 2,
  es_linear_kernel_avx512 = 3,
  es_linear_kernel_neon = 4,
} es_linear_kernel;

/// Whether this processor runs `kernel`.
bool es_linear_kernel_runs(es_linear_kernel kernel);

/// The fastest kernel that this processor runs.
es_linear_kernel es_linear_fastest_kernel(void);

/// y[t * y_stride + o] for all t < tokens, o < rows. `weights` is the first of the rows, `stride` bytes apart;
/// `columns` is a multiple of the format's block. Token t is coded in x[t * es_linear_codes_count(columns)] and
/// following, aligned to 64 bytes.
///
/// A weight is d c + m with an integer code c; d and m are rounded to float32 where they are products themselves. With
/// s and S a block's scale and sum (of 16 columns where the weights' scales are for 16), in each of 16 lanes, group
/// after group from zero:
///
///   sum = fma(sum over 4 of (weight's c) (x's c), d s, sum)         the integers exact, d s rounded
///
/// and beside them the rounded m S are added up in lanes: 2 where blocks have 32 columns, 8 and 16 where they have 256.
/// Lanes are added in halves: l and l + 8, and so on; the sum of the m S comes last. All kernels give the same bits
/// (but for the sign and payload of a NaN).
void es_linear_dot(
    es_linear_kernel kernel, es_linear_format format, const void *weights, ptrdiff_t stride, ptrdiff_t rows,
    ptrdiff_t columns, const es_linear_codes *x, ptrdiff_t tokens, float *y, ptrdiff_t y_stride);

// Products in bfloat16 for many rows of x, summed in float32, where the processor multiplies pairs of them.

/// Whether es_linear_multiply_bf16 runs here.
bool es_linear_bf16_runs(void);

/// Rows of x in a panel.
#define ES_LINEAR_PANEL_ROWS 12

/// Numbers in a panel.
ptrdiff_t es_linear_panel_size(ptrdiff_t columns);

/// Rounds at most ES_LINEAR_PANEL_ROWS rows of x to bfloat16. Rows are `stride` floats apart.
void es_linear_pack_bf16(const float *x, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t columns, uint16_t *panel);

/// y[t * y_stride + o - row] for all t < tokens and row <= o < row + rows of the weights, which are widened and rounded
/// to bfloat16 a few rows at a time. x: panels, one after the other. A sum runs along the columns by pairs, as the
/// processor adds products of pairs: subnormals count as zero. Takes 150 KB of stack.
void es_linear_multiply_bf16(
    const uint16_t *x, ptrdiff_t tokens, const void *weights, ptrdiff_t stride, es_linear_widening widening,
    ptrdiff_t row, ptrdiff_t rows, ptrdiff_t columns, float *y, ptrdiff_t y_stride);
