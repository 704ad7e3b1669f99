#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "linear.h"
#include "product.h"

// Matrices of which most numbers are zero: a bitmap says where the others are, and they lie packed, row after row.

/// Bytes after the last value that must be readable, whatever they hold: values are fetched a vector at a time.
#define ES_SPARSE_PADDING 64

/// Rows of a sparse matrix. Column p of a row is bit p % 64 of its word p / 64; bits beyond the last column are zero.
/// The values of row r begin at number offsets[r].
typedef struct {
  const uint64_t *bitmap;
  /// From row to row, in words.
  ptrdiff_t words;
  const void *values;
  const int64_t *offsets;
  /// What the values are stored as.
  es_linear_float type;
} es_sparse_rows;

/// Whether the functions below run here with that kernel. (Processors with AVX-512 may lack its second set of byte
/// manipulations, which puts packed values of 16 bits in their places.)
bool es_sparse_runs(es_product_kernel kernel);

/// Set bits of so many words.
ptrdiff_t es_sparse_population(const uint64_t *words, ptrdiff_t count);

/// Widening for the packed product (es_product_pack_f32) with the fastest kernel; `elements` is an es_sparse_rows, the
/// stride is not used. `start` is a multiple of 64; `start + count` is, or is the end of the row.
void es_sparse_widen(
    const void *elements, ptrdiff_t stride, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t start, ptrdiff_t count,
    float *panel, ptrdiff_t panel_stride);

/// The same with a kernel of choice.
void es_sparse_widen_with(
    es_product_kernel kernel, const es_sparse_rows *matrix, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t start,
    ptrdiff_t count, float *panel, ptrdiff_t panel_stride);

/// Whether es_sparse_stream runs here with that kernel; the portable one never does.
bool es_sparse_streams(es_product_kernel kernel);

/// y[t * y_stride + o - row] for all t < tokens, row <= o < row + rows, with the bits of es_product_run_f32 and the
/// widened matrix. `columns` is not 0. Values are put in their places in registers, so the packed bytes are all that is
/// read.
void es_sparse_stream(
    es_product_kernel kernel, const es_sparse_rows *matrix, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t columns,
    const float *x, ptrdiff_t x_stride, ptrdiff_t tokens, float *y, ptrdiff_t y_stride);
