#pragma once
#include <stdbool.h>
#include <stddef.h>

// Matrix products whose bits depend on the numbers alone.
//
// Both operands are seen as rows along the depth k: C[i, j] = sum over p of a[i, p] * b[j, p]. Every element of C is
// summed in one order, which k alone fixes:
//
//   The depth is cut into blocks of ES_PRODUCT_BLOCK_BYTES of elements. In a block, each lane l of
//   ES_PRODUCT_LANE_BYTES of elements starts at zero and takes the products p = l, l + lanes, l + 2 lanes ... by fused
//   multiply-adds, the last group filled up with zeros. The lanes are added in halves: l and l + lanes / 2, and so on.
//   The sum of the first block is written to C, or added where C is accumulated into; the other sums are added in turn.
//
// So neither the tile, nor the rows around a row, nor the threads, nor the kernel change a bit (a NaN stays a NaN, but
// processors choose its sign and payload). Packing is copying rows, so any stored type can be widened by it. With u
// half the element type's epsilon, depth d <= block: |error| <= (d / lanes + log2 lanes) u sum |a b|, to first order;
// each further block adds one u.

#define ES_PRODUCT_LANE_BYTES 64
#define ES_PRODUCT_BLOCK_BYTES 2048

/// The same arithmetic for different processors, the slowest first.
typedef enum __attribute__((enum_extensibility(closed))) {
  es_product_kernel_portable = 0,
  es_product_kernel_avx2 = 1,
  es_product_kernel_avx512 = 2,
} es_product_kernel;

/// Whether this processor runs `kernel`.
bool es_product_kernel_runs(es_product_kernel kernel);

/// The fastest kernel that this processor runs.
es_product_kernel es_product_fastest_kernel(void);

/// Fills a panel with rows [row, row + rows) of an operand, elements [start, start + count) of each, widened to the
/// element type of the product. Row r of the panel begins at panel[r * panel_stride].
typedef void (*es_product_pack_f32)(
    const void *elements, ptrdiff_t stride, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t start, ptrdiff_t count,
    float *panel, ptrdiff_t panel_stride);
typedef void (*es_product_pack_f64)(
    const void *elements, ptrdiff_t stride, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t start, ptrdiff_t count,
    double *panel, ptrdiff_t panel_stride);

/// Packs an operand whose element (r, p) is elements[r * stride + p].
void es_product_pack_rows_f32(
    const void *elements, ptrdiff_t stride, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t start, ptrdiff_t count,
    float *panel, ptrdiff_t panel_stride);
void es_product_pack_rows_f64(
    const void *elements, ptrdiff_t stride, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t start, ptrdiff_t count,
    double *panel, ptrdiff_t panel_stride);

/// Packs an operand whose element (r, p) is elements[p * stride + r].
void es_product_pack_columns_f32(
    const void *elements, ptrdiff_t stride, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t start, ptrdiff_t count,
    float *panel, ptrdiff_t panel_stride);
void es_product_pack_columns_f64(
    const void *elements, ptrdiff_t stride, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t start, ptrdiff_t count,
    double *panel, ptrdiff_t panel_stride);

typedef struct {
  const void *elements;
  ptrdiff_t stride;
  es_product_pack_f32 pack;
} es_product_operand_f32;

typedef struct {
  const void *elements;
  ptrdiff_t stride;
  es_product_pack_f64 pack;
} es_product_operand_f64;

/// A rectangle of C: rows [row, row + rows), columns [column, column + columns).
typedef struct {
  ptrdiff_t row, rows, column, columns;
} es_product_tile;

/// Rows of a tile, at most, and bytes of scratch, best aligned to 64, that suffice for any tile.
#define ES_PRODUCT_TILE_ROWS 256
#define ES_PRODUCT_SCRATCH_BYTES (740 * 1024)

/// Computes one tile of C, whose row i begins at c[i * c_stride]. Tiles that do not overlap may run at the same time,
/// each with scratch of its own. C must not overlap the operands.
void es_product_run_f32(
    es_product_kernel kernel, es_product_tile tile, ptrdiff_t depth, es_product_operand_f32 a,
    es_product_operand_f32 b, float *c, ptrdiff_t c_stride, bool accumulate, void *scratch);
void es_product_run_f64(
    es_product_kernel kernel, es_product_tile tile, ptrdiff_t depth, es_product_operand_f64 a,
    es_product_operand_f64 b, double *c, ptrdiff_t c_stride, bool accumulate, void *scratch);
