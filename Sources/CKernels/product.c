#include "product.h"

#include <string.h>

#pragma STDC FP_CONTRACT OFF

#define JOIN2_(a, b) a##_##b
#define JOIN2(a, b) JOIN2_(a, b)
#define JOIN3_(a, b, c) a##_##b##_##c
#define JOIN3(a, b, c) JOIN3_(a, b, c)

// Rows of the right operand that are packed at a time: a multiple of every kernel's COLUMNS; enough that transposing
// reads whole cache lines, few enough that the panel stays in the second cache beside the left one.
#define PANEL_COLUMNS 96

// Packing a row of the right operand that meets fewer of the left one costs more than it saves.
#define USES_WORTH_PACKING 5

// A tile of so few rows packs so many rows of the right operand at a time, if the depth has so few blocks.
#define FEW_ROWS 8
#define FEW_COLUMNS 8
#define FEW_BLOCKS 40

// Rows of a panel lie one group of lanes further apart than they need to, lest they all fall into the same cache sets.
#define PANEL_STRIDE_BYTES (ES_PRODUCT_BLOCK_BYTES + ES_PRODUCT_LANE_BYTES)

// Units of 8 bytes of two vectors of eight: one half, the same quarter of each half, or the same eighth of each quarter,
// of a and then (for eighths: in turn) of b.
#define LOW_HALVES(a, b) __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11)
#define HIGH_HALVES(a, b) __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15)
#define LOW_QUARTERS(a, b) __builtin_shufflevector(a, b, 0, 1, 4, 5, 8, 9, 12, 13)
#define HIGH_QUARTERS(a, b) __builtin_shufflevector(a, b, 2, 3, 6, 7, 10, 11, 14, 15)
#define LOW_EIGHTHS(a, b) __builtin_shufflevector(a, b, 0, 8, 2, 10, 4, 12, 6, 14)
#define HIGH_EIGHTHS(a, b) __builtin_shufflevector(a, b, 1, 9, 3, 11, 5, 13, 7, 15)

#define REAL float
#define SUFFIX f32
#define INTERLEAVED_LOW(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define INTERLEAVED_HIGH(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#define LAST_SUMS(v) \
  (__builtin_shufflevector(v, v, 0, 2, 4, 6, 8, 10, 12, 14) + __builtin_shufflevector(v, v, 1, 3, 5, 7, 9, 11, 13, 15))
#include "product_type.h"

#define REAL double
#define SUFFIX f64
#define INTERLEAVED_LOW(a, b) __builtin_shufflevector(a, b, 0, 2)
#define INTERLEAVED_HIGH(a, b) __builtin_shufflevector(a, b, 1, 3)
#define LAST_SUMS(v) v
#include "product_type.h"

_Static_assert(
    (ES_PRODUCT_TILE_ROWS + PANEL_COLUMNS) * PANEL_STRIDE_BYTES <= ES_PRODUCT_SCRATCH_BYTES &&
        (FEW_ROWS * FEW_BLOCKS + FEW_COLUMNS) * PANEL_STRIDE_BYTES <= ES_PRODUCT_SCRATCH_BYTES,
    "scratch holds the panels of any tile");

bool es_product_kernel_runs(es_product_kernel kernel) {
  switch (kernel) {
  case es_product_kernel_portable: return true;
#if defined(__x86_64__)
  case es_product_kernel_avx2: return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  case es_product_kernel_avx512: return __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma");
#endif
  default: return false;
  }
}

es_product_kernel es_product_fastest_kernel(void) {
  if (es_product_kernel_runs(es_product_kernel_avx512)) return es_product_kernel_avx512;
  if (es_product_kernel_runs(es_product_kernel_avx2)) return es_product_kernel_avx2;
  return es_product_kernel_portable;
}
