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

// With fewer uses of an operand's row than this, packing costs more than it saves.
#define USES_WORTH_PACKING 5

// A tile of so few rows packs so many rows of the right operand at a time, if the depth has so few blocks.
#define FEW_ROWS 8
#define FEW_COLUMNS 6
#define FEW_BLOCKS 40

// Rows of a panel lie one group of lanes further apart than they need to, lest they all fall into the same cache sets.
#define PANEL_STRIDE_BYTES (ES_PRODUCT_BLOCK_BYTES + ES_PRODUCT_LANE_BYTES)

#define REAL float
#define SUFFIX f32
#define INTERLEAVED_LOW(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define INTERLEAVED_HIGH(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#include "product_type.h"

#define REAL double
#define SUFFIX f64
#define INTERLEAVED_LOW(a, b) __builtin_shufflevector(a, b, 0, 2)
#define INTERLEAVED_HIGH(a, b) __builtin_shufflevector(a, b, 1, 3)
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
