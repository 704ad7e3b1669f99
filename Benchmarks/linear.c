// Throughput of the products with coded weights beside the speed at which memory is read, medians and best of several
// rounds. From the root:
//
//   clang -O2 -I Sources/CKernels/include Benchmarks/linear.c \
//     Sources/CKernels/{linear_*,blocks,convert,product}.c -lm -lpthread -o linear && ./linear [THREADS] [MEGABYTES]
//
// Decode: one row of activations against weights that are larger than the caches, in GB/s of coded weights. Prefill:
// 512 rows, in GFLOP/s. Every thread has rows of its own; a round takes as long as its slowest thread, in the threads'
// own processor time, so that it matters less what else the machine does.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "linear.h"
#include "product.h"
#include "rounds.h"

enum { columns = 1536, tokens = 512, rounds = 9 };

struct format {
  const char *name;
  ptrdiff_t length, bytes;
  es_linear_widening widening;
  int dot;
};

#define BLOCKS(type, length, bytes) {#type, length, bytes, es_linear_widen_##type, es_linear_##type}
#define FLOATS(type, bytes) {#type, 1, bytes, es_linear_widen_##type, -1 - es_linear_##type}

static const struct format formats[] = {
    FLOATS(f32, 4), FLOATS(f16, 2), FLOATS(bf16, 2), BLOCKS(q4_0, 32, 18), BLOCKS(q4_1, 32, 20), BLOCKS(q5_0, 32, 22),
    BLOCKS(q5_1, 32, 24), BLOCKS(q8_0, 32, 34), BLOCKS(iq4_nl, 32, 18), BLOCKS(q2_K, 256, 84), BLOCKS(q3_K, 256, 110),
    BLOCKS(q4_K, 256, 144), BLOCKS(q5_K, 256, 176), BLOCKS(q6_K, 256, 210), BLOCKS(iq4_xs, 256, 136),
    BLOCKS(mxfp4, 32, 17)};

// What all threads see.
static size_t memory_bytes;
static char *weights;
static float *activations, *results;
static es_linear_codes *codes;
static uint16_t *panels;
static const struct format *format;
static ptrdiff_t row_bytes;

static void read_memory(int thread) {
  const size_t part = memory_bytes / (size_t)thread_count / 64 * 64;
  const uint64_t *words = (const uint64_t *)(weights + (size_t)thread * part);
  uint64_t sums[8] = {0};
  for (size_t i = 0; i < part / 8; i += 8)
    for (int lane = 0; lane < 8; lane++) sums[lane] ^= words[i + (size_t)lane];
  volatile uint64_t sink = sums[0] ^ sums[1] ^ sums[2] ^ sums[3] ^ sums[4] ^ sums[5] ^ sums[6] ^ sums[7];
  (void)sink;
}

static void decode(int thread) {
  const ptrdiff_t rows = (ptrdiff_t)memory_bytes / row_bytes / thread_count;
  const char *first = weights + thread * rows * row_bytes;
  float *y = results + thread * rows;
  if (format->dot < 0)
    es_linear_stream(
        es_product_fastest_kernel(), (es_linear_float)(-1 - format->dot), first, row_bytes, rows, columns,
        activations, columns, 1, y, rows);
  else
    es_linear_dot(
        es_linear_fastest_kernel(), (es_linear_format)format->dot, first, row_bytes, rows, columns, codes, 1, y, rows);
}

static const ptrdiff_t prefill_rows = 768;

static void prefill(int thread) {
  const ptrdiff_t rows = prefill_rows / thread_count, row = thread * rows;
  if (es_linear_bf16_runs()) {
    for (ptrdiff_t done = 0; done < rows; done += 64)
      es_linear_multiply_bf16(
          panels, tokens, weights, row_bytes, format->widening, row + done, rows - done < 64 ? rows - done : 64,
          columns, results + row + done, prefill_rows);
    return;
  }
  static _Thread_local char *scratch;
  if (!scratch) scratch = aligned_alloc(64, ES_PRODUCT_SCRATCH_BYTES);
  for (ptrdiff_t token = 0; token < tokens; token += 256)
    es_product_run_f32(
        es_product_fastest_kernel(), (es_product_tile){token, 256, row, rows}, columns,
        (es_product_operand_f32){activations, columns, es_product_pack_rows_f32},
        (es_product_operand_f32){weights, row_bytes, format->widening}, results, prefill_rows, false, scratch);
}

struct timing {
  double median, best;
};

/// Median and best of the rounds after a first one.
static struct timing timings(void (*body)(int)) {
  double times[rounds];
  timed(body);
  for (int round = 0; round < rounds; round++) times[round] = timed(body);
  sort(times, rounds);
  return (struct timing){times[rounds / 2], times[0]};
}

int main(int count, char **arguments) {
  if (count > 1) thread_count = atoi(arguments[1]);
  memory_bytes = (size_t)(count > 2 ? atoi(arguments[2]) : 96) << 20;
  if (thread_count < 1 || thread_count > most_threads || memory_bytes < 16 << 20) {
    fprintf(stderr, "usage: %s [THREADS, 1 to %d] [MEGABYTES, at least 16]\n", arguments[0], most_threads);
    return 1;
  }
  weights = mmap(NULL, memory_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  activations = aligned_alloc(64, tokens * columns * sizeof(float));
  const size_t most_rows = memory_bytes / (columns / 256 * 84) + 1;
  const size_t result_count = most_rows > tokens * (size_t)prefill_rows ? most_rows : tokens * (size_t)prefill_rows;
  results = malloc(result_count * sizeof(float));
  codes = aligned_alloc(64, (size_t)es_linear_codes_count(columns) * sizeof *codes);
  panels = aligned_alloc(
      64, (tokens / ES_LINEAR_PANEL_ROWS + 1) * (size_t)es_linear_panel_size(columns) * sizeof *panels);
  if (weights == MAP_FAILED || !activations || !results || !codes || !panels) return 1;
#ifdef MADV_HUGEPAGE
  madvise(weights, memory_bytes, MADV_HUGEPAGE);
#endif
  // Codes of any value, scales that are neither infinite nor NaN as halves or as floats.
  uint32_t state = 1;
  for (size_t i = 0; i < memory_bytes; i++) weights[i] = (char)((state = state * 1664525 + 1013904223) >> 24 & 0x3b);
  for (int i = 0; i < tokens * columns; i++) activations[i] = (float)(i % 199 - 99) / 99;
  es_linear_code(activations, columns, codes);
  for (int t = 0; es_linear_bf16_runs() && t < tokens; t += ES_LINEAR_PANEL_ROWS)
    es_linear_pack_bf16(
        activations + t * columns, columns, tokens - t < ES_LINEAR_PANEL_ROWS ? tokens - t : ES_LINEAR_PANEL_ROWS,
        columns, panels + t / ES_LINEAR_PANEL_ROWS * es_linear_panel_size(columns));

  start_threads();
  const struct timing memory = timings(read_memory);
  const double memory_speed = (double)memory_bytes / memory.best / 1e9;
  printf("%d threads; memory is read at %.1f GB/s (median %.1f)\n\n", thread_count, memory_speed,
         (double)memory_bytes / memory.median / 1e9);
  printf("| format | decode GB/s | median | of memory | prefill GFLOP/s | median |\n|---|---:|---:|---:|---:|---:|\n");
  for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
    format = &formats[i];
    row_bytes = columns / format->length * format->bytes;
    const struct timing one = timings(decode), many = timings(prefill);
    const double bytes = (double)(memory_bytes / (size_t)row_bytes * (size_t)row_bytes);
    const double operations = 2.0 * tokens * columns * prefill_rows;
    printf("| %s | %.1f | %.1f | %.0f %% | %.0f | %.0f |\n", format->name, bytes / one.best / 1e9,
           bytes / one.median / 1e9, 100 * bytes / one.best / 1e9 / memory_speed, operations / many.best / 1e9,
           operations / many.median / 1e9);
  }
  end_threads();
  return 0;
}
