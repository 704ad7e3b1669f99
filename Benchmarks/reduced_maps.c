// Products of one row of activations with a matrix in reduced forms, beside the dense bfloat16 one, in one run. From
// the root:
//
//   clang -O2 -I Sources/CKernels/include Benchmarks/reduced_maps.c \
//     Sources/CKernels/{linear_stream,linear_widen,sparse,blocks,convert,product}.c -lm -lpthread -o reduced_maps
//   ./reduced_maps [THREADS] [ROWS] [COLUMNS]
//
// Half of the numbers are zero, at random places; low rank has half of the parameters. Every thread has rows of its
// own; a round takes as long as its slowest thread, in the threads' own processor time. Each round measures all forms,
// and the ratios are of one round; printed are their medians and extremes. At last 512 rows of activations against some
// rows of the matrix, in float32.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "linear.h"
#include "rounds.h"
#include "sparse.h"

enum { rounds = 15, many = 512, rows_for_many = 768 };

static ptrdiff_t rows = 4096, columns = 11008, rank;

static void *memory(size_t bytes) {
  // Huge pages need their alignment.
  const size_t page = 2 << 20, rounded = (bytes + page - 1) / page * page;
  void *address = aligned_alloc(page, rounded);
  if (!address) exit(1);
#ifdef MADV_HUGEPAGE
  madvise(address, rounded, MADV_HUGEPAGE);
#endif
  return memset(address, 0, rounded);
}

// MARK: The matrices

static uint16_t *dense_bf16, *left, *right;
static es_sparse_rows sparse[3];
static size_t value_bytes;
static float *x, *y, *expected, *middle, *many_x, *many_y;

static uint64_t state = 1;
static uint64_t draw(void) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return state >> 32;
}

/// A bfloat16 between 1/2 and 2 with a random sign.
static uint16_t number(void) { return (uint16_t)((draw() & 0x80ff) | 0x3f00); }

static void make(void) {
  const ptrdiff_t words = (columns + 63) / 64;
  dense_bf16 = memory((size_t)(rows * columns) * 2);
  uint64_t *bitmap = memory((size_t)(rows * words) * 8);
  int64_t *offsets = memory((size_t)(rows + 1) * 8);
  uint16_t *values = memory((size_t)(rows * columns) * 2 + ES_SPARSE_PADDING);
  ptrdiff_t stored = 0;
  for (ptrdiff_t r = 0; r < rows; r++) {
    for (ptrdiff_t c = 0; c < columns; c++) {
      if (draw() & 0x100) continue;
      bitmap[r * words + c / 64] |= 1ull << (c % 64);
      dense_bf16[r * columns + c] = values[stored++] = number();
    }
    offsets[r + 1] = stored;
  }
  value_bytes = (size_t)stored * 2;
  sparse[es_linear_bf16] = (es_sparse_rows){bitmap, words, values, offsets, es_linear_bf16};
  rank = rows * columns / 2 / (rows + columns);
  left = memory((size_t)(rows * rank) * 2);
  right = memory((size_t)(rank * columns) * 2);
  for (ptrdiff_t i = 0; i < rows * rank; i++) left[i] = number();
  for (ptrdiff_t i = 0; i < rank * columns; i++) right[i] = number();
  x = memory((size_t)columns * 4);
  y = memory((size_t)rows * 4);
  expected = memory((size_t)rows * 4);
  middle = memory((size_t)rank * 4);
  many_x = memory((size_t)(many * columns) * 4);
  many_y = memory(sizeof(float) * many * rows_for_many);
  for (ptrdiff_t i = 0; i < many * columns; i++) many_x[i] = (float)(i % 199 - 99) / 99;
  for (ptrdiff_t i = 0; i < columns; i++) x[i] = (float)(i % 199 - 99) / 99;
}

// MARK: The forms

static es_product_kernel kernel;

static void share(ptrdiff_t all, int thread, ptrdiff_t *first, ptrdiff_t *count) {
  const ptrdiff_t part = (all / 2 + thread_count - 1) / thread_count * 2;
  *first = part * thread < all ? part * thread : all;
  *count = all - *first < part ? all - *first : part;
}

static void run_stream(
    const uint16_t *weights, ptrdiff_t height, ptrdiff_t width, const float *in, float *out, int thread) {
  ptrdiff_t first, count;
  share(height, thread, &first, &count);
  es_linear_stream(
      kernel, es_linear_bf16, weights + first * width, width * 2, count, width, in, width, 1, out + first, height);
}

static void run_dense(int thread) { run_stream(dense_bf16, rows, columns, x, y, thread); }

static void run_sparse(int thread) {
  ptrdiff_t first, count;
  share(rows, thread, &first, &count);
  es_sparse_stream(kernel, &sparse[es_linear_bf16], first, count, columns, x, columns, 1, y + first, rows);
}

static void run_right(int thread) { run_stream(right, rank, columns, x, middle, thread); }
static void run_left(int thread) { run_stream(left, rows, rank, middle, y, thread); }

// MARK: Many rows of activations

static void run_many(const void *elements, ptrdiff_t stride, es_linear_widening widening, int thread) {
  static _Thread_local char *scratch;
  if (!scratch) scratch = aligned_alloc(64, ES_PRODUCT_SCRATCH_BYTES);
  ptrdiff_t first, count;
  share(rows < rows_for_many ? rows : rows_for_many, thread, &first, &count);
  for (ptrdiff_t token = 0; token < many; token += ES_PRODUCT_TILE_ROWS)
    es_product_run_f32(
        es_product_fastest_kernel(), (es_product_tile){token, ES_PRODUCT_TILE_ROWS, first, count}, columns,
        (es_product_operand_f32){many_x, columns, es_product_pack_rows_f32},
        (es_product_operand_f32){elements, stride, widening}, many_y, rows_for_many, false, scratch);
}

static void run_many_dense(int thread) { run_many(dense_bf16, columns * 2, es_linear_widen_bf16, thread); }
static void run_many_sparse(int thread) { run_many(&sparse[es_linear_bf16], 0, es_sparse_widen, thread); }

static void print(const char *name, double bytes, double dense_bytes, double *times, double *ratios) {
  sort(times, rounds);
  sort(ratios, rounds);
  printf("| %s | %.1f | %.3f | %.2f | %.1f | %.2f (%.2f to %.2f) |\n", name, bytes / 1e6, bytes / dense_bytes,
         times[rounds / 2] * 1e3, bytes / times[rounds / 2] / 1e9, ratios[rounds / 2], ratios[0], ratios[rounds - 1]);
}

int main(int count, char **arguments) {
  if (count > 1) thread_count = atoi(arguments[1]);
  if (count > 2) rows = atoi(arguments[2]);
  if (count > 3) columns = atoi(arguments[3]);
  kernel = es_product_fastest_kernel();
  while (kernel != es_product_kernel_portable && !(es_sparse_streams(kernel) && es_linear_streams(kernel)))
    kernel = (es_product_kernel)(kernel - 1);
  if (thread_count < 1 || thread_count > most_threads || rows < 2 || columns < 64 ||
      kernel == es_product_kernel_portable)
    return fprintf(stderr, "usage: %s [THREADS] [ROWS] [COLUMNS]; a processor with AVX2\n", arguments[0]), 1;
  make();
  start_threads();
  double times[3][rounds], ratios[3][rounds];
  timed(run_dense);
  memcpy(expected, y, (size_t)rows * sizeof *y);
  memset(y, 0, (size_t)rows * sizeof *y);
  timed(run_sparse);
  const bool same = memcmp(expected, y, (size_t)rows * sizeof *y) == 0;
  timed(run_right);
  timed(run_left);
  for (int round = 0; round < rounds; round++) {
    times[0][round] = timed(run_dense);
    times[1][round] = timed(run_sparse);
    times[2][round] = timed(run_right) + timed(run_left);
    for (int i = 0; i < 3; i++) ratios[i][round] = times[0][round] / times[i][round];
  }
  const double dense_bytes = 2.0 * (double)rows * (double)columns;
  const double sparse_bytes = (double)value_bytes + 8.0 * (double)(rows * sparse[es_linear_bf16].words + rows + 1);
  printf("%td x %td, %d threads; the sparse product has %s bits\n\n", rows, columns, thread_count,
         same ? "the dense product's" : "OTHER");
  printf("| form | MB | of dense | ms | GB/s | times dense |\n|---|---:|---:|---:|---:|---:|\n");
  print("dense bf16", dense_bytes, dense_bytes, times[0], ratios[0]);
  print("bitmap, 50 %", sparse_bytes, dense_bytes, times[1], ratios[1]);
  print("low rank, half", 2.0 * (double)(rank * (rows + columns)), dense_bytes, times[2], ratios[2]);
  for (int round = -1; round < rounds; round++) {
    const double dense = timed(run_many_dense), packed = timed(run_many_sparse);
    if (round >= 0) ratios[0][round] = dense / packed;
  }
  sort(ratios[0], rounds);
  printf("\n%d rows of activations: bitmap %.2f times dense (%.2f to %.2f)\n", many, ratios[0][rounds / 2],
         ratios[0][0], ratios[0][rounds - 1]);
  end_threads();
  return same ? 0 : 1;
}
