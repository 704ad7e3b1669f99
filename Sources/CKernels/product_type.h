// Everything of a product that depends on the element type. Included once for each; no include guard. product.c sets
//   REAL, SUFFIX                        the element type and the end of its names
//   INTERLEAVED_LOW, INTERLEAVED_HIGH   (a, b) -> a0 b0 a1 b1 ... from the lower and the upper halves of two vectors
//   LAST_SUMS                           the sums of the lanes that are left in each eighth of a vector

#define LANES (ES_PRODUCT_LANE_BYTES / (ptrdiff_t)sizeof(REAL))
#define BLOCK (ES_PRODUCT_BLOCK_BYTES / (ptrdiff_t)sizeof(REAL))
#define PANEL_STRIDE (PANEL_STRIDE_BYTES / (ptrdiff_t)sizeof(REAL))
#define SQUARE (16 / (int)sizeof(REAL))

typedef REAL JOIN2(bytes8, SUFFIX) __attribute__((vector_size(8)));
typedef REAL JOIN2(bytes16, SUFFIX) __attribute__((vector_size(16)));
typedef REAL JOIN2(bytes32, SUFFIX) __attribute__((vector_size(32)));
typedef REAL JOIN2(bytes_of_8, SUFFIX) __attribute__((vector_size(8 * sizeof(REAL))));
// Eight units of 8 bytes, to be moved whatever they hold.
typedef double JOIN2(units, SUFFIX) __attribute__((vector_size(64)));

/// Declares `sum`, the lower half of `vector` plus the upper, each of so many bytes.
#define FOLD(width, vector, sum) \
  JOIN2(bytes##width, SUFFIX) sum##_halves[2], sum; \
  memcpy(sum##_halves, &(vector), sizeof sum##_halves); \
  sum = sum##_halves[0] + sum##_halves[1]

#if defined(__x86_64__)
#define KERNEL avx512
#define TARGET __attribute__((target("avx512f,avx512vl,fma")))
#define WIDTH 64
#define ROWS 3
#define COLUMNS 8
#include "product_kernel.h"

#define KERNEL avx2
#define TARGET __attribute__((target("avx2,fma")))
#define WIDTH 32
#define ROWS 2
#define COLUMNS 3
#include "product_kernel.h"
#endif

#define KERNEL portable
#define TARGET
#define WIDTH 16
#define ROWS 2
#define COLUMNS 3
#include "product_kernel.h"

#define NAME(base) JOIN2(base, SUFFIX)
#define PUBLIC(base) JOIN2(es_product_##base, SUFFIX)

static void NAME(panels)(
    es_product_kernel kernel, ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t steps, const REAL *a, ptrdiff_t a_stride,
    const REAL *b, ptrdiff_t b_stride, REAL *c, ptrdiff_t c_stride, bool accumulate) {
#define PANELS(name) \
  JOIN3(panels, name, SUFFIX)(rows, columns, steps, a, a_stride, b, b_stride, c, c_stride, accumulate)
  switch (kernel) {
#if defined(__x86_64__)
  case es_product_kernel_avx512: PANELS(avx512); return;
  case es_product_kernel_avx2: PANELS(avx2); return;
#endif
  default: PANELS(portable); return;
  }
#undef PANELS
}

void PUBLIC(pack_rows)(
    const void *elements, ptrdiff_t stride, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t start, ptrdiff_t count,
    REAL *panel, ptrdiff_t panel_stride) {
  const REAL *source = (const REAL *)elements + row * stride + start;
  for (ptrdiff_t r = 0; r < rows; r++)
    memcpy(panel + r * panel_stride, source + r * stride, (size_t)count * sizeof(REAL));
}

/// Writes a square of SQUARE elements a side with its rows and columns exchanged: log2 SQUARE rounds of interleaving
/// the first half of the rows with the second.
static inline void NAME(transpose_square)(
    const REAL *source, ptrdiff_t source_stride, REAL *target, ptrdiff_t target_stride) {
  NAME(bytes16) rows[SQUARE], mixed[SQUARE];
  for (int i = 0; i < SQUARE; i++) memcpy(&rows[i], source + i * source_stride, sizeof rows[i]);
  for (int round = 1; round < SQUARE; round *= 2) {
    for (int i = 0; i < SQUARE / 2; i++) {
      mixed[2 * i] = INTERLEAVED_LOW(rows[i], rows[i + SQUARE / 2]);
      mixed[2 * i + 1] = INTERLEAVED_HIGH(rows[i], rows[i + SQUARE / 2]);
    }
    memcpy(rows, mixed, sizeof rows);
  }
  for (int i = 0; i < SQUARE; i++) memcpy(target + i * target_stride, &rows[i], sizeof rows[i]);
}

void PUBLIC(pack_columns)(
    const void *elements, ptrdiff_t stride, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t start, ptrdiff_t count,
    REAL *panel, ptrdiff_t panel_stride) {
  const REAL *source = (const REAL *)elements + start * stride + row;
  ptrdiff_t p = 0;
  for (; p + SQUARE <= count; p += SQUARE) {
    ptrdiff_t r = 0;
    for (; r + SQUARE <= rows; r += SQUARE)
      NAME(transpose_square)(source + p * stride + r, stride, panel + r * panel_stride + p, panel_stride);
    for (; r < rows; r++)
      for (ptrdiff_t q = p; q < p + SQUARE; q++) panel[r * panel_stride + q] = source[q * stride + r];
  }
  for (; p < count; p++)
    for (ptrdiff_t r = 0; r < rows; r++) panel[r * panel_stride + p] = source[p * stride + r];
}

typedef struct {
  const REAL *first;
  ptrdiff_t stride;
} NAME(panel);

/// Rows of an operand, ready for the kernel: `in_place` where their elements lie side by side in whole groups of lanes,
/// otherwise packed into `space` and filled up with zeros.
static NAME(panel) NAME(prepared)(
    PUBLIC(operand) operand, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t start, ptrdiff_t count, bool in_place,
    REAL *space) {
  if (in_place && count % LANES == 0 && operand.pack == PUBLIC(pack_rows))
    return (NAME(panel)){(const REAL *)operand.elements + row * operand.stride + start, operand.stride};
  operand.pack(operand.elements, operand.stride, row, rows, start, count, space, PANEL_STRIDE);
  ptrdiff_t missing = (LANES - count % LANES) % LANES;
  if (missing > 0)
    for (ptrdiff_t r = 0; r < rows; r++) memset(space + r * PANEL_STRIDE + count, 0, (size_t)missing * sizeof(REAL));
  return (NAME(panel)){space, PANEL_STRIDE};
}

/// A tile of few rows: each row of b meets so few of a that packing many of them into the second cache and reading
/// them back would cost more than the products. They are packed a handful at a time, into the first cache, and read in
/// the order in which they are stored. The sums are those of any other tile.
static void NAME(run_few)(
    es_product_kernel kernel, es_product_tile tile, ptrdiff_t depth, PUBLIC(operand) a, PUBLIC(operand) b, REAL *corner,
    ptrdiff_t c_stride, bool accumulate, REAL *scratch) {
  NAME(panel) left[FEW_BLOCKS];
  REAL *b_space = scratch, *a_space = b_space + FEW_COLUMNS * PANEL_STRIDE;
  for (ptrdiff_t start = 0; start < depth; start += BLOCK) {
    ptrdiff_t count = depth - start < BLOCK ? depth - start : BLOCK;
    left[start / BLOCK] = NAME(prepared)(
        a, tile.row, tile.rows, start, count, true, a_space + start / BLOCK * tile.rows * PANEL_STRIDE);
  }
  for (ptrdiff_t j = 0; j < tile.columns; j += FEW_COLUMNS) {
    ptrdiff_t width = tile.columns - j < FEW_COLUMNS ? tile.columns - j : FEW_COLUMNS;
    for (ptrdiff_t start = 0; start < depth; start += BLOCK) {
      ptrdiff_t count = depth - start < BLOCK ? depth - start : BLOCK;
      NAME(panel) right = NAME(prepared)(b, tile.column + j, width, start, count, tile.rows < USES_WORTH_PACKING, b_space);
      NAME(panels)(
          kernel, tile.rows, width, (count + LANES - 1) / LANES, left[start / BLOCK].first, left[start / BLOCK].stride,
          right.first, right.stride, corner + j, c_stride, accumulate || start > 0);
    }
  }
}

/// A tile of many rows: rows of both operands, as long as a block of the depth, stay in the second cache. Those of b are
/// packed, since they may have to be widened and each is read for every few rows of a.
static void NAME(run_many)(
    es_product_kernel kernel, es_product_tile tile, ptrdiff_t depth, PUBLIC(operand) a, PUBLIC(operand) b, REAL *corner,
    ptrdiff_t c_stride, bool accumulate, REAL *scratch) {
  REAL *a_space = scratch, *b_space = a_space + tile.rows * PANEL_STRIDE;
  for (ptrdiff_t start = 0; start < depth; start += BLOCK) {
    ptrdiff_t count = depth - start < BLOCK ? depth - start : BLOCK;
    ptrdiff_t steps = (count + LANES - 1) / LANES;
    NAME(panel) left = NAME(prepared)(a, tile.row, tile.rows, start, count, true, a_space);
    for (ptrdiff_t j = 0; j < tile.columns; j += PANEL_COLUMNS) {
      ptrdiff_t width = tile.columns - j < PANEL_COLUMNS ? tile.columns - j : PANEL_COLUMNS;
      NAME(panel) right = NAME(prepared)(b, tile.column + j, width, start, count, tile.rows < USES_WORTH_PACKING, b_space);
      NAME(panels)(
          kernel, tile.rows, width, steps, left.first, left.stride, right.first, right.stride, corner + j, c_stride,
          accumulate || start > 0);
    }
  }
}

void PUBLIC(run)(
    es_product_kernel kernel, es_product_tile tile, ptrdiff_t depth, PUBLIC(operand) a, PUBLIC(operand) b, REAL *c,
    ptrdiff_t c_stride, bool accumulate, void *scratch) {
  REAL *corner = c + tile.row * c_stride + tile.column;
  if (depth == 0 && !accumulate)
    for (ptrdiff_t i = 0; i < tile.rows; i++) memset(corner + i * c_stride, 0, (size_t)tile.columns * sizeof(REAL));
  if (tile.rows <= FEW_ROWS && depth <= FEW_BLOCKS * BLOCK)
    NAME(run_few)(kernel, tile, depth, a, b, corner, c_stride, accumulate, scratch);
  else
    NAME(run_many)(kernel, tile, depth, a, b, corner, c_stride, accumulate, scratch);
}

#undef FOLD
#undef LANES
#undef PANEL_STRIDE
#undef SQUARE
#undef INTERLEAVED_LOW
#undef LAST_SUMS
#undef INTERLEAVED_HIGH
#undef BLOCK
#undef NAME
#undef PUBLIC
#undef REAL
#undef SUFFIX
